//! Publishing over HTTP (nchan sheet section 2, http-push-relay sheet section 2).

use crate::channel::hook::{HookAnswer, HookFailure};
use crate::channel::{self, ChannelKey, Command, Message, Refusal};
use crate::dialect::grant::{Act, Denied};
use crate::dialect::relay::admission::{self, Passed};
use crate::dialect::relay::events::{self, Tell};
use crate::dialect::relay::exchange::{Ask, Http, finish, finish_info, refusal};
use crate::dialect::relay::hooks;
use crate::dialect::relay::info::Sum;
use crate::dialect::relay::location::Channels;
use crate::dialect::relay::settings::LocationMethods;
use crate::dialect::relay::template::Scope;
use crate::dialect::relay::{Session, State, Waiting, websocket};
use crate::dialect::{Action, Context, Standing};
use crate::wire::http::accept::{InfoFormat, info_format};
use crate::wire::http::cors;
use crate::wire::http::repeat::RepeatedHead;
use crate::wire::http::request::Method;
use crate::wire::http::response::Response;
use bytes::Bytes;
use std::sync::Arc;

const METHODS: &str = "GET, POST, PUT, DELETE";
const METHODS_RELAY: &str = "GET, POST, PUT, DELETE, OPTIONS";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Publish,
    Create,
    Info,
    Delete,
}

/// A publisher's request that homes have to answer.
#[derive(Debug)]
pub struct Publishing {
    verb: Verb,
    format: InfoFormat,
    lines: Bytes,
    unanswered: u16,
    sum: Sum,
    refusal: Option<Refusal>,
    /// One per channel, in the order of their tags.
    events: Vec<Tell>,
}

/// The methods of a publisher or pubsub location.
pub fn methods(ask: &Ask<'_>) -> &'static str {
    if ask.is_relay() { METHODS_RELAY } else { METHODS }
}

/// A publisher's request.
pub fn begin(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, passed: Passed) {
    let publishers = ask.location.settings.publishers;
    let verb = match ask.request.method {
        Method::Options => return ask.options(cx, methods(ask)),
        Method::Get if ask.request.upgrade_websocket => {
            if !publishers.websocket {
                return ask.refuse(cx, 403, "transport", "Publishing over WebSocket is not allowed here.");
            }
            return websocket::begin_publisher(cx, ask, session, passed);
        }
        Method::Get | Method::Head => Verb::Info,
        Method::Put if ask.is_relay() => Verb::Create,
        Method::Post | Method::Put => Verb::Publish,
        Method::Delete => Verb::Delete,
        _ => return ask.refuse_method(cx, 405, methods(ask)),
    };
    if !publishers.http && matches!(verb, Verb::Create | Verb::Publish) {
        return ask.refuse(cx, 403, "transport", "Publishing over HTTP is not allowed here.");
    }
    let Some(channels) = channels(cx, ask) else { return };
    let scope = scope(ask, cx, &channels, "http");
    let admitted = match admission::judge(cx, ask, Act::Publish, &channels.group, &channels.ids, passed) {
        Ok(admitted) => admitted,
        Err(Denied::Refused(refusal)) => return admission::refuse(cx, ask, refusal),
        Err(Denied::Hook(url)) => {
            let call = hooks::call(ask, &url, &scope, None);
            return Waiting::grant(cx, ask, session, call);
        }
    };
    if let Some(url) = ask.location.settings.authorize.as_deref().filter(|_| !passed.location) {
        let call = hooks::call(ask, url, &scope, None);
        return Waiting::authorize(cx, ask, session, call);
    }
    if verb != Verb::Publish {
        return ask_homes(cx, ask, session, &channels, verb, None, false);
    }
    let message = message(ask, &scope, ask.request.body, ask.request.headers.get("content-type"));
    if let Some(url) = &ask.location.settings.upstream {
        let body =
            (message.payload, Some(message.content_type.unwrap_or_default()).filter(|t| !t.is_empty()));
        let call = hooks::call(ask, url, &scope, Some(body));
        return Waiting::upstream(cx, ask, session, call);
    }
    ask_homes(cx, ask, session, &channels, verb, Some(message), admitted.stands);
}

/// The application has seen a message before it is published.
pub fn on_upstream(
    cx: &mut Context<'_>,
    ask: &Ask<'_>,
    session: &mut Session,
    answer: Result<HookAnswer, HookFailure>,
) {
    let Some(channels) = channels(cx, ask) else { return };
    let scope = scope(ask, cx, &channels, "http");
    let own = message(ask, &scope, ask.request.body, ask.request.headers.get("content-type"));
    match upstream_verdict(answer, own) {
        Verdict::Publish(message) => {
            ask_homes(cx, ask, session, &channels, Verb::Publish, Some(message), false);
        }
        Verdict::Drop => ask.answer(cx, &Response::new(204)),
        Verdict::Refuse => {
            ask.refuse(cx, 403, "upstream", "The application does not want this message.");
        }
        Verdict::Unreachable(failure) => ask.refuse(cx, 500, "upstream_unreachable", failure.text()),
    }
}

/// What becomes of a message that the application has seen.
pub enum Verdict {
    /// It is published.
    Publish(Message),
    /// It is not, and that is fine.
    Drop,
    /// It is not.
    Refuse,
    /// Nobody knows.
    Unreachable(HookFailure),
}

/// Reads the application's answer (nchan sheet section 7): 304 the message as it is, 200 to 202 the answer's body
/// with its type, 204 nothing, else refused.
pub fn upstream_verdict(answer: Result<HookAnswer, HookFailure>, own: Message) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Verdict::Unreachable(failure),
    };
    match answer.status {
        304 => Verdict::Publish(own),
        200..=202 => {
            let mut headers = answer.headers.into_iter();
            let content_type = headers.find(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
            let content_type = content_type.map(|(_, value)| value);
            Verdict::Publish(Message { payload: answer.body, content_type, ..own })
        }
        204 => Verdict::Drop,
        _ => Verdict::Refuse,
    }
}

