//! `[[grant]]` in a configuration: what is taken, what is refused and where, what is shown.

use fanwire::dialect::grant::{Way, Ways};
use fanwire::node::config::{GrantSettings, Loaded, Sources, load, print};
use fanwire::wire::jwt::Algorithm;

fn read(text: &str) -> Result<Loaded, Vec<String>> {
    let sources = Sources { file: Some(("f.toml", text.as_bytes())), processors: 1, ..Sources::default() };
    load(&sources).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn grants_are_read_in_their_order() {
    let text = r#"
[[grant]]
app = "1"
channels = ["news.*", "chat"]
subscribe = ["key", "jwt"]
publish = "none"
keys = ["0123456789abcdef"]
jwt_algorithms = ["EdDSA", "HS256"]
jwt_secret = "0123456789abcdef0123456789abcdef"
jwks = "/etc/keys.json"
jwt_issuer = "me"
jwt_leeway = "1m"
jwt_any_channel = true

[[grant]]
publish = ["hmac", "token", "hook"]
hook = "http://127.0.0.1:1/may"
"#;
    let loaded = read(text).unwrap();
    let [first, second] = &loaded.config.grants[..] else { panic!("two grants") };
    assert_eq!(first.subscribe, Ways::NONE.with(Way::Key).with(Way::Jwt));
    assert_eq!(first.publish, Ways::NONE);
    assert_eq!(first.jwt_algorithms, [Algorithm::EdDsa, Algorithm::Hs256]);
    assert_eq!((first.jwt_leeway_ms, first.jwt_any_channel, &first.jwt_issuer[0][..]), (60_000, true, "me"));
    let expected = GrantSettings {
        publish: Ways::NONE.with(Way::Hmac).with(Way::Token).with(Way::Hook),
        hook: Some("http://127.0.0.1:1/may".into()),
        ..GrantSettings::default()
    };
    assert_eq!(*second, expected);
    assert_eq!((&second.channels[..], second.subscribe), (&["*".to_owned()][..], Ways::OPEN));

    let shown = print(&loaded);
    assert!(!shown.contains("0123456789abcdef"), "secrets are not shown: {shown}");
    for line in [
        "publish = [\"none\"]",
        "subscribe = [\"key\", \"jwt\"]",
        "publish = [\"hmac\", \"token\", \"hook\"]",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
}

#[test]
fn wrong_grants_are_told_with_their_place() {
    let cases = [
        ("[grant]\n", "`grant` may stand several times"),
        ("[[grant]]\nchanels = []\n", "unknown key `chanels` (did you mean `channels`?)"),
        ("[[grant]]\napp = \"2\"\n", "f.toml:2:7: there is no app `2`"),
        ("[[grant]]\nchannels = []\n", "needs 1 to 64 patterns"),
        ("[[grant]]\nchannels = [\"a\\\\b\"]\n", "stands before `*` or `\\` only"),
        ("[[grant]]\nsubscribe = [\"keys\"]\n", "unknown way `keys` (did you mean `key`?)"),
        ("[[grant]]\nsubscribe = [\"none\", \"key\"]\n", "\"none\" alone"),
        ("[[grant]]\nsubscribe = []\n", "\"none\" alone"),
        ("[[grant]]\nsubscribe = [\"key\"]\n", "the way `key` needs `keys`"),
        ("[[grant]]\nkeys = [\"short\"]\n", "an API key has 16 to 256 bytes"),
        ("[[grant]]\npublish = \"hook\"\n", "the way `hook` needs the URL"),
        (
            "[[grant]]\nsubscribe = \"hook\"\nhook = \"http://a/\"\n[[location]]\nprefix = \"/p/\"\nmethods = \"publisher\"\n",
            "f.toml:2:13: the way `hook` lets nobody subscribe: app `1` has no location for that",
        ),
        (
            "[[app]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n[[app]]\nid = \"2\"\nkey = \"l\"\nsecret = \"s\"\n\
             [[grant]]\napp = \"2\"\npublish = \"hook\"\nhook = \"http://a/\"\n",
            "f.toml:11:11: the way `hook` lets nobody publish: app `2` has no location for that",
        ),
        ("[[grant]]\nhook = \"ftp://x\"\n", "f.toml:2:8: "),
        ("[[grant]]\npublish = \"jwt\"\njwt_secret = \"x\"\n", "needs at least 32 bytes"),
        ("[[grant]]\npublish = \"jwt\"\njwt_algorithms = [\"none\"]\n", "unknown algorithm `none`"),
        (
            "[[grant]]\npublish = \"jwt\"\njwt_algorithms = [\"RS256\"]\n",
            "needs `jwt_secret`, `jwt_key` or `jwks`",
        ),
        (
            "[[grant]]\npublish = \"jwt\"\njwks = \"a\"\n",
            "needs `jwt_algorithms`, of HS256, RS256, ES256, EdDSA",
        ),
    ];
    for (text, expected) in cases {
        let mistakes = read(text).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{text}: {mistakes:?}");
        assert!(mistakes.iter().all(|mistake| mistake.starts_with("f.toml:")), "{mistakes:?}");
    }
    let many = "[[grant]]\n".repeat(257);
    assert!(read(&many).unwrap_err()[0].contains("at most 256 of `grant`"));
}

#[test]
fn a_guarded_publisher_is_not_warned_about() {
    let open =
        "listen = [\"0.0.0.0:80\"]\n[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\n[[grant]]\npublish = ";
    let warnings = |way: &str| read(&format!("{open}{way}\n")).unwrap().warnings.len();
    assert_eq!((warnings("\"token\""), warnings("\"open\"")), (0, 1));
}
