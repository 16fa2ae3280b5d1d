//! N shards in one thread: homes, members and mailboxes wired as the node wires them, with chance deciding whose
//! turn it is, and the model looking over every home's shoulder.

use crate::model::{Expected, Model, SubId};
use crate::reader::{Reader, Want};
use crate::rng::Rng;
use crate::setup::{check_answer, key_name, nobody, policy};
use fanwire::channel::command::{Effect, ShardSet, Subscribed};
use fanwire::channel::core::Home;
use fanwire::channel::members::{Form, Member, Members, Subscription};
use fanwire::channel::{
    Answer, ChannelKey, Class, Command, Ended, KeyHasher, Message, Now, Policy, Publication, ReplyTo, Start,
    Token,
};
use fanwire::limits::HomeLimits;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What goes through a mailbox.
pub enum Mail {
    Ask(Ask),
    Deliver { name: usize, publication: Arc<Publication> },
    End { name: usize, reason: Ended },
    Answer { to: Token, answer: Answer },
}

/// A command on its way to a home, with what only the model may look at.
pub struct Ask {
    name: usize,
    command: Command,
    from: ReplyTo,
    sub: Option<SubId>,
    id: u64,
}

#[derive(Default)]
pub struct Slot {
    generation: u32,
    taken: bool,
    next_tag: u32,
}

pub struct Shard {
    pub home: Home,
    pub members: Members,
    pub mail: VecDeque<Mail>,
    slots: Vec<Slot>,
    /// Subscriptions whose answer is to come.
    pub asked: HashMap<Token, SubId>,
    /// Subscriptions with a seat, as the fan-out names them.
    pub seated: HashMap<Member, SubId>,
}

/// One subscription of one session.
pub struct Sub {
    pub name: usize,
    shard: usize,
    token: Token,
    pub reader: usize,
    pub state: Subscription,
    start: Start,
    pub asked_class: Class,
    /// Its session is still there and wants it.
    pub wanted: bool,
    /// Publications made under the name when the home registered it.
    seam: usize,
    pub deliveries: u32,
    ends: u32,
}

pub struct World {
    pub rng: Rng,
    pub now: Now,
    pub model: Model,
    pub readers: Vec<Reader>,
    pub keys: Vec<Arc<ChannelKey>>,
    pub policies: Vec<Arc<Policy>>,
    pub shards: Vec<Shard>,
    pub subs: Vec<Sub>,
    group_homes: Vec<usize>,
    mailbox: usize,
    /// Own commands are carried out at once instead of going through the mailbox.
    direct: bool,
    trace: bool,
    /// What sessions want sent once the mail at hand is done with.
    outgoing: VecDeque<(usize, Ask)>,
    published: u64,
    /// Publishes sent that no home has answered yet.
    pub unanswered: usize,
    pub counts: Counts,
}

/// How much of everything happened, so that a run can be seen to reach its corners.
#[derive(Default, Debug)]
pub struct Counts {
    pub accepted: u64,
    pub refused: u64,
    pub received: u64,
    pub released: u64,
    pub ended: u64,
    pub abandoned: u64,
    pub unrecovered: u64,
    pub moved: u64,
}

const GROUPS: usize = 2;

