//! What follows from commands: effects, answers, deliveries. A queue instead of calls into each other, so that
//! everything happens in order and nothing recurses.

use super::Shard;
use super::connection::{Carrier, State};
use super::mailbox::Mail;
use super::net;
use crate::channel::hook::{HookAnswer, HookFailure};
use crate::channel::members::{Form, Member};
use crate::channel::notice::{Notice, What};
use crate::channel::store::Outcome;
use crate::channel::{
    Announcement, Answer, ChannelKey, Class, Command, Effect, Ended, List, Publication, ReplyTo, Token,
};
use crate::dialect::app::AppRefusal;
use crate::dialect::encode;
use crate::dialect::grant::revoked::RevokeError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One thing to do.
#[derive(Debug)]
// The large ones are the common ones, and the queue is short: a box would cost each publish an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Work {
    /// For a channel that lives here.
    Command {
        /// The channel.
        key: Arc<ChannelKey>,
        /// What to do.
        command: Command,
        /// Who asks.
        from: ReplyTo,
    },
    /// What a home wants.
    Effect(Effect),
    /// A back end's answer.
    Hook {
        /// Who called.
        token: Token,
        /// What came of it.
        answer: Box<Result<HookAnswer, HookFailure>>,
    },
    /// What came of a job of the store.
    Stored {
        /// Who asked.
        token: Token,
        /// What came of it.
        outcome: Box<Outcome>,
    },
    /// An app was not made.
    App {
        /// Who wanted it.
        token: Token,
        /// Why not.
        refusal: AppRefusal,
    },
    /// Nothing was revoked.
    Revoked {
        /// Who wanted it.
        token: Token,
        /// Why not.
        refusal: RevokeError,
    },
    /// Tear a connection down.
    Close(net::Key),
}

