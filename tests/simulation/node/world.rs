//! The node: real shards on a simulated kernel, with played services beside them.

use super::client::{Subscriber, Way};
use super::counts::{Counts, Did};
use super::grants::{self, Pass, Taken};
use super::kernel::Simulated;
use super::publisher::Publisher;
use super::pusher::Client;
use super::pushi::{self as pushi_client, aliases};
use super::services::Services;
use super::traveller::Traveller;
use super::truth::Channel;
use crate::rng::Rng;
use fanwire::channel::hook::{HookAnswer, HookFailure};
use fanwire::channel::log::Logs;
use fanwire::channel::{KeyHasher, Now, Token};
use fanwire::dialect::app::{AppSettings, Apps};
use fanwire::dialect::echo::Echo;
use fanwire::dialect::grant::{Grants, Revocation, Revoked, revoked::What};
use fanwire::dialect::pusher::{self, Pusher};
use fanwire::dialect::pushi::{self, Pushi};
use fanwire::dialect::pushi::{registry::Document, route::Kind};
use fanwire::dialect::relay::Relay;
use fanwire::dialect::relay::settings::{
    LocationMethods, LocationSettings, PathPattern, RelaySettings, SlowConsumer,
};
use fanwire::dialect::session::Dialects;
use fanwire::limits::HomeLimits;
use fanwire::shard::counters::NodeCounters;
use fanwire::shard::door::Door;
use fanwire::shard::mailbox::{Address, Adopted, Bell, Mail, Noted, Post, mailbox};
use fanwire::shard::outbox::OutboxLimits;
use fanwire::shard::run::Clock;
use fanwire::shard::simulated::{Held, install};
use fanwire::shard::{DriverChoice, Shard, ShardConfig, ShardLimits};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, channel};

/// Channels that everybody uses; those from `DURABLE` on are on disk.
pub const NAMES: [&str; CHANNELS] = ["c0", "c1", "d0"];
pub const CHANNELS: usize = 3;
pub const DURABLE: usize = 2;

/// What the control frames of one turn may put into an outbox beyond its limit.
const EXCESS_BYTES: usize = 12_000;

pub type Channels = [Channel; CHANNELS];

/// What is the same for all lives of a node.
#[derive(Clone, Copy)]
pub struct Shape {
    pub shards: usize,
    /// Publications that a channel keeps.
    pub kept: u32,
    pub mailbox: usize,
    pub outbox: OutboxLimits,
    /// One channel needs a token ([`grants::CLOSED`]).
    pub closed: bool,
    /// Channels are deleted now and then.
    pub deletes: bool,
}

pub struct World {
    pub rng: Rng,
    pub shape: Shape,
    pub kernel: Rc<Simulated>,
    pub services: Services,
    pub shards: Vec<Shard>,
    addresses: Vec<Address>,
    pub counters: NodeCounters,
    pub apps: Arc<Apps>,
    noted: Vec<Receiver<()>>,
    pub channels: Channels,
    pub publishers: Vec<Publisher>,
    pub subscribers: Vec<Subscriber>,
    pub clients: Vec<Client>,
    pub pushis: Vec<pushi_client::Client>,
    pub travellers: Vec<Traveller>,
    /// The session token of Pushi's back ends.
    pub token: Option<String>,
    pub taken: Taken,
    pub counts: Counts,
    /// Ids given to publications.
    pub published: u64,
    pub connected: u64,
    /// A shard that is held up: it turns seldom.
    pub slow: usize,
    /// Peers that are gone without a word.
    pub silent: Vec<super::peer::Peer>,
    /// Connections of those who make the node panic.
    pub bombs: Vec<super::peer::Peer>,
    pub draining: bool,
    /// Nothing is read until it goes on; closed when all is answered.
    held: Option<Receiver<()>>,
    /// Connections that another process would have from now on.
    handed_over: Option<Receiver<Adopted>>,
    /// What happened last, for who looks into a failure.
    pub steps: Vec<String>,
    trace: bool,
}

