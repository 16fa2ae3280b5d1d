//! The Pushi protocol (dialect/pushi). Where one is passed on a WebSocket the connection is closed, which is the only
//! error the protocol has; over HTTP the answer is 400.

use super::channel::HISTORY_MESSAGES;
use super::shard::SUBSCRIPTIONS_PER_SESSION;

/// An app's key, characters: the length at which a path is taken for one.
pub const PUSHI_KEY_CHARS: usize = 64;
/// Name of an app that is made at run time, bytes.
pub const PUSHI_APP_NAME_BYTES: usize = 200;
/// Channel name, bytes.
pub const PUSHI_CHANNEL_BYTES: usize = 512;
/// Event name, bytes.
pub const PUSHI_EVENT_BYTES: usize = 1024;
/// User id, bytes.
pub const PUSHI_USER_BYTES: usize = 256;
/// `channel_data` of a presence subscription with its user id, bytes.
pub const PUSHI_CHANNEL_DATA_BYTES: u32 = 4096;
/// URL, token, mail address or endpoint of a registration, bytes.
pub const PUSHI_SUBJECT_BYTES: usize = 2048;
/// Channels of one publish.
pub const PUSHI_CHANNELS_PER_PUBLISH: usize = 100;
/// Events of one `latest` or `GET /events`, those included that are skipped. Of a larger wish this much counts.
pub const PUSHI_EVENTS_PER_ANSWER: u32 = 1000;
/// Events where nobody says how many: `latest`, `GET /events` and those of a personal channel.
pub const PUSHI_EVENTS_DEFAULT: u32 = 10;

/// Events that a channel keeps.
pub const PUSHI_EVENTS_PER_CHANNEL: u32 = 1000;
/// Events that a user keeps of all channels the user is subscribed to.
pub const PUSHI_EVENTS_PER_USER: u32 = 100;
/// Events that are kept of an app for `GET /events`.
pub const PUSHI_EVENTS_PER_APP: u32 = 1000;
/// A channel without events, subscribers and history is forgotten after so long, milliseconds.
pub const PUSHI_CHANNEL_IDLE_MS: u64 = 5_000;

/// Channels that one user is subscribed to by REST: all of them are one session's on a personal channel.
pub const PUSHI_CHANNELS_PER_USER: usize = 500;
/// Users that are subscribed to one channel by REST: each gets every event of it stored.
pub const PUSHI_USERS_PER_CHANNEL: usize = 10_000;
/// Web hooks, and registrations of each other kind, of one channel.
pub const PUSHI_HOOKS_PER_CHANNEL: usize = 100;
/// URLs that one publish calls.
pub const PUSHI_HOOKS_PER_PUBLISH: usize = 1000;
/// Registrations of all kinds and apps: they are in memory.
pub const PUSHI_REGISTRATIONS: usize = 1_000_000;

/// Sets of session tokens of an app; a token belongs to one of them.
pub const PUSHI_TOKEN_SETS: u32 = 1024;
/// Tokens of a set. The oldest one makes room for another; who had it logs in again.
pub const PUSHI_TOKENS_PER_SET: u32 = 16;
/// A token that nobody uses expires after so long, milliseconds: 31 days.
pub const PUSHI_TOKEN_IDLE_MS: u64 = 31 * 24 * 3_600_000;
/// A token in use is noted again when its last note is older than this, milliseconds.
pub const PUSHI_TOKEN_NOTE_MS: u64 = 3_600_000;
/// A cookie with a token expires after so long, seconds: one year.
pub const PUSHI_COOKIE_S: u64 = 365 * 24 * 3600;

/// Frames of one session that wait for what came before them on the same channel.
pub const PUSHI_FRAMES_WAITING: usize = 1024;
/// Their bytes.
pub const PUSHI_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// Questions of one session (events, `latest`) that homes have not answered yet.
pub const PUSHI_QUESTIONS: usize = 4096;
/// Events that a client is given of those that were published while the node subscribed for it anew, after somebody had
/// deleted the channel.
pub const PUSHI_RENEWED_EVENTS: u32 = 100;
/// A ping is sent when a client was silent for so long, milliseconds: it sends no heartbeats itself.
pub const PUSHI_PING_MS: u64 = 60_000;

const _: () = assert!(PUSHI_CHANNELS_PER_USER < SUBSCRIPTIONS_PER_SESSION);
const _: () = assert!(PUSHI_EVENTS_PER_CHANNEL <= HISTORY_MESSAGES);
const _: () = assert!(PUSHI_USER_BYTES < PUSHI_CHANNEL_DATA_BYTES as usize);
// Two users and the base of a pair's channel, which is a presence channel's.
const _: () = assert!(2 * PUSHI_USER_BYTES <= PUSHI_CHANNEL_BYTES);
const _: () = assert!(PUSHI_CHANNEL_BYTES < u16::MAX as usize);
