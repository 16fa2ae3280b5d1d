//! Subscribers that stay: WebSocket, event stream, multipart, chunked and raw streams (nchan sheet section 4).
//!
//! Nothing is sent before the homes have answered: until then a refusal is an ordinary HTTP status.

use crate::channel::command::Subscribed;
use crate::channel::{Answer, ChannelKey, Class, Ended, Position, Publication, Start, command};
use crate::dialect::grant::{Act, Pass};
use crate::dialect::relay::admission::{self, Passed};
use crate::dialect::relay::exchange::{Ask, finish, refusal};
use crate::dialect::relay::form::{Forms, Kind};
use crate::dialect::relay::location::Location;
use crate::dialect::relay::multi::Multi;
use crate::dialect::relay::position::{Id, TagText, Wanted};
use crate::dialect::relay::publisher;
use crate::dialect::relay::settings::{SlowConsumer, Transport};
use crate::dialect::relay::subscriber::{Attend, Leave, META, Plan};
use crate::dialect::relay::websocket::Publisher;
use crate::dialect::relay::{Session, State};
use crate::dialect::{self, Action, Context, Drain, Form, Upgrade};
use crate::limits::{RELAY_RETRY_STOP_MS, RELAY_RETRY_UPGRADE_MS};
use crate::wire::http::chunked;
use crate::wire::http::cors;
use crate::wire::http::date;
use crate::wire::http::response::{Response, put_header, put_status_line};
use crate::wire::ws::close;
use crate::wire::ws::handshake::Accepted;
use crate::wire::{multipart, sse};
use bytes::Bytes;
use std::sync::Arc;

/// Tags from here on are second subscriptions, see `Opening::on_answer`.
pub const AGAIN_TAGS: u16 = 256;

/// A stream whose homes have not all answered.
#[derive(Debug)]
pub struct Opening {
    /// What is sent when they have.
    head: Bytes,
    upgrade: Option<Upgrade>,
    /// Cross-origin lines of a refusal.
    lines: Bytes,
    key: Option<Arc<ChannelKey>>,
    after: Option<Position>,
    attend: Option<Box<Attend>>,
    extra: Extra,
}

/// What few streams need.
#[derive(Debug, Default)]
pub struct Extra {
    multi: Option<Multi>,
    /// What is not above this is not for it. Only set for a position that is still to come.
    after: Option<Position>,
    /// Event name override, where it depends on the request.
    event: Option<Bytes>,
    /// The socket also publishes.
    pub publisher: Option<Publisher>,
    leave: Option<Leave>,
    /// What lets it in, where that can end.
    pub pass: Option<Box<Pass>>,
}

impl Extra {
    fn is_needed(&self) -> bool {
        let Extra { multi, after, event, publisher, leave, pass } = self;
        let is_rare = multi.is_some() || after.is_some() || event.is_some();
        is_rare || publisher.is_some() || leave.is_some() || pass.is_some()
    }

    /// Tells whoever wants to know that the subscriber has left.
    pub fn leave(&mut self, cx: &mut Context<'_>) {
        if let Some(leave) = self.leave.take() {
            leave.go(cx);
        }
    }
}

/// Starts a stream.
pub fn begin(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, mut plan: Plan) {
    let kind = kind(&plan);
    let resume = match &plan.wanted {
        Wanted::Behind(resume) => Some(resume),
        _ => None,
    };
    let multi = (plan.channels > 1).then(|| Multi::new(plan.channels, plan.keys.len(), resume.cloned()));
    let after = resume.filter(|_| multi.is_none()).map(|resume| resume.after(0));
    let event = plan.event.clone().filter(|_| kind == Kind::Sse);
    let shared = multi.is_none() && event.is_none();
    let form = if shared { Forms::form(kind, ask.location.variant) } else { Form::SESSION };
    let may_publish = publisher::is_pubsub(ask) && ask.location.settings.publishers.websocket;
    let publisher = if plan.accepted.is_some() && may_publish {
        match Publisher::new(cx, ask, None) {
            Some(publisher) => publishing(cx, ask, &mut plan).then_some(publisher),
            None => return,
        }
    } else {
        None
    };
    plan.subscribe(cx, ask, Class::Stream, form);
    let key = plan.keys.first().filter(|_| shared).map(|(_, key)| key.clone());
    session.kind = kind;
    session.state = State::Opening(Box::new(Opening {
        head: head(ask, &plan, kind, cx.now.unix_s()),
        upgrade: plan.accepted.as_ref().map(|accepted| upgrade(ask.location, accepted)),
        lines: ask.lines(cors::Answer::Plain),
        key,
        after,
        attend: plan.attend,
        extra: Extra { multi, after: None, event, publisher, leave: None, pass: plan.pass },
    }));
}

