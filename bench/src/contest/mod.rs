//! Servers under the same load in turn: A B C A B C, so that whatever disturbs the machine hits all alike.

mod bout;
mod figures;
mod meter;
mod print;

use crate::floor::{self, Mode};
use crate::report::{self, JsonLine, progress};
use crate::round::Work;
use crate::server::{self, Server};
use crate::stats::{Latencies, Spread};
pub use bout::{Bout, Connect, Side};
pub use figures::Figures;
pub use meter::{CoreTime, Meter, SETTLE};
pub use print::{DISTURBED, SATURATED};
pub use print::{
    print_beside, print_brief, print_lags, print_ratio, print_server_notes, print_signing, print_summaries,
    print_table, print_verdict,
};
use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::Duration;

/// Messages before the first round are not counted: buffers, caches and branch predictors fill.
const WARM_UP: Duration = Duration::from_millis(300);
/// What others leave on the core is cold; a turn before the clock starts warms it.
const TURN: Duration = Duration::from_millis(30);
/// Every floor's name begins so.
const FLOOR: &str = "floor";

/// What is measured, and how to call it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// What the costs are per, in singular: `delivery`.
    pub unit: &'static str,
    /// The same in plural.
    pub units: &'static str,
    /// The load, for the JSON lines.
    pub facts: Vec<(&'static str, f64)>,
    /// Rounds per server.
    pub rounds: usize,
    /// Length of a round, seconds.
    pub seconds: f64,
    /// Print JSON lines.
    pub json: bool,
}

/// A server with its load and what the rounds against it brought.
pub struct Contender {
    /// The server.
    pub server: Server,
    /// None once it has left.
    work: Option<Box<dyn Work>>,
    meter: Meter,
    rounds: Vec<Figures>,
    latencies: Latencies,
    /// See [`crate::round::Round::lags`].
    pub lags: Latencies,
    /// See [`crate::round::Round::held`].
    pub held: u64,
    /// Whether its failure is its own affair: it leaves, and the others go on.
    pub spare: bool,
    note: Option<&'static str>,
    /// Why it has left.
    pub failure: Option<String>,
    /// See [`crate::round::Round::parts`].
    pub parts: Vec<Latencies>,
    /// What its subscribers speak, for the JSON lines. Empty: not told.
    pub wire: String,
    /// See [`crate::round::Round::signing_ns`].
    signing_ns: u64,
    /// Messages of all rounds.
    messages: u64,
    /// See [`crate::round::Round::acks`].
    pub acks: Latencies,
}

