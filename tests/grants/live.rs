//! What lets somebody in ends while they are there.

use crate::node::{Http, Node, fresh};
use crate::support::*;

/// A subscription that is there and was let in for a few seconds. A machine that is busy may take longer than that to
/// ask: then it asks again, for longer.
fn briefly(node: &Node, how: How, channel: &str, token: impl Fn(u64) -> String) -> Client {
    for seconds in [2, 4, 8, 16] {
        let mut client = Client::send(node, how, channel, &format!("token={}", token(seconds)), "");
        if how == How::LongPoll {
            return client; // what it is answered tells
        }
        let (status, why) = client.answer();
        if is_in(status) {
            return client;
        }
        assert_eq!((status, why.as_str()), (401, "the token has expired"));
    }
    panic!("no subscription within 16 s");
}

#[test]
fn sessions_end_with_what_let_them_in() {
    let dir = fresh("grant-live");
    let node = start(&dir, "http://127.0.0.1:9/");
    let ours = |seconds| our_token(seconds, r#""channels":"*","sub":"u""#);
    let theirs = |seconds| hs256(seconds as i64, r#""channels":"*""#);
    let mut sockets =
        [briefly(&node, How::WebSocket, "token.l", ours), briefly(&node, How::WebSocket, "jwt.l", theirs)];
    let mut streams = [
        briefly(&node, How::EventStream, "token.l", ours),
        briefly(&node, How::EventStream, "jwt.l", theirs),
    ];
    let mut publisher = briefly(&node, How::PublisherSocket, "token.l", ours);
    let mut polls =
        [briefly(&node, How::LongPoll, "token.l", ours), briefly(&node, How::LongPoll, "jwt.l", theirs)];
    let for_good = format!("key={KEY}");
    let mut stays = Client::send(&node, How::EventStream, "any.l", &for_good, "");
    assert_eq!(stays.answer().0, 200);
    for socket in &mut sockets {
        assert_eq!(socket.close_frame(), (4401, "401 authorization expired".into()));
    }
    assert_eq!(publisher.close_frame(), (4401, "401 authorization expired".into()));
    for stream in &mut streams {
        let rest = String::from_utf8(stream.rest()).unwrap();
        assert!(rest.ends_with(":401: authorization expired\n\n"), "{rest:?}");
    }
    for poll in &mut polls {
        assert_eq!(poll.answer().0, 401);
    }
    // Who needs no token is there as before.
    assert_eq!(status(&node, How::LongPoll, "token.l", &format!("token={}", ours(0))).0, 401);
    drop(stays);
}

#[test]
fn a_publisher_that_repeats_its_head_is_judged_like_any_other() {
    let dir = fresh("grant-repeat");
    let node = start(&dir, "http://127.0.0.1:9/");
    // One connection, one head: the second publish goes straight to the home where nothing can end it.
    let publish = |path: &str| {
        let mut http = Http::connect(&node.address).unwrap();
        [(); 3].map(|()| http.post(path, b"x").unwrap().status)
    };
    assert!(publish(&format!("/pub/key.r?key={KEY}")).into_iter().all(is_in));
    assert_eq!(publish("/pub/key.r?key=wrong-key-wrong-key"), [401; 3]);
    let mut http = Http::connect(&node.address).unwrap();
    for seconds in [2, 4, 8, 16, 32] {
        let path = format!("/pub/token.r?token={}", our_token(seconds, r#""publish":"*""#));
        let until = std::time::Instant::now() + PATIENCE;
        if !is_in(http.post(&path, b"x").unwrap().status) {
            continue; // a machine that is busy
        }
        while is_in(http.post(&path, b"x").unwrap().status) {
            assert!(std::time::Instant::now() < until, "the token never expires");
        }
        return;
    }
    panic!("no publish within 32 s");
}

#[test]
fn keys_are_read_again_on_sighup() {
    let dir = fresh("grant-reload");
    let node = start(&dir, "http://127.0.0.1:9/");
    let by = |seed: u8| {
        let key = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let head = r#"{"alg":"EdDSA","kid":"k1"}"#;
        let token = jwt(head, 600, r#""channels":"*""#, |message| key.sign(message).as_ref().to_vec());
        status(&node, How::Publish, "jwt.s", &format!("token={token}")).0
    };
    let reload = |keys: &str| {
        std::fs::write(dir.join("keys.json"), keys).unwrap();
        node.signal("HUP");
    };
    assert_eq!((by(9), by(5)), (202, 401));
    reload(&jwks(5));
    let since = std::time::Instant::now();
    while by(5) == 401 {
        assert!(since.elapsed() < PATIENCE, "the new key is never taken");
    }
    assert_eq!(by(9), 401);
    // What cannot be read changes nothing: the next reload is seen, so this one was before it.
    reload("{");
    reload("{");
    reload(&jwks(9));
    while by(9) == 401 {
        assert!(since.elapsed() < 2 * PATIENCE, "the old key is never taken again");
        assert!(is_in(by(5)) || is_in(by(9)), "one of the keys is always there");
    }
}
