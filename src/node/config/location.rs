//! The keys of a `[[location]]`.

use toml::de::DeValue;

use super::keys::Borrowed;
use super::mistake::hint;
use super::value::{Choice, Count, Input, Millis, Refusal, Setting, Size, kind, quote, quote_all};
use crate::dialect::relay::settings::{
    AllowOrigin, ChannelIdOverflow, Concurrency, FirstMessage, Flavour, GroupLimits, LocationMethods,
    LocationSettings, LongPollMultipart, PathPattern, Polling, Publishers, SlowConsumer, Transport,
    Transports,
};
use crate::limits::{NODE_COUNT_MAX, NODE_DURATION_MS_MAX, NODE_SIZE_BYTES_MAX};

/// One key of a location.
pub(super) struct LocationKey {
    pub name: &'static str,
    /// The field it sets.
    pub slot: for<'a> fn(&'a mut LocationSettings) -> Box<dyn Setting + 'a>,
}

macro_rules! keys {
    ($($name:ident: $location:ident => $slot:expr;)*) => {
        /// All keys, in the order in which they are printed.
        pub(super) const LOCATION_KEYS: &[LocationKey] =
            &[$(LocationKey { name: stringify!($name), slot: |$location| Box::new($slot) },)*];
    };
}

const U32: usize = u32::MAX as usize;

keys! {
    url: l => Path { path: &mut l.path, regex: true };
    prefix: l => Path { path: &mut l.path, regex: false };
    listener: l => Borrowed(&mut l.listeners);
    methods: l => Borrowed(&mut l.methods);
    flavour: l => Borrowed(&mut l.flavour);
    app: l => Borrowed(&mut l.app);
    store: l => Borrowed(&mut l.store);
    protected_channels: l => Borrowed(&mut l.protected_channels);
    channel_id: l => Borrowed(&mut l.channel_id);
    publisher_channel_id: l => Borrowed(&mut l.publisher_channel_id);
    subscriber_channel_id: l => Borrowed(&mut l.subscriber_channel_id);
    split_delimiter: l => Borrowed(&mut l.split_delimiter);
    subscribers: l => Borrowed(&mut l.subscribers);
    publishers: l => Borrowed(&mut l.publishers);
    polling: l => Borrowed(&mut l.polling);
    create_on_get: l => Borrowed(&mut l.create_on_get);
    create_on_post: l => Borrowed(&mut l.create_on_post);
    allow_origin: l => Borrowed(&mut l.allow_origin);
    allow_credentials: l => Borrowed(&mut l.allow_credentials);
    first_message: l => Borrowed(&mut l.first_message);
    buffer_messages: l => Count(&mut l.buffer_messages, 0..=U32);
    buffer_bytes: l => Size(&mut l.buffer_bytes, 0..=u64::MAX >> 1);
    min_messages: l => Count(&mut l.min_messages, 0..=U32);
    message_timeout: l => Millis(&mut l.message_timeout_ms, 0..=NODE_DURATION_MS_MAX);
    store_messages: l => Borrowed(&mut l.store_messages);
    durable: l => Borrowed(&mut l.durable);
    delete_oldest_received: l => Borrowed(&mut l.delete_oldest_received);
    concurrency: l => Borrowed(&mut l.concurrency);
    subscriber_timeout: l => Millis(&mut l.subscriber_timeout_ms, 0..=NODE_DURATION_MS_MAX);
    existing_channels_only: l => Borrowed(&mut l.existing_channels_only);
    max_subscribers: l => Count(&mut l.max_subscribers, 0..=U32);
    max_channel_id_bytes: l => Size(&mut l.max_channel_id_bytes, 0..=NODE_SIZE_BYTES_MAX);
    channel_id_overflow: l => Borrowed(&mut l.channel_id_overflow);
    channel_timeout: l => Millis(&mut l.channel_timeout_ms, 0..=NODE_DURATION_MS_MAX);
    group: l => Borrowed(&mut l.group);
    group_limits: l => Borrowed(&mut l.group_limits);
    eventsource_event: l => Borrowed(&mut l.eventsource_event);
    eventsource_ping_interval: l => Millis(&mut l.eventsource_ping_interval_ms, 0..=NODE_DURATION_MS_MAX);
    eventsource_ping_comment: l => Borrowed(&mut l.eventsource_ping_comment);
    eventsource_ping_event: l => Borrowed(&mut l.eventsource_ping_event);
    eventsource_ping_data: l => Borrowed(&mut l.eventsource_ping_data);
    websocket_ping_interval: l => Millis(&mut l.websocket_ping_interval_ms, 0..=NODE_DURATION_MS_MAX);
    websocket_heartbeat: l => Borrowed(&mut l.websocket_heartbeat);
    raw_separator: l => Borrowed(&mut l.raw_separator);
    longpoll_multipart: l => Borrowed(&mut l.longpoll_multipart);
    compound_etag: l => Borrowed(&mut l.compound_etag);
    custom_etag_header: l => Borrowed(&mut l.custom_etag_header);
    last_message_id: l => Borrowed(&mut l.last_message_id);
    deflate: l => Borrowed(&mut l.deflate);
    channel_events: l => Borrowed(&mut l.channel_events);
    channel_event_string: l => Borrowed(&mut l.channel_event_string);
    authorize: l => Borrowed(&mut l.authorize);
    subscribe_hook: l => Borrowed(&mut l.subscribe_hook);
    unsubscribe_hook: l => Borrowed(&mut l.unsubscribe_hook);
    upstream: l => Borrowed(&mut l.upstream);
    passthrough: l => Borrowed(&mut l.passthrough);
    hook_headers: l => HookHeaders(&mut l.hook_headers);
    ignore_queue_on_no_cache: l => Borrowed(&mut l.ignore_queue_on_no_cache);
    slow_consumer: l => Borrowed(&mut l.slow_consumer);
    deflate_websocket: l => Borrowed(&mut l.deflate_websocket);
}

