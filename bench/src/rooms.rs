//! Scenario `rooms`: many channels with few subscribers each.

mod load;

use crate::contest::{self, Contender, Figures, Plan};
use crate::ledger::TAG_BYTES;
use crate::load::ClientMode;
use crate::locations::Locations;
use crate::options::{ServerArgs, Setup, SweepArgs, at_least, check_rounds};
use crate::report::{self, JsonLine};
use crate::wire::WireArgs;
use clap::Args;
use load::{RoomsLoad, RoomsShape};

/// Options of `rooms`.
#[derive(Args, Clone, Debug)]
pub struct RoomsArgs {
    /// Server under load.
    #[command(flatten)]
    server: ServerArgs,
    /// What the subscribers speak. Rooms are called CHANNEL-0, CHANNEL-1 ..
    #[command(flatten)]
    wire: WireArgs,
    /// Where subscribers connect; for the relay, -0, -1 .. is appended. Default: as usual for the dialect.
    #[arg(long)]
    path: Option<String>,
    /// Where messages are posted; -0, -1 .. is appended. Default: /pub/CHANNEL, for all but pusher.
    #[arg(long)]
    publish_path: Option<String>,
    /// Rooms, a channel each.
    #[arg(long, default_value_t = 1000)]
    rooms: usize,
    /// Subscribers of each room, a connection each.
    #[arg(long, default_value_t = 5)]
    subscribers: usize,
    /// Connections that publish. Each walks over rooms of its own.
    #[arg(long, default_value_t = 4)]
    publishers: usize,
    /// Messages in flight per publisher, each in another room.
    #[arg(long, default_value_t = 16)]
    inflight: usize,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Rounds, and how the client looks for what has come.
    #[command(flatten)]
    sweeps: SweepArgs,
}

impl RoomsArgs {
    fn shape(&self) -> Result<RoomsShape, String> {
        check_rounds(self.sweeps.rounds, self.sweeps.seconds)?;
        at_least("--rooms", self.rooms, 1)?;
        at_least("--subscribers", self.subscribers, 1)?;
        at_least("--publishers", self.publishers, 1)?;
        at_least("--inflight", self.inflight, 1)?;
        at_least("--payload", self.payload, TAG_BYTES)?;
        if self.rooms / self.publishers < self.inflight {
            return Err(format!(
                "each publisher has {} rooms of its own and --inflight messages in as many of them at once: --inflight \
                 must not be above that",
                self.rooms / self.publishers
            ));
        }
        let wire = self.wire.wire(self.path.as_deref())?;
        let publish_path = self.publish_path.clone().unwrap_or_else(|| format!("/pub/{}", wire.channel));
        Ok(RoomsShape {
            rooms: self.rooms,
            subscribers: self.subscribers,
            publishers: self.publishers,
            window: self.inflight,
            payload_bytes: self.payload,
            wire,
            publish_path,
            sources: self.sweeps.sources,
            client: self.sweeps.client,
            pause: self.sweeps.pause(),
        })
    }
}

/// Runs the scenario.
pub fn run(args: &RoomsArgs) -> Result<(), String> {
    let shape = args.shape()?;
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(shape.rooms * shape.subscribers + shape.publishers)?;
    let plan = Plan {
        scenario: "rooms",
        unit: "delivery",
        units: "deliveries",
        facts: vec![
            ("rooms", shape.rooms as f64),
            ("subscribers_per_room", shape.subscribers as f64),
            ("publishers", shape.publishers as f64),
            ("inflight", shape.window as f64),
            ("payload_bytes", shape.payload_bytes as f64),
        ],
        rounds: args.sweeps.rounds,
        seconds: args.sweeps.seconds,
        json: args.server.json,
    };
    let run = contest::run_number();
    let server = setup.server_with(&Locations::of(std::slice::from_ref(&shape.wire)), &[])?;
    let connect = |address| Ok(Box::new(RoomsLoad::connect(address, shape.clone(), run)?) as _);
    let mut contenders = [Contender::start(server, connect)?];
    contenders[0].wire = shape.wire.label();
    contest::compete(&mut contenders, &plan)?;
    let [contender] = &contenders;
    // Every publish is delivered to all of its room, so this is exact.
    let per_publish = contender.spread(|figures: &Figures| figures.cpu_ns() * shape.subscribers as f64);
    let per_second = contender.spread(|figures| figures.per_second / shape.subscribers as f64);
    if plan.json {
        contest::print_summaries(contender, &[], &[], &plan);
    }
    let line = JsonLine::new("rooms", &contender.server.name)
        .text("kind", "publishes")
        .number("cpu_ns_per_publish", per_publish.median)
        .number("cpu_ns_per_publish_min", per_publish.min)
        .number("cpu_ns_per_publish_max", per_publish.max)
        .number("publishes_per_second", per_second.median);
    report::emit(line, plan.json);
    if plan.json {
        return Ok(());
    }
    println!(
        "rooms: {} channels of {} subscribers ({}), {} publisher(s) with {} in flight each, {} B; {} rounds of {} s; \
         every delivery checked",
        shape.rooms,
        shape.subscribers,
        shape.wire.name(),
        shape.publishers,
        shape.window,
        shape.payload_bytes,
        plan.rounds,
        plan.seconds
    );
    contest::print_table(&contenders, &plan);
    println!(
        "CPU per publish with its {} deliveries {} ns; {} publishes/s",
        shape.subscribers,
        per_publish.text(0),
        per_second.text(0)
    );
    let known = match shape.client {
        ClientMode::Sweep => format!(", known to within the client's pause of {:?}", shape.pause),
        ClientMode::Epoll => " as the client reads it".to_owned(),
    };
    println!("latency: from publish to last delivery in the room{known}");
    contest::print_server_notes(&contenders);
    contest::print_verdict(&contenders, &plan);
    Ok(())
}
