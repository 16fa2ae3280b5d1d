//! Plays a sequence of operations, read from bytes, on a node and on the model.

use super::model::{Client, Published, Sub, User, is_cache};
use super::world::{End, World};
use fanwire::channel::Command;
use fanwire::dialect::app::{App, AppSettings};
use fanwire::limits::{APP_CLIENT_EVENTS_PER_S, PUSHER_REPEATS_WAITING};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

const CHANNELS: [&str; 9] = [
    "news",
    "private-a",
    "presence-a",
    "presence-b",
    "cache-a",
    "private-cache-a",
    "presence-cache-a",
    "private-encrypted-a",
    "my-cache-a",
];
const USERS: [&str; 3] = ["u1", "u2", "u3"];
const APPS: [&str; 2] = ["one", "two"];
/// Clients at once.
const CLIENTS: usize = 8;
/// Publications between two times when all is quiet; one step makes some more.
const EVENTS: usize = 80;
/// An app of clients who have to say in time who they are, milliseconds.
const AUTHORIZE_MS: u64 = 5_000;

/// Reads what to do from bytes; all is 0 behind their end.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(first) % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A node and what the model knows of it.
pub struct Play<'a> {
    choices: Choices<'a>,
    pub world: World,
    apps: Vec<Arc<App>>,
    removed: bool,
    clients: Vec<Client>,
    published: Vec<Published>,
    published_when_quiet: usize,
    /// Publications that clients have to get: client, number, channel.
    expected: HashSet<(usize, usize, String)>,
    /// Channels that were deleted since all was quiet.
    deleted: HashSet<(u32, String)>,
    /// Users of the first app who were terminated since then.
    terminated: HashSet<&'static str>,
    /// Requests of back ends whose answers have not been looked at.
    asked: Vec<usize>,
}

/// Plays all of it, and then sees to it that nothing is left.
pub fn play(bytes: &[u8]) {
    let mut play = Play::new(bytes);
    while !play.choices.is_over() {
        play.step();
        play.observe();
    }
    play.quiet();
    play.end();
}

impl<'a> Play<'a> {
    fn new(bytes: &'a [u8]) -> Play<'a> {
        let mut choices = Choices(bytes);
        let app = |(number, name): (usize, &&str)| AppSettings {
            client_events: true,
            history_messages: 1_000,
            authorize_within_ms: if number == 1 { AUTHORIZE_MS } else { 0 },
            ..AppSettings::new(name, &format!("{name}-key"), "secret")
        };
        let world = World::new(1 + choices.below(4), APPS.iter().enumerate().map(app).collect());
        Play {
            choices,
            apps: (0..2).map(|number| world.app(number)).collect(),
            world,
            removed: false,
            clients: Vec::new(),
            published: Vec::new(),
            published_when_quiet: 0,
            expected: HashSet::new(),
            deleted: HashSet::new(),
            terminated: HashSet::new(),
            asked: Vec::new(),
        }
    }

    fn step(&mut self) {
        if self.published.len() >= self.published_when_quiet + EVENTS {
            self.quiet(); // a client whose channel was deleted is given so many, and no more
        }
        match self.choices.below(32) {
            0..8 => self.turn(),
            8..10 => self.connect(),
            10..14 => self.subscribe(),
            14..16 => self.unsubscribe(),
            16..18 => self.sign_in(),
            18 => self.subscribe_inbox(),
            19..21 => self.client_event(),
            21..24 => self.trigger(),
            24 => self.trigger_user(),
            25 => self.terminate(),
            26 => self.hang_up(),
            27 => self.wait(),
            28 => self.delete(),
            29 => self.nonsense(),
            30 => self.quiet(),
            _ => self.rarely(),
        }
    }

    fn turn(&mut self) {
        for _ in 0..1 + self.choices.below(3) {
            let shard = self.choices.below(self.world.shards.len());
            self.world.turn(shard);
            self.observe();
        }
    }

    /// Everybody looks at what has come; pings are answered.
    fn observe(&mut self) {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.closed {
                continue;
            }
            let frames = self.world.take_json(client.number);
            if client.observe(&frames, &self.published) && !client.silent {
                self.world.message(client.number, r#"{"event":"pusher:pong","data":{}}"#);
            }
            let number = self.clients[at].number;
            if let Some(end) = self.world.connections[number].end.clone() {
                self.on_closed(at, &end);
            }
        }
    }

    fn on_closed(&mut self, at: usize, end: &End) {
        let client = &mut self.clients[at];
        if let End::WebSocket(code, reason) = end {
            assert!(client.excused.contains(code), "client {at} was closed with {code} {reason}");
        }
        client.closed = true;
        self.expected.retain(|(client, ..)| *client != at);
    }

    /// One of the clients that are there.
    fn client(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.clients.len()).filter(|&at| !self.clients[at].closed).collect();
        (!open.is_empty()).then(|| self.choices.pick(&open))
    }