impl World {
    pub fn new(seed: u64, trace: bool) -> World {
        let mut rng = Rng::new(seed);
        let shards = 1 + rng.below(8);
        let hasher = KeyHasher::new(rng.next());
        let group = |g: usize| if g < GROUPS { format!("g{g}").into_bytes() } else { Vec::new() };
        let mut names = Vec::new();
        let keys: Vec<_> = (0..1 + rng.below(6))
            .map(|n| {
                let at = rng.below(GROUPS * 2);
                let key = ChannelKey::new(&hasher, 0, &group(at), format!("c{n}").as_bytes());
                names.push((key.home(shards), (at < GROUPS).then_some(at)));
                key
            })
            .collect();
        let limits = HomeLimits {
            channels: if rng.chance(15) { GROUPS + 1 + rng.below(2) } else { 1000 },
            history_bytes: if rng.chance(15) { 4_000 } else { 1 << 30 },
            ..HomeLimits::default()
        };
        let start_s = 1_000 + rng.below(50) as u64;
        let policies = (0..1 + rng.below(4)).map(|_| Arc::new(policy(&mut rng))).collect();
        let shard = |_| Shard {
            home: Home::new(limits),
            members: Members::default(),
            mail: VecDeque::new(),
            slots: Vec::new(),
            asked: HashMap::new(),
            seated: HashMap::new(),
        };
        World {
            now: Now { mono_ns: 7_000_000_000, unix_ms: start_s * 1000 },
            model: Model::new(names, GROUPS, shards, limits),
            readers: (0..1 + rng.below(16)).map(|_| Reader::new(&mut rng, keys.len())).collect(),
            policies,
            shards: (0..shards).map(shard).collect(),
            subs: Vec::new(),
            group_homes: (0..GROUPS)
                .map(|g| ChannelKey::new(&hasher, 0, &group(g), b"").home(shards))
                .collect(),
            mailbox: 2 + rng.below(16),
            direct: rng.chance(50),
            keys,
            rng,
            trace,
            outgoing: VecDeque::new(),
            published: 0,
            unanswered: 0,
            counts: Counts::default(),
        }
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The turn of one shard: it reads some of its mail.
    pub fn turn(&mut self, shard: usize, most: usize) -> bool {
        for n in 0..most {
            let Some(mail) = self.shards[shard].mail.pop_front() else { return n > 0 };
            match mail {
                Mail::Ask(ask) => self.at_home(shard, ask),
                Mail::Deliver { name, publication } => self.deliver(shard, name, &publication),
                Mail::End { name, reason } => self.end(shard, name, reason),
                Mail::Answer { to, answer } => self.answer(shard, to, answer),
            }
            self.flush();
        }
        true
    }

    /// Sends what sessions wanted sent while they were handled.
    pub fn flush(&mut self) {
        while let Some((shard, ask)) = self.outgoing.pop_front() {
            self.send(shard, ask);
        }
    }

    fn send(&mut self, from: usize, ask: Ask) {
        let home = self.model.names[ask.name].home;
        if home == from && self.direct {
            self.at_home(home, ask);
        } else {
            self.shards[home].mail.push_back(Mail::Ask(ask));
        }
    }

    /// Asks a home something from a shard where nobody in particular waits for the answer.
    pub fn ask(&mut self, shard: usize, name: usize, command: Command) {
        let ask = Ask { name, command, from: nobody(shard), sub: None, id: 0 };
        self.send(shard, ask);
        self.flush();
    }

    pub fn publish(&mut self, shard: usize, name: usize, policy: Arc<Policy>, create: bool) {
        let home = self.model.names[name].home;
        if home != shard && self.shards[home].mail.len() >= self.mailbox {
            self.counts.refused += 1;
            return; // R6: refused before it is even sent
        }
        self.published += 1;
        self.unanswered += 1;
        let id = self.published;
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + self.rng.below(300), 0);
        let message = Message { payload: payload.into(), ..Message::default() };
        let command = Command::Publish { message, policy, create };
        self.send(shard, Ask { name, command, from: nobody(shard), sub: None, id });
        self.flush();
    }

