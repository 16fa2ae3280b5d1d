//! What the node asks of the operating system besides sockets: descriptor limits, signals, processors, randomness.

pub mod fds;
pub mod threads;

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

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

/// Signals that the node acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop.
    Terminate,
    /// SIGINT: stop.
    Interrupt,
    /// SIGHUP: read files again, see [`super::reload`].
    Reload,
    /// SIGUSR2: hand over to a new process of the program.
    Upgrade,
}

impl Signal {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Reload => "SIGHUP",
            Signal::Upgrade => "SIGUSR2",
        }
    }

    /// Whether it asks the node to stop.
    pub fn stops(self) -> bool {
        matches!(self, Signal::Terminate | Signal::Interrupt)
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
            for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR2] {
                libc::sigaddset(&mut set, number);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            // A file over RLIMIT_FSIZE is an error of the store, and no reason to die.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Signals(set)
        }
    }

    /// Waits for the next one.
    pub fn wait(&self) -> Signal {
        loop {
            if let Some(signal) = self.wait_for(Duration::from_secs(3600)) {
                return signal;
            }
        }
    }

    /// Waits for the next one for at most `time`.
    pub fn wait_for(&self, time: Duration) -> Option<Signal> {
        let time = libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(time.subsec_nanos()),
        };
        // SAFETY: set and time are live; nothing more is asked about the signal.
        match unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), &raw const time) } {
            libc::SIGINT => Some(Signal::Interrupt),
            libc::SIGTERM => Some(Signal::Terminate),
            libc::SIGHUP => Some(Signal::Reload),
            libc::SIGUSR2 => Some(Signal::Upgrade),
            _ => None,
        }
    }
}

/// Microseconds of CLOCK_MONOTONIC, as other programs on this machine count them.
pub fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is live.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
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
