//! One client's connection (pusher.md sections 1 to 10).

use super::auth::{self, AuthError, Keys};
use super::channels::{Channels, EVENT_TAG, Role};
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
    self, Answer, ChannelKey, Concurrency, Ended, Message as Publish, Origin, Policy, Position, Publication,
    Roster, SessionId, User,
};
use crate::dialect::app::{App, Connected};
use crate::dialect::grant::{Act, Held};
use crate::dialect::http::refuse_origin;
use crate::dialect::session::Message;
use crate::dialect::{Action, Context, Form, upgrade};
use crate::limits::{
    PUSHER_LIST_KEEP_BYTES, PUSHER_RENEWED_EVENTS, PUSHER_REPEATS_WAITING, PUSHER_ROUND_TRIP_MS, PusherLimits,
};
use crate::wire::http::request::Request;
use crate::wire::http::target::Target;
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
    /// What its subscriptions were let in by.
    pub(super) held: Held,
    /// When it last sent anything, monotonic milliseconds.
    heard_ms: u64,
    /// When the node has asked whether it is there; 0 = it has not.
    pinged_ms: u64,
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
        let app = cx.apps.by_key(key).cloned();
        let own = app.as_ref().map_or(&[][..], |app| &app.settings.origins);
        if refuse_origin(cx, request, if own.is_empty() { &self.settings.origins } else { own }) {
            return State::Over;
        }
        // The protocol has pings of its own, which clients written in JavaScript can see.
        if !upgrade::open(cx, request, 0) {
            return State::Over;
        }
        let target = request.target_parts();
        let admitted = handshake::protocol(&target).and_then(|_| admit(cx, key));
        match admitted {
            Ok(connected) => {
                let held = Held::of(request, cx.apps);
                State::Client(Box::new(self.welcome(cx, connected, held)))
            }
            Err(code) => {
                cx.refused("pusher_handshake", format!("{}: app key {key:?}", code.reason()));
                say_farewell(cx, &target, code);
                State::Over
            }
        }
    }

    fn welcome(&self, cx: &mut Context<'_>, connected: Connected, held: Held) -> Client {
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
            held,
            heard_ms: now_ms,
            pinged_ms: 0,
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

/// Ends a connection that has just been opened, in the way that its version of the protocol has.
pub(super) fn say_farewell(cx: &mut Context<'_>, target: &Target<'_>, code: Code) {
    if handshake::wants_error_event(target) {
        send(cx, |out| event::error(out, Some(code), code.reason(), None));
    }
    close(cx, code);
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

    /// Until when it counts as being there.
    fn alive_until_ms(&self, pusher: &Pusher) -> u64 {
        match self.pinged_ms {
            0 => self.heard_ms + pusher.idle_ms(),
            pinged_ms => pinged_ms + pusher.settings.pong_timeout_ms,
        }
    }

    pub(super) fn set_deadline(&self, pusher: &Pusher, cx: &mut Context<'_>) {
        let alive_ms = self.alive_until_ms(pusher);
        let at = if self.authorize_by_ms == 0 { alive_ms } else { alive_ms.min(self.authorize_by_ms) };
        cx.act(Action::Deadline(self.held.until_ms().map_or(at, |until_ms| at.min(until_ms))));
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
        if self.held.is_over(now_ms) {
            return self.refuse(cx, Refusal::GrantExpired, None);
        }
        // What it has sent since the deadline was set counts, also pings and pongs of RFC 6455, which no session sees;
        // and the deadline may have been another one's.
        if cx.heard_ms > self.heard_ms.max(self.pinged_ms) {
            (self.heard_ms, self.pinged_ms) = (cx.heard_ms, 0);
        }
        if now_ms >= self.alive_until_ms(pusher) {
            if self.pinged_ms != 0 {
                cx.refused("pusher_pong", "no answer to a ping");
                return close(cx, Code::PongTimeout);
            }
            self.pinged_ms = now_ms.max(1);
            send(cx, event::ping);
        }
        self.set_deadline(pusher, cx);
    }

    /// An app that is gone or switched off keeps no clients. Where another one has its key by now, clients may come
    /// back at once: the other codes would keep them away for good.
    pub fn on_apps(&mut self, cx: &mut Context<'_>) {
        let code = match cx.apps.get(self.app().number) {
            Some(app) if app.settings.enabled => return,
            Some(_) => Code::AppDisabled,
            None => match cx.apps.by_key(&self.app().settings.key) {
                Some(app) if app.settings.enabled => Code::Reconnect,
                Some(_) => Code::AppDisabled,
                None => Code::NoSuchApp,
            },
        };
        cx.refused("pusher_app", format!("{}: the app of the connection", code.reason()));
        close(cx, code);
    }

    /// A message.
    pub fn on_message(&mut self, pusher: &Pusher, cx: &mut Context<'_>, message: Message<'_>) {
        self.heard_ms = cx.now.mono_ms();
        if std::mem::take(&mut self.pinged_ms) != 0 {
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
        let Tools { parser, reader, .. } = &mut *tools;
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
            return self.subscribe_inbox(cx, name);
        }
        if let Err(error) = self.may_subscribe(pusher, cx, name) {
            return refused(cx, name.text(), &error);
        }
        let member_id = member.as_ref().map(|member| member.id.as_bytes());
        if let Some(subscription) = self.channels.find(name.text()) {
            if subscription.user_id.as_deref() != member_id {
                return refused(cx, name.text(), &AuthError::OtherMember);
            }
            return self.subscribe_again(cx, name);
        }
        if self.channels.room() == 0 {
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

    /// The client has the channel already, or it is on its way: it is told once more, and nothing else happens.
    fn subscribe_again(&mut self, cx: &mut Context<'_>, name: Name<'_>) {
        let tag = self.channels.tag();
        let Some(subscription) = self.channels.find(name.text()) else { return };
        if subscription.stands && !name.kind().is_presence() {
            return send(cx, |out| event::subscription_succeeded(out, name.text()));
        }
        if subscription.owed >= PUSHER_REPEATS_WAITING {
            return refused(cx, name.text(), &AuthError::TooManySubscriptions);
        }
        subscription.owed += 1;
        if subscription.stands && subscription.users.is_none() {
            subscription.users = Some(tag);
            cx.act(Action::Command { key: subscription.key.clone(), command: Command::Users, tag });
        }
    }

    /// A channel that the client does not have is no matter (section 5). One whose success is on its way is left
    /// right behind it: each subscription that is accepted is told once.
    fn unsubscribe(&mut self, cx: &mut Context<'_>, name: Name<'_>) {
        let Some(subscription) = self.channels.find(name.text()) else { return };
        if subscription.owed > 0 {
            subscription.left = true;
            return;
        }
        let tag = subscription.tag;
        self.leave(cx, tag);
    }

    fn leave(&mut self, cx: &mut Context<'_>, tag: u16) {
        self.channels.give_up(tag);
        cx.act(Action::Unsubscribe { tag });
    }

    /// A home has answered.
    pub fn on_answer(&mut self, cx: &mut Context<'_>, tag: u16, answer: Answer) {
        if tag == EVENT_TAG {
            if let Answer::Refused(refusal) = answer {
                self.refuse(cx, Refusal::ClientEventNotTaken { limit: refusal.label() }, None);
            }
            return;
        }
        if self.channels.was_given_up(tag) {
            return;
        }
        if let Some(subscription) = self.channels.asked_for_users(tag) {
            subscription.users = None;
            let tag = subscription.tag;
            if let Answer::Users(users) = answer {
                self.succeeded(cx, tag, Some(&users), &[], Position::ZERO);
            }
            return;
        }
        let Some(subscription) = self.channels.tagged(tag) else { return };
        match (subscription.role, answer) {
            (Role::Channel, Answer::Subscribed(subscribed)) => {
                subscription.stands = true;
                let Subscribed { users, backlog, last, .. } = &*subscribed;
                self.succeeded(cx, tag, users.as_ref(), backlog, *last);
            }
            (Role::Channel, Answer::Refused(refusal)) => self.not_taken(cx, tag, refusal),
            (role, answer) => self.on_user_answer(cx, tag, role, &answer),
        }
    }

    /// Tells as often as it is owed that a subscription stands, and then what the channel had for it.
    fn succeeded(
        &mut self,
        cx: &mut Context<'_>,
        tag: u16,
        users: Option<&Roster>,
        backlog: &[Arc<Publication>],
        last: Position,
    ) {
        let id = self.id;
        let Some(subscription) = self.channels.tagged(tag) else { return };
        let owed = std::mem::take(&mut subscription.owed);
        let first = !std::mem::replace(&mut subscription.told, true);
        let (key, left) = (subscription.key.clone(), subscription.left);
        let Ok(name) = std::str::from_utf8(key.name()) else { return };
        if owed > 0 {
            let frame = success(cx, name, users);
            (0..owed).for_each(|_| cx.send(frame.clone()));
        }
        // Of a channel that it lost unawares, what was published since; of others, what a cache channel keeps.
        for publication in
            backlog.iter().filter(|publication| first || publication.message.except() != Some(id))
        {
            let frame = cx.encoder.replayed(form::EVENTS, Some(&key), publication);
            cx.act(Action::Replay(frame));
        }
        if first
            && backlog.is_empty()
            && Name::parse(name, name.len()).is_ok_and(|name| name.kind().is_cache())
        {
            send(cx, |out| event::cache_miss(out, name));
            let what = What::CacheMiss(last);
            cx.act(Action::Notify(Box::new(Notice { channel: key.clone(), what })));
        }
        if left {
            self.leave(cx, tag);
        }
    }

    /// The home has said no.
    fn not_taken(&mut self, cx: &mut Context<'_>, tag: u16, refusal: channel::Refusal) {
        let Some(subscription) = self.channels.remove(tag) else { return };
        let Ok(name) = std::str::from_utf8(subscription.key.name()) else { return };
        for _ in 0..subscription.owed.max(1) {
            refused(cx, name, &AuthError::from(refusal));
        }
    }

    /// A home has ended a subscription.
    pub fn on_ended(&mut self, cx: &mut Context<'_>, tag: u16, reason: Ended) {
        let Some(subscription) = self.channels.remove(tag) else { return };
        match (subscription.role, reason) {
            (Role::Inbox, Ended::Terminated) => self.refuse(cx, Refusal::Terminated, None),
            // Somebody has deleted the channel, which a Pusher client cannot know of: it goes on in a new one. What a
            // member had said of itself is not kept, though, and the list that it has is void: it has to come anew.
            _ if subscription.user_id.is_some() => {
                cx.refused("pusher_ended", "a channel in which the client is present was deleted");
                close(cx, Code::Reconnect);
            }
            _ if subscription.left => {}
            (role, _) => self.renew(cx, subscription.key, tag, role),
        }
    }

    /// Subscribes to a channel that was deleted under the client; `before` is the tag it had.
    fn renew(&mut self, cx: &mut Context<'_>, key: Arc<ChannelKey>, before: u16, role: Role) {
        let tag = self.channels.add(key.clone(), role, None);
        if let Some(subscription) = self.channels.tagged(tag) {
            (subscription.told, subscription.owed) = (true, 0);
        }
        let app = self.app();
        let name = std::str::from_utf8(key.name()).unwrap_or_default();
        let cache = Name::parse(name, name.len()).is_ok_and(|name| name.kind().is_cache());
        let (policy, form, start) = match role {
            Role::Watch => (&app.hidden_policy, Form::SESSION_ANNOUNCED, Start::Live),
            Role::Inbox | Role::Online => (&app.hidden_policy, form::EVENTS, Start::Live),
            // All that the new channel has was published after the old one's end.
            Role::Channel if cache => (&app.cache_policy, form::EVENTS, Start::Oldest),
            Role::Channel => (&app.policy, form::EVENTS, Start::Oldest),
        };
        let list_users = role == Role::Watch;
        let ask = Ask { start, list_users, backlog: PUSHER_RENEWED_EVENTS, ..listen(policy, None) };
        if let Some(user) = &mut self.user {
            user.watches_anew(before, tag);
        }
        cx.act(Action::Subscribe { key, form, ask: Box::new(ask), tag });
    }

    fn client_event(&mut self, cx: &mut Context<'_>, sent: &ClientEvent<'_>) {
        let name = sent.channel.text();
        let (app, now_s) = (self.app().clone(), cx.now.mono_ms() / 1000);
        if !app.settings.client_events {
            return self.refuse(cx, Refusal::ClientEventsOff, Some(name));
        }
        let Some(subscription) = self.channels.find(name).filter(|subscription| subscription.told) else {
            return self.refuse(cx, Refusal::ClientEventNotSubscribed, Some(name));
        };
        let (key, user_id) = (subscription.key.clone(), subscription.user_id.clone());
        if let Err(why) = self.held.judge(cx, &app, Act::Publish, name, false) {
            cx.refused(why.label, why.text);
            return self.refuse(cx, Refusal::ClientEventGrant, Some(name));
        }
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
            ..Origin::default()
        };
        let message = Publish {
            payload: Bytes::copy_from_slice(data.bytes()),
            event: Some(Bytes::copy_from_slice(sent.event.as_bytes())),
            origin: Some(Box::new(origin)),
            ..Publish::default()
        };
        let policy = if cache { app.cache_policy.clone() } else { app.policy.clone() };
        cx.act(Action::Notify(Box::new(Notice { channel: key.clone(), what: what(self.id, &message) })));
        cx.act(Action::Command {
            key,
            command: Command::Publish { message, policy, create: true },
            tag: EVENT_TAG,
        });
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

/// The frame that tells that a subscription stands; on presence channels with those who are there. As long as nobody
/// comes or goes, all who ask get the same one: a long list is written once.
fn success(cx: &mut Context<'_>, name: &str, users: Option<&Roster>) -> Bytes {
    let scratch = &mut cx.encoder.scratch;
    scratch.clear();
    let Some(users) = users else {
        event::subscription_succeeded(scratch, name);
        return form::text(scratch);
    };
    let tools = cx.tools.pusher.get_or_insert_default();
    if let Some((of, frame)) = &tools.list
        && of.is(users)
    {
        return frame.clone();
    }
    let members = users.iter().filter_map(|user| {
        let info = std::str::from_utf8(&user.info).ok().filter(|info| !info.is_empty());
        Some((std::str::from_utf8(&user.id).ok()?, info))
    });
    event::presence_succeeded(scratch, name, members);
    let frame = form::text(scratch);
    tools.list = Some((users.clone(), frame.clone())).filter(|_| frame.len() <= PUSHER_LIST_KEEP_BYTES);
    frame
}

/// Tells that a subscription is refused; the connection stays.
pub(super) fn refused(cx: &mut Context<'_>, channel: &str, error: &AuthError) {
    let text = error.to_string();
    cx.refused("pusher_subscription", format!("{channel}: {text}"));
    send(cx, |out| event::subscription_error(out, channel, error.kind(), &text, error.status()));
}

impl From<channel::Refusal> for AuthError {
    fn from(refusal: channel::Refusal) -> AuthError {
        match refusal {
            channel::Refusal::TooManyUsers => AuthError::TooManyMembers,
            channel::Refusal::UserTooLarge => AuthError::UserInfoTooLarge,
            channel::Refusal::TooManySubscribers | channel::Refusal::TooManySubscriptions => {
                AuthError::TooManySubscriptions
            }
            other => AuthError::Home(other.label()),
        }
    }
}
