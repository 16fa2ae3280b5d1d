//! From a configuration to a running node, and back.

use super::apps::{Registry, Roster};
use super::config::{Config, Driver, ListenAddress, LogFormat};
use super::console::PageApp;
use super::control::{self, Control};
use super::health::Lifecycle;
use super::host::{self, Signals};
use super::load;
use super::pages::{NodePages, PagesConfig};
use super::webhooks::{self, NodeNotifier};
use crate::channel::hook::{HookCall, HookFailure, HookToken};
use crate::channel::log::{AtStart, Logs};
use crate::channel::store::{Job, StoreError};
use crate::channel::{KeyHasher, ReplyTo, Token};
use crate::dialect::app::Apps;
use crate::dialect::pusher::Pusher;
use crate::dialect::pushi::{self, Pushi};
use crate::dialect::relay::Relay;
use crate::dialect::{Dialects, echo::Echo};
use crate::limits::{BIND_ATTEMPTS, BIND_PAUSE_MS, FILES_RESERVE, HomeLimits, WEBHOOK_STOP_MS};
use crate::service::hooks::{Hooks, HooksConfig, HooksHandle};
use crate::service::store::{LogTotals, Reply, Store, StoreHandle};
use crate::service::webhooks::Webhooks;
use crate::shard::counters::NodeCounters;
use crate::shard::door::Door;
use crate::shard::listen::{self, Listener, Place};
use crate::shard::mailbox::{Address, Bell, Mail, Post, mailbox};
use crate::shard::outbox::OutboxLimits;
use crate::shard::run::Clock;
use crate::shard::{Caller, DriverChoice, Keeper, ShardConfig, ShardLimits};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Runs the node until a signal ends it. The message of an error is for the person who started it.
pub fn run(config: &Config) -> Result<(), String> {
    // Before any thread starts, or that thread would take the signals in the default way.
    let signals = Signals::block();
    let logs = start_logs(config);
    let files = host::raise_file_limit().map_err(|e| format!("cannot read the limit of open files: {e}"))?;
    let node = Node::start(config, files)?;
    info!(files, shards = config.shards, driver = node.driver, "node started");
    print!("{}", super::banner::text(config, &node.places, node.driver));
    let signal = signals.wait();
    info!(signal = signal.name(), drain_ms = config.drain_ms, "stopping");
    // A second signal means: now.
    let places = node.places.clone();
    thread::spawn(move || {
        let signal = signals.wait();
        warn!(signal = signal.name(), "stopping at once");
        drop(logs); // writes out what waits
        remove_sockets(&places);
        std::process::exit(1);
    });
    node.stop(config.drain_ms);
    Ok(())
}

/// Sends log lines to standard error from a thread of their own; full queues drop lines, never block a shard.
fn start_logs(config: &Config) -> tracing_appender::non_blocking::WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(&config.log);
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    // A second node in one process (tests) keeps the first one's logs.
    let _ = match config.log_format {
        LogFormat::Text => tracing::subscriber::set_global_default(base.with_ansi(false).finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(base.json().finish()),
    };
    guard
}

/// A running node.
struct Node {
    addresses: Vec<Address>,
    shards: Vec<JoinHandle<()>>,
    hooks: Hooks,
    webhooks: Webhooks,
    store: Store,
    control: Option<Control>,
    lifecycle: Lifecycle,
    places: Vec<Place>,
    driver: &'static str,
}

/// Jobs of shards for the store.
struct StoreKeeper(StoreHandle);

impl Keeper for StoreKeeper {
    fn submit(&self, job: Job, to: ReplyTo) -> Result<(), StoreError> {
        self.0.submit(job, Reply::To(to))
    }
}

/// Hook calls of shards.
struct HookCaller(HooksHandle);

impl Caller for HookCaller {
    fn call(&self, token: HookToken, call: HookCall) -> Result<(), HookFailure> {
        self.0.call(token, call)
    }
}

