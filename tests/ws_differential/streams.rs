//! Streams of frames, valid and broken, cut anywhere, through our reader and the two libraries. A model of RFC 6455 says
//! what is in a stream and which rules its first bad frame breaks. We have to see exactly that; so have they, but for what
//! [`overlooked`] and [`told_otherwise`] list.
//!
//! `WS_STREAMS=n` runs so many streams of each kind instead of the usual number.

use std::collections::BTreeSet;

use fanwire::limits::WsLimits;
use fanwire::wire::ws::{Role, close};
use proptest::collection::vec;
use proptest::prelude::*;

use super::readers::{self, End, NOT_UTF8, PROTOCOL, Seen, TOO_BIG};

/// Streams of an ordinary run.
const STREAMS: u32 = 1_000;
/// More than any payload here has.
const PAYLOAD_MAX: usize = 300;

/// One frame as it is put on the wire, right or wrong.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    masked: bool,
    form: Form,
    mask: [u8; 4],
    payload: Vec<u8>,
}

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Shortest,
    In16Bits,
    In64Bits,
    /// Another length than that of the payload, in 64 bits.
    Lie(u64),
}

impl Sent {
    /// A frame without a fault.
    fn good(first: u8, payload: &[u8]) -> Sent {
        Sent { first, masked: true, form: Form::Shortest, mask: [7, 0, 200, 31], payload: payload.to_vec() }
    }

    fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    fn is_last(&self) -> bool {
        self.first & 0x80 != 0
    }

    /// The length field without its flag.
    fn length(&self) -> Vec<u8> {
        let length = self.payload.len();
        match (self.form, length) {
            (Form::Shortest, ..126) => vec![length as u8],
            (Form::Shortest | Form::In16Bits, _) => [&[126][..], &(length as u16).to_be_bytes()].concat(),
            (Form::In64Bits, _) => [&[127][..], &(length as u64).to_be_bytes()].concat(),
            (Form::Lie(length), _) => [&[127][..], &length.to_be_bytes()].concat(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let at = out.len() + 1;
        out.push(self.first);
        out.extend(self.length());
        out[at] |= u8::from(self.masked) << 7;
        let mask = if self.masked { self.mask } else { [0; 4] };
        if self.masked {
            out.extend_from_slice(&mask);
        }
        out.extend(self.payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    }
}

fn wire(frames: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.put(&mut bytes));
    bytes
}

// ---- the model ----

/// A rule that a frame breaks, and its section of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// 5.2: no extension gives the bit a meaning.
    Reserved,
    /// 5.2.
    Opcode,
    /// 5.1: what a client sends is masked.
    Mask,
    /// 5.5.
    FragmentedControl,
    /// 5.5: over 125 bytes.
    LongPing,
    /// 5.5: over 125 bytes.
    LongPong,
    /// 5.5: over 125 bytes.
    LongClose,
    /// 5.2: not the shortest form.
    LengthForm,
    /// 5.2: the highest bit of 64.
    LengthBit,
    /// Over our limit and theirs (10.4).
    TooBig,
    /// 5.4: a continuation of nothing.
    Orphan,
    /// 5.4: a whole message within another one.
    Nested,
    /// 5.4: a first fragment within another message.
    NestedFragment,
    /// 8.1: bytes that no UTF-8 text has.
    Text,
    /// 8.1: a fragmented text that ends within a character.
    TextEnd,
    /// 5.5.1: one byte.
    CloseLength,
    /// 7.4.
    CloseCode,
    /// 5.5.1: not UTF-8.
    CloseReason,
}

/// What a stream holds, and the rules that its first bad frame breaks.
fn judge(frames: &[Sent]) -> (Seen, BTreeSet<Rule>) {
    let (mut seen, mut open) = (Seen::default(), None);
    for frame in frames {
        let mut broken = header_faults(frame, open.is_some());
        let code = if broken.iter().any(|rule| *rule != Rule::TooBig) { PROTOCOL } else { TOO_BIG };
        if !broken.is_empty() {
            seen.end = End::Refused(code);
            return (seen, broken);
        }
        match frame.opcode() {
            8 => {
                broken = close_faults(&frame.payload);
                let code = if broken == BTreeSet::from([Rule::CloseReason]) { NOT_UTF8 } else { PROTOCOL };
                seen.end = match frame.payload.split_first_chunk() {
                    _ if !broken.is_empty() => End::Refused(code),
                    Some((code, reason)) => {
                        let reason = String::from_utf8_lossy(reason).into_owned();
                        End::Closed(Some((u16::from_be_bytes(*code), reason)))
                    }
                    None => End::Closed(None),
                };
                return (seen, broken);
            }
            control @ (9 | 10) => seen.messages.push((control, frame.payload.clone())),
            opcode => {
                let fragmented = open.is_some();
                let (_, payload) = open.get_or_insert((opcode, Vec::new()));
                payload.extend_from_slice(&frame.payload);
                if let Some((1, payload)) = &open
                    && let Err(error) = std::str::from_utf8(payload)
                {
                    let bad = error.error_len().is_some() || !fragmented && frame.is_last();
                    broken.extend(bad.then_some(Rule::Text));
                    broken.extend((!bad && frame.is_last()).then_some(Rule::TextEnd));
                }
                if !broken.is_empty() {
                    seen.end = End::Refused(NOT_UTF8);
                    return (seen, broken);
                }
                if frame.is_last() {
                    seen.messages.extend(open.take());
                }
            }
        }
    }
    (seen, BTreeSet::new())
}

fn header_faults(frame: &Sent, open: bool) -> BTreeSet<Rule> {
    let (opcode, last) = (frame.opcode(), frame.is_last());
    let declared = match frame.form {
        Form::Lie(length) => length,
        _ => frame.payload.len() as u64,
    };
    let long = frame.is_control() && declared > 125;
    let shortest = match declared {
        ..126 => 1,
        126..=0xffff => 3,
        _ => 9,
    };
    let begins = matches!(opcode, 1 | 2);
    let rules = [
        (frame.first & 0x70 != 0, Rule::Reserved),
        (matches!(opcode, 3..=7 | 11..=15), Rule::Opcode),
        (!frame.masked, Rule::Mask),
        (frame.is_control() && !last, Rule::FragmentedControl),
        (long && opcode == 8, Rule::LongClose),
        (long && opcode == 9, Rule::LongPing),
        (long && opcode == 10, Rule::LongPong),
        (frame.length().len() > shortest, Rule::LengthForm),
        (declared >> 63 != 0, Rule::LengthBit),
        (declared > WsLimits::default().message_bytes as u64, Rule::TooBig),
        (opcode == 0 && !open, Rule::Orphan),
        (begins && open && last, Rule::Nested),
        (begins && open && !last, Rule::NestedFragment),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, rule)| rule).collect()
}

