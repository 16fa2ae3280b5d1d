//! The store through its handle: what jobs do, in which order, and what is refused.

#[allow(dead_code)]
#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fanwire::channel::{Position, ReplyTo, Token};
use fanwire::limits::{STORE_FORGET_S, STORE_KEY_BYTES, StoreLimits};
use fanwire::service::store::{
    Answer, Documents, Job, Reply, Retention, Store, StoreError, StoreHandle, Table,
};
use support::{Numbers, append, ask, at, fresh, later, open, open_with, part, records};

const ALL: Retention = Retention::ALL;

/// Keeps the store's thread busy until the answer is dropped or sent to.
fn hold(store: &StoreHandle) -> Sender<()> {
    let (release, held) = channel::<()>();
    let (tell, begun) = channel();
    let reply = Reply::call(move |_| {
        tell.send(()).unwrap();
        let _ = held.recv();
    });
    store.submit(Job::Sweep { now_s: 0 }, reply).unwrap();
    begun.recv().unwrap();
    release
}

fn times(store: &StoreHandle, log: &str) -> Vec<u64> {
    records(store, log, Position::ZERO).iter().map(|record| record.at.time).collect()
}

#[test]
fn what_was_stored_is_there_after_reopening() {
    let dir = fresh("reopen");
    let (store, recovery) = open(&dir);
    assert_eq!((recovery.logs.len(), recovery.tables.len()), (0, 0));
    let handle = store.handle();
    for n in 1..=5u64 {
        ask(&handle, append("a\0b", n, vec![n as u8; 3000], ALL)).unwrap();
    }
    ask(&handle, append("", 9, Bytes::new(), ALL)).unwrap();
    let put = |key: &'static [u8], value: &'static [u8]| Job::Put {
        table: Table::APPS,
        key: Bytes::from_static(key),
        value: Bytes::from_static(value),
    };
    for (key, value) in [(b"1", b"old"), (b"2", b"two"), (b"1", b"one"), (b"3", b"six")] {
        ask(&handle, put(key, value)).unwrap();
    }
    ask(&handle, Job::Remove { table: Table::APPS, key: Bytes::from_static(b"3") }).unwrap();
    store.shutdown().unwrap();

    let (store, recovery) = open(&dir);
    let handle = store.handle();
    let totals: Vec<_> =
        recovery.logs.iter().map(|l| (&l.log[..], l.records, l.bytes.unwrap(), l.oldest, l.last)).collect();
    assert_eq!(totals, [(&b""[..], 1, 0, at(9), at(9)), (b"a\0b", 5, 15_000, at(1), at(5))]);
    assert_eq!((recovery.tables[0].documents, recovery.tables[0].bytes), (2, 6));
    let part = part(&handle, "a\0b", at(2), 2).unwrap();
    assert!(part.more && part.dropped == Position::ZERO && part.last == at(5));
    assert_eq!(part.records.iter().map(|r| (r.at.time, r.payload[0])).collect::<Vec<_>>(), [(3, 3), (4, 4)]);
    let listed = ask(&handle, Job::List { table: Table::APPS, after: Bytes::new(), most: 1 }).unwrap();
    let documents = vec![(Bytes::from_static(b"1"), Bytes::from_static(b"one"))];
    assert_eq!(listed, Answer::Documents(Box::new(Documents { documents, more: true })));
    for (table, key, value) in [
        (Table::APPS, &b"2"[..], Some(&b"two"[..])),
        (Table::APPS, b"3", None),
        (Table::PUSHI_SUBSCRIPTIONS, b"2", None),
    ] {
        let found = ask(&handle, Job::Get { table, key: Bytes::from_static(key) }).unwrap();
        assert_eq!(found, Answer::Document(value.map(Bytes::from_static)));
    }
}

#[test]
fn jobs_that_wait_share_a_commit() {
    let (store, _) = open(&fresh("group"));
    let handle = store.handle();
    let held = hold(&handle);
    let (commits, jobs) = (handle.counters().commits(), handle.counters().jobs());
    let waiting: Vec<_> = (1..=200).map(|n| later(&handle, append("log", n, "x", ALL)).unwrap()).collect();
    // One that cannot be done takes nobody with it.
    let late = later(&handle, append("log", 200, "again", ALL)).unwrap();
    let read = later(&handle, Job::Read { log: "log".into(), after: at(198), most: 9 }).unwrap();
    assert_eq!(handle.waiting_jobs(), 202);
    drop(held);
    assert!(waiting.iter().all(|told| told.recv().unwrap() == Ok(Answer::Done)));
    assert_eq!(late.recv().unwrap(), Err(StoreError::NotNewer(at(200))));
    let Ok(Answer::Records(part)) = read.recv().unwrap() else { panic!() };
    assert_eq!(part.records.len(), 2, "a read sees what was handed over before it");
    assert_eq!(handle.counters().commits() - commits, 1);
    assert_eq!(handle.counters().jobs() - jobs, 202);
    store.shutdown().unwrap();
    assert_eq!(handle.counters().waiting_bytes(), 0);
}

