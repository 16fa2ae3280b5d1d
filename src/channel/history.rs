//! The stored publications of one channel, oldest first.

use crate::channel::{Policy, Position, Publication, Start};
use std::collections::VecDeque;
use std::sync::Arc;

/// Publications in order, with what has gone from the front remembered as one position.
#[derive(Debug, Default)]
pub struct History {
    items: VecDeque<Arc<Publication>>,
    bytes: usize,
    /// The highest position that is no longer stored.
    dropped: Position,
}

impl History {
    /// Stored publications.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Memory charged for them, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Position of the oldest stored publication.
    pub fn oldest(&self) -> Option<Position> {
        self.items.front().map(|p| p.position)
    }

    /// The oldest stored publication's memory, bytes: what one that takes its place makes free.
    pub fn oldest_bytes(&self) -> Option<usize> {
        self.items.front().map(|p| p.cost_bytes())
    }

    /// The highest position that is no longer stored.
    pub fn dropped(&self) -> Position {
        self.dropped
    }

    /// Appends; `publication.position` is above everything stored.
    pub fn push(&mut self, publication: Arc<Publication>) {
        debug_assert!(self.items.back().is_none_or(|last| last.position < publication.position));
        self.bytes += publication.cost_bytes();
        self.items.push_back(publication);
    }

    /// Drops the oldest.
    pub fn pop(&mut self) {
        if let Some(publication) = self.items.pop_front() {
            self.bytes -= publication.cost_bytes();
            self.dropped = publication.position;
            if self.items.is_empty() {
                self.items = VecDeque::new();
            }
        }
    }

    /// Notes that what is at or below `position` was never stored here.
    pub fn skip(&mut self, position: Position) {
        self.dropped = self.dropped.max(position);
    }

    /// Drops what is at or below `through`; nothing above it counts as missing.
    pub fn lose(&mut self, through: Position) {
        while self.items.front().is_some_and(|p| p.position <= through) {
            self.pop();
        }
        self.dropped = through;
    }

    /// Applies count, size and age rules: never more than `max_messages`, nor than `max_bytes` beside the newest;
    /// expired ones go oldest first, but not below `min_messages`.
    pub fn trim(&mut self, policy: &Policy, mono_ms: u64) {
        while self.len() > policy.max_messages as usize {
            self.pop();
        }
        while self.bytes as u64 > policy.max_bytes && self.len() > 1 {
            self.pop();
        }
        while self.len() > policy.min_messages as usize
            && self.items.front().is_some_and(|p| p.expires_ms <= mono_ms)
        {
            self.pop();
        }
    }

    /// The publications from `start` on, at most `most`; whether nothing before them is missing; and whether all
    /// after them are given.
    pub fn from(&self, start: Start, most: usize) -> (Vec<Arc<Publication>>, bool, bool) {
        let (first, recovered) = match start {
            Start::After(position) => {
                (self.items.partition_point(|p| p.position <= position), position >= self.dropped)
            }
            Start::Oldest => (0, true),
            Start::Newest => (self.len().saturating_sub(1), true),
            Start::Nth(n) if n < 0 => (self.len().saturating_sub(n.unsigned_abs() as usize), true),
            Start::Nth(n) => ((n as usize).saturating_sub(1).min(self.len()), true),
            Start::Live => (self.len(), true),
        };
        let whole = self.len() - first <= most;
        (self.items.iter().skip(first).take(most).cloned().collect(), recovered, whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Message;

    fn publication(time: u64, tag: u32, expires_ms: u64) -> Arc<Publication> {
        Arc::new(Publication {
            position: Position { time, tag },
            previous: Position::ZERO,
            message: Message::default(),
            published_ns: 0,
            expires_ms,
            deflated: Default::default(),
            replay: Default::default(),
        })
    }

    fn five() -> History {
        let mut history = History::default();
        for tag in 0..5 {
            history.push(publication(10, tag, u64::MAX));
        }
        history
    }

    fn tags(history: &History, start: Start) -> Vec<u32> {
        history.from(start, 100).0.iter().map(|p| p.position.tag).collect()
    }

    #[test]
    fn starts() {
        let h = five();
        assert_eq!(tags(&h, Start::Oldest), [0, 1, 2, 3, 4]);
        assert_eq!(tags(&h, Start::Newest), [4]);
        assert_eq!(tags(&h, Start::Nth(2)), [1, 2, 3, 4]);
        assert_eq!(tags(&h, Start::Nth(9)), [0; 0]);
        assert_eq!(tags(&h, Start::Nth(-2)), [3, 4]);
        assert_eq!(tags(&h, Start::Nth(-9)), [0, 1, 2, 3, 4]);
        assert_eq!(tags(&h, Start::Live), [0; 0]);
        assert_eq!(tags(&h, Start::After(Position { time: 10, tag: 2 })), [3, 4]);
        assert_eq!(tags(&h, Start::After(Position { time: 9, tag: 7 })), [0, 1, 2, 3, 4]);
        assert_eq!(tags(&h, Start::After(Position { time: 11, tag: 0 })), [0; 0]);
    }

    #[test]
    fn recovery_is_told() {
        let mut h = five();
        let at = |tag| Start::After(Position { time: 10, tag });
        assert!(h.from(at(0), 9).1);
        h.pop();
        h.pop();
        assert!(h.from(at(1), 9).1);
        assert!(!h.from(at(0), 9).1, "10:1 is gone");
        assert!(h.from(Start::Oldest, 3).2 && !h.from(Start::Oldest, 2).2, "three are left");
    }

    #[test]
    fn bytes_are_bounded_beside_the_newest() {
        let mut h = five();
        let one = (h.bytes() / 5) as u64;
        h.trim(&Policy { max_bytes: 3 * one, ..Policy::default() }, 0);
        assert_eq!(tags(&h, Start::Oldest), [2, 3, 4]);
        h.trim(&Policy { max_bytes: 1, ..Policy::default() }, 0);
        assert_eq!(tags(&h, Start::Oldest), [4]);
    }

    #[test]
    fn minimum_beats_expiry_and_maximum_beats_both() {
        let mut h = History::default();
        for tag in 0..5 {
            h.push(publication(1, tag, 100));
        }
        let policy = Policy { max_messages: 4, min_messages: 1, ..Policy::default() };
        h.trim(&policy, 99);
        assert_eq!(h.len(), 4);
        h.trim(&policy, 100);
        assert_eq!(h.len(), 1);
        assert!(h.bytes() > 0);
        h.pop();
        assert_eq!(h.bytes(), 0);
    }
}
