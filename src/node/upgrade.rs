//! Handing over to a new process of the program, on SIGUSR2: the side of the process that is there.
//!
//! Both talk over an inherited channel of records ([`VARIABLE`] names its descriptor in the new process):
//!
//! | from | record | then |
//! |---|---|---|
//! | old | [`Record::Version`], each listening socket ([`Record::Listener`]), [`Record::Listeners`] | the new process reads its configuration and takes the sockets over |
//! | new | [`Record::Prepared`] | the old one stops reading and accepting, answers what is open, closes the store and the control socket |
//! | old | [`Record::Store`] | the new one opens the store and starts its shards, which do not turn yet |
//! | new | [`Record::Ready`] | the old one has let go for good |
//! | old | [`Record::Go`] | the new one serves |
//! | old | [`Record::Connection`] with [`Record::Data`], any number | connections between two requests live on there (of those with TLS, what is inside: the old process goes on with their TLS until it ends); sessions are ended one after the other |
//!
//! Whoever comes in the meantime waits in the queues of the sockets, and requests wait in theirs: nobody is refused. If
//! anything fails before `Go`, the old process kills the new one, opens the store again and goes on as if nothing had
//! happened. Where nothing is on disk there is no store to hand over, and the old one serves until `Go`.

use super::boot::Node;
use super::config::Config;
use super::host::fds::Channel;
use super::host::{self, Signal, Signals};
use super::systemd::{self, Notify};
use crate::limits::{
    UPGRADE_LOOK_MS, UPGRADE_QUIET_MS, UPGRADE_RECORD_BYTES, UPGRADE_RESUME_ATTEMPTS, UPGRADE_SEND_MS,
};
use crate::shard::listen::Listener;
use crate::shard::mailbox::{Adopted, Mail, Noted};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// The variable that names the descriptor of the channel.
pub const VARIABLE: &str = "FANWIRE_HANDOVER";
/// Of what goes over the channel.
pub const VERSION: u8 = 2;

/// The first byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Record {
    /// Followed by [`VERSION`].
    Version = b'V',
    /// With a socket; followed by the number of its place (two bytes, little-endian) and its [`PlaceName`].
    Listener = b'L',
    /// There are no more.
    Listeners = b'E',
    /// The configuration can be run.
    Prepared = b'P',
    /// The store is closed.
    Store = b'S',
    /// Everything is there.
    Ready = b'R',
    /// Serve.
    Go = b'G',
    /// The new process does not start; followed by why.
    Failed = b'F',
    /// With a socket; see [`ConnectionHead`].
    Connection = b'C',
    /// Followed by bytes that belong to the last connection.
    Data = b'D',
}

/// What a place is called in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceName {
    /// The address: the socket is the same whatever is asked of connections.
    pub address: String,
    /// With all that is asked of connections.
    pub door: String,
}

impl PlaceName {
    /// As text; no address has a NUL.
    fn text(&self) -> String {
        format!("{}\0{}", self.address, self.door)
    }

    /// From text.
    pub fn read(text: &[u8]) -> Option<PlaceName> {
        let (address, door) = std::str::from_utf8(text).ok()?.split_once('\0')?;
        Some(PlaceName { address: address.into(), door: door.into() })
    }
}

/// Names of all places in the order of their numbers.
pub(super) fn place_names(config: &Config) -> impl Iterator<Item = PlaceName> {
    let all = config.listen.iter().chain(&config.internal_listen);
    all.map(|listen| PlaceName { address: listen.address.to_string(), door: listen.to_string() })
}

/// Every socket once, with number and name of its place.
pub(super) fn listening(config: &Config, listeners: &[Vec<Listener>]) -> Vec<(u16, PlaceName, Arc<OwnedFd>)> {
    let names: Vec<PlaceName> = place_names(config).collect();
    let mut all: Vec<(u16, PlaceName, Arc<OwnedFd>)> = Vec::new();
    for listener in listeners.iter().flatten() {
        if !all.iter().any(|(_, _, fd)| Arc::ptr_eq(fd, &listener.fd)) {
            all.push((listener.index, names[usize::from(listener.index)].clone(), listener.fd.clone()));
        }
    }
    all.sort_by_key(|(index, ..)| *index);
    all
}

/// What stands in a [`Record::Connection`]: little-endian, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionHead {
    /// Number of the place it came in by.
    pub listener: u16,
    /// What its peer is counted under.
    pub address: u32,
    /// Bytes that were read and not used.
    pub unread: u32,
    /// Bytes after them that are to be sent.
    pub unsent: u32,
    /// It is what is inside the TLS of a connection, and begins with a PROXY header that names its peer.
    pub piped: bool,
}

impl ConnectionHead {
    /// As a record.
    pub fn record(&self) -> [u8; 16] {
        let mut record = [0; 16];
        record[0] = Record::Connection as u8;
        record[1..3].copy_from_slice(&self.listener.to_le_bytes());
        record[3..7].copy_from_slice(&self.address.to_le_bytes());
        record[7..11].copy_from_slice(&self.unread.to_le_bytes());
        record[11..15].copy_from_slice(&self.unsent.to_le_bytes());
        record[15] = u8::from(self.piped);
        record
    }

