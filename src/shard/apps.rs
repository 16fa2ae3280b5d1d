//! What a shard does for the node's apps when they come, go or change.

use super::Shard;
use super::connection::State;
use crate::channel::{AppWays, NoticeKind};
use crate::dialect::app::{App, Apps};
use std::sync::Arc;

impl Shard {
    /// There are other apps, or their back ends want to be told other things: the home is told, then every session.
    pub(super) fn change_apps(&mut self, apps: Arc<Apps>) {
        apps.iter().for_each(|app| self.home.name_app(app.number, &app.settings.id));
        self.apps = apps;
        self.follow_apps();
        for slot in 0..self.slab.slots() {
            if self.slab[slot].state == State::Open && self.slab[slot].open {
                self.with_session(slot, |dialects, context, session| dialects.on_apps(context, session));
            }
        }
    }

    /// Tells the home what each app wants of its channels, where that has changed.
    pub(super) fn follow_apps(&mut self) {
        let apps = self.apps.clone();
        for app in apps.iter() {
            let ways = self.ways_of(app);
            if self.home.ways(app.number) != ways {
                self.home.set_app(app.number, ways);
            }
        }
        for gone in self.home.followed_apps().into_iter().filter(|&app| apps.get(app).is_none()) {
            self.home.set_app(gone, AppWays::default());
        }
    }

    fn ways_of(&self, app: &App) -> AppWays {
        AppWays {
            occupancy: self.notifier.wants(app.number, NoticeKind::Occupied),
            counts: app.settings.subscription_count,
            // Channels spread over the shards by their names: each gets its part of the limit.
            channels: u32::try_from(app.settings.max_channels.div_ceil(self.post.shards()))
                .unwrap_or(u32::MAX),
        }
    }
}
