//! The database file: how it is opened, its schema, its transactions and its write-ahead log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags};

use super::StoreError;
use crate::channel::Position;
use crate::limits::{STORE_CACHE_BYTES, STORE_VACUUM_PAGES, STORE_WAL_PARTS, StoreLimits};

/// The main file in the store's directory.
const FILE: &str = "store.db";
/// "fanw": what file(1) and we know the file by.
const APPLICATION_ID: i32 = 0x6661_6e77;
/// Of the schema.
const VERSION: i32 = 1;
/// Bytes. Appends to many logs dirty one page each, so larger ones cost more than they save.
pub(super) const PAGE_BYTES: u64 = 4096;
/// The smallest main file that can hold anything, pages.
const PAGES_MIN: u64 = 64;
/// Bits of a record's number that count within its log. The number of its log stands above them, so that the records
/// of a log lie side by side in order, and pages that retention empties become free as a whole.
pub(super) const SEQUENCE_BITS: u32 = 42;

/// `at` is the position as twelve big-endian bytes; `crc` is CRC-32 over the log's name (or table and key), `at` and
/// the payload, each with its length. Payloads stand last: to read what is before does not read them.
const SCHEMA: &str = "
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, dropped BLOB NOT NULL,
        max_records INTEGER NOT NULL, max_bytes INTEGER NOT NULL, max_age_s INTEGER NOT NULL,
        min_records INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE records (
        id INTEGER PRIMARY KEY, at BLOB NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE documents (
        tab TEXT NOT NULL, key BLOB NOT NULL, crc INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (tab, key)
    ) STRICT, WITHOUT ROWID;";

/// See [`super::Store::is_in`].
pub(super) fn is_in(dir: &Path) -> bool {
    dir.join(FILE).is_file()
}

/// An open database that no other process can open.
pub(super) struct Db {
    pub conn: Connection,
    wal_bytes: u64,
}

/// Makes the directory and the main file, where they are not there yet, for nobody but their owner: secrets of apps
/// are in it. The write-ahead log gets the file's mode.
fn make_private(dir: &Path, file: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(file).map(drop)
}

impl Db {
    /// Opens the store in `dir`; with `create`, makes one where there is none. What a killed process left in the
    /// write-ahead log is taken over.
    pub fn open(dir: &Path, limits: &StoreLimits, create: bool) -> Result<Db, StoreError> {
        let path = dir.join(FILE);
        if create {
            make_private(dir, &path).map_err(|e| io(dir, &e))?;
        } else if !path.is_file() {
            return Err(StoreError::NotAStore(format!("{}: no store there", path.display()).into()));
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        let conn = Connection::open_with_flags(&path, flags)?;
        conn.busy_timeout(Duration::ZERO)?;
        // Exclusive before anything is read: then the index of the write-ahead log is in memory.
        conn.pragma_update(None, "locking_mode", "exclusive")?;
        let db = Db { conn, wal_bytes: limits.wal_bytes };
        db.adopt(&path, create)?;
        let wal = limits.wal_bytes.saturating_mul(STORE_WAL_PARTS + 1);
        db.tune(limits, limits.disk_bytes.saturating_sub(wal))?;
        if create {
            // The entries of directories have to be on disk as well.
            let entry = |dir: &Path| File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io(dir, &e));
            entry(dir)?;
            dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), entry)?;
        }
        Ok(db)
    }

    /// A store in memory.
    pub fn open_in_memory(limits: &StoreLimits) -> Result<Db, StoreError> {
        let db = Db { conn: Connection::open_in_memory()?, wal_bytes: limits.wal_bytes };
        db.make_schema()?;
        db.tune(limits, limits.memory_bytes)?;
        Ok(db)
    }

    /// Makes the schema in an empty file, refuses files of others and of later versions.
    fn adopt(&self, path: &Path, create: bool) -> Result<(), StoreError> {
        let number = |pragma| self.conn.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        let not_ours = |what: &str| StoreError::NotAStore(format!("{}: {what}", path.display()).into());
        let (id, version) = (number("application_id")?, number("user_version")?);
        if id == APPLICATION_ID && version == VERSION {
            return self.wal_mode();
        }
        if id == APPLICATION_ID {
            return Err(not_ours(&format!("a store of version {version}; this program knows {VERSION}")));
        }
        let tables: i64 = self.conn.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        if id != 0 || version != 0 || tables != 0 || !create {
            return Err(not_ours("a database, but not a store of fanwire"));
        }
        self.conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        self.conn.pragma_update(None, "auto_vacuum", "incremental")?;
        self.wal_mode()?;
        self.conn.pragma_update(None, "synchronous", "full")?;
        self.make_schema()
    }

    fn make_schema(&self) -> Result<(), StoreError> {
        self.conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        ))?;
        Ok(())
    }

    fn wal_mode(&self) -> Result<(), StoreError> {
        let mode: String =
            self.conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        match mode.as_str() {
            "wal" => Ok(()),
            _ => Err(StoreError::Io("the file system takes no write-ahead log".into())),
        }
    }

    /// Sets what lasts as long as the connection; the main file has at most `bytes`.
    fn tune(&self, limits: &StoreLimits, bytes: u64) -> Result<(), StoreError> {
        let set = |pragma, value: i64| {
            // Some of these answer with the new value, some do not.
            self.conn.pragma_update_and_check(None, pragma, value, |_| Ok(())).or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(error),
            })
        };
        let pages = (bytes / PAGE_BYTES).max(PAGES_MIN);
        self.conn.pragma_update(None, "synchronous", "full")?;
        set("max_page_count", pages.min(u32::MAX.into()) as i64)?;
        // Moved by `checkpoint`, which sees its errors; the automatic way swallows them.
        set("wal_autocheckpoint", 0)?;
        set("journal_size_limit", i64::try_from(limits.wal_bytes).unwrap_or(i64::MAX))?;
        set("cache_size", -((STORE_CACHE_BYTES / 1024) as i64))?;
        set("cell_size_check", 1)?;
        set("trusted_schema", 0)?;
        self.conn.pragma_update(None, "temp_store", "memory")?;
        self.conn.set_prepared_statement_cache_capacity(64);
        Ok(())
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<(), StoreError> {
        Ok(self.run("BEGIN IMMEDIATE")?)
    }

    /// Ends the transaction; when this returns, it is on disk.
    pub fn commit(&self) -> Result<(), StoreError> {
        Ok(self.run("COMMIT")?)
    }

    /// Undoes the transaction, if the error that is the reason for it has not done so already.
    pub fn rollback(&self) -> Result<(), StoreError> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        Ok(self.run("ROLLBACK")?)
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute(()).map(drop)
    }

    /// Bytes in the write-ahead log.
    fn wal_used(&self) -> Result<u64, StoreError> {
        let (frames, _) = self.conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::NOOP)?;
        // A frame is a page and its head of 24 bytes.
        Ok(u64::try_from(frames).unwrap_or(0) * (PAGE_BYTES + 24))
    }

    /// Moves the write-ahead log into the main file once it is long enough.
    ///
    /// # Errors
    /// A full disk is none before the log is [`STORE_WAL_PARTS`] times as long as it should be: what is in it is safe.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let used = self.wal_used()?;
        if used < self.wal_bytes {
            return Ok(());
        }
        match self.conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE).map_err(StoreError::from) {
            Err(StoreError::Full) if used < self.wal_bytes * STORE_WAL_PARTS => Ok(()),
            other => other.map(drop),
        }
    }

    /// Gives free pages back to the file system when they are a quarter of the file.
    pub fn vacuum(&self) -> Result<(), StoreError> {
        let number = |pragma| self.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (free, all) = (number("freelist_count")?, number("page_count")?);
        if free > PAGES_MIN as i64 && free * 4 > all {
            let mut statement =
                self.conn.prepare_cached(&format!("PRAGMA incremental_vacuum({STORE_VACUUM_PAGES})"))?;
            let mut rows = statement.query(())?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }

    /// Closes it and empties the write-ahead log; after a failure everything is left as it is.
    pub fn close(self, failed: bool) -> Result<(), StoreError> {
        if failed {
            self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        } else {
            self.conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE)?;
        }
        self.conn.close().map_err(|(_, error)| error.into())
    }
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", PathBuf::from(path).display()).into())
}

