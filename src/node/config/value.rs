//! Values of keys: how each kind is read from TOML or from plain text, and how it is written back.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::DeValue;

/// A value as it was said.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// In a variable or flag: lists are separated by commas.
    Text(&'a str),
    /// In the file.
    Toml(&'a Spanned<DeValue<'a>>),
}

/// Why a value cannot be taken.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Bytes of the file, when the value was said there.
    pub at: Option<Range<usize>>,
    pub message: String,
}

/// Something that a key sets.
pub(super) trait Setting {
    /// Takes the value or says why not; then nothing is changed.
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal>;
    /// The value as TOML; `None` when it is not set, which TOML cannot say.
    fn show(&self) -> Option<String>;
}

impl<'a> Input<'a> {
    pub fn refuse<T>(self, message: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { at: self.span(), message: message.into() })
    }

    pub fn span(self) -> Option<Range<usize>> {
        match self {
            Input::Text(_) => None,
            Input::Toml(value) => Some(value.span()),
        }
    }

    pub fn text(self) -> Result<Cow<'a, str>, Refusal> {
        match self {
            Input::Text(text) => Ok(Cow::Borrowed(text)),
            Input::Toml(value) => match value.get_ref() {
                DeValue::String(text) => Ok(Cow::Borrowed(text)),
                other => self.refuse(format!("needs a string, found {}", kind(other))),
            },
        }
    }

    fn boolean(self) -> Result<bool, Refusal> {
        match self {
            Input::Text("true" | "1" | "yes" | "on") => Ok(true),
            Input::Text("false" | "0" | "no" | "off") => Ok(false),
            Input::Text(_) => self.refuse("needs true or false"),
            Input::Toml(value) => match value.get_ref() {
                DeValue::Boolean(flag) => Ok(*flag),
                other => self.refuse(format!("needs true or false, found {}", kind(other))),
            },
        }
    }

    /// An integer, or `None` when the value is something else.
    pub fn integer(self) -> Option<Result<i64, Refusal>> {
        let parsed = match self {
            Input::Text(text) if text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse()
            }
            Input::Text(_) => return None,
            Input::Toml(value) => match value.get_ref() {
                DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()),
                _ => return None,
            },
        };
        Some(parsed.or_else(|_| self.refuse("is not a number that fits")))
    }

    /// The elements of a list; a single value is a list of one.
    pub fn list(self) -> Vec<Input<'a>> {
        match self {
            Input::Text(text) => {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Input::Text).collect()
            }
            Input::Toml(value) => match value.get_ref() {
                DeValue::Array(elements) => elements.iter().map(Input::Toml).collect(),
                _ => vec![self],
            },
        }
    }
}

/// What a TOML value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// `text` as a TOML string.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Texts as a TOML array.
pub(super) fn quote_all<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(|text| quote(text.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

impl Setting for bool {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        *self = input.boolean()?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for String {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        *self = input.text()?.into_owned();
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote(self))
    }
}

/// An empty text unsets it.
impl Setting for Option<String> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        *self = Some(input.text()?.into_owned()).filter(|text| !text.is_empty());
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote(self.as_deref().unwrap_or_default()))
    }
}

impl Setting for Vec<String> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let texts = input.list().into_iter().map(|element| element.text().map(Cow::into_owned));
        *self = texts.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote_all(self))
    }
}

/// A whole number within bounds.
pub(super) struct Count<'a, T>(pub &'a mut T, pub RangeInclusive<usize>);

impl<T: Copy + TryFrom<usize> + ToString> Setting for Count<'_, T> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let Count(value, range) = self;
        let number = match input.integer() {
            Some(number) => number?,
            None => return input.refuse("needs a whole number"),
        };
        let within = usize::try_from(number).ok().filter(|number| range.contains(number));
        match within.and_then(|number| T::try_from(number).ok()) {
            Some(number) => **value = number,
            None => return input.refuse(format!("needs a number from {} to {}", range.start(), range.end())),
        }
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// A size in bytes within bounds: an integer, or a text with B, KiB, MiB, GiB or TiB.
pub(super) struct Size<'a, T = usize>(pub &'a mut T, pub RangeInclusive<T>);

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl<T: Copy + PartialOrd + TryFrom<u64> + TryInto<u64>> Setting for Size<'_, T> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let bytes = match input.integer() {
            Some(number) => u64::try_from(number?).ok(),
            None => match parse_units(&input.text()?, &SIZE_UNITS) {
                Some(bytes) => Some(bytes),
                None => return input.refuse("needs a size such as 4096, \"64KiB\", \"1MiB\" or \"1GiB\""),
            },
        };
        let Size(value, range) = self;
        match bytes.and_then(|bytes| T::try_from(bytes).ok()).filter(|bytes| range.contains(bytes)) {
            Some(bytes) => **value = bytes,
            None => {
                let [least, most] = [*range.start(), *range.end()].map(show_size);
                return input.refuse(format!("needs a size from {least} to {most}"));
            }
        }
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote(&show_size(*self.0)))
    }
}

