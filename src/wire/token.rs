//! The node's own signed tokens: `fw1.PAYLOAD.SIGNATURE`. PAYLOAD is the claims ([`crate::wire::claims`]) as JSON in
//! base64url without padding; SIGNATURE is HMAC-SHA256 of `fw1.PAYLOAD`, as it stands there, with the app's secret, in
//! base64url without padding.
//!
//! Nothing else that is signed with an app's secret begins so: subscriptions and sign-ins have a colon, requests a line
//! break, JWTs begin with `eyJ`.

use crate::limits::GRANT_TOKEN_BYTES;
use crate::wire::claims::{BadToken, Claims};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What all tokens begin with.
pub const PREFIX: &str = "fw1.";

fn mac(secret: &[u8], signed: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(signed);
    mac
}

/// Signs claims, which are JSON.
pub fn sign(secret: &[u8], claims: &[u8]) -> String {
    let signed = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(claims));
    let signature = mac(secret, signed.as_bytes()).finalize().into_bytes();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The claims of a token that was signed with `secret`. Whether they hold now is another question
/// ([`Claims::hold`]). Signatures are compared in constant time.
///
/// # Errors
/// See [`BadToken`].
pub fn verify(secret: &[u8], token: &str) -> Result<Claims, BadToken> {
    if token.len() > GRANT_TOKEN_BYTES {
        return Err(BadToken::TooLong);
    }
    let body = token.strip_prefix(PREFIX).ok_or(BadToken::Malformed)?;
    let (payload, signature) = body.split_once('.').ok_or(BadToken::Malformed)?;
    let signed = &token[..PREFIX.len() + payload.len()];
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken::Malformed);
    let signature = decode(signature)?;
    mac(secret, signed.as_bytes()).verify_slice(&signature).map_err(|_| BadToken::Signature)?;
    Claims::read(&decode(payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &[u8] = br#"{"exp":1700000000,"sub":"u","channels":["a"]}"#;

    #[test]
    fn tokens_are_taken_with_their_own_secret_only() {
        let token = sign(b"secret", CLAIMS);
        assert_eq!(verify(b"secret", &token).unwrap().user.as_deref(), Some("u"));
        assert_eq!(verify(b"other", &token), Err(BadToken::Signature));
        assert_eq!(verify(b"", &token), Err(BadToken::Signature));
    }

    /// Made with `openssl dgst -sha256 -hmac secret -binary | basenc --base64url` of `fw1.eyJleHAiOjF9`.
    #[test]
    fn the_format_is_the_one_that_is_written_down() {
        let token = "fw1.eyJleHAiOjF9.hVdR41zyYYwD4GhQHfhx418eVijgPJ9NTMGHTdRDNkU";
        assert_eq!(sign(b"secret", br#"{"exp":1}"#), token);
    }

    #[test]
    fn what_differs_in_a_byte_is_refused() {
        let token = sign(b"secret", CLAIMS);
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(verify(b"secret", &other).is_err(), "{at}");
            assert!(verify(b"secret", &token[..at]).is_err(), "{at}");
        }
        assert_eq!(verify(b"secret", &format!("{token}=")), Err(BadToken::Malformed));
        assert_eq!(verify(b"secret", &format!("{token}.")), Err(BadToken::Malformed));
        assert_eq!(verify(b"secret", &"x".repeat(GRANT_TOKEN_BYTES + 1)), Err(BadToken::TooLong));
        assert!(matches!(verify(b"secret", &sign(b"secret", b"{}")), Err(BadToken::Claims(_))));
    }
}
