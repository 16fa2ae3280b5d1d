//! The header lines of a message head, found by name without looking at the head again.

use super::list;
use crate::limits::HTTP_HEADERS;

/// Position of one header line within the head.
#[derive(Clone, Copy, Default)]
struct Line {
    name: u16,
    name_len: u16,
    value: u16,
    value_len: u16,
}

/// Space for the positions of one message's header lines. The reader's caller has it, so that the headers themselves
/// are two references.
#[derive(Clone)]
pub struct Lines([Line; HTTP_HEADERS]);

impl Default for Lines {
    fn default() -> Self {
        Lines([Line::default(); HTTP_HEADERS])
    }
}

/// The header lines of one message in their order: positions into the head, no heap.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    head: &'a [u8],
    lines: &'a [Line],
    known: Known,
}

/// Names that framing and persistence depend on. Most messages lack most of them, and nobody looks for what is not
/// there.
#[derive(Clone, Copy)]
pub(super) enum Name {
    Host,
    Expect,
    Upgrade,
    Connection,
    ContentLength,
    TransferEncoding,
}

impl Name {
    fn of(name: &[u8]) -> Option<Name> {
        let (text, known): (&[u8], _) = match name.len() {
            4 => (b"host", Name::Host),
            6 => (b"expect", Name::Expect),
            7 => (b"upgrade", Name::Upgrade),
            10 => (b"connection", Name::Connection),
            14 => (b"content-length", Name::ContentLength),
            17 => (b"transfer-encoding", Name::TransferEncoding),
            _ => return None,
        };
        is_same_name(name, text).then_some(known)
    }
}

/// Whether two header names of one length are the same but for case, eight bytes at a time. Names are tokens, where that
/// bit tells letters' case and, of all other characters, only `^` from `~`.
fn is_same_name(a: &[u8], b: &[u8]) -> bool {
    const CASE: u64 = 0x2020_2020_2020_2020;
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    let same = |a: &[u8; 8], b: &[u8; 8]| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)) & !CASE == 0;
    a.len() == b.len()
        && a_words.iter().zip(b_words).all(|(a, b)| same(a, b))
        && a_rest.iter().zip(b_rest).all(|(a, b)| (a ^ b) & !0x20 == 0)
}

/// Where the names of [`Name`] stand: the number of the first line of each, counted from 1, and whether there are more.
#[derive(Clone, Copy, Default)]
struct Known {
    first: [u8; 6],
    repeated: [bool; 6],
}

impl Known {
    fn note(&mut self, name: &[u8], number: usize) {
        let Some(name) = Name::of(name) else { return };
        let at = name as usize;
        if self.first[at] == 0 {
            self.first[at] = number as u8 + 1; // below HTTP_HEADERS
        } else {
            self.repeated[at] = true;
        }
    }
}

impl<'a> Headers<'a> {
    /// No headers at all.
    pub fn empty() -> Headers<'static> {
        Headers { head: &[], lines: &[], known: Known::default() }
    }

    pub(super) fn index(head: &'a [u8], parsed: &[httparse::Header<'a>], lines: &'a mut Lines) -> Self {
        let base = head.as_ptr() as usize;
        let mut known = Known::default();
        for (number, (line, header)) in lines.0.iter_mut().zip(parsed).enumerate() {
            // A head is at most 65535 bytes, so every position in it fits.
            let value = trim(header.value);
            let value_at = if value.is_empty() { base } else { value.as_ptr() as usize };
            line.name = (header.name.as_ptr() as usize - base) as u16;
            line.name_len = header.name.len() as u16;
            line.value = (value_at - base) as u16;
            line.value_len = value.len() as u16;
            known.note(header.name.as_bytes(), number);
        }
        Headers { head, lines: &lines.0[..parsed.len()], known }
    }

    pub(super) fn has(&self, name: Name) -> bool {
        self.known.first[name as usize] > 0
    }

    /// The only value of `name`; an error if there are several.
    pub(super) fn only(&self, name: Name) -> Result<Option<&'a [u8]>, ()> {
        let number = usize::from(self.known.first[name as usize]);
        match number.checked_sub(1).and_then(|at| self.lines.get(at)) {
            Some(_) if self.known.repeated[name as usize] => Err(()),
            line => Ok(line.map(|line| self.value_of(line))),
        }
    }

    /// The whole head they stand in, from the request line to the empty line.
    pub fn head_bytes(&self) -> &'a [u8] {
        self.head
    }

    /// Number of header lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no header line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn name_of(&self, line: &Line) -> &'a [u8] {
        &self.head[usize::from(line.name)..][..usize::from(line.name_len)]
    }

    fn value_of(&self, line: &Line) -> &'a [u8] {
        &self.head[usize::from(line.value)..][..usize::from(line.value_len)]
    }

    /// All lines in their order: the name as sent, the value without surrounding blanks.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + '_ {
        self.lines.iter().map(|line| {
            let name = std::str::from_utf8(self.name_of(line)).unwrap_or_default();
            (name, self.value_of(line))
        })
    }

    /// The first value of `name` (case-insensitive).
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every value of `name` (case-insensitive) in order.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.lines
            .iter()
            .filter(move |line| {
                usize::from(line.name_len) == name.len() && is_same_name(self.name_of(line), name.as_bytes())
            })
            .map(|line| self.value_of(line))
    }

    /// Whether the comma separated list `name`, over all its lines, has `token` (case-insensitive).
    pub fn list_contains(&self, name: &str, token: &str) -> bool {
        list::contains(self.all(name), token)
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

/// Optional white space of RFC 9110 section 5.6.3 only: space and tab.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    if !value.first().is_some_and(blank) && !value.last().is_some_and(blank) {
        return value; // as `httparse` mostly leaves them
    }
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}
