//! Carrying out what sessions want, and the one teardown of connections (design R3).

use super::Shard;
use super::connection::{Carrier, Inflate, State, Sub, Subs, WebSocket};
use super::door::Admission;
use super::mailbox::{Adopted, Mail};
use super::outbox::{Item, Overflow};
use super::simulated::{self, Socket};
use super::work::Work;
use crate::channel::command::{Command, ReplyTo, Token};
use crate::channel::hook::HookToken;
use crate::channel::members::{Form, Subscription};
use crate::channel::{Answer, ChannelKey, Effect, List, Refusal};
use crate::dialect::{Action, Session, Upgrade};
use crate::shard::net;
use crate::shard::tls::Tls;
use crate::wire::ws::close;
use crate::wire::ws::deflate::Inflater;
use bytes::Bytes;
use std::os::fd::{FromRawFd, RawFd};
use std::sync::Arc;

/// A connection that leaves for another shard as soon as its last completion is in.
#[derive(Debug)]
pub struct Moving {
    /// `None`: to the process that takes over.
    to: Option<usize>,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    tls: Option<Box<Tls>>,
    address: u32,
}

/// Exchange and tag in one number.
pub(super) fn tag_of(exchange: u16, tag: u16) -> u32 {
    u32::from(exchange) << 16 | u32::from(tag)
}

/// Ends one or both sides of a connection's socket, which it owns until it is released.
fn shutdown(fd: RawFd, how: i32) {
    if !simulated::is_on() {
        // SAFETY: plain system call; the descriptor is open.
        unsafe { libc::shutdown(fd, how) };
    } else {
        simulated::shutdown(fd, how);
    }
}

impl Shard {
    /// Carries out `actions` for the session of `slot`, in order.
    pub(super) fn carry_out(&mut self, slot: u32, actions: &mut Vec<Action>) {
        for action in actions.drain(..) {
            match action {
                Action::Send(bytes) => self.queue_control(slot, bytes),
                Action::Deliver(bytes) => {
                    self.counters.delivered.add(1);
                    self.queue_publication(slot, bytes, 0);
                }
                Action::Replay(bytes) => {
                    self.counters.delivered.add(1);
                    self.queue_replay(slot, bytes);
                }
                Action::Delivered => {
                    self.counters.delivered.add(1);
                    self.slab[slot].delivered = self.wheel.now();
                }
                Action::Done => self.done(slot),
                Action::Close => {
                    self.end_exchange(slot);
                    self.finish(slot);
                }
                Action::CloseWebSocket { code, reason } => self.close_websocket(slot, code, reason),
                Action::Upgrade(upgrade) => self.upgrade(slot, upgrade),
                Action::Stream { slow } => self.change_carrier(slot, Carrier::Stream(slow)),
                Action::Command { key, command, tag } => {
                    self.slab[slot].asked += 1;
                    let from = self.reply_to(slot, tag);
                    self.command(key, command, from);
                }
                Action::List { list, tag } => self.list_everywhere(slot, &list, tag),
                Action::Tell { key, command } => self.command(key, command, self.nobody()),
                Action::Subscribe { key, form, ask, tag } => {
                    self.subscribe(slot, key, form, Command::Subscribe(ask), tag);
                }
                Action::Unsubscribe { tag } => {
                    let tag = tag_of(self.slab[slot].exchange, tag);
                    self.leave(slot, Some(tag));
                }
                Action::Hook { call, tag } => {
                    let token = match tag {
                        Some(tag) => self.reply_to(slot, tag).token,
                        None => self.nobody().token,
                    };
                    let whom = HookToken {
                        shard: self.id,
                        slot: token.slot,
                        generation: token.generation,
                        tag: token.tag,
                    };
                    if let Err(failure) = self.caller.call(whom, *call)
                        && tag.is_some()
                    {
                        self.work.push_back(Work::Hook { token, answer: Box::new(Err(failure)) });
                    }
                }
                Action::Notify(notice) => {
                    if self.notifier.wants(notice.channel.app(), notice.what.kind()) {
                        self.notifier.notify(*notice);
                    }
                }
                Action::Store { job, tag } => {
                    let to = tag.map_or_else(|| self.nobody(), |tag| self.reply_to(slot, tag));
                    self.submit(*job, to);
                }
                Action::CreateApp { settings, tag } => {
                    let to = self.reply_to(slot, tag);
                    self.create_app(*settings, to);
                }
                Action::Count(seat) => {
                    self.seats.insert(slot, seat);
                }
                Action::Revoke { order, tag } => {
                    let to = self.reply_to(slot, tag);
                    self.order_revocation(*order, to);
                }
                Action::Deadline(ms) => {
                    let at = if ms == 0 { 0 } else { super::wheel::Wheel::tick_at(ms) };
                    self.slab[slot].session_deadline = at;
                    self.watch_deadline(slot);
                }
                Action::Stand(standing) => {
                    if let Carrier::Http(http) = &mut self.slab[slot].carrier {
                        http.standing = Some(standing);
                    }
                }
                Action::Move { shard } => self.move_to = Some(shard),
                Action::Refused { label, detail } => {
                    self.refuse(slot, label, &detail);
                }
            }
        }
    }

