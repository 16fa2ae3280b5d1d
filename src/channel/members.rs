//! Who, on this shard, listens to what: the local half of every subscription.
//!
//! A subscription joins only when the home's answer arrives. The answer comes through the same first-in
//! first-out mailbox as deliveries, so what was published before it is in the answer's backlog and what comes
//! after it is delivered: nothing is missed and nothing comes twice (design R5).

use crate::channel::ChannelKey;
use crate::channel::command::{Class, Command, Subscribed};
use std::collections::HashMap;
use std::sync::Arc;

/// How a publication is put on a subscriber's wire; what the numbers mean is the dialects' affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form(pub u32);

impl Form {
    /// No shared frame: the session is handed each publication.
    pub const SESSION: Form = Form(u32::MAX);
    /// As [`Form::SESSION`], and the session is handed announcements too.
    pub const SESSION_ANNOUNCED: Form = Form(u32::MAX - 1);

    /// Whether publications go through the session.
    pub fn is_session(self) -> bool {
        self.0 >= Form::SESSION_ANNOUNCED.0
    }
}

/// A subscriber as the fan-out sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Slab slot that takes the frames.
    pub slot: u32,
    /// Which of the session's subscriptions it is.
    pub tag: u32,
}

/// Where a member sits, for leaving in constant time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    channel: u32,
    group: u32,
    index: u32,
}

/// The members of one form.
#[derive(Debug)]
pub struct Group {
    /// How they take publications.
    pub form: Form,
    /// Whether one publication releases them.
    pub class: Class,
    /// Who.
    pub members: Vec<Member>,
}

/// The members of one channel on this shard.
#[derive(Debug)]
struct Channel {
    key: Arc<ChannelKey>,
    groups: Vec<Group>,
    members: u32,
}

/// All members on this shard.
#[derive(Default)]
pub struct Members {
    index: HashMap<Arc<ChannelKey>, u32, foldhash::fast::RandomState>,
    channels: slab::Slab<Channel>,
}

impl Members {
    /// Channels with members on this shard.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// The members of `key`, by form; none for an unknown channel.
    pub fn groups(&self, key: &Arc<ChannelKey>) -> &[Group] {
        match self.index.get(key) {
            Some(&at) => &self.channels[at as usize].groups,
            None => &[],
        }
    }

    /// Seats `member`.
    pub fn join(&mut self, key: &Arc<ChannelKey>, form: Form, class: Class, member: Member) -> Seat {
        let at = match self.index.get(key) {
            Some(&at) => at,
            None => {
                let channel = Channel { key: key.clone(), groups: Vec::with_capacity(1), members: 0 };
                let at = self.channels.insert(channel) as u32;
                self.index.insert(key.clone(), at);
                at
            }
        };
        let channel = &mut self.channels[at as usize];
        let same = |g: &Group| g.form == form && g.class == class;
        let group = match channel.groups.iter().position(same) {
            Some(group) => group,
            None => {
                channel.groups.push(Group { form, class, members: Vec::with_capacity(1) });
                channel.groups.len() - 1
            }
        };
        let members = &mut channel.groups[group].members;
        members.push(member);
        channel.members += 1;
        Seat { channel: at, group: group as u32, index: (members.len() - 1) as u32 }
    }

    /// Frees `seat`. The member that moves into it, if any, is returned: it sits at `seat` from now on.
    #[must_use = "the moved member's owner has to learn its seat"]
    pub fn leave(&mut self, seat: Seat) -> Option<Member> {
        let channel = self.channels.get_mut(seat.channel as usize)?;
        let members = &mut channel.groups.get_mut(seat.group as usize)?.members;
        members.swap_remove(seat.index as usize);
        let moved = members.get(seat.index as usize).copied();
        if members.is_empty() {
            *members = Vec::new();
        }
        channel.members -= 1;
        if channel.members == 0 {
            self.forget(seat.channel);
        }
        moved
    }

    /// Takes the members that one publication releases. Their seats are gone.
    pub fn release(&mut self, key: &Arc<ChannelKey>, released: &mut Vec<Member>) {
        self.take(key, released, |group| group.class == Class::OneShot);
    }

    /// Takes all members of a channel. Their seats are gone.
    pub fn end(&mut self, key: &Arc<ChannelKey>, ended: &mut Vec<Member>) {
        self.take(key, ended, |_| true);
    }

    fn take(&mut self, key: &Arc<ChannelKey>, out: &mut Vec<Member>, which: impl Fn(&Group) -> bool) {
        let Some(&at) = self.index.get(key) else { return };
        let channel = &mut self.channels[at as usize];
        for group in channel.groups.iter_mut().filter(|g| which(g)) {
            channel.members -= group.members.len() as u32;
            out.append(&mut group.members);
        }
        if channel.members == 0 {
            self.forget(at);
        }
    }

    fn forget(&mut self, at: u32) {
        let channel = self.channels.remove(at as usize);
        self.index.remove(&channel.key);
    }
}

