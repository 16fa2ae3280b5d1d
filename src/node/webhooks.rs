//! Web hooks of the node: from the configuration to the service, and how a call's body is written.

use super::config::{AppSettings, Config};
use crate::channel::notice::{Notice, NoticeKind, What};
use crate::dialect::pusher::frame::Data;
use crate::dialect::pusher::handshake::SocketId;
use crate::dialect::pusher::webhook;
use crate::limits::WebhookLimits;
use crate::service::hooks::Trust;
use crate::service::webhooks::{Endpoint, Filter, Webhooks, WebhooksConfig, WebhooksHandle};
use crate::shard::Notifier;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Notices of shards.
pub struct NodeNotifier(pub WebhooksHandle);

impl Notifier for NodeNotifier {
    fn wants(&self, app: u32, kind: NoticeKind) -> bool {
        self.0.wants(app, kind)
    }

    fn notify(&self, notice: Notice) {
        self.0.notify(notice);
    }
}

/// Starts the service with the endpoints of the configuration.
///
/// # Errors
/// For the person who started the node.
pub fn start(config: &Config, trust: Arc<Trust>, seed: u64) -> Result<Webhooks, String> {
    let limits = WebhookLimits { call: config.hooks.limits(), ..WebhookLimits::default() };
    let settings = WebhooksConfig { limits, trust, write: write_body, clock: unix_ms, seed };
    let webhooks =
        Webhooks::start(settings).map_err(|e| format!("cannot start the web hook service: {e}"))?;
    for (number, app) in config.apps.iter().enumerate() {
        let endpoints = endpoints(config, app);
        if !endpoints.is_empty() {
            let set = webhooks.handle().set_endpoints(number as u32, endpoints);
            set.map_err(|e| format!("web hooks of app {}: {e}", app.id))?;
        }
    }
    Ok(webhooks)
}

/// The endpoints that the configuration gives an app.
fn endpoints(config: &Config, app: &AppSettings) -> Vec<Endpoint> {
    let first = config.apps.first().map(|app| &app.id);
    let of_app = config.webhooks.iter().filter(|hook| hook.app.as_ref().or(first) == Some(&app.id));
    of_app
        .map(|hook| Endpoint {
            url: hook.url.as_str().into(),
            key: app.key.as_str().into(),
            secret: app.secret.as_str().into(),
            filter: Filter {
                kinds: hook.events,
                prefix: hook.channel_prefix.as_str().into(),
                suffix: hook.channel_suffix.as_str().into(),
            },
            batch: hook.batch,
        })
        .collect()
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The body of a call as Pusher's libraries read it. What is no text in a name is written as U+FFFD: such names come
/// only from the native interface.
pub fn write_body(out: &mut Vec<u8>, time_ms: u64, notices: &[Arc<Notice>]) {
    let texts: Vec<_> = notices.iter().map(|notice| (notice, Texts::of(notice))).collect();
    webhook::body(out, time_ms, texts.iter().map(|(notice, texts)| texts.notice(&notice.what)));
}

/// The parts of a notice that have to be text.
struct Texts<'a> {
    channel: Cow<'a, str>,
    user: Option<Cow<'a, str>>,
    event: Cow<'a, str>,
}