    fn reply_to(&self, slot: u32, tag: u16) -> ReplyTo {
        let connection = &self.slab[slot];
        let tag = tag_of(connection.exchange, tag);
        ReplyTo { shard: self.id, token: Token { slot, generation: connection.generation, tag } }
    }

    /// An asker whose answers are dropped.
    pub(super) fn nobody(&self) -> ReplyTo {
        ReplyTo::nobody(self.id)
    }

    /// Has a channel's home carry out a command: here, or by mail.
    pub(super) fn command(&mut self, key: Arc<ChannelKey>, command: Command, from: ReplyTo) {
        let home = key.home(self.post.shards());
        if home == self.id as usize {
            self.work.push_back(Work::Command { key, command, from });
            return;
        }
        if matches!(command, Command::Publish { .. }) && self.post.busy().contains(home) {
            let answer = Answer::Refused(Refusal::Busy);
            self.work.push_back(Work::Effect(Effect::Answer { to: from, answer }));
            return;
        }
        self.post.send(home, Mail::Command { key, command: Box::new(command), from });
    }

    /// Asks every shard; each answers for itself.
    fn list_everywhere(&mut self, slot: u32, list: &Arc<List>, tag: u16) {
        let from = self.reply_to(slot, tag);
        self.slab[slot].asked += self.post.shards() as u32;
        for shard in 0..self.post.shards() {
            if shard == self.id as usize {
                self.list(list, from);
            } else {
                self.post.send(shard, Mail::List { list: list.clone(), from });
            }
        }
    }

    fn subscribe(&mut self, slot: u32, key: Arc<ChannelKey>, form: Form, command: Command, tag: u16) {
        let from = self.reply_to(slot, tag);
        let connection = &mut self.slab[slot];
        connection.asked += 1;
        if connection.subs.len() >= self.limits.subscriptions {
            let answer = Answer::Refused(Refusal::TooManySubscriptions);
            self.work.push_back(Work::Effect(Effect::Answer { to: from, answer }));
            return;
        }
        let subscription = Subscription::asked(key.clone(), form);
        connection.subs.push(Sub { tag: from.token.tag, subscription });
        self.command(key, command, from);
    }

    /// Leaves the subscription `tag`, or all of them.
    pub(super) fn leave(&mut self, slot: u32, tag: Option<u32>) {
        let tags: Vec<u32> = match (&mut self.slab[slot].subs, tag) {
            (Subs::None, _) => return,
            (_, Some(tag)) => return self.leave_one(slot, tag),
            (Subs::One(sub), None) => {
                let tag = sub.tag;
                return self.leave_one(slot, tag);
            }
            (Subs::Many(subs), None) => subs.iter().map(|sub| sub.tag).collect(),
        };
        for tag in tags {
            self.leave_one(slot, tag);
        }
    }

    fn leave_one(&mut self, slot: u32, tag: u32) {
        let Some(sub) = self.slab[slot].subs.find(tag) else { return };
        let was_joined = sub.subscription.is_joined();
        let (command, moved) = sub.subscription.leave(&mut self.members);
        let key = sub.subscription.key.clone();
        self.slab[slot].subs.forget_over();
        if was_joined {
            self.counters.subscriptions.sub(1);
        }
        if let Some((member, seat)) = moved
            && let Some(other) = self.slab[member.slot].subs.find(member.tag)
        {
            other.subscription.moved(seat);
        }
        if let Some(command) = command {
            self.command(key, command, self.nobody());
        }
    }

