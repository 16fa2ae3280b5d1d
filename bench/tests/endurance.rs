//! The scenarios about endurance against a server that misbehaves on purpose: they must fail where it does, say why, and
//! pass where it does not.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs the bench against `tests/faulty.py` with `fault`.
fn bench(fault: &str, arguments: &str) -> Output {
    let server = format!("exec python3 {}/tests/faulty.py {{port}} {fault}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire-bench"));
    command.args(arguments.split_whitespace()).args(["--server", &server, "--name", "faulty"]);
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("status {:?}\n{out}\n{err}", output.status.code())
}

/// It fails, with `reason`.
fn fails(fault: &str, arguments: &str, reason: &str) {
    let output = bench(fault, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains(reason), "no {reason:?}: {}", told(&output));
}

const SLOW: &str = "slow --subscribers 20 --stalled 10 --rate 100 --payload 4096 --seconds 2 --rounds 1 --max-p99-ratio 1000";
const CHURN: &str = "churn --connections 90 --lifetime 100 --seconds 2 --cycles 2 --settle 1.5";

#[test]
fn stalled_readers_that_are_closed_are_told() {
    let output = bench("none", SLOW);
    assert!(output.status.success(), "{}", told(&output));
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        out.contains("stalled readers: 2 closed by the server, 0 still open; it let go of them after"),
        "{out}"
    );
    assert!(out.contains("the server has no figure"), "{out}");
}

#[test]
fn a_lost_message_fails_slow() {
    fails("lose", SLOW, "was due");
}

#[test]
fn a_server_that_waits_for_the_stalled_fails_slow() {
    // Nothing but the waiting is to be seen: messages come rarely, and each fills a socket.
    let slow = "slow --subscribers 20 --stalled 10 --rate 2.5 --payload 65536 --seconds 4 --rounds 1 --max-p99-ratio 2";
    fails("wait", slow, "the readers noticed");
}

#[test]
fn a_server_that_gives_everything_back_passes_churn() {
    let output = bench("none", CHURN);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn leaked_files_fail_churn() {
    fails("leak-files", CHURN, "open files instead of");
}

#[test]
fn leaked_memory_fails_churn() {
    fails("leak-memory", CHURN, "memory grows");
}

#[test]
fn the_time_limit_ends_a_run_and_the_server_that_hangs() {
    let begun = Instant::now();
    let output = bench("hang", "publish --time-limit 2");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(begun.elapsed() < Duration::from_secs(9), "{}", told(&output));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("the time limit is over after 2.") && err.contains("the load connects"), "{err}");
    assert!(err.contains("stopped 1 processes"), "{err}");
    // Whatever runs has its command line in /proc; no server of that port may.
    let lines = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    let running: Vec<String> =
        lines.filter(|line| line.contains("faulty.py") && line.ends_with("hang\0")).collect();
    assert!(running.is_empty(), "{running:?}");
}
