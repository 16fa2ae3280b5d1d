//! What a location must not say: contradictions and values that could never work, found before anything listens.

use std::fmt;

use super::{AllowOrigin, Flavour, LocationMethods, LocationSettings, RelaySettings, pieces};
use crate::channel::hook::HookTarget;
use crate::limits;

/// A value that cannot stand, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsMistake {
    /// Index into [`RelaySettings::locations`].
    pub location: usize,
    /// The key inside the location, for example `allow_origin` or `group_limits`.
    pub key: &'static str,
    /// What is wrong, in one line.
    pub message: String,
}

impl fmt::Display for SettingsMistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "location[{}].{}: {}", self.location, self.key, self.message)
    }
}

impl RelaySettings {
    /// Looks for contradictions; empty when there are none. Regular expressions are not compiled here.
    pub fn validate(&self) -> Vec<SettingsMistake> {
        let mut mistakes = Vec::new();
        for (index, location) in self.locations.iter().enumerate() {
            let mut check = Check { location: index, mistakes: &mut mistakes };
            check.path_and_ids(location);
            check.storage(location);
            check.subscribers(location);
            check.hooks(location);
        }
        if self.locations.len() > limits::RELAY_LOCATIONS {
            let message = format!("at most {} locations", limits::RELAY_LOCATIONS);
            mistakes.push(SettingsMistake { location: limits::RELAY_LOCATIONS, key: "url", message });
        }
        mistakes
    }
}

struct Check<'a> {
    location: usize,
    mistakes: &'a mut Vec<SettingsMistake>,
}

impl Check<'_> {
    fn refuse_if(&mut self, wrong: bool, key: &'static str, message: impl Into<String>) {
        if wrong {
            self.mistakes.push(SettingsMistake { location: self.location, key, message: message.into() });
        }
    }

    fn templates<'t>(&mut self, key: &'static str, templates: impl IntoIterator<Item = &'t String>) {
        for template in templates {
            if let Err(error) = pieces(template) {
                self.refuse_if(true, key, format!("`{template}`: {error}"));
            }
        }
    }

    fn path_and_ids(&mut self, location: &LocationSettings) {
        let path = location.path.text();
        self.refuse_if(path.is_empty(), "url", "a location needs `url` or `prefix`");
        let relative = matches!(location.path, super::PathPattern::Prefix(_)) && !path.is_empty();
        self.refuse_if(relative && !path.starts_with('/'), "prefix", "a prefix begins with `/`");
        self.refuse_if(location.store.is_empty(), "store", "a store needs a name");

        for (key, ids) in [
            ("channel_id", &location.channel_id),
            ("publisher_channel_id", &location.publisher_channel_id),
            ("subscriber_channel_id", &location.subscriber_channel_id),
        ] {
            let too_many = ids.len() > limits::RELAY_CHANNELS_PER_REQUEST;
            self.refuse_if(too_many, key, format!("at most {} ids", limits::RELAY_CHANNELS_PER_REQUEST));
            self.templates(key, ids);
        }
        let methods = location.methods;
        let nameless = methods.publishes() && location.publisher_ids().is_empty()
            || methods.subscribes() && location.subscriber_ids().is_empty();
        self.refuse_if(nameless, "channel_id", "a location needs at least one channel id");
        let blank = location.split_delimiter.as_deref() == Some("");
        self.refuse_if(blank, "split_delimiter", "a delimiter is not empty");

        let bytes = location.max_channel_id_bytes;
        let range = 1..=limits::RELAY_CHANNEL_ID_BYTES_MAX;
        self.refuse_if(!range.contains(&bytes), "max_channel_id_bytes", format!("1 to {}", range.end()));

        let group = location.group.as_deref();
        self.refuse_if(group == Some(""), "group", "a group needs a name");
        self.refuse_if(group == Some("m"), "group", "the name `m` is taken for multiplexed channels");
        let slash = group.is_some_and(|name| name.contains('/'));
        self.refuse_if(slash, "group", "a group's name has no `/`");
        self.templates("group", &location.group);
        let groupless = group.is_none();
        self.refuse_if(groupless && location.group_limits.is_some(), "group_limits", "limits need `group`");
        let missing = methods == LocationMethods::Group && groupless;
        self.refuse_if(missing, "group", "a group location needs `group`");
    }

    fn storage(&mut self, location: &LocationSettings) {
        let (buffer, least) = (location.buffer_messages, location.min_messages);
        let most = limits::RELAY_BUFFER_MESSAGES_MAX;
        self.refuse_if(buffer > most, "buffer_messages", format!("at most {most}"));
        let crossed = least > location.stored_messages();
        self.refuse_if(crossed, "min_messages", "more than the buffer may hold");
        let nothing = location.durable && location.stored_messages() == 0;
        self.refuse_if(nothing, "durable", "what is not stored cannot be durable: it needs a buffer");
    }

    fn subscribers(&mut self, location: &LocationSettings) {
        let methods = location.methods;
        let closed = methods.subscribes() && location.subscribers.is_empty();
        self.refuse_if(closed, "subscribers", "a location for subscribers needs a transport");
        let mute = methods.publishes() && !location.publishers.http && !location.publishers.websocket;
        self.refuse_if(mute, "publishers", "a location for publishers needs `http` or `websocket`");

        let open = location.allow_origin == AllowOrigin::Any && location.allow_credentials;
        let open = open && location.flavour == Flavour::Relay;
        self.refuse_if(
            open,
            "allow_origin",
            "`*` and allow_credentials = true contradict: browsers refuse the pair",
        );
        if let AllowOrigin::List(origins) = &location.allow_origin {
            self.refuse_if(origins.is_empty(), "allow_origin", "no origin is listed");
            for origin in origins {
                let plain = !origin.is_empty() && origin.bytes().all(|byte| byte.is_ascii_graphic());
                self.refuse_if(
                    !plain,
                    "allow_origin",
                    format!("`{}` is not an origin", origin.escape_debug()),
                );
            }
            let many = location.flavour == Flavour::Relay && origins.len() > 1;
            self.refuse_if(many, "allow_origin", "the relay flavour sends one fixed origin");
        }

        for (key, line) in [
            ("eventsource_event", &location.eventsource_event),
            ("eventsource_ping_comment", &location.eventsource_ping_comment),
            ("eventsource_ping_event", &location.eventsource_ping_event),
            ("eventsource_ping_data", &location.eventsource_ping_data),
        ] {
            let broken = line.as_ref().is_some_and(|text| text.contains(['\r', '\n']));
            self.refuse_if(broken, key, "one line only");
        }
        self.templates("eventsource_event", &location.eventsource_event);
        self.templates("last_message_id", &location.last_message_id);
        self.templates("channel_events", &location.channel_events);
        self.templates("channel_event_string", [&location.channel_event_string]);
        let etag = location.custom_etag_header.as_deref();
        self.refuse_if(etag.is_some_and(|name| !is_token(name)), "custom_etag_header", "not a header name");
    }

    fn hooks(&mut self, location: &LocationSettings) {
        for (key, url) in [
            ("authorize", &location.authorize),
            ("subscribe_hook", &location.subscribe_hook),
            ("unsubscribe_hook", &location.unsubscribe_hook),
            ("upstream", &location.upstream),
            ("passthrough", &location.passthrough),
        ] {
            if let Some(Err(error)) = url.as_deref().map(HookTarget::parse) {
                self.refuse_if(true, key, error.to_string());
            }
        }
        let lost = location.upstream.is_some() && !location.methods.publishes();
        self.refuse_if(lost, "upstream", "only a location for publishers has an upstream");
        let listening = location.methods.subscribes();
        for (key, url) in [
            ("subscribe_hook", &location.subscribe_hook),
            ("unsubscribe_hook", &location.unsubscribe_hook),
            ("passthrough", &location.passthrough),
        ] {
            self.refuse_if(url.is_some() && !listening, key, "only a location for subscribers has this hook");
        }
        for (name, value) in &location.hook_headers {
            self.refuse_if(
                !is_token(name),
                "hook_headers",
                format!("`{}` is not a header name", name.escape_debug()),
            );
            let printable = value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
            self.refuse_if(
                !printable,
                "hook_headers",
                format!("the value of `{name}` is not a header value"),
            );
            self.templates("hook_headers", [value]);
        }
    }
}

