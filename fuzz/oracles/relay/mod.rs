//! What the oracle of the relay's sessions is made of. The node without sockets is that of [`super::pusher`].

pub mod play;
pub mod reader;
