//! HTTP calls from the node to back ends, on a thread of their own: a hook never stalls a shard.
//!
//! A shard hands a [`HookCall`] over with [`HooksHandle::call`], which never waits, and gets the answer of a call
//! that wants one through the `deliver` callback given to [`Hooks::start`] (which puts it into the shard's
//! mailbox). Everything between is bounded by [`HookLimits`]: calls and bytes waiting, concurrency overall and
//! per back end, time, size of answers. A back end that fails again and again is left alone for a while.
//!
//! The thread runs a tokio runtime of its own; each call is one task there that waits for its turn (calls with an
//! order key), for a free place at its back end and overall, and then makes one HTTP/1.1 exchange.

mod backend;
mod circuit;
mod client;
mod counters;
mod gate;
mod lanes;
mod line;
mod spelling;
mod task;
mod trust;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::channel::hook::{HookAnswer, HookCall, HookFailure, HookTarget, HookToken};
use crate::limits::{HOOK_LOG_MS, HOOK_REQUEST_HEADERS, HookLimits};

use backend::BackEnd;
use lanes::Lanes;
use task::{Job, Pending};

pub use counters::HookCounters;
pub(super) use line::Line;
pub use trust::Trust;

/// Time between two rounds of housekeeping.
const TICK: Duration = Duration::from_secs(1);
/// Threads that look host names up. A name server that hangs holds them; addresses need none.
const RESOLVER_THREADS: usize = 4;

/// Where answers go: called on the service's thread, once for each call with `answer` that was taken. It must
/// not block.
pub type Deliver = Arc<dyn Fn(HookToken, Result<HookAnswer, HookFailure>) + Send + Sync>;

/// Settings of the service.
#[derive(Clone, Debug, Default)]
pub struct HooksConfig {
    /// Bounds.
    pub limits: HookLimits,
    /// Who vouches for `https://` back ends.
    pub trust: Arc<Trust>,
}

/// What shards, tasks and the thread's loop share.
struct Core {
    limits: HookLimits,
    trust: Arc<Trust>,
    counters: HookCounters,
    deliver: Deliver,
    permits: Arc<Semaphore>,
}

/// The running service. Dropping it stops it at once; see [`Hooks::shutdown`].
pub struct Hooks {
    handle: HooksHandle,
    stop: Option<oneshot::Sender<Duration>>,
    thread: Option<JoinHandle<usize>>,
}

/// Hands calls to the service from any thread.
#[derive(Clone)]
pub struct HooksHandle {
    core: Arc<Core>,
    intake: mpsc::UnboundedSender<Job>,
}

