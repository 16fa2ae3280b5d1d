//! From the bytes of one subscriber's socket to deliveries in the ledger, whatever pieces the bytes come in.

use crate::frame::{self, Frame, FrameError, Kind};
use crate::ledger::{Complete, Ledger, Mistake};
use crate::wire::{Heard, Inflater, Poll, Stream, Talk};
use std::fmt;

/// Room beside the payload for what a dialect puts around it, bytes.
const AROUND_BYTES: usize = 4096;

/// Why a subscriber's stream is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a frame we asked for.
    Frame(FrameError),
    /// Not the message that was due.
    Delivery(Mistake),
    /// The server sent a close frame, with this code if it gave one.
    Close(Option<u16>),
    /// Not what the dialect or the carrier allows.
    Wire(String),
}

impl From<String> for Fault {
    fn from(what: String) -> Fault {
        Fault::Wire(what)
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Fault {
        Fault::Frame(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Frame(error) => error.fmt(f),
            Fault::Delivery(mistake) => mistake.fmt(f),
            Fault::Close(Some(code)) => write!(f, "a close frame with code {code}"),
            Fault::Close(None) => f.write_str("a close frame"),
            Fault::Wire(what) => f.write_str(what),
        }
    }
}

/// What reading brings about, and what it needs. One for all subscribers.
#[derive(Debug, Default)]
pub struct Events {
    /// Messages whose last delivery was read.
    pub complete: Vec<Complete>,
    /// What goes back, and what reading needs.
    pub desk: Desk,
}

/// What goes back to the server, and what reading needs.
#[derive(Debug, Default)]
pub struct Desk {
    /// Bytes to be sent on the subscriber's socket: pongs, the dialect's answers, the next poll.
    pub replies: Vec<u8>,
    /// For compressed messages.
    pub inflater: Inflater,
    /// Messages that came uncompressed though compression was agreed.
    pub plain: u64,
    inflated: Vec<u8>,
}

impl Desk {
    /// A server that agrees to compression and then sends nothing compressed has not been measured with it.
    pub fn check_compressed(&self) -> Result<(), String> {
        if self.plain > 0 && self.inflater.messages == 0 {
            return Err("the server has agreed to permessage-deflate and sends nothing compressed".to_owned());
        }
        Ok(())
    }
}

/// How a subscriber reads.
#[derive(Debug, Default)]
pub enum Mode {
    /// Every frame is a message.
    #[default]
    Frames,
    /// Frames are the texts of a dialect, and may come compressed if the flag is set.
    Talk(Box<Talk>, bool),
    /// An answer that never ends.
    Stream(Box<Stream>),
    /// Long polls.
    Poll(Box<Poll>),
}

/// Bytes that are no complete message yet; empty, and without memory of its own, for most of the time.
#[derive(Debug, Default)]
pub struct Inbox {
    held: Vec<u8>,
    mode: Mode,
}

impl Inbox {
    /// Starts with bytes that came behind the opening.
    pub fn new(mode: Mode, held: Vec<u8>) -> Inbox {
        Inbox { held, mode }
    }

    /// Whether nothing has come behind the last whole message.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes bytes of `subscriber`'s socket. `limit` bounds a message, bytes.
    #[inline]
    pub fn take(
        &mut self,
        subscriber: usize,
        bytes: &[u8],
        limit: usize,
        ledger: &mut Ledger,
        events: &mut Events,
    ) -> Result<(), Fault> {
        let Events { complete, desk } = events;
        self.take_with(bytes, limit, desk, |payload| match ledger.deliver(subscriber, payload) {
            Ok(None) => Ok(()),
            Ok(Some(done)) => {
                complete.push(done);
                Ok(())
            }
            Err(mistake) => Err(Fault::Delivery(mistake)),
        })
    }

