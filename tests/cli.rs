//! The command line: arguments, exit codes, and the commands against a node played by a script.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::ExitCode;
use std::thread::{self, JoinHandle};

use fanwire::cli::{Surroundings, run_in};
use fanwire::node::config::{Config, Loaded};
use fanwire::wire::ws::handshake::accept_key;
use fanwire::wire::ws::{Opcode, close, frame};

struct Outcome {
    code: ExitCode,
    out: String,
    err: String,
    served: Option<Loaded>,
}

fn fanwire_with(environment: &[(&str, &str)], args: &[&str]) -> Outcome {
    let (mut out, mut err, mut served) = (Vec::new(), Vec::new(), None);
    let surroundings = Surroundings {
        environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        out: &mut out,
        err: &mut err,
    };
    let code = run_in(surroundings, ["fanwire"].iter().chain(args), |loaded| {
        served = Some(loaded);
        ExitCode::from(42)
    });
    let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).unwrap());
    Outcome { code, out, err, served }
}

fn fanwire(args: &[&str]) -> Outcome {
    fanwire_with(&[], args)
}

/// A file below the build's directory for temporary files.
fn file(name: &str, content: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn without_a_subcommand_the_node_is_run() {
    let plain = fanwire(&[]);
    assert_eq!(plain.code, ExitCode::from(42), "{}", plain.err);
    let config = plain.served.unwrap().config;
    assert_eq!(config, Config { shards: config.shards, ..Config::default() });
    assert_eq!(fanwire(&["serve"]).served.unwrap().config, config);
}

#[test]
fn flags_reach_the_configuration() {
    let args = [
        "--listen",
        "127.0.0.1:1",
        "--listen",
        "[::1]:2",
        "--shards",
        "2",
        "--driver",
        "epoll",
        "--drain",
        "1m",
        "--data",
        "/var/lib/fanwire",
        "--echo",
        "--log",
        "debug",
    ];
    for args in [args.to_vec(), [&["serve"][..], &args].concat()] {
        let loaded = fanwire(&args).served.unwrap();
        let listen: Vec<String> = loaded.config.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:1", "[::1]:2"]);
        assert_eq!((loaded.config.shards, loaded.config.drain_ms, loaded.config.echo), (2, 60_000, true));
        assert_eq!(loaded.config.store.data.as_deref(), Some("/var/lib/fanwire"));
        assert_eq!(loaded.origin("listen").to_string(), "flag --listen");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let unknown = fanwire(&["--colour"]);
    assert_eq!(unknown.code, ExitCode::from(2));
    assert!(unknown.err.contains("--colour") && unknown.served.is_none());
    let wrong = fanwire(&["--shards", "-1"]);
    assert_eq!(wrong.code, ExitCode::from(1));
    assert!(wrong.err.starts_with("--shards: `shards` needs a number"), "{}", wrong.err);
    let help = fanwire(&["--help"]);
    assert_eq!(help.code, ExitCode::SUCCESS);
    assert!(help.out.contains("doctor") && help.err.is_empty());
}

#[test]
fn print_config_prints_and_does_not_run() {
    let printed = fanwire_with(&[("FANWIRE_SHARDS", "3")], &["--print-config", "--echo"]);
    assert_eq!(printed.code, ExitCode::SUCCESS);
    assert!(printed.served.is_none());
    let find = |name: &str| printed.out.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(find("shards = 3").ends_with("# environment FANWIRE_SHARDS"));
    assert!(find("echo = true").ends_with("# flag --echo"));
}

#[test]
fn check_accepts_the_examples() {
    for name in ["fanwire-from-nchan.toml", "fanwire-from-django-pushserver.toml"] {
        let path = format!("{}/src/node/config/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let checked = fanwire(&["check", "--config", &path]);
        assert_eq!(checked.code, ExitCode::SUCCESS, "{}", checked.err);
        assert!(checked.out.starts_with("OK: listen 127.0.0.1:80"), "{}", checked.out);
        assert!(checked.err.is_empty(), "{}", checked.err);
    }
}

#[test]
fn check_tells_every_mistake_and_fails() {
    let path =
        file("check-mistakes.toml", "shards = 0\n[[location]]\nprefix = \"/x/\"\nbufer_messages = 1\n");
    for outcome in [fanwire(&["check", "-c", &path]), fanwire_with(&[("FANWIRE_CONFIG", &path)], &["check"])]
    {
        assert_eq!(outcome.code, ExitCode::from(1));
        let lines: Vec<&str> = outcome.err.lines().collect();
        assert!(lines[0].starts_with(&format!("{path}:1:10: `shards` needs")), "{lines:?}");
        assert!(lines[1].starts_with(&format!(
            "{path}:4:1: unknown key `bufer_messages` (did you mean `buffer_messages`?)"
        )));
        assert_eq!(lines[2], "fanwire: 2 mistakes in the configuration");
    }
    let missing = fanwire(&["check", "-c", "/nowhere/fanwire.toml"]);
    assert_eq!(missing.code, ExitCode::from(1));
    assert!(missing.err.starts_with("fanwire: /nowhere/fanwire.toml: cannot be opened"), "{}", missing.err);
}

/// Makes an answer from a request head.
type Answer = Box<dyn Fn(&str) -> Vec<u8> + Send>;

/// Plays a node: for each answer accepts a connection, reads a request head with its body, and sends the answer made
/// from it. Gives back the requests.
fn node(answers: Vec<Answer>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handle = thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            let head = String::from_utf8(request).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).unwrap();
            stream.write_all(&answer(&head)).unwrap();
            // Closing with something unread would reset the connection and take the answer with it.
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
            requests.push(head + std::str::from_utf8(&body).unwrap());
        }
        requests
    });
    (url, handle)
}

