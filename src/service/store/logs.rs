//! Logs: what is known of each in memory, and the statements on their records.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use rusqlite::OptionalExtension;

use super::db::{Db, PAGE_BYTES, SEQUENCE_BITS, at_bytes, at_from, checksum};
use super::{LogTotals, Record, Records, Retention, StoreError};
use crate::channel::Position;
use crate::limits::{
    STORE_FORGET_S, STORE_READ_BYTES, STORE_READ_ITEMS, STORE_SCAN_BYTES, STORE_TRIM_RECORDS,
};

/// What is known of a log. Its records are those with the sequence numbers `first..next`, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Log {
    id: u32,
    first: u64,
    next: u64,
    /// Of their payloads; none while they were not counted.
    bytes: Option<u64>,
    /// Of record `first`.
    oldest: Position,
    /// Of record `next - 1`; without records, as `dropped`.
    last: Position,
    /// The highest that was dropped.
    dropped: Position,
    retention: Retention,
}

impl Log {
    fn records(&self) -> u64 {
        self.next - self.first
    }

    /// The number of its record `sequence` among all records.
    fn row(&self, sequence: u64) -> i64 {
        (i64::from(self.id) << SEQUENCE_BITS) | sequence as i64
    }

    /// Whether its oldest record has to go.
    fn is_over(&self, now_s: u64) -> bool {
        let (records, keep) = (self.records(), &self.retention);
        let too_much =
            records > 1 && (records > keep.max_records || self.bytes.unwrap_or(0) > keep.max_bytes);
        let expired = keep.max_age_s < u64::MAX && self.oldest.time.saturating_add(keep.max_age_s) <= now_s;
        too_much || records > keep.min_records && expired
    }

    fn is_forgettable(&self, now_s: u64) -> bool {
        self.records() == 0 && self.last.time.saturating_add(STORE_FORGET_S) <= now_s
    }
}

/// All logs. Changes are made in a transaction of [`Db`] and are undone here by [`Logs::undo`].
#[derive(Default)]
pub(super) struct Logs {
    by_name: HashMap<Bytes, Log>,
    /// Numbers up to `top` that no log has. They are used again: they have few bits, and logs come and go.
    free: BTreeSet<u32>,
    top: u32,
    /// Logs that this transaction touched, as they were before it.
    before: HashMap<Bytes, Option<Log>>,
}

impl Logs {
    /// Finds out what is there: of a small store as [`Logs::load`], of a large one without reading its records, so
    /// that it is soon open.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]; of a large store what is wrong between the first and the last record of a log is found
    /// only when it is read.
    pub fn open(db: &Db) -> Result<Logs, StoreError> {
        let pages: i64 = db.conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
        if pages as u64 * PAGE_BYTES <= STORE_SCAN_BYTES { Logs::load(db) } else { Logs::seek(db) }
    }

    /// Reads the heads of all logs and of all records.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] also for records that are missing from the middle of a log, or belong to none.
    pub fn load(db: &Db) -> Result<Logs, StoreError> {
        let (names, mut found) = heads(db)?;
        let mut records = db.conn.prepare("SELECT id, at, length(payload) FROM records ORDER BY id")?;
        let mut rows = records.query(())?;
        while let Some(row) = rows.next()? {
            let (number, bytes): (i64, i64) = (row.get(0)?, row.get(2)?);
            let (id, sequence) =
                ((number >> SEQUENCE_BITS) as u32, number as u64 & ((1 << SEQUENCE_BITS) - 1));
            let at = at_from(row.get_ref(1)?.as_blob().map_err(from_sql)?)?;
            let log = found
                .get_mut(&id)
                .ok_or_else(|| StoreError::Damaged(format!("record {number} belongs to no log").into()))?;
            if log.records() == 0 {
                (log.first, log.next, log.oldest) = (sequence, sequence, at);
            } else if log.next != sequence || log.last >= at {
                let name = names[&id].escape_ascii();
                return Err(StoreError::Damaged(
                    format!("log {name}: a gap before {}:{}", at.time, at.tag).into(),
                ));
            }
            (log.next, log.last) = (sequence + 1, at);
            log.bytes = log.bytes.map(|sum| sum + bytes as u64);
        }
        Ok(Logs::of(names, found))
    }

