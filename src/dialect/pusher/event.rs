//! What a client gets (pusher.md sections 1 to 10): every `data` is a JSON string, escaped once, except where a
//! client's own data is passed on as it was sent and in errors.

use super::codes::Code;
use super::frame::Data;
use super::handshake::SocketId;
use crate::wire::json::{comma, embedded, number, string};

/// What a member without `user_info` is shown with: clients look into it without asking.
const NO_INFO: &str = "{}";

/// An event in a channel, from a back end or a client.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its name.
    pub event: &'a [u8],
    /// Its channel.
    pub channel: &'a [u8],
    /// [`Data::Text`] for what back ends publish; a client's data keep their type. What is not UTF-8 is replaced.
    pub data: Option<Data<'a>>,
    /// The sender, on presence channels.
    pub user_id: Option<&'a [u8]>,
}

/// Writes an event.
pub fn event(out: &mut Vec<u8>, event: &Event<'_>) {
    begin(out, event.event, Some(event.channel));
    match event.data {
        Some(Data::Text(text)) => {
            out.extend_from_slice(b",\"data\":");
            string(out, text);
        }
        Some(Data::Json(json)) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(json);
        }
        None => {}
    }
    if let Some(user_id) = event.user_id {
        out.extend_from_slice(b",\"user_id\":");
        string(out, user_id);
    }
    out.push(b'}');
}

/// The first frame of every connection. `activity_timeout_s` must not be 0: pusher-js would wait for ever.
pub fn connection_established(out: &mut Vec<u8>, socket_id: SocketId, activity_timeout_s: u32) {
    protocol_event(out, "pusher:connection_established", None, |data| {
        data.extend_from_slice(b"{\"socket_id\":");
        string(data, socket_id.to_string().as_bytes());
        data.extend_from_slice(b",\"activity_timeout\":");
        number(data, activity_timeout_s.max(1).into());
        data.push(b'}');
    });
}

/// An error: its `data` is an object, as the hosted service has it.
pub fn error(out: &mut Vec<u8>, code: Option<Code>, message: &str, channel: Option<&str>) {
    begin(out, b"pusher:error", channel.map(str::as_bytes));
    out.extend_from_slice(b",\"data\":{\"code\":");
    match code {
        Some(code) => number(out, code.number().into()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"message\":");
    string(out, message.as_bytes());
    out.extend_from_slice(b"}}");
}

/// Asks whether the client is there.
pub fn ping(out: &mut Vec<u8>) {
    protocol_event(out, "pusher:ping", None, empty);
}

/// Answers a ping.
pub fn pong(out: &mut Vec<u8>) {
    protocol_event(out, "pusher:pong", None, empty);
}

/// Tells that a subscription stands; for presence channels see [`presence_succeeded`].
pub fn subscription_succeeded(out: &mut Vec<u8>, channel: &str) {
    protocol_event(out, "pusher_internal:subscription_succeeded", Some(channel), empty);
}

/// Tells that a subscription to a presence channel stands, with everybody who is there, the subscriber included:
/// (user id, `user_info` as JSON), each user once.
pub fn presence_succeeded<'m>(
    out: &mut Vec<u8>,
    channel: &str,
    members: impl Iterator<Item = (&'m str, Option<&'m str>)> + Clone,
) {
    protocol_event(out, "pusher_internal:subscription_succeeded", Some(channel), |data| {
        data.extend_from_slice(b"{\"presence\":{\"ids\":");
        let count = strings(data, members.clone().map(|(id, _)| id));
        data.extend_from_slice(b",\"hash\":{");
        let mut first = true;
        for (id, info) in members {
            comma(data, &mut first);
            string(data, id.as_bytes());
            data.push(b':');
            data.extend_from_slice(info.unwrap_or(NO_INFO).as_bytes());
        }
        data.extend_from_slice(b"},\"count\":");
        number(data, count);
        data.extend_from_slice(b"}}");
    });
}

