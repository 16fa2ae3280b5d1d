//! The home of channels: the one place that changes them (design R4).

use crate::channel::command::{
    Answer, ChannelInfo, Class, Command, Effect, Ended, List, Refusal, ReplyTo, ShardSet, Start, Subscribe,
    Subscribed,
};
use crate::channel::group::Groups;
use crate::channel::history::History;
use crate::channel::presence::Presence;
use crate::channel::{ChannelKey, Concurrency, Message, Now, Policy, Position, Publication, Roster};
use crate::limits::HomeLimits;
use std::collections::HashMap;
use std::sync::Arc;

mod durable;
mod ending;
mod follow;
mod tick;
mod users;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// All channels that one shard owns.
pub struct Home {
    limits: HomeLimits,
    index: Map<Arc<ChannelKey>, usize>,
    channels: slab::Slab<Channel>,
    groups: Groups,
    history_bytes: usize,
    stored: usize,
    presence_bytes: usize,
    leaving: users::Leaving,
    following: follow::Following,
    /// Never reused, so that a registration is recognised by it.
    epoch: u64,
    /// The highest position of any channel that is gone. A new channel starts above it, or a subscriber that
    /// holds a position of an earlier channel of that name would miss what comes next; and what that channel had
    /// is lost, so from below it nothing counts as recovered.
    floor: Position,
    sweep_from: usize,
    durables: durable::Durables,
}

struct Channel {
    key: Arc<ChannelKey>,
    policy: Arc<Policy>,
    history: History,
    last: Position,
    /// The highest position that any subscriber got.
    received: Position,
    /// When a subscriber last asked, monotonic milliseconds.
    requested_ms: Option<u64>,
    idle_since_ms: u64,
    /// Registrations of streams count while this is unchanged.
    stream_epoch: u64,
    /// Registrations of held polls count while this is unchanged: each publication releases all of them.
    poll_epoch: u64,
    shards: Vec<ShardCount>,
    /// Who they are, of those who have said so. Their registrations are streams with an epoch of their own.
    presence: Option<Box<Presence>>,
    /// Of a durable channel.
    log: Option<Box<durable::Log>>,
    /// What its app was told, if it wants to be.
    followed: Option<Box<follow::Followed>>,
}

#[derive(Clone, Copy, Default)]
struct ShardCount {
    shard: u16,
    streams: u32,
    polls: u32,
}

impl Channel {
    fn subscribers(&self) -> u32 {
        self.shards.iter().map(|s| s.streams + s.polls).sum()
    }

    fn interest(&self) -> ShardSet {
        let mut set = ShardSet::default();
        for count in &self.shards {
            set.insert(count.shard as usize);
        }
        set
    }

    fn count(&mut self, shard: u16) -> &mut ShardCount {
        let at = match self.shards.iter().position(|s| s.shard == shard) {
            Some(at) => at,
            None => {
                self.shards.push(ShardCount { shard, ..ShardCount::default() });
                self.shards.len() - 1
            }
        };
        &mut self.shards[at]
    }

    fn forget_idle_shards(&mut self) {
        self.shards.retain(|s| s.streams + s.polls > 0);
        if self.shards.is_empty() {
            self.shards = Vec::new();
        }
    }

    fn trim(&mut self, now: Now) {
        let Channel { history, policy, .. } = self;
        history.trim(policy, now.mono_ms());
    }

    /// What the next position has to be above: the last one, also of a channel that had the name before.
    fn newest(&self) -> Position {
        self.last.max(self.history.dropped())
    }

    fn info(&self, now: Now) -> ChannelInfo {
        ChannelInfo {
            messages: self.history.len() as u32,
            subscribers: self.subscribers(),
            requested_s: self.requested_ms.map(|at| now.mono_ms().saturating_sub(at) / 1000),
            last: self.last,
            users: self.presence.as_ref().map(|presence| presence.len()),
        }
    }
}

