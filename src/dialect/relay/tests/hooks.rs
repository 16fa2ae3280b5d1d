//! Calls to the application, request by request, and channel events.

use super::harness::*;
use crate::channel::hook::{HookCall, HookFailure, HookMethod};
use crate::dialect::relay::settings::*;
use crate::dialect::session::Message;

const NCHAN: fn() -> LocationSettings = LocationSettings::nchan;

/// A call as text: method, URL, header lines and body.
fn spelled(call: &HookCall) -> String {
    let mut out = format!("{:?} {}\n", call.method, call.url);
    for (name, value) in &call.headers {
        out += &format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    }
    out + "\n" + &String::from_utf8_lossy(&call.body)
}

#[test]
fn passthrough_as_django_expects_it() {
    let mut rig = pair(LocationSettings::relay, |l| {
        l.create_on_get = true;
        let listens = l.methods == LocationMethods::Subscriber;
        l.passthrough = listens.then(|| "http://app/passthrough".into());
    });
    let poll = rig.request("GET /sub/p%201\nCookie: sessionid=abc; csrftoken=x\nUser-Agent: UA/1", "");
    assert_eq!(rig.calls.len(), 1);
    assert_eq!(
        spelled(&rig.calls[0].2),
        "Post http://app/passthrough\nContent-Type: application/x-www-form-urlencoded\nHost: node:8080\n\
         Cookie: sessionid=abc; csrftoken=x\nUser-Agent: UA/1\n\nchannel_id=p+1&subscribe=1"
    );
    assert!(!rig.calls[0].2.answer && rig.calls[0].1.is_none());
    rig.publish("p%201", "x");
    assert_eq!(rig.connections[poll].end, Some(End::Done));
    assert_eq!(rig.calls[1].2.body, "channel_id=p+1&unsubscribe=1");
    assert_eq!(rig.calls[0].2.order, rig.calls[1].2.order);
    assert!(rig.calls[0].2.order.is_some());
    // Answered from the store: the second half alone.
    rig.request_on(poll, 0, "GET /sub/p%201", "");
    assert_eq!(rig.calls.len(), 3);
    assert_eq!(rig.calls[2].2.body, "channel_id=p+1&unsubscribe=1");
    assert_eq!(rig.calls[2].2.order, rig.calls[0].2.order, "one connection, one order");
    // A client that goes.
    let poll = rig.request("GET /sub/%C5%BE", "");
    assert_ne!(rig.calls[3].2.order, rig.calls[0].2.order);
    rig.hang_up(poll);
    assert_eq!(rig.calls[4].2.body, "channel_id=%C5%BE&unsubscribe=1");
    // Not for OPTIONS.
    rig.ask("OPTIONS /sub/q", "");
    assert_eq!(rig.calls.len(), 5);
}

fn authorized() -> Rig {
    pair(NCHAN, |l| {
        l.authorize = Some("http://app/auth".into());
        l.hook_headers = vec![
            ("X-Channel-Id".into(), "$nchan_channel_id".into()),
            ("X-Subscriber-Type".into(), "$nchan_subscriber_type".into()),
            ("X-Publisher-Type".into(), "$nchan_publisher_type".into()),
            ("X-Original-URI".into(), "$request_uri".into()),
            ("X-Prev-Message-Id".into(), "$nchan_prev_message_id".into()),
        ];
    })
}

#[test]
fn authorization_asks_with_the_clients_request() {
    let mut rig = authorized();
    let poll = rig.request("GET /sub/a?k=1\nCookie: c=d\nLast-Event-ID: 5:1\nX-Channel-Id: forged", "");
    assert_eq!(
        spelled(&rig.calls[0].2),
        "Get http://app/auth?k=1\nCookie: c=d\nLast-Event-ID: 5:1\nX-Channel-Id: a\nX-Subscriber-Type: longpoll\n\
         X-Publisher-Type: \nX-Original-URI: /sub/a?k=1\nX-Prev-Message-Id: 5:1\n\n"
    );
    assert!(rig.calls[0].2.answer);
    assert_eq!(rig.info("", "a"), None, "nothing before it is allowed");
    rig.hook(0, said(204, &[], ""));
    assert_eq!(rig.info("", "a").unwrap().subscribers, 1);
    assert_eq!(rig.connections[poll].end, None);

    let publisher = rig.request("POST /pub/a\nContent-Type: text/plain", "hi");
    assert_eq!(rig.calls[1].2.method, HookMethod::Get);
    assert!(rig.calls[1].2.body.is_empty());
    rig.hook(1, said(200, &[], "fine"));
    assert!(rig.text(publisher).starts_with("HTTP/1.1 201 Created\r\n"));
    assert!(rig.text(poll).ends_with("\r\n\r\nhi"));
}

#[test]
fn refusals_are_relayed_to_subscribers_only() {
    let no = || said(401, &[("www-authenticate", "Basic"), ("content-type", "text/x")], "no");
    let mut rig = authorized();
    let poll = rig.request("GET /sub/a\nOrigin: o", "");
    rig.hook(0, no());
    assert_eq!(
        rig.text(poll),
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-type: text/x\r\nContent-Length: 2\r\n\
         Access-Control-Allow-Origin: o\r\nAccess-Control-Allow-Credentials: true\r\n\r\nno"
    );
    let socket = rig.request(&format!("GET /sub/a\n{SHAKE}"), "");
    rig.hook(1, no());
    assert!(rig.text(socket).starts_with("HTTP/1.1 401 "));
    let publisher = rig.request("POST /pub/a", "x");
    rig.hook(2, no());
    assert_eq!(rig.text(publisher), "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    for head in ["GET /sub/a", "POST /pub/a"] {
        let number = rig.request(head, "");
        let at = rig.calls.len() - 1;
        rig.hook(at, Err(HookFailure::Unreachable));
        let text = rig.text(number);
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && text.contains("cannot be reached"));
    }
    assert_eq!(rig.info("", "a"), None);
}

