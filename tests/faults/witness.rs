//! Everybody else: subscribers by every carrier and a publisher, who notice nothing of a fault.

use crate::frame::{connect, read_head, websocket};
use crate::node::{Http, Stream};
use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Channels it publishes to.
const CHANNELS: usize = 2;
/// Time between two publications.
const PACE: Duration = Duration::from_millis(20);
/// A message or an answer that takes longer is late, on the busiest machine.
const LATE: Duration = Duration::from_secs(10);
const CARRIERS: [&str; 3] = ["websocket", "sse", "longpoll"];

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
static ROUNDS: AtomicU64 = AtomicU64::new(0);

fn now_us() -> u128 {
    BEGINNING.elapsed().as_micros()
}

/// Running witnesses.
pub struct Witness {
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<Published>,
    subscribers: Vec<(&'static str, JoinHandle<Heard>)>,
}

struct Published {
    count: u64,
    slowest: Duration,
}

struct Heard {
    count: u64,
    latest: Duration,
}

/// What they tell.
pub struct Seen {
    published: Published,
    latest: Vec<(&'static str, Duration)>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{} publications, slowest answer {:.1} ms",
            self.published.count,
            ms(self.published.slowest)
        )?;
        self.latest.iter().try_for_each(|(name, time)| write!(f, ", latest by {name} {:.1} ms", ms(*time)))
    }
}

impl Witness {
    /// Starts them; with `fresh` every other publication has a connection of its own.
    pub fn start(address: &str, fresh: bool) -> Witness {
        let round = ROUNDS.fetch_add(1, SeqCst);
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, ready) = mpsc::channel();
        let mut subscribers = Vec::new();
        for channel in 0..CHANNELS {
            for name in CARRIERS {
                let (address, tell) = (address.to_owned(), tell.clone());
                subscribers.push((
                    name,
                    thread::spawn(move || {
                        let mut source = open(&address, name, channel);
                        tell.send(()).unwrap();
                        listen(&mut *source, round, name)
                    }),
                ));
            }
        }
        drop(tell);
        for _ in &subscribers {
            ready.recv().expect("every witness listens");
        }
        let (address, stopped) = (address.to_owned(), stop.clone());
        let (tell, published) = mpsc::channel();
        let publisher = thread::spawn(move || publish(&address, round, fresh, &stopped, &tell));
        // Its connection has to be there before the fault, which may leave no room for another one.
        published.recv().expect("the first publish is answered well");
        Witness { stop, publisher, subscribers }
    }

    /// Ends them: everything published has come to everybody, in order and not late.
    pub fn end(self) -> Seen {
        self.stop.store(true, SeqCst);
        let published = self.publisher.join().expect("every publish is answered well");
        let mut latest = CARRIERS.map(|name| (name, Duration::ZERO));
        let mut heard_in_all = 0;
        for (name, subscriber) in self.subscribers {
            let heard = subscriber.join().unwrap_or_else(|_| panic!("a witness by {name} lost something"));
            heard_in_all += heard.count;
            let (_, worst) = latest.iter_mut().find(|(n, _)| *n == name).unwrap();
            *worst = heard.latest.max(*worst);
        }
        assert_eq!(heard_in_all, published.count * CARRIERS.len() as u64);
        let seen = Seen { published, latest: latest.into() };
        let worst = seen.latest.iter().map(|(_, time)| *time).max().unwrap().max(seen.published.slowest);
        assert!(worst < LATE, "late: {seen}");
        seen
    }
}

/// Publishes at a steady pace until it is told to stop, and tells of each; the last message of each channel says that it
/// is the last.
fn publish(address: &str, round: u64, fresh: bool, stop: &AtomicBool, tell: &mpsc::Sender<()>) -> Published {
    let mut kept = Http::connect(address).unwrap();
    let mut slowest = Duration::ZERO;
    let mut send = |n: u64, word: &str| {
        let (channel, of_channel) = (n % CHANNELS as u64, n / CHANNELS as u64);
        let begun = Instant::now();
        let text = format!("{round} {of_channel} {} {word}", now_us());
        let path = format!("/pub/witness{channel}");
        let answer = if fresh && n / CHANNELS as u64 % 2 == 1 {
            Http::connect(address).and_then(|mut http| http.post(&path, text.as_bytes()))
        } else {
            kept.post(&path, text.as_bytes())
        };
        let answer = answer.unwrap_or_else(|error| panic!("publication {n}: {error}"));
        assert!(matches!(answer.status, 200..=299), "publication {n}: {answer:?}");
        slowest = slowest.max(begun.elapsed());
        let _ = tell.send(()); // only the first is waited for
    };
    let mut n = 0;
    while !stop.load(SeqCst) || n % CHANNELS as u64 != 0 {
        send(n, "more");
        n += 1;
        thread::sleep(PACE);
    }
    for _ in 0..CHANNELS {
        send(n, "last");
        n += 1;
    }
    Published { count: n, slowest }
}

/// Hears everything of this round until the last.
fn listen(source: &mut dyn FnMut() -> String, round: u64, name: &str) -> Heard {
    let mut heard = Heard { count: 0, latest: Duration::ZERO };
    loop {
        let text = source();
        let now = now_us();
        let mut words = text.split(' ');
        let mut number = || words.next().unwrap().parse::<u128>().unwrap();
        let (of_round, n, sent) = (number(), number(), number());
        if of_round != u128::from(round) {
            assert!(of_round < u128::from(round), "{name}: {text}");
            continue; // stored by an earlier witness
        }
        assert_eq!(n, u128::from(heard.count), "{name}: not the next one: {text}");
        heard.count += 1;
        heard.latest = heard.latest.max(Duration::from_micros((now - sent) as u64));
        if text.ends_with("last") {
            return heard;
        }
    }
}

fn open(address: &str, name: &str, channel: usize) -> Box<dyn FnMut() -> String> {
    let path = format!("/sub/witness{channel}");
    match name {
        "websocket" => {
            let socket = websocket(address, &path);
            let mut socket = WebSocket::from_raw_socket(socket, Role::Client, None);
            Box::new(move || {
                loop {
                    match socket.read().unwrap() {
                        Message::Text(text) => return text.to_string(),
                        Message::Ping(_) => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        }
        "sse" => {
            let mut stream = Stream::open(address, &path, None).unwrap();
            Box::new(move || stream.next().expect("the stream goes on").1)
        }
        _ => {
            let mut poll = Poll { socket: connect(address), path, resume: String::new() };
            Box::new(move || poll.next())
        }
    }
}

/// Polls on one connection, each behind the one before.
struct Poll {
    socket: TcpStream,
    path: String,
    resume: String,
}

impl Poll {
    fn next(&mut self) -> String {
        let Poll { socket, path, resume } = self;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\n{resume}\r\n").unwrap();
        let head = read_head(socket);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let line = |wanted: &str| {
            let named = |line: &str| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
            };
            head.lines().find_map(named).unwrap_or_else(|| panic!("no {wanted} in {head}"))
        };
        *resume =
            format!("If-Modified-Since: {}\r\nIf-None-Match: {}\r\n", line("last-modified"), line("etag"));
        let mut body = vec![0; line("content-length").parse().unwrap()];
        socket.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}