impl Home {
    /// An empty home.
    pub fn new(limits: HomeLimits) -> Home {
        Home {
            limits,
            index: Map::default(),
            channels: slab::Slab::new(),
            groups: Groups::default(),
            history_bytes: 0,
            stored: 0,
            presence_bytes: 0,
            leaving: users::Leaving::default(),
            following: follow::Following::default(),
            epoch: 0,
            floor: Position::ZERO,
            sweep_from: 0,
            durables: durable::Durables::default(),
        }
    }

    /// Channels that exist.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Memory of all stored publications, bytes.
    pub fn history_bytes(&self) -> usize {
        self.history_bytes
    }

    /// Stored publications over all channels.
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// Memory of all users in all channels, bytes.
    pub fn presence_bytes(&self) -> usize {
        self.presence_bytes
    }

    /// Channel groups that have channels or limits.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The channels that `list` means.
    pub fn list(&self, list: &List, now: Now) -> Vec<(Arc<ChannelKey>, ChannelInfo)> {
        let meant = |channel: &&Channel| {
            let key = &channel.key;
            key.app() == list.app && key.name().starts_with(&list.prefix) && !channel.shards.is_empty()
        };
        let channels = self.channels.iter().map(|(_, channel)| channel).filter(meant);
        channels.take(list.most).map(|channel| (channel.key.clone(), channel.info(now))).collect()
    }

    /// Carries out `command` for `key` and appends what follows from it to `effects`, in order.
    ///
    /// `busy` are the shards that can take no further deliveries: a publication that one of them would have
    /// to get is refused whole (design R6).
    pub fn apply(
        &mut self,
        key: &Arc<ChannelKey>,
        command: Command,
        from: ReplyTo,
        now: Now,
        busy: ShardSet,
        effects: &mut Vec<Effect>,
    ) {
        if !self.durables.is_attentive() {
            return self.carry_out(key, command, from, now, busy, effects);
        }
        if let Some(command) = self.hold_back(key, command, from, now, effects) {
            self.carry_out(key, command, from, now, busy, effects);
        }
    }

    fn carry_out(
        &mut self,
        key: &Arc<ChannelKey>,
        command: Command,
        from: ReplyTo,
        now: Now,
        busy: ShardSet,
        effects: &mut Vec<Effect>,
    ) {
        let answer = match command {
            Command::Publish { message, policy, create } => {
                match self.published_to(key, &policy, create, now, busy) {
                    Ok(at) if self.channels[at].log.is_some() => {
                        match self.ask_append(at, message, &policy, from, now, effects) {
                            Ok(Some(answer)) => Ok(answer),
                            Ok(None) => return,
                            Err(refusal) => Err(refusal),
                        }
                    }
                    Ok(at) => self.publish(at, message, &policy, now, effects),
                    Err(refusal) => Err(refusal),
                }
            }
            Command::Create { policy } => {
                self.open(key, &policy, now).map(|at| Answer::Info(Some(self.channels[at].info(now))))
            }
            Command::Subscribe(subscribe) => self.subscribe(key, &subscribe, from.shard, now, effects),
            Command::Unsubscribe { class, epoch } => {
                self.unsubscribe(key, class, epoch, from.shard, now, effects);
                return self.follow(key, now, effects);
            }
            Command::Info => Ok(Answer::Info(self.find(key).map(|at| {
                self.trim(at, now);
                self.channels[at].info(now)
            }))),
            Command::Users => {
                Ok(Answer::Users(self.find(key).map_or_else(Roster::default, |at| self.users(at))))
            }
            Command::Terminate => Ok(Answer::Info(self.terminate(key, now, effects))),
            Command::Delete => match self.find(key).filter(|&at| self.channels[at].log.is_some()) {
                Some(at) => {
                    self.trim(at, now);
                    let answer = Answer::Info(Some(self.channels[at].info(now)));
                    return self.delete_log(at, from, answer, effects);
                }
                None => Ok(Answer::Info(self.delete(key, now, effects))),
            },
            Command::GroupInfo { set } => self.group_info(key, set, now).map(Answer::Group),
            Command::GroupDelete => match self.group_delete(key, from, now, effects) {
                Some(info) => Ok(Answer::Group(info)),
                None => return,
            },
        };
        let answer = answer.unwrap_or_else(Answer::Refused);
        effects.push(Effect::Answer { to: from, answer });
        self.follow(key, now, effects);
    }

