//! Scenario `slow`: some subscribers stop reading. The others must not notice.
//!
//! Rounds without and with stalled readers in turn, on the same server and with the same readers.

mod flock;
mod print;
mod reader;

use crate::client::source_address;
use crate::contest::{self, CoreTime, Meter, SETTLE, explain};
use crate::ledger::TAG_BYTES;
use crate::options::{PATH, PUBLISH_PATH, ServerArgs, Setup, at_least, check_rounds};
use crate::procfs::ProcessTree;
use crate::report::{self, progress};
use crate::round::Round;
use crate::server::Server;
use crate::stats::Spread;
use crate::vitals::{ConfigFile, Gauges, Vitals};
use crate::watchdog;
use clap::Args;
use flock::{Flock, Place};
use reader::{End, Stalled};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Messages before the first round are not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// Between two looks at the server's memory in a round.
const MEMORY_EVERY: Duration = Duration::from_millis(250);
/// A server may hold descriptors of stalled readers so long after those are gone.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(10);
/// Ratios of latencies below this are those of noise, microseconds.
const NOTICEABLE_US: f64 = 5_000.0;

/// Options of `slow`.
#[derive(Args, Clone, Debug)]
pub struct SlowArgs {
    /// Server under load.
    #[command(flatten)]
    server: ServerArgs,
    /// Where subscribers open their WebSocket.
    #[arg(long, default_value = PATH)]
    path: String,
    /// Where messages are posted.
    #[arg(long, default_value = PUBLISH_PATH)]
    publish_path: String,
    /// Subscribers, the stalled ones included.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Part of them that stalls in every other round, percent.
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    stalled: f64,
    /// Receive buffer of a stalled reader, bytes.
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    receive_buffer: usize,
    /// Bytes that fanwire lets wait for one connection, where it is started here (`limits.outbox_bytes`).
    #[arg(long, default_value_t = 256 * 1024, value_name = "BYTES")]
    outbox: usize,
    /// Messages per second, each at its time.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 1024)]
    payload: usize,
    /// Pairs of rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of a round, seconds. With the defaults an outbox is full after about 5.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Fails when the median of p99 with stalled readers is more than so many times that without, and above 5 ms.
    #[arg(long, default_value_t = 5.0, value_name = "RATIO")]
    max_p99_ratio: f64,
    /// Source addresses used, 127.0.0.1 and up.
    #[arg(long, default_value_t = 4)]
    sources: usize,
}

/// One round in figures.
#[derive(Clone, Copy, Debug)]
struct Figures {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// CPU of the server and its core's ksoftirqd, nanoseconds per delivery to a reader.
    cpu_ns: f64,
    per_second: f64,
    /// Publishes that a full window held up.
    held: u64,
    lag_p99_us: f64,
    client_share: f64,
    others_share: f64,
    memory: Memory,
}

/// The server's memory over a round, bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    before: Vitals,
    peak_rss: i64,
    peak_pss: i64,
    after: Vitals,
}

/// What became of the stalled readers of one round.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// By what they found when they began to read.
    closed: usize,
    open: usize,
    /// Ends by kind, for people.
    ends: Vec<End>,
    /// Messages that were in their sockets.
    kept: Vec<u64>,
    /// For each descriptor that the server let go of during the round: messages published until then.
    after: Vec<u64>,
    /// What the node counts, where it is fanwire.
    counted: Option<f64>,
}

/// Runs the scenario.
pub fn run(args: &SlowArgs) -> Result<(), String> {
    let stalled = check(args)?;
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(args.subscribers + 1)?;
    watchdog::plan(Duration::from_secs_f64((args.seconds * 2.0 + 10.0) * args.rounds as f64));
    let config = ConfigFile::new("slow", &format!("[limits]\noutbox_bytes = {}\n", args.outbox))?;
    let server = setup.server(&["--config", &config.path()])?;
    let place = Place {
        target: server.address,
        path: args.path.clone(),
        publish_path: args.publish_path.clone(),
        payload_bytes: args.payload,
        sources: args.sources,
    };
    let mut trial = Trial::new(server, place, args, stalled)?;
    for round in 1..=args.rounds {
        for with in [false, true] {
            let outcome = trial.round(with);
            let figures = outcome.map_err(|error| explain(&mut trial.server, error))?;
            trial.tell(round, with, &figures);
        }
    }
    print::results(&trial);
    trial.verdict()
}

