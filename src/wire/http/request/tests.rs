use proptest::prelude::*;

use super::*;
use crate::limits::HTTP_HEADERS;

/// What a request said, owned, for comparing.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    minor_version: u8,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    keep_alive: bool,
    upgrade_websocket: bool,
}

impl Seen {
    fn new(request: &Request<'_>) -> Self {
        Seen {
            method: request.method_text.to_owned(),
            target: request.target.to_owned(),
            minor_version: request.minor_version,
            headers: request.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            body: request.body.to_vec(),
            keep_alive: request.keep_alive,
            upgrade_websocket: request.upgrade_websocket,
        }
    }
}

/// Feeds pieces as a connection would; returns the requests and the number of Continue events.
fn feed<'p>(
    reader: &mut Reader,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    limits: &HttpLimits,
) -> Result<(Vec<Seen>, usize), HttpError> {
    let (mut seen, mut continues) = (Vec::new(), 0);
    for piece in pieces {
        let (mut input, mut lines) = (piece.to_vec(), Lines::default());
        let mut at = 0;
        loop {
            let step = reader.step(&mut input[at..], &mut lines, limits)?;
            at += step.consumed;
            match step.event {
                Some(Event::Request(request)) => seen.push(Seen::new(&request)),
                Some(Event::Continue) => continues += 1,
                None => break,
            }
        }
        assert_eq!(at, piece.len(), "without an event everything is consumed");
    }
    Ok((seen, continues))
}

fn read_all(bytes: &[u8]) -> Result<Vec<Seen>, HttpError> {
    feed(&mut Reader::default(), [bytes], &HttpLimits::default()).map(|(seen, _)| seen)
}

fn status_of(bytes: &[u8], limits: &HttpLimits) -> u16 {
    feed(&mut Reader::default(), [bytes], limits).map_or_else(|error| error.status, |_| 200)
}

const PIPELINE: &[u8] = b"\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
    GET /b?c HTTP/1.1\r\nHost: h\r\n\r\n\
    \r\n\r\nPUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
    3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n\
    DELETE /d HTTP/1.0\r\n\r\n";

#[test]
fn a_pipeline_reads_the_same_at_every_split() {
    let whole = read_all(PIPELINE).unwrap();
    let bodies: Vec<_> = whole.iter().map(|seen| seen.body.as_slice()).collect();
    assert_eq!(bodies, [b"hello".as_slice(), b"", b"abcde", b""]);
    let limits = HttpLimits::default();
    for split in 0..=PIPELINE.len() {
        let (left, right) = PIPELINE.split_at(split);
        let mut reader = Reader::default();
        assert_eq!(feed(&mut reader, [left, right], &limits).unwrap().0, whole, "split at {split}");
        assert!(reader.is_idle());
        assert_eq!(reader.buffered(), 0);
    }
    let mut reader = Reader::default();
    assert_eq!(feed(&mut reader, PIPELINE.chunks(1), &limits).unwrap().0, whole);
}

#[test]
fn a_whole_request_is_borrowed_and_an_idle_reader_owns_nothing() {
    assert!(size_of::<Reader>() <= 16);
    let mut input = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi".to_vec();
    let range = input.as_ptr_range();
    let mut reader = Reader::default();
    let mut lines = Lines::default();
    let step = reader.step(&mut input, &mut lines, &HttpLimits::default()).unwrap();
    let Some(Event::Request(request)) = step.event else { panic!("no request") };
    assert!(range.contains(&request.body.as_ptr()) && range.contains(&request.target.as_ptr()));
    assert!(reader.kept.is_none());
}

