//! Configuration: what is accepted, what is refused and where, and which source wins.

use fanwire::dialect::pusher;
use fanwire::dialect::relay::settings::{
    AllowOrigin, FirstMessage, Flavour, LocationMethods, PathPattern, Polling, SlowConsumer, Transport,
};
use fanwire::limits::PusherLimits;
use fanwire::node::config::{AppSettings, Config, Driver, Flag, Loaded, Sources, load, print};
use proptest::prelude::*;

const FROM_NCHAN: &str = include_str!("../src/node/config/examples/fanwire-from-nchan.toml");
const FROM_DJANGO: &str = include_str!("../src/node/config/examples/fanwire-from-django-pushserver.toml");

fn load_all(text: &str, environment: &[(&str, &str)], flags: &[Flag]) -> Result<Loaded, Vec<String>> {
    let sources = Sources {
        file: Some(("f.toml", text.as_bytes())),
        environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        flags: flags.to_vec(),
        processors: 3,
    };
    load(&sources).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

fn read(text: &str) -> Result<Loaded, Vec<String>> {
    load_all(text, &[], &[])
}

fn flag(name: &'static str, key: &'static str, value: &str) -> Flag {
    Flag { name, key, value: value.into() }
}

#[test]
fn nothing_gives_the_defaults_with_a_shard_per_processor() {
    let loaded = read("").unwrap();
    assert_eq!(loaded.config, Config { shards: 3, ..Config::default() });
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.origin("shards").to_string(), "default");
}

