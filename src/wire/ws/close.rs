//! Close codes and close payloads (RFC 6455 sections 5.5.1 and 7.4, and the IANA registry of close codes).

use std::fmt;

use bytes::Bytes;

use super::frame::{self, Opcode};
use crate::limits::{WS_CLOSE_REASON_BYTES, WS_CONTROL_BYTES};

/// The purpose was fulfilled.
pub const NORMAL: u16 = 1000;
/// The node stops, or the resource is gone.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of data that is not accepted here.
pub const UNSUPPORTED: u16 = 1003;
/// Text that is not UTF-8, or a deflated message that does not inflate.
pub const INVALID_PAYLOAD: u16 = 1007;
/// The peer did something that it may not do.
pub const POLICY: u16 = 1008;
/// A message over the limit.
pub const TOO_BIG: u16 = 1009;
/// Client only: the server did not accept an extension that the client needs.
pub const EXTENSION_REQUIRED: u16 = 1010;
/// The node failed.
pub const INTERNAL: u16 = 1011;
/// The node restarts; come back.
pub const RESTART: u16 = 1012;
/// Overloaded; come back later.
pub const TRY_AGAIN_LATER: u16 = 1013;
/// The server behind the node failed.
pub const BAD_GATEWAY: u16 = 1014;
/// What let the client in has ended: it may come back with something new (of the range for private use).
pub const UNAUTHORIZED: u16 = 4401;

/// Why a connection has to be failed: the close code to send and a short reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Close code: 1002, 1007, 1008 or 1009.
    pub code: u16,
    /// What was wrong, at most [`WS_CLOSE_REASON_BYTES`] bytes.
    pub reason: &'static str,
}

/// What a deflated message makes the node refuse it that holds much more than it weighs:
/// [`crate::limits::WsLimits::inflate_ratio`].
pub const RATIO: Fault = Fault { code: TOO_BIG, reason: "message deflated too well" };

impl Fault {
    /// 1002 with the rule that was broken.
    pub(super) const fn protocol(reason: &'static str) -> Fault {
        Fault { code: PROTOCOL_ERROR, reason }
    }

    /// 1007: text that is not UTF-8.
    pub(super) const fn utf8() -> Fault {
        Fault { code: INVALID_PAYLOAD, reason: "text is not UTF-8" }
    }

    /// 1009: more than [`crate::limits::WsLimits::message_bytes`].
    pub(super) const fn too_big() -> Fault {
        Fault { code: TOO_BIG, reason: "message over the limit" }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.code, self.reason)
    }
}

impl std::error::Error for Fault {}

/// Whether a peer may put `code` into a close frame: 1000-1003, 1007-1014 and 3000-4999.
///
/// 1012-1014 are not in RFC 6455 but registered with IANA since, and the public conformance suite stopped
/// counting them as invalid (its section 7.9 has 0, 999, 1004-1006, 1016, 1100, 2000 and 2999). 1005, 1006 and
/// 1015 stand for the absence of a close frame and are never on the wire.
pub fn may_receive(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Whether a server may send `code`: as [`may_receive`] without 1010, which is for clients.
pub fn may_send(code: u16) -> bool {
    may_receive(code) && code != EXTENSION_REQUIRED
}

/// Reads the payload of a close frame: the code, if there is one, and the reason.
///
/// # Errors
/// 1002 for a payload of one byte or a code that is not allowed, 1007 for a reason that is not UTF-8.
pub fn parse(payload: &[u8]) -> Result<(Option<u16>, &str), Fault> {
    match payload {
        [] => Ok((None, "")),
        [_] => Err(Fault::protocol("close payload of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_receive(code) {
                return Err(Fault::protocol("close code not allowed"));
            }
            let reason = simdutf8::basic::from_utf8(reason)
                .map_err(|_| Fault { code: INVALID_PAYLOAD, reason: "close reason is not UTF-8" })?;
            Ok((Some(code), reason))
        }
    }
}

/// The payload of a close frame and its length. A reason over [`WS_CLOSE_REASON_BYTES`] is cut between two
/// characters.
pub fn payload(code: u16, reason: &str) -> ([u8; WS_CONTROL_BYTES], usize) {
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(WS_CLOSE_REASON_BYTES)];
    let mut payload = [0; WS_CONTROL_BYTES];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason);
    (payload, 2 + reason.len())
}

/// A server's close frame; see [`payload`] for long reasons.
pub fn encode(code: u16, reason: &str) -> Bytes {
    let (payload, len) = payload(code, reason);
    frame::encode(Opcode::Close, false, &[&payload[..len]])
}

/// A server's close frame without code, the answer to one without code.
pub fn encode_empty() -> Bytes {
    frame::encode(Opcode::Close, false, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_judged_as_the_registry_says() {
        let allowed =
            |code: u32| [1000..=1003, 1007..=1014, 3000..=4999].iter().any(|range| range.contains(&code));
        for code in 0..=u16::MAX {
            let payload = code.to_be_bytes();
            match parse(&payload) {
                Ok((got, "")) => assert!(got == Some(code) && allowed(code.into()), "{code}"),
                Ok(_) => panic!("a reason out of nothing"),
                Err(fault) => assert!(fault.code == 1002 && !allowed(code.into()), "{code}"),
            }
        }
        for never in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!may_receive(never) && !may_send(never), "{never}");
        }
        assert!(may_receive(1010) && !may_send(1010));
    }

    #[test]
    fn payloads() {
        assert_eq!(parse(b""), Ok((None, "")));
        assert_eq!(parse(&[3]).unwrap_err().code, 1002);
        assert_eq!(parse(b"\x03\xe8bye"), Ok((Some(1000), "bye")));
        assert_eq!(parse(b"\x03\xe8\xff").unwrap_err().code, 1007);
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let (bytes, len) = payload(1001, &"ä".repeat(100));
        assert_eq!(len, 2 + 122);
        assert_eq!(parse(&bytes[..len]), Ok((Some(1001), "ä".repeat(61).as_str())));
        assert_eq!(payload(1001, &"x".repeat(200)).1, 125);
        assert_eq!(encode(1000, "ok"), &b"\x88\x04\x03\xe8ok"[..]);
        assert_eq!(encode_empty(), &b"\x88\x00"[..]);
    }
}
