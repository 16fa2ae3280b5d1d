//! TLS connections between two requests when another process has taken over. Their keys do not leave this process, so it
//! goes on with the TLS of each until it ends, and passes what is inside to the new process over a pair of sockets, as
//! another connection that begins with a PROXY header. The new process answers; whoever it answers comes back to it on a
//! connection of its own ([`Connection::piped`](super::connection::Connection::piped)).

use super::Shard;
use super::accept::peer_address;
use super::connection::{Carrier, State};
use super::drain::Drain;
use super::mailbox::Adopted;
use super::net::Key;
use super::outbox::Item;
use super::simulated::Socket;
use crate::dialect;
use crate::limits::HTTP_PIPELINE_BYTES;
use crate::wire::proxy::{self, Source};
use bytes::Bytes;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use tracing::warn;

impl Shard {
    /// Has the successor answer what comes inside the TLS of a connection, `unread` first. Without descriptors for that
    /// the connection ends.
    pub(super) fn pipe_away(&mut self, slot: u32, unread: &[u8]) {
        let (ours, theirs): (Socket, Socket) = match UnixStream::pair() {
            Ok((ours, theirs)) => (OwnedFd::from(ours).into(), OwnedFd::from(theirs).into()),
            Err(error) => {
                if self.counters.refuse("handover_pair") {
                    warn!(%error, reason = "handover_pair", "a TLS connection ends: it cannot be passed on");
                }
                return self.finish(slot);
            }
        };
        let listener = self.slab[slot].listener;
        self.counters.accepted.add(1);
        let Some(pair) = self.place(ours, listener, None, true) else { return self.finish(slot) };
        let (outer, inner) = (self.slab.key(slot), self.slab.key(pair));
        self.change_carrier(pair, Carrier::Pipe(outer));
        let deadline = self.slab[slot].deadline;
        self.change_carrier(slot, Carrier::Pipe(inner));
        if self.handshake_ms(slot).is_some() {
            self.slab[slot].deadline = deadline;
            self.watch_deadline(slot);
        }
        let fd = self.slab[slot].fd;
        let source = self.clients.source(slot);
        let source = source.unwrap_or_else(|| peer_address(fd).map_or(Source::Unix, Source::Address));
        let mut bytes = proxy::write(source);
        bytes.extend_from_slice(unread);
        self.give_away(Adopted { unread: bytes, piped: true, ..Adopted::new(theirs, listener) });
        if self.drain.as_ref().is_some_and(Drain::has_passed) {
            self.end_pipe(slot);
        }
    }

    /// Something has come that is for the other end.
    pub(super) fn pass_on(&mut self, to: Key, bytes: &[u8]) {
        if !self.slab.is(to) || self.slab[to.slot].state != State::Open || self.slab[to.slot].finishing {
            return;
        }
        let outbox = &mut self.slab[to.slot].outbox;
        outbox.push(Bytes::copy_from_slice(bytes), Item::CONTROL, &mut self.spare);
        if outbox.bytes() >= HTTP_PIPELINE_BYTES {
            self.send_now(to.slot);
        }
        self.mark_dirty(to.slot);
    }

    /// Whether the other end takes nothing now.
    pub(super) fn is_pipe_full(&self, slot: u32) -> bool {
        match self.slab[slot].carrier {
            Carrier::Pipe(to) => self.slab.is(to) && self.slab[to.slot].blocked,
            _ => false,
        }
    }

    /// The connection takes something again: who passes things on to it may read on.
    pub(super) fn resume_pipe(&mut self, slot: u32) {
        if let Carrier::Pipe(from) = self.slab[slot].carrier
            && self.slab.is(from)
        {
            self.resume_reading(from.slot);
        }
    }

    /// No more comes from the outer end of a pipe, or is taken from it: the successor says what is left to say.
    pub(super) fn end_pipe(&mut self, slot: u32) {
        let Carrier::Pipe(to) = self.slab[slot].carrier else { return };
        if self.slab[slot].tls.is_some() && self.slab.is(to) {
            self.slab[to.slot].finishing = true;
            self.mark_dirty(to.slot);
        }
    }

    /// The other end of a pipe is gone. What it has said is still passed on to the client.
    pub(super) fn pipe_ended(&mut self, to: Key) {
        if !self.slab.is(to) || self.slab[to.slot].state != State::Open {
            return;
        }
        if self.slab[to.slot].tls.is_some() { self.finish(to.slot) } else { self.close_now(to.slot) }
    }

    /// A connection whose TLS is in the older process will bring no more. A session that lasts is ended, with a hint to
    /// come back; who waits for an answer still gets it.
    pub(super) fn drain_piped(&mut self, slot: u32) -> bool {
        let connection = &self.slab[slot];
        if !connection.piped || !connection.open {
            return false;
        }
        self.with_session(slot, |dialects, context, session| {
            dialects.on_drain(context, session, dialect::Drain::Upgrade);
        });
        let connection = &self.slab[slot];
        connection.open && connection.outbox.is_empty()
    }
}
