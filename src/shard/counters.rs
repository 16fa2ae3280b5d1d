//! Figures of a shard. Each has one writer, the shard; readers may be a moment behind.

use crate::dialect::Figures;
use crate::shard::net::NetKind;
use crate::shard::refusals::Refusals;
use crate::shard::turn::{Marks, Part};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A figure that only its shard changes: plain loads and stores, no locked instruction.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// Adds.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes off.
    pub fn sub(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(less), Ordering::Relaxed);
    }

    /// Sets.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How connections travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// HTTP requests, held polls among them.
    Http,
    /// WebSocket.
    WebSocket,
    /// A response without end.
    Stream,
}

impl Carrier {
    /// All of them, by index.
    pub const ALL: [Carrier; 3] = [Carrier::Http, Carrier::WebSocket, Carrier::Stream];

    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            Carrier::Http => "http",
            Carrier::WebSocket => "websocket",
            Carrier::Stream => "stream",
        }
    }
}

/// Upper bounds of the histogram of publish-to-flush times, microseconds; one more bucket takes the rest.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// Upper bounds of the histogram of connections per flush.
pub const FLUSH_BOUNDS: [u64; 8] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384];

/// A histogram with fixed bounds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [Figure; N],
    rest: Figure,
    sum: Figure,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        Histogram {
            bounds,
            buckets: std::array::from_fn(|_| Figure::default()),
            rest: Figure::default(),
            sum: Figure::default(),
        }
    }

    /// Counts one value.
    pub fn observe(&self, value: u64) {
        self.sum.add(value);
        match self.bounds.iter().position(|&bound| value <= bound) {
            Some(at) => self.buckets[at].add(1),
            None => self.rest.add(1),
        }
    }

    /// Counts per bucket, the one without bound last.
    pub fn counts(&self) -> Vec<u64> {
        self.buckets.iter().chain([&self.rest]).map(Figure::get).collect()
    }

    /// Sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// All figures of one shard.
#[derive(Debug)]
pub struct Counters {
    /// Connections now, by carrier (index as in [`Carrier::ALL`]).
    pub connections: [Figure; 3],
    /// Connections accepted.
    pub accepted: Figure,
    /// Connections closed.
    pub closed: Figure,
    /// Connections taken over from other shards.
    pub adopted: Figure,
    /// Connections over a limit that are being turned away now.
    pub turned_away: Figure,
    /// Sockets open now, whatever their state.
    pub sockets: Figure,
    /// Requests read.
    pub requests: Figure,
    /// WebSocket messages read.
    pub messages_in: Figure,
    /// Publications accepted by this home.
    pub published: Figure,
    /// Publications put on wires.
    pub delivered: Figure,
    /// Bytes received.
    pub bytes_in: Figure,
    /// Bytes sent.
    pub bytes_out: Figure,
    /// Publications dropped because a consumer was slow.
    pub dropped: Figure,
    /// Connections closed because a consumer was slow.
    pub closed_slow: Figure,
    /// TLS handshakes that were complete and not resumed.
    pub tls_handshakes: Figure,
    /// TLS sessions resumed.
    pub tls_resumed: Figure,
    /// Panics caught.
    pub panics: Figure,
    /// Subscriptions now.
    pub subscriptions: Figure,
    /// Channels homed here now.
    pub channels: Figure,
    /// Publications stored here now.
    pub stored: Figure,
    /// Their memory, bytes.
    pub history_bytes: Figure,
    /// Mails sent to other shards.
    pub mailed: Figure,
    /// Mails waiting now.
    pub mail_waiting: Figure,
    /// Loop turns.
    pub turns: Figure,
    /// Times the shard slept.
    pub sleeps: Figure,
    /// Last turn, monotonic milliseconds: a shard that stands still is seen by it.
    pub alive_ms: Figure,
    /// Where it is in its turn.
    pub marks: Marks,
    /// Connections written to per flush.
    pub flushed: Histogram<8>,
    /// From publish to the end of the flush that carried it, microseconds.
    pub latency_us: Histogram<12>,
    /// Refusals by reason; never touched on the way of a delivery.
    pub(super) refused: Refusals,
    driver: std::sync::OnceLock<NetKind>,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            connections: Default::default(),
            accepted: Figure::default(),
            closed: Figure::default(),
            adopted: Figure::default(),
            turned_away: Figure::default(),
            sockets: Figure::default(),
            requests: Figure::default(),
            messages_in: Figure::default(),
            published: Figure::default(),
            delivered: Figure::default(),
            bytes_in: Figure::default(),
            bytes_out: Figure::default(),
            dropped: Figure::default(),
            closed_slow: Figure::default(),
            tls_handshakes: Figure::default(),
            tls_resumed: Figure::default(),
            panics: Figure::default(),
            subscriptions: Figure::default(),
            channels: Figure::default(),
            stored: Figure::default(),
            history_bytes: Figure::default(),
            mailed: Figure::default(),
            mail_waiting: Figure::default(),
            turns: Figure::default(),
            sleeps: Figure::default(),
            alive_ms: Figure::default(),
            marks: Marks::default(),
            flushed: Histogram::new(&FLUSH_BOUNDS),
            latency_us: Histogram::new(&LATENCY_BOUNDS_US),
            refused: Refusals::default(),
            driver: std::sync::OnceLock::new(),
        }
    }
}

impl Counters {
    /// Says which driver the shard runs on.
    pub fn set_driver(&self, kind: NetKind) {
        let _ = self.driver.set(kind);
    }

    /// Whether the shard has turned, and ended in its own way.
    pub fn has_left(&self) -> bool {
        self.marks.part() == Part::Away && self.turns.get() > 0
    }

    /// Which driver the shard runs on; `None` before it has started.
    pub fn driver(&self) -> Option<NetKind> {
        self.driver.get().copied()
    }
}

/// The figures of all shards.
#[derive(Clone, Debug)]
pub struct NodeCounters {
    /// One per shard.
    pub shards: Arc<[Arc<Counters>]>,
    /// Limit of the stored publications' memory over all shards, bytes.
    pub history_limit_bytes: u64,
}

impl NodeCounters {
    /// Fresh counters for `shards` shards.
    pub fn new(shards: usize, history_limit_bytes: u64) -> NodeCounters {
        NodeCounters { shards: (0..shards).map(|_| Arc::default()).collect(), history_limit_bytes }
    }

    /// Adds one figure up over all shards.
    pub fn sum(&self, of: impl Fn(&Counters) -> &Figure) -> u64 {
        self.shards.iter().map(|s| of(s).get()).sum()
    }
}

impl Figures for NodeCounters {
    fn published(&self) -> u64 {
        self.sum(|c| &c.published)
    }

    fn stored(&self) -> u64 {
        self.sum(|c| &c.stored)
    }

    fn history_bytes(&self) -> u64 {
        self.sum(|c| &c.history_bytes)
    }

    fn history_limit_bytes(&self) -> u64 {
        self.history_limit_bytes
    }

    fn channels(&self) -> u64 {
        self.sum(|c| &c.channels)
    }

    fn subscribers(&self) -> u64 {
        self.sum(|c| &c.subscriptions)
    }

    fn mailed(&self) -> u64 {
        self.sum(|c| &c.mailed)
    }

    fn mail_waiting(&self) -> u64 {
        self.sum(|c| &c.mail_waiting)
    }
}