    /// Looks at the first and the last record of each log.
    fn seek(db: &Db) -> Result<Logs, StoreError> {
        let (names, mut found) = heads(db)?;
        let mut first = db.conn.prepare("SELECT id, at FROM records WHERE id >= ? ORDER BY id LIMIT 1")?;
        let mut last = db.conn.prepare("SELECT id, at FROM records WHERE id < ? ORDER BY id DESC LIMIT 1")?;
        let head = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        let mut from = 0;
        while let Some((number, oldest)) = first.query_row((from,), head).optional()? {
            let id = (number >> SEQUENCE_BITS) as u32;
            from = (i64::from(id) + 1) << SEQUENCE_BITS;
            let log = found
                .get_mut(&id)
                .ok_or_else(|| StoreError::Damaged(format!("record {number} belongs to no log").into()))?;
            let (highest, newest) = last.query_row((from,), head)?;
            let sequence = |number: i64| number as u64 & ((1 << SEQUENCE_BITS) - 1);
            (log.first, log.next) = (sequence(number), sequence(highest) + 1);
            (log.oldest, log.last) = (at_from(&oldest)?, at_from(&newest)?);
            log.bytes = None;
            if highest < number || log.last < log.oldest {
                let name = names[&id].escape_ascii();
                return Err(StoreError::Damaged(format!("log {name}: records out of order").into()));
            }
        }
        Ok(Logs::of(names, found))
    }

    fn of(names: HashMap<u32, Bytes>, found: HashMap<u32, Log>) -> Logs {
        let top = found.keys().copied().max().unwrap_or(0);
        let free = (1..=top).filter(|id| !found.contains_key(id)).collect();
        let by_name = found.into_iter().map(|(id, log)| (names[&id].clone(), log)).collect();
        Logs { by_name, free, top, before: HashMap::new() }
    }

    /// What each holds, by name.
    pub fn totals(&self) -> Vec<LogTotals> {
        let totals = self.by_name.iter().map(|(name, log)| LogTotals {
            log: name.clone(),
            records: log.records(),
            bytes: log.bytes,
            oldest: log.oldest,
            last: log.last,
            retention: log.retention,
        });
        let mut totals: Vec<LogTotals> = totals.collect();
        totals.sort_by(|a, b| a.log.cmp(&b.log));
        totals
    }

    /// The transaction is on disk.
    pub fn keep(&mut self) {
        self.before.clear();
    }

    /// The transaction was undone.
    pub fn undo(&mut self) {
        // First all numbers that are in use now, as one may have gone from log to log.
        self.free.extend(self.before.keys().filter_map(|name| self.by_name.remove(name)).map(|log| log.id));
        for (name, log) in self.before.drain() {
            if let Some(log) = log {
                self.free.remove(&log.id);
                self.by_name.insert(name, log);
            }
        }
    }

    fn touch(&mut self, name: &Bytes) {
        if !self.before.contains_key(name) {
            self.before.insert(name.clone(), self.by_name.get(name).copied());
        }
    }

    /// See [`super::Job::Append`]; what has to go for it goes with [`Logs::trim`]. `most` logs are allowed.
    pub fn append(
        &mut self,
        db: &Db,
        (name, at, payload): (&Bytes, Position, &[u8]),
        retention: Retention,
        most: usize,
    ) -> Result<(), StoreError> {
        let mut log = match self.by_name.get(name) {
            Some(log) if at <= log.last => return Err(StoreError::NotNewer(log.last)),
            Some(log) => *log,
            // Position zero stands for "before everything".
            None if at == Position::ZERO => return Err(StoreError::NotNewer(at)),
            None if self.by_name.len() >= most => return Err(StoreError::TooManyLogs),
            None => self.make(db, name, retention)?,
        };
        if log.next >> SEQUENCE_BITS != 0 {
            return Err(StoreError::TooLarge);
        }
        self.touch(name);
        if log.retention != retention {
            log.retention = retention;
            let keep =
                [retention.max_records, retention.max_bytes, retention.max_age_s, retention.min_records];
            let [records, bytes, age, min] = keep.map(|value| value as i64);
            db.conn
                .prepare_cached(
                    "UPDATE logs SET max_records = ?2, max_bytes = ?3, max_age_s = ?4, min_records = ?5 WHERE id = ?1",
                )?
                .execute((log.id, records, bytes, age, min))?;
        }
        let at_bytes = at_bytes(at);
        let crc = checksum([name, &at_bytes, payload]);
        db.conn
            .prepare_cached("INSERT INTO records (id, at, crc, payload) VALUES (?, ?, ?, ?)")?
            .execute((log.row(log.next), &at_bytes[..], crc, payload))?;
        if log.records() == 0 {
            log.oldest = at;
        }
        log.next += 1;
        log.bytes = log.bytes.map(|sum| sum + payload.len() as u64);
        log.last = at;
        self.by_name.insert(name.clone(), log);
        Ok(())
    }

