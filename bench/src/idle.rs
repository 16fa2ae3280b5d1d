//! Scenario `idle`: what a connection costs while nothing happens on it.
//!
//! Kernel memory is told for the whole machine only, and caches of like objects are merged under one name. So the same
//! number of connections is first made to a program that only accepts them: what the server's connections have above
//! that is the server's own.

mod compared;
mod pongs;

use crate::client::{Subscriber, source_address};
use crate::contest::explain;
use crate::locations::Locations;
use crate::options::{CHANNEL, Channels, IdleArgs, Setup};
use crate::peers::Peer;
use crate::procfs::{self, ProcessTree, UserMemory};
use crate::report::{self, JsonLine, progress, table};
use crate::server::{self, Server};
use crate::sys;
use crate::vitals::ConfigFile;
use crate::watchdog;
use crate::wire::{App, Dialect, Wire};
use pongs::Pongs;
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
/// Connections between two looks at whether the first of them have been pinged.
const SWEEP_EVERY: usize = 1000;
/// Ping intervals looked at: two, and what the server's timers and the pongs take.
const PING_INTERVALS: f64 = 2.2;
/// Time for a pong, seconds, where the interval is not shorter.
const PONG_TIMEOUT_S: f64 = 10.0;
/// Share of a core that idle connections with pings may take unless told otherwise, percent.
const PINGS_MAX_CPU_PERCENT: f64 = 1.0;
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

/// CPU and pings while nothing else happened.
struct Calm {
    seconds: f64,
    /// Of the server and its core's ksoftirqd, share of a core.
    cpu_share: f64,
    /// Fewest and most pings of a connection, and those of all.
    pings: (u32, u32, u64),
}

/// What was measured of one server.
struct Measured {
    growth: Growth,
    /// In transparent huge pages at the end, bytes.
    huge: i64,
    calm: Calm,
    /// Connect and handshake of one connection, microseconds.
    connect_us: f64,
    /// Whether it came to rest, or polls.
    rested: bool,
}

/// Runs the scenario.
pub fn run(args: &IdleArgs) -> Result<(), String> {
    let (setup, bare) = prepare(args)?;
    let (server, measured) = measure_own(args, &setup, bare)?;
    let Measured { growth, huge, calm, connect_us, .. } = &measured;
    report::emit(json(&server, args, growth, *huge, calm), args.server.json);
    if !args.server.json {
        print_results(&server, args, growth, *huge, calm, *connect_us);
    }
    judge(args, calm)
}

/// Measures the server of the options, and then each of `peers`, one at a time. Returns which peers could not be, and
/// why.
pub fn compare(args: &IdleArgs, peers: &[Peer]) -> Result<Vec<(String, String)>, String> {
    let (setup, bare) = prepare(args)?;
    let (own, measured) = measure_own(args, &setup, bare)?;
    let mut all = vec![(own.name.clone(), measured)];
    drop(own);
    let mut failed = Vec::new();
    for peer in peers {
        let wire = |index| {
            let own = format!("{CHANNEL}-{index}");
            let channel = if args.channels == Channels::One { CHANNEL } else { &own };
            Wire::of(peer.dialect, channel, &App::default())
        };
        watchdog::plan(Duration::from_secs_f64(calm_seconds(args)));
        // Anew, close to what it is subtracted from: the whole machine moves the kernel's figures.
        let bare = measure_bare(args, setup.server_core)?;
        let measured = peer.start(setup.server_core).and_then(|mut server| {
            measure(args, &mut server, &wire, bare, true).map_err(|error| explain(&mut server, error))
        });
        match measured {
            Ok(measured) => all.push((peer.name.clone(), measured)),
            Err(reason) => failed.push((peer.name.clone(), reason)),
        }
    }
    compared::print(&all, args);
    Ok(failed)
}

