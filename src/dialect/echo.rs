//! An endpoint that sends back every WebSocket message: for conformance suites.

use crate::dialect::session::Message;
use crate::dialect::{Action, Context, SlowConsumer, Upgrade, upgrade};
use crate::wire::http::date;
use crate::wire::http::request::{Method, Request};
use crate::wire::http::response::{self, Response};
use crate::wire::ws::close;
use crate::wire::ws::deflate::{self, Compressor};
use crate::wire::ws::frame::{self, Opcode};
use bytes::Bytes;

/// zlib level: an echo is about round trips, not about size.
const LEVEL: u8 = 1;

/// The endpoint.
#[derive(Clone, Debug)]
pub struct Echo {
    path: Box<str>,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Session {
    compressor: Option<Box<Compressor>>,
}

impl Echo {
    /// The endpoint at `path`.
    pub fn new(path: &str) -> Echo {
        Echo { path: path.into() }
    }

    /// Takes requests for its path; others are left alone.
    pub fn on_request(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Option<Session> {
        let target = request.target_parts();
        if target.path_raw != &*self.path {
            return None;
        }
        // `?shard=2`: be served by that shard, wherever the kernel has put the connection.
        let wanted = target.arg("shard").and_then(|text| text.parse::<u16>().ok());
        if let Some(shard) = wanted.filter(|&shard| shard != cx.shard) {
            cx.act(Action::Move { shard });
            return Some(Session::default());
        }
        if !request.upgrade_websocket {
            let get = request.method == Method::Get;
            let answer = Response::new(if get { 426 } else { 405 }).header("Allow", "GET");
            let answer = if get { answer.header("Upgrade", "websocket") } else { answer };
            answer_plain(
                cx,
                request,
                &answer.body("text/plain", "This endpoint echoes WebSocket messages.\n"),
            );
            return Some(Session::default());
        }
        let policy = deflate::Policy::own();
        match upgrade::negotiate(request, &[], Some(&policy)) {
            Ok(accepted) => {
                let mut head = Vec::with_capacity(256);
                response::put_status_line(&mut head, 101);
                accepted.write_headers(&[], &mut head);
                response::put_header(&mut head, "X-Fanwire-Shard", cx.shard.to_string().as_bytes());
                head.extend_from_slice(b"\r\n");
                cx.send(head);
                let deflate = accepted.deflate;
                cx.act(Action::Upgrade(Upgrade { deflate, ping_interval_ms: 0, slow: SlowConsumer::Close }));
                let compressor = deflate.map(|params| Box::new(Compressor::for_connection(&params, LEVEL)));
                Some(Session { compressor })
            }
            Err(refusal) => {
                cx.refused("handshake", refusal.reason);
                answer_plain(cx, request, &upgrade::refused(&refusal));
                Some(Session::default())
            }
        }
    }
}

impl Session {
    /// Sends the message back, compressed if that was negotiated.
    pub fn on_message(&mut self, cx: &mut Context<'_>, message: Message<'_>) {
        #[cfg(debug_assertions)]
        misbehave(&message);
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, bytes),
        };
        let frame: Bytes = match &mut self.compressor {
            Some(compressor) => {
                let scratch = &mut cx.encoder.scratch;
                scratch.clear();
                compressor.compress(payload, scratch);
                frame::encode(opcode, true, &[scratch])
            }
            None => frame::encode(opcode, false, &[payload]),
        };
        cx.send(frame);
    }

    /// Says good-bye.
    pub fn on_drain(&mut self, cx: &mut Context<'_>) {
        cx.act(Action::CloseWebSocket { code: close::GOING_AWAY, reason: "The server is going away." });
    }
}

