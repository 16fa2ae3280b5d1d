//! Back ends that hang, refuse, babble or hang up.

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanwire::channel::hook::{HookCall, HookFailure};

use crate::support::*;

#[test]
fn a_hanging_back_end_times_out_and_hinders_nobody() {
    let (hanging, hung) = back_end(|_, s| hang(s));
    let (fine, _) = back_end(|_, s| ok(s));
    let node = Node::new(|l| {
        l.backend_concurrent = 2;
        l.concurrent = 3;
        l.circuit_failures = 100;
    });
    let start = Instant::now();
    for tag in 0..6 {
        node.ask(tag, HookCall { timeout_ms: 400, ..waiting(hanging, "/") });
    }
    hung.wait_for(2);
    for tag in 100..120 {
        node.ask(tag, waiting(fine, "/"));
        let (answered, outcome) = node.next();
        assert_eq!((answered, outcome.unwrap().status), (tag, 200));
    }
    assert!(start.elapsed() < Duration::from_millis(350), "answers took {:?}", start.elapsed());
    let mut tags: Vec<u32> = (0..6)
        .map(|_| {
            let (tag, outcome) = node.next();
            assert_eq!(outcome, Err(HookFailure::Timeout));
            tag
        })
        .collect();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(1500), "{took:?}");
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2, 3, 4, 5]);
    assert_eq!(hung.all().len(), 2, "those that waited for a place too long were not sent");
    assert_eq!(node.failures(HookFailure::Timeout), 6);
    eventually("the connections are closed", || hung.under_way.load(SeqCst) == 0);
    node.nothing_more();
}

#[test]
fn a_body_that_does_not_end_times_out() {
    let (address, _) = back_end(|_, s| {
        s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome").unwrap();
        hang(s)
    });
    let node = Node::new(|_| {});
    let outcome = node.get(HookCall { timeout_ms: 100, ..waiting(address, "/") });
    assert_eq!(outcome, Err(HookFailure::Timeout));
}

