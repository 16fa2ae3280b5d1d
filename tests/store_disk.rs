//! The store on disks that are full, fail or are damaged, and over many days.

#[allow(dead_code)]
#[path = "support/store.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use fanwire::channel::Position;
use fanwire::cli::{Surroundings, run_in};
use fanwire::limits::{STORE_FORGET_S, StoreLimits};
use fanwire::service::store::{Answer, Job, Retention, StoreError, StoreHandle, Table, check};
use support::{Numbers, append, ask, disk_bytes, fresh, later, open, open_with, part, records};

const ALL: Retention = Retention::ALL;
/// Tells a child where its store is.
const CHILD: &str = "FANWIRE_TEST_STORE";

/// Appends to `log` until that fails: the last number that was acknowledged, and the error.
fn fill(store: &StoreHandle, log: &str, mut n: u64) -> (u64, StoreError) {
    loop {
        match ask(store, append(log, n + 1, vec![n as u8; 3000], ALL)) {
            Ok(answer) => assert_eq!(answer, Answer::Done),
            Err(error) => return (n, error),
        }
        n += 1;
        assert!(n < 100_000, "the disk is never full");
    }
}

fn numbers(store: &StoreHandle, log: &str) -> Vec<u64> {
    records(store, log, Position::ZERO).iter().map(|record| record.at.time).collect()
}

/// A small file system; taken down when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where one may not be mounted.
    fn mount(name: &str, options: &str) -> Option<SmallDisk> {
        let dir = fresh(name);
        std::fs::create_dir_all(&dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&dir).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_and_takes_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount("tmpfs", "size=4m") else {
        eprintln!("no tmpfs can be mounted here: only the store's own bound is tested");
        return;
    };
    let dir = disk.0.join("data");
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![1; 1 << 20]).unwrap();
    let limits = StoreLimits { wal_bytes: 256 * 1024, ..StoreLimits::default() };
    let (store, _) = open_with(&dir, limits).unwrap();
    let handle = store.handle();
    let (n, error) = fill(&handle, "log", 0);
    assert_eq!(error, StoreError::Full);
    assert!(n > 200, "{n} records of 3000 bytes in 3 MiB");
    for _ in 0..20 {
        assert_eq!(ask(&handle, append("log", n + 1, vec![0; 3000], ALL)), Err(StoreError::Full));
        assert_eq!(ask(&handle, append("other", 1, vec![0; 3000], ALL)), Err(StoreError::Full));
    }
    assert_eq!(numbers(&handle, "log"), (1..=n).collect::<Vec<_>>(), "it can still be read");
    assert_eq!(handle.failure(), None);
    std::fs::remove_file(&filler).unwrap();
    let (more, error) = fill(&handle, "log", n);
    assert!(more > n + 50, "it goes on when there is room again: {n}, {more}");
    assert_eq!(error, StoreError::Full);
    // As after a kill: nothing is closed in order.
    std::mem::forget(store);
    let copy = fresh("tmpfs-copy");
    std::fs::create_dir_all(&copy).unwrap();
    for file in std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let (store, recovery) = open(&copy);
    assert_eq!(numbers(&store.handle(), "log"), (1..=more).collect::<Vec<_>>());
    assert_eq!(recovery.logs.len(), 1, "what was refused is not there");
}

