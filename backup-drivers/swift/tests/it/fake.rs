//! Servers that misbehave: one that answers from a script, and a proxy that cuts what passes through it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_swift::{SwiftConfig, SwiftRepository};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What a fake server does with a request.
pub(crate) enum Reply {
    /// Sends a status, headers (each with its line end) and a body.
    Whole(u16, &'static str, String),
    /// The same, with headers made for it.
    Headers(u16, String, String),
    /// Promises `usize` bytes, sends fewer, and then nothing.
    Stalled(usize, String),
    /// Promises `usize` bytes and sends one every 50 ms.
    Trickle(usize),
    /// Never answers.
    Silence,
}

/// A server that signs anyone in, and hands request number n (from 0) and its head, in small letters, to a script.
pub(crate) struct Fake {
    pub(crate) url: String,
    state: Arc<State>,
}

type Script = dyn Fn(usize, &str) -> Reply + Send + Sync;

struct State {
    script: Box<Script>,
    /// Whether signing in is the script's, too.
    raw: bool,
    info: Option<&'static str>,
    url: String,
    seen: AtomicUsize,
    sign_ins: AtomicUsize,
}

impl Fake {
    pub(crate) async fn start(
        script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Box::new(script), false, None).await
    }

    /// One that tells `info` at `/info`.
    pub(crate) async fn with_info(
        info: &'static str,
        script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Box::new(script), false, Some(info)).await
    }

    /// One whose script answers everything.
    pub(crate) async fn raw(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(Box::new(script), true, None).await
    }

    async fn serve(script: Box<Script>, raw: bool, info: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            script,
            raw,
            info,
            url: url.clone(),
            seen: AtomicUsize::new(0),
            sign_ins: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move {
                    let _ = serve(stream, &state).await;
                });
            }
        });
        Self { url, state }
    }

    /// Requests that the script has answered.
    pub(crate) fn requests(&self) -> usize {
        self.state.seen.load(Ordering::SeqCst)
    }

    pub(crate) fn sign_ins(&self) -> usize {
        self.state.sign_ins.load(Ordering::SeqCst)
    }

    /// Settings for it that lose no time.
    pub(crate) fn config(&self) -> SwiftConfig {
        quick(&format!("{}/auth/v1.0", self.url))
    }
}

/// Settings with which a test ends soon.
pub(crate) fn quick(auth_url: &str) -> SwiftConfig {
    let mut config = SwiftConfig::new(auth_url).with_user("me", "hush-password");
    config.timeout = 1;
    config.retries = 2;
    config.retry_timeout = 4;
    config
}

async fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
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
        let reply = if !state.raw && head.starts_with("get /auth/v1.0 ") {
            let number = state.sign_ins.fetch_add(1, Ordering::SeqCst) + 1;
            let url = &state.url;
            let headers =
                format!("x-storage-url: {url}/v1/AUTH_me\r\nx-auth-token: hush-token-{number}\r\n");
            Reply::Headers(200, headers, String::new())
        } else if !state.raw && head.starts_with("get /info ") {
            match state.info {
                Some(info) => Reply::Whole(200, "", info.into()),
                None => Reply::Whole(404, "", String::new()),
            }
        } else {
            let number = state.seen.fetch_add(1, Ordering::SeqCst);
            (state.script)(number, &head)
        };
        answer(&mut stream, reply, head.starts_with("head ")).await?;
    }
}

async fn answer(stream: &mut TcpStream, reply: Reply, is_head: bool) -> std::io::Result<()> {
    match reply {
        Reply::Whole(status, headers, body) => {
            let reply = Reply::Headers(status, headers.into(), body);
            Box::pin(answer(stream, reply, is_head)).await?;
        }
        Reply::Headers(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{headers}\r\n");
            stream.write_all(head.as_bytes()).await?;
            if !is_head {
                stream.write_all(body.as_bytes()).await?;
            }
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
    Ok(())
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

/// A proxy to an account that keeps what is sent to it, and the account's address through it.
pub(crate) async fn spy(account: &str) -> (Arc<Mutex<Vec<u8>>>, String) {
    let (host, path) = account.split_at(account[7..].find('/').unwrap() + 7);
    let target = host.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    kept.lock().unwrap().extend_from_slice(&buffer[..read]);
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (seen, url)
}

/// A repository in the account of `config` whose requests, but for signing in, pass such a proxy.
pub(crate) async fn harmed(config: &SwiftConfig, harm: Harm, times: usize) -> SwiftRepository {
    let account = SwiftRepository::open(config)
        .unwrap()
        .account_url()
        .await
        .unwrap();
    let (host, path) = account.split_at(account[7..].find('/').unwrap() + 7);
    let mut harmed = config.clone();
    harmed.storage_url = Some(format!("{}{path}", proxy(host, harm, times).await));
    (harmed.timeout, harmed.min_rate) = (2, 1 << 20);
    SwiftRepository::open(&harmed).unwrap()
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
