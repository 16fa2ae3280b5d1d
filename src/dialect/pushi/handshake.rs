//! The request that opens a client's WebSocket, and the name it gets (pushi.md sections 1 and 2).

use crate::limits::PUSHI_KEY_CHARS;
use std::fmt;

/// What a client's path says of its app: all that stands behind the last slash of the target as it was sent, a query
/// included. Clients put base URL and key together without looking, so that anything may stand before it.
pub fn app_key(target: &str) -> &str {
    target.rsplit_once('/').map_or(target, |(_, key)| key)
}

/// Whether a text could be the key of some app. Of such a one nobody says that it is unknown before the first
/// subscription (trap 15); any other is closed at once.
pub fn is_like_key(key: &str) -> bool {
    key.chars().count() == PUSHI_KEY_CHARS
}

/// The name of a connection: a UUIDv4 to everybody else, opaque to clients. In it is the number by which the node
/// finds the connection again; all other bits are random.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub [u8; 16]);

impl SocketId {
    /// The name of connection `number`; `random` is for this name alone.
    pub fn new(number: u64, random: u64) -> SocketId {
        let (number, random) = (number.to_be_bytes(), random.to_be_bytes());
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&number[..6]);
        bytes[6..14].copy_from_slice(&random);
        bytes[14..].copy_from_slice(&number[6..]);
        SocketId(as_version_4(bytes))
    }

    /// The number in it.
    pub fn number(self) -> u64 {
        let mut number = [0; 8];
        number[..6].copy_from_slice(&self.0[..6]);
        number[6..].copy_from_slice(&self.0[14..]);
        u64::from_be_bytes(number)
    }

    /// Reads a name; `None` for what is none.
    pub fn parse(text: &str) -> Option<SocketId> {
        let text = text.as_bytes();
        if text.len() != 36 || [8, 13, 18, 23].iter().any(|&at| text[at] != b'-') {
            return None;
        }
        let digits = text.iter().enumerate().filter(|(at, _)| ![8, 13, 18, 23].contains(at));
        let mut bytes = [0; 16];
        for (place, (_, digit)) in digits.enumerate() {
            let digit = char::from(*digit).to_digit(16)? as u8;
            bytes[place / 2] = bytes[place / 2] << 4 | digit;
        }
        Some(SocketId(bytes))
    }
}

/// Sets the bits that say what sort of UUID it is (RFC 9562 section 5.4).
pub(super) fn as_version_4(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// Writes a UUID.
pub(super) fn put_uuid(f: &mut impl fmt::Write, bytes: &[u8; 16]) -> fmt::Result {
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(f, "{dash}{byte:02x}")?;
    }
    Ok(())
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_uuid(f, &self.0)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_uuid(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_key_is_behind_the_last_slash_with_its_query() {
        let key = "k".repeat(64);
        for (target, good) in [
            (format!("/{key}"), true),
            (format!("/any/prefix/{key}"), true),
            (format!("/{key}/"), false),
            (format!("/{key}?x=1"), false),
            ("/short".into(), false),
            ("/".into(), false),
        ] {
            let found = app_key(&target);
            assert_eq!(is_like_key(found) && found == key, good, "{target}");
        }
        assert_eq!(app_key("/a?b=/c"), "c", "as raw as it is");
    }

    #[test]
    fn what_is_no_uuid_is_not_read() {
        let good = "8e0d03b9-a87a-46f0-bc4a-ec35954836a0";
        assert_eq!(SocketId::parse(good).unwrap().to_string(), good);
        for bad in [
            "",
            "1.2",
            &good[1..],
            "8e0d03b9-a87a-46f0-bc4a-ec35954836ag",
            "8e0d03b9aa87a-46f0-bc4a-ec35954836a0",
            "é",
        ] {
            assert_eq!(SocketId::parse(bad), None, "{bad}");
        }
        assert_eq!(SocketId::parse(&format!("{}é", &good[..34])), None);
    }

    proptest! {
        #[test]
        fn a_name_is_a_uuid_4_that_hides_its_number(number: u64, random: u64) {
            let id = SocketId::new(number, random);
            let text = id.to_string();
            prop_assert_eq!((text.len(), &text[14..15]), (36, "4"));
            prop_assert!("89ab".contains(&text[19..20]));
            prop_assert_eq!(SocketId::parse(&text), Some(id));
            prop_assert_eq!(id.number(), number);
        }
    }
}
