//! Servers that misbehave: one that answers from a script, and a proxy that cuts what passes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backup_s3::S3Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What a fake server does with a request.
pub(crate) enum Reply {
    /// Sends a status, headers (each with its line end) and a body.
    Whole(u16, &'static str, String),
    /// Promises `usize` bytes, sends fewer, and then nothing.
    Stalled(usize, String),
    /// Promises `usize` bytes and sends one every 50 ms.
    Trickle(usize),
    /// Never answers.
    Silence,
}

/// A server that hands request number n (from 0) and its head to a script.
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: Arc<AtomicUsize>,
}

impl Fake {
    pub(crate) async fn start(
        script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(AtomicUsize::new(0));
        let (script, counter) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, counter) = (Arc::clone(&script), Arc::clone(&counter));
                tokio::spawn(async move {
                    let _ = serve(stream, &*script, &counter).await;
                });
            }
        });
        Self { url, seen }
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// Settings for it that lose no time.
    pub(crate) fn config(&self) -> S3Config {
        quick(&self.url)
    }
}

/// Settings with which a test ends soon.
pub(crate) fn quick(url: &str) -> S3Config {
    let mut config = S3Config::new(url).with_keys("KEY", "hush-secret");
    config.timeout = 1;
    config.retries = 2;
    config.retry_timeout = 4;
    config
}

async fn serve(
    mut stream: TcpStream,
    script: &(dyn Fn(usize, &str) -> Reply + Send + Sync),
    seen: &AtomicUsize,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length:"))
            .and_then(|l| l.trim().parse().ok())
            .unwrap_or(0);
        let mut body = (&mut stream).take(length);
        tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
        let number = seen.fetch_add(1, Ordering::SeqCst);
        match script(number, &head) {
            Reply::Whole(status, headers, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{headers}\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(body.as_bytes()).await?;
            }
            Reply::Stalled(length, body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(head.as_bytes()).await?;
                std::future::pending::<()>().await;
            }
            Reply::Trickle(length) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                for _ in 0..length {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Reply::Silence => std::future::pending::<()>().await,
        }
    }
}

/// S3's error body, with what real servers echo.
pub(crate) fn error_body(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>text of {code}</Message>\
         <CanonicalRequest>x-amz-security-token:hush-token</CanonicalRequest></Error>"
    )
}

/// What a proxy does to a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harm {
    /// Ends it once so many bytes came back from the server.
    CutDown(usize),
    /// Ends it once so many bytes went to the server.
    CutUp(usize),
    /// Passes on no more once so many bytes went to the server.
    StallUp(usize),
    /// Passes on no more once so many bytes came back.
    StallDown(usize),
}

/// A proxy to `target` that does `harm` to the first `times` connections that reach it.
pub(crate) async fn proxy(target: &str, harm: Harm, times: usize) -> String {
    let target = target.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let left = Arc::new(AtomicUsize::new(times));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&target).await else {
                continue;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let (up, down) = match harm {
                Harm::CutUp(n) | Harm::StallUp(n) => (n, usize::MAX),
                Harm::CutDown(n) | Harm::StallDown(n) => (usize::MAX, n),
            };
            let stall = matches!(harm, Harm::StallUp(_) | Harm::StallDown(_));
            let up = pass(from_client, to_server, up, stall, Arc::clone(&left));
            let down = pass(from_server, to_client, down, stall, Arc::clone(&left));
            tokio::spawn(async move {
                // Either end ends both.
                tokio::select! { _ = up => (), _ = down => () }
            });
        }
    });
    url
}

/// Copies until `most` bytes have passed and there is still harm to do.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    most: usize,
    stall: bool,
    left: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut passed = 0_usize;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        passed = passed.saturating_add(read);
        let spent = |n: usize| n.checked_sub(1);
        if passed > most
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, spent)
                .is_ok()
        {
            if stall {
                std::future::pending::<()>().await;
            }
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}
