//! What a home promises to those who follow an app's channels from outside (Pusher sheet sections 10 and 12).

use fanwire::channel::command::{Effect, ShardSet, Subscribe};
use fanwire::channel::core::Home;
use fanwire::channel::{
    Announcement, Answer, AppWays, ChannelKey, Class, Command, Concurrency, KeyHasher, Message, Now, Policy,
    Refusal, ReplyTo, Start, User,
};
use fanwire::limits::{COUNT_AT_ONCE, COUNT_PAUSE_MS, HomeLimits, OCCUPANCY_POLL_MS};
use std::sync::Arc;

const BOTH: AppWays = AppWays { occupancy: true, counts: true, channels: 0 };
const OCCUPANCY: AppWays = AppWays { counts: false, ..BOTH };
const COUNTS: AppWays = AppWays { occupancy: false, ..BOTH };

struct Bench {
    home: Home,
    now: Now,
    refused: Option<Refusal>,
}

type Registered = (Class, u64);

impl Bench {
    fn new(ways: AppWays) -> Bench {
        let mut home = Home::new(HomeLimits::default());
        home.set_app(7, ways);
        Bench { home, now: Now { mono_ns: 5_000_000_000, unix_ms: 100_000 }, refused: None }
    }

    /// What was announced; an answer is spelled, too.
    fn apply(&mut self, name: &str, shard: u16, command: Command) -> (Vec<String>, Option<Registered>) {
        let key = ChannelKey::new(&KeyHasher::new(3), 7, b"", name.as_bytes());
        let (from, mut effects) = (ReplyTo { shard, ..ReplyTo::default() }, Vec::new());
        self.home.apply(&key, command, from, self.now, ShardSet::default(), &mut effects);
        self.refused = None;
        let registered = effects.iter().find_map(|effect| match effect {
            Effect::Answer { answer: Answer::Subscribed(s), .. } => s.registered,
            Effect::Answer { answer: Answer::Refused(refusal), .. } => {
                self.refused = Some(*refusal);
                None
            }
            _ => None,
        });
        (effects.iter().filter_map(spelled).collect(), registered)
    }

    fn ask(&mut self, shard: u16, ask: Subscribe) -> (Vec<String>, Option<Registered>) {
        self.apply("c", shard, Command::Subscribe(Box::new(ask)))
    }

    fn stream(&mut self, shard: u16) -> (Vec<String>, Registered) {
        let (told, registered) = self.ask(shard, stream());
        (told, registered.unwrap())
    }

    fn leave(&mut self, shard: u16, (class, epoch): Registered) -> Vec<String> {
        self.apply("c", shard, Command::Unsubscribe { class, epoch }).0
    }

    fn publish(&mut self) -> Vec<String> {
        let (message, policy) = (Message::default(), Arc::new(Policy::default()));
        self.apply("c", 0, Command::Publish { message, policy, create: true }).0
    }

    fn tick_after(&mut self, ms: u64) -> Vec<String> {
        self.now.mono_ns += ms * 1_000_000;
        let mut effects = Vec::new();
        self.home.tick(self.now, &mut effects);
        effects.iter().filter_map(spelled).collect()
    }
}

fn spelled(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Announce { shards, announcement, .. } => Some(match &**announcement {
            Announcement::Occupied | Announcement::Vacated => {
                assert_eq!(*shards, ShardSet::default(), "nobody on the wire is told");
                format!("{announcement:?}").to_lowercase()
            }
            Announcement::Count(count) => format!("{count} to {:?}", shards.iter().collect::<Vec<_>>()),
            Announcement::Joined(_) => "joined".into(),
            Announcement::Left(_) => "left".into(),
        }),
        Effect::Store { job, .. } => panic!("nothing is durable here: {job:?}"),
        Effect::Answer { .. } => Some("answer".into()),
        Effect::Deliver { .. } | Effect::End { .. } => None,
    }
}

fn stream() -> Subscribe {
    Subscribe {
        start: Start::Live,
        class: Class::Stream,
        backlog: 0,
        create: true,
        max_subscribers: 0,
        concurrency: Concurrency::Broadcast,
        policy: Arc::new(Policy::default()),
        user: None,
        list_users: false,
    }
}

