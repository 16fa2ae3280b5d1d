//! Frame headers and the encoding of whole frames (RFC 6455 section 5.2).

use bytes::Bytes;

use super::mask;

/// The longest header: two bytes, a 64-bit length and a masking key.
pub const HEADER_BYTES: usize = 14;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// Close.
    Close = 8,
    /// Ping.
    Ping = 9,
    /// Pong.
    Pong = 10,
}

impl Opcode {
    /// The opcode of the low four bits of a frame's first byte; `None` for the reserved ones.
    pub fn from_bits(first_byte: u8) -> Option<Opcode> {
        Some(match first_byte & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// Close, ping or pong.
    pub fn is_control(self) -> bool {
        self as u8 >= Opcode::Close as u8
    }
}

/// The header of an unmasked frame, and how many bytes of it count. The length is encoded in its shortest form,
/// the only one that is allowed.
pub fn header(opcode: Opcode, fin: bool, rsv1: bool, len: usize) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = u8::from(fin) << 7 | u8::from(rsv1) << 6 | opcode as u8;
    match len {
        0..=125 => {
            head[1] = len as u8;
            (head, 2)
        }
        126..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (head, 4)
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(len as u64).to_be_bytes());
            (head, 10)
        }
    }
}

/// One whole unmasked frame whose payload is `parts` one after the other. One allocation of exactly its size
/// (the `Bytes` allocates its shared counter at the first clone).
pub fn encode(opcode: Opcode, rsv1: bool, parts: &[&[u8]]) -> Bytes {
    let len = payload_len(parts);
    let (head, head_len) = header(opcode, true, rsv1, len);
    let mut out = Vec::with_capacity(head_len + len);
    out.extend_from_slice(&head[..head_len]);
    for part in parts {
        out.extend_from_slice(part);
    }
    Bytes::from(out)
}

/// As [`encode`], appended to `out`.
pub fn encode_into(out: &mut Vec<u8>, opcode: Opcode, rsv1: bool, parts: &[&[u8]]) {
    let len = payload_len(parts);
    let (head, head_len) = header(opcode, true, rsv1, len);
    out.reserve(head_len + len);
    out.extend_from_slice(&head[..head_len]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// One masked frame, as clients send them. `mask` should come from a good source of randomness (RFC 6455
/// section 5.3).
pub fn encode_masked(opcode: Opcode, fin: bool, rsv1: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    encode_masked_into(&mut out, opcode, fin, rsv1, mask, payload);
    out
}

/// As [`encode_masked`], appended to `out`.
pub fn encode_masked_into(
    out: &mut Vec<u8>,
    opcode: Opcode,
    fin: bool,
    rsv1: bool,
    mask: [u8; 4],
    payload: &[u8],
) {
    let (mut head, head_len) = header(opcode, fin, rsv1, payload.len());
    head[1] |= 0x80;
    out.extend_from_slice(&head[..head_len]);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], mask, 0);
}

fn payload_len(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        let cases: [(usize, &[u8]); 7] = [
            (0, &[0x82, 0]),
            (1, &[0x82, 1]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (256, &[0x82, 126, 1, 0]),
            (65535, &[0x82, 126, 255, 255]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (len, expected) in cases {
            let (head, head_len) = header(Opcode::Binary, true, false, len);
            assert_eq!(&head[..head_len], expected, "{len}");
        }
    }

    #[test]
    fn examples_of_section_5_7() {
        assert_eq!(encode(Opcode::Text, false, &[b"Hel", b"", b"lo"]), &b"\x81\x05Hello"[..]);
        assert_eq!(
            encode_masked(Opcode::Text, true, false, [0x37, 0xfa, 0x21, 0x3d], b"Hello"),
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        assert_eq!(encode(Opcode::Ping, false, &[b"Hello"]), &b"\x89\x05Hello"[..]);
        let (head, len) = header(Opcode::Text, false, false, 3);
        assert_eq!(&head[..len], b"\x01\x03");
        let (head, len) = header(Opcode::Continuation, true, false, 2);
        assert_eq!(&head[..len], b"\x80\x02");
    }

    #[test]
    fn appended_frames_are_the_same_frames() {
        let parts: [&[u8]; 3] = [b"id: 1:0\n\n", &[7; 300], b"end"];
        let mut out = b"before".to_vec();
        encode_into(&mut out, Opcode::Binary, true, &parts);
        assert_eq!(&out[6..], encode(Opcode::Binary, true, &parts));
        assert_eq!(out[6], 0xc2);
    }
}
