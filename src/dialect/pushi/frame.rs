//! What a client sends (pushi.md sections 3 to 5). Every frame is a JSON object, in text or binary alike.

use super::name;
use crate::limits::{PUSHI_EVENT_BYTES, PUSHI_EVENTS_DEFAULT, PUSHI_USER_BYTES};
use crate::wire::json::{Kind, Reader, Value};
use std::fmt;

/// One frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing at all.
    Empty,
    /// Wants to subscribe.
    Subscribe(Subscribe<'a>),
    /// Wants to leave a channel.
    Unsubscribe {
        /// Which.
        channel: &'a str,
    },
    /// Wants stored events.
    Latest {
        /// Of which channel.
        channel: &'a str,
        /// So many of the newest are left out.
        skip: u32,
        /// At most so many.
        count: u32,
    },
    /// Sends an event: every name that is none of the above, also `pusher:ping`.
    Event(Event<'a>),
}

impl<'a> Frame<'a> {
    /// The channel it is about.
    pub fn channel(&self) -> Option<&'a str> {
        match self {
            Frame::Empty => None,
            Frame::Subscribe(Subscribe { channel, .. })
            | Frame::Unsubscribe { channel }
            | Frame::Latest { channel, .. }
            | Frame::Event(Event { channel, .. }) => Some(channel),
        }
    }
}

/// See [`Frame::Subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// To what.
    pub channel: &'a str,
    /// Key and signature.
    pub auth: Option<&'a str>,
    /// What it says of itself, as it was sent. An object: [`Member::parse`] says whether it is good, which matters
    /// where a presence channel is joined and nowhere else.
    pub channel_data: Option<&'a str>,
}

/// See [`Frame::Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name.
    pub event: &'a str,
    /// Where to.
    pub channel: &'a str,
    /// The decoded string, or the JSON that was sent instead of one (trap 6).
    pub data: &'a str,
    /// The sender gets it, too.
    pub echo: bool,
    /// It is kept, which is what happens when nothing is said (trap 7).
    pub persist: bool,
}

/// Who joins a presence channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The id as text: a number as it was sent.
    pub user_id: String,
    /// The whole `channel_data`, as it was sent.
    pub data: String,
    /// It wants channels with each of the others.
    pub peer: bool,
}

/// Why a frame ends the connection; there is no other answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// Not one JSON object, or nested too deep.
    NotJson,
    /// No name of an event, or none that is a string.
    NoEvent,
    /// No `data`, or, in a command, none that is an object.
    NoData,
    /// No channel, or none that is a string.
    NoChannel,
    /// A name is longer than it may be, or is one of the node's own.
    BadName,
    /// `skip` or `count` is no number.
    BadCount,
    /// `channel_data` has no `user_id` that is a plain value.
    BadMember,
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadFrame::NotJson => "not a JSON object",
            BadFrame::NoEvent => "no event",
            BadFrame::NoData => "no data, or not an object in a command",
            BadFrame::NoChannel => "no channel",
            BadFrame::BadName => "a name is too long or reserved",
            BadFrame::BadCount => "skip or count is no number",
            BadFrame::BadMember => "channel_data without a good user_id",
        })
    }
}

impl std::error::Error for BadFrame {}

/// Reads one frame.
///
/// # Errors
/// What is wrong with it: the connection is to be closed.
pub fn parse<'a>(reader: &'a mut Reader, text: &'a str) -> Result<Frame<'a>, BadFrame> {
    if text.is_empty() {
        return Ok(Frame::Empty);
    }
    let document = reader.read(text).map_err(|_| BadFrame::NotJson)?;
    let root = document.root();
    if root.kind() != Kind::Object {
        return Err(BadFrame::NotJson);
    }
    let event = root.get("event").and_then(Value::as_str).ok_or(BadFrame::NoEvent)?;
    let data = root.get("data").ok_or(BadFrame::NoData)?;
    // The colon is as good as an underscore (section 3).
    match event {
        "pusher:subscribe" | "pusher_subscribe" => subscribe(command(data)?),
        "pusher:unsubscribe" | "pusher_unsubscribe" => {
            Ok(Frame::Unsubscribe { channel: channel(command(data)?)? })
        }
        "pusher:latest" | "pusher_latest" => latest(command(data)?),
        _ if event.len() > PUSHI_EVENT_BYTES => Err(BadFrame::BadName),
        _ => Ok(Frame::Event(Event {
            event,
            channel: channel(root)?,
            data: text_of(data),
            echo: root.get("echo").is_some_and(is_true),
            persist: root.get("persist").is_none_or(is_true),
        })),
    }
}

/// The decoded string, or the value as it was sent: an object becomes a string exactly once (trap 6).
pub(super) fn text_of<'a>(value: Value<'_, 'a>) -> &'a str {
    value.as_str().unwrap_or_else(|| value.raw())
}

