//! The URL of a registry, read part by part: a part that its backend does not take is refused.

use std::{fmt, path::PathBuf, time::Duration};

use imago_kit::{Parameter, Redacted, Secret, check_host};
use url::{Url, form_urlencoded};

use crate::{Error, Result};

/// The URL of a registry, as a configuration names it: `scheme://user:password@host:port/path?name=value`,
/// with several hosts joined by commas.
///
/// A backend reads it through [`parts`](Self::parts). Displayed and debugged, it is without user,
/// password, path, and values of parameters.
#[derive(Clone)]
pub struct RegistryUrl {
    /// As it was given.
    text: String,
    /// With the first host only.
    url: Url,
    /// Each further host, as the host of a URL of its own.
    others: Vec<Url>,
}

impl RegistryUrl {
    /// Reads the form that all schemes share.
    ///
    /// # Errors
    /// [`Error::Url`] when the text is no URL, or has no two slashes after its scheme.
    pub fn parse(text: &str) -> Result<Self> {
        let parse = |part: &str| {
            Url::parse(part).map_err(|error| {
                let shown = Redacted(text);
                Error::Url(format!("expected scheme://host:port, got {shown:?}: {error}"))
            })
        };
        let (first, others) = split_hosts(text);
        let url = parse(&first)?;
        if !first.trim_start()[url.scheme().len()..].starts_with("://") {
            return refuse("expected scheme://host:port, with two slashes");
        }
        let others = others.iter().map(|other| parse(&format!("{}://{other}", url.scheme())));
        let others = others.collect::<Result<_>>()?;
        Ok(Self { text: text.to_owned(), url, others })
    }

    /// Returns the scheme, in lower case.
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// Begins to read the parts.
    ///
    /// # Errors
    /// [`Error::Url`] when a parameter is not of the form `name=value`.
    pub fn parts(&self) -> Result<Parts<'_>> {
        let query = self.url.query().unwrap_or_default();
        let pieces = query.split('&').filter(|piece| !piece.is_empty());
        let pairs = pieces.map(|piece| {
            // Without a name, it may be a secret.
            let is_pair = piece.find('=').is_some_and(|at| at > 0);
            let pair = form_urlencoded::parse(piece.as_bytes()).into_owned().next();
            pair.filter(|_| is_pair).ok_or_else(|| {
                Error::Url("parameters: expected name=value, joined by &".to_owned())
            })
        });
        let pairs = pairs.collect::<Result<_>>()?;
        Ok(Parts { url: self, pairs, asked: Vec::new(), taken: Taken::default() })
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted(&self.text).fmt(f)
    }
}

impl fmt::Debug for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Redacted(&self.text))
    }
}

/// The parts of a [`RegistryUrl`], taken one by one. [`finish`](Self::finish) refuses the others, so that a
/// mistyped parameter, or a password where none is used, is an error and not ignored.
///
/// ```
/// use std::time::Duration;
///
/// use imago_naming::{RegistryUrl, Result};
///
/// fn read(url: &RegistryUrl) -> Result<(String, u16, Duration)> {
///     let mut parts = url.parts()?;
///     let host = parts.host("127.0.0.1")?;
///     let port = parts.port()?.unwrap_or(4001);
///     let ttl = parts.duration("ttl", Duration::from_secs(15), Duration::from_secs(1))?;
///     parts.finish()?;
///     Ok((host, port, ttl))
/// }
///
/// let read = |text| read(&RegistryUrl::parse(text)?);
/// assert_eq!(read("mine://[::1]?ttl=5s")?, ("::1".to_owned(), 4001, Duration::from_secs(5)));
/// let error = read("mine://h?tll=5s").unwrap_err();
/// assert_eq!(error.to_string(), "unknown parameter tll, expected ttl");
/// # Ok::<(), imago_naming::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "parts that are not used are refused by `finish` only"]
pub struct Parts<'a> {
    url: &'a RegistryUrl,
    /// Parameters that are not taken yet.
    pairs: Vec<(String, String)>,
    /// Names of parameters that were asked for, each once.
    asked: Vec<String>,
    taken: Taken,
}

