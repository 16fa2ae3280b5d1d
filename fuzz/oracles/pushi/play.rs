//! Plays a sequence of operations, read from bytes, on a node and on the model.

use super::super::pusher::ends::inner;
use super::super::pusher::play::Choices;
use super::super::pusher::world::{End, World};
use super::ends::app;
use super::model::{Client, Event, Reply, Wanted};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// In the last one, which is chosen most often, all members want channels with each of the others, in the one before some
/// do.
const CHANNELS: [&str; 8] = [
    "news",
    "global",
    "private-a",
    "presence-a",
    "presence-some",
    "presence-all",
    "presence-all",
    "presence-all",
];
const USERS: [&str; 3] = ["u1", "u2", "u3"];
/// The channel that stands for all channels of a user, and those.
const PERSONAL: &str = "personal-u1";
const ALIASES: [&str; 2] = ["news", "private-a"];
/// Events that are told of a user.
const TOLD: usize = 10;
/// Clients at once.
const CLIENTS: usize = 6;
/// Of everything that ends a connection.
const POLICY: u16 = 1008;

/// A node and what the model knows of it.
pub struct Play<'a> {
    choices: Choices<'a>,
    world: World,
    token: String,
    clients: Vec<Client>,
    events: Vec<Event>,
    /// How many events there were when all was quiet.
    quiet_events: usize,
    /// Publishes of back ends whose answers have not been looked at.
    asked: Vec<usize>,
}

/// Plays all of it, and then sees to it that nothing is left.
pub fn play(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut world = World::with_pushi(1 + choices.below(3), vec![app()]);
    let token = world.login();
    for name in ALIASES {
        world.publish(0, "/subscriptions", &token, &json!({"user_id": "u1", "event": name}));
        world.settle();
    }
    let (clients, events, asked) = (Vec::new(), Vec::new(), Vec::new());
    let mut play = Play { choices, world, token, clients, events, quiet_events: 0, asked };
    while !play.choices.is_over() {
        play.step();
        play.observe();
    }
    play.quiet();
    play.end();
}

