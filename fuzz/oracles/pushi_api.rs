//! What back ends ask of Pushi: a line with method and target, and the body behind it. `SID` in the line stands for a
//! session token, so that the inside is reached; flags say that the body is a form, and that there is an event.

use super::input::Input;
use super::pusher::world::{End, World};
use super::pushi::ends::app;
use fanwire::dialect::app::AppSettings;
use fanwire::dialect::pushi::body::Publish;
use fanwire::dialect::pushi::query::Params;
use fanwire::dialect::pushi::registry::Document;
use fanwire::dialect::pushi::route::{Kind, route};
use fanwire::wire::http::request::Method;
use fanwire::wire::json::Reader;
use serde_json::{Value, json};

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let settings = AppSettings { max_events_per_s: input.pick(0, &[0, 2]), ..app() };
    let mut world = World::with_pushi(1 + usize::from(input.flag(1)), vec![settings]);
    let token = world.login();
    let event = input.flag(3).then(|| ("/events", json!({"data": {"x": 1}, "channel": "a", "extra": "é"})));
    for (path, body) in [
        ("/subscriptions", json!({"user_id": "u1", "event": "a"})),
        ("/webs", json!({"url": "http://127.0.0.1:9/hook", "event": "a"})),
    ]
    .into_iter()
    .chain(event)
    {
        let number = world.publish(0, path, &token, &body);
        world.settle();
        assert_eq!(world.answered(number).0, 200);
    }
    let clients: Vec<usize> = (0..2).map(|shard| world.open_pushi(shard % world.shards.len())).collect();
    for &client in &clients {
        world.join(client, "a", None);
        world.join(client, "presence-a", Some(json!({"user_id": "u1", "peer": true})));
        world.settle();
        world.take(client);
    }
    let mut parts = input.body.splitn(2, |byte| *byte == b'\n');
    let line = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let body = parts.next().unwrap_or_default();
    let Some((method, target)) = line.split_once(' ') else { return };
    let socket_id = &world.connections[clients[1]].socket_id;
    let target = target.replace("SID", &token).replace("SOCKET", socket_id);
    parse(method, &target, body);
    // Blanks would end the target, a `#` is none of it, and control characters are refused before.
    if target.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#' || c == '\u{7f}') {
        return;
    }
    let kind = if input.flag(0) { "application/x-www-form-urlencoded" } else { "application/json" };
    let origin =
        if input.flag(2) { "\nOrigin: http://page\nAccess-Control-Request-Method: POST" } else { "" };
    let number = world.accept(0);
    if world.request(number, &format!("{method} {target}\nContent-Type: {kind}{origin}"), body) {
        world.settle();
        let is_limited = world.app(0).settings.max_events_per_s > 0;
        let status = answer(&mut world, number, method, &token);
        assert!(status != 503 || is_limited, "{:?}", world.refused);
    }
    for &client in &clients {
        events(&mut world, client);
        assert!(world.connections[client].is_open());
        world.hang_up(client);
    }
    for hook in &world.hooks {
        assert!(hook.url.starts_with("http://") || hook.url.starts_with("https://"), "{}", hook.url);
    }
    world.settle();
    let [_, members, users, subscriptions, connections] = world.left();
    assert_eq!([members, users, subscriptions, connections], [0; 4]);
}

/// The parsers on their own.
fn parse(method: &str, target: &str, body: &[u8]) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if let Some(found) = route(Method::from_text(method), path) {
        assert!(path.starts_with('/') && found.old_app.is_none_or(|app| !app.is_empty()));
    }
    let params = Params::parse(query, std::str::from_utf8(body).unwrap_or_default());
    assert!(params.filled("sid").is_none_or(|sid| !sid.is_empty()));
    let mut reader = Reader::default();
    if let Ok(publish) = Publish::parse(&mut reader, body) {
        let channels = publish.channels.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(channels.len(), publish.channels.len(), "each once");
        // What is written of it is read back.
        let again = format!(
            "{{\"data\":{},\"event\":{},\"channel\":{}{}}}",
            json!(publish.data),
            json!(publish.event),
            json!(publish.channels),
            publish.extra
        );
        assert_eq!(Publish::parse(&mut reader, again.as_bytes()).as_ref(), Ok(&publish), "{again}");
    }
    for kind in Kind::ALL {
        if let Some(document) = Document::parse(kind, &mut reader, body) {
            let again = Document::parse(kind, &mut Reader::default(), &document.value());
            assert_eq!(again.as_ref(), Some(&document));
        }
    }
}

/// One whole answer with a status that the interface has.
fn answer(world: &mut World, number: usize, method: &str, token: &str) -> u16 {
    assert_eq!(world.connections[number].end, Some(End::Done), "answered, and the connection goes on");
    let raw = world.take_raw(number);
    let at = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let (head, body) = (std::str::from_utf8(&raw[..at]).expect("text"), &raw[at + 4..]);
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    assert!([200, 202, 204, 400, 401, 403, 404, 413, 429, 500, 503].contains(&status), "{head}");
    if method == "HEAD" || status == 204 {
        assert!(body.is_empty());
        return status;
    }
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(format!("{head}\r\n").contains(&length), "{head}");
    if head.contains("application/json") {
        let answer: Value = serde_json::from_slice(body).expect("JSON");
        assert!(answer.is_object());
        if status != 200 {
            assert_eq!((&answer["result"], &answer["code"]), (&json!("error"), &json!(status)));
            assert!(
                answer["session"].is_null()
                    || answer["session"].as_str().is_some_and(|s| s.len() == token.len())
            );
        }
    }
    status
}

/// What comes to clients is what the protocol has.
fn events(world: &mut World, client: usize) {
    for text in world.take(client) {
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            assert!(digits > 2, "no JSON: {text}");
            continue;
        };
        let channel = frame["channel"].as_str().expect("every frame has a channel");
        assert!(["a", "presence-a"].contains(&channel) && frame["event"].is_string(), "{text}");
        assert!(frame.get("data").is_some_and(Value::is_string), "{text}");
    }
}
