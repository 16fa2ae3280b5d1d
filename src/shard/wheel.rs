//! All deadlines of a shard: a wheel of buckets, one entry per connection in the usual case, nothing for
//! connections without a deadline.

use crate::limits::{TICK_MS, WHEEL_KEYS_KEPT, WHEEL_SLOTS};
use crate::shard::net::Key;

/// A tick count; 0 is "never".
pub type Tick = u32;

/// Buckets of connections by the tick at which to look at them.
pub struct Wheel {
    buckets: Box<[Vec<Key>]>,
    now: Tick,
}

impl Wheel {
    /// An empty wheel at tick 1.
    pub fn new() -> Wheel {
        Wheel { buckets: (0..WHEEL_SLOTS).map(|_| Vec::new()).collect(), now: 1 }
    }

    /// The current tick.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// The first tick at or after this time.
    pub fn tick_at(ms: u64) -> Tick {
        (ms.div_ceil(TICK_MS)).min(u64::from(Tick::MAX - 1)) as Tick + 1
    }

    /// The tick `ms` from now, rounded up.
    pub fn tick_in(&self, ms: u64) -> Tick {
        self.now.saturating_add(Wheel::tick_at(ms))
    }

    /// Has `key` looked at at `tick`, or a round earlier when that is too far ahead. Returns the tick at which it will
    /// be.
    pub fn insert(&mut self, key: Key, tick: Tick) -> Tick {
        let tick = tick.clamp(self.now + 1, self.now + WHEEL_SLOTS as Tick - 1);
        self.buckets[tick as usize % WHEEL_SLOTS].push(key);
        tick
    }

    /// Moves on to the tick of `mono_ms` and takes everything due by then. After a long sleep every bucket is taken
    /// at most once.
    pub fn advance(&mut self, mono_ms: u64, due: &mut Vec<Key>) {
        let target = Wheel::tick_at(mono_ms);
        if target <= self.now {
            return;
        }
        let steps = (target - self.now).min(WHEEL_SLOTS as Tick);
        for step in 1..=steps {
            let bucket = &mut self.buckets[(self.now + step) as usize % WHEEL_SLOTS];
            due.append(bucket);
            if bucket.capacity() > WHEEL_KEYS_KEPT {
                *bucket = Vec::new();
            }
        }
        self.now = target;
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 0 }
    }

    #[test]
    fn deadlines_come_once_and_in_time() {
        let (mut wheel, mut due) = (Wheel::new(), vec![]);
        wheel.advance(1_000, &mut due);
        let start = wheel.now();
        assert_eq!(wheel.insert(key(1), start + 2), start + 2);
        assert_eq!(wheel.insert(key(2), start), start + 1, "never in the past");
        let far = wheel.insert(key(3), start + 1_000_000);
        assert_eq!(far, start + WHEEL_SLOTS as Tick - 1);
        wheel.advance(1_000 + TICK_MS, &mut due);
        assert_eq!(due, [key(2)]);
        wheel.advance(1_000 + 2 * TICK_MS, &mut due);
        assert_eq!(due, [key(2), key(1)]);
        wheel.advance(1_000 + 10_000 * TICK_MS, &mut due);
        assert_eq!(due.len(), 3);
    }
}
