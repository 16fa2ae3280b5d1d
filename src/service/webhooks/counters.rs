//! What the service counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::service::hooks::HookCounters;

/// Why an event did not reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Too much was on its way to the service.
    Intake,
    /// Too much waited for the endpoint, or for all of them.
    Queue,
    /// The endpoint failed until its time was over.
    GivenUp,
    /// The endpoint was taken away, or the node stopped.
    Removed,
}

impl Lost {
    /// All of them, by index.
    pub const ALL: [Lost; 4] = [Lost::Intake, Lost::Queue, Lost::GivenUp, Lost::Removed];

    /// As a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Lost::Intake => "intake_full",
            Lost::Queue => "queue_full",
            Lost::GivenUp => "given_up",
            Lost::Removed => "removed",
        }
    }
}

/// Counters and gauges of the web hook service; any thread may read them.
#[derive(Debug, Default)]
pub struct WebhookCounters {
    /// Calls, answers and failures by reason.
    pub(super) calls: Arc<HookCounters>,
    pub(super) taken: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) undone: AtomicU64,
    pub(super) lost: [AtomicU64; Lost::ALL.len()],
    pub(super) intake: AtomicU64,
    pub(super) intake_bytes: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) waiting_bytes: AtomicU64,
}

impl WebhookCounters {
    /// Calls made, with their failures by reason; an answer with a status of failure is an answer here.
    pub fn calls(&self) -> &HookCounters {
        &self.calls
    }

    /// Calls that were answered with another status than 2xx.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Calls that were made anew after a failure.
    pub fn retried(&self) -> u64 {
        self.retried.load(Relaxed)
    }

    /// Notices that shards handed over.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Events that endpoints have taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Notices that were not told because they were undone in time, both counted.
    pub fn undone(&self) -> u64 {
        self.undone.load(Relaxed)
    }

    /// Events that did not reach an endpoint for this reason.
    pub fn lost(&self, why: Lost) -> u64 {
        self.lost[why as usize].load(Relaxed)
    }

    /// Notices that are held because they may be undone, now.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Events that wait for endpoints or are under way to them, now.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Their bytes.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Relaxed)
    }

    pub(super) fn lose(&self, why: Lost, events: usize) {
        self.lost[why as usize].fetch_add(events as u64, Relaxed);
    }
}
