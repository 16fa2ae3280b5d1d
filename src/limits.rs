//! Every bound of the node in one place: the unit is in the name, the value is the default, and what has to
//! hold between bounds is checked at compile time. A layer takes its bounds as a struct, so that configuration
//! can change them and a test can make them small.

// ---- HTTP (wire/http) ----

/// Request line and headers together, bytes. More is answered with 431.
pub const HTTP_HEAD_BYTES: usize = 16 * 1024;
/// Request target, bytes. More is answered with 414.
pub const HTTP_TARGET_BYTES: usize = 8 * 1024;
/// Header lines of a request. More is answered with 431.
pub const HTTP_HEADERS: usize = 64;
/// Request body after chunked decoding, bytes. More is answered with 413.
pub const HTTP_BODY_BYTES: usize = 2 * 1024 * 1024;
/// One chunk-size line with its extensions, bytes. More is answered with 400.
pub const HTTP_CHUNK_LINE_BYTES: usize = 256;
/// Chunk extensions of one body together, bytes. More is answered with 400: extensions are dropped unread.
pub const HTTP_CHUNK_EXTENSION_BYTES: usize = 16 * 1024;
/// Trailer section of one chunked body, bytes. More is answered with 431: trailers are dropped.
pub const HTTP_TRAILER_BYTES: usize = 4 * 1024;
/// Empty lines accepted in front of a request line (RFC 9112 section 2.2). More is answered with 400.
pub const HTTP_BLANK_LINES: usize = 4;
/// Bytes that may wait behind a request that is still being answered (pipelining). Reading stops above it.
pub const HTTP_PIPELINE_BYTES: usize = 64 * 1024;

/// Bounds of the HTTP/1.1 request reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// See [`HTTP_HEAD_BYTES`]; at most 65535, a larger value counts as that.
    pub head_bytes: usize,
    /// See [`HTTP_TARGET_BYTES`].
    pub target_bytes: usize,
    /// See [`HTTP_HEADERS`]; at most that constant.
    pub headers: usize,
    /// See [`HTTP_BODY_BYTES`].
    pub body_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            head_bytes: HTTP_HEAD_BYTES,
            target_bytes: HTTP_TARGET_BYTES,
            headers: HTTP_HEADERS,
            body_bytes: HTTP_BODY_BYTES,
        }
    }
}

// ---- WebSocket (wire/ws) ----

/// One message after reassembly and inflation, bytes. More closes with 1009.
pub const WS_MESSAGE_BYTES: usize = 2 * 1024 * 1024;
/// Frames of one fragmented message. More closes with 1008: tiny fragments are an attack on CPU.
pub const WS_FRAGMENTS: usize = 131_072;
/// Payload of a control frame, bytes (RFC 6455 section 5.5).
pub const WS_CONTROL_BYTES: usize = 125;
/// Reason in a close frame, bytes: a control frame without the code. Longer ones are cut.
pub const WS_CLOSE_REASON_BYTES: usize = WS_CONTROL_BYTES - 2;
/// Output buffer that an inflater shared by many connections keeps between messages, bytes.
pub const WS_INFLATE_KEEP_BYTES: usize = 64 * 1024;
/// Messages shorter than this are not worth deflating, bytes.
pub const WS_DEFLATE_MIN_BYTES: usize = 64;

/// Bounds of the WebSocket message reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WsLimits {
    /// See [`WS_MESSAGE_BYTES`].
    pub message_bytes: usize,
    /// See [`WS_FRAGMENTS`].
    pub fragments: usize,
}

impl WsLimits {
    /// A message while it is still deflated, bytes. What cannot be compressed grows: by an eighth with an encoder
    /// that only knows the fixed Huffman code, where the longest literals have nine bits.
    pub fn deflated_bytes(&self) -> usize {
        self.message_bytes.saturating_add(self.message_bytes / 8).saturating_add(64)
    }
}

impl Default for WsLimits {
    fn default() -> Self {
        WsLimits { message_bytes: WS_MESSAGE_BYTES, fragments: WS_FRAGMENTS }
    }
}

