//! Where a publication stands in its channel.

/// The second of publication and a count within that second: totally ordered per channel (compare the second,
/// then the tag) and never reused, also across deletion and clocks that run backwards. The seconds make it
/// comparable across restarts, so they are the *epoch* and the tag the *offset* of the design.
///
/// Source: http-push-relay sheet section 1; nchan sheet section 3 (there the tag is 16 bits wide, here 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Unix time, seconds.
    pub time: u64,
    /// 0, 1, 2 ... within the second.
    pub tag: u32,
}

impl Position {
    /// Before every publication.
    pub const ZERO: Position = Position { time: 0, tag: 0 };
    /// Not before any publication.
    pub const MAX: Position = Position { time: u64::MAX, tag: u32::MAX };

    /// The highest position below this one.
    pub fn before(self) -> Position {
        match self {
            Position { time: 0, tag: 0 } => self,
            Position { time, tag: 0 } => Position { time: time - 1, tag: u32::MAX },
            Position { time, tag } => Position { time, tag: tag - 1 },
        }
    }

    /// The position of the next publication made at `unix_s`: never at or below `self`, whatever the clock does.
    pub fn next(self, unix_s: u64) -> Position {
        if unix_s > self.time {
            Position { time: unix_s, tag: 0 }
        } else if self.tag == u32::MAX {
            Position { time: self.time + 1, tag: 0 }
        } else {
            Position { time: self.time, tag: self.tag + 1 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_only_grow() {
        let first = Position::ZERO.next(100);
        assert_eq!(first, Position { time: 100, tag: 0 });
        assert_eq!(first.next(100), Position { time: 100, tag: 1 });
        assert_eq!(first.next(99), Position { time: 100, tag: 1 }, "a clock that steps back");
        assert_eq!(first.next(101), Position { time: 101, tag: 0 });
        assert_eq!(first.next(100).before(), first);
        assert!(first.before() < first && first.before().next(0) == first);
        assert_eq!(Position::ZERO.before(), Position::ZERO);
        let full = Position { time: 100, tag: u32::MAX };
        assert!(full.next(100) > full);
    }
}
