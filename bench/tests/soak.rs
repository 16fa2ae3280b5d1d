//! The soak against a server that misbehaves on purpose: what it leaks or loses fails the run. The server speaks WebSocket
//! and publishes only, and is small.

use std::process::{Command, Output};

/// Runs the bench against `tests/faulty.py` with `fault`.
fn soak(fault: &str) -> Output {
    let server = format!("exec python3 {}/tests/faulty.py {{port}} {fault}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire-bench"));
    command.args(
        "soak --duration 3 --warm-up 2 --settle 2 --ways websocket --residents 2 --churn 30 --fault-rate 5 \
         --faults resets,half-closed,garbage --path /sub/ --publish-path /pub/ --rate 20"
            .split_whitespace(),
    );
    command.args(["--server", &server, "--name", "faulty"]).output().unwrap()
}

fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("status {:?}\n{out}\n{err}", output.status.code())
}

/// It fails, with one of these reasons.
fn fails(fault: &str, reasons: &[&str]) {
    let output = soak(fault);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(reasons.iter().any(|reason| err.contains(reason)), "none of {reasons:?}: {}", told(&output));
}

#[test]
fn a_server_that_gives_everything_back_passes() {
    let output = soak("none");
    assert!(output.status.success(), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("flat"), "{}", told(&output));
}

#[test]
fn leaked_files_fail() {
    fails("leak-files", &["open files instead of"]);
}

#[test]
fn leaked_memory_fails() {
    fails("leak-memory", &["memory grows"]);
}

#[test]
fn a_lost_message_fails() {
    // Whoever it is that misses it: one of those that stay, or one that waits for a message of its own.
    fails("lose", &["earlier one was due", "did not come within"]);
}
