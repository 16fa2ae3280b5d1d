//! Two clients of Pushi. After each act all of them wait until it has reached everybody.

use crate::frame::{self, TEXT};
use crate::peer::Peer;
use crate::rng::Rng;
use crate::stage::Stage;
use crate::target::{KEY, SECRET, letters};
use fanwire::wire::sign::hmac_sha256;
use serde_json::{Value, json};

fn say(peer: &mut Peer, event: &Value, rng: &mut Rng) {
    peer.send_cut(&frame::whole(TEXT, event.to_string().as_bytes()), rng);
}

fn subscription(channel: &str, socket: &str, user: usize) -> Value {
    let mut data = json!({"channel": channel});
    if channel.starts_with("private-") || channel.starts_with("presence-") {
        let signature = hmac_sha256(SECRET.as_bytes(), format!("{socket}:{channel}").as_bytes());
        data["auth"] = format!("{KEY}:{}", signature.as_str()).into();
    }
    if channel.starts_with("presence-") {
        data["channel_data"] = json!({"user_id": format!("u{user}"), "name": "n"});
    }
    json!({"event": "pusher:subscribe", "data": data})
}

pub fn play(stage: &mut Stage<'_>) {
    let kind = *stage.rng.pick(&["global", "private-g", "presence-g"]);
    let channel = stage.channel(kind);
    let mut clients = Vec::new();
    for (at, label) in ["a", "b"].iter().enumerate() {
        let (mut peer, socket) = stage.client(label, "/");
        say(&mut peer, &subscription(&channel, &socket, at), &mut stage.rng);
        assert!(peer.until_said(b"subscription_succeeded"), "{} has ended", peer.label);
        clients.push(peer);
    }
    for number in 0..2 + stage.rng.below(6) {
        let at = stage.rng.below(2);
        let len = stage.rng.below(2000);
        let text = String::from_utf8(letters(&mut stage.rng, len)).unwrap();
        let (echo, persist) = (stage.rng.chance(50), stage.rng.chance(50));
        let event = json!({"event": "message", "channel": channel, "data": {"text": text}, "echo": echo, "persist": persist});
        let latest = json!({"event": "pusher:latest", "data": {"channel": channel, "count": 2}});
        match stage.rng.below(4) {
            0 => {
                say(&mut clients[at], &latest, &mut stage.rng);
            }
            _ => say(&mut clients[at], &event, &mut stage.rng),
        }
        // A home answers and delivers in the order in which it was told.
        let settled = format!("settled-{number}");
        let event = json!({"event": settled, "channel": channel, "data": "", "echo": true, "persist": false});
        say(&mut clients[at], &event, &mut stage.rng);
        for peer in &mut clients {
            assert!(peer.until_said(settled.as_bytes()), "{} has ended", peer.label);
        }
    }
    let mut second = clients.pop().unwrap();
    let mut first = clients.pop().unwrap();
    if stage.rng.chance(50) {
        let unsubscribe = json!({"event": "pusher:unsubscribe", "data": {"channel": channel}});
        say(&mut first, &unsubscribe, &mut stage.rng);
        first.until_said(b"unsubscription_succeeded");
    }
    leave(stage, first);
    if kind.starts_with("presence") {
        assert!(second.until_said(b"pusher:member_removed"), "{} has ended", second.label);
    }
    leave(stage, second);
    stage.until_vacated(&channel);
}

/// Every failure is an end, too.
fn leave(stage: &mut Stage<'_>, mut peer: Peer) {
    let failures = [
        "{\"event\"",
        "{\"event\":\"message\",\"channel\":\"never-joined\",\"data\":\"x\"}",
        "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"private-none\",\"auth\":\"x\"}}",
    ];
    if stage.rng.chance(50) {
        let failure = *stage.rng.pick(&failures);
        peer.send_cut(&frame::whole(TEXT, failure.as_bytes()), &mut stage.rng);
        peer.until_close_frame();
    }
    stage.leave_websocket(peer);
}
