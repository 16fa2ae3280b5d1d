//! Who may go on: PROXY headers, limits by address, and what is told to those who are over a limit.

use super::Shard;
use super::accept::peer_address;
use super::addresses::address_number;
use super::connection::{Carrier, Phase, State};
use super::door::{Admission, Excess};
use super::mailbox::Adopted;
use crate::limits::{TURNED_AWAY_MS, TURNED_AWAY_RETRY_AFTER_S};
use crate::wire::http::accept::accepts_contains;
use crate::wire::http::forwarded;
use crate::wire::http::request::{Method, Request};
use crate::wire::http::response::{Context, Response};
use crate::wire::proxy::Source;
use bytes::Bytes;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use tracing::warn;

impl Shard {
    /// Whether anything depends on the addresses of peers.
    pub(super) fn counts_addresses(&self) -> bool {
        self.limits.connections_per_address > 0 || self.rules.rate.is_some()
    }

    /// Counts a connection of `address` if it is within the limits; returns the number that it is counted under.
    pub(super) fn admit(&self, address: Option<SocketAddr>) -> Result<u32, Excess> {
        let number = address_number(address);
        if number == 0 || !self.counts_addresses() {
            return Ok(0);
        }
        if self.rules.rate.as_ref().is_some_and(|rate| !rate.admit(number, self.now.mono_ns)) {
            return Err(Excess::Rate);
        }
        if self.limits.connections_per_address == 0 {
            return Ok(0);
        }
        let limit = self.limits.connections_per_address;
        if self.rules.addresses.admit(number, limit) { Ok(number) } else { Err(Excess::PerAddress) }
    }

    /// Counts a connection of `address` whatever the limits say.
    fn count(&self, address: Option<SocketAddr>) -> u32 {
        let number = address_number(address);
        if number == 0 || self.limits.connections_per_address == 0 {
            return 0;
        }
        self.rules.addresses.admit(number, usize::MAX);
        number
    }

    /// Whether connections by this listener begin with a PROXY header.
    pub(super) fn takes_header(&self, listener: u16) -> bool {
        self.doors.get(usize::from(listener)).is_some_and(|door| door.proxy_protocol)
    }

    /// A connection for another process, which finds out by itself what it is: what a PROXY header has said is said to
    /// it again.
    pub(super) fn as_arriving(&self, adopted: Adopted) -> Adopted {
        let Adopted { fd, listener, mut unread, unsent, address, piped, client, .. } = adopted;
        let mut arriving = Adopted { unsent, address, piped, ..Adopted::new(fd, listener) };
        if piped || self.takes_header(listener) {
            let mut bytes = client.map_or_else(Vec::new, |client| client.header());
            bytes.append(&mut unread);
            (arriving.unread, arriving.address) = (bytes, 0);
        } else {
            arriving.unread = unread;
        }
        arriving
    }

    /// What this process makes of a connection that another one had.
    pub(super) fn look_anew(&self, adopted: &mut Adopted) {
        adopted.admission = Admission::Admitted;
        if adopted.piped || self.takes_header(adopted.listener) {
            adopted.admission = Admission::Header;
        } else if self.rules.forwarded.is_some() {
            adopted.for_others = self.speaks_for_others(peer_address(adopted.fd.as_raw_fd()));
        }
    }

    /// Whether a peer's own address says nothing of whose connection it is: that stands in its requests.
    pub(super) fn speaks_for_others(&self, peer: Option<SocketAddr>) -> bool {
        self.rules.forwarded.is_some() && self.rules.trusted.contains(peer.map(|peer| peer.ip()))
    }

    /// A seat for a connection over a limit, in which it is heard before it is turned away; there are only so many.
    pub(super) fn has_seat(&self) -> bool {
        self.counters.turned_away.get() < self.rules.turned_away as u64
    }

    /// Takes a seat.
    pub(super) fn seat(&mut self, slot: u32, excess: Excess) {
        self.counters.turned_away.add(1);
        self.slab[slot].admission = Admission::TurnedAway(excess);
        self.slab[slot].deadline = self.wheel.tick_in(TURNED_AWAY_MS);
        self.watch_deadline(slot);
    }

    /// Gives back what a connection was counted for.
    pub(super) fn dismiss(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        if let Admission::TurnedAway(_) = std::mem::take(&mut connection.admission) {
            self.counters.turned_away.sub(1);
        }
        let address = std::mem::take(&mut connection.address);
        if address != 0 {
            self.rules.addresses.release(address);
        }
    }

    fn refuse_excess(&self, slot: u32, excess: Excess) {
        self.refuse(slot, excess.label(), "connection refused");
    }

    /// Reads the PROXY header that a connection begins with. Returns where in `bytes` it ends, once it does.
    /// `fresh`: it is not one that another process had admitted already.
    pub(super) fn read_proxy_header(&mut self, slot: u32, bytes: &[u8], fresh: bool) -> Option<usize> {
        match self.clients.header(slot).step(bytes) {
            Ok(None) => None,
            Ok(Some((taken, source))) => {
                self.on_source(slot, source, fresh);
                (self.slab[slot].state == State::Open).then_some(taken)
            }
            Err(fault) => {
                self.refuse_proxy(slot, fault.0);
                None
            }
        }
    }

