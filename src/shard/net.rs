//! The connections' own I/O: readiness and sends of one shard, on a ring of its own or on epoll. Nobody else names
//! io_uring (design R2).
//!
//! Why a second ring: monoio's ring is busy with its few tasks and offers neither multishot polls nor message flags.
//! Here a connection is one POLL_ADD multishot (an idle connection owns no buffer), and a batch of sends is one
//! submit whose successes are silent (CQE_SKIP_SUCCESS).
//!
//! Rules that keep it safe, each met the hard way:
//! - A poll is edge-triggered: who gets [`Event::Readable`] reads until the socket is empty, or remembers it.
//! - A poll pins its socket: close(2) alone sends no FIN. [`Net::unregister`] cancels by exact user data (never by
//!   descriptor, which may have a new owner), and the slot is freed only on [`Event::PollEnded`].
//! - Sends carry MSG_DONTWAIT, so none is in flight after the submit has returned and frames need no pinning.
//! - The registered eventfd is silenced while the shard is awake, and looked behind once more before it sleeps.

use crate::limits::{NET_RING_COMPLETIONS, NET_RING_ENTRIES, RING_BUSY_PAUSE_MS, SENDS_PER_SUBMIT};
use crate::shard::net_epoll::EpollNet;
#[cfg(debug_assertions)]
use crate::shard::simulated;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::Duration;
use tracing::error;

/// Which connection an event is for: a slab slot and its generation, 24 bits of which travel through the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Slab slot.
    pub slot: u32,
    /// Generation of the slot, modulo 2^24.
    pub generation: u32,
}

impl Key {
    /// The generation as it travels.
    pub const GENERATION_MASK: u32 = 0xff_ffff;

    /// Eight bits of tag, 24 of generation, 32 of slot.
    pub fn pack(self, tag: u64) -> u64 {
        tag << 56 | u64::from(self.generation & Key::GENERATION_MASK) << 32 | u64::from(self.slot)
    }

    /// The reverse of [`Key::pack`], without the tag.
    pub fn unpack(data: u64) -> Key {
        Key { slot: data as u32, generation: (data >> 32) as u32 & Key::GENERATION_MASK }
    }
}

/// What has happened on a shard's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection came in.
    Accepted {
        /// By which listener.
        listener: u16,
        /// The new socket, non-blocking and close-on-exec; the receiver owns it.
        fd: RawFd,
    },
    /// Accepting has stopped; [`Net::listen`] starts it again.
    AcceptFailed {
        /// Of which listener.
        listener: u16,
        /// Why.
        errno: i32,
    },
    /// There is input, or (with `hangup`) the end of it.
    Readable {
        /// Of whom.
        key: Key,
        /// The peer has closed or broken its side.
        hangup: bool,
    },
    /// There is room to write again.
    Writable {
        /// For whom.
        key: Key,
    },
    /// One armed operation of a connection will say no more.
    PollEnded {
        /// Of whom.
        key: Key,
        /// The input poll (else the one for room to write).
        input: bool,
    },
}

/// How the net ring was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetKind {
    /// SINGLE_ISSUER and DEFER_TASKRUN.
    UringDefer,
    /// COOP_TASKRUN.
    UringCoop,
    /// No flags.
    UringPlain,
    /// No ring.
    Epoll,
}

impl NetKind {
    /// For logs, metrics and `doctor`.
    pub fn name(self) -> &'static str {
        match self {
            NetKind::UringDefer => "io_uring (SINGLE_ISSUER|DEFER_TASKRUN)",
            NetKind::UringCoop => "io_uring (COOP_TASKRUN)",
            NetKind::UringPlain => "io_uring (no flags)",
            NetKind::Epoll => "epoll",
        }
    }
}

/// Before a ring is entered again that can take nothing just now.
const RING_BUSY_PAUSE: Duration = Duration::from_millis(RING_BUSY_PAUSE_MS);

const TAG_INPUT: u64 = 1;
const TAG_OUTPUT: u64 = 2;
const TAG_SEND: u64 = 3;
const TAG_ACCEPT: u64 = 4;
const TAG_CANCEL: u64 = 5;

