//! What a relay location can be told: plain data, filled from defaults or from the configuration file.
//!
//! Names and meanings follow nchan's directives and the older HTTP push relay (nginx push module, py-hbpush). Both
//! families differ in their defaults, so a location starts as [`LocationSettings::nchan`] or
//! [`LocationSettings::relay`] and keys change it from there.

mod check;
mod template;

pub use check::SettingsMistake;
pub use template::{Piece, TemplateError, pieces, variables};

use crate::limits;

/// All relay locations, in the order in which they are tried: the first whose path matches wins.
#[derive(Clone, Debug, PartialEq)]
pub struct RelaySettings {
    /// The locations. Empty means that the relay answers nothing.
    pub locations: Vec<LocationSettings>,
}

impl Default for RelaySettings {
    /// `/pub/{channel}` publishes and `/sub/{channel}` subscribes.
    fn default() -> Self {
        let publisher = LocationSettings {
            path: PathPattern::Prefix("/pub/".into()),
            methods: LocationMethods::Publisher,
            ..LocationSettings::nchan()
        };
        let subscriber = LocationSettings {
            path: PathPattern::Prefix("/sub/".into()),
            methods: LocationMethods::Subscriber,
            ..LocationSettings::nchan()
        };
        RelaySettings { locations: vec![publisher, subscriber] }
    }
}

/// The store whose channels are those of an app.
pub const DEFAULT_STORE: &str = "default";

/// Which request paths belong to a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// A regular expression searched in the percent-decoded path (TOML `url`). `$1`.. and `${name}` are its groups.
    Regex(String),
    /// A literal beginning of the percent-decoded path (TOML `prefix`). `$1` is everything after it, never empty.
    Prefix(String),
}

impl PathPattern {
    /// The text as configured.
    pub fn text(&self) -> &str {
        match self {
            PathPattern::Regex(text) | PathPattern::Prefix(text) => text,
        }
    }
}

/// What requests to a location do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationMethods {
    /// GET subscribes (nchan_subscriber, push_subscriber).
    Subscriber,
    /// POST and PUT publish, GET informs, DELETE deletes (nchan_publisher, push_publisher).
    Publisher,
    /// GET subscribes, POST/PUT/DELETE publish, a WebSocket does both (nchan_pubsub).
    Pubsub,
    /// Group information, limits and deletion (nchan_group_location).
    Group,
    /// The counters page (nchan_stub_status).
    Status,
}

impl LocationMethods {
    /// Whether subscribers connect here.
    pub fn subscribes(self) -> bool {
        matches!(self, LocationMethods::Subscriber | LocationMethods::Pubsub)
    }

    /// Whether publishers send here.
    pub fn publishes(self) -> bool {
        matches!(self, LocationMethods::Publisher | LocationMethods::Pubsub)
    }
}

/// Whose answers a location gives where the two families differ (protocol sheet http-push-relay, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// nchan 1.3.
    Nchan,
    /// py-hbpush with django-pushserver, and the nginx push module.
    Relay,
}

/// One way to receive messages. The discriminant is its bit in [`Transports`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    /// RFC 6455.
    WebSocket = 0,
    /// `text/event-stream`.
    EventSource = 1,
    /// One held request per message.
    LongPoll = 2,
    /// `Transfer-Encoding: chunked`, one message per chunk.
    Chunked = 3,
    /// `multipart/mixed`, one message per part.
    Multipart = 4,
    /// A request that is answered at once: the next message or 304.
    IntervalPoll = 5,
    /// A close-delimited body with a separator after each message.
    Raw = 6,
}

impl Transport {
    /// Every transport, in the order of their bits.
    pub const ALL: [Transport; 7] = [
        Transport::WebSocket,
        Transport::EventSource,
        Transport::LongPoll,
        Transport::Chunked,
        Transport::Multipart,
        Transport::IntervalPoll,
        Transport::Raw,
    ];

