//! What the homes should do, said again in the plainest way: no epochs, no counters, no cross-shard anything.
//! Subscribers are known by name, every publication ever made is remembered, and every figure is counted afresh
//! when it is asked for.

use fanwire::channel::command::{ChannelInfo, GroupInfo, ShardSet, Subscribe};
use fanwire::channel::{
    Class, Command, Concurrency, Ended, GroupLimits, Now, Policy, Position, Publication, Refusal, Start,
};
use fanwire::limits::{GROUP_IDLE_MS, HomeLimits};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub type SubId = usize;

/// A publication in the store.
struct Stored {
    position: Position,
    cost: usize,
    expires_ms: u64,
}

/// One life of a channel.
struct Channel {
    policy: Arc<Policy>,
    stored: VecDeque<Stored>,
    last: Position,
    /// What positions have to stay above; nothing at or below it can be promised to a resumer.
    floor: Position,
    /// Positions of this life that are stored no more.
    gone: Position,
    received: Position,
    requested_ms: Option<u64>,
    idle_since_ms: u64,
    registered: BTreeMap<SubId, (Class, u16)>,
}

/// A channel name over all its lives.
pub struct Name {
    pub home: usize,
    pub group: Option<usize>,
    /// Everything ever accepted under this name: position and the publisher's number.
    pub made: Vec<(Position, u64)>,
    channel: Option<Channel>,
}

#[derive(Default)]
struct Group {
    exists: bool,
    limits: GroupLimits,
    empty_since_ms: Option<u64>,
}

/// The answer a home should give.
#[derive(Debug, PartialEq)]
pub enum Expected {
    Published(Position, ChannelInfo),
    Subscribed {
        backlog: Vec<Position>,
        class: Option<Class>,
        last: Position,
        recovered: bool,
        info: ChannelInfo,
    },
    Info(Option<ChannelInfo>),
    Group(GroupInfo),
    Refused(Refusal),
    Nothing,
}

/// The effects a home should have.
#[derive(Debug)]
pub struct Outcome {
    pub answer: Expected,
    pub deliver: Option<ShardSet>,
    /// Name, shards, why.
    pub ends: BTreeSet<(usize, u64, bool)>,
}

pub struct Model {
    pub names: Vec<Name>,
    groups: Vec<Group>,
    floors: Vec<Position>,
    limits: HomeLimits,
    /// Subscriptions that a home has ended.
    pub ended: BTreeMap<SubId, Ended>,
}

impl Model {
    pub fn new(names: Vec<(usize, Option<usize>)>, groups: usize, homes: usize, limits: HomeLimits) -> Model {
        let name = |(home, group)| Name { home, group, made: Vec::new(), channel: None };
        Model {
            names: names.into_iter().map(name).collect(),
            groups: (0..groups).map(|_| Group::default()).collect(),
            floors: vec![Position::ZERO; homes],
            limits,
            ended: BTreeMap::new(),
        }
    }

    /// Who is registered for `name` at this instant.
    pub fn registered(&self, name: usize) -> Vec<SubId> {
        self.names[name].channel.as_ref().map_or_else(Vec::new, |c| c.registered.keys().copied().collect())
    }

    pub fn channels(&self, home: usize) -> usize {
        self.names.iter().filter(|n| n.home == home && n.channel.is_some()).count()
    }

    pub fn history_bytes(&self, home: usize) -> usize {
        let here = self.names.iter().filter(|n| n.home == home).filter_map(|n| n.channel.as_ref());
        here.flat_map(|c| &c.stored).map(|s| s.cost).sum()
    }

    pub fn stored(&self, home: usize) -> usize {
        let here = self.names.iter().filter(|n| n.home == home).filter_map(|n| n.channel.as_ref());
        here.map(|c| c.stored.len()).sum()
    }

    pub fn groups(&self, home_of: impl Fn(usize) -> usize, home: usize) -> usize {
        (0..self.groups.len()).filter(|&g| self.groups[g].exists && home_of(g) == home).count()
    }

    /// The highest position that was ever given out under `name`.
    pub fn newest(&self, name: usize) -> Position {
        self.names[name].made.last().map_or(Position::ZERO, |&(p, _)| p)
    }