    fn connect(&mut self) {
        if self.clients.iter().filter(|client| !client.closed).count() >= CLIENTS {
            return;
        }
        let shard = self.choices.below(self.world.shards.len());
        let app = u32::from(self.choices.below(4) == 3 && !self.removed);
        let number = self.world.open(shard, app);
        let silent = self.choices.below(8) == 7;
        self.clients.push(Client::new(number, app, silent, self.world.now.mono_ms()));
    }

    fn subscribe(&mut self) {
        let Some(at) = self.client() else { return };
        let name = self.choices.pick(&CHANNELS);
        let mut user = name.starts_with("presence-").then(|| self.choices.pick(&USERS));
        let client = &mut self.clients[at];
        // Who has signed in need not say it again.
        let mut said = user;
        if let (Some(_), Some(signed_in)) = (user, &client.user)
            && self.choices.below(2) == 1
        {
            (user, said) = (Some(signed_in.id), None);
        }
        client.authorized |= name.starts_with("pr");
        let channel = client.channels.entry(name).or_default();
        match &mut channel.active {
            None => channel.active = Some(Sub::new(user)),
            Some(sub) if sub.user != user => client.subscription_errors += 1,
            // Without members it is answered at once.
            Some(sub) if sub.owed >= PUSHER_REPEATS_WAITING.into() => client.subscription_errors += 1,
            Some(sub) => sub.owed += 1,
        }
        let (number, app) = (client.number, client.app);
        if name.starts_with("presence-") && self.deleted.contains(&(app, name.to_owned())) {
            client.excused.insert(4200);
        }
        self.world.subscribe(number, app, name, said);
        self.observe();
        assert_eq!(self.clients[at].subscription_errors, 0, "not refused at once");
    }

    fn unsubscribe(&mut self) {
        let Some(at) = self.client() else { return };
        let name = self.choices.pick(&CHANNELS);
        let client = &mut self.clients[at];
        if let Some(channel) = client.channels.get_mut(name)
            && let Some(sub) = channel.active.take()
        {
            self.expected.retain(|(of, _, channel)| !(*of == at && channel == name));
            if sub.owed > 0 {
                channel.leaving.push_back(sub);
            }
        }
        self.world.unsubscribe(client.number, name);
    }

    fn sign_in(&mut self) {
        let Some(at) = self.client() else { return };
        let id = self.choices.pick(&USERS);
        let bits = self.choices.below(8);
        let watch: BTreeSet<&str> = (0..3).filter(|bit| bits >> bit & 1 == 1).map(|bit| USERS[bit]).collect();
        let client = &mut self.clients[at];
        client.authorized = true;
        match &mut client.user {
            None => {
                let watch = watch.clone();
                client.user = Some(User { id, owed: 1, stands: false, inbox: 0, watch, view: None });
            }
            Some(user) if user.id != id => client.errors += 1,
            Some(user) if !user.stands && user.owed >= PUSHER_REPEATS_WAITING.into() => client.errors += 1,
            Some(user) => user.owed += 1,
        }
        let (number, app) = (client.number, client.app);
        if app == 0 && self.terminated.contains(id) {
            client.excused.insert(4009);
        }
        if self.deleted.contains(&(app, format!("#user-{id}"))) {
            client.excused.insert(4200);
        }
        let watch: Vec<&str> = watch.into_iter().collect();
        self.world.sign_in(number, app, id, &watch);
        self.observe();
        assert_eq!(self.clients[at].errors, 0, "not refused at once");
    }

