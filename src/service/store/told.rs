//! What the log is told of trouble that every job may meet again: not a line for each.

use std::time::{Duration, Instant};

use super::{Outcome, StoreError};
use crate::limits::STORE_LOG_MS;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Told {
    full: bool,
    damage_at: Option<Instant>,
    /// Damages since then that nothing was said of.
    hushed: u64,
}

impl Told {
    /// The last commit that needed room met a full disk, or did not.
    pub fn full(&mut self, full: bool) {
        match (std::mem::replace(&mut self.full, full), full) {
            (false, true) => tracing::warn!(reason = "store_full", "the disk for stored messages is full"),
            (true, false) => tracing::warn!("there is room for stored messages again"),
            _ => {}
        }
    }

    /// Looks through the outcomes of a commit for records that are damaged; returns how many there are.
    pub fn damage(&mut self, outcomes: &[Outcome]) -> u64 {
        let mut count = 0;
        for outcome in outcomes {
            let Err(error @ StoreError::Checksum(_)) = outcome else { continue };
            count += 1;
            let pause = Duration::from_millis(STORE_LOG_MS);
            if self.damage_at.is_some_and(|at| at.elapsed() < pause) {
                self.hushed += 1;
                continue;
            }
            let hushed = std::mem::take(&mut self.hushed);
            tracing::error!(reason = error.label(), hushed, "{error} (`fanwire check` tells more)");
            self.damage_at = Some(Instant::now());
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_counted_each_time_and_told_once_in_a_while() {
        let mut told = Told::default();
        let bad = || Err(StoreError::Checksum("x".into()));
        assert_eq!(told.damage(&[bad(), Err(StoreError::Full), bad(), bad()]), 3);
        assert_eq!(told.hushed, 2);
        assert_eq!(told.damage(&[bad()]), 1);
        assert_eq!(told.hushed, 3);
    }
}
