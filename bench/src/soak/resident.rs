//! Subscribers that stay from the beginning to the end, of every way to listen, and a publisher for them. Each must get
//! every message, in order. Beside them a few are cut off and come back all at once, again and again: to these each
//! message must come that follows the first they get.

use super::SoakArgs;
use crate::churn::book::Book;
use crate::churn::crowd::Poster;
use crate::churn::visitor::Paths;
use crate::contest::run_number;
use crate::inbox::{Desk, Fault, Inbox};
use crate::sys::{self, Epoll, Received};
use crate::watchdog;
use crate::wire::{App, Carrier, Dialect, Opening, Wire};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Everything that is due must come within this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Those who are cut off come back after this, all at once.
const STORM_EVERY: Duration = Duration::from_secs(5);
/// How many these are, for each that stays of the first way.
const STORM_TIMES: usize = 4;
/// Longest message, bytes.
const MESSAGE_BYTES: usize = 4096;
/// Tag of the publisher.
const POSTER: u64 = u64::MAX;
const EPOLL_BATCH: usize = 256;

/// How a resident listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// A WebSocket of the relay.
    Websocket,
    /// The same with ids in the frames.
    RelayMeta,
    /// An event stream.
    Eventsource,
    /// A chunk for each message.
    Chunked,
    /// A part for each message.
    Multipart,
    /// Long polls.
    Longpoll,
    /// Pusher.
    Pusher,
}

impl Way {
    const ALL: [Way; 7] = [
        Way::Websocket,
        Way::RelayMeta,
        Way::Eventsource,
        Way::Chunked,
        Way::Multipart,
        Way::Longpoll,
        Way::Pusher,
    ];

    fn wire(self, path: &str, channel: &str) -> Wire {
        let relay = Wire::relay(&format!("{path}{channel}"));
        match self {
            Way::Websocket => relay,
            Way::RelayMeta => Wire { dialect: Dialect::RelayMeta, ..relay },
            Way::Eventsource => relay.on(Carrier::Eventsource),
            Way::Chunked => relay.on(Carrier::Chunked),
            Way::Multipart => relay.on(Carrier::Multipart),
            Way::Longpoll => relay.on(Carrier::Longpoll),
            Way::Pusher => Wire::of(Dialect::Pusher, channel, &App::default()),
        }
    }
}

struct Seat {
    way: Way,
    stream: TcpStream,
    opening: Option<Opening>,
    inbox: Inbox,
    /// The message that is due; none: whichever comes first.
    due: Option<u64>,
    /// It is cut off now and then.
    storms: bool,
}

/// See the module.
pub struct Residents {
    target: SocketAddrV4,
    paths: Paths,
    channel: String,
    book: Book,
    epoll: Epoll,
    seats: Vec<Seat>,
    poster: Poster,
    /// Through both APIs in turn.
    pusher: bool,
    desk: Desk,
    buffer: Vec<u8>,
    messages: u64,
    deliveries: u64,
}

impl Residents {
    /// They stay for `time`, or until `stop`. Returns messages and deliveries.
    pub fn stay(
        target: SocketAddrV4,
        args: &SoakArgs,
        time: Duration,
        stop: &AtomicBool,
    ) -> Result<(u64, u64), String> {
        let book = Book::new(run_number() ^ 0x5ca1_ab1e);
        let ways = if args.ways.is_empty() { &Way::ALL[..] } else { &args.ways };
        let paths = Paths { target, subscribe: args.path.clone(), publish: args.publish_path.clone() };
        let epoll = Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?;
        let poster = Poster::connect(&paths)?;
        epoll.add(poster.stream.as_raw_fd(), POSTER).map_err(|e| format!("epoll: {e}"))?;
        let mut all = Residents {
            target,
            channel: book.shared_channel(),
            paths,
            book,
            epoll,
            seats: Vec::new(),
            poster,
            pusher: ways.contains(&Way::Pusher),
            desk: Desk::default(),
            buffer: vec![0; 64 * 1024],
            messages: 0,
            deliveries: 0,
        };
        for way in ways {
            for _ in 0..args.residents {
                all.sit_down(*way, false)?;
            }
        }
        all.until(PATIENCE, "the subscriptions", |all| all.seats.iter().all(|seat| seat.opening.is_none()))?;
        for _ in 0..args.residents * STORM_TIMES {
            all.sit_down(ways[0], true)?;
        }
        all.load(args, time, stop)?;
        let last = all.messages;
        all.until(PATIENCE, "the last message", |all| {
            let has_all = |seat: &Seat| seat.storms || seat.due == Some(last);
            all.poster.unanswered == 0 && all.seats.iter().all(has_all)
        })?;
        all.leave()?;
        Ok((all.messages, all.deliveries))
    }