/// The channels of a publisher's request; refuses it when they are not right.
pub fn channels(cx: &mut Context<'_>, ask: &Ask<'_>) -> Option<Channels> {
    let found = ask.location.channels(&ask.scope(cx), true);
    match found {
        Ok(channels) => Some(channels),
        Err(bad) => {
            ask.refuse(cx, 403, bad.label(), bad.text());
            None
        }
    }
}

/// What templates see of a publisher.
pub fn scope<'s>(
    ask: &'s Ask<'_>,
    cx: &'s Context<'_>,
    channels: &'s Channels,
    publisher_type: &'s str,
) -> Scope<'s> {
    Scope { channel_ids: &channels.ids, group: &channels.group, publisher_type, ..ask.scope(cx) }
}

/// The message of a request.
fn message(ask: &Ask<'_>, scope: &Scope<'_>, body: &[u8], content_type: Option<&[u8]>) -> Message {
    Message {
        payload: Bytes::copy_from_slice(body),
        content_type: content_type.map(shared),
        event: event(ask, scope),
        deflate: ask.location.settings.deflate,
        origin: None,
    }
}

/// A content type to keep. Common ones are not copied: with a message in flight and a hundred stored, that is an
/// allocation saved for each.
fn shared(content_type: &[u8]) -> Bytes {
    const COMMON: [&[u8]; 5] = [
        b"text/plain",
        b"application/json",
        // What curl -d sends.
        b"application/x-www-form-urlencoded",
        b"application/octet-stream",
        b"text/plain;charset=UTF-8",
    ];
    match COMMON.iter().find(|common| **common == content_type) {
        Some(common) => Bytes::from_static(common),
        None => Bytes::copy_from_slice(content_type),
    }
}

/// The event name of messages published by a request: the location's, or the request's own.
pub fn event(ask: &Ask<'_>, scope: &Scope<'_>) -> Option<Bytes> {
    let event = match &ask.location.event {
        Some(template) => template.fill(scope).into(),
        None => Bytes::copy_from_slice(ask.request.headers.get("x-eventsource-event")?),
    };
    (!event.is_empty()).then_some(event)
}

/// The distinct keys of the channels, each with its place in the request.
pub fn keys(ask: &Ask<'_>, channels: &Channels) -> impl Iterator<Item = (u16, Arc<ChannelKey>)> {
    let key = |(at, id): (u16, &Vec<u8>)| (at, ask.location.key(ask.hasher, &channels.group, id));
    distinct(channels).map(key)
}

/// The distinct ids, each with its place in the request.
fn distinct(channels: &Channels) -> impl Iterator<Item = (u16, &Vec<u8>)> {
    let ids = &channels.ids;
    let distinct = ids.iter().enumerate().filter(|(at, id)| !ids[..*at].contains(*id));
    distinct.map(|(at, id)| (at as u16, id))
}