/// Refuses options that make no sense; returns the number of stalled readers.
fn check(args: &SlowArgs) -> Result<usize, String> {
    check_rounds(args.rounds, args.seconds)?;
    at_least("--payload", args.payload, TAG_BYTES)?;
    at_least("--subscribers", args.subscribers, 2)?;
    if !(0.1..=1e6).contains(&args.rate) {
        return Err("--rate must lie between 0.1 and 1000000".to_owned());
    }
    let stalled = (args.subscribers as f64 * args.stalled / 100.0).round() as usize;
    if stalled == 0 || stalled >= args.subscribers {
        return Err("--stalled must leave at least one stalled and one other subscriber".to_owned());
    }
    Ok(stalled)
}

/// The server, its readers, and what the rounds brought.
struct Trial<'a> {
    args: &'a SlowArgs,
    stalled: usize,
    server: Server,
    processes: ProcessTree,
    meter: Meter,
    place: Place,
    flock: Flock,
    without: Vec<Figures>,
    with: Vec<Figures>,
    fates: Vec<Fate>,
}

impl<'a> Trial<'a> {
    fn new(server: Server, place: Place, args: &'a SlowArgs, stalled: usize) -> Result<Trial<'a>, String> {
        let (mut server, processes, meter) = {
            let processes = server.processes()?;
            let meter = Meter::new(&server)?;
            (server, processes, meter)
        };
        progress(&format!("{}: {} readers connect", server.name, args.subscribers - stalled));
        let connect = || -> Result<Flock, String> {
            let mut flock = Flock::connect(&place, args.subscribers - stalled, contest::run_number())?;
            flock.round(args.rate, WARM_UP, &mut |_| Ok(()))?;
            Ok(flock)
        };
        let flock = connect().map_err(|error| explain(&mut server, error))?;
        let (without, with, fates) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Trial { args, stalled, server, processes, meter, place, flock, without, with, fates })
    }

    fn vitals(&self) -> Result<Vitals, String> {
        Vitals::read(&self.processes, self.server.address)
    }

    fn files(&self) -> Result<u64, String> {
        self.processes.open_files().map_err(|e| format!("open files of the server: {e}"))
    }

    /// One round, `with` stalled readers or without.
    fn round(&mut self, with: bool) -> Result<Figures, String> {
        let mut memory = Memory { before: self.vitals()?, ..Memory::default() };
        let slow_before = memory.before.gauges.map(|gauges| gauges.slow_closed);
        let files_alone = self.files()?;
        let crowd = if with { self.connect_stalled()? } else { Vec::new() };
        let mut files = self.files()?;
        let mut after = Vec::new();
        let mut looked_at = Instant::now();
        let watched = self.processes.clone();
        let mut observe = |published: u64| -> Result<(), String> {
            let now = watched.open_files().map_err(|e| format!("open files of the server: {e}"))?;
            after.extend((now..files).map(|_| published));
            files = files.min(now);
            if looked_at.elapsed() >= MEMORY_EVERY {
                let seen = watched.memory().map_err(|e| format!("memory of the server: {e}"))?;
                memory.peak_rss = memory.peak_rss.max(seen.rss);
                memory.peak_pss = memory.peak_pss.max(seen.pss);
                looked_at = Instant::now();
            }
            Ok(())
        };
        let kind = if with { "with stalled readers" } else { "without" };
        watchdog::phase(&format!("a round of {} s {kind}", self.args.seconds), 0);
        sleep(SETTLE);
        let before = self.meter.read()?;
        let time = Duration::from_secs_f64(self.args.seconds);
        let round = self.flock.round(self.args.rate, time, &mut observe)?;
        sleep(SETTLE);
        let core = self.meter.read()?.since(&before);
        self.flock.check_nothing_left()?;
        if with {
            let slow_after = Gauges::read(self.server.address)?.map(|gauges| gauges.slow_closed);
            let counted = slow_before.zip(slow_after).map(|(before, after)| after - before);
            self.fates.push(Fate { after, counted, ..Fate::of(crowd) });
            self.wait_until_let_go(files_alone)?;
        }
        memory.after = self.vitals()?;
        let ends = [memory.before, memory.after];
        memory.peak_rss = ends.iter().map(|end| end.rss).fold(memory.peak_rss, i64::max);
        memory.peak_pss = ends.iter().map(|end| end.pss).fold(memory.peak_pss, i64::max);
        let figures = Figures::of(&round, core, memory);
        if with {
            self.with.push(figures)
        } else {
            self.without.push(figures)
        }
        Ok(figures)
    }

