//! What back ends ask over HTTP (pusher.md section 11).
//!
//! Order of calls: [`route`], find the app, [`authorize`], [`parse`]; then [`super::answer`] writes what came of it,
//! and an [`ApiError`] says its status and plain text.

use super::auth::Keys;
use super::frame::Data;
use super::handshake::SocketId;
use super::name::{Kind, Name, within};
use crate::limits::{PUSHER_USER_ID_CHARS, PusherLimits};
use crate::wire::http::request::Method;
use crate::wire::http::target::decode_text;
use crate::wire::json::{self, Reader, Value};
use crate::wire::sign::{ApiCall, ApiQuery, BadCall, same_text};
use std::borrow::Cow;
use std::fmt;

/// Parts of the longest path, and one more.
const PATH_PARTS: usize = 6;

/// A path that is known, with the method that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The app it names. None for the one path without (trap 7): there `auth_key` says which app is meant.
    pub app_id: Option<Cow<'a, str>>,
    place: Place<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place<'a> {
    Events,
    BatchEvents,
    Channels,
    Channel(Cow<'a, str>),
    Users(Cow<'a, str>),
    Terminate(Cow<'a, str>),
    /// Deprecated: the event's name in the query, its data as the body.
    ChannelEvents(Cow<'a, str>),
}

impl Route<'_> {
    /// The status of a good answer: PHP's library takes nothing but 200 (trap 20).
    pub fn success_status(&self) -> u16 {
        if matches!(self.place, Place::ChannelEvents(_)) { 202 } else { 200 }
    }
}

/// Finds the route of a path as it was sent; `None` for all that is not part of this interface.
pub fn route(method: Method, path_raw: &str) -> Option<Route<'_>> {
    let parts: Vec<&str> = path_raw.strip_prefix('/')?.split('/').take(PATH_PARTS).collect();
    if parts.contains(&"") {
        return None;
    }
    let text = |raw| decode_text(raw).ok();
    let (app_id, place) = match (method, &parts[..]) {
        (Method::Post, ["users", user, "terminate_connections"]) => (None, Place::Terminate(text(user)?)),
        (method, ["apps", app, rest @ ..]) => {
            let place = match (method, rest) {
                (Method::Post, ["events"]) => Place::Events,
                (Method::Post, ["batch_events"]) => Place::BatchEvents,
                (Method::Get, ["channels"]) => Place::Channels,
                (Method::Get, ["channels", name] | ["channels", name, "stats"]) => {
                    Place::Channel(text(name)?)
                }
                (Method::Get, ["channels", name, "users"]) => Place::Users(text(name)?),
                (Method::Post, ["channels", name, "events"]) => Place::ChannelEvents(text(name)?),
                (Method::Post, ["users", user, "terminate_connections"]) => Place::Terminate(text(user)?),
                _ => return None,
            };
            (Some(text(app)?), place)
        }
        _ => return None,
    };
    Some(Route { app_id, place })
}

/// Checks who asks. `keys` are those of the app that the route names, or that has the `auth_key` where it names
/// none; with a key of another app nobody gets in (trap 8).
///
/// # Errors
/// [`ApiError::UnknownApp`], [`ApiError::UnknownKey`] or [`ApiError::Unauthorized`].
pub fn authorize(
    route: &Route<'_>,
    keys: Option<Keys<'_>>,
    query: &ApiQuery<'_>,
    call: &ApiCall<'_>,
    now_s: u64,
    limits: &PusherLimits,
) -> Result<(), ApiError> {
    let key = query.auth_key().map_err(ApiError::Unauthorized)?;
    let Some(keys) = keys else {
        return Err(if route.app_id.is_some() { ApiError::UnknownApp } else { ApiError::UnknownKey });
    };
    if !same_text(keys.key, key) {
        return Err(ApiError::UnknownKey);
    }
    query
        .verify(call, keys.secret.as_bytes(), now_s, limits.timestamp_tolerance_s)
        .map_err(ApiError::Unauthorized)
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Publish one event. The answer has a map of channels if [`Trigger::info`] asks for anything, else nothing.
    Events(Trigger<'a>),
    /// Publish several, each in one channel. The answer has a list, one item per event, if any of them asks for
    /// anything.
    BatchEvents(Vec<Trigger<'a>>),
    /// Which channels are occupied.
    Channels {
        /// Only those whose names begin so.
        prefix: &'a str,
        /// What to tell of each.
        info: Info,
    },
    /// What there is to tell of one channel.
    Channel {
        /// Which.
        name: Name<'a>,
        /// What to tell beside whether it is occupied.
        info: Info,
    },
    /// Who is in a presence channel.
    Users {
        /// Which.
        name: Name<'a>,
    },
    /// End the connections that are signed in as this user.
    Terminate {
        /// Who.
        user_id: &'a str,
    },
}

/// One event to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its data: the decoded string, or the JSON that was sent instead of one.
    pub data: &'a [u8],
    /// Where to, each channel once and at least one.
    pub channels: Vec<Name<'a>>,
    /// The connection that does not get it. None also for a name that no connection of the node has (trap 19).
    pub exclude: Option<SocketId>,
    /// What the answer tells of the channels.
    pub info: Info,
}

/// Attributes of channels that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Users of a presence channel.
    pub user_count: bool,
    /// Connections subscribed.
    pub subscription_count: bool,
    /// The event that a cache channel keeps.
    pub cache: bool,
}

impl Info {
    /// Nothing is asked for.
    pub fn is_empty(self) -> bool {
        self == Info::default()
    }

    fn parse(list: &str) -> Result<Info, ApiError> {
        let mut info = Info::default();
        for attribute in list.split(',').map(str::trim).filter(|attribute| !attribute.is_empty()) {
            match attribute {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "cache" => info.cache = true,
                _ => return Err(ApiError::Invalid("info: unknown attribute")),
            }
        }
        Ok(info)
    }
}

/// Reads a request whose signature was checked.
///
/// # Errors
/// [`ApiError::Invalid`] and those for what is too long, too large or too many.
pub fn parse<'a>(
    route: &'a Route<'_>,
    query: &'a ApiQuery<'_>,
    body: &'a [u8],
    reader: &'a mut Reader,
    limits: &PusherLimits,
) -> Result<Request<'a>, ApiError> {
    match &route.place {
        Place::Events => {
            let document = reader.read_bytes(body).map_err(|_| NOT_JSON)?;
            let event = document.root();
            trigger(event, channels(event, limits)?, limits).map(Request::Events)
        }
        Place::BatchEvents => {
            let document = reader.read_bytes(body).map_err(|_| NOT_JSON)?;
            batch(document.root(), limits).map(Request::BatchEvents)
        }
        Place::Channels => list(query),
        Place::Channel(name) => one(name, query, limits),
        Place::Users(name) => {
            let name = channel(name, limits)?;
            let presence = name.kind().is_presence();
            presence
                .then_some(Request::Users { name })
                .ok_or(ApiError::Invalid("users can be retrieved for presence channels only"))
        }
        Place::Terminate(user_id) => {
            if !within(user_id, PUSHER_USER_ID_CHARS) {
                return Err(ApiError::Invalid("user id: too long"));
            }
            Ok(Request::Terminate { user_id })
        }
        Place::ChannelEvents(name) => channel_event(channel(name, limits)?, query, body, limits),
    }
}

