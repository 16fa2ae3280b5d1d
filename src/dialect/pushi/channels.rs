//! The subscriptions of one client, and what it has asked beside.

use super::frame::Member;
use crate::channel::{ChannelKey, Position};
use crate::limits::SUBSCRIPTIONS_PER_SESSION;
use std::sync::Arc;

/// Why a subscription is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The client asked for it.
    Asked,
    /// The personal channel with this tag stands for it.
    Alias(u16),
    /// It is a channel with somebody else in the presence channel with this tag.
    Pair(u16),
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    /// To what.
    pub key: Arc<ChannelKey>,
    /// The session's name for it.
    pub tag: u16,
    /// Why.
    pub role: Role,
    /// From where on it gets publications; none while the home has not answered.
    pub from: Option<Position>,
    /// As whom, on presence channels.
    pub member: Option<Member>,
    /// It was deleted under the client, which need not know.
    pub renewed: bool,
}

impl Subscription {
    /// The channel's name; those of this dialect are text.
    pub fn name(&self) -> &str {
        std::str::from_utf8(self.key.name()).unwrap_or_default()
    }
}

/// All subscriptions of one client.
#[derive(Debug, Default)]
pub struct Channels(Vec<Subscription>);

impl Channels {
    /// The subscription to the channel of this name.
    pub fn find(&self, name: &str) -> Option<&Subscription> {
        self.0.iter().find(|sub| sub.key.name() == name.as_bytes())
    }

    /// The subscription to this channel.
    pub fn of(&self, key: &ChannelKey) -> Option<&Subscription> {
        self.0.iter().find(|sub| *sub.key == *key)
    }

    /// The subscription with this tag.
    pub fn tagged(&mut self, tag: u16) -> Option<&mut Subscription> {
        self.0.iter_mut().find(|sub| sub.tag == tag)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.0.iter()
    }

    /// Whether there are as many as there may be. A place is left for what is asked once (`latest`).
    pub fn is_full(&self) -> bool {
        self.0.len() + 1 >= SUBSCRIPTIONS_PER_SESSION
    }

    /// Adds one.
    pub fn add(&mut self, subscription: Subscription) {
        if self.0.is_empty() {
            self.0.reserve_exact(1); // most clients have one or two
        }
        self.0.push(subscription);
    }

    /// Forgets the one with this tag.
    pub fn remove(&mut self, tag: u16) -> Option<Subscription> {
        let at = self.0.iter().position(|sub| sub.tag == tag)?;
        Some(self.0.remove(at))
    }

    /// Tags of the channels with others that belong to the presence channel `tag`.
    pub fn pairs_of(&self, tag: u16) -> Vec<u16> {
        self.0.iter().filter(|sub| sub.role == Role::Pair(tag)).map(|sub| sub.tag).collect()
    }
}
