//! One message in one channel.

use crate::channel::members::Form;
use crate::channel::{ChannelKey, Position, SessionId};
use crate::limits::REPLAY_FORMS;
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

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
    /// Where it comes from; none for a plain message of a back end.
    pub origin: Option<Box<Origin>>,
}

/// What is known of a message beside what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The session that does not get it.
    pub except: Option<SessionId>,
    /// The user who sent it, as the node knows it.
    pub user_id: Option<Bytes>,
    /// The payload is one JSON document and no text: wires that put it into JSON do so as it is.
    pub json: bool,
    /// For those who are there, and never stored.
    pub fleeting: bool,
    /// What the sender's dialect has to say of it, in bytes that only that dialect reads.
    pub note: Option<Bytes>,
    /// Where the same was published before, when it goes to several channels one after the other: for wires that give a
    /// client with several of them only the first (pushi.md section 5.4).
    pub earlier: Vec<(Arc<ChannelKey>, Position)>,
}

impl Message {
    /// The session that does not get it.
    pub fn except(&self) -> Option<SessionId> {
        self.origin.as_ref()?.except
    }

    /// Whether it was published in another channel before ([`Origin::earlier`]).
    pub fn was_elsewhere(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| !origin.earlier.is_empty())
    }

    /// What the sender's dialect has to say of it.
    pub fn note(&self) -> Option<&Bytes> {
        self.origin.as_ref()?.note.as_ref()
    }

    /// Whether it is never stored.
    pub fn is_fleeting(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.fleeting)
    }
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
    /// Whole frames for those who come late.
    pub replay: ReplayFrames,
}

/// Frames of a stored publication, made by the first who replays it and shared by all shards, so that a storm of
/// returning clients costs neither encoding nor memory per client. Live deliveries do not use it: their frames are
/// counted by one shard only, which is cheaper.
#[derive(Debug, Default)]
pub struct ReplayFrames(OnceLock<Box<Places>>);

type Places = [OnceLock<(Form, Bytes)>; REPLAY_FORMS];

impl ReplayFrames {
    /// The frame in `form`, if it was made.
    pub fn get(&self, form: Form) -> Option<Bytes> {
        let made = self.0.get()?.iter().map_while(OnceLock::get);
        made.filter(|(f, _)| *f == form).map(|(_, frame)| frame.clone()).next()
    }

    /// Keeps the frame in `form`, if there is room for another one.
    pub fn put(&self, form: Form, frame: &Bytes) {
        // A place that another shard has just taken is passed over.
        let places = self.0.get_or_init(Default::default);
        let _ = places.iter().any(|place| place.set((form, frame.clone())).is_ok());
    }
}

impl Publication {
    /// A publication with these `(published_ns, expires_ms)`.
    #[inline]
    pub fn new(
        position: Position,
        previous: Position,
        message: Message,
        (published_ns, expires_ms): (u64, u64),
    ) -> Publication {
        let (deflated, replay) = (OnceLock::new(), ReplayFrames::default());
        Publication { position, previous, message, published_ns, expires_ms, deflated, replay }
    }

    /// Memory charged to the history for it, bytes.
    pub fn cost_bytes(&self) -> usize {
        Publication::cost_bytes_of(&self.message)
    }

    /// Memory that will be charged for a publication of `message`, bytes.
    pub fn cost_bytes_of(message: &Message) -> usize {
        let optional = |b: &Option<Bytes>| b.as_ref().map_or(0, Bytes::len);
        // Twice the payload: itself and one frame to replay, as one wire is the rule.
        size_of::<Publication>()
            + 2 * message.payload.len()
            + optional(&message.content_type)
            + optional(&message.event)
            + message.origin.as_ref().map_or(0, |origin| {
                size_of::<Origin>()
                    + optional(&origin.user_id)
                    + optional(&origin.note)
                    + size_of_val(&*origin.earlier)
            })
    }
}
