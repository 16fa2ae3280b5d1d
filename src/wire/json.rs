//! JSON (RFC 8259): a reader that yields borrowed views, and the few functions that write it.
//!
//! `simd-json` checks a document and decodes its strings; the views also give the original bytes of every value, so
//! that what a peer sent can be passed on as it was sent. Nothing here recurses.

use crate::limits::{JSON_DEPTH, JSON_KEEP_BYTES};
use simd_json::tape::Node;
use simd_json::{Buffers, Tape};

/// Not one JSON document in UTF-8, or nested deeper than [`JSON_DEPTH`].
///
/// Beyond the RFC, a number above 64 bits is read as a float, one beyond the range of floats is refused, and so is
/// half of a surrogate pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadJson;

/// Reads documents one after the other into buffers that it keeps. The caller bounds their length: memory grows
/// with it, at worst (`[1,1,...`) by one node of the tape for every two bytes.
pub struct Reader {
    /// A copy of the document, in which its strings are decoded.
    scratch: Vec<u8>,
    buffers: Buffers,
    /// Empty between documents.
    tape: Tape<'static>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(0, JSON_DEPTH),
            tape: Tape(Vec::new()),
        }
    }
}

impl Reader {
    /// Reads one document. Strings of its views live as long as the borrow of the reader.
    ///
    /// # Errors
    /// See [`BadJson`].
    pub fn read<'a>(&'a mut self, text: &'a str) -> Result<Document<'a>, BadJson> {
        if self.scratch.capacity() > JSON_KEEP_BYTES {
            *self = Reader::default();
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(text.as_bytes());
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        match simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape) {
            Ok(()) => Ok(Document { tape, home: &mut self.tape, text }),
            Err(_) => {
                self.tape = tape.reset();
                Err(BadJson)
            }
        }
    }

    /// As [`Reader::read`], for bytes of which nobody has said yet that they are UTF-8.
    ///
    /// # Errors
    /// See [`BadJson`].
    pub fn read_bytes<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Document<'a>, BadJson> {
        self.read(simdutf8::basic::from_utf8(bytes).map_err(|_| BadJson)?)
    }
}

/// A document that was read.
pub struct Document<'a> {
    tape: Tape<'a>,
    /// Where the tape's memory goes for the next document.
    home: &'a mut Tape<'static>,
    text: &'a str,
}

impl Drop for Document<'_> {
    fn drop(&mut self) {
        *self.home = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
    }
}

impl<'a> Document<'a> {
    /// Its value.
    pub fn root(&self) -> Value<'_, 'a> {
        Value { nodes: &self.tape.0, text: self.text.trim_start_matches(BLANKS) }
    }
}

/// The white space of JSON.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// What sort of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// One value of a document.
#[derive(Clone, Copy, Debug)]
pub struct Value<'t, 'a> {
    /// Begins with the node of this value.
    nodes: &'t [Node<'a>],
    /// Begins with the first byte of this value.
    text: &'a str,
}

