//! What a conversation has at hand on one node. Whatever it asks chance for must not depend on what the node said.

use crate::frame::{self, PATIENCE};
use crate::masks::Masks;
use crate::node::Http;
use crate::peer::Peer;
use crate::rng::Rng;
use crate::scenes::pusher;
use crate::target::{KEY, Target};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

pub struct Stage<'a> {
    pub target: &'a Target,
    pub rng: Rng,
    pub seed: u64,
    pub masks: Masks,
    /// Those who are gone or will do nothing more.
    done: Vec<Peer>,
    /// Asks how far things are; not a part of the conversation.
    probe: Http,
}

impl<'a> Stage<'a> {
    pub fn new(target: &'a Target, seed: u64) -> Stage<'a> {
        Stage {
            target,
            rng: Rng::new(seed),
            seed,
            masks: Masks::default(),
            done: Vec::new(),
            probe: Http::connect(&target.node.address).unwrap(),
        }
    }

    /// A channel's name that no other conversation uses.
    pub fn channel(&self, name: &str) -> String {
        format!("{name}-{}", self.seed)
    }

    /// A new connection; a few are TLS.
    pub fn connect(&mut self, label: &str) -> Peer {
        let secure = self.rng.chance(12);
        let address = if secure { &self.target.secure } else { &self.target.node.address };
        let socket = TcpStream::connect(address).unwrap();
        if secure {
            Peer::secure(format!("{label} (TLS)"), socket, self.target.tls.clone())
        } else {
            Peer::plain(label.to_owned(), socket)
        }
    }

    /// A WebSocket that is asked for; its answer is awaited. `headers` end in CRLF.
    pub fn websocket(&mut self, label: &str, path: &str, headers: &str) -> Peer {
        let mut peer = self.connect(label);
        peer.request(self.handshake(path, headers).as_bytes());
        peer.streams();
        peer
    }

    pub fn handshake(&mut self, path: &str, headers: &str) -> String {
        let key =
            BASE64_STANDARD.encode([self.rng.next().to_be_bytes(), self.rng.next().to_be_bytes()].concat());
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n"
        )
    }

    /// One publication by the relay, answered.
    pub fn publish(&mut self, by: &mut Peer, channel: &str, headers: &str, body: &[u8]) {
        let head = format!(
            "POST /pub/{channel} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n{headers}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        by.request(&[head.as_bytes(), body].concat());
        by.answers();
    }

    /// Waits until a channel of the relay has so many subscribers.
    pub fn until_subscribers(&mut self, channel: &str, count: usize) {
        let until = Instant::now() + PATIENCE;
        let wanted = format!("\"subscribers\": {count},");
        loop {
            self.target.probes();
            let answer = self.probe.request("GET", &format!("/pub/{channel}"), b"").unwrap();
            if answer.body.contains(&wanted) || (count == 0 && answer.status == 404) {
                return;
            }
            assert!(Instant::now() < until, "never {count} subscribers: {answer:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks a channel of the app whether it is occupied.
    pub fn is_occupied(&mut self, channel: &str) -> bool {
        self.target.probes();
        let path = pusher::signed("GET", &format!("/apps/1/channels/{channel}"), b"");
        let answer = self.probe.request("GET", &path, b"").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.replace(' ', "").contains("\"occupied\":true")
    }

    /// Waits until nobody is in a channel of the app.
    pub fn until_vacated(&mut self, channel: &str) {
        let until = Instant::now() + PATIENCE;
        while self.is_occupied(channel) {
            assert!(Instant::now() < until, "{channel} is never vacated");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A client of Pusher (`/app/KEY`) or of Pushi (`/KEY`), with its socket id.
    pub fn client(&mut self, label: &str, path: &str) -> (Peer, String) {
        let mut peer = self.websocket(label, &format!("{path}{KEY}"), "");
        peer.until_said(b"}\"}");
        let text = String::from_utf8_lossy(&peer.seen);
        let id = text.split("socket_id\\\":\\\"").nth(1).and_then(|rest| rest.split('\\').next());
        let id = id.unwrap_or_else(|| panic!("no socket id in {text}")).to_owned();
        self.masks.know(&id, &format!("<socket {label}>"));
        (peer, id)
    }

    /// This one is through.
    pub fn done(&mut self, peer: Peer) {
        self.done.push(peer);
    }

    /// Ends a WebSocket in some way, after which the node knows nothing of it.
    pub fn leave_websocket(&mut self, mut peer: Peer) {
        if self.rng.chance(50) {
            peer.send(&frame::whole(frame::CLOSE, &1000u16.to_be_bytes()));
            if self.rng.chance(30) {
                peer.half_close();
            }
            peer.until_end();
        } else {
            peer.leave_somehow(&mut self.rng);
        }
        self.done(peer);
    }

    /// What all its clients were sent.
    pub fn print(mut self) -> String {
        let done = std::mem::take(&mut self.done);
        done.iter().map(|peer| self.masks.print(peer)).collect()
    }
}
