//! Who and what is registered for which channel (pushi.md sections 8, 9.4, 9.7 and 9.8): users, connected or not, web
//! hooks, devices, mail addresses, browsers.
//!
//! One table for all shards, because every publish asks for a channel's and every personal channel for a user's; it is
//! written to only when something is registered or removed. The store has the same as documents
//! ([`Document::key`], [`Document::value`]), from which the table is filled when the node starts.

use super::answer::ApiError;
use super::body::Registration;
use super::event::hex;
use super::name;
use super::route::Kind;
use crate::limits::{
    PUSHI_CHANNELS_PER_USER, PUSHI_HOOKS_PER_CHANNEL, PUSHI_REGISTRATIONS, PUSHI_USERS_PER_CHANNEL,
};
use crate::wire::json::{Reader, Value, number, string};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Id of the app.
    pub app: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// Counts up per kind over all apps.
    pub id: u64,
    /// The other id, which the protocol's database has given.
    pub object_id: [u8; 12],
    /// User, URL, token, mail address or endpoint.
    pub subject: Arc<str>,
    /// For which channel.
    pub channel: String,
    /// See [`Registration::keys`].
    pub keys: Option<(String, String)>,
    /// Unix time, seconds.
    pub created_s: u64,
}

impl Document {
    /// Writes it as it is answered and stored.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"_id\":\"");
        out.extend(self.object_id.iter().flat_map(|byte| hex(*byte)));
        out.extend_from_slice(b"\",\"id\":");
        number(out, self.id);
        let mut field = |name: &str, value: &str| {
            out.push(b',');
            string(out, name.as_bytes());
            out.push(b':');
            string(out, value.as_bytes());
        };
        field(self.kind.subject_field(), &self.subject);
        field("event", &self.channel);
        if let Some((p256dh, auth)) = &self.keys {
            field("p256dh", p256dh);
            field("auth", auth);
        }
        field("instance", &self.app);
        out.extend_from_slice(b",\"enabled\":true,\"description\":null,\"meta\":{},\"created\":");
        number(out, self.created_s);
        out.extend_from_slice(b",\"modified\":");
        number(out, self.created_s);
        out.push(b'}');
    }

    /// As [`Document::write`].
    pub fn value(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out
    }

    /// Its key in the store: no text has a zero byte that JSON did not have to escape, so each part gets its length.
    pub fn key(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for part in [&*self.app, self.kind.path(), &*self.subject, &*self.channel] {
            out.extend_from_slice(&(part.len() as u32).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out
    }

    /// Reads what [`Document::value`] wrote; `None` for anything else.
    pub fn parse(kind: Kind, reader: &mut Reader, value: &[u8]) -> Option<Document> {
        let document = reader.read_bytes(value).ok()?;
        let root = document.root();
        let text = |name: &str| root.get(name).and_then(Value::as_str);
        let whole = |name: &str| root.get(name).and_then(|value| value.raw().parse::<u64>().ok());
        let digits = text("_id").filter(|digits| digits.len() == 24)?.as_bytes();
        let mut object_id = [0; 12];
        for (byte, pair) in object_id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Document {
            app: text("instance")?.into(),
            kind,
            id: whole("id")?,
            object_id,
            subject: text(kind.subject_field())?.into(),
            channel: text("event")?.to_owned(),
            keys: text("p256dh").zip(text("auth")).map(|(a, b)| (a.to_owned(), b.to_owned())),
            created_s: whole("created")?,
        })
    }

    /// The kind of what was stored, by its key.
    pub fn kind_of(key: &[u8]) -> Option<Kind> {
        let (app, rest) = split(key)?;
        let (path, _) = split(rest)?;
        Kind::ALL.into_iter().find(|kind| !app.is_empty() && kind.path().as_bytes() == path)
    }
}

fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// See [`Registry::reach`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Users who are subscribed.
    pub users: Vec<Arc<str>>,
    /// URLs to be called, each once.
    pub urls: Vec<Arc<str>>,
    /// Kinds that are registered and not delivered to, as labels for the log.
    pub silent: Vec<&'static str>,
}

/// All registrations of all apps.
#[derive(Debug, Default)]
pub struct Registry(RwLock<Tables>);

#[derive(Debug, Default)]
struct Tables {
    apps: HashMap<Arc<str>, App, foldhash::fast::RandomState>,
    count: usize,
    /// The last id given, by kind.
    ids: [u64; 5],
}

type App = [OfKind; 5];

/// Registrations of one kind and app, found from both ends.
#[derive(Debug, Default)]
struct OfKind {
    subjects: HashMap<Arc<str>, Vec<Document>, foldhash::fast::RandomState>,
    channels: HashMap<Box<str>, Vec<Arc<str>>, foldhash::fast::RandomState>,
}

