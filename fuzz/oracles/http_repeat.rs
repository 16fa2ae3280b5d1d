//! The short cut for requests whose head came before, against the reader that it saves.
//!
//! The body is a request and, behind an empty line of three LFs, another input. Where the short cut recognises the second
//! as the first, the reader must find the same: the same request but for its length, the same body, the same end.

use fanwire::limits::HttpLimits;
use fanwire::wire::http::repeat::{Repeat, RepeatedHead};
use fanwire::wire::http::request::{Event, Lines, Reader, Request};

use super::input::Input;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let limits = HttpLimits {
        head_bytes: input.pick(0, &[16 * 1024, 64, 256, 65_535]),
        body_bytes: input.pick(1, &[2 * 1024 * 1024, 0, 10, 1000]),
        ..HttpLimits::default()
    };
    let at = input.body.windows(3).position(|three| three == b"\n\n\n").unwrap_or(input.body.len());
    let (first, second) = input.body.split_at(at);
    let second = second.get(3..).unwrap_or_default();
    let Some((head, known)) = read(first, &HttpLimits::default(), RepeatedHead::of) else { return };
    let Some(head) = head else { return };
    // What was read is recognised, whole or not.
    recognised(&head, first, &limits, &known);
    recognised(&head, second, &limits, &known);
    // The same head with what the fuzzer makes of its length.
    let length = first.windows(16).position(|name| name.eq_ignore_ascii_case(b"content-length: "));
    if let Some(length) = length {
        let digits = second.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let behind = first[length + 16..].iter().position(|byte| !byte.is_ascii_digit());
        if let Some(behind) = behind {
            let changed = [&first[..length + 16], digits, &first[length + 16 + behind..], second].concat();
            recognised(&head, &changed, &limits, &known);
        }
    }
}

/// Method, target, headers but for the length.
type Known = (String, String, Vec<(String, Vec<u8>)>);

fn recognised(head: &RepeatedHead, input: &[u8], limits: &HttpLimits, known: &Known) {
    let Repeat::Whole { body, taken } = head.compare(input, limits) else { return };
    let mut copy = input.to_vec();
    let (mut reader, mut lines) = (Reader::default(), Lines::default());
    let step = reader.step(&mut copy, &mut lines, limits).expect("the reader refuses what was recognised");
    assert_eq!(step.consumed, taken, "another end");
    let Some(Event::Request(request)) = step.event else { panic!("the reader finds no request") };
    assert_eq!(request.body, body, "another body");
    assert_eq!(&own(&request), known, "another request");
    assert!(request.keep_alive && !request.upgrade_websocket);
    // It takes no less than all of it: a byte less and it does not decide.
    assert_eq!(head.compare(&input[..taken - 1], limits), Repeat::Undecided);
}

fn own(request: &Request<'_>) -> Known {
    let all = request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
    let all = all.map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    (request.method_text.to_owned(), request.target.to_owned(), all)
}

fn read<T>(bytes: &[u8], limits: &HttpLimits, what: impl FnOnce(&Request<'_>) -> T) -> Option<(T, Known)> {
    let mut copy = bytes.to_vec();
    let (mut reader, mut lines) = (Reader::default(), Lines::default());
    match reader.step(&mut copy, &mut lines, limits).ok()?.event? {
        Event::Request(request) => Some((what(&request), own(&request))),
        Event::Continue => None,
    }
}
