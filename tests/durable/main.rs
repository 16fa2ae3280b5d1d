//! Durable channels of one home over many lives of the node, with a store that chance lets work, fill up, refuse and
//! fail, and crashes at any moment. From a seed: what fails is repeated with `FANWIRE_SEED=n`.

mod cases;
mod disk;
#[path = "../simulation/rng.rs"]
#[allow(dead_code)]
mod rng;
mod world;

use rng::Rng;
use world::World;

const SEEDS: u64 = 2_000;
const STEPS: usize = 400;

fn run(seed: u64) -> World {
    let mut world = World::new(Rng::new(seed));
    for _ in 0..STEPS {
        world.step();
    }
    world.wind_down();
    world
}

#[test]
fn what_is_acknowledged_survives_in_order_and_nothing_else_was_seen() {
    let mut counts = [0; 8];
    if let Ok(seed) = std::env::var("FANWIRE_SEED") {
        run(seed.parse().unwrap());
        return;
    }
    for seed in 1..=SEEDS {
        let done = std::panic::catch_unwind(|| run(seed).counts);
        let done = done.unwrap_or_else(|_| panic!("FANWIRE_SEED={seed}"));
        counts.iter_mut().zip(done).for_each(|(all, one)| *all += one);
    }
    println!("{counts:?}");
    assert!(counts.iter().all(|&count| count > 100), "a corner was not reached: {counts:?}");
}
