//! What the node tells an app's back end by itself, as data (Pusher sheet section 12). Homes and sessions make a
//! [`Notice`]; `service/webhooks` takes it to the app's endpoints.

use crate::channel::{Announcement, ChannelKey, Position, SessionId};
use bytes::Bytes;
use std::sync::Arc;

/// Something that happened in a channel; the channel's key names the app, too.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Where.
    pub channel: Arc<ChannelKey>,
    /// What.
    pub what: What,
}

/// See [`Notice`].
#[derive(Clone, Debug)]
pub enum What {
    /// The first subscriber came.
    Occupied,
    /// The last subscriber went.
    Vacated,
    /// The user with this id came.
    Joined(Bytes),
    /// The user with this id went.
    Left(Bytes),
    /// Somebody found nothing in a channel that keeps its last publication; the position above which there would be
    /// one ([`Subscribed::last`](crate::channel::command::Subscribed::last)), so that those who find the same nothing
    /// are known by it.
    CacheMiss(Position),
    /// A client has sent an event to the others.
    ClientEvent(Box<ClientEvent>),
    /// So many streams are subscribed now.
    Count(u32),
}

/// See [`What::ClientEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    /// Its name.
    pub event: Bytes,
    /// What was sent: the text of a string, else JSON; `None` = nothing.
    pub data: Option<Bytes>,
    /// The session that sent it.
    pub session: SessionId,
    /// The id of the user who sent it, where that is known.
    pub user: Option<Bytes>,
}

/// The kinds of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// [`What::Occupied`].
    Occupied,
    /// [`What::Vacated`].
    Vacated,
    /// [`What::Joined`].
    Joined,
    /// [`What::Left`].
    Left,
    /// [`What::CacheMiss`].
    CacheMiss,
    /// [`What::ClientEvent`].
    ClientEvent,
    /// [`What::Count`].
    Count,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [NoticeKind; 7] = [
        NoticeKind::Occupied,
        NoticeKind::Vacated,
        NoticeKind::Joined,
        NoticeKind::Left,
        NoticeKind::CacheMiss,
        NoticeKind::ClientEvent,
        NoticeKind::Count,
    ];

    /// Its name for back ends.
    pub fn name(self) -> &'static str {
        match self {
            NoticeKind::Occupied => "channel_occupied",
            NoticeKind::Vacated => "channel_vacated",
            NoticeKind::Joined => "member_added",
            NoticeKind::Left => "member_removed",
            NoticeKind::CacheMiss => "cache_miss",
            NoticeKind::ClientEvent => "client_event",
            NoticeKind::Count => "subscription_count",
        }
    }

    /// The kind that it undoes, or is undone by, when both come soon after each other.
    pub fn opposite(self) -> Option<NoticeKind> {
        match self {
            NoticeKind::Occupied => Some(NoticeKind::Vacated),
            NoticeKind::Vacated => Some(NoticeKind::Occupied),
            NoticeKind::Joined => Some(NoticeKind::Left),
            NoticeKind::Left => Some(NoticeKind::Joined),
            NoticeKind::CacheMiss | NoticeKind::ClientEvent | NoticeKind::Count => None,
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeKinds(pub u16);

impl NoticeKinds {
    /// All of them.
    pub fn all() -> NoticeKinds {
        NoticeKind::ALL.into_iter().collect()
    }

    /// Puts `kind` in.
    pub fn insert(&mut self, kind: NoticeKind) {
        self.0 |= 1 << kind as u16;
    }

    /// Whether `kind` is in.
    pub fn contains(self, kind: NoticeKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }
}

impl FromIterator<NoticeKind> for NoticeKinds {
    fn from_iter<I: IntoIterator<Item = NoticeKind>>(kinds: I) -> NoticeKinds {
        let mut set = NoticeKinds::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

impl What {
    /// Its kind.
    pub fn kind(&self) -> NoticeKind {
        match self {
            What::Occupied => NoticeKind::Occupied,
            What::Vacated => NoticeKind::Vacated,
            What::Joined(_) => NoticeKind::Joined,
            What::Left(_) => NoticeKind::Left,
            What::CacheMiss(_) => NoticeKind::CacheMiss,
            What::ClientEvent(_) => NoticeKind::ClientEvent,
            What::Count(_) => NoticeKind::Count,
        }
    }
}

impl From<&Announcement> for What {
    fn from(announcement: &Announcement) -> What {
        match announcement {
            Announcement::Occupied => What::Occupied,
            Announcement::Vacated => What::Vacated,
            Announcement::Joined(change) => What::Joined(change.user.id.clone()),
            Announcement::Left(change) => What::Left(change.user.id.clone()),
            Announcement::Count(count) => What::Count(*count),
        }
    }
}

impl Notice {
    /// Memory charged for it while it waits, bytes; about what it is on the wire, too.
    pub fn cost_bytes(&self) -> usize {
        let what = match &self.what {
            What::Occupied | What::Vacated | What::CacheMiss(_) | What::Count(_) => 0,
            What::Joined(user) | What::Left(user) => user.len(),
            What::ClientEvent(event) => {
                let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
                size_of::<ClientEvent>() + event.event.len() + optional(&event.data) + optional(&event.user)
            }
        };
        size_of::<Notice>() + self.channel.name().len() + what
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_places_of_their_own() {
        for kind in NoticeKind::ALL {
            let only: NoticeKinds = [kind].into_iter().collect();
            assert!(NoticeKind::ALL.into_iter().all(|other| only.contains(other) == (other == kind)));
            assert!(NoticeKinds::all().contains(kind));
            assert!(kind.opposite().is_none_or(|other| other.opposite() == Some(kind)));
        }
    }
}
