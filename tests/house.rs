//! The rules of the house (design R1 to R3) as a test: which layer may name what, where `unsafe` and the ring may
//! live, how long a file may be. Comments and string literals are blanked before anything is looked for, and every
//! rule has a bad sample below that it has to find.

#[path = "house/paths.rs"]
mod paths;
#[path = "house/text.rs"]
mod text;

use paths::{Path, module_of, paths};
use std::fmt;
use std::path::Path as FilePath;
use text::{blank, line_of, without_tests, words};

/// Lines that a file may have.
const FILE_LINES: usize = 600;
/// So many lines above an `unsafe` its reason may stand.
const SAFETY_LINES: usize = 6;

/// Each layer with the layers it may use beside itself (design, section 2).
const LAYERS: [(&str, &[&str]); 7] = [
    ("limits", &[]),
    ("wire", &["limits"]),
    ("channel", &["limits"]),
    ("dialect", &["limits", "wire", "channel"]),
    ("shard", &["limits", "wire", "channel", "dialect"]),
    ("service", &["limits", "wire", "channel"]),
    ("node", &["limits", "wire", "channel", "dialect", "shard", "service"]),
];

/// Modules of `src/dialect` that are not a dialect but what all of them share.
const DIALECTS_SHARE: [&str; 7] = ["app", "encode", "grant", "http", "mod", "session", "upgrade"];

/// Layers that do no I/O and know no clock.
const PURE: [&str; 3] = ["wire", "channel", "dialect"];

/// Crates that only some files may name.
const CRATES: [(&str, &[&str]); 10] = [
    ("jsonwebtoken", &["src/wire/jwt"]),
    ("monoio", &["src/shard/rt"]),
    ("io_uring", &["src/shard/rt", "src/shard/net", "src/cli/doctor"]),
    ("io_uring_06", &["src/shard/rt", "src/shard/net", "src/cli/doctor"]),
    ("libc", &["src/shard/", "src/node/host", "src/cli/doctor"]),
    ("crossbeam", &["src/shard/", "src/service/store/"]),
    ("rusqlite", &["src/service/store/"]),
    ("rustls", &["src/shard/tls", "src/node/tls"]),
    ("tokio_rustls", &["src/service/hooks/"]),
    ("rustls_native_certs", &["src/service/hooks/"]),
];

/// Modules of the standard library that a pure layer leaves alone.
const NOT_PURE: [&str; 6] = ["net", "fs", "env", "os", "process", "thread"];
/// Plain values of a module above.
const PURE_AFTER_ALL: [&str; 7] =
    ["SocketAddr", "SocketAddrV4", "SocketAddrV6", "IpAddr", "Ipv4Addr", "Ipv6Addr", "AddrParseError"];
/// Clocks, randomness, thread-locals and output by their call.
const NOT_PURE_CALLS: [&str; 11] = [
    "Instant::now",
    "SystemTime::now",
    "thread_local!",
    "rand::",
    "getrandom::",
    "fastrand::",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "dbg!",
];

/// Files that may contain `unsafe`.
const UNSAFE: [&str; 6] = [
    "src/shard/",
    "bench/",
    "src/node/host.rs",
    "src/node/host/",
    "src/node/memory.rs",
    "tests/faults/system.rs",
];

/// What is never committed.
const UNFINISHED: [&str; 4] = ["#[ignore", "todo!", "unimplemented!", "unreachable_unchecked"];

/// Endings of files that people write and read.
const WRITTEN: [&str; 11] = ["rs", "js", "mjs", "cjs", "ts", "py", "sh", "html", "css", "toml", "md"];

/// A rule that was broken.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    rule: &'static str,
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// Everything that is wrong with one file; `dialects` are the names of all dialects.
fn check(file: &str, source: &str, dialects: &[String]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let lines = source.lines().count();
    if lines > FILE_LINES {
        broken.push(Broken {
            rule: "length",
            file: file.into(),
            line: lines,
            what: format!("{lines} lines"),
        });
    }
    if !file.ends_with(".rs") {
        return broken;
    }
    let code = blank(source);
    let mut found = |rule, at: usize, what: &str| {
        broken.push(Broken { rule, file: file.into(), line: line_of(&code, at), what: what.into() });
    };
    unsafe_code(file, source, &code, &mut found);
    for word in UNFINISHED {
        words(&code, word).for_each(|at| found("unfinished", at, word));
    }
    if file.starts_with("src/") {
        let production = if is_test_file(file) { String::new() } else { without_tests(&code) };
        crates(file, &code, &mut found);
        layers(file, &code, &production, dialects, &mut found);
        pure(file, &production, &mut found);
    }
    broken
}

