//! What a client is told with `pusher:error` (pusher.md sections 4 to 9).

use super::codes::Code;
use std::fmt;

/// Why a client's frame had no effect. All of them are events only: the connection stays open, because closing with
/// these codes would keep pusher-js away for good (trap 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The frame is longer than the node takes.
    FrameTooLong {
        /// What it takes, bytes.
        limit_bytes: usize,
    },
    /// Not JSON, or nested too deep.
    NotJson,
    /// No object with the name of an event.
    NoEvent,
    /// An event that clients cannot send; among them all of `pusher_internal:`.
    UnknownEvent,
    /// A command whose `data` is neither an object nor a string that holds one.
    NoData,
    /// No channel is named.
    NoChannel,
    /// The channel's name is not valid.
    BadChannel,
    /// A sign-in without `user_data`.
    NoUserData,
    /// The connection is signed in as somebody else.
    SignedInAsAnother,
    /// Nobody has authorized the connection for too long. The one after which it is closed, with 4009.
    NotAuthorizedInTime,
    /// The back end has ended the user's connections; it is closed with 4009 afterwards.
    Terminated,
    /// What has let the connection in has expired; it is closed with 4009 afterwards.
    GrantExpired,
    /// A grant does not let the client send events to this channel.
    ClientEventGrant,
    /// Of the list of users to watch only the beginning counts.
    WatchlistCut {
        /// How many count.
        limit: usize,
    },
    /// The app takes no events from clients.
    ClientEventsOff,
    /// The channel is public or encrypted.
    ClientEventChannel,
    /// The client is not subscribed to the channel.
    ClientEventNotSubscribed,
    /// The name of a client event is too long.
    ClientEventName {
        /// What it may have, characters.
        limit_chars: usize,
    },
    /// The data of a client event is too large.
    ClientEventData {
        /// What it may have, bytes.
        limit_bytes: usize,
    },
    /// Too many client events in a second.
    ClientEventRate,
    /// The channel's home could not take the client event.
    ClientEventNotTaken {
        /// Which limit was reached.
        limit: &'static str,
    },
}

impl Refusal {
    /// The code of the event; the protocol has none for frames that are malformed.
    pub fn code(self) -> Option<Code> {
        match self {
            Refusal::FrameTooLong { .. }
            | Refusal::NotJson
            | Refusal::NoEvent
            | Refusal::UnknownEvent
            | Refusal::NoData
            | Refusal::NoChannel
            | Refusal::BadChannel
            | Refusal::NoUserData => None,
            Refusal::SignedInAsAnother
            | Refusal::NotAuthorizedInTime
            | Refusal::GrantExpired
            | Refusal::Terminated => Some(Code::Unauthorized),
            Refusal::WatchlistCut { .. } => Some(Code::Watchlist),
            Refusal::ClientEventsOff
            | Refusal::ClientEventChannel
            | Refusal::ClientEventNotSubscribed
            | Refusal::ClientEventName { .. }
            | Refusal::ClientEventData { .. }
            | Refusal::ClientEventRate
            | Refusal::ClientEventGrant
            | Refusal::ClientEventNotTaken { .. } => Some(Code::ClientEvent),
        }
    }

    /// The code to close with after the event, for the few that end the connection.
    pub fn close(self) -> Option<u16> {
        match self {
            Refusal::NotAuthorizedInTime | Refusal::GrantExpired | Refusal::Terminated => {
                Code::Unauthorized.close()
            }
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::FrameTooLong { limit_bytes } => {
                return write!(f, "The message exceeds the allowed maximum ({limit_bytes} bytes).");
            }
            Refusal::WatchlistCut { limit } => {
                return write!(
                    f,
                    "The watchlist exceeds the allowed maximum ({limit} users); the rest is ignored."
                );
            }
            Refusal::ClientEventName { limit_chars } => {
                return write!(f, "The event name exceeds the allowed maximum ({limit_chars} characters).");
            }
            Refusal::ClientEventData { limit_bytes } => {
                return write!(f, "The event data exceeds the allowed maximum ({limit_bytes} bytes).");
            }
            Refusal::ClientEventNotTaken { limit } => {
                return write!(f, "The event could not be taken just now: {limit}.");
            }
            Refusal::NotJson => "Invalid message: not JSON, or nested too deep.",
            Refusal::NoEvent => "Invalid message: an object with the name of an event is needed.",
            Refusal::UnknownEvent => "Clients may not send this event.",
            Refusal::NoData => "Invalid message: data must be an object.",
            Refusal::NoChannel => "Invalid message: no channel is named.",
            Refusal::BadChannel => "Invalid channel name.",
            Refusal::NoUserData => "Invalid message: a sign-in needs user_data.",
            Refusal::SignedInAsAnother => "The connection is signed in as another user.",
            Refusal::NotAuthorizedInTime => "Connection not authorized within timeout.",
            Refusal::GrantExpired => "The authorization of the connection has expired.",
            Refusal::ClientEventGrant => "Clients may not send events to this channel.",
            Refusal::Terminated => "The user's connections were terminated.",
            Refusal::ClientEventsOff => "The app does not have client messaging enabled.",
            Refusal::ClientEventChannel => "Client events need a private or presence channel.",
            Refusal::ClientEventNotSubscribed => "Client events need a subscription to the channel.",
            Refusal::ClientEventRate => "The rate limit for client events has been reached.",
        })
    }
}
