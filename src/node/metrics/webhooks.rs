//! Figures of the web hook service.

use super::write::Writer;
use crate::channel::hook::HookFailure;
use crate::service::webhooks::{Lost, WebhookCounters};
use prometheus_client::registry::Unit;
use std::fmt;

/// Writes all of them.
pub fn collect(c: &WebhookCounters, out: &mut Writer<'_>) -> fmt::Result {
    out.counter("fanwire_webhook_notices", "Notices that shards handed over", c.taken())?;
    out.counter("fanwire_webhook_undone", "Notices not told because they were undone in time", c.undone())?;
    out.counter("fanwire_webhook_sent", "Events that endpoints have taken", c.sent())?;
    let lost = Lost::ALL.map(|why| ([("reason", why.label())], c.lost(why)));
    out.labelled_counter("fanwire_webhook_dropped", "Events that did not reach their endpoint", lost)?;
    out.counter("fanwire_webhook_calls", "Calls to endpoints, further tries included", c.calls().calls())?;
    let failures = HookFailure::ALL.map(|failure| (failure.label(), c.calls().failures(failure)));
    let failures = failures.into_iter().chain([("status", c.refused())]);
    let failures = failures.map(|(reason, count)| ([("reason", reason)], count));
    out.labelled_counter("fanwire_webhook_failures", "Calls that failed", failures)?;
    out.counter("fanwire_webhook_retries", "Calls made anew after a failure", c.retried())?;
    out.gauge("fanwire_webhook_held", "Notices that may still be undone", c.held())?;
    out.gauge("fanwire_webhook_waiting", "Events that wait for endpoints", c.waiting())?;
    let help = "Bytes of events that wait for endpoints";
    out.gauge_in("fanwire_webhook_waiting", &Unit::Bytes, help, c.waiting_bytes())
}
