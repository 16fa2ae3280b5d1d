//! Single cases, each with what the home asks of the store spelled out.

use bytes::Bytes;
use fanwire::channel::command::{Effect, Subscribe};
use fanwire::channel::core::Home;
use fanwire::channel::log::{AtStart, Logs};
use fanwire::channel::store::{self, Job, Outcome, Record, Records, Retention, StoreError};
use fanwire::channel::{
    Answer, ChannelKey, Class, Command, Concurrency, KeyHasher, Message, Now, Policy, Position, Refusal,
    ReplyTo, Start, Token, record,
};
use fanwire::limits::{DURABLE_WAITING_COMMANDS, HomeLimits};
use std::sync::Arc;

struct Bench {
    home: Home,
    key: Arc<ChannelKey>,
    asked: u32,
    effects: Vec<Effect>,
}

const NOW: Now = Now { mono_ns: 5_000_000_000, unix_ms: 1_000_000 };
const LOG: &[u8] = b"app\0\0news";

fn at(tag: u32) -> Position {
    Position { time: 900, tag }
}

impl Bench {
    fn new(limits: HomeLimits, at_start: Option<AtStart>) -> Bench {
        let mut home = Home::new(limits);
        home.use_logs(Logs::new([(0, "app")], at_start.map(|found| (Bytes::from_static(LOG), found))));
        let key = ChannelKey::new(&KeyHasher::new(7), 0, b"", b"news");
        Bench { home, key, asked: 0, effects: Vec::new() }
    }

    /// Asks the home, which says what it wants.
    fn ask(&mut self, command: Command) -> &mut Bench {
        self.asked += 1;
        let from = ReplyTo { shard: 0, token: Token { slot: 1, generation: 0, tag: self.asked } };
        self.home.apply(&self.key, command, from, NOW, Default::default(), &mut self.effects);
        self
    }

    fn publish(&mut self, policy: &Policy, text: &str) -> &mut Bench {
        let message = Message { payload: Bytes::copy_from_slice(text.as_bytes()), ..Message::default() };
        self.ask(Command::Publish { message, policy: Arc::new(policy.clone()), create: true })
    }

    fn glance(&mut self) -> &mut Bench {
        let ask = Subscribe {
            start: Start::Oldest,
            class: Class::Glance,
            backlog: u32::MAX,
            create: true,
            max_subscribers: 0,
            concurrency: Concurrency::Broadcast,
            policy: Arc::new(Policy::default()),
            user: None,
            list_users: false,
        };
        self.ask(Command::Subscribe(Box::new(ask)))
    }

    /// The next effect, which is a job.
    fn job(&mut self) -> (Option<u64>, Job) {
        match self.effects.remove(0) {
            Effect::Store { number, job } => (number, *job),
            other => panic!("{other:?}"),
        }
    }

    fn told(&mut self, number: Option<u64>, outcome: Outcome) -> &mut Bench {
        self.home.on_stored(number.unwrap(), outcome, NOW, &mut self.effects);
        self
    }

    /// The next effect, which is an answer.
    fn answer(&mut self) -> Answer {
        match self.effects.remove(0) {
            Effect::Answer { answer, .. } => answer,
            other => panic!("{other:?}"),
        }
    }
}

fn durable() -> Policy {
    Policy { durable: true, ..Policy::default() }
}

fn done() -> Outcome {
    Ok(store::Answer::Done)
}

