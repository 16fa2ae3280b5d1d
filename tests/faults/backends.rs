//! Back ends that are asked before a subscriber comes in, and do not answer as they should.

#[path = "../hooks/support.rs"]
#[allow(dead_code)] // made for the tests of the service alone
mod support;

use crate::frame::{Patient, connect, eventually, read_head};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;
use support::{back_end, hang, ok, refusing};

const ASKED: usize = 60;

fn location(name: &str, back_end: SocketAddr) -> String {
    format!(
        "[[location]]\nprefix = \"/{name}/\"\nmethods = \"subscriber\"\nauthorize = \"http://{back_end}/\"\n"
    )
}

/// A byte now and then, for longer than anybody waits.
fn drip(stream: &mut TcpStream) -> bool {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    answer.iter().all(|byte| {
        thread::sleep(Duration::from_millis(300));
        stream.write_all(&[*byte]).is_ok()
    })
}

/// Far more than was asked for.
fn gush(stream: &mut TcpStream) -> bool {
    let part = [b'x'; 64 * 1024];
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    while stream.write_all(&part).is_ok() {}
    false
}

#[test]
fn whoever_does_not_depend_on_them_notices_nothing() {
    let (hangs, _) = back_end(|_, stream| hang(stream));
    let (drips, _) = back_end(|_, stream| drip(stream));
    let (gushes, _) = back_end(|_, stream| gush(stream));
    let (good, _) = back_end(|_, stream| ok(stream));
    let bad = [("hangs", hangs), ("drips", drips), ("gushes", gushes), ("refuses", refusing())];
    let locations: String =
        bad.iter().chain(&[("good", good)]).map(|(name, at)| location(name, *at)).collect();
    let patient = Patient::start_with("backends", "hooks.timeout = \"1s\"", &locations, |_| {});
    patient.suffers(|patient| {
        let before = patient.refused("authorize_unreachable");
        let ask = |name: &str| {
            let mut socket = connect(patient.address());
            write!(socket, "GET /{name}/a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").unwrap();
            socket
        };
        let asked: Vec<TcpStream> = bad.iter().flat_map(|(name, _)| (0..ASKED).map(|_| ask(name))).collect();
        // A back end that answers is not held up by the others.
        assert!(read_head(&mut ask("good")).starts_with("HTTP/1.1 200"));
        for mut socket in asked {
            let head = read_head(&mut socket);
            assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        }
        assert_eq!(patient.refused("authorize_unreachable") - before, (bad.len() * ASKED) as f64);
        eventually("no call is under way", || patient.figure("fanwire_hook_in_flight") == 0.0);
        assert_eq!(patient.figure("fanwire_hook_queue") + patient.figure("fanwire_hook_pending_bytes"), 0.0);
        // Connections that are kept for the next call go, too.
        thread::sleep(Duration::from_secs(2));
    });
    // The one that gushes does answer, as far as anybody can tell.
    for (_, address) in bad.iter().filter(|(name, _)| *name != "gushes") {
        let paused = patient.lines(&["hooks to the back end are paused", &address.to_string()]);
        assert!((1..=10).contains(&paused), "{paused} times for {address}");
    }
    assert!(patient.lines(&["hook failed"]) <= 20, "not a line for each call");
}
