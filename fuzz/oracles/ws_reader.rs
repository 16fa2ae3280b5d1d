//! The WebSocket reader on both sides, with and without an inflater.
//!
//! - The events are the same however the bytes are split, and without inflater those of a plain model that sees all
//!   bytes at once.
//! - What is kept stays within the limits and within twice what came; between messages nothing is kept.
//! - An event that is encoded again is read as the same event by the other side.
//!
//! Flags: 0 client side, 1 inflater, 2 takeover, 3 the body describes frames (see [`build`]), 4 payloads of described
//! frames with RSV1 are deflated first.

use fanwire::limits::{WS_CONTROL_BYTES, WS_INFLATE_KEEP_BYTES, WsLimits};
use fanwire::wire::ws::deflate::stored_block;
use fanwire::wire::ws::{Compressor, Event, Inflater, Opcode, Reader, Role, close, frame};

use super::input::{Input, single};

/// Described frames are built until this many bytes are there: one of the longest length form and some more.
const WIRE_BYTES: usize = 80 * 1024;
/// Up to this length the wire is also read byte by byte.
const SINGLE_BYTES: usize = 1024;
/// Larger payloads are deflated without compression, which takes no time.
const COMPRESS_BYTES: usize = 2048;
/// Fixed part of what a reader keeps.
const KEPT_BYTES: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Fault(u16),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Got {
        match event {
            Event::Text(text) => Got::Text(text.into()),
            Event::Binary(bytes) => Got::Binary(bytes.into()),
            Event::Ping(bytes) => Got::Ping(bytes.into()),
            Event::Pong(bytes) => Got::Pong(bytes.into()),
            Event::Close { code, reason } => Got::Close(code, reason.into()),
        }
    }
}

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let role = if input.flag(0) { Role::Client } else { Role::Server };
    let limits = WsLimits {
        message_bytes: input.pick(0, &[1000, 1, 16, 125, 126, 65_535, 65_600, 2 * 1024 * 1024]),
        fragments: input.pick(1, &[4096, 1, 2, 3, 8]),
        inflate_ratio: 0,
    };
    let inflater = input.flag(1).then(|| input.flag(2));
    let wire = if input.flag(3) { build(&input, role) } else { input.body.to_vec() };

    let whole = read(&[&wire], role, &limits, inflater);
    assert_eq!(whole, read(&input.cut(&wire), role, &limits, inflater), "pieces");
    if wire.len() <= SINGLE_BYTES {
        assert_eq!(whole, read(&single(&wire), role, &limits, inflater), "byte by byte");
    }
    if inflater.is_none() {
        assert_eq!(whole, model(&wire, role, &limits), "model");
    }
    round_trip(&whole);
}

/// All events of the pieces, received one after the other.
fn read(pieces: &[&[u8]], role: Role, limits: &WsLimits, inflater: Option<bool>) -> Vec<Got> {
    let mut reader = Reader::new(role);
    let mut inflater = inflater.map(Inflater::new);
    let mut got = Vec::new();
    let mut received = 0;
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut at = 0;
        received += bytes.len();
        loop {
            let step = match reader.step(&mut bytes[at..], limits, inflater.as_mut()) {
                Ok(step) => step,
                Err(fault) => {
                    assert!(!fault.reason.is_empty() && fault.reason.len() <= WS_CONTROL_BYTES - 2);
                    got.push(Got::Fault(fault.code));
                    ends(&mut reader, limits, inflater.as_mut());
                    return got;
                }
            };
            at += step.consumed;
            let Some(event) = step.event else { break };
            let event = Got::from(event);
            match &event {
                Got::Text(text) => assert!(text.len() <= limits.message_bytes),
                Got::Binary(bytes) => assert!(bytes.len() <= limits.message_bytes),
                Got::Ping(bytes) | Got::Pong(bytes) => assert!(bytes.len() <= WS_CONTROL_BYTES),
                Got::Close(code, _) => assert!(code.is_none_or(close::may_receive) && reader.has_ended()),
                Got::Fault(_) => {}
            }
            got.push(event);
        }
        assert_eq!(at, bytes.len(), "no event means that all was consumed");
        let most = received.min(limits.deflated_bytes() + WS_CONTROL_BYTES);
        assert!(reader.heap_bytes() <= 2 * most + KEPT_BYTES, "{} kept", reader.heap_bytes());
        assert!(!reader.is_idle() || reader.heap_bytes() == 0, "idle with a heap");
        if matches!(got.last(), Some(Got::Close(..))) {
            ends(&mut reader, limits, inflater.as_mut());
        }
        inflater_is_small(inflater.as_ref());
    }
    got
}

