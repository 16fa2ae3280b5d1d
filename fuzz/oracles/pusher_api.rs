//! What back ends ask of Pusher: a line with method and target, and the body behind it. Unless a flag says otherwise
//! the harness signs it as the app would, so that the inside is reached.

use super::input::Input;
use super::pusher::ends::signed;
use super::pusher::world::{End, World};
use fanwire::dialect::app::AppSettings;
use serde_json::Value;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let app = AppSettings {
        enabled: !input.flag(0),
        max_events_per_s: input.pick(0, &[0, 2]),
        max_event_bytes: input.pick(1, &[10 * 1024, 16]),
        ..AppSettings::new("1", "key", "secret")
    };
    let mut world = World::new(1 + usize::from(input.flag(1)), vec![app.clone()]);
    let clients: Vec<usize> =
        if app.enabled { (0..2).map(|_| world.open(0, 0)).collect() } else { Vec::new() };
    for &client in &clients {
        for channel in ["a", "cache-a"] {
            world.subscribe(client, 0, channel, None);
        }
        world.subscribe(client, 0, "presence-a", Some("u1"));
        world.sign_in(client, 0, "u1", &["u2"]);
        world.settle();
        world.take(client);
    }
    let mut parts = input.body.splitn(2, |byte| *byte == b'\n');
    let line = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let body = parts.next().unwrap_or_default();
    let Some((method, target)) = line.split_once(' ') else { return };
    let now_s = world.now.unix_s() - input.pick(2, &[0, 600, 601]);
    let is_signed = !input.flag(2) && now_s + 600 >= world.now.unix_s();
    let target = match input.flag(2) {
        true => target.to_owned(),
        false => sign(&app, method, target, body, now_s),
    };
    let number = world.accept(0);
    // Blanks would end the target, a `#` is none of it, and control characters are refused before.
    if target.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#' || c == '\u{7f}') {
        return;
    }
    if world.request(number, &format!("{method} {target}"), body) {
        world.settle();
        answer(&mut world, number, is_signed && !target.contains("auth_"));
    }
    for &client in &clients {
        events(&mut world, client);
        if world.connections[client].is_open() {
            world.hang_up(client);
        }
    }
    assert_eq!(world.left(), [0; 5]);
}

fn sign(app: &AppSettings, method: &str, target: &str, body: &[u8], now_s: u64) -> String {
    match std::str::from_utf8(body) {
        Ok(body) => signed(app, method, target, body, now_s),
        Err(_) => target.to_owned(),
    }
}

/// One whole answer with a status that the interface has.
fn answer(world: &mut World, number: usize, authorized: bool) {
    assert_eq!(world.connections[number].end, Some(End::Done), "answered, and the connection goes on");
    let raw = world.take_raw(number);
    let at = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let (head, body) = (std::str::from_utf8(&raw[..at]).expect("text"), &raw[at + 4..]);
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    assert!([200, 202, 400, 401, 403, 404, 413, 429].contains(&status), "{head}");
    assert!(!authorized || status != 401, "{head} {}", String::from_utf8_lossy(body));
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(format!("{head}\r\n").contains(&length), "{head}");
    match status {
        200 | 202 => {
            let answer: Value = serde_json::from_slice(body).expect("JSON");
            assert!(answer.is_object() && head.contains("application/json"));
            assert!(answer.get("channels").is_none_or(Value::is_object), "never []");
        }
        _ => {
            assert!(!body.is_empty() && head.contains("text/plain"));
            assert_eq!(head.contains("Retry-After"), status == 429, "{head}");
            assert_eq!(world.refused.len(), 1);
        }
    }
}

/// What comes to clients is what the protocol has.
fn events(world: &mut World, client: usize) {
    for frame in world.take_json(client) {
        assert!(frame["event"].is_string());
        let channel = frame.get("channel").and_then(Value::as_str);
        let known = ["a", "cache-a", "presence-a", "#server-to-user-u1"];
        match channel {
            Some(channel) => assert!(known.contains(&channel) && frame["data"].is_string(), "{frame}"),
            None => assert!(
                frame["event"] == "pusher:error" || frame["event"] == "pusher_internal:watchlist_events"
            ),
        }
    }
}
