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

#[test]
fn every_payload_length_around_the_header_forms() {
    for len in [0, 1, 125, 126, 65535, 65536] {
        let payload = vec![b'x'; len];
        let bytes = masked(Opcode::Binary, true, &payload);
        assert_eq!(read(&bytes), [Got::Binary(payload.clone())], "{len}");
        let mut peer = Peer::default();
        bytes.chunks(997).for_each(|piece| peer.receive(piece));
        assert_eq!(peer.got, [Got::Binary(payload)], "{len} in pieces");
    }
}

#[test]
fn broken_frames_fail_with_1002() {
    let long = [0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let top_bit = [0x7f, 0x80, 0, 0, 0, 0, 0, 0, 5];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("RSV1 without the extension", raw(0xc1, &[1], b"a")),
        ("RSV2", raw(0xa1, &[1], b"a")),
        ("RSV3", raw(0x91, &[1], b"a")),
        ("fragmented ping", raw(0x09, &[1], b"a")),
        ("long ping", raw(0x89, &[126, 0, 126], &[0; 126])),
        ("65-bit ping", raw(0x89, &top_bit, b"")),
        ("16 bits for 125", raw(0x81, &[126, 0, 125], &[b'a'; 125])),
        ("64 bits for 65535", raw(0x82, &long, &[0; 65535])),
        ("top bit", raw(0x82, &top_bit, b"")),
        ("not masked", b"\x81\x01a".to_vec()),
        ("continuation of nothing", masked(Opcode::Continuation, true, b"a")),
        (
            "message in a message",
            [masked(Opcode::Text, false, b"a"), masked(Opcode::Text, true, b"b")].concat(),
        ),
        ("close of one byte", masked(Opcode::Close, true, &[3])),
        ("close with 1005", masked(Opcode::Close, true, &1005u16.to_be_bytes())),
    ];
    for (name, bytes) in cases {
        assert_eq!(read(&bytes), [Got::Fault(1002)], "{name}");
    }
    for reserved in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(read(&raw(0x80 | reserved, &[0], b"")), [Got::Fault(1002)], "opcode {reserved}");
    }
    let mut client = Peer { reader: Reader::new(Role::Client), ..Peer::default() };
    client.receive(&masked(Opcode::Text, true, b"a"));
    assert_eq!(client.got, [Got::Fault(1002)]);
}

#[test]
fn control_frames_come_between_fragments() {
    let bytes = [
        masked(Opcode::Text, false, "Kä".as_bytes()),
        masked(Opcode::Ping, true, b"1"),
        masked(Opcode::Continuation, false, b""),
        masked(Opcode::Pong, true, b""),
        masked(Opcode::Continuation, true, "se".as_bytes()),
        masked(Opcode::Close, true, b"\x03\xe8bye"),
        masked(Opcode::Text, true, b"after the close"),
    ]
    .concat();
    let expected = [
        Got::Ping(b"1".to_vec()),
        Got::Pong(Vec::new()),
        text("Käse"),
        Got::Close(Some(1000), "bye".to_owned()),
    ];
    assert_eq!(read(&bytes), expected);
}

#[test]
fn nothing_is_read_after_a_close_or_a_fault() {
    for ending in [masked(Opcode::Close, true, b""), b"\x81\x01a".to_vec()] {
        let mut peer = Peer::default();
        peer.receive(&masked(Opcode::Text, false, b"begun"));
        peer.receive(&ending);
        assert_eq!(peer.got.len(), 1);
        peer.receive(&masked(Opcode::Text, true, b"late"));
        assert_eq!(peer.got.len(), 1);
        assert!(peer.reader.has_ended() && peer.reader.heap_bytes() == 0);
    }
}

