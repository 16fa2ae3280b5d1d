//! A thread beside the shards that sees whether they turn: it tells the service manager so, says in the log which one
//! stands still, and ends the process when it stays so, with what it was doing.

use super::health::{self, Trouble};
use super::host::threads;
use super::systemd::Notify;
use crate::limits::{STALL_BACKTRACE_MS, STALL_LOOK_MS};
use crate::shard::accept::LazyPeer;
use crate::shard::counters::{Counters, NodeCounters};
use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{error, info};

/// What the thread needs.
pub struct Watch {
    /// Of all shards.
    pub counters: NodeCounters,
    /// Monotonic milliseconds as the shards count them.
    pub clock_ms: Box<dyn Fn() -> u64 + Send>,
    /// Who is told that all is well.
    pub notify: Arc<Notify>,
    /// A shard that has stood still for so long ends the process, milliseconds; 0: never.
    pub exit_ms: u64,
}

impl Watch {
    /// Starts the thread. It lasts as long as the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self) -> Result<(), String> {
        let thread = thread::Builder::new().name("watch".into()).spawn(move || self.run());
        thread.map(drop).map_err(|error| format!("cannot start the thread that watches shards: {error}"))
    }

    fn run(self) {
        let look = Duration::from_millis(STALL_LOOK_MS);
        let pause = self.notify.watchdog().map_or(look, |period| period.min(look));
        let (mut told, mut known) = (None::<Instant>, Vec::new());
        loop {
            let now_ms = (self.clock_ms)();
            let stalled = match health::live(&self.counters, now_ms) {
                Err(Trouble::Stalled(shards)) => shards,
                _ => Vec::new(),
            };
            if stalled.is_empty()
                && let Some(period) = self.notify.watchdog()
                && told.is_none_or(|told| told.elapsed() + pause / 2 >= period)
            {
                told = Some(Instant::now());
                self.notify.alive();
            }
            if stalled != known {
                self.report(&stalled, now_ms);
            }
            if let Some(&dead) = stalled.iter().find(|&&shard| self.is_lost(shard, now_ms)) {
                self.abort(dead, &stalled, now_ms);
            }
            known = stalled;
            thread::sleep(pause);
        }
    }

    fn report(&self, stalled: &[usize], now_ms: u64) {
        for &shard in stalled {
            let counters = &self.counters.shards[shard];
            let still_ms = now_ms.saturating_sub(counters.alive_ms.get());
            error!(shard, still_ms, reason = "shard_stalled", "{}", doing(counters));
        }
        if stalled.is_empty() {
            info!("all shards turn again");
        }
    }

    fn is_lost(&self, shard: usize, now_ms: u64) -> bool {
        let still_ms = now_ms.saturating_sub(self.counters.shards[shard].alive_ms.get());
        self.exit_ms > 0 && still_ms > self.exit_ms
    }

    /// Writes down what every stalled shard is doing, and ends the process so that it is started anew.
    fn abort(&self, dead: usize, stalled: &[usize], now_ms: u64) -> ! {
        error!(shard = dead, exit_ms = self.exit_ms, reason = "shard_lost", "a shard stands still; aborting");
        let mut out = String::new();
        for &shard in stalled {
            dump(&mut out, shard, &self.counters.shards[shard], now_ms);
        }
        eprint!("{out}"); // the log's own thread may not come to it any more
        for &shard in stalled {
            if let Some(tid) = self.counters.shards[shard].marks.tid() {
                eprintln!("shard {shard}, backtrace:");
                if !threads::write_backtrace_and_stop(tid, Duration::from_millis(STALL_BACKTRACE_MS)) {
                    eprintln!("none: its thread does not run");
                }
            }
        }
        std::process::abort();
    }
}

/// Where the shard is in its turn, and for whom.
fn doing(counters: &Counters) -> String {
    let mut text = format!("the shard does not turn: it is at {}", counters.marks.part().name());
    if let Some((slot, fd)) = counters.marks.calling() {
        // Writing to a String cannot fail.
        let _ = write!(text, ", in the session of slot {slot}, peer {}", LazyPeer(fd));
    }
    text
}

fn dump(out: &mut String, shard: usize, counters: &Counters, now_ms: u64) {
    let still_ms = now_ms.saturating_sub(counters.alive_ms.get());
    let _ = writeln!(out, "shard {shard} has not turned for {still_ms} ms; {}", doing(counters));
    let figures = [
        ("turns", &counters.turns),
        ("sleeps", &counters.sleeps),
        ("sockets", &counters.sockets),
        ("requests", &counters.requests),
        ("messages in", &counters.messages_in),
        ("published", &counters.published),
        ("delivered", &counters.delivered),
        ("subscriptions", &counters.subscriptions),
        ("channels", &counters.channels),
        ("mails waiting", &counters.mail_waiting),
        ("panics", &counters.panics),
    ];
    for (name, figure) in figures {
        let _ = writeln!(out, "    {name}: {}", figure.get());
    }
    if let Some(tid) = counters.marks.tid() {
        let view = threads::kernel_view(tid);
        view.lines().for_each(|line| {
            let _ = writeln!(out, "    {line}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_says_where_the_shard_is() {
        let counters = Counters::default();
        counters.marks.begin();
        counters.marks.at(crate::shard::turn::Part::Mail);
        counters.marks.calls(7, -1);
        counters.turns.add(12);
        counters.alive_ms.set(400);
        let mut out = String::new();
        dump(&mut out, 3, &counters, 1_000);
        let first = "shard 3 has not turned for 600 ms; the shard does not turn: it is at mail, in the session of \
                     slot 7, peer gone\n";
        assert!(out.starts_with(first), "{out}");
        assert!(out.contains("    turns: 12\n") && out.contains("    stat: "), "{out}");
        counters.marks.called();
        counters.marks.end();
        assert_eq!(doing(&counters), "the shard does not turn: it is at away");
    }
}
