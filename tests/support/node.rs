//! A node in a process of its own, and just enough HTTP to talk to it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An empty directory below the build's directory for temporary files.
pub fn fresh(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{name}"));
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
        _ => dir,
    }
}

/// Runs the program to its end: whether it worked, and all it said.
pub fn fanwire(args: &[&str]) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_fanwire")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), said)
}

/// A running node.
pub struct Node {
    pub child: Child,
    pub address: String,
}

/// How a node with its store in `dir` is started.
pub fn command(dir: &Path, settings: &str, locations: &str) -> Command {
    let file = dir.with_extension("toml");
    let text = format!("{settings}\nlisten = [\"127.0.0.1:0\"]\nlog = \"warn\"\n{locations}");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.arg("--config").arg(file).arg("--data").arg(dir);
    command
}

impl Node {
    /// Starts a node with its store in `dir` and waits until it listens.
    pub fn start(dir: &Path, settings: &str, locations: &str) -> Node {
        Node::spawn(&mut command(dir, settings, locations))
    }

    /// The same; its log goes to a file.
    #[allow(dead_code)] // not everybody reads it
    pub fn start_logging(dir: &Path, settings: &str, locations: &str, log: &Path) -> Node {
        let mut command = command(dir, settings, locations);
        command.stderr(std::fs::File::create(log).unwrap());
        Node::spawn(&mut command)
    }

    /// Runs `command`, which starts a node, and waits until it listens.
    pub fn spawn(command: &mut Command) -> Node {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let Some(line) = lines.next() else {
                let mut said = String::new();
                child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
                panic!("the node does not start: {said}");
            };
            let line = line.unwrap();
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.to_owned();
            }
        };
        // The rest of what it says goes nowhere, and nobody waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Node { child, address }
    }

    /// What a node says that does not start.
    pub fn refused(dir: &Path, settings: &str, locations: &str) -> String {
        let out = command(dir, settings, locations).output().unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it stop in its own way.
    pub fn stop(&mut self) {
        let done = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
        assert!(self.child.wait().unwrap().success());
    }

    /// Sends it a signal.
    #[allow(dead_code)] // not every suite does
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// One figure of its metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let page = Http::connect(&self.address).unwrap().request("GET", "/metrics", b"").unwrap().body;
        let found = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {name} in {page}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: &str) -> io::Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(BufReader::new(socket))
}

/// A connection that is kept.
pub struct Http(BufReader<TcpStream>);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// Of a publisher's answer: the position of the message.
    pub fn last_message_id(&self) -> String {
        let (_, rest) = self.body.split_once("\"last_message_id\":").unwrap_or_else(|| panic!("{self:?}"));
        rest.trim_start().trim_start_matches('"').split('"').next().unwrap().to_owned()
    }
}

impl Http {
    pub fn connect(address: &str) -> io::Result<Http> {
        connect(address).map(Http)
    }

    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.request("POST", path, body)
    }

    /// Sends a request and reads its answer.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.0.get_mut().write_all(&request)?;
        let (status, length) = head(&mut self.0)?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, body: String::from_utf8(body).unwrap() })
    }
}

/// Status and content length.
fn head(from: &mut impl BufRead) -> io::Result<(u16, usize)> {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, length));
        }
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
}

/// An event stream; its items are ids and data of one line. It ends with the node.
pub struct Stream(BufReader<TcpStream>);

impl Stream {
    pub fn open(address: &str, path: &str, last_event_id: Option<&str>) -> io::Result<Stream> {
        let mut socket = connect(address)?;
        let resume = last_event_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{resume}\r\n");
        socket.get_mut().write_all(request.as_bytes())?;
        let (status, _) = head(&mut socket)?;
        assert_eq!(status, 200);
        Ok(Stream(socket))
    }
}

impl Iterator for Stream {
    type Item = (String, String);

    fn next(&mut self) -> Option<(String, String)> {
        let (mut id, mut data) = (None, None);
        loop {
            let mut line = String::new();
            // A kill may cut a line.
            if self.0.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            match line.split_once(": ") {
                Some(("id", text)) => id = Some(text.to_owned()),
                Some(("data", text)) => data = Some(text.to_owned()),
                _ if line.is_empty() => {
                    if let (Some(id), Some(data)) = (id.take(), data.take()) {
                        return Some((id, data));
                    }
                }
                _ => {}
            }
        }
    }
}
