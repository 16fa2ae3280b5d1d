//! Publishing over WebSocket (nchan sheet section 2).

use crate::channel::hook::{HookAnswer, HookCall, HookFailure, HookMethod};
use crate::channel::{Answer, ChannelKey, Command, Message, Refusal};
use crate::dialect::grant::{Act, Denied, Pass};
use crate::dialect::relay::admission::{self, Passed};
use crate::dialect::relay::events::{self, Tell};
use crate::dialect::relay::exchange::Ask;
use crate::dialect::relay::form::{DEFLATE_WINDOW_BITS, Kind};
use crate::dialect::relay::info::Sum;
use crate::dialect::relay::location::Location;
use crate::dialect::relay::publisher::{self, Verdict, upstream_verdict};
use crate::dialect::relay::subscriber::META;
use crate::dialect::relay::{Session, State, Waiting, hooks, seat, stream};
use crate::dialect::{self, Action, Context, upgrade};
use crate::wire::http::accept::{InfoFormat, info_format};
use crate::wire::ws::frame::{self, Opcode};
use crate::wire::ws::{close, deflate};
use bytes::Bytes;
use std::sync::Arc;

/// Tags from here on belong to publications; those below to subscriptions.
pub const PUBLISH_TAGS: u16 = 512;

/// The publishing half of a socket.
#[derive(Debug)]
pub struct Publisher {
    keys: Box<[(u16, Arc<ChannelKey>)]>,
    /// Format of the replies; `None` where the socket also subscribes: it gets its messages instead.
    replies: Option<InfoFormat>,
    content_type: Option<Bytes>,
    event: Option<Bytes>,
    events: Box<[Tell]>,
    /// The call that shows each message to the application, without the message.
    upstream: Option<Box<HookCall>>,
    /// Messages on their way, by the tags of their commands.
    slots: Vec<Option<Pending>>,
    free: Vec<u16>,
    /// What lets it in, where that can end and the socket does not also subscribe.
    pub pass: Option<Box<Pass>>,
}

#[derive(Debug, Default)]
struct Pending {
    unanswered: u16,
    sum: Sum,
    refusal: Option<Refusal>,
    /// While the application looks at it.
    message: Option<Message>,
}

/// A handshake on a publisher location.
pub fn begin_publisher(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, passed: Passed) {
    let settings = &ask.location.settings;
    let policy = settings.deflate_websocket.then(|| deflate::Policy::shared(DEFLATE_WINDOW_BITS));
    let accepted = match upgrade::negotiate(ask.request, &[META], policy.as_ref()) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            cx.refused("handshake", refusal.reason);
            return ask.answer(cx, &upgrade::refused(&refusal));
        }
    };
    let Some(channels) = publisher::channels(cx, ask) else { return };
    let admitted = match admission::judge(cx, ask, Act::Publish, &channels.group, &channels.ids, passed) {
        Ok(admitted) => admitted,
        Err(Denied::Refused(refusal)) => return admission::refuse(cx, ask, refusal),
        Err(Denied::Hook(url)) => {
            let call = hooks::call(ask, &url, &publisher::scope(ask, cx, &channels, "websocket"), None);
            return Waiting::grant(cx, ask, session, call);
        }
    };
    if let Some(url) = settings.authorize.as_deref().filter(|_| !passed.location) {
        let call = hooks::call(ask, url, &publisher::scope(ask, cx, &channels, "websocket"), None);
        return Waiting::authorize(cx, ask, session, call);
    }
    let format = info_format(ask.request.headers.all("accept"));
    let Some(mut publisher) = Publisher::new(cx, ask, Some(format)) else { return };
    if !seat::take(cx, ask) {
        return;
    }
    publisher.pass = admitted.pass;
    cx.send(stream::switching(ask, &accepted, cx.now.unix_s()));
    cx.act(Action::Upgrade(stream::upgrade(ask.location, &accepted)));
    if let Some(pass) = &publisher.pass {
        cx.act(Action::Deadline(pass.until_ms));
    }
    session.kind = Kind::Ws;
    session.state = State::Socket(Box::new(publisher));
}

impl Publisher {
    /// The publishing half for a request; refuses the request when its channels are not right.
    pub fn new(cx: &mut Context<'_>, ask: &Ask<'_>, replies: Option<InfoFormat>) -> Option<Publisher> {
        let channels = publisher::channels(cx, ask)?;
        let scope = publisher::scope(ask, cx, &channels, "websocket");
        let upstream = ask.location.settings.upstream.as_deref();
        let upstream = upstream.map(|url| {
            let call = hooks::call(ask, url, &scope, Some((Bytes::new(), None)));
            Box::new(HookCall { order: Some(cx.random), ..call })
        });
        Some(Publisher {
            keys: publisher::keys(ask, &channels).collect(),
            replies,
            content_type: ask.request.headers.get("content-type").map(Bytes::copy_from_slice),
            event: publisher::event(ask, &scope),
            events: events::prepare(ask, &scope, "channel_publish").into(),
            upstream,
            slots: Vec::new(),
            free: Vec::new(),
            pass: None,
        })
    }

    /// Tags that one message takes.
    fn tags(&self) -> usize {
        self.keys.len().max(1)
    }

