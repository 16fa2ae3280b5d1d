//! Scenario `mixed`: one channel, and subscribers of every transport on it at once.

use crate::contest::{self, Contender, Plan};
use crate::fanout;
use crate::ledger::TAG_BYTES;
use crate::load::{ClientMode, Shape};
use crate::locations::Locations;
use crate::options::{ServerArgs, Setup, at_least, check_rounds};
use crate::report::{self, JsonLine, table};
use crate::wire::{App, Carrier, Dialect, Wire};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// Messages in flight. Long polls get what they miss between two polls from the store, which must hold as many.
const WINDOW: usize = 64;

/// Options of `mixed`.
#[derive(Args, Clone, Debug)]
pub struct MixedArgs {
    /// Server under load. It must give raw streams at --raw-path, and compress.
    #[command(flatten)]
    server: ServerArgs,
    /// Subscribers of each transport, a connection each.
    #[arg(long, default_value_t = 100)]
    subscribers: usize,
    /// Transports. Default: all.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    transports: Vec<Transport>,
    /// Messages per second, each at its scheduled time; latency counts from that time.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 50.0)]
    rate: f64,
    /// Where subscribers connect.
    #[arg(long, default_value = "/sub/bench")]
    path: String,
    /// Where those of raw streams do.
    #[arg(long, default_value = "/raw/bench")]
    raw_path: String,
    /// Where messages are posted.
    #[arg(long, default_value = "/pub/bench")]
    publish_path: String,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a round, seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How the client learns of deliveries.
    #[arg(long, value_enum, default_value_t = ClientMode::Epoll)]
    client: ClientMode,
    /// Pause between two sweeps, microseconds.
    #[arg(long, default_value_t = 300)]
    pause_us: u64,
    /// Source addresses used, 127.0.0.1 and up: 28,000 connections each.
    #[arg(long, default_value_t = 1)]
    sources: usize,
}

/// What subscribers of the channel have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Websocket,
    RelayMeta,
    Deflate,
    Eventsource,
    Chunked,
    Multipart,
    Raw,
    Longpoll,
}

impl MixedArgs {
    fn wire(&self, transport: Transport) -> Wire {
        let wire = Wire::relay(&self.path);
        match transport {
            Transport::Websocket => wire,
            Transport::RelayMeta => {
                Wire { path: wire.path, ..Wire::of(Dialect::RelayMeta, "", &App::default()) }
            }
            Transport::Deflate => wire.deflated(),
            Transport::Eventsource => wire.on(Carrier::Eventsource),
            Transport::Chunked => wire.on(Carrier::Chunked),
            Transport::Multipart => wire.on(Carrier::Multipart),
            Transport::Raw => Wire::relay(&self.raw_path).on(Carrier::Raw),
            Transport::Longpoll => wire.on(Carrier::Longpoll),
        }
    }

    fn shape(&self) -> Result<Shape, String> {
        check_rounds(self.rounds, self.seconds)?;
        at_least("--subscribers", self.subscribers, 1)?;
        at_least("--payload", self.payload, TAG_BYTES)?;
        if !(0.1..=1e6).contains(&self.rate) {
            return Err("--rate must lie between 0.1 and 1000000".to_owned());
        }
        let chosen = match &self.transports[..] {
            [] => Transport::value_variants(),
            some => some,
        };
        let wires: Vec<Wire> = chosen.iter().map(|transport| self.wire(*transport)).collect();
        if (1..wires.len()).any(|at| wires[..at].contains(&wires[at])) {
            return Err("--transports names one twice".to_owned());
        }
        if wires.len() < 2 {
            return Err("--transports names one: measure it with `fanout --carrier`".to_owned());
        }
        Ok(Shape {
            subscribers: self.subscribers * wires.len(),
            publishers: 1,
            window: WINDOW,
            batch: false,
            rate: Some(self.rate),
            payload_bytes: self.payload,
            wires,
            publish_path: self.publish_path.clone(),
            sources: self.sources,
            client: self.client,
            pause: Duration::from_micros(self.pause_us),
        })
    }
}