    /// A home carries out a command, the model does too, and they have to agree.
    fn at_home(&mut self, home: usize, ask: Ask) {
        let Ask { name, command, from, sub, id } = ask;
        let mut busy = ShardSet::default();
        for shard in 0..self.shards.len() {
            if shard != home && self.shards[shard].mail.len() >= self.mailbox {
                busy.insert(shard);
            }
        }
        let made = self.model.names[name].made.len();
        let expected = self.model.apply(name, &command, from.shard, sub, id, self.now, busy);
        let publishes = matches!(command, Command::Publish { .. });
        if self.trace {
            println!(
                "  home {home} {:?} from {} {command:?}\n    -> {expected:?}",
                key_name(&self.keys[name]),
                from.shard
            );
        }
        if let (Expected::Subscribed { .. }, Some(sub)) = (&expected.answer, sub) {
            self.subs[sub].seam = made;
        }
        let mut effects = Vec::new();
        let key = self.keys[name].clone();
        self.shards[home].home.apply(&key, command, from, self.now, busy, &mut effects);
        let mut ends = expected.ends;
        let mut deliver = expected.deliver;
        let mut answered = false;
        for effect in effects {
            assert!(!answered, "the answer is the last effect");
            match effect {
                Effect::Deliver { shards, channel, publication } => {
                    assert!(Arc::ptr_eq(&channel, &key), "delivered to another channel");
                    assert_eq!(deliver.take(), Some(shards), "shards of a delivery");
                    self.route(home, shards, |_| Mail::Deliver { name, publication: publication.clone() });
                }
                Effect::End { shards, channel, reason } => {
                    let ended = self.keys.iter().position(|k| *k == channel).unwrap();
                    let known = ends.remove(&(ended, shards.0, reason == Ended::Deleted));
                    assert!(known, "ended {ended} on {shards:?}: {reason:?}");
                    self.route(home, shards, |_| Mail::End { name: ended, reason });
                }
                Effect::Announce { .. } => panic!("announced, and nobody has told who it is"),
                Effect::Store { .. } => panic!("stored, and nothing is durable here"),
                Effect::Answer { to, answer } => {
                    answered = true;
                    assert_eq!(to, from);
                    check_answer(&expected.answer, &answer);
                    self.count_answer(publishes, &answer);
                    let mut only = ShardSet::default();
                    only.insert(to.shard as usize);
                    self.route(home, only, |_| Mail::Answer { to: to.token, answer: answer.clone() });
                }
            }
        }
        assert!(deliver.is_none() && ends.is_empty(), "missing: deliver {deliver:?}, ends {ends:?}");
        assert_eq!(answered, expected.answer != Expected::Nothing);
        self.check_home(home);
    }

    fn count_answer(&mut self, publishes: bool, answer: &Answer) {
        if publishes {
            self.unanswered -= 1;
            match answer {
                Answer::Refused(_) => self.counts.refused += 1,
                _ => self.counts.accepted += 1,
            }
        }
    }

    /// The home does its own shard at once and sends mail to the others.
    fn route(&mut self, home: usize, shards: ShardSet, mail: impl Fn(usize) -> Mail) {
        for shard in shards.iter() {
            let mail = mail(shard);
            if shard != home {
                let bounded = matches!(mail, Mail::Deliver { .. });
                assert!(
                    !bounded || self.shards[shard].mail.len() < self.mailbox,
                    "a full mailbox was sent to"
                );
                self.shards[shard].mail.push_back(mail);
                continue;
            }
            match mail {
                Mail::Deliver { name, publication } => self.deliver(shard, name, &publication),
                Mail::End { name, reason } => self.end(shard, name, reason),
                Mail::Answer { to, answer } => self.answer(shard, to, answer),
                Mail::Ask(_) => unreachable!(),
            }
        }
    }

    fn check_home(&self, home: usize) {
        let is = &self.shards[home].home;
        assert_eq!(is.channels(), self.model.channels(home), "channels");
        assert_eq!(is.history_bytes(), self.model.history_bytes(home), "history bytes");
        assert_eq!(is.stored(), self.model.stored(home), "stored publications");
    }

