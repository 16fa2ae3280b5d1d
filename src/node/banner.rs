//! What a freshly started node says: where it is, and three lines to copy.

use super::config::{Config, DEVELOPMENT_ID, DEVELOPMENT_KEY, DEVELOPMENT_SECRET};
use crate::shard::listen::Place;
use std::fmt::Write;

/// The text; in development mode with lines to copy.
pub fn text(config: &Config, places: &[Place], driver: &str) -> String {
    let mut out = String::new();
    let shards = config.shards;
    let plural = if shards == 1 { "" } else { "s" };
    let _ = writeln!(out, "fanwire {} | {shards} shard{plural} on {driver}", env!("CARGO_PKG_VERSION"));
    let listens = config.listen.iter().chain(&config.internal_listen);
    for (place, listen) in places.iter().zip(listens) {
        let scheme = if listen.door.tls { "https" } else { "http" };
        let _ = match place {
            Place::Ip(address) => writeln!(out, "  listening on {scheme}://{address}"),
            Place::Unix(path) => writeln!(out, "  listening on unix:{}", path.display()),
        };
    }
    let _ = match &config.store.data {
        Some(data) => writeln!(out, "  store in {data}"),
        None => writeln!(out, "  store in memory: nothing survives this process (--data DIR keeps it)"),
    };
    let first = places.iter().zip(&config.listen).find_map(|(place, listen)| match place {
        Place::Ip(address) if !listen.door.tls => Some(address.to_string()),
        _ => None,
    });
    if let (true, Some(address)) = (config.development, first) {
        let _ = write!(
            out,
            "\n  live page   http://{address}/\n  subscribe   curl -N -H 'Accept: text/event-stream' http://{address}/sub/news\n  \
             publish     curl -d 'hello' http://{address}/pub/news\n  \
             pusher      app {DEVELOPMENT_ID}, key {DEVELOPMENT_KEY}, secret {DEVELOPMENT_SECRET} (Pushi: the same)\n  \
             load-test   cargo run --release -p fanwire-bench\n\n  \
             Development mode: loopback only, well-known keys. `fanwire check --config FILE` checks a configuration\n  \
             for production; `fanwire doctor` checks this machine.\n"
        );
    }
    out
}
