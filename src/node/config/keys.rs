//! The keys of the node itself. The same table reads the file, the environment and the flags, and prints.

use super::value::{Choice, Count, Input, Millis, Refusal, Seconds, Setting, Size, quote_all};
use super::visitors::Origins;
use super::{Config, Driver, Listen, LogFormat};
use crate::limits::{self, NODE_COUNT_MAX, NODE_DURATION_MS_MAX, NODE_SIZE_BYTES_MAX};

/// One key outside of locations and apps.
pub(super) struct Key {
    /// Table it stands in, empty for none.
    pub section: &'static str,
    pub name: &'static str,
    /// The field it sets.
    pub slot: for<'a> fn(&'a mut Config) -> Box<dyn Setting + 'a>,
}

impl Key {
    /// `section.name`, or `name`.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.into() } else { format!("{}.{}", self.section, self.name) }
    }

    /// The environment variable of the same meaning.
    pub fn variable(&self) -> String {
        format!("FANWIRE_{}", self.path().replace('.', "_").to_ascii_uppercase())
    }
}

/// Tables that hold keys.
pub(super) const SECTIONS: [&str; 6] = ["limits", "tls", "hooks", "store", "pusher", "pushi"];

macro_rules! keys {
    ($($section:literal { $($name:ident: $config:ident => $slot:expr;)* })*) => {
        /// All keys, in the order in which they are printed.
        pub(super) const KEYS: &[Key] = &[$($(
            Key { section: $section, name: stringify!($name), slot: |$config| Box::new($slot) },
        )*)*];
    };
}

keys! {
    "" {
        listen: c => Addresses(&mut c.listen, 1);
        internal_listen: c => Addresses(&mut c.internal_listen, 0);
        trusted_proxies: c => Borrowed(&mut c.trusted_proxies);
        forwarded_header: c => Borrowed(&mut c.forwarded_header);
        origins: c => Origins(&mut c.origins);
        shards: c => Count(&mut c.shards, 1..=limits::NODE_SHARDS_MAX);
        driver: c => Borrowed(&mut c.driver);
        development: c => Borrowed(&mut c.development);
        drain: c => Millis(&mut c.drain_ms, 0..=NODE_DURATION_MS_MAX);
        upgrade_timeout: c => Millis(&mut c.upgrade_ms, 1..=NODE_DURATION_MS_MAX);
        stall_exit: c => Millis(&mut c.stall_exit_ms, 0..=NODE_DURATION_MS_MAX);
        echo: c => Borrowed(&mut c.echo);
        log: c => LogFilter(&mut c.log);
        log_format: c => Borrowed(&mut c.log_format);
    }
    "limits" {
        connections: c => Count(&mut c.limits.connections, 1..=NODE_COUNT_MAX);
        connections_per_address: c => Count(&mut c.limits.connections_per_address, 0..=NODE_COUNT_MAX);
        connects_per_second_per_address: c => Count(&mut c.limits.connects_per_s_per_address, 0..=limits::NODE_CONNECTS_PER_S_MAX);
        connects_burst_per_address: c => Count(&mut c.limits.connects_burst_per_address, 1..=limits::NODE_CONNECTS_BURST_MAX);
        outbox_bytes: c => Size(&mut c.limits.outbox_bytes, 4096..=NODE_SIZE_BYTES_MAX);
        outbox_messages: c => Count(&mut c.limits.outbox_messages, 1..=NODE_COUNT_MAX);
        head_bytes: c => Size(&mut c.limits.head_bytes, 1024..=usize::from(u16::MAX));
        target_bytes: c => Size(&mut c.limits.target_bytes, 256..=NODE_SIZE_BYTES_MAX);
        body_bytes: c => Size(&mut c.limits.body_bytes, 0..=NODE_SIZE_BYTES_MAX);
        message_bytes: c => Size(&mut c.limits.message_bytes, limits::WS_CONTROL_BYTES..=NODE_SIZE_BYTES_MAX);
        channels: c => Count(&mut c.limits.channels, 1..=NODE_COUNT_MAX);
        mailbox_messages: c => Count(&mut c.limits.mailbox_messages, 16..=NODE_COUNT_MAX);
        header_timeout: c => Millis(&mut c.limits.header_timeout_ms, 1..=NODE_DURATION_MS_MAX);
        body_timeout: c => Millis(&mut c.limits.body_timeout_ms, 1..=NODE_DURATION_MS_MAX);
        idle_timeout: c => Millis(&mut c.limits.idle_timeout_ms, 1..=NODE_DURATION_MS_MAX);
        peer_timeout: c => Millis(&mut c.limits.peer_timeout_ms, limits::NODE_PEER_TIMEOUT_MS_MIN..=limits::NODE_PEER_TIMEOUT_MS_MAX);
        websocket_ping_interval: c => Millis(&mut c.limits.websocket_ping_interval_ms, 0..=NODE_DURATION_MS_MAX);
        inflate_ratio: c => Count(&mut c.limits.inflate_ratio, 0..=NODE_COUNT_MAX);
        messages_in_per_second: c => Count(&mut c.limits.messages_in_per_second, 0..=NODE_COUNT_MAX);
        bytes_in_per_second: c => Size(&mut c.limits.bytes_in_per_second, 0..=NODE_SIZE_BYTES_MAX);
        rate_burst: c => Millis(&mut c.limits.rate_burst_ms, 1..=NODE_DURATION_MS_MAX);
        subscriptions_per_connection: c => Count(&mut c.limits.subscriptions_per_connection, 1..=limits::SUBSCRIPTIONS_PER_SESSION);
        poll_hold: c => Millis(&mut c.limits.poll_hold_ms, 0..=NODE_DURATION_MS_MAX);
        history_bytes_per_shard: c => Size(&mut c.limits.history_bytes_per_shard, 1024..=limits::NODE_MEMORY_BYTES_MAX);
        presence_bytes_per_shard: c => Size(&mut c.limits.presence_bytes_per_shard, 1024..=limits::NODE_MEMORY_BYTES_MAX);
        websocket_pong_timeout: c => Millis(&mut c.limits.websocket_pong_timeout_ms, 1..=NODE_DURATION_MS_MAX);
    }
    "tls" {
        min_version: c => Borrowed(&mut c.tls.min_version);
        client_ca: c => Borrowed(&mut c.tls.client_ca);
        tickets: c => Borrowed(&mut c.tls.tickets);
        strict_sni: c => Borrowed(&mut c.tls.strict_sni);
        handshake_timeout: c => Millis(&mut c.tls.handshake_timeout_ms, 1..=NODE_DURATION_MS_MAX);
        pending_handshakes: c => Count(&mut c.tls.pending_handshakes, 1..=NODE_COUNT_MAX);
    }
    "hooks" {
        ca: c => Borrowed(&mut c.hooks.ca);
        timeout: c => Millis(&mut c.hooks.timeout_ms, 1..=u64::from(limits::HOOK_TIMEOUT_MAX_MS));
        concurrency: c => Count(&mut c.hooks.concurrency, 1..=NODE_COUNT_MAX);
        queue: c => Count(&mut c.hooks.queue, 1..=NODE_COUNT_MAX);
    }
    "store" {
        data: c => Borrowed(&mut c.store.data);
        disk_bytes: c => Size(&mut c.store.disk_bytes, limits::STORE_DISK_BYTES_MIN..=limits::STORE_DISK_BYTES_MAX);
        memory_bytes: c => Size(&mut c.store.memory_bytes, limits::STORE_DISK_BYTES_MIN..=limits::STORE_DISK_BYTES_MAX);
        channels: c => Count(&mut c.store.channels, 1..=limits::STORE_LOGS);
        queue: c => Count(&mut c.store.queue, 1..=NODE_COUNT_MAX);
        queue_bytes: c => Size(&mut c.store.queue_bytes, 4096..=NODE_SIZE_BYTES_MAX);
    }
    "pusher" {
        enabled: c => Borrowed(&mut c.pusher.enabled);
        api_listener: c => Borrowed(&mut c.pusher.api_listeners);
        activity_timeout: c => Seconds(&mut c.pusher.activity_timeout_s, 1..=limits::PUSHER_TIMEOUT_S_MAX);
        pong_timeout: c => Millis(&mut c.pusher.pong_timeout_ms, 1..=limits::PUSHER_TIMEOUT_S_MAX * 1000);
        channel_name_bytes: c => Size(&mut c.pusher.limits.channel_name_bytes, 1..=limits::PUSHER_CHANNEL_NAME_BYTES_MAX);
        event_name_chars: c => Count(&mut c.pusher.limits.event_name_chars, 1..=limits::PUSHER_EVENT_NAME_CHARS_MAX);
        channels_per_trigger: c => Count(&mut c.pusher.limits.channels_per_trigger, 1..=limits::PUSHER_ITEMS_MAX);
        batch_events: c => Count(&mut c.pusher.limits.batch_events, 1..=limits::PUSHER_ITEMS_MAX);
        timestamp_tolerance: c => Seconds(&mut c.pusher.limits.timestamp_tolerance_s, 1..=limits::PUSHER_TIMEOUT_S_MAX);
    }
    "pushi" {
        enabled: c => Borrowed(&mut c.pushi.enabled);
        open_apps: c => Borrowed(&mut c.pushi.open_apps);
        ping_interval: c => Millis(&mut c.pushi.ping_interval_ms, 0..=NODE_DURATION_MS_MAX);
        api_listener: c => Borrowed(&mut c.pushi.api_listeners);
    }
}

