//! Apps that are made and removed while the node runs: a thread of its own, which asks the store first and tells every
//! shard then.
//!
//! # What an answer means
//! An app that was made is on disk (where the store is), and every shard knows it: whoever is told so may use it at once,
//! on any connection, and it is there again after any crash. An app that was removed is gone from the disk, and every
//! shard has sent its clients away. One change is made after the other.

use super::config::{read_app, write_app};
use super::grants;
use crate::channel::ReplyTo;
use crate::channel::store::{Answer, Job, StoreError, Table};
use crate::dialect::app::{App, AppRefusal, AppSettings, Apps};
use crate::dialect::grant::revoked::{Order, RevokeError};
use crate::dialect::grant::{Grants, Revocation};
use crate::limits::{APPS_NOTED_MS, APPS_WAITING, STORE_READ_ITEMS};
use crate::service::store::{Reply, StoreHandle};
use crate::shard::apps::Registrar;
use crate::shard::mailbox::{Address, Mail, Noted};
use crate::wire::json::Reader;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;
use tracing::{error, info, warn};

/// All apps, and which of them the store has.
pub struct Roster {
    apps: Arc<Apps>,
    /// So many of them stand in the configuration: those with the lowest numbers.
    configured: u32,
    /// Ids of stored apps that are not among them: a configured one has the id or the key.
    idle: HashSet<String>,
    store: StoreHandle,
}

impl Roster {
    /// The configured apps, and those in the store. What of those cannot be is logged by name, and stays in the store.
    ///
    /// # Errors
    /// When the configured ones cannot be, or the store cannot be read.
    pub fn load(configured: &[AppSettings], store: StoreHandle) -> Result<Roster, String> {
        let apps = Apps::new(configured.iter().cloned()).map_err(|refusal| format!("the apps: {refusal}"))?;
        let mut roster =
            Roster { configured: apps.len() as u32, apps: Arc::new(apps), idle: HashSet::new(), store };
        let stored =
            roster.stored().map_err(|error| format!("cannot read the apps in the store: {error}"))?;
        for (id, value) in stored {
            let id = String::from_utf8_lossy(&id).into_owned();
            if let Err(what) = roster.take(&id, &value) {
                error!(app = id, "a stored app is not served: {what}");
                roster.idle.insert(id);
            }
        }
        Ok(roster)
    }

    /// The same with these grants.
    pub fn with_grants(mut self, grants: Grants) -> Roster {
        self.apps = Arc::new(self.apps.with_grants(grants));
        self
    }

