//! Masking and unmasking of client frames (RFC 6455 section 5.3), in place.

/// XORs `bytes` with the four-byte `key`. `offset` is the position of `bytes[0]` in the frame's payload, so that
/// a payload that arrives in pieces can be unmasked piece by piece. Masking and unmasking are the same.
pub fn apply(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let key = phase(key, offset);
    // The word is the key twice in memory order: what the machine's byte order is does not matter.
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key as seen from `offset` bytes into the payload.
fn phase(mut key: [u8; 4], offset: usize) -> [u8; 4] {
    key.rotate_left(offset % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_byte_loop_at_every_alignment_offset_and_length() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let plain: Vec<u8> = (0..96u8).map(|n| n.wrapping_mul(37)).collect();
        for start in 0..16 {
            for len in 0..64 {
                for offset in 0..9 {
                    let mut fast = plain.clone();
                    apply(&mut fast[start..start + len], key, offset);
                    let mut slow = plain.clone();
                    for (at, byte) in slow[start..start + len].iter_mut().enumerate() {
                        *byte ^= key[(at + offset) % 4];
                    }
                    assert_eq!(fast, slow, "start {start} len {len} offset {offset}");
                }
            }
        }
    }
}
