//! What an app wants of all its channels: to be told when they become occupied and vacant and how many listen, and a
//! limit of how many there are ([`AppWays`]). An app that wants nothing costs nothing: no channel keeps anything for
//! it.
//!
//! - A channel is *occupied* from its first subscriber to its last. Streams count while they are registered. Held
//!   polls come and go with every publication: a poller counts until [`OCCUPANCY_POLL_MS`] after its last poll ended,
//!   so that the channel of one that comes back does not flap.
//! - *Counts* count streams only, for the same reason. Their subscribers are told after each change, a newcomer
//!   after its own answer; with more than [`COUNT_AT_ONCE`] of them at most every [`COUNT_PAUSE_MS`], and what the
//!   count is then (Pusher sheet section 10). A channel that ever had a user has presence instead.
//! - Channels that the node keeps for itself ([`ChannelKey::is_hidden`]) are none of the app's.

use super::{Channel, Home, Map};
use crate::channel::command::{Effect, ShardSet};
use crate::channel::{Announcement, AppWays, ChannelKey, Now, Refusal};
use crate::limits::{COUNT_AT_ONCE, COUNT_PAUSE_MS, FOLLOWED_PER_TICK, OCCUPANCY_POLL_MS};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The apps that want something, and what is to be told later.
#[derive(Default)]
pub(super) struct Following {
    apps: Map<u32, App>,
    /// What the command under way has changed.
    pub(super) changed: Changed,
    /// Monotonic milliseconds, the channel's place, what.
    due: BTreeSet<(u64, usize, Later)>,
}

struct App {
    ways: AppWays,
    /// Channels that it has here.
    channels: u32,
}

/// Which registrations of a channel have changed.
#[derive(Clone, Copy, Default)]
pub(super) struct Changed {
    pub(super) streams: bool,
    pub(super) polls: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Vacated,
    Count,
}

/// What a channel's app was told.
#[derive(Debug, Default)]
pub(super) struct Followed {
    occupied: bool,
    /// It has, or had, users.
    users: bool,
    /// When a held poll last came or ended, monotonic milliseconds.
    polled_ms: Option<u64>,
    /// When the count was last told.
    counted_ms: Option<u64>,
    vacated_due_ms: Option<u64>,
    count_due_ms: Option<u64>,
}

impl Followed {
    fn due(&mut self, what: Later) -> &mut Option<u64> {
        match what {
            Later::Vacated => &mut self.vacated_due_ms,
            Later::Count => &mut self.count_due_ms,
        }
    }
}

impl Following {
    /// What its app wants of this channel, if anything.
    fn ways(&self, key: &ChannelKey) -> Option<AppWays> {
        if self.apps.is_empty() || key.is_hidden() {
            return None;
        }
        self.apps.get(&key.app()).map(|app| app.ways)
    }

    fn later(&mut self, at: usize, followed: &mut Followed, what: Later, ms: u64) {
        self.cancel(at, followed, what);
        *followed.due(what) = Some(ms);
        self.due.insert((ms, at, what));
    }

    fn cancel(&mut self, at: usize, followed: &mut Followed, what: Later) {
        if let Some(ms) = followed.due(what).take() {
            self.due.remove(&(ms, at, what));
        }
    }
}

impl Channel {
    pub(super) fn streams(&self) -> u32 {
        self.shards.iter().map(|s| s.streams).sum()
    }

    /// Whether it is occupied for those outside, also when nobody is there at this instant.
    pub(super) fn is_held_open(&self) -> bool {
        self.followed.as_ref().is_some_and(|followed| followed.vacated_due_ms.is_some())
    }
}

impl Home {
    /// Sets what `app` wants of its channels here. Those that have subscribers already are taken for known: only
    /// what changes is told. Looks at every channel of this home.
    pub fn set_app(&mut self, app: u32, ways: AppWays) {
        let of_app =
            self.channels.iter().filter(|(_, channel)| channel.key.app() == app && !channel.key.is_hidden());
        let places: Vec<usize> = of_app.map(|(at, _)| at).collect();
        for &at in &places {
            self.set_ways(at, ways);
        }
        if ways == AppWays::default() {
            self.following.apps.remove(&app);
        } else {
            self.following.apps.insert(app, App { ways, channels: places.len() as u32 });
        }
    }

    /// What `app` wants of its channels here.
    pub fn ways(&self, app: u32) -> AppWays {
        self.following.apps.get(&app).map_or_else(AppWays::default, |app| app.ways)
    }

    /// The apps that want something.
    pub fn followed_apps(&self) -> Vec<u32> {
        self.following.apps.keys().copied().collect()
    }

    fn set_ways(&mut self, at: usize, ways: AppWays) {
        let channel = &mut self.channels[at];
        let (anybody, users) = (channel.subscribers() > 0, channel.presence.is_some());
        let mut followed = channel.followed.take().unwrap_or_default();
        followed.users |= users;
        followed.occupied = ways.occupancy && (followed.occupied || anybody);
        if !ways.occupancy {
            self.following.cancel(at, &mut followed, Later::Vacated);
        }
        if !ways.counts {
            self.following.cancel(at, &mut followed, Later::Count);
        }
        if ways.occupancy || ways.counts {
            channel.followed = Some(followed);
        }
    }

    /// Whether the app may have one more channel here.
    pub(super) fn admit_channel(&self, key: &ChannelKey) -> Result<(), Refusal> {
        if self.following.apps.is_empty() || key.is_hidden() {
            return Ok(());
        }
        match self.following.apps.get(&key.app()) {
            Some(app) if app.ways.channels > 0 && app.channels >= app.ways.channels => {
                Err(Refusal::AppChannels)
            }
            _ => Ok(()),
        }
    }

