//! What errors of SQLite mean.

use std::sync::Arc;

use super::StoreError;

impl StoreError {
    /// Whether it ends the whole transaction and not only one job.
    pub(super) fn ends_the_commit(&self) -> bool {
        use StoreError::{Damaged, Full, InUse, Io, NotAStore};
        matches!(self, Full | Damaged(_) | Io(_) | InUse | NotAStore(_))
    }
}

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
