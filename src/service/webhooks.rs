//! Web hooks: what the node tells back ends by itself, on a thread of its own (Pusher sheet section 12).
//!
//! Shards hand over a [`Notice`] with [`WebhooksHandle::notify`], which never waits. Vacated channels and users that
//! went are held for a grace time and dropped when it is undone meanwhile. What remains goes to the queue of every
//! [`Endpoint`] of the app that wants it. Each endpoint has a task that makes one call at a time, in order, until it
//! is taken (2xx) or its time is over, so that none waits for another. An event reaches an endpoint at least once,
//! unless it is counted as [`Lost`]. Everything is bounded by [`WebhookLimits`].
//!
//! Held notices come later than those that are not held; apart from that each channel's events keep their order.

mod backoff;
mod counters;
mod grace;
mod outlet;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::channel::hook::HookUrlError;
use crate::channel::notice::{Notice, NoticeKind, NoticeKinds, What};
use crate::channel::{ChannelKey, Position};
use crate::limits::{WEBHOOK_LOG_MS, WebhookLimits};
use crate::service::hooks::{Line, Trust};

use grace::{Grace, Taken};
use outlet::Outlet;

pub use counters::{Lost, WebhookCounters};

/// Threads that look host names up: a name that a name server does not answer holds one.
const RESOLVER_THREADS: usize = 32;
/// Places for what apps want.
const WANTED_PLACES: usize = 4_096;
/// Jobs taken before endpoints and timers have their turn.
const JOBS_PER_TURN: usize = 256;
/// Pause between two looks whether all calls have ended, while stopping.
const STOP_PAUSE: Duration = Duration::from_millis(5);

/// Writes the body of a call with these events, made at this time (milliseconds since 1970).
pub type WriteBody = fn(out: &mut Vec<u8>, time_ms: u64, notices: &[Arc<Notice>]);

/// Settings of the service.
#[derive(Clone)]
pub struct WebhooksConfig {
    /// Bounds.
    pub limits: WebhookLimits,
    /// Who vouches for `https://` endpoints.
    pub trust: Arc<Trust>,
    /// The body of a call.
    pub write: WriteBody,
    /// The wall clock, milliseconds since 1970.
    pub clock: fn() -> u64,
    /// For the random part of pauses.
    pub seed: u64,
}

/// Where events of an app go. `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As [`crate::channel::hook::HookTarget::parse`] takes it.
    pub url: Arc<str>,
    /// Names the app.
    pub key: Arc<str>,
    /// Signs the body.
    pub secret: Arc<str>,
    /// Which events it gets.
    pub filter: Filter,
    /// A call may carry several events; else it carries exactly one.
    pub batch: bool,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { url, key, secret: _, filter, batch } = self;
        let mut out = out.debug_struct("Endpoint");
        out.field("url", url).field("key", key).field("filter", filter).field("batch", batch);
        out.finish_non_exhaustive()
    }
}

/// Which events an endpoint gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Of these kinds.
    pub kinds: NoticeKinds,
    /// Of channels whose name begins with this.
    pub prefix: Box<str>,
    /// Of channels whose name ends with this.
    pub suffix: Box<str>,
}

impl Filter {
    fn takes(&self, notice: &Notice) -> bool {
        let name = notice.channel.name();
        self.kinds.contains(notice.what.kind())
            && name.starts_with(self.prefix.as_bytes())
            && name.ends_with(self.suffix.as_bytes())
    }
}

/// Why endpoints were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// A URL is no hook URL.
    Url(HookUrlError),
    /// The service has stopped.
    Stopped,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::Url(error) => error.fmt(out),
            EndpointError::Stopped => out.write_str("the web hook service has stopped"),
        }
    }
}

impl std::error::Error for EndpointError {}

/// What handles, endpoints and the thread's loop share.
struct Core {
    limits: WebhookLimits,
    trust: Arc<Trust>,
    counters: WebhookCounters,
    write: WriteBody,
    clock: fn() -> u64,
    seed: u64,
    /// The kinds that any endpoint wants, and their opposites, of all apps whose number leaves the same remainder:
    /// apps may come and go, and shards ask for each notice.
    wanted: Box<[AtomicU16]>,
    /// The same of each app.
    wants: Mutex<HashMap<u32, NoticeKinds>>,
}