type Found<'a> = dyn FnMut(&'static str, usize, &str) + 'a;

fn unsafe_code(file: &str, source: &str, code: &str, found: &mut Found<'_>) {
    let lines: Vec<&str> = source.lines().collect();
    for at in words(code, "unsafe") {
        if !UNSAFE.iter().any(|place| file.starts_with(place)) {
            found("unsafe", at, "in a file that may not have it");
        }
        let line = line_of(code, at);
        let near = &lines[line.saturating_sub(SAFETY_LINES + 1)..line];
        if !near.iter().any(|l| l.contains("SAFETY") || l.contains("# Safety")) {
            found("unsafe", at, "without a SAFETY comment");
        }
    }
}

fn crates(file: &str, code: &str, found: &mut Found<'_>) {
    for (name, places) in CRATES {
        if places.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        for path in paths(code, &[name, "crossbeam_channel", "crossbeam_utils", "crossbeam_queue"]) {
            if path.segments[0] == name || (name == "crossbeam" && path.segments[0].starts_with(name)) {
                found("crate", path.at, &path.segments.join("::"));
            }
        }
    }
}

fn layers(file: &str, code: &str, production: &str, dialects: &[String], found: &mut Found<'_>) {
    let module = module_of(file);
    let Some(layer) = module.first() else { return }; // main.rs, lib.rs: everything
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == layer) else { return };
    let mut used: Vec<Path> = paths(code, &["crate", "fanwire"]);
    // Where `super` leads depends on inline modules; those of tests are left out.
    used.extend(paths(production, &["super"]).into_iter().filter_map(|path| path.absolute(&module)));
    for path in used {
        let name = path.segments.join("::");
        match path.segments.get(1) {
            Some(to) if to == layer || allowed.contains(&to.as_str()) => {}
            _ => found("layer", path.at, &name),
        }
        let [_, from, ..] = &module[..] else { continue };
        let other = path.segments.get(2).filter(|_| path.segments[1] == "dialect");
        if layer == "dialect"
            && dialects.contains(from)
            && other.is_some_and(|to| to != from && dialects.contains(to))
        {
            found("dialect", path.at, &name);
        }
    }
}

fn pure(file: &str, production: &str, found: &mut Found<'_>) {
    if !PURE.iter().any(|layer| file.starts_with(&format!("src/{layer}/"))) {
        return;
    }
    for path in paths(production, &["std"]) {
        let [_, module, rest @ ..] = &path.segments[..] else { continue };
        let value = rest.first().is_some_and(|name| PURE_AFTER_ALL.contains(&name.as_str()));
        if NOT_PURE.contains(&module.as_str()) && !value {
            found("pure", path.at, &path.segments.join("::"));
        }
    }
    for call in NOT_PURE_CALLS {
        words(production, call).for_each(|at| found("pure", at, call));
    }
}

fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// The names of the dialects: what lies in `src/dialect` and is not shared.
fn dialects(files: &[(String, String)]) -> Vec<String> {
    let mut names: Vec<String> = files
        .iter()
        .filter_map(|(file, _)| file.strip_prefix("src/dialect/"))
        .map(|rest| rest.split(['/', '.']).next().unwrap_or(rest).to_string())
        .filter(|name| !DIALECTS_SHARE.contains(&name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// All files below `folder` that people write, as (path from `root`, text).
fn walk(root: &FilePath, folder: &FilePath, files: &mut Vec<(String, String)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.map(|e| e.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !["target", "node_modules"].contains(&&*name) {
                walk(root, &path, files);
            }
        } else if WRITTEN.iter().any(|ending| name.ends_with(&format!(".{ending}")))
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            files.push((path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text));
        }
    }
}

#[test]
fn the_house_is_in_order() {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "bench", "tests"] {
        walk(root, &root.join(folder), &mut files);
    }
    assert!(files.iter().any(|(file, _)| file == "src/channel/core.rs"), "the walk finds the sources");
    let dialects = dialects(&files);
    let broken: Vec<String> =
        files.iter().flat_map(|(file, text)| check(file, text, &dialects)).map(|b| b.to_string()).collect();
    assert!(broken.is_empty(), "{} rules broken:\n{}", broken.len(), broken.join("\n"));
}

