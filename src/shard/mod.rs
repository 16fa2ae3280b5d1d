//! One core's world: a thread with its rings, its connections, its channels and its mailbox. The only place that
//! knows sockets.
//!
//! One task, the *drain task* (`Shard::run`), owns everything. A turn of its loop: take what the net has, take mail,
//! run what follows ([`work`]), look at deadlines, and write each dirty connection once ([`flush`]). Everything that
//! a turn queues for a connection goes out in one send, so messages coalesce by themselves when the shard is busy
//! and wait for nothing when it is not.

pub mod accept;
pub mod act;
pub mod addresses;
pub mod admit;
pub mod apps;
pub mod connection;
pub mod counters;
pub mod door;
pub mod drain;
pub mod flush;
mod handover;
pub mod inflow;
pub mod inherit;
pub mod listen;
pub mod mailbox;
pub mod net;
pub mod net_epoll;
pub mod outbox;
mod pipe;
pub mod rate;
pub mod read;
pub mod refusals;
pub mod repeat;
mod revoke;
pub mod rt;
pub mod run;
pub mod simulated;
mod store;
pub mod tick;
pub mod tls;
pub mod turn;
pub mod wheel;
pub mod work;

pub use run::{DriverChoice, ShardConfig, ShardLimits, start};

use crate::channel::core::Home;
use crate::channel::hook::{HookCall, HookFailure, HookToken};
use crate::channel::members::{Member, Members};
use crate::channel::store::{Job, StoreError};
use crate::channel::{KeyCache, Notice, NoticeKind, Now, ReplyTo};
use crate::dialect::app::{Apps, Connected};
use crate::dialect::encode::Encoder;
use crate::dialect::{Action, Context, Dialects, Session, Tools};
use crate::wire::http::request::Request;
use crate::wire::http::response::Response;
use crate::wire::ws::deflate::Inflater;
use connection::{Carrier, Slab};
use counters::{Counters, NodeCounters};
use door::{Clients, Door, DoorRules};
use listen::Listener;
use mailbox::Post;
use net::{Event, Net};
use outbox::Spare;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use wheel::Wheel;

/// Pages of the node itself, which no dialect knows: health, metrics, the console.
pub trait Pages: Send + Sync {
    /// The answer, if the path is one of the node's on this listener.
    fn answer(&self, request: &Request<'_>, listener: u16) -> Option<Response>;
}

/// Who makes calls to back ends. The answer comes back as mail.
pub trait Caller: Send + Sync {
    /// Hands a call over; never blocks.
    fn call(&self, token: HookToken, call: HookCall) -> Result<(), HookFailure>;
}

/// Who tells back ends what has happened.
pub trait Notifier: Send + Sync {
    /// Whether anybody at this app's back end wants to know of such things.
    fn wants(&self, app: u32, kind: NoticeKind) -> bool;
    /// Hands a notice over; never blocks.
    fn notify(&self, notice: Notice);
}

/// Who keeps what survives the node. The outcome comes back as mail.
pub trait Keeper: Send + Sync {
    /// Hands a job over; never blocks. A job that is refused has no other outcome.
    fn submit(&self, job: Job, to: ReplyTo) -> Result<(), StoreError>;
}

/// A shard.
pub struct Shard {
    id: u16,
    net: Net,
    slab: Slab,
    home: Home,
    members: Members,
    post: Post,
    dialects: Arc<Dialects>,
    pages: Arc<dyn Pages>,
    caller: Arc<dyn Caller>,
    notifier: Arc<dyn Notifier>,
    keeper: Arc<dyn Keeper>,
    registrar: Arc<dyn apps::Registrar>,
    /// When the store is swept next, monotonic milliseconds; only one shard asks for it.
    next_sweep_ms: u64,
    /// By the number of the listener.
    doors: Arc<[Door]>,
    rules: Arc<DoorRules>,
    clients: Clients,
    /// Exchanges that count as connections of their apps, by slot.
    seats: HashMap<u32, Connected, foldhash::fast::RandomState>,
    counters: Arc<Counters>,
    node: NodeCounters,
    limits: ShardLimits,
    listeners: Vec<Listener>,
    encoder: Encoder,
    keys: KeyCache,
    apps: Arc<Apps>,
    tools: Tools,
    inflater: Option<Box<Inflater>>,
    wheel: Wheel,
    clock: run::Clock,
    now: Now,
    date: (u64, [u8; 29]),
    random: u64,
    /// Where recv(2) puts bytes; taken while they are looked at.
    scratch: Box<[u8]>,
    events: Vec<Event>,
    actions: Vec<Action>,
    work: VecDeque<work::Work>,
    dirty: Vec<u32>,
    /// Connections with input that was not read, or read and not used.
    again: Vec<net::Key>,
    taken: Vec<Member>,
    overflowed: Vec<(Member, bytes::Bytes)>,
    effects: Vec<crate::channel::Effect>,
    spare_fd: Option<std::os::fd::OwnedFd>,
    due: Vec<net::Key>,
    spare: Spare,
    gather: flush::Gather,
    tls: tls::Desk,
    /// Publish times of what this turn delivers, for the latency histogram.
    delivering: Vec<u64>,
    moving: HashMap<u32, Box<act::Moving>>,
    move_to: Option<u16>,
    /// Whose session is being called: who pays for a panic.
    calling: Option<u32>,
    drain: Option<drain::Drain>,
    silence: handover::Silence,
    next_unix_shard: usize,
    /// See [`refusals`], monotonic milliseconds.
    logs_renewed_ms: u64,
    /// What connections have sent, by slot; empty while nothing of it is limited.
    rates: Vec<inflow::Rate>,
}

impl Shard {
    /// Calls the session of `slot` and carries out what it wants.
    fn with_session(&mut self, slot: u32, call: impl FnOnce(&Dialects, &mut Context<'_>, &mut Session)) {
        let connection = &mut self.slab[slot];
        let mut session = std::mem::take(&mut connection.session);
        let fd = connection.fd;
        let peer = self.clients.peer(slot, fd);
        let wants_standing = matches!(&connection.carrier, Carrier::Http(http) if http.wants_standing());
        let mut actions = std::mem::take(&mut self.actions);
        self.random = splitmix(&mut self.random);
        let mut context = Context {
            now: self.now,
            random: self.random,
            peer: &peer,
            listener: connection.listener,
            delivered_ms: u64::from(connection.delivered) * crate::limits::TICK_MS,
            heard_ms: u64::from(connection.heard.saturating_sub(1)) * crate::limits::TICK_MS,
            encoder: &mut self.encoder,
            keys: &mut self.keys,
            wants_standing,
            shard: self.id,
            shards: self.post.shards() as u16,
            slot,
            apps: &self.apps,
            tools: &mut self.tools,
            actions: &mut actions,
            sessions: &self.slab,
            figures: &self.node,
        };
        self.calling = Some(slot);
        self.counters.marks.calls(slot, fd);
        call(&self.dialects, &mut context, &mut session);
        self.calling = None;
        self.counters.marks.called();
        self.slab[slot].session = session;
        self.carry_out(slot, &mut actions);
        actions.clear();
        self.actions = actions;
    }

    /// The current date for HTTP, formatted once a second.
    fn date(&mut self) -> [u8; 29] {
        let second = self.now.unix_s();
        if self.date.0 != second {
            self.date = (second, crate::wire::http::date::format(second as i64));
        }
        self.date.1
    }
}

/// The next of a sequence of well-mixed numbers.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
