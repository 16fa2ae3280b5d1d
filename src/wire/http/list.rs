//! Comma separated header lists (RFC 9110 section 5.6.1), over one or several lines of the same name.

/// Elements of one list value: trimmed, empty ones skipped, commas inside quoted strings kept.
pub fn items(value: &[u8]) -> Items<'_> {
    Items { rest: value }
}

/// Iterator of [`items`].
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = element_end(self.rest, b',');
            let item = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !item.is_empty() {
                return Some(item);
            }
        }
        None
    }
}

/// Position of the first `separator` outside a quoted string, or the length.
fn element_end(value: &[u8], separator: u8) -> usize {
    let mut quoted = false;
    let mut at = 0;
    while at < value.len() {
        match value[at] {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            byte if byte == separator && !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    value.len()
}

/// One list element split into its token and its parameters (`gzip;q=0.5` -> `gzip`, `q=0.5`).
pub fn split_parameters(item: &[u8]) -> (&[u8], &[u8]) {
    let end = element_end(item, b';');
    (item[..end].trim_ascii(), item.get(end + 1..).unwrap_or_default().trim_ascii())
}

/// Value of parameter `name` (case-insensitive) in what follows the first `;` of a list element.
pub fn parameter<'a>(parameters: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = parameters;
    while !rest.is_empty() {
        let end = element_end(rest, b';');
        let one = rest[..end].trim_ascii();
        rest = rest.get(end + 1..).unwrap_or_default();
        if let Some(equals) = memchr::memchr(b'=', one)
            && one[..equals].trim_ascii().eq_ignore_ascii_case(name.as_bytes())
        {
            return Some(one[equals + 1..].trim_ascii());
        }
    }
    None
}

/// Whether any of the lines lists `token` (case-insensitive, parameters ignored).
pub fn contains<'a>(lines: impl IntoIterator<Item = &'a [u8]>, token: &str) -> bool {
    lines
        .into_iter()
        .flat_map(items)
        .any(|item| split_parameters(item).0.eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(value: &str) -> Vec<String> {
        items(value.as_bytes()).map(|item| String::from_utf8_lossy(item).into_owned()).collect()
    }

    #[test]
    fn elements_are_trimmed_and_empty_ones_skipped() {
        assert_eq!(collect(" a ,,\tb, "), ["a", "b"]);
        assert_eq!(collect(""), [""; 0]);
        assert_eq!(collect(",, ,"), [""; 0]);
        assert_eq!(collect(r#"a;x="1,2\",3",b"#), [r#"a;x="1,2\",3""#, "b"]);
        assert_eq!(collect(r#"a;x="1,2\"#), [r#"a;x="1,2\"#]);
    }

    #[test]
    fn tokens_are_found_over_several_lines() {
        let lines: [&[u8]; 2] = [b"keep-alive", b"foo, Upgrade;x=1"];
        assert!(contains(lines, "upgrade"));
        assert!(!contains(lines, "up"));
        assert!(!contains([b"upgraded".as_slice()], "upgrade"));
    }

    #[test]
    fn parameters_are_found_by_name() {
        let (token, parameters) = split_parameters(b"a ; x=\";q=9\"; Q = 0.5");
        assert_eq!(token, b"a");
        assert_eq!(parameter(parameters, "q"), Some(b"0.5".as_slice()));
        assert_eq!(parameter(parameters, "y"), None);
    }
}
