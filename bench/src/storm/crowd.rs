//! Many clients that connect at once, without waiting for each other.

use super::book::{Book, META, META_BYTES};
use crate::client::{check_handshake, handshake_request, source_address};
use crate::frame::{self, Kind};
use crate::http;
use crate::round::{Round, Stopwatch};
use crate::stats::Latencies;
use crate::sys::{self, Epoll, Received};
use crate::watchdog;
use crate::wire::{Opening, Wire};
use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Nothing coming in for so long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that was refused tries again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A client is refused so often before the run fails.
const TRIES: u32 = 50;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;
/// Longest handshake answer, bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// What the clients ask for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where they open their WebSocket.
    pub path: String,
    /// Ask for ids. Those who know one resume behind it.
    pub resume: bool,
    /// What they speak in place of WebSockets at `path`.
    pub wire: Option<Wire>,
}

/// What a surge of connections brought.
#[derive(Debug, Default)]
pub struct Surge {
    /// From the first connect until everybody had everything.
    pub wall_ns: u64,
    /// Share of that time in which the client's thread ran or wanted to.
    pub client_share: f64,
    /// From a client's first connect until it had everything.
    pub latencies: Latencies,
    /// Attempts that ended without a WebSocket, by reason. Each was tried again.
    pub refused: BTreeMap<String, u64>,
}

impl Surge {
    /// All attempts that were refused.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Out,
    Connecting,
    Handshake,
    Open,
}

struct Client {
    stream: Option<TcpStream>,
    stage: Stage,
    /// Bytes of an answer or frame that is not complete.
    held: Vec<u8>,
    /// Number of the message that is due next.
    due: usize,
    /// Id of the last message.
    id: String,
    tries: u32,
    begun: Instant,
    /// A subscription under way, where more than a handshake is needed.
    opening: Option<Opening>,
}

/// See the module.
pub struct Crowd {
    target: SocketAddrV4,
    sources: usize,
    /// Attempts under way at any time.
    concurrency: usize,
    epoll: Epoll,
    clients: Vec<Client>,
    tags: Vec<u64>,
    buffer: Vec<u8>,
}

/// What an attempt or a read ended in.
enum Failure {
    /// No WebSocket this time.
    Refused(String),
    /// Not to be forgiven.
    Wrong(String),
}

impl Crowd {
    /// A crowd of `size`, none of them connected.
    pub fn new(
        target: SocketAddrV4,
        size: usize,
        sources: usize,
        concurrency: usize,
    ) -> Result<Crowd, String> {
        let epoll = Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?;
        let client = || Client {
            stream: None,
            stage: Stage::Out,
            held: Vec::new(),
            due: 0,
            id: String::new(),
            tries: 0,
            begun: Instant::now(),
            opening: None,
        };
        let clients = (0..size).map(|_| client()).collect();
        let (tags, buffer) = (Vec::new(), vec![0; 64 * 1024]);
        Ok(Crowd { target, sources, concurrency, epoll, clients, tags, buffer })
    }

    /// How many clients there are.
    pub fn size(&self) -> usize {
        self.clients.len()
    }