impl Hooks {
    /// Starts the service's thread.
    ///
    /// # Errors
    /// When the system gives no thread or no file descriptors for its event loop.
    pub fn start(config: HooksConfig, deliver: Deliver) -> io::Result<Hooks> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RESOLVER_THREADS)
            .thread_name("hooks-resolver")
            .build()?;
        let core = Arc::new(Core {
            limits: config.limits,
            trust: config.trust,
            counters: HookCounters::default(),
            deliver,
            permits: Arc::new(Semaphore::new(config.limits.concurrent.clamp(1, Semaphore::MAX_PERMITS))),
        });
        // Bounded by the count of pending calls: see `HooksHandle::call`.
        let (intake, jobs) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let service = Service::new(core.clone());
        let thread = std::thread::Builder::new().name("hooks".into()).spawn(move || {
            let unfinished = runtime.block_on(service.run(jobs, stopped));
            // A name look-up that hangs cannot be stopped and is not waited for.
            runtime.shutdown_background();
            unfinished
        })?;
        Ok(Hooks { handle: HooksHandle { core, intake }, stop: Some(stop), thread: Some(thread) })
    }

    /// A handle for making calls.
    pub fn handle(&self) -> HooksHandle {
        self.handle.clone()
    }

    /// Takes no more calls and waits until those taken have ended, at most `grace` long. Calls that have not
    /// ended by then are given up: those that want an answer get [`HookFailure::Stopped`]. Returns how many.
    pub fn shutdown(mut self, grace: Duration) -> usize {
        self.stop(grace)
    }

    fn stop(&mut self, grace: Duration) -> usize {
        if let Some(stop) = self.stop.take() {
            // The thread has ended if nobody hears it.
            let _ = stop.send(grace);
        }
        self.thread.take().map_or(0, |thread| thread.join().unwrap_or(0))
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl HooksHandle {
    /// Hands a call over; never waits. Once it is taken and wants an answer, `deliver` is called once with
    /// `token`. A call that is refused here is not delivered.
    ///
    /// # Errors
    /// [`HookFailure::QueueFull`] over the limits for calls or bytes, [`HookFailure::BadCall`] for a URL that is
    /// no hook URL or a head over its limit, [`HookFailure::Stopped`] after shutdown began.
    pub fn call(&self, token: HookToken, call: HookCall) -> Result<(), HookFailure> {
        self.offer(token, call).inspect_err(|failure| self.core.counters.failed(*failure))
    }

    /// What the service has counted since it started.
    pub fn counters(&self) -> &HookCounters {
        &self.core.counters
    }

    fn offer(&self, token: HookToken, call: HookCall) -> Result<(), HookFailure> {
        if HookTarget::parse(&call.url).is_err() {
            return Err(HookFailure::BadCall);
        }
        // A header line has four bytes besides name and value.
        let lines: usize = call.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let head = call.url.len() + lines;
        if head > self.core.limits.request_head_bytes || call.headers.len() > HOOK_REQUEST_HEADERS {
            return Err(HookFailure::BadCall);
        }
        let bytes = head + call.body.len();
        let Some(job) = Job::new(&self.core, token, call, bytes) else {
            self.core.counters.refused.fetch_add(1, Relaxed);
            return Err(HookFailure::QueueFull);
        };
        self.core.counters.called();
        self.intake.send(job).map_err(|refused| {
            refused.0.disown();
            HookFailure::Stopped
        })
    }
}

/// The loop of the service's thread.
struct Service {
    core: Arc<Core>,
    backends: HashMap<String, Arc<BackEnd>>,
    lanes: Lanes,
    tasks: JoinSet<()>,
    /// Refusals for a full queue that the log knows of, and when it was told.
    refusals_logged: (u64, Option<Instant>),
}

impl Service {
    fn new(core: Arc<Core>) -> Service {
        Service {
            core,
            backends: HashMap::new(),
            lanes: Lanes::default(),
            tasks: JoinSet::new(),
            refusals_logged: (0, None),
        }
    }

    /// Runs until told to stop; returns the calls given up.
    async fn run(
        mut self,
        mut jobs: mpsc::UnboundedReceiver<Job>,
        mut stop: oneshot::Receiver<Duration>,
    ) -> usize {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let grace = loop {
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => self.begin(job),
                    None => break Duration::ZERO,
                },
                Some(ended) = self.tasks.join_next() => log_panic(ended),
                _ = tick.tick() => self.tick(),
                grace = &mut stop => break grace.unwrap_or_default(),
            }
        };
        jobs.close();
        let in_time = tokio::time::timeout(grace, async {
            while let Some(job) = jobs.recv().await {
                self.begin(job);
            }
            loop {
                tokio::select! {
                    ended = self.tasks.join_next() => match ended {
                        Some(ended) => log_panic(ended),
                        None => break,
                    },
                    _ = tick.tick() => self.tick(),
                }
            }
        })
        .await;
        if in_time.is_ok() {
            return 0;
        }
        let unfinished = self.core.counters.pending.load(Relaxed);
        self.tasks.shutdown().await;
        usize::try_from(unfinished).unwrap_or(usize::MAX)
    }

    /// Starts a call, or refuses it when its back end has no room for it or is left alone.
    fn begin(&mut self, job: Job) {
        let now = Instant::now();
        let Ok(target) = HookTarget::parse(&job.call.url) else {
            return job.end_unsent(HookFailure::BadCall);
        };
        let Some(backend) = self.backend(&target, now) else {
            return job.end_unsent(HookFailure::QueueFull);
        };
        let refused = if backend.pending.load(Relaxed) >= self.core.limits.backend_queue_calls {
            Some((HookFailure::QueueFull, "too many calls wait for this back end"))
        } else if backend.is_open(now) {
            Some((HookFailure::CircuitOpen, "it failed repeatedly"))
        } else {
            None
        };
        if let Some((failure, cause)) = refused {
            backend.note(failure, cause, now);
            return job.end_unsent(failure);
        }
        let turn = job.call.order.map(|key| self.lanes.join(key));
        self.tasks.spawn(job.run(Pending::new(backend), turn));
    }

    /// The back end of a URL. When too many are known, the one that was idle longest makes room; none does while
    /// all have calls.
    fn backend(&mut self, target: &HookTarget, now: Instant) -> Option<Arc<BackEnd>> {
        let key = BackEnd::key(target);
        if let Some(backend) = self.backends.get(&key) {
            return Some(backend.clone());
        }
        if self.backends.len() >= self.core.limits.backends {
            let idle = self.backends.iter().filter_map(|(key, b)| b.idle_since().map(|since| (since, key)));
            let longest = idle.min().map(|(_, key)| key.clone())?;
            self.backends.remove(&longest);
        }
        let backend = Arc::new(BackEnd::new(target, &self.core.limits, &self.core.trust, now));
        self.backends.insert(key, backend.clone());
        Some(backend)
    }

    fn tick(&mut self) {
        let now = Instant::now();
        for backend in self.backends.values() {
            backend.tick(now);
        }
        self.log_refusals(now);
    }

    /// Refusals at the queue happen on the shards; their lines are written here.
    fn log_refusals(&mut self, now: Instant) {
        let (logged, at) = self.refusals_logged;
        let refused = self.core.counters.refused.load(Relaxed);
        let every = Duration::from_millis(HOOK_LOG_MS.into());
        if refused > logged && at.is_none_or(|at| now.saturating_duration_since(at) >= every) {
            self.refusals_logged = (refused, Some(now));
            tracing::warn!(count = refused - logged, "hooks refused: {}", HookFailure::QueueFull);
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        tracing::error!("a hook task panicked: {e}");
    }
}
