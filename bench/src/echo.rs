//! Scenario `echo`: every connection has one message in flight and sends the next when it is back.

mod load;

use crate::contest::{self, Bout, Plan, Side};
use crate::load::ClientMode;
use crate::locations::Locations;
use crate::options::{EchoArgs, Setup, at_least, check_rounds};
use crate::round::Work;
use crate::wire::Dialect;
use load::{EchoLoad, EchoShape, TAG_BYTES};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Where the floor and the peers have their echo.
const PATH: &str = "/echo";

/// Runs the scenario at every number of connections and every size asked for.
pub fn run(args: &EchoArgs) -> Result<(), String> {
    let bouts = bouts("echo", args)?;
    let setup = Setup::prepare(&args.server)?;
    bouts.iter().try_for_each(|bout| bout.play(&setup, args.floor, false))
}

/// The loads under the name `scenario`.
pub fn bouts(scenario: &'static str, args: &EchoArgs) -> Result<Vec<Bout>, String> {
    check_rounds(args.rounds, args.seconds)?;
    for &connections in &args.connections {
        at_least("--connections", connections, 1)?;
    }
    for &payload in &args.payload {
        at_least("--payload", payload, TAG_BYTES)?;
        if payload > 65_535 {
            return Err("--payload must be at most 65535".to_owned());
        }
    }
    let sizes = |&connections: &usize| args.payload.iter().map(move |&payload| (connections, payload));
    let loads = args.connections.iter().flat_map(sizes);
    Ok(loads.map(|(connections, payload)| bout(scenario, args, connections, payload)).collect())
}

fn bout(scenario: &'static str, args: &EchoArgs, connections: usize, payload_bytes: usize) -> Bout {
    let shape = EchoShape {
        connections,
        payload_bytes,
        path: args.path.clone(),
        sources: args.sources,
        client: args.client,
        pause: Duration::from_micros(args.pause_us),
    };
    let latency = match shape.client {
        ClientMode::Sweep => {
            format!("latency: send to echo, known to within the client's pause of {:?}", shape.pause)
        }
        ClientMode::Epoll => "latency: send to echo as the client reads it".to_owned(),
    };
    let run = contest::run_number();
    let connect = move |address: SocketAddrV4, side: Side| {
        let shape = match side {
            Side::Own => shape.clone(),
            Side::Other(Dialect::Relay) => EchoShape { path: PATH.to_owned(), ..shape.clone() },
            Side::Other(_) => return Err("no echo of plain WebSocket messages".to_owned()),
        };
        Ok(Box::new(EchoLoad::connect(address, shape, run)?) as Box<dyn Work>)
    };
    Bout {
        plan: Plan {
            scenario,
            unit: "message",
            units: "messages",
            facts: vec![("connections", connections as f64), ("payload_bytes", payload_bytes as f64)],
            rounds: args.rounds,
            seconds: args.seconds,
            json: args.server.json,
        },
        connections,
        locations: Locations::default(),
        options: &["--echo"],
        head: format!(
            "echo: {connections} connections, {payload_bytes} B, one message in flight each; {} rounds of {} s; \
             every echo checked",
            args.rounds, args.seconds
        ),
        latency,
        wire: String::new(),
        connect: Box::new(connect),
        plain: None,
        beside: Vec::new(),
    }
}
