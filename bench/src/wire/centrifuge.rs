//! The JSON protocol of centrifuge and Centrifugo, the client's side: connect, subscribe, publications. Version 2 and,
//! for libraries before 0.24, version 1: both answer the same first command, each in its own form.

use super::talk::{Heard, Step, excerpt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// First command of a client.
pub const CONNECT: &str = r#"{"id":1,"connect":{}}"#;
/// A ping, and its answer.
const PING: &str = "{}";

#[derive(Debug, Deserialize)]
struct Reply<'a> {
    #[serde(default)]
    id: u32,
    error: Option<IgnoredAny>,
    connect: Option<IgnoredAny>,
    subscribe: Option<IgnoredAny>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
    /// Version 1: any answer, and without an id a push.
    #[serde(borrow)]
    result: Option<Outcome<'a>>,
}

#[derive(Debug, Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Publication<'a>>,
}

#[derive(Debug, Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow, rename = "pub")]
    publication: Option<Publication<'a>>,
}

#[derive(Debug, Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

impl Reply<'_> {
    fn is_ping(&self) -> bool {
        self.id == 0
            && self.error.is_none()
            && self.connect.is_none()
            && self.subscribe.is_none()
            && self.push.is_none()
            && self.result.is_none()
    }
}

/// From the answer to the connect to that to the subscription.
pub fn step(channel: &str, text: &[u8]) -> Result<Step, String> {
    let refused = || format!("no subscription: {}", excerpt(text));
    let reply: Reply<'_> = serde_json::from_slice(text).map_err(|_| refused())?;
    match reply {
        Reply { error: Some(_), .. } => Err(refused()),
        Reply { id: 1, connect: Some(_), .. } => {
            let channel = super::pusher::json_string(channel);
            Ok(Step::Say(format!(r#"{{"id":2,"subscribe":{{"channel":{channel}}}}}"#)))
        }
        Reply { id: 1, result: Some(_), .. } => {
            let channel = super::pusher::json_string(channel);
            Ok(Step::Say(format!(r#"{{"id":2,"method":1,"params":{{"channel":{channel}}}}}"#)))
        }
        Reply { id: 2, subscribe: Some(_), .. } | Reply { id: 2, result: Some(_), .. } => Ok(Step::Open),
        reply if reply.is_ping() => Ok(Step::Say(PING.to_owned())),
        _ => Err(refused()),
    }
}

/// What comes on a channel subscribed to; one line of a frame.
pub fn hear<E: From<String>>(
    channel: &str,
    line: &[u8],
    mut on: impl FnMut(Heard<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let unexpected = || format!("a reply nobody asked for: {}", excerpt(line));
    let reply: Reply<'_> = serde_json::from_slice(line).map_err(|_| unexpected())?;
    match &reply {
        Reply { push: Some(Push { channel: of, publication: Some(publication) }), .. }
        | Reply { id: 0, result: Some(Outcome { channel: Some(of), data: Some(publication) }), .. }
            if of == channel =>
        {
            on(Heard::Message(publication.data.as_bytes()))
        }
        reply if reply.is_ping() => on(Heard::Answer(PING)),
        _ => Err(unexpected().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::talk::tests::heard;
    use super::super::{App, Dialect, Talk, Wire};
    use super::*;

    fn talk() -> Talk {
        Talk::new(&Wire::of(Dialect::Centrifuge, "bench", &App::default()))
    }

    #[test]
    fn a_subscription_goes_its_steps() {
        assert_eq!(talk().first(), Some(CONNECT));
        let connected = br#"{"id":1,"connect":{"client":"c","version":"0.15","ping":25,"pong":true}}"#;
        let subscribe = r#"{"id":2,"subscribe":{"channel":"bench"}}"#.to_owned();
        assert_eq!(talk().step(connected), Ok(Step::Say(subscribe)));
        assert_eq!(talk().step(br#"{"id":2,"subscribe":{}}"#), Ok(Step::Open));
        let connected = br#"{"id":1,"result":{"client":"c","version":""}}"#;
        let subscribe = r#"{"id":2,"method":1,"params":{"channel":"bench"}}"#.to_owned();
        assert_eq!(talk().step(connected), Ok(Step::Say(subscribe)), "version 1");
        assert_eq!(talk().step(br#"{"id":2,"result":{}}"#), Ok(Step::Open), "version 1");
        assert_eq!(talk().step(b"{}"), Ok(Step::Say("{}".to_owned())));
        assert!(talk().step(br#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#).is_err());
        assert!(talk().step(br#"{"id":3,"subscribe":{}}"#).is_err());
    }

    #[test]
    fn publications_may_share_a_frame() {
        let publication =
            |text: &str| format!(r#"{{"push":{{"channel":"bench","pub":{{"data":"{text}"}}}}}}"#);
        let frame = format!("{}\n{{}}\n{}\n", publication("fw-1"), publication("fw-2"));
        assert_eq!(heard(&talk(), &frame).unwrap(), ["fw-1", "> {}", "fw-2"]);
        let first = r#"{"result":{"channel":"bench","data":{"data":"fw-1"}}}"#;
        assert_eq!(heard(&talk(), &format!("{first}\n{first}\n")).unwrap(), ["fw-1", "fw-1"], "version 1");
        for bad in [
            r#"{"push":{"channel":"other","pub":{"data":"fw-1"}}}"#,
            r#"{"push":{"channel":"bench","unsubscribe":{}}}"#,
            r#"{"push":{"channel":"bench","pub":{"data":{"a":1}}}}"#,
            r#"{"id":3}"#,
            r#"{"result":{"channel":"other","data":{"data":"fw-1"}}}"#,
            r#"{"id":3,"result":{"channel":"bench","data":{"data":"fw-1"}}}"#,
            r#"{"result":{"type":1,"channel":"bench","data":{"info":{}}}}"#,
            r#"{"error":{"code":1}}"#,
            "fw-1",
        ] {
            assert!(heard(&talk(), bad).is_err(), "{bad}");
        }
    }
}
