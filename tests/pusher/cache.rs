//! Channels that keep their last event, and the number of subscribers (pusher.md section 10).

use crate::pusher::world::World;
use crate::{SUCCEEDED, events, node, trigger};
use fanwire::channel::AppWays;
use fanwire::channel::notice::What;
use serde_json::{Value, json};

const MISS: &str = "pusher:cache_miss";
const COUNT: &str = "pusher_internal:subscription_count";

fn come(world: &mut World, channel: &str) -> Vec<Value> {
    let client = world.open(1, 0);
    let user = channel.starts_with("presence-").then_some("late");
    world.subscribe(client, 0, channel, user);
    world.settle();
    let frames = world.take_json(client);
    world.hang_up(client);
    world.settle();
    frames
}

#[test]
fn those_who_come_get_the_last_event_behind_their_success() {
    for channel in ["cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a"] {
        let mut world = node(3);
        let frames = come(&mut world, channel);
        assert_eq!(events(&frames), [SUCCEEDED, MISS], "{channel}");
        assert_eq!(frames[1], json!({"event": MISS, "channel": channel, "data": "{}"}));
        trigger(&mut world, channel, "one");
        trigger(&mut world, channel, "two");
        for _ in 0..2 {
            let frames = come(&mut world, channel);
            assert_eq!(events(&frames), [SUCCEEDED, "e"]);
            assert_eq!(frames[1], json!({"event": "e", "channel": channel, "data": "two"}));
            world.wait_ms(20_000);
        }
        world.wait_ms(1_800_000);
        assert_eq!(events(&come(&mut world, channel)), [SUCCEEDED, MISS], "it is kept half an hour");
    }
}

#[test]
fn who_finds_nothing_is_told_outside() {
    let mut world = node(2);
    come(&mut world, "cache-a");
    come(&mut world, "cache-a");
    let missed: Vec<&What> = world.notices.iter().map(|notice| &notice.what).collect();
    assert!(matches!(missed[..], [What::CacheMiss(one), What::CacheMiss(two)] if one == two), "{missed:?}");
    trigger(&mut world, "cache-a", "x");
    come(&mut world, "cache-a");
    assert_eq!(world.notices.len(), 2);
}

#[test]
fn those_who_are_there_are_told_their_number() {
    let mut world = node(3);
    for shard in &mut world.shards {
        shard.home.set_app(0, AppWays { counts: true, ..AppWays::default() });
    }
    let clients = [world.open(0, 0), world.open(1, 0)];
    for client in clients {
        world.subscribe(client, 0, "a", None);
        world.settle();
    }
    let told = world.take_json(clients[0]);
    assert_eq!(events(&told), [SUCCEEDED, COUNT, COUNT]);
    assert_eq!(told[2], json!({"event": COUNT, "channel": "a", "data": r#"{"subscription_count":2}"#}));
    assert_eq!(events(&world.take_json(clients[1])), [SUCCEEDED, COUNT]);
    world.subscribe(clients[0], 0, "a", None);
    world.sign_in(clients[0], 0, "u1", &["u2"]);
    world.subscribe(clients[0], 0, "presence-a", Some("u1"));
    world.settle();
    assert!(
        !events(&world.take_json(clients[0])).contains(&COUNT),
        "twice, hidden and presence do not count"
    );
    world.hang_up(clients[1]);
    world.settle();
    assert_eq!(events(&world.take_json(clients[0])), [COUNT]);
}

#[test]
fn the_prefix_counts_at_the_beginning_only() {
    for channel in ["my-cache-x", "private-my-cache-x", "orders"] {
        let mut world = node(2);
        trigger(&mut world, channel, "one");
        assert_eq!(events(&come(&mut world, channel)), [SUCCEEDED], "{channel}");
    }
}

#[test]
fn what_is_not_for_one_is_kept_all_the_same() {
    let mut world = node(2);
    let client = world.open(0, 0);
    world.subscribe(client, 0, "cache-a", None);
    world.settle();
    world.take(client);
    let socket = world.connections[client].socket_id.clone();
    let body = json!({"name": "e", "channel": "cache-a", "data": "x", "socket_id": socket}).to_string();
    assert_eq!(world.api(0, "POST", "/apps/4242/events", &body).0, 200);
    assert!(world.take(client).is_empty());
    assert_eq!(events(&come(&mut world, "cache-a")), [SUCCEEDED, "e"]);
}

#[test]
fn client_and_member_events_are_not_kept() {
    let mut world = node(2);
    let client = world.open(0, 0);
    world.subscribe(client, 0, "presence-cache-a", Some("u1"));
    world.settle();
    world.message(client, r#"{"event":"client-a","channel":"presence-cache-a","data":"x"}"#);
    world.settle();
    assert_eq!(events(&come(&mut world, "presence-cache-a")), [SUCCEEDED, MISS]);
    trigger(&mut world, "presence-cache-a", "one");
    world.message(client, r#"{"event":"client-a","channel":"presence-cache-a","data":"x"}"#);
    world.settle();
    let frames = come(&mut world, "presence-cache-a");
    assert_eq!(frames[1]["data"], "one");
}

#[test]
fn asking_twice_is_given_the_event_once() {
    let mut world = node(3);
    trigger(&mut world, "cache-a", "one");
    let client = world.open(0, 0);
    world.subscribe(client, 0, "cache-a", None);
    world.subscribe(client, 0, "cache-a", None);
    world.settle();
    world.subscribe(client, 0, "cache-a", None);
    world.settle();
    let mut frames = world.take_json(client);
    frames.sort_by_key(|frame| frame["event"].to_string());
    assert_eq!(events(&frames), ["e", SUCCEEDED, SUCCEEDED, SUCCEEDED]);
}

#[test]
fn back_ends_see_what_is_kept() {
    let mut world = node(2);
    let path = "/apps/4242/channels/cache-a?info=cache,subscription_count";
    assert_eq!(world.api(0, "GET", path, "").1, r#"{"occupied":false,"subscription_count":0,"cache":null}"#);
    trigger(&mut world, "cache-a", "{\"n\":1}");
    assert_eq!(
        world.api(0, "GET", path, "").1,
        r#"{"occupied":false,"subscription_count":0,"cache":{"data":"{\"n\":1}","ttl":1800}}"#
    );
}
