//! The home, its store, its subscribers, and what must be true of them.

use crate::disk::{Disk, Log, Queue};
use crate::rng::Rng;
use bytes::Bytes;
use fanwire::channel::command::{Effect, Subscribe};
use fanwire::channel::core::Home;
use fanwire::channel::log::{AtStart, Logs};
use fanwire::channel::publication::Origin;
use fanwire::channel::store::{Job, StoreError};
use fanwire::channel::{
    Answer, ChannelKey, Class, Command, Concurrency, KeyHasher, Message, Now, Policy, Position, Publication,
    Refusal, ReplyTo, Start, Token, record,
};
use fanwire::limits::HomeLimits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NAMES: usize = 5;
/// Names below are of one group.
const GROUPED: usize = 2;
/// This one is durable for nobody.
const MEMORY: usize = NAMES - 1;

/// A question that was not answered yet.
#[derive(Debug)]
enum Question {
    Publish { name: usize, id: u64, fleeting: bool },
    Subscribe { name: usize, start: Start },
    Info { name: usize },
    Delete { name: usize },
    GroupDelete,
}

/// What is known of one channel name over all lives.
#[derive(Default)]
struct Name {
    /// What its history has to be: positions and ids.
    list: Vec<(Position, u64)>,
    /// Publications that may or may not be on disk after a crash.
    doubt: BTreeSet<u64>,
    /// The highest position that anybody has seen.
    seen: Position,
    /// Deletions under way.
    deleting: usize,
    /// Of the stream that follows it: what it got last.
    cursor: Option<Position>,
    following: bool,
}

pub struct World {
    rng: Rng,
    now: Now,
    home: Home,
    disk: Disk,
    queue: Queue,
    keys: Vec<Arc<ChannelKey>>,
    names: Vec<Name>,
    questions: BTreeMap<u32, Question>,
    asked: u32,
    published: u64,
    /// How many a channel keeps.
    keep: u32,
    /// Refused for good: these may never be seen.
    never: BTreeSet<u64>,
    full: bool,
    /// Some publications are never stored. Then no two crashes are in one second, and the clock does not run backwards:
    /// what is not stored cannot be known to have had a position.
    fleeting: bool,
    talks: bool,
    /// Acknowledged, refused full, refused busy, failed, crashes, deletions, read back, resumed.
    pub counts: [u64; 8],
}

fn logs(disk: &Disk) -> Logs {
    let at_start = |log: &Log| AtStart { retention: log.retention, last: log.last };
    let at_start = disk.logs.iter().map(|(name, log)| (name.clone(), at_start(log)));
    Logs::new([(0, "a0")], at_start)
}

fn open(disk: &Disk) -> Home {
    let mut home = Home::new(HomeLimits::default());
    home.use_logs(logs(disk));
    home
}

fn id(publication: &Publication) -> u64 {
    u64::from_le_bytes(publication.message.payload[..8].try_into().unwrap())
}

/// Positions and ids of what is in a log.
fn ids(log: &Log) -> Vec<(Position, u64)> {
    let id = |payload: &Bytes| u64::from_le_bytes(payload[..8].try_into().unwrap());
    let records = log.records.iter();
    records.map(|r| (r.at, id(&record::decode(&r.payload).unwrap().message.payload))).collect()
}

impl World {
    pub fn new(mut rng: Rng) -> World {
        let hasher = KeyHasher::new(rng.next());
        let key = |n: usize| {
            let group: &[u8] = if n < GROUPED { b"g" } else { b"" };
            ChannelKey::new(&hasher, 0, group, format!("c{n}").as_bytes())
        };
        let disk = Disk::default();
        World {
            now: Now { mono_ns: 1_000_000_000, unix_ms: 1_000_000_000 },
            home: open(&disk),
            disk,
            queue: Queue::default(),
            keys: (0..NAMES).map(key).collect(),
            names: (0..NAMES).map(|_| Name::default()).collect(),
            questions: BTreeMap::new(),
            asked: 0,
            published: 0,
            keep: *rng.pick(&[1, 4, 20, 100_000]),
            never: BTreeSet::new(),
            full: false,
            fleeting: rng.chance(50),
            talks: std::env::var_os("FANWIRE_SEED").is_some(),
            counts: [0; 8],
            rng,
        }
    }

