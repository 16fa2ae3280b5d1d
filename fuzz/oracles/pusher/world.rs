//! A node without sockets: sessions of Pusher and, where it is wanted, of Pushi, and homes, members and mailboxes of several shards in one thread, wired
//! as the node wires them. Mail waits until a shard has its turn.

mod asked;
pub use super::connection::{Connection, End};
use super::nobody::{Nothing, Others};
pub use asked::Asked;
use fanwire::channel::core::Home;
use fanwire::channel::hook::HookCall;
use fanwire::channel::members::{Form, Member, Members, Subscription};
use fanwire::channel::notice::Notice;
use fanwire::channel::{
    Announcement, Answer, ChannelKey, Class, Command, Effect, Ended, KeyCache, KeyHasher, List, Now,
    Publication, ReplyTo, Token, store,
};
use fanwire::dialect::app::{App, AppSettings, Apps};
use fanwire::dialect::encode::{self, Encoder};
use fanwire::dialect::pusher::{self, Pusher};
use fanwire::dialect::pushi::{self, Pushi};
use fanwire::dialect::relay::Relay;
use fanwire::dialect::relay::form::Forms;
use fanwire::dialect::relay::settings::RelaySettings;
use fanwire::dialect::session::{Dialects, Drain, Message, Session};
use fanwire::dialect::{Action, Context, Tools};
use fanwire::limits::{HomeLimits, HttpLimits, TICK_MS};
use fanwire::wire::http::request::{Event, Lines, Reader};
use fanwire::wire::multipart::Boundary;
use std::collections::VecDeque;
use std::sync::Arc;

/// The wall clock at the beginning, Unix seconds.
pub const SECOND: u64 = 1_795_257_022;

/// The node.
pub struct World {
    pub dialects: Dialects,
    hasher: KeyHasher,
    pub apps: Arc<Apps>,
    pub now: Now,
    pub shards: Vec<Shard>,
    /// Every connection there was.
    pub connections: Vec<Connection>,
    /// What was counted and logged as refused.
    pub refused: Vec<(&'static str, String)>,
    /// What web hooks would tell.
    pub notices: Vec<Notice>,
    /// Calls to back ends that nobody waits for.
    pub hooks: Vec<HookCall>,
    /// Calls that somebody waits for.
    pub asked: VecDeque<Asked>,
    random: u64,
}

/// One shard.
pub struct Shard {
    pub home: Home,
    pub members: Members,
    mail: VecDeque<Work>,
    work: VecDeque<Work>,
    encoder: Option<Box<Encoder>>,
    keys: KeyCache,
    tools: Tools,
}

/// What goes through a mailbox, or is left to do.
enum Work {
    Command {
        key: Arc<ChannelKey>,
        command: Command,
        from: ReplyTo,
    },
    List {
        list: Arc<List>,
        from: ReplyTo,
    },
    Deliver {
        key: Arc<ChannelKey>,
        publication: Arc<Publication>,
    },
    Announce {
        key: Arc<ChannelKey>,
        announcement: Arc<Announcement>,
    },
    End {
        key: Arc<ChannelKey>,
        reason: Ended,
    },
    /// The store has done a job, which it always does.
    Stored {
        token: Token,
    },
    Answer {
        token: Token,
        answer: Answer,
    },
}

const NOBODY: Token = Token { slot: u32::MAX, generation: u32::MAX, tag: 0 };

impl World {
    /// A node of so many shards with these apps.
    pub fn new(shards: usize, apps: Vec<AppSettings>) -> World {
        World::with_limits(shards, apps, HomeLimits::default())
    }