    /// From a record.
    pub fn read(record: &[u8]) -> Option<ConnectionHead> {
        let record: &[u8; 16] =
            record.try_into().ok().filter(|r: &&[u8; 16]| r[0] == Record::Connection as u8)?;
        let number =
            |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        let listener = u16::from_le_bytes([record[1], record[2]]);
        let piped = record[15] != 0;
        Some(ConnectionHead { listener, address: number(3), unread: number(7), unsent: number(11), piped })
    }
}

/// How the process was started, so that it can be started again from what is on disk then.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// This process. A path in its first argument is kept as it is written: it may lead to another file later.
    ///
    /// # Errors
    /// The path cannot be found out.
    pub fn of_this_process() -> io::Result<Program> {
        let mut args = std::env::args_os();
        let first = args.next().unwrap_or_default();
        let path = match first.as_bytes().contains(&b'/') {
            true => std::path::absolute(first)?,
            false => std::env::current_exe()?,
        };
        Ok(Program { path, args: args.collect() })
    }

    fn start(&self, channel: &Channel) -> io::Result<Child> {
        let inherited = channel.inheritable()?;
        let mut command = Command::new(&self.path);
        command.args(&self.args).env(VARIABLE, inherited.as_raw_fd().to_string());
        for name in systemd::OF_ONE_PROCESS {
            command.env_remove(name);
        }
        command.spawn()
    }
}

/// Why nothing was handed over. The node goes on, or stops because it was told to.
#[derive(Debug)]
pub enum Failure {
    /// For the log.
    Reason(String),
    /// A signal that stops the node came first.
    Stopped(Signal),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Reason(format!("the new process does not listen: {error}"))
    }
}

/// The new process, which serves by now.
#[derive(Debug)]
pub struct Heir {
    channel: Channel,
    /// Of the process.
    pub pid: u32,
}

/// Hands over to a new process, and tells who has to know.
pub(super) fn run(
    node: &mut Node,
    program: &Program,
    signals: &Signals,
    config: &Config,
    notify: &Notify,
) -> Result<Heir, Failure> {
    notify.reloading(host::monotonic_us());
    let done = hand_over(node, program, signals, config.upgrade_ms);
    if let Err(Failure::Reason(why)) = &done {
        error!(reason = "upgrade", "{why}; this process goes on");
        notify.ready(false);
    }
    done
}

/// Starts a new process and hands listeners and store over to it. When this returns an heir, the node must drain.
///
/// # Errors
/// See [`Failure`]; the node is as it was.
fn hand_over(node: &mut Node, program: &Program, signals: &Signals, limit_ms: u64) -> Result<Heir, Failure> {
    let (ours, theirs) = Channel::pair()?;
    ours.set_send_timeout(Duration::from_millis(UPGRADE_SEND_MS))?;
    let child = program.start(&theirs);
    drop(theirs);
    let child =
        child.map_err(|e| Failure::Reason(format!("cannot start {}: {e}", program.path.display())))?;
    info!(pid = child.id(), program = %program.path.display(), "handing over to a new process");
    let until = Instant::now() + Duration::from_millis(limit_ms);
    let mut talk = Talk { channel: ours, child, signals, until };
    match talk.convince(node) {
        Ok(()) => Ok(Heir { pid: talk.child.id(), channel: talk.channel }),
        Err(failure) => {
            let _ = talk.child.kill();
            let _ = talk.child.wait();
            node_goes_on(node)?;
            Err(failure)
        }
    }
}

/// After a failure: everything as before.
fn node_goes_on(node: &mut Node) -> Result<(), Failure> {
    let mut attempts = 0;
    while let Err(error) = node.store.resume() {
        attempts += 1;
        if attempts == UPGRADE_RESUME_ATTEMPTS {
            error!(%error, "the store cannot be opened again: stopping");
            return Err(Failure::Stopped(Signal::Terminate));
        }
        thread::sleep(Duration::from_millis(UPGRADE_LOOK_MS));
    }
    node.addresses.iter().for_each(|address| address.send(Mail::Resume));
    node.open_control();
    Ok(())
}

/// What is said to the new process before it serves.
struct Talk<'a> {
    channel: Channel,
    child: Child,
    signals: &'a Signals,
    until: Instant,
}

