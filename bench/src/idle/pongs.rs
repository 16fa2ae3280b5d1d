//! The idle client's part: it answers pings, and notices who was thrown out.

use crate::client::Subscriber;
use crate::frame::{self, Kind};
use crate::sys::{Epoll, Received};
use crate::wire::{Heard, Talk, Wire};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 256;
/// Longest frame, bytes.
const FRAME_BYTES: usize = 64 * 1024;
/// Masks the dialects' answers. Any will do.
const MASK: [u8; 4] = [7, 21, 3, 90];
/// Bytes taken per read.
const READ_BYTES: usize = 16 * 1024;

/// See the module.
pub struct Pongs {
    /// Pings of each connection so far.
    pings: Vec<u32>,
    /// Bytes of frames that are not complete.
    held: HashMap<usize, Vec<u8>>,
    epoll: Option<Epoll>,
    buffer: Vec<u8>,
    /// Some dialects have pings of their own.
    talk: Talk,
}

impl Pongs {
    /// For connections that speak `wire`, of which none has been pinged.
    pub fn new(wire: &Wire) -> Pongs {
        let (pings, held, buffer) = (Vec::new(), HashMap::new(), vec![0; READ_BYTES]);
        Pongs { pings, held, epoll: None, buffer, talk: Talk::new(wire) }
    }

    /// Forgets the pings so far.
    pub fn forget(&mut self) {
        self.pings.clear();
    }

    /// Fewest and most pings of one of `connections` connections, and those of all.
    pub fn pings(&self, connections: usize) -> (u32, u32, u64) {
        let each = || (0..connections).map(|index| self.pings.get(index).copied().unwrap_or(0));
        (each().min().unwrap_or(0), each().max().unwrap_or(0), each().map(u64::from).sum())
    }

    /// Reads all sockets once. Until `listen` nobody waits on them, so they cost the kernel nothing for that.
    pub fn sweep(&mut self, connections: &[Subscriber]) -> Result<(), String> {
        connections.iter().enumerate().try_for_each(|(index, connection)| self.read(index, connection))
    }

    /// Waits on all sockets from now on.
    pub fn listen(&mut self, connections: &[Subscriber]) -> Result<(), String> {
        let epoll = Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?;
        for (index, connection) in connections.iter().enumerate() {
            epoll.add(connection.fd(), index as u64).map_err(|e| format!("epoll: {e}"))?;
        }
        self.epoll = Some(epoll);
        Ok(())
    }

    /// Answers pings for `time`.
    pub fn serve(
        &mut self,
        connections: &[Subscriber],
        time: Duration,
        mut at: impl FnMut(Duration),
    ) -> Result<(), String> {
        let Some(mut epoll) = self.epoll.take() else { return Err("nobody listens".to_owned()) };
        let begun = Instant::now();
        let mut tags = Vec::new();
        while let Some(left) = time.checked_sub(begun.elapsed()) {
            tags.clear();
            epoll
                .wait(Some(left.min(Duration::from_secs(1))), &mut tags)
                .map_err(|e| format!("epoll: {e}"))?;
            for &tag in &tags {
                let index = tag as usize;
                self.read(index, &connections[index])?;
            }
            at(begun.elapsed());
        }
        self.epoll = Some(epoll);
        Ok(())
    }

    fn read(&mut self, index: usize, connection: &Subscriber) -> Result<(), String> {
        let gone = |what: &str| format!("connection {index}, idle: {what}");
        match connection.receive(&mut self.buffer).map_err(|error| gone(&error))? {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err(gone("the server closed it")),
            Received::Bytes(got) => {
                let mut held = self.held.remove(&index).unwrap_or_default();
                held.extend_from_slice(&self.buffer[..got]);
                let mut used = 0;
                while let Some(found) =
                    frame::next(&held[used..], FRAME_BYTES).map_err(|error| gone(&error.to_string()))?
                {
                    let payload = &held[used..][found.payload.clone()];
                    let mut pongs = Vec::new();
                    match found.kind {
                        Kind::Ping => pongs.extend(frame::pong(payload)),
                        Kind::Message => self
                            .talk
                            .hear(payload, |heard| {
                                if let Heard::Answer(text) = heard {
                                    frame::push_masked(&mut pongs, text.as_bytes(), MASK);
                                }
                                Ok::<(), String>(())
                            })
                            .map_err(|error| gone(&error))?,
                        Kind::Close => return Err(gone("a close frame")),
                        Kind::Pong => {}
                    }
                    if !pongs.is_empty() {
                        connection.send_control(&pongs).map_err(|error| gone(&error))?;
                        if self.pings.len() <= index {
                            self.pings.resize(index + 1, 0);
                        }
                        self.pings[index] += 1;
                    }
                    used += found.payload.end;
                }
                if used < held.len() {
                    self.held.insert(index, held.split_off(used));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ACCEPT;
    use crate::wire::{App, Dialect};
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

    /// Accepts one WebSocket, sends `bytes` in two pieces, and returns what came back.
    fn pinged(bytes: Vec<u8>, answer_bytes: usize) -> (SocketAddrV4, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let head = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let (first, second) = bytes.split_at(bytes.len() / 2);
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(first).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(second).unwrap();
            let mut answer = vec![0; answer_bytes];
            let _ = stream.read_exact(&mut answer);
            answer
        });
        (SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), thread)
    }

    #[test]
    fn every_ping_is_answered_once_in_whatever_pieces_it_comes() {
        let pings = [0x89, 2, b'h', b'i', 0x89, 1, b'!'].to_vec();
        let expected = [frame::pong(b"hi"), frame::pong(b"!")].concat();
        let (address, server) = pinged(pings, expected.len());
        let connections = [Subscriber::connect(Ipv4Addr::LOCALHOST, address, "/sub/test").unwrap()];
        let mut pongs = Pongs::new(&Wire::relay("/sub/test"));
        pongs.listen(&connections).unwrap();
        let _ = pongs.serve(&connections, Duration::from_millis(200), |_| ());
        assert_eq!(pongs.pings(1), (2, 2, 2));
        assert_eq!(pongs.pings(2), (0, 2, 2), "one that was never pinged");
        assert_eq!(server.join().unwrap(), expected);
    }

    #[test]
    fn an_idle_connection_that_is_closed_is_told() {
        let (address, server) = pinged([0x88, 0].to_vec(), 0);
        let connections = [Subscriber::connect(Ipv4Addr::LOCALHOST, address, "/sub/test").unwrap()];
        let mut pongs = Pongs::new(&Wire::relay("/sub/test"));
        pongs.listen(&connections).unwrap();
        let error = pongs.serve(&connections, Duration::from_secs(2), |_| ()).unwrap_err();
        assert!(error.contains("connection 0") && error.contains("close"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn pings_of_a_dialect_are_answered_as_it_does() {
        // Engine.IO pings with a text of its own.
        let mut expected = Vec::new();
        frame::push_masked(&mut expected, b"3", MASK);
        let (address, server) = pinged([0x81, 1, b'2'].to_vec(), expected.len());
        let connections = [Subscriber::connect(Ipv4Addr::LOCALHOST, address, "/").unwrap()];
        let mut pongs = Pongs::new(&Wire::of(Dialect::Socketio, "bench", &App::default()));
        pongs.listen(&connections).unwrap();
        let _ = pongs.serve(&connections, Duration::from_millis(200), |_| ());
        assert_eq!((pongs.pings(1), server.join().unwrap()), ((1, 1, 1), expected));
    }
}
