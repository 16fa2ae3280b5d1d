//! Pushi (pushi.md): a protocol that looks like Pusher's and is another one.
//!
//! The pure half: [`handshake`] reads a client's first request, [`frame`] what it sends then, [`event`] writes what it
//! gets, with the [`stamp`] that an event was given when it was published; [`auth`] judges subscriptions and [`name`]
//! tells kinds of channels apart. [`route`], [`query`] and [`body`] read what back ends ask, [`answer`] writes what they
//! get; [`token`] knows their sessions, [`registry`] who and what is registered for which channel. Nothing of it but the
//! registry has any state.
//!
//! The sessions: [`client`] is one client's connection, with its subscriptions in [`channels`], those that are there for
//! others in [`personal`]; [`backend`] is one request of a back end, [`register`] and [`messaging`] parts of it. An event
//! goes its way in [`publish`]; what all subscribers of a channel get is made in [`form`], once for all of them.
//!
//! # What is kept where
//! Events are the stored publications of their channel. A user's are those of the channel `personal-USER`, where each
//! event of a channel that the user is subscribed to is filed when it is published. Those channels, the events of an app
//! and session tokens are on the app's hidden side ([`Pushi::hidden`]), where no other dialect comes.
//!
//! # Beside other dialects
//! - Publications of others are events: with the publisher's event name or `message`, their payload as text, and an id
//!   and a time that follow from their position.
//! - A channel has the storage rules of who published to it last: back ends that publish to one channel by several
//!   protocols get the history of the last one.
//! - `/health/live`, `/health/ready` and, in development, `/` are the node's own pages wherever it has them.

pub mod answer;
mod asks;
pub mod auth;
mod backend;
pub mod body;
mod channels;
mod client;
pub mod event;
pub mod form;
pub mod frame;
mod grants;
pub mod handshake;
mod messaging;
pub mod name;
mod personal;
mod publish;
pub mod query;
mod register;
pub mod registry;
mod renewed;
pub mod route;
pub mod stamp;
pub mod token;

use crate::channel::store::Outcome;
use crate::channel::{
    Announcement, Answer, ChannelKey, Ended, HIDDEN_APP, KeyHasher, Policy, PresenceLimits, Publication,
    SessionId,
};
use crate::dialect::app::{App, AppRefusal};
use crate::dialect::grant::Revocation;
use crate::dialect::http::{Listeners, refuse_origin};
use crate::dialect::session::Message;
use crate::dialect::{Action, Context};
use crate::limits::{
    PRESENCE_USERS, PUSHI_CHANNEL_DATA_BYTES, PUSHI_CHANNEL_IDLE_MS, PUSHI_EVENTS_PER_APP,
    PUSHI_EVENTS_PER_CHANNEL, PUSHI_EVENTS_PER_USER, PUSHI_PING_MS,
};
use crate::wire::http::request::Request;
use crate::wire::json;
use crate::wire::ws::close;
use registry::Registry;
use std::fmt;
use std::sync::Arc;

/// The hidden channel with the events of an app.
const APP_EVENTS: &str = "pushi-events";

/// What the dialect is told to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether it is there at all.
    pub enabled: bool,
    /// Where the HTTP interface is served: names of listeners, or `internal`; empty: on all.
    pub api_listeners: Vec<String>,
    /// Pages that browsers may come from, to apps that do not say so themselves; empty: all.
    pub origins: Vec<String>,
    /// Whether anybody may make apps (`POST /apps`), as with the protocol's own server.
    pub open_apps: bool,
    /// Events that are kept survive the node; registrations do wherever its store does.
    pub durable: bool,
    /// Time between WebSocket pings, milliseconds; 0 = none.
    pub ping_interval_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            enabled: true,
            api_listeners: Vec::new(),
            origins: Vec::new(),
            open_apps: false,
            durable: false,
            ping_interval_ms: PUSHI_PING_MS,
        }
    }
}

impl Settings {
    fn ping_interval_ms(&self) -> u32 {
        self.ping_interval_ms.try_into().unwrap_or(u32::MAX)
    }
}

/// The dialect.
pub struct Pushi {
    settings: Settings,
    hasher: KeyHasher,
    api: Listeners,
    /// Who and what is registered; filled with what is stored before the node starts.
    pub registry: Registry,
    /// Known to this process only: tokens cannot be guessed without it.
    secret: [u8; 32],
    policy: Arc<Policy>,
    user_policy: Arc<Policy>,
    app_policy: Arc<Policy>,
    token_policy: Arc<Policy>,
}

impl fmt::Debug for Pushi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pushi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Buffers of a shard for reading JSON.
#[derive(Debug, Default)]
pub struct Tools {
    reader: json::Reader,
    member: json::Reader,
}

/// A client's connection, or a request of a back end.
#[derive(Debug)]
pub struct Session(State);

#[derive(Debug)]
enum State {
    /// It was answered.
    Over,
    Client(Box<client::Client>),
    Backend(Box<backend::Exchange>),
}

impl Session {
    /// The name of a client's connection.
    pub fn id(&self) -> Option<SessionId> {
        self.client().map(client::Client::id)
    }

    /// Whether what has let a client in is taken back.
    pub fn is_revoked_by(&self, revocation: &Revocation, app: u32) -> bool {
        self.client().is_some_and(|client| client.is_revoked_by(revocation, app))
    }

    fn client(&self) -> Option<&client::Client> {
        if let State::Client(client) = &self.0 { Some(client) } else { None }
    }
}

