//! What goes over the wire and what comes back.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use fanwire::channel::hook::{HookCall, HookFailure, HookMethod};

use crate::support::*;

#[test]
fn a_passthrough_goes_out_to_the_byte() {
    let (address, log) = back_end(|_, s| ok(s));
    let node = Node::new(|_| {});
    node.ask(
        1,
        HookCall {
            method: HookMethod::Post,
            headers: vec![
                header("Content-Type", "application/x-www-form-urlencoded"),
                header("Host", "push.example.org:8001"),
                header("Cookie", "sessionid=abc; csrftoken=x"),
                header("User-Agent", "UA/1"),
                header("Connection", "keep-alive, X-Once"),
                header("Keep-Alive", "timeout=5"),
                header("X-Once", "1"),
                header("TE", "trailers"),
                header("Transfer-Encoding", "chunked"),
                header("Upgrade", "websocket"),
                header("Content-Length", "999"),
                header("Proxy-Authorization", "Basic x"),
                header("Expect", "100-continue"),
                header("X-EventSource-Event", "name: \u{e9}"),
                header("If-None-Match", "0"),
            ],
            body: Bytes::from_static(b"channel_id=p1&subscribe=1"),
            ..waiting(address, "/passthrough?a=%20b")
        },
    );
    let (tag, outcome) = node.next();
    let answer = outcome.unwrap();
    assert_eq!((tag, answer.status, &answer.body[..]), (1, 200, &b"ok"[..]));
    assert_eq!(answer.headers, [], "content-length is of the connection");
    assert_eq!(
        log.all()[0].text(),
        "POST /passthrough?a=%20b HTTP/1.1\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\
         Host: push.example.org:8001\r\n\
         Cookie: sessionid=abc; csrftoken=x\r\n\
         User-Agent: UA/1\r\n\
         X-EventSource-Event: name: \u{e9}\r\n\
         If-None-Match: 0\r\n\
         Content-Length: 25\r\n\r\n\
         channel_id=p1&subscribe=1"
    );
    node.nothing_more();
}

#[test]
fn a_bare_get_has_nothing_but_its_host() {
    let (address, log) = back_end(|_, s| ok(s));
    let node = Node::new(|_| {});
    node.get(waiting(address, "")).unwrap();
    assert_eq!(log.all()[0].text(), format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    node.get(HookCall { method: HookMethod::Post, ..waiting(address, "?x") }).unwrap();
    assert_eq!(
        log.all()[1].text(),
        format!("POST /?x HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n")
    );
}

#[test]
fn answers_come_back_whole_and_as_they_are() {
    let (address, log) = back_end(|seen, s| {
        s.write_all(match seen.path().as_str() {
            "/redirect" => b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            "/gzip" => b"HTTP/1.1 403 No\r\nContent-Encoding: gzip\r\nX-A: 1\r\nX-A: 2\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\nnope",
            "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n",
            "/continue" => b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            _ => b"HTTP/1.0 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\n\r\nuntil the end",
        })
        .unwrap();
        seen.path() != "/close"
    });
    let node = Node::new(|_| {});
    let redirect = node.get(waiting(address, "/redirect")).unwrap();
    assert_eq!((redirect.status, redirect.headers), (302, vec![header("location", "/elsewhere")]));
    let gzip = node.get(waiting(address, "/gzip")).unwrap();
    assert_eq!((gzip.status, &gzip.body[..]), (403, &b"nope"[..]));
    assert_eq!(gzip.headers, [header("content-encoding", "gzip"), header("x-a", "1"), header("x-a", "2")]);
    assert_eq!(body(node.get(waiting(address, "/chunked"))), b"abcdefg");
    assert_eq!(node.get(waiting(address, "/continue")).unwrap().status, 204);
    assert_eq!(node.get(waiting(address, "/304")).unwrap().status, 304);
    let close = node.get(waiting(address, "/close")).unwrap();
    assert_eq!((close.headers, &close.body[..]), (vec![], &b"until the end"[..]));
    assert_eq!(log.all().iter().map(|s| s.connection).max(), Some(0), "one connection was enough");
    assert_eq!(node.handle.counters().answers(), 6);
    assert_eq!(node.handle.counters().connects(), 1);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced() {
    let (address, log) = back_end(|_, s| {
        ok(s);
        false
    });
    let node = Node::new(|_| {});
    for _ in 0..3 {
        node.get(waiting(address, "/")).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(log.all().iter().map(|s| s.connection).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn an_idle_connection_is_kept_only_so_long() {
    let (address, log) = back_end(|_, s| ok(s));
    let node = Node::new(|l| l.idle_ms = 50);
    node.get(waiting(address, "/")).unwrap();
    node.get(waiting(address, "/")).unwrap();
    std::thread::sleep(Duration::from_millis(80));
    node.get(waiting(address, "/")).unwrap();
    assert_eq!(log.all().iter().map(|s| s.connection).collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn calls_that_cannot_be_sent_are_refused() {
    let (address, log) = back_end(|_, s| ok(s));
    let node = Node::new(|l| l.request_head_bytes = 1_000);
    let with = |name, value| HookCall { headers: vec![header(name, value)], ..waiting(address, "/") };
    for url in ["ftp://127.0.0.1/", "nonsense", "http://h/\r\nX: y"] {
        let call = HookCall { url: url.into(), ..waiting(address, "/") };
        assert_eq!(node.handle.call(token(1), call), Err(HookFailure::BadCall));
    }
    let long = HookCall {
        headers: vec![(Bytes::from_static(b"X"), vec![b'x'; 1_000].into())],
        ..waiting(address, "/")
    };
    assert_eq!(node.handle.call(token(1), long), Err(HookFailure::BadCall));
    node.nothing_more();
    for call in [with("X", "a\r\nInjected: 1"), with("X y", "a"), with("", "a"), with("X:", "a")] {
        assert_eq!(node.get(call), Err(HookFailure::BadCall));
    }
    assert_eq!(log.all().len(), 0);
    assert_eq!(node.failures(HookFailure::BadCall), 8);
    assert_eq!(node.handle.counters().calls(), 4);
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_the_next_one() {
    let (address, _) = back_end(|seen, s| {
        let answer = |text: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        s.write_all((answer(&seen.path()) + &answer("/forged")).as_bytes()).is_ok()
    });
    let node = Node::new(|_| {});
    for n in 0..20 {
        let path = format!("/{n}");
        // A connection that broke over it is a failure; another call's answer would be a disaster.
        match node.get(waiting(address, &path)) {
            Ok(answer) => assert_eq!(answer.body, path),
            Err(failure) => assert_ne!(failure, HookFailure::BadCall),
        }
    }
    assert!(node.handle.counters().answers() > 0);
}

#[test]
fn a_host_name_is_looked_up() {
    let (address, log) = back_end(|_, s| ok(s));
    let node = Node::new(|_| {});
    let call =
        HookCall { url: format!("http://LocalHost:{}/", address.port()).into(), ..waiting(address, "/") };
    assert_eq!(body(node.get(call)), b"ok");
    assert!(log.all()[0].text().contains(&format!("\r\nHost: LocalHost:{}\r\n", address.port())));
    let nowhere = HookCall { url: "http://no-such-host.invalid/".into(), ..waiting(address, "/") };
    assert_eq!(node.get(nowhere), Err(HookFailure::Unreachable));
}