    /// What `command` should do. `sub` names the subscription of a subscribe or unsubscribe, `id` and `bytes`
    /// the message of a publish.
    #[allow(clippy::too_many_arguments)]
    pub fn apply(
        &mut self,
        name: usize,
        command: &Command,
        shard: u16,
        sub: Option<SubId>,
        id: u64,
        now: Now,
        busy: ShardSet,
    ) -> Outcome {
        let mut out = Outcome { answer: Expected::Nothing, deliver: None, ends: BTreeSet::new() };
        let answer = match command {
            Command::Publish { message, policy, create } => {
                let cost = size_of::<Publication>() + 2 * message.payload.len();
                self.publish(name, id, cost, policy, *create, now, busy, &mut out)
            }
            Command::Create { policy } => {
                self.open(name, policy, now).map(|()| Expected::Info(Some(self.info(name, now))))
            }
            Command::Subscribe(ask) => self.subscribe(name, ask, shard, sub.unwrap(), now, &mut out),
            Command::Unsubscribe { .. } => {
                if let Some(channel) = &mut self.names[name].channel
                    && channel.registered.remove(&sub.unwrap()).is_some()
                {
                    channel.requested_ms = Some(now.mono_ms());
                    channel.idle_since_ms = now.mono_ms();
                }
                Ok(Expected::Nothing)
            }
            Command::Info => Ok(Expected::Info(self.names[name].channel.is_some().then(|| {
                self.trim(name, now);
                self.info(name, now)
            }))),
            Command::Delete => Ok(Expected::Info(self.delete(name, now, &mut out))),
            Command::GroupInfo { set } => self.group_info(name, *set, now).map(Expected::Group),
            Command::GroupDelete => {
                let group = self.names[name].group;
                let before = self.group_info(name, None, now).map(Expected::Group);
                for member in 0..self.names.len() {
                    if group.is_some() && self.names[member].group == group {
                        self.delete(member, now, &mut out);
                    }
                }
                before
            }
            #[allow(unreachable_patterns)] // commands to come are not simulated
            other => panic!("not modelled: {other:?}"),
        };
        out.answer = answer.unwrap_or_else(Expected::Refused);
        out
    }

    #[allow(clippy::too_many_arguments)]
    fn publish(
        &mut self,
        name: usize,
        id: u64,
        cost: usize,
        policy: &Arc<Policy>,
        create: bool,
        now: Now,
        busy: ShardSet,
        out: &mut Outcome,
    ) -> Result<Expected, Refusal> {
        match &self.names[name].channel {
            Some(channel) if channel.shards().meets(busy) => return Err(Refusal::Busy),
            None if !create => return Err(Refusal::NotFound),
            _ => self.open(name, policy, now)?,
        }
        self.channel(name).policy = policy.clone();
        self.trim(name, now);
        if policy.max_messages > 0 {
            self.admit(name, cost, policy)?;
        }
        let channel = self.channel(name);
        let base = channel.last.max(channel.floor);
        let position = match now.unix_s() > base.time {
            true => Position { time: now.unix_s(), tag: 0 },
            false => Position { time: base.time, tag: base.tag + 1 },
        };
        let expires_ms = match policy.message_timeout_ms {
            0 => u64::MAX,
            timeout => now.mono_ms() + timeout,
        };
        channel.last = position;
        channel.idle_since_ms = now.mono_ms();
        match policy.max_messages {
            0 => channel.gone = position,
            _ => channel.stored.push_back(Stored { position, cost, expires_ms }),
        }
        let listeners = channel.registered.len() as u32;
        if listeners > 0 {
            out.deliver = Some(channel.shards());
            channel.received = position;
            if channel.registered.values().any(|&(class, _)| class == Class::OneShot) {
                channel.requested_ms = Some(now.mono_ms());
            }
            channel.registered.retain(|_, &mut (class, _)| class != Class::OneShot);
        }
        self.trim(name, now);
        self.drop_received(name);
        let made = &mut self.names[name].made;
        assert!(made.last().is_none_or(|&(p, _)| p < position), "the model itself reuses positions");
        made.push((position, id));
        let info = ChannelInfo { subscribers: listeners, ..self.info(name, now) };
        Ok(Expected::Published(position, info))
    }

