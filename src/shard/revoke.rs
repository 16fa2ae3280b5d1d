//! Sessions whose grants were taken back: all of a shard are looked at, which costs a glance each and happens when
//! somebody revokes something, never for a message.

use super::Shard;
use super::connection::State;
use crate::dialect::grant::Revocation;

impl Shard {
    /// Ends the sessions that the revocation is about; `app` is the number of its app. It is in the list of all shards
    /// already, so that whoever comes from now on is refused.
    pub(super) fn revoke(&mut self, revocation: &Revocation, app: u32) {
        for slot in 0..self.slab.slots() {
            let connection = &self.slab[slot];
            let is_meant = connection.state == State::Open
                && connection.open
                && connection.session.is_revoked_by(revocation, app);
            if is_meant {
                self.with_session(slot, |dialects, context, session| dialects.on_revoked(context, session));
            }
        }
    }
}