    /// Stores a revocation.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn note_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let (key, value) = (revocation.key().into(), revocation.document().into());
        self.ask(Job::Put { table: Table::REVOKED, key, value }).map(drop)
    }

    /// The store, for what nobody waits for.
    pub(super) fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// All apps as of now.
    pub fn apps(&self) -> &Arc<Apps> {
        &self.apps
    }

    /// Whether the app stands in the configuration.
    pub fn is_configured(&self, app: &App) -> bool {
        app.number < self.configured
    }

    /// Stores an app, and then has it.
    ///
    /// # Errors
    /// See [`AppRefusal`]; then nothing has changed.
    pub fn add(&mut self, settings: AppSettings) -> Result<Arc<App>, AppRefusal> {
        settings.check()?;
        if self.idle.contains(&settings.id) {
            return Err(AppRefusal::Taken);
        }
        let key = Bytes::copy_from_slice(settings.id.as_bytes());
        let mut value = Vec::new();
        write_app(&mut value, &settings, true);
        let apps = self.apps.with(settings)?;
        let app = apps.iter().last().cloned().ok_or(AppRefusal::Unknown)?;
        self.ask(Job::Put { table: Table::APPS, key, value: value.into() }).map_err(AppRefusal::Store)?;
        self.apps = Arc::new(apps);
        Ok(app)
    }

    /// Removes an app from the store, and then has it no longer. `None`: it was only in the store.
    ///
    /// # Errors
    /// See [`AppRefusal`]; then nothing has changed.
    pub fn remove(&mut self, id: &str) -> Result<Option<Arc<App>>, AppRefusal> {
        let key = Bytes::copy_from_slice(id.as_bytes());
        let removal = Job::Remove { table: Table::APPS, key };
        if self.idle.contains(id) {
            self.ask(removal).map_err(AppRefusal::Store)?;
            self.idle.remove(id);
            return Ok(None);
        }
        let app = self.apps.by_id(id).cloned().ok_or(AppRefusal::Unknown)?;
        if self.is_configured(&app) {
            return Err(AppRefusal::Configured);
        }
        let apps = self.apps.without(id).ok_or(AppRefusal::Unknown)?;
        self.ask(removal).map_err(AppRefusal::Store)?;
        self.apps = Arc::new(apps);
        Ok(Some(app))
    }

    /// Takes an app of the store in.
    fn take(&mut self, id: &str, value: &[u8]) -> Result<(), String> {
        let mut reader = Reader::default();
        let document = reader.read_bytes(value).map_err(|_| "its document is not JSON".to_owned())?;
        let settings = read_app(document.root())?;
        settings.check().map_err(|refusal| refusal.to_string())?;
        if settings.id != id {
            return Err(format!("its document says that it is `{}`", settings.id));
        }
        Arc::make_mut(&mut self.apps).insert(settings).map_err(|refusal| refusal.to_string())
    }

    /// Documents of all stored apps.
    fn stored(&self) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let (mut found, mut after) = (Vec::new(), Bytes::new());
        loop {
            let job = Job::List { table: Table::APPS, after, most: STORE_READ_ITEMS };
            let Answer::Documents(part) = self.ask(job)? else { return Ok(found) };
            found.extend(part.documents);
            match found.last() {
                Some((key, _)) if part.more => after = key.clone(),
                _ => return Ok(found),
            }
        }
    }

    /// Has the store do a job, and waits for it.
    fn ask(&self, job: Job) -> Result<Answer, StoreError> {
        let (tell, told) = mpsc::channel();
        let reply = Reply::call(move |outcome| {
            let _ = tell.send(outcome); // it waits below
        });
        self.store.submit(job, reply)?;
        told.recv().unwrap_or(Err(StoreError::Stopped))
    }
}

/// What shall change.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// An app comes.
    Add(Box<AppSettings>),
    /// The app with this id goes.
    Remove(String),
}

/// Who is told what came of a change: the app that came or went. Called on the registry's thread; it must not block.
type Told = Box<dyn FnOnce(Result<Option<Arc<App>>, AppRefusal>) + Send>;

/// What the registry's thread has to do.
enum Task {
    Change(Change, Told),
    Revoke(Order, ReplyTo),
}

/// Hands changes to the registry. Its thread ends with the last handle.
#[derive(Clone)]
pub struct Registry {
    tasks: SyncSender<Task>,
    roster: Arc<RwLock<Roster>>,
    addresses: Arc<[Address]>,
}

impl Registry {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(roster: Roster, addresses: Vec<Address>) -> Result<Registry, String> {
        let (tasks, taken) = mpsc::sync_channel(APPS_WAITING);
        let (roster, addresses) = (Arc::new(RwLock::new(roster)), Arc::<[Address]>::from(addresses));
        let registry = Registry { tasks, roster: roster.clone(), addresses: addresses.clone() };
        let worker = Worker { taken, roster, addresses };
        let thread = thread::Builder::new().name("apps".into()).spawn(move || worker.run());
        thread.map_err(|error| format!("cannot start the thread of apps: {error}"))?;
        Ok(registry)
    }

    /// Makes a change and waits until it is made everywhere.
    ///
    /// # Errors
    /// See [`AppRefusal`].
    pub fn change(&self, change: Change) -> Result<Option<Arc<App>>, AppRefusal> {
        let (tell, told) = mpsc::channel();
        let reply = Box::new(move |outcome| {
            let _ = tell.send(outcome); // it waits below
        });
        self.submit(change, reply)?;
        told.recv().unwrap_or(Err(AppRefusal::Busy))
    }

    /// All apps as of now, each with whether it stands in the configuration.
    pub fn list(&self) -> Vec<(Arc<App>, bool)> {
        let roster = self.roster();
        roster.apps().iter().map(|app| (app.clone(), roster.is_configured(app))).collect()
    }

