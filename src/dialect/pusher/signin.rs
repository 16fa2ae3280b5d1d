//! A client that says who it is (pusher.md section 8): it hears what is said to the user, counts as the user being
//! online, and may watch others.

use super::Pusher;
use super::auth::{self, AuthError};
use super::channels::Role;
use super::client::{self, Client, listen, send};
use super::codes::Code;
use super::event;
use super::form;
use super::name::{Name, of_user};
use super::refusal::Refusal;
use crate::channel::command::Subscribe as Ask;
use crate::channel::{Announcement, Answer, ChannelKey, User};
use crate::dialect::{Action, Context, Form};
use crate::limits::{PUSHER_REPEATS_WAITING, PUSHER_WATCHLIST_USERS};
use bytes::Bytes;
use std::sync::Arc;

/// Channels that a signed-in connection has without asking: the user's inbox, and the one that tells that it is online.
const OWN_CHANNELS: usize = 2;

/// What a user's channel for those who watch begins with; the rest is the user's id. Clients cannot name it.
const ONLINE_PREFIX: &str = "#user-";

/// Who a connection has signed in as.
#[derive(Debug)]
pub struct SignedIn {
    /// Who. Of the watchlist only those that are watched.
    pub user: auth::User,
    /// What the client has said of it and has not been answered yet.
    asked: Option<Box<Asked>>,
    /// Tag and state of each watched user, in the order of the watchlist.
    watched: Vec<Watched>,
    /// The client knows all of these states.
    told: bool,
}

/// A sign-in that does not stand yet.
#[derive(Debug)]
struct Asked {
    /// As the client has sent it last, for the answer.
    user_data: Box<str>,
    /// How often it has.
    signins: u8,
    /// How often it has asked for the user's channel meanwhile.
    inbox: u8,
    /// The user's channel: listened to last, so that nothing comes before the answer.
    inbox_key: Arc<ChannelKey>,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    tag: u16,
    /// `None`: the home has not answered yet.
    online: Option<bool>,
}

impl SignedIn {
    fn stands(&self) -> bool {
        self.asked.is_none()
    }

    fn states(&self, online: bool) -> impl Iterator<Item = &str> + Clone {
        let users = self.user.watchlist.iter().zip(&self.watched);
        users.filter(move |(_, watched)| watched.online == Some(online)).map(|(id, _)| &**id)
    }

    /// The subscription by which somebody is watched has another tag from now on.
    pub(super) fn watches_anew(&mut self, before: u16, tag: u16) {
        if let Some(watched) = self.watched.iter_mut().find(|watched| watched.tag == before) {
            watched.tag = tag;
        }
    }

    /// What is known of a watched user. Tells the client, once it has been told of all of them, when it is news.
    fn learn(&mut self, cx: &mut Context<'_>, tag: u16, online: bool) {
        let Some(at) = self.watched.iter().position(|watched| watched.tag == tag) else { return };
        let before = self.watched[at].online.replace(online);
        if self.told && before != Some(online) {
            let one = std::iter::once(&*self.user.watchlist[at]);
            let (come, gone) = if online { (Some(one), None) } else { (None, Some(one)) };
            send(cx, |out| {
                event::watchlist_events(out, come.into_iter().flatten(), gone.into_iter().flatten())
            });
        }
    }

