//! One client's connection (pushi.md sections 2 to 7). The only error there is is its end.

use super::asks::{glance, listen, renew};
use super::auth::{self, Keys};
use super::channels::{Channels, Role, Subscription};
use super::event::{self, ChannelData, Reply};
use super::frame::{self, BadFrame, Event, Frame, Member, Subscribe};
use super::handshake::{self, SocketId};
use super::name::{self, Kind};
use super::personal::Personal;
use super::publish::{Outgoing, Random, Reached, Sent};
use super::{Pushi, State, form};
use crate::channel::command::{Command, Subscribe as Ask, Subscribed};
use crate::channel::{Answer, ChannelKey, Publication, Roster, SessionId, User};
use crate::dialect::app::{App, Connected};
use crate::dialect::grant::Held;
use crate::dialect::session::Message;
use crate::dialect::{Action, Context, Form, upgrade};
use crate::limits::{PUSHI_EVENTS_PER_ANSWER, PUSHI_FRAMES_WAITING, PUSHI_QUESTIONS, PUSHI_WAITING_BYTES};
use crate::wire::http::request::Request;
use crate::wire::ws::close;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    pub(super) id: SessionId,
    socket: SocketId,
    /// None where no app has its key, which it learns by its first subscription.
    connected: Option<Connected>,
    /// What its subscriptions were let in by.
    pub(super) held: Held,
    pub(super) channels: Channels,
    /// What homes have been asked, oldest first.
    questions: VecDeque<(u16, Question)>,
    /// Personal channels whose answer is not complete.
    pub(super) personals: Vec<Personal>,
    /// Frames that wait until what came before them on their channel is answered.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    next_tag: u16,
}

/// A frame that waits.
#[derive(Debug)]
struct Waiting {
    channel: Box<str>,
    /// It comes or goes: everything that was asked before has to be answered.
    is_change: bool,
    text: Box<str>,
}

impl Waiting {
    fn is_personal(&self) -> bool {
        Kind::of(&self.channel) == Kind::Personal
    }
}

/// What a home was asked.
#[derive(Debug)]
pub(super) enum Question {
    /// For stored events; so many of the newest are left out.
    Latest { channel: String, skip: u32 },
    /// Who is in a channel that the client has left.
    Left { channel: String },
    /// To publish.
    Published(Box<Sent>),
    /// For the events of the personal channel with this tag.
    Personal(u16),
}

impl Pushi {
    /// A client shakes hands. One that knows no key of ours is told nothing for now (trap 15).
    pub(super) fn open(&self, cx: &mut Context<'_>, request: &Request<'_>) -> State {
        // The protocol has no heartbeats; browsers answer these pings by themselves (trap 16).
        if !upgrade::open(cx, request, self.settings.ping_interval_ms()) {
            return State::Over;
        }
        let app = cx.apps.by_key(handshake::app_key(request.target)).filter(|app| app.settings.enabled);
        let connected = match app.map(App::connect) {
            Some(None) => {
                cx.refused("app_connections", "the app has as many connections as it may");
                let reason = "too many connections";
                cx.act(Action::CloseWebSocket { code: close::TRY_AGAIN_LATER, reason });
                return State::Over;
            }
            Some(connected) => connected,
            None => None,
        };
        let mut random = Random(cx.random);
        let id = SessionId::new(cx.shard, cx.slot, random.next() as u32);
        let socket = SocketId::new(id.0, random.next());
        send(cx, |out| event::connection_established(out, socket));
        State::Client(Box::new(Client {
            id,
            socket,
            connected,
            held: Held::of(request, cx.apps),
            channels: Channels::default(),
            questions: VecDeque::new(),
            personals: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            next_tag: 0,
        }))
    }
}

impl Client {
    /// Its name for the rest of the node.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whether it is the connection of this name and app.
    pub fn is(&self, socket: SocketId, app: u32) -> bool {
        self.socket == socket
            && self.connected.as_ref().is_some_and(|connected| connected.app().number == app)
    }