impl<'t, 'a> Value<'t, 'a> {
    /// What it is.
    pub fn kind(self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The decoded text of a string.
    pub fn as_str(self) -> Option<&'a str> {
        match self.nodes.first() {
            Some(Node::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value as it was sent, without white space around it.
    pub fn raw(self) -> &'a str {
        cut(self.text, 0, value_end(self.text.as_bytes()))
    }

    /// Members of an object in order, also those whose names repeat; nothing for other values.
    pub fn members(self) -> Members<'t, 'a> {
        let left = match self.nodes.first() {
            Some(Node::Object { len, .. }) => *len,
            _ => 0,
        };
        Members { rest: self.inside(), left }
    }

    /// Items of an array in order; nothing for other values.
    pub fn items(self) -> Items<'t, 'a> {
        let left = match self.nodes.first() {
            Some(Node::Array { len, .. }) => *len,
            _ => 0,
        };
        Items { rest: self.inside(), left }
    }

    /// The member of this name, the last one where it repeats (as JavaScript has it).
    pub fn get(self, name: &str) -> Option<Value<'t, 'a>> {
        self.members().filter(|(member, _)| *member == name).last().map(|(_, value)| value)
    }

    /// Behind the opening bracket.
    fn inside(self) -> Value<'t, 'a> {
        Value { nodes: self.nodes.get(1..).unwrap_or_default(), text: rest(self.text, 1) }
    }

    /// Nodes of this value, itself included.
    fn node_count(self) -> usize {
        match self.nodes.first() {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => 1 + count,
            _ => 1,
        }
    }

    /// Takes the value that follows punctuation off the front.
    fn take(&mut self) -> Value<'t, 'a> {
        self.text = self.text.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
        let value = *self;
        self.nodes = self.nodes.get(value.node_count()..).unwrap_or_default();
        self.text = rest(self.text, value_end(self.text.as_bytes()));
        value
    }
}

/// See [`Value::members`].
#[derive(Clone, Debug)]
pub struct Members<'t, 'a> {
    rest: Value<'t, 'a>,
    left: usize,
}

impl<'t, 'a> Iterator for Members<'t, 'a> {
    type Item = (&'a str, Value<'t, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = self.rest.take().as_str()?;
        Some((name, self.rest.take()))
    }
}

/// See [`Value::items`].
#[derive(Clone, Debug)]
pub struct Items<'t, 'a> {
    rest: Value<'t, 'a>,
    left: usize,
}

impl<'t, 'a> Iterator for Items<'t, 'a> {
    type Item = Value<'t, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.rest.take())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Items<'_, '_> {}

fn cut(text: &str, from: usize, to: usize) -> &str {
    text.get(from..to).unwrap_or_default()
}

fn rest(text: &str, from: usize) -> &str {
    text.get(from..).unwrap_or_default()
}

/// Length of the value at the beginning of valid JSON.
fn value_end(text: &[u8]) -> usize {
    match text.first() {
        Some(b'"') => string_end(text, 0),
        Some(b'{' | b'[') => container_end(text),
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))
            .unwrap_or(text.len()),
    }
}

/// The place behind the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if text[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    text.len()
}

fn container_end(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Bytes that cannot stand in a string as they are.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Writes `text` as the inside of a string, without quotes. What is not UTF-8 becomes U+FFFD.
pub fn escape(out: &mut Vec<u8>, text: &[u8]) {
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => escape_valid(out, text),
        Err(_) => escape_valid(out, String::from_utf8_lossy(text).as_bytes()),
    }
}

