//! What a connection still has to send: whole frames, shared by reference.
//!
//! Empty means no allocation. One frame (the usual case between two flushes) lies in the connection itself; more go
//! into a queue that comes from a pool and goes back to it.

use crate::dialect::SlowConsumer;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// One frame with what the slow-consumer rules need to know about it.
#[derive(Debug)]
pub struct Item {
    /// The bytes.
    pub frame: Bytes,
    /// Which subscription's publication it is; [`Item::CONTROL`] for everything that must not be dropped.
    pub tag: u32,
}

impl Item {
    /// Responses, control frames, anything that is no publication.
    pub const CONTROL: u32 = u32::MAX;
}

/// In a box: a connection has eight bytes for it, not 32.
#[allow(clippy::box_collection)]
type Queue = Box<VecDeque<Item>>;

/// Queues that are empty and may be used again.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)] // the boxes are what is kept
pub struct Spare(Vec<Queue>);

impl Spare {
    fn get(&mut self) -> Queue {
        self.0.pop().unwrap_or_default()
    }

    fn put(&mut self, mut queue: Queue) {
        if self.0.len() < crate::limits::SPARE_QUEUES && queue.capacity() <= crate::limits::SEND_FRAMES {
            queue.clear();
            self.0.push(queue);
        }
    }
}

/// Frames that wait for the socket.
#[derive(Debug, Default)]
pub struct Outbox {
    first: Option<Item>,
    rest: Option<Queue>,
    bytes: u32,
    /// The part of them that is replayed history: it came first, so it is sent first, and is not held against the
    /// peer.
    replay: u32,
    replay_frames: u32,
}

/// How full an outbox may get.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Unsent bytes.
    pub bytes: usize,
    /// Unsent frames.
    pub frames: usize,
}

/// What became of a frame that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// So many publications were dropped, perhaps the new one among them.
    Dropped(usize),
    /// The connection has to be closed.
    Close,
}

