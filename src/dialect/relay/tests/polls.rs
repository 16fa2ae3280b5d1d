//! Long and interval polling, byte for byte.

use super::harness::*;
use crate::dialect::Drain;
use crate::dialect::relay::settings::*;

const NCHAN: fn() -> LocationSettings = LocationSettings::nchan;
const RELAY: fn() -> LocationSettings = LocationSettings::relay;

#[test]
fn an_answer_of_nchan() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "m0");
    rig.publish("a", "m1");
    let head = format!("GET /sub/a\nIf-Modified-Since: {DATE}\nIf-None-Match: 0");
    assert_eq!(
        rig.ask(&head, ""),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nLast-Modified: {DATE}\r\nEtag: 1\r\n\
             Vary: If-None-Match, If-Modified-Since\r\n\r\nm1"
        )
    );
}

#[test]
fn an_answer_of_the_older_family() {
    let mut rig = pair(RELAY, |l| {
        l.allow_origin = AllowOrigin::List(vec!["http://127.0.0.1:8000".into()]);
        l.allow_credentials = true;
    });
    rig.ask(
        "POST /pub/a\nContent-Type: application/json; charset=utf-8",
        "{\"type\":\"answer\",\"value\":42}",
    );
    let first =
        "GET /sub/a?_=1795258195577\nIf-None-Match: 0\nIf-Modified-Since: Thu, 1 Jan 1970 00:00:00 GMT";
    assert_eq!(
        rig.ask(first, ""),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 28\r\n\
             Last-Modified: {DATE}\r\nEtag: 0\r\nCache-Control: etag=0\r\n\
             Vary: If-None-Match, If-Modified-Since\r\n\
             Access-Control-Allow-Origin: http://127.0.0.1:8000\r\nAccess-Control-Allow-Credentials: true\r\n\
             Access-Control-Allow-Headers: If-Modified-Since, If-None-Match, X-Cookie\r\n\
             Access-Control-Expose-Headers: Last-Modified, Etag, Cache-Control\r\n\
             Access-Control-Max-Age: 864000\r\n\r\n{{\"type\":\"answer\",\"value\":42}}"
        )
    );
}

#[test]
fn a_held_poll_and_an_immediate_one_look_the_same() {
    let mut rig = Rig::default_locations();
    let held = rig.request("GET /sub/a\nOrigin: http://x", "");
    assert_eq!((rig.text(held).as_str(), rig.connections[held].end), ("", None));
    assert_eq!(rig.publish("a", "hi"), 201);
    let late = rig.text(held);
    assert_eq!(late, rig.ask("GET /sub/a\nOrigin: http://x", ""));
    assert!(late.contains("\r\nAccess-Control-Allow-Origin: http://x\r\n"), "{late}");
    assert!(
        late.contains("\r\nAccess-Control-Expose-Headers: Last-Modified, Etag, Content-Type\r\n"),
        "{late}"
    );
    assert_eq!((rig.connections[held].end, rig.connections[held].delivered), (Some(End::Done), 1));
    assert_eq!(rig.info("", "a").unwrap().subscribers, 0);
}

#[test]
fn http_1_0_and_closing_clients_are_told() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "hi");
    assert!(rig.ask("GET /sub/a\nConnection: close", "").contains("\r\nConnection: close\r\n"));
    assert!(rig.ask("GET /sub/a HTTP/1.0", "").contains("\r\nConnection: close\r\n"));
    let old = rig.request("GET /sub/a HTTP/1.0\nConnection: keep-alive", "");
    assert!(rig.text(old).contains("\r\nConnection: keep-alive\r\n"));
    assert_eq!(rig.connections[old].end, Some(End::Done));
}

