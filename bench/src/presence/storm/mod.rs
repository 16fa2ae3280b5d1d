//! Scenario `presence-storm`: ten thousand users come into presence channels at once, some of them twice, and go at once.

mod crowd;
mod told;

use crate::contest::{DISTURBED, Meter, SATURATED, SETTLE, explain};
use crate::locations::Locations;
use crate::options::{ServerArgs, Setup, at_least};
use crate::report::{self, JsonLine, progress, table};
use crate::server::Server;
use crate::stats::{Latencies, Spread};
use crate::watchdog;
use crate::wire::AppArgs;
use clap::Args;
use crowd::{Crowd, Phase, StormShape};
use std::thread::sleep;
use std::time::Duration;

/// One look at whether the server has come to rest.
const QUIET_STEP: Duration = Duration::from_millis(50);
/// Looks until it counts as never at rest.
const QUIET_STEPS: usize = 400;
/// A server that takes less of a step than this is at rest, nanoseconds.
const QUIET_CPU_NS: u64 = 1_000_000;
/// A round of one layout is over within this.
const ROUND: Duration = Duration::from_secs(120);
/// Bytes that wait for one connection, at most: a whole list, and what is announced while it is sent.
const OUTBOX_BYTES: usize = 64 << 20;

/// Options of `presence-storm`.
#[derive(Args, Clone, Debug)]
pub struct PresenceStormArgs {
    /// Server under load. It must speak Pusher, and allow so many members.
    #[command(flatten)]
    server: ServerArgs,
    /// Keys of the application.
    #[command(flatten)]
    app: AppArgs,
    /// Users, a connection each.
    #[arg(long, default_value_t = 10_000)]
    members: usize,
    /// Channels the users are spread over evenly; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,100")]
    channels: Vec<usize>,
    /// Users who come over a second connection too, which nobody is told: what a join costs by itself.
    #[arg(long, default_value_t = 500)]
    guests: usize,
    /// Joins under way at any time. Who leaves does so in turns of as many.
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// Rounds; what is told is their median and extremes.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Source addresses used, 127.0.0.1 and up.
    #[arg(long, default_value_t = 4)]
    sources: usize,
}

/// A phase in figures.
struct Figures {
    cpu_us: f64,
    per_second: f64,
    announcements: f64,
    /// All CPU of the phase divided by the announcements. NaN without any.
    announcement_ns: f64,
    bytes: f64,
    /// Bytes of one list.
    list_bytes: f64,
    client_share: f64,
    others_share: f64,
}

/// One of the figures.
type Figure = fn(&Figures) -> f64;

/// A phase over all rounds.
#[derive(Default)]
struct Row {
    name: &'static str,
    rounds: Vec<Figures>,
    latencies: Latencies,
}

/// One layout of the users under measurement.
struct Storm<'a> {
    server: &'a Server,
    crowd: Crowd,
    meter: Meter,
    shape: StormShape,
    rows: [Row; 3],
}

/// Runs the scenario.
pub fn run(args: &PresenceStormArgs) -> Result<(), String> {
    at_least("--rounds", args.rounds, 1)?;
    at_least("--concurrency", args.concurrency, 1)?;
    at_least("--guests", args.guests, 1)?;
    let shapes: Vec<StormShape> =
        args.channels.iter().map(|rooms| args.shape(*rooms)).collect::<Result<_, _>>()?;
    let largest = shapes.iter().map(StormShape::room_size).max().unwrap_or(0);
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(args.members + args.guests)?;
    watchdog::plan(ROUND * (args.rounds * shapes.len()) as u32);
    let locations = Locations {
        app: Some(args.app.app()),
        presence_users: Some(largest),
        outbox_bytes: Some(OUTBOX_BYTES),
        ..Locations::default()
    };
    let mut server = setup.server_with(&locations, &[])?;
    for shape in shapes {
        let outcome = storm_over(&server, &shape, args);
        outcome.map_err(|error| explain(&mut server, error))?;
    }
    Ok(())
}

fn storm_over(server: &Server, shape: &StormShape, args: &PresenceStormArgs) -> Result<(), String> {
    let meter = Meter::new(server)?;
    let crowd = Crowd::new(server.address, shape.clone())?;
    let rows = ["join", "join again", "leave"].map(|name| Row { name, ..Row::default() });
    let mut storm = Storm { server, crowd, meter, shape: shape.clone(), rows };
    for round in 0..=args.rounds {
        storm.round(round, args)?;
    }
    storm.print(args);
    // The next layout begins with a server at rest.
    drop(storm.crowd);
    rest(server, || Ok(0))
}

