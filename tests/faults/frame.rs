//! One frame for all faults: a node whose words and figures are watched, and a look at what it holds before and after.

use crate::node::{self, Http, Node, fresh};
use crate::witness::Witness;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Awaiting something that must come on the busiest machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Resident memory that may differ after a second round of the same fault, bytes: the allocator gives pages back when
/// it likes.
pub const MEMORY_SLACK_BYTES: u64 = 24 << 20;

pub const LOCATIONS: &str = r#"
[[location]]
prefix = "/pub/"
methods = "publisher"
buffer_messages = 500
message_timeout = "0"

[[location]]
prefix = "/sub/"
methods = "subscriber"
"#;

/// What a node holds.
#[derive(Clone, Debug)]
pub struct Standing {
    files: usize,
    sockets: usize,
    memory: u64,
    /// Gauges that the world around it decides about.
    gauges: Vec<(&'static str, f64)>,
}

impl Standing {
    fn same(&self, other: &Standing) -> bool {
        self.files == other.files && self.sockets == other.sockets && self.gauges == other.gauges
    }

    fn is_within(&self, before: &Standing) -> bool {
        self.files <= before.files
            && self.sockets <= before.sockets
            && self.memory <= before.memory + MEMORY_SLACK_BYTES
            && self.gauges.iter().zip(&before.gauges).all(|((_, now), (_, then))| now <= then)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} files, {} sockets, {} KiB, {:?}",
            self.files,
            self.sockets,
            self.memory >> 10,
            self.gauges
        )
    }
}

