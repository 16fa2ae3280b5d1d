//! A node that was killed under load comes back soon, however much it has stored.

use crate::frame::{LOCATIONS, PATIENCE, eventually};
use crate::node::{Http, Node, Stream, fresh};
use bytes::Bytes;
use fanwire::channel::{Message, Position, record};
use fanwire::limits::StoreLimits;
use fanwire::service::store::{Answer, Job, Reply, Retention, Store, StoreError};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Stored messages in the suite, more than are read through at a start, and the length of each. `FAULT_MESSAGES` and
/// `FAULT_MESSAGE_BYTES` ask for others; the figures that count are those of an optimised node, which `FANWIRE_BIN` names.
const MESSAGES: usize = 40_000;
const MESSAGE_BYTES: usize = 1_000;
const PER_CHANNEL: usize = 1_000;
/// Publications that are acknowledged before a kill.
const ACKNOWLEDGED: usize = 20;
const RESTARTS: usize = 5;
/// The suite's node is not optimised and its machine busy.
const SOON: Duration = Duration::from_secs(10);

const DURABLE: &str = r#"
[[location]]
prefix = "/kept/pub/"
methods = "publisher"
durable = true
buffer_messages = 1000000
message_timeout = "0"

[[location]]
prefix = "/kept/sub/"
methods = "subscriber"
"#;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn text(channel: usize, n: usize) -> String {
    format!("{channel} {n} {}", "x".repeat(setting("FAULT_MESSAGE_BYTES", MESSAGE_BYTES)))
}

/// What the node calls a channel's log, and what it keeps of it.
fn example(dir: &Path) -> (Bytes, Retention) {
    let mut node = Node::start(dir, "shards = 2", &format!("{LOCATIONS}{DURABLE}"));
    let answer = Http::connect(&node.address).unwrap().post("/kept/pub/c0", b"x").unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    node.stop();
    let (store, found) = open(dir);
    let log = &found[0];
    let example = (log.0.clone(), log.1);
    store.shutdown().unwrap();
    example
}

fn open(dir: &Path) -> (Store, Vec<(Bytes, Retention)>) {
    let (store, found) = Store::open(dir, StoreLimits::default(), Arc::new(|_, _| {})).unwrap();
    (store, found.logs.into_iter().map(|log| (log.log, log.retention)).collect())
}

