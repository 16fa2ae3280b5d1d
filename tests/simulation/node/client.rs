//! Clients of the relay: publishers, and subscribers on every carrier that tells positions.

use super::kernel::Simulated;
use super::peer::{Got, Peer};
use super::truth::{Channel, Fate, Follower, Place};
use super::world::{CHANNELS, Channels, DURABLE, NAMES};
use crate::rng::Rng;
use std::collections::VecDeque;

/// A request without an answer.
pub enum Asked {
    Publish {
        channel: usize,
        id: u64,
    },
    /// Who is there, for the check at rest.
    Info {
        channel: usize,
        subscribers: usize,
    },
}

/// Publishes over one connection after another.
#[derive(Default)]
pub struct Publisher {
    pub peer: Option<Peer>,
    pub asked: VecDeque<Asked>,
}

/// The message that stands for a publication.
pub fn payload(channel: usize, id: u64, len: usize) -> String {
    format!("{channel} {id} {}", "x".repeat(len))
}

/// Channel and publication of a message.
pub fn read_payload(text: &str) -> (usize, u64) {
    let mut parts = text.split(' ');
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let (channel, id) = (number(), number());
    (channel.unwrap_or_else(|| panic!("no message of ours: {text:?}")) as usize, id.expect("an id"))
}

fn place_of(id: &str) -> Option<Place> {
    let (time, tag) = id.split_once(':')?;
    Some((time.parse().ok()?, tag.parse().ok()?))
}

impl Publisher {
    /// Sends a request; `text` is its body.
    pub fn publish(&mut self, kernel: &Simulated, asked: (usize, u64), target: &str, text: &str) {
        let Some(peer) = &self.peer else { return };
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: n\r\nAccept: text/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        kernel.write(peer.fd, (head + text).as_bytes());
        self.asked.push_back(Asked::Publish { channel: asked.0, id: asked.1 });
    }

    /// Asks how many subscribers a channel has.
    pub fn ask(&mut self, kernel: &Simulated, channel: usize, subscribers: usize) {
        let Some(peer) = &self.peer else { return };
        let target = target(channel, "pub");
        kernel.write(
            peer.fd,
            format!("GET {target} HTTP/1.1\r\nHost: n\r\nAccept: text/json\r\n\r\n").as_bytes(),
        );
        self.asked.push_back(Asked::Info { channel, subscribers });
    }

    /// Looks at an answer. `most`: subscribers that a channel may have.
    pub fn got(&mut self, got: &Got, channels: &mut Channels, most: usize) {
        let Got::Response { status, body, .. } = got else { return self.lost(channels) };
        let asked = self.asked.pop_front().unwrap_or_else(|| panic!("nobody asked for {got:?}"));
        let field = |name: &str| {
            let value = serde_json::from_slice::<serde_json::Value>(body).ok()?;
            value.get(name).cloned()
        };
        let there = field("subscribers").and_then(|v| v.as_u64()).unwrap_or(0) as usize;
        match (asked, status) {
            (Asked::Publish { channel, id }, 201 | 202) => {
                assert!((*status == 201) == (there > 0) && there <= most, "{got:?}: {there} of {most}");
                let place = field("last_message_id").and_then(|v| place_of(v.as_str()?));
                channels[channel].answered(id, Fate::Accepted, place);
            }
            // Pusher's answer tells nothing.
            (Asked::Publish { channel, id }, 200) => channels[channel].answered(id, Fate::Accepted, None),
            (Asked::Publish { channel, id }, 503 | 507 | 429) => {
                channels[channel].answered(id, Fate::Refused, None);
            }
            (Asked::Info { subscribers, channel }, 200) => {
                assert_eq!(there, subscribers, "subscribers of {}", NAMES[channel]);
            }
            (Asked::Info { subscribers, channel }, 404) => {
                assert_eq!(subscribers, 0, "subscribers of {}", NAMES[channel]);
            }
            _ => panic!("{got:?}"),
        }
    }

    /// The connection is gone.
    pub fn lost(&mut self, channels: &mut Channels) {
        self.peer = None;
        for asked in self.asked.drain(..) {
            if let Asked::Publish { channel, id } = asked {
                channels[channel].answered(id, Fate::Unknown, None);
            }
        }
    }
}

/// The path of a channel at a location; durable ones have locations of their own.
pub fn target(channel: usize, what: &str) -> String {
    let durable = if channel >= DURABLE { "d" } else { "" };
    format!("/{durable}{what}/{}", NAMES[channel])
}

/// How a subscriber listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    WebSocket,
    EventStream,
    LongPoll,
    /// Several channels in one event stream.
    Multi,
    /// An event stream whose application is asked and told.
    Hooked,
    /// An event stream that drops what it cannot take.
    Dropping,
}

/// Follows one channel, or several.
pub struct Subscriber {
    pub peer: Option<Peer>,
    pub way: Way,
    pub channels: Vec<usize>,
    pub followers: Vec<Follower>,
    /// Where it goes on: an id, or the headers of a poll.
    resume: String,
    /// The node has let it in; of a poll: it has asked and waits.
    pub is_in: bool,
    /// Its answer makes the application panic.
    pub boom: bool,
    /// It reads nothing for now.
    pub stalled: bool,
    /// Never stalls, and is there whenever everything is checked.
    pub witness: bool,
}

