//! Sockets and clocks played by queues: what a shard would ask the kernel, and what a peer does at the other end.

use crate::rng::Rng;
use bytes::Bytes;
use fanwire::channel::Now;
use fanwire::shard::net::{Event, Key};
use fanwire::shard::simulated::Kernel;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// One connection, both ends.
#[derive(Default)]
struct Socket {
    /// The shard that watches it, and as what.
    watch: Option<(u16, Key)>,
    /// A ring's poll for room to write.
    wants_write: Option<(u16, Key)>,
    to_node: Vec<u8>,
    /// The peer sends no more.
    fin: bool,
    /// The peer is gone for good.
    reset: bool,
    to_peer: Vec<u8>,
    /// Bytes that fit into both kernels' buffers.
    window: usize,
    /// A send did not go through whole.
    was_full: bool,
    shut_write: bool,
    shut_read: bool,
    closed: bool,
}

struct State {
    now: Now,
    rng: Rng,
    /// A ring has last completions, epoll has not.
    ring: bool,
    sockets: BTreeMap<RawFd, Socket>,
    next_fd: RawFd,
    events: Vec<VecDeque<Event>>,
    /// Bytes that peers have sent or read.
    moved: u64,
    /// How often a mailbox has no room for a moment, percent, and how often that was.
    full_percent: usize,
    full: u64,
    /// What no shard may do.
    faults: Vec<String>,
}

/// The kernel of one node.
pub struct Simulated(RefCell<State>);

impl State {
    fn of_node(&mut self, fd: RawFd, what: &str) -> Option<&mut Socket> {
        let open = self.sockets.get(&fd).is_some_and(|socket| !socket.closed);
        if !open {
            self.faults.push(format!("{what} on the closed socket {fd}"));
            return None;
        }
        self.sockets.get_mut(&fd)
    }

    fn tell_readable(&mut self, fd: RawFd) {
        let Some(socket) = self.sockets.get(&fd) else { return };
        let Some((shard, key)) = socket.watch else { return };
        let event = Event::Readable { key, hangup: socket.fin || socket.reset };
        let events = &mut self.events[usize::from(shard)];
        if events.back() != Some(&event) {
            events.push_back(event);
        }
    }

    fn tell_writable(&mut self, fd: RawFd) {
        let ring = self.ring;
        let Some(socket) = self.sockets.get_mut(&fd) else { return };
        if ring {
            if let Some((shard, key)) = socket.wants_write.take() {
                self.events[usize::from(shard)].push_back(Event::Writable { key });
                self.events[usize::from(shard)].push_back(Event::PollEnded { key, input: false });
            }
        } else if let Some((shard, key)) = socket.watch
            && std::mem::take(&mut socket.was_full)
        {
            self.events[usize::from(shard)].push_back(Event::Writable { key });
        }
    }
}

impl Simulated {
    /// A kernel for so many shards.
    pub fn new(mut rng: Rng, shards: usize, now: Now) -> Simulated {
        let ring = rng.chance(50);
        let full_percent = *rng.pick(&[0, 0, 3, 20]);
        let events = (0..shards).map(|_| VecDeque::new()).collect();
        let state = State {
            now,
            rng,
            ring,
            sockets: BTreeMap::new(),
            next_fd: 1000,
            events,
            moved: 0,
            full_percent,
            full: 0,
            faults: Vec::new(),
        };
        Simulated(RefCell::new(state))
    }

    /// Both clocks move: monotonic time on, the wall clock anywhere.
    pub fn advance(&self, ms: u64, wall_ms: i64) {
        let mut state = self.0.borrow_mut();
        state.now.mono_ns += ms * 1_000_000;
        state.now.unix_ms = state.now.unix_ms.saturating_add_signed(wall_ms).max(1_000_000);
    }

    /// The node has died and is there again: nothing is left of its sockets.
    pub fn restart(&self) {
        let mut state = self.0.borrow_mut();
        state.now.mono_ns = 1_000_000_000;
        state.events.iter_mut().for_each(VecDeque::clear);
        for socket in state.sockets.values_mut() {
            socket.closed = true;
            socket.watch = None;
            socket.wants_write = None;
        }
    }

