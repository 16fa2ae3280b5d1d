//! The connections of a [`World`](super::world::World).

use fanwire::channel::members::Subscription;
use fanwire::dialect::session::Session;
use std::collections::VecDeque;

/// One connection.
#[derive(Default)]
pub struct Connection {
    pub shard: usize,
    pub(super) session: Option<Session>,
    pub(super) exchange: u16,
    pub(super) subs: Vec<(u32, Subscription)>,
    /// What was put on its wire and not looked at yet.
    pub(super) out: VecDeque<Vec<u8>>,
    /// How the last exchange ended.
    pub end: Option<End>,
    /// As the session asked, monotonic milliseconds.
    pub deadline: u64,
    /// It was made a WebSocket.
    pub upgraded: bool,
    /// When a ping or pong of RFC 6455 came last, monotonic milliseconds.
    pub heard_ms: u64,
    /// As the client was told.
    pub socket_id: String,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection goes on.
    Done,
    /// Closed by the node.
    Close,
    /// With this close frame.
    WebSocket(u16, &'static str),
    /// The peer is gone.
    HungUp,
}

impl Connection {
    /// Its session.
    #[allow(dead_code)] // not every target looks at it
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether its session goes on.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Whether nothing came since the last look.
    pub fn is_quiet(&self) -> bool {
        self.out.is_empty()
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.end.is_none() {
            self.out.push_back(bytes.to_vec());
        }
    }
}
