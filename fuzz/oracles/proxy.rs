//! What a proxy says before and in requests: the PROXY protocol in pieces, and the headers that name a client. With
//! flag 0 the body is the request's head, else a PROXY header and what follows it.

use super::input::{Input, single};
use fanwire::limits::{HttpLimits, PROXY_V1_BYTES, PROXY_V2_BYTES};
use fanwire::wire::http::forwarded::{self, Kind};
use fanwire::wire::http::request::{Event, Lines, Reader as RequestReader};
use fanwire::wire::network::TrustedPeers;
use fanwire::wire::proxy::{Fault, Reader, Source, parse, write};

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    match input.flag(0) {
        true => headers(&input),
        false => protocol(&input),
    }
}

/// Where the header ends and what it says, read in these pieces.
fn in_pieces(pieces: &[&[u8]]) -> Result<Option<(usize, Source)>, Fault> {
    let (mut reader, mut before) = (Reader::default(), 0);
    for piece in pieces {
        if let Some((taken, source)) = reader.step(piece)? {
            assert!(taken <= piece.len());
            return Ok(Some((before + taken, source)));
        }
        before += piece.len();
    }
    let kept = reader.take();
    assert!(kept.len() <= PROXY_V2_BYTES, "{} bytes kept", kept.len());
    Ok(None)
}

fn protocol(input: &Input<'_>) {
    let body = input.body;
    let whole = parse(body);
    let expected = whole.map(|header| header.map(|header| (header.len, header.source)));
    assert_eq!(in_pieces(&input.cut(body)), expected, "in pieces");
    if body.len() <= PROXY_V2_BYTES {
        assert_eq!(in_pieces(&single(body)), expected, "byte by byte");
    }
    match whole {
        Ok(Some(header)) => {
            assert!(header.len <= PROXY_V2_BYTES && header.len <= body.len());
            assert!(body[0] == b'\r' || header.len <= PROXY_V1_BYTES);
            let again = write(header.source);
            let read = parse(&again).map(|header| header.map(|header| header.source));
            assert_eq!(read, Ok(Some(header.source)), "what is said again");
            // Nothing shorter is a header, nothing behind it matters.
            assert_eq!(parse(&body[..header.len - 1]), Ok(None));
            assert_eq!(parse(&body[..header.len]), whole);
        }
        Ok(None) => assert!(body.len() < PROXY_V2_BYTES),
        Err(_) => {}
    }
}

fn headers(input: &Input<'_>) {
    let mut bytes = input.body.to_vec();
    let (mut reader, mut lines) = (RequestReader::default(), Lines::default());
    let Ok(step) = reader.step(&mut bytes, &mut lines, &HttpLimits::default()) else { return };
    let Some(Event::Request(request)) = step.event else { return };
    let mut trusted = TrustedPeers::default();
    trusted.add("10.0.0.0/8").expect("a network");
    for (kind, name) in [
        (Kind::XForwardedFor, "x-forwarded-for"),
        (Kind::Forwarded, "forwarded"),
        (Kind::XRealIp, "x-real-ip"),
    ] {
        let found = forwarded::client(&request.headers, kind, |ip| trusted.contains(Some(ip)));
        let Ok(Some(client)) = found else { continue };
        assert!(request.headers.get(name).is_some(), "somebody out of nothing");
        // Whoever is named although trusted is the first of trusted ones only: were they not, the last one counts.
        let last = forwarded::client(&request.headers, kind, |_| false);
        if !trusted.contains(Some(client.ip())) {
            let all = forwarded::client(&request.headers, kind, |ip| ip != client.ip());
            assert_eq!(
                all.map(|all| all.map(|all| all.ip())),
                Ok(Some(client.ip())),
                "then it is the only one"
            );
        } else {
            assert!(matches!(last, Ok(Some(last)) if trusted.contains(Some(last.ip()))));
        }
    }
}
