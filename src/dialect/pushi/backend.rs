//! One request of a back end (pushi.md section 9): from the session token to the answers of homes and store and back.

use super::answer::{self, Answer, ApiError};
use super::asks::glance;
use super::body::{Publish, app_name};
use super::grants::may_publish;
use super::handshake::SocketId;
use super::publish::{Outgoing, Random, Reached, Sent, put};
use super::query::{Params, form_of};
use super::register::Undo;
use super::registry::app_document;
use super::route::{self, Action as Asks, Route, route};
use super::token::{self, Token};
use super::{APP_EVENTS, Pushi, State, form};
use crate::channel::store::Outcome;
use crate::channel::{ChannelKey, Position, Publication, Refusal, SessionId};
use crate::dialect::app::{App, AppRefusal, AppSettings};
use crate::dialect::http::{Http, finish, refuse_origin};
use crate::dialect::session::Session as AnySession;
use crate::dialect::{Action, Context, Form};
use crate::limits::{PUSHI_APP_NAME_BYTES, PUSHI_EVENTS_DEFAULT, PUSHI_EVENTS_PER_ANSWER};
use crate::wire::http::request::{Method, Request};
use crate::wire::sign::{Signature, hmac_sha256, same_text};
use bytes::Bytes;
use std::sync::Arc;

/// The one question that is open at a time.
pub(super) const TAG: u16 = 0;
/// All those to keep an event beside its channel.
const FILED_TAG: u16 = 1;

/// A request that waits for a home or for the store.
#[derive(Debug)]
pub struct Exchange {
    http: Http,
    origin: Option<Bytes>,
    pub(super) asked: Asked,
    /// The session's token, if it is one.
    token: Option<Token>,
    step: Step,
}

/// What is kept of a request while it waits.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    method_text: String,
    /// As sent, without the query.
    path: String,
    pub(super) params: Params,
    pub(super) body: Bytes,
}

/// What is waited for.
#[derive(Debug)]
pub(super) enum Step {
    /// What is known of the token.
    Token,
    /// That a new token is noted.
    Login(Token),
    /// That it counts no longer.
    Logout,
    /// That the event is published in one channel.
    Publish(Box<Publishing>),
    /// Events of the app.
    Events(Arc<App>),
    /// That an app is made.
    App,
    /// That the store has it; then this is the answer. If it does not, this is undone.
    Store(Answer, Undo),
}

/// An event on its way through its channels.
#[derive(Debug)]
pub(super) struct Publishing {
    app: Arc<App>,
    outgoing: Outgoing,
    channels: Vec<String>,
    /// Where it was published, in order.
    earlier: Vec<(Arc<ChannelKey>, Position)>,
    /// Where it is being published.
    now: Option<(Arc<ChannelKey>, Sent)>,
    /// Answers that are still to come of those who keep it beside the channels.
    filing: usize,
    reached: Reached,
}

/// How a request goes on.
pub(super) enum Next {
    /// With its answer.
    Answer(Answer),
    /// When something else has happened.
    Wait(Step),
}

/// Whether a request goes to a path of both protocols (`/apps/ID/events`), and a session token says that it is of this
/// one.
pub fn is_with_token(request: &Request<'_>) -> bool {
    let target = request.target_parts();
    let shared = target.path_raw.starts_with("/apps/") && target.path_raw.ends_with("/events");
    shared && target.arg("auth_signature").is_none() && {
        let params =
            Params::parse(target.query_raw.unwrap_or_default(), form_of(&request.headers, request.body));
        params.token(&request.headers).is_some()
    }
}

