//! The home's side of endings: of subscriptions, of channels, of groups.

use super::Home;
use crate::channel::command::{ChannelInfo, Effect, Ended, GroupInfo, Refusal, ReplyTo};
use crate::channel::{ChannelKey, GroupLimits, Now};
use std::sync::Arc;

impl Home {
    /// Ends all subscriptions: they no longer count, and their shards are told.
    pub(super) fn end_all(&mut self, at: usize, reason: Ended, effects: &mut Vec<Effect>) {
        self.epoch += 1;
        let epoch = self.epoch;
        let channel = &mut self.channels[at];
        let (shards, ended, streams) = (channel.interest(), channel.subscribers(), channel.streams());
        self.following.changed.streams |= streams > 0;
        self.following.changed.polls |= ended > streams;
        channel.stream_epoch = epoch;
        channel.poll_epoch = epoch;
        channel.shards = Vec::new();
        let key = channel.key.clone();
        self.count_subscribers(&key, -i64::from(ended));
        if ended > 0 {
            effects.push(Effect::End { shards, channel: key, reason });
        }
        self.part_all(at, effects);
    }

    pub(super) fn delete(
        &mut self,
        key: &Arc<ChannelKey>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<ChannelInfo> {
        let at = self.find(key)?;
        self.trim(at, now);
        let info = self.channels[at].info(now);
        self.end_all(at, Ended::Deleted, effects);
        self.tell_end(at, now, effects);
        self.remove(at, now);
        Some(info)
    }

    pub(super) fn terminate(
        &mut self,
        key: &Arc<ChannelKey>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<ChannelInfo> {
        let at = self.find(key)?;
        self.trim(at, now);
        let info = self.channels[at].info(now);
        self.end_all(at, Ended::Terminated, effects);
        Some(info)
    }

    pub(super) fn group_info(
        &mut self,
        key: &Arc<ChannelKey>,
        set: Option<GroupLimits>,
        now: Now,
    ) -> Result<GroupInfo, Refusal> {
        if let Some(limits) = set {
            self.groups.set_limits(key, limits, self.limits.channels, now.mono_ms())?;
        }
        Ok(self.groups.get(key).map_or_else(GroupInfo::default, |g| g.info))
    }

    /// The answer, unless it comes later: when logs are gone.
    pub(super) fn group_delete(
        &mut self,
        key: &Arc<ChannelKey>,
        from: ReplyTo,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<GroupInfo> {
        if key.group().is_empty() {
            return Some(GroupInfo::default());
        }
        let info = self.groups.get(key).map_or_else(GroupInfo::default, |g| g.info);
        let same = |k: &ChannelKey| k.app() == key.app() && k.group() == key.group();
        let members = self.channels.iter().filter(|(_, c)| same(&c.key));
        let (durable, others): (Vec<_>, Vec<_>) =
            members.map(|(at, c)| (at, c.log.is_some())).partition(|m| m.1);
        for (at, _) in others {
            let member = self.channels[at].key.clone();
            self.delete(&member, now, effects);
        }
        let durable: Vec<usize> = durable.into_iter().map(|(at, _)| at).collect();
        (!self.group_delete_logs(key, &durable, (from, info), effects)).then_some(info)
    }
}
