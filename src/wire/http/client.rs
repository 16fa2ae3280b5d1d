//! The other side, small: request heads and responses, for `fanwire publish`, `fanwire tail` and tests.

use super::HttpError;
use super::chunked::Decoder;
use super::head::{self, Framing, Headers, Lines};
use super::response::{put_decimal, put_header};
use crate::limits::HttpLimits;

/// Appends a request. With a body, even an empty one, a Content-Length is sent. Header values with CR, LF or
/// NUL are dropped with their lines.
///
/// # Errors
/// The method is no token, or target or host hold blanks or control characters.
pub fn put_request(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    host: &str,
    headers: &[(&str, &[u8])],
    body: Option<&[u8]>,
) -> Result<(), HttpError> {
    let bad = |text: &str| text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
    if !head::is_token(method.as_bytes()) || bad(target) || bad(host) {
        return Err(HttpError::bad("invalid method, target or host"));
    }
    for part in [method, " ", target, " HTTP/1.1\r\nHost: ", host, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        put_header(out, name, value);
    }
    if let Some(body) = body {
        out.extend_from_slice(b"Content-Length: ");
        put_decimal(out, body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.unwrap_or_default());
    Ok(())
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead<'a> {
    /// Status code.
    pub status: u16,
    /// 0 or 1 of HTTP/1.x.
    pub minor_version: u8,
    /// Header lines.
    pub headers: Headers<'a>,
    /// Bytes of the head with its empty line.
    pub len: usize,
    /// How the body is delimited.
    pub framing: Framing,
}

/// Parses a response head at the start of `buffer`; `None` while it is incomplete. `to_head`: the request was
/// HEAD. An interim response (1xx) is returned like any other: the final one follows it.
///
/// # Errors
/// What is malformed, or longer than `limits.head_bytes` (431, as for a request).
pub fn parse_head<'a>(
    buffer: &'a [u8],
    to_head: bool,
    lines: &'a mut Lines,
    limits: &HttpLimits,
) -> Result<Option<ResponseHead<'a>>, HttpError> {
    let limit = head::head_limit(limits);
    let window = &buffer[..buffer.len().min(limit)];
    let Some(len) = head::find_end(window, &mut 0)? else {
        return match buffer.len() > limit {
            true => Err(HttpError::new(431, "response head too long")),
            false => Ok(None),
        };
    };
    let (status, minor_version, headers) = head::parse_response(&window[..len], lines, limits)?;
    let framing = match (to_head, status) {
        (true, _) | (_, 100..=199 | 204 | 304) => Framing::Sized(0),
        _ => response_framing(&headers)?,
    };
    Ok(Some(ResponseHead { status, minor_version, headers, len, framing }))
}

fn response_framing(headers: &Headers<'_>) -> Result<Framing, HttpError> {
    match (head::content_length(headers)?, head::transfer_encoding(headers)?) {
        (Some(_), true) => Err(HttpError::bad("Content-Length together with Transfer-Encoding")),
        (None, true) => Ok(Framing::Chunked),
        (Some(len), false) => Ok(Framing::Sized(len)),
        (None, false) => Ok(Framing::UntilClose),
    }
}

/// Incremental reader of one response body.
#[derive(Debug)]
pub struct Body {
    state: BodyState,
    received: usize,
}

#[derive(Debug)]
enum BodyState {
    Sized { missing: usize },
    Chunked(Decoder),
    UntilClose,
}

