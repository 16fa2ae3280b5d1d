//! Where values come from, and what is wrong with them.

use std::fmt;

/// A position in the configuration file, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A text whose offsets can be turned into places quickly.
#[derive(Default)]
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Byte at which each line begins.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Lines<'a> {
        let after = memchr::memchr_iter(b'\n', text.as_bytes()).map(|newline| newline + 1);
        Lines { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// The place of a byte; an offset past the end or inside a character is moved back.
    pub fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        Place { line, column: self.text[start..offset].chars().count() + 1 }
    }
}

/// Where an effective value was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In the file, named as it was asked for.
    File(String, Place),
    /// In the file, as a whole.
    WholeFile(String),
    /// In this environment variable.
    Environment(String),
    /// By this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File(name, place) => write!(out, "{name}:{}", place.line),
            Origin::WholeFile(name) => out.write_str(name),
            Origin::Environment(name) => write!(out, "environment {name}"),
            Origin::Flag(name) => write!(out, "flag {name}"),
        }
    }
}

/// One thing that is wrong. `Display` begins with `file:line:column:`, the variable's name or the flag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it was said.
    pub origin: Origin,
    /// What is wrong and, where it can be known, what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(out, "{}", self.message),
            Origin::File(name, place) => {
                write!(out, "{name}:{}:{}: {}", place.line, place.column, self.message)
            }
            Origin::WholeFile(name) | Origin::Environment(name) => write!(out, "{name}: {}", self.message),
            Origin::Flag(name) => write!(out, "{name}: {}", self.message),
        }
    }
}

/// The known name nearest to `name`, if it is near enough to be meant: at most a third of its letters differ.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let near = known.into_iter().map(|candidate| (distance(name, candidate, most), candidate));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// ` (did you mean ...?)` or nothing.
pub(super) fn hint<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    nearest(name, known).map_or(String::new(), |meant| format!(" (did you mean `{meant}`?)"))
}

/// Letters to insert, remove or replace to get from one text to the other; `most + 1` once it is certainly more.
fn distance(from: &str, to: &str, most: usize) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    if from.len().abs_diff(to.len()) > most {
        return most + 1;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = Lines::new("a = 1\nü = 2\n");
        assert_eq!(text.place(0), Place { line: 1, column: 1 });
        assert_eq!(text.place(9), Place { line: 2, column: 3 });
        assert_eq!(text.place(7), Place { line: 2, column: 1 }, "inside a character");
        assert_eq!(Lines::default().place(5), Place { line: 1, column: 1 });
        assert_eq!(text.place(999), Place { line: 3, column: 1 });
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["buffer_messages", "min_messages", "listen", "log"];
        assert_eq!(nearest("bufer_messages", known), Some("buffer_messages"));
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("lgo", known), None);
        assert_eq!(nearest("logs", known), Some("log"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