/// Tells why there is no subscription; pusher-js hands it to the channel. `kind` and `status` as for
/// [`super::auth::AuthError`].
pub fn subscription_error(out: &mut Vec<u8>, channel: &str, kind: &str, message: &str, status: u16) {
    begin(out, b"pusher:subscription_error", Some(channel.as_bytes()));
    out.extend_from_slice(b",\"data\":{\"type\":");
    string(out, kind.as_bytes());
    out.extend_from_slice(b",\"error\":");
    string(out, message.as_bytes());
    out.extend_from_slice(b",\"status\":");
    number(out, status.into());
    out.extend_from_slice(b"}}");
}

/// Tells the others of a user's first connection; `user_info` is JSON.
pub fn member_added(out: &mut Vec<u8>, channel: &str, user_id: &str, user_info: Option<&str>) {
    protocol_event(out, "pusher_internal:member_added", Some(channel), |data| {
        data.extend_from_slice(b"{\"user_id\":");
        string(data, user_id.as_bytes());
        data.extend_from_slice(b",\"user_info\":");
        data.extend_from_slice(user_info.unwrap_or(NO_INFO).as_bytes());
        data.push(b'}');
    });
}

/// Tells the others that a user's last connection is gone.
pub fn member_removed(out: &mut Vec<u8>, channel: &str, user_id: &str) {
    protocol_event(out, "pusher_internal:member_removed", Some(channel), |data| {
        data.extend_from_slice(b"{\"user_id\":");
        string(data, user_id.as_bytes());
        data.push(b'}');
    });
}

/// Tells that a sign-in stands; `user_data` is the text that the client has sent.
pub fn signin_success(out: &mut Vec<u8>, user_data: &str) {
    protocol_event(out, "pusher:signin_success", None, |data| {
        data.extend_from_slice(b"{\"user_data\":");
        string(data, user_data.as_bytes());
        data.push(b'}');
    });
}

/// Tells which of the watched users are there and which are not; an empty list is left out.
pub fn watchlist_events<'u>(
    out: &mut Vec<u8>,
    online: impl Iterator<Item = &'u str> + Clone,
    offline: impl Iterator<Item = &'u str> + Clone,
) {
    protocol_event(out, "pusher_internal:watchlist_events", None, |data| {
        data.extend_from_slice(b"{\"events\":[");
        let mut first = true;
        watched(data, &mut first, "online", online);
        watched(data, &mut first, "offline", offline);
        data.extend_from_slice(b"]}");
    });
}

/// Tells how many are subscribed.
pub fn subscription_count(out: &mut Vec<u8>, channel: &str, count: u64) {
    protocol_event(out, "pusher_internal:subscription_count", Some(channel), |data| {
        data.extend_from_slice(b"{\"subscription_count\":");
        number(data, count);
        data.push(b'}');
    });
}

/// Tells that a cache channel has nothing to give.
pub fn cache_miss(out: &mut Vec<u8>, channel: &str) {
    protocol_event(out, "pusher:cache_miss", Some(channel), empty);
}

/// An event of the protocol itself, with JSON in a string as its data.
fn protocol_event(out: &mut Vec<u8>, event: &str, channel: Option<&str>, data: impl FnOnce(&mut Vec<u8>)) {
    begin(out, event.as_bytes(), channel.map(str::as_bytes));
    out.extend_from_slice(b",\"data\":");
    embedded(out, data);
    out.push(b'}');
}

fn begin(out: &mut Vec<u8>, event: &[u8], channel: Option<&[u8]>) {
    out.extend_from_slice(b"{\"event\":");
    string(out, event);
    if let Some(channel) = channel {
        out.extend_from_slice(b",\"channel\":");
        string(out, channel);
    }
}

fn empty(data: &mut Vec<u8>) {
    data.extend_from_slice(b"{}");
}

