//! The whole node from a seed: real shards (loop, connections, outboxes, mailboxes, homes, members, encoder, dialects)
//! in one thread, on sockets, clocks and services that are played.
//!
//! `SEEDS=n` runs n seeds, `FROM=seed` starts at another one than 0, `SEED=seed` plays one and prints every step.

mod check;
mod client;
mod counts;
#[path = "../../durable/disk.rs"]
#[allow(dead_code)] // its queue is not used here
mod disk;
mod end;
mod grants;
mod kernel;
mod peer;
mod play;
mod publisher;
mod pusher;
mod pushi;
mod services;
mod traveller;
mod truth;
mod world;

use counts::Counts;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Seeds of an ordinary run. With those of the other simulation they are ten thousand.
const SEEDS: u64 = 8_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics on purpose are not worth a line. A node catches all of them: others are remembered, and fail the seed.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(services::BOOM) {
                PANIC.set(Some(info.to_string()));
                before(info);
            }
        }));
    });
}

/// A panic of this thread that was not on purpose.
fn panicked() -> Option<String> {
    PANIC.take()
}

#[test]
fn a_node_keeps_its_promises() {
    watch_panics();
    let one = number("SEED");
    let from = one.or(number("FROM")).unwrap_or(0);
    let seeds = if one.is_some() { 1 } else { number("SEEDS").unwrap_or(SEEDS) };
    let (next, total) = (AtomicU64::new(from), Mutex::new(Counts::default()));
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                return;
            }
            let played = catch_unwind(AssertUnwindSafe(|| world::World::new(seed, one.is_some()).play()));
            let Ok(counts) = played else {
                next.store(u64::MAX / 2, Ordering::Relaxed);
                panic!(
                    "seed {seed} failed; replay it with SEED={seed} cargo test --test simulation node -- --nocapture"
                );
            };
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&counts);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        run();
        other.join().expect("the other thread has said why");
    });
    let total = total.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{seeds} seeds:{total}");
    if seeds >= SEEDS {
        total.assert_corners_were_reached(seeds);
    }
}