#[test]
fn the_stores_own_bound_holds_and_room_can_be_made() {
    let dir = fresh("bound");
    let limits = StoreLimits { disk_bytes: 2 << 20, wal_bytes: 64 * 1024, ..StoreLimits::default() };
    let (store, _) = open_with(&dir, limits).unwrap();
    let handle = store.handle();
    let (mut n, mut first) = (0, 1);
    for _ in 0..5 {
        let (last, error) = fill(&handle, "log", n);
        assert_eq!(error, StoreError::Full);
        assert!(disk_bytes(&dir) <= limits.disk_bytes, "{} bytes on disk", disk_bytes(&dir));
        assert_eq!(numbers(&handle, "log"), (first..=last).collect::<Vec<_>>());
        // In one commit: what adds is refused, what makes room is done.
        let job = Job::Truncate { log: "log".into(), through: support::at(last - 20) };
        let jobs = [
            append("log", last + 1, vec![0; 100_000], ALL),
            job,
            append("new", last + 1, vec![0; 3000], ALL),
        ];
        let waiting: Vec<_> = jobs.map(|job| later(&handle, job).unwrap()).into_iter().collect();
        let told: Vec<_> = waiting.iter().map(|told| told.recv().unwrap()).collect();
        assert_eq!(told[..2], [Err(StoreError::Full), Ok(Answer::Done)]);
        let added = ask(&handle, append("new", last + 2, vec![0; 3000], ALL));
        assert_eq!(added, Ok(Answer::Done));
        (n, first) = (last, last - 19);
    }
    assert!(handle.counters().full() >= 5);
    store.shutdown().unwrap();
    assert_eq!(check(&dir).unwrap().damage, [""; 0]);
}

/// Appends until it fails and prints how that went.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let (store, _) = open_with(Path::new(&dir), StoreLimits::default()).unwrap();
    let handle = store.handle();
    let (n, error) = fill(&handle, "log", 0);
    let then = ask(&handle, append("log", n + 1, "small", ALL)).unwrap_err();
    let reads = ask(&handle, Job::Get { table: Table::APPS, key: "x".into() }).unwrap_err();
    assert_eq!(then, reads);
    println!("\nacknowledged|{n}|{error}|{then}|{}", handle.failure().unwrap_or_default());
}

#[test]
fn a_write_that_fails_ends_the_store_until_it_is_opened_anew() {
    let dir = fresh("io");
    // Files may not grow over a megabyte: a write then fails, but not because the disk is full.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, &dir)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout).into_owned();
    let line = printed.lines().find(|line| line.starts_with("acknowledged|")).expect(&printed);
    let words: Vec<&str> = line.split('|').collect();
    let n: u64 = words[1].parse().unwrap();
    assert!(n > 20, "{line}");
    assert!(words[2].starts_with("the store cannot read or write: "), "{line}");
    assert_eq!(words[3], format!("the store has failed: {}", words[2]), "{line}");
    assert_eq!(words[4], words[2], "{line}");
    let (store, _) = open(&dir);
    let found = numbers(&store.handle(), "log");
    assert_eq!(found[..n as usize], (1..=n).collect::<Vec<_>>());
    assert!(found.len() as u64 <= n + 1, "at most the one whose outcome was unknown");
    let next = found.len() as u64 + 1;
    assert_eq!(ask(&store.handle(), append("log", next, "x", ALL)), Ok(Answer::Done));
}

/// A store with three logs and a table, closed.
fn written(name: &str) -> PathBuf {
    let dir = fresh(name);
    let (store, _) = open(&dir);
    for n in 1..=60u64 {
        for log in ["first", "second", "third"] {
            let payload = format!("<{log} {n}>").repeat(20);
            ask(&store.handle(), append(log, n, payload, ALL)).unwrap();
        }
    }
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from("<a document>".repeat(9)));
    ask(&store.handle(), Job::Put { table: Table::APPS, key, value }).unwrap();
    store.shutdown().unwrap();
    dir
}

/// Changes the file's bytes from the first `pattern` on.
fn damage(dir: &Path, pattern: &[u8], change: impl Fn(&mut [u8], usize)) {
    let file = dir.join("store.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(pattern.len()).position(|part| part == pattern).unwrap();
    change(&mut bytes, place);
    std::fs::write(&file, bytes).unwrap();
}

/// Exit code, output and problems of `fanwire check --data`.
fn check_command(dir: &Path) -> (ExitCode, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let surroundings = Surroundings { environment: Vec::new(), out: &mut out, err: &mut err };
    let code =
        run_in(surroundings, ["fanwire", "check", "--data", dir.to_str().unwrap()], |_| unreachable!());
    let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).unwrap());
    (code, out, err)
}

