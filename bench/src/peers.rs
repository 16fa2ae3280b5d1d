//! Other servers to compare with: each is a script that installs and starts it. `peers/common.sh` says what a script
//! and its server must do; a script put beside it is a new peer.

use crate::server::{self, Server};
use crate::wire::Dialect;
use clap::ValueEnum as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Builds from source take minutes, on few cores the larger part of an hour.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Sourced by the scripts, and no peer.
const COMMON: &str = "common";
/// Begins the line of a script that names its dialect.
const DIALECT: &str = "# dialect: ";

/// A peer's script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name of the script without `.sh`.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    script: PathBuf,
}

/// The folder of the scripts in the source tree this program was built from.
pub fn default_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// The peers in `folder` with these names, in their order; all of them, by name, without any.
pub fn find(folder: &Path, names: &[String]) -> Result<Vec<Peer>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("no peers in {}: {e}", folder.display()))?;
    let scripts = entries.flatten().filter_map(|entry| peer_at(entry.path()));
    let mut all = scripts.collect::<Result<Vec<Peer>, String>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    if names.is_empty() {
        return Ok(all);
    }
    let by_name = |name: &String| {
        all.iter().find(|peer| peer.name == *name).cloned().ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|peer| &*peer.name).collect();
            format!("no peer {name}; there are {}", known.join(", "))
        })
    };
    names.iter().map(by_name).collect()
}

/// The peer of a script; None for what is none.
fn peer_at(script: PathBuf) -> Option<Result<Peer, String>> {
    let name = script.file_name()?.to_str()?.strip_suffix(".sh").filter(|&name| name != COMMON)?.to_owned();
    let text = fs::read_to_string(&script).map_err(|e| format!("{}: {e}", script.display()));
    let dialect = text.and_then(|text| dialect(&text).map_err(|error| format!("{name}: {error}")));
    Some(dialect.map(|dialect| Peer { name, dialect, script }))
}

/// The dialect a script names; without any, that of `common.sh`.
fn dialect(script: &str) -> Result<Dialect, String> {
    match script.lines().find_map(|line| line.strip_prefix(DIALECT)) {
        Some(name) => {
            Dialect::from_str(name.trim(), false).map_err(|_| format!("no dialect {}", name.trim()))
        }
        None => Ok(Dialect::Relay),
    }
}

impl Peer {
    /// Installs what is missing. The error is the last thing the script has said.
    pub fn install(&self) -> Result<(), String> {
        let name = format!("fanwire-bench-{}-{}.install.log", std::process::id(), self.name);
        let log = std::env::temp_dir().join(name);
        let outcome = self.install_with(&log);
        let _ = fs::remove_file(&log);
        outcome
    }

    fn install_with(&self, log: &Path) -> Result<(), String> {
        let file = File::create(log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let twin = file.try_clone().map_err(|e| e.to_string())?;
        let mut command = Command::new(&self.script);
        command.arg("install").stdin(Stdio::null()).stdout(file).stderr(twin);
        let mut child = command.spawn().map_err(|e| format!("cannot start its script: {e}"))?;
        let begun = Instant::now();
        loop {
            match child.try_wait().map_err(|e| e.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let output = fs::read(log).unwrap_or_default();
                    let said = last_line(&String::from_utf8_lossy(&output)).to_owned();
                    return Err(if said.is_empty() { format!("install: {status}") } else { said });
                }
                None if begun.elapsed() > INSTALL_TIMEOUT => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("not installed within {INSTALL_TIMEOUT:?}"));
                }
                None => sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Starts it on `core`.
    pub fn start(&self, core: usize) -> Result<Server, String> {
        let address = server::free_address()?;
        let mut command = Command::new(&self.script);
        command.arg("serve").env("PORT", address.port().to_string());
        Server::start(&self.name, command, address, core)
    }
}

fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_peers_of_the_source_tree_are_found_and_strangers_are_told() {
        let names = |peers: Vec<Peer>| peers.into_iter().map(|peer| peer.name).collect::<Vec<_>>();
        let all = names(find(&default_folder(), &[]).unwrap());
        assert!(all.is_sorted() && all.contains(&"nchan".to_owned()) && !all.contains(&COMMON.to_owned()));
        let some = ["ws".to_owned(), "nchan".to_owned()];
        assert_eq!(names(find(&default_folder(), &some).unwrap()), some);
        let error = find(&default_folder(), &["common".to_owned()]).unwrap_err();
        assert!(error.contains("no peer common; there are centrifuge"), "{error}");
        assert!(find(Path::new("/nonexistent"), &[]).is_err());
    }

    #[test]
    fn every_script_keeps_the_contract() {
        for peer in find(&default_folder(), &[]).unwrap() {
            let text = fs::read_to_string(&peer.script).unwrap();
            let name = &peer.name;
            assert!(text.contains(r#". "$(dirname "$0")/common.sh""#), "{name} sources common.sh");
            assert!(text.contains("if installing; then"), "{name} installs");
            let last = text.trim_end().lines().last().unwrap();
            assert!(last.contains("exec "), "{name} becomes the server: {last}");
            // Bash finds no mistake, and only the two verbs are known. Neither installs anything.
            let bash = |arguments: &[&str]| {
                let script = peer.script.to_str().unwrap();
                let mut command = Command::new("bash");
                command.args(arguments.iter().map(|word| if *word == "-" { script } else { word }));
                command.env("FANWIRE_BENCH_PEERS", std::env::temp_dir().join("fanwire-bench-contract"));
                command.output().unwrap()
            };
            assert!(bash(&["-n", "-"]).status.success(), "{name}");
            for verb in ["", "start"] {
                let outcome = bash(&["-", verb]);
                let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
                assert!(outcome.status.code() == Some(2) && said.contains("install|serve"), "{name}: {said}");
            }
            let mode = fs::metadata(&peer.script).unwrap().permissions().mode();
            assert!(mode & 0o111 == 0o111, "{name} may be run");
        }
        let _ = fs::remove_dir_all(std::env::temp_dir().join("fanwire-bench-contract"));
    }

    #[test]
    fn a_dialect_is_what_the_script_says_if_the_client_knows_it() {
        assert_eq!(dialect("#!/bin/bash\n# A server.\n"), Ok(Dialect::Relay));
        assert_eq!(dialect("#!/bin/bash\n# dialect: pusher\n"), Ok(Dialect::Pusher));
        assert_eq!(dialect("# dialect: sockjs\n"), Err("no dialect sockjs".to_owned()));
        let of = |name: &str| find(&default_folder(), &[name.to_owned()]).unwrap()[0].dialect;
        assert_eq!((of("centrifuge"), of("socketio")), (Dialect::Centrifuge, Dialect::Socketio));
        assert_eq!((of("sockudo"), of("ws")), (Dialect::Pusher, Dialect::Relay));
    }

    #[test]
    fn an_install_that_fails_is_told_in_its_own_words() {
        let script = std::env::temp_dir().join(format!("fanwire-bench-test-{}.sh", std::process::id()));
        let peer = Peer { name: "test".to_owned(), dialect: Dialect::Relay, script: script.clone() };
        let mut outcomes = Vec::new();
        for line in ["echo fine", "echo wait; echo no licence >&2; echo; exit 1", "exit 3"] {
            fs::write(&script, format!("#!/bin/sh\n{line}\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            outcomes.push(peer.install());
        }
        fs::remove_file(&script).unwrap();
        assert_eq!(outcomes[0], Ok(()));
        assert_eq!(outcomes[1], Err("no licence".to_owned()));
        assert!(outcomes[2].clone().unwrap_err().contains("exit status: 3"));
    }
}
