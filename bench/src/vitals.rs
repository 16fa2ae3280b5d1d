//! What a server holds: memory, open files, and what it says about itself where it is fanwire.

use crate::http;
use crate::procfs::ProcessTree;
use crate::sys;
use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// A page of metrics is there within this.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest page of metrics, bytes.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// At one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vitals {
    /// Resident set size of all its processes, bytes.
    pub rss: i64,
    /// Proportional set size, bytes. It moves when other processes begin or cease to map the same files.
    pub pss: i64,
    /// Pages that only it has and has written to, bytes: its own doing.
    pub private: i64,
    /// Open files.
    pub files: u64,
    /// Fanwire's own figures.
    pub gauges: Option<Gauges>,
}

/// Figures of fanwire's `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Open connections of all carriers, the one that asks included.
    pub connections: f64,
    /// Subscriptions.
    pub subscriptions: f64,
    /// Channels.
    pub channels: f64,
    /// Stored messages.
    pub stored: f64,
    /// Connections closed because they did not keep up, since the start.
    pub slow_closed: f64,
}

impl Vitals {
    /// Of the server at `address` now. Without `/metrics`, or with another server's, there are no gauges.
    pub fn read(processes: &ProcessTree, address: SocketAddrV4) -> Result<Vitals, String> {
        let gauges = Gauges::read(address)?;
        let memory = processes.memory().map_err(|e| format!("memory of the server: {e}"))?;
        let files = processes.open_files().map_err(|e| format!("open files of the server: {e}"))?;
        Ok(Vitals { rss: memory.rss, pss: memory.pss, private: memory.private_dirty, files, gauges })
    }

    /// What must not grow, with its names.
    pub fn counts(&self) -> Vec<(&'static str, f64)> {
        let mut counts = vec![("open files", self.files as f64)];
        if let Some(gauges) = self.gauges {
            counts.extend([
                ("connections", gauges.connections),
                ("subscriptions", gauges.subscriptions),
                ("channels", gauges.channels),
                ("stored messages", gauges.stored),
            ]);
        }
        counts
    }
}

impl Gauges {
    /// From the server's page; None if it is not fanwire's.
    pub fn read(address: SocketAddrV4) -> Result<Option<Gauges>, String> {
        let page = fetch(address, "/metrics").map_err(|e| format!("/metrics: {e}"))?;
        Ok(Gauges::parse(&page))
    }

    fn parse(page: &str) -> Option<Gauges> {
        Some(Gauges {
            connections: sum(page, "fanwire_connections")?,
            subscriptions: sum(page, "fanwire_subscriptions")?,
            channels: sum(page, "fanwire_channels")?,
            stored: sum(page, "fanwire_stored_messages")?,
            slow_closed: sum(page, "fanwire_slow_consumers_closed_total")?,
        })
    }
}

/// A counter of the server's own; None if it does not tell it.
pub fn counter(address: SocketAddrV4, name: &str) -> Result<Option<f64>, String> {
    fetch(address, "/metrics").map(|page| sum(&page, name)).map_err(|e| format!("/metrics: {e}"))
}

/// Sum of all samples of a metric; None if there is none.
fn sum(page: &str, name: &str) -> Option<f64> {
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let labelled = rest.starts_with('{') && rest.contains('}');
        let value = if labelled { rest.rsplit_once('}')?.1 } else { rest.strip_prefix(' ')? };
        value.split_whitespace().next()?.parse().ok()
    };
    page.lines().filter_map(value).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// All that the server sends for a page, on a connection that is closed behind it.
fn fetch(address: SocketAddrV4, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.into(), PAGE_TIMEOUT)?;
    stream.set_read_timeout(Some(PAGE_TIMEOUT))?;
    stream.set_write_timeout(Some(PAGE_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut page = Vec::new();
    let mut buffer = [0; 16 * 1024];
    // An answer with a length is complete before the server's end; one without a length ends with it.
    while !matches!(http::next_answer(&page), Ok(Some(_))) && page.len() < PAGE_BYTES {
        match sys::read(&mut stream, &mut buffer)? {
            0 => break,
            got => page.extend_from_slice(&buffer[..got]),
        }
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// A configuration file for a node that is started here. Removed when this is dropped.
pub struct ConfigFile(PathBuf);

impl ConfigFile {
    /// Writes `text` to a file of this process, told apart by `name`.
    pub fn new(name: &str, text: &str) -> Result<ConfigFile, String> {
        let path = std::env::temp_dir().join(format!("fanwire-bench-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(ConfigFile(path))
    }

    /// Its path, for the node's `--config`.
    pub fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Bytes as `12.3 MiB`.
pub fn mib(bytes: i64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE fanwire_connections gauge\n\
        fanwire_connections{carrier=\"http\"} 2\nfanwire_connections{carrier=\"websocket\"} 40\n\
        fanwire_connections_accepted_total 99\nfanwire_slow_consumers_closed_total 7\n\
        fanwire_subscriptions 40\nfanwire_channels 3\nfanwire_stored_messages 12\n";

    #[test]
    fn samples_are_summed_and_names_are_whole() {
        let gauges =
            Gauges { connections: 42.0, subscriptions: 40.0, channels: 3.0, stored: 12.0, slow_closed: 7.0 };
        assert_eq!(Gauges::parse(PAGE), Some(gauges));
        assert_eq!(Gauges::parse("fanwire_connections_accepted_total 99\n"), None);
        assert_eq!(Gauges::parse("HTTP/1.1 404 Not Found\r\n\r\n"), None);
    }

    #[test]
    fn counts_are_those_that_are_known() {
        let vitals = Vitals { files: 9, ..Vitals::default() };
        assert_eq!(vitals.counts(), [("open files", 9.0)]);
        let vitals = Vitals { gauges: Gauges::parse(PAGE), ..vitals };
        assert_eq!(vitals.counts()[3], ("channels", 3.0));
    }
}
