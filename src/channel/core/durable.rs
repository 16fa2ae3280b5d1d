//! The home's side of durable channels: those whose publications are in a log of the store before anybody sees them.
//!
//! A publication gets its position at once and goes to the store. When it is on disk, it enters the history, goes to
//! the subscribers, and its publisher is told; so nobody has seen what a crash then loses, and nothing that was
//! acknowledged is lost. The store does a home's jobs in the order in which they were asked for, so that is the order
//! of the channel. A publication that the store refuses is answered with why and was never there.
//!
//! A log from before the start is read when its channel is first asked for; until it is there, what is asked of the
//! channel waits. So it does while a log is being deleted, whose deletion is answered once it is on disk.
//!
//! A channel becomes durable with the first rules that say so, and is so until it is gone, whatever later rules say:
//! else its publications would pass each other. Nothing here is gone through for other channels.

use super::Home;
use crate::channel::command::{Answer, Command, Effect, Refusal, ReplyTo};
use crate::channel::log::Logs;
use crate::channel::record;
use crate::channel::store::{self, Job, Outcome, Retention, StoreError};
use crate::channel::{ChannelKey, Message, Now, Policy, Position, Publication};
use crate::limits::{DURABLE_WAITING_BYTES, DURABLE_WAITING_COMMANDS};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

mod deleting;
mod reading;

use deleting::{GroupDeletion, Teller};
use reading::Filled;

/// What a home knows of the store, and what it has asked of it.
#[derive(Default)]
pub(super) struct Durables {
    logs: Option<Logs>,
    /// Logs from before the start that were read, or found gone.
    read: HashSet<Bytes>,
    /// There were logs when the node started.
    unread: bool,
    /// There are, or may be, channels with logs: see [`Home::answers_later`].
    used: bool,
    /// Channels for which commands wait.
    held: usize,
    /// Commands that wait for any of them, and their payload bytes.
    waiting: usize,
    waiting_bytes: usize,
    /// Publications on their way to the disk, as they will be charged, bytes.
    pending_bytes: usize,
    /// Questions that are not answered, by number from `first` on; [`None`] those that are answered out of turn.
    asked: VecDeque<Option<Asked>>,
    first: u64,
    /// Groups that are being deleted.
    groups: HashMap<u64, GroupDeletion>,
}

impl Durables {
    /// Whether a command may have to wait, or to have a log read.
    pub fn is_attentive(&self) -> bool {
        self.held > 0 || self.unread
    }
}

/// A channel's log.
pub(super) struct Log {
    name: Bytes,
    /// Tells it from one of a channel that had the name before.
    life: u64,
    /// The highest position ever given, whether or not it is on disk.
    given: Position,
    /// Publications on their way to the disk.
    pending: u32,
    /// The log was told to drop what is at or below this.
    dropped: Position,
    /// Commands wait: the log is being read or deleted.
    held: Option<VecDeque<Waiting>>,
}

/// What waits for a log.
enum Waiting {
    Command(Command, ReplyTo),
    /// The deletion of its group.
    GroupDeletion(u64),
}

impl Log {
    /// Whether something is under way that needs the channel to stay.
    pub fn is_busy(&self) -> bool {
        self.pending > 0 || self.held.is_some()
    }

    /// The highest position ever given.
    pub fn given(&self) -> Position {
        self.given
    }
}

/// A question to the store.
struct Asked {
    key: Arc<ChannelKey>,
    life: u64,
    what: What,
}

enum What {
    Append(Box<Append>),
    /// The first part, or a further one.
    Read,
    /// Delete the channel's log, then the channel.
    Delete(Teller),
    /// Delete the log of a channel that is not there, or not yet.
    DeleteUnread(Bytes, Teller),
}

/// A publication on its way to the disk.
struct Append {
    message: Message,
    position: Position,
    published_ns: u64,
    expires_ms: u64,
    from: ReplyTo,
}

impl Home {
    /// From now on channels whose rules say so are durable. Without this, none is.
    pub fn use_logs(&mut self, logs: Logs) {
        self.durables.unread = !logs.is_empty();
        self.durables.used = self.durables.unread;
        self.durables.logs = Some(logs);
    }

