//! Answers that never end: one event, chunk, part or line per message.

use super::Carrier;
use super::talk::excerpt;
use crate::http;

/// Room beside the payload for what an event or a part has around it, bytes.
const AROUND_BYTES: usize = 4096;

/// Reads one subscriber's answer. See the module.
#[derive(Debug)]
pub struct Stream {
    form: Form,
    /// The body comes in chunks that mean nothing: they are taken off first.
    chunked: bool,
    /// Body out of such chunks that is not read yet.
    body: Vec<u8>,
}

#[derive(Debug)]
enum Form {
    Events,
    Chunks,
    /// `\r\n--` and the boundary. Its first line break is missing before the first part.
    Parts(Vec<u8>, bool),
    Lines,
}

impl Stream {
    /// Reads the answer's head.
    pub fn new(carrier: Carrier, head: &[u8]) -> Result<Stream, String> {
        let head = std::str::from_utf8(head).map_err(|_| "answer head is not text")?;
        if http::status(head) != Some(200) {
            return Err(format!("no stream: {}", head.lines().next().unwrap_or_default()));
        }
        let kind = http::header(head, "content-type").unwrap_or_default();
        let wrong = || format!("no {}, but an answer of type {kind:?}", carrier.name());
        let mut chunked =
            http::header(head, "transfer-encoding").is_some_and(|name| name.eq_ignore_ascii_case("chunked"));
        if http::header(head, "content-length").is_some() {
            return Err(format!("no {}, but an answer with a length", carrier.name()));
        }
        let form = match carrier {
            Carrier::Eventsource if kind.starts_with("text/event-stream") => Form::Events,
            Carrier::Chunked if chunked => {
                chunked = false;
                Form::Chunks
            }
            Carrier::Multipart => {
                let boundary =
                    kind.strip_prefix("multipart/mixed").and_then(|rest| rest.split_once("boundary="));
                let boundary = boundary.ok_or_else(wrong)?.1.trim_matches('"');
                Form::Parts(format!("\r\n--{boundary}").into_bytes(), true)
            }
            Carrier::Raw if !kind.starts_with("text/event-stream") && !kind.starts_with("multipart/") => {
                Form::Lines
            }
            _ => return Err(wrong()),
        };
        Ok(Stream { form, chunked, body: Vec::new() })
    }

    /// Hands on the messages that are complete in `bytes`, and returns how many bytes are done with. `limit` bounds a
    /// message, bytes.
    pub fn take<E: From<String>>(
        &mut self,
        bytes: &[u8],
        limit: usize,
        on: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let limit = limit + AROUND_BYTES;
        if !self.chunked {
            let used = self.form.take(bytes, limit, on)?;
            return bounded(used, bytes.len(), limit).map_err(E::from);
        }
        let mut used = 0;
        while let Some((start, end)) = chunk(&bytes[used..], limit)? {
            self.body.extend_from_slice(&bytes[used + start..used + end]);
            used += end + 2;
        }
        let read = self.form.take(&self.body, limit, on)?;
        self.body.drain(..read);
        bounded(0, self.body.len(), limit)?;
        Ok(used)
    }
}

/// Refuses what is left over if it is more than any message can be.
fn bounded(used: usize, length: usize, limit: usize) -> Result<usize, String> {
    if length - used > limit { Err(format!("{} bytes and no message", length - used)) } else { Ok(used) }
}

/// Where the data of a complete chunk lies; its line break is behind it.
fn chunk(bytes: &[u8], limit: usize) -> Result<Option<(usize, usize)>, String> {
    let Some(line) = find(bytes, b"\r\n") else { return Ok(None) };
    let digits = std::str::from_utf8(&bytes[..line]).unwrap_or("?");
    let digits = digits.split(';').next().unwrap_or_default();
    let size =
        usize::from_str_radix(digits, 16).map_err(|_| format!("bad chunk size: {}", excerpt(bytes)))?;
    match size {
        0 => return Err("the server has ended the stream".to_owned()),
        size if size > limit => return Err(format!("a chunk of {size} bytes")),
        _ => {}
    }
    let (start, end) = (line + 2, line + 2 + size);
    match bytes.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((start, end))),
        Some(_) => Err(format!("a chunk longer than it says: {}", excerpt(bytes))),
    }
}