/// `url` or `prefix`; they share one field.
struct Path<'a> {
    path: &'a mut PathPattern,
    regex: bool,
}

impl Setting for Path<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let text = input.text()?.into_owned();
        *self.path = if self.regex { PathPattern::Regex(text) } else { PathPattern::Prefix(text) };
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let shown = matches!(self.path, PathPattern::Regex(_)) == self.regex;
        shown.then(|| quote(self.path.text()))
    }
}

impl Setting for Transports {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let mut transports = Transports::NONE;
        for element in input.list() {
            let name = element.text()?;
            match Transport::from_name(&name) {
                Some(transport) => transports = transports.with(transport),
                None => {
                    let hint = hint(&name, Transport::ALL.iter().map(|transport| transport.name()));
                    return element.refuse(format!("unknown transport `{}`{hint}", name.escape_debug()));
                }
            }
        }
        *self = transports;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote_all(self.iter().map(Transport::name)))
    }
}

impl Setting for Publishers {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let mut publishers = Publishers { http: false, websocket: false };
        for element in input.list() {
            match &*element.text()?.to_ascii_lowercase() {
                "http" => publishers.http = true,
                "websocket" | "websockets" | "ws" => publishers.websocket = true,
                _ => return element.refuse("needs \"http\" or \"websocket\""),
            }
        }
        *self = publishers;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let names = [("http", self.http), ("websocket", self.websocket)];
        Some(quote_all(names.into_iter().filter(|(_, on)| *on).map(|(name, _)| name)))
    }
}

/// `"$http_origin"`, `"*"`, one origin or several, also separated by spaces as nchan has them.
impl Setting for AllowOrigin {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let mut origins = Vec::new();
        for element in input.list() {
            origins.extend(element.text()?.split(' ').filter(|origin| !origin.is_empty()).map(str::to_owned));
        }
        *self = match origins.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["$http_origin"] => AllowOrigin::Echo,
            ["*"] => AllowOrigin::Any,
            _ if origins.iter().any(|origin| origin == "*" || origin.starts_with('$')) => {
                return input.refuse("`*` and `$http_origin` stand alone");
            }
            _ => AllowOrigin::List(origins),
        };
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(match self {
            AllowOrigin::Echo => quote("$http_origin"),
            AllowOrigin::Any => quote("*"),
            AllowOrigin::List(origins) => quote_all(origins),
        })
    }
}

/// `"oldest"`, `"newest"`, n or -n; 0 is the newest as in nchan.
impl Setting for FirstMessage {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        *self = match input.integer() {
            Some(number) => match (number?, i64::from(u32::MAX)) {
                (0, _) => FirstMessage::Newest,
                (n, most) if (1..=most).contains(&n) => FirstMessage::FromOldest(n as u32),
                (n, most) if (-most..0).contains(&n) => FirstMessage::FromNewest(n.unsigned_abs() as u32),
                _ => return input.refuse("is not a number that fits"),
            },
            None => match &*input.text()? {
                "oldest" => FirstMessage::Oldest,
                "newest" => FirstMessage::Newest,
                _ => return input.refuse("needs \"oldest\", \"newest\" or a number"),
            },
        };
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(match self {
            FirstMessage::Oldest => quote("oldest"),
            FirstMessage::Newest => quote("newest"),
            FirstMessage::FromOldest(n) => n.to_string(),
            FirstMessage::FromNewest(n) => format!("-{n}"),
        })
    }
}

