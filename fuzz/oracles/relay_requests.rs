//! Any requests to a relay with one location of each kind, on a node of several shards, and what back ends say to its
//! hooks. The body is lines: a letter and what it is about (see [`Play::line`]).
//!
//! - Every request is answered or held; what is answered is one whole HTTP response, and nothing behind it.
//! - Once everybody has gone nothing is left.

use bytes::Bytes;
use fanwire::channel::hook::{HookAnswer, HookFailure};
use fanwire::dialect::relay::Relay;
use fanwire::limits::HttpLimits;
use fanwire::node::config::{Sources, load};
use fanwire::wire::http::client::{Body, parse_head};
use fanwire::wire::http::head::Framing;
use fanwire::wire::http::request::Lines;
use std::cell::Cell;

use super::input::Input;
use super::pusher::world::{End, SHAKE, World};
use super::relay::relay;

const LINES: usize = 120;
const CONNECTIONS: usize = 40;

/// One location of each kind.
const LOCATIONS: &str = r#"
development = false
[[location]]
prefix = "/pub/"
methods = "publisher"
max_channel_id_bytes = 40
channel_events = "ev"
[[location]]
prefix = "/sub/"
methods = "subscriber"
subscribers = ["websocket", "eventsource", "longpoll", "chunked", "multipart-mixed", "http-raw-stream", "intervalpoll"]
longpoll_multipart = true
eventsource_ping_interval = "1s"
eventsource_ping_comment = "c"
channel_events = "ev"
[[location]]
prefix = "/both/"
methods = "pubsub"
websocket_heartbeat = ["PING", "PONG"]
deflate = true
subscriber_timeout = "5s"
compound_etag = true
[[location]]
url = '^/multi/(\w*)/(\w*)$'
methods = "pubsub"
channel_id = ["$1", "$2", "all"]
longpoll_multipart = "raw"
custom_etag_header = "X-Id"
[[location]]
prefix = "/split/"
methods = "pubsub"
split_delimiter = ","
[[location]]
url = '^/in/(\w*)/(\w*)$'
methods = "pubsub"
group = "$1"
channel_id = ["$2"]
[location.group_limits]
channels = 2
subscribers = 3
messages = 4
memory_bytes = "4KiB"
[[location]]
url = '^/group/(\w*)$'
methods = "group"
group = "$1"
[[location]]
url = '^/status$'
methods = "status"
[[location]]
url = '^/u/([^/]+)$'
flavour = "relay"
methods = "subscriber"
concurrency = "first"
[[location]]
url = '^/p/([^/]+)$'
flavour = "relay"
methods = "publisher"
buffer_messages = 2
[[location]]
prefix = "/i/"
flavour = "relay"
methods = "subscriber"
polling = "interval"
[[location]]
prefix = "/ask/"
methods = "pubsub"
authorize = "http://127.0.0.1:9/auth"
subscribe_hook = "http://127.0.0.1:9/came"
unsubscribe_hook = "http://127.0.0.1:9/went"
upstream = "http://127.0.0.1:9/up"
hook_headers = { X-Channel = "$channel_id", X-Type = "$nchan_subscriber_type", X-Uri = "$request_uri" }
[[location]]
prefix = "/pass/"
flavour = "relay"
methods = "subscriber"
passthrough = "http://127.0.0.1:9/pass"
[[location]]
prefix = "/few/"
methods = "pubsub"
max_subscribers = 1
existing_channels_only = true
create_on_post = false
first_message = -1
delete_oldest_received = true
concurrency = "last"
[[location]]
prefix = "/last/"
methods = "pubsub"
flavour = "relay"
polling = "long"
store_messages = false
slow_consumer = "drop-oldest"
allow_origin = ["https://a.example"]
last_message_id = ["$arg_last", "$http_last_event_id"]
"#;

thread_local! {
    /// It takes much longer to make than to use, and nothing in it changes.
    static RELAY: Cell<Option<Relay>> = const { Cell::new(None) };
}

fn made() -> Relay {
    let sources = Sources { file: Some(("f", LOCATIONS.as_bytes())), ..Sources::default() };
    let loaded = load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    relay(loaded.config.relay.locations)
}

/// A request that is being put together.
#[derive(Default)]
struct Draft {
    head: String,
    body: Vec<u8>,
    /// On this connection, if it is free.
    again: Option<usize>,
    shard: usize,
}

struct Play {
    world: World,
    draft: Option<Draft>,
    /// Connections whose last request was HEAD.
    headless: Vec<usize>,
}

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let relay = RELAY.take().unwrap_or_else(made);
    let world = World::with_relay(input.pick(0, &[1, 2, 3]), relay);
    let mut play = Play { world, draft: None, headless: Vec::new() };
    let text = String::from_utf8_lossy(input.body);
    text.split('\n').take(LINES).for_each(|line| play.line(line));
    play.end(input.flag(0));
    RELAY.set(Some(play.world.dialects.relay));
}

