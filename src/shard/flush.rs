//! Sending: once per turn, each dirty connection once, with everything that has queued up.
//!
//! A send costs about 2 us whatever it carries, another frame in it about 55 ns; a batch of sends in one submit is a
//! little cheaper than as many system calls, unless there are only a few.

use super::Shard;
use super::connection::State;
use super::net::{Net, RingNet, SEND_FLAGS};
use super::simulated;
use crate::limits::{SEND_FRAMES, SENDS_PER_SUBMIT, SENDS_WORTH_A_SUBMIT};
use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

/// Vectors that the kernel reads while a batch is submitted. Never grown while one is being built.
pub struct Gather {
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::msghdr>,
    failed: Vec<(u32, i32)>,
}

impl Gather {
    /// Room for one batch.
    pub fn new() -> Gather {
        Gather {
            vectors: Vec::with_capacity(SENDS_PER_SUBMIT * 8),
            messages: Vec::with_capacity(SENDS_PER_SUBMIT),
            failed: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.vectors.capacity() - self.vectors.len() >= SEND_FRAMES && self.messages.len() < SENDS_PER_SUBMIT
    }

    fn clear(&mut self) {
        self.vectors.clear();
        self.messages.clear();
    }
}

impl Default for Gather {
    fn default() -> Self {
        Gather::new()
    }
}

fn vector(frame: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() }
}

fn message(vectors: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: msghdr is plain data for which all zeros means "nothing".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors;
    message.msg_iovlen = count;
    message
}

impl Shard {
    /// Writes every dirty connection.
    pub(super) fn flush(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        self.counters.flushed.observe(dirty.len() as u64);
        if dirty.len() < SENDS_WORTH_A_SUBMIT || !matches!(self.net, Net::Ring(_)) {
            for &slot in &dirty {
                self.slab[slot].dirty = false;
                self.send_now(slot);
            }
        } else {
            let mut from = 0;
            while from < dirty.len() {
                from = self.send_batch(&dirty, from);
            }
        }
        dirty.clear();
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
        self.observe_latency();
    }

    fn observe_latency(&mut self) {
        if self.delivering.is_empty() {
            return;
        }
        let now = self.clock.mono_ns(Instant::now());
        for published_ns in self.delivering.drain(..) {
            self.counters.latency_us.observe(now.saturating_sub(published_ns) / 1000);
        }
    }

    /// Queues sends from `dirty[from..]` until the batch is full, submits them and settles the results. Returns where
    /// to go on.
    fn send_batch(&mut self, dirty: &[u32], from: usize) -> usize {
        let Net::Ring(ring) = &mut self.net else { return dirty.len() };
        let mut to = from;
        while to < dirty.len() && !ring.sends_are_full() && self.gather.has_room() {
            let slot = dirty[to];
            to += 1;
            let connection = &mut self.slab[slot];
            connection.dirty = false;
            if connection.state != State::Open || connection.blocked {
                continue;
            }
            if connection.tls.is_some() {
                self.tls.dirty.push(slot);
                continue;
            }
            if connection.outbox.is_empty() {
                connection.sending = connection.finishing; // its end is still to be sent
                continue;
            }
            connection.sending = true;
            queue(ring, &mut self.gather, connection.fd, slot, &connection.outbox);
        }
        let mut failed = std::mem::take(&mut self.gather.failed);
        ring.submit_sends(&mut failed);
        self.gather.clear();
        for (slot, result) in failed.drain(..) {
            self.slab[slot].sending = false;
            self.sent(slot, result as isize);
        }
        self.gather.failed = failed;
        while let Some(slot) = self.tls.dirty.pop() {
            self.send_tls(slot);
        }
        for &slot in &dirty[from..to] {
            if std::mem::take(&mut self.slab[slot].sending) {
                let whole: usize = self.slab[slot].outbox.frames().take(SEND_FRAMES).map(|f| f.len()).sum();
                self.sent(slot, whole as isize);
                if !self.slab[slot].outbox.is_empty() && !self.slab[slot].blocked {
                    self.send_now(slot); // more frames than one send takes
                }
            }
        }
        to
    }

