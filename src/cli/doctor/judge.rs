//! From facts to findings, each with the exact line that would change it.

use super::facts::{Facts, Limit, parse_release};
use super::ring::Attempt;
use crate::limits::{DOCTOR_ACCEPT_QUEUE, DOCTOR_LOCAL_PORTS, DOCTOR_RESERVED_FILES, DOCTOR_SYN_QUEUE};
use crate::node::config::{Config, Driver};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do.
    Ok,
    /// Works, with less than there could be.
    Warn,
    /// The node would not start, or hardly serve.
    Bad,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Bad => "BAD",
        }
    }
}

/// One line of the report.
#[derive(Debug)]
pub(super) struct Finding {
    pub verdict: Verdict,
    pub about: String,
    /// The line to change.
    pub cure: Option<String>,
}

impl Finding {
    fn ok(about: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Ok, about: about.into(), cure: None }
    }

    fn warn(about: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warn, about: about.into(), cure: Some(cure.into()) }
    }

    fn bad(about: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Bad, about: about.into(), cure: Some(cure.into()) }
    }
}

pub(super) fn judge(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(facts.open_files.map(|limit| open_files(limit, config)));
    findings.push(kernel(facts));
    findings.extend(ring_sysctl(facts, config));
    findings.push(driver(facts, config));
    findings.extend(facts.locked_memory.map(|limit| locked_memory(limit, &facts.ring)));
    let queues = [
        (facts.accept_queue, DOCTOR_ACCEPT_QUEUE, "net.core.somaxconn", "connections waiting to be accepted"),
        (facts.syn_queue, DOCTOR_SYN_QUEUE, "net.ipv4.tcp_max_syn_backlog", "handshakes under way"),
    ];
    findings.extend(
        queues.into_iter().filter_map(|(value, wanted, name, what)| queue(value?, wanted, name, what)),
    );
    findings.extend(facts.local_ports.map(local_ports));
    findings.push(shards(facts, config));
    findings
}

fn show(limit: Option<u64>) -> String {
    limit.map_or("unlimited".into(), |limit| limit.to_string())
}

/// The node raises the soft limit itself, so the hard one counts.
fn open_files(limit: Limit, config: &Config) -> Finding {
    let about = format!("open files: soft {}, hard {}", show(limit.soft), show(limit.hard));
    let wanted = config.limits.connections as u64 + DOCTOR_RESERVED_FILES;
    let hard = limit.hard.unwrap_or(u64::MAX);
    let cure =
        format!("LimitNOFILE={wanted} in the unit's [Service], or `ulimit -Hn {wanted}` before the start");
    if hard < 2 * DOCTOR_RESERVED_FILES {
        Finding::bad(about, cure)
    } else if hard < wanted {
        let most = hard.saturating_sub(DOCTOR_RESERVED_FILES);
        let connections = config.limits.connections;
        Finding::warn(format!("{about}: room for {most} of limits.connections = {connections}"), cure)
    } else {
        Finding::ok(about)
    }
}

fn kernel(facts: &Facts) -> Finding {
    let release = facts.kernel.as_deref().unwrap_or("unknown");
    match parse_release(release) {
        Some(version) if version >= (6, 1) => Finding::ok(format!("kernel {release}")),
        Some(version) if version >= (5, 19) => Finding::warn(
            format!("kernel {release}: io_uring without DEFER_TASKRUN"),
            "a kernel of at least 6.1 saves interrupts",
        ),
        _ => Finding::warn(
            format!("kernel {release}: io_uring without COOP_TASKRUN, or none that is of use"),
            "a kernel of at least 6.1",
        ),
    }
}

fn ring_sysctl(facts: &Facts, config: &Config) -> Option<Finding> {
    let value = facts.ring_disabled?;
    let about = format!("kernel.io_uring_disabled = {value}");
    let cure = "sysctl -w kernel.io_uring_disabled=0 (and a line in /etc/sysctl.d/fanwire.conf)";
    Some(match value {
        0 => Finding::ok(about),
        _ if config.driver == Driver::Epoll => Finding::ok(about),
        1 => Finding::warn(format!("{about}: only for members of kernel.io_uring_group"), cure),
        _ => Finding::warn(format!("{about}: forbidden to everybody"), cure),
    })
}

fn driver(facts: &Facts, config: &Config) -> Finding {
    if config.driver == Driver::Epoll {
        return Finding::ok("driver: epoll, as configured");
    }
    if let Some(attempt) = facts.ring.iter().find(|attempt| attempt.built.is_ok()) {
        return Finding::ok(format!("driver: io_uring ({})", attempt.flags));
    }
    let error = facts.ring.last().and_then(|attempt| attempt.built.as_ref().err());
    let reason = error.map_or("not tried".into(), ToString::to_string);
    let cure = match error.and_then(std::io::Error::raw_os_error) {
        Some(libc::ENOMEM) => "LimitMEMLOCK=infinity in the unit's [Service], or `ulimit -l unlimited`",
        Some(libc::EPERM) => {
            "kernel.io_uring_disabled=0; in a container also a seccomp profile that allows io_uring"
        }
        Some(libc::ENOSYS) => {
            "a kernel with CONFIG_IO_URING and, in a container, a seccomp profile that allows it"
        }
        _ => "driver = \"epoll\" says that this is meant",
    };
    match config.driver {
        Driver::Uring => {
            Finding::bad(format!("driver: \"uring\" is configured and io_uring fails: {reason}"), cure)
        }
        _ => Finding::warn(format!("driver: epoll, because io_uring fails: {reason}"), cure),
    }
}

