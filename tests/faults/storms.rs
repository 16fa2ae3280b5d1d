//! Clients by the thousand that want nothing good.

use crate::frame::{LOCATIONS, Patient, UPGRADE, ask, connect, eventually, websocket};
use crate::node::{self, fresh};
use crate::system;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Descriptors that a test process needs beside those of its clients.
const RESERVE: usize = 1_500;

/// As many clients as asked for, or as there are descriptors for here and in the node.
fn clients(wanted: usize) -> usize {
    let able = system::raise_files().saturating_sub(RESERVE);
    if able < wanted {
        println!("only {able} clients: the limit of open files is too low for {wanted}");
    }
    wanted.min(able)
}

#[test]
fn ten_thousand_clients_that_send_a_byte_at_a_time() {
    let clients = clients(10_000);
    let patient = Patient::start("one-byte", "limits.header_timeout = \"7s\"");
    patient.suffers(|patient| {
        let before = patient.refused("http_timeout");
        let mut sockets: Vec<TcpStream> = (0..clients)
            .map(|_| {
                let socket = connect(patient.address());
                system::reset_on_close(&socket);
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let head = b"GET /sub/a HTTP/1.1\r\nHost: a\r\n\r\n";
        // Fewer rounds than the head has bytes: none of them ever asks for anything.
        for byte in &head[..head.len() - 2] {
            sockets.retain_mut(|socket| {
                // The answer has come, or the end.
                let said = socket.read(&mut [0; 512]);
                let waits = matches!(&said, Err(error) if error.kind() == ErrorKind::WouldBlock);
                waits && socket.write(&[*byte]).is_ok()
            });
            if sockets.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(300));
        }
        patient.reaches_refused("http_timeout", before + clients as f64);
        assert_eq!(patient.refused("http_timeout"), before + clients as f64, "each once");
    });
    assert!(patient.lines(&["reason=\"http_timeout\""]) > 0);
}

#[test]
fn resets_in_every_phase() {
    const EACH: usize = 400;
    let patient = Patient::start("resets", "");
    patient.suffers(|patient| {
        let address = patient.address();
        for phase in 0..6 {
            let sockets = (0..EACH).map(|n| match phase {
                0 => connect(address),
                1 => begun(address, b"GET /sub/a HTTP/1.1\r\nHos"),
                2 => websocket(address, "/sub/r"),
                3 => begun(address, b"GET /sub/held HTTP/1.1\r\nHost: a\r\n\r\n"),
                4 => {
                    // A part of the answer is read.
                    let mut socket = begun(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
                    socket.read_exact(&mut [0; 20]).unwrap();
                    socket
                }
                // While it is published.
                _ if n % 2 == 0 => {
                    begun(address, b"POST /pub/r HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
                }
                _ => ask(address, "/sub/r", "Accept: text/event-stream\r\n").0,
            });
            let sockets: Vec<TcpStream> = sockets.inspect(system::reset_on_close).collect();
            drop(sockets);
        }
    });
    assert_eq!(patient.lines(&[" ERROR "]), 0);
}

fn begun(address: &str, bytes: &[u8]) -> TcpStream {
    let mut socket = connect(address);
    socket.write_all(bytes).unwrap();
    socket
}

#[test]
fn a_flood_of_connections_without_a_byte() {
    let clients = clients(5_000);
    let patient = Patient::start("flood", "");
    patient.suffers(|patient| {
        let before = patient.figure("fanwire_connections_accepted_total");
        let sockets: Vec<TcpStream> = (0..clients)
            .map(|n| {
                let socket = connect(patient.address());
                // Some go with a reset, some in peace; the latter leave ports in TIME_WAIT.
                if n % 20 > 0 {
                    system::reset_on_close(&socket);
                }
                socket
            })
            .collect();
        patient.reaches("fanwire_connections_accepted_total", before + clients as f64);
        drop(sockets);
    });
    assert_eq!(patient.lines(&[" ERROR "]) + patient.lines(&[" WARN "]), 0, "they did nothing wrong");
}

#[test]
fn out_of_descriptors_is_told_and_over_when_there_are_some() {
    const ROOM: usize = 20;
    const CLIENTS: usize = 80;
    // Several shards may lose their spare descriptor to each other: then who waits is not told before there is room.
    let settings = "shards = 1";
    let files = Patient::start("emfile-before", settings).files();
    let plain = node::command(&fresh("fault-emfile"), settings, LOCATIONS);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {}; exec \"$0\" \"$@\"", files + ROOM)]);
    command.arg(plain.get_program()).args(plain.get_args());
    let patient = Patient::run("emfile", command);
    patient.suffers_with(false, |patient| {
        let before = patient.refused("file_descriptors");
        let (mut served, mut refused, mut told) = (Vec::new(), 0, 0);
        for _ in 0..CLIENTS {
            let mut socket = connect(patient.address());
            system::reset_on_close(&socket);
            // Who is refused is told so before anything was read, and may meet a reset while it still asks.
            let _ = write!(socket, "GET /sub/e HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n");
            let mut head = [0; 256];
            let count = socket.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..count]);
            if head.starts_with("HTTP/1.1 101") {
                served.push(socket);
                continue;
            }
            refused += 1;
            told += usize::from(head.starts_with("HTTP/1.1 503") && head.contains("Retry-After: "));
        }
        assert!(served.len() >= 5 && refused >= ROOM, "{} and {refused}", served.len());
        assert!(told > 0);
        drop(served);
        // Now there is room again.
        eventually("one more is served", || {
            let mut socket = connect(patient.address());
            let _ = write!(socket, "GET /sub/e HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n");
            let mut status = [0; 12];
            socket.read_exact(&mut status).is_ok() && status == *b"HTTP/1.1 101"
        });
        patient.reaches_refused("file_descriptors", before + refused as f64);
    });
    assert!(patient.lines(&["connection refused", "reason=\"file_descriptors\""]) > 0);
    assert!(patient.lines(&["cannot accept connections"]) > 0);
}
