//! Locations as compiled: whose path it is, which channels a request means, and under which rules.

use crate::channel::{self, ChannelKey, HIDDEN_APP, KeyCache, KeyHasher, Policy, PresenceLimits};
use crate::dialect::relay::form::Variant;
use crate::dialect::relay::settings::{
    self, AllowOrigin, ChannelIdOverflow, DEFAULT_STORE, Flavour, LocationMethods, LocationSettings,
    PathPattern,
};
use crate::dialect::relay::template::{Scope, Template};
use crate::limits;
use crate::wire::http::cors::{self, Cors, Decision};
use crate::wire::http::origin::is_welcome;
use crate::wire::http::target;
use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::sync::Arc;

/// What a location's pattern found in a path.
#[derive(Clone, Debug)]
pub enum Captures<'a> {
    /// What follows a prefix.
    Rest(Cow<'a, [u8]>),
    /// The groups of a regular expression, the whole match first.
    Groups(Vec<Cow<'a, [u8]>>),
}

impl Captures<'_> {
    /// Group `number`; empty when it took no part.
    pub fn get(&self, number: usize) -> &[u8] {
        match self {
            Captures::Rest(rest) if number == 1 => rest,
            Captures::Rest(_) => b"",
            Captures::Groups(groups) => groups.get(number).map_or(b"", |group| group),
        }
    }
}

/// A path in both spellings.
pub struct Path<'a> {
    raw: &'a [u8],
    /// Decoded and normalised as nginx does it.
    decoded: Cow<'a, [u8]>,
}

impl<'a> Path<'a> {
    /// Decodes the path of a target; `None` when an escape is malformed or `..` climbs above the root.
    pub fn new(path_raw: &'a str) -> Option<Path<'a>> {
        let raw = path_raw.as_bytes();
        let decoded = match target::decode(raw).ok()? {
            Cow::Borrowed(path) => target::normalize(path).ok()?,
            Cow::Owned(path) => Cow::Owned(target::normalize(&path).ok()?.into_owned()),
        };
        Some(Path { raw, decoded })
    }
}

enum Pattern {
    Prefix(Box<[u8]>),
    Regex(Regex),
}

/// Why a request names no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChannel {
    /// An id over the limit.
    IdTooLong,
    /// More ids than a request may have.
    TooMany,
    /// A group name with `/`, or `m`.
    Group,
    /// A channel that other dialects protect by a signature.
    Protected,
}

impl BadChannel {
    /// What is wrong, for the log and the answer.
    pub fn text(self) -> &'static str {
        match self {
            BadChannel::IdTooLong => "Channel id is too long.",
            BadChannel::TooMany => "Too many channels in one request.",
            BadChannel::Group => "This is no name for a channel group.",
            BadChannel::Protected => {
                "This channel needs an authorization that this location does not ask for."
            }
        }
    }

    /// Name for metrics.
    pub fn label(self) -> &'static str {
        match self {
            BadChannel::IdTooLong => "channel_id_too_long",
            BadChannel::TooMany => "too_many_channels",
            BadChannel::Group => "bad_group",
            BadChannel::Protected => "protected_channel",
        }
    }
}

/// The channels of a request.
pub struct Channels {
    /// Their ids in the order of the request.
    pub ids: Vec<Vec<u8>>,
    /// Their group, empty for none.
    pub group: Vec<u8>,
}

// A store is no hidden side of an app, and no app that there can be.
const _: () = assert!(limits::RELAY_STORES & HIDDEN_APP == 0 && limits::RELAY_STORES > HIDDEN_APP);

/// What names of channels begin with that other dialects let nobody have without a signature (pusher.md section 5,
/// pushi.md section 7), or that they keep for themselves.
const PROTECTED: [&[u8]; 5] = [b"private-", b"presence-", b"personal-", b"peer-", b"#"];

fn is_protected(id: &[u8]) -> bool {
    PROTECTED.iter().any(|prefix| id.starts_with(prefix))
}

