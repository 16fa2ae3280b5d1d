//! The language between sessions and channel homes.

use crate::channel::store::Job;
use crate::channel::{
    Announcement, ChannelKey, Concurrency, GroupLimits, Message, Policy, Position, Publication, Roster, User,
};
use std::sync::Arc;

/// Names one waiting party on a shard. `tag` is the asker's own; the rest is the shard's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token {
    /// Slab slot of the connection (or session).
    pub slot: u32,
    /// Generation of the slot: an answer for an earlier tenant is dropped.
    pub generation: u32,
    /// Whatever the asker needs to know what was asked.
    pub tag: u32,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// The asker's shard.
    pub shard: u16,
    /// The asker.
    pub token: Token,
}

impl ReplyTo {
    /// An asker whose answers are dropped.
    pub fn nobody(shard: u16) -> ReplyTo {
        ReplyTo { shard, token: Token { slot: u32::MAX, generation: u32::MAX, tag: 0 } }
    }
}

/// How long a subscription lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Until it is ended by either side.
    Stream,
    /// Until one publication was delivered (a held poll). Not registered at all when the history has an answer.
    OneShot,
    /// Never registered: only what the history has now.
    Glance,
}

/// Where in the history a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first publication above this position; if that much is gone, the oldest stored.
    After(Position),
    /// The oldest stored.
    Oldest,
    /// The newest stored.
    Newest,
    /// n-th from the oldest (1 = oldest), or for negative n from the newest (-1 = newest).
    Nth(i32),
    /// Nothing stored, only what comes.
    Live,
}

/// What a session asks of a channel's home.
#[derive(Debug)]
pub enum Command {
    /// Put a message into the channel. Answer: `Published` or `Refused`.
    Publish {
        /// The message.
        message: Message,
        /// The channel takes these rules over.
        policy: Arc<Policy>,
        /// A channel that does not exist is made; else `Refused(NotFound)`.
        create: bool,
    },
    /// Make the channel if it is not there. Answer: `Info(Some)` or `Refused`.
    Create {
        /// Rules of a new channel.
        policy: Arc<Policy>,
    },
    /// Listen. Answer: `Subscribed` or `Refused`.
    Subscribe(Box<Subscribe>),
    /// Stop listening. No answer. Ignored unless `epoch` is still the one of the registration.
    Unsubscribe {
        /// As registered.
        class: Class,
        /// As registered.
        epoch: u64,
    },
    /// Describe the channel. Answer: `Info`.
    Info,
    /// List its users. Answer: `Users`.
    Users,
    /// Delete it with all its publications and end all subscriptions. Answer: `Info` as it was before.
    Delete,
    /// End all subscriptions; the channel stays. Answer: `Info` as it was before.
    Terminate,
    /// Describe the group of this key, after setting its limits when given. Answer: `Group`; with limits also
    /// `Refused`.
    GroupInfo {
        /// New limits.
        set: Option<GroupLimits>,
    },
    /// Delete all channels of the group of this key. Answer: `Group` as it was before.
    GroupDelete,
}

/// Which channels of a home are meant: those with subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Of this app.
    pub app: u32,
    /// Whose names begin so.
    pub prefix: Box<[u8]>,
    /// At most so many.
    pub most: usize,
}

/// The particulars of a subscription.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Where to start.
    pub start: Start,
    /// How long.
    pub class: Class,
    /// At most so many stored publications in the answer, those next to the start. A poll asks again for the rest;
    /// a stream goes on with what is published next, and is told with `recovered: false` when some were left out.
    pub backlog: u32,
    /// A channel that does not exist is made; else `Refused(NotFound)`.
    pub create: bool,
    /// Subscribers the channel may have with this one; 0 = any number.
    pub max_subscribers: u32,
    /// Who else may wait.
    pub concurrency: Concurrency,
    /// Rules of a new channel, and the group limits and limits of users that count for this subscriber.
    pub policy: Arc<Policy>,
    /// Who it is, where that is told; only a [`Class::Stream`] makes a user present.
    pub user: Option<Arc<User>>,
    /// The answer lists the channel's users.
    pub list_users: bool,
}

/// What a channel looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Stored publications.
    pub messages: u32,
    /// Subscribers at this instant, over all shards.
    pub subscribers: u32,
    /// Seconds since a subscriber last asked; `None` = never.
    pub requested_s: Option<u64>,
    /// Position of the last publication ever made, [`Position::ZERO`] if none.
    pub last: Position,
    /// Users, those included whose leave is still to be announced; `None` = nobody has told who it is.
    pub users: Option<u32>,
}

/// What a group looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// Channels.
    pub channels: u64,
    /// Subscribers over all channels.
    pub subscribers: u64,
    /// Stored publications.
    pub messages: u64,
    /// Their memory, bytes.
    pub memory_bytes: u64,
    /// The limits in force.
    pub limits: GroupLimits,
}