#[test]
fn bad_text_fails_before_its_frame_is_complete() {
    // The conformance suite's 6.4.3: one frame in three pieces, the second with a code point above U+10FFFF.
    let bytes =
        masked(Opcode::Text, true, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited");
    let mut peer = Peer::default();
    peer.receive(&bytes[..6 + 12]);
    assert_eq!(peer.got, []);
    peer.receive(&bytes[6 + 12..6 + 13]);
    assert_eq!(peer.got, [Got::Fault(1007)]);
    assert_eq!(read(&masked(Opcode::Text, true, b"\xc3")), [Got::Fault(1007)]);
    let cut = [masked(Opcode::Text, false, b"a\xc3"), masked(Opcode::Continuation, true, b"")].concat();
    assert_eq!(read(&cut), [Got::Fault(1007)]);
    let split = [masked(Opcode::Text, false, b"a\xc3"), masked(Opcode::Continuation, true, b"\xa4")].concat();
    assert_eq!(read(&split), [text("aä")]);
    assert_eq!(read(&masked(Opcode::Close, true, b"\x03\xe8\xff")), [Got::Fault(1007)]);
}

#[test]
fn limits_are_kept_to_the_byte() {
    let limits = WsLimits { message_bytes: 200, fragments: 3, ..WsLimits::default() };
    let peer = || Peer { limits, ..Peer::default() };
    let cases: [(Vec<u8>, Got); 5] = [
        (masked(Opcode::Binary, true, &[1; 200]), Got::Binary(vec![1; 200])),
        // Declared lengths are enough to fail, and never make room for what did not come.
        (masked(Opcode::Binary, true, &[1; 201])[..8].to_vec(), Got::Fault(1009)),
        (raw(0x82, &[0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b""), Got::Fault(1009)),
        (
            [masked(Opcode::Binary, false, &[1; 150]), masked(Opcode::Continuation, true, &[1; 51])].concat(),
            Got::Fault(1009),
        ),
        (
            [
                masked(Opcode::Binary, false, b""),
                masked(Opcode::Continuation, false, b""),
                masked(Opcode::Continuation, false, b""),
                masked(Opcode::Continuation, true, b""),
            ]
            .concat(),
            Got::Fault(1008),
        ),
    ];
    for (bytes, expected) in cases {
        let mut peer = peer();
        peer.receive(&bytes);
        assert_eq!(peer.got, [expected]);
    }
}

#[test]
fn a_declared_length_allocates_nothing_ahead() {
    let mut peer = Peer::default();
    peer.receive(&raw(0x82, &[0x7f, 0, 0, 0, 0, 0, 0x1f, 0xff, 0xff], &[7; 100]));
    assert!(peer.reader.heap_bytes() < 1000, "{}", peer.reader.heap_bytes());
    // Within a last frame that is nearly there, the buffer ends with the frame.
    let mut peer = Peer::default();
    let bytes = raw(0x82, &[126, 0x10, 0], &[7; 4096]);
    peer.receive(&bytes[..3000]);
    peer.receive(&bytes[3000..4000]);
    assert!(peer.reader.heap_bytes() < 4096 + 400, "{}", peer.reader.heap_bytes());
}

mod deflated {
    use super::*;
    use crate::wire::ws::deflate::{stored_block, stored_block_head};

    fn peer(takeover: bool) -> Peer {
        Peer { inflater: Some(Inflater::new(takeover)), ..Peer::default() }
    }

    fn frame(opcode: Opcode, fin: bool, rsv1: bool, payload: &[u8]) -> Vec<u8> {
        frame::encode_masked(opcode, fin, rsv1, [9, 8, 7, 6], payload)
    }

    #[test]
    fn examples_of_rfc_7692_section_7_2_3() {
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        for takeover in [false, true] {
            for message in [&hello[..], &stored, &last, &last[..7], &two_blocks] {
                let mut peer = peer(takeover);
                peer.receive(&frame(Opcode::Text, true, true, message));
                // 7.2.3.1: the same in two fragments, RSV1 only in the first.
                peer.receive(&frame(Opcode::Text, false, true, &message[..3]));
                peer.receive(&frame(Opcode::Continuation, true, false, &message[3..]));
                peer.receive(&frame(Opcode::Text, true, false, b"plain"));
                peer.receive(&frame(Opcode::Binary, true, true, &[0]));
                let expected = [text("Hello"), text("Hello"), text("plain"), Got::Binary(Vec::new())];
                assert_eq!(peer.got, expected, "{message:x?}");
            }
        }
        // 7.2.3.2: the second message refers to the first.
        let mut shared = peer(true);
        shared.receive(&frame(Opcode::Text, true, true, &hello));
        shared.receive(&frame(Opcode::Text, true, true, &second));
        assert_eq!(shared.got, [text("Hello"), text("Hello")]);
        let mut fresh = peer(false);
        fresh.receive(&frame(Opcode::Text, true, true, &hello));
        fresh.receive(&frame(Opcode::Text, true, true, &second));
        assert_eq!(fresh.got, [text("Hello"), Got::Fault(1007)]);
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        let mut compressor = Compressor::new(6, 15, true);
        compressor.compress(b"Hello", &mut once);
        compressor.compress(b"Hello", &mut twice);
        assert_eq!((&once[..], &twice[..]), (&hello[..], &second[..]));
    }

    #[test]
    fn rsv1_belongs_on_first_data_frames_only() {
        let started = frame(Opcode::Text, false, true, &[0xf2]);
        for wrong in [
            frame(Opcode::Ping, true, true, b""),
            [started.clone(), frame(Opcode::Continuation, true, true, &[0])].concat(),
        ] {
            let mut peer = peer(false);
            peer.receive(&wrong);
            assert_eq!(peer.got, [Got::Fault(1002)]);
        }
    }

    #[test]
    fn bombs_garbage_and_cut_messages_fail() {
        let limits = WsLimits { message_bytes: 100_000, fragments: 10, inflate_ratio: 0 };
        let deflated = |len: usize| {
            let mut out = Vec::new();
            Compressor::new(9, 15, false).compress(&vec![0; len], &mut out);
            out
        };
        for takeover in [false, true] {
            let run = |payload: &[u8]| {
                let mut peer = Peer { limits, ..peer(takeover) };
                peer.receive(&frame(Opcode::Binary, true, true, payload));
                peer.got.pop().unwrap()
            };
            assert_eq!(run(&deflated(100_000)), Got::Binary(vec![0; 100_000]));
            assert_eq!(run(&deflated(100_001)), Got::Fault(1009));
            assert_eq!(run(&deflated(2_000_000)), Got::Fault(1009));
            assert_eq!(run(&[0xff; 20]), Got::Fault(1007));
        }
        let whole = deflated(1000);
        let mut cut = peer(false);
        cut.receive(&frame(Opcode::Binary, true, true, &whole[..whole.len() / 2]));
        assert_eq!(cut.got, [Got::Fault(1007)]);
        let mut text = peer(false);
        let mut bad = Vec::new();
        Compressor::new(1, 9, false).compress(b"\xff\xfe", &mut bad);
        text.receive(&frame(Opcode::Text, true, true, &bad));
        assert_eq!(text.got, [Got::Fault(1007)]);
    }

    #[test]
    fn a_header_goes_in_front_as_a_stored_block() {
        let mut body = Vec::new();
        Compressor::new(6, 10, false).compress("body ".repeat(40).as_bytes(), &mut body);
        let header = b"id: 1795257135:0\n\n";
        let head = stored_block_head(header.len() as u16);
        let frame = frame::encode(Opcode::Text, true, &[&head, header, &body]);
        let mut client = Peer { reader: Reader::new(Role::Client), ..peer(true) };
        client.receive(&frame);
        assert_eq!(client.got, [text(&format!("id: 1795257135:0\n\n{}", "body ".repeat(40)))]);
        let mut large = Vec::new();
        stored_block(&[7; 70_000], &mut large);
        assert_eq!(large.len(), 70_010);
        large.push(0);
        assert_eq!(Inflater::new(false).inflate(&large, &WsLimits::default()).unwrap(), [7; 70_000]);
        let mut nothing = Vec::new();
        stored_block(b"", &mut nothing);
        assert!(nothing.is_empty());
    }

    #[test]
    fn memory_is_given_back_when_idle() {
        let mut out = Vec::new();
        Compressor::new(6, 15, true).compress(&vec![b'x'; 1_000_000], &mut out);
        let bytes = frame(Opcode::Text, true, true, &out);
        let limits = WsLimits { inflate_ratio: 0, ..WsLimits::default() };
        for takeover in [true, false] {
            let mut peer = Peer { limits, ..peer(takeover) };
            peer.receive(&bytes);
            assert_eq!(peer.got.len(), 1);
            let kept = peer.inflater.as_ref().unwrap().buffer_bytes();
            assert!(kept <= if takeover { 0 } else { crate::limits::WS_INFLATE_KEEP_BYTES }, "{kept}");
        }
    }

    #[test]
    fn incompressible_messages_up_to_the_limit_pass() {
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(300_000)
        .collect();
        for (level, bits, takeover) in [(1, 9, true), (1, 9, false), (6, 12, true), (9, 15, false)] {
            let mut out = Vec::new();
            Compressor::new(level, bits, takeover).compress(&noise, &mut out);
            let limits = WsLimits { message_bytes: noise.len(), fragments: 1, inflate_ratio: 0 };
            let mut peer = Peer { limits, ..peer(false) };
            peer.receive(&frame(Opcode::Binary, true, true, &out));
            assert!(peer.got == [Got::Binary(noise.clone())], "level {level}, {} bytes", out.len());
            // Five stored blocks of 65535 bytes hold it all, and an empty one ends it.
            assert!(takeover || out.len() <= noise.len() + 5 * 5 + 1, "level {level}, {} bytes", out.len());
        }
    }
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// One thing that a client sends.
    #[derive(Clone, Debug)]
    enum Sent {
        Text(String, Vec<usize>),
        Binary(Vec<u8>, Vec<usize>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let cuts = || vec(0usize..400, 0..4);
        prop_oneof![
            ("\\PC{0,40}", cuts()).prop_map(|(text, cuts)| Sent::Text(text, cuts)),
            (vec(any::<u8>(), 0..200), cuts()).prop_map(|(bytes, cuts)| Sent::Binary(bytes, cuts)),
            vec(any::<u8>(), 0..=125).prop_map(Sent::Ping),
            vec(any::<u8>(), 0..20).prop_map(Sent::Pong),
        ]
    }

    /// The frames of a data message cut at the given places, with a ping after each but the last.
    fn fragments(opcode: Opcode, rsv1: bool, payload: &[u8], cuts: &[usize], key: [u8; 4]) -> Vec<u8> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(payload.len());
        let (mut out, mut start) = (Vec::new(), 0);
        for (index, &end) in cuts.iter().enumerate() {
            let (opcode, rsv1) = if index == 0 { (opcode, rsv1) } else { (Opcode::Continuation, false) };
            let fin = index + 1 == cuts.len();
            frame::encode_masked_into(&mut out, opcode, fin, rsv1, key, &payload[start..end]);
            if !fin {
                frame::encode_masked_into(&mut out, Opcode::Ping, true, false, key, b"between");
            }
            start = end;
        }
        out
    }

    /// The bytes of a conversation and the events it has to give.
    fn conversation(sent: &[Sent], key: [u8; 4], mut compressor: Option<Compressor>) -> (Vec<u8>, Vec<Got>) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for one in sent {
            let (opcode, payload, cuts, got): (_, &[u8], &[usize], _) = match one {
                Sent::Text(text, cuts) => (Opcode::Text, text.as_bytes(), cuts, Got::Text(text.clone())),
                Sent::Binary(bytes, cuts) => (Opcode::Binary, bytes, cuts, Got::Binary(bytes.clone())),
                Sent::Ping(bytes) => (Opcode::Ping, bytes, &[], Got::Ping(bytes.clone())),
                Sent::Pong(bytes) => (Opcode::Pong, bytes, &[], Got::Pong(bytes.clone())),
            };
            let mut deflated = Vec::new();
            let rsv1 = !opcode.is_control() && compressor.is_some();
            if let (true, Some(compressor)) = (rsv1, &mut compressor) {
                compressor.compress(payload, &mut deflated);
            }
            let payload = if rsv1 { &deflated } else { payload };
            bytes.extend(fragments(opcode, rsv1, payload, cuts, key));
            expected.extend(cuts.iter().map(|_| Got::Ping(b"between".to_vec())));
            expected.push(got);
        }
        (bytes, expected)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_split_gives_the_same_events(
            sent in vec(sent(), 1..4),
            key in any::<[u8; 4]>(),
            pieces in vec(1usize..40, 1..20),
            deflate in proptest::option::of(any::<bool>()),
        ) {
            let compressor = deflate.map(|takeover| Compressor::new(6, 11, takeover));
            let (bytes, expected) = conversation(&sent, key, compressor);
            let peer = || Peer { inflater: deflate.map(Inflater::new), ..Peer::default() };
            let idle = |peer: &Peer| peer.reader.heap_bytes() == 0 && peer.reader.is_idle();
            for at in 0..=bytes.len() {
                let mut peer = peer();
                peer.receive(&bytes[..at]);
                peer.receive(&bytes[at..]);
                prop_assert_eq!(&peer.got, &expected, "split at {}", at);
                prop_assert!(idle(&peer));
            }
            let (mut peer, mut rest, mut sizes) = (peer(), &bytes[..], pieces.iter().cycle());
            while !rest.is_empty() {
                let piece = rest.split_off(..rest.len().min(*sizes.next().unwrap())).unwrap();
                peer.receive(piece);
            }
            prop_assert_eq!(&peer.got, &expected);
            prop_assert!(idle(&peer));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_nor_pile_up(
            pieces in vec(vec(any::<u8>(), 0..300), 1..20),
            client in any::<bool>(),
            deflate in proptest::option::of(any::<bool>()),
        ) {
            let limits = WsLimits { message_bytes: 500, fragments: 4, ..WsLimits::default() };
            let role = if client { Role::Client } else { Role::Server };
            let inflater = deflate.map(Inflater::new);
            let mut peer = Peer { reader: Reader::new(role), inflater, limits, got: Vec::new() };
            for piece in pieces {
                peer.receive(&piece);
                // Twice the limit, as buffers double, and one kept state with a control payload.
                prop_assert!(peer.reader.heap_bytes() <= 2 * limits.deflated_bytes() + 512);
            }
        }

        /// As above, with bytes that look like frames.
        #[test]
        fn damaged_conversations_never_panic_nor_pile_up(
            sent in vec(sent(), 1..5),
            key in any::<[u8; 4]>(),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            size in 1usize..200,
            takeover in any::<bool>(),
        ) {
            let limits = WsLimits { message_bytes: 500, fragments: 4, ..WsLimits::default() };
            let (mut bytes, _) = conversation(&sent, key, Some(Compressor::new(6, 15, takeover)));
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let inflater = Some(Inflater::new(takeover));
            let mut peer = Peer { inflater, limits, ..Peer::default() };
            for piece in bytes.chunks(size) {
                peer.receive(piece);
                prop_assert!(peer.reader.heap_bytes() <= 2 * limits.deflated_bytes() + 512);
            }
            for got in &peer.got {
                let len = match got {
                    Got::Text(text) => text.len(),
                    Got::Binary(bytes) => bytes.len(),
                    _ => 0,
                };
                prop_assert!(len <= limits.message_bytes);
            }
        }

        #[test]
        fn extension_headers_never_panic(lines in vec(vec(any::<u8>(), 0..80), 0..4), junk in "[ -~]{0,60}") {
            let lines = lines.iter().map(|line| &line[..]);
            let _ = deflate::negotiate(lines.chain([junk.as_bytes()]), &deflate::Policy::own());
            let offered = format!("permessage-deflate; {junk}, permessage-deflate");
            prop_assert!(
                junk.contains('"') || deflate::negotiate([offered.as_bytes()], &deflate::Policy::own()).is_some()
            );
        }
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn compression_round_trips(
            messages in vec(vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..600), 1..4),
            level in 1u8..=9,
            window_bits in 9u8..=15,
            takeover in any::<bool>(),
            header in vec(any::<u8>(), 0..50),
        ) {
            let mut compressor = Compressor::new(level, window_bits, takeover);
            let mut inflater = Inflater::new(takeover);
            for message in messages {
                let mut out = Vec::new();
                // A stored block in front is only right without takeover.
                let header: &[u8] = if takeover { &[] } else { &header };
                deflate::stored_block(header, &mut out);
                compressor.compress(&message, &mut out);
                let expected = [header, &message].concat();
                prop_assert_eq!(inflater.inflate(&out, &WsLimits::default()).unwrap(), &expected[..]);
            }
        }
    }
}
