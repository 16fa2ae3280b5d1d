//! Scenario `fanout`: what it costs a server to put one message on the wires of many.

use crate::floor::{self, Mode};
use crate::load::{ClientMode, Load, Round, Shape};
use crate::options::{FanoutArgs, Setup};
use crate::procfs::{self, ProcessTree};
use crate::report::{JsonLine, progress, table};
use crate::server::{self, Server};
use crate::stats::{Spread, percentile};
use std::thread::sleep;
use std::time::Duration;

/// Messages before the first round are not counted: buffers, caches and branch predictors fill.
const WARM_UP: Duration = Duration::from_millis(300);
/// Time a server gets after a round to finish what it still has to do for it.
const SETTLE: Duration = Duration::from_millis(20);
/// A client that wants to run for this share of the time counts as the bottleneck.
const SATURATED: f64 = 0.9;
/// Others on the server's core with more than this share of it spoil the figures: they take its caches.
const DISTURBED: f64 = 0.1;

/// A server with its load and what the rounds against it brought.
struct Contender {
    server: Server,
    load: Load,
    processes: ProcessTree,
    rounds: Vec<Figures>,
    latencies_ns: Vec<u64>,
}

/// One round in figures.
#[derive(Clone, Copy, Debug)]
struct Figures {
    messages: f64,
    /// CPU of the server's processes, nanoseconds per delivery.
    own_ns: f64,
    /// CPU of the core's ksoftirqd, nanoseconds per delivery.
    softirq_ns: f64,
    per_second: f64,
    /// Deliveries per read of the client: how much the server has joined.
    joined: f64,
    /// Share of the core's time the server took.
    server_share: f64,
    client_share: f64,
    /// Share of the time the client wanted to run and others had its core.
    client_delay_share: f64,
    /// Share of the server's core that went to anybody else, the hypervisor included.
    others_share: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl Figures {
    fn cpu_ns(&self) -> f64 {
        self.own_ns + self.softirq_ns
    }
}

/// Runs the scenario. `brief` prints the two numbers instead of the table.
pub fn run(args: &FanoutArgs, brief: bool) -> Result<(), String> {
    let setup = Setup::prepare(&args.server)?;
    let shape = args.shape()?;
    setup.check_descriptors(shape.subscribers * if args.floor { 3 } else { 1 } + shape.publishers * 3)?;
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u32);
    let mut contenders = Vec::new();
    contenders.push(Contender::start(setup.server()?, shape.clone(), seed)?);
    if args.floor {
        let mut modes = vec![Mode::Send];
        if floor::uring_available() {
            modes.push(Mode::Uring);
        }
        for mode in modes {
            let address = server::free_address()?;
            let name = format!("floor ({})", mode.name());
            let server = Server::start(&name, server::floor(address, mode)?, address, setup.server_core)?;
            let shape = Shape {
                path: "/sub/bench".to_owned(),
                publish_path: "/pub/bench".to_owned(),
                ..shape.clone()
            };
            contenders.push(Contender::start(server, shape, seed)?);
        }
    }
    for round in 1..=args.rounds {
        for contender in &mut contenders {
            let figures = contender.round(args.seconds)?;
            progress(&format!(
                "round {round}/{}  {:<14} {:.0} ns CPU per delivery",
                args.rounds,
                contender.server.name,
                figures.cpu_ns()
            ));
            if args.server.json {
                println!("{}", contender.round_json(round, &shape));
            }
        }
    }
    for contender in &mut contenders {
        contender.finish()?;
    }
    print_results(&contenders, &shape, args, brief);
    Ok(())
}

impl Contender {
    fn start(mut server: Server, shape: Shape, seed: u32) -> Result<Contender, String> {
        progress(&format!("{}: {} subscribers connect", server.name, shape.subscribers));
        let mut load =
            Load::connect(server.address, shape, seed).map_err(|error| explain(&mut server, error))?;
        load.round(WARM_UP).map_err(|error| explain(&mut server, error))?;
        let processes = server.processes()?;
        Ok(Contender { server, load, processes, rounds: Vec::new(), latencies_ns: Vec::new() })
    }

    fn round(&mut self, seconds: f64) -> Result<Figures, String> {
        let clocks = |processes: &ProcessTree, core| -> Result<_, String> {
            let (own, softirq) = processes.cpu_ns().map_err(|e| format!("CPU time of the server: {e}"))?;
            let (busy, stolen) = procfs::core_busy_ns(core).map_err(|e| e.to_string())?;
            Ok((own, softirq, busy + stolen))
        };
        let core = self.server.core;
        // What others leave on the core is cold; a turn before the clock starts warms it.
        let warm = self.load.round(Duration::from_millis(30));
        warm.map_err(|error| explain(&mut self.server, error))?;
        sleep(SETTLE);
        let before = clocks(&self.processes, core)?;
        let round = self.load.round(Duration::from_secs_f64(seconds));
        let round = round.map_err(|error| explain(&mut self.server, error))?;
        sleep(SETTLE);
        let after = clocks(&self.processes, core)?;
        let own = after.0.saturating_sub(before.0);
        let softirq = after.1.saturating_sub(before.1);
        let others = (after.2.saturating_sub(before.2)).saturating_sub(own + softirq);
        let figures = figures_of(&round, own, softirq, others);
        self.rounds.push(figures);
        self.latencies_ns.extend(round.latencies_ns);
        Ok(figures)
    }