/// Whether a socket that subscribes may publish as well; it then ends with whichever ends first. Whoever may only listen
/// does. For this nobody can be asked.
fn publishing(cx: &Context<'_>, ask: &Ask<'_>, plan: &mut Plan) -> bool {
    let Ok(channels) = ask.location.channels(&ask.scope(cx), true) else { return false };
    let judged = admission::judge(cx, ask, Act::Publish, &channels.group, &channels.ids, Passed::default());
    let Ok(admitted) = judged else { return false };
    match (&mut plan.pass, admitted.pass) {
        (Some(own), Some(other)) => own.join(&other),
        (own @ None, other) => *own = other,
        (Some(_), None) => {}
    }
    true
}

fn kind(plan: &Plan) -> Kind {
    match (plan.transport, &plan.accepted) {
        (_, Some(accepted)) => match (accepted.protocol.is_some(), accepted.deflate.is_some()) {
            (false, false) => Kind::Ws,
            (true, false) => Kind::WsMeta,
            (false, true) => Kind::WsDeflate,
            (true, true) => Kind::WsMetaDeflate,
        },
        (Transport::EventSource, None) => Kind::Sse,
        (Transport::Multipart, None) => Kind::Multipart,
        (Transport::Chunked, None) => Kind::Chunked,
        _ => Kind::Raw,
    }
}

/// How a socket goes on after its handshake.
pub fn upgrade(location: &Location, accepted: &Accepted) -> Upgrade {
    Upgrade {
        deflate: accepted.deflate,
        ping_interval_ms: u32::try_from(location.settings.websocket_ping_interval_ms).unwrap_or(u32::MAX),
        slow: slow(location),
    }
}

fn slow(location: &Location) -> dialect::SlowConsumer {
    match location.settings.slow_consumer {
        SlowConsumer::Close => dialect::SlowConsumer::Close,
        SlowConsumer::DropOldest => dialect::SlowConsumer::DropOldest,
        SlowConsumer::KeepLatest => dialect::SlowConsumer::KeepLatest,
    }
}

