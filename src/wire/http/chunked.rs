//! The chunked transfer coding (RFC 9112 section 7.1), both ways.

use super::HttpError;
use super::head::is_token;
use super::response::put_hex;
use crate::limits::{HTTP_CHUNK_EXTENSION_BYTES, HTTP_CHUNK_LINE_BYTES, HTTP_TRAILER_BYTES};

/// Appends one chunk. Empty data appends nothing: an empty chunk would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    put_hex(out, data.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The last chunk, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the last chunk.
pub fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(LAST_CHUNK);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the first hex digit of a size line.
    SizeStart,
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    /// What is no field here is not a trailer but perhaps the next request of another reader.
    TrailerName,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Incremental decoder: looks at every byte once and keeps no data.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    /// Size being read, then data bytes of this chunk still to come.
    remaining: usize,
    /// Decoded bytes so far, with the chunk that is being read.
    total: usize,
    line_bytes: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            state: State::SizeStart,
            remaining: 0,
            total: 0,
            line_bytes: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }
}

impl Decoder {
    /// Whether the last chunk and the trailers were read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes `buffer` in place: the data moves to its front. Returns how many bytes were read and how many
    /// data bytes now stand at the front. Stops behind the end of the body.
    ///
    /// # Errors
    /// 400 for anything but the strict grammar with CRLF line ends, 413 when the body would pass
    /// `body_bytes` (told by the size line, before its data), 431 for too long trailers.
    pub fn decode(&mut self, buffer: &mut [u8], body_bytes: usize) -> Result<(usize, usize), HttpError> {
        let (mut read, mut written) = (0, 0);
        while read < buffer.len() && self.state != State::Done {
            if self.state == State::Data {
                let take = self.remaining.min(buffer.len() - read);
                buffer.copy_within(read..read + take, written);
                read += take;
                written += take;
                self.remaining -= take;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.next(buffer[read], body_bytes)?;
            read += 1;
        }
        Ok((read, written))
    }

    /// The state after one byte of framing.
    fn next(&mut self, byte: u8, body_bytes: usize) -> Result<State, HttpError> {
        match (self.state, byte) {
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.size_digit(byte, body_bytes)?;
                Ok(State::Size)
            }
            (State::Size, b'\r') | (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Size, b';') => self.extension(),
            (State::SizeStart | State::Size, _) => Err(HttpError::bad("invalid chunk size")),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension(),
            (State::Extension, _) => Err(HttpError::bad("invalid chunk extension")),
            (State::SizeLf, b'\n') => {
                self.line_bytes = 0;
                self.total += self.remaining;
                Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::DataCr | State::DataLf, _) => Err(HttpError::bad("chunk data not followed by CRLF")),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart | State::TrailerName, _) if is_token(&[byte]) => {
                self.trailer(State::TrailerName)
            }
            (State::TrailerName, b':') => self.trailer(State::Trailer),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => self.trailer(State::Trailer),
            (State::TrailerStart | State::TrailerName | State::Trailer, _) => {
                Err(HttpError::bad("invalid trailer"))
            }
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::SizeLf | State::TrailerLf | State::EndLf, _) => {
                Err(HttpError::bad("line ends in a bare CR"))
            }
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn size_digit(&mut self, digit: u8, body_bytes: usize) -> Result<(), HttpError> {
        if self.state == State::SizeStart {
            self.remaining = 0;
        }
        self.line_byte()?;
        let value = char::from(digit).to_digit(16).unwrap_or_default() as usize;
        self.remaining = self
            .remaining
            .checked_mul(16)
            .and_then(|size| size.checked_add(value))
            .ok_or(HttpError::bad("chunk size out of range"))?;
        if self.remaining > body_bytes.saturating_sub(self.total) {
            return Err(HttpError::new(413, "body too large"));
        }
        Ok(())
    }

    fn line_byte(&mut self) -> Result<(), HttpError> {
        self.line_bytes += 1;
        if self.line_bytes > HTTP_CHUNK_LINE_BYTES {
            return Err(HttpError::bad("chunk size line too long"));
        }
        Ok(())
    }