    /// The channel that a publication goes to, with its publisher's rules.
    fn published_to(
        &mut self,
        key: &Arc<ChannelKey>,
        policy: &Arc<Policy>,
        create: bool,
        now: Now,
        busy: ShardSet,
    ) -> Result<usize, Refusal> {
        let at = match self.find(key) {
            Some(at) if self.channels[at].interest().meets(busy) => return Err(Refusal::Busy),
            None if !create => return Err(Refusal::NotFound),
            found => self.open_found(found, key, policy, now)?,
        };
        // Mostly the rules are the same ones: no count is touched for them then.
        if !Arc::ptr_eq(&self.channels[at].policy, policy) {
            self.channels[at].policy = policy.clone();
            self.begin_log(at);
        }
        Ok(at)
    }

    fn publish(
        &mut self,
        at: usize,
        message: Message,
        policy: &Policy,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.trim(at, now);
        let channel = &self.channels[at];
        let expires_ms = match policy.message_timeout_ms {
            0 => u64::MAX,
            timeout => now.mono_ms().saturating_add(timeout),
        };
        let (position, times) = (channel.newest().next(now.unix_s()), (now.mono_ns, expires_ms));
        let publication = Arc::new(Publication::new(position, channel.last, message, times));
        let stored = policy.max_messages > 0 && !publication.message.is_fleeting();
        if stored {
            self.admit(at, &publication, policy)?;
        }
        Ok(self.put(at, publication, stored, now, effects))
    }

    /// Puts a publication that there is room for on its way, and into the history if it is `stored`.
    fn put(
        &mut self,
        at: usize,
        publication: Arc<Publication>,
        stored: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        self.append(at, &publication, stored, now);
        let channel = &mut self.channels[at];
        let info = channel.info(now);
        let (shards, position) = (channel.interest(), publication.position);
        if info.subscribers > 0 {
            channel.received = position;
            let channel = channel.key.clone();
            self.release_polls(at, now);
            effects.push(Effect::Deliver { shards, channel, publication });
        }
        self.drop_received(at, effects);
        let info = ChannelInfo { subscribers: info.subscribers, ..self.channels[at].info(now) };
        Answer::Published { position, info }
    }

    /// Whether history and group have room for `publication`.
    fn admit(&self, at: usize, publication: &Publication, policy: &Policy) -> Result<(), Refusal> {
        let channel = &self.channels[at];
        // What the new one pushes out makes room for it.
        let full = channel.history.len() as u64 + 1 > u64::from(policy.max_messages);
        let freed = channel.history.oldest_bytes().filter(|_| full);
        let bytes = publication.cost_bytes();
        if self.history_bytes - freed.unwrap_or(0) + bytes > self.limits.history_bytes {
            return Err(Refusal::HistoryFull);
        }
        self.groups.get(&channel.key).map_or(Ok(()), |group| group.admit_message(bytes, freed))
    }

    fn append(&mut self, at: usize, publication: &Arc<Publication>, stored: bool, now: Now) {
        self.account(at, |channel| {
            if stored {
                channel.history.push(publication.clone());
            } else {
                channel.history.skip(publication.position);
            }
            channel.last = publication.position;
            channel.trim(now);
            channel.idle_since_ms = now.mono_ms();
        });
    }

    fn release_polls(&mut self, at: usize, now: Now) {
        let released: u32 = self.channels[at].shards.iter().map(|s| s.polls).sum();
        if released == 0 {
            return;
        }
        self.epoch += 1;
        let epoch = self.epoch;
        let channel = &mut self.channels[at];
        channel.poll_epoch = epoch;
        channel.requested_ms = Some(now.mono_ms());
        for count in &mut channel.shards {
            count.polls = 0;
        }
        channel.forget_idle_shards();
        let key = channel.key.clone();
        self.following.changed.polls = true;
        self.count_subscribers(&key, -i64::from(released));
    }

