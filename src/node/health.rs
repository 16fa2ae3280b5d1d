//! Health for orchestrators: *live* says that the process is worth keeping, *ready* that it should get traffic.

use crate::limits::SHARD_STALL_MS;
use crate::shard::counters::NodeCounters;
use crate::wire::http::response::Response;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the start and the drain of the node tell its pages.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// All shards have started and listen.
    pub running: Arc<AtomicBool>,
    /// The node is draining: no new traffic, please.
    pub draining: Arc<AtomicBool>,
}

/// Why a node is not live or not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// These shards have not turned for [`SHARD_STALL_MS`].
    Stalled(Vec<usize>),
    /// Not all shards have started.
    Starting,
    /// The node is draining.
    Draining,
    /// The store refuses everything until the node is started anew.
    Store,
}

/// Whether the process works. `now_ms` is the monotonic clock that the shards write to their `alive_ms`. A shard
/// that has not started is not judged.
///
/// # Errors
/// [`Trouble::Stalled`].
pub fn live(counters: &NodeCounters, now_ms: u64) -> Result<(), Trouble> {
    let stalled: Vec<usize> = (counters.shards.iter().enumerate())
        .filter(|(_, shard)| shard.driver().is_some() && !shard.has_left())
        // A shard may have written a moment that is later than ours.
        .filter(|(_, shard)| now_ms.saturating_sub(shard.alive_ms.get()) > SHARD_STALL_MS)
        .map(|(index, _)| index)
        .collect();
    if stalled.is_empty() { Ok(()) } else { Err(Trouble::Stalled(stalled)) }
}

/// Whether the node should get traffic.
///
/// # Errors
/// Any [`Trouble`]; draining is told first, as it is meant to be.
pub fn ready(
    counters: &NodeCounters,
    lifecycle: &Lifecycle,
    store_failed: bool,
    now_ms: u64,
) -> Result<(), Trouble> {
    if lifecycle.draining.load(Ordering::Relaxed) {
        return Err(Trouble::Draining);
    }
    let started = counters.shards.iter().all(|shard| shard.driver().is_some());
    if !started || !lifecycle.running.load(Ordering::Relaxed) {
        return Err(Trouble::Starting);
    }
    if store_failed {
        return Err(Trouble::Store);
    }
    live(counters, now_ms)
}

/// The answer: 200, or 503 with the reason, as a small JSON object.
pub fn answer(state: Result<(), Trouble>) -> Response {
    let (status, body) = match state {
        Ok(()) => (200, "{\"status\":\"ok\"}\n".into()),
        Err(Trouble::Draining) => (503, "{\"status\":\"draining\"}\n".into()),
        Err(Trouble::Starting) => (503, "{\"status\":\"starting\"}\n".into()),
        Err(Trouble::Store) => (503, "{\"status\":\"store failed\"}\n".into()),
        Err(Trouble::Stalled(shards)) => (503, stalled_body(&shards)),
    };
    Response::new(status).header("Cache-Control", "no-store").body("application/json", body)
}

fn stalled_body(shards: &[usize]) -> String {
    let mut body = String::from("{\"status\":\"stalled\",\"shards\":[");
    for (at, shard) in shards.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(body, "{}{shard}", if at == 0 { "" } else { "," });
    }
    body.push_str("]}\n");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::net::NetKind;

    fn two_shards(alive_ms: [u64; 2]) -> NodeCounters {
        let counters = NodeCounters::new(2, 0);
        for (shard, alive_ms) in counters.shards.iter().zip(alive_ms) {
            shard.set_driver(NetKind::Epoll);
            shard.alive_ms.set(alive_ms);
        }
        counters
    }

    fn running() -> Lifecycle {
        let lifecycle = Lifecycle::default();
        lifecycle.running.store(true, Ordering::Relaxed);
        lifecycle
    }

    fn body(state: Result<(), Trouble>) -> (u16, String) {
        let answer = answer(state);
        (answer.status(), String::from_utf8(answer.body_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_shard_that_stands_still_is_named() {
        let counters = two_shards([1_000, 1_000 + SHARD_STALL_MS]);
        assert_eq!(live(&counters, 1_000 + SHARD_STALL_MS), Ok(()));
        let late = live(&counters, 1_001 + SHARD_STALL_MS);
        assert_eq!(late, Err(Trouble::Stalled(vec![0])));
        assert_eq!(body(late), (503, "{\"status\":\"stalled\",\"shards\":[0]}\n".into()));
        let both = live(&counters, 1_000_000);
        assert_eq!(body(both).1, "{\"status\":\"stalled\",\"shards\":[0,1]}\n");
    }

    #[test]
    fn a_clock_behind_the_shards_is_no_trouble() {
        assert_eq!(live(&two_shards([50, 60]), 10), Ok(()));
    }

    #[test]
    fn a_shard_that_has_not_started_is_live_but_not_ready() {
        let counters = NodeCounters::new(2, 0);
        assert_eq!(live(&counters, 1_000_000), Ok(()));
        assert_eq!(ready(&counters, &running(), false, 1_000_000), Err(Trouble::Starting));
        let started = two_shards([0, 0]);
        assert_eq!(ready(&started, &Lifecycle::default(), false, 0), Err(Trouble::Starting));
        assert_eq!(ready(&started, &running(), false, 0), Ok(()));
        let failed = ready(&started, &running(), true, 0);
        assert_eq!(failed, Err(Trouble::Store));
        assert_eq!(body(failed), (503, "{\"status\":\"store failed\"}\n".into()));
        assert_eq!(body(Ok(())), (200, "{\"status\":\"ok\"}\n".into()));
    }

    #[test]
    fn a_draining_node_is_live_and_not_ready() {
        let (counters, lifecycle) = (two_shards([0, 0]), running());
        lifecycle.draining.store(true, Ordering::Relaxed);
        assert_eq!(live(&counters, 1), Ok(()));
        let draining = ready(&counters, &lifecycle, false, 1);
        assert_eq!(draining, Err(Trouble::Draining));
        assert_eq!(body(draining), (503, "{\"status\":\"draining\"}\n".into()));
        assert_eq!(
            ready(&two_shards([0, 0]), &running(), false, 1_000_000),
            Err(Trouble::Stalled(vec![0, 1]))
        );
    }
}
