//! What a home promises about users (Pusher sheet section 7, traps 10, 11 and 16; Pushi sheet section 7).

use crate::model::users;
use fanwire::channel::command::{Effect, ShardSet, Subscribe, Subscribed};
use fanwire::channel::core::Home;
use fanwire::channel::{
    Announcement, Answer, ChannelKey, Class, Command, Concurrency, KeyHasher, Message, Now, Policy,
    PresenceLimits, Refusal, ReplyTo, Start, User,
};
use fanwire::limits::HomeLimits;
use std::sync::Arc;

struct Bench {
    home: Home,
    key: Arc<ChannelKey>,
    now: Now,
    limits: PresenceLimits,
    effects: Vec<Effect>,
}

type Registered = Option<(Class, u64)>;

impl Bench {
    fn new(limits: PresenceLimits) -> Bench {
        Bench {
            home: Home::new(HomeLimits { presence_bytes: 10_000_000, ..HomeLimits::default() }),
            key: ChannelKey::new(&KeyHasher::new(3), 0, b"", b"presence-room"),
            now: Now { mono_ns: 5_000_000_000, unix_ms: 100_000 },
            limits,
            effects: Vec::new(),
        }
    }

    fn apply(&mut self, shard: u16, command: Command) -> Option<Answer> {
        self.effects.clear();
        let from = ReplyTo { shard, ..ReplyTo::default() };
        self.home.apply(&self.key, command, from, self.now, ShardSet::default(), &mut self.effects);
        match self.effects.pop() {
            Some(Effect::Answer { answer, .. }) => Some(answer),
            Some(other) => {
                self.effects.push(other);
                None
            }
            None => None,
        }
    }

    fn ask(&self, user: Option<User>) -> Subscribe {
        Subscribe {
            start: Start::Live,
            class: Class::Stream,
            backlog: 10,
            create: true,
            max_subscribers: 0,
            concurrency: Concurrency::Broadcast,
            policy: Arc::new(Policy { presence: self.limits, ..Policy::default() }),
            user: user.map(Arc::new),
            list_users: true,
        }
    }

