//! The calls to back ends: whom they trust, and where their answers go.

use super::config::Config;
use crate::channel::Token;
use crate::channel::hook::HookToken;
use crate::service::hooks::{Hooks, HooksConfig, Trust};
use crate::shard::mailbox::{Address, Mail};
use std::sync::Arc;

/// Who vouches for back ends that are called over TLS.
pub(super) fn trust(config: &Config) -> Result<Arc<Trust>, String> {
    let Some(path) = &config.hooks.ca else { return Ok(Arc::default()) };
    let trust = std::fs::read(path).map_err(|e| e.to_string()).and_then(|pem| Trust::with(&pem));
    trust.map(Arc::new).map_err(|e| format!("cannot take the authorities in {path} (`ca` in [hooks]): {e}"))
}

/// Starts the service; answers come to the shards as mail.
pub(super) fn start(config: &Config, trust: Arc<Trust>, addresses: Vec<Address>) -> Result<Hooks, String> {
    let deliver = Arc::new(move |token: HookToken, answer| {
        let HookToken { shard, slot, generation, tag } = token;
        if let Some(address) = addresses.get(shard as usize) {
            let token = Token { slot, generation, tag };
            address.send(Mail::Hook { token, answer: Box::new(answer) });
        }
    });
    Hooks::start(HooksConfig { limits: config.hooks.limits(), trust }, deliver)
        .map_err(|e| format!("cannot start the hook service: {e}"))
}
