//! One round in figures.

use super::meter::CoreTime;
use crate::round::Round;

/// Cost, rate and latency of one round against one server.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Messages that came everywhere they were due.
    pub messages: f64,
    /// CPU of the server's processes, nanoseconds per delivery.
    pub own_ns: f64,
    /// CPU of the core's ksoftirqd, nanoseconds per delivery.
    pub softirq_ns: f64,
    /// Deliveries per second.
    pub per_second: f64,
    /// Deliveries per read of the client: how much the server has joined.
    pub joined: f64,
    /// Share of the core's time the server took.
    pub server_share: f64,
    /// Share of the time the client's thread ran.
    pub client_share: f64,
    /// Share of the time the client wanted to run and others had its core.
    pub client_delay_share: f64,
    /// Share of the server's core that went to anybody else, the hypervisor included.
    pub others_share: f64,
    /// Latency, microseconds: half are at most this.
    pub p50_us: f64,
    /// 90 of 100 are.
    pub p90_us: f64,
    /// 99 of 100 are.
    pub p99_us: f64,
    /// 999 of 1000 are.
    pub p999_us: f64,
    /// All are.
    pub max_us: f64,
}

impl Figures {
    /// Figures of `round`, in which the server's core worked as `core` says.
    pub fn of(round: &Round, core: CoreTime) -> Figures {
        let deliveries = round.deliveries as f64;
        let wall = round.wall_ns as f64;
        Figures {
            messages: round.messages as f64,
            own_ns: core.own_ns as f64 / deliveries,
            softirq_ns: core.softirq_ns as f64 / deliveries,
            per_second: deliveries / wall * 1e9,
            joined: deliveries / round.reads as f64,
            server_share: (core.own_ns + core.softirq_ns) as f64 / wall,
            client_share: round.client_ns as f64 / wall,
            client_delay_share: round.client_delay_ns as f64 / wall,
            others_share: core.others_ns as f64 / core.wall_ns as f64,
            p50_us: round.latencies.us(50.0),
            p90_us: round.latencies.us(90.0),
            p99_us: round.latencies.us(99.0),
            p999_us: round.latencies.us(99.9),
            max_us: round.latencies.us(100.0),
        }
    }

    /// CPU per delivery, nanoseconds: the server's and what the kernel did for it.
    pub fn cpu_ns(&self) -> f64 {
        self.own_ns + self.softirq_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Latencies;

    #[test]
    fn figures_are_per_delivery_and_per_second() {
        let mut latencies = Latencies::default();
        (1..=10).for_each(|i| latencies.record(i * 1000));
        let round = Round {
            messages: 10,
            deliveries: 1000,
            wall_ns: 2_000_000,
            client_ns: 500_000,
            client_delay_ns: 1_000_000,
            reads: 250,
            latencies,
            ..Round::default()
        };
        let core = CoreTime { own_ns: 900_000, softirq_ns: 100_000, others_ns: 500_000, wall_ns: 2_500_000 };
        let figures = Figures::of(&round, core);
        assert_eq!((figures.cpu_ns(), figures.softirq_ns), (1000.0, 100.0));
        assert_eq!((figures.per_second, figures.joined), (500_000.0, 4.0));
        assert_eq!((figures.server_share, figures.client_share), (0.5, 0.25));
        assert_eq!((figures.client_delay_share, figures.others_share), (0.5, 0.2));
        let near = |figure: f64, us: f64| (figure - us).abs() < 0.01;
        assert!(near(figures.p50_us, 5.0) && near(figures.p90_us, 9.0) && near(figures.p99_us, 10.0));
        assert!(near(figures.p999_us, 10.0) && near(figures.max_us, 10.0));
    }
}