    /// The exchange is complete.
    fn done(&mut self, slot: u32) {
        self.leave(slot, None);
        self.unseat(slot);
        let now = self.wheel.now();
        let idle = self.wheel.tick_in(self.limits.idle_ms);
        let connection = &mut self.slab[slot];
        connection.session = Session::None;
        connection.open = false;
        connection.exchange = connection.exchange.wrapping_add(1);
        connection.session_deadline = 0;
        connection.deadline = idle;
        connection.heard = now;
        let connection = &mut self.slab[slot];
        if let Carrier::Http(http) = &mut connection.carrier {
            http.phase = super::connection::Phase::Idle;
            http.told = false;
        }
        if self.drain.is_some() {
            return self.part(slot);
        }
        self.resume_reading(slot);
        self.watch_deadline(slot);
    }

    /// Comes back to input that was put off.
    pub(super) fn resume_reading(&mut self, slot: u32) {
        let connection = &self.slab[slot];
        // Requests that came before the peer ended its side are still answered, then it is over.
        if connection.unread || connection.stash.is_some() || connection.hung_up {
            self.again.push(self.slab.key(slot));
        }
    }

    /// Ends an exchange that was not completed: the session is told, its subscriptions are left.
    pub(super) fn end_exchange(&mut self, slot: u32) {
        if std::mem::take(&mut self.slab[slot].open) {
            self.with_session(slot, |dialects, context, session| dialects.on_closed(context, session));
        }
        self.leave(slot, None);
        self.unseat(slot);
        let connection = &mut self.slab[slot];
        connection.session = Session::None;
        connection.session_deadline = 0;
        connection.exchange = connection.exchange.wrapping_add(1);
    }

    /// The exchange counts no longer as a connection of its app.
    fn unseat(&mut self, slot: u32) {
        if !self.seats.is_empty() {
            self.seats.remove(&slot);
        }
    }

    fn upgrade(&mut self, slot: u32, upgrade: Upgrade) {
        let inflate = match upgrade.deflate {
            None => Inflate::Off,
            Some(params) if params.client_no_context_takeover => Inflate::Shared,
            Some(params) => Inflate::Own(Box::new(Inflater::for_connection(&params))),
        };
        let ping_interval_ms = upgrade.ping_interval_ms;
        let carrier = Carrier::WebSocket(WebSocket {
            reader: Default::default(),
            inflate,
            ping_interval_ms,
            slow: upgrade.slow,
            pinged: false,
            closing: false,
        });
        self.change_carrier(slot, carrier);
        let ping = self.wheel.tick_in(u64::from(ping_interval_ms));
        self.slab[slot].deadline = if ping_interval_ms == 0 { 0 } else { ping };
        self.watch_deadline(slot);
    }

    pub(super) fn change_carrier(&mut self, slot: u32, carrier: Carrier) {
        let connection = &mut self.slab[slot];
        let before = connection.kind();
        connection.carrier = carrier;
        connection.deadline = 0;
        let after = connection.kind();
        self.resume_reading(slot);
        if before != after {
            self.counters.connections[before as usize].sub(1);
            self.counters.connections[after as usize].add(1);
        }
    }

    /// Sends a close frame, once, and waits for the peer's.
    pub(super) fn close_websocket(&mut self, slot: u32, code: u16, reason: &str) {
        self.end_exchange(slot);
        let deadline = self.wheel.tick_in(crate::limits::WS_CLOSE_MS);
        let connection = &mut self.slab[slot];
        let Carrier::WebSocket(ws) = &mut connection.carrier else { return self.finish(slot) };
        if std::mem::replace(&mut ws.closing, true) {
            return;
        }
        connection.deadline = deadline;
        self.queue_control(slot, close::encode(code, reason));
        self.watch_deadline(slot);
    }

