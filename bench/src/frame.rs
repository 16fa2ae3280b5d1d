//! Server frames of RFC 6455 as the load client expects them: whole, unmasked, no extension, shortest length form.
//! Everything else is an error, because the client asked for nothing else.

use std::fmt;
use std::ops::Range;

/// What the first complete frame in a buffer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What kind.
    pub kind: Kind,
    /// Where its payload lies in the buffer.
    pub payload: Range<usize>,
    /// Whether it is a compressed message (RFC 7692).
    pub compressed: bool,
}

/// Kind of a frame (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text or binary: a message.
    Message,
    /// Ping: to be answered with a pong of the same payload.
    Ping,
    /// Pong: nothing to do.
    Pong,
    /// Close: the server is leaving.
    Close,
}

/// What a server must not send to this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A reserved bit is set though no extension was agreed.
    ReservedBits(u8),
    /// Not the last fragment, or a continuation; first byte of the frame.
    Fragmented(u8),
    /// Opcode that RFC 6455 does not define.
    UnknownOpcode(u8),
    /// Servers must not mask.
    Masked,
    /// The length fits a shorter form.
    LongLength(u64),
    /// Longer than the limit given.
    TooLong(u64),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::ReservedBits(byte) => write!(f, "reserved bits set in first byte {byte:#04x}"),
            FrameError::Fragmented(byte) => write!(f, "fragmented message, first byte {byte:#04x}"),
            FrameError::UnknownOpcode(opcode) => write!(f, "unknown opcode {opcode}"),
            FrameError::Masked => f.write_str("masked frame from a server"),
            FrameError::LongLength(length) => write!(f, "length {length} not in its shortest form"),
            FrameError::TooLong(length) => write!(f, "frame of {length} bytes"),
        }
    }
}

/// Reads the frame at the start of `buffer`: `None` if it is not complete yet. `limit` bounds the payload, bytes.
pub fn next(buffer: &[u8], limit: usize) -> Result<Option<Frame>, FrameError> {
    read::<false>(buffer, limit)
}

/// The same where permessage-deflate was agreed: messages may be compressed.
pub fn next_deflated(buffer: &[u8], limit: usize) -> Result<Option<Frame>, FrameError> {
    read::<true>(buffer, limit)
}

#[inline]
fn read<const DEFLATE: bool>(buffer: &[u8], limit: usize) -> Result<Option<Frame>, FrameError> {
    let [first, second, rest @ ..] = buffer else { return Ok(None) };
    // The first reserved bit tells a compressed message; control frames have none.
    let compressed = DEFLATE && first & 0x48 == 0x40;
    let kind = kind_of(if compressed { first & !0x40 } else { *first })?;
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (length, header) = match second & 0x7f {
        126 => {
            let Some(bytes) = rest.first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*bytes)), 4)
        }
        127 => {
            let Some(bytes) = rest.first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*bytes), 10)
        }
        short => (u64::from(short), 2),
    };
    if (header == 4 && length < 126) || (header == 10 && length <= 0xffff) {
        return Err(FrameError::LongLength(length));
    }
    if length > limit as u64 {
        return Err(FrameError::TooLong(length));
    }
    let payload = header..header + length as usize;
    Ok((payload.end <= buffer.len()).then_some(Frame { kind, payload, compressed }))
}

fn kind_of(first: u8) -> Result<Kind, FrameError> {
    if first & 0x70 != 0 {
        return Err(FrameError::ReservedBits(first));
    }
    if first & 0x80 == 0 || first & 0x0f == 0 {
        return Err(FrameError::Fragmented(first));
    }
    match first & 0x0f {
        1 | 2 => Ok(Kind::Message),
        8 => Ok(Kind::Close),
        9 => Ok(Kind::Ping),
        10 => Ok(Kind::Pong),
        other => Err(FrameError::UnknownOpcode(other)),
    }
}

/// Appends a server's text frame with `payload` to `out`.
pub fn push_text(out: &mut Vec<u8>, payload: &[u8]) {
    push_head(out, 0x81, 0, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a client's text frame with `payload`, masked with `key`, to `out`.
pub fn push_masked(out: &mut Vec<u8>, payload: &[u8], key: [u8; 4]) {
    push_head(out, 0x81, 0x80, payload.len());
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], key);
}

/// Appends first byte, mask bit and length in its shortest form.
pub fn push_head(out: &mut Vec<u8>, first: u8, mask_bit: u8, length: usize) {
    out.push(first);
    match length {
        short @ 0..126 => out.push(mask_bit | short as u8),
        medium @ 126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
}

/// Masks or unmasks in place (RFC 6455 section 5.3), eight bytes at a time.
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    rest.iter_mut().zip([a, b, c, d, a, b, c]).for_each(|(byte, key)| *byte ^= key);
}

