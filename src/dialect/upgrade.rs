//! The WebSocket handshake of a request, for every dialect.

use crate::dialect::http::{Http, finish};
use crate::dialect::{Action, Context, SlowConsumer, Upgrade};
use crate::wire::http::list;
use crate::wire::http::request::Request;
use crate::wire::http::response::{self, Response};
use crate::wire::ws::{close, deflate, handshake};
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

/// Takes a handshake without subprotocol and extension, or answers why not. Tells whether the connection goes on as a
/// WebSocket, which is pinged after `ping_interval_ms` (0: never) and closed when the peer does not keep up.
pub fn open(cx: &mut Context<'_>, request: &Request<'_>, ping_interval_ms: u32) -> bool {
    open_as(cx, request, &[], ping_interval_ms)
}

/// Takes a handshake only to close the connection with 1013 and a reason of at most 123 bytes. The first subprotocol
/// that is offered is agreed to, or browsers would say nothing but that there was none.
pub fn turn_away(cx: &mut Context<'_>, request: &Request<'_>, reason: &'static str) {
    let offered = request.headers.get("sec-websocket-protocol").and_then(|value| list::items(value).next());
    let offered = offered.and_then(|name| std::str::from_utf8(name).ok());
    if open_as(cx, request, offered.as_slice(), 0) {
        cx.act(Action::CloseWebSocket { code: close::TRY_AGAIN_LATER, reason });
    }
}

fn open_as(cx: &mut Context<'_>, request: &Request<'_>, protocols: &[&str], ping_interval_ms: u32) -> bool {
    let accepted = match negotiate(request, protocols, None) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            cx.refused("handshake", refusal.reason);
            finish(cx, Http::of(request), &refused(&refusal), &[]);
            return false;
        }
    };
    let mut head = Vec::with_capacity(192);
    response::put_status_line(&mut head, 101);
    accepted.write_headers(protocols, &mut head);
    head.extend_from_slice(b"\r\n");
    cx.send(head);
    cx.act(Action::Upgrade(Upgrade { deflate: None, ping_interval_ms, slow: SlowConsumer::Close }));
    true
}
