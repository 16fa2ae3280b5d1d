//! What the node asks of the operating system besides sockets: descriptor limits, signals, processors, randomness.

use std::fs::File;
use std::io::{self, Read};

/// Raises the soft limit of open files to the hard one. Returns the limit then in force.
pub fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: as above.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// Signals that stop the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl Signal {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
        }
    }
}

/// The signals of the node, waited for by one thread. SIGPIPE is ignored.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks them for this thread and those that it starts from now on: they come to [`Signals::wait`] only.
    pub fn block() -> Signals {
        // SAFETY: sigset_t is plain data, filled in by sigemptyset; the calls concern this process's signals only.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            Signals(set)
        }
    }

    /// Waits for the next one.
    pub fn wait(&self) -> Signal {
        loop {
            let mut number = 0;
            // SAFETY: both pointers are live.
            let result = unsafe { libc::sigwait(&self.0, &mut number) };
            match number {
                libc::SIGINT if result == 0 => return Signal::Interrupt,
                libc::SIGTERM if result == 0 => return Signal::Terminate,
                _ => {}
            }
        }
    }
}

/// The processors this process may use.
pub fn processors() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain data, filled in by the call.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    };
    // SAFETY: the index is below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Fills `bytes` with randomness fit for keys.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}