impl Pushi {
    /// A back end asks for something; `None`: for nothing that is known here.
    pub(super) fn ask(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Option<State> {
        let target = request.target_parts();
        let origin = request.headers.get("origin");
        if request.method == Method::Options {
            return self.preflight(cx, request, origin);
        }
        let found = route(request.method, target.path_raw)?;
        if refuse_origin(cx, request, &self.settings.origins) {
            return Some(State::Over);
        }
        if let Some(shard) = elsewhere(cx, &found) {
            cx.act(Action::Move { shard });
            return Some(State::Over);
        }
        let form = form_of(&request.headers, request.body);
        let params = Params::parse(target.query_raw.unwrap_or_default(), form);
        let token = params.token(&request.headers).and_then(Token::parse);
        let mut exchange = Exchange {
            http: Http::of(request),
            origin: origin.map(Bytes::copy_from_slice),
            asked: Asked {
                method: request.method,
                method_text: request.method_text.to_owned(),
                path: target.path_raw.to_owned(),
                params,
                body: Bytes::copy_from_slice(request.body),
            },
            token,
            step: Step::Token,
        };
        let next = self.begin(cx, &exchange, &found);
        let is_over = exchange.go_on(cx, next);
        Some(if is_over { State::Over } else { State::Backend(Box::new(exchange)) })
    }

    /// A browser asks what it may send. Its question has to be answered with success before it sends anything: with the
    /// 404 of the protocol's server no page could have used this interface.
    fn preflight(&self, cx: &mut Context<'_>, request: &Request<'_>, origin: Option<&[u8]>) -> Option<State> {
        let wanted = request.headers.get("access-control-request-method")?;
        let method = Method::from_text(std::str::from_utf8(wanted).ok()?);
        route(method, request.target_parts().path_raw)?;
        answer::is_preflight(&request.headers).then(|| {
            if refuse_origin(cx, request, &self.settings.origins) {
                return State::Over;
            }
            finish(cx, Http::of(request), &Answer::preflight().response(origin), &[]);
            State::Over
        })
    }

    fn begin(&self, cx: &mut Context<'_>, exchange: &Exchange, found: &Route<'_>) -> Result<Next, ApiError> {
        let look_up = |cx: &mut Context<'_>, token: &Token| {
            let key = self.hidden(token.app, &token.channel());
            let ask = Box::new(glance(&self.token_policy, self.token_policy.max_messages));
            cx.act(Action::Subscribe { key, form: Form::SESSION, ask, tag: TAG });
            Ok(Next::Wait(Step::Token))
        };
        match (&found.action, &exchange.token) {
            (Asks::Login, _) => self.login(cx, &exchange.asked.params),
            (Asks::Logout, Some(token)) => look_up(cx, token),
            (Asks::Logout, None) => Ok(Next::Answer(Answer::success())),
            (Asks::Health(which), _) => Ok(Next::Answer(Answer::health(*which, self.settings.durable))),
            (Asks::VapidKey, _) => Err(ApiError::Runtime("Web push is not set up")),
            (Asks::CreateApp, _) => self.create_app(cx, &exchange.asked),
            (_, Some(token)) => look_up(cx, token),
            (_, None) => Err(ApiError::NotAuthenticated),
        }
    }

    fn login(&self, cx: &mut Context<'_>, params: &Params) -> Result<Next, ApiError> {
        let missing = ApiError::Type("login() needs app_id, app_key and app_secret");
        let (Some(id), Some(key), Some(secret)) =
            (params.get("app_id"), params.get("app_key"), params.get("app_secret"))
        else {
            return Err(missing);
        };
        let app = cx.apps.by_id(id).filter(|app| {
            let settings = &app.settings;
            let is_key = same_text(&settings.key, key);
            let is_secret = same_text(&settings.secret, secret);
            settings.enabled && is_key && is_secret
        });
        let number = app.ok_or(ApiError::NotFound("App not found"))?.number;
        let token = Token::new(number, self.unguessable(cx, "token"));
        self.note(cx, &token, token.note());
        Ok(Next::Wait(Step::Login(token)))
    }

    /// 64 hex digits that follow from nothing that anybody outside can know.
    fn unguessable_text(&self, cx: &Context<'_>, what: &str) -> Signature {
        let seed = format!("{what} {} {} {} {}", cx.random, cx.now.mono_ns, cx.shard, cx.slot);
        hmac_sha256(&self.secret, seed.as_bytes())
    }

    fn unguessable(&self, cx: &Context<'_>, what: &str) -> [u64; 4] {
        let digest = self.unguessable_text(cx, what);
        let number =
            |at: usize| u64::from_str_radix(&digest.as_str()[at * 16..at * 16 + 16], 16).unwrap_or(0);
        [number(0), number(1), number(2), number(3)]
    }

