//! Bytes to values and back: no I/O, no clock, no randomness.

pub mod http;
pub mod ws;
