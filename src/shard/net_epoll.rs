//! The net ring's twin on epoll, for kernels or sandboxes without io_uring. Edge-triggered, so that the code above
//! sees the same events.

use crate::limits::EPOLL_EVENTS;
use crate::shard::net::{Event, Key};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const TAG_CONNECTION: u64 = 0;
const TAG_LISTENER: u64 = 1;
const TAG_WAKER: u64 = 2;

/// An epoll instance with a shard's listeners, connections and wake-up eventfd in it.
pub struct EpollNet {
    epoll: OwnedFd,
    listeners: Vec<RawFd>,
    events: Vec<libc::epoll_event>,
    /// The last wait filled the buffer: there is more.
    more: bool,
}

impl EpollNet {
    /// A new instance; `waker` becomes readable when other threads want the shard.
    pub fn new(waker: BorrowedFd<'_>) -> io::Result<EpollNet> {
        // SAFETY: plain system call; the descriptor it returns is owned by nobody else.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let mut net = EpollNet { epoll, listeners: Vec::new(), events: Vec::new(), more: false };
        net.events.reserve_exact(EPOLL_EVENTS);
        net.control(libc::EPOLL_CTL_ADD, waker.as_raw_fd(), libc::EPOLLIN, TAG_WAKER << 56)?;
        Ok(net)
    }

    /// The descriptor that is readable when something has happened.
    pub fn fd(&self) -> &OwnedFd {
        &self.epoll
    }

    fn control(&self, operation: i32, fd: RawFd, events: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: `event` lives through the call; the kernel copies it.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Watches a listening socket; connections are accepted as they come.
    pub fn listen(&mut self, fd: RawFd, listener: u16) -> io::Result<()> {
        let data = TAG_LISTENER << 56 | u64::from(listener);
        let at = listener as usize;
        if self.listeners.len() <= at {
            self.listeners.resize(at + 1, -1);
        }
        if self.listeners[at] == fd {
            return self.control(libc::EPOLL_CTL_MOD, fd, libc::EPOLLIN | libc::EPOLLET, data);
        }
        self.listeners[at] = fd;
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN | libc::EPOLLET, data)
    }

    /// Stops watching a listening socket.
    pub fn unlisten(&mut self, listener: u16) {
        if let Some(fd) = self.listeners.get_mut(listener as usize) {
            let fd = std::mem::replace(fd, -1);
            let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
        }
    }

    /// Watches a connection for input, and for room to write from the start: edges cost nothing until they happen.
    pub fn register(&mut self, fd: RawFd, key: Key) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, fd, events, key.pack(TAG_CONNECTION))
    }

    /// Stops watching a connection that lives on elsewhere.
    pub fn unregister(&mut self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// Takes what has happened.
    pub fn turn(&mut self, out: &mut Vec<Event>) {
        // SAFETY: the buffer has room for EPOLL_EVENTS entries and the kernel writes at most that many; what it
        // wrote is initialised, and epoll_event is plain data.
        unsafe {
            let count = libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.capacity() as i32,
                0,
            );
            self.events.set_len(count.max(0) as usize);
        }
        self.more = self.events.len() == self.events.capacity();
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let (data, bits) = (event.u64, event.events as i32);
            match data >> 56 {
                TAG_LISTENER => self.accept(data as u16, out),
                TAG_WAKER => {}
                _ => {
                    let key = Key::unpack(data);
                    let hangup = bits & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0;
                    if bits & libc::EPOLLOUT != 0 {
                        out.push(Event::Writable { key });
                    }
                    if bits & libc::EPOLLIN != 0 || hangup {
                        out.push(Event::Readable { key, hangup });
                    }
                }
            }
        }
        self.events = events;
    }

    fn accept(&mut self, listener: u16, out: &mut Vec<Event>) {
        let Some(&fd) = self.listeners.get(listener as usize) else { return };
        if fd < 0 {
            return;
        }
        loop {
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: no address is asked for, so the pointers may be null.
            let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
            if accepted >= 0 {
                out.push(Event::Accepted { listener, fd: accepted });
                continue;
            }
            match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                libc::EAGAIN => return,
                libc::EINTR | libc::ECONNABORTED => {}
                errno => {
                    out.push(Event::AcceptFailed { listener, errno });
                    return;
                }
            }
        }
    }

    /// Whether another turn would find something.
    pub fn pending(&self) -> bool {
        self.more
    }
}
