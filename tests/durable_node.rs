//! Durable channels of a real node: killed under load, with a full disk, with damaged files, with bounded disk use.

#[path = "support/node.rs"]
mod node;

use node::{Http, Node, Stream, fresh};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::thread;
use std::time::Duration;

const KILLS: u64 = 100;
const CHANNELS: usize = 3;
const PUBLISHERS: usize = 4;
/// Longest time under load before a kill, milliseconds.
const LOAD_MS: u64 = 120;

const LOCATIONS: &str = r#"
[[location]]
prefix = "/pub/"
methods = "publisher"
durable = true
buffer_messages = 1000000
message_timeout = "0"

[[location]]
prefix = "/sub/"
methods = "subscriber"
"#;

/// What a position's text says: two numbers.
fn position(id: &str) -> (u64, u64) {
    let (time, tag) = id.split_once(':').unwrap_or_else(|| panic!("{id:?} is no position"));
    (time.parse().unwrap(), tag.parse().unwrap())
}

/// Publishes until the node is gone; returns what was acknowledged: text and position, by channel.
fn publish_until_killed(address: String, life: u64, publisher: usize) -> Vec<(usize, String, String)> {
    let mut acknowledged = Vec::new();
    let Ok(mut http) = Http::connect(&address) else { return acknowledged };
    for n in 0.. {
        let channel = (n + publisher) % CHANNELS;
        let text = format!("{life}.{publisher}.{n}{}", " ".repeat(n % 300));
        let Ok(answer) = http.post(&format!("/pub/c{channel}"), text.as_bytes()) else { break };
        assert!(matches!(answer.status, 201 | 202), "{answer:?}");
        acknowledged.push((channel, text, answer.last_message_id()));
    }
    acknowledged
}

/// What one channel has to hold.
#[derive(Default)]
struct Known {
    /// Acknowledged, or read: text and position.
    messages: HashMap<String, String>,
    /// Acknowledged in the last life and not read since.
    unread: HashMap<String, String>,
    last: Option<String>,
}

impl Known {
    /// Reads what came since the last look: everything acknowledged is there, in order, once.
    fn look(&mut self, address: &str, channel: usize, marker: &str, loose: usize) {
        let mut http = Http::connect(address).unwrap();
        let answer = http.post(&format!("/pub/c{channel}"), marker.as_bytes()).unwrap();
        self.unread.insert(marker.into(), answer.last_message_id());
        let mut stream = Stream::open(address, &format!("/sub/c{channel}"), self.last.as_deref()).unwrap();
        let mut extra = 0;
        loop {
            let (id, text) = stream.next().expect("a message");
            let after = self.last.as_deref().map(position);
            assert!(after.is_none_or(|after| after < position(&id)), "{id} after {after:?}");
            match self.unread.remove(&text) {
                Some(told) => assert_eq!(told, id, "another position than the publisher was told"),
                None => extra += 1,
            }
            assert!(self.messages.insert(text.clone(), id.clone()).is_none(), "{text} twice");
            self.last = Some(id);
            if text == marker {
                break;
            }
        }
        assert!(self.unread.is_empty(), "lost in c{channel}: {:?}", self.unread);
        assert!(extra <= loose, "{extra} that nobody was told of: more than were under way");
    }
}

