//! Recognising a request whose head came before: publishers on a connection of their own send the same head again and
//! again, and reading it anew tells nothing new.

use super::head::head_limit;
use super::request::Request;
use crate::limits::{HttpLimits, REPEATED_HEAD_BYTES};

/// More digits than any body length within the limits has.
const LENGTH_DIGITS: usize = 10;

/// A head that a client has sent, to be compared with the next one. Only the digits of its Content-Length may differ.
#[derive(Debug)]
pub struct RepeatedHead {
    /// Up to the first digit of Content-Length.
    before: Box<[u8]>,
    /// From behind the last one.
    after: Box<[u8]>,
}

/// What the input is, compared with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat<'a> {
    /// The same head and a whole body.
    Whole {
        /// The body.
        body: &'a [u8],
        /// Bytes of head and body.
        taken: usize,
    },
    /// Perhaps the same head, but not all has come, or it is over a limit: the reader decides.
    Undecided,
    /// Another head.
    Other,
}

impl RepeatedHead {
    /// The head of `request`; none if it says more than its length about the body, if the connection ends behind it,
    /// or if it is longer than [`REPEATED_HEAD_BYTES`].
    pub fn of(request: &Request<'_>) -> Option<RepeatedHead> {
        let head = request.headers.head_bytes();
        let has = |name| request.headers.get(name).is_some();
        let plain = request.keep_alive && request.minor_version == 1 && !request.upgrade_websocket;
        if !plain || has("transfer-encoding") || has("expect") || head.len() > REPEATED_HEAD_BYTES {
            return None;
        }
        let length = request.headers.get("content-length")?;
        let at = (length.as_ptr() as usize).checked_sub(head.as_ptr() as usize)?;
        Some(RepeatedHead { before: head.get(..at)?.into(), after: head.get(at + length.len()..)?.into() })
    }

    /// Looks whether `input`, at the start of a request, begins with this head and a whole body. A reader with the same
    /// `limits` would find the same body and end.
    pub fn compare<'a>(&self, input: &'a [u8], limits: &HttpLimits) -> Repeat<'a> {
        let Some(rest) = input.strip_prefix(&*self.before) else {
            return if input.len() < self.before.len() { Repeat::Undecided } else { Repeat::Other };
        };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > LENGTH_DIGITS {
            return Repeat::Undecided;
        }
        let (length, rest) = rest.split_at(digits);
        let Some(rest) = rest.strip_prefix(&*self.after) else {
            return if rest.len() < self.after.len() { Repeat::Undecided } else { Repeat::Other };
        };
        let length = length.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        let head = self.before.len() + digits + self.after.len();
        match rest.get(..length) {
            Some(body) if length <= limits.body_bytes && head <= head_limit(limits) => {
                Repeat::Whole { body, taken: head + length }
            }
            _ => Repeat::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::request::{Event, Lines, Reader};
    use proptest::prelude::*;

    fn head(text: &str) -> Option<RepeatedHead> {
        let (mut reader, mut lines) = (Reader::default(), Lines::default());
        let mut bytes = text.as_bytes().to_vec();
        match reader.step(&mut bytes, &mut lines, &HttpLimits::default()).unwrap().event {
            Some(Event::Request(request)) => RepeatedHead::of(&request),
            _ => None,
        }
    }

    const POST: &str = "POST /pub/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nA: b\r\n\r\nhi";

    #[test]
    fn the_length_may_differ_and_nothing_else() {
        let known = head(POST).unwrap();
        let compare = |text: &'static str| known.compare(text.as_bytes(), &HttpLimits::default());
        let whole = |body: &'static str, taken| Repeat::Whole { body: body.as_bytes(), taken };
        assert_eq!(compare(POST), whole("hi", POST.len()));
        let longer = "POST /pub/x HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nA: b\r\n\r\nhello worldPOST";
        assert_eq!(compare(longer), whole("hello world", longer.len() - 4));
        let empty = "POST /pub/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nA: b\r\n\r\n";
        assert_eq!(compare(empty), whole("", empty.len()));
        for other in [
            "POST /pub/y HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nA: b\r\n\r\nhi",
            "POST /pub/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nA: c\r\n\r\nhi",
            "POST /pub/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2 \r\nA: b\r\n\r\nhi",
            "\r\nPOST /pub/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nA: b\r\n\r\nhi",
        ] {
            assert_eq!(compare(other), Repeat::Other, "{other}");
        }
    }

    #[test]
    fn what_is_not_whole_or_over_a_limit_is_left_to_the_reader() {
        let known = head(POST).unwrap();
        for length in 0..POST.len() {
            let part = known.compare(&POST.as_bytes()[..length], &HttpLimits::default());
            assert_eq!(part, Repeat::Undecided, "{length}");
        }
        let narrow = HttpLimits { body_bytes: 1, ..HttpLimits::default() };
        assert_eq!(known.compare(POST.as_bytes(), &narrow), Repeat::Undecided);
        let short = HttpLimits { head_bytes: 20, ..HttpLimits::default() };
        assert_eq!(known.compare(POST.as_bytes(), &short), Repeat::Undecided);
        let wrong = POST.replace(": 2", ": x");
        assert_eq!(known.compare(wrong.as_bytes(), &HttpLimits::default()), Repeat::Undecided);
        let huge = POST.replace(": 2", ": 99999999999999999999");
        assert_eq!(known.compare(huge.as_bytes(), &HttpLimits::default()), Repeat::Undecided);
    }

    #[test]
    fn only_plain_heads_are_known() {
        assert!(head("GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_none());
        assert!(head(&POST.replace("1.1", "1.0")).is_none());
        assert!(head(&POST.replace("A: b", "Connection: close")).is_none());
        assert!(head(&POST.replace("A: b", "Expect: 100-continue")).is_none());
        assert!(head(&POST.replace("A: b", &format!("A: {}", "b".repeat(REPEATED_HEAD_BYTES)))).is_none());
        assert!(head("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").is_none());
    }

    proptest! {
        /// Whatever bytes follow: what is recognised is what the reader reads.
        #[test]
        fn recognised_is_read_alike(at in 0..POST.len(), byte: u8, tail in "[0-9a-z\r\n :]{0,12}", cut in 0usize..4) {
            let known = head(POST).unwrap();
            let mut bytes = POST.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.extend_from_slice(tail.as_bytes());
            bytes.truncate(bytes.len() - cut.min(tail.len()));
            let limits = HttpLimits::default();
            if let Repeat::Whole { body, taken } = known.compare(&bytes, &limits) {
                let (mut reader, mut lines, mut copy) = (Reader::default(), Lines::default(), bytes.clone());
                let step = reader.step(&mut copy, &mut lines, &limits).unwrap();
                prop_assert_eq!(step.consumed, taken);
                let Some(Event::Request(request)) = step.event else { panic!("no request") };
                prop_assert_eq!(request.body, body);
                prop_assert_eq!(request.target, "/pub/x");
                prop_assert_eq!(request.headers.get("a"), Some(b"b".as_slice()));
            }
        }
    }
}
