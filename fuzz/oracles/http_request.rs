//! The HTTP request reader.
//!
//! - Requests and errors are the same however the bytes are split, and what is kept stays within the limits.
//! - Every request holds what its type promises, and survives the way to bytes and back (as for a connection that
//!   moves to another shard) and through the client's writer.
//! - A plain model that only knows framing finds the same ends of requests.

use fanwire::limits::{HTTP_HEADERS, HttpLimits};
use fanwire::wire::http::client::put_request;
use fanwire::wire::http::request::{Event, Lines, Method, Reader, Request, serialize};

use super::input::{Input, single};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    method: String,
    target: String,
    minor_version: u8,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    keep_alive: bool,
    upgrade_websocket: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    requests: Vec<Got>,
    /// Status and reason.
    error: Option<(u16, &'static str)>,
    /// Whether a head, a body had begun at the end.
    rest: (bool, bool),
}

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let limits = HttpLimits {
        head_bytes: input.pick(0, &[16 * 1024, 64, 256, 1024, 65_535, 1_000_000]),
        target_bytes: input.pick(1, &[8192, 1, 16, 64]),
        headers: input.pick(2, &[64, 2, 8, 200]),
        body_bytes: input.pick(2, &[2 * 1024 * 1024, 0, 10, 1000, usize::MAX]),
    };
    let whole = read(&[input.body], &limits);
    assert_eq!(whole, read(&input.cut(input.body), &limits), "pieces");
    assert_eq!(whole, read(&single(input.body), &limits), "byte by byte");
    model(input.body, &whole);
}

fn read(pieces: &[&[u8]], limits: &HttpLimits) -> Read {
    let mut reader = Reader::default();
    let mut got = Read::default();
    let mut continues = 0;
    for piece in pieces {
        let (mut bytes, mut lines) = (piece.to_vec(), Lines::default());
        let mut at = 0;
        loop {
            let step = match reader.step(&mut bytes[at..], &mut lines, limits) {
                Ok(step) => step,
                Err(error) => {
                    assert!(matches!(error.status, 400 | 413 | 414 | 431 | 501 | 505), "{error}");
                    got.error = Some((error.status, error.reason));
                    assert_eq!((reader.is_idle(), reader.buffered()), (true, 0), "kept after an error");
                    return got;
                }
            };
            at += step.consumed;
            match step.event {
                Some(Event::Request(request)) => {
                    keeps_promises(&request, limits);
                    got.requests.push(own(&request));
                    survives(&request, limits);
                    continues = 0;
                }
                Some(Event::Continue) => {
                    continues += 1;
                    assert!(
                        continues == 1 && reader.in_body(),
                        "a second 100, or one without a body to come"
                    );
                }
                None => break,
            }
        }
        assert_eq!(at, bytes.len(), "no event means that all was consumed");
        reader.release();
        let most = limits.head_bytes.min(65_535).saturating_add(1).saturating_add(limits.body_bytes);
        assert!(reader.buffered() <= most, "{} kept", reader.buffered());
        assert_eq!(reader.is_idle(), reader.buffered() == 0);
        assert_eq!(reader.is_idle(), !reader.in_head() && !reader.in_body());
    }
    got.rest = (reader.in_head(), reader.in_body());
    got
}

fn own(request: &Request<'_>) -> Got {
    let headers = request.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec()));
    Got {
        method: request.method_text.into(),
        target: request.target.into(),
        minor_version: request.minor_version,
        headers: headers.collect(),
        body: request.body.into(),
        keep_alive: request.keep_alive,
        upgrade_websocket: request.upgrade_websocket,
    }
}

