//! The control socket: how commands on the same machine speak with the running node. A unix socket in the store's
//! directory, for its owner alone; each line is one JSON object.
//!
//! | request | answer |
//! |---|---|
//! | `{"command":"add","app":{"id":"..","key":"..","secret":"..", ...}}` | `{"done":true}` |
//! | `{"command":"remove","id":".."}` | `{"done":true}` |
//! | `{"command":"revoke","app":"..","user":".."}`, or `"token":".."` | `{"done":true}` when its sessions have ended |
//! | `{"command":"list","secrets":false}` | a line `{"app":{..},"configured":true,"connections":3}` for each app, then `{"done":true}` |
//!
//! Whatever fails is answered with `{"error":".."}`. An app has the keys of `[[app]]`. The next request is read when
//! the last one is answered.

use super::apps::{Change, Registry};
use super::config::{read_app, write_app};
use crate::dialect::app::App;
use crate::dialect::grant::revoked::{Order, What};
use crate::limits::{CONTROL_CONNECTIONS, CONTROL_LINE_BYTES, CONTROL_PATIENCE_MS, CONTROL_PAUSE_MS};
use crate::wire::json::{self, Reader};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tracing::warn;

/// Where the control socket of a node with its store in `data` is.
pub fn path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// The open control socket. Dropping it closes it.
pub struct Control {
    path: PathBuf,
    stopped: Arc<AtomicBool>,
}

impl Control {
    /// Opens the socket in the directory `data`, in place of one that a killed node left there: who has the store open
    /// is the only node there.
    ///
    /// # Errors
    /// When it cannot be made; its path has at most 107 bytes.
    pub fn open(data: &Path, registry: Registry) -> io::Result<Control> {
        let path = path(data);
        let listener = bind_private(data, &path)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Server { registry, stopped: stopped.clone(), open: Arc::default() };
        thread::Builder::new().name("control".into()).spawn(move || server.run(&listener))?;
        Ok(Control { path, stopped })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.path); // wakes the thread
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds where nobody else can look in, and moves the socket to its place when it is for its owner alone.
fn bind_private(data: &Path, path: &Path) -> io::Result<UnixListener> {
    let private = data.join(".control");
    let _ = fs::remove_dir_all(&private); // of a node that was killed here
    DirBuilder::new().mode(0o700).create(&private)?;
    let inside = private.join("s");
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    });
    let _ = fs::remove_dir_all(&private);
    bound
}

struct Server {
    registry: Registry,
    stopped: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
}

/// A connection that counts until it is over.
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    fn run(self, listener: &UnixListener) {
        loop {
            let accepted = listener.accept();
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    warn!(%error, "the control socket takes no connection");
                    thread::sleep(Duration::from_millis(CONTROL_PAUSE_MS));
                }
            }
        }
    }

    fn serve(&self, mut stream: UnixStream) {
        let seat = Seat(self.open.clone());
        if seat.0.fetch_add(1, Ordering::Relaxed) >= CONTROL_CONNECTIONS {
            let _ = stream.set_nonblocking(true);
            let _ = stream.write_all(b"{\"error\":\"too many connections to the control socket\"}\n");
            return;
        }
        let registry = self.registry.clone();
        let work = move || {
            let _seat = seat;
            // A peer that has gone or says nothing is no trouble of ours.
            let _ = converse(&mut stream, &registry);
        };
        if let Err(error) = thread::Builder::new().name("control".into()).spawn(work) {
            warn!(%error, "a connection to the control socket is closed");
        }
    }
}

/// Answers requests until the peer is done.
fn converse(stream: &mut UnixStream, registry: &Registry) -> io::Result<()> {
    let patience = Duration::from_millis(CONTROL_PATIENCE_MS);
    stream.set_write_timeout(Some(patience))?;
    let mut lines = Lines::new(CONTROL_LINE_BYTES);
    while let Some(request) = lines.next(stream, patience)? {
        let mut out = BufWriter::new(&*stream);
        answer(&request, registry, &mut out)?;
        out.flush()?;
    }
    Ok(())
}

/// Writes the answer to one request.
fn answer(request: &str, registry: &Registry, out: &mut impl Write) -> io::Result<()> {
    let outcome = match Request::read(request) {
        Ok(Request::List { secrets }) => {
            for (app, configured) in registry.list() {
                out.write_all(&entry(&app, configured, secrets))?;
            }
            Ok(())
        }
        Ok(Request::Revoke(order)) => {
            registry.revoke(&order).map(drop).map_err(|refusal| refusal.to_string())
        }
        Ok(Request::Change(change)) => {
            registry.change(change).map(drop).map_err(|refusal| refusal.to_string())
        }
        Err(what) => Err(what),
    };
    out.write_all(&outcome_line(&outcome))
}

/// The last line of an answer.
pub fn outcome_line(outcome: &Result<(), String>) -> Vec<u8> {
    let Err(what) = outcome else { return b"{\"done\":true}\n".to_vec() };
    let mut line = b"{\"error\":".to_vec();
    json::string(&mut line, what.as_bytes());
    line.extend_from_slice(b"}\n");
    line
}

/// The line that tells of one app.
pub fn entry(app: &App, configured: bool, secret: bool) -> Vec<u8> {
    let mut line = b"{\"app\":".to_vec();
    write_app(&mut line, &app.settings, secret);
    line.extend_from_slice(b",\"configured\":");
    line.extend_from_slice(if configured { b"true" } else { b"false" });
    line.extend_from_slice(b",\"connections\":");
    json::number(&mut line, app.connections());
    line.extend_from_slice(b"}\n");
    line
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// An app shall come or go.
    Change(Change),
    /// Which apps there are.
    List {
        /// With their secrets.
        secrets: bool,
    },
    /// What a user or a token was granted is taken back.
    Revoke(Order),
}

