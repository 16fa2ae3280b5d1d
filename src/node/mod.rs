//! The process around the shards: configuration, start, signals, pages.

pub mod console;
pub mod health;
pub mod metrics;
pub mod pages;
