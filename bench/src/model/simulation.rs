//! The model's counts against the node's own parts: 64 homes, member tables, mailboxes and bells in one thread, wired as
//! a shard wires them, with nobody's sockets. Mails are counted by the post, wake-ups by the eventfds.

use super::compute::{Counts, fullest};
use fanwire::channel::command::{Subscribe, Subscribed};
use fanwire::channel::core::Home;
use fanwire::channel::members::{Form, Member, Members, Subscription};
use fanwire::channel::{
    Answer, ChannelKey, Class, Command, Concurrency, Effect, KeyHasher, Message, Now, Policy, Position,
    ReplyTo, Start, Token,
};
use fanwire::limits::{HomeLimits, MAILS_PER_TURN, NODE_MAILBOX_MESSAGES};
use fanwire::shard::mailbox::{Bell, Mail, Post, mailbox};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

/// A stream of well-mixed numbers (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

struct Shard {
    home: Home,
    members: Members,
    post: Post,
    bell: Arc<Bell>,
    /// The bell's eventfd once more, to count what was written to it.
    written: File,
    asleep: bool,
    /// What follows here from what was done here.
    work: VecDeque<Effect>,
}

struct World {
    shards: Vec<Shard>,
    subscriptions: Vec<Subscription>,
    /// Per subscription: publications it got, and the last one's position.
    got: Vec<(u64, Position)>,
    now: Now,
    wakes: u64,
    answers: u64,
}

const NOBODY: u32 = u32::MAX;

impl World {
    fn new(count: usize) -> World {
        let bells: Vec<Arc<Bell>> = (0..count).map(|_| Arc::new(Bell::new().unwrap())).collect();
        let boxes = bells.iter().map(|bell| mailbox(bell.clone(), NODE_MAILBOX_MESSAGES));
        let (addresses, receivers): (Vec<_>, Vec<_>) = boxes.unzip();
        let shard = |(id, receiver): (usize, _)| {
            let bell = Arc::clone(&bells[id]);
            let written = File::from(bell.eventfd().as_fd().try_clone_to_owned().unwrap());
            bell.about_to_sleep();
            Shard {
                home: Home::new(HomeLimits::default()),
                members: Members::default(),
                post: Post::new(id, addresses.clone(), receiver),
                bell,
                written,
                asleep: true,
                work: VecDeque::new(),
            }
        };
        World {
            shards: receivers.into_iter().enumerate().map(shard).collect(),
            subscriptions: Vec::new(),
            got: Vec::new(),
            now: Now { mono_ns: 5_000_000_000, unix_ms: 1_000_000 },
            wakes: 0,
            answers: 0,
        }
    }

    fn mails(&self) -> u64 {
        self.shards.iter().map(|shard| shard.post.sent()).sum()
    }

    /// A session on `shard` sends a command.
    fn command(&mut self, shard: usize, key: &Arc<ChannelKey>, command: Command, token: Token) {
        let home = key.home(self.shards.len());
        let from = ReplyTo { shard: shard as u16, token };
        if home == shard {
            return self.apply(home, key, command, from);
        }
        let mail = Mail::Command { key: key.clone(), command: Box::new(command), from };
        self.shards[shard].post.send(home, mail);
    }

    fn apply(&mut self, home: usize, key: &Arc<ChannelKey>, command: Command, from: ReplyTo) {
        let shard = &mut self.shards[home];
        let busy = shard.post.busy();
        let mut effects = Vec::new();
        shard.home.apply(key, command, from, self.now, busy, &mut effects);
        shard.work.extend(effects);
    }

    /// What a shard does with the effects of its home.
    fn run_work(&mut self, at: usize) {
        while let Some(effect) = self.shards[at].work.pop_front() {
            match effect {
                Effect::Deliver { shards, channel, publication } => {
                    for to in shards.iter().filter(|&to| to != at) {
                        let mail = Mail::Deliver { key: channel.clone(), publication: publication.clone() };
                        self.shards[at].post.send(to, mail);
                    }
                    if shards.contains(at) {
                        self.deliver(at, &channel, publication.position);
                    }
                }
                Effect::Answer { to, answer } if usize::from(to.shard) == at => {
                    self.answer(at, to.token, &answer)
                }
                Effect::Answer { to, answer } => {
                    let mail = Mail::Answer { token: to.token, answer: Box::new(answer) };
                    self.shards[at].post.send(usize::from(to.shard), mail);
                }
                Effect::End { .. } | Effect::Announce { .. } | Effect::Store { .. } => {
                    panic!("nothing is ended, announced or stored here")
                }
            }
        }
    }

