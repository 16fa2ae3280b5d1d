//! Publisher tables of both sheets.

use super::harness::*;
use crate::dialect::relay::settings::{GroupLimits, LocationMethods, LocationSettings};
use crate::dialect::session::Message;

const NCHAN: fn() -> LocationSettings = LocationSettings::nchan;
const RELAY: fn() -> LocationSettings = LocationSettings::relay;

#[test]
fn the_answer_of_a_publish_byte_for_byte() {
    let mut rig = Rig::default_locations();
    assert_eq!(
        rig.ask("POST /pub/a\nContent-Type: text/plain", "hi"),
        "HTTP/1.1 202 Accepted\r\nContent-Type: text/plain\r\nContent-Length: 101\r\n\r\n\
         queued messages: 1\r\nlast requested: -1 sec. ago\r\nactive subscribers: 0\r\n\
         last message id: 1795257022:0"
    );
}

#[test]
fn the_nchan_table() {
    let mut rig = Rig::default_locations();
    assert_eq!(rig.ask("GET /pub/a", ""), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(rig.ask("DELETE /pub/a", ""), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(rig.status("PUT /pub/a", "x"), 202);
    assert_eq!(rig.status("POST /pub/a", ""), 202, "empty bodies are messages");
    assert_eq!(rig.info("", "a").unwrap().messages, 2);
    let waiting = rig.request("GET /sub/a\nAccept: text/event-stream", "");
    assert_eq!(rig.status("POST /pub/a", "y"), 201);
    assert_eq!(rig.status("GET /pub/a", ""), 200);
    assert_eq!(rig.status("DELETE /pub/a", ""), 200);
    assert_eq!(rig.connections[waiting].end, Some(End::Close));
    assert_eq!(rig.status("DELETE /pub/a", ""), 404);
    assert!(
        rig.ask("PATCH /pub/a", "")
            .starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, POST, PUT, DELETE\r\n")
    );
    let head = {
        rig.publish("a", "x");
        rig.ask("HEAD /pub/a", "")
    };
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"));
}

#[test]
fn the_relay_table() {
    let mut rig = pair(RELAY, |l| l.create_on_post = false);
    assert_eq!(rig.status("POST /pub/a", "x"), 404, "needs a PUT first");
    assert_eq!(rig.status("PUT /pub/a", ""), 200);
    assert_eq!(rig.status("PUT /pub/a", "body"), 200, "again");
    assert_eq!(rig.info("", "a").unwrap().messages, 0, "no message is queued");
    assert_eq!(rig.status("POST /pub/a", ""), 202, "no type, no body");
    let poll = rig.request(&format!("GET /sub/a\nIf-Modified-Since: {DATE}\nIf-None-Match: 0"), "");
    assert_eq!(rig.status("POST /pub/a", "y"), 201);
    assert_eq!(rig.connections[poll].end, Some(End::Done));
    assert_eq!(rig.status("GET /pub/a", ""), 200);
    let held = rig.request(&format!("GET /sub/a\nIf-Modified-Since: {DATE}\nIf-None-Match: 1"), "");
    assert_eq!(rig.status("DELETE /pub/a", ""), 200);
    assert!(rig.text(held).starts_with("HTTP/1.1 410 Gone\r\n"));
    assert_eq!(rig.status("DELETE /pub/a", ""), 404);
    assert!(rig.ask("PATCH /pub/a", "").contains("Allow: GET, POST, PUT, DELETE, OPTIONS\r\n"));
}

#[test]
fn info_in_four_formats() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "x");
    for (accept, content_type, body) in [
        (
            "application/json;q=0.1, text/plain",
            "text/json",
            "{\"messages\": 1, \"requested\": -1, \"subscribers\": 0, \"last_message_id\": \"1795257022:0\" }",
        ),
        (
            "image/png, text/x-yaml",
            "text/yaml",
            "---\r\nmessages: 1\r\nrequested: -1\r\nsubscribers: 0\r\nlast_message_id: \"1795257022:0\"\r\n\r\n",
        ),
        (
            "application/xml",
            "text/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<channel>\r\n  <messages>1</messages>\r\n  \
          <requested>-1</requested>\r\n  <subscribers>0</subscribers>\r\n  \
          <last_message_id>1795257022:0</last_message_id>\r\n</channel>",
        ),
        (
            "*/*",
            "text/plain",
            "queued messages: 1\r\nlast requested: -1 sec. ago\r\nactive subscribers: 0\r\n\
          last message id: 1795257022:0",
        ),
    ] {
        let answer = rig.ask(&format!("GET /pub/a\nAccept: {accept}"), "");
        assert!(answer.contains(&format!("Content-Type: {content_type}\r\n")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
}

#[test]
fn several_channels_are_summed_up() {
    let mut rig = Rig::new(vec![
        at("/many/", LocationMethods::Publisher, NCHAN(), |l| l.split_delimiter = Some(",".into())),
        at("/sub/", LocationMethods::Subscriber, NCHAN(), |_| ()),
    ]);
    rig.request("GET /sub/b\nAccept: text/event-stream", "");
    let answer = rig.ask("POST /many/a,b,c,a\nAccept: application/json", "x");
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(
        answer.ends_with(
            "{\"messages\": 1, \"requested\": 0, \"subscribers\": 1, \"last_message_id\": \"0\" }"
        ),
        "{answer}"
    );
    assert_eq!(rig.status("DELETE /many/a,c,zzz", ""), 200);
    assert!(rig.info("", "a").is_none() && rig.info("", "b").is_some());
}

#[test]
fn group_limits_are_said_in_words() {
    let limits =
        |channels, messages, memory_bytes| GroupLimits { channels, messages, memory_bytes, subscribers: 1 };
    let rig = |group_limits| {
        pair(NCHAN, move |l| (l.group, l.group_limits) = (Some("g".into()), Some(group_limits)))
    };
    for (limits, text) in [
        (limits(1, 0, 0), "Group limit reached for number of channels."),
        (limits(0, 1, 0), "Group limit reached for number of messages."),
        (limits(0, 0, 300), "Group limit reached for memory used by messages."),
    ] {
        let mut rig = rig(limits);
        assert_eq!(rig.publish("a", "x"), 202);
        let answer = rig.ask("POST /pub/b", "x");
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n"), "{answer}");
        assert!(answer.ends_with(text), "{answer}");
    }
    let mut rig = rig(limits(0, 0, 0));
    rig.request("GET /sub/a", "");
    assert_eq!(rig.status("GET /sub/b", ""), 403);
    assert_eq!(rig.refused, ["group_subscribers"]);
}

#[test]
fn a_socket_publishes_and_is_told_about_it() {
    let mut rig = Rig::default_locations();
    let socket = rig.request(&format!("GET /pub/a\n{SHAKE}\nAccept: text/json"), "");
    let head = rig.text(socket);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(rig.connections[socket].upgrade.is_some());
    rig.message(socket, Message::Text("hello"));
    let reply = rig.take(socket);
    let body =
        "{\"messages\": 1, \"requested\": -1, \"subscribers\": 0, \"last_message_id\": \"1795257022:0\" }";
    assert_eq!(reply[0], 0x81, "one text frame");
    assert!(reply.ends_with(body.as_bytes()));
    rig.message(socket, Message::Binary(b"\0\xff"));
    assert_eq!(rig.take(socket)[0], 0x81);
    let first = rig.ask("GET /sub/a", "");
    assert!(!first.contains("Content-Type") && first.ends_with("\r\n\r\nhello"), "{first}");
    let number = rig.request(&format!("GET /sub/a\nIf-Modified-Since: {DATE}\nIf-None-Match: 0"), "");
    let second = rig.take(number);
    assert!(second.ends_with(b"\r\n\r\n\0\xff"));
    assert!(String::from_utf8_lossy(&second).contains("Content-Type: application/octet-stream\r\n"));
}

#[test]
fn a_pubsub_socket_hears_itself_and_no_replies() {
    let mut rig = Rig::new(vec![at("/ps/", LocationMethods::Pubsub, NCHAN(), |l| {
        l.websocket_heartbeat = Some(("ping".into(), "pong".into()));
    })]);
    let socket = rig.request(&format!("GET /ps/a\n{SHAKE}"), "");
    rig.take(socket);
    rig.message(socket, Message::Text("hello"));
    assert_eq!(rig.take(socket), b"\x81\x05hello");
    rig.message(socket, Message::Text("ping"));
    assert_eq!(rig.take(socket), b"\x81\x04pong");
    assert_eq!(rig.info("", "a").unwrap().messages, 1, "the heartbeat is no message");
    assert_eq!(rig.status("POST /ps/a", "over http"), 201);
    assert_eq!(rig.take(socket), b"\x81\x09over http");
    assert_eq!(rig.status("DELETE /ps/a", ""), 200);
    assert_eq!(rig.connections[socket].end, Some(End::WebSocket(1001, "410 Gone")));
}

#[test]
fn ways_to_publish_can_be_closed() {
    let mut rig = pair(NCHAN, |l| l.publishers.websocket = false);
    assert_eq!(rig.status(&format!("GET /pub/a\n{SHAKE}"), ""), 403);
    let mut rig = pair(NCHAN, |l| l.publishers.http = false);
    assert_eq!(rig.status("POST /pub/a", "x"), 403);
    assert_eq!(rig.refused, ["transport"]);
}

#[test]
fn a_burst_on_a_socket_needs_no_answers_in_between() {
    let mut rig = Rig::new(vec![at("/m/", LocationMethods::Publisher, NCHAN(), |l| {
        l.split_delimiter = Some(",".into());
    })]);
    let ids: Vec<String> = (0..255).map(|n| n.to_string()).collect();
    let socket = rig.request(&format!("GET /m/{}\n{SHAKE}", ids.join(",")), "");
    for _ in 0..300 {
        rig.message(socket, Message::Text("x"));
    }
    assert_eq!(rig.connections[socket].end, None);
    assert_eq!(rig.info("", "254").unwrap().messages, 100);
}
