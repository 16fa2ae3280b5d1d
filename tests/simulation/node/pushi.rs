//! Clients of Pushi: events of channels, their own ones among them, personal channels, the room, and channels of two.

use super::client::{SEVERAL, read_payload};
use super::counts::Did;
use super::grants::{CLOSED, Pass, Taken};
use super::kernel::Simulated;
use super::peer::{Got, Peer};
use super::pusher::{Heard, ROOM, Sub};
use super::truth::{Fate, Follower};
use super::world::{DURABLE, NAMES};
use fanwire::dialect::app::AppSettings;
use fanwire::dialect::pushi::auth::{Keys, sign};
use fanwire::dialect::pushi::name::{pair, personal};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};

/// The channels that a user's personal channel stands for.
pub fn aliases(user: &str) -> &'static [usize] {
    if user == "u0" { &[0] } else { &[0, 1] }
}

/// A user who is there by this protocol only.
pub const ONLY_HERE: &str = "u2";

pub struct Client {
    pub peer: Option<Peer>,
    pub app: usize,
    pub user: String,
    /// It wants a channel with each of the others in the room.
    pairs: bool,
    pub socket: String,
    /// By channel, those that the personal one stands for included.
    pub subs: [Sub; DURABLE],
    personal: Sub,
    pub followers: [Follower; DURABLE],
    pub room: Sub,
    /// Who is in the room, as it was told.
    pub members: BTreeSet<String>,
    pub stalled: bool,
    pub pass: Option<Pass>,
    /// That has let it in somewhere.
    pub depends: bool,
    /// Its user was revoked while it was in the room.
    pub must_go: bool,
    /// What it has sent: it is accepted unless the connection ends.
    sent: Vec<(usize, u64)>,
    /// What it has sent and does not want to hear.
    muted: HashSet<u64>,
    /// What went to several channels and has come.
    several: HashSet<u64>,
    /// Answers that are still to come to its leaving.
    leaving: usize,
    /// What went to several channels may come twice below this id: it had left one of them.
    twice_below: u64,
}

impl Client {
    pub fn new(app: usize, user: String, pairs: bool) -> Client {
        Client {
            peer: None,
            app,
            user,
            pairs,
            socket: String::new(),
            subs: Default::default(),
            personal: Sub::Out,
            followers: Default::default(),
            room: Sub::Out,
            members: BTreeSet::new(),
            stalled: false,
            pass: None,
            depends: false,
            must_go: false,
            sent: Vec::new(),
            muted: HashSet::new(),
            several: HashSet::new(),
            leaving: 0,
            twice_below: 0,
        }
    }

    pub fn begin(&mut self, kernel: &Simulated, peer: Peer, pass: Option<Pass>, app: &AppSettings) {
        let token =
            pass.as_ref().map_or_else(String::new, |p| format!("Authorization: Bearer {}\r\n", p.token));
        self.pass = pass;
        let head = format!(
            "GET /{} HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{token}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            app.key
        );
        kernel.write(peer.fd, head.as_bytes());
        self.peer = Some(peer);
    }

    /// Whether it is connected, and has ended nothing.
    pub fn is_there(&self) -> bool {
        !self.socket.is_empty() && self.peer.as_ref().is_some_and(|peer| !peer.finished)
    }

    /// Whether it should have to go, or may not come.
    pub fn is_barred(&self, taken: &Taken) -> bool {
        self.depends && self.pass.as_ref().is_some_and(|pass| taken.covers(pass))
    }

    fn say(&self, kernel: &Simulated, event: &str, data: Value) {
        if let Some(peer) = self.peer.as_ref().filter(|peer| !peer.finished) {
            peer.text(kernel, &json!({"event": event, "data": data}).to_string());
        }
    }

    fn auth(&self, app: &AppSettings, channel: &str) -> String {
        sign(Keys { key: &app.key, secret: &app.secret }, &self.socket, channel)
    }

    fn stands_for(&self, channel: usize) -> bool {
        self.personal != Sub::Out && aliases(&self.user).contains(&channel)
    }

    /// Comes to a channel, or goes.
    pub fn toggle(&mut self, kernel: &Simulated, channel: usize) {
        let data = json!({"channel": NAMES[channel]});
        match self.subs[channel] {
            _ if self.stands_for(channel) => {}
            Sub::Out => {
                self.subs[channel] = Sub::Asked;
                self.depends |= channel == CLOSED && self.pass.is_some() && self.app == 0;
                self.say(kernel, "pusher:subscribe", data);
            }
            Sub::Asked => {}
            Sub::In => {
                self.leave(channel);
                self.leaving += 1;
                self.say(kernel, "pusher:unsubscribe", data);
            }
        }
    }

