//! A connection: a plain struct in the shard's slab, no task and no buffer of its own.

use crate::channel::SessionId;
use crate::channel::members::Subscription;
use crate::dialect::{Session, Sessions, SlowConsumer, Standing};
use crate::shard::counters;
use crate::shard::door::Admission;
use crate::shard::net::Key;
use crate::shard::outbox::Outbox;
use crate::shard::tls::Tls;
use crate::shard::wheel::Tick;
use crate::wire::http::request;
use crate::wire::ws::deflate::Inflater;
use crate::wire::ws::reader;
use std::os::fd::RawFd;

/// What a connection is in the middle of.
#[derive(Debug)]
pub enum Carrier {
    /// HTTP/1.1 requests.
    Http(Http),
    /// WebSocket frames.
    WebSocket(WebSocket),
    /// A response without end; input is ignored.
    Stream(SlowConsumer),
    /// Plaintext for or of another process, which is passed on to this connection ([`super::pipe`]).
    Pipe(Key),
    /// Everything is said; the peer's end of stream is awaited.
    Lingering,
}

/// Reading requests.
#[derive(Debug, Default)]
pub struct Http {
    /// The reader.
    pub reader: request::Reader,
    /// Where in a request it is, for the deadline.
    pub phase: Phase,
    /// The session was told that more has come.
    pub told: bool,
    /// What the next request with the same head means.
    pub standing: Option<Box<Standing>>,
    /// Requests in a row that came with another head.
    pub misses: u8,
}

/// What the deadline of an HTTP connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come of the next request.
    #[default]
    Idle,
    /// A part of the head.
    Head,
    /// The head, and perhaps a part of the body.
    Body,
    /// A request is being answered.
    Exchange,
}

/// Reading frames.
#[derive(Debug)]
pub struct WebSocket {
    /// The reader.
    pub reader: reader::Reader,
    /// For compressed messages.
    pub inflate: Inflate,
    /// See [`crate::dialect::Upgrade::ping_interval_ms`].
    pub ping_interval_ms: u32,
    /// See [`SlowConsumer`].
    pub slow: SlowConsumer,
    /// A ping was sent and nothing was heard since.
    pub pinged: bool,
    /// Our close frame is sent or queued.
    pub closing: bool,
}

/// Who inflates a connection's messages.
#[derive(Debug)]
pub enum Inflate {
    /// Nobody: the extension was not negotiated.
    Off,
    /// The shard's inflater: nothing is kept between messages.
    Shared,
    /// Its own: the peer's window goes on from message to message.
    Own(Box<Inflater>),
}

/// One subscription with the session's name for it.
#[derive(Debug)]
pub struct Sub {
    /// Exchange and tag, as in [`crate::channel::Token::tag`].
    pub tag: u32,
    /// Its state.
    pub subscription: Subscription,
}

/// A connection's subscriptions; almost always none or one.
#[derive(Debug, Default)]
pub enum Subs {
    /// None.
    #[default]
    None,
    /// One.
    One(Sub),
    /// More.
    Many(Box<Vec<Sub>>),
}

