//! UTF-8 checked as it arrives: text may be split anywhere, and must fail at the first byte that cannot be part
//! of valid UTF-8 (RFC 6455 section 8.1; the byte ranges are those of RFC 3629 section 4).

/// The bytes cannot be, or become, UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// What is known about a code point that is split between two pieces; three bytes, no heap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    /// Continuation bytes that are still missing. 0: between two code points.
    missing: u8,
    /// Range in which the next continuation byte has to be.
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Checks the next piece.
    ///
    /// # Errors
    /// [`Invalid`] when no continuation could make the text valid.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        let used = self.push_rest_of_code_point(bytes)?;
        let Err(error) = simdutf8::compat::from_utf8(&bytes[used..]) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(Invalid);
        }
        let split = &bytes[used + error.valid_up_to()..];
        self.start(split[0])?;
        self.push_rest_of_code_point(&split[1..]).map(|_| ())
    }

    /// Whether the text may end here.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes continuation bytes while a code point is open; says how many.
    fn push_rest_of_code_point(&mut self, bytes: &[u8]) -> Result<usize, Invalid> {
        let mut used = 0;
        while self.missing > 0 && used < bytes.len() {
            if !(self.low..=self.high).contains(&bytes[used]) {
                return Err(Invalid);
            }
            (self.low, self.high) = (0x80, 0xbf);
            self.missing -= 1;
            used += 1;
        }
        Ok(used)
    }

    /// Opens the code point of a leading byte. The narrowed ranges keep out overlong forms, surrogates and what
    /// is above U+10FFFF.
    fn start(&mut self, lead: u8) -> Result<(), Invalid> {
        (self.missing, self.low, self.high) = match lead {
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return Err(Invalid),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds byte by byte; the number of bytes that were accepted, and whether the text may end there.
    fn accepted(bytes: &[u8]) -> (usize, bool) {
        let mut state = Utf8::default();
        for (at, byte) in bytes.iter().enumerate() {
            if state.push(&[*byte]).is_err() {
                return (at, false);
            }
        }
        (bytes.len(), state.is_complete())
    }

    /// How many leading bytes of `bytes` can still become valid, by the standard library's reckoning.
    fn expected(bytes: &[u8]) -> (usize, bool) {
        for len in 1..=bytes.len() {
            if let Err(error) = std::str::from_utf8(&bytes[..len])
                && error.error_len().is_some()
            {
                return (len - 1, false);
            }
        }
        (bytes.len(), std::str::from_utf8(bytes).is_ok())
    }

    #[test]
    fn fails_at_the_first_impossible_byte() {
        for lead in 0..=255u8 {
            for second in 0..=255u8 {
                for rest in [[0x80, 0x80], [0xbf, 0xbf], [0x41, 0x80], [0x80, 0xc0]] {
                    let bytes = [lead, second, rest[0], rest[1]];
                    assert_eq!(accepted(&bytes), expected(&bytes), "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn any_two_pieces_are_as_good_as_one() {
        let text = "κόσμε \u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff} and a long enough tail for the wide loop, ümlaut";
        for at in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(at);
            let mut state = Utf8::default();
            assert_eq!(state.push(head), Ok(()));
            assert_eq!(state.is_complete(), text.is_char_boundary(at));
            assert_eq!(state.push(tail), Ok(()));
            assert!(state.is_complete());
        }
    }
}
