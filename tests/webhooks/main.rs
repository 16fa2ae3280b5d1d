//! Web hooks: the service against small real HTTP servers that take, refuse, hang and vanish; and a whole node that
//! publishes meanwhile.

mod bench;
mod delivery;
mod node;
#[allow(dead_code, reason = "the other half is for the hook service's own tests")]
#[path = "../hooks/support.rs"]
mod support;
mod trouble;
