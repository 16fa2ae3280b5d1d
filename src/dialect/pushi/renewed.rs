//! Channels that were deleted under a client, and publications that a client may have got by another channel.

use super::Pushi;
use super::client::{Client, fail};
use super::form;
use crate::channel::{Ended, Publication};
use crate::dialect::{Action, Context};
use crate::wire::ws::close;
use std::sync::Arc;

impl Client {
    /// A home has ended a subscription: somebody has deleted the channel, which a client cannot know of. It goes on in a
    /// new one; only what a member had said of itself has to come anew.
    pub fn on_ended(&mut self, pushi: &Pushi, cx: &mut Context<'_>, tag: u16, reason: Ended) {
        let Some(sub) = self.channels.remove(tag) else { return };
        if sub.member.is_some() || reason == Ended::Terminated {
            return fail(cx, close::RESTART, "pushi_ended", "the channel was ended");
        }
        self.ask_for(pushi, cx, sub.key, sub.role, None, true);
    }

    /// The new channel has events already: the client gets those as if it had been there.
    pub(super) fn catch_up(&mut self, cx: &mut Context<'_>, tag: u16, backlog: &[Arc<Publication>]) {
        let Some(key) = self.channels.tagged(tag).map(|sub| sub.key.clone()) else { return };
        let id = self.id;
        for publication in backlog.iter().filter(|publication| publication.message.except() != Some(id)) {
            if publication.message.was_elsewhere() {
                self.on_publication(cx, tag, publication);
            } else {
                let frame = cx.encoder.replayed(form::EVENTS, Some(&key), publication);
                cx.act(Action::Replay(frame));
            }
        }
    }

    /// A publication that went to several channels: the client gets it by the first one that it was in.
    pub fn on_publication(&mut self, cx: &mut Context<'_>, tag: u16, publication: &Arc<Publication>) {
        let Some(key) = self.channels.tagged(tag).map(|sub| sub.key.clone()) else { return };
        let earlier = publication.message.origin.iter().flat_map(|origin| &origin.earlier);
        let has_it = earlier.into_iter().any(|(key, at)| {
            let from = self.channels.of(key).and_then(|sub| sub.from);
            from.is_some_and(|from| from < *at)
        });
        if !has_it {
            let frame = cx.encoder.frame(form::ONCE, Some(&key), publication);
            cx.act(Action::Deliver(frame));
        }
    }
}
