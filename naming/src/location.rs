//! Which registry a URL names, and how it is used: read without asking anyone.

use imago_kit::{Redacted, check_host};
use url::Url;

use crate::{ConsulOptions, Error, GossipOptions, Result, params::Params};

/// A registry that a URL names.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// Within this process, by its name.
    Memory(String),
    Gossip(GossipOptions),
    Consul(Box<ConsulOptions>),
}

impl Location {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let url = Url::parse(text).map_err(|error| {
            let shown = Redacted(text);
            Error::Url(format!("expected scheme://host:port, got {shown:?}: {error}"))
        })?;
        match url.scheme() {
            "memory" => refuse_unused(text, &url)?,
            "gossip" | "consul" | "consul+https" => refuse_unused(text, &url)?,
            other => {
                return Err(Error::Url(format!(
                    "unknown scheme {other}, expected memory, gossip, consul or consul+https"
                )));
            }
        }
        match url.scheme() {
            "memory" => {
                refuse_path(&url)?;
                if url.port().is_some() {
                    return Err(Error::Url("port: not used, expected memory://NAME".to_owned()));
                }
                Params::of(&url)?.finish("no parameters")?;
                Ok(Self::Memory(url.host_str().unwrap_or_default().to_owned()))
            }
            "gossip" => {
                refuse_path(&url)?;
                Ok(Self::Gossip(GossipOptions::parse(&url)?))
            }
            _ => Ok(Self::Consul(Box::new(ConsulOptions::parse(&url)?))),
        }
    }
}

/// Refuses the parts of a URL that no registry uses.
fn refuse_unused(text: &str, url: &Url) -> Result<()> {
    let refuse = |why: &str| Err(Error::Url(why.to_owned()));
    let scheme = url.scheme();
    if !text.trim_start()[scheme.len()..].starts_with("://") {
        return Err(Error::Url(format!("expected {scheme}://, with two slashes")));
    }
    let hint = if scheme.starts_with("consul") { ", a token is given as ?token=TOKEN" } else { "" };
    if url.password().is_some() {
        return refuse(&format!("password: not used{hint}"));
    }
    if !url.username().is_empty() {
        return refuse(&format!("user: not used{hint}"));
    }
    if url.fragment().is_some() {
        return refuse("fragment, what follows #: not used; a # in a value is written %23");
    }
    if url.host_str().is_some_and(|host| host.contains([',', ';'])) {
        return refuse("several hosts: expected one");
    }
    if url.port() == Some(0) && scheme != "gossip" {
        return refuse("port 0: expected 1 to 65535");
    }
    Ok(())
}

fn refuse_path(url: &Url) -> Result<()> {
    match url.path() {
        "" | "/" => Ok(()),
        _ => Err(Error::Url("path, what follows the host: not used".to_owned())),
    }
}

