//! What back ends get (pusher.md section 11): always one JSON object. PHP reads empty maps as objects, never `[]`.

use super::api::Info;
use super::name::Kind;
use crate::wire::json::{comma, number, string};

/// What is told of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Users, on presence channels.
    pub user_count: Option<u64>,
    /// Connections subscribed.
    pub subscription_count: Option<u64>,
}

impl Attributes {
    /// Of the counts of a channel those that were asked for and that its kind has.
    pub fn new(asked: Info, kind: Kind, user_count: u64, subscription_count: u64) -> Attributes {
        Attributes {
            user_count: (asked.user_count && kind.is_presence()).then_some(user_count),
            subscription_count: asked.subscription_count.then_some(subscription_count),
        }
    }

    /// Writes the members of an object.
    fn write(self, out: &mut Vec<u8>, first: &mut bool) {
        for (name, value) in
            [("user_count", self.user_count), ("subscription_count", self.subscription_count)]
        {
            if let Some(value) = value {
                member(out, first, name.as_bytes());
                number(out, value);
            }
        }
    }

    fn object(self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write(out, &mut true);
        out.push(b'}');
    }
}

/// The event that a cache channel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached<'a> {
    /// Its data.
    pub data: &'a [u8],
    /// How long it is kept yet, seconds.
    pub ttl_s: u64,
}

/// It is done, and there is nothing to tell.
pub fn done(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{}");
}

/// Channels by name with what is told of each: for events with `info`, and for the list of occupied channels.
pub fn channels<'c>(out: &mut Vec<u8>, channels: impl Iterator<Item = (&'c [u8], Attributes)>) {
    out.extend_from_slice(b"{\"channels\":{");
    let mut first = true;
    for (name, attributes) in channels {
        member(out, &mut first, name);
        attributes.object(out);
    }
    out.extend_from_slice(b"}}");
}

/// One object per event of a batch, in its order.
pub fn batch(out: &mut Vec<u8>, events: impl Iterator<Item = Attributes>) {
    out.extend_from_slice(b"{\"batch\":[");
    let mut first = true;
    for attributes in events {
        comma(out, &mut first);
        attributes.object(out);
    }
    out.extend_from_slice(b"]}");
}

/// One channel. `cache` is `None` if it was not asked for, `Some(None)` if nothing is kept.
pub fn channel(out: &mut Vec<u8>, occupied: bool, attributes: Attributes, cache: Option<Option<Cached<'_>>>) {
    out.extend_from_slice(if occupied { b"{\"occupied\":true" } else { b"{\"occupied\":false" });
    attributes.write(out, &mut false);
    match cache {
        Some(Some(cached)) => {
            out.extend_from_slice(b",\"cache\":{\"data\":");
            string(out, cached.data);
            out.extend_from_slice(b",\"ttl\":");
            number(out, cached.ttl_s);
            out.push(b'}');
        }
        Some(None) => out.extend_from_slice(b",\"cache\":null"),
        None => {}
    }
    out.push(b'}');
}

/// The users of a presence channel.
pub fn users<'u>(out: &mut Vec<u8>, ids: impl Iterator<Item = &'u str>) {
    out.extend_from_slice(b"{\"users\":[");
    let mut first = true;
    for id in ids {
        comma(out, &mut first);
        out.extend_from_slice(b"{\"id\":");
        string(out, id.as_bytes());
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn member(out: &mut Vec<u8>, first: &mut bool, name: &[u8]) {
    comma(out, first);
    string(out, name);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    const ALL: Info = Info { user_count: true, subscription_count: true, cache: true };

    #[test]
    fn answers_are_those_of_the_sheet() {
        let counted = |user_count, subscription_count| Attributes { user_count, subscription_count };
        let cached = Cached { data: b"{\"a\":1}", ttl_s: 60 };
        for (written, expected) in [
            (text(done), "{}"),
            (text(|out| channels(out, [].into_iter())), r#"{"channels":{}}"#),
            (
                text(|out| {
                    let list = [
                        (b"presence-a".as_slice(), counted(Some(42), None)),
                        (b"b", counted(None, Some(13))),
                    ];
                    channels(out, list.into_iter());
                }),
                r#"{"channels":{"presence-a":{"user_count":42},"b":{"subscription_count":13}}}"#,
            ),
            (
                text(|out| channels(out, [(b"b".as_slice(), Attributes::default())].into_iter())),
                r#"{"channels":{"b":{}}}"#,
            ),
            (
                text(|out| batch(out, [counted(Some(1), Some(2)), Attributes::default()].into_iter())),
                r#"{"batch":[{"user_count":1,"subscription_count":2},{}]}"#,
            ),
            (text(|out| batch(out, [].into_iter())), r#"{"batch":[]}"#),
            (
                text(|out| channel(out, true, counted(Some(42), Some(42)), Some(Some(cached)))),
                r#"{"occupied":true,"user_count":42,"subscription_count":42,"cache":{"data":"{\"a\":1}","ttl":60}}"#,
            ),
            (
                text(|out| channel(out, false, Attributes::default(), Some(None))),
                r#"{"occupied":false,"cache":null}"#,
            ),
            (text(|out| channel(out, false, Attributes::default(), None)), r#"{"occupied":false}"#),
            (text(|out| users(out, ["1", "é"].into_iter())), r#"{"users":[{"id":"1"},{"id":"é"}]}"#),
            (text(|out| users(out, [].into_iter())), r#"{"users":[]}"#),
        ] {
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn users_are_counted_on_presence_channels_only() {
        let counts = |asked, kind| {
            let attributes = Attributes::new(asked, kind, 2, 3);
            (attributes.user_count, attributes.subscription_count)
        };
        assert_eq!(counts(ALL, Kind::PresenceCache), (Some(2), Some(3)));
        assert_eq!(counts(ALL, Kind::Private), (None, Some(3)));
        assert_eq!(counts(Info::default(), Kind::Presence), (None, None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(name: String, data: String, count: u64) {
            let counts = Attributes::new(ALL, Kind::Presence, count, 0);
            let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
            let map = read(text(|out| channels(out, [(name.as_bytes(), counts)].into_iter())));
            prop_assert_eq!(map, json!({"channels": {&name: {"user_count": count, "subscription_count": 0}}}));
            let list = read(text(|out| users(out, [&*name, &*data].into_iter())));
            prop_assert_eq!(list, json!({"users": [{"id": name}, {"id": data}]}));
            let cached = Cached { data: data.as_bytes(), ttl_s: count };
            let one = read(text(|out| channel(out, true, Attributes::default(), Some(Some(cached)))));
            prop_assert_eq!(one, json!({"occupied": true, "cache": {"data": data, "ttl": count}}));
        }
    }
}
