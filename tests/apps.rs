//! The control socket of a node and the registry of apps behind it, against a process of the node.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const SHARDS: &str = "3";

struct Node {
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An empty directory below the build's one for temporary files.
fn fresh(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("apps-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn start(data: &Path) -> Node {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let child = Command::new(env!("CARGO_BIN_EXE_fanwire"))
        .args(["--listen", &listen, "--shards", SHARDS, "--drain", "0", "--data"])
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let node = Node { child, port, data: data.to_owned() };
    let until = Instant::now() + PATIENCE;
    while UnixStream::connect(data.join("control.sock")).is_err() {
        assert!(Instant::now() < until, "the node does not start");
        sleep(Duration::from_millis(20));
    }
    node
}

/// One connection to the control socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn open(data: &Path) -> Control {
        let stream = UnixStream::connect(data.join("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Control(BufReader::new(stream))
    }

    /// One that the node answers. The seats of connections that have just gone are free a moment later: the node's
    /// threads have to see it first.
    fn open_with_seat(data: &Path) -> Control {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut control = Control::open(data);
            if control.ask("{\"command\":\"list\"}").is_some_and(|lines| lines.len() == 2) {
                return control;
            }
            assert!(Instant::now() < until, "no room");
            sleep(Duration::from_millis(20));
        }
    }

    /// All lines of the answer; `None` where the node has closed.
    fn ask(&mut self, request: &str) -> Option<Vec<String>> {
        let _ = self.0.get_mut().write_all(format!("{request}\n").as_bytes());
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            let last = line.starts_with("{\"done\"") || line.starts_with("{\"error\"");
            lines.push(line.trim_end().to_owned());
            if last {
                return Some(lines);
            }
        }
    }

    fn does(&mut self, request: &str) {
        assert_eq!(self.ask(request).unwrap(), ["{\"done\":true}"], "{request}");
    }

    fn refuses(&mut self, request: &str) -> String {
        let lines = self.ask(request).unwrap();
        let answer: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        answer["error"].as_str().unwrap_or_else(|| panic!("{request}: {lines:?}")).to_owned()
    }

    /// Ids of the apps there are.
    fn ids(&mut self) -> Vec<String> {
        let lines = self.ask("{\"command\":\"list\"}").unwrap();
        let entries = lines[..lines.len() - 1].iter().map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(entry["app"].get("secret").is_none(), "{line}");
            entry["app"]["id"].as_str().unwrap().to_owned()
        });
        entries.collect()
    }
}

fn add(id: &str) -> String {
    format!(r#"{{"command":"add","app":{{"id":"{id}","key":"{id}-key","secret":"s"}}}}"#)
}

fn remove(id: &str) -> String {
    format!(r#"{{"command":"remove","id":"{id}"}}"#)
}

/// A Pusher client; only what the node says is looked at.
fn client(node: &Node, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET /app/{key}?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Reads until `what` has come; fails when the node ends first.
fn hear(stream: &mut TcpStream, what: &[u8]) {
    let (mut heard, mut part) = (Vec::new(), [0; 4096]);
    while !heard.windows(what.len()).any(|window| window == what) {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "closed after {}", heard.escape_ascii());
        heard.extend_from_slice(&part[..count]);
    }
}

const WELCOME: &[u8] = b"pusher:connection_established";
/// The status of a close frame for a key that names no app.
const NO_APP: &[u8] = &4001_u16.to_be_bytes();

#[test]
fn an_app_is_usable_when_the_answer_is_there_and_gone_when_it_is_gone() {
    let node = start(&fresh("use"));
    let mut control = Control::open(&node.data);
    for round in 0..5 {
        control.does(&add("shop"));
        // More clients than shards: connections are spread over all of them.
        let mut clients: Vec<TcpStream> = (0..24).map(|_| client(&node, "shop-key")).collect();
        clients.iter_mut().for_each(|stream| hear(stream, WELCOME));
        control.does(&remove("shop"));
        clients.iter_mut().for_each(|stream| hear(stream, NO_APP));
        let mut late = client(&node, "shop-key");
        hear(&mut late, NO_APP);
        assert_eq!(control.ids(), ["1"], "round {round}");
    }
}

#[test]
fn apps_survive_a_kill() {
    let data = fresh("kill");
    let mut node = start(&data);
    let mut control = Control::open(&data);
    control.does(&add("gone"));
    control.does(&add("a"));
    control.does(&remove("gone"));
    control.does(&add("b"));
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    drop(node);
    let node = start(&data);
    assert_eq!(Control::open(&data).ids(), ["1", "a", "b"]);
    hear(&mut client(&node, "b-key"), WELCOME);
}

#[test]
fn requests_that_cannot_be_are_refused_and_change_nothing() {
    let node = start(&fresh("refused"));
    let mut control = Control::open(&node.data);
    assert_eq!(control.refuses("hello"), "a request is one line of JSON");
    assert_eq!(control.refuses("[]"), "the request needs `command`");
    assert_eq!(control.refuses(r#"{"command":"stop"}"#), "unknown command `stop`");
    assert_eq!(control.refuses(r#"{"command":"add"}"#), "the command needs `app`");
    assert_eq!(control.refuses(r#"{"command":"add","app":7}"#), "an app needs `id`");
    assert_eq!(control.refuses(r#"{"command":"add","app":{"id":"a","key":"k"}}"#), "an app needs `secret`");
    assert!(control.refuses(&add("a b")).starts_with("`id` is made of letters"));
    assert_eq!(control.refuses(&add("1")), "another app has the same id or key");
    let same_key = r#"{"command":"add","app":{"id":"z","key":"dev-key","secret":"s"}}"#;
    assert_eq!(control.refuses(same_key), "another app has the same id or key");
    assert!(control.refuses(&remove("1")).contains("configuration"));
    assert_eq!(control.refuses(&remove("nobody")), "there is no app with this id");
    assert_eq!(control.refuses(r#"{"command":"remove","id":7}"#), "`id` is a string");
    assert_eq!(control.ids(), ["1"]);
}

#[test]
fn the_socket_is_its_owners_and_bounded() {
    let node = start(&fresh("bounds"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&node.data.join("control.sock")), 0o600);
    assert_eq!(mode(&node.data.join("store.db")), 0o600);
    assert_eq!(mode(&node.data), 0o700);
    // A line without an end.
    let mut long = Control::open(&node.data);
    assert!(long.ask(&"x".repeat(100_000)).is_none(), "closed");
    // More connections than there are seats; when they are gone, there is room again.
    let held: Vec<Control> = (0..8).map(|_| Control::open_with_seat(&node.data)).collect();
    let mut refused = Control::open(&node.data);
    let mut line = String::new();
    refused.0.read_line(&mut line).unwrap();
    assert!(line.contains("too many connections"), "{line}");
    drop(held);
    assert_eq!(Control::open_with_seat(&node.data).ids(), ["1"]);
}

#[test]
fn several_commands_at_once_each_get_their_answer() {
    let node = start(&fresh("several"));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let data = &node.data;
            scope.spawn(move || {
                let mut control = Control::open(data);
                for round in 0..10 {
                    control.does(&add(&format!("app-{thread}-{round}")));
                }
                for round in 0..9 {
                    control.does(&remove(&format!("app-{thread}-{round}")));
                }
            });
        }
    });
    let mut ids = Control::open(&node.data).ids();
    ids.sort();
    assert_eq!(ids, ["1", "app-0-9", "app-1-9", "app-2-9", "app-3-9", "app-4-9", "app-5-9"]);
}
