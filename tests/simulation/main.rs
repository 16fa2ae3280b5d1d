//! A seeded simulation of one to eight shards in one thread (design, section 9): homes, members and mailboxes as
//! the node has them, chance for everything that is chance in a node, and a plain model beside every home.
//!
//! What is checked, at each step unless it says otherwise:
//! - every answer, delivery and end of a home is exactly what the model says, all counters included;
//! - positions of a name only grow, over deletion, expiry and clocks that stand still or step back;
//! - every reader gets, from where it started and over all its sessions, each accepted publication once and in
//!   order; only after `recovered: false` may it find some missing, and only if they really are gone;
//! - nobody gets a publication that was refused, a second end, or anything after its end;
//! - at rest the members of all shards are those the homes have registered; when all have left nothing is left.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_FROM=seed` starts at one (a failure prints the line), `SIM_TRACE=1` prints
//! every command with what was expected of it.

mod model;
#[cfg(debug_assertions)]
mod node;
mod reader;
mod rest;
mod rng;
mod setup;
mod world;

use fanwire::channel::{Class, Command, GroupLimits};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Counts, World};

/// Seeds of an ordinary run. With those of the whole node they are ten thousand.
const SEEDS: u64 = 2_000;

#[test]
fn shards_agree_with_the_model() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let (from, seeds) = (number("SIM_FROM").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS));
    let trace = number("SIM_TRACE").is_some();
    let mut total = Counts::default();
    for seed in from..from.saturating_add(seeds) {
        match catch_unwind(AssertUnwindSafe(|| run(seed, trace))) {
            Ok(counts) => total.add(&counts),
            Err(_) => panic!(
                "seed {seed} failed; replay it with SIM_FROM={seed} SIM_SEEDS=1 SIM_TRACE=1 cargo test --test simulation"
            ),
        }
    }
    println!("{seeds} seeds: {total:?}");
    if seeds >= SEEDS {
        total.assert_corners_were_reached();
    }
}

fn run(seed: u64, trace: bool) -> Counts {
    let mut world = World::new(seed, trace);
    let steps = 100 + world.rng.below(400);
    // A shard that is held up reads little mail, so that its mailbox fills.
    let slow = world.rng.below(world.shards() * 2);
    for _ in 0..steps {
        step(&mut world, slow);
        if world.rng.chance(1) {
            world.settle();
            world.check_at_rest();
        }
    }
    world.settle();
    world.check_at_rest();
    world.wind_down();
    world.counts
}

fn step(world: &mut World, slow: usize) {
    let shard = world.rng.below(world.shards());
    let name = world.rng.below(world.keys.len());
    let policy = {
        let at = world.rng.below(world.policies.len());
        world.policies[at].clone()
    };
    match world.rng.below(100) {
        0..35 if shard != slow || world.rng.chance(5) => {
            let most = 1 + world.rng.below(4);
            world.turn(shard, most);
        }
        35..60 => {
            let create = world.rng.chance(80);
            world.publish(shard, name, policy, create);
        }
        60..80 => {
            let reader = world.rng.below(world.readers.len());
            if world.readers[reader].active.is_none() {
                let newest = world.model.newest(world.readers[reader].name);
                let want = world.readers[reader].want(&mut world.rng, policy, newest);
                assert!(want.ask.class != Class::Glance || !want.shared_form);
                world.subscribe(reader, want);
            }
        }
        80..84 => {
            let reader = world.rng.below(world.readers.len());
            world.unsubscribe(reader);
        }
        84..87 => world.die(shard),
        87..92 => clock(world),
        92..94 => world.tick(shard),
        94..100 => administer(world, shard, name, policy),
        _ => {}
    }
}

/// Monotonic time goes on or stands still; the wall clock does as it pleases.
fn clock(world: &mut World) {
    let ms = *world.rng.pick(&[0, 1, 40, 400, 1_000, 1_500, 7_000]);
    world.now.mono_ns += ms * 1_000_000;
    world.now.unix_ms += ms;
    match world.rng.below(10) {
        0 => world.now.unix_ms -= world.rng.below(5_000) as u64,
        1 => world.now.unix_ms += world.rng.below(5_000) as u64,
        _ => {}
    }
    world.now.unix_ms = world.now.unix_ms.max(500_000);
}

fn administer(
    world: &mut World,
    shard: usize,
    name: usize,
    policy: std::sync::Arc<fanwire::channel::Policy>,
) {
    let command = match world.rng.below(10) {
        0 | 1 => Command::Delete,
        2..=4 => Command::Info,
        5 | 6 => Command::Create { policy },
        7 => Command::GroupInfo { set: None },
        8 => {
            let below = |world: &mut World, most| world.rng.below(most) as u64;
            let limits = GroupLimits {
                channels: below(world, 4),
                subscribers: below(world, 8),
                messages: below(world, 10),
                memory_bytes: below(world, 2) * 3_000,
            };
            Command::GroupInfo { set: Some(limits) }
        }
        _ if world.rng.chance(40) => Command::GroupDelete,
        _ => Command::Info,
    };
    world.ask(shard, name, command);
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.received += other.received;
        self.released += other.released;
        self.ended += other.ended;
        self.abandoned += other.abandoned;
        self.unrecovered += other.unrecovered;
        self.moved += other.moved;
    }

    /// A simulation in which something never happens proves nothing about it.
    fn assert_corners_were_reached(&self) {
        let all = [
            self.accepted,
            self.refused,
            self.received,
            self.released,
            self.ended,
            self.abandoned,
            self.unrecovered,
            self.moved,
        ];
        assert!(all.iter().all(|&n| n > 500), "too little of something: {self:?}");
    }
}
