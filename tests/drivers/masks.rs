//! What two nodes cannot say alike is given names: the first id that a conversation shows is the same to both, and so on.

use crate::frame;
use crate::http::Part;
use crate::peer::Peer;
use regex::bytes::{Captures, Regex};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Longest text that is shown; of what is longer, length and checksum are compared.
const SHOWN: usize = 1500;
/// Longer lines are somebody's message.
const MESSAGE: usize = 8_000;

/// Ids in order of time; what stands in the first group is given a name, the rest of a match is left out.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let kinds = [
        r"Last-Modified: (?P<when>[^\r]+)\r\nEtag: (?P<tag>\d+)",
        r"(?P<id>\b\d{10}:\d+)",
        r"(?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)",
        r"boundary=(?P<boundary>\S+)",
    ];
    Regex::new(&kinds.join("|")).unwrap()
});

/// What just differs.
static LEFT_OUT: LazyLock<Regex> = LazyLock::new(|| {
    let kinds = [
        r"Date: [^\r]+ GMT",
        r"X-Fanwire-Shard: \d+",
        r"last requested: -?\d+ sec",
        r#""requested": -?\d+"#,
        r"but got [0-9a-f]{64}",
        r#"\\*"(timestamp|created|modified|id)\\*":\s*\d+(\.\d+)?"#,
    ];
    Regex::new(&kinds.join("|")).unwrap()
});

#[derive(Default)]
pub struct Masks {
    names: HashMap<String, String>,
    /// Texts that were learnt on the way.
    known: Vec<(Vec<u8>, String)>,
}

impl Masks {
    /// From now on `text` is called `name`.
    pub fn know(&mut self, text: &str, name: &str) {
        self.known.push((text.as_bytes().to_vec(), name.to_owned()));
    }

    fn name(&mut self, kind: &str, text: String) -> String {
        let count = self.names.len();
        match self.names.entry(text) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(format!("<{kind} {count}>")).clone(),
        }
    }

    /// Without a look at very long lines, which are somebody's message: regular expressions are slow in such builds.
    fn masked(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut out, mut done, mut line) = (Vec::new(), 0, 0);
        for end in memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]) {
            if end - line > MESSAGE {
                out.extend(self.renamed(&bytes[done..line]));
                out.extend_from_slice(&bytes[line..end]);
                done = end;
            }
            line = end;
        }
        out.extend(self.renamed(&bytes[done..]));
        out
    }

    fn renamed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let text = NAMED.replace_all(bytes, |found: &Captures<'_>| {
            let get = |name| found.name(name).map(|m| String::from_utf8_lossy(m.as_bytes()).into_owned());
            if let (Some(when), Some(tag)) = (get("when"), get("tag")) {
                let when = httpdate::parse_http_date(&when).unwrap();
                let when = when.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
                return self.name("id", format!("{when}:{tag}")).into_bytes();
            }
            if let Some(boundary) = get("boundary") {
                self.know(&boundary, "<boundary>");
            }
            for kind in ["id", "uuid"] {
                if let Some(text) = get(kind) {
                    return self.name(kind, text).into_bytes();
                }
            }
            b"<boundary>".to_vec()
        });
        let text = LEFT_OUT.replace_all(&text, &b"<differs>"[..]);
        let mut text = text.into_owned();
        for (known, name) in &self.known {
            while let Some(at) = memchr::memmem::find(&text, known) {
                text.splice(at..at + known.len(), name.bytes());
            }
        }
        text
    }

    /// A text as it is compared and shown.
    fn text(&mut self, bytes: &[u8]) -> String {
        let bytes = self.masked(bytes);
        if bytes.len() > SHOWN {
            return format!("{} bytes, sum {:08x}", bytes.len(), crc32fast::hash(&bytes));
        }
        bytes.escape_ascii().to_string()
    }

    /// A head; the length in it is what the body's was.
    fn head(&mut self, head: &str) -> String {
        let masked = self.masked(head.as_bytes());
        let lines = String::from_utf8_lossy(&masked).into_owned();
        lines
            .lines()
            .filter(|line| !line.starts_with("Content-Length: "))
            .fold(String::new(), |out, line| out + line + "\n")
    }

    /// All that a client was sent.
    pub fn print(&mut self, peer: &Peer) -> String {
        let mut out = format!("== {}\n", peer.label);
        for part in peer.parts() {
            // Writing to a String cannot fail.
            let _ = match part {
                Part::Answer { head, body } => writeln!(out, "{}{}", self.head(head), self.text(&body)),
                Part::Stream { head, body } => {
                    writeln!(out, "{}stream {}", self.head(head), self.text(&body))
                }
                Part::WebSocket { head, frames } => {
                    let head = self.head(head);
                    writeln!(out, "{head}{}", frame::print(frames, &mut |payload| self.text(payload)))
                }
                Part::Rest(bytes) => writeln!(out, "rest {}", self.text(bytes)),
            };
        }
        let _ = writeln!(out, "end {:?}", peer.end);
        out
    }
}