    fn deliver(&mut self, at: usize, key: &Arc<ChannelKey>, position: Position) {
        let members: Vec<Member> =
            self.shards[at].members.groups(key).iter().flat_map(|group| group.members.clone()).collect();
        assert!(!members.is_empty(), "mail for a shard without members");
        for member in members {
            let (count, last) = &mut self.got[member.slot as usize];
            assert!(position > *last, "out of order");
            (*count, *last) = (*count + 1, position);
        }
    }

    fn answer(&mut self, at: usize, token: Token, answer: &Answer) {
        if let Answer::Subscribed(subscribed) = answer {
            let subscribed: &Subscribed = subscribed;
            let member = Member { slot: token.slot, tag: 0 };
            let members = &mut self.shards[at].members;
            let undo = self.subscriptions[token.slot as usize].answered(Some(subscribed), member, members);
            assert!(undo.is_none());
        } else {
            assert!(matches!(answer, Answer::Published { .. }), "{answer:?}");
            self.answers += 1;
        }
    }

    /// The end of a turn: the bells are rung. Writes are counted.
    fn ring(&mut self, at: usize) {
        self.shards[at].post.ring();
        for shard in self.shards.iter_mut().filter(|shard| shard.asleep) {
            let mut count = [0; 8];
            if shard.written.read(&mut count).is_ok() {
                self.wakes += u64::from_ne_bytes(count);
                shard.asleep = false;
                shard.bell.awake(false);
            }
        }
    }

    /// A turn of the loop of a shard that has something to do; afterwards it sleeps unless it has more.
    fn turn(&mut self, at: usize) {
        for _ in 0..MAILS_PER_TURN {
            let Some(mail) = self.shards[at].post.receive() else { break };
            match mail {
                Mail::Command { key, command, from } => self.apply(at, &key, *command, from),
                Mail::Deliver { key, publication } => self.deliver(at, &key, publication.position),
                Mail::Answer { token, answer } => self.answer(at, token, &answer),
                other => panic!("nobody sends {other:?}"),
            }
            self.run_work(at);
        }
        self.run_work(at);
        self.ring(at);
        if self.shards[at].post.waiting() == 0 {
            self.shards[at].asleep = true;
            self.shards[at].bell.about_to_sleep();
        }
    }

    /// A client's request wakes `at`, which then has its turn.
    fn request(&mut self, at: usize, key: &Arc<ChannelKey>, command: Command, slot: u32) {
        self.shards[at].asleep = false;
        self.shards[at].bell.awake(false);
        self.command(at, key, command, Token { slot, generation: 0, tag: 0 });
        self.turn(at);
    }

    /// Everybody who is awake has turns until all sleep.
    fn settle(&mut self) {
        while let Some(at) = self.shards.iter().position(|shard| !shard.asleep) {
            self.turn(at);
        }
    }

    fn subscribe(&mut self, at: usize, key: &Arc<ChannelKey>, policy: &Arc<Policy>) {
        let slot = self.subscriptions.len() as u32;
        self.subscriptions.push(Subscription::asked(key.clone(), Form(0)));
        self.got.push((0, Position::ZERO));
        let ask = Subscribe {
            start: Start::Live,
            class: Class::Stream,
            backlog: 0,
            create: true,
            max_subscribers: 0,
            concurrency: Concurrency::Broadcast,
            policy: policy.clone(),
            user: None,
            list_users: false,
        };
        self.request(at, key, Command::Subscribe(Box::new(ask)), slot);
        self.settle();
    }
}

fn publish(policy: &Arc<Policy>) -> Command {
    let message = Message { payload: b"tick"[..].into(), ..Message::default() };
    Command::Publish { message, policy: policy.clone(), create: true }
}

