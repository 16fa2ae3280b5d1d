//! One server's subscribers and publishers, and the loop that keeps a window of messages in flight (closed loop) or
//! publishes by a clock (open loop).

use crate::client::{Publisher, Subscriber, source_address};
use crate::inbox::Events;
use crate::ledger::Ledger;
use crate::round::{Round, Stopwatch, Work};
use crate::stats::Latencies;
use crate::sys::Epoll;
use crate::wire::Wire;
use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No delivery and no answer for so long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A round may take so much longer than it was asked to.
const OVERRUN_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes taken per read.
const READ_BYTES: usize = 256 * 1024;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;

/// What the reader must know of a server whose publishers are closed.
pub const CLOSES: &str = "closes the publisher's connection after every answer: each publish has a connect of its own, \
                          and they go one at a time";

/// How the client learns that something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClientMode {
    /// Reads all sockets that lack something, then pauses. Nobody waits on a socket, so the server pays for no
    /// wake-up; latency is known to within one pause.
    Sweep,
    /// Waits in epoll: exact latency, and the server pays for the wake-ups.
    Epoll,
}

/// Shape of the load.
#[derive(Clone, Debug)]
pub struct Shape {
    /// WebSocket connections.
    pub subscribers: usize,
    /// HTTP connections.
    pub publishers: usize,
    /// Messages in flight per publisher.
    pub window: usize,
    /// Publish only when the whole window is done, all of it in one write.
    pub batch: bool,
    /// Open loop: messages per second, each at its time, as long as the window has room. Latency counts from that time,
    /// also where the publish was late.
    pub rate: Option<f64>,
    /// Size of a message.
    pub payload_bytes: usize,
    /// What the subscribers speak, and where. Several go round: subscriber `i` has number `i % wires.len()`.
    /// Then there must be one publisher, and deliveries are told by wire.
    pub wires: Vec<Wire>,
    /// Where the publishers post.
    pub publish_path: String,
    /// Source addresses used.
    pub sources: usize,
    /// How to receive.
    pub client: ClientMode,
    /// Pause between sweeps.
    pub pause: Duration,
}

impl Shape {
    /// What is spoken, for people: nothing where it is plain WebSocket.
    pub fn spoken(&self) -> String {
        match &*self.label() {
            "websocket" => String::new(),
            label => format!(" ({label})"),
        }
    }

    /// What is spoken.
    pub fn label(&self) -> String {
        let labels: Vec<String> = self.wires.iter().map(Wire::label).collect();
        labels.join(",")
    }

    fn wire(&self, subscriber: usize) -> &Wire {
        &self.wires[subscriber % self.wires.len()]
    }
}

/// See the module.
pub struct Load {
    shape: Shape,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    ledger: Ledger,
    /// When message `number % window` of a publisher was published, or was to be.
    published_at: Vec<Vec<Instant>>,
    /// Subscribers that lack something, ascending. Only kept for sweeps.
    lacking: Vec<usize>,
    epoll: Option<Epoll>,
    tags: Vec<u64>,
    buffer: Vec<u8>,
    events: Events,
}

