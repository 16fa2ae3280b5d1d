//! The rooms of one server, and the publishers that walk over them.

use crate::client::{Publisher, Subscriber, source_address};
use crate::inbox::Events;
use crate::ledger::Ledger;
use crate::load::{CLOSES, ClientMode};
use crate::report::progress;
use crate::round::{Round, Stopwatch, Work};
use crate::sys::Epoll;
use crate::wire::{Dialect, Post, Wire};
use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No delivery and no answer for so long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A round may take so much longer than it was asked to.
const OVERRUN_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes taken per read.
const READ_BYTES: usize = 64 * 1024;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;
/// Connections made between two lines of progress.
const PROGRESS_CONNECTIONS: usize = 5000;

/// Shape of the load.
#[derive(Clone, Debug)]
pub struct RoomsShape {
    /// Channels.
    pub rooms: usize,
    /// Connections in each.
    pub subscribers: usize,
    /// Connections that publish; publisher `p` has the rooms whose number is `p` modulo this.
    pub publishers: usize,
    /// Messages in flight per publisher, in a room each.
    pub window: usize,
    /// Size of a message.
    pub payload_bytes: usize,
    /// What the subscribers speak; path and channel get the room's number appended.
    pub wire: Wire,
    /// Where messages are posted, the room's number appended.
    pub publish_path: String,
    /// Source addresses used.
    pub sources: usize,
    /// How to receive.
    pub client: ClientMode,
    /// Pause between sweeps.
    pub pause: Duration,
}

impl RoomsShape {
    fn wire(&self, room: usize) -> Wire {
        let mut wire = self.wire.clone();
        wire.channel += &format!("-{room}");
        if matches!(wire.dialect, Dialect::Relay | Dialect::RelayMeta) {
            wire.path += &format!("-{room}");
        }
        wire
    }
}

struct Room {
    /// At most one message is in flight.
    ledger: Ledger,
    post: Post,
    published_at: Instant,
}

struct Walker {
    publisher: Publisher,
    /// Steps made; the next room follows from it.
    steps: usize,
    /// Messages that somebody lacks.
    in_flight: usize,
}

/// See the module.
pub struct RoomsLoad {
    shape: RoomsShape,
    rooms: Vec<Room>,
    /// Those of room `r` are the ones from `r * shape.subscribers`.
    subscribers: Vec<Subscriber>,
    walkers: Vec<Walker>,
    /// Subscribers that lack a message. Only kept for sweeps.
    lacking: Vec<usize>,
    epoll: Option<Epoll>,
    tags: Vec<u64>,
    buffer: Vec<u8>,
    events: Events,
}

impl RoomsLoad {
    /// Connects everybody. `run` tells this run's messages from others', and each room's from the other rooms'.
    pub fn connect(target: SocketAddrV4, shape: RoomsShape, run: u32) -> Result<RoomsLoad, String> {
        let epoll = match shape.client {
            ClientMode::Sweep => None,
            ClientMode::Epoll => Some(Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?),
        };
        let watch = |fd, tag: usize| match &epoll {
            Some(epoll) => epoll.add(fd, tag as u64).map_err(|e| format!("epoll: {e}")),
            None => Ok(()),
        };
        let (mut rooms, mut subscribers) = (Vec::new(), Vec::new());
        for room in 0..shape.rooms {
            let wire = shape.wire(room);
            for _ in 0..shape.subscribers {
                let index = subscribers.len();
                let source = source_address(target, index, shape.sources);
                let subscriber =
                    Subscriber::open(source, target, &wire).map_err(|e| format!("room {room}: {e}"))?;
                watch(subscriber.fd(), index)?;
                subscribers.push(subscriber);
                if subscribers.len() % PROGRESS_CONNECTIONS == 0 {
                    progress(&format!("{} connections in {} rooms", subscribers.len(), room + 1));
                }
            }
            let ledger =
                Ledger::new(run.wrapping_add(room as u32), shape.subscribers, 1, 1, shape.payload_bytes);
            let post = wire.post(target, &format!("{}-{room}", shape.publish_path), shape.payload_bytes);
            rooms.push(Room { ledger, post, published_at: Instant::now() });
        }
        let mut walkers = Vec::new();
        for index in 0..shape.publishers {
            let post = rooms[index % rooms.len()].post.clone();
            let publisher = Publisher::open(target, post)?;
            watch(publisher.fd(), subscribers.len() + index)?;
            walkers.push(Walker { publisher, steps: 0, in_flight: 0 });
        }
        Ok(RoomsLoad {
            shape,
            rooms,
            subscribers,
            walkers,
            lacking: Vec::new(),
            epoll,
            tags: Vec::new(),
            buffer: vec![0; READ_BYTES],
            events: Events::default(),
        })
    }

    /// Fills the windows, each publisher going on with its next room.
    fn publish(&mut self) {
        let RoomsLoad { shape, rooms, walkers, lacking, epoll, .. } = self;
        for (index, walker) in walkers.iter_mut().enumerate() {
            let own = (shape.rooms - index).div_ceil(shape.publishers);
            for _ in walker.in_flight.max(walker.publisher.unanswered)..shape.window {
                let number = index + walker.steps % own * shape.publishers;
                let room = &mut rooms[number];
                // The window is no wider than the walk, but the room may be the slowest of all.
                let Some(payload) = room.ledger.publish(0) else { break };
                walker.publisher.post_as(&room.post, payload);
                room.published_at = Instant::now();
                walker.steps += 1;
                walker.in_flight += 1;
                if epoll.is_none() {
                    let first = number * shape.subscribers;
                    lacking.extend(first..first + shape.subscribers);
                }
            }
        }
    }