    /// Makes an app for whoever asks, where that is switched on (section 9.3).
    fn create_app(&self, cx: &mut Context<'_>, asked: &Asked) -> Result<Next, ApiError> {
        if !self.settings.open_apps {
            return Err(ApiError::Forbidden("Apps are made by who runs the node: pushi.open_apps is off"));
        }
        let mut tools = cx.tools.pushi.take().unwrap_or_default();
        let name = app_name(&asked.params, &mut tools.reader, &asked.body);
        cx.tools.pushi = Some(tools);
        let wrong = |text| Err(ApiError::Validation(vec![("name", text)]));
        let name = match name {
            None => return wrong("value is not set"),
            Some(name) if name.is_empty() => return wrong("value is empty"),
            Some(name) if name.len() > PUSHI_APP_NAME_BYTES => return wrong("value is too long"),
            Some(name) if cx.apps.iter().any(|app| app.settings.name() == name) => {
                return wrong("value is duplicate");
            }
            Some(name) => name,
        };
        let [id, key, secret] = ["id", "key", "secret"].map(|what| self.unguessable_text(cx, what));
        let settings = AppSettings { name, ..AppSettings::new(id.as_str(), key.as_str(), secret.as_str()) };
        cx.act(Action::CreateApp { settings: Box::new(settings), tag: TAG });
        Ok(Next::Wait(Step::App))
    }

    /// Files a note about a token; the answer comes.
    fn note(&self, cx: &mut Context<'_>, token: &Token, note: crate::channel::Message) {
        let key = self.hidden(token.app, &token.channel());
        cx.act(Action::Command { key, command: put(note, &self.token_policy), tag: TAG });
    }

    /// The token counts: does what is asked.
    fn run(
        &self,
        cx: &mut Context<'_>,
        asked: &Asked,
        token: &Token,
        found: &Route<'_>,
    ) -> Result<Next, ApiError> {
        let app = cx.apps.get(token.app).filter(|app| app.settings.enabled).cloned();
        let app = app.ok_or(ApiError::NotAuthenticated)?;
        if found.old_app.as_ref().is_some_and(|id| **id != *app.settings.id) {
            return Err(ApiError::Runtime("The app is not the one of the session"));
        }
        let is_old = found.old_app.is_some();
        match &found.action {
            Asks::Logout => {
                self.note(cx, token, token.end());
                Ok(Next::Wait(Step::Logout))
            }
            Asks::ListApps => Ok(Next::Answer(Answer::list("apps", std::iter::once(document(&app))))),
            Asks::ShowApp(id) if **id == *app.settings.id => Ok(Next::Answer(Answer::json(document(&app)))),
            Asks::UpdateApp(id) if **id == *app.settings.id => {
                cx.refused("pushi_app", format!("app {id}: its fields are set where the node is configured"));
                Ok(Next::Answer(Answer::text(app.settings.name())))
            }
            Asks::ShowApp(_) | Asks::UpdateApp(_) => Err(ApiError::NotFound("App not found")),
            Asks::Ping => Ok(Next::Answer(Answer::success())),
            Asks::Publish => self.begin_publish(cx, asked, &app),
            Asks::ListEvents => {
                let count = asked.params.get("count").and_then(|count| count.parse().ok());
                let count = count.unwrap_or(PUSHI_EVENTS_DEFAULT).min(PUSHI_EVENTS_PER_ANSWER);
                let key = self.hidden(app.number, APP_EVENTS);
                let ask = Box::new(glance(&self.app_policy, count));
                cx.act(Action::Subscribe { key, form: Form::SESSION, ask, tag: TAG });
                Ok(Next::Wait(Step::Events(app)))
            }
            Asks::List(kind) => Ok(Next::Answer(self.list(&app, *kind, asked))),
            Asks::Register(kind) => self.register(cx, &app, *kind, asked, is_old),
            Asks::Remove { kind, subject, channel } => {
                let named = (subject.as_deref(), channel.as_deref());
                self.remove(cx, &app, *kind, named, asked, is_old)
            }
            Asks::ListSockets => Err(ApiError::Runtime("Connections cannot be listed")),
            Asks::ShowSocket(id) => Ok(Next::Answer(channels_of(cx, &app, id))),
            Asks::Send(adapter) => self.send(cx, asked, *adapter).map(Next::Answer),
            Asks::Login | Asks::CreateApp | Asks::VapidKey | Asks::Health(_) => {
                Err(ApiError::NotAuthenticated)
            }
        }
    }

