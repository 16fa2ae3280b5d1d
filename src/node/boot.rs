//! From a configuration to a running node, and back.

use super::apps::{Registry, Roster};
use super::config::{Config, ListenAddress, LogFormat};
use super::console::PageApp;
use super::control::{self, Control};
use super::doors::{door_rules, doors};
use super::grants;
use super::health::Lifecycle;
use super::hooks;
use super::host::{self, Signal, Signals};
use super::load;
use super::pages::{NodePages, PagesConfig};
use super::placement;
use super::reload::reload;
use super::successor::{Inherited, Predecessor};
use super::systemd::{self, Notify};
use super::tls::{Reload, Tls};
use super::upgrade::{self, Failure, Heir, PlaceName, Program, listening, place_names};
use super::watch::Watch;
use super::webhooks::{self, NodeNotifier};
use crate::channel::hook::{HookCall, HookFailure, HookToken};
use crate::channel::log::{AtStart, Logs};
use crate::channel::store::{Job, StoreError};
use crate::channel::{KeyHasher, ReplyTo};
use crate::dialect::admin::Admin;
use crate::dialect::app::Apps;
use crate::dialect::http::Listeners;
use crate::dialect::pusher::Pusher;
use crate::dialect::pushi::{self, Pushi};
use crate::dialect::relay::Relay;
use crate::dialect::{Dialects, echo::Echo};
use crate::limits::{
    BIND_ATTEMPTS, BIND_PAUSE_MS, FILES_RESERVE, HomeLimits, SEND_STALL_MS, WEBHOOK_STOP_MS,
};
use crate::service::hooks::{Hooks, HooksHandle};
use crate::service::store::{LogTotals, Reply, Store, StoreHandle};
use crate::service::webhooks::Webhooks;
use crate::shard::counters::NodeCounters;
use crate::shard::inherit;
use crate::shard::listen::{self, Listener, Place};
use crate::shard::mailbox::{Address, Bell, Mail, Post, mailbox};
use crate::shard::outbox::OutboxLimits;
use crate::shard::run::Clock;
use crate::shard::{Caller, Keeper, ShardConfig, ShardLimits};
use bytes::Bytes;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Runs the node until a signal ends it. The message of an error is for the person who started it.
pub fn run(config: &Config) -> Result<(), String> {
    // Before any thread starts, or that thread would take the signals in the default way.
    let signals = Signals::block();
    // Before anything opens descriptors: some are there already, known by their numbers only.
    let (predecessor, mut inherited) = match Predecessor::find()? {
        Some((predecessor, inherited)) => (Some(predecessor), inherited),
        None => (None, systemd::inherited()?),
    };
    let program = Program::of_this_process().map_err(|e| format!("cannot find this program: {e}"))?;
    let logs = start_logs(config);
    let files = host::raise_file_limit().map_err(|e| format!("cannot read the limit of open files: {e}"))?;
    let notify = Arc::new(Notify::from_environment());
    let started = Node::start(config, files, &mut inherited, predecessor.as_ref());
    let mut node = started.inspect_err(|why| {
        predecessor.iter().for_each(|predecessor| predecessor.failed(why));
    })?;
    let succeeds = predecessor.is_some();
    if let Some(predecessor) = predecessor {
        predecessor.ready()?;
        node.succeed(config, predecessor, inherited)?;
    }
    node.serve(config, &notify)?;
    info!(files, shards = config.shards, driver = node.driver, "node started");
    // Nobody may be there to read it.
    let _ = write!(io::stdout(), "{}", super::banner::text(config, &node.places, node.driver));
    notify.ready(succeeds);
    let ending = loop {
        match signals.wait() {
            Signal::Reload => reload(&node, config),
            Signal::Upgrade => match upgrade::run(&mut node, &program, &signals, config, &notify) {
                Ok(heir) => break Ending::HandedOver(heir),
                Err(Failure::Stopped(signal)) => break Ending::Stopped(signal),
                Err(Failure::Reason(_)) => {}
            },
            signal @ (Signal::Terminate | Signal::Interrupt) => break Ending::Stopped(signal),
        }
    };
    let places = match &ending {
        Ending::Stopped(signal) => {
            info!(signal = signal.name(), drain_ms = config.drain_ms, "stopping");
            notify.stopping();
            node.places.clone()
        }
        Ending::HandedOver(heir) => {
            info!(to = heir.pid, drain_ms = config.drain_ms, "handed over; draining");
            Vec::new() // they are the new process's
        }
    };
    // A second signal means: now.
    let at_once = places.clone();
    thread::spawn(move || {
        let signal = wait_for_stop(&signals);
        warn!(signal = signal.name(), "stopping at once");
        drop(logs); // writes out what waits
        remove_sockets(&at_once);
        std::process::exit(1);
    });
    node.stop(ending, config.drain_ms);
    remove_sockets(&places);
    info!("stopped");
    Ok(())
}

