//! From values to places in a chart, and where its axes have ticks.

/// Ticks that a linear axis should have at most.
const TICKS: usize = 6;

/// A linear axis from 0 (or the least value, if that is below) with round numbers at its ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    low: f64,
    high: f64,
    step: f64,
}

impl Linear {
    /// For `values`, of which those that are no numbers are left out. 0 to 1 for none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Linear {
        let (mut low, mut high) = (0.0_f64, 0.0_f64);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low == high {
            high = 1.0;
        }
        let step = round_step((high - low) / (TICKS - 1) as f64);
        Linear { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    /// Where `value` lies: 0 at the axis' beginning, 1 at its end.
    pub fn at(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Values at the ticks.
    pub fn ticks(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(|at| self.low + at as f64 * self.step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, the next that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    // A step just below the next one is that one, as far as digits go.
    let factor = factors.into_iter().find(|factor| factor * power >= least * 0.999_999).unwrap_or(10.0);
    factor * power
}

/// A logarithmic axis. Its ends and ticks are 1, 2 or 5 times powers of ten, or powers alone where there are many.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    ticks: Vec<f64>,
}

impl Log {
    /// For those of `values` that have a logarithm. 1 to 10 for none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Log {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.into_iter().filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let decades = (high / low).log10();
        let factors: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let (first, last) = (low.log10().floor() as i32 - 1, high.log10().ceil() as i32 + 1);
        let all: Vec<f64> = (first..=last)
            .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
            .collect();
        // What digits round away does not ask for another tick.
        let from = all.iter().rposition(|&tick| tick <= low * 1.000_001).unwrap_or(0);
        let to = all.iter().position(|&tick| tick >= high * 0.999_999).unwrap_or(all.len() - 1);
        let (from, to) =
            if from < to { (from, to) } else { (from.saturating_sub(1), (from + 1).min(all.len() - 1)) };
        Log { ticks: all[from..=to].to_vec() }
    }

    /// As `Linear::at`; what has no logarithm lies at the beginning.
    pub fn at(&self, value: f64) -> f64 {
        let (Some(low), Some(high)) = (self.ticks.first(), self.ticks.last()) else { return 0.0 };
        if value <= 0.0 {
            return 0.0;
        }
        ((value / low).ln() / (high / low).ln()).clamp(0.0, 1.0)
    }

    /// Values at the ticks.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }
}

/// How many nines a percent has: 1 for 90, 2 for 99, 3 for 99.9; 0.3 for 50. The maximum is beyond all of them.
pub fn nines(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).max(1e-9).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(1.0)
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_beyond_the_greatest() {
        let axis = Linear::of([5198.0, 4000.0]);
        assert_eq!(axis.ticks(), [0.0, 2000.0, 4000.0, 6000.0]);
        assert!(close(axis.at(3000.0), 0.5) && axis.at(0.0) == 0.0 && axis.at(9e9) == 1.0);
        let small = Linear::of([0.003]).ticks();
        assert!(small.len() <= TICKS + 1 && close(*small.last().unwrap(), 0.003), "{small:?}");
        let below = Linear::of([-40.0, 60.0]);
        assert!(below.ticks().contains(&0.0) && close(below.at(-40.0), 0.0), "{below:?}");
    }

    #[test]
    fn axes_without_values_are_axes() {
        for values in [vec![], vec![f64::NAN], vec![0.0, 0.0], vec![f64::INFINITY]] {
            let axis = Linear::of(values.clone());
            assert_eq!((axis.ticks()[0], *axis.ticks().last().unwrap()), (0.0, 1.0), "{values:?}");
            assert_eq!(Log::of(values.clone()).ticks(), [1.0, 2.0, 5.0, 10.0], "{values:?}");
        }
    }

    #[test]
    fn axes_of_any_range_have_few_ticks() {
        for exponent in -3..9 {
            for factor in [1.0, 1.3, 2.0, 4.9, 5.0, 9.99] {
                let high = factor * 10_f64.powi(exponent);
                let ticks = Linear::of([high]).ticks();
                assert!((3..=TICKS + 1).contains(&ticks.len()), "{high}: {ticks:?}");
                assert!(*ticks.last().unwrap() >= high * 0.999_999, "{high}: {ticks:?}");
                let log = Log::of([high / 700.0, high]);
                assert!((3..=12).contains(&log.ticks().len()), "{high}: {:?}", log.ticks());
                assert!(close(log.at(log.ticks()[0]), 0.0) && log.at(high) > 0.8);
            }
        }
    }

    #[test]
    fn a_logarithmic_axis_spreads_what_it_has() {
        let axis = Log::of([130.0, 900.0]);
        assert_eq!(axis.ticks(), [100.0, 200.0, 500.0, 1000.0]);
        assert!(close(axis.at(10_f64.powf(2.5)), 0.5));
        assert_eq!((axis.at(0.0), axis.at(-1.0), axis.at(1e9)), (0.0, 0.0, 1.0));
        let one = Log::of([200.0]);
        assert!(one.ticks().len() >= 2 && one.at(200.0) > 0.0 && one.at(200.0) < 1.0, "{one:?}");
        assert_eq!(Log::of([0.5, 80_000.0]).ticks(), [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0]);
    }

    #[test]
    fn nines_of_percents() {
        assert!(close(nines(90.0), 1.0) && close(nines(0.0), 0.0) && (nines(99.9) - 3.0).abs() < 1e-9);
        assert!(nines(100.0).is_finite());
    }
}