    fn connect_stalled(&self) -> Result<Vec<Stalled>, String> {
        let Place { target, path, sources, .. } = &self.place;
        let connect = |index| {
            let source = source_address(*target, index, *sources);
            Stalled::connect(source, *target, path, self.args.receive_buffer)
                .map_err(|e| format!("stalled reader {index}: {e}"))
        };
        (0..self.stalled).map(connect).collect()
    }

    /// The stalled ones are gone: the server must have no more descriptors than before they came.
    fn wait_until_let_go(&self, files_alone: u64) -> Result<(), String> {
        let begun = Instant::now();
        while self.files()? > files_alone {
            if begun.elapsed() > LET_GO_TIMEOUT {
                return Err(format!(
                    "{} open files {LET_GO_TIMEOUT:?} after the stalled readers are gone, {files_alone} before they came",
                    self.files()?
                ));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn tell(&self, round: usize, with: bool, figures: &Figures) {
        let kind = if with { "with" } else { "without" };
        progress(&format!(
            "round {round}/{}  {kind:<7} {:.0} ns CPU per delivery, p50 {:.0} us, p99 {:.0} us, max {:.0} us",
            self.args.rounds, figures.cpu_ns, figures.p50_us, figures.p99_us, figures.max_us
        ));
        report::emit(print::round_json(self, round, kind, figures), self.args.server.json);
    }

    /// A figure with stalled readers as a multiple of the one without, pair by pair.
    fn ratio(&self, figure: fn(&Figures) -> f64) -> Spread {
        let pairs = self.with.iter().zip(&self.without);
        let nothing = Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN };
        Spread::of(pairs.map(|(with, without)| figure(with) / figure(without))).unwrap_or(nothing)
    }

    /// The readers must not have noticed.
    fn verdict(&self) -> Result<(), String> {
        let ratio = self.ratio(|figures| figures.p99_us).median;
        let p99_us = Spread::of(self.with.iter().map(|figures| figures.p99_us)).map_or(0.0, |p99| p99.median);
        if ratio > self.args.max_p99_ratio && p99_us > NOTICEABLE_US {
            return Err(format!(
                "the readers noticed: p99 with stalled readers is {ratio:.1} times that without; --max-p99-ratio allows {}",
                self.args.max_p99_ratio
            ));
        }
        Ok(())
    }
}

impl Figures {
    fn of(round: &Round, core: CoreTime, memory: Memory) -> Figures {
        let (deliveries, wall) = (round.deliveries as f64, round.wall_ns as f64);
        Figures {
            p50_us: round.latencies.us(50.0),
            p99_us: round.latencies.us(99.0),
            max_us: round.latencies.us(100.0),
            cpu_ns: core.cpu_ns() as f64 / deliveries,
            per_second: deliveries / wall * 1e9,
            held: round.held,
            lag_p99_us: round.lags.us(99.0),
            client_share: (round.client_ns + round.client_delay_ns) as f64 / wall,
            others_share: core.others_ns as f64 / core.wall_ns as f64,
            memory,
        }
    }
}

impl Fate {
    /// Lets the stalled readers read.
    fn of(crowd: Vec<Stalled>) -> Fate {
        let mut fate = Fate::default();
        for stalled in crowd {
            let found = stalled.drain();
            if found.end == End::Open {
                fate.open += 1
            } else {
                fate.closed += 1
            }
            fate.ends.push(found.end);
            fate.kept.push(found.messages);
        }
        fate
    }
}
