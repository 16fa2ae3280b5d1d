//! Requests: the incremental reader, the request it yields, and the way back to bytes.

use super::HttpError;
use super::chunked::Decoder;
pub use super::head::Lines;
use super::head::{self, Framing, Head, Headers};
use super::response::put_decimal;
use super::target::Target;
use crate::limits::{HTTP_BLANK_LINES, HttpLimits};

/// Request methods the node knows (RFC 9110 section 9, RFC 5789). Methods are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// PATCH
    Patch,
    /// Any other valid token; see [`Request::method_text`].
    Other,
}

impl Method {
    /// The method of this name.
    pub fn from_text(text: &str) -> Method {
        match text {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }
}

/// One complete request. Borrows from the input or from the reader.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_text: &'a str,
    /// Path and query, starting with `/`, or `*` of `OPTIONS *`; the authority of an absolute form is gone.
    /// Not decoded. Beyond RFC 3986 it may hold any visible ASCII but `#`, and UTF-8 (some clients do not
    /// escape).
    pub target: &'a str,
    /// 0 or 1 of HTTP/1.x.
    pub minor_version: u8,
    /// Header lines.
    pub headers: Headers<'a>,
    /// The whole body without its transfer coding.
    pub body: &'a [u8],
    /// Whether the client lets the connection go on after the answer.
    pub keep_alive: bool,
    /// GET on HTTP/1.1 with `upgrade` in Connection and `websocket` in Upgrade.
    pub upgrade_websocket: bool,
}

impl<'a> Request<'a> {
    /// The target split into path and query.
    pub fn target_parts(&self) -> Target<'a> {
        Target::parse(self.target)
    }

    fn new(head: Head<'a>, body: &'a [u8]) -> Self {
        Request {
            method: head.method,
            method_text: head.method_text,
            target: head.target,
            minor_version: head.minor_version,
            headers: head.headers,
            body,
            keep_alive: head.keep_alive,
            upgrade_websocket: head.upgrade_websocket,
        }
    }
}

/// What a step of the reader found.
#[derive(Debug)]
// It only ever lives on the stack of whoever handles it: a box would cost each request an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Event<'a> {
    /// The client waits for `100 Continue` before it sends the body; comes at most once for a request.
    Continue,
    /// One complete request.
    Request(Request<'a>),
}

/// Result of [`Reader::step`].
#[derive(Debug)]
pub struct Step<'a> {
    /// Bytes of the input that were taken; all of them when there is no event.
    pub consumed: usize,
    /// What was found.
    pub event: Option<Event<'a>>,
}

/// Incremental reader of requests on one connection.
///
/// Order of calls: `step(input)`, then `step(&mut input[consumed..])` and so on until the event is `None`.
/// `lines` is where the positions of the request's header lines go. A request that lies whole in the input is borrowed from it; only an incomplete one is copied, into one box,
/// which is freed by the `step` or [`Reader::release`] that follows its event. After an error the connection has
/// to be closed.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Option<Box<Kept>>,
    /// Empty lines skipped in front of the current request.
    blank_lines: u8,
    /// The CR of such a line was the last byte.
    blank_cr: bool,
}

/// An incomplete request: its head, then what there is of its body.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    head_len: usize,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Bytes of `Kept::bytes` already searched for the end of the head.
    Head {
        scanned: usize,
    },
    /// Body bytes still to come.
    Sized {
        missing: usize,
    },
    Chunked(Decoder),
    /// The request was handed out.
    Done,
}

enum Progress {
    Incomplete,
    Continue,
    Complete,
}