    fn subscribe(&mut self, shard: u16, ask: Subscribe) -> Result<Subscribed, Refusal> {
        match self.apply(shard, Command::Subscribe(Box::new(ask))) {
            Some(Answer::Subscribed(subscribed)) => Ok(*subscribed),
            Some(Answer::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, shard: u16, id: &str) -> Result<Subscribed, Refusal> {
        let ask = self.ask(Some(user(id)));
        self.subscribe(shard, ask)
    }

    fn leave(&mut self, shard: u16, registered: Registered) {
        let (class, epoch) = registered.unwrap();
        assert!(self.apply(shard, Command::Unsubscribe { class, epoch }).is_none());
    }

    fn publish(&mut self) -> (u32, u64) {
        let (message, policy) = (Message::default(), Arc::new(Policy::default()));
        match self.apply(0, Command::Publish { message, policy, create: true }) {
            Some(Answer::Published { position, info }) => (info.messages, position.tag.into()),
            other => panic!("{other:?}"),
        }
    }

    fn info_users(&mut self) -> Option<u32> {
        match self.apply(0, Command::Info) {
            Some(Answer::Info(info)) => info.and_then(|info| info.users),
            other => panic!("{other:?}"),
        }
    }

    fn tick_after(&mut self, ms: u64) {
        self.now.mono_ns += ms * 1_000_000;
        self.effects.clear();
        self.home.tick(self.now, &mut self.effects);
    }

    /// What the last command announced, and to which shards.
    fn told(&self) -> Vec<(String, Vec<usize>)> {
        let announced = self.effects.iter().filter_map(|effect| match effect {
            Effect::Announce { shards, announcement, .. } => Some((shards, announcement)),
            _ => None,
        });
        announced.map(|(shards, a)| (spelled(a), shards.iter().collect())).collect()
    }
}

fn spelled(announcement: &Announcement) -> String {
    let (sign, change) = match announcement {
        Announcement::Joined(change) => ('+', change),
        Announcement::Left(change) => ('-', change),
        other => panic!("{other:?}"),
    };
    format!("{sign}{}", String::from_utf8_lossy(&change.user.id))
}

fn user(id: &str) -> User {
    User { id: id.to_owned().into(), info: b"{}"[..].into() }
}

fn ids(subscribed: &Subscribed) -> Vec<String> {
    let list = users(subscribed.users.as_ref().unwrap());
    list.iter().map(|u| String::from_utf8_lossy(&u.id).into_owned()).collect()
}

fn grace(ms: u32) -> PresenceLimits {
    PresenceLimits { leave_grace_ms: ms, ..PresenceLimits::default() }
}

#[test]
fn a_newcomer_gets_the_list_with_itself_and_the_others_are_told() {
    let mut b = Bench::new(PresenceLimits::default());
    let first = b.join(2, "a").unwrap();
    assert_eq!((ids(&first), b.told()), (vec!["a".into()], vec![("+a".into(), vec![])]));
    let second = b.join(2, "b").unwrap();
    assert_eq!((ids(&second), b.told()), (vec!["a".into(), "b".into()], vec![("+b".into(), vec![2])]));
    let third = b.join(1, "c").unwrap();
    assert_eq!((ids(&third).len(), b.told()), (3, vec![("+c".into(), vec![2])]));
    assert_eq!(third.info.users, Some(3));
}

#[test]
fn a_user_is_announced_with_its_first_and_last_connection_only() {
    let mut b = Bench::new(PresenceLimits::default());
    b.subscribe(3, b.ask(None)).unwrap();
    let here = b.join(0, "a").unwrap().registered;
    let there = b.join(1, "a").unwrap();
    assert_eq!((ids(&there), b.told()), (vec!["a".into()], vec![]));
    b.leave(0, here);
    assert_eq!((b.told(), b.info_users()), (vec![], Some(1)));
    b.leave(0, here);
    assert_eq!((b.told(), b.info_users()), (vec![], Some(1)), "an unsubscribe that came twice");
    b.leave(1, there.registered);
    assert_eq!((b.told(), b.info_users()), (vec![("-a".into(), vec![3])], None));
}

#[test]
fn announcements_are_neither_stored_nor_counted_as_publications() {
    let mut b = Bench::new(PresenceLimits::default());
    b.join(0, "a").unwrap();
    let (_, first) = b.publish();
    b.join(1, "b").unwrap();
    assert_eq!(b.publish(), (2, first + 1));
    let late = Subscribe { start: Start::Oldest, ..b.ask(None) };
    assert_eq!(b.subscribe(1, late).unwrap().backlog.len(), 2);
}

#[test]
fn only_streams_make_a_user_present_and_are_told() {
    let mut b = Bench::new(PresenceLimits::default());
    for class in [Class::OneShot, Class::Glance] {
        let ask = Subscribe { class, ..b.ask(Some(user("poller"))) };
        assert!(ids(&b.subscribe(4, ask).unwrap()).is_empty() && b.told().is_empty());
    }
    assert_eq!(b.info_users(), None);
    b.join(0, "a").unwrap();
    assert_eq!(b.told(), [("+a".into(), vec![])], "a held poll is not told");
}

#[test]
fn limits_refuse_with_a_reason_and_change_nothing() {
    let mut b = Bench::new(PresenceLimits { users: 2, user_bytes: 10, ..PresenceLimits::default() });
    b.join(0, "a").unwrap();
    let second = b.join(0, "b").unwrap().registered;
    assert_eq!(b.join(0, "c").err(), Some(Refusal::TooManyUsers));
    assert_eq!(b.join(0, "a-long-name").err(), Some(Refusal::UserTooLarge));
    assert!(b.join(1, "b").is_ok(), "it is there already");
    assert_eq!((b.told(), b.info_users()), (vec![], Some(2)));
    b.leave(0, second);
    assert_eq!(b.join(0, "c").err(), Some(Refusal::TooManyUsers), "b is still there");
    assert_eq!(Refusal::TooManyUsers.label(), "channel_users");
    b.home = Home::new(HomeLimits { presence_bytes: 100, ..HomeLimits::default() });
    assert_eq!(b.join(0, "a").err(), Some(Refusal::PresenceFull));
}

#[test]
fn a_leave_that_is_undone_in_time_is_not_announced() {
    let mut b = Bench::new(grace(3_000));
    b.subscribe(3, b.ask(None)).unwrap();
    let first = b.join(0, "a").unwrap().registered;
    b.leave(0, first);
    assert_eq!((b.told(), b.info_users()), (vec![], Some(1)));
    b.tick_after(2_999);
    assert_eq!(b.told(), []);
    let list = b.subscribe(3, b.ask(None)).unwrap();
    assert_eq!(ids(&list), ["a"], "it has not left for anybody yet");
    let back = b.join(1, "a").unwrap().registered;
    assert_eq!(b.told(), []);
    b.tick_after(10_000);
    assert_eq!(b.told(), []);
    b.leave(1, back);
    b.tick_after(3_000);
    assert_eq!((b.told(), b.info_users()), (vec![("-a".into(), vec![3])], None));
}

#[test]
fn a_channel_outlives_the_leaves_that_are_due_in_it() {
    let mut b = Bench::new(grace(60_000));
    let only = b.join(0, "a").unwrap().registered;
    b.leave(0, only);
    b.tick_after(30_000);
    assert_eq!(b.home.channels(), 1);
    b.tick_after(30_000);
    assert_eq!(b.told(), [("-a".into(), vec![])], "hooks may want to know");
    b.tick_after(10_000);
    assert_eq!((b.home.channels(), b.home.presence_bytes()), (0, 0));
}

#[test]
fn those_whom_the_home_ends_leave_at_once_and_only_once() {
    let mut b = Bench::new(grace(1_000));
    let gone = b.join(0, "a").unwrap().registered;
    b.leave(0, gone);
    let stays = b.join(1, "b").unwrap().registered;
    b.apply(0, Command::Delete);
    assert_eq!(b.told(), [("-a".into(), vec![]), ("-b".into(), vec![])]);
    assert!(matches!(b.effects[0], Effect::End { .. }));
    let again = b.join(1, "b").unwrap().registered;
    b.leave(1, stays);
    b.tick_after(5_000);
    assert_eq!((b.told(), b.info_users()), (vec![], Some(1)), "that was the deleted channel's");
    let last = Subscribe { concurrency: Concurrency::Last, ..b.ask(Some(user("c"))) };
    let answer = b.subscribe(0, last).unwrap();
    assert_eq!(b.told(), [("-b".into(), vec![]), ("+c".into(), vec![])]);
    assert_eq!(ids(&answer), ["c"]);
    b.leave(1, again);
    assert_eq!(b.info_users(), Some(1));
}

#[test]
fn announcements_carry_the_list_where_it_is_wanted() {
    let mut b = Bench::new(PresenceLimits { announce_lists: true, ..PresenceLimits::default() });
    let first = b.join(0, "a").unwrap().registered;
    let listed = |b: &Bench| match &b.effects[..] {
        [Effect::Announce { announcement, .. }] => match &**announcement {
            Announcement::Joined(change) | Announcement::Left(change) => {
                (change.users as usize, users(change.list.as_ref().unwrap()))
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    b.join(0, "b").unwrap();
    assert_eq!(listed(&b), (2, vec![user("a"), user("b")]), "in joining order, with the newcomer");
    b.leave(0, first);
    assert_eq!(listed(&b), (1, vec![user("b")]), "without the one that left");
}

/// Each join has one announcement and one answer as its effects, however many there are; memory is charged for
/// each, and comes back.
#[test]
fn ten_thousand_users_come_and_go() {
    const USERS: usize = 10_000;
    let mut b = Bench::new(PresenceLimits { users: USERS as u32, ..PresenceLimits::default() });
    let mut registered = Vec::new();
    for n in 0..USERS {
        let ask = Subscribe { list_users: n == USERS - 1, ..b.ask(Some(user(&n.to_string()))) };
        let answer = b.subscribe((n % 4) as u16, ask).unwrap();
        assert_eq!(b.told().len(), 1);
        registered.push(answer.registered);
        if let Some(list) = answer.users {
            assert_eq!((list.len(), list.iter().count()), (USERS, USERS));
        }
    }
    assert_eq!(b.join(0, "one more").err(), Some(Refusal::TooManyUsers));
    for (n, registration) in registered.into_iter().enumerate() {
        b.leave((n % 4) as u16, registration);
        assert_eq!(b.told().len(), 1);
    }
    assert_eq!((b.info_users(), b.home.presence_bytes()), (None, 0));
}
