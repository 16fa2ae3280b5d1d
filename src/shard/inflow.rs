//! How much a connection may send: token buckets, kept as the time until which what came is paid for (the generic cell
//! rate algorithm). They stand beside the connections, and only while a limit is on.

use super::Shard;
use super::connection::Carrier;
use crate::limits::{RATE_DEBT_MS, RATE_RETRY_AFTER_S, RateLimits};
use crate::wire::http::request::Request;
use crate::wire::http::response::Response;
use crate::wire::ws::close::{self, Fault};

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// What a connection has used up, monotonic nanoseconds each.
#[derive(Debug, Default)]
pub struct Rate {
    /// Its messages are paid for until then.
    messages_ns: u64,
    /// Its bytes are.
    bytes_ns: u64,
}

impl RateLimits {
    /// Whether anything is limited for connections that came in by `listener`.
    pub fn concern(&self, listener: u16) -> bool {
        (self.messages_per_s > 0 || self.bytes_per_s > 0) && listener < self.public_listeners
    }

    fn burst_ns(&self) -> u64 {
        self.burst_ms.saturating_mul(NS_PER_MS)
    }
}

/// What `count` of something costs of which so many may come in a second, rounded up.
fn cost_ns(count: u64, per_s: usize) -> u64 {
    u64::try_from((u128::from(count) * u128::from(NS_PER_S)).div_ceil(per_s as u128)).unwrap_or(u64::MAX)
}

impl Rate {
    /// One more message. False: it is over the limit, and does not count.
    pub fn message(&mut self, now_ns: u64, limits: &RateLimits) -> bool {
        if limits.messages_per_s == 0 {
            return true;
        }
        let cost = cost_ns(1, limits.messages_per_s);
        let paid = self.messages_ns.max(now_ns).saturating_add(cost);
        // However short the burst, one message may come.
        if paid > now_ns.saturating_add(limits.burst_ns().max(cost)) {
            return false;
        }
        self.messages_ns = paid;
        true
    }

    /// So many bytes have come. False: they are over the limit; they count all the same, for they are here.
    pub fn bytes(&mut self, count: usize, now_ns: u64, limits: &RateLimits) -> bool {
        if limits.bytes_per_s == 0 {
            return true;
        }
        let paid = self.bytes_ns.max(now_ns).saturating_add(cost_ns(count as u64, limits.bytes_per_s));
        let most = now_ns.saturating_add(limits.burst_ns()).saturating_add(RATE_DEBT_MS * NS_PER_MS);
        self.bytes_ns = paid.min(most);
        self.is_within_bytes(now_ns, limits)
    }

    /// Whether what came is within the limit.
    pub fn is_within_bytes(&self, now_ns: u64, limits: &RateLimits) -> bool {
        self.bytes_ns <= now_ns.saturating_add(limits.burst_ns())
    }
}

impl Shard {
    /// Begins to count for the new tenant of `slot`.
    pub(super) fn begin_rate(&mut self, slot: u32) {
        if self.limits.rates.concern(self.slab[slot].listener) {
            let slots = self.rates.len().max(slot as usize + 1);
            self.rates.resize_with(slots, Rate::default);
            self.rates[slot as usize] = Rate::default();
        }
    }

    /// What the connection has used up; none where nothing is limited.
    #[inline]
    fn rate(&mut self, slot: u32) -> Option<&mut Rate> {
        let rate = self.rates.get_mut(slot as usize)?;
        self.limits.rates.concern(self.slab[slot].listener).then_some(rate)
    }

    /// Counts a message or request, if they are limited on this connection. Which limit it is over, if it is.
    #[inline]
    pub(super) fn too_fast(&mut self, slot: u32) -> Option<TooFast> {
        let (now, limits) = (self.now.mono_ns, self.limits.rates);
        let rate = self.rate(slot)?;
        if !rate.is_within_bytes(now, &limits) {
            return Some(TooFast::Bytes);
        }
        (!rate.message(now, &limits)).then_some(TooFast::Messages)
    }

