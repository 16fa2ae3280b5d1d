//! A message head, parsed by `httparse` and then held to the strict grammar of RFC 9112.
//!
//! `httparse` alone accepts bare LF line ends and knows nothing of framing; two parsers that disagree about
//! where a message ends are how requests are smuggled, so everything doubtful is refused here.

use memchr::memmem::Finder;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use super::HttpError;
pub use super::headers::{Headers, Lines};
use super::headers::{Name, trim};
use super::request::Method;
use crate::limits::{HTTP_HEADERS, HttpLimits};

/// How the body of a message is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Sized(usize),
    /// Chunks until the zero chunk and its trailers.
    Chunked,
    /// Until the connection ends (responses only).
    UntilClose,
}

/// A parsed request head.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    pub method: Method,
    pub method_text: &'a str,
    pub target: &'a str,
    pub minor_version: u8,
    pub headers: Headers<'a>,
    pub framing: Framing,
    pub keep_alive: bool,
    pub upgrade_websocket: bool,
    pub expects_continue: bool,
}

/// The effective bound of a head: header positions are kept in 16 bits.
pub(super) fn head_limit(limits: &HttpLimits) -> usize {
    limits.head_bytes.min(usize::from(u16::MAX))
}

/// Finds the end of a head (just after its empty line), continuing at `scanned`, which moves to the end of
/// what was looked at. Every line has to end in CRLF: a bare LF is refused (RFC 9112 section 2.2 allows that), at
/// once where the end has not come yet, else by [`parse`] and [`parse_response`].
pub(super) fn find_end(buffer: &[u8], scanned: &mut usize) -> Result<Option<usize>, HttpError> {
    // Mostly the head has come whole: one look for its end, and its parser sees how its lines end.
    if *scanned == 0
        && let Some(at) = END.find(buffer)
    {
        return Ok(Some(at + 4));
    }
    search_lines(buffer, scanned)
}

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
const BARE_LF: HttpError = HttpError::bad("line ends in a bare LF");

/// As [`find_end`], line by line.
pub(super) fn search_lines(buffer: &[u8], scanned: &mut usize) -> Result<Option<usize>, HttpError> {
    let start = *scanned;
    for offset in memchr::memchr_iter(b'\n', &buffer[start..]) {
        let at = start + offset;
        if at == 0 || buffer[at - 1] != b'\r' {
            return Err(BARE_LF);
        }
        if at >= 3 && &buffer[at - 3..at] == b"\r\n\r" {
            *scanned = at + 1;
            return Ok(Some(at + 1));
        }
    }
    *scanned = buffer.len();
    Ok(None)
}

/// Parses a whole request head, as found by [`find_end`].
pub(super) fn parse<'a>(
    head: &'a [u8],
    lines: &'a mut Lines,
    limits: &HttpLimits,
) -> Result<Head<'a>, HttpError> {
    let mut storage = [const { MaybeUninit::<httparse::Header<'a>>::uninit() }; HTTP_HEADERS];
    let room = limits.headers.min(HTTP_HEADERS);
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, &mut storage[..room]);
    whole(parsed, head)?;
    ends_in_crlf(head, request.headers)?;
    check(head, &request, lines, limits)
}

/// Whether `httparse` has read the head to its end.
fn whole(parsed: httparse::Result<usize>, head: &[u8]) -> Result<(), HttpError> {
    match parsed {
        Ok(httparse::Status::Complete(len)) if len == head.len() => Ok(()),
        // A bare LF is what is wrong with it, if it has one.
        Ok(_) => Err(search_lines(head, &mut 0).err().unwrap_or(HttpError::bad("malformed head"))),
        Err(error) => Err(search_lines(head, &mut 0).err().unwrap_or_else(|| parse_error(error, head))),
    }
}

/// Refuses a parsed head with a line that ends in a bare LF. Lines end where the next name begins.
fn ends_in_crlf(head: &[u8], parsed: &[httparse::Header<'_>]) -> Result<(), HttpError> {
    // Empty lines, which `httparse` skips before it begins.
    if head.first().is_some_and(u8::is_ascii_whitespace) {
        search_lines(head, &mut 0)?;
    }
    let base = head.as_ptr() as usize;
    let mut names = parsed.iter().map(|header| header.name.as_ptr() as usize - base);
    if head.ends_with(b"\r\n\r\n") && names.all(|at| head[..at].ends_with(b"\r\n")) {
        return Ok(());
    }
    Err(BARE_LF)
}

/// Holds a parsed head to what `httparse` does not know.
fn check<'a>(
    head: &'a [u8],
    request: &httparse::Request<'_, 'a>,
    lines: &'a mut Lines,
    limits: &HttpLimits,
) -> Result<Head<'a>, HttpError> {
    let method_text = request.method.unwrap_or_default();
    let method = Method::from_text(method_text);
    let minor_version = request.version.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    if target.len() > limits.target_bytes {
        return Err(HttpError::new(414, "request target too long"));
    }
    let target = origin_form(method, target)?;
    let headers = Headers::index(head, request.headers, lines);
    check_host(&headers, minor_version)?;
    let framing = request_framing(&headers, minor_version)?;
    Ok(Head {
        method,
        method_text,
        target,
        minor_version,
        framing,
        keep_alive: keep_alive(&headers, minor_version),
        upgrade_websocket: method == Method::Get
            && minor_version >= 1
            && headers.has(Name::Upgrade)
            && headers.list_contains("connection", "upgrade")
            && headers.list_contains("upgrade", "websocket"),
        expects_continue: minor_version >= 1
            && headers.has(Name::Expect)
            && headers.list_contains("expect", "100-continue"),
        headers,
    })
}