fn texts(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Subscribed(told) => {
            told.backlog.iter().map(|p| String::from_utf8_lossy(&p.message.payload).into_owned()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn stored(tag: u32, text: &'static str, expires_unix_ms: u64) -> Record {
    let message = Message { payload: Bytes::from_static(text.as_bytes()), ..Message::default() };
    Record { at: at(tag), payload: record::encode(&message, expires_unix_ms) }
}

fn records(records: Vec<Record>, dropped: Position) -> Outcome {
    let last = records.last().map_or(dropped, |record| record.at);
    Ok(store::Answer::Records(Box::new(Records { records, more: false, dropped, last })))
}

fn found() -> Option<AtStart> {
    Some(AtStart { retention: Retention { max_records: 2, ..Retention::ALL }, last: at(9) })
}

#[test]
fn an_append_says_what_the_rules_keep() {
    let mut b = Bench::new(HomeLimits::default(), None);
    let policy =
        Policy { max_messages: 7, min_messages: 2, message_timeout_ms: 1_500, max_bytes: 99, ..durable() };
    let (number, job) = b.publish(&policy, "one").job();
    let Job::Append { log, at, payload, retention, now_s } = job else { panic!("{job:?}") };
    assert_eq!((&log[..], at, now_s), (LOG, Position { time: 1_000, tag: 0 }, 1_000));
    assert_eq!(retention, Retention { max_records: 7, max_bytes: 99, max_age_s: 2, min_records: 2 });
    assert_eq!(record::decode(&payload).unwrap().expires_unix_ms, 1_001_500);
    assert!(b.effects.is_empty(), "nobody is told before it is on disk");
    assert_eq!(texts(b.glance().answer()), [""; 0], "nor sees it");
    assert!(matches!(b.told(number, done()).answer(), Answer::Published { position, .. } if position == at));
    assert_eq!(texts(b.glance().answer()), ["one"]);
}

#[test]
fn refusals_say_why_and_leave_nothing() {
    let mut b = Bench::new(HomeLimits::default(), None);
    for (error, refusal) in [
        (StoreError::QueueFull, Refusal::StoreBusy),
        (StoreError::Full, Refusal::StoreFull),
        (StoreError::TooLarge, Refusal::StoreTooLarge),
        (StoreError::TooManyLogs, Refusal::StoreChannels),
        (StoreError::Failed("why".into()), Refusal::StoreFailed),
    ] {
        let (number, _) = b.publish(&durable(), "x").job();
        assert!(matches!(b.told(number, Err(error)).answer(), Answer::Refused(why) if why == refusal));
    }
    assert_eq!((b.home.stored(), b.home.history_bytes()), (0, 0));
    assert_eq!(texts(b.glance().answer()), [""; 0]);
}

#[test]
fn what_is_on_its_way_counts_for_the_memory() {
    let limits = HomeLimits { history_bytes: 3_000, ..HomeLimits::default() };
    let mut b = Bench::new(limits, None);
    let text = "x".repeat(600);
    let (first, _) = b.publish(&durable(), &text).job();
    let answer = b.publish(&durable(), &text).effects.remove(0);
    let second = match answer {
        Effect::Store { number, .. } => number,
        other => panic!("{other:?}"),
    };
    assert!(matches!(b.publish(&durable(), &text).answer(), Answer::Refused(Refusal::HistoryFull)));
    b.told(first, Err(StoreError::Full)).answer();
    let (third, _) = b.publish(&durable(), &text).job();
    for number in [second, third] {
        assert!(matches!(b.told(number, done()).answer(), Answer::Published { .. }));
    }
}

#[test]
fn what_every_subscriber_got_leaves_the_log_too() {
    let mut b = Bench::new(HomeLimits::default(), None);
    let policy = Policy { delete_oldest_received: true, ..durable() };
    for text in ["a", "b"] {
        let (number, _) = b.publish(&policy, text).job();
        b.told(number, done()).answer();
    }
    b.glance();
    let (number, job) = b.job();
    let through = Position { time: 1_000, tag: 1 };
    assert_eq!((number, job), (None, Job::Truncate { log: Bytes::from_static(LOG), through }));
    assert_eq!(texts(b.answer()), ["a", "b"]);
    assert_eq!(texts(b.glance().answer()), [""; 0]);
}

#[test]
fn a_log_of_an_earlier_life_is_read_before_anything_else() {
    let mut b = Bench::new(HomeLimits::default(), found());
    let (number, job) = b.ask(Command::Info).job();
    assert!(matches!(job, Job::Read { after: Position::ZERO, .. }), "{job:?}");
    b.publish(&Policy::default(), "c").glance();
    assert!(b.effects.is_empty(), "they wait");
    let part = vec![stored(6, "gone", 999_999), stored(7, "a", 0), stored(9, "b", 1_000_001)];
    b.told(number, records(part, at(5)));
    assert!(matches!(b.answer(), Answer::Info(Some(info)) if info.messages == 2 && info.last == at(9)));
    let (number, job) = b.job();
    assert!(matches!(job, Job::Append { at, .. } if at > Position { time: 1_000, tag: 0 }), "{job:?}");
    assert_eq!(texts(b.answer()), ["a", "b"], "the one that expired meanwhile is not there");
    b.told(number, done()).answer();
    assert_eq!(texts(b.glance().answer()), ["a", "b", "c"], "the rules of who published last");
}

#[test]
fn a_log_that_cannot_be_read_refuses_all_but_its_deletion() {
    let mut b = Bench::new(HomeLimits::default(), found());
    let (number, _) = b.ask(Command::Info).job();
    b.ask(Command::Delete);
    b.told(number, Err(StoreError::Checksum("record 5".into())));
    assert!(matches!(b.answer(), Answer::Refused(Refusal::StoreFailed)));
    let (number, job) = b.job();
    assert!(matches!(job, Job::Delete { .. }));
    assert!(matches!(b.told(number, done()).answer(), Answer::Info(None)));
    assert!(matches!(b.ask(Command::Info).answer(), Answer::Info(None)), "and is not read again");
    // A record that another version wrote is no better.
    let mut b = Bench::new(HomeLimits::default(), found());
    let (number, _) = b.glance().job();
    let odd = Record { at: at(1), payload: Bytes::from_static(b"\x09whatever") };
    assert!(matches!(
        b.told(number, records(vec![odd], Position::ZERO)).answer(),
        Answer::Refused(Refusal::StoreFailed)
    ));
    assert!(matches!(b.glance().job().1, Job::Read { .. }), "the next one tries again");
    assert_eq!(b.home.channels(), 1);
}

#[test]
fn what_waits_is_bounded() {
    let mut b = Bench::new(HomeLimits::default(), found());
    let (number, _) = b.ask(Command::Info).job();
    for _ in 1..DURABLE_WAITING_COMMANDS {
        b.ask(Command::Info);
    }
    assert!(b.effects.is_empty());
    assert!(matches!(b.ask(Command::Info).answer(), Answer::Refused(Refusal::Busy)));
    b.told(number, records(Vec::new(), at(9)));
    assert_eq!(b.effects.len(), DURABLE_WAITING_COMMANDS);
    b.effects.clear();
    let (_, job) = b.publish(&durable(), "anew").job();
    assert!(matches!(job, Job::Append { at: position, .. } if position > at(9)), "{job:?}");
}

#[test]
fn without_a_store_nothing_is_durable() {
    let mut b = Bench::new(HomeLimits::default(), None);
    b.home = Home::new(HomeLimits::default());
    assert!(matches!(b.publish(&durable(), "x").answer(), Answer::Published { .. }));
}
