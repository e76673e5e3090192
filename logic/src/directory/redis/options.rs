//! How Redis is reached and used: `redis://host:port/db?…`.

use std::{collections::BTreeSet, fmt, time::Duration};

use imago_kit::{Parameter, authority, bounded, split_authority};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// Port of nodes that name none.
const DEFAULT_PORT: u16 = 6379;
/// What a URL looks like.
const EXPECTED: &str =
    "expected \"replicated\", redis://HOST:PORT/DB or redis+cluster://HOST:PORT,HOST:PORT";

/// How Redis is reached and used.
///
/// | parameter | default | meaning |
/// | --- | --- | --- |
/// | `lease` | `15s` | how long a gateway's entries count after its lease was last renewed |
/// | `timeout` | `250ms` | how long Redis may take for an answer before it counts as lost |
/// | `queue` | `65536` | changes that may wait to be written |
#[derive(Clone)]
pub struct RedisOptions {
    /// Its nodes: one, or some of a cluster.
    pub nodes: Vec<ConnectionInfo>,
    /// Whether it is a cluster.
    pub is_cluster: bool,
    /// How long a gateway's entries count after its lease was last renewed, 1 s to 10 min.
    pub lease: Duration,
    /// How long it may take for an answer, 10 ms to 10 s.
    pub timeout: Duration,
    /// Changes that may wait to be written, 16 to 10,000,000. Overflow policy: dropped and counted; then
    /// everything is written again.
    pub queue: usize,
}

/// Without passwords.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(shown).collect();
        f.debug_struct("RedisOptions")
            .field("nodes", &nodes)
            .field("is_cluster", &self.is_cluster)
            .field("lease", &self.lease)
            .field("timeout", &self.timeout)
            .field("queue", &self.queue)
            .finish()
    }
}

// === impl RedisOptions ===

impl RedisOptions {
    /// Reads a `redis://` or `redis+cluster://` URL.
    ///
    /// # Errors
    /// With what was expected, never with the password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        let is_cluster = match scheme {
            "redis" => false,
            "redis+cluster" => true,
            _ => return Err(EXPECTED.to_owned()),
        };
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        if user.contains(['/', '?', '#']) {
            return Err("user or password: expected %2F for /, %3F for ? and %23 for #".to_owned());
        }
        if rest.contains('#') {
            return Err("fragment, what follows #: not used".to_owned());
        }
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, db) = hosts.split_once('/').unwrap_or((hosts, ""));
        if is_cluster && !matches!(db, "" | "0") {
            return Err("a Redis cluster has only database 0: expected no /DB".to_owned());
        }
        if !db.is_empty() && db.parse::<u16>().is_err() {
            return Err("database: expected a number, as in redis://HOST:PORT/2".to_owned());
        }
        let hosts: Vec<&str> = hosts.split(',').collect();
        if !is_cluster && hosts.len() > 1 {
            return Err("several nodes: expected redis+cluster://HOST:PORT,HOST:PORT".to_owned());
        }
        let nodes = hosts.into_iter().map(|host| node(user, host, db)).collect::<Result<_, _>>()?;
        let mut options = Self {
            nodes,
            is_cluster,
            lease: Duration::from_secs(15),
            timeout: Duration::from_millis(250),
            queue: 65_536,
        };
        let mut names = BTreeSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            options.set(pair)?;
            let name = pair.split('=').next().unwrap_or_default();
            if !names.insert(name) {
                return Err(format!("parameter {name}: expected it once"));
            }
        }
        Ok(options)
    }

    /// Returns the URL without user and password.
    pub(crate) fn shown(&self) -> String {
        let nodes = self.nodes.iter().map(|node| match node.addr() {
            ConnectionAddr::Tcp(host, port) => authority(host, *port),
            other => other.to_string(),
        });
        let nodes = nodes.collect::<Vec<_>>().join(",");
        let database = self.nodes.first().map_or(0, |node| node.redis_settings().db());
        let lease = bounded::in_words(self.lease);
        match self.is_cluster {
            true => format!("redis+cluster://{nodes}?lease={lease}"),
            false => format!("redis://{nodes}/{database}?lease={lease}"),
        }
    }

    fn set(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (ms, secs) = (Duration::from_millis, Duration::from_secs);
        let named = |expected: String| format!("{name}: {expected}");
        match name {
            "lease" => self.lease = bounded::duration(secs(1)..=secs(600))(value).map_err(named)?,
            "timeout" => {
                self.timeout = bounded::duration(ms(10)..=secs(10))(value).map_err(named)?
            }
            "queue" => self.queue = bounded::whole(16..=10_000_000)(value).map_err(named)?,
            _ => {
                let name = Parameter(pair);
                return Err(format!("unknown parameter {name}, expected lease, timeout or queue"));
            }
        }
        Ok(())
    }
}

