//! What is true of each channel, and what a follower of it may find.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};

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
    /// It may have been deleted at any time until now.
    adrift: bool,
    deletions: Vec<Deletion>,
    /// Were there when a deletion was asked for that has happened.
    gone: HashSet<u64>,
    /// Not kept: only who listens gets them.
    fleeting: HashSet<u64>,
}

/// Publications of a lower id may have gone, but for these: they were asked for behind it, on the same connection.
struct Deletion {
    below: u64,
    behind: HashSet<u64>,
}

impl Channel {
    pub fn asked(&mut self, id: u64, kept: bool) {
        self.fates.insert(id, Fate::Asked);
        if !kept {
            self.fleeting.insert(id);
        }
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

    pub fn place_of(&self, id: u64) -> Option<Place> {
        self.places.get(&id).copied()
    }

    /// Publications whose publishers were told that they are there, and that are to be kept and not deleted.
    pub fn accepted(&self) -> impl Iterator<Item = u64> {
        let accepted = self.fates.iter().filter(|(_, fate)| **fate == Fate::Accepted);
        accepted.map(|(id, _)| *id).filter(|id| !self.may_be_missed(*id))
    }

    // ---- deletion ----

    /// Somebody asks for it to be deleted: what is there by now.
    pub fn there(&self) -> Vec<u64> {
        let accepted = self.fates.iter().filter(|(_, fate)| **fate == Fate::Accepted).map(|(id, _)| *id);
        accepted.chain(self.delivered.iter().copied()).collect()
    }

    /// It was deleted after all this was there, and before anything that is published from now on or `behind` it.
    pub fn deleted(&mut self, there: Vec<u64>, published: u64, behind: HashSet<u64>) {
        self.gone.extend(there);
        self.deletions.push(Deletion { below: published + 1, behind });
    }

    /// Who has asked for it to be deleted will not know.
    pub fn deletion_lost(&mut self) {
        self.adrift = true;
    }

    /// Nothing is under way any more.
    pub fn at_rest(&mut self, published: u64) {
        if std::mem::take(&mut self.adrift) {
            self.deletions.push(Deletion { below: published + 1, behind: HashSet::new() });
        }
    }

    fn may_be_missed(&self, id: u64) -> bool {
        let is_gone = |deletion: &Deletion| id < deletion.below && !deletion.behind.contains(&id);
        self.fleeting.contains(&id) || self.deletions.iter().any(is_gone)
    }

    /// Looks at all that is stored, as somebody reads it who has just come. `all`: as much is kept as was published.
    pub fn audit(&mut self, stored: &[(u64, Place)], all: bool) {
        for (at, &(id, place)) in stored.iter().enumerate() {
            self.delivered(id, Some(place));
            assert!(!self.gone.contains(&id), "{id} was deleted, and is still there");
            assert!(!self.fleeting.contains(&id), "{id} was not to be kept");
            assert!(at == 0 || stored[at - 1].1 < place, "{stored:?} is not in order");
        }
        if !all {
            return;
        }
        let ids: HashSet<u64> = stored.iter().map(|(id, _)| *id).collect();
        let lost = self.accepted().find(|id| !ids.contains(id));
        assert!(lost.is_none(), "{lost:?} was accepted, and is not stored");
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
    /// What does not come this way.
    pub elsewhere: HashSet<u64>,
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

    /// It listens from now on: what was published before may be missing.
    pub fn begin(&mut self, published: u64) {
        (self.excused_below, self.lossy) = (published + 1, false);
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
            let missing = channel.order.range((Excluded(self.last), Excluded(place)));
            let mut missing = missing.filter(|(_, id)| **id >= excused_below);
            let missing =
                missing.find(|(_, id)| !channel.may_be_missed(**id) && !self.elsewhere.contains(id));
            assert!(missing.is_none(), "{missing:?} did not come before {} at {place:?}", entry.id);
            self.last = place;
        }
        if is_live {
            let excused_below = self.excused_below.max(self.carried);
            let missing = channel.order.range((Excluded(self.last), Unbounded));
            let mut missing = missing.filter(|(_, id)| **id >= excused_below);
            let missing =
                missing.find(|(_, id)| !channel.may_be_missed(**id) && !self.elsewhere.contains(id));
            assert!(missing.is_none(), "{missing:?} did not come; the last was {:?}", self.last);
        }
    }
}
