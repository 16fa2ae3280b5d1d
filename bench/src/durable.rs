//! Scenario `durable`: what it costs a publisher that its message is on the disk before it is acknowledged. The same
//! publishers on a channel in memory and on a durable one of the same node, in turn.

use crate::contest::{self, Contender, Figures, Plan};
use crate::fanout;
use crate::ledger::{PUBLISHERS_MAX, TAG_BYTES};
use crate::load::{ClientMode, Shape};
use crate::options::{ServerArgs, Setup, at_least, check_rounds};
use crate::report::{self, JsonLine, progress, table};
use crate::stats::Spread;
use crate::vitals::{self, ConfigFile};
use crate::watchdog;
use crate::wire::Wire;
use clap::Args;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Syncs by which the disk itself is measured.
const SYNCS: usize = 100;
/// What is written before each, bytes: a page of the node's store.
const SYNC_BYTES: usize = 4096;
/// Locations of both kinds, alike in everything else.
const CONFIG: &str = r"
[[location]]
url = '^/pub/(.+)$'
methods = 'publisher'

[[location]]
url = '^/sub/(.+)$'
methods = 'subscriber'

[[location]]
url = '^/durable/pub/(.+)$'
methods = 'publisher'
durable = true

[[location]]
url = '^/durable/sub/(.+)$'
methods = 'subscriber'
durable = true
";