    fn drop_received(&mut self, at: usize, effects: &mut Vec<Effect>) {
        if !self.channels[at].policy.delete_oldest_received {
            return;
        }
        self.account(at, |channel| {
            while channel.history.len() > channel.policy.min_messages as usize
                && channel.history.oldest().is_some_and(|oldest| oldest <= channel.received)
            {
                channel.history.pop();
            }
        });
        self.truncate_log(at, effects);
    }

    fn subscribe(
        &mut self,
        key: &Arc<ChannelKey>,
        ask: &Subscribe,
        shard: u16,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let at = match self.find(key) {
            Some(at) => at,
            None if !ask.create => return Err(Refusal::NotFound),
            None => self.open(key, &ask.policy, now)?,
        };
        self.trim(at, now);
        let subscribers = self.channels[at].subscribers();
        if ask.class != Class::Glance {
            let leaving = if ask.concurrency == Concurrency::Last { subscribers } else { 0 };
            if ask.max_subscribers > 0 && subscribers - leaving >= ask.max_subscribers {
                return Err(Refusal::TooManySubscribers);
            }
            if let Some(group) = self.groups.get_mut(key) {
                group.set_limits(ask.policy.group_limits);
                group.admit_subscriber(leaving)?;
            }
            if ask.concurrency == Concurrency::First && subscribers > 0 {
                return Err(Refusal::Conflict);
            }
            self.admit_user(at, ask, leaving > 0)?;
            if leaving > 0 {
                self.end_all(at, Ended::Displaced, effects);
            }
        }
        let channel = &mut self.channels[at];
        channel.requested_ms = Some(now.mono_ms());
        let (backlog, complete, whole) = channel.history.from(ask.start, ask.backlog as usize);
        // A poll comes back for what a short backlog left out; a stream goes on with what is published next.
        let recovered = complete && (whole || ask.class != Class::Stream);
        let last = channel.newest();
        if let Some(newest) = backlog.last() {
            channel.received = channel.received.max(newest.position);
        }
        let class = match ask.class {
            Class::Glance => None,
            Class::OneShot if !backlog.is_empty() => None,
            // A position that is still to come: other publications must not release this one.
            Class::OneShot if matches!(ask.start, Start::After(p) if p > last) => Some(Class::Stream),
            class => Some(class),
        };
        if class.is_some() {
            self.occupy(at, effects);
        }
        let registered = class.map(|class| match Self::user_of(ask) {
            Some(user) => (class, self.join(at, user, ask, shard, effects)),
            None => (class, self.register(at, class, shard)),
        });
        self.drop_received(at, effects);
        let info = self.channels[at].info(now);
        let users = ask.list_users.then(|| self.users(at));
        Ok(Answer::Subscribed(Box::new(Subscribed { backlog, registered, last, recovered, info, users })))
    }

    fn register(&mut self, at: usize, class: Class, shard: u16) -> u64 {
        let channel = &mut self.channels[at];
        let count = channel.count(shard);
        let epoch = if class == Class::OneShot {
            count.polls += 1;
            self.following.changed.polls = true;
            channel.poll_epoch
        } else {
            count.streams += 1;
            self.following.changed.streams = true;
            channel.stream_epoch
        };
        let key = channel.key.clone();
        self.count_subscribers(&key, 1);
        epoch
    }

    fn unsubscribe(
        &mut self,
        key: &Arc<ChannelKey>,
        class: Class,
        epoch: u64,
        shard: u16,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(at) = self.find(key) else { return };
        let channel = &self.channels[at];
        let current = if class == Class::OneShot { channel.poll_epoch } else { channel.stream_epoch };
        if current == epoch {
            self.unregister(at, class, shard, now);
        } else if class == Class::Stream && channel.presence.is_some() {
            self.part(at, epoch, shard, now, effects);
        } // else released, displaced or deleted in the meantime
    }