    /// Counts bytes, if they are limited on this connection. False: it is over the limit, and ends. One of requests
    /// goes on: its next request is refused.
    #[inline]
    pub(super) fn takes_bytes(&mut self, slot: u32, count: usize) -> bool {
        let (now, limits) = (self.now.mono_ns, self.limits.rates);
        let Some(rate) = self.rate(slot) else { return true };
        rate.bytes(count, now, &limits) || self.refuse_bytes(slot)
    }

    #[cold]
    fn refuse_bytes(&mut self, slot: u32) -> bool {
        match &self.slab[slot].carrier {
            Carrier::Http(_) | Carrier::Pipe(_) | Carrier::Lingering => return true,
            Carrier::WebSocket(_) => self.fail_websocket(slot, TooFast::Bytes.fault()),
            Carrier::Stream(_) => {
                self.refuse(slot, TooFast::Bytes.label(), TooFast::Bytes.reason());
                self.close_now(slot);
            }
        }
        false
    }

    /// Answers a request that came too fast. The connection is kept: a publisher has more to say later.
    #[cold]
    pub(super) fn refuse_for_rate(&mut self, slot: u32, request: &Request<'_>, why: TooFast) {
        self.refuse(slot, why.label(), why.reason());
        let response =
            Response::new(429).number("Retry-After", RATE_RETRY_AFTER_S).body("text/plain", why.reason());
        let lines = self.dialects.cross_origin(self.slab[slot].listener, request);
        self.respond_with(slot, &response, request, &lines);
    }
}

/// Which limit a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooFast {
    /// Messages in a second.
    Messages,
    /// Bytes in a second.
    Bytes,
}

impl TooFast {
    /// For metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            TooFast::Messages => "messages_in_rate",
            TooFast::Bytes => "bytes_in_rate",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            TooFast::Messages => "too many messages in a second",
            TooFast::Bytes => "too many bytes in a second",
        }
    }

    /// How a WebSocket ends that is over it.
    pub fn fault(self) -> Fault {
        Fault { code: close::POLICY, reason: self.reason() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RateLimits =
        RateLimits { messages_per_s: 10, bytes_per_s: 1_000, burst_ms: 2_000, public_listeners: 1 };
    const START_NS: u64 = 5 * NS_PER_S;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut rate = Rate::default();
        let taken = (0..100).filter(|_| rate.message(START_NS, &LIMITS)).count();
        assert_eq!(taken, 20, "two seconds' worth at once");
        for tenth in 1..=50 {
            let now = START_NS + tenth * NS_PER_S / 10;
            assert!(rate.message(now, &LIMITS) && !rate.message(now, &LIMITS), "{tenth}");
        }
        let later = START_NS + 60 * NS_PER_S;
        assert_eq!(
            (0..100).filter(|_| rate.message(later, &LIMITS)).count(),
            20,
            "a silence saves up no more"
        );
    }

    #[test]
    fn bytes_are_owed_for_a_second_at_most() {
        let mut rate = Rate::default();
        assert!(rate.bytes(2_000, START_NS, &LIMITS));
        assert!(!rate.bytes(1, START_NS, &LIMITS));
        assert!(!rate.bytes(usize::MAX, START_NS, &LIMITS));
        let later = START_NS + RATE_DEBT_MS * NS_PER_MS;
        assert!(!rate.is_within_bytes(later - 1, &LIMITS) && rate.is_within_bytes(later, &LIMITS));
        assert!(!rate.bytes(1, later, &LIMITS), "nothing is saved up by then");
    }

    #[test]
    fn however_small_one_message_may_come() {
        let limits = RateLimits { messages_per_s: 1, burst_ms: 1, ..LIMITS };
        let mut rate = Rate::default();
        assert!(rate.message(START_NS, &limits) && !rate.message(START_NS, &limits));
        assert!(rate.message(START_NS + NS_PER_S, &limits));
    }

    #[test]
    fn only_where_it_is_on() {
        assert!(!RateLimits::default().concern(0));
        assert!(LIMITS.concern(0) && !LIMITS.concern(1), "internal listeners are not limited");
        let off = RateLimits { messages_per_s: 0, bytes_per_s: 0, ..LIMITS };
        assert!(!off.concern(0));
        let mut rate = Rate::default();
        assert!(rate.message(0, &off) && rate.bytes(usize::MAX, 0, &off) && rate.is_within_bytes(0, &off));
    }
}
