//! The end of a run that does not end by itself, and signs of life from one that takes long.
//!
//! Both come from threads of their own, so that a server that hangs, or a scenario that waits for it, holds up neither.

use crate::procfs::ProcessTree;
use crate::sys;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Limit of a scenario that says nothing about its length.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(600);
/// A phase without news for so long gives a sign of life, and another one each time that long after it.
const SIGN_EVERY: Duration = Duration::from_secs(4);
/// How often the threads look.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Servers have so long to leave after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The reason has so long to be written: nobody may be reading it.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

static STATE: Mutex<State> =
    Mutex::new(State { deadline: None, fixed: false, news: String::new(), since: None });
/// How far the phase is, and what it is out of; 0 where it cannot be counted.
static DONE: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);

struct State {
    deadline: Option<Instant>,
    /// The limit was asked for: scenarios do not move it.
    fixed: bool,
    /// What was told last.
    news: String,
    since: Option<Instant>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process with a reason and status 1 when `limit` is over, [`DEFAULT_LIMIT`] if there is none, and the servers
/// it has started with it. Tells on stderr what takes long meanwhile.
pub fn guard(limit: Option<Duration>) {
    let begun = Instant::now();
    {
        let mut state = state();
        state.deadline = Some(begun + limit.unwrap_or(DEFAULT_LIMIT));
        state.fixed = limit.is_some();
    }
    thread::spawn(move || {
        loop {
            sleep(LOOK_EVERY);
            let deadline = state().deadline;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                end(begun.elapsed());
            }
        }
    });
    thread::spawn(|| {
        let mut signs = 0;
        loop {
            sleep(LOOK_EVERY);
            // Not told with the lock held: the reader of stderr may be slow.
            if let Some(line) = sign(&state(), &mut signs) {
                eprintln!("{line}");
            }
        }
    });
}

/// A scenario plans to work for `time`: the default limit counts from the end of that.
pub fn plan(time: Duration) {
    let mut state = state();
    if !state.fixed {
        state.deadline = Some(Instant::now() + time + DEFAULT_LIMIT);
    }
}

/// Something has been told just now; signs of life repeat it.
pub fn note(text: &str) {
    enter(text, 0);
}

/// A phase begins that comes to its end when `at` is `total`. It ends with the next phase or note.
pub fn phase(text: &str, total: usize) {
    enter(text, total);
}

fn enter(text: &str, total: usize) {
    let mut state = state();
    state.news = text.trim().to_owned();
    state.since = Some(Instant::now());
    DONE.store(0, Ordering::Relaxed);
    TOTAL.store(total, Ordering::Relaxed);
}

/// How far the phase is.
pub fn at(done: usize) {
    DONE.store(done, Ordering::Relaxed);
}

/// What is going on, with how far it is.
fn describe(state: &State) -> String {
    match (DONE.load(Ordering::Relaxed), TOTAL.load(Ordering::Relaxed)) {
        (_, 0) => state.news.clone(),
        (done, total) => format!("{}: {done} of {total}", state.news),
    }
}

/// The next sign of life if it is due; `signs` is how many this phase has had.
fn sign(state: &State, signs: &mut u32) -> Option<String> {
    let seconds = state.since?.elapsed();
    let due = (seconds.as_nanos() / SIGN_EVERY.as_nanos()) as u32;
    let sign = (due > *signs).then(|| {
        let word = if TOTAL.load(Ordering::Relaxed) > 0 { "after" } else { "still, after" };
        format!("    {} {word} {:.0} s", describe(state), seconds.as_secs_f64())
    });
    *signs = due;
    sign
}

fn end(after: Duration) -> ! {
    let what = describe(&state());
    let stopped = stop_children();
    let reason = format!(
        "fanwire-bench: the time limit is over after {:.1} s (--time-limit SECONDS moves it); last: {what}; {}",
        after.as_secs_f64(),
        match stopped {
            Ok(0) => "no process was to be stopped".to_owned(),
            Ok(count) => format!("stopped {count} processes"),
            Err(error) => format!("could not find the processes to stop: {error}"),
        }
    );
    let (told, done) = mpsc::channel();
    thread::spawn(move || {
        eprintln!("{reason}");
        let _ = told.send(());
    });
    let _ = done.recv_timeout(REASON_TIMEOUT);
    std::process::exit(1)
}

/// Stops all processes below this one; returns how many those were.
fn stop_children() -> std::io::Result<usize> {
    let own = std::process::id();
    // The core only matters for CPU time.
    let tree = ProcessTree::of(own, 0)?;
    let children: Vec<u32> = tree.pids().iter().copied().filter(|&pid| pid != own).collect();
    for &pid in &children {
        sys::signal_process(pid, libc::SIGTERM);
        // One that is paused would not hear it.
        sys::signal_process(pid, libc::SIGCONT);
    }
    let begun = Instant::now();
    while begun.elapsed() < STOP_TIMEOUT && children.iter().any(|&pid| ProcessTree::is_running(pid)) {
        sleep(Duration::from_millis(10));
    }
    for &pid in children.iter().filter(|&&pid| ProcessTree::is_running(pid)) {
        sys::signal_process(pid, libc::SIGKILL);
    }
    // Servers write their output to files named after this process; who would have removed them is not asked any more.
    let prefix = format!("fanwire-bench-{own}-");
    let files = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(&prefix)) {
        let _ = std::fs::remove_file(file.path());
    }
    Ok(children.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_comes_once_per_span_and_counts() {
        let told = |ago: Duration| State {
            deadline: None,
            fixed: false,
            news: "clients connect".to_owned(),
            since: Instant::now().checked_sub(ago),
        };
        let mut signs = 0;
        assert_eq!(sign(&told(SIGN_EVERY / 2), &mut signs), None);
        let first = sign(&told(SIGN_EVERY), &mut signs).unwrap();
        assert!(first.contains("clients connect"), "{first}");
        assert_eq!(sign(&told(SIGN_EVERY + SIGN_EVERY / 2), &mut signs), None);
        assert!(sign(&told(SIGN_EVERY * 2), &mut signs).is_some());
        // News begin a new phase.
        assert_eq!(sign(&told(Duration::ZERO), &mut signs), None);
        assert!(sign(&told(SIGN_EVERY), &mut signs).is_some());
    }
}