/// What tests of the node's faults ask for; no build that is released has it.
#[cfg(debug_assertions)]
fn misbehave(message: &Message<'_>) {
    match message {
        Message::Text("fanwire: panic") => panic!("a test has asked for it"),
        Message::Text("fanwire: stall") => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
}

fn answer_plain(cx: &mut Context<'_>, request: &Request<'_>, answer: &Response) {
    let date = date::format(cx.now.unix_s() as i64);
    let context = response::Context {
        head: request.method == Method::Head,
        minor_version: request.minor_version,
        keep_alive: request.keep_alive,
        date: Some(&date),
    };
    let mut out = Vec::with_capacity(256);
    answer.write(&mut out, &context);
    cx.send(out);
    cx.act(if answer.keeps_alive(&context) { Action::Done } else { Action::Close });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Figures;
    use crate::dialect::encode::Encoder;
    use crate::limits::HttpLimits;
    use crate::wire::http::request::{Event, Lines, Reader};
    use crate::wire::ws::deflate::Inflater;

    struct NoFigures;

    impl Figures for NoFigures {
        fn published(&self) -> u64 {
            0
        }
        fn stored(&self) -> u64 {
            0
        }
        fn history_bytes(&self) -> u64 {
            0
        }
        fn history_limit_bytes(&self) -> u64 {
            0
        }
        fn channels(&self) -> u64 {
            0
        }
        fn subscribers(&self) -> u64 {
            0
        }
        fn mailed(&self) -> u64 {
            0
        }
        fn mail_waiting(&self) -> u64 {
            0
        }
    }

    fn within<T>(what: impl FnOnce(&mut Context<'_>) -> T) -> (T, Vec<Action>) {
        let mut actions = Vec::new();
        let mut cx = Context {
            now: Default::default(),
            random: 0,
            peer: &"peer",
            listener: 0,
            delivered_ms: 0,
            heard_ms: 0,
            encoder: &mut Encoder::without_forms(),
            keys: &mut Default::default(),
            wants_standing: false,
            shard: 0,
            shards: 1,
            slot: 0,
            apps: &Default::default(),
            tools: &mut Default::default(),
            actions: &mut actions,
            sessions: &(),
            figures: &NoFigures,
        };
        (what(&mut cx), actions)
    }

    fn asked(head: &str) -> (Option<Session>, Vec<Action>) {
        let mut bytes = format!("{head}\r\nHost: a\r\n\r\n").into_bytes();
        let (mut reader, mut lines) = (Reader::default(), Lines::default());
        let step = reader.step(&mut bytes, &mut lines, &HttpLimits::default()).unwrap();
        let Some(Event::Request(request)) = step.event else { panic!("no request") };
        within(|cx| Echo::new("/echo").on_request(cx, &request))
    }

    const SHAKE: &str = "GET /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    fn echoed(session: &mut Session, text: &str) -> Bytes {
        match within(|cx| session.on_message(cx, Message::Text(text))).1.pop() {
            Some(Action::Send(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let (session, actions) = asked(SHAKE);
        let mut session = session.unwrap();
        assert!(matches!(&actions[1], Action::Upgrade(Upgrade { deflate: None, .. })));
        assert_eq!(echoed(&mut session, "hi"), &b"\x81\x02hi"[..]);
        let back = within(|cx| session.on_message(cx, Message::Binary(b"\xff"))).1.pop();
        assert!(matches!(back, Some(Action::Send(frame)) if frame[..] == *b"\x82\x01\xff"));
    }

    #[test]
    fn compressed_messages_come_back_compressed_with_and_without_takeover() {
        for (parameters, takeover) in [("", true), ("; server_no_context_takeover", false)] {
            let offer = format!("{SHAKE}\r\nSec-WebSocket-Extensions: permessage-deflate{parameters}");
            let mut session = asked(&offer).0.unwrap();
            let text = "to and fro ".repeat(30);
            let (first, second) = (echoed(&mut session, &text), echoed(&mut session, &text));
            assert_eq!(first[0], 0xc1);
            assert_eq!(second.len() < first.len(), takeover, "{parameters}");
            let mut inflater = Inflater::new(takeover);
            for frame in [first, second] {
                assert!(frame[1] < 126);
                let back = inflater.inflate(&frame[2..], &Default::default()).unwrap();
                assert_eq!(back, text.as_bytes());
            }
        }
    }

    #[test]
    fn others_are_told_or_left_alone() {
        let status = |head: &str| {
            let sent = asked(head).1.into_iter().find_map(|action| match action {
                Action::Send(bytes) => Some(bytes),
                _ => None,
            });
            String::from_utf8_lossy(&sent.unwrap()[9..12]).into_owned()
        };
        assert_eq!(status("GET /echo HTTP/1.1"), "426");
        assert_eq!(status("POST /echo HTTP/1.1"), "405");
        assert_eq!(status(&SHAKE.replace("13", "12")), "400");
        assert!(asked("GET /echoes HTTP/1.1").0.is_none());
    }
}
