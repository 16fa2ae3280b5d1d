//! Threads beside the shards for what blocks. A shard hands work over and never waits.

pub mod hooks;
pub mod store;
pub mod webhooks;