/// A client's pong with the payload of a ping, masked with a zero key. At most 125 bytes are taken, all a control
/// frame may carry.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(125)];
    let mut frame = vec![0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn text(length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        push_text(&mut out, &vec![b'x'; length]);
        out
    }

    #[test]
    fn a_frame_is_found_only_when_complete_at_every_length_form() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x10000] {
            let bytes = text(length);
            for cut in (0..bytes.len().min(12)).chain([bytes.len() - 1]) {
                if cut < bytes.len() {
                    assert_eq!(next(&bytes[..cut], LIMIT), Ok(None), "length {length} cut {cut}");
                }
            }
            let frame = next(&bytes, LIMIT).unwrap().unwrap();
            assert_eq!(
                (frame.kind, frame.payload.len(), frame.payload.end),
                (Kind::Message, length, bytes.len())
            );
        }
    }

    #[test]
    fn the_first_of_several_frames_is_told() {
        let mut bytes = text(3);
        bytes.extend(text(200));
        let first = next(&bytes, LIMIT).unwrap().unwrap();
        assert_eq!(first.payload, 2..5);
        let second = next(&bytes[5..], LIMIT).unwrap().unwrap();
        assert_eq!(second.payload, 4..204);
    }

    #[test]
    fn what_a_server_must_not_send_is_refused() {
        assert_eq!(next(&[0xc1, 0], LIMIT), Err(FrameError::ReservedBits(0xc1)));
        assert_eq!(next(&[0x01, 0], LIMIT), Err(FrameError::Fragmented(0x01)));
        assert_eq!(next(&[0x80, 0], LIMIT), Err(FrameError::Fragmented(0x80)));
        assert_eq!(next(&[0x83, 0], LIMIT), Err(FrameError::UnknownOpcode(3)));
        assert_eq!(next(&[0x81, 0x81], LIMIT), Err(FrameError::Masked));
        assert_eq!(next(&[0x81, 126, 0, 125], LIMIT), Err(FrameError::LongLength(125)));
        assert_eq!(
            next(&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], LIMIT),
            Err(FrameError::LongLength(0xffff))
        );
        assert_eq!(next(&[0x81, 126, 1, 0], 255), Err(FrameError::TooLong(256)));
        assert_eq!(
            next(&[0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255], LIMIT),
            Err(FrameError::TooLong(u64::MAX))
        );
    }

    #[test]
    fn only_messages_may_be_compressed_and_only_where_agreed() {
        let frame = next_deflated(&[0xc1, 1, 7], LIMIT).unwrap().unwrap();
        assert_eq!((frame.kind, frame.compressed), (Kind::Message, true));
        assert!(!next_deflated(&[0x81, 1, 7], LIMIT).unwrap().unwrap().compressed);
        assert_eq!(next_deflated(&[0xc9, 0], LIMIT), Err(FrameError::ReservedBits(0xc9)));
        assert_eq!(next_deflated(&[0xe1, 0], LIMIT), Err(FrameError::ReservedBits(0xa1)));
    }

    #[test]
    fn masking_is_byte_by_byte_and_undoes_itself() {
        for length in [0, 1, 7, 8, 9, 31, 130] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut frame = Vec::new();
            push_masked(&mut frame, &payload, [1, 2, 3, 250]);
            assert_eq!(frame[1] & 0x80, 0x80);
            let start = frame.len() - length;
            assert_eq!(frame[start - 4..start], [1, 2, 3, 250]);
            for (index, byte) in frame[start..].iter().enumerate() {
                assert_eq!(*byte, payload[index] ^ [1, 2, 3, 250][index % 4], "byte {index} of {length}");
            }
            mask(&mut frame[start..], [1, 2, 3, 250]);
            assert_eq!(frame[start..], payload);
        }
    }

    #[test]
    fn control_frames_are_told_apart_and_pongs_are_masked() {
        assert_eq!(next(&[0x89, 1, 7], LIMIT).unwrap().unwrap().kind, Kind::Ping);
        assert_eq!(next(&[0x8a, 0], LIMIT).unwrap().unwrap().kind, Kind::Pong);
        assert_eq!(next(&[0x88, 0], LIMIT).unwrap().unwrap().kind, Kind::Close);
        assert_eq!(pong(&[7]), [0x8a, 0x81, 0, 0, 0, 0, 7]);
        assert_eq!(pong(&[7; 200]).len(), 6 + 125);
    }
}