    pub fn tick(&mut self, home: usize) {
        let mut effects = Vec::new();
        self.shards[home].home.tick(self.now, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
        let homes = &self.group_homes;
        self.model.tick(home, |g| homes[g], self.now);
        self.check_home(home);
        let groups = self.shards[home].home.groups();
        assert_eq!(groups, self.model.groups(|g| self.group_homes[g], home), "groups");
    }

    // ---- the members' side ----

    /// A reader subscribes, in a new session or in one that is there.
    pub fn subscribe(&mut self, reader: usize, want: Want) {
        let name = self.readers[reader].name;
        let shard = self.rng.below(self.shards.len());
        let share = self.rng.chance(30);
        let slots = &mut self.shards[shard].slots;
        let slot = match slots.iter().position(|s| s.taken == share) {
            Some(slot) => slot,
            None => {
                slots.push(Slot::default());
                slots.len() - 1
            }
        };
        slots[slot].taken = true;
        let tag = slots[slot].next_tag;
        slots[slot].next_tag += 1;
        let token = Token { slot: slot as u32, generation: slots[slot].generation, tag };
        let form = if want.shared_form { Form(self.rng.below(2) as u32) } else { Form::SESSION };
        let sub = self.subs.len();
        self.subs.push(Sub {
            name,
            shard,
            token,
            reader,
            state: Subscription::asked(self.keys[name].clone(), form),
            start: want.ask.start,
            asked_class: want.ask.class,
            wanted: true,
            seam: usize::MAX,
            deliveries: 0,
            ends: 0,
        });
        if self.trace {
            println!("sub {sub} of reader {reader} on shard {shard} {token:?} {:?}", want.ask);
        }
        self.readers[reader].active = Some(sub);
        self.shards[shard].asked.insert(token, sub);
        let command = Command::Subscribe(Box::new(want.ask));
        let from = ReplyTo { shard: shard as u16, token };
        self.send(shard, Ask { name, command, from, sub: Some(sub), id: 0 });
        self.flush();
    }

    /// A session wants no more of a subscription.
    pub fn leave(&mut self, id: SubId) {
        let sub = &mut self.subs[id];
        if !sub.wanted {
            return;
        }
        sub.wanted = false;
        let (shard, name, token) = (sub.shard, sub.name, sub.token);
        let joined = sub.state.is_joined();
        if self.trace {
            println!("leave {id} ({:?})", sub.state);
        }
        self.counts.abandoned += u64::from(sub.state.is_asked());
        self.readers[sub.reader].active = None;
        let (command, moved) = sub.state.leave(&mut self.shards[shard].members);
        if joined {
            self.shards[shard].seated.remove(&Member { slot: token.slot, tag: token.tag });
        }
        if let Some((member, seat)) = moved {
            self.counts.moved += 1;
            let other = self.shards[shard].seated[&member];
            self.subs[other].state.moved(seat);
        }
        if let Some(command) = command {
            let from = ReplyTo { shard: shard as u16, token };
            self.outgoing.push_back((shard, Ask { name, command, from, sub: Some(id), id: 0 }));
        }
    }

    /// A connection dies: its session leaves everything, its slot gets a new tenant some time.
    pub fn die(&mut self, shard: usize) {
        let taken: Vec<usize> =
            (0..self.shards[shard].slots.len()).filter(|&s| self.shards[shard].slots[s].taken).collect();
        if taken.is_empty() {
            return;
        }
        let slot = *self.rng.pick(&taken);
        let theirs = |s: &Sub| s.shard == shard && s.wanted && s.token.slot as usize == slot;
        for id in (0..self.subs.len()).filter(|&id| theirs(&self.subs[id])).collect::<Vec<_>>() {
            self.leave(id);
        }
        let generation = self.shards[shard].slots[slot].generation + 1;
        self.shards[shard].slots[slot] = Slot { generation, ..Slot::default() };
        self.flush();
    }

    /// One reader goes, its session stays.
    pub fn unsubscribe(&mut self, reader: usize) {
        if let Some(sub) = self.readers[reader].active {
            self.leave(sub);
            self.flush();
        }
    }

    fn answer(&mut self, shard: usize, to: Token, answer: Answer) {
        let Some(id) = self.shards[shard].asked.remove(&to) else {
            return; // a publisher's, or an administrator's
        };
        let subscribed = match &answer {
            Answer::Subscribed(subscribed) => Some(&**subscribed),
            Answer::Refused(_) => None,
            other => panic!("a subscriber was answered {other:?}"),
        };
        let member = Member { slot: to.slot, tag: to.tag };
        let sub = &mut self.subs[id];
        let undo = sub.state.answered(subscribed, member, &mut self.shards[shard].members);
        assert!(undo.is_none() || !sub.wanted, "the registration of a wanted subscription was undone");
        if sub.state.is_joined() {
            let before = self.shards[shard].seated.insert(member, id);
            assert!(before.is_none(), "two members with one name");
        }
        if let Some(command) = undo {
            let from = ReplyTo { shard: shard as u16, token: to };
            self.outgoing.push_back((shard, Ask { name: sub.name, command, from, sub: Some(id), id: 0 }));
        }
        if !self.subs[id].wanted {
            return;
        }
        match subscribed {
            Some(subscribed) => self.started(id, subscribed),
            None => self.forget(id),
        }
    }

    /// The session sees the home's answer.
    fn started(&mut self, id: SubId, answer: &Subscribed) {
        let (name, seam, start, reader) = {
            let sub = &self.subs[id];
            (sub.name, sub.seam, sub.start, sub.reader)
        };
        self.counts.unrecovered += u64::from(!answer.recovered);
        let made = &self.model.names[name].made;
        let reader = &mut self.readers[reader];
        let lost = answer.registered.is_none() && reader.loses_answers && self.rng.chance(20);
        if lost {
            self.forget(id); // it will ask the same again
            return;
        }
        reader.begin(start, answer, made, seam);
        for publication in &answer.backlog {
            self.counts.received += 1;
            reader.receive(publication, made);
        }
        reader.seam(answer, seam);
        if answer.registered.is_none() {
            self.forget(id);
        }
    }

    /// The subscription is over by itself.
    fn forget(&mut self, id: SubId) {
        assert!(self.subs[id].state.is_over());
        self.subs[id].wanted = false;
        let reader = self.subs[id].reader;
        self.readers[reader].active = None;
    }

    fn deliver(&mut self, shard: usize, name: usize, publication: &Arc<Publication>) {
        let key = self.keys[name].clone();
        let mut receivers = Vec::new();
        for group in self.shards[shard].members.groups(&key) {
            receivers.extend(group.members.iter().map(|&m| (m, group.class, group.form)));
        }
        let mut satisfied = Vec::new();
        for (member, class, form) in receivers {
            let id = self.shards[shard].seated[&member];
            let sub = &mut self.subs[id];
            assert!(sub.wanted && sub.state.is_joined() && sub.name == name && sub.state.form == form);
            sub.deliveries += 1;
            assert!(class != Class::OneShot || sub.deliveries == 1, "a poll was released twice");
            // A poll for a position to come is a stream that waits for the right one.
            let waits = sub.asked_class == Class::OneShot && class == Class::Stream;
            if waits && matches!(sub.start, Start::After(p) if publication.position <= p) {
                self.readers[sub.reader].pass_over(publication, &self.model.names[name].made);
                continue;
            }
            self.counts.received += 1;
            self.readers[sub.reader].receive(publication, &self.model.names[name].made);
            if waits {
                satisfied.push(id);
            }
        }
        let mut released = Vec::new();
        self.shards[shard].members.release(&key, &mut released);
        for member in released {
            let id = self.shards[shard].seated.remove(&member).unwrap();
            assert_eq!(self.subs[id].asked_class, Class::OneShot);
            assert_eq!(self.subs[id].deliveries, 1, "released without a publication");
            self.counts.released += 1;
            self.subs[id].state.ended();
            self.forget(id);
        }
        for id in satisfied {
            self.leave(id);
        }
    }

    fn end(&mut self, shard: usize, name: usize, reason: Ended) {
        let mut ended = Vec::new();
        self.shards[shard].members.end(&self.keys[name].clone(), &mut ended);
        for member in ended {
            let id = self.shards[shard].seated.remove(&member).unwrap();
            assert_eq!(self.model.ended.get(&id), Some(&reason), "sub {id} was not to be ended");
            self.counts.ended += 1;
            self.subs[id].ends += 1;
            assert_eq!(self.subs[id].ends, 1, "ended twice");
            self.subs[id].state.ended();
            self.forget(id);
        }
    }
}