fn fixed(answer: &str) -> Answer {
    let answer = answer.as_bytes().to_vec();
    Box::new(move |_| answer.clone())
}

#[test]
fn publish_sends_one_post_and_its_exit_code_is_the_status() {
    let created = "HTTP/1.1 201 Created\r\nContent-Length: 18\r\n\r\nqueued messages: 1";
    let (url, node) =
        node(vec![fixed(created), fixed("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")]);
    let done = fanwire(&[
        "publish",
        "--url",
        &url,
        "a b",
        "-5",
        "--content-type",
        "text/x",
        "--event",
        "up",
        "-H",
        "X-A: 1",
    ]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (ExitCode::SUCCESS, "201 Created\nqueued messages: 1\n"),
        "{}",
        done.err
    );
    let refused = fanwire_with(&[("FANWIRE_URL", &url)], &["publish", "/pub?id=x", "hello"]);
    assert_eq!((refused.code, refused.out.as_str()), (ExitCode::from(1), "403 Forbidden\n"));
    let requests = node.join().unwrap();
    assert!(requests[0].starts_with("POST /pub/a%20b HTTP/1.1\r\n") && requests[0].ends_with("\r\n\r\n-5"));
    for line in ["X-A: 1", "Content-Type: text/x", "X-EventSource-Event: up", "Content-Length: 2"] {
        assert!(requests[0].contains(&format!("\r\n{line}\r\n")), "{line} in {}", requests[0]);
    }
    assert!(requests[1].starts_with("POST /pub?id=x HTTP/1.1\r\n"));
}

#[test]
fn publish_without_a_node_fails_plainly() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failed = fanwire(&["publish", "--url", &url, "a", "b"]);
    assert_eq!(failed.code, ExitCode::from(1));
    assert!(failed.err.starts_with("fanwire: cannot connect to 127.0.0.1:"), "{}", failed.err);
}

