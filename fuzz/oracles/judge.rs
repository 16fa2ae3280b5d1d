//! Who gets in: rules, what a request brings along, and the judgement, against the rules in plain words. The body is
//! lines, a letter and what it is about (see [`Scene::read`]); tokens and signatures are made here, so what is good is
//! known without looking at it.
//!
//! - Nobody is let in by anything that was not made for it, is not over, and covers each channel that is asked for.
//! - Whoever has such a thing is let in, until it ends and no longer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fanwire::channel::Now;
use fanwire::dialect::app::{AppSettings, Apps};
use fanwire::dialect::grant::revoked::What;
use fanwire::dialect::grant::{
    Act, Credentials, Denied, Grants, Question, Revocation, Revoked, Rule, Way, Ways, signed_text,
};
use fanwire::limits::{GRANT_KEY_BYTES, GRANT_TOKEN_BYTES, GRANT_TOKEN_LIFE_S, GRANT_USER_BYTES, HttpLimits};
use fanwire::wire::claims::Claims;
use fanwire::wire::http::request::{Event, Lines, Reader};
use fanwire::wire::jwt::{Algorithm, Key, Verifier};
use fanwire::wire::pattern::Pattern;
use fanwire::wire::sign::hmac_sha256;
use fanwire::wire::token;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::grant::plainly;
use super::input::Input;

const NOW: Now = Now { mono_ns: 5_000_000_000, unix_ms: 1_700_000_000_000 };
const SECRET: &str = "secret";
const JWT_SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
const LINES: usize = 100;
/// A clock of whoever makes JWTs may be off by so much.
const LEEWAY_MS: u64 = 1_000;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let text = String::from_utf8_lossy(input.body);
    let scene = Scene::read(&text, if input.flag(0) { Act::Publish } else { Act::Subscribe });
    let mut head = scene.head().into_bytes();
    let (mut reader, mut lines) = (Reader::default(), Lines::default());
    let Ok(step) = reader.step(&mut head, &mut lines, &HttpLimits::default()) else { return };
    let Some(Event::Request(request)) = step.event else { return };
    let credentials = Credentials::of(&request);
    for (part, most) in [
        (&credentials.key, GRANT_KEY_BYTES),
        (&credentials.signature, GRANT_KEY_BYTES),
        (&credentials.expires, GRANT_KEY_BYTES),
        (&credentials.user, GRANT_TOKEN_BYTES),
        (&credentials.token, GRANT_TOKEN_BYTES),
    ] {
        assert!(part.as_ref().is_none_or(|part| part.len() <= most + 4), "kept for nothing");
    }
    let owned = credentials.clone().into_owned();
    assert!(owned == credentials && !format!("{owned:?}").contains(SECRET));
    judge(&scene, &credentials, input.flag(1), input.flag(2));
}

/// A rule as it is written.
struct Written<'a> {
    ways: &'a str,
    patterns: Vec<&'a str>,
}

impl Written<'_> {
    fn is_about(&self, channel: &str) -> bool {
        self.patterns.iter().any(|pattern| plainly(pattern.as_bytes(), channel.as_bytes()))
    }

    fn has(&self, letter: char) -> bool {
        self.ways.contains(letter)
    }

    fn hook(&self) -> &'static str {
        if self.has('2') { "http://two/" } else { "http://one/" }
    }
}

fn key_of(rule: usize) -> String {
    format!("key-of-rule-{rule}")
}

#[derive(Default)]
struct Scene<'a> {
    publish: bool,
    rules: Vec<Written<'a>>,
    channels: Vec<&'a str>,
    query: String,
    headers: String,
    /// Tokens and JWTs that were made here.
    tokens: HashMap<String, Claims>,
    jwts: HashMap<String, Claims>,
    /// Signatures with the time and the user that they are for.
    signatures: HashSet<(String, String, String)>,
    revoked_tokens: HashSet<&'a str>,
    revoked_users: HashSet<&'a str>,
}

