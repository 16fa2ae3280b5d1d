//! New connections: limits first, then a slot.

use super::Shard;
use super::counters;
use super::door::{Admission, Excess};
use super::mailbox::{Adopted, Mail};
use super::simulated::{self, Socket};
use crate::limits::SHED_PER_TICK;
use crate::shard::connection::State;
use crate::shard::tls::{REFUSAL, Tls};
use bytes::Bytes;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use tracing::warn;

const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The peer of a socket, looked up when it is printed.
pub struct LazyPeer(pub RawFd);

impl fmt::Display for LazyPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match look_up(self.0) {
            Ok(address) => address.fmt(f),
            // The kernel forgets the address of a TCP peer that it has given up.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => f.write_str("gone"),
            Err(_) => f.write_str("unix"),
        }
    }
}

/// The address of a socket's peer; none: it is not known, or there is none.
pub(super) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    look_up(fd).ok()
}

fn look_up(fd: RawFd) -> io::Result<SocketAddr> {
    let gone = io::ErrorKind::NotConnected;
    if fd < 0 || simulated::is_on() {
        return simulated::peer(fd).ok_or(gone.into());
    }
    // SAFETY: it is not closed here, and only asked who its peer is. Should the descriptor have become somebody else's
    // (whoever looks from another thread cannot rule it out), another peer is named.
    let stream = unsafe { std::mem::ManuallyDrop::new(std::net::TcpStream::from_raw_fd(fd)) };
    stream.peer_addr()
}

impl Shard {
    /// A connection came in by `listener`.
    pub(super) fn on_accepted(&mut self, listener: u16, fd: RawFd) {
        // SAFETY: the net layer hands the new descriptor over; nobody else has it.
        let fd = unsafe { Socket::from_raw_fd(fd) };
        self.counters.accepted.add(1);
        if self.is_closed() {
            return self.shed(fd, "draining", self.in_words_of(listener, UNAVAILABLE));
        }
        let is_unix = self.listeners.iter().any(|l| l.index == listener && l.hand_out);
        let takes_header = self.takes_header(listener);
        let wants_peer = takes_header || self.rules.forwarded.is_some() || self.counts_addresses();
        let peer = if wants_peer && !is_unix { peer_address(fd.as_raw_fd()) } else { None };
        if wants_peer && !is_unix && peer.is_none() {
            return self.counters.closed.add(1); // gone already
        }
        if takes_header && !self.rules.trusted.contains(peer.map(|peer| peer.ip())) {
            return self.shed(fd, "proxy_untrusted", b"");
        }
        let admission = if takes_header { Admission::Header } else { Admission::Admitted };
        let for_others = !takes_header && self.speaks_for_others(peer);
        // Other shards count on between the sums. Those who are being turned away are not in the way of anybody.
        let gone = self.node.sum(|c| &c.closed) + self.node.sum(|c| &c.turned_away);
        let admitted = if self.node.sum(|c| &c.accepted).saturating_sub(gone) > self.limits.connections as u64
        {
            Err(Excess::Connections)
        } else if takes_header || for_others {
            Ok(0) // whose it is, is still to be said
        } else {
            self.admit(peer)
        };
        let address = match admitted {
            Ok(address) => address,
            Err(excess) if takes_header || !self.has_seat() => {
                let answer = if excess == Excess::Connections { UNAVAILABLE } else { TOO_MANY };
                return self.shed(fd, excess.label(), self.in_words_of(listener, answer));
            }
            Err(excess) => return self.turn_away(fd, listener, excess),
        };
        let adopted = Adopted { address, admission, for_others, ..Adopted::new(fd, listener) };
        if is_unix {
            self.next_unix_shard = (self.next_unix_shard + 1) % self.post.shards();
            if self.next_unix_shard != self.id as usize {
                self.counters.closed.add(1);
                if address != 0 {
                    self.rules.addresses.release(address);
                }
                return self.post.send(self.next_unix_shard, Mail::Adopt(Box::new(adopted)));
            }
        }
        self.settle(adopted);
    }

    /// Hears a connection over a limit, so that it can be told in the words of its protocol.
    fn turn_away(&mut self, fd: Socket, listener: u16, excess: Excess) {
        if self.counters.refuse(excess.label()) {
            warn!(peer = %LazyPeer(fd.as_raw_fd()), reason = excess.label(), "connection refused");
        }
        if let Some(slot) = self.place(fd, listener, None, false) {
            self.seat(slot, excess);
        }
    }

    /// Gives a connection a slot; with its TLS, or as its listener's door says, or (`piped`) without one.
    pub(super) fn place(
        &mut self,
        fd: Socket,
        listener: u16,
        tls: Option<Box<Tls>>,
        piped: bool,
    ) -> Option<u32> {
        let begun = match tls {
            None if !piped => self.begin_tls(listener),
            tls => Ok(tls),
        };
        let Ok(tls) = begun else {
            self.shed_tls(fd);
            return None;
        };
        let raw = fd.into_raw_fd();
        let key = self.slab.insert(raw, listener);
        self.counters.sockets.add(1);
        self.counters.connections[counters::Carrier::Http as usize].add(1);
        self.begin_rate(key.slot);
        self.slab[key.slot].tls = tls;
        match self.net.register(raw, key) {
            Ok(armed) => self.slab[key.slot].armed = armed,
            Err(error) => {
                warn!(%error, "cannot watch a connection");
                self.close_now(key.slot);
                return None;
            }
        }
        let first = self.handshake_ms(key.slot).unwrap_or(self.limits.header_ms);
        let connection = &mut self.slab[key.slot];
        connection.heard = self.wheel.now();
        connection.deadline = self.wheel.tick_in(first);
        self.watch_deadline(key.slot);
        self.part_soon(key.slot);
        Some(key.slot)
    }

