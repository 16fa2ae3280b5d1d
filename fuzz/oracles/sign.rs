//! Signatures: queries of signed requests, auth strings of clients, names of connections. The body is lines: a
//! method, a path, a query, the body of a request, an auth string, a channel and its data.

use super::input::Input;
use fanwire::dialect::pusher::auth::{self, Keys};
use fanwire::dialect::pusher::frame::{Signin, Subscribe};
use fanwire::dialect::pusher::handshake::SocketId;
use fanwire::dialect::pusher::name::Name;
use fanwire::limits::PUSHER_CHANNEL_NAME_BYTES;
use fanwire::wire::json::Reader;
use fanwire::wire::sign::{ApiCall, ApiQuery, channel_string, hmac_sha256, md5, user_string};
use percent_encoding::percent_decode_str;

const NOW_S: u64 = 1_700_000_000;
const SECRET: &[u8] = b"secret";
const KEYS: Keys<'_> = Keys { key: "key", secret: "secret" };

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let text = String::from_utf8_lossy(input.body);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, path, query, body) = (line(), line(), line(), line());
    queries(method, path, query);
    calls(method, path, query, body, input.flag(0));
    let (given, channel, channel_data) = (line(), line(), line());
    auths(given, channel, channel_data, input.flag(1));
    names(given);
    names(channel);
}

/// The rule of the sheet in plain words.
fn plain(method: &str, path: &str, query: &str) -> String {
    let decoded = |raw: &str| {
        let bytes = raw.as_bytes();
        let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        let escaped =
            (0..bytes.len()).filter(|at| bytes[*at] == b'%').all(|at| is_hex(at + 1) && is_hex(at + 2));
        if escaped { percent_decode_str(raw).decode_utf8_lossy().into_owned() } else { raw.to_owned() }
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        pairs.push((decoded(name).to_ascii_lowercase(), decoded(value)));
    }
    pairs.retain(|(name, _)| name != "auth_signature");
    pairs.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{method}\n{path}\n{}", pairs.join("&"))
}

fn queries(method: &str, path: &str, query: &str) {
    assert_eq!(ApiQuery::parse(query).string_to_sign(method, path), plain(method, path, query));
}

/// What is signed rightly is taken, and nothing that differs from it.
fn calls(method: &str, path: &str, query: &str, body: &str, with_body: bool) {
    let body = if with_body { body.as_bytes() } else { b"" };
    let call = ApiCall { method, path, body };
    let given = ApiQuery::parse(query).verify(&call, SECRET, NOW_S, 600);
    if let Err(bad) = &given {
        assert!(!bad.to_string().is_empty());
    }
    // The first of a name counts: what the query has already comes behind.
    let lower = query.to_ascii_lowercase();
    if lower.contains("auth") || lower.contains("body") || lower.contains('%') {
        return;
    }
    assert!(given.is_err(), "nobody has signed it");
    let hash = if body.is_empty() { String::new() } else { format!("&body_md5={}", md5(body)) };
    let query = format!("{query}&auth_key=key&auth_timestamp={NOW_S}&auth_version=1.0{hash}");
    let signature = hmac_sha256(SECRET, plain(method, path, &query).as_bytes());
    let good = format!("{query}&auth_signature={signature}");
    let verify =
        |query: &str, call: &ApiCall<'_>, now_s| ApiQuery::parse(query).verify(call, SECRET, now_s, 600);
    assert!(verify(&good, &call, NOW_S).is_ok() && verify(&good, &call, NOW_S + 600).is_ok());
    assert!(verify(&good, &call, NOW_S + 601).is_err() && verify(&good, &call, NOW_S - 601).is_err());
    assert!(verify(&format!("{good}&more=1"), &call, NOW_S).is_err());
    assert!(verify(&format!("x{good}"), &call, NOW_S).is_err() || query.starts_with('&'));
    let longer = format!("{method}x");
    assert!(verify(&good, &ApiCall { method: &longer, ..call }, NOW_S).is_err());
    let other = [body, b"x"].concat();
    assert!(verify(&good, &ApiCall { body: &other, ..call }, NOW_S).is_err());
    assert!(ApiQuery::parse(&good).verify(&call, b"another", NOW_S, 600).is_err());
}

/// Only the one right signature lets a client in.
fn auths(given: &str, channel: &str, data: &str, with_data: bool) {
    let mut reader = Reader::default();
    let data_given = with_data.then_some(data);
    if let Ok(name) = Name::parse(channel, PUSHER_CHANNEL_NAME_BYTES) {
        let good =
            format!("key:{}", hmac_sha256(SECRET, channel_string("1.2", channel, data_given).as_bytes()));
        for auth in [given, &good] {
            let asked = Subscribe { channel: name, auth: Some(auth), channel_data: data_given };
            let judged = auth::subscribe(KEYS, "1.2", &asked, None, &mut reader);
            let kind = name.kind();
            match judged {
                Ok(member) => {
                    assert!(auth == good || !kind.needs_auth());
                    assert_eq!(member.is_some(), kind.is_presence());
                    assert!(
                        member.is_none_or(|member| !member.id.is_empty() && member.id.chars().count() <= 128)
                    );
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    assert!(auth != good || kind.is_presence() || name.user_id().is_some(), "{error}");
                }
            }
            assert!(auth::subscribe(KEYS, "1.3", &asked, None, &mut reader).is_err() || !kind.needs_auth());
        }
    }
    let good = format!("key:{}", hmac_sha256(SECRET, user_string("1.2", data).as_bytes()));
    for auth in [given, &good] {
        let asked = Signin { auth: Some(auth), user_data: data };
        if let Ok(user) = auth::signin(KEYS, "1.2", &asked, &mut reader) {
            assert!(auth == good && user.watchlist.len() <= 100 && !user.member.id.is_empty());
            assert!(user.watchlist.iter().all(|id| !id.is_empty() && id.chars().count() <= 128));
        }
    }
}

fn names(text: &str) {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = text.split_once('.').is_some_and(|(high, low)| digits(high) && digits(low));
    match SocketId::parse(text) {
        Ok(Some(name)) => assert_eq!(name.to_string(), text),
        Ok(None) => assert!(well_formed),
        Err(_) => assert!(!well_formed),
    }
}
