//! A shard's thread: start, the loop, the end.

use super::accept::spare_fd;
use super::apps::Registrar;
use super::counters::{Counters, NodeCounters};
use super::door::{Clients, Door, DoorRules};
use super::flush::Gather;
use super::handover::Silence;
use super::listen::Listener;
use super::mailbox::{Bell, Mail, Post};
use super::net::{Event, Net, NetKind};
use super::outbox::{OutboxLimits, Spare};
use super::rt::{Kind, Runtime, Waitable, spawn_ticker};
use super::simulated;
use super::turn::Part;
use super::wheel::Wheel;
use super::{Caller, Keeper, Notifier, Pages, Shard};
use crate::channel::core::Home;
use crate::channel::log::Logs;
use crate::channel::members::Members;
use crate::channel::{KeyCache, Now};
use crate::dialect::Dialects;
use crate::dialect::app::Apps;
use crate::dialect::encode::Encoder;
use crate::limits::{
    HomeLimits, HttpLimits, MAILS_PER_TURN, NODE_BODY_TIMEOUT_MS, NODE_CONNECTIONS,
    NODE_CONNECTIONS_PER_ADDRESS, NODE_HEADER_TIMEOUT_MS, NODE_IDLE_TIMEOUT_MS, NODE_OUTBOX_BYTES,
    NODE_OUTBOX_MESSAGES, NODE_WEBSOCKET_PONG_TIMEOUT_MS, RECV_BYTES, RateLimits, SEND_STALL_MS,
    SUBSCRIPTIONS_PER_SESSION, TICK_MS, TURNS_BEFORE_YIELD, WsLimits,
};
use crate::wire::ws::deflate::Inflater;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::{error, info, warn};

/// Bounds of one shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Of requests.
    pub http: HttpLimits,
    /// Of WebSocket messages.
    pub ws: WsLimits,
    /// Of channels.
    pub home: HomeLimits,
    /// Of what waits for a peer.
    pub outbox: OutboxLimits,
    /// Connections of the node.
    pub connections: usize,
    /// Connections from one address; 0 = any number.
    pub connections_per_address: usize,
    /// Time for a request's head, milliseconds.
    pub header_ms: u64,
    /// Time for a request's body, milliseconds.
    pub body_ms: u64,
    /// Time between requests, milliseconds.
    pub idle_ms: u64,
    /// Time for the answer to a WebSocket ping, milliseconds.
    pub pong_ms: u64,
    /// Of what one connection sends.
    pub rates: RateLimits,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// See [`SEND_STALL_MS`].
    pub stall_ms: u64,
}

impl Default for ShardLimits {
    fn default() -> Self {
        ShardLimits {
            http: HttpLimits::default(),
            ws: WsLimits::default(),
            home: HomeLimits::default(),
            outbox: OutboxLimits { bytes: NODE_OUTBOX_BYTES, frames: NODE_OUTBOX_MESSAGES },
            connections: NODE_CONNECTIONS,
            connections_per_address: NODE_CONNECTIONS_PER_ADDRESS,
            header_ms: NODE_HEADER_TIMEOUT_MS,
            body_ms: NODE_BODY_TIMEOUT_MS,
            idle_ms: NODE_IDLE_TIMEOUT_MS,
            pong_ms: NODE_WEBSOCKET_PONG_TIMEOUT_MS,
            rates: RateLimits::default(),
            subscriptions: SUBSCRIPTIONS_PER_SESSION,
            stall_ms: SEND_STALL_MS,
        }
    }
}

/// Which driver a shard may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// The best that can really be built.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

impl DriverChoice {
    fn kinds(self) -> &'static [(Kind, NetKind)] {
        const ALL: [(Kind, NetKind); 4] = [
            (Kind::UringDefer, NetKind::UringDefer),
            (Kind::UringCoop, NetKind::UringCoop),
            (Kind::UringPlain, NetKind::UringPlain),
            (Kind::Epoll, NetKind::Epoll),
        ];
        match self {
            DriverChoice::Auto => &ALL,
            DriverChoice::Uring => &ALL[..3],
            DriverChoice::Epoll => &ALL[3..],
        }
    }
}

/// The clock of a node: monotonic time counts from one moment for all shards.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Monotonic nanoseconds; starts at one second, so that 0 can mean "never".
    pub fn mono_ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.0).as_nanos() as u64 + 1_000_000_000
    }

    /// Both times now.
    pub fn now(&self) -> Now {
        if let Some(now) = simulated::now() {
            return now;
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono_ns: self.mono_ns(Instant::now()), unix_ms: unix.as_millis() as u64 }
    }
}

