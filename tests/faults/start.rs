//! A kernel that gives no ring, or breaks the one it gave.

use crate::frame::{Patient, eventually};
use crate::node::{self, fresh};
use crate::system::without_rings;
use std::path::Path;
use std::process::Command;

const ERRORS: [(i32, &str); 3] = [
    (libc::ENOMEM, "Cannot allocate memory"),
    (libc::EPERM, "Operation not permitted"),
    (libc::ENOSYS, "Function not implemented"),
];

#[test]
fn without_a_ring_epoll_does_and_says_so() {
    for (errno, reason) in ERRORS {
        let patient = Patient::start_with("no-ring", "shards = 2\ndriver = \"auto\"", "", |command| {
            without_rings(command, errno);
        });
        eventually("it runs on epoll", || patient.page().contains("driver=\"epoll\""));
        // Each shard says why, once.
        patient.said(&[" WARN ", "io_uring cannot be had", reason], 2);
        patient.suffers_briefly();
    }
}

#[test]
fn without_a_ring_who_insists_on_one_is_told_why() {
    for (errno, reason) in ERRORS {
        let mut command = node::command(&fresh("fault-no-ring-at-all"), "driver = \"uring\"", "");
        without_rings(&mut command, errno);
        let out = command.output().unwrap();
        assert!(!out.status.success());
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains("no driver works") && said.contains(reason), "{said}");
    }
}

/// A ring that the kernel no longer serves is the end of the process, with the reason: sends that stand in it cannot be
/// taken back, and nobody would be served.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_ring_that_breaks_ends_the_process() {
    let folder = fresh("fault-ring-library");
    std::fs::create_dir_all(&folder).unwrap();
    let (library, breaks) = (folder.join("ring.so"), folder.join("breaks"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/ring.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(built.unwrap().success());
    let mut patient = Patient::start_with(
        "ring-breaks",
        "shards = 2\ndriver = \"auto\"\nstall_exit = \"6s\"",
        "",
        |command| {
            command.env("LD_PRELOAD", &library).env("RING_BREAKS_FILE", &breaks);
        },
    );
    if patient.page().contains("driver=\"epoll\"") {
        return println!("SKIPPED: this kernel gives no io_uring");
    }
    std::fs::write(&breaks, "").unwrap();
    let mut ended = None;
    eventually("the process ends", || {
        ended = patient.node.child.try_wait().unwrap();
        ended.is_some()
    });
    assert!(!ended.unwrap().success());
    // A shard that sleeps in the runtime's own ring does not come out of it: then it is one that stands still.
    eventually("it says why", || {
        patient.lines(&["io_uring_enter", "Numerical argument out of domain", "cannot go on"]) >= 1
            || patient.lines(&["has not turned for"]) >= 1
    });
}
