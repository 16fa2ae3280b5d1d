//! Received bytes to messages (RFC 6455 sections 5 and 6.2).
//!
//! Invariants:
//! - what is kept never exceeds the limits, and buffers grow with the bytes that came, not with the length that a
//!   header declares;
//! - text is checked as it arrives, also within a frame that is not complete (RFC 6455 section 8.1);
//! - between messages nothing is kept: the reader is one pointer and three small fields.

use super::close::{self, Fault};
use super::deflate::Inflater;
use super::frame::{HEADER_BYTES, Opcode};
use super::mask;
use super::utf8::Utf8;
use crate::limits::{WS_CONTROL_BYTES, WsLimits};

/// Which side the reader is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Reads what a client sends: every frame has to be masked.
    #[default]
    Server,
    /// Reads what a server sends: no frame may be masked.
    Client,
}

/// A complete message or control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping; the answer is a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The last event of a connection. The answer is a close frame with the same code.
    Close {
        /// The peer's code, or none.
        code: Option<u16>,
        /// The peer's reason, perhaps empty.
        reason: &'a str,
    },
}

/// What one call of [`Reader::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes of the input that are done with. All of them when there is no event.
    pub consumed: usize,
    /// At most one event; `None` when the input was used up without another one.
    pub event: Option<Event<'a>>,
}

/// The reader of one connection.
///
/// Order of calls: [`Reader::step`] with what was received, again with what the step left over, until a step has
/// no event. After an error or a close event the reader ignores everything.
#[derive(Debug, Default)]
pub struct Reader {
    /// What is incomplete. `None` between messages.
    kept: Option<Box<Kept>>,
    role: Role,
    /// The last event was borrowed from here, so the next step frees it.
    spent: Spent,
    /// A close frame came or the connection was failed.
    ended: bool,
}

/// What the last event was borrowed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Spent {
    #[default]
    Nothing,
    Control,
    Message,
}

/// What is kept of incomplete frames and messages.
#[derive(Debug, Default)]
struct Kept {
    /// First bytes of a header that is not complete.
    head: [u8; HEADER_BYTES],
    head_len: usize,
    /// A frame whose header is complete and whose payload is not.
    frame: Option<Frame>,
    /// Payload so far of a control frame in `frame`.
    control: Vec<u8>,
    /// The message in progress. Control frames may come between its fragments.
    message: Option<Message>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: Opcode,
    fin: bool,
    rsv1: bool,
    len: u64,
    mask: Option<[u8; 4]>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    /// Payload bytes that have come, less than `header.len`.
    seen: u64,
}

#[derive(Debug)]
struct Message {
    text: bool,
    /// `data` is deflated (RSV1 of the first frame).
    deflated: bool,
    /// Frames so far, this one included.
    frames: usize,
    data: Vec<u8>,
    /// Of a text message that is not deflated.
    utf8: Utf8,
}

/// Where [`Reader::advance`] found something complete.
enum Found {
    Nothing,
    /// A whole frame, its payload in the input from here to here.
    Input {
        header: Header,
        start: usize,
        end: usize,
    },
    /// The kept control frame.
    Control(Opcode),
    /// The kept message.
    Message {
        text: bool,
        deflated: bool,
    },
}

impl Reader {
    /// A reader for the given side. [`Reader::default`] is the server's.
    pub fn new(role: Role) -> Reader {
        Reader { role, ..Reader::default() }
    }