fn watched<'u>(
    data: &mut Vec<u8>,
    first: &mut bool,
    name: &str,
    users: impl Iterator<Item = &'u str> + Clone,
) {
    if users.clone().next().is_none() {
        return;
    }
    comma(data, first);
    data.extend_from_slice(b"{\"name\":");
    string(data, name.as_bytes());
    data.extend_from_slice(b",\"user_ids\":");
    strings(data, users);
    data.push(b'}');
}

/// Writes an array of strings and tells how many there are.
fn strings<'s>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'s str>) -> u64 {
    let (mut first, mut count) = (true, 0);
    out.push(b'[');
    for text in texts {
        comma(out, &mut first);
        string(out, text.as_bytes());
        count += 1;
    }
    out.push(b']');
    count
}

#[cfg(test)]
mod tests {
    use super::super::refusal::Refusal;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The frame and what is in its data string.
    fn read(text: &str) -> (Value, Value) {
        let frame: Value = serde_json::from_str(text).unwrap();
        let data = serde_json::from_str(frame["data"].as_str().expect("data is a string")).unwrap();
        (frame, data)
    }

    #[test]
    fn frames_are_those_of_the_sheet() {
        for (written, expected) in [
            (
                text(|out| connection_established(out, SocketId(123 << 32 | 456), 120)),
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"123.456\",\"activity_timeout\":120}"}"#,
            ),
            (text(pong), r#"{"event":"pusher:pong","data":"{}"}"#),
            (text(ping), r#"{"event":"pusher:ping","data":"{}"}"#),
            (
                text(|out| subscription_succeeded(out, "orders")),
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"orders","data":"{}"}"#,
            ),
            (
                text(|out| {
                    presence_succeeded(out, "presence-a", [("u1", Some(r#"{"name":"A"}"#))].into_iter())
                }),
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{\"presence\":{\"ids\":[\"u1\"],\"hash\":{\"u1\":{\"name\":\"A\"}},\"count\":1}}"}"#,
            ),
            (
                text(|out| member_added(out, "presence-room", "u2", Some(r#"{"n":2}"#))),
                r#"{"event":"pusher_internal:member_added","channel":"presence-room","data":"{\"user_id\":\"u2\",\"user_info\":{\"n\":2}}"}"#,
            ),
            (
                text(|out| member_removed(out, "presence-room", "u2")),
                r#"{"event":"pusher_internal:member_removed","channel":"presence-room","data":"{\"user_id\":\"u2\"}"}"#,
            ),
            (
                text(|out| signin_success(out, r#"{"id":"u1"}"#)),
                r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"u1\\\"}\"}"}"#,
            ),
            (
                text(|out| watchlist_events(out, ["u2"].into_iter(), ["u3"].into_iter())),
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"u2\"]},{\"name\":\"offline\",\"user_ids\":[\"u3\"]}]}"}"#,
            ),
            (
                text(|out| subscription_count(out, "a", 3)),
                r#"{"event":"pusher_internal:subscription_count","channel":"a","data":"{\"subscription_count\":3}"}"#,
            ),
            (
                text(|out| cache_miss(out, "cache-a")),
                r#"{"event":"pusher:cache_miss","channel":"cache-a","data":"{}"}"#,
            ),
            (
                text(|out| error(out, Some(Code::ClientEvent), "no", None)),
                r#"{"event":"pusher:error","data":{"code":4301,"message":"no"}}"#,
            ),
            (
                text(|out| error(out, Refusal::NotJson.code(), "\"", Some("a"))),
                r#"{"event":"pusher:error","channel":"a","data":{"code":null,"message":"\""}}"#,
            ),
            (
                text(|out| subscription_error(out, "private-a", "AuthError", "no", 401)),
                r#"{"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"no","status":401}}"#,
            ),
        ] {
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn a_member_without_information_has_an_empty_object() {
        let (_, data) = read(&text(|out| {
            presence_succeeded(out, "presence-a", [("1", None), ("2", Some("[2]"))].into_iter())
        }));
        assert_eq!(data, json!({"presence": {"ids": ["1", "2"], "hash": {"1": {}, "2": [2]}, "count": 2}}));
        let (_, data) = read(&text(|out| member_added(out, "presence-a", "1", None)));
        assert_eq!(data, json!({"user_id": "1", "user_info": {}}));
        let (_, data) = read(&text(|out| presence_succeeded(out, "presence-a", [].into_iter())));
        assert_eq!(data, json!({"presence": {"ids": [], "hash": {}, "count": 0}}));
    }

    #[test]
    fn watchlists_without_users_are_left_out() {
        let none = || std::iter::empty();
        let (frame, data) = read(&text(|out| watchlist_events(out, none(), ["a", "b"].into_iter())));
        assert_eq!(data, json!({"events": [{"name": "offline", "user_ids": ["a", "b"]}]}));
        assert!(frame.get("channel").is_none());
        assert_eq!(read(&text(|out| watchlist_events(out, none(), none()))).1, json!({"events": []}));
    }

    #[test]
    fn an_activity_timeout_is_never_zero() {
        let (_, data) = read(&text(|out| connection_established(out, SocketId(0), 0)));
        assert_eq!(data, json!({"socket_id": "0.0", "activity_timeout": 1}));
    }

    #[test]
    fn events_carry_text_as_a_string_and_json_as_it_is() {
        let event = |data, user_id| {
            text(|out| event(out, &Event { event: b"client-a", channel: b"presence-a", data, user_id }))
        };
        assert_eq!(
            event(Some(Data::Text(b"{\"id\":7}")), None),
            r#"{"event":"client-a","channel":"presence-a","data":"{\"id\":7}"}"#
        );
        assert_eq!(
            event(Some(Data::Json(b"{ \"id\":7.0}")), Some(b"u\"1")),
            r#"{"event":"client-a","channel":"presence-a","data":{ "id":7.0},"user_id":"u\"1"}"#
        );
        assert_eq!(event(None, None), r#"{"event":"client-a","channel":"presence-a"}"#);
        assert_eq!(
            event(Some(Data::Text(b"just text\n")), None),
            r#"{"event":"client-a","channel":"presence-a","data":"just text\n"}"#
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(name: String, channel: String, data: String, user: String) {
            let frame = text(|out| event(out, &Event {
                event: name.as_bytes(),
                channel: channel.as_bytes(),
                data: Some(Data::Text(data.as_bytes())),
                user_id: Some(user.as_bytes()),
            }));
            let expected = json!({"event": name, "channel": channel, "data": data, "user_id": user});
            prop_assert_eq!(serde_json::from_str::<Value>(&frame).unwrap(), expected);
            let (_, inner) = read(&text(|out| signin_success(out, &data)));
            prop_assert_eq!(inner, json!({"user_data": data}));
            let info = json!({"n": data}).to_string();
            let members = [(user.as_str(), Some(info.as_str()))];
            let (frame, inner) = read(&text(|out| presence_succeeded(out, &channel, members.into_iter())));
            prop_assert_eq!(&frame["channel"], &channel);
            prop_assert_eq!(&inner["presence"]["hash"][&user], &json!({"n": data}));
            let (_, inner) = read(&text(|out| member_added(out, &channel, &user, Some(&info))));
            prop_assert_eq!(inner, json!({"user_id": user, "user_info": {"n": data}}));
        }

        #[test]
        fn any_bytes_make_a_frame(name: Vec<u8>, data: Vec<u8>) {
            let frame = text(|out| event(out, &Event {
                event: &name, channel: &name, data: Some(Data::Text(&data)), user_id: Some(&data),
            }));
            let frame: Value = serde_json::from_str(&frame).unwrap();
            prop_assert_eq!(frame["data"].as_str().unwrap(), String::from_utf8_lossy(&data));
        }
    }
}
