//! Visitors that come by the clock, and the publisher between them.

use super::book::Book;
use super::visitor::{Kind, Next, Paths, Visitor};
use crate::client::source_address;
use crate::http;
use crate::sys::{self, Epoll, Received};
use crate::watchdog;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What a visitor waits for must come within this; also the answers to publishes.
const PATIENCE: Duration = Duration::from_secs(20);
/// A visitor that may not leave yet is looked at again after this.
const AGAIN: Duration = Duration::from_millis(50);
/// So many visitors that fare ill end the run.
const FAULTS_MAX: u64 = 1000;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;
/// Tag of the publisher in epoll.
const POSTER: u64 = u64::MAX;

/// What a cycle is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Visitors per second.
    pub connections: f64,
    /// Mean time that a visitor stays; each has its own between nothing and twice this.
    pub lifetime: Duration,
    /// Messages per second in the channel they share.
    pub messages: f64,
}

/// What a cycle brought.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Visitors.
    pub visitors: u64,
    /// Messages published.
    pub messages: u64,
    /// Messages that visitors have got.
    pub deliveries: u64,
    /// Most visitors at a time.
    pub most: usize,
}

/// See the module.
pub struct Crowd {
    paths: Paths,
    kinds: Vec<Kind>,
    sources: usize,
    book: Book,
    epoll: Epoll,
    slots: Vec<Slot>,
    free: Vec<usize>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    poster: Poster,
    random: u64,
    launched: u64,
    buffer: Vec<u8>,
    /// Visitors that fared ill, by kind and reason.
    pub faults: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Slot {
    /// Grows with each visitor: tags of the last one are known as old.
    generation: u32,
    visitor: Option<Visitor>,
}

impl Crowd {
    /// Connects the publisher. Visitors are of `kinds` in turn. `run` tells this run's messages from others'.
    pub fn new(paths: Paths, kinds: &[Kind], sources: usize, run: u32) -> Result<Crowd, String> {
        let epoll = Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?;
        let poster = Poster::connect(&paths)?;
        epoll.add(poster.stream.as_raw_fd(), POSTER).map_err(|e| format!("epoll: {e}"))?;
        Ok(Crowd {
            paths,
            kinds: if kinds.is_empty() { Kind::ALL.to_vec() } else { kinds.to_vec() },
            sources,
            book: Book::new(run),
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            poster,
            random: u64::from(run) | 1 << 40,
            launched: 0,
            buffer: vec![0; 64 * 1024],
            faults: BTreeMap::new(),
        })
    }

    /// Visitors come for `time`; returns when the last one is gone.
    pub fn cycle(&mut self, pace: Pace, time: Duration) -> Result<Passed, String> {
        let begun = Instant::now();
        let mut passed = Passed::default();
        let nth = |count: u64, rate: f64| begun + Duration::from_secs_f64(count as f64 / rate);
        let end = begun + time;
        let last = end + pace.lifetime * 2 + PATIENCE * 2;
        let mut tags = Vec::new();
        loop {
            let now = Instant::now();
            while now < end && nth(passed.visitors, pace.connections) <= now {
                self.launch(pace);
                passed.visitors += 1;
            }
            while now < end && nth(passed.messages, pace.messages) <= now {
                let path = format!("{}{}", self.paths.publish, self.book.shared_channel());
                let payload = self.book.publish();
                self.poster.post(&path, &payload);
                passed.messages += 1;
            }
            let present = self.slots.len() - self.free.len();
            passed.most = passed.most.max(present);
            watchdog::at(passed.visitors as usize);
            if now >= end && present == 0 && self.poster.unanswered == 0 {
                return Ok(passed);
            }
            if now > last {
                return Err(format!(
                    "{present} visitors are not gone {:?} after the last one came",
                    last - end
                ));
            }
            self.poster.flush()?;
            let mut next = now + AGAIN;
            if now < end {
                next =
                    next.min(nth(passed.visitors, pace.connections)).min(nth(passed.messages, pace.messages));
            }
            if let Some(Reverse((at, _))) = self.timers.peek() {
                next = next.min(*at);
            }
            tags.clear();
            let timeout = next.saturating_duration_since(now);
            self.epoll.wait(Some(timeout), &mut tags).map_err(|e| format!("epoll: {e}"))?;
            for &tag in &tags {
                if tag == POSTER {
                    self.poster.read(&mut self.buffer)?;
                } else {
                    self.ready(tag, &mut passed);
                }
            }
            self.run_timers(&mut passed);
            if self.faults.values().sum::<u64>() > FAULTS_MAX {
                return Err(format!("more than {FAULTS_MAX} visitors fared ill: {}", self.describe_faults()));
            }
        }
    }