#[test]
fn deadlines_can_tell_head_from_body() {
    let limits = HttpLimits::default();
    let mut reader = Reader::default();
    assert!(reader.is_idle() && !reader.in_head() && !reader.in_body());
    feed(&mut reader, [b"POST / HT".as_slice()], &limits).unwrap();
    assert!(!reader.is_idle() && reader.in_head() && !reader.in_body());
    assert_eq!(reader.buffered(), 9);
    feed(&mut reader, [b"TP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nh".as_slice()], &limits).unwrap();
    assert!(reader.in_body() && !reader.in_head());
    let mut lines = Lines::default();
    let step = reader.step(&mut [], &mut lines, &limits).unwrap();
    assert!(step.event.is_none());
    assert_eq!(feed(&mut reader, [b"i".as_slice()], &limits).unwrap().0.len(), 1);
    assert!(reader.is_idle() && reader.kept.is_none());

    feed(&mut reader, [b"GET / HTTP/1.1\r\nHost: h\r\n\r".as_slice()], &limits).unwrap();
    reader.release();
    assert!(reader.in_head(), "what is incomplete is not released");
    let mut end = *b"\n";
    let step = reader.step(&mut end, &mut lines, &limits).unwrap();
    assert!(matches!(step.event, Some(Event::Request(_))));
    assert!(reader.is_idle() && reader.buffered() > 0);
    reader.release();
    assert_eq!(reader.buffered(), 0);
}

#[test]
fn a_waiting_client_is_told_to_continue_once() {
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n".as_slice();
    let limits = HttpLimits::default();
    let go = |pieces: &[&[u8]]| {
        let (seen, continues) = feed(&mut Reader::default(), pieces.iter().copied(), &limits).unwrap();
        (seen.len(), continues)
    };
    assert_eq!(go(&[head]), (0, 1));
    assert_eq!(go(&[head, b"h", b"i"]), (1, 1));
    assert_eq!(go(&[&head[..9], &head[9..], b"hi"]), (1, 1));
    assert_eq!(go(&[&[head, b"hi"].concat()]), (1, 0), "the body is there already");
    assert_eq!(go(&[&[head, b"h"].concat(), b"i"]), (1, 0));
    let chunked = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(go(&[chunked, b"0\r\n\r\n"]), (1, 1));
    let empty = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(go(&[empty]), (1, 0));
    assert_eq!(go(&[&empty[..20], &empty[20..]]), (1, 0));
    let old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(go(&[old]), (0, 0));
    let large = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n";
    assert_eq!(status_of(large, &limits), 413);
}

#[test]
fn a_moved_request_reads_the_same() {
    let first =
        b"POST http://h/x?y HTTP/1.1\r\nHost:h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\
        A:1\r\nConnection: upgrade\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    for bytes in [first.as_slice(), PIPELINE] {
        let mut input = bytes.to_vec();
        let mut at = 0;
        let (mut reader, mut lines) = (Reader::default(), Lines::default());
        while let Some(event) = {
            let step = reader.step(&mut input[at..], &mut lines, &HttpLimits::default()).unwrap();
            at += step.consumed;
            step.event
        } {
            let Event::Request(request) = event else { continue };
            let without_framing = |mut seen: Seen| {
                let framing = ["content-length", "transfer-encoding", "expect"];
                seen.headers.retain(|(name, _)| !framing.contains(&name.to_lowercase().as_str()));
                seen
            };
            let again = read_all(&serialize(&request)).unwrap();
            assert_eq!(again.len(), 1);
            assert_eq!(without_framing(again[0].clone()), without_framing(Seen::new(&request)));
            // Once moved, moving again changes nothing.
            let mut moved = serialize(&request);
            let copy = moved.clone();
            let (mut other, mut other_lines) = (Reader::default(), Lines::default());
            let step = other.step(&mut moved, &mut other_lines, &HttpLimits::default()).unwrap();
            let Some(Event::Request(request)) = step.event else { panic!("no request") };
            assert_eq!(serialize(&request), copy);
        }
    }
}

