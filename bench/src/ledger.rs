//! The books of a fan-out run: which message each subscriber must get next, byte for byte. A delivery that is
//! missing, doubled, out of order, altered or from elsewhere is told as what it is.

use std::fmt;

/// Bytes of a payload that say what it is: run, publisher, number. The rest is padding.
pub const TAG_BYTES: usize = 27;
/// Publishers a tag can name.
pub const PUBLISHERS_MAX: usize = 1000;

/// What is wrong with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Not of this run (an old message replayed, or of another client).
    Foreign,
    /// The subscriber had this message already.
    Doubled {
        /// Number of the message that came.
        number: u64,
    },
    /// One or more messages are missing before it.
    Gap {
        /// The message that was due.
        expected: u64,
        /// The message that came.
        number: u64,
    },
    /// Right tag, wrong bytes behind it.
    Altered {
        /// Number of the message that came.
        number: u64,
    },
    /// Bears a number that was never published.
    NeverSent {
        /// Number of the message that came.
        number: u64,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Foreign => f.write_str("a message that is not of this run"),
            Mistake::Doubled { number } => write!(f, "message {number} twice or out of order"),
            Mistake::Gap { expected, number } => write!(f, "message {number} where {expected} was due"),
            Mistake::Altered { number } => write!(f, "message {number} with other bytes than were published"),
            Mistake::NeverSent { number } => write!(f, "message {number}, which was never published"),
        }
    }
}

/// A message that the last of all subscribers has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// Whose.
    pub publisher: usize,
    /// Which, counted from 0 per publisher.
    pub number: u64,
}

/// One publisher's messages in flight, at most the window.
struct Lane {
    /// Messages published so far.
    sent: u64,
    /// Messages that every subscriber has got. They complete in order, as each subscriber gets them in order.
    complete: u64,
    /// Payload and number of subscribers still without it, at `number % window`.
    slots: Vec<(Vec<u8>, usize)>,
}

/// See the module.
pub struct Ledger {
    run: u32,
    subscribers: usize,
    payload_bytes: usize,
    lanes: Vec<Lane>,
    /// Number due next, per subscriber and publisher.
    due: Vec<u64>,
    /// Deliveries so far, per subscriber.
    got: Vec<u64>,
}

impl Ledger {
    /// `run` tells this run's messages from others'. `window` is the number of messages in flight per publisher.
    /// Sizes that cannot be written into a tag are raised to the least that can.
    pub fn new(run: u32, subscribers: usize, publishers: usize, window: usize, payload_bytes: usize) -> Self {
        let publishers = publishers.clamp(1, PUBLISHERS_MAX);
        let lane = || Lane { sent: 0, complete: 0, slots: vec![(Vec::new(), 0); window.max(1)] };
        Ledger {
            run,
            subscribers,
            payload_bytes: payload_bytes.max(TAG_BYTES),
            lanes: (0..publishers).map(|_| lane()).collect(),
            due: vec![0; subscribers * publishers],
            got: vec![0; subscribers],
        }
    }

    /// Enters the next message of `publisher` and returns its payload. None while its window is full.
    pub fn publish(&mut self, publisher: usize) -> Option<&[u8]> {
        let lane = &mut self.lanes[publisher];
        let window = lane.slots.len() as u64;
        if lane.sent - lane.complete >= window {
            return None;
        }
        let number = lane.sent;
        lane.sent += 1;
        let slot = &mut lane.slots[(number % window) as usize];
        slot.1 = self.subscribers;
        write_payload(&mut slot.0, self.run, publisher, number, self.payload_bytes);
        Some(&slot.0)
    }

    /// Number the next message of `publisher` will have.
    pub fn number_next(&self, publisher: usize) -> u64 {
        self.lanes[publisher].sent
    }

    /// Messages of `publisher` that some subscriber still lacks.
    pub fn in_flight(&self, publisher: usize) -> usize {
        let lane = &self.lanes[publisher];
        (lane.sent - lane.complete) as usize
    }

