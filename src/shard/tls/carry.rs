//! Where TLS meets the shard: receiving, sending, handshakes that fail or take too long.

use super::{Failure, HANDSHAKE_RECORD, REFUSAL, Sealed, Tls};
use crate::limits::{TLS_HANDSHAKE_STEPS_PER_TURN, TLS_IDENTITY_BYTES, TLS_SEND_BYTES};
use crate::shard::Shard;
use crate::shard::accept::LazyPeer;
use crate::shard::connection::State;
use crate::shard::door::Admission;
use crate::shard::flush::send;
use crate::shard::net::Key;
use crate::shard::read::recv;
use crate::shard::simulated::Socket;
use crate::wire::http::response::{Context, Response};
use crate::wire::x509;
use bytes::Bytes;
use std::os::fd::AsRawFd;
use tracing::{debug, info, warn};

/// What a shard has for the TLS of all its connections.
#[derive(Debug, Default)]
pub struct Desk {
    /// What was decrypted, or is about to be encrypted.
    plain: Vec<u8>,
    /// What was encrypted.
    sealed: Sealed,
    /// Steps of handshakes that may still be taken in this turn.
    steps_left: u32,
    /// Dirty connections of the batch that is being sent.
    pub dirty: Vec<u32>,
}

impl Desk {
    /// A turn begins.
    pub fn turn(&mut self) {
        self.steps_left = TLS_HANDSHAKE_STEPS_PER_TURN;
    }
}

/// Too many handshakes are under way.
pub struct Crowded;

impl Shard {
    /// What a new connection by `listener` begins with: nothing, or a handshake.
    pub(in crate::shard) fn begin_tls(&self, listener: u16) -> Result<Option<Box<Tls>>, Crowded> {
        match self.doors.get(usize::from(listener)).and_then(|door| door.tls.as_ref()) {
            None => Ok(None),
            Some(door) => door.begin().map(Some).ok_or(Crowded),
        }
    }

    /// Turns away who cannot be let into a handshake, without a slot.
    pub(in crate::shard) fn shed_tls(&mut self, fd: Socket) {
        let label = "tls_pending_handshakes";
        self.counters.closed.add(1);
        if self.counters.refuse(label) {
            warn!(peer = %LazyPeer(fd.as_raw_fd()), reason = label, "connection refused");
        }
        send(fd.as_raw_fd(), &REFUSAL);
    }

    /// Time that the handshake of a connection has, milliseconds; none when there is no TLS.
    pub(in crate::shard) fn handshake_ms(&self, slot: u32) -> Option<u64> {
        let seat = self.slab[slot].tls.as_ref()?.seat.as_ref()?;
        Some(seat.0.handshake_ms)
    }