    fn extension(&mut self) -> Result<State, HttpError> {
        self.line_byte()?;
        self.extension_bytes += 1;
        if self.extension_bytes > HTTP_CHUNK_EXTENSION_BYTES {
            return Err(HttpError::bad("too many chunk extensions"));
        }
        Ok(State::Extension)
    }

    fn trailer(&mut self, next: State) -> Result<State, HttpError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > HTTP_TRAILER_BYTES {
            return Err(HttpError::new(431, "trailers too long"));
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, limit: usize) -> Result<(String, usize, bool), HttpError> {
        let mut buffer = text.as_bytes().to_vec();
        let mut decoder = Decoder::default();
        let (read, written) = decoder.decode(&mut buffer, limit)?;
        Ok((String::from_utf8_lossy(&buffer[..written]).into_owned(), read, decoder.is_done()))
    }

    #[test]
    fn data_moves_to_the_front_and_the_rest_is_left() {
        let text = "3;a=\"b\"\r\nabc\r\n000A\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET";
        let (data, read, done) = decode(text, 100).unwrap();
        assert_eq!((data.as_str(), read, done), ("abc0123456789", text.len() - 3, true));
        assert_eq!(decode("0\r\n\r\n", 0), Ok((String::new(), 5, true)));
    }

    #[test]
    fn limits_are_reached_exactly() {
        assert!(decode("5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n", 10).is_ok());
        assert_eq!(decode("5\r\nabcde\r\n6\r\n", 10).unwrap_err().status, 413);
        assert_eq!(decode("ffffffffffffffffff\r\n", usize::MAX).unwrap_err().status, 400);

        let line = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len - 2));
        assert!(decode(&line(HTTP_CHUNK_LINE_BYTES), 1).is_ok());
        assert_eq!(decode(&line(HTTP_CHUNK_LINE_BYTES + 1), 1).unwrap_err().status, 400);

        let zeros = |len: usize| format!("{}\r\n\r\n", "0".repeat(len));
        assert!(decode(&zeros(HTTP_CHUNK_LINE_BYTES), 1).unwrap().2);
        assert!(decode(&zeros(HTTP_CHUNK_LINE_BYTES + 1), 1).is_err());

        let trailer = |len: usize| {
            format!("0\r\n{}:\r\nb:{}\r\n\r\n", "a".repeat(len / 2), "b".repeat(len - len / 2 - 3))
        };
        assert!(decode(&trailer(HTTP_TRAILER_BYTES), 1).unwrap().2);
        assert_eq!(decode(&trailer(HTTP_TRAILER_BYTES + 1), 1).unwrap_err().status, 431);

        let full = format!("1;{}\r\na\r\n", "x".repeat(127));
        let exact = full.repeat(HTTP_CHUNK_EXTENSION_BYTES / 128);
        assert!(decode(&exact, usize::MAX).is_ok());
        assert_eq!(decode(&format!("{exact}1;"), usize::MAX).unwrap_err().status, 400);
    }

    #[test]
    fn trailers_are_fields() {
        for good in ["X: y", "X:", "a-b: c\t \u{e9}", "X: y\r\nZ: 1"] {
            assert!(decode(&format!("0\r\n{good}\r\n\r\n"), 1).unwrap().2, "{good}");
        }
        for bad in
            ["X", "GET / HTTP/1.1", "X : y", ": y", " X: y", "X: y\r\n z", "X: y\0", "X\u{e9}: y", "X: y\rZ"]
        {
            assert_eq!(decode(&format!("0\r\n{bad}\r\n\r\n"), 1).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn encoded_chunks_decode() {
        let mut out = Vec::new();
        chunk(&mut out, b"hello");
        chunk(&mut out, b"");
        chunk(&mut out, &[b'x'; 300]);
        last_chunk(&mut out);
        assert!(out.starts_with(b"5\r\nhello\r\n12c\r\nxxx"));
        let mut decoder = Decoder::default();
        let len = out.len();
        assert_eq!(decoder.decode(&mut out, 305), Ok((len, 305)));
        assert!(decoder.is_done());
    }
}
