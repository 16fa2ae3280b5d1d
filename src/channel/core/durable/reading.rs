//! Reading the logs that there were when the node started, each when its channel is first asked for.

use super::deleting::Teller;
use super::{Waiting, What};
use crate::channel::command::{Answer, Command, Effect, Refusal};
use crate::channel::core::Home;
use crate::channel::record;
use crate::channel::store::{Job, Records, Retention};
use crate::channel::{ChannelKey, Now, Policy, Position, Publication};
use crate::limits::STORE_READ_ITEMS;
use std::sync::Arc;

/// How far a log has been read.
pub(super) enum Filled {
    /// A further part was asked for.
    Partly,
    /// All of it is there.
    Whole,
}

impl Home {
    /// What the channel's log keeps, if there was one when the node started and it was not read yet.
    pub(super) fn unread(&self, key: &ChannelKey) -> Option<Retention> {
        let logs = self.durables.logs.as_ref()?;
        let name = logs.name(key);
        let found = logs.at_start(&name).filter(|_| !self.durables.read.contains(&name));
        found.map(|found| found.retention)
    }

    /// Makes a channel for a log of an earlier life of the node and asks for its first part.
    pub(super) fn begin_read(
        &mut self,
        key: &Arc<ChannelKey>,
        retention: Retention,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<usize, Refusal> {
        let at = self.open(key, &Arc::new(rules(&retention)), now)?;
        self.hold(at);
        self.read_on(at, Position::ZERO, effects);
        Ok(at)
    }

    fn read_on(&mut self, at: usize, after: Position, effects: &mut Vec<Effect>) {
        let Some(log) = &self.channels[at].log else { return };
        let job = Job::Read { log: log.name.clone(), after, most: STORE_READ_ITEMS };
        self.ask(at, What::Read, job, effects);
    }

    /// Takes a part of a log into the history.
    pub(super) fn fill(
        &mut self,
        at: usize,
        part: Records,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Filled, Refusal> {
        let mut publications = Vec::with_capacity(part.records.len());
        let mut previous = self.channels[at].last.max(part.dropped);
        for record in part.records {
            let stored = record::decode(&record.payload).map_err(|_| Refusal::StoreFailed)?;
            let expires_ms = match stored.expires_unix_ms {
                0 => u64::MAX,
                unix_ms => now.mono_ms().saturating_add(unix_ms.saturating_sub(now.unix_ms)),
            };
            let times = (now.mono_ns, expires_ms);
            publications.push(Publication::new(record.at, previous, stored.message, times));
            previous = record.at;
        }
        let bytes: usize = publications.iter().map(Publication::cost_bytes).sum();
        if self.history_bytes + self.durables.pending_bytes + bytes > self.limits.history_bytes {
            return Err(Refusal::HistoryFull);
        }
        let last = part.last;
        self.account(at, |channel| {
            // Also what was read before and has expired meanwhile: nothing may be missing in between.
            channel.history.lose(part.dropped);
            publications.into_iter().for_each(|publication| channel.history.push(Arc::new(publication)));
            channel.last = previous;
        });
        let channel = &mut self.channels[at];
        if part.more {
            self.read_on(at, previous, effects);
            return Ok(Filled::Partly);
        }
        // Also above what was dropped from its end: a log without records remembers it.
        channel.last = channel.last.max(last);
        let dropped = channel.history.dropped();
        if let Some(log) = &mut channel.log {
            // Above what was there and gone within this second, too: what is never stored has positions as well.
            let second = Position { time: now.unix_s(), tag: u32::MAX };
            (log.given, log.dropped) = (channel.last.max(log.given).max(second), dropped);
        }
        Ok(Filled::Whole)
    }

    /// A log is in the history: what waited for it is carried out.
    pub(super) fn is_read(&mut self, at: usize, now: Now, effects: &mut Vec<Effect>) {
        let waiting = self.release(at);
        let channel = &self.channels[at];
        let key = channel.key.clone();
        self.durables.read.extend(channel.log.as_ref().map(|log| log.name.clone()));
        self.trim(at, now);
        if self.channels[at].history.is_empty() {
            // Nothing is left of it: whoever wants the channel makes it anew, above its last position.
            self.remove(at, now);
        }
        self.resume(&key, waiting, now, effects);
    }

    /// A log cannot be read: what waited for it is refused; the next to ask tries again. Deleting needs no reading.
    pub(super) fn is_unreadable(&mut self, at: usize, refusal: Refusal, now: Now, effects: &mut Vec<Effect>) {
        let waiting = self.release(at);
        let (key, name) = {
            let channel = &self.channels[at];
            (channel.key.clone(), channel.log.as_ref().map(|log| log.name.clone()).unwrap_or_default())
        };
        self.remove(at, now);
        for next in waiting {
            let teller = match next {
                Waiting::Command(Command::Delete, from) => Teller::Asker(from, Box::new(Answer::Info(None))),
                Waiting::Command(_, from) => {
                    effects.push(Effect::Answer { to: from, answer: Answer::Refused(refusal) });
                    continue;
                }
                Waiting::GroupDeletion(number) => Teller::Group(number),
            };
            self.delete_unread(&key, name.clone(), teller, effects);
        }
    }
}

/// Rules of a channel of which only the log is known: nobody has said them in this life of the node.
fn rules(retention: &Retention) -> Policy {
    Policy {
        durable: true,
        max_messages: u32::try_from(retention.max_records).unwrap_or(u32::MAX).max(1),
        min_messages: u32::try_from(retention.min_records).unwrap_or(u32::MAX),
        message_timeout_ms: match retention.max_age_s {
            u64::MAX => 0,
            seconds => seconds.saturating_mul(1000).max(1),
        },
        max_bytes: retention.max_bytes,
        ..Policy::default()
    }
}
