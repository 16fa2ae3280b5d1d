//! Pushi's wire forms: WebSocket frames that all subscribers of a channel share, and stored events as they are told.

use super::event::{self, Envelope, Stored};
use super::frame::is_true;
use super::stamp::{Kept, Stamp};
use crate::channel::{Announcement, ChannelKey, Position, Publication};
use crate::dialect::Form;
use crate::dialect::encode::{DIALECT_SHIFT, PUSHI};
use crate::wire::json::Reader;
use crate::wire::ws::frame::{self, Opcode};
use bytes::Bytes;

/// Who is subscribed: events.
pub const EVENTS: Form = Form(PUSHI << DIALECT_SHIFT);
/// Members of a presence channel: events, and who comes and goes.
pub const MEMBERS: Form = Form(EVENTS.0 + 1);
/// Those who have said that they did not get it by another channel.
pub const ONCE: Form = Form(EVENTS.0 + 2);

/// What an event is called whose publisher gave it no name.
const DEFAULT_EVENT: &[u8] = b"message";

/// The frame of a publication. Empty for one that was published in another channel before: the session knows whether
/// the client has it already, and asks for [`ONCE`] if not (trap 19).
pub fn encode(form: Form, channel: &ChannelKey, publication: &Publication, scratch: &mut Vec<u8>) -> Bytes {
    if form != ONCE && publication.message.was_elsewhere() {
        return Bytes::new();
    }
    let (stamp, kept) = stamp(channel, publication);
    scratch.clear();
    event::envelope(scratch, &envelope(channel, publication, &stamp), kept);
    text(scratch)
}

/// The stamp of a publication, and its id and time where it has some. What other dialects publish has them, too: they
/// follow from its place.
fn stamp<'a>(channel: &'a ChannelKey, publication: &'a Publication) -> (Stamp<'a>, Option<Kept>) {
    match publication.message.note().and_then(|note| Stamp::decode(note)) {
        Some(stamp) => (stamp, stamp.kept),
        None => {
            let name = std::str::from_utf8(channel.name()).unwrap_or_default();
            let kept = Kept::of_foreign(publication.position, name);
            (Stamp { kept: None, owner: None, channel: name, extra: "" }, Some(kept))
        }
    }
}

fn envelope<'a>(channel: &'a ChannelKey, publication: &'a Publication, stamp: &Stamp<'a>) -> Envelope<'a> {
    // A name that is no text is replaced by what JSON can say of it.
    let name = if stamp.channel.is_empty() { channel.name() } else { stamp.channel.as_bytes() };
    Envelope {
        channel: name,
        event: publication.message.event.as_deref().unwrap_or(DEFAULT_EVENT),
        data: &publication.message.payload,
        extra: stamp.extra,
    }
}

/// Writes a publication as stored event of app `instance`.
pub fn stored(
    out: &mut Vec<u8>,
    channel: &ChannelKey,
    publication: &Publication,
    instance: &str,
    with_id: bool,
) {
    let (stamp, kept) = stamp(channel, publication);
    let event = Stored {
        id: id_of(publication.position),
        instance,
        kept: kept.unwrap_or_else(|| Kept::of_foreign(publication.position, stamp.channel)),
        owner: stamp.owner,
        envelope: envelope(channel, publication, &stamp),
    };
    event::stored(out, &event, with_id);
}

/// Grows with the position, and is a whole number also to JavaScript: a million events of a channel in one second
/// until the year 2106.
fn id_of(position: Position) -> u64 {
    const TAG_BITS: u32 = 20;
    position.time << TAG_BITS | u64::from(position.tag) & ((1 << TAG_BITS) - 1)
}

/// The frame that tells members who has come or gone.
pub fn announced(
    form: Form,
    channel: &ChannelKey,
    announcement: &Announcement,
    scratch: &mut Vec<u8>,
) -> Option<Bytes> {
    if form != MEMBERS {
        return None;
    }
    let (change, is_added) = match announcement {
        Announcement::Joined(change) => (change, true),
        Announcement::Left(change) => (change, false),
        Announcement::Occupied | Announcement::Vacated | Announcement::Count(_) => return None,
    };
    scratch.clear();
    event::member_changed(scratch, channel.name(), is_added, &change.user.id, &change.user.info);
    Some(text(scratch))
}

/// Whether sessions have to know of it: somebody who wants channels with each of the others has come or gone.
pub fn is_about_peers(announcement: &Announcement) -> bool {
    match announcement {
        Announcement::Joined(change) | Announcement::Left(change) => wants_peers(&change.user.info),
        Announcement::Occupied | Announcement::Vacated | Announcement::Count(_) => false,
    }
}

/// Whether a member with this `channel_data` wants channels with each of the others.
pub fn wants_peers(channel_data: &[u8]) -> bool {
    memchr::memmem::find(channel_data, b"peer").is_some()
        && Reader::default()
            .read_bytes(channel_data)
            .is_ok_and(|document| document.root().get("peer").is_some_and(is_true))
}

