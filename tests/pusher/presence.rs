//! Who is in a channel (pusher.md section 7).

use crate::pusher::ends::{inner, subscription};
use crate::pusher::world::{End, World};
use crate::{SUCCEEDED, events, node, settings};
use fanwire::channel::Command;
use fanwire::dialect::app::AppSettings;
use serde_json::{Value, json};

const ROOM: &str = "presence-room";

fn join(world: &mut World, shard: usize, user: &str) -> usize {
    let client = world.open(shard, 0);
    world.subscribe(client, 0, ROOM, Some(user));
    world.settle();
    client
}

fn users(world: &mut World) -> Value {
    let (status, body) = world.api(0, "GET", "/apps/4242/channels/presence-room/users", "");
    assert_eq!(status, 200);
    serde_json::from_str::<Value>(&body).unwrap()["users"].clone()
}

#[test]
fn members_are_listed_and_told_of_each_other_once() {
    let mut world = node(3);
    let first = join(&mut world, 0, "u1");
    let frames = world.take_json(first);
    assert_eq!(events(&frames), [SUCCEEDED]);
    assert_eq!(
        inner(&frames[0]),
        json!({"presence": {"ids": ["u1"], "hash": {"u1": {"name": "u1"}}, "count": 1}})
    );
    let second = join(&mut world, 1, "u2");
    let list = inner(&world.take_json(second)[0]);
    assert_eq!((&list["presence"]["ids"], &list["presence"]["count"]), (&json!(["u1", "u2"]), &json!(2)));
    let told = world.take_json(first);
    assert_eq!(events(&told), ["pusher_internal:member_added"]);
    assert_eq!(inner(&told[0]), json!({"user_id": "u2", "user_info": {"name": "u2"}}));
    // The same user once more: nobody is told, neither of the coming nor of the first going.
    let again = join(&mut world, 2, "u2");
    assert_eq!(inner(&world.take_json(again)[0])["presence"]["count"], 2);
    world.hang_up(again);
    world.settle();
    assert!(world.take(first).is_empty() && world.take(second).is_empty());
    assert_eq!(users(&mut world), json!([{"id": "u1"}, {"id": "u2"}]));
    world.unsubscribe(second, ROOM);
    world.settle();
    let told = world.take_json(first);
    assert_eq!(
        (events(&told), inner(&told[0])),
        (vec!["pusher_internal:member_removed"], json!({"user_id": "u2"}))
    );
    assert!(world.take(second).is_empty());
    world.hang_up(first);
    world.hang_up(second);
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn asking_twice_lists_the_members_of_that_moment() {
    let mut world = node(3);
    let (first, second) = (join(&mut world, 0, "u1"), join(&mut world, 1, "u2"));
    world.take(first);
    world.take(second);
    world.subscribe(first, 0, ROOM, Some("u1"));
    world.subscribe(first, 0, ROOM, Some("u1"));
    world.settle();
    let frames = world.take_json(first);
    assert_eq!(events(&frames), [SUCCEEDED, SUCCEEDED]);
    assert!(frames.iter().all(|frame| inner(frame)["presence"]["ids"] == json!(["u1", "u2"])));
    assert!(world.take(second).is_empty(), "nobody else is told");
    // Left while that is on its way.
    world.subscribe(first, 0, ROOM, Some("u1"));
    world.unsubscribe(first, ROOM);
    world.settle();
    assert_eq!(events(&world.take_json(first)), [SUCCEEDED]);
    assert_eq!(events(&world.take_json(second)), ["pusher_internal:member_removed"]);
    assert_eq!(users(&mut world), json!([{"id": "u2"}]));
}

#[test]
fn one_connection_is_one_member() {
    let mut world = node(2);
    let client = join(&mut world, 0, "u1");
    world.take(client);
    world.subscribe(client, 0, ROOM, Some("u2"));
    assert_eq!(events(&world.take_json(client)), ["pusher:subscription_error"]);
    world.settle();
    assert_eq!(users(&mut world), json!([{"id": "u1"}]));
}

#[test]
fn numbers_and_texts_are_the_same_member() {
    let mut world = node(2);
    let first = join(&mut world, 0, "7");
    world.take(first);
    let second = world.open(1, 0);
    let socket = world.connections[second].socket_id.clone();
    world.message(second, &subscription(&settings(), &socket, ROOM, Some("{\"user_id\": 7}")));
    world.settle();
    assert_eq!(inner(&world.take_json(second)[0])["presence"]["ids"], json!(["7"]));
    assert!(world.take(first).is_empty());
}

#[test]
fn a_signed_in_client_needs_no_data() {
    let mut world = node(2);
    let client = world.open(0, 0);
    world.subscribe(client, 0, ROOM, None);
    let frames = world.take_json(client);
    assert_eq!(frames[0]["data"]["status"], 401, "nobody knows who it is");
    world.sign_in(client, 0, "u1", &[]);
    world.subscribe(client, 0, ROOM, None);
    world.settle();
    let frames = world.take_json(client);
    let success = frames.iter().find(|frame| frame["event"] == SUCCEEDED).unwrap();
    assert_eq!(inner(success)["presence"]["hash"], json!({"u1": {"name": "u1"}}));
}

#[test]
fn rooms_are_full_at_their_limit_and_users_are_small() {
    let mut world = World::new(2, vec![AppSettings { max_presence_users: 2, ..settings() }]);
    let first = join(&mut world, 0, "u1");
    join(&mut world, 1, "u2");
    let third = join(&mut world, 1, "u3");
    let frames = world.take_json(third);
    assert_eq!(
        (events(&frames), &frames[0]["data"]["status"]),
        (vec!["pusher:subscription_error"], &json!(4100))
    );
    let again = join(&mut world, 1, "u1");
    assert_eq!(events(&world.take_json(again)), [SUCCEEDED], "a user who is there may come again");
    for (data, status) in [
        (json!({"user_id": "x".repeat(129)}).to_string(), 4301),
        (json!({"user_id": "x", "user_info": "y".repeat(1100)}).to_string(), 4301),
        (json!({"user_id": ""}).to_string(), 401),
        (json!({"user_info": 1}).to_string(), 401),
        ("x".into(), 401),
    ] {
        let socket = world.connections[third].socket_id.clone();
        world.message(third, &subscription(&settings(), &socket, ROOM, Some(&data)));
        assert_eq!(world.take_json(third)[0]["data"]["status"], status, "{data}");
    }
    world.take(first);
    world.unsubscribe(third, ROOM);
    world.settle();
    assert!(world.take(first).is_empty(), "one that was refused does not leave");
}

#[test]
fn members_of_a_deleted_channel_come_anew() {
    let mut world = node(3);
    let (first, second) = (join(&mut world, 0, "u1"), join(&mut world, 1, "u2"));
    world.tell(0, 0, ROOM, Command::Delete);
    world.settle();
    for client in [first, second] {
        assert!(matches!(world.connections[client].end, Some(End::WebSocket(4200, _))));
    }
    assert_eq!(world.refused.len(), 2);
    assert_eq!(world.left(), [0; 5]);
}
