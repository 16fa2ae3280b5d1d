//! JSON Web Tokens (RFC 7519, RFC 8725) as the `jsonwebtoken` crate reads heads and keys and checks signatures, on `ring`.
//! What the claims mean, and whether they hold now, is judged by [`crate::wire::claims`], because the crate asks a clock.
//!
//! - A key is for one algorithm, which is known before any token comes (RFC 8725 section 3.1): a public key is never
//!   taken for a secret, and `none` does not exist.
//! - A token with a `kid` is checked with the key of that id, or with one that was configured without an id; a token
//!   without one is checked if there is exactly one key for its algorithm.
//! - A token with a `crit` head is refused: nothing that may stand there is known here (RFC 7515 section 4.1.11).

mod provider;

use crate::limits::{
    GRANT_JWKS_BYTES, GRANT_JWKS_KEYS, GRANT_JWT_SECRET_BYTES_MIN, GRANT_PEM_BYTES, GRANT_TOKEN_BYTES,
};
use crate::wire::claims::{BadToken, Claims};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use std::fmt;

/// The algorithms that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA256 with a secret.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 4] = [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

    /// As it stands in a head.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    fn of_library(algorithm: jsonwebtoken::Algorithm) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|known| known.library() == algorithm)
    }
}

/// One key.
#[derive(Clone)]
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Without what is secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// The secret has fewer than [`GRANT_JWT_SECRET_BYTES_MIN`] bytes.
    ShortSecret,
    /// The file is larger than it may be.
    TooLarge,
    /// Not one public key of a kind that is known, in PEM.
    Pem,
    /// Not a set of keys (RFC 7517 section 5).
    Jwks,
    /// More keys than [`GRANT_JWKS_KEYS`].
    TooMany,
    /// None of the keys of a set can be used.
    NoneUsable,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadKey::ShortSecret => write!(f, "the secret has less than {GRANT_JWT_SECRET_BYTES_MIN} bytes"),
            BadKey::TooLarge => f.write_str("the file is too large"),
            BadKey::Pem => {
                f.write_str("it has no public key in PEM that is RSA (2048 bits or more), P-256 or Ed25519")
            }
            BadKey::Jwks => f.write_str("it is no set of keys as RFC 7517 has it"),
            BadKey::TooMany => write!(f, "it has more than {GRANT_JWKS_KEYS} keys"),
            BadKey::NoneUsable => f.write_str("none of its keys can check a signature here"),
        }
    }
}

/// An RSA key of 2048 bits has a modulus of so many bytes.
const RSA_BYTES_MIN: usize = 256;
/// A point of P-256 that is not compressed, bytes.
const P256_POINT_BYTES: usize = 65;
/// A public key of Ed25519, bytes.
const ED25519_BYTES: usize = 32;

impl Key {
    /// A secret for HS256.
    ///
    /// # Errors
    /// [`BadKey::ShortSecret`].
    pub fn secret(secret: &[u8]) -> Result<Key, BadKey> {
        if secret.len() < GRANT_JWT_SECRET_BYTES_MIN {
            return Err(BadKey::ShortSecret);
        }
        Ok(Key { id: None, algorithm: Algorithm::Hs256, key: DecodingKey::from_secret(secret) })
    }

    /// A public key in PEM (`PUBLIC KEY`, or `RSA PUBLIC KEY`); its kind decides the algorithm.
    ///
    /// # Errors
    /// [`BadKey::Pem`], [`BadKey::TooLarge`].
    pub fn pem(text: &[u8]) -> Result<Key, BadKey> {
        if text.len() > GRANT_PEM_BYTES {
            return Err(BadKey::TooLarge);
        }
        // A private key has no place on this machine, and a certificate would be taken without looking at it.
        let is_public = memchr::memmem::find(text, b"PUBLIC KEY-----").is_some();
        let is_other = memchr::memmem::find(text, b"PRIVATE KEY-----").is_some();
        let keys = [
            (Algorithm::EdDsa, DecodingKey::from_ed_pem(text)),
            (Algorithm::Es256, DecodingKey::from_ec_pem(text)),
            (Algorithm::Rs256, DecodingKey::from_rsa_pem(text)),
        ];
        let found = keys.into_iter().find_map(|(algorithm, key)| Some((algorithm, key.ok()?)));
        let (algorithm, key) = found.filter(|_| is_public && !is_other).ok_or(BadKey::Pem)?;
        Key { id: None, algorithm, key }.checked().ok_or(BadKey::Pem)
    }

    /// The usable keys of a set (RFC 7517): others are left out, and so are those that are not for signatures.
    ///
    /// # Errors
    /// [`BadKey::Jwks`], [`BadKey::TooLarge`], [`BadKey::TooMany`], [`BadKey::NoneUsable`].
    pub fn set(text: &[u8]) -> Result<Vec<Key>, BadKey> {
        if text.len() > GRANT_JWKS_BYTES {
            return Err(BadKey::TooLarge);
        }
        let mut set: serde_json::Value = serde_json::from_slice(text).map_err(|_| BadKey::Jwks)?;
        let Some(serde_json::Value::Array(keys)) = set.get_mut("keys").map(serde_json::Value::take) else {
            return Err(BadKey::Jwks);
        };
        if keys.len() > GRANT_JWKS_KEYS {
            return Err(BadKey::TooMany);
        }
        let keys = keys.into_iter().filter_map(|key| Key::of_jwk(&serde_json::from_value(key).ok()?));
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() { Err(BadKey::NoneUsable) } else { Ok(keys) }
    }