/// Plays all rounds of `plan`, the contenders in turn. Those whose turn it is not are stopped meanwhile: some servers
/// poll, and all share one core.
pub fn compete(contenders: &mut [Contender], plan: &Plan) -> Result<(), String> {
    let alone = contenders.len() == 1;
    for contender in contenders.iter().filter(|_| !alone) {
        contender.server.pause();
    }
    for round in 1..=plan.rounds {
        for contender in contenders.iter_mut().filter(|contender| contender.failure.is_none()) {
            contender.server.resume();
            let resumed = if alone { Ok(()) } else { contender.resume() };
            let figures = match resumed.and_then(|()| contender.round(plan.seconds)) {
                Ok(figures) => figures,
                Err(error) if contender.spare => {
                    contender.fail(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !alone {
                contender.server.pause();
            }
            progress(&format!(
                "round {round}/{}  {:<14} {:.0} ns CPU per {}",
                plan.rounds,
                contender.server.name,
                figures.cpu_ns(),
                plan.unit
            ));
            report::emit(contender.round_json(&figures, round, plan), plan.json);
        }
    }
    for contender in contenders.iter_mut().filter(|contender| contender.failure.is_none()) {
        contender.server.resume();
        match contender.finish() {
            Err(error) if contender.spare => contender.fail(error),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// The floor program in every mode that works here.
pub fn floors(core: usize) -> Result<Vec<Server>, String> {
    let mut modes = vec![Mode::Send];
    if floor::uring_available() {
        modes.push(Mode::Uring);
    }
    let start = |mode: Mode| {
        let address = server::free_address()?;
        let name = format!("{FLOOR} ({})", mode.name());
        Server::start(&name, server::floor(address, mode)?, address, core)
    };
    modes.into_iter().map(start).collect()
}

/// Tells this run's messages from others'.
pub fn run_number() -> u32 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u32)
}

impl Contender {
    /// Connects the load and warms the server up.
    pub fn start(
        mut server: Server,
        connect: impl FnOnce(SocketAddrV4) -> Result<Box<dyn Work>, String>,
    ) -> Result<Contender, String> {
        progress(&format!("{}: the load connects", server.name));
        let mut work = connect(server.address).map_err(|error| explain(&mut server, error))?;
        work.round(WARM_UP).map_err(|error| explain(&mut server, error))?;
        let meter = Meter::new(&server)?;
        let (latencies, lags) = (Latencies::default(), Latencies::default());
        let (rounds, parts, wire) = (Vec::new(), Vec::new(), String::new());
        let (work, spare, note, failure) = (Some(work), false, None, None);
        Ok(Contender {
            server,
            work,
            meter,
            rounds,
            latencies,
            lags,
            held: 0,
            parts,
            wire,
            spare,
            note,
            failure,
            signing_ns: 0,
            messages: 0,
            acks: Latencies::default(),
        })
    }

    /// See [`Work::note`].
    pub fn note(&self) -> Option<&'static str> {
        self.note.or_else(|| self.work.as_ref().and_then(|work| work.note()))
    }

    /// Gives back its server and connections; the figures stay.
    pub fn leave(&mut self) {
        self.note = self.note();
        self.work = None;
        self.server.stop();
    }

    fn fail(&mut self, error: String) {
        progress(&format!("{}: leaves: {error}", self.server.name));
        self.failure = Some(error);
        self.leave();
    }

    /// Works for `time` without counting it.
    pub fn warm(&mut self, time: Duration) -> Result<(), String> {
        let Some(work) = &mut self.work else { return Ok(()) };
        work.round(time).map(drop).map_err(|error| explain(&mut self.server, error))
    }

    fn resume(&mut self) -> Result<(), String> {
        let Some(work) = &mut self.work else { return Ok(()) };
        work.resume().map_err(|error| explain(&mut self.server, error))
    }

    fn round(&mut self, seconds: f64) -> Result<Figures, String> {
        let time = Duration::from_secs_f64(seconds);
        let Some(work) = &mut self.work else { return Err(format!("{} has left", self.server.name)) };
        work.round(TURN).map_err(|error| explain(&mut self.server, error))?;
        sleep(SETTLE);
        let before = self.meter.read()?;
        let round = work.round(time).map_err(|error| explain(&mut self.server, error))?;
        sleep(SETTLE);
        let core = self.meter.read()?.since(&before);
        // The server may be stopped for a while now: no ping of its may wait for a pong meanwhile.
        work.check_nothing_left().map_err(|error| explain(&mut self.server, error))?;
        let figures = Figures::of(&round, core);
        self.rounds.push(figures);
        self.latencies.add(&round.latencies);
        self.lags.add(&round.lags);
        self.held += round.held;
        self.signing_ns += round.signing_ns;
        self.messages += round.messages;
        self.acks.add(&round.acks);
        self.parts.resize_with(self.parts.len().max(round.parts.len()), Latencies::default);
        self.parts.iter_mut().zip(&round.parts).for_each(|(all, part)| all.add(part));
        Ok(figures)
    }

    fn finish(&mut self) -> Result<(), String> {
        let Some(work) = &mut self.work else { return Ok(()) };
        work.check_nothing_left().map_err(|error| explain(&mut self.server, error))
    }

    /// A figure over all rounds.
    pub fn spread(&self, figure: impl Fn(&Figures) -> f64) -> Spread {
        let nothing = Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN };
        Spread::of(self.rounds.iter().map(figure)).unwrap_or(nothing)
    }

    /// Latency over all rounds, microseconds.
    pub fn latency_us(&self, percent: f64) -> f64 {
        self.latencies.us(percent)
    }

    /// Ratio of its CPU cost to that of `other`, round by round.
    pub fn ratio_to(&self, other: &Contender) -> Option<Spread> {
        self.ratio_of(other, Figures::cpu_ns)
    }

    /// Ratio of another figure to that of `other`, round by round.
    pub fn ratio_of(&self, other: &Contender, figure: impl Fn(&Figures) -> f64) -> Option<Spread> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        Spread::of(pairs.map(|(own, others)| figure(own) / figure(others)))
    }

    /// What signing a publish took the client, microseconds.
    fn signing_us(&self) -> f64 {
        self.signing_ns as f64 / 1e3 / self.messages.max(1) as f64
    }

    /// Whether it is a floor program in one of its modes.
    fn is_floor(&self) -> bool {
        self.server.name.starts_with(FLOOR)
    }

    /// The beginning of a JSON line.
    fn json(&self, plan: &Plan) -> JsonLine {
        let line = JsonLine::new(plan.scenario, &self.server.name);
        if self.wire.is_empty() { line } else { line.text("wire", &self.wire) }
    }

    fn round_json(&self, figures: &Figures, round: usize, plan: &Plan) -> JsonLine {
        let mut line = self.json(plan).number("round", round as f64);
        for (name, value) in &plan.facts {
            line = line.number(name, *value);
        }
        line.number("messages", figures.messages)
            .number(&format!("cpu_ns_per_{}", plan.unit), figures.cpu_ns())
            .number(&format!("ksoftirqd_ns_per_{}", plan.unit), figures.softirq_ns)
            .number(&format!("{}_per_second", plan.units), figures.per_second)
            .number(&format!("{}_per_read", plan.units), figures.joined)
            .number("latency_p50_us", figures.p50_us)
            .number("latency_p90_us", figures.p90_us)
            .number("latency_p99_us", figures.p99_us)
            .number("latency_p999_us", figures.p999_us)
            .number("latency_max_us", figures.max_us)
            .number("server_core_share", figures.server_share)
            .number("client_core_share", figures.client_share)
            .number("client_delay_share", figures.client_delay_share)
            .number("others_on_server_core_share", figures.others_share)
    }
}

/// The cheapest of `floors`.
fn cheapest<'a>(floors: impl IntoIterator<Item = &'a Contender>) -> Option<&'a Contender> {
    let median = |floor: &Contender| floor.spread(Figures::cpu_ns).median;
    floors.into_iter().min_by(|a, b| median(a).total_cmp(&median(b)))
}

