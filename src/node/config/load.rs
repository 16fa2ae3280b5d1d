//! From texts to a [`Config`]: defaults, file, environment, flags, then what has to hold between values.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::app::{APP_KEYS, AppKey};
use super::keys::{KEYS, SECTIONS};
use super::location::LOCATION_KEYS;
use super::mistake::{Lines, hint};
use super::value::{Input, Refusal, kind};
use super::webhook::WEBHOOK_KEYS;
use super::{AppSettings, Config, Mistake, Origin, WebhookSettings};
use crate::dialect::relay::settings::{Flavour, LocationSettings};
use crate::limits;

mod check;
mod grants;
mod tls;

/// Everything a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// Name (as mistakes show it) and content of the file.
    pub file: Option<(&'a str, &'a [u8])>,
    /// Environment variables; those that do not begin with `FANWIRE_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags of the command line.
    pub flags: Vec<Flag>,
    /// Processors the node may use: the default of `shards`. 0 counts as 1.
    pub processors: usize,
}

/// A flag that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As it is written, `--shards`.
    pub name: &'static str,
    /// The key it sets, `shards` or `limits.outbox_bytes`.
    pub key: &'static str,
    /// Its value; a list's parts are separated by commas.
    pub value: String,
}

/// A configuration that may be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The effective values.
    pub config: Config,
    /// Things that are allowed and perhaps not meant.
    pub warnings: Vec<Mistake>,
    pub(super) origins: HashMap<String, Origin>,
}

impl Loaded {
    /// Where the value at a key's path was said: `shards`, `limits.outbox_bytes`, `location[0].url`, `app[0].key`.
    pub fn origin(&self, path: &str) -> &Origin {
        self.origins.get(path).unwrap_or(&Origin::Default)
    }
}

/// Variables that the command line reads and that are no keys.
const OTHER_VARIABLES: [&str; 3] = ["FANWIRE_CONFIG", "FANWIRE_URL", crate::node::upgrade::VARIABLE];

/// Makes a configuration, or tells everything that is wrong (at most [`limits::NODE_CONFIG_MISTAKES`]), in the order
/// of the file.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Vec<Mistake>> {
    let mut loader = Loader {
        config: Config { shards: sources.processors.clamp(1, limits::NODE_SHARDS_MAX), ..Config::default() },
        origins: HashMap::new(),
        mistakes: Vec::new(),
        warnings: Vec::new(),
        file: "",
        lines: Lines::default(),
    };
    if let Some((name, bytes)) = sources.file {
        loader.file = name;
        loader.read_file(bytes);
    }
    loader.read_environment(&sources.environment);
    for flag in &sources.flags {
        loader.set(flag.key, Input::Text(&flag.value), Origin::Flag(flag.name));
    }
    loader.check();
    let Loader { config, origins, mut mistakes, warnings, .. } = loader;
    if mistakes.is_empty() {
        return Ok(Loaded { config, warnings, origins });
    }
    mistakes.sort();
    mistakes.dedup();
    Err(mistakes)
}

/// Reads a configuration file, at most [`limits::NODE_CONFIG_BYTES`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, Mistake> {
    let name = path.display().to_string();
    let mistake = |message: String| Mistake { origin: Origin::WholeFile(name.clone()), message };
    let file = std::fs::File::open(path).map_err(|error| mistake(format!("cannot be opened: {error}")))?;
    let mut bytes = Vec::new();
    let most = limits::NODE_CONFIG_BYTES as u64;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| mistake(format!("cannot be read: {error}")))?;
    if bytes.len() > limits::NODE_CONFIG_BYTES {
        return Err(mistake(format!("is larger than {most} bytes")));
    }
    Ok(bytes)
}

struct Loader<'a> {
    config: Config,
    /// Path of each value that was said, and of each `location[n]` and `app[n]`.
    origins: HashMap<String, Origin>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    file: &'a str,
    lines: Lines<'a>,
}

impl<'a> Loader<'a> {
    fn place(&self, span: Range<usize>) -> Origin {
        Origin::File(self.file.into(), self.lines.place(span.start))
    }

    fn wrong(&mut self, origin: Origin, message: impl Into<String>) {
        if self.mistakes.len() == limits::NODE_CONFIG_MISTAKES {
            return;
        }
        self.mistakes.push(Mistake { origin, message: message.into() });
    }

    /// Says that the value of `name`, said at `origin`, is refused. In the file the refusal may know a nearer place.
    fn refused(&mut self, name: &str, origin: Origin, refusal: Refusal) {
        let origin = refusal.at.map_or(origin, |span| self.place(span));
        let message = refusal.message;
        // Refusals begin with a verb when they speak of the value as a whole.
        let whole = message.starts_with("needs ") || message.starts_with("is ");
        self.wrong(origin, if whole { format!("`{name}` {message}") } else { message });
    }

