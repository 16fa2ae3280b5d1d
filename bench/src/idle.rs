//! Scenario `idle`: what a connection costs while nothing happens on it.
//!
//! Kernel memory is told for the whole machine only, and caches of like objects are merged under one name. So the same
//! number of connections is first made to a program that only accepts them: what the server's connections have above
//! that is the server's own.

use crate::client::{Subscriber, source_address};
use crate::options::{Channels, IdleArgs, Setup};
use crate::procfs::{self, ProcessTree, UserMemory};
use crate::report::{self, JsonLine, progress, table};
use crate::server::{self, Server};
use crate::sys::{self, Received};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
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
/// Objects of both ends of a connection on loopback, and so of the client by half.
const SOCKET_CACHES: [&str; 7] =
    ["TCP", "TCPv6", "sock_inode_cache", "filp", "dentry", "lsm_inode_cache", "lsm_file_cache"];
/// What waiting for a socket costs the server: requests of io_uring, entries of epoll.
const WAIT_CACHES: [&str; 4] = ["io_kiocb", "eventpoll_epi", "eventpoll_pwq", "ep_head"];
/// Other caches are listed from this many bytes per connection on.
const LISTED_BYTES: f64 = 8.0;

/// Bytes in use per slab cache; empty where /proc/slabinfo may not be read.
type Caches = BTreeMap<String, i64>;
/// Bytes per connection.
type PerConnection = BTreeMap<String, f64>;

