//! The machine a run was made on, and what else it was busy with: a few lines above every table, and the first and
//! last JSON line. Neither names the machine or a place on its disk.

use crate::floor;
use crate::node::Node;
use crate::procfs::{self, ProcessTree};
use crate::report::{self, JsonLine};
use crate::sys;
use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Steal of this share of the machine's time is worth a warning.
const STOLEN: f64 = 0.01;
/// Other processes with this share of the machine's time are too.
const DISTURBED: f64 = 0.05;

/// See the module.
pub struct Host {
    cpu: String,
    cpus: usize,
    memory_bytes: u64,
    kernel: String,
    /// None where it cannot be told.
    virtual_machine: Option<String>,
    governor: Option<String>,
    io_uring: bool,
    date: String,
    command: String,
    load: Option<f64>,
    node: Option<Node>,
    cores: Cores,
    before: Clocks,
}

/// Cores of the server and of the client; None for a scenario that has other ideas of cores.
pub type Cores = Option<(usize, usize)>;

/// CPU clocks of the machine, nanoseconds.
struct Clocks {
    at: Instant,
    /// Of everybody, on all cores.
    busy: u64,
    /// Kept from us by the hypervisor.
    stolen: u64,
    /// Of this process, and of its children that have ended.
    own: u64,
    /// Of ksoftirqd on the cores of the run: work for the run.
    softirq: u64,
}

/// What else happened while a run went on. None where it cannot be told.
struct During {
    seconds: f64,
    steal_share: Option<f64>,
    others_share: Option<f64>,
    load: Option<f64>,
}

impl Host {
    /// Looks at the machine and starts the clocks. `cores` are the server's and the client's; `command` is the command
    /// line as it was typed; `node` is the fanwire under test, if it is one that is known.
    pub fn look(cores: Cores, command: &[String], node: Option<Node>) -> Host {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let core = cores.map_or(0, |(server, _)| server);
        let cpufreq = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        let governor = read(&cpufreq).trim().to_owned();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from).max(processors(&cpuinfo));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Host {
            cpu: cpu_model(&cpuinfo),
            cpus,
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            virtual_machine: virtual_machine(&cpuinfo),
            governor: (!governor.is_empty()).then_some(governor),
            io_uring: floor::uring_available(),
            date: date_text(now),
            command: command_text(command, &|path| is_on_disk(Path::new(path))),
            load: procfs::load_average(),
            node,
            cores,
            before: Clocks::read(cores, cpus),
        }
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let mut machine = vec![
            format!("{}, {} CPUs", self.cpu, self.cpus),
            format!("{:.1} GiB", self.memory_bytes as f64 / f64::from(1 << 30)),
            self.virtual_text(),
            format!("Linux {}", self.kernel),
            format!("io_uring {}", if self.io_uring { "available" } else { "not available" }),
        ];
        machine.extend(self.governor.as_ref().map(|governor| format!("governor {governor}")));
        let cores = |(server, client)| format!("server on core {server}, client on core {client}");
        let mut run: Vec<String> = self.cores.map(cores).into_iter().collect();
        run.extend(self.node.as_ref().map(|node| format!("fanwire {}, {}", node.version, node.driver)));
        run.push(self.date.clone());
        format!("{}\n{}\n{}\n", machine.join(", "), run.join("; "), self.command)
    }

    /// The first line of a run.
    pub fn json(&self) -> JsonLine {
        let mut line = JsonLine::of("host")
            .text("kind", "start")
            .text("command", &self.command)
            .text("date_utc", &self.date)
            .text("cpu", &self.cpu)
            .number("cpus", self.cpus as f64)
            .number("memory_total_bytes", self.memory_bytes as f64)
            .text("kernel", &self.kernel)
            .text("virtual_machine", self.virtual_machine.as_deref().unwrap_or("unknown"));
        if let Some((server, client)) = self.cores {
            line = line.number("server_core", server as f64).number("client_core", client as f64);
        }
        if let Some(governor) = &self.governor {
            line = line.text("governor", governor);
        }
        line = line.flag("io_uring", self.io_uring);
        if let Some(node) = &self.node {
            line = line.text("fanwire", &node.version).text("driver", &node.driver);
        }
        line.text("bench", env!("CARGO_PKG_VERSION")).number("load_average", self.load.unwrap_or(f64::NAN))
    }

    /// Says how busy the machine was with other things since `look`, as the last line of the run: `foreign` if the server
    /// was not started here and cannot be told from others.
    pub fn tell_end(&self, json: bool, foreign: bool, complete: bool) {
        let during = self.before.until(&Clocks::read(self.cores, self.cpus), self.cpus, foreign);
        if !json {
            println!("{}", during.text());
        }
        report::emit(during.json(complete), json);
    }

    fn virtual_text(&self) -> String {
        match self.virtual_machine.as_deref() {
            Some("no") => "no virtual machine".to_owned(),
            Some("yes") => "virtual machine".to_owned(),
            Some(kind) => format!("virtual machine ({kind})"),
            None => "virtual machine or not unknown".to_owned(),
        }
    }
}

