//! The keys of an `[[app]]`.

use super::AppSettings;
use super::keys::Borrowed;
use super::value::{Count, Millis, Setting, Size};
use crate::limits::{HISTORY_MESSAGES, NODE_COUNT_MAX, NODE_DURATION_MS_MAX, PUSHER_DATA_BYTES_MAX};

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
    enabled: a => Borrowed(&mut a.enabled);
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
