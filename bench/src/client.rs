//! Connections of the load client: subscribers and publishers.

use crate::http;
use crate::inbox::{Events, Inbox};
use crate::ledger::Ledger;
use crate::sys::{self, Received};
#[cfg(test)]
pub use crate::wire::ACCEPT;
use crate::wire::{Opening, Post, Wire};
pub use crate::wire::{check_handshake, handshake_request};
use std::collections::VecDeque;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

/// A connect or a handshake answer may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that only listens.
pub struct Subscriber {
    stream: TcpStream,
    /// What has come of the next message.
    pub inbox: Inbox,
}

impl Subscriber {
    /// Connects from the address `source` and asks for a WebSocket on `path`.
    pub fn connect(source: Ipv4Addr, target: SocketAddrV4, path: &str) -> Result<Subscriber, String> {
        Subscriber::open(source, target, &Wire::relay(path))
    }

    /// Connects from the address `source` and subscribes on `wire`.
    pub fn open(source: Ipv4Addr, target: SocketAddrV4, wire: &Wire) -> Result<Subscriber, String> {
        let socket = sys::connect_from(source, target).map_err(|e| format!("connect from {source}: {e}"))?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(|e| e.to_string())?;
        let (mut opening, mut replies) = Opening::new(wire, target);
        let mut buffer = [0; 4096];
        let mut got = 0;
        loop {
            // The request is in `replies` at first.
            let inbox = opening.take(&buffer[..got], &mut replies)?;
            stream.write_all(&replies).map_err(|e| format!("handshake: {e}"))?;
            replies.clear();
            if let Some(inbox) = inbox {
                return Ok(Subscriber { stream, inbox });
            }
            got = match sys::read(&mut stream, &mut buffer) {
                Ok(0) => return Err("closed in the handshake".to_owned()),
                Ok(got) => got,
                Err(e) => return Err(format!("handshake: {e}")),
            };
        }
    }

    /// Reads what is there.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, String> {
        sys::recv_now(self.fd(), buffer).map_err(|e| e.to_string())
    }

    /// Reads the socket once, enters what came as deliveries to `index` in `ledger`, and answers what is to be answered.
    /// False if nothing had come. `limit` bounds a message, bytes.
    #[inline(always)]
    pub fn read(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        limit: usize,
        ledger: &mut Ledger,
        events: &mut Events,
    ) -> Result<bool, String> {
        let got = match sys::recv_now(self.fd(), buffer) {
            Ok(Received::Bytes(got)) => got,
            Ok(Received::Nothing) => return Ok(false),
            Ok(Received::Closed) => {
                return Err(describe(index, ledger, &"the server closed the connection"));
            }
            Err(error) => return Err(describe(index, ledger, &error)),
        };
        if let Err(fault) = self.inbox.take(index, &buffer[..got], limit, ledger, events) {
            return Err(describe(index, ledger, &fault));
        }
        if !events.desk.replies.is_empty() {
            self.answer(&mut events.desk.replies).map_err(|what| describe(index, ledger, &what))?;
        }
        Ok(true)
    }

    /// Sends a control frame. One that does not fit at once is given up: it answers a ping of an idle socket.
    pub fn send_control(&self, bytes: &[u8]) -> Result<(), String> {
        sys::send_now(self.fd(), bytes).map(drop).map_err(|e| e.to_string())
    }

    /// Sends what reading has left to be sent, and clears it.
    pub fn answer(&self, replies: &mut Vec<u8>) -> Result<(), String> {
        if replies.is_empty() {
            return Ok(());
        }
        let sent = sys::send_now(self.fd(), replies).map_err(|e| e.to_string())?;
        if sent < replies.len() {
            return Err("the server does not read answers".to_owned());
        }
        replies.clear();
        Ok(())
    }

    /// Descriptor of the socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cold]
fn describe(index: usize, ledger: &Ledger, what: &dyn std::fmt::Display) -> String {
    format!("subscriber {index}, after {} deliveries: {what}", ledger.got(index))
}

fn unix_seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())
}

/// Source address number `index` of `sources`: 127.0.0.1 and up. Targets that are not loopback get any address.
pub fn source_address(target: SocketAddrV4, index: usize, sources: usize) -> Ipv4Addr {
    if !target.ip().is_loopback() {
        return Ipv4Addr::UNSPECIFIED;
    }
    Ipv4Addr::new(127, 0, 0, 1 + (index % sources.clamp(1, 250)) as u8)
}