/// Refuses options that make no measurement; pins this thread, and measures sockets without a server.
fn prepare(args: &IdleArgs) -> Result<(Setup, PerConnection), String> {
    if args.subscribers == 0 || !(0.1..=3600.0).contains(&args.seconds) {
        return Err("--subscribers must be at least 1, --seconds between 0.1 and 3600".to_owned());
    }
    if !(0.5..=3600.0).contains(&args.ping_interval) {
        return Err("--ping-interval must lie between 0.5 and 3600".to_owned());
    }
    if args.pings && args.dialect != Dialect::Relay {
        return Err("--pings is for the relay: the node's other dialects have pings of their own".to_owned());
    }
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(args.subscribers + WARM_UP_CONNECTIONS)?;
    watchdog::plan(Duration::from_secs_f64(calm_seconds(args)));
    let bare = measure_bare(args, setup.server_core)?;
    Ok((setup, bare))
}

/// Length of the look at idle CPU, seconds.
fn calm_seconds(args: &IdleArgs) -> f64 {
    if args.pings { args.seconds.max(args.ping_interval * PING_INTERVALS) } else { args.seconds }
}

fn measure_own(args: &IdleArgs, setup: &Setup, bare: PerConnection) -> Result<(Server, Measured), String> {
    let config = if args.pings { Some(ping_config(args.ping_interval)?) } else { None };
    let wire = |index| own_wire(args, index);
    let mut server = match &config {
        Some(config) => setup.server(&["--config", &config.path()])?,
        None => setup.server_with(&Locations::of(&[wire(0)]), &[])?,
    };
    let measured = measure(args, &mut server, &wire, bare, false);
    let measured = measured.map_err(|error| explain(&mut server, error))?;
    Ok((server, measured))
}

/// What connection number `index` to the server of the options speaks.
fn own_wire(args: &IdleArgs, index: usize) -> Wire {
    let name = |base: &str| match args.channels {
        Channels::One => base.to_owned(),
        Channels::Each => format!("{base}-{index}"),
    };
    match args.dialect {
        Dialect::Relay => Wire::relay(&name(&args.path)),
        dialect => Wire::of(dialect, &name(CHANNEL), &args.app.app()),
    }
}

/// Measures one server; connection number `index` speaks `wire(index)`. One that `polls` need not come to rest.
fn measure(
    args: &IdleArgs,
    server: &mut Server,
    wire: &dyn Fn(usize) -> Wire,
    bare: PerConnection,
    polls: bool,
) -> Result<Measured, String> {
    let mut connections = Vec::with_capacity(args.subscribers + WARM_UP_CONNECTIONS);
    let mut pongs = Pongs::new(&wire(0));
    connect(&mut connections, WARM_UP_CONNECTIONS, args, wire, server, &mut pongs)?;
    let processes = server.processes()?;
    let (before, _) = quiet_snapshot(&processes, polls, || pongs.sweep(&connections))?;
    let begun = Instant::now();
    connect(&mut connections, args.subscribers, args, wire, server, &mut pongs)?;
    let connect_us = begun.elapsed().as_secs_f64() * 1e6 / args.subscribers as f64;
    let (after, rested) = quiet_snapshot(&processes, polls, || pongs.sweep(&connections))?;
    let seconds = calm_seconds(args);
    progress(&format!("{}: idle for {seconds:.0} s", server.name));
    let calm = stay_calm(&processes, &connections, &mut pongs, seconds)?;
    server.check_alive()?;
    let growth = Growth::new(&before, &after, bare, args.subscribers);
    Ok(Measured { growth, huge: after.0.huge, calm, connect_us, rested })
}

/// The node's configuration for pings every `interval` seconds.
fn ping_config(interval: f64) -> Result<ConfigFile, String> {
    let ms = |seconds: f64| (seconds * 1e3) as u64;
    let text = format!(
        "[limits]\nwebsocket_ping_interval = \"{}ms\"\nwebsocket_pong_timeout = \"{}ms\"\n",
        ms(interval),
        ms(interval.min(PONG_TIMEOUT_S))
    );
    ConfigFile::new("idle", &text)
}

