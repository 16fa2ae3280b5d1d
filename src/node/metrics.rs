//! Metrics of the node in the OpenMetrics text format, or in Prometheus's older one for those who only read that.
//!
//! The figures are read when somebody asks: there is no second set of them and no background thread.

mod tls;
mod webhooks;
mod write;

use super::tls::Tls;
use crate::channel::hook::HookFailure;
use crate::limits::METRICS_OPEN_FILES;
use crate::service::hooks::HooksHandle;
use crate::service::store::StoreHandle;
use crate::service::webhooks::WebhooksHandle;
use crate::shard::counters::{Carrier, Counters, FLUSH_BOUNDS, LATENCY_BOUNDS_US, NodeCounters};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use write::Writer;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Which text format is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4: what `promtool check metrics` and older scrapers read.
    Prometheus,
}

impl Format {
    /// The Content-Type that belongs to it.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The node's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics over these counters; `started_unix_s` is when the process started, seconds since 1970.
    pub fn new(
        counters: NodeCounters,
        hooks: Option<HooksHandle>,
        webhooks: Option<WebhooksHandle>,
        store: Option<StoreHandle>,
        started_unix_s: f64,
    ) -> Metrics {
        let mut registry = Registry::default();
        let collector = NodeCollector { counters, hooks, webhooks, store, started_unix_s };
        registry.register_collector(Box::new(collector));
        Metrics { registry }
    }

    /// The same with those of TLS, where an address speaks it.
    pub fn with_tls(mut self, tls: Option<Arc<Tls>>, counters: &NodeCounters) -> Metrics {
        if let Some(tls) = tls {
            self.registry.register_collector(Box::new(tls::TlsCollector(tls, counters.clone())));
        }
        self
    }

    /// All metrics as text.
    pub fn render(&self, format: Format) -> String {
        let mut out = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        match format {
            Format::OpenMetrics => out,
            Format::Prometheus => write::to_prometheus(&out),
        }
    }
}

struct NodeCollector {
    counters: NodeCounters,
    hooks: Option<HooksHandle>,
    webhooks: Option<WebhooksHandle>,
    store: Option<StoreHandle>,
    started_unix_s: f64,
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCollector").field("shards", &self.counters.shards.len()).finish_non_exhaustive()
    }
}

impl Collector for NodeCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Writer(encoder);
        self.build(&mut out)?;
        self.connections(&mut out)?;
        self.traffic(&mut out)?;
        self.channels(&mut out)?;
        self.loops(&mut out)?;
        self.histograms(&mut out)?;
        if let Some(hooks) = &self.hooks {
            hook_metrics(hooks, &mut out)?;
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks::collect(webhooks.counters(), &mut out)?;
        }
        if let Some(store) = &self.store {
            store_metrics(store, &mut out)?;
        }
        process(self.started_unix_s, &mut out)
    }
}

impl NodeCollector {
    fn shards(&self) -> &[Arc<Counters>] {
        &self.counters.shards
    }

    fn build(&self, out: &mut Writer<'_>) -> fmt::Result {
        let driver = self.shards().iter().find_map(|shard| shard.driver());
        let labels = [("version", VERSION), ("driver", driver.map_or("none", |kind| kind.name()))];
        out.labelled_gauge("fanwire_build_info", "Version and I/O driver, always 1", [(labels, 1)])?;
        out.gauge("fanwire_shards", "Shards of the node", self.shards().len() as u64)
    }

    fn connections(&self, out: &mut Writer<'_>) -> fmt::Result {
        let c = &self.counters;
        let now = Carrier::ALL.map(|carrier| {
            ([("carrier", carrier.label())], c.sum(|shard| &shard.connections[carrier as usize]))
        });
        out.labelled_gauge("fanwire_connections", "Open connections by carrier", now)?;
        out.counter("fanwire_connections_accepted", "Connections accepted", c.sum(|s| &s.accepted))?;
        out.counter("fanwire_connections_closed", "Connections closed", c.sum(|s| &s.closed))?;
        out.counter(
            "fanwire_connections_moved",
            "Connections taken over by another shard",
            c.sum(|s| &s.adopted),
        )?;
        out.counter(
            "fanwire_slow_consumers_closed",
            "Connections closed because they did not keep up",
            c.sum(|s| &s.closed_slow),
        )
    }

