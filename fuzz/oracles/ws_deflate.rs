//! permessage-deflate.
//!
//! - Flags 0 and 1 both off: the body is a message in several parts, each compressed and inflated again.
//! - Flag 0 only: the body is what a peer sent; the inflater agrees with another inflater and stays within its limit.
//! - Flag 1: the body is lines of `Sec-WebSocket-Extensions`; the answer obeys offer and policy.
//!
//! Flag 2: takeover. Flag 3: other policy.

use fanwire::limits::{WS_INFLATE_KEEP_BYTES, WsLimits};
use fanwire::wire::ws::deflate::{Params, Policy, negotiate};
use fanwire::wire::ws::{Compressor, Inflater};

use super::input::Input;

/// Messages of one input that are looked at.
const MESSAGES: usize = 16;
const LIMITS: [usize; 6] = [65_536, 0, 1, 100, 1024, 300_000];

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    match (input.flag(0), input.flag(1)) {
        (false, false) => round_trip(&input),
        (true, false) => inflate(&input),
        _ => negotiation(&input),
    }
}

fn round_trip(input: &Input<'_>) {
    let takeover = input.flag(2);
    let window = input.pick(1, &[15, 9, 10, 12, 14]);
    let mut compressor = Compressor::new(input.pick(2, &[1, 3, 6, 9]), window, takeover);
    let mut inflater = Inflater::new(takeover);
    let limits = WsLimits { message_bytes: input.pick(0, &LIMITS), inflate_ratio: 0, ..WsLimits::default() };
    for message in input.cut(input.body).into_iter().take(MESSAGES) {
        let mut deflated = Vec::new();
        compressor.compress(message, &mut deflated);
        assert!(deflated.len() <= limits_for(message).deflated_bytes(), "{} bytes", deflated.len());
        match inflater.inflate(&deflated, &limits) {
            Ok(inflated) => assert_eq!(inflated, message),
            Err(fault) => {
                assert!(fault.code == 1009 && message.len() > limits.message_bytes, "{fault}");
                return;
            }
        }
        assert!(message.len() <= limits.message_bytes, "over the limit and not refused");
    }
}

/// Limits under which `message` is just small enough.
fn limits_for(message: &[u8]) -> WsLimits {
    WsLimits { message_bytes: message.len(), inflate_ratio: 0, ..WsLimits::default() }
}

fn inflate(input: &Input<'_>) {
    let limits = WsLimits { message_bytes: input.pick(0, &LIMITS), inflate_ratio: 0, ..WsLimits::default() };
    let takeover = input.flag(2);
    let mut inflater = Inflater::new(takeover);
    let mut first = true;
    for payload in input.cut(input.body).into_iter().take(MESSAGES) {
        let got = inflater.inflate(payload, &limits).map(<[u8]>::to_vec).map_err(|fault| fault.code);
        match &got {
            Ok(message) => assert!(message.len() <= limits.message_bytes),
            Err(code) => assert!(matches!(code, 1007 | 1009)),
        }
        let room = limits.message_bytes.saturating_add(1).max(1024);
        assert!(inflater.buffer_bytes() <= room.max(WS_INFLATE_KEEP_BYTES), "{}", inflater.buffer_bytes());
        if !takeover {
            let alone = Inflater::new(false).inflate(payload, &limits).map(<[u8]>::to_vec);
            assert_eq!(got, alone.map_err(|fault| fault.code), "a shared inflater remembers");
        }
        if !takeover || first {
            compare(payload, &got, limits.message_bytes, takeover);
        }
        first = false;
        if got.is_err() && takeover {
            break;
        }
    }
    inflater.release();
    assert!(inflater.buffer_bytes() <= if takeover { 0 } else { WS_INFLATE_KEEP_BYTES });
}

/// What another inflater makes of the message, completed as RFC 7692 section 7.2.2 says. It knows nothing of
/// messages that go on behind a last block, so these are not compared.
fn compare(payload: &[u8], got: &Result<Vec<u8>, u16>, limit: usize, takeover: bool) {
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
    let whole = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    let mut out = vec![0; limit + 1];
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) = decompress(&mut DecompressorOxide::new(), &whole, &mut out, 0, flags);
    use miniz_oxide::inflate::TINFLStatus;
    match status {
        TINFLStatus::Done if read == whole.len() => match got {
            Ok(message) => assert_eq!(message[..], out[..written]),
            Err(1009) => assert!(written > limit, "refused below the limit"),
            // zlib refuses some code tables that the other one takes.
            Err(_) => {}
        },
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => assert!(got.is_err(), "over the limit and not refused"),
        // With takeover nothing ends the stream, so a message that stops within a block is not noticed.
        _ if takeover => {}
        _ => assert!(got.is_err(), "inflated what is no deflate data: {status:?} {payload:02x?} {got:?}"),
    }
}

fn negotiation(input: &Input<'_>) {
    let policy = match (input.flag(3), input.flag(2)) {
        (false, false) => Policy::shared(input.pick(0, &[15, 9, 12, 0, 255])),
        (false, true) => Policy::own(),
        (true, takeover) => Policy {
            server_takeover: takeover,
            client_takeover: !takeover,
            server_min_window_bits: input.pick(0, &[9, 10, 15]),
            server_max_window_bits: input.pick(1, &[15, 12, 10]),
            client_max_window_bits: input.pick(2, &[15, 8, 9, 12]),
        },
    };
    let lines: Vec<&[u8]> = input.body.split(|byte| *byte == b'\n').collect();
    let params = negotiate(lines.iter().copied(), &policy);
    if !input.body.contains(&b'"') {
        let joined = lines.join(&b","[..]);
        assert_eq!(negotiate([&joined[..]], &policy), params, "lines and list elements are the same");
    }
    let Some(params) = params else { return };
    obeys(&params, &policy);
    let lower = String::from_utf8_lossy(input.body).to_ascii_lowercase();
    let answer = params.header_value();
    // RFC 7692 section 7.1.2.2: only a client that offered it can be told its window.
    assert!(lower.contains("permessage-deflate"));
    assert!(!answer.contains("client_max_window_bits") || lower.contains("client_max_window_bits"));
    // The answer is an offer in form, and agreeing to it changes nothing.
    let again = negotiate([answer.as_bytes()], &Policy::own()).expect("own answer");
    assert_eq!(again.header_value(), answer);
    assert_eq!(again.server_window_bits, params.server_window_bits);
    assert_eq!(again.server_no_context_takeover, params.server_no_context_takeover);
    assert_eq!(again.client_no_context_takeover, params.client_no_context_takeover);
    use_them(&params);
}

fn obeys(params: &Params, policy: &Policy) {
    let largest = policy.server_max_window_bits.clamp(9, 15);
    assert!((9..=largest).contains(&params.server_window_bits));
    assert!(params.server_window_bits >= policy.server_min_window_bits.min(largest));
    assert!((8..=15).contains(&params.client_window_bits));
    assert!(policy.server_takeover || params.server_no_context_takeover);
    assert!(policy.client_takeover || params.client_no_context_takeover);
}

/// A compressor for these parameters makes what an inflater for them reads.
fn use_them(params: &Params) {
    let message = b"the same words, the same words, and the same words once more";
    let mut compressor = Compressor::for_connection(params, 6);
    let mut inflater = Inflater::new(!params.server_no_context_takeover);
    for _ in 0..2 {
        let mut deflated = Vec::new();
        compressor.compress(message, &mut deflated);
        assert_eq!(inflater.inflate(&deflated, &WsLimits::default()), Ok(&message[..]));
    }
}