/// Whether `name` is an RFC 9110 token, section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::{PathPattern, Transports};
    use super::*;

    /// Keys refused in a location that is right but for what `change` does to it.
    fn refused(change: impl FnOnce(&mut LocationSettings)) -> Vec<&'static str> {
        let mut location =
            LocationSettings { path: PathPattern::Prefix("/x/".into()), ..LocationSettings::relay() };
        change(&mut location);
        let mistakes = RelaySettings { locations: vec![location] }.validate();
        mistakes.iter().map(|mistake| mistake.key).collect()
    }

    #[test]
    fn an_untouched_location_is_right() {
        assert!(refused(|_| ()).is_empty());
    }

    #[test]
    fn contradictions_name_their_key() {
        assert_eq!(refused(|l| l.allow_credentials = true), ["allow_origin"]);
        assert_eq!(refused(|l| l.path = PathPattern::Regex(String::new())), ["url"]);
        assert_eq!(refused(|l| l.path = PathPattern::Prefix("x/".into())), ["prefix"]);
        assert_eq!(refused(|l| l.group = Some("a/b".into())), ["group"]);
        assert_eq!(refused(|l| l.group = Some("m".into())), ["group"]);
        assert_eq!(refused(|l| l.group_limits = Some(Default::default())), ["group_limits"]);
        assert_eq!(refused(|l| l.subscribers = Transports::NONE), ["subscribers"]);
        assert_eq!(refused(|l| l.channel_id.clear()), ["channel_id"]);
        assert_eq!(refused(|l| l.channel_id = vec!["$".into()]), ["channel_id"]);
        assert_eq!(refused(|l| l.min_messages = 101), ["min_messages"]);
        assert_eq!(refused(|l| (l.store_messages, l.min_messages) = (false, 1)), ["min_messages"]);
        assert_eq!(refused(|l| l.eventsource_event = Some("a\nb".into())), ["eventsource_event"]);
        assert_eq!(refused(|l| l.hook_headers = vec![("X A".into(), String::new())]), ["hook_headers"]);
        assert_eq!(refused(|l| l.hook_headers = vec![("X".into(), "a\r\nb".into())]), ["hook_headers"]);
        assert_eq!(refused(|l| l.authorize = Some("app/auth".into())), ["authorize"]);
        assert_eq!(refused(|l| l.methods = LocationMethods::Group), ["group"]);
    }

    #[test]
    fn nchan_may_send_a_star_with_credentials() {
        let change = |l: &mut LocationSettings| (l.flavour, l.allow_credentials) = (Flavour::Nchan, true);
        assert!(refused(change).is_empty());
    }
}
