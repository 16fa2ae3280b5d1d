//! The load of one cell: publishers and subscribers on known shards, every delivery checked by the ledger: bytes, and
//! the order of each publisher's messages at each subscriber.

use super::place::{Placed, publish_request};
use crate::frame::{self, Kind};
use crate::http;
use crate::ledger::Ledger;
use crate::round::{Round, Stopwatch};
use crate::sys::{self, Received};
use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No delivery and no answer for so long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes taken per read.
const READ_BYTES: usize = 256 * 1024;

/// How the client works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All sockets are looked at, then the client pauses for so long: nobody waits on a socket.
    Sweep(Duration),
    /// The client waits on each socket in turn: exact latency, one message at a time.
    Wait,
}

/// What a crowd is.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its channel.
    pub channel: String,
    /// Shard of each publisher.
    pub publishers: Vec<usize>,
    /// Shard of each subscriber.
    pub subscribers: Vec<usize>,
    /// Messages that a publisher writes at once, when its last lot is answered and delivered.
    pub window: usize,
    /// Size of a message, bytes.
    pub payload_bytes: usize,
    /// How the client works.
    pub pace: Pace,
}

struct Subscriber {
    placed: Placed,
    held: Vec<u8>,
}

struct Publisher {
    placed: Placed,
    out: Vec<u8>,
    answers: Vec<u8>,
    unanswered: usize,
    begun: Instant,
}

