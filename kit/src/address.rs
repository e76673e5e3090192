//! Hosts and ports, joined and checked in one way everywhere.

use std::net::{IpAddr, Ipv6Addr};

/// Longest name of a host, in bytes (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
/// Longest label of a name, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Returns `host:port`, with an IPv6 address in brackets (RFC 3986 §3.2.2).
pub fn authority(host: &str, port: u16) -> String {
    if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Splits `host:port` into the host, checked as by [`check_host`] and without the brackets of an
/// IPv6 address, and the port, 1 to 65535.
///
/// # Errors
/// With what was expected, in words.
pub fn split_authority(text: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT, got no port")?;
    // The last colon of an address without brackets may be one of its own.
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) if host.parse::<Ipv6Addr>().is_ok() => host,
        None if text.parse::<Ipv6Addr>().is_err() && !host.contains(':') => host,
        _ => return Err("expected HOST:PORT, an IPv6 address in brackets as in [::1]:8000"),
    };
    check_host(host)?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|number| digits && *number > 0);
    Ok((host, number.ok_or("expected a port from 1 to 65535")?))
}

/// Checks that others can be told `host` as the place where a server is reached: as
/// [`check_host`], and no wildcard, which means all addresses of whatever machine reads it.
///
/// # Errors
/// With what was expected, in words.
pub fn check_reachable(host: &str) -> Result<(), &'static str> {
    check_host(host)?;
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical().is_unspecified() => {
            Err("expected an address that others reach, not a wildcard")
        }
        _ => Ok(()),
    }
}

/// Checks that `host` is an IP address or the name of a host: letters, digits, hyphens and
/// underscores in labels that dots separate. IPv6 addresses carry no brackets here.
///
/// # Errors
/// With what was expected, in words.
pub fn check_host(host: &str) -> Result<(), &'static str> {
    const EXPECTED: &str = "expected a host name or an IP address, without scheme, port, brackets, \
                            quotes or spaces";
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || name.len() > MAX_HOST {
        return Err(EXPECTED);
    }
    // Digits and dots alone are an address with a mistake in it (WHATWG URL, "ends in a number").
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("expected an IPv4 address of four numbers from 0 to 255");
    }
    if name.split('.').all(is_label) { Ok(()) } else { Err(EXPECTED) }
}

fn is_label(label: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(is_allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_joined_in_brackets() {
        assert_eq!(authority("::1", 80), "[::1]:80");
        assert_eq!(authority("127.0.0.1", 80), "127.0.0.1:80");
        assert_eq!(authority("chat.example.org", 80), "chat.example.org:80");
    }

    #[test]
    fn a_host_and_its_port_are_split_at_the_right_colon() {
        assert_eq!(split_authority("[::1]:80"), Ok(("::1", 80)));
        assert_eq!(split_authority("h.example:65535"), Ok(("h.example", 65535)));
        assert_eq!(split_authority("10.0.0.1:1"), Ok(("10.0.0.1", 1)));
        for (text, expected) in [
            ("h", "no port"),
            ("[::1]", "brackets"),
            ("::1:80", "brackets"),
            ("::1", "brackets"),
            ("[::1:80", "brackets"),
            ("[h]:80", "brackets"),
            ("h:80:80", "brackets"),
            ("http://h:80", "brackets"),
            (":80", "host name"),
            ("a b:80", "host name"),
            ("h:", "port from 1"),
            ("h:0", "port from 1"),
            ("h:+80", "port from 1"),
            ("h:65536", "port from 1"),
            ("h:80/", "port from 1"),
        ] {
            let error = split_authority(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn wildcards_are_not_told_to_others() {
        for host in ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0", "", "h:80"] {
            assert!(check_reachable(host).is_err(), "{host:?}");
        }
        for host in ["127.0.0.1", "::1", "h.example"] {
            assert_eq!(check_reachable(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        for host in ["localhost", "a.b-c.example", "10.0.0.1", "::1", "fe80::1", "x_y", "h.", "1a"]
        {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(64);
        for host in [
            "",
            ".",
            "http://h",
            "h:80",
            "[::1]",
            "\"h\"",
            "a b",
            "h\n",
            "-a",
            "a-",
            "a..b",
            "300.1.1.1",
            "10.0.0",
            "é",
            "h/p",
            "fe80::1%eth0",
            &long,
        ] {
            assert!(check_host(host).is_err(), "{host:?}");
        }
    }
}
