//! Bytes to values and back ([`crate::wire`]).

// ---- HTTP (wire/http) ----
/// Request line and headers together, bytes. More is answered with 431.
pub const HTTP_HEAD_BYTES: usize = 16 * 1024;
/// Request target, bytes. More is answered with 414.
pub const HTTP_TARGET_BYTES: usize = 8 * 1024;
/// Header lines of a request. More is answered with 431.
pub const HTTP_HEADERS: usize = 64;
/// Request body after chunked decoding, bytes. More is answered with 413.
pub const HTTP_BODY_BYTES: usize = 2 * 1024 * 1024;
/// One chunk-size line with its extensions, bytes. More is answered with 400.
pub const HTTP_CHUNK_LINE_BYTES: usize = 256;
/// Chunk extensions of one body together, bytes. More is answered with 400: extensions are dropped unread.
pub const HTTP_CHUNK_EXTENSION_BYTES: usize = 16 * 1024;
/// Trailer section of one chunked body, bytes. More is answered with 431: trailers are dropped.
pub const HTTP_TRAILER_BYTES: usize = 4 * 1024;
/// Empty lines accepted in front of a request line (RFC 9112 section 2.2). More is answered with 400.
pub const HTTP_BLANK_LINES: usize = 4;
/// Bytes that may wait behind a request that is still being answered (pipelining). Reading stops above it.
pub const HTTP_PIPELINE_BYTES: usize = 64 * 1024;

// ---- PROXY protocol (wire/proxy) ----
/// A header of version 1 with its line end, bytes (proxy-protocol.txt section 2.1). More is refused.
pub const PROXY_V1_BYTES: usize = 107;
/// A header of version 2 with its addresses and extensions, bytes. More is refused; a client's certificate fits.
pub const PROXY_V2_BYTES: usize = 4 * 1024;

/// Bounds of the HTTP/1.1 request reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// See [`HTTP_HEAD_BYTES`]; at most 65535, a larger value counts as that.
    pub head_bytes: usize,
    /// See [`HTTP_TARGET_BYTES`].
    pub target_bytes: usize,
    /// See [`HTTP_HEADERS`]; at most that constant.
    pub headers: usize,
    /// See [`HTTP_BODY_BYTES`].
    pub body_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            head_bytes: HTTP_HEAD_BYTES,
            target_bytes: HTTP_TARGET_BYTES,
            headers: HTTP_HEADERS,
            body_bytes: HTTP_BODY_BYTES,
        }
    }
}

// ---- WebSocket (wire/ws) ----
/// One message after reassembly and inflation, bytes. More closes with 1009.
pub const WS_MESSAGE_BYTES: usize = 2 * 1024 * 1024;
/// Frames of one fragmented message. More closes with 1008: tiny fragments are an attack on CPU.
pub const WS_FRAGMENTS: usize = 131_072;
/// Bytes that may come out of one byte of a deflated message. More closes with 1009: deflate itself goes up to 1032, what
/// people write stays below 20 (Apache's mod_deflate draws the line here, too).
pub const WS_INFLATE_RATIO: usize = 200;
/// What may come out whatever the ratio, bytes: a few repeated words are no attack.
pub const WS_INFLATE_RATIO_FREE_BYTES: usize = 64 * 1024;
/// Payload of a control frame, bytes (RFC 6455 section 5.5).
pub const WS_CONTROL_BYTES: usize = 125;
/// Reason in a close frame, bytes: a control frame without the code. Longer ones are cut.
pub const WS_CLOSE_REASON_BYTES: usize = WS_CONTROL_BYTES - 2;
/// Output buffer that an inflater shared by many connections keeps between messages, bytes.
pub const WS_INFLATE_KEEP_BYTES: usize = 64 * 1024;
/// Messages shorter than this are not worth deflating, bytes.
pub const WS_DEFLATE_MIN_BYTES: usize = 64;

/// Bounds of the WebSocket message reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WsLimits {
    /// See [`WS_MESSAGE_BYTES`].
    pub message_bytes: usize,
    /// See [`WS_FRAGMENTS`].
    pub fragments: usize,
    /// See [`WS_INFLATE_RATIO`]; 0 = any.
    pub inflate_ratio: usize,
}

impl WsLimits {
    /// What may come out of a deflated message of `deflated` bytes, and whether the ratio is what bounds it.
    pub fn inflated_bytes(&self, deflated: usize) -> (usize, bool) {
        let by_ratio = deflated.saturating_mul(self.inflate_ratio).max(WS_INFLATE_RATIO_FREE_BYTES);
        let ratio = self.inflate_ratio > 0 && by_ratio < self.message_bytes;
        (if ratio { by_ratio } else { self.message_bytes }, ratio)
    }

    /// A message while it is still deflated, bytes. What cannot be compressed grows: by an eighth with an encoder
    /// that only knows the fixed Huffman code, where the longest literals have nine bits.
    pub fn deflated_bytes(&self) -> usize {
        self.message_bytes.saturating_add(self.message_bytes / 8).saturating_add(64)
    }
}

impl Default for WsLimits {
    fn default() -> Self {
        WsLimits { message_bytes: WS_MESSAGE_BYTES, fragments: WS_FRAGMENTS, inflate_ratio: WS_INFLATE_RATIO }
    }
}

// ---- JSON (wire/json) ----
/// Arrays and objects within each other in JSON that is read. More is an error.
pub const JSON_DEPTH: usize = 128;
/// Memory that a JSON reader keeps for the next document, as the length of a document, bytes.
pub const JSON_KEEP_BYTES: usize = 64 * 1024;

const _: () = assert!(HTTP_TARGET_BYTES < HTTP_HEAD_BYTES);
const _: () = assert!(HTTP_CHUNK_LINE_BYTES < HTTP_HEAD_BYTES);
const _: () = assert!(HTTP_CHUNK_LINE_BYTES <= HTTP_CHUNK_EXTENSION_BYTES);
// Header positions within a head are kept as u16, their count as u8.
const _: () = assert!(HTTP_HEAD_BYTES <= u16::MAX as usize);
const _: () = assert!(HTTP_HEADERS <= u8::MAX as usize);
const _: () = assert!(HTTP_BLANK_LINES <= u8::MAX as usize);
const _: () = assert!(WS_CONTROL_BYTES < WS_MESSAGE_BYTES);
const _: () = assert!(WS_INFLATE_KEEP_BYTES <= WS_MESSAGE_BYTES);
const _: () = assert!(WS_INFLATE_KEEP_BYTES <= WS_MESSAGE_BYTES);
