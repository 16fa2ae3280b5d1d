//! Circuit breaker of one back end. Time is an argument.

use std::time::{Duration, Instant};

/// Leaves a back end alone for a while after failures in a row, then lets one call find out how it is.
#[derive(Debug)]
pub(super) struct Circuit {
    state: State,
    /// Failures in a row that open it.
    threshold: u32,
    open_for: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// How a call was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// As one of many.
    Normal,
    /// As the one call that decides whether the circuit closes.
    Probe,
}

/// What a call showed about its back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers.
    Good,
    /// It does not.
    Bad,
    /// The call was given up before it showed anything.
    Unknown,
}

/// What changed by a verdict, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Circuit {
    pub(super) fn new(threshold: u32, open_for: Duration) -> Circuit {
        Circuit { state: State::Closed { failures: 0 }, threshold: threshold.max(1), open_for }
    }

    /// Whether a call would be turned away now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::Probing => true,
        }
    }

    /// Lets a call through, or not. Every pass has to be settled.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Pass> {
        if self.is_open(now) {
            return None;
        }
        match self.state {
            State::Closed { .. } => Some(Pass::Normal),
            State::Open { .. } | State::Probing => {
                self.state = State::Probing;
                Some(Pass::Probe)
            }
        }
    }

    /// Takes what a call showed. A normal call that ends after the circuit opened says nothing new.
    pub(super) fn settle(&mut self, pass: Pass, verdict: Verdict, now: Instant) -> Change {
        match (&mut self.state, pass, verdict) {
            (State::Closed { failures }, _, Verdict::Good) => {
                *failures = 0;
                Change::None
            }
            (State::Closed { failures }, _, Verdict::Bad) => {
                *failures += 1;
                if *failures < self.threshold {
                    return Change::None;
                }
                self.state = State::Open { until: now + self.open_for };
                Change::Opened
            }
            (State::Probing, Pass::Probe, Verdict::Good) => {
                self.state = State::Closed { failures: 0 };
                Change::Closed
            }
            (State::Probing, Pass::Probe, Verdict::Bad) => {
                self.state = State::Open { until: now + self.open_for };
                Change::None
            }
            // The next call probes.
            (State::Probing, Pass::Probe, Verdict::Unknown) => {
                self.state = State::Open { until: now };
                Change::None
            }
            _ => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new(2, OPEN_FOR);
        assert_eq!(circuit.settle(Pass::Normal, Verdict::Bad, now), Change::None);
        assert_eq!(circuit.settle(Pass::Normal, Verdict::Bad, now), Change::Opened);
        circuit
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut circuit = Circuit::new(2, OPEN_FOR);
        for verdict in [Verdict::Bad, Verdict::Good, Verdict::Bad, Verdict::Unknown] {
            circuit.settle(Pass::Normal, verdict, now);
            assert_eq!(circuit.admit(now), Some(Pass::Normal));
        }
        assert_eq!(circuit.settle(Pass::Normal, Verdict::Bad, now), Change::Opened);
        assert_eq!(circuit.admit(now), None);
    }

    #[test]
    fn one_probe_after_the_pause_decides() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + OPEN_FOR;
        assert!(circuit.is_open(later - Duration::from_millis(1)));
        assert_eq!(circuit.admit(later), Some(Pass::Probe));
        assert_eq!(circuit.admit(later), None, "one probe at a time");
        circuit.settle(Pass::Probe, Verdict::Bad, later);
        assert_eq!(circuit.admit(later), None);
        assert_eq!(circuit.admit(later + OPEN_FOR), Some(Pass::Probe));
        assert_eq!(circuit.settle(Pass::Probe, Verdict::Good, later + OPEN_FOR), Change::Closed);
        assert_eq!(circuit.admit(later + OPEN_FOR), Some(Pass::Normal));
    }

    #[test]
    fn an_abandoned_probe_makes_room_for_the_next() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + OPEN_FOR;
        assert_eq!(circuit.admit(later), Some(Pass::Probe));
        circuit.settle(Pass::Probe, Verdict::Unknown, later);
        assert_eq!(circuit.admit(later), Some(Pass::Probe));
    }

    #[test]
    fn late_results_of_earlier_calls_do_not_move_it() {
        let now = Instant::now();
        let mut circuit = opened(now);
        circuit.settle(Pass::Normal, Verdict::Good, now);
        assert!(circuit.is_open(now));
        let later = now + OPEN_FOR;
        assert_eq!(circuit.admit(later), Some(Pass::Probe));
        circuit.settle(Pass::Normal, Verdict::Bad, later);
        assert_eq!(circuit.settle(Pass::Probe, Verdict::Good, later), Change::Closed);
    }
}
