//! A client of rustls against one connection, without sockets.

use super::*;
use crate::limits::{RECV_BYTES, TLS_SEND_BYTES};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
use std::io::{Read, Write};

struct World {
    door: TlsDoor,
    pending: Arc<Pending>,
    client: Arc<ClientConfig>,
}

fn world(versions: &[&'static SupportedProtocolVersion]) -> World {
    let made = rcgen::generate_simple_self_signed(["push.example".to_string()]).unwrap();
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.ticketer = ring::Ticketer::new().unwrap();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let pending = Pending::new(2, 1_000);
    World { door: TlsDoor::new(Arc::new(server), pending.clone()), pending, client: Arc::new(client) }
}

/// Both ends of a connection.
struct Pair {
    tls: Box<Tls>,
    client: ClientConnection,
    got: Vec<u8>,
}

impl Pair {
    fn new(world: &World) -> Pair {
        let name = ServerName::try_from("push.example").unwrap();
        let client = ClientConnection::new(world.client.clone(), name).unwrap();
        Pair { tls: world.door.begin().unwrap(), client, got: Vec::new() }
    }

    /// What the client has to send.
    fn said(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut out).unwrap();
        }
        out
    }

    /// Gives the shard's side bytes as recv(2) would, `size` at a time, and the client the answers.
    fn feed(&mut self, bytes: &[u8], size: usize) -> Result<(), Failure> {
        let (mut scratch, mut answer) = (vec![0; RECV_BYTES], Sealed::default());
        for new in bytes.chunks(size) {
            if self.tls.keep(new) {
                continue;
            }
            let kept = self.tls.kept.len();
            scratch[..kept].copy_from_slice(&self.tls.kept);
            scratch[kept..kept + new.len()].copy_from_slice(new);
            self.tls.take_in(&mut scratch[..kept + new.len()], &mut self.got, &mut answer)?;
        }
        self.hear(answer.ready());
        Ok(())
    }

    fn hear(&mut self, mut records: &[u8]) {
        while !records.is_empty() {
            self.client.read_tls(&mut records).unwrap();
            if self.client.process_new_packets().is_err() {
                return; // a client that was misquoted; who expects an answer misses it
            }
        }
    }

    fn shake_hands(&mut self, size: usize) {
        while self.client.is_handshaking() || self.tls.is_handshaking() {
            let said = self.said();
            assert!(!said.is_empty());
            self.feed(&said, size).unwrap();
        }
    }

    fn send(&mut self, bytes: &[u8], size: usize) {
        for part in bytes.chunks(30_000) {
            self.client.writer().write_all(part).unwrap();
            let said = self.said();
            self.feed(&said, size).unwrap();
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut sealed, mut got) = (Sealed::default(), Vec::new());
        for part in bytes.chunks(TLS_SEND_BYTES) {
            sealed.clear();
            self.tls.seal(part, &mut sealed).unwrap();
            let mut records = sealed.ready();
            while !records.is_empty() {
                self.client.read_tls(&mut records).unwrap();
                let state = self.client.process_new_packets().unwrap();
                let at = got.len();
                got.resize(at + state.plaintext_bytes_to_read(), 0);
                self.client.reader().read_exact(&mut got[at..]).unwrap();
            }
        }
        got
    }
}

const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&version::TLS12], &[&version::TLS13]];

#[test]
fn bytes_go_both_ways_however_records_are_cut() {
    let long: Vec<u8> = (0..200_000_u32).map(|i| (i * 7) as u8).collect();
    for versions in BOTH {
        for size in [1, 5, 6, 1_000, 20_000, 32_000] {
            let world = world(versions);
            let mut pair = Pair::new(&world);
            assert_eq!(world.pending.now(), 1);
            pair.shake_hands(size);
            assert_eq!(world.pending.now(), 0);
            assert!(!pair.tls.was_resumed());
            let long = if size == 1 { &long[..40_000] } else { &long[..] };
            pair.send(b"hello", size);
            pair.send(long, size);
            assert!(pair.got[..5] == *b"hello" && pair.got[5..] == *long);
            assert_eq!(
                (pair.tls.kept.len(), pair.tls.kept.capacity()),
                (0, 0),
                "nothing is kept between records"
            );
            assert_eq!(pair.receive(b"welcome"), b"welcome");
            assert!(pair.receive(long) == long);
        }
    }
}