impl Form {
    fn take<E: From<String>>(
        &mut self,
        bytes: &[u8],
        limit: usize,
        on: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            used += match self {
                Form::Events => {
                    let Some(end) = find(rest, b"\n\n") else { break };
                    event(&rest[..end], on)?;
                    end + 2
                }
                Form::Chunks => {
                    let Some((start, end)) = chunk(rest, limit)? else { break };
                    on(&rest[start..end])?;
                    end + 2
                }
                Form::Lines => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
                    on(&rest[..end])?;
                    end + 1
                }
                Form::Parts(boundary, first @ true) => {
                    let opener = &boundary[2..];
                    if rest.len() < opener.len() {
                        break;
                    }
                    if !rest.starts_with(opener) {
                        return Err(format!("no boundary at the beginning: {}", excerpt(rest)).into());
                    }
                    *first = false;
                    opener.len()
                }
                Form::Parts(boundary, false) => {
                    if rest.starts_with(b"--") {
                        return Err("the server has ended the stream".to_owned().into());
                    }
                    let Some(head) = find(rest, b"\r\n\r\n") else { break };
                    if !rest.starts_with(b"\r\n") {
                        return Err(format!("no part behind a boundary: {}", excerpt(rest)).into());
                    }
                    let body = head + 4;
                    let Some(length) = find(&rest[body..], boundary) else { break };
                    on(&rest[body..body + length])?;
                    body + length + boundary.len()
                }
            };
        }
        Ok(used)
    }
}

