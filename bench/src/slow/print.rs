//! The results of `slow`, for people and as JSON.

use super::reader::End;
use super::{Figures, Trial};
use crate::procfs::load_average;
use crate::report::{self, JsonLine, table};
use crate::stats::Spread;
use crate::vitals::mib;

/// A client that wants to run for this share of the time counts as the bottleneck.
const SATURATED: f64 = 0.9;
/// Others on the server's core with more than this share of it spoil the figures.
const DISTURBED: f64 = 0.1;

/// A figure, its name in a table with its decimals, and its name in JSON.
type Column = (&'static str, usize, &'static str, fn(&Figures) -> f64);

const COLUMNS: [Column; 5] = [
    ("p50 us", 0, "latency_p50_us", |f| f.p50_us),
    ("p99 us", 0, "latency_p99_us", |f| f.p99_us),
    ("max us", 0, "latency_max_us", |f| f.max_us),
    ("CPU ns/delivery", 0, "cpu_ns_per_delivery", |f| f.cpu_ns),
    ("deliveries/s", 0, "deliveries_per_second", |f| f.per_second),
];

fn spread(rounds: &[Figures], figure: fn(&Figures) -> f64) -> Spread {
    let nothing = Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN };
    Spread::of(rounds.iter().map(figure)).unwrap_or(nothing)
}

/// Smallest and largest of some counts.
fn range(counts: impl Iterator<Item = u64> + Clone) -> Option<String> {
    let (least, most) = (counts.clone().min()?, counts.max()?);
    Some(if least == most { least.to_string() } else { format!("{least} to {most}") })
}

/// What became of the stalled readers of all rounds.
struct Fates {
    closed: usize,
    open: usize,
    counted: Option<f64>,
    after: Option<String>,
    kept: Option<String>,
}

impl Fates {
    fn of(trial: &Trial<'_>) -> Fates {
        let fates = &trial.fates;
        Fates {
            closed: fates.iter().map(|fate| fate.closed).sum(),
            open: fates.iter().map(|fate| fate.open).sum(),
            counted: fates.iter().map(|fate| fate.counted).sum(),
            after: range(fates.iter().flat_map(|fate| fate.after.iter().copied())),
            kept: range(fates.iter().flat_map(|fate| fate.kept.iter().copied())),
        }
    }
}