    fn finish(&mut self) -> Result<(), String> {
        self.load.check_nothing_left().map_err(|error| explain(&mut self.server, error))?;
        self.latencies_ns.sort_unstable();
        Ok(())
    }

    fn spread(&self, figure: impl Fn(&Figures) -> f64) -> Spread {
        let nothing = Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN };
        Spread::of(self.rounds.iter().map(figure)).unwrap_or(nothing)
    }

    fn latency_us(&self, percent: f64) -> f64 {
        percentile(&self.latencies_ns, percent).map_or(f64::NAN, |ns| ns as f64 / 1e3)
    }

    fn round_json(&self, round: usize, shape: &Shape) -> String {
        let Some(figures) = self.rounds.last() else { return String::new() };
        JsonLine::new("fanout", &self.server.name)
            .number("round", round as f64)
            .number("subscribers", shape.subscribers as f64)
            .number("publishers", shape.publishers as f64)
            .number("inflight", shape.window as f64)
            .number("payload_bytes", shape.payload_bytes as f64)
            .number("messages", figures.messages)
            .number("cpu_ns_per_delivery", figures.cpu_ns())
            .number("ksoftirqd_ns_per_delivery", figures.softirq_ns)
            .number("deliveries_per_second", figures.per_second)
            .number("deliveries_per_read", figures.joined)
            .number("latency_p50_us", figures.p50_us)
            .number("latency_p99_us", figures.p99_us)
            .number("latency_max_us", figures.max_us)
            .number("server_core_share", figures.server_share)
            .number("client_core_share", figures.client_share)
            .number("client_delay_share", figures.client_delay_share)
            .number("others_on_server_core_share", figures.others_share)
            .end()
    }
}

/// A failure is often the server's end: then that is what to tell.
fn explain(server: &mut Server, error: String) -> String {
    // The process may need a moment to be gone after its sockets are.
    sleep(Duration::from_millis(100));
    match server.check_alive() {
        Ok(()) => format!("{}: {error}", server.name),
        Err(death) => format!("{death}\n({error})"),
    }
}

fn figures_of(round: &Round, own_ns: u64, softirq_ns: u64, others_ns: u64) -> Figures {
    let deliveries = round.deliveries as f64;
    let wall = round.wall_ns as f64;
    let settled = wall + SETTLE.as_nanos() as f64;
    let latency = |percent| percentile(&round.latencies_ns, percent).map_or(f64::NAN, |ns| ns as f64 / 1e3);
    Figures {
        messages: round.messages as f64,
        own_ns: own_ns as f64 / deliveries,
        softirq_ns: softirq_ns as f64 / deliveries,
        per_second: deliveries / wall * 1e9,
        joined: deliveries / round.reads as f64,
        server_share: (own_ns + softirq_ns) as f64 / wall,
        client_share: round.client_ns as f64 / wall,
        client_delay_share: round.client_delay_ns as f64 / wall,
        others_share: others_ns as f64 / settled,
        p50_us: latency(50.0),
        p99_us: latency(99.0),
        max_us: latency(100.0),
    }
}

/// Ratio of `contender` to the cheapest floor, round by round, and that floor's name.
fn ratio_to_floor<'a>(contender: &Contender, floors: &'a [Contender]) -> Option<(Spread, &'a Contender)> {
    let median = |floor: &Contender| floor.spread(Figures::cpu_ns).median;
    let floor = floors.iter().min_by(|a, b| median(a).total_cmp(&median(b)))?;
    let ratios = contender.rounds.iter().zip(&floor.rounds).map(|(own, least)| own.cpu_ns() / least.cpu_ns());
    Some((Spread::of(ratios)?, floor))
}

