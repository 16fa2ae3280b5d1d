//! The connections of an echo run.

use crate::client::{Subscriber, source_address};
use crate::frame::{self, Kind};
use crate::load::ClientMode;
use crate::round::{Round, Stopwatch, Work};
use crate::sys::{self, Epoll, Received};
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes of a payload that say what it is: run, connection, number. The rest is padding.
pub const TAG_BYTES: usize = 29;
/// No echo for so long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes taken per read.
const READ_BYTES: usize = 256 * 1024;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;

/// Shape of the load.
#[derive(Clone, Debug)]
pub struct EchoShape {
    /// WebSocket connections.
    pub connections: usize,
    /// Size of a message, bytes.
    pub payload_bytes: usize,
    /// Where the echo is.
    pub path: String,
    /// Source addresses used.
    pub sources: usize,
    /// How to receive.
    pub client: ClientMode,
    /// Pause between sweeps.
    pub pause: Duration,
}

/// A connection and the message it waits for.
struct Caller {
    socket: Subscriber,
    /// Messages sent.
    sent: u64,
    /// The payload that is due, if one is.
    payload: Vec<u8>,
    waiting: bool,
    sent_at: Instant,
    /// Bytes of a frame that is not complete.
    held: Vec<u8>,
}

/// See the module.
pub struct EchoLoad {
    shape: EchoShape,
    run: u32,
    callers: Vec<Caller>,
    /// Callers that wait for their echo.
    waiting: Vec<usize>,
    epoll: Option<Epoll>,
    tags: Vec<u64>,
    buffer: Vec<u8>,
    frame: Vec<u8>,
}

impl EchoLoad {
    /// Connects everybody. `run` tells this run's messages from others'.
    pub fn connect(target: SocketAddrV4, shape: EchoShape, run: u32) -> Result<EchoLoad, String> {
        let epoll = match shape.client {
            ClientMode::Sweep => None,
            ClientMode::Epoll => Some(Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?),
        };
        let mut callers = Vec::with_capacity(shape.connections);
        for index in 0..shape.connections {
            let source = source_address(target, index, shape.sources);
            let socket = Subscriber::connect(source, target, &shape.path)
                .map_err(|e| format!("connection {index}: {e}"))?;
            if let Some(epoll) = &epoll {
                epoll.add(socket.fd(), index as u64).map_err(|e| format!("epoll: {e}"))?;
            }
            let (payload, held) = (Vec::new(), Vec::new());
            callers.push(Caller { socket, sent: 0, payload, waiting: false, sent_at: Instant::now(), held });
        }
        let (waiting, tags, frame) = (Vec::new(), Vec::new(), Vec::new());
        Ok(EchoLoad { shape, run, callers, waiting, epoll, tags, buffer: vec![0; READ_BYTES], frame })
    }

    fn send(&mut self, index: usize) -> Result<(), String> {
        let caller = &mut self.callers[index];
        write_payload(&mut caller.payload, self.run, index, caller.sent, self.shape.payload_bytes);
        // Any key but zero will do: it makes the server unmask in earnest.
        let key = (caller.sent as u32 ^ self.run).wrapping_mul(0x9e37_79b9) | 0x0101_0101;
        self.frame.clear();
        frame::push_masked(&mut self.frame, &caller.payload, key.to_ne_bytes());
        caller.sent += 1;
        caller.waiting = true;
        caller.sent_at = Instant::now();
        if !sys::send_all(caller.socket.fd(), &self.frame, STALL_TIMEOUT) {
            return Err(format!("connection {index}: the server does not take message {}", caller.sent));
        }
        Ok(())
    }

    /// Reads one connection once. True when its echo is complete.
    fn read(&mut self, index: usize, round: &mut Round) -> Result<bool, String> {
        let name = |what: &str, sent: u64| format!("connection {index}, at message {sent}: {what}");
        let caller = &mut self.callers[index];
        let got = match caller.socket.receive(&mut self.buffer) {
            Ok(Received::Nothing) => return Ok(false),
            Ok(Received::Bytes(got)) => got,
            Ok(Received::Closed) => return Err(name("the server closed the connection", caller.sent)),
            Err(error) => return Err(name(&error, caller.sent)),
        };
        round.reads += 1;
        let taken = caller.take(&self.buffer[..got], self.shape.payload_bytes);
        let done = taken.map_err(|error| name(&error, caller.sent))?;
        if done {
            round.messages += 1;
            round.latencies.record(caller.sent_at.elapsed().as_nanos() as u64);
        }
        Ok(done)
    }

    fn sweep(&mut self, more: bool, round: &mut Round) -> Result<(), String> {
        if !self.shape.pause.is_zero() {
            sleep(self.shape.pause);
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut kept = 0;
        for at in 0..waiting.len() {
            let index = waiting[at];
            let done = self.read(index, round)?;
            if done && more {
                self.send(index)?;
            }
            if !done || more {
                waiting[kept] = index;
                kept += 1;
            }
        }
        waiting.truncate(kept);
        self.waiting = waiting;
        Ok(())
    }

    fn wait(&mut self, more: bool, round: &mut Round) -> Result<(), String> {
        let Some(epoll) = &mut self.epoll else { return Ok(()) };
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        epoll.wait(Some(Duration::from_millis(100)), &mut tags).map_err(|e| format!("epoll: {e}"))?;
        for &tag in &tags {
            if self.read(tag as usize, round)? && more {
                self.send(tag as usize)?;
            }
        }
        self.tags = tags;
        Ok(())
    }
}

impl Work for EchoLoad {
    fn round(&mut self, time: Duration) -> Result<Round, String> {
        let mut round = Round::default();
        let watch = Stopwatch::start()?;
        let first: u64 = self.callers.iter().map(|caller| caller.sent).sum();
        for index in 0..self.callers.len() {
            self.send(index)?;
        }
        self.waiting.clear();
        self.waiting.extend(0..self.callers.len());
        let (mut progress_at, mut progress) = (watch.begun(), 0);
        loop {
            let more = watch.begun().elapsed() < time;
            if self.epoll.is_some() {
                self.wait(more, &mut round)?
            } else {
                self.sweep(more, &mut round)?
            }
            let sent: u64 = self.callers.iter().map(|caller| caller.sent).sum();
            if !more && round.messages == sent - first {
                break;
            }
            if round.reads != progress {
                (progress_at, progress) = (Instant::now(), round.reads);
            } else if progress_at.elapsed() > STALL_TIMEOUT {
                let missing = sent - first - round.messages;
                return Err(format!("nothing has come for {STALL_TIMEOUT:?}: {missing} echoes are missing"));
            }
        }
        watch.stop(&mut round)?;
        round.deliveries = round.messages;
        Ok(round)
    }

