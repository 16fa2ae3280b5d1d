//! The relay: publisher and subscriber locations over plain HTTP, as nchan and the HTTP push relay family have them.
//!
//! [`Relay`] holds the locations as compiled; a [`Session`] is one exchange. [`location`] finds whose request it
//! is, [`publisher`] and [`subscriber`] begin exchanges, [`poll`], [`stream`] and [`websocket`] carry them on.
//! [`form`] makes the frames that the shard shares between subscribers.

pub mod admin;
pub mod admission;
pub mod events;
pub mod exchange;
pub mod form;
pub mod hooks;
pub mod info;
pub mod location;
pub mod multi;
pub mod poll;
pub mod position;
pub mod publisher;
mod seat;
pub mod settings;
pub mod stream;
pub mod subscriber;
pub mod template;
pub mod websocket;

#[cfg(test)]
mod tests;

use crate::channel::hook::{HookAnswer, HookCall, HookFailure};
use crate::channel::{Answer, Ended, KeyHasher, Publication};
use crate::dialect::grant::Pass;
use crate::dialect::session::Message;
use crate::dialect::{Action, Context, Drain};
use crate::limits::{HTTP_HEADERS, HttpLimits, RELAY_STORES};
use crate::wire::http::cors;
use crate::wire::http::request::{self, Event, Lines, Reader, Request};
use crate::wire::http::response::Response;
use crate::wire::multipart::Boundary;
use crate::wire::ws::close;
use admission::Passed;
use bytes::Bytes;
use exchange::{Ask, Http};
use form::{Forms, Kind, Variant};
use location::{Captures, Location, Path, Surroundings};
use settings::{LocationMethods, RelaySettings, SettingsMistake};
use std::sync::Arc;

/// All locations as compiled. Shared by all shards.
pub struct Relay {
    locations: Box<[Location]>,
    stores: Box<[String]>,
    forms: Forms,
    hasher: KeyHasher,
}

/// One exchange: a request until it is answered, or a stream until it ends.
#[derive(Debug)]
pub struct Session {
    /// When the stream began, monotonic milliseconds.
    since_ms: u64,
    /// Intervals of pings that have passed.
    pings: u32,
    location: u16,
    http: Http,
    /// How messages go out.
    kind: Kind,
    state: State,
}

// An idle subscriber is little more than this.
const _: () = assert!(size_of::<Session>() <= 32);

/// What a session waits for.
#[derive(Debug)]
enum State {
    /// Nothing: it was answered.
    Over,
    /// A hook.
    Waiting(Box<Waiting>),
    /// Homes, to answer a publisher.
    Publishing(Box<publisher::Publishing>),
    /// A group's home.
    Question(Box<admin::Question>),
    /// Homes, or the first message.
    Poll(Box<poll::Poll>),
    /// Homes, before the stream begins.
    Opening(Box<stream::Opening>),
    /// The end. A plain subscriber of one channel owns nothing.
    Stream(Option<Box<stream::Extra>>),
    /// Messages of a socket that only publishes.
    Socket(Box<websocket::Publisher>),
}

/// A request that waits for a hook.
#[derive(Debug)]
struct Waiting {
    /// The request as bytes; it is read again when the answer is there.
    request: Vec<u8>,
    stage: Stage,
}

/// What the application is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Whether a grant lets the request in.
    Grant,
    /// Whether it may go on.
    Authorize,
    /// What becomes of its message.
    Upstream,
}

impl Waiting {
    /// Asks the application whether the request may go on.
    fn authorize(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, call: HookCall) {
        Waiting::start(cx, ask, session, call, Stage::Authorize);
    }

    /// Shows the application a message.
    fn upstream(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, call: HookCall) {
        Waiting::start(cx, ask, session, call, Stage::Upstream);
    }

    /// Asks the application for a grant.
    fn grant(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, call: HookCall) {
        Waiting::start(cx, ask, session, call, Stage::Grant);
    }

    fn start(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, call: HookCall, stage: Stage) {
        let waiting = Waiting { request: request::serialize(ask.request), stage };
        session.state = State::Waiting(Box::new(waiting));
        cx.act(Action::Hook { call: Box::new(HookCall { answer: true, ..call }), tag: Some(0) });
    }
}