    fn make(&mut self, db: &Db, name: &Bytes, retention: Retention) -> Result<Log, StoreError> {
        let id = self.free.pop_first().unwrap_or_else(|| {
            self.top += 1;
            self.top
        });
        self.touch(name);
        let zero = Position::ZERO;
        let log =
            Log { id, first: 1, next: 1, bytes: Some(0), oldest: zero, last: zero, dropped: zero, retention };
        self.by_name.insert(name.clone(), log);
        let keep = [retention.max_records, retention.max_bytes, retention.max_age_s, retention.min_records];
        let [records, bytes, age, min] = keep.map(|value| value as i64);
        db.conn.prepare_cached("INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?)")?.execute((
            id,
            &name[..],
            &at_bytes(zero)[..],
            records,
            bytes,
            age,
            min,
        ))?;
        Ok(log)
    }

    /// Drops what the retention of a log does not keep, at most `most` records; returns how many.
    pub fn trim(&mut self, db: &Db, name: &Bytes, now_s: u64, most: u64) -> Result<u64, StoreError> {
        self.count(db, name)?;
        let Some(mut log) = self.by_name.get(name).copied().filter(|log| log.is_over(now_s)) else {
            return Ok(0);
        };
        let from = log.first;
        {
            let mut heads = db.conn.prepare_cached(
                "SELECT at, length(payload) FROM records WHERE id >= ? AND id < ? ORDER BY id",
            )?;
            let mut rows = heads.query((log.row(log.first), log.row(log.next)))?;
            while let Some(row) = rows.next()? {
                log.oldest = at_from(row.get_ref(0)?.as_blob().map_err(from_sql)?)?;
                if log.first - from >= most || !log.is_over(now_s) {
                    break;
                }
                log.dropped = log.oldest;
                let gone = row.get::<_, i64>(1)? as u64;
                log.bytes = log.bytes.map(|sum| sum.saturating_sub(gone));
                log.first += 1;
            }
        }
        self.drop_front(db, name, log, from)
    }

    /// Counts the payload of a log whose retention asks for it, unless that is done.
    fn count(&mut self, db: &Db, name: &Bytes) -> Result<(), StoreError> {
        let uncounted = |log: &Log| log.bytes.is_none() && log.retention.max_bytes < u64::MAX;
        let Some(mut log) = self.by_name.get(name).copied().filter(uncounted) else { return Ok(()) };
        log.bytes = Some(payload_bytes(db, &log, log.first, log.next)?);
        self.touch(name);
        self.by_name.insert(name.clone(), log);
        Ok(())
    }

    /// See [`super::Job::Truncate`].
    pub fn truncate(&mut self, db: &Db, name: &Bytes, through: Position) -> Result<(), StoreError> {
        let Some(mut log) = self.by_name.get(name).copied() else { return Ok(()) };
        let through = through.min(log.last);
        if through < log.oldest || log.records() == 0 {
            return Ok(());
        }
        let from = log.first;
        log.first = sequence_above(db, &log, through)?;
        if let Some(sum) = log.bytes {
            log.bytes = Some(sum.saturating_sub(payload_bytes(db, &log, from, log.first)?));
        }
        log.dropped = through;
        log.oldest = if log.records() == 0 { log.last } else { position(db, &log, log.first)? };
        self.drop_front(db, name, log, from).map(drop)
    }

    /// See [`super::Job::Delete`].
    pub fn delete(&mut self, db: &Db, name: &Bytes) -> Result<(), StoreError> {
        let last = self.by_name.get(name).map_or(Position::ZERO, |log| log.last);
        self.truncate(db, name, last)
    }

