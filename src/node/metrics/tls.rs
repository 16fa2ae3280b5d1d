//! Figures of TLS.

use super::write::Writer;
use crate::node::tls::Tls;
use crate::shard::counters::NodeCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::Arc;

/// Collects them.
#[derive(Debug)]
pub struct TlsCollector(pub Arc<Tls>, pub NodeCounters);

impl Collector for TlsCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let (TlsCollector(tls, c), mut out) = (self, Writer(encoder));
        let complete = [("full", c.sum(|s| &s.tls_handshakes)), ("resumed", c.sum(|s| &s.tls_resumed))];
        let complete = complete.map(|(kind, count)| ([("kind", kind)], count));
        out.labelled_counter("fanwire_tls_handshakes", "TLS handshakes completed", complete)?;
        out.gauge("fanwire_tls_pending", "TLS handshakes under way", tls.pending() as u64)?;
        let ends = tls.expiries().into_iter().map(|expiry| {
            let unix_s = u64::try_from(expiry.unix_s).unwrap_or_default();
            ([("file", expiry.file)], unix_s)
        });
        out.labelled_gauge(
            "fanwire_certificate_not_after",
            "When a certificate ends, seconds since 1970",
            ends,
        )
    }
}
