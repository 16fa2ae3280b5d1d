//! What the kernel says about processes, cores and its own memory.

use crate::sys;
use std::collections::BTreeMap;
use std::{fs, io};

/// A server and the processes it has started: CPU time and memory are those of all together.
#[derive(Clone, Debug)]
pub struct ProcessTree {
    pids: Vec<u32>,
    softirq_thread: Option<u32>,
}

impl ProcessTree {
    /// The tree under `root` as it is now. `core` is where the server runs: what that core's ksoftirqd does is
    /// the receiving half of the server's sends on loopback and counts as the server's.
    pub fn of(root: u32, core: usize) -> io::Result<ProcessTree> {
        let mut stats = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end while we look.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            stats.extend(name_and_parent(&stat).map(|(name, parent)| (pid, name.to_owned(), parent)));
        }
        let mut pids = vec![root];
        let mut looked_at = 0;
        while let Some(&parent) = pids.get(looked_at) {
            pids.extend(stats.iter().filter(|stat| stat.2 == parent).map(|stat| stat.0));
            looked_at += 1;
        }
        let thread = format!("ksoftirqd/{core}");
        let softirq_thread = stats.iter().find(|stat| stat.1 == thread).map(|stat| stat.0);
        Ok(ProcessTree { pids, softirq_thread })
    }

    /// CPU time so far, nanoseconds: of the processes, and of the core's ksoftirqd.
    pub fn cpu_ns(&self) -> io::Result<(u64, u64)> {
        let mut own = 0;
        for &pid in &self.pids {
            own += sys::process_cpu_ns(pid)?;
        }
        let softirq = match self.softirq_thread {
            Some(pid) => fs::read_to_string(format!("/proc/{pid}/schedstat"))?
                .split_whitespace()
                .next()
                .and_then(|ns| ns.parse().ok())
                .unwrap_or(0),
            None => 0,
        };
        Ok((own, softirq))
    }

    /// The processes, the root first.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Whether `pid` is a process that has not ended, waited for or not.
    pub fn is_running(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, tail)| tail.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    /// Open files of all processes. Linux 6.2 and later tell the number; before that each is counted.
    pub fn open_files(&self) -> io::Result<u64> {
        let count = |pid: &u32| {
            let folder = format!("/proc/{pid}/fd");
            match fs::metadata(&folder)?.len() {
                0 => Ok(fs::read_dir(folder)?.count() as u64),
                told => Ok(told),
            }
        };
        self.pids.iter().map(count).sum()
    }

    /// User memory of all processes, bytes.
    pub fn memory(&self) -> io::Result<UserMemory> {
        let mut sum = UserMemory::default();
        for pid in &self.pids {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            sum.rss += kib_line(&rollup, "Rss:").unwrap_or(0);
            sum.pss += kib_line(&rollup, "Pss:").unwrap_or(0);
            sum.private_dirty += kib_line(&rollup, "Private_Dirty:").unwrap_or(0);
            sum.huge += kib_line(&rollup, "AnonHugePages:").unwrap_or(0);
        }
        Ok(sum)
    }
}

/// Figures of `smaps_rollup`, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserMemory {
    /// Resident set size.
    pub rss: i64,
    /// Proportional set size.
    pub pss: i64,
    /// Pages only this process has, written to.
    pub private_dirty: i64,
    /// Of these, in transparent huge pages.
    pub huge: i64,
}

/// Name and parent from `/proc/PID/stat`. The name stands in brackets and may itself contain any character.
fn name_and_parent(stat: &str) -> Option<(&str, u32)> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let name = head.split_once('(')?.1;
    Some((name, tail.split_whitespace().nth(1)?.parse().ok()?))
}

/// Value of the line `name  123 kB`, bytes.
fn kib_line(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<i64>().ok()? * 1024)
}

/// Bytes of objects in use per slab cache of the whole machine. What is free in slabs that earlier work left open
/// does not count. Only root may ask.
pub fn slab_caches() -> io::Result<BTreeMap<String, i64>> {
    Ok(parse_slabinfo(&fs::read_to_string("/proc/slabinfo")?))
}

/// The kernel merges caches of like objects and lists them under one name: that name for `wanted`, if it can be
/// found among `caches`.
pub fn listed_name(wanted: &str, caches: &BTreeMap<String, i64>) -> Option<String> {
    if caches.contains_key(wanted) {
        return Some(wanted.to_owned());
    }
    let link = |name: &str| fs::read_link(format!("/sys/kernel/slab/{name}")).ok();
    let target = link(wanted)?;
    caches.keys().find(|name| link(name).as_ref() == Some(&target)).cloned()
}

