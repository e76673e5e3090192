//! URLs as they may be shown: without what may be secret in them, whether they parse or not.

use std::fmt;

use url::Url;

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// Displays a URL without user, password, values of parameters and fragment. Of a text that is no
/// URL nothing but a leading `scheme://` is shown, since a secret may stand anywhere in it.
///
/// Every text that may hold a secret is shown through this type: in errors, logs and pages.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a str);

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
        if Url::parse(self.0).is_err() || tail.contains('@') {
            return f.write_str(HIDDEN);
        }
        match authority.rsplit_once('@') {
            Some((_, host)) => write!(f, "{HIDDEN}@{host}")?,
            None => f.write_str(authority)?,
        }
        let (tail, fragment) = tail.split_once('#').map_or((tail, ""), |(tail, _)| (tail, "#"));
        let (path, query) = tail.split_once('?').map_or((tail, None), |(p, q)| (p, Some(q)));
        f.write_str(path)?;
        for (number, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if number == 0 { "?" } else { "&" })?;
            show_parameter(f, pair)?;
        }
        if fragment.is_empty() { Ok(()) } else { write!(f, "#{HIDDEN}") }
    }
}

/// Parameters whose values are no secrets.
const OPEN: [&str; 9] =
    ["check", "cluster", "dc", "empty_grace", "seed", "sslmode", "synchronous", "ttl", "wait"];

fn show_parameter(f: &mut fmt::Formatter<'_>, pair: &str) -> fmt::Result {
    match pair.split_once('=') {
        Some((name, "")) => write!(f, "{name}="),
        Some((name, value)) if OPEN.contains(&name) => write!(f, "{name}={value}"),
        Some((name, _)) => write!(f, "{name}={HIDDEN}"),
        None if pair.is_empty() => Ok(()),
        None => f.write_str(HIDDEN),
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (text, expected) in [
            ("", ""),
            ("consul://h:8500?token=abc&dc=x", "consul://h:8500?token=(hidden)&dc=x"),
            ("consul://h1:8500,h2:8500?token=abc", "consul://(hidden)"),
            ("consul://h?tokn=abc#abc", "consul://h?tokn=(hidden)#(hidden)"),
            ("consul://h?abc", "consul://h?(hidden)"),
            ("postgres://me:abc@h/db", "postgres://(hidden)@h/db"),
            ("postgres://abc@h/db", "postgres://(hidden)@h/db"),
            ("postgres://me:a@bc@h/db", "postgres://(hidden)@h/db"),
            ("postgres://me:abc/db", "postgres://(hidden)"),
            ("redis://:a?b@h:1", "redis://(hidden)"),
            ("redis://:a/b@h:1/2", "redis://(hidden)"),
            ("redis://h/2?x=a@b", "redis://(hidden)"),
            ("gossip://h:1?seed=a:2", "gossip://h:1?seed=a:2"),
            ("token=abc", "(hidden)"),
            ("abc", "(hidden)"),
            ("postgres:/me:abc@h", "(hidden)"),
            (" abc://h", "(hidden)"),
        ] {
            assert_eq!(Redacted(text).to_string(), expected, "{text}");
        }
    }
}
