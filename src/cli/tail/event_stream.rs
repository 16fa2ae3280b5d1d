//! Over an event stream.

use super::{Printer, refused};
use crate::cli::client::Peer;
use crate::wire::http::client::Body;

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
    let (mut body, mut text, mut parser) = (Body::new(head.framing), Vec::new(), Parser::default());
    loop {
        let searched = text.len();
        let more = connection.body_part(&mut body, &mut text)?;
        let mut done = 0;
        while let Some(end) =
            memchr::memchr(b'\n', &text[done.max(searched)..]).map(|at| at + done.max(searched))
        {
            let line = &text[done..end];
            if let Some(data) = parser.line(line.strip_suffix(b"\r").unwrap_or(line))
                && !printer.message(&parser.id, &data)
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

/// Event stream interpretation as far as messages go: names and retry times do not matter here.
#[derive(Debug, Default)]
struct Parser {
    /// Id of the last event that had one.
    id: String,
    data: Option<Vec<u8>>,
}

impl Parser {
    /// Takes a line without its end; returns the data of an event that it ends.
    fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if line.is_empty() {
            return self.data.take();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"id" => self.id = String::from_utf8_lossy(value).into_owned(),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_with_their_ids() {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for line in ": hi||event: upd|id: 1:0|data: a|data: b||id|data||event: ping||data:x|".split('|') {
            if let Some(data) = parser.line(line.as_bytes()) {
                events.push((parser.id.clone(), String::from_utf8(data).unwrap()));
            }
        }
        let expected = [("1:0", "a\nb"), ("", ""), ("", "x")];
        assert_eq!(events, expected.map(|(id, data)| (id.to_owned(), data.to_owned())));
    }
}
