//! Bodies that back ends send (pushi.md sections 9.4 to 9.9).

use super::answer::ApiError;
use super::frame::{is_true, text_of};
use super::name;
use super::query::Params;
use super::route::Kind;
use crate::limits::{PUSHI_CHANNELS_PER_PUBLISH, PUSHI_EVENT_BYTES, PUSHI_SUBJECT_BYTES, PUSHI_USER_BYTES};
use crate::wire::json::{self, Reader, Value, string};

/// One event to be published, in one channel after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its name.
    pub event: String,
    /// Its data as text.
    pub data: String,
    /// Where to, each channel once, in the order that decides by which one a connection gets it.
    pub channels: Vec<String>,
    /// Whether it is kept.
    pub persist: bool,
    /// All other members, each with a comma before it: they are forwarded.
    pub extra: String,
}

impl Publish {
    /// Reads the body of a publish.
    ///
    /// # Errors
    /// What is answered with 500 or 400.
    pub fn parse(reader: &mut Reader, body: &[u8]) -> Result<Publish, ApiError> {
        const NO_DATA: ApiError = ApiError::Runtime("No data set for event");
        let document = reader.read_bytes(body).map_err(|_| NO_DATA)?;
        let root = document.root();
        let data = root.get("data").filter(|data| is_true(*data)).ok_or(NO_DATA)?;
        let persist = root.get("persist").is_none_or(is_true);
        let event = match root.get("event") {
            None => "message",
            Some(event) => event.as_str().ok_or(ApiError::Runtime("The name of an event is a string"))?,
        };
        if event.len() > PUSHI_EVENT_BYTES {
            return Err(ApiError::Limit("The name of the event is too long"));
        }
        let mut extra = Vec::new();
        for (name, value) in root.members() {
            match name {
                "data" | "event" | "channel" => {}
                "mid" | "timestamp" if persist => {
                    return Err(ApiError::Runtime("mid and timestamp are set when an event is kept"));
                }
                _ => {
                    extra.push(b',');
                    string(&mut extra, name.as_bytes());
                    extra.push(b':');
                    extra.extend_from_slice(value.raw().as_bytes());
                }
            }
        }
        Ok(Publish {
            event: event.to_owned(),
            data: text_of(data).to_owned(),
            channels: channels(root)?,
            persist,
            extra: String::from_utf8(extra).unwrap_or_default(),
        })
    }
}

fn channels(root: Value<'_, '_>) -> Result<Vec<String>, ApiError> {
    const BAD: ApiError = ApiError::Runtime("A channel is a string, or an array of strings");
    let Some(value) = root.get("channel") else { return Ok(vec!["global".to_owned()]) };
    if value.items().len() > PUSHI_CHANNELS_PER_PUBLISH {
        return Err(ApiError::Limit("Too many channels for one event"));
    }
    let mut names: Vec<String> = Vec::new();
    let all = match value.kind() {
        json::Kind::String => value.as_str().map(|name| vec![name]),
        json::Kind::Array => value.items().map(Value::as_str).collect(),
        _ => None,
    };
    for name in all.ok_or(BAD)? {
        if !name::is_allowed(name) {
            return Err(ApiError::Limit("The name of a channel is too long, or reserved"));
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Who or what is to be registered for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// User, URL, token, mail address or endpoint.
    pub subject: String,
    /// The channel; the protocol calls it `event` here (trap 17).
    pub channel: String,
    /// Of a browser: its public key and secret, both needed to encrypt for it.
    pub keys: Option<(String, String)>,
}

impl Registration {
    /// Reads what is to be registered: a JSON object, a form, or, in the old generation, the query.
    ///
    /// # Errors
    /// What is missing or too long, field by field.
    pub fn parse(
        kind: Kind,
        params: &Params,
        reader: &mut Reader,
        body: &[u8],
    ) -> Result<Registration, ApiError> {
        let document = reader.read_bytes(body).ok();
        let root = document.as_ref().map(json::Document::root);
        let field = |name: &'static str| {
            // Of a JSON body a number counts as its text.
            let sent = root.and_then(|root| root.get(name)).filter(|value| value.kind() != json::Kind::Null);
            sent.map(|value| text_of(value).to_owned()).or_else(|| params.get(name).map(str::to_owned))
        };
        let mut errors = Vec::new();
        let mut needed = |name: &'static str, value: Option<String>, most: usize| match value {
            Some(value) if value.len() > most => {
                errors.push((name, "value is too long"));
                String::new()
            }
            Some(value) if !value.is_empty() => value,
            given => {
                errors.push((name, if given.is_some() { "value is empty" } else { "value is not set" }));
                String::new()
            }
        };
        let most = if kind == Kind::Subscription { PUSHI_USER_BYTES } else { PUSHI_SUBJECT_BYTES };
        let subject = needed(kind.subject_field(), field(kind.subject_field()), most);
        let channel = needed("event", field("event"), PUSHI_SUBJECT_BYTES);
        let keys = (kind == Kind::WebPush).then(|| {
            (
                needed("p256dh", field("p256dh"), PUSHI_SUBJECT_BYTES),
                needed("auth", field("auth"), PUSHI_SUBJECT_BYTES),
            )
        });
        if !name::is_allowed(&channel) {
            errors.push(("event", "value is too long or reserved"));
        }
        if errors.is_empty() {
            Ok(Registration { subject, channel, keys })
        } else {
            Err(ApiError::Validation(errors))
        }
    }
}