fn show_size(bytes: impl TryInto<u64>) -> String {
    show_units(bytes.try_into().unwrap_or(u64::MAX), &SIZE_UNITS)
}

/// A duration in milliseconds within bounds: `"5s"`, `"250ms"`, `"1h30m"`, or `"0"`.
pub(super) struct Millis<'a>(pub &'a mut u64, pub RangeInclusive<u64>);

const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Setting for Millis<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let millis = match input.integer() {
            Some(Ok(0)) => Some(0),
            Some(_) => None,
            None => parse_units(&input.text()?, &DURATION_UNITS),
        };
        let Millis(value, range) = self;
        match millis {
            Some(millis) if range.contains(&millis) => **value = millis,
            Some(_) => {
                let [least, most] =
                    [*range.start(), *range.end()].map(|millis| show_units(millis, &DURATION_UNITS));
                return input.refuse(format!("needs a duration from {least} to {most}"));
            }
            None => {
                return input
                    .refuse("needs a duration with its unit, such as \"5s\", \"250ms\", \"1h\" or \"0\"");
            }
        }
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote(&show_units(*self.0, &DURATION_UNITS)))
    }
}

/// A duration of whole seconds within bounds, written like [`Millis`].
pub(super) struct Seconds<'a, T>(pub &'a mut T, pub RangeInclusive<u64>);

impl<T: Copy + TryFrom<u64> + Into<u64>> Setting for Seconds<'_, T> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let Seconds(value, range) = self;
        let mut millis = 0;
        Millis(&mut millis, range.start() * 1000..=range.end() * 1000).set(input)?;
        match T::try_from(millis / 1000) {
            Ok(seconds) if millis.is_multiple_of(1000) => **value = seconds,
            _ => return input.refuse("needs a duration of whole seconds"),
        }
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let seconds: u64 = (*self.0).into();
        Some(quote(&show_units(seconds.saturating_mul(1000), &DURATION_UNITS)))
    }
}

/// Adds up parts of digits and a unit; a lone `0` needs none. `None` when it is not that or too large.
fn parse_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() || total == 0 && rest.len() == text.len() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, factor) = units.iter().find(|(name, _)| *name == &rest[..letters])?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[letters..];
    }
    Some(total)
}

/// The largest unit that divides the value.
fn show_units(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    whole.map_or("0".into(), |(name, factor)| format!("{}{name}", value / factor))
}

/// A setting that is one of a few words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Word and value.
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Choice> Setting for T {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let text = input.text()?;
        match T::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => *self = *value,
            None => {
                let words: Vec<String> = T::WORDS.iter().map(|(word, _)| quote(word)).collect();
                return input.refuse(format!("needs one of {}", words.join(", ")));
            }
        }
        Ok(())
    }

    fn show(&self) -> Option<String> {
        T::WORDS.iter().find(|(_, value)| value == self).map(|(word, _)| quote(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_what_they_write() {
        for text in ["0", "250ms", "5s", "1h", "90m", "2d"] {
            assert_eq!(show_units(parse_units(text, &DURATION_UNITS).unwrap(), &DURATION_UNITS), text);
        }
        assert_eq!(parse_units("1h30m", &DURATION_UNITS), Some(5_400_000));
        for text in [
            "",
            "s",
            "5",
            "5 s",
            "-5s",
            "5S",
            "1.5s",
            "5s5",
            "99999999999999999999s",
            "9999999999999999d",
            "5µs",
        ] {
            assert_eq!(parse_units(text, &DURATION_UNITS), None, "{text}");
        }
        assert_eq!(parse_units("1MiB", &SIZE_UNITS), Some(1 << 20));
        assert_eq!(show_units(3 << 20, &SIZE_UNITS), "3MiB");
        assert_eq!(show_units(1500, &SIZE_UNITS), "1500B");
        assert_eq!(parse_units("1MB", &SIZE_UNITS), None);
    }

    #[test]
    fn quoted_texts_are_toml_strings() {
        for text in ["", "a\"b\\c", "\n\r\t\u{1}\u{7f}\u{85}é"] {
            let quoted = quote(text);
            assert_eq!(DeValue::parse(&quoted).unwrap().get_ref().as_str(), Some(text), "{quoted}");
        }
    }
}
