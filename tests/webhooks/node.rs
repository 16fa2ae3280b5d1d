//! A whole node: subscribers come and go, its web hooks hang or fail, and publishing goes on as if there were none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fanwire::wire::sign;

use crate::bench::{all_events, body, failing_first, taking};
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
    let back = node.subscriber("told-b");
    eventually("a is vacated", || all_events(&log).len() == 3);
    assert!(begun.elapsed() >= Duration::from_millis(2_500), "after its grace time of three seconds");
    let expected = ["channel_occupied told-a", "channel_occupied told-b", "channel_vacated told-a"];
    assert_eq!(all_events(&log), expected, "b was back in time");
    assert_eq!(node.metric("fanwire_webhook_sent_total"), 3.0);
    assert_eq!(node.metric("fanwire_webhook_undone_total"), 2.0);
    assert_eq!(node.metric("fanwire_webhook_waiting"), 0.0);
    drop(back);
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
