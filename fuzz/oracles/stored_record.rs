//! Records of the durable store: whatever is on disk is read without a panic, and what is read is written again as the
//! same bytes, so that no two messages share a record.

use bytes::Bytes;
use fanwire::channel::Message;
use fanwire::channel::publication::Origin;
use fanwire::channel::record::{decode, encode};

use super::input::Input;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let record = Bytes::copy_from_slice(input.body);
    if let Ok(stored) = decode(&record) {
        assert_eq!(encode(&stored.message, stored.expires_unix_ms), record);
    }
    let parts = input.cut(input.body);
    let part = |at: usize| parts.get(at).map(|part| Bytes::copy_from_slice(part));
    let field = |flag: u32, at: usize| part(at).filter(|_| input.flag(flag));
    let (user_id, note, json) = (field(0, 1), field(1, 2), input.flag(2));
    let origin = user_id.is_some() || note.is_some() || json;
    let message = Message {
        payload: part(0).unwrap_or_default(),
        content_type: field(3, 3),
        event: field(4, 4),
        deflate: input.flag(5),
        origin: origin.then(|| Box::new(Origin { user_id, note, json, ..Origin::default() })),
    };
    let expires_ms = input.pick(0, &[0, 1, u64::MAX, 1_795_257_022_000]);
    let record = encode(&message, expires_ms);
    let stored = decode(&record).expect("own records are readable");
    assert_eq!((&stored.message, stored.expires_unix_ms), (&message, expires_ms));
    // One that is cut off loses its end, or is refused; it never is another message.
    for end in 0..record.len().min(200) {
        if let Ok(stored) = decode(&record.slice(..end)) {
            let Message { payload, .. } = &stored.message;
            assert!(message.payload.starts_with(payload));
            assert_eq!(stored.message, Message { payload: payload.clone(), ..message.clone() });
        }
    }
}
