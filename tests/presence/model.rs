//! Who should be in which channel, said in the plainest way: a list of registrations, a list of users.

use fanwire::channel::command::{ShardSet, Subscribe};
use fanwire::channel::{Class, Command, Concurrency, Refusal, User};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub type SubId = usize;

/// An announcement that has to be made.
#[derive(Debug, PartialEq, Eq)]
pub struct Announced {
    pub joined: bool,
    pub user: User,
    pub users: u32,
    pub list: Option<Vec<User>>,
    pub shards: u64,
}

struct Registration {
    shard: u16,
    class: Class,
    user: Option<User>,
    order: u64,
}

struct Lingering {
    id: Vec<u8>,
    due_ms: u64,
    /// The registration that left.
    order: u64,
    left: User,
}

#[derive(Default)]
struct Channel {
    registered: BTreeMap<SubId, Registration>,
    /// In joining order, with the newest info.
    users: Vec<User>,
    lingering: Vec<Lingering>,
    grace_ms: u64,
    lists: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether it is registered, and the users.
    Subscribed(bool, Option<Vec<User>>),
    Refused(Refusal),
    Users(Vec<User>),
    Published,
    Other,
    Nothing,
}

pub struct Model {
    channels: Vec<Channel>,
    homes: Vec<usize>,
    limit_bytes: usize,
    order: u64,
    /// Subscriptions that a home has ended.
    pub ended: BTreeSet<SubId>,
}

impl Model {
    pub fn new(homes: Vec<usize>, limit_bytes: usize) -> Model {
        let channels = homes.iter().map(|_| Channel::default()).collect();
        Model { channels, homes, limit_bytes, order: 0, ended: BTreeSet::new() }
    }

    pub fn ids(&self, name: usize) -> BTreeSet<Vec<u8>> {
        self.channels[name].users.iter().map(|u| u.id.to_vec()).collect()
    }

    pub fn registered(&self, name: usize) -> Vec<SubId> {
        self.channels[name].registered.keys().copied().collect()
    }

    pub fn registered_as(&self, name: usize, class: Class) -> BTreeSet<SubId> {
        let registered = self.channels[name].registered.iter();
        registered.filter(|(_, r)| r.class == class).map(|(sub, _)| *sub).collect()
    }

    /// The shards that have streams.
    pub fn streaming(&self, name: usize) -> ShardSet {
        let mut shards = ShardSet::default();
        for registration in self.channels[name].registered.values().filter(|r| r.class == Class::Stream) {
            shards.insert(registration.shard as usize);
        }
        shards
    }

    pub fn homes(&self) -> &[usize] {
        &self.homes
    }

    pub fn bytes(&self, home: usize) -> usize {
        let here = self.channels.iter().zip(&self.homes).filter(|(_, h)| **h == home).map(|(c, _)| c);
        here.map(|c| {
            let lingering = c.lingering.iter().map(|l| l.left.cost_bytes()).sum::<usize>();
            let present = c.registered.values().filter_map(|r| r.user.as_ref());
            lingering + present.map(User::cost_bytes).sum::<usize>()
        })
        .sum()
    }

    pub fn apply(
        &mut self,
        name: usize,
        command: &Command,
        shard: u16,
        sub: Option<SubId>,
        now_ms: u64,
    ) -> (Answer, Vec<Announced>) {
        let mut told = Vec::new();
        let answer = match command {
            Command::Subscribe(ask) => self.subscribe(name, ask, shard, sub.unwrap(), &mut told),
            Command::Unsubscribe { .. } => {
                self.unsubscribe(name, sub.unwrap(), now_ms, &mut told);
                Answer::Nothing
            }
            Command::Publish { .. } => {
                self.channels[name].registered.retain(|_, r| r.class != Class::OneShot);
                Answer::Published
            }
            Command::Delete => {
                self.end_all(name, &mut told);
                Answer::Other
            }
            Command::Users => Answer::Users(self.channels[name].users.clone()),
            other => panic!("not modelled: {other:?}"),
        };
        (answer, told)
    }