/// One compiled location.
pub struct Location {
    /// As configured.
    pub settings: LocationSettings,
    /// Rules that its channels get.
    pub policy: Arc<Policy>,
    /// Number of its app, or of its store above [`limits::RELAY_STORES`].
    pub app: u32,
    /// Whether clients are kept away from channels that other dialects protect.
    protects: bool,
    /// Number of its [`Variant`] among the node's.
    pub variant: u16,
    /// Bit set of the listeners that serve it.
    listeners: u64,
    pattern: Pattern,
    publisher_ids: Box<[Template]>,
    subscriber_ids: Box<[Template]>,
    group: Option<Template>,
    /// Where a subscriber's position may be.
    pub last_message_id: Box<[Template]>,
    /// Event name override.
    pub event: Option<Template>,
    /// Channel in group `meta` that is told of events.
    pub events_channel: Option<Template>,
    /// What it is told.
    pub events_text: Template,
    /// Extra headers of hooks.
    pub hook_headers: Box<[(Box<str>, Template)]>,
    cors_publisher: Cors,
    cors_subscriber: Cors,
}

/// What a location needs to know of the rest of the node.
pub struct Surroundings<'a> {
    /// Name of each listener, in the order of their numbers, and whether it is a public one.
    pub listeners: &'a [(&'a str, bool)],
    /// Ids of the configured apps; their place is their number.
    pub apps: &'a [&'a str],
    /// Names of stores seen so far; their place is their number.
    pub stores: Vec<String>,
}

impl Location {
    /// Compiles one location.
    ///
    /// # Errors
    /// The key that is wrong, and why, in one line.
    pub fn compile(
        settings: &LocationSettings,
        around: &mut Surroundings<'_>,
    ) -> Result<Location, (&'static str, String)> {
        let pattern = compile_pattern(settings)?;
        let names = match &pattern {
            Pattern::Regex(regex) => {
                let named = regex.capture_names().enumerate();
                named.filter_map(|(at, name)| Some((name?.to_owned(), at))).collect()
            }
            Pattern::Prefix(_) => Vec::new(),
        };
        let one = |key, text: &str| Template::compile(text, &names).map_err(|error| (key, error));
        let all = |key, texts: &[String]| -> Result<Box<[Template]>, _> {
            texts.iter().map(|text| one(key, text)).collect()
        };
        let optional = |key, text: &Option<String>| text.as_deref().map(|text| one(key, text)).transpose();
        let app = space(settings, around)?;
        let headers = settings.hook_headers.iter();
        let hook_headers = headers
            .map(|(name, value)| Ok((name.as_str().into(), one("hook_headers", value)?)))
            .collect::<Result<_, _>>()?;
        Ok(Location {
            policy: Arc::new(policy(settings)),
            variant: 0,
            app,
            protects: app < limits::RELAY_STORES
                && settings.methods.subscribes()
                && settings.authorize.is_none()
                && !settings.protected_channels,
            listeners: listener_bits(settings, around.listeners)?,
            publisher_ids: all("publisher_channel_id", settings.publisher_ids())?,
            subscriber_ids: all("subscriber_channel_id", settings.subscriber_ids())?,
            group: optional("group", &settings.group)?,
            last_message_id: all("last_message_id", &settings.last_message_id)?,
            event: optional("eventsource_event", &settings.eventsource_event)?,
            events_channel: optional("channel_events", &settings.channel_events)?,
            events_text: one("channel_event_string", &settings.channel_event_string)?,
            hook_headers,
            cors_publisher: cors_policy(settings, "Content-Type"),
            cors_subscriber: cors_policy(settings, ""),
            pattern,
            settings: settings.clone(),
        })
    }

    /// How its frames look.
    pub fn form_variant(&self) -> Variant {
        Variant::of(&self.settings, self.event.as_ref().and_then(Template::constant))
    }

    /// Whether the location is served on listener `number`.
    pub fn is_on(&self, number: u16) -> bool {
        self.listeners.checked_shr(u32::from(number)).unwrap_or(0) & 1 == 1
    }

    /// What the pattern finds in the path; `None`: not this location's.
    pub fn find<'p>(&self, path: &'p Path<'_>) -> Option<Captures<'p>> {
        let relay = self.settings.flavour == Flavour::Relay;
        // py-hbpush looks at the path as sent and decodes what it found; nginx looks at the decoded one.
        let text: &[u8] = if relay { path.raw } else { &path.decoded };
        let own =
            |found: &'p [u8]| if relay { target::decode(found).ok() } else { Some(Cow::Borrowed(found)) };
        match &self.pattern {
            Pattern::Prefix(prefix) => {
                let rest = text.strip_prefix(&**prefix).filter(|rest| !rest.is_empty())?;
                Some(Captures::Rest(own(rest)?))
            }
            Pattern::Regex(regex) => {
                let found = regex.captures(text)?;
                let groups = found.iter().map(|group| own(group.map_or(b"", |group| group.as_bytes())));
                Some(Captures::Groups(groups.collect::<Option<_>>()?))
            }
        }
    }