    /// Messages published so far.
    pub fn sent(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.sent).sum()
    }

    /// Messages that every subscriber has got.
    pub fn complete(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.complete).sum()
    }

    /// Deliveries to one subscriber so far.
    pub fn got(&self, subscriber: usize) -> u64 {
        self.got[subscriber]
    }

    /// Enters a delivery. Tells when it was the last one of its message.
    pub fn deliver(&mut self, subscriber: usize, payload: &[u8]) -> Result<Option<Complete>, Mistake> {
        let publishers = self.lanes.len();
        let publisher = if publishers == 1 { 0 } else { publisher_of(payload) };
        let Some(lane) = self.lanes.get_mut(publisher) else { return Err(Mistake::Foreign) };
        let due = &mut self.due[subscriber * publishers + publisher];
        let number = *due;
        let place = (number % lane.slots.len() as u64) as usize;
        let slot = &mut lane.slots[place];
        // A slot holds message `number` only once that has been published.
        if number >= lane.sent || slot.0 != payload {
            return Err(self.name_mistake(payload, publisher, number));
        }
        *due += 1;
        self.got[subscriber] += 1;
        slot.1 -= 1;
        if slot.1 > 0 {
            return Ok(None);
        }
        lane.complete += 1;
        Ok(Some(Complete { publisher, number }))
    }

    fn name_mistake(&self, payload: &[u8], publisher: usize, due: u64) -> Mistake {
        let tag = match parse_tag(payload) {
            Some(tag) if tag.run == self.run && tag.publisher == publisher => tag,
            _ => return Mistake::Foreign,
        };
        let number = tag.number;
        if number >= self.lanes[publisher].sent {
            Mistake::NeverSent { number }
        } else if number < due {
            Mistake::Doubled { number }
        } else if number > due {
            Mistake::Gap { expected: due, number }
        } else {
            Mistake::Altered { number }
        }
    }
}

struct Tag {
    run: u32,
    publisher: usize,
    number: u64,
}

/// `fw-rrrrrrrr-ppp-nnnnnnnnnn-` and printable padding that differs from message to message.
fn write_payload(out: &mut Vec<u8>, run: u32, publisher: usize, number: u64, bytes: usize) {
    let number = number % 10_000_000_000;
    out.clear();
    out.extend_from_slice(format!("fw-{run:08x}-{publisher:03}-{number:010}-").as_bytes());
    let shift = (number % 26) as usize;
    out.extend((0..bytes.saturating_sub(TAG_BYTES)).map(|i| b'a' + ((i + shift) % 26) as u8));
}

/// Number of the publisher in a tag, from its digits alone. Of other bytes it is any number: the comparison with
/// the message that is due tells.
fn publisher_of(payload: &[u8]) -> usize {
    let Some(digits) = payload.get(12..15) else { return 0 };
    digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit.wrapping_sub(b'0')))
}

