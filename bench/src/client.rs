//! Connections of the load client: subscribers and publishers.

use crate::http;
use crate::inbox::Inbox;
use crate::sys::{self, Received};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// A connect or a handshake answer may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Key and answer of the example in RFC 6455 section 1.3. The key need not be random: no proxy lies between.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See KEY.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A WebSocket that only listens.
pub struct Subscriber {
    stream: TcpStream,
    /// What has come of the next frame.
    pub inbox: Inbox,
}

impl Subscriber {
    /// Connects from the address `source` and asks for a WebSocket on `path`.
    pub fn connect(source: Ipv4Addr, target: SocketAddrV4, path: &str) -> Result<Subscriber, String> {
        let socket = sys::connect_from(source, target).map_err(|e| format!("connect from {source}: {e}"))?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(|e| e.to_string())?;
        let request = handshake_request(target, path, None);
        stream.write_all(request.as_bytes()).map_err(|e| format!("handshake: {e}"))?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        let head = loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Err("closed in the handshake".to_owned()),
                Ok(got) => answer.extend_from_slice(&buffer[..got]),
                Err(e) => return Err(format!("handshake: {e}")),
            }
            if let Some(head) = http::head_length(&answer) {
                break head;
            }
            if answer.len() > 4 * buffer.len() {
                return Err("endless handshake answer".to_owned());
            }
        };
        check_handshake(&answer[..head])?;
        Ok(Subscriber { stream, inbox: Inbox::with(answer.split_off(head)) })
    }

    /// Reads what is there.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, String> {
        sys::recv_now(self.fd(), buffer).map_err(|e| e.to_string())
    }

    /// Sends a control frame. One that does not fit at once is given up: it answers a ping of an idle socket.
    pub fn send_control(&self, bytes: &[u8]) -> Result<(), String> {
        sys::send_now(self.fd(), bytes).map(drop).map_err(|e| e.to_string())
    }

    /// Descriptor of the socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// A request for a WebSocket on `path`, and in `protocol` if one is given.
pub fn handshake_request(target: SocketAddrV4, path: &str, protocol: Option<&str>) -> String {
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {target}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
    )
}

/// Refuses an answer to `handshake_request` that is not the one of RFC 6455.
pub fn check_handshake(head: &[u8]) -> Result<(), String> {
    let head = std::str::from_utf8(head).map_err(|_| "handshake answer is not text")?;
    let line = head.lines().next().unwrap_or_default();
    if http::status(head) != Some(101) {
        return Err(format!("no WebSocket: {line}"));
    }
    if http::header(head, "sec-websocket-accept") != Some(ACCEPT) {
        return Err("wrong Sec-WebSocket-Accept".to_owned());
    }
    if let Some(extensions) = http::header(head, "sec-websocket-extensions") {
        return Err(format!("extensions nobody asked for: {extensions}"));
    }
    Ok(())
}

/// Source address number `index` of `sources`: 127.0.0.1 and up. Targets that are not loopback get any address.
pub fn source_address(target: SocketAddrV4, index: usize, sources: usize) -> Ipv4Addr {
    if !target.ip().is_loopback() {
        return Ipv4Addr::UNSPECIFIED;
    }
    Ipv4Addr::new(127, 0, 0, 1 + (index % sources.clamp(1, 250)) as u8)
}

/// A keep-alive HTTP connection that posts messages.
pub struct Publisher {
    stream: TcpStream,
    head: String,
    out: Vec<u8>,
    written: usize,
    answers: Vec<u8>,
    /// Requests whose answer has not come yet, those not yet written included.
    pub unanswered: usize,
}

impl Publisher {
    /// Connects; every message goes to `path` as text of `payload_bytes`.
    pub fn connect(target: SocketAddrV4, path: &str, payload_bytes: usize) -> Result<Publisher, String> {
        let stream = TcpStream::connect(target).map_err(|e| format!("publisher cannot connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {target}\r\nContent-Type: text/plain\r\n\
             Content-Length: {payload_bytes}\r\n\r\n"
        );
        Ok(Publisher { stream, head, out: Vec::new(), written: 0, answers: Vec::new(), unanswered: 0 })
    }

    /// Queues a request. `flush` writes it.
    pub fn post(&mut self, payload: &[u8]) {
        self.out.extend_from_slice(self.head.as_bytes());
        self.out.extend_from_slice(payload);
        self.unanswered += 1;
    }

    /// Writes as much of the queue as the socket takes now.
    pub fn flush(&mut self) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.written +=
            sys::send_now(self.fd(), &self.out[self.written..]).map_err(|e| format!("publish: {e}"))?;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Whether part of the queue is not written yet.
    pub fn is_writing(&self) -> bool {
        !self.out.is_empty()
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
            used += length;
        }
        self.answers.drain(..used);
        Ok(())
    }

    /// Descriptor of the socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_answer_must_be_right() {
        let check = |extra: &str| {
            check_handshake(format!("HTTP/1.1 101 Switching Protocols\r\n{extra}\r\n").as_bytes())
        };
        let accept = format!("SEC-WebSocket-Accept: {ACCEPT}\r\n");
        assert_eq!(check(&accept), Ok(()));
        assert!(check("").is_err());
        assert!(check("Sec-WebSocket-Accept: AAAA\r\n").is_err());
        assert!(check(&format!("{accept}Sec-WebSocket-Extensions: permessage-deflate\r\n")).is_err());
        assert!(check_handshake(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap_err().contains("403"));
    }

    #[test]
    fn sources_go_round_on_loopback_only() {
        let loopback = "127.0.0.1:80".parse().unwrap();
        assert_eq!(source_address(loopback, 5, 4), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source_address(loopback, 5, 0), Ipv4Addr::new(127, 0, 0, 1));
        assert_eq!(source_address("10.0.0.1:80".parse().unwrap(), 5, 4), Ipv4Addr::UNSPECIFIED);
    }
}