/// Parses a whole response head: status, minor version and headers.
pub(super) fn parse_response<'a>(
    head: &'a [u8],
    lines: &'a mut Lines,
    limits: &HttpLimits,
) -> Result<(u16, u8, Headers<'a>), HttpError> {
    let mut storage = [const { MaybeUninit::<httparse::Header<'a>>::uninit() }; HTTP_HEADERS];
    let room = limits.headers.min(HTTP_HEADERS);
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, head, &mut storage[..room]);
    whole(parsed, head)?;
    ends_in_crlf(head, response.headers)?;
    let status = response.code.unwrap_or_default();
    // RFC 9110 section 15: the first digit is the class, and there is no class 0.
    if status < 100 {
        return Err(HttpError::bad("status below 100"));
    }
    let headers = Headers::index(head, response.headers, lines);
    Ok((status, response.version.unwrap_or_default(), headers))
}

fn parse_error(error: httparse::Error, head: &[u8]) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => HttpError::new(431, "too many header lines"),
        httparse::Error::Version if names_a_version(head) => {
            HttpError::new(505, "HTTP version not supported")
        }
        httparse::Error::Version => HttpError::bad("malformed HTTP version"),
        httparse::Error::HeaderName => HttpError::bad("invalid header name"),
        httparse::Error::HeaderValue => HttpError::bad("invalid header value"),
        httparse::Error::NewLine => HttpError::bad("malformed line end"),
        httparse::Error::Token => HttpError::bad("invalid character in the request line"),
        httparse::Error::Status => HttpError::bad("malformed status line"),
    }
}

/// Whether the first line ends in a well-formed version (`HTTP/2.0`), one that is merely not ours.
fn names_a_version(head: &[u8]) -> bool {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    let Some(text) = line.split(|byte| *byte == b' ').nth(2) else { return false };
    matches!(text, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Reduces the target to origin form, or `*` (RFC 9112 section 3.2). The authority of an absolute form is
/// checked and dropped.
fn origin_form(method: Method, target: &str) -> Result<&str, HttpError> {
    if target.bytes().any(|byte| byte == b'#' || byte <= b' ' || byte == 0x7f) {
        return Err(HttpError::bad("invalid character in the request target"));
    }
    if target.starts_with('/') {
        return Ok(target);
    }
    if target == "*" {
        return match method {
            Method::Options => Ok(target),
            _ => Err(HttpError::bad("asterisk target is for OPTIONS only")),
        };
    }
    let scheme_len = ["http://", "https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len())
        .ok_or(HttpError::bad("request target is neither a path nor an http URL"))?;
    let rest = &target[scheme_len..];
    let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(HttpError::bad("invalid authority in the request target"));
    }
    match path.as_bytes().first() {
        Some(b'/') => Ok(path),
        Some(_) => Err(HttpError::bad("absolute request target with a query needs a path")),
        None if method == Method::Options => Ok("*"),
        None => Ok("/"),
    }
}

const AUTHORITY: [bool; 256] = table(b"-._~!$&'()*+;=:[]%");
const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");

/// Letters, digits and `others`.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// Characters of `host[:port]` (RFC 3986 section 3.2.2), without user information.
fn is_authority(text: &[u8]) -> bool {
    text.iter().all(|&byte| AUTHORITY[usize::from(byte)])
}

/// RFC 9112 section 3.2: exactly one Host on HTTP/1.1, never two, and a valid one. It may be empty.
fn check_host(headers: &Headers<'_>, minor_version: u8) -> Result<(), HttpError> {
    match headers.only(Name::Host) {
        Err(()) => Err(HttpError::bad("Host repeated")),
        Ok(None) if minor_version >= 1 => Err(HttpError::bad("Host missing")),
        Ok(Some(host)) if !is_authority(host) => Err(HttpError::bad("invalid Host")),
        Ok(_) => Ok(()),
    }
}

fn keep_alive(headers: &Headers<'_>, minor_version: u8) -> bool {
    if !headers.has(Name::Connection) {
        return minor_version >= 1;
    }
    if headers.list_contains("connection", "close") {
        return false;
    }
    minor_version >= 1 || headers.list_contains("connection", "keep-alive")
}

/// RFC 9112 section 6.3 for requests. Stricter than it in one point: a Content-Length that is repeated with
/// the same value (on two lines or as a list) is refused as well.
fn request_framing(headers: &Headers<'_>, minor_version: u8) -> Result<Framing, HttpError> {
    let length = content_length(headers)?;
    let chunked = transfer_encoding(headers)?;
    match (length, chunked) {
        (Some(_), true) => Err(HttpError::bad("Content-Length together with Transfer-Encoding")),
        (None, true) if minor_version == 0 => Err(HttpError::bad("Transfer-Encoding in HTTP/1.0")),
        (None, true) => Ok(Framing::Chunked),
        (length, false) => Ok(Framing::Sized(length.unwrap_or(0))),
    }
}

/// The only Content-Length, if there is one.
pub(super) fn content_length(headers: &Headers<'_>) -> Result<Option<usize>, HttpError> {
    let value = headers.only(Name::ContentLength).map_err(|()| HttpError::bad("Content-Length repeated"))?;
    let Some(value) = value else { return Ok(None) };
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::bad("Content-Length is not a number"));
    }
    value
        .iter()
        .try_fold(0usize, |sum, digit| sum.checked_mul(10)?.checked_add(usize::from(digit - b'0')))
        .map(Some)
        .ok_or(HttpError::bad("Content-Length out of range"))
}

