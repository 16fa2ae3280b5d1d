//! Relay locations (dialect/relay/settings).

/// Numbers of stores stand above this, those of apps below.
pub const RELAY_STORES: u32 = 1 << 31;
/// Stored messages per channel when a location says nothing.
pub const RELAY_BUFFER_MESSAGES: u32 = 100;
/// Stored messages per channel that a location may ask for.
pub const RELAY_BUFFER_MESSAGES_MAX: u32 = 1_000_000;
/// Age at which a stored message goes when a location says nothing, milliseconds.
pub const RELAY_MESSAGE_TIMEOUT_MS: u64 = 3_600_000;
/// Time for which an empty, unused channel is remembered, milliseconds.
pub const RELAY_CHANNEL_TIMEOUT_MS: u64 = 5_000;
/// From this length on the payload of a poll's answer is sent from where it is stored, not copied, bytes.
pub const RELAY_SHARED_PAYLOAD_BYTES: usize = 16 * 1024;
/// Longest channel id when a location says nothing, bytes.
pub const RELAY_CHANNEL_ID_BYTES: usize = 1024;
/// Longest channel id that a location may allow, bytes.
pub const RELAY_CHANNEL_ID_BYTES_MAX: usize = 4096;
/// Channels of one subscription or publish, after splitting.
pub const RELAY_CHANNELS_PER_REQUEST: usize = 255;
/// Time between WebSocket pings when a location says nothing, milliseconds.
pub const RELAY_WEBSOCKET_PING_INTERVAL_MS: u64 = 25_000;
/// A poll is held at most so long whatever its location says, milliseconds: one whose client is gone without a word
/// ends some time.
pub const RELAY_POLL_HOLD_MS: u64 = 3_600_000;
/// Locations of one node: each request tries them in order.
pub const RELAY_LOCATIONS: usize = 1024;
/// Compiled size of a location's regular expression, bytes.
pub const RELAY_PATTERN_BYTES: usize = 1024 * 1024;
/// Event streams that end because the node stops tell their clients to come back after this time to twice this time,
/// milliseconds.
pub const RELAY_RETRY_STOP_MS: u64 = 1_500;
/// The same where a new process listens already: streams end one after the other then, milliseconds.
pub const RELAY_RETRY_UPGRADE_MS: u64 = 250;

const _: () = assert!(RELAY_BUFFER_MESSAGES <= RELAY_BUFFER_MESSAGES_MAX);
const _: () = assert!(RELAY_CHANNEL_ID_BYTES <= RELAY_CHANNEL_ID_BYTES_MAX);