fn close_faults(payload: &[u8]) -> BTreeSet<Rule> {
    let rules = match payload.split_first_chunk() {
        Some((code, reason)) => [
            (!close::may_receive(u16::from_be_bytes(*code)), Rule::CloseCode),
            (std::str::from_utf8(reason).is_err(), Rule::CloseReason),
        ],
        None => [(payload.len() == 1, Rule::CloseLength), (false, Rule::CloseReason)],
    };
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, rule)| rule).collect()
}

// ---- differences ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    Tungstenite,
    FastWebSockets,
}

use Library::{FastWebSockets, Tungstenite};

/// Why the library does not refuse what breaks the rule, if it does not: what it makes of the rest is its own.
fn overlooked(library: Library, rule: Rule) -> Option<&'static str> {
    Some(match (library, rule) {
        (_, Rule::LengthForm) => "it takes a length in any form",
        (FastWebSockets, Rule::Mask) => "it unmasks what is masked and takes the rest as it is",
        (FastWebSockets, Rule::LongPong | Rule::LongClose) => "it limits pings only",
        (FastWebSockets, Rule::NestedFragment) => "it forgets the message before it",
        (FastWebSockets, Rule::TextEnd) => "it leaves out the unfinished character",
        _ => return None,
    })
}

/// Why the library's end may be another one than ours of a stream that both refuse, or that only we take.
fn told_otherwise(
    library: Library,
    broken: &BTreeSet<Rule>,
    ours: &End,
    theirs: &End,
) -> Option<&'static str> {
    let has = |rule: Rule| broken.contains(&rule);
    Some(match (library, ours, theirs) {
        (Tungstenite, End::Closed(Some((1014, _))), End::Closed(Some((PROTOCOL, _))))
        | (FastWebSockets, End::Closed(Some((1014, _))), End::Refused(PROTOCOL)) => {
            "it does not know 1014, which is registered since"
        }
        (Tungstenite, End::Refused(PROTOCOL), End::Closed(Some((PROTOCOL, _)))) if has(Rule::CloseCode) => {
            "it tells a bad code as a close with 1002"
        }
        (_, End::Refused(PROTOCOL), End::Refused(NOT_UTF8)) if has(Rule::CloseReason) => {
            "it looks at the reason before the code"
        }
        (FastWebSockets, End::Refused(PROTOCOL), End::Refused(NOT_UTF8)) if has(Rule::Nested) => {
            "it looks at a text before its place"
        }
        (_, End::Refused(PROTOCOL), End::Refused(TOO_BIG)) if has(Rule::LengthBit) || has(Rule::TooBig) => {
            "it asks first whether a frame is too big"
        }
        _ => return None,
    })
}

