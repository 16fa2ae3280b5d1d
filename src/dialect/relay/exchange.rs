//! One request and its answer: what the answer depends on, and how it is put on the wire.

use crate::channel::{KeyHasher, Refusal};
pub use crate::dialect::http::{Http, finish};
use crate::dialect::relay::form::Forms;
use crate::dialect::relay::info::Sum;
use crate::dialect::relay::location::{Captures, Location};
use crate::dialect::relay::settings::Flavour;
use crate::dialect::relay::template::Scope;
use crate::dialect::{Action, Context};
use crate::wire::http::accept::InfoFormat;
use crate::wire::http::cors::{Answer, Decision};
use crate::wire::http::request::Request;
use crate::wire::http::response::{self, Response};
use bytes::Bytes;

/// As [`finish`] with the info body `sum` in `format`: what publishers wait for, so nothing but the answer itself is
/// allocated.
pub fn finish_info(
    cx: &mut Context<'_>,
    http: Http,
    status: u16,
    (sum, format): (&Sum, InfoFormat),
    lines: &[u8],
) {
    let date = cx.encoder.date(cx.now.unix_s());
    let context = http.context(Some(&date));
    let out = &mut cx.encoder.scratch;
    out.clear();
    sum.write(format, out);
    let body_bytes = out.len();
    response::put_status_line(out, status);
    response::put_body_lines(out, format.content_type(), body_bytes);
    out.extend_from_slice(lines);
    response::per_request(out, &context, true, false);
    out.extend_from_slice(b"\r\n");
    let (body, head) = out.split_at(body_bytes);
    let body = if context.head { &[] } else { body };
    // Full to its capacity: then Bytes takes it over as it is.
    let mut whole = Vec::with_capacity(head.len() + body.len());
    whole.extend_from_slice(head);
    whole.extend_from_slice(body);
    cx.send(whole);
    cx.act(if http.keep_alive() { Action::Done } else { Action::Close });
}

/// A request with everything that is known about it.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Number of the location.
    pub index: u16,
    /// The location.
    pub location: &'a Location,
    /// The request.
    pub request: &'a Request<'a>,
    /// What the location's pattern found.
    pub captures: &'a Captures<'a>,
    /// Makes channel keys.
    pub hasher: &'a KeyHasher,
    /// Makes frames.
    pub forms: &'a Forms,
    /// What the answer's framing depends on.
    pub http: Http,
    /// What the request's Origin leads to.
    pub cors: Decision<'a>,
}

impl<'a> Ask<'a> {
    /// What templates see of it.
    pub fn scope<'s>(&'s self, cx: &'s Context<'_>) -> Scope<'s> {
        Scope {
            request: self.request,
            captures: self.captures,
            peer: cx.peer,
            channel_ids: &[],
            group: b"",
            subscriber_type: "",
            publisher_type: "",
            message_id: "0:0",
            event: "",
        }
    }

    /// The cross-origin lines of an answer.
    pub fn lines(&self, answer: Answer<'_>) -> Bytes {
        if !self.cors.has_lines() {
            return Bytes::new();
        }
        let mut out = Vec::with_capacity(256);
        self.cors.write(&mut out, answer);
        out.into()
    }

    /// Whether the location has the older family's habits.
    pub fn is_relay(&self) -> bool {
        self.location.settings.flavour == Flavour::Relay
    }

    /// Answers OPTIONS; the channels are not touched (http-push-relay sheet, trap 7).
    pub fn options(&self, cx: &mut Context<'_>, methods: &str) {
        let lines = self.lines(Answer::Preflight(methods));
        finish(cx, self.http, &Response::new(200).header("Allow", methods), &lines);
    }

    /// The path as sent, for logs: what is behind it may let somebody in.
    pub fn path(&self) -> &'a str {
        self.request.target_parts().path_raw
    }

    /// Answers at once.
    pub fn answer(&self, cx: &mut Context<'_>, answer: &Response) {
        finish(cx, self.http, answer, &self.lines(Answer::Plain));
    }

    /// Refuses at once, with the reason as text, logged under `label`.
    pub fn refuse(&self, cx: &mut Context<'_>, status: u16, label: &'static str, reason: &str) {
        cx.refused(label, format!("{} {}: {reason}", self.request.method_text, self.path()));
        self.answer(cx, &Response::new(status).body("text/plain", text_body(reason)));
    }

    /// Refuses a method.
    pub fn refuse_method(&self, cx: &mut Context<'_>, status: u16, allow: &str) {
        let reason = format!("{} is not possible here.", self.request.method_text);
        cx.refused("method", format!("{} {}", self.request.method_text, self.path()));
        let answer = Response::new(status).header("Allow", allow).body("text/plain", text_body(&reason));
        self.answer(cx, &answer);
    }
}

fn text_body(reason: &str) -> Bytes {
    Bytes::from(format!("{reason}\n"))
}

/// The answer to a publisher or subscriber whose command a home refused; the texts of the group limits are
/// nchan's (sheet section 5).
pub fn refusal(refusal: Refusal, subscriber_of_known_only: bool) -> Response {
    let (status, text) = match refusal {
        Refusal::NotFound if subscriber_of_known_only => (403, "Channel does not exist."),
        Refusal::NotFound => (404, "Channel does not exist."),
        Refusal::TooManySubscribers => (403, "Channel has as many subscribers as it may have."),
        Refusal::TooManySubscriptions => (403, "Connection has as many subscriptions as it may have."),
        Refusal::Conflict => (409, "Somebody else is waiting on this channel."),
        Refusal::TooManyChannels => (403, "Limit reached for number of channels."),
        Refusal::HistoryFull => (507, "Memory for stored messages is used up."),
        Refusal::Busy => (503, "Subscribers of this channel cannot take more just now."),
        Refusal::GroupChannels => (403, "Group limit reached for number of channels."),
        Refusal::GroupSubscribers => (403, "Group limit reached for number of subscribers."),
        Refusal::GroupMessages => (403, "Group limit reached for number of messages."),
        Refusal::GroupMemory => (403, "Group limit reached for memory used by messages."),
        Refusal::TooManyUsers => (403, "Channel has as many users as it may have."),
        Refusal::UserTooLarge => (403, "Id and information of the user are too long."),
        Refusal::PresenceFull => (507, "Memory for users is used up."),
        Refusal::StoreBusy => (503, "Too many messages are waiting to be stored."),
        Refusal::StoreFull => (507, "The disk for stored messages is full."),
        Refusal::StoreTooLarge => (413, "Message or channel id is too large to be stored."),
        Refusal::StoreChannels => (403, "Limit reached for number of stored channels."),
        Refusal::StoreFailed => (503, "Messages cannot be stored or read."),
        Refusal::AppChannels => (403, "App limit reached for number of channels."),
    };
    let answer = Response::new(status).body("text/plain", Bytes::from_static(text.as_bytes()));
    let again = matches!(refusal, Refusal::Busy | Refusal::StoreBusy | Refusal::StoreFailed);
    if again { answer.header("Retry-After", "1") } else { answer }
}