    pub fn with_limits(shards: usize, apps: Vec<AppSettings>, limits: HomeLimits) -> World {
        let hasher = KeyHasher::new(3);
        let shard = |_| Shard {
            home: Home::new(limits),
            members: Members::default(),
            mail: VecDeque::new(),
            work: VecDeque::new(),
            encoder: Some(Box::new(Encoder::new(Forms::new(Vec::new(), Boundary::new(&[0; 24]))))),
            keys: KeyCache::default(),
            tools: Tools::default(),
        };
        World {
            dialects: dialects(&hasher, false),
            hasher,
            apps: Arc::new(Apps::new(apps).expect("names of their own")),
            now: Now { mono_ns: 1_000_000_000, unix_ms: SECOND * 1000 },
            shards: (0..shards).map(shard).collect(),
            connections: Vec::new(),
            refused: Vec::new(),
            notices: Vec::new(),
            hooks: Vec::new(),
            asked: VecDeque::new(),
            random: 0,
        }
    }

    /// A node that speaks Pushi, too.
    pub fn with_pushi(shards: usize, apps: Vec<AppSettings>) -> World {
        let world = World::new(shards, apps);
        World { dialects: dialects(&world.hasher, true), ..world }
    }

    /// A node of the relay alone.
    pub fn with_relay(shards: usize, relay: Relay) -> World {
        let mut world = World::new(shards, Vec::new());
        world.dialects.relay = relay;
        for shard in &mut world.shards {
            shard.encoder = Some(Box::new(Encoder::new(world.dialects.relay.forms())));
        }
        world
    }

    /// The app with this number.
    pub fn app(&self, number: u32) -> Arc<App> {
        self.apps.get(number).expect("an app").clone()
    }

    // ---- what happens ----

    /// A new connection.
    pub fn accept(&mut self, shard: usize) -> usize {
        self.connections.push(Connection { shard, ..Connection::default() });
        self.connections.len() - 1
    }

    /// A request comes: request line without version, header lines, body. False: the dialect does not know the path.
    pub fn request(&mut self, number: usize, head: &str, body: &[u8]) -> bool {
        let mut bytes = Vec::new();
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let version = if first.contains(" HTTP/") { "" } else { " HTTP/1.1" };
        bytes.extend_from_slice(format!("{first}{version}\r\nHost: node\r\n").as_bytes());
        lines.for_each(|line| bytes.extend_from_slice(format!("{line}\r\n").as_bytes()));
        if !body.is_empty() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        let (mut reader, mut positions) = (Reader::default(), Lines::default());
        let step = reader.step(&mut bytes, &mut positions, &HttpLimits::default());
        let Ok(Some(Event::Request(request))) = step.map(|step| step.event) else { return false };
        self.connections[number].end = None;
        let (mut started, mut known) = (Session::None, false);
        let mut actions = Vec::new();
        self.with_context(number, &mut actions, |dialects, cx| {
            known = dialects.on_request(cx, &mut started, &request);
        });
        if let [Action::Move { shard }] = actions[..] {
            self.connections[number].shard = usize::from(shard);
            return self.request(number, head, body);
        }
        self.connections[number].session = known.then_some(started);
        self.carry_out(number, actions);
        self.work(self.connections[number].shard);
        known
    }

    /// A client opens its WebSocket.
    pub fn connect(&mut self, shard: usize, key: &str) -> usize {
        let number = self.accept(shard);
        let head = format!("GET /app/{key}?protocol=7&client=js&version=8.6.0&flash=false\n{SHAKE}");
        assert!(self.request(number, &head, b""));
        number
    }

    /// A text message of a client.
    pub fn message(&mut self, number: usize, text: &str) {
        self.with(number, |dialects, cx, session| dialects.on_message(cx, session, Message::Text(text)));
    }

    /// A binary one.
    pub fn binary(&mut self, number: usize, bytes: &[u8]) {
        self.with(number, |dialects, cx, session| dialects.on_message(cx, session, Message::Binary(bytes)));
    }

    /// The client is gone.
    pub fn hang_up(&mut self, number: usize) {
        self.finish(number, End::HungUp);
        self.work(self.connections[number].shard);
    }

    /// The node stops.
    pub fn drain(&mut self) {
        for number in 0..self.connections.len() {
            self.with(number, |dialects, cx, session| dialects.on_drain(cx, session, Drain::Stop));
        }
    }