    /// Gives a connection a slot with all that is known of it, and reads on where it was left.
    fn settle(&mut self, adopted: Adopted) {
        let Adopted { fd, listener, mut unread, unsent, address, admission, for_others, piped, client, tls } =
            adopted;
        let Some(slot) = self.place(fd, listener, tls, piped) else {
            if address != 0 {
                self.rules.addresses.release(address);
            }
            return;
        };
        let connection = &mut self.slab[slot];
        (connection.address, connection.admission) = (address, admission);
        (connection.for_others, connection.piped) = (for_others, piped);
        self.clients.put(slot, client);
        let key = self.slab.key(slot);
        self.unpack_tls(slot);
        if !unsent.is_empty() {
            self.queue_control(slot, unsent.into());
        }
        let mut at = 0;
        if admission == Admission::Header && !unread.is_empty() {
            at = self.read_proxy_header(slot, &unread, false).unwrap_or(unread.len());
        }
        if at < unread.len() {
            let rest = &mut unread[at..];
            match admission {
                Admission::Header => self.on_bytes_behind_header(slot, rest),
                _ => self.on_bytes(slot, rest),
            }
            self.run_work();
        }
        if self.slab.is(key) && self.slab[slot].state == State::Open && self.had_ended(slot) {
            self.on_end_of_input(slot);
        }
    }

    /// A connection that another shard has let go of.
    pub(super) fn on_adopted(&mut self, mut adopted: Adopted) {
        self.counters.adopted.add(1);
        self.counters.accepted.add(1);
        if self.is_closed() {
            let answer =
                if adopted.piped { UNAVAILABLE } else { self.in_words_of(adopted.listener, UNAVAILABLE) };
            return self.shed(adopted.fd, "draining", answer);
        }
        if adopted.admission == Admission::Unknown {
            self.look_anew(&mut adopted);
        }
        if adopted.address != 0 {
            self.rules.addresses.admit(adopted.address, usize::MAX);
        }
        self.settle(adopted);
    }

    /// An answer that a connection by this listener can read: where TLS is spoken, plain HTTP would be garbage.
    fn in_words_of(&self, listener: u16, answer: &'static [u8]) -> &'static [u8] {
        let speaks_tls = self.doors.get(usize::from(listener)).is_some_and(|door| door.tls.is_some());
        if speaks_tls { &REFUSAL } else { answer }
    }

    /// Answers and closes, without a slot.
    fn shed(&mut self, fd: Socket, label: &'static str, answer: &'static [u8]) {
        self.counters.closed.add(1);
        if self.counters.refuse(label) {
            warn!(peer = %LazyPeer(fd.as_raw_fd()), reason = label, "connection refused");
        }
        if simulated::is_on() {
            simulated::send(fd.as_raw_fd(), [Bytes::from_static(answer)].iter());
            return;
        }
        // SAFETY: sends from a static buffer on a descriptor we own; whatever comes of it, the socket is closed.
        unsafe {
            libc::send(
                fd.as_raw_fd(),
                answer.as_ptr().cast(),
                answer.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
    }

    /// Accepting has stopped: file descriptors or memory have run out, or the listener is gone. It starts again at
    /// the next tick, so that a full table costs no busy loop.
    /// `listener` is its place in the shard's list.
    pub(super) fn on_accept_failed(&mut self, listener: u16, errno: i32) {
        if self.drain.is_some() || errno == libc::ECANCELED {
            return; // that was us
        }
        if errno != 0 {
            let label = if errno == libc::EMFILE { "file_descriptors" } else { "accept" };
            if self.counters.refuse(label) {
                let error = std::io::Error::from_raw_os_error(errno);
                warn!(%error, reason = label, "cannot accept connections");
            }
        }
        if matches!(errno, libc::EMFILE | libc::ENFILE) {
            self.shed_waiting(listener);
        }
        if let Some(listener) = self.listeners.get_mut(usize::from(listener)) {
            listener.stopped = true;
        }
    }

    /// Out of descriptors: the spare one is given up for a moment to tell those who wait that there is no room.
    fn shed_waiting(&mut self, listener: u16) {
        let Some(listener) = self.listeners.get(usize::from(listener)) else { return };
        let (fd, answer) = (listener.fd.clone(), self.in_words_of(listener.index, UNAVAILABLE));
        for _ in 0..SHED_PER_TICK {
            drop(self.spare_fd.take());
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: no address is asked for, so the pointers may be null.
            let accepted =
                unsafe { libc::accept4(fd.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) };
            if accepted >= 0 {
                self.counters.accepted.add(1);
                // SAFETY: the kernel has just handed us this descriptor.
                self.shed(unsafe { Socket::from_raw_fd(accepted) }, "file_descriptors", answer);
            }
            self.spare_fd = spare_fd(&fd);
            if accepted < 0 {
                return;
            }
        }
    }
}

/// A descriptor to give up when there are no more.
pub fn spare_fd(of: &OwnedFd) -> Option<OwnedFd> {
    of.try_clone().ok()
}