    /// Tells the client of all whom it watches, as soon as that is known.
    fn tell_all(&mut self, cx: &mut Context<'_>) {
        let known = self.stands() && self.watched.iter().all(|watched| watched.online.is_some());
        if known && !std::mem::replace(&mut self.told, true) && !self.watched.is_empty() {
            send(cx, |out| event::watchlist_events(out, self.states(true), self.states(false)));
        }
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
            Err(error) => return refused(cx, &error),
        };
        self.authorized();
        match &mut self.user {
            None => self.begin(pusher, cx, user_data, user),
            Some(before) if before.user.member.id != user.member.id => {
                self.refuse(cx, Refusal::SignedInAsAnother, None);
            }
            Some(before) => match &mut before.asked {
                None => send(cx, |out| event::signin_success(out, user_data)),
                Some(asked) if asked.signins >= PUSHER_REPEATS_WAITING => {
                    refused(cx, &AuthError::TooManySubscriptions);
                }
                Some(asked) => {
                    asked.signins += 1;
                    asked.user_data = user_data.into();
                }
            },
        }
    }

    fn begin(&mut self, pusher: &Pusher, cx: &mut Context<'_>, user_data: &str, mut user: auth::User) {
        let Some(room) = self.channels.room().checked_sub(OWN_CHANNELS) else {
            return refused(cx, &AuthError::TooManySubscriptions);
        };
        let limit = room.min(PUSHER_WATCHLIST_USERS);
        if user.watchlist_cut || user.watchlist.len() > limit {
            user.watchlist.truncate(limit);
            self.refuse(cx, Refusal::WatchlistCut { limit }, None);
        }
        self.be_online(pusher, cx, &user.member.id);
        let watched = self.watch(pusher, cx, &user.watchlist);
        let inbox_key = pusher.key(self.app(), &of_user(&user.member.id));
        let asked = Some(Box::new(Asked { user_data: user_data.into(), signins: 1, inbox: 0, inbox_key }));
        self.user = Some(Box::new(SignedIn { user, asked, watched, told: false }));
    }

    /// Makes the user present where others watch for it.
    fn be_online(&mut self, pusher: &Pusher, cx: &mut Context<'_>, id: &str) {
        let policy = self.app().hidden_policy.clone();
        let key = pusher.key(self.app(), &format!("{ONLINE_PREFIX}{id}"));
        let user = Arc::new(User { id: Bytes::copy_from_slice(id.as_bytes()), info: Bytes::new() });
        let tag = self.channels.add(key.clone(), Role::Online, Some(user.id.clone()));
        let ask = Box::new(listen(&policy, Some(user)));
        // Nothing is published there, and of itself the connection need not be told.
        cx.act(Action::Subscribe { key, form: Form::SESSION, ask, tag });
    }

    /// Listens to what is said to the user.
    fn open_inbox(&mut self, cx: &mut Context<'_>, key: Arc<ChannelKey>) {
        let tag = self.channels.add(key.clone(), Role::Inbox, None);
        let ask = Box::new(listen(&self.app().hidden_policy, None));
        cx.act(Action::Subscribe { key, form: form::EVENTS, ask, tag });
    }

    fn watch(&mut self, pusher: &Pusher, cx: &mut Context<'_>, ids: &[Box<str>]) -> Vec<Watched> {
        let policy = self.app().hidden_policy.clone();
        let watched = ids.iter().map(|id| {
            let key = pusher.key(self.app(), &format!("{ONLINE_PREFIX}{id}"));
            let tag = self.channels.add(key.clone(), Role::Watch, None);
            let ask = Box::new(Ask { list_users: true, ..listen(&policy, None) });
            cx.act(Action::Subscribe { key, form: Form::SESSION_ANNOUNCED, ask, tag });
            Watched { tag, online: None }
        });
        watched.collect()
    }

    /// The client asks for the channel of the user who it is. It listens since it has signed in.
    pub(super) fn subscribe_inbox(&mut self, cx: &mut Context<'_>, name: Name<'_>) {
        match self.user.as_mut().and_then(|user| user.asked.as_mut()) {
            None => send(cx, |out| event::subscription_succeeded(out, name.text())),
            Some(asked) if asked.inbox >= PUSHER_REPEATS_WAITING => {
                client::refused(cx, name.text(), &AuthError::TooManySubscriptions);
            }
            Some(asked) => asked.inbox += 1,
        }
    }

    /// A home has answered about one of the hidden channels.
    pub(super) fn on_user_answer(&mut self, cx: &mut Context<'_>, tag: u16, role: Role, answer: &Answer) {
        let Some(subscription) = self.channels.tagged(tag) else { return };
        let before = std::mem::replace(&mut subscription.told, true);
        (subscription.stands, subscription.owed) = (true, 0);
        let Some(user) = &mut self.user else { return };
        match (role, answer) {
            (Role::Watch, answer) => {
                let online = matches!(answer, Answer::Subscribed(s) if s.users.as_ref().is_some_and(|u| !u.is_empty()));
                if let Answer::Refused(refusal) = answer {
                    // Nothing will be heard of this one; for the client it stays offline.
                    cx.refused(refusal.label(), "a watched user's channel");
                    self.channels.remove(tag);
                }
                user.learn(cx, tag, online);
            }
            (_, Answer::Refused(refusal)) if before => {
                // It has lost the user's channel and cannot have it again.
                cx.refused(refusal.label(), "a signed-in user's channel");
                return client::close(cx, Code::OverCapacity);
            }
            (_, Answer::Refused(refusal)) => return self.sign_out(cx, &AuthError::from(*refusal)),
            (Role::Online, _) => {
                if let Some(key) = user.asked.as_ref().map(|asked| asked.inbox_key.clone()) {
                    self.open_inbox(cx, key);
                }
            }
            _ => signed_in(cx, user),
        }
        if let Some(user) = &mut self.user {
            user.tell_all(cx);
        }
    }

    /// The sign-in could not be carried out: as if there had been none.
    fn sign_out(&mut self, cx: &mut Context<'_>, error: &AuthError) {
        let user = self.user.take();
        for tag in self.channels.remove_hidden() {
            cx.act(Action::Unsubscribe { tag });
        }
        let Some((user, asked)) = user.and_then(|mut user| user.asked.take().map(|asked| (user, asked)))
        else {
            return;
        };
        (0..asked.signins).for_each(|_| refused(cx, error));
        let inbox = of_user(&user.user.member.id);
        (0..asked.inbox).for_each(|_| client::refused(cx, &inbox, error));
    }

    /// A watched user has come or gone.
    pub fn on_announcement(&mut self, cx: &mut Context<'_>, tag: u16, announcement: &Announcement) {
        let Some(user) = &mut self.user else { return };
        let online = match announcement {
            Announcement::Joined(_) => true,
            Announcement::Left(_) => false,
            Announcement::Count(_) | Announcement::Occupied | Announcement::Vacated => return,
        };
        user.learn(cx, tag, online);
    }
}

/// Both channels of the user stand: if it is news, answers all that was asked meanwhile.
fn signed_in(cx: &mut Context<'_>, user: &mut SignedIn) {
    let Some(asked) = user.asked.take() else { return };
    for _ in 0..asked.signins {
        send(cx, |out| event::signin_success(out, &asked.user_data));
    }
    let inbox = of_user(&user.user.member.id);
    for _ in 0..asked.inbox {
        send(cx, |out| event::subscription_succeeded(out, &inbox));
    }
}

fn refused(cx: &mut Context<'_>, error: &AuthError) {
    let text = error.to_string();
    cx.refused("pusher_signin", text.clone());
    send(cx, |out| event::error(out, Some(Code::Unauthorized), &text, None));
}
