//! The HTTP client's response parser, and the server's writer against it.
//!
//! - A head is found at the same place with the same content whatever came with it; a body has the same data and the
//!   same end however it is split.
//! - An answer that the server writes with what was read, whole or in chunks, is read as that.
//!
//! Flag 0: the request was HEAD. Flags 1 and 2: how the server's answer is framed. Flag 3: HTTP/1.0.

use fanwire::limits::{HTTP_HEADERS, HttpLimits};
use fanwire::wire::http::HttpError;
use fanwire::wire::http::chunked::{LAST_CHUNK, chunk};
use fanwire::wire::http::client::{Body, ResponseHead, parse_head};
use fanwire::wire::http::head::Framing;
use fanwire::wire::http::request::Lines;
use fanwire::wire::http::response::{Context, Response};

use super::input::{Input, single};

/// A head up to this length is looked for in each prefix.
const PREFIX_BYTES: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
struct Read {
    data: Vec<u8>,
    consumed: usize,
    done: bool,
    whole_at_end: bool,
}

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let limits = HttpLimits {
        head_bytes: input.pick(0, &[16 * 1024, 64, 256, 1024, 1_000_000]),
        headers: input.pick(1, &[64, 1, 8]),
        body_bytes: input.pick(2, &[2 * 1024 * 1024, 0, 10, 1000, usize::MAX]),
        ..HttpLimits::default()
    };
    let to_head = input.flag(0);
    let mut lines = Lines::default();
    let parsed = parse_head(input.body, to_head, &mut lines, &limits);
    prefixes(input.body, to_head, &limits, &parsed);
    let Ok(Some(head)) = parsed else { return };
    keeps_promises(&head, to_head, &limits);

    let rest = &input.body[head.len..];
    let whole = read(&[rest], head.framing, &limits);
    assert_eq!(whole, read(&input.cut(rest), head.framing, &limits), "pieces");
    assert_eq!(whole, read(&single(rest), head.framing, &limits), "byte by byte");
    if let Ok(whole) = whole {
        answer_again(&input, &head, &whole.data);
    }
}

type Parsed<'a> = Result<Option<ResponseHead<'a>>, HttpError>;

/// What can be compared of a parsed head.
fn shown(parsed: &Parsed<'_>) -> String {
    format!("{parsed:?}")
}

fn prefixes(body: &[u8], to_head: bool, limits: &HttpLimits, whole: &Parsed<'_>) {
    for length in 0..body.len().min(PREFIX_BYTES) {
        let mut lines = Lines::default();
        let parsed = parse_head(&body[..length], to_head, &mut lines, limits);
        if !matches!(parsed, Ok(None)) {
            assert_eq!(shown(&parsed), shown(whole), "after {length} bytes");
            if let Ok(Some(head)) = parsed {
                assert_eq!(head.len, length, "found late");
            }
            return;
        }
    }
}

fn keeps_promises(head: &ResponseHead<'_>, to_head: bool, limits: &HttpLimits) {
    assert!(head.len <= limits.head_bytes.min(65_535) && head.minor_version <= 1);
    assert!(head.headers.len() <= limits.headers && head.status <= 999);
    for (name, value) in head.headers.iter() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
    }
    if to_head || matches!(head.status, 100..=199 | 204 | 304) {
        assert_eq!(head.framing, Framing::Sized(0));
    } else if head.headers.get("transfer-encoding").is_some() {
        assert!(head.framing == Framing::Chunked && head.headers.get("content-length").is_none());
    }
}

/// The body, or the status of the error.
fn read(pieces: &[&[u8]], framing: Framing, limits: &HttpLimits) -> Result<Read, u16> {
    let mut body = Body::new(framing);
    let mut got = Read { data: Vec::new(), consumed: 0, done: false, whole_at_end: false };
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let (taken, data) = body.read(&mut bytes, limits).map_err(|error| error.status)?;
        assert!(data.len() <= taken && taken <= piece.len());
        got.data.extend_from_slice(data);
        got.consumed += taken;
        assert!(got.data.len() <= limits.body_bytes);
        if body.is_done() {
            break;
        }
        assert_eq!(taken, piece.len(), "not done and not all taken");
    }
    got.done = body.is_done();
    got.whole_at_end = body.ends_with_connection();
    assert!(got.whole_at_end || !got.done);
    Ok(got)
}

/// The server answers with what was read; the client has to read just that.
fn answer_again(input: &Input<'_>, head: &ResponseHead<'_>, data: &[u8]) {
    let own = ["content-length", "transfer-encoding", "connection", "date"];
    let lines: Vec<(&str, &[u8])> = head
        .headers
        .iter()
        .filter(|(name, _)| !own.iter().any(|own| name.eq_ignore_ascii_case(own)))
        .collect();
    if lines.len() + 4 > HTTP_HEADERS || head.len > 60_000 {
        return;
    }
    let response = Response::new(head.status);
    let response = lines.iter().fold(response, |response, (name, value)| response.header(name, value));
    let mut out = Vec::new();
    let context = Context {
        head: false,
        minor_version: u8::from(!input.flag(3)),
        keep_alive: true,
        date: Some(b"Sat, 21 Nov 2026 10:30:22 GMT"),
    };
    match (input.flag(1), input.flag(2)) {
        (false, _) => response.body("", data.to_vec()).write(&mut out, &context),
        (true, false) => {
            response.stream_until_close().write(&mut out, &context);
            out.extend_from_slice(data);
        }
        (true, true) => {
            response.stream_chunked().write(&mut out, &context);
            for piece in input.cut(data) {
                chunk(&mut out, piece);
            }
            out.extend_from_slice(LAST_CHUNK);
        }
    }
    let limits = HttpLimits { head_bytes: 65_535, body_bytes: usize::MAX, ..HttpLimits::default() };
    let mut space = Lines::default();
    let again = parse_head(&out, false, &mut space, &limits).expect("own answer").expect("complete");
    assert_eq!(again.status, head.status);
    for (name, value) in lines {
        assert!(again.headers.all(name).any(|other| other == value), "{name} is gone");
    }
    let bodiless = matches!(head.status, 100..=199 | 204 | 304);
    let body = read(&input.cut(&out[again.len..]), again.framing, &limits).expect("own body");
    assert!(body.whole_at_end);
    assert_eq!(body.data, if bodiless { &[] } else { data });
}
