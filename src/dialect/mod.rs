//! The contract between dialects and the shard that carries them.
//!
//! A *dialect* is one foreign protocol. Its sessions are state machines: the shard calls one of the `on_*`
//! functions of [`Dialects`] with what happened and a [`Context`]; the session pushes [`Action`]s, which the shard
//! carries out in order after the call has returned. A dialect does no I/O, reads no clock and never imports
//! another dialect.
//!
//! Order of calls for one connection:
//! 1. [`Dialects::on_request`] with each HTTP request while no exchange is open. The session then either ends the
//!    exchange ([`Action::Done`], [`Action::Close`]) or leaves it open and waits for one of the calls below.
//! 2. [`Dialects::on_answer`] for each command and subscription it asked for, [`Dialects::on_hook`] for each hook,
//!    [`Dialects::on_stored`] for each job of the store, [`Dialects::on_app`] for each app it wanted to make,
//!    [`Dialects::on_revocation`] for each revocation.
//! 3. [`Dialects::on_publication`] for each publication of subscriptions with [`Form::SESSION`]; the other forms
//!    never call a session: the shard writes the shared frame ([`encode::Encoder::frame`]).
//!    Who comes to and goes from a channel is told in the same order, to subscriptions whose form has a frame for it
//!    ([`encode::Encoder::announced`]), and through [`Dialects::on_announcement`] to those with
//!    [`Form::SESSION_ANNOUNCED`]; to nobody else.
//! 4. [`Dialects::on_ended`] when a home ended a subscription (its shard side is gone already).
//! 5. [`Dialects::on_message`] for each WebSocket message after [`Action::Upgrade`].
//! 6. [`Dialects::on_deadline`] when the last [`Action::Deadline`] has passed; [`Dialects::on_next_request`] once
//!    when the peer has sent more while an exchange is open; [`Dialects::on_drain`] when the node stops.
//! 7. [`Dialects::on_repeated`] for the answer to a request like an earlier one ([`Action::Stand`]), which opened no
//!    exchange.
//! 8. [`Dialects::on_closed`] exactly once, when the exchange ends in any way other than [`Action::Done`].
//!
//! On `Done`, `Close` and closing, the shard itself leaves all subscriptions and forgets the session; answers that
//! come later are dropped (and registrations undone).

pub mod admin;
pub mod app;
pub mod echo;
pub mod encode;
pub mod grant;
pub mod http;
pub mod pusher;
pub mod pushi;
pub mod relay;
pub mod session;
pub mod upgrade;

pub use crate::channel::members::Form;
pub use session::{Dialects, Drain, Session};

use crate::channel::command::{Command, List, Subscribe};
use crate::channel::hook::HookCall;
use crate::channel::store::Job;
use crate::channel::{ChannelKey, KeyCache, Message, Notice, Now, Policy, SessionId};
use crate::wire::http::repeat::RepeatedHead;
use crate::wire::ws::deflate::Params;
use bytes::Bytes;
use std::sync::Arc;

/// What a session knows of the world in one call, and where it says what it wants.
pub struct Context<'a> {
    /// The time of this loop turn.
    pub now: Now,
    /// 64 random bits that no other call of the node gets.
    pub random: u64,
    /// Who is at the other end, for hooks and logs; found out only when it is printed.
    pub peer: &'a dyn std::fmt::Display,
    /// The index of the listener (in the configuration's order) the connection came in by.
    pub listener: u16,
    /// When the last publication was put on this connection's wire, monotonic milliseconds; 0 = never.
    pub delivered_ms: u64,
    /// When bytes last came from the peer, monotonic milliseconds, to about 100 ms.
    pub heard_ms: u64,
    /// Encodes publications, each form once.
    pub encoder: &'a mut encode::Encoder,
    /// Keys of channels that were published to lately.
    pub keys: &'a mut KeyCache,
    /// Whether [`Action::Stand`] is of use for this connection.
    pub wants_standing: bool,
    /// The shard this runs on.
    pub shard: u16,
    /// Shards of the node.
    pub shards: u16,
    /// The connection's slot there: with the shard it tells where a session is.
    pub slot: u32,
    /// All apps.
    pub apps: &'a Arc<app::Apps>,
    /// Buffers that sessions use one after the other.
    pub tools: &'a mut Tools,
    /// What the shard shall do, in order.
    pub actions: &'a mut Vec<Action>,
    /// The other sessions of this shard.
    pub sessions: &'a dyn Sessions,
    /// Figures of the whole node, for status pages.
    pub figures: &'a dyn Figures,
}