impl Clocks {
    fn read(cores: Cores, cpus: usize) -> Clocks {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let (busy, stolen) = machine_ticks(&stat).unwrap_or((0, 0));
        let softirq = |core| {
            let tree = ProcessTree::of(std::process::id(), core).and_then(|tree| tree.cpu_ns());
            tree.map_or(0, |(_, softirq)| softirq)
        };
        let softirq = match cores {
            Some((server, client)) if server == client => softirq(server),
            Some((server, client)) => softirq(server) + softirq(client),
            None => (0..cpus).map(softirq).sum(),
        };
        let (tick, own) = (sys::tick_ns(), family_ticks(&own).unwrap_or(0));
        Clocks { at: Instant::now(), busy: busy * tick, stolen: stolen * tick, own: own * tick, softirq }
    }

    fn until(&self, now: &Clocks, cpus: usize, foreign: bool) -> During {
        let seconds = now.at.saturating_duration_since(self.at).as_secs_f64();
        let all = seconds * 1e9 * cpus as f64;
        let ours = (now.own - self.own.min(now.own)) + now.softirq.saturating_sub(self.softirq);
        let others = now.busy.saturating_sub(self.busy).saturating_sub(ours);
        // Without /proc/stat there is nothing to tell.
        let share = |ns: u64| (now.busy > 0 && all > 0.0).then(|| (ns as f64 / all).min(1.0));
        During {
            seconds,
            steal_share: share(now.stolen.saturating_sub(self.stolen)),
            others_share: share(others).filter(|_| !foreign),
            load: procfs::load_average(),
        }
    }
}

impl During {
    fn text(&self) -> String {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let mut parts = vec![format!("the run took {:.0} s", self.seconds)];
        parts.extend(self.steal_share.map(|share| format!("steal {}", percent(share))));
        parts.extend(
            self.others_share.map(|share| format!("other processes {} of the machine", percent(share))),
        );
        parts.extend(self.load.map(|load| format!("load average {load:.2}")));
        let quiet = is_quiet(self.steal_share.unwrap_or(0.0), self.others_share.unwrap_or(0.0));
        format!("{}{}", parts.join(", "), if quiet { "" } else { ": THE MACHINE WAS NOT QUIET" })
    }

    fn json(&self, complete: bool) -> JsonLine {
        let mut line = JsonLine::of("host").text("kind", "end").number("seconds", self.seconds);
        let shares = [("steal_share", self.steal_share), ("others_share", self.others_share)];
        for (name, value) in shares.into_iter().chain([("load_average", self.load)]) {
            if let Some(value) = value {
                line = line.number(name, value);
            }
        }
        line.flag("complete", complete)
    }
}

/// Whether so much steal time and so much work of others leave the figures of a run as they would be without.
pub fn is_quiet(steal_share: f64, others_share: f64) -> bool {
    steal_share <= STOLEN && others_share <= DISTURBED
}