/// One subscription of a session, from the question to the end.
#[derive(Debug)]
pub struct Subscription {
    /// The channel.
    pub key: Arc<ChannelKey>,
    /// How publications reach the session.
    pub form: Form,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The home has not answered yet.
    Asked,
    /// Nobody wants it any more, but the home has not answered yet.
    Abandoned,
    /// Seated.
    Joined { seat: Seat, class: Class, epoch: u64 },
    /// Nothing left to do.
    Over,
}

impl Subscription {
    /// A subscription whose question is on its way to the home.
    pub fn asked(key: Arc<ChannelKey>, form: Form) -> Subscription {
        Subscription { key, form, state: State::Asked }
    }

    /// The home has answered: takes the seat, or undoes the registration when nobody wants it any more.
    /// Returns what to tell the home.
    pub fn answered(
        &mut self,
        answer: Option<&Subscribed>,
        member: Member,
        at: &mut Members,
    ) -> Option<Command> {
        let registered = answer.and_then(|a| a.registered);
        match (self.state, registered) {
            (State::Asked, Some((class, epoch))) => {
                let seat = at.join(&self.key, self.form, class, member);
                // From here on all members share one key.
                self.key = at.channels[seat.channel as usize].key.clone();
                self.state = State::Joined { seat, class, epoch };
                None
            }
            (State::Abandoned, Some((class, epoch))) => {
                self.state = State::Over;
                Some(Command::Unsubscribe { class, epoch })
            }
            _ => {
                self.state = State::Over;
                None
            }
        }
    }

    /// The session leaves. Returns what to tell the home, and the member that moved into the seat.
    pub fn leave(&mut self, at: &mut Members) -> (Option<Command>, Option<(Member, Seat)>) {
        match self.state {
            State::Asked => self.state = State::Abandoned,
            State::Joined { seat, class, epoch } => {
                self.state = State::Over;
                let moved = at.leave(seat).map(|member| (member, seat));
                return (Some(Command::Unsubscribe { class, epoch }), moved);
            }
            State::Abandoned | State::Over => {}
        }
        (None, None)
    }

    /// The home released or ended it; the seat is gone already.
    pub fn ended(&mut self) {
        self.state = State::Over;
    }

    /// Another member left and this one took its seat.
    pub fn moved(&mut self, to: Seat) {
        if let State::Joined { seat, .. } = &mut self.state {
            *seat = to;
        }
    }

    /// Whether the home's answer is still to come.
    pub fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked | State::Abandoned)
    }

    /// Whether it takes deliveries.
    pub fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{KeyHasher, Position};

    fn key(name: &[u8]) -> Arc<ChannelKey> {
        ChannelKey::new(&KeyHasher::new(1), 0, b"", name)
    }

    fn registered(class: Class, epoch: u64) -> Subscribed {
        Subscribed {
            backlog: vec![],
            registered: Some((class, epoch)),
            last: Position::ZERO,
            recovered: true,
            info: Default::default(),
            users: None,
        }
    }

    #[test]
    fn seats_move_when_somebody_leaves() {
        let (mut members, key) = (Members::default(), key(b"a"));
        let seats: Vec<Seat> =
            (0..3).map(|slot| members.join(&key, Form(1), Class::Stream, Member { slot, tag: 0 })).collect();
        assert_eq!(members.leave(seats[0]), Some(Member { slot: 2, tag: 0 }));
        assert_eq!(members.leave(seats[1]), None, "the last one moves nobody");
        assert_eq!(members.groups(&key)[0].members, [Member { slot: 2, tag: 0 }]);
        assert_eq!(members.leave(seats[0]), None);
        assert_eq!(members.channels(), 0);
    }

    #[test]
    fn an_abandoned_question_is_undone_when_answered() {
        let (mut members, key) = (Members::default(), key(b"a"));
        let mut subscription = Subscription::asked(key.clone(), Form(1));
        let (command, moved) = subscription.leave(&mut members);
        assert!(command.is_none() && moved.is_none() && subscription.is_asked());
        let undo = subscription.answered(
            Some(&registered(Class::Stream, 9)),
            Member { slot: 0, tag: 0 },
            &mut members,
        );
        assert!(matches!(undo, Some(Command::Unsubscribe { class: Class::Stream, epoch: 9 })));
        assert!(subscription.is_over() && members.groups(&key).is_empty());
    }

    #[test]
    fn release_takes_polls_only() {
        let (mut members, key) = (Members::default(), key(b"a"));
        members.join(&key, Form(1), Class::Stream, Member { slot: 1, tag: 0 });
        members.join(&key, Form::SESSION, Class::OneShot, Member { slot: 2, tag: 0 });
        let mut taken = vec![];
        members.release(&key, &mut taken);
        assert_eq!(taken, [Member { slot: 2, tag: 0 }]);
        members.end(&key, &mut taken);
        assert_eq!(taken.len(), 2);
        assert_eq!(members.channels(), 0);
    }
}
