//! Homes, members and mailboxes of several shards in one thread. Every session keeps its own list of users, from
//! its answer and from what it is told: whenever a publication comes, that list has to be the one which the home
//! had when it was published.

use crate::model::{self, Announced, Model, SubId, users};
use crate::outside::Outside;
use crate::rng::Rng;
use fanwire::channel::command::{Effect, ShardSet, Subscribe};
use fanwire::channel::core::Home;
use fanwire::channel::members::{Form, Member, Members, Subscription};
use fanwire::channel::{
    Announcement, Answer, AppWays, ChannelKey, Class, Command, Concurrency, KeyHasher, Message, Now, Policy,
    PresenceLimits, Publication, ReplyTo, Start, Token, User,
};
use fanwire::limits::HomeLimits;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

type Ids = BTreeSet<Vec<u8>>;

enum Mail {
    Ask(Ask),
    Deliver(usize, Arc<Publication>),
    Announce(usize, Arc<Announcement>),
    End(usize),
    Answer(Token, Answer),
}

struct Ask {
    name: usize,
    command: Command,
    from: ReplyTo,
    sub: Option<SubId>,
}

struct Shard {
    home: Home,
    members: Members,
    mail: VecDeque<Mail>,
    asked: HashMap<Token, SubId>,
    seated: HashMap<Member, SubId>,
}

struct Sub {
    name: usize,
    shard: usize,
    connection: usize,
    token: Token,
    state: Subscription,
    wanted: bool,
    stream: bool,
    /// Its registration is a user's.
    named: bool,
    /// What it knows, if it asked for the list.
    view: Option<Ids>,
    /// The count it was told last.
    count: Option<u32>,
}

/// How much of everything happened.
#[derive(Default, Debug)]
pub struct Counts {
    pub joins: u64,
    pub leaves: u64,
    pub again: u64,
    pub refused: u64,
    pub told: u64,
    pub seen: u64,
    pub late: u64,
    pub stale: u64,
    pub ended: u64,
    pub abandoned: u64,
    pub occupied: u64,
    pub counted: u64,
}

