use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn read(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    serde_json::from_str(&text(write)).unwrap()
}

/// A frame whose `data` is JSON in a string.
fn read_reply(write: impl FnOnce(&mut Vec<u8>)) -> (Value, Value) {
    let frame = read(write);
    let data = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
    (frame, data)
}

const KEPT: Kept = Kept { mid: [0x11; 16], unix_ms: 1_795_257_384_083 };

fn plain<'a>(data: &'a str, extra: &'a str) -> Envelope<'a> {
    Envelope { channel: b"global", event: b"message", data: data.as_bytes(), extra }
}

#[test]
fn the_first_frame_is_that_of_the_sheet() {
    let id = SocketId::parse("8e0d03b9-a87a-46f0-bc4a-ec35954836a0").unwrap();
    assert_eq!(
        text(|out| connection_established(out, id)),
        r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"8e0d03b9-a87a-46f0-bc4a-ec35954836a0\"}"}"#
    );
}

#[test]
fn trap_6_data_is_a_string_and_nothing_when_it_is_empty() {
    assert_eq!(
        text(|out| envelope(out, &plain("hi", ""), None)),
        r#"{"event":"message","channel":"global","data":"hi"}"#
    );
    assert_eq!(
        text(|out| envelope(out, &plain(r#"{"x":[1]}"#, ""), None)),
        r#"{"event":"message","channel":"global","data":"{\"x\":[1]}"}"#
    );
    assert_eq!(text(|out| envelope(out, &plain("", ""), None)), r#"{"event":"message","channel":"global"}"#);
}

#[test]
fn trap_8_id_and_time_are_at_the_top_when_live_and_beside_data_in_history() {
    let live = read(|out| envelope(out, &plain("hi", ",\"persist\":true"), Some(KEPT)));
    let mid = "11111111-1111-1111-1111-111111111111";
    assert_eq!(
        live,
        json!({"event": "message", "channel": "global", "data": "hi", "persist": true, "mid": mid,
               "timestamp": 1_795_257_384.083})
    );
    let stored_event = Stored {
        id: 9,
        instance: "ident",
        kept: KEPT,
        owner: None,
        envelope: plain(r#"{"k": 1}"#, ",\"extra\":5"),
    };
    let mut expected = json!({
        "id": 9, "enabled": true, "description": null, "created": 1_795_257_384, "modified": 1_795_257_384,
        "meta": {}, "instance": "ident", "mid": mid, "channel": "global", "owner_id": null,
        "timestamp": 1_795_257_384.083,
        "data": {"data": "{\"k\": 1}", "event": "message", "channel": "global", "extra": 5}
    });
    assert_eq!(read(|out| stored(out, &stored_event, false)), expected);
    expected["_id"] = json!("1".repeat(24));
    let owner = SocketId::new(1, 2);
    expected["owner_id"] = json!(owner.to_string());
    let stored_event = Stored { owner: Some(owner), ..stored_event };
    assert_eq!(read(|out| stored(out, &stored_event, true)), expected);
}

#[test]
fn trap_4_replies_have_their_channel_and_all_four_members() {
    let nobody = || std::iter::empty::<(&[u8], &[u8])>();
    let none = || std::iter::empty::<&[u8]>();
    assert_eq!(
        text(|out| reply(
            out,
            Reply::Subscribed,
            ChannelData { name: "global", members: nobody(), alias: &[], events: none() }
        )),
        r#"{"event":"pusher_internal:subscription_succeeded","data":"{\"name\":\"global\",\"members\":{},\"alias\":[],\"events\":[]}","channel":"global"}"#
    );
    let members: [(&[u8], &[u8]); 3] = [
        (b"7", b"{\"user_id\":7}"),
        (b"u\"", b"{\"user_id\":\"u\\\"\",\"n\":1}"),
        (b"p", b"{\"name\":\"P\"}"),
    ];
    let alias = ["a".to_owned(), "b\"".to_owned()];
    let (frame, data) = read_reply(|out| {
        let events = ["{\"id\":2}", "{\"id\":1}"];
        let channel = ChannelData {
            name: "presence-é",
            members: members.into_iter(),
            alias: &alias,
            events: events.iter(),
        };
        reply(out, Reply::Unsubscribed, channel);
    });
    assert_eq!(
        (&frame["event"], &frame["channel"]),
        (&json!("pusher_internal:unsubscription_succeeded"), &json!("presence-é"))
    );
    assert_eq!(
        data,
        json!({
            "name": "presence-é",
            "members": {
                "7": {"user_id": 7}, "u\"": {"user_id": "u\"", "n": 1},
                "p": {"user_id": "p", "user_info": {"name": "P"}}
            },
            "alias": ["a", "b\""], "events": [{"id": 2}, {"id": 1}]
        })
    );
    let (frame, _) = read_reply(|out| {
        reply(out, Reply::Latest, ChannelData { name: "c", members: nobody(), alias: &[], events: none() });
    });
    assert_eq!(frame["event"], "pusher_internal:latest");
}

#[test]
fn trap_3_and_5_members_are_told_under_two_names() {
    let frame = read(|out| member_changed(out, b"presence-room", true, b"u2", br#"{"user_id": "u2"}"#));
    let member = r#"{"user_id": "u2"}"#;
    assert_eq!(
        frame,
        json!({"event": "pusher:member_added", "member": member, "data": member, "channel": "presence-room"})
    );
    let frame = read(|out| member_changed(out, b"presence-room", false, b"u2", b""));
    assert_eq!(frame["event"], "pusher:member_removed");
    assert_eq!(frame["member"], r#"{"user_id":"u2"}"#);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(channel: String, event: String, data: String, time in 0..(1_u64 << 42)) {
        let kept = Kept::new([time, 7], time);
        let written = Envelope { channel: channel.as_bytes(), event: event.as_bytes(), data: data.as_bytes(), extra: "" };
        let live = read(|out| envelope(out, &written, Some(kept)));
        prop_assert_eq!(live["channel"].as_str(), Some(&*channel));
        prop_assert_eq!(live["event"].as_str(), Some(&*event));
        prop_assert_eq!(live.get("data").map_or(Some(""), Value::as_str), Some(&*data));
        prop_assert_eq!(live["timestamp"].as_f64(), Some(time as f64 / 1000.0));
        let frame = read(|out| member_changed(out, channel.as_bytes(), true, data.as_bytes(), b""));
        prop_assert_eq!(&frame["member"], &frame["data"]);
        let member: Value = serde_json::from_str(frame["member"].as_str().unwrap()).unwrap();
        prop_assert_eq!(member["user_id"].as_str(), Some(&*data));
    }
}
