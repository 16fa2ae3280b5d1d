//! The views of JSON documents, against another parser: both accept the same documents and see the same values, and the
//! original bytes of every value are that value. What is written as a string is read as that text.

use fanwire::limits::JSON_DEPTH;
use fanwire::wire::json::{Kind, Reader, Value, string};
use serde_json::Value as Other;

use super::input::Input;

/// The other parser does not go deeper.
const OTHER_DEPTH: usize = 127;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let mut reader = Reader::default();
    document(&mut reader, input.body);
    // The buffers of one document do not show in the next.
    for part in input.cut(input.body).into_iter().take(4) {
        document(&mut reader, part);
    }
    let mut written = Vec::new();
    string(&mut written, input.body);
    let text = String::from_utf8_lossy(input.body);
    assert_eq!(serde_json::from_slice::<Other>(&written).expect("JSON"), Other::from(&*text));
    let read = reader.read_bytes(&written).expect("own strings are readable");
    assert_eq!(read.root().as_str(), Some(&*text));
}

fn document(reader: &mut Reader, bytes: &[u8]) {
    let depth = depth(bytes);
    let other = serde_json::from_slice::<Other>(bytes);
    match (reader.read_bytes(bytes), other) {
        (Ok(document), Ok(other)) => {
            assert!(depth <= JSON_DEPTH);
            same(document.root(), &other);
        }
        (Err(_), Ok(_)) => assert!(depth >= JSON_DEPTH || has_numbers(bytes), "refused here only"),
        (Ok(_), Err(error)) => {
            assert!(depth > OTHER_DEPTH || has_numbers(bytes), "accepted here only: {error}");
        }
        (Err(_), Err(_)) => {}
    }
}

fn same(value: Value<'_, '_>, other: &Other) {
    let raw: Result<Other, _> = serde_json::from_str(value.raw());
    assert_eq!(raw.as_ref().ok(), Some(other), "the original bytes");
    let kind = match other {
        Other::Null => Kind::Null,
        Other::Bool(_) => Kind::Bool,
        Other::Number(_) => Kind::Number,
        Other::String(_) => Kind::String,
        Other::Array(_) => Kind::Array,
        Other::Object(_) => Kind::Object,
    };
    assert_eq!(value.kind(), kind);
    assert_eq!(value.as_str(), other.as_str());
    let items = other.as_array().map_or(&[][..], |items| items);
    assert_eq!(value.items().len(), items.len());
    value.items().zip(items).for_each(|(item, other)| same(item, other));
    for (name, _) in value.members() {
        let member = value.get(name).expect("a member that is there");
        same(member, &other[name]);
    }
    let names: std::collections::BTreeSet<&str> = value.members().map(|(name, _)| name).collect();
    assert_eq!(names.len(), other.as_object().map_or(0, serde_json::Map::len));
}

/// The two may differ about numbers that no program can hold, which take more than a few digits.
fn has_numbers(json: &[u8]) -> bool {
    json.iter().filter(|byte| byte.is_ascii_digit()).count() > 2
}

/// At least as deep as the document nests.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    for byte in bytes {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}