    /// All faults in one line.
    pub fn describe_faults(&self) -> String {
        let each = self.faults.iter().map(|(what, count)| format!("{count} x {what}"));
        each.collect::<Vec<_>>().join("; ")
    }

    fn draw(&mut self, bound: u64) -> u64 {
        // Xorshift: spread is all that is asked of it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }

    fn launch(&mut self, pace: Pace) {
        let number = self.launched;
        self.launched += 1;
        let kind = self.kinds[(number % self.kinds.len() as u64) as usize];
        let stay = Duration::from_micros(self.draw(pace.lifetime.as_micros() as u64 * 2));
        let source = source_address(self.paths.target, number as usize, self.sources);
        let begin = || {
            let (socket, _) = sys::begin_connect_from(source, self.paths.target)?;
            Ok(TcpStream::from(socket))
        };
        let stream = match begin() {
            Ok(stream) => stream,
            Err(error) => return self.fault(kind, &format!("connect: {}", std::io::Error::kind(&error))),
        };
        let visitor = Visitor::new(stream, kind, number, Instant::now() + stay);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let generation = self.slots[slot].generation.wrapping_add(1);
        let tag = u64::from(generation) << 32 | slot as u64;
        if let Err(error) = self.epoll.add_for_output(visitor.fd(), tag) {
            self.free.push(slot);
            return self.fault(kind, &format!("epoll: {error}"));
        }
        self.timers.push(Reverse((visitor.leave_at, tag)));
        self.slots[slot] = Slot { generation, visitor: Some(visitor) };
    }

    /// The visitor of a tag, if it is still there.
    fn visitor(&mut self, tag: u64) -> Option<&mut Visitor> {
        let slot = self.slots.get_mut((tag & 0xffff_ffff) as usize)?;
        (u64::from(slot.generation) == tag >> 32).then_some(slot.visitor.as_mut())?
    }

    fn ready(&mut self, tag: u64, passed: &mut Passed) {
        let Crowd { slots, epoll, paths, book, buffer, .. } = self;
        let slot = &mut slots[(tag & 0xffff_ffff) as usize];
        if u64::from(slot.generation) != tag >> 32 {
            return;
        }
        let Some(visitor) = &mut slot.visitor else { return };
        let outcome = if visitor.is_connecting() {
            let changed = epoll.change_to_input(visitor.fd(), tag).map_err(|e| format!("epoll: {e}"));
            changed.and_then(|()| visitor.connected(paths, book))
        } else {
            visitor.readable(buffer, book)
        };
        self.follow(tag, outcome, passed);
    }

    fn run_timers(&mut self, passed: &mut Passed) {
        let now = Instant::now();
        while let Some(&Reverse((at, tag))) = self.timers.peek() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(visitor) = self.visitor(tag) else { continue };
            if visitor.may_leave() {
                let outcome = visitor.leave();
                self.follow(tag, outcome, passed);
            } else if now > visitor.leave_at + PATIENCE {
                let outcome = Err(format!("{} did not come within {PATIENCE:?}", visitor.waits_for()));
                self.follow(tag, outcome, passed);
                continue;
            }
            // Whoever is still there is looked at again: soon, or when its patience is over.
            let Some(visitor) = self.visitor(tag) else { continue };
            let again = if visitor.is_leaving() { visitor.leave_at + PATIENCE } else { now };
            self.timers.push(Reverse((again.max(now) + AGAIN, tag)));
        }
    }

