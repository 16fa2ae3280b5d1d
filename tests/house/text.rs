//! Rust source as text: what is code in it, and where.

/// `source` with comments, strings and character literals turned into spaces. Length and lines stay as they are.
pub fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = at
            + match rest {
                [b'/', b'/', ..] => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
                [b'/', b'*', ..] => block_comment(rest),
                [b'"', ..] => quoted(rest),
                [b'r', b'"' | b'#', ..] if !is_word_before(bytes, at) => raw_string(rest),
                [b'b' | b'c', b'r', b'"' | b'#', ..] if !is_word_before(bytes, at) => {
                    raw_string(&rest[1..]) + 1
                }
                [b'\'', ..] => character(rest),
                _ => 0,
            };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    // Only whole characters were blanked, each byte by a space.
    String::from_utf8(out).expect("still UTF-8")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."` or `r#"..."#`; 0 for a raw identifier.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = 2 + hashes;
    rest[body..].windows(close.len()).position(|w| w == close).map_or(rest.len(), |n| body + n + close.len())
}

/// A character literal; 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    let text = String::from_utf8_lossy(&rest[..rest.len().min(16)]);
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].iter().position(|&b| b == b'\'').map_or(0, |n| n + 4),
        Some(_) => chars.next().filter(|&(_, c)| c == '\'').map_or(0, |(n, _)| n + 1),
        None => 0,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1])
}

/// Where `word` stands in `code` and is not part of a longer word.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let after = at + word.len();
        let open = bytes.get(after).is_none_or(|&b| !is_word(b)) || word.ends_with(':');
        open && !(is_word_before(bytes, at) && is_word(word.as_bytes()[0]))
    })
}

/// The line of byte `at`, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1
}

/// Blanked code with the bodies of `#[cfg(test)]` modules turned into spaces too.
pub fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (at, mark) in code.match_indices("#[cfg(test)]") {
        let rest = code[at + mark.len()..].trim_start();
        let module = rest.strip_prefix("pub ").unwrap_or(rest).starts_with("mod ");
        let from = code.len() - rest.len();
        let Some(open) = code[from..].find(['{', ';']).map(|n| from + n) else { continue };
        if !module || code.as_bytes()[open] == b';' {
            continue;
        }
        let mut depth = 0;
        for byte in &mut out[open..] {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'\n' => continue,
                _ => {}
            }
            *byte = b' ';
            if depth == 0 {
                break;
            }
        }
    }
    String::from_utf8(out).expect("still UTF-8")
}
