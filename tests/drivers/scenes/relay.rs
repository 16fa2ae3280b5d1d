//! Subscribers of the relay on all transports, a publisher, and everybody leaving in some way.

use crate::frame;
use crate::peer::Peer;
use crate::rng::Rng;
use crate::stage::Stage;
use crate::target::letters;

/// How a subscriber comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    WebSocket,
    Meta,
    EventSource,
    Chunked,
    Multipart,
    Raw,
}

const WAYS: [Way; 7] =
    [Way::WebSocket, Way::Meta, Way::EventSource, Way::EventSource, Way::Chunked, Way::Multipart, Way::Raw];

fn subscribe(stage: &mut Stage<'_>, way: Way, label: &str, channel: &str, headers: &str) -> Peer {
    let header = match way {
        Way::WebSocket => return stage.websocket(label, &format!("/sub/{channel}"), headers),
        Way::Meta => {
            let headers = format!("Sec-WebSocket-Protocol: ws+meta.nchan\r\n{headers}");
            return stage.websocket(label, &format!("/sub/{channel}"), &headers);
        }
        Way::EventSource => "Accept: text/event-stream\r\n",
        Way::Chunked => "TE: chunked\r\n",
        Way::Multipart => "Accept: multipart/mixed\r\n",
        Way::Raw => "",
    };
    let place = if way == Way::Raw { "raw" } else { "sub" };
    let mut peer = stage.connect(label);
    let request = format!("GET /{place}/{channel} HTTP/1.1\r\nHost: a\r\n{header}{headers}\r\n");
    peer.heads.push(false);
    peer.send_cut(request.as_bytes(), &mut stage.rng);
    peer
}

fn message(rng: &mut Rng) -> (&'static str, Vec<u8>) {
    let len = match rng.below(10) {
        0 => rng.below(40 << 10),
        1 => 126 + rng.below(3),
        _ => 1 + rng.below(120),
    };
    let headers = *rng.pick(&[
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/octet-stream\r\n",
        "X-EventSource-Event: news\r\n",
    ]);
    (headers, letters(rng, len))
}

/// Publishes by HTTP, several requests in one piece, or by WebSocket frames.
fn publish(stage: &mut Stage<'_>, by: &mut Peer, channel: &str, count: usize) {
    let mut bytes = Vec::new();
    for _ in 0..count {
        let (headers, body) = message(&mut stage.rng);
        let length = body.len();
        let head =
            format!("POST /pub/{channel} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n");
        by.heads.push(false);
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend(body);
    }
    by.send_cut(&bytes, &mut stage.rng);
    by.answers();
}

pub fn play(stage: &mut Stage<'_>) {
    let channel = stage.channel("relay");
    let mut publisher = stage.connect("publisher");
    let stored = stage.rng.below(4);
    publish(stage, &mut publisher, &channel, stored);
    let subscribers: Vec<Way> = (0..1 + stage.rng.below(4)).map(|_| *stage.rng.pick(&WAYS)).collect();
    let mut peers = Vec::new();
    for (at, way) in subscribers.iter().enumerate() {
        peers.push(subscribe(stage, *way, &format!("subscriber {at}"), &channel, ""));
        stage.until_subscribers(&channel, at + 1);
    }
    let count = stage.rng.below(8);
    publish(stage, &mut publisher, &channel, count);
    let last = format!("the last of {}", stage.seed);
    stage.publish(&mut publisher, &channel, "", last.as_bytes());
    for peer in &mut peers {
        assert!(peer.until_said(last.as_bytes()), "{} has ended", peer.label);
    }
    let mut left = peers.len();
    for (mut peer, way) in peers.into_iter().zip(subscribers) {
        if matches!(way, Way::WebSocket | Way::Meta) {
            let wrong = stage.rng.chance(20);
            if wrong {
                peer.send(&frame::raw(0xb0, b"", true));
            }
            stage.leave_websocket(peer);
        } else {
            peer.leave_somehow(&mut stage.rng);
            stage.done(peer);
        }
        left -= 1;
        if stage.rng.chance(50) {
            stage.until_subscribers(&channel, left);
        }
    }
    stage.until_subscribers(&channel, 0);
    stage.publish(&mut publisher, &channel, "", b"nobody is there");
    resume(stage, &mut publisher, &channel);
    publisher.leave_somehow(&mut stage.rng);
    stage.done(publisher);
}

/// Comes back with an id that was given out.
fn resume(stage: &mut Stage<'_>, publisher: &mut Peer, channel: &str) {
    let ids = regex::Regex::new(r#"last_message_id": "(\d+:\d+)""#).unwrap();
    let text = String::from_utf8_lossy(&publisher.seen).into_owned();
    let ids: Vec<&str> = ids.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
    let id = ids[stage.rng.below(ids.len())];
    let end = format!("the end of {}", stage.seed);
    stage.publish(publisher, channel, "", end.as_bytes());
    let way = *stage.rng.pick(&[Way::EventSource, Way::Meta]);
    let mut peer = subscribe(stage, way, "who comes back", channel, &format!("Last-Event-ID: {id}\r\n"));
    assert!(peer.until_said(end.as_bytes()), "it is over without the last message");
    peer.leave_somehow(&mut stage.rng);
    stage.done(peer);
}
