//! The charts of a section, each with its table.

use super::bars::{self, Bar, Stack};
use super::lines::{self, Series};
use super::model::{Entry, Line, Section, text};
use super::svg::Style;
use super::tables;
use super::text::{escape, scenario};
use std::fmt::Write as _;

/// Parts of an idle connection's memory: what to call them, their key, and the server's share of it.
pub const MEMORY: [(&str, &str, f64); 3] = [
    ("user memory of the server (PSS)", "user_pss_bytes", 1.0),
    ("kernel, waiting for input", "kernel_wait_bytes", 1.0),
    ("kernel, sockets of the server's end", "kernel_sockets_both_ends_bytes", 0.5),
];
/// Charts of what a section has, as HTML. `number` is the section's on the page, `load` its load in words.
pub fn all(section: &Section, number: usize, styles: &[Style], load: &str) -> String {
    let entries = || section.entries.iter().zip(styles.iter().copied());
    let id = |chart: &str| format!("s{number}-{chart}");
    let load = format!("{}, {load}", scenario(&section.scenario));
    let series = |points: fn(&Entry) -> Vec<(f64, f64)>| -> Vec<Series> {
        let one = |(entry, style): (&Entry, Style)| {
            let (name, points) = (entry.name.clone(), points(entry));
            Series { name, style, points }
        };
        entries().map(one).collect()
    };
    let unit = section.cost_unit().map(|(per, time)| format!("{time} per {per}"));
    let mut out = String::new();
    if let Some(unit) = &unit {
        let bar = |(entry, style): (&Entry, Style)| {
            let name = entry.name.clone();
            Some(Bar { name, style, value: entry.cost()? })
        };
        let bars: Vec<Bar> = entries().filter_map(bar).collect();
        let chart = bars::with_whiskers(&id("cost"), &format!("CPU, {unit}: {load}"), unit, &bars);
        add(&mut out, "CPU", chart, &tables::costs(section, unit));
    }
    let title = format!("Latency by percentile: {load}");
    let chart = lines::percentiles(&id("latency"), &title, &series(Entry::curve));
    add(&mut out, "Latency", chart, &tables::curves(section));
    if let Some(unit) = &unit {
        let title = format!("CPU in every round, {unit}: {load}");
        let chart = lines::rounds(&id("rounds"), &title, unit, &series(Entry::cost_by_round));
        add(&mut out, "Round by round", chart, &tables::rounds(section, unit));
    }
    memory(&mut out, section, &id("memory"), &load);
    for (kind, lines) in &section.sides {
        let series = by_kind(kind, lines);
        let chart = lines::percentiles(&id(kind), &format!("Latency by {kind}: {load}"), &series);
        let chart = chart.filter(|_| series.len() > 1).map(|chart| lines::legend(&series) + &chart);
        add(&mut out, &format!("Latency by {kind}"), chart, &tables::side(kind, lines));
    }
    out
}

/// Curves of the lines of one kind that say which they are.
fn by_kind(kind: &str, lines: &[Line]) -> Vec<Series> {
    let one = |(index, line): (usize, &Line)| {
        let style = Style { index, floor: false };
        Some(Series { name: text(line, kind)?.to_owned(), style, points: Entry::curve_of(line) })
    };
    lines.iter().enumerate().filter_map(one).collect()
}

fn add(out: &mut String, heading: &str, chart: Option<String>, table: &str) {
    let Some(chart) = chart else { return };
    let _ = write!(
        out,
        "<figure class=\"card\"><h3>{}</h3>{chart}{}</figure>",
        escape(heading),
        tables::folded("The values in a table", table)
    );
}

fn memory(out: &mut String, section: &Section, id: &str, load: &str) {
    let known = |key: &str| section.entries.iter().any(|entry| entry.figure(key).is_some());
    let parts: Vec<_> = MEMORY.iter().filter(|part| known(part.1)).collect();
    if parts.is_empty() {
        return;
    }
    let values = |entry: &Entry| {
        let value = |part: &&(&str, &str, f64)| entry.figure(part.1).map_or(f64::NAN, |value| value * part.2);
        Stack { name: entry.name.clone(), values: parts.iter().map(value).collect() }
    };
    let stacks: Vec<Stack> = section.entries.iter().map(values).collect();
    let names: Vec<&str> = parts.iter().map(|part| part.0).collect();
    let title = format!("Memory per connection: {load}");
    let chart = bars::stacked(id, &title, "bytes per connection", &names, &stacks);
    let chart = chart.map(|chart| parts_legend(&names) + &chart);
    add(out, "Memory per connection", chart, &tables::memory(&names, &stacks));
}

fn parts_legend(parts: &[&str]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (at, part) in parts.iter().enumerate() {
        let _ = write!(
            out,
            "<li><svg viewBox=\"0 0 34 14\" aria-hidden=\"true\"><rect class=\"b p{}\" x=\"10\" width=\"14\" height=\"14\"/></svg>{}</li>",
            at % 4,
            escape(part)
        );
    }
    out + "</ul>"
}
