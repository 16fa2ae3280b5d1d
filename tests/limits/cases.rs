//! Limits that a peer of a running node reaches, one after the other on the same node. Each refuses one peer: the node
//! goes on, and nothing else is counted.

use crate::client::{Answer, Client, Frame, await_that};
use crate::node::Node;
use crate::{added, logged, refusals, start};
use fanwire::limits::*;
use fanwire::wire::sign::{channel_string, hmac_sha256};
use fanwire::wire::ws::deflate::Compressor;
use fanwire::wire::ws::frame::{Opcode, encode_masked};
use serde_json::{Value, json};
use std::path::PathBuf;

/// How a limit is reached.
pub struct Case {
    /// What it is called, in src/limits; several names are of one limit.
    pub names: &'static [&'static str],
    /// The label of its figure, and in the log.
    pub label: &'static str,
    /// Reaches it once, and checks what the peer is told.
    reach: fn(&Node),
}

const SETTINGS: &str = "shards = 1";

const TABLES: &str = r#"
[limits]
head_bytes = "4KiB"
target_bytes = 1024
body_bytes = "64KiB"
message_bytes = "1MiB"
outbox_bytes = "64KiB"
outbox_messages = 2000
channels = 40
subscriptions_per_connection = 5
history_bytes_per_shard = "256KiB"
presence_bytes_per_shard = 1500
websocket_pong_timeout = "1s"
poll_hold = "1s"

[hooks]
queue = 1
timeout = "1s"

[[app]]
id = "1"
key = "limits-key"
secret = "limits-secret"
client_events = true
max_presence_users = 2
max_channels = 20

[[location]]
prefix = "/pub/"
methods = "publisher"
max_channel_id_bytes = 16

[[location]]
prefix = "/sub/"
methods = "subscriber"
max_subscribers = 1
split_delimiter = ","

[[location]]
prefix = "/burst/"
methods = "pubsub"
store_messages = false

[[location]]
prefix = "/other/"
methods = "publisher"
store = "other"

[[location]]
prefix = "/ping/"
methods = "subscriber"
websocket_ping_interval = "200ms"

[[location]]
prefix = "/deflate/"
methods = "publisher"
deflate_websocket = true

[[location]]
prefix = "/group/"
methods = "pubsub"
group = "g"
[location.group_limits]
channels = 1
messages = 2
"#;

