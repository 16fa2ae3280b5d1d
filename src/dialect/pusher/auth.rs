//! What signatures allow a client (pusher.md sections 5 to 8).

use super::frame::{Signin, Subscribe};
use super::name::{Kind, within};
use crate::limits::{
    PUSHER_AUTH_BYTES, PUSHER_USER_ID_CHARS, PUSHER_USER_INFO_BYTES, PUSHER_WATCHLIST_USERS,
};
use crate::wire::json::{self, Reader, Value};
use crate::wire::sign::{channel_string, hmac_sha256, same_text, user_string};
use std::fmt;

/// With what an app's back end signs.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Public.
    pub key: &'a str,
    /// Secret.
    pub secret: &'a str,
}

/// Who somebody is in a presence channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As text, also where it was a number: 1 and "1" are the same member (trap 16).
    pub id: Box<str>,
    /// What the others are shown, JSON as it was sent.
    pub info: Option<Box<str>>,
}

/// Who somebody has signed in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Id and what others are shown, for presence channels without `channel_data`.
    pub member: Member,
    /// Users whose coming and going it wants to be told.
    pub watchlist: Vec<Box<str>>,
    /// It named more than [`PUSHER_WATCHLIST_USERS`]; those behind do not count.
    pub watchlist_cut: bool,
}

/// Judges a subscription of the connection `socket_id`, which is signed in as `user`, if it is. The member is there
/// for presence channels.
///
/// # Errors
/// See [`AuthError`].
pub fn subscribe(
    keys: Keys<'_>,
    socket_id: &str,
    asked: &Subscribe<'_>,
    user: Option<&User>,
    reader: &mut Reader,
) -> Result<Option<Member>, AuthError> {
    let kind = asked.channel.kind();
    if kind == Kind::ServerToUser {
        let own = user.is_some_and(|user| asked.channel.user_id() == Some(&user.member.id));
        return if own { Ok(None) } else { Err(AuthError::NotThatUser) };
    }
    if !kind.needs_auth() {
        return Ok(None);
    }
    verify(keys, asked.auth, || channel_string(socket_id, asked.channel.text(), asked.channel_data))?;
    if !kind.is_presence() {
        return Ok(None);
    }
    match (asked.channel_data, user) {
        (Some(data), _) => {
            let document = reader.read(data).map_err(|_| AuthError::ChannelData)?;
            member(document.root(), "user_id", AuthError::ChannelData).map(Some)
        }
        (None, Some(user)) => Ok(Some(user.member.clone())),
        (None, None) => Err(AuthError::ChannelData),
    }
}

/// Judges a sign-in of the connection `socket_id`.
///
/// # Errors
/// See [`AuthError`].
pub fn signin(
    keys: Keys<'_>,
    socket_id: &str,
    asked: &Signin<'_>,
    reader: &mut Reader,
) -> Result<User, AuthError> {
    verify(keys, asked.auth, || user_string(socket_id, asked.user_data))?;
    let document = reader.read(asked.user_data).map_err(|_| AuthError::UserData)?;
    let member = member(document.root(), "id", AuthError::UserData)?;
    let mut watched = match document.root().get("watchlist") {
        None => None,
        Some(list) if list.kind() == json::Kind::Null => None,
        Some(list) if list.kind() == json::Kind::Array => Some(list.items()),
        Some(_) => return Err(AuthError::UserData),
    }
    .into_iter()
    .flatten();
    let first = watched.by_ref().take(PUSHER_WATCHLIST_USERS);
    let mut watchlist: Vec<Box<str>> = Vec::new();
    for item in first {
        let id = id(item).ok_or(AuthError::UserData)?;
        if !within(id, PUSHER_USER_ID_CHARS) {
            return Err(AuthError::UserIdTooLong);
        }
        if !watchlist.iter().any(|known| **known == *id) {
            watchlist.push(id.into());
        }
    }
    Ok(User { member, watchlist, watchlist_cut: watched.next().is_some() })
}

/// Checks `<key>:<signature>` against what should have been signed.
fn verify(keys: Keys<'_>, auth: Option<&str>, signed: impl FnOnce() -> String) -> Result<(), AuthError> {
    let auth = auth.ok_or(AuthError::Missing)?;
    let (key, given) = auth.rsplit_once(':').ok_or(AuthError::Format)?;
    if auth.len() > PUSHER_AUTH_BYTES {
        return Err(AuthError::Format);
    }
    if !same_text(keys.key, key) {
        return Err(AuthError::Key { given: key.into() });
    }
    let signed = signed();
    if hmac_sha256(keys.secret.as_bytes(), signed.as_bytes()).matches(given.as_bytes()) {
        return Ok(());
    }
    Err(AuthError::Signature { signed: signed.into(), given: given.into() })
}