/// What Python takes for true.
pub(super) fn is_true(value: Value<'_, '_>) -> bool {
    match value.kind() {
        Kind::Null => false,
        Kind::Bool => value.raw() == "true",
        Kind::Number => value.raw().parse::<f64>().is_ok_and(|number| number != 0.0),
        Kind::String => value.as_str().is_some_and(|text| !text.is_empty()),
        Kind::Array => value.items().len() > 0,
        Kind::Object => value.members().next().is_some(),
    }
}

fn command<'t, 'a>(data: Value<'t, 'a>) -> Result<Value<'t, 'a>, BadFrame> {
    if data.kind() == Kind::Object { Ok(data) } else { Err(BadFrame::NoData) }
}

fn channel<'a>(object: Value<'_, 'a>) -> Result<&'a str, BadFrame> {
    let channel = object.get("channel").and_then(Value::as_str).ok_or(BadFrame::NoChannel)?;
    if name::is_allowed(channel) { Ok(channel) } else { Err(BadFrame::BadName) }
}

fn subscribe<'a>(data: Value<'_, 'a>) -> Result<Frame<'a>, BadFrame> {
    Ok(Frame::Subscribe(Subscribe {
        channel: channel(data)?,
        auth: data.get("auth").and_then(Value::as_str),
        channel_data: data.get("channel_data").filter(|data| is_true(*data)).map(Value::raw),
    }))
}

fn latest<'a>(data: Value<'_, 'a>) -> Result<Frame<'a>, BadFrame> {
    let number = |name, default| match data.get(name) {
        None => Ok(default),
        // Beyond 32 bits nothing is kept anyway.
        Some(value) => match value.raw().parse::<u64>() {
            Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
            Err(_) => Err(BadFrame::BadCount),
        },
    };
    let (skip, count) = (number("skip", 0)?, number("count", PUSHI_EVENTS_DEFAULT)?);
    Ok(Frame::Latest { channel: channel(data)?, skip, count })
}

impl Member {
    /// Reads `channel_data` of a presence channel. It has to be an object: Pusher's string is refused (trap 2).
    ///
    /// # Errors
    /// [`BadFrame::BadMember`].
    pub fn parse(reader: &mut Reader, channel_data: &str) -> Result<Member, BadFrame> {
        let document = reader.read(channel_data).map_err(|_| BadFrame::BadMember)?;
        let root = document.root();
        let id = root.get("user_id").ok_or(BadFrame::BadMember)?;
        let is_plain = !matches!(id.kind(), Kind::Array | Kind::Object);
        let user_id = text_of(id);
        if !is_plain || user_id.len() > PUSHI_USER_BYTES {
            return Err(BadFrame::BadMember);
        }
        let peer = root.get("peer").is_some_and(is_true);
        Ok(Member { user_id: user_id.to_owned(), data: root.raw().to_owned(), peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, test: impl FnOnce(Result<Frame<'_>, BadFrame>)) {
        test(parse(&mut Reader::default(), text));
    }

    #[test]
    fn commands_are_those_of_the_sheet() {
        read(
            r#"{"event":"pusher:subscribe","data":{"channel":"global"},"echo":false,"persist":true}"#,
            |frame| {
                let wanted = Subscribe { channel: "global", auth: None, channel_data: None };
                assert_eq!(frame, Ok(Frame::Subscribe(wanted)));
                assert_eq!(frame.unwrap().channel(), Some("global"));
            },
        );
        read(r#"{"event":"pusher_unsubscribe","data":{"channel":"c"}}"#, |frame| {
            assert_eq!(frame, Ok(Frame::Unsubscribe { channel: "c" }));
        });
        read(r#"{"event":"pusher:latest","data":{"channel":"c"}}"#, |frame| {
            assert_eq!(frame, Ok(Frame::Latest { channel: "c", skip: 0, count: 10 }));
        });
        read(r#"{"event":"pusher:latest","data":{"channel":"c","skip":2,"count":99999999999}}"#, |frame| {
            assert_eq!(frame, Ok(Frame::Latest { channel: "c", skip: 2, count: u32::MAX }));
        });
        read("", |frame| assert_eq!(frame, Ok(Frame::Empty)));
    }

