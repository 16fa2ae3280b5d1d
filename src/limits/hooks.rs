//! Calls to back ends (service/hooks).

use super::wire::{HTTP_BODY_BYTES, HTTP_HEAD_BYTES, HTTP_HEADERS};

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
// The HTTP client's read buffer has this lower bound.
const _: () = assert!(HOOK_ANSWER_HEAD_BYTES >= 8 * 1024);
const _: () = assert!(HOOK_CONNECT_MS < HOOK_TIMEOUT_MS && HOOK_TIMEOUT_MS <= HOOK_TIMEOUT_MAX_MS);
