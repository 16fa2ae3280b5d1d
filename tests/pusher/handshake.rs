//! A client shakes hands (pusher.md sections 1 and 4).

use crate::pusher::world::{End, SHAKE, World};
use crate::{node, settings};
use fanwire::dialect::app::AppSettings;
use serde_json::json;

fn opened(world: &mut World, target: &str) -> usize {
    let number = world.accept(0);
    assert!(world.request(number, &format!("GET {target}\n{SHAKE}"), b""), "{target}");
    number
}

#[test]
fn a_client_is_welcomed_with_a_name_of_its_own() {
    let mut world = node(2);
    let target = "/app/app-key-demo?protocol=7&client=js&version=8.6.0&flash=false&x=";
    let first = opened(&mut world, target);
    let raw = String::from_utf8_lossy(&world.take_raw(first)).into_owned();
    let (head, frame) = raw.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(!head.contains("Sec-WebSocket-Protocol"), "{head}");
    assert!(frame.ends_with(r#"\"activity_timeout\":120}"}"#), "{frame}");
    let clients = [world.open(0, 0), world.open(1, 0)];
    let names = clients.map(|client| world.connections[client].socket_id.clone());
    assert_ne!(names[0], names[1]);
    for name in names {
        let parts: Vec<&str> = name.split('.').collect();
        let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        assert!(parts.len() == 2 && parts.iter().all(digits), "{name}");
    }
    assert_eq!(world.app(0).connections(), 3);
}

#[test]
fn what_is_wrong_is_said_by_a_close_code() {
    let disabled = AppSettings { enabled: false, ..AppSettings::new("2", "disabled", "s") };
    let full = AppSettings { max_connections: 1, ..AppSettings::new("3", "full", "s") };
    let mut world = World::new(1, vec![settings(), disabled, full]);
    world.connect(0, "full");
    for (target, code, told) in [
        ("/app/nobody?protocol=7", 4001, false),
        ("/app/nobody?protocol=5", 4001, true),
        ("/app/disabled", 4003, false),
        ("/app/full", 4004, false),
        ("/app/app-key-demo?protocol=x", 4006, false),
        ("/app/app-key-demo?protocol=3", 4007, true),
        ("/app/app-key-demo?protocol=8", 4007, false),
    ] {
        let number = opened(&mut world, target);
        let Some(End::WebSocket(closed, reason)) = world.connections[number].end.clone() else {
            panic!("{target}")
        };
        assert_eq!(closed, code, "{target}");
        assert!(!reason.is_empty());
        let frames = world.take_json(number);
        assert_eq!(frames.len(), usize::from(told), "{target}: {frames:?}");
        assert!(frames.iter().all(|frame| frame["data"]["code"] == code && frame["event"] == "pusher:error"));
        assert_eq!(world.refused.pop().unwrap().0, "pusher_handshake");
    }
    assert!(world.refused.is_empty());
    assert_eq!(world.app(2).connections(), 1, "one that was refused does not count");
}

#[test]
fn other_requests_are_answered_as_what_they_are() {
    let mut world = node(1);
    for (head, status) in [
        ("GET /app/app-key-demo", 400),
        (
            "POST /app/app-key-demo\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            400,
        ),
        (
            "GET /app/app-key-demo\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 8\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            400,
        ),
    ] {
        let number = world.accept(0);
        assert!(world.request(number, head, b""));
        assert_eq!(world.answered(number).0, status, "{head}");
        assert_eq!(world.refused.pop().unwrap().0, "handshake");
    }
    for path in ["/app", "/app/", "/app/a/b", "/x/app/a"] {
        let number = world.accept(0);
        assert!(!world.request(number, &format!("GET {path}\n{SHAKE}"), b""), "{path}");
    }
}

#[test]
fn names_of_gone_connections_except_nobody() {
    let mut world = node(2);
    let (gone, here) = (world.open(0, 0), world.open(1, 0));
    world.subscribe(here, 0, "news", None);
    world.settle();
    world.hang_up(gone);
    let name = world.connections[gone].socket_id.clone();
    world.take(here);
    for except in [name.as_str(), "1.1", "99999999999999999999.1"] {
        let body = json!({"name": "e", "channel": "news", "data": "x", "socket_id": except}).to_string();
        assert_eq!(world.api(0, "POST", "/apps/4242/events", &body), (200, "{}".into()));
        assert_eq!(world.take(here).len(), 1, "{except}");
    }
}

#[test]
fn a_node_that_stops_sends_clients_elsewhere() {
    let mut world = node(1);
    let client = world.open(0, 0);
    world.drain();
    assert!(matches!(world.connections[client].end, Some(End::WebSocket(1001, _))));
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn an_app_that_is_gone_keeps_no_clients() {
    let mut world = World::new(2, vec![settings(), AppSettings::new("2", "two", "s")]);
    let (one, two) = (world.open(0, 0), world.open(1, 1));
    world.subscribe(two, 1, "news", None);
    world.settle();
    let without = world.apps.without("2").unwrap();
    // The same key under another number: clients come back and are given to that.
    let again = without.with(AppSettings::new("2b", "two", "s")).unwrap();
    let mut other = World::new(1, vec![settings(), AppSettings::new("2", "two", "s")]);
    let moved = other.open(0, 1);
    let again = other.apps.without("2").unwrap().with(again.by_id("2b").unwrap().settings.clone()).unwrap();
    other.change_apps(again);
    assert!(matches!(other.connections[moved].end, Some(End::WebSocket(4200, _))));
    world.change_apps(without);
    assert!(matches!(world.connections[two].end, Some(End::WebSocket(4001, _))));
    assert_eq!(world.refused.last().unwrap().0, "pusher_app");
    assert!(world.connections[one].is_open());
    world.hang_up(one);
    assert_eq!(world.left(), [0; 5]);
}