// ---- JSON (wire/json) ----

/// Arrays and objects within each other in JSON that is read. More is an error.
pub const JSON_DEPTH: usize = 128;
/// Memory that a JSON reader keeps for the next document, as the length of a document, bytes.
pub const JSON_KEEP_BYTES: usize = 64 * 1024;

// ---- relay locations (dialect/relay/settings) ----

/// Stored messages per channel when a location says nothing.
pub const RELAY_BUFFER_MESSAGES: u32 = 100;
/// Stored messages per channel that a location may ask for.
pub const RELAY_BUFFER_MESSAGES_MAX: u32 = 1_000_000;
/// Age at which a stored message goes when a location says nothing, milliseconds.
pub const RELAY_MESSAGE_TIMEOUT_MS: u64 = 3_600_000;
/// Time for which an empty, unused channel is remembered, milliseconds.
pub const RELAY_CHANNEL_TIMEOUT_MS: u64 = 5_000;
/// Longest channel id when a location says nothing, bytes.
pub const RELAY_CHANNEL_ID_BYTES: usize = 1024;
/// Longest channel id that a location may allow, bytes.
pub const RELAY_CHANNEL_ID_BYTES_MAX: usize = 4096;
/// Channels of one subscription or publish, after splitting.
pub const RELAY_CHANNELS_PER_REQUEST: usize = 255;
/// Time between WebSocket pings when a location says nothing, milliseconds.
pub const RELAY_WEBSOCKET_PING_INTERVAL_MS: u64 = 25_000;
/// Locations of one node: each request tries them in order.
pub const RELAY_LOCATIONS: usize = 1024;
/// Compiled size of a location's regular expression, bytes.
pub const RELAY_PATTERN_BYTES: usize = 1024 * 1024;

// ---- pusher (dialect/pusher) ----

/// Channel name, bytes; all of them are ASCII. The documentation says 164, its libraries allow 200.
pub const PUSHER_CHANNEL_NAME_BYTES: usize = 200;
/// Event name, characters. More is answered with 400, or with an error event.
pub const PUSHER_EVENT_NAME_CHARS: usize = 200;
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
/// Difference between the time in a signed request and the node's, seconds. More is answered with 401.
pub const PUSHER_TIMESTAMP_TOLERANCE_S: u64 = 600;
/// The `auth` of a subscription or sign-in, bytes: a key, a colon and 64 hex digits.
pub const PUSHER_AUTH_BYTES: usize = 512;
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
const _: () = assert!(PUSHER_AUTH_BYTES + 3 * PUSHER_CHANNEL_NAME_BYTES < PUSHER_FRAME_OVERHEAD_BYTES);
// A description of a user is inside `channel_data`, which is a string: escaped once.
const _: () = assert!(PUSHER_USER_INFO_BYTES < PUSHER_DATA_BYTES);

// ---- node (configuration defaults) ----

