//! How Consul is reached and used: `consul://host:port?…`.

use std::time::Duration;

use imago_kit::{Secret, authority};

use crate::{Error, Parts, RegistryUrl, Result};

/// Shortest time between two looks for own registrations.
const VERIFY_LEAST: Duration = Duration::from_millis(100);
/// Longest blocking query that Consul takes.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// How Consul finds out that a server is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Consul asks the registration's `health_url` every `check_interval`.
    Http,
    /// The server tells Consul; silence of `ttl` is critical. Found out faster than by asking.
    Ttl,
}

/// How Consul is reached and used: `consul://host:8500` or `consul+https://host:8501`, with these
/// parameters. A path is put before that of every request, for a proxy that serves Consul below one.
///
/// | parameter | default | meaning |
/// | --- | --- | --- |
/// | `token` | none | ACL token |
/// | `dc` | the agent's | datacenter |
/// | `check` | `http` | `http` or `ttl` |
/// | `check_interval` | `10s` | how often Consul asks the health URL |
/// | `check_timeout` | `1s` | how long it waits for the answer |
/// | `ttl` | `15s` | silence after which a TTL check is critical |
/// | `deregister_after` | `20s` | critical for so long: removed; Consul itself does not act before 1 min |
/// | `verify_interval` | `5s` | how often own registrations are looked for, and made again if lost |
/// | `wait` | `55s` | longest blocking query |
/// | `empty_grace` | `15s` | how long a sudden empty list is doubted |
/// | `visible_timeout` | `30s` | how long a registration may take to show up |
///
/// # What the token needs
///
/// Where Consul's ACLs are on, the token of a gateway and of a logic server needs:
///
/// ```hcl
/// # its own service, to register, to deregister and to report: "gateway" or "chat"
/// service "gateway" { policy = "write" }
/// # both services, to find the others
/// service "gateway" { policy = "read" }
/// service "chat"    { policy = "read" }
/// # the nodes that they run on: Consul leaves instances out whose node may not be read
/// node_prefix ""    { policy = "read" }
/// ```
///
/// `write` implies `read`. Consul refuses writes without permission, but answers reads with less: with
/// an empty list, or with a part. So a registration that does not show up, and a list that is suddenly empty, may be
/// a lack of `service:read` or `node:read`; versions that say so (`X-Consul-Results-Filtered-By-ACLs`) are
/// believed, and the log tells of it.
#[derive(Clone, Debug)]
pub struct ConsulOptions {
    /// `http://host:port` or `https://host:port`, with or without a path.
    pub base: String,
    /// ACL token.
    pub token: Option<Secret>,
    /// Datacenter.
    pub datacenter: Option<String>,
    /// Kind of health check.
    pub check: Check,
    /// How often Consul asks the health URL.
    pub check_interval: Duration,
    /// How long Consul waits for its answer.
    pub check_timeout: Duration,
    /// Silence after which a TTL check is critical.
    pub ttl: Duration,
    /// How long a service is critical before Consul removes it. Consul's floor is 1 minute: 20 s
    /// act after 61 to 84 s.
    pub deregister_after: Duration,
    /// How often own registrations are looked for.
    pub verify_interval: Duration,
    /// Longest blocking query, at most 10 min.
    pub wait: Duration,
    /// How long a sudden empty list is doubted.
    pub empty_grace: Duration,
    /// How long a registration may take to show up.
    pub visible_timeout: Duration,
}

impl ConsulOptions {
    /// Options for an agent at `http://host:port`, with the defaults.
    pub fn new(base: impl Into<String>) -> Self {
        let secs = Duration::from_secs;
        Self {
            base: base.into(),
            token: None,
            datacenter: None,
            check: Check::Http,
            check_interval: secs(10),
            check_timeout: secs(1),
            ttl: secs(15),
            deregister_after: secs(20),
            verify_interval: secs(5),
            wait: secs(55),
            empty_grace: secs(15),
            visible_timeout: secs(30),
        }
    }

    /// Who finds out that a server is alive, and how often.
    pub(crate) fn describe(&self) -> String {
        match self.check {
            Check::Http => format!("Consul asks every {:?}", self.check_interval),
            Check::Ttl => format!("Consul, ttl check of {:?}", self.ttl),
        }
    }

    /// Reads a `consul://` or `consul+https://` URL.
    pub(crate) fn read(url: &RegistryUrl) -> Result<Self> {
        let scheme = if url.scheme() == "consul+https" { "https" } else { "http" };
        let mut parts = url.parts()?;
        let host = authority(&parts.host("127.0.0.1")?, parts.port()?.unwrap_or(8500));
        let path = parts.path().trim_end_matches('/');
        let mut options = Self::new(format!("{scheme}://{host}{path}"));
        let token = parts.text("token")?.filter(|token| !token.is_empty());
        // A header carries it.
        let is_plain = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        if !token.as_ref().is_none_or(is_plain) {
            return Err(Error::Url(
                "token: expected letters, digits and signs of ASCII".to_owned(),
            ));
        }
        options.token = token.map(Secret::from);
        options.datacenter = parts.text("dc")?.filter(|dc| !dc.is_empty());
        options.check = match parts.choice("check", &["http", "ttl"])? {
            "ttl" => Check::Ttl,
            _ => Check::Http,
        };
        options.read_times(&mut parts)?;
        parts.finish()?;
        Ok(options)
    }

    fn read_times(&mut self, parts: &mut Parts<'_>) -> Result<()> {
        let least = Duration::from_millis(1);
        for (name, value, least) in [
            ("check_interval", &mut self.check_interval, least),
            ("check_timeout", &mut self.check_timeout, least),
            ("ttl", &mut self.ttl, least),
            ("deregister_after", &mut self.deregister_after, least),
            ("verify_interval", &mut self.verify_interval, VERIFY_LEAST),
            ("wait", &mut self.wait, least),
            ("empty_grace", &mut self.empty_grace, least),
            ("visible_timeout", &mut self.visible_timeout, least),
        ] {
            *value = parts.duration(name, *value, least)?;
        }
        if self.wait > WAIT_MAX {
            return Err(Error::Url(
                "wait: expected at most 600s, more is cut by Consul".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_is_described_with_its_time() {
        let described =
            |url: &str| ConsulOptions::read(&RegistryUrl::parse(url).unwrap()).unwrap().describe();
        assert_eq!(described("consul://h?token=hidden"), "Consul asks every 10s");
        assert_eq!(described("consul://h?check_interval=500ms"), "Consul asks every 500ms");
        assert_eq!(described("consul://h?check=ttl&ttl=7s"), "Consul, ttl check of 7s");
    }

    #[test]
    fn a_path_is_a_prefix_of_consuls_own() {
        for (url, expected) in [
            ("consul://h:8501", "http://h:8501"),
            ("consul://h/", "http://h:8500"),
            ("consul://h:8500/consul", "http://h:8500/consul"),
            ("consul+https://h/a/b/?dc=x", "https://h:8500/a/b"),
            ("consul://[::1]:1/consul/", "http://[::1]:1/consul"),
            ("consul://", "http://127.0.0.1:8500"),
        ] {
            let options = ConsulOptions::read(&RegistryUrl::parse(url).unwrap()).unwrap();
            assert_eq!(options.base, expected, "{url}");
        }
    }
}
