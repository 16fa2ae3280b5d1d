//! What the service counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::channel::hook::HookFailure;

/// Counters and gauges of the hook service; any thread may read them.
#[derive(Debug, Default)]
pub struct HookCounters {
    calls: AtomicU64,
    answers: AtomicU64,
    failures: [AtomicU64; HookFailure::ALL.len()],
    /// Calls that found the whole queue full.
    pub(super) refused: AtomicU64,
    retries: AtomicU64,
    connects: AtomicU64,
    pub(super) pending: AtomicU64,
    pub(super) pending_bytes: AtomicU64,
    in_flight: AtomicU64,
    latency_us: AtomicU64,
}

impl HookCounters {
    /// Calls taken; those refused at once are only among the failures.
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Calls that a back end answered, with whatever status.
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Calls that ended in this failure, refused ones included.
    pub fn failures(&self, failure: HookFailure) -> u64 {
        self.failures[failure as usize].load(Relaxed)
    }

    /// Further tries of fire-and-forget calls.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Connections made to back ends.
    pub fn connects(&self) -> u64 {
        self.connects.load(Relaxed)
    }

    /// Calls waiting now.
    pub fn queue_depth(&self) -> u64 {
        self.pending.load(Relaxed).saturating_sub(self.in_flight.load(Relaxed))
    }

    /// Bytes (headers and bodies) of the calls waiting or under way now.
    pub fn queue_bytes(&self) -> u64 {
        self.pending_bytes.load(Relaxed)
    }

    /// Calls under way now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Microseconds from sending to the whole answer, summed over [`Self::answers`].
    pub fn latency_us_sum(&self) -> u64 {
        self.latency_us.load(Relaxed)
    }

    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(super) fn answered(&self, took: Duration) {
        self.answers.fetch_add(1, Relaxed);
        self.latency_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn failed(&self, failure: HookFailure) {
        self.failures[failure as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connects.fetch_add(1, Relaxed);
    }

    /// Counts a call as under way until the guard is dropped.
    pub(super) fn fly(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self)
    }
}

/// See [`HookCounters::fly`].
pub(super) struct InFlight<'a>(&'a HookCounters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
