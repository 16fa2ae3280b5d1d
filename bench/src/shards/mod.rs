//! Scenario `shards`: what it costs when publisher, home and subscribers of a channel live on different shards.
//!
//! Connections are put on the shards one wants, channels are picked by their home, and each arrangement (a cell) has
//! its own. The node's own count of its mail proves that a cell is what it says. Nodes with different numbers of
//! shards and all their cells take short turns, many in a round, so that whatever disturbs the machine hits all alike;
//! what is told are medians of differences within a round.

mod cells;
mod clocks;
mod costs;
mod crowd;
mod place;
mod tell;

use crate::contest::{explain, run_number};
use crate::options::at_least;
use crate::report::progress;
use crate::round::Round;
use crate::server::{self, Server};
use crate::stats::{Latencies, Spread};
use crate::{ledger, sys};
use cells::{Cell, Kind};
use clap::Args;
use clocks::{Clocks, Reading};
pub use costs::Costs;
use crowd::{Crowd, Pace, Shape};
use place::{Counts, Finder, Gauge};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Work before the first round that does not count.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long a cell works while the node's mails, sleeps and turns are counted.
const COUNTED: Duration = Duration::from_millis(250);
/// Turns that each cell has in a round.
const SLICES: u32 = 8;
/// Threads that have nothing left to do sleep after so long, and their clocks are right.
const SETTLE: Duration = Duration::from_millis(4);
/// All shards run so long after a node listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Shards a node can have.
const SHARDS_MAX: usize = 64;

/// Options of `shards`.
#[derive(Args, Clone, Debug)]
pub struct ShardsArgs {
    /// Numbers of shards; a node is started for each. The first is what the others are compared with.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    shards: Vec<usize>,
    /// Cores of the nodes. Shards are pinned to one each where there are enough of them.
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    node_cores: Vec<usize>,
    /// Core of the client; without it the scheduler decides.
    #[arg(long)]
    client_core: Option<usize>,
    /// I/O driver of the nodes: auto, uring or epoll.
    #[arg(long, default_value = "auto")]
    driver: String,
    /// Subscribers of the fan-out cells.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Connections that publish in the busy cells.
    #[arg(long, default_value_t = 64)]
    publishers: usize,
    /// Publishes that each of them writes at once. A connection's requests are answered one after the other, so those
    /// of a pipeline wait for a home on another shard one by one.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Rounds; what is told are medians and extremes.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a cell's turns in a round, seconds.
    #[arg(long, default_value_t = 0.4)]
    seconds: f64,
    /// Pause between two looks at the sockets, microseconds.
    #[arg(long, default_value_t = 200)]
    pause_us: u64,
    /// Print JSON lines instead of tables.
    #[arg(long)]
    json: bool,
}

/// What one publish of a cell makes, by the node's own count.
#[derive(Clone, Copy, Debug)]
struct PerPublish {
    mails: f64,
    /// Times a shard went to sleep, and so was woken.
    sleeps: f64,
    turns: f64,
}

/// One cell's turns in one round.
#[derive(Clone, Debug, Default)]
struct Sample {
    messages: f64,
    deliveries: f64,
    clocks: Reading,
    wall_ns: f64,
    client_ns: f64,
    latencies: Latencies,
}

impl Sample {
    /// CPU of the node, nanoseconds per publish.
    fn per_publish(&self) -> f64 {
        self.clocks.cpu() as f64 / self.messages
    }

    /// The same per delivery.
    fn per_delivery(&self) -> f64 {
        self.clocks.cpu() as f64 / self.deliveries
    }

    fn add(&mut self, round: &Round, clocks: &Reading) {
        self.messages += round.messages as f64;
        self.deliveries += round.deliveries as f64;
        self.clocks.add(clocks);
        self.wall_ns += round.wall_ns as f64;
        self.client_ns += round.client_ns as f64;
        self.latencies.add(&round.latencies);
    }
}

/// A cell with its load.
struct Place {
    cell: Cell,
    crowd: Crowd,
    counted: PerPublish,
    samples: Vec<Sample>,
}

/// A node with its cells.
struct Node {
    server: Server,
    shards: usize,
    clocks: Clocks,
    gauge: Gauge,
    places: Vec<Place>,
}

