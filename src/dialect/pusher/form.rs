//! Pusher's wire forms: WebSocket frames that all subscribers of a channel share.

use super::event::{self, Event};
use super::frame::Data;
use crate::channel::{Announcement, ChannelKey, Publication};
use crate::dialect::Form;
use crate::dialect::encode::{DIALECT_SHIFT, PUSHER};
use crate::wire::ws::frame::{self, Opcode};
use bytes::Bytes;

/// Who is subscribed: events, who comes and goes, how many there are.
pub const EVENTS: Form = Form(PUSHER << DIALECT_SHIFT);

/// What an event is called whose publisher gave it no name.
const DEFAULT_EVENT: &[u8] = b"message";

/// The frame of a publication.
pub fn encode(channel: &ChannelKey, publication: &Publication, scratch: &mut Vec<u8>) -> Bytes {
    let message = &publication.message;
    let origin = message.origin.as_deref();
    let data = match origin.is_some_and(|origin| origin.json) {
        true => Data::Json(&message.payload),
        false => Data::Text(&message.payload),
    };
    scratch.clear();
    event::event(
        scratch,
        &Event {
            event: message.event.as_deref().unwrap_or(DEFAULT_EVENT),
            channel: channel.name(),
            data: Some(data),
            user_id: origin.and_then(|origin| origin.user_id.as_deref()),
        },
    );
    text(scratch)
}

/// The frame that tells who has come or gone.
pub fn announced(channel: &ChannelKey, announcement: &Announcement, scratch: &mut Vec<u8>) -> Option<Bytes> {
    // Names of channels and users that got this far were text.
    let name = std::str::from_utf8(channel.name()).ok()?;
    let text_of = |bytes| std::str::from_utf8(bytes).ok();
    scratch.clear();
    match announcement {
        // Clients know nothing of the channels that the dialect keeps for itself.
        _ if name.starts_with('#') => return None,
        Announcement::Joined(change) => {
            let info = text_of(&change.user.info).filter(|info| !info.is_empty());
            event::member_added(scratch, name, text_of(&change.user.id)?, info);
        }
        Announcement::Left(change) => event::member_removed(scratch, name, text_of(&change.user.id)?),
        Announcement::Count(count) => event::subscription_count(scratch, name, u64::from(*count)),
        Announcement::Occupied | Announcement::Vacated => return None,
    }
    Some(text(scratch))
}

/// A text frame.
pub fn text(json: &[u8]) -> Bytes {
    frame::encode(Opcode::Text, false, &[json])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::presence::Change;
    use crate::channel::{KeyHasher, Message, Origin, Position, User};
    use std::sync::Arc;

    fn publication(message: Message) -> Publication {
        Publication {
            position: Position::ZERO,
            previous: Position::ZERO,
            message,
            published_ns: 0,
            expires_ms: 0,
            deflated: Default::default(),
            replay: Default::default(),
        }
    }

    fn key(name: &str) -> Arc<ChannelKey> {
        ChannelKey::new(&KeyHasher::new(1), 0, b"", name.as_bytes())
    }

    fn json(frame: &[u8]) -> &str {
        assert_eq!(frame[0], 0x81);
        std::str::from_utf8(&frame[2..]).unwrap()
    }

    #[test]
    fn publications_of_any_dialect_are_events() {
        let plain = Message { payload: "a \"b\"".into(), ..Message::default() };
        let frame = encode(&key("news"), &publication(plain.clone()), &mut Vec::new());
        assert_eq!(json(&frame), r#"{"event":"message","channel":"news","data":"a \"b\""}"#);
        let origin = Origin { json: true, user_id: Some("u".into()), fleeting: true, ..Origin::default() };
        let sent = Message {
            payload: r#"{"a":1}"#.into(),
            event: Some("client-a".into()),
            origin: Some(Box::new(origin)),
            ..plain
        };
        let frame = encode(&key("presence-a"), &publication(sent), &mut Vec::new());
        assert_eq!(
            json(&frame),
            r#"{"event":"client-a","channel":"presence-a","data":{"a":1},"user_id":"u"}"#
        );
    }

    #[test]
    fn members_are_told_of_each_other() {
        let user = Arc::new(User { id: "u".into(), info: r#"{"n":1}"#.into() });
        let change = Change { user, users: 1, list: None };
        let told = |announcement| announced(&key("presence-a"), &announcement, &mut Vec::new());
        let added = told(Announcement::Joined(change.clone())).unwrap();
        assert!(
            json(&added).contains("pusher_internal:member_added") && json(&added).contains(r#"{\"n\":1}"#)
        );
        let count = told(Announcement::Count(3)).unwrap();
        assert!(json(&count).contains(r#""data":"{\"subscription_count\":3}""#));
        assert!(announced(&key("#user-a"), &Announcement::Count(3), &mut Vec::new()).is_none());
        assert!(told(Announcement::Occupied).is_none());
        let removed = told(Announcement::Left(change)).unwrap();
        assert!(json(&removed).contains(r#""data":"{\"user_id\":\"u\"}""#));
    }
}
