//! A hook as data: an HTTP call from the node to a back end and what came of it. Who wants one builds a
//! [`HookCall`]; `service/hooks` makes it and hands back a [`HookAnswer`] or a [`HookFailure`] under the
//! caller's [`HookToken`].
//!
//! Sources: protocol sheets nchan (section 7: authorize, subscribe and publisher upstream requests) and HTTP
//! push relay (section 8: passthrough); RFC 9110 section 7.6.1 for what must not be forwarded.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Method of a hook: the protocols use no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookMethod {
    /// GET.
    Get,
    /// POST.
    Post,
}

/// One HTTP call to a back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// Absolute URL as [`HookTarget::parse`] takes it.
    pub url: Arc<str>,
    /// GET or POST.
    pub method: HookMethod,
    /// Header lines, sent in the spelling and with the values given here; lines of the same name are sent
    /// together. The client's request headers may be passed whole: hop-by-hop ones are left out when sending
    /// (see [`is_hop_by_hop`]). `Host` is sent if it is here, else the URL's authority takes its place.
    pub headers: Vec<(Bytes, Bytes)>,
    /// Request body; its length is told for every POST and for a GET that has one.
    pub body: Bytes,
    /// For a call with `answer`: milliseconds from handing it over to its answer, the time in the queue
    /// included. Else: milliseconds of one try. 0 takes the service's default.
    pub timeout_ms: u32,
    /// Somebody waits for the answer. Without it the call is fire and forget: its answer goes nowhere, and it
    /// may be tried again when no connection could be made.
    pub answer: bool,
    /// Calls with the same key are sent one after another in the order they were handed over, whatever their
    /// URLs; the next one starts when the one before has ended, well or badly.
    pub order: Option<u64>,
}

/// What the back end said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookAnswer {
    /// Status code, 200 to 999. Every final status is an answer, also 4xx and 5xx; redirects are not followed.
    pub status: u16,
    /// Header lines, names in lower case, without hop-by-hop ones and `content-length`: they may be relayed.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The whole body without its transfer coding; a content coding is left as it is.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookFailure {
    /// No connection, or it ended before an answer began.
    Unreachable,
    /// No whole answer in time.
    Timeout,
    /// Too many calls, or bytes of calls, are waiting already.
    QueueFull,
    /// The back end failed so often that it is left alone for a while.
    CircuitOpen,
    /// The answer is larger than allowed.
    TooLarge,
    /// What came back is no HTTP answer, or it broke off.
    BadAnswer,
    /// The call itself cannot be sent: URL or a header is not valid, or its head is too large.
    BadCall,
    /// The service is stopping, or has stopped.
    Stopped,
}

impl HookFailure {
    /// Every failure, in the order of the declaration: `failure as usize` is its index here.
    pub const ALL: [HookFailure; 8] = [
        HookFailure::Unreachable,
        HookFailure::Timeout,
        HookFailure::QueueFull,
        HookFailure::CircuitOpen,
        HookFailure::TooLarge,
        HookFailure::BadAnswer,
        HookFailure::BadCall,
        HookFailure::Stopped,
    ];

    /// The failure for people, fit for a log line or an answer body.
    pub fn text(self) -> &'static str {
        match self {
            HookFailure::Unreachable => "back end cannot be reached",
            HookFailure::Timeout => "back end did not answer in time",
            HookFailure::QueueFull => "too many calls to back ends are waiting",
            HookFailure::CircuitOpen => "back end failed repeatedly and is left alone for a while",
            HookFailure::TooLarge => "back end's answer is too large",
            HookFailure::BadAnswer => "back end's answer is not valid HTTP",
            HookFailure::BadCall => "call to the back end is not valid HTTP",
            HookFailure::Stopped => "calls to back ends have stopped",
        }
    }

    /// The failure as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            HookFailure::Unreachable => "unreachable",
            HookFailure::Timeout => "timeout",
            HookFailure::QueueFull => "queue_full",
            HookFailure::CircuitOpen => "circuit_open",
            HookFailure::TooLarge => "too_large",
            HookFailure::BadAnswer => "bad_answer",
            HookFailure::BadCall => "bad_call",
            HookFailure::Stopped => "stopped",
        }
    }
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for HookFailure {}