    /// The channels it listens to.
    pub fn channel_names(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(Subscription::name)
    }

    /// Who it says it is, in presence channels.
    pub(super) fn users(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().filter_map(|sub| sub.member.as_ref()).map(|member| &*member.user_id)
    }

    pub(super) fn app(&self) -> Option<&Arc<App>> {
        self.connected.as_ref().map(Connected::app)
    }

    pub(super) fn tag(&mut self) -> u16 {
        loop {
            self.next_tag = self.next_tag.wrapping_add(1);
            let tag = self.next_tag;
            let asked = self.questions.iter().any(|(asked, _)| *asked == tag);
            let personal = self.personals.iter().any(|personal| personal.tag == tag);
            if !asked && !personal && self.channels.tagged(tag).is_none() {
                return tag;
            }
        }
    }

    /// Notes what a home is asked. More than a client may ask at a time ends it.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, question: Question) -> Option<u16> {
        if self.questions.len() >= PUSHI_QUESTIONS {
            fail(cx, close::TRY_AGAIN_LATER, "pushi_questions", "more asked than answered");
            return None;
        }
        let tag = self.tag();
        self.questions.push_back((tag, question));
        Some(tag)
    }

    /// A message; binary ones are as good as text (section 3).
    pub fn on_message(&mut self, pushi: &Pushi, cx: &mut Context<'_>, message: Message<'_>) {
        let text = match message {
            Message::Text(text) => Some(text),
            Message::Binary(bytes) => std::str::from_utf8(bytes).ok(),
        };
        match text {
            Some(text) => self.on_text(pushi, cx, text, true),
            None => bad(cx, BadFrame::NotJson),
        }
    }

    /// `may_wait`: it has just come, and others of its channel may be before it.
    fn on_text(&mut self, pushi: &Pushi, cx: &mut Context<'_>, text: &str, may_wait: bool) {
        let mut tools = cx.tools.pushi.take().unwrap_or_default();
        match frame::parse(&mut tools.reader, text) {
            Err(error) => bad(cx, error),
            Ok(frame) => {
                let is_change = matches!(frame, Frame::Subscribe(_) | Frame::Unsubscribe { .. });
                let before = |name: &str| {
                    let is_after = |waiting: &Waiting| *waiting.channel == *name || waiting.is_personal();
                    let is_personal = Kind::of(name) == Kind::Personal;
                    is_personal && !self.waiting.is_empty() || self.waiting.iter().any(is_after)
                };
                let waits = |name: &str| may_wait && (before(name) || self.is_busy(pushi, name, is_change));
                match frame.channel().filter(|name| waits(name)) {
                    Some(channel) => self.put_off(cx, channel, is_change, text),
                    None => self.on_frame(pushi, cx, frame, &mut tools.member),
                }
            }
        }
        cx.tools.pushi = Some(tools);
    }

    fn on_frame(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        frame: Frame<'_>,
        reader: &mut crate::wire::json::Reader,
    ) {
        match frame {
            Frame::Empty => {}
            _ if self.connected.is_none() => {
                fail(cx, close::POLICY, "pushi_app_key", "no app has this key");
            }
            Frame::Subscribe(asked) => match self.judge(&asked, reader) {
                Ok(member) => self.subscribe(pushi, cx, asked.channel, member),
                Err(error) => fail(cx, close::POLICY, error.0, error.1),
            },
            Frame::Unsubscribe { channel } => self.unsubscribe(pushi, cx, channel),
            Frame::Latest { channel, skip, count } => self.latest(pushi, cx, channel, skip, count),
            Frame::Event(event) => self.publish(pushi, cx, &event),
        }
    }

    /// Whether an answer is on its way that has to come before what is done next about this channel: to what has been
    /// asked of the subscription; where it is to change, to everything.
    fn is_busy(&self, pushi: &Pushi, name: &str, is_change: bool) -> bool {
        let asked = |name: &str| {
            self.questions.iter().any(|(_, question)| match question {
                Question::Left { channel } => channel == name,
                Question::Latest { channel, .. } => is_change && channel == name,
                Question::Published(sent) => is_change && sent.channel() == name,
                Question::Personal(_) => false,
            })
        };
        let pending = |name: &str| {
            self.channels.find(name).is_some_and(|sub| sub.from.is_none())
                || !self.questions.is_empty() && asked(name)
        };
        let aliases = || name::personal_user(name).map(|user| self.aliases(pushi, user)).unwrap_or_default();
        let stands_for = |personal: &Personal| personal.alias.iter().any(|alias| alias == name);
        pending(name)
            || self.personals.iter().any(stands_for)
            || Kind::of(name) == Kind::Personal && !self.personals.is_empty()
            || aliases().iter().any(|alias| pending(alias))
    }

    fn put_off(&mut self, cx: &mut Context<'_>, channel: &str, is_change: bool, text: &str) {
        self.waiting_bytes += text.len();
        if self.waiting.len() >= PUSHI_FRAMES_WAITING || self.waiting_bytes > PUSHI_WAITING_BYTES {
            return fail(cx, close::TRY_AGAIN_LATER, "pushi_waiting", "too many frames wait for a channel");
        }
        self.waiting.push_back(Waiting { channel: channel.into(), is_change, text: text.into() });
    }

    /// Something about this channel was answered: goes on with what has waited for that, in its order. A personal channel
    /// stands for others, which its user's registrations say anew each time: its frames wait for all before them, and
    /// all behind wait for them.
    pub(super) fn go_on(&mut self, pushi: &Pushi, cx: &mut Context<'_>, answered: &str) {
        let all_may_go = Kind::of(answered) == Kind::Personal;
        let (mut at, mut held) = (0, Vec::new());
        while let Some(waiting) = self.waiting.get(at) {
            let channel = &waiting.channel;
            let may_go = all_may_go || **channel == *answered || waiting.is_personal();
            let is_held = held.contains(channel) || at > 0 && waiting.is_personal();
            if !may_go || is_held || self.is_busy(pushi, channel, waiting.is_change) {
                if waiting.is_personal() {
                    return;
                }
                if may_go && !is_held {
                    held.push(channel.clone());
                }
                at += 1;
                continue;
            }
            if is_over(cx) {
                return; // by one of those before
            }
            if let Some(Waiting { text, .. }) = self.waiting.remove(at) {
                self.waiting_bytes -= text.len();
                self.on_text(pushi, cx, &text, false);
            }
        }
    }

    /// Whether the client may subscribe, and as whom.
    fn judge(
        &self,
        asked: &Subscribe<'_>,
        reader: &mut crate::wire::json::Reader,
    ) -> Result<Option<Member>, (&'static str, &'static str)> {
        let kind = Kind::of(asked.channel);
        if let (true, Some(app)) = (kind.is_signed(), self.app()) {
            let keys = Keys { key: &app.settings.key, secret: &app.settings.secret };
            let auth = asked.auth.unwrap_or_default();
            if !auth::is_allowed(keys, auth, &self.socket.to_string(), asked.channel) {
                return Err(("pushi_auth", "the subscription is not signed, or not well"));
            }
        }
        match (kind, asked.channel_data) {
            // A personal channel hands it on to the presence channels that it stands for.
            (Kind::Presence, Some(data)) => Member::parse(reader, data).map(Some),
            (Kind::Personal, Some(data)) => Ok(Member::parse(reader, data).ok()),
            _ => Ok(None),
        }
        .map_err(|_| ("pushi_channel_data", "channel_data has no good user_id"))
    }

    fn subscribe(&mut self, pushi: &Pushi, cx: &mut Context<'_>, channel: &str, member: Option<Member>) {
        match name::personal_user(channel) {
            Some(user) => self.subscribe_personal(pushi, cx, channel, user, member),
            None => drop(self.join(pushi, cx, channel, Role::Asked, member)),
        }
    }

    /// Subscribes; what was there before is left first (section 4.2).
    pub(super) fn join(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        channel: &str,
        role: Role,
        member: Option<Member>,
    ) -> bool {
        if !self.may_join(cx, channel, role) {
            return false;
        }
        if let Some(tag) = self.channels.find(channel).map(|sub| sub.tag) {
            self.leave(cx, tag);
        }
        let Some(app) = self.app() else { return false };
        let key = pushi.key(app, channel);
        self.ask_for(pushi, cx, key, role, member, false)
    }

    pub(super) fn ask_for(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        key: Arc<ChannelKey>,
        role: Role,
        member: Option<Member>,
        renewed: bool,
    ) -> bool {
        if self.channels.is_full() {
            match role {
                // Nobody has asked for it, and nobody is told.
                Role::Pair(_) => cx.refused("pushi_pairs", "no room for a channel with another member"),
                _ => fail(cx, close::POLICY, "subscriptions", "too many subscriptions"),
            }
            return false;
        }
        let tag = self.tag();
        let user = member.as_ref().map(|member| {
            Arc::new(User {
                id: Bytes::copy_from_slice(member.user_id.as_bytes()),
                info: Bytes::copy_from_slice(member.data.as_bytes()),
            })
        });
        let form = if user.is_some() { form::MEMBERS } else { form::EVENTS };
        let name = std::str::from_utf8(key.name()).unwrap_or_default();
        let list_users = Kind::of(name) == Kind::Presence;
        let ask = if renewed { renew(&pushi.policy) } else { listen(&pushi.policy) };
        let ask = Ask { list_users, user, ..ask };
        cx.act(Action::Subscribe { key: key.clone(), form, ask: Box::new(ask), tag });
        self.channels.add(Subscription { key, tag, role, from: None, member, renewed });
        true
    }

    /// Leaves a channel, and with a presence channel those with its other members.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, tag: u16) {
        for tag in self.channels.pairs_of(tag).into_iter().chain([tag]) {
            if self.channels.remove(tag).is_some() {
                cx.act(Action::Unsubscribe { tag });
            }
        }
    }

    fn unsubscribe(&mut self, pushi: &Pushi, cx: &mut Context<'_>, channel: &str) {
        if let Some(user) = name::personal_user(channel) {
            return self.unsubscribe_personal(pushi, cx, channel, user);
        }
        let Some(sub) = self.channels.find(channel) else { return not_subscribed(cx) };
        let (tag, key) = (sub.tag, sub.key.clone());
        self.leave(cx, tag);
        if Kind::of(channel) != Kind::Presence {
            return reply(cx, Reply::Unsubscribed, channel, None, &[]);
        }
        // The answer tells who is left.
        if let Some(tag) = self.ask(cx, Question::Left { channel: channel.into() }) {
            cx.act(Action::Command { key, command: Command::Users, tag });
        }
    }

    /// Whether it is a channel with another member of a presence channel that the client is in (section 4.4).
    fn is_pair(&self, channel: &str) -> bool {
        self.channels.iter().any(|sub| {
            let user = sub.member.as_ref().map(|member| &*member.user_id);
            user.is_some_and(|user| name::is_pair_of(channel, sub.name(), user))
        })
    }

    fn latest(&mut self, pushi: &Pushi, cx: &mut Context<'_>, channel: &str, skip: u32, count: u32) {
        let is_allowed = self.channels.find(channel).is_some() || self.is_pair(channel);
        // One who is subscribed was let in before; the other half of a pair was not.
        if is_allowed && self.channels.find(channel).is_none() && !self.may_join(cx, channel, Role::Pair(0)) {
            return;
        }
        let Some(app) = self.app().filter(|_| is_allowed) else { return not_subscribed(cx) };
        let key = pushi.key(app, channel);
        let wanted = skip.saturating_add(count).min(PUSHI_EVENTS_PER_ANSWER);
        if let Some(tag) = self.ask(cx, Question::Latest { channel: channel.into(), skip }) {
            let list_users = Kind::of(channel) == Kind::Presence;
            let ask = Ask { list_users, ..glance(&pushi.policy, wanted) };
            cx.act(Action::Subscribe { key, form: Form::SESSION, ask: Box::new(ask), tag });
        }
    }

    fn publish(&mut self, pushi: &Pushi, cx: &mut Context<'_>, event: &Event<'_>) {
        let Some(sub) = self.channels.find(event.channel) else { return not_subscribed(cx) };
        let user_id = sub.member.as_ref().map(|member| Bytes::copy_from_slice(member.user_id.as_bytes()));
        if !self.may_publish(cx, event.channel) {
            return;
        }
        let outgoing = Outgoing {
            event: Bytes::copy_from_slice(event.event.as_bytes()),
            data: Bytes::copy_from_slice(event.data.as_bytes()),
            extra: String::new(),
            persist: event.persist,
            owner: Some(self.socket),
            except: (!event.echo).then_some(self.id),
            user_id,
        };
        if self.questions.len() >= PUSHI_QUESTIONS {
            return fail(cx, close::TRY_AGAIN_LATER, "pushi_questions", "more asked than answered");
        }
        let tag = self.tag();
        let Some(app) = self.app() else { return };
        let (_, sent) = pushi.publish(cx, app, event.channel, &outgoing, &[], tag);
        self.questions.push_back((tag, Question::Published(Box::new(sent))));
    }

    /// A home has answered.
    pub fn on_answer(&mut self, pushi: &Pushi, cx: &mut Context<'_>, tag: u16, answer: Answer) {
        if self.channels.tagged(tag).is_some() {
            return match answer {
                Answer::Subscribed(subscribed) => self.on_subscribed(pushi, cx, tag, &subscribed),
                Answer::Refused(refusal) => {
                    fail(cx, close::TRY_AGAIN_LATER, refusal.label(), "the subscription was refused");
                }
                _ => {}
            };
        }
        let Some(at) = self.questions.iter().position(|(asked, _)| *asked == tag) else { return };
        let Some((_, question)) = self.questions.remove(at) else { return };
        match (question, answer) {
            (Question::Published(sent), Answer::Published { .. }) => {
                self.follow(pushi, cx, &sent);
                self.go_on(pushi, cx, sent.channel());
            }
            (Question::Published(_), Answer::Refused(refusal)) => {
                // There is no other way to say that an event is lost.
                fail(cx, close::TRY_AGAIN_LATER, refusal.label(), "an event was refused");
            }
            (Question::Latest { channel, skip }, answer) => {
                let instance = self.app().map_or("", |app| &app.settings.id);
                let found = subscribed(answer);
                let (users, backlog) = found.map(|s| (s.users, s.backlog)).unwrap_or_default();
                let Some(app) = self.app() else { return };
                let events = stored(&pushi.key(app, &channel), &backlog, skip, instance);
                reply(cx, Reply::Latest, &channel, users.as_ref(), &events);
                self.go_on(pushi, cx, &channel);
            }
            (Question::Left { channel }, answer) => {
                let users = if let Answer::Users(users) = answer { Some(users) } else { None };
                reply(cx, Reply::Unsubscribed, &channel, users.as_ref(), &[]);
                self.go_on(pushi, cx, &channel);
            }
            (Question::Personal(personal), answer) => {
                let backlog = subscribed(answer).map(|s| s.backlog).unwrap_or_default();
                self.on_personal_events(pushi, cx, personal, &backlog);
            }
            (Question::Published(_), _) => {}
        }
    }

    fn on_subscribed(&mut self, pushi: &Pushi, cx: &mut Context<'_>, tag: u16, subscribed: &Subscribed) {
        let Some(sub) = self.channels.tagged(tag) else { return };
        sub.from = Some(subscribed.backlog.first().map_or(subscribed.last, |first| first.previous));
        let (name, role, renewed) = (sub.name().to_owned(), sub.role, sub.renewed);
        if let Some(users) = &subscribed.users {
            self.meet_all(pushi, cx, tag, users);
        }
        match role {
            Role::Asked if !renewed => reply(cx, Reply::Subscribed, &name, subscribed.users.as_ref(), &[]),
            Role::Alias(personal) if !renewed => self.on_alias(pushi, cx, personal),
            _ if renewed => self.catch_up(cx, tag, &subscribed.backlog),
            _ => {}
        }
        self.go_on(pushi, cx, &name);
    }

    fn follow(&self, pushi: &Pushi, cx: &mut Context<'_>, sent: &Sent) {
        if let Some(app) = self.app() {
            pushi.follow(cx, app, sent, &mut Reached::default(), None);
        }
    }

    /// An app that is gone or switched off keeps no clients.
    pub fn on_apps(&mut self, cx: &mut Context<'_>) {
        let Some(number) = self.app().map(|app| app.number) else { return };
        if !cx.apps.get(number).is_some_and(|app| app.settings.enabled) {
            fail(cx, close::POLICY, "pushi_app_gone", "the app is gone");
        }
    }

    /// The connection is gone. What it has published is on its way all the same: what follows from it, too.
    pub fn on_closed(&mut self, pushi: &Pushi, cx: &mut Context<'_>) {
        for (_, question) in std::mem::take(&mut self.questions) {
            if let Question::Published(sent) = question {
                self.follow(pushi, cx, &sent);
            }
        }
    }
}