#[test]
fn interval_polls_never_wait() {
    let mut rig = pair(NCHAN, |l| l.polling = Polling::Interval);
    assert_eq!(
        rig.ask("GET /sub/a", ""),
        "HTTP/1.1 304 Not Modified\r\nVary: If-None-Match, If-Modified-Since\r\n\r\n"
    );
    assert_eq!(rig.info("", "a"), None, "no channel was made");
    rig.publish("a", "hi");
    assert!(rig.ask("GET /sub/a", "").ends_with("\r\n\r\nhi"));
    assert_eq!(
        rig.ask(&format!("GET /sub/a\nIf-Modified-Since: {DATE}\nIf-None-Match: 0\nOrigin: o"), ""),
        format!(
            "HTTP/1.1 304 Not Modified\r\nLast-Modified: {DATE}\r\nEtag: 0\r\n\
             Vary: If-None-Match, If-Modified-Since\r\nAccess-Control-Allow-Origin: o\r\n\
             Access-Control-Allow-Credentials: true\r\n\
             Access-Control-Expose-Headers: Last-Modified, Etag, Content-Type\r\n\r\n"
        )
    );
    let by_query = rig.ask(&format!("GET /sub/a?last_event_id={SECOND}%3A0"), "");
    assert!(by_query.contains(&format!("Last-Modified: {DATE}\r\nEtag: 0\r\n")), "{by_query}");
}

#[test]
fn polls_end_by_themselves_and_by_others() {
    for (base, timeout, drain) in [
        (NCHAN, "408 Request Timeout", "503 Service Unavailable"),
        (RELAY, "304 Not Modified", "503 Service Unavailable"),
    ] {
        let mut rig = pair(base, |l| (l.subscriber_timeout_ms, l.create_on_get) = (5_000, true));
        let poll = rig.request("GET /sub/a", "");
        rig.expire(poll);
        let text = rig.text(poll);
        assert!(text.starts_with(&format!("HTTP/1.1 {timeout}\r\nVary: ")), "{text}");
        assert!(text.ends_with("\r\n\r\n"));
        let poll = rig.request("GET /sub/a", "");
        rig.happens(poll, |relay, cx, session| relay.on_drain(cx, session, Drain::Stop));
        let text = rig.text(poll);
        assert!(text.starts_with(&format!("HTTP/1.1 {drain}\r\n")) && text.contains("Retry-After: 1\r\n"));
        assert!(text.contains("Connection: close\r\n") && rig.connections[poll].end == Some(End::Close));
        let poll = rig.request("GET /sub/a", "");
        rig.happens(poll, |relay, cx, session| relay.on_next_request(cx, session));
        assert!(rig.text(poll).starts_with("HTTP/1.1 400 Bad Request\r\n"));
        assert_eq!(rig.connections[poll].end, Some(End::Done), "the next one is answered");
        let poll = rig.request("GET /sub/a", "");
        rig.ask("DELETE /pub/a", "");
        assert!(rig.text(poll).starts_with("HTTP/1.1 410 Gone\r\nVary: "));
    }
}

#[test]
fn unknown_channels() {
    let mut rig = pair(RELAY, |_| ());
    assert_eq!(rig.status("GET /sub/a", ""), 404);
    let mut rig = pair(RELAY, |l| l.polling = Polling::Interval);
    assert_eq!(rig.status("GET /sub/a", ""), 404);
    let mut rig = pair(RELAY, |l| l.existing_channels_only = true);
    assert_eq!(rig.status("GET /sub/a", ""), 403);
    let mut rig = pair(NCHAN, |l| l.existing_channels_only = true);
    assert_eq!(rig.status("GET /sub/a", ""), 403);
    assert_eq!(rig.status("GET /sub/a\nAccept: text/event-stream", ""), 403);
    assert_eq!(rig.status(&format!("GET /sub/a\n{SHAKE}"), ""), 403);
    assert_eq!(rig.publish("a", "x"), 202);
    assert_eq!(rig.status("GET /sub/a", ""), 200);
}

