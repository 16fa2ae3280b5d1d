//! Who is still there (pusher.md section 3), and who has said in time who it is (section 8).

use crate::pusher::world::{End, World};
use crate::{events, node, settings};
use fanwire::dialect::app::AppSettings;

const PING: &str = r#"{"event":"pusher:ping","data":{}}"#;

/// Lets time pass in steps of a second; returns the second in which something came.
fn until_told(world: &mut World, client: usize, most_s: u64) -> u64 {
    for second in 1..=most_s {
        world.wait_ms(1000);
        if !world.connections[client].is_open() || !world.connections[client].is_quiet() {
            return second;
        }
    }
    0
}

#[test]
fn pings_are_answered_whatever_their_data() {
    let mut world = node(1);
    let client = world.open(0, 0);
    for ping in [PING, r#"{"event":"pusher:ping"}"#, r#"{"event":"pusher:ping","data":""}"#] {
        world.message(client, ping);
        assert_eq!(world.take(client), [r#"{"event":"pusher:pong","data":"{}"}"#]);
    }
    assert!(world.refused.is_empty());
}

#[test]
fn a_silent_client_is_asked_and_then_closed() {
    let mut world = node(1);
    let client = world.open(0, 0);
    assert_eq!(
        until_told(&mut world, client, 500),
        190,
        "one and a half times the timeout, and a round trip"
    );
    assert_eq!(world.take(client), [r#"{"event":"pusher:ping","data":"{}"}"#]);
    assert_eq!(until_told(&mut world, client, 500), 30);
    assert!(matches!(world.connections[client].end, Some(End::WebSocket(4201, _))));
    assert_eq!(world.refused.last().unwrap().0, "pusher_pong");
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn whatever_it_sends_is_a_sign_of_life() {
    let mut world = node(1);
    let client = world.open(0, 0);
    for sent in [r#"{"event":"pusher:pong","data":{}}"#, PING, "no JSON"] {
        assert_eq!(until_told(&mut world, client, 500), 190);
        world.wait_ms(29_000);
        world.message(client, sent);
        world.take(client);
        world.wait_ms(2_000);
        assert!(world.connections[client].is_open() && world.connections[client].is_quiet());
        world.message(client, sent);
        world.take(client);
    }
    // One that asks by itself every two minutes is never asked.
    for _ in 0..20 {
        world.wait_ms(125_000);
        world.message(client, PING);
        assert_eq!(events(&world.take_json(client)), ["pusher:pong"]);
    }
}

#[test]
fn frames_that_no_session_sees_are_signs_of_life_too() {
    let mut world = node(1);
    let client = world.open(0, 0);
    for _ in 0..5 {
        world.wait_ms(189_000);
        world.connections[client].heard_ms = world.now.mono_ms();
    }
    assert!(world.connections[client].is_quiet());
    assert_eq!(until_told(&mut world, client, 500), 190);
    assert_eq!(world.take(client).len(), 1);
    world.wait_ms(20_000);
    world.connections[client].heard_ms = world.now.mono_ms();
    world.wait_ms(20_000);
    assert!(world.connections[client].is_open() && world.connections[client].is_quiet());
    assert_eq!(until_told(&mut world, client, 500), 170, "asked once more");
    world.take(client);
    assert_eq!(until_told(&mut world, client, 500), 30);
    assert!(matches!(world.connections[client].end, Some(End::WebSocket(4201, _))));
}

#[test]
fn who_is_not_authorized_in_time_is_closed() {
    let app = AppSettings { authorize_within_ms: 10_000, ..settings() };
    let mut world = World::new(2, vec![app]);
    let clients: Vec<usize> = (0..5).map(|_| world.open(0, 0)).collect();
    world.subscribe(clients[1], 0, "private-a", None);
    world.subscribe(clients[2], 0, "public", None);
    world.sign_in(clients[3], 0, "u1", &[]);
    world.message(clients[4], r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"x:y"}}"#);
    world.settle();
    clients.iter().for_each(|client| drop(world.take(*client)));
    world.wait_ms(9_900);
    assert!(clients.iter().all(|client| world.connections[*client].is_open()));
    world.wait_ms(200);
    for (number, &client) in clients.iter().enumerate() {
        let authorized = number == 1 || number == 3;
        assert_eq!(world.connections[client].is_open(), authorized, "{number}");
        let frames = world.take_json(client);
        if !authorized {
            assert_eq!(frames[0]["data"]["code"], 4009);
            assert_eq!(frames[0]["data"]["message"], "Connection not authorized within timeout.");
            assert!(matches!(world.connections[client].end, Some(End::WebSocket(4009, _))));
        }
    }
    world.wait_ms(179_000);
    assert!(world.connections[clients[1]].is_open() && world.connections[clients[1]].is_quiet());
}