/// Growth per connection, bytes.
struct Growth {
    pss: f64,
    private_dirty: f64,
    /// Kernel memory of a connection to the server.
    kernel: PerConnection,
    /// Kernel memory of a connection that was only accepted.
    bare: PerConnection,
    /// Under which name the kernel lists each of [`WAIT_CACHES`].
    wait_names: Vec<(&'static str, String)>,
}

/// Runs the scenario.
pub fn run(args: &IdleArgs) -> Result<(), String> {
    if args.subscribers == 0 || !(0.1..=3600.0).contains(&args.seconds) {
        return Err("--subscribers must be at least 1, --seconds between 0.1 and 3600".to_owned());
    }
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(args.subscribers + WARM_UP_CONNECTIONS)?;
    let bare = measure_bare(args, setup.server_core)?;
    let mut server = setup.server(&[])?;
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
    let growth = Growth::new(&before, &after, bare, args.subscribers);
    report::emit(json(&server, args, &growth, after.0.huge, cpu_share), args.server.json);
    if !args.server.json {
        print_results(&server, args, &growth, after.0.huge, cpu_share, connect_us);
    }
    Ok(())
}

/// Accepts on 127.0.0.1:`port` and holds what it has accepted, until the process is ended.
pub fn run_bare(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut held = Vec::new();
    loop {
        held.push(listener.accept()?.0);
    }
}

/// Kernel memory per connection that is only accepted.
fn measure_bare(args: &IdleArgs, core: usize) -> Result<PerConnection, String> {
    let address = server::free_address()?;
    let server = Server::start("bare sockets", server::bare(address)?, address, core)?;
    let processes = server.processes()?;
    let open = |from: usize, count: usize| -> Result<Vec<OwnedFd>, String> {
        (from..from + count).map(|index| connect_bare(address, index, args.sources)).collect()
    };
    let _warm = open(0, WARM_UP_CONNECTIONS)?;
    let before = quiet_snapshot(&processes)?.1;
    progress(&format!("bare sockets: {} connections", args.subscribers));
    let _held = open(WARM_UP_CONNECTIONS, args.subscribers)?;
    let after = quiet_snapshot(&processes)?.1;
    Ok(per_connection(&before, &after, args.subscribers))
}

fn connect_bare(address: SocketAddrV4, index: usize, sources: usize) -> Result<OwnedFd, String> {
    let connect = || {
        let socket = sys::connect_from(source_address(address, index, sources), address)?;
        sys::reset_on_close(socket.as_raw_fd())?;
        Ok(socket)
    };
    connect().map_err(|e: io::Error| format!("bare connection {index}: {e}"))
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
            Ok(subscriber) => {
                sys::reset_on_close(subscriber.fd()).map_err(|e| e.to_string())?;
                all.push(subscriber);
            }
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

/// Memory once the server and the kernel's sockets have come to rest.
fn quiet_snapshot(processes: &ProcessTree) -> Result<(UserMemory, Caches), String> {
    let cpu = || processes.cpu_ns().map(|(own, _)| own).map_err(|e| format!("CPU time of the server: {e}"));
    let caches = || procfs::slab_caches().unwrap_or_default();
    let (mut kernel, mut cpu_before) = (caches(), cpu()?);
    for _ in 0..QUIET_STEPS {
        sleep(QUIET_STEP);
        let (kernel_now, cpu_now) = (caches(), cpu()?);
        let calm = kernel.get("TCP") == kernel_now.get("TCP");
        let quiet = calm && cpu_now.saturating_sub(cpu_before) < QUIET_CPU_NS;
        (kernel, cpu_before) = (kernel_now, cpu_now);
        if quiet {
            let user = processes.memory().map_err(|e| format!("memory of the server: {e}"))?;
            return Ok((user, kernel));
        }
    }
    Err(format!("the server did not come to rest within {:?}", QUIET_STEP * QUIET_STEPS as u32))
}

fn per_connection(before: &Caches, after: &Caches, connections: usize) -> PerConnection {
    let each =
        |name: &String, bytes: &i64| (bytes - before.get(name).unwrap_or(&0)) as f64 / connections as f64;
    after.iter().map(|(name, bytes)| (name.clone(), each(name, bytes))).collect()
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

impl Growth {
    fn new(
        before: &(UserMemory, Caches),
        after: &(UserMemory, Caches),
        bare: PerConnection,
        connections: usize,
    ) -> Growth {
        let each = |bytes: i64| bytes as f64 / connections as f64;
        let wait_names = WAIT_CACHES
            .iter()
            .filter_map(|name| Some((*name, procfs::listed_name(name, &after.1)?)))
            .collect();
        Growth {
            pss: each(after.0.pss - before.0.pss),
            private_dirty: each(after.0.private_dirty - before.0.private_dirty),
            kernel: per_connection(&before.1, &after.1, connections),
            bare,
            wait_names,
        }
    }

    /// Sockets of both ends.
    fn sockets(&self) -> f64 {
        SOCKET_CACHES.iter().filter_map(|name| self.kernel.get(*name)).sum()
    }

    /// What a cache has above that of a bare connection.
    fn above_bare(&self, listed: &str) -> f64 {
        self.kernel.get(listed).unwrap_or(&0.0) - self.bare.get(listed).unwrap_or(&0.0)
    }

    /// The server's cost of waiting for input, by kind.
    fn waits(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.wait_names.iter().map(|(name, listed)| (*name, self.above_bare(listed)))
    }

    fn wait(&self) -> f64 {
        self.waits().map(|(_, bytes)| bytes).sum()
    }

    fn server_end(&self) -> f64 {
        self.pss + self.wait() + self.sockets() / 2.0
    }

    fn both_ends(&self) -> f64 {
        self.pss + self.wait() + self.sockets()
    }

    /// Caches that are neither sockets nor waits and have bytes worth telling above a bare connection.
    fn others(&self) -> impl Iterator<Item = (&str, f64)> {
        let known = |name: &str| {
            SOCKET_CACHES.contains(&name) || self.wait_names.iter().any(|(_, listed)| listed == name)
        };
        let caches = self.kernel.keys().map(|name| (name.as_str(), self.above_bare(name)));
        caches.filter(move |(name, bytes)| !known(name) && bytes.abs() >= LISTED_BYTES)
    }
}

fn print_results(server: &Server, args: &IdleArgs, growth: &Growth, huge: i64, share: f64, connect_us: f64) {
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
        rows.push(row("kernel, the server's waiting for input", growth.wait()));
        rows.extend(growth.waits().map(|(name, bytes)| row(&format!("  {name}"), bytes)));
        rows.push(row("kernel, sockets of both ends", growth.sockets()));
        rows.push(row("server's end: user + waiting + half the sockets", growth.server_end()));
        rows.push(row("both ends: user + waiting + sockets", growth.both_ends()));
    }
    print!("{}", table(&rows));
    let others: Vec<_> = growth.others().map(|(name, bytes)| format!("{name} {bytes:+.0}")).collect();
    if !others.is_empty() {
        println!(
            "other kernel caches, against bare sockets (whatever else runs moves them): {}",
            others.join(", ")
        );
    }
    if huge > 0 {
        println!("{} KiB in transparent huge pages: user memory moves in steps of 2 MiB", huge / 1024);
    } else {
        println!("no transparent huge pages (AnonHugePages 0)");
    }
    let percent = share * 100.0;
    println!("idle CPU {percent:.3} % of a core over {} s", args.seconds);
    println!("connect and handshake {connect_us:.0} us each, one by one");
}

fn json(server: &Server, args: &IdleArgs, growth: &Growth, huge: i64, share: f64) -> JsonLine {
    let mut line = JsonLine::new("idle", &server.name)
        .number("connections", args.subscribers as f64)
        .text("channels", if args.channels == Channels::One { "one" } else { "each" })
        .number("user_pss_bytes", growth.pss)
        .number("user_private_dirty_bytes", growth.private_dirty)
        .number("anon_huge_bytes_total", huge as f64)
        .number("idle_cpu_share", share);
    if !growth.kernel.is_empty() {
        line = line
            .number("kernel_wait_bytes", growth.wait())
            .number("kernel_sockets_both_ends_bytes", growth.sockets())
            .number("server_end_bytes", growth.server_end())
            .number("both_ends_bytes", growth.both_ends());
        for (name, bytes) in growth.waits() {
            line = line.number(&format!("{name}_bytes"), bytes);
        }
        for (name, bytes) in growth.others() {
            line = line.number(&format!("other_{name}_bytes"), bytes);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches(list: &[(&str, i64)]) -> Caches {
        list.iter().map(|(name, bytes)| (name.to_string(), *bytes)).collect()
    }

    #[test]
    fn only_what_is_above_bare_sockets_is_the_servers() {
        let memory = |pss| UserMemory { pss, private_dirty: pss, huge: 0 };
        let before = (memory(1000), caches(&[("TCP", 500), ("eventpoll_epi", 100)]));
        let now = [
            ("TCP", 48_500),
            ("filp", 4000),
            ("io_kiocb", 2560),
            ("eventpoll_epi", 2660),
            ("kmalloc-64", 640),
        ];
        let after = (memory(3000), caches(&now));
        // The merged cache holds the client's own objects too, in both runs.
        let bare = per_connection(&caches(&[]), &caches(&[("eventpoll_epi", 1280)]), 10);
        let growth = Growth::new(&before, &after, bare, 10);
        assert_eq!((growth.pss, growth.sockets()), (200.0, 5200.0));
        assert_eq!(growth.wait(), 256.0 + (256.0 - 128.0));
        assert_eq!(growth.server_end(), 200.0 + 384.0 + 2600.0);
        assert_eq!(growth.both_ends(), 200.0 + 384.0 + 5200.0);
        assert_eq!(growth.others().collect::<Vec<_>>(), [("kmalloc-64", 64.0)]);
    }
}
