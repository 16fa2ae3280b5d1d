//! How shards are driven, and where they run.

use super::config::Driver;
use super::host;
use crate::shard::DriverChoice;

/// The driver as shards know it.
pub(super) fn choice(driver: Driver) -> DriverChoice {
    match driver {
        Driver::Auto => DriverChoice::Auto,
        Driver::Uring => DriverChoice::Uring,
        Driver::Epoll => DriverChoice::Epoll,
    }
}

/// Which processor each shard is pinned to: all different, or none at all when there are not enough of them. A
/// single shard is left to the scheduler.
pub(super) fn cores(shards: usize) -> Vec<usize> {
    let processors = host::processors();
    if shards == 1 || shards > processors.len() { Vec::new() } else { processors }
}