impl Reader {
    /// Nothing of a request is buffered.
    pub fn is_idle(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| matches!(kept.phase, Phase::Done))
    }

    /// Nothing at all has come of the next request, not even an empty line before it.
    pub fn is_at_start(&self) -> bool {
        self.is_idle() && self.blank_lines == 0 && !self.blank_cr
    }

    /// A head has begun and is not complete: the head deadline counts.
    pub fn in_head(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| matches!(kept.phase, Phase::Head { .. }))
    }

    /// A head is complete and its body is not: the body deadline counts.
    pub fn in_body(&self) -> bool {
        !self.is_idle() && !self.in_head()
    }

    /// Bytes held on the heap for a request that is incomplete, or handed out and not yet released.
    pub fn buffered(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes.len())
    }

    /// Frees a request that was handed out. For a caller that stops reading while it answers (a held poll).
    pub fn release(&mut self) {
        if self.is_idle() {
            self.kept = None;
        }
    }

    /// Takes back what was read of an incomplete request, so that another reader can begin with it. `None`, and nothing
    /// changes, when its body is chunked: its framing is gone.
    pub fn take_unread(&mut self) -> Option<Vec<u8>> {
        self.release();
        if self.kept.as_ref().is_some_and(|kept| matches!(kept.phase, Phase::Chunked(_))) {
            return None;
        }
        let mut bytes = if std::mem::take(&mut self.blank_cr) { vec![b'\r'] } else { Vec::new() };
        self.blank_lines = 0;
        if let Some(kept) = self.kept.take() {
            bytes.extend_from_slice(&kept.bytes);
        }
        Some(bytes)
    }

    /// Whether [`Reader::take_unread`] can.
    pub fn can_take_unread(&self) -> bool {
        self.is_idle() || !self.kept.as_ref().is_some_and(|kept| matches!(kept.phase, Phase::Chunked(_)))
    }

    /// Reads on. See the type for the order of calls.
    ///
    /// # Errors
    /// See [`HttpError`]. The reader is empty afterwards and the connection cannot go on.
    pub fn step<'a>(
        &'a mut self,
        input: &'a mut [u8],
        lines: &'a mut Lines,
        limits: &HttpLimits,
    ) -> Result<Step<'a>, HttpError> {
        self.release();
        if self.kept.is_none() {
            return self.step_borrowed(input, lines, limits);
        }
        match self.step_kept(input, limits) {
            Ok((consumed, Progress::Incomplete)) => Ok(Step { consumed, event: None }),
            Ok((consumed, Progress::Continue)) => Ok(Step { consumed, event: Some(Event::Continue) }),
            Ok((consumed, Progress::Complete)) => {
                let event = self.kept.as_mut().map(|kept| kept.finish(lines, limits)).transpose()?;
                Ok(Step { consumed, event })
            }
            Err(error) => {
                self.kept = None;
                Err(error)
            }
        }
    }

    /// No request has begun: looks for a whole one in the input, keeps an incomplete one.
    fn step_borrowed<'a>(
        &mut self,
        input: &'a mut [u8],
        lines: &'a mut Lines,
        limits: &HttpLimits,
    ) -> Result<Step<'a>, HttpError> {
        let blank = self.skip_blank_lines(input)?;
        let input = &mut input[blank..];
        if input.is_empty() {
            return Ok(Step { consumed: blank, event: None });
        }
        let mut scanned = 0;
        let Some(head_len) = find_head(input, &mut scanned, limits)? else {
            self.keep(input.to_vec(), 0, Phase::Head { scanned });
            return Ok(Step { consumed: blank + input.len(), event: None });
        };
        let (head_bytes, rest) = input.split_at_mut(head_len);
        let head_bytes: &'a [u8] = head_bytes;
        self.blank_lines = 0;
        let head = head::parse(head_bytes, lines, limits)?;
        let expects_continue = head.expects_continue && rest.is_empty();
        let rest_len = rest.len();
        let (kept_len, phase) = match head.framing {
            Framing::Chunked => {
                let mut decoder = Decoder::default();
                let (read, written) = decoder.decode(rest, limits.body_bytes)?;
                if decoder.is_done() {
                    let consumed = blank + head_len + read;
                    let event = Event::Request(Request::new(head, &rest[..written]));
                    return Ok(Step { consumed, event: Some(event) });
                }
                (written, Phase::Chunked(decoder))
            }
            framing => {
                let body_len = checked_length(framing, limits)?;
                if body_len <= rest_len {
                    let consumed = blank + head_len + body_len;
                    let event = Event::Request(Request::new(head, &rest[..body_len]));
                    return Ok(Step { consumed, event: Some(event) });
                }
                (rest_len, Phase::Sized { missing: body_len - rest_len })
            }
        };
        let bytes = [head_bytes, &rest[..kept_len]].concat();
        self.keep(bytes, head_len, phase);
        let event = expects_continue.then_some(Event::Continue);
        Ok(Step { consumed: blank + head_len + rest_len, event })
    }

    fn keep(&mut self, bytes: Vec<u8>, head_len: usize, phase: Phase) {
        self.blank_lines = 0;
        self.kept = Some(Box::new(Kept { bytes, head_len, phase }));
    }

    /// Continues the kept request with the input.
    fn step_kept(&mut self, input: &mut [u8], limits: &HttpLimits) -> Result<(usize, Progress), HttpError> {
        let Some(kept) = self.kept.as_deref_mut() else { return Ok((0, Progress::Incomplete)) };
        let mut consumed = 0;
        if let Phase::Head { scanned } = &mut kept.phase {
            // Taking one byte more than a head may have is enough to see that it is too long.
            let old_len = kept.bytes.len();
            let room = (head::head_limit(limits) + 1).saturating_sub(old_len);
            let taken = input.len().min(room);
            kept.bytes.extend_from_slice(&input[..taken]);
            let Some(head_len) = find_head(&kept.bytes, scanned, limits)? else {
                return Ok((taken, Progress::Incomplete));
            };
            kept.bytes.truncate(head_len);
            consumed = head_len - old_len;
            if kept.begin_body(head_len, limits)? && consumed == input.len() && !kept.is_complete() {
                return Ok((consumed, Progress::Continue));
            }
        }
        consumed += kept.extend_body(&mut input[consumed..], limits)?;
        let progress = if kept.is_complete() { Progress::Complete } else { Progress::Incomplete };
        Ok((consumed, progress))
    }

    /// Skips empty lines in front of a request; returns how many bytes they take.
    fn skip_blank_lines(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        for (at, byte) in input.iter().enumerate() {
            match (self.blank_cr, byte) {
                (false, b'\r') => self.blank_cr = true,
                (true, b'\n') => {
                    self.blank_cr = false;
                    self.blank_lines += 1;
                    if usize::from(self.blank_lines) > HTTP_BLANK_LINES {
                        return Err(HttpError::bad("too many empty lines before a request"));
                    }
                }
                (true, _) => return Err(HttpError::bad("line ends in a bare CR")),
                (false, b'\n') => return Err(HttpError::bad("line ends in a bare LF")),
                (false, _) => return Ok(at),
            }
        }
        Ok(input.len())
    }
}

