//! Paths in blanked code: `a::b::C` and what `use a::{b, c::D};` spells out.

use crate::text::words;

/// One path, its braces spelled out.
#[derive(Debug, PartialEq, Eq)]
pub struct Path {
    /// The byte where it starts.
    pub at: usize,
    pub segments: Vec<String>,
}

impl Path {
    /// A path that starts with `super`, from the root: `crate` first. None while it stays in its own module.
    pub fn absolute(self, module: &[String]) -> Option<Path> {
        let ups = self.segments.iter().take_while(|s| *s == "super").count();
        let mut segments = vec!["crate".to_string()];
        segments.extend_from_slice(&module[..module.len().saturating_sub(ups)]);
        segments.extend_from_slice(&self.segments[ups..]);
        (segments.len() > 1).then_some(Path { at: self.at, segments })
    }
}

/// The module that a file below `src` is, from the root; empty for the root itself.
pub fn module_of(file: &str) -> Vec<String> {
    let inside = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = inside.split('/').map(str::to_string).collect();
    if matches!(module.last().map(String::as_str), Some("mod")) || matches!(inside, "lib" | "main") {
        module.pop();
    }
    module
}

/// All paths in `code` that start with one of `roots`. A root that stands alone counts after `use` or a brace of it.
pub fn paths(code: &str, roots: &[&str]) -> Vec<Path> {
    let mut found = Vec::new();
    for root in roots {
        for at in words(code, root) {
            let before = code[..at].trim_end();
            let after = &code[at + root.len()..];
            // `x::root`, `.root` are other things, and so is the later `super` of a chain.
            if (before.ends_with("::") && !begins_path(before)) || before.ends_with('.') {
                continue;
            }
            let alone = !after.trim_start().starts_with("::");
            if alone && !(before.ends_with("use") && after.trim_start().starts_with([';', 'a'])) {
                continue;
            }
            let mut segments = Vec::new();
            tree(&code[at..], at, &mut segments, &mut found);
        }
    }
    found
}

/// Whether the `::` that `before` ends with stands at a path's beginning: `::std::fs`.
fn begins_path(before: &str) -> bool {
    let before = before.trim_end_matches("::");
    !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>')
}

/// Reads one path with its braces; returns the bytes it takes.
fn tree(code: &str, at: usize, prefix: &mut Vec<String>, found: &mut Vec<Path>) -> usize {
    let mut read = code.len() - code.trim_start().len();
    let depth = prefix.len();
    loop {
        let rest = &code[read..];
        if rest.starts_with('{') {
            read += 1;
            loop {
                read += code[read..].len() - code[read..].trim_start_matches([' ', '\n', ',', '\t']).len();
                if read >= code.len() || code[read..].starts_with('}') {
                    break;
                }
                let taken = tree(&code[read..], at, prefix, found);
                // `as name` after it, or anything that is no path: on to the next.
                read += taken;
                read += code[read..].find([',', '}']).unwrap_or(code.len() - read);
            }
            read = (read + 1).min(code.len());
            break;
        }
        let end = match rest.starts_with('*') {
            true => 1,
            false => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        if end > 0 {
            prefix.push(rest[..end].to_string());
            read += end;
        }
        if end > 0 && code[read..].trim_start().starts_with("::") {
            read += code[read..].find("::").unwrap_or(0) + 2;
            read += code[read..].len() - code[read..].trim_start().len();
            continue;
        }
        found.push(Path { at, segments: prefix.clone() });
        break;
    }
    prefix.truncate(depth);
    read
}