/// Configuration file, bytes.
pub const NODE_CONFIG_BYTES: usize = 4 * 1024 * 1024;
/// Mistakes in configuration that are told at once.
pub const NODE_CONFIG_MISTAKES: usize = 100;
/// Largest value of a duration in configuration, milliseconds (a year of 366 days).
pub const NODE_DURATION_MS_MAX: u64 = 366 * 24 * 3_600_000;
/// Largest value of a size in configuration, bytes.
pub const NODE_SIZE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Largest value of a count in configuration.
pub const NODE_COUNT_MAX: usize = 1_000_000_000;
/// Shards of a node: a channel's home keeps the shards that have members as bits of one word.
pub const NODE_SHARDS_MAX: usize = 64;
/// Listeners of a node, internal ones included.
pub const NODE_LISTENERS: usize = 64;
/// Path of a unix socket, bytes (`sun_path` without its final zero).
pub const NODE_UNIX_PATH_BYTES: usize = 107;
/// Apps of a configuration file.
pub const NODE_APPS: usize = 4096;
/// Time that connections get to leave when the node stops, milliseconds.
pub const NODE_DRAIN_MS: u64 = 5_000;
/// Connections of the whole node.
pub const NODE_CONNECTIONS: usize = 1_000_000;
/// Connections from one address, 0 for no limit: a proxy in front is one address.
pub const NODE_CONNECTIONS_PER_ADDRESS: usize = 0;
/// Bytes that may wait for one connection.
pub const NODE_OUTBOX_BYTES: usize = 4 * 1024 * 1024;
/// Messages that may wait for one connection.
pub const NODE_OUTBOX_MESSAGES: usize = 16_384;
/// Channels of the whole node.
pub const NODE_CHANNELS: usize = 1_000_000;
/// Messages that may wait in the mailbox of one shard.
pub const NODE_MAILBOX_MESSAGES: usize = 16 * 1024;
/// Time for a request's head to arrive, milliseconds.
pub const NODE_HEADER_TIMEOUT_MS: u64 = 10_000;
/// Time for a request's body to arrive, milliseconds.
pub const NODE_BODY_TIMEOUT_MS: u64 = 30_000;
/// Time that a kept-alive connection may be without a request, milliseconds.
pub const NODE_IDLE_TIMEOUT_MS: u64 = 75_000;
/// Time between WebSocket pings, milliseconds.
pub const NODE_WEBSOCKET_PING_INTERVAL_MS: u64 = RELAY_WEBSOCKET_PING_INTERVAL_MS;
/// Time for a WebSocket pong to arrive, milliseconds.
pub const NODE_WEBSOCKET_PONG_TIMEOUT_MS: u64 = 10_000;
// ---- hooks (service/hooks) ----

/// Calls that are waiting or under way, all back ends together. More is refused at once.
pub const HOOK_QUEUE_CALLS: usize = 8192;
/// Bytes (bodies and headers) of those calls. More is refused at once.
pub const HOOK_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Calls that are waiting or under way for one back end, so that a dead one cannot take the whole queue.
pub const HOOK_BACKEND_QUEUE_CALLS: usize = 2048;
/// Back ends (authorities of URLs) known at once. Those without calls make room for new ones.
pub const HOOK_BACKENDS: usize = 1024;
/// Calls under way, all back ends together.
pub const HOOK_CONCURRENT: usize = 256;
/// Calls under way at one back end.
pub const HOOK_BACKEND_CONCURRENT: usize = 32;
/// Request head of a call, bytes: what a client may send and what the node adds.
pub const HOOK_REQUEST_HEAD_BYTES: usize = 2 * HTTP_HEAD_BYTES;
/// Header lines of a call.
pub const HOOK_REQUEST_HEADERS: usize = 2 * HTTP_HEADERS;
/// Status line and headers of an answer, bytes.
pub const HOOK_ANSWER_HEAD_BYTES: usize = 16 * 1024;
/// Header lines of an answer.
pub const HOOK_ANSWER_HEADERS: usize = 100;
/// Body of an answer, bytes: a publisher upstream request may answer with a whole message.
pub const HOOK_ANSWER_BODY_BYTES: usize = HTTP_BODY_BYTES;
/// Time for a call that names none, milliseconds.
pub const HOOK_TIMEOUT_MS: u32 = 5_000;
/// Longest time a call may ask for, milliseconds.
pub const HOOK_TIMEOUT_MAX_MS: u32 = 60_000;
/// Time for one TCP connect, milliseconds; the call's own time counts as well.
pub const HOOK_CONNECT_MS: u32 = 2_000;
/// Tries of a fire-and-forget call that gets no connection, the first included.
pub const HOOK_TRIES: u32 = 2;
/// Pause before the second try, milliseconds; a random part of up to the same length comes on top, and it
/// doubles with each further try.
pub const HOOK_BACKOFF_MS: u32 = 200;
/// Failures in a row that open a back end's circuit.
pub const HOOK_CIRCUIT_FAILURES: u32 = 5;
/// Time a circuit stays open before one call may probe the back end, milliseconds.
pub const HOOK_CIRCUIT_OPEN_MS: u32 = 10_000;
/// Time an idle connection is kept, milliseconds. Below the 2 s after which common back-end servers close
/// theirs: a call sent into such a close is lost.
pub const HOOK_IDLE_MS: u32 = 1_500;
/// Time between two log lines about the same failure of the same back end, milliseconds.
pub const HOOK_LOG_MS: u32 = 10_000;

