//! Charts over an axis: latency by percentile, and the cost in every round.

use super::scale::{Linear, Log, nines};
use super::svg::{Plot, Style, WIDTH, frame};
use super::text::{escape, number, time_us};
use std::fmt::Write as _;

/// Height of a plot with few servers.
const HEIGHT: f64 = 210.0;
/// Servers that are few.
const FEW: usize = 5;
/// More height for each server more.
const HEIGHT_EACH: f64 = 24.0;
/// Greatest height.
const HEIGHT_MAX: f64 = 400.0;
/// Room that the maximum has beyond the last percentile, nines.
const BEYOND: f64 = 0.35;
/// So many rounds have a label each.
const LABELLED_ROUNDS: usize = 12;

/// A server and its points.
pub struct Series {
    /// Its name.
    pub name: String,
    /// How it is drawn.
    pub style: Style,
    /// Percent and microseconds, or round and cost.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(|point| point.0.is_finite() && point.1.is_finite())
    }
}

/// How each of `series` is drawn, as HTML.
pub fn legend(series: &[Series]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for Series { name, style, .. } in series {
        let _ = write!(
            out,
            "<li><svg viewBox=\"0 0 34 14\" aria-hidden=\"true\"><path class=\"l {} {}\" d=\"M1 7H33\"/>{}</svg>{}</li>",
            style.class(),
            style.dash(),
            style.mark(17.0, 7.0),
            escape(name)
        );
    }
    out + "</ul>\n"
}

/// Where a chart of `series` draws.
fn plot(series: &[Series]) -> Plot {
    let more = series.len().saturating_sub(FEW) as f64 * HEIGHT_EACH;
    let top = 30.0;
    Plot { left: 58.0, right: WIDTH - 14.0, top, bottom: top + (HEIGHT + more).min(HEIGHT_MAX) }
}

fn all(series: &[Series]) -> impl Iterator<Item = (f64, f64)> {
    series.iter().flat_map(Series::finite)
}

/// Latency by percentile on a logarithmic scale; the last mark of a line is its maximum. None without any point.
pub fn percentiles(id: &str, title: &str, series: &[Series]) -> Option<String> {
    all(series).next()?;
    let beyond = |points: &[(f64, f64)]| {
        let told = points.iter().map(|point| point.0).filter(|&percent| percent < 100.0);
        told.fold(nines(50.0), |most, percent| most.max(nines(percent))) + BEYOND
    };
    let lines: Vec<(Style, Vec<(f64, f64)>)> = series
        .iter()
        .map(|one| {
            let points: Vec<_> = one.finite().collect();
            let end = beyond(&points);
            let place = |percent: f64| if percent < 100.0 { nines(percent) } else { end };
            (one.style, points.iter().map(|point| (place(point.0), point.1)).collect())
        })
        .collect();
    let widest = lines.iter().flat_map(|line| line.1.iter().map(|point| point.0)).fold(1.0, f64::max);
    let axis = Log::of(all(series).map(|point| point.1));
    let plot = plot(series);
    let mut out = String::new();
    plot.rows(&mut out, axis.ticks().iter().map(|&tick| (axis.at(tick), time_us(tick))));
    let ticks = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999];
    let shown = ticks.iter().filter(|&&percent| nines(percent) < widest + 1e-9);
    plot.columns(&mut out, shown.map(|&percent| (nines(percent) / widest, format!("p{percent}"))));
    plot.below(&mut out, "percentile; the last mark of a line is its maximum");
    plot.above(&mut out, "latency");
    for (style, points) in &lines {
        let places = points.iter().map(|point| (plot.x(point.0 / widest), plot.y(axis.at(point.1))));
        line(&mut out, *style, &places.collect::<Vec<_>>(), "l");
    }
    let told = series.iter().find_map(|one| Some((&one.name, one.finite().last()?)));
    let description = told.map_or_else(String::new, |(name, (_, us))| {
        format!("A line per server over its percentiles. The maximum of {name} is {}. The table below has all values.", time_us(us))
    });
    Some(frame(id, title, &description, plot.bottom + 46.0, &out))
}

