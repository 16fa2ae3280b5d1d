//! Scenario `storm`: everybody connects at once; later everybody is cut, misses some messages, and comes back for them.

mod book;
mod crowd;
mod kernel;

use crate::client::Publisher;
use crate::contest::{self, CoreTime, Meter, SETTLE, explain};
use crate::locations::Locations;
use crate::options::{CHANNEL, PATH, Setup, StormArgs, at_least};
use crate::procfs::load_average;
use crate::report::{self, JsonLine, progress, table};
use crate::server::Server;
use crate::stats::{Latencies, Spread};
use crate::watchdog;
use crate::wire::{Dialect, Wire};
use book::Book;
use crowd::{Ask, Crowd, Surge};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes taken per read of a publish answer.
const READ_BYTES: usize = 64 * 1024;
/// A publish is answered within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// One look at whether the server is done with those who were cut.
const QUIET_STEP: Duration = Duration::from_millis(50);
/// Looks until it counts as never done.
const QUIET_STEPS: usize = 200;
/// A server that takes less of a step than this is done, nanoseconds.
const QUIET_CPU_NS: u64 = 1_000_000;
/// Looks until a peer counts as quiet all the same: some poll.
const PEER_QUIET_STEPS: usize = 40;
/// A client that wants to run for this share of the time counts as the bottleneck.
const SATURATED: f64 = 0.9;
/// Others on the server's core with more than this share of it spoil the figures.
const DISTURBED: f64 = 0.1;

/// One surge in figures.
struct Gust {
    cpu_us: f64,
    per_second: f64,
    wall_ms: f64,
    others_share: f64,
    client_share: f64,
    refused: u64,
    /// Connects that found the listen queue full, where the kernel tells.
    overflows: Option<u64>,
}

/// A server and what the surges against it brought.
struct Storm {
    server: Server,
    crowd: Crowd,
    meter: Meter,
    connects: Vec<Gust>,
    recoveries: Vec<Gust>,
    connect_times: Latencies,
    recovery_times: Latencies,
    reasons: BTreeMap<String, u64>,
    /// A peer, whose failure is its own affair.
    spare: bool,
}

/// Runs the scenario.
pub fn run(args: &StormArgs) -> Result<(), String> {
    check(args)?;
    let setup = Setup::prepare(&args.server)?;
    let floors = if args.floor { contest::floors(setup.server_core)? } else { Vec::new() };
    compete(args, &setup, floors, Vec::new()).map(drop)
}

/// Refuses options that make no storm.
pub fn check(args: &StormArgs) -> Result<(), String> {
    at_least("--connections", args.connections, 1)?;
    at_least("--rounds", args.rounds, 1)?;
    at_least("--payload", args.payload, 32)
}

/// Storms over the server of the options, and its connects over `floors` and `peers`, in turn. Returns which peers have
/// not withstood theirs, and why.
pub fn compete(
    args: &StormArgs,
    setup: &Setup,
    floors: Vec<Server>,
    peers: Vec<Server>,
) -> Result<Vec<(String, String)>, String> {
    setup.check_descriptors(args.connections + 1)?;
    let wire = (args.dialect != Dialect::Relay).then(|| Wire::of(args.dialect, CHANNEL, &args.app.app()));
    let mut storm = Storm::new(setup.server_with(&Locations::of(wire.as_slice()), &[])?, args)?;
    let mut failed = Vec::new();
    let mut others = Vec::new();
    let count = floors.len();
    for (at, server) in floors.into_iter().chain(peers).enumerate() {
        let name = server.name.clone();
        match Storm::new(server, args) {
            Ok(other) => others.push(Storm { spare: at >= count, ..other }),
            Err(error) if at >= count => failed.push((name, error)),
            Err(error) => return Err(error),
        }
    }
    others.iter().for_each(|other| other.server.pause());
    let run = contest::run_number();
    for round in 0..=args.rounds {
        let path = Paths { run, round, subscribe: args.path.clone(), publish: args.publish_path.clone() };
        let done = match &wire {
            Some(_) => storm.connect_round(wire.as_ref()),
            None => storm.round(args, &path),
        };
        done.map_err(|error| explain(&mut storm.server, error))?;
        storm.count_round(round, args);
        storm.server.pause();
        let mut left = Vec::new();
        for mut other in others {
            other.server.resume();
            match other.connect_round(None).map_err(|error| explain(&mut other.server, error)) {
                Ok(()) => {
                    other.count_round(round, args);
                    other.server.pause();
                    left.push(other);
                }
                Err(error) if other.spare => failed.push((other.server.name.clone(), error)),
                Err(error) => return Err(error),
            }
        }
        others = left;
        storm.server.resume();
    }
    print_results(&storm, &others, args);
    Ok(failed)
}

