//! Peers that take nothing, or are not there any more.

use crate::frame::{PATIENCE, Patient, UPGRADE, ask, connect, eventually, read_head, websocket};
use crate::node::Http;
use crate::system;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const BIG: &str = r#"
[[location]]
prefix = "/big/pub/"
methods = "publisher"
buffer_messages = 1

[[location]]
prefix = "/big/sub/"
methods = "subscriber"
"#;
const SLOW: &str =
    "limits.outbox_bytes = \"64KiB\"\nlimits.peer_timeout = \"3s\"\nlimits.idle_timeout = \"1s\"";
/// What a client's kernel takes while the client reads nothing, bytes.
const WINDOW: i32 = 4096;
const CLOSED_SLOW: &str = "fanwire_slow_consumers_closed_total";

/// A subscriber whose kernel takes little.
fn subscriber(address: &str, lines: &str) -> TcpStream {
    let mut socket = system::connect_with_buffer(address, WINDOW);
    system::reset_on_close(&socket);
    write!(socket, "GET /big/sub/s HTTP/1.1\r\nHost: a\r\n{lines}\r\n").unwrap();
    let head = read_head(&mut socket);
    assert!(head.starts_with("HTTP/1.1 101") || head.starts_with("HTTP/1.1 200"), "{head}");
    socket
}

#[test]
fn slow_consumers_are_cut_and_nobody_waits_for_them() {
    let patient = Patient::start_with("slow", SLOW, BIG, |_| {});
    patient.suffers(|patient| {
        for lines in [UPGRADE, "Accept: text/event-stream\r\n", "TE: chunked\r\n"] {
            for count in [1, 100] {
                let before = patient.figure(CLOSED_SLOW);
                let slow: Vec<TcpStream> = (0..count).map(|_| subscriber(patient.address(), lines)).collect();
                let mut http = Http::connect(patient.address()).unwrap();
                let end = Instant::now() + PATIENCE;
                while patient.figure(CLOSED_SLOW) < before + f64::from(count) {
                    assert!(Instant::now() < end, "{lines:?}: {}", patient.figure(CLOSED_SLOW) - before);
                    let answer = http.post("/big/pub/s", &[b'b'; 30_000]).unwrap();
                    assert!(matches!(answer.status, 200..=299), "{answer:?}");
                }
                assert_eq!(patient.figure(CLOSED_SLOW), before + f64::from(count));
                drop(slow);
            }
        }
    });
    patient.said(&["reason=\"slow_consumer\""], 2 * 3 * 101);
}

#[test]
fn polls_whose_answers_nobody_takes_are_given_up() {
    const POLLS: usize = 100;
    let patient = Patient::start_with("slow-polls", SLOW, BIG, |_| {});
    patient.suffers(|patient| {
        Http::connect(patient.address()).unwrap().post("/big/pub/s", &vec![b'b'; 1_000_000]).unwrap();
        let before = patient.refused("peer_timeout");
        let held: Vec<TcpStream> = (0..POLLS).map(|_| subscriber(patient.address(), "")).collect();
        // Whoever is first, the timer of the connection or the one of the kernel.
        patient.reaches_refused("peer_timeout", before + POLLS as f64);
        drop(held);
    });
    patient.said(&["reason=\"peer_timeout\""], 2 * POLLS);
}