/// Name of the processor: `model name` on x86, `CPU implementer` and part elsewhere.
fn cpu_model(cpuinfo: &str) -> String {
    let value = |name: &str| {
        let line =
            cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        let words: Vec<&str> = line.split_once(':')?.1.split_whitespace().collect();
        (!words.is_empty()).then(|| words.join(" "))
    };
    let arm = || Some(format!("CPU implementer {} part {}", value("CPU implementer")?, value("CPU part")?));
    let named = ["model name", "Model", "cpu model", "uarch", "cpu"].into_iter().find_map(value);
    named.or_else(arm).unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}

fn processors(cpuinfo: &str) -> usize {
    cpuinfo.lines().filter(|line| line.starts_with("processor")).count()
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// `no`, `yes`, or the name of the hypervisor; None where the processor does not tell.
fn virtual_machine(cpuinfo: &str) -> Option<String> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    if !flags.split_whitespace().any(|flag| flag == "hypervisor") {
        return Some("no".to_owned());
    }
    Some(hypervisor().unwrap_or("yes").to_owned())
}

/// The hypervisor's signature: the leaf that the makers of hypervisors share.
#[cfg(target_arch = "x86_64")]
fn hypervisor() -> Option<&'static str> {
    let leaf = std::arch::x86_64::__cpuid(0x4000_0000);
    let signature: Vec<u8> =
        [leaf.ebx, leaf.ecx, leaf.edx].iter().flat_map(|word| word.to_le_bytes()).collect();
    hypervisor_name(&signature)
}

#[cfg(not(target_arch = "x86_64"))]
fn hypervisor() -> Option<&'static str> {
    None
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn hypervisor_name(signature: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"KVMKVMKVM", "KVM"),
        (b"Microsoft Hv", "Hyper-V"),
        (b"VMwareVMware", "VMware"),
        (b"XenVMMXenVMM", "Xen"),
        (b"bhyve bhyve ", "bhyve"),
        (b"TCGTCGTCGTCG", "QEMU without KVM"),
        (b"VBoxVBoxVBox", "VirtualBox"),
    ];
    known.into_iter().find(|(name, _)| signature.starts_with(name)).map(|(_, name)| name)
}

/// Busy (user, nice, system, irq, softirq) and stolen ticks of all cores.
fn machine_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq, stolen))
}

/// Ticks of a process and its children that have ended, of user and system, from its `stat`.
fn family_ticks(stat: &str) -> Option<u64> {
    let words: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    words.get(11..15)?.iter().map(|word| word.parse::<u64>().ok()).sum()
}

/// `2026-01-31 23:59 UTC` from seconds since 1970, by the Gregorian calendar.
fn date_text(seconds: u64) -> String {
    let (mut days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02} {:02}:{:02} UTC", month + 1, days + 1, minutes / 60, minutes % 60)
}

/// The command line as one would type it. What names a place on this machine's disk keeps its last part only.
fn command_text(words: &[String], is_on_disk: &dyn Fn(&str) -> bool) -> String {
    let mut out = String::from("fanwire-bench");
    for word in words.iter().skip(1) {
        let word = shorten_paths(word, is_on_disk);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        out.push(' ');
        if !word.is_empty() && word.chars().all(plain) {
            out.push_str(&word);
        } else {
            out.push_str(&format!("'{}'", word.replace('\'', r"'\''")));
        }
    }
    out
}

/// Replaces absolute paths in `text` that are on disk by their last part.
fn shorten_paths(text: &str, is_on_disk: &dyn Fn(&str) -> bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let ends = |c: char| c.is_whitespace() || "'\"=:,;&|()<>`$".contains(c);
        if c != '/' || !ends(before) {
            out.push(c);
            before = c;
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let path = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let short = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        out.push_str(if is_on_disk(path) { short } else { path });
        before = 'x';
        rest = &rest[path.len()..];
    }
    out
}

