//! One connection that comes, stays a while, and leaves in its own way.

use super::book::Book;
use crate::client::{check_handshake, handshake_request};
use crate::frame::{self, Kind as FrameKind};
use crate::http;
use crate::sys::{self, Received};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

/// Longest head of an answer, bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Longest frame, bytes.
const FRAME_BYTES: usize = 64 * 1024;
/// A whole close frame with code 1000, masked with a zero key.
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
/// The beginning of a text frame of 100 bytes: head, key and ten of them.
const CUT_FRAME: [u8; 16] =
    [0x81, 0x80 | 100, 0, 0, 0, 0, b'c', b'u', b't', b'c', b'u', b't', b'c', b'u', b't', b'c'];

/// How a visitor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// WebSocket on the shared channel; leaves with a close frame and waits for the answer.
    Close,
    /// The same; leaves with a reset.
    Reset,
    /// The same; ends its half of the connection and waits for the server's end.
    HalfClose,
    /// The same; leaves in the middle of a frame.
    CutFrame,
    /// Leaves in the middle of the request's head.
    CutHead,
    /// WebSocket on a channel of its own, gets a message there, and leaves without a word.
    OwnChannel,
    /// Long poll on a channel of its own that never gets a message.
    LongPoll,
    /// Event stream on a channel of its own.
    EventStream,
    /// Publishes to a channel of its own where nobody listens.
    Post,
}

impl Kind {
    /// All kinds; visitors take them in turn.
    pub const ALL: [Kind; 9] = [
        Kind::Close,
        Kind::OwnChannel,
        Kind::Reset,
        Kind::LongPoll,
        Kind::HalfClose,
        Kind::EventStream,
        Kind::CutFrame,
        Kind::Post,
        Kind::CutHead,
    ];

    /// Name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Close => "clean close",
            Kind::Reset => "reset",
            Kind::HalfClose => "half-close",
            Kind::CutFrame => "cut in a frame",
            Kind::CutHead => "cut in the head",
            Kind::OwnChannel => "own channel",
            Kind::LongPoll => "abandoned long poll",
            Kind::EventStream => "abandoned event stream",
            Kind::Post => "publish",
        }
    }

    fn is_websocket(self) -> bool {
        matches!(self, Kind::Close | Kind::Reset | Kind::HalfClose | Kind::CutFrame | Kind::OwnChannel)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// Its request is sent; the answer is not there.
    Asking,
    Staying,
    /// It has said that it leaves and waits for the server's end.
    Leaving,
}

/// What follows from a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing yet.
    Wait,
    /// It listens on its own channel: its message may be published.
    Listens,
    /// It is gone.
    Gone,
}

/// Paths that visitors ask for.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The server.
    pub target: SocketAddrV4,
    /// In front of a channel's name for subscribers, with a slash at its end.
    pub subscribe: String,
    /// The same for publishers.
    pub publish: String,
}

/// See the module.
pub struct Visitor {
    stream: TcpStream,
    /// How it behaves.
    pub kind: Kind,
    /// Which visitor it is, and the name of its own channel.
    pub number: u64,
    /// When it leaves.
    pub leave_at: Instant,
    stage: Stage,
    /// Bytes of an answer or frame that is not complete.
    held: Vec<u8>,
    /// The shared message that is due next, once one has come.
    due: Option<u64>,
    own_came: bool,
    /// Messages it has got.
    pub deliveries: u64,
}

impl Visitor {
    /// A visitor whose connection is under way.
    pub fn new(stream: TcpStream, kind: Kind, number: u64, leave_at: Instant) -> Visitor {
        let (stage, held) = (Stage::Connecting, Vec::new());
        Visitor { stream, kind, number, leave_at, stage, held, due: None, own_came: false, deliveries: 0 }
    }

    /// Descriptor of its socket.
    pub fn fd(&self) -> i32 {
        self.stream.as_raw_fd()
    }

    /// Whether its socket is watched for room to write, not for input.
    pub fn is_connecting(&self) -> bool {
        self.stage == Stage::Connecting
    }

    fn request(&self, paths: &Paths, book: &Book) -> Vec<u8> {
        let target = paths.target;
        let own = book.own_channel(self.number);
        let subscribe = |channel: &str| format!("{}{channel}", paths.subscribe);
        match self.kind {
            Kind::OwnChannel => handshake_request(target, &subscribe(&own), None).into_bytes(),
            kind if kind.is_websocket() => {
                handshake_request(target, &subscribe(&book.shared_channel()), None).into_bytes()
            }
            Kind::LongPoll => {
                format!("GET {} HTTP/1.1\r\nHost: {target}\r\n\r\n", subscribe(&own)).into_bytes()
            }
            Kind::EventStream => format!(
                "GET {} HTTP/1.1\r\nHost: {target}\r\nAccept: text/event-stream\r\n\r\n",
                subscribe(&own)
            )
            .into_bytes(),
            Kind::Post => {
                let body = book.own(self.number);
                let mut request = format!(
                    "POST {}{own} HTTP/1.1\r\nHost: {target}\r\nContent-Length: {}\r\n\r\n",
                    paths.publish,
                    body.len()
                )
                .into_bytes();
                request.extend_from_slice(&body);
                request
            }
            // Everything but the last two lines.
            _ => format!("GET {} HTTP/1.1\r\nHost: {target}\r\nX-Cut: ", subscribe(&own)).into_bytes(),
        }
    }

