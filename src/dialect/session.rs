//! The sum of all dialects: one session type, and the calls passed on.

use crate::channel::hook::{HookAnswer, HookFailure};
use crate::channel::store::Outcome;
use crate::channel::{Announcement, Answer, Ended, Publication, SessionId};
use crate::dialect::app::{App, AppRefusal};
use crate::dialect::grant::Revocation;
use crate::dialect::grant::revoked::RevokeError;
use crate::dialect::{Context, admin, echo, pusher, pushi, relay, upgrade};
use crate::wire::http::request::Request;
use bytes::Bytes;
use std::sync::Arc;

/// A session of whichever dialect.
#[derive(Debug, Default)]
pub enum Session {
    /// No exchange is open.
    #[default]
    None,
    /// The native interface.
    Relay(relay::Session),
    /// The node's own endpoints.
    Admin(admin::Session),
    /// The conformance endpoint.
    Echo(echo::Session),
    /// Pusher.
    Pusher(pusher::Session),
    /// Pushi.
    Pushi(pushi::Session),
}

impl Session {
    /// The name by which others may point at it.
    pub fn id(&self) -> Option<SessionId> {
        match self {
            Session::Pusher(session) => session.id(),
            Session::Pushi(session) => session.id(),
            Session::None | Session::Admin(_) | Session::Relay(_) | Session::Echo(_) => None,
        }
    }
}

impl Session {
    /// Whether what has let it in is taken back; `app` is the number of the revocation's app.
    pub fn is_revoked_by(&self, revocation: &Revocation, app: u32) -> bool {
        match self {
            Session::Relay(session) => session.pass().is_some_and(|pass| pass.is_revoked_by(revocation, app)),
            Session::Pusher(session) => session.is_revoked_by(revocation, app),
            Session::Pushi(session) => session.is_revoked_by(revocation, app),
            Session::None | Session::Admin(_) | Session::Echo(_) => false,
        }
    }
}

/// One message of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Valid UTF-8.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

/// All dialects as configured. Shared by all shards.
pub struct Dialects {
    /// The native interface.
    pub relay: relay::Relay,
    /// The node's own endpoints, if there is a listener for them.
    pub admin: Option<admin::Admin>,
    /// The conformance endpoint, if it is switched on.
    pub echo: Option<echo::Echo>,
    /// Pusher.
    pub pusher: pusher::Pusher,
    /// Pushi.
    pub pushi: pushi::Pushi,
}

/// Why sessions are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// The node stops, and perhaps nobody is there for a while.
    Stop,
    /// A new process of the node listens already, and sessions are ended one after the other.
    Upgrade,
}

impl Dialects {
    /// A request has arrived and no exchange is open. False: no dialect knows the path.
    ///
    /// Where several dialects share a listener, the first that knows the path has it: the node's own endpoints; echo; the
    /// relay, whose locations
    /// somebody has configured; Pusher; Pushi. One path is of both of the latter: `/apps/ID/events` is Pushi's when a
    /// session token comes with it and no `auth_signature`, else Pusher's. WebSockets at `/app/KEY` are Pusher's, at any
    /// other path that ends in a key they are Pushi's.
    pub fn on_request(&self, cx: &mut Context<'_>, session: &mut Session, request: &Request<'_>) -> bool {
        if let Some(admin) = &self.admin
            && let Some(started) = admin.on_request(cx, request)
        {
            *session = Session::Admin(started);
            return true;
        }
        if let Some(echo) = &self.echo
            && let Some(started) = echo.on_request(cx, request)
        {
            *session = Session::Echo(started);
            return true;
        }
        if let Some(started) = self.relay.on_request(cx, request) {
            *session = Session::Relay(started);
            return true;
        }
        if !self.pushi.goes_first(request)
            && let Some(started) = self.pusher.on_request(cx, request)
        {
            *session = Session::Pusher(started);
            return true;
        }
        if let Some(started) = self.pushi.on_request(cx, request) {
            *session = Session::Pushi(started);
            return true;
        }
        false
    }

    /// The cross-origin lines of an answer that the shard itself gives to a request, so that pages may read it.
    pub fn cross_origin(&self, listener: u16, request: &Request<'_>) -> Bytes {
        self.relay.cross_origin(listener, request)
    }

    /// A WebSocket that is over a limit of the node: it is opened, for pages are not told why one was not, and closed
    /// with what makes clients come back later.
    pub fn turn_away(&self, cx: &mut Context<'_>, request: &Request<'_>, reason: &'static str) {
        if !self.pusher.turn_away(cx, request) {
            upgrade::turn_away(cx, request, reason);
        }
    }

