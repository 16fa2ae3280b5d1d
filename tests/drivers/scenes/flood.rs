//! Many subscribers of one channel, so that a turn has a batch to send, and more than a socket takes at once: sends that
//! go through in part, and wait for room.

use crate::frame;
use crate::peer::Peer;
use crate::stage::Stage;
use crate::system;
use crate::target::letters;

const SUBSCRIBERS: usize = 20;
/// Who takes little at once, and reads late.
const LATE: usize = 3;
const BUFFER_BYTES: i32 = 8 << 10;
/// Below what a node keeps for one connection.
const MESSAGES: usize = 24;
const MESSAGE_BYTES: usize = 40 << 10;

pub fn play(stage: &mut Stage<'_>) {
    let channel = stage.channel("flood");
    let mut publisher = stage.connect("publisher");
    let mut peers = Vec::new();
    for at in 0..SUBSCRIBERS {
        let label = format!("subscriber {at}");
        let mut peer = if at < LATE {
            let socket = system::connect_with_buffer(&stage.target.node.address, BUFFER_BYTES);
            Peer::plain(label, socket)
        } else {
            stage.connect(&label)
        };
        peer.heads.push(false);
        let request = if is_websocket(at) {
            stage.handshake(&format!("/sub/{channel}"), "")
        } else {
            format!("GET /sub/{channel} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        };
        peer.send(request.as_bytes());
        peer.streams();
        peers.push(peer);
    }
    stage.until_subscribers(&channel, SUBSCRIBERS);
    for _ in 0..MESSAGES {
        let small = stage.rng.chance(70);
        let len = if small { 1 + stage.rng.below(300) } else { MESSAGE_BYTES };
        let body = letters(&mut stage.rng, len);
        stage.publish(&mut publisher, &channel, "", &body);
    }
    let last = format!("the last of {}", stage.seed);
    stage.publish(&mut publisher, &channel, "", last.as_bytes());
    // Those who have room first; what the others are sent must not depend on it.
    for at in (LATE..SUBSCRIBERS).chain(0..LATE) {
        let peer = &mut peers[at];
        assert!(peer.until_said(last.as_bytes()), "{} has ended", peer.label);
    }
    for (at, mut peer) in peers.into_iter().enumerate() {
        if is_websocket(at) && stage.rng.chance(50) {
            peer.until_pong(b"still there");
            peer.send(&frame::whole(frame::CLOSE, &1000u16.to_be_bytes()));
            peer.until_end();
        } else {
            peer.leave_somehow(&mut stage.rng);
        }
        stage.done(peer);
    }
    stage.until_subscribers(&channel, 0);
    publisher.leave_somehow(&mut stage.rng);
    stage.done(publisher);
}

fn is_websocket(at: usize) -> bool {
    at.is_multiple_of(2)
}