impl Load {
    /// Connects everybody. `run` tells this run's messages from others'.
    pub fn connect(target: SocketAddrV4, shape: Shape, run: u32) -> Result<Load, String> {
        if shape.wires.len() > 1 && shape.publishers != 1 {
            return Err("several wires need exactly one publisher".to_owned());
        }
        let epoll = match shape.client {
            ClientMode::Sweep => None,
            ClientMode::Epoll => Some(Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?),
        };
        let watch = |fd, tag: usize| match &epoll {
            Some(epoll) => epoll.add(fd, tag as u64).map_err(|e| format!("epoll: {e}")),
            None => Ok(()),
        };
        let mut subscribers = Vec::with_capacity(shape.subscribers);
        for index in 0..shape.subscribers {
            let source = source_address(target, index, shape.sources);
            let wire = shape.wire(index);
            let subscriber = Subscriber::open(source, target, wire)
                .map_err(|e| format!("subscriber {index} ({}): {e}", wire.name()))?;
            watch(subscriber.fd(), index)?;
            subscribers.push(subscriber);
        }
        let mut publishers = Vec::with_capacity(shape.publishers);
        for index in 0..shape.publishers {
            let post = shape.wire(0).post(target, &shape.publish_path, shape.payload_bytes);
            let publisher = Publisher::open(target, post)?;
            watch(publisher.fd(), shape.subscribers + index)?;
            publishers.push(publisher);
        }
        let ledger = Ledger::new(run, shape.subscribers, shape.publishers, shape.window, shape.payload_bytes);
        let published_at = vec![vec![Instant::now(); shape.window]; shape.publishers];
        Ok(Load {
            shape,
            subscribers,
            publishers,
            ledger,
            published_at,
            lacking: Vec::new(),
            epoll,
            tags: Vec::new(),
            buffer: vec![0; READ_BYTES],
            events: Events::default(),
        })
    }

    fn publish(&mut self) -> Result<(), String> {
        let mut any = false;
        for (index, publisher) in self.publishers.iter_mut().enumerate() {
            let busy = self.ledger.in_flight(index).max(publisher.unanswered);
            if self.shape.batch && busy > 0 {
                continue;
            }
            for _ in busy..self.shape.window {
                let number = self.ledger.number_next(index);
                let Some(payload) = self.ledger.publish(index) else { break };
                publisher.post(payload);
                self.published_at[index][(number % self.shape.window as u64) as usize] = Instant::now();
                any = true;
            }
        }
        if any {
            self.mark_all_lacking();
        }
        Ok(())
    }

    /// Publishes what is due by now, the publishers in turn.
    fn publish_due(&mut self, schedule: &mut Schedule, round: &mut Round) -> Result<(), String> {
        let mut any = false;
        let now = Instant::now();
        while let Some(due) = schedule.next().filter(|&due| due <= now) {
            let index = (schedule.done % self.publishers.len() as u64) as usize;
            let number = self.ledger.number_next(index);
            // With the window full the message waits; its latency counts from when it was due.
            let Some(payload) = self.ledger.publish(index) else {
                schedule.behind = true;
                break;
            };
            self.publishers[index].post(payload);
            self.publishers[index].flush()?;
            self.published_at[index][(number % self.shape.window as u64) as usize] = due;
            if schedule.behind {
                round.held += 1;
            } else {
                round.lags.record(due.elapsed().as_nanos() as u64);
            }
            schedule.done += 1;
            any = true;
        }
        schedule.behind &= schedule.next().is_some_and(|due| due <= now);
        if any {
            self.mark_all_lacking();
        }
        Ok(())
    }

    fn mark_all_lacking(&mut self) {
        if self.epoll.is_none() {
            self.lacking.clear();
            self.lacking.extend(0..self.subscribers.len());
        }
    }

    fn is_quiet(&self) -> bool {
        self.ledger.complete() == self.ledger.sent() && self.publishers.iter().all(|p| p.unanswered == 0)
    }

    /// Changes whenever anything comes in.
    fn progress(&self, round: &Round) -> (u64, usize) {
        (round.reads, self.publishers.iter().map(|publisher| publisher.unanswered).sum())
    }

