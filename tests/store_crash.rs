//! A process that writes to the store is killed a hundred times. What it said was stored is there, in order, once.

#[allow(dead_code)]
#[path = "support/store.rs"]
mod support;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fanwire::channel::Position;
use fanwire::service::store::{Answer, Job, Reply, Retention, Table};
use support::{Numbers, ask, fresh, open, records};

/// Tells a child where its store is.
const CHILD: &str = "FANWIRE_TEST_STORE";
/// Kills of a child that was writing; those that come before count extra.
const KILLS: u64 = 100;
const LOGS: usize = 4;
/// Appends on their way at a time.
const WINDOW: usize = 64;
/// What log 0 keeps.
const KEPT: u64 = 50;

fn position(n: u64) -> Position {
    Position { time: 1000 + n / 10, tag: (n % 10) as u32 }
}

fn number(at: Position) -> u64 {
    (at.time - 1000) * 10 + u64::from(at.tag)
}

/// Of every length up to some pages.
fn payload(log: usize, n: u64) -> Bytes {
    let length = if n.is_multiple_of(97) { 9000 } else { (n * 31 % 700) as usize };
    let mut payload = format!("{log}:{n}:").into_bytes();
    payload.resize(payload.len() + length, n as u8);
    payload.into()
}

fn retention(log: usize) -> Retention {
    Retention { max_records: if log == 0 { KEPT } else { u64::MAX }, ..Retention::ALL }
}

/// Appends until it is killed, and prints what was acknowledged.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let (store, recovery) = open(Path::new(&dir));
    let handle = store.handle();
    let mut last = [0; LOGS];
    for totals in &recovery.logs {
        let log: usize = std::str::from_utf8(&totals.log).unwrap().parse().unwrap();
        last[log] = number(totals.last);
    }
    let (tell, told) = channel();
    let (mut under_way, mut turn) = (0, 0);
    loop {
        while under_way < WINDOW {
            let log = turn % LOGS;
            turn += 1;
            last[log] += 1;
            let n = last[log];
            let name = Bytes::from(log.to_string());
            let job = if turn % 10 == 9 {
                last[log] -= 1;
                let value = (n - 1).to_string().into();
                Job::Put { table: Table::APPS, key: name, value }
            } else {
                let (at, payload) = (position(n), payload(log, n));
                Job::Append { log: name, at, payload, retention: retention(log), now_s: at.time }
            };
            let (tell, kind) = (tell.clone(), if turn % 10 == 9 { 'P' } else { 'A' });
            let n = last[log];
            let reply = Reply::call(move |outcome| {
                assert_eq!(outcome, Ok(Answer::Done));
                tell.send((kind, log, n)).unwrap();
            });
            handle.submit(job, reply).unwrap();
            under_way += 1;
        }
        let (kind, log, n) = told.recv().unwrap();
        under_way -= 1;
        writeln!(std::io::stdout(), "{kind} {log} {n}").unwrap();
    }
}

#[derive(Default)]
struct Seen {
    /// The highest number that was acknowledged, by log.
    appended: [u64; LOGS],
    put: [u64; LOGS],
    /// The highest number that was found after reopening.
    found: [u64; LOGS],
    acknowledged: u64,
    /// Kills of a child that had acknowledged something.
    under_load: u64,
}

impl Seen {
    /// Lines that a child printed; one that was cut off in the middle has not been said.
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some(kind), Some(log), Some(n)) = (words.next(), words.next(), words.next()) else { return };
        let (Ok(log), Ok(n)) = (log.parse::<usize>(), n.parse::<u64>()) else { return };
        match kind {
            "A" => {
                assert!(
                    n > self.appended[log],
                    "log {log}: {n} is acknowledged after {}",
                    self.appended[log]
                );
                self.appended[log] = n;
            }
            "P" => self.put[log] = n,
            _ => return,
        }
        self.acknowledged += 1;
    }

    /// Opens the store and compares.
    fn verify(&mut self, dir: &Path) {
        let (store, recovery) = open(dir);
        let handle = store.handle();
        for log in 0..LOGS {
            let name = log.to_string();
            let after = if self.found[log] == 0 { Position::ZERO } else { position(self.found[log]) };
            let found = records(&handle, &name, after);
            let mut next = match found.first() {
                Some(first) if log == 0 => number(first.at),
                _ => self.found[log] + 1,
            };
            for record in &found {
                assert_eq!(
                    record.at,
                    position(next),
                    "log {log} goes on without a gap, and nothing comes twice"
                );
                assert_eq!(record.payload, payload(log, next));
                next += 1;
            }
            let end = next - 1;
            assert!(
                end >= self.appended[log],
                "log {log}: {} was acknowledged, {end} is there",
                self.appended[log]
            );
            assert!(end <= self.appended[log] + WINDOW as u64);
            // Not acknowledged, but there: the next child goes on after it.
            self.appended[log] = end;
            self.found[log] = end;
            if log == 0 {
                let kept = recovery.logs.iter().find(|totals| totals.log == name).map_or(0, |t| t.records);
                assert_eq!(kept, end.min(KEPT));
            }
            let document = ask(&handle, Job::Get { table: Table::APPS, key: name.into() }).unwrap();
            let Answer::Document(value) = document else { panic!("{document:?}") };
            let value = value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse::<u64>().unwrap());
            assert!(value >= self.put[log]);
        }
        store.shutdown().unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let dir = fresh("crash");
    let seed = RandomState::new().hash_one(0) | 1;
    eprintln!("seed {seed}");
    let mut numbers = Numbers(seed);
    let mut seen = Seen::default();
    let mut kills = 0;
    while seen.under_load < KILLS {
        kills += 1;
        assert!(kills < 3 * KILLS, "children do not come to write");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = channel();
        // Reads whole lines only: what was cut off by the kill is not an acknowledgement.
        let reader = thread::spawn(move || {
            let mut lines = Vec::new();
            let mut pipe = pipe;
            let mut line = String::new();
            while pipe.read_line(&mut line).unwrap_or(0) > 0 && line.ends_with('\n') {
                if line.starts_with("A ") {
                    let _ = tell.send(());
                }
                lines.push(line.trim_end().to_owned());
                line.clear();
            }
            lines
        });
        // Some die while they open the store or take over what the one before left.
        let early = numbers.below(5) == 0;
        if !early {
            told.recv_timeout(Duration::from_secs(20)).expect("the child comes to write");
        }
        thread::sleep(Duration::from_micros(numbers.below(if early { 20_000 } else { 60_000 })));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "it was killed and did not end by itself");
        let before = seen.acknowledged;
        reader.join().unwrap().iter().for_each(|line| seen.take(line));
        seen.under_load += u64::from(seen.acknowledged > before);
        // Every second time the next child finds the files as the kill left them.
        if kills % 2 == 0 || numbers.below(2) == 0 {
            seen.verify(&dir);
        }
    }
    seen.verify(&dir);
    let report = fanwire::service::store::check(&dir).unwrap();
    assert_eq!(report.damage, [""; 0]);
    eprintln!("{} acknowledged, {kills} kills, {KILLS} of them under load", seen.acknowledged);
}
