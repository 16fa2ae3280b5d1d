//! Answers as a client reads them.

/// A part of what a connection was sent.
pub enum Part<'a> {
    /// An answer that ends by itself.
    Answer { head: &'a str, body: Vec<u8> },
    /// The head of a stream, and what has come of it.
    Stream { head: &'a str, body: Vec<u8> },
    /// A WebSocket.
    WebSocket { head: &'a str, frames: &'a [u8] },
    /// No whole answer.
    Rest(&'a [u8]),
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// What chunks say, and how many bytes they take if they have ended.
fn unchunk(bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some(end) = memchr::memmem::find(&bytes[at..], b"\r\n") {
        let size = std::str::from_utf8(&bytes[at..at + end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("a chunk of size {size:?}"));
        let from = at + end + 2;
        let Some(chunk) = bytes.get(from..from + size + 2) else { break };
        assert_eq!(&chunk[size..], b"\r\n");
        body.extend_from_slice(&chunk[..size]);
        at = from + size + 2;
        if size == 0 {
            return (body, Some(at));
        }
    }
    (body, None)
}

/// All parts; `bodiless` says which of the requests was HEAD.
pub fn read<'a>(bytes: &'a [u8], bodiless: &[bool]) -> Vec<Part<'a>> {
    let (mut parts, mut at, mut answers) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n") else {
            parts.push(Part::Rest(rest));
            break;
        };
        let (head, body) = (std::str::from_utf8(&rest[..end + 4]).unwrap(), &rest[end + 4..]);
        assert!(head.starts_with("HTTP/1.1 "), "{head:?}");
        let status = &head[9..12];
        if status == "101" {
            parts.push(Part::WebSocket { head, frames: body });
            break;
        }
        let informs = status.starts_with('1');
        let is_empty = informs
            || matches!(status, "204" | "304")
            || bodiless.get(answers).is_some_and(|bodiless| *bodiless);
        answers += usize::from(!informs);
        let chunked = header(head, "Transfer-Encoding").is_some_and(|coding| coding == "chunked");
        let length = header(head, "Content-Length").map(|length| length.parse::<usize>().unwrap());
        let (body, taken) = match length {
            _ if is_empty => (Vec::new(), 0),
            _ if chunked => match unchunk(body) {
                (body, Some(taken)) => (body, taken),
                (body, None) => {
                    parts.push(Part::Stream { head, body });
                    break;
                }
            },
            Some(length) if length <= body.len() => (body[..length].to_vec(), length),
            Some(_) => {
                parts.push(Part::Rest(rest));
                break;
            }
            None => {
                parts.push(Part::Stream { head, body: body.to_vec() });
                break;
            }
        };
        parts.push(Part::Answer { head, body });
        at += end + 4 + taken;
    }
    parts
}

/// How many requests are answered to the end.
pub fn answered(bytes: &[u8], bodiless: &[bool]) -> usize {
    let whole = |part: &&Part<'_>| matches!(part, Part::Answer { head, .. } if &head[9..10] != "1");
    read(bytes, bodiless).iter().filter(whole).count()
}
