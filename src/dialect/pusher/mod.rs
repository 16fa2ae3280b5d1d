//! Pusher Channels, protocol 7 (pusher.md): what is on its wires, both ways, and what its signatures allow.
//!
//! [`handshake`] reads a client's first request; [`codes`] and [`name`] hold what the protocol calls things.

pub mod codes;
pub mod handshake;
pub mod name;