    /// Whether a shard has events to look at.
    pub fn has_events(&self, shard: usize) -> bool {
        !self.0.borrow().events[shard].is_empty()
    }

    /// The first thing that a shard did and may not do.
    pub fn fault(&self) -> Option<String> {
        self.0.borrow().faults.first().cloned()
    }

    /// Sockets that the node has not closed.
    pub fn open(&self) -> usize {
        self.0.borrow().sockets.values().filter(|socket| !socket.closed).count()
    }

    /// Bytes that peers have sent or read.
    pub fn written(&self) -> u64 {
        self.0.borrow().moved
    }

    /// How often a mailbox had no room for a moment.
    pub fn full(&self) -> u64 {
        self.0.borrow().full
    }

    /// Whether the node has ended its side of a connection, or the peer has gone without it.
    pub fn is_over(&self, fd: RawFd) -> bool {
        let state = self.0.borrow();
        state.sockets.get(&fd).is_none_or(|socket| socket.closed || socket.shut_write || socket.reset)
    }

    // ---- the peer's end ----

    /// A peer connects to this shard's listener.
    pub fn connect(&self, shard: usize, window: usize) -> RawFd {
        let mut state = self.0.borrow_mut();
        let fd = state.next_fd;
        state.next_fd += 1;
        state.sockets.insert(fd, Socket { window, ..Socket::default() });
        state.events[shard].push_back(Event::Accepted { listener: 0, fd });
        fd
    }

    /// The peer sends.
    pub fn write(&self, fd: RawFd, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let Some(socket) = state.sockets.get_mut(&fd) else { return };
        if !socket.fin && !socket.closed {
            socket.to_node.extend_from_slice(bytes);
            state.moved += bytes.len() as u64;
            state.tell_readable(fd);
        }
    }

    /// The peer ends its side, and may still read.
    pub fn finish(&self, fd: RawFd) {
        let mut state = self.0.borrow_mut();
        if let Some(socket) = state.sockets.get_mut(&fd) {
            socket.fin = true;
            state.tell_readable(fd);
        }
    }

    /// The peer is gone.
    pub fn reset(&self, fd: RawFd) {
        let mut state = self.0.borrow_mut();
        if let Some(socket) = state.sockets.get_mut(&fd) {
            (socket.fin, socket.reset) = (true, true);
            socket.to_node.clear();
            socket.to_peer.clear();
            state.tell_readable(fd);
            state.tell_writable(fd);
        }
    }

    /// The peer reads at most so many bytes. `None`: there is nothing, and nothing will come.
    pub fn read(&self, fd: RawFd, most: usize) -> Option<Vec<u8>> {
        let mut state = self.0.borrow_mut();
        let socket = state.sockets.get_mut(&fd)?;
        let count = most.min(socket.to_peer.len());
        if count == 0 && socket.to_peer.is_empty() && (socket.closed || socket.shut_write || socket.reset) {
            return None;
        }
        let rest = socket.to_peer.split_off(count);
        let bytes = std::mem::replace(&mut socket.to_peer, rest);
        if count > 0 {
            state.moved += count as u64;
            state.tell_writable(fd);
        }
        Some(bytes)
    }
}

impl Kernel for Simulated {
    fn is_full(&self, _: usize) -> bool {
        let mut state = self.0.borrow_mut();
        let percent = state.full_percent;
        let is_full = percent > 0 && state.rng.chance(percent);
        state.full += u64::from(is_full);
        is_full
    }

    fn now(&self) -> Now {
        self.0.borrow().now
    }

    fn receive(&self, fd: RawFd, buffer: &mut [u8]) -> Result<usize, i32> {
        let mut state = self.0.borrow_mut();
        let interrupted = state.rng.chance(2);
        let socket = state.of_node(fd, "recv").ok_or(libc::EBADF)?;
        if socket.reset {
            return Err(libc::ECONNRESET);
        }
        if interrupted {
            return Err(libc::EINTR);
        }
        if socket.to_node.is_empty() || socket.shut_read {
            return if socket.fin || socket.shut_read { Ok(0) } else { Err(libc::EAGAIN) };
        }
        let count = buffer.len().min(socket.to_node.len());
        buffer[..count].copy_from_slice(&socket.to_node[..count]);
        socket.to_node.drain(..count);
        Ok(count)
    }

