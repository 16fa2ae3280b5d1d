//! TLS handshakes that begin and do not go on.

use crate::frame::{Patient, connect, eventually};
use crate::node::fresh;
use crate::system;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The beginning of a ClientHello: the head of its record, and of its message.
const HELLO: [u8; 12] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0x5a];
const EACH: usize = 300;

/// A certificate for localhost with its key, as settings of the node.
fn certificate() -> String {
    let folder = fresh("fault-certificate");
    std::fs::create_dir_all(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    format!("[[certificate]]\ncertificate = {certificate:?}\nkey = {key:?}\n")
}

#[test]
fn stalled_handshakes_are_ended_and_hold_up_nobody() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = "tls.handshake_timeout = \"2s\"";
    let patient = Patient::start_with("handshakes", settings, &certificate(), |command| {
        let file = command.get_args().find(|arg| arg.as_encoded_bytes().ends_with(b".toml")).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let plain = "listen = [\"127.0.0.1:0\"";
        std::fs::write(file, text.replace(plain, &format!("{plain}, \"{address} tls\""))).unwrap();
    });
    patient.suffers(|patient| {
        let before = patient.refused("tls_handshake_timeout");
        // Nothing, a byte, a part of the record; and a byte at a time.
        let mut stalled: Vec<TcpStream> = Vec::new();
        for bytes in [0, 1, HELLO.len()] {
            for _ in 0..EACH {
                let mut socket = connect(&address.to_string());
                system::reset_on_close(&socket);
                socket.write_all(&HELLO[..bytes]).unwrap();
                stalled.push(socket);
            }
        }
        let mut slow: Vec<TcpStream> = (0..EACH)
            .map(|_| {
                let socket = connect(&address.to_string());
                system::reset_on_close(&socket);
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let mut sent = 0;
        eventually("the slow ones are ended", || {
            let byte = HELLO.get(sent).copied().unwrap_or(0);
            sent += 1;
            slow.retain_mut(|socket| {
                let waits = matches!(socket.read(&mut [0; 64]), Err(e) if e.kind() == ErrorKind::WouldBlock);
                waits && socket.write(&[byte]).is_ok()
            });
            thread::sleep(Duration::from_millis(200));
            slow.is_empty()
        });
        let all = (4 * EACH) as f64;
        patient.reaches_refused("tls_handshake_timeout", before + all);
        assert_eq!(patient.refused("tls_handshake_timeout"), before + all, "each once");
        assert_eq!(patient.figure("fanwire_tls_pending"), 0.0);
    });
    patient.said(&["reason=\"tls_handshake_timeout\""], 8 * EACH);
}
