//! Descriptors that travel between processes: a channel of records with descriptors beside them, and what was inherited.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Room for one descriptor beside a record.
const CONTROL_BYTES: usize = 32;

/// One end of a connection between two processes that keeps the bounds of records, each with at most one descriptor.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What was received.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the record; 0: the other end is closed.
    pub len: usize,
    /// The descriptor that came with it, close-on-exec.
    pub fd: Option<OwnedFd>,
}

impl Channel {
    /// Both ends, close-on-exec.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let mut fds = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: the array has room for both descriptors, which nobody else owns.
        unsafe {
            if libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok((Channel(OwnedFd::from_raw_fd(fds[0])), Channel(OwnedFd::from_raw_fd(fds[1]))))
        }
    }

    /// A duplicate that processes started from now on inherit, until it is dropped.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn inheritable(&self) -> io::Result<OwnedFd> {
        // SAFETY: a duplicate of a descriptor we own; nobody else owns the new one.
        unsafe {
            let fd = libc::fcntl(self.0.as_raw_fd(), libc::F_DUPFD, 3);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
        }
    }

    /// Takes over an inherited end. Call once, before anything else opens descriptors.
    ///
    /// # Errors
    /// The descriptor is not such an end.
    pub fn inherited(fd: RawFd) -> io::Result<Channel> {
        let (mut kind, mut len) = (0i32, size_of::<i32>() as u32);
        // SAFETY: `kind` and `len` are live; a descriptor that is none is an error of the call.
        let asked = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut len)
        };
        if fd < 3 || asked < 0 || kind != libc::SOCK_SEQPACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a channel of records"));
        }
        close_on_exec(fd)?;
        // SAFETY: it was left to this process by the one that started it, and is a socket of that kind.
        Ok(Channel(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sending fails when the other end has taken nothing for so long.
    ///
    /// # Errors
    /// Of the system.
    pub fn set_send_timeout(&self, after: Duration) -> io::Result<()> {
        let time = libc::timeval {
            tv_sec: after.as_secs() as libc::time_t,
            tv_usec: libc::suseconds_t::from(after.subsec_micros()),
        };
        let size = size_of::<libc::timeval>() as u32;
        // SAFETY: `time` is a live timeval of `size` bytes.
        let set = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDTIMEO,
                (&raw const time).cast(),
                size,
            )
        };
        if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends one record, which must not be empty, waiting for room.
    ///
    /// # Errors
    /// The other end is closed, or takes nothing.
    pub fn send(&self, record: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut control = Control::default();
        let mut vector = libc::iovec { iov_base: record.as_ptr().cast_mut().cast(), iov_len: record.len() };
        loop {
            // SAFETY: all zeros is a message without anything; everything put into it lives through the call. The
            // control buffer has room for one descriptor behind its head, and is aligned for it.
            let sent = unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = &raw mut vector;
                message.msg_iovlen = 1;
                if let Some(fd) = fd {
                    message.msg_control = control.0.as_mut_ptr().cast();
                    message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
                    let head = libc::CMSG_FIRSTHDR(&message);
                    (*head).cmsg_level = libc::SOL_SOCKET;
                    (*head).cmsg_type = libc::SCM_RIGHTS;
                    (*head).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
                    libc::CMSG_DATA(head).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
                }
                libc::sendmsg(self.0.as_raw_fd(), &message, libc::MSG_NOSIGNAL)
            };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Receives the next record into `into`, waiting for it for at most `wait` (`None`: for ever).
    ///
    /// # Errors
    /// `TimedOut` when none came; `InvalidData` when the record is larger than `into`.
    pub fn receive(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<Received> {
        let millis = wait.map_or(-1, |wait| i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        match unsafe { libc::poll(&raw mut poll, 1, millis) } {
            0 => return Err(io::ErrorKind::TimedOut.into()),
            count if count < 0 => return Err(io::Error::last_os_error()),
            _ => {}
        }
        let mut control = Control::default();
        let mut vector = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        // SAFETY: as in `send`; the kernel writes at most what both buffers hold. With room for one descriptor it
        // makes no more than one (and says MSG_CTRUNC), which is new, and nobody else owns it.
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            let len = libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
            if len < 0 {
                return Err(io::Error::last_os_error());
            }
            let head = libc::CMSG_FIRSTHDR(&message);
            let has_fd = !head.is_null()
                && (*head).cmsg_level == libc::SOL_SOCKET
                && (*head).cmsg_type == libc::SCM_RIGHTS;
            let fd =
                has_fd.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(head).cast::<RawFd>().read_unaligned()));
            if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a record does not fit, or its descriptor cannot be had",
                ));
            }
            Ok(Received { len: len as usize, fd })
        }
    }
}

/// Where a descriptor beside a record stands, aligned as its head wants it.
#[repr(C, align(8))]
#[derive(Default)]
struct Control([u8; CONTROL_BYTES]);

fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: changes a flag of the descriptor only.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes over `count` inherited descriptors from number 3 on, as `sd_listen_fds(3)` does. Call once, before anything
/// else opens descriptors.
///
/// # Errors
/// One of them is not open.
pub fn inherited_from_three(count: u32) -> io::Result<Vec<OwnedFd>> {
    let take = |fd: RawFd| {
        close_on_exec(fd)?;
        // SAFETY: it is open, and was left to this process by the one that started it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    (3..3 + count as RawFd).map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const SOON: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn records_keep_their_bounds_and_descriptors_travel() {
        let (a, b) = Channel::pair().unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        a.send(b"one", None).unwrap();
        a.send(b"two", Some(theirs.as_fd())).unwrap();
        drop(theirs);
        let mut room = [0; 8];
        let first = b.receive(&mut room, SOON).unwrap();
        assert_eq!((first.len, first.fd.is_none(), &room[..3]), (3, true, &b"one"[..]));
        let second = b.receive(&mut room, SOON).unwrap();
        assert_eq!((second.len, &room[..3]), (3, &b"two"[..]));
        ours.write_all(b"x").unwrap();
        let mut got = [0; 1];
        UnixStream::from(second.fd.unwrap()).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"x");
    }

    #[test]
    fn silence_too_long_records_and_the_end_are_told() {
        let (a, b) = Channel::pair().unwrap();
        let mut room = [0; 4];
        let none = b.receive(&mut room, Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::TimedOut);
        a.send(b"too long", None).unwrap();
        assert_eq!(b.receive(&mut room, SOON).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert_eq!(b.receive(&mut room, SOON).unwrap().len, 0);
        assert!(b.send(b"x", None).is_err());
    }

    #[test]
    fn who_takes_nothing_is_not_waited_for() {
        let (a, _b) = Channel::pair().unwrap();
        a.set_send_timeout(Duration::from_millis(10)).unwrap();
        let record = vec![0; 64 * 1024];
        let stuck = (0..1000).find_map(|_| a.send(&record, None).err()).unwrap();
        assert_eq!(stuck.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn only_a_channel_is_taken_for_one() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let fd = stream.as_raw_fd();
        assert!(Channel::inherited(fd).is_err() && Channel::inherited(-1).is_err());
        let (a, b) = Channel::pair().unwrap();
        let copy = a.inheritable().unwrap();
        let taken = Channel::inherited(std::os::fd::IntoRawFd::into_raw_fd(copy)).unwrap();
        taken.send(b"x", None).unwrap();
        assert_eq!(b.receive(&mut [0; 4], SOON).unwrap().len, 1);
    }
}