    fn leave(&mut self, channel: usize) {
        self.subs[channel] = Sub::Out;
        // It may still get something, and then nothing for a while.
        self.followers[channel].lossy = true;
    }

    /// Comes to its personal channel, or goes.
    pub fn toggle_personal(&mut self, kernel: &Simulated, app: &AppSettings) {
        let name = personal(&self.user);
        let aliases = aliases(&self.user);
        let is_free = aliases.iter().all(|&at| self.subs[at] == Sub::Out);
        match self.personal {
            Sub::Out if is_free => {
                self.personal = Sub::Asked;
                self.depends |= aliases.contains(&CLOSED) && self.pass.is_some();
                // Events come before it is told that they will.
                aliases.iter().for_each(|&at| self.followers[at].lossy = true);
                let auth = self.auth(app, &name);
                self.say(kernel, "pusher:subscribe", json!({"channel": name, "auth": auth}));
            }
            Sub::Out | Sub::Asked => {}
            Sub::In => {
                self.personal = Sub::Out;
                aliases.iter().for_each(|&at| self.leave(at));
                self.leaving += 1;
                self.say(kernel, "pusher:unsubscribe", json!({"channel": name}));
            }
        }
    }

    /// Comes to the room, or goes.
    pub fn toggle_room(&mut self, kernel: &Simulated, app: &AppSettings) {
        match self.room {
            Sub::Out => {
                self.room = Sub::Asked;
                let data = json!({"user_id": self.user, "peer": self.pairs});
                let data = json!({"channel": ROOM, "auth": self.auth(app, ROOM), "channel_data": data});
                self.say(kernel, "pusher:subscribe", data);
            }
            Sub::Asked => {}
            Sub::In => {
                self.room = Sub::Out;
                self.must_go = false;
                self.leaving += 1;
                self.say(kernel, "pusher:unsubscribe", json!({"channel": ROOM}));
            }
        }
    }

    /// Asks for stored events.
    pub fn latest(&mut self, kernel: &Simulated, channel: usize) {
        if self.subs[channel] == Sub::In {
            self.say(kernel, "pusher:latest", json!({"channel": NAMES[channel], "count": 5}));
        }
    }

    /// Whether it may send to a channel.
    pub fn may_send(&self, channel: usize) -> bool {
        self.is_there() && self.subs[channel] == Sub::In
    }

    /// Sends an event, which comes back with `echo`.
    pub fn send(&mut self, kernel: &Simulated, to: (usize, u64), text: &str, echo: bool, keep: bool) {
        let Some(peer) = &self.peer else { return };
        let event =
            json!({"event": "client-e", "channel": NAMES[to.0], "data": text, "echo": echo, "persist": keep});
        peer.text(kernel, &event.to_string());
        self.sent.push(to);
        if !echo {
            self.muted.insert(to.1);
            self.followers[to.0].elsewhere.insert(to.1);
        }
    }

