//! `[[webhook]]` tables: what is accepted, what is refused and where.

use fanwire::channel::{NoticeKind, NoticeKinds};
use fanwire::node::config::{Loaded, Sources, WebhookSettings, load, print};

fn read(text: &str) -> Result<Loaded, Vec<String>> {
    let sources = Sources { file: Some(("f.toml", text.as_bytes())), ..Sources::default() };
    load(&sources).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

/// Each text is refused with exactly one mistake that begins like this.
const MISTAKES: &[(&str, &str)] = &[
    ("[[webhook]]\napp = \"1\"", "f.toml:1:1: a webhook needs `url`"),
    ("webhook = 1", "f.toml:1:11: `webhook` may stand several times: write [[webhook]]"),
    ("webhook = [1]", "f.toml:1:12: a webhook needs a table, found an integer"),
    ("[[webhook]]\nurl = \"ftp://a/\"", "f.toml:2:7: a hook URL begins with http:// or https://"),
    (
        "[[webhook]]\nurl=\"http://a/\"\napp = \"custmers\"\n[[app]]\nid=\"customers\"\nkey=\"k\"\nsecret=\"s\"",
        "f.toml:3:7: there is no app `custmers` (did you mean `customers`?)",
    ),
    ("development = false\n[[webhook]]\nurl = \"http://a/\"", "f.toml:2:1: there is no app whose events"),
    (
        "[[webhook]]\nurl = \"http://a/\"\nevents = [\"cache_miss\", \"channel_ocupied\"]",
        "f.toml:3:25: unknown event `channel_ocupied` (did you mean `channel_occupied`?)",
    ),
    ("[[webhook]]\nurl = \"http://a/\"\nevents = []", "f.toml:3:10: `events` needs at least one event"),
    ("[[webhook]]\nurl = \"http://a/\"\nbatch = \"no\"", "f.toml:3:9: `batch` needs true or false"),
    (
        "[[webhook]]\nurl = \"http://a/\"\nchannel_prefx = \"a\"",
        "f.toml:3:1: unknown key `channel_prefx` (did you",
    ),
];

#[test]
fn mistakes_say_their_line_and_column() {
    for (text, expected) in MISTAKES {
        let mistakes = read(text).map(|_| ()).expect_err(text);
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{text}\n{mistakes:#?}");
    }
}

#[test]
fn web_hooks_are_read_with_their_defaults() {
    let text = r#"
        [[app]]
        id = "a"
        key = "k"
        secret = "s"
        [[webhook]]
        url = "http://h/all"
        [[webhook]]
        app = "a"
        url = "http://h/some"
        events = ["channel_vacated", "client_event"]
        channel_prefix = "private-"
        channel_suffix = "-x"
        batch = false
    "#;
    let config = read(text).unwrap().config;
    let all = WebhookSettings { url: "http://h/all".into(), ..WebhookSettings::default() };
    assert_eq!((all.app.as_ref(), all.events, all.batch), (None, NoticeKinds::all(), true));
    let some = WebhookSettings {
        app: Some("a".into()),
        url: "http://h/some".into(),
        events: [NoticeKind::Vacated, NoticeKind::ClientEvent].into_iter().collect(),
        channel_prefix: "private-".into(),
        channel_suffix: "-x".into(),
        batch: false,
    };
    assert_eq!(config.webhooks, [all, some]);
}

#[test]
fn what_is_printed_loads_again_to_the_same_values() {
    let text = "[[webhook]]\nurl=\"http://a/?b\"\nbatch=false\n[[webhook]]\nurl=\"http://c\"\napp=\"1\"\n\
                 events=[\"channel_vacated\"]\nchannel_prefix=\"\\\"\"\nchannel_suffix=\"-\"";
    let loaded = read(text).unwrap();
    let printed = print(&loaded);
    let again = read(&printed).unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{printed}"));
    assert_eq!((again.config.webhooks.len(), &again.config), (2, &loaded.config));
    assert!(printed.contains("# f.toml:3"), "{printed}");
}
