//! What relay requests say in headers and targets: dates, lists, Accept and TE, CORS origins, escapes and paths.
//!
//! The body is lines; each of them is looked at as a value of every kind, and all of them as a request for a channel
//! (see [`super::relay_ids`]).

use fanwire::wire::http::accept::{InfoFormat, accepts_contains, info_format, te_chunked};
use fanwire::wire::http::cors::{AllowOrigin, Answer, Cors};
use fanwire::wire::http::target::{Target, decode, decode_form, decode_text, normalize, pairs};
use fanwire::wire::http::{date, list};

use super::input::Input;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let lines: Vec<&[u8]> = input.body.split(|byte| *byte == b'\n').collect();
    for line in &lines {
        dates(line);
        lists(line);
        escapes(line);
        paths(line);
        if let Ok(text) = std::str::from_utf8(line) {
            targets(text);
        }
        origins(line);
    }
    negotiation(&lines);
    super::relay_ids::check(data);
}

fn dates(text: &[u8]) {
    let parsed = date::parse(text);
    if let Some(seconds) = parsed {
        assert!(seconds <= date::MAX_SECONDS);
        assert_eq!(date::parse(&date::format(seconds)), Some(seconds.max(0)), "formatted and parsed");
    }
    let other = std::str::from_utf8(text).ok().and_then(|text| httpdate::parse_http_date(text).ok());
    if let Some(other) = other.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()) {
        assert_eq!(parsed, Some(other.as_secs() as i64), "another parser reads it");
    }
}

fn lists(value: &[u8]) {
    let items: Vec<&[u8]> = list::items(value).collect();
    for item in &items {
        assert!(!item.is_empty() && item.trim_ascii() == *item);
        let (token, parameters) = list::split_parameters(item);
        assert!(token.len() + parameters.len() <= item.len());
        if let Some(q) = list::parameter(parameters, "q") {
            assert!(parameters.windows(q.len().max(1)).any(|window| window == q) || q.is_empty());
        }
    }
    let balanced = items.iter().all(|item| !item.contains(&b'"') && !item.contains(&b'\\'));
    if balanced {
        let plain = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty());
        assert_eq!(items, plain.collect::<Vec<_>>());
        assert_eq!(items, list::items(&items.join(&b", "[..])).collect::<Vec<_>>());
    }
    if let Some(first) = items.first()
        && let Ok(token) = std::str::from_utf8(list::split_parameters(first).0)
    {
        assert!(list::contains([value], &token.to_ascii_uppercase()));
    }
}

fn escapes(raw: &[u8]) {
    let hex = |at: usize| raw.get(at).is_some_and(u8::is_ascii_hexdigit);
    let valid = (0..raw.len()).all(|at| raw[at] != b'%' || (hex(at + 1) && hex(at + 2)));
    let decoded = decode(raw);
    assert_eq!(decoded.is_ok(), valid);
    let Ok(decoded) = decoded else { return };
    let other: Vec<u8> = percent_encoding::percent_decode(raw).collect();
    assert_eq!(*decoded, other[..], "another decoder");
    let escaped = percent_encoding::percent_encode(&decoded, percent_encoding::NON_ALPHANUMERIC).to_string();
    assert_eq!(decode(escaped.as_bytes()).as_deref(), Ok(&*decoded));
    if let Ok(raw) = std::str::from_utf8(raw) {
        assert_eq!(decode_text(raw).is_ok(), std::str::from_utf8(&decoded).is_ok());
        assert_eq!(
            decode_form(raw).map(|text| text.len()).ok(),
            decode_text(raw).map(|text| text.len()).ok()
        );
    }
}

