//! Channels are asked for and left (pusher.md section 5): each subscription that is taken is told exactly once.

use crate::pusher::ends::inner;
use crate::pusher::world::{End, World};
use crate::{SUCCEEDED, events, node, trigger};
use fanwire::channel::Command;
use fanwire::limits::{PUSHER_REPEATS_WAITING, SUBSCRIPTIONS_PER_SESSION};
use serde_json::{Value, json};

#[test]
fn every_kind_is_told_with_data() {
    let mut world = node(3);
    let client = world.open(0, 0);
    for channel in ["orders", "private-a", "private-encrypted-a"] {
        world.subscribe(client, 0, channel, None);
        world.settle();
        assert_eq!(
            world.take_json(client),
            [json!({"event": SUCCEEDED, "channel": channel, "data": "{}"})],
            "{channel}"
        );
        trigger(&mut world, channel, "x");
        assert_eq!(world.take_json(client), [json!({"event": "e", "channel": channel, "data": "x"})]);
    }
    assert!(world.refused.is_empty());
}

#[test]
fn who_may_not_is_told_and_stays_connected() {
    let mut world = node(1);
    let client = world.open(0, 0);
    for (data, kind, status) in [
        (json!({"channel": "private-a", "auth": ""}), "AuthError", 401),
        (json!({"channel": "private-a", "auth": null}), "AuthError", 401),
        (json!({"channel": "private-a", "auth": 7}), "AuthError", 401),
        (json!({"channel": "private-a"}), "AuthError", 401),
        (json!({"channel": "private-a", "auth": "app-key-demo:00"}), "AuthError", 401),
        (json!({"channel": "private-a", "auth": "other:00"}), "AuthError", 401),
        (json!({"channel": "#server-to-user-u1", "auth": ""}), "AuthError", 401),
    ] {
        world.message(client, &json!({"event": "pusher:subscribe", "data": data}).to_string());
        let frames = world.take_json(client);
        assert_eq!(events(&frames), ["pusher:subscription_error"], "{data}");
        assert_eq!(
            (&frames[0]["data"]["type"], &frames[0]["data"]["status"]),
            (&json!(kind), &json!(status))
        );
        assert_eq!(world.refused.pop().unwrap().0, "pusher_subscription");
    }
    for bad in [
        "",
        "{",
        "[]",
        "1",
        "{}",
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":"pusher:subscribe","data":""}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"a b"}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":7}}"#,
        r#"{"event":"pusher_internal:member_added","data":{}}"#,
        r#"{"event":"pusher:connection_established","data":{}}"#,
    ] {
        world.message(client, bad);
        assert_eq!(events(&world.take_json(client)), ["pusher:error"], "{bad}");
        assert_eq!(world.refused.pop().unwrap().0, "pusher_frame", "{bad}");
    }
    assert!(world.connections[client].is_open() && world.refused.is_empty());
    assert_eq!(world.app(0).connections(), 1);
}

#[test]
fn binary_messages_are_not_spoken() {
    let mut world = node(1);
    let client = world.open(0, 0);
    world.binary(client, b"x");
    assert!(matches!(world.connections[client].end, Some(End::WebSocket(1003, _))));
    assert_eq!(world.refused.len(), 1);
}

