//! Foreign protocols, one folder each: session state machines, routes and encodings, without I/O.

pub mod relay;