    pub fn step(&mut self) {
        let name = self.rng.below(NAMES);
        match self.rng.below(100) {
            0..35 => self.publish(name),
            35..45 => self.subscribe(name),
            45..50 => self.ask(name, Command::Info, Question::Info { name }),
            50..52 => self.delete(name),
            52 => {
                (0..GROUPED).for_each(|n| self.names[n].deleting += 1);
                self.ask(0, Command::GroupDelete, Question::GroupDelete);
            }
            53..55 => self.crash(),
            55 => self.full = !self.full,
            56..60 => {
                self.now.mono_ns += 300_000_000;
                self.now.unix_ms += 300;
                let mut effects = Vec::new();
                self.home.tick(self.now, &mut effects);
                self.effects(effects);
            }
            60..80 => self.commit(),
            _ => self.tell(),
        }
    }

    fn say(&self, what: impl Fn() -> String) {
        if self.talks {
            println!("{}", what());
        }
    }

    fn policy(&mut self, name: usize) -> Arc<Policy> {
        // A channel that is durable stays so, whatever later rules say; the first ones always say it.
        let first = self.names[name].list.is_empty() || self.names[name].deleting > 0;
        let durable = name != MEMORY && (first || self.rng.chance(80));
        Arc::new(Policy {
            durable,
            max_messages: self.keep,
            message_timeout_ms: 0,
            channel_timeout_ms: 500,
            ..Policy::default()
        })
    }