impl Subs {
    /// All of them.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Sub> {
        match self {
            Subs::None => [].iter_mut(),
            Subs::One(sub) => std::slice::from_mut(sub).iter_mut(),
            Subs::Many(subs) => subs.iter_mut(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Subs::None => 0,
            Subs::One(_) => 1,
            Subs::Many(subs) => subs.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one with this tag.
    pub fn find(&mut self, tag: u32) -> Option<&mut Sub> {
        self.iter_mut().find(|sub| sub.tag == tag)
    }

    /// Adds one.
    pub fn push(&mut self, sub: Sub) {
        *self = match std::mem::take(self) {
            Subs::None => Subs::One(sub),
            Subs::One(first) => Subs::Many(Box::new(vec![first, sub])),
            Subs::Many(mut subs) => {
                subs.push(sub);
                Subs::Many(subs)
            }
        };
    }

    /// Forgets those with nothing left to do.
    pub fn forget_over(&mut self) {
        match self {
            Subs::One(sub) if sub.subscription.is_over() => *self = Subs::None,
            Subs::Many(subs) => {
                subs.retain(|sub| !sub.subscription.is_over());
                if subs.is_empty() {
                    *self = Subs::None;
                }
            }
            _ => {}
        }
    }
}

/// The life of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody's.
    Free,
    /// In use.
    Open,
    /// Torn down; the slot waits for the last completion and the last answer.
    Closing,
}

/// A slot of the slab.
#[derive(Debug)]
pub struct Connection {
    /// The socket; -1 when there is none.
    pub fd: RawFd,
    /// Counts the slot's tenants.
    pub generation: u32,
    /// Where it is in its life.
    pub state: State,
    /// Armed polls whose last completion is still to come.
    pub armed: u8,
    /// One of them is for room to write.
    pub output_armed: bool,
    /// On the list of those to be written to.
    pub dirty: bool,
    /// The socket takes no more; what is queued waits.
    pub blocked: bool,
    /// In the batch that is being submitted.
    pub sending: bool,
    /// A part of the first frame is on the wire.
    pub partly_sent: bool,
    /// Close when everything is sent.
    pub finishing: bool,
    /// The peer has ended its side.
    pub hung_up: bool,
    /// The kernel has told of that end, once; it is read after everything before it.
    pub ending: bool,
    /// Input is waiting that was not read.
    pub unread: bool,
    /// A session is in the middle of something: `on_closed` is owed.
    pub open: bool,
    /// Whether it may go on.
    pub admission: Admission,
    /// The peer is a proxy whose requests say whom they come from.
    pub for_others: bool,
    /// Its TLS is in an older process, which passes on what is inside until it ends. Its answer to the next request is the
    /// last one here: the client comes back on a connection of its own.
    pub piped: bool,
    /// The listener it came in by.
    pub listener: u16,
    /// Counts exchanges, so that an answer for an earlier one is recognised.
    pub exchange: u16,
    /// Answers of homes that are still to come.
    pub asked: u32,
    /// The address it is counted under.
    pub address: u32,
    /// Last tick at which something was heard of the peer.
    pub heard: Tick,
    /// Last tick at which a publication was put into the outbox; 0 = never.
    pub delivered: Tick,
    /// The carrier's deadline; 0 = none.
    pub deadline: Tick,
    /// The session's deadline; 0 = none.
    pub session_deadline: Tick,
    /// When the wheel will show it; 0 = not in the wheel.
    pub in_wheel: Tick,
    /// Its TLS, if its door asks for that.
    pub tls: Option<Box<Tls>>,
    /// What came while an exchange was open.
    #[allow(clippy::box_collection)] // eight bytes in every connection instead of 24
    pub stash: Option<Box<Vec<u8>>>,
    /// What is to be sent.
    pub outbox: Outbox,
    /// What is read.
    pub carrier: Carrier,
    /// Who thinks about it.
    pub session: Session,
    /// What it listens to.
    pub subs: Subs,
}

impl Connection {
    fn vacant() -> Connection {
        Connection {
            fd: -1,
            generation: 0,
            state: State::Free,
            armed: 0,
            output_armed: false,
            dirty: false,
            blocked: false,
            sending: false,
            partly_sent: false,
            finishing: false,
            hung_up: false,
            ending: false,
            unread: false,
            open: false,
            admission: Admission::Admitted,
            for_others: false,
            piped: false,
            listener: 0,
            exchange: 0,
            asked: 0,
            address: 0,
            heard: 0,
            delivered: 0,
            deadline: 0,
            session_deadline: 0,
            in_wheel: 0,
            tls: None,
            stash: None,
            outbox: Outbox::default(),
            carrier: Carrier::Lingering,
            session: Session::None,
            subs: Subs::None,
        }
    }

    /// For figures.
    pub fn kind(&self) -> counters::Carrier {
        match self.carrier {
            Carrier::Http(_) | Carrier::Pipe(_) | Carrier::Lingering => counters::Carrier::Http,
            Carrier::WebSocket(_) => counters::Carrier::WebSocket,
            Carrier::Stream(_) => counters::Carrier::Stream,
        }
    }

