//! Texts as they may be shown: without what may be secret in them, whether they parse or not.

use std::{fmt, path::Path};

use url::Url;

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(hidden)";
/// Longest text that is shown, in characters.
const SHOWN_MAX: usize = 200;
/// Longest name of a parameter, in bytes.
const NAME_MAX: usize = 32;

/// Displays a URL without user, password, path, values of parameters and fragment. Of a text that
/// is no URL nothing but a leading `scheme://` is shown, since a secret may stand anywhere in it.
///
/// Every text that may hold a secret is shown through this type: in errors, logs and pages.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a str);

impl Redacted<'_> {
    /// Returns whether this has the form of a URL with a password or with a parameter that is
    /// secret. A user's name alone is none.
    pub fn holds_secret(&self) -> bool {
        let Some((_, rest)) = self.0.split_once("://") else { return false };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let user = place.rsplit_once('@').map_or("", |(user, _)| user);
        let is_secret = |pair: &str| match pair.split_once('=') {
            Some((name, value)) => !value.is_empty() && SECRET.contains(&name),
            None => false,
        };
        !user.bytes().all(is_name_byte) || query.contains('@') || query.split('&').any(is_secret)
    }
}

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://").filter(|(name, _)| is_scheme(name))
        else {
            return f.write_str(if self.0.is_empty() { "" } else { HIDDEN });
        };
        write!(f, "{scheme}://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        // An `@` behind the authority: a password with one of these characters in it, perhaps.
        let is_unclear = tail.contains('@') || self.0.contains(char::is_control);
        if is_unclear || self.0.len() > SHOWN_MAX || Url::parse(self.0).is_err() {
            return f.write_str(HIDDEN);
        }
        match authority.rsplit_once('@') {
            Some((_, host)) if is_plain(host) => write!(f, "{HIDDEN}@{host}")?,
            None if is_plain(authority) => f.write_str(authority)?,
            _ => return f.write_str(HIDDEN),
        }
        let (tail, fragment) = tail.split_once('#').map_or((tail, ""), |(tail, _)| (tail, "#"));
        let (path, query) = tail.split_once('?').map_or((tail, None), |(p, q)| (p, Some(q)));
        show_path(f, scheme, path)?;
        for (number, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if number == 0 { "?" } else { "&" })?;
            show_parameter(f, pair)?;
        }
        if fragment.is_empty() { Ok(()) } else { write!(f, "#{HIDDEN}") }
    }
}

/// Parameters whose values are secrets.
const SECRET: [&str; 3] = ["password", "secret", "token"];
/// Parameters whose values are no secrets.
const OPEN: [&str; 9] =
    ["check", "cluster", "dc", "empty_grace", "seed", "sslmode", "synchronous", "ttl", "wait"];

/// Shows the path of a file and the number of a database; other paths may hold a secret.
fn show_path(f: &mut fmt::Formatter<'_>, scheme: &str, path: &str) -> fmt::Result {
    let name = path.strip_prefix('/').unwrap_or(path);
    let is_number = name.len() <= 5 && name.bytes().all(|byte| byte.is_ascii_digit());
    if scheme == "sqlite" || is_number { f.write_str(path) } else { write!(f, "/{HIDDEN}") }
}

fn show_parameter(f: &mut fmt::Formatter<'_>, pair: &str) -> fmt::Result {
    match pair.split_once('=') {
        None if pair.is_empty() => Ok(()),
        Some((name, value)) if value.is_empty() || (OPEN.contains(&name) && is_plain(value)) => {
            write!(f, "{}={value}", Parameter(pair))
        }
        Some(_) => write!(f, "{}={HIDDEN}", Parameter(pair)),
        None => f.write_str(HIDDEN),
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Returns whether a text has only what hosts, ports, times and names have, so that no further parameter
/// with its value hides in it, as in `dc=x;token=abc`.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[],".contains(&byte))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= NAME_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Displays the name of a `name=value` pair, as of a parameter that is not known. What does not look
/// like a name is hidden: a secret with `&` in it is cut into such pairs.
#[derive(Clone, Copy)]
pub struct Parameter<'a>(pub &'a str);

impl fmt::Display for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.split_once('=').map(|(name, _)| name);
        let is_name = |name: &&str| {
            (1..=NAME_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        f.write_str(name.filter(is_name).unwrap_or(HIDDEN))
    }
}

/// Displays the path of a file that holds a secret. A text that is no path may be the secret itself,
/// given by mistake: only what exists, or begins with `/`, `./` or `../` and cannot be base64, is shown.
#[derive(Clone, Copy)]
pub struct RedactedPath<'a>(pub &'a Path);

