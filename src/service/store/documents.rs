//! Small keyed documents in named tables.

use bytes::Bytes;
use rusqlite::OptionalExtension;

use super::db::{Db, checksum};
use super::{Documents, StoreError, Table, TableTotals};
use crate::limits::{STORE_READ_BYTES, STORE_READ_ITEMS};

/// See [`super::Job::Put`].
pub(super) fn put(db: &Db, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let crc = checksum([table.name().as_bytes(), key, value]);
    db.conn
        .prepare_cached("INSERT OR REPLACE INTO documents (tab, key, crc, value) VALUES (?, ?, ?, ?)")?
        .execute((table.name(), key, crc, value))?;
    Ok(())
}

/// See [`super::Job::Remove`].
pub(super) fn remove(db: &Db, table: Table, key: &[u8]) -> Result<(), StoreError> {
    db.conn
        .prepare_cached("DELETE FROM documents WHERE tab = ? AND key = ?")?
        .execute((table.name(), key))?;
    Ok(())
}

/// See [`super::Job::Get`].
pub(super) fn get(db: &Db, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    let mut statement =
        db.conn.prepare_cached("SELECT crc, value FROM documents WHERE tab = ? AND key = ?")?;
    let found: Option<(i64, Vec<u8>)> =
        statement.query_row((table.name(), key), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found
        .map(|(crc, value)| verified(table.name(), key, crc, &value).map(|()| Bytes::from(value)))
        .transpose()
}

/// See [`super::Job::List`].
pub(super) fn list(db: &Db, table: Table, after: &[u8], most: usize) -> Result<Documents, StoreError> {
    let mut statement = db
        .conn
        .prepare_cached("SELECT key, crc, value FROM documents WHERE tab = ? AND key > ? ORDER BY key")?;
    let mut rows = statement.query((table.name(), after))?;
    let (mut part, mut bytes) = (Documents::default(), 0);
    while let Some(row) = rows.next()? {
        let full = bytes >= STORE_READ_BYTES && !part.documents.is_empty();
        if part.documents.len() >= most.min(STORE_READ_ITEMS) || full {
            part.more = true;
            break;
        }
        let (key, crc, value): (Vec<u8>, i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        verified(table.name(), &key, crc, &value)?;
        bytes += key.len() + value.len();
        part.documents.push((key.into(), value.into()));
    }
    Ok(part)
}

/// What each table holds, by name.
pub(super) fn totals(db: &Db) -> Result<Vec<TableTotals>, StoreError> {
    let mut statement = db
        .conn
        .prepare("SELECT tab, count(*), sum(length(value)) FROM documents GROUP BY tab ORDER BY tab")?;
    let tables = statement.query_map((), |row| {
        let (documents, bytes): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(TableTotals { table: row.get(0)?, documents: documents as u64, bytes: bytes as u64 })
    })?;
    Ok(tables.collect::<rusqlite::Result<_>>()?)
}

/// Reads every document and passes what is wrong with it to `found`.
pub(super) fn verify(db: &Db, found: &mut dyn FnMut(String)) -> Result<(), StoreError> {
    let mut statement = db.conn.prepare("SELECT tab, key, crc, value FROM documents")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (table, key): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        match verified(&table, &key, row.get(2)?, &row.get::<_, Vec<u8>>(3)?) {
            Err(StoreError::Checksum(what)) => found(format!("wrong checksum: {what}")),
            other => other?,
        }
    }
    Ok(())
}

fn verified(table: &str, key: &[u8], crc: i64, value: &[u8]) -> Result<(), StoreError> {
    if crc == i64::from(checksum([table.as_bytes(), key, value])) {
        return Ok(());
    }
    Err(StoreError::Checksum(format!("document {} of table {table}", key.escape_ascii()).into()))
}
