//! Pusher Channels protocol 7, the client's side: events, subscription, signatures.

use super::App;
use super::talk::{Heard, Step, excerpt};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::Deserialize;
use sha2::Sha256;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Name of the events that are published.
pub const EVENT: &str = "m";
/// Answer to a ping of the server.
pub const PONG: &str = r#"{"event":"pusher:pong","data":{}}"#;

/// An event from the server. `data` is a string in all that matters here; of any other kind it is not looked at.
#[derive(Debug, Deserialize)]
pub struct Event<'a> {
    /// Name.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// Channel it is of.
    #[serde(borrow)]
    pub channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Data<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(serde::de::IgnoredAny),
}

/// What the greeting's `data` says.
#[derive(Debug, Deserialize)]
struct Greeting {
    socket_id: String,
}

impl<'a> Event<'a> {
    /// Reads a text.
    pub fn parse(text: &'a [u8]) -> Result<Event<'a>, String> {
        serde_json::from_slice(text)
            .map_err(|error| format!("not a Pusher event ({error}): {}", excerpt(text)))
    }

    /// Its data, if that is a string.
    pub fn data(&self) -> Option<&str> {
        match &self.data {
            Some(Data::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is `name` of `channel`.
    pub fn is(&self, name: &str, channel: &str) -> bool {
        self.event == name && self.channel.as_deref() == Some(channel)
    }

    /// Socket id in a greeting. None for any other event.
    pub fn socket_id(&self) -> Option<Result<String, String>> {
        if self.event != "pusher:connection_established" {
            return None;
        }
        let greeting = serde_json::from_str::<Greeting>(self.data().unwrap_or_default());
        Some(greeting.map(|greeting| greeting.socket_id).map_err(|error| format!("bad greeting: {error}")))
    }
}

/// Subscription to a public channel.
pub fn step(channel: &str, text: &[u8]) -> Result<Step, String> {
    let event = Event::parse(text)?;
    if event.socket_id().transpose()?.is_some() {
        let channel = json_string(channel);
        let subscribe = format!(r#"{{"event":"pusher:subscribe","data":{{"auth":"","channel":{channel}}}}}"#);
        return Ok(Step::Say(subscribe));
    }
    if event.is("pusher_internal:subscription_succeeded", channel) {
        return Ok(Step::Open);
    }
    match &*event.event {
        "pusher:ping" => Ok(Step::Say(PONG.to_owned())),
        _ => Err(format!("no subscription: {}", excerpt(text))),
    }
}

/// What comes on a channel subscribed to.
pub fn hear<E: From<String>>(
    channel: &str,
    text: &[u8],
    mut on: impl FnMut(Heard<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let event = Event::parse(text)?;
    if event.is(EVENT, channel) {
        let data = event.data().ok_or_else(|| format!("an event without a string: {}", excerpt(text)))?;
        return on(Heard::Message(data.as_bytes()));
    }
    match &*event.event {
        "pusher:ping" => on(Heard::Answer(PONG)),
        "pusher:pong" | "pusher_internal:subscription_count" => on(Heard::Nothing),
        _ => Err(format!("an event nobody published: {}", excerpt(text)).into()),
    }
}

/// A text as JSON string.
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `<key>:<hex>`, the authority to subscribe to a private channel, or with `channel_data` to a presence channel.
pub fn channel_auth(app: &App, socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    let data = channel_data.map(|data| format!(":{data}")).unwrap_or_default();
    format!("{}:{}", app.key, sign(&app.secret, &format!("{socket_id}:{channel}{data}")))
}

/// Path and query of a signed POST of `body` to `/apps/<id>/<what>`.
pub fn signed_path(app: &App, what: &str, body: &[u8], unix_seconds: u64) -> String {
    let path = format!("/apps/{}/{what}", app.id);
    let query = format!(
        "auth_key={}&auth_timestamp={unix_seconds}&auth_version=1.0&body_md5={}",
        app.key,
        hex(&Md5::digest(body))
    );
    let signature = sign(&app.secret, &format!("POST\n{path}\n{query}"));
    format!("{path}?{query}&auth_signature={signature}")
}

/// HMAC-SHA256 in hexadecimal digits.
fn sign(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::super::talk::tests::heard;
    use super::super::{Dialect, Talk, Wire};
    use super::*;

    #[test]
    fn signatures_are_those_of_the_official_clients() {
        let app = App { id: "4242".into(), key: "app-key-demo".into(), secret: "app-secret-demo".into() };
        let body = r#"{"name":"order.paid","data":"{\"id\":7,\"note\":\"café\"}","channels":["orders"]}"#;
        assert_eq!(
            signed_path(&app, "events", body.as_bytes(), 1_700_000_000),
            "/apps/4242/events?auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0\
             &body_md5=6ac9cacd4834c64fb13f34a4c79be580\
             &auth_signature=5bb1458a1e81174586e6c14c5164cc9bdd836260ea08daa72c87f92bfa0d2d74"
        );
        assert_eq!(
            channel_auth(&app, "1234.1234", "private-foobar", None),
            "app-key-demo:10e3b2e2ede64d621489197ed9d55f418f3acbbf29b93359b0beadae944c8d8a"
        );
        let member = r#"{"user_id":"10","user_info":{"name":"Mr. Channels"}}"#;
        assert_eq!(
            channel_auth(&app, "1234.1234", "presence-foobar", Some(member)),
            "app-key-demo:79612f46511d7d451bcb5dd44426c817e7da549897802109e6ec78e90ad3befa"
        );
    }

    #[test]
    fn a_subscription_goes_its_steps() {
        let talk = Talk::new(&Wire::of(Dialect::Pusher, "bench", &App::default()));
        let greeting = br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}"#;
        let Ok(Step::Say(subscribe)) = talk.step(greeting) else { panic!("no subscribe") };
        assert_eq!(subscribe, r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"bench"}}"#);
        let done = br#"{"event":"pusher_internal:subscription_succeeded","channel":"bench","data":"{}"}"#;
        assert_eq!(talk.step(done), Ok(Step::Open));
        let other = br#"{"event":"pusher_internal:subscription_succeeded","channel":"other","data":"{}"}"#;
        assert!(talk.step(other).is_err());
        assert!(talk.step(br#"{"event":"pusher:error","data":{"code":4001,"message":"no"}}"#).is_err());
        assert!(talk.step(br#"{"event":"pusher:connection_established","data":"{}"}"#).is_err());
    }

    #[test]
    fn only_published_events_of_the_channel_are_messages() {
        let talk = Talk::new(&Wire::of(Dialect::Pusher, "bench", &App::default()));
        assert_eq!(heard(&talk, r#"{"event":"m","channel":"bench","data":"fw-1"}"#).unwrap(), ["fw-1"]);
        assert_eq!(heard(&talk, r#"{ "data":"a\u002d1", "channel":"bench","event":"m"}"#).unwrap(), ["a-1"]);
        assert_eq!(heard(&talk, r#"{"event":"pusher:ping","data":"{}"}"#).unwrap(), [format!("> {PONG}")]);
        assert_eq!(heard(&talk, r#"{"event":"pusher:pong","data":{}}"#).unwrap(), [""; 0]);
        for bad in [
            r#"{"event":"m","channel":"other","data":"fw-1"}"#,
            r#"{"event":"n","channel":"bench","data":"fw-1"}"#,
            r#"{"event":"m","data":"fw-1"}"#,
            r#"{"event":"m","channel":"bench","data":{"a":1}}"#,
            r#"{"event":"m","channel":"bench","data":"fw-1"} x"#,
            "fw-1",
        ] {
            assert!(heard(&talk, bad).is_err(), "{bad}");
        }
    }
}
