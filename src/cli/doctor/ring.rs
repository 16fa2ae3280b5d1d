//! Whether a ring can really be built: sysctls, seccomp and the locked-memory limit all have their say.

use std::io;

use io_uring::{Builder, IoUring};

/// Entries of the ring that is tried.
const ENTRIES: u32 = 256;

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
    for flags in ["SINGLE_ISSUER|DEFER_TASKRUN", "COOP_TASKRUN", "no flags"] {
        let mut builder: Builder = IoUring::builder();
        match flags {
            "SINGLE_ISSUER|DEFER_TASKRUN" => builder.setup_single_issuer().setup_defer_taskrun(),
            "COOP_TASKRUN" => builder.setup_coop_taskrun(),
            _ => &mut builder,
        };
        let built = builder.build(ENTRIES).map(drop);
        let works = built.is_ok();
        attempts.push(Attempt { flags, built });
        if works {
            break;
        }
    }
    attempts
}