/// Between messages an inflater has no output left, or a small buffer if it is shared.
fn inflater_is_small(inflater: Option<&Inflater>) {
    let Some(inflater) = inflater else { return };
    let most = if inflater.has_takeover() { 0 } else { WS_INFLATE_KEEP_BYTES };
    assert!(inflater.buffer_bytes() <= most, "{} kept", inflater.buffer_bytes());
}

/// After a fault or a close frame everything is ignored, and nothing is kept from the next step on.
fn ends(reader: &mut Reader, limits: &WsLimits, mut inflater: Option<&mut Inflater>) {
    assert!(reader.has_ended());
    let mut late = *b"\x81\x85\0\0\0\0Hello";
    let length = late.len();
    let step = reader.step(&mut late, limits, inflater.as_deref_mut()).expect("ended");
    assert_eq!((step.consumed, step.event), (length, None));
    assert_eq!(reader.heap_bytes(), 0, "kept after the end");
    inflater_is_small(inflater.as_deref());
}

/// Frames as the body describes them: a byte as the first of a frame, a length (0-253 that many bytes follow; 254 the
/// next two are a little-endian length; 255 as 254, and the payload is one byte repeated), then the payload.
fn build(input: &Input<'_>, role: Role) -> Vec<u8> {
    // Large, so only made when it is used.
    let mut compressor = None;
    let mut wire = Vec::new();
    let mut rest = input.body;
    while let [first, length, tail @ ..] = rest
        && wire.len() < WIRE_BYTES
    {
        let (payload, tail) = match (*length, tail) {
            (254, [low, high, tail @ ..]) => {
                let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
                (tail[..length].to_vec(), &tail[length..])
            }
            (255, [low, high, byte, tail @ ..]) => {
                // One more, so that the 64-bit length form is within reach.
                (vec![*byte; usize::from(u16::from_le_bytes([*low, *high])) + 1], tail)
            }
            (length, tail) => {
                let length = usize::from(length).min(tail.len());
                (tail[..length].to_vec(), &tail[length..])
            }
        };
        rest = tail;
        let payload = match first & 0x40 != 0 && input.flag(4) {
            true => {
                let mut deflated = Vec::new();
                if payload.len() <= COMPRESS_BYTES {
                    let compressor = compressor.get_or_insert_with(|| Compressor::new(1, 15, input.flag(2)));
                    compressor.compress(&payload, &mut deflated);
                } else {
                    stored_block(&payload, &mut deflated);
                    deflated.push(0);
                }
                deflated
            }
            false => payload,
        };
        let at = wire.len();
        let opcode = Opcode::from_bits(*first).unwrap_or(Opcode::Binary);
        match role {
            Role::Client => frame::encode_into(&mut wire, opcode, false, &[&payload]),
            Role::Server => {
                let mask = [*first, *length, payload.len() as u8, 0xa5];
                frame::encode_masked_into(&mut wire, opcode, true, false, mask, &payload);
            }
        }
        wire[at] = *first;
    }
    wire
}

/// RFC 6455 without compression, on the whole stream.
fn model(wire: &[u8], role: Role, limits: &WsLimits) -> Vec<Got> {
    let mut got = Vec::new();
    let mut message: Option<(bool, Vec<u8>, usize)> = None;
    let mut rest = wire;
    loop {
        match model_frame(&mut rest, role, limits, &mut message) {
            Ok(None) => return got,
            Ok(Some(None)) => {}
            Ok(Some(Some(event))) => {
                let is_last = matches!(event, Got::Close(..));
                got.push(event);
                if is_last {
                    return got;
                }
            }
            Err(code) => {
                got.push(Got::Fault(code));
                return got;
            }
        }
    }
}

