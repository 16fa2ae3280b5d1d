//! A Pusher connection, and what the server tells on it.

use crate::client::{check_handshake, handshake_request};
use crate::frame::{self, Kind};
use crate::http;
use crate::sys::{self, Received};
use crate::wire::pusher::{Event, PONG};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// A handshake and the greeting may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest text accepted from the server, bytes.
const TEXT_BYTES: usize = 4 << 20;

/// See the module.
pub struct Line {
    stream: TcpStream,
    held: Vec<u8>,
    /// Id the server has given it.
    pub socket_id: String,
}

/// What the server tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The subscription stands, and these are the members.
    List(Members),
    /// A member has come.
    Added {
        /// Who.
        user_id: String,
        /// Its data.
        user_info: Value,
    },
    /// A member has gone.
    Removed {
        /// Who.
        user_id: String,
    },
    /// Nothing that matters.
    Nothing,
    /// To be answered with a pong.
    Ping,
}

/// Members of a channel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Members {
    ids: Vec<String>,
    hash: BTreeMap<String, Value>,
    count: usize,
}

#[derive(Deserialize)]
struct Presence {
    presence: Members,
}

#[derive(Deserialize)]
struct Who {
    user_id: String,
    #[serde(default)]
    user_info: Value,
}

impl Members {
    /// Ids as listed.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }

    /// Refuses a list that is not exactly `expected`: ids and their data.
    pub fn check(&self, expected: &BTreeMap<&str, Value>) -> Result<(), String> {
        let mut ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        if ids.len() < count {
            return Err("the list of members names one twice".to_owned());
        }
        if let Some(missing) = expected.keys().find(|id| !ids.contains(id)) {
            return Err(format!("{missing} is missing in the list of {count} members"));
        }
        if let Some(stranger) = ids.iter().find(|id| !expected.contains_key(*id)) {
            return Err(format!("{stranger} is in the list of {count} members and not there"));
        }
        let right = |(id, info): (&String, &Value)| expected.get(id.as_str()) == Some(info);
        if self.count != count || self.hash.len() != count || !self.hash.iter().all(right) {
            return Err("ids, hash and count of the list of members do not agree".to_owned());
        }
        Ok(())
    }
}

impl Notice {
    /// Reads a text on `channel`. What no server should send is an error.
    pub fn parse(channel: &str, text: &[u8]) -> Result<Notice, String> {
        let event = Event::parse(text)?;
        let said = || String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned();
        match &*event.event {
            "pusher:ping" => return Ok(Notice::Ping),
            "pusher:pong" | "pusher_internal:subscription_count" => return Ok(Notice::Nothing),
            _ if event.channel.as_deref() != Some(channel) => {
                return Err(format!("not of this channel: {}", said()));
            }
            _ => {}
        }
        let data = event.data().ok_or_else(|| format!("an event without a string: {}", said()))?;
        let bad = |error: serde_json::Error| format!("bad data ({error}): {}", said());
        match &*event.event {
            "pusher_internal:subscription_succeeded" => {
                Ok(Notice::List(serde_json::from_str::<Presence>(data).map_err(bad)?.presence))
            }
            "pusher_internal:member_added" => {
                let who: Who = serde_json::from_str(data).map_err(bad)?;
                Ok(Notice::Added { user_id: who.user_id, user_info: who.user_info })
            }
            "pusher_internal:member_removed" => {
                let who: Who = serde_json::from_str(data).map_err(bad)?;
                Ok(Notice::Removed { user_id: who.user_id })
            }
            _ => Err(format!("an event nobody asked for: {}", said())),
        }
    }
}

impl Line {
    /// Connects from `source` and waits for the greeting.
    pub fn connect(source: Ipv4Addr, target: SocketAddrV4, path: &str) -> Result<Line, String> {
        let socket = sys::connect_from(source, target).map_err(|e| format!("connect from {source}: {e}"))?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(|e| e.to_string())?;
        let handshake = |e: std::io::Error| format!("handshake: {e}");
        stream.write_all(handshake_request(target, path, None).as_bytes()).map_err(handshake)?;
        let (mut held, mut buffer, mut upgraded) = (Vec::new(), [0; 4096], false);
        loop {
            match sys::read(&mut stream, &mut buffer).map_err(handshake)? {
                0 => return Err("closed in the handshake".to_owned()),
                got => held.extend_from_slice(&buffer[..got]),
            }
            if let Some(head) = http::head_length(&held).filter(|_| !upgraded) {
                check_handshake(&held[..head])?;
                held.drain(..head);
                upgraded = true;
            }
            if !upgraded {
                if held.len() > 4 * buffer.len() {
                    return Err("endless handshake answer".to_owned());
                }
                continue;
            }
            let Some(found) = frame::next(&held, TEXT_BYTES).map_err(|e| e.to_string())? else { continue };
            let text: Vec<u8> = held.drain(..found.payload.end).skip(found.payload.start).collect();
            let greeting = Event::parse(&text)?.socket_id();
            let socket_id = greeting
                .ok_or_else(|| format!("no greeting of Pusher: {}", String::from_utf8_lossy(&text)))??;
            return Ok(Line { stream, held, socket_id });
        }
    }