impl Play {
    /// `r` and a digit (the shard): a request line follows, `a` the same on the connection of that number; `h` a header,
    /// `b` a line of its body, `W` the headers of a WebSocket; anything else sends it. `m` and `M` text and binary on a
    /// connection, `x` hangs it up, `s` reads all mail, `t` reads one on a shard, `w` milliseconds pass, `k` a back end
    /// answers with a status and, behind a blank, a body; `K` it fails.
    fn line(&mut self, line: &str) {
        let Some(letter) = line.chars().next().filter(char::is_ascii) else { return };
        let rest = &line[1..];
        match (letter, &mut self.draft) {
            ('h', Some(draft)) => {
                draft.head.push('\n');
                draft.head.extend(rest.chars().filter(|letter| !letter.is_control()));
                return;
            }
            ('b', Some(draft)) => {
                draft.body.extend_from_slice(rest.as_bytes());
                draft.body.push(b'\n');
                return;
            }
            ('W', Some(draft)) => {
                draft.head.push('\n');
                draft.head.push_str(SHAKE);
                return;
            }
            _ => self.send(),
        }
        let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        let number: usize = first.parse().unwrap_or(0);
        let some = || (!self.world.connections.is_empty()).then(|| number % self.world.connections.len());
        match letter {
            'r' | 'a' => {
                let head: String = behind.chars().filter(|letter| !letter.is_control()).collect();
                let again = some().filter(|_| letter == 'a');
                self.draft = Some(Draft { head, again, shard: number, ..Draft::default() });
            }
            'm' | 'M' => {
                let socket = |number: &usize| {
                    let connection = &self.world.connections[*number];
                    connection.is_open() && connection.upgraded
                };
                let Some(number) = some().filter(socket) else { return };
                match letter {
                    'm' => self.world.message(number, behind),
                    _ => self.world.binary(number, behind.as_bytes()),
                }
            }
            'x' => {
                if let Some(number) = some().filter(|number| self.world.connections[*number].is_open()) {
                    self.world.hang_up(number);
                }
            }
            's' => self.world.settle(),
            't' => drop(self.world.turn(number % self.world.shards.len())),
            'w' => self.world.wait_ms(number.min(100_000) as u64),
            'k' => {
                let status = u16::try_from(number).unwrap_or(200).clamp(200, 999);
                let lines = behind.split('|').skip(1).filter_map(|line| line.split_once('='));
                let bytes =
                    |text: &str| Bytes::from(text.chars().filter(char::is_ascii_graphic).collect::<String>());
                let headers = lines
                    .map(|(name, value)| (bytes(&name.to_ascii_lowercase()), bytes(value)))
                    .filter(|(name, _)| !name.is_empty() && !name.contains(&b':'))
                    .collect();
                let body = behind.split('|').next().unwrap_or_default().to_owned().into();
                self.answer(Ok(HookAnswer { status, headers, body }));
            }
            'K' => self.answer(Err(HookFailure::Timeout)),
            _ => {}
        }
        self.look();
    }

    fn answer(&mut self, answer: Result<HookAnswer, HookFailure>) {
        if let Some(call) = self.world.answer_hook(answer) {
            assert!(call.url.starts_with("http://127.0.0.1:9/"), "{}", call.url);
            assert!(call.answer, "nobody waits for it");
        }
    }

    fn send(&mut self) {
        let Some(Draft { head, body, again, shard }) = self.draft.take() else { return };
        let free = again.filter(|number| self.world.connections[*number].end == Some(End::Done));
        let number = match free {
            Some(number) => number,
            None if self.world.connections.len() < CONNECTIONS => {
                let shard = shard % self.world.shards.len();
                self.world.accept(shard)
            }
            None => return,
        };
        self.headless.retain(|other| *other != number);
        if head.starts_with("HEAD ") {
            self.headless.push(number);
        }
        if !self.world.request(number, &head, &body) && self.world.connections[number].is_open() {
            self.world.hang_up(number);
        }
    }

    /// What came on each connection is what HTTP allows there.
    fn look(&mut self) {
        for number in 0..self.world.connections.len() {
            let connection = &self.world.connections[number];
            // A part is looked at when the rest of it is there.
            if connection.end != Some(End::Done) || connection.is_quiet() {
                continue;
            }
            let upgraded = connection.upgraded;
            let mut raw = self.world.take_raw(number);
            assert!(!upgraded, "a WebSocket goes on as HTTP");
            let shown = || String::from_utf8_lossy(&raw).into_owned();
            let (mut lines, limits) = (Lines::default(), HttpLimits::default());
            let head = parse_head(&raw, self.headless.contains(&number), &mut lines, &limits);
            let Ok(Some(head)) = head else { panic!("no head: {}", shown()) };
            let (len, framing) = (head.len, head.framing);
            assert!(matches!(head.status, 200..600), "{}", head.status);
            assert!(framing != Framing::UntilClose, "its end is not told: {}", shown());
            let mut body = Body::new(framing);
            let mut at = len;
            while at < raw.len() && !body.is_done() {
                let (taken, _) = body.read(&mut raw[at..], &limits).expect("a body");
                assert!(taken > 0);
                at += taken;
            }
            assert!(at == raw.len() && body.is_done(), "{} behind or before the end", raw.len() - at);
        }
    }

    fn end(&mut self, drains: bool) {
        self.send();
        self.world.settle();
        self.look();
        if drains {
            self.world.drain();
            self.world.settle();
        }
        for number in 0..self.world.connections.len() {
            if self.world.connections[number].is_open() {
                self.world.hang_up(number);
            }
        }
        self.world.settle();
        while !self.world.asked.is_empty() {
            self.answer(Err(HookFailure::Stopped));
        }
        self.world.settle();
        assert_eq!(self.world.left(), [0; 5], "something is left");
    }
}
