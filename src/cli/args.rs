//! Arguments. Values that are also keys of the configuration stay text here: the loader judges them all alike.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// A push node: takes a message over HTTP once and puts it on every subscriber's wire.
#[derive(Debug, Parser)]
#[command(name = "fanwire", version, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the node (also without a subcommand)
    Serve(ServeArgs),
    /// Say whether a configuration is right, or what is wrong with line and column; or whether a store is whole
    Check(CheckArgs),
    /// Publish one message to a running node
    Publish(PublishArgs),
    /// Print the messages of a channel of a running node
    Tail(TailArgs),
    /// Look whether this machine is set up for many connections
    Doctor(ConfigArgs),
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ConfigArgs {
    /// Configuration file [env: FANWIRE_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Read the whole store in this directory instead; no node may be running on it
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub data: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Address to listen on: 127.0.0.1:8080, [::1]:8080 or unix:/path; may be repeated
    #[arg(short, long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Address for metrics and health; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub internal_listen: Vec<String>,
    /// Threads with connections and channels of their own; default: one per processor
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shards: Option<String>,
    /// auto, uring or epoll
    #[arg(long)]
    pub driver: Option<String>,
    /// Time that connections get to leave when the node stops
    #[arg(long, value_name = "DURATION")]
    pub drain: Option<String>,
    /// Directory of what survives the node: durable channels, apps, subscriptions; without one it is in memory
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Serve /echo, the endpoint for WebSocket conformance suites
    #[arg(long)]
    pub echo: bool,
    /// error, warn, info, debug, trace, or target=level parts between commas
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Print the effective configuration with the origin of each value, and do not start
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PeerArgs {
    /// Where the node is: http://host:port or unix:/path [env: FANWIRE_URL] [default: http://127.0.0.1:8080]
    #[arg(short, long)]
    pub url: Option<String>,
    /// Extra request header, "Name: value"; may be repeated
    #[arg(short = 'H', long, value_name = "LINE")]
    pub header: Vec<String>,
    /// Channel, or a path beginning with / for a location of your own
    pub channel: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PublishArgs {
    #[command(flatten)]
    pub peer: PeerArgs,
    /// The message; - or nothing reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Its content type
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Its event name for event streams
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    pub peer: PeerArgs,
    /// How the messages travel
    #[arg(short, long, value_enum, default_value_t = TailTransport::Ws)]
    pub transport: TailTransport,
    /// Begin after the message with this id, as tail printed it
    #[arg(long, value_name = "ID")]
    pub from: Option<String>,
    /// Stop after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TailTransport {
    /// WebSocket
    #[value(alias = "websocket")]
    Ws,
    /// Event stream
    #[value(alias = "eventsource")]
    Sse,
    /// One held request per message
    #[value(alias = "long-poll")]
    Longpoll,
}
