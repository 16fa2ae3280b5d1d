//! Bytes from peers: recv into the shard's one buffer, parse in place, hand over.

use super::Shard;
use super::connection::{Carrier, Inflate, Phase, State};
use super::door::Admission;
use super::inflow::TooFast;
use super::net::Key;
use super::simulated;
use crate::dialect::session::Message;
use crate::limits::{HTTP_PIPELINE_BYTES, RECV_BYTES, RECVS_PER_TURN};
use crate::wire::http::HttpError;
use crate::wire::http::request::{self, Lines, Method, Request};
use crate::wire::http::response::{CONTINUE, Context, Response};
use crate::wire::ws::close::{self, Fault, RATIO};
use crate::wire::ws::deflate::Inflater;
use crate::wire::ws::frame::{self, Opcode};
use crate::wire::ws::reader::Event;
use bytes::Bytes;
use std::io;
use std::os::fd::RawFd;

const NO_SUCH_SHARD: HttpError = HttpError { status: 404, reason: "no such shard" };

/// What to do with the bytes behind a request.
enum Next {
    /// Read on.
    Go,
    /// An exchange is open: keep them.
    Wait,
    /// The connection is no longer one of requests.
    Other,
    /// Nobody is there.
    Gone,
}

/// One recv(2) that does not wait. Returns what has come, 0 at the end, or less with the error in errno.
#[inline]
pub(super) fn recv(fd: RawFd, buffer: &mut [u8]) -> libc::c_long {
    if simulated::is_on() {
        return simulated::receive(fd, buffer);
    }
    // Not recv(3), which makes itself a cancellation point on the way in and out: two locked instructions.
    // SAFETY: the kernel writes at most `buffer.len()` bytes into a live buffer; no address is asked for.
    unsafe {
        let (fd, flags) = (libc::c_long::from(fd), libc::c_long::from(libc::MSG_DONTWAIT));
        let (start, null) = (buffer.as_mut_ptr(), std::ptr::null_mut::<u8>());
        libc::syscall(libc::SYS_recvfrom, fd, start, buffer.len(), flags, null, null)
    }
}

impl Shard {
    /// There is input, or the end of it.
    pub(super) fn on_readable(&mut self, slot: u32, hangup: bool) {
        if self.slab[slot].state != State::Open {
            return;
        }
        self.slab[slot].ending |= hangup;
        if self.is_paused(slot) {
            self.slab[slot].unread = true;
            // A held poll may never end: nothing would ever be read behind it, not even that its client is gone.
            if self.slab[slot].ending && self.in_exchange(slot) && self.slab[slot].asked == 0 {
                self.on_end_of_input(slot);
            }
            return;
        }
        let key = self.slab.key(slot);
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() {
            scratch = vec![0; RECV_BYTES].into_boxed_slice(); // a caught panic has lost it
        }
        self.slab[slot].unread = false;
        if !self.slab[slot].blocked {
            self.slab[slot].heard = self.wheel.now(); // else what counts is that the peer takes something
        }
        let mut more = true;
        for _ in 0..RECVS_PER_TURN {
            more = self.receive(key, &mut scratch);
            if !more {
                break;
            }
        }
        self.scratch = scratch;
        if more {
            self.slab[slot].unread = true;
            self.again.push(key);
        }
    }

    /// One recv(2). Returns whether there may be more to read now.
    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> bool {
        let slot = key.slot;
        let header = self.slab[slot].admission == Admission::Header;
        if self.slab[slot].tls.is_some() && !header {
            return self.receive_tls(key, scratch);
        }
        let received = recv(self.slab[slot].fd, scratch);
        if received < 0 {
            return self.recv_failed(slot);
        }
        let len = received as usize;
        if len == 0 {
            self.on_end_of_input(slot);
            self.run_work();
            return false;
        }
        self.counters.bytes_in.add(len as u64);
        if header {
            let at = self.read_proxy_header(slot, &scratch[..len], true).unwrap_or(len);
            if at < len {
                self.on_bytes_behind_header(slot, &mut scratch[at..len]);
            }
        } else if self.takes_bytes(slot, len) {
            self.on_bytes(slot, &mut scratch[..len]);
        }
        self.run_work();
        if !self.slab.is(key) || self.slab[slot].state != State::Open {
            return false;
        }
        if self.is_paused(slot) {
            self.slab[slot].unread = true;
            return false;
        }
        // A short read has emptied the socket, and what comes later is another event; but the end of the input that
        // came with the data is not.
        len == scratch.len() || self.slab[slot].ending
    }

