//! Tokens, JWTs, claims, patterns, sets of keys. The body is lines: a token, claims, a pattern, a name, and the rest is a
//! file of keys.

use super::input::Input;
use fanwire::limits::{GRANT_PATTERNS, GRANT_TOKEN_LIFE_S, GRANT_USER_BYTES};
use fanwire::wire::claims::Claims;
use fanwire::wire::jwt::{Algorithm, Key, Verifier};
use fanwire::wire::pattern::Pattern;
use fanwire::wire::token;

const NOW_MS: u64 = 1_700_000_000_000;
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let text = String::from_utf8_lossy(input.body);
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (given, claims, pattern, name, keys) = (line(), line(), line(), line(), line());
    patterns(pattern, name);
    let read = read(claims);
    tokens(given, claims, read.is_some());
    jwts(given, keys);
}

/// The rule of patterns in plain words.
pub fn plainly(pattern: &[u8], name: &[u8]) -> bool {
    // Which beginnings of the name the pattern so far can stand for.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    let mut rest = pattern;
    while let Some((&byte, after)) = rest.split_first() {
        let mut next = vec![false; name.len() + 1];
        if byte == b'*' {
            let mut any = false;
            for (at, reached) in reached.iter().enumerate() {
                any |= reached;
                next[at] = any;
            }
            rest = after;
        } else {
            let (literal, after) = if byte == b'\\' { (after[0], &after[1..]) } else { (byte, after) };
            for at in 0..name.len() {
                next[at + 1] = reached[at] && name[at] == literal;
            }
            rest = after;
        }
        reached = next;
    }
    reached[name.len()]
}

fn patterns(pattern: &str, name: &str) {
    let Ok(parsed) = Pattern::parse(pattern) else { return };
    if pattern.len() * name.len() < 100_000 {
        assert_eq!(parsed.matches(name.as_bytes()), plainly(pattern.as_bytes(), name.as_bytes()));
    }
}

fn read(claims: &str) -> Option<Claims> {
    let read = Claims::read(claims.as_bytes()).ok()?;
    let json: serde_json::Value = serde_json::from_str(claims).expect("what is read is JSON");
    assert!(json["exp"].is_number() && json.is_object());
    assert!(read.user.as_ref().is_none_or(|user| user.len() <= GRANT_USER_BYTES));
    assert!(read.channels.len() <= GRANT_PATTERNS && read.subscribe.len() <= GRANT_PATTERNS);
    if read.hold(NOW_MS, 0).is_ok() {
        assert!(read.expires_ms > NOW_MS && read.expires_ms <= NOW_MS + GRANT_TOKEN_LIFE_S * 1000);
        assert!(read.not_before_ms <= NOW_MS);
    }
    Some(read)
}

/// What is signed is taken with its secret if its claims are claims; nothing else is.
fn tokens(given: &str, claims: &str, good: bool) {
    assert!(token::verify(SECRET, given).is_err(), "nobody has signed it");
    let signed = token::sign(SECRET, claims.as_bytes());
    let fits = signed.len() <= fanwire::limits::GRANT_TOKEN_BYTES;
    assert_eq!(token::verify(SECRET, &signed).is_ok(), good && fits);
    assert!(token::verify(b"another", &signed).is_err());
    let cut = &signed[..signed.len() - 1];
    assert!(token::verify(SECRET, cut).is_err() && token::verify(SECRET, &format!("{signed}A")).is_err());
}

/// Nobody has signed anything here: no key and no algorithm lets it in.
fn jwts(given: &str, keys: &str) {
    let mut all = vec![Key::secret(SECRET).expect("it is long enough")];
    if let Ok(set) = Key::set(keys.as_bytes()) {
        assert!(!set.is_empty());
        // A set may hold secrets, which the fuzzer knows; public keys it cannot sign with.
        let public = serde_json::from_str::<serde_json::Value>(keys)
            .is_ok_and(|keys| !keys.to_string().contains("\"oct\""));
        if public {
            all.extend(set);
        }
    }
    all.extend(Key::pem(keys.as_bytes()));
    for algorithms in [Algorithm::ALL.to_vec(), vec![Algorithm::EdDsa]] {
        let verifier = Verifier {
            algorithms,
            keys: all.clone(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_ms: 1000,
        };
        let judged = verifier.verify(given, NOW_MS);
        assert!(judged.is_err());
        assert!(!judged.expect_err("as above").text().is_empty());
    }
}
