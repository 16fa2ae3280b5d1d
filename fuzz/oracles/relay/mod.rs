//! What the oracle of the relay's sessions is made of. The node without sockets is that of [`super::pusher`].

pub mod play;
pub mod reader;

use fanwire::channel::KeyHasher;
use fanwire::dialect::relay::Relay;
use fanwire::dialect::relay::settings::{LocationSettings, RelaySettings};

/// A relay with these locations.
pub fn relay(locations: Vec<LocationSettings>) -> Relay {
    let relay = RelaySettings { locations };
    let relay = Relay::new(&relay, &[("127.0.0.1:80", true)], &[], KeyHasher::new(3), &[0; 24]);
    relay.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}
