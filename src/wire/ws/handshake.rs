//! The opening handshake (RFC 6455 section 4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::deflate;

/// Appended to the key before hashing (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version of the protocol (`Sec-WebSocket-Version`).
pub const VERSION: &str = "13";

/// What of an upgrade request decides about the handshake. Every list has one entry per header line, in the order
/// of the request, and may be empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Request method.
    pub method: &'a [u8],
    /// Minor version of HTTP/1.
    pub http_minor: u8,
    /// Values of `Upgrade`.
    pub upgrade: &'a [&'a [u8]],
    /// Values of `Connection`.
    pub connection: &'a [&'a [u8]],
    /// Values of `Sec-WebSocket-Version`.
    pub version: &'a [&'a [u8]],
    /// Values of `Sec-WebSocket-Key`.
    pub key: &'a [&'a [u8]],
    /// Values of `Sec-WebSocket-Protocol`.
    pub protocols: &'a [&'a [u8]],
    /// Values of `Sec-WebSocket-Extensions`.
    pub extensions: &'a [&'a [u8]],
}

/// A handshake to be answered with 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Value of `Sec-WebSocket-Accept`.
    pub accept: [u8; 28],
    /// Index in the wanted subprotocols; `None`: the answer has no `Sec-WebSocket-Protocol`.
    pub protocol: Option<usize>,
    /// What was agreed on compression.
    pub deflate: Option<deflate::Params>,
}