impl Node {
    fn start(args: &ShardsArgs, shards: usize) -> Result<Node, String> {
        let address = server::free_address()?;
        let name = format!("fanwire, {shards} shard{}", if shards == 1 { "" } else { "s" });
        let program = server::fanwire(address, &[])?.get_program().to_owned();
        // A server is started pinned to one core; taskset (util-linux) gives this one all of its own.
        let cores: Vec<String> = args.node_cores.iter().map(ToString::to_string).collect();
        let mut command = Command::new("taskset");
        command.arg("--cpu-list").arg(cores.join(",")).arg(program);
        command.args(["serve", "--listen", &address.to_string(), "--shards", &shards.to_string()]);
        command.args(["--driver", &args.driver, "--echo", "--log", "warn"]);
        // Nobody is pinged or given up while it is another's turn.
        command.env("FANWIRE_LIMITS_IDLE_TIMEOUT", "1h").env("FANWIRE_LIMITS_WEBSOCKET_PING_INTERVAL", "1h");
        let server = Server::start(&name, command, address, args.node_cores[0])?;
        let clocks = all_clocks(&server, shards, &args.node_cores)?;
        let gauge = Gauge::connect(address)?;
        Ok(Node { server, shards, clocks, gauge, places: Vec::new() })
    }

    /// Connects the cells.
    fn fill(&mut self, args: &ShardsArgs) -> Result<(), String> {
        let run = run_number();
        let mut finder = Finder::new(self.server.address, run);
        for cell in cells::all(self.shards, args.publishers, args.pipeline, args.subscribers) {
            progress(&format!("{}: {} connects", self.server.name, cell.name));
            let channel = finder.channel(&mut self.gauge, cell.home)?;
            let pace = match cell.kind {
                Kind::Lone => Pace::Wait,
                Kind::Busy | Kind::Crowd => Pace::Sweep(Duration::from_micros(args.pause_us)),
            };
            let shape = Shape {
                channel,
                publishers: cell.publishers.clone(),
                subscribers: cell.subscribers.clone(),
                window: cell.window,
                payload_bytes: args.payload,
                pace,
            };
            let mut crowd = Crowd::connect(self.server.address, shape, run)?;
            crowd.round(WARM_UP)?;
            let counted = count(&mut self.gauge, &cell, &mut crowd)?;
            self.places.push(Place { cell, crowd, counted, samples: Vec::new() });
        }
        Ok(())
    }

    /// A turn of every cell, as a part of the round that was begun last.
    fn turns(&mut self, time: Duration) -> Result<(), String> {
        for place in &mut self.places {
            let before = self.clocks.read()?;
            let round = place.crowd.round(time)?;
            sleep(SETTLE);
            let clocks = self.clocks.read()?.since(&before);
            if let Some(sample) = place.samples.last_mut() {
                sample.add(&round, &clocks);
            }
        }
        for place in &mut self.places {
            place.crowd.attend()?;
        }
        Ok(())
    }

    fn begin_round(&mut self) {
        self.places.iter_mut().for_each(|place| place.samples.push(Sample::default()));
    }

    fn place(&self, name: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.cell.name == name)
    }

    /// The samples of the cell called `name`.
    fn samples(&self, name: &str) -> &[Sample] {
        self.place(name).map_or(&[], |place| &place.samples)
    }

    /// What a publish of the cell called `name` makes more than one of the cell `base`.
    fn counted_more(&self, name: &str, base: &str) -> Option<PerPublish> {
        let (cell, base) = (self.place(name)?.counted, self.place(base)?.counted);
        Some(PerPublish {
            mails: cell.mails - base.mails,
            sleeps: cell.sleeps - base.sleeps,
            turns: cell.turns - base.turns,
        })
    }

    /// A figure of a cell over all rounds.
    fn spread(&self, name: &str, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples(name).iter().map(figure))
    }

    /// The difference of a figure between two cells, round by round.
    fn difference(&self, name: &str, base: &str, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        let pairs = self.samples(name).iter().zip(self.samples(base));
        Spread::of(pairs.map(|(a, b)| figure(a) - figure(b)))
    }
}

