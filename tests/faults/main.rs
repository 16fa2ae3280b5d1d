//! Faults of every kind against a real node: what happens to everybody else (nothing), what is logged and counted,
//! and that descriptors, memory and figures come back to where they were.

#[path = "../support/node.rs"]
#[allow(dead_code)] // each user of it needs another part
mod node;

mod backends;
mod clock;
mod disk;
mod frame;
mod greedy;
mod handshakes;
mod peers;
mod restart;
mod start;
mod storms;
mod system;
mod witness;
