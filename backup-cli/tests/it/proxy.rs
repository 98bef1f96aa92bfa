//! A TCP proxy between the binary and a server that harms connections and counts requests.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::http::{answer, forget_body, read_head};

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It is broken after so many bytes have gone to the server.
    ResetUp(u64),
    /// It is broken after so many bytes have come from the server.
    ResetDown(u64),
    /// Nothing comes or goes after so many bytes have gone to the server; it stays open.
    StallUp(u64),
    /// No more than so many bytes a second, each way.
    Slow(u64),
    /// Its first request is answered with 503, and it is closed.
    Refuse,
}

impl Harm {
    /// The same for a line on which only some hundred bytes go at once, as where one signs in.
    pub(crate) fn of_few_bytes(self) -> Self {
        match self {
            Self::ResetUp(_) => Self::ResetUp(50),
            Self::ResetDown(_) => Self::ResetDown(50),
            Self::StallUp(_) => Self::StallUp(50),
            Self::Slow(_) | Self::Refuse => self,
        }
    }
}

/// A proxy on a port of its own. It ends with the process.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    target: String,
    /// The harm, and how many more connections it comes to.
    harm: Mutex<Option<(Harm, u64)>>,
    requests: AtomicU64,
    received: AtomicU64,
    harmed: AtomicU64,
}

impl Proxy {
    /// In front of the server at `url` (`http://host:port...`).
    pub(crate) fn new(url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let target = rest.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target,
            harm: Mutex::new(None),
            requests: AtomicU64::new(0),
            received: AtomicU64::new(0),
            harmed: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(&client));
            }
        });
        Self { address, state }
    }

    /// `url` with the proxy in the place of the server.
    pub(crate) fn instead_of(&self, url: &str) -> String {
        let (_, path) = url
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap_or(("", ""));
        format!("http://{}/{path}", self.address)
            .trim_end_matches('/')
            .to_owned()
    }

    /// Harms the next `connections`.
    pub(crate) fn harm(&self, harm: Harm, connections: u64) {
        *self.state.harm.lock().unwrap() = Some((harm, connections));
    }

    pub(crate) fn heal(&self) {
        *self.state.harm.lock().unwrap() = None;
    }

    /// Heads of requests that went to the server, or would have.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Bytes that came from the server.
    pub(crate) fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }

    pub(crate) fn harmed(&self) -> u64 {
        self.state.harmed.load(Ordering::Relaxed)
    }
}

impl State {
    fn next_harm(&self) -> Option<Harm> {
        let mut harm = self.harm.lock().unwrap();
        let (what, left) = harm.as_mut()?;
        if *left == 0 {
            return None;
        }
        *left -= 1;
        Some(*what)
    }

    fn serve(self: &Arc<Self>, client: &TcpStream) {
        let harm = self.next_harm();
        if harm == Some(Harm::Refuse) {
            return self.refuse(client);
        }
        let Ok(server) = TcpStream::connect(&self.target) else {
            let _gone = client.shutdown(Shutdown::Both);
            return;
        };
        let (up_client, up_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = {
            let this = Arc::clone(self);
            std::thread::spawn(move || this.carry(&up_client, &up_server, harm, true))
        };
        self.carry(&server, client, harm, false);
        let _done = up.join();
    }

    /// Refuses a connection's first request.
    fn refuse(&self, client: &TcpStream) {
        let mut request = BufReader::new(client);
        let Some((_, length)) = read_head(&mut request) else {
            return;
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.harmed.fetch_add(1, Ordering::Relaxed);
        forget_body(&mut request, length);
        answer(client, "503 Busy", "");
    }

    /// Carries bytes one way until the end or the harm.
    fn carry(&self, from: &TcpStream, to: &TcpStream, harm: Option<Harm>, up: bool) {
        let (mut reader, mut writer) = (from, to);
        let mut buffer = vec![0; 16 << 10];
        let mut carried = 0;
        loop {
            let Ok(n @ 1..) = reader.read(&mut buffer) else {
                let _gone = to.shutdown(Shutdown::Write);
                return;
            };
            if up {
                let heads = buffer[..n]
                    .windows(11)
                    .filter(|w| *w == b" HTTP/1.1\r\n")
                    .count();
                self.requests.fetch_add(heads as u64, Ordering::Relaxed);
            } else {
                self.received.fetch_add(n as u64, Ordering::Relaxed);
            }
            carried += n as u64;
            match harm {
                Some(Harm::ResetUp(most)) if up && carried > most => return self.cut(from, to),
                Some(Harm::ResetDown(most)) if !up && carried > most => return self.cut(from, to),
                Some(Harm::StallUp(most)) if up && carried > most => {
                    self.harmed.fetch_add(1, Ordering::Relaxed);
                    // Open, and silent, until the client gives up.
                    while matches!(reader.read(&mut buffer), Ok(1..)) {}
                    let _gone = to.shutdown(Shutdown::Both);
                    return;
                }
                Some(Harm::Slow(rate)) => {
                    self.harmed.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(n as u64 * 1_000_000 / rate));
                }
                _ => {}
            }
            if writer.write_all(&buffer[..n]).is_err() {
                let _gone = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    fn cut(&self, from: &TcpStream, to: &TcpStream) {
        self.harmed.fetch_add(1, Ordering::Relaxed);
        let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
