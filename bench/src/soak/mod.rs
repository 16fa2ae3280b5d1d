//! Scenario `soak`: subscribers of all dialects that stay, others that come and go in every way, and peers that do wrong,
//! for as long as is asked for. Those who stay must get every message in order, and when everybody has left the server
//! must hold what it held after the warm-up.

mod fault;
mod level;
mod resident;

use crate::churn::crowd::{Crowd, Pace, Passed};
use crate::churn::judge::left_behind;
use crate::churn::visitor::Paths;
use crate::contest::{explain, run_number};
use crate::options::{ServerArgs, Setup};
use crate::report::{self, JsonLine, progress};
use crate::server::Server;
use crate::vitals::{ConfigFile, mib};
use crate::watchdog;
use clap::Args;
use fault::{Done, Fault};
use level::Level;
use resident::{Residents, Way};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One look at whether the server has come back.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks at the memory after that; the least counts, as allocators give back late.
const MEMORY_LOOKS: usize = 4;
/// A span of the load, after which those that churn are told and may be counted.
const SPAN: Duration = Duration::from_secs(60);
/// Mean time that one of those that churn stays.
const LIFETIME: Duration = Duration::from_millis(800);
/// Messages per second for those that churn.
const CHURN_MESSAGES: f64 = 5.0;

/// Two pairs of locations: messages of those that stay wait long enough for a slow poller, those of the churn are
/// forgotten quickly.
const CONFIG: &str = r#"[[location]]
prefix = "/stay/"
methods = "subscriber"
buffer_messages = 4096
message_timeout = "60s"
channel_timeout = "1s"

[[location]]
prefix = "/say/"
methods = "publisher"
buffer_messages = 4096
message_timeout = "60s"
channel_timeout = "1s"

[[location]]
prefix = "/sub/"
methods = "subscriber"
message_timeout = "1s"
channel_timeout = "1s"

[[location]]
prefix = "/pub/"
methods = "publisher"
message_timeout = "1s"
channel_timeout = "1s"

[[app]]
id = "app-id"
key = "app-key"
secret = "app-secret"
"#;

/// Options of `soak`.
#[derive(Args, Clone, Debug)]
pub struct SoakArgs {
    /// Server under load.
    #[command(flatten)]
    server: ServerArgs,
    /// Time that is judged, seconds.
    #[arg(long, default_value_t = 3600.0, value_name = "SECONDS")]
    duration: f64,
    /// Time of the same load before it, seconds. Fanwire's timers have buffers that grow to their size in the first 103 s.
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS")]
    warm_up: f64,
    /// What subscribers that stay speak. Default: all.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAYS")]
    ways: Vec<Way>,
    /// Subscribers that stay, of each way.
    #[arg(long, default_value_t = 5)]
    residents: usize,
    /// Messages per second to them, through each API in turn.
    #[arg(long, default_value_t = 20.0, value_name = "PER_SECOND")]
    rate: f64,
    /// Connections per second that come and go, of nine kinds in turn.
    #[arg(long, default_value_t = 40.0, value_name = "PER_SECOND")]
    churn: f64,
    /// What goes wrong. Default: everything.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULTS")]
    faults: Vec<Fault>,
    /// Faults per second, of all kinds in turn.
    #[arg(long, default_value_t = 4.0, value_name = "PER_SECOND")]
    fault_rate: f64,
    /// Where those that stay subscribe, in front of the channel's name.
    #[arg(long, default_value = "/stay/")]
    path: String,
    /// Where messages to them are posted.
    #[arg(long, default_value = "/say/")]
    publish_path: String,
    /// The server must be back within this after everybody has left, seconds.
    #[arg(long, default_value_t = 60.0)]
    settle: f64,
    /// Private memory that may be more than after the warm-up, MiB.
    #[arg(long, default_value_t = 4.0, value_name = "MIB")]
    tolerance: f64,
}

/// What a stretch of the load brought.
#[derive(Clone, Debug, Default)]
struct Stretch {
    /// Of those that stayed.
    messages: u64,
    deliveries: u64,
    /// Connections that came and went.
    visitors: u64,
    /// Deliveries to them.
    visits: u64,
    done: Done,
    level: Level,
    settled: Duration,
}