/// One frame: its event if it completes one; `None` when it is cut off.
fn model_frame(
    rest: &mut &[u8],
    role: Role,
    limits: &WsLimits,
    message: &mut Option<(bool, Vec<u8>, usize)>,
) -> Result<Option<Option<Got>>, u16> {
    let bytes = *rest;
    let [first, second, ..] = bytes else { return Ok(None) };
    let (fin, opcode, masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
    let control = opcode >= 8;
    let declared = usize::from(second & 0x7f);
    if first & 0x30 != 0 || !matches!(opcode, 0..=2 | 8..=10) || masked != (role == Role::Server) {
        return Err(1002);
    }
    if control && (!fin || declared > 125) {
        return Err(1002);
    }
    let extended = match declared {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(length_bytes) = bytes.get(2..2 + extended) else { return Ok(None) };
    let length = match extended {
        0 => declared as u64,
        _ => length_bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    let shortest = [0, 126, 65_536][[0, 2, 8].iter().position(|bytes| *bytes == extended).unwrap()];
    if length < shortest || length > i64::MAX as u64 {
        return Err(1002);
    }
    let head = 2 + extended + if masked { 4 } else { 0 };
    if bytes.len() < head {
        return Ok(None);
    }
    if first & 0x40 != 0 || (opcode == 0) != message.is_some() && !control {
        return Err(1002);
    }
    let so_far = message.as_ref().map_or(0, |(_, data, _)| data.len()) as u64;
    if !control {
        if opcode == 0 && message.as_ref().is_some_and(|(_, _, frames)| frames + 1 > limits.fragments) {
            return Err(1008);
        }
        if so_far.saturating_add(length) > limits.message_bytes as u64 {
            return Err(1009);
        }
    }
    let there = (bytes.len() - head).min(usize::try_from(length).unwrap_or(usize::MAX));
    let mut payload = bytes[head..head + there].to_vec();
    if masked {
        let mask = &bytes[head - 4..head];
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
    let complete = there as u64 == length;
    *rest = &bytes[head + there..];
    if control {
        return if complete { model_control(opcode, payload).map(|got| Some(Some(got))) } else { Ok(None) };
    }
    let (text, data, frames) = message.get_or_insert((opcode == 1, Vec::new(), 0));
    data.extend_from_slice(&payload);
    *frames += 1;
    if *text && std::str::from_utf8(data).is_err_and(|error| error.error_len().is_some()) {
        return Err(1007);
    }
    if !complete {
        return Ok(None);
    }
    if !fin {
        return Ok(Some(None));
    }
    let Some((text, data, _)) = message.take() else { return Ok(None) };
    let event =
        if text { Got::Text(String::from_utf8(data).map_err(|_| 1007u16)?) } else { Got::Binary(data) };
    Ok(Some(Some(event)))
}

fn model_control(opcode: u8, payload: Vec<u8>) -> Result<Got, u16> {
    Ok(match (opcode, &payload[..]) {
        (9, _) => Got::Ping(payload),
        (10, _) => Got::Pong(payload),
        (_, []) => Got::Close(None, String::new()),
        (_, [_]) => return Err(1002),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(1002);
            }
            Got::Close(Some(code), String::from_utf8(reason.to_vec()).map_err(|_| 1007u16)?)
        }
    })
}

/// Every event, sent by each side, is read as itself by the other.
fn round_trip(events: &[Got]) {
    let limits = WsLimits::default();
    for event in events {
        let (opcode, payload) = match event {
            Got::Text(text) => (Opcode::Text, text.as_bytes().to_vec()),
            Got::Binary(bytes) => (Opcode::Binary, bytes.clone()),
            Got::Ping(bytes) => (Opcode::Ping, bytes.clone()),
            Got::Pong(bytes) => (Opcode::Pong, bytes.clone()),
            Got::Close(None, _) => (Opcode::Close, Vec::new()),
            Got::Close(Some(code), reason) => {
                let (payload, length) = close::payload(*code, reason);
                (Opcode::Close, payload[..length].to_vec())
            }
            Got::Fault(_) => continue,
        };
        let expected = std::slice::from_ref(event);
        let masked = frame::encode_masked(opcode, true, false, [1, 0x80, 0xff, 7], &payload);
        assert_eq!(read(&[&masked], Role::Server, &limits, None), expected);
        let plain = frame::encode(opcode, false, &[&payload]);
        assert_eq!(read(&[&plain], Role::Client, &limits, None), expected);
    }
}