#[test]
fn concurrency_on_one_channel() {
    let mut rig = pair(NCHAN, |l| l.concurrency = Concurrency::First);
    let first = rig.request("GET /sub/a", "");
    assert_eq!(rig.status("GET /sub/a", ""), 409);
    assert_eq!(rig.connections[first].end, None);
    let mut rig = pair(NCHAN, |l| l.concurrency = Concurrency::Last);
    let first = rig.request("GET /sub/a", "");
    let last = rig.request("GET /sub/a", "");
    assert!(rig.text(first).starts_with("HTTP/1.1 409 Conflict\r\n"));
    assert_eq!(rig.publish("a", "x"), 201);
    assert_eq!(rig.connections[last].end, Some(End::Done));
    let mut rig = pair(NCHAN, |l| l.max_subscribers = 1);
    rig.request("GET /sub/a", "");
    assert_eq!(rig.status("GET /sub/a", ""), 403);
}

#[test]
fn several_messages_in_one_answer() {
    let mut rig = pair(NCHAN, |l| l.longpoll_multipart = LongPollMultipart::Multipart);
    rig.publish("a", "one");
    assert!(rig.ask("GET /sub/a", "").ends_with("Vary: If-None-Match, If-Modified-Since\r\n\r\none"));
    rig.publish("a", "two");
    let b = "................................";
    assert_eq!(
        rig.ask("GET /sub/a", ""),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary={b}\r\nContent-Length: 176\r\n\
             Last-Modified: {DATE}\r\nEtag: 1\r\nVary: If-None-Match, If-Modified-Since\r\n\r\n\
             --{b}\r\nContent-Type: text/plain\r\n\r\none\r\n--{b}\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--{b}--\r\n"
        )
    );
    let mut rig = pair(NCHAN, |l| l.longpoll_multipart = LongPollMultipart::Raw);
    rig.publish("a", "one");
    rig.publish("a", "two");
    let text = rig.ask("GET /sub/a", "");
    assert!(text.contains("\r\nContent-Length: 8\r\n") && text.ends_with("\r\n\r\none\ntwo\n"), "{text}");
}

#[test]
fn ids_can_be_put_elsewhere() {
    let mut rig = pair(NCHAN, |l| l.compound_etag = true);
    rig.publish("a", "one");
    rig.publish("a", "two");
    let head = format!("GET /sub/a\nIf-None-Match: {SECOND}:0\nIf-Modified-Since: {DATE}");
    let text = rig.ask(&head, "");
    assert!(text.contains(&format!("Etag: {SECOND}:1\r\n")) && !text.contains("Last-Modified"), "{text}");
    let mut rig = pair(NCHAN, |l| l.custom_etag_header = Some("X-Id".into()));
    rig.publish("a", "one");
    let text = rig.ask("GET /sub/a\nOrigin: o", "");
    assert!(text.contains("X-Id: 0\r\n") && !text.contains("\r\nEtag:"), "{text}");
    assert!(text.contains("Expose-Headers: Last-Modified, Etag, Content-Type, X-Id\r\n"));
}

#[test]
fn a_poll_for_a_position_to_come_is_not_released_before() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "zero");
    let poll = rig.request(&format!("GET /sub/a\nIf-Modified-Since: {DATE}\nIf-None-Match: 2"), "");
    for body in ["one", "two"] {
        assert_eq!(rig.publish("a", body), 201, "it waits");
        assert_eq!(rig.connections[poll].end, None, "{body}");
    }
    rig.publish("a", "three");
    assert!(rig.text(poll).ends_with("\r\n\r\nthree"));
}

#[test]
fn a_burst_is_walked_through_without_gap_or_repetition() {
    let mut rig = Rig::default_locations();
    for n in 0..100 {
        rig.publish("a", &n.to_string());
    }
    let (mut ids, mut seen) = (String::new(), Vec::new());
    while seen.len() < 100 {
        let text = rig.ask(&format!("GET /sub/a{ids}"), "");
        let line = |name: &str| {
            let at = text.find(name).unwrap() + name.len();
            text[at..].split("\r\n").next().unwrap().to_owned()
        };
        ids = format!("\nIf-Modified-Since: {}\nIf-None-Match: {}", line("Last-Modified: "), line("Etag: "));
        seen.push(text.rsplit("\r\n\r\n").next().unwrap().parse::<u32>().unwrap());
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}
