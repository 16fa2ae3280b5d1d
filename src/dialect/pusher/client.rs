//! One client's connection (pusher.md sections 1 to 10).

use super::auth::{self, AuthError, Keys};
use super::channels::{Channels, Role};
use super::codes::Code;
use super::event;
use super::form;
use super::frame::{ClientEvent, Data, Frame, Subscribe};
use super::handshake::{self, SocketId};
use super::name::{Kind, Name};
use super::refusal::Refusal;
use super::signin::SignedIn;
use super::{Pusher, State, Tools};
use crate::channel::command::{Class, Command, Start, Subscribe as Ask, Subscribed};
use crate::channel::notice::{self, Notice, What};
use crate::channel::{
    self, Answer, ChannelKey, Concurrency, Ended, Message as Publish, Origin, Policy, Roster, SessionId, User,
};
use crate::dialect::app::{App, Connected};
use crate::dialect::http::{Http, finish};
use crate::dialect::session::Message;
use crate::dialect::{Action, Context, SlowConsumer, Upgrade, upgrade};
use crate::limits::{PUSHER_ROUND_TRIP_MS, PusherLimits};
use crate::wire::http::request::Request;
use crate::wire::http::response;
use crate::wire::ws::close;
use bytes::Bytes;
use std::sync::Arc;

/// A client.
#[derive(Debug)]
pub struct Client {
    id: SessionId,
    connected: Connected,
    pub(super) channels: Channels,
    pub(super) user: Option<Box<SignedIn>>,
    /// When it last sent anything, monotonic milliseconds.
    heard_ms: u64,
    /// The node asks whether it is there.
    pinged: bool,
    /// When it has to be authorized; 0 = it is, or need not be.
    authorize_by_ms: u64,
    /// Client events of a second, counted.
    sent: (u64, u32),
}

/// Closes with a code of the protocol.
pub fn close(cx: &mut Context<'_>, code: Code) {
    if let Some(number) = code.close() {
        cx.act(Action::CloseWebSocket { code: number, reason: code.reason() });
    }
}

/// Sends one text frame.
pub fn send(cx: &mut Context<'_>, write: impl FnOnce(&mut Vec<u8>)) {
    let scratch = &mut cx.encoder.scratch;
    scratch.clear();
    write(scratch);
    let frame = form::text(scratch);
    cx.send(frame);
}

impl Pusher {
    /// A client shakes hands. What is wrong with it is said by a close code, for that is what clients understand.
    pub(super) fn open(&self, cx: &mut Context<'_>, request: &Request<'_>, key: &str) -> State {
        let accepted = match upgrade::negotiate(request, &[], None) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                cx.refused("handshake", refusal.reason);
                finish(cx, Http::of(request), &upgrade::refused(&refusal), &[]);
                return State::Over;
            }
        };
        let mut head = Vec::with_capacity(192);
        response::put_status_line(&mut head, 101);
        accepted.write_headers(&[], &mut head);
        head.extend_from_slice(b"\r\n");
        cx.send(head);
        // The protocol has pings of its own, which clients written in JavaScript can see.
        cx.act(Action::Upgrade(Upgrade { deflate: None, ping_interval_ms: 0, slow: SlowConsumer::Close }));
        let target = request.target_parts();
        let protocol = handshake::protocol(&target);
        let admitted = protocol.and_then(|_| admit(cx, key));
        match admitted {
            Ok(connected) => State::Client(Box::new(self.welcome(cx, connected))),
            Err(code) => {
                cx.refused("pusher_handshake", format!("{}: app key {key:?}", code.reason()));
                if protocol.is_ok_and(handshake::wants_error_event) {
                    send(cx, |out| event::error(out, Some(code), code.reason(), None));
                }
                close(cx, code);
                State::Over
            }
        }
    }

    fn welcome(&self, cx: &mut Context<'_>, connected: Connected) -> Client {
        let id = SessionId::new(cx.shard, cx.slot, (cx.random >> 32) as u32);
        let (socket, timeout_s) = (SocketId(id.0), self.settings.activity_timeout_s);
        send(cx, |out| event::connection_established(out, socket, timeout_s));
        let now_ms = cx.now.mono_ms();
        let client = Client {
            id,
            authorize_by_ms: match connected.app().settings.authorize_within_ms {
                0 => 0,
                within_ms => now_ms + within_ms,
            },
            connected,
            channels: Channels::default(),
            user: None,
            heard_ms: now_ms,
            pinged: false,
            sent: (0, 0),
        };
        client.set_deadline(self, cx);
        client
    }

    /// A client that is well has asked by itself before this is over.
    fn idle_ms(&self) -> u64 {
        u64::from(self.settings.activity_timeout_s) * 1500 + PUSHER_ROUND_TRIP_MS
    }

    pub(super) fn limits(&self, app: &App) -> PusherLimits {
        PusherLimits { data_bytes: app.settings.max_event_bytes, ..self.settings.limits }
    }

    pub(super) fn key(&self, app: &App, name: &str) -> Arc<ChannelKey> {
        ChannelKey::new(&self.hasher, app.number, b"", name.as_bytes())
    }
}

