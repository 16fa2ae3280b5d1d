//! How many connections each address has, for the limit on that. One count for the whole node: the kernel does not spread
//! the connections of one address evenly over the shards. It is only touched when a connection comes or goes, and where
//! there is no limit not even then; shards seldom meet, as addresses have one of [`STRIPES`] locks.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

const STRIPES: usize = 64;

type Counts = HashMap<u32, u32, foldhash::fast::RandomState>;

/// Connections per address; empty while there is no limit.
pub struct Addresses([Mutex<Counts>; STRIPES]);

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses(std::array::from_fn(|_| Mutex::default()))
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses").finish_non_exhaustive()
    }
}

impl Addresses {
    fn stripe(&self, address: u32) -> MutexGuard<'_, Counts> {
        // Neighbours have the same front: what differs is at the end.
        let at = (address ^ address >> 16) as usize % STRIPES;
        self.0[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, or says no.
    pub fn admit(&self, address: u32, limit: usize) -> bool {
        let mut counts = self.stripe(address);
        let count = counts.entry(address).or_insert(0);
        if *count as usize >= limit {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts one less.
    pub fn release(&self, address: u32) {
        let mut counts = self.stripe(address);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// What an address is counted under: IPv4 whole; IPv6 by its /64, as one site has that much. 0 = not counted.
pub(super) fn address_number(address: Option<SocketAddr>) -> u32 {
    let fold = |v6: Ipv6Addr| {
        let [a, b, c, d, ..] = v6.segments();
        let high = u32::from(a) << 16 | u32::from(b);
        let low = u32::from(c) << 16 | u32::from(d);
        (high.rotate_left(7) ^ low.wrapping_mul(0x9e37_79b1)).max(1)
    };
    match address.map(|a| a.ip()) {
        Some(IpAddr::V4(v4)) => u32::from(v4),
        Some(IpAddr::V6(v6)) => v6.to_ipv4_mapped().map_or_else(|| fold(v6), u32::from),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_none(addresses: &Addresses) -> bool {
        addresses.0.iter().all(|stripe| stripe.lock().unwrap().is_empty())
    }

    #[test]
    fn addresses_are_counted_and_forgotten() {
        let addresses = Addresses::default();
        let number = address_number(Some("192.0.2.7:80".parse().unwrap()));
        assert!(addresses.admit(number, 2) && addresses.admit(number, 2));
        assert!(!addresses.admit(number, 2));
        addresses.release(number);
        assert!(addresses.admit(number, 2));
        addresses.release(number);
        addresses.release(number);
        assert!(are_none(&addresses));
        addresses.release(number);
        assert!(addresses.admit(number, 1), "nothing is owed");
    }

    #[test]
    fn shards_share_one_limit() {
        let addresses = Addresses::default();
        let number = address_number(Some("192.0.2.7:80".parse().unwrap()));
        let taken = |_| (0..1000).filter(|_| addresses.admit(number, 1500)).count();
        let taken: usize = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4).map(|shard| scope.spawn(move || taken(shard))).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).sum()
        });
        assert_eq!(taken, 1500);
        (0..taken).for_each(|_| addresses.release(number));
        assert!(are_none(&addresses));
    }

    #[test]
    fn an_ipv6_site_counts_as_one() {
        let of = |text: &str| address_number(Some(text.parse().unwrap()));
        assert_eq!(of("[2001:db8:1:2::1]:1"), of("[2001:db8:1:2:3:4:5:6]:2"));
        assert_ne!(of("[2001:db8:1:2::1]:1"), of("[2001:db8:1:3::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.7]:1"), of("192.0.2.7:1"));
    }
}
