//! Events from client to client (pusher.md section 9).

use crate::pusher::world::World;
use crate::{events, node, settings};
use fanwire::channel::{Command, Policy};
use fanwire::dialect::app::AppSettings;
use fanwire::limits::HomeLimits;
use serde_json::json;
use std::sync::Arc;

fn pair(world: &mut World, channel: &str) -> (usize, usize) {
    let clients = [(0, "u1"), (1, "u2")].map(|(shard, user)| {
        let client = world.open(shard, 0);
        world.subscribe(client, 0, channel, channel.starts_with("presence-").then_some(user));
        world.settle();
        client
    });
    clients.iter().for_each(|client| drop(world.take(*client)));
    clients.into()
}

#[test]
fn the_others_get_it_as_it_was_sent() {
    let mut world = node(2);
    let (sender, other) = pair(&mut world, "private-chat");
    for data in [json!({"a": 1.50}), json!("text"), json!([null]), json!(7)] {
        let frame =
            json!({"event": "client-typing", "channel": "private-chat", "data": data, "user_id": "forged"});
        world.message(sender, &frame.to_string());
        world.settle();
        let expected = json!({"event": "client-typing", "channel": "private-chat", "data": data});
        assert_eq!(world.take_json(other), [expected]);
        assert!(world.take(sender).is_empty(), "it is not echoed");
    }
    let (sender, other) = pair(&mut world, "presence-chat");
    world.message(
        sender,
        r#"{"event":"client-typing","channel":"presence-chat","data":{},"user_id":"forged"}"#,
    );
    world.settle();
    let frames = world.take_json(other);
    assert_eq!(
        frames,
        [json!({"event": "client-typing", "channel": "presence-chat", "data": {}, "user_id": "u1"})]
    );
}

#[test]
fn who_may_not_is_told_and_nobody_else_is() {
    let mut world = node(2);
    let (sender, other) = pair(&mut world, "private-chat");
    for channel in ["orders", "private-encrypted-a"] {
        for client in [sender, other] {
            world.subscribe(client, 0, channel, None);
        }
    }
    world.settle();
    world.take(sender);
    world.take(other);
    for (event, channel, code) in [
        ("client-a", "orders", json!(4301)),
        ("client-a", "private-encrypted-a", json!(4301)),
        ("client-a", "private-other", json!(4301)),
        ("client-a", "#server-to-user-u1", json!(4301)),
        ("my-client-a", "private-chat", json!(null)),
        ("pusher:anything", "private-chat", json!(null)),
        ("pusher_internal:member_added", "private-chat", json!(null)),
        ("e", "private-chat", json!(null)),
    ] {
        world.message(sender, &json!({"event": event, "channel": channel, "data": {}}).to_string());
        world.settle();
        let frames = world.take_json(sender);
        assert_eq!((events(&frames), &frames[0]["data"]["code"]), (vec!["pusher:error"], &code), "{event}");
        assert!(world.take(other).is_empty(), "{event}");
        assert_eq!(world.refused.pop().unwrap().0, "pusher_frame");
    }
    let long = json!({"event": "client-a", "channel": "private-chat", "data": "x".repeat(10 * 1024 + 1)});
    world.message(sender, &long.to_string());
    let name = json!({"event": format!("client-{}", "x".repeat(194)), "channel": "private-chat", "data": ""});
    world.message(sender, &name.to_string());
    world.settle();
    assert_eq!(world.take(sender).len(), 2);
    assert!(world.take(other).is_empty() && world.connections[sender].is_open());
}

#[test]
fn an_app_may_take_none() {
    let mut world = World::new(2, vec![AppSettings { client_events: false, ..settings() }]);
    let (sender, other) = pair(&mut world, "private-chat");
    world.message(sender, r#"{"event":"client-a","channel":"private-chat","data":{}}"#);
    world.settle();
    let frames = world.take_json(sender);
    assert_eq!(frames[0]["data"]["message"], "The app does not have client messaging enabled.");
    assert!(world.take(other).is_empty());
}

#[test]
fn ten_go_in_a_second_and_pings_do_not_count() {
    let mut world = node(2);
    let (sender, other) = pair(&mut world, "private-chat");
    for second in 0..3 {
        for _ in 0..30 {
            world.message(sender, r#"{"event":"pusher:ping","data":{}}"#);
            world.message(sender, r#"{"event":"client-a","channel":"private-chat","data":{}}"#);
        }
        world.settle();
        let frames = world.take_json(sender);
        let errors = frames.iter().filter(|frame| frame["event"] == "pusher:error").count();
        assert_eq!((errors, frames.len()), (20, 50), "second {second}");
        assert_eq!(world.take(other).len(), 10);
        assert!(world.connections[sender].is_open(), "it stays for good otherwise");
        world.wait_ms(1000);
    }
}

#[test]
fn a_whisper_that_comes_too_early_is_refused() {
    let mut world = node(3);
    for channel in ["private-a", "private-b", "private-c"] {
        let client = world.open(0, 0);
        world.subscribe(client, 0, channel, None);
        let pending = world.take(client).is_empty();
        world.message(client, &json!({"event": "client-a", "channel": channel, "data": {}}).to_string());
        let refused = events(&world.take_json(client)).contains(&"pusher:error");
        assert_eq!(refused, pending, "{channel}");
    }
}

#[test]
fn one_that_its_home_cannot_take_is_told_of() {
    let limits = HomeLimits { history_bytes: 1, ..HomeLimits::default() };
    let mut world = World::with_limits(2, vec![settings()], limits);
    let (sender, _) = pair(&mut world, "private-chat");
    world.message(sender, r#"{"event":"client-a","channel":"private-chat","data":{}}"#);
    world.settle();
    let frames = world.take_json(sender);
    assert_eq!(frames[0]["data"]["code"], 4301);
    assert_eq!(world.refused.len(), 1);
}

#[test]
fn a_client_whose_channel_was_deleted_goes_on_sending() {
    let mut world = node(3);
    let (sender, other) = pair(&mut world, "private-chat");
    world.tell(2, 0, "private-chat", Command::Delete);
    world.settle();
    world.message(sender, r#"{"event":"client-a","channel":"private-chat","data":{}}"#);
    world.settle();
    assert_eq!((world.take(sender).len(), world.take(other).len()), (0, 1));
    // Others' rules for the channel do not matter.
    let create = Command::Create { policy: Arc::new(Policy::default()) };
    world.tell(2, 0, "private-chat", create);
    world.settle();
    assert!(world.take(sender).is_empty());
}
