//! What stands between a storm and a server that is not the server: its listen queue and its limit of open files.

use crate::procfs::ProcessTree;
use std::fs;

/// Files that a server needs beside those of its connections. Fanwire keeps so many back.
const FILES_RESERVE: u64 = 256;

/// Connects that found the listen queue full so far, on the whole machine; the client's TCP tries those again after a
/// second. None where the kernel does not tell.
pub fn listen_overflows() -> Option<u64> {
    parse(&fs::read_to_string("/proc/net/netstat").ok()?)
}

fn parse(text: &str) -> Option<u64> {
    // A line of names, then a line of values.
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(name, _)| *name == "ListenOverflows")?.1.parse().ok()
}

/// Refuses more connections than the server may have open files.
pub fn check_server(processes: &ProcessTree, connections: usize) -> Result<(), String> {
    let limit = |pid: &u32| soft_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?);
    // Of several processes any may be the one that accepts.
    let Some(most) = processes.pids().iter().filter_map(limit).max() else { return Ok(()) };
    if connections as u64 + FILES_RESERVE > most {
        return Err(format!(
            "the server may open {most} files: {connections} connections and its own do not fit (ulimit -n, or LimitNOFILE)"
        ));
    }
    Ok(())
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflows_are_found_by_their_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 23 24\nIpExt: InNoRoutes\nIpExt: 5\n";
        assert_eq!(parse(text), Some(23));
        assert_eq!(parse("TcpExt: SyncookiesSent\nTcpExt: 1\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_soft_limit_of_open_files_counts() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             100                  100                  processes \n\
                    Max open files            1024                 20000                files     \n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(soft_limit(&text.replace("1024 ", "unlimited ")), Some(u64::MAX));
        assert_eq!(soft_limit("Max processes 100 100"), None);
        let own = ProcessTree::of(std::process::id(), 0).unwrap();
        assert_eq!(check_server(&own, 1), Ok(()));
        assert!(check_server(&own, 1 << 40).unwrap_err().contains("do not fit"));
    }
}