#[cfg(test)]
mod samples {
    use super::*;

    /// The rules that `source` breaks as `file`.
    fn rules(file: &str, source: &str) -> Vec<&'static str> {
        let dialects = ["relay".to_string(), "echo".to_string()];
        check(file, source, &dialects).iter().map(|b| b.rule).collect()
    }

    #[test]
    fn layers_are_kept() {
        let bad = [
            ("src/wire/sse.rs", "use crate::channel::Now;"),
            ("src/wire/sse.rs", "fn f() { crate::dialect::f() }"),
            ("src/wire/sse.rs", "use crate::{limits::A, channel::B};"),
            ("src/wire/mod.rs", "use super::channel;"),
            ("src/wire/ws/mask.rs", "use super::super::super::shard::x;"),
            ("src/channel/core.rs", "use crate::wire::http;"),
            ("src/dialect/mod.rs", "use crate::shard::Shard;"),
            ("src/shard/mod.rs", "use crate::service::hooks;"),
            ("src/shard/mod.rs", "use crate::node::boot;"),
            ("src/service/hooks.rs", "use crate::shard::mailbox;"),
            ("src/node/boot.rs", "use crate::cli::args;"),
            ("src/limits.rs", "use crate::wire::http;"),
            ("src/wire/sse.rs", "use crate::*;"),
        ];
        for (file, source) in bad {
            assert_eq!(rules(file, source), ["layer"], "{file}: {source}");
        }
        let good = [
            ("src/wire/sse.rs", "use crate::limits::A; use crate::wire::http; use super::http::x;"),
            ("src/wire/mod.rs", "mod a; use self::a::B; #[cfg(test)]\nmod tests { use super::*; }"),
            ("src/wire/sse.rs", "// use crate::channel\nconst A: &str = \"use crate::channel::B;\";"),
            (
                "src/dialect/mod.rs",
                "use crate::channel::Now; use crate::wire::ws; use crate::dialect::relay;",
            ),
            ("src/shard/mod.rs", "use crate::{dialect::{Dialects, encode}, channel, wire, limits};"),
            ("src/cli/serve.rs", "use crate::node::boot;"),
            ("src/main.rs", "use fanwire::cli;"),
        ];
        for (file, source) in good {
            assert_eq!(rules(file, source), [""; 0], "{file}: {source}");
        }
    }

    #[test]
    fn dialects_do_not_know_each_other() {
        for source in
            ["use crate::dialect::echo::Echo;", "use super::echo::Echo;", "use crate::dialect::{Form, echo};"]
        {
            assert_eq!(rules("src/dialect/relay/mod.rs", source), ["dialect"], "{source}");
        }
        assert_eq!(rules("src/dialect/relay/http.rs", "use super::super::echo::Echo;"), ["dialect"]);
        assert_eq!(rules("src/dialect/echo.rs", "use crate::dialect::relay;"), ["dialect"]);
        assert!(
            rules("src/dialect/relay/http.rs", "use super::echo::A; use crate::dialect::Form;").is_empty()
        );
        assert!(rules("src/dialect/session.rs", "use crate::dialect::{echo, relay};").is_empty());
    }

    #[test]
    fn the_ring_stays_in_its_modules() {
        let bad = [
            ("src/wire/ws/frame.rs", "fn f() { libc::send(1); }"),
            ("src/node/boot.rs", "use libc;"),
            ("src/shard/mod.rs", "use monoio::net::TcpStream;"),
            ("src/shard/flush.rs", "use io_uring::IoUring;"),
            ("src/shard/mod.rs", "use io_uring_06::Builder;"),
            ("src/service/hooks.rs", "use crossbeam_channel::Sender;"),
            ("src/node/boot.rs", "use {monoio::x, std::fs};"),
            ("src/node/boot.rs", "use rusqlite::Connection;"),
        ];
        for (file, source) in bad {
            assert_eq!(rules(file, source), ["crate"], "{file}: {source}");
        }
        let good = [
            ("src/shard/rt.rs", "use monoio::net; use io_uring_06::Builder;"),
            ("src/shard/net.rs", "use io_uring::IoUring; use libc::recv;"),
            ("src/shard/mailbox.rs", "use crossbeam_channel::bounded;"),
            ("src/cli/doctor.rs", "use io_uring::IoUring; use libc::uname;"),
            ("src/node/host.rs", "use libc::sysconf;"),
            ("src/node/metrics.rs", "let io_uring = driver.io_uring;"),
        ];
        for (file, source) in good {
            assert_eq!(rules(file, source), [""; 0], "{file}: {source}");
        }
    }

    #[test]
    fn pure_layers_are_pure() {
        let bad = [
            "use std::net::TcpStream;",
            "use std::{fmt, fs};",
            "fn f() { std::env::var(\"A\"); }",
            "fn f() { std::time::Instant::now(); }",
            "use std::time::SystemTime; fn f() { SystemTime::now(); }",
            "thread_local! { static A: u8 = 1; }",
            "fn f() -> u8 { rand::random() }",
            "fn f() { println!(); }",
            "use std::net::{IpAddr, TcpListener};",
            "use std::net::*;",
        ];
        for source in bad {
            for layer in PURE {
                assert_eq!(rules(&format!("src/{layer}/x.rs"), source), ["pure"], "{source}");
            }
            assert!(rules("src/node/x.rs", source).is_empty());
        }
        let good = [
            "use std::net::{IpAddr, SocketAddr}; use std::time::Duration;",
            "/// Instant::now() is not called.\nfn f(operand: u8) { let grand = operand; }",
            "#[cfg(test)]\nmod tests { fn f() { let a = '{'; std::time::Instant::now(); } }",
            "const A: &str = r#\"std::fs \" \"#; fn f<'a>(a: &'a str) -> char { '\\'' }",
        ];
        for source in good {
            assert_eq!(rules("src/wire/x.rs", source), [""; 0], "{source}");
        }
        assert_eq!(
            rules("src/wire/x.rs", "#[cfg(test)]\nmod tests { fn f() {} }\nfn g() { dbg!(1); }"),
            ["pure"],
            "code after the tests counts"
        );
    }

    #[test]
    fn unsafe_is_listed_and_explained() {
        let explained = "// SAFETY: nobody else has it.\nunsafe { f() }";
        assert!(rules("src/shard/net.rs", explained).is_empty());
        assert!(rules("bench/src/main.rs", explained).is_empty());
        assert_eq!(rules("src/wire/ws/mask.rs", explained), ["unsafe"]);
        assert_eq!(rules("tests/support/mod.rs", explained), ["unsafe"]);
        assert_eq!(rules("src/shard/net.rs", "unsafe { f() }"), ["unsafe"]);
        let far = format!("// SAFETY: far away.{}unsafe {{ f() }}", "\n".repeat(SAFETY_LINES + 1));
        assert_eq!(rules("src/shard/net.rs", &far), ["unsafe"]);
        assert!(rules("src/wire/x.rs", "#![deny(unsafe_op_in_unsafe_fn)] // unsafe").is_empty());
    }

    #[test]
    fn files_stay_short_and_finished() {
        assert_eq!(rules("tests/x.rs", &"\n".repeat(FILE_LINES + 1)), ["length"]);
        assert_eq!(rules("tests/clients/x.mjs", &"a\n".repeat(FILE_LINES + 1)), ["length"]);
        assert!(rules("tests/x.rs", &"\n".repeat(FILE_LINES)).is_empty());
        assert_eq!(rules("src/node/x.rs", "fn f() { todo!() }"), ["unfinished"]);
        assert_eq!(rules("bench/src/x.rs", "fn f() { unimplemented!(\"x\") }"), ["unfinished"]);
        assert_eq!(rules("tests/x.rs", "#[test]\n#[ignore]\nfn f() {}"), ["unfinished"]);
        assert_eq!(rules("tests/x.rs", "#[ignore = \"slow\"]\nfn f() {}"), ["unfinished"]);
    }

    #[test]
    fn dialects_are_what_is_not_shared() {
        let files =
            ["src/dialect/mod.rs", "src/dialect/echo.rs", "src/dialect/relay/http.rs", "src/wire/x.rs"];
        let files: Vec<_> = files.iter().map(|f| (f.to_string(), String::new())).collect();
        assert_eq!(dialects(&files), ["echo", "relay"]);
    }

    #[test]
    fn a_finding_names_its_line() {
        let found = check("src/wire/x.rs", "/* two\nlines */\nuse crate::shard::X;", &[]);
        assert_eq!(found[0].to_string(), "src/wire/x.rs:3: layer: crate::shard::X");
    }
}
