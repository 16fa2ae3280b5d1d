//! Options of the scenarios, and what follows from them before anything runs.

use crate::ledger::{PUBLISHERS_MAX, TAG_BYTES};
use crate::load::{ClientMode, Shape};
use crate::server::{self, Server};
use crate::sys;
use clap::Args;
use std::time::Duration;

/// Which server, and where it and the client run.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Shell command that starts the server; `{port}` is replaced, and PORT set. Default: the `fanwire` beside this
    /// program, with one shard.
    #[arg(long, value_name = "CMD", conflicts_with_all = ["pid"])]
    server: Option<String>,
    /// Where the server listens, http://A.B.C.D:PORT. Default: a free port.
    #[arg(long)]
    url: Option<String>,
    /// Take a running server instead of starting one; needs --url. Its CPU is that of this process and all below it.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// Name in the output.
    #[arg(long)]
    name: Option<String>,
    /// Core the server is pinned to (a running server must be pinned there already).
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core the client is pinned to.
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Print JSON lines instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Options of `fanout`.
#[derive(Args, Clone, Debug)]
pub struct FanoutArgs {
    /// Server under load.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Where subscribers open their WebSocket.
    #[arg(long, default_value = "/sub/bench")]
    path: String,
    /// Where messages are posted.
    #[arg(long, default_value = "/pub/bench")]
    publish_path: String,
    /// WebSocket connections.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Length of a round, seconds.
    #[arg(long, default_value_t = 0.6)]
    pub seconds: f64,
    /// Messages in flight per publisher. Default 1; with --busy 8.
    #[arg(long)]
    inflight: Option<usize>,
    /// Busy load: so many publishers, each writing --inflight publishes at once when its last lot is delivered.
    #[arg(long, value_name = "PUBLISHERS")]
    busy: Option<usize>,
    /// How the client learns of deliveries.
    #[arg(long, value_enum, default_value_t = ClientMode::Sweep)]
    client: ClientMode,
    /// Pause between two sweeps, microseconds.
    #[arg(long, default_value_t = 300)]
    pause_us: u64,
    /// Source addresses used, 127.0.0.1 and up: 28,000 connections each.
    #[arg(long, default_value_t = 1)]
    sources: usize,
    /// Measure the floor program too, in turn with the server.
    #[arg(long)]
    pub floor: bool,
}

impl FanoutArgs {
    /// The load these options ask for.
    pub fn shape(&self) -> Result<Shape, String> {
        let publishers = self.busy.unwrap_or(1);
        let window = self.inflight.unwrap_or(if self.busy.is_some() { 8 } else { 1 });
        let at_least = |what: &str, value: usize, least: usize| {
            if value < least { Err(format!("{what} must be at least {least}")) } else { Ok(()) }
        };
        at_least("--subscribers", self.subscribers, 1)?;
        at_least("--rounds", self.rounds, 1)?;
        at_least("--inflight", window, 1)?;
        at_least("--busy", publishers, 1)?;
        at_least("--payload", self.payload, TAG_BYTES)?;
        if publishers > PUBLISHERS_MAX {
            return Err(format!("--busy must be at most {PUBLISHERS_MAX}"));
        }
        if !(0.001..=3600.0).contains(&self.seconds) {
            return Err("--seconds must lie between 0.001 and 3600".to_owned());
        }
        Ok(Shape {
            subscribers: self.subscribers,
            publishers,
            window,
            batch: self.busy.is_some(),
            payload_bytes: self.payload,
            path: self.path.clone(),
            publish_path: self.publish_path.clone(),
            sources: self.sources,
            client: self.client,
            pause: Duration::from_micros(self.pause_us),
        })
    }
}

/// Options of `idle`.
#[derive(Args, Clone, Debug)]
pub struct IdleArgs {
    /// Server under load.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Where subscribers open their WebSocket; with --channels each, -0, -1 .. is appended.
    #[arg(long, default_value = "/sub/bench")]
    pub path: String,
    /// Idle WebSocket connections.
    #[arg(long, default_value_t = 9000)]
    pub subscribers: usize,
    /// One channel for all, or one each.
    #[arg(long, value_enum, default_value_t = Channels::One)]
    pub channels: Channels,
    /// Length of the look at idle CPU, seconds.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Source addresses used, 127.0.0.1 and up: 28,000 connections each.
    #[arg(long, default_value_t = 4)]
    pub sources: usize,
}

/// How idle subscribers share channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Channels {
    /// All in one.
    One,
    /// Everybody in a channel of their own.
    Each,
}

/// The harness ready to run: pinned, with all the descriptors it may have.
pub struct Setup {
    args: ServerArgs,
    descriptors: u64,
    /// Core of the server.
    pub server_core: usize,
}

impl Setup {
    /// Pins this thread and raises its limits.
    pub fn prepare(args: &ServerArgs) -> Result<Setup, String> {
        if args.server_core == args.client_core {
            return Err("server and client need a core each: --server-core and --client-core".to_owned());
        }
        let core = args.client_core;
        sys::pin_to_core(core).map_err(|e| format!("cannot pin the client to core {core}: {e}"))?;
        sys::tighten_timer_slack();
        let descriptors = sys::raise_fd_limit().map_err(|e| format!("limit of open files: {e}"))?;
        Ok(Setup { args: args.clone(), descriptors, server_core: args.server_core })
    }

    /// Refuses what this process has not enough descriptors for.
    pub fn check_descriptors(&self, connections: usize) -> Result<(), String> {
        // Some for the program itself.
        let needed = connections as u64 + 64;
        if needed > self.descriptors {
            let limit = self.descriptors;
            return Err(format!(
                "{connections} connections need {needed} open files, the limit is {limit} (ulimit -Hn)"
            ));
        }
        Ok(())
    }

    /// Starts or attaches the server the options name.
    pub fn server(&self) -> Result<Server, String> {
        let address = match &self.args.url {
            Some(url) => server::parse_url(url)?,
            None => server::free_address()?,
        };
        let name = |default: &str| self.args.name.clone().unwrap_or_else(|| default.to_owned());
        match (&self.args.server, self.args.pid) {
            (_, Some(pid)) => Server::attach(&name("server"), pid, address, self.server_core),
            (Some(line), None) => {
                Server::start(&name("server"), server::shell(line, address), address, self.server_core)
            }
            (None, None) => {
                Server::start(&name("fanwire"), server::fanwire(address)?, address, self.server_core)
            }
        }
    }
}
