//! A shard that gets more mail than fits: publishers are told to come again, and nothing stands still.

use crate::client::{Client, PATIENCE, await_that};
use crate::{refusals, start};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

const SETTINGS: &str = "shards = 2\nlimits.mailbox_messages = 16";

const TABLES: &str = r#"
[[location]]
prefix = "/pub/"
methods = "publisher"

[[location]]
prefix = "/sub/"
methods = "subscriber"
polling = "interval"
split_delimiter = ","
"#;

const CHANNELS: usize = 16;

/// Ends the flood, also when a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn publishers_come_again() {
    let (mut node, _) = start("mailbox", SETTINGS, TABLES);
    let all: Vec<String> = (0..250).map(|n| format!("c{n}")).collect();
    let all = format!("GET /sub/{}", all.join(","));
    let over = AtomicBool::new(false);
    let mut refused = 0;
    thread::scope(|scope| {
        let ends = Ends(&over);
        for _ in 0..8 {
            // Subscriptions are not refused: about half of these 250 are mail for the other shard, all at once.
            scope.spawn(|| {
                let mut reader = Client::connect(&node.address);
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(reader.ask(&all, b"").status, 304);
                }
            });
        }
        let mut publishers: Vec<Client> = (0..8).map(|_| Client::connect(&node.address)).collect();
        let begun = Instant::now();
        while refused == 0 {
            assert!(begun.elapsed() < PATIENCE, "the mailbox is never full");
            for (n, publisher) in publishers.iter_mut().enumerate() {
                let answer = publisher.ask(&format!("POST /pub/p{}", n % CHANNELS), b"x");
                match answer.status {
                    201 | 202 => {}
                    503 => {
                        assert!(answer.says_when() && !answer.closes(), "{answer:?}");
                        refused += 1;
                    }
                    _ => panic!("{answer:?}"),
                }
            }
        }
        drop(ends);
    });
    assert_eq!(refusals(&node)["mailbox_full"], refused);
    // All of that is worked off, and everybody is served again.
    let mut publisher = Client::connect(&node.address);
    for n in 0..CHANNELS {
        await_that("a publish", || publisher.ask(&format!("POST /pub/p{n}"), b"x").status == 202);
    }
    node.stop();
}