    /// Connects all who are out and waits until each has all messages of `book`.
    pub fn surge(&mut self, ask: &Ask, book: &Book) -> Result<Surge, String> {
        let mut surge = Surge::default();
        let watch = Stopwatch::start()?;
        let begun = watch.begun();
        let mut waiting: VecDeque<usize> =
            (0..self.clients.len()).filter(|&index| self.clients[index].stage == Stage::Out).collect();
        let mut satisfied = self.clients.len() - waiting.len();
        let mut retries: VecDeque<(Instant, usize)> = VecDeque::new();
        let mut under_way = 0;
        let mut progress_at = begun;
        let mut tags = std::mem::take(&mut self.tags);
        while satisfied < self.clients.len() {
            while retries.front().is_some_and(|retry| retry.0 <= Instant::now()) {
                waiting.extend(retries.pop_front().map(|retry| retry.1));
            }
            let mut failed = Vec::new();
            while under_way < self.concurrency {
                let Some(index) = waiting.pop_front() else { break };
                match self.launch(index, ask) {
                    Ok(()) => under_way += 1,
                    Err(failure) => failed.push((index, failure)),
                }
            }
            tags.clear();
            // Refused clients are looked at again soon.
            let timeout = if retries.is_empty() && failed.is_empty() { 100 } else { 5 };
            self.epoll.wait(Some(Duration::from_millis(timeout)), &mut tags).map_err(|e| e.to_string())?;
            for &tag in &tags {
                let index = tag as usize;
                let stage = self.clients[index].stage;
                let lacked = self.lacks(index, book);
                let outcome = self.step(index, ask, book);
                if stage != Stage::Open && (outcome.is_err() || self.clients[index].stage == Stage::Open) {
                    under_way -= 1;
                }
                match outcome {
                    Err(failure) => failed.push((index, failure)),
                    Ok(()) if lacked && !self.lacks(index, book) => {
                        satisfied += 1;
                        surge.latencies.record(self.clients[index].begun.elapsed().as_nanos() as u64);
                    }
                    Ok(()) => {}
                }
                progress_at = Instant::now();
            }
            watchdog::at(satisfied);
            for (index, failure) in failed {
                let reason = self.retry(index, failure)?;
                *surge.refused.entry(reason).or_default() += 1;
                retries.push_back((Instant::now() + RETRY_PAUSE, index));
            }
            if progress_at.elapsed() > STALL_TIMEOUT {
                return Err(format!(
                    "nothing has come for {STALL_TIMEOUT:?}: {satisfied} of {} clients have everything, {} refused",
                    self.clients.len(),
                    surge.refusals()
                ));
            }
        }
        self.tags = tags;
        let mut round = Round::default();
        watch.stop(&mut round)?;
        surge.wall_ns = round.wall_ns;
        surge.client_share = (round.client_ns + round.client_delay_ns) as f64 / round.wall_ns as f64;
        Ok(surge)
    }

    /// Waits until everybody, all connected, has all messages of `book`.
    pub fn receive(&mut self, ask: &Ask, book: &Book) -> Result<(), String> {
        let mut progress_at = Instant::now();
        let mut tags = std::mem::take(&mut self.tags);
        let mut lacking = (0..self.clients.len()).filter(|&index| self.lacks(index, book)).count();
        while lacking > 0 {
            tags.clear();
            self.epoll.wait(Some(Duration::from_millis(100)), &mut tags).map_err(|e| e.to_string())?;
            for &tag in &tags {
                let index = tag as usize;
                let lacked = self.lacks(index, book);
                if let Err(Failure::Refused(what) | Failure::Wrong(what)) = self.step(index, ask, book) {
                    return Err(format!("client {index}: {what}"));
                }
                lacking -= usize::from(lacked && !self.lacks(index, book));
                progress_at = Instant::now();
            }
            if progress_at.elapsed() > STALL_TIMEOUT {
                return Err(format!(
                    "nothing has come for {STALL_TIMEOUT:?}: {lacking} clients lack messages"
                ));
            }
        }
        self.tags = tags;
        Ok(())
    }

    /// Reads what is there of everybody: nothing may be.
    pub fn check_nothing_left(&mut self, ask: &Ask, book: &Book) -> Result<(), String> {
        for index in 0..self.clients.len() {
            if let Err(Failure::Refused(what) | Failure::Wrong(what)) = self.step(index, ask, book) {
                return Err(format!("client {index}: {what}"));
            }
        }
        Ok(())
    }

    /// Cuts every connection with a reset. The clients keep their ids.
    pub fn cut(&mut self) {
        for client in &mut self.clients {
            client.hang_up();
        }
    }