#[test]
fn what_is_acknowledged_survives_a_hundred_kills() {
    let dir = fresh("kills");
    let chance = RandomState::new();
    let mut known: Vec<Known> = (0..CHANNELS).map(|_| Known::default()).collect();
    let mut acknowledged_in_all = 0;
    for life in 0..KILLS {
        let mut node = Node::start(&dir, "shards = 2", LOCATIONS);
        for (channel, known) in known.iter_mut().enumerate() {
            known.look(&node.address, channel, &format!("marker {life}"), PUBLISHERS);
        }
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let address = node.address.clone();
                thread::spawn(move || publish_until_killed(address, life, publisher))
            })
            .collect();
        let watched = Stream::open(&node.address, "/sub/c0", known[0].last.as_deref()).unwrap();
        let watcher = thread::spawn(move || watched.collect::<Vec<_>>());
        thread::sleep(Duration::from_millis(chance.hash_one(life) % LOAD_MS));
        node.kill();
        for (channel, text, id) in publishers.into_iter().flat_map(|p| p.join().unwrap()) {
            acknowledged_in_all += 1;
            known[channel].unread.insert(text, id);
        }
        // What a subscriber has seen is there as well, whether or not its publisher was told.
        for (id, text) in watcher.join().unwrap() {
            known[0].unread.insert(text, id);
        }
    }
    let mut node = Node::start(&dir, "shards = 1", LOCATIONS);
    for (channel, known) in known.iter_mut().enumerate() {
        known.look(&node.address, channel, "the end", PUBLISHERS);
        // From the beginning, with another number of shards, all of it comes again.
        let mut stream = Stream::open(&node.address, &format!("/sub/c{channel}"), None).unwrap();
        let mut seen = HashSet::new();
        for _ in 0..known.messages.len() {
            let (id, text) = stream.next().unwrap();
            assert_eq!(known.messages.get(&text), Some(&id));
            assert!(seen.insert(text));
        }
    }
    node.kill();
    println!("{acknowledged_in_all} messages acknowledged in {KILLS} lives");
    assert!(acknowledged_in_all > KILLS as usize * 10, "hardly any load: {acknowledged_in_all}");
    let report = fanwire::service::store::check(&dir).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let dir = fresh("full");
    let mut node = Node::start(&dir, "shards = 2\nstore.disk_bytes = \"1MiB\"", LOCATIONS);
    let mut http = Http::connect(&node.address).unwrap();
    let text = |n: usize| format!("{n} {}", "x".repeat(10_000));
    for n in 0..5 {
        assert_eq!(http.post("/pub/other", text(n).as_bytes()).unwrap().status, 202);
    }
    let mut ids = Vec::new();
    let refused = loop {
        let answer = http.post("/pub/full", text(ids.len()).as_bytes()).unwrap();
        match answer.status {
            202 => ids.push(answer.last_message_id()),
            _ => break answer,
        }
    };
    assert_eq!(refused.status, 507, "{refused:?}");
    assert_eq!(refused.body, "The disk for stored messages is full.");
    assert!(ids.len() > 20, "{}", ids.len());
    assert_eq!(http.post("/pub/full", text(0).as_bytes()).unwrap().status, 507, "and so is the next");
    assert!(node.metric("fanwire_store_full_total") >= 2.0);
    assert_eq!(http.request("GET", "/health/ready", b"").unwrap().status, 200, "it goes on");
    // Room is made.
    assert_eq!(http.request("DELETE", "/pub/other", b"").unwrap().status, 200);
    let again = http.post("/pub/full", b"again").unwrap();
    assert_eq!(again.status, 202, "{again:?}");
    node.kill();

    let mut node = Node::start(&dir, "shards = 2\nstore.disk_bytes = \"1MiB\"", LOCATIONS);
    let mut stream = Stream::open(&node.address, "/sub/full", None).unwrap();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(stream.next().unwrap(), (id.clone(), text(n)));
    }
    assert_eq!(stream.next().unwrap(), (again.last_message_id(), "again".into()));
    let mut http = Http::connect(&node.address).unwrap();
    assert_eq!(http.request("GET", "/pub/other", b"").unwrap().status, 404, "deleted is deleted");
    node.kill();
}

#[test]
fn damaged_files_are_refused_with_a_word_and_check_tells_more() {
    let dir = fresh("damaged");
    let mut node = Node::start(&dir, "shards = 1", LOCATIONS);
    let mut http = Http::connect(&node.address).unwrap();
    for n in 0..200 {
        assert_eq!(http.post("/pub/a", format!("{n} {}", "y".repeat(500)).as_bytes()).unwrap().status, 202);
    }
    node.stop();
    let file = dir.join("store.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..12_288].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let refused = Node::refused(&dir, "shards = 1", LOCATIONS);
    assert!(
        refused.contains("cannot open the store in") && refused.contains("fanwire check --data"),
        "{refused}"
    );
    let (worked, said) = node::fanwire(&["check", "--data", dir.to_str().unwrap()]);
    assert!(!worked && said.contains("damage"), "{said}");
}

#[test]
fn the_disk_stays_bounded_by_a_count() {
    stays_bounded("count", "buffer_messages = 50", 50..=50);
}

#[test]
fn the_disk_stays_bounded_by_bytes() {
    // In memory a message is charged about twice.
    stays_bounded("bytes", "buffer_messages = 1000000\nbuffer_bytes = 150000", 20..=50);
}

fn stays_bounded(name: &str, rule: &str, kept: std::ops::RangeInclusive<usize>) {
    const MESSAGES: usize = 4_000;
    let dir = fresh(name);
    let locations = LOCATIONS.replace("buffer_messages = 1000000", rule);
    let settings = "shards = 2\nstore.disk_bytes = \"16MiB\"";
    let mut node = Node::start(&dir, settings, &locations);
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let address = node.address.clone();
            thread::spawn(move || {
                let mut http = Http::connect(&address).unwrap();
                for n in 0..MESSAGES / 8 {
                    let answer = http.post(&format!("/pub/c{}", publisher % 2), &[b'z'; 3_000]).unwrap();
                    assert_eq!(answer.status, 202, "{n}: {answer:?}");
                }
            })
        })
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let used = disk_bytes(&dir);
    assert!(used < 4 << 20, "{used} bytes for messages of 3 kB in two channels with {rule}, of {MESSAGES}");
    node.kill();
    let mut node = Node::start(&dir, settings, &locations);
    let mut http = Http::connect(&node.address).unwrap();
    let info = http.request("GET", "/pub/c0", b"").unwrap();
    let told = info.body.split("\"messages\":").nth(1).and_then(|rest| rest.split(',').next());
    let messages: usize =
        told.and_then(|text| text.trim().parse().ok()).unwrap_or_else(|| panic!("{info:?}"));
    assert!(kept.contains(&messages), "{messages} with {rule}");
    node.stop();
}

fn disk_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