    /// `log` is how the log is to be: its records from `from` to before `log.first` go.
    fn drop_front(&mut self, db: &Db, name: &Bytes, log: Log, from: u64) -> Result<u64, StoreError> {
        self.touch(name);
        let gone = db
            .conn
            .prepare_cached("DELETE FROM records WHERE id >= ? AND id < ?")?
            .execute((log.row(from), log.row(log.first)))? as u64;
        if gone != log.first - from {
            let name = name.escape_ascii();
            return Err(StoreError::Damaged(format!("log {name}: records are missing").into()));
        }
        db.conn
            .prepare_cached("UPDATE logs SET dropped = ? WHERE id = ?")?
            .execute((&at_bytes(log.dropped)[..], log.id))?;
        self.by_name.insert(name.clone(), log);
        Ok(gone)
    }

    /// See [`super::Job::Sweep`]: the records dropped, and whether there are more.
    pub fn sweep(&mut self, db: &Db, now_s: u64) -> Result<(u64, bool), StoreError> {
        let due = |log: &Log| log.records() > 0 && log.is_over(now_s) || log.is_forgettable(now_s);
        let due: Vec<Bytes> =
            self.by_name.iter().filter(|(_, log)| due(log)).map(|(name, _)| name.clone()).collect();
        let (mut records, mut logs) = (0, 0);
        for name in &due {
            if records >= STORE_TRIM_RECORDS || logs >= STORE_TRIM_RECORDS {
                return Ok((records, true));
            }
            records += self.trim(db, name, now_s, STORE_TRIM_RECORDS - records)?;
            logs += 1;
            if let Some(log) = self.by_name.get(name).copied().filter(|log| log.is_forgettable(now_s)) {
                self.touch(name);
                db.conn.prepare_cached("DELETE FROM logs WHERE id = ?")?.execute((log.id,))?;
                self.by_name.remove(name);
                self.free.insert(log.id);
            }
        }
        Ok((records, records >= STORE_TRIM_RECORDS))
    }

    /// See [`super::Job::Read`].
    ///
    /// # Errors
    /// [`StoreError::Checksum`] for the whole part if one of its records is damaged.
    pub fn read(&self, db: &Db, name: &Bytes, after: Position, most: usize) -> Result<Records, StoreError> {
        let Some(log) = self.by_name.get(name) else { return Ok(Records::default()) };
        let mut part = Records { dropped: log.dropped, last: log.last, ..Records::default() };
        let first = if after < log.oldest { log.first } else { sequence_above(db, log, after)? };
        let most = most.min(STORE_READ_ITEMS);
        let mut bytes = 0;
        let mut statement = db.conn.prepare_cached(
            "SELECT at, crc, payload, id FROM records WHERE id >= ? AND id < ? ORDER BY id",
        )?;
        let mut rows = statement.query((log.row(first), log.row(log.next)))?;
        while let Some(row) = rows.next()? {
            let full = bytes >= STORE_READ_BYTES && !part.records.is_empty();
            if part.records.len() >= most || full {
                part.more = true;
                break;
            }
            let record = record(name, row)?;
            let sequence = first + part.records.len() as u64;
            if row.get::<_, i64>(3)? != log.row(sequence) {
                let (name, at) = (name.escape_ascii(), record.at);
                return Err(StoreError::Damaged(
                    format!("log {name}: a gap before {}:{}", at.time, at.tag).into(),
                ));
            }
            bytes += record.payload.len();
            part.records.push(record);
        }
        Ok(part)
    }

    /// Reads every record of a log and passes what is wrong with it to `found`; returns the records read.
    pub fn verify(&self, db: &Db, name: &Bytes, found: &mut dyn FnMut(String)) -> Result<u64, StoreError> {
        let Some(log) = self.by_name.get(name) else { return Ok(0) };
        let mut statement = db
            .conn
            .prepare_cached("SELECT at, crc, payload FROM records WHERE id >= ? AND id < ? ORDER BY id")?;
        let mut rows = statement.query((log.row(log.first), log.row(log.next)))?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            match record(name, row) {
                Err(StoreError::Checksum(what)) => found(format!("wrong checksum: {what}")),
                other => drop(other?),
            }
            read += 1;
        }
        Ok(read)
    }
}

