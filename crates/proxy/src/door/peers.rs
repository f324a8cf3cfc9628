//! How many connections one address may have, so that one client cannot take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;

/// Connections of one address at once. An IPv6 client has a whole /64, which counts as one.
pub const CONNECTIONS: u32 = 1_024;

/// The open connections by address.
#[derive(Debug, Clone, Default)]
pub struct Peers(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One open connection. Dropping it makes room for another.
#[derive(Debug)]
pub struct Place {
    peers: Peers,
    key: IpAddr,
}

impl Peers {
    /// Room for one more connection of `peer`, unless it has too many. Behind a trusted proxy there are many clients,
    /// so it may have any number.
    pub fn admit(&self, peer: IpAddr, trusted: &[IpNet]) -> Option<Place> {
        let key = key(peer);
        let mut open = self.0.lock();
        let count = open.entry(key).or_default();
        if *count >= CONNECTIONS && !trusted.iter().any(|net| net.contains(&peer.to_canonical())) {
            return None;
        }
        *count += 1;
        Some(Place { peers: self.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.0.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

fn key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn full(peers: &Peers, peer: &str) -> Vec<Place> {
        (0..CONNECTIONS).map(|_| peers.admit(peer.parse().unwrap(), &[]).unwrap()).collect()
    }

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let peers = Peers::default();
        let admit = |peer: &str| peers.admit(peer.parse().unwrap(), &[]).is_some();
        let mut places = full(&peers, "192.0.2.1");
        assert!(!admit("192.0.2.1") && !admit("::ffff:192.0.2.1") && admit("192.0.2.2"));
        assert!(peers.admit("192.0.2.1".parse().unwrap(), &["192.0.2.0/24".parse().unwrap()]).is_some());
        places.pop();
        assert!(admit("192.0.2.1"));
        let six = full(&peers, "2001:db8::1");
        assert!(!admit("2001:db8::2") && admit("2001:db8:0:1::1"));
        drop((places, six));
        assert!(peers.0.lock().is_empty());
    }
}
