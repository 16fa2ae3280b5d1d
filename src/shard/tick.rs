//! Everything that happens because time passes.

use super::Shard;
use super::accept::spare_fd;
use super::connection::{Carrier, Phase, State};
use super::door::Admission;
use super::wheel::Wheel;
use super::work::Work;
use crate::limits::{DEADLINES_PER_TURN, DUE_KEYS_KEPT, LINGER_MS};
use crate::wire::http::HttpError;
use crate::wire::ws::frame::{self, Opcode};
use std::os::fd::AsRawFd;
use tracing::warn;

impl Shard {
    /// Looks at what is due, some of it a turn: thousands of connections may come and so time out together. Called
    /// every turn; does everything else once per tick.
    pub(super) fn tick(&mut self) {
        let before = self.wheel.now();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now.mono_ms(), &mut due);
        let some = due.len().min(DEADLINES_PER_TURN);
        for key in due.drain(..some) {
            if self.slab.is(key) && self.slab[key.slot].state == State::Open {
                self.on_due(key.slot);
                self.run_work();
            }
        }
        if due.is_empty() && due.capacity() > DUE_KEYS_KEPT {
            due = Vec::new(); // a storm is over
        }
        self.due = due;
        if self.wheel.now() == before {
            return;
        }
        self.home_tick();
        self.sweep_store();
        self.listen_again();
        self.drain_some();
        self.run_work();
        self.report();
        self.renew_logs();
    }

    /// Lets the home do what time asks for.
    fn home_tick(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        self.home.tick(self.now, &mut effects);
        self.work.extend(effects.drain(..).map(Work::Effect));
        self.effects = effects;
    }

    fn on_due(&mut self, slot: u32) {
        let now = self.wheel.now();
        let connection = &mut self.slab[slot];
        if connection.in_wheel > now {
            return; // an earlier entry of a connection that has a later one
        }
        connection.in_wheel = 0;
        if connection.deadline != 0 && connection.deadline <= now {
            connection.deadline = 0;
            self.on_carrier_deadline(slot);
        }
        let connection = &mut self.slab[slot];
        let session_due = connection.session_deadline != 0 && connection.session_deadline <= now;
        if session_due && connection.state == State::Open && connection.open {
            connection.session_deadline = 0;
            self.with_session(slot, |dialects, context, session| dialects.on_deadline(context, session));
        }
        if self.slab[slot].state == State::Open {
            self.watch_deadline(slot);
        }
    }

    fn on_carrier_deadline(&mut self, slot: u32) {
        if self.slab[slot].admission != Admission::Admitted {
            return self.on_admission_deadline(slot);
        }
        if self.end_slow_handshake(slot) {
            return;
        }
        if self.is_still_taking(slot) && !matches!(self.slab[slot].carrier, Carrier::WebSocket(_)) {
            self.slab[slot].deadline = self.wheel.tick_in(LINGER_MS);
            return;
        }
        match &self.slab[slot].carrier {
            Carrier::Http(http) => match http.phase {
                Phase::Idle => self.finish(slot),
                Phase::Head => self.time_out(slot, "request head not complete in time"),
                Phase::Body => self.time_out(slot, "request body not complete in time"),
                Phase::Exchange => {}
            },
            Carrier::WebSocket(ws) if ws.closing => self.close_now(slot),
            Carrier::WebSocket(_) => self.ping(slot),
            Carrier::Lingering => {
                if !self.slab[slot].outbox.is_empty() {
                    self.tell_of_dead_peer(slot);
                }
                self.close_now(slot);
            }
            Carrier::Stream(_) | Carrier::Pipe(_) => {}
        }
    }

    /// Whether the peer still takes what was sent before the deadline: a slow one is no dead one.
    fn is_still_taking(&self, slot: u32) -> bool {
        let connection = &self.slab[slot];
        let idle = self.wheel.now().saturating_sub(connection.heard);
        connection.blocked && idle < Wheel::tick_at(self.limits.stall_ms)
    }

    fn time_out(&mut self, slot: u32, reason: &'static str) {
        self.refuse_request(slot, HttpError { status: 408, reason });
    }

    /// Nothing was heard for the ping interval: asks, and gives up when the last question was not answered.
    fn ping(&mut self, slot: u32) {
        let now = self.wheel.now();
        let Carrier::WebSocket(ws) = &self.slab[slot].carrier else { return };
        let interval = self.wheel.tick_in(u64::from(ws.ping_interval_ms)) - now;
        let (pinged, heard) = (ws.pinged, self.slab[slot].heard);
        if heard.saturating_add(interval) > now && !pinged {
            self.slab[slot].deadline = heard + interval;
            return;
        }
        let pong = self.wheel.tick_in(self.limits.pong_ms);
        if pinged && self.is_still_taking(slot) {
            self.slab[slot].deadline = pong; // the ping may still wait behind what it takes
            return;
        }
        if pinged {
            self.refuse(slot, "ping_timeout", "websocket closed: no answer to a ping");
            return self.close_now(slot);
        }
        if let Carrier::WebSocket(ws) = &mut self.slab[slot].carrier {
            ws.pinged = true;
        }
        self.slab[slot].deadline = pong.min(now + interval);
        self.queue_control(slot, frame::encode(Opcode::Ping, false, &[]));
    }

    /// Starts accepting again where it had stopped.
    fn listen_again(&mut self) {
        if self.spare_fd.is_none() {
            // Another thread was quicker when it was given up for a moment.
            self.spare_fd = self.listeners.first().and_then(|l| spare_fd(&l.fd));
        }
        for (at, listener) in self.listeners.iter_mut().enumerate().filter(|(_, l)| l.stopped) {
            listener.stopped = false;
            if let Err(error) = self.net.listen(listener.fd.as_raw_fd(), at as u16) {
                warn!(%error, "cannot listen");
                listener.stopped = true;
            }
        }
    }

    /// Brings the figures up to date that are not counted as they change.
    fn report(&mut self) {
        self.counters.channels.set(self.home.channels() as u64);
        self.counters.history_bytes.set(self.home.history_bytes() as u64);
        self.counters.stored.set(self.home.stored() as u64);
        self.counters.mailed.set(self.post.sent());
        self.counters.mail_waiting.set(self.post.waiting() as u64);
        self.counters.alive_ms.set(self.now.mono_ms());
    }
}
