//! Request targets: path, query, percent-decoding and path normalisation.

use std::borrow::Cow;

/// A `%` that is not followed by two hex digits, or a decoded text that is not UTF-8 where text is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEscape;

/// A path that climbs above the root (`/../x`), or does not start at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPath;

/// A target in origin form, split at the first `?`. Nothing is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Everything before the `?`.
    pub path_raw: &'a str,
    /// Everything after it; `None` without a `?`.
    pub query_raw: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Splits a target.
    pub fn parse(target: &'a str) -> Self {
        match target.split_once('?') {
            Some((path_raw, query)) => Target { path_raw, query_raw: Some(query) },
            None => Target { path_raw: target, query_raw: None },
        }
    }

    /// The raw value of the first `name=` in the query, like nginx's `$arg_name`: the name without regard to
    /// case, the value **not** decoded (nchan.md section 1). An argument without `=` does not count.
    pub fn arg(&self, name: &str) -> Option<&'a str> {
        self.args().find(|(key, value)| value.is_some() && key.eq_ignore_ascii_case(name))?.1
    }

    /// All arguments of the query in order, not decoded: key, and value if there is a `=`.
    pub fn args(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        pairs(self.query_raw.unwrap_or_default())
    }
}

/// Pairs of a query or of a form body (`a=1&b`), not decoded; empty pieces are skipped.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.split('&').filter(|piece| !piece.is_empty()).map(|piece| match piece.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (piece, None),
    })
}

/// Percent-decodes once; borrows when there is nothing to decode. `+` stays: it means a blank only in forms.
///
/// # Errors
/// A `%` without two hex digits.
pub fn decode(raw: &[u8]) -> Result<Cow<'_, [u8]>, BadEscape> {
    let Some(first) = memchr::memchr(b'%', raw) else { return Ok(Cow::Borrowed(raw)) };
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let [high, low, tail @ ..] = after else { return Err(BadEscape) };
            out.push(hex(*high).ok_or(BadEscape)? << 4 | hex(*low).ok_or(BadEscape)?);
            rest = tail;
        } else {
            out.push(byte);
            rest = after;
        }
    }
    Ok(Cow::Owned(out))
}

/// [`decode`] for what has to be text.
///
/// # Errors
/// As [`decode`], and when the result is not UTF-8.
pub fn decode_text(raw: &str) -> Result<Cow<'_, str>, BadEscape> {
    match decode(raw.as_bytes())? {
        Cow::Borrowed(_) => Ok(Cow::Borrowed(raw)),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| BadEscape),
    }
}

/// [`decode_text`] for values of `application/x-www-form-urlencoded`, where `+` is a blank.
///
/// # Errors
/// As [`decode_text`].
pub fn decode_form(raw: &str) -> Result<Cow<'_, str>, BadEscape> {
    if !raw.contains('+') {
        return decode_text(raw);
    }
    decode_text(&raw.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Normalises a path as nginx does to a decoded one: runs of `/` become one, `.` and `..` segments go.
/// Borrows when there is nothing to do.
///
/// # Errors
/// The path does not start with `/` or a `..` leads above the root.
pub fn normalize(path: &[u8]) -> Result<Cow<'_, [u8]>, BadPath> {
    if path.first() != Some(&b'/') {
        return Err(BadPath);
    }
    // One look tells nearly every path: nothing is empty, `.` or `..`, which all would begin behind a slash.
    if !path.windows(2).any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.')) {
        return Ok(Cow::Borrowed(path));
    }
    let plain = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..");
    let segments = || path[1..].split(|byte| *byte == b'/');
    let mut from_end = segments().rev();
    let last = from_end.next().unwrap_or_default();
    if (plain(last) || last.is_empty()) && from_end.all(plain) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in segments() {
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = memchr::memrchr(b'/', &out).ok_or(BadPath)?;
                out.truncate(parent);
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if !plain(last) {
        out.push(b'/');
    }
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arguments_are_found_raw_and_first() {
        let target = Target::parse("/sub?x&id&ID=a%2Cb&id=second&e=&y=1=2?3");
        assert_eq!(target.path_raw, "/sub");
        assert_eq!(target.arg("id"), Some("a%2Cb"));
        assert_eq!(target.arg("e"), Some(""));
        assert_eq!(target.arg("y"), Some("1=2?3"));
        assert_eq!(target.arg("x"), None);
        assert_eq!(target.arg("d"), None);
        assert_eq!(target.args().count(), 6);
        assert_eq!(Target::parse("/a").query_raw, None);
        assert_eq!(Target::parse("/a?").query_raw, Some(""));
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode(b"a%20b%2Fc%2520+").unwrap().as_ref(), b"a b/c%20+");
        assert!(matches!(decode(b"plain+"), Ok(Cow::Borrowed(b"plain+"))));
        for bad in ["%", "%2", "a%2", "%g0", "%0g", "%%41", "%+1"] {
            assert_eq!(decode(bad.as_bytes()), Err(BadEscape), "{bad}");
        }
        assert_eq!(decode(b"%00%ff").unwrap().as_ref(), [0, 0xff]);
        assert_eq!(decode_text("%ff"), Err(BadEscape));
        assert_eq!(decode_form("a+b%2B").unwrap(), "a b+");
    }

    #[test]
    fn paths_are_normalised_and_stay_below_the_root() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            ("/./a/./b/.", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/..a/.b./...", "/..a/.b./..."),
        ] {
            assert_eq!(normalize(path.as_bytes()).unwrap().as_ref(), expected.as_bytes(), "{path}");
        }
        for bad in ["", "a", "/..", "/../a", "/a/../../b", "/a//../.."] {
            assert_eq!(normalize(bad.as_bytes()), Err(BadPath), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn normalising_is_done_after_one_time(path in "/[./a%]{0,20}") {
            if let Ok(once) = normalize(path.as_bytes()) {
                prop_assert!(once.starts_with(b"/") && !once.windows(2).any(|pair| pair == b"//"));
                let twice = normalize(&once).unwrap();
                prop_assert_eq!(&twice, &once);
            }
        }

        #[test]
        fn decoding_any_bytes_never_grows(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(out) = decode(&raw) {
                prop_assert!(out.len() <= raw.len());
            }
        }
    }
}
