//! A line to one back end for a service that queues, orders and retries by itself: one call at a time, one try each,
//! no queue and no circuit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::HookCounters;
use super::backend::BackEnd;
use super::client::{self, Prepared, Trouble};
use super::trust::Trust;
use crate::channel::hook::{HookCall, HookFailure, HookTarget, HookUrlError};
use crate::limits::HookLimits;

/// See the module. It keeps its connection for the next call.
pub(in crate::service) struct Line {
    backend: BackEnd,
    limits: HookLimits,
    counters: Arc<HookCounters>,
}

impl Line {
    /// A line to the host of `url`.
    ///
    /// # Errors
    /// Says why it is no hook URL.
    pub(in crate::service) fn new(
        url: &str,
        limits: HookLimits,
        counters: Arc<HookCounters>,
        trust: &Arc<Trust>,
    ) -> Result<Line, HookUrlError> {
        let backend = BackEnd::new(&HookTarget::parse(url)?, &limits, trust, Instant::now());
        Ok(Line { backend, limits, counters })
    }

    /// Makes one try of `call`: the status of the answer, or what went wrong and why.
    pub(in crate::service) async fn call(&self, call: &HookCall) -> Result<u16, (HookFailure, String)> {
        self.counters.called();
        let _flying = self.counters.fly();
        let limit = Duration::from_millis(self.limits.timeout_ms.into());
        let begun = Instant::now();
        let result = match tokio::time::timeout(limit, self.exchange(call)).await {
            Ok(result) => result,
            Err(_) => Err(Trouble::new(HookFailure::Timeout, "no whole answer")),
        };
        match result {
            Ok(status) => {
                self.counters.answered(begun.elapsed());
                Ok(status)
            }
            Err(trouble) => {
                self.counters.failed(trouble.failure);
                Err((trouble.failure, trouble.cause))
            }
        }
    }

    async fn exchange(&self, call: &HookCall) -> Result<u16, Trouble> {
        let target = HookTarget::parse(&call.url).map_err(|e| Trouble::new(HookFailure::BadCall, e))?;
        let prepared = Prepared::new(call, &target)?;
        let answer = client::exchange(&self.backend, &self.limits, &self.counters, prepared).await?;
        Ok(answer.status)
    }

    /// Closes a connection that was idle too long; every second or so.
    pub(in crate::service) fn tick(&self) {
        self.backend.tick(Instant::now());
    }
}
