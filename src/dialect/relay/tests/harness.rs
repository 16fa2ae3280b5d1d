//! Plays the shard: carries out what sessions want, and feeds back what homes answer.

use crate::channel::core::Home;
use crate::channel::hook::{HookAnswer, HookCall, HookFailure};
use crate::channel::{
    Answer, ChannelKey, Class, Command, Effect, KeyCache, KeyHasher, Now, Publication, ReplyTo, Token,
    command,
};
use crate::dialect::encode::Encoder;
use crate::dialect::relay::settings::{LocationMethods, LocationSettings, PathPattern, RelaySettings};
use crate::dialect::relay::{Relay, Session};
use crate::dialect::session::Message;
use crate::dialect::{Action, Context, Figures, Form, Upgrade};
use crate::limits::{HomeLimits, HttpLimits};
use crate::wire::http::request::{Event, Lines, Reader};
use std::collections::VecDeque;
use std::sync::Arc;

/// Second of the first request in every test.
pub const SECOND: u64 = 1_795_257_022;
/// The same as a date.
pub const DATE: &str = "Sat, 21 Nov 2026 10:30:22 GMT";

/// A node of one shard without sockets.
pub struct Rig {
    relay: Relay,
    encoder: Encoder,
    keys: KeyCache,
    /// Owns all channels.
    pub home: Home,
    /// The time.
    pub now: Now,
    /// Every connection there was; each has one exchange at a time.
    pub connections: Vec<Connection>,
    /// Hooks that were called.
    pub calls: Vec<(usize, Option<u16>, HookCall)>,
    /// Labels of refusals.
    pub refused: Vec<&'static str>,
    work: VecDeque<(usize, u16, Arc<ChannelKey>, Command)>,
    random: u64,
}

/// One connection.
#[derive(Default)]
pub struct Connection {
    session: Option<Session>,
    out: Vec<u8>,
    /// How the exchange ended.
    pub end: Option<End>,
    /// Messages put on its wire.
    pub delivered: u32,
    /// As the session asked.
    pub deadline: u64,
    /// As the session asked.
    pub upgrade: Option<Upgrade>,
    delivered_ms: u64,
    subs: Vec<Sub>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection goes on.
    Done,
    /// It does not.
    Close,
    /// With this close frame.
    WebSocket(u16, &'static str),
}

struct Sub {
    tag: u16,
    key: Arc<ChannelKey>,
    form: Form,
    registered: Option<(Class, u64)>,
}

struct Zeros;

impl Figures for Zeros {
    fn published(&self) -> u64 {
        7
    }
    fn stored(&self) -> u64 {
        5
    }
    fn history_bytes(&self) -> u64 {
        1025
    }
    fn history_limit_bytes(&self) -> u64 {
        1 << 20
    }
    fn channels(&self) -> u64 {
        3
    }
    fn subscribers(&self) -> u64 {
        2
    }
    fn mailed(&self) -> u64 {
        11
    }
    fn mail_waiting(&self) -> u64 {
        1
    }
}

/// A location at `/name/`, changed by `change`.
pub fn at(
    prefix: &str,
    methods: LocationMethods,
    base: LocationSettings,
    change: impl FnOnce(&mut LocationSettings),
) -> LocationSettings {
    let mut location = LocationSettings { path: PathPattern::Prefix(prefix.into()), methods, ..base };
    change(&mut location);
    location
}

/// `/pub/` and `/sub/` of one flavour, both changed by `change`.
pub fn pair(base: fn() -> LocationSettings, change: impl Fn(&mut LocationSettings)) -> Rig {
    Rig::new(vec![
        at("/pub/", LocationMethods::Publisher, base(), &change),
        at("/sub/", LocationMethods::Subscriber, base(), &change),
    ])
}

impl Rig {
    /// A node with these locations, on a public listener (0) and an internal one (1).
    pub fn new(locations: Vec<LocationSettings>) -> Rig {
        let settings = RelaySettings { locations };
        let listeners = [("127.0.0.1:80", true), ("127.0.0.1:81", false)];
        let relay = Relay::new(&settings, &listeners, &["app"], KeyHasher::new(3), &[0; 24])
            .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        Rig {
            encoder: Encoder::new(relay.forms()),
            keys: KeyCache::default(),
            relay,
            home: Home::new(HomeLimits::default()),
            now: Now { mono_ns: 1_000_000_000, unix_ms: SECOND * 1000 },
            connections: Vec::new(),
            calls: Vec::new(),
            refused: Vec::new(),
            work: VecDeque::new(),
            random: 0,
        }
    }

