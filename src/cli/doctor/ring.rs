//! Whether rings can really be built: sysctls, seccomp and the locked-memory limit all have their say. Builds just what
//! a node with one shard per processor would build, all at the same time.

use std::io;

use crate::shard::mailbox::Bell;
use crate::shard::net::{Net, NetKind};
use crate::shard::rt::{Kind, Runtime};

/// What came of trying one set of flags.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The flags' names.
    pub flags: &'static str,
    /// The kernel's answer.
    pub built: io::Result<()>,
}

/// Tries the sets of flags from the best to the plainest, until one works.
pub(super) fn probe() -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let kinds = [
        ("SINGLE_ISSUER|DEFER_TASKRUN", NetKind::UringDefer, Kind::UringDefer),
        ("COOP_TASKRUN", NetKind::UringCoop, Kind::UringCoop),
        ("no flags", NetKind::UringPlain, Kind::UringPlain),
    ];
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for (flags, kind, runtime) in kinds {
        let built = build(kind, runtime, processors);
        let works = built.is_ok();
        attempts.push(Attempt { flags, built });
        if works {
            break;
        }
    }
    attempts
}

/// The rings of `shards` shards, held together until all of them are there.
fn build(kind: NetKind, runtime: Kind, shards: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..shards {
        let bell = Bell::new()?;
        held.push((Net::build(kind, bell.eventfd())?, Runtime::build(runtime)?, bell));
    }
    Ok(())
}