impl Context<'_> {
    /// Shorthand for pushing an action.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Puts bytes on the wire that must not be dropped.
    pub fn send(&mut self, bytes: impl Into<Bytes>) {
        self.actions.push(Action::Send(bytes.into()));
    }

    /// Counts and logs a refusal.
    pub fn refused(&mut self, label: &'static str, detail: impl Into<Box<str>>) {
        self.actions.push(Action::Refused { label, detail: detail.into() });
    }
}

/// Buffers of a shard for its sessions. Who uses one takes it out and puts it back; after a panic there is a new one.
#[derive(Debug, Default)]
pub struct Tools {
    /// For reading what Pusher's clients and back ends send.
    pub pusher: Option<Box<pusher::Tools>>,
    /// The same for Pushi.
    pub pushi: Option<Box<pushi::Tools>>,
}

/// Sessions of one shard, for those who ask about each other.
pub trait Sessions {
    /// The session of this name, if it is here and is not the one that is being called.
    fn session(&self, id: SessionId) -> Option<&Session>;
}

/// There are none.
impl Sessions for () {
    fn session(&self, _: SessionId) -> Option<&Session> {
        None
    }
}

/// Node-wide figures that a dialect's status page shows; sums over all shards, a moment old.
pub trait Figures {
    /// Publications accepted since the start.
    fn published(&self) -> u64;
    /// Publications stored now.
    fn stored(&self) -> u64;
    /// Their memory, bytes.
    fn history_bytes(&self) -> u64;
    /// The limit of that memory, bytes.
    fn history_limit_bytes(&self) -> u64;
    /// Channels now.
    fn channels(&self) -> u64;
    /// Subscriptions now.
    fn subscribers(&self) -> u64;
    /// Messages handed from shard to shard since the start.
    fn mailed(&self) -> u64;
    /// Messages waiting in mailboxes now.
    fn mail_waiting(&self) -> u64;
}