    /// Everybody forgets their messages and ids.
    pub fn forget(&mut self) {
        for client in &mut self.clients {
            client.due = 0;
            client.id.clear();
        }
    }

    fn lacks(&self, index: usize, book: &Book) -> bool {
        let client = &self.clients[index];
        client.stage != Stage::Open || client.due < book.len()
    }

    /// Begins an attempt.
    fn launch(&mut self, index: usize, ask: &Ask) -> Result<(), Failure> {
        let client = &mut self.clients[index];
        if client.tries == 0 {
            client.begun = Instant::now();
        }
        client.tries += 1;
        let source = source_address(self.target, index, self.sources);
        let refused = |error: std::io::Error| Failure::Refused(format!("connect: {}", error.kind()));
        let (socket, there) = sys::begin_connect_from(source, self.target).map_err(refused)?;
        let stream = TcpStream::from(socket);
        let fd = stream.as_raw_fd();
        sys::reset_on_close(fd).map_err(refused)?;
        client.stream = Some(stream);
        client.stage = Stage::Connecting;
        if there {
            self.epoll.add(fd, index as u64).map_err(refused)?;
            return self.shake(index, ask);
        }
        self.epoll.add_for_output(fd, index as u64).map_err(refused)
    }

    /// Asks for the WebSocket on a connection that is there.
    fn shake(&mut self, index: usize, ask: &Ask) -> Result<(), Failure> {
        let client = &mut self.clients[index];
        let Some(stream) = &client.stream else { return Ok(()) };
        let resume = ask.resume && !client.id.is_empty();
        let path =
            if resume { format!("{}?last_event_id={}", ask.path, client.id) } else { ask.path.clone() };
        let request = match &ask.wire {
            Some(wire) => {
                let (opening, request) = Opening::new(wire, self.target);
                client.opening = Some(opening);
                request
            }
            None => handshake_request(self.target, &path, ask.resume.then_some(META)).into_bytes(),
        };
        match sys::send_now(stream.as_raw_fd(), &request) {
            Ok(sent) if sent == request.len() => client.stage = Stage::Handshake,
            Ok(_) => return Err(Failure::Refused("handshake does not fit the socket".to_owned())),
            Err(error) => return Err(Failure::Refused(format!("handshake: {}", error.kind()))),
        }
        Ok(())
    }

    /// Does what a client's socket is ready for.
    fn step(&mut self, index: usize, ask: &Ask, book: &Book) -> Result<(), Failure> {
        let client = &mut self.clients[index];
        let Some(stream) = &client.stream else { return Ok(()) };
        let fd = stream.as_raw_fd();
        if client.stage == Stage::Connecting {
            if let Ok(Some(error)) | Err(error) = stream.take_error() {
                return Err(Failure::Refused(format!("connect: {}", error.kind())));
            }
            self.epoll.change_to_input(fd, index as u64).map_err(|e| Failure::Wrong(e.to_string()))?;
            return self.shake(index, ask);
        }
        match sys::recv_now(fd, &mut self.buffer) {
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::Bytes(got)) => client.held.extend_from_slice(&self.buffer[..got]),
            Ok(Received::Closed) => return Err(client.lost("the server closed the connection")),
            Err(error) => return Err(client.lost(&error.kind().to_string())),
        }
        if client.stage == Stage::Handshake && !client.take_answer(ask)? {
            return Ok(());
        }
        client.take_messages(ask, book).map_err(Failure::Wrong)
    }

    /// Readies a client for another attempt; returns why the last one failed.
    fn retry(&mut self, index: usize, failure: Failure) -> Result<String, String> {
        let client = &mut self.clients[index];
        client.hang_up();
        match failure {
            Failure::Wrong(what) => Err(format!("client {index}: {what}")),
            Failure::Refused(reason) if client.tries >= TRIES => {
                Err(format!("client {index} was refused {TRIES} times, the last time: {reason}"))
            }
            Failure::Refused(reason) => Ok(reason),
        }
    }
}