fn ask_homes(
    cx: &mut Context<'_>,
    ask: &Ask<'_>,
    session: &mut Session,
    channels: &Channels,
    verb: Verb,
    message: Option<Message>,
    stands: bool,
) {
    let scope = scope(ask, cx, channels, "http");
    let events = match verb {
        Verb::Publish => events::prepare(ask, &scope, "channel_publish"),
        Verb::Delete => events::prepare(ask, &scope, "channel_delete"),
        Verb::Create | Verb::Info => Vec::new(),
    };
    if stands {
        stand(cx, ask, channels, message.as_ref(), &events);
    }
    let policy = &ask.location.policy;
    let mut ids = distinct(channels).peekable();
    let (mut message, mut unanswered) = (message, 0);
    while let Some((tag, id)) = ids.next() {
        // The last channel, mostly the only one, gets the message itself.
        let own = if ids.peek().is_some() { message.clone() } else { message.take() };
        let key = ask.location.key_again(cx.keys, ask.hasher, &channels.group, id);
        let command = match (verb, own) {
            (Verb::Publish, Some(message)) => Command::Publish {
                message,
                policy: policy.clone(),
                create: ask.location.settings.create_on_post,
            },
            (Verb::Create, _) => Command::Create { policy: policy.clone() },
            (Verb::Delete, _) => Command::Delete,
            _ => Command::Info,
        };
        unanswered += 1;
        cx.act(Action::Command { key, command, tag });
    }
    session.state = State::Publishing(Box::new(Publishing {
        verb,
        format: info_format(ask.request.headers.all("accept")),
        lines: ask.lines(cors::Answer::Plain),
        unanswered,
        sum: Sum::default(),
        refusal: None,
        events,
    }));
}

/// How a request is answered that was like an earlier one.
#[derive(Debug)]
pub struct Repeated {
    http: Http,
    format: InfoFormat,
    lines: Bytes,
}

impl Repeated {
    /// The home has answered.
    pub fn on_answer(&self, cx: &mut Context<'_>, answer: channel::Answer) {
        let mut publishing = Publishing {
            verb: Verb::Publish,
            format: self.format,
            lines: self.lines.clone(),
            unanswered: 1,
            sum: Sum::default(),
            refusal: None,
            events: Vec::new(),
        };
        publishing.on_answer(cx, self.http, 0, answer);
    }
}

/// Says what the next request with this head means, if that is one publish to one channel and nobody else is asked or
/// told.
fn stand(
    cx: &mut Context<'_>,
    ask: &Ask<'_>,
    channels: &Channels,
    message: Option<&Message>,
    events: &[Tell],
) {
    let (Some(message), [id], true) = (message, &*channels.ids, cx.wants_standing) else { return };
    let settings = &ask.location.settings;
    let asks = settings.authorize.is_some() || settings.upstream.is_some();
    if asks || !events.is_empty() || !ask.location.names_channels_by_request_alone() {
        return;
    }
    let Some(head) = RepeatedHead::of(ask.request) else { return };
    let key = ask.location.key_again(cx.keys, ask.hasher, &channels.group, id);
    if ask.location.policy.durable {
        return; // the home does not answer such a publish at once
    }
    cx.act(Action::Stand(Box::new(Standing {
        head,
        key,
        message: Message { payload: Bytes::new(), ..message.clone() },
        policy: ask.location.policy.clone(),
        create: settings.create_on_post,
        answer: Repeated {
            http: ask.http,
            format: info_format(ask.request.headers.all("accept")),
            lines: ask.lines(cors::Answer::Plain),
        },
    })));
}

impl Publishing {
    /// A home has answered. True: the exchange is over.
    pub fn on_answer(&mut self, cx: &mut Context<'_>, http: Http, tag: u16, answer: channel::Answer) -> bool {
        let event = self.events.get(usize::from(tag));
        match answer {
            channel::Answer::Published { info, .. } => {
                self.sum.add(&info);
                events::tell(cx, event);
            }
            channel::Answer::Info(Some(info)) => {
                self.sum.add(&info);
                events::tell(cx, event);
            }
            channel::Answer::Refused(why) => {
                cx.refused(why.label(), "publish");
                self.refusal = self.refusal.or(Some(why));
            }
            _ => {}
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered > 0 {
            return false;
        }
        self.answer(cx, http);
        true
    }

    fn answer(&self, cx: &mut Context<'_>, http: Http) {
        let status = match (self.refusal, self.verb) {
            (Some(why), _) => return finish(cx, http, &refusal(why, false), &self.lines),
            (None, Verb::Publish) if self.sum.subscribers() > 0 => 201,
            (None, Verb::Publish) => 202,
            // Empty: a client depends on it (nchan sheet section 2).
            (None, Verb::Info | Verb::Delete) if self.sum.channels() == 0 => {
                return finish(cx, http, &Response::new(404), &self.lines);
            }
            (None, _) => 200,
        };
        finish_info(cx, http, status, (&self.sum, self.format), &self.lines);
    }
}

/// Whether a location both publishes and subscribes.
pub fn is_pubsub(ask: &Ask<'_>) -> bool {
    ask.location.settings.methods == LocationMethods::Pubsub
}
