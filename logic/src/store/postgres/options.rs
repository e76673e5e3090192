//! The URL and the options of a PostgreSQL database.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use imago_kit::{HIDDEN, Parameter, Redacted, authority, check_host};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use url::form_urlencoded;

use super::{
    super::{Result, StoreError},
    tls,
};

/// What a URL begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// What is expected where a URL is wrong.
const EXPECTED: &str = "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE";

/// What the database does about a server that freezes or vanishes, or a statement that takes too long:
/// it ends a transaction that waits for its client, or for locks, and finds a dead connection, within
/// five seconds. Parameters of the URL (`options`) go before these.
const LIMITS: &str = "-c statement_timeout=5s -c lock_timeout=4s \
    -c idle_in_transaction_session_timeout=5s -c tcp_user_timeout=5000 -c tcp_keepalives_idle=2 \
    -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 \
    -c default_transaction_isolation=read\\ committed";

/// When a silent connection is probed, unless the URL says otherwise.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
/// The default of `tokio_postgres`.
const KEEPALIVE_UNSAID: Duration = Duration::from_secs(2 * 60 * 60);

/// Options of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// Most writes that share one commit.
    pub batch: usize,
    /// Writes that may wait. Overflow policy: [`StoreError::Busy`].
    pub queue: usize,
    /// Connections that read. Up to ten more write.
    pub readers: usize,
}

/// Whether connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    /// With a certificate for the host's name, signed by one of these, or of the system's.
    Verified {
        roots: Option<PathBuf>,
    },
}