/// Does nothing but answer pings.
fn stay_calm(
    processes: &ProcessTree,
    connections: &[Subscriber],
    pongs: &mut Pongs,
    seconds: f64,
) -> Result<Calm, String> {
    // What has come meanwhile, and the first wake-ups, are not counted.
    pongs.sweep(connections)?;
    pongs.listen(connections)?;
    pongs.serve(connections, QUIET_STEP, |_| ())?;
    pongs.forget();
    let cpu = || processes.cpu_ns().map(|(own, softirq)| own + softirq).map_err(|e| e.to_string());
    watchdog::phase("idle, seconds", seconds.ceil() as usize);
    let (before, begun) = (cpu()?, Instant::now());
    pongs.serve(connections, Duration::from_secs_f64(seconds), |at| watchdog::at(at.as_secs() as usize))?;
    let cpu_share = (cpu()? - before) as f64 / begun.elapsed().as_nanos() as f64;
    // Whoever was thrown out at the very end.
    pongs.sweep(connections)?;
    Ok(Calm { seconds, cpu_share, pings: pongs.pings(connections.len()) })
}

fn judge(args: &IdleArgs, calm: &Calm) -> Result<(), String> {
    let (fewest, ..) = calm.pings;
    if args.pings && fewest < 2 {
        return Err(format!(
            "some connection was pinged {fewest} times in {:.0} s: the server does not ping every {} s",
            calm.seconds, args.ping_interval
        ));
    }
    let most = args.max_cpu.or(args.pings.then_some(PINGS_MAX_CPU_PERCENT));
    let percent = calm.cpu_share * 100.0;
    match most.filter(|most| percent > *most) {
        Some(most) => Err(format!("idle CPU is {percent:.3} % of a core, --max-cpu allows {most}")),
        None => Ok(()),
    }
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
        let connect = |index| {
            watchdog::at(index - from);
            connect_bare(address, index, args.sources)
        };
        (from..from + count).map(connect).collect()
    };
    let _warm = open(0, WARM_UP_CONNECTIONS)?;
    let before = quiet_snapshot(&processes, false, || Ok(()))?.0.1;
    progress(&format!("bare sockets: {} connections", args.subscribers));
    watchdog::phase("bare sockets: connections", args.subscribers);
    let _held = open(WARM_UP_CONNECTIONS, args.subscribers)?;
    let after = quiet_snapshot(&processes, false, || Ok(()))?.0.1;
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
    wire: &dyn Fn(usize) -> Wire,
    server: &mut Server,
    pongs: &mut Pongs,
) -> Result<(), String> {
    watchdog::phase(&format!("{}: connections", server.name), count);
    for added in 1..=count {
        let index = all.len();
        let source = source_address(server.address, index, args.sources);
        match Subscriber::open(source, server.address, &wire(index)) {
            Ok(subscriber) => {
                sys::reset_on_close(subscriber.fd()).map_err(|e| e.to_string())?;
                all.push(subscriber);
            }
            Err(error) => {
                server.check_alive()?;
                return Err(format!("connection {index}: {error}"));
            }
        }
        watchdog::at(added);
        if added % SWEEP_EVERY == 0 {
            pongs.sweep(all)?;
        }
    }
    Ok(())
}

/// Memory once the server and the kernel's sockets have come to rest, and whether they have: one that `polls` is taken as
/// it is after a while. `look` is called meanwhile.
fn quiet_snapshot(
    processes: &ProcessTree,
    polls: bool,
    mut look: impl FnMut() -> Result<(), String>,
) -> Result<((UserMemory, Caches), bool), String> {
    let cpu = || processes.cpu_ns().map(|(own, _)| own).map_err(|e| format!("CPU time of the server: {e}"));
    let caches = || procfs::slab_caches().unwrap_or_default();
    let (mut kernel, mut cpu_before) = (caches(), cpu()?);
    watchdog::phase("the server and the kernel's sockets come to rest", 0);
    for _ in 0..QUIET_STEPS {
        sleep(QUIET_STEP);
        look()?;
        let (kernel_now, cpu_now) = (caches(), cpu()?);
        let calm = kernel.get("TCP") == kernel_now.get("TCP");
        let quiet = calm && cpu_now.saturating_sub(cpu_before) < QUIET_CPU_NS;
        (kernel, cpu_before) = (kernel_now, cpu_now);
        if quiet {
            let user = processes.memory().map_err(|e| format!("memory of the server: {e}"))?;
            return Ok(((user, kernel), true));
        }
    }
    if polls {
        let user = processes.memory().map_err(|e| format!("memory of the server: {e}"))?;
        return Ok(((user, kernel), false));
    }
    Err(format!("the server did not come to rest within {:?}", QUIET_STEP * QUIET_STEPS as u32))
}

