//! What the store counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Counters and gauges of the store; any thread may read them.
#[derive(Debug, Default)]
pub struct StoreCounters {
    jobs: AtomicU64,
    commits: AtomicU64,
    commit_us: AtomicU64,
    refused: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) waiting_bytes: AtomicUsize,
}

impl StoreCounters {
    /// Jobs that came to their turn, well or badly.
    pub fn jobs(&self) -> u64 {
        self.jobs.load(Relaxed)
    }

    /// Batches: with [`Self::jobs`], how many jobs share a sync.
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    /// Microseconds from the beginning of a batch to its end on disk, summed over [`Self::commits`].
    pub fn commit_us_sum(&self) -> u64 {
        self.commit_us.load(Relaxed)
    }

    /// Jobs that were not taken.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Batches that met a full disk.
    pub fn full(&self) -> u64 {
        self.full.load(Relaxed)
    }

    /// Jobs that met a damaged record.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Relaxed)
    }

    /// Bytes of the jobs that wait or are being done.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Relaxed)
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn committed(&self, jobs: usize, took: Duration) {
        self.jobs.fetch_add(jobs as u64, Relaxed);
        self.commits.fetch_add(1, Relaxed);
        self.commit_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}
