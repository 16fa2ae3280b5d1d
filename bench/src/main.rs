//! Load client for fanwire: what a delivery, an echo, a publish, a connect and an idle connection cost, and the floor and
//! other servers to compare with.
//!
//! The client is pinned to one core and the server to another. Costs are the CPU clock of the server's processes plus
//! that of its core's ksoftirqd, because on loopback the receiving half of a send runs there. Every delivery is checked
//! byte for byte; a run with anything missing, doubled or out of order fails.

mod churn;
mod client;
mod compare;
mod contest;
mod durable;
mod echo;
mod fanout;
mod floor;
mod frame;
mod host;
mod http;
mod idle;
mod inbox;
mod invocation;
mod ledger;
mod load;
mod locations;
mod mixed;
mod model;
mod node;
mod options;
mod page;
mod peers;
mod presence;
mod procfs;
mod profiles;
mod publish;
mod report;
mod rooms;
mod round;
mod server;
mod shards;
mod slow;
mod soak;
mod stats;
mod storm;
mod sys;
mod vitals;
mod watchdog;
mod wire;

use clap::{Parser, Subcommand};
use invocation::Invocation;
use options::{EchoArgs, FanoutArgs, IdleArgs, PublishArgs, StormArgs};
use page::PageArgs;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A storm round is over within this, seconds.
const STORM_ROUND_S: f64 = 30.0;
/// Longest time limit: a month.
const LONGEST_LIMIT: Duration = Duration::from_secs(31 * 86_400);