    /// A message has come. False: the socket is over.
    pub fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        location: &Location,
        message: dialect::session::Message<'_>,
    ) -> bool {
        if let (dialect::session::Message::Text(text), Some((ping, pong))) =
            (message, &location.settings.websocket_heartbeat)
            && text == ping
        {
            cx.send(frame::encode(Opcode::Text, false, &[pong.as_bytes()]));
            return true;
        }
        let (payload, content_type) = match message {
            dialect::session::Message::Text(text) => (text.as_bytes(), self.content_type.clone()),
            dialect::session::Message::Binary(bytes) => {
                (bytes, Some(Bytes::from_static(b"application/octet-stream")))
            }
        };
        let message = Message {
            payload: Bytes::copy_from_slice(payload),
            content_type,
            event: self.event.clone(),
            deflate: location.settings.deflate,
            origin: None,
        };
        let Some(slot) = self.slot() else {
            cx.refused("websocket_publish", "too many messages without an answer");
            cx.act(Action::CloseWebSocket {
                code: close::TRY_AGAIN_LATER,
                reason: "Too many messages at once.",
            });
            return false;
        };
        match &self.upstream {
            Some(call) => {
                let call = with_message(call, &message);
                self.slots[usize::from(slot)] =
                    Some(Pending { message: Some(message), ..Pending::default() });
                cx.act(Action::Hook { call: Box::new(call), tag: Some(slot) });
            }
            None => self.publish(cx, location, slot, message),
        }
        true
    }

    /// A free slot; `None` when all tags are taken.
    fn slot(&mut self) -> Option<u16> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let most = usize::from(u16::MAX - PUBLISH_TAGS) / self.tags();
        if self.slots.len() >= most {
            return None;
        }
        self.slots.push(None);
        Some((self.slots.len() - 1) as u16)
    }

    fn release(&mut self, slot: u16) -> Option<Pending> {
        let pending = self.slots.get_mut(usize::from(slot))?.take()?;
        self.free.push(slot);
        if self.free.len() == self.slots.len() {
            // Nothing is under way: an idle socket owns no slots.
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
        Some(pending)
    }

    fn publish(&mut self, cx: &mut Context<'_>, location: &Location, slot: u16, message: Message) {
        let tags = self.tags();
        let unanswered = self.keys.len() as u16;
        self.slots[usize::from(slot)] = Some(Pending { unanswered, ..Pending::default() });
        for (at, (_, key)) in self.keys.iter().enumerate() {
            let command = Command::Publish {
                message: message.clone(),
                policy: location.policy.clone(),
                create: location.settings.create_on_post,
            };
            let tag = PUBLISH_TAGS + (usize::from(slot) * tags + at) as u16;
            cx.act(Action::Command { key: key.clone(), command, tag });
        }
    }

    /// A home has answered. False: the socket is over.
    pub fn on_answer(&mut self, cx: &mut Context<'_>, tag: u16, answer: &Answer) -> bool {
        let Some(number) = tag.checked_sub(PUBLISH_TAGS).map(usize::from) else { return true };
        let (slot, at) = (number / self.tags(), number % self.tags());
        let Some(Some(pending)) = self.slots.get_mut(slot) else { return true };
        match answer {
            Answer::Published { info, .. } => {
                pending.sum.add(info);
                events::tell(cx, self.events.get(at));
            }
            Answer::Refused(why) => pending.refusal = Some(*why),
            _ => {}
        }
        pending.unanswered = pending.unanswered.saturating_sub(1);
        if pending.unanswered > 0 {
            return true;
        }
        let Some(done) = self.release(slot as u16) else { return true };
        if let Some(why) = done.refusal {
            cx.refused(why.label(), "websocket publish");
            use Refusal::{Busy, HistoryFull, StoreBusy, StoreFailed, StoreFull};
            let busy = matches!(why, Busy | HistoryFull | StoreBusy | StoreFull | StoreFailed);
            let code = if busy { close::TRY_AGAIN_LATER } else { close::POLICY };
            cx.act(Action::CloseWebSocket { code, reason: why.label() });
            return false;
        }
        if let Some(format) = self.replies {
            let mut text = Vec::with_capacity(256);
            done.sum.write(format, &mut text);
            cx.send(frame::encode(Opcode::Text, false, &[&text]));
        }
        true
    }

    /// The application has seen a message. False: the socket is over.
    pub fn on_hook(
        &mut self,
        cx: &mut Context<'_>,
        location: &Location,
        slot: u16,
        answer: Result<HookAnswer, HookFailure>,
    ) -> bool {
        let Some(Some(pending)) = self.slots.get_mut(usize::from(slot)) else { return true };
        let Some(message) = pending.message.take() else { return true };
        let (label, code, reason) = match upstream_verdict(answer, message) {
            Verdict::Publish(message) => {
                self.publish(cx, location, slot, message);
                return true;
            }
            Verdict::Drop => {
                self.release(slot);
                return true;
            }
            Verdict::Refuse => ("upstream", close::POLICY, "The application does not want this message."),
            Verdict::Unreachable(failure) => ("upstream_unreachable", close::INTERNAL, failure.text()),
        };
        cx.refused(label, reason);
        cx.act(Action::CloseWebSocket { code, reason });
        false
    }
}

fn with_message(call: &HookCall, message: &Message) -> HookCall {
    let mut call = call.clone();
    call.method = HookMethod::Post;
    call.body = message.payload.clone();
    call.answer = true;
    if let Some(content_type) = &message.content_type {
        call.headers.push((Bytes::from_static(b"Content-Type"), content_type.clone()));
    }
    call
}