impl Relay {
    /// Compiles the locations.
    ///
    /// `listeners` has the name of each listener as the settings spell it, in the order of their numbers, and
    /// whether it is a public one; `apps` has the ids of the configured apps. `random` makes the boundary of multipart messages, which nobody shall guess.
    ///
    /// # Errors
    /// Every mistake found, those of [`RelaySettings::validate`] included.
    pub fn new(
        settings: &RelaySettings,
        listeners: &[(&str, bool)],
        apps: &[&str],
        hasher: KeyHasher,
        random: &[u8; 24],
    ) -> Result<Relay, Vec<SettingsMistake>> {
        let mut mistakes = settings.validate();
        let mut around = Surroundings { listeners, apps, stores: Vec::new() };
        let (mut locations, mut variants) = (Vec::new(), Vec::new());
        for (number, settings) in settings.locations.iter().enumerate() {
            match Location::compile(settings, &mut around) {
                Ok(mut location) => {
                    location.variant = place(&mut variants, location.form_variant());
                    locations.push(location);
                }
                Err((key, message)) => mistakes.push(SettingsMistake { location: number, key, message }),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let forms = Forms::new(variants, Boundary::new(random));
        let stores = around.stores.into();
        Ok(Relay { locations: locations.into(), stores, forms, hasher })
    }

    /// The stores that are no app's, with the number that stands for each in [`ChannelKey`].
    ///
    /// [`ChannelKey`]: crate::channel::ChannelKey
    pub fn stores(&self) -> impl Iterator<Item = (u32, &str)> {
        (RELAY_STORES..).zip(self.stores.iter().map(String::as_str))
    }

    /// The forms that every shard's encoder needs.
    pub fn forms(&self) -> Forms {
        self.forms.clone()
    }

    /// The cross-origin lines that an answer to this request has, where the shard gives it.
    pub fn cross_origin(&self, listener: u16, request: &Request<'_>) -> Bytes {
        let target = request.target_parts();
        let Some(path) = Path::new(target.path_raw) else { return Bytes::new() };
        let found = self.find(listener, &path);
        found.map_or_else(Bytes::new, |(index, captures)| {
            self.ask(index, request, &captures).lines(cors::Answer::Plain)
        })
    }

    /// Takes a request if one of its locations has the path.
    pub fn on_request(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Option<Session> {
        let target = request.target_parts();
        let path = Path::new(target.path_raw)?;
        let (index, captures) = self.find(cx.listener, &path)?;
        let ask = self.ask(index, request, &captures);
        Some(self.begin(cx, &ask, Passed::default()))
    }

    /// The first location of a listener that has the path.
    fn find<'p>(&self, listener: u16, path: &'p Path<'_>) -> Option<(u16, Captures<'p>)> {
        let mut found = self.locations.iter().enumerate().filter(|(_, location)| location.is_on(listener));
        found.find_map(|(index, location)| Some((index as u16, location.find(path)?)))
    }

    fn ask<'a>(&'a self, index: u16, request: &'a Request<'a>, captures: &'a Captures<'a>) -> Ask<'a> {
        let location = self.location(index);
        Ask {
            index,
            location,
            request,
            captures,
            hasher: &self.hasher,
            forms: &self.forms,
            http: Http::of(request),
            cors: location.cors(request.headers.get("origin")),
        }
    }

    /// Location `index`. Indices come from this relay only.
    fn location(&self, index: u16) -> &Location {
        &self.locations[usize::from(index)]
    }

    fn begin(&self, cx: &mut Context<'_>, ask: &Ask<'_>, passed: Passed) -> Session {
        let mut session = Session {
            since_ms: cx.now.mono_ms(),
            pings: 0,
            location: ask.index,
            http: ask.http,
            kind: Kind::PollHead,
            state: State::Over,
        };
        let methods = ask.location.settings.methods;
        let is_get = matches!(ask.request.method, request::Method::Get | request::Method::Options);
        if !ask.cors.allowed {
            ask.refuse(cx, 403, "origin", "This origin is not allowed here.");
        } else if methods == LocationMethods::Group {
            admin::group(cx, ask, &mut session);
        } else if methods == LocationMethods::Status {
            admin::status(cx, ask);
        } else if location::subscribes(methods, is_get) {
            subscriber::begin(cx, ask, &mut session, passed);
        } else {
            publisher::begin(cx, ask, &mut session, passed);
        }
        session
    }

