//! The name of a channel, hashed once.

use crate::limits::KEYS_CACHED;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// Set in an app's number where a channel of its *hidden side* is meant: one that no dialect gives a name to, so that
/// nobody outside can ask for it. Numbers of apps, and those above [`crate::limits::RELAY_STORES`], never have it.
pub const HIDDEN_APP: u32 = 1 << 30;

/// Identity of a channel: app, optional group, name. Hashed once when it is made.
///
/// Channels with a group share one home, so that the group's limits are counted in one place.
#[derive(Debug)]
pub struct ChannelKey {
    app: u32,
    group_bytes: u32,
    /// Group and name, one behind the other.
    text: Box<[u8]>,
    hash: u64,
    home_hash: u64,
}

/// Hashes channel names; seeded at boot so that nobody outside can aim at one shard or one bucket.
#[derive(Clone, Debug)]
pub struct KeyHasher(foldhash::quality::FixedState);

impl KeyHasher {
    /// All shards of a node use the same `seed`.
    pub fn new(seed: u64) -> KeyHasher {
        KeyHasher(foldhash::quality::FixedState::with_seed(seed))
    }
}

impl ChannelKey {
    /// The key of channel `name` in `group` (empty: none) of `app`. Any bytes are a name, also none at all.
    pub fn new(hasher: &KeyHasher, app: u32, group: &[u8], name: &[u8]) -> Arc<ChannelKey> {
        let mut text = Vec::with_capacity(group.len() + name.len());
        text.extend_from_slice(group);
        text.extend_from_slice(name);
        let hash = hasher.0.hash_one((app, group, name));
        let home_hash = if group.is_empty() { hash } else { hasher.0.hash_one((app, group)) };
        let group_bytes = u32::try_from(group.len()).unwrap_or(u32::MAX);
        Arc::new(ChannelKey { app, group_bytes, text: text.into(), hash, home_hash })
    }

    /// The app it belongs to; with [`HIDDEN_APP`] on its hidden side.
    pub fn app(&self) -> u32 {
        self.app
    }

    /// Its group, empty for none.
    pub fn group(&self) -> &[u8] {
        &self.text[..self.group_bytes as usize]
    }

    /// Its name without the group.
    pub fn name(&self) -> &[u8] {
        &self.text[self.group_bytes as usize..]
    }

    /// Whether it is one that the node keeps for itself: its name begins with `#`.
    pub fn is_hidden(&self) -> bool {
        self.name().first() == Some(&b'#')
    }

    /// The shard, of `shards`, that owns it.
    pub fn home(&self, shards: usize) -> usize {
        (self.home_hash % shards.max(1) as u64) as usize
    }
}

/// Keys made lately, so that a channel that many messages go to need not be named anew each time. One per shard.
#[derive(Debug, Default)]
pub struct KeyCache {
    /// One place per remainder of the hash; a newcomer takes the place.
    places: Vec<Option<Arc<ChannelKey>>>,
}

impl KeyCache {
    /// As [`ChannelKey::new`], mostly without making one.
    pub fn key(&mut self, hasher: &KeyHasher, app: u32, group: &[u8], name: &[u8]) -> Arc<ChannelKey> {
        if self.places.is_empty() {
            self.places.resize(KEYS_CACHED, None);
        }
        let hash = hasher.0.hash_one((app, group, name));
        let place = &mut self.places[(hash % KEYS_CACHED as u64) as usize];
        if let Some(key) = place
            && key.hash == hash
            && key.app == app
            && key.group() == group
            && key.name() == name
        {
            return key.clone();
        }
        let key = ChannelKey::new(hasher, app, group, name);
        *place = Some(key.clone());
        key
    }
}

impl PartialEq for ChannelKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.app == other.app
            && self.group_bytes == other.group_bytes
            && self.text == other.text
    }
}

impl Eq for ChannelKey {}

impl Hash for ChannelKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_name_do_not_run_into_each_other() {
        let hasher = KeyHasher::new(7);
        let a = ChannelKey::new(&hasher, 0, b"ab", b"c");
        let b = ChannelKey::new(&hasher, 0, b"a", b"bc");
        let c = ChannelKey::new(&hasher, 1, b"ab", b"c");
        assert_ne!(a, b);
        assert_ne!(a, c);
        assert_eq!(a, ChannelKey::new(&hasher, 0, b"ab", b"c"));
        assert_eq!((b.group(), b.name()), (&b"a"[..], &b"bc"[..]));
    }

    #[test]
    fn cached_keys_are_the_same_keys() {
        let (hasher, mut cache) = (KeyHasher::new(7), KeyCache::default());
        let first = cache.key(&hasher, 0, b"g", b"n");
        assert!(Arc::ptr_eq(&first, &cache.key(&hasher, 0, b"g", b"n")));
        for (app, group, name) in [(1, b"g".as_slice(), b"n".as_slice()), (0, b"", b"gn"), (0, b"gn", b"")] {
            let other = cache.key(&hasher, app, group, name);
            assert_eq!(other, ChannelKey::new(&hasher, app, group, name));
            assert_ne!(other, first);
        }
        // More names than places: everybody still gets their own.
        for number in 0..4 * KEYS_CACHED as u32 {
            let name = number.to_le_bytes();
            assert_eq!(cache.key(&hasher, 0, b"", &name), ChannelKey::new(&hasher, 0, b"", &name));
        }
    }

    #[test]
    fn channels_of_a_group_share_a_home() {
        let hasher = KeyHasher::new(7);
        let homes: Vec<usize> = (0..50u8).map(|n| ChannelKey::new(&hasher, 0, b"g", &[n]).home(8)).collect();
        assert!(homes.iter().all(|&h| h == homes[0]));
        let free: Vec<usize> = (0..50u8).map(|n| ChannelKey::new(&hasher, 0, b"", &[n]).home(8)).collect();
        assert!(free.iter().any(|&h| h != free[0]), "others spread");
    }
}
