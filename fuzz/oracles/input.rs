//! The choices at the front of every input.

/// Bytes of choices: one of flags, three that pick limits, four of piece lengths.
pub const CHOICE_BYTES: usize = 8;

/// After this many pieces the rest is one piece.
const PIECES: usize = 512;

/// An input taken apart.
pub struct Input<'a> {
    flags: u8,
    limits: [u8; 3],
    pieces: [u8; 4],
    /// What goes over the wire, or describes it.
    pub body: &'a [u8],
}

impl<'a> Input<'a> {
    /// `None` when there are not even choices.
    pub fn new(data: &'a [u8]) -> Option<Input<'a>> {
        let (&[flags, l0, l1, l2, pieces @ ..], body) = data.split_first_chunk::<CHOICE_BYTES>()?;
        Some(Input { flags, limits: [l0, l1, l2], pieces, body })
    }

    /// Flag number `bit`, 0 to 7.
    pub fn flag(&self, bit: u32) -> bool {
        self.flags >> bit & 1 == 1
    }

    /// One of the values, by limit byte number `index`, 0 to 2.
    pub fn pick<T: Copy>(&self, index: usize, values: &[T]) -> T {
        values[usize::from(self.limits[index]) % values.len()]
    }

    /// `bytes` in pieces, as they might be received. The four lengths repeat; the large values stand for more.
    pub fn cut<'b>(&self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut pieces = Vec::new();
        for length in self.pieces.iter().cycle() {
            let length = match *length {
                few @ 0..240 => usize::from(few) + 1,
                many => (usize::from(many) - 239) * 256,
            };
            let length = if pieces.len() < PIECES { length } else { bytes.len() };
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
            if bytes.is_empty() {
                break;
            }
        }
        pieces
    }
}

/// `bytes` one by one.
pub fn single(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}