#[test]
fn sockets_and_streams_are_authorized_once() {
    let mut rig = authorized();
    let socket = rig.request(&format!("GET /sub/a\n{SHAKE}"), "");
    assert!(rig.text(socket).is_empty());
    rig.hook(0, said(200, &[], ""));
    assert!(rig.text(socket).starts_with("HTTP/1.1 101 "));
    let publisher = rig.request(&format!("GET /pub/a\n{SHAKE}"), "");
    rig.hook(1, said(200, &[], ""));
    assert!(rig.text(publisher).starts_with("HTTP/1.1 101 "));
    rig.message(publisher, Message::Text("x"));
    assert_eq!(rig.take(socket), b"\x81\x01x");
    assert_eq!(rig.calls.len(), 2);
}

#[test]
fn coming_and_going_of_streams_is_told() {
    let mut rig = pair(NCHAN, |l| {
        if l.methods == LocationMethods::Subscriber {
            l.subscribe_hook = Some("http://app/in".into());
            l.unsubscribe_hook = Some("http://app/out?x=1".into());
        }
    });
    let poll = rig.request("GET /sub/a?k=v", "");
    rig.publish("a", "x");
    assert_eq!((rig.connections[poll].end, rig.calls.len()), (Some(End::Done), 0), "not for polls");
    for (accept, end) in [("text/event-stream", true), ("multipart/mixed", false)] {
        rig.calls.clear();
        let stream = rig.request(&format!("GET /sub/a?k=v\nAccept: {accept}"), "");
        assert_eq!(&*rig.calls[0].2.url, "http://app/in?k=v");
        if end {
            rig.hang_up(stream);
        } else {
            rig.ask("DELETE /pub/a", "");
        }
        assert_eq!(&*rig.calls[1].2.url, "http://app/out?x=1&k=v");
        assert_eq!(rig.calls.len(), 2, "once");
        assert_eq!(rig.calls[0].2.order, rig.calls[1].2.order);
    }
}

fn upstream() -> Rig {
    pair(NCHAN, |l| {
        let publishes = l.methods == LocationMethods::Publisher;
        l.upstream = publishes.then(|| "http://app/up".into());
    })
}

#[test]
fn the_application_may_change_or_drop_a_message() {
    for (answer, status, stored) in [
        (said(304, &[], ""), 202, Some(("text/plain", "in"))),
        (said(200, &[("content-type", "text/x")], "out"), 202, Some(("text/x", "out"))),
        (said(202, &[], ""), 202, Some(("", ""))),
        (said(204, &[], ""), 204, None),
        (said(404, &[], "no"), 403, None),
        (said(500, &[], "no"), 403, None),
        (Err(HookFailure::Timeout), 500, None),
    ] {
        let mut rig = upstream();
        let publisher = rig.request("POST /pub/a?q\nContent-Type: text/plain\nCookie: c", "in");
        assert_eq!(
            spelled(&rig.calls[0].2),
            "Post http://app/up?q\nCookie: c\nContent-Length: 2\nContent-Type: text/plain\n\nin"
        );
        rig.hook(0, answer);
        assert!(rig.text(publisher).starts_with(&format!("HTTP/1.1 {status} ")));
        let poll = rig.request("GET /sub/a", "");
        let text = rig.text(poll);
        match stored {
            Some((content_type, body)) => {
                assert!(text.ends_with(&format!("\r\n\r\n{body}")));
                assert_eq!(text.contains("Content-Type"), !content_type.is_empty());
                assert!(text.contains(content_type));
            }
            None => assert!(text.is_empty()),
        }
    }
}

#[test]
fn messages_of_sockets_are_shown_to_the_application_too() {
    let mut rig = upstream();
    let socket = rig.request(&format!("GET /pub/a\n{SHAKE}"), "");
    rig.take(socket);
    rig.message(socket, Message::Text("one"));
    rig.message(socket, Message::Binary(b"two"));
    assert_eq!(rig.calls[1].2.body, "two");
    assert!(spelled(&rig.calls[1].2).contains("Content-Type: application/octet-stream\n"));
    assert_eq!(rig.calls[0].2.order, rig.calls[1].2.order);
    rig.hook(0, said(204, &[], ""));
    assert_eq!(rig.info("", "a"), None);
    rig.hook(1, said(304, &[], ""));
    assert_eq!(rig.info("", "a").unwrap().messages, 1);
    rig.message(socket, Message::Text("three"));
    rig.hook(2, said(403, &[], ""));
    assert!(matches!(rig.connections[socket].end, Some(End::WebSocket(1008, _))));
}

#[test]
fn events_are_published_to_group_meta() {
    let mut rig = pair(NCHAN, |l| l.channel_events = Some("events".into()));
    let stream = rig.request("GET /sub/a\nAccept: text/event-stream", "");
    rig.publish("a", "x");
    rig.ask("GET /sub/a", "");
    rig.hang_up(stream);
    rig.ask("DELETE /pub/a", "");
    rig.ask("DELETE /pub/a", "");
    let mut meta = Rig::new(vec![at("/meta/", LocationMethods::Subscriber, NCHAN(), |l| {
        l.group = Some("meta".into());
    })]);
    std::mem::swap(&mut meta.home, &mut rig.home);
    let events = meta.request("GET /meta/events\nAccept: text/event-stream", "");
    let text = meta.text(events);
    let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(
        told,
        [
            "subscriber_enqueue a",
            "channel_publish a",
            "subscriber_enqueue a",
            "subscriber_dequeue a",
            "subscriber_dequeue a",
            "channel_delete a"
        ]
    );
}