    fn subscribe_inbox(&mut self) {
        let Some(at) = self.client() else { return };
        let id = self.choices.pick(&USERS);
        let client = &mut self.clients[at];
        match &mut client.user {
            Some(user) if user.id == id && user.inbox < PUSHER_REPEATS_WAITING.into() => user.inbox += 1,
            _ => client.subscription_errors += 1,
        }
        let (number, app) = (client.number, client.app);
        self.world.subscribe(number, app, &format!("#server-to-user-{id}"), None);
        self.observe();
        assert_eq!(self.clients[at].subscription_errors, 0, "not refused at once");
    }

    fn client_event(&mut self) {
        let Some(at) = self.client() else { return };
        let name = self.choices.pick(&CHANNELS);
        let times = self.choices.pick(&[1, 1, 1, 12]);
        for _ in 0..times {
            self.one_client_event(at, name);
        }
    }

    fn one_client_event(&mut self, at: usize, name: &str) {
        let now_s = self.world.now.mono_ms() / 1000;
        let client = &mut self.clients[at];
        if client.closed {
            return;
        }
        let takes = name.starts_with("pr") && !name.contains("encrypted");
        let mut taken = takes && client.has(name);
        if taken {
            client.sent = if client.sent.0 == now_s { (now_s, client.sent.1 + 1) } else { (now_s, 1) };
            taken = client.sent.1 <= APP_CLIENT_EVENTS_PER_S;
        }
        let (number, sender) = (client.number, client.member(name));
        let id = self.published.len();
        if taken {
            self.publish(at.into(), &[name.to_owned()], Some(sender));
        } else {
            self.clients[at].errors += 1;
        }
        let frame = json!({"event": "client-e", "channel": name, "data": id.to_string()});
        self.world.message(number, &frame.to_string());
        self.observe();
        assert_eq!(self.clients[at].errors, 0, "not refused at once");
    }

    /// Notes what is published, and who has to get it.
    fn publish(
        &mut self,
        except: Option<usize>,
        channels: &[String],
        client: Option<Option<&'static str>>,
    ) -> usize {
        let app = match (client, except) {
            (Some(_), Some(at)) => self.clients[at].app,
            _ => u32::from(!self.removed && self.choices.below(4) == 3),
        };
        let id = self.published.len();
        for (at, other) in self.clients.iter().enumerate() {
            for name in channels {
                let has = if name.starts_with('#') {
                    other.inbox().as_ref() == Some(name)
                } else {
                    other.has(name)
                };
                // What nothing keeps is lost while the node subscribes anew.
                let kept = !name.starts_with('#') && !is_cache(name);
                let lost = !kept && self.deleted.contains(&(app, name.clone()));
                if has && !lost && !other.closed && other.app == app && except != Some(at) {
                    self.expected.insert((at, id, name.clone()));
                }
            }
        }
        let except = except.map(|at| self.clients[at].number);
        self.published.push(Published { app, channels: channels.to_vec(), except, client });
        id
    }

    fn trigger(&mut self) {
        let channels: BTreeSet<&str> =
            (0..1 + self.choices.below(3)).map(|_| self.choices.pick(&CHANNELS)).collect();
        let channels: Vec<String> = channels.into_iter().map(str::to_owned).collect();
        self.send(&channels);
    }

    fn trigger_user(&mut self) {
        let id = self.choices.pick(&USERS);
        self.send(&[format!("#server-to-user-{id}")]);
    }

    fn send(&mut self, channels: &[String]) {
        let except = if self.choices.below(3) == 2 { self.client() } else { None };
        let id = self.publish(except, channels, None);
        let app = self.published[id].app;
        let socket = except.map(|at| self.world.connections[self.clients[at].number].socket_id.clone());
        let body = json!({"name": "e", "channels": channels, "data": id.to_string(), "socket_id": socket});
        self.ask(app, "POST", "events", &body.to_string());
    }

    fn ask(&mut self, app: u32, method: &str, path: &str, body: &str) {
        let shard = self.choices.below(self.world.shards.len());
        let path = format!("/apps/{}/{path}", APPS[app as usize]);
        let number = self.world.ask(shard, app, method, &path, body);
        self.asked.push(number);
    }

    fn terminate(&mut self) {
        let id = self.choices.pick(&USERS);
        for client in self.clients.iter_mut().filter(|client| client.app == 0) {
            if let Some(user) = client.user.as_ref().filter(|user| user.id == id) {
                client.doomed |= user.stands;
                client.excused.insert(4009);
            }
        }
        self.terminated.insert(id);
        self.ask(0, "POST", &format!("users/{id}/terminate_connections"), "{}");
    }

