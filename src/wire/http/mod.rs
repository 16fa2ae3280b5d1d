//! HTTP/1.1 messages (RFC 9110, RFC 9112): the server side of a push node, and a small client side.
//!
//! Reading: [`request::Reader`] turns bytes into whole requests, in place where they arrive whole.
//! Writing: [`response::Response`] appends to a buffer; [`chunked`] frames streamed bodies.
//! Everything here is pure: the date, the limits and any randomness are arguments.

use std::fmt;

pub mod accept;
pub mod chunked;
pub mod client;
pub mod cors;
pub mod date;
pub mod forwarded;
pub mod head;
pub mod headers;
pub mod list;
pub mod origin;
pub mod repeat;
pub mod request;
pub mod response;
pub mod target;

/// Why a message was refused. The connection cannot go on after it: the end of the message is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// Status code to answer with: 400, 413, 414, 431, 501 or 505; 408 is made by whoever keeps the deadlines.
    pub status: u16,
    /// The rule or the limit that was broken, for the log and the answer's body.
    pub reason: &'static str,
}

impl HttpError {
    /// An error with any status.
    pub const fn new(status: u16, reason: &'static str) -> Self {
        HttpError { status, reason }
    }

    /// A malformed message.
    pub const fn bad(reason: &'static str) -> Self {
        HttpError { status: 400, reason }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, response::phrase(self.status), self.reason)
    }
}

impl std::error::Error for HttpError {}
