//! Commands for a whole group.

use super::Home;
use crate::channel::command::{Effect, GroupInfo, Refusal, ReplyTo};
use crate::channel::{ChannelKey, GroupLimits, Now};
use std::sync::Arc;

impl Home {
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