impl<'a> Scene<'a> {
    /// `R` ways (letters of [`rules`]) and patterns between blanks, `c` a channel, `q` a part of the query, `H` a header,
    /// `k` the key of a rule, `t` and `b` claims of a token in query or header, `j` and `B` of a JWT, `u` of a token of
    /// somebody else, `s` the end and the user of a signature, `x` and `X` a token and a user that are revoked.
    fn read(text: &'a str, act: Act) -> Scene<'a> {
        let mut scene = Scene { publish: act == Act::Publish, ..Scene::default() };
        let mut signed = Vec::new();
        for line in text.lines().take(LINES) {
            let Some(letter) = line.chars().next().filter(char::is_ascii) else { continue };
            let rest = &line[1..];
            match letter {
                'R' => {
                    let mut words = rest.split(' ');
                    let ways = words.next().unwrap_or_default();
                    let patterns = words.filter(|word| Pattern::parse(word).is_ok()).take(8).collect();
                    scene.rules.push(Written { ways, patterns });
                }
                'c' => scene.channels.push(rest),
                'q' => scene.query.extend(
                    rest.chars().filter(|letter| letter.is_ascii_graphic() && *letter != '#').chain(['&']),
                ),
                'H' => {
                    scene.headers.extend(rest.chars().filter(|letter| !letter.is_control()));
                    scene.headers.push_str("\r\n");
                }
                'k' => scene.arg("key", &key_of(rest.parse().unwrap_or(0))),
                't' | 'b' => {
                    let token = token::sign(SECRET.as_bytes(), rest.as_bytes());
                    scene
                        .tokens
                        .extend(Claims::read(rest.as_bytes()).ok().map(|claims| (token.clone(), claims)));
                    scene.bring(letter == 'b', &token);
                }
                'j' | 'B' => {
                    let token = jwt(rest);
                    scene
                        .jwts
                        .extend(Claims::read(rest.as_bytes()).ok().map(|claims| (token.clone(), claims)));
                    scene.bring(letter == 'B', &token);
                }
                'u' => scene.bring(false, &token::sign(b"another secret", rest.as_bytes())),
                's' => signed.push(rest.split_once(' ').unwrap_or((rest, ""))),
                'x' => scene.revoked_tokens.extend((!rest.is_empty()).then_some(rest)),
                'X' => scene.revoked_users.extend((!rest.is_empty()).then_some(rest)),
                _ => {}
            }
        }
        let channels: Vec<&[u8]> = scene.channels.iter().map(|channel| channel.as_bytes()).collect();
        for (expires, user) in signed {
            let Some(text) = signed_text(act, "app", expires, user, &channels) else { continue };
            let signature = hmac_sha256(SECRET.as_bytes(), &text).as_str().to_owned();
            scene.arg("signature", &signature);
            scene.arg("expires", expires);
            scene.arg("user", user);
            scene.signatures.insert((signature, expires.to_owned(), user.to_owned()));
        }
        scene
    }

    fn arg(&mut self, name: &str, value: &str) {
        self.query.push_str(&format!("{name}={}&", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    }

    fn bring(&mut self, in_header: bool, token: &str) {
        match in_header {
            true => self.headers.push_str(&format!("Authorization: Bearer {token}\r\n")),
            false => self.arg("token", token),
        }
    }

    fn head(&self) -> String {
        format!("GET /sub/a?{} HTTP/1.1\r\nHost: a\r\n{}\r\n", self.query, self.headers)
    }

    fn grants(&self) -> Grants {
        let ways = |written: &Written<'_>| {
            let letters = [
                ('o', Way::Open),
                ('k', Way::Key),
                ('s', Way::Hmac),
                ('t', Way::Token),
                ('j', Way::Jwt),
                ('h', Way::Hook),
            ];
            let some = letters.into_iter().filter(|(letter, _)| written.has(*letter));
            some.fold(Ways::NONE, |ways, (_, way)| ways.with(way))
        };
        let rule = |(number, written): (usize, &Written<'_>)| {
            let patterns = written.patterns.iter().map(|pattern| Pattern::parse(pattern).expect("as before"));
            let (own, other) = (ways(written), if written.has('!') { Ways::OPEN } else { Ways::NONE });
            let rule = Rule {
                channels: patterns.collect(),
                subscribe: if self.publish { other } else { own },
                publish: if self.publish { own } else { other },
                keys: [key_of(number).into(), key_of(number + 100).into()].into(),
                jwt: written.has('j').then(|| Verifier {
                    algorithms: vec![Algorithm::Hs256],
                    keys: vec![Key::secret(JWT_SECRET).expect("it is long enough")],
                    issuers: Vec::new(),
                    audiences: Vec::new(),
                    leeway_ms: LEEWAY_MS,
                }),
                jwt_any_channel: written.has('a'),
                hook: Some(written.hook().into()),
            };
            ("app".to_owned(), rule)
        };
        let revoked = Revoked::default();
        for (what, ids) in [(What::Token, &self.revoked_tokens), (What::User, &self.revoked_users)] {
            for id in ids {
                let revocation =
                    Revocation { app: "app".into(), what, id: (*id).into(), at_ms: NOW.unix_ms - 1000 };
                let _ = revoked.insert(&revocation, NOW.unix_ms); // too long an id
            }
        }
        Grants::new(self.rules.iter().enumerate().map(rule).collect(), Arc::new(revoked))
    }

    // ---- in plain words ----

    fn holds(&self, claims: &Claims, leeway_ms: u64) -> bool {
        let revoked_user = claims.user.as_deref().is_some_and(|user| self.revoked_users.contains(user));
        let revoked = claims.id.as_deref().is_some_and(|id| self.revoked_tokens.contains(id))
            || revoked_user && claims.issued_ms <= NOW.unix_ms - 1000;
        claims.hold(NOW.unix_ms, leeway_ms).is_ok() && !revoked
    }

    /// When that ends by which the channel opens, if it does: `None` inside for never.
    fn opens(
        &self,
        number: usize,
        channel: &str,
        brought: &Credentials<'_>,
        signed: bool,
    ) -> Option<Option<u64>> {
        let rule = &self.rules[number];
        let text = |part: &Option<std::borrow::Cow<'_, str>>| part.as_deref().unwrap_or_default().to_owned();
        if rule.has('o') || signed && rule.has('s') {
            return Some(None);
        }
        if rule.has('k') && [key_of(number), key_of(number + 100)].contains(&text(&brought.key)) {
            return Some(None);
        }
        let (signature, expires, user) =
            (text(&brought.signature), text(&brought.expires), text(&brought.user));
        if rule.has('s')
            && user.len() <= GRANT_USER_BYTES
            && expires.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(expires_s) = expires.parse::<u64>()
            && self.signatures.contains(&(signature, expires, user.clone()))
        {
            let ends_ms = expires_s.saturating_mul(1000);
            let lives = ends_ms > NOW.unix_ms && ends_ms <= NOW.unix_ms + GRANT_TOKEN_LIFE_S * 1000;
            if lives && !self.revoked_users.contains(user.as_str()) {
                return Some(Some(ends_ms));
            }
        }
        let given = text(&brought.token);
        let covers = |claims: &Claims, any: bool| {
            any && !claims.names_channels || claims.cover(self.publish, channel.as_bytes())
        };
        if let Some(claims) =
            self.tokens.get(&given).filter(|_| rule.has('t') && given.len() <= GRANT_TOKEN_BYTES)
            && self.holds(claims, 0)
            && covers(claims, false)
        {
            return Some(Some(claims.expires_ms));
        }
        if let Some(claims) =
            self.jwts.get(&given).filter(|_| rule.has('j') && given.len() <= GRANT_TOKEN_BYTES)
            && self.holds(claims, LEEWAY_MS)
            && covers(claims, rule.has('a'))
        {
            return Some(Some(claims.expires_ms + LEEWAY_MS));
        }
        None
    }
}

/// A JWT with these claims, signed with the secret.
fn jwt(claims: &str) -> String {
    let text = format!("{}.{}", base64(br#"{"alg":"HS256","typ":"JWT"}"#), base64(claims.as_bytes()));
    let hex = hmac_sha256(JWT_SECRET, text.as_bytes());
    let bytes: Vec<u8> = hex
        .as_str()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
        .collect();
    format!("{text}.{}", base64(&bytes))
}

/// RFC 4648 section 5, without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let bits =
            part.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        let letter = |at: usize| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
        out.extend((0..=part.len()).map(letter));
    }
    out
}

fn judge(scene: &Scene<'_>, credentials: &Credentials<'_>, signed: bool, hooked: bool) {
    let apps = Apps::new([AppSettings::new("app", "k", SECRET)]).expect("an app");
    let app = apps.iter().next().expect("an app");
    let channels: Vec<&[u8]> = scene.channels.iter().map(|channel| channel.as_bytes()).collect();
    let act = if scene.publish { Act::Publish } else { Act::Subscribe };
    let question = Question { app, act, channels: &channels, credentials, signed, hooked, now: NOW };
    let judged = scene.grants().judge(&question);

    let (mut ends_ms, mut hooks, mut refused) = (None::<u64>, HashSet::new(), false);
    for channel in &scene.channels {
        let Some(number) = scene.rules.iter().position(|rule| rule.is_about(channel)) else { continue };
        match scene.opens(number, channel, credentials, signed) {
            Some(Some(end)) => ends_ms = Some(ends_ms.map_or(end, |other| other.min(end))),
            Some(None) => {}
            None if scene.rules[number].has('h') => drop(hooks.insert(scene.rules[number].hook())),
            None => refused = true,
        }
    }
    match judged {
        Ok(admitted) => {
            assert!(!refused && (hooks.is_empty() || hooked && hooks.len() == 1), "let in");
            let until_ms = ends_ms.map(|end| NOW.mono_ms() + end - NOW.unix_ms);
            assert_eq!(admitted.pass.as_ref().map(|pass| pass.until_ms), until_ms, "the end");
            assert!(!admitted.stands || until_ms.is_none() && hooks.is_empty(), "it ends");
        }
        Err(Denied::Hook(url)) => {
            assert!(!refused && !hooked && hooks == HashSet::from([&*url]), "asks {url}, not {hooks:?}");
        }
        Err(Denied::Refused(refusal)) => {
            assert!(refused || hooks.len() > 1, "refused: {}", refusal.text);
            assert!(matches!(refusal.status, 401 | 403) && !refusal.label.is_empty());
        }
    }
}