/// Where one round's channel is.
struct Paths {
    run: u32,
    round: usize,
    subscribe: String,
    publish: String,
}

impl Paths {
    fn of(&self, path: &str) -> String {
        format!("{path}-{:08x}-{}", self.run, self.round)
    }
}

impl Storm {
    fn new(server: Server, args: &StormArgs) -> Result<Storm, String> {
        kernel::check_server(&server.processes()?, args.connections + 1)?;
        let concurrency = if args.concurrency == 0 { args.connections } else { args.concurrency };
        let crowd = Crowd::new(server.address, args.connections, args.sources, concurrency)?;
        let meter = Meter::new(&server)?;
        Ok(Storm {
            server,
            crowd,
            meter,
            connects: Vec::new(),
            recoveries: Vec::new(),
            connect_times: Latencies::default(),
            recovery_times: Latencies::default(),
            reasons: BTreeMap::new(),
            spare: false,
        })
    }

    /// Connect, one message, cut, missed messages, reconnect, one more message, cut.
    fn round(&mut self, args: &StormArgs, paths: &Paths) -> Result<(), String> {
        let ask = Ask { path: paths.of(&paths.subscribe), resume: true, wire: None };
        let mut book = Book::new(paths.run ^ paths.round as u32, args.payload);
        let mut publisher = Publisher::connect(self.server.address, &paths.of(&paths.publish), args.payload)?;
        self.crowd.forget();
        let gust = self.surge("connect", &ask, &book)?;
        self.connects.push(gust.0);
        self.connect_times.add(&gust.1);
        watchdog::phase(&format!("{}: everybody gets a message and is cut", self.server.name), 0);
        // From this one everybody has an id.
        publish(&mut publisher, &mut book, 1)?;
        self.crowd.receive(&ask, &book)?;
        self.crowd.cut();
        self.wait_until_quiet()?;
        publish(&mut publisher, &mut book, args.missed)?;
        let gust = self.surge("reconnect and recover", &ask, &book)?;
        self.recoveries.push(gust.0);
        self.recovery_times.add(&gust.1);
        watchdog::phase(&format!("{}: everybody gets one more message", self.server.name), 0);
        // Whoever got a message twice or lives in the past would show it now.
        publish(&mut publisher, &mut book, 1)?;
        self.crowd.receive(&ask, &book)?;
        self.crowd.check_nothing_left(&ask, &book)?;
        self.crowd.cut();
        self.wait_until_quiet()
    }

    /// Connect, with `wire` subscribe, and cut: all that the floor can do.
    fn connect_round(&mut self, wire: Option<&Wire>) -> Result<(), String> {
        let ask = Ask { path: PATH.to_owned(), resume: false, wire: wire.cloned() };
        let book = Book::new(0, 0);
        let gust = self.surge("connect", &ask, &book)?;
        self.connects.push(gust.0);
        self.connect_times.add(&gust.1);
        self.crowd.check_nothing_left(&ask, &book)?;
        self.crowd.cut();
        self.wait_until_quiet()
    }

    /// Connects all who are out; returns its figures and the clients' times.
    fn surge(&mut self, what: &str, ask: &Ask, book: &Book) -> Result<(Gust, Latencies), String> {
        let size = self.crowd.size();
        watchdog::phase(&format!("{}: clients that {what}", self.server.name), size);
        let overflows = kernel::listen_overflows();
        let before = self.meter.read()?;
        let surge = self.crowd.surge(ask, book)?;
        sleep(SETTLE);
        let core = self.meter.read()?.since(&before);
        let overflows = kernel::listen_overflows().zip(overflows).map(|(after, before)| after - before);
        let gust = Gust { overflows, ..Gust::new(&surge, core, size) };
        for (reason, count) in surge.refused {
            *self.reasons.entry(reason).or_default() += count;
        }
        Ok((gust, surge.latencies))
    }

    fn wait_until_quiet(&self) -> Result<(), String> {
        watchdog::phase(&format!("{}: comes to rest", self.server.name), 0);
        let mut before = self.meter.read()?;
        for _ in 0..if self.spare { PEER_QUIET_STEPS } else { QUIET_STEPS } {
            sleep(QUIET_STEP);
            let now = self.meter.read()?;
            if now.since(&before).own_ns < QUIET_CPU_NS {
                return Ok(());
            }
            before = now;
        }
        if self.spare {
            return Ok(());
        }
        Err(format!(
            "does not come to rest within {:?} after everybody was cut",
            QUIET_STEP * QUIET_STEPS as u32
        ))
    }

    /// The first round fills buffers and caches, and does not count.
    fn count_round(&mut self, round: usize, args: &StormArgs) {
        if round == 0 {
            self.forget_figures();
        } else {
            self.tell_round(round, args);
        }
    }

