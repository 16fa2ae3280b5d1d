//! The page around its charts and tables.

use super::charts;
use super::lines::{self, Series};
use super::model::{Entry, Model, Run, Section, finite, text};
use super::svg::Style;
use super::tables;
use super::text::{bytes, escape, fact, figure, number, percent, scenario, time_us};
use crate::contest::{DISTURBED, SATURATED};
use crate::host;
use crate::stats::Spread;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");
/// How to read the figures.
const NOTES: [&str; 5] = [
    "CPU is the clock of the server's processes and of its core's ksoftirqd: on loopback the receiving half of a send runs there.",
    "Servers are measured in turn, and ratios are taken round by round. Figures are medians with the extremes of all rounds; \
     differences below 5 % mean nothing.",
    "The floor is a program that does the least a server can: a ready frame, one send(2) or one io_uring SEND per subscriber.",
    "Latency counts from the publish, or from the scheduled time where messages go by the clock, to the last delivery.",
    "Every delivery is checked byte for byte. A run that loses, doubles or reorders one fails.",
];

/// How each entry is drawn: servers keep their look through the page.
#[derive(Default)]
struct Looks {
    servers: Vec<String>,
    floors: Vec<String>,
}

impl Looks {
    /// The first entry of a server in a section has the server's look, its others one of their own.
    fn of(&mut self, section: &Section, entry: &Entry) -> Style {
        let first = section.entries.iter().find(|other| other.server == entry.server);
        let is_first = first.is_some_and(|first| std::ptr::eq(first, entry));
        let name = if is_first { &entry.server } else { &entry.name };
        let names = if entry.is_floor() { &mut self.floors } else { &mut self.servers };
        let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        });
        Style { index, floor: entry.is_floor() }
    }
}

/// The whole page.
pub fn page(model: &Model) -> String {
    let mut names: Vec<String> = model.sections().map(|section| scenario(&section.scenario)).collect();
    names.dedup();
    let title = if let [name] = &names[..] { name.clone() } else { "Measurements".to_owned() };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{0} | fanwire-bench</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<p class=\"soft\">fanwire-bench</p>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    if names.len() > 1 {
        let _ = writeln!(out, "<p class=\"soft\">{}</p>", escape(&names.join(" · ")));
    }
    header(&mut out, model);
    out.push_str("</header>\n");
    let sections = model.sections().count();
    if sections > 1 {
        overview(&mut out, model);
    }
    let mut looks = Looks::default();
    let mut number = 0;
    for run in &model.runs {
        let alone = model.runs.len() == 1;
        if !alone {
            out.push_str("<div class=\"run\">\n");
            begin_run(&mut out, run, same_machine(model));
        }
        for section in &run.sections {
            self::section(&mut out, section, number, sections == 1, &mut looks);
            number += 1;
        }
        if !alone {
            out.push_str("</div>\n");
        }
    }
    out.push_str("<footer><h3>How to read this</h3><ul>");
    for note in NOTES {
        let _ = write!(out, "<li>{}</li>", escape(note));
    }
    out.push_str("</ul></footer>\n</main>\n</body>\n</html>\n");
    out
}

fn same_machine(model: &Model) -> bool {
    let mut machines = model.runs.iter().map(tables::machine);
    let first = machines.next();
    machines.all(|machine| Some(machine) == first)
}

/// The machine, and if there is but one run, what reproduces it.
fn header(out: &mut String, model: &Model) {
    let Some(first) = model.runs.first() else { return };
    let mut facts = if same_machine(model) { tables::machine(first) } else { Vec::new() };
    if model.runs.len() == 1 {
        facts.extend(tables::during(first));
    }
    if model.runs.iter().all(|run| run.host.is_empty()) {
        out.push_str("<p class=\"soft\">These lines do not say on which machine they were measured.</p>\n");
    } else if !facts.is_empty() {
        let _ = write!(out, "<div class=\"card\">{}", tables::list(&facts));
        if model.runs.len() == 1 {
            command(out, first);
        }
        out.push_str("</div>\n");
    }
    if model.runs.len() == 1 {
        quiet(out, first);
    }
}

/// Command and circumstances of one run of several, with the machine if it is not that of all.
fn begin_run(out: &mut String, run: &Run, same: bool) {
    let mut facts = if same { Vec::new() } else { tables::machine(run) };
    facts.extend(tables::during(run));
    out.push_str("<div class=\"card\">");
    out.push_str(&tables::list(&facts));
    command(out, run);
    out.push_str("</div>\n");
    quiet(out, run);
}