    fn unregister(&mut self, at: usize, class: Class, shard: u16, now: Now) {
        let channel = &mut self.channels[at];
        let Some(count) = channel.shards.iter_mut().find(|s| s.shard == shard) else { return };
        let changed = &mut self.following.changed;
        let (registered, changed) = match class {
            Class::OneShot => (&mut count.polls, &mut changed.polls),
            _ => (&mut count.streams, &mut changed.streams),
        };
        *changed = true;
        debug_assert!(*registered > 0, "more unsubscribed than subscribed");
        *registered = registered.saturating_sub(1);
        channel.forget_idle_shards();
        channel.requested_ms = Some(now.mono_ms());
        channel.idle_since_ms = now.mono_ms();
        let key = channel.key.clone();
        self.count_subscribers(&key, -1);
    }

    fn find(&self, key: &Arc<ChannelKey>) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// The channel's place, made when it is not there.
    fn open(&mut self, key: &Arc<ChannelKey>, policy: &Arc<Policy>, now: Now) -> Result<usize, Refusal> {
        self.open_found(self.find(key), key, policy, now)
    }

    /// As `open`, for a channel that was looked for already.
    fn open_found(
        &mut self,
        found: Option<usize>,
        key: &Arc<ChannelKey>,
        policy: &Arc<Policy>,
        now: Now,
    ) -> Result<usize, Refusal> {
        if let Some(at) = found {
            if let Some(group) = self.groups.get_mut(key) {
                group.set_limits(policy.group_limits);
            }
            return Ok(at);
        }
        if self.channels.len() >= self.limits.channels {
            return Err(Refusal::TooManyChannels);
        }
        self.admit_channel(key)?;
        self.groups.add_channel(key, policy.group_limits)?;
        self.count_channel(key, 1);
        self.epoch += 1;
        let at = self.channels.insert(Channel {
            key: key.clone(),
            policy: policy.clone(),
            history: History::default(),
            last: Position::ZERO,
            received: Position::ZERO,
            requested_ms: None,
            idle_since_ms: now.mono_ms(),
            stream_epoch: self.epoch,
            poll_epoch: self.epoch,
            shards: Vec::new(),
            presence: None,
            log: None,
            followed: None,
        });
        self.channels[at].history.skip(self.floor);
        self.index.insert(key.clone(), at);
        if policy.durable {
            self.begin_log(at);
        }
        Ok(at)
    }

    fn remove(&mut self, at: usize, now: Now) {
        self.account(at, |channel| {
            while !channel.history.is_empty() {
                channel.history.pop();
            }
        });
        self.forget(at);
        let channel = self.channels.remove(at);
        self.index.remove(&channel.key);
        let given = channel.log.map_or(Position::ZERO, |log| log.given());
        self.floor = self.floor.max(channel.last).max(given);
        self.groups.remove_channel(&channel.key, self.limits.channels, now.mono_ms());
    }

    fn trim(&mut self, at: usize, now: Now) {
        self.account(at, |channel| channel.trim(now));
    }

    /// Changes a channel's history and carries the difference over to the node's and the group's counters.
    fn account(&mut self, at: usize, change: impl FnOnce(&mut Channel)) {
        let channel = &mut self.channels[at];
        let (messages, bytes) = (channel.history.len(), channel.history.bytes());
        change(channel);
        let (messages_now, bytes_now) = (channel.history.len(), channel.history.bytes());
        self.history_bytes = self.history_bytes - bytes + bytes_now;
        self.stored = self.stored - messages + messages_now;
        if let Some(group) = self.groups.get_mut(&channel.key) {
            group.info.messages = group.info.messages + messages_now as u64 - messages as u64;
            group.info.memory_bytes = group.info.memory_bytes + bytes_now as u64 - bytes as u64;
        }
    }

    fn count_subscribers(&mut self, key: &ChannelKey, change: i64) {
        if let Some(group) = self.groups.get_mut(key) {
            group.info.subscribers = group.info.subscribers.saturating_add_signed(change);
        }
    }
}
