//! The JSON lines of runs, put in order: runs, their scenarios, and in these who was measured.

use crate::stats::Spread;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Numbers that say what the load was, in the order in which they are told.
const FACTS: [&str; 17] = [
    "subscribers",
    "connections",
    "clients",
    "users",
    "channels",
    "rooms",
    "members",
    "transports",
    "subscribers_per_room",
    "subscribers_per_transport",
    "publishers",
    "inflight",
    "pipeline",
    "rate_per_second",
    "missed",
    "stalled",
    "payload_bytes",
];
/// Texts that tell several measurements of one server in one scenario apart.
const LABELS: [&str; 4] = ["phase", "dialect", "carrier", "wire"];
/// What a key ends in that tells something about a cost, not the cost.
const NOT_COSTS: [&str; 5] = ["_min", "_max", "_ratio", "_with", "_without"];
/// Keys that are not figures.
const NAMES: [&str; 5] = ["scenario", "server", "kind", "round", "cycle"];

/// One JSON line.
pub type Line = Map<String, Value>;

/// Everything a page tells.
#[derive(Debug, Default)]
pub struct Model {
    /// In the order of the lines.
    pub runs: Vec<Run>,
}

/// The lines from one host line to the next.
#[derive(Debug, Default)]
pub struct Run {
    /// What was known of the machine at the beginning; empty for lines of old.
    pub host: Line,
    /// What was known at the end.
    pub end: Line,
    /// One per scenario and load.
    pub sections: Vec<Section>,
}

/// One load and all who were put under it.
#[derive(Debug)]
pub struct Section {
    /// Name of the scenario.
    pub scenario: String,
    /// The load: known numbers first, then texts.
    pub facts: Vec<(String, Value)>,
    /// Everybody measured, in the order of the lines.
    pub entries: Vec<Entry>,
    /// Lines of kinds of their own, as of each transport: their kind with its lines.
    pub sides: Vec<(String, Vec<Line>)>,
}

/// One server in one section.
#[derive(Debug)]
pub struct Entry {
    /// What to call it: the server, its labels, and which heat it was if it had more than one.
    pub name: String,
    /// The server's name.
    pub server: String,
    /// Phase, dialect and carrier, where there are several.
    labels: Vec<String>,
    heat: usize,
    /// A line per round.
    pub rounds: Vec<Line>,
    /// The line of all rounds together.
    pub summary: Option<Line>,
}

impl Model {
    /// Reads lines; empty ones are skipped. An error names the line.
    pub fn read(lines: &str) -> Result<Model, String> {
        let mut model = Model::default();
        for (at, text) in lines.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let wrong = |what: &str| format!("line {}: {what}", at + 1);
            let value: Value = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
            let Value::Object(line) = value else { return Err(wrong("not a JSON object")) };
            model.take(line).map_err(|error| wrong(&error))?;
        }
        if model.sections().next().is_none() {
            return Err("there are no figures in these lines".to_owned());
        }
        model.runs.iter_mut().flat_map(|run| &mut run.sections).for_each(Section::name_entries);
        Ok(model)
    }

    /// The sections of all runs.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.runs.iter().flat_map(|run| &run.sections)
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        let scenario = text(&line, "scenario").ok_or("no scenario")?.to_owned();
        if scenario == "host" {
            match text(&line, "kind") {
                Some("end") => self.run().end = line,
                _ => self.runs.push(Run { host: line, ..Run::default() }),
            }
            return Ok(());
        }
        let server = text(&line, "server").ok_or("no server")?.to_owned();
        let sections = &mut self.run().sections;
        let side = text(&line, "kind").filter(|kind| *kind != "summary").map(str::to_owned);
        // A side line tells of what its scenario has measured last, whatever it says of the load.
        let last = sections.iter().rev().find(|section| section.scenario == scenario);
        let facts = match last.filter(|_| side.is_some()) {
            Some(section) => section.facts.clone(),
            None => facts(&line),
        };
        let same = |section: &Section| section.scenario == scenario && section.facts == facts;
        let at = sections.iter().position(same).unwrap_or_else(|| {
            sections.push(Section { scenario, facts, entries: Vec::new(), sides: Vec::new() });
            sections.len() - 1
        });
        match side {
            Some(kind) => sections[at].take_side(kind, line),
            None => sections[at].take(server, line),
        }
        Ok(())
    }

    fn run(&mut self) -> &mut Run {
        if self.runs.is_empty() {
            self.runs.push(Run::default());
        }
        let last = self.runs.len() - 1;
        &mut self.runs[last]
    }
}