    fn sweep(&mut self, until: Option<Duration>, round: &mut Round) -> Result<(), String> {
        // First the pause: a sweep right behind the publish would only get in the server's way.
        let pause = until.map_or(self.shape.pause, |until| until.min(self.shape.pause));
        if !pause.is_zero() {
            sleep(pause);
        }
        let mut lacking = std::mem::take(&mut self.lacking);
        let mut kept = 0;
        for at in 0..lacking.len() {
            let index = lacking[at];
            self.read(index, round)?;
            if self.ledger.got(index) < self.ledger.sent() {
                lacking[kept] = index;
                kept += 1;
            }
        }
        lacking.truncate(kept);
        self.lacking = lacking;
        for index in 0..self.publishers.len() {
            if self.publishers[index].unanswered > 0 {
                self.read_answers(index, round)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, until: Option<Duration>, round: &mut Round) -> Result<(), String> {
        let Some(epoll) = &mut self.epoll else { return Ok(()) };
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        // A queue that did not fit the socket is tried again soon.
        let timeout =
            Duration::from_millis(if self.publishers.iter().any(Publisher::is_writing) { 1 } else { 100 });
        let timeout = until.map_or(timeout, |until| until.min(timeout));
        epoll.wait(Some(timeout), &mut tags).map_err(|e| format!("epoll: {e}"))?;
        for &tag in &tags {
            match (tag as usize).checked_sub(self.subscribers.len()) {
                None => self.read(tag as usize, round)?,
                Some(publisher) => {
                    self.read_answers(publisher, round)?;
                    self.watch_again(publisher)?;
                }
            }
        }
        self.tags = tags;
        Ok(())
    }

    fn read_answers(&mut self, index: usize, round: &mut Round) -> Result<(), String> {
        let publisher = &mut self.publishers[index];
        let due = publisher.unanswered > 0;
        publisher.read_answers(&mut self.buffer)?;
        if due && publisher.unanswered == 0 && self.shape.window == 1 {
            round.acks.record(self.published_at[index][0].elapsed().as_nanos() as u64);
        }
        Ok(())
    }

    /// A publisher may have a new connection.
    fn watch_again(&mut self, publisher: usize) -> Result<(), String> {
        let tag = (self.subscribers.len() + publisher) as u64;
        let publisher = &mut self.publishers[publisher];
        match &self.epoll {
            Some(epoll) if publisher.has_reconnected() => {
                epoll.add(publisher.fd(), tag).map_err(|e| format!("epoll: {e}"))
            }
            _ => Ok(()),
        }
    }

    /// Reads one subscriber's socket once and enters what came.
    fn read(&mut self, index: usize, round: &mut Round) -> Result<(), String> {
        let Load { subscribers, ledger, buffer, events, .. } = self;
        let before = ledger.got(index);
        let limit = self.shape.payload_bytes.max(125);
        if !subscribers[index].read(index, buffer, limit, ledger, events)? {
            return Ok(());
        }
        round.reads += 1;
        if self.shape.wires.len() > 1 {
            self.tell_parts(index, before, round);
        }
        let Load { events, .. } = self;
        if !events.complete.is_empty() {
            let now = Instant::now();
            for done in events.complete.drain(..) {
                let at = self.published_at[done.publisher][(done.number % self.shape.window as u64) as usize];
                round.latencies.record(now.saturating_duration_since(at).as_nanos() as u64);
            }
        }
        Ok(())
    }

    /// Enters the deliveries that `index` has got beyond `before` for its wire. There is one publisher.
    fn tell_parts(&self, index: usize, before: u64, round: &mut Round) {
        let wires = self.shape.wires.len();
        round.parts.resize_with(wires, Latencies::default);
        let now = Instant::now();
        for number in before..self.ledger.got(index) {
            let at = self.published_at[0][(number % self.shape.window as u64) as usize];
            round.parts[index % wires].record(now.saturating_duration_since(at).as_nanos() as u64);
        }
    }

    fn describe_stall(&self) -> String {
        let sent = self.ledger.sent();
        let behind = (0..self.subscribers.len()).filter(|&i| self.ledger.got(i) < sent).count();
        let worst = (0..self.subscribers.len()).map(|i| self.ledger.got(i)).min().unwrap_or(0);
        let unanswered: usize = self.publishers.iter().map(|publisher| publisher.unanswered).sum();
        format!(
            "nothing has come for {STALL_TIMEOUT:?}: {sent} messages published, {unanswered} requests unanswered, \
             {behind} subscribers lack messages (the last one has {worst})"
        )
    }
}

/// When the messages of an open loop are due.
struct Schedule {
    begun: Instant,
    rate: f64,
    /// Messages of the whole round.
    total: u64,
    /// Messages published.
    done: u64,
    /// The window was full, and what was due then is not all published yet.
    behind: bool,
}

impl Schedule {
    fn new(begun: Instant, rate: f64, time: Duration) -> Schedule {
        Schedule { begun, rate, total: (time.as_secs_f64() * rate).ceil() as u64, done: 0, behind: false }
    }

    /// When the next message is due; None after the last one.
    fn next(&self) -> Option<Instant> {
        (self.done < self.total).then(|| self.begun + Duration::from_secs_f64(self.done as f64 / self.rate))
    }

    /// Time left until the next message is due. None after the last one, and while a message that is due waits for
    /// room: then there is nothing to wake up for.
    fn wait(&self) -> Option<Duration> {
        self.next()?.checked_duration_since(Instant::now())
    }
}

impl Work for Load {
    /// Keeps the window full for `time`, or publishes by the clock, then waits until everything is delivered and
    /// answered.
    fn round(&mut self, time: Duration) -> Result<Round, String> {
        let mut round = Round::default();
        let first = self.ledger.complete();
        let watch = Stopwatch::start()?;
        let begun = watch.begun();
        let mut schedule = self.shape.rate.map(|rate| Schedule::new(begun, rate, time));
        let (mut progress_at, mut progress) = (begun, self.progress(&round));
        loop {
            let more = match &mut schedule {
                Some(schedule) => {
                    self.publish_due(schedule, &mut round)?;
                    schedule.next().is_some()
                }
                None => {
                    let more = begun.elapsed() < time;
                    if more {
                        self.publish()?;
                    }
                    more
                }
            };
            if !more && self.is_quiet() {
                break;
            }
            for publisher in &mut self.publishers {
                publisher.flush()?;
            }
            let until = schedule.as_ref().and_then(Schedule::wait);
            if self.epoll.is_some() {
                self.wait(until, &mut round)?
            } else {
                self.sweep(until, &mut round)?
            }
            if self.progress(&round) != progress || self.is_quiet() {
                (progress_at, progress) = (Instant::now(), self.progress(&round));
            } else if progress_at.elapsed() > STALL_TIMEOUT {
                return Err(self.describe_stall());
            }
            if begun.elapsed() > time + OVERRUN_TIMEOUT {
                let waiting = schedule.as_ref().map_or(0, |schedule| schedule.total - schedule.done);
                return Err(format!(
                    "a round of {time:?} did not end within {OVERRUN_TIMEOUT:?} more; {waiting} messages are due and \
                     not published yet"
                ));
            }
        }
        watch.stop(&mut round)?;
        self.events.desk.check_compressed()?;
        round.signing_ns = self.publishers.iter_mut().map(Publisher::take_signing_ns).sum();
        round.messages = self.ledger.complete() - first;
        round.deliveries = round.messages * self.subscribers.len() as u64;
        Ok(round)
    }

    fn check_nothing_left(&mut self) -> Result<(), String> {
        let mut round = Round::default();
        for index in 0..self.subscribers.len() {
            self.read(index, &mut round)?;
        }
        Ok(())
    }

    /// HTTP connections are closed after some seconds of silence by some servers, those of WebSockets by none.
    fn resume(&mut self) -> Result<(), String> {
        for index in 0..self.publishers.len() {
            self.publishers[index].renew()?;
            self.watch_again(index)?;
        }
        Ok(())
    }

    fn note(&self) -> Option<&'static str> {
        self.publishers.iter().any(Publisher::is_always_closed).then_some(CLOSES)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::floor::{self, Mode};
    use std::net::{Ipv4Addr, TcpListener};

    /// The floor on a thread of its own, for as long as the test program runs.
    pub fn start_floor(mode: Mode) -> SocketAddrV4 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || floor::serve(listener, mode));
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    fn shape(
        client: ClientMode,
        publishers: usize,
        window: usize,
        batch: bool,
        payload_bytes: usize,
    ) -> Shape {
        Shape {
            subscribers: 20,
            publishers,
            window,
            batch,
            rate: None,
            payload_bytes,
            wires: vec![Wire::relay("/sub/test")],
            publish_path: "/pub/test".to_owned(),
            sources: 2,
            client,
            pause: Duration::from_micros(100),
        }
    }

    #[test]
    fn every_message_reaches_every_subscriber_in_every_kind_of_load() {
        for client in [ClientMode::Sweep, ClientMode::Epoll] {
            for (publishers, window, batch, bytes) in
                [(1, 1, false, 27), (1, 4, false, 70_000), (3, 5, true, 128)]
            {
                let shape = shape(client, publishers, window, batch, bytes);
                let mut load = Load::connect(start_floor(Mode::Send), shape, 7).unwrap();
                let round = load.round(Duration::from_millis(30)).unwrap();
                load.check_nothing_left().unwrap();
                assert!(round.messages >= (publishers * window) as u64);
                assert_eq!(round.deliveries, round.messages * 20);
                assert_eq!(round.latencies.len(), round.messages);
                assert_eq!(load.ledger.sent(), round.messages);
            }
        }
    }

    #[test]
    fn an_open_loop_publishes_what_is_due_and_no_more() {
        for client in [ClientMode::Sweep, ClientMode::Epoll] {
            let shape = Shape { rate: Some(500.0), ..shape(client, 2, 64, false, 64) };
            let mut load = Load::connect(start_floor(Mode::Send), shape, 7).unwrap();
            let round = load.round(Duration::from_millis(100)).unwrap();
            load.check_nothing_left().unwrap();
            assert_eq!((round.messages, round.deliveries), (50, 1000));
            assert_eq!((round.latencies.len(), round.lags.len(), round.held), (50, 50, 0));
            assert!(round.wall_ns >= 98_000_000, "the last message is due after 98 ms");
        }
    }

    #[test]
    fn a_window_that_is_full_delays_the_publish_and_counts_the_delay() {
        // One message in flight and far more due than can be delivered: latencies grow with the delay.
        let shape = Shape { rate: Some(1e6), ..shape(ClientMode::Sweep, 1, 1, false, 64) };
        let mut load = Load::connect(start_floor(Mode::Send), shape, 7).unwrap();
        let round = load.round(Duration::from_micros(200)).unwrap();
        assert_eq!(round.messages, 200);
        assert!(round.held > 100 && round.held + round.lags.len() == 200, "{} held", round.held);
        assert!(round.latencies.us(100.0) > 1000.0, "{}", round.latencies.us(100.0));
    }

    #[test]
    fn a_schedule_has_as_many_messages_as_fit() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(begun, 10.0, Duration::from_millis(250));
        assert_eq!((schedule.total, schedule.next()), (3, Some(begun)));
        schedule.done = 2;
        assert_eq!(schedule.next(), Some(begun + Duration::from_millis(200)));
        schedule.done = 3;
        assert_eq!((schedule.next(), schedule.wait()), (None, None));
    }

    #[test]
    fn messages_of_another_load_are_told() {
        let address = start_floor(Mode::Send);
        let shape = shape(ClientMode::Sweep, 1, 1, false, 64);
        let mut load = Load::connect(address, shape.clone(), 7).unwrap();
        let mut other = Load::connect(address, shape, 8).unwrap();
        // The floor sends to all: the other load gets a message of the first, and the first is content.
        load.round(Duration::ZERO).unwrap();
        load.publish().unwrap();
        load.publishers[0].flush().unwrap();
        let begun = Instant::now();
        let error = loop {
            match other.check_nothing_left() {
                Ok(()) => assert!(begun.elapsed() < STALL_TIMEOUT, "nothing came"),
                Err(error) => break error,
            }
        };
        assert!(error.contains("not of this run"), "{error}");
    }
}