    /// From now on this is the id of the app, for the names of logs.
    pub fn name_app(&mut self, app: u32, id: &str) {
        if let Some(logs) = &mut self.durables.logs {
            logs.name_app(app, id);
        }
    }

    /// Whether a publish to this channel may not be answered at once.
    pub fn answers_later(&self, key: &Arc<ChannelKey>, policy: &Policy) -> bool {
        policy.durable
            || self.durables.used && self.find(key).is_none_or(|at| self.channels[at].log.is_some())
    }

    /// Gives the channel a log, if its rules want one.
    pub(super) fn begin_log(&mut self, at: usize) {
        let channel = &mut self.channels[at];
        let wanted = channel.policy.durable && channel.policy.max_messages > 0;
        let (Some(logs), None, true) = (&self.durables.logs, &channel.log, wanted) else { return };
        let (name, given) = (logs.name(&channel.key), channel.newest());
        self.epoch += 1;
        channel.log =
            Some(Box::new(Log { name, life: self.epoch, given, pending: 0, dropped: given, held: None }));
        self.durables.used = true;
    }

    /// Keeps a command back whose channel's log is being read or deleted, and begins to read one that was there when
    /// the node started. Returns the command if it can be carried out now.
    #[cold]
    pub(super) fn hold_back(
        &mut self,
        key: &Arc<ChannelKey>,
        command: Command,
        from: ReplyTo,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Command> {
        if matches!(command, Command::Unsubscribe { .. } | Command::GroupInfo { .. } | Command::GroupDelete) {
            return Some(command);
        }
        let at = match self.find(key) {
            Some(at) => at,
            None => {
                let Some(retention) = self.unread(key) else { return Some(command) };
                match self.begin_read(key, retention, now, effects) {
                    Ok(at) => at,
                    Err(refusal) => {
                        effects.push(Effect::Answer { to: from, answer: Answer::Refused(refusal) });
                        return None;
                    }
                }
            }
        };
        if !self.is_held(at) {
            return Some(command);
        }
        let bytes = payload_bytes(&command);
        let d = &self.durables;
        if d.waiting >= DURABLE_WAITING_COMMANDS || d.waiting_bytes + bytes > DURABLE_WAITING_BYTES {
            effects.push(Effect::Answer { to: from, answer: Answer::Refused(Refusal::Busy) });
            return None;
        }
        self.wait(at, Waiting::Command(command, from));
        None
    }

    fn is_held(&self, at: usize) -> bool {
        self.channels[at].log.as_ref().is_some_and(|log| log.held.is_some())
    }

    fn wait(&mut self, at: usize, waiting: Waiting) {
        let Some(held) = self.channels[at].log.as_mut().and_then(|log| log.held.as_mut()) else { return };
        self.durables.waiting += 1;
        self.durables.waiting_bytes += waiting.payload_bytes();
        held.push_back(waiting);
    }

    /// Commands for the channel wait from now on.
    fn hold(&mut self, at: usize) {
        if let Some(log) = &mut self.channels[at].log {
            log.held = Some(VecDeque::new());
            self.durables.held += 1;
        }
    }

    fn ask(&mut self, at: usize, what: What, job: Job, effects: &mut Vec<Effect>) {
        let channel = &self.channels[at];
        let life = channel.log.as_ref().map_or(0, |log| log.life);
        let asked = Asked { key: channel.key.clone(), life, what };
        self.ask_for(asked, job, effects);
    }

    fn ask_for(&mut self, asked: Asked, job: Job, effects: &mut Vec<Effect>) {
        let number = self.durables.first + self.durables.asked.len() as u64;
        self.durables.asked.push_back(Some(asked));
        effects.push(Effect::Store { number: Some(number), job: Box::new(job) });
    }

    /// Sends a publication to the store. Returns the answer if it needs no store; else it is answered when it is on
    /// disk.
    ///
    /// # Errors
    /// When there is no room for it in the history or the group.
    pub(super) fn ask_append(
        &mut self,
        at: usize,
        message: Message,
        policy: &Policy,
        from: ReplyTo,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Answer>, Refusal> {
        self.trim(at, now);
        let (bytes, fleeting) = (Publication::cost_bytes_of(&message), message.is_fleeting());
        if !fleeting {
            self.admit_pending(at, bytes, policy)?;
        }
        let channel = &mut self.channels[at];
        let (newest, previous) = (channel.newest(), channel.last);
        let Some(log) = &mut channel.log else { return Ok(None) };
        let position = log.given.max(newest).next(now.unix_s());
        log.given = position;
        let (expires_ms, expires_unix_ms) = match policy.message_timeout_ms {
            0 => (u64::MAX, 0),
            timeout => (now.mono_ms().saturating_add(timeout), now.unix_ms.saturating_add(timeout)),
        };
        if fleeting && log.pending == 0 {
            let publication = Publication::new(position, previous, message, (now.mono_ns, expires_ms));
            return Ok(Some(self.put(at, Arc::new(publication), false, now, effects)));
        }
        let log_name = log.name.clone();
        let job = match fleeting {
            false => Job::Append {
                log: log_name,
                at: position,
                payload: record::encode(&message, expires_unix_ms),
                retention: retention(policy),
                now_s: now.unix_s(),
            },
            // Nothing to do: only its turn, behind those before it.
            true => Job::Truncate { log: log_name, through: Position::ZERO },
        };
        log.pending += 1;
        channel.idle_since_ms = now.mono_ms();
        self.durables.pending_bytes += bytes;
        if let Some(group) = self.groups.get_mut(&channel.key) {
            group.pending(1, bytes as i64);
        }
        let append = Append { message, position, published_ns: now.mono_ns, expires_ms, from };
        self.ask(at, What::Append(Box::new(append)), job, effects);
        Ok(None)
    }

    /// As `admit`, with what is on its way to the disk.
    fn admit_pending(&self, at: usize, bytes: usize, policy: &Policy) -> Result<(), Refusal> {
        let channel = &self.channels[at];
        let pending = channel.log.as_ref().map_or(0, |log| log.pending);
        let full = channel.history.len() as u64 + u64::from(pending) + 1 > u64::from(policy.max_messages);
        let freed = channel.history.oldest_bytes().filter(|_| full);
        let taken = self.history_bytes + self.durables.pending_bytes - freed.unwrap_or(0);
        if taken + bytes > self.limits.history_bytes {
            return Err(Refusal::HistoryFull);
        }
        self.groups.get(&channel.key).map_or(Ok(()), |group| group.admit_message(bytes, freed))
    }

    /// Has the log of a channel drop what its history has dropped for other reasons than the log's own rules.
    pub(super) fn truncate_log(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let channel = &mut self.channels[at];
        // What is never stored counts as dropped also when it is above what is.
        let below = channel.history.oldest().map_or(Position::MAX, Position::before);
        let through = channel.history.dropped().min(below);
        if let Some(log) = &mut channel.log
            && through > log.dropped
        {
            log.dropped = through;
            let job = Job::Truncate { log: log.name.clone(), through };
            effects.push(Effect::Store { number: None, job: Box::new(job) });
        }
    }

    /// The store has answered question `number`. What follows is appended to `effects`, in order.
    pub fn on_stored(&mut self, number: u64, outcome: Outcome, now: Now, effects: &mut Vec<Effect>) {
        let asked = number.checked_sub(self.durables.first).and_then(|n| usize::try_from(n).ok());
        let asked = asked.and_then(|n| self.durables.asked.get_mut(n)).and_then(Option::take);
        while let Some(None) = self.durables.asked.front() {
            self.durables.asked.pop_front();
            self.durables.first += 1;
        }
        let Some(Asked { key, life, what }) = asked else { return };
        let at = self.find(&key).filter(|&at| self.channels[at].log.as_ref().is_some_and(|l| l.life == life));
        match (what, at) {
            (What::Append(append), at) => self.appended(&key, at, *append, outcome, now, effects),
            (What::Read, Some(at)) => {
                let read = outcome.map_err(|error| refusal(&error)).and_then(|answer| match answer {
                    store::Answer::Records(part) => self.fill(at, *part, now, effects),
                    _ => Ok(Filled::Whole),
                });
                match read {
                    Ok(Filled::Partly) => {}
                    Ok(Filled::Whole) => self.is_read(at, now, effects),
                    Err(refusal) => self.is_unreadable(at, refusal, now, effects),
                }
            }
            (What::Delete(teller), Some(at)) => self.deleted(at, teller, outcome, now, effects),
            (What::DeleteUnread(log, teller), _) => self.deleted_unread(log, teller, outcome, effects),
            (What::Read | What::Delete(..), None) => {}
        }
        self.follow(&key, now, effects);
    }

    /// A publication is on disk, or is not.
    fn appended(
        &mut self,
        key: &Arc<ChannelKey>,
        at: Option<usize>,
        append: Append,
        outcome: Outcome,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Append { message, position, published_ns, expires_ms, from } = append;
        let bytes = Publication::cost_bytes_of(&message);
        self.durables.pending_bytes -= bytes;
        if let Some(group) = self.groups.get_mut(key) {
            group.pending(-1, -(bytes as i64));
        }
        // A channel stays while something is on its way for it.
        debug_assert!(at.is_some(), "a channel has gone before what was on its way");
        let at = at.inspect(|&at| self.channels[at].log.iter_mut().for_each(|log| log.pending -= 1));
        let answer = match (outcome, at) {
            (Ok(_), Some(at)) => {
                let previous = self.channels[at].last;
                let publication = Publication::new(position, previous, message, (published_ns, expires_ms));
                let stored = self.channels[at].policy.max_messages > 0 && !publication.message.is_fleeting();
                let answer = self.put(at, Arc::new(publication), stored, now, effects);
                if self.channels[at].policy.max_messages == 0 {
                    self.truncate_log(at, effects);
                }
                answer
            }
            (Ok(_), None) => Answer::Refused(Refusal::StoreFailed),
            (Err(error), _) => Answer::Refused(refusal(&error)),
        };
        effects.push(Effect::Answer { to: from, answer });
    }

    /// Nothing waits for the channel any more; returns what did.
    fn release(&mut self, at: usize) -> VecDeque<Waiting> {
        let held = self.channels[at].log.as_mut().and_then(|log| log.held.take());
        let Some(held) = held else { return VecDeque::new() };
        let d = &mut self.durables;
        d.held -= 1;
        d.waiting -= held.len();
        d.waiting_bytes -= held.iter().map(Waiting::payload_bytes).sum::<usize>();
        held
    }

    /// Carries out what waited, in order, unless one of it makes the rest wait again.
    fn resume(
        &mut self,
        key: &Arc<ChannelKey>,
        waiting: VecDeque<Waiting>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for next in waiting {
            match (self.find(key).filter(|&at| self.is_held(at)), next) {
                (Some(at), next) => self.wait(at, next),
                (None, Waiting::Command(command, from)) => {
                    self.carry_out(key, command, from, now, Default::default(), effects);
                }
                (None, Waiting::GroupDeletion(number)) => {
                    self.delete_in_group(key, number, now, effects);
                }
            }
        }
    }
}

impl Waiting {
    fn payload_bytes(&self) -> usize {
        match self {
            Waiting::Command(command, _) => payload_bytes(command),
            Waiting::GroupDeletion(_) => 0,
        }
    }
}

/// What the log of a channel with these rules keeps.
fn retention(policy: &Policy) -> Retention {
    Retention {
        max_records: policy.max_messages.into(),
        max_bytes: policy.max_bytes,
        max_age_s: match policy.message_timeout_ms {
            0 => u64::MAX,
            ms => ms.div_ceil(1000),
        },
        min_records: policy.min_messages.into(),
    }
}

/// What the publisher is told.
fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::QueueFull => Refusal::StoreBusy,
        StoreError::Full => Refusal::StoreFull,
        StoreError::TooLarge => Refusal::StoreTooLarge,
        StoreError::TooManyLogs => Refusal::StoreChannels,
        _ => Refusal::StoreFailed,
    }
}

fn payload_bytes(command: &Command) -> usize {
    match command {
        Command::Publish { message, .. } => message.payload.len(),
        _ => 0,
    }
}
