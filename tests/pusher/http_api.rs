//! What back ends ask (pusher.md section 11), from the request line to the answer.

use crate::pusher::ends::signed;
use crate::pusher::world::{End, World};
use crate::{events, node, settings};
use fanwire::channel::{Command, Message, Policy};
use fanwire::dialect::app::AppSettings;
use fanwire::limits::HomeLimits;
use serde_json::{Value, json};
use std::sync::Arc;

const EVENTS: &str = "/apps/4242/events";

fn subscribed(world: &mut World, shard: usize, channels: &[&str]) -> usize {
    let client = world.open(shard, 0);
    for channel in channels {
        let user = channel.starts_with("presence-").then(|| format!("u{client}"));
        world.subscribe(client, 0, channel, user.as_deref());
    }
    world.settle();
    world.take(client);
    client
}

#[test]
fn an_event_goes_to_each_channel_once_but_not_to_one_connection() {
    let mut world = node(3);
    let all = ["a", "b", "private-c"];
    let (one, two) = (subscribed(&mut world, 0, &all), subscribed(&mut world, 1, &all));
    let socket = world.connections[one].socket_id.clone();
    let body = json!({"name": "e", "data": "{\"n\":1}", "channels": ["a", "b", "a", "private-c", "b"], "socket_id": socket});
    assert_eq!(world.api(0, "POST", EVENTS, &body.to_string()), (200, "{}".into()));
    assert!(world.take(one).is_empty());
    let mut frames = world.take_json(two);
    frames.sort_by_key(|frame| frame["channel"].to_string());
    let expected = all.map(|channel| json!({"event": "e", "channel": channel, "data": "{\"n\":1}"}));
    assert_eq!(frames, expected);
    for (data, told) in
        [(json!(""), ""), (json!({"a": [1]}), "{\"a\":[1]}"), (json!(0), "0"), (json!(null), "null")]
    {
        let body = json!({"name": "e", "channel": "a", "data": data}).to_string();
        assert_eq!(world.api(0, "POST", EVENTS, &body).0, 200);
        assert_eq!(world.take_json(two)[0]["data"], told);
    }
}

#[test]
fn batches_are_answered_event_by_event() {
    let mut world = node(3);
    let client = subscribed(&mut world, 1, &["a", "presence-b"]);
    let event = |channel: &str, info: Option<&str>| json!({"name": "e", "channel": channel, "data": channel, "info": info});
    let path = "/apps/4242/batch_events";
    let plain = json!({"batch": [event("a", None), event("a", None), event("x", None)]}).to_string();
    assert_eq!(world.api(0, "POST", path, &plain), (200, "{}".into()));
    assert_eq!(world.take(client).len(), 2);
    let asking = [
        event("a", Some("subscription_count")),
        event("x", None),
        event("presence-b", Some("user_count,subscription_count")),
    ];
    let (status, body) = world.api(0, "POST", path, &json!({"batch": asking}).to_string());
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"batch":[{"subscription_count":1},{},{"user_count":1,"subscription_count":1}]}"#)
    );
    assert_eq!(world.api(0, "POST", path, r#"{"batch":[]}"#), (200, "{}".into()));
    let many: Vec<Value> = (0..11).map(|_| event("a", None)).collect();
    assert_eq!(world.api(0, "POST", path, &json!({"batch": many}).to_string()).0, 400);
}

#[test]
fn info_is_told_of_each_channel() {
    let mut world = node(3);
    subscribed(&mut world, 0, &["a", "presence-b"]);
    subscribed(&mut world, 1, &["a", "presence-b"]);
    let body = json!({"name": "e", "data": "", "channels": ["a", "presence-b", "none"], "info": "user_count,subscription_count"});
    let (_, body) = world.api(0, "POST", EVENTS, &body.to_string());
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({"channels": {
            "a": {"subscription_count": 2},
            "presence-b": {"user_count": 2, "subscription_count": 2},
            "none": {"subscription_count": 0},
        }})
    );
}