/// Everything a shard needs to start.
pub struct ShardConfig {
    /// Its number.
    pub id: u16,
    /// The core it is pinned to, if any.
    pub core: Option<usize>,
    /// Which driver it may use.
    pub driver: DriverChoice,
    /// Its listening sockets.
    pub listeners: Vec<Listener>,
    /// Its mailbox and everybody else's address.
    pub post: Post,
    /// Wakes it.
    pub bell: Arc<Bell>,
    /// The dialects.
    pub dialects: Arc<Dialects>,
    /// Tenants.
    pub apps: Arc<Apps>,
    /// The node's own pages.
    pub pages: Arc<dyn Pages>,
    /// Makes hook calls.
    pub caller: Arc<dyn Caller>,
    /// Tells back ends what has happened.
    pub notifier: Arc<dyn Notifier>,
    /// Keeps what survives the node.
    pub keeper: Arc<dyn Keeper>,
    /// Which log belongs to which channel.
    pub logs: Logs,
    /// Makes apps.
    pub registrar: Arc<dyn Registrar>,
    /// Figures of all shards.
    pub node: NodeCounters,
    /// Bounds.
    pub limits: ShardLimits,
    /// What each listener asks for, by its number.
    pub doors: Arc<[Door]>,
    /// What all of them have in common.
    pub rules: Arc<DoorRules>,
    /// The clock.
    pub clock: Clock,
    /// For everything random in it.
    pub seed: u64,
    /// Told when the shard shall begin to turn, and so to accept; closed when it shall not. None: at once.
    pub go: Option<Receiver<()>>,
}

/// Starts a shard's thread and waits until it has built its rings and listens, or could not.
pub fn start(config: ShardConfig) -> Result<(thread::JoinHandle<()>, NetKind), String> {
    let (tell, told) = channel();
    let id = config.id;
    let body = move || match Shard::build(config) {
        Ok((runtime, shard, start)) => runtime.run(shard.run(start, tell)),
        Err(message) => {
            let _ = tell.send(Err(message));
        }
    };
    let handle = thread::Builder::new()
        .name(format!("shard-{id}"))
        .spawn(body)
        .map_err(|e| format!("cannot start the thread of shard {id}: {e}"))?;
    match told.recv() {
        Ok(Ok(kind)) => Ok((handle, kind)),
        Ok(Err(message)) => Err(message),
        Err(_) => Err(format!("shard {id} died while starting")),
    }
}

/// Builds both rings of a thread, the best kind that works. Memory for rings is accounted late: what another process
/// of the same user has just given back may take a moment.
pub fn build_rings(choice: DriverChoice, bell: &Bell) -> Result<(Runtime, Net, NetKind), String> {
    let mut reasons = String::new();
    for &(kind, net_kind) in choice.kinds() {
        for attempt in 0..5 {
            let built = Net::build(net_kind, bell.eventfd()).and_then(|net| Ok((Runtime::build(kind)?, net)));
            match built {
                Ok((runtime, net)) => {
                    if net_kind == NetKind::Epoll && !reasons.is_empty() {
                        let reasons = reasons.trim_end_matches("; ");
                        warn!(reasons, "io_uring cannot be had; epoll does instead");
                    }
                    return Ok((runtime, net, net_kind));
                }
                Err(e) if e.kind() == io::ErrorKind::OutOfMemory && attempt < 4 => {
                    thread::sleep(Duration::from_millis(40));
                }
                Err(e) => {
                    reasons.push_str(&format!("{}: {e}; ", net_kind.name()));
                    break;
                }
            }
        }
    }
    Err(format!("no driver works: {}", reasons.trim_end_matches("; ")))
}

