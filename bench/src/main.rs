//! Load client for fanwire: what a delivery, an echo, a publish, a connect and an idle connection cost, and the floor and
//! other servers to compare with.
//!
//! The client is pinned to one core and the server to another. Costs are the CPU clock of the server's processes plus
//! that of its core's ksoftirqd, because on loopback the receiving half of a send runs there. Every delivery is checked
//! byte for byte; a run with anything missing, doubled or out of order fails.

mod client;
mod compare;
mod contest;
mod echo;
mod fanout;
mod floor;
mod frame;
mod http;
mod idle;
mod inbox;
mod ledger;
mod load;
mod model;
mod options;
mod peers;
mod procfs;
mod publish;
mod report;
mod round;
mod server;
mod shards;
mod stats;
mod storm;
mod sys;

use clap::{Parser, Subcommand};
use options::{CompareArgs, EchoArgs, FanoutArgs, IdleArgs, PublishArgs, StormArgs};
use std::process::ExitCode;

/// Measures fanwire, or any server with its routes. Without a command: the canonical fan-out against fanwire and the
/// floor, in two numbers.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Subcommand, Debug)]
enum Scenario {
    /// One message to many WebSocket subscribers, in a closed loop or at a rate: CPU per delivery, rate, latency.
    Fanout(FanoutArgs),
    /// Connections that send a message when the last one is back: CPU per message, rate, latency.
    Echo(EchoArgs),
    /// HTTP publishes over keep-alive connections to one subscriber: CPU per publish with its delivery, rate, latency.
    Publish(PublishArgs),
    /// The fan-out against other servers and the floor, all in turn: CPU per delivery and its ratios. Installs the other
    /// servers where they are missing, and says which it skips and why.
    Compare(CompareArgs),
    /// Everybody connects at once, is cut, and comes back for the messages missed: CPU per client, time until all have
    /// everything, refused connections.
    Storm(StormArgs),
    /// Many idle WebSocket connections: bytes each in the server and in the kernel, and CPU while nothing happens.
    Idle(IdleArgs),
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

fn run() -> Result<(), String> {
    match Arguments::parse().scenario {
        Some(Scenario::Fanout(args)) => fanout::run(&args, false),
        Some(Scenario::Echo(args)) => echo::run(&args),
        Some(Scenario::Publish(args)) => publish::run(&args),
        Some(Scenario::Compare(args)) => compare::run(&args),
        Some(Scenario::Storm(args)) => storm::run(&args),
        Some(Scenario::Idle(args)) => idle::run(&args),
        Some(Scenario::Shards(args)) => shards::run(&args),
        Some(Scenario::Model(args)) => model::run(&args),
        Some(Scenario::Floor { port, mode }) => floor::run(port, mode).map_err(|e| format!("floor: {e}")),
        Some(Scenario::Bare { port }) => idle::run_bare(port).map_err(|e| format!("bare: {e}")),
        None => match Arguments::parse_from(["fanwire-bench", "fanout", "--floor"]).scenario {
            Some(Scenario::Fanout(args)) => fanout::run(&args, true),
            _ => Err("no canonical scenario".to_owned()),
        },
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanwire-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