    fn load(&mut self, args: &SoakArgs, time: Duration, stop: &AtomicBool) -> Result<(), String> {
        let begun = Instant::now();
        let mut storm = begun + STORM_EVERY;
        while begun.elapsed() < time && !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let next = begun + Duration::from_secs_f64(self.messages as f64 / args.rate);
            if next <= now {
                self.publish();
            } else if storm <= now {
                storm += STORM_EVERY;
                self.storm(args)?;
            } else {
                self.turn(next.min(storm) - now)?;
            }
            watchdog::at(self.messages as usize);
        }
        Ok(())
    }

    /// A subscriber comes.
    fn sit_down(&mut self, way: Way, storms: bool) -> Result<(), String> {
        let wire = way.wire(&self.paths.subscribe, &self.channel);
        let (mut opening, request) = Opening::new(&wire, self.target);
        let stream = TcpStream::connect(self.target).map_err(|e| format!("{way:?} cannot connect: {e}"))?;
        let fd = stream.as_raw_fd();
        if !sys::send_all(fd, &request, PATIENCE) {
            return Err(format!("{way:?}: the request is not taken"));
        }
        self.epoll.add(fd, self.seats.len() as u64).map_err(|e| format!("epoll: {e}"))?;
        // A poll stands when it is sent.
        let opened = opening.take(&[], &mut self.desk.replies)?;
        let due = if storms { None } else { Some(0) };
        let (opening, inbox) = match opened {
            Some(inbox) => (None, inbox),
            None => (Some(opening), Inbox::default()),
        };
        self.seats.push(Seat { way, stream, opening, inbox, due, storms });
        Ok(())
    }

    /// All of the storm are cut off at once, and come back.
    fn storm(&mut self, args: &SoakArgs) -> Result<(), String> {
        let way = self.seats.first().map_or(Way::Websocket, |seat| seat.way);
        let first = self.seats.iter().position(|seat| seat.storms).unwrap_or(self.seats.len());
        for seat in self.seats.drain(first..) {
            sys::reset_on_close(seat.stream.as_raw_fd()).map_err(|e| e.to_string())?;
        }
        for _ in 0..args.residents * STORM_TIMES {
            self.sit_down(way, true)?;
        }
        Ok(())
    }

    fn publish(&mut self) {
        let payload = self.book.publish();
        let host = self.target;
        let request = if self.pusher && self.messages % 2 == 1 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
            let wire = Way::Pusher.wire("", &self.channel);
            let mut request = Vec::new();
            wire.post(host, "", payload.len()).append(&mut request, &payload, || now);
            request
        } else {
            // The name that Pusher's subscribers here know.
            let head = format!(
                "POST {}{} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nX-EventSource-Event: {}\r\n\
                 Content-Length: {}\r\n\r\n",
                self.paths.publish,
                self.channel,
                crate::wire::pusher::EVENT,
                payload.len()
            );
            [head.as_bytes(), &payload].concat()
        };
        self.poster.send(&request);
        self.messages += 1;
    }

    /// Turns until `done`.
    fn until(&mut self, time: Duration, what: &str, done: impl Fn(&Residents) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !done(self) {
            if begun.elapsed() > time {
                let late = |seat: &&Seat| !seat.storms && seat.due != Some(self.messages);
                let late: Vec<String> = (self.seats.iter().filter(late).take(5))
                    .map(|seat| format!("{:?} waits for {:?}", seat.way, seat.due))
                    .collect();
                return Err(format!("{what} did not come within {time:?}: {}", late.join(", ")));
            }
            self.turn(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// Waits for input and reads it.
    fn turn(&mut self, timeout: Duration) -> Result<(), String> {
        self.poster.flush()?;
        let mut tags = Vec::new();
        self.epoll.wait(Some(timeout), &mut tags).map_err(|e| format!("epoll: {e}"))?;
        for tag in tags {
            if tag == POSTER {
                self.poster.read(&mut self.buffer)?;
            } else {
                self.read(tag as usize)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) -> Result<(), String> {
        let Some(seat) = self.seats.get_mut(at) else { return Ok(()) };
        let (fd, way) = (seat.stream.as_raw_fd(), seat.way);
        let wrong = |what: String| format!("{way:?} {at}: {what}");
        let got = match sys::recv_now(fd, &mut self.buffer) {
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::Bytes(got)) => got,
            Ok(Received::Closed) => return Err(wrong("the server closed the connection".to_owned())),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut bytes = &self.buffer[..got];
        self.desk.replies.clear();
        if let Some(opening) = &mut seat.opening {
            let Some(inbox) = opening.take(bytes, &mut self.desk.replies).map_err(wrong)? else {
                sys::send_all(fd, &self.desk.replies, PATIENCE);
                return Ok(());
            };
            // Whatever came behind its opening is in it.
            (seat.inbox, seat.opening, bytes) = (inbox, None, &[]);
        }
        let (book, due, deliveries) = (&self.book, &mut seat.due, &mut self.deliveries);
        let read = seat.inbox.take_with(bytes, MESSAGE_BYTES, &mut self.desk, |payload| {
            let number = book.check(*due, payload).map_err(Fault::Wire)?;
            *due = Some(number + 1);
            *deliveries += 1;
            Ok(())
        });
        read.map_err(|fault| wrong(fault.to_string()))?;
        if !self.desk.replies.is_empty() && !sys::send_all(fd, &self.desk.replies, PATIENCE) {
            return Err(wrong("a reply is not taken".to_owned()));
        }
        Ok(())
    }

    /// Everybody goes, and the channel with them.
    fn leave(&mut self) -> Result<(), String> {
        self.seats.clear();
        let path = format!("{}{}", self.paths.publish, self.channel);
        let mut stream = TcpStream::connect(self.target).map_err(|e| format!("cannot connect: {e}"))?;
        let request = format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.target);
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
        std::io::Write::write_all(&mut stream, request.as_bytes()).map_err(|e| format!("DELETE: {e}"))?;
        // Whatever the answer: a server that knows no DELETE forgets by itself.
        let _ = std::io::Read::read(&mut stream, &mut self.buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn all_ways_are_used() {
        assert_eq!(Way::value_variants(), Way::ALL);
        for way in Way::ALL {
            way.wire("/stay/", "a").check().unwrap();
        }
    }
}
