//! A client of a node, byte by byte; it keeps all it was sent, and how that ended.

use crate::frame::{self, PATIENCE};
use crate::http::{self, Part};
use crate::rng::Rng;
use crate::system;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Sends of at most so many bytes may be cut into single ones.
const BYTEWISE: usize = 600;

enum Line {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How a connection ended as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client has left first, or is still there.
    Open,
    /// FIN.
    Fin,
    /// FIN, after TLS has said that it is over.
    Notified,
    /// TLS has failed.
    Alert,
    /// RST.
    Reset,
}

/// See the module.
pub struct Peer {
    pub label: String,
    line: Option<Line>,
    pub seen: Vec<u8>,
    /// What had come when it last sent something.
    mark: usize,
    pub end: End,
    /// Of the requests, those that are answered without a body.
    pub heads: Vec<bool>,
}

impl Peer {
    pub fn plain(label: String, socket: TcpStream) -> Peer {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let line = Some(Line::Plain(socket));
        Peer { label, line, seen: Vec::new(), mark: 0, end: End::Open, heads: Vec::new() }
    }

    pub fn secure(label: String, socket: TcpStream, config: Arc<ClientConfig>) -> Peer {
        let mut peer = Peer::plain(label, socket);
        let Some(Line::Plain(socket)) = peer.line.take() else { return peer };
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        peer.line = Some(Line::Secure(Box::new(StreamOwned::new(tls, socket))));
        peer
    }

    fn socket(&self) -> Option<&TcpStream> {
        match self.line.as_ref()? {
            Line::Plain(socket) => Some(socket),
            Line::Secure(stream) => Some(&stream.sock),
        }
    }

    /// Sends in one piece. Whoever is gone is found by reading.
    pub fn send(&mut self, bytes: &[u8]) {
        self.mark = self.seen.len();
        let _ = match &mut self.line {
            Some(Line::Plain(socket)) => socket.write_all(bytes),
            Some(Line::Secure(stream)) => stream.write_all(bytes).and_then(|()| stream.flush()),
            None => Ok(()),
        };
    }

    /// Sends in one piece, in several, or a byte at a time.
    pub fn send_cut(&mut self, bytes: &[u8], rng: &mut Rng) {
        match rng.below(6) {
            0 if bytes.len() <= BYTEWISE => bytes.iter().for_each(|byte| self.send(&[*byte])),
            0..=3 => {
                let mut rest = bytes;
                for _ in 0..rng.below(5) {
                    let (piece, more) = rest.split_at(rng.below(rest.len() + 1));
                    self.send(piece);
                    if rng.chance(30) {
                        thread::sleep(Duration::from_millis(1)); // so that it is read as a piece
                    }
                    rest = more;
                }
                self.send(rest);
            }
            _ => self.send(bytes),
        }
    }

    /// Sends a request whose answer may have no body.
    pub fn request(&mut self, bytes: &[u8]) {
        self.heads.push(bytes.starts_with(b"HEAD "));
        self.send(bytes);
    }

    /// Reads until there is enough, or no more. Whether there was enough.
    pub fn until(&mut self, mut enough: impl FnMut(&Peer) -> bool) -> bool {
        let mut room = [0; 1 << 14];
        loop {
            if enough(self) {
                return true;
            }
            if self.end != End::Open {
                return false;
            }
            let read = match &mut self.line {
                Some(Line::Plain(socket)) => socket.read(&mut room),
                Some(Line::Secure(stream)) => stream.read(&mut room),
                None => return false,
            };
            let secure = matches!(self.line, Some(Line::Secure(_)));
            match read {
                Ok(0) => self.end = if secure { End::Notified } else { End::Fin },
                Ok(count) => self.seen.extend_from_slice(&room[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::UnexpectedEof => self.end = End::Fin,
                    ErrorKind::InvalidData => self.end = End::Alert,
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => self.end = End::Reset,
                    _ => {
                        let seen = String::from_utf8_lossy(&self.seen);
                        panic!("{}: {error} after {} bytes: {seen:.2000}", self.label, seen.len());
                    }
                },
            }
        }
    }

    /// Until these bytes have come, since it last sent something.
    pub fn until_said(&mut self, what: &[u8]) -> bool {
        let find = memchr::memmem::Finder::new(what);
        let mut from = self.mark;
        self.until(|peer| {
            let found = find.find(&peer.seen[from..]).is_some();
            from = from.max(peer.seen.len().saturating_sub(what.len()));
            found
        })
    }

    /// Until so many requests are answered.
    pub fn until_answered(&mut self, count: usize) -> bool {
        self.until(|peer| http::answered(&peer.seen, &peer.heads) >= count)
    }

    /// Until all requests so far are answered.
    pub fn answers(&mut self) -> bool {
        self.until_answered(self.heads.len())
    }

    /// Until the head of an answer without end has come.
    pub fn streams(&mut self) -> bool {
        self.until_said(b"\r\n\r\n")
    }

    /// A ping with this payload, and all that comes before its pong.
    pub fn until_pong(&mut self, payload: &[u8]) -> bool {
        self.send(&frame::whole(frame::PING, payload));
        let pong = [&[0x8a, payload.len() as u8], payload].concat();
        self.until_said(&pong)
    }

    /// Until a WebSocket has been sent a close frame.
    pub fn until_close_frame(&mut self) -> bool {
        self.until(|peer| {
            let parts = peer.parts();
            let Some(Part::WebSocket { frames, .. }) = parts.last() else { return false };
            frame::read(frames).0.iter().any(|frame| frame.first & 0xf == frame::CLOSE)
        })
    }

    /// All there is to come.
    pub fn until_end(&mut self) {
        self.until(|_| false);
        self.line = None;
    }

    /// Says that it will send no more.
    pub fn half_close(&mut self) {
        if let Some(Line::Secure(stream)) = &mut self.line {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        if let Some(socket) = self.socket() {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// Leaves with a reset.
    pub fn reset(&mut self) {
        if let Some(socket) = self.socket() {
            system::reset_on_close(socket);
        }
        self.line = None;
    }

    /// Leaves with what close(2) does.
    pub fn leave(&mut self) {
        self.line = None;
    }

    /// Leaves in one of the ways there are.
    pub fn leave_somehow(&mut self, rng: &mut Rng) {
        match rng.below(3) {
            0 => self.reset(),
            1 => self.leave(),
            _ => {
                self.half_close();
                self.until_end();
            }
        }
    }

    /// What it was sent, as parts.
    pub fn parts(&self) -> Vec<Part<'_>> {
        http::read(&self.seen, &self.heads)
    }
}