    fn refuse_proxy(&mut self, slot: u32, fault: &'static str) {
        self.refuse(slot, "proxy_header", fault);
        self.close_now(slot);
    }

    /// A PROXY header has come: from here on its client counts.
    fn on_source(&mut self, slot: u32, source: Source, fresh: bool) {
        self.clients.set_source(slot, source);
        let client = self.clients.peer(slot, self.slab[slot].fd).connected();
        let first = self.handshake_ms(slot).unwrap_or(self.limits.header_ms);
        let header = self.wheel.tick_in(first);
        let for_others = source != Source::Unix && self.speaks_for_others(client);
        // A proxy that speaks for itself asks whether the node is well.
        let admitted = match source {
            _ if source == Source::Peer || for_others => Ok(0),
            _ if fresh => self.admit(client),
            _ => Ok(self.count(client)),
        };
        let connection = &mut self.slab[slot];
        connection.admission = Admission::Admitted;
        connection.for_others = for_others;
        connection.deadline = header;
        self.watch_deadline(slot);
        match admitted {
            Ok(number) => self.slab[slot].address = number,
            Err(excess) => {
                self.refuse_excess(slot, excess);
                if self.has_seat() {
                    return self.seat(slot, excess);
                }
                self.answer_excess(slot, excess, false, &[]);
                self.send_now(slot);
                self.close_now(slot);
            }
        }
    }

    /// A request has come whose connection is not like others: it is over a limit, or carries those of a proxy's
    /// clients. True: the request was answered.
    pub(super) fn on_special_request(&mut self, slot: u32, request: &Request<'_>) -> bool {
        let connection = &self.slab[slot];
        let excess = match connection.admission {
            Admission::TurnedAway(excess) => Some(excess),
            _ if connection.for_others => self.on_forwarded(slot, request),
            _ => None,
        };
        let Some(excess) = excess else { return false };
        if !request.upgrade_websocket {
            let lines = self.dialects.cross_origin(self.slab[slot].listener, request);
            self.answer_excess(slot, excess, request.method == Method::Head, &lines);
            return true;
        }
        // Browsers do not tell a page why a handshake failed: it is taken, and its end says why. No session begins, so
        // none is told of its end.
        let connection = &mut self.slab[slot];
        connection.deadline = 0;
        if let Carrier::Http(http) = &mut connection.carrier {
            http.phase = Phase::Exchange;
        }
        self.with_session(slot, |dialects, context, _| dialects.turn_away(context, request, excess.reason()));
        true
    }

    /// Notes whom a request comes from. What lasts (WebSockets and event streams) counts as a connection of that
    /// address.
    fn on_forwarded(&mut self, slot: u32, request: &Request<'_>) -> Option<Excess> {
        let kind = self.rules.forwarded?;
        let trusted = |ip| self.rules.trusted.contains(Some(ip));
        let client = forwarded::client(&request.headers, kind, trusted).unwrap_or_else(|_| {
            if self.counters.refuse("forwarded_header") {
                warn!(reason = "forwarded_header", "a proxy's header was ignored: it names no address");
            }
            None
        });
        self.clients.set_forwarded(slot, client);
        self.dismiss(slot); // what the last request was counted for
        let lasts = request.upgrade_websocket
            || request.headers.all("accept").any(|value| accepts_contains(value, b"text/event-stream"));
        if !lasts || !self.counts_addresses() {
            return None;
        }
        let address = self.clients.peer(slot, self.slab[slot].fd).address();
        match self.admit(address) {
            Ok(number) => {
                self.slab[slot].address = number;
                None
            }
            Err(excess) => {
                self.refuse_excess(slot, excess);
                Some(excess)
            }
        }
    }

    /// A connection was refused and has said nothing, or its PROXY header did not come.
    pub(super) fn on_admission_deadline(&mut self, slot: u32) {
        match self.slab[slot].admission {
            Admission::TurnedAway(excess) if matches!(self.slab[slot].carrier, Carrier::Http(_)) => {
                self.answer_excess(slot, excess, false, &[]);
            }
            Admission::Header => self.refuse_proxy(slot, "it did not come in time"),
            _ => self.close_now(slot),
        }
    }

    /// Says that it is too much, and ends the connection.
    fn answer_excess(&mut self, slot: u32, excess: Excess, head: bool, lines: &[u8]) {
        let date = self.date();
        let context = Context { head, minor_version: 1, keep_alive: false, date: Some(&date) };
        let mut out = Vec::new();
        self.excess_answer(excess).write_with(&mut out, &context, lines);
        self.queue_control(slot, Bytes::from(out));
        self.finish(slot);
    }

    /// What is said to a connection over a limit, or to a request.
    fn excess_answer(&self, excess: Excess) -> Response {
        let wait_s = match (excess, &self.rules.rate) {
            (Excess::Rate, Some(rate)) => rate.retry_after_s(),
            _ => TURNED_AWAY_RETRY_AFTER_S,
        };
        Response::new(excess.status())
            .number("Retry-After", wait_s)
            .body("text/plain", format!("{}\n", excess.reason()))
    }
}