impl Talk<'_> {
    fn convince(&mut self, node: &mut Node) -> Result<(), Failure> {
        self.send(&[Record::Version as u8, VERSION], None)?;
        for (index, name, fd) in &node.listening {
            let mut record = vec![Record::Listener as u8];
            record.extend_from_slice(&index.to_le_bytes());
            record.extend_from_slice(name.text().as_bytes());
            self.send(&record, Some(fd.as_fd()))?;
        }
        self.say(Record::Listeners)?;
        self.hear(Record::Prepared)?;
        if node.has_files() {
            self.release(node)?;
        }
        self.say(Record::Store)?;
        self.hear(Record::Ready)?;
        self.say(Record::Go)
    }

    /// Closes what only one process can have open, once nobody needs it any more.
    fn release(&self, node: &mut Node) -> Result<(), Failure> {
        node.close_control();
        let (noted, quiet) = Noted::new();
        for address in &node.addresses {
            address.send(Mail::Hold(noted.clone()));
        }
        drop(noted);
        if self.await_quiet(&quiet)? {
            warn!(
                after_ms = UPGRADE_QUIET_MS,
                "requests are still open; the store is handed over all the same"
            );
        }
        node.store.suspend().map_err(|error| Failure::Reason(format!("the store: {error}")))
    }

    /// True: it did not come to that in time.
    fn await_quiet(&self, quiet: &Receiver<()>) -> Result<bool, Failure> {
        let until = Instant::now() + Duration::from_millis(UPGRADE_QUIET_MS);
        while Instant::now() < until {
            match quiet.recv_timeout(Duration::from_millis(UPGRADE_LOOK_MS)) {
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Ok(()) | Err(RecvTimeoutError::Timeout) => self.look_at_signals()?,
            }
        }
        Ok(quiet.try_recv() != Err(TryRecvError::Disconnected))
    }

    fn say(&mut self, what: Record) -> Result<(), Failure> {
        self.send(&[what as u8], None)
    }

    fn send(&mut self, record: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        self.channel.send(record, fd).map_err(|error| self.lost(error))
    }

    /// Why the channel does not work any more.
    fn lost(&mut self, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Failure::Reason(format!("the new process has ended: {}", self.status()))
            }
            _ => error.into(),
        }
    }

    fn hear(&mut self, wanted: Record) -> Result<(), Failure> {
        let mut record = vec![0; UPGRADE_RECORD_BYTES];
        loop {
            self.look_at_signals()?;
            if Instant::now() >= self.until {
                return Err(Failure::Reason("the new process is not ready in time".into()));
            }
            let heard = self.channel.receive(&mut record, Some(Duration::from_millis(UPGRADE_LOOK_MS)));
            let len = match heard {
                Ok(received) => received.len,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => continue,
                Err(error) => return Err(self.lost(error)),
            };
            return match &record[..len] {
                [said] if *said == wanted as u8 => Ok(()),
                [said, why @ ..] if *said == Record::Failed as u8 => {
                    Err(Failure::Reason(String::from_utf8_lossy(why).into_owned()))
                }
                [] => Err(self.lost(io::ErrorKind::BrokenPipe.into())),
                _ => Err(Failure::Reason("the new process says what is not understood".into())),
            };
        }
    }

    fn status(&mut self) -> String {
        for _ in 0..UPGRADE_SEND_MS / UPGRADE_LOOK_MS {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) => thread::sleep(Duration::from_millis(UPGRADE_LOOK_MS)),
                Err(error) => return error.to_string(),
            }
        }
        "it runs, but does not listen".into()
    }

    fn look_at_signals(&self) -> Result<(), Failure> {
        match self.signals.wait_for(Duration::ZERO) {
            Some(signal) if signal.stops() => Err(Failure::Stopped(signal)),
            Some(signal) => {
                warn!(signal = signal.name(), "not now: handing over to a new process");
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Heir {
    /// Sends connections on until there are no more. Returns how many went.
    pub fn send_all(&self, connections: &Receiver<Adopted>) -> u64 {
        let mut sent = 0;
        for connection in connections.iter() {
            if let Err(error) = self.send(&connection) {
                error!(%error, reason = "handover", "a connection is lost: the new process does not take it");
                continue;
            }
            sent += 1;
        }
        sent
    }

    fn send(&self, connection: &Adopted) -> io::Result<()> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput);
        let head = ConnectionHead {
            listener: connection.listener,
            address: connection.address,
            unread: size(&connection.unread)?,
            unsent: size(&connection.unsent)?,
            piped: connection.piped,
        };
        self.channel.send(&head.record(), Some(connection.fd.as_fd()))?;
        for bytes in [&connection.unread, &connection.unsent] {
            for part in bytes.chunks(UPGRADE_RECORD_BYTES - 1) {
                let mut record = Vec::with_capacity(part.len() + 1);
                record.push(Record::Data as u8);
                record.extend_from_slice(part);
                self.channel.send(&record, None)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let name = PlaceName { address: "unix:/a b".into(), door: "unix:/a b proxy_protocol".into() };
        assert_eq!(PlaceName::read(name.text().as_bytes()), Some(name));
        assert_eq!(PlaceName::read(b"127.0.0.1:80"), None);
    }

    #[test]
    fn heads_are_read_as_they_were_written() {
        let mut head = ConnectionHead {
            listener: 513,
            address: 0x0102_0304,
            unread: 70_000,
            unsent: u32::MAX,
            piped: false,
        };
        for piped in [false, true] {
            head.piped = piped;
            assert_eq!(ConnectionHead::read(&head.record()), Some(head));
        }
        let mut other = head.record();
        other[0] = Record::Data as u8;
        assert_eq!(ConnectionHead::read(&other), None);
        assert_eq!(ConnectionHead::read(&head.record()[..15]), None);
    }
}
