//! Listening sockets that somebody else has opened: the process before this one, or a service manager.

use super::listen::{self, Listener, Place};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// Where a listening socket listens.
///
/// # Errors
/// It is no listening stream socket of a kind that the node has.
pub fn place_of(fd: &OwnedFd) -> io::Result<Place> {
    if listen::option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
    }
    let copy = fd.try_clone()?;
    if listen::option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)? == libc::AF_UNIX {
        let address = UnixListener::from(copy).local_addr()?;
        let path = address.as_pathname().map(Into::into);
        return path
            .map(Place::Unix)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a unix socket without a path"));
    }
    TcpListener::from(copy).local_addr().map(Place::Ip)
}

/// Takes over all sockets of one place for `shards` shards. Returns the place and the listeners: the first is the
/// first shard's, and so on in turn. No socket is left out, since connections may be waiting in its queue; where there
/// are more shards than sockets, new ones are bound beside them, or those there are shared.
///
/// # Errors
/// They are no listening sockets, or no further one can be bound.
pub fn adopt(fds: Vec<OwnedFd>, index: u16, shards: usize) -> io::Result<(Place, Vec<Listener>)> {
    let first = fds.first().ok_or(io::ErrorKind::NotFound)?;
    let place = place_of(first)?;
    let Place::Ip(address) = place else {
        let listeners = fds.into_iter().map(|fd| listener(Arc::new(fd), index, true));
        return Ok((place, listeners.collect::<io::Result<_>>()?));
    };
    let mut sockets = Vec::with_capacity(shards.max(fds.len()));
    let mut shareable = true;
    for fd in fds {
        listen::tune(&fd)?;
        shareable &= listen::option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT)? != 0;
        sockets.push(Arc::new(fd));
    }
    let inherited = sockets.len();
    for extra in inherited..shards {
        sockets.push(match shareable {
            true => Arc::new(listen::beside(address)?),
            false => sockets[extra % inherited].clone(),
        });
    }
    let listeners = sockets.into_iter().map(|fd| listener(fd, index, false));
    Ok((place, listeners.collect::<io::Result<_>>()?))
}

fn listener(fd: Arc<OwnedFd>, index: u16, hand_out: bool) -> io::Result<Listener> {
    UnixListener::from(fd.try_clone()?).set_nonblocking(true)?; // a flag of the socket, whatever its kind
    Ok(Listener { fd, index, hand_out, stopped: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn inherited(place: &Place, shards: usize) -> (Place, Vec<OwnedFd>) {
        let (bound, listeners) = listen::bind(place, None, 0, shards).unwrap();
        (bound, listeners.into_iter().map(|l| l.fd.try_clone().unwrap()).collect())
    }

    #[test]
    fn every_socket_is_kept_and_missing_ones_are_added() {
        let any = Place::Ip("127.0.0.1:0".parse().unwrap());
        for (before, after) in [(1, 1), (3, 2), (2, 3)] {
            let (bound, fds) = inherited(&any, before);
            let (place, listeners) = adopt(fds, 4, after).unwrap();
            assert_eq!((&place, listeners.len()), (&bound, before.max(after)));
            assert!(listeners.iter().all(|l| l.index == 4 && !l.hand_out));
            assert!(listeners.iter().all(|l| place_of(&l.fd).unwrap() == bound));
        }
    }

    #[test]
    fn a_socket_that_cannot_have_others_beside_it_is_shared() {
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alone.local_addr().unwrap();
        let (place, listeners) = adopt(vec![alone.into()], 0, 3).unwrap();
        assert_eq!((place, listeners.len()), (Place::Ip(address), 3));
        assert!(Arc::ptr_eq(&listeners[0].fd, &listeners[2].fd));
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        assert!(adopt(vec![stream.into()], 0, 1).is_err());
        assert!(adopt(Vec::new(), 0, 1).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(place_of(&file.into()).is_err());
    }
}
