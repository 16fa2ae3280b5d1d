//! What a token says (RFC 7519 section 4.1), and whether it holds now. Both kinds of tokens have the same claims: our own
//! ([`crate::wire::token`]) and JWTs ([`crate::wire::jwt`]). The time is an argument.
//!
//! | claim | value | meaning |
//! |---|---|---|
//! | `exp` | number | needed: when it ends, Unix seconds; at most [`GRANT_TOKEN_LIFE_S`] ahead |
//! | `nbf` | number | when it begins |
//! | `iat` | number | when it was made: what a revoked user had before counts no longer |
//! | `sub` | text | the user |
//! | `jti` | text | its id, by which it can be revoked |
//! | `iss`, `aud` | text; text or list | for whom it is, where the grant asks for it |
//! | `subscribe`, `publish` | pattern or list | channels it may do that in |
//! | `channels` | pattern or list | channels it may do both in |

use crate::limits::{
    GRANT_CLAIMS_DEPTH, GRANT_JWT_NAMES, GRANT_PATTERNS, GRANT_TOKEN_ID_BYTES, GRANT_TOKEN_LIFE_S,
    GRANT_USER_BYTES,
};
use crate::wire::json::{Kind, Reader, Value};
use crate::wire::pattern::Pattern;
use std::fmt;

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// Longer than it may be.
    TooLong,
    /// Not a token at all.
    Malformed,
    /// Of an algorithm that is not asked for, or one that does not exist.
    Algorithm,
    /// No key that is known, or a choice of several.
    Key,
    /// Not signed with the key.
    Signature,
    /// Says something in its head that has to be understood, and is not.
    Critical,
    /// Its claims are no object, or one that is needed is missing or of another kind.
    Claims(&'static str),
    /// It is over.
    Expired,
    /// It has not begun.
    NotYet,
    /// It would live longer than a revocation is kept.
    TooFarAhead,
    /// Of another issuer.
    Issuer,
    /// For another audience.
    Audience,
}

impl BadToken {
    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            BadToken::Expired => "grant_expired",
            BadToken::NotYet => "grant_not_yet",
            BadToken::Signature | BadToken::Key | BadToken::Algorithm => "grant_signature",
            _ => "grant_token",
        }
    }

    /// For the log and the answer.
    pub fn text(self) -> &'static str {
        match self {
            BadToken::TooLong => "the token is too long",
            BadToken::Malformed => "the token is malformed",
            BadToken::Algorithm => "the token's algorithm is not taken here",
            BadToken::Key => "the token's key is not known here",
            BadToken::Signature => "the token's signature is wrong",
            BadToken::Critical => "the token has a critical header that is not known here",
            BadToken::Claims(what) => what,
            BadToken::Expired => "the token has expired",
            BadToken::NotYet => "the token is not valid yet",
            BadToken::TooFarAhead => "the token would live too long",
            BadToken::Issuer => "the token is of another issuer",
            BadToken::Audience => "the token is for another audience",
        }
    }
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// When it begins, Unix milliseconds; 0 = it has begun.
    pub not_before_ms: u64,
    /// When it was made, Unix milliseconds; 0 = nobody knows.
    pub issued_ms: u64,
    /// The user.
    pub user: Option<Box<str>>,
    /// Its id.
    pub id: Option<Box<str>>,
    /// Who made it.
    pub issuer: Option<Box<str>>,
    /// For whom.
    pub audience: Vec<Box<str>>,
    /// Channels to subscribe to.
    pub subscribe: Vec<Pattern>,
    /// Channels to publish in.
    pub publish: Vec<Pattern>,
    /// Channels for both.
    pub channels: Vec<Pattern>,
    /// Whether it speaks of channels at all.
    pub names_channels: bool,
}

