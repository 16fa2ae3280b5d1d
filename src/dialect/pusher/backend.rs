//! One request of a back end (pusher.md section 11): from the signature to the answers of the homes and back.

use super::answer::{self, Attributes, Cached};
use super::api::{self, ApiError, Info, Request, Route, Trigger};
use super::auth::Keys;
use super::client::listen;
use super::grants::may_publish;
use super::name::{Kind, of_user};
use super::{Pusher, State, Tools};
use crate::channel::command::{ChannelInfo, Class, Command, List, Start, Subscribe as Ask};
use crate::channel::{Answer, ChannelKey, Message, Now, Origin, Publication, Refusal, Roster, SessionId};
use crate::dialect::app::App;
use crate::dialect::http::{Http, finish};
use crate::dialect::{Action, Context, Form};
use crate::limits::{PUSHER_CHANNELS_LISTED, PUSHER_RETRY_AFTER_S};
use crate::wire::http::request;
use crate::wire::http::response::Response;
use crate::wire::sign::{ApiCall, ApiQuery};
use bytes::Bytes;
use std::sync::Arc;

/// A request that waits for homes.
#[derive(Debug)]
pub struct Exchange {
    http: Http,
    /// Status of a good answer.
    status: u16,
    /// Answers that are still to come.
    left: usize,
    question: Question,
}

/// What was asked.
#[derive(Debug)]
enum Question {
    /// To publish.
    Publish { shape: Shape, published: Vec<Published>, refused: Option<Refusal>, refusals: usize },
    /// Which channels are occupied.
    Channels { info: Info, found: Vec<(Arc<ChannelKey>, ChannelInfo)> },
    /// What one channel is like.
    Channel { kind: Kind, info: Info },
    /// Who is in a channel.
    Users,
    /// That a user's connections end.
    Terminate,
}

/// What the answer to a publisher looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Nothing was asked for.
    Empty,
    /// By channel.
    Map,
    /// By event.
    List,
}

/// One event in one channel.
#[derive(Debug)]
struct Published {
    key: Arc<ChannelKey>,
    kind: Kind,
    info: Info,
    channel: ChannelInfo,
}

impl Pusher {
    /// A back end asks for something.
    pub(super) fn ask(
        &self,
        cx: &mut Context<'_>,
        request: &request::Request<'_>,
        route: &Route<'_>,
    ) -> State {
        let http = Http::of(request);
        let target = request.target_parts();
        let query = ApiQuery::parse(target.query_raw.unwrap_or_default());
        let app = match &route.app_id {
            Some(id) => cx.apps.by_id(id),
            None => query.auth_key().ok().and_then(|key| cx.apps.by_key(key)),
        };
        let app = app.cloned();
        let call = ApiCall { method: request.method_text, path: target.path_raw, body: request.body };
        let mut tools = cx.tools.pusher.take().unwrap_or_default();
        let asked = self.asked(cx.now, app.as_deref(), route, &query, &call, &mut tools);
        let state = match asked {
            Ok((app, asked)) => match self.begin(cx, app, asked) {
                Ok((left, question)) => {
                    let status = route.success_status();
                    let mut exchange = Exchange { http, status, left, question };
                    if left > 0 {
                        State::Backend(Box::new(exchange))
                    } else {
                        exchange.finish(cx);
                        State::Over
                    }
                }
                Err(error) => refuse(cx, http, request, &error),
            },
            Err(error) => refuse(cx, http, request, &error),
        };
        cx.tools.pusher = Some(tools);
        state
    }

