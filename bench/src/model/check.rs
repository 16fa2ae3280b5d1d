//! The model against reality: cells of a `shards` run that no cost was taken from.

use crate::report::table;
use crate::shards::Costs;

/// What a run says of one cell, per publish.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    cpu_ns: f64,
    cpu_min: f64,
    cpu_max: f64,
    mails: f64,
    wakes: f64,
}

/// A row per cell: computed, measured with its extremes, ratio.
pub fn table_of(costs: &Costs, run: &str) -> Result<String, String> {
    let mut rows =
        vec![["", "computed ns/publish", "measured", "computed/measured"].map(str::to_owned).to_vec()];
    for (shards, name, base) in CHECKED {
        let cell = cell(run, shards, name)?;
        let base = self::cell(run, shards, base)?;
        let computed = compute(costs, &cell, &base);
        rows.push(vec![
            format!("{shards} shards, {name}"),
            format!("{computed:.0}"),
            format!("{:.0} [{:.0}..{:.0}]", cell.cpu_ns, cell.cpu_min, cell.cpu_max),
            format!("{:.2}", computed / cell.cpu_ns),
        ]);
    }
    let one = cell(run, 1, "near")?;
    // With one shard a publish is its parts; the busy delivery is joined with others, so this is an upper bound.
    let bound = costs.publish + costs.delivery;
    rows.push(vec![
        "1 shards, near (at most: its delivery shares a send)".to_owned(),
        format!("{bound:.0}"),
        format!("{:.0} [{:.0}..{:.0}]", one.cpu_ns, one.cpu_min, one.cpu_max),
        format!("{:.2}", bound / one.cpu_ns),
    ]);
    Ok(table(&rows))
}

/// Shards, cell, and the cell on the home shard that it is compared with.
const CHECKED: [(u64, &str, &str); 5] = [
    (2, "home away", "near"),
    (2, "home away and back", "near"),
    (2, "subscriber away", "near"),
    (2, "home away, lone", "near, lone"),
    (2, "crowd, spread", "crowd"),
];

/// The base and what mails, wake-ups and other shards add to it.
fn compute(costs: &Costs, cell: &Cell, base: &Cell) -> f64 {
    // A mail that carries a publication has a frame made at its end; the others ask and answer.
    let delivers = cell.mails % 2.0;
    let asks = cell.mails - delivers;
    base.cpu_ns + asks * costs.mail + delivers * costs.reach + (cell.wakes - base.wakes) * costs.wake
}

fn cell(run: &str, shards: u64, name: &str) -> Result<Cell, String> {
    let wanted =
        [format!("\"cell\":\"{name}\","), format!("\"shards\":{shards},"), "\"kind\":\"summary\"".to_owned()];
    let line = run
        .lines()
        .find(|line| wanted.iter().all(|part| line.contains(part)))
        .ok_or_else(|| format!("the run has no summary of the cell `{name}` with {shards} shard(s)"))?;
    let number = |key: &str| -> Result<f64, String> {
        let rest = line.split_once(&format!("\"{key}\":")).ok_or_else(|| format!("{name}: no {key}"))?.1;
        let text = rest.split([',', '}']).next().unwrap_or_default();
        text.parse().map_err(|_| format!("{name}: {key} is no number: {text}"))
    };
    Ok(Cell {
        cpu_ns: number("cpu_ns_per_publish")?,
        cpu_min: number("cpu_ns_per_publish_min")?,
        cpu_max: number("cpu_ns_per_publish_max")?,
        mails: number("mails_per_publish")?,
        wakes: number("wakes_per_publish")?,
    })
}
