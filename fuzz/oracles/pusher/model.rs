//! What one client has to believe: it looks at each frame that comes and says what cannot be.

use super::ends::inner;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

/// A client as the model sees it.
pub struct Client {
    /// Its connection.
    pub number: usize,
    pub app: u32,
    /// It does not answer pings.
    pub silent: bool,
    pub channels: HashMap<&'static str, Channel>,
    pub user: Option<User>,
    /// Close codes that would be no surprise.
    pub excused: BTreeSet<u16>,
    /// It has to be closed once all is quiet.
    pub doomed: bool,
    pub closed: bool,
    /// Somebody has said in time who it is.
    pub authorized: bool,
    pub since_ms: u64,
    /// `pusher:error` and `pusher:subscription_error` that have to come at once.
    pub errors: u32,
    pub subscription_errors: u32,
    /// Client events in this second.
    pub sent: (u64, u32),
    /// Publications that came live: number and channel.
    seen: HashSet<(usize, String)>,
    /// A cache channel whose event, or lack of one, has to come next.
    next: Option<&'static str>,
}

/// One channel of a client.
#[derive(Default)]
pub struct Channel {
    /// What it asked for last and has not left.
    pub active: Option<Sub>,
    /// What it has left before it was told of it.
    pub leaving: VecDeque<Sub>,
    /// Members that it believes to be there.
    pub view: BTreeSet<String>,
}

/// One subscription.
pub struct Sub {
    /// Successes that are to come.
    pub owed: u32,
    pub told: bool,
    fresh: bool,
    /// As whom.
    pub user: Option<&'static str>,
}

/// As whom a client signs in.
pub struct User {
    pub id: &'static str,
    pub owed: u32,
    pub stands: bool,
    /// Successes of its own channel that are to come.
    pub inbox: u32,
    pub watch: BTreeSet<&'static str>,
    /// Who it believes to be online.
    pub view: Option<BTreeMap<String, bool>>,
}

/// What was published.
pub struct Published {
    pub app: u32,
    pub channels: Vec<String>,
    /// The client that must not get it.
    pub except: Option<usize>,
    /// It is a client's: as whom it was sent.
    pub client: Option<Option<&'static str>>,
}

/// Whether the channel keeps its last event.
pub fn is_cache(name: &str) -> bool {
    ["cache-", "private-cache-", "presence-cache-"].iter().any(|prefix| name.starts_with(prefix))
}

impl Sub {
    pub fn new(user: Option<&'static str>) -> Sub {
        Sub { owed: 1, told: false, fresh: true, user }
    }
}

impl Client {
    pub fn new(number: usize, app: u32, silent: bool, since_ms: u64) -> Client {
        Client {
            number,
            app,
            silent,
            channels: HashMap::new(),
            user: None,
            excused: BTreeSet::new(),
            doomed: false,
            closed: false,
            authorized: false,
            since_ms,
            errors: 0,
            subscription_errors: 0,
            sent: (0, 0),
            seen: HashSet::new(),
            next: None,
        }
    }

    /// Whether it knows that it has the channel, and has not left it.
    pub fn has(&self, channel: &str) -> bool {
        self.channels.get(channel).and_then(|channel| channel.active.as_ref()).is_some_and(|sub| sub.told)
    }