    /// Closes once everything is sent.
    pub(super) fn finish(&mut self, slot: u32) {
        let linger = self.wheel.tick_in(crate::limits::LINGER_MS);
        let connection = &mut self.slab[slot];
        if connection.state != State::Open || connection.finishing {
            return;
        }
        connection.finishing = true;
        let hung_up = connection.hung_up;
        self.change_carrier(slot, Carrier::Lingering);
        self.slab[slot].deadline = linger;
        self.watch_deadline(slot);
        if self.slab[slot].outbox.is_empty() && hung_up {
            self.close_now(slot);
        } else {
            self.mark_dirty(slot);
        }
    }

    /// Everything is sent on a connection that finishes: ends our side and waits for the peer's end, so that a reset
    /// does not overtake the last bytes.
    pub(super) fn sent_all_of_finishing(&mut self, slot: u32) {
        if self.slab[slot].hung_up {
            return self.close_now(slot);
        }
        self.slab[slot].deadline = self.wheel.tick_in(crate::limits::LINGER_MS);
        self.watch_deadline(slot);
        self.say_goodbye(slot);
        shutdown(self.slab[slot].fd, libc::SHUT_WR);
    }

    /// The one teardown (R3): whatever the reason, a connection goes this way.
    pub(super) fn close_now(&mut self, slot: u32) {
        if self.slab[slot].state != State::Open {
            return;
        }
        let pipe = match self.slab[slot].carrier {
            Carrier::Pipe(to) => Some(to),
            _ => None,
        };
        self.end_exchange(slot);
        self.say_goodbye(slot);
        self.retire(slot);
        // The peer sees the end now, though armed polls may pin the socket a moment longer.
        shutdown(self.slab[slot].fd, libc::SHUT_RDWR);
        self.release(slot);
        if let Some(to) = pipe {
            self.pipe_ended(to);
        }
    }

    /// Takes a connection out of everything but the slab, and cancels its polls.
    fn retire(&mut self, slot: u32) {
        let key = self.slab.key(slot);
        let connection = &mut self.slab[slot];
        let kind = connection.kind();
        connection.state = State::Closing;
        connection.outbox.clear(&mut self.spare);
        connection.carrier = Carrier::Lingering;
        connection.tls = None;
        connection.deadline = 0;
        connection.session_deadline = 0;
        let (fd, armed, output) = (connection.fd, connection.armed, connection.output_armed);
        self.counters.connections[kind as usize].sub(1);
        self.counters.closed.add(1);
        self.dismiss(slot);
        if armed > 0 {
            self.net.unregister(fd, key, output);
        }
    }

    /// Frees the slot when the last completion and the last answer are in.
    pub(super) fn release(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        if connection.state != State::Closing || connection.armed > 0 {
            return;
        }
        let fd = std::mem::replace(&mut connection.fd, -1);
        if fd >= 0 {
            self.counters.sockets.sub(1);
            // SAFETY: the slot owned it, and forgets it here.
            let fd = unsafe { Socket::from_raw_fd(fd) };
            let (listener, for_others, piped) =
                (connection.listener, connection.for_others, connection.piped);
            let client = self.clients.take(slot);
            if let Some(moving) = self.moving.remove(&slot) {
                let Moving { to, unread, unsent, address, tls } = *moving;
                let admission = Admission::Admitted;
                let adopted = Adopted {
                    fd,
                    listener,
                    unread,
                    unsent,
                    address,
                    admission,
                    for_others,
                    piped,
                    client,
                    tls,
                };
                match to {
                    Some(shard) => self.post.send(shard, Mail::Adopt(Box::new(adopted))),
                    None => self.give_away(self.as_arriving(adopted)),
                }
            }
        }
        // A registration that is still being answered has to be undone: the key is needed until then.
        if self.slab[slot].asked == 0 {
            self.slab.remove(slot);
        }
    }

    /// Sends the connection to another shard, or (`None`) to the process that takes over, with everything that was read and not used.
    pub(super) fn move_away(&mut self, slot: u32, to: Option<usize>, unread: Vec<u8>) {
        self.send_now(slot); // answers to requests before this one
        if self.slab[slot].state != State::Open {
            return;
        }
        let tls = self.pack_tls(slot);
        let connection = &mut self.slab[slot];
        connection.open = false;
        connection.session = Session::None;
        let unsent = connection.outbox.frames().flat_map(|frame| frame.iter().copied()).collect();
        let (fd, armed, key) = (connection.fd, connection.armed, self.slab.key(slot));
        let address = self.slab[slot].address;
        self.moving.insert(slot, Box::new(Moving { to, unread, unsent, address, tls }));
        if armed == 0 {
            self.net.unregister(fd, key, false);
        }
        self.retire(slot);
        self.release(slot);
    }

