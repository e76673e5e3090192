//! An address that need not be one of IP.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// Characters of a name at most.
const NAME_MAX: usize = 128;

/// Where a client connected from, or connects to.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Ip(SocketAddr),
    Named(Arc<str>),
}

// === impl Address ===

impl Address {
    /// Returns an address that is no IP address, such as `unix:1000`. Of the name, the first 128 characters
    /// are kept, without control characters.
    pub fn named(name: &str) -> Self {
        let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
        Self(Kind::Named(name.into()))
    }

    /// Returns the IP address and port, where it has these.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.0 {
            Kind::Ip(address) => Some(address),
            Kind::Named(_) => None,
        }
    }

    /// Returns what limits by address count by. Clients without an IP address count as one address, `::`.
    pub(crate) fn ip(&self) -> IpAddr {
        self.socket_addr().map_or(Ipv6Addr::UNSPECIFIED.into(), |address| address.ip())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(Kind::Ip(address))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Ip(address) => address.fmt(f),
            Kind::Named(name) => name.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_fits_a_line() {
        let name = format!("unix:\n{}", "ä".repeat(200));
        let address = Address::named(&name);
        assert_eq!(address.to_string(), format!("unix:{}", "ä".repeat(123)));
        assert_eq!(address.socket_addr(), None);
    }

    #[test]
    fn an_address_is_no_larger_than_one_of_ip() {
        assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
    }
}
