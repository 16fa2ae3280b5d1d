//! Clients of Pusher: events of channels, and who is in a room.

use super::client::{SEVERAL, read_payload};
use super::counts::{Counts, Did};
use super::grants::{CLOSED, Pass, Taken};
use super::kernel::Simulated;
use super::peer::{Got, Peer};
use super::truth::Follower;
use super::world::{Channels, NAMES};
use fanwire::dialect::app::AppSettings;
use fanwire::wire::sign::{ApiQuery, channel_string, hmac_sha256, md5};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const ROOM: &str = "presence-room";

/// A subscription to a channel of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sub {
    #[default]
    Out,
    Asked,
    In,
}

pub struct Client {
    pub peer: Option<Peer>,
    pub app: usize,
    /// Who it is in the room.
    pub user: String,
    socket: String,
    /// By channel.
    pub subs: Vec<Sub>,
    pub followers: Vec<Follower>,
    pub room: Sub,
    /// Who is in the room, as it was told.
    pub members: BTreeSet<String>,
    pub stalled: bool,
    /// What it has brought along.
    pub pass: Option<Pass>,
    /// That has let it in somewhere.
    pub depends: bool,
}

/// What a client knows when it looks at what has come.
pub struct Heard<'a> {
    pub channels: &'a mut Channels,
    pub taken: &'a Taken,
    pub counts: &'a mut Counts,
    /// The last publication's id.
    pub published: u64,
    /// Channels are deleted now and then.
    pub deletes: bool,
}

/// A request's path with its signature.
pub fn signed(app: &AppSettings, method: &str, path: &str, body: &str, now_s: u64) -> String {
    let mut query = format!("auth_key={}&auth_timestamp={now_s}&auth_version=1.0", app.key);
    if !body.is_empty() {
        query.push_str(&format!("&body_md5={}", md5(body.as_bytes())));
    }
    let text = ApiQuery::parse(&query).string_to_sign(method, path);
    let signature = hmac_sha256(app.secret.as_bytes(), text.as_bytes());
    format!("{path}?{query}&auth_signature={signature}")
}

impl Client {
    pub fn new(app: usize, user: String, channels: usize) -> Client {
        Client {
            peer: None,
            app,
            user,
            socket: String::new(),
            subs: vec![Sub::Out; channels],
            followers: (0..channels).map(|_| Follower::default()).collect(),
            room: Sub::Out,
            members: BTreeSet::new(),
            stalled: false,
            pass: None,
            depends: false,
        }
    }

    pub fn begin(&mut self, kernel: &Simulated, peer: Peer, pass: Option<Pass>, app: &AppSettings) {
        let token = pass.as_ref().map_or_else(String::new, |pass| format!("&token={}", pass.token));
        self.pass = pass;
        let head = format!(
            "GET /app/{}?protocol=7&client=js&version=8{token} HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            app.key
        );
        kernel.write(peer.fd, head.as_bytes());
        self.peer = Some(peer);
    }

    pub fn is_welcome(&self) -> bool {
        self.peer.is_some() && !self.socket.is_empty()
    }

    fn say(&self, kernel: &Simulated, text: &Value) {
        if let Some(peer) = self.peer.as_ref().filter(|peer| !peer.finished) {
            peer.text(kernel, &text.to_string());
        }
    }

    /// Comes to a channel, or goes.
    pub fn toggle(&mut self, kernel: &Simulated, channel: usize) {
        let name = NAMES[channel];
        match self.subs[channel] {
            Sub::Out => {
                self.subs[channel] = Sub::Asked;
                self.say(kernel, &json!({"event": "pusher:subscribe", "data": {"channel": name}}));
            }
            Sub::Asked => {}
            Sub::In => {
                self.subs[channel] = Sub::Out;
                self.say(kernel, &json!({"event": "pusher:unsubscribe", "data": {"channel": name}}));
            }
        }
    }

    /// Comes to the room, or goes.
    pub fn toggle_room(&mut self, kernel: &Simulated, app: &AppSettings) {
        match self.room {
            Sub::Out => {
                self.room = Sub::Asked;
                let data = json!({"user_id": self.user}).to_string();
                let text = channel_string(&self.socket, ROOM, Some(&data));
                let auth = format!("{}:{}", app.key, hmac_sha256(app.secret.as_bytes(), text.as_bytes()));
                let data = json!({"channel": ROOM, "auth": auth, "channel_data": data});
                self.say(kernel, &json!({"event": "pusher:subscribe", "data": data}));
            }
            Sub::Asked => {}
            Sub::In => {
                self.room = Sub::Out;
                self.say(kernel, &json!({"event": "pusher:unsubscribe", "data": {"channel": ROOM}}));
            }
        }
    }