    /// What happens when the peer does not keep up.
    pub fn slow(&self) -> SlowConsumer {
        match &self.carrier {
            Carrier::WebSocket(ws) => ws.slow,
            Carrier::Stream(slow) => *slow,
            Carrier::Http(_) | Carrier::Pipe(_) | Carrier::Lingering => SlowConsumer::Close,
        }
    }

    /// Frames at the front of the outbox that cannot be dropped: the one that is on the wire in part, and with TLS the
    /// records that are ready.
    pub fn on_wire(&self) -> usize {
        let records = self.tls.as_ref().is_some_and(|tls| tls.sealed);
        usize::from(self.partly_sent) + usize::from(records)
    }

    /// The earlier of both deadlines; 0 = none.
    pub fn next_deadline(&self) -> Tick {
        match (self.deadline, self.session_deadline) {
            (0, other) | (other, 0) => other,
            (a, b) => a.min(b),
        }
    }
}

const PAGE: usize = 256;

/// All connections of a shard, in pages, so that growing moves nothing.
#[derive(Default)]
pub struct Slab {
    pages: Vec<Box<[Connection]>>,
    free: Vec<u32>,
    live: usize,
}

impl Slab {
    /// Slots in use.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Slots there are.
    pub fn slots(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }

    /// Takes a slot.
    pub fn insert(&mut self, fd: RawFd, listener: u16) -> Key {
        if self.free.is_empty() {
            let base = self.slots();
            self.pages.push((0..PAGE).map(|_| Connection::vacant()).collect());
            self.free.extend((base..base + PAGE as u32).rev());
        }
        let slot = self.free.pop().unwrap_or(0);
        self.live += 1;
        let connection = &mut self[slot];
        let generation = connection.generation;
        *connection = Connection::vacant();
        connection.generation = generation;
        connection.state = State::Open;
        connection.fd = fd;
        connection.listener = listener;
        connection.carrier = Carrier::Http(Http::default());
        Key { slot, generation }
    }

    /// Gives a slot back; whatever still carries its generation is for nobody.
    pub fn remove(&mut self, slot: u32) {
        let connection = &mut self[slot];
        debug_assert!(connection.state != State::Free);
        connection.state = State::Free;
        connection.generation = connection.generation.wrapping_add(1) & Key::GENERATION_MASK;
        connection.stash = None;
        connection.subs = Subs::None;
        connection.session = Session::None;
        connection.carrier = Carrier::Lingering;
        self.live -= 1;
        self.free.push(slot);
    }

    /// Whether this is still the tenant that was meant.
    pub fn is(&self, key: Key) -> bool {
        let page = self.pages.get(key.slot as usize / PAGE);
        page.is_some_and(|page| {
            let connection = &page[key.slot as usize % PAGE];
            connection.generation == key.generation && connection.state != State::Free
        })
    }

    /// The key of a slot's tenant.
    pub fn key(&self, slot: u32) -> Key {
        Key { slot, generation: self[slot].generation }
    }
}

impl Sessions for Slab {
    fn session(&self, id: SessionId) -> Option<&Session> {
        let session = (id.slot() < self.slots()).then(|| &self[id.slot()].session)?;
        (session.id() == Some(id)).then_some(session)
    }
}

impl std::ops::Index<u32> for Slab {
    type Output = Connection;

    fn index(&self, slot: u32) -> &Connection {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }
}

impl std::ops::IndexMut<u32> for Slab {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Connection {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        let size = size_of::<Connection>();
        assert!(size <= 256, "{size} bytes");
    }

    #[test]
    fn a_reused_slot_is_another_tenant() {
        let mut slab = Slab::default();
        let first = slab.insert(3, 0);
        slab.remove(first.slot);
        let second = slab.insert(4, 0);
        assert_eq!(first.slot, second.slot);
        assert!(!slab.is(first) && slab.is(second));
        assert_eq!(slab.live(), 1);
    }
}
