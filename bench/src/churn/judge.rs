//! Whether the levels after the cycles are flat.

use crate::vitals::Vitals;

/// Memory that comes and goes by less than this over all cycles is the allocator's and the kernel's doing, bytes.
pub const NOISE_BYTES: f64 = 256.0 * 1024.0;

/// Growth of memory over the cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Median over all pairs of cycles of the growth between them, bytes per visitor.
    pub per_visitor: f64,
    /// The same over all cycles after the first one, bytes.
    pub total: f64,
}

impl Growth {
    /// Of `levels`, one per cycle of about `visitors` each. None for less than two.
    pub fn of(levels: &[i64], visitors: f64) -> Option<Growth> {
        // Theil and Sen's estimate: one cycle that is off does not turn it.
        let pairs = |from: usize| {
            let slope = move |to: usize| (levels[to] - levels[from]) as f64 / (to - from) as f64;
            (from + 1..levels.len()).map(slope)
        };
        let slopes = (0..levels.len()).flat_map(pairs);
        let per_cycle = crate::stats::Spread::of(slopes)?.median;
        Some(Growth { per_visitor: per_cycle / visitors, total: per_cycle * (levels.len() - 1) as f64 })
    }

    /// Whether that is a leak, with so many bytes per visitor allowed.
    pub fn is_leak(&self, tolerance_bytes: f64) -> bool {
        self.per_visitor > tolerance_bytes && self.total > NOISE_BYTES
    }
}

/// What has not come back to the level after the warm-up, in words.
pub fn left_behind(warm: &Vitals, now: &Vitals) -> Option<String> {
    let pairs = warm.counts().into_iter().zip(now.counts());
    let more: Vec<String> = pairs
        .filter(|(before, after)| after.1 > before.1)
        .map(|(before, after)| format!("{} {} instead of {}", after.1, after.0, before.1))
        .collect();
    (!more.is_empty()).then(|| more.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vitals::Gauges;

    const MIB: i64 = 1024 * 1024;

    #[test]
    fn growth_is_per_visitor_and_one_odd_cycle_does_not_make_it() {
        let steady: Vec<i64> = (0..7).map(|cycle| 20 * MIB + cycle * 300_000).collect();
        let growth = Growth::of(&steady, 3000.0).unwrap();
        assert_eq!((growth.per_visitor, growth.total), (100.0, 1_800_000.0));
        assert!(growth.is_leak(64.0) && !growth.is_leak(128.0));
        let odd = [20 * MIB, 20 * MIB, 40 * MIB, 20 * MIB, 20 * MIB];
        assert!(!Growth::of(&odd, 3000.0).unwrap().is_leak(64.0));
        assert_eq!(Growth::of(&[MIB], 3000.0), None);
    }

    #[test]
    fn little_memory_is_no_leak_however_few_visitors_there_were() {
        let levels: Vec<i64> = (0..4).map(|cycle| 20 * MIB + cycle * 8192).collect();
        let growth = Growth::of(&levels, 10.0).unwrap();
        assert!(growth.per_visitor > 64.0 && !growth.is_leak(64.0));
    }

    #[test]
    fn counts_must_come_back_and_may_fall() {
        let gauges = Gauges { connections: 2.0, channels: 1.0, ..Gauges::default() };
        let warm = Vitals { files: 20, gauges: Some(gauges), ..Vitals::default() };
        assert_eq!(left_behind(&warm, &warm), None);
        let fewer = Gauges { channels: 0.0, ..gauges };
        assert_eq!(left_behind(&warm, &Vitals { gauges: Some(fewer), ..warm }), None);
        let more = Gauges { channels: 3.0, ..gauges };
        let told = left_behind(&warm, &Vitals { files: 22, gauges: Some(more), ..warm }).unwrap();
        assert_eq!(told, "22 open files instead of 20, 3 channels instead of 1");
    }
}
