//! Compressed messages of permessage-deflate (RFC 7692), each compressed by itself.

use flate2::{Decompress, FlushDecompress, Status};

/// What the client offers: neither side keeps its window from message to message.
pub const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// What the sender has cut off behind each message (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Inflates one message after the other.
#[derive(Debug, Default)]
pub struct Inflater {
    state: Option<Decompress>,
    /// Messages inflated.
    pub messages: u64,
}

impl Inflater {
    /// Inflates one message into `out`, which is cleared first. `limit` bounds the result, bytes.
    pub fn inflate(&mut self, payload: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let state = self.state.get_or_insert_with(|| Decompress::new(false));
        state.reset(false);
        out.clear();
        // One byte more than allowed, to tell what is too long.
        out.reserve(limit + 1);
        for piece in [payload, &TAIL] {
            let mut used = 0;
            while used < piece.len() {
                let before = (state.total_in(), state.total_out());
                let status = state
                    .decompress_vec(&piece[used..], out, FlushDecompress::Sync)
                    .map_err(|error| format!("a compressed message that does not inflate: {error}"))?;
                used += (state.total_in() - before.0) as usize;
                if out.len() > limit {
                    return Err(format!("a compressed message of more than {limit} bytes"));
                }
                if status == Status::StreamEnd {
                    return Err("a compressed message with a final block".to_owned());
                }
                if (state.total_in(), state.total_out()) == before {
                    return Err("a compressed message that is cut off".to_owned());
                }
            }
        }
        self.messages += 1;
        Ok(())
    }
}

/// Refuses an answer to [`OFFER`] that leaves it open whether messages stand for themselves.
pub fn check_answer(extensions: Option<&str>) -> Result<(), String> {
    let Some(answer) = extensions else {
        return Err("the server does not agree to permessage-deflate".to_owned());
    };
    let mut parts = answer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") || !parts.any(|part| part == "server_no_context_takeover") {
        return Err(format!("not the permessage-deflate that was offered: {answer}"));
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    /// A message as a server sends it.
    pub fn deflated(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 64);
        Compress::new(Compression::fast(), false)
            .compress_vec(payload, &mut out, FlushCompress::Sync)
            .unwrap();
        let end = out.len() - TAIL.len();
        assert_eq!(out.split_off(end), TAIL);
        out
    }

    #[test]
    fn messages_inflate_by_themselves_and_within_the_limit() {
        let (mut inflater, mut out) = (Inflater::default(), Vec::new());
        for text in [&b"a"[..], &[b'x'; 5000], b"fw-0000-abc"] {
            inflater.inflate(&deflated(text), 5000, &mut out).unwrap();
            assert_eq!(out, text);
        }
        assert_eq!(inflater.messages, 3);
        let error = inflater.inflate(&deflated(&[b'x'; 5001]), 5000, &mut out).unwrap_err();
        assert!(error.contains("more than 5000"), "{error}");
        let long = deflated(b"a text that is long enough to be cut");
        // The cut-off itself need not show; what comes out is not the message.
        let cut = inflater.inflate(&long[..long.len() / 2], 5000, &mut out);
        assert!(cut.is_err() || out != b"a text that is long enough to be cut");
        assert!(inflater.inflate(&[0xff; 9], 5000, &mut out).is_err());
    }

    #[test]
    fn an_answer_must_agree_to_what_was_offered() {
        assert!(check_answer(Some(OFFER)).is_ok());
        assert!(check_answer(Some("permessage-deflate;server_no_context_takeover")).is_ok());
        for bad in [None, Some("permessage-deflate"), Some("x; server_no_context_takeover"), Some("")] {
            assert!(check_answer(bad).is_err(), "{bad:?}");
        }
    }
}