fn parse_tag(payload: &[u8]) -> Option<Tag> {
    let tag = std::str::from_utf8(payload.get(..TAG_BYTES)?).ok()?;
    let mut parts = tag.split('-');
    if parts.next() != Some("fw") {
        return None;
    }
    let run = u32::from_str_radix(parts.next()?, 16).ok()?;
    let publisher = parts.next()?.parse().ok()?;
    let number = parts.next()?.parse().ok()?;
    Some(Tag { run, publisher, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(ledger: &mut Ledger, publisher: usize) -> Vec<u8> {
        ledger.publish(publisher).unwrap().to_vec()
    }

    #[test]
    fn a_message_is_complete_when_the_last_subscriber_has_it() {
        let mut ledger = Ledger::new(7, 3, 1, 1, 128);
        let message = publish(&mut ledger, 0);
        assert_eq!(message.len(), 128);
        assert!(ledger.publish(0).is_none(), "window of one is full");
        assert_eq!(ledger.deliver(2, &message), Ok(None));
        assert_eq!(ledger.deliver(0, &message), Ok(None));
        assert_eq!(ledger.complete(), 0);
        assert_eq!(ledger.deliver(1, &message), Ok(Some(Complete { publisher: 0, number: 0 })));
        assert_eq!((ledger.sent(), ledger.complete(), ledger.got(1), ledger.in_flight(0)), (1, 1, 1, 0));
        assert!(ledger.publish(0).is_some());
    }

    #[test]
    fn payloads_hold_nothing_that_json_a_line_or_an_event_would_change() {
        let mut ledger = Ledger::new(u32::MAX, 1, 1000, 30, 200);
        for _ in 0..30 {
            let message = publish(&mut ledger, 999);
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
            assert!(message.iter().all(plain), "{}", String::from_utf8_lossy(&message));
        }
    }

    #[test]
    fn a_doubled_delivery_is_told_whatever_is_in_flight() {
        let mut ledger = Ledger::new(7, 1, 1, 2, 64);
        let first = publish(&mut ledger, 0);
        ledger.deliver(0, &first).unwrap();
        assert_eq!(ledger.deliver(0, &first), Err(Mistake::Doubled { number: 0 }));
        let second = publish(&mut ledger, 0);
        assert_eq!(ledger.deliver(0, &first), Err(Mistake::Doubled { number: 0 }));
        ledger.deliver(0, &second).unwrap();
        // The slot of the message now due still holds the first one.
        assert_eq!(ledger.deliver(0, &first), Err(Mistake::Doubled { number: 0 }));
    }

    #[test]
    fn gaps_alterations_and_strangers_are_told_apart() {
        let mut ledger = Ledger::new(7, 1, 1, 4, 64);
        let first = publish(&mut ledger, 0);
        let second = publish(&mut ledger, 0);
        assert_eq!(ledger.deliver(0, &second), Err(Mistake::Gap { expected: 0, number: 1 }));
        let mut altered = first.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert_eq!(ledger.deliver(0, &altered), Err(Mistake::Altered { number: 0 }));
        assert_eq!(ledger.deliver(0, &first[..63]), Err(Mistake::Altered { number: 0 }));
        assert_eq!(ledger.deliver(0, b"hello"), Err(Mistake::Foreign));
        let other_run = publish(&mut Ledger::new(8, 1, 1, 4, 64), 0);
        assert_eq!(ledger.deliver(0, &other_run), Err(Mistake::Foreign));
        let mut twin = Ledger::new(7, 1, 1, 4, 64);
        let last = (0..4).map(|_| publish(&mut twin, 0)).last().unwrap();
        assert_eq!(ledger.deliver(0, &last), Err(Mistake::NeverSent { number: 3 }));
        assert_eq!(ledger.got(0), 0);
    }

    #[test]
    fn publishers_are_counted_apart_and_may_interleave() {
        let mut ledger = Ledger::new(7, 2, 3, 2, 64);
        let a = [publish(&mut ledger, 0), publish(&mut ledger, 0)];
        let c = [publish(&mut ledger, 2), publish(&mut ledger, 2)];
        for message in [&a[0], &c[0], &c[1], &a[1]] {
            assert_eq!(ledger.deliver(0, message), Ok(None));
        }
        assert_eq!(ledger.deliver(1, &c[0]), Ok(Some(Complete { publisher: 2, number: 0 })));
        assert_eq!(ledger.deliver(1, &a[1]), Err(Mistake::Gap { expected: 0, number: 1 }));
        assert_eq!((ledger.in_flight(0), ledger.in_flight(1), ledger.in_flight(2)), (2, 0, 1));
        let stranger = publish(&mut Ledger::new(7, 1, 9, 1, 64), 8);
        assert_eq!(ledger.deliver(0, &stranger), Err(Mistake::Foreign));
    }
}