    fn subscribe(
        &mut self,
        name: usize,
        ask: &Subscribe,
        shard: u16,
        sub: SubId,
        told: &mut Vec<Announced>,
    ) -> Answer {
        let displaces = ask.concurrency == Concurrency::Last && !self.channels[name].registered.is_empty();
        let user = ask.user.as_deref().filter(|_| ask.class == Class::Stream).cloned();
        let limits = ask.policy.presence;
        if let Some(user) = &user {
            let there = self.channels[name].users.iter().any(|u| u.id == user.id);
            let full = limits.users > 0 && self.channels[name].users.len() >= limits.users as usize;
            if user.bytes() > limits.user_bytes as usize {
                return Answer::Refused(Refusal::UserTooLarge);
            }
            if self.bytes(self.homes[name]) + user.cost_bytes() > self.limit_bytes {
                return Answer::Refused(Refusal::PresenceFull);
            }
            if full && !there && !displaces {
                return Answer::Refused(Refusal::TooManyUsers);
            }
        }
        if displaces {
            self.end_all(name, told);
        }
        self.order += 1;
        let order = self.order;
        let channel = &mut self.channels[name];
        if let Some(user) = &user {
            channel.grace_ms = limits.leave_grace_ms.into();
            channel.lists = limits.announce_lists;
            channel.lingering.retain(|l| l.id != user.id);
            match channel.users.iter_mut().find(|u| u.id == user.id) {
                Some(there) => *there = user.clone(),
                None => {
                    channel.users.push(user.clone());
                    told.push(channel.announced(true, user.clone()));
                }
            }
        }
        channel.registered.insert(sub, Registration { shard, class: ask.class, user, order });
        Answer::Subscribed(true, ask.list_users.then(|| channel.users.clone()))
    }

    fn unsubscribe(&mut self, name: usize, sub: SubId, now_ms: u64, told: &mut Vec<Announced>) {
        let channel = &mut self.channels[name];
        let Some(gone) = channel.registered.remove(&sub) else { return };
        let Some(user) = gone.user else { return };
        if channel.registered.values().any(|r| r.user.as_ref().is_some_and(|u| u.id == user.id)) {
            return;
        }
        if channel.grace_ms > 0 {
            let due_ms = now_ms + channel.grace_ms;
            channel.lingering.push(Lingering { id: user.id.to_vec(), due_ms, order: gone.order, left: user });
        } else {
            channel.users.retain(|u| u.id != user.id);
            told.push(channel.announced(false, user));
        }
    }

    fn end_all(&mut self, name: usize, told: &mut Vec<Announced>) {
        let channel = &mut self.channels[name];
        self.ended.extend(std::mem::take(&mut channel.registered).into_keys());
        channel.lingering.clear();
        channel.lists = false;
        while !channel.users.is_empty() {
            let user = channel.users.remove(0);
            told.push(channel.announced(false, user));
        }
    }

    /// Time passes for one home: channel and announcement, in order.
    pub fn tick(&mut self, home: usize, now_ms: u64) -> Vec<(usize, Announced)> {
        let mut due: Vec<(u64, u64, usize)> = Vec::new();
        for (name, channel) in self.channels.iter().enumerate().filter(|(n, _)| self.homes[*n] == home) {
            due.extend(channel.lingering.iter().map(|l| (l.due_ms, l.order, name)));
        }
        due.sort_unstable();
        let mut told = Vec::new();
        for (_, order, name) in due.into_iter().filter(|d| d.0 <= now_ms) {
            let channel = &mut self.channels[name];
            let at = channel.lingering.iter().position(|l| l.order == order).unwrap();
            let gone = channel.lingering.remove(at);
            channel.users.retain(|u| u.id != gone.left.id);
            told.push((name, channel.announced(false, gone.left)));
        }
        told
    }
}

impl Channel {
    fn announced(&self, joined: bool, user: User) -> Announced {
        let mut shards = ShardSet::default();
        for registration in self.registered.values().filter(|r| r.class == Class::Stream) {
            shards.insert(registration.shard as usize);
        }
        let list = self.lists.then(|| self.users.clone());
        Announced { joined, user, users: self.users.len() as u32, list, shards: shards.0 }
    }
}

pub fn users(list: &fanwire::channel::Roster) -> Vec<User> {
    list.iter().map(|user: &Arc<User>| (**user).clone()).collect()
}