fn keeps_promises(request: &Request<'_>, limits: &HttpLimits) {
    assert_eq!(Method::from_text(request.method_text), request.method);
    assert!(!request.method_text.is_empty());
    assert!(request.target.len() <= limits.target_bytes.max(1));
    let is_star = request.target == "*" && request.method == Method::Options;
    assert!(request.target.starts_with('/') || is_star, "{:?}", request.target);
    assert!(request.target.bytes().all(|byte| byte > b' ' && byte != 0x7f && byte != b'#'));
    assert!(request.minor_version <= 1 && request.body.len() <= limits.body_bytes);
    assert!(request.headers.len() <= limits.headers.min(HTTP_HEADERS));
    assert_eq!(request.headers.iter().count(), request.headers.len());
    for (name, value) in request.headers.iter() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
        assert!(!matches!(value.first(), Some(b' ' | b'\t')) && !matches!(value.last(), Some(b' ' | b'\t')));
        let found = request.headers.get(&name.to_ascii_uppercase());
        assert!(found.is_some() && request.headers.all(name).any(|other| other == value));
    }
    let count = |name| request.headers.all(name).count();
    assert!(count("host") <= 1 && (count("host") == 1 || request.minor_version == 0));
    assert!(count("content-length") + usize::from(count("transfer-encoding") > 0) <= 1);
    let parts = request.target_parts();
    let query = parts.query_raw.map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(format!("{}{query}", parts.path_raw), request.target);
}

fn is_framing(name: &str) -> bool {
    ["content-length", "transfer-encoding", "expect"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The request as bytes is read as the same request.
fn survives(request: &Request<'_>, limits: &HttpLimits) {
    let mut expected = own(request);
    expected.headers.retain(|(name, _)| !is_framing(name));
    let mut bytes = serialize(request);
    let mut again = read_one(&mut bytes, limits);
    again.headers.retain(|(name, _)| !is_framing(name));
    assert_eq!(again, expected, "serialised");

    let host = expected.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = host.map_or("h".into(), |(_, host)| String::from_utf8_lossy(host).into_owned());
    expected.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
    let headers: Vec<(&str, &[u8])> =
        expected.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut bytes = Vec::new();
    let generous = HttpLimits { head_bytes: usize::MAX, target_bytes: usize::MAX, headers: 64, ..*limits };
    let written =
        put_request(&mut bytes, &expected.method, &expected.target, &host, &headers, Some(request.body));
    if written.is_ok() && headers.len() + 2 <= HTTP_HEADERS && bytes.len() - request.body.len() <= 65_535 {
        let again = read_one(&mut bytes, &generous);
        assert_eq!(
            (again.method, again.target, again.body),
            (expected.method, expected.target, expected.body)
        );
    }
    assert!(written.is_ok() || host.is_empty(), "the client's writer refuses what was read");
}

fn read_one(bytes: &mut [u8], limits: &HttpLimits) -> Got {
    let (mut reader, mut lines) = (Reader::default(), Lines::default());
    let length = bytes.len();
    let step = reader.step(bytes, &mut lines, limits).expect("own bytes are readable");
    assert_eq!(step.consumed, length);
    let Some(Event::Request(request)) = step.event else { panic!("not one whole request") };
    own(&request)
}

/// Finds the bodies again by nothing but line ends and the two framing headers, for whole requests.
fn model(wire: &[u8], read: &Read) {
    let mut rest = wire;
    for got in &read.requests {
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        let head_length = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&rest[..head_length]).to_ascii_lowercase();
        rest = &rest[head_length..];
        let value = |name: &str| {
            let line = head.split("\r\n").find(|line| line.starts_with(name))?;
            Some(line[name.len()..].trim().to_owned())
        };
        let body = match (value("transfer-encoding:"), value("content-length:")) {
            (Some(_), _) => unchunk(&mut rest),
            (None, length) => {
                let length = length.map_or(0, |length| length.parse().expect("a length"));
                let (body, after) = rest.split_at(length);
                rest = after;
                body.to_vec()
            }
        };
        assert_eq!(got.body, body, "bodies by the model");
    }
}

fn unchunk(rest: &mut &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let size = line(rest).split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[..size]);
        *rest = &rest[size..];
        assert_eq!(line(rest), b"");
    }
    while !line(rest).is_empty() {}
    body
}

fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = rest.windows(2).position(|two| two == b"\r\n").expect("a line");
    let (line, after) = rest.split_at(length);
    *rest = &after[2..];
    line
}
