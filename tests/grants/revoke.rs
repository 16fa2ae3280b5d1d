//! What was granted is taken back, on all shards, and stays so.

use crate::node::{self, Node, fanwire, fresh};
use crate::support::*;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

/// Connections are spread over the shards by the kernel: of so many, all three have some.
const STREAMS: usize = 24;

fn revoke(dir: &Path, args: &[&str]) {
    let dir = dir.display().to_string();
    let (done, said) = fanwire(&[&["revoke", "--data", &dir], args].concat());
    assert!(done, "{said}");
    assert!(said.contains("revoked"), "{said}");
}

fn stream(node: &Node, how: How, channel: &str, token: &str) -> Client {
    let mut client = Client::send(node, how, channel, &format!("token={token}"), "");
    let (status, why) = client.answer();
    assert!(is_in(status), "{status} {why}");
    client
}

#[test]
fn revoking_ends_sessions_on_all_shards_and_lasts() {
    let dir = fresh("grant-revoke");
    let mut node = start(&dir, "http://127.0.0.1:9/");
    let of =
        |user: &str, id: &str| our_token(3000, &format!(r#""channels":"*","sub":"{user}","jti":"{id}""#));
    let (ann, bob) = (of("ann", "t-ann"), of("bob", "t-bob"));
    let open = |token: &str, how: How| -> Vec<Client> {
        (0..STREAMS).map(|n| stream(&node, how, &format!("token.{n}"), token)).collect()
    };
    let mut anns = open(&ann, How::WebSocket);
    let mut bobs = open(&bob, How::EventStream);
    let mut cid = stream(&node, How::EventStream, "token.0", &of("cid", "t-cid"));
    let mut poll = Client::send(&node, How::LongPoll, "token.poll", &format!("token={ann}"), "");
    let waiting = std::time::Instant::now();
    while node.metric("fanwire_subscriptions") < (2 * STREAMS + 2) as f64 {
        assert!(waiting.elapsed() < PATIENCE, "the poll is never held");
    }

    revoke(&dir, &["--user", "ann"]);
    for client in &mut anns {
        assert_eq!(client.close_frame(), (4401, "401 authorization revoked".into()));
    }
    assert_eq!(poll.answer().0, 401);
    assert!(status(&node, How::WebSocket, "token.0", &format!("token={ann}")).1.contains("revoked"));
    revoke(&dir, &["--token", "t-bob", "--app", "1"]);
    for client in &mut bobs {
        let rest = String::from_utf8(client.rest()).unwrap();
        assert!(rest.ends_with(":401: authorization revoked\n\n"), "{rest:?}");
    }
    // Nobody else has noticed.
    let query = format!("token={}", of("dan", "t-dan"));
    assert!(is_in(status(&node, How::Publish, "token.0", &query).0));
    cid.until("data: hi\n");

    for wrong in [&["--app", "9", "--user", "x"][..], &["--user", ""]] {
        let place = dir.display().to_string();
        assert!(!fanwire(&[&["revoke", "--data", &place], wrong].concat()).0, "{wrong:?}");
    }
    node.stop();
    // Without a node it is noted in the store.
    revoke(&dir, &["--user", "cid"]);
    let node = start(&dir, "http://127.0.0.1:9/");
    for (token, reason) in [(&ann, "revoked"), (&bob, "revoked"), (&of("bob", "t-new"), "")] {
        let (status, why) = status(&node, How::WebSocket, "token.0", &format!("token={token}"));
        assert!(why.contains(reason) && is_in(status) == reason.is_empty(), "{status} {why}");
    }
    // What a user is given after the revocation is good.
    let later = format!(r#""channels":"*","sub":"cid","iat":{}"#, now_s() + 2);
    let later =
        fanwire::wire::token::sign(SECRET, format!(r#"{{"exp":{},{later}}}"#, now_s() + 60).as_bytes());
    assert_eq!(status(&node, How::WebSocket, "token.0", &format!("token={later}")).0, 101);
}

/// A connection to an internal listener.
struct Internal(BufReader<UnixStream>);

impl Internal {
    fn connect(path: &Path) -> Internal {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Internal(BufReader::new(stream))
    }

    fn ask(&mut self, first: &str, lines: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!("{first} HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        crate::support::read_answer(&mut self.0)
    }

    fn revoke(&mut self, order: &str) -> (u16, String) {
        self.ask("POST /admin/revoke", "Content-Type: application/json\r\n", order)
    }

    fn subscriptions(&mut self) -> u64 {
        let page = self.ask("GET /metrics", "", "").1;
        let found = page.lines().find_map(|line| line.strip_prefix("fanwire_subscriptions ")?.parse().ok());
        found.unwrap_or_else(|| panic!("{page}"))
    }
}

#[test]
fn a_node_without_a_store_revokes_over_an_internal_listener() {
    let dir = fresh("grant-revoke-http");
    let grants = grants(&dir, "http://127.0.0.1:9/");
    let (file, socket) = (dir.join("config.toml"), dir.join("internal"));
    let listen = format!("listen = [\"127.0.0.1:0\"]\ninternal_listen = [\"unix:{}\"]", socket.display());
    std::fs::write(&file, format!("shards = 3\nlog = \"warn\"\n{listen}\n{grants}")).unwrap();
    let node = Node::spawn(Command::new(env!("CARGO_BIN_EXE_fanwire")).arg("--config").arg(&file));
    let of =
        |user: &str, id: &str| our_token(3000, &format!(r#""channels":"*","sub":"{user}","jti":"{id}""#));
    let (ann, bob) = (of("ann", "t-ann"), of("bob", "t-bob"));
    let open = |token: &str, how: How| -> Vec<Client> {
        (0..STREAMS).map(|n| stream(&node, how, &format!("token.{n}"), token)).collect()
    };
    let mut anns = open(&ann, How::WebSocket);
    let mut bobs = open(&bob, How::EventStream);
    let mut poll = Client::send(&node, How::LongPoll, "token.poll", &format!("token={ann}"), "");
    let mut internal = Internal::connect(&socket);
    let waiting = std::time::Instant::now();
    while internal.subscriptions() < 2 * STREAMS as u64 + 1 {
        assert!(waiting.elapsed() < PATIENCE, "the poll is never held");
    }
    let ended = |sessions: usize| (200, format!("{{\"revoked\":true,\"sessions\":{sessions}}}\n"));
    assert_eq!(internal.revoke(r#"{"user":"ann"}"#), ended(STREAMS + 1));
    for client in &mut anns {
        assert_eq!(client.close_frame(), (4401, "401 authorization revoked".into()));
    }
    assert_eq!(poll.answer().0, 401);
    assert!(status(&node, How::WebSocket, "token.0", &format!("token={ann}")).1.contains("revoked"));
    assert_eq!(internal.revoke(r#"{"user":"ann"}"#), ended(0));
    assert_eq!(internal.revoke(r#"{"token":"t-bob","app":"1"}"#), ended(STREAMS));
    for client in &mut bobs {
        let rest = String::from_utf8(client.rest()).unwrap();
        assert!(rest.ends_with(":401: authorization revoked\n\n"), "{rest:?}");
    }
    // What is wrong is said, and nothing is done.
    let error = |what: &str| format!("{{\"error\":\"{what}\"}}\n");
    assert_eq!(internal.revoke(r#"{"user":"x","app":"9"}"#), (404, error("there is no such app")));
    assert_eq!(internal.revoke(r#"{"user":""}"#).0, 400);
    assert_eq!(internal.revoke(&format!(r#"{{"token":"{}"}}"#, "t".repeat(200))).0, 400);
    assert_eq!(internal.revoke("user=ann").0, 400);
    assert_eq!(internal.ask("POST /admin/revoke", "", r#"{"user":"x"}"#).0, 415);
    assert_eq!(internal.ask("GET /admin/revoke", "", "").0, 405);
    assert_eq!(internal.ask("POST /admin/other", "", "").0, 404);
    // Nobody finds it from outside.
    let mut outside = node::Http::connect(&node.address).unwrap();
    assert_eq!(outside.request("POST", "/admin/revoke", br#"{"user":"x"}"#).unwrap().status, 404);
}
