//! A TCP proxy between the client and the server, whose line breaks, stalls or crawls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What happens to the first connection. Those after it are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It breaks after so many bytes have come from the server: requests were done whose answers are lost.
    CutDown(u64),
    /// It breaks after so many bytes have gone to the server.
    CutUp(u64),
    /// Nothing comes any more after so many bytes have come; it stays open.
    StallDown(u64),
    /// No more than so many bytes a second, each way, on every connection.
    Slow(u64),
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    harmed: Arc<AtomicU64>,
}

struct Line {
    harm: Option<Harm>,
    cut: Notify,
    harmed: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) async fn new(target: u16, harm: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let harmed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&harmed);
        tokio::spawn(async move {
            let mut first = true;
            while let Ok((client, _)) = listener.accept().await {
                let always = matches!(harm, Harm::Slow(_));
                let line = Arc::new(Line {
                    harm: (always || std::mem::take(&mut first)).then_some(harm),
                    cut: Notify::new(),
                    harmed: Arc::clone(&count),
                });
                tokio::spawn(serve(client, target, line));
            }
        });
        Self { port, harmed }
    }

    pub(crate) fn harmed(&self) -> bool {
        self.harmed.load(Ordering::Relaxed) > 0
    }
}

async fn serve(client: TcpStream, target: u16, line: Arc<Line>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = carry(from_client, to_server, Arc::clone(&line), true);
    let down = carry(from_server, to_client, Arc::clone(&line), false);
    // Both ends are dropped with the first that ends.
    tokio::select! {
        () = up => {}
        () = down => {}
        () = line.cut.notified() => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Arc<Line>, up: bool) {
    let mut buffer = vec![0; 16 << 10];
    let mut carried = 0;
    loop {
        let most = match line.harm {
            Some(Harm::CutDown(most)) if !up => most,
            Some(Harm::CutUp(most)) if up => most,
            Some(Harm::StallDown(most)) if !up => most,
            _ => u64::MAX,
        };
        let room = usize::try_from(most.saturating_sub(carried)).unwrap_or(usize::MAX);
        if room == 0 {
            line.harmed.fetch_add(1, Ordering::Relaxed);
            if matches!(line.harm, Some(Harm::StallDown(_))) {
                std::future::pending::<()>().await;
            }
            line.cut.notify_waiters();
            return;
        }
        let length = buffer.len().min(room);
        let Ok(n @ 1..) = from.read(&mut buffer[..length]).await else {
            return;
        };
        carried += n as u64;
        if let Some(Harm::Slow(rate)) = line.harm {
            line.harmed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_micros(n as u64 * 1_000_000 / rate)).await;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
