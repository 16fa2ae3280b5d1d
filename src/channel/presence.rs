//! Who is in a channel: users, each with all its connections, counted over all shards by the channel's home.
//!
//! A registration that names a user makes that user present; the user leaves with its last registration. Both are
//! announced exactly once ([`Announcement`]), whatever the order of joins, leaves and dying connections: each such
//! registration has a number that is never used again, so that an unsubscribe that comes twice or too late finds
//! nothing. Announcements travel like publications, in the order of the channel, but are not stored and have no
//! position (Pusher sheet section 7; Pushi sheet section 7).

use crate::channel::policy::PresenceLimits;
use crate::channel::{Refusal, Roster};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A user as it joins a channel.
///
/// The bytes should be the user's own and not slices of a larger buffer, which would stay in memory with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Equal ids are one user; a dialect spells numbers and strings alike (Pusher sheet, trap 16).
    pub id: Bytes,
    /// What the others are told beside the id; opaque here.
    pub info: Bytes,
}

impl User {
    /// What a limit of bytes per user counts.
    pub fn bytes(&self) -> usize {
        self.id.len() + self.info.len()
    }

    /// Memory charged for one registration of it, bytes.
    pub fn cost_bytes(&self) -> usize {
        let shared = size_of::<User>() + 2 * size_of::<usize>();
        let entries =
            size_of::<(u64, Registration)>() + size_of::<(Bytes, Present)>() + size_of::<[usize; 2]>();
        // Maps are up to half empty.
        self.bytes() + shared + 2 * entries
    }
}

/// What subscribers of a channel, and those who follow it from outside, are told about its subscribers.
#[derive(Clone, Debug)]
pub enum Announcement {
    /// A user is there that was not.
    Joined(Change),
    /// A user's last registration is gone.
    Left(Change),
    /// The first subscriber is there ([`AppWays::occupancy`](crate::channel::AppWays::occupancy)); nobody on the wire
    /// is told.
    Occupied,
    /// The last subscriber is gone; nobody on the wire is told.
    Vacated,
    /// So many streams are subscribed ([`AppWays::counts`](crate::channel::AppWays::counts)).
    Count(u32),
}

/// Who came or went.
#[derive(Clone, Debug)]
pub struct Change {
    /// As given by the registration that came or went.
    pub user: Arc<User>,
    /// Users of the channel after it.
    pub users: u32,
    /// The channel's users after it, where [`PresenceLimits::announce_lists`] asks for them.
    pub list: Option<Roster>,
}

/// The users of one channel. Exists only while there are any.
#[derive(Debug, Default)]
pub struct Presence {
    users: Map<Bytes, Present>,
    registrations: Map<u64, Registration>,
    roster: Roster,
    limits: PresenceLimits,
    bytes: usize,
    places: u64,
}

#[derive(Debug)]
struct Present {
    /// Its number in the roster.
    place: u64,
    registrations: u32,
    /// Its leave is announced then, unless it comes back.
    leaving: Option<Leave>,
}

#[derive(Clone, Copy, Debug)]
struct Leave {
    due: Due,
    /// What the registration that left is charged until then.
    bytes: usize,
}

#[derive(Debug)]
struct Registration {
    shard: u16,
    user: Arc<User>,
}

/// When a leave is announced: monotonic milliseconds, and the number of the registration that left.
pub type Due = (u64, u64);

/// What a registration means for its user.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// It was not there: the others have to be told.
    New,
    /// It was there.
    Again,
    /// It was about to leave: the leave due then is off.
    Back(Due),
}