impl Play<'_> {
    fn step(&mut self) {
        match self.choices.below(32) {
            0..8 => {
                let shard = self.choices.below(self.world.shards.len());
                self.world.turn(shard);
            }
            8..11 => self.connect(),
            11..17 => self.subscribe(),
            17..19 => self.unsubscribe(),
            19 => self.personal(),
            20..24 => self.client_event(),
            24..27 => self.back_end_event(),
            27 => self.latest(),
            28 => self.misbehave(),
            29 => self.hang_up(),
            _ => self.pair_events(),
        }
    }

    // ---- what clients and back ends do ----

    fn connect(&mut self) {
        if self.clients.iter().filter(|client| !client.closed).count() < CLIENTS {
            let shard = self.choices.below(self.world.shards.len());
            let number = self.world.open_pushi(shard);
            self.clients.push(Client { number, ..Client::default() });
        }
    }

    fn client(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].is_well()).collect();
        (!open.is_empty()).then(|| self.choices.pick(&open))
    }

    /// One of the channels that a client is in, or will be in.
    fn channel_of(&mut self, at: usize) -> Option<&'static str> {
        let names: Vec<&'static str> = self.clients[at].channels.keys().copied().collect();
        (!names.is_empty()).then(|| self.choices.pick(&names))
    }

    fn subscribe(&mut self) {
        let Some(at) = self.client() else { return };
        let channel = self.choices.pick(&CHANNELS);
        let about = self.choices.below(8);
        let is_member = channel.starts_with("presence-") && (about > 0 || channel == "presence-all");
        let user = is_member.then(|| USERS[about % USERS.len()]);
        let data = user.map(|user| match channel {
            "presence-all" => json!({"user_id": user, "peer": true}),
            "presence-some" => json!({"peer": about > 4, "user_id": user}),
            _ => json!({"user_id": user, "name": "\u{e9}\"\\"}),
        });
        self.change(at, channel, Some(Wanted { user }), Reply::Subscribed(user));
        self.world.join(self.clients[at].number, channel, data);
    }

    fn unsubscribe(&mut self) {
        let Some(at) = self.client() else { return };
        let Some(channel) = self.channel_of(at) else { return };
        self.change(at, channel, None, Reply::Unsubscribed);
        self.world.command_of(self.clients[at].number, "pusher:unsubscribe", channel);
    }

    /// A client comes to all channels of a user, or leaves them.
    fn personal(&mut self) {
        let Some(at) = self.client() else { return };
        let is_in_all = ALIASES.iter().all(|name| self.clients[at].channels.contains_key(name));
        let leaves = is_in_all && self.choices.below(2) == 1;
        let reply = if leaves { Reply::Unsubscribed } else { Reply::Subscribed(None) };
        self.clients[at].owed.entry(PERSONAL.to_owned()).or_default().push_back(reply);
        for name in ALIASES {
            self.events[self.quiet_events..].iter_mut().for_each(|event| event.is_doubtful(at, Some(name)));
            let channels = &mut self.clients[at].channels;
            let _ = if leaves { channels.remove(name) } else { channels.insert(name, Wanted { user: None }) };
        }
        let number = self.clients[at].number;
        match leaves {
            true => self.world.command_of(number, "pusher:unsubscribe", PERSONAL),
            false => self.world.join(number, PERSONAL, None),
        }
    }

    /// A client changes its mind about a channel: what it gets of events on their way is no more certain.
    fn change(&mut self, at: usize, channel: &'static str, wanted: Option<Wanted>, reply: Reply) {
        self.events[self.quiet_events..].iter_mut().for_each(|event| event.is_doubtful(at, Some(channel)));
        let client = &mut self.clients[at];
        client.owed.entry(channel.to_owned()).or_default().push_back(reply);
        match wanted {
            Some(wanted) => _ = client.channels.insert(channel, wanted),
            None => _ = client.channels.remove(channel),
        }
    }

    fn client_event(&mut self) {
        let Some(at) = self.client() else { return };
        let Some(channel) = self.channel_of(at) else { return };
        self.send_event(at, channel);
    }

    fn send_event(&mut self, at: usize, channel: &str) {
        let (echo, persist) = (self.choices.below(2) == 1, self.choices.below(3) > 0);
        let id = self.event(vec![channel.to_owned()], persist, Some(at), echo);
        let mut frame = json!({"event": "e", "channel": channel, "data": id.to_string(), "echo": echo});
        if !persist || id.is_multiple_of(2) {
            frame["persist"] = json!(persist); // what is not said is true
        }
        self.world.message(self.clients[at].number, &frame.to_string());
    }

    fn back_end_event(&mut self) {
        let count = 1 + self.choices.below(3);
        let mut channels: Vec<String> =
            (0..count).map(|_| self.choices.pick(&CHANNELS[..6]).to_owned()).collect();
        let named = channels.clone();
        channels.dedup();
        if channels.len() == 3 && channels[0] == channels[2] {
            channels.pop();
        }
        let persist = self.choices.below(3) > 0;
        self.publish(named, channels, persist);
    }

    fn publish(&mut self, named: Vec<String>, channels: Vec<String>, persist: bool) {
        let id = self.event(channels, persist, None, false);
        let channel = if let [one] = &named[..] { json!(one) } else { json!(named) };
        let body = json!({"event": "e", "channel": channel, "data": id.to_string(), "persist": persist});
        let path = if id.is_multiple_of(3) { "/apps/1/events" } else { "/events" };
        let shard = self.choices.below(self.world.shards.len());
        self.asked.push(self.world.publish(shard, path, &self.token, &body));
    }

    /// A new event, and who gets it: known of those whose channels are settled and stay as they are.
    fn event(&mut self, channels: Vec<String>, persist: bool, sender: Option<usize>, echo: bool) -> usize {
        let mut due = BTreeMap::new();
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| client.is_well()) {
            if client.is_settled(PERSONAL) && channels.iter().all(|channel| client.is_settled(channel)) {
                let first = channels.iter().find(|channel| client.channels.contains_key(channel.as_str()));
                due.insert(at, first.filter(|_| echo || sender != Some(at)).cloned());
            }
        }
        let mids = BTreeMap::new();
        self.events.push(Event { channels, persist, sender, echo, certain: true, due, mids });
        self.events.len() - 1
    }

    fn latest(&mut self) {
        let Some(at) = self.client() else { return };
        if let Some(channel) = self.channel_of(at) {
            self.ask_latest(at, channel);
        }
    }

    fn ask_latest(&mut self, at: usize, channel: &str) {
        self.clients[at].owed.entry(channel.to_owned()).or_default().push_back(Reply::Latest);
        self.world.command_of(self.clients[at].number, "pusher:latest", channel);
    }

    /// Something that ends the connection, when its turn comes, and then some more.
    fn misbehave(&mut self) {
        let Some(at) = self.client() else { return };
        let channel = self.choices.pick(&CHANNELS);
        let number = self.clients[at].number;
        if self.clients[at].channels.contains_key(channel) {
            self.change(at, channel, None, Reply::Unsubscribed);
            self.world.command_of(number, "pusher:unsubscribe", channel);
        }
        self.give_up(at);
        for _ in 0..1 + self.choices.below(2) {
            self.world.command_of(number, "pusher:unsubscribe", channel);
        }
        match self.choices.below(4) {
            0 => self.world.join(number, channel, None),
            1 => self.world.command_of(number, "pusher:latest", channel),
            2 => self.world.message(number, "{"),
            _ => {}
        }
    }

    fn hang_up(&mut self) {
        let Some(at) = self.client() else { return };
        self.give_up(at);
        self.world.hang_up(self.clients[at].number);
        self.clients[at].closed = true;
    }

    /// A client will be gone. What it has sent since all was quiet may never have been read.
    fn give_up(&mut self, at: usize) {
        self.clients[at].doomed = true;
        for event in &mut self.events[self.quiet_events..] {
            event.is_doubtful(at, None);
            event.certain &= event.sender != Some(at);
        }
    }

    /// When all is quiet: events of each two users of a presence channel.
    fn pair_events(&mut self) {
        self.quiet();
        let presence = self.choices.pick(&["presence-all", "presence-all", "presence-some"]);
        for (a, b) in [("u1", "u2"), ("u1", "u3"), ("u2", "u3")] {
            self.pair_event(presence, a, b);
            self.quiet();
        }
    }

    fn pair_event(&mut self, presence: &str, a: &str, b: &str) {
        let pair = format!("peer-{}:{a}&{b}", &presence["presence-".len()..]);
        let user = |client: &Client| client.channels.get(presence).and_then(|wanted| wanted.user);
        let is_here = |who: &str| self.clients.iter().any(|c| c.is_well() && user(c) == Some(who));
        let are_both_here = is_here(a) && is_here(b);
        let of_pair = |client: &Client| user(client).is_some_and(|user| user == a || user == b);
        let sender =
            (0..self.clients.len()).find(|at| self.clients[*at].is_well() && of_pair(&self.clients[*at]));
        let in_pair: BTreeSet<usize> =
            (0..self.clients.len()).filter(|at| of_pair(&self.clients[*at])).collect();
        let by_client = sender.filter(|_| presence == "presence-all" && are_both_here);
        match by_client {
            Some(at) => self.send_event(at, &pair),
            None => self.publish(vec![pair.clone()], vec![pair.clone()], true),
        }
        let event = self.events.last_mut().expect("it was just published");
        for (at, due) in event.due.iter_mut().filter(|(at, _)| in_pair.contains(at)) {
            let gets_it = are_both_here && (event.echo || event.sender != Some(*at));
            *due = gets_it.then(|| pair.clone());
        }
        if presence != "presence-all" {
            // Whether they have a channel depends on who came when; nobody else has it.
            in_pair.iter().for_each(|at| event.is_doubtful(*at, None));
        }
        if let Some(at) = by_client {
            self.ask_latest(at, &pair);
        }
    }

    // ---- what comes of it ----

    fn observe(&mut self) {
        for at in 0..self.clients.len() {
            for frame in self.world.take_json(self.clients[at].number) {
                self.on_frame(at, &frame);
            }
            let end = self.world.connections[self.clients[at].number].end.clone();
            if let (Some(end), false) = (end, self.clients[at].closed) {
                assert!(matches!(end, End::WebSocket(POLICY, _)), "{end:?}");
                assert!(self.clients[at].doomed, "client {at} was closed: {:?}", self.world.refused);
                self.clients[at].closed = true;
            }
        }
    }

    fn on_frame(&mut self, at: usize, frame: &Value) {
        let channel = frame["channel"].as_str().expect("every frame has a channel");
        assert!(frame["data"].is_string(), "{frame}");
        let client = &mut self.clients[at];
        match frame["event"].as_str().expect("a name") {
            name if name.starts_with("pusher_internal:") => {
                let (data, reply) = (inner(frame), &name["pusher_internal:".len()..]);
                client.on_reply(channel, reply, &data);
                if channel == PERSONAL {
                    assert_eq!(data["alias"], json!(ALIASES));
                    self.filed(&data["events"]);
                } else if reply == "latest" {
                    let kept = self.kept(channel, &data["events"]);
                    self.clients[at].latest = Some(kept);
                }
            }
            name @ ("pusher:member_added" | "pusher:member_removed") => {
                assert_eq!(frame["member"], frame["data"]);
                let user = inner(frame)["user_id"].as_str().expect("an id").to_owned();
                client.on_member(channel, name.ends_with("added"), &user);
            }
            "e" => {
                let id = frame["data"].as_str().and_then(|data| data.parse().ok()).expect("a number");
                assert!(id >= self.quiet_events, "event {id} comes late");
                assert!(client.seen.insert((id, channel.to_owned())), "event {id} comes twice");
                let event = &mut self.events[id];
                assert!(event.channels.iter().any(|there| there == channel), "{frame}");
                assert!(event.echo || event.sender != Some(at), "event {id} comes back");
                if let Some(due) = event.due.get(&at) {
                    assert_eq!(due.as_deref(), Some(channel), "client {at} gets event {id}");
                }
                assert_eq!(frame.get("mid").is_some(), event.persist, "{frame}");
                assert_eq!(frame.get("timestamp").is_some_and(Value::is_number), event.persist);
                self.identify(id, channel, frame);
            }
            other => panic!("{other}: {frame}"),
        }
    }

    /// An event has one id in one channel, whoever sees it.
    fn identify(&mut self, id: usize, channel: &str, kept: &Value) {
        let Some(mid) = kept["mid"].as_str() else { return };
        let known = self.events[id].mids.entry(channel.to_owned()).or_insert_with(|| mid.to_owned());
        assert_eq!(known, mid, "event {id} of {channel}");
    }

    /// Numbers of the stored events that were told.
    fn kept(&mut self, channel: &str, events: &Value) -> Vec<usize> {
        let (mut numbers, mut before) = (Vec::new(), u64::MAX);
        for kept in events.as_array().expect("a list") {
            let order = kept["id"].as_u64().expect("a number");
            assert!(order < before, "newest first");
            before = order;
            assert_eq!((&kept["channel"], &kept["data"]["channel"]), (&json!(channel), &json!(channel)));
            let id: usize =
                kept["data"]["data"].as_str().and_then(|data| data.parse().ok()).expect("a number");
            assert!(self.events[id].persist, "event {id} is not to be kept");
            assert_eq!(kept["owner_id"].is_null(), self.events[id].sender.is_none());
            self.identify(id, channel, kept);
            numbers.push(id);
        }
        numbers
    }

    /// What is told of a user's events is the newest of what there is, each event once.
    fn filed(&mut self, events: &Value) {
        let mut told = BTreeSet::new();
        for kept in events.as_array().expect("a list") {
            let channel = kept["channel"].as_str().expect("a name").to_owned();
            let id: usize =
                kept["data"]["data"].as_str().and_then(|data| data.parse().ok()).expect("a number");
            let event = &self.events[id];
            assert!(event.persist && event.channels.contains(&channel) && ALIASES.contains(&&*channel));
            assert!(told.insert(id), "event {id} is told twice");
            self.identify(id, &channel, kept);
        }
        assert!(told.len() <= TOLD);
        let before = self.events[..self.quiet_events].iter().enumerate().filter(|(_, event)| {
            let is_users = event.channels.iter().any(|name| ALIASES.contains(&name.as_str()));
            event.persist && event.certain && is_users
        });
        let missing = before.filter(|(id, _)| !told.contains(id)).count();
        assert!(missing == 0 || told.len() == TOLD, "{missing} events are missing");
    }

    /// All mail is read: everybody has been answered, knows who is there, and has got what was due.
    fn quiet(&mut self) {
        self.world.settle();
        self.observe();
        self.world.settle(); // what closed connections have left
        self.observe();
        for number in std::mem::take(&mut self.asked) {
            assert_eq!(self.world.answered(number), (200, r#"{"result":"success"}"#.to_owned()));
        }
        for (id, event) in self.events.iter().enumerate().skip(self.quiet_events) {
            for (at, channel) in event.due.iter().filter(|_| event.certain) {
                let Some(channel) = channel else { continue };
                let got = self.clients[*at].seen.contains(&(id, channel.clone()));
                assert!(got, "client {at} misses event {id} of {channel}");
            }
        }
        self.quiet_events = self.events.len();
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| !client.closed) {
            assert!(!client.doomed, "client {at} should be closed");
            assert!(client.owed.values().all(|owed| owed.is_empty()), "client {at} waits: {:?}", client.owed);
        }
        self.compare();
        self.look_back();
    }

    /// What clients know of each other is what there is.
    fn compare(&self) {
        let open: Vec<&Client> = self.clients.iter().filter(|client| !client.closed).collect();
        let mut truth: BTreeMap<String, (u32, BTreeSet<String>)> = BTreeMap::new();
        for client in &open {
            for (name, wanted) in &client.channels {
                let (connections, users) = truth.entry((*name).to_owned()).or_default();
                *connections += 1;
                users.extend(wanted.user.map(str::to_owned));
            }
        }
        for client in &open {
            for (name, _) in client.channels.iter().filter(|(_, wanted)| wanted.user.is_some()) {
                assert_eq!(client.views[*name], truth[*name].1, "who is in {name}");
            }
        }
        let known = self.world.occupied(0).into_iter();
        let known: BTreeMap<String, (u32, u32)> = known
            .filter(|(name, all, _)| *all > 0 && !name.starts_with("peer-"))
            .map(|(name, all, users)| (name, (all, users)))
            .collect();
        let counted = truth.into_iter().map(|(name, (all, users))| (name, (all, users.len() as u32)));
        assert_eq!(known, counted.collect(), "what homes know");
    }

    /// What a client is told of a channel's history is what was published there.
    fn look_back(&mut self) {
        let Some(at) = self.client() else { return };
        let Some(channel) = self.channel_of(at) else { return };
        self.ask_latest(at, channel);
        self.world.settle();
        self.observe();
        let told: BTreeSet<usize> = self.clients[at].latest.take().expect("an answer").into_iter().collect();
        for (id, event) in self.events.iter().enumerate().filter(|(_, event)| event.persist) {
            let is_here = event.channels.iter().any(|there| there == channel);
            assert!(is_here || !told.contains(&id));
            assert!(!is_here || !event.certain || told.contains(&id), "event {id} is not kept in {channel}");
        }
    }

    /// Everybody goes, and nothing is left but what is kept for ever.
    fn end(&mut self) {
        for client in self.clients.iter().filter(|client| !client.closed) {
            self.world.hang_up(client.number);
        }
        self.world.settle();
        assert!(
            self.world.occupied(0).iter().all(|(_, connections, _)| *connections == 0),
            "somebody is left"
        );
        let names: BTreeSet<&str> =
            self.events.iter().flat_map(|event| &event.channels).map(String::as_str).collect();
        self.world.forget(&self.token, names.into_iter());
        assert_eq!(self.world.left(), [0; 5], "something is left");
    }
}