/// A field whose type reads itself.
pub(super) struct Borrowed<'a, T>(pub &'a mut T);

impl<T: Setting> Setting for Borrowed<'_, T> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        self.0.set(input)
    }

    fn show(&self) -> Option<String> {
        self.0.show()
    }
}

/// Addresses to listen on, at least so many.
struct Addresses<'a>(&'a mut Vec<Listen>, usize);

impl Setting for Addresses<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let elements = input.list();
        if elements.len() < self.1 || elements.len() > limits::NODE_LISTENERS {
            return input.refuse(format!("needs {} to {} addresses", self.1, limits::NODE_LISTENERS));
        }
        let mut addresses = Vec::with_capacity(elements.len());
        for element in elements {
            match element.text()?.parse::<Listen>() {
                Ok(listen) if addresses.iter().any(|other: &Listen| other.address == listen.address) => {
                    return element.refuse(format!("`{}` is listed twice", listen.address));
                }
                Ok(listen) => addresses.push(listen),
                Err(message) => return element.refuse(message),
            }
        }
        *self.0 = addresses;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote_all(self.0.iter().map(Listen::to_string)))
    }
}

/// What is logged.
struct LogFilter<'a>(&'a mut String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Setting for LogFilter<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let text = input.text()?;
        for part in text.split(',') {
            let (target, level) = part.rsplit_once('=').unwrap_or(("fanwire", part));
            let named = !target.is_empty()
                && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
            if !named || !LEVELS.contains(&level) {
                return input.refuse(format!(
                    "`{}` is not a level or target=level: the levels are {}",
                    part.escape_debug(),
                    LEVELS.join(", ")
                ));
            }
        }
        *self.0 = text.into_owned();
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.0.show()
    }
}

impl Choice for Driver {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Driver::Auto), ("uring", Driver::Uring), ("epoll", Driver::Epoll)];
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}