/// What a full outbox does to a subscriber that does not keep up (design section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// The connection is closed.
    #[default]
    Close,
    /// The oldest undelivered publications are dropped.
    DropOldest,
    /// Of each subscription only the newest undelivered publication is kept.
    KeepLatest,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Action {
    /// Bytes for the wire, as they are. Never dropped.
    Send(Bytes),
    /// One encoded publication for the wire; it may be dropped by the connection's [`SlowConsumer`] rule.
    Deliver(Bytes),
    /// One stored publication's frame, shared with all who replay it ([`encode::Encoder::replayed`]). It is never
    /// dropped and does not count for the [`SlowConsumer`] rule: nobody is slow who has just come.
    Replay(Bytes),
    /// Counts one publication that was sent with [`Action::Send`] (a poll's answer).
    Delivered,
    /// The exchange is complete; the next request may be read. Subscriptions are left, the session is forgotten.
    Done,
    /// Close once everything is sent (HTTP: half-close, then wait briefly for the peer).
    Close,
    /// Send a close frame and do the closing handshake (RFC 6455 section 7); then as `Close`.
    CloseWebSocket {
        /// Status code; must be one that may be sent.
        code: u16,
        /// At most 123 bytes are sent.
        reason: &'static str,
    },
    /// From here on the peer's bytes are WebSocket frames. The 101 response was sent before.
    Upgrade(Upgrade),
    /// From here on the peer's bytes are ignored; only the end of its stream matters (SSE and the like).
    Stream {
        /// What happens when the peer does not keep up.
        slow: SlowConsumer,
    },
    /// Ask every shard for its channels; [`Dialects::on_answer`] is called with `tag` once for each shard.
    List {
        /// Which channels.
        list: Arc<List>,
        /// As in `Command`.
        tag: u16,
    },
    /// Ask a channel's home; [`Dialects::on_answer`] is called with `tag`. Tags of commands and subscriptions of a
    /// session must differ; below 65536.
    Command {
        /// The channel.
        key: Arc<ChannelKey>,
        /// What.
        command: Command,
        /// The session's name for the question.
        tag: u16,
    },
    /// As `Command`, but nobody wants the answer (channel events).
    Tell {
        /// The channel.
        key: Arc<ChannelKey>,
        /// What.
        command: Command,
    },
    /// Subscribe; the answer comes to `on_answer` with `tag`, before any publication.
    Subscribe {
        /// The channel.
        key: Arc<ChannelKey>,
        /// How publications are put on the wire.
        form: Form,
        /// The particulars.
        ask: Box<Subscribe>,
        /// The session's name for the subscription.
        tag: u16,
    },
    /// Leave the subscription `tag`.
    Unsubscribe {
        /// As given when subscribing.
        tag: u16,
    },
    /// The connection goes to another shard, which gets this exchange's request anew. Only valid as the sole action
    /// of [`Dialects::on_request`] (design section 5).
    Move {
        /// Where to. A shard that does not exist is answered with 404.
        shard: u16,
    },
    /// The next request on this connection with the same head means the same publish.
    Stand(Box<Standing>),
    /// Call the back end. With `tag`, [`Dialects::on_hook`] is called with its answer.
    Hook {
        /// The call.
        call: Box<HookCall>,
        /// The session's name for the question.
        tag: Option<u16>,
    },
    /// Tell the app's back end, if it wants to know.
    Notify(Box<Notice>),
    /// Have the store do a job; [`Dialects::on_stored`] is called with `tag` once it is on disk, or with why it is not.
    /// Jobs of one shard are done in the order of these actions.
    Store {
        /// The job.
        job: Box<Job>,
        /// The session's name for the question; none: nobody wants to know.
        tag: Option<u16>,
    },
    /// Make an app that stays. [`Dialects::on_app`] is called with `tag`, once the store has it and every shard knows
    /// it.
    CreateApp {
        /// What it is told to be.
        settings: Box<app::AppSettings>,
        /// The session's name for the question.
        tag: u16,
    },
    /// The exchange counts as a connection of the app until it ends.
    Count(app::Connected),
    /// Take back what a user or a token was granted. [`Dialects::on_revocation`] is called with `tag`, once every session
    /// of it has ended.
    Revoke {
        /// Whose.
        order: Box<grant::revoked::Order>,
        /// The session's name for the question.
        tag: u16,
    },
    /// Call [`Dialects::on_deadline`] at this time (monotonic milliseconds, to about 100 ms); replaces the last one,
    /// 0 = never.
    Deadline(u64),
    /// Count and log a refusal; the answer itself is an action of its own.
    Refused {
        /// Name of the reason, low cardinality.
        label: &'static str,
        /// For the log.
        detail: Box<str>,
    },
}

/// What a request means that comes again with the same head: a publish of its body. Only for requests whose meaning
/// depends on nothing but head and body, and whose answer is the home's: then nothing of it is read, looked up or asked
/// anew, and no session is opened. [`Dialects::on_repeated`] makes the answer.
#[derive(Debug)]
pub struct Standing {
    /// The head.
    pub head: RepeatedHead,
    /// The channel.
    pub key: Arc<ChannelKey>,
    /// The message without its payload.
    pub message: Message,
    /// As in [`Command::Publish`].
    pub policy: Arc<Policy>,
    /// As in [`Command::Publish`].
    pub create: bool,
    /// How the answer is made.
    pub answer: relay::publisher::Repeated,
}

/// How a connection goes on as a WebSocket.
#[derive(Debug)]
pub struct Upgrade {
    /// The extension as negotiated.
    pub deflate: Option<Params>,
    /// A ping is sent when nothing came for so long, milliseconds; no pong until the next one closes. 0 = never.
    pub ping_interval_ms: u32,
    /// What happens when the peer does not keep up.
    pub slow: SlowConsumer,
}
