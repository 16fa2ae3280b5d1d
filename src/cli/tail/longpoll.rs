//! By long polling: one request per message, each with the id of the message before.

use std::time::Duration;

use super::{Printer, refused};
use crate::cli::client::Peer;
use crate::limits::CLI_POLL_PAUSE_MS;
use crate::wire::http::date;

pub(super) fn tail(peer: &Peer, from: Option<&str>, printer: &mut Printer<'_, '_>) -> Result<(), String> {
    let mut position = from.map(Position::from_id).transpose()?.unwrap_or_default();
    let target = peer.target("/sub/", None);
    loop {
        // A connection of its own for each poll: a node may close one after any answer.
        let mut connection = peer.connect(None)?;
        let mut headers: Vec<(&str, &[u8])> = vec![("Connection", b"close")];
        headers.extend(position.modified.as_ref().map(|value| ("If-Modified-Since", value.as_bytes())));
        headers.extend(position.tag.as_ref().map(|value| ("If-None-Match", value.as_bytes())));
        peer.send(&mut connection, "GET", &target, &headers, None)?;
        let head = connection.head()?;
        let body = connection.body(&head)?;
        match head.status {
            200 => {
                let [modified, tag] =
                    ["Last-Modified", "Etag"].map(|name| head.header(name).map(str::to_owned));
                let next = Position { modified, tag };
                if !printer.message(&next.id(), &body) {
                    return Ok(());
                }
                if next == position || next == Position::default() {
                    return Err("the answer has no new id: polling on would repeat it".into());
                }
                position = next;
            }
            // A held poll that ran out of time, or a location for interval polling.
            304 | 408 => std::thread::sleep(Duration::from_millis(CLI_POLL_PAUSE_MS)),
            status => return Err(refused(status, &body)),
        }
    }
}

/// The conditional headers that name a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Position {
    modified: Option<String>,
    tag: Option<String>,
}

impl Position {
    /// From `seconds:tag`.
    fn from_id(id: &str) -> Result<Position, String> {
        let parsed = id.split_once(':').and_then(|(seconds, tag)| {
            let seconds: i64 =
                seconds.parse().ok().filter(|seconds| (0..=date::MAX_SECONDS).contains(seconds))?;
            let modified = String::from_utf8_lossy(&date::format(seconds)).into_owned();
            Some(Position { modified: Some(modified), tag: Some(tag.into()) })
        });
        parsed.ok_or_else(|| format!("`{id}` is not an id of the form seconds:tag"))
    }

    /// As `seconds:tag`, or whatever the tag is when there is no date.
    fn id(&self) -> String {
        let tag = self.tag.as_deref().unwrap_or_default();
        match self.modified.as_deref().and_then(|date| date::parse(date.as_bytes())) {
            Some(seconds) => format!("{seconds}:{tag}"),
            None => tag.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_headers_and_come_back() {
        let position = Position::from_id("1795257143:0,[1],-").unwrap();
        assert_eq!(position.modified.as_deref(), Some("Sat, 21 Nov 2026 10:32:23 GMT"));
        assert_eq!(position.tag.as_deref(), Some("0,[1],-"));
        assert_eq!(position.id(), "1795257143:0,[1],-");
        for id in ["", "5", "x:1", "-1:0", "99999999999999:0"] {
            assert!(Position::from_id(id).is_err(), "{id}");
        }
        assert_eq!(Position { modified: None, tag: Some("5:1".into()) }.id(), "5:1");
    }
}