impl Accepted {
    /// Appends the answer's WebSocket header lines, each with its CRLF: Upgrade, Connection,
    /// Sec-WebSocket-Accept and, where negotiated, -Protocol and -Extensions. `wanted` as given to [`negotiate`].
    pub fn write_headers(&self, wanted: &[&str], out: &mut Vec<u8>) {
        out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
        out.extend_from_slice(&self.accept);
        out.extend_from_slice(b"\r\n");
        if let Some(protocol) = self.protocol.and_then(|index| wanted.get(index)) {
            out.extend_from_slice(b"Sec-WebSocket-Protocol: ");
            out.extend_from_slice(protocol.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if let Some(params) = &self.deflate {
            out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
            out.extend_from_slice(params.header_value().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A handshake to be answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, 400.
    pub status: u16,
    /// A text for the body.
    pub reason: &'static str,
    /// Whether the answer has to name the version: `Sec-WebSocket-Version: 13` (RFC 6455 section 4.4).
    pub tell_version: bool,
}

impl Refusal {
    const fn bad_request(reason: &'static str) -> Refusal {
        Refusal { status: 400, reason, tell_version: false }
    }
}

/// Decides about an upgrade request. The subprotocol is the first of `wanted` (the node's order of preference)
/// that the client offers anywhere; offers that are not wanted do not matter. `deflate` is `None` where
/// compression is off; an extension that cannot be agreed on is left out and never an error.
///
/// # Errors
/// A [`Refusal`] naming the rule of RFC 6455 section 4.2.1 that the request breaks.
pub fn negotiate(
    request: &Request<'_>,
    wanted: &[&str],
    deflate: Option<&deflate::Policy>,
) -> Result<Accepted, Refusal> {
    if request.method != b"GET" || request.http_minor < 1 {
        return Err(Refusal::bad_request("A WebSocket handshake is a GET request of HTTP/1.1."));
    }
    if !has_token(request.upgrade, b"websocket") {
        return Err(Refusal::bad_request("Upgrade has to name websocket."));
    }
    if !has_token(request.connection, b"upgrade") {
        return Err(Refusal::bad_request("Connection has to name upgrade."));
    }
    match request.version {
        [version] if version.trim_ascii() == VERSION.as_bytes() => {}
        _ => {
            let reason = "Sec-WebSocket-Version has to be 13.";
            return Err(Refusal { status: 400, reason, tell_version: true });
        }
    }
    let key = match request.key {
        [] => return Err(Refusal::bad_request("Sec-WebSocket-Key is missing.")),
        [key] => key.trim_ascii(),
        _ => return Err(Refusal::bad_request("Sec-WebSocket-Key came more than once.")),
    };
    if !is_key(key) {
        return Err(Refusal::bad_request("Sec-WebSocket-Key is not 16 bytes in base64."));
    }
    Ok(Accepted {
        accept: accept_key(key),
        protocol: wanted.iter().position(|name| offers(request.protocols, name.as_bytes())),
        deflate: deflate.and_then(|policy| deflate::negotiate(request.extensions.iter().copied(), policy)),
    })
}

/// The value of `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2, point 5.4).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    base64_of(digest.as_slice())
}

/// A client's `Sec-WebSocket-Key` from 16 random bytes.
pub fn client_key(nonce: [u8; 16]) -> [u8; 24] {
    base64_of(&nonce)
}

/// Base64 of bytes whose encoded length is exactly `N`.
fn base64_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let written = STANDARD.encode_slice(bytes, &mut out);
    debug_assert_eq!(written, Ok(N));
    out
}

/// Whether `key` is base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    // 18: what the decoder wants for 24 characters before it has seen the padding.
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

/// Whether a comma-separated list over several lines has `token`, without regard to case.
fn has_token(lines: &[&[u8]], token: &[u8]) -> bool {
    items(lines).any(|item| item.eq_ignore_ascii_case(token))
}

/// Whether a subprotocol is offered. Their names are compared exactly (RFC 6455 section 11.5).
fn offers(lines: &[&[u8]], name: &[u8]) -> bool {
    items(lines).any(|item| item == name)
}

fn items<'a>(lines: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    lines.iter().flat_map(|line| line.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

    fn good<'a>() -> Request<'a> {
        Request {
            method: b"GET",
            http_minor: 1,
            upgrade: &[b"websocket"],
            connection: &[b"keep-alive, Upgrade"],
            version: &[b"13"],
            key: &[KEY],
            protocols: &[],
            extensions: &[],
        }
    }

    #[test]
    fn example_of_section_1_3() {
        assert_eq!(&accept_key(KEY), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&client_key(*b"the sample nonce"), KEY);
        let accepted = negotiate(&good(), &[], None).unwrap();
        assert_eq!(
            accepted,
            Accepted { accept: *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", protocol: None, deflate: None }
        );
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let broken: [Request<'_>; 14] = [
            Request { method: b"POST", ..good() },
            Request { http_minor: 0, ..good() },
            Request { upgrade: &[], ..good() },
            Request { upgrade: &[b"websockets"], ..good() },
            Request { connection: &[], ..good() },
            Request { connection: &[b"keep-alive", b"close"], ..good() },
            Request { key: &[], ..good() },
            Request { key: &[KEY, KEY], ..good() },
            Request { key: &[b""], ..good() },
            Request { key: &[b"dGhlIHNhbXBsZSBub25jZQ="], ..good() },
            Request { key: &[b"dGhlIHNhbXBsZSBub25jZSEh"], ..good() },
            Request { key: &[b"dGhlIHNhbXBsZSBub25jZR=="], ..good() },
            Request { key: &[b"dGhlIHNhbXBsZSBub25jZ!=="], ..good() },
            Request { key: &[b"dGhlIHNhbXBsZSBub25jZQ==AAAA"], ..good() },
        ];
        for request in broken {
            let refusal = negotiate(&request, &[], None).unwrap_err();
            assert!(refusal.status == 400 && !refusal.tell_version, "{request:?}");
        }
        let versions: [&[&[u8]]; 4] = [&[], &[b"8"], &[b"13", b"13"], &[b"130"]];
        for version in versions {
            let refusal = negotiate(&Request { version, ..good() }, &[], None).unwrap_err();
            assert!(refusal.status == 400 && refusal.tell_version, "{version:?}");
        }
    }

    #[test]
    fn tokens_are_found_in_any_case_line_and_place() {
        let request =
            Request { upgrade: &[b"h2c", b" WebSocket "], connection: &[b"close", b"a,UPGRADE"], ..good() };
        assert!(negotiate(&request, &[], None).is_ok());
    }

    #[test]
    fn subprotocol_is_the_first_wanted_one_from_anywhere() {
        let wanted = ["ws+meta.nchan", "v2.example"];
        let chosen = |protocols| negotiate(&Request { protocols, ..good() }, &wanted, None).unwrap().protocol;
        assert_eq!(chosen(&[b"other, v2.example", b"ws+meta.nchan"]), Some(0));
        assert_eq!(chosen(&[b"other,v2.example"]), Some(1));
        assert_eq!(chosen(&[b"other", b""]), None);
        assert_eq!(chosen(&[b"WS+META.NCHAN"]), None);
    }

    #[test]
    fn the_answer_names_what_was_agreed() {
        let request = Request {
            protocols: &[b"b, a"],
            extensions: &[b"permessage-deflate; client_max_window_bits"],
            ..good()
        };
        let policy = deflate::Policy::shared(15);
        let accepted = negotiate(&request, &["a"], Some(&policy)).unwrap();
        let mut out = Vec::new();
        accepted.write_headers(&["a"], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Protocol: a\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover\r\n"
        );
    }
}
