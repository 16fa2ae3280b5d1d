//! Accounting of channel groups. A group's channels share one home, so plain counters do.

use crate::channel::command::{GroupInfo, Refusal};
use crate::channel::policy::GroupLimits;

/// Counters and limits of one group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Group {
    /// What it has, and its limits.
    pub info: GroupInfo,
}

impl Group {
    /// Takes over the limits of whoever uses the group now.
    pub fn set_limits(&mut self, limits: Option<GroupLimits>) {
        if let Some(limits) = limits {
            self.info.limits = limits;
        }
    }

    /// Whether one more channel fits.
    pub fn admit_channel(&self) -> Result<(), Refusal> {
        fits(self.info.channels, 1, self.info.limits.channels).ok_or(Refusal::GroupChannels)
    }

    /// Whether one more subscriber fits.
    pub fn admit_subscriber(&self) -> Result<(), Refusal> {
        fits(self.info.subscribers, 1, self.info.limits.subscribers).ok_or(Refusal::GroupSubscribers)
    }

    /// Whether one more publication of `bytes` fits.
    pub fn admit_message(&self, bytes: usize) -> Result<(), Refusal> {
        let limits = &self.info.limits;
        fits(self.info.messages, 1, limits.messages).ok_or(Refusal::GroupMessages)?;
        fits(self.info.memory_bytes, bytes as u64, limits.memory_bytes).ok_or(Refusal::GroupMemory)
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
        group.set_limits(Some(GroupLimits { channels: 6, messages: 1, memory_bytes: 10, ..Default::default() }));
        assert_eq!(group.admit_channel(), Ok(()));
        group.info.channels = 6;
        assert_eq!(group.admit_channel(), Err(Refusal::GroupChannels));
        assert_eq!(group.admit_message(10), Ok(()));
        assert_eq!(group.admit_message(11), Err(Refusal::GroupMemory));
        group.info.messages = 1;
        assert_eq!(group.admit_message(1), Err(Refusal::GroupMessages));
    }
}
