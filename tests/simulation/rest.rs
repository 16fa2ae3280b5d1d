//! What has to hold when nothing is under way, and when everybody has gone.

use crate::model::SubId;
use crate::world::World;
use fanwire::channel::{Command, GroupLimits, Policy};
use std::sync::Arc;

impl World {
    /// Lets every shard read all its mail.
    pub fn settle(&mut self) {
        loop {
            let waiting: Vec<usize> =
                (0..self.shards.len()).filter(|&s| !self.shards[s].mail.is_empty()).collect();
            if waiting.is_empty() {
                break;
            }
            let shard = *self.rng.pick(&waiting);
            self.turn(shard, 1);
        }
    }

    /// Nothing is under way: what the homes and the members believe has to be one thing.
    pub fn check_at_rest(&self) {
        assert_eq!(self.unanswered, 0, "publishes without an answer");
        for name in 0..self.keys.len() {
            let mut joined: Vec<SubId> = Vec::new();
            for shard in &self.shards {
                joined.extend(shard.seated.values().filter(|&&id| self.subs[id].name == name));
            }
            joined.sort_unstable();
            assert_eq!(joined, self.model.registered(name), "members of channel {name}");
            let made = self.model.names[name].made.len();
            for &id in &joined {
                self.readers[self.subs[id].reader].caught_up(made);
            }
        }
        for (id, sub) in self.subs.iter().enumerate() {
            assert!(sub.state.is_joined() == sub.wanted && (sub.wanted || sub.state.is_over()), "sub {id}");
            assert!(!(sub.wanted && self.model.ended.contains_key(&id)), "sub {id} never heard of its end");
        }
        for shard in &self.shards {
            assert!(shard.asked.is_empty());
            let seats: usize =
                self.keys.iter().flat_map(|k| shard.members.groups(k)).map(|g| g.members.len()).sum();
            assert_eq!(seats, shard.seated.len(), "seats");
        }
    }

    /// Everybody leaves, everything is deleted or times out: nothing may be left.
    pub fn wind_down(&mut self) {
        for id in 0..self.subs.len() {
            self.leave(id);
        }
        self.flush();
        self.settle();
        self.check_at_rest();
        for shard in &self.shards {
            assert!(shard.members.channels() == 0 && shard.seated.is_empty(), "members left over");
        }
        for name in 0..self.keys.len() {
            assert!(self.model.registered(name).is_empty(), "registrations left over");
            self.ask(0, name, Command::Info);
            self.settle();
            if self.rng.chance(50) {
                self.ask(0, name, Command::Delete);
            } else {
                // Rules under which nothing lasts; one refused for want of room leaves what can be deleted.
                let nothing = Policy { max_messages: 0, channel_timeout_ms: 1, ..Policy::default() };
                self.publish(0, name, Arc::new(nothing), true);
            }
            self.settle();
            if self.rng.chance(20) {
                self.ask(
                    0,
                    name,
                    Command::GroupInfo { set: Some(GroupLimits { channels: 9, ..Default::default() }) },
                );
            }
        }
        self.settle();
        self.now.mono_ns += 2 * fanwire::limits::GROUP_IDLE_MS * 1_000_000;
        (0..self.shards.len()).for_each(|home| self.tick(home));
        self.now.mono_ns += 2 * fanwire::limits::GROUP_IDLE_MS * 1_000_000;
        for home in 0..self.shards.len() {
            self.tick(home);
            let home = &self.shards[home].home;
            let left = (home.channels(), home.history_bytes(), home.stored(), home.groups());
            assert_eq!(left, (0, 0, 0, 0), "channels, bytes, publications, groups left over");
        }
    }
}