/// Returns a node without the password.
fn shown(node: &ConnectionInfo) -> String {
    match node.addr() {
        ConnectionAddr::Tcp(host, port) => authority(host, *port),
        other => other.to_string(),
    }
}

fn node(user: &str, host: &str, db: &str) -> Result<ConnectionInfo, String> {
    if host.is_empty() || host.starts_with(':') {
        return Err(format!("a node without host: {EXPECTED}"));
    }
    // The colons of an IPv6 address are within brackets.
    let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let node = if has_port { host.to_owned() } else { format!("{host}:{DEFAULT_PORT}") };
    split_authority(&node).map_err(|why| format!("a node: {why}"))?;
    let at = if user.is_empty() { String::new() } else { format!("{user}@") };
    let url = format!("redis://{at}{node}/{db}");
    // The library's words may repeat the URL, and so the password.
    url.into_connection_info().map_err(|_| "a node: expected HOST:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(url: &str) -> Vec<String> {
        let options = RedisOptions::parse(url).unwrap();
        options.nodes.iter().map(shown).collect()
    }

    #[test]
    fn one_node_and_many_are_told_apart() {
        assert_eq!(nodes("redis://r1"), ["r1:6379"]);
        assert_eq!(nodes("redis://[::1]:7000/3"), ["[::1]:7000"]);
        assert_eq!(nodes("redis://[::1]"), ["[::1]:6379"]);
        assert_eq!(
            nodes("redis+cluster://u:p@r1:7000,r2:7001,r3"),
            ["r1:7000", "r2:7001", "r3:6379"]
        );
        let options = RedisOptions::parse("redis://h/3?lease=2s&timeout=1s&queue=99").unwrap();
        assert_eq!(options.nodes[0].redis_settings().db(), 3);
        assert_eq!(
            (options.lease, options.timeout),
            (Duration::from_secs(2), Duration::from_secs(1))
        );
        assert_eq!((options.queue, options.is_cluster), (99, false));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_password_is_not() {
        for (url, part) in [
            ("redis", "\"replicated\""),
            ("rediss://h", "redis://HOST"),
            ("redis://a,b", "redis+cluster://"),
            ("redis+cluster://a,b/2", "only database 0"),
            ("redis://h/hunter2", "database: expected a number"),
            ("redis+cluster://a,,b", "without host"),
            ("redis://:hunter2@:6379", "without host"),
            ("redis://:hunter2@h:x", "a node: expected a port"),
            ("redis://\"h\"", "host name"),
            ("redis://a b:1", "host name"),
            ("redis://h:0", "port from 1"),
            ("redis://fd00::5:6379", "in brackets"),
            ("redis://:1#hunter2@h", "expected %2F"),
            ("redis://h?hunter2", "unknown parameter (hidden)"),
            ("redis://:hunter2/@h", "expected %2F"),
            ("redis://:hunter2?x=y@h", "expected %2F"),
            ("redis://h?leese=1s", "unknown parameter leese, expected lease"),
            ("redis://h?lease=1ms", "lease: expected a time like"),
            ("redis://h?timeout=soon", "from 10ms to 10s"),
            ("redis://:hunter2@h#f", "fragment"),
            ("redis://:hunter2@h/1?lease=1s#f", "fragment"),
            ("redis://h?lease=1s&lease=2s", "parameter lease: expected it once"),
            ("redis://:hunter2@h/1/2", "database: expected a number"),
            ("redis://:hunter2@a b", "a node: expected a host name"),
            ("redis://h?queue=hunter2", "queue: expected a whole number from 16"),
        ] {
            let error = RedisOptions::parse(url).unwrap_err();
            assert!(error.contains(part), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let options = RedisOptions::parse("redis+cluster://me:hunter2@h").unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        assert_eq!(options.shown(), "redis+cluster://h:6379?lease=15s");
        let options = RedisOptions::parse("redis://me:hunter2@[::1]:7000/3?lease=2s").unwrap();
        assert_eq!(options.shown(), "redis://[::1]:7000/3?lease=2s");
    }
}
