//! The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of haproxy): a proxy says before everything else whose
//! connection it passes on. Pure and incremental; the caller decides whom it believes.

use crate::limits::{PROXY_V1_BYTES, PROXY_V2_BYTES};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header of version 2 begins with (section 2.2).
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_START: &[u8] = b"PROXY ";
/// Signature, version and command, family and protocol, length.
const FIXED_BYTES: usize = 16;
const TLV_CRC32C: u8 = 0x03;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The proxy's own (a health check), or it does not know: the peer of the socket counts.
    Peer,
    /// A client of a unix socket, which has no address.
    Unix,
    /// Of this client.
    Address(SocketAddr),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes.
    pub len: usize,
    /// What it says.
    pub source: Source,
}

/// Why bytes are no header. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// Reads the header at the start of `bytes`; `None`: more has to come. What no header begins with is refused at its
/// first byte.
///
/// # Errors
/// See [`Fault`].
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted);
    if begins(V1_START) {
        return parse_v1(bytes);
    }
    if begins(SIGNATURE) {
        return parse_v2(bytes);
    }
    Err(Fault("no PROXY header"))
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let window = &bytes[..bytes.len().min(PROXY_V1_BYTES)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < PROXY_V1_BYTES { Ok(None) } else { Err(Fault("PROXY line too long")) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Fault("PROXY line ends in a bare LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| Fault("PROXY line is not text"))?;
    let source = source_v1(line.strip_prefix("PROXY ").unwrap_or_default())?;
    Ok(Some(Header { len: end + 1, source }))
}

/// `TCP4 192.0.2.1 192.0.2.2 1024 80`
fn source_v1(text: &str) -> Result<Source, Fault> {
    const SYNTAX: Fault = Fault("PROXY line is not well-formed");
    let mut words = text.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Source::Peer); // section 2.1: what follows is ignored
    }
    let [Some(source), Some(to), Some(port), Some(to_port), None] = std::array::from_fn(|_| words.next())
    else {
        return Err(SYNTAX);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let number = |text: &str| -> Option<u16> {
        let canonical = text == "0" || !text.starts_with(['0', '+']);
        text.parse().ok().filter(|_| canonical)
    };
    address(to).and(number(to_port)).ok_or(SYNTAX)?;
    let source = address(source).zip(number(port)).ok_or(SYNTAX)?;
    Ok(Source::Address(SocketAddr::from(source)))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else {
        // Refused as early as it can be.
        return match bytes.get(SIGNATURE.len()) {
            Some(version) if version >> 4 != 2 => Err(Fault("unknown version of the PROXY protocol")),
            _ => Ok(None),
        };
    };
    let (command, family) = (fixed[12], fixed[13]);
    if command >> 4 != 2 {
        return Err(Fault("unknown version of the PROXY protocol"));
    }
    let payload_len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let len = FIXED_BYTES + payload_len;
    if len > PROXY_V2_BYTES {
        return Err(Fault("PROXY header too long"));
    }
    let Some(payload) = rest.get(..payload_len) else { return Ok(None) };
    let source = match command & 15 {
        0 => Source::Peer, // LOCAL: the rest is ignored, whatever it is (section 2.2)
        1 => {
            let (source, addresses) = source_v2(family, payload)?;
            check_extensions(&bytes[..len], FIXED_BYTES + addresses)?;
            source
        }
        _ => return Err(Fault("unknown command of the PROXY protocol")),
    };
    Ok(Some(Header { len, source }))
}

/// The client, and how many bytes the addresses take.
fn source_v2(family: u8, payload: &[u8]) -> Result<(Source, usize), Fault> {
    const SHORT: Fault = Fault("PROXY header too short for its addresses");
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    match family {
        0x00 => Ok((Source::Peer, 0)),
        0x11 => {
            let octets: [u8; 4] = payload.get(..12).and_then(|p| p[..4].try_into().ok()).ok_or(SHORT)?;
            Ok((Source::Address((octets, port(8)).into()), 12))
        }
        0x21 => {
            let octets: [u8; 16] = payload.get(..36).and_then(|p| p[..16].try_into().ok()).ok_or(SHORT)?;
            Ok((Source::Address((octets, port(32)).into()), 36))
        }
        0x31 => payload.get(..216).map(|_| (Source::Unix, 216)).ok_or(SHORT),
        _ => Err(Fault("PROXY header for another kind of connection")),
    }
}

/// The extensions from `at` on have to be whole; of them only the checksum of the whole header is looked at.
fn check_extensions(header: &[u8], mut at: usize) -> Result<(), Fault> {
    const SHORT: Fault = Fault("PROXY extension cut off");
    while at < header.len() {
        let [kind, high, low] = *header.get(at..at + 3).ok_or(SHORT)? else { return Err(SHORT) };
        let value_at = at + 3;
        at = value_at + usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(value_at..at).ok_or(SHORT)?;
        if kind == TLV_CRC32C {
            let said: [u8; 4] = value.try_into().map_err(|_| Fault("PROXY checksum of another length"))?;
            // It is computed with zeros in its own place (section 2.2.3).
            let sum = crc32c(!0, &header[..value_at]);
            let sum = !crc32c(crc32c(sum, &[0; 4]), &header[at..]);
            if sum != u32::from_be_bytes(said) {
                return Err(Fault("PROXY checksum is wrong"));
            }
        }
    }
    Ok(())
}

/// Goes on with a CRC-32C (RFC 3720 section 12.1: Castagnoli, reflected); begin with and invert to all ones.
pub fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut value, mut bit) = (index as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    bytes.iter().fold(sum, |sum, byte| TABLE[usize::from(sum as u8 ^ byte)] ^ sum >> 8)
}

/// A header that comes in pieces. Keeps nothing of one that comes whole.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Vec<u8>,
}

/// A header of version 2 that says this.
pub fn write(source: Source) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let (command, family, addresses): (u8, u8, Vec<u8>) = match source {
        Source::Peer => (0x20, 0, Vec::new()),
        Source::Unix => (0x21, 0x31, vec![0; 216]),
        Source::Address(address) => match address.ip() {
            IpAddr::V4(v4) => {
                (0x21, 0x11, [&v4.octets()[..], &[0; 4], &address.port().to_be_bytes(), &[0; 2]].concat())
            }
            IpAddr::V6(v6) => {
                (0x21, 0x21, [&v6.octets()[..], &[0; 16], &address.port().to_be_bytes(), &[0; 2]].concat())
            }
        },
    };
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&(addresses.len() as u16).to_be_bytes());
    out.extend_from_slice(&addresses);
    out
}

impl Reader {
    /// What has come of a header that is not whole.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    /// Reads on: once the header is whole, what it says and how many bytes of `input` it took. Until then all of them.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn step(&mut self, input: &[u8]) -> Result<Option<(usize, Source)>, Fault> {
        if self.kept.is_empty()
            && let Some(header) = parse(input)?
        {
            return Ok(Some((header.len, header.source)));
        }
        let before = self.kept.len();
        let room = PROXY_V2_BYTES.max(PROXY_V1_BYTES).saturating_sub(before);
        self.kept.extend_from_slice(&input[..input.len().min(room)]);
        let Some(header) = parse(&self.kept)? else { return Ok(None) };
        self.kept = Vec::new();
        Ok(Some((header.len - before, header.source)))
    }
}

#[cfg(test)]
mod tests;