    fn admit(&mut self, name: usize, cost: usize, policy: &Policy) -> Result<(), Refusal> {
        let (home, group) = (self.names[name].home, self.names[name].group);
        let stored = &self.channel(name).stored;
        let full = stored.len() >= policy.max_messages as usize;
        let freed = if full { stored[0].cost } else { 0 };
        if self.history_bytes(home) - freed + cost > self.limits.history_bytes {
            return Err(Refusal::HistoryFull);
        }
        let Some(group) = group else { return Ok(()) };
        let have = self.count_group(group);
        let (limits, freed) = (have.limits, freed as u64);
        if limits.messages > 0 && have.messages - u64::from(full) + 1 > limits.messages {
            return Err(Refusal::GroupMessages);
        }
        if limits.memory_bytes > 0 && have.memory_bytes - freed + cost as u64 > limits.memory_bytes {
            return Err(Refusal::GroupMemory);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        name: usize,
        ask: &Subscribe,
        shard: u16,
        sub: SubId,
        now: Now,
        out: &mut Outcome,
    ) -> Result<Expected, Refusal> {
        match self.names[name].channel {
            None if !ask.create => return Err(Refusal::NotFound),
            None => self.open(name, &ask.policy, now)?,
            Some(_) => {}
        }
        self.trim(name, now);
        if ask.class != Class::Glance {
            let waiting = self.channel(name).registered.len();
            let displaced = if ask.concurrency == Concurrency::Last { waiting } else { 0 };
            if ask.max_subscribers > 0 && waiting - displaced >= ask.max_subscribers as usize {
                return Err(Refusal::TooManySubscribers);
            }
            if let Some(group) = self.names[name].group {
                if let Some(limits) = ask.policy.group_limits {
                    self.groups[group].limits = limits;
                }
                let have = self.count_group(group);
                if have.limits.subscribers > 0
                    && have.subscribers - displaced as u64 >= have.limits.subscribers
                {
                    return Err(Refusal::GroupSubscribers);
                }
            }
            if ask.concurrency == Concurrency::First && waiting > 0 {
                return Err(Refusal::Conflict);
            }
            if displaced > 0 {
                self.end_all(name, Ended::Displaced, out);
            }
        }
        self.lost_is_told(name, ask.start);
        let channel = self.channel(name);
        channel.requested_ms = Some(now.mono_ms());
        let last = channel.last.max(channel.floor);
        let stored: Vec<Position> = channel.stored.iter().map(|s| s.position).collect();
        let n = stored.len();
        let from = match ask.start {
            Start::After(p) => stored.iter().filter(|&&s| s <= p).count(),
            Start::Oldest => 0,
            Start::Newest => n.saturating_sub(1),
            Start::Nth(k) if k > 0 => (k as usize - 1).min(n),
            Start::Nth(k) => {
                if k == 0 {
                    0
                } else {
                    n.saturating_sub(-k as usize)
                }
            }
            Start::Live => n,
        };
        let complete = match ask.start {
            Start::After(p) => p >= channel.gone.max(channel.floor),
            _ => true,
        };
        let backlog: Vec<Position> = stored[from..].iter().copied().take(ask.backlog as usize).collect();
        let cut = backlog.len() < n - from;
        let recovered = complete && !(cut && ask.class == Class::Stream);
        channel.received = channel.received.max(backlog.last().copied().unwrap_or_default());
        let class = match ask.class {
            Class::Glance => None,
            Class::OneShot if !backlog.is_empty() => None,
            Class::OneShot if matches!(ask.start, Start::After(p) if p > last) => Some(Class::Stream),
            class => Some(class),
        };
        if let Some(class) = class {
            channel.registered.insert(sub, (class, shard));
        }
        self.drop_received(name);
        Ok(Expected::Subscribed { backlog, class, last, recovered, info: self.info(name, now) })
    }

    /// The rule behind the bookkeeping: whatever was made above `start` and is not stored makes `recovered` false.
    fn lost_is_told(&mut self, name: usize, start: Start) {
        let Start::After(after) = start else { return };
        let made: Vec<Position> =
            self.names[name].made.iter().map(|&(p, _)| p).filter(|&p| p > after).collect();
        let channel = self.channel(name);
        let kept = channel.stored.iter().filter(|s| s.position > after).count();
        if made.len() > kept {
            assert!(after < channel.gone.max(channel.floor), "the model itself would hide a loss");
        }
    }

    fn open(&mut self, name: usize, policy: &Arc<Policy>, now: Now) -> Result<(), Refusal> {
        let (home, group) = (self.names[name].home, self.names[name].group);
        let exists = self.names[name].channel.is_some();
        if !exists && self.channels(home) >= self.limits.channels {
            return Err(Refusal::TooManyChannels);
        }
        if let Some(group) = group {
            let limits = policy.group_limits.unwrap_or(self.groups[group].limits);
            if !exists && limits.channels > 0 && self.count_group(group).channels >= limits.channels {
                if self.groups[group].exists {
                    self.groups[group].limits = limits;
                }
                return Err(Refusal::GroupChannels);
            }
            self.groups[group] = Group { exists: true, limits, empty_since_ms: None };
        }
        if !exists {
            self.names[name].channel = Some(Channel {
                policy: policy.clone(),
                stored: VecDeque::new(),
                last: Position::ZERO,
                floor: self.floors[home],
                gone: Position::ZERO,
                received: Position::ZERO,
                requested_ms: None,
                idle_since_ms: now.mono_ms(),
                registered: BTreeMap::new(),
            });
        }
        Ok(())
    }

    fn end_all(&mut self, name: usize, reason: Ended, out: &mut Outcome) {
        let channel = self.channel(name);
        let shards = channel.shards();
        let registered = std::mem::take(&mut channel.registered);
        if !registered.is_empty() {
            out.ends.insert((name, shards.0, reason == Ended::Deleted));
        }
        self.ended.extend(registered.into_keys().map(|sub| (sub, reason)));
    }

    fn delete(&mut self, name: usize, now: Now, out: &mut Outcome) -> Option<ChannelInfo> {
        self.names[name].channel.as_ref()?;
        self.trim(name, now);
        let info = self.info(name, now);
        self.end_all(name, Ended::Deleted, out);
        self.remove(name, now);
        Some(info)
    }

    fn remove(&mut self, name: usize, now: Now) {
        let channel = self.names[name].channel.take().unwrap();
        let floor = &mut self.floors[self.names[name].home];
        *floor = (*floor).max(channel.last);
        if let Some(group) = self.names[name].group
            && self.count_group(group).channels == 0
        {
            self.groups[group].empty_since_ms = Some(now.mono_ms());
        }
    }

    pub fn tick(&mut self, home: usize, group_home: impl Fn(usize) -> usize, now: Now) {
        for name in 0..self.names.len() {
            if self.names[name].home != home || self.names[name].channel.is_none() {
                continue;
            }
            self.trim(name, now);
            let channel = self.channel(name);
            let idle_ms = now.mono_ms() - channel.idle_since_ms;
            if channel.stored.is_empty()
                && channel.registered.is_empty()
                && idle_ms >= channel.policy.channel_timeout_ms
            {
                self.remove(name, now);
            }
        }
        for (at, group) in self.groups.iter_mut().enumerate() {
            let unlimited = group.limits == GroupLimits::default();
            let over = |since| unlimited || now.mono_ms() - since >= GROUP_IDLE_MS;
            if group.empty_since_ms.is_some_and(over) && group_home(at) == home {
                *group = Group::default();
            }
        }
    }

    fn group_info(&mut self, name: usize, set: Option<GroupLimits>, now: Now) -> Result<GroupInfo, Refusal> {
        let Some(group) = self.names[name].group else { return Ok(GroupInfo::default()) };
        if let Some(limits) = set {
            self.groups[group].limits = limits;
            if !self.groups[group].exists {
                self.groups[group].exists = true;
                self.groups[group].empty_since_ms = Some(now.mono_ms());
            }
        }
        Ok(self.count_group(group))
    }

    fn count_group(&self, group: usize) -> GroupInfo {
        let mut info = GroupInfo { limits: self.groups[group].limits, ..GroupInfo::default() };
        for channel in self.names.iter().filter(|n| n.group == Some(group)).filter_map(|n| n.channel.as_ref())
        {
            info.channels += 1;
            info.subscribers += channel.registered.len() as u64;
            info.messages += channel.stored.len() as u64;
            info.memory_bytes += channel.stored.iter().map(|s| s.cost as u64).sum::<u64>();
        }
        info
    }

    fn info(&self, name: usize, now: Now) -> ChannelInfo {
        let channel = self.names[name].channel.as_ref().unwrap();
        ChannelInfo {
            messages: channel.stored.len() as u32,
            subscribers: channel.registered.len() as u32,
            requested_s: channel.requested_ms.map(|at| (now.mono_ms() - at) / 1000),
            last: channel.last,
            users: None,
        }
    }

    fn trim(&mut self, name: usize, now: Now) {
        let channel = self.channel(name);
        while channel.stored.len() > channel.policy.max_messages as usize {
            channel.pop();
        }
        while channel.stored.len() > channel.policy.min_messages as usize
            && channel.stored[0].expires_ms <= now.mono_ms()
        {
            channel.pop();
        }
    }

    fn drop_received(&mut self, name: usize) {
        let channel = self.channel(name);
        while channel.policy.delete_oldest_received
            && channel.stored.len() > channel.policy.min_messages as usize
            && channel.stored[0].position <= channel.received
        {
            channel.pop();
        }
    }

    fn channel(&mut self, name: usize) -> &mut Channel {
        self.names[name].channel.as_mut().unwrap()
    }
}

impl Channel {
    fn shards(&self) -> ShardSet {
        let mut set = ShardSet::default();
        for &(_, shard) in self.registered.values() {
            set.insert(shard as usize);
        }
        set
    }

    fn pop(&mut self) {
        self.gone = self.stored.pop_front().unwrap().position;
    }
}
