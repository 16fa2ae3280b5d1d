//! What a channel *is*: its name, positions, publications, history, subscribers and groups. Commands go in,
//! effects come out; nothing here does I/O or reads a clock.
//!
//! Every channel has one *home* shard, and only its home ([`core::Home`]) changes it (design R4). The other
//! shards keep [`members`]: who, on this shard, listens to what.

pub mod command;
pub mod core;
pub mod group;
pub mod history;
pub mod hook;
pub mod key;
pub mod log;
pub mod members;
pub mod notice;
pub mod policy;
pub mod position;
pub mod presence;
pub mod publication;
pub mod record;
pub mod roster;
pub mod session_id;
pub mod store;

pub use command::{Answer, Class, Command, Effect, Ended, List, Refusal, ReplyTo, Start, Token};
pub use key::{ChannelKey, HIDDEN_APP, KeyCache, KeyHasher};
pub use notice::{Notice, NoticeKind, NoticeKinds};
pub use policy::{AppWays, Concurrency, GroupLimits, Policy, PresenceLimits};
pub use position::Position;
pub use presence::{Announcement, User};
pub use publication::{Message, Origin, Publication};
pub use roster::Roster;
pub use session_id::SessionId;

/// The time of one loop turn, handed down to everything that needs to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time, nanoseconds since an arbitrary start.
    pub mono_ns: u64,
    /// Wall clock, milliseconds since 1970.
    pub unix_ms: u64,
}

impl Now {
    /// Monotonic milliseconds.
    pub fn mono_ms(&self) -> u64 {
        self.mono_ns / 1_000_000
    }

    /// Wall clock in whole seconds since 1970.
    pub fn unix_s(&self) -> u64 {
        self.unix_ms / 1000
    }
}
