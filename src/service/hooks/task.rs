//! The life of one call, from the queue to its end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Core;
use super::backend::BackEnd;
use super::client::{self, Prepared, Trouble};
use super::lanes::Turn;
use crate::channel::hook::{HookAnswer, HookCall, HookFailure, HookTarget, HookToken};
use crate::limits::HOOK_TIMEOUT_MAX_MS;

/// A call that was taken. It counts as pending while it exists, and whoever waits for it hears of its end exactly
/// once, also when it is dropped.
pub(super) struct Job {
    pub(super) call: HookCall,
    core: Arc<Core>,
    token: HookToken,
    /// What it counts for in the queue.
    bytes: usize,
    handed_over: Instant,
    /// Nobody has been told yet how it ended.
    open: bool,
}

impl Job {
    /// Takes a call if there is room for it.
    pub(super) fn new(core: &Arc<Core>, token: HookToken, call: HookCall, bytes: usize) -> Option<Job> {
        let counters = &core.counters;
        // Dropping the job takes both numbers back.
        let pending = counters.pending.fetch_add(1, Relaxed);
        let pending_bytes = counters.pending_bytes.fetch_add(bytes as u64, Relaxed);
        let mut job = Job { call, core: core.clone(), token, bytes, handed_over: Instant::now(), open: true };
        if pending >= core.limits.queue_calls as u64
            || pending_bytes.saturating_add(bytes as u64) > core.limits.queue_bytes as u64
        {
            job.open = false;
            return None;
        }
        Some(job)
    }

    /// Drops a call whose caller is told otherwise.
    pub(super) fn disown(mut self) {
        self.open = false;
    }

    /// Ends a call that was never sent.
    pub(super) fn end_unsent(mut self, failure: HookFailure) {
        self.end(Err(failure));
    }

    /// Makes the call.
    pub(super) async fn run(mut self, backend: Pending, turn: Option<Turn>) {
        let backend = &*backend.0;
        let result = self.attempt(backend, turn.as_ref()).await.map_err(|trouble| {
            backend.note(trouble.failure, &trouble.cause, std::time::Instant::now());
            trouble.failure
        });
        self.end(result);
    }

    /// Tries until there is an answer or nothing more to be tried.
    async fn attempt(&self, backend: &BackEnd, turn: Option<&Turn>) -> Result<HookAnswer, Trouble> {
        let limits = &self.core.limits;
        let ms = if self.call.timeout_ms == 0 { limits.timeout_ms } else { self.call.timeout_ms };
        let limit = Duration::from_millis(ms.min(HOOK_TIMEOUT_MAX_MS).into());
        // Somebody waits from the moment of the call; nobody minds when a fire-and-forget call begins.
        let deadline = self.call.answer.then(|| self.handed_over + limit);
        if let Some(turn) = turn {
            wait(deadline, turn.come()).await?;
        }
        let mut tries = 1;
        loop {
            let result = self.attempt_once(backend, deadline, limit).await;
            match result {
                Err(t) if t.unconnected && !self.call.answer && tries < limits.tries => {
                    self.core.counters.retried();
                    tokio::time::sleep(backoff(limits.backoff_ms, tries)).await;
                    tries += 1;
                }
                _ => return result,
            }
        }
    }

    async fn attempt_once(
        &self,
        backend: &BackEnd,
        deadline: Option<Instant>,
        limit: Duration,
    ) -> Result<HookAnswer, Trouble> {
        let core = &self.core;
        // The back end's places first: calls to one that hangs wait there and leave the common places alone.
        let _place_there = wait(deadline, place(&backend.permits)).await?;
        let _place = wait(deadline, place(&core.permits)).await?;
        let target = HookTarget::parse(&self.call.url).map_err(|e| Trouble::new(HookFailure::BadCall, e))?;
        let prepared = Prepared::new(&self.call, &target)?;
        let Some(mut admission) = backend.admit(std::time::Instant::now()) else {
            return Err(Trouble::new(HookFailure::CircuitOpen, "it failed repeatedly"));
        };
        let _flying = core.counters.fly();
        let begun = Instant::now();
        let exchange = client::exchange(backend, &core.limits, &core.counters, prepared);
        let result = tokio::time::timeout_at(deadline.unwrap_or(begun + limit), exchange)
            .await
            .unwrap_or_else(|_| Err(Trouble::new(HookFailure::Timeout, "no whole answer")));
        match &result {
            Ok(_) => {
                admission.show(true);
                core.counters.answered(begun.elapsed());
            }
            // A back end that says too much is alive.
            Err(trouble) => admission.show(trouble.failure == HookFailure::TooLarge),
        }
        result
    }

    fn end(&mut self, result: Result<HookAnswer, HookFailure>) {
        self.open = false;
        if let Err(failure) = &result {
            self.core.counters.failed(*failure);
        }
        if self.call.answer {
            (self.core.deliver)(self.token, result);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.open {
            self.end(Err(HookFailure::Stopped));
        }
        let counters = &self.core.counters;
        counters.pending.fetch_sub(1, Relaxed);
        counters.pending_bytes.fetch_sub(self.bytes as u64, Relaxed);
    }
}

/// A call counted at its back end.
pub(super) struct Pending(Arc<BackEnd>);

impl Pending {
    pub(super) fn new(backend: Arc<BackEnd>) -> Pending {
        backend.pending.fetch_add(1, Relaxed);
        Pending(backend)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

async fn place(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    permits.clone().acquire_owned().await.expect("the semaphores are never closed")
}

async fn wait<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T, Trouble> {
    match deadline {
        None => Ok(work.await),
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .map_err(|_| Trouble::new(HookFailure::Timeout, "its turn did not come")),
    }
}

/// Pause after try number `tries` (from 1), with a random part so that calls that failed together do not come
/// back together.
fn backoff(base_ms: u32, tries: u32) -> Duration {
    use std::hash::{BuildHasher, Hasher};
    let base = u64::from(base_ms) << (tries - 1).min(16);
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    Duration::from_millis(base + random % (base + 1))
}
