//! Where a simulation takes the kernel's place: `tests/simulation` runs whole shards, this code and all, in one thread
//! from a seed.
//!
//! A thread that has [`install`]ed a [`Kernel`] makes no system call on a connection's socket: the shard asks
//! [`is_on`] before each of them. That question exists in builds with debug assertions only; in any other build it is
//! the constant `false`, and what stands behind it is gone.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

#[cfg(debug_assertions)]
pub use on::*;

/// Whether this thread's sockets are simulated.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn is_on() -> bool {
    false
}

#[cfg(not(debug_assertions))]
mod off {
    use crate::channel::Now;
    use bytes::Bytes;
    use std::net::SocketAddr;
    use std::os::fd::RawFd;

    pub(crate) fn now() -> Option<Now> {
        None
    }

    pub(crate) fn receive(_: RawFd, _: &mut [u8]) -> libc::c_long {
        -1
    }

    pub(crate) fn send<'a>(_: RawFd, _: impl Iterator<Item = &'a Bytes>) -> isize {
        -1
    }

    pub(crate) fn shutdown(_: RawFd, _: i32) -> i32 {
        -1
    }

    pub(crate) fn close(_: RawFd) {}

    pub(crate) fn peer(_: RawFd) -> Option<SocketAddr> {
        None
    }

    #[inline(always)]
    pub(crate) const fn is_full(_: usize) -> bool {
        false
    }
}
#[cfg(not(debug_assertions))]
pub(crate) use off::*;

/// A connection's socket on its way in, out or to another shard; closed when it is dropped.
#[derive(Debug)]
pub struct Socket(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Socket {
        Socket(ManuallyDrop::new(fd))
    }
}

