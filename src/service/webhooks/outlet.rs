//! One endpoint at work: its queue, and the task that empties it one call at a time, in order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::backoff::Backoff;
use super::counters::Lost;
use super::{Core, Endpoint};
use crate::channel::hook::{HookCall, HookMethod, HookTarget};
use crate::channel::notice::Notice;
use crate::service::hooks::Line;
use crate::wire::sign;

/// Exactly this: Node's library refuses it with a character set (Pusher sheet section 12).
const CONTENT_TYPE: &[u8] = b"application/json";

/// An endpoint with what waits for it.
pub(super) struct Outlet {
    app: u32,
    /// Its host, for the log: the rest of a URL may be secret.
    host: Box<str>,
    core: Arc<Core>,
    line: Line,
    inner: Mutex<Inner>,
    /// The queue is no longer empty, or has a whole batch.
    wake: Notify,
}

struct Inner {
    endpoint: Arc<Endpoint>,
    queue: VecDeque<Waiting>,
    bytes: usize,
    open: bool,
    /// Calls have failed since the last one that was taken.
    failing: bool,
}

struct Waiting {
    notice: Arc<Notice>,
    bytes: usize,
    since: Instant,
}

impl Outlet {
    pub(super) fn new(app: u32, core: Arc<Core>, line: Line, endpoint: Endpoint) -> Outlet {
        let host = HookTarget::parse(&endpoint.url).map_or("", |target| target.authority).into();
        let inner = Inner {
            endpoint: Arc::new(endpoint),
            queue: VecDeque::new(),
            bytes: 0,
            open: true,
            failing: false,
        };
        Outlet { app, host, core, line, inner: Mutex::new(inner), wake: Notify::new() }
    }

    pub(super) fn url(&self) -> Arc<str> {
        self.lock().endpoint.url.clone()
    }

    /// What else was said about the same URL.
    pub(super) fn replace(&self, endpoint: Endpoint) {
        self.lock().endpoint = Arc::new(endpoint);
    }