const NOT_JSON: ApiError = ApiError::Invalid("the body must be one JSON object in UTF-8");

fn channel<'a>(text: &'a str, limits: &PusherLimits) -> Result<Name<'a>, ApiError> {
    Name::parse(text, limits.channel_name_bytes).map_err(|_| ApiError::BadChannel { name: text.into() })
}

/// `channels`, or `channel`: libraries have sent both.
fn channels<'a>(event: Value<'_, 'a>, limits: &PusherLimits) -> Result<Vec<Name<'a>>, ApiError> {
    const NONE: ApiError = ApiError::Invalid("channels: an array of names is needed, or channel: a name");
    let list = match event.get("channels") {
        Some(list) if list.kind() != json::Kind::Null => list,
        _ => return Ok(vec![only_channel(event, limits)?]),
    };
    let items = list.items();
    if items.len() > limits.channels_per_trigger {
        return Err(ApiError::TooManyChannels { limit: limits.channels_per_trigger });
    }
    let mut names: Vec<Name<'a>> = Vec::with_capacity(items.len());
    for item in items {
        let name = channel(item.as_str().ok_or(NONE)?, limits)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { Err(NONE) } else { Ok(names) }
}

fn only_channel<'a>(event: Value<'_, 'a>, limits: &PusherLimits) -> Result<Name<'a>, ApiError> {
    let name = event.get("channel").and_then(Value::as_str);
    channel(name.ok_or(ApiError::Invalid("channel: a name is needed"))?, limits)
}

fn trigger<'a>(
    event: Value<'_, 'a>,
    channels: Vec<Name<'a>>,
    limits: &PusherLimits,
) -> Result<Trigger<'a>, ApiError> {
    let name = event.get("name").and_then(Value::as_str);
    let data = event.get("data").ok_or(ApiError::Invalid("data: a string is needed"))?;
    let optional = |field, error| match event.get(field) {
        Some(value) if value.kind() == json::Kind::String => Ok(value.as_str().unwrap_or_default()),
        Some(value) if value.kind() != json::Kind::Null => Err(ApiError::Invalid(error)),
        _ => Ok(""),
    };
    Ok(Trigger {
        name: event_name(name, limits)?,
        data: bounded(Data::of(data).bytes(), limits)?,
        channels,
        exclude: socket_id(optional("socket_id", BAD_SOCKET_ID)?)?,
        info: Info::parse(optional("info", "info: a string is needed")?)?,
    })
}