impl fmt::Display for RedactedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.display().to_string();
        let is_path = ["/", "./", "../"].iter().any(|head| text.starts_with(head))
            && text.len() <= SHOWN_MAX
            && !text.contains(['+', '=', '?', '#']);
        if text.contains(char::is_control) || !(is_path || self.0.exists()) {
            return f.write_str(if text.is_empty() { "" } else { HIDDEN });
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for RedactedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let long = format!("consul://h?dc={}", "x".repeat(SHOWN_MAX));
        for (text, expected) in [
            ("", ""),
            ("consul://h:8500?token=abc&dc=x", "consul://h:8500?token=(hidden)&dc=x"),
            ("consul://h1:8500,h2:8500?token=abc", "consul://(hidden)"),
            ("consul://h?tokn=abc#abc", "consul://h?tokn=(hidden)#(hidden)"),
            ("consul://h?abc", "consul://h?(hidden)"),
            ("consul://h?a&Abc=1&abc=", "consul://h?(hidden)&(hidden)=(hidden)&abc="),
            ("consul://h:8500/abc", "consul://h:8500/(hidden)"),
            ("consul://h:8500/?dc=x", "consul://h:8500/?dc=x"),
            ("postgres://me:abc@h/db", "postgres://(hidden)@h/(hidden)"),
            ("postgres://abc@h/db", "postgres://(hidden)@h/(hidden)"),
            ("postgres://me:a@bc@h/db", "postgres://(hidden)@h/(hidden)"),
            ("postgres://me:abc/db", "postgres://(hidden)"),
            ("redis://:a?b@h:1", "redis://(hidden)"),
            ("redis://:a/b@h:1/2", "redis://(hidden)"),
            ("redis://:a@h:1/2", "redis://(hidden)@h:1/2"),
            ("redis://h/2?x=a@b", "redis://(hidden)"),
            ("gossip://h:1?seed=a:2", "gossip://h:1?seed=a:2"),
            ("sqlite:///var/lib/imago.db", "sqlite:///var/lib/imago.db"),
            ("consul://h;token=abc", "consul://(hidden)"),
            ("consul://me@h;token=abc", "consul://(hidden)"),
            ("consul://h,token=abc", "consul://(hidden)"),
            ("consul://h?dc=x?token=abc", "consul://h?dc=(hidden)"),
            ("consul://h?wait=5s;token=abc&ttl=5s", "consul://h?wait=(hidden)&ttl=5s"),
            ("consul://h?dc=x%26token=abc", "consul://h?dc=(hidden)"),
            ("token=abc", "(hidden)"),
            ("abc", "(hidden)"),
            ("postgres:/me:abc@h", "(hidden)"),
            (" abc://h", "(hidden)"),
            ("consul://h\u{1b}[2J", "consul://(hidden)"),
            (&long, "consul://(hidden)"),
        ] {
            assert_eq!(Redacted(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_url_with_a_password_or_a_token_holds_a_secret() {
        for (text, expected) in [
            ("consul://h?token=abc", true),
            ("consul://h?token=&dc=x", false),
            ("postgres://me:abc@h/db", true),
            ("postgres://me@h,i/db?sslmode=disable", false),
            ("redis://:a?b@h:1", true),
            ("gossip://h:1?seed=a:2&advertise=b:3", false),
            ("token=abc", false),
        ] {
            assert_eq!(Redacted(text).holds_secret(), expected, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_parameter_is_shown_where_it_looks_like_one() {
        for (pair, expected) in [
            ("tokn=abc", "tokn"),
            ("abc", HIDDEN),
            ("=abc", HIDDEN),
            ("a8F=1", HIDDEN),
            ("", HIDDEN),
        ] {
            assert_eq!(Parameter(pair).to_string(), expected);
        }
    }

    #[test]
    fn a_secret_in_place_of_its_files_name_is_hidden() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let existing = file.path().to_str().unwrap();
        for (text, expected) in [
            ("", ""),
            ("/run/secrets/jwt", "/run/secrets/jwt"),
            ("./jwt.txt", "./jwt.txt"),
            (existing, existing),
            ("sesame", HIDDEN),
            ("a/b", HIDDEN),
            ("/aB3+x=", HIDDEN),
            ("/run\n/x", HIDDEN),
        ] {
            assert_eq!(RedactedPath(Path::new(text)).to_string(), expected, "{text}");
        }
    }
}
