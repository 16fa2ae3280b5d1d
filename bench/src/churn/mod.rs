//! Scenario `churn`: connections come and go in every way they do in hours, within a minute. Behind each cycle, when
//! everybody is gone, the server must hold what it held after the first one.

pub mod book;
pub mod crowd;
pub mod judge;
pub mod visitor;

use crate::contest::{self, Meter, explain};
use crate::options::{ServerArgs, Setup, at_least};
use crate::procfs::{self, ProcessTree};
use crate::report::{self, JsonLine, progress, table};
use crate::round::{Round, Stopwatch};
use crate::server::Server;
use crate::vitals::{ConfigFile, Vitals, mib};
use crate::watchdog;
use clap::Args;
use crowd::{Crowd, Pace, Passed};
use judge::{Growth, left_behind};
use std::thread::sleep;
use std::time::{Duration, Instant};
use visitor::{Kind, Paths};

/// One look at whether the server has come back.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks at the memory after that; the least counts, as allocators give back late.
const MEMORY_LOOKS: usize = 4;
/// A client that wants to run for this share of the time counts as the bottleneck.
const SATURATED: f64 = 0.9;
/// Channels and messages of the node that is started here are forgotten quickly.
const CONFIG: &str = r#"[[location]]
prefix = "/sub/"
methods = "subscriber"
message_timeout = "1s"
channel_timeout = "1s"

[[location]]
prefix = "/pub/"
methods = "publisher"
message_timeout = "1s"
channel_timeout = "1s"
"#;

/// Options of `churn`.
#[derive(Args, Clone, Debug)]
pub struct ChurnArgs {
    /// Server under load. One that is not started here should forget channels and messages within --settle.
    #[command(flatten)]
    server: ServerArgs,
    /// In front of a channel's name for subscribers.
    #[arg(long, default_value = "/sub/")]
    path: String,
    /// The same for publishers.
    #[arg(long, default_value = "/pub/")]
    publish_path: String,
    /// Kinds of connections that come, in turn: to find out which one it is that leaks. Default: all.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    kinds: Vec<Kind>,
    /// Connections that come per second, of each kind as many.
    #[arg(long, default_value_t = 400.0, value_name = "PER_SECOND")]
    connections: f64,
    /// Mean time that one stays, milliseconds; each has its own between nothing and twice this.
    #[arg(long, default_value_t = 500, value_name = "MILLISECONDS")]
    lifetime: u64,
    /// Messages per second in the channel that WebSockets share.
    #[arg(long, default_value_t = 20.0, value_name = "PER_SECOND")]
    messages: f64,
    /// Length of all judged cycles together, seconds.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Length of the warm-up cycle, seconds. Default: that of a judged one. Fanwire's timers have buffers that grow to their
    /// size in the first 103 s of load.
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<f64>,
    /// Cycles that are judged.
    #[arg(long, default_value_t = 6)]
    cycles: usize,
    /// The server must be back within this after a cycle, seconds.
    #[arg(long, default_value_t = 15.0)]
    settle: f64,
    /// Growth of memory that is no leak, bytes per connection that was there. Less than 256 KiB in all never is.
    #[arg(long, default_value_t = 64.0, value_name = "BYTES")]
    tolerance_bytes: f64,
    /// Source addresses used, 127.0.0.1 and up.
    #[arg(long, default_value_t = 50)]
    sources: usize,
}

/// A cycle and what was left behind it.
struct Cycle {
    passed: Passed,
    seconds: f64,
    /// From the last one's leaving until the server was back.
    settled: Duration,
    level: Vitals,
    cpu_us: f64,
    client_share: f64,
    /// What is more than after the warm-up.
    left: Option<String>,
}

/// Runs the scenario.
pub fn run(args: &ChurnArgs) -> Result<(), String> {
    check(args)?;
    let setup = Setup::prepare(&args.server)?;
    let present = args.connections * args.lifetime as f64 / 1e3 * 2.0;
    setup.check_descriptors(present as usize + 1)?;
    let cycle_s = args.seconds / args.cycles as f64;
    let warm_up_s = args.warm_up.unwrap_or(cycle_s);
    let settles_s = args.settle * (args.cycles + 1) as f64;
    watchdog::plan(Duration::from_secs_f64(warm_up_s + args.seconds + settles_s));
    let config = ConfigFile::new("churn", CONFIG)?;
    let mut server = setup.server(&["--config", &config.path()])?;
    let mut trial = Trial::new(&server, args)?;
    let mut cycles = Vec::new();
    for number in 0..=args.cycles {
        let name = if number == 0 { "warm-up".to_owned() } else { format!("cycle {number}/{}", args.cycles) };
        let length = if number == 0 { warm_up_s } else { cycle_s };
        let cycle = trial.cycle(&name, length).map_err(|error| explain(&mut server, error))?;
        trial.tell(&server, number, &name, &cycle);
        cycles.push(cycle);
        server.check_alive()?;
    }
    let result = verdict(args, &trial.crowd, &cycles);
    print_results(args, &server, &cycles, &result);
    result.map(drop)
}

