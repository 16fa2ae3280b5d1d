//! Looking through a whole store for damage.

use std::path::Path;

use super::db::Db;
use super::logs::Logs;
use super::{LogTotals, StoreError, TableTotals, documents};
use crate::limits::{STORE_CHECK_FINDINGS, StoreLimits};

/// What a store holds and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All logs, by name.
    pub logs: Vec<LogTotals>,
    /// All tables that have documents, by name.
    pub tables: Vec<TableTotals>,
    /// Bytes of the main file.
    pub file_bytes: u64,
    /// What is wrong, at most [`STORE_CHECK_FINDINGS`] of it.
    pub damage: Vec<String>,
    /// What is wrong beside that.
    pub more_damage: u64,
}

/// Opens the store in `dir`, which no other process may have open, and reads all of it: the structure of the file,
/// and the checksum of each record and document. What a killed process left in the write-ahead log is taken over.
///
/// # Errors
/// When there is no store, it cannot be opened or read at all, or another process has it open.
pub fn check(dir: &Path) -> Result<Report, StoreError> {
    let db = Db::open(dir, &StoreLimits::default(), false)?;
    let mut report = Report::default();
    let mut more = 0;
    let mut damage = Vec::new();
    let mut found = |what: String| {
        if damage.len() < STORE_CHECK_FINDINGS { damage.push(what) } else { more += 1 }
    };
    structure(&db, &mut found)?;
    match Logs::load(&db) {
        Ok(logs) => {
            report.logs = logs.totals();
            for totals in &report.logs {
                note(logs.verify(&db, &totals.log, &mut found).map(drop), &mut |what| {
                    found(format!("log {}: {what}", totals.log.escape_ascii()));
                })?;
            }
        }
        Err(error) => note(Err(error), &mut found)?,
    }
    note(documents::verify(&db, &mut found), &mut found)?;
    match documents::totals(&db) {
        Ok(tables) => report.tables = tables,
        Err(error) => note(Err(error), &mut found)?,
    }
    let number = |pragma| db.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    report.file_bytes = (number("page_count")? * number("page_size")?) as u64;
    (report.damage, report.more_damage) = (damage, more);
    // With damage, as little as possible is written.
    db.close(!report.damage.is_empty())?;
    Ok(report)
}

/// The pages, trees and indexes of the file.
fn structure(db: &Db, found: &mut dyn FnMut(String)) -> Result<(), StoreError> {
    let mut statement = db.conn.prepare(&format!("PRAGMA integrity_check({})", STORE_CHECK_FINDINGS + 1))?;
    let mut rows = statement.query(())?;
    loop {
        match rows.next().map_err(StoreError::from) {
            Ok(Some(row)) => {
                let line: String = row.get(0)?;
                if line != "ok" {
                    found(line);
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => return note(Err(error), found),
        }
    }
}

/// Damage is noted, other errors end the check.
fn note(done: Result<(), StoreError>, found: &mut dyn FnMut(String)) -> Result<(), StoreError> {
    match done {
        Err(error @ (StoreError::Damaged(_) | StoreError::Checksum(_))) => {
            found(error.to_string());
            Ok(())
        }
        other => other,
    }
}