impl Node {
    fn start(config: &Config, files: u64) -> Result<Node, String> {
        let shards = config.shards;
        let (places, mut listeners) = bind_all(config)?;
        let (seed, boundary) = seeds()?;
        let clock = Clock::start();
        let limits = shard_limits(config, files);
        let counters = NodeCounters::new(shards, (limits.home.history_bytes * shards) as u64);
        let bells = (0..shards).map(|_| Bell::new().map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let bells = bells.map_err(|e| format!("cannot start: {e}"))?;
        let boxes = bells.iter().map(|bell| mailbox(bell.clone(), config.limits.mailbox_messages));
        let (addresses, receivers): (Vec<Address>, Vec<_>) = boxes.unzip();
        let (store, found) = open_store(config, addresses.clone())?;
        let hooks = start_hooks(config, addresses.clone())?;
        let webhooks = webhooks::start(config, seed)?;
        let lifecycle = Lifecycle::default();
        let pages = Arc::new(NodePages::new(PagesConfig {
            development: config.development,
            app: page_app(config),
            internal_listeners: internal(config),
            counters: counters.clone(),
            hooks: Some(hooks.handle()),
            webhooks: Some(webhooks.handle()),
            store: Some(store.handle()),
            lifecycle: lifecycle.clone(),
            clock_ms: Arc::new(move || clock.mono_ns(Instant::now()) / 1_000_000),
        }));
        let dialects = Arc::new(dialects(config, &places, seed, &boundary)?);
        load::registrations(&store.handle(), &dialects.pushi)?;
        let roster = Roster::load(&config.apps, store.handle())?;
        let apps = roster.apps().clone();
        let logs = Logs::new(log_owners(&apps, &dialects.relay), found);
        let registry = Registry::start(roster, addresses.clone())?;
        let caller = Arc::new(HookCaller(hooks.handle()));
        let notifier = Arc::new(NodeNotifier(webhooks.handle()));
        let keeper = Arc::new(StoreKeeper(store.handle()));
        let cores = cores(shards);
        let doors = doors(config);
        let (mut running, mut driver) = (Vec::with_capacity(shards), "");
        for (id, receiver) in receivers.into_iter().enumerate() {
            let (handle, kind) = crate::shard::start(ShardConfig {
                id: id as u16,
                core: cores.get(id).copied(),
                driver: choice(config.driver),
                listeners: std::mem::take(&mut listeners[id]),
                post: Post::new(id, addresses.clone(), receiver),
                bell: bells[id].clone(),
                dialects: dialects.clone(),
                apps: apps.clone(),
                pages: pages.clone(),
                caller: caller.clone(),
                notifier: notifier.clone(),
                keeper: keeper.clone(),
                logs: logs.clone(),
                registrar: Arc::new(registry.clone()),
                node: counters.clone(),
                limits,
                doors: doors.clone(),
                clock,
                seed: seed.rotate_left(17),
            })?;
            info!(shard = id, driver = kind.name(), "shard started");
            running.push(handle);
            driver = match driver {
                "" => kind.name(),
                same if same == kind.name() => same,
                _ => "different drivers (see the log)",
            };
        }
        lifecycle.running.store(true, Ordering::Relaxed);
        let control = open_control(config, registry);
        Ok(Node { addresses, shards: running, hooks, webhooks, store, control, lifecycle, places, driver })
    }

    /// Ends every session in its own way within `drain_ms`, then the shards.
    fn stop(self, drain_ms: u64) {
        self.lifecycle.draining.store(true, Ordering::Relaxed);
        drop(self.control);
        for address in &self.addresses {
            address.send(Mail::Drain(drain_ms));
        }
        for shard in self.shards {
            let _ = shard.join();
        }
        let given_up = self.hooks.shutdown(Duration::from_secs(1));
        if given_up > 0 {
            warn!(calls = given_up, "calls to back ends were given up");
        }
        let lost = self.webhooks.shutdown(Duration::from_millis(WEBHOOK_STOP_MS));
        if lost > 0 {
            warn!(events = lost, "web hook events were given up");
        }
        if let Err(error) = self.store.shutdown() {
            warn!(%error, "the store was not closed properly; what was acknowledged is safe");
        }
        remove_sockets(&self.places);
        info!("stopped");
    }
}

/// The app that the console speaks for: the first one, if clients can come.
fn page_app(config: &Config) -> PageApp {
    config.apps.first().filter(|_| config.pusher.enabled).map(PageApp::of).unwrap_or_default()
}

fn remove_sockets(places: &[Place]) {
    for place in places {
        if let Place::Unix(path) = place {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Binds every address. Returns the places as bound and each shard's listeners.
fn bind_all(config: &Config) -> Result<(Vec<Place>, Vec<Vec<Listener>>), String> {
    let mut places = Vec::new();
    let mut per_shard: Vec<Vec<Listener>> = (0..config.shards).map(|_| Vec::new()).collect();
    for (index, listen) in config.listen.iter().chain(&config.internal_listen).enumerate() {
        let address = &listen.address;
        let place = match address {
            ListenAddress::Tcp(address) => Place::Ip(*address),
            ListenAddress::Unix(path) => Place::Unix(path.clone()),
        };
        let (bound, listeners) = bind_patiently(&place, index as u16, config.shards)
            .map_err(|e| format!("cannot listen on {address}: {e}"))?;
        places.push(bound);
        for (shard, listener) in listeners.into_iter().enumerate() {
            per_shard[shard].push(listener);
        }
    }
    Ok((places, per_shard))
}

/// The rings of a process that was just killed hold its sockets a moment longer than the process itself.
fn bind_patiently(place: &Place, index: u16, shards: usize) -> io::Result<(Place, Vec<Listener>)> {
    let mut attempts = 0;
    loop {
        match listen::bind(place, index, shards) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && attempts < BIND_ATTEMPTS => {
                attempts += 1;
                thread::sleep(Duration::from_millis(BIND_PAUSE_MS));
            }
            result => return result,
        }
    }
}

/// What each listener asks of its connections, by its number.
fn doors(config: &Config) -> Arc<[Door]> {
    let all = config.listen.iter().chain(&config.internal_listen);
    all.map(|listen| Door { proxy_protocol: listen.door.proxy_protocol }).collect()
}

fn internal(config: &Config) -> Vec<u16> {
    let public = config.listen.len();
    (public..public + config.internal_listen.len()).map(|index| index as u16).collect()
}

fn seeds() -> Result<(u64, [u8; 24]), String> {
    let (mut seed, mut boundary) = ([0; 8], [0; 24]);
    host::random(&mut seed)
        .and_then(|()| host::random(&mut boundary))
        .map_err(|e| format!("no randomness: {e}"))?;
    Ok((u64::from_ne_bytes(seed), boundary))
}

fn shard_limits(config: &Config, files: u64) -> ShardLimits {
    let limits = &config.limits;
    // Connections beyond what there are descriptors for are refused with an answer, not left waiting.
    let room = (files as usize).saturating_sub(FILES_RESERVE).max(files as usize / 2);
    ShardLimits {
        http: limits.http(),
        ws: limits.websocket(),
        home: HomeLimits {
            channels: limits.channels.div_ceil(config.shards),
            history_bytes: limits.history_bytes_per_shard,
            presence_bytes: limits.presence_bytes_per_shard,
        },
        outbox: OutboxLimits { bytes: limits.outbox_bytes, frames: limits.outbox_messages },
        connections: limits.connections.min(room),
        connections_per_address: limits.connections_per_address,
        header_ms: limits.header_timeout_ms,
        body_ms: limits.body_timeout_ms,
        idle_ms: limits.idle_timeout_ms,
        pong_ms: limits.websocket_pong_timeout_ms,
        rates: limits.rates(config.listen.len()),
        subscriptions: limits.subscriptions_per_connection,
    }
}

/// Opens what survives the node, in files or in memory.
fn open_store(config: &Config, addresses: Vec<Address>) -> Result<(Store, Vec<(Bytes, AtStart)>), String> {
    let deliver = Arc::new(move |to: ReplyTo, outcome| {
        if let Some(address) = addresses.get(to.shard as usize) {
            address.send(Mail::Store { token: to.token, outcome: Box::new(outcome) });
        }
    });
    let limits = config.store.limits(config.limits.body_bytes.max(config.limits.message_bytes));
    let Some(data) = &config.store.data else {
        let store = Store::open_in_memory(limits, deliver);
        let store = store.map_err(|error| format!("cannot make a store in memory: {error}"))?;
        return Ok((store, Vec::new()));
    };
    let (store, found) = Store::open(Path::new(data), limits, deliver).map_err(|error| match error {
        StoreError::InUse => format!("cannot open the store in {data}: {error}"),
        _ => format!("cannot open the store in {data}: {error} (`fanwire check --data {data}` tells more)"),
    })?;
    let records: u64 = found.logs.iter().map(|log| log.records).sum();
    let documents: u64 = found.tables.iter().map(|table| table.documents).sum();
    info!(data, logs = found.logs.len(), records, documents, "store opened");
    let at_start = |log: LogTotals| (log.log, AtStart { retention: log.retention, last: log.last });
    Ok((store, found.logs.into_iter().map(at_start).collect()))
}

/// Whose channels a log has, as it stands in its name. No app's id has a colon.
fn log_owners(apps: &Apps, relay: &Relay) -> Vec<(u32, String)> {
    let apps = apps.iter().map(|app| (app.number, app.settings.id.clone()));
    apps.chain(relay.stores().map(|(number, name)| (number, format!("store:{name}")))).collect()
}

/// Opens the control socket where there is a directory for it. A node without one serves all the same.
fn open_control(config: &Config, registry: Registry) -> Option<Control> {
    let data = config.store.data.as_deref().map(Path::new)?;
    let opened = Control::open(data, registry);
    let path = control::path(data);
    opened.inspect_err(|error| error!(%error, path = %path.display(), "no control socket")).ok()
}

fn start_hooks(config: &Config, addresses: Vec<Address>) -> Result<Hooks, String> {
    let deliver = Arc::new(move |token: HookToken, answer| {
        let HookToken { shard, slot, generation, tag } = token;
        if let Some(address) = addresses.get(shard as usize) {
            let token = Token { slot, generation, tag };
            address.send(Mail::Hook { token, answer: Box::new(answer) });
        }
    });
    Hooks::start(HooksConfig { limits: config.hooks.limits() }, deliver)
        .map_err(|e| format!("cannot start the hook service: {e}"))
}

fn dialects(config: &Config, places: &[Place], seed: u64, boundary: &[u8; 24]) -> Result<Dialects, String> {
    let names: Vec<String> =
        config.listen.iter().chain(&config.internal_listen).map(|l| l.address.to_string()).collect();
    debug_assert_eq!(names.len(), places.len());
    let public = config.listen.len();
    let listeners: Vec<(&str, bool)> =
        names.iter().enumerate().map(|(index, name)| (name.as_str(), index < public)).collect();
    let hasher = KeyHasher::new(seed);
    let apps: Vec<&str> = config.apps.iter().map(|app| app.id.as_str()).collect();
    let mut relay = config.relay.clone();
    relay.locations.iter_mut().for_each(|location| location.poll_hold_ms = config.limits.poll_hold_ms);
    let relay = Relay::new(&relay, &listeners, &apps, hasher.clone(), boundary).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|m| format!("{}: {}", m.key, m.message)).collect();
        lines.join("\n")
    })?;
    let pusher = Pusher::new(config.pusher.clone(), hasher.clone());
    let mut secret = [0; 32];
    host::random(&mut secret).map_err(|e| format!("no randomness: {e}"))?;
    let durable = config.store.data.is_some();
    let open_apps = config.pushi.open_apps || config.development;
    let settings = pushi::Settings { durable, open_apps, ..config.pushi.clone() };
    let pushi = Pushi::new(settings, hasher, secret);
    Ok(Dialects { relay, echo: config.echo.then(|| Echo::new("/echo")), pusher, pushi })
}

fn choice(driver: Driver) -> DriverChoice {
    match driver {
        Driver::Auto => DriverChoice::Auto,
        Driver::Uring => DriverChoice::Uring,
        Driver::Epoll => DriverChoice::Epoll,
    }
}

/// Which processor each shard is pinned to: all different, or none at all when there are not enough of them. A
/// single shard is left to the scheduler.
fn cores(shards: usize) -> Vec<usize> {
    let processors = host::processors();
    if shards == 1 || shards > processors.len() { Vec::new() } else { processors }
}
