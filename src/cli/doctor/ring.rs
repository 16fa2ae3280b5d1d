//! Whether a ring can really be built: sysctls, seccomp and the locked-memory limit all have their say. Builds just
//! what a shard would build.

use std::io;

use crate::shard::mailbox::Bell;
use crate::shard::net::{Net, NetKind};

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
        ("SINGLE_ISSUER|DEFER_TASKRUN", NetKind::UringDefer),
        ("COOP_TASKRUN", NetKind::UringCoop),
        ("no flags", NetKind::UringPlain),
    ];
    for (flags, kind) in kinds {
        let built = Bell::new().and_then(|bell| Net::build(kind, bell.eventfd())).map(drop);
        let works = built.is_ok();
        attempts.push(Attempt { flags, built });
        if works {
            break;
        }
    }
    attempts
}
