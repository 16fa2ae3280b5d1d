//! What the oracles of Pusher and Pushi share: a node without sockets, and the ends of its wires.

mod connection;
pub mod ends;
pub mod model;
mod nobody;
pub mod play;
pub mod world;
