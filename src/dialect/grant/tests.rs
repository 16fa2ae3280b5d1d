use super::*;
use crate::dialect::app::{AppSettings, Apps};
use crate::limits::{GRANT_REVOCATIONS, GRANT_TOKEN_LIFE_S};
use crate::wire::claims::Claims;
use crate::wire::jwt::{Algorithm, Key, Verifier};
use crate::wire::sign::hmac_sha256;
use crate::wire::{pattern::Pattern, token};
use std::borrow::Cow;

const NOW: Now = Now { mono_ns: 5_000_000_000, unix_ms: 1_700_000_000_000 };
const KEY: &str = "a-key-that-nobody-guesses";

fn app() -> Arc<App> {
    Apps::new([AppSettings::new("a", "k", "secret")]).unwrap().by_id("a").unwrap().clone()
}

fn ways(ways: &[Way]) -> Ways {
    ways.iter().fold(Ways::NONE, |all, way| all.with(*way))
}

fn rule(channels: &str, subscribe: &[Way], publish: &[Way]) -> (String, Rule) {
    let rule = Rule {
        channels: channels.split(' ').map(|pattern| Pattern::parse(pattern).unwrap()).collect(),
        subscribe: ways(subscribe),
        publish: ways(publish),
        keys: ["another-key-of-theirs".into(), KEY.into()].into(),
        jwt: Some(Verifier {
            algorithms: vec![Algorithm::Hs256],
            keys: vec![Key::secret(&[7; 32]).unwrap()],
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_ms: 2000,
        }),
        jwt_any_channel: false,
        hook: Some(format!("http://hook/{channels}").into()),
    };
    ("a".into(), rule)
}

fn grants(rules: Vec<(String, Rule)>) -> Grants {
    Grants::new(rules, Arc::default())
}

fn judge(
    grants: &Grants,
    act: Act,
    channels: &[&str],
    credentials: &Credentials<'_>,
) -> Result<Admitted, Denied> {
    let channels: Vec<&[u8]> = channels.iter().map(|name| name.as_bytes()).collect();
    let (app, channels) = (app(), &channels);
    let question = Question { app: &app, act, channels, credentials, signed: false, hooked: false, now: NOW };
    grants.judge(&question)
}

fn key(key: &str) -> Credentials<'_> {
    Credentials { key: Some(Cow::Borrowed(key)), ..Credentials::default() }
}

fn ours(claims: &str) -> Credentials<'static> {
    Credentials { token: Some(token::sign(b"secret", claims.as_bytes()).into()), ..Credentials::default() }
}

fn label(judged: Result<Admitted, Denied>) -> (u16, &'static str) {
    match judged {
        Ok(_) => (200, ""),
        Err(Denied::Hook(_)) => (0, "hook"),
        Err(Denied::Refused(refusal)) => (refusal.status, refusal.label),
    }
}

#[test]
fn the_first_rule_that_is_about_a_channel_decides() {
    let grants = grants(vec![
        rule("news.secret", &[], &[]),
        rule("news.* chat", &[Way::Open], &[]),
        rule("*", &[], &[Way::Open]),
    ]);
    let none = Credentials::default();
    let subscribe = |channels: &[&str]| label(judge(&grants, Act::Subscribe, channels, &none));
    assert_eq!(subscribe(&["news.sport"]), (200, ""));
    assert_eq!(subscribe(&["chat"]), (200, ""));
    assert_eq!(subscribe(&["news.secret"]), (403, "grant_none"));
    assert_eq!(subscribe(&["news.sport", "news.secret"]), (403, "grant_none"), "all have to be allowed");
    assert_eq!(subscribe(&["other"]), (403, "grant_none"));
    assert_eq!(label(judge(&grants, Act::Publish, &["other"], &none)), (200, ""));
    assert_eq!(label(judge(&grants, Act::Publish, &["chat"], &none)), (403, "grant_none"));
}

#[test]
fn other_apps_and_channels_without_a_rule_are_open() {
    let (_, other) = rule("*", &[], &[]);
    let grants = grants(vec![("b".into(), other), rule("closed", &[], &[])]);
    let none = Credentials::default();
    assert_eq!(judge(&grants, Act::Publish, &["x"], &none), Ok(Admitted { pass: None, stands: true }));
    assert!(grants.concern("a") && !grants.concern("c") && !grants.is_empty());
}