/// Runs the scenario.
pub fn run(args: &MixedArgs) -> Result<(), String> {
    let shape = args.shape()?;
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(shape.subscribers + 1)?;
    let plan = Plan {
        scenario: "mixed",
        unit: "delivery",
        units: "deliveries",
        facts: vec![
            ("transports", shape.wires.len() as f64),
            ("subscribers_per_transport", args.subscribers as f64),
            ("rate_per_second", args.rate),
            ("payload_bytes", shape.payload_bytes as f64),
        ],
        rounds: args.rounds,
        seconds: args.seconds,
        json: args.server.json,
    };
    let run = contest::run_number();
    let server = setup.server_with(&Locations { raw: false, raw_beside: true, ..shape.locations() }, &[])?;
    let mut contenders = [Contender::start(server, |address| fanout::connect(address, shape.clone(), run))?];
    contenders[0].wire = shape.label();
    contest::compete(&mut contenders, &plan)?;
    let [contender] = &contenders;
    let rows = transport_rows(args, &shape, contender)?;
    if plan.json {
        contest::print_summaries(contender, &[], &[], &plan);
    }
    rows.iter().for_each(|row| report::emit(row.json(contender), plan.json));
    if plan.json {
        return Ok(());
    }
    println!(
        "mixed: one channel, {} subscribers of each of {} transports, {} B at {} messages/s; {} rounds of {} s; every \
         delivery checked",
        args.subscribers,
        shape.wires.len(),
        shape.payload_bytes,
        args.rate,
        plan.rounds,
        plan.seconds
    );
    contest::print_table(&contenders, &plan);
    let titles = ["", "subscribers", "deliveries", "p50 us", "p99 us", "p99.9 us", "max us"];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    print!("{}", table(&lines));
    println!(
        "latency above: from the scheduled time to the last delivery of all; by transport: to each delivery. \
         Sockets are read in the order the kernel tells them"
    );
    println!("{}", fanout::latency_note(&shape));
    contest::print_lags(&contenders);
    contest::print_verdict(&contenders, &plan);
    Ok(())
}

/// What one transport got.
struct Row {
    name: &'static str,
    subscribers: usize,
    deliveries: u64,
    /// 50, 99, 99.9 and 100 of 100 deliveries took no longer, microseconds.
    latency_us: [f64; 4],
}

/// The rows of all transports. Each must have as many deliveries as any other.
fn transport_rows(args: &MixedArgs, shape: &Shape, contender: &Contender) -> Result<Vec<Row>, String> {
    let rows: Vec<Row> = (shape.wires.iter().zip(&contender.parts))
        .map(|(wire, part)| Row {
            name: wire.name(),
            subscribers: args.subscribers,
            deliveries: part.len(),
            latency_us: [50.0, 99.0, 99.9, 100.0].map(|percent| part.us(percent)),
        })
        .collect();
    if let Some(row) = rows.iter().find(|row| row.deliveries != rows[0].deliveries) {
        return Err(format!(
            "{} had {} deliveries, {} had {}",
            row.name, row.deliveries, rows[0].name, rows[0].deliveries
        ));
    }
    Ok(rows)
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.name.to_owned(), self.subscribers.to_string(), self.deliveries.to_string()];
        cells.extend(self.latency_us.map(|us| format!("{us:.0}")));
        cells
    }

    fn json(&self, contender: &Contender) -> JsonLine {
        let [p50, p99, p999, max] = self.latency_us;
        JsonLine::new("mixed", &contender.server.name)
            .text("kind", "transport")
            .text("transport", self.name)
            .number("subscribers", self.subscribers as f64)
            .number("deliveries", self.deliveries as f64)
            .number("latency_p50_us", p50)
            .number("latency_p99_us", p99)
            .number("latency_p999_us", p999)
            .number("latency_max_us", max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::Mode;
    use crate::load::Load;
    use crate::load::tests::start_floor;
    use crate::round::Work;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: MixedArgs,
    }

    fn args(line: &str) -> MixedArgs {
        Command::parse_from(std::iter::once("mixed").chain(line.split_whitespace())).args
    }

    #[test]
    fn all_transports_take_part_unless_some_are_named() {
        let shape = args("--subscribers 3").shape().unwrap();
        let names: Vec<&str> = shape.wires.iter().map(Wire::name).collect();
        let all: Vec<String> = Transport::value_variants()
            .iter()
            .map(|transport| transport.to_possible_value().unwrap().get_name().to_owned())
            .collect();
        assert_eq!(names, all);
        assert_eq!((shape.subscribers, shape.wires[6].path.as_str()), (24, "/raw/bench"));
        assert!(args("--transports raw").shape().is_err());
        assert!(args("--transports raw,longpoll,raw").shape().is_err());
        assert_eq!(args("--transports raw,longpoll").shape().unwrap().wires.len(), 2);
    }

    #[test]
    fn deliveries_are_told_by_transport() {
        // The floor knows WebSocket only: the same wire on two paths.
        let mut shape = args("--subscribers 4 --rate 500 --transports websocket,raw").shape().unwrap();
        shape.wires[1] = Wire::relay("/sub/other");
        let mut load = Load::connect(start_floor(Mode::Send), shape, 7).unwrap();
        let round = load.round(Duration::from_millis(40)).unwrap();
        assert_eq!(round.messages, 20);
        let counts: Vec<u64> = round.parts.iter().map(|part| part.len()).collect();
        assert_eq!(counts, [80, 80]);
        let last = round.parts.iter().map(|part| part.us(100.0)).fold(0.0, f64::max);
        assert!(last <= round.latencies.us(100.0) * 1.01, "no delivery is later than the last one");
    }
}