    fn hang_up(&mut self) {
        let Some(at) = self.client() else { return };
        self.world.hang_up(self.clients[at].number);
        self.on_closed(at, &End::HungUp);
    }

    fn wait(&mut self) {
        if !self.deleted.is_empty() {
            self.quiet(); // what the new channel keeps is not kept for ever
        }
        let ms = self.choices.pick(&[1, 100, 1_000, 5_100, 61_000, 195_000]);
        let until = self.world.now.mono_ms() + ms;
        for client in &mut self.clients {
            if client.silent {
                client.excused.insert(4201);
            }
            if client.app == 1 && !client.authorized {
                client.excused.insert(4009);
                client.doomed |= client.since_ms + AUTHORIZE_MS + 100 <= until;
            }
        }
        self.world.wait_ms(ms);
    }

    fn delete(&mut self) {
        let kind = self.choices.below(8);
        let user = self.choices.pick(&USERS);
        let name = match kind {
            6 => format!("#user-{user}"),
            7 => format!("#server-to-user-{user}"),
            _ => self.choices.pick(&CHANNELS).to_owned(),
        };
        if self.deleted.contains(&(0, name.clone())) {
            self.quiet();
        }
        for client in self.clients.iter_mut().filter(|client| client.app == 0) {
            let present = client.channels.get(&*name).is_some_and(|channel| {
                name.starts_with("presence-") && (channel.active.is_some() || !channel.leaving.is_empty())
            });
            let online = kind == 6 && client.user.as_ref().is_some_and(|signed_in| signed_in.id == user);
            if present || online {
                client.excused.insert(4200);
            }
        }
        if name.starts_with('#') || is_cache(&name) {
            self.expected.retain(|(at, _, channel)| self.clients[*at].app != 0 || *channel != name);
        }
        self.deleted.insert((0, name.clone()));
        let shard = self.choices.below(self.world.shards.len());
        self.world.tell(shard, 0, &name, Command::Delete);
    }

    fn nonsense(&mut self) {
        let Some(at) = self.client() else { return };
        let text = self.choices.pick(&[
            "",
            "{}",
            "[1]",
            r#"{"event":"pusher:subscribe","data":7}"#,
            r#"{"event":"e"}"#,
        ]);
        self.clients[at].errors += 1;
        self.world.message(self.clients[at].number, text);
        self.observe();
        assert_eq!(self.clients[at].errors, 0);
    }

    fn rarely(&mut self) {
        match self.choices.below(4) {
            0 if !self.removed => {
                self.removed = true;
                for client in self.clients.iter_mut().filter(|client| client.app == 1) {
                    client.excused.insert(4001);
                    client.doomed = true;
                }
                let without = self.world.apps.without(APPS[1]).expect("the app");
                self.world.change_apps(without);
            }
            1 => {
                let Some(at) = self.client() else { return };
                self.clients[at].excused.insert(1003);
                self.world.binary(self.clients[at].number, b"x");
            }
            _ => self.cached(),
        }
    }

    /// Who comes to a cache channel gets what was published last.
    fn cached(&mut self) {
        self.quiet();
        let name = self.choices.pick(&["cache-a", "private-cache-a"]);
        let id = self.publish(None, &[name.to_owned()], None);
        let app = self.published[id].app;
        let body = json!({"name": "e", "channel": name, "data": id.to_string()});
        self.ask(app, "POST", "events", &body.to_string());
        self.world.settle();
        let number = self.world.open(0, app);
        self.world.subscribe(number, app, name, None);
        self.world.settle();
        let frames = self.world.take_json(number);
        assert_eq!(frames.len(), 2, "{frames:?}");
        assert_eq!(frames[1], json!({"event": "e", "channel": name, "data": id.to_string()}));
        self.world.hang_up(number);
    }

