//! The WebSocket handshake of a request, for every dialect.

use crate::wire::http::request::Request;
use crate::wire::http::response::Response;
use crate::wire::ws::{deflate, handshake};
use bytes::Bytes;

/// Decides about a handshake; see [`handshake::negotiate`].
///
/// # Errors
/// The rule of RFC 6455 section 4.2.1 that the request breaks.
pub fn negotiate(
    request: &Request<'_>,
    wanted: &[&str],
    policy: Option<&deflate::Policy>,
) -> Result<handshake::Accepted, handshake::Refusal> {
    let lines = |name: &'static str| request.headers.all(name).collect::<Vec<_>>();
    let asked = handshake::Request {
        method: request.method_text.as_bytes(),
        http_minor: request.minor_version,
        upgrade: &lines("upgrade"),
        connection: &lines("connection"),
        version: &lines("sec-websocket-version"),
        key: &lines("sec-websocket-key"),
        protocols: &lines("sec-websocket-protocol"),
        extensions: &lines("sec-websocket-extensions"),
    };
    handshake::negotiate(&asked, wanted, policy)
}

/// The answer to a handshake that cannot be.
pub fn refused(refusal: &handshake::Refusal) -> Response {
    let body = Bytes::from(format!("{}\n", refusal.reason));
    let answer = Response::new(refusal.status).body("text/plain", body);
    if refusal.tell_version { answer.header("Sec-WebSocket-Version", handshake::VERSION) } else { answer }
}
