//! `multipart/mixed` streams and long-poll answers (RFC 2046 section 5.1; nchan.md section 4).

use super::http::response::put_header;

/// The characters of a boundary: 64 of them, six bits each.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A part boundary, without its leading `--`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary([u8; 32]);

impl Boundary {
    /// A boundary from 192 random bits.
    pub fn new(random: &[u8; 24]) -> Self {
        let mut text = [0; 32];
        for (four, three) in text.chunks_exact_mut(4).zip(random.chunks_exact(3)) {
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for (at, character) in four.iter_mut().enumerate() {
                *character = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            }
        }
        Boundary(text)
    }

    /// The boundary's text.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The Content-Type that names it. Unquoted and with one blank: a client matches just that
    /// (nchan.md section 9).
    pub fn content_type(&self) -> Vec<u8> {
        [b"multipart/mixed; boundary=".as_slice(), &self.0].concat()
    }

    /// Appends what stands before the first part.
    pub fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"--");
        out.extend_from_slice(&self.0);
    }

    /// Appends one part and the boundary behind it, so that a receiver knows at once that it is complete.
    pub fn part(&self, out: &mut Vec<u8>, part: &Part<'_>) {
        out.reserve(part.body.len() + 160);
        out.extend_from_slice(b"\r\n");
        for (name, value) in [
            ("Last-Modified", part.last_modified.map(<[u8; 29]>::as_slice)),
            ("Etag", part.etag),
            ("Content-Type", part.content_type),
        ] {
            if let Some(value) = value {
                put_header(out, name, value);
            }
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(part.body);
        out.extend_from_slice(b"\r\n");
        self.open(out);
    }

    /// The body of one long-poll answer with several messages: the ids are in the answer's own headers, so
    /// its parts have only their type.
    pub fn answer<'a>(&self, parts: impl IntoIterator<Item = (Option<&'a [u8]>, &'a [u8])>) -> Vec<u8> {
        let mut out = Vec::new();
        self.open(&mut out);
        for (content_type, body) in parts {
            self.part(&mut out, &Part { content_type, body, ..Part::default() });
        }
        out.extend_from_slice(CLOSE);
        out
    }
}

/// What follows the last boundary.
pub const CLOSE: &[u8] = b"--\r\n";

/// One message as a part. A value with CR, LF or NUL loses its line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part<'a> {
    /// Time of the message id, see [`super::http::date::format`].
    pub last_modified: Option<&'a [u8; 29]>,
    /// Tag of the message id, or the joined id in compound mode.
    pub etag: Option<&'a [u8]>,
    /// Type of the message.
    pub content_type: Option<&'a [u8]>,
    /// The message.
    pub body: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zeros() -> Boundary {
        Boundary::new(&[0; 24])
    }

    #[test]
    fn boundaries_use_all_bits() {
        assert_eq!(zeros().as_bytes(), &[b'.'; 32]);
        assert_eq!(Boundary::new(&[0xff; 24]).as_bytes(), &[b'z'; 32]);
        let mut random = [0; 24];
        random[23] = 1;
        assert_eq!(Boundary::new(&random).as_bytes()[31], b'/');
        random[0] = 0x04;
        assert_eq!(Boundary::new(&random).as_bytes()[0], b'/');
    }

    #[test]
    fn a_stream_is_complete_after_each_part() {
        let boundary = zeros();
        let mut out = Vec::new();
        boundary.open(&mut out);
        let part = Part {
            last_modified: Some(b"Sat, 21 Nov 2026 10:30:22 GMT"),
            etag: Some(b"1"),
            content_type: Some(b"text/plain"),
            body: b"hi",
        };
        boundary.part(&mut out, &part);
        boundary.part(&mut out, &Part { body: b"", ..Part::default() });
        out.extend_from_slice(CLOSE);
        let line = format!("--{}", ".".repeat(32));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "{line}\r\nLast-Modified: Sat, 21 Nov 2026 10:30:22 GMT\r\nEtag: 1\r\n\
                 Content-Type: text/plain\r\n\r\nhi\r\n{line}\r\n\r\n\r\n{line}--\r\n"
            )
        );
    }

    #[test]
    fn an_answer_holds_all_parts() {
        let line = format!("--{}", ".".repeat(32));
        let body = zeros().answer([(Some(b"a/b".as_slice()), b"1".as_slice()), (None, b"2")]);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!("{line}\r\nContent-Type: a/b\r\n\r\n1\r\n{line}\r\n\r\n2\r\n{line}--\r\n")
        );
        let content_type = format!("multipart/mixed; boundary={}", ".".repeat(32));
        assert_eq!(zeros().content_type(), content_type.as_bytes());
    }

    proptest! {
        #[test]
        fn boundaries_are_of_the_alphabet(random: [u8; 24]) {
            prop_assert!(Boundary::new(&random).as_bytes().iter().all(|byte| ALPHABET.contains(byte)));
        }
    }
}