/// Compares what a library sees with what there is to see, and gives the listed difference if there is one.
fn compare(library: Library, frames: &[Sent], theirs: &Seen) -> Result<Option<&'static str>, TestCaseError> {
    let (model, broken) = judge(frames);
    let at = || format!("{library:?} sees {theirs:?}\nof {model:?}, {broken:?}\nframes {frames:?}");
    let reasons: Vec<_> = broken.iter().map(|rule| overlooked(library, *rule)).collect();
    if let Some(Some(reason)) = reasons.first()
        && reasons.iter().all(Option::is_some)
    {
        prop_assert!(theirs.messages.starts_with(&model.messages), "{}", at());
        return Ok(Some(reason));
    }
    prop_assert_eq!(&theirs.messages, &model.messages, "{}", at());
    if theirs.end == model.end {
        return Ok(None);
    }
    let reason = told_otherwise(library, &broken, &model.end, &theirs.end);
    prop_assert!(reason.is_some(), "{}", at());
    Ok(reason)
}

fn compare_all(frames: &[Sent], sizes: &[usize]) -> Result<(), TestCaseError> {
    let bytes = wire(frames);
    let (model, broken) = judge(frames);
    prop_assert_eq!(&readers::ours(Role::Server, &bytes, sizes), &model, "{:?}: {:?}", broken, frames);
    prop_assert_eq!(
        &readers::ours(Role::Server, &bytes, &[usize::MAX]),
        &model,
        "in one piece: {:?}",
        frames
    );
    compare(Tungstenite, frames, &readers::tungstenite(Role::Server, &bytes, sizes))?;
    compare(FastWebSockets, frames, &readers::fastwebsockets(Role::Server, &bytes, sizes))?;
    Ok(())
}

// ---- streams ----

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..20),
        1 => "[a-z]{120,130}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..PAYLOAD_MAX),
    ]
}

