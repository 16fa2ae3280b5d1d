//! WebSockets that live on another shard than the one they came to: what they send comes back from there.

use super::counts::{Counts, Did};
use super::kernel::Simulated;
use super::peer::{Got, Peer};
use std::collections::VecDeque;

#[derive(Default)]
pub struct Traveller {
    pub peer: Option<Peer>,
    to: usize,
    number: u64,
    sent: VecDeque<String>,
}

impl Traveller {
    /// Asks for an echo of that shard. The first messages come with the handshake.
    pub fn begin(&mut self, kernel: &Simulated, peer: Peer, to: usize, messages: usize) {
        let head = format!(
            "GET /echo?shard={to} HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        kernel.write(peer.fd, head.as_bytes());
        self.peer = Some(peer);
        self.to = to;
        (0..messages).for_each(|_| self.send(kernel));
    }

    /// Sends a message.
    pub fn send(&mut self, kernel: &Simulated) {
        let Some(peer) = self.peer.as_ref().filter(|peer| !peer.finished) else { return };
        if self.sent.len() < 20 {
            self.number += 1;
            let text = format!("{} {}", self.number, "x".repeat(self.number as usize * 7 % 90));
            peer.text(kernel, &text);
            self.sent.push_back(text);
        }
    }

    pub fn got(&mut self, got: &Got, counts: &mut Counts) {
        match got {
            Got::Response { status: 101, .. } => {
                assert_eq!(got.header("x-fanwire-shard"), Some(&*self.to.to_string()));
            }
            Got::Response { status: 503, .. } | Got::Close { .. } => {}
            Got::Text(text) => {
                assert_eq!(Some(text), self.sent.pop_front().as_ref(), "what comes back is what was sent");
                counts.note(Did::Echoed);
            }
            Got::End => self.lost(),
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is under way: all has come back.
    pub fn check(&self) {
        let is_there = self.peer.as_ref().is_some_and(|peer| !peer.finished);
        assert!(!is_there || self.sent.is_empty(), "{} messages did not come back", self.sent.len());
    }

    pub fn lost(&mut self) {
        self.peer = None;
        self.sent.clear();
    }
}
