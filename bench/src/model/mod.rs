//! `model`: measured costs of the parts, put together for nodes with more cores than there are here. Says what a
//! publish and a delivery cost with 1 to 64 shards, and which shard is full first, and why.

mod check;
mod compute;
#[cfg(test)]
mod simulation;

use crate::report::{JsonLine, progress, table};
use crate::shards::{self, Costs};
use clap::Args;
use compute::{Outcome, Workload, outcome};
use std::fs;
use std::path::PathBuf;

/// Numbers of shards in the tables.
const SHARDS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Options of `model`.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// JSON lines of a `shards --json` run with one shard, two, and many: the costs to compute with. Default: those
    /// measured once, which the output names.
    #[arg(long, value_name = "FILE", conflicts_with = "measure")]
    costs: Option<PathBuf>,
    /// Measure the costs here first.
    #[arg(long)]
    measure: bool,
    /// Rounds of that measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a cell's turn in it, seconds.
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// Subscribers of the one big channel.
    #[arg(long, default_value_t = 100_000)]
    big: u64,
    /// Publishes per second to the big channel.
    #[arg(long, default_value_t = 20.0)]
    big_rate: f64,
    /// Rooms.
    #[arg(long, default_value_t = 10_000)]
    rooms: u64,
    /// Subscribers of a room.
    #[arg(long, default_value_t = 10)]
    room: u64,
    /// Publishes per second to all rooms.
    #[arg(long, default_value_t = 20_000.0)]
    rooms_rate: f64,
    /// Channels of the firehose, with one subscriber each.
    #[arg(long, default_value_t = 100_000)]
    small: u64,
    /// Publishes per second to all of these.
    #[arg(long, default_value_t = 100_000.0)]
    small_rate: f64,
    /// Mails that a shard's mailbox holds (limits.mailbox_messages).
    #[arg(long, default_value_t = 16_384)]
    mailbox: u64,
    /// Print JSON lines instead of tables.
    #[arg(long)]
    json: bool,
}

impl ModelArgs {
    fn workloads(&self) -> Result<[Workload; 3], String> {
        let work = |name, channels: u64, subscribers: u64, rate| Workload {
            name,
            channels: channels as f64,
            subscribers: subscribers as f64,
            rate,
        };
        let all = [
            work("one big channel", 1, self.big, self.big_rate),
            work("many rooms", self.rooms, self.room, self.rooms_rate),
            work("firehose of small channels", self.small, 1, self.small_rate),
        ];
        match all.iter().find(|w| w.channels < 1.0 || w.subscribers < 1.0 || w.rate.is_nan() || w.rate <= 0.0)
        {
            Some(bad) => Err(format!("{}: needs channels, subscribers and a rate", bad.name)),
            None => Ok(all),
        }
    }
}

/// Computes and prints.
pub fn run(args: &ModelArgs) -> Result<(), String> {
    let workloads = args.workloads()?;
    let (run, origin) = if args.measure {
        progress("measuring costs: nodes with 1, 2 and 32 shards");
        (Some(shards::measure_for_model(args.rounds, args.seconds)?), "measured in this run".to_owned())
    } else if let Some(path) = &args.costs {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        (Some(text), format!("from {}", path.display()))
    } else {
        (None, format!("built in, {}", Costs::MEASURED_WHERE))
    };
    let costs = run.as_deref().map_or(Ok(Costs::MEASURED), Costs::from_json)?;
    let outcomes = |work: &Workload| SHARDS.map(|shards| outcome(&costs, work, shards, args.mailbox as f64));
    // Made in any case: the page is made of them.
    let computed =
        workloads.iter().flat_map(|work| outcomes(work).map(|outcome| outcome_json(work, &outcome)));
    let lines: Vec<String> = std::iter::once(costs.to_json()).chain(computed).collect();
    if args.json {
        lines.iter().for_each(|line| println!("{line}"));
        return Ok(());
    }
    print_costs(&costs, &origin);
    for work in &workloads {
        print_workload(work, &outcomes(work));
    }
    print_hot(&costs);
    if let Some(run) = &run {
        println!(
            "\nthe model against the run it has its costs from (cells that its costs were not taken from)"
        );
        print!("{}", check::table_of(&costs, run)?);
    }
    println!("\n{ASSUMPTIONS}");
    Ok(())
}

/// A single channel, so busy that its deliveries share their sends.
fn hot(costs: &Costs, subscribers: u64) -> Outcome {
    let costs = Costs { delivery: costs.joined, ..*costs };
    let work = Workload { name: "hot channel", channels: 1.0, subscribers: subscribers as f64, rate: 1.0 };
    outcome(&costs, &work, 64.0, 1.0)
}

/// The most subscribers with which the home of a single channel is full before any other shard, of 64.
fn few_subscribers(costs: &Costs) -> u64 {
    (1..100_000).take_while(|&count| hot(costs, count).breaks.starts_with("home")).last().unwrap_or(0)
}

fn print_hot(costs: &Costs) {
    println!("\na single hot channel on 64 shards, its messages joined in the sends:");
    match few_subscribers(costs) {
        0 => println!("  its home is never full first"),
        few => println!(
            "  up to {few} subscribers its home is full first, with more the shard with most of them"
        ),
    }
    for subscribers in [1, 64, 1000] {
        let outcome = hot(costs, subscribers);
        println!(
            "  {subscribers} subscriber(s): {:.0} publishes/s; {}",
            outcome.most_publishes, outcome.breaks
        );
    }
}