    /// The channels that a request means, as publisher or as subscriber.
    ///
    /// # Errors
    /// Says which rule they break.
    pub fn channels(&self, scope: &Scope<'_>, publisher: bool) -> Result<Channels, BadChannel> {
        let templates = if publisher { &self.publisher_ids } else { &self.subscriber_ids };
        let mut ids = Vec::with_capacity(templates.len());
        for template in templates {
            let value = template.fill(scope);
            match &self.settings.split_delimiter {
                Some(delimiter) => split(&value, delimiter.as_bytes(), &mut ids),
                None => ids.push(value),
            }
        }
        if ids.len() > limits::RELAY_CHANNELS_PER_REQUEST {
            return Err(BadChannel::TooMany);
        }
        let most = self.settings.max_channel_id_bytes;
        for id in ids.iter_mut().filter(|id| id.len() > most) {
            match self.settings.channel_id_overflow {
                ChannelIdOverflow::Refuse => return Err(BadChannel::IdTooLong),
                ChannelIdOverflow::Truncate => id.truncate(most),
            }
        }
        if self.protects && ids.iter().any(|id| is_protected(id)) {
            return Err(BadChannel::Protected);
        }
        Ok(Channels { ids, group: self.group(scope)? })
    }

    /// Whether a publisher's channel and event name follow from its request, whoever sent it.
    pub fn names_channels_by_request_alone(&self) -> bool {
        let mut templates = self.publisher_ids.iter().chain(&self.group).chain(&self.event);
        templates.all(Template::is_of_request)
    }

    /// The channel group of a request, empty for none.
    ///
    /// # Errors
    /// The name is refused.
    pub fn group(&self, scope: &Scope<'_>) -> Result<Vec<u8>, BadChannel> {
        let group = self.group.as_ref().map(|template| template.fill(scope)).unwrap_or_default();
        if group == b"m" || group.contains(&b'/') || group.len() > limits::RELAY_CHANNEL_ID_BYTES_MAX {
            return Err(BadChannel::Group);
        }
        Ok(group)
    }

    /// The key of one of its channels, for a publisher: mostly another one is not long ago.
    pub fn key_again(
        &self,
        cache: &mut KeyCache,
        hasher: &KeyHasher,
        group: &[u8],
        id: &[u8],
    ) -> Arc<ChannelKey> {
        cache.key(hasher, self.app, group, id)
    }

    /// The key of one of its channels.
    pub fn key(&self, hasher: &KeyHasher, group: &[u8], id: &[u8]) -> Arc<ChannelKey> {
        ChannelKey::new(hasher, self.app, group, id)
    }

    /// The cross-origin rules for an origin; `listening`: for subscribers and pubsub locations.
    pub fn cors<'a>(&'a self, origin: Option<&'a [u8]>) -> Decision<'a> {
        let publisher = !self.settings.methods.subscribes();
        let policy = if publisher { &self.cors_publisher } else { &self.cors_subscriber };
        let mut decision = policy.decide(origin);
        decision.allowed &= is_welcome(&self.settings.origins, origin);
        decision
    }
}

fn split(value: &[u8], delimiter: &[u8], out: &mut Vec<Vec<u8>>) {
    let mut rest = value;
    while let Some(at) = memchr::memmem::find(rest, delimiter).filter(|_| !delimiter.is_empty()) {
        out.push(rest[..at].to_vec());
        rest = &rest[at + delimiter.len()..];
    }
    out.push(rest.to_vec());
}