    #[test]
    fn trap_2_channel_data_is_an_object() {
        let text = r#"{"event":"pusher:subscribe","data":{"channel":"presence-a","auth":"k:s","channel_data": { "user_id": 7, "peer":true }}}"#;
        read(text, |frame| {
            let Ok(Frame::Subscribe(subscribe)) = frame else { panic!("{frame:?}") };
            let data = subscribe.channel_data.unwrap();
            let member = Member::parse(&mut Reader::default(), data).unwrap();
            assert_eq!((member.user_id.as_str(), member.peer), ("7", true));
            assert_eq!(member.data, r#"{ "user_id": 7, "peer":true }"#);
        });
        for bad in [
            r#""{\"user_id\":\"u\"}""#,
            r#"{"id":1}"#,
            r#"{"user_id":[1]}"#,
            r#"{"user_id":{}}"#,
            "[1]",
            &format!(r#"{{"user_id":"{}"}}"#, "u".repeat(PUSHI_USER_BYTES + 1)),
        ] {
            assert_eq!(Member::parse(&mut Reader::default(), bad), Err(BadFrame::BadMember), "{bad}");
        }
        for (id, text) in [("null", "null"), ("true", "true"), (r#""\u00e9""#, "é"), ("1.5", "1.5")] {
            let data = format!(r#"{{"user_id":{id}}}"#);
            assert_eq!(Member::parse(&mut Reader::default(), &data).unwrap().user_id, text);
        }
        for none in ["null", "{}", "\"\"", "0"] {
            let text =
                format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"c","channel_data":{none}}}}}"#);
            read(&text, |frame| {
                assert!(
                    matches!(frame, Ok(Frame::Subscribe(Subscribe { channel_data: None, .. }))),
                    "{none}"
                );
            });
        }
    }

    #[test]
    fn trap_6_and_7_data_become_texts_and_events_are_kept() {
        for (data, text) in [
            (r#""hi""#, "hi"),
            (r#"{"x":[1]}"#, r#"{"x":[1]}"#),
            (r#""""#, ""),
            ("null", "null"),
            ("{}", "{}"),
            ("0", "0"),
            ("false", "false"),
        ] {
            read(&format!(r#"{{"event":"client-x","data":{data},"channel":"c"}}"#), |frame| {
                let wanted =
                    Event { event: "client-x", channel: "c", data: text, echo: false, persist: true };
                assert_eq!(frame, Ok(Frame::Event(wanted)));
            });
        }
        for (flags, wanted) in [
            (r#""echo":true,"persist":false"#, (true, false)),
            (r#""echo":1,"persist":0"#, (true, false)),
            (r#""echo":"","persist":"false""#, (false, true)),
            (r#""echo":null,"persist":null"#, (false, false)),
        ] {
            read(&format!(r#"{{"event":"pusher:ping","data":"","channel":"c",{flags}}}"#), |frame| {
                let Ok(Frame::Event(event)) = frame else { panic!("{frame:?}") };
                assert_eq!((event.echo, event.persist), wanted);
            });
        }
    }

    #[test]
    fn everything_else_is_an_error() {
        for (text, error) in [
            ("x", BadFrame::NotJson),
            ("[]", BadFrame::NotJson),
            ("\"a\"", BadFrame::NotJson),
            ("{}", BadFrame::NoEvent),
            (r#"{"event":1,"data":1,"channel":"c"}"#, BadFrame::NoEvent),
            (r#"{"event":"e","channel":"c"}"#, BadFrame::NoData),
            (r#"{"event":"e","data":"d"}"#, BadFrame::NoChannel),
            (r#"{"event":"e","data":"d","channel":7}"#, BadFrame::NoChannel),
            (r##"{"event":"e","data":"d","channel":"#server-to-user-1"}"##, BadFrame::BadName),
            (r#"{"event":"pusher:subscribe"}"#, BadFrame::NoData),
            (r#"{"event":"pusher:subscribe","data":"{\"channel\":\"c\"}"}"#, BadFrame::NoData),
            (r#"{"event":"pusher:subscribe","data":{}}"#, BadFrame::NoChannel),
            (r#"{"event":"pusher:latest","data":{"channel":"c","skip":-1}}"#, BadFrame::BadCount),
            (r#"{"event":"pusher:latest","data":{"channel":"c","count":"1"}}"#, BadFrame::BadCount),
        ] {
            read(text, |frame| assert_eq!(frame, Err(error), "{text}"));
        }
        let long = "e".repeat(PUSHI_EVENT_BYTES + 1);
        read(&format!(r#"{{"event":"{long}","data":"d","channel":"c"}}"#), |frame| {
            assert_eq!(frame, Err(BadFrame::BadName));
        });
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}:,\"a-z0-9 _]{0,60}") {
            read(&text, |frame| { let _ = frame.map(|frame| frame.channel().map(str::len)); });
        }

        #[test]
        fn an_event_is_read_back(event: String, channel: String, data: String) {
            prop_assume!(!channel.starts_with('#') && !event.starts_with("pusher"));
            let text = serde_json::json!({"event": event, "channel": channel, "data": data}).to_string();
            read(&text, |frame| {
                let wanted = Event { event: &event, channel: &channel, data: &data, echo: false, persist: true };
                assert_eq!(frame, Ok(Frame::Event(wanted)));
            });
        }
    }
}
