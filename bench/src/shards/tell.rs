//! The results of `shards`, for people and as JSON.

use super::{Costs, Node, PerPublish, Place, Sample, ShardsArgs};
use crate::procfs;
use crate::report::{JsonLine, table};
use crate::stats::Spread;

/// What a publish may cost more per other shard that takes part in it, nanoseconds.
const GOAL_NS: f64 = 300.0;
/// A client that runs for this share of the time sets the pace.
const SATURATED: f64 = 0.9;

fn text(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| spread.text(decimals))
}

/// Tables and verdicts.
pub fn tables(nodes: &[Node], args: &ShardsArgs) {
    let where_client = match args.client_core {
        Some(core) => format!("client pinned to core {core}"),
        None => "client not pinned".to_owned(),
    };
    println!(
        "nodes on cores {:?}, {where_client}: THEY SHARE CORES, so rates mean nothing, and costs are the nodes' own CPU \
         clocks; {} B, {} rounds of {} s per cell; every answer and delivery checked, in order; mails as expected of \
         each cell",
        args.node_cores, args.payload, args.rounds, args.seconds
    );
    for node in nodes {
        println!("\n{}", node.server.name);
        print!("{}", cells(node));
    }
    for node in nodes.iter().filter(|node| node.shards > 1) {
        println!("\n{}: what other shards cost (differences within a round)", node.server.name);
        print!("{}", differences(node));
    }
    deliveries(nodes);
    if let Some(costs) = Costs::of(nodes) {
        println!("\nfor the model (fanwire-bench model --costs FILE): {}", costs.to_json());
    }
    verdict(nodes);
}

fn cells(node: &Node) -> String {
    let mut titles = [
        "",
        "CPU ns/publish",
        "of it ksoftirqd",
        "ns/delivery",
        "mails",
        "wakes",
        "turns",
        "p50 us",
        "p99 us",
    ]
    .map(str::to_owned)
    .to_vec();
    titles.push("share of shards".to_owned());
    let mut rows = vec![titles];
    for place in &node.places {
        let (cell, counted) = (&place.cell, place.counted);
        let spread = |figure: &dyn Fn(&Sample) -> f64| node.spread(cell.name, figure);
        let median = |figure: &dyn Fn(&Sample) -> f64, decimals: usize| {
            spread(figure).map_or_else(|| "-".to_owned(), |spread| format!("{:.decimals$}", spread.median))
        };
        let silent = cell.subscribers.is_empty();
        let quiet = |text: String| if silent { "-".to_owned() } else { text };
        let total = |s: &Sample| s.clocks.shards.iter().sum::<u64>().max(1) as f64;
        let share = (0..node.shards.min(4))
            .map(|shard| median(&|s: &Sample| 100.0 * s.clocks.shards[shard] as f64 / total(s), 0));
        rows.push(vec![
            cell.name.to_owned(),
            text(spread(&Sample::per_publish), 0),
            median(&|s| s.clocks.softirq as f64 / s.messages, 0),
            quiet(median(&Sample::per_delivery, 0)),
            format!("{:.0}", counted.mails),
            format!("{:.2}", counted.sleeps),
            format!("{:.2}", counted.turns),
            quiet(median(&|s| s.latencies.us(50.0), 0)),
            quiet(median(&|s| s.latencies.us(99.0), 0)),
            share.collect::<Vec<_>>().join("/") + if node.shards > 4 { "/.." } else { "" },
        ]);
    }
    table(&rows)
}

