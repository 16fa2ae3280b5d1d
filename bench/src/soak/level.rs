//! What the server and the kernel hold when everybody has left.

use crate::procfs::ProcessTree;
use crate::server::Server;
use crate::vitals::{Vitals, counter, mib};
use std::fmt;
use std::fs;

/// Connections that are there while one looks: the one that asks for the figures.
const OWN: f64 = 1.0;
/// States of `/proc/net/tcp` that are no burden of the server's: waiting for late packets, and listening.
const NOT_HELD: [&str; 2] = ["06", "0A"];

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    /// Memory, files, gauges.
    pub vitals: Vitals,
    /// Sockets of the kernel with the server's port that are neither listening nor waiting for late packets.
    pub sockets: usize,
    /// Connections accepted and closed so far, and panics caught, where the server tells them.
    counters: Option<[f64; 3]>,
}

impl Level {
    /// Of the server now.
    pub fn read(server: &Server) -> Result<Level, String> {
        let processes = server.processes()?;
        let told = |name: &str| counter(server.address, name);
        let counters = [
            told("fanwire_connections_accepted_total")?,
            told("fanwire_connections_closed_total")?,
            told("fanwire_panics_total")?,
        ];
        let counters = match counters {
            [Some(accepted), Some(closed), Some(panics)] => Some([accepted, closed, panics]),
            _ => None,
        };
        let vitals = Vitals::read(&processes, server.address)?;
        Ok(Level { vitals, sockets: sockets(server.address.port()), counters })
    }

    /// Takes the lower of the memory then and now.
    pub fn least_memory(&mut self, server: &Server) -> Result<(), String> {
        let processes: ProcessTree = server.processes()?;
        let memory = processes.memory().map_err(|e| format!("memory of the server: {e}"))?;
        self.vitals.rss = self.vitals.rss.min(memory.rss);
        self.vitals.private = self.vitals.private.min(memory.private_dirty);
        Ok(())
    }

    /// Whether nobody is connected, as far as the server tells.
    pub fn is_empty(&self) -> bool {
        let gauges = self.vitals.gauges.unwrap_or_default();
        gauges.connections <= OWN
            && gauges.subscriptions == 0.0
            && gauges.channels == 0.0
            && self.sockets == 0
    }

    /// What the server's counters say that cannot be.
    pub fn disagreement(&self) -> Option<String> {
        let [accepted, closed, panics] = self.counters?;
        if panics > 0.0 {
            return Some(format!("{panics} panics"));
        }
        // Accepted are those that were closed and the one that asked, twice: each counter is a look of its own.
        let open = accepted - closed;
        (open > OWN + 2.0).then(|| format!("{accepted} connections were accepted and {closed} closed"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.vitals.counts() {
            write!(f, "{name} {count}, ")?;
        }
        write!(
            f,
            "sockets {}, RSS {}, private memory {}",
            self.sockets,
            mib(self.vitals.rss),
            mib(self.vitals.private)
        )
    }
}

/// Sockets whose own end has this port.
fn sockets(port: u16) -> usize {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().map(|table| held(table, port)).sum()
}

fn held(table: &str, port: u16) -> usize {
    let end = format!(":{port:04X}");
    let is_held = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        matches!(words[..], [_, local, _, state] if local.ends_with(&end) && !NOT_HELD.contains(&state))
    };
    table.lines().skip(1).filter(is_held).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_the_port_are_counted_unless_they_only_wait() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0100007F:1F90 00000000:0000 0A 0\n1: 0100007F:1F90 0100007F:C350 01 0\n\
            2: 0100007F:C350 0100007F:1F90 01 0\n3: 0100007F:1F90 0100007F:C351 06 0\n\
            4: 0100007F:1F90 0100007F:C352 08 0\n";
        assert_eq!(held(table, 8080), 2);
        assert_eq!(held(table, 8081), 0);
    }

    #[test]
    fn counters_must_agree() {
        let level = |counters| Level { counters, ..Level::default() };
        assert_eq!(level(None).disagreement(), None);
        assert_eq!(level(Some([100.0, 98.0, 0.0])).disagreement(), None);
        assert!(level(Some([100.0, 90.0, 0.0])).disagreement().unwrap().contains("90 closed"));
        assert!(level(Some([100.0, 99.0, 1.0])).disagreement().unwrap().contains("panics"));
    }
}
