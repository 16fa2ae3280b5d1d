//! What the dialect asks homes for.

use crate::channel::command::{Class, Start, Subscribe as Ask};
use crate::channel::{Concurrency, Policy};
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

/// A look at the newest `count` events.
pub(super) fn glance(policy: &Arc<Policy>, count: u32) -> Ask {
    let start = Start::Nth(-i32::try_from(count.max(1)).unwrap_or(i32::MAX));
    Ask { start, class: Class::Glance, backlog: count, create: false, ..listen(policy) }
}
