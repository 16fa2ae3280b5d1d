use super::*;
use crate::limits::TLS_NAMES;
use crate::node::config::{Sources, load};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::SignatureScheme;
use std::fs;
use std::path::PathBuf;

/// A directory of its own with the files of a test.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Files {
    fn new(name: &str) -> Files {
        let dir = std::env::temp_dir().join(format!("fanwire-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Files(dir)
    }

    fn put(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A certificate for these names that ends in this year, as `name.pem` and `name.key`.
    fn make(&self, name: &str, names: &[&str], year: i32) -> CertificateSettings {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        CertificateSettings {
            certificate: self.put(&format!("{name}.pem"), &certificate.pem()),
            key: self.put(&format!("{name}.key"), &key.serialize_pem()),
            names: Vec::new(),
        }
    }
}

fn config(certificates: Vec<CertificateSettings>) -> Config {
    let listen = vec!["127.0.0.1:0 tls".parse().unwrap()];
    Config { listen, certificates, ..Config::default() }
}

const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];

#[test]
fn the_nearest_name_decides_and_the_first_is_for_everybody_else() {
    let files = Files::new("names");
    let (a, mut b, c) = (
        files.make("a", &["a.example", "*.wild.example"], 2999),
        files.make("b", &["ignored.example"], 2999),
        files.make("c", &["x.wild.example"], 2999),
    );
    b.names = vec!["b.example".into()];
    let mut config = config(vec![a, b, c]);
    let provider = ring::default_provider();
    let chosen = |config: &Config, host: Option<&str>, schemes: &[SignatureScheme]| {
        let all = Certificates::read(config, &provider).unwrap();
        let chosen = all.choose(host, schemes);
        chosen.map(|key| all.all.iter().position(|named| Arc::ptr_eq(&named.key, &key)).unwrap())
    };
    let of = |config: &Config, host: &str| chosen(config, Some(host), &SCHEMES);
    assert_eq!(of(&config, "A.example"), Some(0));
    assert_eq!(of(&config, "b.example"), Some(1));
    assert_eq!(of(&config, "x.wild.example"), Some(2));
    assert_eq!(of(&config, "y.wild.example"), Some(0));
    assert_eq!(of(&config, "ignored.example"), Some(0));
    assert_eq!(chosen(&config, None, &SCHEMES), Some(0));
    assert_eq!(chosen(&config, Some("b.example"), &[SignatureScheme::RSA_PSS_SHA256]), None);
    config.tls.strict_sni = true;
    assert_eq!(of(&config, "b.example"), Some(1));
    assert_eq!((of(&config, "ignored.example"), chosen(&config, None, &SCHEMES)), (None, None));
}

#[test]
fn a_reload_takes_good_files_and_leaves_everything_with_bad_ones() {
    let files = Files::new("reload");
    let pair = files.make("a", &["a.example"], 2998);
    let tls = Tls::open(&config(vec![pair.clone()])).unwrap();
    let end = || tls.expiries()[0].unix_s;
    let first = end();
    let door = tls.door(false).unwrap();
    files.make("a", &["a.example"], 2999);
    tls.reloader().reload();
    assert!(end() > first);
    let second = end();
    files.put("a.key", "no key at all");
    tls.reloader().reload();
    assert_eq!(end(), second);
    fs::remove_file(&pair.certificate).unwrap();
    tls.reloader().reload();
    assert_eq!(end(), second);
    assert!(Arc::ptr_eq(&door, &tls.door(false).unwrap()), "shards keep the door that they have");
    assert!(tls.door(true).is_none());
}

#[test]
fn nothing_is_read_for_addresses_without_tls() {
    let mut config =
        config(vec![CertificateSettings { certificate: "/nowhere".into(), ..Default::default() }]);
    assert!(Tls::open(&config).is_err());
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let tls = Tls::open(&config).unwrap();
    assert!(!tls.speaks() && tls.door(false).is_none());
    tls.reloader().reload();
    config.listen = vec!["127.0.0.1:0 tls client_certificates".parse().unwrap()];
    assert!(Tls::open(&config).unwrap_err().contains("client_ca"));
}

#[test]
fn mistakes_have_the_place_of_their_key() {
    let files = Files::new("check");
    let (good, old) = (files.make("good", &["a"], 2999), files.make("old", &["a"], 2000));
    let toml = format!(
        "[tls]\nclient_ca = {0:?}\n[[certificate]]\ncertificate = {1:?}\nkey = {2:?}\n[[certificate]]\ncertificate = {3:?}\nkey = {4:?}\n",
        good.key, good.certificate, old.key, old.certificate, old.key
    );
    let loaded = load(&Sources { file: Some(("a.toml", toml.as_bytes())), ..Sources::default() }).unwrap();
    let (mistakes, warnings) = check(&loaded);
    let text = |all: &[Mistake]| all.iter().map(|one| one.to_string()).collect::<Vec<_>>();
    let (mistakes, warnings) = (text(&mistakes), text(&warnings));
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("a.toml:5:7: ") && mistakes[0].contains("is not the key of"),
        "{mistakes:?}"
    );
    assert!(
        mistakes[1].starts_with("a.toml:2:13: ") && mistakes[1].contains("no certificate"),
        "{mistakes:?}"
    );
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("a.toml:7:15: ") && warnings[0].contains("expired"), "{warnings:?}");
}

#[test]
fn names_are_host_names_and_bounded() {
    let read = |names: &str| {
        let toml = format!("[[certificate]]\ncertificate = \"a\"\nkey = \"b\"\nnames = {names}\n");
        let loaded = load(&Sources { file: Some(("a.toml", toml.as_bytes())), ..Sources::default() });
        loaded.map(|loaded| loaded.config.certificates[0].names.clone()).map_err(|wrong| wrong[0].to_string())
    };
    assert_eq!(read(r#"["Push.Example", "*.b"]"#).unwrap(), ["push.example", "*.b"]);
    for bad in [r#"["a b"]"#, r#"["a..b"]"#, r#"["*"]"#, r#"["a.*.b"]"#, r#"[""]"#] {
        assert!(read(bad).unwrap_err().contains("is no host name"), "{bad}");
    }
    let many = format!("[{}]", "\"a\",".repeat(TLS_NAMES + 1));
    assert!(read(&many).unwrap_err().contains("at most"));
}
