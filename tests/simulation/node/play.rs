//! One seed: steps of everybody, with rests ([`super::check`]) between them, and the end ([`super::end`]).

use super::client::{SEVERAL, Seen, payload, target};
use super::counts::Counts;
use super::kernel::Simulated;
use super::peer::{Got, Peer};
use super::publisher::{Asked, Known};
use super::pusher::{Heard, ROOM, signed};
use super::world::{CHANNELS, DURABLE, NAMES, World};
use fanwire::dialect::app::AppSettings;
use fanwire::dialect::grant::revoked::What;
use serde_json::json;

impl World {
    /// Plays the seed to its end, and tells what has happened.
    pub fn play(&mut self) -> Counts {
        let steps = 30 + self.rng.below(60);
        let crashes = self.rng.chance(25);
        for step in 0..steps {
            self.step();
            if self.rng.chance(2) {
                self.say(|| format!("step {step}: rest"));
                self.rest();
            }
            if crashes && self.rng.chance(1) {
                self.say(|| "crash".into());
                self.crash();
            }
        }
        self.rest();
        self.end();
        self.note_moves();
        self.counts.more(super::counts::Did::Full, self.kernel.full());
        self.counts
    }

    pub(super) fn step(&mut self) {
        match self.rng.below(100) {
            0..45 => {
                for _ in 0..1 + self.rng.below(4) {
                    let shard = self.rng.below(self.shape.shards);
                    if shard != self.slow || self.rng.chance(8) {
                        self.turn(shard);
                    }
                }
            }
            45..60 => self.publisher(),
            60..68 => self.subscriber(),
            68..74 => self.client(),
            74..86 => self.pushi(),
            86 => self.traveller(),
            87 => self.revocation(),
            88..90 => {
                self.store_works();
            }
            90..92 => {
                self.hook_answers();
            }
            92..95 => self.time(),
            95 => {
                let mut desk = self.services.desk();
                desk.full = !desk.full;
            }
            96 => self.change_apps(),
            97 if self.rng.chance(50) => self.bomb(),
            97 => self.silent(),
            98 => self.hold(),
            _ => self.readers(),
        }
    }

    pub(super) fn peer(&mut self) -> Peer {
        self.connected += 1;
        let shard = self.rng.below(self.shape.shards);
        let window = *self.rng.pick(&[300, 2_000, 1 << 20]);
        Peer::new(self.kernel.connect(shard, window))
    }

    fn time(&mut self) {
        let ms = *self.rng.pick(&[10, 100, 100, 1_000]);
        let wall = match self.rng.below(10) {
            0 => -(self.rng.below(5_000) as i64),
            1 => self.rng.below(5_000) as i64,
            _ => ms as i64,
        };
        self.say(|| format!("time {ms} {wall}"));
        self.kernel.advance(ms, wall);
    }

    fn publisher(&mut self) {
        let at = self.rng.below(self.publishers.len());
        if self.publishers[at].peer.is_none() {
            self.publishers[at].peer = Some(self.peer());
        }
        let kernel = self.kernel.clone();
        let publisher = &mut self.publishers[at];
        let finished = publisher.peer.as_ref().is_none_or(|peer| peer.finished);
        match self.rng.below(20) {
            0 => {
                if let Some(peer) = publisher.peer.take() {
                    kernel.reset(peer.fd);
                    publisher.lost(&mut self.channels);
                }
            }
            // It comes and goes between the shards, requests on its way before and after.
            2 if !finished => self.send_elsewhere(at),
            3 | 4 if !finished && self.shape.deletes => {
                self.delete(at);
                self.publish(at);
            }
            5..8 => self.read_publisher(at),
            1 => {
                if let Some(peer) = &mut publisher.peer {
                    peer.finish(&kernel);
                }
            }
            _ if finished || publisher.asked.len() > 20 => {}
            _ => {
                for _ in 0..1 + self.rng.below(3) {
                    self.publish(at);
                }
            }
        }
    }

    /// A new publication.
    fn published(&mut self, channels: &[usize], kept: bool) -> (u64, String) {
        self.published += 1;
        let id = self.published;
        let len = *self.rng.pick(&[0, 10, 100, 500]);
        for &channel in channels {
            self.channels[channel].asked(id, kept);
        }
        self.say(|| format!("publish {id} in {channels:?}"));
        (id, payload(if channels.len() > 1 { SEVERAL } else { channels[0] }, id, len))
    }

