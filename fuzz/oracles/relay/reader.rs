//! One who follows a channel over as many sessions and transports as it takes, and reads what comes.

use fanwire::wire::http::date;
use std::collections::VecDeque;

/// How it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    WebSocket,
    /// With ids in the frames.
    Meta,
    Events,
    Chunked,
    Multipart,
    Poll,
}

impl Way {
    pub const ALL: [Way; 6] =
        [Way::WebSocket, Way::Meta, Way::Events, Way::Chunked, Way::Multipart, Way::Poll];

    /// Whether messages come with their ids, so that it can go on elsewhere.
    pub fn has_ids(self) -> bool {
        !matches!(self, Way::WebSocket | Way::Chunked)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    pub channel: usize,
    /// It began with the oldest message, else with the next one.
    pub from_oldest: bool,
    pub way: Way,
    /// Its connection, while it has one.
    pub number: Option<usize>,
    /// What it got, in order.
    pub got: Vec<String>,
    /// Of the last one: date and tag.
    pub id: Option<(String, String)>,
    /// Of this session.
    raw: VecDeque<u8>,
    opened: bool,
}

impl Reader {
    pub fn new(channel: usize, from_oldest: bool) -> Reader {
        let (got, raw) = (Vec::new(), VecDeque::new());
        Reader { channel, from_oldest, way: Way::Poll, number: None, got, id: None, raw, opened: false }
    }

    /// The head of its next request, without the request line's version.
    pub fn request(&mut self, path: &str, way: Way, shake: &str) -> String {
        (self.way, self.opened) = (way, false);
        self.raw.clear();
        let mut head = format!("GET {path}");
        match way {
            Way::WebSocket => head.push_str(&format!("\n{shake}")),
            Way::Meta => head.push_str(&format!("\n{shake}\nSec-WebSocket-Protocol: ws+meta.nchan")),
            Way::Events => head.push_str("\nAccept: text/event-stream"),
            Way::Chunked => head.push_str("\nTE: chunked"),
            Way::Multipart => head.push_str("\nAccept: multipart/mixed"),
            Way::Poll => {}
        }
        match &self.id {
            Some((date, tag)) if way == Way::Poll => {
                head.push_str(&format!("\nIf-Modified-Since: {date}\nIf-None-Match: {tag}"));
            }
            Some((date, tag)) => {
                let seconds = date::parse(date.as_bytes()).expect("a date of the node");
                head.push_str(&format!("\nLast-Event-ID: {seconds}:{tag}"));
            }
            None => {}
        }
        head
    }

    /// Bytes have come.
    pub fn take(&mut self, bytes: &[u8]) {
        self.raw.extend(bytes);
        let raw: Vec<u8> = self.raw.iter().copied().collect();
        let mut rest = &raw[..];
        if !self.opened && self.way != Way::Poll {
            let Some((head, behind)) = split(rest, b"\r\n\r\n") else { return };
            let wanted = if matches!(self.way, Way::WebSocket | Way::Meta) { " 101 " } else { " 200 " };
            let head = String::from_utf8_lossy(head);
            assert!(head.lines().next().is_some_and(|line| line.contains(wanted)), "{head}");
            (self.opened, rest) = (true, behind);
            if self.way == Way::Multipart {
                let Some(behind) = strip(rest, BOUNDARY) else { panic!("no boundary") };
                rest = behind;
            }
        }
        while let Some(behind) = self.one(rest) {
            rest = behind;
        }
        let left = rest.len();
        self.raw.drain(..raw.len() - left);
    }

