//! Presence: many shards against a model, and what a home promises about users, one sentence at a time.

mod contract;
mod follow;
mod model;
mod outside;
#[path = "../simulation/rng.rs"]
mod rng;
mod world;

use world::{Counts, World};

/// `PRESENCE_SEED=n` runs that one seed; `PRESENCE_RUNS=n` runs so many.
#[test]
fn shards_agree_with_the_model() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match (number("PRESENCE_SEED"), number("PRESENCE_RUNS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, runs) => 0..runs.unwrap_or(400),
    };
    let many = seeds.end - seeds.start >= 100;
    let mut total = Counts::default();
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..400 {
                world.step();
            }
            world.finish();
            world.counts
        });
        let counts = run.unwrap_or_else(|panic| {
            eprintln!("PRESENCE_SEED={seed} shows it again");
            std::panic::resume_unwind(panic)
        });
        total.add(&counts);
    }
    if many {
        total.assert_corners_were_reached();
    }
}

impl Counts {
    fn all(&mut self) -> [&mut u64; 12] {
        let Counts { joins, leaves, again, refused, told, seen, late, stale, ended, abandoned, .. } = self;
        let Counts { occupied, counted, .. } = self;
        [joins, leaves, again, refused, told, seen, late, stale, ended, abandoned, occupied, counted]
    }

    fn add(&mut self, other: &Counts) {
        let mut other = Counts { ..*other };
        for (sum, one) in self.all().into_iter().zip(other.all()) {
            *sum += *one;
        }
    }

    /// A run in which something never happens proves nothing about it.
    fn assert_corners_were_reached(&mut self) {
        let few = self.all().into_iter().any(|n| *n < 500);
        assert!(!few, "too little of something: {self:?}");
    }
}