fn check(args: &ChurnArgs) -> Result<(), String> {
    at_least("--cycles", args.cycles, 2)?;
    for (name, value, most) in [
        ("--connections", args.connections, 1e5),
        ("--messages", args.messages, 1e4),
        ("--seconds", args.seconds, 1e6),
        ("--warm-up", args.warm_up.unwrap_or(1.0), 1e6),
        ("--settle", args.settle, 3600.0),
    ] {
        if !(0.1..=most).contains(&value) {
            return Err(format!("{name} must lie between 0.1 and {most}"));
        }
    }
    if args.lifetime > 3_600_000 {
        return Err("--lifetime must be at most 3600000".to_owned());
    }
    Ok(())
}

/// The load on one server.
struct Trial<'a> {
    args: &'a ChurnArgs,
    crowd: Crowd,
    processes: ProcessTree,
    meter: Meter,
    address: std::net::SocketAddrV4,
    /// Before anybody came, then after the warm-up: what the server must come back to.
    level: Vitals,
    warm: bool,
}

impl<'a> Trial<'a> {
    fn new(server: &Server, args: &'a ChurnArgs) -> Result<Trial<'a>, String> {
        let (subscribe, publish) = (args.path.clone(), args.publish_path.clone());
        let paths = Paths { target: server.address, subscribe, publish };
        let crowd = Crowd::new(paths, &args.kinds, args.sources, contest::run_number())?;
        let (processes, meter) = (server.processes()?, Meter::new(server)?);
        // What connected while the server started has been accepted by now, and is gone.
        sleep(LOOK_EVERY);
        let level = Vitals::read(&processes, server.address)?;
        Ok(Trial { args, crowd, processes, meter, address: server.address, level, warm: false })
    }

    fn cycle(&mut self, name: &str, seconds: f64) -> Result<Cycle, String> {
        let lifetime = Duration::from_millis(self.args.lifetime);
        let pace = Pace { connections: self.args.connections, lifetime, messages: self.args.messages };
        watchdog::phase(&format!("{name}, connections"), (seconds * self.args.connections) as usize);
        let before = self.meter.read()?;
        let watch = Stopwatch::start()?;
        let passed = self.crowd.cycle(pace, Duration::from_secs_f64(seconds))?;
        let mut round = Round::default();
        watch.stop(&mut round)?;
        watchdog::phase(&format!("{name}, the server comes back"), 0);
        let begun = Instant::now();
        let level = self.settle()?;
        let core = self.meter.read()?.since(&before);
        let left = if self.warm { left_behind(&self.level, &level) } else { None };
        if !self.warm {
            (self.level, self.warm) = (level, true);
        }
        let visitors = passed.visitors.max(1) as f64;
        Ok(Cycle {
            seconds: round.wall_ns as f64 / 1e9,
            settled: begun.elapsed(),
            level,
            cpu_us: core.cpu_ns() as f64 / 1e3 / visitors,
            client_share: (round.client_ns + round.client_delay_ns) as f64 / round.wall_ns as f64,
            left,
            passed,
        })
    }

    /// Waits until the server holds no more than it did, or for as long as it may take.
    fn settle(&self) -> Result<Vitals, String> {
        let begun = Instant::now();
        let mut now = Vitals::read(&self.processes, self.address)?;
        while left_behind(&self.level, &now).is_some() && begun.elapsed().as_secs_f64() < self.args.settle {
            sleep(LOOK_EVERY);
            now = Vitals::read(&self.processes, self.address)?;
        }
        for _ in 0..MEMORY_LOOKS {
            sleep(LOOK_EVERY);
            let memory = self.processes.memory().map_err(|e| format!("memory of the server: {e}"))?;
            (now.rss, now.pss) = (now.rss.min(memory.rss), now.pss.min(memory.pss));
            now.private = now.private.min(memory.private_dirty);
        }
        Ok(now)
    }

    fn tell(&self, server: &Server, number: usize, name: &str, cycle: &Cycle) {
        let counts: Vec<String> =
            cycle.level.counts().iter().map(|(name, count)| format!("{name} {count}")).collect();
        progress(&format!(
            "{name}: {} connections, {} deliveries; back after {:.1} s: {}, private memory {}{}",
            cycle.passed.visitors,
            cycle.passed.deliveries,
            cycle.settled.as_secs_f64(),
            counts.join(", "),
            mib(cycle.level.private),
            cycle.left.as_ref().map(|left| format!(": LEFT BEHIND {left}")).unwrap_or_default()
        ));
        let mut line = JsonLine::new("churn", &server.name)
            .number("cycle", number as f64)
            .number("connections", cycle.passed.visitors as f64)
            .number("most_at_a_time", cycle.passed.most as f64)
            .number("messages", cycle.passed.messages as f64)
            .number("deliveries", cycle.passed.deliveries as f64)
            .number("seconds", cycle.seconds)
            .number("settled_after_s", cycle.settled.as_secs_f64())
            .number("rss_bytes", cycle.level.rss as f64)
            .number("pss_bytes", cycle.level.pss as f64)
            .number("private_bytes", cycle.level.private as f64)
            .number("cpu_us_per_connection", cycle.cpu_us)
            .number("client_core_share", cycle.client_share);
        for (name, count) in cycle.level.counts() {
            line = line.number(&name.replace(' ', "_"), count);
        }
        report::emit(line, self.args.server.json);
    }
}

/// Growth of the server's private memory over the judged cycles.
fn growth(cycles: &[Cycle]) -> Option<Growth> {
    let judged = cycles.get(1..)?;
    let levels: Vec<i64> = judged.iter().map(|cycle| cycle.level.private).collect();
    let visitors: u64 = judged.iter().map(|cycle| cycle.passed.visitors).sum();
    Growth::of(&levels, visitors as f64 / judged.len() as f64)
}

/// Flat, or why not.
fn verdict(args: &ChurnArgs, crowd: &Crowd, cycles: &[Cycle]) -> Result<Growth, String> {
    let mut wrong = Vec::new();
    if !crowd.faults.is_empty() {
        wrong.push(format!("connections fared ill: {}", crowd.describe_faults()));
    }
    // What is there late comes back in the next cycle; what is there at the end has leaked.
    if let Some(left) = cycles.last().and_then(|cycle| cycle.left.as_ref()) {
        wrong.push(format!("it leaks: {left}, {} s after everybody was gone", args.settle));
    }
    let growth = growth(cycles).ok_or("too few cycles")?;
    if growth.is_leak(args.tolerance_bytes) {
        wrong.push(format!(
            "memory grows: {:.0} B per connection, {} over the cycles; --tolerance-bytes allows {}",
            growth.per_visitor,
            mib(growth.total as i64),
            args.tolerance_bytes
        ));
    }
    if wrong.is_empty() { Ok(growth) } else { Err(wrong.join("\n")) }
}

fn print_results(args: &ChurnArgs, server: &Server, cycles: &[Cycle], result: &Result<Growth, String>) {
    let share = cycles.iter().map(|cycle| cycle.client_share).fold(0.0, f64::max);
    let growth = growth(cycles).unwrap_or(Growth { per_visitor: f64::NAN, total: f64::NAN });
    let line = JsonLine::new("churn", &server.name)
        .text("kind", "summary")
        .number("cycles", args.cycles as f64)
        .number("connections_per_second", args.connections)
        .number("private_growth_bytes_per_connection", growth.per_visitor)
        .number("private_growth_bytes", growth.total)
        .number("tolerance_bytes_per_connection", args.tolerance_bytes)
        .number("flat", f64::from(u8::from(result.is_ok())))
        .number("client_core_share_max", share);
    report::emit(line, args.server.json);
    if args.server.json {
        return;
    }
    let kinds = if args.kinds.is_empty() { &Kind::ALL[..] } else { &args.kinds };
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    println!(
        "churn: {} connections/s for {} s in {} cycles after a warm-up, each {} ms in the mean: {}; every message checked",
        args.connections,
        args.seconds,
        args.cycles,
        args.lifetime,
        kinds.join(", ")
    );
    let names = cycles.first().map(|cycle| cycle.level.counts()).unwrap_or_default();
    let titles = ["", "connections", "at a time", "deliveries", "CPU us each"].map(str::to_owned);
    let titles = titles.into_iter().chain(names.iter().map(|(name, _)| (*name).to_owned()));
    let mut rows =
        vec![titles.chain(["RSS", "PSS", "private", "back after"].map(str::to_owned)).collect::<Vec<_>>()];
    for (number, cycle) in cycles.iter().enumerate() {
        let name = if number == 0 { "warm-up".to_owned() } else { format!("cycle {number}") };
        let mut row = vec![
            name,
            cycle.passed.visitors.to_string(),
            cycle.passed.most.to_string(),
            cycle.passed.deliveries.to_string(),
            format!("{:.1}", cycle.cpu_us),
        ];
        row.extend(cycle.level.counts().iter().map(|(_, count)| count.to_string()));
        row.extend([mib(cycle.level.rss), mib(cycle.level.pss), mib(cycle.level.private)]);
        row.push(format!("{:.1} s", cycle.settled.as_secs_f64()));
        rows.push(row);
    }
    print!("{}", table(&rows));
    println!(
        "levels are those after everybody was gone; the client's publisher and the look itself are two connections; PSS \
         also moves when others map the same files"
    );
    println!(
        "private memory grows by {:.1} B per connection, {} over the judged cycles (a leak: above {} B and {}): {}",
        growth.per_visitor,
        mib(growth.total as i64),
        args.tolerance_bytes,
        mib(judge::NOISE_BYTES as i64),
        if result.is_ok() { "flat" } else { "NOT FLAT, or something else is wrong" }
    );
    let verdict = if share < SATURATED {
        "the harness was not the bottleneck"
    } else {
        "THE HARNESS WAS THE BOTTLENECK in some cycle: connections came late"
    };
    println!("client core {:.0} % at most, waiting for it included: {verdict}", share * 100.0);
    if let Some(load) = procfs::load_average() {
        println!("load average of the machine {load:.2}");
    }
}