fn location(prefix: &str, methods: LocationMethods, kept: u32) -> LocationSettings {
    LocationSettings {
        path: PathPattern::Prefix(prefix.into()),
        methods,
        buffer_messages: kept,
        ..LocationSettings::nchan()
    }
}

fn locations(kept: u32) -> RelaySettings {
    use LocationMethods::{Publisher, Subscriber};
    let durable = |prefix, methods| LocationSettings { durable: true, ..location(prefix, methods, 100_000) };
    RelaySettings {
        locations: vec![
            location("/pub/", Publisher, kept),
            location("/sub/", Subscriber, kept),
            durable("/dpub/", Publisher),
            durable("/dsub/", Subscriber),
            LocationSettings { split_delimiter: Some(",".into()), ..location("/msub/", Subscriber, kept) },
            LocationSettings {
                slow_consumer: SlowConsumer::DropOldest,
                ..location("/lsub/", Subscriber, kept)
            },
            LocationSettings {
                authorize: Some("http://h/may".into()),
                subscribe_hook: Some("http://h/come".into()),
                unsubscribe_hook: Some("http://h/go".into()),
                ..location("/hsub/", Subscriber, kept)
            },
        ],
    }
}

pub fn app(id: &str, kept: u32) -> AppSettings {
    AppSettings { history_messages: kept, ..AppSettings::new(id, &format!("{id}-key"), "secret") }
}

/// A user of Pushi who is subscribed to a channel, connected or not.
fn registered(user: &str, channel: &str) -> Document {
    Document {
        app: "one".into(),
        kind: Kind::Subscription,
        id: 1,
        object_id: [0; 12],
        subject: user.into(),
        channel: channel.into(),
        keys: None,
        created_s: 0,
    }
}

impl World {
    pub fn new(seed: u64, trace: bool) -> World {
        let mut rng = Rng::new(seed ^ 0x6e6f_6465);
        let shape = Shape {
            shards: 1 + rng.below(4),
            kept: *rng.pick(&[100_000, 100_000, 4]),
            mailbox: *rng.pick(&[8, 16, 4096]),
            outbox: OutboxLimits { bytes: *rng.pick(&[400, 4_000, 1 << 20]), frames: *rng.pick(&[8, 1024]) },
            closed: rng.chance(50),
            deletes: rng.chance(40),
        };
        let now = Now { mono_ns: 1_000_000_000, unix_ms: 1_795_257_022_000 };
        let kernel = Rc::new(Simulated::new(Rng::new(rng.next()), shape.shards, now));
        install(Some(kernel.clone()));
        let services = Services::default();
        services.desk().capacity = *rng.pick(&[2, 1000]);
        let apps = Apps::new([app("one", shape.kept), app("two", shape.kept)]).expect("two names");
        let rules = shape.closed.then(|| ("one".to_owned(), grants::rule()));
        let apps = Arc::new(
            apps.with_grants(Grants::new(rules.into_iter().collect(), Arc::new(Revoked::default()))),
        );
        let subscribers = (0..CHANNELS).map(|channel| Subscriber::witness(&mut rng, channel));
        let mut subscribers: Vec<_> = subscribers.collect();
        use Way::{Dropping, EventStream, Hooked, LongPoll, Multi, MultiPoll, WebSocket};
        let ways = [WebSocket, EventStream, LongPoll, Multi, MultiPoll, Hooked, Dropping];
        for _ in 0..3 + rng.below(4) {
            let way = *rng.pick(&ways);
            subscribers.push(Subscriber::new(&mut rng, way));
        }
        let client = |n: usize| Client::new(usize::from(n == 0), format!("u{}", n % 2), CHANNELS);
        let clients = (0..2 + rng.below(4)).map(client).collect();
        let pairs = rng.chance(50);
        let pushi = |n: usize| pushi_client::Client::new(usize::from(n == 3), format!("u{}", n % 3), pairs);
        let pushis = (0..*rng.pick(&[0, 1, 2, 3, 3])).map(pushi).collect();
        let mut world = World {
            publishers: (0..1 + rng.below(3)).map(|_| Publisher::default()).collect(),
            subscribers,
            clients,
            pushis,
            travellers: (0..rng.below(3)).map(|_| Traveller::default()).collect(),
            token: None,
            taken: Taken::default(),
            counts: Counts::default(),
            counters: NodeCounters::new(shape.shards, 1 << 30),
            shape,
            kernel,
            services,
            shards: Vec::new(),
            addresses: Vec::new(),
            apps,
            noted: Vec::new(),
            channels: Default::default(),
            published: 0,
            connected: 0,
            slow: rng.below(shape.shards * 2),
            silent: Vec::new(),
            bombs: Vec::new(),
            draining: false,
            held: None,
            handed_over: None,
            steps: Vec::new(),
            trace,
            rng,
        };
        world.start();
        world
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if self.trace {
            let what = what();
            println!("{what}");
            self.steps.push(what);
        }
    }