impl Claims {
    /// Reads claims.
    ///
    /// # Errors
    /// [`BadToken::Claims`].
    pub fn read(json: &[u8]) -> Result<Claims, BadToken> {
        if !is_shallow(json) {
            return Err(BadToken::Claims("the token's claims are nested too deep"));
        }
        let mut reader = Reader::default();
        let document =
            reader.read_bytes(json).map_err(|_| BadToken::Claims("the token's claims are not JSON"))?;
        let root = document.root();
        if root.kind() != Kind::Object {
            return Err(BadToken::Claims("the token's claims are no object"));
        }
        let date = |name| root.get(name).map(date).transpose();
        let text = |name, most| root.get(name).map(|value| text(value, most)).transpose();
        let patterns = |name| root.get(name).map(patterns).transpose();
        let (subscribe, publish, channels) =
            (patterns("subscribe")?, patterns("publish")?, patterns("channels")?);
        Ok(Claims {
            expires_ms: date("exp")?.ok_or(BadToken::Claims("the token has no time at which it expires"))?,
            not_before_ms: date("nbf")?.unwrap_or(0),
            issued_ms: date("iat")?.unwrap_or(0),
            user: text("sub", GRANT_USER_BYTES)?,
            id: text("jti", GRANT_TOKEN_ID_BYTES)?,
            issuer: text("iss", usize::MAX)?,
            audience: root.get("aud").map(audience).transpose()?.unwrap_or_default(),
            names_channels: subscribe.is_some() || publish.is_some() || channels.is_some(),
            subscribe: subscribe.unwrap_or_default(),
            publish: publish.unwrap_or_default(),
            channels: channels.unwrap_or_default(),
        })
    }

    /// Whether the token holds at `now_ms` (Unix milliseconds) for clocks that may be `leeway_ms` apart.
    ///
    /// # Errors
    /// [`BadToken::Expired`], [`BadToken::NotYet`], [`BadToken::TooFarAhead`].
    pub fn hold(&self, now_ms: u64, leeway_ms: u64) -> Result<(), BadToken> {
        if self.expires_ms.saturating_add(leeway_ms) <= now_ms {
            return Err(BadToken::Expired);
        }
        if self.not_before_ms > now_ms.saturating_add(leeway_ms) {
            return Err(BadToken::NotYet);
        }
        if self.expires_ms > now_ms.saturating_add(GRANT_TOKEN_LIFE_S * 1000 + leeway_ms) {
            return Err(BadToken::TooFarAhead);
        }
        Ok(())
    }

    /// Whether it may subscribe to (or publish in) the channel of this name.
    pub fn cover(&self, publish: bool, name: &[u8]) -> bool {
        let own = if publish { &self.publish } else { &self.subscribe };
        own.iter().chain(&self.channels).any(|pattern| pattern.matches(name))
    }
}

/// Whether no more than [`GRANT_CLAIMS_DEPTH`] brackets are open at a time. Those within strings are counted, too, which
/// can only make it stricter.
fn is_shallow(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    for byte in text {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > GRANT_CLAIMS_DEPTH {
            return false;
        }
    }
    true
}

/// A NumericDate (RFC 7519 section 2) in milliseconds.
fn date(value: Value<'_, '_>) -> Result<u64, BadToken> {
    let seconds: Option<f64> = (value.kind() == Kind::Number).then(|| value.raw().parse().ok()).flatten();
    match seconds {
        // 2^53 milliseconds are further away than anything.
        Some(seconds) if (0.0..9e12).contains(&seconds) => Ok((seconds * 1000.0) as u64),
        _ => Err(BadToken::Claims("a time in the token's claims is none")),
    }
}

fn text(value: Value<'_, '_>, most_bytes: usize) -> Result<Box<str>, BadToken> {
    match value.as_str() {
        Some(text) if text.len() <= most_bytes => Ok(text.into()),
        Some(_) => Err(BadToken::Claims("a text in the token's claims is too long")),
        None => Err(BadToken::Claims("a text in the token's claims is none")),
    }
}

/// One text, or a list of texts.
fn texts<'t, 'a>(value: Value<'t, 'a>, most: usize) -> Result<Vec<&'a str>, BadToken> {
    let wrong = BadToken::Claims("a list in the token's claims is none, or too long");
    match value.kind() {
        Kind::String => Ok(value.as_str().into_iter().collect()),
        Kind::Array if value.items().len() <= most => {
            value.items().map(|item| item.as_str().ok_or(wrong)).collect()
        }
        _ => Err(wrong),
    }
}

fn audience(value: Value<'_, '_>) -> Result<Vec<Box<str>>, BadToken> {
    Ok(texts(value, GRANT_JWT_NAMES)?.into_iter().map(Into::into).collect())
}