/// Runs the scenario.
pub fn run(args: &SoakArgs) -> Result<(), String> {
    check(args)?;
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(10_000)?;
    watchdog::plan(Duration::from_secs_f64(args.duration + args.warm_up + args.settle * 2.0));
    let config = ConfigFile::new("soak", CONFIG)?;
    let mut server = setup.server(&["--config", &config.path()])?;
    let warm = stretch(&server, args, "warm-up", args.warm_up, None).map_err(|e| explain(&mut server, e))?;
    tell(args, &server, "warm-up", &warm);
    let main = stretch(&server, args, "soak", args.duration, Some(&warm.level))
        .map_err(|e| explain(&mut server, e))?;
    tell(args, &server, "soak", &main);
    server.check_alive()?;
    let result = verdict(args, &warm, &main);
    print_results(args, &server, &warm, &main, &result);
    result
}

fn check(args: &SoakArgs) -> Result<(), String> {
    for (name, value, most) in [
        ("--duration", args.duration, 1e7),
        ("--warm-up", args.warm_up, 1e6),
        ("--rate", args.rate, 1e4),
        ("--churn", args.churn, 1e4),
        ("--fault-rate", args.fault_rate, 1e3),
        ("--settle", args.settle, 3600.0),
        ("--tolerance", args.tolerance, 1e4),
    ] {
        if !(0.1..=most).contains(&value) {
            return Err(format!("{name} must lie between 0.1 and {most}"));
        }
    }
    if !(1..=1000).contains(&args.residents) {
        return Err("--residents must lie between 1 and 1000".to_owned());
    }
    Ok(())
}

/// The load for so many seconds, and what the server holds when all have left.
fn stretch(
    server: &Server,
    args: &SoakArgs,
    name: &str,
    seconds: f64,
    before: Option<&Level>,
) -> Result<Stretch, String> {
    watchdog::phase(name, 0);
    let time = Duration::from_secs_f64(seconds);
    let stop = AtomicBool::new(false);
    // The first reason counts: what follows from it is no news.
    let wrong = Mutex::new(None);
    let fail = |what: &str, error: String| {
        wrong.lock().unwrap_or_else(|poison| poison.into_inner()).get_or_insert(format!("{what}: {error}"));
        stop.store(true, Ordering::Relaxed);
    };
    let mut told = Stretch::default();
    thread::scope(|scope| {
        let visitors = scope.spawn(|| churn(server, args, time, &stop));
        let faults = scope.spawn(|| fault::inject(server.address, args, time, &stop));
        match Residents::stay(server.address, args, time, &stop) {
            Ok((messages, deliveries)) => (told.messages, told.deliveries) = (messages, deliveries),
            Err(error) => fail("those who stayed", error),
        }
        let panicked = || Err("the load itself has panicked".to_owned());
        match visitors.join().unwrap_or_else(|_| panicked()) {
            Ok(passed) => (told.visitors, told.visits) = (passed.visitors, passed.deliveries),
            Err(error) => fail("those who came and went", error),
        }
        match faults.join().unwrap_or_else(|_| Err("the faults themselves have panicked".to_owned())) {
            Ok(done) => told.done = done,
            Err(error) => fail("those who did wrong", error),
        }
    });
    if let Some(error) = wrong.into_inner().unwrap_or_else(|poison| poison.into_inner()) {
        return Err(error);
    }
    watchdog::phase(&format!("{name}, the server comes back"), 0);
    let begun = Instant::now();
    told.level = settle(server, args, before)?;
    told.settled = begun.elapsed();
    Ok(told)
}

/// Connections come and go until the time is over.
fn churn(server: &Server, args: &SoakArgs, time: Duration, stop: &AtomicBool) -> Result<Passed, String> {
    let paths = Paths { target: server.address, subscribe: "/sub/".into(), publish: "/pub/".into() };
    let mut crowd = Crowd::new(paths, &[], 1, run_number())?;
    let pace = Pace { connections: args.churn, lifetime: LIFETIME, messages: CHURN_MESSAGES };
    let (begun, mut sum) = (Instant::now(), Passed::default());
    while !stop.load(Ordering::Relaxed) {
        let left = time.saturating_sub(begun.elapsed());
        if left < LOOK_EVERY {
            break;
        }
        let passed = crowd.cycle(pace, left.min(SPAN))?;
        sum.visitors += passed.visitors;
        sum.deliveries += passed.deliveries;
        if !crowd.faults.is_empty() {
            return Err(crowd.describe_faults());
        }
    }
    Ok(sum)
}

