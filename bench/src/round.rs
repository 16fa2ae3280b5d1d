//! What a load brought in one round, and the interface every load has.

use crate::procfs::thread_delay_ns;
use crate::stats::Latencies;
use crate::sys::thread_cpu_ns;
use std::time::{Duration, Instant};

/// A load on one server: connections that stay, work that comes in rounds.
pub trait Work {
    /// Works for `time`, then waits until all of it is done and checked.
    fn round(&mut self, time: Duration) -> Result<Round, String>;

    /// Reads what has come since and answers pings. Anything that nobody asked for is an error.
    fn check_nothing_left(&mut self) -> Result<(), String>;

    /// The server has been stopped for a while, and will find that its clients have been silent.
    fn resume(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// What the reader of the figures must know about how this server took the load.
    fn note(&self) -> Option<&'static str> {
        None
    }
}

/// What a round brought.
#[derive(Debug, Default)]
pub struct Round {
    /// Messages that were published (or sent) and have come everywhere they were due.
    pub messages: u64,
    /// Messages that came in, each counted at each receiver.
    pub deliveries: u64,
    /// From the first message to the last delivery and answer, nanoseconds.
    pub wall_ns: u64,
    /// CPU time of the client's thread in it, nanoseconds.
    pub client_ns: u64,
    /// Time it wanted to run in it while others had its core, nanoseconds.
    pub client_delay_ns: u64,
    /// Reads that brought bytes.
    pub reads: u64,
    /// From a message's publish (open loop: from its scheduled time) to its last delivery.
    pub latencies: Latencies,
    /// Open loop: from a message's scheduled time to its being handed to the socket, where the window had room.
    pub lags: Latencies,
    /// Open loop: messages that were late because the window was full, and those due meanwhile.
    pub held: u64,
    /// Time it took the client to sign publishes, nanoseconds: before they count as published.
    pub signing_ns: u64,
    /// With one message in flight per publisher: from a publish to its answer.
    pub acks: Latencies,
    /// Where the load has parts: from publish (or scheduled time) to each delivery, by part.
    pub parts: Vec<Latencies>,
}

/// The clocks of the client's thread over a round.
pub struct Stopwatch {
    begun: Instant,
    cpu_ns: u64,
    delay_ns: u64,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Result<Stopwatch, String> {
        let cpu_ns = thread_cpu_ns().map_err(|e| e.to_string())?;
        let delay_ns = thread_delay_ns();
        Ok(Stopwatch { begun: Instant::now(), cpu_ns, delay_ns })
    }

    /// When it was started.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Enters the times since the start.
    pub fn stop(&self, round: &mut Round) -> Result<(), String> {
        round.wall_ns = self.begun.elapsed().as_nanos() as u64;
        round.client_ns = thread_cpu_ns().map_err(|e| e.to_string())?.saturating_sub(self.cpu_ns);
        round.client_delay_ns = thread_delay_ns().saturating_sub(self.delay_ns);
        Ok(())
    }
}