fn command(out: &mut String, run: &Run) {
    if let Some(command) = text(&run.host, "command") {
        let _ = write!(
            out,
            "<div class=\"how\"><p class=\"soft small\">To reproduce</p><pre><code>{}</code></pre></div>",
            escape(command)
        );
    }
}

/// Whether the machine had time for the run, and whether the run came to its end.
fn quiet(out: &mut String, run: &Run) {
    let share = |key: &str| finite(&run.end, key).unwrap_or(0.0);
    let (steal, others) = (share("steal_share"), share("others_share"));
    if !host::is_quiet(steal, others) {
        let what = format!(
            "Steal time {}, other processes {} of the machine: costs are inflated, measure again on a quiet one.",
            percent(steal),
            percent(others)
        );
        note(out, true, "The machine was not quiet.", &what);
    }
    if run.end.get("complete").is_some_and(|complete| complete == false) {
        note(out, true, "The run failed.", "What it had measured until then is no result.");
    }
}

fn note(out: &mut String, bad: bool, head: &str, what: &str) {
    let (class, sign) = if bad { (" bad", "⚠") } else { ("", "✓") };
    let _ = writeln!(out, "<p class=\"note{class}\"><b>{sign} {}</b> {}</p>", escape(head), escape(what));
}

/// A row per section.
fn overview(out: &mut String, model: &Model) {
    let titles = ["Load", "CPU", "× floor", "p50", "p99", "Server"].map(str::to_owned);
    let dash = || "–".to_owned();
    let row = |(at, section): (usize, &Section)| {
        let load = format!(
            "<a href=\"#s{at}\">{}</a><small>{}</small>",
            escape(&scenario(&section.scenario)),
            escape(&load(section))
        );
        let first = section.entries.first()?;
        let unit = section.cost_unit();
        let cost = unit.zip(first.cost()).map(|((_, unit), cost)| format!("{} {unit}", number(cost.median)));
        let memory = || first.figure(charts::MEMORY[0].1).map(|user| format!("{} user memory", bytes(user)));
        let ratio = section.ratios(first).into_iter().find(|ratio| ratio.0 == "floor");
        let latency = |name| first.latency_us(name).map_or_else(dash, time_us);
        Some(vec![
            load,
            cost.or_else(memory).unwrap_or_else(dash),
            ratio.map_or_else(dash, |ratio| tables::spread(Some(ratio.1))),
            latency("p50"),
            latency("p99"),
            escape(&first.name),
        ])
    };
    let rows: Vec<_> = model.sections().enumerate().filter_map(row).collect();
    let table = tables::table("Medians of all rounds, first server of each load", &titles, &rows);
    let _ = writeln!(out, "<section><h2>Overview</h2><div class=\"card\">{table}</div></section>");
}

/// The load in words.
fn load(section: &Section) -> String {
    let facts = section.facts.iter().map(|(key, value)| match (value.as_f64(), value.as_str()) {
        (Some(value), _) => fact(key, value),
        (None, Some(text)) => format!("{} {text}", key.replace('_', " ")),
        (None, None) => key.clone(),
    });
    facts.chain(section.common_labels()).collect::<Vec<_>>().join(" · ")
}

fn section(out: &mut String, section: &Section, number: usize, alone: bool, looks: &mut Looks) {
    let styles: Vec<Style> = section.entries.iter().map(|entry| looks.of(section, entry)).collect();
    // The page has its name already.
    let title = if alone { "Results".to_owned() } else { scenario(&section.scenario) };
    let _ = writeln!(
        out,
        "<section id=\"s{number}\"><h2>{}</h2><p class=\"soft\">{}</p>",
        escape(&title),
        escape(&load(section))
    );
    tiles(out, section);
    verdict(out, section);
    let table = tables::summaries(section);
    if !table.is_empty() {
        let _ = writeln!(out, "<div class=\"card\">{table}</div>");
    }
    let charts = charts::all(section, number, &styles, &load(section));
    if !charts.is_empty() {
        if section.entries.len() > 1 && section.cost_unit().is_some() {
            let one = |(entry, style): (&Entry, &Style)| {
                let name = entry.name.clone();
                Series { name, style: *style, points: Vec::new() }
            };
            let series: Vec<Series> = section.entries.iter().zip(&styles).map(one).collect();
            out.push_str(&lines::legend(&series));
        }
        let _ = writeln!(out, "<div class=\"grid\">{charts}</div>");
    }
    for (kind, lines) in &section.sides {
        let _ = writeln!(out, "<div class=\"card\">{}</div>", tables::side(kind, lines));
    }
    let others = tables::others(section);
    if !others.is_empty() {
        let _ = writeln!(out, "<div class=\"card\">{others}</div>");
    }
    out.push_str("</section>\n");
}