/// Counts what the publishes of a cell make, and refuses a cell that is not what it says.
fn count(gauge: &mut Gauge, cell: &Cell, crowd: &mut Crowd) -> Result<PerPublish, String> {
    let before = gauge.read()?;
    let round = crowd.round(COUNTED)?;
    let counts: Counts = gauge.read()?.since(before);
    if counts.mails != round.messages * cell.mails() {
        return Err(format!(
            "{}: {} publishes sent {} mails between shards, not {} each",
            cell.name,
            round.messages,
            counts.mails,
            cell.mails()
        ));
    }
    let per_publish = |count: u64| count as f64 / round.messages as f64;
    Ok(PerPublish {
        mails: per_publish(counts.mails),
        sleeps: per_publish(counts.sleeps),
        turns: per_publish(counts.turns),
    })
}

/// A node listens before all its shards run.
fn all_clocks(server: &Server, shards: usize, cores: &[usize]) -> Result<Clocks, String> {
    let begun = Instant::now();
    loop {
        let clocks = Clocks::of(server.root(), cores)?;
        if clocks.shards() == shards {
            return Ok(clocks);
        }
        if begun.elapsed() > START_TIMEOUT {
            return Err(format!("{} has {} threads named shard-N", server.name, clocks.shards()));
        }
        sleep(Duration::from_millis(20));
    }
}

/// Runs the scenario.
pub fn run(args: &ShardsArgs) -> Result<(), String> {
    let nodes = measure(args)?;
    // Made in any case: the page is made of them.
    let lines = tell::json(&nodes, args);
    if args.json {
        lines.iter().for_each(|line| println!("{line}"));
    } else {
        tell::tables(&nodes, args);
    }
    Ok(())
}

/// Runs the scenario for all that the model needs of it. Returns its JSON lines.
pub fn measure_for_model(rounds: usize, seconds: f64) -> Result<String, String> {
    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        args: ShardsArgs,
    }
    let defaults: Defaults = clap::Parser::parse_from(["shards", "--shards", "1,2,32"]);
    let args = ShardsArgs { rounds, seconds, ..defaults.args };
    Ok(tell::json(&measure(&args)?, &args).join("\n"))
}

fn measure(args: &ShardsArgs) -> Result<Vec<Node>, String> {
    check(args)?;
    if let Some(core) = args.client_core {
        sys::pin_to_core(core).map_err(|e| format!("cannot pin the client to core {core}: {e}"))?;
    }
    sys::tighten_timer_slack();
    sys::raise_fd_limit().map_err(|e| format!("limit of open files: {e}"))?;
    let mut nodes: Vec<Node> = Vec::with_capacity(args.shards.len());
    for &shards in &args.shards {
        let mut node = Node::start(args, shards)?;
        node.fill(args).map_err(|error| explain(&mut node.server, error))?;
        node.server.pause();
        nodes.push(node);
    }
    let time = Duration::from_secs_f64(args.seconds) / SLICES;
    for round in 1..=args.rounds {
        nodes.iter_mut().for_each(Node::begin_round);
        for _ in 0..SLICES {
            for node in &mut nodes {
                node.server.resume();
                node.turns(time).map_err(|error| explain(&mut node.server, error))?;
                node.server.pause();
            }
        }
        progress(&format!("round {round}/{}", args.rounds));
    }
    Ok(nodes)
}

fn check(args: &ShardsArgs) -> Result<(), String> {
    crate::options::check_rounds(args.rounds, args.seconds)?;
    at_least("--subscribers", args.subscribers, 1)?;
    at_least("--publishers", args.publishers, 1)?;
    at_least("--pipeline", args.pipeline, 1)?;
    at_least("--payload", args.payload, ledger::TAG_BYTES)?;
    at_least("number of --shards", args.shards.len(), 1)?;
    at_least("number of --node-cores", args.node_cores.len(), 1)?;
    if args.publishers > ledger::PUBLISHERS_MAX {
        return Err(format!("--publishers must be at most {}", ledger::PUBLISHERS_MAX));
    }
    if args.shards.iter().any(|&shards| shards == 0 || shards > SHARDS_MAX) {
        return Err(format!("--shards must lie between 1 and {SHARDS_MAX}"));
    }
    Ok(())
}
