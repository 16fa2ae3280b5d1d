//! The reader and the codecs together.

use super::*;
use crate::limits::WsLimits;

/// An event with its bytes.
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
            Event::Text(text) => Got::Text(text.to_owned()),
            Event::Binary(bytes) => Got::Binary(bytes.to_owned()),
            Event::Ping(bytes) => Got::Ping(bytes.to_owned()),
            Event::Pong(bytes) => Got::Pong(bytes.to_owned()),
            Event::Close { code, reason } => Got::Close(code, reason.to_owned()),
        }
    }
}

/// A connection's reading half.
#[derive(Default)]
struct Peer {
    reader: Reader,
    inflater: Option<Inflater>,
    limits: WsLimits,
    got: Vec<Got>,
}

impl Peer {
    fn receive(&mut self, bytes: &[u8]) {
        let mut input = bytes.to_vec();
        let mut at = 0;
        loop {
            match self.reader.step(&mut input[at..], &self.limits, self.inflater.as_mut()) {
                Ok(step) => {
                    at += step.consumed;
                    match step.event {
                        Some(event) => self.got.push(event.into()),
                        None => break,
                    }
                }
                Err(fault) => {
                    self.got.push(Got::Fault(fault.code));
                    assert!(fault.reason.len() <= crate::limits::WS_CLOSE_REASON_BYTES);
                    return;
                }
            }
        }
        assert_eq!(at, input.len(), "no event means that all was consumed");
    }
}

/// What a server reads out of `bytes` received at once.
fn read(bytes: &[u8]) -> Vec<Got> {
    let mut peer = Peer::default();
    peer.receive(bytes);
    peer.got
}

fn masked(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    frame::encode_masked(opcode, fin, false, [0x12, 0xf3, 0x07, 0x99], payload)
}

/// A frame by its first byte, with any payload length form, masked with zeros.
fn raw(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend_from_slice(length);
    out[1] |= 0x80;
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

#[test]
fn an_idle_reader_is_two_words_and_no_heap() {
    assert!(size_of::<Reader>() <= 16);
    let mut peer = Peer::default();
    let bytes =
        [masked(Opcode::Text, false, b"one "), masked(Opcode::Continuation, true, b"message")].concat();
    for (at, byte) in bytes.iter().enumerate() {
        assert_eq!(peer.reader.heap_bytes() == 0, at == 0, "after {at} bytes");
        peer.receive(&[*byte]);
    }
    assert_eq!(peer.got, [text("one message")]);
    assert_eq!(peer.reader.heap_bytes(), 0);
    assert!(peer.reader.is_idle());
}

#[test]
fn examples_of_rfc_6455_section_5_7() {
    assert_eq!(read(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [text("Hello")]);
    assert_eq!(read(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [Got::Pong(b"Hello".to_vec())]);
    let mut client = Peer { reader: Reader::new(Role::Client), ..Peer::default() };
    client.receive(b"\x81\x05Hello\x01\x03Hel\x80\x02lo\x89\x05Hello");
    client.receive(&[&b"\x82\x7e\x01\x00"[..], &[5; 256]].concat());
    client.receive(&[&b"\x82\x7f\0\0\0\0\0\x01\0\0"[..], &[6; 65536]].concat());
    let expected = [
        text("Hello"),
        text("Hello"),
        Got::Ping(b"Hello".to_vec()),
        Got::Binary(vec![5; 256]),
        Got::Binary(vec![6; 65536]),
    ];
    assert_eq!(client.got, expected);
}
