//! What is asked of the store and what it answers: the language of homes and sessions with what survives the node.
//! The store itself, which does the jobs, is `service/store`.

use crate::channel::Position;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

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
    /// Users and tokens whose grants were taken back.
    pub const REVOKED: Table = Table("revoked");

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
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

/// Why the store did not do a job. Cheap to clone: one failed commit answers many jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Too many jobs, or bytes of jobs, wait already.
    QueueFull,
    /// The store has been shut down; or it ended before the job's turn came.
    Stopped,
    /// The disk, or the store's own bound on its files, is full. Nothing was written; the store goes on, and later
    /// jobs may find room.
    Full,
    /// A record, document, name or key over its limit; or a log that has had 2^42 records and was never empty.
    TooLarge,
    /// A record that is not above the newest one of its log, which is this.
    NotNewer(Position),
    /// A new log over the limit for logs.
    TooManyLogs,
    /// A record or document whose checksum is wrong; the text names it. Nothing else is affected.
    Checksum(Arc<str>),
    /// The files are damaged.
    Damaged(Arc<str>),
    /// The system failed to read, write or sync. Whether the jobs of that commit are on disk is unknown until the
    /// store is opened again.
    Io(Arc<str>),
    /// Another process has the store open.
    InUse,
    /// There is no store, or the file is not one that this version can use.
    NotAStore(Arc<str>),
    /// The store refuses everything since [`StoreError::Io`] or [`StoreError::Damaged`] happened, which the text
    /// tells. Only opening it anew helps.
    Failed(Arc<str>),
}

impl StoreError {
    /// A short name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            StoreError::QueueFull => "store_queue",
            StoreError::Stopped => "store_stopped",
            StoreError::Full => "store_full",
            StoreError::TooLarge => "store_record_bytes",
            StoreError::NotNewer(_) => "store_position",
            StoreError::TooManyLogs => "store_channels",
            StoreError::Checksum(_) => "store_checksum",
            StoreError::Damaged(_) | StoreError::NotAStore(_) => "store_damaged",
            StoreError::Io(_) | StoreError::InUse => "store_io",
            StoreError::Failed(_) => "store_failed",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::QueueFull => f.write_str("too much is waiting for the store"),
            StoreError::Stopped => f.write_str("the store is stopped"),
            StoreError::Full => f.write_str("the store's disk is full"),
            StoreError::TooLarge => f.write_str("too large for the store"),
            StoreError::NotNewer(last) => write!(f, "not above the newest record {}:{}", last.time, last.tag),
            StoreError::TooManyLogs => f.write_str("the store has too many logs"),
            StoreError::Checksum(what) => write!(f, "wrong checksum: {what}"),
            StoreError::Damaged(what) => write!(f, "the store is damaged: {what}"),
            StoreError::Io(what) => write!(f, "the store cannot read or write: {what}"),
            StoreError::InUse => f.write_str("another process has the store open"),
            StoreError::NotAStore(what) => f.write_str(what),
            StoreError::Failed(what) => write!(f, "the store has failed: {what}"),
        }
    }
}

impl std::error::Error for StoreError {}
