//! By which names the monitor port may be asked for what it tells of the cluster.
//!
//! A web page can have its own name lead to this machine (DNS rebinding), and its browser then lets it read
//! the answers. It cannot change the `Host` header, in which that name stands.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, Uri, header};

/// Names of this machine, in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().chain(["localhost"]).map(plain);
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Returns whether every host that a request names is this machine. An IP address always is: no web page
    /// has one for its name.
    pub(super) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(header::HOST).iter().peekable();
        if named.peek().is_none() && uri.authority().is_none() {
            return false;
        }
        let in_headers = named.all(|host| host.to_str().is_ok_and(|host| self.knows(host)));
        in_headers && uri.authority().is_none_or(|host| self.knows(host.as_str()))
    }

    /// `host` may have a port.
    fn knows(&self, host: &str) -> bool {
        if let Some(host) = host.strip_prefix('[') {
            let parts = host.split_once(']');
            return parts.is_some_and(|(ip, port)| ip.parse::<Ipv6Addr>().is_ok() && is_port(port));
        }
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        is_port(port) && (name.parse::<Ipv4Addr>().is_ok() || self.0.contains(&plain(name)))
    }
}

/// Whether this is nothing, or a colon with a port.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

/// A name as it is compared: in lower case, without the dot that may end it (RFC 1034 §3.1).
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(uri: &str, hosts: &[&'static str]) -> bool {
        let known = Hosts::new(["logic-1.example", "Node7", ""]);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, header::HeaderValue::from_static(host));
        }
        known.admit(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn addresses_and_names_of_this_machine_are_meant() {
        for host in [
            "127.0.0.1",
            "192.0.2.7:9000",
            "[::1]",
            "[2001:db8::7]:9000",
            "localhost:9000",
            "LOCALHOST",
            "logic-1.example",
            "Logic-1.Example.:80",
            "node7:9000",
        ] {
            assert!(admits("/peers", &[host]), "{host}");
        }
        assert!(admits("http://node7:9000/peers", &["node7:9000"]));
    }

    #[test]
    fn other_names_no_name_and_two_names_are_not() {
        for host in [
            "",
            ":9000",
            "evil.example",
            "node7.evil.example",
            "127.0.0.1.evil.example",
            "logic-1.example@evil.example",
            "[::1].evil.example",
            "node 7",
            "node7:port",
            "[::1",
            "::1",
        ] {
            assert!(!admits("/peers", &[host]), "{host}");
        }
        assert!(!admits("/peers", &[]));
        assert!(!admits("/peers", &["localhost", "evil.example"]));
        assert!(!admits("http://evil.example/peers", &["localhost"]));
    }
}