/// See the module.
pub struct Crowd {
    shape: Shape,
    target: SocketAddrV4,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    ledger: Ledger,
    /// Messages answered, which is all there is to a publish without subscribers.
    answered: u64,
    lacking: Vec<usize>,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Connects everybody. `run` tells this crowd's messages from others'.
    pub fn connect(target: SocketAddrV4, shape: Shape, run: u32) -> Result<Crowd, String> {
        let mut subscribers = Vec::with_capacity(shape.subscribers.len());
        for (index, &shard) in shape.subscribers.iter().enumerate() {
            let mut placed = Placed::connect(target, shard)
                .and_then(|placed| placed.subscribe(&format!("/sub/{}", shape.channel)))
                .map_err(|e| format!("subscriber {index} on shard {shard}: {e}"))?;
            let held = placed.take_rest();
            subscribers.push(Subscriber { placed, held });
        }
        let mut publishers = Vec::with_capacity(shape.publishers.len());
        for &shard in &shape.publishers {
            let placed =
                Placed::connect(target, shard).map_err(|e| format!("publisher on shard {shard}: {e}"))?;
            let (out, answers) = (Vec::new(), Vec::new());
            publishers.push(Publisher { placed, out, answers, unanswered: 0, begun: Instant::now() });
        }
        let ledger = Ledger::new(run, subscribers.len(), publishers.len(), shape.window, shape.payload_bytes);
        Ok(Crowd {
            shape,
            target,
            subscribers,
            publishers,
            ledger,
            answered: 0,
            lacking: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Publishes for `time`, then waits until everything is answered and delivered.
    pub fn round(&mut self, time: Duration) -> Result<Round, String> {
        let mut round = Round::default();
        let before = self.answered;
        let watch = Stopwatch::start()?;
        let begun = watch.begun();
        let (mut moved_at, mut moved) = (begun, 0);
        loop {
            if begun.elapsed() < time {
                self.publish()?;
            } else if self.is_quiet() {
                break;
            }
            match self.shape.pace {
                Pace::Sweep(pause) => self.sweep(pause, &mut round)?,
                Pace::Wait => self.wait(&mut round)?,
            }
            let now = self.answered + round.deliveries;
            if now != moved {
                (moved_at, moved) = (Instant::now(), now);
            } else if !self.is_quiet() && moved_at.elapsed() > STALL_TIMEOUT {
                return Err(self.describe_stall());
            }
        }
        watch.stop(&mut round)?;
        round.messages = self.answered - before;
        if round.deliveries != round.messages * self.subscribers.len() as u64 {
            return Err(format!("{} messages brought {} deliveries", round.messages, round.deliveries));
        }
        Ok(round)
    }

    /// Answers pings. Anything that nobody asked for is an error.
    pub fn attend(&mut self) -> Result<(), String> {
        let mut round = Round::default();
        for index in 0..self.subscribers.len() {
            self.receive(index, &mut round)?;
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let delivered = self.subscribers.is_empty() || self.ledger.complete() == self.ledger.sent();
        delivered && self.publishers.iter().all(|p| p.unanswered == 0)
    }

    fn publish(&mut self) -> Result<(), String> {
        let alone = self.subscribers.is_empty();
        let mut any = false;
        for (index, publisher) in self.publishers.iter_mut().enumerate() {
            if publisher.unanswered > 0 || (!alone && self.ledger.in_flight(index) > 0) {
                continue;
            }
            for number in 0..self.shape.window {
                let request = if alone {
                    let payload = vec![b'a' + (number % 26) as u8; self.shape.payload_bytes];
                    publish_request(self.target, &self.shape.channel, &payload)
                } else {
                    let Some(payload) = self.ledger.publish(index) else { break };
                    publish_request(self.target, &self.shape.channel, payload)
                };
                publisher.out.extend_from_slice(&request);
                publisher.unanswered += 1;
            }
            publisher.begun = Instant::now();
            any = true;
        }
        if any {
            self.lacking = (0..self.subscribers.len()).collect();
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), String> {
        for publisher in self.publishers.iter_mut().filter(|p| !p.out.is_empty()) {
            let sent =
                sys::send_now(publisher.placed.fd(), &publisher.out).map_err(|e| format!("publish: {e}"))?;
            publisher.out.drain(..sent);
        }
        Ok(())
    }

    /// First the pause: a sweep right behind the publish would only get in the server's way.
    fn sweep(&mut self, pause: Duration, round: &mut Round) -> Result<(), String> {
        sleep(pause);
        self.write()?;
        let mut lacking = std::mem::take(&mut self.lacking);
        for &index in &lacking {
            self.receive(index, round)?;
        }
        lacking.retain(|&index| self.ledger.got(index) < self.ledger.sent());
        self.lacking = lacking;
        for index in 0..self.publishers.len() {
            self.read_answers(index)?;
        }
        Ok(())
    }

    /// Waits for whatever lacks something, one socket after the other.
    fn wait(&mut self, round: &mut Round) -> Result<(), String> {
        for index in 0..self.subscribers.len() {
            while self.ledger.got(index) < self.ledger.sent() {
                self.await_input(self.subscribers[index].placed.fd())?;
                self.receive(index, round)?;
            }
        }
        for index in 0..self.publishers.len() {
            while self.publishers[index].unanswered > 0 {
                self.await_input(self.publishers[index].placed.fd())?;
                self.read_answers(index)?;
            }
        }
        Ok(())
    }

    fn await_input(&mut self, fd: i32) -> Result<(), String> {
        self.write()?;
        match sys::wait_ready(fd, libc::POLLIN, STALL_TIMEOUT) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.describe_stall()),
            Err(error) => Err(format!("poll: {error}")),
        }
    }

    /// Reads one subscriber's socket once and enters what came.
    fn receive(&mut self, index: usize, round: &mut Round) -> Result<(), String> {
        let Crowd { subscribers, ledger, buffer, publishers, shape, .. } = self;
        let subscriber = &mut subscribers[index];
        let name = |what: &str| format!("subscriber {index} (shard {}): {what}", shape.subscribers[index]);
        match sys::recv_now(subscriber.placed.fd(), buffer).map_err(|e| name(&e.to_string()))? {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err(name("the server closed the connection")),
            Received::Bytes(got) => subscriber.held.extend_from_slice(&buffer[..got]),
        }
        round.reads += 1;
        let mut used = 0;
        let limit = shape.payload_bytes.max(125);
        while let Some(found) =
            frame::next(&subscriber.held[used..], limit).map_err(|e| name(&e.to_string()))?
        {
            let payload = &subscriber.held[used..][found.payload.clone()];
            match found.kind {
                Kind::Message => {
                    let done =
                        ledger.deliver(index, payload).map_err(|mistake| name(&mistake.to_string()))?;
                    round.deliveries += 1;
                    if let Some(done) = done {
                        round.latencies.record(publishers[done.publisher].begun.elapsed().as_nanos() as u64);
                    }
                }
                Kind::Ping => {
                    sys::send_now(subscriber.placed.fd(), &frame::pong(payload))
                        .map_err(|e| e.to_string())?;
                }
                Kind::Pong => {}
                Kind::Close => return Err(name("the server said good-bye")),
            }
            used += found.payload.end;
        }
        subscriber.held.drain(..used);
        Ok(())
    }

    /// Reads one publisher's answers. Anything but a success is an error.
    fn read_answers(&mut self, index: usize) -> Result<(), String> {
        let publisher = &mut self.publishers[index];
        if publisher.unanswered == 0 {
            return Ok(());
        }
        match sys::recv_now(publisher.placed.fd(), &mut self.buffer).map_err(|e| format!("publish: {e}"))? {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err("the server closed a publisher's connection".to_owned()),
            Received::Bytes(got) => publisher.answers.extend_from_slice(&self.buffer[..got]),
        }
        let mut used = 0;
        while let Some((status, length)) = http::next_answer(&publisher.answers[used..])? {
            if !(200..300).contains(&status) {
                let text = String::from_utf8_lossy(&publisher.answers[used..used + length]).into_owned();
                return Err(format!("publish refused: {text}"));
            }
            publisher.unanswered = publisher.unanswered.checked_sub(1).ok_or("an answer nobody asked for")?;
            self.answered += 1;
            used += length;
        }
        publisher.answers.drain(..used);
        Ok(())
    }

    fn describe_stall(&self) -> String {
        let behind = (0..self.subscribers.len()).filter(|&i| self.ledger.got(i) < self.ledger.sent()).count();
        let unanswered: usize = self.publishers.iter().map(|publisher| publisher.unanswered).sum();
        format!(
            "nothing has come for {STALL_TIMEOUT:?}: {unanswered} requests unanswered, {behind} of {} subscribers lack messages",
            self.subscribers.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ACCEPT;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    /// What a server does with the subscribers' frame of its n-th message.
    type Deliver = fn(u64, &[u8]) -> Vec<u8>;

    /// A server with the routes that a cell uses, which delivers as it is told.
    fn serve(deliver: Deliver) -> SocketAddrV4 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new((Vec::new(), 0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || talk(stream, &state, deliver));
            }
        });
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    fn talk(mut stream: TcpStream, state: &Mutex<(Vec<TcpStream>, u64)>, deliver: Deliver) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let Some(head) = http::head_length(&bytes) else {
                match stream.read(&mut buffer) {
                    Ok(got @ 1..) => bytes.extend_from_slice(&buffer[..got]),
                    _ => return,
                }
                continue;
            };
            let text = String::from_utf8(bytes.drain(..head).collect()).unwrap();
            let (mut subscribers, answer) = (state.lock().unwrap(), "HTTP/1.1");
            if text.starts_with("POST") {
                let length: usize = http::header(&text, "content-length").unwrap().parse().unwrap();
                while bytes.len() < length {
                    let got = stream.read(&mut buffer).unwrap();
                    bytes.extend_from_slice(&buffer[..got]);
                }
                let mut frame = Vec::new();
                frame::push_text(&mut frame, &bytes.drain(..length).collect::<Vec<_>>());
                let number = subscribers.1;
                subscribers.1 += 1;
                for subscriber in &mut subscribers.0 {
                    let _ = subscriber.write_all(&deliver(number, &frame));
                }
                let _ = write!(stream, "{answer} 201 Created\r\nContent-Length: 0\r\n\r\n");
            } else if text.starts_with("GET /sub") {
                let _ = write!(stream, "{answer} 101 Switching\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
                subscribers.0.push(stream.try_clone().unwrap());
            } else {
                let _ = write!(stream, "{answer} 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
            }
        }
    }

    fn round(deliver: Deliver, pace: Pace) -> Result<Round, String> {
        let shape = Shape {
            channel: "c".to_owned(),
            publishers: vec![0],
            subscribers: vec![0, 1, 1],
            window: 4,
            payload_bytes: 64,
            pace,
        };
        Crowd::connect(serve(deliver), shape, 7)?.round(Duration::from_millis(30))
    }

    const SWEEP: Pace = Pace::Sweep(Duration::from_micros(200));

    #[test]
    fn a_good_server_brings_every_message_to_everybody() {
        for pace in [SWEEP, Pace::Wait] {
            let round = round(|_, frame| frame.to_vec(), pace).unwrap();
            assert!(round.messages >= 4 && round.deliveries == 3 * round.messages, "{round:?}");
        }
    }

    #[test]
    fn what_is_lost_doubled_or_closed_is_an_error() {
        let lost = round(|n, frame| if n == 1 { Vec::new() } else { frame.to_vec() }, SWEEP).unwrap_err();
        assert!(lost.contains("subscriber") && lost.contains("where 1 was due"), "{lost}");
        let doubled = round(|_, frame| frame.repeat(2), SWEEP).unwrap_err();
        assert!(doubled.contains("twice"), "{doubled}");
        let closed = round(|_, _| vec![0x88, 0], Pace::Wait).unwrap_err();
        assert!(closed.contains("good-bye"), "{closed}");
    }
}