    /// Who asks, and for what.
    fn asked<'a>(
        &self,
        now: Now,
        app: Option<&'a App>,
        route: &'a Route<'_>,
        query: &'a ApiQuery<'_>,
        call: &ApiCall<'a>,
        tools: &'a mut Tools,
    ) -> Result<(&'a App, Request<'a>), ApiError> {
        let limits = app.map_or(self.settings.limits, |app| self.limits(app));
        let keys = app.map(|app| Keys { key: &app.settings.key, secret: &app.settings.secret });
        api::authorize(route, keys, query, call, now.unix_s(), &limits)?;
        let app = app.ok_or(ApiError::UnknownApp)?;
        if !app.settings.enabled {
            return Err(ApiError::AppDisabled);
        }
        let asked = api::parse(route, query, call.body, &mut tools.reader, &limits)?;
        Ok((app, asked))
    }

    /// Asks the homes. Returns how many answers will come.
    fn begin(
        &self,
        cx: &mut Context<'_>,
        app: &App,
        asked: Request<'_>,
    ) -> Result<(usize, Question), ApiError> {
        match asked {
            Request::Events(trigger) => {
                let shape = if trigger.info.is_empty() { Shape::Empty } else { Shape::Map };
                self.publish(cx, app, &[trigger], shape)
            }
            Request::BatchEvents(triggers) => {
                let asks = triggers.iter().any(|trigger| !trigger.info.is_empty());
                self.publish(cx, app, &triggers, if asks { Shape::List } else { Shape::Empty })
            }
            Request::Channels { prefix, info } => {
                let prefix = prefix.as_bytes().into();
                let list = List { app: app.number, prefix, most: PUSHER_CHANNELS_LISTED };
                cx.act(Action::List { list: Arc::new(list), tag: 0 });
                Ok((cx.shards.into(), Question::Channels { info, found: Vec::new() }))
            }
            Request::Channel { name, info } if !info.cache => {
                let key = self.key(app, name.text());
                cx.act(Action::Command { key, command: Command::Info, tag: 0 });
                Ok((1, Question::Channel { kind: name.kind(), info }))
            }
            Request::Channel { name, info } => {
                let key = self.key(app, name.text());
                let glance = Ask {
                    class: Class::Glance,
                    start: Start::Newest,
                    create: false,
                    ..listen(&app.policy, None)
                };
                cx.act(Action::Subscribe { key, form: Form::SESSION, ask: Box::new(glance), tag: 0 });
                Ok((1, Question::Channel { kind: name.kind(), info }))
            }
            Request::Users { name } => {
                let key = self.key(app, name.text());
                cx.act(Action::Command { key, command: Command::Users, tag: 0 });
                Ok((1, Question::Users))
            }
            Request::Terminate { user_id } => {
                let key = self.key(app, &of_user(user_id));
                cx.act(Action::Command { key, command: Command::Terminate, tag: 0 });
                Ok((1, Question::Terminate))
            }
        }
    }

    fn publish(
        &self,
        cx: &mut Context<'_>,
        app: &App,
        triggers: &[Trigger<'_>],
        shape: Shape,
    ) -> Result<(usize, Question), ApiError> {
        let events = triggers.iter().map(|trigger| trigger.channels.len()).sum::<usize>() as u32;
        if !app.admit_events(events, cx.now.mono_ms()) {
            return Err(ApiError::RateLimited);
        }
        let mut names = triggers.iter().flat_map(|trigger| &trigger.channels);
        names.try_for_each(|name| may_publish(cx, app, name.text()))?;
        let mut published = Vec::with_capacity(events as usize);
        for trigger in triggers {
            let message = message(trigger);
            for name in &trigger.channels {
                let key = cx.keys.key(&self.hasher, app.number, b"", name.text().as_bytes());
                let policy = match name.kind() {
                    Kind::ServerToUser => &app.hidden_policy,
                    kind if kind.is_cache() => &app.cache_policy,
                    _ => &app.policy,
                };
                let (message, policy) = (message.clone(), policy.clone());
                let command = Command::Publish { message, policy, create: true };
                let tag = published.len() as u16;
                cx.act(Action::Command { key: key.clone(), command, tag });
                let channel = ChannelInfo::default();
                published.push(Published { key, kind: name.kind(), info: trigger.info, channel });
            }
        }
        Ok((published.len(), Question::Publish { shape, published, refused: None, refusals: 0 }))
    }
}

fn message(trigger: &Trigger<'_>) -> Message {
    let except = trigger.exclude.map(|socket| SessionId(socket.0));
    Message {
        payload: Bytes::copy_from_slice(trigger.data),
        event: Some(Bytes::copy_from_slice(trigger.name.as_bytes())),
        origin: except.map(|_| Box::new(Origin { except, ..Origin::default() })),
        ..Message::default()
    }
}

impl Exchange {
    /// A home has answered. Returns whether the exchange is over.
    pub fn on_answer(&mut self, cx: &mut Context<'_>, tag: u16, answer: Answer) -> bool {
        self.left = self.left.saturating_sub(1);
        match (&mut self.question, answer) {
            (Question::Publish { published, .. }, Answer::Published { info, .. }) => {
                if let Some(one) = published.get_mut(usize::from(tag)) {
                    one.channel = info;
                }
            }
            (Question::Publish { refused, refusals, .. }, Answer::Refused(refusal)) => {
                refused.get_or_insert(refusal);
                *refusals += 1;
            }
            (Question::Channels { found, .. }, Answer::Channels(channels)) => found.extend(channels),
            (Question::Channel { kind, info }, Answer::Subscribed(subscribed)) => {
                let body = one_channel(cx.now, *kind, *info, subscribed.info, subscribed.backlog.last());
                self.send(cx, body);
            }
            (Question::Channel { kind, info }, answer) => {
                let channel =
                    if let Answer::Info(Some(channel)) = answer { channel } else { ChannelInfo::default() };
                let body = one_channel(cx.now, *kind, *info, channel, None);
                self.send(cx, body);
            }
            (Question::Users, Answer::Users(users)) => self.send(cx, list_of(&users)),
            (Question::Users, _) => self.send(cx, list_of(&Roster::default())),
            (Question::Publish { .. } | Question::Channels { .. } | Question::Terminate, _) => {}
        }
        if self.left == 0 && !matches!(self.question, Question::Channel { .. } | Question::Users) {
            self.finish(cx);
        }
        self.left == 0
    }

