//! What Pusher's clients send: lines, each a frame, through the parser and through a session. A frame whose `auth` is
//! `sign` is signed first, so that the inside is reached.

use super::input::Input;
use super::pusher::ends::{signin, subscription};
use super::pusher::world::World;
use fanwire::dialect::app::AppSettings;
use fanwire::dialect::pusher::frame::{Data, Frame, Parser};
use fanwire::dialect::pusher::name::Name;
use fanwire::limits::PusherLimits;
use serde_json::Value;

/// Frames of one input.
const FRAMES: usize = 64;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let lines: Vec<&[u8]> = input.body.split(|byte| *byte == b'\n').take(FRAMES).collect();
    let app = AppSettings {
        client_events: !input.flag(0),
        authorize_within_ms: input.pick(0, &[0, 1000]),
        max_event_bytes: input.pick(1, &[10 * 1024, 16]),
        max_presence_users: input.pick(2, &[100, 1]),
        ..AppSettings::new("1", "key", "secret")
    };
    let limits = PusherLimits { data_bytes: app.max_event_bytes, ..PusherLimits::default() };
    let mut world = World::new(if input.flag(1) { 3 } else { 1 }, vec![app.clone()]);
    let (client, other) = (world.open(0, 0), world.open(0, 0));
    for channel in ["private-a", "presence-a"] {
        world.subscribe(other, 0, channel, channel.starts_with("presence").then_some("other"));
    }
    world.settle();
    world.take(other);
    let mut parser = Parser::default();
    for line in lines {
        let Ok(text) = std::str::from_utf8(line) else {
            world.binary(client, line);
            assert!(!world.connections[client].is_open());
            break;
        };
        let text = sign(&app, &world.connections[client].socket_id, text);
        parse(&mut parser, &text, &limits);
        world.message(client, &text);
        if !input.flag(2) {
            world.settle();
        }
        answers(&mut world, client);
        forwarded(&mut world, other);
        if input.flag(3) {
            world.wait_ms(700);
        }
    }
    world.settle();
    answers(&mut world, client);
    forwarded(&mut world, other);
    for number in [client, other] {
        if world.connections[number].is_open() {
            world.hang_up(number);
        }
    }
    assert_eq!(world.left(), [0; 5]);
}

/// Signs a frame that asks for it.
fn sign(app: &AppSettings, socket_id: &str, text: &str) -> String {
    let Ok(frame) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let data = &frame["data"];
    if data["auth"] != "sign" {
        return text.to_owned();
    }
    match (frame["event"].as_str(), data["channel"].as_str(), data["user_data"].as_str()) {
        (Some("pusher:subscribe"), Some(channel), _) => {
            subscription(app, socket_id, channel, data["channel_data"].as_str())
        }
        (Some("pusher:signin"), _, Some(user_data)) => signin(app, socket_id, user_data),
        _ => text.to_owned(),
    }
}

fn parse(parser: &mut Parser, text: &str, limits: &PusherLimits) {
    let parsed = parser.parse(text, limits);
    let valid = |name: Name<'_>| Name::parse(name.text(), limits.channel_name_bytes) == Ok(name);
    match parsed {
        Ok(Frame::Subscribe(asked)) => assert!(valid(asked.channel) && asked.auth != Some("")),
        Ok(Frame::Unsubscribe(name)) => assert!(valid(name)),
        Ok(Frame::Client(event)) => {
            assert!(valid(event.channel) && event.channel.kind().takes_client_events());
            assert!(
                event.event.starts_with("client-") && event.event.chars().count() <= limits.event_name_chars
            );
            assert!(event.data.is_none_or(|data| data.bytes().len() <= limits.data_bytes));
            if let Some(Data::Json(json)) = event.data {
                assert!(serde_json::from_slice::<Value>(json).is_ok() || is_beyond(json));
            }
        }
        Ok(Frame::Ping | Frame::Pong | Frame::Signin(_)) => {}
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            return;
        }
    }
    let other = serde_json::from_str::<Value>(text);
    assert!(other.is_ok_and(|frame| frame["event"].is_string()) || is_beyond(text.as_bytes()), "{text}");
}

/// What the other parser does not read: numbers beyond its range, and nothing else that is short.
fn is_beyond(json: &[u8]) -> bool {
    json.iter().filter(|byte| byte.is_ascii_digit()).count() > 2
}

/// The client gets nothing but what the protocol has.
fn answers(world: &mut World, client: usize) {
    for text in world.take(client) {
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            assert!(is_beyond(text.as_bytes()), "no JSON: {text}");
            continue;
        };
        match frame["event"].as_str().expect("a name") {
            "pusher:error" | "pusher:subscription_error" => assert!(frame["data"].is_object(), "{text}"),
            "pusher:pong"
            | "pusher:ping"
            | "pusher:cache_miss"
            | "pusher:signin_success"
            | "pusher_internal:subscription_succeeded"
            | "pusher_internal:member_added"
            | "pusher_internal:member_removed"
            | "pusher_internal:watchlist_events" => {
                let data = frame["data"].as_str().expect("data is a string");
                assert!(serde_json::from_str::<Value>(data).is_ok() || is_beyond(data.as_bytes()), "{text}");
            }
            other => panic!("{other}: {text}"),
        }
    }
}

/// The other client gets what clients may send, and is told who is there.
fn forwarded(world: &mut World, other: usize) {
    for text in world.take(other) {
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            assert!(is_beyond(text.as_bytes()), "no JSON: {text}");
            continue;
        };
        let name = frame["event"].as_str().expect("a name");
        let told =
            ["pusher_internal:member_added", "pusher_internal:member_removed", "pusher:ping"].contains(&name);
        assert!(told || name.starts_with("client-"), "{text}");
        if frame["channel"] == "private-a" {
            assert!(frame.get("user_id").is_none(), "{text}");
        }
    }
}
