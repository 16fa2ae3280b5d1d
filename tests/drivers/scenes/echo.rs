//! A WebSocket that is sent back all it says: fragments, control frames between them, deflate, and what breaks it; on
//! the shard where it comes in, or on another one.

use crate::frame::{self, BINARY, CLOSE, CONTINUATION, PING, TEXT};
use crate::rng::Rng;
use crate::stage::Stage;
use crate::target::{LIMIT_BYTES, letters};

fn message(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(20) {
        0 => LIMIT_BYTES,
        1 => 65_535 + rng.below(3),
        2 => rng.below(40 << 10),
        3 => 124 + rng.below(4),
        4 => 0,
        _ => rng.below(300),
    };
    letters(rng, len)
}

fn fragmented(rng: &mut Rng, out: &mut Vec<u8>) {
    let payload = message(rng);
    let opcode = *rng.pick(&[TEXT, BINARY]);
    let (mut rest, mut first) = (&payload[..], opcode);
    for _ in 0..rng.below(6) {
        let (piece, more) = rest.split_at(rng.below(rest.len() + 1));
        out.extend(frame::raw(first, piece, true));
        (rest, first) = (more, CONTINUATION);
        if rng.chance(30) {
            out.extend(frame::whole(PING, b"between"));
        }
    }
    out.extend(frame::raw(0x80 | first, rest, true));
}

/// What breaks the protocol.
fn broken(rng: &mut Rng) -> Vec<u8> {
    match rng.below(14) {
        0 => frame::raw(0x80 | TEXT, b"not masked", false),
        1 => frame::raw(0xc0 | TEXT, b"\xff\xff\xff", true),
        2 => frame::raw(0x90 | TEXT, b"reserved", true),
        3 => frame::raw(0x83, b"no such opcode", true),
        4 => frame::raw(0x80 | CONTINUATION, b"of nothing", true),
        5 => [frame::raw(TEXT, b"a", true), frame::raw(0x80 | TEXT, b"b", true)].concat(),
        6 => frame::raw(PING, b"in parts", true),
        7 => frame::whole(PING, &[b'x'; 126]),
        8 => frame::whole(TEXT, b"\xc3\x28"),
        9 => [frame::raw(TEXT, b"ab\xe2\x82", true), frame::raw(0x80, b"\x28", true)].concat(),
        10 => frame::whole(CLOSE, b"\x03"),
        11 => frame::whole(CLOSE, &1005u16.to_be_bytes()),
        12 => frame::whole(CLOSE, b"\x03\xe8\xff"),
        _ => frame::whole(BINARY, &vec![b'x'; LIMIT_BYTES + 1]),
    }
}

pub fn play(stage: &mut Stage<'_>) {
    let shard = stage.rng.below(3);
    let path = if shard < 2 { format!("/echo?shard={shard}") } else { "/echo".into() };
    let deflate = *stage.rng.pick(&[
        "",
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n",
    ]);
    let mut bytes = Vec::new();
    for _ in 0..1 + stage.rng.below(10) {
        match stage.rng.below(6) {
            0 => bytes.extend(frame::whole(PING, b"ping")),
            1 => bytes.extend(frame::whole(0xa, b"unasked")),
            2 | 3 => fragmented(&mut stage.rng, &mut bytes),
            _ => bytes.extend(frame::whole(TEXT, &message(&mut stage.rng))),
        }
    }
    let wrong = stage.rng.chance(40);
    if wrong {
        bytes.extend(broken(&mut stage.rng));
    }
    // Frames may come in one piece with the handshake.
    let mut peer = stage.connect("echo");
    peer.heads.push(false);
    let handshake = stage.handshake(&path, deflate);
    if stage.rng.chance(30) {
        peer.send_cut(&[handshake.as_bytes(), &bytes].concat(), &mut stage.rng);
        peer.streams();
    } else {
        peer.send(handshake.as_bytes());
        peer.streams();
        peer.send_cut(&bytes, &mut stage.rng);
    }
    if wrong {
        if stage.rng.chance(30) {
            peer.half_close();
        }
        peer.until_end();
        return stage.done(peer);
    }
    match stage.rng.below(4) {
        0 => {
            // All is still said before the end, which comes at once.
            peer.half_close();
            peer.until_end();
            stage.done(peer);
        }
        1 => {
            peer.send(&frame::whole(TEXT, b"the last"));
            stage.leave_websocket_unheard(peer);
        }
        _ => {
            peer.until_pong(b"all of it");
            stage.leave_websocket(peer);
        }
    }
}

impl Stage<'_> {
    /// A close frame behind what was not awaited.
    fn leave_websocket_unheard(&mut self, mut peer: crate::peer::Peer) {
        peer.send(&frame::whole(CLOSE, &4321u16.to_be_bytes()));
        peer.until_end();
        self.done(peer);
    }
}
