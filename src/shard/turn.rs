//! What a shard is doing just now, for whoever finds that it has stopped turning.

use super::counters::Figure;
use std::os::fd::RawFd;

/// A part of a shard's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// It has not started, or has ended.
    Away,
    /// It waits for something to happen.
    Asleep,
    /// It asks the kernel what has happened.
    Net,
    /// It looks at what has happened on sockets.
    Events,
    /// It comes back to input that was put off.
    Again,
    /// It takes mail.
    Mail,
    /// It carries out what follows.
    Work,
    /// It looks at what is due.
    Tick,
    /// It writes to connections.
    Flush,
}

impl Part {
    const ALL: [Part; 9] = [
        Part::Away,
        Part::Asleep,
        Part::Net,
        Part::Events,
        Part::Again,
        Part::Mail,
        Part::Work,
        Part::Tick,
        Part::Flush,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Part::Away => "away",
            Part::Asleep => "asleep",
            Part::Net => "net",
            Part::Events => "events",
            Part::Again => "input put off",
            Part::Mail => "mail",
            Part::Work => "work",
            Part::Tick => "tick",
            Part::Flush => "flush",
        }
    }
}

/// Marks that a shard leaves as it goes; each costs a plain store.
#[derive(Debug, Default)]
pub struct Marks {
    part: Figure,
    /// Slot + 1 and descriptor of the connection whose session is being called.
    calling: Figure,
    tid: Figure,
}

impl Marks {
    /// The shard begins a part of its turn.
    #[inline]
    pub fn at(&self, part: Part) {
        self.part.set(part as u64);
    }

    /// Where it is.
    pub fn part(&self) -> Part {
        Part::ALL[(self.part.get() as usize).min(Part::ALL.len() - 1)]
    }

    /// The session of this connection is called.
    #[inline]
    pub fn calls(&self, slot: u32, fd: RawFd) {
        self.calling.set((u64::from(slot) + 1) << 32 | u64::from(fd as u32));
    }

    /// The call is over.
    #[inline]
    pub fn called(&self) {
        self.calling.set(0);
    }

    /// Slot and descriptor of the connection whose session is being called.
    pub fn calling(&self) -> Option<(u32, RawFd)> {
        let calling = self.calling.get();
        let slot = (calling >> 32).checked_sub(1)?;
        Some((slot as u32, calling as u32 as RawFd))
    }

    /// The shard runs on the calling thread.
    pub fn begin(&self) {
        // SAFETY: plain system call.
        self.tid.set(unsafe { libc::gettid() } as u64);
        self.at(Part::Asleep);
    }

    /// The shard has left its loop.
    pub fn end(&self) {
        self.tid.set(0);
        self.at(Part::Away);
    }

    /// The number of its thread while it turns.
    pub fn tid(&self) -> Option<u32> {
        u32::try_from(self.tid.get()).ok().filter(|&tid| tid != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_left() {
        let marks = Marks::default();
        assert_eq!((marks.part(), marks.calling(), marks.tid()), (Part::Away, None, None));
        for part in Part::ALL {
            marks.at(part);
            assert_eq!(marks.part(), part);
        }
        for (slot, fd) in [(0, 0), (7, 12), (u32::MAX - 1, i32::MAX), (3, -1)] {
            marks.calls(slot, fd);
            assert_eq!(marks.calling(), Some((slot, fd)));
        }
        marks.called();
        marks.begin();
        assert!(marks.calling().is_none() && marks.tid().is_some_and(|tid| tid >= std::process::id()));
        marks.end();
        assert!(marks.tid().is_none());
    }
}
