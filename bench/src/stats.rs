//! Medians and percentiles.

use hdrhistogram::Histogram;
use std::fmt;

/// Median with the extremes it lies between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Middle value, or the mean of the two middle ones.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Spread {
    /// None for no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { median, min, max })
    }

    /// `median [min..max]` with so many decimals.
    pub fn text(&self, decimals: usize) -> String {
        format!("{:.decimals$} [{:.decimals$}..{:.decimals$}]", self.median, self.min, self.max)
    }
}

/// Percents that a curve tells, besides the maximum.
const CURVE: [f64; 12] = [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999];

/// Times in an HDR histogram: three digits, whatever their range.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Latencies(Histogram::new(3).expect("three digits are within what a histogram can keep"))
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latencies({} times)", self.len())
    }
}

impl Latencies {
    /// Enters a time, nanoseconds.
    pub fn record(&mut self, ns: u64) {
        // Fails only where a histogram may not grow; this one may.
        let _ = self.0.record(ns);
    }

    /// Enters all times of another.
    pub fn add(&mut self, other: &Latencies) {
        // As above.
        let _ = self.0.add(&other.0);
    }

    /// Times entered.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percent` of all do not exceed, microseconds; NaN while there are none.
    pub fn us(&self, percent: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        self.0.value_at_quantile(percent / 100.0) as f64 / 1e3
    }

    /// Pairs of percent and microseconds for a curve, the maximum last. Percents that fewer than one of the times
    /// exceed are left out: they would only repeat the maximum.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let told = |percent: &f64| (100.0 - percent) / 100.0 * self.len() as f64 >= 0.999;
        let percents = CURVE.into_iter().filter(told).chain([100.0]);
        percents.map(|percent| (percent, self.us(percent))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_no_counts() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn spread_prints_with_the_decimals_asked_for() {
        assert_eq!(Spread { median: 2.25, min: 1.0, max: 10.0 }.text(1), "2.2 [1.0..10.0]");
        assert_eq!(Spread { median: 2211.4, min: 2076.0, max: 2453.0 }.text(0), "2211 [2076..2453]");
    }

    #[test]
    fn percentiles_keep_three_digits_over_any_range() {
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 0.001;
        let mut latencies = Latencies::default();
        assert!(latencies.us(50.0).is_nan());
        (1..=1000).for_each(|us| latencies.record(us * 1000));
        let mut late = Latencies::default();
        late.record(100_000_000_000);
        latencies.add(&late);
        assert_eq!(latencies.len(), 1001);
        assert!(close(latencies.us(50.0), 501.0), "{}", latencies.us(50.0));
        assert!(close(latencies.us(99.0), 991.0), "{}", latencies.us(99.0));
        assert!(close(latencies.us(100.0), 1e8), "{}", latencies.us(100.0));
    }

    #[test]
    fn a_curve_goes_as_far_as_there_are_times() {
        let mut latencies = Latencies::default();
        assert!(latencies.curve().is_empty());
        (1..=1000).for_each(|us| latencies.record(us * 1000));
        let percents: Vec<f64> = latencies.curve().iter().map(|point| point.0).collect();
        assert_eq!(percents, [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0]);
        assert!(latencies.curve().is_sorted_by_key(|point| point.1));
        let mut one = Latencies::default();
        one.record(5000);
        assert_eq!(one.curve(), [(100.0, one.us(100.0))]);
    }
}