fn pin(core: usize) {
    // SAFETY: cpu_set_t is plain data; the set is live during the call, which only concerns this thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % libc::CPU_SETSIZE as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// What a shard's loop needs besides the shard.
pub(super) struct Start {
    bell: Arc<Bell>,
    kind: NetKind,
    go: Option<Receiver<()>>,
}

impl Shard {
    fn build(config: ShardConfig) -> Result<(Runtime, Shard, Start), String> {
        if let Some(core) = config.core {
            pin(core);
        }
        let (runtime, mut net, kind) = build_rings(config.driver, &config.bell)?;
        for (at, listener) in config.listeners.iter().enumerate() {
            net.listen(listener.fd.as_raw_fd(), at as u16).map_err(|e| format!("cannot listen: {e}"))?;
        }
        let (shard, start) = Shard::assemble(config, net, kind);
        Ok((runtime, shard, start))
    }

    /// A shard on this net.
    pub(super) fn assemble(config: ShardConfig, net: Net, kind: NetKind) -> (Shard, Start) {
        let counters: Arc<Counters> = config.node.shards[config.id as usize].clone();
        counters.set_driver(kind);
        let spare = config.listeners.first().and_then(|l| spare_fd(&l.fd));
        let encoder = Encoder::new(config.dialects.relay.forms());
        let mut home = Home::new(config.limits.home);
        home.use_logs(config.logs);
        let mut shard = Shard {
            id: config.id,
            net,
            slab: Default::default(),
            home,
            members: Members::default(),
            post: config.post,
            dialects: config.dialects,
            pages: config.pages,
            caller: config.caller,
            notifier: config.notifier,
            keeper: config.keeper,
            registrar: config.registrar,
            next_sweep_ms: 0,
            doors: config.doors,
            rules: config.rules,
            clients: Clients::default(),
            seats: HashMap::default(),
            counters,
            node: config.node,
            limits: config.limits,
            listeners: config.listeners,
            encoder,
            keys: KeyCache::default(),
            apps: config.apps,
            tools: Default::default(),
            inflater: Some(Box::new(Inflater::new(false))),
            wheel: Wheel::new(),
            clock: config.clock,
            now: config.clock.now(),
            date: (0, [b' '; 29]),
            random: config.seed ^ u64::from(config.id).rotate_left(32),
            scratch: vec![0; RECV_BYTES].into_boxed_slice(),
            events: Vec::new(),
            actions: Vec::new(),
            work: VecDeque::new(),
            effects: Vec::new(),
            dirty: Vec::new(),
            again: Vec::new(),
            taken: Vec::new(),
            overflowed: Vec::new(),
            due: Vec::new(),
            spare: Spare::default(),
            spare_fd: spare,
            gather: Gather::new(),
            tls: Default::default(),
            delivering: Vec::new(),
            moving: HashMap::new(),
            move_to: None,
            calling: None,
            drain: None,
            silence: Silence::None,
            next_unix_shard: 0,
            logs_renewed_ms: 0,
            rates: Vec::new(),
        };
        shard.follow_apps();
        (shard, Start { bell: config.bell, kind, go: config.go })
    }

    /// The drain task: turns until there is nothing to do, sleeps until there is.
    async fn run(mut self, start: Start, tell: Sender<Result<NetKind, String>>) {
        let Start { bell, kind, go } = start;
        let waits = match self.net.epoll_fd() {
            Some(epoll) => Waitable::new(epoll),
            None => Waitable::new(&**bell.eventfd()),
        };
        let always = Bell::new();
        let (Ok(wait), Ok(always)) = (waits, always) else {
            let _ = tell.send(Err("out of file descriptors while starting".into()));
            return;
        };
        always.signal();
        let Ok(breath) = Waitable::new(&**always.eventfd()) else {
            let _ = tell.send(Err("out of file descriptors while starting".into()));
            return;
        };
        let _ = tell.send(Ok(kind));
        if go.is_some_and(|go| go.recv().is_err()) {
            return; // the node does not start
        }
        self.counters.alive_ms.set(self.clock.now().mono_ms());
        self.counters.marks.begin();
        let stop = Rc::new(Cell::new(false));
        let (ticker_stop, ticker_bell) = (stop.clone(), bell.clone());
        let ticker = spawn_ticker(Duration::from_millis(TICK_MS), move || {
            ticker_bell.signal();
            !ticker_stop.get()
        });
        while !self.is_drained() {
            let mut turns = 0;
            while turns < TURNS_BEFORE_YIELD && (turns == 0 || self.has_more()) {
                self.turn();
                turns += 1;
            }
            if self.has_more() {
                breath.readable().await; // the runtime's timers have their turn, too
                continue;
            }
            bell.about_to_sleep();
            let sleep = self.net.prepare_sleep() && self.post.waiting() == 0;
            if sleep {
                self.counters.sleeps.add(1);
                self.counters.marks.at(Part::Asleep);
                wait.readable().await;
            }
            self.net.awake();
            bell.awake(sleep);
        }
        stop.set(true);
        ticker.ended().await;
        self.counters.marks.end();
        info!(shard = self.id, "shard ended");
    }

    pub(super) fn has_more(&mut self) -> bool {
        !self.again.is_empty()
            || !self.dirty.is_empty()
            || !self.work.is_empty()
            || !self.due.is_empty()
            || self.post.waiting() > 0
            || self.net.pending()
    }

    /// One turn of the loop.
    pub(super) fn turn(&mut self) {
        self.counters.turns.add(1);
        self.now = self.clock.now();
        self.tls.turn();
        self.counters.marks.at(Part::Net);
        let mut events = std::mem::take(&mut self.events);
        self.net.turn(&mut events);
        self.counters.marks.at(Part::Events);
        for event in events.drain(..) {
            self.guarded(event_slot(event), |shard| shard.on_event(event));
        }
        self.events = events;
        self.counters.marks.at(Part::Again);
        for key in std::mem::take(&mut self.again) {
            self.guarded(Some(key.slot), |shard| shard.on_again(key));
        }
        self.counters.marks.at(Part::Mail);
        for _ in 0..MAILS_PER_TURN {
            let Some(mail) = self.post.receive() else { break };
            self.on_guarded_mail(mail);
        }
        self.counters.marks.at(Part::Work);
        self.guarded(None, |shard| shard.run_work());
        self.counters.marks.at(Part::Tick);
        self.guarded(None, |shard| shard.tick());
        self.counters.marks.at(Part::Flush);
        self.post.ring();
        self.guarded(None, |shard| {
            shard.flush();
            shard.run_work();
        });
        self.post.ring_late();
        self.encoder.clear();
        if !matches!(self.silence, Silence::None) {
            self.guarded(None, Shard::hand_over_some);
        }
    }

    fn on_guarded_mail(&mut self, mail: Mail) {
        let slot = match &mail {
            Mail::Answer { token, .. } | Mail::Hook { token, .. } | Mail::Store { token, .. } => {
                Some(token.slot)
            }
            _ => None,
        };
        self.guarded(slot, |shard| {
            shard.on_mail(mail);
            shard.run_work();
        });
    }

    /// A panic costs the connection that it happened for, not the shard.
    fn guarded(&mut self, slot: Option<u32>, call: impl FnOnce(&mut Shard)) {
        if catch_unwind(AssertUnwindSafe(|| call(self))).is_ok() {
            return;
        }
        self.counters.panics.add(1);
        self.move_to = None;
        error!(shard = self.id, "a handler has panicked");
        self.counters.marks.called();
        let slot = self.calling.take().or(slot);
        if let Some(slot) = slot.filter(|&slot| slot < self.slab.slots()) {
            self.slab[slot].open = false; // its session is lost, or not to be trusted
            self.close_now(slot);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Accepted { listener, fd } => {
                // The net knows the shard's sockets by their place in its list.
                let index = self.listeners.get(listener as usize).map_or(listener, |l| l.index);
                self.on_accepted(index, fd);
            }
            Event::AcceptFailed { listener, errno } => self.on_accept_failed(listener, errno),
            Event::Readable { key, hangup } => {
                if self.slab.is(key) {
                    self.on_readable(key.slot, hangup);
                }
            }
            Event::Writable { key } => {
                if self.slab.is(key) {
                    self.on_writable(key.slot);
                }
            }
            Event::PollEnded { key, input } => {
                if self.slab.is(key) {
                    self.on_poll_ended(key.slot, input);
                }
            }
        }
        self.run_work();
    }

    /// The last completion of a poll: the slot may be free now, or (the kernel had to drop a poll) needs a new one.
    fn on_poll_ended(&mut self, slot: u32, input: bool) {
        let key = self.slab.key(slot);
        let connection = &mut self.slab[slot];
        connection.armed = connection.armed.saturating_sub(1);
        if connection.state != super::connection::State::Open {
            return self.release(slot);
        }
        if input {
            let fd = connection.fd;
            if let Ok(armed) = self.net.register(fd, key) {
                self.slab[slot].armed += armed;
            }
            self.on_readable(slot, false);
        }
    }
}

fn event_slot(event: Event) -> Option<u32> {
    match event {
        Event::Accepted { .. } | Event::AcceptFailed { .. } => None,
        Event::Readable { key, .. } | Event::Writable { key } | Event::PollEnded { key, .. } => {
            Some(key.slot)
        }
    }
}