/// Whether the message is chunked. Any other coding is refused: with 501 in front of `chunked`, with 400
/// when the last one is not `chunked`, because then the end of the body is unknown.
pub(super) fn transfer_encoding(headers: &Headers<'_>) -> Result<bool, HttpError> {
    if !headers.has(Name::TransferEncoding) {
        return Ok(false);
    }
    let mut present = false;
    let mut chunked = false;
    let mut other = false;
    for coding in headers.all("transfer-encoding").flat_map(|line| line.split(|byte| *byte == b',')) {
        present = true;
        if chunked {
            return Err(HttpError::bad("chunked is not the last transfer coding"));
        }
        let coding = trim(coding);
        if coding.eq_ignore_ascii_case(b"chunked") {
            chunked = true;
        } else if is_token(coding) {
            other = true;
        } else {
            return Err(HttpError::bad("malformed Transfer-Encoding"));
        }
    }
    match (present, chunked, other) {
        (false, ..) => Ok(false),
        (_, false, _) => Err(HttpError::bad("last transfer coding is not chunked")),
        (_, true, true) => Err(HttpError::new(501, "transfer coding not implemented")),
        (_, true, false) => Ok(true),
    }
}

/// A token of RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| TOKEN[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head<'_>, HttpError> {
        // A test's few bytes may stay.
        parse(text.as_bytes(), Box::leak(Box::default()), &HttpLimits::default())
    }

    #[test]
    fn headers_are_found_whatever_their_case_and_order() {
        let head = head("GET / HTTP/1.1\r\nHost: h\r\nX-a:1\r\nx-A: \t2 \t\r\nEmpty:\r\n\r\n").unwrap();
        let headers = &head.headers;
        assert_eq!(headers.len(), 4);
        assert_eq!(headers.get("X-A"), Some(b"1".as_slice()));
        assert_eq!(headers.all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(headers.get("empty"), Some(b"".as_slice()));
        assert_eq!(headers.get("x"), None);
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "X-a", "x-A", "Empty"]);
    }

    #[test]
    fn targets_are_reduced_to_origin_form() {
        for (line, expected) in [
            ("GET /a?b=c", "/a?b=c"),
            ("GET http://h:80/a?b", "/a?b"),
            ("GET HTTPS://h", "/"),
            ("OPTIONS http://h", "*"),
            ("OPTIONS *", "*"),
            ("GET /a|b^{}[]\\`\"<>", "/a|b^{}[]\\`\"<>"),
            ("GET /\u{10d}aj", "/\u{10d}aj"),
        ] {
            let text = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(head(&text).unwrap().target, expected, "{line}");
        }
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        for (version, connection, expected) in [
            ("1.1", "", true),
            ("1.1", "Connection: foo, CLOSE\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
            assert_eq!(head(&text).unwrap().keep_alive, expected, "{version} {connection}");
        }
    }

    #[test]
    fn websocket_upgrade_needs_get_and_both_headers() {
        let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, WebSocket\r\n";
        for (line, extra, expected) in [
            ("GET / HTTP/1.1", upgrade, true),
            ("POST / HTTP/1.1", upgrade, false),
            ("GET / HTTP/1.0", upgrade, false),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\n", false),
            ("GET / HTTP/1.1", "Connection: upgrade\r\n", false),
        ] {
            let text = format!("{line}\r\nHost: h\r\n{extra}\r\n");
            assert_eq!(head(&text).unwrap().upgrade_websocket, expected, "{line} {extra}");
        }
    }

    #[test]
    fn the_end_is_found_byte_by_byte() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest";
        let mut scanned = 0;
        for len in 0..text.len() - 4 {
            assert_eq!(find_end(&text[..len], &mut scanned), Ok(None));
            assert_eq!(scanned, len);
        }
        assert_eq!(find_end(text, &mut scanned), Ok(Some(text.len() - 4)));
        assert!(find_end(b"a\nb", &mut 0).is_err());
        assert!(find_end(b"\n", &mut 0).is_err());
    }
}