    fn publish(&mut self, name: usize) {
        self.published += 1;
        let id = self.published;
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + self.rng.below(40), 0);
        let fleeting = self.fleeting && self.rng.chance(10);
        let origin = fleeting.then(|| Box::new(Origin { fleeting, ..Origin::default() }));
        let event = Some(Bytes::from_static(b"e"));
        let message = Message { payload: payload.into(), event, origin, ..Message::default() };
        let policy = self.policy(name);
        if name != MEMORY && !fleeting {
            self.names[name].doubt.insert(id);
        }
        let command = Command::Publish { message, policy, create: true };
        self.ask(name, command, Question::Publish { name, id, fleeting });
    }

    fn subscribe(&mut self, name: usize) {
        let state = &self.names[name];
        let start = match state.cursor {
            Some(cursor) if !state.following => Start::After(cursor),
            _ => Start::Oldest,
        };
        let class = if state.following { Class::Glance } else { Class::Stream };
        let ask = Subscribe {
            start,
            class,
            backlog: u32::MAX,
            create: true,
            max_subscribers: 0,
            concurrency: Concurrency::Broadcast,
            policy: self.policy(name),
            user: None,
            list_users: false,
        };
        if self
            .questions
            .values()
            .any(|q| matches!(q, Question::Subscribe { name: other, .. } if *other == name))
        {
            return; // one at a time: the streams of this simulation are one per name
        }
        self.ask(name, Command::Subscribe(Box::new(ask)), Question::Subscribe { name, start });
    }

    fn delete(&mut self, name: usize) {
        self.names[name].deleting += 1;
        self.ask(name, Command::Delete, Question::Delete { name });
    }

    fn ask(&mut self, name: usize, command: Command, question: Question) {
        self.asked += 1;
        let tag = self.asked;
        self.questions.insert(tag, question);
        let from = ReplyTo { shard: 0, token: Token { slot: 1, generation: 0, tag } };
        let mut effects = Vec::new();
        let key = self.keys[name].clone();
        self.home.apply(&key, command, from, self.now, Default::default(), &mut effects);
        self.effects(effects);
        assert!(name != MEMORY || !self.questions.contains_key(&tag), "a memory channel waits for nothing");
    }

    /// The store does some of its jobs, as one commit.
    fn commit(&mut self) {
        let fails = self.rng.chance(1);
        for _ in 0..1 + self.rng.below(6) {
            let Some((number, job)) = self.queue.jobs.pop_front() else { return };
            let outcome = if self.queue.failed || fails {
                if !self.queue.failed && self.rng.chance(50) {
                    let _ = self.disk.job(&job, false); // on disk, and nobody knows
                }
                self.queue.failed = true;
                Err(StoreError::Io("injected".into()))
            } else {
                self.disk.job(&job, self.full)
            };
            self.say(|| format!("    {number:?} {job:?} -> {outcome:?}"));
            if let Some(number) = number {
                let deleted = if let Job::Delete { log } = job { Some(log) } else { None };
                self.queue.outcomes.push_back((number, outcome, deleted));
            }
        }
    }

    /// The home hears of some of it.
    fn tell(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            let Some((number, outcome, deleted)) = self.queue.outcomes.pop_front() else { return };
            if let (Some(log), Ok(_)) = (deleted, &outcome) {
                self.gone(&log);
            }
            self.say(|| format!("    {number} told"));
            let mut effects = Vec::new();
            self.home.on_stored(number, outcome, self.now, &mut effects);
            self.effects(effects);
        }
    }

    /// The node dies and starts again; its clock may be a little off.
    fn crash(&mut self) {
        self.counts[4] += 1;
        self.say(|| "crash".into());
        for _ in 0..self.rng.below(4) {
            self.commit(); // what was on its way, and nobody was told of
        }
        self.queue = Queue::default();
        self.questions.clear();
        self.now.mono_ns = 1_000_000_000;
        let least_ms = if self.fleeting { 1_000 } else { -1_500 };
        let passed_ms = least_ms + self.rng.below(3_000) as i64;
        self.now.unix_ms = self.now.unix_ms.saturating_add_signed(passed_ms);
        self.home = open(&self.disk);
        let logs = logs(&self.disk);
        for (n, name) in self.names.iter_mut().enumerate() {
            name.following = false;
            if n == MEMORY {
                *name = Name::default();
                continue;
            }
            let found: Vec<(Position, u64)> = match self.disk.logs.get(&logs.name(&self.keys[n])) {
                Some(log) => ids(log),
                None => {
                    // Nothing was ever stored: it is as new.
                    (name.seen, name.cursor) = (Position::ZERO, None);
                    Vec::new()
                }
            };
            let kept = found.first().map_or(Position::ZERO, |(at, _)| *at);
            for (at, id) in &name.list {
                let lost = !found.contains(&(*at, *id));
                // More than is kept may only have pushed it out, or a deletion that was under way.
                let excused = name.deleting > 0 || found.len() >= self.keep as usize && *at < kept;
                assert!(!lost || excused, "{id} was acknowledged and is lost");
                if lost {
                    name.cursor = None; // it would be told, and rightly so
                }
            }
            for (at, id) in &found {
                let known = name.list.contains(&(*at, *id)) || name.doubt.contains(id);
                assert!(known && !self.never.contains(id), "{id} was refused or deleted, and is there");
            }
            assert!(found.is_sorted_by(|a, b| a.0 < b.0));
            self.counts[6] += found.len() as u64;
            name.list = found;
            name.doubt.clear();
            name.deleting = 0;
        }
    }

    fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { number, job } => self.submit(number, *job),
                Effect::Deliver { channel, publication, .. } => self.deliver(&channel, &publication),
                Effect::Answer { to, answer } if to.token.slot != u32::MAX => {
                    let question = self.questions.remove(&to.token.tag).expect("answered twice");
                    self.answered(question, answer);
                }
                Effect::Answer { .. } => {}
                Effect::End { channel, .. } => {
                    let name = self.name(&channel);
                    self.names[name].following = false;
                    self.names[name].cursor = None;
                }
                Effect::Announce { .. } => panic!("nobody has told who it is"),
            }
        }
    }

    fn submit(&mut self, number: Option<u64>, job: Job) {
        if !self.queue.failed && self.rng.below(100) >= 3 {
            return self.queue.jobs.push_back((number, job));
        }
        let error =
            if self.queue.failed { StoreError::Failed("injected".into()) } else { StoreError::QueueFull };
        if let Some(number) = number {
            let mut effects = Vec::new();
            self.home.on_stored(number, Err(error), self.now, &mut effects);
            self.effects(effects);
        }
    }

    fn name(&self, key: &ChannelKey) -> usize {
        self.keys.iter().position(|k| **k == *key).unwrap()
    }

    fn deliver(&mut self, key: &Arc<ChannelKey>, publication: &Publication) {
        let name = self.name(key);
        if name != MEMORY && !publication.message.is_fleeting() {
            let log = &self.disk.logs[&logs(&self.disk).name(key)];
            assert!(log.last >= publication.position, "seen before it was on disk");
        }
        let id = id(publication);
        let state = &mut self.names[name];
        assert!(state.following && !self.never.contains(&id));
        assert!(state.cursor.is_none_or(|cursor| cursor < publication.position), "out of order");
        state.cursor = Some(publication.position);
    }

    fn answered(&mut self, question: Question, answer: Answer) {
        self.say(|| format!("{question:?} -> {answer:?}"));
        match (question, answer) {
            (Question::Publish { name, id, fleeting }, Answer::Published { position, .. }) => {
                self.counts[0] += 1;
                let keep = self.keep as usize;
                let state = &mut self.names[name];
                assert!(position > state.seen, "{position:?} was used before");
                state.seen = position;
                state.doubt.remove(&id);
                if !fleeting {
                    state.list.push((position, id));
                }
                if state.list.len() > keep {
                    state.list.remove(0);
                }
                assert!(!state.following || state.cursor == Some(position), "the stream has it by then");
            }
            (Question::Publish { name, id, .. }, Answer::Refused(refusal)) => {
                match refusal {
                    Refusal::StoreFull => self.counts[1] += 1,
                    Refusal::StoreBusy => self.counts[2] += 1,
                    // Whether it is on disk nobody knows.
                    Refusal::StoreFailed => return self.counts[3] += 1,
                    other => panic!("{other:?}"),
                }
                self.never.insert(id);
                self.names[name].doubt.remove(&id);
            }
            (Question::Subscribe { name, start }, Answer::Subscribed(told)) => {
                let after = if let Start::After(cursor) = start { cursor } else { Position::ZERO };
                let list: Vec<_> =
                    self.names[name].list.iter().filter(|(at, _)| *at > after).copied().collect();
                let backlog: Vec<_> = told.backlog.iter().map(|p| (p.position, id(p))).collect();
                assert_eq!(backlog, list, "of channel {name} after {after:?}");
                // What is never stored is missed by who is away, and that is told.
                if let Start::After(cursor) = start
                    && !self.fleeting
                    && self.names[name].list.iter().any(|(at, _)| *at == cursor)
                {
                    assert!(told.recovered, "everything is there since {cursor:?}");
                    self.counts[7] += 1;
                }
                let state = &mut self.names[name];
                if told.registered.is_some() {
                    state.following = true;
                    state.cursor = Some(backlog.last().map_or(told.last, |(at, _)| *at));
                }
            }
            (Question::Info { name }, Answer::Info(info)) => {
                assert_eq!(info.map_or(0, |info| info.messages as usize), self.names[name].list.len());
            }
            (Question::Delete { name }, Answer::Info(_)) => self.deleted(name),
            (Question::GroupDelete, Answer::Group(_)) => (0..GROUPED).for_each(|name| self.deleted(name)),
            // Whether they are gone on disk nobody knows.
            (Question::Delete { .. } | Question::GroupDelete, Answer::Refused(Refusal::StoreFailed)) => {}
            (Question::Delete { name }, Answer::Refused(_)) => self.names[name].deleting -= 1,
            (Question::GroupDelete, Answer::Refused(_)) => {
                (0..GROUPED).for_each(|name| self.names[name].deleting -= 1);
            }
            (Question::Subscribe { .. } | Question::Info { .. }, Answer::Refused(refusal)) => {
                assert!(matches!(refusal, Refusal::StoreBusy | Refusal::StoreFailed), "{refusal:?}");
            }
            (_, other) => panic!("{other:?}"),
        }
    }

    /// The log is deleted, and with that the channel.
    fn gone(&mut self, log: &Bytes) {
        let logs = logs(&self.disk);
        let name = self.keys.iter().position(|key| logs.name(key) == *log).unwrap();
        let state = &mut self.names[name];
        self.never.extend(state.list.drain(..).map(|(_, id)| id));
        state.cursor = None;
    }

    fn deleted(&mut self, name: usize) {
        self.counts[5] += 1;
        self.names[name].deleting -= 1;
        if name == MEMORY {
            let list = std::mem::take(&mut self.names[name].list);
            self.never.extend(list.into_iter().map(|(_, id)| id));
            self.names[name].cursor = None;
            return;
        }
        let log = logs(&self.disk).name(&self.keys[name]);
        for (_, id) in self.disk.logs.get(&log).map(ids).unwrap_or_default() {
            assert!(!self.never.contains(&id), "acknowledged before {id} was deleted");
        }
    }

    /// Everything comes to rest: nobody is left without an answer, and all is there once more.
    pub fn wind_down(&mut self) {
        self.full = false;
        for _ in 0..2 {
            while !self.queue.jobs.is_empty() || !self.queue.outcomes.is_empty() {
                self.commit();
                self.tell();
            }
            assert!(self.questions.is_empty(), "left without an answer: {}", self.questions.len());
            self.crash();
            for name in 0..NAMES {
                self.names[name].cursor = None;
                self.subscribe(name);
            }
        }
    }
}