/// A text frame.
pub fn text(json: &[u8]) -> Bytes {
    frame::encode(Opcode::Text, false, &[json])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::presence::Change;
    use crate::channel::{KeyHasher, Message, Origin, User};
    use std::sync::Arc;

    fn published(message: Message) -> Publication {
        Publication {
            position: Position { time: 1_795_257_384, tag: 3 },
            previous: Position::ZERO,
            message,
            published_ns: 0,
            expires_ms: u64::MAX,
            deflated: Default::default(),
            replay: Default::default(),
        }
    }

    fn key(name: &[u8]) -> Arc<ChannelKey> {
        ChannelKey::new(&KeyHasher::new(1), 0, b"", name)
    }

    fn json(frame: &[u8]) -> serde_json::Value {
        assert_eq!(frame[0], 0x81);
        let head = if frame[1] < 126 { 2 } else { 4 };
        serde_json::from_slice(&frame[head..]).unwrap()
    }

    fn noted(stamp: &Stamp<'_>, earlier: Vec<(Arc<ChannelKey>, Position)>) -> Publication {
        let origin = Origin { note: Some(stamp.encode().into()), earlier, ..Origin::default() };
        let message = Message {
            payload: "hi".into(),
            event: Some("evt".into()),
            origin: Some(Box::new(origin)),
            ..Message::default()
        };
        published(message)
    }

    #[test]
    fn live_and_stored_are_the_same_event() {
        let kept = Kept::new([1, 2], 1_795_257_384_500);
        let stamp = Stamp { kept: Some(kept), owner: None, channel: "news", extra: ",\"x\":1" };
        let publication = noted(&stamp, vec![]);
        let live = json(&encode(EVENTS, &key(b"news"), &publication, &mut Vec::new()));
        let mut out = Vec::new();
        // Also where it is filed under another name.
        stored(&mut out, &key(b"personal-u"), &publication, "app", true);
        let kept: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&live["mid"], &live["timestamp"]), (&kept["mid"], &kept["timestamp"]));
        for field in ["event", "channel", "data", "x"] {
            assert_eq!(live[field], kept["data"][field], "{field}");
        }
        assert_eq!((&kept["channel"], &kept["data"]["channel"]), (&"news".into(), &"news".into()));
        assert!(kept["id"].as_u64().unwrap() < 1 << 53);
    }

    #[test]
    fn what_is_not_kept_has_no_id_and_what_others_publish_has_one() {
        let stamp = Stamp { channel: "c", ..Stamp::default() };
        let frame = json(&encode(EVENTS, &key(b"c"), &noted(&stamp, vec![]), &mut Vec::new()));
        assert!(frame.get("mid").is_none() && frame.get("timestamp").is_none());
        let foreign = published(Message { payload: "plain \"text\"".into(), ..Message::default() });
        let frame = json(&encode(MEMBERS, &key(b"c"), &foreign, &mut Vec::new()));
        assert_eq!((&frame["event"], &frame["data"]), (&"message".into(), &"plain \"text\"".into()));
        assert_eq!(frame["timestamp"], 1_795_257_384.0);
        let mut out = Vec::new();
        stored(&mut out, &key(b"c"), &foreign, "app", false);
        let kept: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(kept["mid"], frame["mid"]);
    }

    #[test]
    fn trap_19_what_was_elsewhere_is_left_to_sessions() {
        let stamp = Stamp { channel: "b", ..Stamp::default() };
        let publication = noted(&stamp, vec![(key(b"a"), Position::ZERO)]);
        for form in [EVENTS, MEMBERS] {
            assert!(encode(form, &key(b"b"), &publication, &mut Vec::new()).is_empty());
            assert!(crate::dialect::encode::is_by_session(form, &publication));
        }
        assert!(!encode(ONCE, &key(b"b"), &publication, &mut Vec::new()).is_empty());
        assert!(!crate::dialect::encode::is_by_session(EVENTS, &noted(&stamp, vec![])));
        assert!(!crate::dialect::encode::is_by_session(Form(0), &publication), "the relay's");
    }

    #[test]
    fn only_members_are_told_of_each_other() {
        let told = |form, info: &'static str| {
            let user = Arc::new(User { id: "u".into(), info: info.into() });
            let announcement = Announcement::Joined(Change { user, users: 1, list: None });
            let about_peers = crate::dialect::encode::is_told_too(form, &announcement);
            (announced(form, &key(b"presence-a"), &announcement, &mut Vec::new()), about_peers)
        };
        assert_eq!(told(EVENTS, "{}"), (None, false));
        let (frame, about_peers) = told(MEMBERS, r#"{"user_id":"u","peer":true}"#);
        assert_eq!(json(&frame.unwrap())["member"], r#"{"user_id":"u","peer":true}"#);
        assert!(about_peers);
        for info in
            [r#"{"user_id":"peer"}"#, r#"{"user_id":"u","peer":false}"#, r#"{"a":{"peer":1}}"#, "peer"]
        {
            assert!(!told(MEMBERS, info).1, "{info}");
        }
    }
}