/// Each text is refused with exactly one mistake that begins like this.
const MISTAKES: &[(&str, &str)] = &[
    ("bufer = 1", "f.toml:1:1: unknown key `bufer`"),
    ("\nlisten = 8080", "f.toml:2:10: `listen` needs a string, found an integer"),
    ("listen = [\"127.0.0.1:8080\", \"nowhere\"]", "f.toml:1:29: `nowhere` is not an address"),
    ("listen = []", "f.toml:1:10: `listen` needs 1 to"),
    ("listen = [\"[::1]:1\", \"[::1]:1\"]", "f.toml:1:22: `[::1]:1` is listed twice"),
    ("internal_listen = [\"127.0.0.1:8080\"]", "f.toml:1:19: `127.0.0.1:8080` is also in `listen`"),
    ("shards = 0", "f.toml:1:10: `shards` needs a number from 1 to"),
    ("shards = \"2\"", "f.toml:1:10: `shards` needs a whole number"),
    ("shards = 99999999999999999999", "f.toml:1:10: `shards` is not a number that fits"),
    ("driver = \"kqueue\"", "f.toml:1:10: `driver` needs one of \"auto\", \"uring\", \"epoll\""),
    ("echo = 1", "f.toml:1:8: `echo` needs true or false, found an integer"),
    ("drain = 5", "f.toml:1:9: `drain` needs a duration with its unit"),
    ("drain = \"400d\"", "f.toml:1:9: `drain` needs a duration from 0 to 366d"),
    ("log = \"loud\"", "f.toml:1:7: `loud` is not a level"),
    ("echo = true\necho = true", "f.toml:2:1: not TOML: duplicate key"),
    ("echo = ", "f.toml:1:8: not TOML: "),
    ("limits = 1", "f.toml:1:10: `limits` needs a table, found an integer: write [limits]"),
    ("[limits]\n  outbox_byte = 1", "f.toml:2:3: unknown key `outbox_byte` (did you mean `outbox_bytes`?)"),
    ("outbox_bytes = 1", "f.toml:1:1: unknown key `outbox_bytes` (it belongs into [limits])"),
    ("[limits]\noutbox_bytes = \"1MB\"", "f.toml:2:16: `limits.outbox_bytes` needs a size such as"),
    ("[limits]\noutbox_bytes = 1", "f.toml:2:16: `limits.outbox_bytes` needs a size from 4KiB to 1GiB"),
    ("[limits]\ntarget_bytes = \"64KiB\"", "f.toml:2:16: `target_bytes` needs to be less than `head_bytes`"),
    (
        "[limits]\nwebsocket_pong_timeout = \"1m\"",
        "f.toml:2:26: `websocket_pong_timeout` needs to be at most",
    ),
    ("[hooks]\ntimeout = \"0\"", "f.toml:2:11: `hooks.timeout` needs a duration from 1ms to 1m"),
    ("[location]\nurl = \"x\"", "f.toml:1:1: `location` may stand several times: write [[location]]"),
    ("[[locations]]\nurl = \"x\"", "f.toml:1:3: unknown key `locations` (did you mean `location`?)"),
    ("[[location]]\nstore = \"a\"", "f.toml:1:1: a location needs `url` or `prefix`"),
    ("[[location]]\nprefix = \"x\"", "f.toml:2:10: a prefix begins with `/`"),
    (
        "[[location]]\nurl = \"^/(x)$\"\nprefix = \"/x\"",
        "f.toml:3:10: a location has `url` or `prefix`, not both",
    ),
    ("[[location]]\nurl = \"(\"", "f.toml:2:7: `url` is not a regular expression: unclosed group"),
    ("[[location]]\nurl = \"(\\\\w{500}){500}\"", "f.toml:2:7: `url` is not a regular expression: "),
    (
        "[[location]]\nurl = \"^/pub$\"\nmethods=\"publisher\"",
        "f.toml:1:1: `$1`: the location's path has 0 groups",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nchannel_id = \"$arg\"",
        "f.toml:3:14: unknown variable `$arg` (did you mean `$args`?)",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nchannel_id = [\"$1\", \"$2\"]",
        "f.toml:3:14: `$2`: the location's path has 1 groups",
    ),
    ("[[location]]\nprefix = \"/x/\"\nchannel_id = \"$-\"", "f.toml:3:14: `$-`: `$` needs 1 to 9"),
    (
        "[[location]]\nprefix = \"/x/\"\nbufer_messages = 1",
        "f.toml:3:1: unknown key `bufer_messages` (did you mean `buffer_messages`?)",
    ),
    ("[[location]]\nprefix = \"/x/\"\nbuffer_messages = 2000000", "f.toml:3:19: at most 1000000"),
    (
        "[[location]]\nprefix = \"/x/\"\nsubscribers = [\"ws\", \"carrier-pigeon\"]",
        "f.toml:3:22: unknown transport `carrier-pigeon`",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nsubscribers = []",
        "f.toml:3:15: a location for subscribers needs a transport",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\npublishers = \"smtp\"",
        "f.toml:3:14: `publishers` needs \"http\" or \"websocket\"",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nflavour = \"relay\"\nallow_credentials = true",
        "f.toml:1:1: `*` and allow_credentials",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nflavour = \"relay\"\nallow_origin = \"*\"\nallow_credentials = true",
        "f.toml:4:16: `*` and allow_credentials",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nallow_origin = [\"*\", \"http://a\"]",
        "f.toml:3:16: `*` and `$http_origin` stand alone",
    ),
    ("[[location]]\nprefix = \"/x/\"\ngroup = \"a/b\"", "f.toml:3:9: a group's name has no `/`"),
    ("[[location]]\nprefix = \"/x/\"\ngroup = \"m\"", "f.toml:3:9: the name `m` is taken"),
    (
        "[[location]]\nprefix = \"/x/\"\n[location.group_limits]\nchannels = 1",
        "f.toml:3:1: limits need `group`",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\ngroup = \"g\"\n[location.group_limits]\nchannel = 1",
        "f.toml:5:1: unknown key `channel` (did you mean `channels`?)",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\ngroup = \"g\"\n[location.group_limits]\nmessages = -1",
        "f.toml:5:12: `messages` needs a number from",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nfirst_message = \"last\"",
        "f.toml:3:17: `first_message` needs \"oldest\", \"newest\" or a number",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nfirst_message = 4294967296",
        "f.toml:3:17: `first_message` is not a number that fits",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nlongpoll_multipart = \"yes\"",
        "f.toml:3:22: `longpoll_multipart` needs true, false or \"raw\"",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nwebsocket_heartbeat = [\"a\"]",
        "f.toml:3:23: `websocket_heartbeat` needs two texts",
    ),
    ("[[location]]\nprefix = \"/x/\"\nauthorize = \"/auth\"", "f.toml:3:13: a hook URL begins with http://"),
    (
        "[[location]]\nprefix = \"/x/\"\nhook_headers = { X-A = 1 }",
        "f.toml:3:24: `hook_headers` needs a string, found an integer",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nhook_headers = { X-A = \"$chanel_id\" }",
        "f.toml:3:16: unknown variable `$chanel_id` (did you mean `$channel_id`?)",
    ),
    (
        "[[location]]\nprefix = \"/x/\"\nlistener = [\"127.0.0.1:81\"]",
        "f.toml:3:12: `127.0.0.1:81` is neither in `listen`",
    ),
    ("[[app]]\nid = \"a\"\nkey = \"k\"", "f.toml:1:1: an app needs `secret`"),
    ("[[app]]\nid = \"a/b\"\nkey = \"k\"\nsecret = \"s\"", "f.toml:2:6: `id` is made of letters"),
    ("[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\ntitle = \"n\"", "f.toml:5:1: unknown key `title`"),
    (
        "[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = 1",
        "f.toml:4:10: `secret` needs a string, found an integer",
    ),
    (
        "[app]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"",
        "f.toml:1:1: `app` may stand several times: write [[app]]",
    ),
    (
        "[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\nclient_event = true",
        "f.toml:5:1: unknown key `client_event` (did you mean `client_events`?)",
    ),
    (
        "[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\nauthorize_within = 30",
        "f.toml:5:20: `authorize_within` needs a duration with its unit",
    ),
    (
        "[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\nmax_event_bytes = \"1MiB\"",
        "f.toml:5:19: `max_event_bytes` needs a size from 1B to 349525B",
    ),
    (
        "[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\nhistory_messages = 2000000",
        "f.toml:5:20: `history_messages` needs a number from 0 to 1000000",
    ),
    ("[pusher]\nenabled = \"yes\"", "f.toml:2:11: `pusher.enabled` needs true or false, found a string"),
    (
        "[pusher]\nactivity_timeout = \"0\"",
        "f.toml:2:20: `pusher.activity_timeout` needs a duration from 1s to 1d",
    ),
    (
        "[pusher]\nactivity_timeout = \"1500ms\"",
        "f.toml:2:20: `pusher.activity_timeout` needs a duration of whole seconds",
    ),
    ("[pusher]\nbatch_events = 0", "f.toml:2:16: `pusher.batch_events` needs a number from 1 to 10000"),
    (
        "[pusher]\nchannel_name_bytes = \"2KiB\"",
        "f.toml:2:22: `pusher.channel_name_bytes` needs a size from 1B to 1KiB",
    ),
    ("batch_events = 1", "f.toml:1:1: unknown key `batch_events` (it belongs into [pusher])"),
    ("[pushr]\nenabled = true", "f.toml:1:2: unknown key `pushr` (did you mean `pusher`?)"),
    ("listen = \"0.0.0.0:80\"", "f.toml:1:10: 0.0.0.0:80 is open to others"),
    ("internal_listen = \"10.0.0.1:80\"", "f.toml:1:19: 10.0.0.1:80 is open to others"),
];

#[test]
fn mistakes_say_their_line_and_column() {
    for (text, expected) in MISTAKES {
        match read(text) {
            Ok(_) => panic!("accepted: {text}"),
            Err(mistakes) => {
                assert!(
                    mistakes[0].starts_with(expected),
                    "{text}\n  gave {}\n  not  {expected}",
                    mistakes[0]
                );
                assert_eq!(mistakes.len(), 1, "{text}\n{mistakes:#?}");
            }
        }
    }
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let mistakes =
        read("shards = 0\necoh = true\n[limits]\nchannels = 0\n[[location]]\nprefix = \"x\"").unwrap_err();
    let places: Vec<&str> = mistakes.iter().map(|mistake| mistake.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["f.toml:1:10", "f.toml:2:1", "f.toml:4:12", "f.toml:6:10"]);
}

#[test]
fn a_file_full_of_mistakes_is_cut_off_quickly() {
    let text: String = (0..200_000).map(|number| format!("key{number} = 1\n")).collect();
    let started = std::time::Instant::now();
    let mistakes = read(&text).unwrap_err();
    assert_eq!(mistakes.len(), 100);
    assert!(mistakes[99].starts_with("f.toml:"), "{}", mistakes[99]);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn bytes_that_are_not_utf8_are_placed() {
    let sources = Sources { file: Some(("f.toml", b"echo = true\nlog = \"\xff\"")), ..Sources::default() };
    assert_eq!(load(&sources).unwrap_err()[0].to_string(), "f.toml:2:8: is not UTF-8");
}

#[test]
fn a_location_takes_every_kind_of_value() {
    let text = r#"
        [[location]]
        url = '^/(?<room>\w+)/(\d+)$'
        methods = "subscriber"
        channel_id = ["${room}-$2", "$arg_id"]
        subscribers = ["es", "poll"]
        allow_origin = "http://a http://b"
        first_message = -3
        message_timeout = "1h30m"
        slow_consumer = "keep-latest"
        group = "g"
        [location.group_limits]
        memory_bytes = "1MiB"
        [location.hook_headers]
        X-Channel = "$nchan_channel_id"
    "#;
    let config = read(text).unwrap().config;
    let location = &config.relay.locations[0];
    assert_eq!(location.path, PathPattern::Regex(r"^/(?<room>\w+)/(\d+)$".into()));
    assert_eq!(location.methods, LocationMethods::Subscriber);
    assert_eq!(location.channel_id, ["${room}-$2", "$arg_id"]);
    assert_eq!(
        location.subscribers.iter().collect::<Vec<_>>(),
        [Transport::EventSource, Transport::IntervalPoll]
    );
    assert_eq!(location.allow_origin, AllowOrigin::List(vec!["http://a".into(), "http://b".into()]));
    assert_eq!(location.first_message, FirstMessage::FromNewest(3));
    assert_eq!(location.message_timeout_ms, 5_400_000);
    assert_eq!(location.slow_consumer, SlowConsumer::KeepLatest);
    assert_eq!(location.group_limits.unwrap().memory_bytes, 1 << 20);
    assert_eq!(location.hook_headers, [("X-Channel".to_owned(), "$nchan_channel_id".to_owned())]);
}

#[test]
fn the_flavour_decides_the_other_defaults_wherever_it_stands() {
    let config =
        read("[[location]]\nprefix = \"/x/\"\npolling = \"interval\"\nflavour = \"relay\"").unwrap().config;
    let location = &config.relay.locations[0];
    assert_eq!((location.flavour, location.polling), (Flavour::Relay, Polling::Interval));
    assert!(!location.create_on_get && !location.allow_credentials);
    assert_eq!(location.allow_origin, AllowOrigin::Any);
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let file = "shards = 2\ndriver = \"epoll\"\n[limits]\noutbox_bytes = \"2MiB\"\nchannels = 5\n";
    let environment = [
        ("FANWIRE_SHARDS", "4"),
        ("FANWIRE_LIMITS_OUTBOX_BYTES", "3MiB"),
        ("PATH", "/bin"),
        ("FANWIRE_CONFIG", "x"),
    ];
    let loaded = load_all(file, &environment, &[flag("--shards", "shards", "6")]).unwrap();
    assert_eq!(loaded.config.shards, 6);
    assert_eq!(loaded.config.driver, Driver::Epoll);
    assert_eq!(loaded.config.limits.outbox_bytes, 3 << 20);
    assert_eq!(loaded.config.limits.channels, 5);
    let origin = |path: &str| loaded.origin(path).to_string();
    assert_eq!(origin("shards"), "flag --shards");
    assert_eq!(origin("driver"), "f.toml:2");
    assert_eq!(origin("limits.outbox_bytes"), "environment FANWIRE_LIMITS_OUTBOX_BYTES");
    assert_eq!(origin("limits.channels"), "f.toml:5");
    assert_eq!(origin("echo"), "default");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn mistakes_in_variables_and_flags_name_them() {
    let environment = [("FANWIRE_ECHO", "perhaps"), ("FANWIRE_DRAIN", "soon")];
    let mistakes = load_all("", &environment, &[flag("--shards", "shards", "many")]).unwrap_err();
    assert!(mistakes[0].starts_with("FANWIRE_DRAIN: `drain` needs a duration"), "{mistakes:?}");
    assert!(mistakes[1].starts_with("FANWIRE_ECHO: `echo` needs true or false"), "{mistakes:?}");
    assert!(mistakes[2].starts_with("--shards: `shards` needs a whole number"), "{mistakes:?}");
}

#[test]
fn lists_in_variables_are_separated_by_commas() {
    let loaded = load_all("", &[("FANWIRE_LISTEN", "127.0.0.1:1, unix:/run/f.sock")], &[]).unwrap();
    let addresses: Vec<String> = loaded.config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:1", "unix:/run/f.sock"]);
}

#[test]
fn a_variable_that_sets_nothing_is_only_a_warning() {
    let loaded = load_all("", &[("FANWIRE_SHARD", "1"), ("FANWIRE_SERVICE_HOST", "10.0.0.1")], &[]).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings[0], "FANWIRE_SHARD: sets nothing (did you mean `FANWIRE_SHARDS`?)");
    assert_eq!(warnings[1], "FANWIRE_SERVICE_HOST: sets nothing");
}

#[test]
fn development_keys_stay_on_this_machine() {
    let open = [flag("--listen", "listen", "0.0.0.0:8080")];
    let refused =
        |text: &str, environment: &[(&str, &str)]| load_all(text, environment, &open).unwrap_err().join("\n");
    assert!(refused("", &[]).starts_with("--listen: 0.0.0.0:8080 is open to others"), "{}", refused("", &[]));
    assert!(refused("", &[]).contains("Add `development = false`"));
    assert!(refused("\ndevelopment = true", &[]).contains("Change f.toml:2 to `development = false`"));
    let known = "[[app]]\nid = \"a\"\nkey = \"dev-key\"\nsecret = \"x\"";
    assert!(refused(known, &[]).contains("Change f.toml:1: give the app a key and a secret of its own"));
    assert!(refused("", &[("FANWIRE_APP_KEY", "k")]).contains("Change environment FANWIRE_APP_KEY"));

    let accepted =
        |text: &str, environment: &[(&str, &str)]| load_all(text, environment, &open).unwrap().config;
    assert!(accepted("development = false", &[]).apps.is_empty());
    let config = accepted("[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"", &[]);
    assert!(!config.development && config.apps.len() == 1);
    let config = accepted("", &[("FANWIRE_APP_KEY", "k"), ("FANWIRE_APP_SECRET", "s")]);
    assert_eq!((config.apps[0].id.as_str(), config.apps[0].key.as_str()), ("1", "k"));
    assert!(read("listen = [\"unix:/run/f.sock\", \"[::1]:80\"]").unwrap().config.development);
}

/// An app that says everything, each value other than the default.
const WHOLE_APP: &str = r#"
    [[app]]
    id = "a"
    key = "k"
    secret = "dev-secret"
    name = "Shop"
    enabled = false
    client_events = true
    subscription_count = true
    authorize_within = "30s"
    max_connections = 100
    max_channels = 10
    max_events_per_second = 5
    max_client_events_per_second = 0
    max_event_bytes = "64KiB"
    max_presence_users = 1000
    history_messages = 0
    history = "5m"
    cache = "0"
"#;

const WHOLE_PUSHER: &str = r#"
    [pusher]
    enabled = false
    activity_timeout = "90s"
    pong_timeout = "1500ms"
    channel_name_bytes = 164
    event_name_chars = 50
    channels_per_trigger = 10
    batch_events = 1
    timestamp_tolerance = "1m"
"#;

#[test]
fn an_app_and_pusher_take_every_setting() {
    let config = read(&format!("{WHOLE_APP}{WHOLE_PUSHER}")).unwrap().config;
    let told = AppSettings {
        name: "Shop".into(),
        enabled: false,
        client_events: true,
        subscription_count: true,
        authorize_within_ms: 30_000,
        max_connections: 100,
        max_channels: 10,
        max_events_per_s: 5,
        max_client_events_per_s: 0,
        max_event_bytes: 64 << 10,
        max_presence_users: 1000,
        history_messages: 0,
        history_ms: 300_000,
        cache_ms: 0,
        ..AppSettings::new("a", "k", "dev-secret")
    };
    assert_eq!(config.apps, [told]);
    let limits = PusherLimits {
        channel_name_bytes: 164,
        event_name_chars: 50,
        channels_per_trigger: 10,
        batch_events: 1,
        timestamp_tolerance_s: 60,
        ..PusherLimits::default()
    };
    let told = pusher::Settings {
        enabled: false,
        activity_timeout_s: 90,
        pong_timeout_ms: 1500,
        limits,
        ..pusher::Settings::default()
    };
    assert_eq!(config.pusher, told);
}

#[test]
fn variables_set_the_only_app_and_leave_it_what_it_is() {
    let variables = [("FANWIRE_APP_CLIENT_EVENTS", "no"), ("FANWIRE_APP_MAX_EVENT_BYTES", "20KiB")];
    let loaded = load_all("", &variables, &[]).unwrap();
    assert!(loaded.config.development, "it has the well-known keys still");
    assert_eq!(loaded.config.apps[0].key, "dev-key");
    assert_eq!(
        (loaded.config.apps[0].client_events, loaded.config.apps[0].max_event_bytes),
        (false, 20 << 10)
    );
    assert_eq!(loaded.origin("app[0].client_events").to_string(), "environment FANWIRE_APP_CLIENT_EVENTS");
    let mistakes = load_all("", &[("FANWIRE_APP_HISTORY", "soon")], &[]).unwrap_err();
    assert!(mistakes[0].starts_with("FANWIRE_APP_HISTORY: `history` needs a duration"), "{mistakes:?}");
    let warned = load_all("", &[("FANWIRE_APP_CLIENT_EVENT", "1")], &[]).unwrap().warnings[0].to_string();
    assert!(warned.ends_with("(did you mean `FANWIRE_APP_CLIENT_EVENTS`?)"), "{warned}");
    let pusher = load_all("", &[("FANWIRE_PUSHER_ENABLED", "off")], &[]).unwrap().config.pusher;
    assert!(!pusher.enabled);
}

#[test]
fn open_publishers_are_warned_about() {
    let warnings = |text: &str| read(text).unwrap().warnings.len();
    let public = "listen = [\"0.0.0.0:80\"]\ninternal_listen = [\"127.0.0.1:81\"]\ndevelopment = false\n[[location]]\nprefix = \"/p/\"\n";
    assert_eq!(warnings(public), 1);
    assert_eq!(warnings(&format!("{public}listener = \"internal\"")), 0);
    assert_eq!(warnings(&format!("{public}authorize = \"http://a/\"")), 0);
    assert_eq!(warnings(&format!("{public}listener = \"0.0.0.0:80\"")), 1);
}

#[test]
fn the_node_decides_about_pings_where_a_location_is_silent() {
    let text = "limits.websocket_ping_interval = \"50s\"\n[[location]]\nprefix = \"/a/\"\n[[location]]\nprefix = \"/b/\"\nwebsocket_ping_interval = \"0\"";
    let locations = read(text).unwrap().config.relay.locations;
    assert_eq!(locations.iter().map(|l| l.websocket_ping_interval_ms).collect::<Vec<_>>(), [50_000, 0]);
}

#[test]
fn the_examples_are_right_and_use_every_directive_they_name() {
    let nchan = read(FROM_NCHAN).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert!(nchan.warnings.is_empty(), "{:?}", nchan.warnings);
    assert_eq!(nchan.config.relay.locations.len(), 6);
    assert_eq!(nchan.config.relay.locations[1].eventsource_ping_event, None);
    let django = read(FROM_DJANGO).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert!(django.warnings.is_empty(), "{:?}", django.warnings);
    assert!(django.config.relay.locations.iter().all(|location| location.flavour == Flavour::Relay));
}

#[test]
fn what_is_printed_loads_again_to_the_same_values() {
    let known = "[[app]]\nid=\"default\"\nkey=\"dev-key\"\nsecret=\"dev-secret\"";
    for text in ["", FROM_NCHAN, FROM_DJANGO, known, WHOLE_APP, WHOLE_PUSHER] {
        let loaded = read(text).unwrap();
        let printed = print(&loaded);
        let again = read(&printed).unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{printed}"));
        assert_eq!(again.config, loaded.config);
    }
}

#[test]
fn printed_lines_name_their_origin_and_keep_secrets() {
    let text = "shards = 2\n[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"hidden-thing\"";
    let printed = print(&load_all(text, &[("FANWIRE_ECHO", "on")], &[]).unwrap());
    let find = |name: &str| printed.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(find("shards =").ends_with("# f.toml:1"));
    assert!(find("echo =").ends_with("# environment FANWIRE_ECHO"));
    assert!(find("drain =").ends_with("# default"));
    assert!(find("secret").contains("f.toml:5, not shown"));
    assert!(!printed.contains("hidden-thing"));
    assert!(!format!("{:?}", read(text).unwrap()).contains("hidden-thing"));
}

/// A file made of right and wrong pieces.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[[location]]\n",
        "[limits]\n",
        "[location]\n",
        "[[app]]\n",
        "[[webhook]]\n",
        "[pusher]\n",
        "client_events",
        "history",
        "timestamp_tolerance",
        "[location.group_limits]\n",
        "url",
        "prefix",
        "listen",
        "channel_id",
        "subscribers",
        "flavour",
        "group_limits",
        "hook_headers",
        "first_message",
        " = ",
        "\"$1\"",
        "\"^/(a+)+$\"",
        "\"relay\"",
        "[",
        "]",
        "{ X = \"$é\" }",
        "-5",
        "1e9",
        "\"1MiB\"",
        "true",
        "'''",
        "\n",
        ".",
        "é",
        "\"1h\"",
        "\"unix:/x\"",
        "1979-05-27",
        "0x10",
        "= [\"0.0.0.0:80\"]\n",
        "\u{feff}",
        "\"${\"",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_upset_the_loader(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = load(&Sources { file: Some(("f", &bytes)), ..Sources::default() });
    }

    #[test]
    fn no_file_upsets_the_loader_and_what_it_takes_prints_and_loads(text in pieces()) {
        if let Ok(loaded) = read(&text) {
            let printed = print(&loaded);
            let again = read(&printed).map_err(|mistakes| TestCaseError::fail(format!("{mistakes:?}\n{printed}")))?;
            prop_assert_eq!(again.config, loaded.config);
        }
    }

    #[test]
    fn no_variable_upsets_the_loader(value in ".{0,40}") {
        for name in ["FANWIRE_LISTEN", "FANWIRE_SHARDS", "FANWIRE_DRAIN", "FANWIRE_LOG", "FANWIRE_LIMITS_BODY_BYTES", "FANWIRE_APP_KEY"] {
            let _ = load_all("", &[(name, &value)], &[]);
        }
    }
}