    /// The name used in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::EventSource => "eventsource",
            Transport::LongPoll => "longpoll",
            Transport::Chunked => "chunked",
            Transport::Multipart => "multipart",
            Transport::IntervalPoll => "intervalpoll",
            Transport::Raw => "raw",
        }
    }

    /// Reads a configured name or one of nchan's aliases for it, in any case. `None` when it is not known.
    pub fn from_name(name: &str) -> Option<Transport> {
        Some(match name.to_ascii_lowercase().as_str() {
            "websocket" | "websockets" | "ws" => Transport::WebSocket,
            "eventsource" | "event-source" | "es" | "sse" => Transport::EventSource,
            "longpoll" | "long-poll" => Transport::LongPoll,
            "chunked" | "http-chunked" => Transport::Chunked,
            "multipart" | "multipart-mixed" | "multipart/mixed" | "http-multipart" => Transport::Multipart,
            "intervalpoll" | "interval-poll" | "poll" | "http" => Transport::IntervalPoll,
            "raw" | "http-raw-stream" => Transport::Raw,
            _ => return None,
        })
    }
}

/// A set of [`Transport`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transports(u8);

impl Transports {
    /// No transport.
    pub const NONE: Transports = Transports(0);
    /// What nchan allows when none is named: all but interval polling and raw streams, which replace long polling.
    pub const STREAMS_AND_LONG_POLL: Transports = Transports(0b1_1111);

    /// The set with `transport` added.
    #[must_use]
    pub fn with(self, transport: Transport) -> Transports {
        Transports(self.0 | 1 << transport as u8)
    }

    /// Whether `transport` is in the set.
    pub fn contains(self, transport: Transport) -> bool {
        self.0 & (1 << transport as u8) != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members in the order of [`Transport::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Transport> {
        Transport::ALL.into_iter().filter(move |transport| self.contains(*transport))
    }
}

impl FromIterator<Transport> for Transports {
    fn from_iter<I: IntoIterator<Item = Transport>>(transports: I) -> Self {
        transports.into_iter().fold(Transports::NONE, Transports::with)
    }
}

/// The ways in which a location takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publishers {
    /// POST and PUT.
    pub http: bool,
    /// Frames of a WebSocket.
    pub websocket: bool,
}

/// How a poll without a message behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// It is held until there is one.
    Long,
    /// It is answered 304 at once.
    Interval,
}

/// Which origins a browser may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowOrigin {
    /// Everybody; the request's own origin is echoed (TOML `"$http_origin"`).
    Echo,
    /// Everybody; `*` is sent.
    Any,
    /// These only, as `scheme://host[:port]`. The relay flavour sends the first one whatever the request says.
    List(Vec<String>),
}

/// Where a subscriber without a position begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstMessage {
    /// With the oldest stored message.
    Oldest,
    /// With the next message to be published.
    Newest,
    /// With the n-th stored message, 1 being the oldest.
    FromOldest(u32),
    /// With the n-th stored message from the end, 1 being the latest.
    FromNewest(u32),
}

/// What happens when one more long poll comes to a channel (push_subscriber_concurrency).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// Any number is held.
    Broadcast,
    /// The one already held stays, the new one is answered 409.
    First,
    /// The new one is held, those before are answered 409.
    Last,
}

/// What happens to a channel id longer than `max_channel_id_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelIdOverflow {
    /// 403, as nchan does.
    Refuse,
    /// Its beginning is used, as the nginx push module does.
    Truncate,
}

/// What happens to a streaming subscriber whose outbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowConsumer {
    /// The connection is closed; the client comes back with its position.
    Close,
    /// The oldest waiting messages are dropped.
    DropOldest,
    /// Only the latest waiting message is kept.
    KeepLatest,
}

/// How a long poll that finds several stored messages is answered (nchan_longpoll_multipart_response).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongPollMultipart {
    /// With the first of them.
    Off,
    /// With all of them as `multipart/mixed`.
    Multipart,
    /// With all of them joined by `raw_separator`.
    Raw,
}

