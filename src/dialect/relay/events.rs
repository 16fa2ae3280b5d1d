//! Channel events: texts published to a channel of group `meta` when something happens in a location's channels
//! (nchan sheet section 5).

use crate::channel::{ChannelKey, Command, Message, Policy};
use crate::dialect::relay::exchange::Ask;
use crate::dialect::relay::template::Scope;
use crate::dialect::{Action, Context};
use std::sync::Arc;

/// One event, ready to be told.
#[derive(Clone, Debug)]
pub struct Tell {
    channel: Arc<ChannelKey>,
    message: Message,
    policy: Arc<Policy>,
}

/// Prepares event `event` for each channel id in `scope`; nothing where the location has no events.
pub fn prepare(ask: &Ask<'_>, scope: &Scope<'_>, event: &str) -> Vec<Tell> {
    let Some(channel) = &ask.location.events_channel else { return Vec::new() };
    let policy = Arc::new(Policy { group_limits: None, durable: false, ..(*ask.location.policy).clone() });
    let ids = scope.channel_ids.iter();
    ids.map(|id| {
        let scope = Scope { channel_ids: std::slice::from_ref(id), event, ..*scope };
        let payload = ask.location.events_text.fill(&scope).into();
        Tell {
            channel: ask.location.key(ask.hasher, b"meta", &channel.fill(&scope)),
            message: Message { payload, ..Message::default() },
            policy: policy.clone(),
        }
    })
    .collect()
}

/// Publishes events.
pub fn tell<'t>(cx: &mut Context<'_>, events: impl IntoIterator<Item = &'t Tell>) {
    for event in events {
        let command =
            Command::Publish { message: event.message.clone(), policy: event.policy.clone(), create: true };
        cx.act(Action::Tell { key: event.channel.clone(), command });
    }
}