impl PresenceStormArgs {
    fn shape(&self, rooms: usize) -> Result<StormShape, String> {
        at_least("--channels", rooms, 1)?;
        if !self.members.is_multiple_of(rooms) || self.members / rooms < 2 {
            return Err(format!("--members must be a multiple of --channels {rooms}, and two each at least"));
        }
        if self.guests > self.members {
            return Err("--guests must not be above --members".to_owned());
        }
        Ok(StormShape {
            members: self.members,
            rooms,
            guests: self.guests,
            concurrency: self.concurrency,
            app: self.app.app(),
            channel: format!("presence-storm-{rooms}"),
            sources: self.sources,
        })
    }
}

impl Storm<'_> {
    fn round(&mut self, round: usize, args: &PresenceStormArgs) -> Result<(), String> {
        let what = format!("{} channel(s) of {}", self.shape.rooms, self.shape.room_size());
        let phase = |name: &str, total| watchdog::phase(&format!("{what}: {name}"), total);
        let (members, guests) = (self.shape.members, self.shape.guests);
        phase("connections", members + guests);
        self.crowd.connect()?;
        self.rest()?;
        phase("users who come", members);
        let join = self.measure(Crowd::join)?;
        self.rest()?;
        phase("users who come again", guests);
        let again = self.measure(Crowd::join_again)?;
        self.crowd.leave_again()?;
        self.rest()?;
        phase("members who are told of all who go", self.shape.stayers() * self.shape.rooms);
        let leave = self.measure(Crowd::leave)?;
        self.rest()?;
        phase("the others go", 0);
        self.crowd.end()?;
        self.rest()?;
        self.crowd.forget();
        // The first round fills buffers and caches, and does not count.
        if round == 0 {
            return Ok(());
        }
        for (row, (figures, latencies)) in self.rows.iter_mut().zip([join, again, leave]) {
            progress(&format!(
                "round {round}/{}  {what}  {:<10} {:.1} us CPU each, {:.0}/s",
                args.rounds, row.name, figures.cpu_us, figures.per_second
            ));
            let line = JsonLine::new("presence-storm", &self.server.name).number("round", round as f64);
            let line = self.shape.facts(line.text("phase", row.name));
            report::emit(figures.json(line), args.server.json);
            row.rounds.push(figures);
            row.latencies.add(&latencies);
        }
        Ok(())
    }

    fn measure(
        &mut self,
        phase: impl FnOnce(&mut Crowd) -> Result<Phase, String>,
    ) -> Result<(Figures, Latencies), String> {
        let before = self.meter.read()?;
        let phase = phase(&mut self.crowd)?;
        sleep(SETTLE);
        let core = self.meter.read()?.since(&before);
        let cpu_ns = core.cpu_ns() as f64;
        let members = phase.members as f64;
        let figures = Figures {
            cpu_us: cpu_ns / 1e3 / members,
            per_second: members / (phase.wall_ns as f64 / 1e9),
            announcements: phase.announcements as f64,
            announcement_ns: if phase.announcements > 0 {
                cpu_ns / phase.announcements as f64
            } else {
                f64::NAN
            },
            bytes: phase.bytes as f64,
            list_bytes: phase.lists.1 as f64 / phase.lists.0 as f64,
            client_share: phase.client_share,
            others_share: core.others_ns as f64 / core.wall_ns as f64,
        };
        Ok((figures, phase.latencies))
    }

    fn rest(&mut self) -> Result<(), String> {
        let crowd = &mut self.crowd;
        rest(self.server, || crowd.read_all())
    }

    fn print(&self, args: &PresenceStormArgs) {
        for row in self.rows.iter() {
            report::emit(row.json(self), args.server.json);
        }
        if args.server.json {
            return;
        }
        println!(
            "presence storm: {} users in {} channel(s) of {}, {} joins under way; {} of them come over a second \
             connection too; then all but {} of each channel go, every other one without a goodbye; {} rounds; every \
             announcement counted, every list checked",
            self.shape.members,
            self.shape.rooms,
            self.shape.room_size(),
            self.shape.concurrency,
            self.shape.guests,
            self.shape.stayers(),
            args.rounds
        );
        let titles = [
            "",
            "CPU us each",
            "per second",
            "p50 ms",
            "p99 ms",
            "max ms",
            "announcements",
            "CPU ns per one",
            "MB sent",
            "KB of a list",
        ];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(Row::cells));
        print!("{}", table(&rows));
        println!(
            "join: from the request to the list; join again: of a user who is there already, which nobody is told: a \
             join with its list and without announcements; leave: until the last who stays was told"
        );
        println!(
            "CPU ns per one: all CPU of the phase divided by the announcements; bytes: all that came in at the client"
        );
        let worst = |figure: fn(&Figures) -> f64| {
            self.rows
                .iter()
                .filter(|row| row.name != "join again")
                .map(|row| row.median(figure))
                .fold(0.0, f64::max)
        };
        let share = worst(|figures| figures.client_share);
        let verdict = if share < SATURATED {
            "the harness was not the bottleneck"
        } else {
            "THE HARNESS WAS THE BOTTLENECK of rates and times (not of CPU)"
        };
        println!(
            "{}: client core {:.0} %, waiting for it included: {verdict}",
            self.server.name,
            share * 100.0
        );
        if worst(|figures| figures.others_share) > DISTURBED {
            println!(
                "OTHER WORK SHARED THE SERVER'S CORE: costs are inflated, measure again on a quiet machine"
            );
        }
    }
}