impl Request {
    /// The request as a line.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        match self {
            Request::Change(Change::Add(settings)) => {
                line.extend_from_slice(b"{\"command\":\"add\",\"app\":");
                write_app(&mut line, settings, true);
            }
            Request::Change(Change::Remove(id)) => {
                line.extend_from_slice(b"{\"command\":\"remove\",\"id\":");
                json::string(&mut line, id.as_bytes());
            }
            Request::Revoke(Order { app, what, id }) => {
                line.extend_from_slice(format!("{{\"command\":\"revoke\",\"{}\":", what.name()).as_bytes());
                json::string(&mut line, id.as_bytes());
                if let Some(app) = app {
                    line.extend_from_slice(b",\"app\":");
                    json::string(&mut line, app.as_bytes());
                }
            }
            Request::List { secrets } => {
                line.extend_from_slice(format!("{{\"command\":\"list\",\"secrets\":{secrets}").as_bytes());
            }
        }
        line.extend_from_slice(b"}\n");
        line
    }

    /// Reads what [`Request::line`] wrote, without its end.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn read(line: &str) -> Result<Request, String> {
        let mut reader = Reader::default();
        let document = reader.read(line).map_err(|_| "a request is one line of JSON".to_owned())?;
        let request = document.root();
        let needs = |name: &str| request.get(name).ok_or_else(|| format!("the command needs `{name}`"));
        match request.get("command").and_then(json::Value::as_str) {
            Some("add") => Ok(Request::Change(Change::Add(Box::new(read_app(needs("app")?)?)))),
            Some("remove") => {
                let id = needs("id")?.as_str().ok_or("`id` is a string")?;
                Ok(Request::Change(Change::Remove(id.to_owned())))
            }
            Some("list") => {
                Ok(Request::List { secrets: request.get("secrets").is_some_and(|flag| flag.raw() == "true") })
            }
            Some("revoke") => {
                let text = |name: &str| request.get(name).and_then(json::Value::as_str).map(str::to_owned);
                let (what, id) = match (text("user"), text("token")) {
                    (Some(id), None) => (What::User, id),
                    (None, Some(id)) => (What::Token, id),
                    _ => return Err("the command needs `user` or `token`".into()),
                };
                Ok(Request::Revoke(Order { app: text("app"), what, id }))
            }
            Some(other) => Err(format!("unknown command `{}`", other.escape_debug())),
            None => Err("the request needs `command`".into()),
        }
    }
}

/// Lines that come over the socket.
pub struct Lines {
    /// Read and not given yet.
    bytes: Vec<u8>,
    /// So many of them hold no end of a line.
    searched: usize,
    line_bytes: usize,
}

impl Lines {
    /// Lines of at most `line_bytes` without their ends.
    pub fn new(line_bytes: usize) -> Lines {
        Lines { bytes: Vec::new(), searched: 0, line_bytes }
    }

    /// The next line without its end; `None` when no further one begins.
    ///
    /// # Errors
    /// When it does not arrive within `patience`, or as [`Lines::take`].
    pub fn next(&mut self, stream: &UnixStream, patience: Duration) -> io::Result<Option<String>> {
        let until = Instant::now() + patience;
        loop {
            if let Some(line) = self.take()? {
                return Ok(Some(line));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            let mut part = [0; 4096];
            match (&mut &*stream).read(&mut part) {
                Ok(0) if self.bytes.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.add(&part[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in what was received.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line without its end, if all of it was received.
    ///
    /// # Errors
    /// When it is too long or not UTF-8. It stays, and so does the error.
    pub fn take(&mut self) -> io::Result<Option<String>> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let end = memchr::memchr(b'\n', &self.bytes[self.searched..]).map(|at| self.searched + at);
        if end.unwrap_or(self.bytes.len()) > self.line_bytes {
            return Err(invalid("a line is too long"));
        }
        let Some(end) = end else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let line =
            std::str::from_utf8(&self.bytes[..end]).map_err(|_| invalid("a line is not UTF-8"))?.to_owned();
        self.bytes.drain(..=end);
        self.searched = 0;
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::app::{AppSettings, Apps};
    use crate::limits::{CONTROL_ANSWER_BYTES, NODE_ORIGINS};

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        let mut lines = Lines::new(3);
        lines.add(b"abc");
        assert_eq!(lines.take().unwrap(), None);
        lines.add(b"\n\nde");
        assert_eq!(lines.take().unwrap().as_deref(), Some("abc"));
        assert_eq!(lines.take().unwrap().as_deref(), Some(""));
        assert_eq!(lines.take().unwrap(), None);
        lines.add(b"fg\n");
        assert!(lines.take().is_err() && lines.take().is_err());
        let mut lines = Lines::new(3);
        lines.add(b"abcd");
        assert!(lines.take().is_err(), "whatever may follow");
    }

    #[test]
    fn an_app_with_much_to_tell_is_listed() {
        let origin = |number: usize| format!("https://{}.example", number.to_string().repeat(100));
        let settings = AppSettings {
            origins: (100..100 + NODE_ORIGINS).map(origin).collect(),
            ..AppSettings::new("a", "k", "s")
        };
        let apps = Apps::new([settings]).unwrap();
        let line = entry(apps.iter().next().unwrap(), true, true);
        assert!(line.len() > CONTROL_LINE_BYTES && line.len() < CONTROL_ANSWER_BYTES);
    }
}
