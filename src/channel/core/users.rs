//! The home's side of presence: users come and go with registrations, and their channel is told.

use super::Home;
use crate::channel::command::{Effect, ShardSet, Subscribe};
use crate::channel::presence::{Announcement, Change, Due, Joined, Presence, User};
use crate::channel::{Class, Now, Refusal, Roster};
use crate::limits::PRESENCE_LEAVES_PER_TICK;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Leaves that are announced when their grace time is over: channel and user.
pub(super) type Leaving = BTreeMap<Due, (usize, Arc<User>)>;

impl Home {
    /// The user that `ask` makes present: only a stream does.
    pub(super) fn user_of(ask: &Subscribe) -> Option<&Arc<User>> {
        ask.user.as_ref().filter(|_| ask.class == Class::Stream)
    }

    /// Whether the channel takes the user of `ask`; with `alone` all others leave for it.
    pub(super) fn admit_user(&self, at: usize, ask: &Subscribe, alone: bool) -> Result<(), Refusal> {
        let Some(user) = Self::user_of(ask) else { return Ok(()) };
        let limits = &ask.policy.presence;
        if limits.user_bytes > 0 && user.bytes() > limits.user_bytes as usize {
            return Err(Refusal::UserTooLarge);
        }
        if self.presence_bytes + user.cost_bytes() > self.limits.presence_bytes {
            return Err(Refusal::PresenceFull);
        }
        match &self.channels[at].presence {
            Some(presence) if !alone => presence.admit(user, limits),
            _ => Ok(()),
        }
    }

    /// Registers a stream of `user` and tells the others when it is the user's first. Returns its number, which
    /// stands for the epoch of other registrations.
    pub(super) fn join(
        &mut self,
        at: usize,
        user: &Arc<User>,
        ask: &Subscribe,
        shard: u16,
        effects: &mut Vec<Effect>,
    ) -> u64 {
        self.epoch += 1;
        let number = self.epoch;
        self.channels[at].presence.get_or_insert_default();
        let joined = self.presence(at, |p| {
            let joined = p.join(number, user, shard, ask.policy.presence);
            (joined, p.change(user.clone()))
        });
        match joined {
            // Before it is registered: the newcomer itself has the list and is told nothing.
            Some((Joined::New, change)) => self.announce(at, Announcement::Joined(change), effects),
            Some((Joined::Back(due), _)) => drop(self.leaving.remove(&due)),
            Some((Joined::Again, _)) | None => {}
        }
        self.register(at, Class::Stream, shard);
        number
    }

    /// Undoes the registration `number`, if it is one of a user. The user leaves with its last one: at once, or when
    /// its grace time is over.
    pub(super) fn part(&mut self, at: usize, number: u64, shard: u16, now: Now, effects: &mut Vec<Effect>) {
        let due = |p: &Presence| (now.mono_ms() + u64::from(p.limits().leave_grace_ms), number);
        let left = self.presence(at, |p| {
            let (user, last) = p.leave(number, shard)?;
            let due = (last && p.limits().leave_grace_ms > 0).then(|| due(p));
            if let Some(due) = due {
                p.leave_later(&user, due);
            }
            Some((user, last, due))
        });
        let Some((user, last, due)) = left.flatten() else { return };
        self.unregister(at, Class::Stream, shard, now);
        match due {
            Some(due) => drop(self.leaving.insert(due, (at, user))),
            None if last => self.left(at, user, effects),
            None => {}
        }
    }

    /// Changes the users of a channel that has some, and carries the difference over to the shard's counter.
    fn presence<R>(&mut self, at: usize, change: impl FnOnce(&mut Presence) -> R) -> Option<R> {
        let presence = self.channels[at].presence.as_deref_mut()?;
        let before = presence.bytes();
        let result = change(presence);
        self.presence_bytes = self.presence_bytes - before + presence.bytes();
        if presence.is_empty() {
            self.channels[at].presence = None;
        }
        Some(result)
    }

    /// A user is gone for good.
    fn left(&mut self, at: usize, user: Arc<User>, effects: &mut Vec<Effect>) {
        let change = self.presence(at, |p| {
            p.remove(&user);
            p.change(user)
        });
        if let Some(change) = change {
            self.announce(at, Announcement::Left(change), effects);
        }
    }

    /// Users leave with all registrations of a channel, without grace: the home itself has ended them. Nobody is
    /// subscribed any more, so that no shard is told; the effects are for those who follow from outside.
    pub(super) fn part_all(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let Some(presence) = self.channels[at].presence.take() else { return };
        self.presence_bytes -= presence.bytes();
        let mut users = presence.len();
        for (user, due) in presence.into_users() {
            users -= 1;
            if let Some(due) = due {
                self.leaving.remove(&due);
            }
            self.announce(at, Announcement::Left(Change { user, users, list: None }), effects);
        }
    }

    /// Tells every shard that has streams of the channel.
    pub(super) fn announce(&self, at: usize, announcement: Announcement, effects: &mut Vec<Effect>) {
        let channel = &self.channels[at];
        let mut shards = ShardSet::default();
        for count in channel.shards.iter().filter(|count| count.streams > 0) {
            shards.insert(count.shard as usize);
        }
        let announcement = Arc::new(announcement);
        effects.push(Effect::Announce { shards, channel: channel.key.clone(), announcement });
    }

    /// The users of a channel.
    pub(super) fn users(&self, at: usize) -> Roster {
        self.channels[at].presence.as_ref().map_or_else(Roster::default, |p| p.roster().clone())
    }

    /// Announces the leaves whose grace time is over, some per call.
    pub(super) fn leave_due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for _ in 0..PRESENCE_LEAVES_PER_TICK {
            let Some(next) = self.leaving.first_entry() else { return };
            if next.key().0 > now.mono_ms() {
                return;
            }
            let (at, user) = next.remove();
            self.channels[at].idle_since_ms = now.mono_ms();
            self.left(at, user, effects);
        }
    }
}