#[test]
fn a_token_comes_back_through_deliver() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = told.clone();
    let deliver = Arc::new(move |to, outcome| keep.lock().unwrap().push((to, outcome)));
    let (store, _) = Store::open(&fresh("token"), StoreLimits::default(), deliver).unwrap();
    let to = ReplyTo { shard: 3, token: Token { slot: 1, generation: 2, tag: 7 } };
    store.handle().submit(append("log", 5, "x", ALL), Reply::To(to)).unwrap();
    store.handle().submit(append("log", 6, "x", ALL), Reply::Nobody).unwrap();
    store.handle().submit(append("log", 5, "x", ALL), Reply::To(to)).unwrap();
    store.shutdown().unwrap();
    let told = told.lock().unwrap();
    assert_eq!(*told, [(to, Ok(Answer::Done)), (to, Err(StoreError::NotNewer(at(6))))]);
}

#[test]
fn a_full_queue_refuses_and_never_waits() {
    let limits = StoreLimits { queue_jobs: 4, queue_bytes: 100_000, ..StoreLimits::default() };
    let (store, _) = open_with(&fresh("queue"), limits).unwrap();
    let handle = store.handle();
    let held = hold(&handle);
    let taken: Vec<_> = (1..=4).map(|n| later(&handle, append("log", n, "x", ALL)).unwrap()).collect();
    let (tell, told) = channel();
    let reply = Reply::call(move |outcome| tell.send(outcome).unwrap());
    assert_eq!(handle.submit(append("log", 5, "x", ALL), reply), Err(StoreError::QueueFull));
    assert!(told.recv().is_err(), "who is refused at once is told nothing later");
    drop(held);
    assert!(taken.iter().all(|told| told.recv().unwrap().is_ok()));
    let held = hold(&handle);
    let large = later(&handle, append("log", 6, vec![0; 90_000], ALL)).unwrap();
    assert_eq!(later(&handle, append("log", 7, vec![0; 20_000], ALL)).err(), Some(StoreError::QueueFull));
    drop(held);
    assert_eq!(large.recv().unwrap(), Ok(Answer::Done));
    assert_eq!(handle.counters().refused(), 2);
    assert_eq!(ask(&handle, append("log", 7, vec![0; 20_000], ALL)), Ok(Answer::Done));
}

#[test]
fn shutdown_does_what_was_taken_and_nothing_after() {
    let dir = fresh("shutdown");
    let (store, _) = open(&dir);
    let handle = store.handle();
    let held = hold(&handle);
    let taken: Vec<_> = (1..=50).map(|n| later(&handle, append("log", n, "x", ALL)).unwrap()).collect();
    drop(held);
    store.shutdown().unwrap();
    assert!(taken.iter().all(|told| told.recv().unwrap() == Ok(Answer::Done)));
    assert_eq!(later(&handle, append("log", 51, "x", ALL)).err(), Some(StoreError::Stopped));
    let (store, _) = open(&dir);
    assert_eq!(times(&store.handle(), "log"), (1..=50).collect::<Vec<_>>());
}

#[test]
fn what_is_too_large_is_refused_alone() {
    let limits = StoreLimits { record_bytes: 1000, logs: 2, ..StoreLimits::default() };
    let (store, _) = open_with(&fresh("large"), limits).unwrap();
    let handle = store.handle();
    assert_eq!(ask(&handle, append("a", 1, vec![0; 1000], ALL)), Ok(Answer::Done));
    assert_eq!(ask(&handle, append("a", 2, vec![0; 1001], ALL)), Err(StoreError::TooLarge));
    let name = "n".repeat(STORE_KEY_BYTES + 1);
    assert_eq!(ask(&handle, append(&name, 1, "", ALL)), Err(StoreError::TooLarge));
    assert_eq!(ask(&handle, append(&name[1..], 1, "", ALL)), Ok(Answer::Done));
    assert_eq!(ask(&handle, append("c", 1, "", ALL)), Err(StoreError::TooManyLogs));
    assert_eq!(ask(&handle, append("a", 0, "", ALL)), Err(StoreError::NotNewer(at(1))));
    assert_eq!(ask(&handle, append("a", 2, "", ALL)), Ok(Answer::Done));
}

