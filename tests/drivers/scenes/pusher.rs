//! Two clients and a back end of Pusher. After each act all of them wait until it has reached everybody.

use crate::frame::{self, BINARY, TEXT};
use crate::peer::Peer;
use crate::rng::Rng;
use crate::stage::Stage;
use crate::target::{KEY, SECRET, letters};
use fanwire::wire::sign::{hmac_sha256, md5};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A path of the HTTP interface with its signature.
pub fn signed(method: &str, path: &str, body: &[u8]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let digest = if body.is_empty() { String::new() } else { format!("&body_md5={}", md5(body).as_str()) };
    let query = format!("auth_key={KEY}&auth_timestamp={now}&auth_version=1.0{digest}");
    let signature = hmac_sha256(SECRET.as_bytes(), format!("{method}\n{path}\n{query}").as_bytes());
    format!("{path}?{query}&auth_signature={}", signature.as_str())
}

fn say(peer: &mut Peer, event: &Value, rng: &mut Rng) {
    peer.send_cut(&frame::whole(TEXT, event.to_string().as_bytes()), rng);
}

fn trigger(back: &mut Peer, event: &Value) {
    let body = event.to_string();
    let path = signed("POST", "/apps/1/events", body.as_bytes());
    let length = body.len();
    back.request(
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
    );
    back.answers();
}

fn subscription(channel: &str, socket: &str, user: usize, right: bool) -> Value {
    let data = channel.starts_with("presence-").then(|| {
        json!({"user_id": format!("u{user}"), "user_info": {"name": format!("user {user}")}}).to_string()
    });
    let mut signed = format!("{socket}:{channel}");
    if let Some(data) = &data {
        signed = format!("{signed}:{data}");
    }
    let secret = if right { SECRET } else { "wrong" };
    let auth = format!("{KEY}:{}", hmac_sha256(secret.as_bytes(), signed.as_bytes()).as_str());
    let mut body = json!({"channel": channel});
    if channel.starts_with("private-") || channel.starts_with("presence-") {
        body["auth"] = auth.into();
    }
    if let Some(data) = data {
        body["channel_data"] = data.into();
    }
    json!({"event": "pusher:subscribe", "data": body})
}

struct Client {
    peer: Peer,
    socket: String,
    subscribed: bool,
}

/// Everything so far has come to everybody who has subscribed.
fn settle(stage: &mut Stage<'_>, back: &mut Peer, clients: &mut [Client], channel: &str, number: usize) {
    for client in clients.iter_mut() {
        client.peer.until_pong(&[frame::ANYWHERE, number.to_string().as_bytes()].concat());
    }
    // A home looks at its own sockets before its mail: what was mailed to it is done when it has answered once more.
    stage.is_occupied(channel);
    let name = format!("settled-{number}");
    trigger(back, &json!({"name": name, "channel": channel, "data": "x"}));
    for client in clients.iter_mut().filter(|client| client.subscribed) {
        assert!(client.peer.until_said(name.as_bytes()), "{} has ended", client.peer.label);
    }
}

pub fn play(stage: &mut Stage<'_>) {
    let kind = *stage.rng.pick(&["public", "private-a", "presence-a", "cache-a", "private-cache-a"]);
    let channel = stage.channel(kind);
    let mut back = stage.connect("back end");
    let mut clients: Vec<Client> = Vec::new();
    for label in ["a", "b"] {
        let (peer, socket) = stage.client(label, "/app/");
        clients.push(Client { peer, socket, subscribed: false });
    }
    for number in 0..3 + stage.rng.below(8) {
        let (at, act) = (stage.rng.below(2), stage.rng.below(12));
        let len = match stage.rng.below(8) {
            0 => 9 << 10,
            _ => stage.rng.below(100),
        };
        let text = String::from_utf8(letters(&mut stage.rng, len)).unwrap();
        let rng = &mut stage.rng;
        let other = clients[1 - at].socket.clone();
        let client = &mut clients[at];
        match act {
            0..=3 => {
                let right = act < 3;
                say(&mut client.peer, &subscription(&channel, &client.socket, at, right), rng);
                let protected = kind.starts_with("pr");
                if right || !protected {
                    client.subscribed = true;
                    client.peer.until_said(b"subscription_succeeded");
                }
            }
            4 => {
                let body = json!({"event": "pusher:unsubscribe", "data": {"channel": channel}});
                say(&mut client.peer, &body, rng);
                client.subscribed = false;
            }
            5 | 6 => {
                let body = json!({"event": "client-said", "channel": channel, "data": {"text": text}});
                say(&mut client.peer, &body, rng);
            }
            7 => say(&mut client.peer, &json!({"event": "pusher:ping", "data": {}}), rng),
            8 => client.peer.send_cut(&frame::whole(TEXT, b"{\"event\": no json"), rng),
            9 => trigger(
                &mut back,
                &json!({"name": "but", "channel": channel, "data": text, "socket_id": other}),
            ),
            10 => {
                let length = 2;
                let path = "/apps/1/events?auth_key=wrong&auth_signature=00";
                let bytes =
                    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{{}}");
                back.request(bytes.as_bytes());
                back.answers();
            }
            _ => trigger(&mut back, &json!({"name": "event", "channels": [channel], "data": text})),
        }
        settle(stage, &mut back, &mut clients, &channel, number);
    }
    let (mut second, first) = (clients.pop().unwrap(), clients.pop().unwrap());
    let is_missed = kind.starts_with("presence") && first.subscribed && second.subscribed;
    leave(stage, first.peer);
    if is_missed {
        assert!(second.peer.until_said(b"pusher_internal:member_removed"), "{} has ended", second.peer.label);
    }
    leave(stage, second.peer);
    stage.until_vacated(&channel);
    back.leave_somehow(&mut stage.rng);
    stage.done(back);
}

fn leave(stage: &mut Stage<'_>, mut peer: Peer) {
    if stage.rng.chance(20) {
        peer.send(&frame::whole(BINARY, b"{}"));
        peer.until_close_frame();
    }
    stage.leave_websocket(peer);
}
