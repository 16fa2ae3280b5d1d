//! Processes of the node that hand over to each other, and a service manager to watch them.

use crate::node::{Http, fresh};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for anything. Much longer than it takes on a machine that has nothing else to do.
pub const LONG: Duration = Duration::from_secs(40);

/// Waits until `found` finds something.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LONG;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "never happened: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub const LOCATIONS: &str = r#"
[[location]]
prefix = "/pub/"
methods = "publisher"
durable = true
buffer_messages = 1000000
message_timeout = "0"

[[location]]
prefix = "/mem/"
methods = "publisher"
buffer_messages = 100000

[[location]]
prefix = "/sub/"
methods = "subscriber"
"#;

/// A node as a service: one process at a time that counts.
pub struct Service {
    pub dir: PathBuf,
    child: Child,
    manager: UnixDatagram,
    /// The process that counts.
    pub pid: u32,
    pub address: String,
}

impl Service {
    /// Starts it with these settings and waits until it is ready.
    pub fn start(name: &str, settings: &str) -> Service {
        let mut service = Service::spawn(name, &listening_somewhere(settings), None, &[]);
        service.expect_state("READY=1");
        service.address = service.listening();
        service
    }

    /// Starts it with the socket passed as a service manager does it; `variables` are set besides.
    pub fn spawn(
        name: &str,
        settings: &str,
        socket: Option<TcpListener>,
        variables: &[(&str, &str)],
    ) -> Service {
        let dir = fresh(name);
        fs::create_dir_all(&dir).unwrap();
        let manager = UnixDatagram::bind(dir.join("notify")).unwrap();
        manager.set_read_timeout(Some(LONG)).unwrap();
        write_config(&dir, settings);
        let file =
            |name: &str| fs::OpenOptions::new().create(true).append(true).open(dir.join(name)).unwrap();
        let passed = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$@\"";
        let mut command = match &socket {
            Some(_) => Command::new("sh"),
            None => Command::new(env!("CARGO_BIN_EXE_fanwire")),
        };
        if let Some(socket) = socket {
            command.args(["-c", passed, "sh", env!("CARGO_BIN_EXE_fanwire")]);
            command.stdin(Stdio::from(OwnedFd::from(socket)));
        }
        command.arg("--config").arg(dir.join("config.toml"));
        command.env("NOTIFY_SOCKET", dir.join("notify")).envs(variables.iter().copied());
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        let pid = child.id();
        Service { dir, child, manager, pid, address: String::new() }
    }

    /// Other settings from the next process on.
    pub fn configure(&self, settings: &str) {
        write_config(&self.dir, &listening_somewhere(settings));
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.dir.join("stderr")).unwrap()
    }

    /// Waits until the log says so: it is written by a thread of its own.
    pub fn logs(&self, what: &str) {
        eventually(what, || self.stderr().contains(what).then_some(()));
    }

    fn listening(&self) -> String {
        let said = fs::read_to_string(self.dir.join("stdout")).unwrap();
        let (_, address) = said.split_once("listening on http://").unwrap_or_else(|| panic!("{said}"));
        address.lines().next().unwrap().to_owned()
    }

    /// What the service manager hears next.
    pub fn state(&self) -> String {
        let mut room = [0; 4096];
        let len = self.manager.recv(&mut room).unwrap_or_else(|e| panic!("{e}: {}", self.stderr()));
        String::from_utf8(room[..len].to_vec()).unwrap()
    }

    /// What it hears next, but for signs of life.
    pub fn expect_state(&self, state: &str) {
        let mut said = self.state();
        while said == "WATCHDOG=1" && said != state {
            said = self.state();
        }
        assert_eq!(said, state, "{}", self.stderr());
    }

    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Hands over to a new process. Returns the number of the old one.
    pub fn upgrade(&mut self) -> u32 {
        self.signal("USR2");
        let reloading = self.state();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        let ready = self.state();
        let pid = ready.strip_prefix("MAINPID=").and_then(|rest| rest.strip_suffix("\nREADY=1"));
        let pid = pid.unwrap_or_else(|| panic!("{ready}: {}", self.stderr())).parse().unwrap();
        std::mem::replace(&mut self.pid, pid)
    }

    /// Waits for the end of the first process.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the first process ends", || self.child.try_wait().unwrap())
    }

    /// Open descriptors of the process.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if is_running(self.pid) {
            self.signal("KILL");
        }
    }
}

/// The settings with an address to listen on, if they have none.
fn listening_somewhere(settings: &str) -> String {
    match settings.starts_with("listen = ") {
        true => settings.to_owned(),
        false => format!("listen = [\"127.0.0.1:0\"]\n{settings}"),
    }
}

fn write_config(dir: &Path, settings: &str) {
    fs::write(dir.join("config.toml"), format!("{settings}\n{LOCATIONS}")).unwrap();
}

/// Whether there is such a process that has not ended.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// One request on a unix socket that is kept; the status of its answer.
pub struct Local(BufReader<UnixStream>);

impl Local {
    pub fn connect(path: &Path) -> Local {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Local(BufReader::new(stream))
    }

    pub fn post(&mut self, path: &str, body: &str) -> io::Result<u16> {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(' ') {
                Some(("HTTP/1.1", rest)) => status = rest[..3].parse().unwrap(),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length:") => {
                    length = value.parse().unwrap();
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        self.0.read_exact(&mut vec![0; length])?;
        Ok(status)
    }
}

/// One request on a connection of its own: its status and body.
pub fn once(address: &str, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, String)> {
    let answer = Http::connect(address)?.request(method, path, body)?;
    Ok((answer.status, answer.body))
}
