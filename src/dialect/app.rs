//! Tenants: who they are, what they may do, and how many of what they have now. One table for all shards; it is
//! replaced as a whole when an app comes or goes, and an app that stays keeps its place and its counts.

use crate::channel::store::StoreError;
use crate::channel::{Policy, PresenceLimits};
use crate::dialect::grant::Grants;
use crate::limits::{
    APP_CACHE_MS, APP_CHANNEL_TIMEOUT_MS, APP_CLIENT_EVENTS_PER_S, APP_HISTORY_MESSAGES, APP_HISTORY_MS,
    APP_ID_BYTES, APP_PRESENCE_USERS, APP_SECRET_BYTES, NODE_APPS, PRESENCE_USER_BYTES, PUSHER_DATA_BYTES,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What an app is told to be. `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct AppSettings {
    /// Its id in back-end URLs.
    pub id: String,
    /// What clients name it by.
    pub key: String,
    /// What its back ends sign with.
    pub secret: String,
    /// What people call it; empty: by its id.
    pub name: String,
    /// Switched off, it takes neither clients nor events.
    pub enabled: bool,
    /// Pages that its clients may come from ([`crate::wire::http::origin`]); empty: those that the node lets in.
    pub origins: Vec<String>,
    /// Clients may send events to each other (pusher.md section 9).
    pub client_events: bool,
    /// Subscribers are told their number (pusher.md section 10).
    pub subscription_count: bool,
    /// A client that has neither signed in nor an authorized subscription by then is sent away, milliseconds;
    /// 0 = never (pusher.md section 8).
    pub authorize_within_ms: u64,
    /// Connections at once; 0 = any number.
    pub max_connections: usize,
    /// Channels at once; 0 = any number.
    pub max_channels: usize,
    /// Events of back ends in a second; 0 = any number.
    pub max_events_per_s: u32,
    /// Events of one client in a second; 0 = any number.
    pub max_client_events_per_s: u32,
    /// Data of one event, bytes.
    pub max_event_bytes: usize,
    /// Users of one presence channel; 0 = any number.
    pub max_presence_users: u32,
    /// A channel keeps so many of its newest events, so that a long-poll client misses none.
    pub history_messages: u32,
    /// It keeps them so long, milliseconds.
    pub history_ms: u64,
    /// A cache channel keeps its last event so long, milliseconds.
    pub cache_ms: u64,
}

impl AppSettings {
    /// An app with these names and the defaults of everything else.
    pub fn new(id: &str, key: &str, secret: &str) -> AppSettings {
        AppSettings {
            id: id.into(),
            key: key.into(),
            secret: secret.into(),
            name: String::new(),
            enabled: true,
            origins: Vec::new(),
            client_events: false,
            subscription_count: false,
            authorize_within_ms: 0,
            max_connections: 0,
            max_channels: 0,
            max_events_per_s: 0,
            max_client_events_per_s: APP_CLIENT_EVENTS_PER_S,
            max_event_bytes: PUSHER_DATA_BYTES,
            max_presence_users: APP_PRESENCE_USERS,
            history_messages: APP_HISTORY_MESSAGES,
            history_ms: APP_HISTORY_MS,
            cache_ms: APP_CACHE_MS,
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }

    /// Whether its names can be.
    ///
    /// # Errors
    /// [`AppRefusal::Invalid`].
    pub fn check(&self) -> Result<(), AppRefusal> {
        let names = [("id", &self.id), ("key", &self.key), ("secret", &self.secret)];
        let wrong = names.into_iter().find_map(|(name, value)| AppSettings::check_name(name, value));
        wrong.map_or(Ok(()), |what| Err(AppRefusal::Invalid(what.into())))
    }

    /// What is wrong with an `id`, `key` or `secret` (`name` says which), if anything.
    pub fn check_name(name: &str, value: &str) -> Option<String> {
        let stands_in_urls = name != "secret";
        let most = if stands_in_urls { APP_ID_BYTES } else { APP_SECRET_BYTES };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if value.is_empty() {
            Some(format!("an app needs `{name}`"))
        } else if stands_in_urls && !value.bytes().all(fits) {
            Some(format!("`{name}` is made of letters, digits, `-`, `_` and `.`: it stands in URLs"))
        } else {
            (value.len() > most).then(|| format!("`{name}` has at most {most} bytes"))
        }
    }
}

impl fmt::Debug for AppSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AppSettings").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

/// An app of the running node.
#[derive(Debug)]
pub struct App {
    /// Its place in the table, which stands for it in [`crate::channel::ChannelKey`]. Never given twice.
    pub number: u32,
    /// As told.
    pub settings: AppSettings,
    /// Rules of its channels.
    pub policy: Arc<Policy>,
    /// Rules of its channels that keep their last event.
    pub cache_policy: Arc<Policy>,
    /// Rules of channels that only carry events to those who are there.
    pub hidden_policy: Arc<Policy>,
    connections: AtomicU64,
    events: Rate,
}

impl App {
    fn new(number: u32, settings: AppSettings) -> App {
        let presence = PresenceLimits {
            users: settings.max_presence_users,
            user_bytes: PRESENCE_USER_BYTES,
            leave_grace_ms: 0,
            announce_lists: false,
        };
        let rules = |max_messages, message_timeout_ms| {
            Arc::new(Policy {
                max_messages,
                message_timeout_ms,
                channel_timeout_ms: APP_CHANNEL_TIMEOUT_MS,
                presence,
                ..Policy::default()
            })
        };
        App {
            number,
            policy: rules(settings.history_messages, settings.history_ms),
            cache_policy: rules(1, settings.cache_ms),
            hidden_policy: rules(0, 0),
            settings,
            connections: AtomicU64::new(0),
            events: Rate::default(),
        }
    }

    /// Connections now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Counts a connection until the seat is dropped. `None`: it has as many as it may.
    pub fn connect(self: &Arc<App>) -> Option<Connected> {
        let before = self.connections.fetch_add(1, Relaxed);
        let connected = Connected(self.clone());
        let limit = self.settings.max_connections as u64;
        (limit == 0 || before < limit).then_some(connected)
    }

    /// Whether a back end may publish so many events now.
    pub fn admit_events(&self, events: u32, mono_ms: u64) -> bool {
        self.events.admit(events, self.settings.max_events_per_s, mono_ms / 1000)
    }
}

/// A connection that counts as one of its app's.
#[derive(Debug)]
pub struct Connected(Arc<App>);

impl Connected {
    /// The app.
    pub fn app(&self) -> &Arc<App> {
        &self.0
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

/// Counts in windows of one second: second and count in one number, so that no shard waits for another.
#[derive(Debug, Default)]
pub struct Rate(AtomicU64);

impl Rate {
    /// Whether `events` more may happen in second `now_s`; 0 = any number may.
    pub fn admit(&self, events: u32, limit: u32, now_s: u64) -> bool {
        if limit == 0 {
            return true;
        }
        let count = |state: u64| {
            let so_far = if state >> 32 == now_s & u64::from(u32::MAX) { state as u32 } else { 0 };
            let after = so_far.checked_add(events).filter(|after| *after <= limit)?;
            Some(now_s << 32 | u64::from(after))
        };
        self.0.fetch_update(Relaxed, Relaxed, count).is_ok()
    }
}

/// Why an app is not taken, or does not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppRefusal {
    /// Another one has the id or the key.
    Taken,
    /// There are [`NODE_APPS`].
    TooMany,
    /// Its id, key or secret cannot be; the text tells.
    Invalid(Box<str>),
    /// None has this id.
    Unknown,
    /// It stands in the configuration, and goes only there.
    Configured,
    /// Too many are waiting to be made, or the node stops.
    Busy,
    /// The store did not take it: nothing has changed.
    Store(StoreError),
}

impl fmt::Display for AppRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppRefusal::Taken => out.write_str("another app has the same id or key"),
            AppRefusal::TooMany => write!(out, "there are {NODE_APPS} apps, and there is room for no more"),
            AppRefusal::Invalid(what) => out.write_str(what),
            AppRefusal::Unknown => out.write_str("there is no app with this id"),
            AppRefusal::Configured => out.write_str("it stands in the configuration: remove it there"),
            AppRefusal::Busy => out.write_str("the node is busy with other apps"),
            AppRefusal::Store(error) => error.fmt(out),
        }
    }
}

/// All apps.
#[derive(Clone, Debug, Default)]
pub struct Apps {
    /// By number; places of apps that are gone stay empty.
    apps: Vec<Option<Arc<App>>>,
    by_id: HashMap<Box<str>, u32>,
    by_key: HashMap<Box<str>, u32>,
    grants: Grants,
}

impl Apps {
    /// A table of these apps. Number 0, to which the native interface's channels belong, is the first one's; without
    /// any it stays nobody's.
    ///
    /// # Errors
    /// See [`AppRefusal`].
    pub fn new(settings: impl IntoIterator<Item = AppSettings>) -> Result<Apps, AppRefusal> {
        let mut apps = Apps::default();
        settings.into_iter().try_for_each(|settings| apps.insert(settings))?;
        if apps.apps.is_empty() {
            apps.apps.push(None);
        }
        Ok(apps)
    }

    /// The table with one app more.
    ///
    /// # Errors
    /// See [`AppRefusal`].
    pub fn with(&self, settings: AppSettings) -> Result<Apps, AppRefusal> {
        let mut apps = self.clone();
        apps.insert(settings)?;
        Ok(apps)
    }

    /// Takes one app more in.
    ///
    /// # Errors
    /// See [`AppRefusal`]; then nothing has changed.
    pub fn insert(&mut self, settings: AppSettings) -> Result<(), AppRefusal> {
        if self.by_id.contains_key(&*settings.id) || self.by_key.contains_key(&*settings.key) {
            return Err(AppRefusal::Taken);
        }
        if self.len() >= NODE_APPS {
            return Err(AppRefusal::TooMany);
        }
        let number = self.apps.len() as u32;
        self.by_id.insert(settings.id.as_str().into(), number);
        self.by_key.insert(settings.key.as_str().into(), number);
        self.apps.push(Some(Arc::new(App::new(number, settings))));
        Ok(())
    }

    /// The table without the app `id`; `None` if it has none.
    pub fn without(&self, id: &str) -> Option<Apps> {
        let mut apps = self.clone();
        let number = apps.by_id.remove(id)?;
        let app = apps.apps[number as usize].take()?;
        apps.by_key.remove(&*app.settings.key);
        Some(apps)
    }

    /// The table with other grants.
    pub fn with_grants(&self, grants: Grants) -> Apps {
        Apps { grants, ..self.clone() }
    }

    /// Who may do what in their channels.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.iter().flatten()
    }

    /// The app with this number.
    pub fn get(&self, number: u32) -> Option<&Arc<App>> {
        self.apps.get(number as usize)?.as_ref()
    }

    /// The app with this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<App>> {
        self.get(*self.by_id.get(id)?)
    }

    /// The app that clients name so.
    pub fn by_key(&self, key: &str) -> Option<&Arc<App>> {
        self.get(*self.by_key.get(key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppSettings {
        AppSettings::new(name, &format!("{name}-key"), "secret")
    }

    #[test]
    fn apps_keep_their_numbers_when_others_go() {
        let apps = Apps::new([app("a"), app("b")]).unwrap();
        let b = apps.by_id("b").unwrap().clone();
        let later = apps.without("a").unwrap().with(app("c")).unwrap();
        assert!(Arc::ptr_eq(later.by_key("b-key").unwrap(), &b));
        assert_eq!((b.number, later.by_id("c").unwrap().number), (1, 2));
        assert!(later.by_id("a").is_none() && later.by_key("a-key").is_none() && later.get(0).is_none());
        assert!(later.without("a").is_none());
        assert_eq!((later.len(), later.iter().count()), (2, 2));
    }

    #[test]
    fn nobody_gets_the_number_of_the_native_interface_later() {
        let apps = Apps::new([]).unwrap();
        assert!(apps.is_empty());
        let later = apps.with(app("a")).unwrap();
        assert_eq!((later.by_id("a").unwrap().number, later.len()), (1, 1));
        assert!(later.get(0).is_none());
    }

    #[test]
    fn ids_and_keys_are_taken_once() {
        let apps = Apps::new([app("a")]).unwrap();
        assert_eq!(apps.with(app("a")).unwrap_err(), AppRefusal::Taken);
        let same_key = AppSettings { id: "b".into(), ..app("a") };
        assert_eq!(apps.with(same_key).unwrap_err(), AppRefusal::Taken);
        let many = Apps::new((0..NODE_APPS).map(|n| app(&n.to_string()))).unwrap();
        assert_eq!(many.with(app("x")).unwrap_err(), AppRefusal::TooMany);
    }

    #[test]
    fn connections_count_until_they_are_gone() {
        let apps = Apps::new([AppSettings { max_connections: 2, ..app("a") }]).unwrap();
        let a = apps.by_id("a").unwrap();
        let seats = (a.connect().unwrap(), a.connect().unwrap());
        assert!(a.connect().is_none());
        assert_eq!(a.connections(), 2, "one that was refused does not count");
        drop(seats.0);
        assert!(a.connect().is_some());
    }

    #[test]
    fn rates_begin_anew_each_second() {
        let rate = Rate::default();
        assert!(rate.admit(2, 3, 7) && !rate.admit(2, 3, 7) && rate.admit(1, 3, 7));
        assert!(!rate.admit(1, 3, 7) && rate.admit(3, 3, 8));
        assert!(!rate.admit(4, 3, 9) && rate.admit(u32::MAX, 0, 9));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", AppSettings::new("a", "k", "hush")).contains("hush"));
    }
}