fn subscribed(answer: Answer) -> Option<Subscribed> {
    if let Answer::Subscribed(subscribed) = answer { Some(*subscribed) } else { None }
}

/// Stored events, newest first, without the `skip` newest.
pub(super) fn stored(
    key: &ChannelKey,
    backlog: &[Arc<Publication>],
    skip: u32,
    instance: &str,
) -> Vec<Vec<u8>> {
    let newest_first = backlog.iter().rev().skip(skip as usize);
    let documents = newest_first.map(|publication| {
        let mut out = Vec::new();
        form::stored(&mut out, key, publication, instance, false);
        out
    });
    documents.collect()
}

fn reply(cx: &mut Context<'_>, which: Reply, name: &str, users: Option<&Roster>, events: &[Vec<u8>]) {
    let members = users.into_iter().flat_map(Roster::iter).map(|user| (&user.id[..], &user.info[..]));
    send(cx, |out| {
        event::reply(out, which, ChannelData { name, members, alias: &[], events: events.iter() });
    });
}

/// Puts a frame on the wire.
pub(super) fn send(cx: &mut Context<'_>, write: impl FnOnce(&mut Vec<u8>)) {
    let out = &mut cx.encoder.scratch;
    out.clear();
    write(out);
    let frame = form::text(out);
    cx.send(frame);
}

fn bad(cx: &mut Context<'_>, error: BadFrame) {
    cx.refused("pushi_frame", error.to_string());
    cx.act(Action::CloseWebSocket { code: close::POLICY, reason: "bad message" });
}

pub(super) fn not_subscribed(cx: &mut Context<'_>) {
    fail(cx, close::POLICY, "pushi_not_subscribed", "not subscribed");
}

/// Whether this call has ended the connection: nothing of the client counts from then on.
fn is_over(cx: &Context<'_>) -> bool {
    cx.actions.iter().any(|action| matches!(action, Action::CloseWebSocket { .. }))
}

/// Ends the connection, which is all that can be said (section 3).
pub(super) fn fail(cx: &mut Context<'_>, code: u16, label: &'static str, reason: &'static str) {
    cx.refused(label, reason);
    cx.act(Action::CloseWebSocket { code, reason });
}
