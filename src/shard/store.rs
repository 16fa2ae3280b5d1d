//! The shard's dealings with the store, which works on a thread of its own.

use super::Shard;
use super::net;
use super::work::Work;
use crate::channel::members::Member;
use crate::channel::store::{Answer, Job, Outcome};
use crate::channel::{ReplyTo, Token};
use crate::limits::STORE_SWEEP_MS;
use tracing::warn;

/// The shard that has the store swept.
const SWEEPER: u16 = 0;
/// Who asks for sweeps: a slot that neither a connection nor nobody has.
const SWEEP: Token = Token { slot: u32::MAX - 1, generation: 0, tag: 0 };
/// The slot of the home, whose questions have numbers.
const HOME_SLOT: u32 = u32::MAX - 2;

impl Shard {
    /// Hands a job to the store. A job that it does not take has its outcome after what was asked for before.
    pub(super) fn submit(&mut self, job: Job, to: ReplyTo) {
        if let Err(error) = self.keeper.submit(job, to) {
            if self.counters.refuse(error.label()) {
                warn!(shard = self.id, reason = error.label(), "the store has not taken a job");
            }
            self.work.push_back(Work::Stored { token: to.token, outcome: Box::new(Err(error)) });
        }
    }

    /// The store has done a job, or has not.
    pub(super) fn on_stored(&mut self, token: Token, outcome: Outcome) {
        if token == SWEEP {
            return self.swept(&outcome);
        }
        if token.slot == HOME_SLOT {
            return self.home_stored(u64::from(token.generation) << 32 | u64::from(token.tag), outcome);
        }
        let key = net::Key { slot: token.slot, generation: token.generation };
        if token.slot == u32::MAX || !self.slab.is(key) {
            return;
        }
        if self.concerns(Member { slot: token.slot, tag: token.tag }) {
            self.with_session(token.slot, |dialects, context, session| {
                dialects.on_stored(context, session, token.tag as u16, outcome);
            });
            self.tell_of_next(token.slot);
        }
    }

    /// Hands a job of the home to the store.
    pub(super) fn submit_for_home(&mut self, number: Option<u64>, job: Job) {
        let token = number.map(|number| Token {
            slot: HOME_SLOT,
            generation: (number >> 32) as u32,
            tag: number as u32,
        });
        let to = token.map_or_else(|| self.nobody(), |token| ReplyTo { shard: self.id, token });
        self.submit(job, to);
    }

    fn home_stored(&mut self, number: u64, outcome: Outcome) {
        let mut effects = std::mem::take(&mut self.effects);
        self.home.on_stored(number, outcome, self.now, &mut effects);
        self.work_on(effects);
    }

    /// Once in a while: what has expired goes.
    pub(super) fn sweep_store(&mut self) {
        if self.id != SWEEPER || self.now.mono_ms() < self.next_sweep_ms {
            return;
        }
        self.next_sweep_ms = self.now.mono_ms() + STORE_SWEEP_MS;
        let job = Job::Sweep { now_s: self.now.unix_s() };
        self.submit(job, ReplyTo { shard: self.id, token: SWEEP });
    }

    fn swept(&mut self, outcome: &Outcome) {
        if matches!(outcome, Ok(Answer::Swept { more: true, .. })) {
            self.next_sweep_ms = 0;
        }
    }
}
