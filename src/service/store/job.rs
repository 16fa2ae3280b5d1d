//! What is asked of the store and what it answers.

use std::fmt;

use bytes::Bytes;

use super::StoreError;
use crate::channel::{Position, ReplyTo};

/// What a log keeps. The newest record stays whatever `max_records` and `max_bytes` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many records; `u64::MAX` = all.
    pub max_records: u64,
    /// The newest so many payload bytes; `u64::MAX` = all.
    pub max_bytes: u64,
    /// Records expire so many seconds after the second of their position; `u64::MAX` = never.
    pub max_age_s: u64,
    /// So many stay although they have expired.
    pub min_records: u64,
}

impl Retention {
    /// Everything, for ever.
    pub const ALL: Retention =
        Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age_s: u64::MAX, min_records: 0 };
}

/// A named set of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table(&'static str);

impl Table {
    /// Apps made at run time.
    pub const APPS: Table = Table("apps");
    /// Who is subscribed to what, also while absent (pushi sheet).
    pub const PUSHI_SUBSCRIPTIONS: Table = Table("pushi_subscriptions");

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// One thing to do. Jobs are done in the order in which they were handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Adds a record at the end of a log, which is made if it does not exist, and then drops what `retention` does
    /// not keep. Answer: [`Answer::Done`].
    Append {
        /// Name of the log.
        log: Bytes,
        /// Above everything that the log has or had.
        at: Position,
        /// The record.
        payload: Bytes,
        /// In force for the log from now on, also for sweeps.
        retention: Retention,
        /// Unix time, seconds.
        now_s: u64,
    },
    /// Drops the records at or below `through`. Answer: [`Answer::Done`], also if there are none.
    Truncate {
        /// Name of the log.
        log: Bytes,
        /// The last position to go.
        through: Position,
    },
    /// Drops all records of a log. Its last position is remembered until a sweep forgets it, so that it is not
    /// used again. Answer: [`Answer::Done`], also if there is none.
    Delete {
        /// Name of the log.
        log: Bytes,
    },
    /// Reads the records above `after` ([`Position::ZERO`] for all), oldest first. Answer: [`Answer::Records`].
    Read {
        /// Name of the log.
        log: Bytes,
        /// Not this one and none before.
        after: Position,
        /// At most so many; never more than [`crate::limits::STORE_READ_ITEMS`].
        most: usize,
    },
    /// Drops what has expired in any log and gives free space back. To be asked for regularly: logs that are not
    /// appended to are not looked at otherwise. Answer: [`Answer::Swept`].
    Sweep {
        /// Unix time, seconds.
        now_s: u64,
    },
    /// Makes or replaces a document. Answer: [`Answer::Done`].
    Put {
        /// Where.
        table: Table,
        /// Which.
        key: Bytes,
        /// What.
        value: Bytes,
    },
    /// Removes a document. Answer: [`Answer::Done`], also if there is none.
    Remove {
        /// Where.
        table: Table,
        /// Which.
        key: Bytes,
    },
    /// Reads a document. Answer: [`Answer::Document`].
    Get {
        /// Where.
        table: Table,
        /// Which.
        key: Bytes,
    },
    /// Reads the documents with keys above `after` (empty for all), in the order of their bytes. Answer:
    /// [`Answer::Documents`].
    List {
        /// Where.
        table: Table,
        /// Not this one and none before.
        after: Bytes,
        /// At most so many; never more than [`crate::limits::STORE_READ_ITEMS`].
        most: usize,
    },
}

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

/// A record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub at: Position,
    /// What was appended.
    pub payload: Bytes,
}

/// A part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Oldest first.
    pub records: Vec<Record>,
    /// There are more above the last one given.
    pub more: bool,
    /// The highest position that the log no longer has; [`Position::ZERO`] if it lost nothing.
    pub dropped: Position,
    /// The highest position that it ever had, as far as it is remembered.
    pub last: Position,
}

/// A part of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// Keys and values.
    pub documents: Vec<(Bytes, Bytes)>,
    /// There are more above the last key given.
    pub more: bool,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done and on disk.
    Done,
    /// To [`Job::Read`].
    Records(Box<Records>),
    /// To [`Job::Get`]: the document, if there is one.
    Document(Option<Bytes>),
    /// To [`Job::List`].
    Documents(Box<Documents>),
    /// To [`Job::Sweep`].
    Swept {
        /// Records dropped.
        records: u64,
        /// One commit was not enough: ask again soon.
        more: bool,
    },
}

/// What a job's reply is told.
pub type Outcome = Result<Answer, StoreError>;

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
    /// Payload bytes.
    pub bytes: u64,
    /// Position of its oldest record; with none, as `last`.
    pub oldest: Position,
    /// The highest position that it ever had, as far as it is remembered.
    pub last: Position,
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