impl Subscriber {
    pub fn new(rng: &mut Rng, way: Way) -> Subscriber {
        let channels = match way {
            Way::Multi => vec![0, 1],
            Way::Hooked | Way::Dropping => vec![rng.below(DURABLE)],
            _ => vec![rng.below(CHANNELS)],
        };
        Subscriber {
            peer: None,
            way,
            followers: channels.iter().map(|_| Follower::new(way == Way::Dropping)).collect(),
            channels,
            resume: String::new(),
            is_in: false,
            boom: false,
            stalled: false,
            witness: false,
        }
    }

    /// The one that sees all of a channel.
    pub fn witness(rng: &mut Rng, channel: usize) -> Subscriber {
        let subscriber = Subscriber::new(rng, Way::EventStream);
        Subscriber { channels: vec![channel], witness: true, ..subscriber }
    }

    /// Begins to listen, from where it was.
    pub fn begin(&mut self, kernel: &Simulated, peer: Peer, who: u64, few_are_kept: bool) {
        self.peer = Some(peer);
        (self.is_in, self.stalled) = (false, false);
        self.ask(kernel, who, few_are_kept);
    }

    fn ask(&mut self, kernel: &Simulated, who: u64, few_are_kept: bool) {
        let Some(peer) = &self.peer else { return };
        if few_are_kept || self.way == Way::Multi {
            // What it missed may be gone by now. An id of several channels has one time for all of them: what another
            // channel gave an earlier time to, and was still on its way, is taken for seen.
            self.followers.iter_mut().for_each(|follower| follower.excused_below = u64::MAX);
        }
        let target = match self.way {
            Way::Multi => format!("/msub/{},{}", NAMES[0], NAMES[1]),
            Way::Hooked => {
                let boom = if self.boom { "boom" } else { "" };
                format!("/hsub/{}?who={who}{boom}", NAMES[self.channels[0]])
            }
            Way::Dropping => format!("/lsub/{}", NAMES[self.channels[0]]),
            _ => target(self.channels[0], "sub"),
        };
        let lines = match self.way {
            Way::WebSocket => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ws+meta.nchan\r\n"
            }
            Way::LongPoll => "",
            _ => "Accept: text/event-stream\r\n",
        };
        let resume = match self.way {
            _ if self.resume.is_empty() => String::new(),
            Way::LongPoll => self.resume.clone(),
            _ => format!("Last-Event-ID: {}\r\n", self.resume),
        };
        kernel.write(peer.fd, format!("GET {target} HTTP/1.1\r\nHost: n\r\n{lines}{resume}\r\n").as_bytes());
        self.is_in = self.way == Way::LongPoll;
    }

    /// Looks at what has come.
    pub fn got(
        &mut self,
        kernel: &Simulated,
        got: Got,
        channels: &mut Channels,
        who: u64,
        few_are_kept: bool,
    ) {
        match &got {
            Got::Response { status: 101, .. } => self.is_in = true,
            Got::Response { status: 200, body, .. } if self.way == Way::LongPoll => {
                let text = String::from_utf8_lossy(body);
                self.take(channels, &text, None);
                let (time, tag) = (got.header("last-modified"), got.header("etag"));
                let (Some(time), Some(tag)) = (time, tag) else { panic!("no position: {got:?}") };
                self.resume = format!("If-Modified-Since: {time}\r\nIf-None-Match: {tag}\r\n");
                self.is_in = false;
                if !self.peer.as_ref().is_none_or(|peer| peer.finished) {
                    self.ask(kernel, who, few_are_kept);
                }
            }
            Got::Response { status: 200, .. } => self.is_in = true,
            // Refused by the application, or for want of room.
            Got::Response { status: 403 | 502 | 503 | 408, .. } => self.is_in = false,
            Got::Event { id, data } => {
                self.resume = id.clone();
                self.take(channels, data, place_of(id));
            }
            Got::Text(text) => {
                let (head, body) = text.split_once("\n\n").unwrap_or_else(|| panic!("no head: {text:?}"));
                let id = head.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
                self.resume = id.to_owned();
                self.take(channels, body, place_of(id));
            }
            Got::Close => {}
            Got::End => self.lost(),
            Got::Response { .. } => panic!("{got:?}"),
        }
    }

    fn take(&mut self, channels: &mut [Channel], text: &str, place: Option<Place>) {
        let (channel, id) = read_payload(text);
        let at = self.channels.iter().position(|&c| c == channel).expect("a channel of its own");
        let place = place.filter(|_| self.channels.len() == 1);
        self.followers[at].got(&mut channels[channel], id, place);
    }

    pub fn lost(&mut self) {
        self.peer = None;
        (self.is_in, self.stalled) = (false, false);
    }

    /// The node was killed: what was not on disk is gone, positions with it.
    pub fn forget(&mut self) {
        self.lost();
        if self.channels.iter().any(|&channel| channel < DURABLE) {
            self.resume.clear();
            let lossy = self.way == Way::Dropping;
            self.followers.iter_mut().for_each(|f| *f = Follower::new(lossy));
        }
    }
}
