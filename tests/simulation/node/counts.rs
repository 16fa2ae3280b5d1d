//! What has happened in a run: a simulation in which something never happens proves nothing about it.

/// Something that has happened, as its clients or the node's figures tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// A publish was accepted,
    Accepted,
    /// or refused.
    Refused,
    /// A channel was deleted,
    Deleted,
    /// the room was.
    RoomDeleted,
    /// A subscriber was told that its channel was deleted.
    Ended,
    /// A member was told that its room was.
    RoomEnded,
    /// A connection has gone to another shard.
    Moved,
    /// A message came back from the shard that a WebSocket has gone to.
    Echoed,
    /// A revocation was noted by all shards.
    Revoked,
    /// A session was ended by one.
    Expelled,
    /// Somebody was not let in because of one.
    Barred,
    /// Somebody was let in by a token.
    Admitted,
    /// A client of Pushi got an event,
    Event,
    /// sent one that was accepted,
    Sent,
    /// got no second one of what went to several channels,
    Once,
    /// was answered with stored events,
    Latest,
    /// came to its personal channel,
    Personal,
    /// or to the room.
    Room,
    /// A back end was told which channels a client of Pushi has.
    Asked,
    /// Two had a channel of their own.
    Pair,
    /// A history was read whole.
    Audited,
    /// A mail found no room at that moment.
    Full,
    /// The node was killed.
    Crashed,
    /// Everybody was gone before a drain had to close anybody.
    Drained,
}

/// How often each of that has to happen in a thousand seeds.
const LEAST: [(Did, u64); Counts::ALL] = [
    (Did::Accepted, 3_000),
    (Did::Refused, 400),
    (Did::Deleted, 100),
    (Did::RoomDeleted, 2),
    (Did::Ended, 100),
    (Did::RoomEnded, 25),
    (Did::Moved, 500),
    (Did::Echoed, 250),
    (Did::Revoked, 250),
    (Did::Expelled, 10),
    (Did::Barred, 15),
    (Did::Admitted, 900),
    (Did::Event, 400),
    (Did::Sent, 30),
    (Did::Once, 10),
    (Did::Latest, 15),
    (Did::Personal, 150),
    (Did::Room, 250),
    (Did::Asked, 900),
    (Did::Pair, 1),
    (Did::Audited, 3_000),
    (Did::Full, 1_000),
    (Did::Crashed, 50),
    (Did::Drained, 1_000),
];

/// How often all that has happened.
#[derive(Clone, Copy, Default)]
pub struct Counts([u64; Counts::ALL]);

impl Counts {
    const ALL: usize = Did::Drained as usize + 1;

    /// It has happened.
    pub fn note(&mut self, did: Did) {
        self.more(did, 1);
    }

    /// It has happened so often.
    pub fn more(&mut self, did: Did, times: u64) {
        self.0[did as usize] += times;
    }

    pub fn add(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own += other);
    }

    /// Fails where too little has happened in so many seeds.
    pub fn assert_corners_were_reached(&self, seeds: u64) {
        let rare: Vec<_> = LEAST
            .iter()
            .map(|(did, least)| (did, self.0[*did as usize], least * seeds / 1000))
            .filter(|(_, times, least)| times < least)
            .collect();
        assert!(rare.is_empty(), "what happened, how often, and how often it should have: {rare:?}");
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        LEAST.iter().try_for_each(|(did, _)| write!(f, " {did:?} {}", self.0[*did as usize]))
    }
}