fn patterns(value: Value<'_, '_>) -> Result<Vec<Pattern>, BadToken> {
    let texts = texts(value, GRANT_PATTERNS)?.into_iter();
    let patterns = texts.map(Pattern::parse).collect::<Result<_, _>>();
    patterns.map_err(|_| BadToken::Claims("a pattern of channels in the token's claims is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn read(text: &str) -> Result<Claims, BadToken> {
        Claims::read(text.as_bytes())
    }

    #[test]
    fn claims_are_read_and_others_left_alone() {
        let claims = read(
            r#"{"exp":1700000000.5,"nbf":1,"iat":2,"sub":"u","jti":"t","iss":"i","aud":["a","b"],
               "subscribe":"news.*","publish":["a","b*"],"roles":{"x":[1,null]},"exp2":"?"}"#,
        )
        .unwrap();
        assert_eq!((claims.expires_ms, claims.not_before_ms, claims.issued_ms), (NOW_MS + 500, 1000, 2000));
        assert_eq!((claims.user.as_deref(), claims.id.as_deref()), (Some("u"), Some("t")));
        assert_eq!((claims.issuer.as_deref(), claims.audience.len()), (Some("i"), 2));
        assert!(claims.cover(false, b"news.x") && !claims.cover(true, b"news.x"));
        assert!(claims.cover(true, b"b1") && !claims.cover(false, b"b1"));
        let both = read(r#"{"exp":1,"channels":["c"]}"#).unwrap();
        assert!(both.cover(true, b"c") && both.cover(false, b"c") && !both.cover(false, b"d"));
        assert!(!read(r#"{"exp":1}"#).unwrap().names_channels);
        assert!(read(r#"{"exp":1,"publish":[]}"#).unwrap().names_channels);
    }

    #[test]
    fn wrong_claims_are_refused() {
        let many = format!(r#"{{"exp":1,"channels":[{}"a"]}}"#, r#""a","#.repeat(GRANT_PATTERNS));
        let deep = format!(
            r#"{{"exp":1,"x":{}{}}}"#,
            "[".repeat(GRANT_CLAIMS_DEPTH),
            "]".repeat(GRANT_CLAIMS_DEPTH)
        );
        let long = format!(r#"{{"exp":1,"sub":"{}"}}"#, "u".repeat(GRANT_USER_BYTES + 1));
        let id = format!(r#"{{"exp":1,"jti":"{}"}}"#, "u".repeat(GRANT_TOKEN_ID_BYTES + 1));
        for wrong in [
            "",
            "[]",
            "{}",
            "1",
            r#"{"exp":"1"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":1e300}"#,
            r#"{"exp":1,"sub":7}"#,
            r#"{"exp":1,"aud":[1]}"#,
            r#"{"exp":1,"channels":{"a":1}}"#,
            r#"{"exp":1,"channels":["a\\b"]}"#,
            r#"{"exp":1,"channels":""}"#,
            &many,
            &deep,
            &long,
            &id,
        ] {
            assert!(matches!(read(wrong), Err(BadToken::Claims(_))), "{wrong}");
        }
    }

    #[test]
    fn tokens_hold_between_their_times() {
        let claims = |exp, nbf| Claims { expires_ms: exp, not_before_ms: nbf, ..Claims::default() };
        assert_eq!(claims(NOW_MS + 1, NOW_MS).hold(NOW_MS, 0), Ok(()));
        assert_eq!(claims(NOW_MS, 0).hold(NOW_MS, 0), Err(BadToken::Expired));
        assert_eq!(claims(NOW_MS, 0).hold(NOW_MS, 1), Ok(()));
        assert_eq!(claims(NOW_MS + 9, NOW_MS + 2).hold(NOW_MS, 1), Err(BadToken::NotYet));
        assert_eq!(claims(NOW_MS + 9, NOW_MS + 2).hold(NOW_MS, 2), Ok(()));
        let life_ms = GRANT_TOKEN_LIFE_S * 1000;
        assert_eq!(claims(NOW_MS + life_ms, 0).hold(NOW_MS, 0), Ok(()));
        assert_eq!(claims(NOW_MS + life_ms + 1, 0).hold(NOW_MS, 0), Err(BadToken::TooFarAhead));
    }
}
