//! Pusher Channels, protocol 7 (pusher.md).
//!
//! The pure half: [`handshake`] reads a client's first request, [`frame`] what it sends then, [`event`] writes what it
//! gets; [`auth`] judges subscriptions and sign-ins, [`refusal`] says what is told about everything that is refused.
//! [`api`] reads what back ends ask and [`answer`] writes what they get; [`webhook`] writes what they are told.
//! [`codes`] and [`name`] hold what the protocol calls things. Nothing there has any state.
//!
//! The sessions: [`client`] is one client's connection, with its subscriptions in [`channels`] and, once it has signed
//! in, its user in [`signin`]; [`backend`] is one request of a back end. What all subscribers of a channel get is made
//! in [`form`], once for all of them.
//!
//! # Users
//! Each user of an app has two hidden channels. `#server-to-user-ID` carries what the back end says to the user; every
//! signed-in connection is subscribed to it, and ending its subscriptions ends the connections. `#user-ID` knows who is
//! online: every signed-in connection is a stream of that user there, and those who watch the user are subscribed to it.

pub mod answer;
pub mod api;
pub mod auth;
mod backend;
mod channels;
mod client;
pub mod codes;
pub mod event;
pub mod form;
pub mod frame;
mod grants;
pub mod handshake;
pub mod name;
pub mod refusal;
mod signin;
pub mod webhook;

use crate::channel::{Announcement, Answer, Ended, KeyHasher, Roster, SessionId};
use crate::dialect::grant::Revocation;
use crate::dialect::http::Listeners;
use crate::dialect::session::Message;
use crate::dialect::{Action, Context, Drain, upgrade};
use crate::limits::{PUSHER_ACTIVITY_TIMEOUT_S, PUSHER_PONG_TIMEOUT_MS, PusherLimits};
use crate::wire::http::request::Request;
use crate::wire::json;
use crate::wire::ws::close;
use bytes::Bytes;

/// What the dialect is told to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether it is there at all.
    pub enabled: bool,
    /// Where the HTTP API is served: names of listeners, or `internal`; empty: on all.
    pub api_listeners: Vec<String>,
    /// Pages that browsers may come from, to apps that do not say so themselves; empty: all.
    pub origins: Vec<String>,
    /// A client that has heard nothing for so long asks whether the node is there, seconds (section 3).
    pub activity_timeout_s: u32,
    /// Time for the answer when the node asks, milliseconds.
    pub pong_timeout_ms: u64,
    /// Bounds of what is read.
    pub limits: PusherLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            enabled: true,
            api_listeners: Vec::new(),
            origins: Vec::new(),
            activity_timeout_s: PUSHER_ACTIVITY_TIMEOUT_S,
            pong_timeout_ms: PUSHER_PONG_TIMEOUT_MS,
            limits: PusherLimits::default(),
        }
    }
}

/// The dialect.
#[derive(Debug)]
pub struct Pusher {
    settings: Settings,
    hasher: KeyHasher,
    api: Listeners,
}

/// Buffers of a shard for reading JSON.
#[derive(Debug, Default)]
pub struct Tools {
    parser: frame::Parser,
    reader: json::Reader,
    /// The last list of members that somebody was told, and its frame.
    list: Option<(Roster, Bytes)>,
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
        match &self.0 {
            State::Client(client) => Some(client.id()),
            State::Backend(_) | State::Over => None,
        }
    }

    /// Whether what has let a client in is taken back.
    pub fn is_revoked_by(&self, revocation: &Revocation, app: u32) -> bool {
        matches!(&self.0, State::Client(client) if client.is_revoked_by(revocation, app))
    }
}

impl Pusher {
    /// The dialect with these settings; `hasher` is that of all channel names.
    pub fn new(settings: Settings, hasher: KeyHasher) -> Pusher {
        Pusher { settings, hasher, api: Listeners::ALL }
    }

    /// The same with its HTTP API on these listeners only.
    pub fn with_api_on(self, api: Listeners) -> Pusher {
        Pusher { api, ..self }
    }

    /// Takes requests to `/app/KEY` and to the HTTP API.
    pub fn on_request(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Option<Session> {
        if !self.settings.enabled {
            return None;
        }
        let target = request.target_parts();
        if let Some(key) = handshake::app_key(target.path_raw) {
            return Some(Session(self.open(cx, request, &key)));
        }
        let route = api::route(request.method, target.path_raw).filter(|_| self.api.has(cx.listener))?;
        Some(Session(self.ask(cx, request, &route)))
    }

    /// A client that is over a limit of the node; false: it is no client of this dialect.
    pub fn turn_away(&self, cx: &mut Context<'_>, request: &Request<'_>) -> bool {
        let target = request.target_parts();
        if !self.settings.enabled || handshake::app_key(target.path_raw).is_none() {
            return false;
        }
        if upgrade::open(cx, request, 0) {
            client::say_farewell(cx, &target, codes::Code::OverCapacity);
        }
        true
    }

    /// A home has answered.
    pub fn on_answer(&self, cx: &mut Context<'_>, session: &mut Session, tag: u16, answer: Answer) {
        match &mut session.0 {
            State::Client(client) => client.on_answer(cx, tag, answer),
            State::Backend(exchange) => {
                if exchange.on_answer(cx, tag, answer) {
                    session.0 = State::Over;
                }
            }
            State::Over => {}
        }
    }

    /// A message of a client.
    pub fn on_message(&self, cx: &mut Context<'_>, session: &mut Session, message: Message<'_>) {
        if let State::Client(client) = &mut session.0 {
            client.on_message(self, cx, message);
        }
    }

    /// A user who is watched has come or gone.
    pub fn on_announcement(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        announcement: &Announcement,
    ) {
        if let State::Client(client) = &mut session.0 {
            client.on_announcement(cx, tag, announcement);
        }
    }

    /// A home has ended a subscription.
    pub fn on_ended(&self, cx: &mut Context<'_>, session: &mut Session, tag: u16, reason: Ended) {
        if let State::Client(client) = &mut session.0 {
            client.on_ended(cx, tag, reason);
        }
    }

    /// Apps have come or gone.
    pub fn on_apps(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(client) = &mut session.0 {
            client.on_apps(cx);
        }
    }

    /// What has let the client in is taken back.
    pub fn on_revoked(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(client) = &session.0 {
            client.on_revoked(cx);
        }
    }

    /// The session's deadline has passed.
    pub fn on_deadline(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let State::Client(client) = &mut session.0 {
            client.on_deadline(self, cx);
        }
    }

    /// The node stops. pusher-js comes back after a second; after 4200 it would come at once, and one that finds nobody
    /// yet (the node is being restarted) waits 15 s before it tries again. A new process that takes over is there
    /// already. A back end's request is still answered.
    pub fn on_drain(&self, cx: &mut Context<'_>, session: &mut Session, why: Drain) {
        if let State::Client(_) = &session.0 {
            let (code, reason) = match why {
                Drain::Stop => (close::GOING_AWAY, "The server is going away."),
                Drain::Upgrade => (codes::Code::Reconnect as u16, "The server is restarted."),
            };
            cx.act(Action::CloseWebSocket { code, reason });
        }
    }
}
