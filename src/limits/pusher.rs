//! The Pusher protocol (dialect/pusher).

use super::wire::HTTP_BODY_BYTES;

/// Channel name, bytes; all of them are ASCII. The documentation says 164, its libraries allow 200.
pub const PUSHER_CHANNEL_NAME_BYTES: usize = 200;
/// The channel name that a configuration may allow, bytes.
pub const PUSHER_CHANNEL_NAME_BYTES_MAX: usize = 1024;
/// Event name, characters. More is answered with 400, or with an error event.
pub const PUSHER_EVENT_NAME_CHARS: usize = 200;
/// The event name that a configuration may allow, characters.
pub const PUSHER_EVENT_NAME_CHARS_MAX: usize = 256;
/// User id, characters.
pub const PUSHER_USER_ID_CHARS: usize = 128;
/// The object with which a user describes itself (`user_info`), bytes of JSON.
pub const PUSHER_USER_INFO_BYTES: usize = 1024;
/// Users whose presence one signed-in user may watch. Of a longer list only this beginning counts.
pub const PUSHER_WATCHLIST_USERS: usize = 100;
/// The `data` of one event, bytes after decoding. More is answered with 413, or with an error event.
pub const PUSHER_DATA_BYTES: usize = 10 * 1024;
/// The `data` that a configuration may allow, bytes.
pub const PUSHER_DATA_BYTES_MAX: usize = HTTP_BODY_BYTES / PUSHER_ESCAPE_BYTES;
/// Channels of one trigger. More is answered with 400.
pub const PUSHER_CHANNELS_PER_TRIGGER: usize = 100;
/// Events of one batch. More is answered with 400.
pub const PUSHER_BATCH_EVENTS: usize = 10;
/// Channels of one trigger, and events of one batch, that a configuration may allow.
pub const PUSHER_ITEMS_MAX: usize = 10_000;
/// The longest of the protocol's times that a configuration may ask for, seconds.
pub const PUSHER_TIMEOUT_S_MAX: u64 = 86_400;
/// Difference between the time in a signed request and the node's, seconds. More is answered with 401.
pub const PUSHER_TIMESTAMP_TOLERANCE_S: u64 = 600;
/// The `auth` of a subscription or sign-in, bytes: a key, a colon and 64 hex digits.
pub const PUSHER_AUTH_BYTES: usize = 512;
/// A client that has heard nothing for so long asks whether the node is there, seconds (pusher.md section 3).
pub const PUSHER_ACTIVITY_TIMEOUT_S: u32 = 120;
/// Time for the answer when the node asks a client whether it is there, milliseconds.
pub const PUSHER_PONG_TIMEOUT_MS: u64 = 30_000;
/// The node asks after one and a half times the activity timeout and this much, milliseconds: later than a client that
/// is well has asked by itself.
pub const PUSHER_ROUND_TRIP_MS: u64 = 10_000;
/// A list of members up to this length is kept with its frame until the next one is told, bytes; one per shard.
pub const PUSHER_LIST_KEEP_BYTES: usize = 1024 * 1024;
/// Channels of an app that the list of occupied channels tells of, per shard.
pub const PUSHER_CHANNELS_LISTED: usize = 100_000;
/// Time after which a request refused for its rate, or because the node is busy, may come again, seconds.
pub const PUSHER_RETRY_AFTER_S: u64 = 1;
/// Times that a client may ask once more for a channel, or say once more who it is, before it was answered.
pub const PUSHER_REPEATS_WAITING: u8 = 16;
/// Events that a client is given of those that were published while the node subscribed for it anew, after somebody had
/// deleted the channel.
pub const PUSHER_RENEWED_EVENTS: u32 = 100;
/// What JSON makes of one byte at worst (`\u0000`), bytes.
pub const PUSHER_ESCAPE_BYTES: usize = 6;
/// A client frame without its `data`: names, auth and punctuation, bytes.
pub const PUSHER_FRAME_OVERHEAD_BYTES: usize = 8 * 1024;

/// Bounds of the Pusher dialect that a configuration may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PusherLimits {
    /// See [`PUSHER_CHANNEL_NAME_BYTES`].
    pub channel_name_bytes: usize,
    /// See [`PUSHER_EVENT_NAME_CHARS`].
    pub event_name_chars: usize,
    /// See [`PUSHER_DATA_BYTES`]; at most [`PUSHER_DATA_BYTES_MAX`].
    pub data_bytes: usize,
    /// See [`PUSHER_CHANNELS_PER_TRIGGER`].
    pub channels_per_trigger: usize,
    /// See [`PUSHER_BATCH_EVENTS`].
    pub batch_events: usize,
    /// See [`PUSHER_TIMESTAMP_TOLERANCE_S`].
    pub timestamp_tolerance_s: u64,
}

impl PusherLimits {
    /// A client frame, bytes: its data with every byte escaped, and the rest.
    pub fn frame_bytes(&self) -> usize {
        self.data_bytes.saturating_mul(PUSHER_ESCAPE_BYTES).saturating_add(PUSHER_FRAME_OVERHEAD_BYTES)
    }
}

impl Default for PusherLimits {
    fn default() -> Self {
        PusherLimits {
            channel_name_bytes: PUSHER_CHANNEL_NAME_BYTES,
            event_name_chars: PUSHER_EVENT_NAME_CHARS,
            data_bytes: PUSHER_DATA_BYTES,
            channels_per_trigger: PUSHER_CHANNELS_PER_TRIGGER,
            batch_events: PUSHER_BATCH_EVENTS,
            timestamp_tolerance_s: PUSHER_TIMESTAMP_TOLERANCE_S,
        }
    }
}

const _: () = assert!(PUSHER_DATA_BYTES <= PUSHER_DATA_BYTES_MAX);
const _: () = assert!(PUSHER_CHANNEL_NAME_BYTES <= PUSHER_CHANNEL_NAME_BYTES_MAX);
const _: () = assert!(PUSHER_EVENT_NAME_CHARS <= PUSHER_EVENT_NAME_CHARS_MAX);
const _: () =
    assert!(PUSHER_CHANNELS_PER_TRIGGER <= PUSHER_ITEMS_MAX && PUSHER_BATCH_EVENTS <= PUSHER_ITEMS_MAX);
// An event's name may come as two escapes a character.
const _: () = assert!(
    PUSHER_AUTH_BYTES
        + 3 * PUSHER_CHANNEL_NAME_BYTES_MAX
        + 2 * PUSHER_ESCAPE_BYTES * PUSHER_EVENT_NAME_CHARS_MAX
        < PUSHER_FRAME_OVERHEAD_BYTES
);
// A description of a user is inside `channel_data`, which is a string: escaped once.
const _: () = assert!(PUSHER_USER_INFO_BYTES < PUSHER_DATA_BYTES);