/// Measures fanwire, or any server with its routes. Without a command: the canonical fan-out against fanwire and the
/// floor, in two numbers.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// Ends the run with status 1 when it takes longer, seconds. Default: 600 beyond what the scenario plans; none for
    /// the programs that serve.
    #[arg(long, global = true, value_name = "SECONDS")]
    time_limit: Option<f64>,
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// Write a page with charts of all figures, one HTML file without scripts.
    #[arg(long, global = true, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Named load of the scenario; see the end of its help.
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Scenario {
    /// One message to many WebSocket subscribers, in a closed loop or at a rate: CPU per delivery, rate, latency.
    Fanout(FanoutArgs),
    /// Connections that send a message when the last one is back: CPU per message, rate, latency.
    Echo(EchoArgs),
    /// HTTP publishes over keep-alive connections to one subscriber: CPU per publish with its delivery, rate, latency.
    Publish(PublishArgs),
    /// A scenario against other servers and the floor, all in turn: CPU, rate, latency and their ratios. Installs the
    /// other servers where they are missing, and says which it skips and why.
    #[command(disable_help_flag = true, override_usage = compare::HELP)]
    Compare {
        /// `compare --help` tells them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Publishes to durable channels beside publishes to channels in memory: rate, time until acknowledged, CPU.
    Durable(durable::DurableArgs),
    /// Everybody connects at once, is cut, and comes back for the messages missed: CPU per client, time until all have
    /// everything, refused connections.
    Storm(StormArgs),
    /// Many channels with few subscribers each: CPU per delivery and per publish, rate, latency.
    Rooms(rooms::RoomsArgs),
    /// One channel with subscribers of every transport at once: CPU per delivery, latency by transport.
    Mixed(mixed::MixedArgs),
    /// Members of a Pusher presence channel come and go: CPU per announcement, latency.
    Presence(presence::PresenceArgs),
    /// Thousands of users join presence channels at once, and leave at once: CPU per join and leave, bytes, latency.
    PresenceStorm(presence::storm::PresenceStormArgs),
    /// Many idle WebSocket connections: bytes each in the server and in the kernel, and CPU while nothing happens.
    Idle(IdleArgs),
    /// Some of the subscribers stop reading, in every other round: latency and CPU of the others with and without, what
    /// becomes of those that stall, memory.
    Slow(slow::SlowArgs),
    /// Connections come and go in every way they do: what the server holds after each cycle must be what it held after the
    /// first.
    Churn(churn::ChurnArgs),
    /// Traffic of all dialects with churn and injected faults for an hour: nobody who stays may miss anything, and when all
    /// have left the server must hold what it held after a warm-up.
    Soak(soak::SoakArgs),
    /// Makes one page of the JSON lines that earlier runs have printed.
    Page(PageArgs),
    /// Publishers, channels and subscribers on different shards: what a publish costs more for each, and whether deliveries
    /// stay as cheap with more shards.
    Shards(shards::ShardsArgs),
    /// What the measured parts add up to on 1 to 64 shards, and what is full first.
    Model(model::ModelArgs),
    /// The floor: the least a server can do for a fan-out or an echo.
    Floor {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// How to write.
        #[arg(long, value_enum, default_value_t = floor::Mode::Send)]
        mode: floor::Mode,
    },
    /// Accepts connections and holds them: the sockets without a server, which `idle` compares with.
    #[command(hide = true)]
    Bare {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
    },
}

/// How long a scenario's rounds take; those that know better tell the watchdog themselves.
fn planned(scenario: &Option<Scenario>) -> Duration {
    // Whoever competes has a turn each: at most the server and two floors.
    let rounds = |rounds: usize, seconds: f64| {
        Duration::from_secs_f64(rounds as f64 * seconds.clamp(0.0, 3600.0) * 3.0)
    };
    match scenario {
        Some(Scenario::Fanout(args)) => rounds(args.load.rounds, args.load.seconds),
        Some(Scenario::Echo(args)) => {
            rounds(args.rounds * args.connections.len() * args.payload.len(), args.seconds)
        }
        Some(Scenario::Publish(args)) => rounds(args.rounds, args.seconds),
        Some(Scenario::Storm(args)) => rounds(args.rounds, STORM_ROUND_S),
        _ => Duration::ZERO,
    }
}

fn dispatch(arguments: Arguments, brief: bool) -> Result<(), String> {
    if !matches!(arguments.scenario, Some(Scenario::Floor { .. } | Scenario::Bare { .. })) {
        let limit = arguments.time_limit.map(|seconds| {
            let limit = Duration::try_from_secs_f64(seconds).ok().filter(|limit| *limit <= LONGEST_LIMIT);
            limit.ok_or_else(|| format!("--time-limit must lie between 0 and {}", LONGEST_LIMIT.as_secs()))
        });
        watchdog::guard(limit.transpose()?);
        watchdog::plan(planned(&arguments.scenario));
    }
    match arguments.scenario {
        Some(Scenario::Fanout(args)) => fanout::run(&args, brief),
        Some(Scenario::Echo(args)) => echo::run(&args),
        Some(Scenario::Publish(args)) => publish::run(&args),
        Some(Scenario::Compare { options }) => compare::run(&options),
        Some(Scenario::Durable(args)) => durable::run(&args),
        Some(Scenario::Storm(args)) => storm::run(&args),
        Some(Scenario::Rooms(args)) => rooms::run(&args),
        Some(Scenario::Mixed(args)) => mixed::run(&args),
        Some(Scenario::Presence(args)) => presence::run(&args),
        Some(Scenario::PresenceStorm(args)) => presence::storm::run(&args),
        Some(Scenario::Idle(args)) => idle::run(&args),
        Some(Scenario::Slow(args)) => slow::run(&args),
        Some(Scenario::Churn(args)) => churn::run(&args),
        Some(Scenario::Soak(args)) => soak::run(&args),
        Some(Scenario::Page(args)) => page::run(&args),
        Some(Scenario::Shards(args)) => shards::run(&args),
        Some(Scenario::Model(args)) => model::run(&args),
        Some(Scenario::Floor { port, mode }) => floor::run(port, mode).map_err(|e| format!("floor: {e}")),
        Some(Scenario::Bare { port }) => idle::run_bare(port).map_err(|e| format!("bare: {e}")),
        None => Err("no scenario".to_owned()),
    }
}

fn main() -> ExitCode {
    match Invocation::parse().and_then(|invocation| invocation.run(dispatch)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanwire-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