    /// Whether it should have to go, or may not come.
    pub fn is_barred(&self, taken: &Taken) -> bool {
        self.depends && self.pass.as_ref().is_some_and(|pass| taken.covers(pass))
    }

    pub fn got(&mut self, kernel: &Simulated, got: Got, heard: &mut Heard<'_>) {
        let text = match got {
            Got::Text(text) => text,
            Got::End => return self.lost(),
            Got::Close { code: 4200, .. } if self.room != Sub::Out => {
                return heard.counts.note(Did::RoomEnded);
            }
            Got::Response { status: 101 | 404 | 503, .. } | Got::Close { .. } => return,
            other => panic!("{other:?}"),
        };
        let frame: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        let data = match &frame["data"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or(frame["data"].clone()),
            other => other.clone(),
        };
        let user = || data["user_id"].as_str().expect("a user").to_owned();
        let channel = frame["channel"].as_str().unwrap_or("");
        let at = NAMES.iter().position(|name| *name == channel);
        match (frame["event"].as_str().unwrap_or(""), at) {
            ("pusher:connection_established", _) => {
                self.socket = data["socket_id"].as_str().expect("a name").to_owned();
            }
            ("pusher:ping", _) => self.say(kernel, &json!({"event": "pusher:pong"})),
            ("pusher:error", _) if text.contains("terminated") => {
                let as_user =
                    self.pass.as_ref().is_some_and(|pass| self.depends && heard.taken.knows(&pass.user));
                assert!(as_user || self.is_barred(heard.taken), "{:?} is good: {text}", self.pass);
                heard.counts.note(Did::Expelled);
            }
            ("pusher:error", _) => {}
            ("pusher_internal:subscription_succeeded", None) => {
                let ids = data["presence"]["ids"].as_array().expect("a list");
                self.members = ids.iter().map(|id| id.as_str().expect("an id").to_owned()).collect();
                assert_eq!(self.members.len(), ids.len(), "somebody twice: {data}");
                assert!(self.members.contains(&self.user), "not in its own list: {data}");
                if self.room == Sub::Asked {
                    self.room = Sub::In;
                    heard.counts.note(Did::Room);
                }
            }
            // Who asked and went before the answer came is told all the same.
            ("pusher_internal:member_added", _) => assert!(self.members.insert(user()), "again: {text}"),
            ("pusher_internal:member_removed", _) => {
                assert!(self.members.remove(&user()), "not there: {text}")
            }
            ("pusher_internal:subscription_succeeded", Some(at)) => {
                self.subs[at] = Sub::In;
                self.followers[at].begin(heard.published);
                if at == CLOSED && self.pass.is_some() && self.app == 0 {
                    self.depends = true;
                    heard.counts.note(Did::Admitted);
                }
            }
            ("pusher:subscription_error", at) => match at {
                Some(at) => {
                    self.subs[at] = Sub::Out;
                    if data["status"] == 401 {
                        let is_good = self.pass.as_ref().is_some_and(|pass| !heard.taken.covers(pass));
                        assert!(at == CLOSED && !is_good, "{:?} is good: {text}", self.pass);
                        heard.counts.note(Did::Barred);
                    }
                }
                None => self.room = Sub::Out,
            },
            (_, Some(at)) => {
                let Value::String(text) = &frame["data"] else { panic!("{frame}") };
                let (channel, id) = read_payload(text);
                assert!(channel == at || channel == SEVERAL, "{text} in {}", NAMES[at]);
                if self.app == 0 {
                    self.followers[at].got(&mut heard.channels[at], id, None);
                }
            }
            _ => panic!("{text}"),
        }
    }

    pub fn lost(&mut self) {
        self.peer = None;
        self.socket.clear();
        self.subs.iter_mut().for_each(|sub| *sub = Sub::Out);
        self.room = Sub::Out;
        self.members.clear();
        (self.stalled, self.depends) = (false, false);
    }
}