fn poll() -> Subscribe {
    Subscribe { class: Class::OneShot, ..stream() }
}

#[test]
fn the_first_and_the_last_subscriber_are_told_and_a_newcomer_counts_itself() {
    let mut b = Bench::new(BOTH);
    let (told, first) = b.stream(2);
    assert_eq!(told, ["occupied", "answer", "1 to [2]"], "the count comes after the newcomer's answer");
    let (told, second) = b.stream(0);
    assert_eq!(told, ["answer", "2 to [0, 2]"]);
    assert_eq!(b.leave(2, first), ["1 to [0]"]);
    assert_eq!(b.leave(0, second), ["vacated", "0 to []"]);
    assert_eq!(b.leave(0, second), ["answer"; 0], "one that came twice");
    assert_eq!(b.stream(1).0, ["occupied", "answer", "1 to [1]"]);
}

#[test]
fn an_app_that_wants_nothing_is_told_nothing() {
    let mut b = Bench::new(AppWays::default());
    let (told, registered) = b.stream(0);
    assert_eq!(told, ["answer"]);
    assert!(b.leave(0, registered).is_empty());
}

#[test]
fn a_poller_that_comes_back_does_not_vacate_its_channel() {
    let mut b = Bench::new(BOTH);
    assert_eq!(b.ask(0, poll()).0, ["occupied", "answer"], "and it does not count");
    for _ in 0..3 {
        assert_eq!(b.publish(), ["answer"]);
        assert!(b.tick_after(OCCUPANCY_POLL_MS - 1).is_empty());
        assert_eq!(b.ask(1, poll()).0, ["answer"]);
        assert!(b.tick_after(10 * OCCUPANCY_POLL_MS).is_empty(), "it still waits");
    }
    b.publish();
    assert!(b.tick_after(OCCUPANCY_POLL_MS - 1).is_empty());
    assert_eq!(b.tick_after(1), ["vacated"]);
    assert!(b.tick_after(OCCUPANCY_POLL_MS).is_empty());
}

#[test]
fn a_stream_that_leaves_after_the_last_poller_vacates_at_once() {
    let mut b = Bench::new(OCCUPANCY);
    b.ask(0, poll());
    let (told, registered) = b.stream(0);
    assert_eq!(told, ["answer"]);
    b.publish();
    assert!(b.tick_after(OCCUPANCY_POLL_MS).is_empty());
    assert_eq!(b.leave(0, registered), ["vacated"]);
}

#[test]
fn channels_with_users_have_no_count() {
    let mut b = Bench::new(BOTH);
    let user = Some(Arc::new(User { id: "u".into(), info: "".into() }));
    let (told, registered) = b.ask(0, Subscribe { user, ..stream() });
    assert_eq!(told, ["occupied", "joined", "answer"]);
    assert_eq!(b.leave(0, registered.unwrap()), ["left", "vacated"]);
    let (told, registered) = b.stream(0);
    assert_eq!(told, ["occupied", "answer"], "it is a channel with users for as long as it is there");
    b.leave(0, registered);
    b.apply("c", 0, Command::Delete);
    assert_eq!(b.stream(0).0.last().unwrap(), "1 to [0]");
}

#[test]
fn many_subscribers_are_counted_now_and_then_and_the_last_count_comes() {
    let mut b = Bench::new(COUNTS);
    let mut registered = Vec::new();
    for n in 1..=COUNT_AT_ONCE {
        let (told, registration) = b.stream(0);
        assert_eq!(told, ["answer".to_owned(), format!("{n} to [0]")]);
        registered.push(registration);
    }
    for _ in 0..900 {
        let (told, registration) = b.stream(1);
        assert_eq!(told, ["answer"]);
        registered.push(registration);
    }
    assert!(b.tick_after(COUNT_PAUSE_MS - 1).is_empty());
    assert_eq!(b.tick_after(1), ["1000 to [0, 1]"]);
    assert!(b.tick_after(10 * COUNT_PAUSE_MS).is_empty(), "nothing has changed");
    assert_eq!(b.leave(0, registered.remove(0)), ["999 to [0, 1]"], "the first after a quiet time");
    assert!(b.leave(0, registered.remove(0)).is_empty());
    assert_eq!(b.stream(0).0, ["answer"]);
    assert_eq!(b.tick_after(COUNT_PAUSE_MS), ["999 to [0, 1]"], "the newcomer has to hear it");
    for registration in registered.drain(98..) {
        assert!(b.leave(1, registration).len() <= 1);
    }
    assert!(b.tick_after(COUNT_PAUSE_MS).is_empty(), "few are told at once, and what was due is off");
}