    /// The node starts, on what is on disk.
    fn start(&mut self) {
        let Shape { shards, kept, mailbox: capacity, outbox, .. } = self.shape;
        let hasher = KeyHasher::new(self.rng.next());
        let listeners = [("l", true)];
        let relay = Relay::new(&locations(kept), &listeners, &["one"], hasher.clone(), &[0; 24]);
        let dialects = Arc::new(Dialects {
            relay: relay.unwrap_or_else(|mistakes| panic!("{mistakes:?}")),
            admin: None,
            echo: Some(Echo::new("/echo")),
            pusher: Pusher::new(pusher::Settings::default(), hasher.clone()),
            pushi: Pushi::new(pushi::Settings::default(), hasher, [7; 32]),
        });
        for user in ["u0", "u1", "u2"] {
            aliases(user).iter().for_each(|&at| dialects.pushi.registry.load(registered(user, NAMES[at])));
        }
        self.counters = NodeCounters::new(shards, 1 << 30);
        let bells: Vec<_> = (0..shards).map(|_| Arc::new(Bell::new().expect("a descriptor"))).collect();
        let boxes = bells.iter().map(|bell| mailbox(bell.clone(), capacity));
        let (addresses, receivers): (Vec<Address>, Vec<_>) = boxes.unzip();
        let logs = Logs::new([(0, "one"), (1, "two")], self.services.at_start());
        let seed = self.rng.next();
        let services = Arc::new(self.services.clone());
        self.shards = receivers
            .into_iter()
            .enumerate()
            .map(|(id, receiver)| {
                Shard::simulated(ShardConfig {
                    id: id as u16,
                    core: None,
                    driver: DriverChoice::Epoll,
                    listeners: Vec::new(),
                    post: Post::new(id, addresses.clone(), receiver),
                    bell: bells[id].clone(),
                    dialects: dialects.clone(),
                    apps: self.apps.clone(),
                    pages: services.clone(),
                    caller: services.clone(),
                    notifier: services.clone(),
                    keeper: services.clone(),
                    logs: logs.clone(),
                    registrar: services.clone(),
                    node: self.counters.clone(),
                    limits: ShardLimits { home: HomeLimits::default(), outbox, ..ShardLimits::default() },
                    doors: [Door::default()].into(),
                    rules: Arc::default(),
                    clock: Clock::start(),
                    seed,
                    go: None,
                })
            })
            .collect();
        self.addresses = addresses;
    }

