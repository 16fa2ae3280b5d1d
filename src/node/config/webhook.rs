//! The keys of a `[[webhook]]`.

use super::WebhookSettings;
use super::keys::Borrowed;
use super::mistake::hint;
use super::value::{Input, Refusal, Setting, quote_all};
use crate::channel::{NoticeKind, NoticeKinds};

/// One key of a web hook.
pub(super) struct WebhookKey {
    pub name: &'static str,
    /// The field it sets.
    pub slot: for<'a> fn(&'a mut WebhookSettings) -> Box<dyn Setting + 'a>,
}

/// All keys, in the order in which they are printed.
pub(super) const WEBHOOK_KEYS: [WebhookKey; 6] = [
    WebhookKey { name: "app", slot: |hook| Box::new(Borrowed(&mut hook.app)) },
    WebhookKey { name: "url", slot: |hook| Box::new(Borrowed(&mut hook.url)) },
    WebhookKey { name: "events", slot: |hook| Box::new(Kinds(&mut hook.events)) },
    WebhookKey { name: "channel_prefix", slot: |hook| Box::new(Borrowed(&mut hook.channel_prefix)) },
    WebhookKey { name: "channel_suffix", slot: |hook| Box::new(Borrowed(&mut hook.channel_suffix)) },
    WebhookKey { name: "batch", slot: |hook| Box::new(Borrowed(&mut hook.batch)) },
];

/// Names of events.
struct Kinds<'a>(&'a mut NoticeKinds);

impl Setting for Kinds<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let mut kinds = NoticeKinds::default();
        let elements = input.list();
        if elements.is_empty() {
            return input.refuse("needs at least one event");
        }
        for element in elements {
            let text = element.text()?;
            match NoticeKind::ALL.into_iter().find(|kind| kind.name() == text) {
                Some(kind) => kinds.insert(kind),
                None => {
                    let hint = hint(&text, NoticeKind::ALL.map(NoticeKind::name));
                    return element.refuse(format!("unknown event `{}`{hint}", text.escape_debug()));
                }
            }
        }
        *self.0 = kinds;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let kinds = NoticeKind::ALL.into_iter().filter(|&kind| self.0.contains(kind));
        Some(quote_all(kinds.map(NoticeKind::name)))
    }
}