impl Pushi {
    /// The dialect with these settings. `hasher` is that of all channel names, `secret` is random.
    pub fn new(settings: Settings, hasher: KeyHasher, secret: [u8; 32]) -> Pushi {
        let presence = PresenceLimits {
            users: PRESENCE_USERS,
            user_bytes: PUSHI_CHANNEL_DATA_BYTES,
            leave_grace_ms: 0,
            announce_lists: false,
        };
        let durable = settings.durable;
        let keeping = |max_messages| {
            Arc::new(Policy {
                max_messages,
                message_timeout_ms: 0,
                channel_timeout_ms: PUSHI_CHANNEL_IDLE_MS,
                durable,
                presence,
                ..Policy::default()
            })
        };
        Pushi {
            settings,
            hasher,
            api: Listeners::ALL,
            registry: Registry::default(),
            secret,
            policy: keeping(PUSHI_EVENTS_PER_CHANNEL),
            user_policy: keeping(PUSHI_EVENTS_PER_USER),
            app_policy: keeping(PUSHI_EVENTS_PER_APP),
            token_policy: Arc::new(token::policy()),
        }
    }

    /// The same with its HTTP interface on these listeners only.
    pub fn with_api_on(self, api: Listeners) -> Pushi {
        Pushi { api, ..self }
    }

    /// The channel of this name. Personal ones are on the hidden side: to other dialects they would be public.
    fn key(&self, app: &App, name: &str) -> Arc<ChannelKey> {
        if name::Kind::of(name) == name::Kind::Personal {
            return self.hidden(app.number, name);
        }
        ChannelKey::new(&self.hasher, app.number, b"", name.as_bytes())
    }

    /// A channel of an app that no dialect gives a name to.
    fn hidden(&self, app: u32, name: &str) -> Arc<ChannelKey> {
        ChannelKey::new(&self.hasher, app | HIDDEN_APP, b"", name.as_bytes())
    }

    /// Whether a request is this dialect's although Pusher has the same path: an event of the old generation, which
    /// comes with a session token where Pusher's has a signature.
    pub fn goes_first(&self, request: &Request<'_>) -> bool {
        self.settings.enabled && backend::is_with_token(request)
    }

    /// Takes WebSockets at every path that ends in the key of an app, or in something as long as one, and the HTTP
    /// interface.
    pub fn on_request(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Option<Session> {
        if !self.settings.enabled {
            return None;
        }
        if request.upgrade_websocket {
            let key = handshake::app_key(request.target);
            let is_ours = handshake::is_like_key(key) || cx.apps.by_key(key).is_some();
            let own = cx.apps.by_key(key).cloned();
            let own = own.as_ref().map_or(&[][..], |app| &app.settings.origins);
            let origins = if own.is_empty() { &self.settings.origins } else { own };
            if is_ours && refuse_origin(cx, request, origins) {
                return Some(Session(State::Over));
            }
            return is_ours.then(|| Session(self.open(cx, request)));
        }
        if !self.api.has(cx.listener) {
            return None;
        }
        self.ask(cx, request).map(Session)
    }

    /// A home has answered.
    pub fn on_answer(&self, cx: &mut Context<'_>, session: &mut Session, tag: u16, answer: Answer) {
        match &mut session.0 {
            State::Client(client) => client.on_answer(self, cx, tag, answer),
            State::Backend(exchange) => {
                if exchange.on_answer(self, cx, tag, answer) {
                    session.0 = State::Over;
                }
            }
            State::Over => {}
        }
    }

    /// The store has done what was asked, or has not.
    pub fn on_stored(&self, cx: &mut Context<'_>, session: &mut Session, outcome: &Outcome) {
        if let State::Backend(exchange) = &mut session.0 {
            exchange.on_stored(self, cx, outcome);
            session.0 = State::Over;
        }
    }

    /// The app that was wanted is there, or is not.
    pub fn on_app(&self, cx: &mut Context<'_>, session: &mut Session, outcome: Result<Arc<App>, AppRefusal>) {
        if let State::Backend(exchange) = &mut session.0 {
            exchange.on_app(cx, outcome);
            session.0 = State::Over;
        }
    }

    /// A message of a client.
    pub fn on_message(&self, cx: &mut Context<'_>, session: &mut Session, message: Message<'_>) {
        if let State::Client(client) = &mut session.0 {
            client.on_message(self, cx, message);
        }
    }

    /// A publication that went to several channels.
    pub fn on_publication(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        publication: &Arc<Publication>,
    ) {
        if let State::Client(client) = &mut session.0 {
            client.on_publication(cx, tag, publication);
        }
    }

    /// A member of a presence channel has come or gone.
    pub fn on_announcement(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        announcement: &Announcement,
    ) {
        if let State::Client(client) = &mut session.0 {
            client.on_announcement(self, cx, tag, announcement);
        }
    }

    /// A home has ended a subscription.
    pub fn on_ended(&self, cx: &mut Context<'_>, session: &mut Session, tag: u16, reason: Ended) {
        if let State::Client(client) = &mut session.0 {
            client.on_ended(self, cx, tag, reason);
        }
    }

    /// What has let the client in has ended.
    pub fn on_deadline(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(client) = &session.0 {
            client.on_deadline(cx);
        }
    }

    /// What has let the client in is taken back.
    pub fn on_revoked(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(client) = &session.0 {
            client.on_revoked(cx);
        }
    }

    /// Apps have come or gone.
    pub fn on_apps(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(client) = &mut session.0 {
            client.on_apps(cx);
        }
    }

    /// The node stops: clients come back, to another node. A back end's request is still answered.
    pub fn on_drain(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(_) = &session.0 {
            cx.act(Action::CloseWebSocket { code: close::GOING_AWAY, reason: "the node stops" });
        }
    }

    /// The connection is gone.
    pub fn on_closed(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(client) = &mut session.0 {
            client.on_closed(self, cx);
        }
    }
}
