//! Networks of addresses, and peers that are believed what they say about others.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network in CIDR notation (RFC 4632 section 3.1, RFC 4291 section 2.3); one address is the longest prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u32,
}

/// An address as the high bits of 128, and how many of them it has. IPv4 in IPv6 (RFC 4291 section 2.5.5.2) is IPv4.
fn bits(address: IpAddr) -> (u128, u32) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((base, length), (other, other_length)) = (bits(self.base), bits(address));
        length == other_length && (base ^ other).checked_shr(128 - self.prefix).unwrap_or(0) == 0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(out)?;
        if self.prefix == bits(self.base).1 { Ok(()) } else { write!(out, "/{}", self.prefix) }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let shown = text.escape_debug();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let base = address
            .parse::<IpAddr>()
            .map_err(|_| format!("`{shown}` is no network: write 10.0.0.0/8, 192.0.2.7, fd00::/8 or unix"))?;
        let base = base.to_canonical();
        let (value, length) = bits(base);
        let prefix = match prefix {
            None => length,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= length && text.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| format!("`{shown}` needs a prefix of 0 to {length} bits"))?,
        };
        if value.checked_shl(prefix).unwrap_or(0) != 0 {
            return Err(format!("`{shown}` has bits beyond its prefix: is one address meant, or a network?"));
        }
        Ok(Network { base, prefix })
    }
}

/// Peers that are believed what they say about others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedPeers {
    /// By address.
    pub networks: Vec<Network>,
    /// Whoever can open one of the node's unix sockets.
    pub unix: bool,
}

impl TrustedPeers {
    /// Programs on the same machine.
    pub fn local() -> TrustedPeers {
        let networks = ["127.0.0.0/8", "::1"].iter().filter_map(|text| text.parse().ok()).collect();
        TrustedPeers { networks, unix: true }
    }

    /// Takes one more: a network, an address, or `unix`.
    ///
    /// # Errors
    /// Why it is none of these.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        match text {
            "unix" => self.unix = true,
            _ => self.networks.push(text.parse()?),
        }
        Ok(())
    }

    /// Whether a peer is one of them; one without an address is at a unix socket.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |address| self.networks.iter().any(|network| network.contains(address)))
    }

    /// As [`TrustedPeers::add`] takes them.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let unix = self.unix.then(|| "unix".to_owned());
        self.networks.iter().map(Network::to_string).chain(unix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn networks_hold_what_their_prefix_says() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.6/31", "::ffff:192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::1", "1.2.3.4"),
            ("fd00::/8", "fdff::1", "fc00::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("::ffff:10.0.0.0/8", "10.1.1.1", "::a01:101"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} has {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} has {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "x", "10.0.0.0/33", "10.0.0.1/8", "::1/64", "::/129", "10/8", "1.2.3.4/", "1.2.3.4/+8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn local_peers_are_those_of_this_machine() {
        let local = TrustedPeers::local();
        assert!(local.contains(None) && local.contains(Some("127.9.9.9".parse().unwrap())));
        assert!(local.contains(Some("::1".parse().unwrap())));
        assert!(!local.contains(Some("10.0.0.1".parse().unwrap())));
        assert_eq!(local.texts().collect::<Vec<_>>(), ["127.0.0.0/8", "::1", "unix"]);
        assert!(!TrustedPeers::default().contains(None));
    }

    proptest! {
        #[test]
        fn networks_print_as_they_are_read(value: u128, prefix in 0u32..=128, v4: bool) {
            let (length, prefix) = if v4 { (32, prefix % 33) } else { (128, prefix) };
            let kept = if prefix == 0 { 0 } else { value & (u128::MAX << (128 - prefix)) };
            let base = if v4 {
                IpAddr::V4(((kept >> 96) as u32).into())
            } else {
                IpAddr::V6(kept.into())
            };
            prop_assume!(base.to_canonical() == base);
            let network: Network = format!("{base}/{prefix}").parse().unwrap();
            prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
            prop_assert!(network.contains(base));
            if prefix > 0 {
                let flipped = kept ^ (1 << (128 - prefix));
                let other = if v4 { IpAddr::V4(((flipped >> 96) as u32).into()) } else { IpAddr::V6(flipped.into()) };
                prop_assert_eq!(network.contains(other), false);
            }
            let _ = length;
        }
    }
}
