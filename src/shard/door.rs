//! What a listener asks of every connection that comes in by it.

use crate::shard::tls::TlsDoor;
use std::sync::Arc;

/// One listener's demands. By the listener's number in [`super::Shard`]: a connection knows its own.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// TLS comes before everything else but a PROXY protocol header.
    pub tls: Option<Arc<TlsDoor>>,
    /// A PROXY protocol header comes before everything else.
    pub proxy_protocol: bool,
}
