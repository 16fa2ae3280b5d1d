//! What a channel is: commands in, effects out.

pub mod hook;
