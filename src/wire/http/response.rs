//! Responses: one builder for an answer, and the parts from which a shared frame can be put together.
//!
//! On the wire an answer is: prefix (status line, the answer's own headers, its framing), then the lines that
//! differ per request ([`per_request`]: date, persistence; CORS lines from [`super::cors`]), then the tail
//! (empty line and body). Prefix and tail are the same for everybody who gets the same answer.

use bytes::Bytes;

/// Reason phrase of a status code; an unknown one gets an empty phrase.
pub fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

/// Appends a number in decimal.
pub fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    // Two digits for each division.
    while number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    // What is left is one digit, or nothing in front of a pair from 10 to 99.
    if number > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends a number in lower-case hexadecimal.
pub fn put_hex(out: &mut Vec<u8>, number: u64) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|at| b"0123456789abcdef"[(number >> (4 * at)) as usize & 15]));
}

/// Whether a header value can be sent: CR, LF or NUL would let it end its line.
pub fn is_safe_value(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value).is_none()
}

/// Appends `name: value` CRLF. A value with CR, LF or NUL is not sent at all, nor is a name that is no token.
/// Tells whether the line was written.
pub fn put_header(out: &mut Vec<u8>, name: &str, value: &[u8]) -> bool {
    if !is_safe_value(value) || !super::head::is_token(name.as_bytes()) {
        return false;
    }
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    true
}

/// Appends Content-Type, which must be safe as a header value, and Content-Length.
pub fn put_body_lines(out: &mut Vec<u8>, content_type: &'static str, body_bytes: usize) {
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(content_type.as_bytes());
    out.extend_from_slice(b"\r\nContent-Length: ");
    put_decimal(out, body_bytes as u64);
    out.extend_from_slice(b"\r\n");
}

/// Appends the status line.
pub fn put_status_line(out: &mut Vec<u8>, status: u16) {
    // What publishers get.
    let common: &[u8] = match status {
        200 => b"HTTP/1.1 200 OK\r\n",
        201 => b"HTTP/1.1 201 Created\r\n",
        202 => b"HTTP/1.1 202 Accepted\r\n",
        _ => b"",
    };
    if !common.is_empty() {
        return out.extend_from_slice(common);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    put_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `HTTP/1.1 100 Continue`, whole.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What differs between requests that get the same answer.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The request's method was HEAD: the answer is sent without its body.
    pub head: bool,
    /// The request's minor version.
    pub minor_version: u8,
    /// Whether the connection goes on after this answer.
    pub keep_alive: bool,
    /// The current date, see [`super::date::format`].
    pub date: Option<&'a [u8; 29]>,
}

/// How the end of the answer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Sized,
    UntilClose,
    Chunked,
}

/// One answer. Built once, written for one request or shared by many.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    lines: Vec<u8>,
    body: Bytes,
    framing: Framing,
    names_connection: bool,
}

impl Response {
    /// An answer without headers and with an empty body.
    pub fn new(status: u16) -> Self {
        Response {
            status,
            lines: Vec::new(),
            body: Bytes::new(),
            framing: Framing::Sized,
            names_connection: false,
        }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body; empty for a stream.
    pub fn body_bytes(&self) -> &Bytes {
        &self.body
    }

    /// Adds a header line. A value with CR, LF or NUL is dropped with its line. Content-Length and
    /// Transfer-Encoding are not for the caller: they are dropped, too.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if ["content-length", "transfer-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return self;
        }
        let written = put_header(&mut self.lines, name, value.as_ref());
        self.names_connection |= written && name.eq_ignore_ascii_case("connection");
        self
    }

    /// Adds a header line with a number.
    pub fn number(self, name: &str, value: u64) -> Self {
        let mut digits = Vec::with_capacity(20);
        put_decimal(&mut digits, value);
        self.header(name, digits)
    }

    /// Adds ready header lines, each with its CRLF, as made by [`put_header`] or [`super::cors`]. They are not
    /// looked at: no Connection, no framing.
    pub fn lines(mut self, lines: &[u8]) -> Self {
        self.lines.extend_from_slice(lines);
        self
    }

    /// Sets the body and its type. An empty type sends no Content-Type line.
    pub fn body(mut self, content_type: impl AsRef<[u8]>, body: impl Into<Bytes>) -> Self {
        if !content_type.as_ref().is_empty() {
            put_header(&mut self.lines, "Content-Type", content_type.as_ref());
        }
        self.body = body.into();
        self
    }

    /// The body follows later and ends with the connection (`Connection: close` unless a Connection header
    /// was added).
    pub fn stream_until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// The body follows later in chunks. Only for HTTP/1.1 clients: the caller has to look.
    pub fn stream_chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// RFC 9110 section 8.6 and the sheets: no Content-Length, and no body, on 1xx, 204 and 304.
    fn is_bodiless(&self) -> bool {
        matches!(self.status, 100..=199 | 204 | 304)
    }

    /// Appends status line, the answer's own headers and its framing line.
    pub fn head_prefix(&self, out: &mut Vec<u8>) {
        out.reserve(self.lines.len() + 96);
        put_status_line(out, self.status);
        out.extend_from_slice(&self.lines);
        match self.framing {
            _ if self.is_bodiless() => {}
            Framing::Sized => {
                out.extend_from_slice(b"Content-Length: ");
                put_decimal(out, self.body.len() as u64);
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose => {}
        }
    }

    /// Appends the lines that depend on the request: Date and Connection.
    pub fn per_request(&self, out: &mut Vec<u8>, context: &Context<'_>) {
        per_request(out, context, self.is_framed(context), self.names_connection);
    }

    /// Appends the empty line and, but for HEAD, the body.
    pub fn tail(&self, out: &mut Vec<u8>, head: bool) {
        out.extend_from_slice(b"\r\n");
        if !head && !self.is_bodiless() {
            out.extend_from_slice(&self.body);
        }
    }

    /// Appends the whole answer.
    pub fn write(&self, out: &mut Vec<u8>, context: &Context<'_>) {
        self.write_with(out, context, &[]);
    }

    /// Appends the whole answer with further header lines.
    pub fn write_with(&self, out: &mut Vec<u8>, context: &Context<'_>, lines: &[u8]) {
        self.head_prefix(out);
        out.extend_from_slice(lines);
        self.per_request(out, context);
        self.tail(out, context.head);
    }

    /// Whether the connection can go on after this answer.
    pub fn keeps_alive(&self, context: &Context<'_>) -> bool {
        context.keep_alive && self.is_framed(context)
    }

    /// Whether a client can find the end of the answer without the end of the connection.
    fn is_framed(&self, context: &Context<'_>) -> bool {
        context.head || self.is_bodiless() || self.framing != Framing::UntilClose
    }
}