#[test]
fn a_deleted_channel_is_vacated_and_counts_nobody() {
    let mut b = Bench::new(BOTH);
    let (_, gone) = b.stream(0);
    b.stream(1);
    assert_eq!(b.apply("c", 0, Command::Delete).0, ["vacated", "0 to []", "answer"]);
    assert_eq!(b.leave(0, gone), ["answer"; 0]);
    b.ask(0, poll());
    b.publish();
    assert_eq!(b.apply("c", 0, Command::Delete).0, ["vacated", "answer"]);
    assert!(b.tick_after(OCCUPANCY_POLL_MS).is_empty(), "not a second time");
}

#[test]
fn one_that_takes_the_place_of_the_others_keeps_the_channel_occupied() {
    let mut b = Bench::new(BOTH);
    b.stream(0);
    b.stream(1);
    let last = Subscribe { concurrency: Concurrency::Last, ..stream() };
    assert_eq!(b.ask(2, last).0, ["answer", "1 to [2]"]);
}

#[test]
fn an_app_that_wants_to_know_later_is_told_what_changes_from_then_on() {
    let mut b = Bench::new(AppWays::default());
    let (_, first) = b.stream(0);
    b.home.set_app(7, BOTH);
    let (told, second) = b.stream(0);
    assert_eq!(told, ["answer", "2 to [0]"]);
    b.leave(0, first);
    assert_eq!(b.leave(0, second), ["vacated", "0 to []"]);
    b.ask(0, poll());
    b.publish();
    b.home.set_app(7, AppWays::default());
    assert!(b.tick_after(OCCUPANCY_POLL_MS).is_empty());
}

#[test]
fn what_the_node_keeps_for_itself_is_none_of_the_apps_channels() {
    let mut b = Bench::new(AppWays { channels: 1, ..BOTH });
    b.stream(0);
    let ask = || Command::Subscribe(Box::new(stream()));
    let (told, registered) = b.apply("#user-1", 0, ask());
    assert_eq!((told, b.refused), (vec!["answer".to_owned()], None));
    let (class, epoch) = registered.unwrap();
    assert!(b.apply("#user-1", 0, Command::Unsubscribe { class, epoch }).0.is_empty());
    b.home.set_app(7, AppWays { channels: 2, ..BOTH });
    b.apply("d", 0, ask());
    assert_eq!(b.refused, None, "it was not counted either");
}

#[test]
fn channels_of_an_app_are_limited() {
    let two = AppWays { channels: 2, ..AppWays::default() };
    let mut b = Bench::new(AppWays::default());
    let create = || Command::Create { policy: Arc::new(Policy::default()) };
    b.apply("a", 0, create());
    b.home.set_app(7, two);
    b.apply("b", 0, create());
    assert_eq!(b.refused, None);
    b.apply("c", 0, create());
    assert_eq!(b.refused, Some(Refusal::AppChannels));
    assert_eq!(b.refused.unwrap().label(), "app_channels");
    let mut effects = Vec::new();
    let other = ChannelKey::new(&KeyHasher::new(3), 8, b"", b"x");
    b.home.apply(&other, create(), ReplyTo::default(), b.now, ShardSet::default(), &mut effects);
    assert!(matches!(effects[..], [Effect::Answer { answer: Answer::Info(Some(_)), .. }]), "another app's");
    b.apply("a", 0, Command::Delete);
    b.apply("c", 0, create());
    assert_eq!(b.refused, None, "one has made room");
}
