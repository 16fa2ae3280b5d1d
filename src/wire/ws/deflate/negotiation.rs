//! `Sec-WebSocket-Extensions` (RFC 6455 section 9.1, RFC 7692 section 7.1).

use std::fmt::Write;

const NAME: &[u8] = b"permessage-deflate";

/// What the node wants of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether the node may refer to earlier messages. False wherever frames are shared.
    pub server_takeover: bool,
    /// Whether clients may. It costs an inflater per connection, 46 KiB; without it one inflater serves a
    /// whole shard.
    pub client_takeover: bool,
    /// Smallest window the node can compress with, log2 bytes, 9-15. Offers that ask for a smaller one are
    /// declined. For shared frames: the window that those frames are compressed with.
    pub server_min_window_bits: u8,
    /// Largest window the node compresses with, log2 bytes, 9-15.
    pub server_max_window_bits: u8,
    /// Window that clients are asked to stay within if they can, log2 bytes, 8-15.
    pub client_max_window_bits: u8,
}

impl Policy {
    /// For connections that receive shared frames, compressed with `window_bits`.
    pub fn shared(window_bits: u8) -> Policy {
        let window_bits = window_bits.clamp(9, 15);
        Policy {
            server_takeover: false,
            client_takeover: false,
            server_min_window_bits: window_bits,
            server_max_window_bits: window_bits,
            client_max_window_bits: 15,
        }
    }

    /// For connections with a compressor of their own: whatever the client likes, takeover included.
    pub fn own() -> Policy {
        Policy {
            server_takeover: true,
            client_takeover: true,
            server_min_window_bits: 9,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// The node starts every message afresh.
    pub server_no_context_takeover: bool,
    /// The client does.
    pub client_no_context_takeover: bool,
    /// Window of the node's compressor, log2 bytes, 9-15.
    pub server_window_bits: u8,
    /// Largest window of the client's compressor, log2 bytes, 8-15.
    pub client_window_bits: u8,
    /// Whether the answer names the server's window: it was asked for, or is less than 15.
    tell_server_window: bool,
    /// Whether the answer limits the client's window, allowed only if the client said that it can do so.
    tell_client_window: bool,
}

impl Params {
    /// Appends the value of the answer's `Sec-WebSocket-Extensions` header.
    pub fn write_header_value(&self, out: &mut String) {
        out.push_str("permessage-deflate");
        if self.server_no_context_takeover {
            out.push_str("; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            out.push_str("; client_no_context_takeover");
        }
        if self.tell_server_window {
            let _ = write!(out, "; server_max_window_bits={}", self.server_window_bits);
        }
        if self.tell_client_window {
            let _ = write!(out, "; client_max_window_bits={}", self.client_window_bits);
        }
    }

    /// The value of the answer's `Sec-WebSocket-Extensions` header.
    pub fn header_value(&self) -> String {
        let mut out = String::with_capacity(128);
        self.write_header_value(&mut out);
        out
    }
}

/// Takes the first offer that suits `policy`. `lines` are the values of all `Sec-WebSocket-Extensions` headers in
/// their order. Offers that are malformed, of another extension, with unknown or repeated parameters, or with
/// values out of range are passed over (RFC 7692 section 7): without a suitable one the connection works
/// without compression.
pub fn negotiate<'a>(lines: impl IntoIterator<Item = &'a [u8]>, policy: &Policy) -> Option<Params> {
    lines
        .into_iter()
        .flat_map(|line| Pieces { rest: Some(line), separator: b',' })
        .find_map(|offer| Offer::parse(offer)?.accept(policy))
}

/// One offer, its parameters as the client gave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// `Some(None)`: named without a value.
    client_max_window_bits: Option<Option<u8>>,
}

impl Offer {
    fn parse(offer: &[u8]) -> Option<Offer> {
        let mut pieces = Pieces { rest: Some(offer), separator: b';' };
        if !pieces.next()?.trim_ascii().eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut parsed = Offer::default();
        for piece in pieces {
            let (name, value) = match piece.iter().position(|&byte| byte == b'=') {
                Some(at) => (&piece[..at], Some(piece[at + 1..].trim_ascii())),
                None => (piece, None),
            };
            let name = name.trim_ascii();
            let first_time = if name.eq_ignore_ascii_case(b"server_no_context_takeover") {
                value.is_none() && !std::mem::replace(&mut parsed.server_no_context_takeover, true)
            } else if name.eq_ignore_ascii_case(b"client_no_context_takeover") {
                value.is_none() && !std::mem::replace(&mut parsed.client_no_context_takeover, true)
            } else if name.eq_ignore_ascii_case(b"server_max_window_bits") {
                parsed.server_max_window_bits.replace(window_bits(value?)?).is_none()
            } else if name.eq_ignore_ascii_case(b"client_max_window_bits") {
                let bits = value.map(window_bits);
                let bits = if bits == Some(None) { return None } else { bits.flatten() };
                parsed.client_max_window_bits.replace(bits).is_none()
            } else {
                false
            };
            if !first_time {
                return None;
            }
        }
        Some(parsed)
    }

