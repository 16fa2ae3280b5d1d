//! The signatures of [`jsonwebtoken`] on `ring`: of its own two providers one takes minutes to build, and the other has
//! the `rsa` crate in it (RUSTSEC-2023-0071). Only checking, nothing is signed.

use super::Algorithm;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the library's provider; once is enough.
pub(super) fn install() {
    // The second time it is there already.
    let _ = PROVIDER.install_default();
}

fn no_signer(_: &jsonwebtoken::Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &jsonwebtoken::Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let known = Algorithm::of_library(*algorithm).ok_or(ErrorKind::UnsupportedAlgorithm)?;
    let family = match known {
        Algorithm::Hs256 => AlgorithmFamily::Hmac,
        Algorithm::Rs256 => AlgorithmFamily::Rsa,
        Algorithm::Es256 => AlgorithmFamily::Ec,
        Algorithm::EdDsa => AlgorithmFamily::Ed,
    };
    if key.family() != family {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(OnRing { algorithm: known, key: key.clone() }))
}

struct OnRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for OnRing {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm.library()
    }
}

impl Verifier<Vec<u8>> for OnRing {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> Result<(), signature::Error> {
        let good = match (self.algorithm, self.key.kind()) {
            (Algorithm::Hs256, DecodingKeyKind::SecretOrDer(secret)) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::verify(&key, message, given)
            }
            (Algorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(message, given)
            }
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, given)
            }
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, given)
            }
            (Algorithm::EdDsa, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, given)
            }
            _ => return Err(signature::Error::new()),
        };
        good.map_err(|_| signature::Error::new())
    }
}
