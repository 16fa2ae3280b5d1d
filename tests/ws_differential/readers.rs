//! The same bytes through three readers: ours, tungstenite's, fastwebsockets'.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use fanwire::limits::WsLimits;
use fanwire::wire::ws::{Event, Reader, Role};
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role as TheirRole, WebSocket};
use tungstenite::{Error, Message};

pub const PROTOCOL: u16 = 1002;
pub const NOT_UTF8: u16 = 1007;
pub const TOO_BIG: u16 = 1009;

/// What a reader made of a stream: opcode and payload of each message and control frame but the close, and the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub messages: Vec<(u8, Vec<u8>)>,
    pub end: End,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// It waits for more.
    #[default]
    Open,
    /// The peer has closed, perhaps with a code and a reason.
    Closed(Option<(u16, String)>),
    /// It refuses the stream with this code.
    Refused(u16),
}

/// A socket from which a stream comes in pieces, and then nothing. What is written to it is kept.
#[derive(Default)]
pub struct Pipe {
    to_read: VecDeque<u8>,
    sizes: Vec<usize>,
    reads: usize,
    pub written: Vec<u8>,
}

impl Pipe {
    /// One that gives `bytes` in pieces of `sizes`, over and over.
    pub fn new(bytes: &[u8], sizes: &[usize]) -> Pipe {
        Pipe { to_read: bytes.iter().copied().collect(), sizes: sizes.to_vec(), ..Pipe::default() }
    }

    fn piece(&mut self, room: usize) -> Vec<u8> {
        if self.to_read.is_empty() {
            return Vec::new();
        }
        let size = self.sizes[self.reads % self.sizes.len()].min(room).min(self.to_read.len());
        self.reads += 1;
        self.to_read.drain(..size).collect()
    }
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece(out.len());
        if piece.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        out[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.piece(out.remaining());
        out.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.written.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The result of what never waits.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing to wait for"),
    }
}

pub fn ours(role: Role, bytes: &[u8], sizes: &[usize]) -> Seen {
    let (mut reader, mut seen) = (Reader::new(role), Seen::default());
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*sizes.next().expect("sizes")));
        rest = later;
        let (mut input, mut at) = (now.to_vec(), 0);
        loop {
            let step = match reader.step(&mut input[at..], &WsLimits::default(), None) {
                Ok(step) => step,
                Err(fault) => {
                    seen.end = End::Refused(fault.code);
                    assert!(reader.has_ended());
                    return seen;
                }
            };
            at += step.consumed;
            seen.messages.push(match step.event {
                None => break,
                Some(Event::Text(text)) => (1, text.as_bytes().to_vec()),
                Some(Event::Binary(bytes)) => (2, bytes.to_vec()),
                Some(Event::Ping(bytes)) => (9, bytes.to_vec()),
                Some(Event::Pong(bytes)) => (10, bytes.to_vec()),
                Some(Event::Close { code, reason }) => {
                    seen.end = End::Closed(code.map(|code| (code, reason.to_owned())));
                    assert!(reader.has_ended());
                    return seen;
                }
            });
        }
        assert_eq!(at, input.len(), "all of it is taken");
    }
    assert!(!reader.has_ended());
    seen
}

pub fn tungstenite(role: Role, bytes: &[u8], sizes: &[usize]) -> Seen {
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let mut socket = WebSocket::from_raw_socket(Pipe::new(bytes, sizes), role, None);
    let mut seen = Seen::default();
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            Err(error) => {
                seen.end = match error {
                    Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => End::Open,
                    Error::Utf8(_) => End::Refused(NOT_UTF8),
                    Error::Capacity(_) => End::Refused(TOO_BIG),
                    Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Open,
                    Error::Protocol(_) => End::Refused(PROTOCOL),
                    other => panic!("{other:?}"),
                };
                return seen;
            }
        };
        seen.messages.push(match message {
            Message::Text(text) => (1, text.as_bytes().to_vec()),
            Message::Binary(bytes) => (2, bytes.to_vec()),
            Message::Ping(bytes) => (9, bytes.to_vec()),
            Message::Pong(bytes) => (10, bytes.to_vec()),
            Message::Close(frame) => {
                seen.end = End::Closed(frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
                return seen;
            }
            Message::Frame(frame) => panic!("{frame:?}"),
        });
    }
}

pub fn fastwebsockets(role: Role, bytes: &[u8], sizes: &[usize]) -> Seen {
    let role = match role {
        Role::Server => fastwebsockets::Role::Server,
        Role::Client => fastwebsockets::Role::Client,
    };
    let mut socket = fastwebsockets::WebSocket::after_handshake(Pipe::new(bytes, sizes), role);
    // Else it answers pings itself and does not tell.
    socket.set_auto_pong(false);
    let mut socket = FragmentCollector::new(socket);
    let mut seen = Seen::default();
    loop {
        let frame = match now(socket.read_frame()) {
            Ok(frame) => frame,
            Err(error) => {
                seen.end = match error {
                    WebSocketError::UnexpectedEOF => End::Open,
                    WebSocketError::InvalidUTF8 => End::Refused(NOT_UTF8),
                    WebSocketError::FrameTooLarge => End::Refused(TOO_BIG),
                    _ => End::Refused(PROTOCOL),
                };
                return seen;
            }
        };
        let opcode = match frame.opcode {
            OpCode::Text => 1,
            OpCode::Binary => 2,
            OpCode::Ping => 9,
            OpCode::Pong => 10,
            OpCode::Close => {
                let parts = frame.payload.split_first_chunk();
                seen.end = End::Closed(parts.map(|(code, reason)| {
                    (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("it has looked"))
                }));
                return seen;
            }
            OpCode::Continuation => panic!("a fragment on its own"),
        };
        seen.messages.push((opcode, frame.payload.to_vec()));
    }
}
