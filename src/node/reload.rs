//! What a running node reads again on SIGHUP. Nobody is disconnected by it; what cannot be read stays as it was.

use super::boot::Node;
use super::config::Config;
use tracing::info;

/// Reads again what can be, and logs what that was.
pub(super) fn reload(node: &Node, config: &Config) {
    info!("reloading");
    node.tls.reload();
    node.registry.reload_grants(config);
}