    fn begin_publish(&self, cx: &mut Context<'_>, asked: &Asked, app: &Arc<App>) -> Result<Next, ApiError> {
        let mut tools = cx.tools.pushi.take().unwrap_or_default();
        let read = Publish::parse(&mut tools.reader, &asked.body);
        cx.tools.pushi = Some(tools);
        let event = read?;
        may_publish(cx, app, &event.channels)?;
        if !app.admit_events(event.channels.len() as u32, cx.now.mono_ms()) {
            return Err(ApiError::Busy("The app publishes too fast"));
        }
        let mut publishing = Box::new(Publishing {
            app: app.clone(),
            outgoing: Outgoing {
                event: event.event.into(),
                data: event.data.into(),
                extra: event.extra,
                persist: event.persist,
                owner: None,
                except: None,
                user_id: None,
            },
            channels: event.channels,
            earlier: Vec::new(),
            now: None,
            filing: 0,
            reached: Reached::default(),
        });
        publishing.next(self, cx);
        Ok(publishing.go_on())
    }
}

impl Publishing {
    /// Publishes in the next channel, if there is one. One after the other: whether a connection gets it by a channel
    /// depends on those before (trap 19).
    fn next(&mut self, pushi: &Pushi, cx: &mut Context<'_>) {
        let channel = self.channels.get(self.earlier.len());
        self.now =
            channel.map(|channel| pushi.publish(cx, &self.app, channel, &self.outgoing, &self.earlier, TAG));
    }

    /// It was published in its channel; or one that keeps it beside has it (or has no room for it, which is that one's
    /// loss and not the publisher's).
    fn on_answer(&mut self, pushi: &Pushi, cx: &mut Context<'_>, tag: u16, position: Option<Position>) {
        if tag == FILED_TAG {
            self.filing = self.filing.saturating_sub(1);
            return;
        }
        if let (Some((key, sent)), Some(position)) = (self.now.take(), position) {
            self.filing += pushi.follow(cx, &self.app, &sent, &mut self.reached, Some(FILED_TAG));
            self.earlier.push((key, position));
        }
        self.next(pushi, cx);
    }

    /// Answered when everybody has it: what was acknowledged is kept everywhere.
    fn go_on(self: Box<Self>) -> Next {
        match self.now.is_none() && self.filing == 0 {
            true => Next::Answer(Answer::success()),
            false => Next::Wait(Step::Publish(self)),
        }
    }
}

/// The shard that has to answer instead of this one.
fn elsewhere(cx: &Context<'_>, found: &Route<'_>) -> Option<u16> {
    let Asks::ShowSocket(id) = &found.action else { return None };
    let shard = SessionId(SocketId::parse(id)?.number()).shard();
    (shard != cx.shard && shard < cx.shards).then_some(shard)
}

/// The channels of a connection; none where it is not one of this app, or gone.
fn channels_of(cx: &Context<'_>, app: &App, id: &str) -> Answer {
    let socket = SocketId::parse(id);
    let session = socket.and_then(|socket| cx.sessions.session(SessionId(socket.number())));
    let client = match session {
        Some(AnySession::Pushi(session)) => session.client(),
        _ => None,
    };
    let client = client.filter(|client| socket.is_some_and(|socket| client.is(socket, app.number)));
    match client {
        Some(client) => Answer::channels(client.channel_names()),
        None => Answer::channels(std::iter::empty()),
    }
}

fn document(app: &App) -> Vec<u8> {
    let settings = &app.settings;
    app_document(&settings.id, &settings.key, &settings.secret, settings.name(), u64::from(app.number) + 1)
}

impl Exchange {
    /// A home has answered. Returns whether the exchange is over.
    pub fn on_answer(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        tag: u16,
        answer: crate::channel::Answer,
    ) -> bool {
        use crate::channel::Answer as Home;
        let step = std::mem::replace(&mut self.step, Step::Token);
        let busy = |label: &'static str| Err(ApiError::Busy(label));
        let next = match (step, answer) {
            (Step::Token, Home::Subscribed(found)) => self.with_token(pushi, cx, &found.backlog),
            (Step::Token, _) => Err(ApiError::NotAuthenticated),
            (Step::Publish(mut publishing), answer) if tag == FILED_TAG => {
                if let Home::Refused(refusal) = answer {
                    cx.refused(refusal.label(), "an event is not among those of its user or app");
                }
                publishing.on_answer(pushi, cx, tag, None);
                Ok(publishing.go_on())
            }
            (Step::Events(_), Home::Refused(Refusal::NotFound)) => {
                // Nothing was published in this app yet.
                Ok(Next::Answer(Answer::list("events", std::iter::empty::<&[u8]>())))
            }
            (_, Home::Refused(refusal)) => busy(refusal.label()),
            (Step::Login(token), _) => Ok(Next::Answer(Answer::login(&token.text, cx.now.unix_s()))),
            (Step::Publish(mut publishing), Home::Published { position, .. }) => {
                publishing.on_answer(pushi, cx, tag, Some(position));
                Ok(publishing.go_on())
            }
            (Step::Events(app), Home::Subscribed(found)) => {
                let key = pushi.hidden(app.number, APP_EVENTS);
                Ok(Next::Answer(events(&app, &key, &found.backlog)))
            }
            (Step::Logout | Step::Publish(_) | Step::Events(_) | Step::App | Step::Store(..), _) => {
                Ok(Next::Answer(Answer::success()))
            }
        };
        self.go_on(cx, next)
    }