    /// Whether a close frame was read or a step has failed. All later input is ignored.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing is kept: no message and no frame has begun.
    pub fn is_idle(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| {
            let between = kept.message.is_none() || self.spent == Spent::Message;
            between && kept.frame.is_none() && kept.head_len == 0
        })
    }

    /// Heap bytes that are kept now; 0 between messages.
    pub fn heap_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| {
            let message = kept.message.as_ref().map_or(0, |message| message.data.capacity());
            size_of::<Kept>() + kept.control.capacity() + message
        })
    }

    /// Reads `input` up to the end of the next message or control frame. Payloads are unmasked in place, so the
    /// consumed part of `input` is not what came any more.
    ///
    /// `deflate` is the inflater of a connection that negotiated permessage-deflate; without one, RSV1 is an
    /// error. An inflater without context takeover keeps nothing between messages and may be shared.
    ///
    /// # Errors
    /// A [`Fault`] as soon as the bytes break RFC 6455 or RFC 7692 (1002, 1007) or a limit (1008 for too many
    /// fragments, 1009 for too long a message). The connection has to be failed.
    pub fn step<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &WsLimits,
        deflate: Option<&'a mut Inflater>,
    ) -> Result<Step<'a>, Fault> {
        self.release();
        if self.ended {
            if let Some(inflater) = deflate {
                inflater.release();
            }
            return Ok(Step { consumed: input.len(), event: None });
        }
        let (consumed, found) = match self.advance(input, limits, deflate.is_some()) {
            Ok(done) => done,
            Err(fault) => {
                self.ended = true;
                self.kept = None;
                return Err(fault);
            }
        };
        let event = match found {
            Found::Nothing => {
                if let Some(inflater) = deflate {
                    inflater.release();
                }
                return Ok(Step { consumed, event: None });
            }
            Found::Input { header, start, end } if header.opcode.is_control() => {
                control_event(header.opcode, &input[start..end])
            }
            Found::Input { header, start, end } => {
                let text = header.opcode == Opcode::Text;
                message_event(text, header.rsv1, &input[start..end], deflate, limits)
            }
            Found::Control(opcode) => {
                self.spent = Spent::Control;
                control_event(opcode, self.kept.as_ref().map_or(&[], |kept| &kept.control))
            }
            Found::Message { text, deflated } => {
                self.spent = Spent::Message;
                let message = self.kept.as_ref().and_then(|kept| kept.message.as_ref());
                let data = message.map_or(&[][..], |message| &message.data);
                message_event(text, deflated, data, deflate, limits)
            }
        };
        self.ended = matches!(event, Err(_) | Ok(Event::Close { .. }));
        event.map(|event| Step { consumed, event: Some(event) })
    }

    /// Gives back what the last event was borrowed from. A step does it first of all.
    fn release(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        match std::mem::take(&mut self.spent) {
            Spent::Nothing => {}
            Spent::Control => kept.control = Vec::new(),
            Spent::Message => kept.message = None,
        }
        if self.ended || kept.is_empty() {
            self.kept = None;
        }
    }

    /// Goes through the frames of `input` until something is complete.
    fn advance(
        &mut self,
        input: &mut [u8],
        limits: &WsLimits,
        may_deflate: bool,
    ) -> Result<(usize, Found), Fault> {
        let mut at = 0;
        loop {
            let frame = match self.kept.as_mut().and_then(|kept| kept.frame.take()) {
                Some(frame) => frame,
                None => {
                    let Some((header, used)) = self.next_header(&input[at..])? else {
                        return Ok((input.len(), Found::Nothing));
                    };
                    at += used;
                    self.admit(&header, limits, may_deflate)?;
                    Frame { header, seen: 0 }
                }
            };
            let Frame { header, seen } = frame;
            let left = header.len - seen;
            let start = at;
            let end = at + usize::try_from(left).map_or(input.len() - at, |left| left.min(input.len() - at));
            let taken = (end - start) as u64;
            if let Some(key) = header.mask {
                mask::apply(&mut input[start..end], key, (seen % 4) as usize);
            }
            at = end;

            let complete = taken == left;
            let alone = header.opcode != Opcode::Continuation && header.fin;
            if complete && seen == 0 && alone {
                return Ok((end, Found::Input { header, start, end }));
            }
            if taken > 0 || complete {
                self.keep_payload(&header, seen, &input[start..end])?;
            }
            if !complete {
                self.kept().frame = Some(Frame { header, seen: seen + taken });
                return Ok((end, Found::Nothing));
            }
            if header.opcode.is_control() {
                return Ok((end, Found::Control(header.opcode)));
            }
            if header.fin {
                return self.finish_message().map(|found| (end, found));
            }
        }
    }

    /// The next header and how much of `input` belongs to it; keeps what there is of an incomplete one.
    fn next_header(&mut self, input: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        let role = self.role;
        let Some(kept) = self.kept.as_deref_mut().filter(|kept| kept.head_len > 0) else {
            let header = parse_header(input, role)?;
            if header.is_none() && !input.is_empty() {
                let kept = self.kept();
                kept.head[..input.len()].copy_from_slice(input);
                kept.head_len = input.len();
            }
            return Ok(header);
        };
        let had = kept.head_len;
        let copied = input.len().min(HEADER_BYTES - had);
        kept.head[had..had + copied].copy_from_slice(&input[..copied]);
        let header = parse_header(&kept.head[..had + copied], role)?;
        kept.head_len = if header.is_some() { 0 } else { had + copied };
        Ok(header.map(|(header, len)| (header, len - had)))
    }

    /// Checks a header against what came before it and against the limits.
    fn admit(&mut self, header: &Header, limits: &WsLimits, may_deflate: bool) -> Result<(), Fault> {
        if header.rsv1
            && (!may_deflate || header.opcode.is_control() || header.opcode == Opcode::Continuation)
        {
            return Err(Fault::protocol("RSV1 set"));
        }
        if header.opcode.is_control() {
            return Ok(());
        }
        let message = self.kept.as_mut().and_then(|kept| kept.message.as_mut());
        let (deflated, so_far) = match (header.opcode, message) {
            (Opcode::Continuation, None) => return Err(Fault::protocol("continuation of nothing")),
            (Opcode::Continuation, Some(message)) => {
                message.frames += 1;
                if message.frames > limits.fragments {
                    return Err(Fault { code: close::POLICY, reason: "too many fragments" });
                }
                (message.deflated, message.data.len())
            }
            (_, Some(_)) => return Err(Fault::protocol("new message inside a message")),
            (_, None) => (header.rsv1, 0),
        };
        let limit = if deflated { limits.deflated_bytes() } else { limits.message_bytes };
        if header.len > limit.saturating_sub(so_far) as u64 {
            return Err(Fault::too_big());
        }
        Ok(())
    }

    /// Adds a piece of a frame's payload, already unmasked, to the control frame or message that it belongs to.
    /// `seen` is how much of the payload came before.
    fn keep_payload(&mut self, header: &Header, seen: u64, piece: &[u8]) -> Result<(), Fault> {
        let kept = self.kept();
        if header.opcode.is_control() {
            kept.control.extend_from_slice(piece);
            return Ok(());
        }
        let message = kept.message.get_or_insert_with(|| Message {
            text: header.opcode == Opcode::Text,
            deflated: header.rsv1,
            frames: 1,
            data: Vec::new(),
            utf8: Utf8::default(),
        });
        if message.text && !message.deflated {
            message.utf8.push(piece).map_err(|_| Fault::utf8())?;
        }
        message.reserve(piece.len(), header.fin.then_some(header.len - seen));
        message.data.extend_from_slice(piece);
        Ok(())
    }

    fn finish_message(&mut self) -> Result<Found, Fault> {
        let Some(message) = self.kept.as_ref().and_then(|kept| kept.message.as_ref()) else {
            return Ok(Found::Nothing);
        };
        if !message.utf8.is_complete() {
            return Err(Fault::utf8());
        }
        Ok(Found::Message { text: message.text, deflated: message.deflated })
    }

    fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }
}

