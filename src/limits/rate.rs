//! How much one connection may send (shard/inflow), and how much of what is refused is logged (shard/refusals).

/// Messages and requests that one connection may send in a second; 0 = any number. Off, like those of the servers that
/// this node stands beside: only who runs the node knows what its clients send.
pub const MESSAGES_IN_PER_S: usize = 0;
/// Bytes that one connection may send in a second; 0 = any number. Off for the same reason.
pub const BYTES_IN_PER_S: usize = 0;
/// What may come at once after a silence, as the time in which it may come regularly, milliseconds.
pub const RATE_BURST_MS: u64 = 2_000;
/// A connection that sends on while it is over its bytes owes at most this much time on top, milliseconds: silent for
/// so long it is taken from again.
pub const RATE_DEBT_MS: u64 = 1_000;
/// Time after which a request refused for its rate may come again, seconds: a debt is paid by then.
pub const RATE_RETRY_AFTER_S: u64 = 1;
/// Log lines of one shard about refusals for one reason, per [`REFUSALS_LOGGED_MS`]. The others are counted, and one line
/// says how many they were.
pub const REFUSALS_LOGGED: u32 = 10;
/// See [`REFUSALS_LOGGED`], milliseconds.
pub const REFUSALS_LOGGED_MS: u64 = 1_000;

/// Bounds of what one connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// See [`MESSAGES_IN_PER_S`].
    pub messages_per_s: usize,
    /// See [`BYTES_IN_PER_S`].
    pub bytes_per_s: usize,
    /// See [`RATE_BURST_MS`].
    pub burst_ms: u64,
    /// Listeners from this number on are internal: who comes in there is not limited.
    pub public_listeners: u16,
}

impl Default for RateLimits {
    fn default() -> Self {
        RateLimits {
            messages_per_s: MESSAGES_IN_PER_S,
            bytes_per_s: BYTES_IN_PER_S,
            burst_ms: RATE_BURST_MS,
            public_listeners: u16::MAX,
        }
    }
}

const _: () = assert!(RATE_DEBT_MS <= RATE_RETRY_AFTER_S * 1_000);
const _: () = assert!(REFUSALS_LOGGED > 0);
