//! Taking over from an older process of the program: the side of the new process. What is said is in
//! [`super::upgrade`].

use super::host::fds::{Channel, Received};
use super::upgrade::{ConnectionHead, PlaceName, Record, VARIABLE, VERSION};
use crate::limits::{UPGRADE_RECORD_BYTES, UPGRADE_UNREAD_BYTES};
use crate::shard::listen::Place;
use crate::shard::mailbox::{Address, Adopted, Mail};
use std::io;
use std::os::fd::OwnedFd;
use tracing::{info, warn};

/// Listening sockets that somebody else has opened, each for the place it belongs to.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    /// The place as it was configured, if that is known: a port may have been left to the system.
    name: Option<String>,
    place: Place,
    /// For people.
    label: String,
    fd: OwnedFd,
}

impl Inherited {
    /// A socket of which only is known where it listens.
    pub fn push(&mut self, label: String, place: Place, fd: OwnedFd) {
        self.0.push(Socket { name: None, place, label, fd });
    }

    /// The sockets for a place of the configuration.
    pub fn take(&mut self, name: &str, place: &Place) -> Vec<OwnedFd> {
        let belongs = |socket: &mut Socket| match &socket.name {
            Some(configured) => configured == name,
            None => socket.place == *place,
        };
        self.0.extract_if(.., belongs).map(|socket| socket.fd).collect()
    }

    /// What is for no place of the configuration.
    pub fn unclaimed(&self) -> Option<String> {
        let socket = self.0.first()?;
        Some(format!("{} on {}", socket.label, socket.place))
    }

    /// Files of unix sockets that nobody listens on any more once they are dropped.
    fn files(&self) -> impl Iterator<Item = &std::path::PathBuf> {
        self.0.iter().filter_map(|socket| match &socket.place {
            Place::Unix(path) => Some(path),
            Place::Ip(_) => None,
        })
    }
}

/// The older process.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    /// Names of its places by their numbers.
    names: Vec<(u16, PlaceName)>,
}

impl Predecessor {
    /// The process that has started this one to take over, and its sockets. Call once, before anything else opens
    /// descriptors.
    ///
    /// # Errors
    /// For the person who sees the log: what it says is not understood.
    pub fn find() -> Result<Option<(Predecessor, Inherited)>, String> {
        let Ok(number) = std::env::var(VARIABLE) else { return Ok(None) };
        let fd = number.parse().map_err(|_| format!("{VARIABLE} is not a number"))?;
        let channel = Channel::inherited(fd).map_err(|e| format!("{VARIABLE}: {e}"))?;
        let mut predecessor = Predecessor { channel, names: Vec::new() };
        let mut inherited = Inherited::default();
        let mut record = vec![0; UPGRADE_RECORD_BYTES];
        predecessor.expect_version(&mut record)?;
        loop {
            let Received { len, fd } = predecessor.receive(&mut record)?;
            match (&record[..len], fd) {
                ([said, low, high, name @ ..], Some(fd)) if *said == Record::Listener as u8 => {
                    let name = PlaceName::read(name).ok_or(NOT_UNDERSTOOD)?;
                    let place = crate::shard::inherit::place_of(&fd)
                        .map_err(|e| format!("the socket for {} that was handed over: {e}", name.address))?;
                    let index = u16::from_le_bytes([*low, *high]);
                    if !predecessor.names.contains(&(index, name.clone())) {
                        predecessor.names.push((index, name.clone()));
                    }
                    let PlaceName { address, door } = name;
                    inherited.0.push(Socket { name: Some(address), place, label: door, fd });
                }
                ([said], None) if *said == Record::Listeners as u8 => {
                    return Ok(Some((predecessor, inherited)));
                }
                _ => return Err(NOT_UNDERSTOOD.into()),
            }
        }
    }

    fn expect_version(&self, record: &mut [u8]) -> Result<(), String> {
        let len = self.receive(record)?.len;
        match &record[..len] {
            [said, VERSION] if *said == Record::Version as u8 => Ok(()),
            _ => Err("the older process hands over in a way that this version does not know".into()),
        }
    }

    fn receive(&self, record: &mut [u8]) -> Result<Received, String> {
        let received = self.channel.receive(record, None).map_err(|e| format!("{GONE}: {e}"))?;
        if received.len == 0 { Err(GONE.into()) } else { Ok(received) }
    }

    fn say_and_hear(&self, say: Record, hear: Record) -> Result<(), String> {
        self.channel.send(&[say as u8], None).map_err(|e| format!("{GONE}: {e}"))?;
        let mut record = [0; 16];
        let len = self.receive(&mut record)?.len;
        if record[..len] == [hear as u8] { Ok(()) } else { Err(NOT_UNDERSTOOD.into()) }
    }

