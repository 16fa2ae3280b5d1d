//! Deleting channels with logs: the asker is told when the logs are gone, or why they are not.

use super::{Asked, Waiting, What, refusal};
use crate::channel::ChannelKey;
use crate::channel::Now;
use crate::channel::command::{Answer, Effect, GroupInfo, Refusal, ReplyTo};
use crate::channel::core::Home;
use crate::channel::store::{Job, Outcome};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// Who is told of a deletion.
pub(super) enum Teller {
    /// The asker, this.
    Asker(ReplyTo, Box<Answer>),
    /// Who asked for this deletion of a group, when it is the last of them.
    Group(u64),
}

/// The deletion of a group.
pub(super) struct GroupDeletion {
    /// Logs that are not deleted yet.
    left: usize,
    from: ReplyTo,
    info: GroupInfo,
    /// Why one of them could not be deleted.
    refusal: Option<Refusal>,
}

impl Home {
    /// Deletes a channel with a log: it is gone, and `answer` told, when the log is.
    pub(in crate::channel::core) fn delete_log(
        &mut self,
        at: usize,
        from: ReplyTo,
        answer: Answer,
        effects: &mut Vec<Effect>,
    ) {
        self.delete_for(at, Teller::Asker(from, Box::new(answer)), effects);
    }

    fn delete_for(&mut self, at: usize, teller: Teller, effects: &mut Vec<Effect>) {
        let Some(log) = &self.channels[at].log else { return };
        let job = Job::Delete { log: log.name.clone() };
        self.hold(at);
        self.ask(at, What::Delete(teller), job, effects);
    }

    /// Deletes a log without looking at its channel.
    pub(super) fn delete_unread(
        &mut self,
        key: &Arc<ChannelKey>,
        log: Bytes,
        teller: Teller,
        effects: &mut Vec<Effect>,
    ) {
        let job = Job::Delete { log: log.clone() };
        let what = What::DeleteUnread(log, teller);
        self.ask_for(Asked { key: key.clone(), life: 0, what }, job, effects);
    }

    /// Deletes the durable channels of a group, those included that were not asked for since the start. True: `from`
    /// is told `info` when the last of them is gone; false: there are none.
    pub(in crate::channel::core) fn group_delete_logs(
        &mut self,
        key: &Arc<ChannelKey>,
        members: &[usize],
        (from, info): (ReplyTo, GroupInfo),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let log = |at: &usize| self.channels[*at].log.as_ref().map(|log| log.name.clone());
        let present: HashSet<Bytes> = members.iter().filter_map(log).collect();
        let is_unread = |log: &&Bytes| !self.durables.read.contains(*log) && !present.contains(*log);
        let logs = self.durables.logs.as_ref();
        let unread: Vec<Bytes> =
            logs.map_or_else(Vec::new, |logs| logs.of_group(key).filter(is_unread).cloned().collect());
        let left = unread.len() + members.len();
        if left == 0 {
            return false;
        }
        self.epoch += 1;
        let number = self.epoch;
        self.durables.groups.insert(number, GroupDeletion { left, from, info, refusal: None });
        for &at in members {
            match self.is_held(at) {
                true => self.wait(at, Waiting::GroupDeletion(number)),
                false => self.delete_for(at, Teller::Group(number), effects),
            }
        }
        for log in unread {
            self.delete_unread(key, log, Teller::Group(number), effects);
        }
        true
    }

    /// Deletes a channel with its group, after what it had to wait for.
    pub(super) fn delete_in_group(
        &mut self,
        key: &Arc<ChannelKey>,
        number: u64,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match self.find(key) {
            Some(at) if self.channels[at].log.is_some() => {
                self.delete_for(at, Teller::Group(number), effects);
            }
            _ => {
                self.delete(key, now, effects);
                self.tell(Teller::Group(number), Ok(()), effects);
            }
        }
    }

    /// A channel's log is deleted, or is not.
    pub(super) fn deleted(
        &mut self,
        at: usize,
        teller: Teller,
        outcome: Outcome,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let waiting = self.release(at);
        let key = self.channels[at].key.clone();
        let outcome = outcome.map(drop).map_err(|error| refusal(&error));
        if outcome.is_ok() {
            self.delete(&key, now, effects);
        }
        self.tell(teller, outcome, effects);
        self.resume(&key, waiting, now, effects);
    }

    /// A log without a channel is deleted, or is not.
    pub(super) fn deleted_unread(
        &mut self,
        log: Bytes,
        teller: Teller,
        outcome: Outcome,
        effects: &mut Vec<Effect>,
    ) {
        let outcome = outcome.map(drop).map_err(|error| refusal(&error));
        let found = self.durables.logs.as_ref().and_then(|logs| logs.at_start(&log));
        if let (Ok(()), Some(found)) = (outcome, found) {
            // Nobody will read it for its last position.
            self.floor = self.floor.max(found.last);
            self.durables.read.insert(log);
        }
        self.tell(teller, outcome, effects);
    }

    fn tell(&mut self, teller: Teller, outcome: Result<(), Refusal>, effects: &mut Vec<Effect>) {
        let (to, answer) = match teller {
            Teller::Asker(to, answer) => (to, outcome.map(|()| *answer)),
            Teller::Group(number) => {
                let Some(deletion) = self.durables.groups.get_mut(&number) else { return };
                deletion.refusal = deletion.refusal.or(outcome.err());
                deletion.left -= 1;
                if deletion.left > 0 {
                    return;
                }
                let (from, info, refusal) = (deletion.from, deletion.info, deletion.refusal);
                self.durables.groups.remove(&number);
                (from, refusal.map_or(Ok(Answer::Group(info)), Err))
            }
        };
        effects.push(Effect::Answer { to, answer: answer.unwrap_or_else(Answer::Refused) });
    }
}
