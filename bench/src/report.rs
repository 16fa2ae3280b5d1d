//! Output: aligned tables and JSON lines.

use std::fmt::Write as _;

/// One JSON object on one line.
pub struct JsonLine(String);

impl JsonLine {
    /// Starts with the scenario and the server's name.
    pub fn new(scenario: &str, server: &str) -> Self {
        JsonLine(String::new()).text("scenario", scenario).text("server", server)
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
        if !value.is_finite() {
            self.0.push_str("null");
        } else if value.fract() == 0.0 && value.abs() < 1e15 {
            let _ = write!(self.0, "{value:.0}");
        } else {
            let _ = write!(self.0, "{value:.3}");
        }
        self
    }

    /// The finished line.
    pub fn end(self) -> String {
        format!("{{{}}}", self.0)
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
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "12".to_owned()], vec!["long".to_owned(), "3".to_owned()]];
        assert_eq!(table(&rows), "a     12\nlong   3\n");
    }
}