    /// A home has answered.
    pub fn on_answer(&self, cx: &mut Context<'_>, session: &mut Session, tag: u16, answer: Answer) {
        let location = self.location(session.location);
        let mut state = session.take();
        let over = match &mut state {
            State::Publishing(publishing) => publishing.on_answer(cx, session.http, tag, answer),
            State::Question(question) => {
                question.on_answer(cx, session, &answer);
                true
            }
            State::Poll(poll) => poll.on_answer(cx, &self.forms, location, session, tag, answer),
            State::Opening(opening) => {
                match opening.on_answer(cx, &self.forms, location, session, tag, answer) {
                    Some(next) => {
                        state = next;
                        false
                    }
                    None => false,
                }
            }
            State::Socket(publisher) => !publisher.on_answer(cx, tag, &answer),
            State::Stream(Some(extra)) => match &mut extra.publisher {
                Some(publisher) => {
                    let over = !publisher.on_answer(cx, tag, &answer);
                    if over {
                        extra.leave(cx);
                    }
                    over
                }
                None => false,
            },
            State::Stream(None) | State::Waiting(_) | State::Over => false,
        };
        if !over {
            session.state = state;
        }
    }

    /// A publication for a session that has to look at it.
    pub fn on_publication(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        publication: &Arc<Publication>,
    ) {
        let location = self.location(session.location);
        let mut state = session.take();
        let over = match &mut state {
            State::Poll(poll) => poll.on_publication(cx, &self.forms, location, session, tag, publication),
            State::Opening(opening) => {
                opening.hold_back(tag, publication);
                false
            }
            State::Stream(extra) => {
                let extra = extra.as_deref_mut();
                stream::on_publication(cx, &self.forms, location, session.kind, extra, tag, publication);
                false
            }
            _ => false,
        };
        if !over {
            session.state = state;
        }
    }

    /// A home has ended a subscription; with it, the whole exchange ends (nchan sheet section 3).
    pub fn on_ended(&self, cx: &mut Context<'_>, session: &mut Session, _tag: u16, reason: Ended) {
        let location = self.location(session.location);
        match session.take() {
            State::Poll(mut poll) => poll.end(cx, location, session, reason.into()),
            State::Opening(opening) => opening.end(cx, session, reason.into()),
            State::Stream(extra) => {
                stream::end(cx, session.kind, reason.into());
                leave(cx, extra);
            }
            other => session.state = other,
        }
    }

    /// A WebSocket message has come.
    pub fn on_message(&self, cx: &mut Context<'_>, session: &mut Session, message: Message<'_>) {
        let location = self.location(session.location);
        let mut state = session.take();
        let goes_on = match &mut state {
            State::Socket(publisher) => publisher.on_message(cx, location, message),
            State::Stream(extra) => match extra.as_mut().and_then(|extra| extra.publisher.as_mut()) {
                Some(publisher) => publisher.on_message(cx, location, message),
                None => {
                    cx.refused("websocket_publish", "a subscriber sent a message");
                    cx.act(Action::CloseWebSocket {
                        code: close::POLICY,
                        reason: "Publishing is not allowed here.",
                    });
                    false
                }
            },
            _ => true,
        };
        match state {
            state if goes_on => session.state = state,
            State::Stream(extra) => leave(cx, extra),
            _ => {}
        }
    }

    /// The application has answered a hook, or has not.
    pub fn on_hook(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        tag: u16,
        answer: Result<HookAnswer, HookFailure>,
    ) {
        let location = self.location(session.location);
        match session.take() {
            State::Waiting(waiting) => self.resume(cx, session, *waiting, answer),
            State::Socket(mut publisher) => {
                if publisher.on_hook(cx, location, tag, answer) {
                    session.state = State::Socket(publisher);
                }
            }
            State::Stream(Some(mut extra)) => {
                let publisher = extra.publisher.as_mut();
                if publisher.is_none_or(|publisher| publisher.on_hook(cx, location, tag, answer)) {
                    session.state = State::Stream(Some(extra));
                } else {
                    extra.leave(cx);
                }
            }
            other => session.state = other,
        }
    }

