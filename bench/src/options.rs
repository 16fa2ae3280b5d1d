//! Options of the scenarios, and what follows from them before anything runs.

use crate::ledger::{PUBLISHERS_MAX, TAG_BYTES};
use crate::load::{ClientMode, Shape};
use crate::locations::{ConfigFile, Locations};
use crate::server::{self, Server};
use crate::sys;
use crate::wire::{App, AppArgs, Dialect, Wire, WireArgs};
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

/// Open files of the program itself.
const OWN_DESCRIPTORS: u64 = 64;
/// Channel of the paths below.
pub const CHANNEL: &str = "bench";
/// Where subscribers open their WebSocket, unless told otherwise.
pub const PATH: &str = "/sub/bench";
/// Where messages are posted, unless told otherwise.
pub const PUBLISH_PATH: &str = "/pub/bench";

/// Options of `fanout`.
#[derive(Args, Clone, Debug)]
pub struct FanoutArgs {
    /// Server under load.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The load.
    #[command(flatten)]
    pub load: FanoutLoad,
    /// Measure the floor program too, in turn with the server.
    #[arg(long)]
    pub floor: bool,
    /// Measure plain WebSockets too, in turn: what --deflate, --carrier or --dialect cost beside them.
    #[arg(long, conflicts_with_all = ["pid", "url"])]
    pub plain: bool,
    /// Measure other dialects too, in turn with --dialect and on the same server, and tell the ratios.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "DIALECTS", conflicts_with = "plain")]
    pub beside: Vec<Dialect>,
}

/// Shape of a fan-out.
#[derive(Args, Clone, Debug)]
pub struct FanoutLoad {
    /// What the subscribers speak.
    #[command(flatten)]
    wire: WireArgs,
    /// Where subscribers connect. Default: as usual for the dialect, /sub/CHANNEL for the relay.
    #[arg(long)]
    path: Option<String>,
    /// Where messages are posted. Default: /pub/CHANNEL, for all but pusher.
    #[arg(long)]
    publish_path: Option<String>,
    /// Subscribers, a connection each.
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
    /// Messages in flight per publisher. Default 1; with --busy 8; with --rate 1024.
    #[arg(long)]
    inflight: Option<usize>,
    /// Busy load: so many publishers, each writing --inflight publishes at once when its last lot is delivered.
    #[arg(long, value_name = "PUBLISHERS")]
    busy: Option<usize>,
    /// Open loop: so many publishes per second, each at its scheduled time; latency counts from that time.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "busy")]
    rate: Option<f64>,
    /// How the client learns of deliveries. Default: sweep; with --rate epoll.
    #[arg(long, value_enum)]
    client: Option<ClientMode>,
    /// Pause between two sweeps, microseconds.
    #[arg(long, default_value_t = 300)]
    pause_us: u64,
    /// Source addresses used, 127.0.0.1 and up: 28,000 connections each.
    #[arg(long, default_value_t = 1)]
    sources: usize,
}

/// Rounds, and how the client looks for what has come.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Length of a round, seconds.
    #[arg(long, default_value_t = 0.6)]
    pub seconds: f64,
    /// How the client learns of what has come.
    #[arg(long, value_enum, default_value_t = ClientMode::Sweep)]
    pub client: ClientMode,
    /// Pause between two sweeps, microseconds.
    #[arg(long, default_value_t = 300)]
    pause_us: u64,
    /// Source addresses used, 127.0.0.1 and up: 28,000 connections each.
    #[arg(long, default_value_t = 1)]
    pub sources: usize,
}

impl SweepArgs {
    /// Pause between two sweeps.
    pub fn pause(&self) -> Duration {
        Duration::from_micros(self.pause_us)
    }
}

/// Refuses a number that is too small.
pub fn at_least(what: &str, value: usize, least: usize) -> Result<(), String> {
    if value < least { Err(format!("{what} must be at least {least}")) } else { Ok(()) }
}

/// Refuses a round that is no round.
pub fn check_rounds(rounds: usize, seconds: f64) -> Result<(), String> {
    at_least("--rounds", rounds, 1)?;
    if !(0.001..=3600.0).contains(&seconds) {
        return Err("--seconds must lie between 0.001 and 3600".to_owned());
    }
    Ok(())
}

impl FanoutLoad {
    /// Takes back what was asked for beside plain WebSockets of the relay dialect.
    pub fn speak_plainly(&mut self) {
        self.wire = self.wire.clone().speaking(Dialect::Relay);
        self.path = None;
    }