/// Bounds of the hook service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookLimits {
    /// See [`HOOK_QUEUE_CALLS`].
    pub queue_calls: usize,
    /// See [`HOOK_QUEUE_BYTES`].
    pub queue_bytes: usize,
    /// See [`HOOK_BACKEND_QUEUE_CALLS`].
    pub backend_queue_calls: usize,
    /// See [`HOOK_BACKENDS`].
    pub backends: usize,
    /// See [`HOOK_CONCURRENT`].
    pub concurrent: usize,
    /// See [`HOOK_BACKEND_CONCURRENT`].
    pub backend_concurrent: usize,
    /// See [`HOOK_REQUEST_HEAD_BYTES`].
    pub request_head_bytes: usize,
    /// See [`HOOK_ANSWER_HEAD_BYTES`]; at least 8 KiB.
    pub answer_head_bytes: usize,
    /// See [`HOOK_ANSWER_HEADERS`].
    pub answer_headers: usize,
    /// See [`HOOK_ANSWER_BODY_BYTES`].
    pub answer_body_bytes: usize,
    /// See [`HOOK_TIMEOUT_MS`]; at most [`HOOK_TIMEOUT_MAX_MS`].
    pub timeout_ms: u32,
    /// See [`HOOK_CONNECT_MS`].
    pub connect_ms: u32,
    /// See [`HOOK_TRIES`]; at least 1.
    pub tries: u32,
    /// See [`HOOK_BACKOFF_MS`].
    pub backoff_ms: u32,
    /// See [`HOOK_CIRCUIT_FAILURES`]; at least 1.
    pub circuit_failures: u32,
    /// See [`HOOK_CIRCUIT_OPEN_MS`].
    pub circuit_open_ms: u32,
    /// See [`HOOK_IDLE_MS`].
    pub idle_ms: u32,
}

impl Default for HookLimits {
    fn default() -> Self {
        HookLimits {
            queue_calls: HOOK_QUEUE_CALLS,
            queue_bytes: HOOK_QUEUE_BYTES,
            backend_queue_calls: HOOK_BACKEND_QUEUE_CALLS,
            backends: HOOK_BACKENDS,
            concurrent: HOOK_CONCURRENT,
            backend_concurrent: HOOK_BACKEND_CONCURRENT,
            request_head_bytes: HOOK_REQUEST_HEAD_BYTES,
            answer_head_bytes: HOOK_ANSWER_HEAD_BYTES,
            answer_headers: HOOK_ANSWER_HEADERS,
            answer_body_bytes: HOOK_ANSWER_BODY_BYTES,
            timeout_ms: HOOK_TIMEOUT_MS,
            connect_ms: HOOK_CONNECT_MS,
            tries: HOOK_TRIES,
            backoff_ms: HOOK_BACKOFF_MS,
            circuit_failures: HOOK_CIRCUIT_FAILURES,
            circuit_open_ms: HOOK_CIRCUIT_OPEN_MS,
            idle_ms: HOOK_IDLE_MS,
        }
    }
}

const _: () = assert!(HOOK_BACKEND_QUEUE_CALLS < HOOK_QUEUE_CALLS);
const _: () = assert!(HOOK_BACKEND_CONCURRENT < HOOK_CONCURRENT);
const _: () = assert!(HOOK_BACKEND_CONCURRENT < HOOK_BACKEND_QUEUE_CALLS);
const _: () = assert!(HTTP_HEAD_BYTES < HOOK_REQUEST_HEAD_BYTES);
// A message that was accepted may go to a back end as it is.
const _: () = assert!(HTTP_BODY_BYTES < HOOK_QUEUE_BYTES);
// The HTTP client's read buffer has this lower bound.
const _: () = assert!(HOOK_ANSWER_HEAD_BYTES >= 8 * 1024);
const _: () = assert!(HOOK_CONNECT_MS < HOOK_TIMEOUT_MS && HOOK_TIMEOUT_MS <= HOOK_TIMEOUT_MAX_MS);