#[test]
fn tail_reads_a_websocket_with_ids() {
    let answer = |request: &str| {
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = String::from_utf8(accept_key(key.as_bytes()).to_vec()).unwrap();
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: ws+meta.nchan\r\n\r\n"
        )
        .into_bytes();
        answer.extend(frame::encode(Opcode::Ping, false, &[b"p"]));
        answer.extend(frame::encode(Opcode::Text, false, &[b"id: 5:0\n\none"]));
        answer.extend(frame::encode(
            Opcode::Binary,
            false,
            &[b"id: 5:1\ncontent-type: application/octet-stream\n\ntwo"],
        ));
        answer.extend(close::encode(1001, "410 Gone"));
        answer
    };
    let (url, node) = node(vec![Box::new(answer), Box::new(answer)]);
    let two = fanwire(&["tail", "--url", &url, "c", "--count", "2", "--from", "4:[1],-"]);
    assert_eq!((two.code, two.out.as_str()), (ExitCode::SUCCESS, "5:0\tone\n5:1\ttwo\n"), "{}", two.err);
    let all = fanwire(&["tail", "--url", &url, "c"]);
    assert_eq!(all.code, ExitCode::from(1));
    assert_eq!(all.err, "fanwire: closed by the node: 1001 410 Gone\n");
    let requests = node.join().unwrap();
    assert!(
        requests[0].starts_with("GET /sub/c?last_event_id=4%3A%5B1%5D%2C- HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
}

#[test]
fn tail_reads_an_event_stream_in_chunks_and_to_its_end() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n\
                   6\r\n: hi\n\n\r\nd\r\nid: 1:0\ndata:\r\n6\r\n a\n\nid\r\n10\r\n: 1:1\ndata: b\n\nx\r\n0\r\n\r\n";
    let plain = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nid: 1:0\ndata: a\ndata: b\n\n";
    let (url, node) = node(vec![fixed(chunked), fixed(plain)]);
    let two = fanwire(&["tail", "--url", &url, "-t", "sse", "-n", "2", "c"]);
    assert_eq!((two.code, two.out.as_str()), (ExitCode::SUCCESS, "1:0\ta\n1:1\tb\n"), "{}", two.err);
    let ended = fanwire(&["tail", "--url", &url, "-t", "sse", "c"]);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("1:0\ta\nb\n", "fanwire: the stream ended\n"));
    assert!(node.join().unwrap()[0].contains("\r\nAccept: text/event-stream\r\n"));
}

#[test]
fn tail_polls_from_message_to_message() {
    let message = |tag: u32, body: &str| {
        fixed(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: Sat, 21 Nov 2026 10:32:23 GMT\r\nEtag: {tag}\r\n\r\n{body}",
            body.len()
        ))
    };
    let gone = fixed("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n");
    let (url, node) = node(vec![message(0, "a"), message(1, ""), gone]);
    let tailed = fanwire(&["tail", "--url", &url, "-t", "longpoll", "c"]);
    assert_eq!(tailed.out, "1795257143:0\ta\n1795257143:1\t\n");
    assert_eq!((tailed.code, tailed.err.as_str()), (ExitCode::from(1), "fanwire: 410 Gone\n"));
    let requests = node.join().unwrap();
    assert!(!requests[0].contains("If-None-Match"));
    assert!(requests[2].contains("If-Modified-Since: Sat, 21 Nov 2026 10:32:23 GMT\r\nIf-None-Match: 1\r\n"));
}

#[test]
fn tail_says_why_it_was_refused() {
    for transport in ["ws", "sse", "longpoll"] {
        let (url, node) = node(vec![fixed("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope")]);
        let refused = fanwire(&["tail", "--url", &url, "--transport", transport, "c"]);
        assert_eq!(refused.code, ExitCode::from(1));
        assert_eq!(refused.err, "fanwire: 403 Forbidden nope\n", "{transport}");
        node.join().unwrap();
    }
}

#[test]
fn doctor_reports_on_every_point() {
    let report = fanwire(&["doctor"]);
    for point in ["open files", "kernel", "driver: ", "net.core.somaxconn", "ip_local_port_range", "shard(s)"]
    {
        assert!(report.out.contains(point), "{point} in\n{}", report.out);
    }
    let hard = report.out.lines().filter(|line| line.starts_with("BAD")).count();
    assert_eq!(report.code, if hard == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) });
}