/// The name of an app that is to be made or renamed; `None` where nothing is said of it.
pub fn app_name(params: &Params, reader: &mut Reader, body: &[u8]) -> Option<String> {
    let document = reader.read_bytes(body).ok();
    let sent = document.as_ref().and_then(|document| document.root().get("name"));
    sent.and_then(Value::as_str).or_else(|| params.get("name")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(body: &str) -> Result<Publish, ApiError> {
        Publish::parse(&mut Reader::default(), body.as_bytes())
    }

    #[test]
    fn the_body_of_the_python_client_is_understood() {
        let body =
            r#"{"data": {"a": 1}, "event": "message", "channel": "news", "persist": true, "x\"y": [1, 2]}"#;
        let event = publish(body).unwrap();
        assert_eq!(event.data, r#"{"a": 1}"#);
        assert_eq!((event.event.as_str(), event.persist), ("message", true));
        assert_eq!(event.channels, ["news"]);
        assert_eq!(event.extra, r#","persist":true,"x\"y":[1, 2]"#);
    }

    #[test]
    fn trap_7_and_17_what_is_not_said_has_its_default() {
        let event = publish(r#"{"data":"hi"}"#).unwrap();
        assert_eq!(
            event,
            Publish {
                event: "message".into(),
                data: "hi".into(),
                channels: vec!["global".into()],
                persist: true,
                extra: String::new()
            }
        );
    }

    #[test]
    fn trap_19_channels_keep_their_order_and_come_once() {
        let event = publish(r#"{"data":1,"channel":["b","a","b"],"persist":false,"mid":7}"#).unwrap();
        assert_eq!(
            (event.channels, event.extra.as_str()),
            (vec!["b".to_owned(), "a".to_owned()], r#","persist":false,"mid":7"#)
        );
    }

    #[test]
    fn bad_bodies_are_refused_as_recorded() {
        for data in ["\"\"", "0", "false", "null", "{}", "[]", "0.0"] {
            let error = publish(&format!(r#"{{"data":{data}}}"#)).unwrap_err();
            assert_eq!((error.status(), error.message().as_ref()), (500, "No data set for event"), "{data}");
        }
        for body in ["", "{}", "data=1&channel=x", "[1]", "\u{7f}"] {
            assert_eq!(publish(body).unwrap_err().status(), 500, "{body}");
        }
        assert_eq!(publish(r#"{"data":1,"mid":"x"}"#).unwrap_err().status(), 500);
        assert_eq!(publish(r#"{"data":1,"timestamp":1,"persist":true}"#).unwrap_err().status(), 500);
        assert_eq!(publish(r#"{"data":1,"event":7}"#).unwrap_err().status(), 500);
        assert_eq!(publish(r#"{"data":1,"channel":7}"#).unwrap_err().status(), 500);
        assert_eq!(publish(r#"{"data":1,"channel":["a",7]}"#).unwrap_err().status(), 500);
        assert_eq!(publish(r##"{"data":1,"channel":"#own"}"##).unwrap_err().status(), 400);
        let many = format!(r#"{{"data":1,"channel":[{}"x"]}}"#, "\"c\",".repeat(PUSHI_CHANNELS_PER_PUBLISH));
        assert_eq!(publish(&many).unwrap_err().status(), 400);
    }

    #[test]
    fn registrations_come_in_bodies_forms_and_queries() {
        let parse = |kind, query: &str, body: &str| {
            Registration::parse(kind, &Params::parse(query, ""), &mut Reader::default(), body.as_bytes())
        };
        let wanted = Registration { subject: "u1".into(), channel: "news".into(), keys: None };
        assert_eq!(parse(Kind::Subscription, "", r#"{"user_id":"u1","event":"news"}"#), Ok(wanted.clone()));
        assert_eq!(parse(Kind::Subscription, "user_id=u1&event=news", ""), Ok(wanted));
        let number = parse(Kind::Subscription, "", r#"{"user_id":7,"event":"news"}"#).unwrap();
        assert_eq!(number.subject, "7");
        let push = r#"{"endpoint":"https://p/e","p256dh":"k","auth":"a","event":"c"}"#;
        assert_eq!(parse(Kind::WebPush, "", push).unwrap().keys, Some(("k".into(), "a".into())));
        let Err(ApiError::Validation(errors)) = parse(Kind::WebPush, "", r#"{"endpoint":"","event":"c"}"#)
        else {
            panic!()
        };
        let expected =
            [("endpoint", "value is empty"), ("p256dh", "value is not set"), ("auth", "value is not set")];
        assert_eq!(errors, expected);
        for (query, body) in
            [("", ""), ("event=c", ""), ("", r#"{"user_id":"u"}"#), ("user_id=u&event=%23own", "")]
        {
            assert_eq!(parse(Kind::Subscription, query, body).unwrap_err().status(), 400, "{query} {body}");
        }
        let long = format!("user_id={}&event=c", "u".repeat(PUSHI_USER_BYTES + 1));
        assert!(parse(Kind::Subscription, &long, "").is_err());
    }

    #[test]
    fn an_app_is_named_in_json_or_a_form() {
        let name = |form: &str, body: &str| {
            app_name(&Params::parse("", form), &mut Reader::default(), body.as_bytes())
        };
        assert_eq!(name("", r#"{"name":"demo"}"#).as_deref(), Some("demo"));
        assert_eq!(name("name=demo", "name=demo").as_deref(), Some("demo"));
        assert_eq!(name("", "{}"), None);
    }
}
