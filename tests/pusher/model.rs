//! Random sequences of everything against the model (see the oracle of the fuzz target `pusher_session`).

use crate::pusher::play::play;
use std::panic::catch_unwind;

/// SplitMix64: the same everywhere for the same seed.
fn bytes_of(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let length = 20 + next() % 100;
    (0..length).map(|_| next() as u8).collect()
}

/// So many seeds are played, half of them by each test.
const SEEDS: u64 = 10_000;

/// `PUSHER_SEED=n` plays that one only, `PUSHER_SEEDS=n` so many.
fn play_half(half: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("PUSHER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PUSHER_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds.filter(|seed| seed % 2 == half) {
        if let Err(panic) = catch_unwind(|| play(&bytes_of(seed))) {
            eprintln!("again with PUSHER_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn sessions_do_what_the_model_says() {
    play_half(0);
}

#[test]
fn other_sessions_do_what_the_model_says() {
    play_half(1);
}
