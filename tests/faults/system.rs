//! What the faults ask of the operating system.

use crate::frame::PATIENCE;
use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

fn set<T>(socket: &TcpStream, level: i32, name: i32, value: &T) {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is alive and as long as it is said to be; the descriptor is borrowed for the call.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (value as *const T).cast(), length) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Its end will be a reset: nothing of it stays in TIME_WAIT.
pub fn reset_on_close(socket: &TcpStream) {
    set(socket, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 });
}

/// A connection for which the kernel takes no more than about `bytes` while nobody reads; it says so from the start.
pub fn connect_with_buffer(address: &str, bytes: i32) -> TcpStream {
    let SocketAddr::V4(address) = address.parse().unwrap() else { panic!("{address}") };
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        TcpStream::from_raw_fd(fd)
    };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes);
    let place = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the address is alive during the call and as long as it is said to be.
    let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const place).cast(), length) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// From now on the peer is dead as seen from the other end: every packet that comes for it is dropped before TCP sees
/// it, so nothing is acknowledged, answered or reset.
pub fn vanish(socket: &TcpStream) {
    let mut nothing = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }]; // return 0 bytes of the packet
    let program = libc::sock_fprog { len: 1, filter: nothing.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program);
}

/// Raises this process's limit of open files as far as it goes; returns it.
pub fn raise_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is alive during both calls, which concern this process only.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    limit.rlim_max as usize
}

/// The program will get `errno` whenever it asks for a ring.
pub fn without_rings(command: &mut Command, errno: i32) {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let op = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let filter = [
        op(LOAD_WORD, 0, 0), // the number of the system call
        libc::sock_filter { jf: 1, ..op(JUMP_EQUAL, 0, libc::SYS_io_uring_setup as u32) },
        op(RETURN, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        op(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let mut filter = filter;
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: two system calls; the program is alive and the kernel copies it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(install) };
}