/// All logs as if they had no records, and their names.
fn heads(db: &Db) -> Result<(HashMap<u32, Bytes>, HashMap<u32, Log>), StoreError> {
    let (mut names, mut found) = (HashMap::new(), HashMap::new());
    let mut logs = db
        .conn
        .prepare("SELECT id, name, dropped, max_records, max_bytes, max_age_s, min_records FROM logs")?;
    let mut rows = logs.query(())?;
    while let Some(row) = rows.next()? {
        let id: u32 = row.get(0)?;
        let dropped = at_from(row.get_ref(2)?.as_blob().map_err(from_sql)?)?;
        let count = |column| row.get::<_, i64>(column).map(|value| value as u64);
        let retention = Retention {
            max_records: count(3)?,
            max_bytes: count(4)?,
            max_age_s: count(5)?,
            min_records: count(6)?,
        };
        names.insert(id, Bytes::from(row.get::<_, Vec<u8>>(1)?));
        let empty =
            Log { id, first: 1, next: 1, bytes: Some(0), oldest: dropped, last: dropped, dropped, retention };
        found.insert(id, empty);
    }
    Ok((names, found))
}

fn from_sql(error: rusqlite::types::FromSqlError) -> StoreError {
    StoreError::Damaged(error.to_string().into())
}

/// The record in a row of `at, crc, payload`.
fn record(name: &[u8], row: &rusqlite::Row<'_>) -> Result<Record, StoreError> {
    let at_bytes = row.get_ref(0)?.as_blob().map_err(from_sql)?;
    let (crc, payload) = (row.get::<_, i64>(1)?, row.get_ref(2)?.as_blob().map_err(from_sql)?);
    let at = at_from(at_bytes)?;
    if crc != i64::from(checksum([name, at_bytes, payload])) {
        let what = format!("record {}:{} of log {}", at.time, at.tag, name.escape_ascii());
        return Err(StoreError::Checksum(what.into()));
    }
    Ok(Record { at, payload: Bytes::copy_from_slice(payload) })
}

/// Bytes of the payloads of the records `from..to`.
fn payload_bytes(db: &Db, log: &Log, from: u64, to: u64) -> Result<u64, StoreError> {
    let mut statement = db
        .conn
        .prepare_cached("SELECT coalesce(sum(length(payload)), 0) FROM records WHERE id >= ? AND id < ?")?;
    Ok(statement.query_row((log.row(from), log.row(to)), |row| row.get::<_, i64>(0))? as u64)
}

/// The position of a record that has to be there.
fn position(db: &Db, log: &Log, sequence: u64) -> Result<Position, StoreError> {
    let mut statement = db.conn.prepare_cached("SELECT at FROM records WHERE id = ?")?;
    let at: Option<Vec<u8>> = statement.query_row((log.row(sequence),), |row| row.get(0)).optional()?;
    at_from(&at.ok_or_else(|| StoreError::Damaged("a record is missing from a log".into()))?)
}