#[test]
fn occupied_channels_of_all_shards_are_listed() {
    let mut world = World::new(4, vec![settings(), AppSettings::new("2", "two", "s")]);
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let client = subscribed(&mut world, 1, &names);
    subscribed(&mut world, 2, &["presence-a"]);
    let other = world.open(3, 1);
    world.subscribe(other, 1, "of another app", None);
    world.sign_in(client, 0, "u1", &["u2"]);
    world.settle();
    let list = |world: &mut World, query: &str| -> Value {
        let (status, body) = world.api(0, "GET", &format!("/apps/4242/channels{query}"), "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["channels"].clone()
    };
    let all = list(&mut world, "");
    assert_eq!(all.as_object().unwrap().len(), 21);
    assert!(names.iter().all(|name| all[name] == json!({})));
    let counted = list(&mut world, "?filter_by_prefix=presence-&info=user_count");
    assert_eq!(counted, json!({"presence-a": {"user_count": 1}}));
    assert_eq!(
        list(&mut world, "?filter_by_prefix=c19&info=subscription_count"),
        json!({"c19": {"subscription_count": 1}})
    );
    assert_eq!(list(&mut world, "?filter_by_prefix=%23"), json!({}));
    world.hang_up(client);
    world.settle();
    assert_eq!(list(&mut world, "?filter_by_prefix=c"), json!({}), "never an array");
    assert_eq!(world.api(0, "GET", "/apps/4242/channels?info=user_count", "").0, 400);
}

#[test]
fn one_channel_tells_what_its_kind_has() {
    let mut world = node(3);
    subscribed(&mut world, 0, &["presence-a", "b"]);
    for (path, status, body) in [
        (
            "presence-a?info=user_count,subscription_count",
            200,
            r#"{"occupied":true,"user_count":1,"subscription_count":1}"#,
        ),
        (
            "presence-a?info=user_count%2Csubscription_count",
            200,
            r#"{"occupied":true,"user_count":1,"subscription_count":1}"#,
        ),
        ("b", 200, r#"{"occupied":true}"#),
        ("b/stats", 200, r#"{"occupied":true}"#),
        ("never-seen", 200, r#"{"occupied":false}"#),
        ("never-seen?info=subscription_count", 200, r#"{"occupied":false,"subscription_count":0}"#),
        ("presence-a/users", 200, r#"{"users":[{"id":"u0"}]}"#),
        ("presence-none/users", 200, r#"{"users":[]}"#),
    ] {
        assert_eq!(
            world.api(0, "GET", &format!("/apps/4242/channels/{path}"), ""),
            (status, body.into()),
            "{path}"
        );
    }
    for path in ["b?info=user_count", "b?info=cache", "b?info=x", "b/users", "a%20b", "a%3ab"] {
        assert_eq!(world.api(0, "GET", &format!("/apps/4242/channels/{path}"), "").0, 400, "{path}");
        assert_eq!(world.refused.pop().unwrap().0, "pusher_api");
    }
}

#[test]
fn asking_changes_nothing() {
    let mut world = node(1);
    let policy = Arc::new(Policy { delete_oldest_received: true, ..Policy::default() });
    let message = Message { payload: "x".into(), ..Message::default() };
    world.tell(0, 0, "a", Command::Publish { message, policy, create: true });
    world.api(0, "GET", "/apps/4242/channels/a?info=subscription_count", "");
    assert_eq!(world.shards[0].home.stored(), 1, "nobody has received it");
}

#[test]
fn what_is_wrong_is_refused_with_its_status() {
    let mut world =
        World::new(2, vec![settings(), AppSettings { enabled: false, ..AppSettings::new("2", "two", "s") }]);
    let good = json!({"name": "e", "channel": "a", "data": "x"}).to_string();
    let now_s = world.now.unix_s();
    let target = |body: &str| signed(&settings(), "POST", EVENTS, body, now_s);
    let old = signed(&settings(), "POST", EVENTS, &good, now_s - 601);
    let other = signed(&AppSettings::new("4242", "two", "s"), "POST", EVENTS, &good, now_s);
    let many: Vec<String> = (0..101).map(|n| format!("c{n}")).collect();
    let event = |change: Value| {
        let mut event: Value = serde_json::from_str(&good).unwrap();
        event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        event.to_string()
    };
    for (target, body, status) in [
        (EVENTS.to_owned(), good.clone(), 401),
        (target(&good).replace("auth_signature=", "auth_signature=0"), good.clone(), 401),
        (target(&good), good.replace('x', "y"), 401),
        (old, good.clone(), 401),
        (other, good.clone(), 401),
        (target(&good).replace("4242", "77"), good.clone(), 404),
        (
            signed(&AppSettings::new("2", "two", "s"), "POST", "/apps/2/events", &good, now_s),
            good.clone(),
            403,
        ),
        (target("x"), "x".into(), 400),
        (target("[]"), "[]".into(), 400),
        (target(&event(json!({"name": ""}))), event(json!({"name": ""})), 400),
        (target(&event(json!({"name": "n".repeat(201)}))), event(json!({"name": "n".repeat(201)})), 400),
        (target(&event(json!({"channel": "a b"}))), event(json!({"channel": "a b"})), 400),
        (target(&event(json!({"channels": []}))), event(json!({"channels": []})), 400),
        (target(&event(json!({"channels": many}))), event(json!({"channels": many})), 400),
        (target(&event(json!({"socket_id": "1,1"}))), event(json!({"socket_id": "1,1"})), 400),
        (target(&event(json!({"data": "d".repeat(10241)}))), event(json!({"data": "d".repeat(10241)})), 413),
    ] {
        let number = world.accept(0);
        assert!(world.request(number, &format!("POST {target}"), body.as_bytes()));
        let (is, text) = world.answered(number);
        assert_eq!(is, status, "{target} {body}: {text}");
        assert!(!text.is_empty() && world.connections[number].end == Some(End::Done), "it may go on");
        assert_eq!(world.refused.pop().unwrap().0, "pusher_api");
    }
    assert!(world.refused.is_empty());
    for (method, path) in [
        ("GET", "/apps/4242"),
        ("PUT", EVENTS),
        ("HEAD", "/apps/4242/channels"),
        ("POST", "/apps/4242/channels"),
        ("GET", "/apps/4242/channels/a/b"),
    ] {
        let number = world.accept(0);
        let target = signed(&settings(), method, path, "", now_s);
        assert!(!world.request(number, &format!("{method} {target}"), b""), "{method} {path}");
    }
    world.settle();
    assert_eq!(
        world.shards.iter().map(|shard| shard.home.channels()).sum::<usize>(),
        0,
        "nothing was published"
    );
}

#[test]
fn ten_kilobytes_of_data_go_whatever_the_body_has() {
    let mut world = node(1);
    let client = subscribed(&mut world, 0, &["a"]);
    // Escaped, the body is six times as long.
    let body = json!({"name": "e", "channel": "a", "data": "\u{1}".repeat(10 * 1024)}).to_string();
    assert_eq!(world.api(0, "POST", EVENTS, &body).0, 200);
    assert_eq!(world.take_json(client)[0]["data"].as_str().unwrap().len(), 10 * 1024);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let mut world = World::new(2, vec![AppSettings { max_events_per_s: 3, ..settings() }]);
    let client = subscribed(&mut world, 1, &["a", "b"]);
    let body = json!({"name": "e", "channels": ["a", "b"], "data": ""}).to_string();
    assert_eq!(world.api(0, "POST", EVENTS, &body).0, 200);
    let number = world.ask(0, 0, "POST", EVENTS, &body);
    let raw = String::from_utf8(world.take_raw(number)).unwrap();
    assert!(raw.starts_with("HTTP/1.1 429 ") && raw.contains("\r\nRetry-After: 1\r\n"), "{raw}");
    assert_eq!(world.take(client).len(), 2, "all or nothing");
    world.wait_ms(1000);
    assert_eq!(world.api(0, "POST", EVENTS, &body).0, 200);
}

#[test]
fn what_homes_cannot_take_may_come_again() {
    let limits = HomeLimits { channels: 1, ..HomeLimits::default() };
    let mut world = World::with_limits(1, vec![settings()], limits);
    let client = subscribed(&mut world, 0, &["a"]);
    let body = json!({"name": "e", "channels": ["a", "b", "c"], "data": ""}).to_string();
    let number = world.ask(0, 0, "POST", EVENTS, &body);
    world.settle();
    let raw = String::from_utf8(world.take_raw(number)).unwrap();
    assert!(raw.starts_with("HTTP/1.1 503 ") && raw.contains("\r\nRetry-After: 1\r\n"), "{raw}");
    assert!(raw.ends_with("(2 of 3): channels"), "{raw}");
    assert_eq!(events(&world.take_json(client)), ["e"], "the others have it");
    assert_eq!(world.refused.len(), 1);
}

#[test]
fn connections_are_kept_as_http_has_it() {
    let mut world = node(2);
    let target = signed(&settings(), "GET", "/apps/4242/channels", "", world.now.unix_s());
    for (version, headers, kept) in [
        ("1.1", "", true),
        ("1.1", "\nConnection: close", false),
        ("1.0", "", false),
        ("1.0", "\nConnection: keep-alive", true),
    ] {
        let number = world.accept(0);
        for _ in 0..if kept { 3 } else { 1 } {
            assert!(world.request(number, &format!("GET {target} HTTP/{version}{headers}"), b""));
            world.settle();
            let raw = String::from_utf8(world.take_raw(number)).unwrap();
            assert!(raw.starts_with("HTTP/1.1 200 ") && raw.contains("\r\nContent-Length: 15\r\n"), "{raw}");
            assert_eq!(raw.contains("Connection: close"), !kept, "{raw}");
            assert_eq!(world.connections[number].end, Some(if kept { End::Done } else { End::Close }));
        }
    }
}

#[test]
fn deprecated_events_are_still_taken() {
    let mut world = node(2);
    let client = subscribed(&mut world, 1, &["a"]);
    let (status, _) = world.api(0, "POST", "/apps/4242/channels/a/events?name=e", "text");
    assert_eq!((status, &world.take_json(client)[0]["data"]), (202, &json!("text")));
}

#[test]
fn a_back_end_that_is_gone_leaves_nothing() {
    let mut world = node(4);
    for path in [
        "/apps/4242/channels",
        "/apps/4242/channels/cache-a?info=cache",
        "/apps/4242/channels/presence-a/users",
    ] {
        let number = world.ask(0, 0, "GET", path, "");
        if world.connections[number].is_open() {
            world.hang_up(number);
        }
        world.settle();
    }
    assert_eq!(world.left(), [0; 5]);
}