    /// As whom it is in the channel.
    pub fn member(&self, channel: &str) -> Option<&'static str> {
        self.channels.get(channel)?.active.as_ref()?.user
    }

    /// The channel of the user it knows to be signed in as.
    pub fn inbox(&self) -> Option<String> {
        let user = self.user.as_ref().filter(|user| user.stands)?;
        Some(format!("#server-to-user-{}", user.id))
    }

    /// Whether a publication came to it in this channel.
    pub fn saw(&self, number: usize, channel: &str) -> bool {
        self.seen.contains(&(number, channel.to_owned()))
    }

    /// Looks at all that came in one turn. Returns whether it was pinged.
    pub fn observe(&mut self, frames: &[Value], published: &[Published]) -> bool {
        let mut pinged = false;
        for frame in frames {
            if let Some(channel) = self.next.take() {
                self.cached(channel, frame, published);
                continue;
            }
            match frame["event"].as_str().expect("a name") {
                "pusher:ping" => pinged = true,
                "pusher:pong" => {}
                "pusher:error" => self.on_error(frame),
                "pusher:subscription_error" => {
                    assert!(self.subscription_errors > 0, "{frame}");
                    self.subscription_errors -= 1;
                }
                "pusher_internal:subscription_succeeded" => self.on_success(frame),
                "pusher_internal:member_added" => self.on_member(frame, true),
                "pusher_internal:member_removed" => self.on_member(frame, false),
                "pusher:signin_success" => self.on_signed_in(frame),
                "pusher_internal:watchlist_events" => self.on_watched(&inner(frame)),
                name @ ("e" | "client-e") => self.on_event(name, frame, published),
                other => panic!("{other}: {frame}"),
            }
        }
        assert!(self.next.is_none(), "nothing came behind the success of {:?}", self.next);
        pinged
    }

    fn on_error(&mut self, frame: &Value) {
        if self.errors > 0 {
            self.errors -= 1;
        } else {
            assert!(frame["data"]["code"] == 4009 && self.excused.contains(&4009), "{frame}");
        }
    }

    fn on_success(&mut self, frame: &Value) {
        let name = frame["channel"].as_str().expect("a channel");
        if name.starts_with('#') {
            let user = self.user.as_mut().expect("a user");
            assert_eq!(name, format!("#server-to-user-{}", user.id));
            assert!(user.stands && user.inbox > 0, "{frame}");
            user.inbox -= 1;
            return;
        }
        let known = self.channels.keys().find(|known| **known == name);
        let name = *known.unwrap_or_else(|| panic!("never asked for: {frame}"));
        let channel = self.channels.get_mut(name).expect("a channel");
        let sub = channel.leaving.front_mut().or(channel.active.as_mut()).expect("a subscription");
        assert!(sub.owed > 0, "told once too often: {frame}");
        sub.owed -= 1;
        sub.told = true;
        let (done, user) = (sub.owed == 0, sub.user);
        if done && std::mem::take(&mut sub.fresh) && is_cache(name) {
            self.next = Some(name);
        }
        if done && channel.leaving.front().is_some_and(|sub| sub.owed == 0) {
            channel.leaving.pop_front();
        }
        if name.starts_with("presence-") {
            let data = inner(frame);
            let presence = &data["presence"];
            let ids = presence["ids"].as_array().expect("ids").iter();
            let ids: Vec<String> = ids.map(|id| id.as_str().expect("text").to_owned()).collect();
            channel.view = ids.iter().cloned().collect();
            assert_eq!(channel.view.len(), ids.len(), "each user once: {frame}");
            let hash = presence["hash"].as_object().expect("an object");
            assert_eq!((&presence["count"], hash.len()), (&json!(ids.len()), ids.len()));
            assert!(channel.view.contains(user.expect("a member")), "{frame}");
        }
    }

    /// Whether events of the channel may come now.
    fn listens(&self, channel: &str) -> bool {
        if channel.starts_with('#') {
            return self.inbox().is_some_and(|inbox| inbox == channel);
        }
        let Some(channel) = self.channels.get(channel) else { return false };
        channel.leaving.front().or(channel.active.as_ref()).is_some_and(|sub| sub.told)
    }

    fn on_member(&mut self, frame: &Value, added: bool) {
        let name = frame["channel"].as_str().expect("a channel");
        assert!(self.listens(name), "before the success: {frame}");
        let id = inner(frame)["user_id"].as_str().expect("text").to_owned();
        let view = &mut self.channels.get_mut(name).expect("a channel").view;
        let changed = if added { view.insert(id) } else { view.remove(&id) };
        assert!(changed, "known already: {frame}");
    }

    fn on_signed_in(&mut self, frame: &Value) {
        let user = self.user.as_mut().expect("a user");
        let data: Value =
            serde_json::from_str(inner(frame)["user_data"].as_str().expect("text")).expect("JSON");
        assert_eq!(data["id"], user.id);
        assert!(user.owed > 0, "told once too often: {frame}");
        user.owed -= 1;
        user.stands = true;
    }

    fn on_watched(&mut self, data: &Value) {
        let user = self.user.as_mut().filter(|user| user.stands).expect("behind the sign-in");
        let mut news = BTreeMap::new();
        for event in data["events"].as_array().expect("events") {
            let online = event["name"] == "online";
            assert!(online || event["name"] == "offline");
            for id in event["user_ids"].as_array().expect("ids") {
                let id = id.as_str().expect("text");
                assert!(user.watch.contains(id) && news.insert(id.to_owned(), online).is_none(), "{data}");
            }
        }
        match &mut user.view {
            None => {
                assert_eq!(news.len(), user.watch.len(), "all of them: {data}");
                user.view = Some(news);
            }
            Some(view) => {
                assert_eq!(news.len(), 1, "{data}");
                for (id, online) in news {
                    assert_eq!(view.insert(id, online), Some(!online), "no news: {data}");
                }
            }
        }
    }

    fn publication<'p>(&self, frame: &Value, published: &'p [Published]) -> (usize, &'p Published) {
        let number: usize = frame["data"].as_str().expect("text").parse().expect("a number");
        let publication = &published[number];
        assert_eq!(publication.app, self.app, "of another app: {frame}");
        let channel = frame["channel"].as_str().expect("a channel");
        assert!(publication.channels.iter().any(|name| name == channel), "{frame}");
        (number, publication)
    }

    fn cached(&mut self, channel: &'static str, frame: &Value, published: &[Published]) {
        assert_eq!(frame["channel"], channel, "behind its success: {frame}");
        if frame["event"] == "pusher:cache_miss" {
            return;
        }
        let (number, publication) = self.publication(frame, published);
        self.seen.insert((number, channel.to_owned()));
        assert!(frame["event"] == "e" && publication.client.is_none(), "{frame}");
    }

    fn on_event(&mut self, name: &str, frame: &Value, published: &[Published]) {
        let channel = frame["channel"].as_str().expect("a channel");
        assert!(self.listens(channel), "before the success: {frame}");
        let (number, publication) = self.publication(frame, published);
        assert_ne!(publication.except, Some(self.number), "not for this one: {frame}");
        assert!(self.seen.insert((number, channel.to_owned())), "twice: {frame}");
        match publication.client {
            None => assert!(name == "e" && frame.get("user_id").is_none(), "{frame}"),
            Some(sender) => {
                assert_eq!(
                    (name, frame.get("user_id").and_then(Value::as_str)),
                    ("client-e", sender),
                    "{frame}"
                );
            }
        }
    }
}
