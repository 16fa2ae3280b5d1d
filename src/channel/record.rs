//! A publication as a log keeps it. The log knows its position; everything else is in the record.
//!
//! Version 1: the version (1 byte), flags (1), when it expires (8, Unix milliseconds, little endian, 0 = never), then
//! fields: a tag (1), a length (4, little endian) and so many bytes; the payload comes last, with the tag 0 and no
//! length. Each tag at most once, in ascending order but for the payload. The session that is not to get a message is
//! not written: no session outlives the node.

use crate::channel::Message;
use crate::channel::publication::Origin;
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 10;
const DEFLATE: u8 = 1;
const JSON: u8 = 2;
const PAYLOAD: u8 = 0;
const CONTENT_TYPE: u8 = 1;
const EVENT: u8 = 2;
const USER_ID: u8 = 3;
const NOTE: u8 = 4;

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecord {
    /// It ends before it is complete.
    Truncated,
    /// One of a later version of the program: this number, or with a flag or field that this version does not know.
    Unknown(u8),
    /// A field twice, or out of order.
    Order,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRecord::Truncated => f.write_str("a record that ends too early"),
            BadRecord::Unknown(what) => write!(f, "a record with {what}, which this version does not know"),
            BadRecord::Order => f.write_str("a record whose fields are out of order"),
        }
    }
}

impl std::error::Error for BadRecord {}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message. Its parts share the record's memory.
    pub message: Message,
    /// When it expires, Unix milliseconds; 0 = never.
    pub expires_unix_ms: u64,
}

/// The record of `message`.
pub fn encode(message: &Message, expires_unix_ms: u64) -> Bytes {
    let origin = message.origin.as_deref();
    let user_id = origin.and_then(|origin| origin.user_id.as_ref());
    let fields = [
        (CONTENT_TYPE, message.content_type.as_ref()),
        (EVENT, message.event.as_ref()),
        (USER_ID, user_id),
        (NOTE, message.note()),
    ];
    let json = origin.is_some_and(|origin| origin.json);
    let said: usize = fields.iter().filter_map(|(_, field)| *field).map(|field| 5 + field.len()).sum();
    let mut out = BytesMut::with_capacity(HEAD_BYTES + said + 1 + message.payload.len());
    out.put_u8(VERSION);
    out.put_u8(if message.deflate { DEFLATE } else { 0 } | if json { JSON } else { 0 });
    out.put_u64_le(expires_unix_ms);
    for (tag, field) in fields {
        if let Some(field) = field {
            out.put_u8(tag);
            // Heads are far shorter than 4 GiB.
            out.put_u32_le(field.len() as u32);
            out.put_slice(field);
        }
    }
    out.put_u8(PAYLOAD);
    out.put_slice(&message.payload);
    out.freeze()
}

/// Reads what [`encode`] made.
///
/// # Errors
/// [`BadRecord`] for anything else.
pub fn decode(record: &Bytes) -> Result<Stored, BadRecord> {
    let (head, _) = record.split_first_chunk::<HEAD_BYTES>().ok_or(BadRecord::Truncated)?;
    let [version, flags, expires @ ..] = head;
    if *version != VERSION {
        return Err(BadRecord::Unknown(*version));
    }
    if flags & !(DEFLATE | JSON) != 0 {
        return Err(BadRecord::Unknown(*flags));
    }
    let mut stored = Stored {
        message: Message { deflate: flags & DEFLATE != 0, ..Message::default() },
        expires_unix_ms: u64::from_le_bytes(*expires),
    };
    if flags & JSON != 0 {
        stored.message.origin = Some(Box::new(Origin { json: true, ..Origin::default() }));
    }
    let (mut at, mut last) = (HEAD_BYTES, PAYLOAD);
    loop {
        let (tag, rest) = record[at..].split_first().ok_or(BadRecord::Truncated)?;
        if *tag == PAYLOAD {
            stored.message.payload = record.slice(at + 1..);
            return Ok(stored);
        }
        if *tag <= last {
            return Err(BadRecord::Order);
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(BadRecord::Truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() {
            return Err(BadRecord::Truncated);
        }
        let field = Some(record.slice(at + 5..at + 5 + length));
        match *tag {
            CONTENT_TYPE => stored.message.content_type = field,
            EVENT => stored.message.event = field,
            USER_ID => stored.message.origin.get_or_insert_default().user_id = field,
            NOTE => stored.message.origin.get_or_insert_default().note = field,
            other => return Err(BadRecord::Unknown(other)),
        }
        (at, last) = (at + 5 + length, *tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn message() -> impl Strategy<Value = Message> {
        let optional = || prop::option::of(bytes());
        (bytes(), optional(), optional(), optional(), optional(), any::<[bool; 2]>()).prop_map(
            |(payload, content_type, event, user_id, note, [deflate, json])| {
                let origin = (user_id.is_some() || note.is_some() || json)
                    .then(|| Box::new(Origin { user_id, note, json, ..Origin::default() }));
                Message { payload, content_type, event, deflate, origin }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in message(), expires_unix_ms: u64) {
            let record = encode(&message, expires_unix_ms);
            prop_assert_eq!(decode(&record), Ok(Stored { message, expires_unix_ms }));
        }

        #[test]
        fn garbage_is_an_error_and_no_panic(garbage in prop::collection::vec(0u8..4, 0..60)) {
            let mut record = vec![VERSION];
            record.extend(garbage);
            if let Ok(stored) = decode(&record.clone().into()) {
                prop_assert_eq!(encode(&stored.message, stored.expires_unix_ms), record);
            }
        }
    }

    #[test]
    fn a_record_without_its_payload_is_truncated_wherever_it_ends() {
        let message = Message {
            event: Some(Bytes::from_static(b"event")),
            content_type: Some(Bytes::from_static(b"text/plain")),
            ..Message::default()
        };
        let record = encode(&message, 7);
        for end in 0..record.len() {
            assert_eq!(decode(&record.slice(..end)), Err(BadRecord::Truncated), "{end}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut record = encode(&Message::default(), 0).to_vec();
            record[at] = byte;
            decode(&record.into())
        };
        assert_eq!(with(0, 2), Err(BadRecord::Unknown(2)));
        assert_eq!(with(1, 4), Err(BadRecord::Unknown(4)));
        let field = |tags: &[u8]| {
            let mut record = encode(&Message::default(), 0)[..HEAD_BYTES].to_vec();
            tags.iter().for_each(|tag| record.extend([*tag, 0, 0, 0, 0]));
            record.push(PAYLOAD);
            decode(&record.into())
        };
        assert_eq!(field(&[200]), Err(BadRecord::Unknown(200)));
        assert_eq!(field(&[2, 1]), Err(BadRecord::Order));
        assert_eq!(field(&[1, 1]), Err(BadRecord::Order));
        assert!(field(&[1, 2]).is_ok());
    }
}
