//! Scenario `echo`: every connection has one message in flight and sends the next when it is back.

mod load;

use crate::contest::{self, Contender, Plan};
use crate::load::ClientMode;
use crate::options::{EchoArgs, Setup, at_least, check_rounds};
use load::{EchoLoad, EchoShape, TAG_BYTES};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Runs the scenario at every number of connections and every size asked for.
pub fn run(args: &EchoArgs) -> Result<(), String> {
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
    let setup = Setup::prepare(&args.server)?;
    let most = args.connections.iter().max().copied().unwrap_or(0);
    setup.check_descriptors(most * if args.floor { 3 } else { 1 })?;
    for &connections in &args.connections {
        for &payload_bytes in &args.payload {
            run_one(args, &setup, connections, payload_bytes)?;
        }
    }
    Ok(())
}

fn run_one(args: &EchoArgs, setup: &Setup, connections: usize, payload_bytes: usize) -> Result<(), String> {
    let shape = EchoShape {
        connections,
        payload_bytes,
        path: args.path.clone(),
        sources: args.sources,
        client: args.client,
        pause: Duration::from_micros(args.pause_us),
    };
    let plan = Plan {
        scenario: "echo",
        unit: "message",
        units: "messages",
        facts: vec![("connections", connections as f64), ("payload_bytes", payload_bytes as f64)],
        rounds: args.rounds,
        seconds: args.seconds,
        json: args.server.json,
    };
    let run = contest::run_number();
    let connect = |shape: EchoShape| {
        move |address: SocketAddrV4| Ok(Box::new(EchoLoad::connect(address, shape, run)?) as _)
    };
    let mut contenders = vec![Contender::start(setup.server(&["--echo"])?, connect(shape.clone()))?];
    if args.floor {
        let shape = EchoShape { path: "/echo".to_owned(), ..shape.clone() };
        for floor in contest::floors(setup.server_core)? {
            contenders.push(Contender::start(floor, connect(shape.clone()))?);
        }
    }
    contest::compete(&mut contenders, &plan)?;
    let Some((first, floors)) = contenders.split_first() else { return Ok(()) };
    if plan.json {
        contest::print_summaries(first, floors, &[], &plan);
        return Ok(());
    }
    println!(
        "echo: {connections} connections, {payload_bytes} B, one message in flight each; {} rounds of {} s; \
         every echo checked",
        plan.rounds, plan.seconds
    );
    contest::print_table(&contenders, &plan);
    if shape.client == ClientMode::Sweep {
        println!("latency: send to echo, known to within the client's pause of {:?}", shape.pause);
    }
    contest::print_ratio(first, floors);
    contest::print_verdict(&contenders, &plan);
    Ok(())
}
