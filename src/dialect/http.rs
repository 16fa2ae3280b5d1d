//! Answers to HTTP requests, for every dialect: what their framing depends on, and how they end an exchange.

use crate::dialect::{Action, Context};
use crate::wire::http::origin;
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

/// Listeners on which something is served, as a bit for each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listeners(u64);

impl Listeners {
    /// All of them.
    pub const ALL: Listeners = Listeners(u64::MAX);

    /// Those of these names, or `internal` for every one that is not public. `listeners` has the name of each, in the
    /// order of their numbers, and whether it is a public one.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn of<'a>(names: &'a [String], listeners: &[(&str, bool)]) -> Result<Listeners, &'a str> {
        let mut bits = 0;
        for name in names {
            let before = bits;
            for (number, (known, public)) in listeners.iter().enumerate().take(u64::BITS as usize) {
                if name == known || name == "internal" && !public {
                    bits |= 1 << number;
                }
            }
            if bits == before && name != "internal" && !listeners.iter().any(|(known, _)| name == known) {
                return Err(name);
            }
        }
        Ok(Listeners(bits))
    }

    /// Those that are not public; `listeners` as in [`Listeners::of`].
    pub fn internal(listeners: &[(&str, bool)]) -> Listeners {
        let numbered = listeners.iter().take(u64::BITS as usize).enumerate();
        Listeners(numbered.fold(0, |bits, (number, (_, public))| bits | u64::from(!public) << number))
    }

    /// Whether listener `number` is one of them.
    pub fn has(self, number: u16) -> bool {
        self.0.checked_shr(u32::from(number)).unwrap_or(0) & 1 == 1
    }
}

/// Answers a browser that comes from a page of elsewhere with 403, if it does ([`origin::is_welcome`]).
pub fn refuse_origin(cx: &mut Context<'_>, request: &Request<'_>, origins: &[String]) -> bool {
    if origins.is_empty() {
        return false;
    }
    let from = request.headers.get("origin");
    if origin::is_welcome(origins, from) {
        return false;
    }
    cx.refused("origin", format!("origin `{}` is not allowed", from.unwrap_or_default().escape_ascii()));
    let answer = Response::new(403).body("text/plain", "This origin is not allowed here.\n");
    finish(cx, Http::of(request), &answer, &[]);
    true
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
