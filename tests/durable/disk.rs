//! A store played by a queue and a map: it does what the real one does, when chance lets it, or fails.

use bytes::Bytes;
use fanwire::channel::Position;
use fanwire::channel::store::{Answer, Job, Outcome, Record, Records, Retention, StoreError};
use std::collections::{BTreeMap, VecDeque};

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    pub logs: BTreeMap<Bytes, Log>,
}

#[derive(Clone)]
pub struct Log {
    pub records: Vec<Record>,
    pub dropped: Position,
    pub last: Position,
    pub retention: Retention,
}

/// Records of one part of a log: few, so that most logs have several.
const PART: usize = 3;

impl Disk {
    /// Does a job. A full disk takes no appends.
    pub fn job(&mut self, job: &Job, full: bool) -> Outcome {
        match job {
            Job::Append { .. } if full => return Err(StoreError::Full),
            Job::Append { log, at, payload, retention, .. } => {
                let log = self.logs.entry(log.clone()).or_insert_with(|| Log {
                    records: Vec::new(),
                    dropped: Position::ZERO,
                    last: Position::ZERO,
                    retention: *retention,
                });
                assert!(*at > log.last, "{at:?} is not above {:?}", log.last);
                (log.last, log.retention) = (*at, *retention);
                log.records.push(Record { at: *at, payload: payload.clone() });
                while log.records.len() > 1 && log.records.len() as u64 > retention.max_records {
                    log.dropped = log.records.remove(0).at;
                }
            }
            Job::Truncate { log, through } => {
                if let Some(log) = self.logs.get_mut(log) {
                    log.drop_through(*through);
                }
            }
            Job::Delete { log } => {
                if let Some(log) = self.logs.get_mut(log) {
                    log.drop_through(log.last);
                }
            }
            Job::Read { log, after, most } => {
                let mut part = Records::default();
                if let Some(log) = self.logs.get(log) {
                    let mut rest = log.records.iter().filter(|record| record.at > *after).cloned();
                    part.records = rest.by_ref().take(PART.min(*most)).collect();
                    part.more = rest.next().is_some();
                    (part.dropped, part.last) = (log.dropped, log.last);
                }
                return Ok(Answer::Records(Box::new(part)));
            }
            other => panic!("no home asks for {other:?}"),
        }
        Ok(Answer::Done)
    }
}

impl Log {
    fn drop_through(&mut self, through: Position) {
        if let Some(last) = self.records.iter().rev().find(|record| record.at <= through) {
            self.dropped = last.at;
        }
        self.records.retain(|record| record.at > through);
    }
}

/// Jobs that were taken, and outcomes on their way back, those of deletions with the log.
#[derive(Default)]
pub struct Queue {
    pub jobs: VecDeque<(Option<u64>, Job)>,
    pub outcomes: VecDeque<(u64, Outcome, Option<Bytes>)>,
    pub failed: bool,
}
