//! The server under load: started by us or running already.

use crate::procfs::ProcessTree;
use crate::sys;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A server has so long to listen after its start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A server has so long to leave after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Last lines of its output shown when a server dies.
const OUTPUT_LINES: usize = 20;

/// See the module. A server that was started here is stopped when this is dropped.
pub struct Server {
    /// What to call it in tables.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Core it is pinned to, or expected to run on.
    pub core: usize,
    root: u32,
    started: Option<Started>,
    /// Another one of these stands for the same server, and has started it here.
    guest: bool,
}

struct Started {
    child: Child,
    output: PathBuf,
}

impl Server {
    /// Starts `command` pinned to `core` and waits until `address` takes connections.
    pub fn start(
        name: &str,
        mut command: Command,
        address: SocketAddrV4,
        core: usize,
    ) -> Result<Server, String> {
        if TcpStream::connect(address).is_ok() {
            return Err(format!("something listens on {address} already"));
        }
        let output =
            std::env::temp_dir().join(format!("fanwire-bench-{}-{}.log", std::process::id(), address.port()));
        let file = File::create(&output).map_err(|e| format!("cannot write {}: {e}", output.display()))?;
        let twin = file.try_clone().map_err(|e| e.to_string())?;
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        sys::prepare_server(&mut command, core);
        let child = command.spawn().map_err(|e| {
            let _ = fs::remove_file(&output);
            format!("cannot start {}: {e}", command.get_program().to_string_lossy())
        })?;
        let root = child.id();
        let started = Some(Started { child, output });
        let mut server = Server { name: name.to_owned(), address, core, root, started, guest: false };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            server.check_alive()?;
            if begun.elapsed() > START_TIMEOUT {
                return Err(format!("{name} does not listen on {address} after {START_TIMEOUT:?}"));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Takes a server that runs already.
    pub fn attach(name: &str, root: u32, address: SocketAddrV4, core: usize) -> Result<Server, String> {
        let mut server = Server { name: name.to_owned(), address, core, root, started: None, guest: false };
        server.check_alive()?;
        TcpStream::connect(address).map_err(|e| format!("cannot connect to {address}: {e}"))?;
        Ok(server)
    }

    /// The same server under another name, for another load. It must not outlive this one.
    pub fn again(&self, name: &str) -> Server {
        let guest = self.started.is_some() || self.guest;
        Server {
            name: name.to_owned(),
            address: self.address,
            core: self.core,
            root: self.root,
            started: None,
            guest,
        }
    }

    /// The server's processes as they are now.
    pub fn processes(&self) -> Result<ProcessTree, String> {
        ProcessTree::of(self.root, self.core).map_err(|e| format!("cannot read /proc: {e}"))
    }

    /// Its first process.
    pub fn root(&self) -> u32 {
        self.root
    }

    /// Stops a server that was started here until `resume`.
    pub fn pause(&self) {
        if self.started.is_some() || self.guest {
            sys::signal_group(self.root, libc::SIGSTOP);
        }
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        if self.started.is_some() || self.guest {
            sys::signal_group(self.root, libc::SIGCONT);
        }
    }

    /// Tells a server that has ended, with the end of its output.
    pub fn check_alive(&mut self) -> Result<(), String> {
        let Some(started) = &mut self.started else {
            return match fs::metadata(format!("/proc/{}", self.root)) {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("no process {}", self.root)),
            };
        };
        match started.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let output = fs::read_to_string(&started.output).unwrap_or_default();
                let lines: Vec<&str> = output.lines().collect();
                let tail = lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n");
                Err(format!("{} has ended ({status}). Its last output:\n{tail}", self.name))
            }
            Err(error) => Err(format!("cannot ask about {}: {error}", self.name)),
        }
    }

    /// Ends a server that was started here.
    pub fn stop(&mut self) {
        let Some(mut started) = self.started.take() else { return };
        sys::signal_group(self.root, libc::SIGTERM);
        // One that is paused would not hear it.
        sys::signal_group(self.root, libc::SIGCONT);
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT && matches!(started.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
        if matches!(started.child.try_wait(), Ok(None)) {
            sys::signal_group(self.root, libc::SIGKILL);
            let _ = started.child.wait();
        }
        let _ = fs::remove_file(&started.output);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port on 127.0.0.1 that was free a moment ago.
pub fn free_address() -> Result<SocketAddrV4, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| format!("no free port: {e}"))?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// Address of `http://A.B.C.D:PORT`, with or without a trailing slash.
pub fn parse_url(url: &str) -> Result<SocketAddrV4, String> {
    let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let rest = rest.replacen("localhost", "127.0.0.1", 1);
    rest.parse().map_err(|_| format!("{url}: expected http://A.B.C.D:PORT"))
}

/// Command line for the shell with `{port}` replaced; it also finds the port in `PORT`.
pub fn shell(line: &str, address: SocketAddrV4) -> Command {
    let port = address.port().to_string();
    let mut command = Command::new("sh");
    command.arg("-c").arg(line.replace("{port}", &port)).env("PORT", port);
    command
}

/// `fanwire serve` with one shard and `options`, from the directory of this program.
pub fn fanwire(address: SocketAddrV4, options: &[&str]) -> Result<Command, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let binary = own.with_file_name("fanwire");
    if !binary.is_file() {
        return Err(format!(
            "{} is missing. Build it with: cargo build --release --bin fanwire",
            binary.display()
        ));
    }
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", &address.to_string(), "--shards", "1"]);
    command.args(options);
    Ok(command)
}