#[derive(Debug, Default)]
struct Taken {
    host: bool,
    port: bool,
    path: bool,
    credentials: bool,
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// Takes the host, an IPv6 address without its brackets; `default` where the URL has none.
    ///
    /// # Errors
    /// When the URL has several hosts, or one that is neither a host name nor an IP address.
    pub fn host(&mut self, default: &str) -> Result<String> {
        self.refuse_several()?;
        self.taken.host = true;
        let host = self.url.url.host_str().filter(|host| !host.is_empty());
        checked_host(host.unwrap_or(default))
    }

    /// Takes all hosts with their ports, `default_port` for those without; empty where the URL has none.
    ///
    /// # Errors
    /// As [`host`](Self::host) and [`port`](Self::port), for each of several hosts.
    pub fn hosts(&mut self, default_port: u16) -> Result<Vec<(String, u16)>> {
        (self.taken.host, self.taken.port) = (true, true);
        let is_empty = |url: &Url| url.host_str().unwrap_or_default().is_empty();
        let all = || [&self.url.url].into_iter().chain(&self.url.others);
        if all().count() == 1 && is_empty(&self.url.url) && self.url.url.port().is_none() {
            return Ok(Vec::new());
        }
        let read = |url: &Url| {
            let host = checked_host(url.host_str().unwrap_or_default())?;
            Ok((host, checked_port(url.port())?.unwrap_or(default_port)))
        };
        all().map(read).collect()
    }

    /// Takes the host as a name that is no address, as in `memory://NAME`; may be empty.
    ///
    /// # Errors
    /// When the URL has several hosts.
    pub fn name(&mut self) -> Result<String> {
        self.refuse_several()?;
        self.taken.host = true;
        Ok(self.url.url.host_str().unwrap_or_default().to_owned())
    }

    /// Takes the port to connect to.
    ///
    /// # Errors
    /// When it is 0.
    pub fn port(&mut self) -> Result<Option<u16>> {
        self.taken.port = true;
        checked_port(self.url.url.port())
    }

    /// Takes the port to listen on; 0 and none: any free one.
    pub fn listen_port(&mut self) -> u16 {
        self.taken.port = true;
        self.url.url.port().unwrap_or(0)
    }