    fn publish(&mut self, at: usize) {
        let kernel = self.kernel.clone();
        let channel = self.rng.below(CHANNELS);
        if channel < DURABLE && self.rng.chance(30) {
            return self.publish_by_pushi(at, channel);
        }
        let (id, text) = self.published(&[channel], true);
        let asked = Asked::Publish { channels: vec![channel], id };
        let publisher = &mut self.publishers[at];
        if channel < DURABLE && self.rng.chance(30) {
            let body = json!({"name": "e", "channel": NAMES[channel], "data": text}).to_string();
            let app = self.apps.by_id("one").expect("it stays").settings.clone();
            let now_s = fanwire::shard::simulated::Kernel::now(&*kernel).unix_s();
            let path = signed(&app, "POST", "/apps/one/events", &body, now_s);
            return publisher.ask(&kernel, asked, &format!("POST {path}"), "", &body);
        }
        publisher.ask(&kernel, asked, &format!("POST {}", target(channel, "pub")), "", &text);
    }

    /// As a back end of Pushi does it, who has to have a session for that.
    fn publish_by_pushi(&mut self, at: usize, channel: usize) {
        let kernel = self.kernel.clone();
        let Some(token) = self.token.clone() else {
            let line = "GET /login?app_id=one&app_key=one-key&app_secret=secret";
            return self.publishers[at].ask(&kernel, Asked::Login, line, "", "");
        };
        let channels = if self.rng.chance(60) { vec![channel, 1 - channel] } else { vec![channel] };
        let kept = self.rng.chance(80);
        let (id, text) = self.published(&channels, kept);
        let names: Vec<_> = channels.iter().map(|&at| NAMES[at]).collect();
        let body = json!({"event": "e", "channel": names, "data": text, "persist": kept}).to_string();
        let asked = Asked::Publish { channels, id };
        self.publishers[at].ask(&kernel, asked, "POST /events", &format!("X-Session-Id: {token}\r\n"), &body);
    }

    fn send_elsewhere(&mut self, at: usize) {
        let shard = self.rng.below(self.shape.shards);
        self.say(|| format!("publisher {at} goes to shard {shard}"));
        let line = format!("GET /echo?shard={shard}");
        self.publishers[at].ask(&self.kernel.clone(), Asked::Elsewhere, &line, "", "");
    }

    fn delete(&mut self, at: usize) {
        let kernel = self.kernel.clone();
        if self.rng.chance(25) {
            self.say(|| "delete the room".into());
            let line = format!("DELETE /pub/{ROOM}");
            return self.publishers[at].ask(&kernel, Asked::DeleteRoom, &line, "", "");
        }
        let channel = self.rng.below(CHANNELS);
        self.say(|| format!("delete {}", NAMES[channel]));
        let asked = Asked::Delete { channel, there: self.channels[channel].there() };
        let line = format!("DELETE {}", target(channel, "pub"));
        self.publishers[at].ask(&kernel, asked, &line, "", "");
    }

    /// A user loses all it has, or somebody its token.
    fn revocation(&mut self) {
        if !self.can_tell() {
            return;
        }
        let passes = self.subscribers.iter().filter(|s| !s.witness).map(|s| &s.pass);
        let passes = passes.chain(self.clients.iter().map(|c| &c.pass));
        let passes = passes.chain(self.pushis.iter().map(|c| &c.pass)).flatten();
        let tokens: Vec<String> = passes.map(|pass| pass.id.clone()).collect();
        let (what, id) = match tokens.is_empty() || self.rng.chance(50) {
            true => (What::User, format!("{}{}", self.rng.pick(&["s", "u"]), self.rng.below(3))),
            false => (What::Token, self.rng.pick(&tokens).clone()),
        };
        self.say(|| format!("revoke {what:?} {id}"));
        self.revoke(what, id);
    }

    fn traveller(&mut self) {
        if self.travellers.is_empty() {
            return;
        }
        let at = self.rng.below(self.travellers.len());
        let kernel = self.kernel.clone();
        if self.travellers[at].peer.is_none() {
            let peer = self.peer();
            let (to, messages) = (self.rng.below(self.shape.shards), self.rng.below(4));
            self.say(|| format!("traveller {at} begins on {}, for shard {to}", peer.fd));
            return self.travellers[at].begin(&kernel, peer, to, messages);
        }
        let traveller = &mut self.travellers[at];
        let Some(peer) = &mut traveller.peer else { return };
        match self.rng.below(8) {
            0 => {
                kernel.reset(peer.fd);
                traveller.lost();
            }
            1 => peer.close(&kernel),
            _ => traveller.send(&kernel),
        }
    }

