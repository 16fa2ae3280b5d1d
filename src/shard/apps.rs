//! Apps that come and go while the shard runs. Who makes them is a thread of the node ([`Registrar`]); the shard only
//! passes on what sessions want and notes what there is.

use super::Shard;
use super::connection::State;
use super::net;
use super::work::Work;
use crate::channel::members::Member;
use crate::channel::{ReplyTo, Token};
use crate::dialect::app::{App, AppRefusal, AppSettings, Apps};
use std::sync::Arc;

/// Who makes apps. The outcome comes back as mail, after the mail that tells every shard of the app.
pub trait Registrar: Send + Sync {
    /// Has an app made; never blocks.
    ///
    /// # Errors
    /// [`AppRefusal::Busy`]; then there is no other outcome.
    fn create(&self, settings: AppSettings, to: ReplyTo) -> Result<(), AppRefusal>;
}

impl Shard {
    /// The apps are these from now on: sessions of those that are gone end.
    pub(super) fn change_apps(&mut self, apps: Arc<Apps>) {
        self.apps = apps;
        for slot in 0..self.slab.slots() {
            if self.slab[slot].state == State::Open && self.slab[slot].open {
                self.with_session(slot, |dialects, context, session| dialects.on_apps(context, session));
            }
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