    /// Takes the path, as it is written; empty, or with a slash at its beginning.
    pub fn path(&mut self) -> &'a str {
        self.taken.path = true;
        self.url.url.path()
    }

    /// Takes the path as that of a file or folder of this machine.
    ///
    /// # Errors
    /// When there is none, or a host stands before it.
    pub fn file_path(&mut self) -> Result<PathBuf> {
        self.taken.path = true;
        let has_host = self.url.url.host_str().is_some_and(|host| !host.is_empty());
        let expected = format!("expected {}:///PATH, with three slashes", self.url.scheme());
        if has_host || self.url.url.path().len() < 2 {
            return refuse(expected);
        }
        let file = Url::parse(&format!("file://{}", self.url.url.path())).ok();
        file.and_then(|file| file.to_file_path().ok()).map_or_else(|| refuse(expected), Ok)
    }

    /// Takes user and password; `None` where the URL names neither.
    pub fn credentials(&mut self) -> Option<(String, Secret)> {
        self.taken.credentials = true;
        let (user, password) = (self.url.url.username(), self.url.url.password());
        let is_given = !user.is_empty() || password.is_some();
        is_given.then(|| (decoded(user), decoded(password.unwrap_or_default()).into()))
    }

    /// Takes all values of a parameter that may be given several times.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        if !self.asked.iter().any(|asked| asked == name) {
            self.asked.push(name.to_owned());
        }
        let (taken, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pairs).into_iter().partition(|(known, _)| known == name);
        self.pairs = rest;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Takes the value of a parameter; `None` where it is not given.
    ///
    /// # Errors
    /// When it is given several times.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        let mut values = self.all(name);
        if values.len() > 1 {
            let count = values.len();
            return refuse(format!("parameter {name}: expected it once, got it {count} times"));
        }
        Ok(values.pop())
    }

    /// Takes the value of a parameter that is one of `words`; the first one where it is not given.
    ///
    /// # Errors
    /// As [`text`](Self::text), and when it is another word.
    pub fn choice<'w>(&mut self, name: &str, words: &[&'w str]) -> Result<&'w str> {
        let text = self.text(name)?;
        let text = text.as_deref().or(words.first().copied()).unwrap_or_default();
        let found = words.iter().find(|word| **word == text).copied();
        found.map_or_else(|| refuse(format!("{name}: expected {}", any_of(words))), Ok)
    }

    /// Takes a time such as `10s` or `500ms`, from `least` to a day; `default` where it is not given.
    ///
    /// # Errors
    /// As [`text`](Self::text), and when it is no such time.
    pub fn duration(&mut self, name: &str, default: Duration, least: Duration) -> Result<Duration> {
        const DAY: Duration = Duration::from_secs(86_400);
        let Some(text) = self.text(name)? else { return Ok(default) };
        let parsed = text
            .strip_suffix("ms")
            .map(|number| (number, 1))
            .or_else(|| text.strip_suffix('s').map(|number| (number, 1000)));
        parsed
            .and_then(|(number, factor)| number.parse::<u64>().ok()?.checked_mul(factor))
            .map(Duration::from_millis)
            .filter(|time| (least..=DAY).contains(time))
            .ok_or_else(|| {
                let least = least.as_millis();
                Error::Url(format!(
                    "{name}: expected a time like 500ms or 10s, from {least}ms to a day"
                ))
            })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When the URL has a part that was not taken.
    pub fn finish(self) -> Result<()> {
        let url = &self.url.url;
        let hint = match self.asked.iter().any(|asked| asked == "token") {
            true => ", a token is given as ?token=TOKEN",
            false => "",
        };
        if url.password().is_some() && !self.taken.credentials {
            return refuse(format!("password: not used{hint}"));
        }
        if !url.username().is_empty() && !self.taken.credentials {
            return refuse(format!("user: not used{hint}"));
        }
        if url.fragment().is_some() {
            return refuse("fragment, what follows #: not used; a # in a value is written %23");
        }
        self.refuse_several()?;
        if url.host_str().is_some_and(|host| !host.is_empty()) && !self.taken.host {
            return refuse("host: not used");
        }
        if url.port().is_some() && !self.taken.port {
            return refuse("port: not used");
        }
        if !matches!(url.path(), "" | "/") && !self.taken.path {
            return refuse("path, what follows the host: not used");
        }
        let Some((name, value)) = self.pairs.first() else { return Ok(()) };
        let name = if value.is_empty() { name } else { &format!("{name}=") };
        let name = Parameter(name);
        let expected = if self.asked.is_empty() { "no parameters" } else { &any_of(&self.asked) };
        refuse(format!("unknown parameter {name}, expected {expected}"))
    }

    /// Several hosts are for those who take them with their ports.
    fn refuse_several(&self) -> Result<()> {
        let host = self.url.url.host_str().unwrap_or_default();
        let has_taken_all = self.taken.host && self.taken.port;
        match self.url.others.is_empty() || has_taken_all {
            true if !host.contains(';') => Ok(()),
            _ => refuse("several hosts: expected one"),
        }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Url(why.into()))
}

/// Words as an error lists them: `a, b or c`.
pub(crate) fn any_of<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// The URL with its first host only, and the other ones with their ports.
fn split_hosts(text: &str) -> (String, Vec<&str>) {
    let start = text.find("://").map_or(text.len(), |at| at + "://".len());
    let rest = &text[start..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let hosts = &authority[authority.rfind('@').map_or(0, |at| at + 1)..];
    let mut all = hosts.split(',');
    let first = all.next().unwrap_or_default();
    let (from, to) = (start + authority.len() - hosts.len(), start + authority.len());
    (format!("{}{first}{}", &text[..from], &text[to..]), all.collect())
}

fn checked_host(host: &str) -> Result<String> {
    let host = match host.strip_prefix('[') {
        Some(address) => address.trim_end_matches(']'),
        None => host,
    };
    match check_host(host) {
        Ok(()) => Ok(host.to_owned()),
        Err(expected) => refuse(format!("host: {expected}")),
    }
}

fn checked_port(port: Option<u16>) -> Result<Option<u16>> {
    if port == Some(0) { refuse("port 0: expected 1 to 65535") } else { Ok(port) }
}

/// A text without its percent signs.
fn decoded(text: &str) -> String {
    // Nothing but those has a meaning in a user's name or a password.
    let plain = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let pair = form_urlencoded::parse(plain.as_bytes()).into_owned().next();
    pair.map(|(text, _)| text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
