//! Sessions whose grants were taken back: all of a shard are looked at, which costs a glance each and happens when
//! somebody revokes something, never for a message.

use super::Shard;
use super::connection::State;
use super::net;
use super::work::Work;
use crate::channel::members::Member;
use crate::channel::{ReplyTo, Token};
use crate::dialect::grant::Revocation;
use crate::dialect::grant::revoked::{Order, RevokeError};

impl Shard {
    /// Ends the sessions that the revocation is about, and returns how many there were; `app` is the number of its app. It
    /// is in the list of all shards already, so that whoever comes from now on is refused.
    pub(super) fn revoke(&mut self, revocation: &Revocation, app: u32) -> u64 {
        let mut ended = 0;
        for slot in 0..self.slab.slots() {
            let connection = &self.slab[slot];
            let is_meant = connection.state == State::Open
                && connection.open
                && connection.session.is_revoked_by(revocation, app);
            if is_meant {
                ended += 1;
                self.with_session(slot, |dialects, context, session| dialects.on_revoked(context, session));
            }
        }
        ended
    }

    /// A session wants to have something revoked.
    pub(super) fn order_revocation(&mut self, order: Order, to: ReplyTo) {
        if let Err(refusal) = self.registrar.revoke(order, to) {
            self.work.push_back(Work::Revoked { token: to.token, refusal });
        }
    }

    /// What a session wanted to have revoked is revoked everywhere, or is not.
    pub(super) fn on_revocation(&mut self, token: Token, outcome: &Result<u64, RevokeError>) {
        let key = net::Key { slot: token.slot, generation: token.generation };
        if !self.slab.is(key) || !self.concerns(Member { slot: token.slot, tag: token.tag }) {
            return;
        }
        self.with_session(token.slot, |dialects, context, session| {
            dialects.on_revocation(context, session, token.tag as u16, outcome);
        });
        self.tell_of_next(token.slot);
    }
}
