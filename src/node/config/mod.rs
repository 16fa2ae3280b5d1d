//! Configuration of the node: a TOML file, then `FANWIRE_*` variables, then flags, each over the one before.
//!
//! [`load()`] does the whole way and is pure: text in, a [`Loaded`] or every [`Mistake`] out, with line and column.
//! [`print()`] writes the effective values back, each with its origin.

mod address;
mod app;
mod grant;
mod keys;
mod load;
mod location;
mod mistake;
mod print;
mod tls;
mod value;
mod visitors;
mod webhook;

pub use address::{DoorSettings, Listen, ListenAddress};
pub use app::{app_differences, app_of, read_app, write_app};
pub use grant::GrantSettings;
pub use load::{Flag, Loaded, Sources, load, read_file};
pub use mistake::{Mistake, Origin, Place};
pub use print::{print, summary};
pub use tls::{CertificateSettings, TlsSettings, TlsVersion};

use std::net::{Ipv4Addr, SocketAddr};

use crate::channel::NoticeKinds;
pub use crate::dialect::app::AppSettings;
use crate::dialect::relay::settings::RelaySettings;
use crate::dialect::{pusher, pushi};
use crate::limits;
use crate::wire::http::forwarded;
use crate::wire::network::TrustedPeers;

/// Id of the development app: PyPI's `pusher` and npm's `forURL` take digits only.
pub const DEVELOPMENT_ID: &str = "1";
/// Key of the development app.
pub const DEVELOPMENT_KEY: &str = "dev-key";
/// Secret of the development app.
pub const DEVELOPMENT_SECRET: &str = "dev-secret";

/// Everything the node can be told. Durations are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the public is served.
    pub listen: Vec<Listen>,
    /// Where metrics and health are served. Empty: on the public listeners.
    pub internal_listen: Vec<Listen>,
    /// Peers that are believed whom they speak for. None: those on this machine, of their PROXY headers only.
    pub trusted_proxies: Option<TrustedPeers>,
    /// The header by which the trusted proxies tell of a request's client.
    pub forwarded_header: forwarded::Kind,
    /// Pages that browsers may come from, where nothing nearer says so. Empty: all.
    pub origins: Vec<String>,
    /// Threads with a slice of connections and channels each, 1 to [`limits::NODE_SHARDS_MAX`].
    pub shards: usize,
    /// How sockets are driven.
    pub driver: Driver,
    /// Whether the well-known development keys work. Then only loopback and unix sockets may be listened on.
    pub development: bool,
    /// Time that connections get to leave when the node stops.
    pub drain_ms: u64,
    /// Time that a new process has to take over on SIGUSR2.
    pub upgrade_ms: u64,
    /// A shard that stands still for so long ends the process, 0: never.
    pub stall_exit_ms: u64,
    /// Whether `/echo`, the endpoint for WebSocket conformance suites, exists.
    pub echo: bool,
    /// What is logged: a level, or `target=level` parts between commas.
    pub log: String,
    /// How a log line looks.
    pub log_format: LogFormat,
    /// Bounds of the node.
    pub limits: NodeLimits,
    /// What holds for addresses that speak TLS.
    pub tls: TlsSettings,
    /// What they show. The first one is for clients that name nobody.
    pub certificates: Vec<CertificateSettings>,
    /// Calls to back ends.
    pub hooks: HookSettings,
    /// What survives the node.
    pub store: StoreSettings,
    /// Tenants. Empty when `development` is off and none is configured.
    pub apps: Vec<AppSettings>,
    /// Who may subscribe and publish; the first that is about a channel decides.
    pub grants: Vec<GrantSettings>,
    /// What back ends are told.
    pub webhooks: Vec<WebhookSettings>,
    /// Relay locations.
    pub relay: RelaySettings,
    /// The Pusher dialect.
    pub pusher: pusher::Settings,
    /// The Pushi dialect.
    pub pushi: pushi::Settings,
}

