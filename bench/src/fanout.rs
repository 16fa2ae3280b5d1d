//! Scenario `fanout`: what it costs a server to put one message on the wires of many.

use crate::contest::{self, Contender, Plan};
use crate::load::{ClientMode, Load, Shape};
use crate::options::{FanoutArgs, Setup};
use std::net::SocketAddrV4;

/// An open loop's own lateness above this share of the latency spoils it.
const LATE: f64 = 0.2;

/// Runs the scenario. `brief` prints the two numbers instead of the table.
pub fn run(args: &FanoutArgs, brief: bool) -> Result<(), String> {
    let setup = Setup::prepare(&args.server)?;
    let shape = args.load.shape()?;
    let contenders = if args.floor { 3 } else { 1 };
    setup.check_descriptors((shape.subscribers + shape.publishers) * contenders)?;
    let seed = contest::run_number();
    let plan = plan("fanout", args, &shape);
    let server = setup.server_with(shape.locations())?;
    let mut contenders = vec![Contender::start(server, |address| connect(address, shape.clone(), seed))?];
    if args.floor {
        for floor in contest::floors(setup.server_core)? {
            let connect = |address| connect(address, shape.clone().at_default_paths(), seed);
            contenders.push(Contender::start(floor, connect)?);
        }
    }
    contenders[0].wire = shape.label();
    contest::compete(&mut contenders, &plan)?;
    let Some((first, floors)) = contenders.split_first() else { return Ok(()) };
    if plan.json {
        contest::print_summaries(first, floors, &[], &plan);
        return Ok(());
    }
    print_head(&shape, &plan);
    if brief {
        contest::print_brief(first, floors, &plan);
    } else {
        contest::print_table(&contenders, &plan);
        print_notes(&contenders, &shape);
        contest::print_ratio(first, floors);
    }
    contest::print_verdict(&contenders, &plan);
    Ok(())
}

/// Connects the subscribers and publishers of a fan-out.
pub fn connect(
    address: SocketAddrV4,
    shape: Shape,
    seed: u32,
) -> Result<Box<dyn crate::round::Work>, String> {
    Ok(Box::new(Load::connect(address, shape, seed)?))
}

/// The plan of a fan-out under the name `scenario`.
pub fn plan(scenario: &'static str, args: &FanoutArgs, shape: &Shape) -> Plan {
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

/// What was measured.
pub fn print_head(shape: &Shape, plan: &Plan) {
    let loop_kind = match shape.rate {
        Some(rate) => format!("open loop of {rate} publishes/s (at most {} in flight)", shape.window),
        None if shape.batch => format!("{} pipelined", shape.window),
        None => format!("{} in flight", shape.window),
    };
    println!(
        "{} subscribers{}, {} publisher(s), {} B, {loop_kind}; {} rounds of {} s; every delivery checked",
        shape.subscribers,
        shape.spoken(),
        shape.publishers,
        shape.payload_bytes,
        plan.rounds,
        plan.seconds
    );
}

/// What the latencies mean.
pub fn print_notes(contenders: &[Contender], shape: &Shape) {
    let from = if shape.rate.is_some() { "the scheduled time" } else { "publish" };
    if shape.client == ClientMode::Sweep {
        println!(
            "latency: from {from} to last delivery, known to within the client's pause of {:?}",
            shape.pause
        );
    } else {
        println!("latency: from {from} to last delivery as the client reads it");
    }
    for contender in contenders.iter().filter(|contender| contender.lags.len() > 0) {
        let lag = |percent| contender.lags.us(percent);
        // What the client itself adds to the latency.
        let late = lag(99.0) > LATE * contender.latency_us(99.0);
        println!(
            "{}: publishes left late by p50 {:.0} us, p99 {:.0} us, max {:.0} us{}",
            contender.server.name,
            lag(50.0),
            lag(99.0),
            lag(100.0),
            if late { ": MUCH OF THE LATENCY IS THE HARNESS'S" } else { "" }
        );
        if contender.held > 0 {
            println!(
                "{}: {} publishes waited for a full window: THE SERVER DID NOT KEEP UP with the rate, or the client did not",
                contender.server.name, contender.held
            );
        }
    }
}