impl Shard {
    /// Works until nothing is left to do.
    pub(super) fn run_work(&mut self) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Command { key, command, from } => self.apply(&key, command, from),
                Work::Effect(effect) => self.effect(effect),
                Work::Hook { token, answer } => self.on_hook(token, *answer),
                Work::Stored { token, outcome } => self.on_stored(token, *outcome),
                Work::App { token, refusal } => self.on_app(token, Err(refusal)),
                Work::Revoked { token, refusal } => self.on_revocation(token, &Err(refusal)),
                Work::Close(key) => {
                    if self.slab.is(key) {
                        self.close_now(key.slot);
                    }
                }
            }
        }
    }

    /// Mail has come.
    pub(super) fn on_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Command { key, command, from } => self.apply(&key, *command, from),
            Mail::Deliver { key, publication } => self.deliver(&key, &publication),
            Mail::Announce { key, announcement } => self.announce(&key, &announcement),
            Mail::End { key, reason } => self.end(&key, reason),
            Mail::Answer { token, answer } => self.on_answer(token, *answer),
            Mail::Hook { token, answer } => self.on_hook(token, *answer),
            Mail::List { list, from } => self.list(&list, from),
            Mail::Apps { apps, noted } => {
                self.change_apps(apps);
                drop(noted);
            }
            Mail::Revoke { revocation, app, ended, noted } => {
                ended.fetch_add(self.revoke(&revocation, app), Ordering::Relaxed);
                drop(noted);
            }
            Mail::Revoked { token, outcome } => self.on_revocation(token, &outcome),
            Mail::App { token, outcome } => self.on_app(token, *outcome),
            Mail::Store { token, outcome } => self.on_stored(token, *outcome),
            Mail::Adopt(adopted) => self.on_adopted(*adopted),
            Mail::Drain(ms) => self.start_drain(ms, None),
            Mail::Hold(noted) => self.hold(noted),
            Mail::Resume => self.resume(),
            Mail::HandOver { successor, drain_ms } => self.start_drain(drain_ms, Some(successor)),
        }
    }

    fn apply(&mut self, key: &Arc<ChannelKey>, command: Command, from: ReplyTo) {
        let mut effects = std::mem::take(&mut self.effects);
        self.home.apply(key, command, from, self.now, self.post.busy(), &mut effects);
        self.work_on(effects);
    }

    /// Queues what a home wants.
    pub(super) fn work_on(&mut self, mut effects: Vec<Effect>) {
        for effect in effects.drain(..) {
            if let Effect::Answer { answer: Answer::Published { .. }, .. } = &effect {
                self.counters.published.add(1);
            }
            // A home's effects keep their order among each other and with those of earlier commands.
            self.work.push_back(Work::Effect(effect));
        }
        self.effects = effects;
    }

    /// Tells who asks which channels live here.
    pub(super) fn list(&mut self, list: &List, from: ReplyTo) {
        let answer = Answer::Channels(self.home.list(list, self.now));
        self.work.push_back(Work::Effect(Effect::Answer { to: from, answer }));
    }

    fn effect(&mut self, effect: Effect) {
        let own = self.id as usize;
        match effect {
            Effect::Deliver { shards, channel, publication } => {
                for shard in shards.iter().filter(|&s| s != own) {
                    let mail = Mail::Deliver { key: channel.clone(), publication: publication.clone() };
                    self.post.send(shard, mail);
                }
                if shards.contains(own) {
                    self.deliver(&channel, &publication);
                }
            }
            Effect::Announce { shards, channel, announcement } => {
                self.tell_back_end(&channel, &announcement);
                for shard in shards.iter().filter(|&s| s != own) {
                    let (key, announcement) = (channel.clone(), announcement.clone());
                    self.post.send(shard, Mail::Announce { key, announcement });
                }
                if shards.contains(own) {
                    self.announce(&channel, &announcement);
                }
            }
            Effect::End { shards, channel, reason } => {
                for shard in shards.iter().filter(|&s| s != own) {
                    self.post.send(shard, Mail::End { key: channel.clone(), reason });
                }
                if shards.contains(own) {
                    self.end(&channel, reason);
                }
            }
            Effect::Store { number, job } => self.submit_for_home(number, *job),
            Effect::Answer { to, answer } if to.shard == self.id => self.on_answer(to.token, answer),
            Effect::Answer { to, answer } => {
                if to.token.slot != u32::MAX {
                    let mail = Mail::Answer { token: to.token, answer: Box::new(answer) };
                    self.post.send(to.shard as usize, mail);
                }
            }
        }
    }

    /// Hands what a home announces to those who tell the app's back end.
    fn tell_back_end(&self, channel: &Arc<ChannelKey>, announcement: &Announcement) {
        let what = What::from(announcement);
        if self.notifier.wants(channel.app(), what.kind()) {
            self.notifier.notify(Notice { channel: channel.clone(), what });
        }
    }

    /// Puts a publication on the wire of every member here. The shared forms are the hot path: per member one clone
    /// of a reference and one push.
    fn deliver(&mut self, key: &Arc<ChannelKey>, publication: &Arc<Publication>) {
        let (limits, now) = (self.limits.outbox, self.wheel.now());
        let mut delivered = 0u64;
        let mut full = std::mem::take(&mut self.taken);
        let mut sessions = false;
        let except = self.excepted(publication);
        for group in self.members.groups(key) {
            if group.form.is_session() {
                sessions |= !group.members.is_empty();
                continue;
            }
            if group.members.is_empty() {
                continue;
            }
            let frame = self.encoder.frame(group.form, Some(key), publication);
            if frame.is_empty() {
                // A form that has nothing for this one (an empty chunk), or leaves it to the session.
                sessions |= encode::is_by_session(group.form, publication);
                continue;
            }
            delivered += group.members.len() as u64;
            for member in &group.members {
                if member.slot == except {
                    delivered -= 1;
                    continue;
                }
                let connection = &mut self.slab[member.slot];
                connection.delivered = now;
                if !connection.outbox.has_room(frame.len(), limits) {
                    full.push(*member);
                    continue;
                }
                connection.outbox.push(frame.clone(), member.tag, &mut self.spare);
                if !connection.dirty {
                    connection.dirty = true;
                    self.dirty.push(member.slot);
                }
            }
            if !full.is_empty() {
                overflowed(&mut self.overflowed, &mut full, &frame);
            }
        }
        self.taken = full;
        self.counters.delivered.add(delivered);
        self.delivering.push(publication.published_ns);
        for (member, frame) in std::mem::take(&mut self.overflowed) {
            self.overflow(member.slot, frame, member.tag);
        }
        if sessions {
            self.deliver_to_sessions(key, publication, except);
        }
    }

    /// The slot that does not get a publication; `u32::MAX` when all do. A name that is another's by now, or nobody's,
    /// excepts nobody.
    fn excepted(&self, publication: &Publication) -> u32 {
        const NOBODY: u32 = u32::MAX;
        let Some(except) = publication.message.except() else { return NOBODY };
        let here = except.shard() == self.id && except.slot() < self.slab.slots();
        if here && self.slab[except.slot()].session.id() == Some(except) { except.slot() } else { NOBODY }
    }

    fn deliver_to_sessions(&mut self, key: &Arc<ChannelKey>, publication: &Arc<Publication>, except: u32) {
        let mut members = std::mem::take(&mut self.taken);
        self.members.release(key, &mut members);
        self.forget_seats(&members);
        for group in self.members.groups(key) {
            if group.class == Class::Stream && encode::is_by_session(group.form, publication) {
                members.extend_from_slice(&group.members);
            }
        }
        for member in members.drain(..) {
            if member.slot != except && self.concerns(member) {
                self.with_session(member.slot, |dialects, context, session| {
                    dialects.on_publication(context, session, member.tag as u16, publication);
                });
            }
        }
        self.taken = members;
    }

    /// Tells those members here who want to know that somebody has come or gone. Each form makes one frame; it is
    /// never dropped, for a reader that misses one has a wrong list from then on.
    fn announce(&mut self, key: &Arc<ChannelKey>, announcement: &Arc<Announcement>) {
        let mut told = std::mem::take(&mut self.taken);
        let mut frames = Vec::new();
        for group in self.members.groups(key).iter().filter(|group| group.class == Class::Stream) {
            if group.members.is_empty() || group.form == Form::SESSION {
                continue;
            }
            let frame = match group.form.is_session() {
                true => None,
                false => match self.encoder.announced(group.form, key, announcement) {
                    Some(frame) => Some(frame),
                    None => continue,
                },
            };
            told.extend_from_slice(&group.members);
            let is_told_too = frame.is_none() || encode::is_told_too(group.form, announcement);
            frames.push((told.len(), frame, is_told_too));
        }
        let mut from = 0;
        for (until, frame, is_told_too) in frames {
            for &member in &told[from..until] {
                if let Some(frame) = &frame {
                    self.queue_control(member.slot, frame.clone());
                }
                if is_told_too && self.concerns(member) {
                    self.with_session(member.slot, |dialects, context, session| {
                        dialects.on_announcement(context, session, member.tag as u16, announcement);
                    });
                }
            }
            from = until;
        }
        told.clear();
        self.taken = told;
    }

    /// Takes note that these members' seats are gone.
    fn forget_seats(&mut self, members: &[Member]) {
        for member in members {
            let connection = &mut self.slab[member.slot];
            if let Some(sub) = connection.subs.find(member.tag) {
                sub.subscription.ended();
            }
            connection.subs.forget_over();
        }
        self.counters.subscriptions.sub(members.len() as u64);
    }

    /// Whether the member's session is still in the exchange in which it subscribed.
    pub(super) fn concerns(&self, member: Member) -> bool {
        let connection = &self.slab[member.slot];
        connection.state == State::Open
            && connection.open
            && u32::from(connection.exchange) == member.tag >> 16
    }

    fn end(&mut self, key: &Arc<ChannelKey>, reason: Ended) {
        let mut members = std::mem::take(&mut self.taken);
        self.members.end(key, &mut members);
        self.forget_seats(&members);
        for member in members.drain(..) {
            if self.concerns(member) {
                self.with_session(member.slot, |dialects, context, session| {
                    dialects.on_ended(context, session, member.tag as u16, reason);
                });
            }
        }
        self.taken = members;
    }

    /// A home has answered.
    fn on_answer(&mut self, token: Token, answer: Answer) {
        let key = net::Key { slot: token.slot, generation: token.generation };
        if token.slot == u32::MAX || !self.slab.is(key) {
            return;
        }
        let connection = &mut self.slab[token.slot];
        connection.asked = connection.asked.saturating_sub(1);
        if let Some(sub) = connection.subs.find(token.tag) {
            let member = Member { slot: token.slot, tag: token.tag };
            let subscribed = if let Answer::Subscribed(s) = &answer { Some(&**s) } else { None };
            let undo = sub.subscription.answered(subscribed, member, &mut self.members);
            if sub.subscription.is_joined() {
                self.counters.subscriptions.add(1);
            }
            let channel = sub.subscription.key.clone();
            connection.subs.forget_over();
            if let Some(command) = undo {
                let nobody = Token { slot: u32::MAX, generation: u32::MAX, tag: 0 };
                self.command(channel, command, ReplyTo { shard: self.id, token: nobody });
            }
        }
        if self.slab[token.slot].state == State::Closing {
            return self.release_answered(token.slot);
        }
        if self.concerns(Member { slot: token.slot, tag: token.tag }) {
            self.with_session(token.slot, |dialects, context, session| {
                dialects.on_answer(context, session, token.tag as u16, answer);
            });
            self.tell_of_next(token.slot);
        }
        let connection = &self.slab[token.slot];
        if connection.hung_up && connection.asked == 0 {
            self.again.push(key); // the end of the input was waiting for this answer
        }
    }

    /// A slot that was only waiting for this answer is free now.
    fn release_answered(&mut self, slot: u32) {
        let connection = &self.slab[slot];
        if connection.armed == 0 && connection.fd < 0 && connection.asked == 0 {
            self.slab.remove(slot);
        }
    }

    fn on_hook(&mut self, token: Token, answer: Result<HookAnswer, HookFailure>) {
        let key = net::Key { slot: token.slot, generation: token.generation };
        if token.slot == u32::MAX || !self.slab.is(key) {
            return;
        }
        if self.concerns(Member { slot: token.slot, tag: token.tag }) {
            self.with_session(token.slot, |dialects, context, session| {
                dialects.on_hook(context, session, token.tag as u16, answer);
            });
            if let Carrier::Http(http) = &mut self.slab[token.slot].carrier {
                http.told = false; // a session that is allowed only now may begin to wait
            }
            self.tell_of_next(token.slot);
        }
    }
}

#[cold]
fn overflowed(into: &mut Vec<(Member, bytes::Bytes)>, full: &mut Vec<Member>, frame: &bytes::Bytes) {
    into.extend(full.drain(..).map(|member| (member, frame.clone())));
}
