//! Signatures of the Pusher protocols (pusher.md sections 6, 11 and 12): HMAC-SHA256 and MD5 in lower-case hex.
//!
//! Nothing here is compared but in constant time, and no time is read: it is an argument.

use crate::wire::http::date;
use crate::wire::http::target::{decode, decode_text, pairs};
use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use std::borrow::Cow;
use std::fmt;
use subtle::ConstantTimeEq;

/// A digest as lower-case hex. There is no `==`: see [`Hex::matches`].
#[derive(Clone, Copy)]
pub struct Hex<const DIGITS: usize>([u8; DIGITS]);

/// HMAC-SHA256.
pub type Signature = Hex<64>;

impl<const DIGITS: usize> Hex<DIGITS> {
    fn new(digest: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut out = [b'0'; DIGITS];
        for (pair, byte) in out.chunks_exact_mut(2).zip(digest) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Hex(out)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether `given` is this, in a time that does not tell where they differ. Upper-case digits are others.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

impl<const DIGITS: usize> fmt::Display for Hex<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const DIGITS: usize> fmt::Debug for Hex<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// HMAC-SHA256 of `message`; the key is the secret as text, of any length.
pub fn hmac_sha256(secret: &[u8], message: &[u8]) -> Signature {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(message);
    Hex::new(&mac.finalize().into_bytes())
}

/// MD5 of the bytes of a body as they came, before anything decoded them.
pub fn md5(body: &[u8]) -> Hex<32> {
    Hex::new(&Md5::digest(body))
}

/// Whether two texts are equal, in a time that tells only whether their lengths are.
pub fn same_text(expected: &str, given: &str) -> bool {
    expected.as_bytes().ct_eq(given.as_bytes()).into()
}

/// What is signed for a subscription (section 6): with `channel_data` for presence channels, byte for byte as the
/// client sent it, without for private ones.
pub fn channel_string(socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        None => format!("{socket_id}:{channel}"),
        Some(data) => format!("{socket_id}:{channel}:{data}"),
    }
}

/// What is signed for a sign-in (section 6).
pub fn user_string(socket_id: &str, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// The value of `X-Pusher-Signature` for a web hook with this body (section 12).
pub fn webhook(secret: &[u8], body: &[u8]) -> Signature {
    hmac_sha256(secret, body)
}

/// The `shared_secret` of an encrypted channel, Base64 (section 6).
pub fn shared_secret(channel: &str, master_key: &[u8; 32]) -> String {
    BASE64_STANDARD.encode(Sha256::new().chain_update(channel).chain_update(master_key).finalize())
}

/// A signed request as it came.
#[derive(Clone, Copy, Debug)]
pub struct ApiCall<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The path as sent, not decoded.
    pub path: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

/// The query of a signed request: names in lower case, values decoded once, in the order they are signed in.
#[derive(Clone, Debug)]
pub struct ApiQuery<'a> {
    /// Sorted by the bytes of the names; what repeats stays in its order.
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> ApiQuery<'a> {
    /// Reads a raw query. An escape that is none stays as it is (some stacks send values raw).
    pub fn parse(query: &'a str) -> Self {
        let mut pairs: Vec<_> = pairs(query)
            .map(|(name, value)| (lower(decoded(name)), decoded(value.unwrap_or_default())))
            .collect();
        pairs.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        ApiQuery { pairs }
    }

    /// The value of a parameter, the first one where it repeats.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
    }

    /// The parameter that says whose secret signed.
    ///
    /// # Errors
    /// [`BadCall::Missing`].
    pub fn auth_key(&self) -> Result<&str, BadCall> {
        self.required("auth_key")
    }

    fn required(&self, name: &'static str) -> Result<&str, BadCall> {
        self.get(name).ok_or(BadCall::Missing { name })
    }

    /// What is signed (section 11): `path` is taken as it is.
    pub fn string_to_sign(&self, method: &str, path: &str) -> String {
        let mut out = format!("{method}\n{path}\n");
        let signed = self.pairs.iter().filter(|(name, _)| name != "auth_signature");
        for (number, (name, value)) in signed.enumerate() {
            let and = if number == 0 { "" } else { "&" };
            out.extend([and, name, "=", value]);
        }
        out
    }