const BAD_SOCKET_ID: &str = "socket_id: must be two numbers with a dot between them";

fn event_name<'a>(name: Option<&'a str>, limits: &PusherLimits) -> Result<&'a str, ApiError> {
    let name = name.filter(|name| !name.is_empty()).ok_or(ApiError::Invalid("name: a string is needed"))?;
    if !within(name, limits.event_name_chars) {
        return Err(ApiError::EventNameTooLong { limit_chars: limits.event_name_chars });
    }
    Ok(name)
}

fn bounded<'a>(data: &'a [u8], limits: &PusherLimits) -> Result<&'a [u8], ApiError> {
    if data.len() > limits.data_bytes {
        return Err(ApiError::DataTooLarge { limit_bytes: limits.data_bytes });
    }
    Ok(data)
}

fn socket_id(text: &str) -> Result<Option<SocketId>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    SocketId::parse(text).map_err(|_| ApiError::Invalid(BAD_SOCKET_ID))
}

fn batch<'a>(root: Value<'_, 'a>, limits: &PusherLimits) -> Result<Vec<Trigger<'a>>, ApiError> {
    let list = root.get("batch").filter(|list| list.kind() == json::Kind::Array);
    let items = list.ok_or(ApiError::Invalid("batch: an array of events is needed"))?.items();
    if items.len() > limits.batch_events {
        return Err(ApiError::BatchTooLarge { limit: limits.batch_events });
    }
    items.map(|event| trigger(event, vec![only_channel(event, limits)?], limits)).collect()
}

fn list<'a>(query: &'a ApiQuery<'_>) -> Result<Request<'a>, ApiError> {
    let prefix = query.get("filter_by_prefix").unwrap_or_default();
    let info = Info::parse(query.get("info").unwrap_or_default())?;
    if info.user_count && !prefix.starts_with("presence-") {
        return Err(ApiError::Invalid("user_count needs filter_by_prefix to begin with presence-"));
    }
    if info.cache {
        return Err(ApiError::Invalid("cache cannot be retrieved for several channels"));
    }
    Ok(Request::Channels { prefix, info })
}

fn one<'a>(name: &'a str, query: &'a ApiQuery<'_>, limits: &PusherLimits) -> Result<Request<'a>, ApiError> {
    let name = channel(name, limits)?;
    let info = Info::parse(query.get("info").unwrap_or_default())?;
    let kind: Kind = name.kind();
    if info.user_count && !kind.is_presence() {
        return Err(ApiError::Invalid("user_count can be retrieved for presence channels only"));
    }
    if info.cache && !kind.is_cache() {
        return Err(ApiError::Invalid("cache can be retrieved for cache channels only"));
    }
    Ok(Request::Channel { name, info })
}