    /// The node is killed and starts again. What was on its way to the disk is there, in part.
    pub fn crash(&mut self) {
        self.counts.note(Did::Crashed);
        self.note_moves();
        for _ in 0..self.rng.below(4) {
            let _ = self.services.work();
        }
        for publisher in &mut self.publishers {
            publisher.lost(&mut self.channels);
        }
        self.subscribers.iter_mut().for_each(Subscriber::forget);
        self.clients.iter_mut().for_each(Client::lost);
        self.pushis.iter_mut().for_each(pushi_client::Client::lost);
        self.travellers.iter_mut().for_each(Traveller::lost);
        self.token = None;
        for (channel, state) in self.channels.iter_mut().enumerate() {
            if channel < DURABLE {
                *state = Channel::default();
            }
        }
        for client in &mut self.clients {
            for (channel, follower) in client.followers.iter_mut().enumerate() {
                if channel < DURABLE {
                    *follower = Default::default();
                }
            }
        }
        for client in &mut self.pushis {
            client.followers = Default::default();
        }
        self.bombs.clear();
        self.silent.clear();
        self.shards.clear();
        self.addresses.clear(); // and with them what was on its way
        {
            let mut desk = self.services.desk();
            desk.jobs.clear();
            desk.calls.clear();
            desk.told.clear();
            desk.occupied.clear();
            desk.joined.clear();
        }
        self.noted.clear();
        self.held = None;
        self.kernel.restart();
        // The clock of the machine has gone on, or was set.
        let passed = self.rng.below(4_000) as i64 - 1_000;
        self.kernel.advance(0, passed);
        self.start();
    }

    /// A shard turns once.
    pub fn turn(&mut self, shard: usize) {
        self.shards[shard].turn_once();
        let excess = self.shards[shard].held().outbox_excess;
        assert!(excess <= EXCESS_BYTES, "an outbox has {excess} bytes more than it may");
        if let Some(fault) = self.kernel.fault().or_else(super::panicked) {
            panic!("{fault}");
        }
        if let Some(fault) = self.services.desk().faults.first() {
            panic!("{fault}");
        }
    }

    /// Whether a shard has something to do.
    pub fn is_busy(&mut self, shard: usize) -> bool {
        self.kernel.has_events(shard)
            || self.shards[shard].wants_turn()
            || self.shards[shard].is_overflowing()
    }

    fn has_room(&self, shard: u16) -> bool {
        self.addresses[usize::from(shard)].waiting() < self.shape.mailbox
    }

    /// The store does a job, if its outcome fits into the mailbox.
    pub fn store_works(&mut self) -> bool {
        let to = self.services.desk().jobs.front().map(|(_, to)| to.shard);
        if !to.is_some_and(|shard| self.has_room(shard)) {
            return false;
        }
        let Some((to, outcome)) = self.services.work() else { return false };
        self.say(|| format!("store: {outcome:?} for {to:?}"));
        self.addresses[usize::from(to.shard)]
            .send(Mail::Store { token: to.token, outcome: Box::new(outcome) });
        true
    }

    /// A back end answers, in any order.
    pub fn hook_answers(&mut self) -> bool {
        let waiting = self.services.desk().calls.len();
        if waiting == 0 {
            return false;
        }
        let at = self.rng.below(waiting);
        let Some((to, _)) = self.services.desk().calls.remove(at) else { return false };
        if !self.has_room(to.shard) {
            return false; // nobody ever answers: its asker is told by its own end
        }
        let answer = match self.rng.below(10) {
            0 => Err(HookFailure::Timeout),
            1 => Ok(HookAnswer { status: 403, headers: Vec::new(), body: b"no".to_vec().into() }),
            _ => Ok(HookAnswer { status: 200, headers: Vec::new(), body: Default::default() }),
        };
        let token = Token { slot: to.slot, generation: to.generation, tag: to.tag };
        self.addresses[usize::from(to.shard)].send(Mail::Hook { token, answer: Box::new(answer) });
        true
    }

    /// How many connections have gone to another shard since the node has started.
    pub fn note_moves(&mut self) {
        self.counts.more(Did::Moved, self.counters.sum(|c| &c.adopted));
    }

    /// What somebody brings along who wants to be let in; none where nothing is closed.
    pub fn pass(&mut self, user: &str) -> Option<Pass> {
        let now_s = fanwire::shard::simulated::Kernel::now(&*self.kernel).unix_s();
        self.shape.closed.then(|| Pass::new(user, self.connected, now_s))
    }