    /// All apps as of now.
    pub(super) fn apps(&self) -> Arc<Apps> {
        self.roster().apps.clone()
    }

    /// Has something revoked, and waits until it is revoked everywhere; see [`grants::revoke`].
    ///
    /// # Errors
    /// See [`RevokeError`].
    pub fn revoke(&self, order: &Order) -> Result<u64, RevokeError> {
        grants::revoke(&self.roster, &self.addresses, order)
    }

    /// Has every shard go by other grants.
    pub(super) fn use_grants(&self, grants: Grants) {
        let mut roster = self.roster.write().unwrap_or_else(PoisonError::into_inner);
        roster.apps = Arc::new(roster.apps.with_grants(grants));
        let apps = roster.apps.clone();
        drop(roster);
        announce(&self.addresses, &apps);
    }

    fn roster(&self) -> std::sync::RwLockReadGuard<'_, Roster> {
        self.roster.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, change: Change, reply: Told) -> Result<(), AppRefusal> {
        self.tasks.try_send(Task::Change(change, reply)).map_err(|_| AppRefusal::Busy)
    }
}

impl Registrar for Registry {
    fn create(&self, settings: AppSettings, to: ReplyTo) -> Result<(), AppRefusal> {
        let Some(address) = self.addresses.get(usize::from(to.shard)).cloned() else { return Ok(()) };
        let reply = Box::new(move |outcome: Result<Option<Arc<App>>, AppRefusal>| {
            let outcome = outcome.and_then(|app| app.ok_or(AppRefusal::Unknown));
            address.send(Mail::App { token: to.token, outcome: Box::new(outcome) });
        });
        self.submit(Change::Add(Box::new(settings)), reply)
    }

    fn revoke(&self, order: Order, to: ReplyTo) -> Result<(), RevokeError> {
        self.tasks.try_send(Task::Revoke(order, to)).map_err(|_| RevokeError::Busy)
    }
}

struct Worker {
    taken: Receiver<Task>,
    roster: Arc<RwLock<Roster>>,
    addresses: Arc<[Address]>,
}

impl Worker {
    fn run(self) {
        while let Ok(task) = self.taken.recv() {
            match task {
                Task::Change(change, reply) => reply(self.change(change)),
                Task::Revoke(order, to) => {
                    let outcome = Box::new(grants::revoke(&self.roster, &self.addresses, &order));
                    if let Some(address) = self.addresses.get(usize::from(to.shard)) {
                        address.send(Mail::Revoked { token: to.token, outcome });
                    }
                }
            }
        }
    }

    fn change(&self, change: Change) -> Result<Option<Arc<App>>, AppRefusal> {
        // Readers of the list wait for the store as well; they are people.
        let mut roster = self.roster.write().unwrap_or_else(PoisonError::into_inner);
        let changed = match change {
            Change::Add(settings) => Some(roster.add(*settings)?),
            Change::Remove(id) => roster.remove(&id)?,
        };
        let apps = roster.apps().clone();
        drop(roster);
        if let Some(app) = &changed {
            announce(&self.addresses, &apps);
            let there = apps.get(app.number).is_some();
            info!(app = app.settings.id, "{}", if there { "app added" } else { "app removed" });
        }
        Ok(changed)
    }
}

