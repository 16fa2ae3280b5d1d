//! From the request to the subscription.

use super::deflate::{self, OFFER};
use super::talk::{Step, Talk};
use super::{Carrier, Dialect, Poll, Stream, Wire};
use crate::frame::{self, Kind};
use crate::http;
use crate::inbox::{Inbox, Mode};
use std::net::SocketAddrV4;

/// Key and answer of the example in RFC 6455 section 1.3. The key need not be random: no proxy lies between.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See KEY.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Subprotocol of the relay's messages with heads.
const META: &str = "ws+meta.nchan";
/// Bound of all that comes before the subscription stands, bytes.
const OPENING_BYTES: usize = 64 * 1024;

/// A subscription under way.
#[derive(Debug)]
pub struct Opening {
    wire: Wire,
    host: SocketAddrV4,
    held: Vec<u8>,
    /// The WebSocket is there; this is said on it.
    talk: Option<Talk>,
}

impl Opening {
    /// A subscription on `wire` at `host`, and the request to send for it.
    pub fn new(wire: &Wire, host: SocketAddrV4) -> (Opening, Vec<u8>) {
        let path = &wire.path;
        let request = match wire.carrier {
            Carrier::Websocket => {
                let protocol = (wire.dialect == Dialect::RelayMeta).then_some(META);
                upgrade_request(host, path, protocol, wire.deflate.then_some(OFFER))
            }
            Carrier::Longpoll => Poll::new(host, path).request(),
            Carrier::Eventsource => get(host, path, "Accept: text/event-stream\r\n"),
            Carrier::Chunked => get(host, path, "TE: chunked\r\n"),
            Carrier::Multipart => get(host, path, "Accept: multipart/mixed\r\n"),
            Carrier::Raw => get(host, path, ""),
        };
        (Opening { wire: wire.clone(), host, held: Vec::new(), talk: None }, request.into_bytes())
    }

    /// Takes what has come, at first nothing. The subscription with whatever came behind its opening, once it stands.
    /// What is to be sent is appended to `replies`.
    pub fn take(&mut self, bytes: &[u8], replies: &mut Vec<u8>) -> Result<Option<Inbox>, String> {
        self.held.extend_from_slice(bytes);
        // A poll that is held is not answered: it stands when it was sent.
        if self.wire.carrier == Carrier::Longpoll {
            let poll = Poll::new(self.host, &self.wire.path);
            return Ok(Some(Inbox::new(Mode::Poll(Box::new(poll)), std::mem::take(&mut self.held))));
        }
        if self.talk.is_none() {
            let Some(head) = http::head_length(&self.held) else { return self.wait() };
            let rest = self.held.split_off(head);
            let head = std::mem::replace(&mut self.held, rest);
            if self.wire.carrier != Carrier::Websocket {
                let stream = Stream::new(self.wire.carrier, &head)?;
                return Ok(Some(Inbox::new(Mode::Stream(Box::new(stream)), std::mem::take(&mut self.held))));
            }
            check_upgrade(&head, &self.wire)?;
            let talk = Talk::new(&self.wire);
            if let Some(first) = talk.first() {
                frame::push_masked(replies, first.as_bytes(), [0; 4]);
            }
            let open = talk.is_open_at_once();
            self.talk = Some(talk);
            if open {
                return Ok(Some(self.finish()));
            }
        }
        while let Some(found) = frame::next(&self.held, OPENING_BYTES).map_err(|error| error.to_string())? {
            let payload = &self.held[found.payload.clone()];
            let mut open = false;
            match found.kind {
                Kind::Message => {
                    let talk = self.talk.as_ref().ok_or("no WebSocket")?;
                    // Only centrifuge puts several lines into a frame; the others' JSON has none of these.
                    for line in payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                        if open {
                            return Err("a message together with the answer to the subscription".to_owned());
                        }
                        match talk.step(line)? {
                            Step::Say(text) => frame::push_masked(replies, text.as_bytes(), [0; 4]),
                            Step::Open => open = true,
                        }
                    }
                }
                Kind::Ping => replies.extend(frame::pong(payload)),
                Kind::Pong => {}
                Kind::Close => return Err(format!("closed before the subscription stood: {payload:?}")),
            }
            self.held.drain(..found.payload.end);
            if open {
                return Ok(Some(self.finish()));
            }
        }
        self.wait()
    }

    fn wait(&self) -> Result<Option<Inbox>, String> {
        if self.held.len() > OPENING_BYTES {
            return Err("endless handshake answer".to_owned());
        }
        Ok(None)
    }

    fn finish(&mut self) -> Inbox {
        let mode = match self.talk.take() {
            None | Some(Talk::Relay) if !self.wire.deflate => Mode::Frames,
            talk => Mode::Talk(Box::new(talk.unwrap_or(Talk::Relay)), self.wire.deflate),
        };
        Inbox::new(mode, std::mem::take(&mut self.held))
    }
}

