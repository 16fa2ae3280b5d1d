//! The subscriptions of one client.

use crate::channel::ChannelKey;
use crate::limits::SUBSCRIPTIONS_PER_SESSION;
use bytes::Bytes;
use std::sync::Arc;

/// The tag of everything a client sends to a channel: of those answers only a refusal means anything, and the same
/// for all.
pub const EVENT_TAG: u16 = 0;

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The client asked for it.
    Channel,
    /// What the back end says to the user (`#server-to-user-ID`).
    Inbox,
    /// That the user is online (`#user-ID`).
    Online,
    /// Whether somebody else is online.
    Watch,
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    /// To what.
    pub key: Arc<ChannelKey>,
    /// The session's name for it.
    pub tag: u16,
    /// What it is for.
    pub role: Role,
    /// The home has said yes.
    pub stands: bool,
    /// The client has been told that it stands. Stays when the session has to subscribe anew for it.
    pub told: bool,
    /// The client has left, and goes as soon as it was told what is owed.
    pub left: bool,
    /// How often the client is still to be told that it stands: once for each time it has asked.
    pub owed: u8,
    /// As whom, on presence channels.
    pub user_id: Option<Bytes>,
    /// The client asks for it once more although it has it: the users are on their way, under this tag.
    pub users: Option<u16>,
}

/// All subscriptions of one client.
#[derive(Debug, Default)]
pub struct Channels {
    list: Vec<Subscription>,
    /// Tags of those that were given up before their homes had answered: not to be given to others until then.
    given_up: Vec<u16>,
    last_tag: u16,
}

impl Channels {
    /// The subscription to the channel of this name that the client has asked for and not left.
    pub fn find(&mut self, name: &str) -> Option<&mut Subscription> {
        let name = name.as_bytes();
        self.list.iter_mut().find(|sub| sub.role == Role::Channel && !sub.left && sub.key.name() == name)
    }

    /// The subscription with this tag.
    pub fn tagged(&mut self, tag: u16) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|sub| sub.tag == tag)
    }

    /// The one whose users were asked for under this tag.
    pub fn asked_for_users(&mut self, tag: u16) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|sub| sub.users == Some(tag))
    }

    /// A tag that nothing has.
    pub fn tag(&mut self) -> u16 {
        loop {
            self.last_tag = self.last_tag.wrapping_add(1);
            let tag = self.last_tag;
            let taken = self.list.iter().any(|sub| sub.tag == tag || sub.users == Some(tag));
            if tag != EVENT_TAG && !taken && !self.given_up.contains(&tag) {
                return tag;
            }
        }
    }

    /// How many more there may be.
    pub fn room(&self) -> usize {
        SUBSCRIPTIONS_PER_SESSION.saturating_sub(self.list.len() + self.given_up.len())
    }

    /// Adds one that owes the client an answer, and returns its tag.
    pub fn add(&mut self, key: Arc<ChannelKey>, role: Role, user_id: Option<Bytes>) -> u16 {
        let tag = self.tag();
        if self.list.is_empty() {
            self.list.reserve_exact(1); // most clients have one or two
        }
        let new = Subscription {
            key,
            tag,
            role,
            stands: false,
            told: false,
            left: false,
            owed: 1,
            user_id,
            users: None,
        };
        self.list.push(new);
        tag
    }

    /// Forgets the one with this tag, of which its home has said all.
    pub fn remove(&mut self, tag: u16) -> Option<Subscription> {
        let at = self.list.iter().position(|sub| sub.tag == tag)?;
        Some(self.list.swap_remove(at))
    }

    /// Forgets the one with this tag, which the shard is told to leave.
    pub fn give_up(&mut self, tag: u16) {
        if self.remove(tag).is_some_and(|subscription| !subscription.stands) {
            self.given_up.push(tag);
        }
    }

    /// Forgets all that the client has not asked for, and tells their tags.
    pub fn remove_hidden(&mut self) -> Vec<u16> {
        let hidden = |sub: &Subscription| sub.role != Role::Channel;
        let tags = self.list.iter().filter(|sub| hidden(sub)).map(|sub| sub.tag).collect();
        let waiting = self.list.iter().filter(|sub| hidden(sub) && !sub.stands).map(|sub| sub.tag);
        self.given_up.extend(waiting);
        self.list.retain(|sub| !hidden(sub));
        tags
    }

    /// A home has answered: whether it was about one that was given up, whose tag is free from then on.
    pub fn was_given_up(&mut self, tag: u16) -> bool {
        let at = self.given_up.iter().position(|given_up| *given_up == tag);
        at.map(|at| self.given_up.swap_remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::KeyHasher;

    fn key(name: &str) -> Arc<ChannelKey> {
        ChannelKey::new(&KeyHasher::new(1), 0, b"", name.as_bytes())
    }

    #[test]
    fn tags_are_not_given_again_before_the_answer() {
        let mut channels = Channels::default();
        let kept = channels.add(key("a"), Role::Channel, None);
        let hidden = channels.add(key("#b"), Role::Watch, None);
        let answered = channels.add(key("#c"), Role::Watch, None);
        channels.tagged(answered).unwrap().stands = true;
        let asked = channels.tag();
        channels.tagged(kept).unwrap().users = Some(asked);
        let room = channels.room();
        assert_eq!(channels.remove_hidden(), [hidden, answered]);
        assert_eq!(channels.room(), room + 1, "one is still to be answered");
        let all: std::collections::HashSet<u16> = (0..u16::MAX - 3).map(|_| channels.tag()).collect();
        assert_eq!(all.len(), usize::from(u16::MAX) - 3, "none twice in a round");
        assert!([EVENT_TAG, kept, hidden, asked].iter().all(|tag| !all.contains(tag)));
        assert!(channels.was_given_up(hidden) && !channels.was_given_up(hidden));
        assert_eq!(channels.room(), room + 2);
        assert!((0..=u16::MAX).any(|_| channels.tag() == hidden));
    }

    #[test]
    fn one_that_was_left_is_not_found() {
        let mut channels = Channels::default();
        let first = channels.add(key("a"), Role::Channel, None);
        channels.add(key("b"), Role::Inbox, None);
        channels.tagged(first).unwrap().left = true;
        assert!(channels.find("a").is_none() && channels.find("b").is_none());
        let second = channels.add(key("a"), Role::Channel, None);
        assert_eq!(channels.find("a").unwrap().tag, second);
        assert_eq!(channels.remove(first).unwrap().tag, first);
        assert!(channels.remove(first).is_none());
    }
}