#[test]
fn a_store_in_memory_does_the_same_within_its_bound() {
    let limits = StoreLimits { memory_bytes: 1 << 20, ..StoreLimits::default() };
    let store = Store::open_in_memory(limits, Arc::new(|to, _| panic!("{to:?}"))).unwrap();
    let handle = store.handle();
    let keep = Retention { max_records: 10, ..ALL };
    for n in 1..=500 {
        assert_eq!(ask(&handle, append("bounded", n, vec![7; 10_000], keep)), Ok(Answer::Done));
    }
    assert_eq!(times(&handle, "bounded"), (491..=500).collect::<Vec<_>>());
    let full = (501..).find(|&n| ask(&handle, append("all", n, vec![7; 10_000], ALL)).is_err()).unwrap();
    assert!((550..620).contains(&full), "{full}");
    assert_eq!(ask(&handle, append("all", full, vec![7; 10_000], ALL)), Err(StoreError::Full));
    assert_eq!(ask(&handle, Job::Delete { log: Bytes::from_static(b"all") }), Ok(Answer::Done));
    assert_eq!(ask(&handle, append("all", full, vec![7; 10_000], ALL)), Ok(Answer::Done));
    assert!(matches!(ask(&handle, Job::Sweep { now_s: full }), Ok(Answer::Swept { .. })));
    store.shutdown().unwrap();
}

#[test]
fn retention_by_count_bytes_and_age() {
    let (store, _) = open(&fresh("retention"));
    let handle = store.handle();
    let keep = |log: &str, retention| {
        for n in 1..=10 {
            ask(&handle, append(log, n * 100, vec![0; 10], retention)).unwrap();
        }
        times(&handle, log)
    };
    assert_eq!(keep("count", Retention { max_records: 3, ..ALL }), [800, 900, 1000]);
    assert_eq!(keep("bytes", Retention { max_bytes: 25, ..ALL }), [900, 1000]);
    assert_eq!(keep("tiny", Retention { max_bytes: 1, max_records: 0, ..ALL }), [1000]);
    assert_eq!(keep("age", Retention { max_age_s: 250, ..ALL }), [800, 900, 1000]);
    assert_eq!(keep("min", Retention { max_age_s: 50, min_records: 4, ..ALL }), [700, 800, 900, 1000]);
    assert_eq!(part(&handle, "count", Position::ZERO, 1).unwrap().dropped, at(700));

    let sweep = |now_s| ask(&handle, Job::Sweep { now_s }).unwrap();
    assert_eq!(sweep(1100), Answer::Swept { records: 1, more: false });
    assert_eq!(times(&handle, "age"), [900, 1000]);
    assert_eq!(sweep(5000), Answer::Swept { records: 2, more: false });
    let empty = part(&handle, "age", Position::ZERO, 9).unwrap();
    assert_eq!((empty.records.len(), empty.dropped, empty.last), (0, at(1000), at(1000)));
    assert_eq!(ask(&handle, append("age", 900, "x", ALL)), Err(StoreError::NotNewer(at(1000))));
    assert_eq!(times(&handle, "min"), [700, 800, 900, 1000], "kept although expired");
    sweep(1000 + STORE_FORGET_S);
    assert_eq!(part(&handle, "age", Position::ZERO, 9).unwrap().last, Position::ZERO, "forgotten");
}

/// A log as simple as can be.
#[derive(Default)]
struct Model {
    records: BTreeMap<Position, Vec<u8>>,
    last: Position,
}

impl Model {
    fn keep(&mut self, retention: &Retention, now_s: u64) {
        while let Some((&oldest, _)) = self.records.first_key_value() {
            let (len, bytes) =
                (self.records.len() as u64, self.records.values().map(Vec::len).sum::<usize>());
            let over = len > 1 && (len > retention.max_records || bytes as u64 > retention.max_bytes);
            let expired =
                oldest.time.saturating_add(retention.max_age_s) <= now_s && len > retention.min_records;
            if !over && !expired {
                return;
            }
            self.records.pop_first();
        }
    }
}

