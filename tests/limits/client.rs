//! A client that sends what it is told to, right or wrong.

use fanwire::wire::ws::frame::{Opcode, encode_masked};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// For everything that is awaited.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so.
pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A connection.
pub struct Client(BufReader<TcpStream>);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Whether it says when to come again.
    pub fn says_when(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nretry-after: 1\r\n")
    }

    /// Whether the connection ends with it.
    pub fn closes(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
    }
}

/// What comes on a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Data(String),
    Close(u16, String),
    /// The connection has ended.
    End,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(socket))
    }

    /// A WebSocket on `path`.
    pub fn open(address: &str, path: &str) -> Client {
        let mut client = Client::connect(address);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 101, "{path}");
        client
    }

    /// The same connection once more, to send on while somebody else reads.
    pub fn twin(&self) -> Client {
        Client(BufReader::new(self.0.get_ref().try_clone().unwrap()))
    }

    /// Sends bytes. That nobody takes them shows in the answer.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.get_mut().write_all(bytes.as_ref());
    }

    /// Sends a message or control frame.
    pub fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.send(encode_masked(opcode, true, false, [1, 2, 3, 4], payload));
    }

    pub fn text(&mut self, text: &str) {
        self.frame(Opcode::Text, text.as_bytes());
    }

    /// Reads an answer.
    pub fn answer(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "no answer, only {head:?}");
        }
        let status = head[9..12].parse().unwrap();
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.next_back().map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, line: &str, body: &[u8]) -> Answer {
        let mut request = format!("{line} HTTP/1.1\r\nHost: a\r\n").into_bytes();
        if !body.is_empty() {
            request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.send(request);
        self.answer()
    }

    /// The next frame; pings are left unanswered.
    pub fn next(&mut self) -> Frame {
        let mut head = [0; 2];
        if self.0.read_exact(&mut head).is_err() {
            return Frame::End;
        }
        let mut length = u64::from(head[1]);
        if length >= 126 {
            let mut more = [0; 8];
            let bytes = if length == 126 { 2 } else { 8 };
            self.0.read_exact(&mut more[8 - bytes..]).unwrap();
            length = u64::from_be_bytes(more);
        }
        let mut payload = vec![0; length as usize];
        // The end may cut a frame.
        if self.0.read_exact(&mut payload).is_err() {
            return Frame::End;
        }
        match head[0] & 15 {
            8 => Frame::Close(
                u16::from_be_bytes([payload[0], payload[1]]),
                String::from_utf8(payload.split_off(2)).unwrap(),
            ),
            9 | 10 => self.next(),
            _ => Frame::Data(String::from_utf8(payload).unwrap()),
        }
    }

    /// The next frame but for data.
    pub fn end(&mut self) -> Frame {
        loop {
            match self.next() {
                Frame::Data(_) => {}
                other => return other,
            }
        }
    }

    /// The next event.
    pub fn event(&mut self) -> Value {
        match self.next() {
            Frame::Data(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}