    /// One recv(2), and what its records hold. Returns whether there may be more to read now.
    pub(in crate::shard) fn receive_tls(&mut self, key: Key, scratch: &mut [u8]) -> bool {
        let slot = key.slot;
        let Some(tls) = &self.slab[slot].tls else { return false };
        if tls.is_handshaking() && self.tls.steps_left == 0 {
            return true; // the next turn is soon enough
        }
        let (fd, kept) = (self.slab[slot].fd, tls.kept.len());
        let received = recv(fd, &mut scratch[kept..]);
        if received < 0 {
            return self.recv_failed(slot);
        }
        let len = received as usize;
        if len == 0 {
            if self.slab[slot].tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                self.handshake_left(slot);
            } else {
                self.on_end_of_input(slot);
            }
            self.run_work();
            return false;
        }
        self.counters.bytes_in.add(len as u64);
        if self.takes_bytes(slot, len) {
            self.on_records(slot, &mut scratch[..kept + len], kept);
        }
        self.run_work();
        if !self.slab.is(key) || self.slab[slot].state != State::Open {
            return false;
        }
        if self.is_paused(slot) {
            self.slab[slot].unread = true;
            return false;
        }
        kept + len == scratch.len() || self.slab[slot].ending
    }

    /// `bytes[kept..]` have come; before them there is room for what was kept.
    pub(in crate::shard) fn on_records(&mut self, slot: u32, bytes: &mut [u8], kept: usize) {
        let key = self.slab.key(slot);
        let Some(tls) = self.slab[slot].tls.as_deref_mut() else { return };
        let handshaking = tls.is_handshaking();
        if !std::mem::replace(&mut tls.begun, true) && bytes.first() != Some(&HANDSHAKE_RECORD) {
            return self.refuse_plain(slot, bytes);
        }
        if tls.keep(&bytes[kept..]) {
            return;
        }
        bytes[..kept].copy_from_slice(&tls.kept);
        let (mut plain, mut answer) =
            (std::mem::take(&mut self.tls.plain), std::mem::take(&mut self.tls.sealed));
        plain.clear();
        answer.clear();
        let outcome = tls.take_in(bytes, &mut plain, &mut answer);
        let complete = handshaking && !tls.is_handshaking();
        let ended = tls.ended;
        self.send_records(slot, answer.ready());
        self.tls.sealed = answer;
        if handshaking {
            self.tls.steps_left = self.tls.steps_left.saturating_sub(1);
        }
        if complete && outcome.is_ok() {
            self.handshake_complete(slot);
        }
        match outcome {
            Ok(()) if !plain.is_empty() => self.on_bytes(slot, &mut plain),
            Ok(()) => {}
            Err(failure) => self.fail_tls(slot, handshaking, &failure),
        }
        self.tls.plain = plain;
        if ended && self.slab.is(key) && self.slab[slot].state == State::Open {
            self.run_work();
            self.on_end_of_input(slot);
        }
    }

    fn handshake_complete(&mut self, slot: u32) {
        let deadline = self.wheel.tick_in(self.limits.header_ms);
        let Some(tls) = &self.slab[slot].tls else { return };
        let counter =
            if tls.was_resumed() { &self.counters.tls_resumed } else { &self.counters.tls_handshakes };
        counter.add(1);
        if let Some(certificate) = tls.peer_certificate() {
            let client = x509::identity(certificate, TLS_IDENTITY_BYTES);
            let peer = self.clients.peer(slot, self.slab[slot].fd);
            info!(%peer, client, "client certificate accepted");
        }
        let connection = &mut self.slab[slot];
        if connection.admission == Admission::Admitted {
            connection.deadline = deadline; // who is turned away has no more time than that takes
        }
        self.watch_deadline(slot);
        if !self.slab[slot].outbox.is_empty() {
            self.mark_dirty(slot);
        }
    }

    /// The peer has gone in the middle of its handshake: those who only look whether anybody is there do that.
    fn handshake_left(&mut self, slot: u32) {
        self.counters.refuse("tls_handshake_left");
        let peer = self.clients.peer(slot, self.slab[slot].fd);
        debug!(%peer, reason = "tls_handshake_left", "closed in a TLS handshake");
        self.close_now(slot);
    }

    /// The handshake's time is over. Whether there was one to end.
    pub(in crate::shard) fn end_slow_handshake(&mut self, slot: u32) -> bool {
        let handshaking = self.slab[slot].tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        if !handshaking || self.slab[slot].finishing {
            return false;
        }
        let label = "tls_handshake_timeout";
        self.refuse(slot, label, "TLS handshake not complete in time");
        self.close_now(slot);
        true
    }

    fn fail_tls(&mut self, slot: u32, handshaking: bool, failure: &Failure) {
        let what = if handshaking { "TLS handshake failed" } else { "TLS failed" };
        if self.counters.refuse(failure.label) {
            let peer = self.clients.peer(slot, self.slab[slot].fd);
            warn!(%peer, reason = failure.label, detail = failure.detail, "{what}");
        }
        if let Some(tls) = &mut self.slab[slot].tls {
            tls.sealed = true; // the alert was the last word
        }
        self.close_now(slot);
    }

    /// What has come is no TLS: a request in plain HTTP gets an answer that a person can read.
    fn refuse_plain(&mut self, slot: u32, bytes: &[u8]) {
        self.slab[slot].tls = None;
        if !bytes.first().is_some_and(u8::is_ascii_uppercase) {
            self.refuse(slot, "tls_garbage", "what came to a TLS port is neither TLS nor HTTP");
            return self.close_now(slot);
        }
        self.refuse(slot, "tls_plain_http", "plain HTTP request sent to a TLS port");
        let date = self.date();
        let context = Context { head: false, minor_version: 1, keep_alive: false, date: Some(&date) };
        let mut out = Vec::new();
        let response = Response::new(400);
        response.body("text/plain", "plain HTTP request sent to a TLS port\n").write(&mut out, &context);
        self.queue_control(slot, Bytes::from(out));
        self.finish(slot);
    }

    /// Sends until nothing is queued or the socket is full, as [`Shard::send_now`] does without TLS.
    pub(in crate::shard) fn send_tls(&mut self, slot: u32) {
        let (mut plain, mut sealed) =
            (std::mem::take(&mut self.tls.plain), std::mem::take(&mut self.tls.sealed));
        while self.send_some(slot, &mut plain, &mut sealed) {}
        self.tls.plain = plain;
        self.tls.sealed = sealed;
    }

    /// One send(2). Returns whether there may be more to do.
    fn send_some(&mut self, slot: u32, plain: &mut Vec<u8>, sealed: &mut Sealed) -> bool {
        let connection = &mut self.slab[slot];
        if connection.state != State::Open || connection.blocked {
            return false;
        }
        let Some(tls) = connection.tls.as_deref_mut() else { return false };
        if connection.outbox.is_empty() {
            if connection.finishing {
                self.sent_all_of_finishing(slot);
            }
            return false;
        }
        if tls.sealed {
            return self.send_sealed(slot);
        }
        if tls.is_handshaking() {
            return false;
        }
        sealed.clear();
        let taken = match connection.outbox.only() {
            Some(frame) => {
                let part = &frame[..frame.len().min(TLS_SEND_BYTES)];
                tls.seal(part, sealed).map(|()| part.len())
            }
            None => {
                plain.clear();
                connection.outbox.copy_front(plain, TLS_SEND_BYTES);
                tls.seal(plain, sealed).map(|()| plain.len())
            }
        };
        match taken {
            Ok(taken) => connection.partly_sent = connection.outbox.advance(taken, &mut self.spare),
            Err(failure) => {
                self.fail_tls(slot, false, &failure);
                return false;
            }
        }
        self.send_records(slot, sealed.ready())
    }

    /// Sends the records that the socket did not take before.
    fn send_sealed(&mut self, slot: u32) -> bool {
        let connection = &mut self.slab[slot];
        let Some(frame) = connection.outbox.frames().next() else { return false };
        let len = frame.len();
        let sent = send(connection.fd, frame);
        let Some(sent) = self.sent_of(slot, sent) else { return false };
        let connection = &mut self.slab[slot];
        // Whether a frame behind it is on the wire in part stays as it is.
        connection.outbox.advance(sent, &mut self.spare);
        if sent < len {
            self.block(slot);
            return false;
        }
        if let Some(tls) = &mut connection.tls {
            tls.sealed = false;
        }
        true
    }

    /// Sends records at once, and puts what the socket does not take before everything else. Returns whether it took
    /// all.
    fn send_records(&mut self, slot: u32, records: &[u8]) -> bool {
        let connection = &mut self.slab[slot];
        if connection.state != State::Open || records.is_empty() {
            return false;
        }
        let waiting = connection.blocked || connection.tls.as_ref().is_none_or(|tls| tls.sealed);
        let mut sent = 0;
        if !waiting {
            let result = send(connection.fd, records);
            let Some(taken) = self.sent_of(slot, result) else { return false };
            sent = taken;
        }
        if sent == records.len() {
            return true;
        }
        let connection = &mut self.slab[slot];
        if let Some(tls) = &mut connection.tls {
            connection.outbox.push_front(&records[sent..], tls.sealed, &mut self.spare);
            tls.sealed = true;
        }
        self.block(slot);
        false
    }

    /// What a send has taken; nothing when the connection is broken.
    fn sent_of(&mut self, slot: u32, result: isize) -> Option<usize> {
        if result >= 0 {
            self.counters.bytes_out.add(result as u64);
            return Some(result as usize);
        }
        match -result as i32 {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => Some(0),
            _ => {
                self.doom(slot);
                None
            }
        }
    }

    /// Says `close_notify`, unless a part of a record is still to be sent: then nobody would find it.
    pub(in crate::shard) fn say_goodbye(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        let Some(tls) = connection.tls.as_deref_mut() else { return };
        if tls.is_handshaking() || tls.sealed || connection.blocked {
            return;
        }
        let mut sealed = std::mem::take(&mut self.tls.sealed);
        sealed.clear();
        if tls.say_goodbye(&mut sealed).is_ok() {
            send(connection.fd, sealed.ready());
        }
        self.tls.sealed = sealed;
    }

    /// Takes the TLS off a connection that moves, with the records that are to be sent first.
    pub(in crate::shard) fn pack_tls(&mut self, slot: u32) -> Option<Box<Tls>> {
        let connection = &mut self.slab[slot];
        let mut tls = connection.tls.take()?;
        if std::mem::take(&mut tls.sealed) {
            tls.carried = connection.outbox.pop_front(&mut self.spare).unwrap_or_default();
        }
        Some(tls)
    }

    /// Goes on with the TLS of a connection that has moved here, once it has its slot.
    pub(in crate::shard) fn unpack_tls(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        let Some(tls) = &mut connection.tls else { return };
        let carried = std::mem::take(&mut tls.carried);
        if !carried.is_empty() {
            connection.outbox.push_front(&carried, false, &mut self.spare);
            tls.sealed = true;
            self.mark_dirty(slot);
        }
    }

    /// Whether the peer of a connection that has moved here had already said that no more will come.
    pub(in crate::shard) fn had_ended(&self, slot: u32) -> bool {
        self.slab[slot].tls.as_ref().is_some_and(|tls| tls.ended)
    }
}
