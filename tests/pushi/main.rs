//! Pushi's sessions over real homes, without sockets: random sequences of everything against the model (see the oracle
//! of the fuzz target `pushi_session`).

#[allow(dead_code)]
#[path = "../../fuzz/oracles/pusher/mod.rs"]
mod pusher;
#[allow(dead_code)]
#[path = "../../fuzz/oracles/pushi/mod.rs"]
mod pushi;

mod findings;
mod grants;

use pushi::play::play;
use std::panic::catch_unwind;

/// SplitMix64: the same everywhere for the same seed.
fn bytes_of(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x14c8_5b1f_93ad_02e7;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let length = 20 + next() % 180;
    (0..length).map(|_| next() as u8).collect()
}

/// So many seeds are played.
const SEEDS: u64 = 1_000;

/// `PUSHI_SEED=n` plays that one only, `PUSHI_SEEDS=n` so many.
#[test]
fn sessions_do_what_the_model_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("PUSHI_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PUSHI_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(|| play(&bytes_of(seed))) {
            eprintln!("again with PUSHI_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
