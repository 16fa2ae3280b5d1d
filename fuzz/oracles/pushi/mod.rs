//! What the oracles of the Pushi dialect share. The node without sockets is that of [`super::pusher`].

pub mod ends;
pub mod model;
pub mod play;
