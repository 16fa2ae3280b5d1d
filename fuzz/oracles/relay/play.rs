//! Plays a sequence of operations, read from bytes, on a node and on the model: what was published to a channel is what
//! each of its readers gets, once and in one order, over every transport and over every change of transport.

use super::super::pusher::play::Choices;
use super::super::pusher::world::{SHAKE, World};
use super::reader::{Reader, Way};
use super::relay;
use fanwire::dialect::relay::settings::{
    FirstMessage, LocationMethods, LocationSettings, PathPattern, Publishers, Transports,
};
use std::collections::BTreeSet;

const CHANNELS: [&str; 3] = ["a", "b", "c"];
/// Readers at once.
const READERS: usize = 8;
/// Nothing may expire while it is played, and everything when it is over.
const MESSAGE_MS: u64 = 10_000_000;
const TIMEOUT_MS: u64 = 5_000;

/// A node and what the model knows of it.
struct Play<'a> {
    choices: Choices<'a>,
    world: World,
    readers: Vec<Reader>,
    /// What was published to each channel since it was deleted.
    posted: [Vec<String>; CHANNELS.len()],
    bodies: usize,
    /// Publishes whose answers have not been looked at.
    asked: Vec<usize>,
    /// Sessions may end by themselves.
    timeouts: bool,
}

/// Plays all of it, and then sees to it that nothing is left.
pub fn play(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let shards = 1 + choices.below(3);
    let flags = choices.below(8);
    let world = World::with_relay(shards, relay(locations(flags)));
    let mut play = Play {
        choices,
        world,
        readers: Vec::new(),
        posted: Default::default(),
        bodies: 0,
        asked: Vec::new(),
        timeouts: flags & 1 != 0,
    };
    while !play.choices.is_over() {
        play.step();
        play.observe();
    }
    play.quiet();
    play.end();
}

/// `/pub/` and `/sub/`, `/new/` for those who want no old messages, `/both/` for sockets that also publish.
fn locations(flags: usize) -> Vec<LocationSettings> {
    let base = LocationSettings {
        buffer_messages: 10_000,
        message_timeout_ms: MESSAGE_MS,
        subscriber_timeout_ms: if flags & 1 != 0 { TIMEOUT_MS } else { 0 },
        eventsource_ping_interval_ms: if flags & 2 != 0 { 700 } else { 0 },
        subscribers: Transports::STREAMS_AND_LONG_POLL,
        publishers: Publishers { http: true, websocket: true },
        ..if flags & 4 != 0 { LocationSettings::relay() } else { LocationSettings::nchan() }
    };
    let at = |prefix: &str, methods, first_message| LocationSettings {
        path: PathPattern::Prefix(prefix.into()),
        methods,
        first_message,
        create_on_get: true,
        ..base.clone()
    };
    vec![
        at("/pub/", LocationMethods::Publisher, FirstMessage::Oldest),
        at("/sub/", LocationMethods::Subscriber, FirstMessage::Oldest),
        at("/new/", LocationMethods::Subscriber, FirstMessage::Newest),
        at("/both/", LocationMethods::Pubsub, FirstMessage::Oldest),
    ]
}

