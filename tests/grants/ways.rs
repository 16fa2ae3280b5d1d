//! Each way in, right and wrong, for everything that can be asked.

use crate::node::{Node, fresh};
use crate::support::*;
use fanwire::limits::GRANT_TOKEN_BYTES;
use ring::signature::KeyPair;

/// Something is published in each channel, so that polls have an answer.
fn filled(node: &Node, channel: &str, query: &str) {
    let (status, why) = status(node, How::Publish, channel, query);
    assert!(is_in(status), "{channel}: {status} {why}");
}

fn refused(node: &Node, channel: &str, query: &str, expected: u16, reason: &str) {
    for how in How::ALL {
        let (status, why) = status(node, how, channel, query);
        assert_eq!(status, expected, "{how:?} {channel}?{query}: {why}");
        assert!(why.contains(reason), "{how:?} {channel}?{query}: {why}");
    }
}

fn let_in(node: &Node, channel: &str, query: &str) {
    filled(node, channel, query);
    for how in How::ALL {
        let (status, why) = status(node, how, channel, query);
        assert!(is_in(status), "{how:?} {channel}?{query}: {status} {why}");
    }
}

#[test]
fn every_way_lets_in_what_is_right_and_nothing_else() {
    let dir = fresh("grant-ways");
    let node = start(&dir, &back_end());
    no_credentials(&node);
    keys(&node);
    signatures(&node);
    tokens(&node);
    jwts(&node);
    hooks(&node);
    names(&node);
    publishers_by_websocket(&node);
    let refusals = node.metric("fanwire_refusals_total{reason=\"grant_expired\"}");
    assert!(refusals >= 4.0, "{refusals}");
}

fn no_credentials(node: &Node) {
    let_in(node, "open.a", "");
    let_in(node, "about-nothing", "");
    refused(node, "none.a", "", 403, "closed");
    refused(node, "none.a", &format!("key={KEY}"), 403, "closed");
    for way in ["key", "hmac", "token", "jwt"] {
        refused(node, &format!("{way}.a"), "", 401, "needs an authorization");
    }
}

fn keys(node: &Node) {
    let_in(node, "key.a", &format!("key={KEY}"));
    let_in(node, "key.a", &format!("api_key={KEY}"));
    refused(node, "key.a", "key=key-of-the-back-eng", 401, "API key");
    refused(node, "key.a", &format!("key={KEY}x"), 401, "API key");
    let header = |lines: &str| How::ALL.map(|how| Client::send(node, how, "key.a", "", lines).answer().0);
    for lines in [format!("X-Api-Key: {KEY}\r\n"), format!("Authorization: bearer {KEY}\r\n")] {
        assert!(header(&lines).into_iter().all(is_in), "{lines}");
    }
    assert_eq!(header(&format!("Authorization: Basic {KEY}\r\n")), [401; 4]);
    assert_eq!(How::SUBSCRIBE.map(|how| status(node, how, "any.a", "key=wrong-key-wrong-key").0), [401; 3]);
    assert_eq!(status(node, How::Publish, "any.a", &format!("key={KEY}")).0, 403);
}

fn signatures(node: &Node) {
    for how in How::ALL {
        let (other_how, other) =
            if how == How::Publish { (How::WebSocket, "hmac.b") } else { (How::Publish, "hmac.b") };
        if how == How::Publish {
            filled(node, "hmac.a", &signature(how.act(), 60, "u", "hmac.a"));
        }
        let good = signature(how.act(), 60, "u", "hmac.a");
        let (answered, why) =
            status(node, How::Publish, "hmac.a", &signature(How::Publish.act(), 60, "", "hmac.a"));
        assert!(is_in(answered), "{why}");
        assert!(is_in(status(node, how, "hmac.a", &good).0), "{how:?}");
        assert_eq!(status(node, how, other, &good).0, 401, "another channel");
        assert_eq!(status(node, other_how, "hmac.a", &good).0, 401, "another act");
        assert_eq!(status(node, how, "hmac.a", &good.replace("user=u", "user=v")).0, 401, "another user");
        let over = signature(how.act(), 0, "u", "hmac.a");
        assert!(status(node, how, "hmac.a", &over).1.contains("expired"));
    }
}