impl Message {
    /// Makes room for `more` bytes. Capacity doubles as usual, but in the last frame of a message not beyond
    /// what the message will have (`left`: that frame's bytes from here on, as declared).
    fn reserve(&mut self, more: usize, left: Option<u64>) {
        let needed = self.data.len() + more;
        if needed <= self.data.capacity() {
            return;
        }
        let left = left.and_then(|left| usize::try_from(left).ok());
        let whole = left.and_then(|left| self.data.len().checked_add(left)).unwrap_or(usize::MAX);
        let goal = needed.max(whole.min(self.data.capacity().saturating_mul(2).max(2 * more)));
        self.data.reserve_exact(goal - self.data.len());
    }
}

/// Reads a header; `None` if more bytes are needed. The second value is its length.
fn parse_header(bytes: &[u8], role: Role) -> Result<Option<(Header, usize)>, Fault> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x30 != 0 {
        return Err(Fault::protocol("RSV2 or RSV3 set"));
    }
    let Some(opcode) = Opcode::from_bits(first) else { return Err(Fault::protocol("reserved opcode")) };
    let (fin, masked, short) = (first & 0x80 != 0, second & 0x80 != 0, second & 0x7f);
    match role {
        Role::Server if !masked => return Err(Fault::protocol("frame not masked")),
        Role::Client if masked => return Err(Fault::protocol("frame masked")),
        _ => {}
    }
    if opcode.is_control() {
        if !fin {
            return Err(Fault::protocol("fragmented control frame"));
        }
        if usize::from(short) > WS_CONTROL_BYTES {
            return Err(Fault::protocol("control frame over 125 bytes"));
        }
    }
    let (len, rest) = match short {
        126 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*len), rest)
        }
        short => (u64::from(short), rest),
    };
    if len >> 63 != 0 {
        return Err(Fault::protocol("length over 63 bits"));
    }
    if (short == 126 && len < 126) || (short == 127 && len <= 0xffff) {
        return Err(Fault::protocol("length not in its shortest form"));
    }
    let (mask, rest) = match masked {
        false => (None, rest),
        true => {
            let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(*key), rest)
        }
    };
    Ok(Some((Header { opcode, fin, rsv1: first & 0x40 != 0, len, mask }, bytes.len() - rest.len())))
}

fn message_event<'a>(
    text: bool,
    deflated: bool,
    data: &'a [u8],
    deflate: Option<&'a mut Inflater>,
    limits: &WsLimits,
) -> Result<Event<'a>, Fault> {
    let data = match (deflated, deflate) {
        (true, Some(inflater)) => inflater.inflate(data, limits)?,
        _ => data,
    };
    if !text {
        return Ok(Event::Binary(data));
    }
    simdutf8::basic::from_utf8(data).map(Event::Text).map_err(|_| Fault::utf8())
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Fault> {
    Ok(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        _ => {
            let (code, reason) = close::parse(payload)?;
            Event::Close { code, reason }
        }
    })
}
