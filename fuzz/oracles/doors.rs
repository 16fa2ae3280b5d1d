//! Who is let in, as it is configured: addresses and their doors, trusted peers, origins, grants. The body is lines: a
//! letter for the key, and a value (see [`file`]).
//!
//! - What is accepted keeps the promises of the configuration: development keys for programs on the same machine alone,
//!   certificates where there is TLS, no way in that nothing guards.
//! - Addresses, networks and origins are what they say, by the bit and by the letter.
//! - Printed and loaded again it is the same configuration.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

use fanwire::dialect::grant::Way;
use fanwire::limits::{
    GRANT_JWT_NAMES, GRANT_JWT_SECRET_BYTES_MIN, GRANT_KEY_BYTES, GRANT_KEY_BYTES_MIN, GRANT_KEYS,
    GRANT_PATTERNS, GRANTS, NODE_LISTENERS,
};
use fanwire::node::config::{
    Config, DEVELOPMENT_KEY, DEVELOPMENT_SECRET, GrantSettings, Listen, ListenAddress, Sources, load,
};
use fanwire::wire::http::origin;
use fanwire::wire::network::TrustedPeers;
use fanwire::wire::pattern::Pattern;

use super::config::{NAME, again, names_a_place, quoted};
use super::input::Input;

/// Lines that count.
const LINES: usize = 300;

/// Lists at the top: letter and key.
const TOP: [(char, &str); 4] =
    [('l', "listen"), ('i', "internal_listen"), ('t', "trusted_proxies"), ('o', "origins")];

/// Lists of a grant.
const GRANT: [(char, &str); 7] = [
    ('c', "channels"),
    ('s', "subscribe"),
    ('p', "publish"),
    ('k', "keys"),
    ('a', "jwt_algorithms"),
    ('w', "jwt_issuer"),
    ('u', "jwt_audience"),
];

/// Texts of a grant.
const GRANT_TEXT: [(char, &str); 6] =
    [('A', "app"), ('h', "hook"), ('j', "jwt_secret"), ('f', "jwt_key"), ('F', "jwks"), ('L', "jwt_leeway")];

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let text = String::from_utf8_lossy(input.body);
    let lines: Vec<(char, &str)> = text
        .lines()
        .take(LINES)
        .filter_map(|line| line.chars().next().map(|letter| (letter, &line[letter.len_utf8()..])))
        .collect();
    let file = file(&input, &lines);
    let listen: Vec<&str> = values(&lines, 'l').collect();
    let variable = input.flag(0).then(|| ("FANWIRE_LISTEN".to_owned(), listen.join(",")));
    let sources = Sources {
        file: Some((NAME, file.as_bytes())),
        environment: variable.into_iter().collect(),
        flags: Vec::new(),
        processors: 2,
    };
    match load(&sources) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| names_a_place(warning, file.as_bytes()));
            doors(&loaded.config);
            visitors(&loaded.config);
            assert!(loaded.config.grants.len() <= GRANTS);
            loaded.config.grants.iter().for_each(|grant| guarded(grant, &loaded.config));
            again(&loaded);
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            mistakes.iter().for_each(|mistake| names_a_place(mistake, file.as_bytes()));
        }
    }
}

fn values<'a>(lines: &[(char, &'a str)], letter: char) -> impl Iterator<Item = &'a str> {
    lines.iter().filter(move |(key, _)| *key == letter).map(|(_, value)| *value)
}

/// `g` begins a grant, `n` names an app, `x` a host with a certificate; flags: 1 development off, 2 an app with the
/// development keys, 3 authorities of clients, 4 tokens without channels.
fn file(input: &Input<'_>, lines: &[(char, &str)]) -> String {
    let mut out = String::new();
    let list = |out: &mut String, key: &str, values: Vec<&str>| {
        let values: Vec<String> = values.into_iter().map(quoted).collect();
        if !values.is_empty() {
            let _ = writeln!(out, "{key} = [{}]", values.join(", "));
        }
    };
    let (top, grants) = lines.split_at(lines.iter().position(|(key, _)| *key == 'g').unwrap_or(lines.len()));
    for (letter, key) in TOP.into_iter().filter(|(letter, _)| *letter != 'l' || !input.flag(0)) {
        list(&mut out, key, values(lines, letter).collect());
    }
    out.push_str(if input.flag(1) { "development = false\n" } else { "" });
    out.push_str(if input.flag(3) { "[tls]\nclient_ca = \"ca.pem\"\n" } else { "" });
    for host in values(top, 'x') {
        let _ =
            writeln!(out, "[[certificate]]\ncertificate = \"c\"\nkey = \"k\"\nnames = [{}]", quoted(host));
    }
    for (at, id) in values(top, 'n').enumerate() {
        let (key, secret) =
            if input.flag(2) { (DEVELOPMENT_KEY, DEVELOPMENT_SECRET) } else { ("key", "secret") };
        let key = if at == 0 { key.to_owned() } else { format!("key{at}") };
        let _ = writeln!(out, "[[app]]\nid = {}\nkey = \"{key}\"\nsecret = \"{secret}\"", quoted(id));
    }
    for grant in grants.split(|(key, _)| *key == 'g').skip(1) {
        out.push_str("[[grant]]\n");
        for (letter, key) in GRANT {
            list(&mut out, key, values(grant, letter).collect());
        }
        for (letter, key) in GRANT_TEXT {
            if let Some(value) = values(grant, letter).next() {
                let _ = writeln!(out, "{key} = {}", quoted(value));
            }
        }
        out.push_str(if input.flag(4) { "jwt_any_channel = true\n" } else { "" });
    }
    out
}