#[test]
fn check_tells_what_a_store_holds() {
    let dir = written("check");
    let (code, out, err) = check_command(&dir);
    assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "table apps: 1 documents, 108 bytes");
    assert_eq!(lines[1], "log first: 60 records, 11820 bytes, 1:0 to 60:0");
    assert!(lines[4].starts_with("OK: 3 logs with 180 records, 1 documents, "), "{out}");
    let (code, _, err) = check_command(&dir.join("elsewhere"));
    assert_eq!(code, ExitCode::FAILURE);
    assert!(err.contains("no store there"), "{err}");
    let (store, _) = open(&dir);
    assert!(check_command(&dir).2.contains("another process has the store open"));
    assert_eq!(open_with(&dir, StoreLimits::default()).err(), Some(StoreError::InUse));
    drop(store);
}

#[test]
fn a_damaged_record_is_named_and_hurts_nobody_else() {
    let dir = written("record");
    damage(&dir, b"<second 30>", |bytes, place| bytes[place + 1] ^= 4);
    damage(&dir, b"<a document>", |bytes, place| bytes[place + 1] ^= 4);
    let (store, _) = open(&dir);
    let handle = store.handle();
    let wrong = |what: &str| Err(StoreError::Checksum(Arc::from(what)));
    let get = Job::Get { table: Table::APPS, key: "key".into() };
    assert_eq!(ask(&handle, get), wrong("document key of table apps"));
    let whole = part(&handle, "second", Position::ZERO, 100);
    assert_eq!(whole.map(|_| Answer::Done), wrong("record 30:0 of log second"));
    assert_eq!(part(&handle, "second", support::at(30), 100).unwrap().records.len(), 30);
    assert_eq!(numbers(&handle, "first").len(), 60);
    assert_eq!(ask(&handle, append("second", 61, "goes on", ALL)), Ok(Answer::Done));
    drop(store);
    let (code, out, err) = check_command(&dir);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.contains("log second: 61 records"), "{out}");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[0], "wrong checksum: record 30:0 of log second");
    assert_eq!(lines[1], "wrong checksum: document key of table apps");
    assert_eq!(lines[2], "fanwire: 2 damages in the store");
}

#[test]
fn a_damaged_page_is_an_error_and_no_panic() {
    let dir = written("page");
    let page = |place: usize| place / 4096 * 4096..place / 4096 * 4096 + 4096;
    damage(&dir, b"<second 30>", |bytes, place| bytes[page(place)].fill(0xa5));
    let opened = open_with(&dir, StoreLimits::default()).err();
    assert!(matches!(opened, Some(StoreError::Damaged(_))), "{opened:?}");
    let report = check(&dir).unwrap();
    assert!(!report.damage.is_empty());
    let (code, _, err) = check_command(&dir);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(err.contains("the store is damaged: "), "{err}");

    for (name, change) in [
        ("header", (|bytes: &mut Vec<u8>| bytes[..16].fill(b'x')) as fn(&mut Vec<u8>)),
        ("others", |bytes| bytes[68..72].fill(7)),
        ("later", |bytes| bytes[60..64].copy_from_slice(&2u32.to_be_bytes())),
    ] {
        let dir = written(name);
        let mut bytes = std::fs::read(dir.join("store.db")).unwrap();
        change(&mut bytes);
        std::fs::write(dir.join("store.db"), &bytes).unwrap();
        let opened = open_with(&dir, StoreLimits::default()).err();
        assert!(matches!(opened, Some(StoreError::NotAStore(_))), "{name}: {opened:?}");
        assert_eq!(std::fs::read(dir.join("store.db")).unwrap(), bytes, "{name}: left as it was");
    }
}

