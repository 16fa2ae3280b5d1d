//! Grants beside Pusher's own signatures: they only close, and what lets in may end.

use crate::pusher::world::{End, World};
use crate::{SUCCEEDED, events, node, settings};
use fanwire::dialect::app::Apps;
use fanwire::dialect::grant::{Grants, Revocation, Rule, Way, Ways, revoked};
use fanwire::wire::{pattern::Pattern, token};
use serde_json::json;
use std::sync::Arc;

fn rule(channels: &str, subscribe: &[Way], publish: &[Way]) -> (String, Rule) {
    let ways = |ways: &[Way]| ways.iter().fold(Ways::NONE, |all, way| all.with(*way));
    let rule = Rule {
        channels: [Pattern::parse(channels).unwrap()].into(),
        subscribe: ways(subscribe),
        publish: ways(publish),
        keys: [].into(),
        jwt: None,
        jwt_any_channel: false,
        hook: None,
    };
    (settings().id, rule)
}

/// A node with one app and these rules.
fn granted(rules: Vec<(String, Rule)>) -> World {
    let mut world = node(2);
    let grants = Grants::new(rules, Arc::default());
    world.change_apps(Apps::new([settings()]).unwrap().with_grants(grants));
    world
}

fn subscribe(world: &mut World, client: usize, channel: &str) -> Vec<serde_json::Value> {
    let frame = json!({"event": "pusher:subscribe", "data": {"channel": channel}});
    world.message(client, &frame.to_string());
    world.settle();
    world.take_json(client)
}

fn with_token(world: &mut World, seconds: u64, claims: &str) -> usize {
    let exp = world.now.unix_s() + seconds;
    let token = token::sign(settings().secret.as_bytes(), format!(r#"{{"exp":{exp},{claims}}}"#).as_bytes());
    let client = world.connect(0, &format!("{}?token={token}&x=", settings().key));
    world.settle();
    world.take(client);
    client
}

#[test]
fn a_grant_closes_what_the_dialect_leaves_open() {
    let mut world = granted(vec![rule("closed*", &[], &[]), rule("*", &[Way::Open], &[Way::Hmac])]);
    let client = world.open(0, 0);
    let refused = subscribe(&mut world, client, "closed-1");
    assert_eq!(events(&refused), ["pusher:subscription_error"]);
    assert_eq!(refused[0]["data"]["status"], json!(401));
    assert_eq!(events(&subscribe(&mut world, client, "news")), [SUCCEEDED]);
    let publish = |world: &mut World, channels: &[&str]| {
        let body = json!({"name": "e", "channels": channels, "data": "x"}).to_string();
        world.api(0, "POST", "/apps/4242/events", &body).0
    };
    assert_eq!(publish(&mut world, &["news"]), 200, "a signed request is signed with the app's secret");
    assert_eq!(publish(&mut world, &["news", "closed-1"]), 403, "none of them is published");
    assert_eq!(events(&world.take_json(client)), ["e"]);
}

#[test]
fn tokens_of_the_handshake_let_in_until_they_end() {
    let mut world = granted(vec![rule("vip*", &[Way::Token], &[])]);
    let client = with_token(&mut world, 20, r#""subscribe":"vip-*","sub":"u""#);
    assert_eq!(events(&subscribe(&mut world, client, "vip-1")), [SUCCEEDED]);
    assert_eq!(events(&subscribe(&mut world, client, "vip")), ["pusher:subscription_error"]);
    world.wait_ms(19_000);
    assert!(world.connections[client].is_open());
    world.wait_ms(2_000);
    let frames = world.take_json(client);
    assert_eq!((events(&frames), &frames[0]["data"]["code"]), (vec!["pusher:error"], &json!(4009)));
    assert!(matches!(world.connections[client].end, Some(End::WebSocket(4009, _))));
    let late = with_token(&mut world, 0, r#""subscribe":"vip-*""#);
    assert_eq!(events(&subscribe(&mut world, late, "vip-1")), ["pusher:subscription_error"]);
}

#[test]
fn revoked_users_and_tokens_are_known_by_what_they_came_with() {
    let mut world = granted(vec![rule("vip*", &[Way::Token], &[])]);
    let client = with_token(&mut world, 20, r#""subscribe":"vip-*","sub":"u","jti":"t""#);
    let of = |what, id: &str| Revocation { app: settings().id.into(), what, id: id.into(), at_ms: 0 };
    let (user, token) = (of(revoked::What::User, "u"), of(revoked::What::Token, "t"));
    let is_revoked = |world: &World, number: usize, by: &Revocation| {
        world.connections[number].session().is_some_and(|session| session.is_revoked_by(by, 0))
    };
    assert!(!is_revoked(&world, client, &user), "it was let in nowhere yet");
    subscribe(&mut world, client, "vip-1");
    assert!(is_revoked(&world, client, &user) && is_revoked(&world, client, &token));
    assert!(!is_revoked(&world, client, &of(revoked::What::User, "t")));
    // A user who has signed in is one without any token.
    let signed_in = world.open(1, 0);
    world.sign_in(signed_in, 0, "u", &[]);
    world.settle();
    assert!(is_revoked(&world, signed_in, &user) && !is_revoked(&world, signed_in, &token));
}