fn parse_slabinfo(text: &str) -> BTreeMap<String, i64> {
    let cache = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let objects: i64 = words.next()?.parse().ok()?;
        let bytes: i64 = words.nth(1)?.parse().ok()?;
        Some((name, objects * bytes))
    };
    text.lines().filter_map(cache).collect()
}

/// Time the calling thread could have run but another had its core, nanoseconds so far. 0 where the kernel does
/// not tell.
pub fn thread_delay_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Time one core was busy with anything so far, nanoseconds, and time the hypervisor kept it from us. Resolution:
/// one clock tick.
pub fn core_busy_ns(core: usize) -> io::Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let (busy, stolen) = core_ticks(&stat, core).unwrap_or((0, 0));
    Ok((busy * sys::tick_ns(), stolen * sys::tick_ns()))
}

/// Busy (user, nice, system, irq, softirq) and stolen ticks of a `cpuN` line.
fn core_ticks(stat: &str, core: usize) -> Option<(u64, u64)> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find(|line| line.starts_with(&name))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq, stolen))
}

/// One-minute load average of the machine.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_names_may_hold_brackets_and_blanks() {
        assert_eq!(name_and_parent("12 (nginx) S 7 12 12 0"), Some(("nginx", 7)));
        assert_eq!(name_and_parent("12 (a) b (c) R 1) S 7 12"), Some(("a) b (c) R 1", 7)));
        assert_eq!(name_and_parent("12 nothing"), None);
    }

    #[test]
    fn this_process_runs_and_its_files_are_counted() {
        let own = std::process::id();
        let tree = ProcessTree::of(own, 0).unwrap();
        assert_eq!(tree.pids().first(), Some(&own));
        assert!(ProcessTree::is_running(own) && !ProcessTree::is_running(u32::MAX));
        let alone = ProcessTree { pids: vec![own], softirq_thread: None };
        let held: Vec<_> = (0..500).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(alone.open_files().unwrap() >= 500);
        drop(held);
        let memory = alone.memory().unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0, "{memory:?}");
    }

    #[test]
    fn threads_and_children_count_with_their_cpu_and_memory() {
        // A child, and a thread beside the main one, each of which works for 0.15 s and holds memory.
        let program = "import subprocess, sys, threading, time\n\
                       def work():\n\
                       \x20   global held\n\
                       \x20   held = b'x' * 20_000_000\n\
                       \x20   while time.thread_time() < 0.15: pass\n\
                       if len(sys.argv) == 1: child = subprocess.Popen([sys.executable, '-c', sys.stdin.read(), 'child'])\n\
                       thread = threading.Thread(target=work)\n\
                       thread.start(); thread.join()\n\
                       print('done', flush=True)\n\
                       time.sleep(30)\n";
        let mut command = std::process::Command::new("python3");
        command
            .args(["-c", program])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut input = server.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, program.as_bytes()).unwrap();
        drop(input);
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(server.stdout.take().unwrap()));
        for _ in 0..2 {
            assert_eq!(lines.next().unwrap().unwrap(), "done");
        }
        let tree = ProcessTree::of(server.id(), 0).unwrap();
        let (cpu, _) = tree.cpu_ns().unwrap();
        let memory = tree.memory().unwrap();
        for pid in tree.pids().iter().rev() {
            let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
        }
        server.wait().unwrap();
        assert_eq!(tree.pids().len(), 2);
        assert!(cpu >= 300_000_000, "{cpu}");
        assert!(memory.pss >= 40_000_000, "{memory:?}");
    }

    #[test]
    fn slab_caches_are_objects_times_size() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
                    io_kiocb 10 16 256 16 1 : tunables 0 0 0 : slabdata 1 1 0\n\
                    TCP 26 39 2368 13 8 : tunables 0 0 0 : slabdata 3 3 0\n";
        let caches = parse_slabinfo(text);
        assert_eq!(caches.get("io_kiocb"), Some(&2560));
        assert_eq!(caches.get("TCP"), Some(&(26 * 2368)));
        assert_eq!(caches.len(), 2);
    }

    #[test]
    fn core_lines_are_told_apart() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 2 3 90 5 6 7 8 0 0\ncpu10 0 0 0 0 0 0 0 1 0 0\n";
        assert_eq!(core_ticks(stat, 1), Some((1 + 2 + 3 + 6 + 7, 8)));
        assert_eq!(core_ticks(stat, 10), Some((0, 1)));
        assert_eq!(core_ticks(stat, 0), None);
    }

    #[test]
    fn smaps_lines_are_found_by_their_whole_name() {
        let rollup = "Pss_Dirty:  8 kB\nPss:   384 kB\nPrivate_Dirty:  112 kB\n";
        assert_eq!(kib_line(rollup, "Pss:"), Some(384 * 1024));
        assert_eq!(kib_line(rollup, "AnonHugePages:"), None);
    }
}