    /// All mail is read: everybody knows what is true, and nothing is owed to anybody.
    fn quiet(&mut self) {
        self.world.settle();
        self.observe();
        self.world.settle(); // what closed connections have left
        self.observe();
        for number in std::mem::take(&mut self.asked) {
            let (status, body) = self.world.answered(number);
            let answer: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!((status, answer), (200, json!({})));
        }
        for (at, number, channel) in self.expected.drain() {
            assert!(self.clients[at].saw(number, &channel), "client {at} misses {number} in {channel}");
        }
        self.published_when_quiet = self.published.len();
        self.deleted.clear();
        self.terminated.clear();
        for (at, client) in self.clients.iter_mut().enumerate().filter(|(_, client)| !client.closed) {
            assert!(!client.doomed, "client {at} should be closed");
            client.excused.clear();
            for (name, channel) in &client.channels {
                let owed = channel.active.as_ref().map_or(0, |sub| sub.owed);
                assert!(owed == 0 && channel.leaving.is_empty(), "client {at} waits for {name}");
            }
            if let Some(user) = &client.user {
                assert!(
                    user.stands && user.owed == 0 && user.inbox == 0,
                    "client {at} waits for its sign-in"
                );
            }
        }
        (0..2 - u32::from(self.removed)).for_each(|app| self.compare(app));
    }

    /// What clients and back ends of an app see is what there is.
    fn compare(&mut self, app: u32) {
        let clients: Vec<&Client> =
            self.clients.iter().filter(|client| !client.closed && client.app == app).collect();
        assert_eq!(self.apps[app as usize].connections(), clients.len() as u64);
        let online: BTreeSet<&str> =
            clients.iter().filter_map(|client| Some(client.user.as_ref()?.id)).collect();
        let mut occupied = BTreeMap::new();
        for client in &clients {
            for name in CHANNELS.iter().filter(|name| client.has(name)) {
                occupied.entry(*name).or_insert_with(Vec::new).push(client.member(name));
            }
        }
        for client in &clients {
            if let Some(user) = client.user.as_ref().filter(|user| !user.watch.is_empty()) {
                let truth = user.watch.iter().map(|id| ((*id).to_owned(), online.contains(id)));
                assert_eq!(user.view, Some(truth.collect()), "who is online");
            }
            for name in CHANNELS.iter().filter(|name| name.starts_with("presence-") && client.has(name)) {
                let truth = occupied[name].iter().map(|user| user.expect("a member").to_owned());
                assert_eq!(client.channels[name].view, truth.collect(), "who is in {name}");
            }
        }
        let truth: BTreeMap<&str, (u32, u32)> = occupied
            .iter()
            .map(|(name, members)| {
                let users: BTreeSet<&str> = members.iter().flatten().copied().collect();
                (*name, (members.len() as u32, users.len() as u32))
            })
            .collect();
        let known = self.world.occupied(app);
        let known = known.iter().filter(|(name, ..)| !name.starts_with('#'));
        let known: BTreeMap<&str, (u32, u32)> =
            known.map(|(name, all, users)| (&**name, (*all, *users))).collect();
        assert_eq!(known, truth, "what homes know");
        if self.choices.is_over() {
            self.ask_back_end(app, &truth);
        }
    }

    /// What back ends are told of an app's channels.
    fn ask_back_end(&mut self, app: u32, truth: &BTreeMap<&str, (u32, u32)>) {
        let id = APPS[app as usize];
        for (prefix, info) in [("", "subscription_count"), ("presence-", "user_count,subscription_count")] {
            let path = format!("/apps/{id}/channels?filter_by_prefix={prefix}&info={info}");
            let (status, body) = self.world.api(app, "GET", &path, "");
            assert_eq!(status, 200);
            let told: Value = serde_json::from_str(&body).expect("JSON");
            let expected =
                truth.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, (all, users))| {
                    let counts = match prefix {
                        "" => json!({"subscription_count": all}),
                        _ => json!({"subscription_count": all, "user_count": users}),
                    };
                    ((*name).to_owned(), counts)
                });
            assert_eq!(told["channels"], Value::Object(expected.collect()), "what back ends see");
        }
    }

    /// Everybody goes, and nothing is left.
    fn end(&mut self) {
        if self.published.len() % 2 == 1 {
            self.world.drain();
            self.clients.iter_mut().for_each(|client| _ = client.excused.insert(1001));
            self.observe();
        }
        assert!(self.clients.iter().all(|client| self.world.connections[client.number].is_quiet()));
        while let Some(at) = self.clients.iter().position(|client| !client.closed) {
            self.world.hang_up(self.clients[at].number);
            self.on_closed(at, &End::HungUp);
        }
        assert_eq!(self.world.left(), [0; 5], "something is left");
        assert!(self.apps.iter().all(|app| app.connections() == 0));
    }
}