    /// Takes back what a user has, or what a token is good for.
    pub fn revoke(&mut self, what: What, id: String) {
        let at_ms = fanwire::shard::simulated::Kernel::now(&*self.kernel).unix_ms;
        let revocation = Arc::new(Revocation { app: "one".into(), what, id: id.as_str().into(), at_ms });
        let (noted, all) = Noted::new();
        // The list is written to first, as the node does it.
        self.apps.grants().revoked.insert(&revocation, at_ms).expect("room for one more");
        let ended = Arc::new(AtomicU64::new(0));
        let mail = || Mail::Revoke {
            revocation: revocation.clone(),
            app: 0,
            ended: ended.clone(),
            noted: noted.clone(),
        };
        assert!(self.tell(mail), "a mailbox is full, and was not before");
        self.noted.push(all);
        self.taken.take(what, &id, at_ms);
        self.counts.note(Did::Revoked);
        for client in self.pushis.iter_mut().filter(|client| client.app == 0 && what == What::User) {
            client.must_go |= client.user == id && client.room == super::pusher::Sub::In;
        }
    }

    /// Whether every shard can be told something.
    pub fn can_tell(&self) -> bool {
        (0..self.shape.shards).all(|shard| self.has_room(shard as u16))
    }

    /// An app goes, or comes back under another number.
    pub fn change_apps(&mut self) {
        let other = match self.apps.without("two") {
            Some(apps) => apps,
            None => self.apps.with(app("two", self.shape.kept)).expect("a free name"),
        };
        let (apps, (noted, all)) = (Arc::new(other), Noted::new());
        if !self.tell(|| Mail::Apps { apps: apps.clone(), noted: noted.clone() }) {
            return;
        }
        self.apps = apps;
        self.noted.push(all);
    }

    /// Tells every shard; false when one has no room for it.
    fn tell(&self, mail: impl Fn() -> Mail) -> bool {
        let fits = self.can_tell();
        if fits {
            self.addresses.iter().for_each(|address| address.send(mail()));
        }
        fits
    }

    /// Another process of the node is about to take over; or it is not, and everything goes on.
    pub fn hold(&mut self) {
        if self.held.is_some() {
            return self.resume();
        }
        let (noted, all) = Noted::new();
        if self.tell(|| Mail::Hold(noted.clone())) {
            self.held = Some(all);
        }
    }

    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Everything goes on.
    pub fn resume(&mut self) {
        if self.held.is_some() && self.tell(|| Mail::Resume) {
            self.held = None;
        }
    }

    /// The shards are to stop; false when one has no room for the news. Some hand over to another process.
    pub fn drain(&mut self, drain_ms: u64) -> bool {
        let (successor, handed_over) = channel();
        let hands_over = self.rng.chance(50);
        self.draining = self.tell(|| match hands_over {
            true => Mail::HandOver { successor: successor.clone(), drain_ms },
            false => Mail::Drain(drain_ms),
        });
        self.handed_over = hands_over.then_some(handed_over);
        self.draining
    }

    /// What was handed over is closed: its clients are told nothing here.
    pub fn forget_handed_over(&self) {
        self.handed_over.iter().for_each(|handed_over| while handed_over.try_recv().is_ok() {});
    }

    /// What all shards hold together.
    pub fn held(&self) -> Held {
        self.shards.iter().map(Shard::held).fold(Held::default(), |sum, held| Held {
            slots: sum.slots + held.slots,
            sessions: sum.sessions + held.sessions,
            subscriptions: sum.subscriptions + held.subscriptions,
            channels_with_members: sum.channels_with_members + held.channels_with_members,
            channels: sum.channels + held.channels,
            stored: sum.stored + held.stored,
            moving: sum.moving + held.moving,
            overflowing: sum.overflowing + held.overflowing,
            undone: sum.undone + held.undone,
            outbox_excess: sum.outbox_excess.max(held.outbox_excess),
        })
    }

    /// Every change of the apps was noted by every shard.
    pub fn are_apps_noted(&self) -> bool {
        use std::sync::mpsc::TryRecvError::Disconnected;
        self.noted.iter().all(|all| all.try_recv() == Err(Disconnected))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shards.clear();
        install(None);
    }
}
