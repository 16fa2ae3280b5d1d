//! What sessions of a [`World`](super::world::World) are told of the rest of the node: who else is there, and no figures.

use super::world::Connection;
use fanwire::channel::SessionId;
use fanwire::dialect::session::Session;
use fanwire::dialect::{Figures, Sessions};

/// The other sessions of a shard.
pub struct Others<'a> {
    pub shard: usize,
    pub connections: &'a [Connection],
}

impl Sessions for Others<'_> {
    fn session(&self, id: SessionId) -> Option<&Session> {
        let connection =
            self.connections.get(id.slot() as usize).filter(|there| there.shard == self.shard)?;
        connection.session.as_ref().filter(|session| session.id() == Some(id))
    }
}

/// A node that counts nothing.
pub struct Nothing;

impl Figures for Nothing {
    fn published(&self) -> u64 {
        0
    }
    fn stored(&self) -> u64 {
        0
    }
    fn history_bytes(&self) -> u64 {
        0
    }
    fn history_limit_bytes(&self) -> u64 {
        0
    }
    fn channels(&self) -> u64 {
        0
    }
    fn subscribers(&self) -> u64 {
        0
    }
    fn mailed(&self) -> u64 {
        0
    }
    fn mail_waiting(&self) -> u64 {
        0
    }
}
