//! Users and tokens whose grants were taken back. One list for all shards; who revokes writes the list first and then
//! has every shard end the sessions it is about, so that none that begins meanwhile is missed.
//!
//! A token that is revoked is refused until no token can live any more that was made by then
//! ([`crate::limits::GRANT_TOKEN_LIFE_S`]). Of a user those are refused that were made (`iat`) at that time or before, or
//! do not tell; what the user is given later is good.

use crate::channel::store::StoreError;
use crate::limits::{GRANT_REVOCATIONS, GRANT_TOKEN_ID_BYTES, GRANT_TOKEN_LIFE_S, GRANT_USER_BYTES};
use crate::wire::claims::Claims;
use crate::wire::json::{self, Reader};
use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// All that a user has.
    User,
    /// One token.
    Token,
}

impl What {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            What::User => "user",
            What::Token => "token",
        }
    }
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Id of the app.
    pub app: Box<str>,
    /// A user or a token,
    pub what: What,
    /// with this id.
    pub id: Box<str>,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

/// Why nothing is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRevoked {
    /// No user, or no token, has such an id.
    Id,
    /// [`GRANT_REVOCATIONS`] are in force.
    Full,
}

impl fmt::Display for NotRevoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotRevoked::Id => f.write_str("the id is empty, or longer than any can be"),
            NotRevoked::Full => {
                write!(f, "{GRANT_REVOCATIONS} revocations are in force, and there is room for no more")
            }
        }
    }
}

/// What somebody wants to have revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Id of the app; none: the first one.
    pub app: Option<String>,
    /// A user or a token,
    pub what: What,
    /// with this id.
    pub id: String,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeError {
    /// There is no such app.
    NoApp,
    /// There cannot be such a revocation.
    Not(NotRevoked),
    /// It is in force, but only until the node stops.
    NotStored(StoreError),
    /// Too many orders wait.
    Busy,
}

impl fmt::Display for RevokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RevokeError::NoApp => f.write_str("there is no such app"),
            RevokeError::Not(why) => why.fmt(f),
            RevokeError::NotStored(error) => {
                write!(f, "it is revoked until the node stops, and not stored: {error}")
            }
            RevokeError::Busy => f.write_str("too many changes wait"),
        }
    }
}

impl From<NotRevoked> for RevokeError {
    fn from(why: NotRevoked) -> RevokeError {
        RevokeError::Not(why)
    }
}

impl Revocation {
    /// Whether there can be such a user or token.
    ///
    /// # Errors
    /// [`NotRevoked::Id`].
    pub fn check(&self) -> Result<(), NotRevoked> {
        let most = match self.what {
            What::User => GRANT_USER_BYTES,
            What::Token => GRANT_TOKEN_ID_BYTES,
        };
        if self.id.is_empty() || self.id.len() > most { Err(NotRevoked::Id) } else { Ok(()) }
    }

    /// When nothing is left that it could refuse, Unix milliseconds.
    pub fn until_ms(&self) -> u64 {
        self.at_ms.saturating_add(GRANT_TOKEN_LIFE_S * 1000)
    }

    /// Its name in the store.
    pub fn key(&self) -> Vec<u8> {
        key(&self.app, self.what, &self.id).into_bytes()
    }

    /// Its document in the store.
    pub fn document(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, text) in
            [("{\"app\":", &*self.app), (",\"what\":", self.what.name()), (",\"id\":", &*self.id)]
        {
            out.extend_from_slice(name.as_bytes());
            json::string(&mut out, text.as_bytes());
        }
        out.extend_from_slice(b",\"at_ms\":");
        json::number(&mut out, self.at_ms);
        out.push(b'}');
        out
    }

    /// Reads a document of the store.
    pub fn read(document: &[u8]) -> Option<Revocation> {
        let mut reader = Reader::default();
        let document = reader.read_bytes(document).ok()?;
        let root = document.root();
        let text = |name: &str| root.get(name).and_then(json::Value::as_str);
        let what = [What::User, What::Token].into_iter().find(|what| text("what") == Some(what.name()))?;
        let at_ms = root.get("at_ms")?.raw().parse().ok()?;
        Some(Revocation { app: text("app")?.into(), what, id: text("id")?.into(), at_ms })
    }
}

fn key(app: &str, what: What, id: &str) -> String {
    // No app's id has a blank.
    format!("{app} {} {id}", what.name())
}

/// All that is revoked. Read when somebody comes with a token, never for a message.
#[derive(Debug, Default)]
pub struct Revoked(RwLock<HashMap<String, u64>>);

impl Revoked {
    /// Takes a revocation in; one that is there already counts anew. Returns the keys of those that are over.
    ///
    /// # Errors
    /// See [`NotRevoked`].
    pub fn insert(&self, revocation: &Revocation, now_ms: u64) -> Result<Vec<String>, NotRevoked> {
        revocation.check()?;
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = key(&revocation.app, revocation.what, &revocation.id);
        let mut over = Vec::new();
        if list.len() >= GRANT_REVOCATIONS && !list.contains_key(&key) {
            let life_ms = GRANT_TOKEN_LIFE_S * 1000;
            over.extend(
                list.extract_if(|_, at_ms| at_ms.saturating_add(life_ms) <= now_ms).map(|(key, _)| key),
            );
            if over.is_empty() {
                return Err(NotRevoked::Full);
            }
        }
        // A clock that was set back between two of them gives nothing back.
        let at_ms = list.entry(key).or_default();
        *at_ms = revocation.at_ms.max(*at_ms);
        Ok(over)
    }

    /// Since when what the revocation is about is revoked, Unix milliseconds: not before it was last.
    pub fn at_ms(&self, revocation: &Revocation) -> u64 {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = key(&revocation.app, revocation.what, &revocation.id);
        list.get(&key).map_or(revocation.at_ms, |at_ms| revocation.at_ms.max(*at_ms))
    }

    /// Whether what says so has been revoked.
    pub fn covers(&self, app: &str, claims: &Claims, now_ms: u64) -> bool {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if list.is_empty() {
            return false;
        }
        let at = |what, id: &Option<Box<str>>| {
            let at_ms = id.as_deref().and_then(|id| list.get(&key(app, what, id)).copied());
            at_ms.filter(|at_ms| at_ms.saturating_add(GRANT_TOKEN_LIFE_S * 1000) > now_ms)
        };
        at(What::Token, &claims.id).is_some()
            || at(What::User, &claims.user).is_some_and(|at_ms| claims.issued_ms <= at_ms)
    }

    /// How many are in force, and how many are over and not forgotten yet.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
