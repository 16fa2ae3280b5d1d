//! CPU time on a server's core: the server's, the kernel's for it, and everybody else's.

use crate::procfs::{self, ProcessTree};
use crate::server::Server;
use std::time::{Duration, Instant};

/// Time a server gets after its work to finish what it still has to do for it.
pub const SETTLE: Duration = Duration::from_millis(20);

/// Reads the clocks of one server and its core.
pub struct Meter {
    processes: ProcessTree,
    core: usize,
}

/// The clocks at one instant, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    own: u64,
    softirq: u64,
    /// Of everybody on the core, the hypervisor included.
    all: u64,
    at: Instant,
}

/// CPU of the server's core between two readings, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct CoreTime {
    /// Of the server's processes.
    pub own_ns: u64,
    /// Of ksoftirqd.
    pub softirq_ns: u64,
    /// Of everybody else.
    pub others_ns: u64,
    /// Time gone by.
    pub wall_ns: u64,
}

impl Meter {
    /// For the processes that `server` has now.
    pub fn new(server: &Server) -> Result<Meter, String> {
        Ok(Meter { processes: server.processes()?, core: server.core })
    }

    /// The clocks now.
    pub fn read(&self) -> Result<Reading, String> {
        let (own, softirq) = self.processes.cpu_ns().map_err(|e| format!("CPU time of the server: {e}"))?;
        let (busy, stolen) = procfs::core_busy_ns(self.core).map_err(|e| e.to_string())?;
        Ok(Reading { own, softirq, all: busy + stolen, at: Instant::now() })
    }
}

impl Reading {
    /// What has been used since `before`.
    pub fn since(&self, before: &Reading) -> CoreTime {
        let own_ns = self.own.saturating_sub(before.own);
        let softirq_ns = self.softirq.saturating_sub(before.softirq);
        CoreTime {
            own_ns,
            softirq_ns,
            others_ns: self.all.saturating_sub(before.all).saturating_sub(own_ns + softirq_ns),
            wall_ns: self.at.saturating_duration_since(before.at).as_nanos() as u64,
        }
    }
}

impl CoreTime {
    /// The server's and what the kernel did for it, nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.own_ns + self.softirq_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_servers_is_the_others() {
        let at = Instant::now();
        let before = Reading { own: 100, softirq: 10, all: 1000, at };
        let after = Reading { own: 400, softirq: 30, all: 1500, at: at + Duration::from_nanos(900) };
        let core = after.since(&before);
        assert_eq!((core.own_ns, core.softirq_ns, core.cpu_ns()), (300, 20, 320));
        assert_eq!((core.others_ns, core.wall_ns), (180, 900));
        // The core's clock has coarser ticks than the server's.
        let coarse = Reading { all: 1000, ..after };
        assert_eq!(coarse.since(&before).others_ns, 0);
    }
}
