//! Listening sockets. What is set here is inherited by every accepted connection, at no cost per connection.

use crate::limits::{LISTEN_BACKLOG, NODE_PEER_PROBES, NOTSENT_LOWAT_BYTES};
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Ip(address) => address.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One shard's listening socket of one place.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The socket.
    pub fd: Arc<OwnedFd>,
    /// Its number in the configuration's order.
    pub index: u16,
    /// Connections are handed to all shards in turn: a unix socket has no SO_REUSEPORT.
    pub hand_out: bool,
    /// Accepting has stopped and is tried again at the next tick.
    pub stopped: bool,
}

impl Place {
    /// Has the kernel find dead peers of connections that come in by `listeners` of this place from now on: those of
    /// held polls and streams send nothing, so nothing else would. Idle connections are asked by keepalive; where
    /// something is unacknowledged (TCP asks no questions then, and would try for a quarter of an hour) or the peer's
    /// window stays closed, the user timeout (RFC 5482) ends it.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn find_dead_peers(&self, listeners: &[Listener], timeout_ms: u64) -> io::Result<()> {
        if matches!(self, Place::Unix(_)) {
            return Ok(()); // the kernel knows when a peer on the same machine is gone
        }
        let seconds = |ms: u64| (ms / 1000).max(1) as i32;
        for fd in listeners.iter().map(|listener| &listener.fd) {
            set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
            set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds(timeout_ms / 2))?;
            set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, seconds(timeout_ms / 2 / NODE_PEER_PROBES))?;
            set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, NODE_PEER_PROBES as i32)?;
            set(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, timeout_ms as i32)?;
        }
        Ok(())
    }
}

/// Binds `place` once for each of `shards`. Returns the place as bound (port 0 becomes a number) and the listeners,
/// one per shard; of a unix socket only the first shard gets one. `mode` are the permissions of a unix socket's file, which
/// it has before anybody can connect; none: what the umask leaves.
///
/// Errors: the address is in use (also by another node: SO_REUSEPORT alone would share it silently), not available
/// or not allowed.
pub fn bind(
    place: &Place,
    mode: Option<u32>,
    index: u16,
    shards: usize,
) -> io::Result<(Place, Vec<Listener>)> {
    match place {
        Place::Ip(address) => bind_ip(*address, index, shards),
        Place::Unix(path) => bind_unix(path.clone(), mode, index),
    }
}

fn bind_ip(address: SocketAddr, index: u16, shards: usize) -> io::Result<(Place, Vec<Listener>)> {
    // Alone first: this fails when anybody at all has the port.
    let probe = socket(address, false)?;
    let bound = local_address(&probe, address)?;
    drop(probe);
    let mut listeners = Vec::with_capacity(shards);
    for _ in 0..shards {
        let fd = socket(bound, true)?;
        listen(&fd)?;
        listeners.push(Listener { fd: Arc::new(fd), index, hand_out: false, stopped: false });
    }
    Ok((Place::Ip(bound), listeners))
}

fn bind_unix(path: PathBuf, mode: Option<u32>, index: u16) -> io::Result<(Place, Vec<Listener>)> {
    if path.exists() {
        // A socket file that nobody listens on is left over from a killed node.
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        std::fs::remove_file(&path)?;
    }
    let fd = unix_socket(&path, mode)?;
    Ok((Place::Unix(path), vec![Listener { fd: Arc::new(fd), index, hand_out: true, stopped: false }]))
}

fn unix_socket(path: &Path, mode: Option<u32>) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain system call; the descriptor it returns is owned by nobody else.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_UNIX, kind, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    if let Some(mode) = mode {
        // The file gets what the socket has, less the umask: never more than is wanted.
        // SAFETY: a call on a descriptor we own.
        if unsafe { libc::fchmod(fd.as_raw_fd(), mode) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: sockaddr_un is plain data for which all zeros is valid.
    let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.len() >= raw.sun_path.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename));
    }
    raw.sun_family = libc::AF_UNIX as u16;
    for (place, byte) in raw.sun_path.iter_mut().zip(bytes) {
        *place = *byte as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as u32;
    // SAFETY: `raw` is a live sockaddr_un of `len` bytes.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw as *const libc::sockaddr_un).cast(), len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // What the umask took comes back. Until listen(2) nobody can connect.
    let permitted = mode.map_or(Ok(()), |mode| fs::set_permissions(path, Permissions::from_mode(mode)));
    let listens = permitted.and_then(|()| {
        // SAFETY: a listening call on a descriptor we own.
        if unsafe { libc::listen(fd.as_raw_fd(), LISTEN_BACKLOG) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    });
    listens.inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok(fd)
}

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain system call; the descriptor it returns is owned by nobody else.
    let fd = unsafe {
        let fd = libc::socket(family, kind, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    set(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if reuse_port {
        set(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if address.is_ipv6() {
        set(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    tune(&fd)?;
    let (raw, len) = raw_address(address);
    // SAFETY: `raw` is a live sockaddr_storage of which `len` bytes are filled in.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw as *const libc::sockaddr_storage).cast(), len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// One more listening socket on an address whose others let it, as [`bind`] makes them.
pub(super) fn beside(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket(address, true)?;
    listen(&fd)?;
    Ok(fd)
}

fn listen(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: a listening call on a descriptor we own.
    if unsafe { libc::listen(fd.as_raw_fd(), LISTEN_BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets what accepted connections inherit.
pub(super) fn tune(fd: &OwnedFd) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
}

/// Reads an option that is a number.
pub(super) fn option(fd: &OwnedFd, level: i32, name: i32) -> io::Result<i32> {
    let (mut value, mut size) = (0, size_of::<i32>() as u32);
    // SAFETY: `value` is a live int of `size` bytes.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

fn set(fd: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as u32;
    // SAFETY: `value` is a live int of `size` bytes.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&value as *const i32).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: sockaddr_storage is plain data for which all zeros is valid.
    let mut raw: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let len = match address {
        SocketAddr::V4(v4) => {
            let short = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is larger than and aligned for every sockaddr.
            unsafe { (&raw mut raw).cast::<libc::sockaddr_in>().write(short) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let long = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut raw).cast::<libc::sockaddr_in6>().write(long) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (raw, len as u32)
}

fn local_address(fd: &OwnedFd, asked: SocketAddr) -> io::Result<SocketAddr> {
    if asked.port() != 0 {
        return Ok(asked);
    }
    // std reads the address back; the duplicate is closed with the listener it is wrapped in.
    std::net::TcpListener::from(fd.try_clone()?).local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_an_error_even_for_ourselves() {
        let any = Place::Ip("127.0.0.1:0".parse().unwrap());
        let (bound, listeners) = bind(&any, None, 0, 3).unwrap();
        assert_eq!(listeners.len(), 3);
        let again = bind(&bound, None, 0, 1).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("fanwire-listen-{}", std::process::id()));
        let place = Place::Unix(path.clone());
        let (_, live) = bind(&place, None, 0, 1).unwrap();
        assert_eq!(bind(&place, None, 0, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(bind(&place, None, 0, 1).is_ok());
        let _ = std::fs::remove_file(path);
    }

    #[test]
    fn a_unix_socket_has_the_permissions_it_was_given() {
        for mode in [0o600, 0o660, 0o666, 0o007] {
            let path = std::env::temp_dir().join(format!("fanwire-mode-{mode:o}-{}", std::process::id()));
            let _listener = bind(&Place::Unix(path.clone()), Some(mode), 0, 1).unwrap();
            let has = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(has, mode, "{mode:o}");
            let _ = fs::remove_file(path);
        }
    }
}
