//! One connection to a running node, for the commands that talk to one: plain and blocking.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Surroundings;
use super::args::PeerArgs;
use crate::limits::{CLI_CONNECT_MS, CLI_MESSAGE_BYTES, CLI_READ_BYTES, HttpLimits};
use crate::service::hooks::Trust;
use crate::wire::http::client::{Body, parse_head, put_request};
use crate::wire::http::head::Framing;
use crate::wire::http::request::Lines;

/// Everything but what RFC 3986 leaves unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Where a node is and what is said to it with every request.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    place: Place,
    /// Value of `Host`.
    host: String,
    /// Path before everything else, without its final slash.
    base: String,
    headers: Vec<(String, String)>,
    channel: String,
    /// Who vouches for a node that speaks TLS.
    trust: Arc<Trust>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(String),
    /// Address, and the name that the certificate has to have.
    Tls(String, String),
    Unix(String),
}

impl Peer {
    /// Reads the arguments.
    pub fn new(surroundings: &Surroundings<'_>, args: &PeerArgs) -> Result<Peer, String> {
        let url =
            args.url.as_deref().or(surroundings.variable("FANWIRE_URL")).unwrap_or("http://127.0.0.1:8080");
        let (place, host, base) = parse_url(url)?;
        let header = |line: &String| {
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("`{line}` is not `Name: value`"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        let headers = args.header.iter().map(header).collect::<Result<_, String>>()?;
        let trust = match &args.ca {
            None => Trust::default(),
            Some(path) => std::fs::read(path)
                .map_err(|error| error.to_string())
                .and_then(|pem| Trust::with(&pem))
                .map_err(|error| format!("--ca {}: {error}", path.display()))?,
        };
        Ok(Peer { place, host, base, headers, channel: args.channel.clone(), trust: Arc::new(trust) })
    }

    /// Request target of the channel below `location` (`/pub/`), or the path given in its stead. `id` becomes the
    /// query argument `last_event_id`.
    pub fn target(&self, location: &str, id: Option<&str>) -> String {
        let mut target = self.base.clone();
        if self.channel.starts_with('/') {
            target.push_str(&self.channel);
        } else {
            target.push_str(location);
            target.extend(utf8_percent_encode(&self.channel, ESCAPED));
        }
        if let Some(id) = id {
            target.push_str(if target.contains('?') { "&last_event_id=" } else { "?last_event_id=" });
            target.extend(utf8_percent_encode(id, ESCAPED));
        }
        target
    }

    /// Connects. `patience` bounds every wait for bytes; `None` waits for ever.
    pub fn connect(&self, patience: Option<Duration>) -> Result<Connection, String> {
        let (place, stream) = match &self.place {
            Place::Tcp(address) => {
                (address, connect_tcp(address, patience).map(|s| Box::new(s) as Box<dyn Stream>))
            }
            Place::Tls(address, name) => (address, connect_tls(&self.trust, address, name, patience)),
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).and_then(|stream| {
                    stream.set_read_timeout(patience)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                });
                (path, stream)
            }
        };
        let stream = stream.map_err(|error| format!("cannot connect to {place}: {error}"))?;
        Ok(Connection { stream, received: Vec::new() })
    }

    /// Sends a request with the peer's own headers added.
    pub fn send(
        &self,
        connection: &mut Connection,
        method: &str,
        target: &str,
        headers: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> Result<(), String> {
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers: Vec<_> = own.chain(headers.iter().copied()).collect();
        let mut request = Vec::new();
        put_request(&mut request, method, target, &self.host, &headers, body)
            .map_err(|error| error.to_string())?;
        connection.write(&request)
    }
}

/// Place, host and base path of `http://host[:port][/base]`, the same with `https`, or `unix:/path`.
fn parse_url(url: &str) -> Result<(Place, String, String), String> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok((Place::Unix(path.into()), "localhost".into(), String::new()));
    }
    let needs = || format!("`{url}`: needs http://host:port, https://host:port or unix:/path");
    let (rest, default, tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80, false),
        (_, Some(rest)) => (rest, 443, true),
        _ => return Err(needs()),
    };
    let (host, base) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    if host.is_empty() || host.contains(['?', '#', '@']) {
        return Err(needs());
    }
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let with_port = host.rsplit_once(':').filter(|(_, port)| is_port(port));
    let address = if with_port.is_some() { host.to_owned() } else { format!("{host}:{default}") };
    let name = with_port.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let place = if tls { Place::Tls(address, name.into()) } else { Place::Tcp(address) };
    Ok((place, host.into(), base.trim_end_matches('/').into()))
}