/// All of them, in the order in which they are reached.
pub const CASES: &[Case] = &[
    Case {
        names: &["HTTP_HEAD_BYTES"],
        label: "http_head",
        reach: |node| {
            let answer = request(node, &format!("GET /sub/a HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(4096)));
            assert!(answer.status == 431 && answer.closes(), "{answer:?}");
        },
    },
    Case {
        names: &["HTTP_TARGET_BYTES"],
        label: "http_target",
        reach: |node| {
            let answer = request(node, &format!("GET /sub/{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(1024)));
            assert!(answer.status == 414 && answer.closes(), "{answer:?}");
        },
    },
    Case {
        names: &["HTTP_HEADERS"],
        label: "http_head",
        reach: |node| {
            let headers = "A: b\r\n".repeat(HTTP_HEADERS + 1);
            let answer = request(node, &format!("GET /sub/a HTTP/1.1\r\n{headers}\r\n"));
            assert!(answer.status == 431 && answer.closes(), "{answer:?}");
        },
    },
    Case {
        names: &["HTTP_BODY_BYTES"],
        label: "http_body",
        reach: |node| {
            let answer = request(node, "POST /pub/a HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n");
            assert!(answer.status == 413 && answer.closes(), "{answer:?}");
        },
    },
    Case {
        names: &["HTTP_CHUNK_LINE_BYTES"],
        label: "http_syntax",
        reach: |node| {
            let chunk = format!("1;{}\r\na\r\n", "x".repeat(HTTP_CHUNK_LINE_BYTES));
            assert_eq!(chunked(node, &chunk).status, 400);
        },
    },
    Case {
        names: &["HTTP_CHUNK_EXTENSION_BYTES"],
        label: "http_syntax",
        reach: |node| {
            let chunk = format!("1;{}\r\na\r\n", "x".repeat(200));
            assert_eq!(chunked(node, &chunk.repeat(HTTP_CHUNK_EXTENSION_BYTES / 200 + 1)).status, 400);
        },
    },
    Case {
        names: &["HTTP_TRAILER_BYTES"],
        label: "http_head",
        reach: |node| {
            let trailer = format!("1\r\na\r\n0\r\nX: {}\r\n\r\n", "x".repeat(HTTP_TRAILER_BYTES));
            assert_eq!(chunked(node, &trailer).status, 431);
        },
    },
    Case {
        names: &["HTTP_BLANK_LINES"],
        label: "http_syntax",
        reach: |node| {
            let answer = request(node, &"\r\n".repeat(HTTP_BLANK_LINES + 1));
            assert_eq!(answer.status, 400);
        },
    },
    Case {
        names: &["WS_MESSAGE_BYTES"],
        label: "websocket_message",
        reach: |node| {
            let mut client = Client::open(&node.address, "/pub/a");
            client.send([0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0]);
            assert_eq!(client.end(), Frame::Close(1009, "message over the limit".into()));
        },
    },
    Case {
        names: &["WS_FRAGMENTS"],
        label: "websocket_fragments",
        reach: |node| {
            let mut client = Client::open(&node.address, "/pub/a");
            client.send(encode_masked(Opcode::Text, false, false, [0; 4], b""));
            client.send(encode_masked(Opcode::Continuation, false, false, [0; 4], b"").repeat(WS_FRAGMENTS));
            assert_eq!(client.end(), Frame::Close(1008, "too many fragments".into()));
        },
    },
    Case {
        names: &["WS_CONTROL_BYTES"],
        label: "websocket_protocol",
        reach: |node| {
            let mut client = Client::open(&node.address, "/pub/a");
            client.frame(Opcode::Ping, &[b'x'; WS_CONTROL_BYTES + 1]);
            assert!(matches!(client.end(), Frame::Close(1002, _)));
        },
    },
    Case {
        names: &["WS_INFLATE_RATIO", "WS_INFLATE_RATIO_FREE_BYTES"],
        label: "websocket_ratio",
        reach: |node| {
            // A megabyte of the same, as small as it gets; the first part of it is let through.
            let mut client = Client::open(&node.address, "/deflate/a");
            for (bytes, end) in [(WS_INFLATE_RATIO_FREE_BYTES, false), (1 << 20, true)] {
                let mut bomb = Vec::new();
                Compressor::new(9, 15, false).compress(&vec![b'a'; bytes], &mut bomb);
                assert!(bomb.len() * WS_INFLATE_RATIO < bytes, "{}", bomb.len());
                client.send(encode_masked(Opcode::Text, true, true, [0; 4], &bomb));
                match client.next() {
                    Frame::Data(info) => assert!(!end && info.contains("messages"), "{info}"),
                    other => assert_eq!(other, Frame::Close(1009, "message deflated too well".into())),
                }
            }
        },
    },
    Case {
        names: &["NODE_WEBSOCKET_PONG_TIMEOUT_MS"],
        label: "ping_timeout",
        reach: |node| {
            assert_eq!(Client::open(&node.address, "/ping/a").end(), Frame::End);
        },
    },
    Case {
        names: &["SUBSCRIPTIONS_PER_SESSION"],
        label: "subscriptions_per_connection",
        reach: |node| {
            let answer = Client::connect(&node.address).ask("GET /sub/s1,s2,s3,s4,s5,s6", b"");
            assert!(answer.status == 403 && answer.body.contains("subscriptions"), "{answer:?}");
        },
    },
    Case {
        names: &["RELAY_CHANNEL_ID_BYTES"],
        label: "channel_id_too_long",
        reach: |node| {
            let answer = Client::connect(&node.address).ask(&format!("POST /pub/{}", "a".repeat(17)), b"x");
            assert!(answer.status == 403 && !answer.closes(), "{answer:?}");
        },
    },
    Case {
        names: &["RELAY_CHANNELS_PER_REQUEST"],
        label: "too_many_channels",
        reach: |node| {
            let channels = vec!["a"; RELAY_CHANNELS_PER_REQUEST + 1].join(",");
            assert_eq!(Client::connect(&node.address).ask(&format!("GET /sub/{channels}"), b"").status, 403);
        },
    },
    Case {
        names: &["max_subscribers"],
        label: "channel_subscribers",
        reach: |node| {
            let _first = Client::open(&node.address, "/sub/full");
            await_that("a subscriber", || node.metric("fanwire_subscriptions") == 1.0);
            assert_eq!(Client::connect(&node.address).ask("GET /sub/full", b"").status, 403);
        },
    },
    Case {
        names: &["group_limits.channels"],
        label: "group_channels",
        reach: |node| {
            let mut client = Client::connect(&node.address);
            assert_eq!(client.ask("POST /group/a", b"x").status, 202);
            assert_eq!(client.ask("POST /group/b", b"x").status, 403);
        },
    },
    Case {
        names: &["group_limits.messages"],
        label: "group_messages",
        reach: |node| {
            let mut client = Client::connect(&node.address);
            assert_eq!(client.ask("POST /group/a", b"x").status, 202);
            assert_eq!(client.ask("POST /group/a", b"x").status, 403);
        },
    },
    Case {
        names: &["HISTORY_BYTES_PER_SHARD"],
        label: "history_memory",
        reach: |node| {
            let mut client = Client::connect(&node.address);
            let message = vec![b'x'; 60_000];
            let mut answers = (0..10).map(|_| client.ask("POST /pub/big", &message));
            let full = answers.find(|answer| answer.status != 202).expect("memory has an end");
            assert!(full.status == 507 && !full.closes(), "{full:?}");
            assert_eq!(client.ask("DELETE /pub/big", b"").status, 200);
            assert_eq!(client.ask("POST /pub/big", b"small").status, 202, "there is room again");
        },
    },
    Case {
        names: &["NODE_OUTBOX_BYTES"],
        label: "slow_consumer",
        reach: |node| {
            let mut slow = Client::open(&node.address, "/burst/slow");
            await_that("a subscriber", || node.metric("fanwire_subscriptions") == 1.0);
            let mut publisher = Client::connect(&node.address);
            let message = vec![b'x'; 60_000];
            await_that("a slow consumer", || {
                assert!(matches!(publisher.ask("POST /burst/slow", &message).status, 201 | 202));
                node.metric("fanwire_slow_consumers_closed_total") == 1.0
            });
            assert_eq!(slow.end(), Frame::End);
        },
    },
    Case {
        names: &["PUSHER_CHANNEL_NAME_BYTES"],
        label: "pusher_frame",
        reach: |node| {
            let (mut client, _) = pusher(node);
            subscribe(&mut client, &"a".repeat(PUSHER_CHANNEL_NAME_BYTES + 1), None);
            assert_eq!(client.event()["event"], "pusher:error");
        },
    },
    Case {
        names: &["PUSHER_EVENT_NAME_CHARS"],
        label: "pusher_frame",
        reach: |node| {
            let name = format!("client-{}", "a".repeat(PUSHER_EVENT_NAME_CHARS));
            assert_eq!(client_event(node, &name, json!(1))["data"]["code"], 4301);
        },
    },
    Case {
        names: &["PUSHER_DATA_BYTES"],
        label: "pusher_frame",
        reach: |node| {
            let data = json!("x".repeat(PUSHER_DATA_BYTES + 1));
            assert_eq!(client_event(node, "client-a", data)["data"]["code"], 4301);
        },
    },
    Case {
        names: &["PUSHER_FRAME_OVERHEAD_BYTES", "PUSHER_ESCAPE_BYTES"],
        label: "pusher_frame",
        reach: |node| {
            let (mut client, _) = pusher(node);
            client
                .text(&" ".repeat(PUSHER_DATA_BYTES * PUSHER_ESCAPE_BYTES + PUSHER_FRAME_OVERHEAD_BYTES + 1));
            assert_eq!(client.event()["event"], "pusher:error");
        },
    },
    Case {
        names: &["JSON_DEPTH"],
        label: "pusher_frame",
        reach: |node| {
            let (mut client, _) = pusher(node);
            let deep = format!("{}{}", "[".repeat(JSON_DEPTH), "]".repeat(JSON_DEPTH));
            client.text(&format!(r#"{{"event":"pusher:ping","data":{deep}}}"#));
            assert!(client.event()["data"]["message"].as_str().unwrap().contains("nested"));
        },
    },
    Case {
        names: &["PUSHER_AUTH_BYTES"],
        label: "pusher_subscription",
        reach: |node| {
            let (mut client, _) = pusher(node);
            let data = json!({"channel": "private-a", "auth": "a".repeat(PUSHER_AUTH_BYTES + 1)});
            client.text(&json!({"event": "pusher:subscribe", "data": data}).to_string());
            assert_eq!(client.event()["event"], "pusher:subscription_error");
        },
    },
    Case {
        names: &["PUSHER_USER_ID_CHARS"],
        label: "pusher_subscription",
        reach: |node| {
            let user = json!({"user_id": "u".repeat(PUSHER_USER_ID_CHARS + 1)});
            assert_eq!(present(node, "presence-a", user).1["event"], "pusher:subscription_error");
        },
    },
    Case {
        names: &["PUSHER_USER_INFO_BYTES"],
        label: "pusher_subscription",
        reach: |node| {
            let user = json!({"user_id": "u", "user_info": "u".repeat(PUSHER_USER_INFO_BYTES)});
            assert_eq!(present(node, "presence-a", user).1["event"], "pusher:subscription_error");
        },
    },
    Case {
        names: &["APP_PRESENCE_USERS", "PRESENCE_USERS"],
        label: "pusher_subscription",
        reach: |node| {
            let user = |id: &str| present(node, "presence-b", json!({"user_id": id}));
            let (first, second, third) = (user("1"), user("2"), user("3"));
            assert_eq!(first.1["event"], "pusher_internal:subscription_succeeded");
            assert_eq!(second.1["event"], "pusher_internal:subscription_succeeded");
            assert_eq!(third.1["data"]["status"], 4100);
        },
    },
    Case {
        names: &["PRESENCE_BYTES_PER_SHARD"],
        label: "pusher_subscription",
        reach: |node| {
            await_that("nobody present", || node.metric("fanwire_subscriptions") == 0.0);
            let user =
                |room: &str| present(node, room, json!({"user_id": "1", "user_info": "u".repeat(900)}));
            let (first, second) = (user("presence-c"), user("presence-d"));
            assert_eq!(first.1["event"], "pusher_internal:subscription_succeeded", "{:?}", first.1);
            assert!(
                second.1["data"]["error"].as_str().unwrap().contains("presence_memory"),
                "{:?}",
                second.1
            );
        },
    },
    Case {
        names: &["max_channels"],
        label: "pusher_subscription",
        reach: |node| {
            let mut clients: Vec<Client> = (0..5).map(|_| pusher(node).0).collect();
            // Channels of the app are those of its locations, too.
            let refused = (0..21).map(|n| {
                let client = &mut clients[n / 5];
                subscribe(client, &format!("c{n}"), None);
                client.event()
            });
            let told = refused.into_iter().find(|told| told["event"] == "pusher:subscription_error");
            assert!(told.unwrap()["data"]["error"].as_str().unwrap().contains("app_channels"));
        },
    },
    Case {
        names: &["NODE_CHANNELS", "CHANNELS_PER_SHARD"],
        label: "channels",
        reach: |node| {
            let mut client = Client::connect(&node.address);
            let mut channels = (0..41).map(|n| client.ask(&format!("POST /other/n{n}"), b"x").status);
            assert_eq!(channels.find(|status| *status != 202), Some(403));
        },
    },
];

/// Those that are reached by doing nothing. On a node of their own: there, anybody who is slow reaches them.
pub const TIMED: &[Case] = &[
    Case {
        names: &["NODE_HEADER_TIMEOUT_MS"],
        label: "http_timeout",
        reach: |node| {
            assert_eq!(request(node, "GET /sub/a HTTP/1.1\r\nHost:").status, 408);
        },
    },
    Case {
        names: &["NODE_BODY_TIMEOUT_MS"],
        label: "http_timeout",
        reach: |node| {
            let answer = request(node, "POST /pub/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcd");
            assert_eq!(answer.status, 408);
        },
    },
];

fn request(node: &Node, text: &str) -> Answer {
    let mut client = Client::connect(&node.address);
    client.send(text);
    client.answer()
}

fn chunked(node: &Node, chunks: &str) -> Answer {
    let head = "POST /pub/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    request(node, &format!("{head}{chunks}"))
}

/// A client of the app, and its socket id.
fn pusher(node: &Node) -> (Client, String) {
    let mut client = Client::open(&node.address, "/app/limits-key?protocol=7");
    let data = client.event()["data"].as_str().unwrap().to_owned();
    let data: Value = serde_json::from_str(&data).unwrap();
    (client, data["socket_id"].as_str().unwrap().to_owned())
}

fn subscribe(client: &mut Client, channel: &str, signed: Option<(&str, &str)>) {
    let mut data = json!({"channel": channel});
    if let Some((id, channel_data)) = signed {
        let user = Some(channel_data).filter(|data| !data.is_empty());
        let signature = hmac_sha256(b"limits-secret", channel_string(id, channel, user).as_bytes());
        data["auth"] = format!("limits-key:{}", signature.as_str()).into();
        user.inspect(|user| data["channel_data"] = (*user).into());
    }
    client.text(&json!({"event": "pusher:subscribe", "data": data}).to_string());
}

/// What a client is told that wants to be in a room.
fn present(node: &Node, room: &str, user: Value) -> (Client, Value) {
    let (mut client, id) = pusher(node);
    subscribe(&mut client, room, Some((&id, &user.to_string())));
    let told = client.event();
    (client, told)
}

/// What a client is told about its event.
fn client_event(node: &Node, name: &str, data: Value) -> Value {
    let (mut client, id) = pusher(node);
    subscribe(&mut client, "private-events", Some((&id, "")));
    assert_eq!(client.event()["event"], "pusher_internal:subscription_succeeded");
    client.text(&json!({"event": name, "channel": "private-events", "data": data}).to_string());
    client.event()
}

fn reach(node: &Node, log: &PathBuf, case: &Case) {
    let (before, lines) = (refusals(node), logged(log, case.label).len());
    (case.reach)(node);
    let expected = [(case.label.to_owned(), 1)];
    await_that("a figure", || refusals(node) != before);
    assert_eq!(added(&before, &refusals(node)), expected, "{:?}", case.names);
    await_that("a line in the log", || logged(log, case.label).len() > lines);
    assert_eq!(logged(log, case.label).len(), lines + 1, "{:?}", case.names);
}

#[test]
fn each_is_told_counted_and_logged_once() {
    let (mut node, log) = start("cases", SETTINGS, TABLES);
    for case in CASES {
        reach(&node, &log, case);
        await_that("everybody gone", || node.metric("fanwire_subscriptions") == 0.0);
        // Nobody else is the worse for it.
        let mut other = Client::connect(&node.address);
        assert_eq!(other.ask("POST /burst/other", b"x").status, 202, "{:?}", case.names);
    }
    node.stop();
}

#[test]
fn who_takes_too_long_is_told_counted_and_logged_once() {
    let times = "[limits]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"";
    let (mut node, log) = start("timed", SETTINGS, times);
    TIMED.iter().for_each(|case| reach(&node, &log, case));
    node.stop();
}