impl Section {
    /// A line is a round's if it has a number, and a summary otherwise. A round or a summary that its server has already
    /// belongs to the next heat.
    fn take(&mut self, server: String, line: Line) {
        let labels: Vec<String> =
            LABELS.iter().filter_map(|key| text(&line, key)).map(str::to_owned).collect();
        let round = round_of(&line);
        let has_it = |entry: &Entry| match &round {
            Some(_) => entry.rounds.iter().any(|line| round_of(line) == round),
            None => entry.summary.is_some(),
        };
        let its = |entry: &Entry| entry.server == server && entry.labels == labels;
        let at = self.entries.iter().position(|entry| its(entry) && !has_it(entry)).unwrap_or_else(|| {
            let heat = self.entries.iter().filter(|entry| its(entry)).count() + 1;
            let (name, server, labels) = (String::new(), server.clone(), labels.clone());
            self.entries.push(Entry { name, server, labels, heat, rounds: Vec::new(), summary: None });
            self.entries.len() - 1
        });
        let entry = &mut self.entries[at];
        match round {
            Some(_) => entry.rounds.push(line),
            None => entry.summary = Some(line),
        }
    }

    fn take_side(&mut self, kind: String, line: Line) {
        match self.sides.iter_mut().find(|side| side.0 == kind) {
            Some((_, lines)) => lines.push(line),
            None => self.sides.push((kind, vec![line])),
        }
    }

    fn name_entries(&mut self) {
        // Labels that all have in common go without saying.
        let mut labels: Vec<&Vec<String>> = self.entries.iter().map(|entry| &entry.labels).collect();
        labels.dedup();
        let told = labels.len() > 1;
        for entry in &mut self.entries {
            let mut parts = vec![entry.server.clone()];
            if told {
                parts.extend(entry.labels.iter().cloned());
            }
            if entry.heat > 1 {
                parts.push(format!("heat {}", entry.heat));
            }
            entry.name = parts.join(", ");
        }
    }

    /// Labels that all entries have in common.
    pub fn common_labels(&self) -> Vec<String> {
        match self.entries.split_first() {
            Some((first, rest)) if rest.iter().all(|entry| entry.labels == first.labels) => {
                first.labels.clone()
            }
            _ => Vec::new(),
        }
    }

    /// What a cost is per, and its unit: (`delivery`, `ns`).
    pub fn cost_unit(&self) -> Option<(String, &'static str)> {
        self.entries.iter().find_map(|entry| {
            let (key, unit) = entry.cost_key()?;
            Some((key.rsplit("_per_").next()?.replace('_', " "), unit))
        })
    }

    /// Ratios of an entry's cost to others', by whose it is. Where the lines do not tell the ratio to the floor it is that
    /// to the cheapest one under the same labels, round by round.
    pub fn ratios(&self, entry: &Entry) -> Vec<(String, Spread)> {
        let mut ratios = entry.told_ratios();
        if ratios.iter().all(|ratio| ratio.0 != "floor") {
            let alike =
                |other: &&Entry| other.is_floor() && other.labels == entry.labels && other.heat == entry.heat;
            let median = |floor: &Entry| floor.cost().map_or(f64::INFINITY, |cost| cost.median);
            let floors = self.entries.iter().filter(alike);
            let cheapest = floors.min_by(|a, b| median(a).total_cmp(&median(b)));
            let ratio = cheapest.and_then(|floor| entry.ratio_to(floor));
            ratios.splice(0..0, ratio.map(|ratio| ("floor".to_owned(), ratio)));
        }
        ratios
    }