fn per_connection(before: &Caches, after: &Caches, connections: usize) -> PerConnection {
    let each =
        |name: &String, bytes: &i64| (bytes - before.get(name).unwrap_or(&0)) as f64 / connections as f64;
    after.iter().map(|(name, bytes)| (name.clone(), each(name, bytes))).collect()
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
        // The sum of nothing would be -0.
        self.waits().fold(0.0, |sum, (_, bytes)| sum + bytes)
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

fn print_results(server: &Server, args: &IdleArgs, growth: &Growth, huge: i64, calm: &Calm, connect_us: f64) {
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
    let percent = calm.cpu_share * 100.0;
    println!("idle CPU {percent:.3} % of a core over {:.0} s", calm.seconds);
    let (fewest, most, all) = calm.pings;
    if all > 0 {
        println!("{all} pings in that time, {fewest} to {most} per connection, all answered");
    } else {
        println!("no ping in that time; --pings looks for longer");
    }
    println!("connect and handshake {connect_us:.0} us each, one by one");
}

fn json(server: &Server, args: &IdleArgs, growth: &Growth, huge: i64, calm: &Calm) -> JsonLine {
    let mut line = JsonLine::new("idle", &server.name)
        .number("connections", args.subscribers as f64)
        .text("channels", if args.channels == Channels::One { "one" } else { "each" })
        .number("user_pss_bytes", growth.pss)
        .number("user_private_dirty_bytes", growth.private_dirty)
        .number("anon_huge_bytes_total", huge as f64)
        .number("idle_seconds", calm.seconds)
        .number("idle_cpu_share", calm.cpu_share)
        .number("idle_cpu_percent", calm.cpu_share * 100.0)
        .number("pings", calm.pings.2 as f64)
        .number("pings_per_connection_min", f64::from(calm.pings.0))
        .number("pings_per_connection_max", f64::from(calm.pings.1));
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

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: IdleArgs,
    }

    #[test]
    fn idle_fails_without_pings_and_above_its_share_of_cpu() {
        let judge = |options: &str, percent: f64, fewest: u32| {
            let words = std::iter::once("idle").chain(options.split_whitespace());
            let args = <Line as clap::Parser>::parse_from(words).args;
            judge(&args, &Calm { seconds: 55.0, cpu_share: percent / 100.0, pings: (fewest, 3, 9) })
        };
        assert_eq!(judge("", 50.0, 0), Ok(()));
        assert_eq!(judge("--pings", 0.9, 2), Ok(()));
        assert!(judge("--pings", 0.9, 1).unwrap_err().contains("does not ping every 25 s"));
        assert!(judge("--pings", 1.1, 2).unwrap_err().contains("--max-cpu allows 1"));
        assert_eq!(judge("--pings --max-cpu 2", 1.1, 2), Ok(()));
        assert!(judge("--max-cpu 0.5", 0.6, 0).is_err());
    }

    #[test]
    fn pings_are_configured_within_what_the_node_takes() {
        let text = |interval| std::fs::read_to_string(ping_config(interval).unwrap().path()).unwrap();
        assert!(text(25.0).contains("ping_interval = \"25000ms\"\nwebsocket_pong_timeout = \"10000ms\""));
        assert!(text(0.5).contains("ping_interval = \"500ms\"\nwebsocket_pong_timeout = \"500ms\""));
    }

    fn caches(list: &[(&str, i64)]) -> Caches {
        list.iter().map(|(name, bytes)| (name.to_string(), *bytes)).collect()
    }

    #[test]
    fn only_what_is_above_bare_sockets_is_the_servers() {
        let memory = |pss| UserMemory { rss: pss, pss, private_dirty: pss, huge: 0 };
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