    /// A home has answered the command or subscription `tag`.
    pub fn on_answer(&self, cx: &mut Context<'_>, session: &mut Session, tag: u16, answer: Answer) {
        match session {
            Session::Relay(session) => self.relay.on_answer(cx, session, tag, answer),
            Session::Pusher(session) => self.pusher.on_answer(cx, session, tag, answer),
            Session::Pushi(session) => self.pushi.on_answer(cx, session, tag, answer),
            Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }

    /// A home has answered the publish of a request that was like an earlier one.
    pub fn on_repeated(&self, cx: &mut Context<'_>, repeated: &relay::publisher::Repeated, answer: Answer) {
        repeated.on_answer(cx, answer);
    }

    /// A publication for a subscription with [`crate::dialect::Form::SESSION`], or one that its form leaves to the
    /// session ([`crate::dialect::encode::is_by_session`]).
    pub fn on_publication(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        publication: &Arc<Publication>,
    ) {
        match session {
            Session::Relay(session) => self.relay.on_publication(cx, session, tag, publication),
            Session::Pushi(session) => self.pushi.on_publication(cx, session, tag, publication),
            // They make no such subscriptions.
            Session::Pusher(_) | Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }

    /// Somebody has come or gone, for a subscription with [`crate::dialect::Form::SESSION_ANNOUNCED`] or one that is told
    /// beside its frame ([`crate::dialect::encode::is_told_too`]).
    pub fn on_announcement(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        announcement: &Arc<Announcement>,
    ) {
        match session {
            Session::Pusher(session) => self.pusher.on_announcement(cx, session, tag, announcement),
            Session::Pushi(session) => self.pushi.on_announcement(cx, session, tag, announcement),
            // They make no such subscriptions.
            Session::Relay(_) | Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }

    /// The apps are other ones from now on.
    pub fn on_apps(&self, cx: &mut Context<'_>, session: &mut Session) {
        match session {
            Session::Pusher(session) => self.pusher.on_apps(cx, session),
            Session::Pushi(session) => self.pushi.on_apps(cx, session),
            Session::Relay(_) | Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }

    /// The app that it wanted ([`crate::dialect::Action::CreateApp`]) is there, or is not.
    pub fn on_app(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        _tag: u16,
        outcome: Result<Arc<App>, AppRefusal>,
    ) {
        match session {
            Session::Pushi(session) => self.pushi.on_app(cx, session, outcome),
            // They make none.
            Session::Relay(_) | Session::Admin(_) | Session::Echo(_) | Session::Pusher(_) | Session::None => {
            }
        }
    }

    /// What it wanted to take back ([`crate::dialect::Action::Revoke`]) is taken back, and so many sessions were ended for
    /// it; or not.
    pub fn on_revocation(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        _tag: u16,
        outcome: &Result<u64, RevokeError>,
    ) {
        if let Session::Admin(session) = session {
            session.on_revocation(cx, outcome); // nobody else revokes
        }
    }

    /// A home has ended the subscription `tag`.
    pub fn on_ended(&self, cx: &mut Context<'_>, session: &mut Session, tag: u16, reason: Ended) {
        match session {
            Session::Relay(session) => self.relay.on_ended(cx, session, tag, reason),
            Session::Pusher(session) => self.pusher.on_ended(cx, session, tag, reason),
            Session::Pushi(session) => self.pushi.on_ended(cx, session, tag, reason),
            Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }

    /// A WebSocket message has arrived.
    pub fn on_message(&self, cx: &mut Context<'_>, session: &mut Session, message: Message<'_>) {
        match session {
            Session::Relay(session) => self.relay.on_message(cx, session, message),
            Session::Echo(session) => session.on_message(cx, message),
            Session::Pusher(session) => self.pusher.on_message(cx, session, message),
            Session::Pushi(session) => self.pushi.on_message(cx, session, message),
            Session::Admin(_) | Session::None => {}
        }
    }

    /// A back end has answered the hook `tag`, or did not.
    pub fn on_hook(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        answer: Result<HookAnswer, HookFailure>,
    ) {
        if let Session::Relay(session) = session {
            self.relay.on_hook(cx, session, tag, answer);
        }
    }

    /// The store has done the job `tag`, or has not.
    pub fn on_stored(&self, cx: &mut Context<'_>, session: &mut Session, _tag: u16, outcome: Outcome) {
        match session {
            Session::Pushi(session) => self.pushi.on_stored(cx, session, &outcome),
            // They ask for none.
            Session::Relay(_) | Session::Pusher(_) | Session::Admin(_) | Session::Echo(_) | Session::None => {
            }
        }
    }

    /// What has let the session in is taken back ([`Session::is_revoked_by`]).
    pub fn on_revoked(&self, cx: &mut Context<'_>, session: &mut Session) {
        match session {
            Session::Relay(session) => self.relay.on_revoked(cx, session),
            Session::Pusher(session) => self.pusher.on_revoked(cx, session),
            Session::Pushi(session) => self.pushi.on_revoked(cx, session),
            Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }

    /// The session's deadline has passed.
    pub fn on_deadline(&self, cx: &mut Context<'_>, session: &mut Session) {
        match session {
            Session::Relay(session) => self.relay.on_deadline(cx, session),
            Session::Pusher(session) => self.pusher.on_deadline(cx, session),
            Session::Pushi(session) => self.pushi.on_deadline(cx, session),
            Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }

    /// The peer has sent more while the exchange is open.
    pub fn on_next_request(&self, cx: &mut Context<'_>, session: &mut Session) {
        if let Session::Relay(session) = session {
            self.relay.on_next_request(cx, session);
        }
    }

    /// The node stops: end the session in its own way.
    pub fn on_drain(&self, cx: &mut Context<'_>, session: &mut Session, why: Drain) {
        match session {
            Session::Relay(session) => self.relay.on_drain(cx, session, why),
            Session::Echo(session) => session.on_drain(cx),
            Session::Pusher(session) => self.pusher.on_drain(cx, session, why),
            Session::Pushi(session) => self.pushi.on_drain(cx, session),
            // Its answer comes soon, and ends the connection.
            Session::Admin(_) | Session::None => {}
        }
    }

    /// The connection is gone; nothing can be sent any more.
    pub fn on_closed(&self, cx: &mut Context<'_>, session: &mut Session) {
        debug_assert!(!matches!(session, Session::None), "nothing is open, or its end was told before");
        match &mut std::mem::take(session) {
            Session::Relay(session) => self.relay.on_closed(cx, session),
            Session::Pushi(session) => self.pushi.on_closed(cx, session),
            Session::Pusher(_) | Session::Admin(_) | Session::Echo(_) | Session::None => {}
        }
    }
}
