//! The relay against a real channel home, one exchange per connection, without a shard.

mod exchanges;
mod harness;
mod hooks;
mod many;
mod polls;
mod positions;
mod publishing;
mod streams;
