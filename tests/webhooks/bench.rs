//! The service as a node has it, and its endpoints.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use bytes::Bytes;
use fanwire::channel::notice::{ClientEvent, Notice, What};
use fanwire::channel::{ChannelKey, KeyHasher, NoticeKind, NoticeKinds, Position, SessionId};
use fanwire::limits::WebhookLimits;
use fanwire::service::webhooks::{Endpoint, Filter, Webhooks, WebhooksConfig, WebhooksHandle};
use serde_json::Value;

use crate::support::{Log, Seen, back_end, ok};

pub const KEY: &str = "app-key-demo";
pub const SECRET: &str = "app-secret-demo";
/// The time of the sheet's example.
pub const TIME_MS: u64 = 1_700_000_000_123;

pub struct Bench {
    pub webhooks: Option<Webhooks>,
    pub handle: WebhooksHandle,
}

impl Bench {
    /// A service that does everything soon.
    pub fn new(change: impl FnOnce(&mut WebhookLimits)) -> Bench {
        let mut limits = WebhookLimits {
            grace_ms: 150,
            batch_ms: 30,
            backoff_ms: 20,
            backoff_max_ms: 80,
            retry_ms: 600,
            ..WebhookLimits::default()
        };
        limits.call.timeout_ms = 300;
        change(&mut limits);
        let write = fanwire::node::webhooks::write_body;
        let webhooks = Webhooks::start(WebhooksConfig {
            limits,
            trust: Arc::default(),
            write,
            clock: || TIME_MS,
            seed: 7,
        })
        .unwrap();
        Bench { handle: webhooks.handle(), webhooks: Some(webhooks) }
    }

    /// With these endpoints for app 0.
    pub fn with(endpoints: Vec<Endpoint>, change: impl FnOnce(&mut WebhookLimits)) -> Bench {
        let bench = Bench::new(change);
        bench.handle.set_endpoints(0, endpoints).unwrap();
        bench
    }

    pub fn tell(&self, channel: &str, what: What) {
        self.handle.notify(notice(0, channel, what));
    }
}

pub fn notice(app: u32, channel: &str, what: What) -> Notice {
    Notice { channel: ChannelKey::new(&KeyHasher::new(1), app, b"", channel.as_bytes()), what }
}

pub fn endpoint(address: SocketAddr, path: &str) -> Endpoint {
    Endpoint {
        url: format!("http://{address}{path}").into(),
        key: KEY.into(),
        secret: SECRET.into(),
        filter: filter(NoticeKinds::all(), "", ""),
        batch: true,
    }
}

pub fn one_by_one(address: SocketAddr) -> Endpoint {
    Endpoint { batch: false, ..endpoint(address, "/one") }
}

pub fn filter(kinds: NoticeKinds, prefix: &str, suffix: &str) -> Filter {
    Filter { kinds, prefix: prefix.into(), suffix: suffix.into() }
}

pub fn kinds(kinds: &[NoticeKind]) -> NoticeKinds {
    kinds.iter().copied().collect()
}

pub fn sent(event: &str, data: &str) -> What {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    What::ClientEvent(Box::new(ClientEvent {
        event: text(event),
        data: Some(text(data)),
        session: SessionId(1 << 32 | 2),
        user: None,
    }))
}

/// A miss in a channel that has published so much.
pub fn miss(last: u64) -> What {
    What::CacheMiss(Position { time: last, tag: 0 })
}

/// A back end that takes everything.
pub fn taking() -> (SocketAddr, Log) {
    back_end(|_, stream| ok(stream))
}

/// A back end that answers the first so many requests with a failure.
pub fn failing_first(failures: u32) -> (SocketAddr, Log) {
    let count = Arc::new(AtomicU32::new(0));
    back_end(move |_, stream| {
        use std::io::Write;
        match count.fetch_add(1, SeqCst) < failures {
            true => stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").is_ok(),
            false => ok(stream),
        }
    })
}

/// The body of a request.
pub fn body(seen: &Seen) -> Vec<u8> {
    let end = seen.bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    seen.bytes[end + 4..].to_vec()
}

/// The events of a request: name and channel.
pub fn events(seen: &Seen) -> Vec<String> {
    let body: Value = serde_json::from_slice(&body(seen)).unwrap();
    let spelled = |event: &Value| {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        format!("{} {}", text("name"), text("channel"))
    };
    body["events"].as_array().unwrap().iter().map(spelled).collect()
}

/// The events of all requests.
pub fn all_events(log: &Log) -> Vec<String> {
    log.all().iter().flat_map(events).collect()
}
