//! A kernel that gives no ring.

use crate::frame::{Patient, eventually};
use crate::node::{self, fresh};
use crate::system::without_rings;

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
