//! Channels that are there for others (pushi.md section 7): the personal one stands for all channels of a user, and
//! members of a presence channel have one with each of the others.

use super::asks::glance;
use super::channels::Role;
use super::client::{Client, Question, not_subscribed, send, stored};
use super::event::{self, ChannelData, Reply};
use super::frame::Member;
use super::name::{self, Kind};
use super::route;
use super::{Pushi, form};
use crate::channel::{Announcement, Publication, Roster};
use crate::dialect::{Action, Context, Form};
use crate::limits::PUSHI_EVENTS_DEFAULT;
use std::sync::Arc;

/// A personal channel whose answer is not complete.
#[derive(Debug)]
pub struct Personal {
    /// The session's name for it.
    pub tag: u16,
    /// The channel's name.
    pub name: String,
    which: Reply,
    /// Channels that it stands for.
    pub alias: Vec<String>,
    events: Vec<Vec<u8>>,
    /// Answers that are still to come: of each alias, and of the user's events.
    left: usize,
}

impl Client {
    /// Channels that the personal channel of `user` stands for. Another personal one among them stands for nothing.
    pub(super) fn aliases(&self, pushi: &Pushi, user: &str) -> Vec<String> {
        let Some(app) = self.app() else { return Vec::new() };
        let mut channels = pushi.registry.channels_of(&app.settings.id, route::Kind::Subscription, user);
        channels.retain(|channel| Kind::of(channel) != Kind::Personal);
        channels
    }

    /// Subscribes to all channels of a user, whatever their kind, without any further signature.
    pub(super) fn subscribe_personal(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        channel: &str,
        user: &str,
        member: Option<Member>,
    ) {
        let alias = self.aliases(pushi, user);
        let Some(tag) = self.ask_personal(pushi, cx, channel, Reply::Subscribed, alias.clone()) else {
            return;
        };
        for name in &alias {
            let member = member.clone().filter(|_| Kind::of(name) == Kind::Presence);
            if !self.join(pushi, cx, name, Role::Alias(tag), member) {
                return; // the connection ends
            }
        }
    }

    /// Leaves all channels of a user. One that is not subscribed ends the connection.
    pub(super) fn unsubscribe_personal(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        channel: &str,
        user: &str,
    ) {
        let alias = self.aliases(pushi, user);
        let tags: Option<Vec<u16>> =
            alias.iter().map(|name| self.channels.find(name).map(|sub| sub.tag)).collect();
        let Some(tags) = tags else { return not_subscribed(cx) };
        for tag in tags {
            self.leave(cx, tag);
        }
        self.ask_personal(pushi, cx, channel, Reply::Unsubscribed, alias);
    }

    /// Asks for the user's events, which the answer shows.
    fn ask_personal(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        channel: &str,
        which: Reply,
        alias: Vec<String>,
    ) -> Option<u16> {
        let key = pushi.key(self.app()?, channel);
        let tag = self.tag();
        let left = if which == Reply::Subscribed { 1 + alias.len() } else { 1 };
        self.personals.push(Personal {
            tag,
            name: channel.to_owned(),
            which,
            alias,
            events: Vec::new(),
            left,
        });
        let question = self.ask(cx, Question::Personal(tag))?;
        let ask = Box::new(glance(&pushi.user_policy, PUSHI_EVENTS_DEFAULT));
        cx.act(Action::Subscribe { key, form: Form::SESSION, ask, tag: question });
        Some(tag)
    }

    /// The user's events are there.
    pub(super) fn on_personal_events(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        tag: u16,
        backlog: &[Arc<Publication>],
    ) {
        let Some(app) = self.app().cloned() else { return };
        if let Some(personal) = self.personals.iter_mut().find(|personal| personal.tag == tag) {
            personal.events = stored(&pushi.key(&app, &personal.name), backlog, 0, &app.settings.id);
        }
        self.on_alias(pushi, cx, tag);
    }

    /// One answer more is there; the last one completes the one that the client gets.
    pub(super) fn on_alias(&mut self, pushi: &Pushi, cx: &mut Context<'_>, tag: u16) {
        let Some(at) = self.personals.iter().position(|personal| personal.tag == tag) else { return };
        self.personals[at].left -= 1;
        if self.personals[at].left > 0 {
            return;
        }
        let Personal { name, which, alias, events, .. } = self.personals.remove(at);
        let members = std::iter::empty();
        send(cx, |out| {
            event::reply(
                out,
                which,
                ChannelData { name: &name, members, alias: &alias, events: events.iter() },
            );
        });
        self.go_on(pushi, cx, &name);
    }

    /// The client has joined a presence channel: if it wants to, it gets a channel with each of the others.
    pub(super) fn meet_all(&mut self, pushi: &Pushi, cx: &mut Context<'_>, tag: u16, users: &Roster) {
        let wants = |member: &Member| member.peer;
        if !self.channels.tagged(tag).is_some_and(|sub| sub.member.as_ref().is_some_and(wants)) {
            return;
        }
        for user in users.iter() {
            self.meet(pushi, cx, tag, &user.id);
        }
    }

    /// Subscribes silently to the channel with another member.
    fn meet(&mut self, pushi: &Pushi, cx: &mut Context<'_>, tag: u16, other: &[u8]) {
        let Some(name) = self.pair_name(tag, other) else { return };
        if self.channels.find(&name).is_none() && name::is_allowed(&name) {
            self.join(pushi, cx, &name, Role::Pair(tag), None);
        }
    }

    fn pair_name(&mut self, tag: u16, other: &[u8]) -> Option<String> {
        let sub = self.channels.tagged(tag)?;
        let (me, other) = (&*sub.member.as_ref()?.user_id, std::str::from_utf8(other).ok()?);
        (me != other).then(|| name::pair(sub.name(), me, other))
    }

    /// Another member has come or gone who wants channels with each of the others.
    pub fn on_announcement(
        &mut self,
        pushi: &Pushi,
        cx: &mut Context<'_>,
        tag: u16,
        announcement: &Announcement,
    ) {
        debug_assert!(form::is_about_peers(announcement), "others are not told");
        match announcement {
            Announcement::Joined(change) => self.meet(pushi, cx, tag, &change.user.id),
            Announcement::Left(change) => {
                let Some(name) = self.pair_name(tag, &change.user.id) else { return };
                let pair = self.channels.find(&name).filter(|sub| sub.role == Role::Pair(tag));
                if let Some(tag) = pair.map(|sub| sub.tag) {
                    self.leave(cx, tag);
                }
            }
            Announcement::Occupied | Announcement::Vacated | Announcement::Count(_) => {}
        }
    }
}
