//! A shard that stands still, and a handler that panics. Both are asked for over `/echo`, which does so only in builds
//! with debug assertions.

use crate::node::Http;
use crate::support::{LONG, Service, eventually, once};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

fn echo(address: &str) -> (WebSocket<TcpStream>, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let (_, rest) = head.split_once("X-Fanwire-Shard: ").unwrap_or_else(|| panic!("{head}"));
    let shard = rest.lines().next().unwrap().to_owned();
    (WebSocket::from_raw_socket(stream, Role::Client, None), shard)
}

/// A connection on another shard than `shard`.
fn elsewhere(address: &str, shard: &str) -> WebSocket<TcpStream> {
    eventually("a connection to another shard", || {
        let (socket, other) = echo(address);
        (other != shard).then_some(socket)
    })
}

/// What is said of the node's health before it ends.
fn ask(socket: &mut TcpStream) -> Option<String> {
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
    let mut room = [0; 1024];
    let len = socket.read(&mut room).ok().filter(|&len| len > 0)?;
    Some(String::from_utf8(room[..len].to_vec()).unwrap())
}

fn echoes(socket: &mut WebSocket<TcpStream>) {
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
}

#[test]
fn a_panic_costs_its_connection_only() {
    let service = Service::start("panic", "shards = 1\necho = true");
    let (mut one, _) = echo(&service.address);
    let (mut other, _) = echo(&service.address);
    let mut kept = Http::connect(&service.address).unwrap();
    kept.post("/mem/c", b"x").unwrap();
    one.send(Message::text("fanwire: panic")).unwrap();
    assert!(one.read().is_err(), "its connection is closed");
    echoes(&mut other);
    assert!(matches!(kept.post("/mem/c", b"x").unwrap().status, 201 | 202));
    let metrics = kept.request("GET", "/metrics", b"").unwrap().body;
    let panics = metrics.lines().find(|line| line.starts_with("fanwire_panics_total")).unwrap();
    assert!(panics.ends_with(" 1"), "{panics}");
    service.logs("a handler has panicked");
}

#[test]
fn a_shard_that_stands_still_is_reported_and_ends_the_process() {
    let mut service = Service::start("stall", "shards = 2\necho = true\nstall_exit = \"10s\"");
    let (mut stuck, shard) = echo(&service.address);
    let mut other = elsewhere(&service.address, &shard);
    // Enough of them that some are on the shard that goes on; the others say nothing any more.
    let (tell, told) = channel();
    for _ in 0..16 {
        let mut socket = TcpStream::connect(&service.address).unwrap();
        assert!(ask(&mut socket).is_some_and(|said| said.starts_with("HTTP/1.1 200 ")));
        let tell = tell.clone();
        thread::spawn(move || {
            while let Some(said) = ask(&mut socket) {
                if said.starts_with("HTTP/1.1 503 ") {
                    let _ = tell.send(said);
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
    }
    let peer = stuck.get_ref().local_addr().unwrap();
    stuck.send(Message::text("fanwire: stall")).unwrap();
    let said = told.recv_timeout(LONG).unwrap();
    assert!(said.ends_with(&format!("{{\"status\":\"stalled\",\"shards\":[{shard}]}}\n")), "{said}");
    echoes(&mut other);
    let status = service.ended();
    assert_eq!(status.signal(), Some(6), "SIGABRT: {status}");
    let log = service.stderr();
    let session = format!("shard {shard} has not turned for");
    assert!(log.contains(&session) && log.contains(&format!("peer {peer}")), "{log}");
    assert!(log.contains("it is at events, in the session of slot"), "{log}");
    assert!(log.contains("    turns: ") && log.contains(&format!("(shard-{shard})")), "{log}");
    assert!(log.contains("misbehave"), "a backtrace names the function: {log}");
    assert!(once(&service.address, "GET", "/health/live", b"").is_err());
}