/// Initial limits of a channel group; 0 is no limit. Their presence switches accounting on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Channels that may exist.
    pub channels: u64,
    /// Subscribers of all channels together.
    pub subscribers: u64,
    /// Stored messages of all channels together.
    pub messages: u64,
    /// Bytes of stored messages of all channels together.
    pub memory_bytes: u64,
}

/// One location. Durations are milliseconds; 0 is never or off unless a field says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct LocationSettings {
    /// Which paths are this location's.
    pub path: PathPattern,
    /// Listeners it is served on, as written under `listen`, or `internal`; empty is every public listener.
    pub listeners: Vec<String>,
    /// What it does.
    pub methods: LocationMethods,
    /// Whose answers it gives.
    pub flavour: Flavour,
    /// Id of the app whose channels these are, among all dialects; none: the first one's.
    pub app: Option<String>,
    /// Name of the message store. Locations of different stores do not see each other's channels; only those of the
    /// store `default` are an app's.
    pub store: String,
    /// Whether clients may use channels of an app that other dialects protect by a signature. A location that asks the
    /// application (`authorize`) lets them.
    pub protected_channels: bool,
    /// Templates of the channel ids, see [`pieces`]. More than one is a subscription to several channels.
    pub channel_id: Vec<String>,
    /// Replaces `channel_id` for publishers when not empty.
    pub publisher_channel_id: Vec<String>,
    /// Replaces `channel_id` for subscribers when not empty.
    pub subscriber_channel_id: Vec<String>,
    /// Cuts one channel id into several.
    pub split_delimiter: Option<String>,
    /// Transports that subscribers may use.
    pub subscribers: Transports,
    /// Ways to publish.
    pub publishers: Publishers,
    /// How a poll without a message behaves. Interval polling in `subscribers` does the same.
    pub polling: Polling,
    /// Whether a subscriber may come before the channel exists; otherwise 404.
    pub create_on_get: bool,
    /// Whether a POST may create the channel; otherwise 404 until a PUT.
    pub create_on_post: bool,
    /// Origins a browser may come from.
    pub allow_origin: AllowOrigin,
    /// Pages that browsers may come from, from the app or the node where `allow_origin` was not said; empty: all.
    pub origins: Vec<String>,
    /// Whether browsers may send cookies.
    pub allow_credentials: bool,
    /// Where a subscriber without a position begins.
    pub first_message: FirstMessage,
    /// Stored messages per channel, at most. 0 stores none.
    pub buffer_messages: u32,
    /// Bytes of stored messages per channel, at most, the newest one aside; 0 is any number.
    pub buffer_bytes: u64,
    /// Stored messages that outlive `message_timeout_ms`.
    pub min_messages: u32,
    /// Age at which stored messages go.
    pub message_timeout_ms: u64,
    /// False: live delivery only.
    pub store_messages: bool,
    /// Messages are on disk before publishers and subscribers see them, and outlive the node.
    pub durable: bool,
    /// Drops the oldest message, above `min_messages`, once a subscriber has got it.
    pub delete_oldest_received: bool,
    /// What one more poll on a channel does.
    pub concurrency: Concurrency,
    /// Time without a message after which a subscriber is sent away.
    pub subscriber_timeout_ms: u64,
    /// A poll is held at most so long, also where `subscriber_timeout_ms` says nothing or more. The node's.
    pub poll_hold_ms: u64,
    /// Whether subscribers of unknown channels are refused with 403.
    pub existing_channels_only: bool,
    /// Subscribers per channel, 0 for no limit; more are refused with 403.
    pub max_subscribers: u32,
    /// Longest channel id, bytes.
    pub max_channel_id_bytes: usize,
    /// What happens to a longer one.
    pub channel_id_overflow: ChannelIdOverflow,
    /// Time for which an empty channel without subscribers is remembered.
    pub channel_timeout_ms: u64,
    /// Template of the channel group. The same id in another group is another channel.
    pub group: Option<String>,
    /// Initial limits of the group; present: accounting is on.
    pub group_limits: Option<GroupLimits>,
    /// Template of the event name that replaces the message's own.
    pub eventsource_event: Option<String>,
    /// Time between pings of an event stream.
    pub eventsource_ping_interval_ms: u64,
    /// Comment line of that ping.
    pub eventsource_ping_comment: Option<String>,
    /// Event name of that ping.
    pub eventsource_ping_event: Option<String>,
    /// Data line of that ping.
    pub eventsource_ping_data: Option<String>,
    /// Time between WebSocket pings.
    pub websocket_ping_interval_ms: u64,
    /// Text that a WebSocket client may send as a heartbeat, and the text it is answered with.
    pub websocket_heartbeat: Option<(String, String)>,
    /// What follows each message of a raw stream.
    pub raw_separator: String,
    /// How several stored messages answer one long poll.
    pub longpoll_multipart: LongPollMultipart,
    /// Whether `Etag` alone carries the whole id and `Last-Modified` is not used.
    pub compound_etag: bool,
    /// Response header used instead of `Etag`.
    pub custom_etag_header: Option<String>,
    /// Templates whose first non-empty value is a subscriber's position when no conditional header says it.
    pub last_message_id: Vec<String>,
    /// Whether messages published here are deflated once, for all WebSocket subscribers that can inflate.
    pub deflate: bool,
    /// Template of the channel in group `meta` that is told of events in this location's channels.
    pub channel_events: Option<String>,
    /// Template of what it is told.
    pub channel_event_string: String,
    /// URL asked before subscribing or publishing.
    pub authorize: Option<String>,
    /// URL told when a streaming subscriber is attached.
    pub subscribe_hook: Option<String>,
    /// URL told when a streaming subscriber has left.
    pub unsubscribe_hook: Option<String>,
    /// URL that sees a message before it is published and may change or drop it.
    pub upstream: Option<String>,
    /// URL told of waiting polls, in py-hbpush's form.
    pub passthrough: Option<String>,
    /// Name and template of each extra header of hook requests.
    pub hook_headers: Vec<(String, String)>,
    /// Whether `Cache-Control: no-cache` or `Pragma: no-cache` skips the stored messages.
    pub ignore_queue_on_no_cache: bool,
    /// What happens to a streaming subscriber whose outbox is full.
    pub slow_consumer: SlowConsumer,
    /// Whether permessage-deflate offers are accepted.
    pub deflate_websocket: bool,
}

