//! Subscribing: which transport, which channels, from where, and what has to be asked and told on the way
//! (nchan sheet sections 1 to 4, http-push-relay sheet section 3).

use crate::channel::hook::HookCall;
use crate::channel::{self, ChannelKey, Class, command};
use crate::dialect::grant::{Act, Denied, Pass};
use crate::dialect::relay::admission::{self, Passed};
use crate::dialect::relay::events::{self, Tell};
use crate::dialect::relay::exchange::Ask;
use crate::dialect::relay::position::{self, Wanted};
use crate::dialect::relay::settings::{self, LongPollMultipart, Transport};
use crate::dialect::relay::template::Scope;
use crate::dialect::relay::{Session, Waiting, hooks, poll, publisher, seat, stream};
use crate::dialect::{Action, Context, Form, upgrade};
use crate::limits;
use crate::wire::http::accept::{accepts_contains, te_chunked};
use crate::wire::http::request::Method;
use crate::wire::ws::deflate;
use crate::wire::ws::handshake::Accepted;
use std::sync::Arc;

use super::form::DEFLATE_WINDOW_BITS;

/// The subprotocol whose messages carry their ids.
pub const META: &str = "ws+meta.nchan";

/// A subscriber's request.
pub fn begin(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, passed: Passed) {
    match ask.request.method {
        Method::Get => {}
        Method::Options if publisher::is_pubsub(ask) => return ask.options(cx, publisher::methods(ask)),
        Method::Options => return ask.options(cx, if ask.is_relay() { "GET, OPTIONS" } else { "GET" }),
        Method::Post | Method::Put | Method::Delete if !ask.is_relay() => {
            return ask.refuse_method(cx, 403, "GET");
        }
        _ => return ask.refuse_method(cx, 405, "GET, OPTIONS"),
    }
    let Some(transport) = transport(ask) else {
        return ask.refuse(cx, 403, "transport", "This way of subscribing is not allowed here.");
    };
    let mut accepted = None;
    if transport == Transport::WebSocket {
        let policy =
            ask.location.settings.deflate_websocket.then(|| deflate::Policy::shared(DEFLATE_WINDOW_BITS));
        match upgrade::negotiate(ask.request, &[META], policy.as_ref()) {
            Ok(handshake) => accepted = Some(handshake),
            Err(refusal) => {
                cx.refused("handshake", refusal.reason);
                return ask.answer(cx, &upgrade::refused(&refusal));
            }
        }
    }
    let found = ask.location.channels(&ask.scope(cx), false);
    let channels = match found {
        Ok(channels) => channels,
        Err(bad) => return ask.refuse(cx, 403, bad.label(), bad.text()),
    };
    let wanted = position::wanted(ask.location, &ask.scope(cx), channels.ids.len());
    let Ok(wanted) = wanted else {
        return ask.refuse(cx, 400, "message_id", "Message ID invalid");
    };
    let message_id = wanted.text();
    let scope = Scope {
        channel_ids: &channels.ids,
        group: &channels.group,
        subscriber_type: type_name(transport),
        message_id: &message_id,
        ..ask.scope(cx)
    };
    let admitted = match admission::judge(cx, ask, Act::Subscribe, &channels.group, &channels.ids, passed) {
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
    let plan = Plan {
        keys: publisher::keys(ask, &channels).collect(),
        channels: channels.ids.len(),
        attend: Attend::new(cx, ask, &scope, transport),
        event: ask.location.event.as_ref().filter(|t| t.constant().is_none()).map(|t| t.fill(&scope).into()),
        wanted,
        transport,
        accepted,
        pass: admitted.pass,
    };
    if !seat::take(cx, ask) {
        return;
    }
    match transport {
        Transport::LongPoll | Transport::IntervalPoll => poll::begin(cx, ask, session, plan),
        _ => stream::begin(cx, ask, session, plan),
    }
}

/// What a subscriber's request came to.
pub struct Plan {
    /// The distinct channels with their places in the request, which are also their tags.
    pub keys: Vec<(u16, Arc<ChannelKey>)>,
    /// Channels in the request.
    pub channels: usize,
    /// Whom to tell that the subscriber is there.
    pub attend: Option<Box<Attend>>,
    /// Event name override, where it depends on the request.
    pub event: Option<bytes::Bytes>,
    /// Where to start.
    pub wanted: Wanted,
    /// How.
    pub transport: Transport,
    /// The WebSocket handshake.
    pub accepted: Option<Accepted>,
    /// What lets it in, where that can end.
    pub pass: Option<Box<Pass>>,
}

impl Plan {
    /// Asks the homes.
    pub fn subscribe(&self, cx: &mut Context<'_>, ask: &Ask<'_>, class: Class, form: Form) {
        for (tag, key) in &self.keys {
            let subscribe = subscribe(ask, class, self.wanted.start(usize::from(*tag), first(ask)));
            cx.act(Action::Subscribe { key: key.clone(), form, ask: Box::new(subscribe), tag: *tag });
        }
    }
}

fn first(ask: &Ask<'_>) -> settings::FirstMessage {
    ask.location.settings.first_message
}

fn subscribe(ask: &Ask<'_>, class: Class, start: channel::Start) -> command::Subscribe {
    let settings = &ask.location.settings;
    let single = class != Class::Stream && settings.longpoll_multipart == LongPollMultipart::Off;
    command::Subscribe {
        start,
        class,
        backlog: if single { 1 } else { limits::HISTORY_MESSAGES },
        // A glance leaves no channel behind.
        create: class != Class::Glance && settings.create_on_get && !settings.existing_channels_only,
        max_subscribers: settings.max_subscribers,
        concurrency: match settings.concurrency {
            settings::Concurrency::Broadcast => channel::Concurrency::Broadcast,
            settings::Concurrency::First => channel::Concurrency::First,
            settings::Concurrency::Last => channel::Concurrency::Last,
        },
        policy: ask.location.policy.clone(),
        user: None,
        list_users: false,
    }
}

/// Chooses the transport of a GET (nchan sheet section 1); `None`: what is asked for is not allowed here.
fn transport(ask: &Ask<'_>) -> Option<Transport> {
    let (request, settings) = (ask.request, &ask.location.settings);
    let allowed = |transport| settings.subscribers.contains(transport);
    if request.upgrade_websocket {
        return Some(Transport::WebSocket).filter(|t| allowed(*t));
    }
    let accepts = |media: &[u8]| request.headers.all("accept").any(|line| accepts_contains(line, media));
    let candidates = [
        (Transport::EventSource, accepts(b"text/event-stream")),
        (Transport::Chunked, request.minor_version > 0 && te_chunked(request.headers.all("te"))),
        (Transport::Multipart, accepts(b"multipart/mixed")),
    ];
    if let Some((transport, _)) = candidates.into_iter().find(|(t, asked)| *asked && allowed(*t)) {
        return Some(transport);
    }
    if settings.interval_polling() {
        return Some(Transport::IntervalPoll);
    }
    [Transport::Raw, Transport::LongPoll].into_iter().find(|t| allowed(*t))
}

/// The transport's name in `$nchan_subscriber_type`.
fn type_name(transport: Transport) -> &'static str {
    match transport {
        Transport::WebSocket => "websocket",
        Transport::EventSource => "eventsource",
        Transport::LongPoll => "longpoll",
        Transport::Chunked => "http-chunked",
        Transport::Multipart => "http-multipart",
        Transport::IntervalPoll => "intervalpoll",
        Transport::Raw => "http-raw-stream",
    }
}