    fn subscriber(&mut self) {
        let at = self.rng.below(self.subscribers.len());
        if self.subscribers[at].peer.is_none() {
            return self.begin(at);
        }
        let kernel = self.kernel.clone();
        let subscriber = &mut self.subscribers[at];
        let Some(peer) = &mut subscriber.peer else { return };
        match self.rng.below(10) {
            0 => {
                kernel.reset(peer.fd);
                subscriber.lost();
            }
            1 => peer.close(&kernel),
            2 => subscriber.stalled = !subscriber.witness,
            3 => subscriber.stalled = false,
            _ => self.read_subscriber(at, 1 << 20),
        }
    }

    pub(super) fn begin(&mut self, at: usize) {
        let peer = self.peer();
        let user = if self.subscribers[at].witness { "w".into() } else { format!("s{}", at % 2) };
        let pass = self.pass(&user);
        let (kernel, who, few) = (self.kernel.clone(), self.connected, self.shape.kept < 1_000);
        let boom = self.rng.chance(10);
        self.say(|| format!("subscriber {at} begins on {}", peer.fd));
        let subscriber = &mut self.subscribers[at];
        subscriber.boom = boom;
        subscriber.begin(&kernel, peer, pass, who, few);
    }

    fn app(&self, number: usize) -> AppSettings {
        super::world::app(["one", "two"][number], self.shape.kept)
    }

    fn client(&mut self) {
        let at = self.rng.below(self.clients.len());
        let app = self.app(self.clients[at].app);
        if self.clients[at].peer.is_none() {
            let peer = self.peer();
            self.say(|| format!("client {at} begins on {}", peer.fd));
            let pass = self.pass(&self.clients[at].user.clone());
            return self.clients[at].begin(&self.kernel.clone(), peer, pass, &app);
        }
        let kernel = self.kernel.clone();
        let client = &mut self.clients[at];
        let Some(peer) = &mut client.peer else { return };
        match self.rng.below(12) {
            0 => {
                kernel.reset(peer.fd);
                client.lost();
            }
            1 => peer.close(&kernel),
            2 => client.stalled = true,
            3..7 if client.is_welcome() => client.toggle_room(&kernel, &app),
            7..9 if client.is_welcome() => {
                let channel = self.rng.below(DURABLE);
                client.toggle(&kernel, channel);
            }
            _ => {
                client.stalled = false;
                self.read_client(at, 1 << 20);
            }
        }
    }

    fn pushi(&mut self) {
        if self.pushis.is_empty() {
            return self.client();
        }
        let at = self.rng.below(self.pushis.len());
        for _ in 0..1 + self.rng.below(3) {
            self.pushi_does(at);
        }
    }

    fn pushi_does(&mut self, at: usize) {
        let (kernel, app) = (self.kernel.clone(), self.app(self.pushis[at].app));
        if self.pushis[at].peer.is_none() {
            let peer = self.peer();
            self.say(|| format!("pushi {at} begins on {}", peer.fd));
            let pass = self.pass(&self.pushis[at].user.clone());
            return self.pushis[at].begin(&kernel, peer, pass, &app);
        }
        let what = self.rng.below(20);
        let channel = match (0..DURABLE).rev().find(|&channel| self.pushis[at].may_send(channel)) {
            Some(channel) if what >= 12 && self.rng.chance(70) => channel,
            _ => self.rng.below(DURABLE),
        };
        if what >= 14 && self.pushis[at].app == 0 && self.pushis[at].may_send(channel) {
            let kept = self.rng.chance(80);
            let (id, text) = self.published(&[channel], kept);
            let echo = self.rng.chance(50);
            return self.pushis[at].send(&kernel, (channel, id), &text, echo, kept);
        }
        self.say(|| format!("pushi {at} does {what}"));
        let client = &mut self.pushis[at];
        let Some(peer) = &mut client.peer else { return };
        match what {
            0 => {
                kernel.reset(peer.fd);
                client.lost();
            }
            1 if self.rng.chance(50) => peer.close(&kernel),
            2 => client.stalled = true,
            3..6 if client.is_there() => client.toggle_room(&kernel, &app),
            6..8 if client.is_there() => client.toggle(&kernel, channel),
            8..11 if client.is_there() && client.app == 0 => client.toggle_personal(&kernel, &app),
            11..14 if client.is_there() => client.latest(&kernel, channel),
            _ => {
                client.stalled = false;
                self.read_pushi(at, 1 << 20);
            }
        }
    }

    /// A request that makes the node panic costs the one who sent it.
    fn bomb(&mut self) {
        let mut peer = self.peer();
        self.kernel.write(peer.fd, b"GET /boom HTTP/1.1\r\nHost: n\r\n\r\n");
        if self.rng.chance(50) {
            peer.finish(&self.kernel);
        }
        self.bombs.push(peer);
    }