impl LocationSettings {
    /// A location as nchan's defaults have it, with a longer buffer (100 instead of 10) and WebSocket pings.
    /// The path is empty and has to be set.
    pub fn nchan() -> LocationSettings {
        LocationSettings {
            path: PathPattern::Prefix(String::new()),
            listeners: Vec::new(),
            methods: LocationMethods::Pubsub,
            flavour: Flavour::Nchan,
            app: None,
            store: DEFAULT_STORE.into(),
            protected_channels: false,
            channel_id: vec!["$1".into()],
            publisher_channel_id: Vec::new(),
            subscriber_channel_id: Vec::new(),
            split_delimiter: None,
            subscribers: Transports::STREAMS_AND_LONG_POLL,
            publishers: Publishers { http: true, websocket: true },
            polling: Polling::Long,
            create_on_get: true,
            create_on_post: true,
            allow_origin: AllowOrigin::Echo,
            origins: Vec::new(),
            allow_credentials: true,
            first_message: FirstMessage::Oldest,
            buffer_messages: limits::RELAY_BUFFER_MESSAGES,
            buffer_bytes: 0,
            min_messages: 0,
            message_timeout_ms: limits::RELAY_MESSAGE_TIMEOUT_MS,
            store_messages: true,
            durable: false,
            delete_oldest_received: false,
            concurrency: Concurrency::Broadcast,
            subscriber_timeout_ms: 0,
            poll_hold_ms: limits::RELAY_POLL_HOLD_MS,
            existing_channels_only: false,
            max_subscribers: 0,
            max_channel_id_bytes: limits::RELAY_CHANNEL_ID_BYTES,
            channel_id_overflow: ChannelIdOverflow::Refuse,
            channel_timeout_ms: limits::RELAY_CHANNEL_TIMEOUT_MS,
            group: None,
            group_limits: None,
            eventsource_event: None,
            eventsource_ping_interval_ms: 0,
            eventsource_ping_comment: None,
            eventsource_ping_event: Some("ping".into()),
            eventsource_ping_data: None,
            websocket_ping_interval_ms: limits::RELAY_WEBSOCKET_PING_INTERVAL_MS,
            websocket_heartbeat: None,
            raw_separator: "\n".into(),
            longpoll_multipart: LongPollMultipart::Off,
            compound_etag: false,
            custom_etag_header: None,
            last_message_id: vec!["$http_last_event_id".into(), "$arg_last_event_id".into()],
            deflate: false,
            channel_events: None,
            channel_event_string: "$channel_event $channel_id".into(),
            authorize: None,
            subscribe_hook: None,
            unsubscribe_hook: None,
            upstream: None,
            passthrough: None,
            hook_headers: Vec::new(),
            ignore_queue_on_no_cache: false,
            slow_consumer: SlowConsumer::Close,
            deflate_websocket: true,
        }
    }

