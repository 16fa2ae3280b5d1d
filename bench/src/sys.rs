//! The system calls that std has no safe form for. All `unsafe` of the client is in this file; the floor's ring
//! has its own in `floor/ring.rs`.

use std::io::{self, Read};
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Pins the calling thread to one CPU core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: cpu_set_t is plain bits, for which all zero is a value; the index was checked above; the size
    // given is the size of the set the kernel reads.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        checked(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set))?;
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one and returns it.
pub fn raise_fd_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write exactly one rlimit, which lives on this stack.
    unsafe {
        checked(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        checked(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))?;
    }
    Ok(limit.rlim_cur)
}

/// Sleeps of this thread end within a microsecond of their time instead of the default 50.
pub fn tighten_timer_slack() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000) };
}

/// CPU time of all threads of a process, nanoseconds, those running now included.
pub fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the clock id is written to a local of the right type.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    clock_ns(clock)
}

/// CPU time of the calling thread, nanoseconds.
pub fn thread_cpu_ns() -> io::Result<u64> {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written to a local of the right type.
    checked(unsafe { libc::clock_gettime(clock, &mut time) })?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Length of a kernel clock tick as `/proc/stat` counts it, nanoseconds.
pub fn tick_ns() -> u64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / per_second.max(1) as u64
}

/// Makes `command` start pinned to `core`, without transparent huge pages (they make memory grow in steps of
/// 2 MiB), with all the file descriptors it may have, and end when the calling thread ends.
pub fn prepare_server(command: &mut Command, core: usize) {
    let hook = move || {
        pin_to_core(core)?;
        raise_fd_limit()?;
        // SAFETY: both options take integers only.
        unsafe {
            checked(libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0))?;
            checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0))?;
        }
        Ok(())
    };
    // SAFETY: the hook only makes system calls; it neither allocates nor takes locks, as is asked of code
    // between fork and exec.
    unsafe { command.pre_exec(hook) };
    command.process_group(0);
}

/// Sends a signal to the process group that `prepare_server` made.
pub fn signal_group(leader: u32, signal: libc::c_int) {
    // SAFETY: kill touches no memory of ours.
    unsafe { libc::kill(-(leader as libc::pid_t), signal) };
}

/// Sends a signal to one process.
pub fn signal_process(pid: u32, signal: libc::c_int) {
    // SAFETY: kill touches no memory of ours.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

fn to_sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn set_flag(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    set_number(fd, level, name, 1)
}

fn set_number(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option value is a local int and its size is given.
    let result = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<libc::c_int>() as u32)
    };
    checked(result).map(drop)
}

/// Closing `fd` resets the connection: nothing of it stays behind in the kernel.
pub fn reset_on_close(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the option value is a local linger and its size is given.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size) };
    checked(result).map(drop)
}

/// Gives a listening socket the longest queue the system allows.
pub fn lengthen_backlog(fd: RawFd) -> io::Result<()> {
    // SAFETY: listen takes integers only.
    checked(unsafe { libc::listen(fd, libc::c_int::from(u16::MAX)) }).map(drop)
}