/// Opens `sockets`, has them vanish, and awaits that each is given up for one of `reasons`; then nothing is said of
/// them any more.
fn vanish(patient: &Patient, reasons: &[&str], sockets: impl Fn() -> Vec<TcpStream>) {
    patient.suffers(|patient| {
        let count = || reasons.iter().map(|label| patient.refused(label)).collect::<Vec<f64>>();
        let before = count();
        let gone = sockets();
        eventually("all are there", || {
            let kinds = ["http", "stream", "websocket"];
            let now = kinds.map(|kind| patient.figure(&format!("fanwire_connections{{carrier=\"{kind}\"}}")));
            now.iter().sum::<f64>() >= gone.len() as f64
        });
        gone.iter().for_each(system::vanish);
        let begun = Instant::now();
        let mut http = Http::connect(patient.address()).unwrap();
        let mut found = Vec::new();
        while found.iter().sum::<f64>() < gone.len() as f64 {
            assert!(begun.elapsed() < PATIENCE, "{reasons:?}: {found:?}");
            assert!(http.post("/pub/busy", b"anybody?").unwrap().status < 300);
            thread::sleep(Duration::from_millis(200));
            found = count().iter().zip(&before).map(|(now, before)| now - before).collect();
        }
        let took = begun.elapsed().as_secs_f64();
        println!("all {} found within {took:.1} s: {reasons:?} {found:?}", gone.len());
        drop(gone);
    });
    for label in reasons {
        patient.said(&[&format!("reason=\"{label}\"")], patient.refused(label) as usize);
    }
}

#[test]
fn peers_that_have_vanished_are_found_by_pings() {
    let settings = "limits.peer_timeout = \"1h\"\nlimits.websocket_ping_interval = \"1s\"\n\
        limits.websocket_pong_timeout = \"1s\"\npusher.activity_timeout = \"1s\"\npusher.pong_timeout = \"1s\"\npushi.ping_interval = \"1s\"";
    let patient = Patient::start("vanished-pings", settings);
    let address = patient.address().to_owned();
    let round = Cell::new(0);
    vanish(&patient, &["ping_timeout", "pusher_pong"], || {
        let targets =
            ["/dev-key", "/sub/quiet", "/sub/busy", "/app/dev-key?protocol=7&client=test&version=1"];
        // Pusher gives a client ten seconds for the way there and back: once is enough.
        let targets = &targets[..3 + round.replace(1)];
        targets.repeat(5).into_iter().map(|target| websocket(&address, target)).collect()
    });
    assert_eq!(patient.refused("pusher_pong"), 5.0);
    assert_eq!(patient.refused("ping_timeout"), 30.0);
}

#[test]
fn peers_that_have_vanished_are_found_by_the_kernel() {
    // Nobody pings in so short a time, and the peers of held polls and streams are never asked anything.
    let patient = Patient::start("vanished", "limits.peer_timeout = \"3s\"");
    let address = patient.address().to_owned();
    vanish(&patient, &["peer_timeout"], || {
        let held = |path: &str| {
            let mut socket = connect(&address);
            write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            socket
        };
        let sse = |path: &str| ask(&address, path, "Accept: text/event-stream\r\n").0;
        let chunked = |path: &str| ask(&address, path, "TE: chunked\r\n").0;
        // With something to say to them and without.
        let all = || {
            let streams = ["/sub/quiet", "/sub/busy"].into_iter().flat_map(|path| [sse(path), chunked(path)]);
            let sockets = ["/dev-key", "/sub/busy"].into_iter().map(|path| websocket(&address, path));
            streams.chain(sockets).chain([held("/sub/quiet")]).collect::<Vec<_>>()
        };
        (0..5).flat_map(|_| all()).collect()
    });
}

#[test]
fn who_sips_is_not_dead() {
    // Much waits for it for longer than the time out, and it takes a little now and then.
    let patient = Patient::start_with("sips", "limits.peer_timeout = \"3s\"", BIG, |_| {});
    let (mut sips, head) = ask(patient.address(), "/big/sub/s", "Accept: text/event-stream\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut http = Http::connect(patient.address()).unwrap();
    for _ in 0..3 {
        assert!(http.post("/big/pub/s", &[b'b'; 900_000]).unwrap().status < 300);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        sips.read_exact(&mut [0; 16_384]).unwrap();
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(patient.refused("peer_timeout"), 0.0);
    assert_eq!(patient.figure(CLOSED_SLOW), 0.0);
    assert_eq!(patient.figure("fanwire_connections{carrier=\"stream\"}"), 1.0);
}