    /// Reads one thing off the front; returns what is behind it, or nothing if it is not complete.
    fn one<'b>(&mut self, rest: &'b [u8]) -> Option<&'b [u8]> {
        match self.way {
            Way::WebSocket | Way::Meta => self.frame(rest),
            Way::Events => {
                let (event, behind) = split(rest, b"\n\n")?;
                self.event(std::str::from_utf8(event).expect("UTF-8"));
                Some(behind)
            }
            Way::Chunked => {
                let (size, behind) = split(rest, b"\r\n")?;
                let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).expect("a size");
                let behind =
                    behind.get(size..).and_then(|tail| strip(tail, b"\r\n").map(|tail| (size, tail)));
                let (size, tail) = behind?;
                if size > 0 {
                    let start = rest.len() - tail.len() - 2 - size;
                    self.message(&rest[start..start + size]);
                }
                Some(tail)
            }
            Way::Multipart => self.part(rest),
            Way::Poll => self.answer(rest),
        }
    }

    fn frame<'b>(&mut self, rest: &'b [u8]) -> Option<&'b [u8]> {
        let (&[first, short], behind) = rest.split_first_chunk::<2>()?;
        assert_eq!(first, 0x81, "a whole text frame");
        let (length, behind) = match short {
            126 => {
                let (length, behind) = behind.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), behind)
            }
            short => {
                assert!(short < 126, "a short frame without a mask");
                (usize::from(short), behind)
            }
        };
        let (payload, behind) = behind.split_at_checked(length)?;
        if self.way == Way::Meta {
            let text = std::str::from_utf8(payload).expect("UTF-8");
            let (head, body) = text.split_once("\n\n").expect("a head");
            let id = head.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
            self.message(body.as_bytes());
            self.learn(id);
        } else {
            self.message(payload);
        }
        Some(behind)
    }

    fn event(&mut self, event: &str) {
        let data: Vec<&str> = event.split('\n').filter_map(|line| line.strip_prefix("data: ")).collect();
        if data.is_empty() {
            return;
        }
        self.message(data.join("\n").as_bytes());
        self.learn(event.split('\n').find_map(|line| line.strip_prefix("id: ")).expect("an id"));
    }

    fn part<'b>(&mut self, rest: &'b [u8]) -> Option<&'b [u8]> {
        if rest.starts_with(b"--") {
            return strip(rest, b"--\r\n");
        }
        let (head, behind) = split(rest, b"\r\n\r\n")?;
        let (body, behind) = split(behind, &[b"\r\n", BOUNDARY].concat())?;
        self.message(body);
        self.headers(&String::from_utf8_lossy(head));
        Some(behind)
    }

    fn answer<'b>(&mut self, rest: &'b [u8]) -> Option<&'b [u8]> {
        let (head, behind) = split(rest, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(head).into_owned();
        let length = header(&head, "Content-Length").map_or(0, |length| length.parse().expect("a length"));
        let (body, behind) = behind.split_at_checked(length)?;
        let status = head.split(' ').nth(1).expect("a status");
        if status == "200" {
            self.message(body);
            self.headers(&head);
        } else {
            assert!(matches!(status, "304" | "408" | "410" | "503"), "{head}");
        }
        Some(behind)
    }

    fn message(&mut self, body: &[u8]) {
        self.got.push(String::from_utf8(body.to_vec()).expect("UTF-8"));
    }

    fn headers(&mut self, head: &str) {
        let (date, tag) = (header(head, "Last-Modified"), header(head, "Etag"));
        self.id = Some((date.expect("a date").to_owned(), tag.expect("a tag").to_owned()));
    }

    fn learn(&mut self, id: &str) {
        let (seconds, tag) = id.split_once(':').expect("time and tag");
        let date = date::format(seconds.parse().expect("a time"));
        self.id = Some((String::from_utf8(date.to_vec()).expect("ASCII"), tag.to_owned()));
    }
}

/// As a node has it whose random bits are all zero.
const BOUNDARY: &[u8] = b"--................................";

fn split<'b>(bytes: &'b [u8], at: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let found = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..found], &bytes[found + at.len()..]))
}

fn strip<'b>(bytes: &'b [u8], prefix: &[u8]) -> Option<&'b [u8]> {
    bytes.strip_prefix(prefix)
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