/// The cost in every round, a mark each, so that noise is seen. None without any point.
pub fn rounds(id: &str, title: &str, unit: &str, series: &[Series]) -> Option<String> {
    all(series).next()?;
    let axis = Linear::of(all(series).map(|point| point.1));
    let (first, last) = all(series)
        .fold((f64::INFINITY, 0.0_f64), |(first, last), (round, _)| (first.min(round), last.max(round)));
    let plot = plot(series);
    // Half a round of room at both ends, where the servers stand side by side.
    let place = |round: f64| (round - first + 0.5) / (last - first + 1.0);
    let mut out = String::new();
    plot.rows(&mut out, axis.ticks().into_iter().map(|tick| (axis.at(tick), number(tick))));
    let mut named: Vec<f64> = all(series).map(|point| point.0).collect();
    named.sort_by(f64::total_cmp);
    named.dedup();
    let step = named.len().div_ceil(LABELLED_ROUNDS);
    plot.columns(&mut out, named.iter().step_by(step).map(|&round| (place(round), number(round))));
    plot.below(&mut out, "round, all servers in turn");
    plot.above(&mut out, unit);
    let width = 0.6 / (last - first + 1.0);
    for (at, one) in series.iter().enumerate() {
        let aside = ((at as f64 + 0.5) / series.len() as f64 - 0.5) * width;
        let places = one.finite().map(|(round, cost)| (plot.x(place(round) + aside), plot.y(axis.at(cost))));
        line(&mut out, one.style, &places.collect::<Vec<_>>(), "l thin");
    }
    let description = format!(
        "A mark per server and round, from round {} to round {}. The table below has all values.",
        number(first),
        number(last)
    );
    Some(frame(id, title, &description, plot.bottom + 46.0, &out))
}

fn line(out: &mut String, style: Style, places: &[(f64, f64)], class: &str) {
    let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(
        out,
        r#"<polyline class="{class} {} {}" points="{}"/>"#,
        style.class(),
        style.dash(),
        points.join(" ")
    );
    out.extend(places.iter().map(|&(x, y)| style.mark(x, y)));
}

#[cfg(test)]
mod tests {
    use super::super::svg::tests::check;
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.to_owned(), style: Style::default(), points: points.to_vec() }
    }

    /// Places of the first line's points.
    fn places(svg: &str) -> Vec<(f64, f64)> {
        let line = svg.split_once("<polyline").unwrap().1;
        let points = line.split_once("points=\"").unwrap().1.split('"').next().unwrap();
        let place = |pair: &str| pair.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()));
        points.split(' ').filter_map(place).collect()
    }

    #[test]
    fn a_percentile_has_its_place_and_the_maximum_is_last() {
        let points = [(50.0, 100.0), (90.0, 200.0), (99.0, 400.0), (99.9, 900.0), (100.0, 5000.0)];
        let svg = percentiles("i", "Latency", &[series("a", &points), series("b", &[(50.0, 90.0)])]).unwrap();
        check(&svg);
        let places = places(&svg);
        assert!(places.is_sorted_by(|a, b| a.0 < b.0 && a.1 > b.1), "{places:?}");
        // As far from p90 to p99 as from p99 to p99.9.
        assert!((places[2].0 - places[1].0 - (places[3].0 - places[2].0)).abs() < 0.2, "{places:?}");
        assert!((places[4].0 - (WIDTH - 14.0)).abs() < 0.1, "{places:?}");
        for label in ["p50", "p90", "p99", "p99.9", "100 µs", "5 ms"] {
            assert!(svg.contains(&format!(">{label}<")), "{label}");
        }
    }

    #[test]
    fn few_points_and_none_are_borne() {
        assert!(percentiles("i", "t", &[]).is_none());
        assert!(percentiles("i", "t", &[series("a", &[(50.0, f64::NAN)])]).is_none());
        check(&percentiles("i", "t", &[series("a", &[(100.0, 7.0)])]).unwrap());
        check(&percentiles("i", "t", &[series("a", &[(50.0, 7.0), (f64::NAN, 1.0), (100.0, 7.0)])]).unwrap());
        assert!(rounds("i", "t", "ns", &[series("a", &[])]).is_none());
        check(&rounds("i", "t", "ns", &[series("a", &[(1.0, 0.0)])]).unwrap());
    }

    #[test]
    fn every_round_has_a_mark_and_not_every_one_a_label() {
        let many: Vec<(f64, f64)> =
            (1..=60).map(|round| (f64::from(round), 5000.0 + f64::from(round))).collect();
        let svg =
            rounds("i", "Rounds", "ns", &[series("a", &many), series("b", &[(2.0, f64::NAN), (3.0, 1.0)])])
                .unwrap();
        check(&svg);
        assert_eq!(svg.matches("<circle").count(), 61);
        assert!(svg.contains(">1<") && svg.contains(">6<") && !svg.contains(">2<"));
    }
}