/// Appends Date and Connection lines: `close` when the connection ends after the answer, `keep-alive` to
/// HTTP/1.0 clients when it does not. `names_connection`: the answer has its own Connection line.
pub fn per_request(out: &mut Vec<u8>, context: &Context<'_>, is_framed: bool, names_connection: bool) {
    if let Some(date) = context.date {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    if names_connection {
        return;
    }
    if !context.keep_alive || !is_framed {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if context.minor_version == 0 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Sat, 21 Nov 2026 10:30:22 GMT";
    const PLAIN: Context<'static> = Context { head: false, minor_version: 1, keep_alive: true, date: None };

    fn text(response: &Response, context: &Context<'_>) -> String {
        let mut out = Vec::new();
        response.write(&mut out, context);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_has_its_length_and_date() {
        let response = Response::new(200).header("Etag", "1").number("Age", 0).body("text/plain", "hi");
        let context = Context { date: Some(DATE), ..PLAIN };
        assert_eq!(
            text(&response, &context),
            "HTTP/1.1 200 OK\r\nEtag: 1\r\nAge: 0\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
             Date: Sat, 21 Nov 2026 10:30:22 GMT\r\n\r\nhi"
        );
        let head = text(&response, &Context { head: true, ..PLAIN });
        assert!(head.contains("Content-Length: 2\r\n") && head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn bodiless_statuses_have_neither_length_nor_body() {
        for status in [100, 101, 204, 304] {
            let answer = text(&Response::new(status).body("", "x"), &PLAIN);
            assert!(!answer.contains("Content-Length"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
        assert!(text(&Response::new(410), &PLAIN).contains("Content-Length: 0\r\n"));
    }

    #[test]
    fn persistence_is_told_where_it_is_not_the_default() {
        let ok = Response::new(200);
        assert!(!text(&ok, &PLAIN).contains("Connection"));
        assert!(text(&ok, &Context { keep_alive: false, ..PLAIN }).contains("Connection: close\r\n"));
        assert!(text(&ok, &Context { minor_version: 0, ..PLAIN }).contains("Connection: keep-alive\r\n"));
        let stream = Response::new(200).stream_until_close();
        assert!(text(&stream, &PLAIN).contains("Connection: close\r\n"));
        assert!(!stream.keeps_alive(&PLAIN) && ok.keeps_alive(&PLAIN));
        let to_head = Context { head: true, ..PLAIN };
        assert!(stream.keeps_alive(&to_head) && !text(&stream, &to_head).contains("Connection"));
        let own = Response::new(200).header("Connection", "keep-alive").stream_until_close();
        let answer = text(&own, &PLAIN);
        assert!(answer.contains("Connection: keep-alive\r\n") && !answer.contains("close"));
        let chunked = text(&Response::new(200).stream_chunked(), &PLAIN);
        assert!(chunked.contains("Transfer-Encoding: chunked\r\n") && !chunked.contains("Content-Length"));
    }

    #[test]
    fn values_cannot_inject_lines() {
        let response = Response::new(200)
            .header("A", "x\r\nSet-Cookie: a")
            .header("B", b"x\0".as_slice())
            .header("C\r\nD", "x")
            .header("E", "x\n")
            .header("Content-Length", "7")
            .body("text/plain\r\nF: g", "hi");
        assert_eq!(text(&response, &PLAIN), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    }

    #[test]
    fn parts_put_together_are_the_whole() {
        let response = Response::new(201).header("X", "y").body("a/b", "body");
        let mut parts = Vec::new();
        response.head_prefix(&mut parts);
        response.per_request(&mut parts, &PLAIN);
        response.tail(&mut parts, false);
        assert_eq!(String::from_utf8(parts).unwrap(), text(&response, &PLAIN));
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in
            [0, 9, 10, 15, 16, 99, 100, 101, 255, 999, 1000, 1_234_567_890, 10_000_000_000, u64::MAX]
        {
            let (mut decimal, mut hex) = (Vec::new(), Vec::new());
            put_decimal(&mut decimal, number);
            put_hex(&mut hex, number);
            assert_eq!(decimal, number.to_string().into_bytes());
            assert_eq!(hex, format!("{number:x}").into_bytes());
        }
    }

    #[test]
    fn every_status_of_the_sheets_has_a_phrase() {
        for status in [
            101, 200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 414, 429, 431, 500,
            501, 502, 503, 505, 507,
        ] {
            assert!(!phrase(status).is_empty(), "{status}");
        }
    }
}