enum Job {
    Notice(Notice, u64),
    Endpoints(u32, Vec<Endpoint>),
}

/// The running service. Dropping it stops it at once; see [`Webhooks::shutdown`].
pub struct Webhooks {
    handle: WebhooksHandle,
    stop: Option<oneshot::Sender<Duration>>,
    thread: Option<JoinHandle<usize>>,
}

/// Hands notices and endpoints to the service from any thread.
#[derive(Clone)]
pub struct WebhooksHandle {
    core: Arc<Core>,
    intake: mpsc::UnboundedSender<Job>,
}

impl Webhooks {
    /// Starts the service's thread, which sleeps until there are endpoints.
    ///
    /// # Errors
    /// When the system gives no thread or no file descriptors for its event loop.
    pub fn start(config: WebhooksConfig) -> io::Result<Webhooks> {
        let WebhooksConfig { limits, trust, write, clock, seed } = config;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RESOLVER_THREADS)
            .thread_name("webhooks-resolver")
            .build()?;
        let wanted = (0..WANTED_PLACES).map(|_| AtomicU16::new(0)).collect();
        let counters = WebhookCounters::default();
        let wants = Mutex::default();
        let core = Arc::new(Core { limits, trust, counters, write, clock, seed, wanted, wants });
        // Bounded by what is counted: see `WebhooksHandle::notify`.
        let (intake, jobs) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let service_core = core.clone();
        let thread = std::thread::Builder::new().name("webhooks".into()).spawn(move || {
            let lost = runtime.block_on(async { Service::new(service_core).run(jobs, stopped).await });
            // A name look-up that hangs cannot be stopped and is not waited for.
            runtime.shutdown_background();
            lost
        })?;
        Ok(Webhooks { handle: WebhooksHandle { core, intake }, stop: Some(stop), thread: Some(thread) })
    }

    /// A handle for notices.
    pub fn handle(&self) -> WebhooksHandle {
        self.handle.clone()
    }

    /// Takes no more notices, tells those that are held, and waits until all calls have ended, at most `grace` long.
    /// Returns how many events did not reach their endpoint.
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

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl WebhooksHandle {
    /// Whether an endpoint of the app wants to know of such a thing, or of its opposite. With thousands of apps it
    /// may be another app's; such notices go nowhere.
    pub fn wants(&self, app: u32, kind: NoticeKind) -> bool {
        NoticeKinds(self.core.wanted[app as usize % WANTED_PLACES].load(Relaxed)).contains(kind)
    }

    /// Hands a notice over; never waits. What nobody wants goes nowhere; so does what happens in channels of groups,
    /// whose names mean nothing without their group, and in those that the node keeps for itself.
    pub fn notify(&self, notice: Notice) {
        let channel = &notice.channel;
        if !self.wants(channel.app(), notice.what.kind())
            || !channel.group().is_empty()
            || channel.is_hidden()
        {
            return;
        }
        let (limits, counters) = (&self.core.limits, &self.core.counters);
        let bytes = notice.cost_bytes() as u64;
        let events = counters.intake.fetch_add(1, Relaxed);
        let all_bytes = counters.intake_bytes.fetch_add(bytes, Relaxed) + bytes;
        let room = events < limits.intake_events as u64 && all_bytes <= limits.intake_bytes as u64;
        if room && self.intake.send(Job::Notice(notice, bytes)).is_ok() {
            counters.taken.fetch_add(1, Relaxed);
            return;
        }
        counters.intake.fetch_sub(1, Relaxed);
        counters.intake_bytes.fetch_sub(bytes, Relaxed);
        counters.lose(if room { Lost::Removed } else { Lost::Intake }, 1);
    }

    /// Sets the endpoints of an app. One with the URL of an earlier one goes on with its queue; what waits for those
    /// that are gone is lost. Endpoints above [`WebhookLimits::endpoints`] are left out, which is logged.
    ///
    /// # Errors
    /// Says what is wrong; then nothing is changed.
    pub fn set_endpoints(&self, app: u32, endpoints: Vec<Endpoint>) -> Result<(), EndpointError> {
        let mut kinds = NoticeKinds::default();
        for endpoint in &endpoints {
            crate::channel::hook::HookTarget::parse(&endpoint.url).map_err(EndpointError::Url)?;
            for kind in NoticeKind::ALL.into_iter().filter(|&kind| endpoint.filter.kinds.contains(kind)) {
                kinds.insert(kind);
                kind.opposite().into_iter().for_each(|kind| kinds.insert(kind));
            }
        }
        let mut wants = self.core.wants.lock().unwrap_or_else(PoisonError::into_inner);
        self.intake.send(Job::Endpoints(app, endpoints)).map_err(|_| EndpointError::Stopped)?;
        // Only now: what happens before has no endpoint to go to.
        match kinds == NoticeKinds::default() {
            true => drop(wants.remove(&app)),
            false => drop(wants.insert(app, kinds)),
        }
        let place = app as usize % WANTED_PLACES;
        let same = wants.iter().filter(|(app, _)| **app as usize % WANTED_PLACES == place);
        self.core.wanted[place].store(same.fold(0, |all, (_, kinds)| all | kinds.0), Relaxed);
        Ok(())
    }

    /// What the service has counted since it started.
    pub fn counters(&self) -> &WebhookCounters {
        &self.core.counters
    }
}

