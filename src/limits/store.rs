//! The durable store (service/store).

use super::relay::RELAY_CHANNEL_ID_BYTES_MAX;
use super::wire::HTTP_BODY_BYTES;

/// Jobs waiting for the store. More is refused at once.
pub const STORE_QUEUE_JOBS: usize = 16_384;
/// Bytes (names, keys, payloads) of those jobs. More is refused at once.
pub const STORE_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Jobs of one commit.
pub const STORE_BATCH_JOBS: usize = 1024;
/// Bytes of the jobs of one commit; one job may be larger.
pub const STORE_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// What belongs to a message beside its payload, bytes.
pub const STORE_RECORD_EXTRA_BYTES: usize = 128 * 1024;
/// Payload of a record, bytes: a message with what belongs to it.
pub const STORE_RECORD_BYTES: usize = HTTP_BODY_BYTES + STORE_RECORD_EXTRA_BYTES;
/// A document, bytes.
pub const STORE_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Name of a log or key of a document, bytes: group and name of a channel with what tells apps apart.
pub const STORE_KEY_BYTES: usize = 2 * RELAY_CHANNEL_ID_BYTES_MAX + 64;
/// Logs. Each takes about 250 bytes of memory beside its name.
pub const STORE_LOGS: usize = 262_144;
/// The store's files together, bytes. Then appends are refused until something is retired.
pub const STORE_DISK_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// The smallest bound on the files that a configuration may ask for, bytes.
pub const STORE_DISK_BYTES_MIN: u64 = 1024 * 1024;
/// The largest, bytes.
pub const STORE_DISK_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024 * 1024;
/// Of a store without files: all it holds, bytes.
pub const STORE_MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// The write-ahead log is at most this part (one in so many) of the bound on the files, so that a small store is not
/// all log.
pub const STORE_WAL_PART: u64 = 16;
/// Time between two sweeps of the node's store, milliseconds.
pub const STORE_SWEEP_MS: u64 = 60_000;
/// Write-ahead log that is moved into the main file, bytes.
pub const STORE_WAL_BYTES: u64 = 32 * 1024 * 1024;
/// Write-ahead log, in [`STORE_WAL_BYTES`], from which on nothing is added while it cannot be moved.
pub const STORE_WAL_PARTS: u64 = 4;
/// Pages kept in memory, bytes.
pub const STORE_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Records or documents of one answer.
pub const STORE_READ_ITEMS: usize = 4096;
/// Payload of one answer, bytes; one record may be larger.
pub const STORE_READ_BYTES: usize = 4 * 1024 * 1024;
/// Records that retention removes from one log in one commit, and from all logs in one sweep.
pub const STORE_TRIM_RECORDS: u64 = 16_384;
/// Free pages that one sweep gives back to the file system.
pub const STORE_VACUUM_PAGES: u64 = 4096;
/// An empty log is forgotten so long after its last record, seconds.
pub const STORE_FORGET_S: u64 = 86_400;
/// Files up to this length are read through when the store is opened, and so are known to be whole; of larger ones only
/// the ends of each log are looked at, so that a node with much in store is soon back. Bytes.
pub const STORE_SCAN_BYTES: u64 = 32 * 1024 * 1024;
/// Damaged records are told of in the log at most this often, milliseconds; each is counted.
pub const STORE_LOG_MS: u64 = 10_000;
/// Damages that a check names; the rest are counted.
pub const STORE_CHECK_FINDINGS: usize = 100;

/// Bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// See [`STORE_QUEUE_JOBS`].
    pub queue_jobs: usize,
    /// See [`STORE_QUEUE_BYTES`].
    pub queue_bytes: usize,
    /// See [`STORE_BATCH_JOBS`].
    pub batch_jobs: usize,
    /// See [`STORE_BATCH_BYTES`].
    pub batch_bytes: usize,
    /// See [`STORE_RECORD_BYTES`].
    pub record_bytes: usize,
    /// See [`STORE_LOGS`].
    pub logs: usize,
    /// See [`STORE_DISK_BYTES`].
    pub disk_bytes: u64,
    /// See [`STORE_MEMORY_BYTES`].
    pub memory_bytes: u64,
    /// See [`STORE_WAL_BYTES`].
    pub wal_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            queue_jobs: STORE_QUEUE_JOBS,
            queue_bytes: STORE_QUEUE_BYTES,
            batch_jobs: STORE_BATCH_JOBS,
            batch_bytes: STORE_BATCH_BYTES,
            record_bytes: STORE_RECORD_BYTES,
            logs: STORE_LOGS,
            disk_bytes: STORE_DISK_BYTES,
            memory_bytes: STORE_MEMORY_BYTES,
            wal_bytes: STORE_WAL_BYTES,
        }
    }
}

const _: () = assert!(STORE_BATCH_BYTES < STORE_QUEUE_BYTES && STORE_BATCH_JOBS < STORE_QUEUE_JOBS);
const _: () = assert!((STORE_WAL_PARTS + 1) * STORE_WAL_BYTES < STORE_DISK_BYTES);
const _: () =
    assert!(STORE_DISK_BYTES_MIN / STORE_WAL_PART * (STORE_WAL_PARTS + 1) < STORE_DISK_BYTES_MIN / 2);
// Retention keeps up with what one commit can add to a log.
const _: () = assert!(STORE_BATCH_JOBS < STORE_TRIM_RECORDS as usize);
// Log numbers have 21 bits: service/store/db.
const _: () = assert!(STORE_LOGS < 1 << 21);
