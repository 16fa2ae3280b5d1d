//! Families of metrics, one call each, and the older of the two text formats.

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabel, EncodeLabelSet, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;

/// Writes families.
pub struct Writer<'a>(pub DescriptorEncoder<'a>);

impl Writer<'_> {
    /// A counter; its sample is called `name_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        count(&mut self.0.encode_descriptor(name, help, None, MetricType::Counter)?, value)
    }

    /// A counter with a unit; its sample is called `name_unit_total`.
    pub fn counter_in(&mut self, name: &str, unit: &Unit, help: &str, value: f64) -> fmt::Result {
        let mut out = self.0.encode_descriptor(name, help, Some(unit), MetricType::Counter)?;
        out.encode_counter::<NoLabelSet, f64, u64>(&value, None)
    }

    /// A gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A gauge with a unit; its sample is called `name_unit`.
    pub fn gauge_in(
        &mut self,
        name: &str,
        unit: &Unit,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A counter for each set of labels.
    pub fn labelled_counter<L: EncodeLabel, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([L; N], u64)>,
    ) -> fmt::Result
    where
        [L; N]: EncodeLabelSet,
    {
        let mut out = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.into_iter().try_for_each(|(labels, value)| count(&mut out.encode_family(&labels)?, value))
    }

    /// A gauge for each set of labels.
    pub fn labelled_gauge<L: EncodeLabel, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([L; N], u64)>,
    ) -> fmt::Result
    where
        [L; N]: EncodeLabelSet,
    {
        let mut out = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(labels, value)| out.encode_family(&labels)?.encode_gauge(&value))
    }

    /// A histogram. `counts` are per bucket, not cumulative, and one longer than `bounds`: the last has none.
    pub fn histogram(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> fmt::Result {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let mut out = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        out.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }
}

fn count(out: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    out.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

/// Turns OpenMetrics text into Prometheus text format 0.0.4: there a counter's family has the name of its samples,
/// and units and the end are not told.
pub fn to_prometheus(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + 1024);
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let end = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(helped, _)| *helped == name) {
                out.extend(["# HELP ", name, end, " ", text, "\n"]);
            }
            out.extend(["# TYPE ", name, end, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}