impl Tables {
    fn of(&self, app: &str, kind: Kind) -> Option<&OfKind> {
        self.apps.get(app).map(|app| &app[kind as usize])
    }

    fn insert(&mut self, document: Document) {
        let of_kind = &mut self.apps.entry(document.app.clone()).or_default()[document.kind as usize];
        self.ids[document.kind as usize] = self.ids[document.kind as usize].max(document.id);
        let subject = match of_kind.subjects.get_key_value(&document.subject) {
            Some((subject, _)) => subject.clone(),
            None => document.subject.clone(),
        };
        of_kind.channels.entry(document.channel.as_str().into()).or_default().push(subject.clone());
        of_kind.subjects.entry(subject).or_default().push(document);
        self.count += 1;
    }
}

impl OfKind {
    fn get(&self, subject: &str, channel: &str) -> Option<&Document> {
        self.subjects.get(subject)?.iter().find(|document| document.channel == channel)
    }

    fn admit(&self, kind: Kind, subject: &str, channel: &str) -> Result<(), ApiError> {
        let users = self.channels.get(channel).map_or(0, Vec::len);
        let channels = self.subjects.get(subject).map_or(0, Vec::len);
        match kind {
            Kind::Subscription if users >= PUSHI_USERS_PER_CHANNEL => {
                Err(ApiError::Limit("Too many users are subscribed to this channel"))
            }
            Kind::Subscription if channels >= PUSHI_CHANNELS_PER_USER => {
                Err(ApiError::Limit("The user is subscribed to too many channels"))
            }
            Kind::Subscription => Ok(()),
            _ if users >= PUSHI_HOOKS_PER_CHANNEL => {
                Err(ApiError::Limit("Too many registrations for this channel"))
            }
            _ => Ok(()),
        }
    }

    fn remove(&mut self, subject: &str, channel: &str) -> Option<Document> {
        let documents = self.subjects.get_mut(subject)?;
        let at = documents.iter().position(|document| document.channel == channel)?;
        let document = documents.remove(at);
        if documents.is_empty() {
            self.subjects.remove(subject);
        }
        if let Some(subjects) = self.channels.get_mut(channel) {
            subjects.retain(|other| **other != *subject);
            if subjects.is_empty() {
                self.channels.remove(channel);
            }
        }
        Some(document)
    }
}

impl Registry {
    // A panic between two lines of this file leaves at worst a registration that is found from one end only.
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was stored.
    pub fn load(&self, document: Document) {
        let mut tables = self.write();
        let known = tables.of(&document.app, document.kind);
        if known.and_then(|of_kind| of_kind.get(&document.subject, &document.channel)).is_none() {
            tables.insert(document);
        }
    }

    /// Registers, and tells whether it is new: what is there stays as it is.
    ///
    /// # Errors
    /// [`ApiError::Limit`].
    pub fn register(
        &self,
        app: &str,
        kind: Kind,
        registration: Registration,
        object_id: [u8; 12],
        now_s: u64,
    ) -> Result<(Document, bool), ApiError> {
        let Registration { subject, channel, keys } = registration;
        let mut tables = self.write();
        if let Some(of_kind) = tables.of(app, kind) {
            if let Some(known) = of_kind.get(&subject, &channel) {
                return Ok((known.clone(), false));
            }
            of_kind.admit(kind, &subject, &channel)?;
        }
        if tables.count >= PUSHI_REGISTRATIONS {
            return Err(ApiError::Limit("Too many registrations"));
        }
        let document = Document {
            app: app.into(),
            kind,
            id: tables.ids[kind as usize] + 1,
            object_id,
            subject: subject.into(),
            channel,
            keys,
            created_s: now_s,
        };
        tables.insert(document.clone());
        Ok((document, true))
    }

    /// Removes a registration and gives back what it was.
    pub fn remove(&self, app: &str, kind: Kind, subject: &str, channel: &str) -> Option<Document> {
        let mut tables = self.write();
        let removed = tables.apps.get_mut(app)?[kind as usize].remove(subject, channel)?;
        tables.count -= 1;
        Some(removed)
    }

    /// Channels that `subject` is registered for, in the order of registration.
    pub fn channels_of(&self, app: &str, kind: Kind, subject: &str) -> Vec<String> {
        let tables = self.read();
        let documents = tables.of(app, kind).and_then(|of_kind| of_kind.subjects.get(subject));
        documents.into_iter().flatten().map(|document| document.channel.clone()).collect()
    }

