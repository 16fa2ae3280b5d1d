//! Scenario `publish`: HTTP publishes as fast as they are answered, one subscriber that checks them all.

use crate::contest::{self, Contender, Plan};
use crate::fanout;
use crate::ledger::{PUBLISHERS_MAX, TAG_BYTES};
use crate::load::Shape;
use crate::options::{PublishArgs, Setup, at_least, check_rounds};
use crate::wire::Wire;
use std::time::Duration;

/// Runs the scenario.
pub fn run(args: &PublishArgs) -> Result<(), String> {
    let shape = shape(args)?;
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors((shape.publishers + 1) * if args.floor { 3 } else { 1 })?;
    let plan = Plan {
        scenario: "publish",
        unit: "publish",
        units: "publishes",
        facts: vec![
            ("connections", shape.publishers as f64),
            ("pipeline", shape.window as f64),
            ("payload_bytes", shape.payload_bytes as f64),
        ],
        rounds: args.rounds,
        seconds: args.seconds,
        json: args.server.json,
    };
    let run = contest::run_number();
    let server = setup.server(&[])?;
    let mut contenders =
        vec![Contender::start(server, |address| fanout::connect(address, shape.clone(), run))?];
    if args.floor {
        for floor in contest::floors(setup.server_core)? {
            let shape = shape.clone().at_default_paths();
            contenders.push(Contender::start(floor, |address| fanout::connect(address, shape, run))?);
        }
    }
    contest::compete(&mut contenders, &plan)?;
    let Some((first, floors)) = contenders.split_first() else { return Ok(()) };
    if plan.json {
        contest::print_summaries(first, floors, &[], &plan);
        return Ok(());
    }
    let in_flight = match shape.window {
        1 => "one publish in flight each".to_owned(),
        depth => format!("{depth} publishes pipelined each"),
    };
    println!(
        "publish: {} keep-alive connections, {in_flight}, {} B, one subscriber; {} rounds of {} s; \
         every answer and delivery checked",
        shape.publishers, shape.payload_bytes, plan.rounds, plan.seconds
    );
    contest::print_table(&contenders, &plan);
    fanout::print_notes(&contenders, &shape);
    contest::print_ratio(first, floors);
    contest::print_verdict(&contenders, &plan);
    Ok(())
}

fn shape(args: &PublishArgs) -> Result<Shape, String> {
    check_rounds(args.rounds, args.seconds)?;
    at_least("--connections", args.connections, 1)?;
    at_least("--pipeline", args.pipeline, 1)?;
    at_least("--payload", args.payload, TAG_BYTES)?;
    if args.connections > PUBLISHERS_MAX {
        return Err(format!("--connections must be at most {PUBLISHERS_MAX}"));
    }
    Ok(Shape {
        subscribers: 1,
        publishers: args.connections,
        window: args.pipeline,
        batch: args.pipeline > 1,
        rate: None,
        payload_bytes: args.payload,
        wires: vec![Wire::relay(&args.path)],
        publish_path: args.publish_path.clone(),
        sources: 1,
        client: args.client,
        pause: Duration::from_micros(args.pause_us),
    })
}