/// Fills a store with `messages` in as many channels as that makes, as the node itself would have.
fn fill(dir: &Path, messages: usize, (like, retention): (Bytes, Retention)) {
    let prefix = like.strip_suffix(b"c0").unwrap();
    let (store, _) = open(dir);
    let (handle, channels) = (store.handle(), messages / PER_CHANNEL);
    let (tell, told) = channel();
    for channel in 0..channels {
        let log = Bytes::from([prefix, format!("c{channel}").as_bytes()].concat());
        for n in 0..PER_CHANNEL {
            let message = Message { payload: text(channel, n).into(), ..Message::default() };
            let (payload, at) = (record::encode(&message, 0), Position { time: 1_000 + n as u64, tag: 0 });
            let append =
                || Job::Append { log: log.clone(), at, payload: payload.clone(), retention, now_s: at.time };
            let reply = || {
                let tell = tell.clone();
                Reply::call(move |outcome| drop(tell.send(outcome)))
            };
            while let Err(error) = handle.submit(append(), reply()) {
                assert!(matches!(error, StoreError::QueueFull), "{error}");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    for _ in 0..channels * PER_CHANNEL {
        assert!(matches!(told.recv().unwrap(), Ok(Answer::Done)));
    }
    store.shutdown().unwrap();
}

/// Starts a node on `address` and measures from there to its first answer and to the first message of the history.
fn start(dir: &Path, address: &str, channel: usize) -> (Node, Duration, Duration) {
    let file = dir.with_extension("toml");
    std::fs::write(
        &file,
        format!("listen = [\"{address}\"]\nshards = 2\nlog = \"warn\"\n{LOCATIONS}{DURABLE}"),
    )
    .unwrap();
    let program = std::env::var("FANWIRE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fanwire").into());
    let mut command = Command::new(program);
    command.env_remove("FANWIRE_BIN").arg("--config").arg(&file).arg("--data").arg(dir);
    let begun = Instant::now();
    let node = thread::spawn(move || Node::spawn(&mut command));
    let is_ready = || {
        let answer = Http::connect(address).and_then(|mut http| http.request("GET", "/health/ready", b""));
        answer.is_ok_and(|answer| answer.status == 200)
    };
    while !is_ready() {
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
        thread::sleep(Duration::from_millis(1));
    }
    let answered = begun.elapsed();
    let mut stream = Stream::open(address, &format!("/kept/sub/c{channel}"), None).unwrap();
    assert_eq!(stream.next().unwrap().1, text(channel, 0));
    (node.join().unwrap(), answered, begun.elapsed())
}

/// Publishes as fast as it can until the node is gone; what was acknowledged.
fn load(address: &str, publisher: usize, channels: usize, count: &AtomicUsize) -> Vec<(usize, String)> {
    let mut acknowledged = Vec::new();
    let Ok(mut http) = Http::connect(address) else { return acknowledged };
    for n in 0.. {
        let (channel, text) = ((publisher + n) % channels, format!("load {publisher} {n}"));
        match http.post(&format!("/kept/pub/c{channel}"), text.as_bytes()) {
            Ok(answer) => assert_eq!(answer.status, 202, "{answer:?}"),
            Err(_) => break,
        }
        acknowledged.push((channel, text));
        count.fetch_add(1, SeqCst);
    }
    acknowledged
}

#[test]
fn a_killed_node_with_much_in_store_is_soon_back_with_all_of_it() {
    let messages = setting("FAULT_MESSAGES", MESSAGES);
    let channels = messages / PER_CHANNEL;
    let dir = fresh("fault-restart");
    let like = example(&fresh("fault-restart-example"));
    let begun = Instant::now();
    fill(&dir, messages, like);
    println!("{messages} messages stored in {:.1} s", begun.elapsed().as_secs_f64());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (mut answered, mut replayed) = (Vec::new(), Vec::new());
    let mut acknowledged: Vec<(usize, String)> = Vec::new();
    for life in 0..RESTARTS {
        let (mut node, first, history) = start(&dir, &address, life % channels);
        answered.push(first.as_secs_f64());
        replayed.push(history.as_secs_f64());
        let count = Arc::new(AtomicUsize::new(0));
        let publishers: Vec<_> = (0..4)
            .map(|publisher| {
                let (address, count) = (address.clone(), count.clone());
                thread::spawn(move || load(&address, life * 4 + publisher, channels, &count))
            })
            .collect();
        eventually("it publishes", || count.load(SeqCst) >= ACKNOWLEDGED);
        node.kill();
        acknowledged.extend(publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()));
    }
    let (node, ..) = start(&dir, &address, 0);
    for channel in 0..channels.min(10) {
        let mut wanted: Vec<&String> =
            acknowledged.iter().filter(|(of, _)| *of == channel).map(|(_, text)| text).collect();
        let mut stream = Stream::open(&node.address, &format!("/kept/sub/c{channel}"), None).unwrap();
        for n in 0..PER_CHANNEL {
            assert_eq!(stream.next().unwrap().1, text(channel, n));
        }
        while !wanted.is_empty() {
            let (_, text) = stream.next().expect("what was acknowledged");
            wanted.retain(|wanted| **wanted != text);
        }
    }
    for times in [&mut answered, &mut replayed] {
        times.sort_by(f64::total_cmp);
    }
    println!(
        "{messages} messages in {channels} channels, {RESTARTS} kills, {} acknowledged under load; from exec to the \
         first answer {:.2} s ({:.2} to {:.2}), to the first message of the history {:.2} s ({:.2} to {:.2})",
        acknowledged.len(),
        answered[RESTARTS / 2],
        answered[0],
        answered[RESTARTS - 1],
        replayed[RESTARTS / 2],
        replayed[0],
        replayed[RESTARTS - 1]
    );
    assert!(replayed[RESTARTS - 1] < SOON.as_secs_f64(), "{replayed:?}");
}