/// The loop of the service's thread.
struct Service {
    core: Arc<Core>,
    started: Instant,
    grace: Grace,
    /// The emptiness of channels that was told last.
    misses: HashMap<Arc<ChannelKey>, Position>,
    apps: HashMap<u32, Vec<Running>>,
    tasks: JoinSet<()>,
    /// Endpoints that there ever were: each has a seed of its own.
    made: u64,
    /// Lost events that the log knows of.
    logged: [u64; Lost::ALL.len()],
}

struct Running {
    outlet: Arc<Outlet>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    fn new(core: Arc<Core>) -> Service {
        Service {
            started: Instant::now(),
            grace: Grace::new(core.limits.grace_ms, core.limits.held),
            core,
            misses: HashMap::new(),
            apps: HashMap::new(),
            tasks: JoinSet::new(),
            made: 0,
            logged: Default::default(),
        }
    }

    /// Runs until told to stop; returns the events that were lost by that.
    async fn run(
        mut self,
        mut jobs: mpsc::UnboundedReceiver<Job>,
        mut stop: oneshot::Receiver<Duration>,
    ) -> usize {
        let mut tick = tokio::time::interval(Duration::from_millis(WEBHOOK_LOG_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let grace = loop {
            let due = self.grace.next_due_ms().map(|ms| self.started + Duration::from_millis(ms));
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => self.take_some(job, &mut jobs),
                    None => break Duration::ZERO,
                },
                () = outlet::until(due), if due.is_some() => self.release_due(),
                Some(ended) = self.tasks.join_next() => log_panic(ended),
                _ = tick.tick(), if !self.apps.is_empty() => self.tick(),
                grace = &mut stop => break grace.unwrap_or_default(),
            }
        };
        jobs.close();
        let end = Instant::now() + grace;
        while let Ok(job) = jobs.try_recv() {
            self.take(job);
        }
        while let Some(notice) = self.grace.pop() {
            self.spread(notice);
        }
        while self.core.counters.waiting() > 0 && Instant::now() < end {
            tokio::time::sleep(STOP_PAUSE).await;
        }
        let lost = self.apps.values().flatten().map(|running| running.outlet.close()).sum();
        self.apps.clear();
        self.log_lost();
        lost
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn take_some(&mut self, first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        self.take(first);
        for _ in 1..JOBS_PER_TURN {
            let Ok(job) = jobs.try_recv() else { break };
            self.take(job);
        }
    }

    fn take(&mut self, job: Job) {
        let (notice, bytes) = match job {
            Job::Notice(notice, bytes) => (notice, bytes),
            Job::Endpoints(app, endpoints) => return self.set_endpoints(app, endpoints),
        };
        self.core.counters.intake.fetch_sub(1, Relaxed);
        self.core.counters.intake_bytes.fetch_sub(bytes, Relaxed);
        if !self.apps.contains_key(&notice.channel.app()) {
            return;
        }
        if self.is_known_miss(&notice) {
            return;
        }
        let now_ms = self.now_ms();
        match self.grace.take(notice, now_ms) {
            Taken::Pass(notice) | Taken::Held(Some(notice)) => self.spread(notice),
            Taken::Held(None) => {}
            Taken::Undone => drop(self.core.counters.undone.fetch_add(2, Relaxed)),
        }
        self.core.counters.held.store(self.grace.len() as u64, Relaxed);
    }

    /// Whether it is a miss of a channel that is as empty as it was at the last one: that is told once (Pusher sheet
    /// section 10).
    fn is_known_miss(&mut self, notice: &Notice) -> bool {
        let What::CacheMiss(last) = notice.what else { return false };
        if self.misses.len() >= self.core.limits.misses {
            self.misses.clear(); // some are told once more
        }
        self.misses.insert(notice.channel.clone(), last) == Some(last)
    }

    fn release_due(&mut self) {
        let now_ms = self.now_ms();
        for _ in 0..JOBS_PER_TURN {
            let Some(notice) = self.grace.due(now_ms) else { break };
            self.spread(notice);
        }
        self.core.counters.held.store(self.grace.len() as u64, Relaxed);
    }

    /// Offers a notice to every endpoint of its app.
    fn spread(&self, notice: Notice) {
        let Some(endpoints) = self.apps.get(&notice.channel.app()) else { return };
        let notice = Arc::new(notice);
        for running in endpoints {
            running.outlet.offer(&notice);
        }
    }

    fn set_endpoints(&mut self, app: u32, endpoints: Vec<Endpoint>) {
        let mut before = self.apps.remove(&app).unwrap_or_default();
        let mut running = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if let Some(at) = before.iter().position(|running| running.outlet.url() == endpoint.url) {
                let same = before.remove(at);
                same.outlet.replace(endpoint);
                running.push(same);
                continue;
            }
            let others = self.apps.values().map(Vec::len).sum::<usize>() + running.len();
            if others >= self.core.limits.endpoints {
                tracing::error!(app, most = others, "too many web hooks: one is left out");
                continue;
            }
            // Its URL was looked at before.
            running.extend(self.start(app, endpoint));
        }
        let lost: usize = before.iter().map(|gone| gone.outlet.close()).sum();
        if lost > 0 {
            tracing::warn!(app, events = lost, "web hooks were taken away with events waiting");
        }
        if !running.is_empty() {
            self.apps.insert(app, running);
        }
    }

    fn start(&mut self, app: u32, endpoint: Endpoint) -> Option<Running> {
        let calls = self.core.counters.calls.clone();
        let line = Line::new(&endpoint.url, self.core.limits.call, calls, &self.core.trust).ok()?;
        let outlet = Arc::new(Outlet::new(app, self.core.clone(), line, endpoint));
        self.made += 1;
        let seed = self.core.seed ^ self.made.rotate_left(32);
        let task = self.tasks.spawn(outlet.clone().run(seed));
        Some(Running { outlet, task })
    }

    fn tick(&mut self) {
        for running in self.apps.values().flatten() {
            running.outlet.tick();
        }
        self.log_lost();
    }

    /// What was lost for lack of room since the last look. What was given up has lines of its own.
    fn log_lost(&mut self) {
        for why in [Lost::Intake, Lost::Queue] {
            let lost = self.core.counters.lost(why);
            let before = std::mem::replace(&mut self.logged[why as usize], lost);
            if lost > before {
                tracing::warn!(events = lost - before, reason = why.label(), "web hook events dropped");
            }
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        tracing::error!("a web hook task panicked: {e}");
    }
}
