//! A node at rest: nothing is under way, and what everybody knows has to be one thing.

use super::client::{SEVERAL, place_of, read_payload, target};
use super::counts::Did;
use super::grants::{CLOSED, Pass};
use super::peer::{Got, Peer};
use super::publisher::Asked;
use super::pusher::{Heard, ROOM, Sub};
use super::truth::Place;
use super::world::{CHANNELS, DURABLE, NAMES, World};
use std::collections::BTreeSet;

/// Turns in which a node has to come to rest.
const TURNS_TO_REST: usize = 20_000;

impl World {
    /// Lets everything that is under way come to its end.
    pub(super) fn settle(&mut self) {
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

    pub(super) fn rest(&mut self) {
        while self.is_held() {
            self.resume();
            (0..self.shape.shards).for_each(|shard| self.turn(shard));
        }
        // Who was told to listen again does so at a tick.
        self.kernel.advance(100, 100);
        (0..self.shape.shards).for_each(|shard| self.turn(shard));
        self.subscribers.iter_mut().for_each(|s| s.stalled = false);
        self.clients.iter_mut().for_each(|c| c.stalled = false);
        self.pushis.iter_mut().for_each(|c| c.stalled = false);
        self.settle();
        self.witnesses();
        self.check();
        self.audit();
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
        let World { channels, taken, counts, published, shape, .. } = self;
        channels.iter_mut().for_each(|channel| channel.at_rest(*published));
        let mut heard = Heard { channels, taken, counts, published: *published, deletes: shape.deletes };
        self.pushis.iter_mut().for_each(|client| client.at_rest(&mut heard));
        let strict = self.shape.kept > 1_000;
        for channel in 0..CHANNELS {
            if !strict || !self.subscribers[channel].is_in {
                continue;
            }
            for id in self.channels[channel].accepted() {
                assert!(self.channels[channel].place_of(id).is_some(), "{id} was accepted, and is lost");
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
        for client in self.pushis.iter_mut().filter(|client| client.app == 0) {
            for (channel, follower) in client.followers.iter_mut().enumerate() {
                let is_live = !client.socket.is_empty() && client.subs[channel] == Sub::In;
                let is_there = client.peer.as_ref().is_some_and(|peer| !peer.finished);
                follower.check(&self.channels[channel], is_there && is_live);
            }
        }
        self.travellers.iter().for_each(super::traveller::Traveller::check);
        self.check_rooms();
        self.check_revoked();
    }

    /// Nobody is there any more who was let in by what was revoked.
    fn check_revoked(&self) {
        let is_there = |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| !peer.finished);
        for subscriber in self.subscribers.iter().filter(|s| is_there(&s.peer) && s.is_in && s.depends) {
            let pass = subscriber.pass.as_ref().expect("it depends on it");
            assert!(!self.taken.covers(pass), "a subscriber of {pass:?} is still there");
        }
        for client in self.clients.iter().filter(|client| is_there(&client.peer)) {
            assert!(!client.is_barred(&self.taken), "a client of {:?} is still there", client.pass);
        }
        for client in self.pushis.iter().filter(|client| is_there(&client.peer)) {
            let is_barred = client.must_go || client.is_barred(&self.taken);
            assert!(!is_barred, "{} of {:?} is still there", client.user, client.pass);
        }
    }

    /// Reads every history whole, as somebody who has just come.
    fn audit(&mut self) {
        let now_s = fanwire::shard::simulated::Kernel::now(&*self.kernel).unix_s();
        let mut readers: Vec<Peer> = Vec::new();
        for channel in 0..CHANNELS {
            let shard = self.rng.below(self.shape.shards);
            let peer = Peer::new(self.kernel.connect(shard, 1 << 20));
            let pass = (self.shape.closed && channel == CLOSED).then(|| Pass::new("auditor", 0, now_s));
            let query = pass.map_or_else(String::new, |pass| format!("?token={}", pass.token));
            let target = target(channel, "sub");
            let head =
                format!("GET {target}{query} HTTP/1.1\r\nHost: n\r\nAccept: text/event-stream\r\n\r\n");
            self.kernel.write(peer.fd, head.as_bytes());
            readers.push(peer);
        }
        self.settle();
        for (channel, peer) in readers.into_iter().enumerate() {
            let fd = peer.fd;
            let mut stored: Vec<(u64, Place)> = Vec::new();
            for got in World::pull(&self.kernel, &mut Some(peer), 1 << 30) {
                match got {
                    Got::Event { id, data } => {
                        let (of, published) = read_payload(&data);
                        assert!(of == channel || of == SEVERAL, "{data} in {}", NAMES[channel]);
                        stored.push((published, place_of(&id).expect("a position")));
                    }
                    Got::Response { status: 200, .. } | Got::Comment(_) => {}
                    other => panic!("{} cannot be read: {other:?}", NAMES[channel]),
                }
            }
            self.counts.note(Did::Audited);
            let all = self.shape.kept > 1_000 || channel >= DURABLE;
            self.channels[channel].audit(&stored, all);
            self.kernel.reset(fd);
        }
        self.settle();
    }

    fn check_rooms(&self) {
        for app in 0..2 {
            let is_there = |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| !peer.finished);
            let clients =
                self.clients.iter().filter(|c| c.app == app && c.room == Sub::In && is_there(&c.peer));
            let clients = clients.map(|client| (&client.user, &client.members));
            let pushis =
                self.pushis.iter().filter(|c| c.app == app && c.room == Sub::In && is_there(&c.peer));
            let there: Vec<_> = clients.chain(pushis.map(|client| (&client.user, &client.members))).collect();
            let users: BTreeSet<String> = there.iter().map(|(user, _)| (*user).clone()).collect();
            for (user, members) in there {
                assert_eq!(*members, users, "the list of {user} in app {app}");
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

    /// Who a channel's home thinks is there, and what the connection of each client of Pushi knows.
    fn ask_infos(&mut self) {
        if self.draining {
            return;
        }
        if self.publishers[0].peer.as_ref().is_none_or(|peer| peer.finished) {
            self.publishers[0].lost(&mut self.channels);
            self.publishers[0].peer = Some(self.peer());
        }
        let kernel = self.kernel.clone();
        for channel in 0..CHANNELS {
            let relay = self.subscribers.iter().filter(|s| s.is_in && s.peer.is_some());
            let relay = relay.flat_map(|s| &s.channels).filter(|&&c| c == channel).count();
            let pusher =
                self.clients.iter().filter(|c| c.app == 0 && c.peer.is_some() && c.subs[channel] == Sub::In);
            let pushi = self.pushis.iter().filter(|c| c.app == 0 && c.peer.is_some());
            let pushi = pushi.filter(|c| c.subs.get(channel) == Some(&Sub::In));
            let asked = Asked::Info { channel, subscribers: relay + pusher.count() + pushi.count() };
            self.publishers[0].ask(&kernel, asked, &format!("GET {}", target(channel, "pub")), "", "");
        }
        if let Some(token) = &self.token {
            for client in self.pushis.iter().filter(|client| client.app == 0 && client.is_there()) {
                let (line, header) =
                    (format!("GET /sockets/{}", client.socket), format!("X-Session-Id: {token}\r\n"));
                let asked = Asked::Socket { channels: client.names(), pairs: client.pairs().collect() };
                self.publishers[0].ask(&kernel, asked, &line, &header, "");
            }
        }
        self.settle();
        let asked = &self.publishers[0].asked;
        assert!(asked.is_empty(), "{} questions without an answer", asked.len());
    }
}