impl Kept {
    /// The head is complete: sets the phase by its framing. True when the client waits for 100 Continue.
    fn begin_body(&mut self, head_len: usize, limits: &HttpLimits) -> Result<bool, HttpError> {
        let mut lines = Lines::default();
        let head = head::parse(&self.bytes, &mut lines, limits)?;
        let expects_continue = head.expects_continue;
        self.phase = match head.framing {
            Framing::Chunked => Phase::Chunked(Decoder::default()),
            framing => Phase::Sized { missing: checked_length(framing, limits)? },
        };
        self.head_len = head_len;
        Ok(expects_continue)
    }

    fn is_complete(&self) -> bool {
        match &self.phase {
            Phase::Head { .. } => false,
            Phase::Sized { missing } => *missing == 0,
            Phase::Chunked(decoder) => decoder.is_done(),
            Phase::Done => true,
        }
    }

    /// Takes what belongs to the body; returns how many bytes of the input that was.
    fn extend_body(&mut self, input: &mut [u8], limits: &HttpLimits) -> Result<usize, HttpError> {
        match &mut self.phase {
            Phase::Sized { missing } => {
                let taken = input.len().min(*missing);
                self.bytes.extend_from_slice(&input[..taken]);
                *missing -= taken;
                Ok(taken)
            }
            Phase::Chunked(decoder) => {
                let (read, written) = decoder.decode(input, limits.body_bytes)?;
                self.bytes.extend_from_slice(&input[..written]);
                Ok(read)
            }
            Phase::Head { .. } | Phase::Done => Ok(0),
        }
    }

    /// The request, now complete. The head is parsed once more rather than keeping positions of all its parts.
    fn finish<'a>(&'a mut self, lines: &'a mut Lines, limits: &HttpLimits) -> Result<Event<'a>, HttpError> {
        self.phase = Phase::Done;
        let (head_bytes, body) = self.bytes.split_at(self.head_len);
        Ok(Event::Request(Request::new(head::parse(head_bytes, lines, limits)?, body)))
    }
}

/// Length of the head if its end has come; refuses what can no longer become a head within the limits.
fn find_head(bytes: &[u8], scanned: &mut usize, limits: &HttpLimits) -> Result<Option<usize>, HttpError> {
    let limit = head::head_limit(limits);
    let window = &bytes[..bytes.len().min(limit + 1)];
    if !window.first().is_some_and(|byte| head::is_token(&[*byte])) {
        return Err(HttpError::bad("invalid character in the request line"));
    }
    match head::find_end(window, scanned)? {
        Some(head_len) if head_len <= limit => Ok(Some(head_len)),
        None if window.len() <= limit => Ok(None),
        _ => Err(too_long(window)),
    }
}

/// What is wrong with a head that is over the limit. One that comes in pieces shows a bare LF before it is too long.
fn too_long(window: &[u8]) -> HttpError {
    match head::search_lines(window, &mut 0) {
        Err(error) => error,
        Ok(_) if memchr::memchr(b'\n', window).is_none() => HttpError::new(414, "request line too long"),
        Ok(_) => HttpError::new(431, "request head too long"),
    }
}

fn checked_length(framing: Framing, limits: &HttpLimits) -> Result<usize, HttpError> {
    match framing {
        Framing::Sized(len) if len > limits.body_bytes => Err(HttpError::new(413, "body too large")),
        Framing::Sized(len) => Ok(len),
        Framing::Chunked | Framing::UntilClose => Ok(0),
    }
}

/// Head and body as bytes that a [`Reader`] with the same limits reads as the same request: for a connection
/// that moves to another shard. The body is sized; `Expect` is gone, since it was answered.
pub fn serialize(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + request.headers.len() * 48 + request.body.len());
    for part in [request.method_text, " ", request.target] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(if request.minor_version == 0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let is_framing = |name: &str| {
        ["content-length", "transfer-encoding", "expect"].iter().any(|other| name.eq_ignore_ascii_case(other))
    };
    let mut sized = false;
    for (name, value) in request.headers.iter() {
        if !is_framing(name) {
            // Without a blank after the colon: the head must not grow past its limit.
            put_line(&mut out, name, value);
        } else if !sized && !name.eq_ignore_ascii_case("expect") {
            sized = true;
            out.extend_from_slice(b"Content-Length:");
            put_decimal(&mut out, request.body.len() as u64);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(request.body);
    out
}

fn put_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
