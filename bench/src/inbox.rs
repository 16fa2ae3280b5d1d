//! From the bytes of one subscriber's socket to deliveries in the ledger, whatever pieces the bytes come in.

use crate::frame::{self, FrameError, Kind};
use crate::ledger::{Complete, Ledger, Mistake};
use std::fmt;

/// Why a subscriber's stream is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a frame we asked for.
    Frame(FrameError),
    /// Not the message that was due.
    Delivery(Mistake),
    /// The server sent a close frame, with this code if it gave one.
    Close(Option<u16>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Frame(error) => error.fmt(f),
            Fault::Delivery(mistake) => mistake.fmt(f),
            Fault::Close(Some(code)) => write!(f, "a close frame with code {code}"),
            Fault::Close(None) => f.write_str("a close frame"),
        }
    }
}

/// What reading brought about.
#[derive(Debug, Default)]
pub struct Events {
    /// Messages whose last delivery was read.
    pub complete: Vec<Complete>,
    /// Payloads of pings to be answered.
    pub pings: Vec<Vec<u8>>,
}

/// Bytes of a frame that is not complete yet; empty, and without memory of its own, for most of the time.
#[derive(Debug, Default)]
pub struct Inbox {
    held: Vec<u8>,
}

impl Inbox {
    /// Starts with bytes that came behind the handshake.
    pub fn with(held: Vec<u8>) -> Inbox {
        Inbox { held }
    }

    /// Takes bytes of `subscriber`'s socket. `limit` bounds a frame's payload, bytes.
    pub fn take(
        &mut self,
        subscriber: usize,
        bytes: &[u8],
        limit: usize,
        ledger: &mut Ledger,
        events: &mut Events,
    ) -> Result<(), Fault> {
        if self.held.is_empty() {
            let used = read_frames(subscriber, bytes, limit, ledger, events)?;
            self.held.extend_from_slice(&bytes[used..]);
        } else {
            self.held.extend_from_slice(bytes);
            let used = read_frames(subscriber, &self.held, limit, ledger, events)?;
            self.held.drain(..used);
        }
        Ok(())
    }
}

/// Enters all complete frames and returns the number of bytes they had.
fn read_frames(
    subscriber: usize,
    bytes: &[u8],
    limit: usize,
    ledger: &mut Ledger,
    events: &mut Events,
) -> Result<usize, Fault> {
    let mut used = 0;
    while let Some(found) = frame::next(&bytes[used..], limit).map_err(Fault::Frame)? {
        let payload = &bytes[used..][found.payload.clone()];
        match found.kind {
            Kind::Message => {
                events.complete.extend(ledger.deliver(subscriber, payload).map_err(Fault::Delivery)?);
            }
            Kind::Ping => events.pings.push(payload.to_vec()),
            Kind::Pong => {}
            Kind::Close => {
                return Err(Fault::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))));
            }
        }
        used += found.payload.end;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 16;

    /// Three messages as one stream, with a ping between them.
    fn stream(ledger: &mut Ledger) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in 0..3 {
            frame::push_text(&mut bytes, ledger.publish(0).unwrap());
            if message == 1 {
                bytes.extend_from_slice(&[0x89, 2, b'h', b'i']);
            }
        }
        bytes
    }

    #[test]
    fn frames_are_read_alike_in_whatever_pieces_they_come() {
        let length = stream(&mut Ledger::new(1, 1, 1, 3, 200)).len();
        for first in 0..length {
            for second in [first, first + 1, first + 7, first + 250] {
                let mut ledger = Ledger::new(1, 1, 1, 3, 200);
                let bytes = stream(&mut ledger);
                let second = second.min(length);
                let (mut inbox, mut events) = (Inbox::default(), Events::default());
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    inbox.take(0, piece, LIMIT, &mut ledger, &mut events).unwrap();
                }
                assert_eq!((ledger.complete(), events.complete.len()), (3, 3), "cut at {first} and {second}");
                assert_eq!(events.pings, [b"hi"]);
                assert!(inbox.held.is_empty());
            }
        }
    }

    #[test]
    fn a_lost_frame_in_the_middle_of_a_read_is_told() {
        let mut ledger = Ledger::new(1, 1, 1, 3, 64);
        let bytes = stream(&mut ledger);
        let one = bytes.len().div_euclid(3);
        let lost = [&bytes[..one - 1], &bytes[one - 1 + 66 + 4..]].concat();
        let (mut inbox, mut events) = (Inbox::default(), Events::default());
        let fault = inbox.take(0, &lost, LIMIT, &mut ledger, &mut events).unwrap_err();
        assert_eq!(fault, Fault::Delivery(Mistake::Gap { expected: 1, number: 2 }));
    }

    #[test]
    fn close_and_nonsense_are_faults() {
        let mut ledger = Ledger::new(1, 1, 1, 1, 64);
        let mut take =
            |bytes: &[u8]| Inbox::default().take(0, bytes, LIMIT, &mut ledger, &mut Events::default());
        assert_eq!(take(&[0x88, 2, 3, 0xe9]), Err(Fault::Close(Some(1001))));
        assert_eq!(take(&[0x88, 0]), Err(Fault::Close(None)));
        assert_eq!(take(b"HTTP/1.1"), Err(Fault::Frame(FrameError::ReservedBits(b'H'))));
    }
}
