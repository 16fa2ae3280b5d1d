//! What a listener asks of every connection that comes in by it, and who has come.

use super::accept::{LazyPeer, peer_address};
use super::addresses::Addresses;
use super::rate::ConnectRate;
use crate::wire::http::forwarded;
use crate::wire::network::TrustedPeers;
use crate::wire::proxy;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::shard::tls::TlsDoor;
use std::sync::Arc;

/// One listener's demands. By the listener's number in [`super::Shard`]: a connection knows its own.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// TLS comes before everything else but a PROXY protocol header.
    pub tls: Option<Arc<TlsDoor>>,
    /// A PROXY protocol header comes before everything else.
    pub proxy_protocol: bool,
}

/// What all doors of a node have in common.
#[derive(Debug, Default)]
pub struct DoorRules {
    /// Whose PROXY headers are believed.
    pub trusted: TrustedPeers,
    /// The header that tells of a request's client when it comes from one of these peers; none: no header does.
    pub forwarded: Option<forwarded::Kind>,
    /// How many connections each address has, where that is limited.
    pub addresses: Addresses,
    /// How often an address may connect.
    pub rate: Option<ConnectRate>,
    /// Connections over a limit that each shard hears all the same.
    pub turned_away: usize,
}

/// Why a connection, or what it asks for, is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The node has as many as it may.
    Connections,
    /// The address has as many as it may.
    PerAddress,
    /// The address has come too often.
    Rate,
}

impl Excess {
    /// For metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Excess::Connections => "connections",
            Excess::PerAddress => "connections_per_address",
            Excess::Rate => "connects_per_second_per_address",
        }
    }

    /// For the client.
    pub fn reason(self) -> &'static str {
        match self {
            Excess::Connections => "the node has as many connections as it may",
            Excess::PerAddress => "too many connections from your address",
            Excess::Rate => "too many connections from your address in a short time",
        }
    }

    /// Of the answer to a request (RFC 9110 section 15.6.4, RFC 6585 section 4).
    pub fn status(self) -> u16 {
        if self == Excess::Connections { 503 } else { 429 }
    }
}

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    #[default]
    Admitted,
    /// It comes from another process: that depends on its door.
    Unknown,
    /// Its PROXY header is still to come.
    Header,
    /// It is over a limit, and is told so when it has said what it wants.
    TurnedAway(Excess),
}

/// Whom a connection, or the request that it carries, comes from, where that is not the peer of its socket.
#[derive(Debug, Default)]
pub struct Client {
    /// What there is of its PROXY header.
    header: proxy::Reader,
    /// What its PROXY header has said.
    source: Option<proxy::Source>,
    /// What the last request's header has said.
    forwarded: Option<SocketAddr>,
}

impl Client {
    /// What a PROXY header has said, as the header of somebody who says it again, or what has come of it.
    pub fn header(mut self) -> Vec<u8> {
        self.source.map_or_else(|| self.header.take(), proxy::write)
    }
}

/// Connections that came through proxies, by their slots.
#[derive(Debug, Default)]
pub struct Clients(HashMap<u32, Box<Client>, foldhash::fast::RandomState>);

impl Clients {
    /// Forgets a connection and returns what was known of it.
    pub fn take(&mut self, slot: u32) -> Option<Box<Client>> {
        if self.0.is_empty() { None } else { self.0.remove(&slot) }
    }

    /// A connection that another shard knew so.
    pub fn put(&mut self, slot: u32, client: Option<Box<Client>>) {
        if let Some(client) = client {
            self.0.insert(slot, client);
        }
    }

    /// What there is of a PROXY header.
    pub fn header(&mut self, slot: u32) -> &mut proxy::Reader {
        &mut self.0.entry(slot).or_default().header
    }

    /// A PROXY header has said this.
    pub fn set_source(&mut self, slot: u32, source: proxy::Source) {
        self.0.insert(slot, Box::new(Client { source: Some(source), ..Client::default() }));
    }

    /// What the PROXY header of a connection has said.
    pub fn source(&self, slot: u32) -> Option<proxy::Source> {
        self.0.get(&slot)?.source
    }

    /// A request comes from there.
    pub fn set_forwarded(&mut self, slot: u32, address: Option<SocketAddr>) {
        match (self.0.get_mut(&slot), address) {
            (Some(client), _) => client.forwarded = address,
            (None, Some(_)) => {
                self.0.insert(slot, Box::new(Client { forwarded: address, ..Client::default() }));
            }
            (None, None) => {}
        }
    }

    /// Who is at the other end of a connection, looked up when it is printed.
    pub fn peer(&self, slot: u32, fd: RawFd) -> Peer<'_> {
        Peer { fd, client: if self.0.is_empty() { None } else { self.0.get(&slot).map(|client| &**client) } }
    }
}

/// Who is at the other end: whom a proxy has named, else the peer of the socket, looked up when it is printed.
pub struct Peer<'a> {
    fd: RawFd,
    client: Option<&'a Client>,
}

impl Peer<'_> {
    /// The address that the connection comes from, whatever its requests say; none: unix.
    pub fn connected(&self) -> Option<SocketAddr> {
        match self.client.and_then(|client| client.source) {
            Some(proxy::Source::Address(address)) => Some(address),
            Some(proxy::Source::Unix) => None,
            Some(proxy::Source::Peer) | None => peer_address(self.fd),
        }
    }

    /// The address that counts; none: unix.
    pub fn address(&self) -> Option<SocketAddr> {
        self.client.and_then(|client| client.forwarded).or_else(|| self.connected())
    }
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None if self.client.is_some_and(|client| client.source == Some(proxy::Source::Unix)) => {
                f.write_str("unix")
            }
            None => LazyPeer(self.fd).fmt(f),
        }
    }
}
