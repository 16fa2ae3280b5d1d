//! The process around the shards: configuration, start, signals, pages.

pub mod apps;
pub mod banner;
pub mod boot;
pub mod config;
pub mod console;
pub mod control;
pub mod doors;
pub mod grants;
mod health;
mod hooks;
pub mod host;
mod load;
pub mod memory;
pub mod metrics;
pub mod pages;
mod placement;
mod reload;
mod successor;
pub mod systemd;
pub mod tls;
pub mod upgrade;
pub mod watch;
pub mod webhooks;