    fn set(&mut self, path: &str, input: Input<'_>, origin: Origin) {
        let Some(key) = KEYS.iter().find(|key| key.path() == path) else {
            return self.wrong(origin, format!("unknown key `{path}`"));
        };
        let done = (key.slot)(&mut self.config).set(input);
        match done {
            Ok(()) => {
                self.origins.insert(path.into(), origin);
            }
            Err(refusal) => self.refused(path, origin, refusal),
        }
    }

    fn read_file(&mut self, bytes: &'a [u8]) {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let end = error.valid_up_to();
                self.lines = Lines::new(std::str::from_utf8(&bytes[..end]).unwrap_or_default());
                return self.wrong(self.place(end..end), "is not UTF-8");
            }
        };
        self.lines = Lines::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let origin = self.place(error.span().unwrap_or_default());
            let message = error.message().lines().next().unwrap_or_default();
            self.wrong(origin, format!("not TOML: {message}"));
        }
        if !errors.is_empty() {
            return;
        }
        for (name, value) in table.get_ref() {
            match &**name.get_ref() {
                "location" => self.read_locations(value),
                "app" => self.read_apps(value),
                "grant" => self.read_grants(value),
                "webhook" => self.read_webhooks(value),
                "certificate" => self.read_certificates(value),
                section if SECTIONS.contains(&section) => self.read_section(section, value),
                _ => self.read_key("", name, value),
            }
        }
    }

    fn read_section(&mut self, section: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (name, value) in table {
                    self.read_key(section, name, value);
                }
            }
            other => {
                let origin = self.place(value.span());
                self.wrong(
                    origin,
                    format!("`{section}` needs a table, found {}: write [{section}]", kind(other)),
                );
            }
        }
    }

    fn read_key<'v>(
        &mut self,
        section: &str,
        name: &Spanned<std::borrow::Cow<'v, str>>,
        value: &'v Spanned<DeValue<'v>>,
    ) {
        let word = &**name.get_ref();
        let known = KEYS.iter().filter(|key| key.section == section).find(|key| key.name == word);
        match known {
            Some(key) => self.set(&key.path(), Input::Toml(value), self.place(value.span())),
            None => {
                let tables =
                    ["location", "app", "grant", "webhook", "certificate"].into_iter().chain(SECTIONS);
                let tables = tables.filter(|_| section.is_empty());
                let names = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
                let mut hint = self.hint(word, names.chain(tables));
                if let (true, Some(key)) = (hint.is_empty(), KEYS.iter().find(|key| key.name == word)) {
                    let table =
                        if key.section.is_empty() { "the top".into() } else { format!("[{}]", key.section) };
                    hint = format!(" (it belongs into {table})");
                }
                self.unknown(name, &hint);
            }
        }
    }

    /// Suggestions cost time, so there are none where nothing more will be told.
    fn hint<'n>(&self, name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
        let full = self.mistakes.len() == limits::NODE_CONFIG_MISTAKES;
        if full { String::new() } else { hint(name, known) }
    }

    fn unknown(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, hint: &str) {
        let origin = self.place(name.span());
        self.wrong(origin, format!("unknown key `{}`{hint}", name.get_ref().escape_debug()));
    }

    /// The tables of `[[name]]`, or a mistake.
    fn tables<'v>(
        &mut self,
        name: &str,
        most: usize,
        value: &'v Spanned<DeValue<'v>>,
    ) -> Vec<&'v Spanned<DeValue<'v>>> {
        let DeValue::Array(elements) = value.get_ref() else {
            let origin = self.place(value.span());
            self.wrong(origin, format!("`{name}` may stand several times: write [[{name}]]"));
            return Vec::new();
        };
        if elements.len() > most {
            let origin = self.place(elements[most].span());
            self.wrong(origin, format!("at most {most} of `{name}`"));
        }
        elements.iter().take(most).collect()
    }

    fn read_locations(&mut self, value: &Spanned<DeValue<'_>>) {
        let mut locations = Vec::new();
        for (index, element) in
            self.tables("location", limits::RELAY_LOCATIONS, value).into_iter().enumerate()
        {
            let origin = self.place(element.span());
            self.origins.insert(format!("location[{index}]"), origin.clone());
            match element.get_ref() {
                DeValue::Table(table) => locations.push(self.read_location(index, table)),
                other => self.wrong(origin, format!("a location needs a table, found {}", kind(other))),
            }
        }
        self.config.relay.locations = locations;
    }

    fn read_location(&mut self, index: usize, table: &DeTable<'_>) -> LocationSettings {
        let flavour = table.iter().find(|(name, _)| &**name.get_ref() == "flavour");
        let relay = flavour.is_some_and(|(_, value)| value.get_ref().as_str() == Some("relay"));
        let mut location = if relay { LocationSettings::relay() } else { LocationSettings::nchan() };
        debug_assert_eq!(relay, location.flavour == Flavour::Relay);
        for (name, value) in table {
            let word = &**name.get_ref();
            let Some(key) = LOCATION_KEYS.iter().find(|key| key.name == word) else {
                let hint = self.hint(word, LOCATION_KEYS.iter().map(|key| key.name));
                self.unknown(name, &hint);
                continue;
            };
            let origin = self.place(value.span());
            let path = format!("location[{index}].{word}");
            let done = (key.slot)(&mut location).set(Input::Toml(value));
            if let Err(refusal) = done {
                self.refused(word, origin.clone(), refusal);
            }
            self.origins.insert(path, origin);
        }
        location
    }

    fn read_apps(&mut self, value: &Spanned<DeValue<'_>>) {
        let mut apps = Vec::new();
        for (index, element) in self.tables("app", limits::NODE_APPS, value).into_iter().enumerate() {
            let origin = self.place(element.span());
            self.origins.insert(format!("app[{index}]"), origin.clone());
            let DeValue::Table(table) = element.get_ref() else {
                self.wrong(origin, "an app needs a table");
                continue;
            };
            let mut app = AppSettings::new("", "", "");
            for (name, value) in table {
                let word = &**name.get_ref();
                let Some(key) = APP_KEYS.iter().find(|key| key.name == word) else {
                    let hint = self.hint(word, APP_KEYS.iter().map(|key| key.name));
                    self.unknown(name, &hint);
                    continue;
                };
                let origin = self.place(value.span());
                let done = (key.slot)(&mut app).set(Input::Toml(value));
                if let Err(refusal) = done {
                    self.refused(word, origin.clone(), refusal);
                }
                self.origins.insert(format!("app[{index}].{word}"), origin);
            }
            apps.push(app);
        }
        self.config.apps = apps;
        let origin = self.place(value.span());
        self.origins.insert("app".into(), origin);
    }

    fn read_webhooks(&mut self, value: &Spanned<DeValue<'_>>) {
        let mut webhooks = Vec::new();
        for (index, element) in
            self.tables("webhook", limits::WEBHOOK_ENDPOINTS, value).into_iter().enumerate()
        {
            let origin = self.place(element.span());
            self.origins.insert(format!("webhook[{index}]"), origin.clone());
            let DeValue::Table(table) = element.get_ref() else {
                self.wrong(origin, format!("a webhook needs a table, found {}", kind(element.get_ref())));
                continue;
            };
            let mut webhook = WebhookSettings::default();
            for (name, value) in table {
                let word = &**name.get_ref();
                let Some(key) = WEBHOOK_KEYS.iter().find(|key| key.name == word) else {
                    let hint = self.hint(word, WEBHOOK_KEYS.iter().map(|key| key.name));
                    self.unknown(name, &hint);
                    continue;
                };
                let origin = self.place(value.span());
                let done = (key.slot)(&mut webhook).set(Input::Toml(value));
                if let Err(refusal) = done {
                    self.refused(word, origin.clone(), refusal);
                }
                self.origins.insert(format!("webhook[{index}].{word}"), origin);
            }
            webhooks.push(webhook);
        }
        self.config.webhooks = webhooks;
    }

    fn read_environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            if !name.starts_with("FANWIRE_") || OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            if let Some(key) = KEYS.iter().find(|key| key.variable() == *name) {
                self.set(&key.path(), Input::Text(value), origin);
            } else if let Some(key) = APP_KEYS.iter().find(|key| key.variable() == *name) {
                self.set_only_app(key, value, origin);
            } else {
                // Only a warning: container platforms make such variables from the names of services.
                let known = KEYS.iter().map(|key| key.variable());
                let known: Vec<String> = known.chain(APP_KEYS.iter().map(AppKey::variable)).collect();
                let hint = hint(name, known.iter().map(String::as_str));
                self.warnings.push(Mistake { origin, message: format!("sets nothing{hint}") });
            }
        }
    }

    /// Sets a key of the app, when there is one and no more. What names the app makes it one of its own, no longer
    /// the development app.
    fn set_only_app(&mut self, key: &AppKey, value: &str, origin: Origin) {
        let [app] = &mut self.config.apps[..] else {
            return self.wrong(origin, "sets the app when there is one, and the file has several");
        };
        let done = (key.slot)(app).set(Input::Text(value));
        match done {
            Ok(()) => {
                self.origins.insert(format!("app[0].{}", key.name), origin.clone());
                if matches!(key.name, "id" | "key" | "secret") {
                    self.origins.insert("app".into(), origin);
                }
            }
            Err(refusal) => self.refused(key.name, origin, refusal),
        }
    }
}
