//! Peers that do wrong: each comes, does its harm and goes, and none of them may harm anybody else.

use super::SoakArgs;
use crate::churn::book::Book;
use crate::contest::run_number;
use crate::sys;
use crate::wire::handshake_request;
use std::collections::VecDeque;
use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An answer is waited for as long.
const ANSWER: Duration = Duration::from_millis(200);
/// Connections of one storm.
const STORM: usize = 40;
/// Slow senders and stalled readers at once, of each kind.
const HELD: usize = 50;
/// A slow sender sends a byte after this.
const DRIP_EVERY: Duration = Duration::from_millis(100);
/// Those that are held go after this.
const HOLD: Duration = Duration::from_secs(20);
/// Receive buffer of a stalled reader, bytes.
const SMALL_BUFFER: usize = 4096;
/// What is posted to a stalled reader: so many messages of so many bytes.
const FLOOD: (usize, usize) = (120, 64 * 1024);
/// Random bytes at a time.
const GARBAGE_BYTES: usize = 2048;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Many connect at once, send half a request, and reset.
    Resets,
    /// Ends its half of the connection behind a request.
    HalfClosed,
    /// A WebSocket on a channel of its own that reads nothing while the channel is flooded.
    Stalled,
    /// Random bytes where a request should be.
    Garbage,
    /// Random bytes where frames should be.
    GarbageFrames,
    /// A request byte by byte.
    Drip,
}

impl Fault {
    const ALL: [Fault; 6] =
        [Fault::Resets, Fault::HalfClosed, Fault::Stalled, Fault::Garbage, Fault::GarbageFrames, Fault::Drip];

    fn name(self) -> &'static str {
        match self {
            Fault::Resets => "resets",
            Fault::HalfClosed => "half_closed",
            Fault::Stalled => "stalled",
            Fault::Garbage => "garbage",
            Fault::GarbageFrames => "garbage_frames",
            Fault::Drip => "drip",
        }
    }
}

/// How often each was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done([u64; Fault::ALL.len()]);

impl Done {
    /// With their names.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        Fault::ALL.iter().zip(self.0).map(|(fault, count)| (fault.name(), count)).collect()
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> =
            self.counts().iter().map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        write!(f, "faults: {}", each.join(", "))
    }
}

struct Injector<'a> {
    target: SocketAddrV4,
    args: &'a SoakArgs,
    book: Book,
    random: u64,
    number: u64,
    drips: VecDeque<(Instant, TcpStream, usize)>,
    stalled: VecDeque<(Instant, TcpStream)>,
    done: Done,
}

/// Does wrong for `time`, or until `stop`. A server that takes no connection is an error; what else it does is its own
/// affair.
pub fn inject(
    target: SocketAddrV4,
    args: &SoakArgs,
    time: Duration,
    stop: &AtomicBool,
) -> Result<Done, String> {
    let run = run_number() ^ 0x0bad_f00d;
    let mut injector = Injector {
        target,
        args,
        book: Book::new(run),
        random: u64::from(run) | 1 << 33,
        number: 0,
        drips: VecDeque::new(),
        stalled: VecDeque::new(),
        done: Done::default(),
    };
    let faults = if args.faults.is_empty() { &Fault::ALL[..] } else { &args.faults };
    let begun = Instant::now();
    while begun.elapsed() < time && !stop.load(Ordering::Relaxed) {
        let due = begun + Duration::from_secs_f64(injector.number as f64 / args.fault_rate);
        let now = Instant::now();
        if due > now {
            injector.hold(now);
            std::thread::sleep(DRIP_EVERY.min(due - now));
            continue;
        }
        let fault = faults[(injector.number % faults.len() as u64) as usize];
        injector.number += 1;
        injector.one(fault)?;
        injector.done.0[fault as usize] += 1;
    }
    Ok(injector.done)
}

impl Injector<'_> {
    fn one(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Resets => {
                let all: Result<Vec<TcpStream>, String> = (0..STORM).map(|_| self.connect()).collect();
                for mut stream in all? {
                    let _ = stream.write_all(b"GET /sub/storm HTTP/1.1\r\nHost: ");
                    let _ = sys::reset_on_close(stream.as_raw_fd());
                }
            }
            Fault::HalfClosed => {
                let mut stream = self.connect()?;
                let _ = stream
                    .write_all(b"GET /sub/half HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
                let _ = stream.shutdown(Shutdown::Write);
                self.answer(&mut stream);
            }
            Fault::Stalled => self.stall()?,
            Fault::Garbage => {
                let mut stream = self.connect()?;
                let bytes = self.bytes();
                let _ = stream.write_all(&bytes);
                self.answer(&mut stream);
            }
            Fault::GarbageFrames => {
                let mut stream = self.connect()?;
                let request = handshake_request(self.target, &format!("{}garbage", self.args.path), None);
                let _ = stream.write_all(request.as_bytes());
                self.answer(&mut stream);
                let bytes = self.bytes();
                let _ = stream.write_all(&bytes);
                self.answer(&mut stream);
            }
            Fault::Drip if self.drips.len() < HELD => {
                let stream = self.connect()?;
                self.drips.push_back((Instant::now(), stream, 0));
            }
            Fault::Drip => {}
        }
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let stream = TcpStream::connect(self.target).map_err(|e| format!("cannot connect: {e}"))?;
        stream.set_read_timeout(Some(ANSWER)).map_err(|e| e.to_string())?;
        stream.set_write_timeout(Some(ANSWER)).map_err(|e| e.to_string())?;
        Ok(stream)
    }

    /// Reads what comes soon.
    fn answer(&self, stream: &mut TcpStream) {
        let _ = stream.read(&mut [0; 4096]);
    }

    /// A reader that reads nothing, and more for it than the server may hold.
    fn stall(&mut self) -> Result<(), String> {
        if self.stalled.len() >= HELD {
            return Ok(());
        }
        let channel = self.book.own_channel(self.number);
        let small = sys::connect_small_from(Ipv4Addr::LOCALHOST, self.target, SMALL_BUFFER);
        let mut stream = TcpStream::from(small.map_err(|e| format!("cannot connect: {e}"))?);
        let request = handshake_request(self.target, &format!("/sub/{channel}"), None);
        let _ = stream.write_all(request.as_bytes());
        self.stalled.push_back((Instant::now(), stream));
        let mut poster = self.connect()?;
        let body = vec![b'x'; FLOOD.1];
        let head = format!(
            "POST /pub/{channel} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.target, FLOOD.1
        );
        for _ in 0..FLOOD.0 {
            if poster.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                break;
            }
            self.answer(&mut poster);
        }
        Ok(())
    }

    /// Those that are held do what they do, or go.
    fn hold(&mut self, now: Instant) {
        const REQUEST: &[u8] = b"POST /pub/drip HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nbody";
        let is_over = |since: &Instant| now.duration_since(*since) > HOLD;
        self.stalled.retain(|(since, _)| !is_over(since));
        self.drips.retain_mut(|(since, stream, sent)| {
            let byte = REQUEST[*sent % REQUEST.len()];
            *sent += 1;
            !is_over(since) && sys::send_now(stream.as_raw_fd(), &[byte]).is_ok()
        });
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.draw() as usize % GARBAGE_BYTES + 1;
        (0..length).map(|_| self.draw() as u8).collect()
    }

    fn draw(&mut self) -> u64 {
        // Xorshift: spread is all that is asked of it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn all_faults_are_done_and_counted_by_their_place() {
        assert_eq!(Fault::value_variants(), Fault::ALL);
        for (at, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, at);
        }
    }
}