/// A shard's sockets.
pub enum Net {
    /// On a ring.
    Ring(Box<RingNet>),
    /// On epoll.
    Epoll(Box<EpollNet>),
    /// In a simulation, of this shard.
    #[cfg(debug_assertions)]
    Simulated(u16),
}

/// The ring and what was taken from it but not yet handed out.
pub struct RingNet {
    ring: IoUring,
    /// Completions found while submitting sends, kept for the next turn.
    kept: Vec<(u64, i32, u32)>,
    /// Results of sends that did not go through whole.
    failed_sends: Vec<(u32, i32)>,
    sends: usize,
}

impl Net {
    /// Builds the source of events for the calling thread. `waker` is the shard's eventfd: readable when something
    /// has happened, and written to by other threads.
    ///
    /// Errors: whatever the kernel says; ENOMEM when the locked-memory limit is too small, ENOSYS or EPERM without
    /// io_uring.
    pub fn build(kind: NetKind, waker: &Arc<OwnedFd>) -> io::Result<Net> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(NET_RING_COMPLETIONS).setup_taskrun_flag();
        match kind {
            NetKind::UringDefer => {
                builder.setup_single_issuer().setup_defer_taskrun();
            }
            NetKind::UringCoop => {
                builder.setup_coop_taskrun();
            }
            NetKind::UringPlain => {
                builder = IoUring::builder();
                builder.setup_cqsize(NET_RING_COMPLETIONS);
            }
            NetKind::Epoll => return EpollNet::new(waker.as_fd()).map(Box::new).map(Net::Epoll),
        }
        let ring: IoUring = builder.build(NET_RING_ENTRIES)?;
        ring.submitter().register_eventfd(waker.as_raw_fd())?;
        let kept = Vec::with_capacity(NET_RING_COMPLETIONS as usize);
        let mut net = RingNet { ring, kept, failed_sends: Vec::new(), sends: 0 };
        net.ring.completion().disable_eventfd();
        Ok(Net::Ring(Box::new(net)))
    }

    /// The epoll descriptor to wait for; a ring is waited for by its eventfd.
    pub fn epoll_fd(&self) -> Option<&OwnedFd> {
        match self {
            Net::Ring(_) => None,
            Net::Epoll(net) => Some(net.fd()),
            #[cfg(debug_assertions)]
            Net::Simulated(_) => None,
        }
    }

    /// Accepts connections from a listening socket until [`Event::AcceptFailed`].
    pub fn listen(&mut self, fd: RawFd, listener: u16) -> io::Result<()> {
        match self {
            Net::Ring(net) => {
                let accept = opcode::AcceptMulti::new(types::Fd(fd))
                    .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                    .build();
                net.queue(accept.user_data(listener_data(listener)));
                Ok(())
            }
            Net::Epoll(net) => net.listen(fd, listener),
            #[cfg(debug_assertions)]
            Net::Simulated(_) => Ok(()),
        }
    }

    /// Stops accepting.
    pub fn unlisten(&mut self, listener: u16) {
        match self {
            Net::Ring(net) => net.cancel(listener_data(listener)),
            Net::Epoll(net) => net.unlisten(listener),
            #[cfg(debug_assertions)]
            Net::Simulated(_) => {}
        }
    }

    /// Watches a connection for input. Returns how many [`Event::PollEnded`] will come before its slot may be freed.
    pub fn register(&mut self, fd: RawFd, key: Key) -> io::Result<u8> {
        match self {
            Net::Ring(net) => {
                let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
                let poll = opcode::PollAdd::new(types::Fd(fd), events).multi(true).build();
                net.queue(poll.user_data(key.pack(TAG_INPUT)));
                Ok(1)
            }
            Net::Epoll(net) => net.register(fd, key).map(|()| 0),
            #[cfg(debug_assertions)]
            Net::Simulated(shard) => Ok(simulated::register(*shard, fd, key)),
        }
    }

    /// Asks for one [`Event::Writable`]. Returns as [`Net::register`].
    pub fn want_write(&mut self, fd: RawFd, key: Key) -> u8 {
        match self {
            Net::Ring(net) => {
                let poll = opcode::PollAdd::new(types::Fd(fd), libc::POLLOUT as u32).build();
                net.queue(poll.user_data(key.pack(TAG_OUTPUT)));
                1
            }
            Net::Epoll(_) => 0,
            #[cfg(debug_assertions)]
            Net::Simulated(shard) => simulated::want_write(*shard, fd, key),
        }
    }

    /// Ends the polls of a connection; each says [`Event::PollEnded`]. `output`: one for room to write is armed.
    pub fn unregister(&mut self, fd: RawFd, key: Key, output: bool) {
        match self {
            Net::Ring(net) => {
                net.cancel(key.pack(TAG_INPUT));
                if output {
                    net.cancel(key.pack(TAG_OUTPUT));
                }
            }
            Net::Epoll(net) => net.unregister(fd),
            #[cfg(debug_assertions)]
            Net::Simulated(shard) => simulated::unregister(*shard, fd, key, output),
        }
    }

    /// Submits what is queued and takes what has happened.
    pub fn turn(&mut self, out: &mut Vec<Event>) {
        match self {
            Net::Ring(net) => net.turn(out),
            Net::Epoll(net) => net.turn(out),
            #[cfg(debug_assertions)]
            Net::Simulated(shard) => simulated::turn(*shard, out),
        }
    }

    /// Whether another turn would find something; looks at shared memory only.
    pub fn pending(&mut self) -> bool {
        match self {
            Net::Ring(net) => net.pending(),
            Net::Epoll(net) => net.pending(),
            #[cfg(debug_assertions)]
            Net::Simulated(_) => false,
        }
    }

    /// Before sleeping: from now on events signal the eventfd. False: something has come already, do not sleep.
    pub fn prepare_sleep(&mut self) -> bool {
        let Net::Ring(net) = self else { return !self.pending() };
        net.ring.completion().enable_eventfd();
        fence(Ordering::SeqCst);
        !net.pending()
    }

    /// After sleeping: events are found by looking again.
    pub fn awake(&mut self) {
        if let Net::Ring(net) = self {
            net.ring.completion().disable_eventfd();
        }
    }
}

