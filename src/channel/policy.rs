//! How a channel behaves: set by the location that publishes to it last.

use crate::limits::{PRESENCE_USER_BYTES, PRESENCE_USERS};

/// Storage rules of a channel (http-push-relay sheet section 4, nchan sheet section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many publications are kept; 0 keeps none (delivery to those present only).
    pub max_messages: u32,
    /// So many are kept even when expired.
    pub min_messages: u32,
    /// A publication expires after so long, milliseconds; 0 = never.
    pub message_timeout_ms: u64,
    /// A channel without publications and subscribers is dropped after so long, milliseconds.
    pub channel_timeout_ms: u64,
    /// The newest so many bytes are kept, and the newest publication in any case: memory as it is charged, and on disk
    /// what is written; `u64::MAX` = any number.
    pub max_bytes: u64,
    /// Publications are in the store before anybody sees them, and are there again when the node is; not if
    /// `max_messages` is 0. A channel that is durable stays so until it is gone.
    pub durable: bool,
    /// The oldest publication goes as soon as any subscriber got it, while more than `min_messages` are stored.
    pub delete_oldest_received: bool,
    /// Limits of the channel's group; `None` leaves them as they are.
    pub group_limits: Option<GroupLimits>,
    /// Limits of the channel's users; those of who joins count.
    pub presence: PresenceLimits,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            max_messages: 100,
            min_messages: 0,
            message_timeout_ms: 3_600_000,
            channel_timeout_ms: 5_000,
            max_bytes: u64::MAX,
            durable: false,
            delete_oldest_received: false,
            group_limits: None,
            presence: PresenceLimits::default(),
        }
    }
}

/// Limits and ways of a channel's users ([`crate::channel::presence`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceLimits {
    /// Users at once, those included whose leave is still to be announced; 0 = any number.
    pub users: u32,
    /// Id and info of one user, bytes; 0 = any number.
    pub user_bytes: u32,
    /// A leave is announced after so long, milliseconds, and not at all when the user is back by then; 0 = at once.
    pub leave_grace_ms: u32,
    /// Announcements carry the list of users as it is afterwards.
    pub announce_lists: bool,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        PresenceLimits {
            users: PRESENCE_USERS,
            user_bytes: PRESENCE_USER_BYTES,
            leave_grace_ms: 0,
            announce_lists: false,
        }
    }
}

/// What an app wants of its channels at each home ([`crate::channel::core::Home::set_app`]); all off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppWays {
    /// [`Announcement::Occupied`](crate::channel::Announcement::Occupied) and `Vacated` are announced.
    pub occupancy: bool,
    /// [`Announcement::Count`](crate::channel::Announcement::Count) is announced, on channels without users.
    pub counts: bool,
    /// Channels that the app may have on one shard; 0 = any number. More: they are refused.
    pub channels: u32,
}

/// Limits of a channel group, 0 = unlimited (nchan sheet section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Channels at once.
    pub channels: u64,
    /// Subscribers at once, over all channels.
    pub subscribers: u64,
    /// Stored publications, over all channels.
    pub messages: u64,
    /// Memory of the stored publications, bytes.
    pub memory_bytes: u64,
}

/// Who may wait on a channel at the same time (http-push-relay sheet section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// Any number.
    #[default]
    Broadcast,
    /// One: a newcomer is refused while somebody waits.
    First,
    /// One: a newcomer ends those who wait.
    Last,
}
