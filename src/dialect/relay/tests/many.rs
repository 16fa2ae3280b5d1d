//! Several channels in one subscription.

use super::harness::*;
use crate::dialect::relay::settings::*;

const NCHAN: fn() -> LocationSettings = LocationSettings::nchan;

/// `/pub/ID` and `/many/ID,ID...`.
fn rig() -> Rig {
    Rig::new(vec![
        at("/pub/", LocationMethods::Publisher, NCHAN(), |_| ()),
        at("/many/", LocationMethods::Subscriber, NCHAN(), |l| {
            l.split_delimiter = Some(",".into());
            l.longpoll_multipart = LongPollMultipart::Off;
        }),
    ])
}

/// The recorded example of the sheet: a0 b0 b1, then a1 two seconds later.
fn fill(rig: &mut Rig) {
    for (channel, body) in [("ma", "a0"), ("mb", "b0"), ("mb", "b1")] {
        rig.publish(channel, body);
    }
    rig.wait_ms(2_000);
    rig.publish("ma", "a1");
}

const EVENTS: [&str; 4] = [
    "id: 1795257022:[0],-,-\ndata: a0\n\n",
    "id: 1795257022:0,[0],-\ndata: b0\n\n",
    "id: 1795257022:0,[1],-\ndata: b1\n\n",
    "id: 1795257024:[0],-,-\ndata: a1\n\n",
];

fn after_head(text: &str) -> &str {
    text.split_once(": hi\n\n").unwrap().1
}

#[test]
fn stored_messages_come_in_one_order_with_all_progress_in_their_ids() {
    let mut rig = rig();
    fill(&mut rig);
    let stream = rig.request("GET /many/ma,mb,mc\nAccept: text/event-stream", "");
    assert_eq!(after_head(&rig.text(stream)), EVENTS.concat());
}

#[test]
fn live_messages_have_the_same_ids_as_stored_ones() {
    let mut rig = rig();
    let stream = rig.request("GET /many/ma,mb,mc\nAccept: text/event-stream", "");
    rig.take(stream);
    fill(&mut rig);
    assert_eq!(rig.text(stream), EVENTS.concat());
}

#[test]
fn everybody_resumes_exactly_wherever_he_stopped() {
    let mut rig = rig();
    fill(&mut rig);
    let ids = ["[0],-,-", "0,[0],-", "0,[1],-"];
    for (at, id) in ids.into_iter().enumerate() {
        let target = format!("/many/ma,mb,mc?last_event_id={SECOND}%3A{}", id.replace(',', "%2C"));
        let stream = rig.request(&format!("GET {target}\nAccept: text/event-stream"), "");
        assert_eq!(after_head(&rig.text(stream)), EVENTS[at + 1..].concat(), "{id}");
    }
    // A plain tag is the first channel's.
    let stream =
        rig.request(&format!("GET /many/ma,mb,mc\nAccept: text/event-stream\nLast-Event-ID: {SECOND}:0"), "");
    assert_eq!(after_head(&rig.text(stream)), EVENTS[1..].concat());
    for bad in ["0,1,-", "[0],-", "[0],-,-,-", "[0],[1],-", "[0],x1,-]["] {
        let head = format!("GET /many/ma,mb,mc\nLast-Event-ID: {SECOND}:{bad}");
        assert_eq!(rig.status(&head, ""), 400, "{bad}");
    }
}

#[test]
fn long_polls_walk_through_all_channels() {
    let mut rig = rig();
    fill(&mut rig);
    let mut ids = String::new();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let text = rig.ask(&format!("GET /many/ma,mb,mc{ids}"), "");
        let line = |name: &str| {
            let at = text.find(name).unwrap() + name.len();
            text[at..].split("\r\n").next().unwrap().to_owned()
        };
        ids = format!("\nIf-Modified-Since: {}\nIf-None-Match: {}", line("Last-Modified: "), line("Etag: "));
        seen.push(format!("{} {}", line("Etag: "), text.rsplit("\r\n\r\n").next().unwrap()));
    }
    assert_eq!(seen, ["[0],-,- a0", "0,[0],- b0", "0,[1],- b1", "[0],-,- a1"]);
    let held = rig.request(&format!("GET /many/ma,mb,mc{ids}"), "");
    assert_eq!(rig.connections[held].end, None);
    assert_eq!(rig.publish("mc", "c0"), 201);
    let text = rig.text(held);
    assert!(text.contains("\r\nEtag: 0,-,[0]\r\n") && text.ends_with("\r\n\r\nc0"), "{text}");
    for name in ["ma", "mb", "mc"] {
        assert_eq!(rig.info("", name).unwrap().subscribers, 0);
    }
}

#[test]
fn one_deleted_channel_ends_all() {
    let mut rig = rig();
    let stream = rig.request("GET /many/a,b\nAccept: text/event-stream", "");
    let poll = rig.request("GET /many/a,b", "");
    rig.take(stream);
    assert_eq!(rig.publish("c", "x"), 202);
    rig.publish("b", "x");
    rig.text(poll);
    rig.ask("DELETE /pub/b", "");
    assert!(rig.text(stream).ends_with(":410: 410 Gone\n\n"));
    assert_eq!(rig.info("", "a").unwrap().subscribers, 0);
}

