//! Scenario `fanout`: what it costs a server to put one message on the wires of many.

use crate::contest::{self, Bout, Plan, Side};
use crate::load::{ClientMode, Load, Shape};
use crate::options::{FanoutArgs, Setup};
use crate::round::Work;
use std::net::SocketAddrV4;

/// Runs the scenario. `brief` prints the two numbers instead of the table.
pub fn run(args: &FanoutArgs, brief: bool) -> Result<(), String> {
    let mut bout = self::bout("fanout", args)?;
    if args.plain {
        let mut args = args.clone();
        args.load.speak_plainly();
        bout.plain = Some(Box::new(self::bout("fanout", &args)?));
    }
    for &dialect in &args.beside {
        let mut args = args.clone();
        args.load.speak_beside(dialect);
        bout.stand_beside(self::bout("fanout", &args)?);
    }
    bout.play(&Setup::prepare(&args.server)?, args.floor, brief)
}

/// The load under the name `scenario`.
pub fn bout(scenario: &'static str, args: &FanoutArgs) -> Result<Bout, String> {
    let shape = args.load.shape()?;
    let plan = plan(scenario, args, &shape);
    Ok(Bout {
        connections: shape.subscribers + shape.publishers,
        locations: shape.locations(),
        options: &[],
        head: head(&shape, &plan),
        latency: latency_note(&shape),
        wire: shape.label(),
        connect: connector(shape),
        plain: None,
        beside: Vec::new(),
        plan,
    })
}

/// Connects the subscribers and publishers of `shape`.
pub fn connector(shape: Shape) -> Box<contest::Connect> {
    let run = contest::run_number();
    Box::new(move |address: SocketAddrV4, side: Side| {
        let shape = match side {
            Side::Own => shape.clone(),
            Side::Other(dialect) => shape.clone().spoken_in(dialect),
        };
        connect(address, shape, run)
    })
}

/// Connects the subscribers and publishers of a fan-out. `run` tells its messages from others'.
pub fn connect(address: SocketAddrV4, shape: Shape, run: u32) -> Result<Box<dyn Work>, String> {
    Ok(Box::new(Load::connect(address, shape, run)?))
}

fn plan(scenario: &'static str, args: &FanoutArgs, shape: &Shape) -> Plan {
    let mut facts = vec![
        ("subscribers", shape.subscribers as f64),
        ("publishers", shape.publishers as f64),
        ("inflight", shape.window as f64),
        ("payload_bytes", shape.payload_bytes as f64),
    ];
    facts.extend(shape.rate.map(|rate| ("rate_per_second", rate)));
    Plan {
        scenario,
        unit: "delivery",
        units: "deliveries",
        facts,
        rounds: args.load.rounds,
        seconds: args.load.seconds,
        json: args.server.json,
    }
}

fn head(shape: &Shape, plan: &Plan) -> String {
    let loop_kind = match shape.rate {
        Some(rate) => format!("open loop of {rate} publishes/s (at most {} in flight)", shape.window),
        None if shape.batch => format!("{} pipelined", shape.window),
        None => format!("{} in flight", shape.window),
    };
    format!(
        "{} subscribers{}, {} publisher(s), {} B, {loop_kind}; {} rounds of {} s; every delivery checked",
        shape.subscribers,
        shape.spoken(),
        shape.publishers,
        shape.payload_bytes,
        plan.rounds,
        plan.seconds
    )
}

/// What the latencies mean.
pub fn latency_note(shape: &Shape) -> String {
    let from = if shape.rate.is_some() { "the scheduled time" } else { "publish" };
    match shape.client {
        ClientMode::Sweep => format!(
            "latency: from {from} to last delivery, known to within the client's pause of {:?}",
            shape.pause
        ),
        ClientMode::Epoll => format!("latency: from {from} to last delivery as the client reads it"),
    }
}
