//! Streaming transports, byte for byte.

use super::harness::*;
use crate::dialect::Drain;
use crate::dialect::relay::settings::*;
use crate::dialect::session::Message;
use crate::wire::ws::deflate::Inflater;

const NCHAN: fn() -> LocationSettings = LocationSettings::nchan;
const BOUNDARY: &str = "................................";

#[test]
fn event_stream() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "one\ntwo\n");
    let stream = rig.request("GET /sub/a\nAccept: text/html, text/event-stream;q=0", "");
    assert_eq!(
        rig.text(stream),
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: keep-alive\r\n\r\n: hi\n\n\
         id: 1795257022:0\ndata: one\ndata: two\ndata: \n\n"
    );
    assert_eq!(rig.status("POST /pub/a\nX-EventSource-Event: upd", "{\"a\":1}"), 201);
    rig.publish("a", "");
    assert_eq!(
        rig.text(stream),
        "event: upd\nid: 1795257022:1\ndata: {\"a\":1}\n\nid: 1795257022:2\ndata: \n\n"
    );
    rig.ask("DELETE /pub/a", "");
    assert_eq!(rig.text(stream), ":410: 410 Gone\n\n");
    assert_eq!(rig.connections[stream].end, Some(End::Close));
}

#[test]
fn event_names_can_be_overridden() {
    let mut rig = pair(NCHAN, |l| l.eventsource_event = Some("fixed".into()));
    let stream = rig.request("GET /sub/a\nAccept: text/event-stream", "");
    rig.take(stream);
    rig.ask("POST /pub/a\nX-EventSource-Event: own", "x");
    assert_eq!(rig.text(stream), "event: fixed\nid: 1795257022:0\ndata: x\n\n");
    let mut rig = pair(NCHAN, |l| {
        let own = l.methods == LocationMethods::Subscriber;
        l.eventsource_event = own.then(|| "to-$arg_me".into());
    });
    let stream = rig.request("GET /sub/a?me=bob\nAccept: text/event-stream", "");
    rig.take(stream);
    rig.ask("POST /pub/a\nX-EventSource-Event: own", "x");
    assert_eq!(rig.text(stream), "event: to-bob\nid: 1795257022:0\ndata: x\n\n");
}

#[test]
fn pings_and_timeout_share_a_deadline() {
    let mut rig = pair(NCHAN, |l| (l.eventsource_ping_interval_ms, l.subscriber_timeout_ms) = (400, 1_000));
    let stream = rig.request("GET /sub/a\nAccept: text/event-stream", "");
    rig.take(stream);
    rig.expire(stream);
    assert_eq!(rig.text(stream), "event: ping\n\n");
    rig.wait_ms(300);
    rig.publish("a", "x");
    rig.take(stream);
    for expected in ["event: ping\n\n", "event: ping\n\n", "event: ping\n\n", ":408: 408 Request Timeout\n\n"]
    {
        rig.expire(stream);
        assert_eq!(rig.text(stream), expected);
    }
    assert_eq!(rig.connections[stream].end, Some(End::Close));
}

