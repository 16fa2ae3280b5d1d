//! Subscribers of the relay, on every carrier that tells positions.

use super::counts::{Counts, Did};
use super::grants::{CLOSED, Pass, Taken};
use super::kernel::Simulated;
use super::peer::{Got, Peer};
use super::truth::{Channel, Follower, Place};
use super::world::{CHANNELS, DURABLE, NAMES};
use crate::rng::Rng;

/// The message that stands for a publication.
pub fn payload(channel: usize, id: u64, len: usize) -> String {
    format!("{channel} {id} {}", "x".repeat(len))
}

/// The channel of a message that went to several.
pub const SEVERAL: usize = 9;

/// Channel and publication of a message.
pub fn read_payload(text: &str) -> (usize, u64) {
    let mut parts = text.split(' ');
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let (channel, id) = (number(), number());
    (channel.unwrap_or_else(|| panic!("no message of ours: {text:?}")) as usize, id.expect("an id"))
}

/// Reads a position.
pub fn place_of(id: &str) -> Option<Place> {
    let (time, tag) = id.split_once(':')?;
    Some((time.parse().ok()?, tag.parse().ok()?))
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
    /// Several channels, polled.
    MultiPoll,
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
    /// What it has brought along.
    pub pass: Option<Pass>,
    /// It was let in by that.
    pub depends: bool,
}

/// What a subscriber knows when it looks at what has come.
pub struct Seen<'a> {
    pub channels: &'a mut [Channel],
    pub taken: &'a Taken,
    pub counts: &'a mut Counts,
    /// A number for a hook.
    pub who: u64,
    pub few_are_kept: bool,
}

impl Subscriber {
    pub fn new(rng: &mut Rng, way: Way) -> Subscriber {
        let channels = match way {
            Way::Multi | Way::MultiPoll => vec![0, 1],
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
            pass: None,
            depends: false,
        }
    }

    /// Whether it polls.
    pub fn polls(&self) -> bool {
        matches!(self.way, Way::LongPoll | Way::MultiPoll)
    }

    /// The one that sees all of a channel.
    pub fn witness(rng: &mut Rng, channel: usize) -> Subscriber {
        let subscriber = Subscriber::new(rng, Way::EventStream);
        Subscriber { channels: vec![channel], witness: true, ..subscriber }
    }

    /// Begins to listen, from where it was.
    pub fn begin(
        &mut self,
        kernel: &Simulated,
        peer: Peer,
        pass: Option<Pass>,
        who: u64,
        few_are_kept: bool,
    ) {
        self.peer = Some(peer);
        (self.is_in, self.stalled) = (false, false);
        self.depends = pass.is_some() && self.channels.contains(&CLOSED);
        self.pass = pass;
        self.ask(kernel, who, few_are_kept);
    }