fn paths(path: &[u8]) {
    let mut depth = 0i64;
    let mut above = path.first() != Some(&b'/');
    for segment in path.split(|byte| *byte == b'/') {
        depth += match segment {
            b"" | b"." => 0,
            b".." => -1,
            _ => 1,
        };
        above |= depth < 0;
    }
    let normalized = normalize(path);
    assert_eq!(normalized.is_err(), above, "above the root or not");
    let Ok(normalized) = normalized else { return };
    assert!(normalized.len() <= path.len());
    let mut segments = normalized.split(|byte| *byte == b'/');
    assert_eq!(segments.next(), Some(&b""[..]));
    let segments: Vec<&[u8]> = segments.collect();
    let (last, inner) = segments.split_last().expect("one segment");
    assert!(inner.iter().all(|segment| !segment.is_empty()) && !matches!(*last, b"." | b".."));
    assert!(segments.iter().all(|segment| !matches!(*segment, b"." | b"..")));
    assert_eq!(normalize(&normalized).as_deref(), Ok(&*normalized));
}

fn targets(text: &str) {
    let target = Target::parse(text);
    let query = target.query_raw.map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(format!("{}{query}", target.path_raw), text);
    assert!(!target.path_raw.contains('?'));
    for (name, value) in target.args() {
        assert!(!name.contains('=') && !name.contains('&'));
        if value.is_some() {
            let first = target.args().find(|(key, value)| value.is_some() && key.eq_ignore_ascii_case(name));
            assert_eq!(target.arg(&name.to_ascii_uppercase()), first.and_then(|(_, value)| value));
        }
    }
    let joined: Vec<String> = pairs(text)
        .map(|(name, value)| value.map_or(name.to_owned(), |value| format!("{name}={value}")))
        .collect();
    assert_eq!(joined, text.split('&').filter(|piece| !piece.is_empty()).collect::<Vec<_>>());
}

fn origins(origin: &[u8]) {
    let list = AllowOrigin::List(vec!["http://a".into(), "https://b.example:8443".into()]);
    for policy in [Cors::nchan(), Cors::relay(), Cors { allow_origin: list.clone(), ..Cors::nchan() }] {
        let decision = policy.decide(Some(origin));
        if policy.allow_origin == list && !origin.is_empty() {
            let known: [&[u8]; 2] = [b"http://a", b"https://b.example:8443"];
            assert_eq!(decision.allowed, known.iter().any(|known| known.eq_ignore_ascii_case(origin)));
        }
        for answer in [Answer::Plain, Answer::Message, Answer::Preflight("GET, POST")] {
            let mut lines = Vec::new();
            decision.write(&mut lines, answer);
            // Nobody may put lines of their own into an answer.
            let text = String::from_utf8_lossy(&lines);
            assert!(lines.is_empty() || text.ends_with("\r\n"));
            let lines = text.split_terminator("\r\n");
            assert!(
                lines
                    .into_iter()
                    .all(|line| line.starts_with("Access-Control-") && !line.contains(['\r', '\n', '\0']))
            );
        }
    }
}

fn negotiation(lines: &[&[u8]]) {
    let joined = lines.join(&b", "[..]);
    if !joined.contains(&b'"') {
        assert_eq!(info_format(lines.iter().copied()), info_format([&joined[..]]));
        assert_eq!(te_chunked(lines.iter().copied()), te_chunked([&joined[..]]));
        assert_eq!(info_format(lines.iter().copied()), plain_info_format(&joined));
    }
    let streams = joined.to_ascii_lowercase();
    let found = streams.windows(17).any(|window| window == b"text/event-stream");
    assert_eq!(accepts_contains(&joined, b"text/event-stream"), found);
}

/// The rule of the sheet in plain words: the first media range whose subtype begins with a known name.
fn plain_info_format(accept: &[u8]) -> InfoFormat {
    let lower = accept.to_ascii_lowercase();
    for range in lower.split(|byte| *byte == b',') {
        let range = range.trim_ascii();
        let subtype = range.strip_prefix(b"text/").or_else(|| range.strip_prefix(b"application/"));
        let Some(subtype) = subtype else { continue };
        let begins = |name: &str| subtype.starts_with(name.as_bytes());
        if begins("plain") {
            return InfoFormat::Plain;
        } else if begins("json") || begins("x-json") {
            return InfoFormat::Json;
        } else if begins("yaml") || begins("x-yaml") {
            return InfoFormat::Yaml;
        } else if begins("xml") {
            return InfoFormat::Xml;
        }
    }
    InfoFormat::Plain
}
