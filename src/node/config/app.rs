//! The keys of an `[[app]]`, and apps as JSON: the store's documents and the control socket hold the same keys with
//! the same values.

use super::AppSettings;
use super::keys::Borrowed;
use super::value::{Count, Input, Millis, Setting, Size};
use super::visitors::Origins;
use crate::limits::{HISTORY_MESSAGES, NODE_COUNT_MAX, NODE_DURATION_MS_MAX, PUSHER_DATA_BYTES_MAX};
use crate::wire::json;
use std::borrow::Cow;

/// One key of an app.
pub(super) struct AppKey {
    pub name: &'static str,
    /// The field it sets.
    pub slot: for<'a> fn(&'a mut AppSettings) -> Box<dyn Setting + 'a>,
}

impl AppKey {
    /// The environment variable of the same meaning, for the app when there is one and no more.
    pub fn variable(&self) -> String {
        format!("FANWIRE_APP_{}", self.name.to_ascii_uppercase())
    }
}

macro_rules! keys {
    ($($name:ident: $app:ident => $slot:expr;)*) => {
        /// All keys, in the order in which they are printed. The first three are needed.
        pub(super) const APP_KEYS: &[AppKey] =
            &[$(AppKey { name: stringify!($name), slot: |$app| Box::new($slot) },)*];
    };
}

keys! {
    id: a => Borrowed(&mut a.id);
    key: a => Borrowed(&mut a.key);
    secret: a => Borrowed(&mut a.secret);
    name: a => Borrowed(&mut a.name);
    enabled: a => Borrowed(&mut a.enabled);
    origins: a => Origins(&mut a.origins);
    client_events: a => Borrowed(&mut a.client_events);
    subscription_count: a => Borrowed(&mut a.subscription_count);
    authorize_within: a => Millis(&mut a.authorize_within_ms, 0..=NODE_DURATION_MS_MAX);
    max_connections: a => Count(&mut a.max_connections, 0..=NODE_COUNT_MAX);
    max_channels: a => Count(&mut a.max_channels, 0..=NODE_COUNT_MAX);
    max_events_per_second: a => Count(&mut a.max_events_per_s, 0..=NODE_COUNT_MAX);
    max_client_events_per_second: a => Count(&mut a.max_client_events_per_s, 0..=NODE_COUNT_MAX);
    max_event_bytes: a => Size(&mut a.max_event_bytes, 1..=PUSHER_DATA_BYTES_MAX);
    max_presence_users: a => Count(&mut a.max_presence_users, 0..=NODE_COUNT_MAX);
    history_messages: a => Count(&mut a.history_messages, 0..=HISTORY_MESSAGES as usize);
    history: a => Millis(&mut a.history_ms, 0..=NODE_DURATION_MS_MAX);
    cache: a => Millis(&mut a.cache_ms, 0..=NODE_DURATION_MS_MAX);
}

/// Writes the app as a JSON object; without `secret`, that key is left out.
pub fn write_app(out: &mut Vec<u8>, app: &AppSettings, secret: bool) {
    let mut app = app.clone();
    let mut first = true;
    out.push(b'{');
    for key in APP_KEYS.iter().filter(|key| secret || key.name != "secret") {
        // Values are spelt alike in TOML and JSON: they are strings without raw control characters, booleans, numbers.
        if let Some(value) = (key.slot)(&mut app).show() {
            json::comma(out, &mut first);
            json::string(out, key.name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
    }
    out.push(b'}');
}

/// Reads what [`write_app`] wrote: keys that are not there have their defaults.
///
/// # Errors
/// What is wrong with the first value that is.
pub fn read_app(value: json::Value<'_, '_>) -> Result<AppSettings, String> {
    // Lists have commas in variables; no value of a list has one in itself.
    let list = |value: json::Value<'_, '_>| -> String {
        let texts: Vec<&str> = value.items().filter_map(json::Value::as_str).collect();
        texts.join(",")
    };
    let values = value.members().map(|(name, value)| match value.kind() {
        json::Kind::Array => (name, Cow::Owned(list(value))),
        _ => (name, Cow::Borrowed(value.as_str().unwrap_or(value.raw()))),
    });
    let values: Vec<(&str, Cow<'_, str>)> = values.collect();
    app_of(values.iter().map(|(name, value)| (*name, &**value)))
}

/// An app of these keys and values, spelt as in variables.
///
/// # Errors
/// What is wrong with the first value that is, or with its names.
pub fn app_of<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<AppSettings, String> {
    let mut app = AppSettings::new("", "", "");
    for (name, value) in values {
        let Some(key) = APP_KEYS.iter().find(|key| key.name == name) else {
            return Err(format!("unknown key `{}`", name.escape_debug()));
        };
        let done = (key.slot)(&mut app).set(Input::Text(value));
        done.map_err(|refusal| match refusal.message.starts_with("needs ") {
            true => format!("`{name}` {}", refusal.message),
            false => refusal.message,
        })?;
    }
    Ok(app)
}

/// Keys with other values than an app has that says nothing but its names, as TOML.
pub fn app_differences(app: &AppSettings) -> Vec<(&'static str, String)> {
    let (mut app, mut plain) = (app.clone(), AppSettings::new(&app.id, &app.key, &app.secret));
    let shown = APP_KEYS.iter().filter_map(|key| {
        let (value, default) = ((key.slot)(&mut app).show(), (key.slot)(&mut plain).show());
        (value != default).then(|| Some((key.name, value?)))?
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AppSettings, String> {
        read_app(json::Reader::default().read(text).unwrap().root())
    }

    #[test]
    fn apps_read_what_they_write() {
        let plain = AppSettings::new("a.b-c_9", "k", "s \"\\\u{1}\u{85}\n\u{1F600}");
        let other = AppSettings {
            enabled: false,
            origins: vec!["https://a.example".into(), "https://*.b.example".into()],
            client_events: true,
            authorize_within_ms: 30_000,
            max_connections: 100_000,
            max_event_bytes: 64 << 10,
            history_ms: 0,
            cache_ms: 1500,
            ..plain.clone()
        };
        for app in [plain, other] {
            let mut out = Vec::new();
            write_app(&mut out, &app, true);
            let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(parsed["secret"], app.secret);
            assert_eq!(read(std::str::from_utf8(&out).unwrap()), Ok(app.clone()));
            out.clear();
            write_app(&mut out, &app, false);
            let hidden = read(std::str::from_utf8(&out).unwrap()).unwrap();
            assert_eq!(hidden, AppSettings { secret: String::new(), ..app });
        }
    }

    #[test]
    fn wrong_apps_are_told() {
        let refused = |text: &str| read(text).unwrap_err();
        assert_eq!(refused(r#"{"id":"a","colour":1}"#), "unknown key `colour`");
        assert_eq!(refused(r#"{"client_events":null}"#), "`client_events` needs true or false");
        assert!(refused(r#"{"history":5}"#).starts_with("`history` needs a duration"));
        assert!(refused(r#"{"max_event_bytes":"1GiB"}"#).starts_with("`max_event_bytes` needs a size from"));
        assert_eq!(read("[]").unwrap(), AppSettings::new("", "", ""), "its names are checked elsewhere");
    }

    #[test]
    fn differences_leave_out_what_every_app_has() {
        let app = AppSettings { client_events: true, cache_ms: 0, ..AppSettings::new("a", "k", "s") };
        let expected = [("client_events", "true".to_owned()), ("cache", "\"0\"".to_owned())];
        assert_eq!(app_differences(&app), expected);
    }
}