fn admit(cx: &Context<'_>, key: &str) -> Result<Connected, Code> {
    let app = cx.apps.by_key(key).ok_or(Code::NoSuchApp)?;
    if !app.settings.enabled {
        return Err(Code::AppDisabled);
    }
    app.connect().ok_or(Code::OverQuota)
}

impl Client {
    /// Its name.
    pub fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn app(&self) -> &Arc<App> {
        self.connected.app()
    }

    pub(super) fn keys(&self) -> Keys<'_> {
        let settings = &self.app().settings;
        Keys { key: &settings.key, secret: &settings.secret }
    }

    pub(super) fn socket_id(&self) -> String {
        SocketId(self.id.0).to_string()
    }

    pub(super) fn authorized(&mut self) {
        self.authorize_by_ms = 0;
    }

    fn set_deadline(&self, pusher: &Pusher, cx: &mut Context<'_>) {
        let wait_ms = if self.pinged { pusher.settings.pong_timeout_ms } else { pusher.idle_ms() };
        let from_ms = if self.pinged { cx.now.mono_ms() } else { self.heard_ms };
        let alive_ms = from_ms + wait_ms;
        let at = if self.authorize_by_ms == 0 { alive_ms } else { alive_ms.min(self.authorize_by_ms) };
        cx.act(Action::Deadline(at));
    }

    /// Tells the client why something had no effect.
    pub(super) fn refuse(&self, cx: &mut Context<'_>, refusal: Refusal, channel: Option<&str>) {
        let text = refusal.to_string();
        cx.refused("pusher_frame", text.clone());
        send(cx, |out| event::error(out, refusal.code(), &text, channel));
        if let Some(code) = refusal.close() {
            cx.act(Action::CloseWebSocket { code, reason: Code::Unauthorized.reason() });
        }
    }

    /// Time has passed: asks a silent client whether it is there, and gives up on one that does not answer.
    pub fn on_deadline(&mut self, pusher: &Pusher, cx: &mut Context<'_>) {
        let now_ms = cx.now.mono_ms();
        if self.authorize_by_ms != 0 && now_ms >= self.authorize_by_ms {
            return self.refuse(cx, Refusal::NotAuthorizedInTime, None);
        }
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        if self.pinged {
            cx.refused("pusher_pong", "no answer to a ping");
            return close(cx, Code::PongTimeout);
        }
        if silent_ms >= pusher.idle_ms() {
            self.pinged = true;
            send(cx, event::ping);
        }
        self.set_deadline(pusher, cx);
    }

    /// An app that is gone or switched off keeps no clients.
    pub fn on_apps(&mut self, cx: &mut Context<'_>) {
        match cx.apps.get(self.app().number) {
            None => close(cx, Code::NoSuchApp),
            Some(app) if !app.settings.enabled => close(cx, Code::AppDisabled),
            Some(_) => {}
        }
    }

    /// A message.
    pub fn on_message(&mut self, pusher: &Pusher, cx: &mut Context<'_>, message: Message<'_>) {
        self.heard_ms = cx.now.mono_ms();
        if std::mem::take(&mut self.pinged) {
            self.set_deadline(pusher, cx);
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                cx.refused("pusher_binary", "a binary message");
                let reason = "Binary messages are not supported.";
                return cx.act(Action::CloseWebSocket { code: close::UNSUPPORTED, reason });
            }
        };
        let mut tools = cx.tools.pusher.take().unwrap_or_default();
        let Tools { parser, reader } = &mut *tools;
        let limits = pusher.limits(self.app());
        match parser.parse(text, &limits) {
            Ok(Frame::Ping) => send(cx, event::pong),
            Ok(Frame::Pong) => {}
            Ok(Frame::Subscribe(asked)) => {
                let user = self.user.as_ref().map(|user| &user.user);
                let judged = auth::subscribe(self.keys(), &self.socket_id(), &asked, user, reader);
                self.subscribe(pusher, cx, &asked, judged);
            }
            Ok(Frame::Unsubscribe(name)) => self.unsubscribe(cx, name),
            Ok(Frame::Signin(asked)) => {
                let judged = auth::signin(self.keys(), &self.socket_id(), &asked, reader);
                self.sign_in(pusher, cx, asked.user_data, judged);
            }
            Ok(Frame::Client(event)) => self.client_event(cx, &event),
            Err(refusal) => self.refuse(cx, refusal, None),
        }
        cx.tools.pusher = Some(tools);
    }

    fn subscribe(
        &mut self,
        pusher: &Pusher,
        cx: &mut Context<'_>,
        asked: &Subscribe<'_>,
        judged: Result<Option<auth::Member>, AuthError>,
    ) {
        let name = asked.channel;
        let member = match judged {
            Ok(member) => member,
            Err(error) => return refused(cx, name.text(), &error),
        };
        if name.kind().needs_auth() {
            self.authorized();
        }
        if name.kind() == Kind::ServerToUser {
            // The connection listens since it has signed in.
            return send(cx, |out| event::subscription_succeeded(out, name.text()));
        }
        if self.channels.find(name.text()).is_some() {
            return self.subscribe_again(cx, name);
        }
        if self.channels.is_full() {
            return refused(cx, name.text(), &AuthError::TooManySubscriptions);
        }
        let user = member.map(|member| {
            let info = member.info.as_deref().unwrap_or_default();
            Arc::new(User {
                id: Bytes::copy_from_slice(member.id.as_bytes()),
                info: Bytes::copy_from_slice(info.as_bytes()),
            })
        });
        let key = pusher.key(self.app(), name.text());
        let user_id = user.as_ref().map(|user| user.id.clone());
        let tag = self.channels.add(key.clone(), Role::Channel, user_id);
        let app = self.app();
        let policy = if name.kind().is_cache() { &app.cache_policy } else { &app.policy };
        let start = if name.kind().is_cache() { Start::Newest } else { Start::Live };
        let list_users = name.kind().is_presence();
        let ask = Ask { start, list_users, ..listen(policy, user) };
        cx.act(Action::Subscribe { key, form: form::EVENTS, ask: Box::new(ask), tag });
    }

    /// The client has the channel already: it is told again, and nothing else happens.
    fn subscribe_again(&mut self, cx: &mut Context<'_>, name: Name<'_>) {
        let tag = self.channels.tag();
        let Some(subscription) = self.channels.find(name.text()) else { return };
        if !subscription.stands || subscription.again.is_some() {
            return; // the answer is on its way, and is the answer to both
        }
        if !name.kind().is_presence() {
            return send(cx, |out| event::subscription_succeeded(out, name.text()));
        }
        subscription.again = Some(tag);
        cx.act(Action::Command { key: subscription.key.clone(), command: Command::Users, tag });
    }

    fn unsubscribe(&mut self, cx: &mut Context<'_>, name: Name<'_>) {
        // A channel that it does not have is no matter (section 5).
        let tag = self.channels.find(name.text()).map(|subscription| subscription.tag);
        if let Some(tag) = tag {
            self.channels.remove(tag);
            cx.act(Action::Unsubscribe { tag });
        }
    }

    /// A home has answered.
    pub fn on_answer(&mut self, cx: &mut Context<'_>, tag: u16, answer: Answer) {
        if let Some(again) = self.channels.asked_again(tag) {
            again.again = None;
            again.stands = true;
            if let (Answer::Users(users), Ok(name)) = (&answer, std::str::from_utf8(again.key.name())) {
                presence_succeeded(cx, name, users);
            }
            return;
        }
        let Some(subscription) = self.channels.tagged(tag) else { return };
        let (role, key) = (subscription.role, subscription.key.clone());
        subscription.stands = true;
        let Ok(name) = std::str::from_utf8(key.name()) else { return };
        match (role, answer) {
            (Role::Channel, Answer::Subscribed(subscribed)) => succeeded(cx, &key, name, &subscribed),
            (Role::Channel, Answer::Refused(refusal)) => {
                self.channels.remove(tag);
                refused(cx, name, &AuthError::from(refusal));
            }
            (_, answer) => self.on_user_answer(cx, tag, role, &answer),
        }
    }

    /// A home has ended a subscription.
    pub fn on_ended(&mut self, cx: &mut Context<'_>, tag: u16, reason: Ended) {
        let Some(subscription) = self.channels.remove(tag) else { return };
        match (subscription.role, reason) {
            (Role::Inbox, Ended::Terminated) => self.refuse(cx, Refusal::Terminated, None),
            // Somebody has deleted the channel, which a Pusher client cannot know of: it goes on in a new one.
            // What a member had said of itself is not kept, nor is the state of who was watched: it has to come anew.
            (Role::Watch, _) => close(cx, Code::Reconnect),
            _ if subscription.user_id.is_some() => close(cx, Code::Reconnect),
            (role, _) => self.renew(cx, subscription.key, role),
        }
    }

    /// Subscribes to a channel that was deleted under the client.
    fn renew(&mut self, cx: &mut Context<'_>, key: Arc<ChannelKey>, role: Role) {
        let tag = self.channels.add(key.clone(), role, None);
        if let Some(subscription) = self.channels.tagged(tag) {
            subscription.again = Some(tag); // the answer is none that the client waits for
        }
        let ask = listen(&self.app().policy, None);
        cx.act(Action::Subscribe { key, form: form::EVENTS, ask: Box::new(ask), tag });
    }

    fn client_event(&mut self, cx: &mut Context<'_>, sent: &ClientEvent<'_>) {
        let name = sent.channel.text();
        let (app, now_s) = (self.app().clone(), cx.now.mono_ms() / 1000);
        if !app.settings.client_events {
            return self.refuse(cx, Refusal::ClientEventsOff, Some(name));
        }
        let Some(subscription) = self.channels.find(name).filter(|subscription| subscription.stands) else {
            return self.refuse(cx, Refusal::ClientEventNotSubscribed, Some(name));
        };
        let (key, user_id) = (subscription.key.clone(), subscription.user_id.clone());
        self.sent = if self.sent.0 == now_s { (now_s, self.sent.1 + 1) } else { (now_s, 1) };
        let limit = app.settings.max_client_events_per_s;
        if limit > 0 && self.sent.1 > limit {
            return self.refuse(cx, Refusal::ClientEventRate, Some(name));
        }
        let data = sent.data.unwrap_or(Data::Text(b""));
        let cache = sent.channel.kind().is_cache();
        let origin = Origin {
            except: Some(self.id),
            user_id,
            json: matches!(data, Data::Json(_)),
            // A cache channel keeps what back ends say.
            fleeting: cache,
        };
        let message = Publish {
            payload: Bytes::copy_from_slice(data.bytes()),
            event: Some(Bytes::copy_from_slice(sent.event.as_bytes())),
            origin: Some(Box::new(origin)),
            ..Publish::default()
        };
        let policy = if cache { app.cache_policy.clone() } else { app.policy.clone() };
        cx.act(Action::Notify(Box::new(Notice { channel: key.clone(), what: what(self.id, &message) })));
        cx.act(Action::Tell { key, command: Command::Publish { message, policy, create: true } });
    }
}