    /// Its socket, what has come on it, and the id the server has given it.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>, String) {
        (self.stream, self.held, self.socket_id)
    }

    /// Sends a text.
    pub fn say(&self, text: &str) -> Result<(), String> {
        let mut out = Vec::new();
        frame::push_masked(&mut out, text.as_bytes(), [0; 4]);
        self.send(&out)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), String> {
        let sent = sys::send_now(self.fd(), bytes).map_err(|e| e.to_string())?;
        if sent < bytes.len() { Err("the server does not read".to_owned()) } else { Ok(()) }
    }

    /// Reads the socket once, answers pings, and hands on what the server tells of `channel`. False if nothing had
    /// come.
    pub fn read(
        &mut self,
        channel: &str,
        buffer: &mut [u8],
        mut on: impl FnMut(Notice) -> Result<(), String>,
    ) -> Result<bool, String> {
        let got = match sys::recv_now(self.fd(), buffer).map_err(|e| e.to_string())? {
            Received::Nothing => return Ok(false),
            Received::Closed => return Err("the server closed the connection".to_owned()),
            Received::Bytes(got) => got,
        };
        self.held.extend_from_slice(&buffer[..got]);
        let mut used = 0;
        while let Some(found) = frame::next(&self.held[used..], TEXT_BYTES).map_err(|e| e.to_string())? {
            let payload = &self.held[used..][found.payload.clone()];
            match found.kind {
                Kind::Message => match Notice::parse(channel, payload)? {
                    Notice::Ping => self.say(PONG)?,
                    Notice::Nothing => {}
                    notice => on(notice)?,
                },
                Kind::Ping => self.send(&frame::pong(payload))?,
                Kind::Pong => {}
                Kind::Close => return Err("a close frame".to_owned()),
            }
            used += found.payload.end;
        }
        self.held.drain(..used);
        Ok(true)
    }

    /// Descriptor of the socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_must_be_exactly_who_is_there() {
        let expected = BTreeMap::from([("a", json!({"n": 1})), ("b", json!(null))]);
        let check = |ids: &[&str], hash: Value, count: usize| {
            let list = json!({"presence": {"ids": ids, "hash": hash, "count": count}}).to_string();
            let text =
                json!({"event": "pusher_internal:subscription_succeeded", "channel": "c", "data": list});
            match Notice::parse("c", text.to_string().as_bytes()).unwrap() {
                Notice::List(members) => members.check(&expected),
                other => panic!("{other:?}"),
            }
        };
        let both = json!({"a": {"n": 1}, "b": null});
        assert_eq!(check(&["b", "a"], both.clone(), 2), Ok(()));
        for (ids, hash, count, why) in [
            (&["a"][..], json!({"a": {"n": 1}}), 1, "b is missing"),
            (&["a", "b", "b"], both.clone(), 3, "twice"),
            (&["a", "b", "c"], both.clone(), 3, "c is in the list"),
            (&["a", "b"], both.clone(), 3, "do not agree"),
            (&["a", "b"], json!({"a": {"n": 2}, "b": null}), 2, "do not agree"),
            (&["a", "b"], json!({"a": {"n": 1}}), 2, "do not agree"),
        ] {
            let error = check(ids, hash, count).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn strange_events_are_errors() {
        for text in [
            json!({"event": "pusher:error", "data": {"code": 4009, "message": "no"}}),
            json!({"event": "pusher_internal:member_added", "channel": "other", "data": "{\"user_id\":\"a\"}"}),
            json!({"event": "pusher_internal:member_added", "channel": "c", "data": {"user_id": "a"}}),
            json!({"event": "pusher_internal:member_removed", "channel": "c", "data": "{}"}),
            json!({"event": "m", "channel": "c", "data": "x"}),
        ] {
            assert!(Notice::parse("c", text.to_string().as_bytes()).is_err(), "{text}");
        }
        let removed =
            br#"{"event":"pusher_internal:member_removed","channel":"c","data":"{\"user_id\":\"a\"}"}"#;
        assert_eq!(Notice::parse("c", removed), Ok(Notice::Removed { user_id: "a".to_owned() }));
    }
}
