//! What a client sends (pusher.md sections 2, 3, 5, 8 and 9).

use super::name::{Name, is_client_event, within};
use super::refusal::Refusal;
use crate::limits::PusherLimits;
use crate::wire::json::{Kind, Reader, Value};

/// One frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Wants a pong.
    Ping,
    /// Answers a ping.
    Pong,
    /// Wants to subscribe.
    Subscribe(Subscribe<'a>),
    /// Wants to leave a channel.
    Unsubscribe(Name<'a>),
    /// Says who it is.
    Signin(Signin<'a>),
    /// Sends an event to the other subscribers of a channel.
    Client(ClientEvent<'a>),
}

/// See [`Frame::Subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// To what.
    pub channel: Name<'a>,
    /// Key and signature; none where it is empty, null or no string at all (trap 15).
    pub auth: Option<&'a str>,
    /// The signed text about the member, byte for byte.
    pub channel_data: Option<&'a str>,
}

/// See [`Frame::Signin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signin<'a> {
    /// Key and signature.
    pub auth: Option<&'a str>,
    /// The signed text about the user, byte for byte.
    pub user_data: &'a str,
}

/// See [`Frame::Client`]. Its name begins with `client-`, its channel is of a kind that takes such events, and name
/// and data are within the limits. Whether the app takes them, the sender is subscribed and is not too fast is for
/// the session to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEvent<'a> {
    /// Its name.
    pub event: &'a str,
    /// Where to.
    pub channel: Name<'a>,
    /// What; the others get the same type.
    pub data: Option<Data<'a>>,
}

/// The data of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// A string, decoded.
    Text(&'a [u8]),
    /// One valid JSON document, as it was sent.
    Json(&'a [u8]),
}

impl<'a> Data<'a> {
    /// The text where it is one, else the document.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Data::Text(bytes) | Data::Json(bytes) => bytes,
        }
    }

    /// A value of a document that was read.
    pub(super) fn of(value: Value<'_, 'a>) -> Self {
        match value.as_str() {
            Some(text) => Data::Text(text.as_bytes()),
            None => Data::Json(value.raw().as_bytes()),
        }
    }
}

/// Reads frames; keeps its buffers from one to the next. One per shard is enough.
#[derive(Debug, Default)]
pub struct Parser {
    frame: Reader,
    /// For commands whose `data` is JSON in a string.
    inner: Reader,
}

impl Parser {
    /// Reads one text frame.
    ///
    /// # Errors
    /// What the client is to be told.
    pub fn parse<'a>(&'a mut self, text: &'a str, limits: &PusherLimits) -> Result<Frame<'a>, Refusal> {
        if text.len() > limits.frame_bytes() {
            return Err(Refusal::FrameTooLong { limit_bytes: limits.frame_bytes() });
        }
        let Parser { frame, inner } = self;
        let document = frame.read(text).map_err(|_| Refusal::NotJson)?;
        let root = document.root();
        let event = root.get("event").and_then(Value::as_str).ok_or(Refusal::NoEvent)?;
        match event {
            "pusher:ping" => Ok(Frame::Ping),
            "pusher:pong" => Ok(Frame::Pong),
            "pusher:subscribe" => command(root, inner, |data| subscribe(data, limits)),
            "pusher:unsubscribe" => {
                command(root, inner, |data| channel(data, limits).map(Frame::Unsubscribe))
            }
            "pusher:signin" => command(root, inner, signin),
            _ if is_client_event(event) => client_event(event, root, limits),
            _ => Err(Refusal::UnknownEvent),
        }
    }
}

/// Reads the `data` of a command: an object, or a string that holds one (section 2).
fn command<'a>(
    root: Value<'_, 'a>,
    inner: &'a mut Reader,
    read: impl FnOnce(Value<'_, 'a>) -> Result<Frame<'a>, Refusal>,
) -> Result<Frame<'a>, Refusal> {
    let data = root.get("data").ok_or(Refusal::NoData)?;
    let Some(text) = data.as_str() else {
        return if data.kind() == Kind::Object { read(data) } else { Err(Refusal::NoData) };
    };
    let document = inner.read(text).map_err(|_| Refusal::NoData)?;
    if document.root().kind() == Kind::Object { read(document.root()) } else { Err(Refusal::NoData) }
}

fn channel<'a>(object: Value<'_, 'a>, limits: &PusherLimits) -> Result<Name<'a>, Refusal> {
    let text = object.get("channel").and_then(Value::as_str).ok_or(Refusal::NoChannel)?;
    Name::parse(text, limits.channel_name_bytes).map_err(|_| Refusal::BadChannel)
}

fn auth<'a>(data: Value<'_, 'a>) -> Option<&'a str> {
    data.get("auth").and_then(Value::as_str).filter(|auth| !auth.is_empty())
}

fn subscribe<'a>(data: Value<'_, 'a>, limits: &PusherLimits) -> Result<Frame<'a>, Refusal> {
    Ok(Frame::Subscribe(Subscribe {
        channel: channel(data, limits)?,
        auth: auth(data),
        channel_data: data.get("channel_data").and_then(Value::as_str),
    }))
}

fn signin<'a>(data: Value<'_, 'a>) -> Result<Frame<'a>, Refusal> {
    let user_data = data.get("user_data").and_then(Value::as_str).ok_or(Refusal::NoUserData)?;
    Ok(Frame::Signin(Signin { auth: auth(data), user_data }))
}

fn client_event<'a>(
    event: &'a str,
    root: Value<'_, 'a>,
    limits: &PusherLimits,
) -> Result<Frame<'a>, Refusal> {
    if !within(event, limits.event_name_chars) {
        return Err(Refusal::ClientEventName { limit_chars: limits.event_name_chars });
    }
    let channel = channel(root, limits)?;
    if !channel.kind().takes_client_events() {
        return Err(Refusal::ClientEventChannel);
    }
    let data = root.get("data").map(Data::of);
    if data.is_some_and(|data| data.bytes().len() > limits.data_bytes) {
        return Err(Refusal::ClientEventData { limit_bytes: limits.data_bytes });
    }
    Ok(Frame::Client(ClientEvent { event, channel, data }))
}

#[cfg(test)]
mod tests;