    /// A channel of the app was made, or is gone.
    pub(super) fn count_channel(&mut self, key: &ChannelKey, change: i32) {
        if !key.is_hidden()
            && let Some(app) = self.following.apps.get_mut(&key.app())
        {
            app.channels = app.channels.saturating_add_signed(change);
        }
    }

    /// A subscriber is about to be registered.
    pub(super) fn occupy(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let channel = &mut self.channels[at];
        if !self.following.ways(&channel.key).is_some_and(|ways| ways.occupancy) {
            return;
        }
        let followed = channel.followed.get_or_insert_default();
        self.following.cancel(at, followed, Later::Vacated);
        if !std::mem::replace(&mut followed.occupied, true) {
            effects.push(outside(&channel.key, Announcement::Occupied));
        }
    }

    /// After a command for `key`: tells what has become of its subscribers.
    pub(super) fn follow(&mut self, key: &Arc<ChannelKey>, now: Now, effects: &mut Vec<Effect>) {
        let changed = std::mem::take(&mut self.following.changed);
        if !changed.streams && !changed.polls {
            return;
        }
        let Some(ways) = self.following.ways(key).filter(|ways| ways.occupancy || ways.counts) else {
            return;
        };
        let Some(at) = self.find(key) else { return };
        let channel = &mut self.channels[at];
        let anybody = channel.subscribers() > 0;
        let followed = channel.followed.get_or_insert_default();
        followed.users |= channel.presence.is_some();
        if changed.polls {
            followed.polled_ms = Some(now.mono_ms());
        }
        if ways.occupancy && !anybody {
            self.empty(at, now, effects);
        }
        if ways.counts && changed.streams {
            self.recount(at, now, effects);
        }
    }

    /// Nobody is left in a channel: tells it now, or when no poller has come back.
    fn empty(&mut self, at: usize, now: Now, effects: &mut Vec<Effect>) {
        let channel = &mut self.channels[at];
        let Some(followed) = channel.followed.as_mut().filter(|followed| followed.occupied) else { return };
        let until_ms = followed.polled_ms.map_or(0, |ms| ms + OCCUPANCY_POLL_MS);
        if until_ms > now.mono_ms() {
            self.following.later(at, followed, Later::Vacated, until_ms);
        } else {
            followed.occupied = false;
            effects.push(outside(&channel.key, Announcement::Vacated));
        }
    }

    /// The number of streams has changed, or some of them are others.
    fn recount(&mut self, at: usize, now: Now, effects: &mut Vec<Effect>) {
        let channel = &mut self.channels[at];
        let streams = channel.streams();
        let Some(followed) = channel.followed.as_mut().filter(|followed| !followed.users) else { return };
        let next_ms = followed.counted_ms.map_or(0, |ms| ms + COUNT_PAUSE_MS);
        if streams > COUNT_AT_ONCE && next_ms > now.mono_ms() {
            if followed.count_due_ms.is_none() {
                self.following.later(at, followed, Later::Count, next_ms);
            }
            return;
        }
        self.following.cancel(at, followed, Later::Count);
        self.tell_count(at, now, effects);
    }

    fn tell_count(&mut self, at: usize, now: Now, effects: &mut Vec<Effect>) {
        let channel = &mut self.channels[at];
        let streams = channel.streams();
        if let Some(followed) = channel.followed.as_mut().filter(|followed| !followed.users) {
            followed.counted_ms = Some(now.mono_ms());
            self.announce(at, Announcement::Count(streams), effects);
        }
    }

    /// A channel whose subscribers were all ended is about to be removed: this is the last that is told of it.
    pub(super) fn tell_end(&mut self, at: usize, now: Now, effects: &mut Vec<Effect>) {
        let channel = &mut self.channels[at];
        let counts = self.following.ways(&channel.key).is_some_and(|ways| ways.counts);
        let Some(followed) = &mut channel.followed else { return };
        if std::mem::take(&mut followed.occupied) {
            effects.push(outside(&channel.key, Announcement::Vacated));
        }
        if counts && std::mem::take(&mut self.following.changed.streams) {
            self.tell_count(at, now, effects);
        }
    }

    /// Nothing is told later of a channel that is being removed.
    pub(super) fn forget(&mut self, at: usize) {
        let channel = &mut self.channels[at];
        let key = channel.key.clone();
        if let Some(mut followed) = channel.followed.take() {
            self.following.cancel(at, &mut followed, Later::Vacated);
            self.following.cancel(at, &mut followed, Later::Count);
        }
        self.count_channel(&key, -1);
    }

    /// Tells what is due, some per call.
    pub(super) fn follow_due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for _ in 0..FOLLOWED_PER_TICK {
            let Some(&(ms, at, what)) = self.following.due.first() else { return };
            if ms > now.mono_ms() {
                return;
            }
            self.following.due.pop_first();
            let channel = &mut self.channels[at];
            let Some(followed) = &mut channel.followed else { continue };
            *followed.due(what) = None;
            match what {
                Later::Count => self.tell_count(at, now, effects),
                Later::Vacated => {
                    followed.occupied = false;
                    channel.idle_since_ms = now.mono_ms();
                    effects.push(outside(&channel.key, Announcement::Vacated));
                }
            }
        }
    }
}

/// What only those outside are told, and nobody on the wire.
fn outside(channel: &Arc<ChannelKey>, announcement: Announcement) -> Effect {
    let (shards, announcement) = (ShardSet::default(), Arc::new(announcement));
    Effect::Announce { shards, channel: channel.clone(), announcement }
}
