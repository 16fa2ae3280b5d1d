//! A small back end, and the service as a node would use it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanwire::channel::hook::{HookAnswer, HookCall, HookFailure, HookMethod, HookToken};
use fanwire::limits::HookLimits;
use fanwire::service::hooks::{Hooks, HooksConfig, HooksHandle, Trust};

pub type Outcome = Result<HookAnswer, HookFailure>;

/// Waiting for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Waiting for something that must not come.
pub const QUIET: Duration = Duration::from_millis(150);
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// ---- the back end ----

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub bytes: Vec<u8>,
    /// Which connection it came on, from 0.
    pub connection: usize,
    pub came: Instant,
}

impl Seen {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn path(&self) -> String {
        self.text().split(' ').nth(1).unwrap().to_owned()
    }
}

#[derive(Clone, Default)]
pub struct Log {
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub under_way: Arc<AtomicUsize>,
    pub most_under_way: Arc<AtomicUsize>,
}

impl Log {
    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.all().iter().map(Seen::path).collect()
    }

    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let end = Instant::now() + PATIENCE;
        while self.all().len() < count {
            assert!(Instant::now() < end, "{count} requests did not come: {:?}", self.paths());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.all()
    }
}

/// Serves with `answer`, which writes to the connection and says whether to go on with it.
pub fn back_end(answer: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static) -> (SocketAddr, Log) {
    serve(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
}

pub fn serve(
    listener: TcpListener,
    answer: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Log) {
    let address = listener.local_addr().unwrap();
    let (log, answer) = (Log::default(), Arc::new(answer));
    let server_log = log.clone();
    std::thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let (log, answer) = (server_log.clone(), answer.clone());
            std::thread::spawn(move || converse(stream.unwrap(), connection, &log, &*answer));
        }
    });
    (address, log)
}

pub fn converse(
    mut stream: TcpStream,
    connection: usize,
    log: &Log,
    answer: &dyn Fn(&Seen, &mut TcpStream) -> bool,
) {
    let mut buffer = Vec::new();
    loop {
        let Some(bytes) = read_request(&mut stream, &mut buffer) else { return };
        let seen = Seen { bytes, connection, came: Instant::now() };
        log.seen.lock().unwrap().push(seen.clone());
        let now = log.under_way.fetch_add(1, SeqCst) + 1;
        log.most_under_way.fetch_max(now, SeqCst);
        let go_on = answer(&seen, &mut stream);
        log.under_way.fetch_sub(1, SeqCst);
        if !go_on {
            return;
        }
    }
}

pub fn read_request(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .map_or(0, |v| v.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                return Some(buffer.drain(..end + 4 + length).collect());
            }
        }
        let mut part = [0; 4096];
        match stream.read(&mut part) {
            Ok(n) if n > 0 => buffer.extend_from_slice(&part[..n]),
            _ => return None,
        }
    }
}

pub fn ok(stream: &mut TcpStream) -> bool {
    stream.write_all(OK).is_ok()
}

/// Says nothing until the other side goes away.
pub fn hang(stream: &mut TcpStream) -> bool {
    let _ = stream.read(&mut [0; 1]);
    false
}

pub fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

// ---- the node ----

pub struct Node {
    pub hooks: Option<Hooks>,
    pub handle: HooksHandle,
    pub outcomes: mpsc::Receiver<(HookToken, Outcome)>,
}

impl Node {
    pub fn new(change: impl FnOnce(&mut HookLimits)) -> Node {
        Node::trusting(Trust::default(), change)
    }

    pub fn trusting(trust: Trust, change: impl FnOnce(&mut HookLimits)) -> Node {
        let mut limits = HookLimits::default();
        change(&mut limits);
        let (sender, outcomes) = mpsc::channel();
        let deliver = Arc::new(move |token, outcome| drop(sender.send((token, outcome))));
        let hooks = Hooks::start(HooksConfig { limits, trust: Arc::new(trust) }, deliver).unwrap();
        Node { handle: hooks.handle(), hooks: Some(hooks), outcomes }
    }

    pub fn ask(&self, tag: u32, call: HookCall) {
        self.handle.call(token(tag), call).unwrap();
    }

    pub fn next(&self) -> (u32, Outcome) {
        let (token, outcome) = self.outcomes.recv_timeout(PATIENCE).expect("an answer");
        (token.tag, outcome)
    }

    /// Asks and waits for the answer.
    pub fn get(&self, call: HookCall) -> Outcome {
        self.ask(u32::MAX, call);
        let (tag, outcome) = self.next();
        assert_eq!(tag, u32::MAX);
        outcome
    }

    pub fn nothing_more(&self) {
        assert!(self.outcomes.recv_timeout(QUIET).is_err());
    }

    pub fn failures(&self, failure: HookFailure) -> u64 {
        self.handle.counters().failures(failure)
    }

    pub fn shutdown(&mut self, grace: Duration) -> usize {
        self.hooks.take().unwrap().shutdown(grace)
    }
}

pub fn token(tag: u32) -> HookToken {
    HookToken { shard: 3, slot: 70_000, generation: 9, tag }
}

pub fn waiting(address: SocketAddr, path: &str) -> HookCall {
    HookCall {
        url: format!("http://{address}{path}").into(),
        method: HookMethod::Get,
        headers: Vec::new(),
        body: Bytes::new(),
        timeout_ms: 0,
        answer: true,
        order: None,
    }
}

pub fn forgotten(address: SocketAddr, path: &str) -> HookCall {
    HookCall { answer: false, ..waiting(address, path) }
}

pub fn header(name: &'static str, value: &'static str) -> (Bytes, Bytes) {
    (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes()))
}

pub fn body(outcome: Outcome) -> Vec<u8> {
    outcome.unwrap().body.to_vec()
}

pub fn eventually(what: &str, check: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
