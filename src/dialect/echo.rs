//! An endpoint that sends back every WebSocket message: for conformance suites.

use crate::dialect::session::Message;
use crate::dialect::{Action, Context, SlowConsumer, Upgrade, upgrade};
use crate::wire::http::date;
use crate::wire::http::request::{Method, Request};
use crate::wire::http::response::{self, Response};
use crate::wire::ws::close;
use crate::wire::ws::deflate::{self, Compressor};
use crate::wire::ws::frame::{self, Opcode};
use bytes::Bytes;

/// zlib level: an echo is about round trips, not about size.
const LEVEL: u8 = 1;

/// The endpoint.
#[derive(Clone, Debug)]
pub struct Echo {
    path: Box<str>,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Session {
    compressor: Option<Box<Compressor>>,
}

impl Echo {
    /// The endpoint at `path`.
    pub fn new(path: &str) -> Echo {
        Echo { path: path.into() }
    }

    /// Takes requests for its path; others are left alone.
    pub fn on_request(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Option<Session> {
        if request.target_parts().path_raw != &*self.path {
            return None;
        }
        if !request.upgrade_websocket {
            let get = request.method == Method::Get;
            let answer = Response::new(if get { 426 } else { 405 }).header("Allow", "GET");
            let answer = if get { answer.header("Upgrade", "websocket") } else { answer };
            answer_plain(
                cx,
                request,
                &answer.body("text/plain", "This endpoint echoes WebSocket messages.\n"),
            );
            return Some(Session::default());
        }
        let policy = deflate::Policy::own();
        match upgrade::negotiate(request, &[], Some(&policy)) {
            Ok(accepted) => {
                let mut head = Vec::with_capacity(256);
                response::put_status_line(&mut head, 101);
                accepted.write_headers(&[], &mut head);
                head.extend_from_slice(b"\r\n");
                cx.send(head);
                let deflate = accepted.deflate;
                cx.act(Action::Upgrade(Upgrade { deflate, ping_interval_ms: 0, slow: SlowConsumer::Close }));
                let compressor = deflate.map(|params| Box::new(Compressor::for_connection(&params, LEVEL)));
                Some(Session { compressor })
            }
            Err(refusal) => {
                cx.refused("handshake", refusal.reason);
                answer_plain(cx, request, &upgrade::refused(&refusal));
                Some(Session::default())
            }
        }
    }
}

impl Session {
    /// Sends the message back, compressed if that was negotiated.
    pub fn on_message(&mut self, cx: &mut Context<'_>, message: Message<'_>) {
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, bytes),
        };
        let frame: Bytes = match &mut self.compressor {
            Some(compressor) => {
                let scratch = &mut cx.encoder.scratch;
                scratch.clear();
                compressor.compress(payload, scratch);
                frame::encode(opcode, true, &[scratch])
            }
            None => frame::encode(opcode, false, &[payload]),
        };
        cx.send(frame);
    }

    /// Says good-bye.
    pub fn on_drain(&mut self, cx: &mut Context<'_>) {
        cx.act(Action::CloseWebSocket { code: close::GOING_AWAY, reason: "The server is going away." });
    }
}

fn answer_plain(cx: &mut Context<'_>, request: &Request<'_>, answer: &Response) {
    let date = date::format(cx.now.unix_s() as i64);
    let context = response::Context {
        head: request.method == Method::Head,
        minor_version: request.minor_version,
        keep_alive: request.keep_alive,
        date: Some(&date),
    };
    let mut out = Vec::with_capacity(256);
    answer.write(&mut out, &context);
    cx.send(out);
    cx.act(if answer.keeps_alive(&context) { Action::Done } else { Action::Close });
}
