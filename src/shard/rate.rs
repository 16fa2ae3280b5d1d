//! How often each address connects: one table for all shards, of one word per address, without locks.
//!
//! Times wrap around after 19 hours: an address that comes back after exactly so long may find its bucket empty, for no
//! longer than it takes to fill.

use crate::limits::CONNECT_RATE_ADDRESSES;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Addresses that share a place: whoever is new takes that of the one that was idle longest.
const WAYS: usize = 8;
/// Time counts in 1/64 ms, so that 19 hours fit into 32 bits.
const UNIT_NS: u64 = 1_000_000 / 64;
const UNITS_PER_S: u32 = 64_000;

/// A bucket of tokens for each address. What an address has left is kept as the time at which its bucket is full again
/// (the generic cell rate algorithm), so nothing needs to be filled, and whoever is idle needs no place.
#[derive(Debug)]
pub struct ConnectRate {
    sets: Box<[[AtomicU64; WAYS]]>,
    /// What one connection costs.
    step: u32,
    /// What a full bucket holds.
    depth: u32,
    /// Random: nobody outside knows who shares a place with whom.
    seed: u64,
}

impl ConnectRate {
    /// Lets `per_s` connections of an address through in a second, `burst` of them at once. None if `per_s` is 0.
    pub fn new(per_s: u32, burst: u32, seed: u64) -> Option<ConnectRate> {
        let step = UNITS_PER_S.checked_div(per_s)?.max(1);
        let sets = (0..CONNECT_RATE_ADDRESSES / WAYS).map(|_| Default::default()).collect();
        let depth = step.saturating_mul(burst.max(1)).min(i32::MAX as u32 / 2);
        Some(ConnectRate { sets, step, depth, seed })
    }

    /// Whether a connection of `address` may come now; then it counts.
    pub fn admit(&self, address: u32, mono_ns: u64) -> bool {
        let now = (mono_ns / UNIT_NS) as u32;
        let mixed = (u64::from(address) ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let set = &self.sets[(mixed >> 32) as usize % self.sets.len()];
        loop {
            // How long until the bucket is full; nothing, or what is left of days ago, is full.
            let until = |word: u64| {
                let left = (word as u32).wrapping_sub(now);
                if word != 0 && left <= self.depth { left } else { 0 }
            };
            let words = set.each_ref().map(|word| word.load(Relaxed));
            let mine = words.iter().position(|word| *word != 0 && (word >> 32) as u32 == address);
            let at = mine.or_else(|| (0..WAYS).min_by_key(|at| until(words[*at]))).unwrap_or(0);
            let before = if mine.is_some() { until(words[at]) } else { 0 };
            let after = before + self.step;
            if after > self.depth {
                return false;
            }
            let word = u64::from(address) << 32 | u64::from(now.wrapping_add(after));
            if set[at].compare_exchange(words[at], word, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Time until one more connection is let through, rounded up, seconds.
    pub fn retry_after_s(&self) -> u64 {
        u64::from(self.step.div_ceil(UNITS_PER_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_burst_and_then_so_many_in_a_second() {
        let rate = ConnectRate::new(10, 5, 7).unwrap();
        let admitted = |from_ns: u64, tries: u64| (0..tries).filter(|n| rate.admit(1, from_ns + n)).count();
        assert_eq!(admitted(S, 100), 5);
        assert_eq!(admitted(2 * S, 100), 5, "never more than the burst at once");
        let steady = (0..1_000).filter(|n| rate.admit(2, 10 * S + n * S / 100)).count();
        assert!((100..=105).contains(&steady), "{steady} in ten seconds");
        assert!(rate.admit(3, 2 * S), "others are not concerned");
        assert_eq!(rate.retry_after_s(), 1);
    }

    #[test]
    fn a_pause_of_any_length_fills_the_bucket() {
        let rate = ConnectRate::new(1, 1, 7).unwrap();
        let mut now_ns = S;
        for pause_s in [1, 2, 3_600, 50_000, 67_000, 67_110, 100_000, 1_000_000] {
            assert!(rate.admit(9, now_ns), "after {pause_s} s");
            assert!(!rate.admit(9, now_ns + S / 2));
            now_ns += pause_s * S + S;
        }
    }

    #[test]
    fn more_addresses_than_places_push_out_the_idle_ones() {
        let rate = ConnectRate::new(1, 1, 7).unwrap();
        assert!((0..4 * CONNECT_RATE_ADDRESSES as u32).all(|address| rate.admit(address + 1, S)));
        let still_known = (0..CONNECT_RATE_ADDRESSES as u32)
            .filter(|n| !rate.admit(3 * CONNECT_RATE_ADDRESSES as u32 + n + 1, S))
            .count();
        assert!(still_known > 0);
        assert_eq!(rate.sets.len() * WAYS, CONNECT_RATE_ADDRESSES);
    }

    #[test]
    fn shards_count_together() {
        let rate = ConnectRate::new(1, 100, 7).unwrap();
        let admitted: usize = std::thread::scope(|scope| {
            let shards: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| rate.admit(5, S)).count())).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).sum()
        });
        assert_eq!(admitted, 100);
        assert!(ConnectRate::new(0, 5, 7).is_none());
    }
}