#[test]
fn the_same_channel_twice_delivers_once() {
    let mut rig = rig();
    let stream = rig.request("GET /many/a,b,a\nAccept: text/event-stream", "");
    rig.take(stream);
    rig.publish("a", "x");
    assert_eq!(rig.text(stream), "id: 1795257022:[0],-,-\ndata: x\n\n");
    assert_eq!(rig.info("", "a").unwrap().subscribers, 1);
    let again = rig
        .request(&format!("GET /many/a,b,a\nAccept: text/event-stream\nLast-Event-ID: {SECOND}:[0],-,-"), "");
    assert_eq!(after_head(&rig.text(again)), "");
}

#[test]
fn sockets_and_parts_carry_the_list_too() {
    let mut rig = rig();
    let socket = rig.request(&format!("GET /many/a,b\n{SHAKE}\nSec-WebSocket-Protocol: ws+meta.nchan"), "");
    let plain = rig.request(&format!("GET /many/a,b\n{SHAKE}"), "");
    let parts = rig.request("GET /many/a,b\nAccept: multipart/mixed", "");
    for number in [socket, plain, parts] {
        rig.take(number);
    }
    rig.ask("POST /pub/b", "x");
    assert!(rig.text_lossy(socket).ends_with("id: 1795257022:-,[0]\n\nx"));
    assert_eq!(rig.take(plain), b"\x81\x01x");
    assert!(rig.text(parts).contains("\r\nEtag: -,[0]\r\n"));
}

#[test]
fn at_most_255_channels() {
    let mut rig = rig();
    let ids: Vec<String> = (0..256).map(|n| n.to_string()).collect();
    let stream = rig.request(&format!("GET /many/{}\nAccept: text/event-stream", ids[..255].join(",")), "");
    assert!(rig.text(stream).starts_with("HTTP/1.1 200 "));
    assert_eq!(rig.status(&format!("GET /many/{}", ids.join(",")), ""), 403);
}

#[test]
fn several_templates_are_several_channels() {
    let mut rig = Rig::new(vec![
        at("/pub/", LocationMethods::Publisher, NCHAN(), |_| ()),
        at("/room/", LocationMethods::Subscriber, NCHAN(), |l| {
            l.channel_id = vec!["room-$1".into(), "user-${arg_me}".into(), "all".into()];
        }),
    ]);
    let stream = rig.request("GET /room/7?me=bob\nAccept: text/event-stream", "");
    rig.take(stream);
    for channel in ["room-7", "user-bob", "all"] {
        assert_eq!(rig.publish(channel, "x"), 201, "{channel}");
    }
    assert!(rig.text(stream).ends_with("id: 1795257022:0,0,[0]\ndata: x\n\n"));
}

#[test]
fn a_late_message_of_the_second_before_neither_repeats_nor_hides_anything() {
    use crate::channel::Position;
    use crate::dialect::relay::multi::Multi;
    let mut multi = Multi::new(2, 2, None);
    assert_eq!(multi.advance(0, Position { time: 11, tag: 3 }), (11, b"[3],-".to_vec()));
    // From another shard, made before: resuming behind it has both behind it.
    assert_eq!(multi.advance(1, Position { time: 10, tag: 8 }), (11, b"3,[-]".to_vec()));
    assert_eq!(multi.advance(1, Position { time: 11, tag: 0 }), (11, b"3,[0]".to_vec()));
}

#[test]
fn clients_stay_away_from_channels_that_others_protect() {
    let open = at("/open/", LocationMethods::Subscriber, NCHAN(), |l| l.protected_channels = true);
    let apart = at("/apart/", LocationMethods::Pubsub, NCHAN(), |l| l.store = "own".into());
    let mut rig = Rig::new(vec![
        at("/pub/", LocationMethods::Publisher, NCHAN(), |_| ()),
        at("/sub/", LocationMethods::Subscriber, NCHAN(), |_| ()),
        at("/both/", LocationMethods::Pubsub, NCHAN(), |_| ()),
        open,
        apart,
    ]);
    for name in ["private-a", "presence-a", "personal-a", "peer-a:b&c", "%23server-to-user-a"] {
        // A publisher's location is for back ends.
        assert_eq!(rig.status(&format!("POST /pub/{name}"), "x"), 202, "{name}");
        assert_eq!(rig.status(&format!("GET /sub/{name}"), ""), 403, "{name}");
        assert_eq!(rig.status(&format!("POST /both/{name}"), "x"), 403, "{name}");
        assert_eq!(rig.status(&format!("GET /open/{name}"), ""), 200, "{name}");
        assert_eq!(rig.status(&format!("POST /apart/{name}"), "x"), 202, "{name}");
    }
    assert_eq!(rig.status("POST /both/my-private-a", "x"), 202);
}