/// A failure is often the server's end: then that is what to tell.
pub fn explain(server: &mut Server, error: String) -> String {
    // The process may need a moment to be gone after its sockets are.
    sleep(Duration::from_millis(100));
    match server.check_alive() {
        Ok(()) => format!("{}: {error}", server.name),
        Err(death) => format!("{death}\n({error})"),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::round::Round;
    use std::net::{Ipv4Addr, TcpListener};

    /// One with a round per cost (ns) and latency (us), without a server of its own.
    pub fn contender(name: &str, spare: bool, rounds: &[(u64, u64)]) -> Contender {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        let server = Server::attach(name, std::process::id(), address, 0).unwrap();
        let (meter, mut latencies) = (Meter::new(&server).unwrap(), Latencies::default());
        let mut figures = Vec::new();
        for &(cost_ns, latency_us) in rounds {
            let mut round = Round { messages: 1, deliveries: 1, wall_ns: 1000, reads: 1, ..Round::default() };
            round.latencies.record(latency_us * 1000);
            let core = CoreTime { own_ns: cost_ns, softirq_ns: 0, others_ns: 0, wall_ns: 1000 };
            figures.push(Figures::of(&round, core));
            latencies.add(&round.latencies);
        }
        let (lags, parts, wire) = (Latencies::default(), Vec::new(), String::new());
        let (work, rounds, note, failure) = (None, figures, None, None);
        Contender {
            server,
            work,
            meter,
            rounds,
            latencies,
            lags,
            held: 0,
            parts,
            wire,
            spare,
            note,
            failure,
            signing_ns: 0,
            messages: 0,
            acks: Latencies::default(),
        }
    }
}
