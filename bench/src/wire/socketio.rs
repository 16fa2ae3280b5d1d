//! Socket.IO 5 on Engine.IO 4 over WebSocket from the start, the client's side. The server puts a socket that emits
//! `sub` with a name and an acknowledgement into the room of that name, and sends messages as event `m`.

use super::talk::{Heard, Step, excerpt};
use serde::Deserialize;
use std::borrow::Cow;

/// An event with one string, as the server emits messages.
#[derive(Debug, Deserialize)]
struct Emitted<'a>(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] Cow<'a, str>);

/// From the open packet to the acknowledgement of the subscription.
pub fn step(channel: &str, text: &[u8]) -> Result<Step, String> {
    match text {
        [b'0', b'{', ..] => Ok(Step::Say("40".to_owned())),
        [b'4', b'0', b'{', ..] => {
            Ok(Step::Say(format!("421[\"sub\",{}]", super::pusher::json_string(channel))))
        }
        [b'4', b'3', b'1', b'[', ..] => Ok(Step::Open),
        b"2" => Ok(Step::Say("3".to_owned())),
        _ => Err(format!("no subscription: {}", excerpt(text))),
    }
}

/// What comes to a socket in a room.
pub fn hear<E: From<String>>(text: &[u8], mut on: impl FnMut(Heard<'_>) -> Result<(), E>) -> Result<(), E> {
    if text == b"2" {
        return on(Heard::Answer("3"));
    }
    let event = text.strip_prefix(b"42").and_then(|json| serde_json::from_slice::<Emitted<'_>>(json).ok());
    match event {
        Some(Emitted(name, payload)) if name == "m" => on(Heard::Message(payload.as_bytes())),
        _ => Err(format!("a packet nobody published: {}", excerpt(text)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::talk::tests::heard;
    use super::super::{App, Dialect, Talk, Wire};
    use super::*;

    #[test]
    fn a_subscription_goes_its_steps() {
        let talk = Talk::new(&Wire::of(Dialect::Socketio, "bench", &App::default()));
        let say = |text: &str| Ok(Step::Say(text.to_owned()));
        assert_eq!(talk.step(br#"0{"sid":"a","upgrades":[],"pingInterval":25000}"#), say("40"));
        assert_eq!(talk.step(br#"40{"sid":"b"}"#), say(r#"421["sub","bench"]"#));
        assert_eq!(talk.step(b"2"), say("3"));
        assert_eq!(talk.step(b"431[]"), Ok(Step::Open));
        for bad in [&b"44{\"message\":\"no\"}"[..], b"1", b"432[]", b""] {
            assert!(talk.step(bad).is_err());
        }
    }

    #[test]
    fn only_the_event_of_messages_is_one() {
        let talk = Talk::new(&Wire::of(Dialect::Socketio, "bench", &App::default()));
        assert_eq!(heard(&talk, r#"42["m","fw-1"]"#).unwrap(), ["fw-1"]);
        assert_eq!(heard(&talk, "2").unwrap(), ["> 3"]);
        for bad in
            [r#"42["n","fw-1"]"#, r#"42["m"]"#, r#"42["m","a","b"]"#, r#"42["m",1]"#, "6", "41", "fw-1"]
        {
            assert!(heard(&talk, bad).is_err(), "{bad}");
        }
    }
}
