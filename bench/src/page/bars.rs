//! Bars: a cost per server with the extremes of its rounds, and memory in its parts.

use super::scale::Linear;
use super::svg::{Plot, Style, WIDTH, frame, text, width_of};
use super::text::{number, shorten};
use crate::stats::Spread;
use std::fmt::Write as _;

/// Height of a server's label and bar.
const ROW: f64 = 40.0;
/// Height of a bar.
const BAR: f64 = 13.0;

/// A server and its figure.
pub struct Bar {
    /// Its name.
    pub name: String,
    /// How it is drawn.
    pub style: Style,
    /// The figure.
    pub value: Spread,
}

/// A bar per server from zero to the median, with whiskers to the extremes. None without any number to draw.
pub fn with_whiskers(id: &str, title: &str, unit: &str, bars: &[Bar]) -> Option<String> {
    let drawn: Vec<&Bar> = bars.iter().filter(|bar| bar.value.median.is_finite()).collect();
    let first = drawn.first()?;
    let axis = Linear::of(drawn.iter().flat_map(|bar| [bar.value.median, bar.value.min, bar.value.max]));
    let (plot, mut out) = begin(&axis, drawn.len(), unit);
    for (at, bar) in drawn.iter().enumerate() {
        let Spread { median, min, max } = bar.value;
        let told = if min < max {
            format!("{} [{}..{}]", number(median), number(min), number(max))
        } else {
            number(median)
        };
        let y = row(&mut out, &plot, at, &bar.name, &told);
        let class = bar.style.class();
        let from = plot.x(axis.at(0.0));
        let _ = write!(
            out,
            r#"<rect class="b {class}" x="{from:.1}" y="{y:.1}" width="{:.1}" height="{BAR}" rx="2"/>"#,
            (plot.x(axis.at(median)) - from).max(0.5)
        );
        if min.is_finite() && max.is_finite() && min < max {
            whisker(&mut out, plot.x(axis.at(min)), plot.x(axis.at(max)), y + BAR / 2.0);
        }
    }
    let description = format!(
        "A bar per server: the median of all rounds, with whiskers to the extremes. {}: {} {unit}. The table below has all \
         values.",
        first.name,
        number(first.value.median)
    );
    Some(frame(id, title, &description, plot.bottom + 46.0, &out))
}

fn whisker(out: &mut String, from: f64, to: f64, y: f64) {
    let _ = write!(
        out,
        r#"<path class="whisker" d="M{from:.1} {:.1}v8M{to:.1} {:.1}v8M{from:.1} {y:.1}H{to:.1}"/>"#,
        y - 4.0,
        y - 4.0
    );
}

/// A server and the parts of its figure, as many as `parts` of the chart.
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Values, zero or more.
    pub values: Vec<f64>,
}

/// A bar per server, its parts one behind the other. None without any number to draw.
pub fn stacked(id: &str, title: &str, unit: &str, parts: &[&str], stacks: &[Stack]) -> Option<String> {
    // What is below nothing is noise of the measurement.
    let clean = |value: &f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
    let total = |stack: &Stack| stack.values.iter().map(clean).sum::<f64>();
    let first = stacks.iter().find(|stack| stack.values.iter().any(|value| value.is_finite()))?;
    let axis = Linear::of(stacks.iter().map(total));
    let (plot, mut out) = begin(&axis, stacks.len(), unit);
    for (at, stack) in stacks.iter().enumerate() {
        let y = row(&mut out, &plot, at, &stack.name, &number(total(stack)));
        let mut sum = 0.0;
        for (part, value) in stack.values.iter().map(clean).enumerate() {
            let (from, to) = (plot.x(axis.at(sum)), plot.x(axis.at(sum + value)));
            sum += value;
            let _ = write!(
                out,
                r#"<rect class="b p{}" x="{from:.1}" y="{y:.1}" width="{:.1}" height="{BAR}"/>"#,
                part % 4,
                to - from
            );
        }
    }
    let told: Vec<String> =
        parts.iter().zip(&first.values).map(|(part, value)| format!("{part} {}", number(*value))).collect();
    let description = format!(
        "A bar per server, its parts one behind the other. {}: {} {unit}. The table below has all values.",
        first.name,
        told.join(", ")
    );
    Some(frame(id, title, &description, plot.bottom + 46.0, &out))
}