/// Awaits `check`; says `what` did not come.
pub fn eventually(what: impl fmt::Display, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A node under a fault.
pub struct Patient {
    pub node: Node,
    said: Arc<Mutex<String>>,
    name: &'static str,
}

impl Patient {
    pub fn start(name: &'static str, settings: &str) -> Patient {
        Patient::start_with(name, settings, "", |_| {})
    }

    /// Starts a node with the witness's locations and `more` of them; `change` has the last word on how.
    pub fn start_with(
        name: &'static str,
        settings: &str,
        more: &str,
        change: impl FnOnce(&mut Command),
    ) -> Patient {
        let dir = fresh(&format!("fault-{name}"));
        let mut command = node::command(&dir, settings, &format!("{LOCATIONS}{more}"));
        change(&mut command);
        Patient::run(name, command)
    }

    /// Runs a node that is started by `command`.
    pub fn run(name: &'static str, mut command: Command) -> Patient {
        let mut node = Node::spawn(command.stderr(Stdio::piped()));
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, log) = (BufReader::new(node.child.stderr.take().unwrap()).lines(), said.clone());
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Patient { node, said, name }
    }

    pub fn address(&self) -> &str {
        &self.node.address
    }

    /// Lines of its log with all of `words`, and how many of these it says to have left out.
    pub fn lines(&self, words: &[&str]) -> usize {
        let said = self.said.lock().unwrap();
        let with = |line: &str, words: &[&str]| words.iter().all(|word| line.contains(word));
        let of_a_kind = said.lines().filter(|line| !line.contains("left_out=") && with(line, words)).count();
        let Some(reason) = words.iter().find(|word| word.starts_with("reason=")) else { return of_a_kind };
        let left_out = said.lines().filter(|line| with(line, &[reason])).filter_map(|line| {
            let (_, count) = line.split_once("left_out=")?;
            count.trim().parse::<usize>().ok()
        });
        of_a_kind + left_out.sum::<usize>()
    }

    /// Awaits `count` lines with all of `words`, and sees that there are no more.
    pub fn said(&self, words: &[&str], count: usize) {
        eventually(format_args!("{count} lines with {words:?}"), || self.lines(words) >= count);
        assert_eq!(self.lines(words), count, "{words:?}: {}", self.said.lock().unwrap());
    }

    /// One figure of its metrics, with labels as they stand there; 0 if there is none.
    pub fn figure(&self, name: &str) -> f64 {
        figure(&self.page(), name)
    }

    pub fn page(&self) -> String {
        Http::connect(self.address()).unwrap().request("GET", "/metrics", b"").unwrap().body
    }

    /// Awaits a figure of at least `least`.
    pub fn reaches(&self, name: &str, least: f64) {
        let mut last = 0.0;
        let end = Instant::now() + PATIENCE;
        while last < least {
            assert!(Instant::now() < end, "{name} is {last}, not {least}");
            thread::sleep(Duration::from_millis(50));
            last = self.figure(name);
        }
    }

    pub fn refused(&self, label: &str) -> f64 {
        self.figure(&format!("fanwire_refusals_total{{reason=\"{label}\"}}"))
    }

    pub fn reaches_refused(&self, label: &str, least: f64) {
        self.reaches(&format!("fanwire_refusals_total{{reason=\"{label}\"}}"), least);
    }

    /// What its descriptors are.
    fn links(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.node.child.id())).unwrap();
        entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect()
    }

    /// Its open files.
    pub fn files(&self) -> usize {
        self.links().len()
    }

    fn standing(&self) -> Standing {
        let links = self.links();
        let sockets = links.iter().filter(|link| link.to_string_lossy().starts_with("socket:")).count();
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node.child.id())).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let page = self.page();
        let gauges = [
            "fanwire_connections{carrier=\"http\"}",
            "fanwire_connections{carrier=\"websocket\"}",
            "fanwire_connections{carrier=\"stream\"}",
            "fanwire_subscriptions",
            "fanwire_channels",
        ];
        Standing {
            files: links.len(),
            sockets,
            memory: memory.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10,
            gauges: gauges.map(|name| (name, figure(&page, name))).into(),
        }
    }

    /// What it holds once nothing comes or goes any more.
    fn settled(&self) -> Standing {
        let mut before = self.standing();
        eventually("it comes to rest", || {
            thread::sleep(Duration::from_millis(300));
            let now = self.standing();
            let same = now.same(&before);
            before = now;
            same
        });
        before
    }

    /// A witness sees nothing wrong for a moment.
    pub fn suffers_briefly(&self) {
        let witness = Witness::start(self.address(), true);
        thread::sleep(Duration::from_millis(300));
        println!("{}: {}", self.name, witness.end());
    }

    /// Twice the fault with a witness beside it. After the first round, which warms everything up, the node holds so
    /// much; after the second no more than that.
    pub fn suffers(&self, fault: impl Fn(&Patient)) {
        self.suffers_with(true, fault);
    }

    /// As [`Patient::suffers`]; `fresh`: the witness also publishes on connections of their own.
    pub fn suffers_with(&self, fresh: bool, fault: impl Fn(&Patient)) {
        let round = || {
            let begun = Instant::now();
            let witness = Witness::start(self.address(), fresh);
            fault(self);
            let seen = witness.end();
            println!("{}: {:.1} s, {seen}", self.name, begun.elapsed().as_secs_f64());
            self.settled()
        };
        let before = round();
        let mut after = round();
        let end = Instant::now() + PATIENCE;
        while !after.is_within(&before) {
            assert!(Instant::now() < end, "{}: before: {before}\nafter: {after}", self.name);
            thread::sleep(Duration::from_millis(300));
            after = self.standing();
        }
        println!("{}: before {before}; after {after}", self.name);
        assert_eq!(self.figure("fanwire_panics_total"), 0.0);
    }
}

fn figure(page: &str, name: &str) -> f64 {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        .unwrap_or(0.0)
}

/// A connection to a node.
pub fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a request without body and reads the head of its answer.
pub fn ask(address: &str, target: &str, lines: &str) -> (TcpStream, String) {
    let mut socket = connect(address);
    write!(socket, "GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").unwrap();
    let head = read_head(&mut socket);
    (socket, head)
}

pub fn read_head(socket: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A WebSocket after its handshake.
pub fn websocket(address: &str, target: &str) -> TcpStream {
    let (socket, head) = ask(address, target, UPGRADE);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    socket
}