    pub fn got(&mut self, got: Got, heard: &mut Heard<'_>) {
        let text = match got {
            Got::Text(text) => text,
            Got::End => return self.lost(),
            Got::Close { code, reason } => return self.closed(code, &reason, heard),
            Got::Response { status: 101 | 404 | 503, .. } => return,
            other => panic!("{other:?}"),
        };
        let frame: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        let field = |name: &str| frame[name].as_str().unwrap_or("");
        let data = || -> Value { serde_json::from_str(field("data")).unwrap_or_else(|_| panic!("{text}")) };
        let user = || -> String {
            let member: Value = serde_json::from_str(field("member")).unwrap_or_else(|_| panic!("{text}"));
            member["user_id"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        let at = NAMES.iter().position(|name| *name == field("channel"));
        match (field("event"), at) {
            ("pusher:connection_established", _) => {
                self.socket = data()["socket_id"].as_str().expect("a name").to_owned();
            }
            ("pusher_internal:subscription_succeeded", at) => self.subscribed(at, &data(), heard),
            ("pusher_internal:unsubscription_succeeded", _) => {
                self.leaving -= 1;
                self.twice_below = heard.published + 1;
            }
            ("pusher_internal:latest", _) => {
                self.stored(&data()["events"], heard);
                heard.counts.note(Did::Latest);
            }
            // Who asked and went before the answer came is told all the same.
            ("pusher:member_added", _) => assert!(self.members.insert(user()), "again: {text}"),
            ("pusher:member_removed", _) => assert!(self.members.remove(&user()), "not there: {text}"),
            (_, Some(at)) if self.app == 0 => self.event(at, field("data"), heard),
            _ => panic!("{text}"),
        }
    }

    fn subscribed(&mut self, at: Option<usize>, data: &Value, heard: &mut Heard<'_>) {
        let name = data["name"].as_str().unwrap_or("");
        if name == ROOM {
            let members = data["members"].as_object().expect("members");
            self.members = members.keys().cloned().collect();
            assert!(self.members.contains(&self.user), "not in its own list: {data}");
            if self.room == Sub::Asked {
                self.room = Sub::In;
                heard.counts.note(Did::Room);
            }
            return;
        }
        let come: &[usize] = match at {
            Some(at) => &[at],
            None => {
                let alias: Vec<_> = aliases(&self.user).iter().map(|&at| NAMES[at]).collect();
                assert_eq!(data["alias"], json!(alias));
                self.stored(&data["events"], heard);
                self.personal = Sub::In;
                heard.counts.note(Did::Personal);
                aliases(&self.user)
            }
        };
        for &at in come {
            self.subs[at] = Sub::In;
            self.followers[at].begin(heard.published);
        }
        if come.contains(&CLOSED) && self.depends {
            heard.counts.note(Did::Admitted);
        }
    }

    /// Looks at stored events, newest first.
    fn stored(&self, events: &Value, heard: &mut Heard<'_>) {
        let mut newer = None;
        for event in events.as_array().expect("a list") {
            let text = event["data"]["data"].as_str().unwrap_or_else(|| panic!("{event}"));
            let at = NAMES.iter().position(|name| event["channel"] == *name).expect("a channel");
            let (_, id) = read_payload(text);
            if self.app == 0 {
                heard.channels[at].delivered(id, None);
            }
            assert!(newer != Some((at, id)), "{id} twice in {events}");
            newer = Some((at, id));
        }
    }

    fn event(&mut self, at: usize, text: &str, heard: &mut Heard<'_>) {
        let (channel, id) = read_payload(text);
        assert!(channel == at || channel == SEVERAL, "{text} in {}", NAMES[at]);
        assert!(!self.muted.contains(&id), "{id} has come back");
        heard.counts.note(Did::Event);
        if channel == SEVERAL {
            for (other, follower) in self.followers.iter_mut().enumerate() {
                if other != at {
                    follower.elsewhere.insert(id);
                }
            }
            let deleted = heard.deletes;
            let is_new = self.several.insert(id);
            let may_be_old = deleted || self.leaving > 0 || id < self.twice_below;
            assert!(is_new || may_be_old, "{id} has come by two channels");
            let both = self.subs[0] == Sub::In && self.subs[1] == Sub::In;
            heard.counts.more(Did::Once, u64::from(both));
        }
        self.followers[at].got(&mut heard.channels[at], id, None);
    }

    /// The node ends the connection.
    fn closed(&mut self, code: u16, reason: &str, heard: &mut Heard<'_>) {
        match reason {
            "the authorization was revoked" => {
                let as_user = heard.taken.knows(&self.user);
                assert!(as_user || self.is_barred(heard.taken), "{:?} is good", self.pass);
                let was_in = self.must_go || self.subs[CLOSED] == Sub::In;
                heard.counts.note(if was_in { Did::Expelled } else { Did::Barred });
            }
            "the channel was ended" => heard.counts.note(Did::RoomEnded),
            // It is always answered in the same way: nothing was wrong with what the client has asked.
            "not subscribed" | "bad message" => panic!("{code} {reason}"),
            _ => assert!(code != 1008 || reason == "the app is gone", "{code} {reason}"),
        }
    }

    /// Nothing is under way: what it has sent was accepted.
    pub fn at_rest(&mut self, heard: &mut Heard<'_>) {
        if self.is_there() && self.app == 0 {
            for (channel, id) in self.sent.drain(..) {
                heard.channels[channel].answered(id, Fate::Accepted, None);
                heard.counts.note(Did::Sent);
            }
        }
    }

    /// The names of the channels that it has.
    pub fn names(&self) -> BTreeSet<String> {
        let subs = (0..DURABLE).filter(|&at| self.subs[at] == Sub::In).map(|at| NAMES[at].to_owned());
        let mut names: BTreeSet<String> = subs.collect();
        if self.room == Sub::In {
            names.insert(ROOM.into());
        }
        names
    }

    /// Its channels with each of the others who want that, too. Who is there by another protocol does not say so, and
    /// may be met all the same.
    pub fn pairs(&self) -> impl Iterator<Item = String> {
        let is_in = self.pairs && self.room == Sub::In;
        let others =
            self.members.iter().filter(move |user| is_in && **user == ONLY_HERE && **user != self.user);
        others.map(|user| pair(ROOM, &self.user, user))
    }

    pub fn lost(&mut self) {
        let followers = std::mem::take(&mut self.followers);
        *self = Client { followers, ..Client::new(self.app, std::mem::take(&mut self.user), self.pairs) };
    }
}
