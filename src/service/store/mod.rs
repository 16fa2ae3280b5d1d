//! What has to survive: logs of records (durable channels) and small documents (apps, subscriptions), on a thread of
//! their own, so that no shard ever waits for a disk.
//!
//! A shard hands a [`Job`] over with [`StoreHandle::submit`], which never waits. What has queued up while a commit
//! runs forms the next one (group commit): one transaction, one sync. Each job's [`Reply`] is told when that is on
//! disk, or why not. Jobs are done in the order in which they were handed over, and each sees what those before it
//! did. Memory channels do not come near any of this.
//!
//! # Failures
//! - Disk full (or the store's own bound): the commit is undone and its appends and puts are answered with
//!   [`StoreError::Full`]; what makes room is done all the same, and the store goes on.
//! - Any other error of the system or in the files: every job of the commit is answered with it, and everything
//!   after it with [`StoreError::Failed`], until the store is opened anew. After a failed sync nobody knows what is
//!   on disk, so nothing is tried again on top of it.
//! - A record whose checksum is wrong fails the reads that touch it, and nothing else.
//!
//! # Why SQLite
//! Measured on two cores of a virtual machine, ext4, a sync after each commit: 200-byte payloads with 20-byte keys over
//! 64 logs, on top of 100,000; records per second by records per commit, the best of three runs, with the 32 MiB log
//! of one run (the disk is shared: at bad moments every one of them, the plain file too, was ten times slower). "Read"
//! is opening and reading a million; "disk" is what keeping the newest 100,000 of a million takes, 21 MB of keys and
//! payload.
//!
//! | | 1 | 16 | 256 | read | disk |
//! |---|---|---|---|---|---|
//! | plain file, the floor | 13,800 | 199,000 | 1,404,000 | | |
//! | SQLite 3.54 (rusqlite 0.41) | 12,500 | 33,500 | 66,300 | 0.16 s | 33 MB |
//! | the same with a write-ahead log of 32 MiB, as here | 12,600 | 41,700 | 78,100 | 0.21 s | 60 MB |
//! | redb 4.5 | 3,700 | 17,500 | 109,500 | 0.33 s | 44 MB |
//! | fjall 3.1 | 16,300 | 90,800 | 251,900 | 0.55 s | 196 MB |
//! | LMDB (heed 0.22) | 8,000 | 47,500 | 222,800 | 0.06 s | 34 MB |
//!
//! fjall is the fastest, but takes nine times the room under retention, and is young: in 3.0.1 cleared data came back
//! after a restart (fjall-rs/fjall#241). The change log of redb for 2026 (after 4.1) tells of committed transactions
//! lost when a recovery was itself interrupted, and of files that could not be opened after a crash while they grew.
//! LMDB writes 160 kB per small commit, has no checksums, and its binding needs `unsafe` to open a file. sled has had
//! no stable release since 2021. SQLite is the one whose behaviour under full disks, failing writes and crashes has
//! been tested systematically for many years (sqlite.org/testing.html: injected faults, every branch covered); its
//! commits of one record, those that a publisher waits for longest, are close to the floor; and its disk use stays
//! bounded. What it lacks are checksums of pages: records and documents have their own here.
//!
//! This module on the same machine, with 200-byte payloads, by how many appends are on their way at a time: 1: 11,300/s
//! (median 75 us to the acknowledgement); 16: 44,700/s (0.32 ms); 256: 96,000/s (2.4 ms), with retention 111,000/s, in
//! one log 267,000/s (0.8 ms). Opening takes 0.3 s for a million records, [`check()`] 0.9 s.

mod check;
mod counters;
mod db;
mod documents;
mod job;
mod logs;
mod sqlite;
mod told;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError, bounded};

use crate::channel::ReplyTo;
use crate::limits::StoreLimits;

use db::Db;
use logs::Logs;
use told::Told;
use worker::{Order, Queued, Worker};

pub use crate::channel::store::{
    Answer, Documents, Job, Outcome, Record, Records, Retention, StoreError, Table,
};
pub use check::{Report, check};
pub use counters::StoreCounters;
pub use job::{LogTotals, Recovery, Reply, TableTotals};

/// Where replies to [`Reply::To`] go: called on the store's thread, once for each job that was taken. It must not
/// block.
pub type Deliver = Arc<dyn Fn(ReplyTo, Outcome) + Send + Sync>;

/// What handles and the store's thread share.
struct Core {
    limits: StoreLimits,
    counters: StoreCounters,
    deliver: Deliver,
    /// Why everything is refused.
    failed: OnceLock<Arc<str>>,
    stopped: AtomicBool,
}

/// The running store. Dropping it does what was taken and closes the files; see [`Store::shutdown`].
pub struct Store {
    handle: StoreHandle,
    orders: Sender<Order>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

/// Hands jobs to the store from any thread.
#[derive(Clone)]
pub struct StoreHandle {
    core: Arc<Core>,
    jobs: Sender<Queued>,
}

impl Store {
    /// Opens the store in the directory `dir`, which is made if there is none, and starts its thread. Takes over
    /// what a killed process left, and reads the heads of all records: about 0.3 s for a million.
    ///
    /// # Errors
    /// When the files cannot be made, opened or read, are damaged, or are open in another process.
    pub fn open(dir: &Path, limits: StoreLimits, deliver: Deliver) -> Result<(Store, Recovery), StoreError> {
        Store::start(Db::open(dir, &limits, true)?, Some(dir.into()), limits, deliver)
    }