    /// The apps are other ones from now on.
    pub fn change_apps(&mut self, apps: Apps) {
        self.apps = Arc::new(apps);
        for number in 0..self.connections.len() {
            self.with(number, |dialects, cx, session| dialects.on_apps(cx, session));
        }
    }

    /// Time passes, in ticks as the node has them.
    pub fn wait_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * 1_000_000;
        self.now.unix_ms += ms;
        let now_ms = self.now.mono_ms();
        for number in 0..self.connections.len() {
            let connection = &mut self.connections[number];
            if connection.deadline != 0 && connection.deadline.next_multiple_of(TICK_MS) <= now_ms {
                connection.deadline = 0;
                self.with(number, |dialects, cx, session| dialects.on_deadline(cx, session));
            }
        }
        for shard in 0..self.shards.len() {
            let mut effects = Vec::new();
            self.shards[shard].home.tick(self.now, &mut effects);
            effects.into_iter().for_each(|effect| self.effect(shard, effect));
            self.work(shard);
        }
    }

    /// Somebody asks a home something beside Pusher, as the relay does, and wants no answer.
    pub fn tell(&mut self, shard: usize, app: u32, name: &str, command: Command) {
        let key = ChannelKey::new(&self.hasher, app, b"", name.as_bytes());
        let from = ReplyTo { shard: shard as u16, token: NOBODY };
        self.command(shard, key, command, from);
        self.work(shard);
    }

    /// A shard reads one mail. False: there was none.
    pub fn turn(&mut self, shard: usize) -> bool {
        let Some(mail) = self.shards[shard].mail.pop_front() else { return false };
        self.handle(shard, mail);
        self.work(shard);
        true
    }

    /// All mail is read.
    pub fn settle(&mut self) {
        while (0..self.shards.len()).any(|shard| self.turn(shard)) {}
    }

    // ---- what a session wants ----

