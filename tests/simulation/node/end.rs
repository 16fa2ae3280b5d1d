//! The end of a seed: everybody leaves, or is sent away, and nothing is left.

use super::client::Way;
use super::counts::Did;
use super::world::World;
use fanwire::shard::simulated::Held;

/// Time that a drain has.
const DRAIN_MS: u64 = 1_000;

impl World {
    pub(super) fn end(&mut self) {
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
        while !self.drain(DRAIN_MS) {
            self.settle();
        }
        self.drain_gently();
        self.wait_until("the shards are drained", |world| {
            world.shards.iter().all(fanwire::shard::Shard::may_leave) && world.kernel.open() == 0
        });
        self.check_left();
    }

    /// Whoever reads what it gets is gone before the time is up, in the way of its protocol: after that nobody is asked.
    fn drain_gently(&mut self) {
        self.subscribers.iter_mut().for_each(|s| s.stalled = false);
        self.clients.iter_mut().for_each(|c| c.stalled = false);
        self.pushis.iter_mut().for_each(|c| c.stalled = false);
        self.settle();
        for _ in 0..DRAIN_MS / 100 - 1 {
            self.kernel.advance(100, 100);
            (0..self.shape.shards).for_each(|shard| self.turn(shard));
            self.settle();
            self.forget_handed_over();
        }
        // Who waits for an application that never answers is not to be had; neither is one that polls it.
        let waits = |s: &&super::client::Subscriber| s.way != Way::Hooked || s.is_in;
        let peers = self.subscribers.iter().filter(waits).map(|s| &s.peer);
        let peers = peers.chain(self.publishers.iter().map(|p| &p.peer));
        let peers =
            peers.chain(self.clients.iter().map(|c| &c.peer)).chain(self.pushis.iter().map(|c| &c.peer));
        let peers = peers.chain(self.travellers.iter().map(|t| &t.peer));
        let left = peers.flatten().filter(|peer| !self.kernel.is_over(peer.fd)).count();
        assert_eq!(left, 0, "connections that are open at the end of a drain");
        self.counts.note(Did::Drained);
    }

    fn leave(&mut self) {
        let kernel = self.kernel.clone();
        let subscribers = self.subscribers.iter_mut().map(|s| &mut s.peer);
        let clients = self.clients.iter_mut().map(|c| &mut c.peer);
        let publishers = self.publishers.iter_mut().map(|p| &mut p.peer);
        let pushis = self.pushis.iter_mut().map(|c| &mut c.peer);
        let travellers = self.travellers.iter_mut().map(|t| &mut t.peer);
        let clients = clients.chain(pushis).chain(travellers);
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
