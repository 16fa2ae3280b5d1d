//! The runtime: monoio behind a few words. Nobody else names it (design R2).
//!
//! monoio 0.2 has no way to hand a foreign ring's completions to a task, so a shard's one long-lived task sleeps
//! on a file descriptor wrapped as a stream, which works on both of monoio's drivers.

use crate::limits::RUNTIME_RING_ENTRIES;
use monoio::net::UnixStream;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Which of monoio's drivers runs a shard's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1).
    UringDefer,
    /// io_uring with COOP_TASKRUN (Linux 5.19).
    UringCoop,
    /// io_uring without flags.
    UringPlain,
    /// epoll.
    Epoll,
}

/// A runtime that is really built, so that it is known to work.
pub enum Runtime {
    /// On io_uring.
    Uring(monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>),
    /// On epoll.
    Epoll(monoio::Runtime<monoio::time::TimeDriver<monoio::LegacyDriver>>),
}

impl Runtime {
    /// Builds a runtime of this kind for the calling thread.
    ///
    /// Errors: whatever the kernel says; ENOMEM when the locked-memory limit is too small for the ring.
    pub fn build(kind: Kind) -> io::Result<Runtime> {
        let mut flags = io_uring_06::IoUring::builder();
        match kind {
            Kind::UringDefer => {
                flags.setup_single_issuer().setup_defer_taskrun();
            }
            Kind::UringCoop => {
                flags.setup_coop_taskrun();
            }
            Kind::UringPlain => {}
            Kind::Epoll => {
                let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
                return builder.build().map(Runtime::Epoll);
            }
        }
        monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .with_entries(RUNTIME_RING_ENTRIES)
            .uring_builder(flags)
            .enable_timer()
            .build()
            .map(Runtime::Uring)
    }

    /// Runs `main` to its end. Everything spawned must have ended by then: a runtime that is dropped with
    /// operations in flight frees nothing.
    pub fn run<F: Future<Output = ()> + 'static>(self, main: F) {
        // The main future only awaits a spawned task: one that wakes itself would starve all others.
        match self {
            Runtime::Uring(mut runtime) => runtime.block_on(async { monoio::spawn(main).await }),
            Runtime::Epoll(mut runtime) => runtime.block_on(async { monoio::spawn(main).await }),
        }
    }
}

/// A descriptor that the runtime can wait for.
pub struct Waitable(UnixStream);

impl Waitable {
    /// Wraps a duplicate of `fd` (an eventfd or an epoll instance) for the current runtime.
    pub fn new(fd: &impl AsFd) -> io::Result<Waitable> {
        let copy: OwnedFd = fd.as_fd().try_clone_to_owned()?;
        UnixStream::from_std(copy.into()).map(Waitable)
    }

    /// Until the descriptor is readable. Nothing is read.
    pub async fn readable(&self) {
        // An error here is the driver's; the caller looks at its own source anyway and comes back.
        let _ = self.0.readable(false).await;
    }
}

/// Calls `tick` every `period` until it says false.
pub fn spawn_ticker(period: Duration, mut tick: impl FnMut() -> bool + 'static) -> Ticker {
    Ticker(monoio::spawn(async move {
        while tick() {
            monoio::time::sleep(period).await;
        }
    }))
}

/// A running ticker.
pub struct Ticker(monoio::task::JoinHandle<()>);

impl Ticker {
    /// Until its last call has returned.
    pub async fn ended(self) {
        self.0.await;
    }
}