    /// Takes what stands beside it in `dialect`.
    pub fn speak_beside(&mut self, dialect: Dialect) {
        self.wire = self.wire.clone().beside(dialect);
        (self.path, self.publish_path) = (None, None);
    }

    /// The load these options ask for.
    pub fn shape(&self) -> Result<Shape, String> {
        let publishers = self.busy.unwrap_or(1);
        let window = match (self.busy, self.rate) {
            (_, Some(_)) => 1024,
            (Some(_), None) => 8,
            (None, None) => 1,
        };
        let window = self.inflight.unwrap_or(window);
        let client = if self.rate.is_some() { ClientMode::Epoll } else { ClientMode::Sweep };
        at_least("--subscribers", self.subscribers, 1)?;
        at_least("--inflight", window, 1)?;
        at_least("--busy", publishers, 1)?;
        at_least("--payload", self.payload, TAG_BYTES)?;
        check_rounds(self.rounds, self.seconds)?;
        if publishers > PUBLISHERS_MAX {
            return Err(format!("--busy must be at most {PUBLISHERS_MAX}"));
        }
        if self.rate.is_some_and(|rate| !(0.1..=1e7).contains(&rate)) {
            return Err("--rate must lie between 0.1 and 10000000".to_owned());
        }
        let wire = self.wire.wire(self.path.as_deref())?;
        let publish_path = self.publish_path.clone().unwrap_or_else(|| format!("/pub/{}", wire.channel));
        Ok(Shape {
            subscribers: self.subscribers,
            publishers,
            window,
            batch: self.busy.is_some(),
            rate: self.rate,
            payload_bytes: self.payload,
            wires: vec![wire],
            publish_path,
            sources: self.sources,
            client: self.client.unwrap_or(client),
            pause: Duration::from_micros(self.pause_us),
        })
    }
}

impl Shape {
    /// What a fanwire started for this load has to be set up for.
    pub fn locations(&self) -> Locations {
        Locations::of(&self.wires)
    }

    /// The same load at the paths that the floor and the peers have.
    pub fn at_default_paths(self) -> Shape {
        Shape { wires: vec![Wire::relay(PATH)], publish_path: PUBLISH_PATH.to_owned(), ..self }
    }

    /// The same load at a server of `dialect`, where such servers have it.
    pub fn spoken_in(self, dialect: Dialect) -> Shape {
        let wires = vec![Wire::of(dialect, CHANNEL, &App::default())];
        Shape { wires, ..self.at_default_paths() }
    }
}

/// Options of `echo`.
#[derive(Args, Clone, Debug)]
pub struct EchoArgs {
    /// Server under load.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Where the echo is.
    #[arg(long, default_value = "/echo")]
    pub path: String,
    /// WebSocket connections; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    pub connections: Vec<usize>,
    /// Sizes of a message, bytes.
    #[arg(long, value_delimiter = ',', default_value = "64,512")]
    pub payload: Vec<usize>,
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Length of a round, seconds.
    #[arg(long, default_value_t = 0.6)]
    pub seconds: f64,
    /// How the client learns of echoes.
    #[arg(long, value_enum, default_value_t = ClientMode::Sweep)]
    pub client: ClientMode,
    /// Pause between two sweeps, microseconds.
    #[arg(long, default_value_t = 300)]
    pub pause_us: u64,
    /// Source addresses used, 127.0.0.1 and up: 28,000 connections each.
    #[arg(long, default_value_t = 1)]
    pub sources: usize,
    /// Measure the floor program too, in turn with the server.
    #[arg(long)]
    pub floor: bool,
}

/// Options of `publish`.
#[derive(Args, Clone, Debug)]
pub struct PublishArgs {
    /// Server under load.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What the subscriber speaks. With pusher, publishes are signed requests of Pusher's HTTP API.
    #[command(flatten)]
    pub wire: WireArgs,
    /// Where the subscriber connects. Default: as usual for the dialect, /sub/CHANNEL for the relay.
    #[arg(long)]
    pub path: Option<String>,
    /// Where messages are posted. Default: /pub/CHANNEL, for all but pusher.
    #[arg(long)]
    pub publish_path: Option<String>,
    /// Measure other dialects too, in turn with --dialect and on the same server, and tell the ratios.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "DIALECTS")]
    pub beside: Vec<Dialect>,
    /// Keep-alive connections that publish.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Publishes in flight per connection. More than one are written at once when the last lot is answered and
    /// delivered.
    #[arg(long, value_name = "DEPTH", default_value_t = 1)]
    pub pipeline: usize,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Length of a round, seconds.
    #[arg(long, default_value_t = 0.6)]
    pub seconds: f64,
    /// How the client learns of answers and deliveries.
    #[arg(long, value_enum, default_value_t = ClientMode::Sweep)]
    pub client: ClientMode,
    /// Pause between two sweeps, microseconds.
    #[arg(long, default_value_t = 300)]
    pub pause_us: u64,
    /// Measure the floor program too, in turn with the server.
    #[arg(long)]
    pub floor: bool,
}

