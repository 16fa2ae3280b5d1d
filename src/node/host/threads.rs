//! Looking at another thread of this process: what the kernel knows of it, and where it is.

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::fs;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the thread `tid` is doing, as the kernel tells it. What may not be read is left out.
pub fn kernel_view(tid: u32) -> String {
    let mut text = String::new();
    for name in ["stat", "wchan", "syscall", "stack"] {
        let Ok(found) = fs::read_to_string(format!("/proc/self/task/{tid}/{name}")) else { continue };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {}", found.trim_end().replace('\n', "\n    "));
    }
    text
}

static CAUGHT: AtomicBool = AtomicBool::new(false);

/// Has the thread `tid` write its backtrace to standard error, and waits for it for at most `wait`. False: it did not
/// come to it.
///
/// The thread never goes on: a backtrace takes locks and memory that the code it interrupts may be holding. That may
/// also keep it from ever coming to its end. To be called only by a process that is about to abort.
pub fn write_backtrace_and_stop(tid: u32, wait: Duration) -> bool {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: all zeros is an action without flags and mask; the handler has the signature of one.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        }
    });
    CAUGHT.store(false, Ordering::Release);
    // SAFETY: sends a signal to one thread of this process; a thread that is gone is an error of the call.
    if unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGUSR1) } < 0 {
        return false;
    }
    let until = Instant::now() + wait;
    while !CAUGHT.load(Ordering::Acquire) {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

extern "C" fn on_signal(_: libc::c_int) {
    eprintln!("{}", Backtrace::force_capture());
    CAUGHT.store(true, Ordering::Release);
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// The number by which the kernel knows the calling thread.
pub fn own_tid() -> u32 {
    // SAFETY: plain system call.
    unsafe { libc::gettid() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_kernel_tells_what_a_thread_waits_for() {
        let (tell, told) = channel();
        let (end, ended) = channel::<()>();
        let waiting = thread::Builder::new().name("waiting-one".into()).spawn(move || {
            tell.send(own_tid()).unwrap();
            let _ = ended.recv();
        });
        let view = kernel_view(told.recv().unwrap());
        assert!(view.contains("stat: ") && view.contains("(waiting-one)"), "{view}");
        drop(end);
        waiting.unwrap().join().unwrap();
        assert_eq!(kernel_view(u32::MAX), "");
    }
}
