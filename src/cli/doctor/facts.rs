//! What the machine says about itself, from `/proc`.

use std::fs;

use super::ring::{self, Attempt};

/// A soft and a hard limit; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// Facts; `None` is what could not be found out.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub open_files: Option<Limit>,
    /// Bytes.
    pub locked_memory: Option<Limit>,
    /// net.core.somaxconn.
    pub accept_queue: Option<u64>,
    /// net.ipv4.tcp_max_syn_backlog.
    pub syn_queue: Option<u64>,
    /// net.ipv4.ip_local_port_range.
    pub local_ports: Option<(u64, u64)>,
    /// Release of the kernel, as `6.1.0-13-amd64`.
    pub kernel: Option<String>,
    /// kernel.io_uring_disabled: 0 allowed, 1 for a group, 2 forbidden. Kernels before 6.6 do not have it.
    pub ring_disabled: Option<u64>,
    pub ring: Vec<Attempt>,
    pub processors: usize,
}

impl Facts {
    /// Asks the machine.
    pub fn read() -> Facts {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok();
        let number = |name: &str| sysctl(name)?.trim().parse().ok();
        Facts {
            open_files: parse_limit(&limits, "Max open files"),
            locked_memory: parse_limit(&limits, "Max locked memory"),
            accept_queue: number("net/core/somaxconn"),
            syn_queue: number("net/ipv4/tcp_max_syn_backlog"),
            local_ports: sysctl("net/ipv4/ip_local_port_range").as_deref().and_then(parse_range),
            kernel: sysctl("kernel/osrelease").map(|release| release.trim().to_owned()),
            ring_disabled: number("kernel/io_uring_disabled"),
            ring: ring::probe(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// A line of `/proc/self/limits`: name, soft, hard, unit.
fn parse_limit(limits: &str, name: &str) -> Option<Limit> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace();
    let mut value = || match words.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some(Limit { soft: value()?, hard: value()? })
}

fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (low, high) = text.trim().split_once(char::is_whitespace)?;
    Some((low.parse().ok()?, high.trim().parse().ok()?))
}

/// Major and minor version at the beginning of a kernel's release.
pub(super) fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_understood() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 1048576              files     \n\
                      Max locked memory         unlimited            unlimited            bytes     \n";
        assert_eq!(
            parse_limit(limits, "Max open files"),
            Some(Limit { soft: Some(1024), hard: Some(1_048_576) })
        );
        assert_eq!(parse_limit(limits, "Max locked memory"), Some(Limit { soft: None, hard: None }));
        assert_eq!(parse_limit(limits, "Max file locks"), None);
        assert_eq!(parse_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_release("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(parse_release("5.10.0+"), Some((5, 10)));
        assert_eq!(parse_release("six"), None);
    }

    #[test]
    fn this_machine_says_the_essentials() {
        let facts = Facts::read();
        assert!(facts.open_files.is_some());
        assert!(facts.kernel.as_deref().and_then(parse_release).is_some());
        assert!(!facts.ring.is_empty());
    }
}
