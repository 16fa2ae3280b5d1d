//! Keeps the log readable: the first of its kind at once, the rest as a count now and then. Time is an argument.

use std::time::{Duration, Instant};

/// One kind of event at one place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogGate {
    /// When a line was last written; none after a quiet time.
    last: Option<Instant>,
    /// Events since then.
    held: u64,
}

impl LogGate {
    /// Takes one event; true: write its line now.
    pub(super) fn note(&mut self, now: Instant) -> bool {
        if self.last.is_none() {
            self.last = Some(now);
            return true;
        }
        self.held += 1;
        false
    }

    /// Looks whether a count is due: events since the last line, to be written now.
    pub(super) fn due(&mut self, now: Instant, every: Duration) -> Option<u64> {
        let last = self.last?;
        if now.saturating_duration_since(last) < every {
            return None;
        }
        let held = std::mem::take(&mut self.held);
        self.last = (held > 0).then_some(now);
        (held > 0).then_some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_at_once_then_counted() {
        let every = Duration::from_secs(10);
        let start = Instant::now();
        let mut gate = LogGate::default();
        assert_eq!(gate.due(start, every), None);
        assert!(gate.note(start));
        assert!(!gate.note(start) && !gate.note(start));
        assert_eq!(gate.due(start + every / 2, every), None);
        assert_eq!(gate.due(start + every, every), Some(2));
        assert!(!gate.note(start + every));
        assert_eq!(gate.due(start + every * 2, every), Some(1));
        assert_eq!(gate.due(start + every * 3, every), None);
        assert!(gate.note(start + every * 3), "first again after a quiet time");
    }
}