    /// Who and what is registered for `channel`.
    pub fn subjects_of(&self, app: &str, kind: Kind, channel: &str) -> Vec<Arc<str>> {
        let tables = self.read();
        let subjects = tables.of(app, kind).and_then(|of_kind| of_kind.channels.get(channel));
        subjects.cloned().unwrap_or_default()
    }

    /// Whom an event in `channel` reaches beside those who are connected: its users, and the web hooks of the channel
    /// and of their personal channels (section 9.7).
    pub fn reach(&self, app: &str, channel: &str) -> Reach {
        let tables = self.read();
        let Some(kinds) = tables.apps.get(app) else { return Reach::default() };
        let of = |kind: Kind, channel: &str| {
            kinds[kind as usize].channels.get(channel).map(Vec::as_slice).unwrap_or_default()
        };
        let users = of(Kind::Subscription, channel).to_vec();
        let mut urls = of(Kind::Web, channel).to_vec();
        if !kinds[Kind::Web as usize].channels.is_empty() {
            for user in &users {
                urls.extend_from_slice(of(Kind::Web, &name::personal(user)));
            }
            urls.sort_unstable();
            urls.dedup();
        }
        let silent =
            [(Kind::Apn, "pushi_apn"), (Kind::Smtp, "pushi_smtp"), (Kind::WebPush, "pushi_web_push")];
        let silent = silent.into_iter().filter(|(kind, _)| !of(*kind, channel).is_empty());
        Reach { users, urls, silent: silent.map(|(_, label)| label).collect() }
    }

    /// Registrations in the order of their ids, those only of a subject or a channel where one is named.
    pub fn list(&self, app: &str, kind: Kind, subject: Option<&str>, channel: Option<&str>) -> Vec<Document> {
        let tables = self.read();
        let Some(of_kind) = tables.of(app, kind) else { return Vec::new() };
        let is_wanted = |document: &&Document| channel.is_none_or(|channel| document.channel == channel);
        let mut found: Vec<Document> = match (subject, channel) {
            (Some(subject), _) => {
                of_kind.subjects.get(subject).into_iter().flatten().filter(is_wanted).cloned().collect()
            }
            (None, Some(channel)) => {
                let subjects = of_kind.channels.get(channel).into_iter().flatten();
                subjects.filter_map(|subject| of_kind.get(subject, channel)).cloned().collect()
            }
            (None, None) => of_kind.subjects.values().flatten().cloned().collect(),
        };
        found.sort_by_key(|document| document.id);
        found
    }
}