impl Client {
    fn hang_up(&mut self) {
        let open = self.stage == Stage::Open;
        self.stream = None;
        self.stage = Stage::Out;
        self.held = Vec::new();
        self.opening = None;
        if open {
            self.tries = 0;
        }
    }

    fn lost(&self, what: &str) -> Failure {
        match self.stage {
            // Whoever has been let in must not be thrown out.
            Stage::Open => Failure::Wrong(format!("after {} messages: {what}", self.due)),
            _ => Failure::Refused(format!("handshake: {what}")),
        }
    }

    /// Takes the handshake's answer. False if it is not complete.
    fn take_answer(&mut self, ask: &Ask) -> Result<bool, Failure> {
        if self.opening.is_some() {
            return self.take_opening();
        }
        let Some(length) = http::head_length(&self.held) else {
            let endless = self.held.len() > HEAD_BYTES;
            return if endless { Err(Failure::Wrong("endless answer".to_owned())) } else { Ok(false) };
        };
        let head = &self.held[..length];
        let text = std::str::from_utf8(head).unwrap_or_default();
        match http::status(text) {
            Some(101) => check_handshake(head).map_err(Failure::Wrong)?,
            Some(status) => return Err(Failure::Refused(format!("status {status}"))),
            None => return Err(Failure::Wrong("not an HTTP answer".to_owned())),
        }
        if ask.resume && http::header(text, "sec-websocket-protocol") != Some(META) {
            return Err(Failure::Wrong(format!("the server does not speak {META}")));
        }
        self.held.drain(..length);
        self.stage = Stage::Open;
        Ok(true)
    }

    /// Goes on with a subscription under way. False if it does not stand yet.
    fn take_opening(&mut self) -> Result<bool, Failure> {
        let (Some(opening), Some(stream)) = (&mut self.opening, &self.stream) else { return Ok(false) };
        let mut replies = Vec::new();
        let stands = opening.take(&self.held, &mut replies).map_err(Failure::Refused)?;
        self.held.clear();
        let sent = sys::send_now(stream.as_raw_fd(), &replies);
        if sent.map_err(|e| Failure::Refused(format!("subscription: {}", e.kind())))? < replies.len() {
            return Err(Failure::Refused("subscription does not fit the socket".to_owned()));
        }
        let Some(inbox) = stands else { return Ok(false) };
        if !inbox.is_empty() {
            return Err(Failure::Wrong("more than the answer to the subscription".to_owned()));
        }
        self.opening = None;
        self.stage = Stage::Open;
        Ok(true)
    }