/// A position as it is stored.
pub(super) fn at_bytes(at: Position) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&at.time.to_be_bytes());
    bytes[8..].copy_from_slice(&at.tag.to_be_bytes());
    bytes
}

/// The position that was stored.
pub(super) fn at_from(bytes: &[u8]) -> Result<Position, StoreError> {
    let split = bytes.split_first_chunk::<8>().and_then(|(time, tag)| Some((time, tag.try_into().ok()?)));
    let (time, tag) = split.ok_or_else(|| StoreError::Damaged("a position of a wrong length".into()))?;
    Ok(Position { time: u64::from_be_bytes(*time), tag: u32::from_be_bytes(tag) })
}

/// The checksum of a record or document over its parts.
pub(super) fn checksum(parts: [&[u8]; 3]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in parts {
        crc.update(&(part.len() as u64).to_le_bytes());
        crc.update(part);
    }
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_positions_are_ordered_like_positions() {
        let times = [0, 1, 255, 256, u64::from(u32::MAX), 1 << 40, u64::MAX];
        let all: Vec<Position> =
            times.iter().flat_map(|&time| [0, 1, 256, u32::MAX].map(|tag| Position { time, tag })).collect();
        for pair in all.windows(2) {
            assert!(at_bytes(pair[0]) < at_bytes(pair[1]));
            assert_eq!(at_from(&at_bytes(pair[0])).unwrap(), pair[0]);
        }
        assert!(at_from(&[0; 11]).is_err() && at_from(&[0; 13]).is_err());
    }

    #[test]
    fn checksums_tell_where_a_part_ends() {
        assert_ne!(checksum([b"ab", b"c", b""]), checksum([b"a", b"bc", b""]));
        assert_ne!(checksum([b"", b"", b"x"]), checksum([b"", b"x", b""]));
    }
}
