//! Close and error codes (pusher.md section 4).

/// A code of the protocol: of a close frame, of a `pusher:error` event, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// The app is there only with TLS.
    TlsOnly = 4000,
    /// No app has this key.
    NoSuchApp = 4001,
    /// The app is switched off.
    AppDisabled = 4003,
    /// The app has as many connections as it may.
    OverQuota = 4004,
    /// No such path.
    PathNotFound = 4005,
    /// The protocol version is not a number.
    BadVersion = 4006,
    /// The protocol version is one the node does not speak.
    UnsupportedProtocol = 4007,
    /// No protocol version was named; the node takes that for 7.
    NoProtocol = 4008,
    /// A signature is missing or wrong, or the connection was ended by the back end.
    Unauthorized = 4009,
    /// The node is full.
    OverCapacity = 4100,
    /// Come back at once: the node stops.
    Reconnect = 4200,
    /// A ping was not answered.
    PongTimeout = 4201,
    /// Nothing came for too long, from a client that knows no pings.
    Inactive = 4202,
    /// A client event was refused.
    ClientEvent = 4301,
    /// More users are watched than may be.
    Watchlist = 4302,
}

/// What pusher-js 8.6.0 does when it is closed with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It stays away for good.
    Never,
    /// It switches to TLS and comes at once.
    WithTls,
    /// It comes after a second.
    Later,
    /// It comes at once.
    AtOnce,
}

impl Reaction {
    /// The reaction to any close code, also those of RFC 6455.
    pub fn of(close: u16) -> Reaction {
        match close {
            4000 => Reaction::WithTls,
            4001..=4099 | 4300..=4399 => Reaction::Never,
            4200..=4299 => Reaction::AtOnce,
            _ => Reaction::Later,
        }
    }
}

impl Code {
    /// Its number.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// What a close frame with it says; clients show it to their users. Fits into a close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Code::TlsOnly => "Application only accepts SSL connections, reconnect using wss://",
            Code::NoSuchApp => "Application does not exist",
            Code::AppDisabled => "Application disabled",
            Code::OverQuota => "Application is over connection quota",
            Code::PathNotFound => "Path not found",
            Code::BadVersion => "Invalid version string format",
            Code::UnsupportedProtocol => "Unsupported protocol version",
            Code::NoProtocol => "No protocol version supplied",
            Code::Unauthorized => "Connection is unauthorized",
            Code::OverCapacity => "Over capacity",
            Code::Reconnect => "Generic reconnect immediately",
            Code::PongTimeout => "Pong reply not received in time",
            Code::Inactive => "Closed after inactivity",
            Code::ClientEvent => "Client event rejected",
            Code::Watchlist => "Watchlist limit reached",
        }
    }

    /// The code for a close frame. None for what is said in an event only: closing with it would keep a client
    /// away for good because of one refused event (trap 12).
    pub fn close(self) -> Option<u16> {
        (!matches!(self, Code::ClientEvent | Code::Watchlist)).then_some(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WS_CLOSE_REASON_BYTES;

    #[test]
    fn codes_make_clients_do_what_is_meant() {
        for (code, number, reaction) in [
            (Code::TlsOnly, 4000, Reaction::WithTls),
            (Code::NoSuchApp, 4001, Reaction::Never),
            (Code::AppDisabled, 4003, Reaction::Never),
            (Code::OverQuota, 4004, Reaction::Never),
            (Code::PathNotFound, 4005, Reaction::Never),
            (Code::BadVersion, 4006, Reaction::Never),
            (Code::UnsupportedProtocol, 4007, Reaction::Never),
            (Code::NoProtocol, 4008, Reaction::Never),
            (Code::Unauthorized, 4009, Reaction::Never),
            (Code::OverCapacity, 4100, Reaction::Later),
            (Code::Reconnect, 4200, Reaction::AtOnce),
            (Code::PongTimeout, 4201, Reaction::AtOnce),
            (Code::Inactive, 4202, Reaction::AtOnce),
        ] {
            assert_eq!(code.close(), Some(number));
            assert_eq!(Reaction::of(number), reaction, "{number}");
            assert!(code.reason().len() <= WS_CLOSE_REASON_BYTES);
        }
        for code in [Code::ClientEvent, Code::Watchlist] {
            assert_eq!((code.close(), Reaction::of(code.number())), (None, Reaction::Never), "event only");
        }
        for other in [1000, 1001, 1002, 1006, 1011] {
            assert_eq!(Reaction::of(other), Reaction::Later, "{other}");
        }
    }
}
