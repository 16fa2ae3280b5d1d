//! What Pushi's clients send: lines, each a frame, through the parser and through a session. A subscription whose `auth`
//! is `sign` is signed first, so that the inside is reached.

use super::input::Input;
use super::pusher::world::{End, World};
use super::pushi::ends::{app, sign};
use fanwire::dialect::app::AppSettings;
use fanwire::dialect::pushi::frame::{self, Frame, Member};
use fanwire::dialect::pushi::name;
use fanwire::limits::{PUSHI_EVENT_BYTES, PUSHI_USER_BYTES};
use fanwire::wire::json::Reader;
use serde_json::Value;

/// Frames of one input.
const FRAMES: usize = 64;
/// Beyond what a client has sent and what its channels have kept, a frame is at most so long.
const FRAME_BYTES: usize = 4096;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let lines: Vec<&[u8]> = input.body.split(|byte| *byte == b'\n').take(FRAMES).collect();
    let app = app();
    let mut world = World::with_pushi(if input.flag(1) { 3 } else { 1 }, vec![app.clone()]);
    let token = world.login();
    for channel in ["news", "private-a", "presence-a", "presence-b"] {
        let body = serde_json::json!({"user_id": "u1", "event": channel}).to_string();
        let number = world.accept(0);
        assert!(world.request(number, &format!("POST /subscriptions?sid={token}"), body.as_bytes()));
    }
    world.settle();
    let (client, other) = (world.open_pushi(0), world.open_pushi(0));
    for channel in ["news", "private-a", "presence-a"] {
        let data = serde_json::json!({"user_id": "other", "peer": input.flag(0)});
        world.join(other, channel, channel.starts_with("presence").then_some(data));
    }
    world.settle();
    world.take(other);
    let mut names = vec!["news".to_owned(), "private-a".to_owned()];
    for line in lines {
        let Ok(text) = std::str::from_utf8(line) else {
            world.binary(client, line);
            assert!(!world.connections[client].is_open());
            break;
        };
        let text = signed(&app, &world.connections[client].socket_id, text);
        names.extend(parse(&text));
        if input.flag(3) {
            world.binary(client, text.as_bytes())
        } else {
            world.message(client, &text)
        }
        if !input.flag(2) {
            world.settle();
        }
        answers(&mut world, client, input.body.len());
    }
    world.settle();
    for number in [client, other] {
        answers(&mut world, number, input.body.len());
        match &world.connections[number].end {
            None => world.hang_up(number),
            Some(end) => {
                assert!(number == client && matches!(end, End::WebSocket(1008 | 1013, _)), "{end:?}")
            }
        }
    }
    world.settle();
    world.forget(&token, names.iter().map(String::as_str));
    assert_eq!(world.left(), [0; 5], "something is left");
}

/// Signs a subscription that asks for it.
fn signed(app: &AppSettings, socket_id: &str, text: &str) -> String {
    let Ok(mut frame) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let channel = frame["data"]["channel"].as_str().map(str::to_owned);
    match (frame.get("data").and_then(|data| data.get("auth")), channel) {
        (Some(auth), Some(channel)) if auth == "sign" => {
            frame["data"]["auth"] = sign(app, socket_id, &channel).into();
            frame.to_string()
        }
        _ => text.to_owned(),
    }
}

/// Reads a frame; returns its channel.
fn parse(text: &str) -> Option<String> {
    let (mut reader, mut other) = (Reader::default(), Reader::default());
    let parsed = frame::parse(&mut reader, text);
    match parsed {
        Ok(Frame::Empty) => assert!(text.is_empty()),
        Ok(frame) => {
            let channel = frame.channel().expect("all others are about one");
            assert!(name::is_allowed(channel));
            let seen = serde_json::from_str::<Value>(text);
            assert!(seen.is_ok_and(|frame| frame["event"].is_string()) || is_beyond(text), "{text}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match parsed {
        Ok(Frame::Event(event)) => {
            assert!(event.event.len() <= PUSHI_EVENT_BYTES);
            // What is written of it is read back.
            let again =
                serde_json::json!({"event": event.event, "channel": event.channel, "data": event.data,
                                           "echo": event.echo, "persist": event.persist})
                .to_string();
            assert_eq!(frame::parse(&mut other, &again), Ok(Frame::Event(event)));
        }
        Ok(Frame::Subscribe(asked)) => {
            if let Some(Ok(member)) = asked.channel_data.map(|data| Member::parse(&mut other, data)) {
                assert!(member.user_id.len() <= PUSHI_USER_BYTES);
                let again = Member::parse(&mut other, &member.data);
                assert_eq!(again, Ok(member));
            }
        }
        _ => {}
    }
    parsed.ok()?.channel().map(str::to_owned)
}

/// What the other parser does not read: numbers beyond its range, and nothing else that is short.
fn is_beyond(json: &str) -> bool {
    json.bytes().filter(u8::is_ascii_digit).count() > 2
}

/// A client gets nothing but what the protocol has.
fn answers(world: &mut World, client: usize, sent_bytes: usize) {
    for text in world.take(client) {
        // Each event of a history may have been as long as all that was sent, and be escaped twice.
        assert!(text.len() <= FRAME_BYTES * FRAMES + 16 * FRAMES * sent_bytes.max(1), "{} bytes", text.len());
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            assert!(is_beyond(&text), "no JSON: {text}");
            continue;
        };
        assert!(frame["channel"].is_string(), "{text}");
        match frame["event"].as_str().expect("a name") {
            "pusher_internal:subscription_succeeded"
            | "pusher_internal:unsubscription_succeeded"
            | "pusher_internal:latest"
                if frame.get("mid").is_none()
                    && frame["data"].as_str().is_some_and(|d| d.starts_with("{\"name\":")) =>
            {
                let data = frame["data"].as_str().expect("data is a string");
                let Ok(data) = serde_json::from_str::<Value>(data) else {
                    assert!(is_beyond(data), "{text}");
                    continue;
                };
                assert_eq!(data["name"], frame["channel"]);
                assert!(data["members"].is_object() && data["alias"].is_array() && data["events"].is_array());
            }
            // Every other name may be an event's.
            _ => assert!(frame.get("data").is_none_or(Value::is_string), "{text}"),
        }
    }
}
