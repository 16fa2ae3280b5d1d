//! The conversations.

mod echo;
mod flood;
mod polls;
pub mod pusher;
mod pushi;
mod relay;
mod requests;

use crate::stage::Stage;

/// Plays what the seed says.
pub fn play(stage: &mut Stage<'_>) {
    match stage.rng.below(100) {
        0..34 => requests::play(stage),
        34..52 => echo::play(stage),
        52..66 => relay::play(stage),
        66..74 => polls::play(stage),
        74..87 => pusher::play(stage),
        87..97 => pushi::play(stage),
        _ => flood::play(stage),
    }
}
