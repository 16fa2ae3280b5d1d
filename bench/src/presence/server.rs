//! A small Pusher server with presence channels, and public ones where nothing happens, to test scenarios against: right, or flawed in one way.

use crate::frame;
use crate::http;
use crate::wire::pusher::channel_auth;
use crate::wire::{ACCEPT, App};
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// The tenth announcement does not reach the first member.
    Lose,
    /// The tenth announcement reaches the first member twice.
    Twice,
    /// From the third member on, lists do not have the first member.
    StaleList,
    /// Members whose connection ends stay.
    ForgetCut,
    /// Who comes is told of itself too.
    OwnAnnouncement,
    /// A user's second connection is announced like the first.
    SecondConnection,
}

struct Member {
    socket_id: String,
    channel: String,
    user_id: String,
    user_info: Value,
    stream: TcpStream,
}

struct Node {
    flaw: Flaw,
    app: App,
    members: Mutex<Vec<Member>>,
    announcements: AtomicUsize,
    sockets: AtomicUsize,
}

/// Starts it on threads that live as long as the test program.
pub fn start(flaw: Flaw, app: &App) -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let node = Node {
        flaw,
        app: app.clone(),
        members: Mutex::default(),
        announcements: AtomicUsize::new(0),
        sockets: AtomicUsize::new(0),
    };
    let node = Arc::new(node);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let node = node.clone();
            std::thread::spawn(move || node.serve(stream.unwrap()));
        }
    });
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn tell(mut stream: &TcpStream, event: &Value) {
    let mut out = Vec::new();
    frame::push_text(&mut out, event.to_string().as_bytes());
    let _ = stream.write_all(&out);
}

/// The first text of a client in `held`, taken out of it.
fn next_text(held: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (start, length) = match *held.get(1)? & 0x7f {
        126 => (8, usize::from(u16::from_be_bytes([*held.get(2)?, *held.get(3)?]))),
        short => (6, usize::from(short)),
    };
    let key = held.get(start - 4..start)?.try_into().unwrap();
    let mut text = held.get(start..start + length)?.to_vec();
    frame::mask(&mut text, key);
    held.drain(..start + length);
    Some(text)
}

/// Connections of a user in a channel.
fn count(members: &[Member], channel: &str, user_id: &str) -> usize {
    members.iter().filter(|member| member.channel == channel && member.user_id == user_id).count()
}

impl Node {
    fn serve(&self, mut stream: TcpStream) {
        let socket_id = format!("1.{}", self.sockets.fetch_add(1, Ordering::SeqCst));
        let (mut held, mut buffer, mut open) = (Vec::new(), [0; 4096], false);
        while let Ok(got @ 1..) = stream.read(&mut buffer) {
            held.extend_from_slice(&buffer[..got]);
            if let Some(head) = http::head_length(&held).filter(|_| !open) {
                held.drain(..head);
                open = true;
                let answer = format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                let greeting = json!({ "socket_id": socket_id, "activity_timeout": 120 }).to_string();
                tell(&stream, &json!({ "event": "pusher:connection_established", "data": greeting }));
            }
            while let Some(text) = next_text(&mut held).filter(|_| open) {
                self.hear(&stream, &socket_id, &serde_json::from_slice(&text).unwrap());
            }
        }
        if self.flaw != Flaw::ForgetCut {
            self.remove(&socket_id);
        }
    }

    fn hear(&self, stream: &TcpStream, socket_id: &str, event: &Value) {
        let data = &event["data"];
        match event["event"].as_str() {
            Some("pusher:subscribe") => self.add(stream, socket_id, data),
            Some("pusher:unsubscribe") => self.remove(socket_id),
            other => panic!("{other:?}"),
        }
    }

    fn add(&self, stream: &TcpStream, socket_id: &str, data: &Value) {
        let channel = data["channel"].as_str().unwrap().to_owned();
        let Some(channel_data) = data["channel_data"].as_str() else {
            let event = "pusher_internal:subscription_succeeded";
            return tell(stream, &json!({ "event": event, "channel": channel, "data": "{}" }));
        };
        if data["auth"] != channel_auth(&self.app, socket_id, &channel, Some(channel_data)) {
            let error = json!({ "code": 4009, "message": "Invalid signature" });
            return tell(stream, &json!({ "event": "pusher:error", "data": error }));
        }
        let user: Value = serde_json::from_str(channel_data).unwrap();
        let mut members = self.members.lock().unwrap();
        members.push(Member {
            socket_id: socket_id.to_owned(),
            channel: channel.clone(),
            user_id: user["user_id"].as_str().unwrap().to_owned(),
            user_info: user["user_info"].clone(),
            stream: stream.try_clone().unwrap(),
        });
        let stale = usize::from(self.flaw == Flaw::StaleList && members.len() > 2);
        let there = members.iter().filter(|member| member.channel == channel);
        let hash: Map<String, Value> =
            (there.skip(stale)).map(|member| (member.user_id.clone(), member.user_info.clone())).collect();
        let ids: Vec<&String> = hash.keys().collect();
        let list = json!({ "presence": { "ids": ids, "count": hash.len(), "hash": &hash } }).to_string();
        let event = "pusher_internal:subscription_succeeded";
        tell(stream, &json!({ "event": event, "channel": channel, "data": list }));
        let but = if self.flaw == Flaw::OwnAnnouncement { "" } else { socket_id };
        let streams = count(&members, &channel, user["user_id"].as_str().unwrap());
        if streams == 1 || self.flaw == Flaw::SecondConnection {
            self.announce(&members, but, "pusher_internal:member_added", &channel, &user);
        }
    }

    fn remove(&self, socket_id: &str) {
        let mut members = self.members.lock().unwrap();
        let Some(at) = members.iter().position(|member| member.socket_id == socket_id) else { return };
        let gone = members.remove(at);
        if count(&members, &gone.channel, &gone.user_id) > 0 {
            return;
        }
        let user = json!({ "user_id": gone.user_id });
        self.announce(&members, socket_id, "pusher_internal:member_removed", &gone.channel, &user);
    }

    fn announce(&self, members: &[Member], but: &str, event: &str, channel: &str, user: &Value) {
        let event = json!({ "event": event, "channel": channel, "data": user.to_string() });
        let flawed = self.announcements.fetch_add(1, Ordering::SeqCst) == 9;
        let told = members.iter().filter(|member| member.socket_id != but && member.channel == channel);
        for (index, member) in told.enumerate() {
            let times = match self.flaw {
                Flaw::Lose if flawed && index == 0 => 0,
                Flaw::Twice if flawed && index == 0 => 2,
                _ => 1,
            };
            (0..times).for_each(|_| tell(&member.stream, &event));
        }
    }
}
