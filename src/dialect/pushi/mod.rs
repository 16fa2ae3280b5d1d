//! Pushi (pushi.md): a protocol that looks like Pusher's and is another one. What is on its wires, both ways, and what
//! its signatures allow.
//!
//! [`handshake`] reads a client's first request, [`frame`] what it sends then, [`event`] writes what it gets, with the
//! [`stamp`] that an event was given when it was published; [`auth`] judges subscriptions and [`name`] tells kinds of
//! channels apart. [`route`], [`query`] and [`body`] read what back ends ask, [`answer`] writes what they get;
//! [`token`] knows their sessions, [`registry`] who and what is registered for which channel.

pub mod answer;
pub mod auth;
pub mod body;
pub mod event;
pub mod frame;
pub mod handshake;
pub mod name;
pub mod query;
pub mod registry;
pub mod route;
pub mod stamp;
pub mod token;