/// The first server's figures, large.
fn tiles(out: &mut String, section: &Section) {
    let Some(first) = section.entries.first() else { return };
    let range = |value: Spread| format!("[{}..{}]", number(value.min), number(value.max));
    let mut tiles: Vec<(String, String, String)> = Vec::new();
    if let Some(((unit, time), cost)) = section.cost_unit().zip(first.cost()) {
        let value = format!("{} <small>{time}</small>", number(cost.median));
        tiles.push((value, format!("CPU per {unit}"), range(cost)));
    }
    if let Some((_, ratio)) = section.ratios(first).into_iter().find(|ratio| ratio.0 == "floor") {
        tiles.push((
            format!("{} <small>×</small>", number(ratio.median)),
            "of the floor's CPU".to_owned(),
            range(ratio),
        ));
    }
    if let Some((unit, rate)) = section.rate_unit().zip(first.rate()) {
        tiles.push((number(rate.median), format!("{unit} per second"), range(rate)));
    }
    if let Some(p99) = first.latency_us("p99") {
        let told = |name: &str| first.latency_us(name).map_or_else(|| "–".to_owned(), time_us);
        tiles.push((
            unit_apart(&time_us(p99)),
            "p99 latency".to_owned(),
            format!("p50 {}, max {}", told("p50"), told("max")),
        ));
    }
    for (name, key, share) in charts::MEMORY {
        let value = first.figure(key).map(|value| value * share);
        tiles.extend(
            value.map(|value| (unit_apart(&bytes(value)), name.to_owned(), "per connection".to_owned())),
        );
    }
    let share = || first.figure("idle_cpu_percent").map(|percent| percent / 100.0);
    if let Some(share) = first.figure("idle_cpu_share").or_else(share) {
        tiles.push((unit_apart(&percent(share)), "CPU while idle".to_owned(), "of a core".to_owned()));
    }
    if tiles.is_empty() {
        let figures = first.others().into_iter().take(4).map(|(key, value)| figure(&key, value));
        tiles.extend(figures.map(|(name, value)| (escape(&value), name, String::new())));
    }
    if tiles.is_empty() {
        return;
    }
    let _ = write!(out, "<div class=\"tiles\" role=\"group\" aria-label=\"{}\">", escape(&first.name));
    for (at, (value, name, more)) in tiles.iter().enumerate() {
        let class = if at == 0 { "card tile first" } else { "card tile" };
        let whose = if at == 0 { format!("{}: {name}", first.name) } else { name.clone() };
        let _ = write!(
            out,
            "<div class=\"{class}\"><span>{}</span><b>{value}</b><span>{}</span></div>",
            escape(&whose),
            escape(more)
        );
    }
    out.push_str("</div>\n");
}

/// `12.3 ms` with its unit small.
fn unit_apart(text: &str) -> String {
    match text.split_once(' ') {
        Some((value, unit)) => format!("{} <small>{}</small>", escape(value), escape(unit)),
        None => escape(text),
    }
}

/// Whether the figures are the servers' or the harness's, and whether others shared the core.
fn verdict(out: &mut String, section: &Section) {
    let named = |is: &dyn Fn(&Entry) -> bool| {
        let names: Vec<&str> =
            section.entries.iter().filter(|entry| is(entry)).map(|entry| &*entry.name).collect();
        names.join("; ")
    };
    let share = |entry: &Entry, key: &str| entry.figure(key).unwrap_or(0.0);
    let client = |entry: &Entry| share(entry, "client_core_share") + share(entry, "client_delay_share");
    if !section.entries.iter().any(|entry| entry.figure("client_core_share").is_some()) {
        return;
    }
    let saturated = named(&|entry| client(entry) >= SATURATED);
    if saturated.is_empty() {
        let most = section.entries.iter().map(client).fold(0.0, f64::max);
        let what = format!("Its core was busy at most {} of the time.", percent(most));
        note(out, false, "The harness was not the bottleneck.", &what);
    } else {
        let what =
            format!("Rates and latencies of {saturated} are limited by the client, CPU costs are not.");
        note(out, true, "The harness was the bottleneck.", &what);
    }
    let key = "others_on_server_core_share";
    let disturbed = named(&|entry| share(entry, key) > DISTURBED);
    if !disturbed.is_empty() {
        let most = section.entries.iter().map(|entry| share(entry, key)).fold(0.0, f64::max);
        let what = format!("Others had up to {} of it: costs of {disturbed} are inflated.", percent(most));
        note(out, true, "Other work shared the server's core.", &what);
    }
}