    pub(super) fn tick(&self) {
        self.line.tick();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a notice if the endpoint wants it and there is room.
    pub(super) fn offer(&self, notice: &Arc<Notice>) {
        let (limits, counters) = (&self.core.limits, &self.core.counters);
        let mut inner = self.lock();
        if !inner.open || !inner.endpoint.filter.takes(notice) {
            return;
        }
        let bytes = notice.cost_bytes();
        let total = counters.waiting_bytes.load(Relaxed) as usize + bytes;
        let mine = inner.bytes + bytes;
        let room = inner.queue.len() < limits.queue_events
            && mine <= limits.queue_bytes
            && (total <= limits.total_bytes || mine <= limits.reserve_bytes);
        if !room {
            return counters.lose(Lost::Queue, 1);
        }
        counters.waiting.fetch_add(1, Relaxed);
        counters.waiting_bytes.fetch_add(bytes as u64, Relaxed);
        inner.bytes = mine;
        inner.queue.push_back(Waiting { notice: notice.clone(), bytes, since: Instant::now() });
        let waiting = inner.queue.len();
        if waiting == 1 || waiting == limits.batch_events {
            self.wake.notify_one();
        }
    }

    /// Takes nothing more; what waits is lost. Returns how much that was.
    pub(super) fn close(&self) -> usize {
        let waiting = {
            let mut inner = self.lock();
            inner.open = false;
            inner.queue.len()
        };
        self.done(waiting);
        self.core.counters.lose(Lost::Removed, waiting);
        waiting
    }

    /// Empties the queue for ever.
    pub(super) async fn run(self: Arc<Outlet>, seed: u64) {
        let limits = self.core.limits;
        let mut backoff = Backoff::new(limits.backoff_ms, limits.backoff_max_ms, seed);
        loop {
            self.first().await;
            let events = self.collect().await;
            self.deliver(&events, &mut backoff).await;
            self.done(events.len());
        }
    }

    /// Waits until something waits.
    async fn first(&self) {
        while self.lock().queue.is_empty() {
            self.wake.notified().await;
        }
    }

    /// The events of the next call. They stay in the queue until [`Outlet::done`].
    async fn collect(&self) -> Vec<Arc<Notice>> {
        let limits = &self.core.limits;
        let (batch, since) = {
            let inner = self.lock();
            (inner.endpoint.batch, inner.queue.front().map(|first| first.since))
        };
        if let (true, Some(since)) = (batch, since) {
            let until = since + Duration::from_millis(limits.batch_ms);
            while self.lock().queue.len() < limits.batch_events {
                if timeout_at(until, self.wake.notified()).await.is_err() {
                    break;
                }
            }
        }
        let most = if batch { limits.batch_events.max(1) } else { 1 };
        let (inner, mut bytes) = (self.lock(), 0);
        let fits = |(at, waiting): &(usize, &Waiting)| {
            bytes += waiting.bytes;
            *at == 0 || bytes <= limits.batch_bytes
        };
        let events = inner.queue.iter().take(most).enumerate().take_while(fits);
        events.map(|(_, waiting)| waiting.notice.clone()).collect()
    }

    /// The first `events` are through, or lost.
    fn done(&self, events: usize) {
        let counters = &self.core.counters;
        let mut inner = self.lock();
        let events = events.min(inner.queue.len()); // a closed queue is empty
        let bytes = inner.queue.drain(..events).map(|waiting| waiting.bytes).sum::<usize>();
        inner.bytes -= bytes;
        counters.waiting.fetch_sub(events as u64, Relaxed);
        counters.waiting_bytes.fetch_sub(bytes as u64, Relaxed);
    }

    /// Makes the call until it is taken or its time is over.
    async fn deliver(&self, events: &[Arc<Notice>], backoff: &mut Backoff) {
        let Core { limits, counters, write, clock, .. } = &*self.core;
        let mut body = Vec::new();
        write(&mut body, clock(), events);
        let body = Bytes::from(body);
        let end = Instant::now() + Duration::from_millis(limits.retry_ms);
        for failures in 1.. {
            let cause = match self.line.call(&self.call(&body)).await {
                Ok(200..=299) => {
                    counters.sent.fetch_add(events.len() as u64, Relaxed);
                    return self.recovered();
                }
                Ok(status) => {
                    counters.refused.fetch_add(1, Relaxed);
                    format!("status {status}")
                }
                Err((failure, cause)) => format!("{failure}: {cause}"),
            };
            self.failed(&cause);
            let now = Instant::now();
            if now >= end {
                return self.give_up(events.len(), &cause);
            }
            sleep_until(end.min(now + backoff.pause(failures))).await;
            counters.retried.fetch_add(1, Relaxed);
        }
    }

    /// The call as it is made now: a secret that was changed meanwhile counts.
    fn call(&self, body: &Bytes) -> HookCall {
        let endpoint = self.lock().endpoint.clone();
        let signature = sign::webhook(endpoint.secret.as_bytes(), body);
        let header = |name: &'static str, value: Bytes| (Bytes::from_static(name.as_bytes()), value);
        HookCall {
            url: endpoint.url.clone(),
            method: HookMethod::Post,
            headers: vec![
                header("Content-Type", Bytes::from_static(CONTENT_TYPE)),
                header("X-Pusher-Key", Bytes::copy_from_slice(endpoint.key.as_bytes())),
                header("X-Pusher-Signature", Bytes::copy_from_slice(signature.as_str().as_bytes())),
            ],
            body: body.clone(),
            timeout_ms: 0,
            answer: false,
            order: None,
        }
    }

    /// A line for the first failure only: those that follow are in the metrics.
    fn failed(&self, cause: &str) {
        if !std::mem::replace(&mut self.lock().failing, true) {
            tracing::warn!(app = self.app, host = &*self.host, cause, "web hook failed and is retried");
        }
    }

    fn recovered(&self) {
        if std::mem::take(&mut self.lock().failing) {
            tracing::info!(app = self.app, host = &*self.host, "web hook is taken again");
        }
    }

    fn give_up(&self, events: usize, cause: &str) {
        self.core.counters.lose(Lost::GivenUp, events);
        tracing::warn!(app = self.app, host = &*self.host, events, cause, "web hook given up");
    }
}

/// Sleeps for ever when there is nothing to wait for.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => sleep(Duration::MAX).await,
    }
}
