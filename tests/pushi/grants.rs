//! Grants beside Pushi's own signatures.

use crate::pusher::world::{End, World};
use crate::pushi::ends::app;
use fanwire::dialect::app::Apps;
use fanwire::dialect::grant::{Grants, Rule, Ways};
use fanwire::wire::pattern::Pattern;
use serde_json::json;
use std::sync::Arc;

#[test]
fn a_grant_closes_a_channel_to_clients_and_back_ends() {
    let mut world = World::with_pushi(2, vec![app()]);
    let rule = Rule {
        channels: [Pattern::parse("closed*").unwrap()].into(),
        subscribe: Ways::NONE,
        publish: Ways::NONE,
        keys: [].into(),
        jwt: None,
        jwt_any_channel: false,
        hook: None,
    };
    let grants = Grants::new(vec![(app().id, rule)], Arc::default());
    world.change_apps(Apps::new([app()]).unwrap().with_grants(grants));
    let token = world.login();
    let client = world.open_pushi(0);
    world.join(client, "open", None);
    world.settle();
    assert!(world.connections[client].is_open());
    world.join(client, "closed-1", None);
    world.settle();
    assert_eq!(world.connections[client].end, Some(End::WebSocket(1008, "this channel is closed")));
    let mut publish = |channel: &str| {
        let body = json!({"event": "e", "channel": channel, "data": "x"}).to_string();
        let number = world.accept(1);
        assert!(world.request(number, &format!("POST /events?sid={token}"), body.as_bytes()));
        world.settle();
        world.answered(number).0
    };
    assert_eq!((publish("open"), publish("closed-1")), (200, 403));
}