impl Setting for LongPollMultipart {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let flag = match input {
            Input::Toml(value) => value.get_ref().as_bool(),
            Input::Text(_) => None,
        };
        *self = match (flag, flag.is_none().then(|| input.text()).transpose()?.as_deref()) {
            (Some(false), _) => LongPollMultipart::Off,
            (Some(true), _) => LongPollMultipart::Multipart,
            (_, Some("raw")) => LongPollMultipart::Raw,
            _ => return input.refuse("needs true, false or \"raw\""),
        };
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(match self {
            LongPollMultipart::Off => "false".into(),
            LongPollMultipart::Multipart => "true".into(),
            LongPollMultipart::Raw => quote("raw"),
        })
    }
}

/// Ping and pong; an empty list unsets them.
impl Setting for Option<(String, String)> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let texts = input.list().into_iter().map(Input::text).collect::<Result<Vec<_>, _>>()?;
        *self = match &texts[..] {
            [] => None,
            [ping, pong] => Some((ping.to_string(), pong.to_string())),
            _ => return input.refuse("needs two texts: what the client sends, and the answer"),
        };
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.as_ref().map_or("[]".into(), |(ping, pong)| quote_all([ping, pong])))
    }
}

impl GroupLimits {
    fn slot(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "channels" => &mut self.channels,
            "subscribers" => &mut self.subscribers,
            "messages" => &mut self.messages,
            "memory_bytes" => &mut self.memory_bytes,
            _ => return None,
        })
    }
}

const GROUP_KEYS: [&str; 4] = ["channels", "subscribers", "messages", "memory_bytes"];

impl Setting for Option<GroupLimits> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let Input::Toml(value) = input else { return input.refuse("needs a table") };
        let Some(table) = value.get_ref().as_table() else {
            return input.refuse(format!("needs a table, found {}", kind(value.get_ref())));
        };
        let mut limits = GroupLimits::default();
        for (name, value) in table {
            let Some(slot) = limits.slot(name.get_ref()) else {
                let shown = name.get_ref().escape_debug();
                let message = format!("unknown key `{shown}`{}", hint(name.get_ref(), GROUP_KEYS));
                return Err(Refusal { at: Some(name.span()), message });
            };
            let mut number = 0_usize;
            let read = match &**name.get_ref() {
                "memory_bytes" => Size(&mut number, 0..=usize::MAX >> 1).set(Input::Toml(value)),
                _ => Count(&mut number, 0..=NODE_COUNT_MAX).set(Input::Toml(value)),
            };
            read.map_err(|refusal| Refusal {
                message: format!("`{}` {}", name.get_ref(), refusal.message),
                ..refusal
            })?;
            *slot = number as u64;
        }
        *self = Some(limits);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let mut limits = (*self)?;
        let parts =
            GROUP_KEYS.map(|name| format!("{name} = {}", limits.slot(name).map_or(0, |value| *value)));
        Some(format!("{{ {} }}", parts.join(", ")))
    }
}

/// Name and template of each header.
struct HookHeaders<'a>(&'a mut Vec<(String, String)>);

impl Setting for HookHeaders<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let Input::Toml(value) = input else { return input.refuse("needs a table") };
        let DeValue::Table(table) = value.get_ref() else {
            return input.refuse(format!("needs a table, found {}", kind(value.get_ref())));
        };
        let headers = table.iter().map(|(name, value)| {
            let text = Input::Toml(value).text()?;
            Ok((name.get_ref().to_string(), text.into_owned()))
        });
        *self.0 = headers.collect::<Result<_, Refusal>>()?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let parts: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{} = {}", quote(name), quote(value))).collect();
        Some(if parts.is_empty() { "{}".into() } else { format!("{{ {} }}", parts.join(", ")) })
    }
}

macro_rules! choice {
    ($kind:ident { $($word:literal => $variant:ident),* }) => {
        impl Choice for $kind {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $kind::$variant)),*];
        }
    };
}

choice!(LocationMethods {
    "subscriber" => Subscriber, "publisher" => Publisher, "pubsub" => Pubsub, "group" => Group, "status" => Status
});
choice!(Flavour { "nchan" => Nchan, "relay" => Relay });
choice!(Polling { "long" => Long, "interval" => Interval });
choice!(Concurrency { "broadcast" => Broadcast, "first" => First, "last" => Last });
choice!(ChannelIdOverflow { "refuse" => Refuse, "truncate" => Truncate });
choice!(SlowConsumer { "close" => Close, "drop-oldest" => DropOldest, "keep-latest" => KeepLatest });