    /// A store without files, which ends with the process and holds at most [`StoreLimits::memory_bytes`]: in every
    /// other way as [`Store::open`].
    ///
    /// # Errors
    /// When there is no memory or no thread for it.
    pub fn open_in_memory(limits: StoreLimits, deliver: Deliver) -> Result<Store, StoreError> {
        Store::start(Db::open_in_memory(&limits)?, None, limits, deliver).map(|(store, _)| store)
    }

    fn start(
        db: Db,
        dir: Option<PathBuf>,
        limits: StoreLimits,
        deliver: Deliver,
    ) -> Result<(Store, Recovery), StoreError> {
        let logs = Logs::open(&db)?;
        let recovery = Recovery { logs: logs.totals(), tables: documents::totals(&db)? };
        let core = Arc::new(Core {
            limits,
            counters: StoreCounters::default(),
            deliver,
            failed: OnceLock::new(),
            stopped: AtomicBool::new(false),
        });
        let (jobs, taken) = bounded(limits.queue_jobs);
        let (orders, ordered) = bounded(1);
        let worker =
            Worker { core: core.clone(), db, logs, jobs: taken, orders: ordered, dir, told: Told::default() };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || worker.run())
            .map_err(|error| StoreError::Io(error.to_string().into()))?;
        Ok((Store { handle: StoreHandle { core, jobs }, orders, thread: Some(thread) }, recovery))
    }

    /// Whether there is a store in the directory `dir`.
    pub fn is_in(dir: &Path) -> bool {
        db::is_in(dir)
    }

    /// A handle for jobs.
    pub fn handle(&self) -> StoreHandle {
        self.handle.clone()
    }

    /// Does what was taken and closes the files, so that another process may open them. Jobs are taken and wait
    /// from then on, until [`Store::resume`] or the end. A store in memory goes on as it was.
    ///
    /// # Errors
    /// When closing them failed. What was acknowledged is on disk all the same.
    pub fn suspend(&self) -> Result<(), StoreError> {
        self.order(Order::Suspend)
    }

    /// Opens the files again and does what waits.
    ///
    /// # Errors
    /// When they cannot be opened: another process has them, for one. Everything goes on waiting.
    pub fn resume(&self) -> Result<(), StoreError> {
        self.order(Order::Resume)
    }

    fn order(&self, order: fn(Sender<Result<(), StoreError>>) -> Order) -> Result<(), StoreError> {
        let (done, told) = bounded(1);
        self.orders.send(order(done)).map_err(|_| StoreError::Stopped)?;
        told.recv().unwrap_or(Err(StoreError::Stopped))
    }

    /// Takes no more jobs, does those taken, and closes the files.
    ///
    /// # Errors
    /// When closing them failed. What was acknowledged is on disk all the same.
    pub fn shutdown(mut self) -> Result<(), StoreError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), StoreError> {
        self.handle.core.stopped.store(true, Relaxed);
        // The thread has ended if nobody hears it.
        let _ = self.orders.send(Order::Stop);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(StoreError::Failed("its thread panicked".into())),
            None => Ok(()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!("closing the store: {error}");
        }
    }
}

impl StoreHandle {
    /// Hands a job over; never waits. Once it is taken, `reply` is told once; the reply of a job that is refused
    /// here is told nothing.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`] over the limits for jobs or bytes, [`StoreError::Failed`] after a failure,
    /// [`StoreError::Stopped`] after shutdown began.
    pub fn submit(&self, job: Job, reply: Reply) -> Result<(), StoreError> {
        self.offer(job, reply).inspect_err(|_| self.core.counters.refuse())
    }

    /// What the store has counted since it was opened.
    pub fn counters(&self) -> &StoreCounters {
        &self.core.counters
    }

    /// Jobs that wait now.
    pub fn waiting_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Why the store refuses everything, if it does.
    pub fn failure(&self) -> Option<&str> {
        self.core.failed.get().map(|reason| &**reason)
    }

    fn offer(&self, job: Job, reply: Reply) -> Result<(), StoreError> {
        let core = &self.core;
        if let Some(reason) = core.failed.get() {
            return Err(StoreError::Failed(reason.clone()));
        }
        if core.stopped.load(Relaxed) {
            return Err(StoreError::Stopped);
        }
        let bytes = job.bytes();
        // Several threads may pass this together: by at most one job each.
        if core.counters.waiting_bytes().saturating_add(bytes) > core.limits.queue_bytes {
            return Err(StoreError::QueueFull);
        }
        self.jobs.try_send(Queued::new(core, job, bytes, reply)).map_err(|refused| {
            let (queued, error) = match refused {
                TrySendError::Full(queued) => (queued, StoreError::QueueFull),
                TrySendError::Disconnected(queued) => (queued, StoreError::Stopped),
            };
            queued.disown();
            error
        })
    }
}