/// A blocking TCP connection to `target` from the address `source`. The local port is chosen at connect time, so
/// each source address has the whole port range for itself.
pub fn connect_from(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<OwnedFd> {
    let (socket, _) = connect_socket(source, target, 0, None)?;
    Ok(socket)
}

/// The same with a receive buffer of `bytes`, which the kernel doubles and never grows.
pub fn connect_small_from(source: Ipv4Addr, target: SocketAddrV4, bytes: usize) -> io::Result<OwnedFd> {
    let (socket, _) = connect_socket(source, target, 0, Some(bytes))?;
    Ok(socket)
}

/// Begins a TCP connection as `connect_from` makes one, without waiting for it. The second value tells whether it is
/// there already; otherwise the socket becomes writable when it is, or when `take_error` tells why not.
pub fn begin_connect_from(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<(OwnedFd, bool)> {
    connect_socket(source, target, libc::SOCK_NONBLOCK, None)
}

fn connect_socket(
    source: Ipv4Addr,
    target: SocketAddrV4,
    flags: libc::c_int,
    receive_buffer: Option<usize>,
) -> io::Result<(OwnedFd, bool)> {
    const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let (local, remote) = (to_sockaddr(SocketAddrV4::new(source, 0)), to_sockaddr(target));
    // SAFETY: a fresh descriptor is owned by nobody else; the addresses are locals of the length given.
    let socket = unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
        let fd = checked(libc::socket(libc::AF_INET, kind, 0))?;
        OwnedFd::from_raw_fd(fd)
    };
    let fd = socket.as_raw_fd();
    set_flag(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
    set_flag(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    if let Some(bytes) = receive_buffer {
        // Before the handshake: the window that it offers is not taken back later.
        let bytes = bytes.min(libc::c_int::MAX as usize) as libc::c_int;
        set_number(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)?;
    }
    // SAFETY: as above.
    let connected = unsafe {
        checked(libc::bind(fd, (&raw const local).cast(), LENGTH))?;
        checked(libc::connect(fd, (&raw const remote).cast(), LENGTH))
    };
    match connected {
        Ok(_) => Ok((socket, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

/// What a read that does not wait found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes; never 0.
    Bytes(usize),
    /// Nothing there now.
    Nothing,
    /// The peer has closed.
    Closed,
}

/// Reads what comes. A read with a time limit is not begun again by itself when a signal interrupts it.
pub fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads what is there without waiting.
pub fn recv_now(fd: RawFd, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes to a buffer we hold exclusively.
    let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    match got {
        1.. => Ok(Received::Bytes(got as usize)),
        0 => Ok(Received::Closed),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            error if error.kind() == io::ErrorKind::Interrupted => Ok(Received::Nothing),
            error => Err(error),
        },
    }
}

/// Sends without waiting; returns how many bytes the socket took, 0 if it is full.
pub fn send_now(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads at most `bytes.len()` bytes of a slice that outlives the call.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    if sent >= 0 {
        return Ok(sent as usize);
    }
    match io::Error::last_os_error() {
        error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        error => Err(error),
    }
}

/// Sends all of `bytes`, waiting for room where the socket is full. False if it stays full for `timeout`, or fails.
pub fn send_all(fd: RawFd, mut bytes: &[u8], timeout: Duration) -> bool {
    while !bytes.is_empty() {
        match send_now(fd, bytes) {
            Ok(0) => {
                if !matches!(wait_ready(fd, libc::POLLOUT, timeout), Ok(true)) {
                    return false;
                }
            }
            Ok(sent) => bytes = &bytes[sent..],
            Err(_) => return false,
        }
    }
    true
}

/// Waits until `fd` is ready for `events` (poll(2) bits). False when the time is over.
pub fn wait_ready(fd: RawFd, events: i16, timeout: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    let millis = timeout.as_millis().min(i32::MAX as u128) as i32;
    // SAFETY: one pollfd on this stack, count 1.
    match checked(unsafe { libc::poll(&mut entry, 1, millis) }) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

/// A level-triggered epoll instance for input, with a tag of the caller's per descriptor.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// At most `batch` descriptors are told per wait.
    pub fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: a fresh descriptor is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Epoll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; batch.max(1)] })
    }

    /// Watches `fd` for input. A closed descriptor leaves by itself.
    pub fn add(&self, fd: RawFd, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, tag)
    }

    /// Watches `fd` for room to write, which for a connection under way means its end.
    pub fn add_for_output(&self, fd: RawFd, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLOUT, tag)
    }

    /// Watches `fd` for input from now on, not for room to write.
    pub fn change_to_input(&self, fd: RawFd, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, libc::EPOLLIN, tag)
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, events: libc::c_int, tag: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: tag };
        // SAFETY: the event is a local the kernel only reads during the call.
        checked(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }

    /// Waits, appends the tags of what is ready to `tags`, and returns how many those are. `None` waits for ever.
    /// Needs Linux 5.11: timeouts are not rounded to milliseconds.
    pub fn wait(&mut self, timeout: Option<Duration>, tags: &mut Vec<u64>) -> io::Result<usize> {
        let room = self.events.len().min(i32::MAX as usize) as libc::c_int;
        let time = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().min(1 << 30) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(std::ptr::null(), |time| time as *const libc::timespec);
        // SAFETY: the kernel writes at most `room` events to a vector of at least that length and reads a timespec that
        // outlives the call; without a signal mask the size of one is not looked at.
        let result = unsafe {
            let (epoll, events) = (self.fd.as_raw_fd(), self.events.as_mut_ptr());
            let mask: *const libc::sigset_t = std::ptr::null();
            libc::syscall(libc::SYS_epoll_pwait2, epoll, events, room, time, mask, 0usize) as libc::c_int
        };
        match checked(result) {
            Ok(ready) => {
                tags.extend(self.events[..ready as usize].iter().map(|event| event.u64));
                Ok(ready as usize)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }
}
