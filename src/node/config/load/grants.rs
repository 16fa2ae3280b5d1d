//! `[[grant]]` tables: reading them, and what has to hold in each.

use super::super::GrantSettings;
use super::super::grant::GRANT_KEYS;
use super::super::mistake::nearest;
use super::super::value::{Input, kind};
use super::Loader;
use crate::channel::hook::HookTarget;
use crate::dialect::grant::Way;
use crate::dialect::relay::settings::{DEFAULT_STORE, LocationMethods, LocationSettings};
use crate::limits;
use crate::wire::jwt::Algorithm;
use crate::wire::pattern::Pattern;
use toml::Spanned;
use toml::de::DeValue;

impl Loader<'_> {
    pub(super) fn read_grants(&mut self, value: &Spanned<DeValue<'_>>) {
        let mut grants = Vec::new();
        for (index, element) in self.tables("grant", limits::GRANTS, value).into_iter().enumerate() {
            let origin = self.place(element.span());
            self.origins.insert(format!("grant[{index}]"), origin.clone());
            let DeValue::Table(table) = element.get_ref() else {
                self.wrong(origin, format!("a grant needs a table, found {}", kind(element.get_ref())));
                continue;
            };
            let mut grant = GrantSettings::default();
            for (name, value) in table {
                let word = &**name.get_ref();
                let Some(key) = GRANT_KEYS.iter().find(|key| key.name == word) else {
                    let hint = self.hint(word, GRANT_KEYS.iter().map(|key| key.name));
                    self.unknown(name, &hint);
                    continue;
                };
                let origin = self.place(value.span());
                let done = (key.slot)(&mut grant).set(Input::Toml(value));
                if let Err(refusal) = done {
                    self.refused(word, origin.clone(), refusal);
                }
                self.origins.insert(format!("grant[{index}].{word}"), origin);
            }
            grants.push(grant);
        }
        self.config.grants = grants;
    }

    /// After the apps are settled.
    pub(super) fn grants(&mut self) {
        for index in 0..self.config.grants.len() {
            let grant = self.config.grants[index].clone();
            let whole = self.origin_of(&format!("grant[{index}]"));
            let known = |id: &String| self.config.apps.iter().any(|app| app.id == *id);
            match &grant.app {
                Some(id) if !known(id) => {
                    let meant = nearest(id, self.config.apps.iter().map(|app| app.id.as_str()));
                    let hint = meant.map_or(String::new(), |meant| {
                        format!(" (did you mean `{}`?)", meant.escape_debug())
                    });
                    let message = format!("there is no app `{}`{hint}", id.escape_debug());
                    self.wrong(self.origin_of(&format!("grant[{index}].app")), message);
                }
                None if self.config.apps.is_empty() => {
                    self.wrong(whole.clone(), "there is no app whose channels it could be about");
                }
                _ => {}
            }
            for (key, message) in mistakes(&grant).into_iter().chain(self.unasked(&grant)) {
                let path = format!("grant[{index}].{key}");
                let place = if self.said(&path) { self.origin_of(&path) } else { whole.clone() };
                self.wrong(place, message);
            }
        }
    }

    /// A hook that nobody would ever call: requests of locations wait for an answer, sessions of Pusher and Pushi do not.
    /// There must be a location of the app for what is asked for; elsewhere such a rule lets nobody in.
    fn unasked(&self, grant: &GrantSettings) -> Option<(&'static str, String)> {
        let first = self.config.apps.first().map(|app| app.id.as_str());
        let app = grant.app.as_deref().or(first)?;
        let is_own = |location: &&LocationSettings| {
            location.app.as_deref().or(first) == Some(app) && location.store == DEFAULT_STORE
        };
        let own = || self.config.relay.locations.iter().filter(is_own).map(|location| location.methods);
        let cannot = |act: &str| {
            format!(
                "the way `hook` lets nobody {act}: app `{}` has no location for that, and neither Pusher nor Pushi can ask",
                app.escape_debug()
            )
        };
        if grant.subscribe.has(Way::Hook) && !own().any(LocationMethods::subscribes) {
            Some(("subscribe", cannot("subscribe")))
        } else if grant.publish.has(Way::Hook) && !own().any(LocationMethods::publishes) {
            Some(("publish", cannot("publish")))
        } else {
            None
        }
    }

    /// Whether a rule keeps strangers from publishing in all channels of a location's app.
    pub(super) fn is_guarded(&self, app: Option<&String>) -> bool {
        let of = |grant: &GrantSettings| match (&grant.app, app) {
            (None, None) => true,
            (Some(id), Some(app)) => id == app,
            (Some(id), None) | (None, Some(id)) => self.config.apps.first().is_some_and(|app| app.id == *id),
        };
        let mut own = self.config.grants.iter().filter(|grant| of(grant));
        let closed = |grant: &GrantSettings| !grant.publish.has(Way::Open);
        own.clone().all(closed) && own.any(|grant| grant.channels.iter().any(|pattern| pattern == "*"))
    }
}