#[test]
fn no_damage_makes_it_panic() {
    let dir = written("fuzz");
    let whole = std::fs::read(dir.join("store.db")).unwrap();
    let (mut random, mut found) = (Numbers(0xda3a_6ed0), 0);
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(4) {
            let place = random.below(bytes.len() as u64) as usize;
            let length = [1, 1, 2, 64, 700][random.below(5) as usize].min(bytes.len() - place);
            let value = random.below(256) as u8;
            bytes[place..place + length].fill(value);
        }
        if random.below(10) == 0 {
            bytes.truncate(random.below(bytes.len() as u64) as usize);
        }
        std::fs::write(dir.join("store.db"), &bytes).unwrap();
        let checked = check(&dir);
        if checked.as_ref().map_or(true, |report| !report.damage.is_empty()) {
            found += 1;
        }
        if let Ok((store, _)) = open_with(&dir, StoreLimits::default()) {
            for log in ["first", "second", "third"] {
                let _ = part(&store.handle(), log, Position::ZERO, 100);
                let _ = ask(&store.handle(), append(log, 100, "x", Retention { max_records: 10, ..ALL }));
            }
            assert_eq!(store.shutdown().err().filter(|e| e.to_string().contains("panicked")), None);
        }
        let _ = std::fs::remove_file(dir.join("store.db-wal"));
    }
    // The rest hit free space, or bytes that mean the same when changed.
    assert!(found > 100, "{found} of 150 damages were found");
}

#[test]
fn days_of_publishing_keep_their_size() {
    const DAY_S: u64 = 86_400;
    let dir = fresh("days");
    let limits = StoreLimits { wal_bytes: 256 * 1024, ..StoreLimits::default() };
    let (store, _) = open_with(&dir, limits).unwrap();
    let handle = store.handle();
    let rules = [
        Retention { max_age_s: 2 * DAY_S, ..ALL },
        Retention { max_records: 300, ..ALL },
        Retention { max_bytes: 150_000, ..ALL },
    ];
    let (mut early, mut late, mut n) = (0, 0, 0u64);
    for hour in 0..30 * 12 {
        let now_s = 1_700_000_000 + hour * 7200;
        let day = hour / 12;
        let mut waiting = Vec::new();
        for second in 0..25 {
            for (log, rule) in rules.iter().enumerate() {
                n += 1;
                let payload = vec![n as u8; 300 + (n % 400) as usize];
                let job = append(&format!("log {log}"), now_s + second, payload, *rule);
                waiting.push(later(&handle, job).unwrap());
            }
        }
        // Channels that are used on one day only.
        let job = append(&format!("of day {day}"), now_s, vec![1; 5000], rules[0]);
        waiting.push(later(&handle, job).unwrap());
        waiting.push(later(&handle, Job::Sweep { now_s: now_s + 60 }).unwrap());
        assert!(waiting.iter().all(|told| told.recv().unwrap().is_ok()));
        let seen = if day < 6 { &mut early } else { &mut late };
        *seen = disk_bytes(&dir).max(*seen);
    }
    let live: u64 = (0..3).map(|log| part_bytes(&handle, &format!("log {log}"))).sum();
    eprintln!("{n} records; {early} bytes on disk at most in six days, {late} after; {live} live");
    assert!(late <= early + early / 10, "{early} in the first days, {late} later");
    assert!(late < 2 * live + 2 * limits.wal_bytes, "{late} on disk for {live}");
    // Nothing but a few days is left of the channels of single days.
    let days = (0..30).filter(|day| part_bytes(&handle, &format!("of day {day}")) > 0).count();
    assert!(days <= 3, "{days}");
    let now_s = 1_700_000_000 + 40 * DAY_S + STORE_FORGET_S;
    ask(&handle, Job::Sweep { now_s }).unwrap();
    store.shutdown().unwrap();
    let (_store, recovery) = open(&dir);
    let names: Vec<_> = recovery.logs.iter().map(|totals| &totals.log[..]).collect();
    assert_eq!(names, [b"log 1", b"log 2"]);
    assert!(disk_bytes(&dir) < early / 2, "free space was given back: {}", disk_bytes(&dir));
}

fn part_bytes(store: &StoreHandle, log: &str) -> u64 {
    records(store, log, Position::ZERO).iter().map(|record| record.payload.len() as u64).sum()
}
