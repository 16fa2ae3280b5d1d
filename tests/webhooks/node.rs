//! A whole node: subscribers come and go, its web hooks hang or fail, and publishing goes on as if there were none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fanwire::wire::sign;
use serde_json::{Value, json};

use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::bench::{all_events, body, events, failing_first, taking};
use crate::support::{PATIENCE, back_end, eventually, hang};

struct Node {
    process: Child,
    address: SocketAddr,
    /// Kept open: the node prints into it.
    _out: BufReader<ChildStdout>,
}

impl Node {
    fn start(name: &str, shards: usize, webhooks: &str) -> Node {
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\nshards = {shards}\nlog = \"off\"\ndrain = \"1s\"\n[hooks]\ntimeout = \"2s\"\n{webhooks}"
        );
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("webhooks-{name}.toml"));
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        let mut process = command.arg("--config").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "the node did not start");
            if let Some((_, address)) = line.trim().split_once("listening on http://") {
                break address.parse().unwrap();
            }
        };
        Node { process, address, _out: out }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A subscriber that is there when this returns.
    fn subscriber(&self, channel: &str) -> TcpStream {
        let mut stream = self.connect();
        let head = format!("GET /sub/{channel} HTTP/1.1\r\nHost: n\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream
    }

    /// The value of a metric.
    fn metric(&self, name: &str) -> f64 {
        let mut stream = self.connect();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Publishes so often, one after another, while subscribers come and go; the time of each publish, sorted.
    fn publish_times(&self, publishes: usize) -> Vec<Duration> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0.. {
                    if stop.load(SeqCst) {
                        break;
                    }
                    drop(self.subscriber(&format!("come-and-go-{n}")));
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let times = self.publish(publishes);
            stop.store(true, SeqCst);
            times
        })
    }

    fn publish(&self, publishes: usize) -> Vec<Duration> {
        let _listener = self.subscriber("news");
        let mut stream = self.connect();
        let request = b"POST /pub/news HTTP/1.1\r\nHost: n\r\nContent-Length: 5\r\n\r\nhello";
        let mut answer = [0; 4096];
        let mut times: Vec<_> = (0..publishes)
            .map(|_| {
                let begun = Instant::now();
                stream.write_all(request).unwrap();
                let length = stream.read(&mut answer).unwrap();
                assert!(answer[..length].starts_with(b"HTTP/1.1 20"));
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        times
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn webhook(address: SocketAddr, more: &str) -> String {
    format!("[[webhook]]\nurl = \"http://{address}/hook\"\n{more}\n")
}

#[test]
fn a_node_tells_who_comes_and_goes() {
    let (address, log) = taking();
    let node = Node::start("tells", 3, &webhook(address, "channel_prefix = \"told\""));
    let first = node.subscriber("told-a");
    let second = node.subscriber("told-a");
    let _untold = node.subscriber("untold");
    let stays = node.subscriber("told-b");
    let both = log.wait_for(1);
    eventually("both channels are occupied", || all_events(&log).len() == 2);
    let seen = &both[0];
    assert!(seen.text().contains("X-Pusher-Key: dev-key\r\n"));
    assert!(seen.text().contains(sign::webhook(b"dev-secret", &body(seen)).as_str()));
    drop((first, second));
    let begun = Instant::now();
    drop(stays);
    eventually("both are vacated", || node.metric("fanwire_webhook_held") == 2.0);
    let back = node.subscriber("told-b");
    eventually("a is vacated", || all_events(&log).len() == 3);
    assert!(begun.elapsed() >= Duration::from_millis(2_500), "after its grace time of three seconds");
    let expected = ["channel_occupied told-a", "channel_occupied told-b", "channel_vacated told-a"];
    assert_eq!(all_events(&log), expected, "b was back in time");
    eventually("they count as sent", || node.metric("fanwire_webhook_sent_total") == 3.0);
    assert_eq!(node.metric("fanwire_webhook_undone_total"), 2.0);
    assert_eq!(node.metric("fanwire_webhook_waiting"), 0.0);
    drop(back);
}

struct Client {
    socket: WebSocket<TcpStream>,
    id: String,
}

impl Client {
    fn new(node: &Node) -> Client {
        let mut stream = node.connect();
        let head = "GET /app/k?protocol=7 HTTP/1.1\r\nHost: n\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"));
        let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
        let established: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
        let data: Value = serde_json::from_str(established["data"].as_str().unwrap()).unwrap();
        Client { socket, id: data["socket_id"].as_str().unwrap().to_owned() }
    }

    fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    /// Subscribes and waits until it stands.
    fn subscribe(&mut self, channel: &str, user: Option<&str>) {
        let data = user.map(|user| json!({ "user_id": user }).to_string());
        let signed = sign::channel_string(&self.id, channel, data.as_deref());
        let auth = format!("k:{}", sign::hmac_sha256(b"s", signed.as_bytes()).as_str());
        let mut ask = json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": auth}});
        if let Some(data) = data {
            ask["data"]["channel_data"] = data.into();
        }
        self.send(&ask);
        while !self.read().contains("subscription_succeeded") {}
    }

    fn read(&mut self) -> String {
        self.socket.read().unwrap().into_text().unwrap().to_string()
    }
}

#[test]
fn what_pusher_clients_do_is_told() {
    let (address, log) = taking();
    let app =
        "[[app]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\nclient_events = true\nsubscription_count = true";
    let node = Node::start("pusher", 3, &format!("{app}\n{}", webhook(address, "batch = false")));
    let told = |count: usize| log.wait_for(count).iter().flat_map(events).collect::<Vec<_>>();
    let mut first = Client::new(&node);
    first.subscribe("presence-a", Some("u1"));
    assert_eq!(told(2), ["channel_occupied presence-a", "member_added presence-a"]);
    let mut second = Client::new(&node);
    second.subscribe("presence-a", Some("u2"));
    assert_eq!(told(3)[2], "member_added presence-a");
    second.send(&json!({"event": "client-typing", "channel": "presence-a", "data": {"a": 1}}));
    assert_eq!(told(4)[3], "client_event presence-a");
    let sent: Value = serde_json::from_slice(&body(&log.all()[3])).unwrap();
    let expected = json!({"name": "client_event", "channel": "presence-a", "event": "client-typing",
        "data": "{\"a\":1}", "socket_id": second.id, "user_id": "u2"});
    assert_eq!(sent["events"][0], expected);
    second.subscribe("cache-b", None);
    let mut three = told(7)[4..].to_vec();
    three.sort_unstable();
    assert_eq!(three, ["cache_miss cache-b", "channel_occupied cache-b", "subscription_count cache-b"]);
    first.subscribe("cache-b", None);
    assert_eq!(told(8)[7], "subscription_count cache-b", "and no second miss");
    let counted: Value = serde_json::from_slice(&body(&log.all()[7])).unwrap();
    assert_eq!(counted["events"][0]["subscription_count"], 2);
    while !first.read().contains("subscription_count\\\":2") {}
    drop(second);
    assert_eq!(told(10)[8..], ["subscription_count cache-b", "member_removed presence-a"]);
    while !first.read().contains("subscription_count\\\":1") {}
}

/// The middle of the times of publishing with hooks that hang and fail against those without any hook, in turns.
#[test]
fn publishing_goes_on_at_full_speed_while_hooks_hang_and_fail() {
    const PUBLISHES: usize = 3_000;
    const ROUNDS: usize = 5;
    let (hanging, _) = back_end(|_, stream| hang(stream));
    let (failing, _) = failing_first(u32::MAX);
    let (slow, _) = back_end(|_, stream| {
        std::thread::sleep(Duration::from_millis(300));
        crate::support::ok(stream)
    });
    let hooks = [webhook(hanging, ""), webhook(failing, "batch = false"), webhook(slow, "batch = false")];
    // One shard: with more, chance decides which publishes are handed on to another one.
    let without = Node::start("without", 1, "");
    let with = Node::start("with", 1, &hooks.concat());
    let (mut plain, mut hooked) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.extend(without.publish_times(PUBLISHES));
        hooked.extend(with.publish_times(PUBLISHES));
    }
    plain.sort_unstable();
    hooked.sort_unstable();
    let at = |times: &[Duration], part: f64| times[(times.len() as f64 * part) as usize];
    let rate = |times: &[Duration]| times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
    println!(
        "publishes per second, middle and 99 %: {:.0}, {:?}, {:?} without hooks; {:.0}, {:?}, {:?} with hooks that hang and fail",
        rate(&plain),
        at(&plain, 0.5),
        at(&plain, 0.99),
        rate(&hooked),
        at(&hooked, 0.5),
        at(&hooked, 0.99),
    );
    assert!(with.metric("fanwire_webhook_waiting") > 100.0, "they really wait");
    assert!(with.metric("fanwire_webhook_retries_total") >= 1.0);
    // What a busy machine does to single publishes is in both; a hook that held them up would be in all of them.
    let (plain, hooked) = (at(&plain, 0.5), at(&hooked, 0.5));
    assert!(hooked < plain * 3 / 2 + Duration::from_micros(50), "{hooked:?} instead of {plain:?}");
}