impl Presence {
    /// Users that are there, those included that are about to leave.
    pub fn len(&self) -> u32 {
        self.users.len() as u32
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Who they are.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The rules of the registration made last.
    pub fn limits(&self) -> PresenceLimits {
        self.limits
    }

    /// Memory charged for all registrations and for the users that are about to leave, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `user` may join.
    pub fn admit(&self, user: &User, limits: &PresenceLimits) -> Result<(), Refusal> {
        let newcomer = !self.users.contains_key(&user.id);
        if newcomer && limits.users > 0 && self.len() >= limits.users {
            return Err(Refusal::TooManyUsers);
        }
        Ok(())
    }

    /// Takes in the registration `number`, which is above all earlier ones. The newest info of a user counts
    /// (Pushi sheet section 7; the Pusher sheet leaves it open).
    pub fn join(&mut self, number: u64, user: &Arc<User>, shard: u16, limits: PresenceLimits) -> Joined {
        self.limits = limits;
        self.bytes += user.cost_bytes();
        let (user, joined) = match self.users.get_mut(&user.id) {
            None => {
                let place = self.places;
                self.places += 1;
                self.users.insert(user.id.clone(), Present { place, registrations: 1, leaving: None });
                self.roster.push(place, user.clone());
                (user.clone(), Joined::New)
            }
            Some(present) => {
                present.registrations += 1;
                let back = present.leaving.take().map(|leave| {
                    self.bytes -= leave.bytes;
                    leave.due
                });
                let known = self.roster.get(present.place).filter(|known| ***known == **user).cloned();
                let current = known.unwrap_or_else(|| {
                    self.roster.replace(present.place, user.clone());
                    user.clone()
                });
                (current, back.map_or(Joined::Again, Joined::Back))
            }
        };
        self.registrations.insert(number, Registration { shard, user });
        joined
    }

    /// Forgets the registration `number` of `shard`: its user, and whether that was the user's last one. `None`:
    /// there is no such registration (any more).
    ///
    /// A user without registrations stays in the list (and is charged for) until [`Presence::remove`].
    pub fn leave(&mut self, number: u64, shard: u16) -> Option<(Arc<User>, bool)> {
        if self.registrations.get(&number)?.shard != shard {
            return None;
        }
        let user = self.registrations.remove(&number)?.user;
        let present = self.users.get_mut(&user.id)?;
        present.registrations -= 1;
        let last = present.registrations == 0;
        if !last {
            self.bytes -= user.cost_bytes();
        }
        Some((user, last))
    }

    /// Notes that the user's leave is to be announced later.
    pub fn leave_later(&mut self, user: &User, due: Due) {
        if let Some(present) = self.users.get_mut(&user.id) {
            present.leaving = Some(Leave { due, bytes: user.cost_bytes() });
        }
    }

    /// Takes a user without registrations off the list; `user` as its last one gave it.
    pub fn remove(&mut self, user: &User) {
        if let Some(present) = self.users.remove(&user.id) {
            debug_assert_eq!(present.registrations, 0, "a user left with connections");
            self.bytes -= user.cost_bytes();
            self.roster.remove(present.place);
        }
    }

    /// Everybody, in joining order, with the leave that is due.
    pub fn into_users(self) -> impl Iterator<Item = (Arc<User>, Option<Due>)> {
        let Presence { users, roster, .. } = self;
        let all: Vec<_> = roster.iter().cloned().collect();
        all.into_iter().map(move |user| {
            let leave = users.get(&user.id).and_then(|present| present.leaving);
            (user, leave.map(|leave| leave.due))
        })
    }

    /// What is announced once `user` has come or gone.
    pub fn change(&self, user: Arc<User>) -> Change {
        let list = self.limits.announce_lists.then(|| self.roster.clone());
        Change { user, users: self.len(), list }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &'static str, info: &'static str) -> Arc<User> {
        Arc::new(User { id: id.into(), info: info.into() })
    }

    fn list(presence: &Presence) -> Vec<(String, String)> {
        let text = |b: &Bytes| String::from_utf8(b.to_vec()).unwrap();
        presence.roster().iter().map(|u| (text(&u.id), text(&u.info))).collect()
    }

    #[test]
    fn a_user_is_counted_once_and_the_newest_info_counts() {
        let (mut presence, limits) = (Presence::default(), PresenceLimits::default());
        assert_eq!(presence.join(1, &user("u", "old"), 0, limits), Joined::New);
        assert_eq!(presence.join(2, &user("u", "new"), 3, limits), Joined::Again);
        assert_eq!((presence.len(), list(&presence)), (1, vec![("u".into(), "new".into())]));
        let (left, last) = presence.leave(2, 3).unwrap();
        assert_eq!((&left.info[..], last), (&b"new"[..], false));
        assert_eq!(list(&presence), [("u".into(), "new".into())], "it stays as it was told");
        assert!(presence.leave(2, 3).is_none(), "twice");
        assert!(presence.leave(1, 3).is_none(), "not that shard's");
        let (left, last) = presence.leave(1, 0).unwrap();
        assert_eq!((&left.info[..], last), (&b"old"[..], true));
        presence.remove(&left);
        assert!(presence.is_empty() && presence.roster().is_empty());
        assert_eq!(presence.bytes(), 0);
    }

    #[test]
    fn one_that_comes_back_is_charged_once() {
        let (mut presence, limits) = (Presence::default(), PresenceLimits::default());
        presence.join(1, &user("u", "a long one"), 0, limits);
        let (left, _) = presence.leave(1, 0).unwrap();
        presence.leave_later(&left, (7, 1));
        assert_eq!(presence.bytes(), left.cost_bytes(), "it is still listed");
        let short = user("u", "short");
        assert_eq!(presence.join(2, &short, 0, limits), Joined::Back((7, 1)));
        assert_eq!(presence.bytes(), short.cost_bytes());
    }

    #[test]
    fn connections_with_equal_info_share_it() {
        let (mut presence, limits) = (Presence::default(), PresenceLimits::default());
        let first = user("u", "info");
        presence.join(1, &first, 0, limits);
        presence.join(2, &user("u", "info"), 0, limits);
        assert!(Arc::ptr_eq(&first, &presence.leave(2, 0).unwrap().0));
    }

    #[test]
    fn a_full_channel_takes_users_it_knows() {
        let mut presence = Presence::default();
        let limits = PresenceLimits { users: 1, ..PresenceLimits::default() };
        presence.join(1, &user("u", ""), 0, limits);
        assert_eq!(presence.admit(&user("u", "x"), &limits), Ok(()));
        assert_eq!(presence.admit(&user("v", ""), &limits), Err(Refusal::TooManyUsers));
        let unlimited = PresenceLimits { users: 0, ..limits };
        assert_eq!(presence.admit(&user("v", ""), &unlimited), Ok(()));
    }
}
