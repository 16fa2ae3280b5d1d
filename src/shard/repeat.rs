//! Requests like the one before: publishers send the same head again and again, and what it means is known
//! ([`Standing`]). They go straight to the channel's home, if that is this shard.

use super::Shard;
use super::connection::{Carrier, Http, State};
use super::work::Work;
use crate::channel::{Answer, Command, Effect, Message};
use crate::dialect::Standing;
use crate::limits::REPEATED_HEAD_MISSES;
use crate::wire::http::repeat::Repeat;
use bytes::Bytes;

impl Http {
    /// Whether it is worth while to keep what a request means.
    pub fn wants_standing(&self) -> bool {
        self.standing.is_none() && self.misses < REPEATED_HEAD_MISSES
    }
}

impl Shard {
    /// Carries out a request at the start of `input` that is like the one before. Returns how many bytes it took; 0: it
    /// has to be read like any other.
    pub(super) fn repeat(&mut self, slot: u32, input: &[u8]) -> usize {
        let Carrier::Http(http) = &mut self.slab[slot].carrier else { return 0 };
        let Some(standing) = http.standing.take() else { return 0 };
        let away = standing.key.home(self.post.shards()) != self.id as usize;
        if self.home.answers_later(&standing.key, &standing.policy) {
            http.misses = REPEATED_HEAD_MISSES; // the exchange has to be open by then
            return 0;
        }
        let taken = match standing.head.compare(input, &self.limits.http) {
            Repeat::Other => {
                http.misses += 1;
                return 0;
            }
            // A node that stops answers in its own way.
            Repeat::Whole { body, taken }
                if !away && self.drain.is_none() && self.too_fast(slot).is_none() =>
            {
                if let Carrier::Http(http) = &mut self.slab[slot].carrier {
                    http.misses = 0;
                }
                self.publish_again(slot, &standing, body);
                taken
            }
            Repeat::Whole { .. } | Repeat::Undecided => 0,
        };
        if let Carrier::Http(http) = &mut self.slab[slot].carrier {
            http.standing = Some(standing);
        }
        taken
    }

    fn publish_again(&mut self, slot: u32, standing: &Standing, body: &[u8]) {
        let key = self.slab.key(slot);
        self.counters.requests.add(1);
        self.run_work(); // what was asked for before comes before
        let message = Message { payload: Bytes::copy_from_slice(body), ..standing.message.clone() };
        let command = Command::Publish { message, policy: standing.policy.clone(), create: standing.create };
        let mut effects = std::mem::take(&mut self.effects);
        let busy = self.post.busy();
        self.home.apply(&standing.key, command, self.nobody(), self.now, busy, &mut effects);
        let mut said = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Answer { answer, .. } => said = Some(answer),
                other => self.work.push_back(Work::Effect(other)),
            }
        }
        self.effects = effects;
        self.run_work();
        // Counted also when its publisher is gone by now.
        if matches!(said, Some(Answer::Published { .. })) {
            self.counters.published.add(1);
        }
        let Some(answer) = said.filter(|_| self.slab.is(key) && self.slab[slot].state == State::Open) else {
            return;
        };
        self.with_session(slot, |dialects, context, _| {
            dialects.on_repeated(context, &standing.answer, answer);
        });
    }
}