/// Whose answer it is. The service only carries it: the shard that made the call finds its own again by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookToken {
    /// Shard that made the call.
    pub shard: u16,
    /// Slot of the connection or session in that shard.
    pub slot: u32,
    /// Generation of the slot, so that an answer for a former holder is dropped.
    pub generation: u32,
    /// The holder's own mark.
    pub tag: u32,
}

/// A hook URL taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookTarget<'a> {
    /// `host` or `host:port` as written: the default `Host` header and the name of the back end.
    pub authority: &'a str,
    /// Name or address to connect to; an IPv6 address without its brackets.
    pub host: &'a str,
    /// Port; when not written 80, and 443 with TLS.
    pub port: u16,
    /// An `https://` URL.
    pub tls: bool,
    /// Path and query as written; the path may be empty.
    target: &'a str,
}

/// Why a text is no hook URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookUrlError {
    /// It begins neither with `http://` nor with `https://`.
    Scheme,
    /// No host, or one with characters that no host name has.
    Host,
    /// User and password before the host.
    UserInfo,
    /// The port is no number from 1 to 65535.
    Port,
    /// A fragment, or a character that has to be percent-encoded.
    Target,
}

impl fmt::Display for HookUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookUrlError::Scheme => "a hook URL begins with http:// or https://",
            HookUrlError::Host => "a hook URL needs a host name or address",
            HookUrlError::UserInfo => "user and password in a hook URL are not supported",
            HookUrlError::Port => "the port of a hook URL is a number from 1 to 65535",
            HookUrlError::Target => "path and query of a hook URL are printable ASCII without a fragment",
        })
    }
}

impl std::error::Error for HookUrlError {}

impl<'a> HookTarget<'a> {
    /// Takes an absolute `http://` or `https://` URL apart (RFC 3986 section 3, RFC 9110 section 4.2). No name is looked up.
    ///
    /// # Errors
    /// Says what keeps the text from being a hook URL.
    pub fn parse(url: &'a str) -> Result<HookTarget<'a>, HookUrlError> {
        let (rest, tls) = match strip_prefix_ignore_case(url, "http://") {
            Some(rest) => (rest, false),
            None => (strip_prefix_ignore_case(url, "https://").ok_or(HookUrlError::Scheme)?, true),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(HookUrlError::UserInfo);
        }
        if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(HookUrlError::Target);
        }
        let (host, port) = split_authority(authority, if tls { 443 } else { 80 })?;
        Ok(HookTarget { authority, host, port, tls, target })
    }

    /// Path and query for the request line; an empty path is sent as `/` (RFC 9112 section 3.2.1).
    pub fn path_and_query(&self) -> Cow<'a, str> {
        if self.target.starts_with('/') {
            Cow::Borrowed(self.target)
        } else {
            Cow::Owned(format!("/{}", self.target))
        }
    }
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn split_authority(authority: &str, default_port: u16) -> Result<(&str, u16), HookUrlError> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(HookUrlError::Host)?;
        if !host.contains(':') || !host.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
            return Err(HookUrlError::Host);
        }
        (host, port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        if host.is_empty()
            || !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        {
            return Err(HookUrlError::Host);
        }
        (host, port)
    };
    if port.is_empty() {
        return Ok((host, default_port));
    }
    let digits = port.strip_prefix(':').ok_or(HookUrlError::Host)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HookUrlError::Port);
    }
    match digits.parse::<u16>() {
        Ok(port) if port != 0 => Ok((host, port)),
        _ => Err(HookUrlError::Port),
    }
}

