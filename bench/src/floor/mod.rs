//! The floor: the least a server can do for a fan-out or an echo. One thread, one epoll loop, one set of subscribers whatever
//! their path; `/echo` sends back what comes. A publish is framed once and written to all of them; nothing is kept, checked or limited beyond what
//! keeps the program itself upright. What a real server costs above this is what it does for its users.

mod echo;
mod ring;

use crate::frame;
use crate::http;
use crate::sys::{self, Epoll, Received};
use base64::Engine;
use echo::Replies;
use ring::Ring;
use sha1::{Digest, Sha1};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Longest head of a request, bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Longest body of a request, bytes.
const BODY_BYTES: usize = 16 * 1024 * 1024;
/// Bytes taken per read.
const READ_BYTES: usize = 256 * 1024;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;
/// A subscriber whose socket is full may take so long to make room.
const FULL_TIMEOUT: Duration = Duration::from_secs(5);
/// RFC 6455 section 1.3.
const HANDSHAKE_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How the floor writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One send(2) per subscriber.
    Send,
    /// One io_uring SEND per subscriber, 256 per enter.
    Uring,
}

impl Mode {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Send => "send",
            Mode::Uring => "uring",
        }
    }
}

/// Whether the ring of the uring mode can be made here.
pub fn uring_available() -> bool {
    Ring::new().is_ok()
}

/// Serves 127.0.0.1:`port` until the process is ended.
pub fn run(port: u16, mode: Mode) -> io::Result<()> {
    sys::raise_fd_limit()?;
    serve(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?, mode)
}

/// Serves what comes in at `listener`.
pub fn serve(listener: TcpListener, mode: Mode) -> io::Result<()> {
    // std asks for a backlog of 128; a storm needs more.
    sys::lengthen_backlog(listener.as_raw_fd())?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EPOLL_BATCH)?;
    epoll.add(listener.as_raw_fd(), listener.as_raw_fd() as u64)?;
    let ring = match mode {
        Mode::Send => None,
        Mode::Uring => Some(Ring::new()?),
    };
    Floor { listener, epoll, ring, connections: Vec::new(), subscribers: Vec::new() }.serve()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Speaks HTTP so far.
    Http,
    /// Gets what is published.
    Subscriber,
    /// Gets back what it sends.
    Echo,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of a request that is not complete; without memory of its own once the connection subscribes.
    inbox: Vec<u8>,
    kind: Kind,
    /// Publishes of this turn, to be answered after the fan-out.
    published: usize,
}

struct Floor {
    listener: TcpListener,
    epoll: Epoll,
    ring: Option<Ring>,
    /// At the place of their descriptor.
    connections: Vec<Option<Connection>>,
    subscribers: Vec<RawFd>,
}

/// What one turn of the loop has read and is to write.
#[derive(Default)]
struct Turn {
    /// Frames of all publishes.
    frames: Vec<u8>,
    publishers: Vec<RawFd>,
    replies: Replies,
}

impl Floor {
    fn serve(mut self) -> io::Result<()> {
        let mut tags = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut turn = Turn::default();
        loop {
            tags.clear();
            self.epoll.wait(None, &mut tags)?;
            for &tag in &tags {
                let fd = tag as RawFd;
                if fd == self.listener.as_raw_fd() {
                    self.accept()?;
                } else if !self.read(fd, &mut buffer, &mut turn) {
                    self.drop_connection(fd);
                }
            }
            if !turn.frames.is_empty() {
                self.fan_out(&turn.frames)?;
                turn.frames.clear();
            }
            if !turn.replies.parts.is_empty() {
                self.send_replies(&turn.replies)?;
                turn.replies.clear();
            }
            for fd in turn.publishers.drain(..) {
                self.answer(fd);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let fd = stream.as_raw_fd();
            self.epoll.add(fd, fd as u64)?;
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            let connection = Connection { stream, inbox: Vec::new(), kind: Kind::Http, published: 0 };
            self.connections[fd as usize] = Some(connection);
        }
    }

    /// Takes what has come. False if the connection is to be dropped.
    fn read(&mut self, fd: RawFd, buffer: &mut [u8], turn: &mut Turn) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else { return true };
        let got = match sys::recv_now(fd, buffer) {
            Ok(Received::Bytes(got)) => got,
            Ok(Received::Nothing) => return true,
            Ok(Received::Closed) | Err(_) => return false,
        };
        match connection.kind {
            // A close frame ends it; whatever else a subscriber says is not heard.
            Kind::Subscriber => buffer[0] & 0x0f != 8,
            Kind::Echo => {
                let start = turn.replies.bytes.len();
                if !connection.echo(&mut buffer[..got], &mut turn.replies.bytes) {
                    turn.replies.bytes.truncate(start);
                    return false;
                }
                if self.ring.is_some() {
                    turn.replies.parts.push((fd, start..turn.replies.bytes.len()));
                    return true;
                }
                let sent = sys::send_all(fd, &turn.replies.bytes[start..], FULL_TIMEOUT);
                turn.replies.bytes.truncate(start);
                sent
            }
            Kind::Http => {
                connection.inbox.extend_from_slice(&buffer[..got]);
                let was_silent = connection.published == 0;
                let alive = connection.take_requests(&mut turn.frames);
                if connection.kind == Kind::Subscriber {
                    self.subscribers.push(fd);
                }
                if alive && was_silent && connection.published > 0 {
                    turn.publishers.push(fd);
                }
                alive
            }
        }
    }