// ---- durable store (service/store) ----

/// Jobs waiting for the store. More is refused at once.
pub const STORE_QUEUE_JOBS: usize = 16_384;
/// Bytes (names, keys, payloads) of those jobs. More is refused at once.
pub const STORE_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Jobs of one commit.
pub const STORE_BATCH_JOBS: usize = 1024;
/// Bytes of the jobs of one commit; one job may be larger.
pub const STORE_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Payload of a record, bytes: a message with what belongs to it.
pub const STORE_RECORD_BYTES: usize = HTTP_BODY_BYTES + 64 * 1024;
/// A document, bytes.
pub const STORE_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Name of a log or key of a document, bytes: group and name of a channel with what tells apps apart.
pub const STORE_KEY_BYTES: usize = 2 * RELAY_CHANNEL_ID_BYTES_MAX + 64;
/// Logs. Each takes about 250 bytes of memory beside its name.
pub const STORE_LOGS: usize = 262_144;
/// The store's files together, bytes. Then appends are refused until something is retired.
pub const STORE_DISK_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Write-ahead log that is moved into the main file, bytes.
pub const STORE_WAL_BYTES: u64 = 32 * 1024 * 1024;
/// Write-ahead log, in [`STORE_WAL_BYTES`], from which on nothing is added while it cannot be moved.
pub const STORE_WAL_PARTS: u64 = 4;
/// Pages kept in memory, bytes.
pub const STORE_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Records or documents of one answer.
pub const STORE_READ_ITEMS: usize = 4096;
/// Payload of one answer, bytes; one record may be larger.
pub const STORE_READ_BYTES: usize = 4 * 1024 * 1024;
/// Records that retention removes from one log in one commit, and from all logs in one sweep.
pub const STORE_TRIM_RECORDS: u64 = 16_384;
/// Free pages that one sweep gives back to the file system.
pub const STORE_VACUUM_PAGES: u64 = 4096;
/// An empty log is forgotten so long after its last record, seconds.
pub const STORE_FORGET_S: u64 = 86_400;
/// Damages that a check names; the rest are counted.
pub const STORE_CHECK_FINDINGS: usize = 100;

/// Bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// See [`STORE_QUEUE_JOBS`].
    pub queue_jobs: usize,
    /// See [`STORE_QUEUE_BYTES`].
    pub queue_bytes: usize,
    /// See [`STORE_BATCH_JOBS`].
    pub batch_jobs: usize,
    /// See [`STORE_BATCH_BYTES`].
    pub batch_bytes: usize,
    /// See [`STORE_RECORD_BYTES`].
    pub record_bytes: usize,
    /// See [`STORE_LOGS`].
    pub logs: usize,
    /// See [`STORE_DISK_BYTES`].
    pub disk_bytes: u64,
    /// See [`STORE_WAL_BYTES`].
    pub wal_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            queue_jobs: STORE_QUEUE_JOBS,
            queue_bytes: STORE_QUEUE_BYTES,
            batch_jobs: STORE_BATCH_JOBS,
            batch_bytes: STORE_BATCH_BYTES,
            record_bytes: STORE_RECORD_BYTES,
            logs: STORE_LOGS,
            disk_bytes: STORE_DISK_BYTES,
            wal_bytes: STORE_WAL_BYTES,
        }
    }
}

const _: () = assert!(HTTP_BODY_BYTES < STORE_RECORD_BYTES && STORE_RECORD_BYTES < STORE_BATCH_BYTES);
const _: () = assert!(STORE_BATCH_BYTES < STORE_QUEUE_BYTES && STORE_BATCH_JOBS < STORE_QUEUE_JOBS);
const _: () = assert!((STORE_WAL_PARTS + 1) * STORE_WAL_BYTES < STORE_DISK_BYTES);
// Retention keeps up with what one commit can add to a log.
const _: () = assert!(STORE_BATCH_JOBS < STORE_TRIM_RECORDS as usize);
// Log numbers have 21 bits: service/store/db.
const _: () = assert!(STORE_LOGS < 1 << 21);

