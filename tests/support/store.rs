//! What the tests of the store share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use fanwire::channel::Position;
use fanwire::limits::StoreLimits;
use fanwire::service::store::{
    Answer, Job, Outcome, Record, Records, Recovery, Reply, Retention, Store, StoreError, StoreHandle,
};

/// An empty directory below the build's directory for temporary files.
pub fn fresh(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{name}"));
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => dir,
    }
}

pub fn open_with(dir: &Path, limits: StoreLimits) -> Result<(Store, Recovery), StoreError> {
    Store::open(dir, limits, Arc::new(|to, _| panic!("nobody asked for {to:?}")))
}

pub fn open(dir: &Path) -> (Store, Recovery) {
    open_with(dir, StoreLimits::default()).unwrap()
}

/// Hands a job over and waits for what comes of it.
pub fn ask(store: &StoreHandle, job: Job) -> Outcome {
    later(store, job).and_then(|outcome| outcome.recv().expect("every job is answered"))
}

/// Hands a job over.
pub fn later(store: &StoreHandle, job: Job) -> Result<Receiver<Outcome>, StoreError> {
    let (tell, told) = channel();
    store.submit(job, Reply::call(move |outcome| drop(tell.send(outcome))))?;
    Ok(told)
}

pub fn at(time: u64) -> Position {
    Position { time, tag: 0 }
}

/// An append at `now_s` with that as position.
pub fn append(log: &str, now_s: u64, payload: impl Into<Bytes>, retention: Retention) -> Job {
    let log = Bytes::copy_from_slice(log.as_bytes());
    Job::Append { log, at: at(now_s), payload: payload.into(), retention, now_s }
}

/// The part of a log above `after`.
pub fn part(store: &StoreHandle, log: &str, after: Position, most: usize) -> Result<Records, StoreError> {
    let log = Bytes::copy_from_slice(log.as_bytes());
    match ask(store, Job::Read { log, after, most })? {
        Answer::Records(part) => Ok(*part),
        other => panic!("{other:?}"),
    }
}

/// All records of a log above `after`.
pub fn records(store: &StoreHandle, log: &str, mut after: Position) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let part = part(store, log, after, 1000).unwrap();
        all.extend(part.records);
        match all.last() {
            Some(last) if part.more => after = last.at,
            _ => return all,
        }
    }
}

/// Bytes that the files of a store take.
pub fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().map_or(0, |m| m.blocks() * 512)).sum()
}

/// Numbers that look random, the same for the same seed.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