/// What the back end is told of a client's event.
fn what(session: SessionId, sent: &Publish) -> What {
    What::ClientEvent(Box::new(notice::ClientEvent {
        event: sent.event.clone().unwrap_or_default(),
        data: Some(sent.payload.clone()),
        session,
        user: sent.origin.as_ref().and_then(|origin| origin.user_id.clone()),
    }))
}

/// A subscription to what comes.
pub(super) fn listen(policy: &Arc<Policy>, user: Option<Arc<User>>) -> Ask {
    Ask {
        start: Start::Live,
        class: Class::Stream,
        backlog: 1,
        create: true,
        max_subscribers: 0,
        concurrency: Concurrency::Broadcast,
        policy: policy.clone(),
        user,
        list_users: false,
    }
}

/// Tells that a subscription stands, and what a cache channel has.
fn succeeded(cx: &mut Context<'_>, key: &Arc<ChannelKey>, name: &str, subscribed: &Subscribed) {
    match &subscribed.users {
        Some(users) => presence_succeeded(cx, name, users),
        None => send(cx, |out| event::subscription_succeeded(out, name)),
    }
    if !Name::parse(name, name.len()).is_ok_and(|name| name.kind().is_cache()) {
        return;
    }
    match subscribed.backlog.last() {
        Some(publication) => {
            let frame = cx.encoder.replayed(form::EVENTS, Some(key), publication);
            cx.act(Action::Replay(frame));
        }
        None => {
            send(cx, |out| event::cache_miss(out, name));
            let what = What::CacheMiss(subscribed.last);
            cx.act(Action::Notify(Box::new(Notice { channel: key.clone(), what })));
        }
    }
}

fn presence_succeeded(cx: &mut Context<'_>, name: &str, users: &Roster) {
    let members = users.iter().filter_map(|user| {
        let info = std::str::from_utf8(&user.info).ok().filter(|info| !info.is_empty());
        Some((std::str::from_utf8(&user.id).ok()?, info))
    });
    let scratch = &mut cx.encoder.scratch;
    scratch.clear();
    event::presence_succeeded(scratch, name, members);
    let frame = form::text(scratch);
    cx.send(frame);
}

/// Tells that a subscription is refused; the connection stays.
fn refused(cx: &mut Context<'_>, channel: &str, error: &AuthError) {
    let text = error.to_string();
    cx.refused("pusher_subscription", format!("{channel}: {text}"));
    send(cx, |out| event::subscription_error(out, channel, error.kind(), &text, error.status()));
}

impl From<channel::Refusal> for AuthError {
    fn from(refusal: channel::Refusal) -> AuthError {
        match refusal {
            channel::Refusal::TooManyUsers => AuthError::TooManyMembers,
            channel::Refusal::UserTooLarge => AuthError::UserInfoTooLarge,
            channel::Refusal::TooManySubscribers => AuthError::TooManySubscriptions,
            other => AuthError::Home(other.label()),
        }
    }
}