fn connect_tcp(address: &str, patience: Option<Duration>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, Duration::from_millis(CLI_CONNECT_MS)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(patience)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_tls(
    trust: &Trust,
    address: &str,
    name: &str,
    patience: Option<Duration>,
) -> io::Result<Box<dyn Stream>> {
    // The handshake is not what is waited for without an end.
    let socket = connect_tcp(address, Some(Duration::from_millis(CLI_CONNECT_MS)))?;
    let stream = trust.shake_hands(socket.try_clone()?, name)?;
    socket.set_read_timeout(patience)?;
    Ok(Box::new(stream))
}

/// A connection and what has come on it.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// Received and not yet read.
    pub received: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    headers: Vec<(String, Vec<u8>)>,
    pub framing: Framing,
}

impl Answer {
    /// A header's value, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

impl Connection {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        sent.map_err(|error| format!("cannot send: {error}"))
    }

    /// Waits for more bytes; `false` at the end.
    pub fn fill(&mut self) -> Result<bool, String> {
        let mut chunk = [0; CLI_READ_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err("no answer in time".into());
                }
                Err(error) => return Err(format!("cannot receive: {error}")),
            }
        }
    }

    /// Reads the head of the next answer; interim ones but 101 are skipped.
    pub fn head(&mut self) -> Result<Answer, String> {
        let mut lines = Lines::default();
        loop {
            let parsed = parse_head(&self.received, false, &mut lines, &http_limits())
                .map_err(|error| format!("bad answer: {error}"))?;
            let Some(head) = parsed else {
                if !self.fill()? {
                    return Err("the connection ended without an answer".into());
                }
                continue;
            };
            let headers =
                head.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            let answer = Answer { status: head.status, headers, framing: head.framing };
            let len = head.len;
            self.received.drain(..len);
            if !(100..200).contains(&answer.status) || answer.status == 101 {
                return Ok(answer);
            }
        }
    }

    /// Reads a whole body.
    pub fn body(&mut self, answer: &Answer) -> Result<Vec<u8>, String> {
        let mut body = Body::new(answer.framing);
        let mut whole = Vec::new();
        while self.body_part(&mut body, &mut whole)? {}
        Ok(whole)
    }

    /// Appends what comes next of a body; `false` when it has ended.
    pub fn body_part(&mut self, body: &mut Body, out: &mut Vec<u8>) -> Result<bool, String> {
        if body.is_done() {
            return Ok(false);
        }
        if self.received.is_empty() && !self.fill()? {
            return match body.ends_with_connection() {
                true => Ok(false),
                false => Err("the connection ended within a body".into()),
            };
        }
        let limits = HttpLimits { body_bytes: usize::MAX, ..http_limits() };
        let (taken, data) =
            body.read(&mut self.received, &limits).map_err(|error| format!("bad answer: {error}"))?;
        if out.len() + data.len() > CLI_MESSAGE_BYTES {
            return Err(format!("more than {CLI_MESSAGE_BYTES} bytes without an end"));
        }
        out.extend_from_slice(data);
        self.received.drain(..taken);
        Ok(!body.is_done())
    }
}

fn http_limits() -> HttpLimits {
    HttpLimits { body_bytes: CLI_MESSAGE_BYTES, ..HttpLimits::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_give_address_host_and_base() {
        let tcp = |address: &str| Place::Tcp(address.into());
        assert_eq!(parse_url("http://a:1").unwrap(), (tcp("a:1"), "a:1".into(), String::new()));
        assert_eq!(parse_url("http://a/b/").unwrap(), (tcp("a:80"), "a".into(), "/b".into()));
        assert_eq!(parse_url("http://[::1]").unwrap().0, tcp("[::1]:80"));
        assert_eq!(parse_url("http://[::1]:81/").unwrap().0, tcp("[::1]:81"));
        assert_eq!(parse_url("unix:/x").unwrap().0, Place::Unix("/x".into()));
        let tls = |address: &str, name: &str| Place::Tls(address.into(), name.into());
        assert_eq!(parse_url("https://a/b").unwrap(), (tls("a:443", "a"), "a".into(), "/b".into()));
        assert_eq!(parse_url("https://a:8443").unwrap().0, tls("a:8443", "a"));
        assert_eq!(parse_url("https://[::1]:1").unwrap().0, tls("[::1]:1", "::1"));
        for url in ["wss://a", "https://", "a:1", "http://", "http:///x", "http://u@a"] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn targets_escape_channels_and_keep_paths() {
        let peer = |channel: &str| Peer {
            place: Place::Unix("/x".into()),
            host: "h".into(),
            base: "/base".into(),
            headers: Vec::new(),
            channel: channel.into(),
            trust: Arc::default(),
        };
        assert_eq!(peer("a b/é?").target("/pub/", None), "/base/pub/a%20b%2F%C3%A9%3F");
        assert_eq!(peer("a").target("/sub/", Some("1:[0],-")), "/base/sub/a?last_event_id=1%3A%5B0%5D%2C-");
        assert_eq!(peer("/sub?id=a").target("/sub/", Some("1:0")), "/base/sub?id=a&last_event_id=1%3A0");
    }
}