    fn check_nothing_left(&mut self) -> Result<(), String> {
        let mut round = Round::default();
        for index in 0..self.callers.len() {
            self.read(index, &mut round)?;
        }
        Ok(())
    }
}

impl Caller {
    /// Takes bytes of the socket. True when they complete the echo; anything else than it is an error.
    fn take(&mut self, bytes: &[u8], payload_bytes: usize) -> Result<bool, String> {
        let held = !self.held.is_empty();
        if held {
            self.held.extend_from_slice(bytes);
        }
        let pending = std::mem::take(&mut self.held);
        let all = if held { &pending[..] } else { bytes };
        let (mut used, mut done) = (0, false);
        let limit = payload_bytes.max(125);
        while let Some(found) = frame::next(&all[used..], limit).map_err(|error| error.to_string())? {
            let payload = &all[used..][found.payload.clone()];
            match found.kind {
                Kind::Message if !self.waiting => return Err("an echo too many".to_owned()),
                Kind::Message if payload != self.payload => return Err("not the bytes sent".to_owned()),
                Kind::Message => (self.waiting, done) = (false, true),
                Kind::Ping => self.socket.send_control(&frame::pong(payload))?,
                Kind::Pong => {}
                Kind::Close => return Err("a close frame".to_owned()),
            }
            used += found.payload.end;
        }
        self.held.extend_from_slice(&all[used..]);
        Ok(done)
    }
}

/// `fw-rrrrrrrr-ccccc-nnnnnnnnnn` and printable padding that differs from message to message.
fn write_payload(out: &mut Vec<u8>, run: u32, connection: usize, number: u64, bytes: usize) {
    let (connection, number) = (connection % 100_000, number % 10_000_000_000);
    out.clear();
    // A Vec takes whatever is written.
    let _ = write!(out, "fw-{run:08x}-{connection:05}-{number:010}-");
    let shift = (number % 26) as usize;
    out.extend((0..bytes.saturating_sub(TAG_BYTES)).map(|i| b'a' + ((i + shift) % 26) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::{self, Mode};
    use crate::load::tests::start_floor;

    fn shape(client: ClientMode, payload_bytes: usize, path: &str) -> EchoShape {
        let pause = Duration::from_micros(100);
        EchoShape { connections: 12, payload_bytes, path: path.to_owned(), sources: 2, client, pause }
    }

    #[test]
    fn every_message_comes_back_in_every_mode() {
        let mut modes = vec![Mode::Send];
        modes.extend(floor::uring_available().then_some(Mode::Uring));
        for mode in modes {
            for client in [ClientMode::Sweep, ClientMode::Epoll] {
                for bytes in [TAG_BYTES, 512, 60_000] {
                    let mut load =
                        EchoLoad::connect(start_floor(mode), shape(client, bytes, "/echo"), 7).unwrap();
                    let round = load.round(Duration::from_millis(20)).unwrap();
                    load.check_nothing_left().unwrap();
                    assert!(round.messages >= 12, "{mode:?} {client:?} {bytes}");
                    assert_eq!((round.deliveries, round.latencies.len()), (round.messages, round.messages));
                }
            }
        }
    }

    #[test]
    fn payloads_differ_by_connection_number_and_run() {
        let payload = |run, connection, number| {
            let mut out = Vec::new();
            write_payload(&mut out, run, connection, number, 64);
            assert_eq!(out.len(), 64);
            out
        };
        let first = payload(1, 2, 3);
        assert!(first != payload(9, 2, 3) && first != payload(1, 9, 3) && first != payload(1, 2, 9));
    }

    #[test]
    fn what_is_not_the_echo_is_told() {
        let mut load =
            EchoLoad::connect(start_floor(Mode::Send), shape(ClientMode::Sweep, 64, "/echo"), 7).unwrap();
        let text = |payload: &[u8]| {
            let mut out = Vec::new();
            frame::push_text(&mut out, payload);
            out
        };
        let caller = &mut load.callers[0];
        caller.payload = b"expected".to_vec();
        assert_eq!(caller.take(&text(b"expected"), 64), Err("an echo too many".to_owned()));
        caller.waiting = true;
        assert_eq!(caller.take(&text(b"expecteD"), 64), Err("not the bytes sent".to_owned()));
        let frame = text(b"expected");
        assert_eq!(caller.take(&frame[..3], 64), Ok(false));
        assert_eq!(caller.take(&frame[3..5], 64), Ok(false));
        assert_eq!(caller.take(&frame[5..], 64), Ok(true));
        assert_eq!(caller.take(&[0x88, 0], 64), Err("a close frame".to_owned()));
    }
}
