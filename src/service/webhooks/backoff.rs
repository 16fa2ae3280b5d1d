//! Pauses between tries. Randomness comes from a seed.

use std::time::Duration;

/// Pauses that double, each with a random part taken off.
#[derive(Debug)]
pub(super) struct Backoff {
    base_ms: u64,
    most_ms: u64,
    random: u64,
}

impl Backoff {
    pub(super) fn new(base_ms: u64, most_ms: u64, seed: u64) -> Backoff {
        Backoff { base_ms, most_ms, random: seed }
    }

    /// The pause after the failure number `failures`, from 1: from a half to the whole of what it has doubled to.
    pub(super) fn pause(&mut self, failures: u32) -> Duration {
        let doubled = self.base_ms.saturating_mul(1 << (failures.saturating_sub(1)).min(32));
        let whole = doubled.min(self.most_ms);
        Duration::from_millis(whole - self.next() % (whole / 2 + 1))
    }

    /// The next of a sequence of well-mixed numbers (SplitMix64).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_differ() {
        let mut backoff = Backoff::new(1_000, 60_000, 7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            for (failures, whole) in [(1, 1_000), (2, 2_000), (6, 32_000), (7, 60_000), (u32::MAX, 60_000)] {
                let pause = backoff.pause(failures).as_millis() as u64;
                assert!((whole / 2..=whole).contains(&pause), "{failures}: {pause}");
                seen.insert((failures, pause));
            }
        }
        assert!(seen.len() > 200, "only {} different ones", seen.len());
        let again = |seed| Backoff::new(1_000, 60_000, seed).pause(5);
        assert_eq!(again(3), again(3));
        assert_ne!(again(3), again(4));
    }

    #[test]
    fn no_pause_is_no_trouble() {
        assert_eq!(Backoff::new(0, 0, 1).pause(1), Duration::ZERO);
    }
}