fn listener_data(listener: u16) -> u64 {
    TAG_ACCEPT << 56 | u64::from(listener)
}

impl RingNet {
    fn queue(&mut self, entry: squeue::Entry) {
        // SAFETY: the entry refers to descriptors only, or (sends) to memory of which the caller of the unsafe functions
        // below has promised that it stays until the entry is submitted. An entry that cannot be submitted ends the process.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.enter();
            // SAFETY: as above; the queue was just emptied.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            debug_assert!(pushed.is_ok(), "the submission queue was just emptied");
        }
    }

    fn cancel(&mut self, data: u64) {
        let cancel = opcode::AsyncCancel::new(data).build().flags(squeue::Flags::SKIP_SUCCESS);
        self.queue(cancel.user_data(TAG_CANCEL << 56));
    }

    /// Submits everything, runs the kernel's deferred work, and moves all completions out of the ring.
    ///
    /// When the kernel no longer does that, the process ends: nobody would be served, and what stands in the queue points
    /// to frames that must not be freed while it does.
    fn enter(&mut self) {
        if let Err(error) = self.try_enter() {
            error!(%error, reason = "ring_lost", "the shard's ring cannot be entered (io_uring_enter); aborting");
            // The log's own thread may not come to it any more.
            eprintln!("io_uring_enter: {error}; the node cannot go on");
            std::process::abort();
        }
    }

    /// Errors: one that does not go away by itself.
    fn try_enter(&mut self) -> io::Result<()> {
        loop {
            let count = self.ring.submission().len() as u32;
            // IORING_ENTER_GETEVENTS: without it deferred task work would not run.
            const GETEVENTS: u32 = 1;
            // SAFETY: no signal mask is passed; the entries were checked when they were queued.
            let entered = unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, GETEVENTS, None) };
            let again = match entered {
                Ok(_) => false,
                // EBUSY: the kernel wants completions taken first; EAGAIN: no memory for a request just now.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EINTR | libc::EAGAIN)) => true,
                Err(e) => return Err(e),
            };
            let (kept, failed) = (&mut self.kept, &mut self.failed_sends);
            let mut found = false;
            for completion in self.ring.completion() {
                found = true;
                let data = completion.user_data();
                match data >> 56 {
                    TAG_SEND => failed.push((data as u32, completion.result())),
                    TAG_CANCEL => {}
                    _ => kept.push((data, completion.result(), completion.flags())),
                }
            }
            // While completions are parked in the kernel, a missing one does not mean success.
            if !again && !self.ring.submission().cq_overflow() && self.ring.submission().is_empty() {
                return Ok(());
            }
            if again && !found {
                thread::sleep(RING_BUSY_PAUSE); // others may give memory back meanwhile
            }
        }
    }

    fn turn(&mut self, out: &mut Vec<Event>) {
        if self.kept.is_empty() || !self.ring.submission().is_empty() {
            self.enter();
        }
        for (data, result, flags) in self.kept.drain(..) {
            let more = cqueue::more(flags);
            let key = Key::unpack(data);
            match data >> 56 {
                TAG_ACCEPT => {
                    let listener = data as u16;
                    if result >= 0 {
                        out.push(Event::Accepted { listener, fd: result });
                    }
                    if !more {
                        let errno = if result < 0 { -result } else { 0 };
                        out.push(Event::AcceptFailed { listener, errno });
                    }
                }
                TAG_INPUT => {
                    if result > 0 {
                        let broken = i32::from(libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR);
                        out.push(Event::Readable { key, hangup: result & broken != 0 });
                    }
                    if !more {
                        out.push(Event::PollEnded { key, input: true });
                    }
                }
                TAG_OUTPUT => {
                    if result != -libc::ECANCELED {
                        out.push(Event::Writable { key });
                    }
                    out.push(Event::PollEnded { key, input: false });
                }
                _ => {}
            }
        }
    }

    fn pending(&mut self) -> bool {
        !self.kept.is_empty()
            || !self.ring.submission().is_empty()
            || self.ring.submission().taskrun()
            || self.ring.submission().cq_overflow()
            || !self.ring.completion().is_empty()
    }

    /// Whether another send would need a submit first.
    pub fn sends_are_full(&self) -> bool {
        self.sends >= SENDS_PER_SUBMIT
    }

    /// Queues a send of `frame`.
    ///
    /// # Safety
    /// The frame must stay where and what it is until [`RingNet::submit_sends`] has returned. After that the kernel does
    /// not look at it any more: with MSG_DONTWAIT a send is never kept for later.
    pub unsafe fn queue_send(&mut self, fd: RawFd, slot: u32, frame: &[u8]) {
        let send =
            opcode::Send::new(types::Fd(fd), frame.as_ptr(), frame.len() as u32).flags(SEND_FLAGS).build();
        self.queue_silent(send, slot);
    }

    /// Queues a gathering send.
    ///
    /// # Safety
    /// As [`RingNet::queue_send`], for `message` and everything it points to.
    pub unsafe fn queue_sendmsg(&mut self, fd: RawFd, slot: u32, message: *const libc::msghdr) {
        let send = opcode::SendMsg::new(types::Fd(fd), message).flags(SEND_FLAGS as u32).build();
        self.queue_silent(send, slot);
    }

    fn queue_silent(&mut self, send: squeue::Entry, slot: u32) {
        self.sends += 1;
        let data = TAG_SEND << 56 | u64::from(slot);
        self.queue(send.flags(squeue::Flags::SKIP_SUCCESS).user_data(data));
    }

    /// Carries out all queued sends. `failed` gets the slot and result (bytes sent, or minus errno) of each that
    /// did not go through whole.
    pub fn submit_sends(&mut self, failed: &mut Vec<(u32, i32)>) {
        self.enter();
        self.sends = 0;
        failed.append(&mut self.failed_sends);
    }
}

/// Complete or refuse at once; a short send is an answer of its own (MSG_WAITALL makes it a completion that
/// CQE_SKIP_SUCCESS does not swallow).
pub const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_ring_that_is_none_any_more_is_an_error_and_no_loop() {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(64);
        let Ok(ring) = builder.build(8) else { return println!("SKIPPED: this kernel gives no io_uring") };
        // SAFETY: dup2 puts another file behind the ring's descriptor, which stays the ring's to close.
        let done = unsafe { libc::dup2(File::open("/dev/null").unwrap().as_raw_fd(), ring.as_raw_fd()) };
        assert!(done >= 0);
        let mut net = RingNet { ring, kept: Vec::new(), failed_sends: Vec::new(), sends: 0 };
        net.cancel(7);
        let error = net.try_enter().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
    }
}