    fn forget_figures(&mut self) {
        self.connects.clear();
        self.recoveries.clear();
        self.connect_times = Latencies::default();
        self.recovery_times = Latencies::default();
        self.reasons.clear();
    }

    fn tell_round(&self, round: usize, args: &StormArgs) {
        let name = &self.server.name;
        for (kind, gusts) in [("connect", &self.connects), ("recover", &self.recoveries)] {
            let Some(gust) = gusts.last() else { continue };
            progress(&format!(
                "round {round}/{}  {name:<14} {kind}: {:.1} us CPU each, all done in {:.0} ms, {} refused",
                args.rounds, gust.cpu_us, gust.wall_ms, gust.refused
            ));
            let line = JsonLine::new("storm", name).number("round", round as f64).text("phase", kind);
            let line = facts(line, args)
                .number("cpu_us_per_connection", gust.cpu_us)
                .number("connections_per_second", gust.per_second)
                .number("all_done_ms", gust.wall_ms)
                .number("refused", gust.refused as f64)
                .number("listen_queue_overflows", gust.overflows.map_or(f64::NAN, |count| count as f64))
                .number("client_core_share", gust.client_share)
                .number("others_on_server_core_share", gust.others_share);
            report::emit(line, args.server.json);
        }
    }

    fn summary_json(&self, args: &StormArgs, phase: &str, gusts: &[Gust], times: &Latencies) -> JsonLine {
        let spread = |figure: fn(&Gust) -> f64| spread(gusts, figure);
        let cpu = spread(|gust| gust.cpu_us);
        let line = JsonLine::new("storm", &self.server.name).text("kind", "summary").text("phase", phase);
        facts(line, args)
            .number("cpu_us_per_connection", cpu.median)
            .number("cpu_us_per_connection_min", cpu.min)
            .number("cpu_us_per_connection_max", cpu.max)
            .number("connections_per_second", spread(|gust| gust.per_second).median)
            .number("all_done_ms", spread(|gust| gust.wall_ms).median)
            .latencies("client", times)
            .number("refused", gusts.iter().map(|gust| gust.refused).sum::<u64>() as f64)
            .number("client_core_share", spread(|gust| gust.client_share).median)
            .number("others_on_server_core_share", spread(|gust| gust.others_share).median)
            .number("listen_queue_overflows", overflows(gusts).map_or(f64::NAN, |count| count as f64))
    }
}

impl Gust {
    fn new(surge: &Surge, core: CoreTime, connections: usize) -> Gust {
        Gust {
            cpu_us: core.cpu_ns() as f64 / 1e3 / connections as f64,
            per_second: connections as f64 / (surge.wall_ns as f64 / 1e9),
            wall_ms: surge.wall_ns as f64 / 1e6,
            others_share: core.others_ns as f64 / core.wall_ns as f64,
            client_share: surge.client_share,
            refused: surge.refusals(),
            overflows: None,
        }
    }
}

fn facts(line: JsonLine, args: &StormArgs) -> JsonLine {
    line.number("connections", args.connections as f64)
        .number("missed", args.missed as f64)
        .number("payload_bytes", args.payload as f64)
}

/// Connects that found the listen queue full; None where the kernel does not tell.
fn overflows(gusts: &[Gust]) -> Option<u64> {
    gusts.iter().map(|gust| gust.overflows).sum()
}

fn spread(gusts: &[Gust], figure: impl Fn(&Gust) -> f64) -> Spread {
    let nothing = Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN };
    Spread::of(gusts.iter().map(figure)).unwrap_or(nothing)
}

/// Publishes one message after the other, each when the last one is answered.
fn publish(publisher: &mut Publisher, book: &mut Book, count: usize) -> Result<(), String> {
    let mut buffer = vec![0; READ_BYTES];
    for _ in 0..count {
        publisher.post(book.publish());
        let begun = Instant::now();
        while publisher.unanswered > 0 {
            publisher.flush()?;
            publisher.read_answers(&mut buffer)?;
            if begun.elapsed() > ANSWER_TIMEOUT {
                return Err(format!("a publish is not answered within {ANSWER_TIMEOUT:?}"));
            }
            sleep(Duration::from_micros(50));
        }
    }
    Ok(())
}