/// Options of `durable`.
#[derive(Args, Clone, Debug)]
pub struct DurableArgs {
    /// Server under load. It must have the same locations in front of /pub and /sub under --durable-prefix.
    #[command(flatten)]
    server: ServerArgs,
    /// Keep-alive connections that publish, one message in flight each; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,16,256")]
    publishers: Vec<usize>,
    /// Size of a message, bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Folder for the store of the fanwire that is started here; what is made in it is removed. Which disk that is decides
    /// the figures.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    data: PathBuf,
    /// What stands in front of the paths of durable channels.
    #[arg(long, default_value = "/durable")]
    durable_prefix: String,
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a round, seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path) -> Result<Folder, String> {
        let path = parent.join(format!("fanwire-bench-{}.store", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
        // The node has a folder of its own.
        path.canonicalize().map(Folder).map_err(|e| format!("{}: {e}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the scenario.
pub fn run(args: &DurableArgs) -> Result<(), String> {
    let shapes: Vec<(Shape, Shape)> =
        args.publishers.iter().map(|count| args.shapes(*count)).collect::<Result<_, _>>()?;
    let most = args.publishers.iter().max().copied().unwrap_or(0);
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(2 * (most + 1))?;
    let turns = (2 * args.rounds * shapes.len()) as u32;
    watchdog::plan(Duration::from_secs_f64(args.seconds) * turns);
    let folder = Folder::new(&args.data)?;
    let sync = sync_us(&folder.0)?;
    let config = ConfigFile::new("durable", CONFIG)?;
    let data = folder.0.to_string_lossy().into_owned();
    let server = setup.server(&["--config", &config.path(), "--data", &data])?;
    // Every number of publishers has its turn on the same node, and so the same store.
    let owner = server.again(&server.name);
    report::emit(
        JsonLine::new("durable", &owner.name)
            .text("kind", "disk")
            .number("sync_us", sync.median)
            .number("sync_us_min", sync.min)
            .number("sync_us_max", sync.max),
        args.server.json,
    );
    if !args.server.json {
        println!(
            "durable: the store is in {}; {SYNC_BYTES} B and a sync there take the harness {} us",
            args.data.display(),
            sync.text(0)
        );
    }
    for (memory, durable) in shapes {
        play(args, &owner, memory, durable)?;
    }
    drop(server);
    Ok(())
}

impl DurableArgs {
    fn shapes(&self, publishers: usize) -> Result<(Shape, Shape), String> {
        check_rounds(self.rounds, self.seconds)?;
        at_least("--publishers", publishers, 1)?;
        at_least("--payload", self.payload, TAG_BYTES)?;
        if publishers > PUBLISHERS_MAX {
            return Err(format!("--publishers must be at most {PUBLISHERS_MAX}"));
        }
        let shape = |prefix: &str| Shape {
            subscribers: 1,
            publishers,
            window: 1,
            batch: false,
            rate: None,
            payload_bytes: self.payload,
            // A channel of its own for each number: what the last one has stored is none of its business.
            wires: vec![Wire::relay(&format!("{prefix}/sub/bench-{publishers}"))],
            publish_path: format!("{prefix}/pub/bench-{publishers}"),
            sources: 1,
            client: ClientMode::Epoll,
            pause: Duration::ZERO,
        };
        // Two channels, also where the prefix is no part of their names.
        let mut durable = shape(&self.durable_prefix);
        durable.wires[0].path.push_str("-d");
        durable.publish_path.push_str("-d");
        Ok((shape(""), durable))
    }
}

fn play(
    args: &DurableArgs,
    server: &crate::server::Server,
    memory: Shape,
    durable: Shape,
) -> Result<(), String> {
    let publishers = memory.publishers;
    let plan = Plan {
        scenario: "durable",
        unit: "publish",
        units: "publishes",
        facts: vec![("publishers", publishers as f64), ("payload_bytes", args.payload as f64)],
        rounds: args.rounds,
        seconds: args.seconds,
        json: args.server.json,
    };
    let run = contest::run_number();
    let contender = |name: &str, shape: Shape| {
        let mut contender =
            Contender::start(server.again(name), |address| fanout::connect(address, shape, run))?;
        contender.wire = name.to_owned();
        Ok::<_, String>(contender)
    };
    let mut contenders = [contender("durable", durable)?, contender("memory", memory)?];
    let counts = || -> Result<Option<(f64, f64)>, String> {
        let jobs = vitals::counter(server.address, "fanwire_store_jobs_total")?;
        Ok(jobs.zip(vitals::counter(server.address, "fanwire_store_commits_total")?))
    };
    let before = counts()?;
    contest::compete(&mut contenders, &plan)?;
    let done = before.zip(counts()?).map(|(before, after)| (after.0 - before.0, after.1 - before.1));
    match done {
        None => progress("the server does not tell of its store"),
        Some((_, commits)) if commits > 0.0 => {}
        Some(_) => return Err("the store has done nothing: the durable channel is none".to_owned()),
    }
    let shared = done.map(|(jobs, commits)| jobs / commits);
    print(&contenders, shared, publishers, &plan);
    Ok(())
}

/// `shared` is how many publishes had a commit together.
fn print(contenders: &[Contender; 2], shared: Option<f64>, publishers: usize, plan: &Plan) {
    let [durable, memory] = contenders;
    let rate = durable.ratio_of(memory, |figures: &Figures| figures.per_second);
    let cpu = durable.ratio_to(memory);
    let mut line = JsonLine::new("durable", "fanwire")
        .text("kind", "ratio")
        .number("publishers", publishers as f64)
        .number("publishes_per_commit", shared.unwrap_or(f64::NAN));
    for (name, ratio) in [("rate_ratio_to_memory", rate), ("cpu_ratio_to_memory", cpu)] {
        if let Some(Spread { median, min, max }) = ratio {
            line = line
                .number(name, median)
                .number(&format!("{name}_min"), min)
                .number(&format!("{name}_max"), max);
        }
    }
    if plan.json {
        contest::print_summaries(durable, &[], &contenders[1..], plan);
    }
    report::emit(line, plan.json);
    for contender in contenders {
        let line = JsonLine::new("durable", &contender.server.name)
            .text("kind", "acknowledged")
            .number("publishers", publishers as f64)
            .latencies("acknowledged", &contender.acks);
        report::emit(line, plan.json);
    }
    if plan.json {
        return;
    }
    println!(
        "durable: {publishers} publisher(s) with one message in flight each, {} B; {} rounds of {} s; every answer and \
         delivery checked",
        plan.facts.last().map_or(0.0, |fact| fact.1),
        plan.rounds,
        plan.seconds
    );
    contest::print_table(contenders, plan);
    let titles = ["acknowledged after", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for contender in contenders {
        let cell = |percent| format!("{:.0}", contender.acks.us(percent));
        let mut row = vec![contender.server.name.clone()];
        row.extend([50.0, 90.0, 99.0, 99.9, 100.0].map(cell));
        rows.push(row);
    }
    print!("{}", table(&rows));
    let text = |ratio: Option<Spread>| ratio.map_or("?".to_owned(), |ratio| ratio.text(2));
    println!("durable / memory: rate {}, CPU {}, compared round by round", text(rate), text(cpu));
    if let Some(shared) = shared {
        println!("{shared:.1} publishes shared a commit");
    }
    contest::print_verdict(contenders, plan);
}

/// What writing a page at the end of a file and syncing it takes in `folder`, microseconds.
fn sync_us(folder: &Path) -> Result<Spread, String> {
    let path = folder.join("sync");
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(failed)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[0; SYNC_BYTES]).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        times.push(begun.elapsed().as_nanos() as f64 / 1e3);
    }
    fs::remove_file(&path).map_err(failed)?;
    Spread::of(times).ok_or_else(|| "no sync".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::Mode;
    use crate::load::tests::start_floor;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DurableArgs,
    }

    fn args(line: &str) -> DurableArgs {
        Line::parse_from(std::iter::once("durable").chain(line.split_whitespace())).args
    }

    #[test]
    fn both_kinds_have_channels_of_their_own() {
        let (memory, durable) = args("").shapes(16).unwrap();
        assert_eq!(memory.publish_path, "/pub/bench-16");
        assert_eq!(durable.publish_path, "/durable/pub/bench-16-d");
        assert_eq!(durable.wires[0].path, "/durable/sub/bench-16-d");
        assert!(args("").shapes(0).is_err() && args("").shapes(PUBLISHERS_MAX + 1).is_err());
    }

    #[test]
    fn every_answer_has_its_time() {
        let (mut shape, _) = args("").shapes(3).unwrap();
        shape = shape.at_default_paths();
        let mut work = fanout::connect(start_floor(Mode::Send), shape, 7).unwrap();
        let round = work.round(Duration::from_millis(50)).unwrap();
        assert!(round.messages > 0);
        assert_eq!(round.acks.len(), round.messages);
    }

    #[test]
    fn the_folder_of_the_store_goes_with_the_run() {
        let folder = Folder::new(&std::env::temp_dir()).unwrap();
        let path = folder.0.clone();
        assert!(sync_us(&path).unwrap().median > 0.0 && fs::read_dir(&path).unwrap().count() == 0);
        drop(folder);
        assert!(!path.exists());
        assert!(Folder::new(Path::new("/nonexistent")).is_err());
    }
}
