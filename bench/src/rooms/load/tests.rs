use super::*;
use crate::frame;
use crate::http;
use crate::wire::ACCEPT;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does to the tenth publish.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// One subscriber of the channel does not get it.
    Lose,
    /// A subscriber of another channel gets it too.
    Leak,
}

#[derive(Default)]
struct State {
    channels: BTreeMap<String, Vec<TcpStream>>,
    published: usize,
}

/// A server with channels, on threads that live as long as the test program.
fn start_server(flaw: Flaw) -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let state = Arc::new(Mutex::new(State::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let state = state.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &state, flaw));
        }
    });
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, flaw: Flaw) {
    let (mut held, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(got @ 1..) = stream.read(&mut buffer) {
        held.extend_from_slice(&buffer[..got]);
        while let Some(length) = http::head_length(&held) {
            let head = String::from_utf8(held[..length].to_vec()).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            if let Some(channel) = path.strip_prefix("/sub/") {
                let answer = format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                let mut state = state.lock().unwrap();
                state.channels.entry(channel.to_owned()).or_default().push(stream.try_clone().unwrap());
                held.clear();
                continue;
            }
            let channel = path.strip_prefix("/pub/").unwrap();
            let body: usize = http::header(&head, "content-length").unwrap().parse().unwrap();
            if held.len() < length + body {
                break;
            }
            deliver(&mut state.lock().unwrap(), channel, &held[length..length + body], flaw);
            held.drain(..length + body);
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    }
}

fn deliver(state: &mut State, channel: &str, body: &[u8], flaw: Flaw) {
    let mut message = Vec::new();
    frame::push_text(&mut message, body);
    state.published += 1;
    let flawed = state.published == 10;
    let lost = usize::from(flawed && flaw == Flaw::Lose);
    for subscriber in state.channels[channel].iter().skip(lost) {
        (&*subscriber).write_all(&message).unwrap();
    }
    if flawed && flaw == Flaw::Leak {
        let other = state.channels.iter().find(|(name, _)| *name != channel).unwrap().1;
        (&other[0]).write_all(&message).unwrap();
    }
}

fn shape(client: ClientMode) -> RoomsShape {
    RoomsShape {
        rooms: 7,
        subscribers: 3,
        publishers: 2,
        window: 3,
        payload_bytes: 64,
        wire: Wire::relay("/sub/room"),
        publish_path: "/pub/room".to_owned(),
        sources: 2,
        client,
        pause: Duration::from_micros(100),
    }
}

#[test]
fn every_message_reaches_its_room_and_publishers_walk_over_all() {
    for client in [ClientMode::Sweep, ClientMode::Epoll] {
        let mut load = RoomsLoad::connect(start_server(Flaw::None), shape(client), u32::MAX).unwrap();
        let round = load.round(Duration::from_millis(60)).unwrap();
        load.check_nothing_left().unwrap();
        let sent: Vec<u64> = load.rooms.iter().map(|room| room.ledger.sent()).collect();
        assert_eq!(round.messages, sent.iter().sum::<u64>());
        assert_eq!((round.deliveries, round.latencies.len()), (round.messages * 3, round.messages));
        // Rooms of one publisher are visited in turn.
        for publisher in 0..2 {
            let own: Vec<u64> = sent.iter().skip(publisher).step_by(2).copied().collect();
            let (least, most) = (own.iter().min().unwrap(), own.iter().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "{sent:?}");
        }
    }
}

#[test]
fn a_message_in_another_room_is_told() {
    for client in [ClientMode::Sweep, ClientMode::Epoll] {
        let mut load = RoomsLoad::connect(start_server(Flaw::Leak), shape(client), 7).unwrap();
        let outcome = load.round(Duration::from_millis(60)).and_then(|_| load.check_nothing_left());
        let error = outcome.unwrap_err();
        assert!(error.contains("room ") && error.contains("not of this run"), "{error}");
    }
}

#[test]
fn a_lost_delivery_is_told() {
    let mut load = RoomsLoad::connect(start_server(Flaw::Lose), shape(ClientMode::Sweep), 7).unwrap();
    // The room waits for its message; nobody gets the others' way until their windows are full.
    let error = load.round(Duration::from_millis(60)).unwrap_err();
    assert!(error.contains("1 rooms lack a message"), "{error}");
}
