//! Requests in a row on one connection, right and wrong ones, cut in all ways, and every end of it.

use crate::rng::Rng;
use crate::stage::Stage;
use crate::target::{LIMIT_BYTES, letters};

/// What ends a connection, whatever comes after it.
const BROKEN: [&str; 19] = [
    "\r\n\r\nGET\r\n\r\n",
    "GE T /pub/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /pub/x HTTP/9.1\r\nHost: a\r\n\r\n",
    "GET /pub/x HTTP/1.1\r\nHost a\r\n\r\n",
    "GET /pub/x HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
    "GET /pub/x HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    "GET /pub/x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "GET /pub/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /pub/x HTTP/1.1\r\n\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 131073\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What is not whole: it ends with the client's side.
const UNFINISHED: [&str; 6] = [
    "G",
    "GET /pub/x HT",
    "GET /pub/x HTTP/1.1\r\nHost: a\r\n",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
    "POST /pub/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "GET /sub/nothing-is-ever-here HTTP/1.1\r\nHost: a\r\n\r\n",
];

fn broken(rng: &mut Rng) -> Vec<u8> {
    match rng.below(BROKEN.len() + 2) {
        0 => format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9 << 10)).into_bytes(),
        1 => format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(17 << 10)).into_bytes(),
        at => BROKEN[at - 2].as_bytes().to_vec(),
    }
}

fn chunked(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(1 + rng.below(rest.len()));
        let extension = if rng.chance(20) { ";x=y" } else { "" };
        out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = more;
    }
    out.extend_from_slice(if rng.chance(20) { b"0\r\nX-Trailer: 1\r\n\r\n" } else { b"0\r\n\r\n" });
    out
}

fn body(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(12) {
        0 => 0,
        1 => rng.below(40 << 10),
        2 => LIMIT_BYTES,
        _ => rng.below(200),
    };
    letters(rng, len)
}

/// A request with `headers`, which end in CRLF.
fn request(rng: &mut Rng, channel: &str, stored: &mut bool, headers: &str) -> Vec<u8> {
    let accept = rng.pick(&["", "Accept: text/json\r\n", "Accept: text/xml\r\n", "Accept: text/plain\r\n"]);
    let headers = format!("Host: a\r\n{accept}{headers}");
    let plain = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").into_bytes();
    match rng.below(14) {
        0..=2 => {
            let body = body(rng);
            *stored = true;
            let expect = if rng.chance(20) { "Expect: 100-continue\r\n" } else { "" };
            let length = body.len();
            let head =
                format!("POST /pub/{channel} HTTP/1.1\r\n{headers}{expect}Content-Length: {length}\r\n\r\n");
            [head.as_bytes(), &body].concat()
        }
        3 => {
            let body = body(rng);
            *stored = true;
            let head = format!("PUT /pub/{channel} HTTP/1.1\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
            [head.as_bytes(), &chunked(rng, &body)].concat()
        }
        4 => plain("GET", &format!("/pub/{channel}")),
        5 => {
            *stored = false;
            plain("DELETE", &format!("/pub/{channel}"))
        }
        6 => plain("HEAD", "/health/live"),
        7 => plain("GET", "/health/ready"),
        8 => plain("OPTIONS", &format!("/sub/{channel}")),
        9 => plain("PATCH", &format!("/pub/{channel}")),
        10 => plain("GET", "/there/is/nothing?here=1"),
        11 => plain("GET", &format!("/echo?shard={}", rng.below(3))),
        12 => plain("POST", "/apps/1/events"),
        _ if *stored => plain("GET", &format!("/sub/{channel}")),
        _ => plain("GET", "/health/live"),
    }
}

pub fn play(stage: &mut Stage<'_>) {
    if stage.rng.chance(12) {
        return silent(stage);
    }
    let channel = stage.channel("requests");
    let mut peer = stage.connect("client");
    let count = 1 + stage.rng.below(10);
    let wrong = stage.rng.chance(45).then(|| stage.rng.below(count));
    let closes = stage.rng.chance(40);
    let (mut bytes, mut stored) = (Vec::new(), false);
    for at in 0..count {
        if wrong == Some(at) {
            peer.heads.push(false);
            bytes.extend(broken(&mut stage.rng));
            continue;
        }
        let header = if closes && at == count - 1 { "Connection: close\r\n" } else { "" };
        let request = request(&mut stage.rng, &channel, &mut stored, header);
        peer.heads.push(request.starts_with(b"HEAD "));
        bytes.extend(request);
    }
    let unfinished = stage.rng.chance(25);
    if unfinished {
        bytes.extend_from_slice(stage.rng.pick(&UNFINISHED).as_bytes());
    }
    peer.send_cut(&bytes, &mut stage.rng);
    let ends_by_itself = wrong.is_some() || closes;
    if stage.rng.chance(50) || (unfinished && !ends_by_itself) {
        peer.half_close();
        peer.until_end();
    } else if ends_by_itself {
        peer.until_end();
    } else {
        peer.answers();
        peer.leave_somehow(&mut stage.rng);
    }
    stage.done(peer);
}

/// Clients that say nothing of use, or leave before they are answered.
fn silent(stage: &mut Stage<'_>) {
    let mut peer = stage.connect("silent");
    let bytes = *stage.rng.pick(&UNFINISHED);
    if stage.rng.chance(70) && !peer.label.contains("TLS") {
        peer.send_cut(bytes.as_bytes(), &mut stage.rng);
    }
    peer.leave_somehow(&mut stage.rng);
    stage.done(peer);
}