#[test]
fn websocket_messages() {
    let mut rig = Rig::default_locations();
    let plain = rig.request(&format!("GET /sub/a\n{SHAKE}\nSec-WebSocket-Protocol: other, more"), "");
    assert_eq!(
        rig.text(plain),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    let meta = rig.request(&format!("GET /sub/a\n{SHAKE}\nSec-WebSocket-Protocol: other, ws+meta.nchan"), "");
    assert!(rig.text(meta).contains("\r\nSec-WebSocket-Protocol: ws+meta.nchan\r\n"));
    rig.publish("a", "hello");
    rig.ask("POST /pub/a", "bare");
    rig.ask("POST /pub/a\nContent-Type: application/octet-stream", "bin");
    rig.ask("POST /pub/a\nContent-Type: application/octet-stream; x=1", "");
    assert_eq!(rig.take(plain), b"\x81\x05hello\x81\x04bare\x82\x03bin\x81\x00");
    let meta = rig.take(meta);
    let first = b"\x81\x30id: 1795257022:0\ncontent-type: text/plain\n\nhello";
    assert_eq!(&meta[..first.len()], first);
    assert!(meta[first.len()..].starts_with(b"\x81\x16id: 1795257022:1\n\nbare\x82"));
    assert!(rig.connections.iter().take(2).all(|c| c.delivered == 4));
}

#[test]
fn websocket_ends() {
    let mut rig = pair(NCHAN, |l| l.subscriber_timeout_ms = 1_000);
    let open = |rig: &mut Rig| rig.request(&format!("GET /sub/a\n{SHAKE}"), "");
    let socket = open(&mut rig);
    rig.message(socket, Message::Text("hi"));
    let end = rig.connections[socket].end;
    assert_eq!(end, Some(End::WebSocket(1008, "Publishing is not allowed here.")));
    let socket = open(&mut rig);
    rig.expire(socket);
    assert_eq!(rig.connections[socket].end, Some(End::WebSocket(1000, "408 408 Request Timeout")));
    let socket = open(&mut rig);
    rig.ask("DELETE /pub/a", "");
    assert_eq!(rig.connections[socket].end, Some(End::WebSocket(1001, "410 Gone")));
    let socket = open(&mut rig);
    rig.happens(socket, |relay, cx, session| relay.on_drain(cx, session, Drain::Stop));
    assert_eq!(rig.connections[socket].end, Some(End::WebSocket(1001, "The server is going away.")));
    let socket = open(&mut rig);
    rig.happens(socket, |relay, cx, session| relay.on_drain(cx, session, Drain::Upgrade));
    assert_eq!(rig.connections[socket].end, Some(End::WebSocket(1012, "The server is restarted.")));
    assert_eq!(rig.info("", "a").unwrap().subscribers, 0);
}

#[test]
fn bad_handshakes_are_refused_with_a_reason() {
    let mut rig = Rig::default_locations();
    let shake = SHAKE.replace("Version: 13", "Version: 8");
    let answer = rig.ask(&format!("GET /sub/a\n{shake}"), "");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Version: 13\r\n") && answer.ends_with("has to be 13.\n"));
    let mut rig = pair(NCHAN, |l| l.subscribers = Transports::NONE.with(Transport::LongPoll));
    assert_eq!(rig.status(&format!("GET /sub/a\n{SHAKE}"), ""), 403);
}

#[test]
fn compressed_messages_inflate_with_and_without_header() {
    let mut rig = pair(NCHAN, |l| l.deflate = true);
    let body = "all work and no play ".repeat(20);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let plain = rig.request(&format!("GET /sub/a\n{SHAKE}\n{offer}"), "");
    assert!(rig.text(plain).contains("\r\nSec-WebSocket-Extensions: permessage-deflate; "));
    assert!(rig.connections[plain].upgrade.as_ref().unwrap().deflate.is_some());
    let meta =
        rig.request(&format!("GET /sub/a\n{SHAKE}\n{offer}\nSec-WebSocket-Protocol: ws+meta.nchan"), "");
    let without = rig.request(&format!("GET /sub/a\n{SHAKE}"), "");
    rig.take(meta);
    rig.take(without);
    rig.publish("a", &body);
    let mut inflater = Inflater::new(false);
    let expected = [body.clone(), format!("id: {SECOND}:0\ncontent-type: text/plain\n\n{body}")];
    for (number, expected) in [plain, meta].into_iter().zip(expected) {
        let frame = rig.take(number);
        assert_eq!(frame[0], 0xc1, "text with RSV1");
        let header = if frame[1] < 126 { 2 } else { 4 };
        assert!(frame.len() < 150);
        let inflated = inflater.inflate(&frame[header..], &Default::default()).unwrap();
        assert_eq!(std::str::from_utf8(inflated).unwrap(), expected);
    }
    assert_eq!(rig.take(without)[0], 0x81);
    rig.publish("a", "short");
    assert_eq!(rig.take(plain), b"\x81\x05short", "not worth it");
}

#[test]
fn multipart_stream() {
    let mut rig = Rig::default_locations();
    let stream = rig.request("GET /sub/a\nAccept: multipart/mixed", "");
    assert_eq!(
        rig.text(stream),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary={BOUNDARY}\r\nConnection: close\r\n\r\n\
             --{BOUNDARY}"
        )
    );
    rig.publish("a", "x");
    assert_eq!(
        rig.text(stream),
        format!("\r\nLast-Modified: {DATE}\r\nEtag: 0\r\nContent-Type: text/plain\r\n\r\nx\r\n--{BOUNDARY}")
    );
    rig.ask("DELETE /pub/a", "");
    assert_eq!(rig.text(stream), "--\r\n");
}

#[test]
fn chunked_stream() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "0123456789abcdefX");
    let stream = rig.request("GET /sub/a\nTE: trailers, chunked;q=0.5", "");
    assert_eq!(
        rig.text(stream),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdefX\r\n"
    );
    rig.publish("a", "");
    rig.publish("a", "y");
    assert_eq!(rig.text(stream), "1\r\ny\r\n", "an empty message has no chunk");
    rig.ask("DELETE /pub/a", "");
    assert_eq!(rig.text(stream), "0\r\n\r\n");
    let poll = rig.request("GET /sub/a\nTE: chunked;q=0", "");
    assert_eq!(rig.text(poll), "", "a long poll");
}

#[test]
fn raw_stream() {
    let mut rig = pair(NCHAN, |l| {
        l.subscribers = Transports::NONE.with(Transport::Raw);
        l.raw_separator = "|".into();
    });
    let stream = rig.request("GET /sub/a", "");
    assert_eq!(rig.text(stream), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    rig.publish("a", "x");
    rig.publish("a", "");
    assert_eq!(rig.text(stream), "x||");
}

#[test]
fn a_stream_can_wait_for_a_position_to_come() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "zero");
    let shake = format!("GET /sub/a\n{SHAKE}\nLast-Event-ID: {SECOND}:2");
    let socket = rig.request(&shake, "");
    assert!(rig.text(socket).starts_with("HTTP/1.1 101 "));
    for body in ["one", "two", "three", "four"] {
        rig.publish("a", body);
    }
    assert_eq!(rig.take(socket), b"\x81\x05three\x81\x04four");
    assert_eq!(rig.info("", "a").unwrap().subscribers, 1, "it subscribed twice and left once");
}

#[test]
fn an_old_position_of_a_forgotten_channel_shares_frames() {
    let mut rig = Rig::default_locations();
    let socket = rig.request(&format!("GET /sub/a\n{SHAKE}\nLast-Event-ID: {}:2", SECOND - 100), "");
    rig.take(socket);
    rig.publish("a", "x");
    assert_eq!(rig.take(socket), b"\x81\x01x");
    assert!(rig.shares_frames(socket), "after a restart of the node everybody comes like this");
}

#[test]
fn leaving_is_counted() {
    let mut rig = Rig::default_locations();
    let socket = rig.request(&format!("GET /sub/a\n{SHAKE}"), "");
    let poll = rig.request("GET /sub/a", "");
    assert_eq!(rig.info("", "a").unwrap().subscribers, 2);
    rig.hang_up(socket);
    rig.hang_up(poll);
    assert_eq!(rig.info("", "a").unwrap().subscribers, 0);
    assert_eq!(rig.publish("a", "x"), 202);
}