    fn read_answers(&mut self, walker: usize, tag: u64) -> Result<(), String> {
        let publisher = &mut self.walkers[walker].publisher;
        publisher.read_answers(&mut self.buffer)?;
        match &self.epoll {
            Some(epoll) if publisher.has_reconnected() => {
                epoll.add(publisher.fd(), tag).map_err(|e| format!("epoll: {e}"))
            }
            _ => Ok(()),
        }
    }

    /// Reads one subscriber's socket once and enters what came.
    fn read(&mut self, index: usize, round: &mut Round) -> Result<(), String> {
        let RoomsLoad { shape, rooms, subscribers, walkers, buffer, events, .. } = self;
        let number = index / shape.subscribers;
        let room = &mut rooms[number];
        let limit = shape.payload_bytes.max(125);
        let read =
            subscribers[index].read(index % shape.subscribers, buffer, limit, &mut room.ledger, events);
        if !read.map_err(|error| format!("room {number}, {error}"))? {
            return Ok(());
        }
        round.reads += 1;
        for _ in events.complete.drain(..) {
            round.latencies.record(room.published_at.elapsed().as_nanos() as u64);
            round.messages += 1;
            walkers[number % shape.publishers].in_flight -= 1;
        }
        Ok(())
    }

    fn sweep(&mut self, round: &mut Round) -> Result<(), String> {
        // First the pause: a sweep right behind the publish would only get in the server's way.
        if !self.shape.pause.is_zero() {
            sleep(self.shape.pause);
        }
        let mut lacking = std::mem::take(&mut self.lacking);
        let mut kept = 0;
        for at in 0..lacking.len() {
            let index = lacking[at];
            self.read(index, round)?;
            let ledger = &self.rooms[index / self.shape.subscribers].ledger;
            if ledger.got(index % self.shape.subscribers) < ledger.sent() {
                lacking[kept] = index;
                kept += 1;
            }
        }
        lacking.truncate(kept);
        self.lacking = lacking;
        for walker in self.walkers.iter_mut().filter(|walker| walker.publisher.unanswered > 0) {
            walker.publisher.read_answers(&mut self.buffer)?;
        }
        Ok(())
    }

    fn wait(&mut self, round: &mut Round) -> Result<(), String> {
        let Some(epoll) = &mut self.epoll else { return Ok(()) };
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        // A queue that did not fit the socket is tried again soon.
        let writing = self.walkers.iter().any(|walker| walker.publisher.is_writing());
        let timeout = Duration::from_millis(if writing { 1 } else { 100 });
        epoll.wait(Some(timeout), &mut tags).map_err(|e| format!("epoll: {e}"))?;
        for &tag in &tags {
            match (tag as usize).checked_sub(self.subscribers.len()) {
                None => self.read(tag as usize, round)?,
                Some(walker) => self.read_answers(walker, tag)?,
            }
        }
        self.tags = tags;
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.walkers.iter().all(|walker| walker.in_flight == 0 && walker.publisher.unanswered == 0)
    }

    /// Changes whenever anything comes in.
    fn progress(&self, round: &Round) -> (u64, usize) {
        (round.reads, self.walkers.iter().map(|walker| walker.publisher.unanswered).sum())
    }

    fn describe_stall(&self) -> String {
        let lacks =
            |room: &Room| (0..self.shape.subscribers).any(|i| room.ledger.got(i) < room.ledger.sent());
        let behind: Vec<usize> = (0..self.rooms.len()).filter(|&room| lacks(&self.rooms[room])).collect();
        let unanswered: usize = self.walkers.iter().map(|walker| walker.publisher.unanswered).sum();
        format!(
            "nothing has come for {STALL_TIMEOUT:?}: {} rooms lack a message (first {:?}), {unanswered} requests \
             unanswered",
            behind.len(),
            behind.first()
        )
    }
}

impl Work for RoomsLoad {
    /// Keeps the windows full for `time`, then waits until everything is delivered and answered.
    fn round(&mut self, time: Duration) -> Result<Round, String> {
        let mut round = Round::default();
        let watch = Stopwatch::start()?;
        let begun = watch.begun();
        let (mut progress_at, mut progress) = (begun, self.progress(&round));
        loop {
            if begun.elapsed() < time {
                self.publish();
            } else if self.is_quiet() {
                break;
            }
            for walker in &mut self.walkers {
                walker.publisher.flush()?;
            }
            if self.epoll.is_some() {
                self.wait(&mut round)?
            } else {
                self.sweep(&mut round)?
            }
            if self.progress(&round) != progress || self.is_quiet() {
                (progress_at, progress) = (Instant::now(), self.progress(&round));
            } else if progress_at.elapsed() > STALL_TIMEOUT {
                return Err(self.describe_stall());
            }
            if begun.elapsed() > time + OVERRUN_TIMEOUT {
                return Err(format!("a round of {time:?} did not end within {OVERRUN_TIMEOUT:?} more"));
            }
        }
        watch.stop(&mut round)?;
        self.events.desk.check_compressed()?;
        round.deliveries = round.messages * self.shape.subscribers as u64;
        Ok(round)
    }

    fn note(&self) -> Option<&'static str> {
        self.walkers.iter().any(|walker| walker.publisher.is_always_closed()).then_some(CLOSES)
    }

    /// Also tells messages that went to a room they were not published to.
    fn check_nothing_left(&mut self) -> Result<(), String> {
        let mut round = Round::default();
        (0..self.subscribers.len()).try_for_each(|index| self.read(index, &mut round))
    }
}

#[cfg(test)]
mod tests;