/// Requests that two servers could read differently, or that break the grammar, and how each is refused.
#[test]
fn smuggling_and_malformed_requests_are_refused() {
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
    let get = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let chunks = |body: &str| format!("{}{body}", post("Transfer-Encoding: chunked"));
    let cases: Vec<(u16, String)> = vec![
        // Content-Length
        (400, post("Content-Length: 1\r\nTransfer-Encoding: chunked")),
        (400, post("Transfer-Encoding: chunked\r\nContent-Length: 0")),
        (400, post("Content-Length: 1\r\nContent-Length: 2")),
        (400, post("Content-Length: 0\r\nContent-Length: 0")),
        (400, post("Content-Length: 1, 1")),
        (400, post("Content-Length: 1,2")),
        (400, post("Content-Length: +1")),
        (400, post("Content-Length: -1")),
        (400, post("Content-Length: 0x1")),
        (400, post("Content-Length: 1 1")),
        (400, post("Content-Length: 1.0")),
        (400, post("Content-Length:")),
        (400, post("Content-Length: 18446744073709551616")),
        (400, post("Content-Length: 99999999999999999999999999")),
        (413, post("Content-Length: 18446744073709551615")),
        (400, post("Content-Length: \u{661}")),
        // Transfer-Encoding
        (400, post("Transfer-Encoding: gzip")),
        (400, post("Transfer-Encoding: identity")),
        (400, post("Transfer-Encoding: chunked, gzip")),
        (501, post("Transfer-Encoding: gzip, chunked")),
        (501, post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked")),
        (400, post("Transfer-Encoding: chunked, chunked")),
        (400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        (400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
        (400, post("Transfer-Encoding: chunked,")),
        (400, post("Transfer-Encoding: ,chunked")),
        (400, post("Transfer-Encoding:")),
        (400, post("Transfer-Encoding: \"chunked\"")),
        (400, post("Transfer-Encoding: chunked;q=1")),
        (400, post("Transfer-Encoding: xchunked")),
        (400, post("Transfer-Encoding: chunked\u{b}")),
        (400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        // Chunks
        (400, chunks("x\r\n")),
        (400, chunks("\r\n")),
        (400, chunks("+1\r\na\r\n0\r\n\r\n")),
        (400, chunks(" 1\r\na\r\n0\r\n\r\n")),
        (400, chunks("1 \r\na\r\n0\r\n\r\n")),
        (400, chunks("0x1\r\na\r\n0\r\n\r\n")),
        (400, chunks("1\na\n0\n\n")),
        (400, chunks("1\ra\r\n")),
        (400, chunks("1\r\nab\r\n0\r\n\r\n")),
        (400, chunks("1\r\na\n0\r\n\r\n")),
        (400, chunks("1;a\nb\r\na\r\n")),
        (400, chunks("1;a\0\r\n")),
        (400, chunks("0\r\n\n")),
        (400, chunks("0\r\nA: b\n\r\n")),
        (400, chunks("0\r\n A: b\r\n\r\n")),
        (400, chunks("0\r\nA: \0\r\n\r\n")),
        (413, chunks("ffffffffffffffffffffffff\r\n")),
        // Lines and fields
        (400, "GET / HTTP/1.1\nHost: h\n\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: h\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: h\r\n\n".to_owned()),
        (400, post("A: b\rC: d")),
        (400, post("A: b\r\r")),
        (400, "GET / HTTP/1.1\rHost: h\r\n\r\n".to_owned()),
        (400, post("A: b\r\n c")),
        (400, post("A: b\r\n\tc")),
        (400, post("A:\r\n b")),
        (400, "GET / HTTP/1.1\r\n Host: h\r\n\r\n".to_owned()),
        (400, post("A : b")),
        (400, post("A\t: b")),
        (400, post(": b")),
        (400, post("A")),
        (400, post("A(: b")),
        (400, post("A\u{e9}: b")),
        (400, post("A: \0")),
        (400, post("A: \u{1}")),
        (400, post("A: \u{7f}")),
        // Request line
        (400, get("G(T / HTTP/1.1")),
        (400, get("GET  / HTTP/1.1")),
        (400, get("GET / HTTP/1.1 ")),
        (400, get("GET /\tb HTTP/1.1")),
        (400, get("GET /a b HTTP/1.1")),
        (400, get("GET /a\0 HTTP/1.1")),
        (400, get("GET /a#b HTTP/1.1")),
        (400, get("GET a HTTP/1.1")),
        (400, get("GET * HTTP/1.1")),
        (400, get("CONNECT h:80 HTTP/1.1")),
        (400, get("GET http:///a HTTP/1.1")),
        (400, get("GET http://u@h/a HTTP/1.1")),
        (400, get("GET http://h?a HTTP/1.1")),
        (400, get("GET ftp://h/a HTTP/1.1")),
        (400, get("GET /")),
        (400, get("GET / HTTP/11")),
        (400, get("GET / http/1.1")),
        (400, get(" GET / HTTP/1.1")),
        (505, get("GET / HTTP/2.0")),
        (505, get("GET / HTTP/1.2")),
        (505, get("GET / HTTP/0.9")),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (400, "\u{16}\u{3}\u{1}\u{2}\0".to_owned()),
        (400, "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        (400, "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        // Host
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, post("Host: h")),
        (400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned()),
    ];
    let limits = HttpLimits::default();
    for (status, text) in &cases {
        assert_eq!(status_of(text.as_bytes(), &limits), *status, "{text:?}");
        let bytewise = feed(&mut Reader::default(), text.as_bytes().chunks(1), &limits);
        assert_eq!(bytewise.map_err(|error| error.status), Err(*status), "bytewise {text:?}");
    }
    let invalid_utf8 = b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(status_of(invalid_utf8, &limits), 400);
}

#[test]
fn what_is_odd_but_right_is_read() {
    for text in [
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \t007 \r\n\r\n1234567",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
        "PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: \u{e9}\tx\r\n\r\n",
    ] {
        assert_eq!(read_all(text.as_bytes()).map(|seen| seen.len()), Ok(1), "{text:?}");
    }
}

#[test]
fn limits_are_reached_exactly() {
    let limits = HttpLimits { head_bytes: 200, target_bytes: 20, headers: 3, body_bytes: 10 };
    let both = |text: &str| {
        let whole = status_of(text.as_bytes(), &limits);
        let bytewise = feed(&mut Reader::default(), text.as_bytes().chunks(1), &limits);
        assert_eq!(bytewise.map_or_else(|error| error.status, |_| 200), whole);
        whole
    };
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len - 1));
    assert_eq!((both(&target(20)), both(&target(21))), (200, 414));
    assert_eq!(both(&target(400)), 414);
    let head = |len: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: h\r\nA:\r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: h\r\nA:{}\r\n\r\n", "a".repeat(len - rest))
    };
    assert_eq!((both(&head(200)), both(&head(201))), (200, 431));
    assert_eq!(both(&head(200)[..199]), 200);
    assert_eq!(both(&head(5000)), 431);
    let count = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    assert_eq!((both(&count(3)), both(&count(4))), (200, 431));
    let body = |len: usize| {
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{}", "a".repeat(len))
    };
    assert_eq!((both(&body(10)), both(&body(11))), (200, 413));
    let chunk = |len: usize| {
        let data = "a".repeat(len);
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n{data}\r\n0\r\n\r\n"
        )
    };
    assert_eq!((both(&chunk(10)), both(&chunk(11))), (200, 413));
    let blank = |count: usize| format!("{}GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n".repeat(count));
    assert_eq!((both(&blank(HTTP_BLANK_LINES)), both(&blank(HTTP_BLANK_LINES + 1))), (200, 400));

    // More headers than the fixed array has room for is refused, whatever the configuration says.
    let many = HttpLimits { headers: usize::MAX, head_bytes: usize::MAX, ..HttpLimits::default() };
    assert_eq!(status_of(count(HTTP_HEADERS).as_bytes(), &many), 200);
    assert_eq!(status_of(count(HTTP_HEADERS + 1).as_bytes(), &many), 431);
    let head_65536 = head(65_536);
    assert_eq!(status_of(head_65536.as_bytes(), &many), 431);
    assert_eq!(status_of(head(65_535).as_bytes(), &many), 200);
}

