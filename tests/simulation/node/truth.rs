//! What is true of each channel, and what a follower of it may find.

use std::collections::{BTreeMap, HashMap, HashSet};

/// `time:tag`, as the relay spells positions.
pub type Place = (u64, u32);

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet.
    Asked,
    Accepted,
    Refused,
    /// Its publisher will never know.
    Unknown,
}

/// One channel.
#[derive(Default)]
pub struct Channel {
    fates: HashMap<u64, Fate>,
    places: HashMap<u64, Place>,
    order: BTreeMap<Place, u64>,
    delivered: HashSet<u64>,
}

impl Channel {
    pub fn asked(&mut self, id: u64) {
        self.fates.insert(id, Fate::Asked);
    }

    /// The publisher has its answer, or none.
    pub fn answered(&mut self, id: u64, fate: Fate, place: Option<Place>) {
        assert!(fate != Fate::Refused || !self.delivered.contains(&id), "{id} was refused and delivered");
        self.fates.insert(id, fate);
        if let Some(place) = place {
            self.place(id, place);
        }
    }

    /// Somebody has got it, perhaps with its place.
    pub fn delivered(&mut self, id: u64, place: Option<Place>) {
        let fate = self.fates.get(&id).unwrap_or_else(|| panic!("{id} was never published"));
        assert!(*fate != Fate::Refused, "{id} was refused, and is delivered");
        self.delivered.insert(id);
        if let Some(place) = place {
            self.place(id, place);
        }
    }

    fn place(&mut self, id: u64, place: Place) {
        let before = self.places.insert(id, place);
        assert!(before.is_none_or(|before| before == place), "{id} is at {before:?} and at {place:?}");
        let other = self.order.insert(place, id);
        assert!(other.is_none_or(|other| other == id), "{other:?} and {id} are both at {place:?}");
    }

    /// Publications whose publishers were told that they are there.
    pub fn accepted(&self) -> impl Iterator<Item = u64> {
        let accepted = self.fates.iter().filter(|(_, fate)| **fate == Fate::Accepted);
        accepted.map(|(id, _)| *id)
    }

    pub fn is_placed(&self, id: u64) -> bool {
        self.places.contains_key(&id)
    }
}

/// One that came, and what may be missing before it: publications of a lower id than this.
struct Entry {
    id: u64,
    excused_below: u64,
}

/// Somebody who follows one channel.
#[derive(Default)]
pub struct Follower {
    entries: Vec<Entry>,
    seen: HashSet<u64>,
    last: Place,
    /// What was excused before those whose places nobody knows.
    carried: u64,
    /// What may be missing before the next one.
    pub excused_below: u64,
    /// Anything may be missing anywhere.
    pub lossy: bool,
}

impl Follower {
    /// One of whom anything may be kept, if it is lossy.
    pub fn new(lossy: bool) -> Follower {
        Follower { lossy, ..Follower::default() }
    }

    /// A publication has come.
    pub fn got(&mut self, channel: &mut Channel, id: u64, place: Option<Place>) {
        channel.delivered(id, place);
        assert!(self.seen.insert(id), "{id} has come twice");
        let excused_below = std::mem::take(&mut self.excused_below);
        self.entries.push(Entry { id, excused_below: if self.lossy { u64::MAX } else { excused_below } });
    }

    /// Looks at what has come since the last look. `is_live`: nothing more is on its way to it.
    pub fn check(&mut self, channel: &Channel, is_live: bool) {
        for entry in self.entries.drain(..) {
            let excused_below = entry.excused_below.max(self.carried);
            let Some(&place) = channel.places.get(&entry.id) else {
                self.carried = excused_below; // nobody knows where it was
                continue;
            };
            self.carried = 0;
            assert!(place > self.last, "{} at {place:?} came after {:?}", entry.id, self.last);
            let after = (std::ops::Bound::Excluded(self.last), std::ops::Bound::Excluded(place));
            let missing = channel.order.range(after).find(|(_, id)| **id >= excused_below);
            assert!(missing.is_none(), "{missing:?} did not come before {} at {place:?}", entry.id);
            self.last = place;
        }
        if is_live {
            let after = (std::ops::Bound::Excluded(self.last), std::ops::Bound::Unbounded);
            let excused_below = self.excused_below.max(self.carried);
            let missing = channel.order.range(after).find(|(_, id)| **id >= excused_below);
            assert!(missing.is_none(), "{missing:?} did not come; the last was {:?}", self.last);
        }
    }
}
