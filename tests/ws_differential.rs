//! The WebSocket layer against another implementation (tungstenite), both ways, with random fragments and reads.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use fanwire::limits::WsLimits;
use fanwire::wire::ws::{Event, Opcode, Reader, close, frame};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

/// A socket whose peer is the test.
#[derive(Default)]
struct Pipe {
    to_read: VecDeque<u8>,
    written: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.to_read.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.to_read.read(out)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A message and the places where it is cut into fragments.
#[derive(Clone, Debug)]
struct Sent {
    message: Message,
    cuts: Vec<usize>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        "\\PC{0,80}".prop_map(Message::text),
        vec(any::<u8>(), 0..300).prop_map(Message::binary),
        (65_530usize..65_545, any::<u8>()).prop_map(|(len, byte)| Message::binary(vec![byte; len])),
        vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Ping(bytes.into())),
        vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Pong(bytes.into())),
    ];
    (message, vec(0usize..70_000, 0..4)).prop_map(|(message, cuts)| Sent { message, cuts })
}

/// Our word for a message's kind.
fn opcode(message: &Message) -> Opcode {
    match message {
        Message::Text(_) => Opcode::Text,
        Message::Binary(_) => Opcode::Binary,
        Message::Ping(_) => Opcode::Ping,
        Message::Pong(_) => Opcode::Pong,
        Message::Close(_) | Message::Frame(_) => Opcode::Close,
    }
}

impl Sent {
    /// The payloads of the frames; one for a control frame.
    fn fragments(&self) -> Vec<Vec<u8>> {
        let payload = self.message.clone().into_data();
        let mut cuts = if opcode(&self.message).is_control() { Vec::new() } else { self.cuts.clone() };
        cuts.iter_mut().for_each(|cut| *cut %= payload.len() + 1);
        cuts.sort_unstable();
        cuts.push(payload.len());
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        starts.zip(&cuts).map(|(start, &end)| payload[start..end].to_vec()).collect()
    }
}

/// What our reader makes of `bytes`, received in pieces of the given sizes.
fn read(reader: &mut Reader, bytes: &[u8], sizes: &[usize]) -> Vec<Message> {
    let (mut got, mut rest, mut sizes) = (Vec::new(), bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = rest.len().min(*sizes.next().unwrap());
        let (now, later) = rest.split_at(size);
        rest = later;
        let (mut input, mut at) = (now.to_vec(), 0);
        loop {
            let step = reader.step(&mut input[at..], &WsLimits::default(), None).unwrap();
            at += step.consumed;
            got.push(match step.event {
                None => break,
                Some(Event::Text(text)) => Message::text(text),
                Some(Event::Binary(bytes)) => Message::binary(bytes.to_vec()),
                Some(Event::Ping(bytes)) => Message::Ping(bytes.to_vec().into()),
                Some(Event::Pong(bytes)) => Message::Pong(bytes.to_vec().into()),
                Some(Event::Close { code, reason }) => Message::Close(
                    code.map(|code| CloseFrame { code: CloseCode::from(code), reason: reason.into() }),
                ),
            });
        }
    }
    got
}

/// Failing cases are printed; there is no file of old ones.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn we_read_what_it_writes(sent in vec(sent(), 1..6), sizes in vec(1usize..3000, 1..6)) {
        let mut client = WebSocket::from_raw_socket(Pipe::default(), Role::Client, None);
        for one in &sent {
            let fragments = one.fragments();
            if fragments.len() == 1 {
                client.send(one.message.clone()).unwrap();
                continue;
            }
            let first = if one.message.is_text() { Data::Text } else { Data::Binary };
            for (index, part) in fragments.iter().enumerate() {
                let kind = if index == 0 { first } else { Data::Continue };
                let fin = index + 1 == fragments.len();
                let frame = Frame::message(part.clone(), OpCode::Data(kind), fin);
                client.send(Message::Frame(frame)).unwrap();
            }
        }
        let close = CloseFrame { code: CloseCode::Away, reason: "gone".into() };
        client.close(Some(close.clone())).unwrap();

        let mut reader = Reader::default();
        let mut expected: Vec<Message> = sent.iter().map(|one| one.message.clone()).collect();
        expected.push(Message::Close(Some(close)));
        prop_assert_eq!(read(&mut reader, &client.get_ref().written, &sizes), expected);
        prop_assert!(reader.has_ended());
    }

    #[test]
    fn it_reads_what_we_write(sent in vec(sent(), 1..6), masked in any::<bool>(), mask in any::<[u8; 4]>()) {
        let mut bytes = Vec::new();
        for one in &sent {
            let fragments = one.fragments();
            for (index, part) in fragments.iter().enumerate() {
                let opcode = if index == 0 { opcode(&one.message) } else { Opcode::Continuation };
                let fin = index + 1 == fragments.len();
                if masked {
                    frame::encode_masked_into(&mut bytes, opcode, fin, false, mask, part);
                } else if fragments.len() == 1 {
                    let (head, tail) = part.split_at(part.len() / 2);
                    bytes.extend_from_slice(&frame::encode(opcode, false, &[head, tail]));
                } else {
                    let (head, len) = frame::header(opcode, fin, false, part.len());
                    bytes.extend_from_slice(&head[..len]);
                    bytes.extend_from_slice(part);
                }
            }
        }
        if !masked {
            bytes.extend_from_slice(&close::encode(1001, "gone"));
        }
        let role = if masked { Role::Server } else { Role::Client };
        let pipe = Pipe { to_read: bytes.into(), ..Pipe::default() };
        let mut peer = WebSocket::from_raw_socket(pipe, role, None);
        for one in &sent {
            prop_assert_eq!(&peer.read().unwrap(), &one.message);
        }
        if masked {
            prop_assert!(matches!(peer.read(), Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock));
        } else {
            let close = CloseFrame { code: CloseCode::Away, reason: "gone".into() };
            prop_assert_eq!(peer.read().unwrap(), Message::Close(Some(close)));
        }
    }
}

proptest! {
    #![proptest_config(config(1024))]

    /// Both refuse or both accept a frame with any first byte.
    #[test]
    fn both_judge_single_frames_alike(first in any::<u8>(), payload in vec(any::<u8>(), 0..130)) {
        let (head, len) = frame::header(Opcode::Text, true, false, payload.len());
        let mut bytes = head[..len].to_vec();
        bytes[0] = first;
        bytes[1] |= 0x80;
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&payload);

        let ours = Reader::default().step(&mut bytes.clone(), &WsLimits::default(), None).is_ok();
        let pipe = Pipe { to_read: bytes.into(), ..Pipe::default() };
        let theirs = match WebSocket::from_raw_socket(pipe, Role::Server, None).read() {
            // Its answer to a close code that is not allowed is a close message with 1002 in place of an error.
            Ok(Message::Close(Some(close))) => close.code != CloseCode::Protocol || payload.starts_with(&[3, 0xea]),
            Ok(_) => true,
            Err(Error::Io(error)) => error.kind() == io::ErrorKind::WouldBlock,
            Err(_) => false,
        };
        // A first fragment with bad text: we fail at once, it waits for the rest.
        let unfinished_text = first == 0x01 && std::str::from_utf8(&payload).is_err();
        prop_assert!(ours == theirs || (unfinished_text && !ours), "ours {}, theirs {}", ours, theirs);
    }
}
