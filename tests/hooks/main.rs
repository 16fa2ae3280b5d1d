//! The hook service against a small real HTTP server.

mod queue;
mod support;
mod tls;
mod trouble;
mod wire;
