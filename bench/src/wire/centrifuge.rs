//! JSON protocol of the centrifuge library, the client's side: connect, subscribe, publications. The server's answer to
//! the first command, which both versions of the protocol take, tells the version: the second names each kind of reply
//! and push, the first (library releases before 0.21) has a `result` for all of them.

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
    #[serde(borrow)]
    result: Option<FirstResult<'a>>,
}

/// A reply or a push of version 1.
#[derive(Debug, Deserialize)]
struct FirstResult<'a> {
    /// 0, or missing, is a publication.
    #[serde(default, rename = "type")]
    kind: u32,
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

    /// The publication in it, if it is one of `channel`.
    fn publication(&self, channel: &str) -> Option<&str> {
        let publication = match (&self.push, &self.result) {
            (Some(Push { channel: of, publication }), None) if of == channel => publication,
            (None, Some(FirstResult { kind: 0, channel: Some(of), data })) if of == channel => data,
            _ => return None,
        };
        publication.as_ref().filter(|_| self.id == 0).map(|publication| &*publication.data)
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
    match reply.publication(channel) {
        Some(data) => on(Heard::Message(data.as_bytes())),
        None if reply.is_ping() => on(Heard::Answer(PING)),
        None => Err(unexpected().into()),
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
        assert_eq!(talk().step(b"{}"), Ok(Step::Say("{}".to_owned())));
        assert!(talk().step(br#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#).is_err());
        assert!(talk().step(br#"{"id":3,"subscribe":{}}"#).is_err());
    }

    #[test]
    fn version_1_has_results() {
        let connected = br#"{"id":1,"result":{"client":"c","version":""}}"#;
        let subscribe = r#"{"id":2,"method":1,"params":{"channel":"bench"}}"#.to_owned();
        assert_eq!(talk().step(connected), Ok(Step::Say(subscribe)));
        assert_eq!(talk().step(br#"{"id":2,"result":{}}"#), Ok(Step::Open));
        let publication = r#"{"result":{"channel":"bench","data":{"data":"fw-1"}}}"#;
        assert_eq!(heard(&talk(), publication).unwrap(), ["fw-1"]);
        for bad in [
            r#"{"result":{"channel":"other","data":{"data":"fw-1"}}}"#,
            r#"{"result":{"type":1,"channel":"bench","data":{"data":"fw-1"}}}"#,
            r#"{"id":3,"result":{"channel":"bench","data":{"data":"fw-1"}}}"#,
            r#"{"result":{}}"#,
        ] {
            assert!(heard(&talk(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn publications_may_share_a_frame() {
        let publication =
            |text: &str| format!(r#"{{"push":{{"channel":"bench","pub":{{"data":"{text}"}}}}}}"#);
        let frame = format!("{}\n{{}}\n{}\n", publication("fw-1"), publication("fw-2"));
        assert_eq!(heard(&talk(), &frame).unwrap(), ["fw-1", "> {}", "fw-2"]);
        for bad in [
            r#"{"push":{"channel":"other","pub":{"data":"fw-1"}}}"#,
            r#"{"push":{"channel":"bench","unsubscribe":{}}}"#,
            r#"{"push":{"channel":"bench","pub":{"data":{"a":1}}}}"#,
            r#"{"id":3}"#,
            r#"{"error":{"code":1}}"#,
            "fw-1",
        ] {
            assert!(heard(&talk(), bad).is_err(), "{bad}");
        }
    }
}
