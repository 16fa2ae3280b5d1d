//! The request that opens a client's WebSocket, and the name it gets (pusher.md section 1).

use super::codes::Code;
use crate::wire::http::target::{Target, decode_text};
use std::borrow::Cow;
use std::fmt;

/// The version that is spoken, and that is meant where a client names none.
const PROTOCOL: u8 = 7;
/// The oldest version whose clients get along with it.
const PROTOCOL_OLDEST: u8 = 4;
/// From this version on an error is told by the close code alone.
const PROTOCOL_CLOSE_CODES: u32 = 6;

/// The app's key in a path `/app/<key>`, `None` for other paths. What stands before it is the listener's matter.
pub fn app_key(path_raw: &str) -> Option<Cow<'_, str>> {
    let key = path_raw.strip_prefix("/app/")?;
    (!key.is_empty() && !key.contains('/')).then(|| decode_text(key).ok())?
}

/// The protocol version a client asks for. Other parameters (`client`, `version`, `flash` ...) mean nothing here.
///
/// # Errors
/// The code to refuse the client with.
pub fn protocol(target: &Target<'_>) -> Result<u8, Code> {
    u8::try_from(version(target)?)
        .ok()
        .filter(|version| (PROTOCOL_OLDEST..=PROTOCOL).contains(version))
        .ok_or(Code::UnsupportedProtocol)
}

/// Whether a client has to get a `pusher:error` before it is closed with a code; also if its version is not spoken.
pub fn wants_error_event(target: &Target<'_>) -> bool {
    version(target).is_ok_and(|version| version < PROTOCOL_CLOSE_CODES)
}

fn version(target: &Target<'_>) -> Result<u32, Code> {
    let Some(text) = target.arg("protocol").filter(|text| !text.is_empty()) else {
        return Ok(PROTOCOL.into());
    };
    text.parse().map_err(|_| Code::BadVersion)
}

/// The name of a connection, which back ends sign and exclude: `digits.digits` (trap 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// Not `digits.digits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSocketId;

impl SocketId {
    /// Reads a name. `None`: well-formed, and of no connection that could be here (trap 19).
    ///
    /// # Errors
    /// [`BadSocketId`].
    pub fn parse(text: &str) -> Result<Option<SocketId>, BadSocketId> {
        let (high, low) = text.split_once('.').ok_or(BadSocketId)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(high) || !digits(low) {
            return Err(BadSocketId);
        }
        // What is written in another way (leading zeros) is another name.
        let half = |part: &str| part.parse::<u32>().ok().filter(|_| part == "0" || !part.starts_with('0'));
        Ok(half(high).zip(half(low)).map(|(high, low)| SocketId(u64::from(high) << 32 | u64::from(low))))
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_target_of_pusher_js_is_understood() {
        let target = Target::parse("/app/app-key-demo?protocol=7&client=js&version=8.6.0&flash=false");
        assert_eq!(app_key(target.path_raw).unwrap(), "app-key-demo");
        assert_eq!(protocol(&target), Ok(7));
        assert_eq!(app_key("/app/a%2Db").unwrap(), "a-b");
        for other in ["/app/", "/app", "/apps/1", "/app/a/b", "/x/app/a", "app/a", "/app/%f"] {
            assert!(app_key(other).is_none(), "{other}");
        }
    }

    #[test]
    fn versions_are_judged() {
        let version = |query: &str| protocol(&Target::parse(&format!("/app/k{query}")));
        for (query, expected) in [
            ("", Ok(7)),
            ("?", Ok(7)),
            ("?client=js&x", Ok(7)),
            ("?protocol=", Ok(7)),
            ("?protocol=4", Ok(4)),
            ("?protocol=6", Ok(6)),
            ("?protocol=3", Err(Code::UnsupportedProtocol)),
            ("?protocol=8", Err(Code::UnsupportedProtocol)),
            ("?protocol=263", Err(Code::UnsupportedProtocol)),
            ("?protocol=x", Err(Code::BadVersion)),
            ("?protocol=-7", Err(Code::BadVersion)),
            ("?protocol=7.0", Err(Code::BadVersion)),
            ("?protocol=99999999999", Err(Code::BadVersion)),
        ] {
            assert_eq!(version(query), expected, "{query}");
        }
        for (query, expected) in [
            ("", false),
            ("?protocol=6", false),
            ("?protocol=5", true),
            ("?protocol=3", true),
            ("?protocol=x", false),
        ] {
            assert_eq!(wants_error_event(&Target::parse(&format!("/app/k{query}"))), expected, "{query}");
        }
    }

    #[test]
    fn names_of_others_are_well_formed_or_not() {
        for other in ["1.4294967296", "01.2", "1.00", "99999999999999999999.1"] {
            assert_eq!(SocketId::parse(other), Ok(None), "{other}");
        }
        assert_eq!(SocketId::parse("0.5"), Ok(Some(SocketId(5))));
        for bad in ["", ".", "1", "1.", ".1", "1.2.3", "a.1", "1.1 ", "+1.1", "-1.1", "1.1\n", "1,1"] {
            assert_eq!(SocketId::parse(bad), Err(BadSocketId), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_back(id: u64) {
            let text = SocketId(id).to_string();
            prop_assert_eq!(SocketId::parse(&text), Ok(Some(SocketId(id))));
        }
    }
}
