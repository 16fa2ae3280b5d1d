//! What the model and the fuzz targets have found, one test each.

use crate::pusher::ends::inner;
use crate::pusher::world::{End, World};
use crate::pushi::ends::app;
use serde_json::json;

const UNSUBSCRIBE: &str = "pusher:unsubscribe";

/// A node of so many shards with one client; `u1` is subscribed to two channels.
fn node(shards: usize) -> (World, String, usize) {
    let mut world = World::with_pushi(shards, vec![app()]);
    let token = world.login();
    for name in ["news", "private-a"] {
        world.publish(0, "/subscriptions", &token, &json!({"user_id": "u1", "event": name}));
        world.settle();
    }
    let client = world.open_pushi(0);
    (world, token, client)
}

#[test]
fn what_waits_behind_the_frame_that_ends_a_client_is_not_done() {
    for shards in 1..=3 {
        let (mut world, token, client) = node(shards);
        let other = world.open_pushi(0);
        world.join(other, "global", None);
        world.settle();
        world.take(other);
        world.join(client, "global", None);
        for _ in 0..2 {
            world.command_of(client, UNSUBSCRIBE, "global");
        }
        world.join(client, "global", None);
        world.message(client, r#"{"event":"late","channel":"global","data":"x"}"#);
        world.settle();
        assert_eq!(world.connections[client].end, Some(End::WebSocket(1008, "not subscribed")));
        assert_eq!(world.take(other), Vec::<String>::new(), "{shards} shards");
        world.hang_up(other);
        world.settle();
        world.forget(&token, ["global"].into_iter());
        assert_eq!(world.left(), [0; 5]);
    }
}

#[test]
fn an_app_without_events_has_an_empty_list_of_them() {
    let (mut world, token, _) = node(1);
    let mut list = || {
        let number = world.accept(0);
        assert!(world.request(number, &format!("GET /events?sid={token}"), b""));
        world.settle();
        world.answered(number)
    };
    assert_eq!(list(), (200, r#"{"events":[]}"#.to_owned()));
}

#[test]
fn a_frame_about_one_channel_does_not_overtake_one_about_all_of_a_user() {
    for shards in 1..=3 {
        let (mut world, _, client) = node(shards);
        world.join(client, "personal-u1", None);
        world.settle();
        world.command_of(client, "pusher:latest", "private-a");
        world.command_of(client, UNSUBSCRIBE, "personal-u1");
        world.join(client, "news", None);
        world.settle();
        let frames = world.take_json(client);
        let about: Vec<&str> = frames.iter().map(|frame| frame["channel"].as_str().unwrap()).collect();
        assert_eq!(about, ["personal-u1", "private-a", "personal-u1", "news"], "{shards} shards");
        assert_eq!(inner(&frames[2])["alias"], json!(["news", "private-a"]));
        let known: Vec<_> = world.occupied(0).into_iter().filter(|(_, all, _)| *all > 0).collect();
        assert_eq!(known, [("news".to_owned(), 1, 0)], "it came back after it had left all");
    }
}
