//! What was granted is taken back, on all shards, and stays so.

use crate::node::{Node, fanwire, fresh};
use crate::support::*;
use std::path::Path;

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