#[test]
fn a_slow_answer_in_time_is_an_answer() {
    let (address, _) = back_end(|_, s| {
        for byte in OK {
            s.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
        true
    });
    let node = Node::new(|_| {});
    assert_eq!(body(node.get(waiting(address, "/"))), b"ok");
    assert!(node.handle.counters().latency_us_sum() >= 3_000 * (OK.len() as u64 - 1));
}

#[test]
fn a_refusing_back_end_is_tried_again_only_when_nobody_waits() {
    let address = refusing();
    let node = Node::new(|l| {
        l.tries = 2;
        l.backoff_ms = 100;
    });
    assert_eq!(node.get(waiting(address, "/")), Err(HookFailure::Unreachable));
    assert_eq!(node.handle.counters().retries(), 0);
    let start = Instant::now();
    node.ask(1, forgotten(address, "/"));
    eventually("the call is given up", || node.failures(HookFailure::Unreachable) == 2);
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(node.handle.counters().retries(), 1);

    // A back end that comes up in between gets the call.
    node.ask(2, forgotten(address, "/late"));
    eventually("the first try failed", || node.handle.counters().retries() == 2);
    let (_, log) = serve(TcpListener::bind(address).unwrap(), |_, s| ok(s));
    assert_eq!(log.wait_for(1)[0].path(), "/late");
    node.nothing_more();
}

#[test]
fn a_call_is_not_repeated_once_it_went_out() {
    // Reads the request and hangs up.
    let (address, log) = back_end(|seen, s| seen.path() == "/warm" && ok(s));
    let node = Node::new(|l| l.backoff_ms = 1);
    assert_eq!(node.get(waiting(address, "/")), Err(HookFailure::Unreachable));
    node.ask(1, forgotten(address, "/forgotten"));
    eventually("the call has failed", || node.failures(HookFailure::Unreachable) == 2);
    // Over a connection that worked before as well.
    node.get(waiting(address, "/warm")).unwrap();
    assert_eq!(node.get(waiting(address, "/reused")), Err(HookFailure::Unreachable));
    std::thread::sleep(QUIET);
    assert_eq!(log.paths(), ["/", "/forgotten", "/warm", "/reused"]);
    assert_eq!(log.all()[3].connection, log.all()[2].connection);
}

#[test]
fn oversized_answers_are_cut_off() {
    let (address, _) = back_end(|seen, s| {
        let _ = match seen.path().as_str() {
            "/announced" => s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"),
            "/chunked" => s
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n")
                .and_then(|()| s.write_all(&[b'x'; 100]))
                .and_then(|()| s.write_all(b"\r\n1\r\nx\r\n")),
            "/head" => {
                s.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").and_then(|()| s.write_all(&[b'x'; 20_000]))
            }
            "/lines" => s
                .write_all(b"HTTP/1.1 200 OK\r\n")
                .and_then(|()| s.write_all(&b"X: y\r\n".repeat(20)))
                .and_then(|()| s.write_all(b"\r\n")),
            _ => s
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                .and_then(|()| s.write_all(&[b'x'; 100])),
        };
        true
    });
    let node = Node::new(|l| {
        l.answer_body_bytes = 100;
        l.answer_head_bytes = 8 * 1024;
        l.answer_headers = 16;
        l.circuit_failures = 1;
    });
    for path in ["/announced", "/chunked", "/head", "/lines"] {
        assert_eq!(node.get(waiting(address, path)), Err(HookFailure::TooLarge), "{path}");
        assert_eq!(body(node.get(waiting(address, "/fits"))).len(), 100);
    }
    // Nobody reads the answer of a forgotten call: its size is no failure.
    node.ask(1, forgotten(address, "/announced"));
    eventually("the call is over", || node.handle.counters().answers() == 5);
    assert_eq!(node.failures(HookFailure::TooLarge), 4);
}

#[test]
fn nonsense_is_a_bad_answer() {
    let (address, _) = back_end(|seen, s| {
        s.write_all(match seen.path().as_str() {
            "/ssh" => &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
            "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "/chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
            _ => b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        })
        .unwrap();
        false
    });
    let node = Node::new(|l| l.circuit_failures = 100);
    for path in ["/ssh", "/short", "/chunk", "/length", "/upgrade"] {
        assert_eq!(node.get(waiting(address, path)), Err(HookFailure::BadAnswer), "{path}");
    }
}

#[test]
fn the_circuit_opens_and_closes() {
    let address = refusing();
    let node = Node::new(|l| {
        l.circuit_failures = 3;
        l.circuit_open_ms = 300;
    });
    let fine = back_end(|_, s| ok(s)).0;
    for _ in 0..3 {
        assert_eq!(node.get(waiting(address, "/")), Err(HookFailure::Unreachable));
    }
    let (_, log) = serve(TcpListener::bind(address).unwrap(), |_, s| {
        std::thread::sleep(Duration::from_millis(100));
        ok(s)
    });
    for _ in 0..5 {
        assert_eq!(node.get(waiting(address, "/early")), Err(HookFailure::CircuitOpen));
    }
    node.get(waiting(fine, "/")).unwrap();
    assert_eq!(log.all().len(), 0);
    std::thread::sleep(Duration::from_millis(320));
    // Half open: one call probes, the others are still turned away.
    node.ask(1, waiting(address, "/probe"));
    log.wait_for(1);
    assert_eq!(node.get(waiting(address, "/beside")), Err(HookFailure::CircuitOpen));
    let (tag, outcome) = node.next();
    assert_eq!((tag, body(outcome)), (1, b"ok".to_vec()));
    for _ in 0..3 {
        node.get(waiting(address, "/after")).unwrap();
    }
    assert_eq!(log.paths(), ["/probe", "/after", "/after", "/after"]);
    assert_eq!(node.failures(HookFailure::CircuitOpen), 6);
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failure_is_logged_once_for_each_kind_and_back_end() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let (one, two) = (refusing(), refusing());
    let node = Node::new(|l| l.circuit_failures = 3);
    for address in [one, two, one, two, one, one, one] {
        node.get(waiting(address, "/")).unwrap_err();
    }
    // The other tests of this process log as well.
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let about = |address: std::net::SocketAddr| {
        let name = address.to_string();
        let lines = text.lines().filter(|l| l.contains(&name));
        lines.map(|l| l.split_once(": ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let (one, two) = (about(one), about(two));
    assert_eq!(one.len(), 3, "{one:?}");
    assert!(one[0].contains("failure=\"unreachable\"") && one[0].contains("refused"), "{one:?}");
    assert!(one.iter().any(|l| l.contains("failure=\"circuit_open\"")), "{one:?}");
    assert!(one.iter().any(|l| l.contains("paused")), "{one:?}");
    assert_eq!(two.len(), 1, "{two:?}");
}
