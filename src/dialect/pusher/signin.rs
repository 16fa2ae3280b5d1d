//! A client that says who it is (pusher.md section 8): it hears what is said to the user, counts as the user being
//! online, and may watch others.

use super::Pusher;
use super::auth::{self, AuthError};
use super::channels::Role;
use super::client::{Client, listen, send};
use super::codes::Code;
use super::event;
use super::form;
use super::name::of_user;
use super::refusal::Refusal;
use crate::channel::{Announcement, Answer, User};
use crate::dialect::{Action, Context, Form};
use crate::limits::PUSHER_WATCHLIST_USERS;
use bytes::Bytes;
use std::sync::Arc;

/// What a user's channel for those who watch begins with; the rest is the user's id. Clients cannot name it.
const ONLINE_PREFIX: &str = "#user-";

/// Who a connection has signed in as.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub user: auth::User,
    /// As the client has said it, for the answer.
    user_data: Box<str>,
    /// Answers of homes that are still to come before the sign-in stands.
    waits: u8,
    /// Tag and state of each watched user, in the order of the watchlist.
    watched: Vec<(u16, bool)>,
    /// Answers of homes that are still to come before all of these are known.
    unknown: usize,
}

impl SignedIn {
    fn stands(&self) -> bool {
        self.waits == 0
    }

    /// Whether the client knows the state of those it watches.
    fn told(&self) -> bool {
        self.stands() && self.unknown == 0
    }

    fn states(&self, online: bool) -> impl Iterator<Item = &str> + Clone {
        let users = self.user.watchlist.iter().zip(&self.watched);
        users.filter(move |(_, state)| state.1 == online).map(|(id, _)| &**id)
    }
}

impl Client {
    pub(super) fn sign_in(
        &mut self,
        pusher: &Pusher,
        cx: &mut Context<'_>,
        user_data: &str,
        judged: Result<auth::User, AuthError>,
    ) {
        let user = match judged {
            Ok(user) => user,
            Err(error) => {
                let text = error.to_string();
                cx.refused("pusher_signin", text.clone());
                return send(cx, |out| event::error(out, Some(Code::Unauthorized), &text, None));
            }
        };
        self.authorized();
        match &self.user {
            None => {}
            Some(before) if before.user.member.id != user.member.id => {
                return self.refuse(cx, Refusal::SignedInAsAnother, None);
            }
            Some(before) => {
                if before.stands() {
                    send(cx, |out| event::signin_success(out, user_data));
                }
                return;
            }
        }
        if user.watchlist_cut {
            self.refuse(cx, Refusal::WatchlistCut { limit: PUSHER_WATCHLIST_USERS }, None);
        }
        self.listen_for(pusher, cx, &user.member.id);
        let watched = self.watch(pusher, cx, &user.watchlist);
        let unknown = watched.len();
        self.user =
            Some(Box::new(SignedIn { user, user_data: user_data.into(), waits: 2, watched, unknown }));
    }

    /// Subscribes to the two channels of the user.
    fn listen_for(&mut self, pusher: &Pusher, cx: &mut Context<'_>, id: &str) {
        let policy = self.app().hidden_policy.clone();
        let inbox = pusher.key(self.app(), &of_user(id));
        let tag = self.channels.add(inbox.clone(), Role::Inbox, None);
        let ask = Box::new(listen(&policy, None));
        cx.act(Action::Subscribe { key: inbox, form: form::EVENTS, ask, tag });
        let online = pusher.key(self.app(), &format!("{ONLINE_PREFIX}{id}"));
        let user = Arc::new(User { id: Bytes::copy_from_slice(id.as_bytes()), info: Bytes::new() });
        let tag = self.channels.add(online.clone(), Role::Online, Some(user.id.clone()));
        let ask = Box::new(listen(&policy, Some(user)));
        // Nothing is published there, and of itself the connection need not be told.
        cx.act(Action::Subscribe { key: online, form: Form::SESSION, ask, tag });
    }

    fn watch(&mut self, pusher: &Pusher, cx: &mut Context<'_>, ids: &[Box<str>]) -> Vec<(u16, bool)> {
        let policy = self.app().hidden_policy.clone();
        let mut watched = Vec::with_capacity(ids.len());
        for id in ids {
            if self.channels.is_full() {
                break;
            }
            let key = pusher.key(self.app(), &format!("{ONLINE_PREFIX}{id}"));
            let tag = self.channels.add(key.clone(), Role::Watch, None);
            let ask =
                Box::new(crate::channel::command::Subscribe { list_users: true, ..listen(&policy, None) });
            cx.act(Action::Subscribe { key, form: Form::SESSION_ANNOUNCED, ask, tag });
            watched.push((tag, false));
        }
        watched
    }

    /// A home has answered about one of the hidden channels.
    pub(super) fn on_user_answer(&mut self, cx: &mut Context<'_>, tag: u16, role: Role, answer: &Answer) {
        let Some(user) = &mut self.user else { return };
        match (role, answer) {
            (Role::Watch, answer) => {
                let online = matches!(answer, Answer::Subscribed(s) if s.users.as_ref().is_some_and(|u| !u.is_empty()));
                if let Some(state) = user.watched.iter_mut().find(|state| state.0 == tag) {
                    state.1 = online;
                    user.unknown = user.unknown.saturating_sub(1);
                }
            }
            (_, Answer::Refused(refusal)) => {
                let text = AuthError::from(*refusal).to_string();
                self.sign_out(cx);
                cx.refused("pusher_signin", text.clone());
                return send(cx, |out| event::error(out, Some(Code::Unauthorized), &text, None));
            }
            _ => {
                user.waits = user.waits.saturating_sub(1);
                if user.stands() {
                    send(cx, |out| event::signin_success(out, &user.user_data));
                }
            }
        }
        if user.told() && !user.watched.is_empty() {
            send(cx, |out| event::watchlist_events(out, user.states(true), user.states(false)));
        }
    }

    /// The sign-in could not be carried out: as if there had been none.
    fn sign_out(&mut self, cx: &mut Context<'_>) {
        self.user = None;
        for tag in self.channels.remove_hidden() {
            cx.act(Action::Unsubscribe { tag });
        }
    }

    /// A watched user has come or gone.
    pub fn on_announcement(&mut self, cx: &mut Context<'_>, tag: u16, announcement: &Announcement) {
        let Some(user) = &mut self.user else { return };
        let online = match announcement {
            Announcement::Joined(_) => true,
            Announcement::Left(_) => false,
            Announcement::Count(_) | Announcement::Occupied | Announcement::Vacated => return,
        };
        let Some(at) = user.watched.iter().position(|state| state.0 == tag) else { return };
        user.watched[at].1 = online;
        if user.told() {
            let one = std::iter::once(&*user.user.watchlist[at]);
            let (come, gone) = if online { (Some(one), None) } else { (None, Some(one)) };
            send(cx, |out| {
                event::watchlist_events(out, come.into_iter().flatten(), gone.into_iter().flatten())
            });
        }
    }
}