/// The 101 answer of a handshake.
pub fn switching(ask: &Ask<'_>, accepted: &Accepted, unix_s: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_status_line(&mut out, 101);
    put_header(&mut out, "Date", &date::format(unix_s as i64));
    out.extend_from_slice(&ask.lines(cors::Answer::Message));
    accepted.write_headers(&[META], &mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// What is sent before the first message.
fn head(ask: &Ask<'_>, plan: &Plan, kind: Kind, unix_s: u64) -> Bytes {
    if let Some(accepted) = &plan.accepted {
        return switching(ask, accepted, unix_s).into();
    }
    let forms = ask.forms;
    let answer = Response::new(200);
    let answer = match kind {
        Kind::Sse => answer.header("Content-Type", sse::CONTENT_TYPE),
        Kind::Multipart => answer.header("Content-Type", forms.boundary().content_type()),
        _ => answer,
    };
    let answer = match kind {
        Kind::Chunked => answer.stream_chunked(),
        // nchan names the connection so on event streams; the end of the connection is the end of the stream.
        Kind::Sse => answer.header("Connection", "keep-alive").stream_until_close(),
        _ => answer.stream_until_close(),
    };
    let mut out = Vec::with_capacity(256);
    answer.head_prefix(&mut out);
    out.extend_from_slice(&ask.lines(cors::Answer::Message));
    answer.per_request(&mut out, &ask.http.context(Some(&date::format(unix_s as i64))));
    out.extend_from_slice(b"\r\n");
    match kind {
        Kind::Sse => out.extend_from_slice(sse::HELLO),
        Kind::Multipart => forms.boundary().open(&mut out),
        _ => {}
    }
    out.into()
}

impl Opening {
    /// A home has answered. Returns what the session is from now on; `None`: more answers have to come.
    ///
    /// A position that is still to come wants every publication looked at, so it cannot share frames: the
    /// subscription is then made again with [`Form::SESSION`]. That it is still to come shows only now.
    pub(super) fn on_answer(
        &mut self,
        cx: &mut Context<'_>,
        forms: &Forms,
        location: &Location,
        session: &mut Session,
        tag: u16,
        answer: Answer,
    ) -> Option<State> {
        let Subscribed { backlog, last, .. } = match answer {
            Answer::Subscribed(subscribed) => *subscribed,
            Answer::Refused(why) => {
                cx.refused(why.label(), "subscribe");
                let answer = refusal(why, location.settings.existing_channels_only);
                finish(cx, session.http, &answer, &self.lines);
                return Some(State::Over);
            }
            _ => return None,
        };
        if let (Some(key), Some(after)) = (&self.key, self.after)
            && tag < AGAIN_TAGS
            && after > last
            && after.time >= cx.now.unix_s()
        {
            cx.act(Action::Unsubscribe { tag });
            let ask = Box::new(again(location, after));
            cx.act(Action::Subscribe { key: key.clone(), form: Form::SESSION, ask, tag: tag + AGAIN_TAGS });
            self.extra.after = Some(after);
            return None;
        }
        let messages = match &mut self.extra.multi {
            None => backlog.into_iter().map(|publication| (tag, publication)).collect(),
            Some(multi) => {
                if !multi.answered(tag, backlog) {
                    return None;
                }
                multi.take()
            }
        };
        self.open(cx, forms, location, session, messages);
        let extra = std::mem::take(&mut self.extra);
        Some(State::Stream(extra.is_needed().then(|| Box::new(extra))))
    }

    fn open(
        &mut self,
        cx: &mut Context<'_>,
        forms: &Forms,
        location: &Location,
        session: &mut Session,
        messages: Vec<(u16, Arc<Publication>)>,
    ) {
        cx.send(std::mem::take(&mut self.head));
        cx.act(match self.upgrade.take() {
            Some(upgrade) => Action::Upgrade(upgrade),
            None => Action::Stream { slow: slow(location) },
        });
        session.since_ms = cx.now.mono_ms();
        if let Some(attend) = self.attend.take() {
            self.extra.leave = Some(attend.arrive(cx, true));
        }
        for (channel, publication) in messages {
            deliver(cx, forms, location, session.kind, Some(&mut self.extra), channel, &publication, true);
        }
        let deadline = deadline(session, location, 0, self.pass());
        if deadline > 0 {
            cx.act(Action::Deadline(deadline));
        }
    }

    /// A home has ended a subscription before the stream began.
    pub fn end(&self, cx: &mut Context<'_>, session: &Session, why: End) {
        let status = match why {
            End::Deleted => 410,
            End::Revoked => 401,
            _ => 409,
        };
        finish(cx, session.http, &Response::new(status), &self.lines);
    }

    /// What lets it in, where that can end.
    pub fn pass(&self) -> Option<&Pass> {
        self.extra.pass.as_deref()
    }

    /// A publication before all homes have answered, or for a second subscription that has joined.
    pub fn hold_back(&mut self, tag: u16, publication: &Arc<Publication>) {
        if let Some(multi) = &mut self.extra.multi {
            multi.hold_back(tag, publication.clone());
        }
    }
}

fn again(location: &Location, after: Position) -> command::Subscribe {
    let settings = &location.settings;
    command::Subscribe {
        start: Start::After(after),
        class: Class::Stream,
        backlog: crate::limits::HISTORY_MESSAGES,
        create: settings.create_on_get && !settings.existing_channels_only,
        max_subscribers: settings.max_subscribers,
        concurrency: crate::channel::Concurrency::Broadcast,
        policy: location.policy.clone(),
        user: None,
        list_users: false,
    }
}

/// Puts one publication, stored or live, on the wire of one stream.
#[allow(clippy::too_many_arguments)] // the stream's parts live in different places
pub fn deliver(
    cx: &mut Context<'_>,
    forms: &Forms,
    location: &Location,
    kind: Kind,
    extra: Option<&mut Extra>,
    channel: u16,
    publication: &Arc<Publication>,
    is_stored: bool,
) {
    let Some(variant) = forms.variant(location.variant) else { return };
    let position = publication.position;
    let mut event = None;
    let own: Option<(u64, Vec<u8>)> = match extra {
        Some(Extra { after: Some(after), .. }) if position <= *after => return,
        Some(Extra { multi: Some(multi), .. }) if !multi.is_wanted(channel, position) => return,
        Some(Extra { multi: Some(multi), event: own, .. }) => {
            event = own.as_deref();
            Some(multi.advance(channel, position))
        }
        Some(Extra { event: Some(own), .. }) => {
            event = Some(own);
            Some((position.time, TagText::new(position.tag).as_bytes().to_vec()))
        }
        _ => None,
    };
    let has_id = matches!(kind, Kind::WsMeta | Kind::WsMetaDeflate | Kind::Sse | Kind::Multipart);
    let frame = match own {
        Some((time, tag)) if has_id => {
            let id = Id { time, tag: &tag };
            let event = event.or(variant.event());
            let encoder = &mut *cx.encoder;
            let (scratch, compressor) = (&mut encoder.scratch, &mut encoder.compressor);
            forms.encode_as(kind, variant, &id, event, publication, scratch, compressor)
        }
        _ if is_stored => {
            let frame = cx.encoder.replayed(Forms::form(kind, location.variant), None, publication);
            if !frame.is_empty() {
                cx.act(Action::Replay(frame));
            }
            return;
        }
        _ => cx.encoder.frame(Forms::form(kind, location.variant), None, publication),
    };
    if !frame.is_empty() {
        cx.act(Action::Deliver(frame));
    }
}

/// Something was published, and the stream has to look at it.
pub fn on_publication(
    cx: &mut Context<'_>,
    forms: &Forms,
    location: &Location,
    kind: Kind,
    extra: Option<&mut Extra>,
    tag: u16,
    publication: &Arc<Publication>,
) {
    deliver(cx, forms, location, kind, extra, tag % AGAIN_TAGS, publication, false);
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A channel was deleted.
    Deleted,
    /// Another subscriber took its place.
    Displaced,
    /// No message for too long.
    Timeout,
    /// The node stops.
    Drain(Drain),
    /// What let the subscriber in has ended,
    Expired,
    /// or was revoked.
    Revoked,
}

impl From<Ended> for End {
    fn from(reason: Ended) -> End {
        match reason {
            Ended::Deleted | Ended::Terminated => End::Deleted,
            Ended::Displaced => End::Displaced,
        }
    }
}

/// Ends a stream in its own way.
pub fn end(cx: &mut Context<'_>, kind: Kind, why: End) {
    let mut out = Vec::new();
    match kind {
        Kind::Ws | Kind::WsMeta | Kind::WsDeflate | Kind::WsMetaDeflate => {
            let (code, reason) = match why {
                End::Deleted => (close::GOING_AWAY, "410 Gone"),
                End::Displaced => (close::POLICY, "409 Conflict"),
                End::Timeout => (close::NORMAL, "408 408 Request Timeout"),
                End::Drain(Drain::Stop) => (close::GOING_AWAY, "The server is going away."),
                End::Drain(Drain::Upgrade) => (close::RESTART, "The server is restarted."),
                End::Expired => (close::UNAUTHORIZED, "401 authorization expired"),
                End::Revoked => (close::UNAUTHORIZED, "401 authorization revoked"),
            };
            return cx.act(Action::CloseWebSocket { code, reason });
        }
        Kind::Sse => match why {
            End::Deleted => sse::comment(&mut out, b"410: 410 Gone"),
            End::Displaced => sse::comment(&mut out, b"409: 409 Conflict"),
            End::Timeout => sse::comment(&mut out, b"408: 408 Request Timeout"),
            End::Expired => sse::comment(&mut out, b"401: authorization expired"),
            End::Revoked => sse::comment(&mut out, b"401: authorization revoked"),
            // The browser comes back by itself, after this time.
            End::Drain(why) => sse::retry(&mut out, retry_ms(why, cx.random)),
        },
        Kind::Multipart => out.extend_from_slice(multipart::CLOSE),
        Kind::Chunked => chunked::last_chunk(&mut out),
        Kind::Raw | Kind::PollHead | Kind::PollTail => {}
    }
    if !out.is_empty() {
        cx.send(out);
    }
    cx.act(Action::Close);
}

/// After which time an event stream's client shall come back, milliseconds: not all of them at once.
fn retry_ms(why: Drain, random: u64) -> u64 {
    match why {
        Drain::Stop => RELAY_RETRY_STOP_MS + random % RELAY_RETRY_STOP_MS,
        Drain::Upgrade => RELAY_RETRY_UPGRADE_MS + random % RELAY_RETRY_UPGRADE_MS,
    }
}

/// When the stream has to be looked at next: its timeout, restarted by every message, its next ping, or the end of what
/// lets it in.
fn deadline(session: &Session, location: &Location, delivered_ms: u64, pass: Option<&Pass>) -> u64 {
    let until = pass.map(|pass| pass.until_ms);
    let due = [timeout_at(session, location, delivered_ms), ping_at(session, location), until];
    due.into_iter().flatten().min().unwrap_or(0)
}

fn timeout_at(session: &Session, location: &Location, delivered_ms: u64) -> Option<u64> {
    let timeout = location.settings.subscriber_timeout_ms;
    (timeout > 0).then(|| session.since_ms.max(delivered_ms).saturating_add(timeout))
}

fn ping_at(session: &Session, location: &Location) -> Option<u64> {
    let interval = location.settings.eventsource_ping_interval_ms;
    let next = u64::from(session.pings).saturating_add(1);
    (session.kind == Kind::Sse && interval > 0)
        .then(|| session.since_ms.saturating_add(interval.saturating_mul(next)))
}

/// A deadline has passed. True: the stream is over.
pub fn on_deadline(
    cx: &mut Context<'_>,
    location: &Location,
    session: &mut Session,
    extra: Option<&Extra>,
) -> bool {
    let now = cx.now.mono_ms();
    let pass = extra.and_then(|extra| extra.pass.as_deref());
    if pass.is_some_and(|pass| pass.until_ms <= now) {
        cx.refused("grant_expired", "a session is ended");
        end(cx, session.kind, End::Expired);
        return true;
    }
    if timeout_at(session, location, cx.delivered_ms).is_some_and(|at| at <= now) {
        end(cx, session.kind, End::Timeout);
        return true;
    }
    if ping_at(session, location).is_some_and(|at| at <= now) {
        let settings = &location.settings;
        let text = |text: &'_ Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let (comment, event, data) = (
            text(&settings.eventsource_ping_comment),
            text(&settings.eventsource_ping_event),
            text(&settings.eventsource_ping_data),
        );
        let mut out = Vec::new();
        sse::ping(&mut out, comment.as_deref(), event.as_deref(), data.as_deref());
        cx.send(out);
        let passed = (now - session.since_ms) / settings.eventsource_ping_interval_ms.max(1);
        session.pings = u32::try_from(passed).unwrap_or(u32::MAX);
    }
    let next = deadline(session, location, cx.delivered_ms, pass);
    cx.act(Action::Deadline(next));
    false
}
