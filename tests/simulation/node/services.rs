//! What stands beside the shards, played: hooks, the store, web hooks, pages. Each only takes; the world decides when
//! an answer comes, and which.

use super::disk::Disk;
use fanwire::channel::hook::{HookCall, HookFailure, HookToken};
use fanwire::channel::notice::{Notice, NoticeKind, What};
use fanwire::channel::store::{Answer, Job, Outcome, StoreError};
use fanwire::channel::{ReplyTo, log};
use fanwire::dialect::app::{AppRefusal, AppSettings};
use fanwire::dialect::grant::revoked::{Order, RevokeError};
use fanwire::shard::apps::Registrar;
use fanwire::shard::{Caller, Keeper, Notifier, Pages};
use fanwire::wire::http::request::Request;
use fanwire::wire::http::response::Response;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a panic on purpose says.
pub const BOOM: &str = "a panic on purpose";

#[derive(Default)]
pub struct Desk {
    /// Calls that somebody waits for.
    pub calls: VecDeque<(HookToken, HookCall)>,
    /// Of each subscriber that the application was told of: whether it is there.
    pub told: BTreeMap<String, bool>,
    /// Who is in which channel, as web hooks tell it.
    pub occupied: BTreeSet<(u32, Vec<u8>)>,
    pub joined: BTreeSet<(u32, Vec<u8>, Vec<u8>)>,
    pub jobs: VecDeque<(Job, ReplyTo)>,
    pub disk: Disk,
    /// The disk takes no more.
    pub full: bool,
    /// Jobs that it takes.
    pub capacity: usize,
    /// What was announced wrongly.
    pub faults: Vec<String>,
    pub panics: u64,
}

/// All services of one node.
#[derive(Clone, Default)]
pub struct Services(Arc<Mutex<Desk>>);

impl Services {
    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The logs as they are found by a node that starts.
    pub fn at_start(&self) -> Vec<(bytes::Bytes, log::AtStart)> {
        let desk = self.desk();
        let found = desk.disk.logs.iter();
        found
            .map(|(name, log)| (name.clone(), log::AtStart { retention: log.retention, last: log.last }))
            .collect()
    }

    /// The store does its next job.
    pub fn work(&self) -> Option<(ReplyTo, Outcome)> {
        let mut desk = self.desk();
        let (job, to) = desk.jobs.pop_front()?;
        let full = desk.full;
        let outcome = match job {
            Job::Sweep { .. } => Ok(Answer::Swept { records: 0, more: false }),
            job => desk.disk.job(&job, full),
        };
        Some((to, outcome))
    }
}

impl Pages for Services {
    fn answer(&self, request: &Request<'_>, _: u16) -> Option<Response> {
        if request.target == "/boom" {
            self.desk().panics += 1;
            panic!("{BOOM}");
        }
        None
    }
}

impl Caller for Services {
    fn call(&self, token: HookToken, call: HookCall) -> Result<(), HookFailure> {
        let mut desk = self.desk();
        if call.answer {
            if desk.calls.len() >= 8 {
                return Err(HookFailure::QueueFull);
            }
            desk.calls.push_back((token, call));
            return Ok(());
        }
        let (what, who) = call.url.split_once("?who=").unwrap_or((&call.url, ""));
        let comes = what.ends_with("/come");
        let before = desk.told.insert(who.to_owned(), comes);
        if before == Some(comes) || (before.is_none() && !comes) {
            desk.faults.push(format!("{} was told of twice, or before it came", call.url));
        }
        if comes && who.ends_with("boom") {
            desk.panics += 1;
            drop(desk);
            panic!("{BOOM}");
        }
        Ok(())
    }
}

impl Notifier for Services {
    fn wants(&self, _: u32, kind: NoticeKind) -> bool {
        matches!(kind, NoticeKind::Occupied | NoticeKind::Vacated | NoticeKind::Joined | NoticeKind::Left)
    }

    fn notify(&self, notice: Notice) {
        let mut desk = self.desk();
        let (app, name) = (notice.channel.app(), notice.channel.name().to_vec());
        let right = match &notice.what {
            What::Occupied => desk.occupied.insert((app, name)),
            What::Vacated => desk.occupied.remove(&(app, name)),
            What::Joined(user) => desk.joined.insert((app, name, user.to_vec())),
            What::Left(user) => desk.joined.remove(&(app, name, user.to_vec())),
            _ => true,
        };
        if !right {
            desk.faults.push(format!("{:?} of {:?} again", notice.what, notice.channel));
        }
    }
}

impl Keeper for Services {
    fn submit(&self, job: Job, to: ReplyTo) -> Result<(), StoreError> {
        let mut desk = self.desk();
        let may_fail = matches!(job, Job::Append { .. });
        if may_fail && desk.jobs.len() >= desk.capacity {
            return Err(StoreError::QueueFull);
        }
        desk.jobs.push_back((job, to));
        Ok(())
    }
}

impl Registrar for Services {
    fn create(&self, _: AppSettings, _: ReplyTo) -> Result<(), AppRefusal> {
        Err(AppRefusal::Busy)
    }

    fn revoke(&self, _: Order, _: ReplyTo) -> Result<(), RevokeError> {
        Err(RevokeError::Busy)
    }
}
