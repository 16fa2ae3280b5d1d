//! A disk that is full, and files in which something is wrong.

use crate::frame::{LOCATIONS, Patient, eventually};
use crate::node::{self, Http, Node, Stream, fresh};
use std::fs::File;
use std::io::Write;
use std::process::Command;

const DURABLE: &str = r#"
[[location]]
prefix = "/kept/pub/"
methods = "publisher"
durable = true
message_timeout = "0"
buffer_messages = 100000

[[location]]
prefix = "/kept/sub/"
methods = "subscriber"
"#;

/// Has the node's store lie in a small file system of its own, which nobody else sees and which ends with the node.
/// None where that is not allowed.
fn small_disk(settings: &str) -> Option<(Command, std::path::PathBuf)> {
    let dir = fresh("fault-disk");
    std::fs::create_dir_all(&dir).unwrap();
    let plain = node::command(&dir, settings, &format!("{LOCATIONS}{DURABLE}"));
    for own in [&["--mount"][..], &["--mount", "--user", "--map-root-user"]] {
        let script = format!("mount -t tmpfs -o size=6m none '{}' && exec \"$0\" \"$@\"", dir.display());
        let unshare = |inner: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(own).args(["sh", "-c", &script]).args(inner);
            command
        };
        if unshare(&["true"]).output().is_ok_and(|out| out.status.success()) {
            let mut command = unshare(&[]);
            command.arg(plain.get_program()).args(plain.get_args());
            return Some((command, dir));
        }
    }
    None
}

#[test]
fn a_full_disk_hurts_nobody_else_and_is_over_when_there_is_room() {
    let Some((command, dir)) = small_disk("shards = 2") else {
        println!("no file system may be mounted here: tests/durable_node.rs has the store's own bound");
        return;
    };
    let patient = Patient::run("disk", command);
    // The node's view of it.
    let litter = format!("/proc/{}/root{}/litter", patient.node.child.id(), dir.display());
    let mut http = Http::connect(patient.address()).unwrap();
    assert_eq!(http.post("/kept/pub/a", b"before").unwrap().status, 202);
    patient.suffers(|patient| {
        let mut http = Http::connect(patient.address()).unwrap();
        let mut file = File::create(&litter).unwrap();
        while file.write_all(&[0; 65_536]).is_ok() {}
        while file.write_all(&[0; 1]).is_ok() {}
        drop(file);
        let text = [b'k'; 20_000];
        eventually("the disk is full", || {
            let answer = http.post("/kept/pub/a", &text).unwrap();
            assert!(matches!(answer.status, 202 | 507), "{answer:?}");
            answer.status == 507
        });
        // What lives in memory goes on, and so does the node.
        assert_eq!(http.post("/pub/memory", b"x").unwrap().status, 202);
        assert_eq!(http.request("GET", "/health/ready", b"").unwrap().status, 200);
        std::fs::remove_file(&litter).unwrap();
        assert_eq!(http.post("/kept/pub/a", b"after").unwrap().status, 202);
    });
    assert!(patient.figure("fanwire_store_full_total") >= 2.0);
    patient.said(&["the disk for stored messages is full"], 2);
    patient.said(&["there is room for stored messages again"], 2);
    let mut stream = Stream::open(patient.address(), "/kept/sub/a", None).unwrap();
    assert_eq!(stream.next().unwrap().1, "before");
    assert!(stream.take_while(|(_, text)| text != "after").all(|(_, text)| text.starts_with('k')));
}

#[test]
fn a_store_that_has_failed_leaves_what_lives_in_memory_alone() {
    let (dir, locations) = (fresh("fault-failed"), format!("{LOCATIONS}{DURABLE}"));
    let plain = node::command(&dir, "shards = 2", &locations);
    let mut command = Command::new("sh");
    // No file may have more than half a megabyte, or a whole one: shells differ.
    command.args(["-c", "ulimit -f 1000; exec \"$0\" \"$@\""]);
    command.arg(plain.get_program()).args(plain.get_args());
    let mut patient = Patient::run("failed", command);
    let mut http = Http::connect(patient.address()).unwrap();
    let mut kept = 0;
    let refused = loop {
        let answer = http.post("/kept/pub/a", format!("{kept} {}", "k".repeat(10_000)).as_bytes()).unwrap();
        match answer.status {
            202 => kept += 1,
            _ => break answer,
        }
        assert!(kept < 1_000);
    };
    assert!(matches!(refused.status, 500..=507) && kept > 5, "{kept}: {refused:?}");
    assert!(http.post("/kept/pub/b", b"x").unwrap().status >= 500, "and so is the next");
    assert_eq!(patient.figure("fanwire_store_failed"), 1.0);
    patient.suffers_briefly();
    patient.said(&["refuses everything until it is opened anew"], 1);
    patient.node.kill();
    // What was acknowledged is there once the reason is gone.
    let node = Node::start(&dir, "shards = 2", &locations);
    let stream = Stream::open(&node.address, "/kept/sub/a", None).unwrap();
    let texts: Vec<String> = stream.take(kept).map(|(_, text)| text).collect();
    assert!(texts.iter().enumerate().all(|(n, text)| text.starts_with(&format!("{n} k"))));
}

#[test]
fn a_record_that_is_damaged_costs_its_channel_and_nobody_else() {
    let dir = fresh("fault-damaged");
    let locations = format!("{LOCATIONS}{DURABLE}");
    let mut node = Node::start(&dir, "shards = 2", &locations);
    let mut http = Http::connect(&node.address).unwrap();
    for channel in ["good", "bad"] {
        for n in 0..20 {
            let text = format!("{channel} message {n}.");
            assert_eq!(http.post(&format!("/kept/pub/{channel}"), text.as_bytes()).unwrap().status, 202);
        }
    }
    node.stop();
    let file = dir.join("store.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(14).position(|part| part == b"bad message 7.").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let (worked, said) = node::fanwire(&["check", "--data", dir.to_str().unwrap()]);
    assert!(!worked && said.contains("wrong checksum") && said.contains("bad"), "{said}");

    let patient = Patient::run("damaged", node::command(&dir, "shards = 2", &locations));
    patient.suffers(|patient| {
        let mut http = Http::connect(patient.address()).unwrap();
        let stream = Stream::open(patient.address(), "/kept/sub/good", None).unwrap();
        let texts: Vec<String> = stream.take(20).map(|(_, text)| text).collect();
        let whole = texts.iter().enumerate().all(|(n, text)| *text == format!("good message {n}."));
        assert!(whole && texts.len() == 20, "{texts:?}");
        let bad = http.request("GET", "/kept/sub/bad", b"").unwrap();
        assert_eq!(bad.status, 503, "{bad:?}");
        assert_eq!(http.post("/kept/pub/good", b"more").unwrap().status, 202);
    });
    assert!(patient.figure("fanwire_store_damaged_total") >= 2.0);
    eventually("it is told", || patient.lines(&["reason=\"store_checksum\"", "fanwire check"]) > 0);
}