fn tokens(node: &Node) {
    let token = |claims: &str| format!("token={}", our_token(60, claims));
    let_in(node, "token.a", &token(r#""channels":"token.*""#));
    let_in(node, "token.a", &token(r#""channels":["x","token.a"],"nbf":1"#));
    let_in(node, "token.a", &format!("access_token={}", our_token(60, r#""channels":"*""#)));
    refused(node, "token.a", &token(r#""channels":"token.b""#), 403, "other channels");
    refused(node, "token.a", &token(r#""channels":"token.b*","sub":"u""#), 403, "other channels");
    refused(node, "token.a", &token(r#""channels":"t?ken.a""#), 403, "other channels");
    let subscribe = token(r#""subscribe":"token.*""#);
    for how in How::SUBSCRIBE {
        assert!(is_in(status(node, how, "token.a", &subscribe).0));
    }
    assert_eq!(status(node, How::Publish, "token.a", &subscribe).0, 403);
    refused(node, "token.a", &format!("token={}", our_token(0, r#""channels":"*""#)), 401, "expired");
    let later = now_s() + 3600;
    refused(node, "token.a", &token(&format!(r#""channels":"*","nbf":{later}"#)), 401, "not valid yet");
    let mut forged = token(r#""channels":"*""#);
    let last = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(forged.len() - 2..forged.len() - 1, last);
    refused(node, "token.a", &forged, 401, "signature");
    refused(node, "token.a", "token=fw1.e30", 401, "malformed");
    let long = "A".repeat(GRANT_TOKEN_BYTES + 1);
    for how in How::ALL {
        let mut client =
            Client::send(node, how, "token.a", "", &format!("Authorization: Bearer fw1.{long}\r\n"));
        assert_eq!(client.answer(), (401, "the token is too long".into()), "{how:?}");
    }
}

fn jwts(node: &Node) {
    let query = |token: String| format!("token={token}");
    let claims = r#""channels":"jwt.*""#;
    let_in(node, "jwt.a", &query(hs256(60, claims)));
    let key = ed25519();
    let by = |head: &str| query(jwt(head, 60, claims, |message| key.sign(message).as_ref().to_vec()));
    let_in(node, "jwt.a", &by(r#"{"alg":"EdDSA","kid":"k1"}"#));
    let_in(node, "jwt.a", &by(r#"{"alg":"EdDSA"}"#));
    refused(node, "jwt.a", &by(r#"{"alg":"EdDSA","kid":"k2"}"#), 401, "key is not known");
    refused(node, "jwt.a", &by(r#"{"alg":"ES256","kid":"k1"}"#), 401, "algorithm");
    let unsigned = jwt(r#"{"alg":"none"}"#, 60, claims, |_| Vec::new());
    refused(node, "jwt.a", &query(unsigned), 401, "algorithm");
    let public = key.public_key().as_ref();
    let confused = jwt(r#"{"alg":"HS256","kid":"k1"}"#, 60, claims, hmac(public));
    refused(node, "jwt.a", &query(confused), 401, "signature");
    refused(node, "jwt.a", &query(hs256(-1, claims)), 401, "expired");
    refused(
        node,
        "jwt.a",
        &query(hs256(60, &format!(r#""nbf":{},{claims}"#, now_s() + 600))),
        401,
        "not valid yet",
    );
    refused(node, "jwt.a", &query(hs256(60, r#""sub":"u""#)), 403, "other channels");
    refused(node, "jwt.a", &query(our_token(60, r#""channels":"*""#)), 401, "malformed");
    refused(node, "token.a", &query(hs256(60, r#""channels":"*""#)), 401, "malformed");
}

fn hooks(node: &Node) {
    let_in(node, "hook.a", "yes=1");
    for how in How::ALL {
        assert_eq!(status(node, how, "hook.a", "no=1").0, 403, "{how:?}");
    }
}

/// Names come to the rules as they are, however they were spelt.
fn names(node: &Node) {
    refused(node, "%6eone.a", "", 403, "closed");
    refused(node, "none.%61", "", 403, "closed");
    let_in(node, "xnone.a", "");
    let_in(node, "None.a", "");
}

fn publishers_by_websocket(node: &Node) {
    let open = |query: &str| {
        let mut client = Client::send(node, How::PublisherSocket, "key.w", query, "");
        client.answer().0
    };
    assert_eq!(open(""), 401);
    assert_eq!(open(&format!("key={KEY}")), 101);
}
