//! Tables of a page.

use super::bars::Stack;
use super::model::{Entry, Line, Run, Section, finite, text};
use super::text::{bytes, escape, figure, number, percent, scenario, time_us};
use crate::stats::Spread;
use std::fmt::Write as _;

/// Latencies told, by their name in JSON and on the page.
pub const LATENCIES: [(&str, &str); 5] =
    [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max")];

/// A table: titles of the columns, then rows of which the first cell is the title. Cells are HTML.
pub fn table(caption: &str, titles: &[String], rows: &[Vec<String>]) -> String {
    build(caption, titles, rows, "<tr>")
}

/// As `table`, with a row per server, of which the first is the one under test.
fn by_server(caption: &str, titles: &[String], rows: &[Vec<String>]) -> String {
    build(caption, titles, rows, r#"<tr class="own">"#)
}

fn build(caption: &str, titles: &[String], rows: &[Vec<String>], first: &str) -> String {
    let mut out = format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="{0}"><table><caption>{0}</caption><thead><tr>"#,
        escape(caption)
    );
    for title in titles {
        let _ = write!(out, r#"<th scope="col">{}</th>"#, escape(title));
    }
    out.push_str("</tr></thead><tbody>");
    for (at, row) in rows.iter().enumerate() {
        out.push_str(if at == 0 { first } else { "<tr>" });
        for (column, cell) in row.iter().enumerate() {
            let _ = if column == 0 {
                write!(out, r#"<th scope="row">{cell}</th>"#)
            } else {
                write!(out, "<td>{cell}</td>")
            };
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// A table that is folded away.
pub fn folded(summary: &str, table: &str) -> String {
    format!("<details><summary>{}</summary>{table}</details>", escape(summary))
}

/// `median [min..max]`.
pub fn spread(value: Option<Spread>) -> String {
    let Some(Spread { median, min, max }) = value else { return "–".to_owned() };
    if min < max {
        format!("{} <small>[{}..{}]</small>", number(median), number(min), number(max))
    } else {
        number(median)
    }
}

fn time(us: Option<f64>) -> String {
    us.map_or_else(|| "–".to_owned(), time_us)
}

/// Everything that all rounds together have brought.
pub fn summaries(section: &Section) -> String {
    let entries: Vec<&Entry> = section.entries.iter().filter(|entry| has_figures(entry)).collect();
    if entries.is_empty() {
        return String::new();
    }
    let mut titles = vec!["Server".to_owned()];
    let cost = section.cost_unit();
    titles.extend(cost.as_ref().map(|(unit, time)| format!("CPU {time} per {unit}")));
    let mut against: Vec<String> = Vec::new();
    for (name, _) in entries.iter().flat_map(|entry| section.ratios(entry)) {
        if !against.contains(&name) {
            against.push(name);
        }
    }
    titles.extend(against.iter().map(|name| format!("× {name}")));
    let rate = section.rate_unit();
    titles.extend(rate.as_ref().map(|unit| format!("{unit}/s")));
    let latencies: Vec<_> = LATENCIES
        .iter()
        .filter(|(key, _)| entries.iter().any(|entry| entry.latency_us(key).is_some()))
        .collect();
    titles.extend(latencies.iter().map(|(_, title)| title.to_string()));
    let row = |entry: &&Entry| {
        let mut row = vec![escape(&entry.name)];
        row.extend(cost.as_ref().map(|_| spread(entry.cost())));
        let ratios = section.ratios(entry);
        let ratio = |name: &String| spread(ratios.iter().find(|ratio| ratio.0 == *name).map(|ratio| ratio.1));
        row.extend(against.iter().map(ratio));
        row.extend(rate.as_ref().map(|_| spread(entry.rate())));
        row.extend(latencies.iter().map(|(key, _)| time(entry.latency_us(key))));
        row
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    by_server("Median [least..most] of all rounds", &titles, &rows)
}

fn has_figures(entry: &Entry) -> bool {
    entry.cost().is_some()
        || entry.rate().is_some()
        || LATENCIES.iter().any(|(key, _)| entry.latency_us(key).is_some())
}

/// Median and extremes of the cost.
pub fn costs(section: &Section, unit: &str) -> String {
    let rows = section.entries.iter().filter_map(|entry| {
        let Spread { median, min, max } = entry.cost()?;
        let mut row = vec![escape(&entry.name)];
        row.extend([median, min, max].map(number));
        Some(row)
    });
    let titles = ["Server", "median", "least", "most"].map(str::to_owned);
    by_server(&format!("CPU, {unit}"), &titles, &rows.collect::<Vec<_>>())
}

/// All points of the percentile curves.
pub fn curves(section: &Section) -> String {
    let curves: Vec<(&Entry, Vec<(f64, f64)>)> = section
        .entries
        .iter()
        .map(|entry| (entry, entry.curve()))
        .filter(|curve| !curve.1.is_empty())
        .collect();
    let mut percents: Vec<f64> =
        curves.iter().flat_map(|curve| curve.1.iter().map(|point| point.0)).collect();
    percents.sort_by(f64::total_cmp);
    percents.dedup();
    let title = |percent: &f64| if *percent < 100.0 { format!("p{percent}") } else { "max".to_owned() };
    let titles: Vec<String> = [String::from("Server"), "times taken".to_owned()]
        .into_iter()
        .chain(percents.iter().map(title))
        .collect();
    let row = |(entry, points): &(&Entry, Vec<(f64, f64)>)| {
        let mut row = vec![escape(&entry.name), entry.latency_count().map_or_else(|| "–".to_owned(), number)];
        let at = |percent: &f64| time(points.iter().find(|point| point.0 == *percent).map(|point| point.1));
        row.extend(percents.iter().map(at));
        row
    };
    by_server("Latency by percentile", &titles, &curves.iter().map(row).collect::<Vec<_>>())
}

/// The cost in every round.
pub fn rounds(section: &Section, unit: &str) -> String {
    let costs: Vec<(&Entry, Vec<(f64, f64)>)> = section
        .entries
        .iter()
        .map(|entry| (entry, entry.cost_by_round()))
        .filter(|one| !one.1.is_empty())
        .collect();
    let mut numbers: Vec<f64> = costs.iter().flat_map(|one| one.1.iter().map(|point| point.0)).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let titles: Vec<String> =
        std::iter::once("Server".to_owned()).chain(numbers.iter().map(|round| number(*round))).collect();
    let row = |(entry, points): &(&Entry, Vec<(f64, f64)>)| {
        let at =
            |round: &f64| points.iter().find(|point| point.0 == *round).map_or(f64::NAN, |point| point.1);
        std::iter::once(escape(&entry.name)).chain(numbers.iter().map(|round| number(at(round)))).collect()
    };
    by_server(&format!("CPU in each round, {unit}"), &titles, &costs.iter().map(row).collect::<Vec<_>>())
}

/// Parts of memory.
pub fn memory(parts: &[&str], stacks: &[Stack]) -> String {
    let titles: Vec<String> = ["Server"]
        .iter()
        .chain(parts)
        .map(|title| title.to_string())
        .chain(["together".to_owned()])
        .collect();
    let row = |stack: &Stack| {
        let together: f64 = stack.values.iter().sum();
        let cells = stack.values.iter().copied().chain([together]).map(bytes);
        std::iter::once(escape(&stack.name)).chain(cells).collect()
    };
    by_server("Memory per connection", &titles, &stacks.iter().map(row).collect::<Vec<_>>())
}

/// Figures that stand nowhere else: a row each, a column per server. Nothing without any.
pub fn others(section: &Section) -> String {
    let columns: Vec<(&Entry, Vec<(String, f64)>)> =
        section.entries.iter().map(|entry| (entry, entry.others())).filter(|one| !one.1.is_empty()).collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in columns.iter().flat_map(|column| &column.1) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return String::new();
    }
    let titles: Vec<String> = std::iter::once("Figure".to_owned())
        .chain(columns.iter().map(|column| column.0.name.clone()))
        .collect();
    let row = |key: &&String| {
        let value =
            |figures: &Vec<(String, f64)>| figures.iter().find(|other| other.0 == **key).map(|other| other.1);
        let cells = columns
            .iter()
            .map(|(_, figures)| value(figures).map_or("–".to_owned(), |value| figure(key, value).1));
        std::iter::once(escape(&figure(key, 0.0).0)).chain(cells).collect()
    };
    let table =
        table("All other figures of the summaries", &titles, &keys.iter().map(row).collect::<Vec<_>>());
    folded("All other figures", &table)
}

/// Lines of one kind of their own: a row each.
pub fn side(kind: &str, lines: &[Line]) -> String {
    let is_name = |key: &str| ["scenario", "kind"].contains(&key);
    let mut keys: Vec<&String> = Vec::new();
    for (key, value) in lines.iter().flatten() {
        if !is_name(key) && !keys.contains(&key) && !value.is_array() {
            keys.push(key);
        }
    }
    // Texts first: they say what the row is.
    let place = |key: &str| LATENCIES.iter().position(|(name, _)| key.ends_with(&format!("_{name}_us")));
    let is_text = |key: &str| lines.iter().any(|line| text(line, key).is_some());
    keys.sort_by_key(|key| (!is_text(key), *key == "server", place(key)));
    let titles: Vec<String> = keys.iter().map(|key| figure(key, 0.0).0).collect();
    let cell = |line: &Line, key: &String| match (text(line, key), finite(line, key)) {
        (Some(text), _) => escape(text),
        (None, Some(value)) => figure(key, value).1,
        (None, None) => "–".to_owned(),
    };
    let rows: Vec<Vec<String>> =
        lines.iter().map(|line| keys.iter().map(|key| cell(line, key)).collect()).collect();
    let caption = if lines.len() > 1 { format!("By {kind}") } else { scenario(kind) };
    table(&caption, &titles, &rows)
}

/// What the machine was: names and values, already in words.
pub fn machine(run: &Run) -> Vec<(&'static str, String)> {
    let host = &run.host;
    let said = |key: &str| text(host, key).map(str::to_owned);
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name: &'static str, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    let cpus = finite(host, "cpus").map_or_else(String::new, |cpus| format!(" ({} CPUs)", number(cpus)));
    add("Processor", said("cpu").map(|cpu| cpu + &cpus));
    add("Memory", finite(host, "memory_total_bytes").map(bytes));
    add("Kernel", said("kernel").map(|kernel| format!("Linux {kernel}")));
    add("Virtual machine", said("virtual_machine"));
    let cores = finite(host, "server_core").zip(finite(host, "client_core"));
    add(
        "Cores",
        cores.map(|(server, client)| format!("server {}, client {}", number(server), number(client))),
    );
    add("CPU governor", said("governor"));
    let io_uring = host.get("io_uring").and_then(|value| value.as_bool());
    add("io_uring", io_uring.map(|is| if is { "available" } else { "not available" }.to_owned()));
    let driver = said("driver").map_or_else(String::new, |driver| format!(", {driver}"));
    add("fanwire", said("fanwire").map(|version| version + &driver));
    add("fanwire-bench", said("bench"));
    facts
}

/// What else happened during a run.
pub fn during(run: &Run) -> Vec<(&'static str, String)> {
    let value = |key: &str| finite(&run.end, key);
    let facts = [
        ("Date", text(&run.host, "date_utc").map(str::to_owned)),
        ("Took", value("seconds").map(|seconds| format!("{} s", number(seconds)))),
        ("Steal time", value("steal_share").map(percent)),
        ("Other processes, of the machine", value("others_share").map(percent)),
        (
            "Load average, before and after",
            finite(&run.host, "load_average")
                .zip(value("load_average"))
                .map(|(before, after)| format!("{}, {}", number(before), number(after))),
        ),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Names and values side by side.
pub fn list(facts: &[(&str, String)]) -> String {
    let mut out = String::from(r#"<dl class="facts">"#);
    for (name, value) in facts {
        let _ = write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
    }
    out.push_str("</dl>");
    out
}
