//! The subscribers that read, and the publisher: messages by the clock, every delivery checked.

use super::reader::Reader;
use crate::client::{Publisher, source_address};
use crate::ledger::Ledger;
use crate::round::{Round, Stopwatch};
use crate::sys::Epoll;
use crate::watchdog;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// No delivery and no answer for so long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A round may take so much longer than it was asked to.
const OVERRUN_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages that the last of the readers may be behind. Then the clock waits, and that is told.
const WINDOW: usize = 1024;
/// Bytes taken per read.
const READ_BYTES: usize = 256 * 1024;
/// Descriptors told per epoll wait: few, so that a message that is due does not wait for all of the last one's readers.
const EPOLL_BATCH: usize = 64;
/// The observer is called this often.
const OBSERVE_EVERY: Duration = Duration::from_millis(20);

/// See the module.
pub struct Flock {
    readers: Vec<Reader>,
    publisher: Publisher,
    ledger: Ledger,
    /// When message `number % WINDOW` was due.
    due: Vec<Instant>,
    epoll: Epoll,
    tags: Vec<u64>,
    buffer: Vec<u8>,
    payload_bytes: usize,
}

/// Where the flock listens and what it hears.
#[derive(Clone, Debug)]
pub struct Place {
    /// The server.
    pub target: SocketAddrV4,
    /// Where subscribers open their WebSocket.
    pub path: String,
    /// Where messages are posted.
    pub publish_path: String,
    /// Size of a message, bytes.
    pub payload_bytes: usize,
    /// Source addresses used.
    pub sources: usize,
}

impl Flock {
    /// Connects `size` readers. `run` tells this run's messages from others'.
    pub fn connect(place: &Place, size: usize, run: u32) -> Result<Flock, String> {
        let epoll = Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?;
        let publisher = Publisher::connect(place.target, &place.publish_path, place.payload_bytes)?;
        watchdog::phase("readers connect", size);
        let mut readers = Vec::with_capacity(size);
        for index in 0..size {
            let source = source_address(place.target, index, place.sources);
            let reader = Reader::connect(source, place.target, &place.path)
                .map_err(|e| format!("reader {index}: {e}"))?;
            epoll.add(reader.fd(), index as u64).map_err(|e| format!("epoll: {e}"))?;
            readers.push(reader);
            watchdog::at(index + 1);
        }
        epoll.add(publisher.fd(), size as u64).map_err(|e| format!("epoll: {e}"))?;
        Ok(Flock {
            readers,
            publisher,
            ledger: Ledger::new(run, size, 1, WINDOW, place.payload_bytes),
            due: vec![Instant::now(); WINDOW],
            epoll,
            tags: Vec::new(),
            buffer: vec![0; READ_BYTES],
            payload_bytes: place.payload_bytes,
        })
    }

    /// Publishes `rate` messages per second for `time`, then waits until everybody has them all. Latencies are those of
    /// each delivery, from when its message was due. `observe` is called all the while with the number of messages
    /// published in this round.
    pub fn round(
        &mut self,
        rate: f64,
        time: Duration,
        observe: &mut dyn FnMut(u64) -> Result<(), String>,
    ) -> Result<Round, String> {
        let mut round = Round::default();
        let first = self.ledger.sent();
        let total = (time.as_secs_f64() * rate).ceil() as u64;
        let watch = Stopwatch::start()?;
        let begun = watch.begun();
        let due = |done: u64| begun + Duration::from_secs_f64(done as f64 / rate);
        let (mut progress_at, mut observed_at, mut behind) = (begun, begun, false);
        loop {
            let mut done = self.ledger.sent() - first;
            while done < total && due(done) <= Instant::now() {
                let place = (self.ledger.sent() % WINDOW as u64) as usize;
                let Some(payload) = self.ledger.publish(0) else {
                    behind = true;
                    break;
                };
                self.due[place] = due(done);
                self.publisher.post(payload);
                if behind {
                    round.held += 1;
                } else {
                    round.lags.record(due(done).elapsed().as_nanos() as u64);
                }
                done += 1;
            }
            behind &= done < total && due(done) <= Instant::now();
            self.publisher.flush()?;
            if done == total && self.is_quiet() {
                break;
            }
            let next = if done < total { due(done) } else { begun + time + STALL_TIMEOUT };
            if self.wait(next, &mut round)? {
                progress_at = Instant::now();
            } else if !self.is_quiet() && progress_at.elapsed() > STALL_TIMEOUT {
                return Err(self.describe_stall());
            }
            if self.is_quiet() {
                progress_at = Instant::now();
            }
            if observed_at.elapsed() >= OBSERVE_EVERY {
                observe(done)?;
                observed_at = Instant::now();
            }
            if begun.elapsed() > time + OVERRUN_TIMEOUT {
                return Err(format!(
                    "a round of {time:?} did not end within {OVERRUN_TIMEOUT:?} more; {} messages are due and not \
                     published yet",
                    total - done
                ));
            }
        }
        watch.stop(&mut round)?;
        round.messages = total;
        round.deliveries = total * self.readers.len() as u64;
        Ok(round)
    }

    /// Reads what is there of everybody: nothing may be but pings.
    pub fn check_nothing_left(&mut self) -> Result<(), String> {
        let mut round = Round::default();
        (0..self.readers.len()).try_for_each(|index| self.read(index, &mut round).map(drop))
    }

    fn is_quiet(&self) -> bool {
        self.ledger.complete() == self.ledger.sent() && self.publisher.unanswered == 0
    }

    /// Waits for input until `next` at most, and takes it. False if there was none.
    fn wait(&mut self, next: Instant, round: &mut Round) -> Result<bool, String> {
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        let most = if self.publisher.is_writing() { Duration::from_millis(1) } else { OBSERVE_EVERY };
        let timeout = next.saturating_duration_since(Instant::now()).min(most);
        self.epoll.wait(Some(timeout), &mut tags).map_err(|e| format!("epoll: {e}"))?;
        let mut any = false;
        for &tag in &tags {
            if tag as usize == self.readers.len() {
                self.publisher.read_answers(&mut self.buffer)?;
                any = true;
            } else {
                any |= self.read(tag as usize, round)?;
            }
        }
        self.tags = tags;
        Ok(any)
    }

    fn read(&mut self, index: usize, round: &mut Round) -> Result<bool, String> {
        let Flock { readers, ledger, buffer, due, payload_bytes, .. } = self;
        let enter = |number: u64| {
            round.latencies.record(due[(number % WINDOW as u64) as usize].elapsed().as_nanos() as u64);
        };
        let any = readers[index]
            .read(index, buffer, (*payload_bytes).max(125), ledger, enter)
            .map_err(|what| format!("reader {index}, after {} deliveries: {what}", ledger.got(index)))?;
        round.reads += u64::from(any);
        Ok(any)
    }

    fn describe_stall(&self) -> String {
        let sent = self.ledger.sent();
        let behind = (0..self.readers.len()).filter(|&index| self.ledger.got(index) < sent).count();
        format!(
            "nothing has come for {STALL_TIMEOUT:?}: {sent} messages published, {} requests unanswered, {behind} readers \
             lack messages",
            self.publisher.unanswered
        )
    }
}