    /// Checks version, time, body and signature, in this order.
    ///
    /// A `body_md5` is checked wherever it is sent, also without a body (the Python library does that), and has to
    /// be there when there is a body: without it nobody has signed that.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(
        &self,
        call: &ApiCall<'_>,
        secret: &[u8],
        now_s: u64,
        tolerance_s: u64,
    ) -> Result<(), BadCall> {
        let version = self.required("auth_version")?;
        if version != "1.0" {
            return Err(BadCall::Version { given: version.into() });
        }
        let timestamp = self.required("auth_timestamp")?;
        let given_s = seconds(timestamp).ok_or_else(|| BadCall::Timestamp { given: timestamp.into() })?;
        if given_s.abs_diff(now_s) > tolerance_s {
            return Err(BadCall::Expired { given_s, now_s, tolerance_s });
        }
        if let Some(given) = self.get("body_md5") {
            let ours = md5(call.body);
            if !ours.matches(given.as_bytes()) {
                return Err(BadCall::Body { ours, given: given.into() });
            }
        } else if !call.body.is_empty() {
            return Err(BadCall::Missing { name: "body_md5" });
        }
        self.verify_signature(call, secret)
    }

    fn verify_signature(&self, call: &ApiCall<'_>, secret: &[u8]) -> Result<(), BadCall> {
        let given = self.required("auth_signature")?;
        let signed_with = |path: &str| {
            let text = self.string_to_sign(call.method, path);
            (hmac_sha256(secret, text.as_bytes()).matches(given.as_bytes()), text)
        };
        let (good, string_to_sign) = signed_with(call.path);
        if good {
            return Ok(());
        }
        // Some stacks escape the path only after they have signed it.
        match decode_text(call.path) {
            Ok(Cow::Owned(path)) if signed_with(&path).0 => Ok(()),
            _ => Err(BadCall::Signature { string_to_sign: string_to_sign.into(), given: given.into() }),
        }
    }
}

fn decoded(raw: &str) -> Cow<'_, str> {
    decode_text(raw).unwrap_or_else(|_| match decode(raw.as_bytes()) {
        Ok(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Cow::Borrowed(raw),
    })
}

fn lower(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        name
    }
}

fn seconds(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Why a signed request is none. The texts are those of the hosted service where they are known (section 11).
#[derive(Clone, Debug)]
pub enum BadCall {
    /// A parameter is not there.
    Missing {
        /// Which.
        name: &'static str,
    },
    /// Another version than 1.0.
    Version {
        /// As sent.
        given: Box<str>,
    },
    /// Not a number of seconds.
    Timestamp {
        /// As sent.
        given: Box<str>,
    },
    /// Signed too long ago, or too far in the future.
    Expired {
        /// Unix seconds in the request.
        given_s: u64,
        /// Unix seconds here.
        now_s: u64,
        /// How far they may be apart.
        tolerance_s: u64,
    },
    /// The body is not what was signed.
    Body {
        /// MD5 of the body.
        ours: Hex<32>,
        /// As sent.
        given: Box<str>,
    },
    /// The signature is another one.
    Signature {
        /// What should have been signed.
        string_to_sign: Box<str>,
        /// As sent.
        given: Box<str>,
    },
}

impl fmt::Display for BadCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadCall::Missing { name } => write!(f, "Missing parameter: {name}"),
            BadCall::Version { given } => write!(f, "Version must be 1.0, not \"{given}\""),
            BadCall::Timestamp { given } => write!(f, "Invalid auth_timestamp \"{given}\": not Unix seconds"),
            BadCall::Expired { given_s, now_s, tolerance_s } => write!(
                f,
                "Timestamp expired: Given timestamp ({}) not within {tolerance_s}s of server time ({})",
                Iso(*given_s),
                Iso(*now_s)
            ),
            BadCall::Body { ours, given } => {
                write!(f, "Invalid body_md5: the MD5 of the body is {ours}, but you sent \"{given}\"")
            }
            BadCall::Signature { string_to_sign, given } => write!(
                f,
                "Invalid signature: you should have sent HmacSHA256Hex(\"{string_to_sign}\", your_secret_key), \
                 but you sent \"{given}\""
            ),
        }
    }
}

/// Unix seconds as ISO 8601 in UTC.
struct Iso(u64);

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = date::format(i64::try_from(self.0).unwrap_or(i64::MAX));
        let text = std::str::from_utf8(&fixed).unwrap_or_default();
        // `Sun, 06 Nov 1994 08:49:37 GMT`
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = months.find(&text[8..11]).unwrap_or(0) / 3 + 1;
        write!(f, "{}-{month:02}-{}T{}Z", &text[12..16], &text[5..7], &text[17..25])
    }
}

#[cfg(test)]
mod tests;