/// The frame of `rows` bars, with the axis below them.
fn begin(axis: &Linear, rows: usize, unit: &str) -> (Plot, String) {
    let plot = Plot { left: 4.0, right: WIDTH - 16.0, top: 4.0, bottom: 6.0 + rows as f64 * ROW };
    let mut out = String::new();
    // The label at the left end would be cut off: it begins where the axis does.
    let ticks = axis.ticks();
    plot.columns(&mut out, ticks.iter().skip(1).map(|&tick| (axis.at(tick), number(tick))));
    if let Some(&tick) = ticks.first() {
        text(&mut out, plot.left, plot.bottom + 17.0, "start", "tick", &number(tick));
        let _ = write!(
            out,
            r#"<line class="base" x1="{0:.1}" x2="{0:.1}" y1="{1:.1}" y2="{2:.1}"/>"#,
            plot.x(axis.at(0.0)),
            plot.top,
            plot.bottom
        );
    }
    plot.below(&mut out, unit);
    (plot, out)
}

/// Writes a row's name and value and says where its bar is.
fn row(out: &mut String, plot: &Plot, at: usize, name: &str, value: &str) -> f64 {
    let y = plot.top + at as f64 * ROW;
    let room = (plot.right - plot.left - width_of(value) - 12.0) / width_of("x");
    text(out, plot.left + 4.0, y + 15.0, "start", "name", &shorten(name, room.max(4.0) as usize));
    text(out, plot.right, y + 15.0, "end", "value", value);
    y + 20.0
}

#[cfg(test)]
mod tests {
    use super::super::svg::tests::check;
    use super::*;

    fn bar(name: &str, median: f64, min: f64, max: f64) -> Bar {
        Bar { name: name.to_owned(), style: Style::default(), value: Spread { median, min, max } }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bars = [bar("a", 2000.0, 1000.0, 4000.0), bar("b", 4000.0, 4000.0, 4000.0)];
        let svg = with_whiskers("i", "CPU", "ns per delivery", &bars).unwrap();
        check(&svg);
        assert!(svg.contains("2,000 [1,000..4,000]") && svg.contains("ns per delivery"));
        let width = |at: usize| -> f64 {
            let rect = svg.split("<rect").nth(at).unwrap();
            rect.split_once("width=\"").unwrap().1.split('"').next().unwrap().parse().unwrap()
        };
        assert!((width(2) / width(1) - 2.0).abs() < 0.01);
        assert_eq!(svg.matches("class=\"whisker\"").count(), 1, "the second has one round");
    }

    #[test]
    fn what_is_no_number_has_no_bar() {
        assert!(with_whiskers("i", "t", "u", &[]).is_none());
        assert!(with_whiskers("i", "t", "u", &[bar("a", f64::NAN, 0.0, 1.0)]).is_none());
        let svg =
            with_whiskers("i", "t", "u", &[bar("a", 0.0, f64::NAN, f64::NAN), bar("b", f64::NAN, 1.0, 2.0)]);
        check(&svg.unwrap());
        assert!(stacked("i", "t", "u", &["x"], &[]).is_none());
        let none = Stack { name: "a".to_owned(), values: vec![f64::NAN] };
        assert!(stacked("i", "t", "u", &["x"], &[none]).is_none());
    }

    #[test]
    fn long_names_make_room_for_values() {
        let name = "a server <with> a name & a story that is much too long for any chart";
        let svg = with_whiskers("i", "t", "u", &[bar(name, 123_456.0, 100_000.0, 999_999.0)]).unwrap();
        check(&svg);
        assert!(svg.contains('…') && svg.contains("&lt;with&gt;"));
    }

    #[test]
    fn parts_stand_behind_each_other() {
        let stacks = [
            Stack { name: "fanwire".to_owned(), values: vec![300.0, 250.0, 3600.0] },
            Stack { name: "other".to_owned(), values: vec![500.0, -3.0, f64::NAN] },
        ];
        let svg = stacked("i", "Memory", "bytes", &["user", "waiting", "sockets"], &stacks).unwrap();
        check(&svg);
        assert!(svg.contains("4,150") && svg.contains("user 300, waiting 250, sockets 3,600"));
        assert_eq!(svg.matches("<rect").count(), 6);
    }
}