/// Whether `path`, or the folder it would be in, exists. Routes of a server do not.
fn is_on_disk(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| folder.parent().is_some());
    path.parent().is_some() && (path.exists() || folder.is_some_and(Path::exists))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named_on_every_architecture() {
        let x86 = "processor\t: 0\nmodel\t\t: 167\nmodel name\t: A  Fine CPU\nflags\t\t: fpu hypervisor\n";
        assert_eq!(cpu_model(x86), "A Fine CPU");
        assert_eq!((processors(x86), processors("")), (1, 0));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(cpu_model(arm), "CPU implementer 0x41 part 0xd0c");
        assert!(cpu_model("").ends_with(" processor"));
        assert_eq!(virtual_machine("flags\t: fpu vme\n").as_deref(), Some("no"));
        assert_eq!(virtual_machine(arm), None);
        assert!(virtual_machine(x86).is_some_and(|kind| kind != "no"));
        assert_eq!(hypervisor_name(b"KVMKVMKVM\0\0\0"), Some("KVM"));
        assert_eq!(hypervisor_name(b"GenuineIntel"), None);
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date_text(0), "1970-01-01 00:00 UTC");
        assert_eq!(date_text(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date_text(1_767_225_599), "2025-12-31 23:59 UTC");
        assert_eq!(date_text(4_107_542_400), "2100-03-01 00:00 UTC");
    }

    #[test]
    fn no_place_on_disk_gets_into_the_command() {
        let on_disk = |path: &str| path.starts_with("/home/me");
        let text = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            command_text(&words, &on_disk)
        };
        let command =
            text(&["/home/me/bench", "fanout", "--path", "/sub/bench", "--report=/home/me/a/out.html"]);
        assert_eq!(command, "fanwire-bench fanout --path /sub/bench --report=out.html");
        assert_eq!(
            text(&["x", "--server", "cd /home/me/x && '/home/me/bin/run' {port}"]),
            r"fanwire-bench --server 'cd x && '\''run'\'' {port}'"
        );
        assert_eq!(
            text(&["x", "--url", "http://127.0.0.1:80/", ""]),
            "fanwire-bench --url http://127.0.0.1:80/ ''"
        );
    }

    #[test]
    fn routes_are_no_files() {
        let temporary = std::env::temp_dir();
        assert!(is_on_disk(&temporary) && is_on_disk(&temporary.join("not-there-yet.html")));
        assert!(!is_on_disk(Path::new("/sub/bench")) && !is_on_disk(Path::new("/echo")));
        assert!(!is_on_disk(Path::new("/")));
    }

    #[test]
    fn what_the_machine_did_besides_is_told() {
        let stat = "cpu  10 20 30 900 5 6 7 8 0 0\ncpu0 1 2 3 90 5 6 7 8 0 0\n";
        assert_eq!(machine_ticks(stat), Some((10 + 20 + 30 + 6 + 7, 8)));
        assert_eq!(machine_ticks("intr 1"), None);
        assert_eq!(family_ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 22 33 44 20 0"), Some(11 + 22 + 33 + 44));
        let at = Instant::now();
        let before = Clocks { at, busy: 1000, stolen: 0, own: 500, softirq: 10 };
        let after = at + std::time::Duration::from_nanos(1000);
        let now = Clocks { at: after, busy: 2500, stolen: 200, own: 1300, softirq: 110 };
        let during = before.until(&now, 2, false);
        assert_eq!((during.steal_share, during.others_share), (Some(0.1), Some(0.3)));
        assert!(during.text().ends_with("NOT QUIET"), "{}", during.text());
        let foreign = before.until(&now, 2, true);
        assert_eq!(foreign.others_share, None);
        assert!(foreign.json(true).end().contains(r#""complete":true"#));
        let blind = Clocks { at, busy: 0, stolen: 0, own: 0, softirq: 0 };
        assert_eq!(blind.until(&Clocks { at: after, ..blind }, 2, false).steal_share, None);
    }

    #[test]
    fn this_machine_is_described_without_its_name() {
        let host = Host::look(Some((0, 1)), &["fanwire-bench".to_owned()], None);
        let line = host.json().end();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(
            value["cpus"].as_u64().unwrap() >= 1 && value["memory_total_bytes"].as_u64().unwrap() > 1 << 20
        );
        assert_eq!((&value["scenario"], &value["server_core"]), (&"host".into(), &0.into()));
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        // A name of a few letters may be part of anything.
        if name.trim().len() > 4 {
            assert!(!line.contains(name.trim()) && !host.text().contains(name.trim()));
        }
        assert_eq!(host.text().lines().count(), 3);
    }
}