    fn traffic(&self, out: &mut Writer<'_>) -> fmt::Result {
        let c = &self.counters;
        out.counter("fanwire_requests", "HTTP requests read", c.sum(|s| &s.requests))?;
        out.counter("fanwire_websocket_messages", "WebSocket messages read", c.sum(|s| &s.messages_in))?;
        out.counter("fanwire_publications", "Publications accepted", c.sum(|s| &s.published))?;
        out.counter("fanwire_deliveries", "Publications put on subscribers' wires", c.sum(|s| &s.delivered))?;
        out.counter_in("fanwire_received", &Unit::Bytes, "Bytes received", c.sum(|s| &s.bytes_in) as f64)?;
        out.counter_in("fanwire_sent", &Unit::Bytes, "Bytes sent", c.sum(|s| &s.bytes_out) as f64)?;
        let dropped = [([("reason", "slow_consumer")], c.sum(|s| &s.dropped))];
        out.labelled_counter("fanwire_dropped", "Deliveries dropped", dropped)?;
        let mut refusals = BTreeMap::new();
        for (reason, count) in self.shards().iter().flat_map(|shard| shard.refusals()) {
            *refusals.entry(reason).or_insert(0) += count;
        }
        let refusals = refusals.into_iter().map(|(reason, count)| ([("reason", reason)], count));
        out.labelled_counter("fanwire_refusals", "Requests and connections refused", refusals)
    }

    fn channels(&self, out: &mut Writer<'_>) -> fmt::Result {
        let c = &self.counters;
        out.gauge("fanwire_subscriptions", "Subscriptions", c.sum(|s| &s.subscriptions))?;
        out.gauge("fanwire_channels", "Channels", c.sum(|s| &s.channels))?;
        out.gauge("fanwire_stored_messages", "Publications stored", c.sum(|s| &s.stored))?;
        out.gauge_in(
            "fanwire_history",
            &Unit::Bytes,
            "Memory of stored publications",
            c.sum(|s| &s.history_bytes),
        )?;
        out.gauge_in(
            "fanwire_history_limit",
            &Unit::Bytes,
            "Limit of the memory of stored publications",
            c.history_limit_bytes,
        )
    }

    fn loops(&self, out: &mut Writer<'_>) -> fmt::Result {
        let c = &self.counters;
        out.counter("fanwire_mailbox_sent", "Mails sent to other shards", c.sum(|s| &s.mailed))?;
        let by_shard = |of: fn(&Counters) -> u64| {
            self.shards().iter().enumerate().map(move |(at, shard)| ([("shard", at.to_string())], of(shard)))
        };
        out.labelled_gauge(
            "fanwire_mailbox_waiting",
            "Mails waiting for a shard",
            by_shard(|s| s.mail_waiting.get()),
        )?;
        out.labelled_counter("fanwire_loop_turns", "Turns of a shard's loop", by_shard(|s| s.turns.get()))?;
        out.counter("fanwire_loop_sleeps", "Times a shard slept", c.sum(|s| &s.sleeps))?;
        out.counter("fanwire_panics", "Panics caught, each cost one connection", c.sum(|s| &s.panics))
    }

    fn histograms(&self, out: &mut Writer<'_>) -> fmt::Result {
        let flushed = self.shards().iter().map(|s| (s.flushed.counts(), s.flushed.sum()));
        let (counts, sum) = add_up(flushed);
        let bounds = FLUSH_BOUNDS.map(|bound| bound as f64);
        out.histogram(
            "fanwire_flush_connections",
            None,
            "Connections written to per flush",
            &bounds,
            &counts,
            sum as f64,
        )?;
        let latency = self.shards().iter().map(|s| (s.latency_us.counts(), s.latency_us.sum()));
        let (counts, sum) = add_up(latency);
        let bounds = LATENCY_BOUNDS_US.map(|bound| bound as f64 / 1e6);
        out.histogram(
            "fanwire_publish_to_flush",
            Some(&Unit::Seconds),
            "From publish to the end of the flush that carried it",
            &bounds,
            &counts,
            sum as f64 / 1e6,
        )
    }
}

/// Adds histograms of the same bounds up: counts per bucket and sums.
fn add_up(histograms: impl Iterator<Item = (Vec<u64>, u64)>) -> (Vec<u64>, u64) {
    let mut total = (Vec::new(), 0);
    for (counts, sum) in histograms {
        total.0.resize(counts.len(), 0);
        for (all, one) in total.0.iter_mut().zip(counts) {
            *all += one;
        }
        total.1 += sum;
    }
    total
}

