//! What those who follow a channel from outside are told, against the model: occupied and vacated in turn and in
//! time, and a count for each change of the streams.

use crate::model::{Model, SubId};
use fanwire::channel::command::ShardSet;
use fanwire::channel::{Announcement, AppWays, Class};
use fanwire::limits::OCCUPANCY_POLL_MS;
use std::collections::BTreeSet;

pub struct Outside {
    pub ways: AppWays,
    channels: Vec<Told>,
}

#[derive(Default)]
struct Told {
    occupied: bool,
    /// When the polls of the channel last changed.
    polled_ms: Option<u64>,
    /// It has, or had, users.
    users: bool,
    streams: BTreeSet<SubId>,
    polls: BTreeSet<SubId>,
    /// Counts told since the last look.
    counts: usize,
}

impl Outside {
    pub fn new(ways: AppWays, channels: usize) -> Outside {
        Outside { ways, channels: (0..channels).map(|_| Told::default()).collect() }
    }

    /// A home announces something that is no user's doing.
    pub fn told(&mut self, name: usize, announcement: &Announcement, shards: ShardSet, model: &Model) {
        let told = &mut self.channels[name];
        match announcement {
            Announcement::Occupied | Announcement::Vacated => {
                let now = matches!(announcement, Announcement::Occupied);
                assert!(self.ways.occupancy && told.occupied != now, "{announcement:?} twice");
                assert_eq!(shards, ShardSet::default());
                told.occupied = now;
            }
            Announcement::Count(count) => {
                assert!(self.ways.counts && !told.users);
                assert_eq!(*count as usize, model.registered_as(name, Class::Stream).len());
                assert_eq!(shards, model.streaming(name));
                told.counts += 1;
            }
            Announcement::Joined(_) | Announcement::Left(_) => panic!("{announcement:?}"),
        }
    }

    /// A home has carried out a command for the channel.
    pub fn after(&mut self, name: usize, deleted: bool, now_ms: u64, model: &Model) {
        let told = &mut self.channels[name];
        let streams = model.registered_as(name, Class::Stream);
        let polls = model.registered_as(name, Class::OneShot);
        if polls != told.polls {
            told.polled_ms = Some(now_ms);
        }
        told.users |= !model.ids(name).is_empty();
        let counted = self.ways.counts && !told.users && streams != told.streams;
        assert_eq!(std::mem::take(&mut told.counts), usize::from(counted), "counts of {streams:?}");
        (told.streams, told.polls) = (streams, polls);
        if deleted {
            (told.users, told.polled_ms) = (false, None);
        }
        self.check(name);
    }

    /// Time has passed for the home of the channel.
    pub fn after_tick(&mut self, name: usize, now_ms: u64) {
        let told = &self.channels[name];
        assert_eq!(told.counts, 0);
        let due = told.polled_ms.is_none_or(|ms| ms + OCCUPANCY_POLL_MS <= now_ms);
        if told.streams.is_empty() && told.polls.is_empty() && due {
            assert!(!told.occupied, "nobody is there, and no poller came back");
        }
    }

    fn check(&self, name: usize) {
        let told = &self.channels[name];
        let anybody = !told.streams.is_empty() || !told.polls.is_empty();
        if anybody {
            assert_eq!(told.occupied, self.ways.occupancy, "somebody is there");
        } else {
            // A poller's time may be over, and the home has not had its tick since.
            assert!(!told.occupied || told.polled_ms.is_some(), "nobody is there");
        }
    }

    pub fn users(&self, name: usize) -> bool {
        self.channels[name].users
    }
}
