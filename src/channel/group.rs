//! Accounting of channel groups. A group's channels share one home, so plain counters do.

use crate::channel::ChannelKey;
use crate::channel::command::{GroupInfo, Refusal};
use crate::channel::policy::GroupLimits;
use crate::limits::{GROUP_IDLE_MS, SWEEP_CHANNELS_PER_TICK};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

type Id = (u32, Bytes);

/// The groups of one home. Every channel with a group is counted, whether or not limits were ever set, so that
/// limits that come later find true figures. A group without channels is kept for a while for its limits.
#[derive(Debug, Default)]
pub struct Groups {
    groups: HashMap<Id, Group, foldhash::fast::RandomState>,
    /// Groups that were without channels at some time, each once.
    idle: VecDeque<Id>,
}

/// Counters and limits of one group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Group {
    /// What it has, and its limits.
    pub info: GroupInfo,
    /// Since when it is without channels, monotonic milliseconds.
    idle_since_ms: u64,
    /// Whether it is in the list of idle groups.
    listed: bool,
    /// Publications on their way to the disk, and their memory, bytes.
    pending: (u64, u64),
}

impl Groups {
    /// Groups that have channels or limits.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The group of `key`; none for a channel without a group.
    pub fn get(&self, key: &ChannelKey) -> Option<&Group> {
        if key.group().is_empty() { None } else { self.groups.get(&id(key)) }
    }

    /// As [`Groups::get`].
    pub fn get_mut(&mut self, key: &ChannelKey) -> Option<&mut Group> {
        if key.group().is_empty() { None } else { self.groups.get_mut(&id(key)) }
    }

    /// Sets limits ahead of the first channel. At most `most` groups are remembered for that.
    pub fn set_limits(
        &mut self,
        key: &ChannelKey,
        limits: GroupLimits,
        most: usize,
        mono_ms: u64,
    ) -> Result<(), Refusal> {
        if let Some(group) = self.get_mut(key) {
            group.info.limits = limits;
        } else if limits != GroupLimits::default() && !key.group().is_empty() {
            if self.groups.len() >= most {
                return Err(Refusal::TooManyChannels);
            }
            self.groups.entry(id(key)).or_default().info.limits = limits;
            self.idle(&id(key), mono_ms);
        }
        Ok(())
    }

    /// Counts a new channel, or refuses it. The group takes over `limits` when there are any.
    pub fn add_channel(&mut self, key: &ChannelKey, limits: Option<GroupLimits>) -> Result<(), Refusal> {
        if key.group().is_empty() {
            return Ok(());
        }
        // A channel into a group without channels is never refused: zero is no limit.
        let group = self.groups.entry(id(key)).or_default();
        group.set_limits(limits);
        group.admit_channel()?;
        group.info.channels += 1;
        Ok(())
    }

    /// A channel of the group is gone. Of the groups left without channels at most `most` are kept.
    pub fn remove_channel(&mut self, key: &ChannelKey, most: usize, mono_ms: u64) {
        let Some(group) = self.get_mut(key) else { return };
        group.info.channels -= 1;
        if group.info.channels > 0 {
            return;
        }
        let unlimited = group.info.limits == GroupLimits::default();
        // A listed group is left to the sweep, or its place in the list would outlive it.
        if (unlimited || self.groups.len() > most) && !self.groups[&id(key)].listed {
            self.groups.remove(&id(key));
        } else {
            self.idle(&id(key), mono_ms);
        }
    }

    fn idle(&mut self, id: &Id, mono_ms: u64) {
        if let Some(group) = self.groups.get_mut(id) {
            group.idle_since_ms = mono_ms;
            if !group.listed {
                group.listed = true;
                self.idle.push_back(id.clone());
            }
        }
    }

    /// Forgets groups that have been without channels for [`GROUP_IDLE_MS`].
    pub fn tick(&mut self, mono_ms: u64) {
        for _ in 0..self.idle.len().min(SWEEP_CHANNELS_PER_TICK) {
            let Some(id) = self.idle.pop_front() else { return };
            let Some(group) = self.groups.get_mut(&id) else { continue };
            if group.info.channels > 0 {
                group.listed = false;
            } else if group.info.limits == GroupLimits::default()
                || mono_ms.saturating_sub(group.idle_since_ms) >= GROUP_IDLE_MS
            {
                self.groups.remove(&id);
            } else {
                self.idle.push_back(id);
            }
        }
    }
}

fn id(key: &ChannelKey) -> Id {
    (key.app(), Bytes::copy_from_slice(key.group()))
}

impl Group {
    /// Takes over the limits of whoever uses the group now.
    pub fn set_limits(&mut self, limits: Option<GroupLimits>) {
        if let Some(limits) = limits {
            self.info.limits = limits;
        }
    }

    /// Publications go to the disk, or come back from there.
    pub fn pending(&mut self, messages: i64, bytes: i64) {
        let (have_messages, have_bytes) = self.pending;
        self.pending =
            (have_messages.saturating_add_signed(messages), have_bytes.saturating_add_signed(bytes));
    }

    /// Whether one more channel fits.
    pub fn admit_channel(&self) -> Result<(), Refusal> {
        fits(self.info.channels, 1, self.info.limits.channels).ok_or(Refusal::GroupChannels)
    }

    /// Whether one more subscriber fits when `leaving` others go.
    pub fn admit_subscriber(&self, leaving: u32) -> Result<(), Refusal> {
        let stay = self.info.subscribers.saturating_sub(u64::from(leaving));
        fits(stay, 1, self.info.limits.subscribers).ok_or(Refusal::GroupSubscribers)
    }

    /// Whether one more publication of `bytes` fits; it pushes out one of `freed` bytes, if any.
    pub fn admit_message(&self, bytes: usize, freed: Option<usize>) -> Result<(), Refusal> {
        let limits = &self.info.limits;
        let (messages, memory_bytes) =
            (self.info.messages + self.pending.0, self.info.memory_bytes + self.pending.1);
        let messages = messages.saturating_sub(u64::from(freed.is_some()));
        let memory_bytes = memory_bytes.saturating_sub(freed.unwrap_or(0) as u64);
        fits(messages, 1, limits.messages).ok_or(Refusal::GroupMessages)?;
        fits(memory_bytes, bytes as u64, limits.memory_bytes).ok_or(Refusal::GroupMemory)
    }
}

fn fits(have: u64, more: u64, limit: u64) -> Option<()> {
    (limit == 0 || have.saturating_add(more) <= limit).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_unlimited_and_the_limit_itself_fits() {
        let mut group = Group::default();
        group.info.channels = 5;
        assert_eq!(group.admit_channel(), Ok(()));
        group.set_limits(Some(GroupLimits {
            channels: 6,
            messages: 1,
            memory_bytes: 10,
            ..Default::default()
        }));
        assert_eq!(group.admit_channel(), Ok(()));
        group.info.channels = 6;
        assert_eq!(group.admit_channel(), Err(Refusal::GroupChannels));
        assert_eq!(group.admit_message(10, None), Ok(()));
        assert_eq!(group.admit_message(11, None), Err(Refusal::GroupMemory));
        group.info.messages = 1;
        assert_eq!(group.admit_message(1, None), Err(Refusal::GroupMessages));
        assert_eq!(group.admit_message(1, Some(1)), Ok(()), "one goes for it");
    }
}
