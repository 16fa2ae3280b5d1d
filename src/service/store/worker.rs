//! The store's thread: takes what has queued up, makes one transaction of it, and answers when that is on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, select};

use super::db::Db;
use super::logs::Logs;
use super::told::Told;
use super::{Answer, Core, Job, Outcome, Reply, StoreError, documents};
use crate::limits::{STORE_DOCUMENT_BYTES, STORE_KEY_BYTES, STORE_TRIM_RECORDS};

/// A job in the queue. However it ends, its reply is told once.
pub(super) struct Queued {
    pub job: Job,
    bytes: usize,
    reply: Option<Reply>,
    core: Arc<Core>,
}

impl Queued {
    /// Counts the job as waiting until it is dropped.
    pub fn new(core: &Arc<Core>, job: Job, bytes: usize, reply: Reply) -> Queued {
        core.counters.waiting_bytes.fetch_add(bytes, Relaxed);
        Queued { job, bytes, reply: Some(reply), core: core.clone() }
    }

    /// It was not taken: its reply is told nothing.
    pub fn disown(mut self) {
        self.reply = None;
    }

    fn answer(mut self, outcome: Outcome) {
        // Who hears the answer may hand over the next job at once: there has to be room for it.
        self.release();
        self.tell(outcome);
    }

    fn release(&mut self) {
        self.core.counters.waiting_bytes.fetch_sub(std::mem::take(&mut self.bytes), Relaxed);
    }

    fn tell(&mut self, outcome: Outcome) {
        match self.reply.take() {
            Some(Reply::To(to)) => (self.core.deliver)(to, outcome),
            Some(Reply::Call(call)) => call(outcome),
            Some(Reply::Nobody) | None => {}
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.release();
        self.tell(Err(StoreError::Stopped));
    }
}

/// What the thread owns.
pub(super) struct Worker {
    pub core: Arc<Core>,
    pub db: Db,
    pub logs: Logs,
    pub jobs: Receiver<Queued>,
    pub orders: Receiver<Order>,
    /// Where the files are, if there are any.
    pub dir: Option<PathBuf>,
    pub told: Told,
}

/// What the thread is told besides jobs. Each is answered when it is done.
pub(super) enum Order {
    /// Does what was taken, closes the files and ends.
    Stop,
    /// Does what was taken and closes the files; jobs wait from then on.
    Suspend(Sender<Result<(), StoreError>>),
    /// Opens the files again and goes on.
    Resume(Sender<Result<(), StoreError>>),
}

impl Worker {
    /// Works until told to stop, does what was taken by then, and closes the files.
    pub fn run(mut self) -> Result<(), StoreError> {
        loop {
            let first = select! {
                recv(self.jobs) -> job => job,
                recv(self.orders) -> order => match order {
                    Ok(Order::Suspend(done)) => match self.suspended(&done) {
                        Some(worker) => {
                            self = worker;
                            continue;
                        }
                        None => return Ok(()),
                    },
                    Ok(Order::Resume(done)) => {
                        let _ = done.send(Ok(())); // it never stopped
                        continue;
                    }
                    Ok(Order::Stop) | Err(_) => break,
                },
            };
            let Ok(first) = first else { break };
            let batch = self.gather(first);
            self.work(batch);
        }
        self.work_off();
        self.db.close(self.core.failed.get().is_some())
    }

    /// Closes the files until told to open them again. `None`: told to stop instead; what waits is answered with
    /// [`StoreError::Stopped`].
    fn suspended(mut self, done: &Sender<Result<(), StoreError>>) -> Option<Worker> {
        self.work_off();
        let Some(dir) = self.dir.clone() else {
            let _ = done.send(Ok(())); // nobody else can have what is in memory
            return Some(self);
        };
        let Worker { core, db, jobs, orders, told, .. } = self;
        // Who asked may have gone; then it tells to resume or to stop all the same.
        let _ = done.send(db.close(core.failed.get().is_some()));
        loop {
            match orders.recv() {
                Ok(Order::Suspend(done)) => {
                    let _ = done.send(Ok(()));
                }
                Ok(Order::Resume(done)) => match Db::open(&dir, &core.limits, true)
                    .and_then(|db| Logs::open(&db).map(|logs| (db, logs)))
                {
                    Ok((db, logs)) => {
                        let _ = done.send(Ok(()));
                        return Some(Worker { core, db, logs, jobs, orders, dir: Some(dir), told });
                    }
                    Err(error) => {
                        let _ = done.send(Err(error));
                    }
                },
                Ok(Order::Stop) | Err(_) => {
                    // The handles keep the queue alive, and what is in it would never be answered.
                    jobs.try_iter().for_each(drop);
                    return None;
                }
            }
        }
    }

    /// Does what was taken so far.
    fn work_off(&mut self) {
        while let Ok(first) = self.jobs.try_recv() {
            let batch = self.gather(first);
            self.work(batch);
        }
    }

    /// What waits already, as far as it goes into one commit.
    fn gather(&self, first: Queued) -> Vec<Queued> {
        let limits = &self.core.limits;
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < limits.batch_jobs && bytes < limits.batch_bytes {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.bytes;
            batch.push(job);
        }
        batch
    }