    /// What rates count: `deliveries`.
    pub fn rate_unit(&self) -> Option<String> {
        let key = self.entries.iter().find_map(Entry::rate_key)?;
        Some(key.trim_end_matches("_per_second").replace('_', " "))
    }
}

impl Entry {
    /// Whether it is the floor program.
    pub fn is_floor(&self) -> bool {
        self.server.starts_with("floor")
    }

    /// CPU per unit over all rounds.
    pub fn cost(&self) -> Option<Spread> {
        self.spread(&self.cost_key()?.0)
    }

    /// Units per second over all rounds.
    pub fn rate(&self) -> Option<Spread> {
        self.spread(&self.rate_key()?)
    }

    /// Latency by name (`p50`, `p999`, `max`), microseconds. Of all rounds together, or the median of the rounds'.
    pub fn latency_us(&self, name: &str) -> Option<f64> {
        ["latency", "client"].iter().find_map(|prefix| {
            let key = format!("{prefix}_{name}_us");
            let summary = self.summary.as_ref().and_then(|line| finite(line, &key));
            summary.or_else(|| self.spread(&key).map(|spread| spread.median))
        })
    }

    /// As `curve`, of a line that stands aside.
    pub fn curve_of(line: &Line) -> Vec<(f64, f64)> {
        let (name, server) = (String::new(), String::new());
        let summary = Some(line.clone());
        Entry { name, server, labels: Vec::new(), heat: 1, rounds: Vec::new(), summary }.curve()
    }

    /// Pairs of percent and microseconds, rising; those that are told by name where there is no curve.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let told = ["latency_curve_us", "client_curve_us"].iter().find_map(|key| {
            let points = self.summary.as_ref()?.get(*key)?.as_array()?;
            Some(points.iter().filter_map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?))))
        });
        let mut points: Vec<(f64, f64)> = told.into_iter().flatten().collect();
        if points.is_empty() {
            let named = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)];
            points = named.iter().filter_map(|(name, at)| Some((*at, self.latency_us(name)?))).collect();
        }
        points.retain(|point| (0.0..=100.0).contains(&point.0) && point.1.is_finite() && point.1 > 0.0);
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    }

    /// How many times the latencies were taken.
    pub fn latency_count(&self) -> Option<f64> {
        let line = self.summary.as_ref()?;
        finite(line, "latency_count").or_else(|| finite(line, "client_count"))
    }

    /// Round numbers with the cost in them.
    pub fn cost_by_round(&self) -> Vec<(f64, f64)> {
        let Some((key, _)) = self.cost_key() else { return Vec::new() };
        self.rounds.iter().filter_map(|line| Some((round_of(line)?, finite(line, &key)?))).collect()
    }

    /// Ratio of its cost to another's in the same rounds.
    fn ratio_to(&self, other: &Entry) -> Option<Spread> {
        let others = other.cost_by_round();
        let pairs = self.cost_by_round().into_iter().filter_map(|(round, cost)| {
            let other = others.iter().find(|other| other.0 == round)?.1;
            (other > 0.0).then_some(cost / other)
        });
        Spread::of(pairs)
    }

    fn told_ratios(&self) -> Vec<(String, Spread)> {
        let Some(line) = &self.summary else { return Vec::new() };
        let names = line.keys().filter_map(|key| key.strip_prefix("ratio_to_"));
        let base = names.filter(|name| !name.ends_with("_min") && !name.ends_with("_max"));
        base.filter_map(|name| Some((name.to_owned(), self.spread(&format!("ratio_to_{name}"))?))).collect()
    }

    /// A figure of the summary, or the median of the rounds'.
    pub fn figure(&self, key: &str) -> Option<f64> {
        self.spread(key).map(|spread| spread.median)
    }

    /// Figures of the summary that nothing else on the page tells.
    pub fn others(&self) -> Vec<(String, f64)> {
        let Some(line) = &self.summary else { return Vec::new() };
        let cost = self.cost_key().map(|(key, _)| key);
        let rate = self.rate_key();
        let told = |key: &str| {
            NAMES.contains(&key)
                || FACTS.contains(&key)
                || key.starts_with("ratio_to_")
                || ["latency_", "client_"].iter().any(|prefix| {
                    let rest = key.strip_prefix(prefix).unwrap_or_default();
                    ["p50_us", "p90_us", "p99_us", "p999_us", "max_us", "count"].contains(&rest)
                })
                || [&cost, &rate].into_iter().flatten().any(|whole| key.starts_with(whole.as_str()))
        };
        let others = line.iter().filter(|(key, _)| !told(key));
        others.filter_map(|(key, value)| Some((key.clone(), value.as_f64()?))).collect()
    }

    /// Key of the CPU cost with its unit: the first that names one.
    fn cost_key(&self) -> Option<(String, &'static str)> {
        self.lines().flat_map(Map::keys).find_map(|key| {
            let unit = match key {
                _ if NOT_COSTS.iter().any(|end| key.ends_with(end)) => return None,
                _ if key.starts_with("cpu_ns_per_") => "ns",
                _ if key.starts_with("cpu_us_per_") => "µs",
                _ => return None,
            };
            let known = self.lines().any(|line| finite(line, key).is_some());
            known.then(|| (key.clone(), unit))
        })
    }

    fn rate_key(&self) -> Option<String> {
        let is_rate = |key: &&String| key.ends_with("_per_second") && !FACTS.contains(&key.as_str());
        self.lines().flat_map(Map::keys).find(is_rate).cloned()
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.summary.iter().chain(&self.rounds)
    }

    /// As the summary tells it, with the extremes of the rounds where it does not tell them.
    fn spread(&self, key: &str) -> Option<Spread> {
        let rounds = Spread::of(self.rounds.iter().filter_map(|line| finite(line, key)));
        let Some(median) = self.summary.as_ref().and_then(|line| finite(line, key)) else { return rounds };
        let end = |name: &str| self.summary.as_ref().and_then(|line| finite(line, &format!("{key}_{name}")));
        let min = end("min").or(rounds.map(|spread| spread.min)).unwrap_or(median);
        let max = end("max").or(rounds.map(|spread| spread.max)).unwrap_or(median);
        Some(Spread { median, min, max })
    }
}