/// Which kernel interface drives the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where it works, else epoll.
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll.
    Epoll,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Bounds of the node, see the constants of the same name in [`limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Connections of the whole node.
    pub connections: usize,
    /// Connections from one address, 0 for no limit.
    pub connections_per_address: usize,
    /// Connections from one address in a second, 0 for no limit.
    pub connects_per_s_per_address: usize,
    /// So many of them at once.
    pub connects_burst_per_address: usize,
    /// Bytes that may wait for one connection.
    pub outbox_bytes: usize,
    /// Messages that may wait for one connection.
    pub outbox_messages: usize,
    /// Request line and headers together, less than 64 KiB.
    pub head_bytes: usize,
    /// Request target; less than `head_bytes`.
    pub target_bytes: usize,
    /// Request body.
    pub body_bytes: usize,
    /// WebSocket message after reassembly and inflation.
    pub message_bytes: usize,
    /// Channels of the whole node.
    pub channels: usize,
    /// Messages that may wait in the mailbox of one shard.
    pub mailbox_messages: usize,
    /// Time for a request's head to arrive.
    pub header_timeout_ms: u64,
    /// Time for a request's body to arrive.
    pub body_timeout_ms: u64,
    /// Time that a kept-alive connection may be without a request.
    pub idle_timeout_ms: u64,
    /// Time between WebSocket pings, 0 for none.
    pub websocket_ping_interval_ms: u64,
    /// Time for a WebSocket pong to arrive.
    pub websocket_pong_timeout_ms: u64,
    /// Bytes that may come out of one byte of a deflated message, 0 for any number.
    pub inflate_ratio: usize,
    /// Messages and requests of one connection in a second, 0 for any number.
    pub messages_in_per_second: usize,
    /// Bytes from one connection in a second, 0 for any number.
    pub bytes_in_per_second: usize,
    /// What may come at once, as the time in which it may come regularly.
    pub rate_burst_ms: u64,
    /// Subscriptions of one connection.
    pub subscriptions_per_connection: usize,
    /// Time that a poll is held at most, 0 for any.
    pub poll_hold_ms: u64,
    /// Memory of the stored messages of one shard.
    pub history_bytes_per_shard: usize,
    /// Memory of the users of one shard.
    pub presence_bytes_per_shard: usize,
    /// See [`limits::NODE_PEER_TIMEOUT_MS`].
    pub peer_timeout_ms: u64,
}

impl NodeLimits {
    /// The part that the HTTP reader takes.
    pub fn http(&self) -> limits::HttpLimits {
        limits::HttpLimits {
            head_bytes: self.head_bytes,
            target_bytes: self.target_bytes,
            body_bytes: self.body_bytes,
            ..limits::HttpLimits::default()
        }
    }

    /// The part that the WebSocket reader takes.
    pub fn websocket(&self) -> limits::WsLimits {
        limits::WsLimits {
            message_bytes: self.message_bytes,
            inflate_ratio: self.inflate_ratio,
            ..limits::WsLimits::default()
        }
    }

    /// The part that counts what one connection sends.
    pub fn rates(&self, public_listeners: usize) -> limits::RateLimits {
        limits::RateLimits {
            messages_per_s: self.messages_in_per_second,
            bytes_per_s: self.bytes_in_per_second,
            burst_ms: self.rate_burst_ms,
            public_listeners: public_listeners as u16,
        }
    }
}

impl Default for NodeLimits {
    fn default() -> Self {
        NodeLimits {
            connections: limits::NODE_CONNECTIONS,
            connections_per_address: limits::NODE_CONNECTIONS_PER_ADDRESS,
            connects_per_s_per_address: limits::NODE_CONNECTS_PER_S_PER_ADDRESS,
            connects_burst_per_address: limits::NODE_CONNECTS_BURST,
            outbox_bytes: limits::NODE_OUTBOX_BYTES,
            outbox_messages: limits::NODE_OUTBOX_MESSAGES,
            head_bytes: limits::HTTP_HEAD_BYTES,
            target_bytes: limits::HTTP_TARGET_BYTES,
            body_bytes: limits::HTTP_BODY_BYTES,
            message_bytes: limits::WS_MESSAGE_BYTES,
            channels: limits::NODE_CHANNELS,
            mailbox_messages: limits::NODE_MAILBOX_MESSAGES,
            header_timeout_ms: limits::NODE_HEADER_TIMEOUT_MS,
            body_timeout_ms: limits::NODE_BODY_TIMEOUT_MS,
            idle_timeout_ms: limits::NODE_IDLE_TIMEOUT_MS,
            websocket_ping_interval_ms: limits::NODE_WEBSOCKET_PING_INTERVAL_MS,
            peer_timeout_ms: limits::NODE_PEER_TIMEOUT_MS,
            websocket_pong_timeout_ms: limits::NODE_WEBSOCKET_PONG_TIMEOUT_MS,
            inflate_ratio: limits::WS_INFLATE_RATIO,
            messages_in_per_second: limits::MESSAGES_IN_PER_S,
            bytes_in_per_second: limits::BYTES_IN_PER_S,
            rate_burst_ms: limits::RATE_BURST_MS,
            subscriptions_per_connection: limits::SUBSCRIPTIONS_PER_SESSION,
            poll_hold_ms: limits::RELAY_POLL_HOLD_MS,
            history_bytes_per_shard: limits::HISTORY_BYTES_PER_SHARD,
            presence_bytes_per_shard: limits::PRESENCE_BYTES_PER_SHARD,
        }
    }
}

/// Calls to back ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// A file with certificates (PEM) of authorities that are trusted besides those of the machine.
    pub ca: Option<String>,
    /// Time for an answer.
    pub timeout_ms: u64,
    /// Calls under way at a time.
    pub concurrency: usize,
    /// Calls that may wait.
    pub queue: usize,
}

impl HookSettings {
    /// The bounds that the hook service takes; shares of one back end never pass the whole.
    pub fn limits(&self) -> limits::HookLimits {
        let base = limits::HookLimits::default();
        let timeout_ms = u32::try_from(self.timeout_ms).unwrap_or(u32::MAX).min(limits::HOOK_TIMEOUT_MAX_MS);
        limits::HookLimits {
            queue_calls: self.queue,
            backend_queue_calls: base.backend_queue_calls.min(self.queue),
            concurrent: self.concurrency,
            backend_concurrent: base.backend_concurrent.min(self.concurrency),
            timeout_ms,
            connect_ms: base.connect_ms.min(timeout_ms),
            ..base
        }
    }
}

impl Default for HookSettings {
    fn default() -> Self {
        HookSettings {
            ca: None,
            timeout_ms: u64::from(limits::HOOK_TIMEOUT_MS),
            concurrency: limits::HOOK_CONCURRENT,
            queue: limits::HOOK_QUEUE_CALLS,
        }
    }
}

/// What survives the node: durable channels, apps made at run time, subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The directory of the store's files. None: it is in memory, and nothing survives.
    pub data: Option<String>,
    /// The files together, bytes.
    pub disk_bytes: u64,
    /// All that a store in memory holds, bytes.
    pub memory_bytes: u64,
    /// Durable channels.
    pub channels: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// Bytes of the jobs that may wait.
    pub queue_bytes: usize,
}

impl StoreSettings {
    /// The bounds that the store takes, for messages of at most `message_bytes`.
    pub fn limits(&self, message_bytes: usize) -> limits::StoreLimits {
        let base = limits::StoreLimits::default();
        let record_bytes =
            base.record_bytes.max(message_bytes.saturating_add(limits::STORE_RECORD_EXTRA_BYTES));
        limits::StoreLimits {
            queue_jobs: self.queue,
            queue_bytes: self.queue_bytes.max(record_bytes),
            record_bytes,
            logs: self.channels,
            disk_bytes: self.disk_bytes,
            memory_bytes: self.memory_bytes,
            wal_bytes: base.wal_bytes.min(self.disk_bytes / limits::STORE_WAL_PART),
            ..base
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        StoreSettings {
            data: None,
            disk_bytes: limits::STORE_DISK_BYTES,
            memory_bytes: limits::STORE_MEMORY_BYTES,
            channels: limits::STORE_LOGS,
            queue: limits::STORE_QUEUE_JOBS,
            queue_bytes: limits::STORE_QUEUE_BYTES,
        }
    }
}

/// The app with the well-known keys. Its clients may send events: somebody tries things out.
pub fn development_app() -> AppSettings {
    AppSettings {
        client_events: true,
        ..AppSettings::new(DEVELOPMENT_ID, DEVELOPMENT_KEY, DEVELOPMENT_SECRET)
    }
}

/// Whether anybody can know the keys of an app.
pub(super) fn is_development(app: &AppSettings) -> bool {
    app.key == DEVELOPMENT_KEY || app.secret == DEVELOPMENT_SECRET
}

/// Where an app's back end is told what happens in its channels (Pusher sheet section 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Id of the app; `None` = the first one.
    pub app: Option<String>,
    /// As [`crate::channel::hook::HookTarget::parse`] takes it.
    pub url: String,
    /// What it is told.
    pub events: NoticeKinds,
    /// Only of channels whose name begins with this.
    pub channel_prefix: String,
    /// Only of channels whose name ends with this.
    pub channel_suffix: String,
    /// Whether a call may carry several events.
    pub batch: bool,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        WebhookSettings {
            app: None,
            url: String::new(),
            events: NoticeKinds::all(),
            channel_prefix: String::new(),
            channel_suffix: String::new(),
            batch: true,
        }
    }
}

impl Default for Config {
    /// What `fanwire` with nothing runs, with one shard: the loader sets the shards to the processors there are.
    fn default() -> Self {
        Config {
            listen: vec![Listen::plain(ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))))],
            internal_listen: Vec::new(),
            trusted_proxies: None,
            forwarded_header: forwarded::Kind::default(),
            origins: Vec::new(),
            shards: 1,
            driver: Driver::Auto,
            development: true,
            drain_ms: limits::NODE_DRAIN_MS,
            upgrade_ms: limits::UPGRADE_MS,
            stall_exit_ms: limits::SHARD_STALL_EXIT_MS,
            echo: false,
            log: "info".into(),
            log_format: LogFormat::Text,
            limits: NodeLimits::default(),
            tls: TlsSettings::default(),
            certificates: Vec::new(),
            hooks: HookSettings::default(),
            store: StoreSettings::default(),
            apps: vec![development_app()],
            grants: Vec::new(),
            webhooks: Vec::new(),
            relay: RelaySettings::default(),
            pusher: pusher::Settings::default(),
            pushi: pushi::Settings::default(),
        }
    }
}
