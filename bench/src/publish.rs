//! Scenario `publish`: HTTP publishes as fast as they are answered, one subscriber that checks them all.

use crate::contest::{Bout, Plan};
use crate::fanout;
use crate::ledger::{PUBLISHERS_MAX, TAG_BYTES};
use crate::load::Shape;
use crate::options::{PublishArgs, Setup, at_least, check_rounds};
use std::time::Duration;

/// Runs the scenario.
pub fn run(args: &PublishArgs) -> Result<(), String> {
    let mut bout = bout("publish", args)?;
    for &dialect in &args.beside {
        let mut args = args.clone();
        args.wire = args.wire.beside(dialect);
        (args.path, args.publish_path) = (None, None);
        bout.stand_beside(self::bout("publish", &args)?);
    }
    bout.play(&Setup::prepare(&args.server)?, args.floor, false)
}

/// The load under the name `scenario`.
pub fn bout(scenario: &'static str, args: &PublishArgs) -> Result<Bout, String> {
    let shape = shape(args)?;
    let plan = Plan {
        scenario,
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
    let in_flight = match shape.window {
        1 => "one publish in flight each".to_owned(),
        depth => format!("{depth} publishes pipelined each"),
    };
    Ok(Bout {
        plain: None,
        beside: Vec::new(),
        connections: shape.publishers + 1,
        locations: shape.locations(),
        options: &[],
        head: format!(
            "{scenario}: {} keep-alive connections, {in_flight}, {} B, one subscriber{}; {} rounds of {} s; \
             every answer and delivery checked",
            shape.publishers,
            shape.payload_bytes,
            shape.spoken(),
            plan.rounds,
            plan.seconds
        ),
        latency: fanout::latency_note(&shape),
        wire: shape.label(),
        connect: fanout::connector(shape),
        plan,
    })
}

fn shape(args: &PublishArgs) -> Result<Shape, String> {
    check_rounds(args.rounds, args.seconds)?;
    at_least("--connections", args.connections, 1)?;
    at_least("--pipeline", args.pipeline, 1)?;
    at_least("--payload", args.payload, TAG_BYTES)?;
    if args.connections > PUBLISHERS_MAX {
        return Err(format!("--connections must be at most {PUBLISHERS_MAX}"));
    }
    let wire = args.wire.wire(args.path.as_deref())?;
    let publish_path = args.publish_path.clone().unwrap_or_else(|| format!("/pub/{}", wire.channel));
    Ok(Shape {
        subscribers: 1,
        publishers: args.connections,
        window: args.pipeline,
        batch: args.pipeline > 1,
        rate: None,
        payload_bytes: args.payload,
        wires: vec![wire],
        publish_path,
        sources: 1,
        client: args.client,
        pause: Duration::from_micros(args.pause_us),
    })
}
