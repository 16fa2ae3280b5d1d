//! CPU clocks of a node: the process as a whole, each of its shards, and the kernel's receiving half of loopback.

use crate::sys;
use std::fs;
use std::path::PathBuf;

/// Where to read them.
pub struct Clocks {
    pid: u32,
    shards: Vec<PathBuf>,
    softirq: Vec<PathBuf>,
}

/// The clocks at one instant, or what passed between two, nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// All threads of the node.
    pub node: u64,
    /// Each shard's thread.
    pub shards: Vec<u64>,
    /// ksoftirqd of the node's cores.
    pub softirq: u64,
}

impl Clocks {
    /// The clocks of process `pid`, which may run on `cores`. Threads named `shard-N` are its shards.
    pub fn of(pid: u32, cores: &[usize]) -> Result<Clocks, String> {
        let mut shards = Vec::new();
        for task in
            fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| format!("threads of {pid}: {e}"))?.flatten()
        {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let number = name.trim().strip_prefix("shard-").and_then(|n| n.parse::<usize>().ok());
            shards.extend(number.map(|number| (number, task.path().join("schedstat"))));
        }
        shards.sort();
        let softirq =
            kernel_threads(&cores.iter().map(|core| format!("ksoftirqd/{core}")).collect::<Vec<_>>());
        Ok(Clocks { pid, shards: shards.into_iter().map(|(_, path)| path).collect(), softirq })
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The clocks now. A thread that runs at this moment lacks up to a tick of the kernel's: read them at rest.
    pub fn read(&self) -> Result<Reading, String> {
        let node = sys::process_cpu_ns(self.pid).map_err(|e| format!("CPU time of the node: {e}"))?;
        let shards = self.shards.iter().map(run_time).collect::<Result<_, _>>()?;
        let softirq = self.softirq.iter().map(run_time).sum::<Result<u64, _>>()?;
        Ok(Reading { node, shards, softirq })
    }
}

impl Reading {
    /// What passed since `before`.
    pub fn since(&self, before: &Reading) -> Reading {
        let shards = self.shards.iter().zip(&before.shards).map(|(now, then)| now.saturating_sub(*then));
        Reading {
            node: self.node.saturating_sub(before.node),
            shards: shards.collect(),
            softirq: self.softirq.saturating_sub(before.softirq),
        }
    }

    /// Adds what passed another time.
    pub fn add(&mut self, other: &Reading) {
        self.node += other.node;
        self.softirq += other.softirq;
        self.shards.resize(other.shards.len(), 0);
        self.shards.iter_mut().zip(&other.shards).for_each(|(sum, ns)| *sum += ns);
    }

    /// The node's CPU and what the kernel did for it.
    pub fn cpu(&self) -> u64 {
        self.node + self.softirq
    }
}

/// The first number of a schedstat: time on a core, nanoseconds.
fn run_time(path: &PathBuf) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("{}: no number", path.display()))
}

fn kernel_threads(names: &[String]) -> Vec<PathBuf> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let is_wanted = |path: &PathBuf| {
        fs::read_to_string(path.join("comm"))
            .is_ok_and(|name| names.iter().any(|wanted| wanted == name.trim()))
    };
    let paths = processes.flatten().map(|entry| entry.path()).filter(is_wanted);
    paths.map(|path| path.join("schedstat")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_subtracted_thread_by_thread() {
        let before = Reading { node: 100, shards: vec![60, 30], softirq: 5 };
        let after = Reading { node: 180, shards: vec![100, 40], softirq: 9 };
        let passed = after.since(&before);
        assert_eq!(passed, Reading { node: 80, shards: vec![40, 10], softirq: 4 });
        assert_eq!(passed.cpu(), 84);
        let mut sum = Reading::default();
        sum.add(&passed);
        sum.add(&passed);
        assert_eq!(sum, Reading { node: 160, shards: vec![80, 20], softirq: 8 });
    }

    #[test]
    fn a_thread_that_works_is_seen_by_its_name() {
        let work = std::thread::Builder::new().name("shard-7".to_owned());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (tell, started) = std::sync::mpsc::channel();
        let body = move || {
            tell.send(()).unwrap(); // from here on it has its name
            while stopped.try_recv().is_err() {}
        };
        let thread = work.spawn(body).unwrap();
        started.recv().unwrap();
        let clocks = Clocks::of(std::process::id(), &[0]).unwrap();
        assert_eq!(clocks.shards(), 1);
        let before = clocks.read().unwrap();
        // On a machine with much else to do it may not have its turn at once.
        let passed = (0..100).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            clocks.read().unwrap().since(&before)
        });
        let passed =
            passed.into_iter().find(|passed| passed.shards[0] > 0).expect("ten seconds without a turn");
        stop.send(()).unwrap();
        thread.join().unwrap();
        assert!(passed.shards[0] > 0 && passed.node >= passed.shards[0], "{passed:?}");
    }
}