    /// The connection is there, or has failed.
    pub fn connected(&mut self, paths: &Paths, book: &Book) -> Result<Next, String> {
        if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
            return Err(format!("connect: {}", error.kind()));
        }
        let request = self.request(paths, book);
        match sys::send_now(self.fd(), &request) {
            Ok(sent) if sent == request.len() => {}
            Ok(_) => return Err("the request does not fit the socket".to_owned()),
            Err(error) => return Err(format!("request: {}", error.kind())),
        }
        // Nothing is answered to half a head, and to a poll only when there is something.
        let answered = !matches!(self.kind, Kind::CutHead | Kind::LongPoll);
        self.stage = if answered { Stage::Asking } else { Stage::Staying };
        Ok(Next::Wait)
    }

    /// Its socket has input.
    pub fn readable(&mut self, buffer: &mut [u8], book: &Book) -> Result<Next, String> {
        let got = match sys::recv_now(self.fd(), buffer) {
            Ok(Received::Nothing) => return Ok(Next::Wait),
            Ok(Received::Bytes(got)) => got,
            Ok(Received::Closed) if self.stage == Stage::Leaving => return Ok(Next::Gone),
            Ok(Received::Closed) => return Err("the server closed the connection".to_owned()),
            Err(_) if self.stage == Stage::Leaving => return Ok(Next::Gone),
            Err(error) => return Err(format!("{}", error.kind())),
        };
        self.held.extend_from_slice(&buffer[..got]);
        if self.stage == Stage::Asking {
            if !self.take_answer()? {
                return Ok(Next::Wait);
            }
            self.stage = Stage::Staying;
            if self.kind == Kind::OwnChannel {
                self.take_frames(book)?;
                return Ok(Next::Listens);
            }
        }
        match self.kind {
            kind if kind.is_websocket() => self.take_frames(book)?,
            Kind::EventStream => self.held.clear(),
            _ if self.held.is_empty() => {}
            _ => return Err("an answer nobody asked for".to_owned()),
        }
        Ok(Next::Wait)
    }

    /// Takes the answer's head, and its body where it has one. False if it is not complete.
    fn take_answer(&mut self) -> Result<bool, String> {
        if self.kind == Kind::Post {
            return match http::next_answer(&self.held)? {
                None => Ok(false),
                Some((200..300, length)) => {
                    self.held.drain(..length);
                    Ok(true)
                }
                Some((status, _)) => Err(format!("status {status}")),
            };
        }
        let Some(length) = http::head_length(&self.held) else {
            let endless = self.held.len() > HEAD_BYTES;
            return if endless { Err("endless answer".to_owned()) } else { Ok(false) };
        };
        if self.kind.is_websocket() {
            check_handshake(&self.held[..length])?;
        } else {
            match http::status(std::str::from_utf8(&self.held[..length]).unwrap_or_default()) {
                Some(200) => {}
                status => return Err(format!("status {status:?}")),
            }
        }
        self.held.drain(..length);
        Ok(true)
    }

    fn take_frames(&mut self, book: &Book) -> Result<(), String> {
        let mut used = 0;
        while let Some(found) = frame::next(&self.held[used..], FRAME_BYTES).map_err(|e| e.to_string())? {
            let payload = &self.held[used..][found.payload.clone()];
            match found.kind {
                FrameKind::Message if self.kind == Kind::OwnChannel => {
                    if self.own_came || payload != book.own(self.number) {
                        return Err("something that is not its own message, or it twice".to_owned());
                    }
                    self.own_came = true;
                    self.deliveries += 1;
                }
                FrameKind::Message => {
                    let number = book.check(self.due, payload)?;
                    self.due = Some(number + 1);
                    self.deliveries += 1;
                }
                FrameKind::Ping => {
                    let _ = sys::send_now(self.stream.as_raw_fd(), &frame::pong(payload));
                }
                FrameKind::Close if self.stage != Stage::Leaving => {
                    return Err("a close frame nobody asked for".to_owned());
                }
                FrameKind::Pong | FrameKind::Close => {}
            }
            used += found.payload.end;
        }
        self.held.drain(..used);
        Ok(())
    }

    /// Whether it has what it came for.
    pub fn may_leave(&self) -> bool {
        self.stage == Stage::Staying && (self.kind != Kind::OwnChannel || self.own_came)
    }

    /// Whether it waits for the server's end.
    pub fn is_leaving(&self) -> bool {
        self.stage == Stage::Leaving
    }

    /// Leaves in its way.
    pub fn leave(&mut self) -> Result<Next, String> {
        let error = |error: std::io::Error| format!("leaving: {}", error.kind());
        match self.kind {
            Kind::Close => {
                sys::send_now(self.fd(), &CLOSE).map_err(error)?;
            }
            Kind::HalfClose => self.stream.shutdown(std::net::Shutdown::Write).map_err(error)?,
            Kind::Reset => {
                sys::reset_on_close(self.fd()).map_err(error)?;
                return Ok(Next::Gone);
            }
            Kind::CutFrame => {
                sys::send_now(self.fd(), &CUT_FRAME).map_err(error)?;
                return Ok(Next::Gone);
            }
            _ => return Ok(Next::Gone),
        }
        self.stage = Stage::Leaving;
        Ok(Next::Wait)
    }

    /// What it waits for, for people.
    pub fn waits_for(&self) -> &'static str {
        match self.stage {
            Stage::Connecting => "the connection",
            Stage::Asking => "the answer",
            Stage::Staying => "its message",
            Stage::Leaving => "the server's end",
        }
    }
}
