//! Grants of a configuration as the shards have them, and taking them back.

use super::apps::{Registry, Roster};
use super::config::{Config, GrantSettings};
use super::load;
use crate::channel::store::{Job, Table};
use crate::dialect::app::Apps;
use crate::dialect::grant::revoked::{Order, RevokeError};
use crate::dialect::grant::{Grants, Revocation, Revoked, Rule, Way};
use crate::limits::{APPS_NOTED_MS, GRANT_JWKS_BYTES};
use crate::service::store::StoreHandle;
use crate::shard::mailbox::{Address, Mail, Noted};
use crate::wire::jwt::{Key, Verifier};
use crate::wire::pattern::Pattern;
use bytes::Bytes;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::{error, info, warn};

/// The grants of a configuration, and what the store has of revocations.
///
/// # Errors
/// When a key cannot be read, or the store.
pub fn load(config: &Config, store: &StoreHandle) -> Result<Grants, String> {
    let revoked = Arc::new(Revoked::default());
    let now_ms = now_ms();
    load::each(store, Table::REVOKED, |key, document| match Revocation::read(document) {
        Some(revocation) if revocation.until_ms() > now_ms => {
            if let Err(what) = revoked.insert(&revocation, now_ms) {
                warn!(key = %key.escape_ascii(), "a stored revocation does not count: {what}");
            }
        }
        Some(_) => forget(store, key.clone()),
        None => warn!(key = %key.escape_ascii(), "a revocation in the store cannot be read"),
    })?;
    if !revoked.is_empty() {
        info!(revocations = revoked.len(), "revocations loaded");
    }
    compile(config, revoked)
}

/// The rules of a configuration; the files that it names are read.
fn compile(config: &Config, revoked: Arc<Revoked>) -> Result<Grants, String> {
    let first = config.apps.first().map(|app| app.id.as_str());
    let mut rules = Vec::with_capacity(config.grants.len());
    for (number, settings) in config.grants.iter().enumerate() {
        let app = settings.app.as_deref().or(first).unwrap_or_default();
        let wrong = |what: String| format!("[[grant]] {}: {what}", number + 1);
        rules.push((app.to_owned(), rule(settings).map_err(wrong)?));
    }
    Ok(Grants::new(rules, revoked))
}

fn rule(settings: &GrantSettings) -> Result<Rule, String> {
    let patterns = settings
        .channels
        .iter()
        .map(|text| Pattern::parse(text).map_err(|bad| format!("`{}`: {bad}", text.escape_debug())));
    Ok(Rule {
        channels: patterns.collect::<Result<_, _>>()?,
        subscribe: settings.subscribe,
        publish: settings.publish,
        keys: settings.keys.iter().map(|key| key.as_str().into()).collect(),
        jwt: settings.uses(Way::Jwt).then(|| verifier(settings)).transpose()?,
        jwt_any_channel: settings.jwt_any_channel,
        hook: settings.hook.as_deref().map(Into::into),
    })
}

fn verifier(settings: &GrantSettings) -> Result<Verifier, String> {
    let mut keys = Vec::new();
    if let Some(secret) = &settings.jwt_secret {
        keys.push(Key::secret(secret.as_bytes()).map_err(|bad| format!("`jwt_secret`: {bad}"))?);
    }
    let of_file = |name: &str, path: &String, bad: &dyn std::fmt::Display| format!("`{name}` {path}: {bad}");
    if let Some(path) = &settings.jwt_key {
        let text = read(path).map_err(|error| of_file("jwt_key", path, &error))?;
        keys.push(Key::pem(&text).map_err(|bad| of_file("jwt_key", path, &bad))?);
    }
    if let Some(path) = &settings.jwks {
        let text = read(path).map_err(|error| of_file("jwks", path, &error))?;
        keys.extend(Key::set(&text).map_err(|bad| of_file("jwks", path, &bad))?);
    }
    Ok(Verifier {
        algorithms: settings.jwt_algorithms.clone(),
        keys,
        issuers: settings.jwt_issuer.clone(),
        audiences: settings.jwt_audience.clone(),
        leeway_ms: settings.jwt_leeway_ms,
    })
}

/// No more than any of these files may have, and a byte, so that it is seen to be too large.
fn read(path: &str) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(GRANT_JWKS_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Removes a document; nobody waits for it.
fn forget(store: &StoreHandle, key: Bytes) {
    let reply = crate::service::store::Reply::call(|_| {});
    // Its time is over: whether it goes now or at the next start is the same.
    let _ = store.submit(Job::Remove { table: Table::REVOKED, key }, reply);
}

/// The revocation of now.
///
/// # Errors
/// When there is no such app, or cannot be such a user or token.
pub fn revocation(apps: &Apps, order: &Order) -> Result<Revocation, RevokeError> {
    let found = match &order.app {
        Some(id) => apps.by_id(id),
        None => apps.iter().next(),
    };
    let app = found.ok_or(RevokeError::NoApp)?.settings.id.as_str().into();
    let revocation = Revocation { app, what: order.what, id: order.id.as_str().into(), at_ms: now_ms() };
    revocation.check()?;
    Ok(revocation)
}

/// Takes back what a user or a token was granted: it lets nobody in from now on, also after a restart where the store is on
/// disk, and every session that it let in has ended when this returns, with how many those were.
///
/// # Errors
/// See [`RevokeError`].
pub fn revoke(roster: &RwLock<Roster>, addresses: &[Address], order: &Order) -> Result<u64, RevokeError> {
    let roster = || roster.read().unwrap_or_else(PoisonError::into_inner);
    let apps = roster().apps().clone();
    let mut revocation = revocation(&apps, order)?;
    let app = apps.by_id(&revocation.app).ok_or(RevokeError::NoApp)?;
    let revoked = &apps.grants().revoked;
    // What is stored has to say the same as the list.
    revocation.at_ms = revoked.at_ms(&revocation);
    let over = revoked.insert(&revocation, revocation.at_ms)?;
    let stored = roster().note_revocation(&revocation);
    for key in over {
        forget(roster().store(), key.into());
    }
    let (noted, all) = Noted::new();
    let (revocation, ended) = (Arc::new(revocation), Arc::new(AtomicU64::new(0)));
    for address in addresses {
        let (revocation, ended, noted) = (revocation.clone(), ended.clone(), noted.clone());
        address.send(Mail::Revoke { revocation, app: app.number, ended, noted });
    }
    drop(noted);
    if let Err(RecvTimeoutError::Timeout) = all.recv_timeout(Duration::from_millis(APPS_NOTED_MS)) {
        warn!(after_ms = APPS_NOTED_MS, "a shard stands still and has not heard of a revocation");
    }
    let sessions = ended.load(Ordering::Relaxed);
    info!(app = app.settings.id, what = order.what.name(), id = order.id, sessions, "revoked");
    stored.map(|()| sessions).map_err(RevokeError::NotStored)
}

impl Registry {
    /// Reads the keys of the grants anew, for SIGHUP. When one cannot be read, all stays as it was, and the log says so.
    /// Sessions that were let in by a key which is gone stay until their tokens expire.
    pub fn reload_grants(&self, config: &Config) {
        if config.grants.is_empty() {
            return;
        }
        match compile(config, self.apps().grants().revoked.clone()) {
            Ok(grants) => {
                self.use_grants(grants);
                info!(grants = config.grants.len(), "keys of the grants reloaded");
            }
            Err(what) => error!(reason = "reload", "the keys of the grants stay as they were: {what}"),
        }
    }
}
