//! How Consul is reached and used: `consul://host:port?…`.

use std::time::Duration;

use imago_kit::Secret;
use url::Url;

use crate::{Error, Result, params::Params};

/// How Consul finds out that a server is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Consul asks the registration's `health_url` every `check_interval`.
    Http,
    /// The server tells Consul; silence of `ttl` is critical. Found out faster than by asking.
    Ttl,
}

/// How Consul is reached and used.
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
#[derive(Clone, Debug)]
pub struct ConsulOptions {
    /// `http://host:port` or `https://host:port`.
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

    /// Reads a `consul://` or `consul+https://` URL.
    pub(crate) fn parse(url: &Url) -> Result<Self> {
        let scheme = if url.scheme() == "consul+https" { "https" } else { "http" };
        let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("127.0.0.1");
        let mut options = Self::new(format!("{scheme}://{host}:{}", url.port().unwrap_or(8500)));
        let mut params = Params::of(url);
        options.token = params.text("token").filter(|token| !token.is_empty()).map(Secret::from);
        options.datacenter = params.text("dc").filter(|dc| !dc.is_empty());
        options.check = match params.text("check").as_deref() {
            None | Some("http") => Check::Http,
            Some("ttl") => Check::Ttl,
            Some(other) => {
                return Err(Error::Url(format!("check={other}: expected http or ttl")));
            }
        };
        for (name, value) in [
            ("check_interval", &mut options.check_interval),
            ("check_timeout", &mut options.check_timeout),
            ("ttl", &mut options.ttl),
            ("deregister_after", &mut options.deregister_after),
            ("verify_interval", &mut options.verify_interval),
            ("wait", &mut options.wait),
            ("empty_grace", &mut options.empty_grace),
            ("visible_timeout", &mut options.visible_timeout),
        ] {
            *value = params.duration(name, *value)?;
        }
        if options.wait > Duration::from_secs(600) {
            return Err(Error::Url(
                "wait: expected at most 600s, more is cut by Consul".to_owned(),
            ));
        }
        params.finish(
            "token, dc, check, check_interval, check_timeout, ttl, deregister_after, \
             verify_interval, wait, empty_grace or visible_timeout",
        )?;
        Ok(options)
    }
}