    fn send(&self, fd: RawFd, frames: &mut dyn Iterator<Item = &Bytes>) -> Result<usize, i32> {
        let mut state = self.0.borrow_mut();
        let socket = state.of_node(fd, "send").ok_or(libc::EBADF)?;
        if socket.reset || socket.shut_write {
            return Err(libc::EPIPE);
        }
        let (mut sent, mut whole) = (0, true);
        for frame in frames {
            let room = socket.window.saturating_sub(socket.to_peer.len());
            let part = frame.len().min(room);
            socket.to_peer.extend_from_slice(&frame[..part]);
            sent += part;
            if part < frame.len() {
                whole = false;
                break;
            }
        }
        socket.was_full |= !whole;
        if sent == 0 && !whole { Err(libc::EAGAIN) } else { Ok(sent) }
    }

    fn shutdown(&self, fd: RawFd, how: i32) {
        let mut state = self.0.borrow_mut();
        if let Some(socket) = state.of_node(fd, "shutdown") {
            socket.shut_write = true;
            socket.shut_read |= how == libc::SHUT_RDWR;
        }
    }

    fn close(&self, fd: RawFd) {
        let mut state = self.0.borrow_mut();
        let ring = state.ring;
        if let Some(socket) = state.of_node(fd, "close") {
            let watched = socket.watch.take().is_some();
            socket.closed = true;
            if watched && ring {
                state.faults.push(format!("socket {fd} was closed under its poll"));
            }
        }
    }

    fn peer(&self, fd: RawFd) -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 0, 0, 1], 1024 + (fd % 60_000) as u16)))
    }

    fn register(&self, shard: u16, fd: RawFd, key: Key) -> u8 {
        let mut state = self.0.borrow_mut();
        let ring = state.ring;
        let Some(socket) = state.of_node(fd, "poll") else { return 0 };
        socket.watch = Some((shard, key));
        let ready = !socket.to_node.is_empty() || socket.fin;
        if !ring {
            state.events[usize::from(shard)].push_back(Event::Writable { key });
        }
        if ready {
            state.tell_readable(fd);
        }
        u8::from(ring)
    }

    fn want_write(&self, shard: u16, fd: RawFd, key: Key) -> u8 {
        let mut state = self.0.borrow_mut();
        if !state.ring {
            return 0;
        }
        let Some(socket) = state.of_node(fd, "poll") else { return 0 };
        socket.wants_write = Some((shard, key));
        if socket.to_peer.len() < socket.window || socket.reset {
            state.tell_writable(fd);
        }
        1
    }

    fn unregister(&self, shard: u16, fd: RawFd, key: Key, output: bool) {
        let mut state = self.0.borrow_mut();
        let ring = state.ring;
        let Some(socket) = state.of_node(fd, "cancel") else { return };
        let was_watched = socket.watch.take().is_some();
        let waited = socket.wants_write.take().is_some();
        if ring && was_watched {
            state.events[usize::from(shard)].push_back(Event::PollEnded { key, input: true });
        }
        if ring && waited {
            if !output {
                state.faults.push(format!("socket {fd}: the poll for room to write was not cancelled"));
            }
            state.events[usize::from(shard)].push_back(Event::PollEnded { key, input: false });
        }
    }

    fn turn(&self, shard: u16, events: &mut Vec<Event>) {
        let mut state = self.0.borrow_mut();
        let waiting = state.events[usize::from(shard)].len();
        let count = if state.rng.chance(15) { state.rng.below(waiting + 1) } else { waiting };
        events.extend(state.events[usize::from(shard)].drain(..count));
        // A ring may have to drop a poll: then it says so, and has to be asked again.
        if state.ring && state.rng.chance(2) {
            let watched = state.sockets.values_mut().find(|s| s.watch.is_some_and(|(at, _)| at == shard));
            if let Some((_, key)) = watched.and_then(|socket| socket.watch.take()) {
                events.push(Event::PollEnded { key, input: true });
            }
        }
    }
}
