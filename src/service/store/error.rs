//! Why a job was not done.

use std::fmt;
use std::sync::Arc;

use crate::channel::Position;

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
    /// Whether it ends the whole transaction and not only one job.
    pub(super) fn ends_the_commit(&self) -> bool {
        use StoreError::{Damaged, Full, InUse, Io, NotAStore};
        matches!(self, Full | Damaged(_) | Io(_) | InUse | NotAStore(_))
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

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let text = || -> Arc<str> { error.to_string().into() };
        match &error {
            rusqlite::Error::SqliteFailure(cause, _) => match cause.code {
                ErrorCode::DiskFull => StoreError::Full,
                ErrorCode::DatabaseCorrupt => StoreError::Damaged(text()),
                ErrorCode::NotADatabase => StoreError::NotAStore(text()),
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::InUse,
                _ => StoreError::Io(format!("{} (code {})", error, cause.extended_code).into()),
            },
            // A column of another type than we write, a row that has to be there and is not.
            _ => StoreError::Damaged(text()),
        }
    }
}