#[test]
fn logs_behave_like_the_model() {
    let dir = fresh("model");
    let mut numbers = Numbers(0x5eed_2026);
    let names = ["a", "b", "c"];
    let rules = [
        ALL,
        Retention { max_records: 7, ..ALL },
        Retention { max_bytes: 2000, max_age_s: 40, ..ALL },
        Retention { max_age_s: 20, min_records: 3, ..ALL },
    ];
    let mut models: [(Model, Retention); 3] = std::array::from_fn(|_| (Model::default(), ALL));
    let (mut store, _) = open(&dir);
    let mut now_s = 100;
    for step in 0..2000 {
        let which = numbers.below(3) as usize;
        let (name, (model, rule)) = (names[which], &mut models[which]);
        now_s += numbers.below(3);
        let tag = numbers.below(3) as u32;
        match numbers.below(20) {
            0 => {
                let ahead = numbers.below(30);
                let through = Position { time: now_s.saturating_sub(ahead) + 5, tag };
                ask(&store.handle(), Job::Truncate { log: name.into(), through }).unwrap();
                model.records.retain(|&at, _| at > through);
            }
            1 if step % 7 == 0 => {
                ask(&store.handle(), Job::Delete { log: name.into() }).unwrap();
                model.records.clear();
            }
            2 => {
                ask(&store.handle(), Job::Sweep { now_s }).unwrap();
                models.iter_mut().for_each(|(model, rule)| model.keep(rule, now_s));
            }
            3 if step % 5 == 0 => {
                store.shutdown().unwrap();
                store = open(&dir).0;
            }
            _ => {
                if numbers.below(10) == 0 {
                    *rule = rules[numbers.below(4) as usize];
                }
                let at = Position { time: now_s, tag };
                let payload = vec![step as u8; numbers.below(9) as usize * 90];
                let job = Job::Append {
                    log: name.into(),
                    at,
                    payload: payload.clone().into(),
                    retention: *rule,
                    now_s,
                };
                let expected =
                    if at > model.last { Ok(Answer::Done) } else { Err(StoreError::NotNewer(model.last)) };
                assert_eq!(ask(&store.handle(), job), expected, "step {step}");
                if expected.is_ok() {
                    model.last = at;
                    model.records.insert(at, payload);
                    model.keep(rule, now_s);
                }
            }
        }
        let (model, _) = &models[which];
        let after = Position { time: now_s.saturating_sub(numbers.below(60)), tag: 1 };
        let found = records(&store.handle(), name, after);
        let expected: Vec<_> = model.records.range(after..).filter(|(at, _)| **at > after).collect();
        let found: Vec<_> = found.iter().map(|record| (&record.at, record.payload.to_vec())).collect();
        assert_eq!(found.len(), expected.len(), "step {step}");
        assert!(found.iter().zip(&expected).all(|(f, e)| f.0 == e.0 && f.1 == *e.1), "step {step}");
    }
}

#[test]
fn a_suspended_store_lets_others_in_and_keeps_what_comes_waiting() {
    let dir = fresh("suspend");
    let (store, _) = open(&dir);
    let handle = store.handle();
    ask(&handle, append("a", 1, "one", ALL)).unwrap();
    store.suspend().unwrap();
    store.suspend().unwrap();
    let waiting = later(&handle, append("a", 3, "three", ALL)).unwrap();
    {
        let (other, recovery) = open(&dir);
        assert_eq!(recovery.logs.len(), 1);
        ask(&other.handle(), append("a", 2, "two", ALL)).unwrap();
        assert_eq!(store.resume().unwrap_err(), StoreError::InUse);
        other.shutdown().unwrap();
    }
    assert!(waiting.try_recv().is_err(), "nobody is told anything while the files are away");
    store.resume().unwrap();
    store.resume().unwrap();
    waiting.recv().unwrap().unwrap();
    assert_eq!(times(&handle, "a"), [1, 2, 3]);
    // Stopped while the files are away: what waits is told so.
    store.suspend().unwrap();
    let waiting = later(&handle, append("a", 4, "four", ALL)).unwrap();
    store.shutdown().unwrap();
    assert_eq!(waiting.recv().unwrap().unwrap_err(), StoreError::Stopped);
}

#[test]
fn a_store_in_memory_cannot_be_taken_away() {
    let store = Store::open_in_memory(StoreLimits::default(), Arc::new(|_, _| {})).unwrap();
    store.suspend().unwrap();
    ask(&store.handle(), append("a", 1, "one", ALL)).unwrap();
    store.resume().unwrap();
    assert_eq!(times(&store.handle(), "a"), [1]);
}