    fn take_messages(&mut self, ask: &Ask, book: &Book) -> Result<(), String> {
        let mut used = 0;
        while let Some(found) = frame::next(&self.held[used..], 1 << 20).map_err(|error| error.to_string())? {
            let payload = &self.held[used..][found.payload.clone()];
            match found.kind {
                Kind::Message if ask.resume => {
                    if payload.len() > (1 << 20) - META_BYTES {
                        return Err("a message too long".to_owned());
                    }
                    let id = book.check(self.due, payload)?;
                    self.id.clear();
                    self.id.push_str(id);
                    self.due += 1;
                }
                Kind::Message => return Err("a message nobody published".to_owned()),
                Kind::Ping => {
                    if let Some(stream) = &self.stream {
                        let _ = sys::send_now(stream.as_raw_fd(), &frame::pong(payload));
                    }
                }
                Kind::Pong => {}
                Kind::Close => return Err("a close frame".to_owned()),
            }
            used += found.payload.end;
        }
        self.held.drain(..used);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ACCEPT;
    use crate::floor::Mode;
    use crate::load::tests::start_floor;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    fn plain() -> Ask {
        Ask { path: "/sub/test".to_owned(), resume: false, wire: None }
    }

    #[test]
    fn a_crowd_gets_in_and_can_come_again() {
        let mut crowd = Crowd::new(start_floor(Mode::Send), 300, 3, 16).unwrap();
        let book = Book::new(7, 64);
        for _ in 0..2 {
            let surge = crowd.surge(&plain(), &book).unwrap();
            assert_eq!((surge.latencies.len(), surge.refusals()), (300, 0));
            crowd.check_nothing_left(&plain(), &book).unwrap();
            crowd.cut();
        }
    }

    /// Answers each connection with the next of `answers`; returns the requests.
    fn scripted(answers: Vec<Vec<u8>>) -> (SocketAddrV4, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            let serve = |answer: Vec<u8>| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![0; 4096];
                let got = stream.read(&mut request).unwrap();
                stream.write_all(&answer).unwrap();
                held.push(stream);
                String::from_utf8_lossy(&request[..got]).into_owned()
            };
            answers.into_iter().map(serve).collect()
        });
        (SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), thread)
    }

    fn accepted(messages: &[&[u8]]) -> Vec<u8> {
        let mut out = format!(
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\
             Sec-WebSocket-Protocol: {META}\r\n\r\n"
        )
        .into_bytes();
        messages.iter().for_each(|message| frame::push_text(&mut out, message));
        out
    }

    #[test]
    fn refusals_are_counted_and_tried_again_and_ids_are_given_back() {
        let ask = Ask { path: "/sub/test".to_owned(), resume: true, wire: None };
        let mut book = Book::new(7, 64);
        let first = [b"id: 5:0\n\n", book.publish()].concat();
        let second = [b"id: 5:1\n\n", book.publish()].concat();
        let busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec();
        let answers = vec![busy, accepted(&[&first, &second]), accepted(&[])];
        let (address, server) = scripted(answers);
        let mut crowd = Crowd::new(address, 1, 1, 4).unwrap();
        let surge = crowd.surge(&ask, &book).unwrap();
        assert_eq!(surge.refused, BTreeMap::from([("status 503".to_owned(), 1)]));
        crowd.cut();
        crowd.surge(&ask, &book).unwrap();
        let requests = server.join().unwrap();
        assert!(requests[1].starts_with("GET /sub/test HTTP/1.1\r\n"), "{}", requests[1]);
        assert!(requests[2].starts_with("GET /sub/test?last_event_id=5:1 HTTP/1.1\r\n"), "{}", requests[2]);
    }

    #[test]
    fn a_dialect_s_clients_are_there_when_they_are_subscribed() {
        use crate::presence::server::{Flaw, start};
        use crate::wire::{App, Dialect};
        let app = App::default();
        let wire = Wire::of(Dialect::Pusher, "bench", &app);
        let ask = Ask { path: String::new(), resume: false, wire: Some(wire) };
        let mut crowd = Crowd::new(start(Flaw::None, &app), 8, 2, 3).unwrap();
        for _ in 0..2 {
            let surge = crowd.surge(&ask, &Book::new(7, 64)).unwrap();
            assert_eq!((surge.latencies.len(), surge.refusals()), (8, 0));
            crowd.check_nothing_left(&ask, &Book::new(7, 64)).unwrap();
            crowd.cut();
        }
    }

    #[test]
    fn a_replay_with_a_gap_or_a_double_fails_the_run() {
        let ask = Ask { path: "/sub/test".to_owned(), resume: true, wire: None };
        let mut book = Book::new(7, 64);
        let first = [b"id: 5:0\n\n", book.publish()].concat();
        let second = [b"id: 5:1\n\n", book.publish()].concat();
        for (messages, word) in [([&second, &first], "where 0 was due"), ([&first, &first], "twice")] {
            let (address, server) = scripted(vec![accepted(&messages.map(|message| &message[..]))]);
            let error = Crowd::new(address, 1, 1, 4).unwrap().surge(&ask, &book).unwrap_err();
            assert!(error.contains(word), "{error}");
            server.join().unwrap();
        }
    }
}
