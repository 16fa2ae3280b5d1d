//! What a shard does for the node's apps when they come, go or change. Who makes them is a thread of the node
//! ([`Registrar`]); the shard only passes on what sessions want.

use super::Shard;
use super::connection::State;
use super::net;
use super::work::Work;
use crate::channel::members::Member;
use crate::channel::{AppWays, NoticeKind, ReplyTo, Token};
use crate::dialect::app::{App, AppRefusal, AppSettings, Apps};
use crate::dialect::grant::revoked::{Order, RevokeError};
use std::sync::Arc;

/// Who makes apps and takes grants back. The outcome comes back as mail, after the mail that tells every shard of it.
pub trait Registrar: Send + Sync {
    /// Has an app made; never blocks.
    ///
    /// # Errors
    /// [`AppRefusal::Busy`]; then there is no other outcome.
    fn create(&self, settings: AppSettings, to: ReplyTo) -> Result<(), AppRefusal>;

    /// Has something revoked; never blocks.
    ///
    /// # Errors
    /// [`RevokeError::Busy`]; then there is no other outcome.
    fn revoke(&self, order: Order, to: ReplyTo) -> Result<(), RevokeError>;
}

impl Shard {
    /// There are other apps, or their back ends want to be told other things: the home is told, then every session.
    pub(super) fn change_apps(&mut self, apps: Arc<Apps>) {
        self.apps = apps;
        self.follow_apps();
        for slot in 0..self.slab.slots() {
            if self.slab[slot].state == State::Open && self.slab[slot].open {
                self.with_session(slot, |dialects, context, session| dialects.on_apps(context, session));
            }
        }
    }

    /// Tells the home how the apps are called, and what each wants of its channels, where that has changed.
    pub(super) fn follow_apps(&mut self) {
        let apps = self.apps.clone();
        for app in apps.iter() {
            self.home.name_app(app.number, &app.settings.id);
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

    /// A session wants to make an app.
    pub(super) fn create_app(&mut self, settings: AppSettings, to: ReplyTo) {
        if let Err(refusal) = self.registrar.create(settings, to) {
            self.work.push_back(Work::App { token: to.token, refusal });
        }
    }

    /// An app that a session wanted is there, or is not.
    pub(super) fn on_app(&mut self, token: Token, outcome: Result<Arc<App>, AppRefusal>) {
        let key = net::Key { slot: token.slot, generation: token.generation };
        if token.slot == u32::MAX || !self.slab.is(key) {
            return;
        }
        if self.concerns(Member { slot: token.slot, tag: token.tag }) {
            self.with_session(token.slot, |dialects, context, session| {
                dialects.on_app(context, session, token.tag as u16, outcome);
            });
            self.tell_of_next(token.slot);
        }
    }
}