/// Pairs of cells that differ in where something is: name, its base, what it is called, mails between them per shard.
fn pairs(node: &Node) -> [(&'static str, &'static str, &'static str, f64); 6] {
    let others = (node.shards - 1) as f64;
    [
        ("silent, home away", "silent", "home on another shard, no subscriber", 1.0),
        ("home away", "near", "home and subscriber on another shard", 1.0),
        ("subscriber away", "near", "subscriber on another shard", 1.0),
        ("home away and back", "near", "home on another shard, subscriber here", 1.0),
        ("spread", "gathered", "a subscriber on every shard", others),
        ("home away, lone", "near, lone", "home and subscriber away, each publish alone", 1.0),
    ]
}

fn differences(node: &Node) -> String {
    let titles =
        ["", "ns/publish and shard", "mails", "wakes", "turns", "goal <= 300"].map(str::to_owned).to_vec();
    let mut rows = vec![titles];
    for (name, base, what, shards) in pairs(node) {
        let cost = node.difference(name, base, |s| s.per_publish() / shards);
        let more = node.counted_more(name, base);
        let count = |figure: fn(&PerPublish) -> f64, decimals: usize| {
            more.map_or_else(|| "-".to_owned(), |more| format!("{:.decimals$}", figure(&more) / shards))
        };
        let met = cost.map_or("-", |cost| match cost {
            cost if cost.max <= GOAL_NS => "met",
            cost if cost.median <= GOAL_NS => "met (median)",
            cost if cost.min <= GOAL_NS => "missed (median)",
            _ => "missed",
        });
        rows.push(vec![
            what.to_owned(),
            text(cost, 0),
            count(|c| c.mails, 0),
            count(|c| c.sleeps, 2),
            count(|c| c.turns, 2),
            met.to_owned(),
        ]);
    }
    table(&rows)
}

fn deliveries(nodes: &[Node]) {
    let Some((first, rest)) = nodes.split_first() else { return };
    if rest.is_empty() {
        return;
    }
    println!("\nCPU per delivery against {} (ratios within a round)", first.server.name);
    let mut rows = vec![["", "ns/delivery", "ratio"].map(str::to_owned).to_vec()];
    let base = first.samples("crowd");
    for node in nodes {
        for name in ["crowd", "crowd, spread"] {
            let samples = node.samples(name);
            if samples.is_empty() {
                continue;
            }
            let ratios = samples.iter().zip(base).map(|(a, b)| a.per_delivery() / b.per_delivery());
            let what = if name == "crowd" { "all subscribers on one shard" } else { "spread over all" };
            rows.push(vec![
                format!("{}, {what}", node.server.name),
                text(node.spread(name, Sample::per_delivery), 0),
                text(Spread::of(ratios), 2),
            ]);
        }
    }
    print!("{}", table(&rows));
}

fn verdict(nodes: &[Node]) {
    let shares = nodes.iter().flat_map(|node| node.places.iter().flat_map(|place| &place.samples));
    let busiest = shares.map(|sample| sample.client_ns / sample.wall_ns).fold(0.0, f64::max);
    let bottleneck = if busiest < SATURATED {
        "the harness was not the bottleneck"
    } else {
        "THE HARNESS SET THE PACE of a cell"
    };
    println!("\nclient at most {:.0} % of a core: {bottleneck}", 100.0 * busiest);
    if let Some(load) = procfs::load_average() {
        println!(
            "load average of the machine {load:.2}; other work inflates costs, differences below 5 % mean nothing"
        );
    }
}

/// A line per cell and round, one per cell over all rounds, one per difference, and the costs for the model.
pub fn json(nodes: &[Node], args: &ShardsArgs) -> Vec<String> {
    let mut lines = Vec::new();
    for node in nodes {
        for place in &node.places {
            let cell = &place.cell;
            let line = |kind: &str| {
                JsonLine::new("shards", &node.server.name)
                    .text("kind", kind)
                    .text("cell", cell.name)
                    .number("shards", node.shards as f64)
                    .number("subscribers", cell.subscribers.len() as f64)
                    .number("payload_bytes", args.payload as f64)
            };
            for (round, sample) in place.samples.iter().enumerate() {
                lines.push(sample_json(line("round").number("round", (round + 1) as f64), sample));
            }
            lines.extend(summary_json(node, place, line("summary")));
        }
        for (name, base, what, shards) in pairs(node).into_iter().filter(|_| node.shards > 1) {
            let Some(cost) = node.difference(name, base, |s| s.per_publish() / shards) else { continue };
            let line =
                JsonLine::new("shards", &node.server.name).text("kind", "difference").text("what", what);
            let line = line
                .text("cell", name)
                .text("base", base)
                .number("shards", node.shards as f64)
                .number("cpu_ns_per_publish_and_shard", cost.median)
                .number("cpu_ns_per_publish_and_shard_min", cost.min)
                .number("cpu_ns_per_publish_and_shard_max", cost.max)
                .number("goal_ns", GOAL_NS);
            lines.push(line.end());
        }
    }
    lines.extend(Costs::of(nodes).map(Costs::to_json));
    lines
}

fn summary_json(node: &Node, place: &Place, line: JsonLine) -> Option<String> {
    let name = place.cell.name;
    let cost = node.spread(name, Sample::per_publish)?;
    let line = line
        .number("cpu_ns_per_publish", cost.median)
        .number("cpu_ns_per_publish_min", cost.min)
        .number("cpu_ns_per_publish_max", cost.max)
        .number("mails_per_publish", place.counted.mails)
        .number("wakes_per_publish", place.counted.sleeps)
        .number("turns_per_publish", place.counted.turns);
    Some(line.end())
}

fn sample_json(mut line: JsonLine, sample: &Sample) -> String {
    line = line
        .number("messages", sample.messages)
        .number("cpu_ns_per_publish", sample.per_publish())
        .number("ksoftirqd_ns_per_publish", sample.clocks.softirq as f64 / sample.messages)
        .number("client_share", sample.client_ns / sample.wall_ns);
    if sample.deliveries > 0.0 {
        line = line
            .number("cpu_ns_per_delivery", sample.per_delivery())
            .number("latency_p50_us", sample.latencies.us(50.0))
            .number("latency_p99_us", sample.latencies.us(99.0));
    }
    for (shard, ns) in sample.clocks.shards.iter().enumerate() {
        line = line.number(&format!("shard_{shard}_ns_per_publish"), *ns as f64 / sample.messages);
    }
    line.end()
}
