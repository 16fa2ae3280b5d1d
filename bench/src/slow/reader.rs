//! WebSockets of the scenario: those that read, and those that do not.

use crate::client::{check_handshake, handshake_request};
use crate::frame::{self, Kind};
use crate::http;
use crate::ledger::Ledger;
use crate::sys::{self, Received};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A handshake answer may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest handshake answer, bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// A stalled reader that begins to read has come to the end when nothing comes for so long.
const DRAIN_PAUSE: Duration = Duration::from_millis(300);
/// It reads for at most so long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a WebSocket. Returns it with what came behind the handshake.
fn open(
    source: Ipv4Addr,
    target: SocketAddrV4,
    path: &str,
    receive_buffer: Option<usize>,
) -> Result<(TcpStream, Vec<u8>), String> {
    let socket = match receive_buffer {
        Some(bytes) => sys::connect_small_from(source, target, bytes),
        None => sys::connect_from(source, target),
    };
    let mut stream = TcpStream::from(socket.map_err(|e| format!("connect from {source}: {e}"))?);
    let timeout = Some(HANDSHAKE_TIMEOUT);
    stream.set_read_timeout(timeout).map_err(|e| e.to_string())?;
    sys::reset_on_close(stream.as_raw_fd()).map_err(|e| e.to_string())?;
    let request = handshake_request(target, path, None);
    stream.write_all(request.as_bytes()).map_err(|e| format!("handshake: {e}"))?;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    // One by one: a stalled reader takes nothing that it does not have to.
    while !answer.ends_with(b"\r\n\r\n") {
        match sys::read(&mut stream, &mut byte) {
            Ok(0) => return Err("closed in the handshake".to_owned()),
            Ok(_) if answer.len() < HEAD_BYTES => answer.push(byte[0]),
            Ok(_) => return Err("endless handshake answer".to_owned()),
            Err(e) => return Err(format!("handshake: {e}")),
        }
    }
    let head = http::head_length(&answer).ok_or("a handshake answer without an end")?;
    check_handshake(&answer[..head])?;
    Ok((stream, answer.split_off(head)))
}

/// A subscriber that reads whatever comes.
pub struct Reader {
    stream: TcpStream,
    /// Bytes of a frame that is not complete.
    held: Vec<u8>,
}

impl Reader {
    /// Connects from `source` and subscribes to `path`.
    pub fn connect(source: Ipv4Addr, target: SocketAddrV4, path: &str) -> Result<Reader, String> {
        let (stream, held) = open(source, target, path, None)?;
        Ok(Reader { stream, held })
    }

    /// Descriptor of the socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Reads once and enters what came as `index` in `ledger`; `delivered` is told the number of each message.
    /// False if nothing was there.
    pub fn read(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        limit: usize,
        ledger: &mut Ledger,
        mut delivered: impl FnMut(u64),
    ) -> Result<bool, String> {
        let got = match sys::recv_now(self.fd(), buffer).map_err(|e| e.to_string())? {
            Received::Nothing => return Ok(false),
            Received::Bytes(got) => got,
            Received::Closed => return Err("the server closed the connection".to_owned()),
        };
        let mut held = std::mem::take(&mut self.held);
        let bytes = if held.is_empty() {
            &buffer[..got]
        } else {
            held.extend_from_slice(&buffer[..got]);
            &held
        };
        let mut used = 0;
        while let Some(found) = frame::next(&bytes[used..], limit).map_err(|e| e.to_string())? {
            let payload = &bytes[used..][found.payload.clone()];
            match found.kind {
                Kind::Message => {
                    let number = ledger.got(index);
                    ledger.deliver(index, payload).map_err(|mistake| mistake.to_string())?;
                    delivered(number);
                }
                Kind::Ping => {
                    let _ = sys::send_now(self.stream.as_raw_fd(), &frame::pong(payload));
                }
                Kind::Pong => {}
                Kind::Close => return Err("a close frame".to_owned()),
            }
            used += found.payload.end;
        }
        self.held = bytes[used..].to_vec();
        Ok(true)
    }
}

/// A subscriber that never reads, until it is asked what it got.
pub struct Stalled {
    stream: TcpStream,
}

/// What a stalled reader found when it began to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whole messages.
    pub messages: u64,
    /// The server had closed, and how.
    pub end: End,
}

/// State of a stalled reader's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Still open: more may come.
    Open,
    /// The server's end of the stream, without a close frame.
    Closed,
    /// A close frame with this code (0: none).
    CloseFrame(u16),
    /// A reset.
    Reset,
}

impl Stalled {
    /// Connects with a receive buffer of `bytes` and subscribes to `path`.
    pub fn connect(
        source: Ipv4Addr,
        target: SocketAddrV4,
        path: &str,
        bytes: usize,
    ) -> Result<Stalled, String> {
        let (stream, _) = open(source, target, path, Some(bytes))?;
        Ok(Stalled { stream })
    }

    /// Reads all there is, and closes.
    pub fn drain(self) -> Found {
        let (mut buffer, mut held) = ([0; 64 * 1024], Vec::new());
        let mut found = Found { messages: 0, end: End::Open };
        let begun = Instant::now();
        let mut last = begun;
        loop {
            match sys::recv_now(self.stream.as_raw_fd(), &mut buffer) {
                Ok(Received::Bytes(got)) => {
                    held.extend_from_slice(&buffer[..got]);
                    last = Instant::now();
                }
                Ok(Received::Closed) => {
                    if found.end == End::Open {
                        found.end = End::Closed;
                    }
                    return found;
                }
                Ok(Received::Nothing) if last.elapsed() < DRAIN_PAUSE => sleep(Duration::from_millis(2)),
                Ok(Received::Nothing) => return found,
                Err(_) => {
                    found.end = End::Reset;
                    return found;
                }
            }
            let mut used = 0;
            // What cannot be read as frames is not counted: the end is what matters here.
            while let Ok(Some(next)) = frame::next(&held[used..], usize::MAX) {
                let payload = &held[used..][next.payload.clone()];
                match next.kind {
                    Kind::Message => found.messages += 1,
                    Kind::Close => {
                        let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                        found.end = End::CloseFrame(code);
                    }
                    Kind::Ping | Kind::Pong => {}
                }
                used += next.payload.end;
            }
            held.drain(..used);
            if begun.elapsed() > DRAIN_TIMEOUT {
                return found;
            }
        }
    }
}
