//! Notices that may be undone: a vacated channel and a user that went are held for a while, and dropped together with
//! the opposite that comes meanwhile (Pusher sheet section 12). Time is an argument, in milliseconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::ChannelKey;
use crate::channel::notice::{Notice, What};

/// What is held, in the order in which it came.
#[derive(Debug)]
pub(super) struct Grace {
    grace_ms: u64,
    most: usize,
    held: BTreeMap<u64, Held>,
    /// The number that holds the channel (no user) or the user in it.
    numbers: HashMap<Key, u64>,
    next: u64,
}

/// A channel, or a user in it.
type Key = (Arc<ChannelKey>, Option<Bytes>);

#[derive(Debug)]
struct Held {
    due_ms: u64,
    notice: Notice,
}

/// What is to be done with a notice.
#[derive(Debug)]
pub(super) enum Taken {
    /// It goes on.
    Pass(Notice),
    /// It is held; nothing goes on, or what had to make room.
    Held(Option<Notice>),
    /// It has undone what was held; neither goes on.
    Undone,
}

impl Grace {
    /// Holds at most so many notices for so long.
    pub(super) fn new(grace_ms: u64, most: usize) -> Grace {
        Grace { grace_ms, most, held: BTreeMap::new(), numbers: HashMap::new(), next: 0 }
    }

    /// Notices held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// When the next one is due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.held.first_key_value().map(|(_, held)| held.due_ms)
    }

    /// Takes a notice at `now_ms`, which never goes back.
    pub(super) fn take(&mut self, notice: Notice, now_ms: u64) -> Taken {
        match &notice.what {
            What::Occupied => self.undo((notice.channel.clone(), None), notice),
            What::Joined(user) => self.undo((notice.channel.clone(), Some(user.clone())), notice),
            What::Vacated => self.hold((notice.channel.clone(), None), notice, now_ms),
            What::Left(user) => self.hold((notice.channel.clone(), Some(user.clone())), notice, now_ms),
            What::CacheMiss(_) | What::ClientEvent(_) | What::Count(_) => Taken::Pass(notice),
        }
    }

    fn undo(&mut self, key: Key, notice: Notice) -> Taken {
        match self.numbers.remove(&key) {
            Some(number) => {
                self.held.remove(&number);
                Taken::Undone
            }
            None => Taken::Pass(notice),
        }
    }

    fn hold(&mut self, key: Key, notice: Notice, now_ms: u64) -> Taken {
        if self.grace_ms == 0 || self.most == 0 {
            return Taken::Pass(notice);
        }
        let early = if self.held.len() >= self.most { self.pop() } else { None };
        let number = self.next;
        self.next += 1;
        self.held.insert(number, Held { due_ms: now_ms + self.grace_ms, notice });
        self.numbers.insert(key, number);
        Taken::Held(early)
    }

    /// The next notice whose time is over.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Notice> {
        if self.next_due_ms()? > now_ms {
            return None;
        }
        self.pop()
    }

    /// The oldest notice, whether its time is over or not.
    pub(super) fn pop(&mut self) -> Option<Notice> {
        let (number, held) = self.held.pop_first()?;
        let user = match &held.notice.what {
            What::Left(user) => Some(user.clone()),
            _ => None,
        };
        let key = (held.notice.channel.clone(), user);
        if self.numbers.get(&key) == Some(&number) {
            self.numbers.remove(&key);
        }
        Some(held.notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::KeyHasher;

    fn notice(channel: &str, what: What) -> Notice {
        Notice { channel: ChannelKey::new(&KeyHasher::new(1), 0, b"", channel.as_bytes()), what }
    }

    fn user(id: &'static str) -> Bytes {
        Bytes::from_static(id.as_bytes())
    }

    fn spelled(notice: &Notice) -> String {
        format!("{} {:?}", String::from_utf8_lossy(notice.channel.name()), notice.what)
    }

    fn due(grace: &mut Grace, now_ms: u64) -> Vec<String> {
        std::iter::from_fn(|| grace.due(now_ms)).map(|notice| spelled(&notice)).collect()
    }

    #[test]
    fn what_is_undone_in_time_is_not_told() {
        let mut grace = Grace::new(3_000, 10);
        assert!(matches!(grace.take(notice("a", What::Vacated), 0), Taken::Held(None)));
        assert!(matches!(grace.take(notice("b", What::Occupied), 1), Taken::Pass(_)), "another channel");
        assert!(matches!(grace.take(notice("a", What::Occupied), 2_999), Taken::Undone));
        assert!(matches!(grace.take(notice("a", What::Occupied), 2_999), Taken::Pass(_)), "only once");
        assert_eq!((due(&mut grace, 10_000).len(), grace.len(), grace.next_due_ms()), (0, 0, None));
    }

    #[test]
    fn users_are_told_apart_and_from_their_channel() {
        let mut grace = Grace::new(3_000, 10);
        grace.take(notice("a", What::Left(user("1"))), 0);
        grace.take(notice("a", What::Left(user("2"))), 10);
        grace.take(notice("a", What::Vacated), 20);
        assert!(matches!(grace.take(notice("b", What::Joined(user("1"))), 30), Taken::Pass(_)));
        assert!(matches!(grace.take(notice("a", What::Joined(user("1"))), 30), Taken::Undone));
        assert!(matches!(grace.take(notice("a", What::Occupied), 30), Taken::Undone));
        assert!(due(&mut grace, 3_009).is_empty());
        assert_eq!(due(&mut grace, 3_010), [r#"a Left(b"2")"#]);
    }

    #[test]
    fn what_is_not_undone_comes_in_its_order_when_its_time_is_over() {
        let mut grace = Grace::new(100, 10);
        for (ms, channel) in [(0, "a"), (50, "b"), (60, "c")] {
            grace.take(notice(channel, What::Vacated), ms);
        }
        assert!(matches!(grace.take(notice("a", What::Count(0)), 0), Taken::Pass(_)));
        assert_eq!(due(&mut grace, 150), ["a Vacated", "b Vacated"]);
        assert!(matches!(grace.take(notice("a", What::Occupied), 151), Taken::Pass(_)), "too late");
        assert_eq!(grace.next_due_ms(), Some(160));
    }

    #[test]
    fn too_many_make_the_oldest_go_early() {
        let mut grace = Grace::new(100, 2);
        grace.take(notice("a", What::Vacated), 0);
        grace.take(notice("b", What::Vacated), 1);
        let Taken::Held(Some(early)) = grace.take(notice("c", What::Vacated), 2) else { panic!() };
        assert_eq!((spelled(&early).as_str(), grace.len()), ("a Vacated", 2));
        assert!(matches!(grace.take(notice("a", What::Occupied), 3), Taken::Pass(_)));
    }

    #[test]
    fn without_grace_everything_passes() {
        let mut grace = Grace::new(0, 10);
        assert!(matches!(grace.take(notice("a", What::Vacated), 0), Taken::Pass(_)));
    }
}