    /// Sends until the outbox is empty or the socket is full.
    pub(super) fn send_now(&mut self, slot: u32) {
        loop {
            let connection = &mut self.slab[slot];
            if connection.state != State::Open || connection.blocked {
                return;
            }
            if connection.tls.is_some() {
                return self.send_tls(slot);
            }
            if connection.outbox.is_empty() {
                if connection.finishing {
                    self.sent_all_of_finishing(slot);
                }
                return;
            }
            let result = match connection.outbox.only() {
                _ if simulated::is_on() => {
                    simulated::send(connection.fd, connection.outbox.frames().take(SEND_FRAMES))
                }
                // SAFETY: the frame is alive and not changed during the call.
                Some(frame) => unsafe {
                    libc::send(connection.fd, frame.as_ptr().cast(), frame.len(), SEND_FLAGS)
                },
                None => {
                    self.gather.clear();
                    self.gather
                        .vectors
                        .extend(connection.outbox.frames().take(SEND_FRAMES).map(|f| vector(f)));
                    let vectors = &mut self.gather.vectors;
                    let message = message(vectors.as_mut_ptr(), vectors.len());
                    // SAFETY: vectors and the frames they point to are alive and not changed during the call.
                    let sent = unsafe { libc::sendmsg(connection.fd, &message, SEND_FLAGS) };
                    self.gather.clear();
                    sent
                }
            };
            let result = if result < 0 {
                let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
                if errno == libc::EINTR {
                    continue;
                }
                -errno as isize
            } else {
                result
            };
            let before = self.slab[slot].outbox.len();
            self.sent(slot, result);
            if self.slab[slot].outbox.len() == before {
                return;
            }
        }
    }

    /// A send has taken `result` bytes, or failed with minus errno.
    fn sent(&mut self, slot: u32, result: isize) {
        let connection = &mut self.slab[slot];
        if connection.state != State::Open {
            return;
        }
        if result < 0 {
            return match -result as i32 {
                libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => self.block(slot),
                libc::ETIMEDOUT => {
                    self.tell_of_dead_peer(slot);
                    self.doom(slot);
                }
                _ => self.doom(slot),
            };
        }
        self.counters.bytes_out.add(result as u64);
        let tried: usize = connection.outbox.frames().take(SEND_FRAMES).map(|f| f.len()).sum();
        connection.partly_sent = connection.outbox.advance(result as usize, &mut self.spare);
        if (result as usize) < tried {
            return self.block(slot);
        }
        if connection.outbox.is_empty() && connection.finishing {
            self.sent_all_of_finishing(slot);
        }
    }

    /// The socket is full: wait until it takes more.
    pub(super) fn block(&mut self, slot: u32) {
        let key = self.slab.key(slot);
        let connection = &mut self.slab[slot];
        connection.blocked = true;
        if !connection.output_armed {
            connection.output_armed = true;
            let fd = connection.fd;
            let armed = self.net.want_write(fd, key);
            self.slab[slot].armed += armed;
        }
    }

    /// The socket takes more again.
    pub(super) fn on_writable(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        connection.output_armed = false;
        if std::mem::take(&mut connection.blocked) {
            connection.heard = self.wheel.now();
            self.send_now(slot);
            if self.slab[slot].state == State::Open && !self.slab[slot].blocked {
                self.resume_reading(slot);
                self.resume_pipe(slot);
            }
        }
    }
}

/// One send(2) that does not wait. Returns what the socket has taken, or minus errno.
pub(super) fn send(fd: RawFd, bytes: &[u8]) -> isize {
    loop {
        // SAFETY: the bytes are alive and not changed during the call.
        let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), SEND_FLAGS) };
        if sent >= 0 {
            return sent;
        }
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        if errno != libc::EINTR {
            return -errno as isize;
        }
    }
}

/// Queues one connection's frames as one send. The frames stay in the outbox, which nobody touches before
/// [`RingNet::submit_sends`] has returned.
fn queue(ring: &mut RingNet, gather: &mut Gather, fd: i32, slot: u32, outbox: &super::outbox::Outbox) {
    if let Some(frame) = outbox.only() {
        // SAFETY: the frame is in the outbox, which nobody touches before the sends are submitted.
        return unsafe { ring.queue_send(fd, slot, frame) };
    }
    let start = gather.vectors.len();
    gather.vectors.extend(outbox.frames().take(SEND_FRAMES).map(|f| vector(f)));
    let count = gather.vectors.len() - start;
    let vectors = gather.vectors.as_mut_ptr().wrapping_add(start);
    gather.messages.push(message(vectors, count));
    if let Some(message) = gather.messages.last() {
        // SAFETY: `has_room` has seen to it that neither extension nor push moves what is there already: message and
        // vectors stay until the batch is cleared, the frames are in the outbox.
        unsafe { ring.queue_sendmsg(fd, slot, message) };
    }
}
