//! The fanwire that a run starts: the one beside this program. Where it is missing, cargo builds it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What to type where it is missing and cannot be built.
const BUILD: &str = "cargo build --release --bin fanwire";

/// Which fanwire it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its version.
    pub version: String,
    /// The I/O driver it takes on this machine.
    pub driver: String,
}

/// The program beside this one, built if it is not there and this program runs from where cargo builds. To be asked
/// before this thread is pinned to a core: what it starts would be pinned with it.
pub fn ensure() -> Result<Node, String> {
    let own = env::current_exe().map_err(|e| e.to_string())?;
    let binary = own.with_file_name("fanwire");
    if !binary.is_file() {
        build(&own)?;
    }
    if !binary.is_file() {
        return Err(format!("cargo did not put fanwire beside this program. Build it with: {BUILD}"));
    }
    Ok(Node::ask(&binary))
}

impl Node {
    fn ask(binary: &Path) -> Node {
        let say = |word: &str| {
            let output = Command::new(binary).arg(word).stdin(Stdio::null()).stderr(Stdio::null()).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        Node { version: version(&say("--version")), driver: driver(&say("doctor")) }
    }
}

/// From `fanwire 1.2.3`.
fn version(said: &str) -> String {
    said.split_whitespace().nth(1).unwrap_or("of unknown version").to_owned()
}

/// From the line `ok   driver: io_uring (..)` of `fanwire doctor`.
fn driver(said: &str) -> String {
    let line = said.lines().find_map(|line| line.split_once("driver: "));
    line.map_or("driver unknown", |(_, driver)| driver.trim()).to_owned()
}

/// Builds fanwire with the profile and into the place that this program, `own`, was built with.
fn build(own: &Path) -> Result<(), String> {
    let missing = || format!("fanwire is missing beside this program. Build it with: {BUILD}");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let options = build_options(own).filter(|_| manifest.is_file()).ok_or_else(missing)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.arg("build").args(["--bin", "fanwire", "--manifest-path"]).arg(&manifest).args(&options.words);
    // What this says is not the run's output.
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    eprintln!(
        "  fanwire is not built yet; building it once, which takes some minutes: {}",
        if options.release { BUILD } else { "cargo build --bin fanwire" }
    );
    if !options.release {
        eprintln!(
            "  THIS IS A DEBUG BUILD: its figures mean nothing. Use cargo run --release -p fanwire-bench"
        );
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("fanwire was not built: see above, or try {BUILD}")),
        Err(_) => Err(missing()),
    }
}

struct BuildOptions {
    words: Vec<OsString>,
    release: bool,
}

/// The options that make cargo put a binary beside `own`; None where that is no folder of cargo's.
fn build_options(own: &Path) -> Option<BuildOptions> {
    let folder = own.parent()?;
    let release = match folder.file_name()?.to_str()? {
        "release" => true,
        "debug" => false,
        _ => return None,
    };
    let mut target: PathBuf = folder.parent()?.to_owned();
    if !["CACHEDIR.TAG", ".rustc_info.json"].iter().any(|mark| target.join(mark).is_file()) {
        // One level more where a target triple was named.
        let triple = target.file_name()?.to_owned();
        target = target.parent()?.to_owned();
        if !target.join("CACHEDIR.TAG").is_file() {
            return None;
        }
        let mut options = build_words(&target, release);
        options.words.extend(["--target".into(), triple]);
        return Some(options);
    }
    Some(build_words(&target, release))
}

fn build_words(target: &Path, release: bool) -> BuildOptions {
    let mut words: Vec<OsString> = vec!["--target-dir".into(), target.into()];
    words.extend(release.then(|| "--release".into()));
    BuildOptions { words, release }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_build_goes_where_this_program_is() {
        let target = env::temp_dir().join(format!("fanwire-bench-node-{}", std::process::id()));
        fs::create_dir_all(&target).unwrap();
        let of = |own: &str| build_options(&target.join(own));
        assert!(of("release/fanwire-bench").is_none(), "no mark of cargo's");
        fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        let words = |own: &str| of(own).map(|options| options.words);
        let dir: OsString = target.clone().into();
        assert_eq!(
            words("release/fanwire-bench").unwrap(),
            ["--target-dir".into(), dir.clone(), "--release".into()]
        );
        assert_eq!(words("debug/fanwire-bench").unwrap(), ["--target-dir".into(), dir.clone()]);
        let triple = words("x86_64-unknown-linux-musl/release/fanwire-bench").unwrap();
        assert_eq!(triple[3..], ["--target", "x86_64-unknown-linux-musl"]);
        assert!(words("other/fanwire-bench").is_none());
        fs::remove_dir_all(&target).unwrap();
        assert!(build_options(Path::new("/usr/bin/fanwire-bench")).is_none());
    }

    #[test]
    fn what_the_node_says_of_itself_is_understood() {
        assert_eq!(version("fanwire 0.1.0\n"), "0.1.0");
        assert_eq!(version(""), "of unknown version");
        let doctor = "warn open files\nok   driver: io_uring (SINGLE_ISSUER|DEFER_TASKRUN)\n";
        assert_eq!(driver(doctor), "io_uring (SINGLE_ISSUER|DEFER_TASKRUN)");
        assert_eq!(driver("warn nothing"), "driver unknown");
    }
}