const ASSUMPTIONS: &str = "\
assumptions: every number above is one of the measured costs, or a count times such a cost
  - publishers are spread evenly; subscribers and channel homes fall on shards at random; the fullest shard has the mean
    plus sqrt(2 ln S) standard deviations (SO_REUSEPORT and the channel hash know nothing of load); a single channel's
    home is one shard
  - a publish from another shard than its home sends two mails, and one more to each other shard with a subscriber
    (checked against a simulation of 64 shards in this program's tests); what each end of a mail costs was measured with two
  - a mail or request finds its shard asleep as often as that is idle, and then costs a wake-up and turns of the loop
    of its own; the cost of both is charged to the woken shard; a full shard has no wake-ups and its turns are shared
  - a delivery costs what it does with the measured number of sockets, one message per send: busy nodes join messages and
    pay less, far more sockets per shard miss the caches more often and pay more
  - every shard has a core of its own, and memory, caches and the network card are no bottleneck: NOT measured here, nor is
    the price of cache lines that travel between sockets; on loopback a send pays for its receipt, too
  - last delivery: nothing else goes on, hops are those of sleeping shards, the fullest shard writes its subscribers in turn";

fn print_costs(costs: &Costs, origin: &str) {
    println!("costs ({origin})");
    let rows: Vec<Vec<String>> = Costs::LABELS
        .iter()
        .zip(costs.values())
        .map(|((name, what), value)| vec![(*what).to_owned(), format!("{value:.1}"), (*name).to_owned()])
        .collect();
    print!("{}", table(&rows));
}

fn print_workload(work: &Workload, outcomes: &[Outcome]) {
    println!(
        "\n{}: {} channel(s) x {} subscriber(s), {} publishes/s",
        work.name, work.channels, work.subscribers, work.rate
    );
    let titles = [
        "shards",
        "CPU us/publish",
        "CPU ns/delivery",
        "mails",
        "wakes",
        "busiest shard %",
        "last delivery us",
        "at most publishes/s",
        "deliveries/s",
        "stall ms",
        "full first",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for outcome in outcomes {
        let full = outcome.utilisation > 1.0;
        let at_rate = |value: String| if full { "-".to_owned() } else { value };
        rows.push(vec![
            format!("{}", outcome.shards),
            at_rate(format!("{:.2}", outcome.publish_ns / 1e3)),
            at_rate(format!("{:.0}", outcome.delivery_ns)),
            format!("{:.2}", outcome.counts.mails()),
            at_rate(format!("{:.2}", outcome.wakes)),
            if full {
                format!("OVER ({:.0})", 100.0 * outcome.utilisation)
            } else {
                format!("{:.1}", 100.0 * outcome.utilisation)
            },
            format!("{:.0}", outcome.last_us),
            format!("{:.0}", outcome.most_publishes),
            format!("{:.0}", outcome.most_publishes * work.subscribers),
            if outcome.stall_ms.is_finite() { format!("{:.0}", outcome.stall_ms) } else { "-".to_owned() },
            outcome.breaks.clone(),
        ]);
    }
    print!("{}", table(&rows));
}

fn outcome_json(work: &Workload, outcome: &Outcome) -> String {
    JsonLine::new("model", "fanwire")
        .text("workload", work.name)
        .number("shards", outcome.shards)
        .number("channels", work.channels)
        .number("subscribers_per_channel", work.subscribers)
        .number("rate_per_second", work.rate)
        .number("mails_per_publish", outcome.counts.mails())
        .number("wakes_per_publish", outcome.wakes)
        .number("cpu_ns_per_publish", outcome.publish_ns)
        .number("cpu_ns_per_delivery", outcome.delivery_ns)
        .number("busiest_shard_utilisation", outcome.utilisation)
        .number("last_delivery_us", outcome.last_us)
        .number("publishes_per_second_max", outcome.most_publishes)
        .number("mailbox_stall_ms", outcome.stall_ms)
        .text("full_first", &outcome.breaks)
        .end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ModelArgs {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: ModelArgs,
        }
        let only: Only = clap::Parser::parse_from(["model"]);
        only.args
    }

    fn of(work: &Workload, shards: f64) -> Outcome {
        outcome(&Costs::MEASURED, work, shards, 16_384.0)
    }

    #[test]
    fn one_shard_sends_no_mail_and_costs_the_sum_of_its_parts() {
        let costs = Costs::MEASURED;
        for work in args().workloads().unwrap() {
            let one = of(&work, 1.0);
            assert_eq!((one.counts.mails(), one.wakes), (0.0, 0.0), "{}", work.name);
            let busy = costs.publish + work.subscribers * costs.delivery;
            assert!((1e9 / one.most_publishes - busy).abs() < 1e-3 * busy, "{}", work.name);
        }
    }

    #[test]
    fn more_shards_take_more_and_a_big_channel_is_limited_by_deliveries_not_by_mail() {
        for work in args().workloads().unwrap() {
            let most = SHARDS.map(|shards| of(&work, shards).most_publishes);
            assert!(most.windows(2).all(|pair| pair[1] > pair[0]), "{}: {most:?}", work.name);
            assert!(most[6] < 64.0 * most[0], "{}: nothing is free", work.name);
        }
        let [big, ..] = args().workloads().unwrap();
        assert!(of(&big, 64.0).breaks.ends_with("deliveries"), "{}", of(&big, 64.0).breaks);
    }

    #[test]
    fn a_single_hot_channel_breaks_at_its_home_when_it_has_few_subscribers() {
        let outcome = super::hot(&Costs::MEASURED, 8);
        assert!(outcome.breaks.starts_with("home of the hottest"), "{}", outcome.breaks);
    }
}
