//! Secrets, and URLs that may hold some: types that do not show what they hold.

use std::fmt;

use crate::{HIDDEN, Redacted};

/// A secret. Displays as `(hidden)`; only [`expose`](Self::expose) gives it away.
#[derive(Clone, Default)]
pub struct Secret(String);

// === impl Secret ===

impl Secret {
    /// Returns the secret itself, for the code that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the secret's bytes, for the code that uses it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A URL that may hold a token or a password. Displays through [`Redacted`]; only
/// [`expose`](Self::expose) gives all of it away.
#[derive(Clone, Default)]
pub struct SecretUrl(String);

// === impl SecretUrl ===

impl SecretUrl {
    /// Returns the whole URL, for the code that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted(&self.0).fmt(f)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Redacted(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_given_away_by_name_only() {
        let secret = Secret::from("sesame");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "(hidden) (hidden) Some((hidden))"
        );
        assert_eq!((secret.expose(), secret.len()), ("sesame", 6));
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = SecretUrl::from("consul://h:1?token=sesame".to_owned());
        assert_eq!(
            format!("{url} {url:?}"),
            "consul://h:1?token=(hidden) \"consul://h:1?token=(hidden)\""
        );
        assert_eq!(url.expose(), "consul://h:1?token=sesame");
    }
}