fn hook_metrics(hooks: &HooksHandle, out: &mut Writer<'_>) -> fmt::Result {
    let c = hooks.counters();
    out.counter("fanwire_hook_calls", "Calls to back ends taken", c.calls())?;
    out.counter("fanwire_hook_answers", "Calls that a back end answered", c.answers())?;
    let failures = HookFailure::ALL.map(|failure| ([("reason", failure.label())], c.failures(failure)));
    out.labelled_counter("fanwire_hook_failures", "Calls that failed or were refused", failures)?;
    out.counter("fanwire_hook_retries", "Further tries of calls without answer", c.retries())?;
    out.counter("fanwire_hook_connects", "Connections made to back ends", c.connects())?;
    out.counter_in(
        "fanwire_hook_answer",
        &Unit::Seconds,
        "From sending a call to its whole answer, summed over all answers",
        c.latency_us_sum() as f64 / 1e6,
    )?;
    out.gauge("fanwire_hook_in_flight", "Calls under way", c.in_flight())?;
    out.gauge("fanwire_hook_queue", "Calls waiting", c.queue_depth())?;
    out.gauge_in("fanwire_hook_pending", &Unit::Bytes, "Bytes of calls waiting or under way", c.queue_bytes())
}

fn store_metrics(store: &StoreHandle, out: &mut Writer<'_>) -> fmt::Result {
    let c = store.counters();
    out.counter("fanwire_store_jobs", "Jobs that the store has done, well or badly", c.jobs())?;
    out.counter("fanwire_store_commits", "Commits, each of one job or more", c.commits())?;
    out.counter_in(
        "fanwire_store_commit",
        &Unit::Seconds,
        "From the beginning of a commit to its end on disk, summed over all commits",
        c.commit_us_sum() as f64 / 1e6,
    )?;
    out.counter("fanwire_store_refused", "Jobs that were not taken", c.refused())?;
    out.counter("fanwire_store_full", "Commits that met a full disk", c.full())?;
    out.counter("fanwire_store_damaged", "Jobs that met a damaged record", c.damaged())?;
    out.gauge("fanwire_store_waiting", "Jobs waiting", store.waiting_jobs() as u64)?;
    let help = "Bytes of jobs waiting or being done";
    out.gauge_in("fanwire_store_waiting", &Unit::Bytes, help, c.waiting_bytes() as u64)?;
    out.gauge("fanwire_store_failed", "1: it refuses everything", store.failure().is_some().into())
}

