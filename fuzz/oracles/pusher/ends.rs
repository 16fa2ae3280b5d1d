//! The ends of the wires: what clients and back ends of a [`World`] send, signed, and what they get.

use super::world::World;
use fanwire::channel::{ChannelKey, List};
use fanwire::dialect::app::AppSettings;
use fanwire::wire::sign::{ApiQuery, channel_string, hmac_sha256, md5, user_string};
use serde_json::{Value, json};

impl World {
    /// A client that has been welcomed.
    pub fn open(&mut self, shard: usize, app: u32) -> usize {
        let key = self.app(app).settings.key.clone();
        let number = self.connect(shard, &key);
        let frames = self.take_json(number);
        let [welcome] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(welcome["event"], "pusher:connection_established");
        let data = inner(welcome);
        self.connections[number].socket_id = data["socket_id"].as_str().expect("a name").to_owned();
        number
    }

    /// A client asks for a channel; for presence channels as this user.
    pub fn subscribe(&mut self, number: usize, app: u32, channel: &str, user: Option<&str>) {
        let data = user.map(|user| json!({"user_id": user, "user_info": {"name": user}}).to_string());
        let socket = &self.connections[number].socket_id;
        let frame = subscription(&self.app(app).settings, socket, channel, data.as_deref());
        self.message(number, &frame);
    }

    /// A client leaves a channel.
    pub fn unsubscribe(&mut self, number: usize, channel: &str) {
        self.message(
            number,
            &json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}).to_string(),
        );
    }

    /// A client says who it is and whom it watches.
    pub fn sign_in(&mut self, number: usize, app: u32, user: &str, watchlist: &[&str]) {
        let data = json!({"id": user, "user_info": {"name": user}, "watchlist": watchlist}).to_string();
        let frame = signin(&self.app(app).settings, &self.connections[number].socket_id, &data);
        self.message(number, &frame);
    }

    /// The frames that came since the last look.
    pub fn take_json(&mut self, number: usize) -> Vec<Value> {
        let frames = self.take(number).into_iter();
        frames
            .map(|frame| serde_json::from_str(&frame).unwrap_or_else(|_| panic!("no JSON: {frame}")))
            .collect()
    }

    /// What came on a connection since the last look, as it was sent.
    pub fn take_raw(&mut self, number: usize) -> Vec<u8> {
        self.connections[number].out.drain(..).flatten().collect()
    }

    /// The text frames that came on a WebSocket since the last look.
    pub fn take(&mut self, number: usize) -> Vec<String> {
        let out = std::mem::take(&mut self.connections[number].out);
        let frames = out.into_iter().filter(|piece| !piece.starts_with(b"HTTP/1.1 101 "));
        frames.map(|frame| text_of(&frame)).collect()
    }

    /// Sends a signed request on a connection of its own and returns status and body, once all mail is read.
    pub fn api(&mut self, app: u32, method: &str, path_query: &str, body: &str) -> (u16, String) {
        let number = self.ask(0, app, method, path_query, body);
        self.settle();
        self.answered(number)
    }

    /// Sends a signed request; nobody reads mail yet.
    pub fn ask(&mut self, shard: usize, app: u32, method: &str, path_query: &str, body: &str) -> usize {
        let settings = self.app(app).settings.clone();
        let number = self.accept(shard);
        let target = signed(&settings, method, path_query, body, self.now.unix_s());
        assert!(self.request(number, &format!("{method} {target}"), body.as_bytes()), "{target}");
        number
    }

    /// Status and body of the answer to [`World::ask`].
    pub fn answered(&mut self, number: usize) -> (u16, String) {
        let raw = String::from_utf8(self.take_raw(number)).expect("text");
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
        (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.into())
    }

    /// The occupied channels of an app as their homes know them: name, connections, users.
    pub fn occupied(&self, app: u32) -> Vec<(String, u32, u32)> {
        let list = List { app, prefix: Box::default(), most: usize::MAX };
        let channels = self.shards.iter().flat_map(|shard| shard.home.list(&list, self.now));
        let text = |key: &ChannelKey| String::from_utf8(key.name().to_vec()).expect("text");
        channels.map(|(key, info)| (text(&key), info.subscribers, info.users.unwrap_or(0))).collect()
    }

    /// What is left in the node once nobody is there: channels, channels with members, bytes of users,
    /// registrations, connections of apps.
    pub fn left(&mut self) -> [usize; 5] {
        for _ in 0..3 {
            self.wait_ms(4_000_000);
            self.settle();
        }
        [
            self.shards.iter().map(|shard| shard.home.channels()).sum(),
            self.shards.iter().map(|shard| shard.members.channels()).sum(),
            self.shards.iter().map(|shard| shard.home.presence_bytes()).sum(),
            self.connections.iter().map(|connection| connection.subs.len()).sum(),
            self.apps.iter().map(|app| app.connections() as usize).sum(),
        ]
    }
}

/// The text of one unmasked text frame.
fn text_of(frame: &[u8]) -> String {
    assert_eq!(frame[0], 0x81, "a whole text frame");
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        short => {
            assert_eq!(usize::from(short), frame.len() - 2);
            2
        }
    };
    String::from_utf8(frame[head..].to_vec()).expect("UTF-8")
}

/// Path and query with the signature of the app.
pub fn signed(settings: &AppSettings, method: &str, path_query: &str, body: &str, now_s: u64) -> String {
    let (path, query) = path_query.split_once('?').unwrap_or((path_query, ""));
    let mut query = format!("{query}&auth_key={}&auth_timestamp={now_s}&auth_version=1.0", settings.key);
    if !body.is_empty() {
        query.push_str(&format!("&body_md5={}", md5(body.as_bytes())));
    }
    let query = query.trim_start_matches('&').to_owned();
    let signature = hmac_sha256(
        settings.secret.as_bytes(),
        ApiQuery::parse(&query).string_to_sign(method, path).as_bytes(),
    );
    format!("{path}?{query}&auth_signature={signature}")
}

/// The JSON in the data of a frame of the protocol.
pub fn inner(frame: &Value) -> Value {
    let data = frame["data"].as_str().unwrap_or_else(|| panic!("data is a string: {frame}"));
    serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON in {frame}"))
}

/// A signed subscription.
pub fn subscription(app: &AppSettings, socket_id: &str, channel: &str, data: Option<&str>) -> String {
    let signed = hmac_sha256(app.secret.as_bytes(), channel_string(socket_id, channel, data).as_bytes());
    let protected = channel.starts_with("private-") || channel.starts_with("presence-");
    let auth = if protected { format!("{}:{signed}", app.key) } else { String::new() };
    let mut frame = json!({"event": "pusher:subscribe", "data": {"auth": auth, "channel": channel}});
    if let Some(data) = data {
        frame["data"]["channel_data"] = json!(data);
    }
    frame.to_string()
}

/// A signed sign-in.
pub fn signin(app: &AppSettings, socket_id: &str, user_data: &str) -> String {
    let signed = hmac_sha256(app.secret.as_bytes(), user_string(socket_id, user_data).as_bytes());
    let auth = format!("{}:{signed}", app.key);
    json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}).to_string()
}
