//! The process around the shards: configuration, start, signals, pages.

pub mod config;
