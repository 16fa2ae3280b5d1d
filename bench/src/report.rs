//! Output: aligned tables and JSON lines. A run with `--report` keeps its lines: the page is made of them.

use crate::stats::Latencies;
use std::fmt::Write as _;
use std::sync::Mutex;

/// One JSON object on one line.
pub struct JsonLine(String);

/// Lines finished so far; None while nobody wants them.
static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Keeps every line that is finished from now on.
pub fn keep_lines() {
    if let Ok(mut kept) = KEPT.lock() {
        *kept = Some(Vec::new());
    }
}

/// Lines finished since `keep_lines`.
pub fn kept_lines() -> Vec<String> {
    KEPT.lock().ok().and_then(|kept| kept.clone()).unwrap_or_default()
}

/// Finishes `line`, for a page if there is to be one, and prints it if `json`. Scenarios give all their lines to this,
/// whether they print JSON or a table.
pub fn emit(line: JsonLine, json: bool) {
    let line = line.end();
    if json {
        println!("{line}");
    }
}

impl JsonLine {
    /// Starts with the scenario and the server's name.
    pub fn new(scenario: &str, server: &str) -> Self {
        JsonLine::of(scenario).text("server", server)
    }

    /// Starts with the scenario, for what is no server's.
    pub fn of(scenario: &str) -> Self {
        JsonLine(String::new()).text("scenario", scenario)
    }

    /// Adds a string.
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.quote(value);
        self
    }

    /// Adds a number, with at most three decimals; null if it is none.
    pub fn number(mut self, name: &str, value: f64) -> Self {
        self.name(name);
        self.digits(value);
        self
    }

    /// Adds a truth.
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.0.push_str(if value { "true" } else { "false" });
        self
    }

    /// Adds a list of pairs, their numbers as `number` writes them.
    pub fn pairs(mut self, name: &str, pairs: &[(f64, f64)]) -> Self {
        self.name(name);
        self.0.push('[');
        for (at, &(x, y)) in pairs.iter().enumerate() {
            self.0.push_str(if at == 0 { "[" } else { ",[" });
            self.digits(x);
            self.0.push(',');
            self.digits(y);
            self.0.push(']');
        }
        self.0.push(']');
        self
    }

    /// Adds p50, p90, p99, p99.9 and the maximum of `times` as `PREFIX_p50_us` .. `PREFIX_max_us`, how many they are as
    /// `PREFIX_count`, and `PREFIX_curve_us`, pairs of percent and microseconds.
    pub fn latencies(mut self, prefix: &str, times: &Latencies) -> Self {
        for (name, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)] {
            self = self.number(&format!("{prefix}_{name}_us"), times.us(percent));
        }
        self.number(&format!("{prefix}_count"), times.len() as f64)
            .pairs(&format!("{prefix}_curve_us"), &times.curve())
    }

    /// The finished line.
    pub fn end(self) -> String {
        let line = format!("{{{}}}", self.0);
        if let Ok(mut kept) = KEPT.lock()
            && let Some(kept) = kept.as_mut()
        {
            kept.push(line.clone());
        }
        line
    }

    /// At most three decimals; null if it is no number.
    fn digits(&mut self, value: f64) {
        let _ = if !value.is_finite() {
            write!(self.0, "null")
        } else if value.fract() == 0.0 && value.abs() < 1e15 {
            write!(self.0, "{value:.0}")
        } else {
            write!(self.0, "{value:.3}")
        };
    }

    fn name(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.quote(name);
        self.0.push(':');
    }

    fn quote(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                c if c < ' ' => {
                    let _ = write!(self.0, "\\u{:04x}", c as u32);
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

/// Rows with their columns aligned: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ =
                if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Tells on stderr what goes on.
pub fn progress(text: &str) {
    crate::watchdog::note(text);
    eprintln!("  {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_quoted_and_numbers_are_plain() {
        let line =
            JsonLine::new("fanout", "a\"b\\\n").number("n", 1000.0).number("x", 1.25).number("bad", f64::NAN);
        assert_eq!(
            line.end(),
            r#"{"scenario":"fanout","server":"a\"b\\\u000a","n":1000,"x":1.250,"bad":null}"#
        );
    }

    #[test]
    fn lists_and_latencies_are_json() {
        let mut times = Latencies::default();
        (1..=200).for_each(|us| times.record(us * 1000));
        let line = JsonLine::of("x").flag("ok", true).pairs("none", &[]).latencies("client", &times).end();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["ok"], &value["none"]), (&true.into(), &serde_json::json!([])));
        assert_eq!(value["client_count"], 200);
        let curve = value["client_curve_us"].as_array().unwrap();
        assert_eq!(curve.last().unwrap()[1], value["client_max_us"]);
        assert!(curve.iter().any(|point| point[0] == 90.0 && point[1] == value["client_p90_us"]));
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "12".to_owned()], vec!["long".to_owned(), "3".to_owned()]];
        assert_eq!(table(&rows), "a     12\nlong   3\n");
    }
}