impl FromRawFd for Socket {
    // SAFETY: as with `OwnedFd`, the caller owns the descriptor and gives it away.
    unsafe fn from_raw_fd(fd: RawFd) -> Socket {
        // SAFETY: the caller's promise is the same.
        Socket::from(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl IntoRawFd for Socket {
    fn into_raw_fd(self) -> RawFd {
        ManuallyDrop::new(self).as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: nobody looks at it after this.
        let fd = unsafe { ManuallyDrop::take(&mut self.0) };
        if is_on() {
            close(fd.into_raw_fd());
        }
    }
}

#[cfg(debug_assertions)]
mod on {
    use crate::channel::Now;
    use crate::shard::connection::{Carrier, State};
    use crate::shard::net::{Event, Key, Net, NetKind};
    use crate::shard::outbox::OutboxLimits;
    use crate::shard::{Shard, ShardConfig};
    use bytes::Bytes;
    use std::cell::RefCell;
    use std::net::SocketAddr;
    use std::os::fd::RawFd;
    use std::rc::Rc;

    thread_local! {
        static KERNEL: RefCell<Option<Rc<dyn Kernel>>> = const { RefCell::new(None) };
    }

    /// The sockets and the clock of a simulated node. Errors are errno values.
    pub trait Kernel {
        /// Both clocks.
        fn now(&self) -> Now;
        /// recv(2): 0 is the end of the stream.
        fn receive(&self, fd: RawFd, buffer: &mut [u8]) -> Result<usize, i32>;
        /// sendmsg(2), of what there is in the frames; it may take a part.
        fn send(&self, fd: RawFd, frames: &mut dyn Iterator<Item = &Bytes>) -> Result<usize, i32>;
        /// shutdown(2).
        fn shutdown(&self, fd: RawFd, how: i32);
        /// close(2).
        fn close(&self, fd: RawFd);
        /// getpeername(2).
        fn peer(&self, fd: RawFd) -> Option<SocketAddr>;
        /// As [`Net::register`].
        fn register(&self, shard: u16, fd: RawFd, key: Key) -> u8;
        /// As [`Net::want_write`].
        fn want_write(&self, shard: u16, fd: RawFd, key: Key) -> u8;
        /// As [`Net::unregister`].
        fn unregister(&self, shard: u16, fd: RawFd, key: Key, output: bool);
        /// As [`Net::turn`].
        fn turn(&self, shard: u16, events: &mut Vec<Event>);
        /// Whether a shard's mailbox has no room at this moment, whatever is in it a moment later: in a node its shard
        /// takes mail while others send some.
        fn is_full(&self, shard: usize) -> bool;
    }

    /// Gives this thread's shards a kernel, or takes it away.
    pub fn install(kernel: Option<Rc<dyn Kernel>>) {
        KERNEL.set(kernel);
    }

    /// Whether this thread's sockets are simulated.
    pub fn is_on() -> bool {
        KERNEL.with_borrow(Option::is_some)
    }

    fn with<T>(otherwise: T, call: impl FnOnce(&dyn Kernel) -> T) -> T {
        match KERNEL.with_borrow(Clone::clone) {
            Some(kernel) => call(&*kernel),
            None => otherwise,
        }
    }

    fn errno(result: Result<usize, i32>) -> isize {
        result.map_or_else(
            |errno| {
                // SAFETY: the address of this thread's errno.
                unsafe { *libc::__errno_location() = errno };
                -1
            },
            |count| count as isize,
        )
    }

    pub(crate) fn now() -> Option<Now> {
        with(None, |kernel| Some(kernel.now()))
    }

    pub(crate) fn receive(fd: RawFd, buffer: &mut [u8]) -> libc::c_long {
        errno(with(Err(libc::EBADF), |kernel| kernel.receive(fd, buffer))) as libc::c_long
    }

    pub(crate) fn send<'a>(fd: RawFd, mut frames: impl Iterator<Item = &'a Bytes>) -> isize {
        errno(with(Err(libc::EBADF), |kernel| kernel.send(fd, &mut frames)))
    }

    pub(crate) fn shutdown(fd: RawFd, how: i32) -> i32 {
        with(-1, |kernel| {
            kernel.shutdown(fd, how);
            0
        })
    }

    pub(crate) fn close(fd: RawFd) {
        with((), |kernel| kernel.close(fd));
    }

    pub(crate) fn peer(fd: RawFd) -> Option<SocketAddr> {
        with(None, |kernel| kernel.peer(fd))
    }

    pub(crate) fn register(shard: u16, fd: RawFd, key: Key) -> u8 {
        with(0, |kernel| kernel.register(shard, fd, key))
    }

    pub(crate) fn want_write(shard: u16, fd: RawFd, key: Key) -> u8 {
        with(0, |kernel| kernel.want_write(shard, fd, key))
    }

    pub(crate) fn unregister(shard: u16, fd: RawFd, key: Key, output: bool) {
        with((), |kernel| kernel.unregister(shard, fd, key, output));
    }

    pub(crate) fn turn(shard: u16, events: &mut Vec<Event>) {
        with((), |kernel| kernel.turn(shard, events));
    }

    pub(crate) fn is_full(shard: usize) -> bool {
        with(false, |kernel| kernel.is_full(shard))
    }

    /// What a shard holds at a moment. A node that everybody has left holds nothing.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Held {
        /// Slots in use.
        pub slots: usize,
        /// Slots with a session.
        pub sessions: usize,
        /// Subscriptions in slots.
        pub subscriptions: usize,
        /// Channels with members.
        pub channels_with_members: usize,
        /// Channels that live here.
        pub channels: usize,
        /// Publications stored here.
        pub stored: usize,
        /// Connections on their way to another shard.
        pub moving: usize,
        /// Mails that did not fit into another shard's mailbox.
        pub overflowing: usize,
        /// Connections written to at the next flush, and work left to do.
        pub undone: usize,
        /// Bytes above what the outbox of one who listens may hold, the worst one.
        pub outbox_excess: usize,
    }

    impl Shard {
        /// A shard on the [`Kernel`] of this thread, which turns when it is told to.
        pub fn simulated(config: ShardConfig) -> Shard {
            let net = Net::Simulated(config.id);
            Shard::assemble(config, net, NetKind::Epoll).0
        }

        /// One turn of the loop.
        pub fn turn_once(&mut self) {
            self.turn();
        }

        /// Whether it would turn again at once. What its sockets have to say is the kernel's knowledge.
        pub fn wants_turn(&mut self) -> bool {
            self.has_more()
        }

        /// Whether it has mail that did not fit; it is sent at a later turn, of which there is one per tick at least.
        pub fn is_overflowing(&self) -> bool {
            self.post.is_overflowing()
        }

        /// Whether it has drained and would leave.
        pub fn may_leave(&self) -> bool {
            self.is_drained()
        }

        /// See [`Held`].
        pub fn held(&self) -> Held {
            let mut held = Held {
                slots: self.slab.live(),
                channels_with_members: self.members.channels(),
                channels: self.home.channels(),
                stored: self.home.stored(),
                moving: self.moving.len(),
                overflowing: self.post.overflowed(),
                undone: self.dirty.len() + self.work.len(),
                ..Held::default()
            };
            let OutboxLimits { bytes, .. } = self.limits.outbox;
            let mut left = held.slots;
            for slot in 0..self.slab.slots() {
                let connection = &self.slab[slot];
                if left == 0 {
                    break; // the others are nobody's
                }
                if connection.state == State::Free {
                    continue;
                }
                left -= 1;
                held.subscriptions += connection.subs.len();
                held.sessions += usize::from(connection.open);
                let stays = matches!(connection.carrier, Carrier::WebSocket(_) | Carrier::Stream(_));
                if stays && connection.state == State::Open && connection.outbox.len() > 1 {
                    let excess = connection.outbox.bytes_held_against().saturating_sub(bytes);
                    held.outbox_excess = held.outbox_excess.max(excess);
                }
            }
            held
        }
    }
}