// ---- command line (cli) ----

/// Time to connect to a node, milliseconds.
pub const CLI_CONNECT_MS: u64 = 5_000;
/// Time for the answer to a publish, milliseconds.
pub const CLI_ANSWER_MS: u64 = 30_000;
/// Pause between polls that were answered without a message, milliseconds.
pub const CLI_POLL_PAUSE_MS: u64 = 1_000;
/// Bytes read from a node at a time.
pub const CLI_READ_BYTES: usize = 16 * 1024;
/// One message, or one line of an event stream, bytes.
pub const CLI_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Descriptors that the node needs besides those of connections, as `doctor` counts them.
pub const DOCTOR_RESERVED_FILES: u64 = 256;
/// Smallest accept queue (net.core.somaxconn) that `doctor` is content with, connections.
pub const DOCTOR_ACCEPT_QUEUE: u64 = 4096;
/// Smallest queue of handshakes (net.ipv4.tcp_max_syn_backlog) that `doctor` is content with, connections.
pub const DOCTOR_SYN_QUEUE: u64 = 1024;
/// Smallest number of local ports that `doctor` is content with.
pub const DOCTOR_LOCAL_PORTS: u64 = 28_000;

const _: () = assert!(HTTP_TARGET_BYTES < HTTP_HEAD_BYTES);
const _: () = assert!(HTTP_CHUNK_LINE_BYTES < HTTP_HEAD_BYTES);
const _: () = assert!(HTTP_CHUNK_LINE_BYTES <= HTTP_CHUNK_EXTENSION_BYTES);
// Header positions within a head are kept as u16, their count as u8.
const _: () = assert!(HTTP_HEAD_BYTES <= u16::MAX as usize);
const _: () = assert!(HTTP_HEADERS <= u8::MAX as usize);
const _: () = assert!(HTTP_BLANK_LINES <= u8::MAX as usize);
const _: () = assert!(WS_CONTROL_BYTES < WS_MESSAGE_BYTES);

// ---- channels (channel) ----

/// Shards of a node: the interest of a channel is one bit per shard.
pub const SHARDS: usize = 64;
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

/// A channel group without channels keeps its limits for so long, milliseconds.
pub const GROUP_IDLE_MS: u64 = 3_600_000;

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
const _: () = assert!((PRESENCE_USER_BYTES as usize) < PRESENCE_BYTES_PER_SHARD);

// ---- shards (shard) ----

