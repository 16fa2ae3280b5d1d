//! What the oracles of the Pusher dialect share: a node without sockets, and the ends of its wires.

pub mod ends;
pub mod model;
pub mod play;
pub mod world;
