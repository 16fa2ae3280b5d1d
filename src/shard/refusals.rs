//! What is refused: all of it is counted, and some of it is logged. Refusals are what a peer can cause at will; a line
//! for each would let it write the log full.

use super::Shard;
use crate::limits::{REFUSALS_LOGGED, REFUSALS_LOGGED_MS};
use std::sync::Mutex;
use tracing::warn;

/// Refusals of a shard by reason. Locked on refusals, by readers, and once in [`REFUSALS_LOGGED_MS`].
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Vec<Refused>>);

#[derive(Debug)]
struct Refused {
    label: &'static str,
    /// Since the start.
    count: u64,
    /// Since the logs were renewed.
    lately: u64,
}

impl Refusals {
    /// Counts one. True: it may be logged. Only the first one of a reason allocates.
    pub fn count(&self, label: &'static str) -> bool {
        let Ok(mut all) = self.0.lock() else { return false };
        match all.iter_mut().find(|refused| refused.label == label) {
            Some(refused) => {
                refused.count += 1;
                refused.lately += 1;
                refused.lately <= u64::from(REFUSALS_LOGGED)
            }
            None => {
                all.push(Refused { label, count: 1, lately: 1 });
                true
            }
        }
    }

    /// So far, by reason.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().map(|all| all.iter().map(|r| (r.label, r.count)).collect()).unwrap_or_default()
    }

    /// Begins anew with logging, and tells how many of each reason were left out.
    fn renew(&self, mut left_out: impl FnMut(&'static str, u64)) {
        let Ok(mut all) = self.0.lock() else { return };
        for refused in all.iter_mut() {
            let lately = std::mem::take(&mut refused.lately);
            if lately > u64::from(REFUSALS_LOGGED) {
                left_out(refused.label, lately - u64::from(REFUSALS_LOGGED));
            }
        }
    }
}

impl Shard {
    /// Counts a refusal, and logs it if there were not too many for the same reason.
    pub(super) fn refuse(&self, slot: u32, label: &'static str, detail: &str) {
        if self.counters.refuse(label) {
            let peer = self.clients.peer(slot, self.slab[slot].fd);
            warn!(%peer, reason = label, "{detail}");
        }
    }

    /// Once a tick.
    pub(super) fn renew_logs(&mut self) {
        let now = self.now.mono_ms();
        if now < self.logs_renewed_ms.saturating_add(REFUSALS_LOGGED_MS) {
            return;
        }
        self.logs_renewed_ms = now;
        let shard = self.id;
        self.counters.renew_logs(|label, left_out| {
            warn!(shard, reason = label, left_out, "further refusals");
        });
    }
}

impl super::counters::Counters {
    /// Counts a refusal. True: it may be logged; a peer that causes many for the same reason does not flood the log.
    pub fn refuse(&self, label: &'static str) -> bool {
        self.refused.count(label)
    }

    /// Refusals so far, by reason.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.refused.all()
    }

    fn renew_logs(&self, left_out: impl FnMut(&'static str, u64)) {
        self.refused.renew(left_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(refusals: &Refusals) -> Vec<(&'static str, u64)> {
        let mut told = Vec::new();
        refusals.renew(|label, count| told.push((label, count)));
        told
    }

    #[test]
    fn all_are_counted_and_a_few_are_logged() {
        let refusals = Refusals::default();
        let few = REFUSALS_LOGGED as usize;
        let logged = |label, times: usize| (0..times).filter(|_| refusals.count(label)).count();
        assert_eq!(logged("a", few + 90), few);
        assert_eq!(logged("b", few), few, "one reason does not silence another");
        assert_eq!(left_out(&refusals), [("a", 90)]);
        assert!(left_out(&refusals).is_empty(), "told once");
        assert_eq!(logged("a", few + 1), few, "and it goes on");
        assert_eq!(left_out(&refusals), [("a", 1)]);
        assert_eq!(refusals.all(), [("a", 2 * few as u64 + 91), ("b", few as u64)]);
    }
}
