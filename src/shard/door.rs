//! What a listener asks of every connection that comes in by it.

/// One listener's demands. By the listener's number in [`super::Shard`]: a connection knows its own.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// A PROXY protocol header comes before everything else.
    pub proxy_protocol: bool,
}