/// Rings count against it for users without CAP_IPC_LOCK, so a small limit matters where a ring failed for memory.
fn locked_memory(limit: Limit, ring: &[Attempt]) -> Finding {
    let about = format!("locked memory: soft {} bytes", show(limit.soft));
    let starved = |attempt: &Attempt| {
        attempt.built.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOMEM))
    };
    match ring.iter().any(starved) {
        true => {
            Finding::warn(about, "LimitMEMLOCK=infinity in the unit's [Service], or `ulimit -l unlimited`")
        }
        false => Finding::ok(about),
    }
}

fn queue(value: u64, wanted: u64, name: &str, what: &str) -> Option<Finding> {
    let about = format!("{name} = {value} ({what})");
    let cure = format!("sysctl -w {name}={wanted} (and a line in /etc/sysctl.d/fanwire.conf)");
    Some(if value < wanted { Finding::warn(about, cure) } else { Finding::ok(about) })
}

/// They bound what the node opens itself, hook calls, and what a proxy on this machine opens towards it.
fn local_ports((low, high): (u64, u64)) -> Finding {
    let about = format!("net.ipv4.ip_local_port_range = {low} {high}");
    if high.saturating_sub(low) + 1 < DOCTOR_LOCAL_PORTS {
        let cure =
            "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\", or unix sockets between proxy and node";
        return Finding::warn(format!("{about}: a proxy on this machine can open so few connections"), cure);
    }
    Finding::ok(about)
}

fn shards(facts: &Facts, config: &Config) -> Finding {
    let (shards, processors) = (config.shards, facts.processors);
    let about = format!("{shards} shard(s), {processors} processor(s)");
    if shards > processors {
        return Finding::warn(about, format!("shards = {processors}: more only take turns"));
    }
    Finding::ok(about)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn good() -> Facts {
        Facts {
            open_files: Some(Limit { soft: Some(1024), hard: Some(2_000_000) }),
            locked_memory: Some(Limit { soft: Some(8 << 20), hard: None }),
            accept_queue: Some(4096),
            syn_queue: Some(4096),
            local_ports: Some((1024, 65535)),
            kernel: Some("6.12.1".into()),
            ring_disabled: Some(0),
            ring: vec![Attempt { flags: "SINGLE_ISSUER|DEFER_TASKRUN", built: Ok(()) }],
            processors: 2,
        }
    }

    fn findings(facts: &Facts, driver: Driver, verdict: Verdict) -> Vec<String> {
        let config = Config { driver, ..Config::default() };
        let found = judge(facts, &config).into_iter().filter(|finding| finding.verdict == verdict);
        found.map(|finding| format!("{} -> {}", finding.about, finding.cure.unwrap_or_default())).collect()
    }

    fn refused(code: i32) -> Vec<Attempt> {
        vec![Attempt { flags: "no flags", built: Err(io::Error::from_raw_os_error(code)) }]
    }

    #[test]
    fn a_machine_in_order_has_no_findings() {
        assert!(findings(&good(), Driver::Auto, Verdict::Warn).is_empty());
        assert!(findings(&good(), Driver::Auto, Verdict::Bad).is_empty());
    }

    #[test]
    fn a_ring_that_fails_is_bad_only_when_it_is_asked_for() {
        let facts = Facts { ring: refused(libc::EPERM), ring_disabled: Some(2), ..good() };
        let warnings = findings(&facts, Driver::Auto, Verdict::Warn);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(warnings[1].starts_with("driver: epoll, because io_uring fails"));
        assert_eq!(findings(&facts, Driver::Uring, Verdict::Bad).len(), 1);
        assert!(findings(&facts, Driver::Epoll, Verdict::Warn).is_empty());
    }

    #[test]
    fn each_shortage_names_its_line() {
        let facts = Facts {
            open_files: Some(Limit { soft: Some(64), hard: Some(64) }),
            accept_queue: Some(128),
            syn_queue: Some(128),
            local_ports: Some((60000, 60999)),
            kernel: Some("5.10.0".into()),
            ring: refused(libc::ENOMEM),
            processors: 0,
            ..good()
        };
        let warnings = findings(&facts, Driver::Auto, Verdict::Warn).join("\n");
        for line in [
            "LimitMEMLOCK",
            "somaxconn=",
            "tcp_max_syn_backlog=",
            "ip_local_port_range=",
            "shards = 0",
            "at least 6.1",
        ] {
            assert!(warnings.contains(line), "{line} in\n{warnings}");
        }
        assert!(findings(&facts, Driver::Auto, Verdict::Bad)[0].contains("LimitNOFILE="));
        let facts = Facts { open_files: Some(Limit { soft: Some(1024), hard: Some(4096) }), ..good() };
        assert!(findings(&facts, Driver::Auto, Verdict::Warn)[0].contains("room for 3840 of"));
    }
}