    fn with_context(
        &mut self,
        number: usize,
        actions: &mut Vec<Action>,
        call: impl FnOnce(&Dialects, &mut Context<'_>),
    ) {
        self.random += 1;
        let shard = self.connections[number].shard;
        let mut encoder = self.shards[shard].encoder.take().expect("nobody else uses it");
        let peer = format!("10.0.0.1:{}", 4000 + number);
        let shards = self.shards.len() as u16;
        let Shard { keys, tools, .. } = &mut self.shards[shard];
        let mut cx = Context {
            now: self.now,
            random: self.random.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            peer: &peer,
            listener: 0,
            delivered_ms: 0,
            heard_ms: self.connections[number].heard_ms,
            encoder: &mut encoder,
            keys,
            wants_standing: false,
            shard: shard as u16,
            shards,
            slot: number as u32,
            apps: &self.apps.clone(),
            tools,
            actions,
            sessions: &Others { shard, connections: &self.connections },
            figures: &Nothing,
        };
        call(&self.dialects, &mut cx);
        self.shards[shard].encoder = Some(encoder);
    }

    fn with(&mut self, number: usize, call: impl FnOnce(&Dialects, &mut Context<'_>, &mut Session)) {
        self.call(number, call);
        self.work(self.connections[number].shard);
    }

    fn call(&mut self, number: usize, call: impl FnOnce(&Dialects, &mut Context<'_>, &mut Session)) {
        let Some(mut session) = self.connections[number].session.take() else { return };
        let mut actions = Vec::new();
        self.with_context(number, &mut actions, |dialects, cx| call(dialects, cx, &mut session));
        self.connections[number].session = Some(session);
        self.carry_out(number, actions);
    }

    fn carry_out(&mut self, number: usize, actions: Vec<Action>) {
        let shard = self.connections[number].shard;
        for action in actions {
            let connection = &mut self.connections[number];
            let exchange = connection.exchange;
            let from = |tag: u16| {
                let tag = u32::from(exchange) << 16 | u32::from(tag);
                ReplyTo { shard: shard as u16, token: Token { slot: number as u32, generation: 0, tag } }
            };
            match action {
                Action::Send(bytes) | Action::Deliver(bytes) | Action::Replay(bytes) => {
                    connection.put(&bytes)
                }
                Action::Done => self.finish(number, End::Done),
                Action::Close => self.finish(number, End::Close),
                Action::CloseWebSocket { code, reason } => self.finish(number, End::WebSocket(code, reason)),
                Action::Upgrade(_) => connection.upgraded = true,
                Action::Command { .. } | Action::Subscribe { .. } if !connection.is_open() => {
                    panic!("asked after its end: {action:?}");
                }
                Action::Command { key, command, tag } => self.command(shard, key, command, from(tag)),
                Action::Tell { key, command } => {
                    self.command(shard, key, command, ReplyTo { shard: shard as u16, token: NOBODY });
                }
                Action::Store { tag: None, .. } => {}
                Action::Store { tag: Some(tag), .. } => {
                    // It takes its time: others are served before.
                    self.shards[shard].mail.push_back(Work::Stored { token: from(tag).token });
                }
                Action::Hook { call, tag } => self.hook(number, tag, *call),
                Action::List { list, tag } => {
                    for to in 0..self.shards.len() {
                        let mail = Work::List { list: list.clone(), from: from(tag) };
                        let at = &mut self.shards[to];
                        if to == shard { at.work.push_back(mail) } else { at.mail.push_back(mail) }
                    }
                }
                Action::Subscribe { key, form, ask, tag } => {
                    let tag = from(tag).token.tag;
                    assert!(connection.subs.iter().all(|sub| sub.0 != tag), "tag {tag} is taken");
                    connection.subs.push((tag, Subscription::asked(key.clone(), form)));
                    self.command(shard, key, Command::Subscribe(ask), from(tag as u16));
                }
                Action::Unsubscribe { tag } => self.leave(number, from(tag).token.tag),
                Action::Deadline(ms) => connection.deadline = ms,
                Action::Notify(notice) => self.notices.push(*notice),
                Action::Refused { label, detail } => self.refused.push((label, detail.into())),
                Action::Stream { .. } | Action::Delivered => {}
                other => panic!("not of these dialects: {other:?}"),
            }
        }
    }

    fn leave(&mut self, number: usize, tag: u32) {
        let shard = self.connections[number].shard;
        let connection = &mut self.connections[number];
        let Some((_, sub)) = connection.subs.iter_mut().find(|sub| sub.0 == tag) else { return };
        let (command, moved) = sub.leave(&mut self.shards[shard].members);
        let key = sub.key.clone();
        connection.subs.retain(|sub| !sub.1.is_over());
        if let Some((member, seat)) = moved {
            let mut subs = self.connections[member.slot as usize].subs.iter_mut();
            subs.find(|sub| sub.0 == member.tag).expect("a member").1.moved(seat);
        }
        if let Some(command) = command {
            self.command(shard, key, command, ReplyTo { shard: shard as u16, token: NOBODY });
        }
    }

    fn finish(&mut self, number: usize, end: End) {
        let connection = &mut self.connections[number];
        assert!(connection.end.replace(end).is_none(), "ended twice");
        let tags: Vec<u32> = connection.subs.iter().map(|sub| sub.0).collect();
        // What it leaves behind goes its way, but nothing goes to the peer.
        if let Some(mut session) = connection.session.take() {
            let mut actions = Vec::new();
            self.with_context(number, &mut actions, |dialects, cx| dialects.on_closed(cx, &mut session));
            self.carry_out(number, actions);
        }
        let connection = &mut self.connections[number];
        connection.deadline = 0;
        connection.exchange = connection.exchange.wrapping_add(1);
        tags.into_iter().for_each(|tag| self.leave(number, tag));
    }

    // ---- homes and mail ----

    fn command(&mut self, shard: usize, key: Arc<ChannelKey>, command: Command, from: ReplyTo) {
        let home = key.home(self.shards.len());
        let work = Work::Command { key, command, from };
        let at = &mut self.shards[home];
        if home == shard { at.work.push_back(work) } else { at.mail.push_back(work) }
    }

    fn work(&mut self, shard: usize) {
        while let Some(work) = self.shards[shard].work.pop_front() {
            self.handle(shard, work);
        }
    }

    fn handle(&mut self, shard: usize, work: Work) {
        match work {
            Work::Command { key, command, from } => {
                let mut effects = Vec::new();
                let home = &mut self.shards[shard].home;
                home.apply(&key, command, from, self.now, Default::default(), &mut effects);
                effects.into_iter().for_each(|effect| self.effect(shard, effect));
            }
            Work::List { list, from } => {
                let answer = Answer::Channels(self.shards[shard].home.list(&list, self.now));
                self.effect(shard, Effect::Answer { to: from, answer });
            }
            Work::Deliver { key, publication } => self.deliver(shard, &key, &publication),
            Work::Announce { key, announcement } => self.announce(shard, &key, &announcement),
            Work::End { key, reason } => self.end(shard, &key, reason),
            Work::Stored { token } => {
                let number = token.slot as usize;
                if self.connections[number].exchange == (token.tag >> 16) as u16 {
                    self.call(number, |dialects, cx, session| {
                        dialects.on_stored(cx, session, token.tag as u16, Ok(store::Answer::Done));
                    });
                }
            }
            Work::Answer { token, answer } => self.answer(shard, token, answer),
        }
    }

    fn effect(&mut self, home: usize, effect: Effect) {
        let mut shards = Vec::new();
        let work: Box<dyn Fn() -> Work> = match effect {
            Effect::Deliver { shards: to, channel: key, publication } => {
                shards.extend(to.iter());
                Box::new(move || Work::Deliver { key: key.clone(), publication: publication.clone() })
            }
            Effect::Announce { shards: to, channel: key, announcement } => {
                shards.extend(to.iter());
                Box::new(move || Work::Announce { key: key.clone(), announcement: announcement.clone() })
            }
            Effect::End { shards: to, channel: key, reason } => {
                shards.extend(to.iter());
                Box::new(move || Work::End { key: key.clone(), reason })
            }
            Effect::Answer { to, answer } => {
                if to.token != NOBODY {
                    shards.push(usize::from(to.shard));
                }
                Box::new(move || Work::Answer { token: to.token, answer: answer.clone() })
            }
            other => panic!("no channel is durable: {other:?}"),
        };
        for shard in shards {
            let at = &mut self.shards[shard];
            if shard == home { at.work.push_back(work()) } else { at.mail.push_back(work()) }
        }
    }

    fn answer(&mut self, shard: usize, token: Token, answer: Answer) {
        let number = token.slot as usize;
        let connection = &mut self.connections[number];
        if let Some((tag, sub)) = connection.subs.iter_mut().find(|sub| sub.0 == token.tag) {
            let member = Member { slot: token.slot, tag: *tag };
            let subscribed = if let Answer::Subscribed(s) = &answer { Some(&**s) } else { None };
            let undo = sub.answered(subscribed, member, &mut self.shards[shard].members);
            let key = sub.key.clone();
            connection.subs.retain(|sub| !sub.1.is_over());
            if let Some(command) = undo {
                self.command(shard, key, command, ReplyTo { shard: shard as u16, token: NOBODY });
            }
        }
        if self.connections[number].exchange == (token.tag >> 16) as u16 {
            self.call(number, |dialects, cx, session| {
                dialects.on_answer(cx, session, token.tag as u16, answer)
            });
        }
    }

    fn concerns(&self, member: Member) -> bool {
        self.connections[member.slot as usize].exchange == (member.tag >> 16) as u16
    }

    fn deliver(&mut self, shard: usize, key: &Arc<ChannelKey>, publication: &Arc<Publication>) {
        let except = publication.message.except().filter(|id| usize::from(id.shard()) == shard);
        let except = except.filter(|id| {
            let connection = self.connections.get(id.slot() as usize);
            connection.and_then(|c| c.session.as_ref()).and_then(Session::id) == Some(*id)
        });
        let mut encoder = self.shards[shard].encoder.take().expect("nobody else uses it");
        let mut by_session = Vec::new();
        for group in self.shards[shard].members.groups(key) {
            let members = group.members.iter().filter(|m| except.is_none_or(|id| id.slot() != m.slot));
            let is_session = group.form.is_session();
            let frame = (!is_session).then(|| encoder.frame(group.form, Some(key), publication));
            let Some(frame) = frame.filter(|frame| !frame.is_empty()) else {
                if group.class == Class::Stream && encode::is_by_session(group.form, publication) {
                    by_session.extend(members.copied());
                }
                continue;
            };
            members.for_each(|member| self.connections[member.slot as usize].put(&frame));
        }
        self.shards[shard].encoder = Some(encoder);
        let mut released = Vec::new();
        self.shards[shard].members.release(key, &mut released);
        for member in &released {
            self.connections[member.slot as usize].subs.retain(|sub| sub.0 != member.tag);
        }
        by_session.extend(released);
        for member in by_session.into_iter().filter(|member| self.concerns(*member)).collect::<Vec<_>>() {
            self.call(member.slot as usize, |dialects, cx, session| {
                dialects.on_publication(cx, session, member.tag as u16, publication);
            });
        }
    }

    fn announce(&mut self, shard: usize, key: &Arc<ChannelKey>, announcement: &Arc<Announcement>) {
        let mut told = Vec::new();
        let mut encoder = self.shards[shard].encoder.take().expect("nobody else uses it");
        for group in self.shards[shard].members.groups(key) {
            if group.class != Class::Stream || group.form == Form::SESSION {
                continue;
            }
            if group.form.is_session() {
                told.extend_from_slice(&group.members);
            } else if let Some(frame) = encoder.announced(group.form, key, announcement) {
                for member in &group.members {
                    self.connections[member.slot as usize].put(&frame);
                }
                if encode::is_told_too(group.form, announcement) {
                    told.extend_from_slice(&group.members);
                }
            }
        }
        self.shards[shard].encoder = Some(encoder);
        for member in told {
            if self.concerns(member) {
                self.call(member.slot as usize, |dialects, cx, session| {
                    dialects.on_announcement(cx, session, member.tag as u16, announcement);
                });
            }
        }
    }

    fn end(&mut self, shard: usize, key: &Arc<ChannelKey>, reason: Ended) {
        let mut ended = Vec::new();
        self.shards[shard].members.end(key, &mut ended);
        for member in &ended {
            let connection = &mut self.connections[member.slot as usize];
            connection.subs.retain(|sub| sub.0 != member.tag);
        }
        for member in ended {
            if self.concerns(member) {
                let tag = member.tag as u16;
                self.call(member.slot as usize, |dialects, cx, session| {
                    dialects.on_ended(cx, session, tag, reason);
                });
            }
        }
    }
}

/// Pusher, and Pushi if it is wanted; no relay.
fn dialects(hasher: &KeyHasher, with_pushi: bool) -> Dialects {
    let relay = RelaySettings { locations: Vec::new() };
    let pushi = pushi::Settings { enabled: with_pushi, ..pushi::Settings::default() };
    Dialects {
        relay: Relay::new(&relay, &[], &[], hasher.clone(), &[0; 24]).expect("no mistakes"),
        admin: None,
        echo: None,
        pusher: Pusher::new(pusher::Settings::default(), hasher.clone()),
        pushi: Pushi::new(pushi, hasher.clone(), [7; 32]),
    }
}

/// What the handshakes say.
pub const SHAKE: &str = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