/// Why the node ends.
enum Ending {
    Stopped(Signal),
    HandedOver(Heir),
}

/// The next signal that asks the node to stop.
fn wait_for_stop(signals: &Signals) -> Signal {
    loop {
        let signal = signals.wait();
        if signal.stops() {
            return signal;
        }
    }
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
pub(super) struct Node {
    pub(super) addresses: Vec<Address>,
    shards: Vec<JoinHandle<()>>,
    hooks: Hooks,
    webhooks: Webhooks,
    pub(super) store: Store,
    control: Option<Control>,
    pub(super) registry: Registry,
    /// Where the store has its files, if it has any.
    data: Option<PathBuf>,
    counters: NodeCounters,
    clock: Clock,
    /// Each listening socket with number and name of its place.
    pub(super) listening: Vec<(u16, PlaceName, Arc<OwnedFd>)>,
    /// Lets each shard turn.
    go: Vec<Sender<()>>,
    pub(super) lifecycle: Lifecycle,
    /// What SIGHUP is for.
    pub(super) tls: Reload,
    pub(super) places: Vec<Place>,
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
    /// Everything but serving: no shard turns yet, and nobody is accepted.
    fn start(
        config: &Config,
        files: u64,
        inherited: &mut Inherited,
        predecessor: Option<&Predecessor>,
    ) -> Result<Node, String> {
        let shards = config.shards;
        let tls = Tls::open(config)?;
        let (places, mut listeners) = bind_all(config, inherited)?;
        match (predecessor, inherited.unclaimed()) {
            (Some(_), _) | (None, None) => {}
            (None, Some(socket)) => {
                return Err(format!("a socket was passed that `listen` has not: {socket}"));
            }
        }
        let listening = listening(config, &listeners);
        let (seed, boundary) = seeds()?;
        let clock = Clock::start();
        let limits = shard_limits(config, files);
        let counters = NodeCounters::new(shards, (limits.home.history_bytes * shards) as u64);
        let bells = (0..shards).map(|_| Bell::new().map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let bells = bells.map_err(|e| format!("cannot start: {e}"))?;
        let boxes = bells.iter().map(|bell| mailbox(bell.clone(), config.limits.mailbox_messages));
        let (addresses, receivers): (Vec<Address>, Vec<_>) = boxes.unzip();
        if let Some(predecessor) = predecessor {
            predecessor.prepared()?;
        }
        let (store, found) = open_store(config, addresses.clone())?;
        let trust = hooks::trust(config)?;
        let hooks = hooks::start(config, trust.clone(), addresses.clone())?;
        let webhooks = webhooks::start(config, trust, seed)?;
        let lifecycle = Lifecycle::default();
        let pages = Arc::new(NodePages::new(PagesConfig {
            development: config.development,
            app: page_app(config),
            internal_listeners: internal(config),
            counters: counters.clone(),
            hooks: Some(hooks.handle()),
            webhooks: Some(webhooks.handle()),
            store: Some(store.handle()),
            tls: tls.speaks().then(|| tls.clone()),
            lifecycle: lifecycle.clone(),
            clock_ms: Arc::new(move || clock.mono_ns(Instant::now()) / 1_000_000),
        }));
        let dialects = Arc::new(dialects(config, &places, seed, &boundary)?);
        load::registrations(&store.handle(), &dialects.pushi)?;
        let roster = Roster::load(&config.apps, store.handle())?;
        let roster = roster.with_grants(grants::load(config, &store.handle())?);
        let apps = roster.apps().clone();
        let logs = Logs::new(log_owners(&apps, &dialects.relay), found);
        let registry = Registry::start(roster, addresses.clone())?;
        let caller = Arc::new(HookCaller(hooks.handle()));
        let notifier = Arc::new(NodeNotifier(webhooks.handle()));
        let keeper = Arc::new(StoreKeeper(store.handle()));
        let cores = placement::cores(shards);
        let doors = doors(config, &tls);
        let rules = Arc::new(door_rules(config, seed));
        let (mut running, mut driver) = (Vec::with_capacity(shards), "");
        let mut go = Vec::with_capacity(shards);
        for (id, receiver) in receivers.into_iter().enumerate() {
            let (tell, told) = channel();
            go.push(tell);
            let (handle, kind) = crate::shard::start(ShardConfig {
                id: id as u16,
                core: cores.get(id).copied(),
                driver: placement::choice(config.driver),
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
                rules: rules.clone(),
                clock,
                seed: seed.rotate_left(17),
                go: Some(told),
            })?;
            info!(shard = id, driver = kind.name(), "shard started");
            running.push(handle);
            driver = match driver {
                "" => kind.name(),
                same if same == kind.name() => same,
                _ => "different drivers (see the log)",
            };
        }
        let data = config.store.data.as_deref().map(PathBuf::from);
        Ok(Node {
            addresses,
            shards: running,
            hooks,
            webhooks,
            store,
            control: None,
            registry,
            data,
            counters,
            clock,
            listening,
            go,
            lifecycle,
            tls: tls.reloader(),
            places,
            driver,
        })
    }

    /// Takes connections of the process before this one from now on.
    fn succeed(&self, config: &Config, predecessor: Predecessor, left: Inherited) -> Result<(), String> {
        let places: Vec<PlaceName> = place_names(config).collect();
        let addresses = self.addresses.clone();
        let adopt = move || predecessor.adopt(&places, &addresses, &left);
        let thread = thread::Builder::new().name("successor".into()).spawn(adopt);
        thread.map(drop).map_err(|e| format!("cannot start the thread that takes over: {e}"))
    }

    /// Lets the shards turn.
    fn serve(&mut self, config: &Config, notify: &Arc<Notify>) -> Result<(), String> {
        for go in self.go.drain(..) {
            let _ = go.send(()); // it waits for this
        }
        let clock = self.clock;
        let watch = Watch {
            counters: self.counters.clone(),
            clock_ms: Box::new(move || clock.mono_ns(Instant::now()) / 1_000_000),
            notify: notify.clone(),
            exit_ms: config.stall_exit_ms,
        };
        watch.start()?;
        self.open_control();
        self.lifecycle.running.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it has files that only one process can have open.
    pub(super) fn has_files(&self) -> bool {
        self.data.is_some()
    }

    /// Opens the control socket where there is a directory for it. A node without one serves all the same.
    pub(super) fn open_control(&mut self) {
        let (None, Some(data)) = (&self.control, &self.data) else { return };
        let opened = Control::open(data, self.registry.clone());
        let path = control::path(data);
        self.control =
            opened.inspect_err(|error| error!(%error, path = %path.display(), "no control socket")).ok();
    }

    /// Closes it.
    pub(super) fn close_control(&mut self) {
        self.control = None;
    }

    /// Ends every session in its own way within `drain_ms`, then the shards.
    fn stop(mut self, ending: Ending, drain_ms: u64) {
        self.lifecycle.draining.store(true, Ordering::Relaxed);
        self.close_control();
        self.listening.clear();
        let sender = match ending {
            Ending::Stopped(_) => {
                self.addresses.iter().for_each(|address| address.send(Mail::Drain(drain_ms)));
                None
            }
            Ending::HandedOver(heir) => {
                let (successor, connections) = channel();
                for address in &self.addresses {
                    address.send(Mail::HandOver { successor: successor.clone(), drain_ms });
                }
                let send = move || heir.send_all(&connections);
                thread::Builder::new().name("heir".into()).spawn(send).ok()
            }
        };
        for shard in self.shards {
            let _ = shard.join();
        }
        if let Some(sent) = sender.and_then(|sender| sender.join().ok()) {
            info!(connections = sent, "handed over to the new process");
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
fn bind_all(config: &Config, inherited: &mut Inherited) -> Result<(Vec<Place>, Vec<Vec<Listener>>), String> {
    let mut places = Vec::new();
    let mut per_shard: Vec<Vec<Listener>> = (0..config.shards).map(|_| Vec::new()).collect();
    for (index, listen) in config.listen.iter().chain(&config.internal_listen).enumerate() {
        let address = &listen.address;
        let place = match address {
            ListenAddress::Tcp(address) => Place::Ip(*address),
            ListenAddress::Unix(path) => Place::Unix(path.clone()),
        };
        let fds = inherited.take(&address.to_string(), &place);
        let found = match fds.is_empty() {
            true => bind_patiently(&place, listen.door.mode, index as u16, config.shards),
            false => inherit::adopt(fds, index as u16, config.shards),
        };
        let (bound, listeners) = found.map_err(|e| format!("cannot listen on {address}: {e}"))?;
        bound
            .find_dead_peers(&listeners, config.limits.peer_timeout_ms)
            .map_err(|e| format!("cannot watch the peers of {address}: {e}"))?;
        places.push(bound);
        for (shard, listener) in listeners.into_iter().enumerate() {
            per_shard[shard % config.shards].push(listener);
        }
    }
    Ok((places, per_shard))
}

/// The rings of a process that was just killed hold its sockets a moment longer than the process itself.
fn bind_patiently(
    place: &Place,
    mode: Option<u32>,
    index: u16,
    shards: usize,
) -> io::Result<(Place, Vec<Listener>)> {
    let mut attempts = 0;
    loop {
        match listen::bind(place, mode, index, shards) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && attempts < BIND_ATTEMPTS => {
                attempts += 1;
                thread::sleep(Duration::from_millis(BIND_PAUSE_MS));
            }
            result => return result,
        }
    }
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
        stall_ms: SEND_STALL_MS.min(limits.peer_timeout_ms),
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
    let api = |names: &[String]| match names {
        [] => Ok(Listeners::ALL),
        names => Listeners::of(names, &listeners).map_err(|name| format!("there is no listener `{name}`")),
    };
    let pusher =
        Pusher::new(config.pusher.clone(), hasher.clone()).with_api_on(api(&config.pusher.api_listeners)?);
    let mut secret = [0; 32];
    host::random(&mut secret).map_err(|e| format!("no randomness: {e}"))?;
    let durable = config.store.data.is_some();
    let open_apps = config.pushi.open_apps || config.development;
    let settings = pushi::Settings { durable, open_apps, ..config.pushi.clone() };
    let pushi = Pushi::new(settings, hasher, secret).with_api_on(api(&config.pushi.api_listeners)?);
    let admin = (!config.internal_listen.is_empty()).then(|| Admin::new(Listeners::internal(&listeners)));
    Ok(Dialects { relay, admin, echo: config.echo.then(|| Echo::new("/echo")), pusher, pushi })
}