    fn send_replies(&mut self, replies: &Replies) -> io::Result<()> {
        let Some(ring) = &mut self.ring else { return Ok(()) };
        let mut short = Vec::new();
        ring.send_to_each(&replies.parts, &replies.bytes, &mut short)?;
        for (fd, sent) in short {
            let part = replies.parts.iter().find(|part| part.0 == fd);
            let rest = part.and_then(|part| replies.bytes[part.1.clone()].get(sent..)).unwrap_or_default();
            if !sys::send_all(fd, rest, FULL_TIMEOUT) {
                self.drop_connection(fd);
            }
        }
        Ok(())
    }

    fn fan_out(&mut self, frames: &[u8]) -> io::Result<()> {
        let mut lost = Vec::new();
        match &mut self.ring {
            Some(ring) => {
                let mut short = Vec::new();
                ring.send_to_all(&self.subscribers, frames, &mut short)?;
                for (fd, sent) in short {
                    if !sys::send_all(fd, &frames[sent.min(frames.len())..], FULL_TIMEOUT) {
                        lost.push(fd);
                    }
                }
            }
            None => {
                for &fd in &self.subscribers {
                    match sys::send_now(fd, frames) {
                        Ok(sent) if sent == frames.len() => {}
                        Ok(sent) if sys::send_all(fd, &frames[sent..], FULL_TIMEOUT) => {}
                        _ => lost.push(fd),
                    }
                }
            }
        }
        for fd in lost {
            self.drop_connection(fd);
        }
        Ok(())
    }

    fn answer(&mut self, fd: RawFd) {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else { return };
        let answers = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".repeat(connection.published);
        connection.published = 0;
        if !sys::send_all(fd, answers.as_bytes(), FULL_TIMEOUT) {
            self.drop_connection(fd);
        }
    }

    fn drop_connection(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd as usize).and_then(Option::take) else { return };
        if connection.kind == Kind::Subscriber {
            self.subscribers.retain(|&subscriber| subscriber != fd);
        }
        drop(connection.stream);
    }
}

impl Connection {
    /// Takes the requests that are complete. False if the connection is to be dropped.
    fn take_requests(&mut self, frames: &mut Vec<u8>) -> bool {
        let mut used = 0;
        loop {
            match take_request(&self.inbox[used..], frames) {
                Request::Incomplete => {
                    self.inbox.drain(..used);
                    return true;
                }
                Request::Refused => return false,
                Request::Published(length) => {
                    used += length;
                    self.published += 1;
                }
                Request::Upgrade(kind, answer) => {
                    self.kind = kind;
                    self.inbox = Vec::new();
                    let sent = sys::send_now(self.stream.as_raw_fd(), answer.as_bytes());
                    return sent.is_ok_and(|sent| sent == answer.len());
                }
            }
        }
    }

    /// Appends the echo of what has come to `out`. False if the connection is to be dropped.
    fn echo(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> bool {
        if self.inbox.is_empty() {
            let Some(used) = echo::echo_frames(bytes, out) else { return false };
            self.inbox.extend_from_slice(&bytes[used..]);
        } else {
            self.inbox.extend_from_slice(bytes);
            let Some(used) = echo::echo_frames(&mut self.inbox, out) else { return false };
            self.inbox.drain(..used);
        }
        true
    }
}

enum Request {
    Incomplete,
    Refused,
    /// A publish of so many bytes; its frame has been appended.
    Published(usize),
    /// A WebSocket handshake: what the connection becomes, and the answer.
    Upgrade(Kind, String),
}

fn take_request(bytes: &[u8], frames: &mut Vec<u8>) -> Request {
    let Some(head_bytes) = http::head_length(bytes) else {
        return if bytes.len() > HEAD_BYTES { Request::Refused } else { Request::Incomplete };
    };
    let Ok(head) = std::str::from_utf8(&bytes[..head_bytes]) else { return Request::Refused };
    let kind = if head.starts_with("GET /echo") { Kind::Echo } else { Kind::Subscriber };
    if kind == Kind::Echo || head.starts_with("GET /sub/") {
        let Some(key) = http::header(head, "sec-websocket-key") else { return Request::Refused };
        let accept = accept_key(key);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        return Request::Upgrade(kind, answer);
    }
    if !head.starts_with("POST /pub/") {
        return Request::Refused;
    }
    match http::header(head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length <= BODY_BYTES => match bytes.get(head_bytes..head_bytes + length) {
            Some(body) => {
                frame::push_text(frames, body);
                Request::Published(head_bytes + length)
            }
            None => Request::Incomplete,
        },
        _ => Request::Refused,
    }
}

fn accept_key(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(HANDSHAKE_GUID).finalize();
    base64::engine::general_purpose::STANDARD.encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn publishes_are_framed_once_complete() {
        let request = b"POST /pub/x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let mut frames = Vec::new();
        for cut in 0..request.len() {
            assert!(matches!(take_request(&request[..cut], &mut frames), Request::Incomplete));
        }
        assert!(frames.is_empty());
        let twice = [&request[..], request].concat();
        assert!(
            matches!(take_request(&twice, &mut frames), Request::Published(length) if length == request.len())
        );
        assert_eq!(frames, b"\x81\x03abc");
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        let mut frames = Vec::new();
        for request in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET /echo HTTP/1.1\r\n\r\n",
            "GET /sub/x HTTP/1.1\r\n\r\n",
            "POST /pub/x HTTP/1.1\r\n\r\n",
            "POST /pub/x HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        ] {
            assert!(matches!(take_request(request.as_bytes(), &mut frames), Request::Refused), "{request}");
        }
        assert!(matches!(take_request(&[b'x'; HEAD_BYTES + 1], &mut frames), Request::Refused));
    }
}