    /// A location as py-hbpush's defaults have it: long polling, one fixed origin without cookies, and 404 for
    /// channels nobody has published to. Unlike there, the buffer and the age of messages stay bounded.
    pub fn relay() -> LocationSettings {
        LocationSettings {
            flavour: Flavour::Relay,
            subscribers: Transports::NONE.with(Transport::LongPoll),
            publishers: Publishers { http: true, websocket: false },
            create_on_get: false,
            allow_origin: AllowOrigin::Any,
            allow_credentials: false,
            ..LocationSettings::nchan()
        }
    }

    /// Templates of the ids a publisher uses.
    pub fn publisher_ids(&self) -> &[String] {
        if self.publisher_channel_id.is_empty() { &self.channel_id } else { &self.publisher_channel_id }
    }

    /// Templates of the ids a subscriber uses.
    pub fn subscriber_ids(&self) -> &[String] {
        if self.subscriber_channel_id.is_empty() { &self.channel_id } else { &self.subscriber_channel_id }
    }

    /// Whether a plain GET without a message is answered at once.
    pub fn interval_polling(&self) -> bool {
        self.polling == Polling::Interval || self.subscribers.contains(Transport::IntervalPoll)
    }

    /// Messages kept per channel: `buffer_messages`, or none when storing is off.
    pub fn stored_messages(&self) -> u32 {
        if self.store_messages { self.buffer_messages } else { 0 }
    }
}

impl Default for LocationSettings {
    /// Same as [`LocationSettings::nchan`].
    fn default() -> Self {
        LocationSettings::nchan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_locations_pass_their_own_checks() {
        assert_eq!(RelaySettings::default().validate(), Vec::new());
    }

    #[test]
    fn every_transport_is_found_by_its_name_and_counted_once() {
        let all: Transports = Transport::ALL.into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), Transport::ALL);
        for transport in Transport::ALL {
            assert_eq!(Transport::from_name(transport.name()), Some(transport));
        }
        assert!(!Transports::STREAMS_AND_LONG_POLL.contains(Transport::IntervalPoll));
        assert!(!Transports::STREAMS_AND_LONG_POLL.contains(Transport::Raw));
        assert!(Transports::STREAMS_AND_LONG_POLL.contains(Transport::Multipart));
    }
}