#[test]
fn keys_let_in_for_good() {
    let grants = grants(vec![rule("*", &[Way::Key], &[])]);
    let judged = |credentials: &Credentials<'_>| judge(&grants, Act::Subscribe, &["x"], credentials);
    assert_eq!(judged(&key(KEY)), Ok(Admitted { pass: None, stands: true }));
    assert_eq!(label(judged(&key(&KEY[1..]))), (401, "grant_key"));
    assert_eq!(label(judged(&key(""))), (401, "grant_key"));
    assert_eq!(label(judged(&Credentials::default())), (401, "grant_missing"));
    assert_eq!(label(judge(&grants, Act::Publish, &["x"], &key(KEY))), (403, "grant_none"));
}

#[test]
fn tokens_let_in_where_they_say_and_until_they_say() {
    let grants = grants(vec![rule("*", &[Way::Token], &[Way::Token])]);
    let good = ours(r#"{"exp":1700000060,"sub":"u","jti":"t","subscribe":"a.*","channels":"both"}"#);
    let pass = Pass { app: 0, until_ms: 65_000, user: Some("u".into()), token: Some("t".into()) };
    let admitted = judge(&grants, Act::Subscribe, &["a.b", "both"], &good).unwrap();
    assert_eq!(admitted, Admitted { pass: Some(Box::new(pass)), stands: false });
    assert_eq!(label(judge(&grants, Act::Publish, &["both"], &good)), (200, ""));
    assert_eq!(label(judge(&grants, Act::Publish, &["a.b"], &good)), (403, "grant_channel"));
    assert_eq!(label(judge(&grants, Act::Subscribe, &["a.b", "c"], &good)), (403, "grant_channel"));
    for (claims, refused) in [
        (r#"{"exp":1700000000,"channels":"*"}"#, "grant_expired"),
        (r#"{"exp":1700000060,"nbf":1700000001,"channels":"*"}"#, "grant_not_yet"),
        (r#"{"exp":1900000000,"channels":"*"}"#, "grant_token"),
        (r#"{"channels":"*"}"#, "grant_token"),
    ] {
        assert_eq!(label(judge(&grants, Act::Subscribe, &["a"], &ours(claims))), (401, refused), "{claims}");
    }
    let silent = ours(r#"{"exp":1700000060}"#);
    assert_eq!(label(judge(&grants, Act::Subscribe, &["a"], &silent)), (403, "grant_channel"));
    let forged = token::sign(b"other", br#"{"exp":1700000060,"channels":"*"}"#);
    let forged = Credentials { token: Some(forged.into()), ..Credentials::default() };
    assert_eq!(label(judge(&grants, Act::Subscribe, &["a"], &forged)), (401, "grant_signature"));
}

fn jwt(claims: &str) -> Credentials<'static> {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", b64(br#"{"alg":"HS256"}"#), b64(claims.as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[7; 32]);
    let signature = b64(ring::hmac::sign(&key, message.as_bytes()).as_ref());
    Credentials { token: Some(format!("{message}.{signature}").into()), ..Credentials::default() }
}

#[test]
fn jwts_and_tokens_are_told_apart() {
    let both = grants(vec![rule("j", &[Way::Jwt], &[]), rule("t", &[Way::Token], &[])]);
    let claims = r#"{"exp":1700000060,"channels":"*"}"#;
    let judged = |channel: &str, by: &Credentials<'_>| label(judge(&both, Act::Subscribe, &[channel], by));
    assert_eq!(judged("j", &jwt(claims)), (200, ""));
    assert_eq!(judged("t", &ours(claims)), (200, ""));
    assert_eq!(judged("t", &jwt(claims)), (401, "grant_token"));
    assert_eq!(judged("j", &ours(claims)), (401, "grant_token"));
    let silent = r#"{"exp":1699999999,"sub":"u"}"#;
    assert_eq!(judged("j", &jwt(silent)), (403, "grant_channel"), "within the leeway");
    let (_, open) = rule("*", &[Way::Jwt, Way::Token], &[]);
    let any = grants(vec![("a".into(), Rule { jwt_any_channel: true, ..open })]);
    let admitted = judge(&any, Act::Subscribe, &["x"], &jwt(silent)).unwrap();
    assert_eq!(admitted.pass.unwrap().until_ms, 6000, "it ends with the leeway");
    assert_eq!(
        label(judge(&any, Act::Subscribe, &["x"], &ours(r#"{"exp":1700000060}"#))),
        (403, "grant_channel")
    );
    let other = jwt(r#"{"exp":1700000060,"channels":"y"}"#);
    assert_eq!(label(judge(&any, Act::Subscribe, &["x"], &other)), (403, "grant_channel"));
}

fn signed(act: Act, expires: &str, user: &str, channels: &[&str]) -> Credentials<'static> {
    let names: Vec<&[u8]> = channels.iter().map(|name| name.as_bytes()).collect();
    let text = signed_text(act, "a", expires, user, &names).unwrap();
    Credentials {
        signature: Some(hmac_sha256(b"secret", &text).to_string().into()),
        expires: Some(expires.to_owned().into()),
        user: Some(user.to_owned().into()),
        ..Credentials::default()
    }
}

#[test]
fn signatures_are_for_one_act_in_these_channels() {
    let grants = grants(vec![rule("*", &[Way::Hmac], &[Way::Hmac])]);
    let good = signed(Act::Subscribe, "1700000060", "u", &["a", "b"]);
    let judged = |act, channels: &[&str], by: &Credentials<'_>| label(judge(&grants, act, channels, by));
    assert_eq!(judged(Act::Subscribe, &["a", "b"], &good), (200, ""));
    assert_eq!(judged(Act::Publish, &["a", "b"], &good), (401, "grant_signature"));
    assert_eq!(judged(Act::Subscribe, &["a"], &good), (401, "grant_signature"));
    assert_eq!(judged(Act::Subscribe, &["b", "a"], &good), (401, "grant_signature"));
    assert_eq!(judged(Act::Subscribe, &["a\nb"], &good), (401, "grant_signature"), "one that looks like two");
    let other = Credentials { user: Some("v".into()), ..good.clone() };
    assert_eq!(judged(Act::Subscribe, &["a", "b"], &other), (401, "grant_signature"));
    let later = Credentials { expires: Some("1700000061".into()), ..good };
    assert_eq!(judged(Act::Subscribe, &["a", "b"], &later), (401, "grant_signature"));
    let over = signed(Act::Subscribe, "1700000000", "", &["a"]);
    assert_eq!(judged(Act::Subscribe, &["a"], &over), (401, "grant_expired"));
    for never in ["99999999999999999999", "", "+1700000060", "1e9"] {
        let by = signed(Act::Subscribe, never, "", &["a"]);
        assert_eq!(judged(Act::Subscribe, &["a"], &by).0, 401, "{never}");
    }
}

#[test]
fn the_application_is_asked_last() {
    let grants = grants(vec![rule("a", &[Way::Key, Way::Hook], &[]), rule("b", &[Way::Hook], &[])]);
    assert_eq!(label(judge(&grants, Act::Subscribe, &["a"], &key(KEY))), (200, ""));
    let none = Credentials::default();
    assert_eq!(judge(&grants, Act::Subscribe, &["a"], &none), Err(Denied::Hook("http://hook/a".into())));
    assert_eq!(label(judge(&grants, Act::Subscribe, &["a", "b"], &none)), (403, "grant_hooks"));
    let app = app();
    let hooked = Question {
        app: &app,
        act: Act::Subscribe,
        channels: &[b"a"],
        credentials: &none,
        signed: false,
        hooked: true,
        now: NOW,
    };
    assert_eq!(grants.judge(&hooked), Ok(Admitted { pass: None, stands: false }));
    let closed = Question { act: Act::Publish, ..hooked };
    assert!(grants.judge(&closed).is_err(), "a yes is for those who may ask");
}

#[test]
fn a_dialects_own_signature_is_one_of_the_app() {
    let grants = grants(vec![rule("a", &[Way::Hmac], &[Way::Key])]);
    let (app, none) = (app(), Credentials::default());
    let question = Question {
        app: &app,
        act: Act::Subscribe,
        channels: &[b"a"],
        credentials: &none,
        signed: true,
        hooked: false,
        now: NOW,
    };
    assert!(grants.judge(&question).is_ok());
    assert!(grants.judge(&Question { act: Act::Publish, ..question }).is_err());
}

fn revocation(what: revoked::What, id: &str, at_ms: u64) -> Revocation {
    Revocation { app: "a".into(), what, id: id.into(), at_ms }
}

#[test]
fn what_is_revoked_lets_nobody_in() {
    let grants = grants(vec![rule("*", &[Way::Token, Way::Jwt, Way::Hmac], &[])]);
    let judged = |by: &Credentials<'_>| label(judge(&grants, Act::Subscribe, &["c"], by)).1;
    let by_id = ours(r#"{"exp":1700000060,"jti":"t","channels":"c"}"#);
    let before = ours(r#"{"exp":1700000060,"sub":"u","iat":1699999999,"channels":"c"}"#);
    let after = jwt(r#"{"exp":1700000060,"sub":"u","iat":1700000001,"channels":"c"}"#);
    let undated = signed(Act::Subscribe, "1700000060", "u", &["c"]);
    for by in [&by_id, &before, &after, &undated] {
        assert_eq!(judged(by), "");
    }
    let revoke = |what, id| {
        let revocation = revocation(what, id, NOW.unix_ms);
        assert_eq!(grants.revoked.insert(&revocation, NOW.unix_ms), Ok(Vec::new()));
        revocation
    };
    let token = revoke(revoked::What::Token, "t");
    assert_eq!((judged(&by_id), judged(&before)), ("grant_revoked", ""));
    let user = revoke(revoked::What::User, "u");
    assert_eq!((judged(&before), judged(&after)), ("grant_revoked", ""));
    assert_eq!(judged(&undated), "grant_revoked", "nobody knows when it was made");
    let pass = Pass { app: 3, until_ms: 1, user: Some("u".into()), token: Some("u".into()) };
    assert!(pass.is_revoked_by(&user, 3) && !pass.is_revoked_by(&user, 4) && !pass.is_revoked_by(&token, 3));
    let elsewhere = Revocation { app: "b".into(), ..revocation(revoked::What::User, "w", 1) };
    grants.revoked.insert(&elsewhere, NOW.unix_ms).unwrap();
    assert_eq!(judged(&ours(r#"{"exp":1700000060,"sub":"w","channels":"c"}"#)), "", "another app's user");
}

#[test]
fn a_clock_that_is_set_back_gives_nothing_back() {
    let list = Revoked::default();
    let first = revocation(revoked::What::User, "u", NOW.unix_ms);
    list.insert(&first, NOW.unix_ms).unwrap();
    let again = revocation(revoked::What::User, "u", NOW.unix_ms - 5_000);
    assert_eq!(list.at_ms(&again), NOW.unix_ms);
    list.insert(&again, again.at_ms).unwrap();
    let claims = Claims { issued_ms: NOW.unix_ms - 1_000, user: Some("u".into()), ..Claims::default() };
    assert!(list.covers("a", &claims, NOW.unix_ms));
}

#[test]
fn revocations_are_bounded_kept_and_forgotten() {
    let list = Revoked::default();
    let life_ms = GRANT_TOKEN_LIFE_S * 1000;
    let of = |number: usize, at_ms| revocation(revoked::What::Token, &number.to_string(), at_ms);
    for number in 0..GRANT_REVOCATIONS {
        list.insert(&of(number, (number % 2) as u64), 0).unwrap();
    }
    assert_eq!(list.insert(&of(GRANT_REVOCATIONS, 0), 0), Err(revoked::NotRevoked::Full));
    assert!(list.insert(&of(1, 1), 0).is_ok(), "it is there already");
    let claims = crate::wire::claims::Claims { id: Some("0".into()), ..Default::default() };
    assert!(list.covers("a", &claims, life_ms - 1) && !list.covers("a", &claims, life_ms));
    let over = list.insert(&of(GRANT_REVOCATIONS, 2), life_ms).unwrap();
    assert_eq!((over.len(), list.len()), (GRANT_REVOCATIONS / 2, GRANT_REVOCATIONS / 2 + 1));
    for id in ["", &"x".repeat(300)] {
        assert_eq!(list.insert(&revocation(revoked::What::User, id, 0), 0), Err(revoked::NotRevoked::Id));
    }
    let one = revocation(revoked::What::User, "Zoë \"q\"", 77);
    assert_eq!(Revocation::read(&one.document()), Some(one));
    assert_eq!(Revocation::read(b"{}"), None);
}