/// All of it.
pub fn results(trial: &Trial<'_>) {
    report::emit(summary_json(trial), trial.args.server.json);
    if trial.args.server.json {
        return;
    }
    let args = trial.args;
    println!(
        "slow: {} subscribers, {} messages/s of {} B, {} pairs of rounds of {} s; in every other round {} of the \
         subscribers do not read ({} B receive buffer); every delivery to the others checked",
        args.subscribers,
        args.rate,
        args.payload,
        args.rounds,
        args.seconds,
        trial.stalled,
        args.receive_buffer
    );
    let mut rows =
        vec![std::iter::once("").chain(COLUMNS.map(|column| column.0)).map(str::to_owned).collect()];
    for (name, rounds) in [("without stalled readers", &trial.without), ("with", &trial.with)] {
        let cells = COLUMNS.map(|(_, decimals, _, figure)| spread(rounds, figure).text(decimals));
        rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    let ratios = COLUMNS.map(|(_, _, _, figure)| trial.ratio(figure).text(2));
    rows.push(std::iter::once("with / without, pair by pair".to_owned()).chain(ratios).collect());
    print!("{}", table(&rows));
    println!("latency: of each delivery to a reader, from the message's scheduled time");
    print_fates(trial);
    print_memory(trial);
    print_verdict(trial);
}

fn print_fates(trial: &Trial<'_>) {
    let fates = Fates::of(trial);
    let mut text =
        format!("stalled readers: {} closed by the server, {} still open", fates.closed, fates.open);
    if let Some(after) = fates.after {
        text.push_str(&format!("; it let go of them after {after} messages"));
    }
    if let Some(kept) = fates.kept {
        text.push_str(&format!("; {kept} messages lay in their sockets"));
    }
    println!("{text}");
    let ends = || trial.fates.iter().flat_map(|fate| &fate.ends);
    let count = |wanted: fn(&End) -> bool| ends().filter(|end| wanted(end)).count();
    println!(
        "  they found: a close frame {}, the end of the stream without one {}, a reset {}",
        count(|end| matches!(end, End::CloseFrame(_))),
        count(|end| *end == End::Closed),
        count(|end| *end == End::Reset)
    );
    match fates.counted {
        Some(counted) => println!("  the node counts {counted} in fanwire_slow_consumers_closed_total"),
        None => println!("  the server has no figure of fanwire's for it"),
    }
}

fn print_memory(trial: &Trial<'_>) {
    let mut rows =
        vec![["", "RSS before", "peak", "after", "PSS before", "peak", "after"].map(str::to_owned).to_vec()];
    for (name, rounds) in [("without stalled readers", &trial.without), ("with", &trial.with)] {
        for (at, figures) in rounds.iter().enumerate() {
            let memory = figures.memory;
            let (rss, pss) = (memory.peak_rss, memory.peak_pss);
            let cells =
                [memory.before.rss, rss, memory.after.rss, memory.before.pss, pss, memory.after.pss].map(mib);
            rows.push(std::iter::once(format!("{name}, round {}", at + 1)).chain(cells).collect());
        }
    }
    print!("{}", table(&rows));
}

fn print_verdict(trial: &Trial<'_>) {
    let all: Vec<Figures> = trial.without.iter().chain(&trial.with).copied().collect();
    let held: u64 = all.iter().map(|figures| figures.held).sum();
    if held > 0 {
        println!(
            "{held} publishes waited for a full window: THE SERVER DID NOT KEEP UP with the rate, or the client did not"
        );
    }
    println!("publishes left late by p99 {:.0} us at most", spread(&all, |f| f.lag_p99_us).max);
    let share = spread(&all, |f| f.client_share);
    let verdict = if share.max < SATURATED {
        "the harness was not the bottleneck"
    } else {
        "THE HARNESS WAS THE BOTTLENECK in some round: latencies are partly its own"
    };
    println!("client core {:.0} %, waiting for it included: {verdict}", share.median * 100.0);
    if spread(&all, |f| f.others_share).median > DISTURBED {
        println!("OTHER WORK SHARED THE SERVER'S CORE: costs are inflated, measure again on a quiet machine");
    }
    if let Some(load) = load_average() {
        println!("load average of the machine {load:.2}; differences below 5 % mean nothing");
    }
}

fn facts(line: JsonLine, trial: &Trial<'_>) -> JsonLine {
    line.number("subscribers", trial.args.subscribers as f64)
        .number("stalled", trial.stalled as f64)
        .number("rate_per_second", trial.args.rate)
        .number("payload_bytes", trial.args.payload as f64)
}

/// The JSON line of a round.
pub fn round_json(trial: &Trial<'_>, round: usize, kind: &str, figures: &Figures) -> JsonLine {
    let line = JsonLine::new("slow", &trial.server.name).number("round", round as f64).text("phase", kind);
    let mut line = facts(line, trial);
    for (_, _, name, figure) in COLUMNS {
        line = line.number(name, figure(figures));
    }
    let memory = figures.memory;
    line = line
        .number("rss_before_bytes", memory.before.rss as f64)
        .number("rss_peak_bytes", memory.peak_rss as f64)
        .number("rss_after_bytes", memory.after.rss as f64)
        .number("pss_before_bytes", memory.before.pss as f64)
        .number("pss_peak_bytes", memory.peak_pss as f64)
        .number("pss_after_bytes", memory.after.pss as f64)
        .number("publishes_held_by_full_window", figures.held as f64)
        .number("publish_lag_p99_us", figures.lag_p99_us)
        .number("client_core_share", figures.client_share)
        .number("others_on_server_core_share", figures.others_share);
    if let Some(fate) = trial.fates.last().filter(|_| kind == "with") {
        line = line
            .number("stalled_closed", fate.closed as f64)
            .number("stalled_open", fate.open as f64)
            .number("slow_consumers_counted", fate.counted.unwrap_or(f64::NAN));
    }
    line
}

fn summary_json(trial: &Trial<'_>) -> JsonLine {
    let line = JsonLine::new("slow", &trial.server.name).text("kind", "summary");
    let mut line = facts(line, trial);
    for (_, _, name, figure) in COLUMNS {
        let ratio = trial.ratio(figure);
        line = line
            .number(&format!("{name}_without"), spread(&trial.without, figure).median)
            .number(&format!("{name}_with"), spread(&trial.with, figure).median)
            .number(&format!("{name}_ratio"), ratio.median)
            .number(&format!("{name}_ratio_min"), ratio.min)
            .number(&format!("{name}_ratio_max"), ratio.max);
    }
    let fates = Fates::of(trial);
    let after = || trial.fates.iter().flat_map(|fate| fate.after.iter().map(|&count| count as f64));
    line.number("stalled_closed", fates.closed as f64)
        .number("stalled_open", fates.open as f64)
        .number("closed_after_messages_min", after().fold(f64::NAN, f64::min))
        .number("closed_after_messages_max", after().fold(f64::NAN, f64::max))
        .number("slow_consumers_counted", fates.counted.unwrap_or(f64::NAN))
}
