//! Pusher's sessions over real homes, without sockets: one property per file.

#[allow(dead_code)]
#[path = "../../fuzz/oracles/pusher/mod.rs"]
mod pusher;

mod cache;
mod client_events;
mod grants;
mod handshake;
mod http_api;
mod liveness;
mod model;
mod presence;
mod signin;
mod subscriptions;

use fanwire::dialect::app::AppSettings;
use pusher::world::World;
use serde_json::{Value, json};

/// The app of these tests.
pub fn settings() -> AppSettings {
    AppSettings { client_events: true, ..AppSettings::new("4242", "app-key-demo", "app-secret-demo") }
}

/// A node with one app.
pub fn node(shards: usize) -> World {
    World::new(shards, vec![settings()])
}

/// The names of the events in some frames.
pub fn events(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["event"].as_str().unwrap()).collect()
}

/// A back end publishes, and everything is delivered.
pub fn trigger(world: &mut World, channel: &str, data: &str) {
    let body = json!({"name": "e", "channel": channel, "data": data}).to_string();
    assert_eq!(world.api(0, "POST", "/apps/4242/events", &body), (200, "{}".into()));
}

/// Tells that a subscription stands.
pub const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";
