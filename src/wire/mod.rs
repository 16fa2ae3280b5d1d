//! Bytes to values and back: no I/O, no clock, no randomness.

pub mod http;
pub mod json;
pub mod multipart;
pub mod network;
pub mod proxy;
pub mod sign;
pub mod sse;
pub mod ws;