/// Means over `publishes` from random shards, each alone: mails and wake-ups per publish.
fn simulate(shards: usize, channels: usize, subscribers: usize, publishes: usize) -> (f64, f64) {
    let mut chance = Chance(42);
    let mut world = World::new(shards);
    let hasher = KeyHasher::new(7);
    let policy = Arc::new(Policy::default());
    let keys: Vec<_> =
        (0..channels).map(|n| ChannelKey::new(&hasher, 0, b"", format!("room-{n}").as_bytes())).collect();
    for key in &keys {
        for _ in 0..subscribers {
            world.subscribe(chance.below(shards), key, &policy);
        }
    }
    let (mails, wakes) = (world.mails(), world.wakes);
    for _ in 0..publishes {
        let key = &keys[chance.below(channels)];
        world.request(chance.below(shards), key, publish(&policy), NOBODY);
        world.settle();
    }
    assert_eq!(world.answers, publishes as u64, "each publish is answered");
    let got: u64 = world.got.iter().map(|(count, _)| count).sum();
    assert_eq!(got, (publishes * subscribers) as u64, "each subscriber gets each publication of its channel");
    let mean = |count: u64| count as f64 / publishes as f64;
    (mean(world.mails() - mails), mean(world.wakes - wakes))
}

#[test]
fn counts_are_those_of_the_nodes_own_homes_and_mailboxes() {
    let cases = [
        (1, 1, 50, 500),
        (2, 1, 50, 3_000),
        (2, 400, 1, 6_000),
        (64, 1, 2_000, 1_000),
        (64, 400, 10, 3_000),
        (64, 4_000, 1, 8_000),
    ];
    for (shards, channels, subscribers, publishes) in cases {
        let (mails, wakes) = simulate(shards, channels, subscribers, publishes);
        let model = Counts::of(shards as f64, subscribers as f64);
        let close = |is: f64, computed: f64| (is - computed).abs() <= 0.03 * computed.max(is);
        let what = format!("{shards} shards, {channels} x {subscribers}");
        assert!(close(mails, model.mails()), "{what}: {mails} mails, computed {}", model.mails());
        assert!(close(wakes, model.wakes), "{what}: {wakes} wake-ups, computed {}", model.wakes);
    }
}

#[test]
fn shards_that_are_busy_are_not_woken() {
    const SHARDS: usize = 64;
    const ROUNDS: usize = 20;
    const EACH: usize = 8;
    let mut chance = Chance(1);
    let mut world = World::new(SHARDS);
    let policy = Arc::new(Policy::default());
    let key = ChannelKey::new(&KeyHasher::new(7), 0, b"", b"big");
    for at in 0..SHARDS {
        world.subscribe(at, &key, &policy);
    }
    let (mails, wakes) = (world.mails(), world.wakes);
    for _ in 0..ROUNDS {
        let before = world.wakes;
        // Everybody is awake and has requests to read before anybody looks at the mail.
        for shard in &mut world.shards {
            shard.asleep = false;
            shard.bell.awake(false);
        }
        for _ in 0..SHARDS * EACH {
            let at = chance.below(SHARDS);
            world.command(at, &key, publish(&policy), Token { slot: NOBODY, generation: 0, tag: 0 });
        }
        (0..SHARDS).for_each(|at| world.run_work(at));
        (0..SHARDS).for_each(|at| world.ring(at));
        assert_eq!(world.wakes, before, "nobody slept");
        world.settle();
        world.shards.iter_mut().for_each(|shard| shard.asleep = true);
    }
    let publishes = (ROUNDS * SHARDS * EACH) as u64;
    assert_eq!(world.answers, publishes);
    let sent = (world.mails() - mails) as f64 / publishes as f64;
    assert!((sent - Counts::of(SHARDS as f64, 1e6).mails()).abs() < 0.5, "{sent} mails each");
    let woken = (world.wakes - wakes) as f64 / publishes as f64;
    assert!(woken < 0.3, "{woken} wake-ups per publish, though mail comes in lots");
}

#[test]
fn the_fullest_shard_is_estimated_from_above_and_not_by_much() {
    let mut chance = Chance(9);
    for (balls, bins) in [(2_000, 2), (10_000, 64), (100_000, 64), (400, 16)] {
        let trials = 60;
        let mut sum = 0.0;
        for _ in 0..trials {
            let mut count = vec![0; bins];
            (0..balls).for_each(|_| count[chance.below(bins)] += 1);
            sum += *count.iter().max().unwrap() as f64 / balls as f64;
        }
        let (mean, model) = (sum / f64::from(trials), fullest(balls as f64, bins as f64));
        assert!(mean <= model && model < 1.15 * mean, "{balls} in {bins}: {mean}, estimated {model}");
    }
}