    fn accept(&self, policy: &Policy) -> Option<Params> {
        let asked = self.server_max_window_bits.unwrap_or(15);
        // zlib's smallest window is 512 bytes, so nobody can be promised one of 256.
        if asked < policy.server_min_window_bits.max(9) {
            return None;
        }
        let server_window_bits = asked.min(policy.server_max_window_bits).clamp(9, 15);
        let client_asked = self.client_max_window_bits;
        let client_window_bits = match client_asked {
            Some(hint) => hint.unwrap_or(15).min(policy.client_max_window_bits.clamp(8, 15)),
            None => 15,
        };
        Some(Params {
            server_no_context_takeover: self.server_no_context_takeover || !policy.server_takeover,
            client_no_context_takeover: self.client_no_context_takeover || !policy.client_takeover,
            server_window_bits,
            client_window_bits,
            tell_server_window: self.server_max_window_bits.is_some() || server_window_bits < 15,
            tell_client_window: client_asked.is_some_and(|hint| hint.is_some() || client_window_bits < 15),
        })
    }
}

/// A window size: a token or quoted string with a number from 8 to 15 without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let mut number: u8 = 0;
    let mut digits = quoted.unwrap_or(value).iter();
    while let Some(mut digit) = digits.next() {
        if quoted.is_some() && *digit == b'\\' {
            digit = digits.next()?;
        }
        let first = number == 0;
        if !digit.is_ascii_digit() || (first && *digit == b'0') {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(digit - b'0')?;
    }
    (8..=15).contains(&number).then_some(number)
}

/// Splits at a separator that is not inside a quoted string.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, &byte) in rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == self.separator && !quoted => {
                    self.rest = Some(&rest[at + 1..]);
                    return Some(&rest[..at]);
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str], policy: &Policy) -> Option<String> {
        negotiate(lines.iter().map(|line| line.as_bytes()), policy).map(|params| params.header_value())
    }

    #[test]
    fn answers_for_own_compressors() {
        let cases: [(&[&str], Option<&str>); 22] = [
            (&[], None),
            (&["permessage-deflate"], Some("permessage-deflate")),
            (&["PerMessage-Deflate"], Some("permessage-deflate")),
            (&["permessage-deflate; client_max_window_bits"], Some("permessage-deflate")),
            (
                &["permessage-deflate;client_max_window_bits=10"],
                Some("permessage-deflate; client_max_window_bits=10"),
            ),
            (
                &["permessage-deflate; server_max_window_bits=\"10\""],
                Some("permessage-deflate; server_max_window_bits=10"),
            ),
            (
                &[r#"permessage-deflate; server_max_window_bits = "1\2" "#],
                Some("permessage-deflate; server_max_window_bits=12"),
            ),
            (
                &["permessage-deflate; client_no_context_takeover; server_no_context_takeover"],
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
            ),
            (&["permessage-deflate; server_max_window_bits=8"], None),
            (&["permessage-deflate; server_max_window_bits=7"], None),
            (&["permessage-deflate; server_max_window_bits=16"], None),
            (&["permessage-deflate; server_max_window_bits=010"], None),
            (&["permessage-deflate; server_max_window_bits=266"], None),
            (&["permessage-deflate; server_max_window_bits"], None),
            (&["permessage-deflate; client_max_window_bits="], None),
            (&["permessage-deflate; client_no_context_takeover=1"], None),
            (&["permessage-deflate; client_no_context_takeover; client_no_context_takeover"], None),
            (&["permessage-deflate; client_max_window_bits; client_max_window_bits"], None),
            (&["permessage-deflate; what"], None),
            (
                &["permessage-deflate; what, x-webkit-deflate-frame, permessage-deflate"],
                Some("permessage-deflate"),
            ),
            (
                &["foo; bar=\"a, permessage-deflate; b\"", "", "permessage-deflate"],
                Some("permessage-deflate"),
            ),
            (
                &[
                    "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9",
                ],
                Some("permessage-deflate; server_max_window_bits=9"),
            ),
        ];
        for (lines, expected) in cases {
            assert_eq!(answer(lines, &Policy::own()).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn shared_frames_ask_for_no_takeover_and_one_window() {
        let policy = Policy::shared(12);
        assert_eq!(
            answer(&["permessage-deflate; server_max_window_bits=15"], &policy).as_deref(),
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=12"
            )
        );
        assert_eq!(answer(&["permessage-deflate; server_max_window_bits=11"], &policy), None);
        let smaller = Policy { client_max_window_bits: 9, client_takeover: true, ..Policy::shared(15) };
        assert_eq!(
            answer(&["permessage-deflate; client_max_window_bits"], &smaller).as_deref(),
            Some("permessage-deflate; server_no_context_takeover; client_max_window_bits=9")
        );
        let params = negotiate([&b"permessage-deflate"[..]], &smaller).unwrap();
        assert_eq!(params.client_window_bits, 15, "a client that did not say so cannot be limited");
    }
}