fn channel_event<'a>(
    channel: Name<'a>,
    query: &'a ApiQuery<'_>,
    body: &'a [u8],
    limits: &PusherLimits,
) -> Result<Request<'a>, ApiError> {
    simdutf8::basic::from_utf8(body).map_err(|_| ApiError::Invalid("the body must be UTF-8"))?;
    Ok(Request::Events(Trigger {
        name: event_name(query.get("name"), limits)?,
        data: bounded(body, limits)?,
        channels: vec![channel],
        exclude: socket_id(query.get("socket_id").unwrap_or_default())?,
        info: Info::default(),
    }))
}

/// Why a request is refused. `Display` is the body, plain text as the hosted service has it.
#[derive(Clone, Debug)]
pub enum ApiError {
    /// No such path, or not with this method.
    UnknownPath,
    /// No app has this id.
    UnknownApp,
    /// No app has this key, or another one than the path names.
    UnknownKey,
    /// The signature or what belongs to it is wrong.
    Unauthorized(BadCall),
    /// The app is switched off.
    AppDisabled,
    /// A grant keeps everybody from publishing there ([`crate::dialect::grant`]); this is why.
    Grant(&'static str),
    /// The app has had as many messages as it may.
    OverQuota,
    /// Too many requests; `Retry-After` says when to come again.
    RateLimited,
    /// A parameter is missing or wrong.
    Invalid(&'static str),
    /// Not a channel name.
    BadChannel {
        /// As sent.
        name: Box<str>,
    },
    /// More channels than one event may go to.
    TooManyChannels {
        /// How many it may be.
        limit: usize,
    },
    /// More events than a batch may have.
    BatchTooLarge {
        /// How many it may be.
        limit: usize,
    },
    /// The event's name is too long.
    EventNameTooLong {
        /// What it may have, characters.
        limit_chars: usize,
    },
    /// The event's data are too large.
    DataTooLarge {
        /// What they may have, bytes.
        limit_bytes: usize,
    },
}

impl ApiError {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            ApiError::UnknownPath | ApiError::UnknownApp => 404,
            ApiError::UnknownKey | ApiError::Unauthorized(_) => 401,
            ApiError::AppDisabled | ApiError::OverQuota | ApiError::Grant(_) => 403,
            ApiError::RateLimited => 429,
            ApiError::Invalid(_)
            | ApiError::BadChannel { .. }
            | ApiError::TooManyChannels { .. }
            | ApiError::BatchTooLarge { .. }
            | ApiError::EventNameTooLong { .. } => 400,
            ApiError::DataTooLarge { .. } => 413,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiError::UnknownPath => f.write_str("Not found"),
            ApiError::UnknownApp => f.write_str("Unknown app"),
            ApiError::UnknownKey => f.write_str("Unknown auth_key"),
            ApiError::Unauthorized(bad) => bad.fmt(f),
            ApiError::AppDisabled => f.write_str("The app is disabled"),
            ApiError::OverQuota => f.write_str("The app is over its quota"),
            ApiError::RateLimited => f.write_str("Too many requests"),
            ApiError::Invalid(what) | ApiError::Grant(what) => f.write_str(what),
            ApiError::BadChannel { name } => write!(f, "Invalid channel name: {}", Short(name)),
            ApiError::TooManyChannels { limit } => {
                write!(f, "An event may be triggered on at most {limit} channels")
            }
            ApiError::BatchTooLarge { limit } => write!(f, "A batch may have at most {limit} events"),
            ApiError::EventNameTooLong { limit_chars } => {
                write!(f, "The event name exceeds the allowed maximum ({limit_chars} characters).")
            }
            ApiError::DataTooLarge { limit_bytes } => {
                write!(f, "The data content of this event exceeds the allowed maximum ({limit_bytes} bytes).")
            }
        }
    }
}

/// The beginning of a text that somebody sent where a name should be.
struct Short<'a>(&'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARS: usize = 64;
        self.0.chars().take(CHARS).try_for_each(|c| write!(f, "{c}"))?;
        f.write_str(if within(self.0, CHARS) { "" } else { "..." })
    }
}

#[cfg(test)]
mod tests;
