//! One message in one channel.

use crate::channel::Position;
use bytes::Bytes;
use std::sync::OnceLock;

/// What a publisher hands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The body, forwarded byte for byte.
    pub payload: Bytes,
    /// The publisher's content type, byte for byte; none if it named none.
    pub content_type: Option<Bytes>,
    /// Event name, for the wires that have one.
    pub event: Option<Bytes>,
    /// WebSockets that negotiated permessage-deflate get it compressed.
    pub deflate: bool,
}

/// A message with its place in its channel. Shared by reference by everybody who sends or stores it.
#[derive(Debug)]
pub struct Publication {
    /// Its place.
    pub position: Position,
    /// The place of the publication before it, [`Position::ZERO`] when there was none.
    pub previous: Position,
    /// What was published.
    pub message: Message,
    /// When, monotonic nanoseconds.
    pub published_ns: u64,
    /// When it leaves the history, monotonic milliseconds; `u64::MAX` = never.
    pub expires_ms: u64,
    /// The payload as raw deflate data, made by the first shard that needs it and shared by all.
    pub deflated: OnceLock<Bytes>,
}

impl Publication {
    /// Memory charged to the history for it, bytes.
    pub fn cost_bytes(&self) -> usize {
        let optional = |b: &Option<Bytes>| b.as_ref().map_or(0, Bytes::len);
        size_of::<Publication>()
            + self.message.payload.len()
            + optional(&self.message.content_type)
            + optional(&self.message.event)
    }
}