    /// Says that the configuration can be run, and waits until the store is closed.
    ///
    /// # Errors
    /// The older process has gone, or does not want any more.
    pub fn prepared(&self) -> Result<(), String> {
        self.say_and_hear(Record::Prepared, Record::Store)
    }

    /// Says that everything is there, and waits until the older process has let go.
    ///
    /// # Errors
    /// As [`Predecessor::prepared`].
    pub fn ready(&self) -> Result<(), String> {
        self.say_and_hear(Record::Ready, Record::Go)
    }

    /// Says why this process does not start.
    pub fn failed(&self, why: &str) {
        let why = &why.as_bytes()[..why.len().min(UPGRADE_RECORD_BYTES - 1)];
        let _ = self.channel.send(&[&[Record::Failed as u8], why].concat(), None); // or it sees that we end
    }

    /// Takes connections until the older process has gone. `places` are the names of ours; those of a place that is no
    /// more, or asks for other things, are closed.
    pub fn adopt(self, places: &[PlaceName], shards: &[Address], left: &Inherited) {
        for path in left.files() {
            let _ = std::fs::remove_file(path);
        }
        let mut taken = 0_u64;
        let mut record = vec![0; UPGRADE_RECORD_BYTES];
        loop {
            match self.next_connection(&mut record) {
                Ok(None) => break,
                Ok(Some(mut connection)) => {
                    let name = self.names.iter().find(|(index, _)| *index == connection.listener);
                    let ours =
                        name.and_then(|(_, name)| places.iter().position(|place| place.door == name.door));
                    let Some(ours) = ours else { continue };
                    connection.listener = ours as u16;
                    let shard = &shards[taken as usize % shards.len()];
                    shard.send(Mail::Adopt(Box::new(connection)));
                    taken += 1;
                }
                Err(error) => {
                    warn!(%error, reason = "handover", "the older process hands over what is not understood");
                    break;
                }
            }
        }
        info!(connections = taken, "the older process has gone");
    }

    fn next_connection(&self, record: &mut [u8]) -> io::Result<Option<Adopted>> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, NOT_UNDERSTOOD);
        let Received { len, fd } = self.channel.receive(record, None)?;
        if len == 0 {
            return Ok(None);
        }
        let head = ConnectionHead::read(&record[..len]).ok_or_else(invalid)?;
        let fd = fd.ok_or_else(invalid)?;
        let (unread, unsent) = (head.unread as usize, head.unsent as usize);
        let all =
            unread.checked_add(unsent).filter(|&all| all <= UPGRADE_UNREAD_BYTES).ok_or_else(invalid)?;
        let mut bytes = Vec::new();
        while bytes.len() < all {
            let len = self.channel.receive(record, None)?.len;
            match &record[..len] {
                [said, data @ ..] if *said == Record::Data as u8 && data.len() <= all - bytes.len() => {
                    bytes.extend_from_slice(data);
                }
                _ => return Err(invalid()),
            }
        }
        let unsent = bytes.split_off(unread);
        let listener = head.listener;
        let (address, piped) = (head.address, head.piped);
        Ok(Some(Adopted { unread: bytes, unsent, address, piped, ..Adopted::new(fd.into(), listener) }))
    }
}

const GONE: &str = "the older process has gone";
const NOT_UNDERSTOOD: &str = "what the older process says is not understood";

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn sockets_are_found_by_name_or_by_place() {
        let mut inherited = Inherited::default();
        let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (a, b) = (socket(), socket());
        let place = |socket: &TcpListener| Place::Ip(socket.local_addr().unwrap());
        let (at_a, at_b) = (place(&a), place(&b));
        inherited.push("web".into(), at_a.clone(), a.into());
        let fd = b.into();
        let named = Socket { name: Some("127.0.0.1:0".into()), place: at_b.clone(), label: "n".into(), fd };
        inherited.0.push(named);
        let any = Place::Ip("127.0.0.1:0".parse().unwrap());
        assert!(inherited.take("127.0.0.1:1", &at_b).is_empty(), "its name is another one");
        assert_eq!(inherited.take("127.0.0.1:0", &any).len(), 1);
        assert_eq!(inherited.unclaimed(), Some(format!("web on {at_a}")));
        assert_eq!(inherited.take("whatever", &at_a).len(), 1);
        assert_eq!(inherited.unclaimed(), None);
    }
}
