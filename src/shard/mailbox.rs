//! Mail between shards: one bounded queue per shard, first in first out per sender, and an eventfd that is written to
//! only when the receiver sleeps (a wake costs more than four deliveries).

use crate::channel::command::ShardSet;
use crate::channel::hook::{HookAnswer, HookFailure};
use crate::channel::store::Outcome;
use crate::channel::{Announcement, Answer, ChannelKey, Command, Ended, List, Publication, ReplyTo, Token};
use crate::dialect::app::{App, AppRefusal, Apps};
use crate::dialect::grant::Revocation;
use crate::dialect::grant::revoked::RevokeError;
use crate::limits::MAILBOX_RESERVE_PART;
use crate::shard::door::{Admission, Client};
use crate::shard::simulated::{self, Socket};
use crate::shard::tls::Tls;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// What one shard tells another.
#[derive(Debug)]
pub enum Mail {
    /// For a channel that lives there.
    Command {
        /// The channel.
        key: Arc<ChannelKey>,
        /// What to do.
        command: Box<Command>,
        /// Who asks.
        from: ReplyTo,
    },
    /// Who asks wants to know the channels that live there.
    List {
        /// Which of them.
        list: Arc<List>,
        /// Who asks.
        from: ReplyTo,
    },
    /// The apps are these from now on.
    Apps {
        /// All of them.
        apps: Arc<Apps>,
        /// Dropped when the shard has taken note.
        noted: Noted,
    },
    /// What a user or a token was granted is taken back.
    Revoke {
        /// What.
        revocation: Arc<Revocation>,
        /// Number of its app.
        app: u32,
        /// Counts the sessions that were ended for it.
        ended: Arc<AtomicU64>,
        /// Dropped when the sessions that live there have ended.
        noted: Noted,
    },
    /// For who wanted to revoke something.
    Revoked {
        /// Who.
        token: Token,
        /// How many sessions were ended, or why not.
        outcome: Box<Result<u64, RevokeError>>,
    },
    /// For who wanted to make an app.
    App {
        /// Who.
        token: Token,
        /// What came of it.
        outcome: Box<Result<Arc<App>, AppRefusal>>,
    },
    /// For the members that live there.
    Deliver {
        /// The channel.
        key: Arc<ChannelKey>,
        /// The publication.
        publication: Arc<Publication>,
    },
    /// For the members that live there and want to know.
    Announce {
        /// The channel.
        key: Arc<ChannelKey>,
        /// Who came or went.
        announcement: Arc<Announcement>,
    },
    /// The members that live there are no longer subscribed.
    End {
        /// The channel.
        key: Arc<ChannelKey>,
        /// Why.
        reason: Ended,
    },
    /// For who asked.
    Answer {
        /// Who.
        token: Token,
        /// What.
        answer: Box<Answer>,
    },
    /// For who called a back end.
    Hook {
        /// Who.
        token: Token,
        /// What.
        answer: Box<Result<HookAnswer, HookFailure>>,
    },
    /// For who asked the store.
    Store {
        /// Who.
        token: Token,
        /// What came of it.
        outcome: Box<Outcome>,
    },
    /// A connection that lives there from now on.
    Adopt(Box<Adopted>),
    /// Stop listening, end every session within this time (milliseconds), then leave.
    Drain(u64),
    /// Read nothing and accept nobody until [`Mail::Resume`] or [`Mail::HandOver`]. Dropped when everything that was
    /// asked before is answered.
    Hold(Noted),
    /// Go on as before [`Mail::Hold`].
    Resume,
    /// As [`Mail::Drain`], but connections between two requests live on elsewhere.
    HandOver {
        /// Who takes them.
        successor: Successor,
        /// Time for the other sessions to end, milliseconds.
        drain_ms: u64,
    },
}