impl Outbox {
    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Frames in it.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |r| r.len())
    }

    /// Bytes in it.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Bytes in it that are no replayed history.
    pub fn bytes_held_against(&self) -> usize {
        (self.bytes - self.replay) as usize
    }

    /// Whether a frame of `len` more bytes keeps within the limits. An empty outbox takes any frame.
    pub fn has_room(&self, len: usize, limits: OutboxLimits) -> bool {
        if self.replay > 0 {
            return (self.bytes - self.replay) as usize + len <= limits.bytes
                && self.len() < limits.frames.saturating_add(self.replay_frames as usize);
        }
        self.is_empty() || (self.bytes() + len <= limits.bytes && self.len() < limits.frames)
    }

    /// Appends.
    #[inline]
    pub fn push(&mut self, frame: Bytes, tag: u32, spare: &mut Spare) {
        if frame.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(frame.len() as u32);
        let item = Item { frame, tag };
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.rest.get_or_insert_with(|| spare.get()).push_back(item);
        }
    }

    /// Appends a frame that is shared by everybody who replays the same history, and outside the limits: its number
    /// is bounded by the history.
    pub fn push_replay(&mut self, frame: Bytes, spare: &mut Spare) {
        self.replay = self.replay.saturating_add(frame.len() as u32);
        self.replay_frames = self.replay_frames.saturating_add(1);
        self.push(frame, Item::CONTROL, spare);
    }

    /// Makes room for a publication of `len` bytes of subscription `tag` by the rule. The first `on_wire` frames cannot
    /// be dropped: a part of each has been sent, or will be.
    pub fn make_room(
        &mut self,
        len: usize,
        tag: u32,
        rule: SlowConsumer,
        on_wire: usize,
        limits: OutboxLimits,
    ) -> Overflow {
        let mut dropped = 0;
        match rule {
            SlowConsumer::Close => return Overflow::Close,
            SlowConsumer::DropOldest => {
                while !self.has_room(len, limits) && self.drop_first(on_wire, |_| true) {
                    dropped += 1;
                }
            }
            SlowConsumer::KeepLatest => {
                while self.drop_first(on_wire, |item| item.tag == tag) {
                    dropped += 1;
                }
            }
        }
        // A frame of which a part is on the wire cannot be dropped, but it will be gone next: one more fits behind it.
        let only_what_is_being_sent = on_wire > 0 && self.len() == on_wire;
        // Else nothing but control frames and other subscriptions' news is left: they must not grow without bound.
        if only_what_is_being_sent || self.has_room(len, limits) {
            Overflow::Dropped(dropped)
        } else {
            Overflow::Close
        }
    }

    /// Drops the first publication that `which` picks, but for the first `on_wire` frames.
    fn drop_first(&mut self, on_wire: usize, which: impl Fn(&Item) -> bool) -> bool {
        let picks = |item: &Item| item.tag != Item::CONTROL && which(item);
        if on_wire == 0 && self.first.as_ref().is_some_and(picks) {
            if let Some(item) = self.first.take() {
                self.bytes -= item.frame.len() as u32;
            }
            self.first = self.rest.as_mut().and_then(|r| r.pop_front());
            return true;
        }
        let Some(rest) = &mut self.rest else { return false };
        let kept = on_wire.saturating_sub(1);
        let Some(at) = rest.iter().skip(kept).position(picks) else { return false };
        if let Some(item) = rest.remove(kept + at) {
            self.bytes -= item.frame.len() as u32;
        }
        true
    }

    /// The frames in order.
    pub fn frames(&self) -> impl Iterator<Item = &Bytes> {
        self.first.iter().chain(self.rest.iter().flat_map(|r| r.iter())).map(|item| &item.frame)
    }

    /// The first frame, if it is the only one.
    pub fn only(&self) -> Option<&Bytes> {
        match &self.rest {
            Some(rest) if !rest.is_empty() => None,
            _ => self.first.as_ref().map(|item| &item.frame),
        }
    }

    /// Appends copies of the first frames to `out`, at most `most` bytes.
    pub fn copy_front(&self, out: &mut Vec<u8>, most: usize) {
        let end = out.len() + most;
        for frame in self.frames() {
            let room = end - out.len();
            if frame.len() >= room {
                return out.extend_from_slice(&frame[..room]);
            }
            out.extend_from_slice(frame);
        }
    }

    /// Puts bytes before everything else, or, with `join`, behind the first frame's.
    pub fn push_front(&mut self, bytes: &[u8], join: bool, spare: &mut Spare) {
        let first = self.first.take();
        let frame = match &first {
            Some(item) if join => [&item.frame, bytes].concat().into(),
            _ => Bytes::copy_from_slice(bytes),
        };
        if let Some(first) = first.filter(|_| !join) {
            self.rest.get_or_insert_with(|| spare.get()).push_front(first);
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u32);
        if self.replay > 0 {
            self.replay = self.replay.saturating_add(bytes.len() as u32);
            self.replay_frames += u32::from(!join);
        }
        self.first = Some(Item { frame, tag: Item::CONTROL });
    }

    /// Takes the first frame off.
    pub fn pop_front(&mut self, spare: &mut Spare) -> Option<Bytes> {
        let frame = self.first.as_ref()?.frame.clone();
        self.advance(frame.len(), spare);
        Some(frame)
    }

    /// Takes `sent` bytes off the front. Returns whether the then first frame is on the wire in part.
    pub fn advance(&mut self, mut sent: usize, spare: &mut Spare) -> bool {
        self.bytes = self.bytes.saturating_sub(sent as u32);
        self.replay = self.replay.saturating_sub(sent as u32).min(self.bytes);
        let mut partly = false;
        while sent > 0 {
            let Some(item) = &mut self.first else { break };
            if sent < item.frame.len() {
                item.frame.advance(sent);
                partly = true;
                break;
            }
            sent -= item.frame.len();
            self.replay_frames = self.replay_frames.saturating_sub(1);
            self.first = self.rest.as_mut().and_then(|r| r.pop_front());
        }
        if self.rest.as_ref().is_some_and(|r| r.is_empty())
            && let Some(queue) = self.rest.take()
        {
            spare.put(queue);
        }
        partly
    }

    /// Takes everything off.
    pub fn clear(&mut self, spare: &mut Spare) {
        self.first = None;
        self.bytes = 0;
        self.replay = 0;
        self.replay_frames = 0;
        if let Some(queue) = self.rest.take() {
            spare.put(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { bytes: 30, frames: 4 };

    fn filled() -> (Outbox, Spare) {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        for (tag, frame) in [(1, &b"aaaaaaaaaa"[..]), (Item::CONTROL, b"cccccccccc"), (2, b"bbbbbbbbbb")] {
            outbox.push(Bytes::from_static(frame), tag, &mut spare);
        }
        (outbox, spare)
    }

    fn text(outbox: &Outbox) -> String {
        outbox.frames().map(|f| f[..1].iter().map(|&b| b as char).collect::<String>()).collect()
    }

    #[test]
    fn advance_crosses_frames_and_reports_partial_ones() {
        let (mut outbox, mut spare) = filled();
        assert!(outbox.advance(5, &mut spare));
        assert!(!outbox.advance(15, &mut spare));
        assert_eq!((outbox.len(), outbox.bytes()), (1, 10));
        assert!(!outbox.advance(10, &mut spare));
        assert!(outbox.is_empty());
        assert_eq!(spare.0.len(), 1);
    }

    #[test]
    fn close_rule_closes() {
        let (mut outbox, _) = filled();
        assert!(!outbox.has_room(1, LIMITS));
        assert_eq!(outbox.make_room(1, 1, SlowConsumer::Close, 0, LIMITS), Overflow::Close);
    }

    #[test]
    fn drop_oldest_spares_control_frames_and_what_is_on_the_wire() {
        let (mut outbox, _) = filled();
        assert_eq!(outbox.make_room(5, 1, SlowConsumer::DropOldest, 1, LIMITS), Overflow::Dropped(1));
        assert_eq!(text(&outbox), "ac");
        let (mut outbox, _) = filled();
        assert_eq!(outbox.make_room(15, 1, SlowConsumer::DropOldest, 0, LIMITS), Overflow::Dropped(2));
        assert_eq!(text(&outbox), "c");
        assert_eq!(outbox.make_room(25, 1, SlowConsumer::DropOldest, 0, LIMITS), Overflow::Close);
    }

    #[test]
    fn a_frame_on_the_wire_does_not_close_a_connection_that_may_drop() {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        outbox.push(Bytes::from_static(&[b'a'; 25]), 1, &mut spare);
        assert!(outbox.advance(1, &mut spare));
        for rule in [SlowConsumer::DropOldest, SlowConsumer::KeepLatest] {
            assert_eq!(outbox.make_room(25, 1, rule, 1, LIMITS), Overflow::Dropped(0));
        }
        assert_eq!(outbox.make_room(25, 1, SlowConsumer::Close, 1, LIMITS), Overflow::Close);
    }

    #[test]
    fn keep_latest_drops_the_same_subscription_only() {
        let (mut outbox, _) = filled();
        assert_eq!(outbox.make_room(5, 2, SlowConsumer::KeepLatest, 0, LIMITS), Overflow::Dropped(1));
        assert_eq!(text(&outbox), "ac");
    }

    #[test]
    fn replayed_history_is_not_held_against_the_peer() {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        for _ in 0..10 {
            outbox.push_replay(Bytes::from_static(b"rrrrrrrrrr"), &mut spare);
        }
        assert!(outbox.has_room(30, LIMITS) && !outbox.has_room(31, LIMITS));
        outbox.push(Bytes::from_static(b"aaaaaaaaaa"), 1, &mut spare);
        assert!(outbox.has_room(20, LIMITS) && !outbox.has_room(21, LIMITS));
        outbox.advance(100, &mut spare);
        assert!(outbox.has_room(20, LIMITS) && !outbox.has_room(21, LIMITS));
    }

    #[test]
    fn records_go_before_everything_and_stay() {
        let (mut outbox, mut spare) = filled();
        assert!(outbox.advance(4, &mut spare));
        outbox.push_front(b"ss", false, &mut spare);
        outbox.push_front(b"ss", true, &mut spare);
        assert_eq!((text(&outbox).as_str(), outbox.len(), outbox.bytes()), ("sacb", 4, 30));
        // The records and the frame that is partly in them.
        assert_eq!(outbox.make_room(8, 9, SlowConsumer::DropOldest, 2, LIMITS), Overflow::Dropped(1));
        assert_eq!(text(&outbox), "sac");
        let mut copy = Vec::new();
        outbox.copy_front(&mut copy, 6);
        assert_eq!(copy, b"ssssaa");
        assert_eq!(outbox.pop_front(&mut spare).unwrap(), "ssss");
        copy.clear();
        outbox.copy_front(&mut copy, 100);
        assert_eq!(copy, b"aaaaaacccccccccc");
        assert_eq!((text(&outbox).as_str(), outbox.bytes()), ("ac", 16));
    }

    #[test]
    fn records_and_the_frame_within_them_do_not_close_a_connection_that_may_drop() {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        outbox.push(Bytes::from_static(&[b'a'; 25]), 1, &mut spare);
        assert!(outbox.advance(1, &mut spare));
        outbox.push_front(b"ssss", false, &mut spare);
        assert_eq!(outbox.make_room(25, 1, SlowConsumer::KeepLatest, 2, LIMITS), Overflow::Dropped(0));
        assert_eq!(outbox.make_room(25, 1, SlowConsumer::KeepLatest, 0, LIMITS), Overflow::Dropped(1));
    }

    #[test]
    fn an_empty_outbox_takes_a_frame_of_any_size() {
        assert!(Outbox::default().has_room(1_000, LIMITS));
    }
}
