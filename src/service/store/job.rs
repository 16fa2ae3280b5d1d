//! Who is told what came of a job, and what was found at the start.

use std::fmt;

use bytes::Bytes;

use super::{Job, Outcome, Retention};
use crate::channel::{Position, ReplyTo};

impl Job {
    /// Bytes that it holds while it waits.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Job>()
            + match self {
                Job::Append { log, payload, .. } => log.len() + payload.len(),
                Job::Truncate { log, .. } | Job::Delete { log } | Job::Read { log, .. } => log.len(),
                Job::Put { key, value, .. } => key.len() + value.len(),
                Job::Remove { key, .. } | Job::Get { key, .. } | Job::List { after: key, .. } => key.len(),
                Job::Sweep { .. } => 0,
            }
    }

    /// Whether it needs more room on disk.
    pub(super) fn adds(&self) -> bool {
        matches!(self, Job::Append { .. } | Job::Put { .. })
    }
}

/// Who is told what came of a job. Called on the store's thread, after the commit; it must not block.
pub enum Reply {
    /// Nobody.
    Nobody,
    /// The `deliver` callback given to [`super::Store::open`]. Needs no allocation.
    To(ReplyTo),
    /// A callback of its own.
    Call(Box<dyn FnOnce(Outcome) + Send>),
}

impl Reply {
    /// A callback of its own.
    pub fn call(reply: impl FnOnce(Outcome) + Send + 'static) -> Reply {
        Reply::Call(Box::new(reply))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Nobody => f.write_str("Nobody"),
            Reply::To(to) => f.debug_tuple("To").field(to).finish(),
            Reply::Call(_) => f.write_str("Call"),
        }
    }
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTotals {
    /// Its name.
    pub log: Bytes,
    /// Records.
    pub records: u64,
    /// Payload bytes; a large store does not count them when it is opened.
    pub bytes: Option<u64>,
    /// Position of its oldest record; with none, as `last`.
    pub oldest: Position,
    /// The highest position that it ever had, as far as it is remembered.
    pub last: Position,
    /// What it keeps.
    pub retention: Retention,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTotals {
    /// Its name.
    pub table: String,
    /// Documents.
    pub documents: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// What was found when the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// All logs, by name.
    pub logs: Vec<LogTotals>,
    /// All tables that have documents, by name.
    pub tables: Vec<TableTotals>,
}
