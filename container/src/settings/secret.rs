//! Values that nobody may see: given in files and the environment, never shown.

use super::{Settings, source, source::Origin};

/// Keys whose last part is one of these are secrets.
const SECRETS: [&str; 3] = ["secret", "jwt_secret", "admin_token"];
/// Parameters in URLs that are secrets.
const SECRET_PARAMETERS: [&str; 3] = ["token", "password", "secret"];
/// What is shown instead.
const HIDDEN: &str = "(hidden)";

impl Settings {
    /// A secret of at least `min_len` bytes, given as it is or in the file that `<key>_file`
    /// names. Empty where neither is given and `min_len` is 0.
    pub fn secret(&mut self, key: &str, min_len: usize) -> String {
        let (secret, from) = self.read_secret(key);
        if secret.len() < min_len {
            self.refuse_short(key, &secret, &from, min_len);
        }
        secret
    }

    /// A secret that may be left out, of at least `min_len` bytes where it is given.
    pub fn optional_secret(&mut self, key: &str, min_len: usize) -> Option<String> {
        let (secret, from) = self.read_secret(key);
        if secret.is_empty() {
            return None;
        }
        if secret.len() < min_len {
            self.refuse_short(key, &secret, &from, min_len);
        }
        Some(secret)
    }

    /// The secret, and where it came from.
    fn read_secret(&mut self, key: &str) -> (String, String) {
        let inline = self.given(key);
        let file_key = format!("{key}_file");
        let file = self.values.get(&file_key).filter(|file| !file.text.is_empty()).cloned();
        let Some(file) = file else { return (inline.text, inline.origin.to_string()) };
        if !inline.text.is_empty() {
            if inline.origin.rank() > file.origin.rank() {
                return (inline.text, inline.origin.to_string());
            }
            if inline.origin.rank() == file.origin.rank() {
                self.reject(&file_key, &format!("expected either this or {key}, not both"));
                return (inline.text, inline.origin.to_string());
            }
        }
        match std::fs::read_to_string(&file.text) {
            Ok(text) => (text.trim().to_owned(), file.text),
            Err(error) => {
                self.reject(&file_key, &format!("expected a readable file: {error}"));
                (inline.text, inline.origin.to_string())
            }
        }
    }

    fn refuse_short(&mut self, key: &str, secret: &str, from: &str, min_len: usize) {
        let file_key = format!("{key}_file");
        if self.errors.iter().any(|error| error.starts_with(&file_key)) {
            return;
        }
        let variable = source::variable(key);
        let ways = if self.values.contains_key(&file_key) {
            format!("in the file, as {variable}, or in the file that {file_key} names")
        } else {
            format!("in the file, or as {variable}")
        };
        let length = secret.len();
        self.error(format!(
            "{key} (from {from}): expected at least {min_len} bytes, got {length}; set it {ways}"
        ));
    }
}

/// Why a value may not come from there.
pub(super) fn misplaced(key: &str, text: &str, origin: &Origin) -> Option<&'static str> {
    if *origin != Origin::Flag {
        return None;
    }
    if is_secret(key) {
        return Some(
            "secrets are taken only from a file or the environment, where other users cannot see them",
        );
    }
    (without_secrets(text) != text).then_some(
        "a URL with a token or password is taken only from a file or the environment, where other users cannot see it",
    )
}

/// A value as it may be shown.
pub(super) fn shown(key: &str, text: &str) -> String {
    if is_secret(key) { HIDDEN.to_owned() } else { format!("{:?}", without_secrets(text)) }
}

fn is_secret(key: &str) -> bool {
    key.rsplit('.').next().is_some_and(|name| SECRETS.contains(&name))
}

/// A URL without its password and the values of secret parameters; any other text as it is.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    if query.is_some_and(|query| query.contains('@')) {
        // A password with ? in it, or a parameter with @: nobody can tell.
        return format!("{scheme}://{HIDDEN}");
    }
    let place = match place.rsplit_once('@') {
        Some((user, host)) if !is_name(user) => format!("{HIDDEN}@{host}"),
        _ => place.to_owned(),
    };
    let query = query.map(|query| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() && SECRET_PARAMETERS.contains(&name) => {
                format!("{name}={HIDDEN}")
            }
            _ => pair.to_owned(),
        });
        format!("?{}", pairs.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{place}{}", query.unwrap_or_default())
}

/// Whether this is a user's name alone, without a password.
fn is_name(user: &str) -> bool {
    user.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_is_secret_in_it() {
        for (text, expected) in [
            ("consul://h:8500?token=abc&dc=x", "consul://h:8500?token=(hidden)&dc=x"),
            ("postgres://me:abc@h/db", "postgres://(hidden)@h/db"),
            ("postgres://me@h/db", "postgres://me@h/db"),
            ("redis://:a?b@h:1", "redis://(hidden)"),
            ("redis://:a/b@h:1/2", "redis://(hidden)@h:1/2"),
            ("gossip://h:1?seed=a:2", "gossip://h:1?seed=a:2"),
            ("token=abc", "token=abc"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}