/// Tells every shard, and waits until each has taken note.
fn announce(addresses: &[Address], apps: &Arc<Apps>) {
    let (noted, all) = Noted::new();
    for address in addresses {
        address.send(Mail::Apps { apps: apps.clone(), noted: noted.clone() });
    }
    drop(noted);
    if let Err(RecvTimeoutError::Timeout) = all.recv_timeout(Duration::from_millis(APPS_NOTED_MS)) {
        warn!(after_ms = APPS_NOTED_MS, "a shard stands still and has not heard of a change of apps");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NODE_APPS;
    use crate::service::store::Store;

    fn store() -> Store {
        Store::open_in_memory(Default::default(), Arc::new(|_, _| {})).unwrap()
    }

    fn app(id: &str, key: &str) -> AppSettings {
        AppSettings { client_events: true, ..AppSettings::new(id, key, "secret") }
    }

    fn ids(roster: &Roster) -> Vec<&str> {
        roster.apps().iter().map(|app| &*app.settings.id).collect()
    }

    #[test]
    fn what_was_added_is_loaded_again_behind_the_configured_ones() {
        let store = store();
        let mut roster = Roster::load(&[app("c", "kc")], store.handle()).unwrap();
        let added = roster.add(app("b", "kb")).unwrap();
        assert_eq!((added.number, roster.is_configured(&added)), (1, false));
        roster.add(app("a", "ka")).unwrap();
        assert_eq!(roster.remove("a").unwrap().unwrap().settings.id, "a");
        let again = Roster::load(&[app("c", "kc")], store.handle()).unwrap();
        assert_eq!(ids(&again), ["c", "b"]);
        assert_eq!(again.apps().by_id("b").unwrap().settings, app("b", "kb"));
        assert!(again.is_configured(again.apps().by_id("c").unwrap()));
    }

    #[test]
    fn stored_apps_that_clash_wait_until_they_are_removed_or_do_not_clash() {
        let store = store();
        let mut roster = Roster::load(&[], store.handle()).unwrap();
        roster.add(app("same-id", "k1")).unwrap();
        roster.add(app("other", "same-key")).unwrap();
        let configured = [app("same-id", "k2"), app("first", "same-key")];
        let mut roster = Roster::load(&configured, store.handle()).unwrap();
        assert_eq!(ids(&roster), ["same-id", "first"]);
        assert_eq!(roster.add(app("other", "free")).unwrap_err(), AppRefusal::Taken);
        assert_eq!(roster.remove("first").unwrap_err(), AppRefusal::Configured);
        assert!(roster.remove("same-id").unwrap().is_none(), "only the stored one goes");
        assert_eq!(roster.remove("same-id").unwrap_err(), AppRefusal::Configured);
        assert_eq!(ids(&Roster::load(&[], store.handle()).unwrap()), ["other"]);
    }

    #[test]
    fn documents_that_are_none_are_left_alone() {
        let store = store();
        let mut roster = Roster::load(&[], store.handle()).unwrap();
        for (id, text) in
            [("a", "{"), ("b", "{\"id\":\"c\",\"key\":\"k\",\"secret\":\"s\"}"), ("d", "{\"id\":\"d\"}")]
        {
            let (key, value) = (Bytes::from(id), Bytes::from(text));
            roster.ask(Job::Put { table: Table::APPS, key, value }).unwrap();
        }
        roster.add(app("good", "k")).unwrap();
        let mut roster = Roster::load(&[], store.handle()).unwrap();
        assert_eq!(ids(&roster), ["good"]);
        assert!(roster.remove("a").unwrap().is_none());
        assert_eq!(roster.stored().unwrap().len(), 3);
    }

    #[test]
    fn a_store_that_takes_nothing_changes_nothing() {
        let store = store();
        let mut roster = Roster::load(&[], store.handle()).unwrap();
        roster.add(app("a", "ka")).unwrap();
        store.shutdown().unwrap();
        assert_eq!(roster.add(app("b", "kb")).unwrap_err(), AppRefusal::Store(StoreError::Stopped));
        assert_eq!(roster.remove("a").unwrap_err(), AppRefusal::Store(StoreError::Stopped));
        assert_eq!(ids(&roster), ["a"]);
    }

    #[test]
    fn more_apps_than_one_answer_of_the_store_are_loaded() {
        let store = store();
        let roster = Roster::load(&[], store.handle()).unwrap();
        let put = |number: usize| {
            let id = format!("app-{number}");
            let mut value = Vec::new();
            write_app(&mut value, &app(&id, &format!("k{number}")), true);
            roster.ask(Job::Put { table: Table::APPS, key: id.into(), value: value.into() }).unwrap();
        };
        (0..STORE_READ_ITEMS + 1).for_each(put);
        let mut again = Roster::load(&[], store.handle()).unwrap();
        assert_eq!(again.apps().len(), NODE_APPS);
        assert_eq!(again.add(app("more", "k")).unwrap_err(), AppRefusal::TooMany);
        assert_eq!(again.idle.len(), 1, "for which there is no room");
    }
}
