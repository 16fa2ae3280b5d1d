//! What an event of Pushi has beyond what every publication has: made when it is published, it travels with the
//! publication as bytes that only this module reads, so that live frames, history and web hooks all show the same.

use super::handshake::{SocketId, as_version_4, put_uuid};
use crate::channel::Position;
use std::fmt;

/// The stamp of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// Its id and time, on all events that are kept (section 5.2).
    pub kept: Option<Kept>,
    /// The connection that sent it; none for back ends.
    pub owner: Option<SocketId>,
    /// The channel it was published to: the event may be filed under another name, too.
    pub channel: &'a str,
    /// What a back end has added: members of a JSON object, each with a comma before it (section 5.3).
    pub extra: &'a str,
}

/// Id and time of an event that is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// A UUIDv4.
    pub mid: [u8; 16],
    /// Unix time, milliseconds.
    pub unix_ms: u64,
}

impl Kept {
    /// The id and time of an event that is published now; `random` is for it alone.
    pub fn new(random: [u64; 2], unix_ms: u64) -> Kept {
        let mut mid = [0; 16];
        mid[..8].copy_from_slice(&random[0].to_be_bytes());
        mid[8..].copy_from_slice(&random[1].to_be_bytes());
        Kept { mid: as_version_4(mid), unix_ms }
    }

    /// The id and time of a publication of another dialect, which has none: always the same for the same place in the
    /// same channel.
    pub fn of_foreign(position: Position, channel: &str) -> Kept {
        let mut mid = [0; 16];
        mid[..6].copy_from_slice(&position.time.to_be_bytes()[2..]);
        mid[6..10].copy_from_slice(&position.tag.to_be_bytes().map(|byte| byte.rotate_left(4)));
        mid[10..].copy_from_slice(&fnv1a(channel.as_bytes()).to_be_bytes()[2..]);
        Kept { mid: as_version_4(mid), unix_ms: position.time.saturating_mul(1000) }
    }
}

/// FNV-1a: tells equal places of different channels apart, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_uuid(f, &self.mid)?;
        write!(f, "@{}", self.unix_ms)
    }
}

/// The version of the layout below.
const LAYOUT: u8 = 1;
const KEPT: u8 = 1;
const OWNED: u8 = 2;

impl<'a> Stamp<'a> {
    /// Writes it. The channel's name is within [`crate::limits::PUSHI_CHANNEL_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(44 + self.channel.len() + self.extra.len());
        let flags = if self.kept.is_some() { KEPT } else { 0 } | if self.owner.is_some() { OWNED } else { 0 };
        out.extend_from_slice(&[LAYOUT, flags]);
        if let Some(kept) = self.kept {
            out.extend_from_slice(&kept.mid);
            out.extend_from_slice(&kept.unix_ms.to_le_bytes());
        }
        if let Some(owner) = self.owner {
            out.extend_from_slice(&owner.0);
        }
        out.extend_from_slice(&(self.channel.len() as u16).to_le_bytes());
        out.extend_from_slice(self.channel.as_bytes());
        out.extend_from_slice(self.extra.as_bytes());
        out
    }

    /// Reads it; `None` for what is none.
    pub fn decode(bytes: &'a [u8]) -> Option<Stamp<'a>> {
        let (&[layout, flags], rest) = bytes.split_first_chunk()?;
        if layout != LAYOUT || flags & !(KEPT | OWNED) != 0 {
            return None;
        }
        let (kept, rest) = if flags & KEPT != 0 {
            let (mid, rest) = rest.split_first_chunk()?;
            let (unix_ms, rest) = rest.split_first_chunk()?;
            (Some(Kept { mid: *mid, unix_ms: u64::from_le_bytes(*unix_ms) }), rest)
        } else {
            (None, rest)
        };
        let (owner, rest) = if flags & OWNED != 0 {
            let (owner, rest) = rest.split_first_chunk()?;
            (Some(SocketId(*owner)), rest)
        } else {
            (None, rest)
        };
        let (length, rest) = rest.split_first_chunk()?;
        let (channel, extra) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Some(Stamp { kept, owner, channel: text(channel)?, extra: text(extra)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_others_published_has_an_id_of_its_place() {
        let at = |time, tag, channel| Kept::of_foreign(Position { time, tag }, channel);
        let one = at(1_795_257_384, 3, "c");
        assert_eq!(one, at(1_795_257_384, 3, "c"));
        assert_eq!(one.unix_ms, 1_795_257_384_000);
        for other in [at(1_795_257_385, 3, "c"), at(1_795_257_384, 4, "c"), at(1_795_257_384, 3, "d")] {
            assert_ne!(one.mid, other.mid);
        }
        assert_eq!((one.mid[6] >> 4, one.mid[8] >> 6), (4, 2));
    }

    proptest! {
        #[test]
        fn a_stamp_is_read_back(
            kept: Option<([u64; 2], u64)>,
            owner: Option<(u64, u64)>,
            channel: String,
            extra: String,
        ) {
            let stamp = Stamp {
                kept: kept.map(|(random, unix_ms)| Kept::new(random, unix_ms)),
                owner: owner.map(|(number, random)| SocketId::new(number, random)),
                channel: &channel,
                extra: &extra,
            };
            let bytes = stamp.encode();
            prop_assert_eq!(Stamp::decode(&bytes), Some(stamp));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Stamp::decode(&bytes);
        }
    }
}