/// Waits until the server does nothing any more and `read` finds nothing.
fn rest(server: &Server, mut read: impl FnMut() -> Result<u64, String>) -> Result<(), String> {
    let meter = Meter::new(server)?;
    let mut before = meter.read()?;
    for _ in 0..QUIET_STEPS {
        sleep(QUIET_STEP);
        let bytes = read()?;
        let now = meter.read()?;
        if bytes == 0 && now.since(&before).own_ns < QUIET_CPU_NS {
            return Ok(());
        }
        before = now;
    }
    Err(format!("does not come to rest within {:?}", QUIET_STEP * QUIET_STEPS as u32))
}

impl StormShape {
    fn facts(&self, line: JsonLine) -> JsonLine {
        line.number("members", self.members as f64)
            .number("channels", self.rooms as f64)
            .number("members_per_channel", self.room_size() as f64)
            .number("concurrency", self.concurrency as f64)
    }
}

impl Figures {
    fn json(&self, line: JsonLine) -> JsonLine {
        line.number("cpu_us_per_member", self.cpu_us)
            .number("members_per_second", self.per_second)
            .number("announcements", self.announcements)
            .number("cpu_ns_per_announcement", self.announcement_ns)
            .number("bytes", self.bytes)
            .number("bytes_per_list", self.list_bytes)
            .number("client_core_share", self.client_share)
            .number("others_on_server_core_share", self.others_share)
    }
}

impl Row {
    fn spread(&self, figure: impl Fn(&Figures) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure).filter(|value| value.is_finite()))
    }

    fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        self.spread(figure).map_or(f64::NAN, |spread| spread.median)
    }

    fn cells(&self) -> Vec<String> {
        let text = |figure: fn(&Figures) -> f64, decimals| {
            self.spread(figure).map_or("-".to_owned(), |spread| spread.text(decimals))
        };
        let ms = |percent| format!("{:.1}", self.latencies.us(percent) / 1e3);
        vec![
            self.name.to_owned(),
            text(|figures| figures.cpu_us, 1),
            text(|figures| figures.per_second, 0),
            ms(50.0),
            ms(99.0),
            ms(100.0),
            format!("{:.0}", self.median(|figures| figures.announcements)),
            text(|figures| figures.announcement_ns, 0),
            format!("{:.1}", self.median(|figures| figures.bytes) / 1e6),
            text(|figures| figures.list_bytes / 1e3, 1),
        ]
    }

    fn json(&self, storm: &Storm<'_>) -> JsonLine {
        let line = JsonLine::new("presence-storm", &storm.server.name).text("kind", "summary");
        let mut line = storm.shape.facts(line.text("phase", self.name));
        let figures: [(&str, Figure); 3] = [
            ("cpu_us_per_member", |figures| figures.cpu_us),
            ("members_per_second", |figures| figures.per_second),
            ("cpu_ns_per_announcement", |figures| figures.announcement_ns),
        ];
        for (name, figure) in figures {
            if let Some(spread) = self.spread(figure) {
                line = line
                    .number(name, spread.median)
                    .number(&format!("{name}_min"), spread.min)
                    .number(&format!("{name}_max"), spread.max);
            }
        }
        line.number("announcements", self.median(|figures| figures.announcements))
            .number("bytes", self.median(|figures| figures.bytes))
            .number("bytes_per_list", self.median(|figures| figures.list_bytes))
            .latencies("latency", &self.latencies)
            .number("client_core_share", self.median(|figures| figures.client_share))
            .number("others_on_server_core_share", self.median(|figures| figures.others_share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PresenceStormArgs,
    }

    #[test]
    fn users_are_spread_over_channels_evenly() {
        let shape = |line: &str, rooms| {
            Line::parse_from(std::iter::once("x").chain(line.split_whitespace())).args.shape(rooms)
        };
        let sizes = |shape: StormShape| (shape.room_size(), shape.stayers());
        assert_eq!(shape("", 1).map(sizes), Ok((10_000, 1000)));
        assert_eq!(shape("", 100).map(sizes), Ok((100, 10)));
        assert_eq!(shape("--members 8 --guests 1", 4).map(sizes), Ok((2, 1)));
        assert!(shape("", 3).is_err() && shape("--members 4 --guests 1", 4).is_err());
        assert!(shape("--members 10 --guests 11", 1).is_err());
    }
}
