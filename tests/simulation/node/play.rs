//! One seed: steps of everybody, rests at which everything is compared, and the end.

use super::client::{Asked, payload, target};
use super::kernel::Simulated;
use super::peer::{Got, Peer};
use super::pusher::{ROOM, Sub, signed};
use super::world::{CHANNELS, DURABLE, NAMES, World};
use fanwire::shard::simulated::Held;
use serde_json::json;
use std::collections::BTreeSet;

/// Turns in which a node has to come to rest.
const TURNS_TO_REST: usize = 20_000;

impl World {
    /// Plays the seed to its end.
    pub fn play(&mut self) {
        let steps = 30 + self.rng.below(60);
        let crashes = self.rng.chance(25);
        for step in 0..steps {
            self.step();
            if self.rng.chance(2) {
                self.say(|| format!("step {step}: rest"));
                self.rest();
            }
            if crashes && self.rng.chance(1) {
                self.say(|| "crash".into());
                self.crash();
            }
        }
        self.rest();
        self.end();
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..45 => {
                for _ in 0..1 + self.rng.below(4) {
                    let shard = self.rng.below(self.shape.shards);
                    if shard != self.slow || self.rng.chance(8) {
                        self.turn(shard);
                    }
                }
            }
            45..61 => self.publisher(),
            61..72 => self.subscriber(),
            72..87 => self.client(),
            87..90 => {
                self.store_works();
            }
            90..92 => {
                self.hook_answers();
            }
            92..95 => self.time(),
            95 => {
                let mut desk = self.services.desk();
                desk.full = !desk.full;
            }
            96 => self.change_apps(),
            97 if self.rng.chance(50) => self.bomb(),
            97 => self.silent(),
            98 => self.hold(),
            _ => self.readers(),
        }
    }

    fn peer(&mut self) -> Peer {
        self.connected += 1;
        let shard = self.rng.below(self.shape.shards);
        let window = *self.rng.pick(&[300, 2_000, 1 << 20]);
        Peer::new(self.kernel.connect(shard, window))
    }

    fn time(&mut self) {
        let ms = *self.rng.pick(&[10, 100, 100, 1_000]);
        let wall = match self.rng.below(10) {
            0 => -(self.rng.below(5_000) as i64),
            1 => self.rng.below(5_000) as i64,
            _ => ms as i64,
        };
        self.say(|| format!("time {ms} {wall}"));
        self.kernel.advance(ms, wall);
    }

    fn publisher(&mut self) {
        let at = self.rng.below(self.publishers.len());
        if self.publishers[at].peer.is_none() {
            self.publishers[at].peer = Some(self.peer());
        }
        let kernel = self.kernel.clone();
        let publisher = &mut self.publishers[at];
        let finished = publisher.peer.as_ref().is_none_or(|peer| peer.finished);
        match self.rng.below(20) {
            0 => {
                if let Some(peer) = publisher.peer.take() {
                    kernel.reset(peer.fd);
                    publisher.lost(&mut self.channels);
                }
            }
            1 => {
                if let Some(peer) = &mut publisher.peer {
                    peer.finish(&kernel);
                }
            }
            _ if finished || publisher.asked.len() > 20 => {}
            _ => {
                for _ in 0..1 + self.rng.below(3) {
                    self.publish(at);
                }
            }
        }
    }

    fn publish(&mut self, at: usize) {
        let channel = self.rng.below(CHANNELS);
        self.published += 1;
        let id = self.published;
        let len = *self.rng.pick(&[0, 10, 100, 500]);
        let text = payload(channel, id, len);
        self.channels[channel].asked(id);
        self.say(|| format!("publish {id} in {}", NAMES[channel]));
        let kernel = self.kernel.clone();
        if channel < DURABLE && self.rng.chance(30) {
            let body = json!({"name": "e", "channel": NAMES[channel], "data": text}).to_string();
            let app = self.apps.by_id("one").expect("it stays").settings.clone();
            let now_s = fanwire::shard::simulated::Kernel::now(&*kernel).unix_s();
            let path = signed(&app, "POST", "/apps/one/events", &body, now_s);
            return self.publishers[at].publish(&kernel, (channel, id), &path, &body);
        }
        self.publishers[at].publish(&kernel, (channel, id), &target(channel, "pub"), &text);
    }

    fn subscriber(&mut self) {
        let at = self.rng.below(self.subscribers.len());
        if self.subscribers[at].peer.is_none() {
            return self.begin(at);
        }
        let kernel = self.kernel.clone();
        let subscriber = &mut self.subscribers[at];
        let Some(peer) = &mut subscriber.peer else { return };
        match self.rng.below(10) {
            0 => {
                kernel.reset(peer.fd);
                subscriber.lost();
            }
            1 => peer.close(&kernel),
            2 => subscriber.stalled = !subscriber.witness,
            3 => subscriber.stalled = false,
            _ => self.read_subscriber(at, 1 << 20),
        }
    }

    fn begin(&mut self, at: usize) {
        let peer = self.peer();
        let (kernel, who, few) = (self.kernel.clone(), self.connected, self.shape.kept < 1_000);
        let boom = self.rng.chance(10);
        self.say(|| format!("subscriber {at} begins on {}", peer.fd));
        let subscriber = &mut self.subscribers[at];
        subscriber.boom = boom;
        subscriber.begin(&kernel, peer, who, few);
    }

    fn client(&mut self) {
        let at = self.rng.below(self.clients.len());
        let name = if self.clients[at].app == 0 { "one" } else { "two" };
        let app = super::world::app(name, self.shape.kept);
        if self.clients[at].peer.is_none() {
            let peer = self.peer();
            self.say(|| format!("client {at} begins on {}", peer.fd));
            return self.clients[at].begin(&self.kernel.clone(), peer, &app);
        }
        let kernel = self.kernel.clone();
        let client = &mut self.clients[at];
        let Some(peer) = &mut client.peer else { return };
        match self.rng.below(12) {
            0 => {
                kernel.reset(peer.fd);
                client.lost();
            }
            1 => peer.close(&kernel),
            2 => client.stalled = true,
            3..7 if client.is_welcome() => client.toggle_room(&kernel, &app),
            7..9 if client.is_welcome() => {
                let channel = self.rng.below(DURABLE);
                client.toggle(&kernel, channel);
            }
            _ => {
                client.stalled = false;
                self.read_client(at, 1 << 20);
            }
        }
    }

    /// A request that makes the node panic costs the one who sent it.
    fn bomb(&mut self) {
        let mut peer = self.peer();
        self.kernel.write(peer.fd, b"GET /boom HTTP/1.1\r\nHost: n\r\n\r\n");
        if self.rng.chance(50) {
            peer.finish(&self.kernel);
        }
        self.bombs.push(peer);
    }

    /// A peer that begins something and is never heard of again.
    fn silent(&mut self) {
        let peer = self.peer();
        let beginnings: [&[u8]; 4] = [
            b"",
            b"GET /sub/c0 HT",
            b"POST /pub/c0 HTTP/1.1\r\nHost: n\r\nContent-Length: 10\r\n\r\n0 ",
            b"GET /pub/c0 HTTP/1.1\r\nHost: n\r\n\r\n",
        ];
        let beginning = *self.rng.pick(&beginnings);
        self.kernel.write(peer.fd, beginning);
        self.silent.push(peer);
    }

    // ---- reading ----

    fn readers(&mut self) {
        let most = *self.rng.pick(&[1, 50, 1 << 20]);
        (0..self.subscribers.len()).for_each(|at| self.read_subscriber(at, most));
        (0..self.clients.len()).for_each(|at| self.read_client(at, most));
        (0..self.publishers.len()).for_each(|at| self.read_publisher(at));
    }

    fn pull(kernel: &Simulated, peer: &mut Option<Peer>, most: usize) -> Vec<Got> {
        let mut got = Vec::new();
        if let Some(peer) = peer {
            peer.pull(kernel, most, &mut got);
        }
        got
    }

    fn read_subscriber(&mut self, at: usize, most: usize) {
        let (kernel, few) = (self.kernel.clone(), self.shape.kept < 1_000);
        let subscriber = &mut self.subscribers[at];
        if subscriber.stalled {
            return;
        }
        for got in World::pull(&kernel, &mut subscriber.peer, most) {
            self.say(|| format!("subscriber {at} got {got:?}"));
            self.subscribers[at].got(&kernel, got, &mut self.channels, self.connected, few);
        }
    }

    fn read_client(&mut self, at: usize, most: usize) {
        let kernel = self.kernel.clone();
        let client = &mut self.clients[at];
        if client.stalled {
            return;
        }
        for got in World::pull(&kernel, &mut client.peer, most) {
            self.say(|| format!("client {at} got {got:?}"));
            self.clients[at].got(&kernel, got, &mut self.channels, self.published);
        }
    }

    fn read_publisher(&mut self, at: usize) {
        let most = self.subscribers.len() + self.clients.len() + self.connected as usize;
        let kernel = self.kernel.clone();
        for got in World::pull(&kernel, &mut self.publishers[at].peer, 1 << 20) {
            self.say(|| format!("publisher {at} got {got:?}"));
            let publisher = &mut self.publishers[at];
            if let (Got::End, Some(peer)) = (&got, &publisher.peer) {
                // Who does not read its answers is cut off at some point.
                let small = self.shape.outbox.bytes < 1 << 20 || self.shape.outbox.frames < 1_000;
                let excused = small || self.draining || publisher.asked.is_empty() || !peer.finished;
                assert!(
                    excused,
                    "publisher {at} ended its side, and has {} requests unanswered",
                    publisher.asked.len()
                );
            }
            publisher.got(&got, &mut self.channels, most);
        }
    }

    // ---- at rest ----

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        for _ in 0..TURNS_TO_REST {
            let mut moved = false;
            for shard in 0..self.shape.shards {
                if self.is_busy(shard) {
                    self.turn(shard);
                    moved = true;
                }
            }
            moved |= self.store_works() | self.hook_answers();
            if moved {
                continue;
            }
            let before = self.kernel.written();
            self.readers();
            for shard in 0..self.shape.shards {
                moved |= self.is_busy(shard);
            }
            if !moved && before == self.kernel.written() {
                return;
            }
        }
        panic!("does not come to rest");
    }

    fn rest(&mut self) {
        while self.is_held() {
            self.resume();
            (0..self.shape.shards).for_each(|shard| self.turn(shard));
        }
        // Who was told to listen again does so at a tick.
        self.kernel.advance(100, 100);
        (0..self.shape.shards).for_each(|shard| self.turn(shard));
        self.subscribers.iter_mut().for_each(|s| s.stalled = false);
        self.clients.iter_mut().for_each(|c| c.stalled = false);
        self.settle();
        self.witnesses();
        self.check();
        self.ask_infos();
    }

    /// Those who see everything are there.
    fn witnesses(&mut self) {
        for _ in 0..3 {
            for at in 0..CHANNELS {
                if self.subscribers[at].peer.is_none() {
                    self.begin(at);
                }
            }
            self.settle();
        }
    }

    /// Nothing is under way: what everybody knows has to be one thing.
    fn check(&mut self) {
        let held = self.held();
        assert_eq!((held.moving, held.overflowing, held.undone), (0, 0, 0), "{held:?}");
        assert!(self.are_apps_noted(), "a change of the apps was not noted");
        let panics = self.counters.sum(|c| &c.panics);
        assert!(
            panics <= self.services.desk().panics,
            "{panics} panics, {} on purpose",
            self.services.desk().panics
        );
        for publisher in &self.publishers {
            assert!(publisher.asked.is_empty(), "{} requests without an answer", publisher.asked.len());
        }
        let strict = self.shape.kept > 1_000;
        for channel in 0..CHANNELS {
            if !strict || !self.subscribers[channel].is_in {
                continue;
            }
            for id in self.channels[channel].accepted() {
                assert!(self.channels[channel].is_placed(id), "{id} was accepted, and is lost");
            }
        }
        for subscriber in &mut self.subscribers {
            let peer = subscriber.peer.as_ref();
            let is_live = subscriber.is_in && peer.is_some_and(|peer| !peer.finished);
            for (&channel, follower) in subscriber.channels.iter().zip(&mut subscriber.followers) {
                follower.check(&self.channels[channel], is_live);
            }
        }
        for client in self.clients.iter_mut().filter(|client| client.app == 0) {
            let is_there = client.peer.as_ref().is_some_and(|peer| !peer.finished);
            for (channel, follower) in client.followers.iter_mut().enumerate() {
                follower.check(&self.channels[channel], is_there && client.subs[channel] == Sub::In);
            }
        }
        self.check_rooms();
    }

    fn check_rooms(&self) {
        for app in 0..2 {
            let there = |client: &&super::pusher::Client| {
                client.app == app
                    && client.room == Sub::In
                    && client.peer.as_ref().is_some_and(|p| !p.finished)
            };
            let users: BTreeSet<String> = self.clients.iter().filter(there).map(|c| c.user.clone()).collect();
            for client in self.clients.iter().filter(there) {
                assert_eq!(client.members, users, "the list of {} in app {app}", client.user);
            }
            let desk = self.services.desk();
            let number = self.apps.by_id(["one", "two"][app]).map(|app| app.number);
            let told =
                desk.joined.iter().filter(|(at, name, _)| Some(*at) == number && name == ROOM.as_bytes());
            let told: BTreeSet<_> =
                told.map(|(_, _, user)| String::from_utf8_lossy(user).into_owned()).collect();
            if number.is_some() {
                assert_eq!(told, users, "as web hooks tell it, app {app}");
            }
        }
    }

    /// Who a channel's home thinks is there.
    fn ask_infos(&mut self) {
        if self.draining {
            return;
        }
        if self.publishers[0].peer.as_ref().is_none_or(|peer| peer.finished) {
            self.publishers[0].lost(&mut self.channels);
            self.publishers[0].peer = Some(self.peer());
        }
        for channel in 0..CHANNELS {
            let relay = self.subscribers.iter().filter(|s| s.is_in && s.peer.is_some());
            let relay = relay.flat_map(|s| &s.channels).filter(|&&c| c == channel).count();
            let pusher =
                self.clients.iter().filter(|c| c.app == 0 && c.peer.is_some() && c.subs[channel] == Sub::In);
            let there = relay + pusher.count();
            self.publishers[0].ask(&self.kernel.clone(), channel, there);
        }
        self.settle();
        let unanswered =
            self.publishers[0].asked.iter().filter(|asked| matches!(asked, Asked::Info { .. })).count();
        assert_eq!(unanswered, 0, "questions without an answer");
    }

    // ---- the end ----

    fn end(&mut self) {
        if self.rng.chance(50) {
            self.say(|| "everybody leaves".into());
            self.leave();
            self.wait_until("everybody has left", |world| world.kernel.open() == 0);
            self.check_left();
        }
        self.say(|| "drain".into());
        if self.rng.chance(30) {
            self.hold();
            (0..self.rng.below(6)).for_each(|_| self.step());
        }
        while !self.drain(1_000) {
            self.settle();
        }
        self.wait_until("the shards are drained", |world| {
            world.shards.iter().all(fanwire::shard::Shard::may_leave) && world.kernel.open() == 0
        });
        self.check_left();
    }

    fn leave(&mut self) {
        let kernel = self.kernel.clone();
        let subscribers = self.subscribers.iter_mut().map(|s| &mut s.peer);
        let clients = self.clients.iter_mut().map(|c| &mut c.peer);
        let publishers = self.publishers.iter_mut().map(|p| &mut p.peer);
        for peer in subscribers.chain(clients).chain(publishers).flatten().chain(&mut self.bombs) {
            match self.rng.below(3) {
                0 => kernel.reset(peer.fd),
                1 => peer.finish(&kernel),
                _ => peer.close(&kernel),
            }
        }
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        for _ in 0..400 {
            self.settle();
            self.forget_handed_over();
            if is_so(self) {
                return;
            }
            let ms = if self.silent.is_empty() { 300 } else { 1_500 };
            self.kernel.advance(ms, ms as i64);
            (0..self.shape.shards).for_each(|shard| self.turn(shard));
        }
        panic!("waited for: {what}; {} sockets open, {:?}", self.kernel.open(), self.held());
    }

    /// Nobody is there: nothing is left but history.
    fn check_left(&mut self) {
        let held = self.held();
        let left = Held { channels: 0, stored: 0, ..held };
        assert_eq!(left, Held::default(), "left over");
        let figures = [
            self.counters.sum(|c| &c.sockets),
            self.counters.sum(|c| &c.subscriptions),
            self.counters.sum(|c| &c.connections[0]),
            self.counters.sum(|c| &c.connections[1]),
            self.counters.sum(|c| &c.connections[2]),
            self.counters.sum(|c| &c.accepted) - self.counters.sum(|c| &c.closed),
            self.apps.iter().map(|app| app.connections()).sum(),
        ];
        assert_eq!(figures, [0; 7], "sockets, subscriptions, connections by carrier, all, of apps");
        // The channel of somebody who polled is given a moment more; that of an app that is gone is nobody's business.
        self.wait_until("every channel is told to be vacant", |world| {
            let desk = world.services.desk();
            desk.occupied.iter().all(|(app, _)| world.apps.get(*app).is_none())
        });
        let desk = self.services.desk();
        assert!(desk.joined.is_empty(), "{:?}", desk.joined);
        // Of one whose session was lost in a panic nobody tells any more.
        let forgotten: Vec<_> =
            desk.told.iter().filter(|(who, there)| **there && !who.ends_with("boom")).collect();
        assert!(forgotten.is_empty(), "the application believes that these are there: {forgotten:?}");
    }
}
