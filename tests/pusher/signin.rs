//! Users who sign in, what is said to them, and who watches them (pusher.md section 8).

use crate::pusher::ends::{inner, signin};
use crate::pusher::world::{End, World};
use crate::{SUCCEEDED, events, node, settings, trigger};
use fanwire::channel::Command;
use fanwire::limits::{HomeLimits, PUSHER_REPEATS_WAITING};
use serde_json::{Value, json};

const SIGNED_IN: &str = "pusher:signin_success";
const WATCHED: &str = "pusher_internal:watchlist_events";

fn sign_in(world: &mut World, shard: usize, user: &str, watchlist: &[&str]) -> usize {
    let client = world.open(shard, 0);
    world.sign_in(client, 0, user, watchlist);
    world.settle();
    client
}

fn told(world: &mut World, client: usize) -> Vec<Value> {
    let frames = world.take_json(client);
    frames
        .iter()
        .filter(|frame| frame["event"] == WATCHED)
        .map(|frame| inner(frame)["events"].clone())
        .collect()
}

fn news(name: &str, user: &str) -> Value {
    json!([{"name": name, "user_ids": [user]}])
}

#[test]
fn the_answer_has_what_was_sent() {
    let mut world = node(3);
    let client = world.open(0, 0);
    let data = r#"{ "id":"u1", "user_info":{"é":"\u00e9"} }"#;
    let frame = signin(&settings(), &world.connections[client].socket_id, data);
    world.message(client, &frame);
    world.settle();
    let frames = world.take_json(client);
    assert_eq!(events(&frames), [SIGNED_IN], "nobody is watched");
    assert_eq!(inner(&frames[0]), json!({"user_data": data}));
    // Once more, and as somebody else.
    world.message(client, &frame);
    assert_eq!(events(&world.take_json(client)), [SIGNED_IN]);
    world.sign_in(client, 0, "u2", &[]);
    let frames = world.take_json(client);
    assert_eq!((events(&frames), &frames[0]["data"]["code"]), (vec!["pusher:error"], &json!(4009)));
    world.settle();
    assert!(world.connections[client].is_open() && world.connections[client].is_quiet());
    world.hang_up(client);
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn each_sign_in_is_answered_once() {
    let mut world = node(4);
    let client = world.open(0, 0);
    for _ in 0..3 {
        world.sign_in(client, 0, "u1", &["u2"]);
    }
    world.message(
        client,
        r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-u1","auth":""}}"##,
    );
    assert!(world.take(client).is_empty(), "it stands with the sign-in, not before");
    world.settle();
    assert_eq!(events(&world.take_json(client)), [SIGNED_IN, SIGNED_IN, SIGNED_IN, SUCCEEDED, WATCHED]);
    let other = world.open(0, 0);
    for _ in 0..=PUSHER_REPEATS_WAITING {
        world.sign_in(other, 0, "u1", &[]);
    }
    assert_eq!(events(&world.take_json(other)), ["pusher:error"]);
    world.settle();
    assert_eq!(world.take(other).len(), usize::from(PUSHER_REPEATS_WAITING));
}

#[test]
fn who_cannot_prove_it_is_told_and_stays() {
    let mut world = node(1);
    let client = world.open(0, 0);
    let socket = world.connections[client].socket_id.clone();
    let good = signin(&settings(), &socket, r#"{"id":"u1"}"#);
    for bad in [
        good.replace("u1", "u2"),
        good.replace("app-key-demo:", "other:"),
        signin(&settings(), "1.1", r#"{"id":"u1"}"#),
        signin(&settings(), &socket, r#"{"id":""}"#),
        signin(&settings(), &socket, "x"),
        signin(&settings(), &socket, r#"{"id":"u1","watchlist":7}"#),
        r#"{"event":"pusher:signin","data":{"user_data":"{}"}}"#.into(),
    ] {
        world.message(client, &bad);
        let frames = world.take_json(client);
        assert_eq!(
            (events(&frames), &frames[0]["data"]["code"]),
            (vec!["pusher:error"], &json!(4009)),
            "{bad}"
        );
        assert_eq!(world.refused.pop().unwrap().0, "pusher_signin");
    }
    world.message(client, r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-u1"}}"##);
    assert_eq!(events(&world.take_json(client)), ["pusher:subscription_error"]);
    world.message(client, &good);
    assert_eq!(events(&world.take_json(client)), [SIGNED_IN]);
}

#[test]
fn what_is_said_to_a_user_comes_once_on_each_connection() {
    let mut world = node(3);
    let clients = [sign_in(&mut world, 0, "u1", &[]), sign_in(&mut world, 1, "u1", &[])];
    let other = sign_in(&mut world, 2, "u2", &[]);
    for client in clients {
        world.subscribe(client, 0, "#server-to-user-u1", None);
    }
    world.settle();
    clients.iter().for_each(|client| drop(world.take(*client)));
    world.take(other);
    trigger(&mut world, "#server-to-user-u1", "x");
    let expected = json!({"event": "e", "channel": "#server-to-user-u1", "data": "x"});
    for client in clients {
        assert_eq!(world.take_json(client), std::slice::from_ref(&expected));
        world.unsubscribe(client, "#server-to-user-u1");
    }
    assert!(world.take(other).is_empty());
    trigger(&mut world, "#server-to-user-u1", "y");
    assert_eq!(world.take(clients[0]).len(), 1, "being signed in is enough");
    // Hidden channels are nobody's business.
    let (_, body) = world.api(0, "GET", "/apps/4242/channels", "");
    assert_eq!(body, r#"{"channels":{}}"#);
}

#[test]
fn watchers_are_told_the_state_once_and_then_each_change() {
    let mut world = node(3);
    let watcher = sign_in(&mut world, 0, "w", &["u1", "u2", "w", "u1"]);
    assert_eq!(
        told(&mut world, watcher),
        [json!([{"name": "online", "user_ids": ["w"]}, {"name": "offline", "user_ids": ["u1", "u2"]}])]
    );
    let first = sign_in(&mut world, 1, "u1", &[]);
    let second = sign_in(&mut world, 2, "u1", &["w"]);
    assert_eq!(told(&mut world, watcher), [news("online", "u1")]);
    assert_eq!(told(&mut world, second), [news("online", "w")]);
    world.hang_up(first);
    world.settle();
    assert!(told(&mut world, watcher).is_empty(), "the other one is still there");
    world.hang_up(second);
    world.settle();
    assert_eq!(told(&mut world, watcher), [news("offline", "u1")]);
    world.hang_up(watcher);
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn no_state_is_told_that_has_passed() {
    // Who comes and goes while the watcher's questions are on their way, in every order of the shards' turns.
    for order in 0..64u32 {
        let mut world = node(4);
        let (user, watcher) = (world.open(0, 0), world.open(1, 0));
        world.sign_in(user, 0, "u1", &[]);
        world.sign_in(watcher, 0, "w", &["u1"]);
        for step in 0..3 {
            world.turn((order >> (2 * step) & 3) as usize);
        }
        world.hang_up(user);
        world.settle();
        let states = told(&mut world, watcher);
        assert_eq!(states.last(), Some(&news("offline", "u1")), "{order}");
        assert!(states.windows(2).all(|two| two[0] != two[1]), "{order}: {states:?}");
    }
}

#[test]
fn watchlists_are_cut_with_a_word() {
    let mut world = node(2);
    let ids: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let client = sign_in(&mut world, 0, "w", &ids);
    let frames = world.take_json(client);
    assert_eq!(events(&frames), ["pusher:error", SIGNED_IN, WATCHED]);
    assert_eq!(frames[0]["data"]["code"], 4302);
    assert_eq!(inner(&frames[2])["events"][0]["user_ids"].as_array().unwrap().len(), 100);
}

#[test]
fn a_terminated_user_is_sent_away_everywhere() {
    for path in ["/apps/4242/users/u%201/terminate_connections", "/users/u%201/terminate_connections"] {
        let mut world = node(3);
        let clients = [sign_in(&mut world, 0, "u 1", &[]), sign_in(&mut world, 2, "u 1", &[])];
        let other = sign_in(&mut world, 1, "u2", &["u 1"]);
        clients.iter().for_each(|client| drop(world.take(*client)));
        assert_eq!(world.api(0, "POST", path, "{}"), (200, "{}".into()));
        for client in clients {
            let frames = world.take_json(client);
            assert_eq!((events(&frames), &frames[0]["data"]["code"]), (vec!["pusher:error"], &json!(4009)));
            assert!(matches!(world.connections[client].end, Some(End::WebSocket(4009, _))));
        }
        assert!(world.connections[other].is_open());
        assert_eq!(told(&mut world, other).last(), Some(&news("offline", "u 1")));
        assert_eq!(world.api(0, "POST", path, "{}"), (200, "{}".into()), "nobody is there any more");
        assert_eq!(world.app(0).connections(), 1);
    }
}

#[test]
fn channels_of_users_may_be_deleted_by_others() {
    let mut world = node(3);
    let watcher = sign_in(&mut world, 0, "w", &["u1"]);
    let user = sign_in(&mut world, 1, "u1", &[]);
    world.take(watcher);
    world.take(user);
    world.tell(2, 0, "#server-to-user-u1", Command::Delete);
    world.settle();
    trigger(&mut world, "#server-to-user-u1", "x");
    assert_eq!(events(&world.take_json(user)), ["e"]);
    // Where it is said who is online, the user comes anew and the watcher hears of it.
    world.tell(2, 0, "#user-u1", Command::Delete);
    world.settle();
    assert!(matches!(world.connections[user].end, Some(End::WebSocket(4200, _))));
    assert!(world.connections[watcher].is_open());
    assert_eq!(told(&mut world, watcher), [news("offline", "u1")]);
    let user = sign_in(&mut world, 1, "u1", &[]);
    assert_eq!(told(&mut world, watcher), [news("online", "u1")]);
    world.hang_up(user);
    world.hang_up(watcher);
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn a_sign_in_that_homes_cannot_take_is_as_if_it_had_not_been() {
    let limits = HomeLimits { channels: 1, ..HomeLimits::default() };
    let mut world = World::with_limits(1, vec![settings()], limits);
    let client = world.open(0, 0);
    world.sign_in(client, 0, "u1", &["u2"]);
    let frames = world.take_json(client);
    assert_eq!((events(&frames), &frames[0]["data"]["code"]), (vec!["pusher:error"], &json!(4009)));
    world.subscribe(client, 0, "#server-to-user-u1", None);
    assert_eq!(events(&world.take_json(client)), ["pusher:subscription_error"]);
    world.hang_up(client);
    assert_eq!(world.left(), [0; 5]);
}
