//! Stopping: no new connections, every session ended in its own way, spread over time so that the clients do not all
//! come back at the same moment.

use super::Shard;
use super::connection::{Carrier, Phase, State};
use super::mailbox::Successor;
use super::wheel::Tick;
use crate::dialect;
use crate::limits::{DRAIN_SESSIONS_PER_S, LINGER_MS};

/// A shard that is stopping.
#[derive(Debug)]
pub struct Drain {
    begun: Tick,
    /// Ticks over which sessions are ended.
    spread: Tick,
    /// After this everything is closed, whatever it is doing.
    end: Tick,
    /// Slots below are done.
    next: u32,
    slots: u32,
    /// Who takes connections between two requests.
    pub(super) successor: Option<Successor>,
}

impl Drain {
    /// Whether it was everybody's turn.
    pub(super) fn has_passed(&self) -> bool {
        self.next >= self.slots
    }
}

impl Shard {
    /// Begins to stop; everything is gone after `ms` and a short linger. With a successor, sessions are ended evenly
    /// over the time: their clients have somewhere to go, and nobody waits for this process.
    pub(super) fn start_drain(&mut self, ms: u64, successor: Option<Successor>) {
        if self.drain.is_some() {
            return;
        }
        self.stop_listening();
        let begun = self.wheel.now();
        let most_ms = ms * 4 / 5;
        let spread_ms = match &successor {
            Some(_) => most_ms,
            // Few sessions are ended at once; many take most of the time there is.
            None => most_ms.min(self.slab.live() as u64 * 1000 / DRAIN_SESSIONS_PER_S),
        };
        let spread = self.wheel.tick_in(spread_ms) - begun;
        let end = self.wheel.tick_in(ms.max(1));
        // Those in use are the first ones: the free ones behind them would take their time of the spread.
        let used = |slot: &u32| self.slab[*slot].state != State::Free;
        let slots = (0..self.slab.slots()).rev().find(used).map_or(0, |last| last + 1);
        let succeeded = successor.is_some();
        self.drain = Some(Drain { begun, spread, end, next: 0, slots, successor });
        if succeeded {
            self.begin_parting();
        } else {
            self.resume();
            self.listeners.clear();
        }
        self.drain_some();
    }

    /// Ends the sessions whose time has come.
    pub(super) fn drain_some(&mut self) {
        let now = self.wheel.now();
        let Some(drain) = &mut self.drain else { return };
        let passed = u64::from(now - drain.begun + 1);
        let until = if now >= drain.end {
            drain.slots
        } else {
            (u64::from(drain.slots) * passed / u64::from(drain.spread.max(1))).min(drain.slots.into()) as u32
        };
        let (from, force) = (drain.next, now >= drain.end);
        let why = match &drain.successor {
            Some(_) => dialect::Drain::Upgrade,
            None => dialect::Drain::Stop,
        };
        drain.next = until;
        // Who was in the middle of a request when its time came may have begun to listen since.
        let again = force || from >= drain.slots;
        for slot in if again { 0..self.slab.slots() } else { from..until } {
            if self.slab[slot].state != State::Open {
                continue;
            }
            if force {
                self.close_now(slot);
            } else if self.slab[slot].open {
                self.with_session(slot, |dialects, context, session| {
                    dialects.on_drain(context, session, why)
                });
            } else if !matches!(self.slab[slot].carrier, Carrier::Pipe(_)) && !self.is_receiving(slot) {
                self.finish(slot);
            }
        }
        // Who has something to ask comes away by itself with the answer: the longer it may, the fewer are cut off.
        if self.drain.as_ref().is_some_and(Drain::has_passed) {
            for slot in 0..self.slab.slots() {
                self.end_pipe(slot);
            }
        }
    }

    /// Whether a request is on its way in: it is still answered, and the connection closed after that.
    fn is_receiving(&self, slot: u32) -> bool {
        matches!(&self.slab[slot].carrier, Carrier::Http(http) if matches!(http.phase, Phase::Head | Phase::Body))
    }

    /// Whether the shard may leave: not while another one still has a connection, whose requests may be for a channel
    /// that lives here.
    pub(super) fn is_drained(&self) -> bool {
        let Some(drain) = &self.drain else { return false };
        let overdue = self.wheel.now() > drain.end + super::wheel::Wheel::tick_at(LINGER_MS);
        overdue || self.node.sum(|c| &c.sockets) == 0
    }
}