    /// Does a batch and answers every job of it.
    fn work(&mut self, batch: Vec<Queued>) {
        let outcomes = match self.core.failed.get() {
            Some(reason) => all(&batch, &StoreError::Failed(reason.clone())),
            None => self.outcomes(&batch),
        };
        let damaged = self.told.damage(&outcomes);
        self.core.counters.damaged.fetch_add(damaged, Relaxed);
        for (queued, outcome) in batch.into_iter().zip(outcomes) {
            queued.answer(outcome);
        }
    }

    fn outcomes(&mut self, batch: &[Queued]) -> Vec<Outcome> {
        let began = Instant::now();
        // An error here is one of moving the write-ahead log: nothing that was committed before is touched by it.
        let done = self.db.checkpoint().and_then(|()| self.transaction(batch, |_| true));
        let full = matches!(done, Err(StoreError::Full));
        if full || batch.iter().any(|queued| queued.job.adds()) {
            self.told.full(full);
        }
        let done = match done {
            // What makes room, or needs none, is done without what needs some.
            Err(StoreError::Full) => {
                self.core.counters.full.fetch_add(1, Relaxed);
                match self.transaction(batch, |job| !job.adds()) {
                    Err(StoreError::Full) => Ok(all(batch, &StoreError::Full)),
                    other => other,
                }
            }
            other => other,
        };
        self.core.counters.committed(batch.len(), began.elapsed());
        done.unwrap_or_else(|error| {
            self.fail(&error);
            all(batch, &error)
        })
    }

    /// The jobs that `does` lets through in one transaction; the others are answered that the disk is full.
    ///
    /// # Errors
    /// Nothing was done.
    fn transaction(
        &mut self,
        batch: &[Queued],
        does: impl Fn(&Job) -> bool,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.db.begin()?;
        let done = self.jobs(batch, does).and_then(|outcomes| self.db.commit().map(|()| outcomes));
        match done {
            Ok(outcomes) => {
                self.logs.keep();
                Ok(outcomes)
            }
            Err(error) => {
                self.logs.undo();
                // If not even this works, that is the graver error.
                self.db.rollback().and(Err(error))
            }
        }
    }

    fn jobs(&mut self, batch: &[Queued], does: impl Fn(&Job) -> bool) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut appended: Vec<(&Bytes, u64)> = Vec::new();
        for queued in batch {
            let outcome = if does(&queued.job) { self.job(&queued.job) } else { Err(StoreError::Full) };
            match outcome {
                Err(error) if does(&queued.job) && error.ends_the_commit() => return Err(error),
                outcome => outcomes.push(outcome),
            }
            if let (Job::Append { log, now_s, .. }, Some(Ok(_))) = (&queued.job, outcomes.last()) {
                appended.push((log, *now_s));
            }
        }
        // Each log once, by its latest time.
        appended.sort_unstable();
        for (n, (log, now_s)) in appended.iter().enumerate() {
            if appended.get(n + 1).is_none_or(|(next, _)| next != log) {
                self.logs.trim(&self.db, log, *now_s, STORE_TRIM_RECORDS)?;
            }
        }
        Ok(outcomes)
    }

    fn job(&mut self, job: &Job) -> Outcome {
        let (db, limits) = (&self.db, &self.core.limits);
        match job {
            Job::Append { log, payload, .. }
                if log.len() > STORE_KEY_BYTES || payload.len() > limits.record_bytes =>
            {
                Err(StoreError::TooLarge)
            }
            Job::Put { key, value, .. }
                if key.len() > STORE_KEY_BYTES || value.len() > STORE_DOCUMENT_BYTES =>
            {
                Err(StoreError::TooLarge)
            }
            Job::Append { log, at, payload, retention, .. } => {
                self.logs.append(db, (log, *at, payload), *retention, limits.logs).map(|()| Answer::Done)
            }
            Job::Truncate { log, through } => self.logs.truncate(db, log, *through).map(|()| Answer::Done),
            Job::Delete { log } => self.logs.delete(db, log).map(|()| Answer::Done),
            Job::Read { log, after, most } => {
                self.logs.read(db, log, *after, *most).map(|part| Answer::Records(Box::new(part)))
            }
            Job::Sweep { now_s } => {
                let (records, more) = self.logs.sweep(db, *now_s)?;
                db.vacuum()?;
                Ok(Answer::Swept { records, more })
            }
            Job::Put { table, key, value } => documents::put(db, *table, key, value).map(|()| Answer::Done),
            Job::Remove { table, key } => documents::remove(db, *table, key).map(|()| Answer::Done),
            Job::Get { table, key } => documents::get(db, *table, key).map(Answer::Document),
            Job::List { table, after, most } => {
                documents::list(db, *table, after, *most).map(|part| Answer::Documents(Box::new(part)))
            }
        }
    }

    /// After an error of the system or in the files nothing can be relied on: everything is refused from now on.
    fn fail(&mut self, error: &StoreError) {
        tracing::error!("{error}; it refuses everything until it is opened anew");
        // It is set once, here: `work` does not come this way again.
        let _ = self.core.failed.set(error.to_string().into());
    }
}

fn all(batch: &[Queued], error: &StoreError) -> Vec<Outcome> {
    batch.iter().map(|_| Err(error.clone())).collect()
}
