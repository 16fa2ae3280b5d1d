//! Channels (channel).

/// Shards of a node: the interest of a channel is one bit per shard.
pub const SHARDS: usize = 64;
/// Bits of a session's name that tell its shard.
pub const SESSION_SHARD_BITS: u32 = 6;
/// Bits of a session's name that tell its slot: connections of one shard.
pub const SESSION_SLOT_BITS: u32 = 26;
/// Channels that one shard may own. More: publish and subscribe are refused with 403.
pub const CHANNELS_PER_SHARD: usize = 1_000_000;
/// Memory of all stored publications that one shard owns, bytes. More: publish is refused with 507.
pub const HISTORY_BYTES_PER_SHARD: usize = 512 * 1024 * 1024;
/// Channels looked at per tick for expired publications and idleness.
pub const SWEEP_CHANNELS_PER_TICK: usize = 2_000;
/// Forms in which a stored publication keeps its frame for replays; further ones are made anew each time.
pub const REPLAY_FORMS: usize = 3;
/// Stored publications per channel that a configuration may ask for.
pub const HISTORY_MESSAGES: u32 = 1_000_000;

/// Users that a channel may have when nothing is said. More: they are refused.
pub const PRESENCE_USERS: u32 = 100_000;
/// Id and info of one user when nothing is said, bytes. More: the user is refused.
pub const PRESENCE_USER_BYTES: u32 = 4096;
/// Memory of all users in all channels that one shard owns, bytes. More: users are refused.
pub const PRESENCE_BYTES_PER_SHARD: usize = 256 * 1024 * 1024;
/// Leaves that are announced in one tick when their grace time is over; the others wait for the next.
pub const PRESENCE_LEAVES_PER_TICK: usize = 2_000;

/// A channel that only pollers listened to counts as occupied until so long after the last poll, milliseconds.
pub const OCCUPANCY_POLL_MS: u64 = 10_000;
/// Up to so many streams each change of their count is told at once (Pusher sheet section 10).
pub const COUNT_AT_ONCE: u32 = 100;
/// With more of them the count is told at most this often, milliseconds.
pub const COUNT_PAUSE_MS: u64 = 5_000;
/// Late counts and vacated channels that are told in one tick; the others wait for the next.
pub const FOLLOWED_PER_TICK: usize = 2_000;

/// A channel group without channels keeps its limits for so long, milliseconds.
pub const GROUP_IDLE_MS: u64 = 3_600_000;

/// Commands of one shard that wait for logs to be read or deleted. More: they are refused with 503.
pub const DURABLE_WAITING_COMMANDS: usize = 16_384;
/// Payload of those commands, bytes. More: they are refused with 503.
pub const DURABLE_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// Bounds of a channel home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeLimits {
    /// See [`CHANNELS_PER_SHARD`].
    pub channels: usize,
    /// See [`HISTORY_BYTES_PER_SHARD`].
    pub history_bytes: usize,
    /// See [`PRESENCE_BYTES_PER_SHARD`].
    pub presence_bytes: usize,
}

impl Default for HomeLimits {
    fn default() -> Self {
        HomeLimits {
            channels: CHANNELS_PER_SHARD,
            history_bytes: HISTORY_BYTES_PER_SHARD,
            presence_bytes: PRESENCE_BYTES_PER_SHARD,
        }
    }
}

const _: () = assert!(SHARDS <= u64::BITS as usize);
const _: () = assert!(SHARDS <= 1 << SESSION_SHARD_BITS && SESSION_SHARD_BITS + SESSION_SLOT_BITS == 32);
const _: () = assert!((PRESENCE_USER_BYTES as usize) < PRESENCE_BYTES_PER_SHARD);
