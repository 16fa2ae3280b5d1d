//! The name of a session that others can point at: to leave it out of a publication, to ask what it listens to.

use crate::limits::{SESSION_SHARD_BITS, SESSION_SLOT_BITS};

/// Names one session of the node: 32 random bits above its slot and its shard, so that it is found without a table
/// and is not given twice, also not by the node's next process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The name of a session in `slot` of `shard`.
    pub fn new(shard: u16, slot: u32, random: u32) -> SessionId {
        debug_assert!(u32::from(shard) < 1 << SESSION_SHARD_BITS && slot < 1 << SESSION_SLOT_BITS);
        SessionId(u64::from(random) << 32 | u64::from(slot) << SESSION_SHARD_BITS | u64::from(shard))
    }

    /// Where it would be. It is another's place, or nobody's, when the name was made up or its session is over.
    pub fn shard(self) -> u16 {
        (self.0 & ((1 << SESSION_SHARD_BITS) - 1)) as u16
    }

    /// The slot there.
    pub fn slot(self) -> u32 {
        self.0 as u32 >> SESSION_SHARD_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_is_read_back(shard in 0..1u16 << SESSION_SHARD_BITS, slot in 0..1u32 << SESSION_SLOT_BITS, random: u32) {
            let id = SessionId::new(shard, slot, random);
            prop_assert_eq!((id.shard(), id.slot(), (id.0 >> 32) as u32), (shard, slot, random));
        }
    }
}
