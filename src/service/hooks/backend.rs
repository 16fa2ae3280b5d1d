//! One back end: its idle connections, its share of the concurrency, its circuit and its log lines.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::circuit::{Change, Circuit, Pass, Verdict};
use super::client::Connection;
use super::gate::LogGate;
use super::trust::Trust;
use crate::channel::hook::{HookFailure, HookTarget};
use crate::limits::{HOOK_LOG_MS, HookLimits};

const LOG_EVERY: Duration = Duration::from_millis(HOOK_LOG_MS as u64);

/// A host and port that calls go to, with TLS or without.
pub(super) struct BackEnd {
    /// `host:port`, with TLS with its scheme, for the log.
    name: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// Who vouches for it; None without TLS.
    pub(super) trust: Option<Arc<Trust>>,
    /// Calls waiting or under way.
    pub(super) pending: AtomicUsize,
    pub(super) permits: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

struct Inner {
    circuit: Circuit,
    /// Idle connections, the one used last at the end.
    idle: Vec<(Connection, Instant)>,
    idle_for: Duration,
    gates: [LogGate; HookFailure::ALL.len()],
    last_used: Instant,
}

impl BackEnd {
    /// What tells one back end from another.
    pub(super) fn key(target: &HookTarget) -> String {
        let scheme = if target.tls { "https://" } else { "" };
        format!("{scheme}{}:{}", target.host.to_ascii_lowercase(), target.port)
    }

    pub(super) fn new(target: &HookTarget, limits: &HookLimits, trust: &Arc<Trust>, now: Instant) -> BackEnd {
        let open_for = Duration::from_millis(limits.circuit_open_ms.into());
        BackEnd {
            name: Self::key(target),
            host: target.host.to_owned(),
            port: target.port,
            trust: target.tls.then(|| trust.clone()),
            pending: AtomicUsize::new(0),
            permits: Arc::new(Semaphore::new(limits.backend_concurrent.clamp(1, Semaphore::MAX_PERMITS))),
            inner: Mutex::new(Inner {
                circuit: Circuit::new(limits.circuit_failures, open_for),
                idle: Vec::new(),
                idle_for: Duration::from_millis(limits.idle_ms.into()),
                gates: Default::default(),
                last_used: now,
            }),
        }
    }

    /// Whether nobody needs it now, and since when.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.pending.load(Relaxed) == 0).then(|| self.lock().last_used)
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.lock().circuit.is_open(now)
    }

    /// Lets a call to the back end, unless its circuit is open.
    pub(super) fn admit(&self, now: Instant) -> Option<Admission<'_>> {
        let mut inner = self.lock();
        inner.last_used = now;
        inner.circuit.admit(now).map(|pass| Admission { backend: self, pass, verdict: Verdict::Unknown })
    }

    /// The freshest idle connection that is still open.
    pub(super) fn take_idle(&self, now: Instant) -> Option<Connection> {
        let mut inner = self.lock();
        let idle_for = inner.idle_for;
        while let Some((connection, since)) = inner.idle.pop() {
            if now.saturating_duration_since(since) < idle_for && connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next call.
    pub(super) fn keep_idle(&self, connection: Connection, now: Instant) {
        self.lock().idle.push((connection, now));
    }

    /// Notes a failure: the first of its kind is logged now, the rest is counted for [`Self::tick`].
    pub(super) fn note(&self, failure: HookFailure, cause: &str, now: Instant) {
        if self.lock().gates[failure as usize].note(now) {
            tracing::warn!(backend = self.name, failure = failure.label(), cause, "hook failed: {failure}");
        }
    }

    /// Closes connections that were idle too long and writes the counts that are due.
    pub(super) fn tick(&self, now: Instant) {
        let mut inner = self.lock();
        let idle_for = inner.idle_for;
        inner.idle.retain(|(c, since)| now.saturating_duration_since(*since) < idle_for && c.is_ready());
        for failure in HookFailure::ALL {
            if let Some(count) = inner.gates[failure as usize].due(now, LOG_EVERY) {
                let label = failure.label();
                tracing::warn!(
                    backend = self.name,
                    failure = label,
                    count,
                    "hooks failed further: {failure}"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pass through the circuit; dropping it settles what was shown.
pub(super) struct Admission<'a> {
    backend: &'a BackEnd,
    pass: Pass,
    verdict: Verdict,
}

impl Admission<'_> {
    pub(super) fn show(&mut self, good: bool) {
        self.verdict = if good { Verdict::Good } else { Verdict::Bad };
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let change = self.backend.lock().circuit.settle(self.pass, self.verdict, Instant::now());
        match change {
            Change::None => {}
            Change::Opened => tracing::warn!(backend = self.backend.name, "hooks to the back end are paused"),
            Change::Closed => tracing::info!(backend = self.backend.name, "hooks to the back end go on"),
        }
    }
}
