//! Answers to HTTP requests, for every dialect: what their framing depends on, and how they end an exchange.

use crate::dialect::{Action, Context};
use crate::wire::http::request::{Method, Request};
use crate::wire::http::response::{self, Response};
use bytes::Bytes;

/// What of a request decides about the framing of its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http(u8);

impl Http {
    const HEAD: u8 = 1;
    const HTTP_1_0: u8 = 2;
    const KEEP_ALIVE: u8 = 4;

    /// Of this request.
    pub fn of(request: &Request<'_>) -> Http {
        let mut bits = 0;
        for (bit, set) in [
            (Http::HEAD, request.method == Method::Head),
            (Http::HTTP_1_0, request.minor_version == 0),
            (Http::KEEP_ALIVE, request.keep_alive),
        ] {
            bits |= if set { bit } else { 0 };
        }
        Http(bits)
    }

    /// Whether the connection can go on.
    pub fn keep_alive(self) -> bool {
        self.0 & Http::KEEP_ALIVE != 0
    }

    /// Whether the client speaks HTTP/1.0.
    pub fn is_1_0(self) -> bool {
        self.0 & Http::HTTP_1_0 != 0
    }

    /// The same, but the connection ends after the answer.
    pub fn closing(self) -> Http {
        Http(self.0 & !Http::KEEP_ALIVE)
    }

    /// The same in the words of the response writer.
    pub fn context(self, date: Option<&[u8; 29]>) -> response::Context<'_> {
        response::Context {
            head: self.0 & Http::HEAD != 0,
            minor_version: u8::from(!self.is_1_0()),
            keep_alive: self.keep_alive(),
            date,
        }
    }

    /// The Connection line of an answer with a length; empty when the default says it.
    pub fn connection_line(self) -> &'static [u8] {
        match (self.keep_alive(), self.is_1_0()) {
            (false, _) => b"Connection: close\r\n",
            (true, true) => b"Connection: keep-alive\r\n",
            (true, false) => b"",
        }
    }
}

/// Sends a whole answer with `lines` (cross-origin headers) added, and ends the exchange.
pub fn finish(cx: &mut Context<'_>, http: Http, answer: &Response, lines: &[u8]) {
    let date = cx.encoder.date(cx.now.unix_s());
    let context = http.context(Some(&date));
    let out = &mut cx.encoder.scratch;
    out.clear();
    answer.head_prefix(out);
    out.extend_from_slice(lines);
    answer.per_request(out, &context);
    answer.tail(out, context.head);
    // Of its exact size, the copy needs no second allocation for its reference count.
    let bytes = Bytes::copy_from_slice(out);
    cx.send(bytes);
    cx.act(if answer.keeps_alive(&context) { Action::Done } else { Action::Close });
}
