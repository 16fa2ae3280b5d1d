//! The floor's echo: frames of a client become frames of a server, and nothing else happens to them.

use crate::frame;
use std::ops::Range;
use std::os::fd::RawFd;

/// Longest payload echoed, bytes.
const PAYLOAD_BYTES: u64 = 16 * 1024 * 1024;

/// What one turn of the loop has to send back.
#[derive(Debug, Default)]
pub struct Replies {
    /// All replies, one behind the other.
    pub bytes: Vec<u8>,
    /// To whom which part goes.
    pub parts: Vec<(RawFd, Range<usize>)>,
}

impl Replies {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.parts.clear();
    }
}

/// Unmasks the complete frames at the start of `bytes` in place and appends their echoes to `out`. Returns the number of
/// bytes used; None for what is no client's frame, and for a close.
pub fn echo_frames(bytes: &mut [u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut used = 0;
    loop {
        let [first, second, rest @ ..] = &mut bytes[used..] else { return Some(used) };
        // Whole messages and pings only: the floor keeps nothing.
        let answer = match *first {
            0x81 | 0x82 => *first,
            0x89 => 0x8a,
            _ => return None,
        };
        if *second & 0x80 == 0 {
            return None;
        }
        let (length, head) = match *second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
                None => return Some(used),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 8),
                None => return Some(used),
            },
            short => (u64::from(short), 0),
        };
        if length > PAYLOAD_BYTES {
            return None;
        }
        let length = length as usize;
        let Some(key) = rest.get(head..).and_then(|rest| rest.first_chunk::<4>()).copied() else {
            return Some(used);
        };
        let Some(payload) = rest.get_mut(head + 4..head + 4 + length) else { return Some(used) };
        frame::mask(payload, key);
        frame::push_head(out, answer, 0, length);
        out.extend_from_slice(payload);
        used += 2 + head + 4 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_echoed_once_complete() {
        for length in [0, 5, 125, 126, 300, 70_000] {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            frame::push_masked(&mut sent, &payload, [9, 8, 7, 6]);
            frame::push_text(&mut expected, &payload);
            for cut in (0..sent.len().min(20)).chain([sent.len() - 1]) {
                let mut out = Vec::new();
                assert_eq!(echo_frames(&mut sent.clone()[..cut], &mut out), Some(0), "{length} cut at {cut}");
                assert!(out.is_empty());
            }
            let mut out = Vec::new();
            let mut twice = [&sent[..], &sent, &sent[..1]].concat();
            assert_eq!(echo_frames(&mut twice, &mut out), Some(2 * sent.len()));
            assert_eq!(out, [&expected[..], &expected].concat());
        }
    }

    #[test]
    fn pings_are_answered_and_everything_else_ends_it() {
        let echo = |bytes: &[u8]| {
            let mut out = Vec::new();
            echo_frames(&mut bytes.to_vec(), &mut out).map(|_| out)
        };
        assert_eq!(echo(&[0x89, 0x81, 0, 0, 0, 0, 5]), Some(vec![0x8a, 1, 5]));
        assert_eq!(echo(&[0x88, 0x80, 0, 0, 0, 0]), None);
        assert_eq!(echo(&[0x81, 1, 5]), None, "not masked");
        assert_eq!(echo(&[0x01, 0x81, 0, 0, 0, 0, 5]), None, "fragmented");
        assert_eq!(echo(&[0x81, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]), None, "too long");
    }
}