/// Options of `storm`.
#[derive(Args, Clone, Debug)]
pub struct StormArgs {
    /// Server under load.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What clients speak. Others than the relay's have no ids to come back with: they only connect and subscribe.
    #[arg(long, value_enum, default_value_t = Dialect::Relay)]
    pub dialect: Dialect,
    /// Keys of the Pusher application.
    #[command(flatten)]
    pub app: AppArgs,
    /// Where clients open their WebSocket; every round has a channel of its own behind it. The server must speak the
    /// subprotocol `ws+meta.nchan` and take `?last_event_id=`.
    #[arg(long, default_value = PATH)]
    pub path: String,
    /// Where messages are posted; the round's channel is appended as above.
    #[arg(long, default_value = PUBLISH_PATH)]
    pub publish_path: String,
    /// Clients.
    #[arg(long, default_value_t = 15_000)]
    pub connections: usize,
    /// Attempts under way at any time; 0: all. More than the server's listen queue holds wait for TCP to try again.
    #[arg(long, default_value_t = 512)]
    pub concurrency: usize,
    /// Messages that everybody misses while cut. The server must store one more.
    #[arg(long, default_value_t = 10)]
    pub missed: usize,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Source addresses used, 127.0.0.1 and up.
    #[arg(long, default_value_t = 50)]
    pub sources: usize,
    /// Measure the floor program's connects too, in turn with the server. It has nothing to recover.
    #[arg(long)]
    pub floor: bool,
}

/// Options of `idle`.
#[derive(Args, Clone, Debug)]
pub struct IdleArgs {
    /// Server under load.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What the connections speak.
    #[arg(long, value_enum, default_value_t = Dialect::Relay)]
    pub dialect: Dialect,
    /// Keys of the Pusher application.
    #[command(flatten)]
    pub app: AppArgs,
    /// Where subscribers of the relay open their WebSocket; with --channels each, -0, -1 .. is appended.
    #[arg(long, default_value = PATH)]
    pub path: String,
    /// Idle WebSocket connections.
    #[arg(long, default_value_t = 10_000)]
    pub subscribers: usize,
    /// One channel for all, or one each.
    #[arg(long, value_enum, default_value_t = Channels::One)]
    pub channels: Channels,
    /// Length of the look at idle CPU, seconds. With --pings at least a little more than two intervals.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Look for at least two ping intervals, and count the pings: every connection must get them. All are answered.
    #[arg(long)]
    pub pings: bool,
    /// How often the server pings, seconds. Fanwire is set to it where it is started here with --pings.
    #[arg(long, default_value_t = 25.0, value_name = "SECONDS")]
    pub ping_interval: f64,
    /// Fails when idle CPU is more, percent of a core. Default: with --pings 1, else any.
    #[arg(long, value_name = "PERCENT")]
    pub max_cpu: Option<f64>,
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

    /// To how many servers this process can have so many connections each.
    pub fn servers_at_once(&self, connections: usize) -> usize {
        (self.descriptors.saturating_sub(OWN_DESCRIPTORS) as usize) / connections.max(1)
    }

    /// Refuses what this process has not enough descriptors for.
    pub fn check_descriptors(&self, connections: usize) -> Result<(), String> {
        let needed = connections as u64 + OWN_DESCRIPTORS;
        if needed > self.descriptors {
            let limit = self.descriptors;
            return Err(format!(
                "{connections} connections need {needed} open files, the limit is {limit} (ulimit -Hn)"
            ));
        }
        Ok(())
    }

    /// As `server`, with a fanwire that is started here set up as `locations` says, too.
    pub fn server_with(&self, locations: &Locations, options: &[&str]) -> Result<Server, String> {
        let file = locations.write()?;
        let file = file.as_ref().map(ConfigFile::options);
        let all: Vec<&str> = file.iter().flatten().chain(options).copied().collect();
        self.server(&all)
    }

    /// Starts or attaches the server the options name. `options` go to fanwire if it is fanwire.
    pub fn server(&self, options: &[&str]) -> Result<Server, String> {
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
                Server::start(&name("fanwire"), server::fanwire(address, options)?, address, self.server_core)
            }
        }
    }
}