/// Reads an object with an id of this name and perhaps `user_info`.
fn member(object: Value<'_, '_>, name: &str, malformed: AuthError) -> Result<Member, AuthError> {
    let Some(id) = object.get(name).and_then(id) else { return Err(malformed) };
    if !within(id, PUSHER_USER_ID_CHARS) {
        return Err(AuthError::UserIdTooLong);
    }
    let info = object.get("user_info").filter(|info| info.kind() != json::Kind::Null).map(Value::raw);
    if info.is_some_and(|info| info.len() > PUSHER_USER_INFO_BYTES) {
        return Err(AuthError::UserInfoTooLarge);
    }
    Ok(Member { id: id.into(), info: info.map(Into::into) })
}

/// An id as text: a string that is not empty, or a number as it was written.
fn id<'a>(value: Value<'_, 'a>) -> Option<&'a str> {
    match value.kind() {
        json::Kind::String => value.as_str().filter(|id| !id.is_empty()),
        json::Kind::Number => Some(value.raw()),
        _ => None,
    }
}

/// Why somebody is not let in. The connection stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// No signature at all.
    Missing,
    /// Not `<key>:<signature>`.
    Format,
    /// Signed for another app.
    Key {
        /// As sent.
        given: Box<str>,
    },
    /// Something else was signed, or with another secret.
    Signature {
        /// What should have been signed.
        signed: Box<str>,
        /// As sent.
        given: Box<str>,
    },
    /// The channel belongs to a user as whom the connection is not signed in.
    NotThatUser,
    /// The connection is in the presence channel as somebody else. Said by the session.
    OtherMember,
    /// `channel_data` is missing, is no object or names no user.
    ChannelData,
    /// `user_data` is no object, names no user, or its watchlist is none.
    UserData,
    /// More than [`PUSHER_USER_ID_CHARS`] characters.
    UserIdTooLong,
    /// More than [`PUSHER_USER_INFO_BYTES`].
    UserInfoTooLarge,
    /// The channel has as many members as it may. Said by the session.
    TooManyMembers,
    /// The connection has as many subscriptions as it may, or the channel as many subscribers. Said by the session.
    TooManySubscriptions,
    /// The channel's home has another limit; this is its name. Said by the session.
    Home(&'static str),
    /// A grant does not let it in ([`crate::dialect::grant`]); this is why. Said by the session.
    Grant(&'static str),
}

impl AuthError {
    /// `type` in `pusher:subscription_error`.
    pub fn kind(&self) -> &'static str {
        match self {
            AuthError::UserIdTooLong
            | AuthError::UserInfoTooLarge
            | AuthError::TooManyMembers
            | AuthError::TooManySubscriptions
            | AuthError::Home(_) => "LimitReached",
            _ => "AuthError",
        }
    }

    /// `status` there.
    pub fn status(&self) -> u16 {
        match self {
            AuthError::UserIdTooLong | AuthError::UserInfoTooLarge => 4301,
            AuthError::TooManyMembers | AuthError::TooManySubscriptions | AuthError::Home(_) => 4100,
            _ => 401,
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthError::Missing => f.write_str("Auth value for subscription or sign-in is missing"),
            AuthError::Format => f.write_str("Auth value is not of the form '<key>:<signature>'"),
            AuthError::Key { given } => write!(f, "Invalid key in auth value: '{given}'"),
            AuthError::Signature { signed, given } => {
                write!(f, "Invalid signature: Expected HMAC SHA256 hex digest of {signed}, but got {given}")
            }
            AuthError::NotThatUser => {
                f.write_str("The connection is not signed in as the user of this channel")
            }
            AuthError::OtherMember => f.write_str("The connection is in this channel as another user"),
            AuthError::ChannelData => f.write_str("channel_data must be a JSON object with a user_id"),
            AuthError::UserData => {
                f.write_str("user_data must be a JSON object with an id, its watchlist an array of ids")
            }
            AuthError::UserIdTooLong => {
                write!(f, "The user id exceeds the allowed maximum ({PUSHER_USER_ID_CHARS} characters)")
            }
            AuthError::UserInfoTooLarge => {
                write!(f, "user_info exceeds the allowed maximum ({PUSHER_USER_INFO_BYTES} bytes)")
            }
            AuthError::TooManyMembers => f.write_str("The channel has reached its maximum number of members"),
            AuthError::TooManySubscriptions => {
                f.write_str("The maximum number of subscriptions has been reached")
            }
            AuthError::Grant(why) => f.write_str(why),
            AuthError::Home(limit) => write!(f, "A limit of the node has been reached: {limit}"),
        }
    }
}

#[cfg(test)]
mod tests;