/// The sequence number of the first record above `at`, by bisection.
fn sequence_above(db: &Db, log: &Log, at: Position) -> Result<u64, StoreError> {
    if at >= log.last {
        return Ok(log.next);
    }
    let (mut low, mut high) = (log.first, log.next);
    while low < high {
        let middle = low + (high - low) / 2;
        if position(db, log, middle)? <= at { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(records: u64, bytes: u64, oldest_s: u64, retention: Retention) -> Log {
        let oldest = Position { time: oldest_s, tag: 3 };
        let dropped = Position::ZERO;
        Log {
            id: 1,
            first: 5,
            next: 5 + records,
            bytes: Some(bytes),
            oldest,
            last: oldest,
            dropped,
            retention,
        }
    }

    #[test]
    fn bounds_are_exact() {
        let all = Retention::ALL;
        let cases = [
            (log(3, 30, 100, Retention { max_records: 3, ..all }), false),
            (log(4, 30, 100, Retention { max_records: 3, ..all }), true),
            (log(3, 30, 100, Retention { max_bytes: 30, ..all }), false),
            (log(3, 31, 100, Retention { max_bytes: 30, ..all }), true),
            (log(1, 31, 100, Retention { max_bytes: 30, max_records: 0, ..all }), false),
            (log(3, 30, 151, Retention { max_age_s: 50, ..all }), false),
            (log(3, 30, 150, Retention { max_age_s: 50, ..all }), true),
            (log(1, 30, 150, Retention { max_age_s: 50, ..all }), true),
            (log(3, 30, 150, Retention { max_age_s: 50, min_records: 3, ..all }), false),
            (log(4, 30, 150, Retention { max_age_s: 50, min_records: 3, ..all }), true),
            (log(0, 0, 0, Retention { max_age_s: 0, ..all }), false),
            (log(3, 30, u64::MAX, Retention { max_age_s: u64::MAX - 1, ..all }), false),
        ];
        for (log, over) in cases {
            assert_eq!(log.is_over(200), over, "{log:?}");
        }
    }

    #[test]
    fn a_transaction_that_is_undone_leaves_names_and_numbers_alone() {
        let dir = std::env::temp_dir().join(format!("fanwire-store-undo-{}", std::process::id()));
        let db = Db::open(&dir, &Default::default(), true).unwrap();
        let mut logs = Logs::default();
        let at = |time| Position { time, tag: 0 };
        let append = |logs: &mut Logs, name: &'static str, time| {
            logs.append(&db, (&Bytes::from(name), at(time), b"x"), Retention::ALL, 9).unwrap();
        };
        let facts = |logs: &Logs| {
            let mut ids: Vec<(Bytes, Log)> = logs.by_name.iter().map(|(n, l)| (n.clone(), *l)).collect();
            ids.sort_by(|a, b| a.0.cmp(&b.0));
            (ids, (1..=logs.top).filter(|id| logs.free.contains(id)).count())
        };
        db.begin().unwrap();
        for (name, time) in [("a", 1), ("b", 1), ("c", 1), ("a", 2)] {
            append(&mut logs, name, time);
        }
        logs.delete(&db, &Bytes::from("b")).unwrap();
        db.commit().unwrap();
        logs.keep();
        let before = facts(&logs);

        db.begin().unwrap();
        assert_eq!(logs.sweep(&db, 1 + STORE_FORGET_S).unwrap(), (0, false));
        assert!(!logs.by_name.contains_key("b".as_bytes()), "forgotten");
        append(&mut logs, "d", 5);
        append(&mut logs, "b", 5);
        append(&mut logs, "a", 7);
        logs.truncate(&db, &Bytes::from("c"), at(9)).unwrap();
        db.rollback().unwrap();
        logs.undo();
        assert_eq!(facts(&logs).0, before.0);
        let used: BTreeSet<u32> = logs.by_name.values().map(|log| log.id).collect();
        assert_eq!(used.len(), 3);
        assert!(used.is_disjoint(&logs.free), "no number is both used and free");
        db.begin().unwrap();
        append(&mut logs, "e", 1);
        append(&mut logs, "b", 2);
        db.commit().unwrap();
        logs.keep();
        let loaded = Logs::load(&db).unwrap();
        let totals = logs.totals();
        assert_eq!(loaded.totals(), totals);
        assert_eq!(totals.iter().map(|log| log.records).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert!(totals.iter().all(|log| log.bytes.is_some()));

        // A large store is opened without counting; what is counted later is the same.
        let mut sought = Logs::seek(&db).unwrap();
        let uncounted = totals.iter().map(|log| LogTotals { bytes: None, ..log.clone() });
        assert_eq!(sought.totals(), uncounted.collect::<Vec<_>>());
        db.begin().unwrap();
        let keep = Retention { max_bytes: 2, ..Retention::ALL };
        for time in [3, 4] {
            sought.append(&db, (&Bytes::from("a"), at(time), b"xy"), keep, 9).unwrap();
            sought.trim(&db, &Bytes::from("a"), 4, 9).unwrap();
        }
        sought.truncate(&db, &Bytes::from("c"), at(9)).unwrap();
        db.commit().unwrap();
        sought.keep();
        let totals = |logs: &Logs| {
            let totals = logs.totals().into_iter().map(|log| (log.log, log.records, log.oldest, log.last));
            totals.collect::<Vec<_>>()
        };
        let loaded = Logs::load(&db).unwrap();
        assert_eq!(totals(&sought), totals(&loaded));
        let a = &sought.by_name["a".as_bytes()];
        assert_eq!((a.records(), a.bytes), (1, Some(2)));
        // A gap is found when it is read, or looked for.
        db.conn
            .execute("INSERT INTO records VALUES (?, ?, 0, x'')", (a.row(a.next + 1), &at_bytes(at(9))[..]))
            .unwrap();
        let gap = Logs::seek(&db).unwrap();
        let read = gap.read(&db, &Bytes::from("a"), Position::ZERO, 9);
        assert!(matches!(read, Err(StoreError::Damaged(_) | StoreError::Checksum(_))), "{read:?}");
        assert!(matches!(Logs::load(&db), Err(StoreError::Damaged(_))));
        db.close(false).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
