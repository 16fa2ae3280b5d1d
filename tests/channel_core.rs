//! What a home does with each command, one sentence of its contract at a time.

use fanwire::channel::command::{ChannelInfo, Effect, GroupInfo, ShardSet, Subscribe, Subscribed};
use fanwire::channel::core::Home;
use fanwire::channel::{
    Answer, ChannelKey, Class, Command, Concurrency, Ended, GroupLimits, KeyHasher, Message, Now, Policy,
    Position, Publication, Refusal, ReplyTo, Start, Token,
};
use fanwire::limits::{GROUP_IDLE_MS, HomeLimits};
use std::sync::Arc;

/// A home with a clock and the key hasher that goes with it.
struct Bench {
    home: Home,
    hasher: KeyHasher,
    now: Now,
    busy: ShardSet,
    effects: Vec<Effect>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(HomeLimits::default())
    }

    fn with(limits: HomeLimits) -> Bench {
        let now = Now { mono_ns: 5_000_000_000, unix_ms: 100_000 };
        Bench {
            home: Home::new(limits),
            hasher: KeyHasher::new(3),
            now,
            busy: ShardSet::default(),
            effects: vec![],
        }
    }

    /// Carries out `command` for channel "group/name" or "name" from `shard`; the effects but the answer are kept.
    fn apply(&mut self, channel: &str, shard: u16, command: Command) -> Option<Answer> {
        let (group, name) = channel.split_once('/').unwrap_or(("", channel));
        let key = ChannelKey::new(&self.hasher, 0, group.as_bytes(), name.as_bytes());
        let from = ReplyTo { shard, token: Token { slot: 1, generation: 2, tag: 3 } };
        self.effects.clear();
        self.home.apply(&key, command, from, self.now, self.busy, &mut self.effects);
        match self.effects.pop() {
            Some(Effect::Answer { to, answer }) => {
                assert_eq!(to, from);
                Some(answer)
            }
            None => None,
            other => panic!("the answer comes last: {other:?}"),
        }
    }

    fn publish(&mut self, channel: &str, policy: &Policy) -> Result<(Position, ChannelInfo), Refusal> {
        self.publish_bytes(channel, policy, 1)
    }

    fn publish_bytes(
        &mut self,
        channel: &str,
        policy: &Policy,
        bytes: usize,
    ) -> Result<(Position, ChannelInfo), Refusal> {
        let message = Message { payload: vec![0; bytes].into(), ..Message::default() };
        match self.apply(
            channel,
            0,
            Command::Publish { message, policy: Arc::new(policy.clone()), create: true },
        ) {
            Some(Answer::Published { position, info }) => Ok((position, info)),
            Some(Answer::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn subscribe(&mut self, channel: &str, shard: u16, ask: Subscribe) -> Result<Subscribed, Refusal> {
        match self.apply(channel, shard, Command::Subscribe(Box::new(ask))) {
            Some(Answer::Subscribed(subscribed)) => Ok(*subscribed),
            Some(Answer::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn info(&mut self, channel: &str) -> Option<ChannelInfo> {
        match self.apply(channel, 0, Command::Info) {
            Some(Answer::Info(info)) => info,
            other => panic!("{other:?}"),
        }
    }

    fn group(&mut self, channel: &str, set: Option<GroupLimits>) -> Result<GroupInfo, Refusal> {
        match self.apply(channel, 0, Command::GroupInfo { set }) {
            Some(Answer::Group(info)) => Ok(info),
            Some(Answer::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn delete(&mut self, channel: &str) -> Option<ChannelInfo> {
        match self.apply(channel, 0, Command::Delete) {
            Some(Answer::Info(info)) => info,
            other => panic!("{other:?}"),
        }
    }

    fn later(&mut self, ms: u64) {
        self.now.mono_ns += ms * 1_000_000;
        self.now.unix_ms += ms;
    }

    fn tick(&mut self) {
        self.home.tick(self.now, &mut self.effects);
    }

    /// Shards of the one delivery among the last effects.
    fn delivered(&self) -> Vec<usize> {
        let shards = self.effects.iter().filter_map(|e| match e {
            Effect::Deliver { shards, .. } => Some(shards.iter().collect::<Vec<_>>()),
            _ => None,
        });
        shards.flatten().collect()
    }

    fn ended(&self) -> Vec<(Vec<usize>, Ended)> {
        let ends = self.effects.iter().filter_map(|e| match e {
            Effect::End { shards, reason, .. } => Some((shards.iter().collect::<Vec<_>>(), *reason)),
            _ => None,
        });
        ends.collect()
    }
}

fn ask(class: Class, start: Start) -> Subscribe {
    Subscribe {
        start,
        class,
        backlog: u32::MAX,
        create: true,
        max_subscribers: 0,
        concurrency: Concurrency::Broadcast,
        policy: Arc::new(Policy::default()),
        user: None,
        list_users: false,
    }
}

fn stream() -> Subscribe {
    ask(Class::Stream, Start::Live)
}

fn poll(after: Position) -> Subscribe {
    ask(Class::OneShot, Start::After(after))
}

fn positions(subscribed: &Subscribed) -> Vec<Position> {
    subscribed.backlog.iter().map(|p| p.position).collect()
}

fn keep(max_messages: u32) -> Policy {
    Policy { max_messages, ..Policy::default() }
}

fn at(time: u64, tag: u32) -> Position {
    Position { time, tag }
}

// ---- publish ----

#[test]
fn a_publication_tells_who_listened_and_where_it_stands() {
    let mut b = Bench::new();
    let (first, info) = b.publish("a", &keep(5)).unwrap();
    assert_eq!((first, info.messages, info.subscribers, info.requested_s), (at(100, 0), 1, 0, None));
    assert!(b.delivered().is_empty(), "nobody listens");
    b.subscribe("a", 3, stream()).unwrap();
    b.subscribe("a", 1, stream()).unwrap();
    let (second, info) = b.publish("a", &keep(5)).unwrap();
    assert_eq!((second, info.messages, info.subscribers), (at(100, 1), 2, 2));
    assert_eq!(b.delivered(), [1, 3]);
    b.later(1000);
    assert_eq!(b.publish("a", &keep(5)).unwrap().0, at(101, 0));
}

#[test]
fn without_create_nothing_is_made() {
    let mut b = Bench::new();
    let policy = Arc::new(Policy::default());
    let publish = Command::Publish { message: Message::default(), policy, create: false };
    assert!(matches!(b.apply("a", 0, publish), Some(Answer::Refused(Refusal::NotFound))));
    let none = Subscribe { create: false, ..stream() };
    assert!(matches!(b.subscribe("a", 0, none), Err(Refusal::NotFound)));
    assert_eq!((b.info("a"), b.delete("a"), b.home.channels()), (None, None, 0));
}

#[test]
fn a_busy_shard_refuses_only_what_it_would_get() {
    let mut b = Bench::new();
    b.subscribe("a", 2, stream()).unwrap();
    b.busy.insert(2);
    assert_eq!(b.publish("a", &keep(5)), Err(Refusal::Busy));
    assert!(b.delivered().is_empty());
    assert_eq!(b.info("a").unwrap().messages, 0);
    assert!(b.publish("other", &keep(5)).is_ok());
}

#[test]
fn what_is_not_kept_is_delivered_and_owned_up_to() {
    let mut b = Bench::new();
    let (missed, _) = b.publish("a", &keep(0)).unwrap();
    let resumed = b.subscribe("a", 0, ask(Class::Stream, Start::After(at(99, 0)))).unwrap();
    assert!(!resumed.recovered && resumed.backlog.is_empty());
    assert!(b.subscribe("a", 1, ask(Class::Stream, Start::After(missed))).unwrap().recovered);
    b.publish("a", &keep(0)).unwrap();
    assert_eq!((b.delivered(), b.home.stored()), (vec![0, 1], 0));
}

/// nchan counts with 16 bits and starts again after 32,767 messages of a second (nchan sheet, trap 1).
#[test]
fn a_second_has_room_for_more_messages_than_sixteen_bits_count() {
    let mut b = Bench::new();
    let mut last = Position::ZERO;
    for _ in 0..70_000 {
        let (position, _) = b.publish("a", &keep(5)).unwrap();
        assert!(position > last);
        last = position;
    }
    assert_eq!(last, Position { time: 100, tag: 69_999 });
    let rest = b.subscribe("a", 0, poll(Position { time: 100, tag: 69_997 })).unwrap();
    assert_eq!(positions(&rest).first(), Some(&Position { time: 100, tag: 69_998 }));
}

#[test]
fn the_published_answer_counts_what_is_left_after_delivery() {
    let mut b = Bench::new();
    b.subscribe("a", 0, stream()).unwrap();
    let policy = Policy { delete_oldest_received: true, ..keep(5) };
    let (_, info) = b.publish("a", &policy).unwrap();
    assert_eq!((info.messages, info.subscribers), (0, 1));
}

#[test]
fn one_that_takes_anothers_place_needs_only_the_difference() {
    let bytes = size_of::<Publication>();
    let mut b = Bench::with(HomeLimits { history_bytes: bytes + 200, ..HomeLimits::default() });
    b.publish_bytes("a", &keep(1), 100).unwrap();
    assert!(b.publish_bytes("a", &keep(1), 100).is_ok(), "it pushes the other one out");
    assert_eq!(b.publish_bytes("a", &keep(1), 101), Err(Refusal::HistoryFull));
    assert_eq!(b.publish_bytes("b", &keep(1), 1), Err(Refusal::HistoryFull));
    assert_eq!(b.home.history_bytes(), bytes + 200);
}

#[test]
fn a_full_channel_still_keeps_its_groups_memory_limit() {
    let bytes = size_of::<Publication>() as u64;
    let limits = Some(GroupLimits { memory_bytes: bytes + 200, messages: 1, ..GroupLimits::default() });
    let policy = Policy { group_limits: limits, ..keep(1) };
    let mut b = Bench::new();
    b.publish_bytes("g/a", &policy, 100).unwrap();
    assert!(b.publish_bytes("g/a", &policy, 90).is_ok());
    assert_eq!(b.publish_bytes("g/a", &policy, 101), Err(Refusal::GroupMemory));
    assert_eq!(b.publish_bytes("g/b", &policy, 1), Err(Refusal::GroupMessages));
    assert_eq!(b.group("g/", None).unwrap().memory_bytes, bytes + 180);
}

// ---- subscribe ----

#[test]
fn a_poll_is_answered_from_the_store_or_held() {
    let mut b = Bench::new();
    let (first, _) = b.publish("a", &keep(5)).unwrap();
    let (second, _) = b.publish("a", &keep(5)).unwrap();
    let one = b.subscribe("a", 0, Subscribe { backlog: 1, ..poll(Position::ZERO) }).unwrap();
    assert_eq!((positions(&one), one.registered, one.recovered), (vec![first], None, true));
    assert_eq!(positions(&b.subscribe("a", 0, poll(first)).unwrap()), [second]);
    let held = b.subscribe("a", 4, poll(second)).unwrap();
    assert!(matches!(held.registered, Some((Class::OneShot, _))) && held.info.subscribers == 1);
    let (_, info) = b.publish("a", &keep(5)).unwrap();
    assert_eq!((info.subscribers, b.delivered()), (1, vec![4]));
    assert_eq!(b.info("a").unwrap().subscribers, 0, "released");
    b.publish("a", &keep(5)).unwrap();
    assert!(b.delivered().is_empty());
}

#[test]
fn a_poll_for_a_position_to_come_is_not_released_by_others() {
    let mut b = Bench::new();
    b.publish("a", &keep(5)).unwrap();
    let held = b.subscribe("a", 0, poll(at(500, 0))).unwrap();
    assert!(matches!(held.registered, Some((Class::Stream, _))));
    b.publish("a", &keep(5)).unwrap();
    assert_eq!(b.info("a").unwrap().subscribers, 1);
}

#[test]
fn a_glance_is_never_registered() {
    let mut b = Bench::new();
    b.publish("a", &keep(5)).unwrap();
    let full = Subscribe { max_subscribers: 1, ..ask(Class::Glance, Start::Oldest) };
    b.subscribe("a", 0, stream()).unwrap();
    let glance = b.subscribe("a", 0, full).unwrap();
    assert_eq!((glance.backlog.len(), glance.registered, glance.info.subscribers), (1, None, 1));
}

#[test]
fn a_stream_is_told_when_its_backlog_is_cut() {
    let mut b = Bench::new();
    for _ in 0..3 {
        b.publish("a", &keep(5)).unwrap();
    }
    let cut = |backlog| Subscribe { backlog, ..ask(Class::Stream, Start::Oldest) };
    assert!(!b.subscribe("a", 0, cut(2)).unwrap().recovered, "the third will not come any more");
    assert!(b.subscribe("a", 0, cut(3)).unwrap().recovered);
    let poll = Subscribe { backlog: 2, ..ask(Class::OneShot, Start::Oldest) };
    assert!(b.subscribe("a", 0, poll).unwrap().recovered, "a poll comes back for it");
}

#[test]
fn limits_of_subscribers_and_of_the_newcomer() {
    let mut b = Bench::new();
    let most = |n| Subscribe { max_subscribers: n, ..stream() };
    b.subscribe("a", 0, most(2)).unwrap();
    b.subscribe("a", 1, most(2)).unwrap();
    assert_eq!(b.subscribe("a", 2, most(2)).err(), Some(Refusal::TooManySubscribers));
    let first = Subscribe { concurrency: Concurrency::First, ..stream() };
    assert_eq!(b.subscribe("a", 2, first.clone()).err(), Some(Refusal::Conflict));
    assert!(b.subscribe("b", 2, first).is_ok());
    assert_eq!(b.info("a").unwrap().subscribers, 2);
}

#[test]
fn the_last_one_takes_the_place_of_the_others_also_under_a_limit() {
    let mut b = Bench::new();
    let limits = Some(GroupLimits { subscribers: 1, ..GroupLimits::default() });
    let policy = Arc::new(Policy { group_limits: limits, ..Policy::default() });
    let last = Subscribe { concurrency: Concurrency::Last, max_subscribers: 1, policy, ..stream() };
    b.subscribe("g/a", 0, last.clone()).unwrap();
    let second = b.subscribe("g/a", 5, last.clone()).unwrap();
    assert_eq!(b.ended(), [(vec![0], Ended::Displaced)]);
    assert_eq!(second.info.subscribers, 1);
    assert_eq!(b.subscribe("g/b", 0, last).err(), Some(Refusal::GroupSubscribers), "the one in g/a stays");
}

// ---- unsubscribe ----

#[test]
fn an_unsubscribe_of_a_registration_that_is_gone_is_ignored() {
    let mut b = Bench::new();
    let leave = |registered: Option<(Class, u64)>| {
        let (class, epoch) = registered.unwrap();
        Command::Unsubscribe { class, epoch }
    };
    let old_poll = b.subscribe("a", 0, poll(Position::ZERO)).unwrap().registered;
    let stream_a = b.subscribe("a", 0, stream()).unwrap().registered;
    let (last, _) = b.publish("a", &keep(5)).unwrap();
    let new_poll = b.subscribe("a", 0, poll(last)).unwrap().registered;
    assert!(b.apply("a", 0, leave(old_poll)).is_none());
    assert_eq!(b.info("a").unwrap().subscribers, 2, "the old poll was released already");
    b.apply("a", 0, leave(new_poll));
    assert_eq!(b.info("a").unwrap().subscribers, 1);
    b.delete("a");
    b.subscribe("a", 0, stream()).unwrap();
    b.apply("a", 0, leave(stream_a));
    assert_eq!(b.info("a").unwrap().subscribers, 1, "it belonged to the deleted channel");
}

// ---- delete, expiry, positions ----

#[test]
fn deletion_ends_everybody_and_describes_what_was() {
    let mut b = Bench::new();
    b.publish("a", &keep(5)).unwrap();
    b.subscribe("a", 1, stream()).unwrap();
    b.subscribe("a", 2, poll(at(100, 0))).unwrap();
    let before = b.delete("a").unwrap();
    assert_eq!(b.ended(), [(vec![1, 2], Ended::Deleted)]);
    assert_eq!((before.messages, before.subscribers), (1, 2));
    assert_eq!((b.info("a"), b.home.history_bytes(), b.home.channels()), (None, 0, 0));
}

#[test]
fn positions_go_on_above_a_deleted_channel_whatever_the_clock_does() {
    let mut b = Bench::new();
    b.publish("a", &keep(5)).unwrap();
    let (last, _) = b.publish("a", &keep(5)).unwrap();
    b.delete("a");
    b.later(1000);
    let fresh = b.subscribe("a", 0, stream()).unwrap();
    assert_eq!(fresh.info.last, Position::ZERO, "this channel has published nothing");
    assert_eq!(fresh.last, last, "but there is somewhere to resume from");
    b.now.unix_ms -= 1500;
    assert!(b.publish("a", &keep(5)).unwrap().0 > last, "made in the second of the earlier ones");
}

#[test]
fn what_went_with_a_deleted_channel_is_not_recovered() {
    let mut b = Bench::new();
    let (first, _) = b.publish("a", &keep(5)).unwrap();
    let (last, _) = b.publish("a", &keep(5)).unwrap();
    b.delete("a");
    b.later(60_000);
    assert!(!b.subscribe("a", 0, ask(Class::Stream, Start::After(first))).unwrap().recovered);
    assert!(b.subscribe("a", 0, ask(Class::Stream, Start::After(last))).unwrap().recovered);
}

#[test]
fn expired_publications_and_idle_channels_go() {
    let mut b = Bench::new();
    let policy = Policy { message_timeout_ms: 1_000, channel_timeout_ms: 3_000, ..keep(5) };
    b.publish("a", &policy).unwrap();
    b.later(1_000);
    b.tick();
    assert_eq!((b.home.stored(), b.home.history_bytes(), b.home.channels()), (0, 0, 1));
    let registered = b.subscribe("a", 0, stream()).unwrap().registered;
    b.later(10_000);
    b.tick();
    assert_eq!(b.home.channels(), 1, "somebody listens");
    let (class, epoch) = registered.unwrap();
    b.apply("a", 0, Command::Unsubscribe { class, epoch });
    b.later(2_999);
    b.tick();
    assert_eq!(b.home.channels(), 1);
    b.later(1);
    b.tick();
    assert_eq!(b.home.channels(), 0);
}

#[test]
fn channels_are_limited() {
    let mut b = Bench::with(HomeLimits { channels: 1, ..HomeLimits::default() });
    let create = || Command::Create { policy: Arc::new(Policy::default()) };
    assert!(matches!(b.apply("a", 0, create()), Some(Answer::Info(Some(_)))));
    assert!(matches!(b.apply("a", 0, create()), Some(Answer::Info(Some(_)))), "it is there already");
    assert!(matches!(b.apply("b", 0, create()), Some(Answer::Refused(Refusal::TooManyChannels))));
    assert_eq!(b.publish("b", &keep(1)), Err(Refusal::TooManyChannels));
}

// ---- groups ----

#[test]
fn a_group_that_gets_limits_late_has_counted_from_the_start() {
    let mut b = Bench::new();
    b.publish("g/a", &keep(5)).unwrap();
    b.subscribe("g/a", 0, stream()).unwrap();
    let limits = GroupLimits { channels: 1, ..GroupLimits::default() };
    let policy = Policy { group_limits: Some(limits), ..keep(5) };
    b.publish("g/a", &policy).unwrap();
    let info = b.group("g/", None).unwrap();
    assert_eq!((info.channels, info.subscribers, info.messages), (1, 1, 2));
    assert_eq!(b.publish("g/b", &policy), Err(Refusal::GroupChannels));
    b.delete("g/a");
    assert_eq!(b.group("g/", None).unwrap(), GroupInfo { limits, ..GroupInfo::default() });
}

#[test]
fn limits_set_ahead_hold_and_are_forgotten_some_day() {
    let mut b = Bench::with(HomeLimits { channels: 1, ..HomeLimits::default() });
    let limits = GroupLimits { messages: 1, ..GroupLimits::default() };
    assert_eq!(b.group("g/", Some(limits)).unwrap().limits, limits);
    assert_eq!(
        b.group("h/", Some(limits)),
        Err(Refusal::TooManyChannels),
        "groups without channels are bounded"
    );
    b.publish("g/a", &keep(5)).unwrap();
    assert_eq!(b.publish("g/a", &keep(5)), Err(Refusal::GroupMessages));
    b.delete("g/a");
    b.later(GROUP_IDLE_MS - 1);
    b.tick();
    assert_eq!(b.home.groups(), 1);
    b.later(1);
    b.tick();
    assert_eq!(b.home.groups(), 0);
}

#[test]
fn a_group_is_deleted_with_all_its_channels_and_no_other() {
    let mut b = Bench::new();
    for channel in ["g/a", "g/b", "h/a", "plain"] {
        b.publish(channel, &keep(5)).unwrap();
    }
    b.subscribe("g/b", 1, stream()).unwrap();
    let before = b.apply("g/", 0, Command::GroupDelete);
    assert!(matches!(
        before,
        Some(Answer::Group(GroupInfo { channels: 2, messages: 2, subscribers: 1, .. }))
    ));
    assert_eq!(b.ended(), [(vec![1], Ended::Deleted)]);
    assert_eq!(b.home.channels(), 2);
    b.apply("", 0, Command::GroupDelete);
    assert_eq!(b.home.channels(), 2, "no group is not a group");
    let limits = GroupLimits { channels: 1, ..GroupLimits::default() };
    assert_eq!(b.group("", Some(limits)).unwrap(), GroupInfo::default());
    b.publish("another", &keep(5)).unwrap();
}