    /// The default locations.
    pub fn default_locations() -> Rig {
        Rig::new(RelaySettings::default().locations)
    }

    /// Lets time pass.
    pub fn wait_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * 1_000_000;
        self.now.unix_ms += ms;
    }

    /// Sends a request on a new connection: request line and header lines, and a body. Returns its number.
    pub fn request(&mut self, head: &str, body: &str) -> usize {
        self.connections.push(Connection::default());
        let number = self.connections.len() - 1;
        assert!(self.request_on(number, 0, head, body), "no location has this path");
        number
    }

    /// The same on an old connection and a chosen listener; false: no location has the path.
    pub fn request_on(&mut self, number: usize, listener: u16, head: &str, body: &str) -> bool {
        let mut bytes = String::new();
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let version = if first.contains(" HTTP/") { "" } else { " HTTP/1.1" };
        bytes.push_str(&format!("{first}{version}\r\nHost: node:8080\r\n"));
        lines.for_each(|line| bytes.push_str(&format!("{}\r\n", line.trim_start())));
        if !body.is_empty() {
            bytes.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        bytes.push_str(&format!("\r\n{body}"));
        let (mut bytes, mut reader) = (bytes.into_bytes(), Reader::default());
        let mut positions = Lines::default();
        let step = reader.step(&mut bytes, &mut positions, &HttpLimits::default()).unwrap();
        let Some(Event::Request(request)) = step.event else { panic!("not a request") };
        let mut session = None;
        let mut found = false;
        self.connections[number].end = None;
        self.call(number, listener, |relay, cx, _| {
            session = relay.on_request(cx, &request);
            found = session.is_some();
        });
        // Actions were only collected: the session has to be there before they are carried out.
        self.connections[number].session = session;
        self.settle();
        found
    }

    fn call(
        &mut self,
        number: usize,
        listener: u16,
        what: impl FnOnce(&Relay, &mut Context<'_>, &mut Session),
    ) {
        self.random += 1;
        let mut actions = Vec::new();
        let mut idle = None;
        let connection = &mut self.connections[number];
        let peer = format!("10.0.0.1:{}", 4000 + number);
        let mut cx = Context {
            now: self.now,
            random: self.random,
            peer: &peer,
            listener,
            delivered_ms: connection.delivered_ms,
            heard_ms: 0,
            encoder: &mut self.encoder,
            keys: &mut self.keys,
            wants_standing: false,
            shard: 0,
            shards: 1,
            slot: number as u32,
            apps: &Default::default(),
            tools: &mut Default::default(),
            actions: &mut actions,
            sessions: &(),
            figures: &Zeros,
        };
        let session = match &mut connection.session {
            Some(session) => session,
            None => idle.insert(Session::idle()),
        };
        what(&self.relay, &mut cx, session);
        self.carry_out(number, actions);
    }

    fn with(&mut self, number: usize, what: impl FnOnce(&Relay, &mut Context<'_>, &mut Session)) {
        if self.connections[number].session.is_some() {
            self.call(number, 0, what);
        }
    }

    fn carry_out(&mut self, number: usize, actions: Vec<Action>) {
        for action in actions {
            let connection = &mut self.connections[number];
            match action {
                Action::Send(bytes) => connection.out.extend_from_slice(&bytes),
                Action::Deliver(bytes) | Action::Replay(bytes) => {
                    connection.out.extend_from_slice(&bytes);
                    connection.delivered += 1;
                    connection.delivered_ms = self.now.mono_ms();
                }
                Action::Delivered => connection.delivered += 1,
                Action::Done => self.finish(number, End::Done),
                Action::Close => self.finish(number, End::Close),
                Action::CloseWebSocket { code, reason } => self.finish(number, End::WebSocket(code, reason)),
                Action::Upgrade(upgrade) => connection.upgrade = Some(upgrade),
                Action::Stream { .. } => {}
                Action::Stand(_) => panic!("nobody wants it here"),
                Action::Command { key, command, tag } => self.work.push_back((number, tag, key, command)),
                Action::List { .. } => panic!("the relay lists nothing"),
                Action::Count(_) => {}
                Action::Revoke { .. } => panic!("the relay revokes nothing"),
                Action::CreateApp { .. } => panic!("the relay makes no apps"),
                Action::Tell { key, command } => self.work.push_back((usize::MAX, 0, key, command)),
                Action::Subscribe { key, form, ask, tag } => {
                    assert!(connection.subs.iter().all(|sub| sub.tag != tag), "tag {tag} twice");
                    connection.subs.push(Sub { tag, key: key.clone(), form, registered: None });
                    self.work.push_back((number, tag, key, Command::Subscribe(ask)));
                }
                Action::Unsubscribe { tag } => {
                    let at = connection.subs.iter().position(|sub| sub.tag == tag).unwrap();
                    let sub = connection.subs.remove(at);
                    self.leave(sub);
                }
                Action::Hook { call, tag } => self.calls.push((number, tag, *call)),
                Action::Deadline(ms) => connection.deadline = ms,
                Action::Refused { label, .. } => self.refused.push(label),
                Action::Move { .. } => panic!("the relay does not move"),
                Action::Notify(_) => panic!("the relay tells no back end of itself"),
                Action::Store { .. } => panic!("the relay stores nothing by itself"),
            }
        }
    }

    fn leave(&mut self, sub: Sub) {
        if let Some((class, epoch)) = sub.registered {
            self.work.push_back((usize::MAX, 0, sub.key, Command::Unsubscribe { class, epoch }));
        }
    }

    fn finish(&mut self, number: usize, end: End) {
        if end != End::Done {
            self.with(number, |relay, cx, session| relay.on_closed(cx, session));
        }
        let connection = &mut self.connections[number];
        assert!(connection.end.replace(end).is_none(), "ended twice");
        for sub in std::mem::take(&mut connection.subs) {
            self.leave(sub);
        }
    }

    /// Carries out everything that waits for homes.
    fn settle(&mut self) {
        while let Some((number, tag, key, command)) = self.work.pop_front() {
            let slot = number as u32;
            let from = ReplyTo { shard: 0, token: Token { slot, generation: 0, tag: u32::from(tag) } };
            let mut effects = Vec::new();
            self.home.apply(&key, command, from, self.now, Default::default(), &mut effects);
            for effect in effects {
                self.effect(effect);
            }
        }
        for number in 0..self.connections.len() {
            if self.connections[number].end.is_some() {
                self.connections[number].session = None;
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { to, .. } if to.token.slot == u32::MAX => {}
            Effect::Answer { to, answer } => self.answer(to.token.slot as usize, to.token.tag as u16, answer),
            Effect::Deliver { channel, publication, .. } => self.deliver(&channel, &publication),
            Effect::Store { job, .. } => panic!("no channel is durable here: {job:?}"),
            Effect::Announce { announcement, .. } => panic!("nobody has told who it is: {announcement:?}"),
            Effect::End { channel, reason, .. } => {
                for (number, tag, _) in self.members(&channel, |_| true) {
                    self.connections[number].subs.retain(|sub| sub.tag != tag);
                    self.with(number, |relay, cx, session| relay.on_ended(cx, session, tag, reason));
                }
            }
        }
    }

    fn answer(&mut self, number: usize, tag: u16, answer: Answer) {
        let connection = &mut self.connections[number];
        let registered = match &answer {
            Answer::Subscribed(subscribed) => subscribed.registered,
            _ => None,
        };
        match connection.subs.iter_mut().find(|sub| sub.tag == tag) {
            Some(sub) => sub.registered = registered,
            None => {
                if let Some((class, epoch)) = registered {
                    panic!("left before the answer: {class:?} {epoch}");
                }
            }
        }
        if connection.end.is_none() {
            self.with(number, |relay, cx, session| relay.on_answer(cx, session, tag, answer));
        }
    }

    fn members(&self, key: &Arc<ChannelKey>, which: impl Fn(&Sub) -> bool) -> Vec<(usize, u16, Form)> {
        let connections = self.connections.iter().enumerate();
        let all = connections.flat_map(|(number, c)| c.subs.iter().map(move |sub| (number, sub)));
        let joined = all.filter(|(_, sub)| sub.key == *key && sub.registered.is_some() && which(sub));
        joined.map(|(number, sub)| (number, sub.tag, sub.form)).collect()
    }

    fn deliver(&mut self, key: &Arc<ChannelKey>, publication: &Arc<Publication>) {
        for (number, tag, form) in self.members(key, |_| true) {
            let connection = &mut self.connections[number];
            let sub = connection.subs.iter_mut().find(|sub| sub.tag == tag).unwrap();
            if matches!(sub.registered, Some((Class::OneShot, _))) {
                sub.registered = None;
            }
            if form != Form::SESSION {
                let frame = self.encoder.frame(form, None, publication);
                connection.out.extend_from_slice(&frame);
                connection.delivered += 1;
                connection.delivered_ms = self.now.mono_ms();
            } else if connection.end.is_none() {
                self.with(number, |relay, cx, session| relay.on_publication(cx, session, tag, publication));
            }
        }
    }

    /// What came on a connection since the last look, without Date lines.
    pub fn take(&mut self, number: usize) -> Vec<u8> {
        let out = std::mem::take(&mut self.connections[number].out);
        let Some(at) = memchr::memmem::find(&out, b"Date: ") else { return out };
        [&out[..at], &out[at + "Date: \r\n".len() + 29..]].concat()
    }

    /// The same as text.
    pub fn text(&mut self, number: usize) -> String {
        String::from_utf8(self.take(number)).unwrap()
    }

    /// Sends a request, and returns all of its answer.
    pub fn ask(&mut self, head: &str, body: &str) -> String {
        let number = self.request(head, body);
        assert!(self.connections[number].end.is_some(), "no answer to {head}");
        self.text(number)
    }

    /// Status of a request's answer.
    pub fn status(&mut self, head: &str, body: &str) -> u16 {
        let text = self.ask(head, body);
        text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Publishes plain text to a channel under `/pub/`.
    pub fn publish(&mut self, channel: &str, body: &str) -> u16 {
        self.status(&format!("POST /pub/{channel}\nContent-Type: text/plain"), body)
    }

    /// A WebSocket message comes in.
    pub fn message(&mut self, number: usize, message: Message<'_>) {
        self.with(number, |relay, cx, session| relay.on_message(cx, session, message));
        self.settle();
    }

    /// The back end answers hook `at` of [`Rig::calls`].
    pub fn hook(&mut self, at: usize, answer: Result<HookAnswer, HookFailure>) {
        let (number, tag, _) = self.calls[at];
        let tag = tag.expect("nobody waits for it");
        self.with(number, |relay, cx, session| relay.on_hook(cx, session, tag, answer));
        self.settle();
    }

    /// The deadline of a connection passes.
    pub fn expire(&mut self, number: usize) {
        let deadline = self.connections[number].deadline;
        assert!(deadline > 0, "no deadline was set");
        self.wait_ms(deadline.saturating_sub(self.now.mono_ms()));
        self.with(number, |relay, cx, session| relay.on_deadline(cx, session));
        self.settle();
    }

    /// Something happens to a connection.
    pub fn happens(&mut self, number: usize, what: fn(&Relay, &mut Context<'_>, &mut Session)) {
        self.with(number, what);
        self.settle();
    }

    /// The client goes.
    pub fn hang_up(&mut self, number: usize) {
        self.finish(number, End::Close);
        self.settle();
    }

    /// Whether all subscriptions of a connection take shared frames.
    pub fn shares_frames(&self, number: usize) -> bool {
        self.connections[number].subs.iter().all(|sub| sub.form != Form::SESSION)
    }

    /// The channel as its home sees it.
    pub fn info(&mut self, group: &str, name: &str) -> Option<command::ChannelInfo> {
        let key = ChannelKey::new(&KeyHasher::new(3), 0, group.as_bytes(), name.as_bytes());
        let mut effects = Vec::new();
        let nobody = ReplyTo::default();
        self.home.apply(&key, Command::Info, nobody, self.now, Default::default(), &mut effects);
        match effects.pop() {
            Some(Effect::Answer { answer: Answer::Info(info), .. }) => info,
            other => panic!("{other:?}"),
        }
    }
}

impl Session {
    /// A session that waits for nothing.
    fn idle() -> Session {
        Session {
            since_ms: 0,
            pings: 0,
            location: 0,
            http: Default::default(),
            kind: crate::dialect::relay::form::Kind::PollHead,
            state: crate::dialect::relay::State::Over,
        }
    }
}

/// An answer of the back end.
pub fn said(status: u16, headers: &[(&str, &str)], body: &str) -> Result<HookAnswer, HookFailure> {
    let owned = |text: &str| bytes::Bytes::copy_from_slice(text.as_bytes());
    let headers = headers.iter().map(|(name, value)| (owned(name), owned(value))).collect();
    Ok(HookAnswer { status, headers, body: owned(body) })
}

/// What the tests' WebSocket handshakes say.
pub const SHAKE: &str = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

impl Rig {
    /// What came on a connection, whatever bytes it has.
    pub fn text_lossy(&mut self, number: usize) -> String {
        String::from_utf8_lossy(&self.take(number)).into_owned()
    }
}
