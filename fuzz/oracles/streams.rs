//! Event streams, multipart and chunks: what is written is read as the same messages, whatever is in them, and nothing
//! in a message adds fields, events, parts or chunks.

use fanwire::limits::HttpLimits;
use fanwire::wire::http::chunked::{Decoder, chunk, last_chunk};
use fanwire::wire::http::client::Body;
use fanwire::wire::http::head::Framing;
use fanwire::wire::multipart::{Boundary, Part};
use fanwire::wire::sse::{self, EventReader};

use super::input::{Input, single};

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let messages: Vec<&[u8]> = input.cut(input.body).into_iter().take(64).collect();
    events(&input, &messages);
    parts(&input, &messages);
    chunks(&messages);
    decoder(&input);
    garbage(input.body);
}

fn events(input: &Input<'_>, messages: &[&[u8]]) {
    let mut out = Vec::new();
    let name = input.flag(0).then_some(&input.body[..input.body.len().min(20)]);
    for (at, message) in messages.iter().enumerate() {
        sse::event(&mut out, name, Some(format!("{at}:0").as_bytes()), message);
        match at % 3 {
            0 => sse::comment(&mut out, message),
            1 => sse::ping(&mut out, Some(message), name, None),
            _ => {}
        }
    }
    let mut reader = EventReader::default();
    let mut got = Vec::new();
    for line in lines(&out) {
        got.extend(reader.line(line).map(|data| (reader.id().to_owned(), data)));
    }
    // To a client any of the three line ends is the same one.
    let expected = messages.iter().enumerate().map(|(at, message)| (format!("{at}:0"), normal(message)));
    assert_eq!(got, expected.collect::<Vec<_>>(), "events");
}

/// Lines as the standard has them: ended by CR LF, LF or CR.
fn lines(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&bytes[..end]);
        let both = bytes[end..].starts_with(b"\r\n");
        bytes = &bytes[end + 1 + usize::from(both)..];
    }
    assert!(bytes.is_empty(), "a line without its end");
    lines
}

/// The text with LF as the only line end; a CR at the end is taken in by the line end behind it.
fn normal(message: &[u8]) -> Vec<u8> {
    let message = message.strip_suffix(b"\r").unwrap_or(message);
    let mut out = Vec::new();
    let mut rest = message;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'\r' => {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                out.push(b'\n');
            }
            byte => out.push(byte),
        }
    }
    out
}

fn parts(input: &Input<'_>, messages: &[&[u8]]) {
    let mut random = [7; 24];
    random[..8].copy_from_slice(&u64::from(input.pick(0, &[1_u32, 9, 77])).to_le_bytes());
    let boundary = Boundary::new(&random);
    let mark = [b"\r\n--", boundary.as_bytes().as_slice()].concat();
    // 192 random bits are in no message but one that was made here to have them.
    if messages.iter().any(|message| message.windows(mark.len()).any(|window| window == mark)) {
        return;
    }
    let (mut out, date) = (Vec::new(), b"Sat, 21 Nov 2026 10:30:22 GMT");
    boundary.open(&mut out);
    for message in messages {
        let content_type = input.flag(1).then_some(&message[..message.len().min(30)]);
        boundary.part(
            &mut out,
            &Part { last_modified: Some(date), etag: Some(b"1"), content_type, body: message },
        );
    }
    let mut rest = out.strip_prefix(&mark[2..]).expect("a boundary");
    for message in messages {
        let at = find(rest, b"\r\n\r\n").expect("a head");
        let head =
            rest[..at].split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        let typed =
            input.flag(1) && !message[..message.len().min(30)].iter().any(|b| matches!(b, b'\r' | b'\n' | 0));
        assert!(head == 2 + usize::from(typed) || head == 2, "{head} headers");
        rest = &rest[at + 4..];
        let end = find(rest, &mark).expect("a boundary behind each part");
        assert_eq!(&rest[..end], *message, "a part");
        rest = &rest[end + mark.len()..];
    }
    assert!(rest.is_empty());
}

fn chunks(messages: &[&[u8]]) {
    let mut out = Vec::new();
    messages.iter().for_each(|message| chunk(&mut out, message));
    last_chunk(&mut out);
    let whole = messages.concat();
    let length = out.len();
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(&mut out, whole.len()), Ok((length, whole.len())));
    assert!(decoder.is_done() && out[..whole.len()] == whole);
}

/// Any bytes: the same data, end or error however they are cut.
fn decoder(input: &Input<'_>) {
    let limit = input.pick(1, &[1 << 20, 0, 5, 100]);
    let run = |pieces: Vec<&[u8]>| {
        let limits = HttpLimits { body_bytes: limit, ..HttpLimits::default() };
        let (mut body, mut data, mut read) = (Body::new(Framing::Chunked), Vec::new(), 0);
        for piece in pieces {
            let mut piece = piece.to_vec();
            match body.read(&mut piece, &limits) {
                Ok((taken, some)) => {
                    read += taken;
                    data.extend_from_slice(some);
                }
                Err(error) => return Err(error.status),
            }
        }
        assert!(data.len() <= limit);
        Ok((read, data, body.is_done()))
    };
    let whole = run(vec![input.body]);
    assert_eq!(whole, run(input.cut(input.body)), "pieces");
    assert_eq!(whole, run(single(input.body)), "byte by byte");
}

/// A stream of somebody else: never a panic, never more data than came.
fn garbage(bytes: &[u8]) {
    let mut reader = EventReader::default();
    let mut sum = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        sum += reader.line(line.strip_suffix(b"\r").unwrap_or(line)).map_or(0, |data| data.len());
    }
    assert!(sum <= bytes.len() && reader.id().len() <= bytes.len() * 3);
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