pub struct World {
    pub rng: Rng,
    now: Now,
    model: Model,
    outside: Outside,
    keys: Vec<Arc<ChannelKey>>,
    shards: Vec<Shard>,
    subs: Vec<Sub>,
    policies: Vec<Arc<Policy>>,
    /// Unsubscribes of users' registrations that were sent once, to be sent again.
    sent: Vec<(usize, Ask)>,
    /// The users at the time of each publication.
    published: Vec<Ids>,
    connections: usize,
    /// How many of a hundred subscribers say who they are.
    named: usize,
    pub counts: Counts,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let shards = 1 + rng.below(4);
        let hasher = KeyHasher::new(rng.next());
        let keys: Vec<_> =
            (0..1 + rng.below(3)).map(|n| ChannelKey::new(&hasher, 0, b"", &[n as u8])).collect();
        let presence_bytes = if rng.chance(15) { 4_000 } else { 1 << 30 };
        let limits = HomeLimits { presence_bytes, ..HomeLimits::default() };
        let policy = |rng: &mut Rng| PresenceLimits {
            users: *rng.pick(&[0, 0, 1, 3]),
            user_bytes: 20,
            leave_grace_ms: *rng.pick(&[0, 0, 300, 2_000]),
            announce_lists: rng.chance(30),
        };
        let policies = (0..1 + rng.below(2))
            .map(|_| {
                // No channel goes unless it is deleted, or what was in it would be forgotten unseen.
                let channel_timeout_ms = 1 << 40;
                Arc::new(Policy { presence: policy(&mut rng), channel_timeout_ms, ..Policy::default() })
            })
            .collect();
        let ways = AppWays { occupancy: rng.chance(50), counts: rng.chance(50), channels: 0 };
        let home = || {
            let mut home = Home::new(limits);
            home.set_app(0, ways);
            home
        };
        let shard = |_| Shard {
            home: home(),
            members: Members::default(),
            mail: VecDeque::new(),
            asked: HashMap::new(),
            seated: HashMap::new(),
        };
        World {
            now: Now { mono_ns: 7_000_000_000, unix_ms: 1_000_000 },
            model: Model::new(keys.iter().map(|k| k.home(shards)).collect(), presence_bytes),
            outside: Outside::new(ways, keys.len()),
            shards: (0..shards).map(shard).collect(),
            connections: shards * (1 + rng.below(6)),
            keys,
            named: *rng.pick(&[80, 80, 0]),
            rng,
            subs: Vec::new(),
            policies,
            sent: Vec::new(),
            published: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub fn step(&mut self) {
        let shard = self.rng.below(self.shards.len());
        let name = self.rng.below(self.keys.len());
        match self.rng.below(100) {
            0..40 => self.turn(shard),
            40..65 => self.subscribe(shard, name),
            65..75 => {
                let open: Vec<SubId> = (0..self.subs.len()).filter(|&s| self.subs[s].wanted).collect();
                if !open.is_empty() {
                    let sub = *self.rng.pick(&open);
                    self.leave(sub);
                }
            }
            75..79 => {
                let connection = self.rng.below(self.connections);
                self.die(|sub| sub.connection == connection);
            }
            79 => self.die(|sub| sub.shard == shard),
            80..84 => self.send_again(),
            84..92 => {
                self.publish(shard, name);
            }
            92 => self.ask(shard, name, Command::Delete),
            93..95 => self.ask(shard, name, Command::Users),
            _ => {
                let ms = *self.rng.pick(&[1, 100, 400, 2_500]);
                self.now.mono_ns += ms * 1_000_000;
                self.tick(shard);
            }
        }
    }

    fn ask(&mut self, shard: usize, name: usize, command: Command) {
        let token = Token { slot: u32::MAX, ..Token::default() };
        let from = ReplyTo { shard: shard as u16, token };
        self.send(shard, Ask { name, command, from, sub: None });
    }

    fn publish(&mut self, shard: usize, name: usize) {
        let policy = self.policies[0].clone();
        self.ask(shard, name, Command::Publish { message: Message::default(), policy, create: true });
    }

    fn send(&mut self, shard: usize, ask: Ask) {
        let home = self.keys[ask.name].home(self.shards.len());
        if home == shard {
            self.at_home(home, ask);
        } else {
            self.shards[home].mail.push_back(Mail::Ask(ask));
        }
    }

    fn turn(&mut self, shard: usize) {
        for _ in 0..1 + self.rng.below(4) {
            let Some(mail) = self.shards[shard].mail.pop_front() else { return };
            self.handle(shard, mail);
        }
    }

    fn handle(&mut self, shard: usize, mail: Mail) {
        match mail {
            Mail::Ask(ask) => self.at_home(shard, ask),
            Mail::Deliver(name, publication) => self.deliver(shard, name, &publication),
            Mail::Announce(name, announcement) => self.announce(shard, name, &announcement),
            Mail::End(name) => self.end(shard, name),
            Mail::Answer(token, answer) => self.answer(shard, token, &answer),
        }
    }

    // ---- the home's side ----

    fn at_home(&mut self, home: usize, mut ask: Ask) {
        if let Command::Publish { message, .. } = &mut ask.command {
            message.payload = (self.published.len() as u64).to_le_bytes().to_vec().into();
            self.published.push(self.model.ids(ask.name));
        }
        let Ask { name, command, from, sub } = ask;
        let deleted = matches!(command, Command::Delete);
        let (answer, mut told) = self.model.apply(name, &command, from.shard, sub, self.now.mono_ms());
        let key = self.keys[name].clone();
        let mut effects = Vec::new();
        let busy = ShardSet::default();
        self.shards[home].home.apply(&key, command, from, self.now, busy, &mut effects);
        let answered = effects.iter().any(|e| matches!(e, Effect::Answer { .. }));
        assert_eq!(answered, answer != model::Answer::Nothing);
        for effect in effects {
            if let Effect::Answer { answer: is, .. } = &effect {
                assert!(told.is_empty(), "answered before {told:?}");
                self.counts.refused += u64::from(matches!(is, Answer::Refused(_)));
                self.check_answer(name, &answer, is);
            }
            self.effect(home, name, effect, &mut told);
        }
        assert!(told.is_empty(), "not announced: {told:?}");
        self.outside.after(name, deleted, self.now.mono_ms(), &self.model);
        assert_eq!(self.shards[home].home.presence_bytes(), self.model.bytes(home), "memory of users");
    }

    fn check_answer(&self, name: usize, expected: &model::Answer, is: &Answer) {
        let listed = self.model.ids(name).len() as u32;
        let is = match is {
            Answer::Subscribed(s) => {
                assert_eq!(s.info.users.unwrap_or(0), listed);
                assert_eq!(s.info.subscribers as usize, self.model.registered(name).len());
                model::Answer::Subscribed(s.registered.is_some(), s.users.as_ref().map(users))
            }
            Answer::Published { info, .. } => {
                assert_eq!(info.users.unwrap_or(0), listed);
                model::Answer::Published
            }
            Answer::Users(list) => model::Answer::Users(users(list)),
            Answer::Refused(refusal) => model::Answer::Refused(*refusal),
            _ => model::Answer::Other,
        };
        assert_eq!(is, *expected, "answer (left) against model (right)");
    }

    fn effect(&mut self, home: usize, name: usize, effect: Effect, told: &mut Vec<Announced>) {
        let mut only = ShardSet::default();
        let (shards, mail): (ShardSet, Box<dyn Fn() -> Mail>) = match effect {
            Effect::Deliver { shards, publication, .. } => {
                (shards, Box::new(move || Mail::Deliver(name, publication.clone())))
            }
            Effect::Announce { shards, channel, announcement } => {
                assert!(channel == self.keys[name]);
                match *announcement {
                    Announcement::Joined(_) => self.counts.joins += 1,
                    Announcement::Left(_) => self.counts.leaves += 1,
                    Announcement::Occupied | Announcement::Vacated => self.counts.occupied += 1,
                    Announcement::Count(_) => self.counts.counted += 1,
                }
                match announced(&announcement, shards) {
                    Some(_) if told.is_empty() => panic!("announced twice: {announcement:?}"),
                    Some(is) => assert_eq!(is, told.remove(0)),
                    None => self.outside.told(name, &announcement, shards, &self.model),
                }
                (shards, Box::new(move || Mail::Announce(name, announcement.clone())))
            }
            Effect::End { shards, .. } => (shards, Box::new(move || Mail::End(name))),
            Effect::Store { job, .. } => panic!("nothing is durable here: {job:?}"),
            Effect::Answer { to, answer } => {
                only.insert(to.shard as usize);
                (only, Box::new(move || Mail::Answer(to.token, answer.clone())))
            }
        };
        for shard in shards.iter() {
            if shard == home {
                self.handle(shard, mail());
            } else {
                self.shards[shard].mail.push_back(mail());
            }
        }
    }

    fn tick(&mut self, home: usize) {
        let expected = self.model.tick(home, self.now.mono_ms());
        let mut effects = Vec::new();
        self.shards[home].home.tick(self.now, &mut effects);
        let late = effects.split_off(expected.len());
        self.counts.late += effects.len() as u64;
        for (effect, (name, told)) in effects.into_iter().zip(expected) {
            self.effect(home, name, effect, &mut vec![told]);
        }
        for effect in late {
            let Effect::Announce { channel, .. } = &effect else { panic!("{effect:?}") };
            let name = self.keys.iter().position(|key| key == channel).unwrap();
            self.effect(home, name, effect, &mut Vec::new());
        }
        for name in (0..self.keys.len()).filter(|&name| self.model.homes()[name] == home) {
            self.outside.after_tick(name, self.now.mono_ms());
        }
    }

    // ---- the members' side ----

    fn subscribe(&mut self, shard: usize, name: usize) {
        let per_shard = self.connections / self.shards.len();
        let connection = shard + self.shards.len() * self.rng.below(per_shard);
        let id = format!("u{}", self.rng.below(6));
        let info = "i".repeat(self.rng.below(3) + if self.rng.chance(2) { 20 } else { 0 });
        let user = Arc::new(User { id: id.into(), info: info.into() });
        let stream = self.rng.chance(90);
        let list_users = self.rng.chance(80);
        let user = self.rng.chance(self.named).then_some(user);
        let named = stream && user.is_some();
        let ask = Subscribe {
            start: Start::Live,
            class: if stream { Class::Stream } else { Class::OneShot },
            backlog: 0,
            create: true,
            max_subscribers: 0,
            concurrency: if self.rng.chance(4) { Concurrency::Last } else { Concurrency::Broadcast },
            policy: self.rng.pick(&self.policies.clone()).clone(),
            user,
            list_users,
        };
        let sub = self.subs.len();
        let token = Token { slot: connection as u32, generation: 0, tag: sub as u32 };
        self.subs.push(Sub {
            name,
            shard,
            connection,
            token,
            state: Subscription::asked(self.keys[name].clone(), Form(self.rng.below(2) as u32)),
            wanted: true,
            stream,
            named,
            view: None,
            count: None,
        });
        self.shards[shard].asked.insert(token, sub);
        let from = ReplyTo { shard: shard as u16, token };
        self.send(shard, Ask { name, command: Command::Subscribe(Box::new(ask)), from, sub: Some(sub) });
    }

    fn leave(&mut self, id: SubId) {
        let sub = &mut self.subs[id];
        if !std::mem::take(&mut sub.wanted) {
            return;
        }
        self.counts.abandoned += u64::from(sub.state.is_asked());
        let shard = sub.shard;
        let (command, moved) = sub.state.leave(&mut self.shards[shard].members);
        let member = Member { slot: sub.token.slot, tag: sub.token.tag };
        self.shards[shard].seated.remove(&member);
        if let Some((other, seat)) = moved {
            self.subs[self.shards[shard].seated[&other]].state.moved(seat);
        }
        if let Some(command) = command {
            self.unsubscribe(id, command);
        }
    }

    fn unsubscribe(&mut self, id: SubId, command: Command) {
        let Command::Unsubscribe { class, epoch } = command else { panic!("{command:?}") };
        let (shard, name, token) = (self.subs[id].shard, self.subs[id].name, self.subs[id].token);
        let from = ReplyTo { shard: shard as u16, token };
        let ask = || Ask { name, command: Command::Unsubscribe { class, epoch }, from, sub: Some(id) };
        self.sent.push((shard, ask()));
        self.send(shard, ask());
    }

    /// An unsubscribe is sent a second time, soon or long after.
    fn send_again(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.rng.below(self.sent.len());
        let (shard, ask) = self.sent.swap_remove(at);
        // Registrations without a user are known by their class alone: the member's state sends it only once.
        if self.subs[ask.sub.unwrap()].named {
            self.counts.stale += 1;
            self.send(shard, ask);
        }
    }

    fn die(&mut self, whose: impl Fn(&Sub) -> bool) {
        for id in 0..self.subs.len() {
            if self.subs[id].wanted && whose(&self.subs[id]) {
                self.leave(id);
            }
        }
    }

    fn answer(&mut self, shard: usize, token: Token, answer: &Answer) {
        let Some(id) = self.shards[shard].asked.remove(&token) else { return };
        let subscribed = if let Answer::Subscribed(s) = answer { Some(&**s) } else { None };
        let member = Member { slot: token.slot, tag: token.tag };
        let sub = &mut self.subs[id];
        let undo = sub.state.answered(subscribed, member, &mut self.shards[shard].members);
        if sub.state.is_joined() {
            self.shards[shard].seated.insert(member, id);
            let list = subscribed.and_then(|s| s.users.as_ref());
            sub.view = list.map(|list| list.iter().map(|u| u.id.to_vec()).collect());
            self.counts.again += u64::from(sub.view.is_some());
        } else {
            sub.wanted = false;
        }
        if let Some(command) = undo {
            self.unsubscribe(id, command);
        }
    }

    /// Those who take what comes to a channel on a shard, and whether a publication releases them.
    fn receivers(&self, shard: usize, name: usize) -> Vec<SubId> {
        let groups = self.shards[shard].members.groups(&self.keys[name]);
        groups.iter().flat_map(|g| &g.members).map(|member| self.shards[shard].seated[member]).collect()
    }

    fn deliver(&mut self, shard: usize, name: usize, publication: &Publication) {
        let number = u64::from_le_bytes(publication.message.payload[..].try_into().unwrap());
        for id in self.receivers(shard, name) {
            if let (true, Some(view)) = (self.subs[id].stream, &self.subs[id].view) {
                assert_eq!(*view, self.published[number as usize], "the list of {id} at this publication");
                self.counts.seen += 1;
            }
        }
        let mut released = Vec::new();
        self.shards[shard].members.release(&self.keys[name], &mut released);
        self.over(shard, &released);
    }

    fn announce(&mut self, shard: usize, name: usize, announcement: &Announcement) {
        for id in self.receivers(shard, name) {
            if let (true, Announcement::Count(count)) = (self.subs[id].stream, announcement) {
                self.subs[id].count = Some(*count);
            }
            let (stream, Some(view)) = (self.subs[id].stream, &mut self.subs[id].view) else { continue };
            if !stream {
                continue;
            }
            self.counts.told += 1;
            let change = match announcement {
                Announcement::Joined(c) => {
                    assert!(view.insert(c.user.id.to_vec()), "{id} knew {c:?}");
                    c
                }
                Announcement::Left(c) => {
                    assert!(view.remove(&c.user.id[..]), "{id} did not know {c:?}");
                    c
                }
                Announcement::Count(_) => continue,
                Announcement::Occupied | Announcement::Vacated => panic!("{id} is told {announcement:?}"),
            };
            assert_eq!(change.users as usize, view.len());
            let listed = change.list.as_ref().map(|l| l.iter().map(|u| u.id.to_vec()).collect::<Ids>());
            assert!(listed.is_none_or(|listed| listed == *view));
        }
    }

    fn end(&mut self, shard: usize, name: usize) {
        let mut ended = Vec::new();
        self.shards[shard].members.end(&self.keys[name], &mut ended);
        self.counts.ended += ended.len() as u64;
        self.over(shard, &ended);
    }

    fn over(&mut self, shard: usize, members: &[Member]) {
        for member in members {
            let id = self.shards[shard].seated.remove(member).unwrap();
            self.subs[id].state.ended();
            self.subs[id].wanted = false;
        }
    }

    // ---- the end ----

    fn settle(&mut self) {
        while self.shards.iter().any(|s| !s.mail.is_empty()) {
            let shard = self.rng.below(self.shards.len());
            self.turn(shard);
        }
    }

    /// Nothing is under way: everybody's list is the home's. Then all leave, and nothing may be left.
    pub fn finish(&mut self) {
        self.settle();
        for shard in &self.shards {
            for &id in shard.seated.values() {
                let sub = &self.subs[id];
                if let (true, Some(view)) = (sub.stream, &sub.view) {
                    assert_eq!(*view, self.model.ids(sub.name), "the list of {id} at rest");
                }
                if sub.stream && self.outside.ways.counts && !self.outside.users(sub.name) {
                    let streams = self.model.registered_as(sub.name, Class::Stream).len();
                    assert_eq!(sub.count, Some(streams as u32), "the count of {id} at rest");
                }
            }
        }
        self.die(|_| true);
        self.settle();
        self.now.mono_ns += 10_000_000_000;
        for shard in 0..self.shards.len() {
            self.tick(shard);
        }
        for name in 0..self.keys.len() {
            assert!(self.model.registered(name).is_empty() && self.model.ids(name).is_empty());
            self.ask(0, name, Command::Users);
        }
        self.settle();
        assert_eq!(self.counts.joins, self.counts.leaves);
        assert!(self.shards.iter().all(|s| s.home.presence_bytes() == 0 && s.seated.is_empty()));
    }
}

/// `None`: no user has come or gone.
fn announced(announcement: &Announcement, shards: ShardSet) -> Option<Announced> {
    let (joined, change) = match announcement {
        Announcement::Joined(change) => (true, change),
        Announcement::Left(change) => (false, change),
        Announcement::Occupied | Announcement::Vacated | Announcement::Count(_) => return None,
    };
    let list = change.list.as_ref().map(users);
    Some(Announced { joined, user: (*change.user).clone(), users: change.users, list, shards: shards.0 })
}
