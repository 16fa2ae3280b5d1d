//! Pusher Channels, protocol 7 (pusher.md): what is on its wires, both ways, and what its signatures allow.
//!
//! [`handshake`] reads a client's first request, [`frame`] what it sends then, [`event`] writes what it gets;
//! [`auth`] judges subscriptions and sign-ins, [`refusal`] says what is told about everything that is refused.
//! [`api`] reads what back ends ask and [`answer`] writes what they get; [`webhook`] writes what they are told.
//! [`codes`] and [`name`] hold what the protocol calls things. Nothing here has any state.

pub mod answer;
pub mod api;
pub mod auth;
pub mod codes;
pub mod event;
pub mod frame;
pub mod handshake;
pub mod name;
pub mod refusal;
pub mod webhook;