fn escape_valid(out: &mut Vec<u8>, mut text: &[u8]) {
    out.reserve(text.len());
    while let Some(at) = text.iter().position(|byte| ESCAPED[usize::from(*byte)]) {
        out.extend_from_slice(&text[..at]);
        match text[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
        }
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// Writes `text` as a string.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// Writes a document as a string, as the protocols want it that have JSON within JSON.
pub fn embedded(out: &mut Vec<u8>, document: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    document(&mut inner);
    string(out, &inner);
}

/// Writes a whole number.
pub fn number(out: &mut Vec<u8>, value: u64) {
    use std::io::Write;
    let _ = write!(out, "{value}"); // a Vec takes everything
}

/// Writes `,` unless `first`, which it clears: between the items of a list.
pub fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_found_decoded_and_as_they_were_sent() {
        let text = " {\"a\" : \"x\\n\\u00e9\\\"}\" ,\"b\":[ 1 , -2.50e1,{\"c\":[]}, true,null ],\n\"a\":{ \"d\" : {} } } ";
        let mut reader = Reader::default();
        let document = reader.read(text).unwrap();
        let root = document.root();
        assert_eq!(root.kind(), Kind::Object);
        let names: Vec<_> = root.members().map(|(name, value)| (name, value.raw())).collect();
        assert_eq!(
            names,
            [
                ("a", "\"x\\n\\u00e9\\\"}\""),
                ("b", "[ 1 , -2.50e1,{\"c\":[]}, true,null ]"),
                ("a", "{ \"d\" : {} }")
            ]
        );
        assert_eq!(root.members().next().unwrap().1.as_str(), Some("x\né\"}"));
        assert_eq!(root.get("a").unwrap().raw(), "{ \"d\" : {} }", "the last one counts");
        assert!(root.get("d").is_none());
        let items: Vec<_> = root.get("b").unwrap().items().map(|v| (v.kind(), v.raw())).collect();
        assert_eq!(
            items,
            [
                (Kind::Number, "1"),
                (Kind::Number, "-2.50e1"),
                (Kind::Object, "{\"c\":[]}"),
                (Kind::Bool, "true"),
                (Kind::Null, "null")
            ]
        );
        assert_eq!(root.items().count() + root.get("b").unwrap().members().count(), 0);
    }

    #[test]
    fn nothing_but_json_is_read() {
        let mut reader = Reader::default();
        for bad in
            ["", " ", "{", "}", "{\"a\"}", "[1,]", "{\"a\":1,}", "nul", "\"a", "\"\n\"", "1 2", "{}x", "'a'"]
        {
            assert!(reader.read(bad).is_err(), "{bad}");
        }
        for bad in ["\"\\ud800\"", "1e999", "\"\\x\"", "01", "[1", "\u{feff}{}"] {
            assert!(reader.read(bad).is_err(), "{bad}");
        }
        assert!(reader.read_bytes(b"\"\xff\"").is_err());
        assert_eq!(reader.read("123456789012345678901234567890").unwrap().root().kind(), Kind::Number);
        assert_eq!(
            reader.read("\"a\"").unwrap().root().as_str(),
            Some("a"),
            "an error leaves nothing behind"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        let mut reader = Reader::default();
        assert!(reader.read(&nested(JSON_DEPTH)).is_ok());
        assert!(reader.read(&nested(JSON_DEPTH + 2)).is_err());
        assert!(reader.read(&nested(500_000)).is_err());
        assert!(reader.read(&"[".repeat(500_000)).is_err());
    }

    #[test]
    fn a_large_document_leaves_no_memory_behind() {
        let mut reader = Reader::default();
        let large = format!("[{}]", "1,".repeat(JSON_KEEP_BYTES) + "1");
        assert_eq!(reader.read(&large).unwrap().root().items().len(), JSON_KEEP_BYTES + 1);
        assert!(reader.read("1").is_ok());
        assert!(reader.scratch.capacity() <= JSON_KEEP_BYTES);
    }

    #[test]
    fn what_is_not_utf8_is_written_as_the_replacement() {
        let mut out = Vec::new();
        string(&mut out, b"a\xff\x00\"");
        assert_eq!(out, "\"a\u{fffd}\\u0000\\\"\"".as_bytes());
    }

    /// Any JSON value as serde_json has it.
    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn same(value: Value<'_, '_>, expected: &serde_json::Value) -> bool {
        serde_json::from_str::<serde_json::Value>(value.raw()).unwrap() == *expected
            && match expected {
                serde_json::Value::String(text) => value.as_str() == Some(text),
                serde_json::Value::Array(list) => {
                    value.items().len() == list.len() && value.items().zip(list).all(|(v, e)| same(v, e))
                }
                serde_json::Value::Object(map) => {
                    value.members().count() == map.len() && value.members().all(|(n, v)| same(v, &map[n]))
                }
                _ => true,
            }
    }

    proptest! {
        #[test]
        fn every_view_is_what_serde_json_reads(tree in tree(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
            let mut reader = Reader::default();
            for _ in 0..2 {
                prop_assert!(same(reader.read(&text).unwrap().root(), &tree));
            }
        }

        #[test]
        fn strings_are_read_back(text: String) {
            let mut out = Vec::new();
            embedded(&mut out, |inner| string(inner, text.as_bytes()));
            let once: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&once).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(document) = Reader::default().read_bytes(&bytes) {
                prop_assert_eq!(document.root().raw().as_bytes(), bytes.trim_ascii());
            }
        }

        #[test]
        fn near_json_is_read_or_refused(text in "[\\[\\]{}:,\"\\\\ a1u-]{0,30}") {
            let ours = Reader::default().read(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}