impl PostgresOptions {
    /// Reads `postgres://user:password@host:port/database` with libpq's parameters. `sslmode` is
    /// `disable`, or `require` and `verify-full`, both of which verify the certificate, against
    /// `sslrootcert=FILE` where it is given; without it, connections that stay on this machine are
    /// not encrypted, and all others are.
    ///
    /// # Errors
    /// When the URL does not have that form. The text never has the password.
    pub fn parse(url: &str) -> Result<Self> {
        let refuse = |reason: String| StoreError::Open { url: Redacted(url).to_string(), reason };
        if !is_url(url) {
            return Err(refuse(EXPECTED.to_owned()));
        }
        let (mut encrypts, mut roots) = (None, None);
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        refuse_unused(address, query).map_err(refuse)?;
        let (mut rest, mut names) = (Vec::new(), BTreeSet::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if Parameter(pair).to_string() == HIDDEN {
                return Err(refuse("a parameter: expected NAME=VALUE".to_owned()));
            }
            let (name, value) = form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default();
            if !names.insert(name.clone()) {
                return Err(refuse(format!("parameter {name}: expected it once")));
            }
            match &*name {
                "sslmode" => encrypts = Some(mode(&value).map_err(refuse)?),
                "sslrootcert" => roots = Some(PathBuf::from(&*value)),
                _ => rest.push(pair),
            }
        }
        let mut config: Config = format!("{address}?{}", rest.join("&"))
            .parse()
            .map_err(|error: tokio_postgres::Error| refuse(wrong(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(refuse(EXPECTED.to_owned()));
        }
        for host in config.get_hosts() {
            // Not named in the error: a password with @ in it ends up here.
            if let Host::Tcp(name) = host {
                check_host(name).map_err(|why| refuse(format!("host: {why}")))?;
            }
        }
        let tls = match encrypts.unwrap_or_else(|| !is_local(&config)) {
            true => Tls::Verified { roots },
            false if roots.is_some() => {
                return Err(refuse(
                    "sslrootcert: not used without sslmode=require or verify-full".to_owned(),
                ));
            }
            false => Tls::Off,
        };
        prepare(&mut config, &tls);
        Ok(Self { config, tls, batch: 256, queue: 8192, readers: 2 })
    }

    /// Reads the certificates that connections are verified by.
    pub(crate) fn check(&self) -> Result<()> {
        let Tls::Verified { roots } = &self.tls else { return Ok(()) };
        let connector = tls::connector(roots.as_deref());
        connector.map(drop).map_err(|reason| StoreError::Open { url: self.shown(), reason })
    }

    /// Returns the configuration of connections with time limits.
    pub(super) fn limited(&self) -> Config {
        let mut config = self.config.clone();
        let given = config.get_options().unwrap_or_default();
        let all = format!("{LIMITS} {given}");
        config.options(all.trim_end());
        config
    }

    /// Returns the URL without the password.
    pub(crate) fn shown(&self) -> String {
        let hosts =
            self.config.get_hosts().iter().zip(ports(&self.config)).map(
                |(host, port)| match host {
                    Host::Tcp(name) => authority(name, port),
                    Host::Unix(path) => path.display().to_string(),
                },
            );
        let hosts: Vec<String> = hosts.collect();
        format!("postgres://{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }
}

/// Returns whether this has the scheme of a PostgreSQL URL.
pub(crate) fn is_url(url: &str) -> bool {
    SCHEMES.iter().any(|scheme| url.starts_with(scheme))
}

/// Refuses the parts of a URL that are not used, and that are part of a name otherwise.
fn refuse_unused(address: &str, query: &str) -> Result<(), String> {
    if address.contains('#') || query.contains('#') {
        return Err(
            "fragment, what follows #: expected none; a # in a name is written %23".to_owned()
        );
    }
    // Elsewhere such characters come from a password that is not encoded.
    let place = address.split_once('@').or_else(|| address.split_once("://"));
    let database = place.and_then(|(_, place)| place.split_once('/')).map_or("", |(_, name)| name);
    if !query.contains('@') && !database.contains(['@', ':']) && database.contains('/') {
        return Err("path: expected the name of one database; a / in it is written %2F".to_owned());
    }
    if query.contains('@') || database.contains(['@', ':']) {
        return Err(
            "user, password and database: expected %23 for #, %2F for /, %3A for :, %3F for ? and %40 for @"
                .to_owned(),
        );
    }
    Ok(())
}

/// Returns why a URL is wrong.
fn wrong(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{cause}; {EXPECTED}"),
        None => EXPECTED.to_owned(),
    }
}

/// Parses an `sslmode` into whether connections are encrypted.
fn mode(word: &str) -> Result<bool, String> {
    match word {
        "disable" => Ok(false),
        "require" | "verify-full" => Ok(true),
        _ => Err("sslmode: expected disable, require or verify-full".to_owned()),
    }
}

fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    })
}

/// Iterates over the ports of all hosts. A URL may give one port or none for all.
fn ports(config: &Config) -> impl Iterator<Item = u16> + '_ {
    let given = config.get_ports();
    let last = given.last().copied().unwrap_or(5432);
    given.iter().copied().chain(std::iter::repeat(last))
}