/// The names that every Prometheus client gives to figures of its process.
fn process(started_unix_s: f64, out: &mut Writer<'_>) -> fmt::Result {
    let help = "Start of the process, seconds since 1970";
    out.gauge_in("process_start_time", &Unit::Seconds, help, started_unix_s)?;
    if let Some(bytes) = resident_bytes() {
        out.gauge_in("process_resident_memory", &Unit::Bytes, "Resident memory", bytes)?;
    }
    if let Some(count) = open_files() {
        out.gauge("process_open_fds", "Open file descriptors", count)?;
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Linux 6.2 and later tell the number as the folder's size. Before that they have to be counted, which would hold
/// up the shard when there are many: then there is no figure.
fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    let size = std::fs::metadata(folder).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let counted = std::fs::read_dir(folder).ok()?.take(METRICS_OPEN_FILES + 1).count();
    // The look itself has one open.
    (counted <= METRICS_OPEN_FILES).then(|| counted.saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::store::Store;
    use crate::shard::net::NetKind;
    use std::collections::{HashMap, HashSet};

    fn two_shards() -> NodeCounters {
        let counters = NodeCounters::new(2, 1 << 30);
        for (at, shard) in counters.shards.iter().enumerate() {
            let n = at as u64 + 1;
            shard.set_driver(NetKind::UringDefer);
            shard.connections[Carrier::WebSocket as usize].add(10 * n);
            shard.accepted.add(100 * n);
            shard.delivered.add(7 * n);
            shard.bytes_out.add(1_000 * n);
            shard.mail_waiting.set(n);
            shard.turns.add(5 * n);
            shard.history_bytes.set(4096);
            shard.refuse("no such app");
            shard.flushed.observe(3);
            shard.flushed.observe(1_000_000);
            shard.latency_us.observe(60 * n);
        }
        counters.shards[1].refuse("too many \"x\"");
        counters
    }

    /// Samples by name with labels as written.
    fn samples(text: &str) -> HashMap<String, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        let mut found = HashMap::new();
        for (name, value) in lines.map(sample) {
            assert!(found.insert(name.clone(), value).is_none(), "{name} twice");
        }
        found
    }

    fn render(format: Format) -> String {
        let store = Store::open_in_memory(Default::default(), Arc::new(|_, _| {})).unwrap();
        Metrics::new(two_shards(), None, None, Some(store.handle()), 1_795_257_031.5).render(format)
    }

    #[test]
    fn figures_are_summed_over_the_shards() {
        let found = samples(&render(Format::OpenMetrics));
        for (name, value) in [
            ("fanwire_shards", 2.0),
            ("fanwire_connections{carrier=\"websocket\"}", 30.0),
            ("fanwire_connections{carrier=\"http\"}", 0.0),
            ("fanwire_connections_accepted_total", 300.0),
            ("fanwire_deliveries_total", 21.0),
            ("fanwire_sent_bytes_total", 3_000.0),
            ("fanwire_history_bytes", 8192.0),
            ("fanwire_history_limit_bytes", f64::from(1 << 30)),
            ("fanwire_dropped_total{reason=\"slow_consumer\"}", 0.0),
            ("fanwire_refusals_total{reason=\"no such app\"}", 2.0),
            ("fanwire_mailbox_waiting{shard=\"1\"}", 2.0),
            ("fanwire_loop_turns_total{shard=\"0\"}", 5.0),
            ("fanwire_store_failed", 0.0),
            ("fanwire_store_waiting_bytes", 0.0),
            ("process_start_time_seconds", 1_795_257_031.5),
        ] {
            assert_eq!(found.get(name), Some(&value), "{name}");
        }
        let build =
            format!("fanwire_build_info{{version=\"{VERSION}\",driver=\"{}\"}}", NetKind::UringDefer.name());
        assert_eq!(found.get(&build), Some(&1.0));
        assert!(found["process_resident_memory_bytes"] > 100_000.0 && found["process_open_fds"] >= 3.0);
    }

    #[test]
    fn label_values_cannot_break_a_line() {
        let text = render(Format::OpenMetrics);
        assert!(text.contains(r#"fanwire_refusals_total{reason="too many \"x\""} 1"#), "{text}");
    }

    #[test]
    fn buckets_are_cumulative_and_in_base_units() {
        let found = samples(&render(Format::OpenMetrics));
        for (name, value) in [
            ("fanwire_flush_connections_bucket{le=\"1.0\"}", 0.0),
            ("fanwire_flush_connections_bucket{le=\"4.0\"}", 2.0),
            ("fanwire_flush_connections_bucket{le=\"16384.0\"}", 2.0),
            ("fanwire_flush_connections_bucket{le=\"+Inf\"}", 4.0),
            ("fanwire_flush_connections_count", 4.0),
            ("fanwire_flush_connections_sum", 2_000_006.0),
            ("fanwire_publish_to_flush_seconds_bucket{le=\"0.00005\"}", 0.0),
            ("fanwire_publish_to_flush_seconds_bucket{le=\"0.0001\"}", 1.0),
            ("fanwire_publish_to_flush_seconds_bucket{le=\"0.00025\"}", 2.0),
            ("fanwire_publish_to_flush_seconds_sum", 0.00018),
        ] {
            let near = found.get(name).is_some_and(|is| (is - value).abs() < 1e-9);
            assert!(near, "{name}: {:?}", found.get(name));
        }
    }

    #[test]
    fn every_family_is_described_once_and_ends_as_its_format_does() {
        let open = render(Format::OpenMetrics);
        assert!(open.ends_with("\n# EOF\n"));
        let types: Vec<&str> = open.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let names: HashSet<&str> =
            types.iter().filter_map(|line| line.split_once(' ')).map(|(n, _)| n).collect();
        assert_eq!(names.len(), types.len());
        for name in samples(&open).keys() {
            let name = name.split('{').next().unwrap();
            let family =
                ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(names.contains(family.unwrap_or(name)), "{name} has no TYPE");
        }
    }

    #[test]
    fn the_older_format_describes_counters_by_their_samples_names() {
        let old = render(Format::Prometheus);
        assert!(
            old.contains("# TYPE fanwire_deliveries_total counter\nfanwire_deliveries_total 21\n"),
            "{old}"
        );
        assert!(old.contains("# HELP fanwire_deliveries_total "));
        assert!(old.contains("# TYPE fanwire_connections gauge\n"));
        assert!(!old.contains("# UNIT") && !old.contains("# EOF"));
        let open = samples(&render(Format::OpenMetrics));
        let moving = |name: &&String| !name.starts_with("process_");
        let old = samples(&old);
        assert!(open.keys().filter(moving).all(|name| open[name] == old[name]));
        assert_eq!(open.len(), old.len());
    }
}