    /// What came in one piece with a PROXY header, behind it.
    pub(super) fn on_bytes_behind_header(&mut self, slot: u32, bytes: &mut [u8]) {
        if self.slab[slot].tls.is_some() {
            self.on_records(slot, bytes, 0)
        } else {
            self.on_bytes(slot, bytes)
        }
    }

    /// There was nothing to read, or the connection is broken. Returns whether to try again now.
    pub(super) fn recv_failed(&mut self, slot: u32) -> bool {
        let kind = io::Error::last_os_error().kind();
        if kind == io::ErrorKind::TimedOut {
            self.tell_of_dead_peer(slot);
        }
        if !matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            self.close_now(slot);
        }
        kind == io::ErrorKind::Interrupted
    }

    /// Whether enough waits behind the open exchange, or the peer does not take its answers.
    #[inline]
    pub(super) fn is_paused(&self, slot: u32) -> bool {
        let connection = &self.slab[slot];
        // Asked after each recv(2): nearly all have nothing of what could pause them.
        let may_be = connection.blocked
            || connection.stash.is_some()
            || self.silence.is_any()
            || matches!(connection.carrier, Carrier::Pipe(_));
        may_be && self.is_really_paused(slot)
    }

    #[cold]
    fn is_really_paused(&self, slot: u32) -> bool {
        let connection = &self.slab[slot];
        connection.stash.as_ref().is_some_and(|stash| stash.len() >= HTTP_PIPELINE_BYTES)
            || (connection.blocked && matches!(connection.carrier, Carrier::Http(_)))
            || self.is_silent(slot)
            || self.is_pipe_full(slot)
    }

    /// Whether the next request has to wait.
    fn is_held_back(&self, slot: u32) -> bool {
        let connection = &self.slab[slot];
        matches!(&connection.carrier, Carrier::Http(http)
            if connection.blocked || http.phase == Phase::Exchange || self.is_silent(slot))
    }

    fn in_exchange(&self, slot: u32) -> bool {
        matches!(&self.slab[slot].carrier, Carrier::Http(http) if http.phase == Phase::Exchange)
    }

    /// Connections whose input was put off: what was kept first, then the socket.
    pub(super) fn on_again(&mut self, key: Key) {
        if !self.slab.is(key) || self.slab[key.slot].state != State::Open {
            return;
        }
        if !self.is_held_back(key.slot)
            && let Some(mut stash) = self.slab[key.slot].stash.take()
        {
            self.on_bytes(key.slot, &mut stash);
            self.run_work();
        }
        if !self.slab.is(key) {
            return;
        }
        let connection = &self.slab[key.slot];
        if connection.unread {
            self.on_readable(key.slot, false);
        } else if connection.hung_up && connection.stash.is_none() {
            self.on_end_of_input(key.slot); // nothing is left before the end
        }
    }

    /// Bytes have come.
    pub(super) fn on_bytes(&mut self, slot: u32, bytes: &mut [u8]) {
        if let Some(stash) = &mut self.slab[slot].stash {
            // What was put off comes first.
            stash.extend_from_slice(bytes);
            if !self.is_held_back(slot)
                && let Some(mut stash) = self.slab[slot].stash.take()
            {
                self.on_bytes(slot, &mut stash);
            }
            return;
        }
        match &self.slab[slot].carrier {
            Carrier::Http(_) if self.is_held_back(slot) => self.keep(slot, bytes),
            Carrier::Http(_) => self.read_requests(slot, bytes),
            Carrier::WebSocket(_) => self.read_frames(slot, bytes),
            Carrier::Pipe(to) => self.pass_on(*to, bytes),
            Carrier::Stream(_) | Carrier::Lingering => {}
        }
    }

    /// The peer will send no more.
    pub(super) fn on_end_of_input(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        connection.hung_up = true;
        let waits_for_answer = match &connection.carrier {
            // Who has shut down its side still wants to know what a home says; a held poll whose client is gone must
            // not be counted any longer.
            Carrier::Http(http) => http.phase == Phase::Exchange && connection.asked > 0,
            _ => false,
        };
        if waits_for_answer {
            return;
        }
        if connection.stash.is_some() && !self.in_exchange(slot) {
            return self.resume_reading(slot); // there is something left before the end
        }
        if let Carrier::Pipe(_) = self.slab[slot].carrier {
            return if self.slab[slot].tls.is_some() { self.end_pipe(slot) } else { self.close_now(slot) };
        }
        if self.drain_piped(slot) {
            return;
        }
        let connection = &self.slab[slot];
        if connection.outbox.is_empty() {
            self.close_now(slot);
        } else if !connection.finishing {
            self.end_exchange(slot);
            self.finish(slot);
        }
    }

    /// Keeps what came while an exchange is open, and tells the session once.
    fn keep(&mut self, slot: u32, bytes: &[u8]) {
        self.slab[slot].stash.get_or_insert_default().extend_from_slice(bytes);
        self.tell_of_next(slot);
    }

    /// Tells the session once that more has come. Not while a home's answer is on its way: it may be all that the
    /// session waits for, and then the next request is nobody's business.
    pub(super) fn tell_of_next(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        if !connection.open || connection.asked > 0 || connection.stash.is_none() {
            return;
        }
        let Carrier::Http(http) = &mut connection.carrier else { return };
        if http.phase == Phase::Exchange && !std::mem::replace(&mut http.told, true) {
            self.with_session(slot, |dialects, context, session| dialects.on_next_request(context, session));
        }
    }

    fn read_requests(&mut self, slot: u32, bytes: &mut [u8]) {
        let key = self.slab.key(slot);
        let Carrier::Http(http) = &mut self.slab[slot].carrier else { return };
        let mut reader = std::mem::take(&mut http.reader);
        let limits = self.limits.http;
        let mut lines = Lines::default();
        let mut at = 0;
        loop {
            let taken = if reader.is_at_start() { self.repeat(slot, &bytes[at..]) } else { 0 };
            at += taken;
            if taken == 0 {
                let step = match reader.step(&mut bytes[at..], &mut lines, &limits) {
                    Ok(step) => step,
                    Err(error) => return self.refuse_request(slot, error),
                };
                at += step.consumed;
                let request = match step.event {
                    None => break,
                    Some(request::Event::Continue) => {
                        self.queue_control(slot, Bytes::from_static(CONTINUE));
                        continue;
                    }
                    Some(request::Event::Request(mut request)) => {
                        request.keep_alive &= !self.slab[slot].piped;
                        request
                    }
                };
                self.on_request(slot, &request);
                if let Some(to) = self.move_to.take().map(usize::from) {
                    if to == self.id as usize || to >= self.post.shards() {
                        self.slab[slot].open = false;
                        return self.refuse_request(slot, NO_SUCH_SHARD);
                    }
                    let mut unread = request::serialize(&request);
                    unread.extend_from_slice(&bytes[at..]);
                    return self.move_away(slot, Some(to), unread);
                }
                self.run_work();
            }
            // A few bytes of requests can ask for very long answers.
            if self.slab.is(key) && self.slab[slot].outbox.bytes() >= HTTP_PIPELINE_BYTES {
                self.send_now(slot);
            }
            match self.next_after_request(key) {
                Next::Go => {}
                Next::Gone => return,
                Next::Other => return self.on_bytes(slot, &mut bytes[at..]),
                Next::Wait => {
                    reader.release();
                    self.put_back(slot, reader);
                    if at < bytes.len() {
                        self.keep(slot, &bytes[at..]);
                    }
                    return;
                }
            }
        }
        self.watch_phase(slot, &reader);
        self.put_back(slot, reader);
    }

    fn next_after_request(&self, key: Key) -> Next {
        if !self.slab.is(key) {
            return Next::Gone;
        }
        let connection = &self.slab[key.slot];
        match &connection.carrier {
            _ if connection.state != State::Open || connection.finishing => Next::Gone,
            Carrier::Http(_) if self.is_held_back(key.slot) => Next::Wait,
            Carrier::Http(_) => Next::Go,
            Carrier::WebSocket(_) => Next::Other,
            Carrier::Stream(_) | Carrier::Pipe(_) | Carrier::Lingering => Next::Gone,
        }
    }

    fn put_back(&mut self, slot: u32, reader: request::Reader) {
        if let Carrier::Http(http) = &mut self.slab[slot].carrier {
            http.reader = reader;
        }
    }

    /// Sets the deadline when the reader has come into another part of a request: bytes alone do not extend it.
    fn watch_phase(&mut self, slot: u32, reader: &request::Reader) {
        let (phase, ms) = if reader.in_body() {
            (Phase::Body, self.limits.body_ms)
        } else if reader.in_head() {
            (Phase::Head, self.limits.header_ms)
        } else {
            (Phase::Idle, self.limits.idle_ms)
        };
        let deadline = self.wheel.tick_in(ms);
        if let Admission::TurnedAway(_) = self.slab[slot].admission {
            return; // it has no more time than it was given
        }
        let Carrier::Http(http) = &mut self.slab[slot].carrier else { return };
        if http.phase != phase {
            http.phase = phase;
            self.slab[slot].deadline = deadline;
            self.watch_deadline(slot);
        }
    }

    fn on_request(&mut self, slot: u32, request: &Request<'_>) {
        self.counters.requests.add(1);
        let connection = &self.slab[slot];
        if (connection.for_others || connection.admission != Admission::Admitted)
            && self.on_special_request(slot, request)
        {
            return;
        }
        if let Some(why) = self.too_fast(slot) {
            return self.refuse_for_rate(slot, request, why);
        }
        let listener = self.slab[slot].listener;
        if let Some(response) = self.pages.answer(request, listener) {
            return self.respond(slot, &response, request);
        }
        let connection = &mut self.slab[slot];
        connection.open = true;
        connection.deadline = 0;
        connection.delivered = 0;
        if let Carrier::Http(http) = &mut connection.carrier {
            http.phase = Phase::Exchange;
            http.told = false;
        }
        let mut known = false;
        self.with_session(slot, |dialects, context, session| {
            known = dialects.on_request(context, session, request);
        });
        if known || self.move_to.is_some() {
            return;
        }
        let connection = &mut self.slab[slot];
        connection.open = false;
        if let Carrier::Http(http) = &mut connection.carrier {
            http.phase = Phase::Idle;
        }
        self.refuse(slot, "unknown_path", "no such location");
        let response = Response::new(404).body("text/plain", "no such location\n");
        self.respond(slot, &response, request);
    }

    /// Answers a request that no session takes.
    pub(super) fn respond(&mut self, slot: u32, response: &Response, request: &Request<'_>) {
        self.respond_with(slot, response, request, &[]);
    }

    /// The same with further header lines.
    pub(super) fn respond_with(
        &mut self,
        slot: u32,
        response: &Response,
        request: &Request<'_>,
        lines: &[u8],
    ) {
        let date = self.date();
        let context = Context {
            head: request.method == Method::Head,
            minor_version: request.minor_version,
            keep_alive: request.keep_alive && self.drain.is_none(),
            date: Some(&date),
        };
        let mut out = Vec::new();
        response.write_with(&mut out, &context, lines);
        self.queue_control(slot, Bytes::from(out));
        if !response.keeps_alive(&context) {
            return self.finish(slot);
        }
        self.slab[slot].deadline = self.wheel.tick_in(self.limits.idle_ms);
        if let Carrier::Http(http) = &mut self.slab[slot].carrier {
            http.phase = Phase::Idle; // a part of the next request in the same packet starts its own deadline
        }
        self.watch_deadline(slot);
    }

    /// Answers what is no request, or over a limit, and closes.
    pub(super) fn refuse_request(&mut self, slot: u32, error: HttpError) {
        let label = match error.status {
            408 => "http_timeout",
            413 => "http_body",
            414 => "http_target",
            431 => "http_head",
            _ => "http_syntax",
        };
        self.refuse(slot, label, error.reason);
        let date = self.date();
        let context = Context { head: false, minor_version: 1, keep_alive: false, date: Some(&date) };
        let body = format!("{}\n", error.reason);
        let mut out = Vec::new();
        Response::new(error.status).body("text/plain", body).write(&mut out, &context);
        self.queue_control(slot, Bytes::from(out));
        self.finish(slot);
    }

    fn read_frames(&mut self, slot: u32, bytes: &mut [u8]) {
        let key = self.slab.key(slot);
        let Carrier::WebSocket(ws) = &mut self.slab[slot].carrier else { return };
        ws.pinged = false;
        let mut reader = std::mem::take(&mut ws.reader);
        let mut inflate = std::mem::replace(&mut ws.inflate, Inflate::Off);
        // A caught panic may have lost it.
        let mut shared = self.inflater.take().or_else(|| Some(Box::new(Inflater::new(false))));
        let limits = self.limits.ws;
        let mut at = 0;
        loop {
            let inflater = match &mut inflate {
                Inflate::Off => None,
                Inflate::Shared => shared.as_deref_mut(),
                Inflate::Own(own) => Some(&mut **own),
            };
            let event = match reader.step(&mut bytes[at..], &limits, inflater) {
                Ok(step) => {
                    at += step.consumed;
                    step.event
                }
                Err(fault) => {
                    self.fail_websocket(slot, fault);
                    break;
                }
            };
            let Some(event) = event else { break };
            self.on_frame(slot, event);
            self.run_work();
            if !self.slab.is(key) || !matches!(self.slab[slot].carrier, Carrier::WebSocket(_)) {
                break;
            }
        }
        self.inflater = shared;
        if self.slab.is(key)
            && let Carrier::WebSocket(ws) = &mut self.slab[slot].carrier
        {
            ws.reader = reader;
            ws.inflate = inflate;
        }
    }

    fn on_frame(&mut self, slot: u32, event: Event<'_>) {
        if !matches!(event, Event::Close { .. })
            && let Some(why) = self.too_fast(slot)
        {
            return self.fail_websocket(slot, why.fault());
        }
        let message = match event {
            Event::Text(text) => Message::Text(text),
            Event::Binary(bytes) => Message::Binary(bytes),
            Event::Ping(payload) => {
                return self.queue_control(slot, frame::encode(Opcode::Pong, false, &[payload]));
            }
            Event::Pong(_) => return,
            Event::Close { code, .. } => return self.on_close_frame(slot, code),
        };
        let Carrier::WebSocket(ws) = &self.slab[slot].carrier else { return };
        if ws.closing {
            return; // RFC 6455 section 5.5.1: what comes after our close frame is of no use
        }
        self.counters.messages_in.add(1);
        self.with_session(slot, |dialects, context, session| dialects.on_message(context, session, message));
    }

    /// The peer has sent its close frame: echo it unless ours is out, then end the connection.
    fn on_close_frame(&mut self, slot: u32, code: Option<u16>) {
        let Carrier::WebSocket(ws) = &mut self.slab[slot].carrier else { return };
        if !std::mem::replace(&mut ws.closing, true) {
            let echo = code.map_or_else(close::encode_empty, |code| close::encode(code, ""));
            self.queue_control(slot, echo);
        }
        self.end_exchange(slot);
        self.finish(slot);
    }

    /// The peer broke the protocol or a limit.
    pub(super) fn fail_websocket(&mut self, slot: u32, fault: Fault) {
        let label = match fault {
            _ if fault == TooFast::Messages.fault() => TooFast::Messages.label(),
            _ if fault == TooFast::Bytes.fault() => TooFast::Bytes.label(),
            RATIO => "websocket_ratio",
            Fault { code: close::TOO_BIG, .. } => "websocket_message",
            Fault { code: close::POLICY, .. } => "websocket_fragments",
            Fault { code: close::INVALID_PAYLOAD, .. } => "websocket_utf8",
            _ => "websocket_protocol",
        };
        self.refuse(slot, label, fault.reason);
        let Carrier::WebSocket(ws) = &mut self.slab[slot].carrier else { return };
        if !std::mem::replace(&mut ws.closing, true) {
            self.queue_control(slot, close::encode(fault.code, fault.reason));
        }
        self.end_exchange(slot);
        self.finish(slot);
    }
}
