//! Scenario `idle`: what a connection costs while nothing happens on it.

use crate::client::{Subscriber, source_address};
use crate::options::{Channels, IdleArgs, Setup};
use crate::procfs::{self, ProcessTree, UserMemory};
use crate::report::{JsonLine, progress, table};
use crate::server::Server;
use crate::sys::Received;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Connections before the first look: first-use memory is not theirs alone.
const WARM_UP_CONNECTIONS: usize = 200;
/// One look at whether things are quiet.
const QUIET_STEP: Duration = Duration::from_millis(400);
/// Steps until the server counts as never quiet.
const QUIET_STEPS: usize = 40;
/// A server that takes less of a step than this is quiet, nanoseconds.
const QUIET_CPU_NS: u64 = 4_000_000;
/// Kernel memory that moves less than this in a step is quiet, bytes.
const QUIET_KERNEL_BYTES: i64 = 64 * 1024;
/// Both ends of a connection on loopback own one of each.
const SOCKET_CACHES: [&str; 5] = ["TCP", "TCPv6", "sock_inode_cache", "filp", "dentry"];
/// What waiting for a socket costs the server: requests of io_uring, entries of epoll.
const WAIT_CACHES: [&str; 4] = ["io_kiocb", "eventpoll_epi", "eventpoll_pwq", "ep_head"];
/// Other caches are listed from this many bytes per connection on.
const LISTED_BYTES: f64 = 4.0;
/// Totals that `kernel_memory` tells besides the caches.
const TOTALS: [&str; 3] = ["Slab", "VmallocUsed", "PageTables"];

struct Snapshot {
    user: UserMemory,
    /// None where /proc/slabinfo may not be read.
    kernel: Option<BTreeMap<String, i64>>,
}

/// Growth per connection, bytes.
struct Growth {
    pss: f64,
    private_dirty: f64,
    kernel: BTreeMap<String, f64>,
}

/// Runs the scenario.
pub fn run(args: &IdleArgs) -> Result<(), String> {
    if args.subscribers == 0 || !(0.1..=3600.0).contains(&args.seconds) {
        return Err("--subscribers must be at least 1, --seconds between 0.1 and 3600".to_owned());
    }
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(args.subscribers + WARM_UP_CONNECTIONS)?;
    let mut server = setup.server()?;
    let mut connections = Vec::with_capacity(args.subscribers + WARM_UP_CONNECTIONS);
    connect(&mut connections, WARM_UP_CONNECTIONS, args, &mut server)?;
    let processes = server.processes()?;
    let before = quiet_snapshot(&processes)?;
    let begun = Instant::now();
    connect(&mut connections, args.subscribers, args, &mut server)?;
    let connect_us = begun.elapsed().as_secs_f64() * 1e6 / args.subscribers as f64;
    let after = quiet_snapshot(&processes)?;
    progress(&format!("idle for {} s", args.seconds));
    let cpu_share = idle_cpu_share(&processes, args.seconds)?;
    let gone = count_gone(&connections)?;
    server.check_alive()?;
    if gone > 0 {
        return Err(format!(
            "{gone} of {} connections were closed by the server while idle",
            connections.len()
        ));
    }
    let growth = growth(&before, &after, args.subscribers);
    if args.server.json {
        println!("{}", json(&server, args, &growth, after.user.huge, cpu_share));
    } else {
        print_results(&server, args, &growth, &after, cpu_share, connect_us);
    }
    Ok(())
}

fn connect(
    all: &mut Vec<Subscriber>,
    count: usize,
    args: &IdleArgs,
    server: &mut Server,
) -> Result<(), String> {
    for added in 1..=count {
        let index = all.len();
        let path = match args.channels {
            Channels::One => args.path.clone(),
            Channels::Each => format!("{}-{index}", args.path),
        };
        let source = source_address(server.address, index, args.sources);
        match Subscriber::connect(source, server.address, &path) {
            Ok(subscriber) => all.push(subscriber),
            Err(error) => {
                server.check_alive()?;
                return Err(format!("connection {index}: {error}"));
            }
        }
        if added % 3000 == 0 {
            progress(&format!("{}: {added} of {count} connections", server.name));
        }
    }
    Ok(())
}