/// Waits until the server holds no more than before, or for as long as it may take; without a level to come back to,
/// until nobody is connected.
fn settle(server: &Server, args: &SoakArgs, before: Option<&Level>) -> Result<Level, String> {
    let begun = Instant::now();
    let mut now = Level::read(server)?;
    let is_back = |now: &Level| match before {
        Some(before) => left_behind(&before.vitals, &now.vitals).is_none() && now.sockets <= before.sockets,
        None => now.is_empty(),
    };
    while !is_back(&now) && begun.elapsed().as_secs_f64() < args.settle {
        thread::sleep(LOOK_EVERY);
        now = Level::read(server)?;
    }
    for _ in 0..MEMORY_LOOKS {
        thread::sleep(LOOK_EVERY);
        now.least_memory(server)?;
    }
    Ok(now)
}

fn tell(args: &SoakArgs, server: &Server, name: &str, stretch: &Stretch) {
    let level = &stretch.level;
    progress(&format!(
        "{name}: {} messages, {} deliveries; {} visitors, {} deliveries; {}; back after {:.1} s: {level}",
        stretch.messages,
        stretch.deliveries,
        stretch.visitors,
        stretch.visits,
        stretch.done,
        stretch.settled.as_secs_f64(),
    ));
    let mut line = JsonLine::new("soak", &server.name)
        .text("stretch", name)
        .number("messages", stretch.messages as f64)
        .number("deliveries", stretch.deliveries as f64)
        .number("visitors", stretch.visitors as f64)
        .number("visitor_deliveries", stretch.visits as f64)
        .number("settled_after_s", stretch.settled.as_secs_f64())
        .number("sockets", level.sockets as f64)
        .number("rss_bytes", level.vitals.rss as f64)
        .number("private_bytes", level.vitals.private as f64);
    for (name, count) in stretch.done.counts() {
        line = line.number(&format!("fault_{name}"), count as f64);
    }
    for (name, count) in level.vitals.counts() {
        line = line.number(&name.replace(' ', "_"), count);
    }
    report::emit(line, args.server.json);
}

/// Flat, or why not.
fn verdict(args: &SoakArgs, warm: &Stretch, main: &Stretch) -> Result<(), String> {
    let mut wrong = Vec::new();
    if let Some(left) = left_behind(&warm.level.vitals, &main.level.vitals) {
        wrong.push(format!("it leaks: {left}, {} s after everybody was gone", args.settle));
    }
    if main.level.sockets > warm.level.sockets {
        wrong.push(format!("{} sockets of the kernel instead of {}", main.level.sockets, warm.level.sockets));
    }
    let grown = main.level.vitals.private - warm.level.vitals.private;
    if grown as f64 > args.tolerance * 1024.0 * 1024.0 {
        wrong.push(format!("memory grows: {} more; --tolerance allows {} MiB", mib(grown), args.tolerance));
    }
    if let Some(counters) = main.level.disagreement() {
        wrong.push(counters);
    }
    if main.messages == 0 || main.visitors == 0 || main.done.counts().iter().all(|(_, count)| *count == 0) {
        wrong.push("there was no load".to_owned());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn print_results(
    args: &SoakArgs,
    server: &Server,
    warm: &Stretch,
    main: &Stretch,
    result: &Result<(), String>,
) {
    let line = JsonLine::new("soak", &server.name)
        .text("kind", "summary")
        .number("seconds", args.duration)
        .number("private_growth_bytes", (main.level.vitals.private - warm.level.vitals.private) as f64)
        .number("tolerance_bytes", args.tolerance * 1024.0 * 1024.0)
        .flag("flat", result.is_ok());
    report::emit(line, args.server.json);
    if args.server.json {
        return;
    }
    println!(
        "soak: {} s, {} messages and {} deliveries to those who stayed, {} visitors, {}; RSS {} -> {}, private {} -> {}, \
         open files {} -> {}, sockets {} -> {}: {}",
        args.duration,
        main.messages,
        main.deliveries,
        main.visitors,
        main.done,
        mib(warm.level.vitals.rss),
        mib(main.level.vitals.rss),
        mib(warm.level.vitals.private),
        mib(main.level.vitals.private),
        warm.level.vitals.files,
        main.level.vitals.files,
        warm.level.sockets,
        main.level.sockets,
        if result.is_ok() { "flat" } else { "NOT FLAT, or something else is wrong" }
    );
}