#[test]
fn a_second_connection_resumes() {
    for versions in BOTH {
        let world = world(versions);
        for resumed in [false, true, true] {
            let mut pair = Pair::new(&world);
            pair.shake_hands(RECV_BYTES / 2);
            assert_eq!(pair.tls.was_resumed(), resumed);
            assert_eq!(pair.receive(b"x"), b"x");
        }
    }
}

#[test]
fn both_say_goodbye() {
    for versions in BOTH {
        let world = world(versions);
        let mut pair = Pair::new(&world);
        pair.shake_hands(1_000);
        pair.client.send_close_notify();
        let said = pair.said();
        pair.feed(&said, 1_000).unwrap();
        assert!(pair.tls.ended);
        let mut sealed = Sealed::default();
        pair.tls.say_goodbye(&mut sealed).unwrap();
        pair.client.read_tls(&mut sealed.ready()).unwrap();
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn keys_may_be_renewed() {
    let world = world(&[&version::TLS13]);
    let mut pair = Pair::new(&world);
    pair.shake_hands(1_000);
    for round in 0..5 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.send(&[round], 3);
        assert_eq!(pair.receive(b"more"), b"more");
    }
    assert_eq!(pair.got, [0, 1, 2, 3, 4]);
}

#[test]
fn handshakes_are_counted_and_bounded() {
    let world = world(BOTH[1]);
    let first = Pair::new(&world);
    let _second = Pair::new(&world);
    assert!(world.door.begin().is_none());
    assert_eq!(world.pending.now(), 2);
    drop(first);
    assert!(world.door.begin().is_some());
}

#[test]
fn a_changed_record_is_a_failure_and_an_alert() {
    let world = world(BOTH[1]);
    let mut pair = Pair::new(&world);
    pair.shake_hands(1_000);
    pair.client.writer().write_all(b"hello").unwrap();
    let mut said = pair.said();
    *said.last_mut().unwrap() ^= 1;
    let (mut plain, mut answer) = (Vec::new(), Sealed::default());
    let failure = pair.tls.take_in(&mut said, &mut plain, &mut answer).unwrap_err();
    assert_eq!(failure.label, "tls_record");
    assert!(plain.is_empty());
    pair.client.read_tls(&mut answer.ready()).unwrap();
    assert!(matches!(pair.client.process_new_packets(), Err(Error::AlertReceived(_))));
}

#[test]
fn nothing_a_stranger_sends_panics_or_piles_up() {
    let world = world(BOTH[1]);
    let hello = Pair::new(&world).said();
    let mut seed = 1_u64;
    for _ in 0..3_000 {
        let mut pair = Pair::new(&world);
        let mut bytes = hello.clone();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 20) as u8;
        }
        bytes.extend_from_slice(&hello);
        let _ = pair.feed(&bytes, 1 + (seed >> 50) as usize % 900);
        assert!(pair.tls.kept.len() <= TLS_KEPT_BYTES && pair.got.is_empty());
    }
    // A message that says it is long, in small records: nobody waits for all of it.
    let mut pair = Pair::new(&world);
    let mut bytes = vec![HANDSHAKE_RECORD, 3, 1, 0x10, 0, 1, 0, 0xff, 0xff];
    bytes.resize(5 + 0x1000, 0);
    let more: Vec<u8> = std::iter::once(bytes.clone())
        .chain((0..15).map(|_| [&[HANDSHAKE_RECORD, 3, 1, 0x10, 0][..], &[0; 0x1000]].concat()))
        .flatten()
        .collect();
    assert!(pair.feed(&more, 4_000).is_err());
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<Tls>();
    assert!(size <= 1_280, "{size} bytes");
}