/// Why a home said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such channel, and the command does not make one.
    NotFound,
    /// The channel has as many subscribers as it may have.
    TooManySubscribers,
    /// The connection has as many subscriptions as it may have.
    TooManySubscriptions,
    /// Somebody is waiting already, and only one may.
    Conflict,
    /// The shard owns as many channels as it may.
    TooManyChannels,
    /// The shard's history memory is used up.
    HistoryFull,
    /// A shard with subscribers of this channel cannot take more just now.
    Busy,
    /// The group has as many channels as it may.
    GroupChannels,
    /// The group has as many subscribers as it may.
    GroupSubscribers,
    /// The group stores as many publications as it may.
    GroupMessages,
    /// The group uses as much memory as it may.
    GroupMemory,
    /// The channel has as many users as it may have.
    TooManyUsers,
    /// Id and info of the user are longer than they may be.
    UserTooLarge,
    /// The shard's memory for users is used up.
    PresenceFull,
    /// Too much is waiting for the store.
    StoreBusy,
    /// The store's disk is full. What is stored already is safe.
    StoreFull,
    /// The message, or the channel's name, is too large for the store.
    StoreTooLarge,
    /// The store has as many logs as it may.
    StoreChannels,
    /// The store cannot read or write.
    StoreFailed,
    /// The app has as many channels on the shard as it may.
    AppChannels,
}

impl Refusal {
    /// A short name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::NotFound => "channel_not_found",
            Refusal::TooManySubscribers => "channel_subscribers",
            Refusal::TooManySubscriptions => "subscriptions_per_connection",
            Refusal::Conflict => "concurrency",
            Refusal::TooManyChannels => "channels",
            Refusal::HistoryFull => "history_memory",
            Refusal::Busy => "mailbox_full",
            Refusal::GroupChannels => "group_channels",
            Refusal::GroupSubscribers => "group_subscribers",
            Refusal::GroupMessages => "group_messages",
            Refusal::GroupMemory => "group_memory",
            Refusal::TooManyUsers => "channel_users",
            Refusal::UserTooLarge => "user_bytes",
            Refusal::PresenceFull => "presence_memory",
            Refusal::StoreBusy => "store_queue",
            Refusal::StoreFull => "store_full",
            Refusal::StoreTooLarge => "store_record_bytes",
            Refusal::StoreChannels => "store_channels",
            Refusal::StoreFailed => "store_failed",
            Refusal::AppChannels => "app_channels",
        }
    }
}

/// A home's answer to a command.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Published: `receivers` subscribers were listening at that instant.
    Published {
        /// Position of the publication.
        position: Position,
        /// The channel afterwards; its `subscribers` are those at that instant.
        info: ChannelInfo,
    },
    /// Listening, or (for [`Class::OneShot`] with a backlog, and [`Class::Glance`]) answered at once.
    Subscribed(Box<Subscribed>),
    /// The channel, if it exists.
    Info(Option<ChannelInfo>),
    /// The channel's users; nobody if it does not exist.
    Users(Roster),
    /// Channels of one home, in no order.
    Channels(Vec<(Arc<ChannelKey>, ChannelInfo)>),
    /// The group.
    Group(GroupInfo),
    /// No.
    Refused(Refusal),
}

/// The answer to [`Subscribe`].
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// Stored publications from the start asked for, oldest first. Later ones come as deliveries.
    pub backlog: Vec<Arc<Publication>>,
    /// The registration's class and epoch; `None`: not registered. With a user the epoch is the registration's own,
    /// else that of all of its class.
    pub registered: Option<(Class, u64)>,
    /// Where to resume from, if nothing else came: above everything published before that instant (also under the
    /// same name before the channel was deleted), below everything after it.
    pub last: Position,
    /// False when publications after the position asked for are, or may be, no longer stored.
    pub recovered: bool,
    /// The channel as it is with this subscriber.
    pub info: ChannelInfo,
    /// The users, this one included, if the question asked for them.
    pub users: Option<Roster>,
}

/// Why a home ended subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The channel was deleted.
    Deleted,
    /// A newcomer took the place ([`Concurrency::Last`]).
    Displaced,
    /// A back end wants its subscribers gone ([`Command::Terminate`]).
    Terminated,
}

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// Puts `shard` in.
    pub fn insert(&mut self, shard: usize) {
        debug_assert!(shard < crate::limits::SHARDS);
        self.0 |= 1 << shard;
    }

    /// Whether `shard` is in.
    pub fn contains(self, shard: usize) -> bool {
        self.0 & (1 << shard) != 0
    }

    /// Whether both have a shard in common.
    pub fn meets(self, other: ShardSet) -> bool {
        self.0 & other.0 != 0
    }

    /// The shards in it, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let shard = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            Some(shard)
        })
    }
}

/// What a home wants done after a command, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Put this publication on the wires of every subscriber on these shards.
    Deliver {
        /// Shards with subscribers.
        shards: ShardSet,
        /// The channel.
        channel: Arc<ChannelKey>,
        /// The publication.
        publication: Arc<Publication>,
    },
    /// Tell the subscribers on these shards who has come or gone, in the order of the channel's publications. Each
    /// change is told once, also when no shard has anybody to be told (hooks may want to know).
    Announce {
        /// Shards with streams; without that of a newcomer who is the first there.
        shards: ShardSet,
        /// The channel.
        channel: Arc<ChannelKey>,
        /// What.
        announcement: Arc<Announcement>,
    },
    /// End every subscription of this channel on these shards.
    End {
        /// Shards with subscribers.
        shards: ShardSet,
        /// The channel.
        channel: Arc<ChannelKey>,
        /// Why.
        reason: Ended,
    },
    /// Hand a job to the store, and its outcome to [`crate::channel::core::Home::stored`] with `number`. Jobs are done
    /// in the order of these effects.
    Store {
        /// The home's name for the question; none: it does not want to know.
        number: Option<u64>,
        /// The job.
        job: Box<Job>,
    },
    /// Tell the asker.
    Answer {
        /// Whom.
        to: ReplyTo,
        /// What.
        answer: Answer,
    },
}
