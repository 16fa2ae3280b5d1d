use super::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

const NOW_MS: u64 = 1_700_000_000_000;
const CLAIMS: &str = r#"{"exp":1700000060,"sub":"u","channels":"a"}"#;
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(head: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(head), b64(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", b64(signature))
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    move |message| ring::hmac::sign(&key, message).as_ref().to_vec()
}

fn ed25519(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn p256() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()
}

fn okp(id: &str, key: &Ed25519KeyPair) -> String {
    format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"{}"}}"#, b64(key.public_key()))
}

fn set(keys: &[String]) -> Vec<Key> {
    Key::set(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
}

fn verifier(keys: Vec<Key>) -> Verifier {
    Verifier {
        algorithms: Algorithm::ALL.to_vec(),
        keys,
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway_ms: 0,
    }
}

#[test]
fn hs256_is_taken_with_its_secret_only() {
    let ours = verifier(vec![Key::secret(SECRET).unwrap()]);
    let token = signed(r#"{"alg":"HS256","typ":"JWT"}"#, CLAIMS, hs256(SECRET));
    assert_eq!(ours.verify(&token, NOW_MS).unwrap().user.as_deref(), Some("u"));
    let other = signed(r#"{"alg":"HS256"}"#, CLAIMS, hs256(b"another secret of thirty-two bytes"));
    assert_eq!(ours.verify(&other, NOW_MS), Err(BadToken::Signature));
    assert_eq!(Key::secret(&SECRET[1..]).unwrap_err(), BadKey::ShortSecret);
    let not_listed = Verifier { algorithms: vec![Algorithm::EdDsa], ..ours };
    assert_eq!(not_listed.verify(&token, NOW_MS), Err(BadToken::Algorithm));
}

#[test]
fn curves_are_taken_from_sets_by_key_id() {
    let (a, b, p) = (ed25519(1), ed25519(2), p256());
    let point = p.public_key().as_ref();
    let ec = format!(
        r#"{{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"p","x":"{}","y":"{}"}}"#,
        b64(&point[1..33]),
        b64(&point[33..])
    );
    let ours = verifier(set(&[okp("a", &a), okp("b", &b), ec]));
    let by = |key: &Ed25519KeyPair, head: &str| signed(head, CLAIMS, |m| key.sign(m).as_ref().to_vec());
    assert!(ours.verify(&by(&a, r#"{"alg":"EdDSA","kid":"a"}"#), NOW_MS).is_ok());
    assert!(ours.verify(&by(&b, r#"{"alg":"EdDSA","kid":"b"}"#), NOW_MS).is_ok());
    assert_eq!(ours.verify(&by(&a, r#"{"alg":"EdDSA","kid":"b"}"#), NOW_MS), Err(BadToken::Signature));
    assert_eq!(ours.verify(&by(&a, r#"{"alg":"EdDSA","kid":"c"}"#), NOW_MS), Err(BadToken::Key));
    assert_eq!(ours.verify(&by(&a, r#"{"alg":"EdDSA"}"#), NOW_MS), Err(BadToken::Key), "which of two?");
    assert_eq!(ours.verify(&by(&a, r#"{"alg":"EdDSA","kid":"p"}"#), NOW_MS), Err(BadToken::Key));
    let random = SystemRandom::new();
    let es = |head: &str| signed(head, CLAIMS, |m| p.sign(&random, m).unwrap().as_ref().to_vec());
    assert!(ours.verify(&es(r#"{"alg":"ES256"}"#), NOW_MS).is_ok(), "the only one of its kind");
    assert!(ours.verify(&es(r#"{"alg":"ES256","kid":"p"}"#), NOW_MS).is_ok());
}

#[test]
fn a_public_key_is_no_secret_and_none_is_no_algorithm() {
    let key = ed25519(1);
    let ours = verifier(set(&[okp("a", &key)]));
    // The secrets that somebody would try who knows the public key.
    for secret in [key.public_key().as_ref(), okp("a", &key).as_bytes()] {
        for head in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"a"}"#] {
            let forged = signed(head, CLAIMS, hs256(secret));
            assert_eq!(ours.verify(&forged, NOW_MS), Err(BadToken::Key));
        }
    }
    for head in [r#"{"alg":"none"}"#, r#"{"alg":"None","kid":"a"}"#, r#"{"alg":"HS1"}"#, r#"{"alg":""}"#] {
        let unsigned = signed(head, CLAIMS, |_| Vec::new());
        assert_eq!(ours.verify(&unsigned, NOW_MS), Err(BadToken::Algorithm), "{head}");
    }
}

#[test]
fn heads_that_are_critical_or_broken_are_refused() {
    let ours = verifier(vec![Key::secret(SECRET).unwrap()]);
    let head = |head: &str| ours.verify(&signed(head, CLAIMS, hs256(SECRET)), NOW_MS);
    assert_eq!(head(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#), Err(BadToken::Critical));
    assert_eq!(head(r#"{"alg":"HS256","crit":[]}"#), Err(BadToken::Critical));
    assert_eq!(head(r#"{"typ":"JWT"}"#), Err(BadToken::Malformed));
    assert_eq!(head("[]"), Err(BadToken::Malformed));
    let good = signed(r#"{"alg":"HS256"}"#, CLAIMS, hs256(SECRET));
    for wrong in
        ["", ".", "..", "a.b", "a.b.c", "....", &format!("{good}."), &format!(".{good}"), &format!("{good}=")]
    {
        assert!(ours.verify(wrong, NOW_MS).is_err(), "{wrong}");
    }
    let long = format!("{good}{}", "A".repeat(GRANT_TOKEN_BYTES));
    assert_eq!(ours.verify(&long, NOW_MS), Err(BadToken::TooLong));
}

#[test]
fn claims_are_judged_after_the_signature() {
    let ours = Verifier {
        issuers: vec!["me".into(), "us".into()],
        audiences: vec!["here".into()],
        leeway_ms: 2000,
        ..verifier(vec![Key::secret(SECRET).unwrap()])
    };
    let judge =
        |claims: &str| ours.verify(&signed(r#"{"alg":"HS256"}"#, claims, hs256(SECRET)), NOW_MS).map(|_| ());
    assert_eq!(judge(r#"{"exp":1700000060,"iss":"us","aud":["x","here"]}"#), Ok(()));
    assert_eq!(judge(r#"{"exp":1700000060,"iss":"you","aud":"here"}"#), Err(BadToken::Issuer));
    assert_eq!(judge(r#"{"exp":1700000060,"aud":"here"}"#), Err(BadToken::Issuer));
    assert_eq!(judge(r#"{"exp":1700000060,"iss":"me","aud":"there"}"#), Err(BadToken::Audience));
    assert_eq!(judge(r#"{"exp":1700000060,"iss":"me"}"#), Err(BadToken::Audience));
    assert_eq!(judge(r#"{"exp":1699999998,"iss":"me","aud":"here"}"#), Err(BadToken::Expired));
    assert_eq!(judge(r#"{"exp":1699999999,"iss":"me","aud":"here"}"#), Ok(()));
    assert_eq!(judge(r#"{"exp":1700000060,"nbf":1700000003,"iss":"me"}"#), Err(BadToken::NotYet));
    assert!(matches!(judge(r#"{"iss":"me","aud":"here"}"#), Err(BadToken::Claims(_))));
}

#[test]
fn sets_are_bounded_and_of_use() {
    let key = okp("a", &ed25519(1));
    let of = |text: &str| Key::set(text.as_bytes()).map(|keys| keys.len());
    assert_eq!(of(""), Err(BadKey::Jwks));
    assert_eq!(of("[]"), Err(BadKey::Jwks));
    assert_eq!(of(r#"{"keys":{}}"#), Err(BadKey::Jwks));
    assert_eq!(of(r#"{"keys":[]}"#), Err(BadKey::NoneUsable));
    let others = [
        r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#,
        r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
        r#"{"kty":"oct","k":"c2hvcnQ"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"new","z":1}"#,
        "7",
        &key.replace(r#""kty""#, r#""use":"enc","kty""#),
        &key.replace(r#""kty""#, r#""alg":"RSA-OAEP","kty""#),
    ];
    assert_eq!(of(&format!(r#"{{"keys":[{}]}}"#, others.join(","))), Err(BadKey::NoneUsable));
    assert_eq!(of(&format!(r#"{{"keys":[{},{key}]}}"#, others.join(","))), Ok(1));
    let many = vec![key.clone(); GRANT_JWKS_KEYS + 1].join(",");
    assert_eq!(of(&format!(r#"{{"keys":[{many}]}}"#)), Err(BadKey::TooMany));
    assert_eq!(of(&" ".repeat(GRANT_JWKS_BYTES + 1)), Err(BadKey::TooLarge));
}

#[test]
fn pem_files_hold_public_keys() {
    let key = ed25519(7);
    // SubjectPublicKeyInfo of Ed25519 (RFC 8410 section 4).
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(key.public_key().as_ref());
    let base64 = base64::prelude::BASE64_STANDARD.encode(&der);
    let pem = |name: &str| format!("-----BEGIN {name}-----\n{base64}\n-----END {name}-----\n");
    let ours = verifier(vec![Key::pem(pem("PUBLIC KEY").as_bytes()).unwrap()]);
    let token = signed(r#"{"alg":"EdDSA","kid":"any"}"#, CLAIMS, |m| key.sign(m).as_ref().to_vec());
    assert!(ours.verify(&token, NOW_MS).is_ok(), "a key without an id is for every id");
    for wrong in
        [pem("PRIVATE KEY"), pem("CERTIFICATE"), pem("PUBLIC KEY").replace("MC", "AA"), String::new()]
    {
        assert_eq!(Key::pem(wrong.as_bytes()).unwrap_err(), BadKey::Pem, "{wrong}");
    }
    assert_eq!(Key::pem(&[b' '; GRANT_PEM_BYTES + 1]).unwrap_err(), BadKey::TooLarge);
}