    fn with_token(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        notes: &[Arc<Publication>],
    ) -> Result<Next, ApiError> {
        let found = route(self.asked.method, &self.asked.path).ok_or(ApiError::NotAuthenticated)?;
        let token = self.token.as_ref().ok_or(ApiError::NotAuthenticated)?;
        match token.state(notes, cx.now) {
            token::State::Unknown if found.action == Asks::Logout => Ok(Next::Answer(Answer::success())),
            token::State::Unknown => Err(ApiError::NotAuthenticated),
            state => {
                if state == token::State::Aged {
                    let key = pushi.hidden(token.app, &token.channel());
                    cx.act(Action::Tell { key, command: put(token.note(), &pushi.token_policy) });
                }
                pushi.run(cx, &self.asked, token, &found)
            }
        }
    }

    /// The store has it, or has not.
    pub fn on_stored(&mut self, pushi: &Pushi, cx: &mut Context<'_>, outcome: &Outcome) {
        let next = match (std::mem::replace(&mut self.step, Step::Token), outcome) {
            (Step::Store(answer, _), Ok(_)) => Ok(Next::Answer(answer)),
            (Step::Store(_, undo), Err(error)) => {
                pushi.undo(undo);
                cx.refused(error.label(), error.to_string());
                Err(ApiError::Busy("The store cannot take it"))
            }
            _ => Err(ApiError::Busy("The store answered too late")),
        };
        self.go_on(cx, next);
    }

    /// The app is there, or is not.
    pub fn on_app(&mut self, cx: &mut Context<'_>, outcome: Result<Arc<App>, AppRefusal>) {
        let next = match outcome {
            Ok(app) => Ok(Next::Answer(Answer::json(document(&app)))),
            Err(refusal) => {
                cx.refused("pushi_create_app", refusal.to_string());
                Err(match refusal {
                    AppRefusal::TooMany => ApiError::Limit("There is room for no more apps"),
                    _ => ApiError::Busy("The app cannot be made just now"),
                })
            }
        };
        self.go_on(cx, next);
    }

    /// Answers, or waits on. Returns whether the exchange is over.
    fn go_on(&mut self, cx: &mut Context<'_>, next: Result<Next, ApiError>) -> bool {
        let answer = match next {
            Ok(Next::Wait(step)) => {
                self.step = step;
                return false;
            }
            Ok(Next::Answer(answer)) => answer,
            Err(error) => self.refuse(cx, &error),
        };
        finish(cx, self.http, &answer.response(self.origin.as_deref()), &[]);
        true
    }

    fn refuse(&self, cx: &mut Context<'_>, error: &ApiError) -> Answer {
        let Asked { method_text, path, .. } = &self.asked;
        cx.refused("pushi_api", format!("{method_text} {path}: {} {}", error.status(), error.message()));
        let mut random = Random(cx.random);
        let mut uid = [0; 16];
        uid[..8].copy_from_slice(&random.next().to_be_bytes());
        uid[8..].copy_from_slice(&random.next().to_be_bytes());
        error.answer(uid, self.token.as_ref().map(|token| &*token.text))
    }
}

/// Stored events of an app, newest first.
fn events(app: &App, key: &ChannelKey, backlog: &[Arc<Publication>]) -> Answer {
    let documents = backlog.iter().rev().map(|publication| {
        let mut out = Vec::new();
        form::stored(&mut out, key, publication, &app.settings.id, true);
        out
    });
    Answer::list("events", documents)
}

/// Kinds whose subject is named by the query or the path, and otherwise missing.
pub(super) fn named<'a>(
    kind: route::Kind,
    given: Option<&'a str>,
    params: &'a Params,
) -> Result<&'a str, ApiError> {
    let name = kind.subject_field();
    given
        .or_else(|| params.filled(name))
        .ok_or_else(|| ApiError::Validation(vec![(name, "value is not set")]))
}
