//! Over an event stream.

use super::{Printer, refused};
use crate::cli::client::Peer;
use crate::wire::http::client::Body;
use crate::wire::sse::EventReader;

pub(super) fn tail(peer: &Peer, from: Option<&str>, printer: &mut Printer<'_, '_>) -> Result<(), String> {
    let mut connection = peer.connect(None)?;
    let target = peer.target("/sub/", from);
    peer.send(&mut connection, "GET", &target, &[("Accept", b"text/event-stream")], None)?;
    let head = connection.head()?;
    let stream = head.header("Content-Type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    if head.status != 200 || !stream {
        let body = if stream { Vec::new() } else { connection.body(&head)? };
        return Err(refused(head.status, &body));
    }
    let (mut body, mut text, mut parser) = (Body::new(head.framing), Vec::new(), EventReader::default());
    loop {
        let searched = text.len();
        let more = connection.body_part(&mut body, &mut text)?;
        let mut done = 0;
        while let Some(end) =
            memchr::memchr(b'\n', &text[done.max(searched)..]).map(|at| at + done.max(searched))
        {
            let line = &text[done..end];
            if let Some(data) = parser.line(line.strip_suffix(b"\r").unwrap_or(line))
                && !printer.message(parser.id(), &data)
            {
                return Ok(());
            }
            done = end + 1;
        }
        text.drain(..done);
        if !more {
            return Err("the stream ended".into());
        }
    }
}
