//! Calls with the same order key: one after another, in the order of their tickets.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The lanes of all keys; a lane exists while somebody is in it.
#[derive(Clone, Default)]
pub(super) struct Lanes {
    lanes: Arc<Mutex<HashMap<u64, Lane>>>,
}

#[derive(Default)]
struct Lane {
    next_ticket: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// A place in a lane. Dropping it lets the next one go, whether its own turn had come or not.
pub(super) struct Turn {
    lanes: Lanes,
    key: u64,
    ticket: u64,
    wake: Arc<Notify>,
}

impl Lanes {
    /// Takes the next place in the key's lane.
    pub(super) fn join(&self, key: u64) -> Turn {
        let wake = Arc::new(Notify::new());
        let mut lanes = self.lock();
        let lane = lanes.entry(key).or_default();
        let ticket = lane.next_ticket;
        lane.next_ticket += 1;
        lane.waiting.insert(ticket, wake.clone());
        Turn { lanes: self.clone(), key, ticket, wake }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until everybody before is gone.
    pub(super) async fn come(&self) {
        while !self.is_first() {
            self.wake.notified().await;
        }
    }

    fn is_first(&self) -> bool {
        let lanes = self.lanes.lock();
        lanes
            .get(&self.key)
            .and_then(|lane| lane.waiting.first_key_value())
            .is_none_or(|(t, _)| *t == self.ticket)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.get_mut(&self.key) else { return };
        lane.waiting.remove(&self.ticket);
        match lane.waiting.first_key_value() {
            Some((_, next)) => next.notify_one(),
            None => {
                lanes.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_after_another_whoever_leaves_early() {
        let lanes = Lanes::default();
        let (first, second, third) = (lanes.join(7), lanes.join(7), lanes.join(7));
        let other = lanes.join(8);
        other.come().await;
        first.come().await;
        assert!(!second.is_first() && !third.is_first());
        // Giving up a place does not let the one behind overtake.
        drop(second);
        assert!(!third.is_first());
        let waiter = tokio::spawn(async move { third.come().await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(first);
        waiter.await.unwrap();
        drop(other);
        assert!(lanes.lock().is_empty());
    }
}
