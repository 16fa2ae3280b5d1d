//! fanwire: a push node. A back end publishes a message once over HTTP, and it goes out on the wire of every
//! subscriber, whatever that one speaks. This page is the manual for those who read or change the code; how to run
//! the node stands in `README.md`.
//!
//! # Words
//! - The **node** is the process. A **shard** is one thread with its rings, connections and slice of the channels.
//! - A **connection** is one socket and lives on one shard at a time. A **session** is one exchange as its dialect
//!   sees it: a request until it is answered, a stream until it ends.
//! - A **channel** belongs to one shard, its **home**. A **publication** is one message in one channel. A
//!   **position** orders the publications of a channel.
//! - A **dialect** is one protocol. A **form** is one way to put a publication on the wire; a **frame** is the bytes
//!   of one publication in one form, shared by every connection that uses the form.
//! - A **hook** is an HTTP call from the node to a back end.
//! - An **app** is a tenant with channels of its own; a **user** is who a client of it says it is. A channel is the same
//!   one in every dialect of its app.
//!
//! # Layers
//! Imports go down only. `tests/house.rs` reads the sources and fails on one that does not.
//!
//! | layer | holds | may use |
//! |---|---|---|
//! | [`cli`] | arguments and commands | everything |
//! | [`node`] | configuration, start and stop, metrics, health, the live page | all below |
//! | [`service`] | threads beside the shards for what blocks: [`service::hooks`], [`service::webhooks`], [`service::store`] | `channel`, `wire`, `limits` |
//! | [`shard`] | one core's world: I/O, connections, flush, mailbox, timers | `dialect`, `channel`, `wire`, `limits` |
//! | [`dialect`] | one folder per protocol: session state machines, routes, encodings | `channel`, `wire`, `limits` |
//! | [`channel`] | what a channel is: commands in, effects out | `limits` |
//! | [`wire`] | bytes to values and back: HTTP/1.1, WebSocket, event streams, multipart, JSON, signatures | `limits` |
//! | [`limits`] | every bound, with its unit in its name | nothing |
//!
//! # Rules
//! - `wire`, `channel` and `dialect` do no I/O and read no clock, environment or thread-local. Time and randomness
//!   are arguments. That is what lets the simulation run shards in one thread, from a seed.
//! - The runtime is named in [`shard::rt`] only, io_uring there and in [`shard::net`] (and by the doctor, which
//!   tries what a shard would build). No dialect imports another.
//! - One writer per channel: only its home changes it. Positions, history and counts need no locks, and every
//!   subscriber sees one order.
//! - Publishers never wait for subscribers, and shards never wait for each other. Mailboxes are bounded; a part of
//!   each is kept for answers and teardown, and a publication that would need it is refused.
//! - What a peer sends may not panic, hang or grow without bound. A panic that happens all the same is caught, is
//!   counted, and costs one connection.
//!
//! # Life of a publication
//! 1. A shard reads bytes into its one scratch buffer. [`wire::http::request::Reader`] makes a request of them, and
//!    [`dialect::Dialects::on_request`] finds whose it is. The session asks for a [`channel::Command::Publish`]. A
//!    request with the same head as the one before it is known already and goes to its home at once
//!    ([`shard::repeat`]).
//! 2. The command goes to the channel's home: at once if that is this shard, else as one mail
//!    ([`shard::mailbox`]). [`channel::core::Home`] gives it its position, stores it, and returns effects: an answer
//!    for the publisher, and a delivery for the set of shards that have members of the channel.
//! 3. Each of these shards gets the publication once, behind an `Arc`, whatever the number of its members.
//! 4. The shard walks its [`channel::members`]. [`dialect::encode::Encoder::frame`] makes each form that is needed
//!    once; every connection gets a clone of that frame in its outbox and is marked dirty. Sessions are not called,
//!    except by subscriptions whose wire depends on the session ([`dialect::Form::SESSION`]: polls, several channels
//!    in one subscription).
//! 5. At the end of the turn the flusher writes each dirty connection once, with all that has queued up. A send that
//!    goes through says nothing; one that does not is seen by its completion, and the rest waits until the socket
//!    takes more. A connection that falls behind its limits is dealt with by its [`dialect::SlowConsumer`] rule.
//!
//! Subscribing with replay is one step: the home's answer (stored publications and position) travels through the same
//! first-in-first-out mailbox as later deliveries, so that nothing is missed and nothing comes twice.
//!
//! A publication of a durable channel ([`channel::Policy::durable`]) takes a longer way: its home gives it a position
//! and asks for it to be stored ([`channel::Effect::Store`]); the shard hands that to [`service::store`], which works
//! on its own thread and commits what has queued up at once; the outcome comes back as mail, and only then is the
//! publication in the history, on its way to the subscribers, and its publisher told. Logs that are on disk when the
//! node starts are read when their channels are first asked for; until then commands for them wait.
//!
//! A subscription may name a user. The home counts each user's subscriptions over all shards
//! ([`channel::presence`]); who comes and goes is announced on the same way and in the same order as publications,
//! so that the list in the answer and the announcements after it are always the list at the home.
//!
//! # A connection
//! It is a slot in its shard's slab, not a task. Input is watched by a multishot poll on the shard's net ring, or by
//! epoll where no ring can be had, behind one interface ([`shard::net`]). An idle connection owns no buffer. One tick
//! drives all deadlines through a wheel. Teardown has one way: the connection is marked, its socket shut down, its
//! polls cancelled by their exact user data, and the slot is free only when the last completion is in; what comes
//! late finds another generation and is dropped.
//!
//! # Where to begin
//! [`dialect`] for the contract between protocols and shards, with the order of calls; [`dialect::relay`] for the
//! native protocol; [`channel`] for what a home does; [`shard`] for the loop; [`limits`] for every number.

pub mod channel;
pub mod cli;
pub mod dialect;
pub mod limits;
pub mod node;
pub mod service;
pub mod shard;
pub mod wire;