    fn follow(&mut self, tag: u64, outcome: Result<Next, String>, passed: &mut Passed) {
        match outcome {
            Ok(Next::Wait) => return,
            Ok(Next::Listens) => {
                let Some(number) = self.visitor(tag).map(|visitor| visitor.number) else { return };
                let path = format!("{}{}", self.paths.publish, self.book.own_channel(number));
                let payload = self.book.own(number);
                self.poster.post(&path, &payload);
                return;
            }
            Ok(Next::Gone) => {}
            Err(reason) => {
                let Some(kind) = self.visitor(tag).map(|visitor| visitor.kind) else { return };
                self.fault(kind, &reason);
            }
        }
        let slot = (tag & 0xffff_ffff) as usize;
        // Dropped, it closes its socket.
        if let Some(visitor) = self.slots[slot].visitor.take() {
            passed.deliveries += visitor.deliveries;
            self.free.push(slot);
        }
    }

    fn fault(&mut self, kind: Kind, reason: &str) {
        *self.faults.entry(format!("{}: {reason}", kind.name())).or_default() += 1;
    }
}

/// A keep-alive connection that posts to any path.
pub struct Poster {
    /// Its connection.
    pub stream: TcpStream,
    host: String,
    out: Vec<u8>,
    written: usize,
    answers: Vec<u8>,
    /// Requests whose answers are to come.
    pub unanswered: usize,
    /// When the last answer came, or the first unanswered request was queued.
    heard: Instant,
}

impl Poster {
    /// Connects to the paths' server.
    pub fn connect(paths: &Paths) -> Result<Poster, String> {
        let stream =
            TcpStream::connect(paths.target).map_err(|e| format!("publisher cannot connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let host = paths.target.to_string();
        let (out, answers) = (Vec::new(), Vec::new());
        Ok(Poster { stream, host, out, written: 0, answers, unanswered: 0, heard: Instant::now() })
    }

    /// Queues a POST of `payload`.
    pub fn post(&mut self, path: &str, payload: &[u8]) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.host,
            payload.len()
        );
        self.send(&[head.as_bytes(), payload].concat());
    }

    /// Queues a whole request.
    pub fn send(&mut self, request: &[u8]) {
        self.out.extend_from_slice(request);
        if self.unanswered == 0 {
            self.heard = Instant::now();
        }
        self.unanswered += 1;
    }

    /// Sends as much as the socket takes.
    pub fn flush(&mut self) -> Result<(), String> {
        if self.unanswered > 0 && self.heard.elapsed() > PATIENCE {
            return Err(format!("{} publishes are not answered within {PATIENCE:?}", self.unanswered));
        }
        if self.out.is_empty() {
            return Ok(());
        }
        self.written += sys::send_now(self.stream.as_raw_fd(), &self.out[self.written..])
            .map_err(|e| format!("publish: {e}"))?;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Reads the answers that have come; any that is no success is an error.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        match sys::recv_now(self.stream.as_raw_fd(), buffer).map_err(|e| format!("publish: {e}"))? {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err("the server closed the publisher's connection".to_owned()),
            Received::Bytes(got) => self.answers.extend_from_slice(&buffer[..got]),
        }
        self.heard = Instant::now();
        let mut used = 0;
        while let Some((status, length)) = http::next_answer(&self.answers[used..])? {
            if !(200..300).contains(&status) {
                return Err(format!("a publish was answered with status {status}"));
            }
            self.unanswered = self.unanswered.checked_sub(1).ok_or("an answer nobody asked for")?;
            used += length;
        }
        self.answers.drain(..used);
        Ok(())
    }
}
