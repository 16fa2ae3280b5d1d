//! `fanwire tail`: the messages of a channel, one per line: id, tabulator, message.

mod event_stream;
mod longpoll;
mod websocket;

use super::Surroundings;
use super::args::{TailArgs, TailTransport};
use super::client::Peer;
use crate::wire::http::response::phrase;

pub(super) fn run(surroundings: &mut Surroundings<'_>, args: &TailArgs) -> Result<(), String> {
    if args.count == Some(0) {
        return Ok(());
    }
    let peer = Peer::new(surroundings, &args.peer)?;
    let mut printer = Printer { surroundings, missing: args.count };
    match args.transport {
        TailTransport::Ws => websocket::tail(&peer, args.from.as_deref(), &mut printer),
        TailTransport::Sse => event_stream::tail(&peer, args.from.as_deref(), &mut printer),
        TailTransport::Longpoll => longpoll::tail(&peer, args.from.as_deref(), &mut printer),
    }
}

/// Writes messages and knows when it is enough.
struct Printer<'a, 'b> {
    surroundings: &'a mut Surroundings<'b>,
    missing: Option<u64>,
}

impl Printer<'_, '_> {
    /// Writes one message; `false` when it was the last one wanted, or nobody reads any more.
    fn message(&mut self, id: &str, body: &[u8]) -> bool {
        let out = &mut self.surroundings.out;
        let parts = [id.as_bytes(), b"\t", body, b"\n"];
        let written = parts.iter().try_for_each(|part| out.write_all(part)).and_then(|()| out.flush());
        if let Some(missing) = &mut self.missing {
            *missing -= 1;
        }
        written.is_ok() && self.missing != Some(0)
    }
}

/// What to say of an answer that is no stream.
fn refused(status: u16, body: &[u8]) -> String {
    let reason = String::from_utf8_lossy(body);
    let line = reason.lines().next().unwrap_or_default();
    format!("{status} {} {line}", phrase(status)).trim_end().into()
}