fn close() -> impl Strategy<Value = Vec<u8>> {
    let edges = prop::sample::select(vec![999_u16, 1000, 2999, 3000, 4999, 5000]);
    let code = prop_oneof![edges, 1000_u16..1017, any::<u16>()];
    let reason = prop_oneof![3 => "[a-z]{0,10}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..4)];
    prop_oneof![
        4 => (code, reason).prop_map(|(code, reason)| [&code.to_be_bytes()[..], &reason].concat()),
        1 => vec(any::<u8>(), 0..3),
        1 => vec(any::<u8>(), 120..130),
    ]
}

/// A frame that may stand where it comes, or not.
fn frame() -> impl Strategy<Value = Sent> {
    let opcode = prop_oneof![8 => 0_u8..3, 3 => 9_u8..11, 1 => Just(8_u8), 1 => 0_u8..16];
    let last = prop::bool::weighted(0.7);
    let reserved = prop_oneof![30 => Just(0_u8), 1 => 1_u8..8];
    let form = prop_oneof![
        60 => Just(Form::Shortest),
        1 => Just(Form::In16Bits),
        1 => Just(Form::In64Bits),
        1 => prop::sample::select(vec![1 << 63, u64::MAX, 1 << 62, 1 << 40]).prop_map(Form::Lie),
    ];
    let masked = prop::bool::weighted(0.97);
    (opcode, last, reserved, masked, form, any::<[u8; 4]>(), payload(), close()).prop_map(
        |(opcode, last, reserved, masked, form, mask, payload, close)| {
            let last = last || opcode >= 8 && mask[0] % 8 != 0;
            let payload = if opcode == 8 { close } else { payload };
            Sent { first: u8::from(last) << 7 | reserved << 4 | opcode, masked, form, mask, payload }
        },
    )
}

/// The same without faults: fragments follow each other, control frames come whole between them. A text may be cut
/// within a character.
fn repaired(mut frames: Vec<Sent>) -> Vec<Sent> {
    let mut open = false;
    let mut left_over: Vec<u8> = Vec::new();
    for frame in &mut frames {
        (frame.masked, frame.form) = (true, Form::Shortest);
        if frame.is_control() {
            frame.first = 0x89 + (frame.first & 1);
            frame.payload.truncate(125);
            continue;
        }
        let kind = if open { 0 } else { 1 + (frame.opcode() & 1) };
        frame.first = frame.first & 0x80 | kind;
        let text = String::from_utf8_lossy(&frame.payload).into_owned().into_bytes();
        frame.payload = [std::mem::take(&mut left_over), text].concat();
        open = !frame.is_last();
        if open {
            let cut = frame.payload.len().saturating_sub(usize::from(frame.mask[0] % 4));
            left_over = frame.payload.split_off(cut);
        }
    }
    frames
}

/// Failing cases are printed; there is no file of old ones.
fn config() -> ProptestConfig {
    let cases = std::env::var("WS_STREAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(STREAMS);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_read_valid_streams_alike(
        frames in vec(frame(), 0..8),
        end in prop::option::of(1000_u16..1004),
        sizes in vec(1_usize..200, 1..5),
    ) {
        let mut frames = repaired(frames);
        frames.extend(end.map(|code| Sent::good(0x88, &[&code.to_be_bytes()[..], b"bye"].concat())));
        let bytes = wire(&frames);
        let (model, broken) = judge(&frames);
        prop_assert!(broken.is_empty(), "{broken:?} in {frames:?}");
        prop_assert_eq!(&readers::ours(Role::Server, &bytes, &sizes), &model);
        prop_assert_eq!(&readers::tungstenite(Role::Server, &bytes, &sizes), &model);
        prop_assert_eq!(&readers::fastwebsockets(Role::Server, &bytes, &sizes), &model);
    }

    #[test]
    fn all_judge_any_frames_alike(frames in vec(frame(), 1..6), sizes in vec(1_usize..200, 1..5)) {
        compare_all(&frames, &sizes)?;
    }

    /// A valid stream, one frame of any kind, and what follows it.
    #[test]
    fn all_judge_one_odd_frame_alike(
        frames in vec(frame(), 0..5),
        odd in frame(),
        at in any::<prop::sample::Index>(),
        sizes in vec(1_usize..200, 1..5),
    ) {
        let mut frames = repaired(frames);
        frames.insert(at.index(frames.len() + 1), odd);
        compare_all(&frames, &sizes)?;
    }
}

/// Each first byte that a frame can have, alone and within a message.
#[test]
fn all_judge_any_first_byte_alike() {
    for first in 0..=u8::MAX {
        for payload in [&b""[..], b"a", b"\x03\xe8ok", b"\xff\xff\xff", &[b'a'; 126]] {
            compare_all(&[Sent::good(first, payload)], &[3]).unwrap();
            compare_all(&[Sent::good(0x01, b"a"), Sent::good(first, payload)], &[64]).unwrap();
        }
    }
}

/// Each difference of the lists once, so that none is listed that does not occur.
#[test]
fn every_listed_difference_is_one() {
    let good = Sent::good;
    let text = |form| vec![Sent { form, ..good(0x81, b"short") }];
    let close = |code: u16, reason: &[u8]| vec![good(0x88, &[&code.to_be_bytes()[..], reason].concat())];
    let bare = Sent { masked: false, ..good(0x82, b"bare") };
    let lie = |length| vec![Sent { form: Form::Lie(length), ..good(0x82, b"") }];
    let nested = vec![good(0x02, b"a"), good(0x02, b"b"), good(0x80, b"c")];
    let unfinished = vec![good(0x01, b"a"), good(0x80, b"\xe2\x82")];
    let nested_text = vec![good(0x01, b"a"), good(0x81, b"\xff")];
    let any_form = "it takes a length in any form";
    let table = [
        (Tungstenite, text(Form::In16Bits), any_form),
        (FastWebSockets, text(Form::In64Bits), any_form),
        (FastWebSockets, vec![Sent { form: Form::In16Bits, ..good(0x89, b"") }], any_form),
        (FastWebSockets, vec![bare], "it unmasks what is masked and takes the rest as it is"),
        (FastWebSockets, vec![good(0x8a, &[0; 126])], "it limits pings only"),
        (FastWebSockets, nested, "it forgets the message before it"),
        (FastWebSockets, unfinished, "it leaves out the unfinished character"),
        (Tungstenite, close(1014, b""), "it does not know 1014, which is registered since"),
        (FastWebSockets, close(1014, b""), "it does not know 1014, which is registered since"),
        (Tungstenite, close(1004, b""), "it tells a bad code as a close with 1002"),
        (Tungstenite, close(1004, b"\xff"), "it looks at the reason before the code"),
        (FastWebSockets, close(1004, b"\xff"), "it looks at the reason before the code"),
        (Tungstenite, lie(1 << 63), "it asks first whether a frame is too big"),
        (FastWebSockets, lie(1 << 63), "it asks first whether a frame is too big"),
        (FastWebSockets, nested_text, "it looks at a text before its place"),
    ];
    for (library, frames, reason) in table {
        let bytes = wire(&frames);
        let theirs = match library {
            Tungstenite => readers::tungstenite(Role::Server, &bytes, &[64]),
            FastWebSockets => readers::fastwebsockets(Role::Server, &bytes, &[64]),
        };
        assert_ne!(theirs, judge(&frames).0, "{library:?}: {reason}");
        assert_eq!(compare(library, &frames, &theirs).expect("listed"), Some(reason), "{frames:?}");
    }
}
