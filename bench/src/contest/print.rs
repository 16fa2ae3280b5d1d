//! The results of a contest, for people and as JSON.

use super::{Contender, Figures, Plan, cheapest};
use crate::procfs;
use crate::report::{self, JsonLine, table};

/// A client that wants to run for this share of the time counts as the bottleneck.
pub const SATURATED: f64 = 0.9;
/// Last columns of the table.
const TIMES: [&str; 6] = ["per read", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"];
/// An open loop's own lateness above this share of the latency spoils it.
const LATE: f64 = 0.2;
/// Others on the server's core with more than this share of it spoil the figures: they take its caches.
pub const DISTURBED: f64 = 0.1;

/// Two numbers: the rate, and the cost with its ratio to the cheapest floor.
pub fn print_brief(first: &Contender, floors: &[Contender], plan: &Plan) {
    emit_summaries(&[first].into_iter().chain(floors).collect::<Vec<_>>(), plan);
    println!("{} per second   {}", plan.units, first.spread(|f| f.per_second).text(0));
    let cost = first.spread(Figures::cpu_ns).text(0);
    let against = cheapest(floors).and_then(|floor| {
        let (ratio, least) = (first.ratio_to(floor)?, floor.spread(Figures::cpu_ns).text(0));
        Some(format!(": {} x the floor ({}, {least} ns)", ratio.text(2), floor.server.name))
    });
    println!("CPU ns per {}      {cost}{}", plan.unit, against.unwrap_or_default());
}

/// A row per contender. A page that is to be written gets their summaries.
pub fn print_table(contenders: &[Contender], plan: &Plan) {
    emit_summaries(&contenders.iter().collect::<Vec<_>>(), plan);
    let titles = [
        "".to_owned(),
        format!("CPU ns/{}", plan.unit),
        "of it ksoftirqd".to_owned(),
        format!("{}/s", plan.units),
    ];
    let titles = titles.into_iter().chain(TIMES.map(str::to_owned));
    let mut rows = vec![titles.collect()];
    for contender in contenders {
        let latency = |percent| format!("{:.0}", contender.latencies.us(percent));
        rows.push(vec![
            contender.server.name.clone(),
            contender.spread(Figures::cpu_ns).text(0),
            contender.spread(|f| f.softirq_ns).text(0),
            contender.spread(|f| f.per_second).text(0),
            format!("{:.1}", contender.spread(|f| f.joined).median),
            latency(50.0),
            latency(90.0),
            latency(99.0),
            latency(99.9),
            latency(100.0),
        ]);
    }
    print!("{}", table(&rows));
}

/// How servers took the load, where that is not as usual.
pub fn print_server_notes(contenders: &[Contender]) {
    for contender in contenders {
        if let Some(note) = contender.note() {
            println!("{}: {note}", contender.server.name);
        }
    }
}

/// The first contender against others on the same server, round by round.
pub fn print_beside(first: &Contender, beside: &[Contender], plan: &Plan) {
    for other in beside {
        let Some(ratio) = first.ratio_to(other) else { continue };
        let line = JsonLine::new(plan.scenario, &first.server.name)
            .text("kind", "beside")
            .text("wire", &first.wire)
            .text("beside", &other.wire)
            .number("cpu_ratio", ratio.median)
            .number("cpu_ratio_min", ratio.min)
            .number("cpu_ratio_max", ratio.max);
        report::emit(line, plan.json);
        if !plan.json {
            println!(
                "{} / {}: CPU per {} {}, one server, compared round by round",
                first.wire,
                other.wire,
                plan.unit,
                ratio.text(3)
            );
        }
    }
}

/// What signing publishes took of the client, beside what is measured.
pub fn print_signing(contenders: &[Contender]) {
    for contender in contenders.iter().filter(|contender| contender.signing_ns > 0) {
        println!(
            "{}: the client signs each publish before it counts, in {:.1} us",
            contender.server.name,
            contender.signing_us()
        );
    }
}

/// The first contender against the cheapest floor.
pub fn print_ratio(first: &Contender, floors: &[Contender]) {
    let Some(floor) = cheapest(floors) else { return };
    if let Some(ratio) = first.ratio_to(floor) {
        println!("{} / {}: {}, compared round by round", first.server.name, floor.server.name, ratio.text(2));
    }
}

/// How late an open loop was itself, and whether that spoils its latencies.
pub fn print_lags(contenders: &[Contender]) {
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

/// Whether the figures are the server's or the harness's, and whether the machine was quiet enough.
pub fn print_verdict(contenders: &[Contender], plan: &Plan) {
    let percent = |share: f64| share * 100.0;
    let mut disturbed = false;
    for contender in contenders {
        let client = contender.spread(|f| f.client_share).median;
        let delay = contender.spread(|f| f.client_delay_share).median;
        let server = contender.spread(|f| f.server_share).median;
        let others = contender.spread(|f| f.others_share).median;
        disturbed |= others > DISTURBED;
        let verdict = if client + delay < SATURATED {
            "the harness was not the bottleneck".to_owned()
        } else {
            format!("THE HARNESS WAS THE BOTTLENECK of {}/s (not of CPU per {})", plan.units, plan.unit)
        };
        println!(
            "{}: client core {:.0} % (kept waiting {:.0} %), server core {:.0} % (others there {:.0} %): {verdict}",
            contender.server.name,
            percent(client),
            percent(delay),
            percent(server),
            percent(others)
        );
    }
    if disturbed {
        println!("OTHER WORK SHARED THE SERVER'S CORE: costs are inflated, measure again on a quiet machine");
    }
    if let Some(load) = procfs::load_average() {
        println!("load average of the machine {load:.2}; differences below 5 % mean nothing");
    }
}

/// A JSON line per contender. Ratios are against the cheapest floor, and where there are peers against the first one.
pub fn print_summaries(first: &Contender, floors: &[Contender], peers: &[Contender], plan: &Plan) {
    emit_summaries(&[first].into_iter().chain(floors).chain(peers).collect::<Vec<_>>(), plan);
}

fn emit_summaries(contenders: &[&Contender], plan: &Plan) {
    let Some((first, others)) = contenders.split_first() else { return };
    let to_first = format!("ratio_to_{}", first.server.name);
    let floor = cheapest(others.iter().copied().filter(|other| other.is_floor()));
    let against = others.iter().any(|other| !other.is_floor()).then_some(*first);
    for contender in contenders {
        let ratios = [("ratio_to_floor", floor), (&*to_first, against)];
        report::emit(summary_json(contender, plan, &ratios), plan.json);
    }
}

/// The summary of one contender; `ratios` are against others, by the name of the key.
fn summary_json(contender: &Contender, plan: &Plan, ratios: &[(&str, Option<&Contender>)]) -> JsonLine {
    let cpu = contender.spread(Figures::cpu_ns);
    let mut line = contender.json(plan).text("kind", "summary");
    for (name, value) in &plan.facts {
        line = line.number(name, *value);
    }
    let cost = format!("cpu_ns_per_{}", plan.unit);
    line = line
        .number(&cost, cpu.median)
        .number(&format!("{cost}_min"), cpu.min)
        .number(&format!("{cost}_max"), cpu.max)
        .number(&format!("{}_per_second", plan.units), contender.spread(|f| f.per_second).median)
        .latencies("latency", &contender.latencies);
    if contender.lags.len() > 0 {
        line = line
            .number("publishes_held_by_full_window", contender.held as f64)
            .number("publish_lag_p99_us", contender.lags.us(99.0))
            .number("publish_lag_max_us", contender.lags.us(100.0));
    }
    if contender.signing_ns > 0 {
        line = line.number("client_signing_us_per_publish", contender.signing_us());
    }
    line = line
        .number("client_core_share", contender.spread(|f| f.client_share).median)
        .number("client_delay_share", contender.spread(|f| f.client_delay_share).median)
        .number("others_on_server_core_share", contender.spread(|f| f.others_share).median);
    for (name, other) in ratios {
        if let Some(ratio) = other.and_then(|other| contender.ratio_to(other)) {
            line = line
                .number(name, ratio.median)
                .number(&format!("{name}_min"), ratio.min)
                .number(&format!("{name}_max"), ratio.max);
        }
    }
    line
}