/// Tells by its end that a mail was worked off, or will never be. Who waits sees the channel closed once all are gone.
#[derive(Clone, Debug)]
pub struct Noted(#[expect(dead_code, reason = "only its end matters")] std::sync::mpsc::Sender<()>);

impl Noted {
    /// A note to clone for each mail, and what to wait on.
    pub fn new() -> (Noted, std::sync::mpsc::Receiver<()>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        (Noted(sender), receiver)
    }
}

/// Who takes connections of a process that ends. Whoever listens sees the channel closed once every shard has left.
pub type Successor = std::sync::mpsc::Sender<Adopted>;

/// A connection on its way between shards, or to another process.
#[derive(Debug)]
pub struct Adopted {
    /// The socket.
    pub fd: Socket,
    /// The listener it came in by.
    pub listener: u16,
    /// Bytes that were read but not used: first of all the request that made it move.
    pub unread: Vec<u8>,
    /// Answers to earlier requests that the socket did not take.
    pub unsent: Vec<u8>,
    /// The address it is counted under.
    pub address: u32,
    /// Its TLS; without one it is as its listener's door says.
    pub tls: Option<Box<Tls>>,
    /// Whether it may go on.
    pub admission: Admission,
    /// See [`super::connection::Connection::for_others`].
    pub for_others: bool,
    /// See [`super::connection::Connection::piped`].
    pub piped: bool,
    /// Whom it comes from, if not from the peer of its socket.
    pub client: Option<Box<Client>>,
}

impl Adopted {
    /// One of which nothing is known but where it came in.
    pub fn new(fd: Socket, listener: u16) -> Adopted {
        Adopted {
            fd,
            listener,
            unread: Vec::new(),
            unsent: Vec::new(),
            address: 0,
            admission: Admission::Unknown,
            for_others: false,
            piped: false,
            client: None,
            tls: None,
        }
    }
}

/// The sleeping side of a shard.
#[derive(Debug)]
pub struct Bell {
    sleeping: AtomicBool,
    eventfd: Arc<OwnedFd>,
}

impl Bell {
    /// A bell with an eventfd of its own.
    pub fn new() -> io::Result<Bell> {
        // SAFETY: plain system call; the descriptor it returns is owned by nobody else.
        let eventfd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Bell { sleeping: AtomicBool::new(false), eventfd: Arc::new(eventfd) })
    }

    /// The descriptor that becomes readable.
    pub fn eventfd(&self) -> &Arc<OwnedFd> {
        &self.eventfd
    }

    /// Wakes the shard if it sleeps. Call after its mailbox has got something.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            self.signal();
        }
    }

    /// Makes the descriptor readable.
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes from a live buffer. It can only fail when the counter is full, and then the
        // descriptor is readable anyway.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// The shard is about to sleep; it looks at its mailbox once more after this.
    pub fn about_to_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The shard is awake: clears the descriptor.
    pub fn awake(&self, slept: bool) {
        self.sleeping.store(false, Ordering::Relaxed);
        if slept {
            let mut count = [0u8; 8];
            // SAFETY: reads eight bytes into a live buffer; the descriptor does not block.
            unsafe { libc::read(self.eventfd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        }
    }
}

/// Where a shard gets mail; everybody may have a clone.
#[derive(Clone, Debug)]
pub struct Address {
    sender: Sender<Mail>,
    bell: Arc<Bell>,
}

impl Address {
    /// Puts `mail` into the shard's mailbox, waiting for room. For threads that are no shards.
    pub fn send(&self, mail: Mail) {
        if self.sender.send(mail).is_ok() {
            self.bell.ring();
        }
    }

    /// Mails that wait.
    pub fn waiting(&self) -> usize {
        self.sender.len()
    }
}

/// The two ends of a mailbox for `capacity` mails.
pub fn mailbox(bell: Arc<Bell>, capacity: usize) -> (Address, Receiver<Mail>) {
    let (sender, receiver) = bounded(capacity);
    (Address { sender, bell }, receiver)
}

/// A shard's view of all mailboxes.
pub struct Post {
    own: usize,
    addresses: Vec<Address>,
    receiver: Receiver<Mail>,
    /// What did not fit. Only answers, announcements (each belongs to an answer or a teardown) and teardown get here in
    /// any number: publications are refused before.
    overflow: Vec<VecDeque<Mail>>,
    overflowing: bool,
    to_ring: ShardSet,
    busy: ShardSet,
    sent: u64,
}

impl Post {
    /// The post of shard `own`.
    pub fn new(own: usize, addresses: Vec<Address>, receiver: Receiver<Mail>) -> Post {
        let overflow = addresses.iter().map(|_| VecDeque::new()).collect();
        Post {
            own,
            addresses,
            receiver,
            overflow,
            overflowing: false,
            to_ring: ShardSet::default(),
            busy: ShardSet::default(),
            sent: 0,
        }
    }

    /// Shards of the node.
    pub fn shards(&self) -> usize {
        self.addresses.len()
    }

    /// Shards that can take no further deliveries now.
    pub fn busy(&self) -> ShardSet {
        self.busy
    }

    /// Mails sent since the start.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Mails that wait for this shard.
    pub fn waiting(&self) -> usize {
        self.receiver.len()
    }

    /// Sends; the receiver is woken by [`Post::ring`].
    pub fn send(&mut self, to: usize, mail: Mail) {
        debug_assert!(to != self.own, "a shard does not write to itself");
        self.sent += 1;
        self.to_ring.insert(to);
        let Some(address) = self.addresses.get(to) else { return };
        if !self.overflow[to].is_empty() {
            self.overflow[to].push_back(mail);
            return;
        }
        let sent = match simulated::is_full(to) {
            true => Err(TrySendError::Full(mail)),
            false => address.sender.try_send(mail),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(mail)) => {
                self.overflow[to].push_back(mail);
                self.overflowing = true;
                self.busy.insert(to);
            }
            // The shard has left: the node is stopping.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Takes the next mail.
    pub fn receive(&mut self) -> Option<Mail> {
        self.receiver.try_recv().ok()
    }

    /// Once per turn: sends what did not fit before, wakes the receivers, and looks who is full.
    pub fn ring(&mut self) {
        if self.overflowing {
            self.retry();
        }
        let to_ring = std::mem::take(&mut self.to_ring);
        for shard in to_ring.iter() {
            self.addresses[shard].bell.ring();
        }
        self.busy = ShardSet::default();
        for (shard, address) in self.addresses.iter().enumerate() {
            // The last eighth is for answers and teardown.
            let capacity = address.sender.capacity().unwrap_or(usize::MAX);
            let full = address.sender.len() > capacity - capacity / MAILBOX_RESERVE_PART;
            if full || !self.overflow[shard].is_empty() {
                self.busy.insert(shard);
            }
        }
    }

    /// After the flush: wakes the receivers of what it sent (the teardown of connections that broke).
    pub fn ring_late(&mut self) {
        for shard in std::mem::take(&mut self.to_ring).iter() {
            self.addresses[shard].bell.ring();
        }
    }

    fn retry(&mut self) {
        self.overflowing = false;
        for (shard, address) in self.addresses.iter().enumerate() {
            while let Some(mail) = self.overflow[shard].pop_front() {
                match address.sender.try_send(mail) {
                    Ok(()) => self.to_ring.insert(shard),
                    Err(TrySendError::Full(mail)) => {
                        self.overflow[shard].push_front(mail);
                        self.overflowing = true;
                        break;
                    }
                    Err(TrySendError::Disconnected(_)) => {}
                }
            }
        }
    }

    /// Mails that did not fit and wait to be sent.
    pub fn overflowed(&self) -> usize {
        self.overflow.iter().map(VecDeque::len).sum()
    }

    /// Whether something still waits to be sent.
    pub fn is_overflowing(&self) -> bool {
        self.overflowing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILS: usize = 800;

    fn posts() -> (Post, Post) {
        let bells = [Arc::new(Bell::new().unwrap()), Arc::new(Bell::new().unwrap())];
        let (a, ra) = mailbox(bells[0].clone(), MAILS);
        let (b, rb) = mailbox(bells[1].clone(), MAILS);
        (Post::new(0, vec![a.clone(), b.clone()], ra), Post::new(1, vec![a, b], rb))
    }

    fn numbered(tag: u32) -> Mail {
        let token = Token { slot: 0, generation: 0, tag };
        Mail::Answer { token, answer: Box::new(Answer::Info(None)) }
    }

    #[test]
    fn a_full_mailbox_keeps_order_and_says_busy() {
        let (mut from, mut to) = posts();
        let count = MAILS as u32 + 100;
        for tag in 0..count {
            from.send(1, numbered(tag));
        }
        assert!(from.busy().contains(1) && from.is_overflowing());
        let mut expected = 0;
        while expected < count {
            while let Some(Mail::Answer { token, .. }) = to.receive() {
                assert_eq!(token.tag, expected);
                expected += 1;
            }
            from.ring();
        }
        from.ring();
        assert!(!from.is_overflowing() && !from.busy().contains(1));
    }

    #[test]
    fn the_bell_rings_only_for_sleepers() {
        let bell = Bell::new().unwrap();
        let readable = |bell: &Bell| {
            let mut poll = libc::pollfd { fd: bell.eventfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one live pollfd, no waiting.
            unsafe { libc::poll(&mut poll, 1, 0) == 1 }
        };
        bell.ring();
        assert!(!readable(&bell));
        bell.about_to_sleep();
        bell.ring();
        assert!(readable(&bell));
        bell.awake(true);
        assert!(!readable(&bell));
    }
}
