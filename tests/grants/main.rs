//! Grants of a real node of three shards: every way in for WebSocket, event stream, long poll and publish; what lets in
//! ends, and is taken back.

#[allow(dead_code)]
#[path = "../support/node.rs"]
mod node;
mod support;

mod live;
mod revoke;
mod ways;