fn request_text() -> impl Strategy<Value = Vec<u8>> {
    let headers = proptest::collection::vec(("X-[a-z]{1,8}", "[ -~]{0,20}"), 0..5);
    let chunks = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..30), 0..5);
    ("(GET|POST|PUT|FOO)", "/[a-z/?&=%.]{0,20}", headers, proptest::option::of(chunks), any::<bool>())
        .prop_map(|(method, target, headers, body, is_chunked)| {
            let mut out = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n").into_bytes();
            for (name, value) in headers {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            match body {
                Some(chunks) if is_chunked => {
                    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in &chunks {
                        super::super::chunked::chunk(&mut out, chunk);
                    }
                    out.extend_from_slice(b"0\r\n\r\n");
                }
                Some(chunks) => {
                    let body = chunks.concat();
                    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                    out.extend_from_slice(&body);
                }
                None => out.extend_from_slice(b"\r\n"),
            }
            out
        })
}

proptest! {
    #[test]
    fn any_requests_read_the_same_in_any_pieces(
        requests in proptest::collection::vec(request_text(), 1..4),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let bytes = requests.concat();
        let whole = read_all(&bytes).unwrap();
        prop_assert_eq!(whole.len(), requests.len());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        let (seen, _) = feed(&mut Reader::default(), pieces, &HttpLimits::default()).unwrap();
        prop_assert_eq!(seen, whole);
    }

    #[test]
    fn random_bytes_never_panic_and_give_one_verdict(
        text in "[GETPOS /:\r\n0-9a-fHT.1chunked,-]{0,200}",
        noise in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let limits = HttpLimits { body_bytes: 50, ..HttpLimits::default() };
        for bytes in [text.as_bytes(), &noise] {
            let whole = feed(&mut Reader::default(), [bytes], &limits);
            let bytewise = feed(&mut Reader::default(), bytes.chunks(1), &limits);
            prop_assert_eq!(whole.is_err(), bytewise.is_err());
        }
    }

    #[test]
    fn a_damaged_request_gives_one_verdict(
        request in request_text(),
        at: proptest::sample::Index,
        byte: u8,
    ) {
        let mut bytes = request;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let limits = HttpLimits::default();
        let whole = feed(&mut Reader::default(), [bytes.as_slice()], &limits);
        let bytewise = feed(&mut Reader::default(), bytes.chunks(1), &limits);
        match (whole, bytewise) {
            (Ok((whole, _)), Ok((bytewise, _))) => prop_assert_eq!(whole, bytewise),
            (whole, bytewise) => prop_assert_eq!(whole.is_err(), bytewise.is_err()),
        }
    }
}

/// Wherever a reader stops, another one goes on with what it gives back; chunked bodies stay.
#[test]
fn another_reader_begins_with_what_was_read() {
    let requests: [&[u8]; 3] = [
        b"\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    let limits = HttpLimits::default();
    for request in requests {
        let whole = read_all(request).unwrap();
        let body_at = request.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        for cut in 0..request.len() {
            let mut first = Reader::default();
            feed(&mut first, [&request[..cut]], &limits).unwrap();
            let chunked = request[..body_at].ends_with(b"chunked\r\n\r\n") && cut >= body_at;
            assert_eq!(first.can_take_unread(), !chunked, "{cut}");
            let Some(unread) = first.take_unread() else { continue };
            assert!(first.is_at_start());
            let (seen, _) = feed(&mut Reader::default(), [&unread[..], &request[cut..]], &limits).unwrap();
            assert_eq!(seen, whole, "{cut}");
        }
    }
}
