//! fanwire: a push node. Bytes come in over HTTP once and go out on every subscriber's wire.

pub mod channel;
pub mod cli;
pub mod dialect;
pub mod limits;
pub mod node;
pub mod service;
pub mod shard;
pub mod wire;