/// Hands on the data of an event that has any.
fn event<E: From<String>>(event: &[u8], on: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut only: Option<&[u8]> = None;
    let mut joined: Option<Vec<u8>> = None;
    for line in event.split(|byte| *byte == b'\n') {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        match name {
            b"data" => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                match (only, &mut joined) {
                    (None, _) => only = Some(value),
                    (Some(first), None) => joined = Some([first, b"\n", value].concat()),
                    (Some(_), Some(joined)) => {
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                    }
                }
            }
            b"" | b"id" | b"event" | b"retry" => {}
            _ => return Err(format!("not a line of an event: {}", excerpt(line)).into()),
        }
    }
    match (only, joined) {
        (_, Some(joined)) => on(&joined),
        (Some(only), None) => on(only),
        (None, None) => Ok(()),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = what.first()?;
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| byte == first)?;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: [&str; 3] = ["fw-one", "fw-two", "fw-three"];

    fn head(carrier: Carrier) -> &'static str {
        match carrier {
            Carrier::Eventsource => {
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
            }
            Carrier::Chunked => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Carrier::Multipart => "HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=BB\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        }
    }

    fn body(carrier: Carrier) -> String {
        let each = |before: &str, form: &dyn Fn(&str) -> String| {
            before.to_owned() + &MESSAGES.iter().map(|m| form(m)).collect::<String>()
        };
        match carrier {
            Carrier::Eventsource => {
                each(": hi\n\n", &|m| format!("id: 1:0\ndata: {m}\n\n:\n\nevent: ping\n\n"))
            }
            Carrier::Chunked => each("", &|m| format!("{:x}\r\n{m}\r\n", m.len())),
            Carrier::Multipart => {
                each("--BB", &|m| format!("\r\nEtag: 0\r\nContent-Type: text/plain\r\n\r\n{m}\r\n--BB"))
            }
            _ => each("", &|m| format!("{m}\n")),
        }
    }

    fn read(stream: &mut Stream, pieces: &[&[u8]]) -> Result<Vec<String>, String> {
        let (mut held, mut got) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let used = stream.take(&held, 100, &mut |message: &[u8]| -> Result<(), String> {
                got.push(String::from_utf8(message.to_vec()).unwrap());
                Ok(())
            })?;
            held.drain(..used);
        }
        Ok(got)
    }

    const ALL: [Carrier; 4] = [Carrier::Eventsource, Carrier::Chunked, Carrier::Multipart, Carrier::Raw];

    #[test]
    fn messages_are_read_alike_in_whatever_pieces_they_come() {
        for carrier in ALL {
            let body = body(carrier).into_bytes();
            for cut in 0..body.len() {
                let mut stream = Stream::new(carrier, head(carrier).as_bytes()).unwrap();
                let got = read(&mut stream, &[&body[..cut], &body[cut..]]).unwrap();
                assert_eq!(got, MESSAGES, "{carrier:?} cut at {cut}");
            }
            let singly: Vec<&[u8]> = body.chunks(1).collect();
            let mut stream = Stream::new(carrier, head(carrier).as_bytes()).unwrap();
            assert_eq!(read(&mut stream, &singly).unwrap(), MESSAGES, "{carrier:?}");
        }
    }

    #[test]
    fn a_stream_may_come_in_chunks_cut_anywhere() {
        for carrier in [Carrier::Eventsource, Carrier::Multipart, Carrier::Raw] {
            let head = head(carrier).replacen("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", 1);
            let body = body(carrier);
            let chunks: String = body
                .as_bytes()
                .chunks(5)
                .map(|c| format!("{:x}\r\n{}\r\n", c.len(), std::str::from_utf8(c).unwrap()))
                .collect();
            let mut stream = Stream::new(carrier, head.as_bytes()).unwrap();
            let pieces: Vec<&[u8]> = chunks.as_bytes().chunks(7).collect();
            assert_eq!(read(&mut stream, &pieces).unwrap(), MESSAGES, "{carrier:?}");
        }
    }

    #[test]
    fn a_stream_of_another_kind_is_refused() {
        for carrier in ALL {
            assert!(Stream::new(carrier, b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap_err().contains("403"));
            let poll = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
            assert!(Stream::new(carrier, poll).is_err(), "{carrier:?}");
            for other in ALL.iter().filter(|other| **other != carrier && carrier != Carrier::Raw) {
                assert!(Stream::new(carrier, head(*other).as_bytes()).is_err(), "{carrier:?} {other:?}");
            }
        }
    }

    #[test]
    fn ends_nonsense_and_endless_messages_are_errors() {
        let bad: [(Carrier, &[u8]); 7] = [
            (Carrier::Chunked, b"0\r\n\r\n"),
            (Carrier::Chunked, b"x\r\n"),
            (Carrier::Chunked, b"2\r\nabc\r\n"),
            (Carrier::Chunked, b"ffffffff\r\n"),
            (Carrier::Multipart, b"--BB--\r\n"),
            (Carrier::Multipart, b"hello"),
            (Carrier::Eventsource, b"fw-one\n\n"),
        ];
        for (carrier, body) in bad {
            let mut stream = Stream::new(carrier, head(carrier).as_bytes()).unwrap();
            assert!(read(&mut stream, &[body]).is_err(), "{}", String::from_utf8_lossy(body));
        }
        let mut stream = Stream::new(Carrier::Raw, head(Carrier::Raw).as_bytes()).unwrap();
        assert!(read(&mut stream, &[&[b'x'; 5000]]).unwrap_err().contains("no message"));
    }

    #[test]
    fn lines_of_data_are_joined() {
        let mut stream = Stream::new(Carrier::Eventsource, head(Carrier::Eventsource).as_bytes()).unwrap();
        assert_eq!(read(&mut stream, &[b"data: a\ndata:b\ndata\n\ndata:\n\n"]).unwrap(), ["a\nb\n", ""]);
    }
}
