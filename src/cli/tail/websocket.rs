//! Over a WebSocket, with nchan's `ws+meta.nchan` so that messages carry their ids.

use std::io::Read;

use super::{Printer, refused};
use crate::cli::client::{Connection, Peer};
use crate::limits::{CLI_MESSAGE_BYTES, WsLimits};
use crate::wire::ws::handshake::{VERSION, accept_key, client_key};
use crate::wire::ws::{Event, Opcode, Reader, Role, close, frame};

const META: &str = "ws+meta.nchan";

pub(super) fn tail(peer: &Peer, from: Option<&str>, printer: &mut Printer<'_, '_>) -> Result<(), String> {
    let mut connection = peer.connect(None)?;
    let meta = upgrade(peer, &mut connection, from)?;
    let limits = WsLimits { message_bytes: CLI_MESSAGE_BYTES, inflate_ratio: 0, ..WsLimits::default() };
    let mut reader = Reader::new(Role::Client);
    loop {
        let mut input = std::mem::take(&mut connection.received);
        let mut at = 0;
        loop {
            let step = reader
                .step(&mut input[at..], &limits, None)
                .map_err(|fault| format!("bad frame: {fault:?}"))?;
            at += step.consumed;
            let Some(event) = step.event else { break };
            let wanted = match event {
                Event::Text(text) => print(printer, meta, text.as_bytes()),
                Event::Binary(bytes) => print(printer, meta, bytes),
                Event::Ping(payload) => {
                    // When the other side is gone, what it has said before is still to be read.
                    let _ = answer(&mut connection, Opcode::Pong, payload);
                    true
                }
                Event::Pong(_) => true,
                Event::Close { code, reason } => {
                    let (payload, len) = close::payload(code.unwrap_or(close::NORMAL), "");
                    // The other side may be gone already, and its reason is what matters.
                    let _ = answer(&mut connection, Opcode::Close, &payload[..len]);
                    let code = code.map_or("no code".into(), |code| code.to_string());
                    return Err(format!("closed by the node: {code} {reason}").trim_end().into());
                }
            };
            if !wanted {
                return leave(&mut connection);
            }
        }
        if !connection.fill()? {
            return Err("the connection ended".into());
        }
    }
}

/// Makes the handshake; tells whether messages carry a header.
fn upgrade(peer: &Peer, connection: &mut Connection, from: Option<&str>) -> Result<bool, String> {
    let key = client_key(random()?);
    let headers: [(&str, &[u8]); 5] = [
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", VERSION.as_bytes()),
        ("Sec-WebSocket-Key", &key),
        ("Sec-WebSocket-Protocol", META.as_bytes()),
    ];
    peer.send(connection, "GET", &peer.target("/sub/", from), &headers, None)?;
    let head = connection.head()?;
    if head.status != 101 {
        let body = connection.body(&head).unwrap_or_default();
        return Err(refused(head.status, &body));
    }
    if head.header("Sec-WebSocket-Accept").map(str::as_bytes) != Some(&accept_key(&key)) {
        return Err("the answer is not for this WebSocket key".into());
    }
    Ok(head.header("Sec-WebSocket-Protocol") == Some(META))
}

fn print(printer: &mut Printer<'_, '_>, meta: bool, message: &[u8]) -> bool {
    let (id, body) = if meta { split_meta(message) } else { ("", message) };
    printer.message(id, body)
}

/// Id and body of `id: ...\ncontent-type: ...\n\nbody`; all of it is the body when it is not of that form.
fn split_meta(message: &[u8]) -> (&str, &[u8]) {
    let end = message.windows(2).position(|pair| pair == b"\n\n");
    let split = end.and_then(|end| {
        let head = std::str::from_utf8(&message[..end]).ok()?;
        Some((head.lines().next()?.strip_prefix("id: ")?, &message[end + 2..]))
    });
    split.unwrap_or(("", message))
}

fn leave(connection: &mut Connection) -> Result<(), String> {
    let (payload, len) = close::payload(close::NORMAL, "");
    answer(connection, Opcode::Close, &payload[..len])
}

fn answer(connection: &mut Connection, opcode: Opcode, payload: &[u8]) -> Result<(), String> {
    let frame = frame::encode_masked(opcode, true, false, random()?, payload);
    connection.write(&frame)
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let source = std::fs::File::open("/dev/urandom");
    source
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| format!("no randomness: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_cut_from_the_body() {
        assert_eq!(split_meta(b"id: 1:0\ncontent-type: a/b\n\nx\n\ny"), ("1:0", &b"x\n\ny"[..]));
        assert_eq!(split_meta(b"id: 1:0\n\n"), ("1:0", &b""[..]));
        assert_eq!(split_meta(b"plain\n\ntext"), ("", &b"plain\n\ntext"[..]));
        assert_eq!(split_meta(b""), ("", &b""[..]));
    }
}