/// Whether a header line belongs to one connection and must not travel further: the hop-by-hop ones of
/// RFC 9110 section 7.6.1, every `Proxy-*`, the framing (`Content-Length`, made anew from the body) and `Expect`,
/// which was settled with the client before its body was read. Names listed in a `Connection` header are hop by
/// hop too: see [`connection_lists`].
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "expect",
    ];
    NAMES.iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()))
        || name.get(..6).is_some_and(|p| p.eq_ignore_ascii_case(b"proxy-"))
}

/// Whether the value of a `Connection` header lists `name` (RFC 9110 section 7.6.1).
pub fn connection_lists(value: &[u8], name: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Result<(&str, &str, u16, Cow<'_, str>), HookUrlError> {
        HookTarget::parse(url).map(|t| (t.authority, t.host, t.port, t.path_and_query()))
    }

    #[test]
    fn takes_urls_apart() {
        assert_eq!(parts("http://app/passthrough"), Ok(("app", "app", 80, "/passthrough".into())));
        assert_eq!(parts("HTTP://127.0.0.1:8000"), Ok(("127.0.0.1:8000", "127.0.0.1", 8000, "/".into())));
        assert_eq!(parts("http://[::1]:81/a?b=c%20d"), Ok(("[::1]:81", "::1", 81, "/a?b=c%20d".into())));
        assert_eq!(parts("http://[fe80::1]"), Ok(("[fe80::1]", "fe80::1", 80, "/".into())));
        assert_eq!(parts("https://app/a"), Ok(("app", "app", 443, "/a".into())));
        assert_eq!(parts("HTTPS://app:80"), Ok(("app:80", "app", 80, "/".into())));
        assert!(
            HookTarget::parse("https://app").unwrap().tls && !HookTarget::parse("http://app").unwrap().tls
        );
        assert_eq!(parts("http://h?x=http://y"), Ok(("h", "h", 80, "/?x=http://y".into())));
    }

    #[test]
    fn says_what_is_wrong_with_a_url() {
        for (url, error) in [
            ("https:/app/", HookUrlError::Scheme),
            ("https://", HookUrlError::Host),
            ("ftp://app/", HookUrlError::Scheme),
            ("", HookUrlError::Scheme),
            ("http:/", HookUrlError::Scheme),
            ("httpš://", HookUrlError::Scheme),
            ("http://", HookUrlError::Host),
            ("http:///path", HookUrlError::Host),
            ("http://:80/", HookUrlError::Host),
            ("http://[::1/", HookUrlError::Host),
            ("http://[::1]x/", HookUrlError::Host),
            ("http://[abc]/", HookUrlError::Host),
            ("http://a b/", HookUrlError::Host),
            ("http://a\r\nX: y/", HookUrlError::Host),
            ("http://user:pw@app/", HookUrlError::UserInfo),
            ("http://app:/", HookUrlError::Port),
            ("http://app:0/", HookUrlError::Port),
            ("http://app:65536/", HookUrlError::Port),
            ("http://app:+80/", HookUrlError::Port),
            ("http://app/a b", HookUrlError::Target),
            ("http://app/ HTTP/1.1\r\nX: y", HookUrlError::Target),
            ("http://app/č", HookUrlError::Target),
            ("http://app/#top", HookUrlError::Target),
        ] {
            assert_eq!(HookTarget::parse(url), Err(error), "{url:?}");
        }
    }

    #[test]
    fn knows_hop_by_hop_headers() {
        for name in
            ["Connection", "TE", "transfer-encoding", "Proxy-Authorization", "PROXY-x", "Content-Length"]
        {
            assert!(is_hop_by_hop(name.as_bytes()), "{name}");
        }
        for name in ["Cookie", "Host", "Content-Type", "Proxy", "If-None-Match", "Sec-WebSocket-Key", "č"] {
            assert!(!is_hop_by_hop(name.as_bytes()), "{name}");
        }
        assert!(connection_lists(b"keep-alive, X-Once", b"x-once"));
        assert!(!connection_lists(b"keep-alive, X-Once2", b"x-once"));
    }

    #[test]
    fn failures_are_indexed_by_their_place() {
        for (i, failure) in HookFailure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, i);
        }
    }
}
