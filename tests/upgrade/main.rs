//! Real processes of the node: one hands over to the next, a service manager starts and watches them, a shard stands
//! still.

mod faults;
mod handover;
mod manager;
#[allow(dead_code)]
#[path = "../support/node.rs"]
mod node;
mod support;
