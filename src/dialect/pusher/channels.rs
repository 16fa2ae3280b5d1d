//! The subscriptions of one client.

use crate::channel::ChannelKey;
use crate::limits::SUBSCRIPTIONS_PER_SESSION;
use bytes::Bytes;
use std::sync::Arc;

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
    /// As whom, on presence channels.
    pub user_id: Option<Bytes>,
    /// The client asks for it once more although it has it: the users are on their way.
    pub again: Option<u16>,
}

/// All subscriptions of one client.
#[derive(Debug, Default)]
pub struct Channels {
    list: Vec<Subscription>,
    next_tag: u16,
}

impl Channels {
    /// The subscription to the channel of this name that the client has asked for.
    pub fn find(&mut self, name: &str) -> Option<&mut Subscription> {
        let name = name.as_bytes();
        self.list.iter_mut().find(|sub| sub.role == Role::Channel && sub.key.name() == name)
    }

    /// The subscription with this tag.
    pub fn tagged(&mut self, tag: u16) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|sub| sub.tag == tag)
    }

    /// The one that was asked for once more under this tag.
    pub fn asked_again(&mut self, tag: u16) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|sub| sub.again == Some(tag))
    }

    /// A tag that nothing has.
    pub fn tag(&mut self) -> u16 {
        loop {
            self.next_tag = self.next_tag.wrapping_add(1);
            let tag = self.next_tag;
            if !self.list.iter().any(|sub| sub.tag == tag || sub.again == Some(tag)) {
                return tag;
            }
        }
    }

    /// Whether there are as many as there may be.
    pub fn is_full(&self) -> bool {
        self.list.len() >= SUBSCRIPTIONS_PER_SESSION
    }

    /// Adds one and returns its tag.
    pub fn add(&mut self, key: Arc<ChannelKey>, role: Role, user_id: Option<Bytes>) -> u16 {
        let tag = self.tag();
        if self.list.is_empty() {
            self.list.reserve_exact(1); // most clients have one or two
        }
        self.list.push(Subscription { key, tag, role, stands: false, user_id, again: None });
        tag
    }

    /// Forgets the one with this tag.
    pub fn remove(&mut self, tag: u16) -> Option<Subscription> {
        let at = self.list.iter().position(|sub| sub.tag == tag)?;
        Some(self.list.swap_remove(at))
    }

    /// Forgets all that the client has not asked for, and tells their tags.
    pub fn remove_hidden(&mut self) -> Vec<u16> {
        let hidden = |sub: &Subscription| sub.role != Role::Channel;
        let tags = self.list.iter().filter(|sub| hidden(sub)).map(|sub| sub.tag).collect();
        self.list.retain(|sub| !hidden(sub));
        tags
    }
}
