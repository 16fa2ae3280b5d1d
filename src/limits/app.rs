//! Apps (dialect/app): defaults of what a configuration may set for each.

/// Events of one client in a second (pusher.md section 9).
pub const APP_CLIENT_EVENTS_PER_S: u32 = 10;
/// Users of one presence channel (pusher.md section 7).
pub const APP_PRESENCE_USERS: u32 = 100;
/// Events that a channel keeps for clients that poll.
pub const APP_HISTORY_MESSAGES: u32 = 20;
/// How long it keeps them, milliseconds.
pub const APP_HISTORY_MS: u64 = 60_000;
/// How long a cache channel keeps its last event, milliseconds (pusher.md section 10).
pub const APP_CACHE_MS: u64 = 1_800_000;
/// A channel that nobody uses is forgotten after so long, milliseconds.
pub const APP_CHANNEL_TIMEOUT_MS: u64 = 5_000;
/// Id and key, bytes each; all of them are ASCII.
pub const APP_ID_BYTES: usize = 128;
/// Secret, bytes.
pub const APP_SECRET_BYTES: usize = 256;