    /// Queues bytes that must not be dropped.
    pub(super) fn queue_control(&mut self, slot: u32, bytes: Bytes) {
        let limits = self.limits.outbox;
        let connection = &mut self.slab[slot];
        if connection.state != State::Open || connection.finishing {
            return;
        }
        // Control frames answer what the peer sends: one that never reads must not make us pile them up.
        if connection.blocked && !connection.outbox.has_room(bytes.len(), limits) {
            self.refuse(slot, "outbox_full", "closed: it takes none of the answers to what it sends");
            return self.doom(slot);
        }
        connection.outbox.push(bytes, Item::CONTROL, &mut self.spare);
        self.mark_dirty(slot);
    }

    /// Queues one stored publication.
    fn queue_replay(&mut self, slot: u32, frame: Bytes) {
        let connection = &mut self.slab[slot];
        if connection.state != State::Open || connection.finishing {
            return;
        }
        connection.delivered = self.wheel.now();
        connection.outbox.push_replay(frame, &mut self.spare);
        self.mark_dirty(slot);
    }

    /// Queues one publication.
    pub(super) fn queue_publication(&mut self, slot: u32, frame: Bytes, tag: u32) {
        let limits = self.limits.outbox;
        let connection = &mut self.slab[slot];
        if connection.state != State::Open || connection.finishing {
            return;
        }
        connection.delivered = self.wheel.now();
        if connection.outbox.has_room(frame.len(), limits) {
            connection.outbox.push(frame, tag, &mut self.spare);
            return self.mark_dirty(slot);
        }
        self.overflow(slot, frame, tag);
    }

    /// A publication does not fit: sends what goes, then applies the connection's rule.
    pub(super) fn overflow(&mut self, slot: u32, frame: Bytes, tag: u32) {
        let limits = self.limits.outbox;
        if !self.slab[slot].blocked {
            self.send_now(slot);
        }
        let connection = &mut self.slab[slot];
        if connection.state != State::Open || connection.finishing {
            return;
        }
        if !connection.outbox.has_room(frame.len(), limits) {
            let (rule, on_wire) = (connection.slow(), connection.on_wire());
            match connection.outbox.make_room(frame.len(), tag, rule, on_wire, limits) {
                Overflow::Dropped(count) => {
                    if count > 0 && connection.delivered != 0 {
                        self.counters.dropped.add(count as u64);
                    }
                }
                Overflow::Close => {
                    self.counters.closed_slow.add(1);
                    self.refuse(slot, "slow_consumer", "closed: outbox over its limit");
                    return self.doom(slot);
                }
            }
        }
        let connection = &mut self.slab[slot];
        connection.outbox.push(frame, tag, &mut self.spare);
        self.mark_dirty(slot);
    }

    /// The kernel has given the peer up: see [`crate::shard::listen::Place::find_dead_peers`].
    pub(super) fn tell_of_dead_peer(&self, slot: u32) {
        self.refuse(slot, "peer_timeout", "closed: the peer is gone, or takes nothing");
    }

    /// Closes at the end of the turn: the caller may be in the middle of a fan-out.
    pub(super) fn doom(&mut self, slot: u32) {
        self.work.push_back(Work::Close(self.slab.key(slot)));
    }

    /// Puts the connection on the list of those to be written to.
    #[inline]
    pub(super) fn mark_dirty(&mut self, slot: u32) {
        let connection = &mut self.slab[slot];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Makes sure that the wheel shows the connection in time for its next deadline.
    pub(super) fn watch_deadline(&mut self, slot: u32) {
        let connection = &self.slab[slot];
        let next = connection.next_deadline();
        if next == 0 || (connection.in_wheel != 0 && connection.in_wheel <= next) {
            return;
        }
        let key = net::Key { slot, generation: connection.generation };
        let at = self.wheel.insert(key, next);
        self.slab[slot].in_wheel = at;
    }
}
