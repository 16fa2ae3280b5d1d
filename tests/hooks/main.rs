//! The hook service against a small real HTTP server.

mod queue;
mod support;
mod trouble;
mod wire;