    /// Takes bytes and hands each message's payload to `on`. `limit` bounds a message, bytes.
    #[inline(always)]
    pub fn take_with(
        &mut self,
        bytes: &[u8],
        limit: usize,
        desk: &mut Desk,
        mut on: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Inbox { held, mode } = self;
        if held.is_empty() {
            let used = mode.read(bytes, limit, desk, &mut on)?;
            held.extend_from_slice(&bytes[used..]);
        } else {
            held.extend_from_slice(bytes);
            let used = mode.read(held, limit, desk, &mut on)?;
            held.drain(..used);
        }
        Ok(())
    }
}

impl Mode {
    /// Hands on all complete messages and returns the number of bytes they had.
    #[inline(always)]
    fn read(
        &mut self,
        bytes: &[u8],
        limit: usize,
        desk: &mut Desk,
        on: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        match self {
            Mode::Frames => read_frames(bytes, limit, desk, on),
            Mode::Talk(talk, deflate) => read_talk(talk, *deflate, bytes, limit, desk, on),
            Mode::Stream(stream) => stream.take(bytes, limit, on),
            Mode::Poll(poll) => poll.take(bytes, &mut desk.replies, on),
        }
    }
}

fn read_frames(
    bytes: &[u8],
    limit: usize,
    desk: &mut Desk,
    on: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    let mut used = 0;
    while let Some(found) = frame::next(&bytes[used..], limit)? {
        let payload = &bytes[used..][found.payload.clone()];
        match found.kind {
            Kind::Message => on(payload)?,
            _ => control(&found, payload, desk)?,
        }
        used += found.payload.end;
    }
    Ok(used)
}

fn control(found: &Frame, payload: &[u8], desk: &mut Desk) -> Result<(), Fault> {
    match found.kind {
        Kind::Message | Kind::Pong => {}
        Kind::Ping => desk.replies.extend(frame::pong(payload)),
        Kind::Close => {
            return Err(Fault::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))));
        }
    }
    Ok(())
}

fn read_talk(
    talk: &Talk,
    deflate: bool,
    bytes: &[u8],
    limit: usize,
    desk: &mut Desk,
    on: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    let limit = limit + AROUND_BYTES;
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        let found = if deflate { frame::next_deflated(rest, limit)? } else { frame::next(rest, limit)? };
        let Some(found) = found else { return Ok(used) };
        let payload = &rest[found.payload.clone()];
        used += found.payload.end;
        if found.kind != Kind::Message {
            control(&found, payload, desk)?;
            continue;
        }
        let Desk { replies, inflater, plain, inflated } = desk;
        let text = if found.compressed {
            inflater.inflate(payload, limit, inflated)?;
            inflated
        } else {
            *plain += u64::from(deflate);
            payload
        };
        talk.hear(text, |heard| match heard {
            Heard::Message(payload) => on(payload),
            Heard::Answer(text) => {
                frame::push_masked(replies, text.as_bytes(), [0; 4]);
                Ok(())
            }
            Heard::Nothing => Ok(()),
        })?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{App, Dialect, Wire};

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
                assert_eq!(events.desk.replies, frame::pong(b"hi"));
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

    #[test]
    fn compressed_frames_are_deliveries_like_others_and_counted() {
        let mut ledger = Ledger::new(1, 1, 1, 2, 200);
        let mut bytes = Vec::new();
        let first = crate::wire::deflated(ledger.publish(0).unwrap());
        frame::push_head(&mut bytes, 0xc1, 0, first.len());
        bytes.extend_from_slice(&first);
        frame::push_text(&mut bytes, ledger.publish(0).unwrap());
        let talk = |deflate| Inbox::new(Mode::Talk(Box::new(Talk::Relay), deflate), Vec::new());
        let mut events = Events::default();
        let refused = talk(false).take(0, &bytes, LIMIT, &mut ledger, &mut events);
        assert_eq!(refused, Err(Fault::Frame(FrameError::ReservedBits(0xc1))));
        talk(true).take(0, &bytes, LIMIT, &mut ledger, &mut events).unwrap();
        assert_eq!((ledger.complete(), events.desk.inflater.messages, events.desk.plain), (2, 1, 1));
    }

    #[test]
    fn a_dialect_s_ping_is_answered_masked_and_its_messages_are_deliveries() {
        let mut ledger = Ledger::new(1, 1, 1, 2, 64);
        let wire = Wire::of(Dialect::Socketio, "a", &App::default());
        let mut inbox = Inbox::new(Mode::Talk(Box::new(Talk::new(&wire)), false), Vec::new());
        let mut events = Events::default();
        let payload = String::from_utf8(ledger.publish(0).unwrap().to_vec()).unwrap();
        let mut bytes = Vec::new();
        frame::push_text(&mut bytes, b"2");
        frame::push_text(&mut bytes, format!(r#"42["m","{payload}"]"#).as_bytes());
        inbox.take(0, &bytes, 64, &mut ledger, &mut events).unwrap();
        assert_eq!(ledger.complete(), 1);
        assert_eq!(events.desk.replies, [0x81, 0x81, 0, 0, 0, 0, b'3']);
    }
}