    fn of_jwk(jwk: &Jwk) -> Option<Key> {
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let (algorithm, said) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::Rs256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::Es256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDsa, KeyAlgorithm::EdDSA)
            }
            AlgorithmParameters::OctetKey(_) => (Algorithm::Hs256, KeyAlgorithm::HS256),
            _ => return None,
        };
        if jwk.common.key_algorithm.is_some_and(|other| other != said) {
            return None;
        }
        let id = jwk.common.key_id.as_deref().map(Into::into);
        Key { id, algorithm, key: DecodingKey::from_jwk(jwk).ok()? }.checked()
    }

    /// The key, if it is of the size that its algorithm needs.
    fn checked(self) -> Option<Key> {
        let fits = match (self.algorithm, self.key.kind()) {
            (Algorithm::Rs256, jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. }) => {
                n.len() >= RSA_BYTES_MIN
            }
            (Algorithm::Rs256, jsonwebtoken::DecodingKeyKind::SecretOrDer(der)) => der.len() > RSA_BYTES_MIN,
            (algorithm, jsonwebtoken::DecodingKeyKind::SecretOrDer(bytes)) => match algorithm {
                Algorithm::Hs256 => bytes.len() >= GRANT_JWT_SECRET_BYTES_MIN,
                Algorithm::Es256 => bytes.len() == P256_POINT_BYTES,
                _ => bytes.len() == ED25519_BYTES,
            },
            _ => false,
        };
        let family = match self.algorithm {
            Algorithm::Hs256 => AlgorithmFamily::Hmac,
            Algorithm::Rs256 => AlgorithmFamily::Rsa,
            Algorithm::Es256 => AlgorithmFamily::Ec,
            Algorithm::EdDsa => AlgorithmFamily::Ed,
        };
        (fits && self.key.family() == family).then_some(self)
    }
}

/// Which JWTs are taken.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// Those of these algorithms,
    pub algorithms: Vec<Algorithm>,
    /// signed with one of these keys,
    pub keys: Vec<Key>,
    /// made by one of these; empty: by anybody,
    pub issuers: Vec<String>,
    /// for one of these; empty: for nobody in particular,
    pub audiences: Vec<String>,
    /// by clocks that may be so far off, milliseconds.
    pub leeway_ms: u64,
}

impl Verifier {
    /// The claims of a token that holds at `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// See [`BadToken`].
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, BadToken> {
        if token.len() > GRANT_TOKEN_BYTES {
            return Err(BadToken::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (_, payload) = message.split_once('.').ok_or(BadToken::Malformed)?;
        let head = jsonwebtoken::decode_header(token).map_err(|_| {
            // The library knows no `none`, and no algorithms that nobody could configure.
            if is_head_of_other_algorithm(message) { BadToken::Algorithm } else { BadToken::Malformed }
        })?;
        if head.crit.is_some() {
            return Err(BadToken::Critical);
        }
        let algorithm = Algorithm::of_library(head.alg).filter(|named| self.algorithms.contains(named));
        let algorithm = algorithm.ok_or(BadToken::Algorithm)?;
        let key = self.key(algorithm, head.kid.as_deref()).ok_or(BadToken::Key)?;
        provider::install();
        let signed =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm.library());
        match signed {
            Ok(true) => {}
            Ok(false) => return Err(BadToken::Signature),
            Err(_) => return Err(BadToken::Malformed),
        }
        let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| BadToken::Malformed)?;
        let claims = Claims::read(&claims)?;
        claims.hold(now_ms, self.leeway_ms)?;
        let is_known = |known: &[String], said: &str| known.iter().any(|known| known == said);
        if !self.issuers.is_empty()
            && !claims.issuer.as_deref().is_some_and(|said| is_known(&self.issuers, said))
        {
            return Err(BadToken::Issuer);
        }
        if !self.audiences.is_empty() && !claims.audience.iter().any(|said| is_known(&self.audiences, said)) {
            return Err(BadToken::Audience);
        }
        Ok(claims)
    }

    fn key(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match id {
            Some(id) => fitting
                .clone()
                .find(|key| key.id.as_deref() == Some(id))
                .or_else(|| fitting.find(|key| key.id.is_none())),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

/// Whether the head is an object that names an algorithm, for a better word than "malformed".
fn is_head_of_other_algorithm(message: &str) -> bool {
    let head = message.split('.').next().unwrap_or_default();
    let head = BASE64_URL_SAFE_NO_PAD.decode(head).ok();
    let head: Option<serde_json::Value> = head.and_then(|head| serde_json::from_slice(&head).ok());
    head.is_some_and(|head| head.get("alg").is_some())
}

#[cfg(test)]
mod tests;