    /// A peer that begins something and is never heard of again.
    fn silent(&mut self) {
        let peer = self.peer();
        let beginnings: [&[u8]; 4] = [
            b"",
            b"GET /sub/c0 HT",
            b"POST /pub/c0 HTTP/1.1\r\nHost: n\r\nContent-Length: 10\r\n\r\n0 ",
            b"GET /pub/c0 HTTP/1.1\r\nHost: n\r\n\r\n",
        ];
        let beginning = *self.rng.pick(&beginnings);
        self.kernel.write(peer.fd, beginning);
        self.silent.push(peer);
    }

    // ---- reading ----

    pub(super) fn readers(&mut self) {
        let most = *self.rng.pick(&[1, 50, 1 << 20]);
        (0..self.subscribers.len()).for_each(|at| self.read_subscriber(at, most));
        (0..self.clients.len()).for_each(|at| self.read_client(at, most));
        (0..self.pushis.len()).for_each(|at| self.read_pushi(at, most));
        (0..self.travellers.len()).for_each(|at| self.read_traveller(at, most));
        (0..self.publishers.len()).for_each(|at| self.read_publisher(at));
    }

    pub(super) fn pull(kernel: &Simulated, peer: &mut Option<Peer>, most: usize) -> Vec<Got> {
        let mut got = Vec::new();
        if let Some(peer) = peer {
            peer.pull(kernel, most, &mut got);
        }
        got
    }

    fn read_subscriber(&mut self, at: usize, most: usize) {
        let (kernel, few_are_kept) = (self.kernel.clone(), self.shape.kept < 1_000);
        let subscriber = &mut self.subscribers[at];
        if subscriber.stalled {
            return;
        }
        for got in World::pull(&kernel, &mut subscriber.peer, most) {
            self.say(|| format!("subscriber {at} got {got:?}"));
            let World { channels, taken, counts, connected: who, .. } = self;
            let mut seen = Seen { channels, taken, counts, who: *who, few_are_kept };
            self.subscribers[at].got(&kernel, got, &mut seen);
        }
    }

    fn read_client(&mut self, at: usize, most: usize) {
        let kernel = self.kernel.clone();
        let client = &mut self.clients[at];
        if client.stalled {
            return;
        }
        for got in World::pull(&kernel, &mut client.peer, most) {
            self.say(|| format!("client {at} got {got:?}"));
            let World { channels, taken, counts, published, shape, .. } = self;
            let mut heard = Heard { channels, taken, counts, published: *published, deletes: shape.deletes };
            self.clients[at].got(&kernel, got, &mut heard);
        }
    }

    fn read_pushi(&mut self, at: usize, most: usize) {
        let client = &mut self.pushis[at];
        if client.stalled {
            return;
        }
        for got in World::pull(&self.kernel.clone(), &mut client.peer, most) {
            self.say(|| format!("pushi {at} got {got:?}"));
            let World { channels, taken, counts, published, shape, .. } = self;
            let mut heard = Heard { channels, taken, counts, published: *published, deletes: shape.deletes };
            self.pushis[at].got(got, &mut heard);
        }
    }

    fn read_traveller(&mut self, at: usize, most: usize) {
        for got in World::pull(&self.kernel.clone(), &mut self.travellers[at].peer, most) {
            self.say(|| format!("traveller {at} got {got:?}"));
            self.travellers[at].got(&got, &mut self.counts);
        }
    }

    fn read_publisher(&mut self, at: usize) {
        let listeners = self.subscribers.len() + self.clients.len() + self.pushis.len();
        let most = listeners + self.connected as usize;
        let kernel = self.kernel.clone();
        for got in World::pull(&kernel, &mut self.publishers[at].peer, 1 << 20) {
            self.say(|| format!("publisher {at} got {got:?}"));
            let publisher = &mut self.publishers[at];
            if let (Got::End, Some(peer)) = (&got, &publisher.peer) {
                // Who does not read its answers is cut off at some point.
                let small = self.shape.outbox.bytes < 1 << 20 || self.shape.outbox.frames < 1_000;
                let excused = small || self.draining || publisher.asked.is_empty() || !peer.finished;
                assert!(
                    excused,
                    "publisher {at} ended its side, and has {} requests unanswered",
                    publisher.asked.len()
                );
            }
            let World { channels, token, counts, published, draining, .. } = self;
            let (published, draining) = (*published, *draining);
            let mut known = Known { channels, token, counts, published, most, draining };
            self.publishers[at].got(&got, &mut known);
        }
    }
}
