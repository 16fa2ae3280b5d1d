//! What the dialect asks homes for.

use crate::channel::command::{Class, Start, Subscribe as Ask};
use crate::channel::{Concurrency, Policy};
use crate::limits::PUSHI_RENEWED_EVENTS;
use std::sync::Arc;

/// A subscription to what comes.
pub(super) fn listen(policy: &Arc<Policy>) -> Ask {
    Ask {
        start: Start::Live,
        class: Class::Stream,
        backlog: 1,
        create: true,
        max_subscribers: 0,
        concurrency: Concurrency::Broadcast,
        policy: policy.clone(),
        user: None,
        list_users: false,
    }
}

/// A subscription to a channel that was deleted under the client: all that the new one has was published since.
pub(super) fn renew(policy: &Arc<Policy>) -> Ask {
    Ask { start: Start::Oldest, backlog: PUSHI_RENEWED_EVENTS, ..listen(policy) }
}

/// A look at the newest `count` events.
pub(super) fn glance(policy: &Arc<Policy>, count: u32) -> Ask {
    let start = Start::Nth(-i32::try_from(count.max(1)).unwrap_or(i32::MAX));
    Ask { start, class: Class::Glance, backlog: count, create: false, ..listen(policy) }
}