/// A text of a line.
pub fn text<'a>(line: &'a Line, key: &str) -> Option<&'a str> {
    line.get(key)?.as_str()
}

/// A number of a line.
pub fn finite(line: &Line, key: &str) -> Option<f64> {
    line.get(key)?.as_f64().filter(|value| value.is_finite())
}

/// Number of the round, or of the cycle where a scenario has those.
fn round_of(line: &Line) -> Option<f64> {
    finite(line, "round").or_else(|| finite(line, "cycle"))
}

fn facts(line: &Line) -> Vec<(String, Value)> {
    // What a cycle tells of the load is what it has counted.
    if line.contains_key("cycle") {
        return Vec::new();
    }
    let known = FACTS.iter().filter_map(|key| Some((key.to_string(), line.get(*key)?.clone())));
    let is_fact = |key: &str| !NAMES.contains(&key) && !LABELS.contains(&key) && !FACTS.contains(&key);
    let texts: BTreeMap<_, _> =
        line.iter().filter(|(key, value)| is_fact(key) && value.is_string()).collect();
    known.chain(texts.into_iter().map(|(key, value)| (key.clone(), value.clone()))).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Lines of a small run: two servers, two rounds.
    pub const LINES: &str = r#"
{"scenario":"host","kind":"start","command":"fanwire-bench fanout --floor --json","cpu":"A <CPU>","cpus":2,"kernel":"6.1"}
{"scenario":"fanout","server":"fanwire","round":1,"subscribers":10,"payload_bytes":64,"cpu_ns_per_delivery":100,"deliveries_per_second":1000,"latency_p50_us":10}
{"scenario":"fanout","server":"floor (send)","round":1,"subscribers":10,"payload_bytes":64,"cpu_ns_per_delivery":90,"deliveries_per_second":1100,"latency_p50_us":9}
{"scenario":"fanout","server":"fanwire","round":2,"subscribers":10,"payload_bytes":64,"cpu_ns_per_delivery":120,"deliveries_per_second":900,"latency_p50_us":12}
{"scenario":"fanout","server":"floor (send)","round":2,"subscribers":10,"payload_bytes":64,"cpu_ns_per_delivery":null,"deliveries_per_second":1000}
{"scenario":"fanout","server":"fanwire","kind":"summary","subscribers":10,"payload_bytes":64,"cpu_ns_per_delivery":110,"cpu_ns_per_delivery_min":100,"cpu_ns_per_delivery_max":120,"deliveries_per_second":950,"latency_p50_us":11,"latency_p99_us":20,"latency_max_us":30,"latency_count":40,"latency_curve_us":[[50,11],[90,15],[100,30]],"client_core_share":0.4,"ratio_to_floor":1.1,"ratio_to_floor_min":1,"ratio_to_floor_max":1.2,"publishes_held_by_full_window":3}
{"scenario":"host","kind":"end","seconds":3,"steal_share":0.02,"complete":true}
"#;

    fn entry(model: &Model, name: &str) -> usize {
        let section = &model.runs[0].sections[0];
        section.entries.iter().position(|entry| entry.name == name).unwrap()
    }

    #[test]
    fn lines_become_runs_sections_and_entries() {
        let model = Model::read(LINES).unwrap();
        assert_eq!((model.runs.len(), model.sections().count()), (1, 1));
        let run = &model.runs[0];
        assert_eq!((text(&run.host, "cpu"), finite(&run.end, "steal_share")), (Some("A <CPU>"), Some(0.02)));
        let section = &run.sections[0];
        let facts: Vec<&str> = section.facts.iter().map(|fact| &*fact.0).collect();
        assert_eq!(facts, ["subscribers", "payload_bytes"]);
        assert_eq!(section.cost_unit(), Some(("delivery".to_owned(), "ns")));
        assert_eq!(section.rate_unit().as_deref(), Some("deliveries"));
        let own = &section.entries[entry(&model, "fanwire")];
        assert_eq!(own.cost(), Some(Spread { median: 110.0, min: 100.0, max: 120.0 }));
        // The rounds know the extremes that the summary does not tell.
        assert_eq!(own.rate(), Some(Spread { median: 950.0, min: 900.0, max: 1000.0 }));
        assert_eq!((own.latency_us("p50"), own.latency_us("p999")), (Some(11.0), None));
        assert_eq!(own.curve(), [(50.0, 11.0), (90.0, 15.0), (100.0, 30.0)]);
        assert_eq!(own.cost_by_round(), [(1.0, 100.0), (2.0, 120.0)]);
        assert_eq!(section.ratios(own), [("floor".to_owned(), Spread { median: 1.1, min: 1.0, max: 1.2 })]);
        let others: Vec<String> = own.others().into_iter().map(|other| other.0).collect();
        assert_eq!(others, ["client_core_share", "publishes_held_by_full_window"]);
    }

    #[test]
    fn rounds_without_a_summary_and_numbers_that_are_none_are_borne() {
        let model = Model::read(LINES).unwrap();
        let floor = &model.runs[0].sections[0].entries[entry(&model, "floor (send)")];
        assert!(floor.is_floor() && floor.summary.is_none());
        assert_eq!(floor.cost(), Some(Spread { median: 90.0, min: 90.0, max: 90.0 }));
        assert_eq!((floor.cost_by_round().len(), floor.curve()), (1, vec![(50.0, 9.0)]));
        assert!(floor.told_ratios().is_empty() && floor.others().is_empty());
        let bare = Model::read(r#"{"scenario":"new","server":"x","cpu_ns_per_thing":null}"#).unwrap();
        assert_eq!(bare.sections().next().unwrap().cost_unit(), None);
    }

    #[test]
    fn labels_loads_and_heats_are_told_apart() {
        let lines = [
            r#"{"scenario":"storm","server":"a","round":1,"phase":"connect","connections":5,"cpu_us_per_connection":1}"#,
            r#"{"scenario":"storm","server":"a","round":1,"phase":"recover","connections":5,"cpu_us_per_connection":2}"#,
            r#"{"scenario":"storm","server":"a","round":1,"phase":"recover","connections":5,"cpu_us_per_connection":3}"#,
            r#"{"scenario":"storm","server":"a","round":1,"phase":"connect","connections":6,"cpu_us_per_connection":4}"#,
            r#"{"scenario":"idle","server":"a","connections":6,"channels":"one","user_pss_bytes":300}"#,
        ];
        let model = Model::read(&lines.join("\n")).unwrap();
        let names: Vec<Vec<&str>> = model
            .sections()
            .map(|section| section.entries.iter().map(|entry| &*entry.name).collect())
            .collect();
        assert_eq!(names, [vec!["a, connect", "a, recover", "a, recover, heat 2"], vec!["a"], vec!["a"]]);
        let slow = r#"{"scenario":"slow","server":"a","kind":"summary","cpu_ns_per_delivery_ratio":1.1,"cpu_ns_per_delivery_with":5}"#;
        let slow = Model::read(slow).unwrap();
        let slow = slow.sections().next().unwrap();
        assert_eq!((slow.cost_unit(), slow.entries[0].others().len()), (None, 2));
        let sections: Vec<&Section> = model.sections().collect();
        assert_eq!(
            (sections[1].common_labels(), sections[2].cost_unit()),
            (vec!["connect".to_owned()], None)
        );
        assert_eq!(sections[2].facts[1].1, "one");
    }

    #[test]
    fn cycles_are_rounds_and_other_kinds_stand_aside() {
        let lines = [
            r#"{"scenario":"churn","server":"a","cycle":1,"connections":70,"cpu_us_per_connection":5}"#,
            r#"{"scenario":"churn","server":"a","cycle":2,"connections":75,"cpu_us_per_connection":6}"#,
            r#"{"scenario":"mixed","server":"a","round":1,"subscribers":80,"cpu_ns_per_delivery":6}"#,
            r#"{"scenario":"mixed","server":"a","kind":"transport","transport":"sse","subscribers":20,"latency_p50_us":6}"#,
            r#"{"scenario":"mixed","server":"a","kind":"transport","transport":"raw","subscribers":20,"latency_p50_us":7}"#,
        ];
        let model = Model::read(&lines.join("\n")).unwrap();
        let sections: Vec<&Section> = model.sections().collect();
        assert_eq!((sections.len(), sections[0].entries.len(), sections[1].entries.len()), (2, 1, 1));
        assert_eq!(sections[0].entries[0].cost_by_round(), [(1.0, 5.0), (2.0, 6.0)]);
        let (kind, lines) = &sections[1].sides[0];
        assert_eq!((&**kind, lines.len()), ("transport", 2));
    }

    #[test]
    fn a_ratio_that_is_not_told_is_taken_round_by_round() {
        let line = |server: &str, round: u32, phase: &str, cost: f64| {
            format!(
                r#"{{"scenario":"storm","server":"{server}","round":{round},"phase":"{phase}","cpu_us_per_connection":{cost}}}"#
            )
        };
        let lines = [
            line("a", 1, "connect", 10.0),
            line("floor (send)", 1, "connect", 5.0),
            line("floor (uring)", 1, "connect", 50.0),
            line("a", 2, "connect", 12.0),
            line("floor (send)", 2, "connect", 4.0),
            line("a", 1, "recover", 7.0),
        ];
        let model = Model::read(&lines.join("\n")).unwrap();
        let section = model.sections().next().unwrap();
        assert_eq!(
            section.ratios(&section.entries[0]),
            [("floor".to_owned(), Spread { median: 2.5, min: 2.0, max: 3.0 })]
        );
        let recover = section.entries.iter().find(|entry| entry.name == "a, recover").unwrap();
        assert!(section.ratios(recover).is_empty());
    }

    #[test]
    fn lines_that_are_none_are_told() {
        let error = |lines: &str| Model::read(lines).unwrap_err();
        assert!(error("\n{").starts_with("line 2:"));
        assert_eq!(error("[1]"), "line 1: not a JSON object");
        assert_eq!(error(r#"{"scenario":"x"}"#), "line 1: no server");
        assert!(error("").contains("no figures"));
        assert!(error(r#"{"scenario":"host"}"#).contains("no figures"));
    }
}