fn doors(config: &Config) {
    let all = || config.listen.iter().chain(&config.internal_listen);
    assert!(
        (1..=NODE_LISTENERS).contains(&config.listen.len()) && config.internal_listen.len() <= NODE_LISTENERS
    );
    let mut seen = HashSet::new();
    for listen in all() {
        let text = listen.to_string();
        assert_eq!(text.parse::<Listen>().as_ref(), Ok(listen), "{text}");
        assert!(seen.insert(listen.address.to_string()), "{text} twice");
        let door = listen.door;
        assert!(!door.tls || !config.certificates.is_empty(), "{text} has nothing to show");
        assert!(!door.client_certificates || door.tls && config.tls.client_ca.is_some(), "{text}");
        assert!(door.mode.is_none_or(|mode| mode <= 0o777), "{text}");
        let local = match &listen.address {
            ListenAddress::Unix(path) => path.is_absolute(),
            ListenAddress::Tcp(address) => {
                assert!(door.mode.is_none(), "{text}");
                address.ip().to_canonical().is_loopback()
            }
        };
        assert_eq!(listen.address.is_local(), local, "{text}");
        let known =
            config.apps.iter().any(|app| app.key == DEVELOPMENT_KEY || app.secret == DEVELOPMENT_SECRET);
        assert!(local || !config.development && !known, "{text} is open with keys that everybody knows");
    }
}

fn visitors(config: &Config) {
    for entry in &config.origins {
        let matches = |text: &str| origin::matches(entry, text.as_bytes());
        match entry.split_once("://*.") {
            None => assert!(matches(entry)),
            Some((scheme, domain)) => {
                assert!(matches(&format!("{scheme}://a.b-c.{domain}")), "{entry}");
                for other in [
                    format!("{scheme}://{domain}"),
                    format!("{scheme}://a{domain}"),
                    format!("{scheme}://.{domain}"),
                    format!("{scheme}://evil/a.{domain}"),
                    format!("x{scheme}://a.{domain}"),
                ] {
                    assert!(!matches(&other), "{entry} is not {other}");
                }
            }
        }
    }
    let Some(trusted) = &config.trusted_proxies else { return };
    let texts: Vec<String> = trusted.texts().collect();
    let mut again = TrustedPeers::default();
    texts.iter().for_each(|text| again.add(text).expect("it is shown as it is read"));
    assert_eq!(again, *trusted);
    assert_eq!(trusted.contains(None), texts.iter().any(|text| text == "unix"));
    let networks: Vec<(IpAddr, usize)> = texts.iter().filter_map(|text| network(text)).collect();
    assert_eq!(networks.len(), trusted.networks.len());
    for (base, prefix) in &networks {
        assert!(trusted.contains(Some(*base)));
        for flipped in [0, *prefix, prefix.saturating_sub(1), 31, 127] {
            let other = flip(*base, flipped);
            let expected = networks.iter().any(|(base, prefix)| within(*base, *prefix, other));
            assert_eq!(trusted.contains(Some(other)), expected, "{other} in {texts:?}");
        }
    }
}

fn network(text: &str) -> Option<(IpAddr, usize)> {
    let (base, prefix) =
        text.split_once('/').map_or((text, None), |(base, prefix)| (base, prefix.parse().ok()));
    let base: IpAddr = base.parse().ok()?;
    Some((base, prefix.unwrap_or(if base.is_ipv4() { 32 } else { 128 })))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn bit(octets: &[u8], at: usize) -> bool {
    octets[at / 8] >> (7 - at % 8) & 1 == 1
}

fn within(base: IpAddr, prefix: usize, address: IpAddr) -> bool {
    let (base, address) = (octets(base), octets(address));
    base.len() == address.len() && (0..prefix).all(|at| bit(&base, at) == bit(&address, at))
}

/// The address with another bit there, if it has so many.
fn flip(address: IpAddr, at: usize) -> IpAddr {
    let mut octets = octets(address);
    if let Some(octet) = octets.get_mut(at / 8) {
        *octet ^= 1 << (7 - at % 8);
    }
    match <[u8; 4]>::try_from(octets) {
        Ok(v4) => v4.into(),
        Err(v6) => <[u8; 16]>::try_from(v6).expect("16 of them").into(),
    }
}

/// Each way that a grant asks for is one that guards something.
fn guarded(grant: &GrantSettings, config: &Config) {
    assert!((1..=GRANT_PATTERNS).contains(&grant.channels.len()));
    assert!(grant.channels.iter().all(|pattern| Pattern::parse(pattern).is_ok()));
    match &grant.app {
        Some(id) => assert!(config.apps.iter().any(|app| app.id == *id), "there is no such app"),
        None => assert!(!config.apps.is_empty()),
    }
    assert!(grant.keys.len() <= GRANT_KEYS);
    assert!(grant.keys.iter().all(|key| (GRANT_KEY_BYTES_MIN..=GRANT_KEY_BYTES).contains(&key.len())));
    assert!(!grant.uses(Way::Key) || !grant.keys.is_empty(), "no key opens it");
    assert!(!grant.uses(Way::Hook) || grant.hook.is_some(), "nobody to ask");
    if grant.uses(Way::Jwt) {
        assert!(!grant.jwt_algorithms.is_empty());
        assert!(grant.jwt_secret.is_some() || grant.jwt_key.is_some() || grant.jwks.is_some());
        assert!(grant.jwt_secret.as_ref().is_none_or(|secret| secret.len() >= GRANT_JWT_SECRET_BYTES_MIN));
        assert!(grant.jwt_issuer.len() <= GRANT_JWT_NAMES && grant.jwt_audience.len() <= GRANT_JWT_NAMES);
    }
}
