//! The other end of a connection: what a client reads off its wire.

use super::kernel::Simulated;
use fanwire::limits::{HttpLimits, WsLimits};
use fanwire::wire::http::client::{Body, parse_head};
use fanwire::wire::http::head::{Framing, Lines};
use fanwire::wire::ws::frame::{Opcode, encode_masked};
use fanwire::wire::ws::reader::{Event, Reader, Role};
use std::os::fd::RawFd;

/// Something whole that came.
#[derive(Debug)]
pub enum Got {
    /// An answer; of a stream its head.
    Response { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// A server-sent event.
    Event { id: String, data: String },
    /// A WebSocket message.
    Text(String),
    /// A line of an event stream that is no event.
    Comment(String),
    /// A close frame.
    Close { code: u16, reason: String },
    /// There will be nothing more.
    End,
}

impl Got {
    /// The value of a header of a response.
    pub fn header(&self, name: &str) -> Option<&str> {
        let Got::Response { headers, .. } = self else { return None };
        headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

enum Mode {
    Http,
    Stream(Body, Vec<u8>),
    WebSocket(Box<Reader>),
}

/// One connection as its client has it.
pub struct Peer {
    pub fd: RawFd,
    mode: Mode,
    buffer: Vec<u8>,
    /// It has ended its side.
    pub finished: bool,
}

impl Peer {
    pub fn new(fd: RawFd) -> Peer {
        Peer { fd, mode: Mode::Http, buffer: Vec::new(), finished: false }
    }

    /// Sends a text message.
    pub fn text(&self, kernel: &Simulated, text: &str) {
        kernel.write(self.fd, &encode_masked(Opcode::Text, true, false, [1, 2, 3, 4], text.as_bytes()));
    }

    /// Says goodbye.
    pub fn close(&mut self, kernel: &Simulated) {
        if matches!(self.mode, Mode::WebSocket(_)) {
            kernel.write(
                self.fd,
                &encode_masked(Opcode::Close, true, false, [1, 2, 3, 4], &1000u16.to_be_bytes()),
            );
        }
        self.finish(kernel);
    }

    /// Ends its side.
    pub fn finish(&mut self, kernel: &Simulated) {
        self.finished = true;
        kernel.finish(self.fd);
    }

    /// Reads at most so many bytes. False: nothing came.
    pub fn pull(&mut self, kernel: &Simulated, most: usize, got: &mut Vec<Got>) -> bool {
        let Some(bytes) = kernel.read(self.fd, most) else {
            got.push(Got::End);
            return true;
        };
        if bytes.is_empty() {
            return false;
        }
        self.buffer.extend_from_slice(&bytes);
        while self.next(kernel, got) {}
        true
    }

    fn next(&mut self, kernel: &Simulated, got: &mut Vec<Got>) -> bool {
        match &mut self.mode {
            Mode::Http => self.response(got),
            Mode::Stream(body, text) => {
                let mut rest = std::mem::take(&mut self.buffer);
                let (read, data) = body
                    .read(&mut rest, &HttpLimits { body_bytes: 1 << 30, ..HttpLimits::default() })
                    .expect("a body that is none");
                text.extend_from_slice(data);
                self.buffer = rest[read..].to_vec();
                while let Some(end) = memchr::memmem::find(text, b"\n\n") {
                    let event: Vec<u8> = text.drain(..end + 2).collect();
                    got.extend(event_of(std::str::from_utf8(&event).expect("text")));
                }
                read > 0 && !self.buffer.is_empty()
            }
            Mode::WebSocket(reader) => {
                let mut rest = std::mem::take(&mut self.buffer);
                let step = reader.step(&mut rest, &WsLimits::default(), None).expect("frames that are none");
                let consumed = step.consumed;
                let more = step.event.is_some();
                let mut goodbye = false;
                match step.event {
                    Some(Event::Text(text)) => got.push(Got::Text(text.to_owned())),
                    Some(Event::Ping(payload)) => {
                        kernel
                            .write(self.fd, &encode_masked(Opcode::Pong, true, false, [4, 3, 2, 1], payload));
                    }
                    Some(Event::Close { code, reason }) => {
                        got.push(Got::Close { code: code.unwrap_or(0), reason: reason.to_owned() });
                        goodbye = !self.finished;
                    }
                    Some(Event::Binary(_) | Event::Pong(_)) | None => {}
                }
                self.buffer = rest[consumed..].to_vec();
                if goodbye {
                    self.close(kernel);
                }
                more
            }
        }
    }

    fn response(&mut self, got: &mut Vec<Got>) -> bool {
        let (mut lines, limits) = (Lines::default(), HttpLimits::default());
        let Some(head) = parse_head(&self.buffer, false, &mut lines, &limits).expect("a head that is none")
        else {
            return false;
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
        let (status, len) = (head.status, head.len);
        let body = match head.framing {
            _ if status == 101 => {
                self.mode = Mode::WebSocket(Box::new(Reader::new(Role::Client)));
                Vec::new()
            }
            Framing::Sized(count) if self.buffer.len() < len + count => return false,
            Framing::Sized(count) => self.buffer[len..len + count].to_vec(),
            streamed => {
                self.mode = Mode::Stream(Body::new(streamed), Vec::new());
                Vec::new()
            }
        };
        self.buffer.drain(..len + body.len());
        got.push(Got::Response { status, headers, body });
        true
    }
}

fn event_of(text: &str) -> Option<Got> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_start().to_owned());
    if let Some(comment) = field(":") {
        return Some(Got::Comment(comment));
    }
    Some(Got::Event { id: field("id:")?, data: field("data:")? })
}
