//! The two drivers against each other: the same conversations with a node on io_uring and with one on epoll, byte by
//! byte. What each client was sent, how its connection ended, and what the nodes have counted has to be the same.
//!
//! `DRIVERS_SEED=n` plays one conversation only and prints it; `DRIVERS_SEEDS=n` plays so many.

mod frame;
mod http;
mod masks;
#[path = "../support/node.rs"]
#[allow(dead_code)] // made for more than this
mod node;
mod peer;
#[path = "../simulation/rng.rs"]
mod rng;
mod scenes;
mod stage;
#[path = "../faults/system.rs"]
#[allow(dead_code)] // made for more than this
mod system;
mod target;

use stage::Stage;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use target::{Certificate, Target};

const SEEDS: u64 = 400;
/// Conversations that are played at the same time, on each node.
const PLAYERS: usize = 6;

/// One conversation with one node, for people and to be compared.
fn play(target: &Target, seed: u64) -> String {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = Stage::new(target, seed);
        scenes::play(&mut stage);
        stage.print()
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map_or("a panic", String::as_str);
        format!("not played to its end: {text}\n")
    })
}

/// The first lines that differ, with what stands before them.
fn difference(one: &str, other: &str) -> String {
    let (one, other): (Vec<_>, Vec<_>) = (one.lines().collect(), other.lines().collect());
    let at = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let before = one[at.saturating_sub(4)..at].iter().map(|line| format!("    {line}\n"));
    let line = |lines: &[&str]| lines.get(at).copied().unwrap_or("(nothing)").to_owned();
    format!("{}io_uring: {}\nepoll:    {}\n", before.collect::<String>(), line(&one), line(&other))
}

#[test]
fn the_drivers_cannot_be_told_apart() {
    let certificate = Certificate::new();
    let epoll = Target::start("epoll", &certificate).unwrap();
    let uring = match Target::start("uring", &certificate) {
        Ok(node) => node,
        Err(said) if said.contains("no driver works") => {
            return println!("SKIPPED: this kernel gives no io_uring: {said}");
        }
        Err(said) => panic!("{said}"),
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let one = number("DRIVERS_SEED");
    let seeds = one.map_or(0..number("DRIVERS_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let (ours, theirs) = thread::scope(|scope| {
                        let theirs = scope.spawn(|| play(&epoll, seed));
                        (play(&uring, seed), theirs.join().unwrap())
                    });
                    if one.is_some() {
                        println!("{ours}");
                    }
                    if ours != theirs || ours.starts_with("not played") {
                        let report = difference(&ours, &theirs);
                        failed
                            .lock()
                            .unwrap()
                            .push(format!("seed {seed}: again with DRIVERS_SEED={seed}\n{report}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} conversations differ\n{}", failed.len(), failed.join("\n"));
    let (ours, theirs) = (uring.totals(), epoll.totals());
    let differ = ours.iter().chain(&theirs).filter(|line| !(ours.contains(line) && theirs.contains(line)));
    let differ: Vec<&String> = differ.collect();
    assert!(differ.is_empty(), "what io_uring's node has counted, then what epoll's has: {differ:#?}");
}