fn print_results(contenders: &[Contender], shape: &Shape, args: &FanoutArgs, brief: bool) {
    let Some((first, floors)) = contenders.split_first() else { return };
    let ratio = ratio_to_floor(first, floors);
    if args.server.json {
        for contender in contenders {
            println!("{}", summary_json(contender, ratio_to_floor(contender, floors).map(|found| found.0)));
        }
        return;
    }
    let kind = if shape.batch { "pipelined" } else { "in flight" };
    println!(
        "{} subscribers, {} publisher(s), {} B, {} {kind}; {} rounds of {} s; every delivery checked",
        shape.subscribers, shape.publishers, shape.payload_bytes, shape.window, args.rounds, args.seconds
    );
    if brief {
        println!("CPU per delivery   {} ns", first.spread(Figures::cpu_ns).text(0));
        if let Some((ratio, floor)) = &ratio {
            let least = floor.spread(Figures::cpu_ns).text(0);
            println!("ratio to the floor {}   {}: {least} ns", ratio.text(2), floor.server.name);
        }
    } else {
        print_table(contenders, shape);
        if let Some((ratio, floor)) = &ratio {
            println!(
                "{} / {}: {}, compared round by round",
                first.server.name,
                floor.server.name,
                ratio.text(2)
            );
        }
    }
    print_verdict(contenders);
}

fn print_table(contenders: &[Contender], shape: &Shape) {
    let titles =
        ["", "CPU ns/delivery", "of it ksoftirqd", "deliveries/s", "per read", "p50 us", "p99 us", "max us"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for contender in contenders {
        rows.push(vec![
            contender.server.name.clone(),
            contender.spread(Figures::cpu_ns).text(0),
            contender.spread(|f| f.softirq_ns).text(0),
            contender.spread(|f| f.per_second).text(0),
            format!("{:.1}", contender.spread(|f| f.joined).median),
            format!("{:.0}", contender.latency_us(50.0)),
            format!("{:.0}", contender.latency_us(99.0)),
            format!("{:.0}", contender.latency_us(100.0)),
        ]);
    }
    print!("{}", table(&rows));
    if shape.client == ClientMode::Sweep {
        println!(
            "latency: publish to last delivery, known to within the client's pause of {:?}",
            shape.pause
        );
    }
}

/// Whether the figures are the server's or the harness's, and whether the machine was quiet enough.
fn print_verdict(contenders: &[Contender]) {
    let percent = |share: f64| share * 100.0;
    let mut disturbed = false;
    for contender in contenders {
        let client = contender.spread(|f| f.client_share).median;
        let delay = contender.spread(|f| f.client_delay_share).median;
        let server = contender.spread(|f| f.server_share).median;
        let others = contender.spread(|f| f.others_share).median;
        disturbed |= others > DISTURBED;
        let verdict = if client + delay < SATURATED {
            "the harness was not the bottleneck"
        } else {
            "THE HARNESS WAS THE BOTTLENECK of deliveries/s (not of CPU per delivery)"
        };
        println!(
            "{}: client core {:.0} % (kept waiting {:.0} %), server core {:.0} % (others there {:.0} %): {verdict}",
            contender.server.name,
            percent(client),
            percent(delay),
            percent(server),
            percent(others)
        );
    }
    if disturbed {
        println!("OTHER WORK SHARED THE SERVER'S CORE: costs are inflated, measure again on a quiet machine");
    }
    if let Some(load) = procfs::load_average() {
        println!("load average of the machine {load:.2}; differences below 5 % mean nothing");
    }
}

fn summary_json(contender: &Contender, ratio: Option<Spread>) -> String {
    let cpu = contender.spread(Figures::cpu_ns);
    let mut line = JsonLine::new("fanout", &contender.server.name)
        .text("kind", "summary")
        .number("cpu_ns_per_delivery", cpu.median)
        .number("cpu_ns_per_delivery_min", cpu.min)
        .number("cpu_ns_per_delivery_max", cpu.max)
        .number("deliveries_per_second", contender.spread(|f| f.per_second).median)
        .number("latency_p50_us", contender.latency_us(50.0))
        .number("latency_p99_us", contender.latency_us(99.0))
        .number("latency_max_us", contender.latency_us(100.0))
        .number("client_core_share", contender.spread(|f| f.client_share).median);
    if let Some(ratio) = ratio {
        line = line
            .number("ratio_to_floor", ratio.median)
            .number("ratio_to_floor_min", ratio.min)
            .number("ratio_to_floor_max", ratio.max);
    }
    line.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_delivery_and_per_second() {
        let round = Round {
            messages: 10,
            deliveries: 1000,
            wall_ns: 2_000_000,
            client_ns: 500_000,
            client_delay_ns: 1_000_000,
            reads: 250,
            latencies_ns: (1..=10).map(|i| i * 1000).collect(),
        };
        let figures = figures_of(&round, 900_000, 100_000, 0);
        assert_eq!((figures.cpu_ns(), figures.softirq_ns), (1000.0, 100.0));
        assert_eq!((figures.per_second, figures.joined), (500_000.0, 4.0));
        assert_eq!((figures.server_share, figures.client_share), (0.5, 0.25));
        assert_eq!(figures.client_delay_share, 0.5);
        assert_eq!((figures.p50_us, figures.max_us), (5.0, 10.0));
    }
}
