//! What a home does because time passes.

use super::Home;
use crate::channel::Now;
use crate::channel::command::Effect;
use crate::limits::SWEEP_CHANNELS_PER_TICK;

impl Home {
    /// Announces the leaves whose grace time is over and what is told late, and looks at the next few channels: expired
    /// publications go, idle channels are dropped.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.leave_due(now, effects);
        self.follow_due(now, effects);
        let mut left = SWEEP_CHANNELS_PER_TICK.min(self.channels.capacity());
        while left > 0 && !self.channels.is_empty() {
            left -= 1;
            let at = self.sweep_from;
            self.sweep_from = if at + 1 >= self.channels.capacity() { 0 } else { at + 1 };
            if !self.channels.contains(at) {
                continue;
            }
            self.trim(at, now);
            let channel = &self.channels[at];
            let busy = channel.log.as_ref().is_some_and(|log| log.is_busy());
            let empty = channel.history.is_empty() && channel.shards.is_empty();
            let idle = empty && channel.presence.is_none() && !channel.is_held_open() && !busy;
            let since = now.mono_ms().saturating_sub(channel.idle_since_ms);
            if idle && since >= channel.policy.channel_timeout_ms {
                self.remove(at, now);
            }
        }
        self.groups.tick(now.mono_ms());
    }
}