fn connect_publisher(target: SocketAddrV4) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(target).map_err(|e| format!("publisher cannot connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(stream)
}

/// What a server does with a connection once it has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Nothing has been answered yet.
    Unknown,
    /// Keeps it for the next request.
    Keeps,
    /// Closes it, and says so in the answer.
    Closes,
}

/// An HTTP connection that posts messages. It is kept alive; at a server that closes it after an answer there is a new
/// one for each request, and one request at a time.
pub struct Publisher {
    target: SocketAddrV4,
    stream: TcpStream,
    post: Post,
    manner: Manner,
    /// Requests queued until the server is known to keep the connection.
    out: Vec<u8>,
    /// Lengths of those in `out`, while the server is not known to keep the connection.
    lengths: VecDeque<usize>,
    written: usize,
    /// A request is written whose answer decides.
    asked: bool,
    reconnected: bool,
    signing_ns: u64,
    answers: Vec<u8>,
    /// Requests whose answer has not come yet, those not yet written included.
    pub unanswered: usize,
}

impl Publisher {
    /// Connects; every message goes to `path` as text of `payload_bytes`.
    pub fn connect(target: SocketAddrV4, path: &str, payload_bytes: usize) -> Result<Publisher, String> {
        Publisher::open(target, Post::plain(target, path, payload_bytes))
    }

    /// Connects; messages go out as `post` says.
    pub fn open(target: SocketAddrV4, post: Post) -> Result<Publisher, String> {
        Ok(Publisher {
            target,
            stream: connect_publisher(target)?,
            post,
            manner: Manner::Unknown,
            out: Vec::new(),
            lengths: VecDeque::new(),
            written: 0,
            asked: false,
            reconnected: false,
            signing_ns: 0,
            answers: Vec::new(),
            unanswered: 0,
        })
    }

    /// Queues a request. `flush` writes it.
    pub fn post(&mut self, payload: &[u8]) {
        let (before, begun) = (self.out.len(), self.post.is_signed().then(Instant::now));
        self.post.append(&mut self.out, payload, unix_seconds);
        self.signing_ns += begun.map_or(0, |begun| begun.elapsed().as_nanos() as u64);
        self.queued(before);
    }

    /// Time that signing has taken since this was asked last, nanoseconds.
    pub fn take_signing_ns(&mut self) -> u64 {
        std::mem::take(&mut self.signing_ns)
    }

    /// Queues a request as `post` says instead.
    pub fn post_as(&mut self, post: &Post, payload: &[u8]) {
        let before = self.out.len();
        post.append(&mut self.out, payload, unix_seconds);
        self.queued(before);
    }

    fn queued(&mut self, before: usize) {
        self.unanswered += 1;
        if self.manner != Manner::Keeps {
            self.lengths.push_back(self.out.len() - before);
        }
    }

    /// Writes as much of the queue as the socket takes now.
    pub fn flush(&mut self) -> Result<(), String> {
        if !self.is_writing() {
            return Ok(());
        }
        let end = match self.manner {
            Manner::Keeps => self.out.len(),
            Manner::Unknown | Manner::Closes => self.lengths.front().copied().unwrap_or(0),
        };
        self.written +=
            sys::send_now(self.fd(), &self.out[self.written..end]).map_err(|e| format!("publish: {e}"))?;
        if self.written == end {
            self.out.drain(..end);
            self.written = 0;
            self.lengths.pop_front();
            self.asked = true;
        }
        Ok(())
    }

    /// Whether part of the queue is to be written now.
    pub fn is_writing(&self) -> bool {
        !self.out.is_empty() && (self.manner == Manner::Keeps || !self.asked)
    }

    /// Whether it has another descriptor than when this was asked last.
    pub fn has_reconnected(&mut self) -> bool {
        std::mem::take(&mut self.reconnected)
    }

    /// Takes a new connection in place of one that a server with little patience may be about to close.
    pub fn renew(&mut self) -> Result<(), String> {
        if self.unanswered == 0 {
            self.stream = connect_publisher(self.target)?;
            self.reconnected = true;
        }
        Ok(())
    }

    /// Whether the server closes the connection after every answer.
    pub fn is_always_closed(&self) -> bool {
        self.manner == Manner::Closes
    }