    /// All answers are there.
    fn finish(&mut self, cx: &mut Context<'_>) {
        let mut body = Vec::new();
        match &self.question {
            Question::Publish { refused: Some(refusal), refusals, published, .. } => {
                return self.busy(cx, *refusal, *refusals, published.len());
            }
            Question::Publish { shape, published, .. } => answer_published(&mut body, *shape, published),
            Question::Channels { info, found } => {
                // Channels that the dialect keeps for itself are nobody's business, and those of a group have another
                // name space.
                let told = |key: &ChannelKey| !key.name().starts_with(b"#") && key.group().is_empty();
                let found = found.iter().filter(|(key, _)| told(key));
                let told = found.map(|(key, channel)| {
                    let kind = kind_of(key);
                    (key.name(), attributes(*info, kind, channel))
                });
                answer::channels(&mut body, told);
            }
            Question::Channel { .. } | Question::Users | Question::Terminate => answer::done(&mut body),
        }
        self.send(cx, body);
    }

    fn send(&self, cx: &mut Context<'_>, body: Vec<u8>) {
        finish(cx, self.http, &Response::new(self.status).body("application/json", body), &[]);
    }

    /// Homes could not take it: not for something in the request, so that it may come again. Channels of other homes
    /// have it by then; a library that sends it again sends it to those twice.
    fn busy(&self, cx: &mut Context<'_>, refusal: Refusal, refusals: usize, of: usize) {
        let label = refusal.label();
        cx.refused(label, format!("an event of a back end: {refusals} of {of} refused"));
        let text = format!("The event could not be taken just now ({refusals} of {of}): {label}");
        let response = Response::new(503).number("Retry-After", PUSHER_RETRY_AFTER_S);
        finish(cx, self.http, &response.body("text/plain", text), &[]);
    }
}

fn refuse(cx: &mut Context<'_>, http: Http, request: &request::Request<'_>, error: &ApiError) -> State {
    let (status, text) = (error.status(), error.to_string());
    let path = request.target_parts().path_raw;
    cx.refused("pusher_api", format!("{} {path}: {status} {text}", request.method_text));
    let response = Response::new(status).body("text/plain", text);
    let response = match error {
        ApiError::RateLimited => response.number("Retry-After", PUSHER_RETRY_AFTER_S),
        _ => response,
    };
    finish(cx, http, &response, &[]);
    State::Over
}

fn answer_published(body: &mut Vec<u8>, shape: Shape, published: &[Published]) {
    let told = |one: &Published| attributes(one.info, one.kind, &one.channel);
    match shape {
        Shape::Empty => answer::done(body),
        Shape::Map => answer::channels(body, published.iter().map(|one| (one.key.name(), told(one)))),
        Shape::List => answer::batch(body, published.iter().map(told)),
    }
}

fn attributes(info: Info, kind: Kind, channel: &ChannelInfo) -> Attributes {
    Attributes::new(info, kind, channel.users.unwrap_or(0).into(), channel.subscribers.into())
}

fn kind_of(key: &ChannelKey) -> Kind {
    let name = std::str::from_utf8(key.name()).unwrap_or_default();
    super::name::Name::parse(name, name.len()).map_or(Kind::Public, super::name::Name::kind)
}

fn one_channel(
    now: Now,
    kind: Kind,
    info: Info,
    channel: ChannelInfo,
    kept: Option<&Arc<Publication>>,
) -> Vec<u8> {
    let occupied = channel.subscribers > 0;
    let cached = kept.map(|publication| Cached {
        data: &publication.message.payload,
        // What somebody else's rules keep for ever is said to stay longer than anybody will ask.
        ttl_s: (publication.expires_ms.saturating_sub(now.mono_ms()) / 1000).min(u32::MAX.into()),
    });
    let mut body = Vec::new();
    answer::channel(&mut body, occupied, attributes(info, kind, &channel), info.cache.then_some(cached));
    body
}

fn list_of(users: &Roster) -> Vec<u8> {
    let mut body = Vec::new();
    answer::users(&mut body, users.iter().filter_map(|user| std::str::from_utf8(&user.id).ok()));
    body
}