/// The host of a URL, an IPv6 address without its brackets; `default` where there is none.
pub(crate) fn host_of(url: &Url, default: &str) -> Result<String> {
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or(default);
    let host = match host.strip_prefix('[') {
        Some(address) => address.trim_end_matches(']'),
        None => host,
    };
    match check_host(host) {
        Ok(()) => Ok(host.to_owned()),
        Err(expected) => Err(Error::Url(format!("host: {expected}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        match Location::parse(url) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{url} was taken"),
        }
    }

    #[test]
    fn what_a_url_carries_and_is_not_used_is_named() {
        for scheme in ["memory", "gossip", "consul", "consul+https"] {
            for (rest, part) in [
                ("me:hunter2@127.0.0.1", "password: not used"),
                ("hunter2@127.0.0.1", "user: not used"),
                ("127.0.0.1#hunter2", "fragment"),
                ("127.0.0.1?hunter2", "expected name=value"),
                ("127.0.0.1?=hunter2", "expected name=value"),
                ("127.0.0.1?tokn=hunter2", "unknown parameter tokn"),
                ("a,b", "several hosts"),
                ("127.0.0.1:port", "expected scheme://host:port"),
                ("127.0.0.1:70000", "expected scheme://host:port"),
            ] {
                let error = refusal(&format!("{scheme}://{rest}"));
                assert!(error.contains(part), "{scheme}://{rest}: {error}");
                assert!(!error.contains("hunter2"), "{error}");
            }
            assert!(refusal(&format!("{scheme}:127.0.0.1")).contains("two slashes"));
            assert!(refusal(&format!("{scheme}:/127.0.0.1")).contains("two slashes"));
        }
        for url in ["memory://a/b", "gossip://127.0.0.1/b"] {
            assert!(refusal(url).contains("path"), "{url}");
        }
        assert!(refusal("memory://a:1").contains("port"));
        assert!(refusal("consul://a:0").contains("port 0"));
    }

    #[test]
    fn a_wrong_url_is_explained_without_its_secrets() {
        for (url, part) in [
            ("http://x", "unknown scheme http, expected memory, gossip, consul or consul+https"),
            ("hunter2", "expected scheme://host:port, got \"(hidden)\""),
            ("", "expected scheme://host:port"),
            ("consul://h:8500?token=hunter2&check=udp", "check: expected http or ttl"),
            ("consul://h?check=http;token=hunter2", "check: expected http or ttl"),
            ("consul://h;token=hunter2", "several hosts"),
            ("consul://h%20hunter2", "host: expected"),
            ("gossip://hunter2", "host: expected an IP address"),
            ("gossip://127.0.0.1?seed=u:hunter2@h:1", "seed: expected HOST:PORT"),
            ("gossip://127.0.0.1?seed=a:1&seed=hunter2", "seed: expected HOST:PORT"),
            ("gossip://127.0.0.1?advertise=hunter2", "advertise: expected the IP:PORT"),
            ("gossip://127.0.0.1?advertise=[::1]:5", "advertise: expected an address of"),
            ("gossip://u@127.0.0.1", "user: not used"),
            ("consul://h?token=a&token=b", "parameter token: expected it once, got it 2 times"),
            ("consul://h?token=hunter2%0a", "token: expected"),
            ("consul://h_:x?token=hunter2", "expected scheme://host:port"),
            ("consul://300.1.1.1", "host: expected an IPv4 address"),
            ("consul://h?wait=20", "expected a time like"),
            ("consul://h?wait=601s", "at most 600s"),
            ("consul://h?verify_interval=1ms", "from 100ms"),
            ("gossip://somewhere:0", "expected an IP address"),
            ("gossip://127.0.0.1?seed=nowhere", "expected HOST:PORT"),
            ("gossip://127.0.0.1?seed=http://a:1", "expected HOST:PORT"),
            ("gossip://127.0.0.1?seed=a:0", "expected a port from 1"),
            ("gossip://127.0.0.1?advertise=here", "expected the IP:PORT"),
            ("gossip://127.0.0.1?advertise=0.0.0.0:1", "expected the IP:PORT"),
            ("gossip://127.0.0.1?cluster=a&cluster=b", "parameter cluster"),
        ] {
            let error = refusal(url);
            assert!(error.contains(part), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
            assert!(!error.contains("url: ") && !error.contains("naming"), "{error}");
        }
    }

    #[test]
    fn a_path_is_a_prefix_of_consuls_own() {
        let base = |url: &str| match Location::parse(url) {
            Ok(Location::Consul(options)) => options.base,
            other => panic!("{url}: {other:?}"),
        };
        for (url, expected) in [
            ("consul://h:8501", "http://h:8501"),
            ("consul://h/", "http://h:8500"),
            ("consul://h:8500/consul", "http://h:8500/consul"),
            ("consul+https://h/a/b/?dc=x", "https://h:8500/a/b"),
            ("consul://[::1]:1/consul/", "http://[::1]:1/consul"),
            ("consul://", "http://127.0.0.1:8500"),
        ] {
            assert_eq!(base(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_used_is_taken() {
        for url in [
            "memory://",
            "memory://name",
            "gossip://0.0.0.0:7946?seed=a:1&seed=10.0.0.1:2&cluster=x",
            "gossip://[::]:0?advertise=[::1]:7&seed=[::1]:3",
            "consul://h:8500?token=abc&dc=x&check=ttl&ttl=2s&wait=30s",
        ] {
            Location::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }
}
