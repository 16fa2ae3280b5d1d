//! `fanwire publish`: one message, one POST.

use std::io::Read;
use std::time::Duration;

use super::Surroundings;
use super::args::PublishArgs;
use super::client::Peer;
use crate::limits::{CLI_ANSWER_MS, CLI_MESSAGE_BYTES};
use crate::wire::http::response::phrase;

pub(super) fn run(surroundings: &mut Surroundings<'_>, args: &PublishArgs) -> Result<(), String> {
    let peer = Peer::new(surroundings, &args.peer)?;
    let message = match args.message.as_deref() {
        Some(message) if message != "-" => message.as_bytes().to_vec(),
        _ => read_input()?,
    };
    let mut headers: Vec<(&str, &[u8])> = vec![("Connection", b"close")];
    headers.extend(args.content_type.as_ref().map(|kind| ("Content-Type", kind.as_bytes())));
    headers.extend(args.event.as_ref().map(|event| ("X-EventSource-Event", event.as_bytes())));

    let mut connection = peer.connect(Some(Duration::from_millis(CLI_ANSWER_MS)))?;
    peer.send(&mut connection, "POST", &peer.target("/pub/", None), &headers, Some(&message))?;
    let answer = connection.head()?;
    let body = connection.body(&answer)?;
    surroundings.say(format_args!("{} {}", answer.status, phrase(answer.status)));
    if !body.is_empty() {
        surroundings.say(String::from_utf8_lossy(&body).trim_end());
    }
    // The status is the message: nothing else to complain about.
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(String::new()) }
}

fn read_input() -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    let read = std::io::stdin().take(CLI_MESSAGE_BYTES as u64 + 1).read_to_end(&mut message);
    read.map_err(|error| format!("cannot read the message: {error}"))?;
    if message.len() > CLI_MESSAGE_BYTES {
        return Err(format!("the message has more than {CLI_MESSAGE_BYTES} bytes"));
    }
    Ok(message)
}