    /// Reads the answers that are there. Anything but a success is an error.
    pub fn read_answers(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        match sys::recv_now(self.fd(), buffer).map_err(|e| format!("publish: {e}"))? {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err("the server closed the publisher's connection".to_owned()),
            Received::Bytes(got) => self.answers.extend_from_slice(&buffer[..got]),
        }
        let mut used = 0;
        while let Some((status, length)) = http::next_answer(&self.answers[used..])? {
            if !(200..300).contains(&status) {
                let text = String::from_utf8_lossy(&self.answers[used..used + length]).into_owned();
                return Err(format!("publish refused: {text}"));
            }
            self.unanswered = self.unanswered.checked_sub(1).ok_or("an answer nobody asked for")?;
            self.asked = false;
            if self.manner != Manner::Keeps && self.mind_manner(used)? {
                return Ok(());
            }
            used += length;
        }
        self.answers.drain(..used);
        Ok(())
    }

    /// Learns from the answer at `at` what becomes of the connection. True if it is a new one.
    fn mind_manner(&mut self, at: usize) -> Result<bool, String> {
        let answer = &self.answers[at..];
        let head = String::from_utf8_lossy(&answer[..http::head_length(answer).unwrap_or(0)]);
        if http::header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.manner = Manner::Closes;
            self.answers.clear();
            self.stream = connect_publisher(self.target)?;
            self.reconnected = true;
            return Ok(true);
        }
        self.manner = Manner::Keeps;
        self.lengths.clear();
        Ok(false)
    }

    /// Descriptor of the socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    #[test]
    fn sources_go_round_on_loopback_only() {
        let loopback = "127.0.0.1:80".parse().unwrap();
        assert_eq!(source_address(loopback, 5, 4), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source_address(loopback, 5, 0), Ipv4Addr::new(127, 0, 0, 1));
        assert_eq!(source_address("10.0.0.1:80".parse().unwrap(), 5, 4), Ipv4Addr::UNSPECIFIED);
    }

    /// Takes `requests` requests, each answered once it is there, and closes where it says so. Returns the number of
    /// connections.
    fn answering(listener: TcpListener, answer: &'static str, requests: usize) -> JoinHandle<usize> {
        std::thread::spawn(move || {
            let (mut connections, mut taken) = (0, 0);
            while taken < requests {
                let mut stream = listener.accept().unwrap().0;
                connections += 1;
                let mut inbox = Vec::new();
                let mut piece = [0; 1000];
                while taken < requests && (!answer.contains("close") || inbox.is_empty()) {
                    let got = stream.read(&mut piece).unwrap();
                    inbox.extend_from_slice(&piece[..got]);
                    let complete = String::from_utf8_lossy(&inbox).matches("abc").count();
                    if answer.contains("close") {
                        assert_eq!(complete, 1, "one request at a time");
                    }
                    stream.write_all(answer.repeat(complete).as_bytes()).unwrap();
                    taken += complete;
                    if !answer.contains("close") {
                        inbox.clear();
                    }
                }
            }
            connections
        })
    }

    fn publish(answer: &'static str, requests: usize) -> (Publisher, usize) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        // Nobody takes the last of its connections, but it must stand.
        let server = answering(listener.try_clone().unwrap(), answer, requests);
        let mut publisher = Publisher::connect(address, "/pub/x", 3).unwrap();
        (0..requests).for_each(|_| publisher.post(b"abc"));
        let mut buffer = [0; 1000];
        for _ in 0..5000 {
            publisher.flush().unwrap();
            publisher.read_answers(&mut buffer).unwrap();
            if publisher.unanswered == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(publisher.unanswered, 0);
        (publisher, server.join().unwrap())
    }

    #[test]
    fn a_connection_is_kept_where_the_server_keeps_it() {
        let (mut publisher, connections) = publish("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 5);
        assert_eq!((connections, publisher.is_always_closed()), (1, false));
        assert!(!publisher.has_reconnected() && publisher.lengths.is_empty());
        publisher.unanswered = 1;
        publisher.renew().unwrap();
        assert!(!publisher.has_reconnected(), "an answer is due on this one");
        publisher.unanswered = 0;
        assert!(publisher.renew().is_err(), "nobody listens any more");
    }

    #[test]
    fn every_request_has_a_connection_where_the_server_closes_it() {
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
        let (mut publisher, connections) = publish(answer, 5);
        assert_eq!((connections, publisher.is_always_closed()), (5, true));
        assert!(publisher.has_reconnected() && !publisher.has_reconnected());
    }
}
