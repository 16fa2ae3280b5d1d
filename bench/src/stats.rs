//! Medians and percentiles.

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

/// The smallest value that at least `percent` of all values do not exceed (nearest rank). `sorted` must be in
/// ascending order; None for no values.
pub fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
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
    fn percentiles_are_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50.0), Some(50));
        assert_eq!(percentile(&hundred, 99.0), Some(99));
        assert_eq!(percentile(&hundred, 100.0), Some(100));
        assert_eq!(percentile(&hundred, 0.0), Some(1));
        assert_eq!(percentile(&[5, 9], 50.0), Some(5));
        assert_eq!(percentile(&[5, 9], 51.0), Some(9));
        assert_eq!(percentile(&[], 50.0), None);
    }
}