/// The floor program, in `mode`.
pub fn floor(address: SocketAddrV4, mode: crate::floor::Mode) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args(["floor", "--port", &address.port().to_string(), "--mode", mode.name()]);
    Ok(command)
}

/// A program that accepts connections and does nothing with them.
pub fn bare(address: SocketAddrV4) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args(["bare", "--port", &address.port().to_string()]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_scheme() {
        let expected: SocketAddrV4 = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(parse_url("http://127.0.0.1:8080/"), Ok(expected));
        assert_eq!(parse_url("localhost:8080"), Ok(expected));
        assert!(parse_url("http://example:80").is_err());
        assert!(parse_url("https://127.0.0.1:80").is_err());
    }

    #[test]
    fn a_paused_server_does_nothing_and_still_ends() {
        let address = free_address().unwrap();
        let mut command = Command::new(shell("", address).get_program());
        command.arg("-c").arg(format!(
            "exec python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", {}))\nwhile True: pass'",
            address.port()
        ));
        let server = Server::start("spinner", command, address, 0).unwrap();
        let cpu = || server.processes().unwrap().cpu_ns().unwrap().0;
        server.pause();
        sleep(Duration::from_millis(50));
        let before = cpu();
        sleep(Duration::from_millis(100));
        assert_eq!(cpu(), before, "paused");
        let guest = server.again("guest");
        guest.resume();
        sleep(Duration::from_millis(300));
        assert!(cpu() > before, "resumed");
        guest.pause();
        sleep(Duration::from_millis(50));
        let before = cpu();
        sleep(Duration::from_millis(100));
        assert_eq!(cpu(), before, "paused under its other name");
        drop(guest);
        assert!(std::path::Path::new(&format!("/proc/{}", server.root())).exists(), "a guest ends nothing");
        server.pause();
        let begun = Instant::now();
        drop(server);
        assert!(begun.elapsed() < STOP_TIMEOUT, "SIGTERM was not heard");
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_output() {
        let address = free_address().unwrap();
        let Err(error) = Server::start("peer", shell("echo no licence; exit 3", address), address, 0) else {
            panic!("started")
        };
        assert!(error.contains("peer has ended") && error.contains("no licence"), "{error}");
    }

    #[test]
    fn a_program_that_is_missing_is_told() {
        let address = free_address().unwrap();
        let Err(error) = Server::start("peer", Command::new("/nonexistent"), address, 0) else {
            panic!("started")
        };
        assert!(error.contains("cannot start /nonexistent"), "{error}");
    }
}
