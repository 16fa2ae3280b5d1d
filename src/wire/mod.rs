//! Bytes to values and back: no I/O, no clock, no randomness.

pub mod claims;
pub mod http;
pub mod json;
pub mod jwt;
pub mod multipart;
pub mod network;
pub mod pattern;
pub mod proxy;
pub mod sign;
pub mod sse;
pub mod token;
pub mod ws;
pub mod x509;