    /// Takes up a request that waited for a hook.
    fn resume(
        &self,
        cx: &mut Context<'_>,
        session: &mut Session,
        mut waiting: Waiting,
        answer: Result<HookAnswer, HookFailure>,
    ) {
        // It was within the limits when it came.
        let limits = HttpLimits {
            head_bytes: usize::MAX >> 1,
            target_bytes: usize::MAX >> 1,
            headers: HTTP_HEADERS,
            body_bytes: usize::MAX >> 1,
        };
        let (mut reader, mut lines) = (Reader::default(), Lines::default());
        let step = reader.step(&mut waiting.request, &mut lines, &limits);
        let request = match &step {
            Ok(request::Step { event: Some(Event::Request(request)), .. }) => request,
            _ => return exchange::finish(cx, session.http.closing(), &Response::new(500), b""),
        };
        let Some(path) = Path::new(request.target_parts().path_raw) else { return };
        let Some(captures) = self.location(session.location).find(&path) else { return };
        let ask = self.ask(session.location, request, &captures);
        if waiting.stage == Stage::Upstream {
            publisher::on_upstream(cx, &ask, session, answer);
        } else if hooks::allows(&answer) {
            // A grant comes first; what it has let in is still judged anew, for time has passed.
            let passed = Passed { grant: true, location: waiting.stage == Stage::Authorize };
            *session = self.begin(cx, &ask, passed);
        } else {
            let is_get = request.method == request::Method::Get;
            let subscriber = location::subscribes(ask.location.settings.methods, is_get);
            hooks::refuse(cx, &ask, subscriber, answer);
        }
    }

    /// The session's deadline has passed.
    pub fn on_deadline(&self, cx: &mut Context<'_>, session: &mut Session) {
        let location = self.location(session.location);
        match session.take() {
            State::Poll(mut poll) => {
                let why = poll.over_at(cx.now.mono_ms());
                if why == poll::Void::Expired {
                    cx.refused("grant_expired", "a poll is ended");
                }
                poll.end(cx, location, session, why);
            }
            State::Socket(_) => {
                cx.refused("grant_expired", "a session is ended");
                stream::end(cx, session.kind, stream::End::Expired);
            }
            State::Stream(extra) => {
                if stream::on_deadline(cx, location, session, extra.as_deref()) {
                    leave(cx, extra);
                } else {
                    session.state = State::Stream(extra);
                }
            }
            other => session.state = other,
        }
    }

    /// What let the session in was revoked.
    pub fn on_revoked(&self, cx: &mut Context<'_>, session: &mut Session) {
        let location = self.location(session.location);
        cx.refused("grant_revoked", "a session is ended");
        match session.take() {
            State::Poll(mut poll) => poll.end(cx, location, session, poll::Void::Revoked),
            State::Opening(opening) => opening.end(cx, session, stream::End::Revoked),
            State::Stream(extra) => {
                stream::end(cx, session.kind, stream::End::Revoked);
                leave(cx, extra);
            }
            State::Socket(_) => stream::end(cx, session.kind, stream::End::Revoked),
            other => session.state = other,
        }
    }

    /// The client has sent its next request while a poll is held: the poll is answered 400 (nchan sheet section 4).
    pub fn on_next_request(&self, cx: &mut Context<'_>, session: &mut Session) {
        let location = self.location(session.location);
        match session.take() {
            State::Poll(mut poll) => poll.end(cx, location, session, poll::Void::NextRequest),
            other => session.state = other,
        }
    }

    /// The node stops. Requests that homes are about to answer are left to it.
    pub fn on_drain(&self, cx: &mut Context<'_>, session: &mut Session, why: Drain) {
        let location = self.location(session.location);
        match session.take() {
            State::Poll(mut poll) => poll.end(cx, location, session, poll::Void::Drain),
            State::Stream(extra) => {
                stream::end(cx, session.kind, stream::End::Drain(why));
                leave(cx, extra);
            }
            State::Socket(_) => stream::end(cx, session.kind, stream::End::Drain(why)),
            other => session.state = other,
        }
    }

    /// The connection is gone.
    pub fn on_closed(&self, cx: &mut Context<'_>, session: &mut Session) {
        match session.take() {
            State::Poll(mut poll) => poll.leave(cx),
            State::Stream(extra) => leave(cx, extra),
            _ => {}
        }
    }
}

impl Session {
    /// What let it in, where that can end.
    pub fn pass(&self) -> Option<&Pass> {
        match &self.state {
            State::Poll(poll) => poll.pass(),
            State::Opening(opening) => opening.pass(),
            State::Stream(Some(extra)) => extra.pass.as_deref(),
            State::Socket(publisher) => publisher.pass.as_deref(),
            _ => None,
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }
}

fn leave(cx: &mut Context<'_>, extra: Option<Box<stream::Extra>>) {
    if let Some(mut extra) = extra {
        extra.leave(cx);
    }
}

/// The number of `variant`, which is added if it is new.
fn place(variants: &mut Vec<Variant>, variant: Variant) -> u16 {
    let at = variants.iter().position(|known| *known == variant).unwrap_or_else(|| {
        variants.push(variant);
        variants.len() - 1
    });
    at as u16
}
