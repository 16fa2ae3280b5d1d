//! The WebSocket layer against two others (tungstenite, fastwebsockets): what they write we read, what we write they
//! read, with random fragments and reads; [`streams`] has what all three make of the same bytes.

#[path = "ws_differential/readers.rs"]
mod readers;
#[path = "ws_differential/streams.rs"]
mod streams;

use fanwire::wire::ws::{Opcode, Role, close, frame};
use fastwebsockets::{Frame as FastFrame, OpCode as FastOpCode, Payload, Role as FastRole};
use proptest::collection::vec;
use proptest::prelude::*;
use readers::{End, Pipe, Seen, now};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role as TheirRole, WebSocket};

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
        (120usize..132, any::<u8>()).prop_map(|(len, byte)| Message::binary(vec![byte; len])),
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

/// What there is to see of these messages and the close behind them.
fn seen(sent: &[Sent], end: End) -> Seen {
    let messages =
        sent.iter().map(|one| (opcode(&one.message) as u8, one.message.clone().into_data().to_vec()));
    Seen { messages: messages.collect(), end }
}

/// The end of a stream that is closed as these tests close it.
fn gone() -> End {
    End::Closed(Some((1001, "gone".into())))
}

/// Failing cases are printed; there is no file of old ones.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn we_read_what_tungstenite_writes(sent in vec(sent(), 1..6), sizes in vec(1usize..3000, 1..6)) {
        let mut client = WebSocket::from_raw_socket(Pipe::default(), TheirRole::Client, None);
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
        client.close(Some(CloseFrame { code: CloseCode::Away, reason: "gone".into() })).unwrap();
        let bytes = &client.get_ref().written;
        prop_assert_eq!(readers::ours(Role::Server, bytes, &sizes), seen(&sent, gone()));
    }

    #[test]
    fn we_read_what_fastwebsockets_writes(sent in vec(sent(), 1..6), sizes in vec(1usize..3000, 1..6), masked in any::<bool>()) {
        let (ours, theirs) = if masked { (Role::Server, FastRole::Client) } else { (Role::Client, FastRole::Server) };
        let mut peer = fastwebsockets::WebSocket::after_handshake(Pipe::default(), theirs);
        for one in &sent {
            let fragments = one.fragments();
            for (index, part) in fragments.iter().enumerate() {
                let opcode = if index == 0 { opcode(&one.message) } else { Opcode::Continuation };
                let opcode = FastOpCode::try_from(opcode as u8).unwrap();
                let frame = FastFrame::new(index + 1 == fragments.len(), opcode, None, Payload::Owned(part.clone()));
                now(peer.write_frame(frame)).unwrap();
            }
        }
        now(peer.write_frame(FastFrame::close(1001, b"gone"))).unwrap();
        let bytes = peer.into_inner().written;
        prop_assert_eq!(readers::ours(ours, &bytes, &sizes), seen(&sent, gone()));
    }

    #[test]
    fn they_read_what_we_write(
        sent in vec(sent(), 1..6),
        masked in any::<bool>(),
        mask in any::<[u8; 4]>(),
        sizes in vec(1usize..3000, 1..6),
    ) {
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
        let (role, end) = if masked { (Role::Server, End::Open) } else { (Role::Client, gone()) };
        let expected = seen(&sent, end);
        prop_assert_eq!(&readers::tungstenite(role, &bytes, &sizes), &expected);
        prop_assert_eq!(&readers::fastwebsockets(role, &bytes, &sizes), &expected);
        prop_assert_eq!(&readers::ours(role, &bytes, &sizes), &expected);
    }
}