/// An app as it is answered.
pub fn app_document(id: &str, key: &str, secret: &str, name: &str, number_of_it: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"id\":");
    number(&mut out, number_of_it);
    for (field, value) in
        [("ident", id), ("app_id", id), ("instance", id), ("key", key), ("secret", secret), ("name", name)]
    {
        out.push(b',');
        string(&mut out, field.as_bytes());
        out.push(b':');
        string(&mut out, value.as_bytes());
    }
    // The protocol's database gives each app a number of 24 digits.
    out.extend_from_slice(format!(",\"_id\":\"{number_of_it:024x}\"").as_bytes());
    out.extend_from_slice(b",\"enabled\":true,\"description\":null,\"meta\":{}");
    for absent in [
        "apn_sandbox",
        "apn_key",
        "apn_cer",
        "vapid_private_key",
        "vapid_public_key",
        "vapid_email",
        "smtp_url",
    ] {
        out.extend_from_slice(format!(",\"{absent}\":null").as_bytes());
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(subject: &str, channel: &str) -> Registration {
        Registration { subject: subject.into(), channel: channel.into(), keys: None }
    }

    fn register(
        registry: &Registry,
        kind: Kind,
        subject: &str,
        channel: &str,
    ) -> Result<(Document, bool), ApiError> {
        registry.register("app", kind, asked(subject, channel), [7; 12], 1000)
    }

    #[test]
    fn both_ends_find_it_and_it_is_there_once() {
        let registry = Registry::default();
        let (first, new) = register(&registry, Kind::Subscription, "u1", "news").unwrap();
        assert!(new && first.id == 1);
        let (again, new) = register(&registry, Kind::Subscription, "u1", "news").unwrap();
        assert!(!new && again == first);
        register(&registry, Kind::Subscription, "u1", "sport").unwrap();
        register(&registry, Kind::Subscription, "u2", "news").unwrap();
        register(&registry, Kind::Web, "u1", "other").unwrap();
        assert_eq!(registry.channels_of("app", Kind::Subscription, "u1"), ["news", "sport"]);
        assert_eq!(registry.subjects_of("app", Kind::Subscription, "news"), ["u1".into(), "u2".into()]);
        let reach = registry.reach("app", "news");
        assert_eq!(reach.users, ["u1".into(), "u2".into()]);
        assert_eq!(reach.urls, []);
        assert!(registry.channels_of("other app", Kind::Subscription, "u1").is_empty());
        let ids = |subject, channel| {
            let found = registry.list("app", Kind::Subscription, subject, channel);
            found.iter().map(|document| document.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(None, None), [1, 2, 3]);
        assert_eq!((ids(Some("u1"), None), ids(None, Some("news"))), (vec![1, 2], vec![1, 3]));
        assert_eq!((ids(Some("u1"), Some("sport")), ids(Some("u3"), None)), (vec![2], vec![]));
        assert_eq!(registry.remove("app", Kind::Subscription, "u1", "news"), Some(first));
        assert_eq!(registry.remove("app", Kind::Subscription, "u1", "news"), None);
        assert_eq!(registry.subjects_of("app", Kind::Subscription, "news"), ["u2".into()]);
        assert_eq!(registry.channels_of("app", Kind::Subscription, "u1"), ["sport"]);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let registry = Registry::default();
        for kind in Kind::ALL {
            let mut registration = asked("s\"\u{0}é", "c:&");
            registration.keys = (kind == Kind::WebPush).then(|| ("p".into(), "a".into()));
            let (document, _) =
                registry.register("app", kind, registration, [0xa5; 12], 1_795_257_384).unwrap();
            let value = document.value();
            let json: serde_json::Value = serde_json::from_slice(&value).unwrap();
            assert_eq!(json[kind.subject_field()], "s\"\u{0}é");
            assert_eq!((&json["instance"], &json["event"]), (&"app".into(), &"c:&".into()));
            assert_eq!(json["_id"], "a5".repeat(12));
            assert_eq!(Document::kind_of(&document.key()), Some(kind));
            let read = Document::parse(kind, &mut Reader::default(), &value).unwrap();
            assert_eq!(read, document);
            let other = Registry::default();
            other.load(read.clone());
            other.load(read);
            assert_eq!(other.list("app", kind, None, None), [document]);
            let (next, _) = other.register("app", kind, asked("x", "y"), [0; 12], 0).unwrap();
            assert_eq!(next.id, 2, "ids go on where they were");
        }
        assert_eq!(Document::kind_of(b"\0\0\0\x01a\0\0\0\x04what"), None);
        assert_eq!(Document::kind_of(b"\0\0\0\x09a"), None);
        assert!(Document::parse(Kind::Web, &mut Reader::default(), b"{}").is_none());
    }

    #[test]
    fn hooks_of_personal_channels_are_called_for_all_that_the_user_gets() {
        let registry = Registry::default();
        for (kind, subject, channel) in [
            (Kind::Subscription, "u", "news"),
            (Kind::Web, "http://a", "news"),
            (Kind::Web, "http://a", "personal-u"),
            (Kind::Web, "http://b", "personal-u"),
            (Kind::Web, "http://c", "personal-v"),
            (Kind::Smtp, "a@b", "news"),
        ] {
            register(&registry, kind, subject, channel).unwrap();
        }
        let reach = registry.reach("app", "news");
        assert_eq!(reach.urls, ["http://a".into(), "http://b".into()]);
        assert_eq!(reach.silent, ["pushi_smtp"]);
        assert_eq!(registry.reach("other", "news"), Reach::default());
    }

    #[test]
    fn limits_hold() {
        let registry = Registry::default();
        for number in 0..PUSHI_CHANNELS_PER_USER {
            register(&registry, Kind::Subscription, "u", &number.to_string()).unwrap();
        }
        assert_eq!(register(&registry, Kind::Subscription, "u", "more").unwrap_err().status(), 400);
        assert!(!register(&registry, Kind::Subscription, "u", "1").unwrap().1, "what is there is no more");
        for number in 0..PUSHI_HOOKS_PER_CHANNEL {
            register(&registry, Kind::Web, &number.to_string(), "c").unwrap();
        }
        assert_eq!(register(&registry, Kind::Web, "more", "c").unwrap_err().status(), 400);
    }

    #[test]
    fn an_app_is_a_document() {
        let document: serde_json::Value =
            serde_json::from_slice(&app_document("i", "k", "s", "demo", 3)).unwrap();
        for (field, value) in
            [("ident", "i"), ("key", "k"), ("secret", "s"), ("name", "demo"), ("instance", "i")]
        {
            assert_eq!(document[field], value);
        }
        assert_eq!((document["id"].as_u64(), document["_id"].as_str().map(str::len)), (Some(3), Some(24)));
        assert!(document["smtp_url"].is_null() && document.get("apn_key").is_some());
    }
}