/// What one recv(2) takes at most, bytes. One such buffer per shard.
pub const RECV_BYTES: usize = 64 * 1024;
/// Reads of one connection in one turn; then others have theirs.
pub const RECVS_PER_TURN: usize = 4;
/// Frames that go out in one sendmsg(2).
pub const SEND_FRAMES: usize = 64;
/// Connections written to with one submit.
pub const SENDS_PER_SUBMIT: usize = 256;
/// Fewer dirty connections than this are written to with plain send(2).
pub const SENDS_WORTH_A_SUBMIT: usize = 8;
/// Submission queue entries of a shard's net ring.
pub const NET_RING_ENTRIES: u32 = 512;
/// Completion queue entries of a shard's net ring.
pub const NET_RING_COMPLETIONS: u32 = 4096;
/// Submission queue entries of the runtime's own ring.
pub const RUNTIME_RING_ENTRIES: u32 = 256;
/// Events taken from epoll at once.
pub const EPOLL_EVENTS: usize = 1024;
/// Turns in a row before the runtime's other tasks have theirs.
pub const TURNS_BEFORE_YIELD: usize = 64;
/// Mails taken from the mailbox in one turn.
pub const MAILS_PER_TURN: usize = 256;
/// This part of a mailbox (one in so many mails) is kept for answers and teardown: publications are refused with 503
/// before it is touched.
pub const MAILBOX_RESERVE_PART: usize = 8;
/// Emptied queues kept for reuse by a shard.
pub const SPARE_QUEUES: usize = 1_024;
/// Longest request head that a connection keeps to recognise the next one like it, bytes.
pub const REPEATED_HEAD_BYTES: usize = 1_024;
/// After so many heads in a row that were not like the one before, a connection keeps none any more.
pub const REPEATED_HEAD_MISSES: u8 = 8;
/// Channel keys a shard keeps for the next publisher of the same channel.
pub const KEYS_CACHED: usize = 256;
/// Subscriptions of one session.
pub const SUBSCRIPTIONS_PER_SESSION: usize = 1_024;
/// Connections shed at once when file descriptors run out.
pub const SHED_PER_TICK: usize = 256;
/// Descriptors kept for everything but connections: rings, listeners, calls to back ends, files.
pub const FILES_RESERVE: usize = 256;
/// Times that an address in use is tried again at start.
pub const BIND_ATTEMPTS: u32 = 5;
/// Pause between them, milliseconds.
pub const BIND_PAUSE_MS: u64 = 100;
/// Length of the kernel's queue of connections to be accepted.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Unsent data that the kernel keeps per socket before it says "not writable", bytes (TCP_NOTSENT_LOWAT).
pub const NOTSENT_LOWAT_BYTES: i32 = 64 * 1024;
/// Resolution of all deadlines, milliseconds.
pub const TICK_MS: u64 = 100;
/// Slots of the deadline wheel; deadlines farther away are looked at once per round.
pub const WHEEL_SLOTS: usize = 1_024;
/// Deadlines a slot of the wheel keeps room for once it was emptied, so that a storm leaves no memory behind.
pub const WHEEL_KEYS_KEPT: usize = 128;
/// After our close frame the peer's is awaited for so long, milliseconds.
pub const WS_CLOSE_MS: u64 = 2_000;
/// After our last byte the peer's end of stream is awaited for so long, milliseconds.
pub const LINGER_MS: u64 = 2_000;
/// A peer that takes nothing for so long is not waited for when its connection is idle or ends, milliseconds.
pub const SEND_STALL_MS: u64 = 30_000;
/// Sessions ended per shard and second when the node drains, unless the drain time asks for more.
pub const DRAIN_SESSIONS_PER_S: u64 = 1_000;

const _: () = assert!(SENDS_PER_SUBMIT <= NET_RING_ENTRIES as usize);
const _: () = assert!(NET_RING_COMPLETIONS as usize > 4 * SENDS_PER_SUBMIT);
const _: () = assert!(HTTP_BODY_BYTES < NODE_OUTBOX_BYTES);
const _: () = assert!(WS_INFLATE_KEEP_BYTES <= WS_MESSAGE_BYTES);
const _: () = assert!(RELAY_BUFFER_MESSAGES <= RELAY_BUFFER_MESSAGES_MAX);
const _: () = assert!(RELAY_CHANNEL_ID_BYTES <= RELAY_CHANNEL_ID_BYTES_MAX);
const _: () = assert!(RELAY_CHANNEL_ID_BYTES_MAX < HTTP_TARGET_BYTES);
const _: () = assert!(NODE_OUTBOX_BYTES < NODE_SIZE_BYTES_MAX);
const _: () = assert!(NODE_WEBSOCKET_PONG_TIMEOUT_MS < NODE_WEBSOCKET_PING_INTERVAL_MS);
const _: () = assert!(WS_INFLATE_KEEP_BYTES <= WS_MESSAGE_BYTES);

// ---- pages of the node (node/pages) ----

/// A shard whose loop has not turned for so long stands still, milliseconds: its tick alone turns it ten times a
/// second. Liveness is answered with 503 from then on.
pub const SHARD_STALL_MS: u64 = 5_000;
/// Open files up to which they are counted one by one where the kernel cannot tell their number.
pub const METRICS_OPEN_FILES: usize = 4_096;

const _: () = assert!(SHARD_STALL_MS >= 10 * TICK_MS);
