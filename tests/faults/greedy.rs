//! Clients that keep the protocol and ask too much of it.

use crate::frame::{PATIENCE, Patient, connect, eventually, read_head, websocket};
use crate::node::Http;
use crate::system;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

#[test]
fn bodies_that_never_end() {
    const EACH: usize = 50;
    let settings =
        "limits.body_timeout = \"2s\"\nlimits.body_bytes = \"64KiB\"\nlimits.message_bytes = \"64KiB\"";
    let patient = Patient::start("bodies", settings);
    patient.suffers(|patient| {
        let head = "POST /pub/endless HTTP/1.1\r\nHost: a\r\n";
        let begun = |rest: &str| {
            let mut socket = connect(patient.address());
            write!(socket, "{head}{rest}\r\n\r\n").unwrap();
            socket
        };
        // One says how long it will be, and trickles.
        let mut slow: Vec<TcpStream> = (0..EACH).map(|_| begun("Content-Length: 60000")).collect();
        // One goes on and on.
        let mut long: Vec<TcpStream> = (0..EACH).map(|_| begun("Transfer-Encoding: chunked")).collect();
        for socket in &mut long {
            let chunk = [b"1000\r\n".as_slice(), &[b'c'; 0x1000], b"\r\n"].concat();
            for _ in 0..20 {
                if socket.write_all(&chunk).is_err() {
                    break; // refused already
                }
            }
            let head = read_head(socket);
            assert!(head.starts_with("HTTP/1.1 413"), "{head}");
        }
        let end = Instant::now() + PATIENCE;
        while !slow.is_empty() {
            assert!(Instant::now() < end, "{} still there", slow.len());
            slow.retain_mut(|socket| {
                socket.set_nonblocking(true).unwrap();
                let mut said = [0; 12];
                match socket.read(&mut said) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => socket.write(b"x").is_ok(),
                    Ok(count) => {
                        assert_eq!(&said[..count], b"HTTP/1.1 408");
                        false
                    }
                    Err(error) => panic!("{error}"),
                }
            });
            thread::sleep(Duration::from_millis(100));
        }
    });
    patient.said(&["reason=\"http_timeout\""], 2 * EACH);
    patient.said(&["reason=\"http_body\""], 2 * EACH);
    assert_eq!(patient.refused("http_timeout") as usize, 2 * EACH);
    assert_eq!(patient.refused("http_body") as usize, 2 * EACH);
}

#[test]
fn ten_thousand_requests_at_once_and_nothing_read() {
    const REQUESTS: usize = 10_000;
    const CLIENTS: usize = 10;
    let patient = Patient::start("pipeline", "limits.peer_timeout = \"2s\"\nlimits.idle_timeout = \"1s\"");
    patient.suffers(|patient| {
        let before = patient.refused("peer_timeout");
        let requests = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS);
        let mut clients: Vec<(TcpStream, usize)> = (0..CLIENTS)
            .map(|_| {
                let socket = connect(patient.address());
                system::reset_on_close(&socket);
                socket.set_nonblocking(true).unwrap();
                (socket, 0)
            })
            .collect();
        // They send as long as it is taken.
        eventually("they are given up", || {
            for (socket, sent) in &mut clients {
                while let Ok(count @ 1..) = socket.write(&requests[*sent..]) {
                    *sent += count;
                }
            }
            patient.refused("peer_timeout") >= before + CLIENTS as f64
        });
    });
    patient.said(&["reason=\"peer_timeout\""], 2 * CLIENTS);
}

/// A Pusher client.
fn pusher(address: &str) -> WebSocket<TcpStream> {
    let socket = websocket(address, "/app/dev-key?protocol=7&client=test&version=1");
    let mut socket = WebSocket::from_raw_socket(socket, Role::Client, None);
    assert!(socket.read().unwrap().to_text().unwrap().contains("connection_established"));
    socket
}

#[test]
fn a_client_of_as_many_channels_as_there_may_be() {
    const MOST: usize = fanwire::limits::SUBSCRIPTIONS_PER_SESSION;
    let patient = Patient::start("channels", "");
    patient.suffers(|patient| {
        let mut socket = pusher(patient.address());
        for n in 0..=MOST {
            let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"many-{n}"}}}}"#);
            socket.write(Message::text(text)).unwrap();
        }
        socket.flush().unwrap();
        let mut refused = 0;
        for n in 0..=MOST {
            let answer = socket.read().unwrap().to_string();
            let taken = answer.contains("subscription_succeeded");
            assert!(taken || answer.contains("error"), "{n}: {answer}");
            refused += usize::from(!taken);
        }
        assert_eq!(refused, 1);
        assert!(patient.figure("fanwire_subscriptions") >= MOST as f64);
    });
    assert!(patient.lines(&[" WARN "]) <= 2, "one line for each refusal");
}

#[test]
fn bytes_of_frames_one_at_a_time() {
    const CLIENTS: usize = 50;
    let patient = Patient::start("one-byte-frames", "");
    patient.suffers(|patient| {
        let mut clients: Vec<WebSocket<TcpStream>> =
            (0..CLIENTS).map(|_| pusher(patient.address())).collect();
        let text = br#"{"event":"pusher:ping"}"#;
        for (at, byte) in text.iter().enumerate() {
            let opcode = u8::from(at == 0) | if at + 1 == text.len() { 0x80 } else { 0 };
            for byte in [opcode, 0x81, 1, 2, 3, 4, byte ^ 1] {
                clients.iter_mut().for_each(|client| client.get_mut().write_all(&[byte]).unwrap());
            }
        }
        for client in &mut clients {
            let answer = client.read().unwrap().to_string();
            assert!(answer.contains("pusher:pong"), "{answer}");
        }
    });
    assert_eq!(patient.lines(&[" WARN "]) + patient.lines(&[" ERROR "]), 0);
}

#[test]
fn a_flood_of_channel_names() {
    const NAMES: usize = 1_500;
    let location = r#"
[[location]]
prefix = "/short/pub/"
methods = "publisher"
message_timeout = "1s"
channel_timeout = "1s"
"#;
    let patient = Patient::start_with("names", "shards = 2\nlimits.channels = 600", location, |_| {});
    patient.suffers(|patient| {
        let mut http = Http::connect(patient.address()).unwrap();
        let mut refused = 0;
        for n in 0..NAMES {
            let answer = http.post(&format!("/short/pub/{n}"), b"x").unwrap();
            assert!(matches!(answer.status, 200..=299 | 403), "{answer:?}");
            refused += usize::from(answer.status == 403);
        }
        assert!(refused >= 100, "{refused} of {NAMES} refused");
        eventually("the names are forgotten", || patient.figure("fanwire_channels") < 10.0);
    });
}