#[test]
fn asking_twice_is_told_twice_and_delivered_once() {
    let mut world = node(3);
    for channel in ["a", "b", "c", "d"] {
        let client = world.open(0, 0);
        world.subscribe(client, 0, channel, None);
        world.subscribe(client, 0, channel, None);
        world.settle();
        assert_eq!(events(&world.take_json(client)), [SUCCEEDED, SUCCEEDED], "while the first is on its way");
        world.subscribe(client, 0, channel, None);
        world.settle();
        assert_eq!(events(&world.take_json(client)), [SUCCEEDED], "afterwards");
        trigger(&mut world, channel, "x");
        assert_eq!(events(&world.take_json(client)), ["e"]);
        world.unsubscribe(client, channel);
        world.settle();
        trigger(&mut world, channel, "x");
        assert!(world.take_json(client).is_empty());
        let (_, body) =
            world.api(0, "GET", &format!("/apps/4242/channels/{channel}?info=subscription_count"), "");
        assert_eq!(body, r#"{"occupied":false,"subscription_count":0}"#);
    }
}

#[test]
fn asking_again_and_again_is_bounded() {
    let mut world = node(2);
    let client = world.open(0, 0);
    let elsewhere = (0..).map(|n| format!("c{n}")).find(|name| {
        world.subscribe(client, 0, name, None);
        world.take(client).is_empty()
    });
    let channel = elsewhere.unwrap();
    for _ in 1..PUSHER_REPEATS_WAITING {
        world.subscribe(client, 0, &channel, None);
    }
    assert!(world.take(client).is_empty());
    world.subscribe(client, 0, &channel, None);
    let frames = world.take_json(client);
    assert_eq!(frames[0]["data"]["type"], "LimitReached");
    world.settle();
    assert_eq!(world.take(client).len(), usize::from(PUSHER_REPEATS_WAITING));
}

#[test]
fn leaving_before_the_answer_is_still_told_once() {
    let mut world = node(3);
    for channel in ["a", "b", "c", "d", "e"] {
        let client = world.open(0, 0);
        world.subscribe(client, 0, channel, None);
        world.unsubscribe(client, channel);
        world.subscribe(client, 0, channel, None);
        world.unsubscribe(client, channel);
        world.unsubscribe(client, channel);
        world.settle();
        assert_eq!(events(&world.take_json(client)), [SUCCEEDED, SUCCEEDED]);
        trigger(&mut world, channel, "x");
        assert!(world.take(client).is_empty(), "{channel}");
        world.hang_up(client);
    }
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn leaving_what_one_does_not_have_is_no_matter() {
    let mut world = node(1);
    let client = world.open(0, 0);
    world.unsubscribe(client, "nothing");
    world.unsubscribe(client, "#server-to-user-u1");
    world.message(client, r#"{"event":"pusher:unsubscribe","data":"{\"channel\":\"nothing\"}"}"#);
    assert!(world.take(client).is_empty() && world.refused.is_empty());
}

#[test]
fn a_client_has_so_many_channels_and_no_more() {
    let mut world = node(2);
    let client = world.open(0, 0);
    for number in 0..SUBSCRIPTIONS_PER_SESSION {
        world.subscribe(client, 0, &format!("c{number}"), None);
    }
    world.settle();
    assert_eq!(world.take(client).len(), SUBSCRIPTIONS_PER_SESSION);
    world.subscribe(client, 0, "more", None);
    let frames = world.take_json(client);
    assert_eq!(frames[0]["data"]["type"], "LimitReached");
    assert_eq!(frames[0]["data"]["status"], 4100);
    // A sign-in needs two hidden ones.
    world.unsubscribe(client, "c0");
    world.sign_in(client, 0, "u1", &[]);
    assert_eq!(world.take_json(client)[0]["data"]["code"], 4009);
    world.unsubscribe(client, "c1");
    world.unsubscribe(client, "c2");
    world.sign_in(client, 0, "u1", &["u2", "u3"]);
    world.settle();
    let frames = world.take_json(client);
    assert_eq!(frames[0]["data"]["code"], 4302, "only one can be watched");
    assert_eq!(events(&frames[1..]), ["pusher:signin_success", "pusher_internal:watchlist_events"]);
    assert_eq!(inner(&frames[2]), json!({"events": [{"name": "offline", "user_ids": ["u2"]}]}));
    world.hang_up(client);
    assert_eq!(world.left(), [0; 5]);
}

#[test]
fn nobody_loses_a_channel_that_somebody_else_deletes() {
    for channel in ["a", "b", "c", "private-a"] {
        let mut world = node(3);
        let client = world.open(0, 0);
        world.subscribe(client, 0, channel, None);
        world.settle();
        world.take(client);
        world.tell(1, 0, channel, Command::Delete);
        let publish = |world: &mut World, shard, data: &str, except: Option<&str>| {
            let mut body = json!({"name": "e", "channel": channel, "data": data});
            body["socket_id"] = json!(except);
            world.ask(shard, 0, "POST", "/apps/4242/events", &body.to_string());
        };
        let name = world.connections[client].socket_id.clone();
        publish(&mut world, 1, "right behind", None);
        publish(&mut world, 1, "not for this one", Some(&name));
        world.settle();
        publish(&mut world, 1, "later", None);
        world.settle();
        let told: Vec<Value> =
            world.take_json(client).into_iter().map(|frame| frame["data"].clone()).collect();
        assert_eq!(told, ["right behind", "later"], "{channel}");
        world.unsubscribe(client, channel);
        world.settle();
        publish(&mut world, 1, "too late", None);
        world.settle();
        assert!(world.take(client).is_empty());
        world.hang_up(client);
        assert_eq!(world.left(), [0; 5]);
    }
}
