//! From the addresses of the configuration to what a shard knows of its listeners.

use super::config::Config;
use super::tls::Tls;
use crate::limits::TURNED_AWAY;
use crate::shard::addresses::Addresses;
use crate::shard::door::{Door, DoorRules};
use crate::shard::rate::ConnectRate;
use crate::wire::network::TrustedPeers;
use std::sync::Arc;

/// What each listener asks of its connections, by its number.
pub fn doors(config: &Config, tls: &Tls) -> Arc<[Door]> {
    let all = config.listen.iter().chain(&config.internal_listen);
    all.map(|listen| Door {
        tls: listen.door.tls.then(|| tls.door(listen.door.client_certificates)).flatten(),
        proxy_protocol: listen.door.proxy_protocol,
    })
    .collect()
}

/// What all doors have in common.
pub fn door_rules(config: &Config, seed: u64) -> DoorRules {
    let limits = &config.limits;
    DoorRules {
        trusted: config.trusted_proxies.clone().unwrap_or_else(TrustedPeers::local),
        forwarded: config.trusted_proxies.as_ref().map(|_| config.forwarded_header),
        addresses: Addresses::default(),
        rate: ConnectRate::new(
            limits.connects_per_s_per_address as u32,
            limits.connects_burst_per_address as u32,
            seed,
        ),
        turned_away: TURNED_AWAY.div_ceil(config.shards),
    }
}