/// Memory once the server and the kernel have come to rest.
fn quiet_snapshot(processes: &ProcessTree) -> Result<Snapshot, String> {
    let cpu = || processes.cpu_ns().map(|(own, _)| own).map_err(|e| format!("CPU time of the server: {e}"));
    let slab = |kernel: &Option<BTreeMap<String, i64>>| {
        kernel.as_ref().and_then(|caches| caches.get("Slab")).copied().unwrap_or(0)
    };
    let mut kernel = procfs::kernel_memory().ok();
    let mut cpu_before = cpu()?;
    for _ in 0..QUIET_STEPS {
        sleep(QUIET_STEP);
        let (kernel_now, cpu_now) = (procfs::kernel_memory().ok(), cpu()?);
        let calm = (slab(&kernel_now) - slab(&kernel)).abs() < QUIET_KERNEL_BYTES;
        let quiet = calm && cpu_now.saturating_sub(cpu_before) < QUIET_CPU_NS;
        (kernel, cpu_before) = (kernel_now, cpu_now);
        if quiet {
            let user = processes.memory().map_err(|e| format!("memory of the server: {e}"))?;
            return Ok(Snapshot { user, kernel });
        }
    }
    Err(format!("the server did not come to rest within {:?}", QUIET_STEP * QUIET_STEPS as u32))
}

fn idle_cpu_share(processes: &ProcessTree, seconds: f64) -> Result<f64, String> {
    let cpu = || processes.cpu_ns().map(|(own, softirq)| own + softirq).map_err(|e| e.to_string());
    let (before, begun) = (cpu()?, Instant::now());
    sleep(Duration::from_secs_f64(seconds));
    Ok((cpu()? - before) as f64 / begun.elapsed().as_nanos() as f64)
}

fn count_gone(connections: &[Subscriber]) -> Result<usize, String> {
    let mut buffer = [0; 1024];
    let mut gone = 0;
    for connection in connections {
        // Pings may have come; only an end counts. A close frame is followed by one.
        while let Ok(Received::Bytes(_)) = connection.receive(&mut buffer) {}
        if connection.receive(&mut buffer) != Ok(Received::Nothing) {
            gone += 1;
        }
    }
    Ok(gone)
}

fn growth(before: &Snapshot, after: &Snapshot, connections: usize) -> Growth {
    let each = |bytes: i64| bytes as f64 / connections as f64;
    let mut kernel = BTreeMap::new();
    if let (Some(before), Some(after)) = (&before.kernel, &after.kernel) {
        for (name, bytes) in after {
            kernel.insert(name.clone(), each(bytes - before.get(name).unwrap_or(&0)));
        }
    }
    Growth {
        pss: each(after.user.pss - before.user.pss),
        private_dirty: each(after.user.private_dirty - before.user.private_dirty),
        kernel,
    }
}

impl Growth {
    fn sum(&self, names: &[&str]) -> f64 {
        names.iter().filter_map(|name| self.kernel.get(*name)).sum()
    }

    fn slab(&self) -> f64 {
        self.sum(&["Slab"])
    }

    /// Server's half of the sockets, and what waits for them.
    fn server_kernel(&self) -> f64 {
        self.sum(&SOCKET_CACHES) / 2.0 + self.sum(&WAIT_CACHES)
    }

    /// Caches that are neither sockets nor waits, with bytes worth telling.
    fn others(&self) -> impl Iterator<Item = (&str, f64)> {
        let known =
            |name: &str| [&SOCKET_CACHES[..], &WAIT_CACHES, &TOTALS].iter().any(|list| list.contains(&name));
        let caches = self.kernel.iter().map(|(name, bytes)| (name.as_str(), *bytes));
        caches.filter(move |(name, bytes)| !known(name) && bytes.abs() >= LISTED_BYTES)
    }
}