/// Notices a database that has vanished within five seconds.
fn prepare(config: &mut Config, tls: &Tls) {
    config.ssl_mode(if *tls == Tls::Off { SslMode::Disable } else { SslMode::Require });
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(Duration::from_secs(5));
    }
    if config.get_keepalives_idle() == KEEPALIVE_UNSAID {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(1));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    if config.get_application_name().is_none() {
        config.application_name("imago");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        PostgresOptions::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn only_connections_that_stay_on_the_machine_are_plain_unless_told() {
        let tls = |url: &str| PostgresOptions::parse(url).unwrap().tls;
        let verified = Tls::Verified { roots: None };
        for local in ["127.0.0.1:5433", "localhost", "[::1]", "%2Frun%2Fpostgresql"] {
            assert_eq!(tls(&format!("postgres://imago@{local}/imago")), Tls::Off, "{local}");
        }
        for away in ["db", "10.0.0.1:5432", "127.0.0.1,db", "localhost.example.org"] {
            assert_eq!(tls(&format!("postgresql://imago@{away}/imago")), verified, "{away}");
        }
        assert_eq!(tls("postgres://db/imago?sslmode=disable"), Tls::Off);
        assert_eq!(tls("postgres://localhost/imago?sslmode=require"), verified);
        let roots = Tls::Verified { roots: Some("/etc/my ca.pem".into()) };
        assert_eq!(
            tls("postgres://db/imago?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem"),
            roots
        );
    }

    #[test]
    fn a_url_that_is_wrong_is_refused_by_reason_and_without_its_password() {
        for wrong in [
            "postgres://",
            "postgres:///imago",
            "postgres://imago:hunter2@db:port/imago",
            "postgres://imago:hunter2@db/imago?sslmode=prefer",
            "postgres://imago:hunter2@db/imago?colour=red",
            "postgres://imago:hunter2@\"db\"/imago",
            "postgres://imago:hunter2@d%20b/imago",
            "postgres://imago:hunter2@db,300.0.0.1/imago",
            "mysql://imago:hunter2@db/imago",
            "postgres://imago:a?hunter2@db/imago",
            "postgres://imago:1?hunter2=1@db/imago",
            "postgres://imago:a@hunter2@db/imago",
            "postgres://imago:1/x@hunter2@db/imago",
            "postgres://imago@db/imago#hunter2",
            "postgres://imago@db/imago?hunter2",
            "postgres://imago@db/imago?a8hunter2=1",
            "postgres://imago@db/imago?connect_timeout=hunter2",
            "postgres://im%ffhunter2@db/imago",
        ] {
            let text = refusal(wrong);
            assert!(text.contains("expected"), "{wrong}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(refusal("postgres://db/imago?sslmode=prefer").contains("sslmode"));
        assert!(refusal("postgres://db/imago?colour=red").contains("colour"));
        for (url, part) in [
            ("postgres://imago:hunter2@db/imago#f", "fragment"),
            ("postgres://imago:hunter2@db/imago?sslmode=disable#f", "fragment"),
            ("postgres://imago:hunter2@db/imago/x", "path"),
            ("postgres://db/imago?sslmode=disable&sslmode=require", "sslmode: expected it once"),
            ("postgres://db/imago?sslmode=disable&sslrootcert=/ca.pem", "sslrootcert: not used"),
            ("postgres://localhost/imago?sslrootcert=/ca.pem", "sslrootcert: not used"),
        ] {
            let text = refusal(url);
            assert!(text.contains(part) && !text.contains("hunter2"), "{url}: {text}");
        }
        let options = PostgresOptions::parse("postgres://db/imago?sslrootcert=/nowhere/ca.pem");
        let text = options.unwrap().check().unwrap_err().to_string();
        assert!(text.contains("sslrootcert: cannot read /nowhere/ca.pem"), "{text}");
    }

    #[test]
    fn what_the_url_says_goes_before_the_default_limits() {
        let options = PostgresOptions::parse(
            "postgres://db/imago?options=-c%20statement_timeout%3D1s&keepalives_idle=7",
        );
        let config = options.unwrap().limited();
        let said = config.get_options().unwrap();
        assert!(said.starts_with("-c statement_timeout=5s"), "{said}");
        assert!(said.ends_with("-c statement_timeout=1s"), "{said}");
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(7));
        let plain = PostgresOptions::parse("postgres://db/imago").unwrap().config;
        assert_eq!(plain.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(plain.get_options(), None);
    }

    #[test]
    fn nothing_that_is_shown_has_the_password() {
        let options =
            PostgresOptions::parse("postgres://imago:hunter2@db,other:5433/imago").unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        assert_eq!(options.shown(), "postgres://db:5432,other:5433/imago");
        let options = PostgresOptions::parse("postgres://imago:hunter2@[::1],[fd00::5]:5433/imago");
        assert_eq!(options.unwrap().shown(), "postgres://[::1]:5432,[fd00::5]:5433/imago");
    }
}
