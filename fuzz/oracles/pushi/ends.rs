//! The ends of the wires: what Pushi's clients and back ends send to a [`World`], and what is left behind.

use super::super::pusher::ends::inner;
use super::super::pusher::world::{SHAKE, World};
use fanwire::channel::{Command, HIDDEN_APP};
use fanwire::dialect::app::AppSettings;
use fanwire::dialect::pushi::auth::{self, Keys};
use fanwire::dialect::pushi::token::Token;
use serde_json::{Value, json};

/// An app with a key of the length that keys of Pushi have.
pub fn app() -> AppSettings {
    AppSettings::new("1", &"a".repeat(64), &"b".repeat(64))
}

/// The `auth` of a subscription.
pub fn sign(settings: &AppSettings, socket_id: &str, channel: &str) -> String {
    auth::sign(Keys { key: &settings.key, secret: &settings.secret }, socket_id, channel)
}

impl World {
    /// A client of Pushi that has been welcomed.
    pub fn open_pushi(&mut self, shard: usize) -> usize {
        let number = self.accept(shard);
        let key = self.app(0).settings.key.clone();
        assert!(self.request(number, &format!("GET /{key}\n{SHAKE}"), b""));
        let frames = self.take_json(number);
        let [welcome] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(welcome["event"], "pusher:connection_established");
        self.connections[number].socket_id = inner(welcome)["socket_id"].as_str().expect("a name").to_owned();
        number
    }

    /// A client asks for a channel, signed if it has to be.
    pub fn join(&mut self, number: usize, channel: &str, channel_data: Option<Value>) {
        let auth = sign(&self.app(0).settings, &self.connections[number].socket_id, channel);
        let mut frame = json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": auth}, "channel": channel});
        if let Some(data) = channel_data {
            frame["data"]["channel_data"] = data;
        }
        self.message(number, &frame.to_string());
    }

    /// A client leaves a channel, or asks for its events.
    pub fn command_of(&mut self, number: usize, command: &str, channel: &str) {
        let frame =
            json!({"event": command, "data": {"channel": channel, "count": 1000}, "channel": channel});
        self.message(number, &frame.to_string());
    }

    /// A back end logs in.
    pub fn login(&mut self) -> String {
        let number = self.accept(0);
        let app = self.app(0).settings.clone();
        let target = format!("/login?app_id={}&app_key={}&app_secret={}", app.id, app.key, app.secret);
        assert!(self.request(number, &format!("GET {target}"), b""));
        self.settle();
        let (status, body) = self.answered(number);
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// A back end publishes; nobody reads mail yet.
    pub fn publish(&mut self, shard: usize, path: &str, token: &str, body: &Value) -> usize {
        let number = self.accept(shard);
        assert!(self.request(number, &format!("POST {path}?sid={token}"), body.to_string().as_bytes()));
        number
    }

    /// Forgets what is kept for ever: events of these channels, of the app and of the user `u1`, and a back end's session.
    pub fn forget<'c>(&mut self, token: &str, channels: impl Iterator<Item = &'c str>) {
        let token = Token::parse(token).expect("a token").channel();
        for name in channels {
            self.tell(0, 0, name, Command::Delete);
        }
        for name in ["pushi-events", "personal-u1", &token] {
            self.tell(0, HIDDEN_APP, name, Command::Delete);
        }
        self.settle();
    }
}
