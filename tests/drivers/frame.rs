//! WebSocket frames as a client writes and reads them.

use flate2::{Decompress, FlushDecompress};
use std::fmt::Write as _;
use std::time::Duration;

/// Awaiting something that must come on the busiest machine.
pub const PATIENCE: Duration = Duration::from_secs(25);

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// So begins a ping whose pong may come before or after what other shards have to say.
pub const ANYWHERE: &[u8] = b"anywhere";

const MASK: [u8; 4] = [0x5a, 0x0f, 0xc3, 0x91];

/// A frame with this first byte, masked unless told otherwise.
pub fn raw(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut out = vec![first];
    let bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..126 => out.push(bit | len as u8),
        len @ 126..0x1_0000 => {
            out.push(bit | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    } else {
        out.extend_from_slice(payload);
    }
    out
}

/// A whole message, or a control frame.
pub fn whole(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw(0x80 | opcode, payload, true)
}

/// A frame that a node has sent.
pub struct Frame<'a> {
    /// FIN, reserved bits and opcode.
    pub first: u8,
    pub payload: &'a [u8],
}

/// The frames that are whole, and how many bytes they take.
pub fn read(bytes: &[u8]) -> (Vec<Frame<'_>>, usize) {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Some((frame, len)) = one(&bytes[at..]) {
        frames.push(frame);
        at += len;
    }
    (frames, at)
}

fn one(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert!(second < 0x80, "a node does not mask");
    let (head, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, usize::from(short)),
    };
    Some((Frame { first, payload: bytes.get(head..head + len)? }, head + len))
}

/// The payload of a compressed frame. How it was compressed depends on the room that a node happens to have for it.
fn inflated(stream: &mut Decompress, payload: &[u8]) -> Vec<u8> {
    let payload = [payload, b"\0\0\xff\xff"].concat();
    let (start, mut out) = (stream.total_in(), Vec::with_capacity(1 << 12));
    loop {
        let used = (stream.total_in() - start) as usize;
        stream.decompress_vec(&payload[used..], &mut out, FlushDecompress::Sync).unwrap();
        if out.len() < out.capacity() {
            return out;
        }
        out.reserve(out.capacity());
    }
}

/// For people, and to be compared; `text` is what becomes of a payload.
pub fn print(bytes: &[u8], text: &mut dyn FnMut(&[u8]) -> String) -> String {
    let (frames, len) = read(bytes);
    let mut out = String::new();
    let mut stream = Decompress::new(false);
    for frame in frames {
        if frame.first == 0x8a && frame.payload.starts_with(ANYWHERE) {
            continue;
        }
        let payload = match frame.payload {
            [high, low, reason @ ..] if frame.first & 0xf == CLOSE => {
                format!("{} {}", u16::from_be_bytes([*high, *low]), text(reason))
            }
            payload if frame.first & 0x40 != 0 => text(&inflated(&mut stream, payload)),
            payload => text(payload),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "frame {:#04x} {payload}", frame.first);
    }
    if len < bytes.len() {
        let _ = writeln!(out, "and {} bytes of a frame", bytes.len() - len);
    }
    out
}
