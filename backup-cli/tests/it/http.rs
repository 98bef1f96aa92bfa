//! Just enough of HTTP for servers and proxies of tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request's head with its line ends, without the empty line, and how long its body is. `None` where the client has
/// gone.
pub(crate) fn read_head(from: &mut impl BufRead) -> Option<(String, u64)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        match from.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line.trim_end().is_empty() => return Some((head, length)),
            Ok(_) => {}
        }
        if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = told.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
}

/// Reads a body to its end: who stops in its middle breaks the connection before the client has seen the answer.
pub(crate) fn forget_body(from: &mut impl Read, length: u64) {
    let _gone = std::io::copy(&mut from.take(length), &mut std::io::sink());
}

/// Answers and says that nothing more will come.
pub(crate) fn answer(mut client: &TcpStream, status: &str, body: &str) {
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _gone = client.write_all(text.as_bytes());
    let _gone = client.shutdown(Shutdown::Write);
}

/// A server that keeps the heads of all requests. It ends with the process.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Answers each request with the status and the body that `told` gives for its head.
    pub(crate) fn answering(
        told: impl Fn(&str) -> (&'static str, String) + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |client, head, length| {
            let (status, body) = told(head);
            forget_body(client, length);
            answer(client.get_ref(), status, &body);
        })
    }

    /// A proxy for clients that are told of one (`HTTP_PROXY`): whatever host they ask for, `target` answers.
    pub(crate) fn forwarding(target: &str) -> Self {
        let target = target.strip_prefix("http://").unwrap().to_owned();
        Self::new(move |client, head, length| {
            let Ok(mut server) = TcpStream::connect(&target) else {
                return;
            };
            let _gone = pass_on(client, head, length, &mut server);
        })
    }

    fn new(serve: impl Fn(&mut BufReader<TcpStream>, &str, u64) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            heads: Arc::default(),
        };
        let (heads, serve) = (Arc::clone(&this.heads), Arc::new(serve));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (heads, serve) = (Arc::clone(&heads), Arc::clone(&serve));
                std::thread::spawn(move || {
                    let mut client = BufReader::new(client);
                    if let Some((head, length)) = read_head(&mut client) {
                        heads.lock().unwrap().push(head.clone());
                        serve(&mut client, &head, length);
                    }
                });
            }
        });
        this
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// One request to the server, with the path alone, and the answer back.
fn pass_on(
    client: &mut BufReader<TcpStream>,
    head: &str,
    length: u64,
    server: &mut TcpStream,
) -> std::io::Result<()> {
    let (first, rest) = head.split_once("\r\n").unwrap_or_default();
    let words: Vec<_> = first.split(' ').collect();
    let [method, url, version] = words[..] else {
        return Ok(());
    };
    let (_, behind) = url.split_once("://").unwrap_or_default();
    let path = behind.find('/').map_or("/", |at| &behind[at..]);
    let kept = rest
        .lines()
        .filter(|line| !line.to_ascii_lowercase().contains("connection:"));
    let mut told = format!("{method} {path} {version}\r\n");
    for line in kept {
        told.push_str(line);
        told.push_str("\r\n");
    }
    told.push_str("Connection: close\r\n\r\n");
    server.write_all(told.as_bytes())?;
    std::io::copy(&mut client.by_ref().take(length), server)?;
    std::io::copy(server, &mut client.get_ref())?;
    client.get_ref().shutdown(Shutdown::Write)
}