    fn ask(&mut self, kernel: &Simulated, who: u64, few_are_kept: bool) {
        let Some(peer) = &self.peer else { return };
        if few_are_kept || self.channels.len() > 1 {
            // What it missed may be gone by now. An id of several channels has one time for all of them: what another
            // channel gave an earlier time to, and was still on its way, is taken for seen.
            self.followers.iter_mut().for_each(|follower| follower.excused_below = u64::MAX);
        }
        let target = match self.way {
            Way::Multi | Way::MultiPoll => format!("/msub/{},{}", NAMES[0], NAMES[1]),
            Way::Hooked => {
                let boom = if self.boom { "boom" } else { "" };
                format!("/hsub/{}?who={who}{boom}", NAMES[self.channels[0]])
            }
            Way::Dropping => format!("/lsub/{}", NAMES[self.channels[0]]),
            _ => target(self.channels[0], "sub"),
        };
        let target = match &self.pass {
            Some(pass) => {
                format!("{target}{}token={}", if target.contains('?') { '&' } else { '?' }, pass.token)
            }
            None => target,
        };
        let lines = match self.way {
            Way::WebSocket => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ws+meta.nchan\r\n"
            }
            Way::LongPoll | Way::MultiPoll => "",
            _ => "Accept: text/event-stream\r\n",
        };
        let resume = match self.way {
            _ if self.resume.is_empty() => String::new(),
            Way::LongPoll | Way::MultiPoll => self.resume.clone(),
            _ => format!("Last-Event-ID: {}\r\n", self.resume),
        };
        kernel.write(peer.fd, format!("GET {target} HTTP/1.1\r\nHost: n\r\n{lines}{resume}\r\n").as_bytes());
        self.is_in = self.polls();
    }

    /// Looks at what has come.
    pub fn got(&mut self, kernel: &Simulated, got: Got, seen: &mut Seen<'_>) {
        match &got {
            Got::Response { status: 101, .. } => self.come(seen),
            Got::Response { status: 200, body, .. } if self.polls() => {
                let text = String::from_utf8_lossy(body);
                let (time, tag) = (got.header("last-modified"), got.header("etag"));
                let (Some(time), Some(tag)) = (time, tag) else { panic!("no position: {got:?}") };
                self.take(seen, &text, &format!(":{tag}"));
                self.resume = format!("If-Modified-Since: {time}\r\nIf-None-Match: {tag}\r\n");
                self.come(seen);
                self.again(kernel, seen);
            }
            Got::Response { status: 200, .. } => self.come(seen),
            Got::Response { status: 410, .. } => {
                seen.counts.note(Did::Ended);
                match self.polls() {
                    true => self.again(kernel, seen),
                    false => self.go(kernel), // its channel was gone before it was let in
                }
            }
            Got::Response { status: 401, .. } => {
                // A poll may have been let in, and then ended with all that its user had.
                let as_user =
                    self.pass.as_ref().is_some_and(|pass| self.polls() && seen.taken.knows(&pass.user));
                assert!(as_user || self.is_barred(seen), "{:?} is good: {got:?}", self.pass);
                seen.counts.note(if self.is_in { Did::Expelled } else { Did::Barred });
                self.go(kernel); // and comes back with another one
            }
            // Refused by the application, or for want of room.
            Got::Response { status: 403 | 502 | 503 | 408, .. } => self.is_in = false,
            Got::Event { id, data } => {
                self.resume = id.clone();
                self.take(seen, data, id);
            }
            Got::Comment(text) if text.starts_with("410") => seen.counts.note(Did::Ended),
            Got::Comment(text) if text.starts_with("401") => self.expelled(seen),
            Got::Comment(_) => {}
            Got::Text(text) => {
                let (head, body) = text.split_once("\n\n").unwrap_or_else(|| panic!("no head: {text:?}"));
                let id = head.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
                self.resume = id.to_owned();
                self.take(seen, body, id);
            }
            Got::Close { reason, .. } if reason.starts_with("410") => seen.counts.note(Did::Ended),
            Got::Close { reason, .. } if reason.starts_with("401") => self.expelled(seen),
            Got::Close { .. } => {}
            Got::End => self.lost(),
            Got::Response { .. } => panic!("{got:?}"),
        }
    }

    fn go(&mut self, kernel: &Simulated) {
        self.is_in = false;
        if let Some(peer) = &mut self.peer {
            peer.finish(kernel);
        }
    }

    fn come(&mut self, seen: &mut Seen<'_>) {
        self.is_in = !self.polls();
        if self.depends {
            seen.counts.note(Did::Admitted);
        }
    }

    /// A poll is answered: the next one.
    fn again(&mut self, kernel: &Simulated, seen: &Seen<'_>) {
        self.is_in = false;
        if !self.peer.as_ref().is_none_or(|peer| peer.finished) {
            self.ask(kernel, seen.who, seen.few_are_kept);
        }
    }

    fn is_barred(&self, seen: &Seen<'_>) -> bool {
        self.depends && self.pass.as_ref().is_some_and(|pass| seen.taken.covers(pass))
    }

    fn expelled(&mut self, seen: &mut Seen<'_>) {
        let as_user = self.pass.as_ref().is_some_and(|pass| self.depends && seen.taken.knows(&pass.user));
        assert!(as_user || self.is_barred(seen), "{:?} is good", self.pass);
        seen.counts.note(Did::Expelled);
    }

    fn take(&mut self, seen: &mut Seen<'_>, text: &str, position: &str) {
        let (channel, id) = read_payload(text);
        let at = match channel {
            _ if self.channels.len() == 1 => 0,
            // The own channel's entry is in brackets.
            _ => position.split(',').position(|entry| entry.contains('[')).expect("an entry of its own"),
        };
        let own = self.channels[at];
        assert!(channel == own || channel == SEVERAL, "{text:?} in {}", NAMES[own]);
        let place = place_of(position).filter(|_| self.channels.len() == 1);
        self.followers[at].got(&mut seen.channels[own], id, place);
    }

    pub fn lost(&mut self) {
        self.peer = None;
        (self.is_in, self.stalled, self.depends) = (false, false, false);
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