/// Whom to tell that a subscriber is there. Only made where somebody wants to know.
#[derive(Debug)]
pub struct Attend {
    calls: Vec<HookCall>,
    tells: Vec<Tell>,
    /// The other half.
    pub leave: Leave,
}

/// Whom to tell that a subscriber has left.
#[derive(Debug)]
pub struct Leave {
    calls: Vec<HookCall>,
    tells: Vec<Tell>,
}

impl Attend {
    fn new(cx: &Context<'_>, ask: &Ask<'_>, scope: &Scope<'_>, transport: Transport) -> Option<Box<Attend>> {
        if transport == Transport::IntervalPoll {
            return None;
        }
        let streaming = transport != Transport::LongPoll;
        let (coming, leaving) = hooks::subscriber_calls(cx, ask, scope, streaming);
        let enqueue = events::prepare(ask, scope, "subscriber_enqueue");
        let dequeue = events::prepare(ask, scope, "subscriber_dequeue");
        if coming.is_empty() && leaving.is_empty() && enqueue.is_empty() {
            return None;
        }
        let leave = Leave { calls: leaving, tells: dequeue };
        Some(Box::new(Attend { calls: coming, tells: enqueue, leave }))
    }

    /// The subscriber is there. `waits`: it was not answered from the store at once.
    pub fn arrive(self, cx: &mut Context<'_>, waits: bool) -> Leave {
        events::tell(cx, &self.tells);
        if waits {
            hooks::send(cx, self.calls);
        }
        self.leave
    }
}

impl Leave {
    /// The subscriber has left.
    pub fn go(self, cx: &mut Context<'_>) {
        hooks::send(cx, self.calls);
        events::tell(cx, &self.tells);
    }
}