fn print_results(
    server: &Server,
    args: &IdleArgs,
    growth: &Growth,
    after: &Snapshot,
    share: f64,
    connect_us: f64,
) {
    let channels = match args.channels {
        Channels::One => "one channel",
        Channels::Each => "a channel each",
    };
    println!(
        "{}: {} idle WebSocket connections, {channels}; bytes per connection",
        server.name, args.subscribers
    );
    let row = |name: &str, bytes: f64| vec![name.to_owned(), format!("{bytes:.0}")];
    let mut rows = vec![
        row("user memory of the server (PSS)", growth.pss),
        row("  of it private and dirty", growth.private_dirty),
    ];
    if growth.kernel.is_empty() {
        rows.push(vec!["kernel".to_owned(), "not told: /proc/slabinfo needs root".to_owned()]);
    } else {
        rows.push(row("kernel, waiting for input (server only)", growth.sum(&WAIT_CACHES)));
        for name in WAIT_CACHES.iter().filter(|name| growth.sum(&[name]) != 0.0) {
            rows.push(row(&format!("  {name}"), growth.sum(&[name])));
        }
        rows.push(row("kernel, sockets of both ends", growth.sum(&SOCKET_CACHES)));
        for (name, bytes) in growth.others() {
            rows.push(row(&format!("kernel, {name} (not told apart by end)"), bytes));
        }
        rows.push(row("kernel, all slab memory", growth.slab()));
        rows.push(row(
            "sum of the server's end (user + wait + half the sockets)",
            growth.pss + growth.server_kernel(),
        ));
        rows.push(row("sum of both ends (user of the server + all slab)", growth.pss + growth.slab()));
    }
    print!("{}", table(&rows));
    if after.user.huge > 0 {
        println!(
            "{} KiB of it lie in transparent huge pages: user memory is in steps of 2 MiB",
            after.user.huge / 1024
        );
    } else {
        println!("no transparent huge pages");
    }
    println!(
        "idle CPU {:.3} % of a core over {} s; connect and handshake {connect_us:.0} us each, one by one",
        share * 100.0,
        args.seconds
    );
}

fn json(server: &Server, args: &IdleArgs, growth: &Growth, huge: i64, share: f64) -> String {
    let mut line = JsonLine::new("idle", &server.name)
        .number("connections", args.subscribers as f64)
        .text("channels", if args.channels == Channels::One { "one" } else { "each" })
        .number("user_pss_bytes", growth.pss)
        .number("user_private_dirty_bytes", growth.private_dirty)
        .number("anon_huge_bytes_total", huge as f64);
    if !growth.kernel.is_empty() {
        line = line
            .number("kernel_wait_bytes", growth.sum(&WAIT_CACHES))
            .number("kernel_sockets_both_ends_bytes", growth.sum(&SOCKET_CACHES))
            .number("kernel_slab_bytes", growth.slab())
            .number("server_end_bytes", growth.pss + growth.server_kernel())
            .number("both_ends_bytes", growth.pss + growth.slab());
        for name in WAIT_CACHES {
            line = line.number(&format!("{name}_bytes"), growth.sum(&[name]));
        }
        for (name, bytes) in growth.others() {
            line = line.number(&format!("slab_{name}_bytes"), bytes);
        }
    }
    line.number("idle_cpu_share", share).end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(pss: i64, caches: &[(&str, i64)]) -> Snapshot {
        let kernel = caches.iter().map(|(name, bytes)| (name.to_string(), *bytes)).collect();
        Snapshot { user: UserMemory { pss, private_dirty: pss, huge: 0 }, kernel: Some(kernel) }
    }

    #[test]
    fn the_clients_half_of_the_sockets_is_not_the_servers() {
        let before = snapshot(1000, &[("TCP", 0), ("Slab", 0), ("kmalloc-64", 10)]);
        let after = snapshot(
            3000,
            &[("TCP", 48_000), ("filp", 4000), ("io_kiocb", 2560), ("Slab", 60_000), ("kmalloc-64", 650)],
        );
        let growth = growth(&before, &after, 10);
        assert_eq!((growth.pss, growth.slab()), (200.0, 6000.0));
        assert_eq!(growth.server_kernel(), (4800.0 + 400.0) / 2.0 + 256.0);
        assert_eq!(growth.others().collect::<Vec<_>>(), [("kmalloc-64", 64.0)]);
    }
}