fn get(host: SocketAddrV4, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

fn upgrade_request(
    host: SocketAddrV4,
    path: &str,
    protocol: Option<&str>,
    extension: Option<&str>,
) -> String {
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    let extension = extension.map(|name| format!("Sec-WebSocket-Extensions: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{protocol}{extension}\r\n"
    )
}

/// A request for a WebSocket on `path`, and in `protocol` if one is given.
pub fn handshake_request(target: SocketAddrV4, path: &str, protocol: Option<&str>) -> String {
    upgrade_request(target, path, protocol, None)
}

/// Refuses an answer to `handshake_request` that is not the one of RFC 6455.
pub fn check_handshake(head: &[u8]) -> Result<(), String> {
    let head = check_accept(head)?;
    match http::header(head, "sec-websocket-extensions") {
        Some(extensions) => Err(format!("extensions nobody asked for: {extensions}")),
        None => Ok(()),
    }
}

/// Refuses an answer that is not the one of RFC 6455 to what `wire` asks for.
fn check_upgrade(head: &[u8], wire: &Wire) -> Result<(), String> {
    if wire.deflate {
        deflate::check_answer(http::header(check_accept(head)?, "sec-websocket-extensions"))?;
    } else {
        check_handshake(head)?;
    }
    if wire.dialect == Dialect::RelayMeta
        && http::header(check_accept(head)?, "sec-websocket-protocol") != Some(META)
    {
        return Err(format!("the server does not speak {META}"));
    }
    Ok(())
}

fn check_accept(head: &[u8]) -> Result<&str, String> {
    let head = std::str::from_utf8(head).map_err(|_| "handshake answer is not text")?;
    let line = head.lines().next().unwrap_or_default();
    if http::status(head) != Some(101) {
        return Err(format!("no WebSocket: {line}"));
    }
    if http::header(head, "sec-websocket-accept") != Some(ACCEPT) {
        return Err("wrong Sec-WebSocket-Accept".to_owned());
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::App;

    #[test]
    fn a_handshake_answer_must_be_right() {
        let check = |extra: &str| {
            check_handshake(format!("HTTP/1.1 101 Switching Protocols\r\n{extra}\r\n").as_bytes())
        };
        let accept = format!("SEC-WebSocket-Accept: {ACCEPT}\r\n");
        assert_eq!(check(&accept), Ok(()));
        assert!(check("").is_err());
        assert!(check("Sec-WebSocket-Accept: AAAA\r\n").is_err());
        assert!(check(&format!("{accept}Sec-WebSocket-Extensions: permessage-deflate\r\n")).is_err());
        assert!(check_handshake(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap_err().contains("403"));
    }

    fn open(wire: &Wire, parts: &[&[u8]]) -> Result<(bool, Vec<u8>), String> {
        let (mut opening, _) = Opening::new(wire, "127.0.0.1:80".parse().unwrap());
        let mut replies = Vec::new();
        for part in parts {
            if opening.take(part, &mut replies)?.is_some() {
                return Ok((true, replies));
            }
        }
        Ok((false, replies))
    }

    fn text(payload: &str) -> Vec<u8> {
        let mut out = Vec::new();
        frame::push_text(&mut out, payload.as_bytes());
        out
    }

    #[test]
    fn a_talk_opens_byte_by_byte_and_at_once() {
        let wire = Wire::of(Dialect::Socketio, "a", &App::default());
        let mut bytes = format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n").into_bytes();
        let mut expected = Vec::new();
        for (text_in, out) in [("0{}", "40"), ("40{}", r#"421["sub","a"]"#), ("431[]", "")] {
            bytes.extend(text(text_in));
            if !out.is_empty() {
                frame::push_masked(&mut expected, out.as_bytes(), [0; 4]);
            }
        }
        assert_eq!(open(&wire, &[&bytes]), Ok((true, expected.clone())));
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(open(&wire, &pieces), Ok((true, expected.clone())));
        assert_eq!(open(&wire, &pieces[..pieces.len() - 1]), Ok((false, expected)));
        let closed = [&bytes[..], &[0x88, 0]].concat();
        let closed = [&closed[..closed.len() - 9], &[0x88, 0]].concat();
        assert!(open(&wire, &[&closed]).unwrap_err().contains("closed before"));
    }

    #[test]
    fn what_was_asked_for_must_be_granted() {
        let head = |extra: &str| {
            format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {ACCEPT}\r\n{extra}\r\n").into_bytes()
        };
        let meta = Wire::of(Dialect::RelayMeta, "a", &App::default());
        assert!(open(&meta, &[&head("Sec-WebSocket-Protocol: ws+meta.nchan\r\n")]).unwrap().0);
        assert!(open(&meta, &[&head("")]).unwrap_err().contains("does not speak"));
        let deflate = Wire::relay("/").deflated();
        let extension = format!("Sec-WebSocket-Extensions: {OFFER}\r\n");
        assert!(open(&deflate, &[&head(&extension)]).unwrap().0);
        assert!(open(&deflate, &[&head("")]).unwrap_err().contains("does not agree"));
        assert!(open(&Wire::relay("/"), &[&head(&extension)]).unwrap_err().contains("nobody asked"));
        assert!(open(&Wire::relay("/"), &[&[b'x'; OPENING_BYTES + 1]]).unwrap_err().contains("endless"));
    }
}
