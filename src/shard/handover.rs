//! Handing over to another process of the node: first nothing more is read and what was read is answered ([`Mail::Hold`]),
//! then connections between two requests live on there, whatever was read of the next one with them
//! ([`Mail::HandOver`]); where TLS is spoken, what is inside of it does ([`super::pipe`]). Sessions cannot move; they are
//! ended one after the other, see [`super::drain`].
//!
//! [`Mail::Hold`]: super::mailbox::Mail::Hold
//! [`Mail::HandOver`]: super::mailbox::Mail::HandOver

use super::Shard;
use super::connection::{Carrier, Phase, State};
use super::door::Admission;
use super::mailbox::{Adopted, Noted};
use super::net::Key;

/// Whose input is left in its socket.
#[derive(Debug, Default)]
pub enum Silence {
    /// Nobody's.
    #[default]
    None,
    /// Everybody's. The note is dropped as soon as everything is answered that was asked before.
    All(Option<Noted>),
    /// Of those who live on in the other process; these go at the end of the turn.
    Parting(Vec<Key>),
}

impl Silence {
    /// Whether it is anybody's.
    #[inline]
    pub fn is_any(&self) -> bool {
        !matches!(self, Silence::None)
    }
}

impl Shard {
    /// Whether input of the connection is not read now.
    #[inline]
    pub(super) fn is_silent(&self, slot: u32) -> bool {
        self.silence.is_any() && self.is_one_of_the_silent(slot)
    }

    #[cold]
    fn is_one_of_the_silent(&self, slot: u32) -> bool {
        match &self.silence {
            Silence::None => false,
            Silence::All(_) => match &self.slab[slot].carrier {
                Carrier::Http(http) => http.reader.can_take_unread(),
                Carrier::WebSocket(_) => true,
                Carrier::Stream(_) | Carrier::Pipe(_) | Carrier::Lingering => false,
            },
            Silence::Parting(_) => self.can_part(slot),
        }
    }

    /// Begins to read nothing and to accept nobody.
    pub(super) fn hold(&mut self, noted: Noted) {
        if self.drain.is_none() {
            self.silence = Silence::All(Some(noted));
            self.stop_listening();
        }
    }

    /// Goes on as before.
    pub(super) fn resume(&mut self) {
        if !matches!(self.silence, Silence::All(_)) {
            return;
        }
        self.silence = Silence::None;
        for listener in &mut self.listeners {
            listener.stopped = true; // the next tick starts it again
        }
        for slot in 0..self.slab.slots() {
            if self.slab[slot].state == State::Open {
                self.resume_reading(slot);
            }
        }
    }

    pub(super) fn stop_listening(&mut self) {
        for (at, listener) in self.listeners.iter_mut().enumerate() {
            if !std::mem::take(&mut listener.stopped) {
                self.net.unlisten(at as u16);
            }
        }
    }

    /// At the end of a turn: tells when all is answered, and lets those go who are to go.
    pub(super) fn hand_over_some(&mut self) {
        match &mut self.silence {
            Silence::None | Silence::All(None) => {}
            Silence::All(Some(_)) => {
                if self.is_quiet() {
                    self.silence = Silence::All(None);
                }
            }
            Silence::Parting(keys) => {
                for key in std::mem::take(keys) {
                    if self.slab.is(key) {
                        self.part_now(key.slot);
                    }
                }
            }
        }
    }

    /// Whether nobody waits for anything but publications.
    fn is_quiet(&self) -> bool {
        self.work.is_empty() && (0..self.slab.slots()).all(|slot| !self.is_busy(slot))
    }

    fn is_busy(&self, slot: u32) -> bool {
        let connection = &self.slab[slot];
        if connection.state != State::Open {
            return false;
        }
        let exchange = match &connection.carrier {
            Carrier::Http(http) if http.phase == Phase::Exchange => {
                connection.open && connection.subs.is_empty()
            }
            Carrier::Http(http) => !http.reader.can_take_unread(),
            _ => false,
        };
        exchange || connection.asked > 0
    }

    /// Whether the connection can live on in another process as soon as no request is open.
    fn can_part(&self, slot: u32) -> bool {
        let connection = &self.slab[slot];
        let Carrier::Http(http) = &connection.carrier else { return false };
        let is_refused = matches!(connection.admission, Admission::TurnedAway(_));
        let leaves = connection.finishing || connection.hung_up || is_refused;
        http.reader.can_take_unread() && !leaves
    }

    /// Begins to send everybody away, whoever can to `self.drain`'s successor. Who cannot and has not asked for anything
    /// leaves at once: what it asked for next might have to be refused here.
    pub(super) fn begin_parting(&mut self) {
        self.silence = Silence::Parting(Vec::new());
        for slot in 0..self.slab.slots() {
            let connection = &self.slab[slot];
            if connection.state != State::Open {
                continue;
            }
            if self.can_part(slot) {
                self.part_now(slot);
            } else if matches!(&connection.carrier, Carrier::Http(http) if http.phase == Phase::Idle)
                && !connection.unread
                && connection.stash.is_none()
            {
                self.finish(slot);
            } else {
                self.resume_reading(slot);
            }
        }
    }

    /// A request was answered while the node drains: the connection goes to the successor, or ends.
    pub(super) fn part(&mut self, slot: u32) {
        if !self.part_soon(slot) {
            self.finish(slot);
        }
    }

    /// Has the connection go to the successor at the end of the turn: pipelined requests may still be in somebody's
    /// hands. False: there is none, or it cannot.
    pub(super) fn part_soon(&mut self, slot: u32) -> bool {
        let can_part = self.can_part(slot);
        let key = self.slab.key(slot);
        match &mut self.silence {
            Silence::Parting(keys) if can_part => keys.push(key),
            _ => return false,
        }
        true
    }

    fn part_now(&mut self, slot: u32) {
        if self.slab[slot].state != State::Open || !self.can_part(slot) {
            return;
        }
        let connection = &mut self.slab[slot];
        let Carrier::Http(http) = &mut connection.carrier else { return };
        if http.phase == Phase::Exchange {
            return;
        }
        let Some(mut unread) = http.reader.take_unread() else { return };
        if let Some(mut stash) = connection.stash.take() {
            unread.append(&mut stash);
        }
        // Keys do not leave the process; whose handshake has not begun can begin it there.
        if self.slab[slot].tls.as_ref().is_some_and(|tls| tls.has_begun()) {
            self.pipe_away(slot, &unread);
        } else {
            self.move_away(slot, None, unread);
        }
    }

    /// Gives a connection to the successor, if there is one.
    pub(super) fn give_away(&self, adopted: Adopted) {
        if let Some(successor) = self.drain.as_ref().and_then(|drain| drain.successor.as_ref()) {
            // Who does not hear it is going down; the connection is closed.
            let _ = successor.send(adopted);
        }
    }

    /// Whether nobody can come any more. With a successor, whoever was accepted at the last moment goes there.
    pub(super) fn is_closed(&self) -> bool {
        self.drain.is_some() && !matches!(self.silence, Silence::Parting(_))
    }
}