fn print_results(storm: &Storm, others: &[Storm], args: &StormArgs) {
    let all = || std::iter::once(storm).chain(others);
    let json = args.server.json;
    for storm in all() {
        report::emit(storm.summary_json(args, "connect", &storm.connects, &storm.connect_times), json);
        if !storm.recoveries.is_empty() {
            report::emit(storm.summary_json(args, "recover", &storm.recoveries, &storm.recovery_times), json);
        }
    }
    if json {
        return;
    }
    let concurrency = match args.concurrency {
        0 => "all at once".to_owned(),
        some => format!("{some} attempts under way at most"),
    };
    let more = match args.dialect {
        Dialect::Relay => {
            format!(
                "; then cut, {} messages of {} B missed; every message checked",
                args.missed, args.payload
            )
        }
        dialect => format!(", in {}; then cut", dialect.name()),
    };
    println!(
        "storm: {} clients from {} addresses, {concurrency}{more}; {} rounds",
        args.connections, args.sources, args.rounds
    );
    let titles = [
        "",
        "CPU us/client",
        "clients/s",
        "all done ms",
        "client p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "refused",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for storm in all() {
        let name = &storm.server.name;
        rows.push(row(&format!("{name}, connect and subscribe"), &storm.connects, &storm.connect_times));
        if !storm.recoveries.is_empty() {
            let what = format!("{name}, reconnect and recover");
            rows.push(row(&what, &storm.recoveries, &storm.recovery_times));
        }
    }
    print!("{}", table(&rows));
    for other in others {
        // The floors are what there is to reach; peers are told in what the server takes.
        let (over, under) = if other.spare { (other, storm) } else { (storm, other) };
        let pairs = over.connects.iter().zip(&under.connects);
        if let Some(ratio) = Spread::of(pairs.map(|(over, under)| over.cpu_us / under.cpu_us)) {
            let (over, under) = (&over.server.name, &under.server.name);
            println!("{over} / {under}, connect and subscribe: {}, compared round by round", ratio.text(2));
        }
    }
    for (storm, reason, count) in
        all().flat_map(|storm| storm.reasons.iter().map(move |(reason, count)| (storm, reason, count)))
    {
        println!("{}: {count} attempts refused and tried again: {reason}", storm.server.name);
    }
    for storm in all() {
        let name = &storm.server.name;
        match overflows(&storm.connects).zip(overflows(&storm.recoveries)) {
            Some((0, 0)) => println!("{name}: no connect found the listen queue full"),
            Some((connects, recoveries)) => println!(
                "{name}: {} connects found the listen queue full (net.core.somaxconn, or the server's backlog): TCP tries \
                 those again after a second, which is in the times",
                connects + recoveries
            ),
            None => println!("the kernel does not tell of full listen queues"),
        }
    }
    println!(
        "client times are from its first connect until it has everything, its wait for a turn to connect left out"
    );
    for storm in all() {
        let share = spread(&storm.connects, |gust| gust.client_share).median;
        let verdict = if share < SATURATED {
            "the harness was not the bottleneck"
        } else {
            "THE HARNESS WAS THE BOTTLENECK of clients/s and times (not of CPU per client)"
        };
        let percent = share * 100.0;
        println!("{}: client core {percent:.0} %, waiting for it included: {verdict}", storm.server.name);
    }
    let disturbed = |gusts: &[Gust]| spread(gusts, |gust| gust.others_share).median > DISTURBED;
    if all().any(|storm| disturbed(&storm.connects) || disturbed(&storm.recoveries)) {
        println!("OTHER WORK SHARED THE SERVER'S CORE: costs are inflated, measure again on a quiet machine");
    }
    if let Some(load) = load_average() {
        println!("load average of the machine {load:.2}; differences below 5 % mean nothing");
    }
}

fn row(name: &str, gusts: &[Gust], times: &Latencies) -> Vec<String> {
    let ms = |percent| format!("{:.1}", times.us(percent) / 1e3);
    vec![
        name.to_owned(),
        spread(gusts, |gust| gust.cpu_us).text(1),
        spread(gusts, |gust| gust.per_second).text(0),
        spread(gusts, |gust| gust.wall_ms).text(0),
        ms(50.0),
        ms(90.0),
        ms(99.0),
        ms(99.9),
        ms(100.0),
        gusts.iter().map(|gust| gust.refused).sum::<u64>().to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gusts_are_per_client() {
        let surge = Surge {
            wall_ns: 50_000_000,
            client_share: 0.25,
            refused: BTreeMap::from([("status 503".to_owned(), 2), ("connect: refused".to_owned(), 1)]),
            ..Surge::default()
        };
        let core =
            CoreTime { own_ns: 900_000, softirq_ns: 100_000, others_ns: 7_000_000, wall_ns: 70_000_000 };
        let gust = Gust::new(&surge, core, 100);
        assert_eq!((gust.cpu_us, gust.per_second, gust.wall_ms), (10.0, 2000.0, 50.0));
        assert_eq!((gust.others_share, gust.client_share, gust.refused), (0.1, 0.25, 3));
    }
}
