//! Which log of the store belongs to which channel, and which logs there were when the node started.

use crate::channel::store::Retention;
use crate::channel::{ChannelKey, HIDDEN_APP, Position};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A log as it was found when the node started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtStart {
    /// What it keeps.
    pub retention: Retention,
    /// The highest position that it ever had.
    pub last: Position,
}

/// The logs of a node, as each home has them. A log's name is the id of the app, 0, the group, 0, and the channel's name;
/// in a group the bytes 0 and 1 are written as 1 1 and 1 2, so that no two channels share a name. Of a channel of an
/// app's hidden side it begins with 0.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// By the numbers of apps, or of what else has channels of its own.
    ids: BTreeMap<u32, Box<str>>,
    /// Those that were there when the node started.
    at_start: Arc<BTreeMap<Bytes, AtStart>>,
}

impl Logs {
    /// `ids` are the ids of apps, and of what else has channels of its own, with their numbers; no two are the same and
    /// they have no zero bytes. `at_start` are the logs as they were found.
    pub fn new<I: Into<Box<str>>>(
        ids: impl IntoIterator<Item = (u32, I)>,
        at_start: impl IntoIterator<Item = (Bytes, AtStart)>,
    ) -> Logs {
        Logs {
            ids: ids.into_iter().map(|(number, id)| (number, id.into())).collect(),
            at_start: Arc::new(at_start.into_iter().collect()),
        }
    }

    /// From now on this is the app's id.
    pub fn name_app(&mut self, app: u32, id: &str) {
        if self.ids.get(&app).is_none_or(|known| &**known != id) {
            self.ids.insert(app, id.into());
        }
    }

    /// Whether the store had no logs when the node started.
    pub fn is_empty(&self) -> bool {
        self.at_start.is_empty()
    }

    /// The name of a channel's log.
    pub fn name(&self, key: &ChannelKey) -> Bytes {
        let mut name = self.group(key);
        name.extend_from_slice(key.name());
        name.into()
    }

    /// This log as it was when the node started, if it was there.
    pub fn at_start(&self, log: &[u8]) -> Option<AtStart> {
        self.at_start.get(log).copied()
    }

    /// The logs of channels of this key's group that were there when the node started.
    pub fn of_group(&self, key: &ChannelKey) -> impl Iterator<Item = &Bytes> {
        let prefix = self.group(key);
        let from = (Bound::Included(&prefix[..]), Bound::Unbounded);
        let logs = self.at_start.range::<[u8], _>(from).map(|(log, _)| log);
        let logs: Vec<&Bytes> = logs.take_while(|log| log.starts_with(&prefix)).collect();
        logs.into_iter()
    }

    /// What the names of all logs of the group begin with.
    fn group(&self, key: &ChannelKey) -> Vec<u8> {
        let mut name = Vec::with_capacity(32 + key.group().len() + key.name().len());
        if key.app() & HIDDEN_APP != 0 {
            name.push(0);
        }
        let app = key.app() & !HIDDEN_APP;
        name.extend_from_slice(self.ids.get(&app).map_or(b"", |id| id.as_bytes()));
        name.push(0);
        for &byte in key.group() {
            match byte {
                0 => name.extend([1, 1]),
                1 => name.extend([1, 2]),
                other => name.push(other),
            }
        }
        name.push(0);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::KeyHasher;

    const ALL: AtStart = AtStart { retention: Retention::ALL, last: Position::ZERO };

    fn logs(at_start: &[&'static [u8]]) -> Logs {
        let ids = (0..4).map(|app| (app, format!("app{app}")));
        let at_start = at_start.iter().map(|log| (Bytes::from_static(log), ALL));
        Logs::new(ids, at_start)
    }

    #[test]
    fn no_two_channels_share_a_log() {
        let (hasher, logs) = (KeyHasher::new(7), logs(&[]));
        let key = |app, group: &[u8], name: &[u8]| logs.name(&ChannelKey::new(&hasher, app, group, name));
        assert_eq!(&key(0, b"", b"news")[..], b"app0\0\0news");
        assert_eq!(&key(3, b"g", b"")[..], b"app3\0g\0");
        let parts: [&[u8]; 8] = [b"", b"a", b"\0", b"a\0", b"\0a", b"\x01", b"\x01\x01", b"\x01\x02"];
        let mut names = Vec::new();
        for (group, name) in parts.iter().flat_map(|group| parts.map(|name| (*group, name))) {
            names.push(key(1, group, name));
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), parts.len() * parts.len());
    }

    #[test]
    fn apps_come_later_and_keep_their_numbers() {
        let (hasher, mut logs) = (KeyHasher::new(7), logs(&[]));
        logs.name_app(6, "late");
        assert_eq!(&logs.name(&ChannelKey::new(&hasher, 6, b"", b"a"))[..], b"late\0\0a");
        assert_eq!(&logs.name(&ChannelKey::new(&hasher, 1, b"", b"a"))[..], b"app1\0\0a");
    }

    #[test]
    fn logs_of_a_group_are_found_by_their_beginning() {
        let logs =
            logs(&[b"app1\0g\0a", b"app1\0g\0b", b"app1\0gg\0c", b"app1\0\0g", b"app2\0g\0a", b"app1\0f\0a"]);
        let key = ChannelKey::new(&KeyHasher::new(7), 1, b"g", b"");
        let found: Vec<&[u8]> = logs.of_group(&key).map(|log| &log[..]).collect();
        assert_eq!(found, [b"app1\0g\0a", b"app1\0g\0b"]);
        assert_eq!(logs.at_start(b"app2\0g\0a"), Some(ALL));
        assert_eq!(logs.at_start(b"app2\0g\0b"), None);
    }
}