impl<'a> Texts<'a> {
    fn of(notice: &'a Notice) -> Texts<'a> {
        let text = |bytes: &'a [u8]| String::from_utf8_lossy(bytes);
        let (user, event) = match &notice.what {
            What::Joined(user) | What::Left(user) => (Some(text(user)), Cow::default()),
            What::ClientEvent(sent) => (sent.user.as_deref().map(text), text(&sent.event)),
            What::Occupied | What::Vacated | What::CacheMiss(_) | What::Count(_) => (None, Cow::default()),
        };
        Texts { channel: text(notice.channel.name()), user, event }
    }

    fn notice<'n>(&'n self, what: &'n What) -> webhook::Notice<'n> {
        let (channel, user_id) = (&*self.channel, self.user.as_deref());
        match what {
            What::Occupied => webhook::Notice::ChannelOccupied { channel },
            What::Vacated => webhook::Notice::ChannelVacated { channel },
            What::CacheMiss(_) => webhook::Notice::CacheMiss { channel },
            What::Joined(_) => webhook::Notice::MemberAdded { channel, user_id: user_id.unwrap_or_default() },
            What::Left(_) => webhook::Notice::MemberRemoved { channel, user_id: user_id.unwrap_or_default() },
            What::Count(count) => webhook::Notice::SubscriptionCount { channel, count: u64::from(*count) },
            What::ClientEvent(sent) => webhook::Notice::ClientEvent {
                channel,
                event: &self.event,
                data: sent.data.as_deref().map(Data::Text),
                socket_id: SocketId(sent.session.0),
                user_id,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::notice::ClientEvent;
    use crate::channel::{ChannelKey, KeyHasher, NoticeKind, Position, SessionId};
    use crate::node::config::WebhookSettings;
    use serde_json::{Value, json};

    fn notice(what: What) -> Arc<Notice> {
        Arc::new(Notice { channel: ChannelKey::new(&KeyHasher::new(1), 0, b"", b"presence-a"), what })
    }

    #[test]
    fn each_kind_is_written_under_its_name() {
        let sent = ClientEvent {
            event: "client-a".into(),
            data: Some("{\"a\":1}".into()),
            session: SessionId(7 << 32 | 8),
            user: Some("u".into()),
        };
        let all = [
            What::Occupied,
            What::Vacated,
            What::Joined("u".into()),
            What::Left("u".into()),
            What::CacheMiss(Position::ZERO),
            What::ClientEvent(Box::new(sent)),
            What::Count(3),
        ];
        let mut body = Vec::new();
        write_body(&mut body, 5, &all.clone().map(notice));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["time_ms"], 5);
        for (kind, written) in NoticeKind::ALL.into_iter().zip(body["events"].as_array().unwrap()) {
            assert_eq!((&written["name"], &written["channel"]), (&json!(kind.name()), &json!("presence-a")));
        }
        assert_eq!(body["events"].as_array().unwrap().len(), all.len());
        assert_eq!(
            (&body["events"][3]["user_id"], &body["events"][6]["subscription_count"]),
            (&json!("u"), &json!(3))
        );
        let client = json!({"name": "client_event", "channel": "presence-a", "event": "client-a",
            "data": "{\"a\":1}", "socket_id": "7.8", "user_id": "u"});
        assert_eq!(body["events"][5], client);
    }

    #[test]
    fn names_that_are_no_text_still_make_json() {
        let channel = ChannelKey::new(&KeyHasher::new(1), 0, b"", b"a\xff\"");
        let mut body = Vec::new();
        write_body(&mut body, 5, &[Arc::new(Notice { channel, what: What::Left(vec![0xc3].into()) })]);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["events"][0]["channel"], "a\u{fffd}\"");
    }

    #[test]
    fn hooks_belong_to_the_app_they_name_or_to_the_first() {
        let app = |id: &str| AppSettings::new(id, &format!("k-{id}"), "s");
        let hook = |app: Option<&str>, kinds: &[NoticeKind]| WebhookSettings {
            app: app.map(Into::into),
            url: "http://h/".into(),
            events: kinds.iter().copied().collect(),
            ..WebhookSettings::default()
        };
        let config = Config {
            apps: vec![app("a"), app("b"), app("c")],
            webhooks: vec![
                hook(None, &[NoticeKind::Joined]),
                hook(Some("b"), &[NoticeKind::Vacated]),
                hook(Some("b"), &[NoticeKind::ClientEvent]),
            ],
            ..Config::default()
        };
        let keys = |app: usize| {
            endpoints(&config, &config.apps[app]).iter().map(|e| e.key.clone()).collect::<Vec<_>>()
        };
        assert_eq!((keys(0), keys(1).len(), keys(2).len()), (vec!["k-a".into()], 2, 0));
    }
}
