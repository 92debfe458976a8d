//! A small HTTP server on this machine that answers by a script. It is also
//! used by the tests of the whole program.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

/// What the script says to a request.
pub enum Says {
    /// A status, further header lines, a body.
    Reply(u16, &'static str, String),
    /// Nothing: the connection is closed.
    Nothing,
    /// The same, later.
    After(Duration, Box<Says>),
}

impl Says {
    /// A completion.
    pub fn answer(text: &str) -> Self {
        Self::choice(json!({
            "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
        }))
    }

    /// A completion with this choice.
    pub fn choice(choice: Value) -> Self {
        let body = json!({
            "choices": [choice],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        });
        Self::Reply(200, "", body.to_string())
    }

    /// An error in the API's form.
    pub fn error(status: u16, message: &str) -> Self {
        Self::Reply(
            status,
            "",
            json!({"error": {"message": message}}).to_string(),
        )
    }

    pub fn after(self, ms: u64) -> Self {
        Self::After(Duration::from_millis(ms), Box::new(self))
    }
}

type Script = dyn Fn(usize, &Seen) -> Says + Send + Sync;

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    active: AtomicUsize,
    peak: AtomicUsize,
    over: AtomicBool,
}

/// The server; it ends when it is dropped.
pub struct Loopback {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
}

impl Loopback {
    /// Starts a server. The script gets the request's number, from 0.
    pub fn start(script: impl Fn(usize, &Seen) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            active: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.over.load(Ordering::SeqCst) {
                    break;
                }
                let serving = Arc::clone(&serving);
                thread::spawn(move || serve(stream.unwrap(), &serving));
            }
        });
        Self { address, shared }
    }

    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The most requests that were being answered at one time.
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::SeqCst)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// An address where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let Some(seen) = read(&stream) else { return };
    let active = shared.active.fetch_add(1, Ordering::SeqCst) + 1;
    shared.peak.fetch_max(active, Ordering::SeqCst);
    let number = {
        let mut all = shared.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    let mut says = (shared.script)(number, &seen);
    while let Says::After(wait, then) = says {
        thread::sleep(wait);
        says = *then;
    }
    shared.active.fetch_sub(1, Ordering::SeqCst);
    if let Says::Reply(status, headers, body) = says {
        // The other side may have given up.
        let _ = write!(
            stream,
            "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            body.len()
        );
    }
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    let mut authorization = None;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen {
        path,
        authorization,
        body: serde_json::from_slice(&body).ok()?,
    })
}