/// What is wrong with a grant: the key, and why.
fn mistakes(grant: &GrantSettings) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut wrong = |key, message: String| found.push((key, message));
    if grant.channels.is_empty() || grant.channels.len() > limits::GRANT_PATTERNS {
        wrong("channels", format!("`channels` needs 1 to {} patterns", limits::GRANT_PATTERNS));
    }
    for pattern in &grant.channels {
        if let Err(bad) = Pattern::parse(pattern) {
            wrong("channels", format!("`{}`: {bad}", pattern.escape_debug()));
        }
    }
    if grant.uses(Way::Key) && grant.keys.is_empty() {
        wrong("keys", "the way `key` needs `keys`".into());
    }
    let lengths = limits::GRANT_KEY_BYTES_MIN..=limits::GRANT_KEY_BYTES;
    if grant.keys.iter().any(|key| !lengths.contains(&key.len())) {
        let (least, most) = (lengths.start(), lengths.end());
        wrong("keys", format!("an API key has {least} to {most} bytes: shorter ones can be guessed"));
    }
    if grant.keys.len() > limits::GRANT_KEYS {
        wrong("keys", format!("at most {} keys", limits::GRANT_KEYS));
    }
    match &grant.hook {
        None if grant.uses(Way::Hook) => wrong("hook", "the way `hook` needs the URL `hook`".into()),
        Some(url) => {
            if let Err(error) = HookTarget::parse(url) {
                wrong("hook", error.to_string());
            }
        }
        None => {}
    }
    if grant.uses(Way::Jwt) {
        jwt_mistakes(grant, &mut wrong);
    }
    found
}

fn jwt_mistakes(grant: &GrantSettings, wrong: &mut dyn FnMut(&'static str, String)) {
    if grant.jwt_algorithms.is_empty() {
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        wrong("jwt_algorithms", format!("the way `jwt` needs `jwt_algorithms`, of {known}"));
    }
    if grant.jwt_secret.is_none() && grant.jwt_key.is_none() && grant.jwks.is_none() {
        wrong("jwt_secret", "the way `jwt` needs `jwt_secret`, `jwt_key` or `jwks`".into());
    }
    let least = limits::GRANT_JWT_SECRET_BYTES_MIN;
    if grant.jwt_secret.as_ref().is_some_and(|secret| secret.len() < least) {
        wrong("jwt_secret", format!("`jwt_secret` needs at least {least} bytes (RFC 7518 section 3.2)"));
    }
    for (key, names) in [("jwt_issuer", &grant.jwt_issuer), ("jwt_audience", &grant.jwt_audience)] {
        if names.len() > limits::GRANT_JWT_NAMES {
            wrong(key, format!("at most {} names", limits::GRANT_JWT_NAMES));
        }
    }
}
