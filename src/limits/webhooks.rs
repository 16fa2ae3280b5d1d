//! What the node tells back ends by itself (service/webhooks).

use super::hooks::HookLimits;

/// A vacated channel and a user that went are told after so long, milliseconds, and not at all when the channel is
/// occupied again, or the user is back, by then (Pusher sheet section 12).
pub const WEBHOOK_GRACE_MS: u64 = 3_000;
/// Notices that are held for that time. More: the oldest are passed on early.
pub const WEBHOOK_HELD: usize = 200_000;
/// Empty channels whose emptiness is known to have been told. More: all are forgotten, and may be told once more.
pub const WEBHOOK_MISSES: usize = 100_000;
/// An endpoint that takes batches gets what comes within so long after the first event, milliseconds.
pub const WEBHOOK_BATCH_MS: u64 = 50;
/// Events of one batch.
pub const WEBHOOK_BATCH_EVENTS: usize = 100;
/// Events of one batch, bytes as [`WEBHOOK_QUEUE_BYTES`] counts them; a single one may be larger.
pub const WEBHOOK_BATCH_BYTES: usize = 256 * 1024;
/// Events that wait for one endpoint. More are dropped.
pub const WEBHOOK_QUEUE_EVENTS: usize = 50_000;
/// Bytes of those events. More are dropped.
pub const WEBHOOK_QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of the events that wait for all endpoints. More: an endpoint takes only [`WEBHOOK_RESERVE_BYTES`].
pub const WEBHOOK_TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// What may wait for an endpoint however much waits for others, bytes.
pub const WEBHOOK_RESERVE_BYTES: usize = 32 * 1024;
/// Notices on their way from the shards to the service. More are dropped.
pub const WEBHOOK_INTAKE_EVENTS: usize = 100_000;
/// Bytes of those notices. More are dropped.
pub const WEBHOOK_INTAKE_BYTES: usize = 64 * 1024 * 1024;
/// Endpoints of all apps.
pub const WEBHOOK_ENDPOINTS: usize = 4_096;
/// Pause after the first failure of a call, milliseconds; it doubles with each further one. Up to a half of it is
/// taken off at random, so that calls that failed together do not come back together.
pub const WEBHOOK_BACKOFF_MS: u64 = 1_000;
/// Longest pause, milliseconds.
pub const WEBHOOK_BACKOFF_MAX_MS: u64 = 60_000;
/// A call is given up when it has failed for so long, milliseconds (Pusher sheet section 12).
pub const WEBHOOK_RETRY_MS: u64 = 300_000;
/// Time between two log lines about dropped events, milliseconds.
pub const WEBHOOK_LOG_MS: u64 = 1_000;
/// Time that calls get to end when the node stops, milliseconds.
pub const WEBHOOK_STOP_MS: u64 = 1_000;

/// Bounds of the web hook service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookLimits {
    /// See [`WEBHOOK_GRACE_MS`].
    pub grace_ms: u64,
    /// See [`WEBHOOK_HELD`].
    pub held: usize,
    /// See [`WEBHOOK_MISSES`].
    pub misses: usize,
    /// See [`WEBHOOK_BATCH_MS`].
    pub batch_ms: u64,
    /// See [`WEBHOOK_BATCH_EVENTS`]; at least 1.
    pub batch_events: usize,
    /// See [`WEBHOOK_BATCH_BYTES`].
    pub batch_bytes: usize,
    /// See [`WEBHOOK_QUEUE_EVENTS`].
    pub queue_events: usize,
    /// See [`WEBHOOK_QUEUE_BYTES`].
    pub queue_bytes: usize,
    /// See [`WEBHOOK_TOTAL_BYTES`].
    pub total_bytes: usize,
    /// See [`WEBHOOK_RESERVE_BYTES`].
    pub reserve_bytes: usize,
    /// See [`WEBHOOK_INTAKE_EVENTS`].
    pub intake_events: usize,
    /// See [`WEBHOOK_INTAKE_BYTES`].
    pub intake_bytes: usize,
    /// See [`WEBHOOK_ENDPOINTS`].
    pub endpoints: usize,
    /// See [`WEBHOOK_BACKOFF_MS`].
    pub backoff_ms: u64,
    /// See [`WEBHOOK_BACKOFF_MAX_MS`].
    pub backoff_max_ms: u64,
    /// See [`WEBHOOK_RETRY_MS`].
    pub retry_ms: u64,
    /// Of each call: its time, and the size of its answer.
    pub call: HookLimits,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        WebhookLimits {
            grace_ms: WEBHOOK_GRACE_MS,
            held: WEBHOOK_HELD,
            misses: WEBHOOK_MISSES,
            batch_ms: WEBHOOK_BATCH_MS,
            batch_events: WEBHOOK_BATCH_EVENTS,
            batch_bytes: WEBHOOK_BATCH_BYTES,
            queue_events: WEBHOOK_QUEUE_EVENTS,
            queue_bytes: WEBHOOK_QUEUE_BYTES,
            total_bytes: WEBHOOK_TOTAL_BYTES,
            reserve_bytes: WEBHOOK_RESERVE_BYTES,
            intake_events: WEBHOOK_INTAKE_EVENTS,
            intake_bytes: WEBHOOK_INTAKE_BYTES,
            endpoints: WEBHOOK_ENDPOINTS,
            backoff_ms: WEBHOOK_BACKOFF_MS,
            backoff_max_ms: WEBHOOK_BACKOFF_MAX_MS,
            retry_ms: WEBHOOK_RETRY_MS,
            call: HookLimits::default(),
        }
    }
}

const _: () = assert!(WEBHOOK_BATCH_EVENTS < WEBHOOK_QUEUE_EVENTS);
const _: () = assert!(WEBHOOK_BATCH_BYTES < WEBHOOK_QUEUE_BYTES && WEBHOOK_QUEUE_BYTES < WEBHOOK_TOTAL_BYTES);
const _: () = assert!(WEBHOOK_RESERVE_BYTES < WEBHOOK_QUEUE_BYTES);
const _: () =
    assert!(WEBHOOK_BACKOFF_MS < WEBHOOK_BACKOFF_MAX_MS && WEBHOOK_BACKOFF_MAX_MS < WEBHOOK_RETRY_MS);
