//! The results of a comparison.

use super::Skipped;
use crate::contest::{self, Bout, Contender, Figures};
use crate::report::table;

/// Prints everything about the heats of one load.
pub fn print(heats: &[Vec<Contender>], bout: &Bout, skipped: &Skipped) {
    let plan = &bout.plan;
    for heat in heats {
        let Some((first, others)) = heat.split_first() else { continue };
        let floors = others.iter().position(|other| other.spare).unwrap_or(others.len());
        let (floors, peers) = others.split_at(floors);
        contest::print_summaries(first, floors, peers, plan);
    }
    if plan.json {
        return;
    }
    println!("{}", bout.head);
    if heats.len() > 1 {
        println!(
            "{} heats, because the connections to all servers are too many at once; each is compared within its heat",
            heats.len()
        );
    }
    print!("{}", table(&rows(heats, plan.unit, plan.units)));
    println!("{}", bout.latency);
    for heat in heats {
        contest::print_lags(heat);
    }
    for contender in heats.iter().flatten() {
        if let Some(note) = contender.note() {
            println!("{}: {note}", contender.server.name);
        }
    }
    for line in verdicts(heats, plan.unit) {
        println!("{line}");
    }
    for heat in heats {
        contest::print_verdict(heat, plan);
    }
    for (name, reason) in skipped {
        println!("{name}: SKIPPED: {reason}");
    }
}

/// A row per contender: costs, their ratio to the first of the heat, rates, latencies.
fn rows(heats: &[Vec<Contender>], unit: &str, units: &str) -> Vec<Vec<String>> {
    let first = heats.first().and_then(|heat| heat.first()).map_or("", |first| &first.server.name);
    let mut rows =
        vec![vec![String::new(), format!("CPU ns/{unit}"), format!("x {first}"), format!("{units}/s")]];
    rows[0].extend(["per read", "p50 us", "p99 us", "p99.9 us", "max us"].map(str::to_owned));
    for heat in heats {
        let Some(first) = heat.first() else { continue };
        for (at, contender) in heat.iter().enumerate() {
            let ratio = contender.ratio_to(first).filter(|_| at > 0);
            let mut row = vec![
                contender.server.name.clone(),
                contender.spread(Figures::cpu_ns).text(0),
                ratio.map_or("1".to_owned(), |ratio| ratio.text(2)),
                contender.spread(|f| f.per_second).text(0),
                format!("{:.1}", contender.spread(|f| f.joined).median),
            ];
            row.extend(
                [50.0, 99.0, 99.9, 100.0].map(|percent| format!("{:.0}", contender.latency_us(percent))),
            );
            rows.push(row);
        }
    }
    rows
}

/// Whether the first server is the best of the peers in cost and in p99.
fn verdicts(heats: &[Vec<Contender>], unit: &str) -> Vec<String> {
    let cost = format!("CPU per {unit}");
    let by_cost = |contender: &Contender| contender.spread(Figures::cpu_ns).median;
    let by_p99 = |contender: &Contender| contender.latency_us(99.0);
    [verdict(heats, &cost, "ns", by_cost), verdict(heats, "p99", "us", by_p99)]
        .into_iter()
        .flatten()
        .collect()
}

fn verdict(
    heats: &[Vec<Contender>],
    what: &str,
    unit: &str,
    figure: impl Fn(&Contender) -> f64,
) -> Option<String> {
    let mut below = Vec::new();
    let (mut name, mut peers) = (None, 0);
    for heat in heats {
        let Some((first, others)) = heat.split_first() else { continue };
        name = name.or(Some(&first.server.name));
        for peer in others.iter().filter(|other| other.spare) {
            peers += 1;
            let (own, theirs) = (figure(first), figure(peer));
            if theirs <= own {
                below.push(format!("{} ({theirs:.0} {unit}, against {own:.0})", peer.server.name));
            }
        }
    }
    let name = name.filter(|_| peers > 0)?;
    Some(match &below[..] {
        [] => format!("{what}: {name}'s is below every peer's"),
        below => format!("{what}: {name}'s is NOT below that of {}", below.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::contender;

    #[test]
    fn ratios_are_to_the_first_of_the_heat_and_paired_by_round() {
        let heats = [
            vec![
                contender("own", false, &[(1000, 10), (2000, 10)]),
                contender("slow", true, &[(3000, 20), (4000, 20)]),
            ],
            vec![
                contender("own", false, &[(500, 10), (500, 10)]),
                contender("quick", true, &[(250, 8), (250, 8)]),
            ],
        ];
        let rows = rows(&heats, "delivery", "deliveries");
        assert_eq!(rows[0][..4], ["", "CPU ns/delivery", "x own", "deliveries/s"]);
        let column = |at: usize| rows[1..].iter().map(|row| row[at].as_str()).collect::<Vec<_>>();
        assert_eq!(column(0), ["own", "slow", "own", "quick"]);
        assert_eq!(column(2), ["1", "2.50 [2.00..3.00]", "1", "0.50 [0.50..0.50]"]);
        assert!(rows.iter().all(|row| row.len() == rows[0].len()));
        assert_eq!(
            verdicts(&heats, "delivery"),
            [
                "CPU per delivery: own's is NOT below that of quick (250 ns, against 500)",
                "p99: own's is NOT below that of quick (8 us, against 10)"
            ]
        );
        assert_eq!(verdicts(&heats[..1], "delivery")[1], "p99: own's is below every peer's");
        let floor = vec![contender("own", false, &[(500, 10)]), contender("floor", false, &[(1, 1)])];
        assert!(verdicts(&[floor], "delivery").is_empty(), "floors are no peers");
    }
}
