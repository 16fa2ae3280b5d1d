//! The whole node from a seed: real shards (loop, connections, outboxes, mailboxes, homes, members, encoder, dialects)
//! in one thread, on sockets, clocks and services that are played.

mod client;
#[path = "../../durable/disk.rs"]
#[allow(dead_code)] // its queue is not used here
mod disk;
mod kernel;
mod peer;
mod play;
mod pusher;
mod services;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of an ordinary run. With those of the other simulation they are ten thousand.
const SEEDS: u64 = 8_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Panics on purpose are not worth a line.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(services::BOOM) {
                before(info);
            }
        }));
    });
}

#[test]
fn a_node_keeps_its_promises() {
    keep_quiet();
    let one = number("SEED");
    let (from, seeds) = one.map_or((0, number("SEEDS").unwrap_or(SEEDS)), |seed| (seed, 1));
    let next = AtomicU64::new(from);
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| world::World::new(seed, one.is_some()).play())).is_err() {
                next.store(u64::MAX / 2, Ordering::Relaxed);
                panic!(
                    "seed {seed} failed; replay it with SEED={seed} cargo test --test simulation node -- --nocapture"
                );
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        run();
        other.join().expect("the other thread has said why");
    });
    println!("{seeds} seeds");
}
