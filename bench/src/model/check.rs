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
        rows.push(row(format!("{shards} shards, {name}"), computed, &cell));
    }
    let one = cell(run, 1, "near, lone")?;
    let computed = costs.publish_lone + costs.delivery;
    rows.push(row("1 shard, near, lone".to_owned(), computed, &one));
    Ok(table(&rows))
}

fn row(name: String, computed: f64, cell: &Cell) -> Vec<String> {
    vec![
        name,
        format!("{computed:.0}"),
        format!("{:.0} [{:.0}..{:.0}]", cell.cpu_ns, cell.cpu_min, cell.cpu_max),
        format!("{:.2}", computed / cell.cpu_ns),
    ]
}

/// Shards, cell, and the cell on the home shard that it is compared with.
const CHECKED: [(u64, &str, &str); 5] = [
    (2, "home away", "near"),
    (2, "home away and back", "near"),
    (2, "subscriber away", "near"),
    (2, "home away, lone", "near, lone"),
    (2, "crowd, spread", "crowd"),
];

/// The base and what other shards add to it.
fn compute(costs: &Costs, cell: &Cell, base: &Cell) -> f64 {
    // A mail that carries a publication has a frame made at its end; two others ask and answer.
    let delivers = cell.mails % 2.0;
    let asked = if cell.mails > 1.0 { costs.ask + costs.home - costs.publish } else { 0.0 };
    let waking = (cell.wakes - base.wakes) * costs.wake;
    base.cpu_ns + asked + delivers * (costs.post + costs.receipt) + waking
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cell: &str, shards: u64, cpu: f64, mails: u64, wakes: f64) -> String {
        format!(
            "{{\"scenario\":\"shards\",\"server\":\"x\",\"kind\":\"summary\",\"cell\":\"{cell}\",\"shards\":{shards},\
             \"cpu_ns_per_publish\":{cpu},\"cpu_ns_per_publish_min\":1,\"cpu_ns_per_publish_max\":2,\
             \"mails_per_publish\":{mails},\"wakes_per_publish\":{wakes}}}\n"
        )
    }

    #[test]
    fn a_run_that_is_made_of_the_costs_agrees_with_them() {
        let costs = Costs::MEASURED;
        let asked = costs.ask + costs.home - costs.publish;
        let reached = costs.post + costs.receipt;
        let run = [
            line("near", 2, 6000.0, 0, 0.0),
            line("near, lone", 2, 12000.0, 0, 1.0),
            line("crowd", 2, 3e6, 0, 1.0),
            line("home away", 2, 6000.0 + asked, 2, 0.0),
            line("home away and back", 2, 6000.0 + asked + reached, 3, 0.0),
            line("subscriber away", 2, 6000.0 + reached, 1, 0.0),
            line("home away, lone", 2, 12000.0 + asked + 2.0 * costs.wake, 2, 3.0),
            line("crowd, spread", 2, 3e6 + reached + costs.wake, 1, 2.0),
            line("near, lone", 1, costs.publish_lone + costs.delivery, 0, 1.0),
        ]
        .concat();
        let table = table_of(&costs, &run).unwrap();
        assert_eq!(table.lines().filter(|line| line.ends_with(" 1.00")).count(), 6, "{table}");
        assert!(table_of(&costs, "").is_err());
    }
}