fn compile_pattern(settings: &LocationSettings) -> Result<Pattern, (&'static str, String)> {
    let text = match &settings.path {
        PathPattern::Prefix(text) => return Ok(Pattern::Prefix(text.as_bytes().into())),
        // py-hbpush matches the whole path, nginx searches.
        PathPattern::Regex(text) if settings.flavour == Flavour::Relay => format!("^(?:{text})$"),
        PathPattern::Regex(text) => text.clone(),
    };
    let build =
        |unicode| RegexBuilder::new(&text).unicode(unicode).size_limit(limits::RELAY_PATTERN_BYTES).build();
    // Paths are bytes. A pattern with letters beyond ASCII in a class only works on text.
    build(false)
        .or_else(|_| build(true))
        .map(Pattern::Regex)
        .map_err(|error| ("url", one_line(&error.to_string())))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The number of a location's app, or of its store: whose channels it has.
fn space(settings: &LocationSettings, around: &mut Surroundings<'_>) -> Result<u32, (&'static str, String)> {
    let number = match &settings.app {
        Some(id) if settings.store != DEFAULT_STORE => {
            return Err((
                "app",
                format!("`store` is not `{DEFAULT_STORE}`: the channels are not those of `{id}`"),
            ));
        }
        Some(id) => around.apps.iter().position(|known| known == id),
        None => (!around.apps.is_empty() && settings.store == DEFAULT_STORE).then_some(0),
    };
    match (number, &settings.app) {
        (Some(number), _) => Ok(number as u32),
        (None, Some(id)) => Err(("app", format!("no [[app]] has the id `{id}`"))),
        (None, None) => Ok(limits::RELAY_STORES + store_number(&settings.store, &mut around.stores)),
    }
}

fn store_number(name: &str, stores: &mut Vec<String>) -> u32 {
    let at = stores.iter().position(|known| known == name).unwrap_or_else(|| {
        stores.push(name.to_owned());
        stores.len() - 1
    });
    at as u32
}

fn listener_bits(
    settings: &LocationSettings,
    listeners: &[(&str, bool)],
) -> Result<u64, (&'static str, String)> {
    let mut bits = 0;
    // What tells of others' channels is not for the public where there is a place that is not.
    let about_others = matches!(settings.methods, LocationMethods::Group | LocationMethods::Status);
    let hidden = about_others && listeners.iter().any(|(_, public)| !public);
    for (number, (name, public)) in listeners.iter().enumerate().take(u64::BITS as usize) {
        let named = settings.listeners.iter().any(|wanted| wanted == name || wanted == "internal" && !public);
        if named || settings.listeners.is_empty() && *public != hidden {
            bits |= 1 << number;
        }
    }
    match settings
        .listeners
        .iter()
        .find(|name| *name != "internal" && !listeners.iter().any(|l| l.0 == *name))
    {
        Some(name) => Err(("listen", format!("there is no listener `{name}`"))),
        None => Ok(bits),
    }
}

fn policy(settings: &LocationSettings) -> Policy {
    Policy {
        max_messages: settings.stored_messages(),
        min_messages: settings.min_messages,
        message_timeout_ms: settings.message_timeout_ms,
        channel_timeout_ms: settings.channel_timeout_ms,
        max_bytes: if settings.buffer_bytes == 0 { u64::MAX } else { settings.buffer_bytes },
        durable: settings.durable,
        delete_oldest_received: settings.delete_oldest_received,
        group_limits: settings.group_limits.map(group_limits),
        presence: PresenceLimits::default(),
    }
}

/// The limits as the channel core has them.
pub fn group_limits(limits: settings::GroupLimits) -> channel::GroupLimits {
    channel::GroupLimits {
        channels: limits.channels,
        subscribers: limits.subscribers,
        messages: limits.messages,
        memory_bytes: limits.memory_bytes,
    }
}

/// The location's cross-origin policy; `publisher_headers` are what a publisher may set, empty for subscribers.
fn cors_policy(settings: &LocationSettings, publisher_headers: &str) -> Cors {
    let relay = settings.flavour == Flavour::Relay;
    let mut policy = if relay { Cors::relay() } else { Cors::nchan() };
    policy.allow_credentials = settings.allow_credentials;
    policy.allow_origin = match &settings.allow_origin {
        AllowOrigin::Echo => cors::AllowOrigin::Echo,
        AllowOrigin::Any if relay => cors::AllowOrigin::Fixed("*".into()),
        AllowOrigin::Any => cors::AllowOrigin::Star,
        AllowOrigin::List(list) if relay => {
            cors::AllowOrigin::Fixed(list.first().cloned().unwrap_or_default())
        }
        AllowOrigin::List(list) => cors::AllowOrigin::List(list.clone()),
    };
    if !publisher_headers.is_empty() {
        policy.allow_headers = publisher_headers.into();
    } else if !relay {
        // A position may come in these, too: fetch-based event streams, and the nchan client's own header.
        policy.allow_headers.push_str(", Last-Event-ID, Etag");
    }
    if let Some(name) = &settings.custom_etag_header {
        policy.expose_headers.push_str(", ");
        policy.expose_headers.push_str(name);
    }
    policy
}

/// Whether requests of this method mean the location's subscribers.
pub fn subscribes(methods: LocationMethods, is_get: bool) -> bool {
    match methods {
        LocationMethods::Subscriber => true,
        LocationMethods::Pubsub => is_get,
        _ => false,
    }
}