impl Play<'_> {
    fn step(&mut self) {
        match self.choices.below(32) {
            0..9 => {
                let shard = self.choices.below(self.world.shards.len());
                self.world.turn(shard);
            }
            9..13 => self.come(),
            13..19 => self.publish(),
            19..21 => self.publish_by_socket(),
            21..24 => self.poll_again(),
            24..27 => self.hang_up(),
            27..29 => self.come_back(),
            29 => self.world.wait_ms([1, 300, 1_000][self.choices.below(3)]),
            30 => self.quiet(),
            _ => self.delete(),
        }
    }

    fn shard(&mut self) -> usize {
        self.choices.below(self.world.shards.len())
    }

    /// The number of a reader for which `which` holds.
    fn reader(&mut self, which: impl Fn(&Reader, &World) -> bool) -> Option<usize> {
        let all = 0..self.readers.len();
        let fit: Vec<usize> = all.filter(|at| which(&self.readers[*at], &self.world)).collect();
        (!fit.is_empty()).then(|| self.choices.pick(&fit))
    }

    // ---- what readers and publishers do ----

    fn come(&mut self) {
        if self.readers.len() >= READERS {
            return;
        }
        let channel = self.choices.below(CHANNELS.len());
        let from_oldest = self.choices.below(4) > 0;
        self.readers.push(Reader::new(channel, from_oldest));
        let way = self.choices.pick(&Way::ALL);
        self.listen(self.readers.len() - 1, way);
    }

    fn listen(&mut self, at: usize, way: Way) {
        let shard = self.shard();
        let reader = &mut self.readers[at];
        let place = match (reader.from_oldest, way) {
            (false, _) => "new",
            (true, Way::WebSocket) => "both",
            (true, _) => "sub",
        };
        let head = reader.request(&format!("/{place}/{}", CHANNELS[reader.channel]), way, SHAKE);
        // A poller may stay on its connection.
        let idle = reader.number.filter(|_| way == Way::Poll);
        let number = idle.unwrap_or_else(|| self.world.accept(shard));
        self.readers[at].number = Some(number);
        assert!(self.world.request(number, &head, b""), "{head}");
    }

    fn body(&mut self) -> String {
        self.bodies += 1;
        let number = self.bodies;
        match number % 4 {
            0 => format!("{number}\nline"),
            1 => format!("{number}\u{e9}{}", "x".repeat(130)),
            _ => number.to_string(),
        }
    }

    fn publish(&mut self) {
        let channel = self.choices.below(CHANNELS.len());
        let shard = self.shard();
        let body = self.body();
        let number = self.world.accept(shard);
        let head = format!("POST /pub/{}\nContent-Type: text/plain", CHANNELS[channel]);
        assert!(self.world.request(number, &head, body.as_bytes()));
        self.posted[channel].push(body);
        self.asked.push(number);
    }

    fn publish_by_socket(&mut self) {
        let open = |reader: &Reader, world: &World| {
            // Nobody sends frames before the handshake is answered.
            let connection = reader.number.map(|number| &world.connections[number]);
            let open = connection.is_some_and(|connection| connection.is_open() && connection.upgraded);
            open && reader.way == Way::WebSocket && reader.from_oldest
        };
        let Some(at) = self.reader(open) else { return };
        let body = self.body();
        let reader = &self.readers[at];
        self.posted[reader.channel].push(body.clone());
        self.world.message(reader.number.expect("a connection"), &body);
    }

    /// Whoever polls and has its answer asks again.
    fn poll_again(&mut self) {
        let idle = |reader: &Reader, world: &World| {
            let number = reader.number.filter(|_| reader.way == Way::Poll);
            number.is_some_and(|number| !world.connections[number].is_open())
        };
        if let Some(at) = self.reader(idle) {
            self.listen(at, Way::Poll);
        }
    }

    fn hang_up(&mut self) {
        let Some(at) = self.reader(|reader, _| reader.number.is_some()) else { return };
        let number = self.readers[at].number.take().expect("a connection");
        if self.world.connections[number].is_open() {
            self.world.hang_up(number);
        }
        if !self.readers[at].way.has_ids() {
            self.readers.swap_remove(at);
        }
    }

    /// One that has left goes on, perhaps by another transport.
    fn come_back(&mut self) {
        let Some(at) = self.reader(|reader, _| reader.number.is_none()) else { return };
        let way = self.choices.pick(&Way::ALL);
        self.listen(at, way);
    }

    fn delete(&mut self) {
        self.quiet();
        let channel = self.choices.below(CHANNELS.len());
        let (status, _) = self.ask(&format!("DELETE /pub/{}", CHANNELS[channel]));
        assert!(matches!(status, 200 | 204 | 404), "{status}");
        self.observe();
        for reader in self.readers.iter().filter(|reader| reader.channel == channel) {
            let open = reader.number.is_some_and(|number| self.world.connections[number].is_open());
            assert!(!open, "a deleted channel has a reader");
        }
        self.readers.retain(|reader| reader.channel != channel);
        self.posted[channel].clear();
    }

    /// A request on a connection of its own, answered when all mail is read.
    fn ask(&mut self, head: &str) -> (u16, String) {
        let number = self.world.accept(0);
        assert!(self.world.request(number, head, b""), "{head}");
        self.world.settle();
        self.world.answered(number)
    }

    // ---- what has to hold ----

    /// Readers read what has come.
    fn observe(&mut self) {
        let mut lost = Vec::new();
        for (at, reader) in self.readers.iter_mut().enumerate() {
            let Some(number) = reader.number else { continue };
            let ended = !self.world.connections[number].is_open();
            reader.take(&self.world.take_raw(number));
            if ended && reader.way != Way::Poll {
                reader.number = None;
                if !reader.way.has_ids() {
                    lost.push(at);
                }
            }
        }
        lost.into_iter().rev().for_each(|at| drop(self.readers.swap_remove(at)));
    }

    /// All mail is read, and nothing is missing anywhere.
    fn quiet(&mut self) {
        self.world.settle();
        self.observe();
        for number in std::mem::take(&mut self.asked) {
            let (status, body) = self.world.answered(number);
            assert!(matches!(status, 200..=202), "a publish: {status} {body}");
        }
        // Each answer brings one message: as many rounds as there are messages bring all.
        for _ in 0..=self.bodies {
            let idle = |reader: &Reader| {
                let number = reader.number.filter(|_| reader.way == Way::Poll)?;
                (!self.world.connections[number].is_open()).then_some(())
            };
            let all: Vec<usize> =
                (0..self.readers.len()).filter(|at| idle(&self.readers[*at]).is_some()).collect();
            if all.is_empty() {
                break;
            }
            all.into_iter().for_each(|at| self.listen(at, Way::Poll));
            self.world.settle();
            self.observe();
        }
        for channel in 0..CHANNELS.len() {
            self.compare(channel);
        }
    }

    fn compare(&mut self, channel: usize) {
        let order = self.order(channel);
        let all: BTreeSet<&String> = order.iter().collect();
        let posted: BTreeSet<&String> = self.posted[channel].iter().collect();
        assert_eq!(all.len(), order.len(), "a message is stored twice");
        assert_eq!(all, posted, "what is stored is what was published");
        let mut here = 0;
        for reader in self.readers.iter().filter(|reader| reader.channel == channel) {
            let got = &reader.got[..];
            match (reader.number, reader.from_oldest) {
                (Some(_), true) => assert_eq!(got, order, "{:?}", reader.way),
                (Some(_), false) => assert!(order.ends_with(got), "{:?}: {got:?} of {order:?}", reader.way),
                (None, true) => assert!(order.starts_with(got), "{:?}: {got:?} of {order:?}", reader.way),
                (None, false) => {
                    let is_part = got.is_empty() || order.windows(got.len()).any(|part| part == got);
                    assert!(is_part, "{:?}: {got:?} of {order:?}", reader.way);
                }
            }
            here += u32::from(reader.number.is_some());
        }
        let (status, info) = self.ask(&format!("GET /pub/{}", CHANNELS[channel]));
        match status {
            200 => {
                let said =
                    |name: &str| info.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                assert_eq!(said("queued messages: "), Some(order.len().to_string()), "{info}");
                assert_eq!(said("active subscribers: "), Some(here.to_string()), "{info}");
            }
            status => assert_eq!((status, order.len(), here), (404, 0, 0), "{info}"),
        }
    }

    /// What one gets who comes now.
    fn order(&mut self, channel: usize) -> Vec<String> {
        if self.posted[channel].is_empty() {
            return Vec::new();
        }
        let mut fresh = Reader::new(channel, true);
        let head = fresh.request(&format!("/sub/{}", CHANNELS[channel]), Way::Events, SHAKE);
        let number = self.world.accept(0);
        assert!(self.world.request(number, &head, b""));
        self.world.settle();
        fresh.take(&self.world.take_raw(number));
        self.world.hang_up(number);
        self.world.settle();
        fresh.got
    }

    /// Everybody goes, or the node does, and nothing is left.
    fn end(&mut self) {
        if self.bodies.is_multiple_of(2) {
            self.world.drain();
            self.world.settle();
            self.observe();
            let open = |reader: &Reader| {
                reader.number.is_some_and(|number| self.world.connections[number].is_open())
            };
            assert!(!self.readers.iter().any(open), "somebody stays when the node goes");
        }
        for number in self.readers.iter().filter_map(|reader| reader.number) {
            if self.world.connections[number].is_open() {
                self.world.hang_up(number);
            }
        }
        self.world.settle();
        assert!(self.timeouts || self.world.refused.is_empty(), "{:?}", self.world.refused);
        assert_eq!(self.world.left(), [0; 5], "something is left");
    }
}
