//! What happens when an event is published, by a client or a back end: it goes to its channel; then, as far as it is
//! kept, to the events of the app and of every user who is subscribed to the channel; and web hooks are called.

use super::Pushi;
use super::event;
use super::event::Envelope;
use super::handshake::SocketId;
use super::name;
use super::registry::Reach;
use super::stamp::{Kept, Stamp};
use crate::channel::command::Command;
use crate::channel::hook::{HookCall, HookMethod};
use crate::channel::{ChannelKey, Message, Origin, Policy, Position, SessionId};
use crate::dialect::app::App;
use crate::dialect::{Action, Context};
use crate::limits::PUSHI_HOOKS_PER_PUBLISH;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// One event on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its name.
    pub event: Bytes,
    /// Its data as text.
    pub data: Bytes,
    /// Further members of the envelope, each with a comma before it.
    pub extra: String,
    /// Whether it is kept.
    pub persist: bool,
    /// The connection that sent it.
    pub owner: Option<SocketId>,
    /// The session that does not get it.
    pub except: Option<SessionId>,
    /// Who sent it, as a member of the channel.
    pub user_id: Option<Bytes>,
}

/// One event in one channel: it was given its id, and is published.
#[derive(Debug)]
pub struct Sent {
    channel: String,
    kept: Option<Kept>,
    message: Message,
}

impl Sent {
    /// The channel it went to.
    pub fn channel(&self) -> &str {
        &self.channel
    }
}

/// Whom a publish to several channels has reached already, besides connections: each user keeps the event once, each
/// URL is called once (section 5.4).
#[derive(Debug, Default)]
pub struct Reached {
    users: HashSet<Arc<str>>,
    urls: HashSet<Arc<str>>,
}

/// Random numbers for one call, from the one that the shard gives. Nothing secret is made of them.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Pushi {
    /// Publishes in one channel; the answer comes with `tag`. `earlier` is where it was published before.
    pub(super) fn publish(
        &self,
        cx: &mut Context<'_>,
        app: &App,
        channel: &str,
        outgoing: &Outgoing,
        earlier: &[(Arc<ChannelKey>, Position)],
        tag: u16,
    ) -> (Arc<ChannelKey>, Sent) {
        let key = match name::Kind::of(channel) {
            name::Kind::Personal => self.key(app, channel),
            _ => cx.keys.key(&self.hasher, app.number, b"", channel.as_bytes()),
        };
        // Several events may be published within one call.
        let mut random = Random(cx.random ^ u64::from(tag) << 32);
        let kept = outgoing.persist.then(|| Kept::new([random.next(), random.next()], cx.now.unix_ms));
        let stamp = Stamp { kept, owner: outgoing.owner, channel, extra: &outgoing.extra };
        let origin = Origin {
            except: outgoing.except,
            user_id: outgoing.user_id.clone(),
            fleeting: !outgoing.persist,
            note: Some(stamp.encode().into()),
            earlier: earlier.to_vec(),
            ..Origin::default()
        };
        let message = Message {
            payload: outgoing.data.clone(),
            event: Some(outgoing.event.clone()),
            origin: Some(Box::new(origin)),
            ..Message::default()
        };
        let command = put(message.clone(), &self.policy);
        cx.act(Action::Command { key: key.clone(), command, tag });
        (key, Sent { channel: channel.to_owned(), kept, message })
    }

    /// What follows when an event was published. With a `tag` homes answer under it that they have it; returns how many
    /// answers will come.
    pub(super) fn follow(
        &self,
        cx: &mut Context<'_>,
        app: &App,
        sent: &Sent,
        reached: &mut Reached,
        tag: Option<u16>,
    ) -> usize {
        let reach = self.registry.reach(&app.settings.id, &sent.channel);
        let before = cx.actions.len();
        if sent.kept.is_some() {
            self.file(cx, app, sent, &reach, reached, tag);
        }
        let filed = cx.actions.len() - before;
        let urls: Vec<Arc<str>> =
            reach.urls.iter().filter(|url| !reached.urls.contains(*url)).cloned().collect();
        if !urls.is_empty() {
            self.call(cx, sent, urls, reached);
        }
        for kind in reach.silent {
            // Out of scope: who is registered is answered, and never reached.
            let detail = format!("an event in {} has registrations that are not delivered to", sent.channel);
            cx.refused(kind, detail);
        }
        if tag.is_some() { filed } else { 0 }
    }

    /// Keeps the event for the app and for each user of the channel.
    fn file(
        &self,
        cx: &mut Context<'_>,
        app: &App,
        sent: &Sent,
        reach: &Reach,
        reached: &mut Reached,
        tag: Option<u16>,
    ) {
        let file = |key: Arc<ChannelKey>, command: Command| match tag {
            Some(tag) => Action::Command { key, command, tag },
            None => Action::Tell { key, command },
        };
        let mut message = sent.message.clone();
        if let Some(origin) = &mut message.origin {
            origin.except = None;
            origin.earlier = Vec::new();
        }
        let key = self.hidden(app.number, super::APP_EVENTS);
        cx.act(file(key, put(message.clone(), &self.app_policy)));
        for user in &reach.users {
            if reached.users.insert(user.clone()) {
                let key = self.key(app, &name::personal(user));
                cx.act(file(key, put(message.clone(), &self.user_policy)));
            }
        }
    }

    /// Calls web hooks with the event as subscribers see it (section 9.7). Nobody waits for them.
    fn call(&self, cx: &mut Context<'_>, sent: &Sent, urls: Vec<Arc<str>>, reached: &mut Reached) {
        let note = sent.message.note().cloned().unwrap_or_default();
        let extra = Stamp::decode(&note).map_or("", |stamp| stamp.extra);
        let envelope = Envelope {
            channel: sent.channel.as_bytes(),
            event: sent.message.event.as_deref().unwrap_or_default(),
            data: &sent.message.payload,
            extra,
        };
        let mut body = Vec::with_capacity(sent.message.payload.len() + 256);
        event::envelope(&mut body, &envelope, sent.kept);
        let body = Bytes::from(body);
        for url in urls {
            if reached.urls.len() >= PUSHI_HOOKS_PER_PUBLISH {
                return cx
                    .refused("pushi_hooks", format!("too many web hooks for an event in {}", sent.channel));
            }
            reached.urls.insert(url.clone());
            hook(cx, url, Vec::new(), body.clone(), HookMethod::Post);
        }
    }
}

/// Calls a back end without waiting for it.
pub(super) fn hook(
    cx: &mut Context<'_>,
    url: Arc<str>,
    mut headers: Vec<(Bytes, Bytes)>,
    body: Bytes,
    method: HookMethod,
) {
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-type")) {
        headers.push((Bytes::from_static(b"Content-Type"), Bytes::from_static(b"application/json")));
    }
    let call = HookCall { url, method, headers, body, timeout_ms: 0, answer: false, order: None };
    cx.act(Action::Hook { call: Box::new(call), tag: None });
}

/// The command to publish.
pub(super) fn put(message: Message, policy: &Arc<Policy>) -> Command {
    Command::Publish { message, policy: policy.clone(), create: true }
}