impl Body {
    /// A reader for a body that is delimited this way.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Sized(missing) => BodyState::Sized { missing },
            Framing::Chunked => BodyState::Chunked(Decoder::default()),
            Framing::UntilClose => BodyState::UntilClose,
        };
        Body { state, received: 0 }
    }

    /// Takes body bytes from `input`, decoding in place: returns how many bytes were taken, and the data.
    ///
    /// # Errors
    /// Bad chunks, and 413 when all data together passes `limits.body_bytes` (give a large one for streams).
    pub fn read<'a>(
        &mut self,
        input: &'a mut [u8],
        limits: &HttpLimits,
    ) -> Result<(usize, &'a [u8]), HttpError> {
        let (read, written) = match &mut self.state {
            BodyState::Sized { missing } => {
                let taken = input.len().min(*missing);
                *missing -= taken;
                (taken, taken)
            }
            BodyState::Chunked(decoder) => decoder.decode(input, limits.body_bytes)?,
            BodyState::UntilClose => (input.len(), input.len()),
        };
        self.received = self.received.saturating_add(written);
        if self.received > limits.body_bytes {
            return Err(HttpError::new(413, "body too large"));
        }
        Ok((read, &input[..written]))
    }

    /// Whether the body has ended. One that lasts until the connection closes never has.
    pub fn is_done(&self) -> bool {
        match &self.state {
            BodyState::Sized { missing } => *missing == 0,
            BodyState::Chunked(decoder) => decoder.is_done(),
            BodyState::UntilClose => false,
        }
    }

    /// Whether the body is whole if the connection ends now.
    pub fn ends_with_connection(&self) -> bool {
        self.is_done() || matches!(self.state, BodyState::UntilClose)
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Event, Lines, Reader};
    use super::super::response::{Context, Response};
    use super::super::{chunked, response};
    use super::*;

    const CONTEXT: Context<'static> = Context { head: false, minor_version: 1, keep_alive: true, date: None };

    /// Head and body of one response that arrives in pieces of `step` bytes.
    fn read(bytes: &[u8], step: usize, to_head: bool) -> Result<(u16, Vec<u8>, bool), HttpError> {
        let (limits, mut lines) = (HttpLimits::default(), Lines::default());
        let (mut head, mut data, mut body, mut status) = (Vec::new(), Vec::new(), None, 0);
        for piece in bytes.chunks(step) {
            let mut rest = piece.to_vec();
            if body.is_none() {
                head.extend_from_slice(piece);
                let Some(parsed) = parse_head(&head, to_head, &mut lines, &limits)? else { continue };
                status = parsed.status;
                body = Some(Body::new(parsed.framing));
                rest = head[parsed.len..].to_vec();
            }
            if let Some(body) = &mut body {
                data.extend_from_slice(body.read(&mut rest, &limits)?.1);
            }
        }
        Ok((status, data, body.is_some_and(|body| body.ends_with_connection())))
    }

    #[test]
    fn responses_are_read_in_pieces_of_any_size() {
        let mut sized = Vec::new();
        Response::new(201).header("X", "y").body("a/b", "body").write(&mut sized, &CONTEXT);
        let mut streamed = Vec::new();
        Response::new(200).stream_chunked().write(&mut streamed, &CONTEXT);
        chunked::chunk(&mut streamed, b"bo");
        chunked::chunk(&mut streamed, b"dy");
        chunked::last_chunk(&mut streamed);
        let mut closed = Vec::new();
        Response::new(200).stream_until_close().write(&mut closed, &CONTEXT);
        closed.extend_from_slice(b"body");
        for (bytes, status) in [(sized, 201), (streamed, 200), (closed, 200)] {
            for step in 1..=bytes.len() {
                assert_eq!(read(&bytes, step, false), Ok((status, b"body".to_vec(), true)), "{step}");
            }
        }
    }

    #[test]
    fn bodiless_responses_end_with_their_head() {
        assert_eq!(read(response::CONTINUE, 7, false), Ok((100, Vec::new(), true)));
        assert_eq!(read(b"HTTP/1.1 304 Not Modified\r\n\r\n", 100, false), Ok((304, Vec::new(), true)));
        let to_head = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 100, true);
        assert_eq!(to_head, Ok((200, Vec::new(), true)));
        let cut = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 100, false);
        assert_eq!(cut, Ok((200, b"abc".to_vec(), false)));
    }

    #[test]
    fn malformed_and_unbounded_responses_are_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\n\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        ] {
            assert!(
                parse_head(bad.as_bytes(), false, &mut Lines::default(), &HttpLimits::default()).is_err(),
                "{bad}"
            );
        }
        let limits = HttpLimits { head_bytes: 30, body_bytes: 3, ..HttpLimits::default() };
        assert!(parse_head(&[b'a'; 30], false, &mut Lines::default(), &limits).unwrap().is_none());
        assert_eq!(parse_head(&[b'a'; 31], false, &mut Lines::default(), &limits).unwrap_err().status, 431);
        let mut body = Body::new(Framing::UntilClose);
        assert!(body.read(&mut [0; 3], &limits).is_ok());
        assert_eq!(body.read(&mut [0; 1], &limits).unwrap_err().status, 413);
    }

    #[test]
    fn requests_are_what_the_reader_reads() {
        let mut out = Vec::new();
        let headers: [(&str, &[u8]); 2] = [("X", b"y"), ("Z", b"a\r\nb")];
        put_request(&mut out, "POST", "/pub?id=1", "h:80", &headers, Some(b"hi")).unwrap();
        let (mut reader, mut lines) = (Reader::default(), Lines::default());
        let step = reader.step(&mut out, &mut lines, &HttpLimits::default()).unwrap();
        let Some(Event::Request(request)) = step.event else { panic!("no request") };
        assert_eq!((request.target, request.body), ("/pub?id=1", b"hi".as_slice()));
        assert_eq!(request.headers.len(), 3);
        assert!(put_request(&mut Vec::new(), "GET", "/a b", "h", &[], None).is_err());
        assert!(put_request(&mut Vec::new(), "GET", "/a", "h\r\nX: y", &[], None).is_err());
    }
}
