//! Patterns of channel names: `*` stands for any number of any bytes, `\*` and `\\` for `*` and `\` themselves, everything
//! else for itself.

use crate::limits::GRANT_PATTERN_BYTES;
use std::fmt;

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What stands between the stars: one part more than there are stars.
    parts: Box<[Box<[u8]>]>,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// Nothing has an empty name.
    Empty,
    /// Longer than [`GRANT_PATTERN_BYTES`].
    TooLong,
    /// A `\` before something else than `*` and `\`.
    Escape,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPattern::Empty => f.write_str("a pattern of channels has at least one character"),
            BadPattern::TooLong => {
                write!(f, "a pattern of channels has at most {GRANT_PATTERN_BYTES} bytes")
            }
            BadPattern::Escape => f.write_str("in a pattern of channels `\\` stands before `*` or `\\` only"),
        }
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// See [`BadPattern`].
    pub fn parse(text: &str) -> Result<Pattern, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern::Empty);
        }
        if text.len() > GRANT_PATTERN_BYTES {
            return Err(BadPattern::TooLong);
        }
        let (mut parts, mut part) = (Vec::new(), Vec::new());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'*' => parts.push(std::mem::take(&mut part).into()),
                b'\\' => match bytes.next() {
                    Some(escaped @ (b'*' | b'\\')) => part.push(escaped),
                    _ => return Err(BadPattern::Escape),
                },
                plain => part.push(plain),
            }
        }
        parts.push(part.into());
        Ok(Pattern { parts: parts.into() })
    }

    /// Whether the name is one of those that are meant. Each part is looked for once, so that the time is bounded by the
    /// lengths of both.
    pub fn matches(&self, name: &[u8]) -> bool {
        let (Some((first, rest)), Some(last)) = (self.parts.split_first(), self.parts.last()) else {
            return false;
        };
        let Some(mut left) = name.strip_prefix(&**first) else { return false };
        let Some((_, middle)) = rest.split_last() else { return left.is_empty() };
        for part in middle {
            // The leftmost place leaves the most for those behind it.
            let Some(at) = memchr::memmem::find(left, part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn stars_stand_for_anything_and_nothing_else_does() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a/b"),
            ("a", "a"),
            ("a*", "a"),
            ("a*b*c", "a-b-b-c"),
            ("*.x", ".x"),
            ("**", "q"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", "ab"),
            ("a", ""),
            ("a.b", "axb"),
            ("a?", "ab"),
            ("[ab]", "a"),
            ("a*a", "a"),
            ("a*b*c", "a-c-b"),
            ("news", "NEWS"),
            ("a*", "ba"),
            ("ab*ba", "aba"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn escapes_take_the_meaning_away() {
        assert!(matches(r"a\*", "a*") && !matches(r"a\*", "ab"));
        assert!(matches(r"a\\*", r"a\x") && !matches(r"a\\*", "a*"));
        for wrong in [r"a\", r"\a", r"\.*"] {
            assert_eq!(Pattern::parse(wrong), Err(BadPattern::Escape), "{wrong}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        assert_eq!(Pattern::parse(""), Err(BadPattern::Empty));
        assert!(Pattern::parse(&"*".repeat(GRANT_PATTERN_BYTES)).is_ok());
        assert_eq!(Pattern::parse(&"a".repeat(GRANT_PATTERN_BYTES + 1)), Err(BadPattern::TooLong));
    }

    /// The rule in plain words: a star takes each possible number of bytes.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|at| plainly(rest, &name[at..])),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                name.first() == Some(byte) && plainly(rest, &name[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn the_quick_way_finds_what_the_plain_one_finds(pattern in r"([ab*]|\\\*|\\\\){1,8}", name in r"[ab*\\]{0,8}") {
            let quick = Pattern::parse(&pattern).unwrap().matches(name.as_bytes());
            prop_assert_eq!(quick, plainly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
